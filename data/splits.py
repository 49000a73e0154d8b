"""A dataset with its splits, and how images are shared out between training, validation and
test.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from data.apportionment import apportion
from data.groups import share_out
from data.progress import progress
from files.fingerprints import NEWEST, is_of_pixels, pixels_fingerprint
from files.text import printable
from hierarchies import Hierarchy
from hierarchies.tree import format_path

if TYPE_CHECKING:
    import pandas as pd

SPLITS = ("train", "val", "test")
HELD_OUT = "held_out"  # images of classes that training never sees
CALIBRATION = "calibration"  # the part of the validation images that chooses nothing
# use_val -> training, validation; the rest is the test set
FRACTIONS = {True: (0.7, 0.1), False: (0.9, 0.0)}
STRATIFIED_SEED = (
    1  # runs of different --seed share their test images unless --split_seed says otherwise
)


@dataclass(frozen=True, eq=False)
class Splits:
    """Images, labels and class tree of a dataset, and which image is in which split. Checked when
    made, never changed.

    Attributes (S images, C classes):
        dataset: Name of the dataset.
        hierarchy: Tree of the C classes.
        files (S): Id of each image, a posix path relative to the data folder.
        labels (S,): int64 class of each image, or C + v where it is labelled at the inner node v of
            the tree only.
        sizes (S, 2): float32 width and height of the original image, in pixels.
        pixels (S, H, W, channels): uint8 array or memory map.
        train, val, test, calibration: int64 sorted image indices, disjoint. val chooses the epoch
            and may be empty, calibration chooses nothing and mostly is; images may be in no split.
        held_out: int64 sorted image indices of classes that are not in the tree, labelled at the
            deepest node above them that is, the root included; mostly empty.
        living (C,): bool, or None where the dataset does not say.
        notes: What the user should be told once.
        fingerprints (S,): uint64 hashes of the images' content, equal for equal images; None where
            they are made of the pixels, an array, when they are asked for.
        fingerprints_of: What the fingerprints are made of: the pixels as stored, by one of
            `files.fingerprints.HASHES`, or 'files'.
        groups (S,): int64 group of each image, which no split parts but one that was given; None
            where there are none.
        group_names (G): Name of each group, by its number.

    Raises: ValueError: If shapes, types or ranges do not fit, splits overlap, or training or test
    is empty.
    """

    dataset: str
    hierarchy: Hierarchy
    files: tuple[str, ...]
    labels: np.ndarray
    sizes: np.ndarray
    pixels: object
    train: np.ndarray
    val: np.ndarray
    test: np.ndarray
    living: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    fingerprints: np.ndarray | None = None
    fingerprints_of: str = NEWEST
    calibration: np.ndarray = ()
    held_out: np.ndarray = ()
    groups: np.ndarray | None = None
    group_names: tuple[str, ...] = ()

    def __post_init__(self):
        _store(self, "labels", _frozen(self.labels, np.int64, "labels"))
        _store(self, "sizes", _frozen(self.sizes, np.float32, "sizes"))
        for name in (*SPLITS, CALIBRATION, HELD_OUT):
            _store(self, name, _frozen(np.sort(getattr(self, name)), np.int64, name))
        if self.groups is not None:
            _store(self, "groups", _frozen(self.groups, np.int64, "groups"))
        if self.living is not None:
            _store(self, "living", _frozen(self.living, np.bool_, "living"))
        _store(self, "files", tuple(self.files))
        _store(self, "notes", tuple(self.notes))
        if self.fingerprints is not None:
            _store(self, "fingerprints", _frozen(self.fingerprints, np.uint64, "fingerprints"))
        _check_images(self)
        _check_membership(self)

    @property
    def num_classes(self) -> int:
        """Number of classes C."""
        return self.hierarchy.num_classes

    @property
    def channels(self) -> int:
        """3 for colour, 1 for grey."""
        return self.pixels.shape[3]

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the stored images, in pixels."""
        return self.pixels.shape[1:3]

    @cached_property
    def train_counts(self) -> np.ndarray:
        """Training images labelled with each class, (C,) int64."""
        return np.bincount(self.labels[self.train], minlength=self.num_classes)[: self.num_classes]

    @cached_property
    def has_class(self) -> np.ndarray:
        """Whether each image is labelled with a class, not only at an inner node: (S,) bool."""
        return self.labels < self.num_classes

    @cached_property
    def trains_coarse(self) -> bool:
        """Whether some training image is labelled at an inner node."""
        return not self.has_class[self.train].all()

    def with_class(self, part: np.ndarray) -> np.ndarray:
        """Those of the image indices that are labelled with a class."""
        return part[self.has_class[part]]

    @cached_property
    def missing(self) -> dict[str, np.ndarray]:
        """Classes without an image of their own, for each split that has images."""
        present = {name: self.labels[getattr(self, name)] for name in SPLITS}
        return {
            name: np.setdiff1d(np.arange(self.num_classes), seen)
            for name, seen in present.items()
            if len(seen)
        }

    @cached_property
    def membership(self) -> np.ndarray:
        """Split of each image, (S,) int64: 0, 1, 2 as in SPLITS, 3 for none, 4 for calibration, 5
        for held out.
        """
        member = np.full(len(self.files), len(SPLITS))
        for code, name in enumerate(SPLITS):
            member[getattr(self, name)] = code
        member[self.calibration] = len(SPLITS) + 1
        member[self.held_out] = len(SPLITS) + 2
        return member

    @cached_property
    def digest(self) -> str:
        """Hexadecimal fingerprint of the files, their classes and their splits."""
        rows = zip(self.files, self.labels.tolist(), self.membership.tolist())
        lines = "\n".join(f"{member} {label} {file!r}" for file, label, member in rows)
        return hashlib.sha256(
            f"{self.hierarchy.digest}\n{lines}".encode("utf-8", "backslashreplace")
        ).hexdigest()[:16]

    @property
    def content(self) -> tuple[str, ...]:
        """Fingerprint of the content of each image, 16 hexadecimal digits."""
        return self.content_by(self.fingerprints_of)

    @property
    def content_digest(self) -> str:
        """Hexadecimal fingerprint of the images with their content and classes, whatever the order
        and the splits.
        """
        return self.digest_by(self.fingerprints_of)

    def content_by(self, of: str) -> tuple[str, ...] | None:
        """`content` as it was recorded by another hash, which may take a fifth of a millisecond an
        image the first time; None where the pixels do not tell it.

        Args:
            of: What the fingerprints are made of, see `fingerprints_of`.
        """
        if of not in self._contents:
            self._contents[of] = self._compute_content(of)
        return self._contents[of]

    def digest_by(self, of: str) -> str | None:
        """`content_digest` as it was recorded by another hash, see `content_by`."""
        if of not in self._digests:
            contents = self.content_by(of)
            self._digests[of] = None if contents is None else self._compute_digest(contents)
        return self._digests[of]

    @cached_property
    def _contents(self) -> dict[str, tuple[str, ...] | None]:
        return {}

    @cached_property
    def _digests(self) -> dict[str, str | None]:
        return {}

    def _compute_digest(self, contents: Sequence[str]) -> str:
        rows = sorted(zip(self.files, self.labels.tolist(), contents))
        text = "\n".join(f"{label} {content} {file!r}" for file, label, content in rows)
        return hashlib.sha256(
            f"{self.hierarchy.digest}\n{text}".encode("utf-8", "backslashreplace")
        ).hexdigest()[:16]

    def _compute_content(self, of: str) -> tuple[str, ...] | None:
        found = self.fingerprints if of == self.fingerprints_of else None
        if found is None:
            if not (is_of_pixels(of) and is_of_pixels(self.fingerprints_of)):
                return None
            pixels, sizes = getattr(self.pixels, "stored", self.pixels), self.sizes.tolist()
            rows = progress(
                range(len(sizes)), desc="Comparing images with the record", unit="image", delay=2
            )
            found = [
                pixels_fingerprint(pixels[row], tuple(map(int, sizes[row])), of) for row in rows
            ]
        return tuple(f"{value:016x}" for value in map(int, found))


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
            raise ValueError(
                f"the split that is given has no {name} image: it needs train and test, and val"
                " where the epoch shall be chosen"
            )
    if len(val) and not use_val:
        return (train, val[:0], test), [f"the {len(val)} val images are not used (--use_val)"]
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
    start = torch.rand((), generator=generator, dtype=torch.float64).item()
    steps = np.floor(np.arange(len(val) + 1) * total / len(val) + start)
    held = by_class[np.diff(steps) > 0]
    return np.sort(np.delete(val, held)), np.sort(val[held])


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


