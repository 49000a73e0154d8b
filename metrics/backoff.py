"""Settings of the backing-off rules that reach a wanted accuracy, found on a validation split.

Accurate means that the truth is the answer or below it. The scores should be calibrated
(`fit_temperature`) first.
"""

from typing import NamedTuple

import numpy as np

from hierarchies import Hierarchy
from metrics.pareto import Front, above_threshold, concatenate, most_valuable, pareto_front
from metrics.posterior import node_probabilities, row_blocks, softmax

_DOUBLINGS, _BISECTIONS = 60, 60


class Setting(NamedTuple):
    """A calibrated setting of a rule.

    Attributes:
        value: What to hand to the rule: `threshold` or `darts_lambda`.
        accuracy: Share of the validation samples whose truth is the answer or below it, in [0, 1].
        n: Number of validation samples.
    """

    value: float
    accuracy: float
    n: int


def calibrate_darts(
    hierarchy: Hierarchy, scores: np.ndarray, labels: np.ndarray, target_accuracy: float
) -> Setting:
    """The smallest lambda met, in bits, with which `darts` is right at least as often as asked.

    lambda starts at 0, doubles from 1 until the target is reached, and is then bisected; inf
    (always the root) where not even 2^60 reaches it. Accuracy need not rise at every step, so a
    smaller lambda may exist.

    Args:
        hierarchy: The class tree.
        scores: (S, C) of the validation split.
        labels: (S,).
        target_accuracy: In [0, 1].

    Raises: ValueError: If there is no sample, or the target is not in [0, 1].
    Source: Deng et al. 2012, DARTS.
    """
    front, truths = _validation(hierarchy, scores, labels, target_accuracy)

    def accuracy(darts_lambda: float) -> float:
        return _accuracy(hierarchy, most_valuable(hierarchy, front, darts_lambda), truths)

    best, reached = 0.0, accuracy(0.0)
    if reached < target_accuracy:
        infeasible = 0.0
        for best in [*(2.0**power for power in range(_DOUBLINGS + 1)), np.inf]:
            reached = accuracy(best)
            if reached >= target_accuracy:
                break
            infeasible = best
        for _ in range(_BISECTIONS if np.isfinite(best) else 0):
            middle = (infeasible + best) / 2
            at_middle = accuracy(middle)
            if at_middle >= target_accuracy:
                best, reached = middle, at_middle
            else:
                infeasible = middle
    return Setting(best, reached, len(truths))


def calibrate_threshold(
    hierarchy: Hierarchy, scores: np.ndarray, labels: np.ndarray, target_accuracy: float
) -> Setting:
    """The smallest threshold from which on the rule `threshold` is right at least as often as
    asked.

    Every larger threshold reaches the target too: a lucky dip below it is not taken. The answers
    change only where a node's P is the threshold, so those values are tried, all of them. Wrong
    answers with P = 1 cannot be kept out: then the accuracy returned is below the target.

    Args and Raises: As `calibrate_darts`.
    """
    front, truths = _validation(hierarchy, scores, labels, target_accuracy)
    right = _is_above(hierarchy, front.nodes, truths[:, None])
    # Start from 'anything' for everyone and let the nodes in by falling P.
    before = np.pad(right, ((0, 0), (1, 0)), constant_values=True)[:, :-1]
    p, steps = front.probabilities.ravel(), (right.astype(np.int64) - before).ravel()
    used = front.nodes.ravel() >= 0
    order = np.argsort(-p[used], kind="stable")
    p, n_right = p[used][order], len(truths) + np.cumsum(steps[used][order])
    last = np.flatnonzero(
        np.append(p[1:] != p[:-1], True)
    )  # all nodes of one P are passed together
    enough = n_right[last] / len(truths) >= target_accuracy
    n_passed = len(last) if enough.all() else int(enough.argmin())
    # The threshold at the next P keeps that P out, since a node must exceed it.
    value = float(p[last[n_passed]]) if n_passed < len(last) else 0.0
    value = min(value, np.nextafter(1.0, 0.0))
    nodes = above_threshold(hierarchy, front, value)
    return Setting(value, _accuracy(hierarchy, nodes, truths), len(truths))


def _validation(
    hierarchy: Hierarchy, scores: np.ndarray, labels: np.ndarray, target_accuracy: float
) -> tuple[Front, np.ndarray]:
    """Pareto fronts and true nodes of the validation samples."""
    if not len(labels):
        raise ValueError(
            "a rule is calibrated on validation images, and there are none; train with --use_val"
        )
    if not 0 <= target_accuracy <= 1:
        raise ValueError(
            f"target_accuracy is a share and must lie in [0, 1], got {target_accuracy}"
        )
    blocks = row_blocks(len(labels), hierarchy.num_nodes)
    fronts = [
        pareto_front(hierarchy, node_probabilities(hierarchy, softmax(scores[rows])))
        for rows in blocks
    ]
    return concatenate(fronts), hierarchy.leaves[labels]


def _is_above(hierarchy: Hierarchy, nodes: np.ndarray, leaves: np.ndarray) -> np.ndarray:
    """Whether the nodes are the leaves or above them."""
    position = hierarchy.start[leaves]
    return (hierarchy.start[nodes] <= position) & (position < hierarchy.stop[nodes])


def _accuracy(hierarchy: Hierarchy, nodes: np.ndarray, leaves: np.ndarray) -> float:
    return float(_is_above(hierarchy, nodes, leaves).mean())
