"""How many images of each class a batch holds, corrected for what a classifier confuses.

To count answers (classify and count) is biased where the shares of the classes are others than those of the images
that the classifier was made with: what it gives away from a common class to a rare one may outnumber the rare one.
Two corrections learn from validation images what happens to each class, and assume that images of one class look
alike in both places, while the shares of the classes may differ (label shift):

- adjusted count: the shares whose images would be answered as the batch was, by the confusion of the validation images;
- EM: the shares that make the posteriors of the batch the most probable.

Neither knows of classes that the classifier was not taught.

Source: Forman 2008 for counting and adjusted counting; Saerens, Latinne & Decaestecker 2002 for EM; Gonzalez et al.
2017 and Esuli et al. 2023 for a review.
"""  # noqa: E501

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.linalg import null_space
from scipy.optimize import lsq_linear, nnls

from hierarchies import Hierarchy
from metrics.posterior import node_probabilities

LEVEL = 0.95  # of the intervals
DRAWS = 200  # of the bootstrap
_MOST_STEPS, _ENOUGH = 2000, 1e-7  # of EM: steps, and the change of a share at which it ends
_STEPS_OF_DRAWS, _ENOUGH_OF_DRAWS = 300, 1e-5
_DOUBT = (
    0.5  # images of each class that are added, answered as each class alike, where rates are drawn
)
_TINY = 1e-12
_OPTIMAL = 1e-9  # how far a sum of squares may be above the least
_SINGULAR = 1e-6  # of the largest singular value: below, nothing tells two mixtures apart


@dataclass(frozen=True, eq=False)
class Validation:
    """What is known of a classifier from images with known classes.

    Attributes:
        labels (n,): Classes.
        posterior (n, C): Their posteriors, calibrated.
    """

    labels: np.ndarray
    posterior: np.ndarray

    @cached_property
    def confusion(self) -> np.ndarray:
        """See `confusion`, once for all samples that are counted."""
        return confusion(self.labels, self.posterior.argmax(axis=1), self.posterior.shape[1])


class Shares(NamedTuple):
    """Shares of the classes in a batch, each (C,) or, of draws of the bootstrap, (B, C).

    Fields:
        counted: Of the most probable classes.
        adjusted: See `adjusted_count`.
        em: See `saerens`.
    """

    counted: np.ndarray
    adjusted: np.ndarray
    em: np.ndarray


def confusion(labels: np.ndarray, answers: np.ndarray, classes: int) -> np.ndarray:
    """Number of images of class i that are answered j, (C, C) int64."""
    flat = np.bincount(labels * classes + answers, minlength=classes * classes)
    return flat.reshape(classes, classes)


def confusion_rates(counts: np.ndarray) -> np.ndarray:
    """P(answer j | class i) of a table of counts (C, C), (C, C); a class without images is taken
    to be always answered right, as nothing is known of it.
    """
    totals = counts.sum(axis=1, keepdims=True)
    return np.where(totals > 0, counts / np.where(totals > 0, totals, 1), np.eye(len(counts)))


def adjusted_count(answered: np.ndarray, rates: np.ndarray) -> np.ndarray:
    """Shares q of the classes, at least 0 and of sum 1, for which sum_i q_i P(answer j | class i)
    is nearest to the share of the answers j (least squares).

    Of two classes, and where q needs no bound, it is (share - fpr) / (tpr - fpr).

    Args:
        answered: (C,) shares of the answers, of sum 1.
        rates: (C, C) from `confusion_rates`.

    Source: Forman 2008 for two classes; Firat 2016 and Bunse 2022 for several, with the bounds.
    """
    # of a sum s the errors are s times those of q / s: whatever the sum, the same q / s is best
    errors = rates.T - answered[:, None]
    system, wanted = np.vstack([errors, np.ones(len(rates))]), np.append(0.0 * answered, 1.0)
    found, _ = nnls(system, wanted)
    shares = found / found.sum()
    slopes = errors @ shares @ errors  # of half the squares, equal where a share is above 0
    if slopes @ shares - slopes.min() > _OPTIMAL:  # SciPy's is wrong for some singular rates
        found = lsq_linear(system, wanted, (0, np.inf), method="bvls").x.clip(0.0)  # far slower
    return found / found.sum()


