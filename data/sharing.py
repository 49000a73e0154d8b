"""How images are shared out between training, validation and test, and how fewer train."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from data.apportionment import apportion
from data.groups import share_out
from data.splits import SPLITS
from files.text import counted

# use_val -> training, validation; the rest is the test set
FRACTIONS = {True: (0.7, 0.1), False: (0.9, 0.0)}
# runs of different --seed share their test images unless --split_seed says otherwise
STRATIFIED_SEED = 1


def split_indices(
    labels: np.ndarray,
    *,
    seed: int,
    use_val: bool,
    split: str = "stratified",
    fractions: tuple[float, float] | None = None,
    order: Sequence[int] | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shares images out between training, validation and test; sizes int(a n), int(b n), rest.

    Args:
        labels: Class of each image, (S,).
        seed: Seed of a generator of its own.
        use_val: 70/10/20, otherwise 90/10 without validation.
        split: 'stratified' takes the same share of every class; the overall sizes are kept where
            the classes allow. A class with one image goes to training, with two to training and
            test, with three or more to every split. 'published' permutes all images at once, as
            torch's random_split: classes can be missing from a split.
        fractions: Shares (training, validation) instead of these.
        order: The images in the order that 'published' permutes; as given by default.

    Returns: Sorted int64 indices of training, validation (empty without use_val) and test.
    Raises: ValueError: If the split is unknown or one that was asked for would be empty.
    Source: Kim et al. 2023 for the sizes and 'published'.
    """
    labels = np.asarray(labels)
    sizes = split_sizes(
        len(labels), *(FRACTIONS[bool(use_val)] if fractions is None else fractions)
    )
    if split == "stratified":
        parts = stratified_split(labels, sizes, seed)
    elif split == "published":
        parts = random_split(
            np.arange(len(labels)) if order is None else np.asarray(order), sizes, seed
        )
    else:
        raise ValueError(f"split must be 'stratified' or 'published', got {split!r}")
    for name, part in zip(SPLITS, parts):
        if len(part) == 0 and (name != "val" or use_val):
            way_out = "leave out --use_val or add images" if name == "val" else "add images"
            raise ValueError(f"{len(labels)} images leave none for the {name} split; {way_out}")
    return parts


def given_split(
    parts: np.ndarray,
    labels: np.ndarray,
    use_val: bool,
    seed: int,
    groups: np.ndarray | None = None,
) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], list[str]]:
    """Training, validation and test as the collection gives them, and notes.

    Args:
        parts: 0, 1, 2 for train, val, test of each image, other numbers for none, (S,).
        labels: Class of each image, (S,).
        use_val: Whether a validation split is wanted. Where none is given, a tenth of the training
            images is held out, the same share of every class, or whole groups.
        seed: Of what is held out.
        groups: Group of each image, (S,) int64; None for none.

    Raises: ValueError: If there is no training or no test image, or too few to hold some out.
    """
    train, val, test = (np.flatnonzero(parts == code) for code in range(len(SPLITS)))
    for name, part in (("train", train), ("test", test)):
        if not len(part):
            called = name == "test" and len(val)
            way_out = "; if val is what to test on, call it test" if called else ""
            raise ValueError(
                f"the split that is given has no {name} image: it needs train and test, and val"
                f" where the epoch shall be chosen{way_out}"
            )
    if len(val) and not use_val:
        return (train, val[:0], test), [
            f"not used without --use_val: {counted(len(val), 'val image')}"
        ]
    if use_val and not len(val):
        held = len(train) // 10
        if not held:
            raise ValueError(f"{len(train)} training images leave none for the val split")
        if groups is None:
            sizes = (len(train) - held, held, 0)
            kept, held_out, _ = stratified_split(labels[train], sizes, seed)
        else:
            _, own = np.unique(groups[train], return_inverse=True)
            part = share_out(labels[train], own, (0.9, 0.1), seed)
            kept, held_out = np.flatnonzero(part == 0), np.flatnonzero(part == 1)
        note = f"{len(held_out)} training images validate, as the split that is given has no val"
        return (train[kept], train[held_out], test), [note]
    return (train, val, test), []


