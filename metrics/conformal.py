"""Settings of the backing-off rules that promise an accuracy for new images, after a finite
validation split.

Every validation sample needs a setting: the smallest from which on its answer is right, whatever
larger one is taken. With n samples, the k-th smallest of these, k = ceil((n + 1) target), is also
enough for a new sample that is drawn like them with probability k / (n + 1) or more: whatever the
model, calibrated or not, and without further assumptions. To look only at the share that is right
among the n would fall short by up to 1 / (n + 1).

Right means that the truth is the answer or below it.
Source: split conformal prediction, Papadopoulos et al. 2002; conformal risk control, Angelopoulos
et al. 2024.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.stats import beta

from hierarchies import Hierarchy
from metrics.pareto import Front, concatenate, pareto_front
from metrics.posterior import information, node_probabilities, row_blocks, softmax
from metrics.selective import LADDERS

_PAST_A_TIE = (
    1 + 1e-9
)  # answers change where two nodes are worth the same, which rounding may decide either way


class Promise(NamedTuple):
    """A setting, and what it promises if the samples it is set on chose nothing, neither the epoch
    nor the temperature.

    Attributes:
        value: What to hand to the rule, by the name in OPTION.
        right: The answer for a new sample is right with this probability or more: k / (n + 1), at
            least the target. It is an average over draws of the samples.
        range: With the samples at hand, the probability is above the first number in 97.5 % of
            draws, and below the second in as many if no two samples need the same setting.
        n: Number of samples.
    """

    value: float
    right: float
    range: tuple[float, float]
    n: int


def needed_thresholds(hierarchy: Hierarchy, front: Front, leaves: np.ndarray) -> np.ndarray:
    """The smallest threshold from which on the rule is right, for each sample: the largest P of
    a wrong answer.

    Args:
        front: Pareto fronts of S samples, or the ladders of another rule (`metrics.selective`).
        leaves: (S,) their true classes, as nodes.

    Returns: (S,) in [0, 1]; 0 where no answer is wrong.
    """
    p = front.probabilities
    met = (
        p > np.pad(p, ((0, 0), (0, 1)))[:, 1:]
    )  # of equally probable ones only the last is ever answered
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
        gain, lead = (
            (base[rows, None, :] - base[rows, :, None])[pairs],
            (p[rows, :, None] - p[rows, None, :])[pairs],
        )
        with np.errstate(divide="ignore"):
            crossing = (
                gain / lead
            )  # from here on the earlier node, of larger P, is worth more than the later one
        until, since = np.full(pairs.shape, np.inf), np.zeros(pairs.shape)
        until[pairs] = since[pairs] = crossing
        until, since = until.min(axis=1), since.max(axis=2)
        needed[rows] = np.where(wrong[rows] & (since < until), until, 0.0).max(axis=1)
    return needed * _PAST_A_TIE


NEEDED: dict[str, Callable[[Hierarchy, Front, np.ndarray], np.ndarray]] = {
    "threshold": needed_thresholds,
    "climbing": needed_thresholds,
    "jumping": needed_thresholds,
    "darts": needed_lambdas,
}
OPTION = {
    "threshold": "threshold",
    "climbing": "threshold",
    "jumping": "threshold",
    "darts": "darts_lambda",
}  # of each rule in NEEDED, as `decide` takes it


def promise(
    rule: str, hierarchy: Hierarchy, scores: np.ndarray, labels: np.ndarray, target_accuracy: float
) -> Promise:
    """The smallest setting of a rule that promises to be right about a new sample as often as
    asked.

    Args:
        rule: A name in NEEDED.
        hierarchy: The class tree.
        scores: (S, C) of a validation split, divided by the temperature if there is one.
        labels: (S,).
        target_accuracy: In [0, 1].

    Raises: ValueError: If no setting can promise it: there are too few samples, or wrong answers
    that are certain.
    """
    if not 0 <= target_accuracy <= 1:
        raise ValueError(
            f"target_accuracy is a share and must lie in [0, 1], got {target_accuracy}"
        )
    n = len(labels)
    k = max(math.ceil(round((n + 1) * target_accuracy, 9)), 1)
    if k > n:
        raise ValueError(_too_few(n, target_accuracy))
    blocks = row_blocks(n, hierarchy.num_nodes)
    build = LADDERS.get(rule, pareto_front)
    fronts = [
        build(hierarchy, node_probabilities(hierarchy, softmax(scores[rows]))) for rows in blocks
    ]
    needed = NEEDED[rule](hierarchy, concatenate(fronts), hierarchy.leaves[labels])
    value = float(np.partition(needed, k - 1)[k - 1])
    if value >= (1.0 if OPTION[rule] == "threshold" else np.inf):
        certain = int((needed >= value).sum())
        raise ValueError(
            f"an accuracy of {target_accuracy:g} cannot be reached: {certain} of the {n} images"
            " that calibrate have a wrong answer of probability 1, more than the target leaves; the"
            f" largest that can is --target_accuracy {_largest(n - certain, n):g}"
        )
    low, high = beta.ppf([0.025, 0.975], k, n + 1 - k)
    return Promise(value, k / (n + 1), (float(low), float(high)), n)


def _too_few(n: int, target: float) -> str:
    if target == 1:
        return (
            "an accuracy of 1 cannot be reached for certain, whatever the number of images that"
            f" calibrate; with {n} the largest that can is --target_accuracy {_largest(n, n):g}"
        )
    enough = math.ceil(round(target / (1 - target), 9))
    return (
        f"an accuracy of {target:g} cannot be reached with {n} images that calibrate, it takes"
        f" {enough} or more; the largest that can is --target_accuracy {_largest(n, n):g}"
    )


def _largest(k: int, n: int) -> float:
    """The largest target, in thousandths, for which the k-th of n samples is enough."""
    return math.floor(round(1000 * k / (n + 1), 6)) / 1000


def _wrong(hierarchy: Hierarchy, front: Front, leaves: np.ndarray) -> np.ndarray:
    """Which nodes of the fronts are neither the true leaf nor above it, (S, K); False where
    padded.
    """
    position = hierarchy.start[leaves][:, None]
    above = (hierarchy.start[front.nodes] <= position) & (position < hierarchy.stop[front.nodes])
    return ~above & (front.nodes >= 0)