def undetermined(hierarchy: Hierarchy, rates: np.ndarray) -> np.ndarray:
    """The nodes whose shares the answers say nothing of, (N,) bool: other shares of the classes,
    with another one of the node, would give the same answers. So where images of two classes are
    answered alike, each of the two, but not their superclass.

    Args:
        rates: (C, C) from `confusion_rates`.
    """
    system = np.vstack([rates.T, np.ones((1, len(rates)))])
    lost = null_space(system, rcond=_SINGULAR).T  # (k, C), along which no answer changes
    return (np.abs(_of_nodes(hierarchy, lost)) > _SINGULAR).any(axis=0)


def saerens(
    posterior: np.ndarray,
    prior: np.ndarray,
    weights: np.ndarray | None = None,
    start: np.ndarray | None = None,
) -> np.ndarray:
    """Shares of the classes that make a batch most probable, by EM: from the shares q, each image
    belongs to class c in proportion to p(c | image) q_c / prior_c; the new q is the mean of that.

    Args:
        posterior: (S, C), calibrated.
        prior: (C,) or (B, C) shares of the classes that the posteriors come from. Theirs on
            average over validation images: the posteriors of these then give their own shares,
            whatever the calibration leaves (Alexandari et al. 2020).
        weights: (B, S) weights of the images, for B answers at once; None: all alike, one answer.
        start: (B, C) where to begin; the prior by default.

    Returns: (C,), or (B, C) with weights. Without an image NaN.
    Source: Saerens, Latinne & Decaestecker 2002.
    """
    samples, classes = posterior.shape
    single = weights is None
    weights = np.ones((1, samples)) if single else weights
    if not samples:
        return np.full(classes if single else (len(weights), classes), np.nan)
    prior = np.maximum(np.broadcast_to(prior, (len(weights), classes)), _TINY)
    weights = weights / weights.sum(axis=1, keepdims=True)
    shares = prior if start is None else start
    most, enough = (_MOST_STEPS, _ENOUGH) if single else (_STEPS_OF_DRAWS, _ENOUGH_OF_DRAWS)
    for _ in range(most):
        ratio = shares / prior
        of_image = ratio @ posterior.T  # (B, S): sum over the classes
        scaled = weights / np.maximum(of_image, _TINY)
        new = ratio * (scaled @ posterior)
        new /= new.sum(axis=1, keepdims=True)
        change = np.abs(new - shares).max()
        shares = new
        if change < enough:
            break
    return shares[0] if single else shares


def class_shares(posterior: np.ndarray, validation: Validation) -> Shares:
    """Shares of the classes among the images of posteriors (S, C), S >= 1, each (C,)."""
    classes = posterior.shape[1]
    answers = posterior.argmax(axis=1)
    counted = np.bincount(answers, minlength=classes) / len(posterior)
    return Shares(
        counted,
        adjusted_count(counted, confusion_rates(validation.confusion)),
        saerens(posterior, validation.posterior.mean(axis=0)),
    )


