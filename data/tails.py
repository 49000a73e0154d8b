"""Long tails: training splits made long-tailed, and how often an epoch draws each image."""

from dataclasses import replace

import numpy as np
import torch

from data.inner_labels import shared_counts, shares_below
from data.splits import Splits
from hierarchies import Hierarchy
from registry import Option, one_of

# --balance -> the power of the images of a class by which its images are drawn less often
POWERS = {"none": 0.0, "sqrt": 0.5, "class": 1.0}
BALANCE = Option(
    "balance",
    one_of(POWERS),
    "none",
    help="how an epoch draws the training images: each once (none), images of rare classes more"
    " often, by 1 over the square root of their number (sqrt), or so that all classes come equally"
    " often (class); an epoch is as long in all three",
    off="none",
)


def make_imbalanced(splits: Splits, ratio: float, seed: int) -> Splits:
    """The same splits with fewer training images: the k-th of C classes, from 0 and in an order
    drawn by the seed, keeps n ratio^(-k / (C - 1)) of them, rounded, and one at least; n is what
    the smallest class has, so that the profile is the published one.

    Validation and test stay as they are. Images labelled at superclasses stay, too.

    Raises: ValueError: If a class has no training image, of which none can be kept.
    Source: Cao et al. 2019, LDAM-DRW, where the first class keeps all and the last 1/ratio.
    """
    classes = splits.num_classes
    own = splits.labels[splits.train]
    counts = np.bincount(own, minlength=classes)[:classes]
    if not counts.all():
        raise ValueError(
            f"--imbalance needs a training image of every class, {int((counts == 0).sum())} have"
            " none"
        )
    generator = torch.Generator().manual_seed(seed)
    place = torch.randperm(classes, generator=generator).numpy()
    share = ratio ** (-place / max(classes - 1, 1))
    keep = np.maximum(np.floor(counts.min() * share + 0.5), 1).astype(np.int64)
    shuffled = splits.train[torch.randperm(len(own), generator=generator).numpy()]
    labels = splits.labels[shuffled]
    order = np.argsort(labels, kind="stable")
    shuffled, labels = shuffled[order], labels[order]
    first = np.searchsorted(labels, labels)
    rank = np.arange(len(labels)) - first
    limit = np.append(keep, len(labels))[np.minimum(labels, classes)]
    kept = np.sort(shuffled[rank < limit])
    note = (
        f"{len(kept)} of {len(own)} training images are kept, {keep.max()} of the largest class"
        f" and {keep.min()} of the smallest (--imbalance {ratio:g})"
    )
    return replace(splits, train=kept, notes=(*splits.notes, note))


def draw_weights(balance: str, hierarchy: Hierarchy, labels: np.ndarray) -> np.ndarray | None:
    """How often an epoch draws each of the n training images, on average: (n,) float64 of mean 1;
    None for once each.

    An image of a class with m images has the weight 1 / m ('class': each class is drawn as often)
    or 1 / sqrt(m) ('sqrt'). One that is labelled at a superclass has the mean of those below it, by
    their shares of it.

    Args:
        balance: A key of `POWERS`.
        hierarchy: The class tree.
        labels: Of the training images, (n,).
    """
    power = POWERS[balance]
    if power == 0:
        return None
    counts = np.maximum(shared_counts(hierarchy, labels), 1e-9)
    of_class = counts**-power
    of_label = np.concatenate([of_class, np.zeros(hierarchy.num_nodes)])
    for label, below, shares in shares_below(hierarchy, labels):
        of_label[label] = (of_class[below] * shares).sum()
    weights = of_label[labels]
    return weights / weights.mean()


def drawn_counts(balance: str, hierarchy: Hierarchy, labels: np.ndarray) -> np.ndarray:
    """Images of each class that an epoch draws on average, (C,): see `shared_counts` for
    superclasses. What a prior of the training data is made of.
    """
    weights = draw_weights(balance, hierarchy, labels)
    if weights is None:
        return shared_counts(hierarchy, labels)
    classes = hierarchy.num_classes
    drawn = np.bincount(labels, weights, minlength=classes + hierarchy.num_nodes)
    total = drawn[:classes].copy()
    for label, below, shares in shares_below(hierarchy, labels):
        total[below] += drawn[label] * shares
    return total


def draw(weights: np.ndarray, generator: torch.Generator) -> np.ndarray:
    """Positions (n,) of n images drawn for an epoch in the order drawn: image i comes n w_i / sum w
    times, rounded down or up, at random. With equal weights each comes once.

    Systematic sampling over a random order: the least spread that these numbers allow.
    """
    total = len(weights)
    order = torch.randperm(total, generator=generator).numpy()
    ends = np.cumsum(weights[order])
    start = torch.rand((), generator=generator, dtype=torch.float64).item()
    points = (np.arange(total) + start) * (ends[-1] / total)
    drawn = order[np.minimum(np.searchsorted(ends, points, side="right"), total - 1)]
    return drawn[torch.randperm(total, generator=generator).numpy()]