def split_table(splits: Splits, of: str | None = None) -> "pd.DataFrame":
    """One row an image: file, class (its path in the tree, or that of the inner node it is labelled
    at), label, split ('unused' where in none) and the fingerprint of its content.

    Args:
        of: What the fingerprints are made of, see `Splits.content_by`; those of the splits.
    """
    tree = splits.hierarchy
    paths = np.array([format_path(path) for path in tree.class_paths], dtype=object)
    if not splits.has_class.all():
        nodes = [format_path(tree.path(v)) for v in range(tree.num_nodes)]
        paths = np.concatenate([paths, np.array(nodes, dtype=object)])
    names = np.array([*SPLITS, "unused", CALIBRATION, HELD_OUT], dtype=object)
    more = {}
    if splits.groups is not None:
        more["group"] = np.array(splits.group_names, dtype=object)[splits.groups]
    columns = {"file": splits.files, "class": paths[splits.labels], "label": splits.labels}
    import pandas as pd

    return pd.DataFrame(
        {
            **columns,
            "split": names[splits.membership],
            "fingerprint": splits.content_by(of or splits.fingerprints_of),
            **more,
        }
    )


def coverage_notes(splits: Splits) -> tuple[str, ...]:
    """One sentence for each split that lacks classes, with how many and which."""
    notes = []
    for name, classes in splits.missing.items():
        if len(classes):
            paths = [format_path(splits.hierarchy.class_paths[c]) for c in classes[:10]]
            shown = ", ".join(map(printable, paths))
            more = f" and {len(classes) - 10} more" if len(classes) > 10 else ""
            notes.append(
                f"{len(classes)} of {splits.num_classes} classes have no {name} image:"
                f" {shown}{more}"
            )
    return tuple(notes)


