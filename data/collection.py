"""A collection of labelled images before any is read: from folders, from a table or an export, or
from a COCO file, with whatever it says about splits and groups.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import numpy as np

from files.text import counted, printable
from hierarchies import Hierarchy
from hierarchies.folder_names import UNCLEAR, part_name, part_names
from hierarchies.tree import format_path, without_own_leaf

PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class Collection:
    """Labelled images below a folder, in the order of their paths.

    Attributes (S images):
        hierarchy: The tree of the classes that have images.
        files: Path of each image below the data folder, with '/'.
        labels (S,): Class of each image, int64.
        parts (S,): 0, 1, 2 for train, val, test as given, -1 for none; None without a split.
        groups (S,): Name of the group of each image, '' for none; None without groups.
        boxes (S, 4): left, top, width, height of what to cut out of each image, in pixels; None
            where that was not asked for.
        notes: What the user should be told.
    """

    hierarchy: Hierarchy
    files: tuple[str, ...]
    labels: np.ndarray
    parts: np.ndarray | None = None
    groups: np.ndarray | None = None
    boxes: np.ndarray | None = None
    notes: tuple[str, ...] = ()

    def select(self, kept: np.ndarray) -> "Collection":
        """Some of the images, by position."""
        return replace(
            self,
            files=tuple(self.files[i] for i in kept),
            labels=self.labels[kept],
            parts=None if self.parts is None else self.parts[kept],
            groups=None if self.groups is None else self.groups[kept],
            boxes=None if self.boxes is None else self.boxes[kept],
        )


def collect(
    files: Sequence[str],
    paths: Sequence[tuple[str, ...]],
    *,
    parts: Sequence[int] | None = None,
    groups: Sequence[str] | None = None,
    boxes: Sequence[Sequence[float]] | None = None,
    order: Sequence[str] | None = None,
    notes: Sequence[str] = (),
    ranks: Mapping[tuple[str, ...], str] | None = None,
) -> Collection:
    """The collection of images with their class paths, sorted as folders of the same images are.

    Args:
        files: Path of each image, all different.
        paths: Path of the class of each image, keys from the top down.
        parts, groups, boxes: See Collection.
        order: What to sort by instead of the files, all different.
        ranks: What the levels of nodes are called, by path, where it is known.

    Raises: ValueError: If the paths are not a tree.
    """
    rank = sorted(range(len(files)), key=lambda i: (order or files)[i])
    classes = sorted(set(paths))
    hierarchy = Hierarchy.from_paths(classes, self_leaves=True, ranks=ranks)
    index = {path: c for c, path in enumerate(classes)}
    return Collection(
        hierarchy,
        tuple(files[i] for i in rank),
        np.array([index[paths[i]] for i in rank], np.int64),
        None if parts is None else np.asarray(parts, np.int64)[rank],
        None if groups is None else np.array(groups, dtype=object)[rank],
        None if boxes is None else np.asarray(boxes, float)[rank],
        tuple(notes),
    )


def part_of(word: str) -> int | None:
    """0, 1, 2 for what a collection may call train, val, test; None for other words."""
    name = part_name(word)
    return PARTS.index(name) if name in PARTS else None


def split_of_folders(collection: Collection, root: str) -> Collection:
    """The collection of folders with the folder that names the part of a split taken out of every
    path, wherever it stands: train/crab/1.png and crab/train/1.png are the class crab.

    Where all images lie in such a folder at the top, or all directly, that is the split, and others
    with such names are of classes, with a note: a sea urchin has a test.

    Raises: ValueError: If an image lies in no such folder, or in several.
    """
    parts, paths, order = [], [], []
    above = [PurePosixPath(file).parts[:-1] for file in collection.files]
    tops = part_names(folders[0] for folders in above if folders)
    parts_of = [[tops[f[0]], *map(part_name, f[1:])] if f else [] for f in above]
    places = [[at for at, part in enumerate(found) if part in PARTS] for found in parts_of]
    several = next((i for i, named in enumerate(places) if len(named) > 1), None)
    if several is not None:
        at_top = all(0 in named for named in places)
        if at_top or all(len(folders) - 1 in named for folders, named in zip(above, places)):
            places = [[named[0] if at_top else named[-1]] for named in places]
    for file, folders, named, said in zip(collection.files, above, places, parts_of):
        if len(named) != 1:
            found = "no folder" if not named else "several folders"
            unclear = [folder for folder, part in zip(folders, said) if part == UNCLEAR]
            way_out = "; rename those that are of no split"
            if not named:
                way_out = "; move its folder there, or elsewhere"
            if not named and unclear:
                way_out = f"; {printable(unclear[0])!r} may mean either: rename it to val or test"
            raise ValueError(
                f"--split given takes the split from folders named train, val and test, but"
                f" {printable(file)!r} below {root} lies in {found} with such a name{way_out}"
            )
        path = folders[: named[0]] + folders[named[0] + 1 :]
        if not path:
            raise ValueError(
                f"{printable(file)!r} below {root} lies in a folder of the split and in none of a"
                " class: expected train/<class>/<image> or <class>/train/<image>. Images without a"
                " class are for predict.py: leave them out with --exclude"
                f" {printable(folders[named[0]])!r}"
            )
        parts.append(PARTS.index(said[named[0]]))
        paths.append(path)
        order.append("/".join([*path, PurePosixPath(file).name, folders[named[0]]]))
    notes = list(collection.notes)
    if several is not None:
        name = above[several][places[several][0]]
        notes.append(
            f"of the folders above {printable(collection.files[several])!r} the split is"
            f" {printable(name)!r}; the others named like parts of a split are taken for classes or"
            " groups of them"
        )
    return collect(collection.files, paths, parts=parts, order=order, notes=notes)


def groups_of_folders(collection: Collection, levels: Sequence[int], root: str) -> Collection:
    """The collection of folders with the folders of some levels taken out of every path: they are
    the groups of the images in them. With level 1 haul_3/crab/1.png is a crab of the group haul_3.

    Args:
        levels: 1 is the topmost folder of classes, -1 the lowest, which holds the images.

    Raises: ValueError: If an image has no such folder, or none beside them.
    """
    flag = f"--group_level {' '.join(map(str, levels))}"
    groups, paths = [], []  # of each class
    for label, path in enumerate(collection.hierarchy.class_paths):
        path = without_own_leaf(path)
        taken = {level - 1 if level > 0 else len(path) + level for level in levels}
        if not taken <= {*range(len(path))} or len(taken) == len(path):
            file = collection.files[int((collection.labels == label).argmax())]
            raise ValueError(
                f"{flag}: {printable(file)!r} below {root} needs a folder at that level and one of"
                f" its class beside it, and lies in {printable(format_path(path))!r}"
            )
        groups.append("/".join(path[at] for at in sorted(taken)))
        paths.append(tuple(key for at, key in enumerate(path) if at not in taken))
    one = len(set(groups)) == 1
    note = f"images of one folder at {flag} stay together: {counted(len(set(groups)), 'group')}"
    if one:
        note = f"all images are in a folder {printable(groups[0])!r} at {flag}: it makes no groups"
    return collect(
        collection.files,
        [paths[label] for label in collection.labels.tolist()],
        parts=collection.parts,
        groups=None if one else [groups[label] for label in collection.labels.tolist()],
        notes=[*collection.notes, note],
    )
