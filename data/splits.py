"""A dataset with its splits: images, labels, class tree, and which image is in which split."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data.progress import progress
from files.fingerprints import NEWEST, is_of_pixels, pixels_fingerprint
from files.text import printable, some_of
from hierarchies import Hierarchy
from hierarchies.tree import format_path

if TYPE_CHECKING:
    import pandas as pd

SPLITS = ("train", "val", "test")
HELD_OUT = "held_out"  # images of classes that training never sees
CALIBRATION = "calibration"  # the part of the validation images that chooses nothing


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
        boxes (S, 4): int64 left, top, width and height of the part of its file that each image is,
            in pixels; None where all are whole.
        root: The folder that `files` are relative to; None where they are no files of their own.

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
    boxes: np.ndarray | None = None
    root: Path | None = None

    def __post_init__(self):
        _store(self, "labels", _frozen(self.labels, np.int64, "labels"))
        _store(self, "sizes", _frozen(self.sizes, np.float32, "sizes"))
        for name in (*SPLITS, CALIBRATION, HELD_OUT):
            _store(self, name, _frozen(np.sort(getattr(self, name)), np.int64, name))
        if self.groups is not None:
            _store(self, "groups", _frozen(self.groups, np.int64, "groups"))
        if self.boxes is not None:
            _store(self, "boxes", _frozen(self.boxes, np.int64, "boxes"))
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
        return self._digest_of(f"{member} {label} {file!r}" for file, label, member in rows)

    def _digest_of(self, lines: Iterable[str]) -> str:
        text = "\n".join([self.hierarchy.digest, *lines])
        return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:16]

    def named_as(self, tree: Hierarchy, digest: object) -> "Splits":
        """These with the names of another tree, where that alone gives this digest: an earlier
        version wrote epithets without their genus.
        """
        if tree == self.hierarchy or not np.array_equal(tree.parent, self.hierarchy.parent):
            return self
        renamed = replace(self, hierarchy=tree)
        return renamed if renamed.digest == digest else self

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
        return self._digest_of(f"{label} {content} {file!r}" for file, label, content in rows)

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


def split_table(splits: Splits, of: str | None = None) -> "pd.DataFrame":
    """One row an image: file, class (its path in the tree, or that of the inner node it is labelled
    at), label, split ('unused' where in none) and the fingerprint of its content; group, and box
    ('left top width height'), where there are any.

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
    if splits.boxes is not None:
        more["box"] = [" ".join(map(str, box)) for box in splits.boxes.tolist()]
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
    notes, paths = [], splits.hierarchy.class_paths
    for name, classes in splits.missing.items():
        if len(classes):
            shown = some_of(classes, 10, lambda c: printable(format_path(paths[c])))
            have = "has" if len(classes) == 1 else "have"
            notes.append(
                f"{len(classes)} of {splits.num_classes} classes {have} no {name} image: {shown}"
            )
    return tuple(notes)


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
