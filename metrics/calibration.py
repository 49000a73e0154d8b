"""Whether confidences mean what they say: ECE, MCE and companions, and the temperature that repairs
them.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.stats import rankdata

from metrics.measure import CALIBRATION, HIGHER, LOWER, SHARE, kind
from metrics.outputs import Block, Outputs, Reader, confidences
from metrics.posterior import log_softmax_at, row_blocks
from metrics.result import Result

BINS = 15
_LARGEST_LOG_INVERSE = np.log(1e5)  # of the spread of the scores over the temperature


class Bins(NamedTuple):
    """Equal bins of [0, 1] that hold a confidence, K of them.

    Attributes:
        lower, upper: (K,), their ends.
        counts: (K,), how many confidences are in each.
        confidence, accuracy: (K,), the means.
    """

    lower: np.ndarray
    upper: np.ndarray
    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray


def reliability(
    confidences: np.ndarray, correct: np.ndarray, bins: int = BINS, *, closed: str = "right"
) -> Bins:
    """Confidence against accuracy in bins: what is behind ECE and a reliability diagram.

    Args:
        confidences: (S,) in [0, 1].
        correct: (S,) bool.
        bins: Number of bins, those without a confidence included, >= 1.
        closed: "right": a bin holds its upper end, and the first one 0 as well. "left": it holds
            its lower end, and a confidence of exactly 1 falls out.

    Raises: ValueError: If closed is neither, or bins < 1.
    """
    if closed not in ("right", "left") or bins < 1:
        raise ValueError(
            f"closed must be 'right' or 'left' and bins at least 1, got {closed!r} and {bins}"
        )
    edges = np.linspace(0.0, 1.0, bins + 1)
    if closed == "right":
        index = np.clip(np.searchsorted(edges, confidences, side="left") - 1, 0, bins - 1)
    else:
        index = np.searchsorted(edges, confidences, side="right") - 1
    counts = np.bincount(index, minlength=bins)[:bins]
    held = np.flatnonzero(counts)
    counts = counts[held]
    confidence, accuracy = (
        np.bincount(index, one)[held] / counts for one in (confidences, correct)
    )
    return Bins(edges[held], edges[held + 1], counts, confidence, accuracy)


def calibration_error(
    confidences: np.ndarray, correct: np.ndarray, *, closed: str = "right"
) -> tuple[float, float]:
    """ECE and MCE, both in [0, 1], lower is better; NaN without samples in a bin.

    ECE = sum over 15 bins of (count / S) |accuracy - confidence|, MCE = the largest difference of a
    non-empty bin.
    """
    bins = reliability(confidences, correct, closed=closed)
    if not len(bins.counts):
        return np.nan, np.nan
    gaps = np.abs(bins.accuracy - bins.confidence)
    return float((bins.counts * gaps).sum() / len(confidences)), float(gaps.max())


def errors(outputs: Outputs) -> dict[str, Result]:
    """`ece` and `mce` of the predicted classes, and `ece_published`: left-closed bins, a softmax
    in single precision.

    The published one loses confidences of exactly 1, which single precision rounds many to;
    undefined counts them, and without any other it is NaN.
    """
    correct, n = _correct(outputs), outputs.num_samples
    ece, mce = calibration_error(outputs.confidence, correct)
    single = _single_confidence(outputs)
    lost = int((single >= 1.0).sum())
    published, _ = calibration_error(single, correct, closed="left")
    return {
        "ece": Result(ece, n),
        "mce": Result(mce, n),
        "ece_published": Result(published, n - lost, lost),
    }


def _single_confidence(outputs: Outputs) -> np.ndarray:
    """Largest posterior probability of each sample, (S,), by a softmax in float32: above a gap of
    about 16.6 nats it is exactly 1.
    """
    confidence = np.empty(outputs.num_samples)
    for rows in row_blocks(outputs.num_samples, outputs.hierarchy.num_classes):
        z = outputs.scores_of(rows).astype(np.float32)
        e = np.exp(z - z.max(axis=1, keepdims=True))
        confidence[rows] = e.max(axis=1) / e.sum(axis=1, dtype=np.float32)
    return confidence


def level_errors(outputs: Outputs) -> dict[str, Result]:
    """`ece_level@l`: ECE of the most probable node at level l = 1..H, shallow classes carried
    down.
    """
    confidences, correct = outputs.read(_of_levels)
    eces = [calibration_error(*pair)[0] for pair in zip(confidences.T, correct.T)]
    return {
        f"ece_level@{level}": Result(ece, outputs.num_samples) for level, ece in enumerate(eces, 1)
    }


def _of_levels(block: Block) -> tuple[np.ndarray, np.ndarray]:
    """P of the most probable node on each level, and whether it is the true one, (s, H) each."""
    table = block.tree.level_table
    shape = len(block.labels), table.shape[1]
    confidences, correct = np.empty(shape), np.empty(shape, bool)
    for level, own in enumerate(table.T):
        nodes = np.unique(own)
        at_level = block.nodes.T[nodes]  # (n, s)
        best = at_level.argmax(axis=0)
        confidences[:, level] = at_level[best, np.arange(len(best))]
        correct[:, level] = nodes[best] == own[block.labels]
    return confidences, correct


def confidence_spearman(outputs: Outputs) -> Result:
    """Spearman correlation between bin middle and accuracy over the non-empty of 15 bins; in [-1,
    1], 1 is best.

    n counts bins, undefined the empty ones. NaN, all bins undefined, with fewer than two or one
    accuracy in all.
    """
    accuracy = reliability(outputs.confidence, _correct(outputs)).accuracy
    # Bin middles grow with the bin. Rounded, because equal accuracies may differ in the last digit.
    value, n = _correlation(np.arange(len(accuracy)), rankdata(accuracy.round(12))), len(accuracy)
    return Result(value, 0, BINS) if np.isnan(value) else Result(value, n, BINS - n)


def confidence_point_biserial(outputs: Outputs) -> Result:
    """Correlation between being correct (0 or 1) and the confidence over samples; in [-1, 1],
    higher is better.

    NaN, all samples undefined, where all are correct, none is, or all confidences are equal.
    """
    value, n = _correlation(_correct(outputs), outputs.confidence), outputs.num_samples
    return Result(value, 0, n) if np.isnan(value) else Result(value, n)


class Temperature(NamedTuple):
    """A temperature, and what the images say of it.

    Attributes:
        value: Divides the scores, > 0.
        n: Number of images that it was fitted on.
        determined: Whether they determine it. If not it is 1: on average the true class has no
            higher score than any class, so that no temperature makes these scores probabilities.
        separable: Whether the true class has the highest score of all images. The temperature then
            depends on their number: with more images it would be lower.
    """

    value: float
    n: int
    determined: bool
    separable: bool


def calibrate(scores: np.ndarray, labels: np.ndarray) -> Temperature:
    """The temperature T > 0 for which softmax(scores / T) has the least negative log-likelihood of
    the n images and of one more that could be of any class.

    The image more is the mean of the n, and counts for each class alike. Without it T is 0 where
    all are answered right, and all probabilities are 1; with it the mean probability of true
    classes is n / (n + 1) + 1 / ((n + 1) C) there, as in the rule of succession. Its weight is 1 in
    n + 1: it vanishes with the number of images. Scores times a factor have that temperature more.

    Fit it on the validation split, divide scores by it before reading probabilities. Images whose
    label has score -inf say nothing and are left out, as are classes of that score.

    Args:
        scores: (S, C), higher is better.
        labels: (S,).

    Raises: ValueError: If no image is left.
    Source: Guo et al. 2017 for the temperature; Platt 1999 for targets that are smoothed by a share
    that falls with the number of images, there of two classes.
    """
    told = np.isfinite(scores[np.arange(len(labels)), labels])
    if not told.any():
        raise ValueError(
            "a temperature is fitted on validation images, and there are none whose class has a"
            " score"
        )
    scores, labels = scores[told], labels[told]
    n, blocks = len(labels), list(row_blocks(*scores.shape))
    own, mean = np.empty(n), np.empty(n)  # of the true class and of all, below the highest: <= 0
    for rows in blocks:
        z = scores[rows].astype(np.float64)
        z = np.where(np.isfinite(z), z - z.max(axis=1, keepdims=True), np.nan)
        own[rows], mean[rows] = z[np.arange(len(z)), labels[rows]], np.nanmean(z, axis=1)
    separable, spread = bool((own == 0).all()), -mean.mean()
    # how steeply the loss falls from T = infinity; it is convex in 1 / T
    gain = own.mean() - mean.mean()
    if not gain > 1e-9 * spread:
        return Temperature(1.0, n, False, separable)

    def loss(log_inverse: float) -> float:
        inverse = np.exp(log_inverse) / spread
        total = 0.0
        for rows in blocks:
            z = scores[rows].astype(np.float64) * inverse
            total -= log_softmax_at(z, labels[rows]).sum()
        return total * (n + 1) / n + inverse * gain  # the image more is not of the true class

    bounds = (-_LARGEST_LOG_INVERSE, _LARGEST_LOG_INVERSE)
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6}).x
    if abs(found) > _LARGEST_LOG_INVERSE - 0.01:
        return Temperature(1.0, n, False, separable)
    return Temperature(float(spread / np.exp(found)), n, True, separable)


def fit_temperature(scores: np.ndarray, labels: np.ndarray) -> float:
    """The value of `calibrate`: 1 where the images do not determine it."""
    return calibrate(scores, labels).value


_lower = kind(LOWER, CALIBRATION, SHARE)
_higher_correlation = kind(HIGHER, CALIBRATION, "-1 to 1")
MEASURES = (
    _lower(
        "ece",
        "Expected calibration error: how far the share of right answers is from the stated"
        " probability, averaged over 15 bins of probability.",
    ),
    _lower(
        "mce",
        "Maximum calibration error: how far the share of right answers is from the stated"
        " probability in the bin of probability where this is most.",
    ),
    _lower(
        "ece_published",
        "Expected calibration error, how far the share of right answers is from the stated"
        " probability, in single precision with the bins of Kim et al.'s published code, which"
        " loses probabilities of exactly 1, for comparison with their figures only.",
    ),
    _lower(
        "ece_level@{k}",
        "Expected calibration error at depth k of the tree: how far the share of right"
        " superclasses is from the stated probability of the most probable one, averaged over 15"
        " bins of probability.",
    ),
    _higher_correlation(
        "confidence_spearman",
        "Rank correlation between the stated probability and the share of right answers, over"
        " bins of probability.",
    ),
    _higher_correlation(
        "confidence_point_biserial",
        "Correlation over images between the stated probability and being right.",
    ),
)
METRICS: dict[str, Callable[[Outputs], Result | dict[str, Result]]] = {
    "calibration_error": errors,
    "calibration_error_of_levels": level_errors,
    "confidence_spearman": confidence_spearman,
    "confidence_point_biserial": confidence_point_biserial,
}
READS: dict[str, tuple[Reader, ...]] = {
    "calibration_error": (confidences,),
    "calibration_error_of_levels": (_of_levels,),
}


def _correct(outputs: Outputs) -> np.ndarray:
    return outputs.predictions == outputs.labels


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson correlation; NaN where one of them is constant or there are fewer than two
    entries.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return np.nan
    a, b = a - a.mean(), b - b.mean()
    return float(np.clip(a @ b / np.sqrt((a @ a) * (b @ b)), -1.0, 1.0))