def _shuffled_by_class(
    labels: np.ndarray, generator: torch.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The images class by class, shuffled inside each, and the rank of each inside its class."""
    shuffled = torch.randperm(len(labels), generator=generator).numpy()
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    counts = np.bincount(labels)
    return by_class, np.arange(len(labels)) - (np.cumsum(counts) - counts)[labels[by_class]]


def _store(splits: Splits, name: str, value) -> None:
    object.__setattr__(splits, name, value)


def _frozen(values, dtype, name: str) -> np.ndarray:
    # of Python's numbers below and above 2^63 numpy would make floats
    listed = dtype is np.uint64 and isinstance(values, list)
    array = np.asarray(values, dtype if listed else None)
    whole = dtype in (np.int64, np.uint64)
    if array.size and whole and not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{name} must be integers, got {array.dtype}")
    array = array.astype(dtype)
    array.flags.writeable = False
    return array


def _check_images(splits: Splits) -> None:
    count, classes, pixels = len(splits.files), splits.num_classes, splits.pixels
    shapes = {"labels": (count,), "sizes": (count, 2)}
    optional = {"living": (classes,), "fingerprints": (count,), "groups": (count,)}
    shapes |= {name: shape for name, shape in optional.items() if getattr(splits, name) is not None}
    for name, shape in shapes.items():
        if getattr(splits, name).shape != shape:
            raise ValueError(f"{name} must have shape {shape}, got {getattr(splits, name).shape}")
    if (
        pixels.ndim != 4
        or len(pixels) != count
        or pixels.shape[3] not in (1, 3)
        or pixels.dtype != np.uint8
    ):
        raise ValueError(
            f"pixels must be uint8 ({count}, H, W, 1 or 3), got {pixels.dtype} {pixels.shape}"
        )
    if len(set(splits.files)) != count:
        raise ValueError("every image needs a name of its own, but some come twice in files")
    barred = np.append(np.zeros(classes, bool), splits.hierarchy.class_of >= 0)
    barred[classes] = True  # the root is not a label
    size = len(barred)
    wrong = (splits.labels < 0) | (splits.labels >= size)
    wrong |= barred[splits.labels.clip(0, size - 1)]
    # but of images of no class of the tree, which are held out or in no split
    used = np.concatenate([getattr(splits, name) for name in (*SPLITS, CALIBRATION)])
    wrong &= (splits.labels != classes) | np.isin(np.arange(count), used)
    if wrong.any():
        outside = splits.labels[wrong][0]
        raise ValueError(
            f"labels must lie in [0, {classes}), got {outside}; is the hierarchy of another"
            " dataset?"
        )
    if not (splits.sizes > 0).all():
        raise ValueError(
            f"the original size of {splits.files[int(np.argmin(splits.sizes.min(1)))]!r} must be"
            " positive"
        )


def _check_membership(splits: Splits) -> None:
    for name in (*SPLITS, CALIBRATION, HELD_OUT):
        part = getattr(splits, name)
        if len(part) == 0 and name in ("train", "test"):
            raise ValueError(f"the {name} split of {splits.dataset} has no image")
        if part.ndim != 1 or (len(part) and not 0 <= part[0] <= part[-1] < len(splits.files)):
            raise ValueError(f"the {name} split must hold indices in [0, {len(splits.files)})")
    parts = [getattr(splits, name) for name in (*SPLITS, CALIBRATION, HELD_OUT)]
    times = np.bincount(np.concatenate(parts))
    if times.max() > 1:
        raise ValueError(
            f"image {splits.files[int(times.argmax())]!r} is in the splits more than once"
        )