def grouped_split(
    labels: np.ndarray, groups: np.ndarray, *, seed: int, use_val: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Training, validation (empty without use_val) and test of which none parts a group, with the
    shares of `split_indices` in every class as nearly as groups allow; see `share_out`.
    """
    train, val = FRACTIONS[bool(use_val)]
    shares = (train, val, 1 - train - val) if use_val else (train, 1 - train)
    part = share_out(labels, groups, shares, seed)
    if not use_val:
        part = np.where(part == 1, 2, 0)
    return tuple(np.flatnonzero(part == code) for code in range(len(SPLITS)))


def hold_out_calibration(
    val: np.ndarray,
    labels: np.ndarray,
    share: float,
    seed: int,
    groups: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The validation images that choose the epoch, and those that choose nothing.

    Every image is held out with the same probability: in the order of the classes, and shuffled
    inside each, images are taken at equal distances from a random start. So each class has its
    share but for less than one image, and neighbours in the tree make up for each other. With
    groups, whole ones are held out, see `share_out`.

    Args:
        val: Indices of the n validation images, (n,).
        labels: Class of every image of the dataset, (S,).
        share: In [0, 1); share * n, rounded, are held out, but never all.
        seed: Seed of generators of its own.
        groups: Group of every image of the dataset, (S,).

    Returns: Both sorted. The second is empty where n or the number of groups is 1, or the share
    makes up less than half an image.
    """
    val = np.asarray(val)
    own = labels[val]
    if groups is not None:
        number, index = np.unique(groups[val], return_inverse=True)
        if share == 0 or len(number) < 2:
            return val, val[:0]
        held = share_out(own, index, (1 - share, share), seed) == 1
        return val[~held], val[held]
    total = min(int(np.floor(share * len(val) + 0.5)), len(val) - 1)
    stream = int(np.random.SeedSequence([seed, 1]).generate_state(1)[0])  # not that of the splits
    generator = torch.Generator().manual_seed(stream)
    by_class, _ = _shuffled_by_class(own, generator)
    held = systematic_sample(by_class, total, generator)
    return np.sort(np.delete(val, held)), np.sort(val[held])


def systematic_sample(items: np.ndarray, total: int, generator: torch.Generator) -> np.ndarray:
    """So many of n items, at equal distances from a random start: each is taken with the same
    probability, total / n, and of any of them in a row their share but for less than one.
    """
    start = torch.rand((), generator=generator, dtype=torch.float64).item()
    steps = np.floor(np.arange(len(items) + 1) * total / max(len(items), 1) + start)
    return items[np.diff(steps) > 0]


def choose_split_seed(options: Mapping) -> int:
    """Seed of the splits: split_seed if given, else seed for 'published', as in the papers, else a
    fixed one.
    """
    if options["split_seed"] is not None:
        return options["split_seed"]
    return options["seed"] if options["split"] == "published" else STRATIFIED_SEED


def split_sizes(total: int, train: float, val: float) -> tuple[int, int, int]:
    """Images of training, validation and test: both shares rounded down, test has the rest."""
    if not (train > 0 and val >= 0 and train + val < 1):
        raise ValueError(
            f"shares of training and validation must be positive and leave a test set, got {train},"
            f" {val}"
        )
    n_train, n_val = int(train * total), int(val * total)  # float product on purpose: as published
    return n_train, n_val, total - n_train - n_val


def random_split(order: np.ndarray, sizes: Sequence[int], seed: int) -> tuple[np.ndarray, ...]:
    """The same images in each part as torch.utils.data.random_split(order, sizes, Generator(seed)),
    sorted.
    """
    order = np.asarray(order)
    if sum(sizes) != len(order):
        raise ValueError(f"the parts {tuple(sizes)} must sum to the {len(order)} images")
    shuffled = order[
        torch.randperm(len(order), generator=torch.Generator().manual_seed(seed)).numpy()
    ]
    return tuple(
        np.sort(part).astype(np.int64) for part in np.split(shuffled, np.cumsum(sizes)[:-1])
    )


def stratified_split(labels: np.ndarray, sizes: Sequence[int], seed: int) -> tuple[np.ndarray, ...]:
    """Training, validation and test of the given sizes, sorted, with the same share of every class
    in each.

    A class with two images is in training and test, with three in all that have a size above 0,
    even where that changes the sizes.
    """
    labels, generator = np.asarray(labels), torch.Generator().manual_seed(seed)
    counts = np.bincount(labels)
    tie = torch.randperm(len(counts), generator=generator).numpy()
    has_val, has_test = int(sizes[1] > 0), int(sizes[2] > 0)
    room = has_test * np.maximum(counts - 1 - has_val * (counts >= 3), 0)
    test = apportion(counts, sizes[2], (counts >= 2) * has_test, room, tie)
    val = apportion(
        counts, sizes[1], (counts >= 3) * has_val, has_val * np.maximum(counts - test - 1, 0), tie
    )
    by_class, rank = _shuffled_by_class(labels, generator)
    n_test, n_held = test[labels[by_class]], (test + val)[labels[by_class]]
    parts = (
        by_class[rank >= n_held],
        by_class[(rank >= n_test) & (rank < n_held)],
        by_class[rank < n_test],
    )
    return tuple(np.sort(part) for part in parts)


def reduce_training(
    indices: np.ndarray, labels: np.ndarray, factor: float, seed: int, stratified: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Keeps floor(n / factor) of n training images.

    Args:
        indices: Training images, (n,).
        labels: Class of every image of the dataset, (S,).
        factor: How many times smaller the training set becomes, >= 1.
        seed: Seed of a generator of its own.
        stratified: The same share of every class, and one image of each at least where there are
            enough; otherwise drawn from all images at once (Urbani et al. 2024).

    Returns: The kept indices, sorted, and the classes that lost their last training image.
    Raises: ValueError: If the factor is below 1 or leaves no image.
    """
    if not 1 <= factor <= len(indices):
        raise ValueError(
            f"reduction_factor must lie in [1, {len(indices)}] (the training images), got {factor}"
        )
    indices, generator = np.asarray(indices), torch.Generator().manual_seed(seed)
    total = int(len(indices) // factor)
    classes, own = np.unique(labels[indices], return_inverse=True)
    if stratified:
        counts = np.bincount(own)
        tie = torch.randperm(len(classes), generator=generator).numpy()
        keep = apportion(
            counts, total, np.full(len(classes), int(total >= len(classes))), counts, tie
        )
        by_class, rank = _shuffled_by_class(own, generator)
        kept = by_class[rank < keep[own[by_class]]]
    else:
        kept = torch.randperm(len(indices), generator=generator).numpy()[:total]
    return np.sort(indices[kept]), np.setdiff1d(classes, classes[own[kept]])


def cap_training(
    indices: np.ndarray, labels: np.ndarray, most: int, seed: int
) -> tuple[np.ndarray, int]:
    """At most so many training images of each class, drawn at random.

    Args:
        indices: Training images, (n,).
        labels: Class of every image of the dataset, (S,).
        most: Images that a class keeps, 1 or more.
        seed: Seed of a generator of its own.

    Returns: The kept indices, sorted, and the number of classes that had more.
    """
    indices = np.asarray(indices)
    classes, own = np.unique(labels[indices], return_inverse=True)
    order, rank = _shuffled_by_class(own, torch.Generator().manual_seed(seed))
    return np.sort(indices[order[rank < most]]), int((np.bincount(own) > most).sum())


def by_class_shuffled(labels: np.ndarray, seed: int) -> np.ndarray:
    """The images class by class, shuffled inside each, (S,)."""
    return _shuffled_by_class(labels, torch.Generator().manual_seed(seed))[0]


def _shuffled_by_class(
    labels: np.ndarray, generator: torch.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The images class by class, shuffled inside each, and the rank of each inside its class."""
    shuffled = torch.randperm(len(labels), generator=generator).numpy()
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    counts = np.bincount(labels)
    return by_class, np.arange(len(labels)) - (np.cumsum(counts) - counts)[labels[by_class]]
