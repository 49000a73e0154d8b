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
from typing import NamedTuple

import numpy as np
from scipy.stats import beta

from hierarchies import Hierarchy
from metrics.covers import needed_rank
from metrics.decisions import RULES
from metrics.pareto import concatenate
from metrics.posterior import node_probabilities, row_blocks, softmax


class Promise(NamedTuple):
    """A setting, and what it promises if the samples it is set on chose nothing, neither the epoch
    nor the temperature.

    Attributes:
        value: What to hand to the rule, as its `setting`.
        right: The answer for a new sample is right with this probability or more: k / (n + 1), at
            least the target. It is an average over draws of the samples.
        range: With the samples at hand, the probability is above the first number in 97.5 % of
            draws, and below the second in as many if no two samples need the same setting; in
            fewer draws where samples come in groups that are alike.
        n: Number of samples.
    """

    value: float
    right: float
    range: tuple[float, float]
    n: int


def promise(
    rule: str, hierarchy: Hierarchy, scores: np.ndarray, labels: np.ndarray, target_accuracy: float
) -> Promise:
    """The smallest setting of a rule that promises to be right about a new sample as often as
    asked.

    Args:
        rule: A rule of `metrics.decisions.RULES` that says what is `needed`.
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
    k = needed_rank(n, target_accuracy)
    if k > n:
        raise ValueError(_too_few(n, target_accuracy))
    chosen = RULES.find(rule)
    fronts = [
        chosen.front(hierarchy, node_probabilities(hierarchy, softmax(scores[rows])))
        for rows in row_blocks(n, hierarchy.num_nodes)
    ]
    needed = chosen.needed(hierarchy, concatenate(fronts), hierarchy.leaves[labels])
    value = float(np.partition(needed, k - 1)[k - 1])
    if value >= (1.0 if chosen.setting == "threshold" else np.inf):
        certain = int((needed >= value).sum())
        raise ValueError(
            f"an accuracy of {target_accuracy:g} cannot be reached: {certain} of the {n} images"
            " that calibrate have a wrong answer of probability 1, more than the target leaves; the"
            f" largest that can is --target_accuracy {largest_target(n - certain, n):g}"
        )
    low, high = beta.ppf([0.025, 0.975], k, n + 1 - k)
    return Promise(value, k / (n + 1), (float(low), float(high)), n)


def _too_few(n: int, target: float) -> str:
    if target == 1:
        return (
            "an accuracy of 1 cannot be reached for certain, whatever the number of images that"
            f" calibrate; with {n} the largest that can is --target_accuracy"
            f" {largest_target(n, n):g}"
        )
    enough = math.ceil(round(target / (1 - target), 9))
    return (
        f"an accuracy of {target:g} cannot be reached with {n} images that calibrate, it takes"
        f" {enough} or more; the largest that can is --target_accuracy {largest_target(n, n):g}"
    )


def largest_target(k: int, n: int) -> float:
    """The largest target, in thousandths, for which the k-th of n samples is enough."""
    return math.floor(round(1000 * k / (n + 1), 6)) / 1000