def drawn_shares(
    posterior: np.ndarray,
    validation: Validation,
    found: Shares,
    draws: int = DRAWS,
    seed: int = 1,
) -> Shares:
    """`class_shares` of batches drawn from the images, with replacement, by validation images drawn
    likewise, class by class: each (draws, C).

    The rates of adjusted counts are drawn from a Dirichlet distribution, as if there were half an
    image more of each class, answered as each class alike. A bootstrap would take for impossible
    what none of a few images shows, and of a large batch that decides: of 12 validation images of a
    class and an accuracy of .94 it held counts in 2,000 images as seldom as .55.

    Args:
        posterior: (S, C), S >= 1.
        validation: The temperature behind its posteriors is not fitted again.
        found: `class_shares` of these images, near which EM of each batch begins.
        draws, seed: Number of the draws, and of the generator.
    """
    rng = np.random.default_rng(seed)
    samples, classes = posterior.shape
    answers = posterior.argmax(axis=1)
    weights = rng.multinomial(samples, np.full(samples, 1 / samples), size=draws)
    counted = np.stack([np.bincount(answers, row, minlength=classes) for row in weights]) / samples
    seen = validation.confusion
    totals = seen.sum(axis=1)
    shapes = seen + np.where(totals > 0, _DOUBT / classes, 0.0)[:, None]
    adjusted, prior = np.empty((draws, classes)), np.zeros((draws, classes))
    for draw in range(draws):
        rates = confusion_rates(rng.standard_gamma(shapes))
        adjusted[draw] = adjusted_count(counted[draw], rates)
    for c in np.flatnonzero(totals):
        own = validation.posterior[validation.labels == c]
        drawn = rng.multinomial(len(own), np.full(len(own), 1 / len(own)), size=draws)
        prior += drawn @ own
    prior /= totals.sum()
    start = (found.em + prior) / 2  # from near 0 EM takes long to leave
    return Shares(counted, adjusted, saerens(posterior, prior, weights.astype(float), start))


def count_nodes(
    hierarchy: Hierarchy,
    posterior: np.ndarray,
    validation: Validation,
    draws: int = DRAWS,
    seed: int = 1,
    unknown: np.ndarray | None = None,
) -> pd.DataFrame:
    """How many of the images of posteriors (S, C) are of each node of the tree, one row a node in
    their order.

    Columns: counted, of the most probable classes; adjusted and em, shares of `adjusted_count` and
    `saerens` times S, with the ends of an interval of 95 % each (`adjusted_low`, `adjusted_high`,
    ...), the quantiles of `drawn_shares`, or the number itself where it is beyond them. A
    superclass has the sum of its classes; its interval is of these sums. `adjusted` is NaN, with
    its ends, where it is `undetermined`. The intervals are of the numbers among these images: as
    shares of the place that they were drawn from they are too narrow for classes of which there is
    no image. With no image all but `counted` is NaN.

    Args:
        unknown: `undetermined` nodes, where they are known already.

    Raises: ValueError: If there are no validation images.
    """
    samples = len(posterior)
    if not len(validation.labels):
        raise ValueError("counts are corrected by validation images, and there are none")
    if not samples:
        empty = pd.DataFrame({"counted": np.zeros(hierarchy.num_nodes)})
        return empty.reindex(columns=COLUMNS)
    found = class_shares(posterior, validation)
    drawn = drawn_shares(posterior, validation, found, draws, seed)
    columns = {"counted": np.round(_of_nodes(hierarchy, found.counted[None])[0] * samples)}
    for name in ("adjusted", "em"):
        columns[name] = _of_nodes(hierarchy, getattr(found, name)[None])[0] * samples
        nodes = _of_nodes(hierarchy, getattr(drawn, name)) * samples
        ends = np.quantile(nodes, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
        columns[f"{name}_low"] = np.minimum(ends[0], columns[name])
        columns[f"{name}_high"] = np.maximum(ends[1], columns[name])
    table = pd.DataFrame(columns)
    if unknown is None:
        unknown = undetermined(hierarchy, confusion_rates(validation.confusion))
    table.loc[unknown, ["adjusted", "adjusted_low", "adjusted_high"]] = np.nan
    return table


COLUMNS = (
    "counted",
    *(f"{name}{end}" for name in ("adjusted", "em") for end in ("", "_low", "_high")),
)


def _of_nodes(hierarchy: Hierarchy, shares: np.ndarray) -> np.ndarray:
    """Shares of the nodes, (B, N), of shares of the classes (B, C)."""
    return node_probabilities(hierarchy, shares)
