"""How large the setting of a rule that backs off must be for the answer to each image to be right.

Every sample needs a setting: the smallest from which on its answer is right, whatever larger one is
taken. Right means that the truth is the answer or below it.
"""

import numpy as np

from hierarchies import Hierarchy
from metrics.pareto import Front
from metrics.posterior import information, row_blocks

# answers change where two nodes are worth the same, which rounding may decide either way
_PAST_A_TIE = 1 + 1e-9


def needed_thresholds(hierarchy: Hierarchy, front: Front, leaves: np.ndarray) -> np.ndarray:
    """The smallest threshold from which on the rule is right, for each sample: the largest P of
    a wrong answer.

    Args:
        front: Pareto fronts of S samples, or the ladders of another rule (`metrics.selective`).
        leaves: (S,) their true classes, as nodes.

    Returns: (S,) in [0, 1]; 0 where no answer is wrong.
    """
    p = front.probabilities
    # of equally probable ones only the last is ever answered
    met = p > np.pad(p, ((0, 0), (0, 1)))[:, 1:]
    return np.where(met & _wrong(hierarchy, front, leaves), p, 0.0).max(axis=1)


def needed_lambdas(hierarchy: Hierarchy, front: Front, leaves: np.ndarray) -> np.ndarray:
    """The smallest lambda in bits from which on `darts` is right, for each sample; Args as
    `needed_thresholds`.

    The worth (info + lambda) P of a node is a line in lambda, steeper for larger P, so each node of
    the front is the best in one interval or never. What is asked is where the last interval of a
    wrong node ends.

    Returns: (S,), 0 or more; inf where a wrong node has all the probability.
    """
    p, wrong = front.probabilities, _wrong(hierarchy, front, leaves)
    base = information(hierarchy)[front.nodes] * p
    width = p.shape[1]
    later = np.triu(np.ones((width, width), bool), 1)
    needed = np.empty(len(p))
    for rows in row_blocks(len(p), width**2):
        pairs = later & (front.nodes[rows, None, :] >= 0)
        gain = (base[rows, None, :] - base[rows, :, None])[pairs]
        lead = (p[rows, :, None] - p[rows, None, :])[pairs]
        with np.errstate(divide="ignore"):
            # from here on the earlier node, of larger P, is worth more than the later one
            crossing = gain / lead
        until, since = np.full(pairs.shape, np.inf), np.zeros(pairs.shape)
        until[pairs] = since[pairs] = crossing
        until, since = until.min(axis=1), since.max(axis=2)
        needed[rows] = np.where(wrong[rows] & (since < until), until, 0.0).max(axis=1)
    return needed * _PAST_A_TIE


def _wrong(hierarchy: Hierarchy, front: Front, leaves: np.ndarray) -> np.ndarray:
    """Which nodes of the fronts are neither the true leaf nor above it, (S, K); False where
    padded.
    """
    position = hierarchy.start[leaves][:, None]
    above = (hierarchy.start[front.nodes] <= position) & (position < hierarchy.stop[front.nodes])
    return ~above & (front.nodes >= 0)
