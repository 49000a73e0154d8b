"""Matches class folders with the classes of a tree file that need not spell out the same paths."""

import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hierarchies import Hierarchy
from hierarchies.tree import format_path

Path = tuple[str, ...]
# classes of one name that are told apart; with more the search would take the square of their
# number
_MANY = 100


class Match(NamedTuple):
    """Class in the tree of each folder, (F,) int64, and what the user should be told."""

    classes: np.ndarray
    notes: tuple[str, ...]


def match_folders(folders: Sequence[Path], hierarchy: Hierarchy, source: str) -> Match:
    """Finds the class of each folder, one to one.

    If the paths are not the same on both sides, a folder fits a class when one path is the end of
    the other; if it fits none like that, when their last names agree. The key '.' of a leaf of its
    own does not count, nor do the two ways in which Unicode writes an accented letter.

    Args:
        folders: Paths of the class folders, F of them.
        hierarchy: The tree.
        source: Where the tree comes from, for messages.

    Raises: ValueError: If a folder or a class is left over or fits several; examples of both sides
    are named.
    """
    ours, theirs = (
        [_plain(path) for path in folders],
        [_plain(path) for path in hierarchy.class_paths],
    )
    index = {path: position for position, path in enumerate(theirs)}
    if len(ours) == len(theirs) == len(index) and set(ours) == set(theirs):
        return Match(np.array([index[path] for path in ours], np.int64), ())
    fits = _fits(ours, theirs)
    _check(fits, folders, hierarchy, source)
    classes = np.array([fit[0] for fit in fits], np.int64)
    moved = [row for row, path in enumerate(ours) if not _is_end(path, theirs[classes[row]])]
    if not moved:
        return Match(classes, ())
    folder, found = folders[moved[0]], hierarchy.class_paths[classes[moved[0]]]
    return Match(
        classes,
        (
            f"{len(moved)} class folders lie elsewhere in {source} and are matched by their last"
            " name, such as"
            f" {_shown(folder)} as {_shown(found)}",
        ),
    )


def _plain(path: Path) -> Path:
    path = path[:-1] if path[-1] == "." and len(path) > 1 else path
    return tuple(unicodedata.normalize("NFC", key) for key in path)


def _ends(path: Path) -> list[Path]:
    return [path[start:] for start in range(len(path))]


def _is_end(one: Path, other: Path) -> bool:
    shorter = min(len(one), len(other))
    return one[-shorter:] == other[-shorter:]


def _fits(ours: list[Path], theirs: list[Path]) -> list[list[int]]:
    """For each folder the classes that it fits, sorted."""
    whole, ending = defaultdict(list), defaultdict(list)
    for position, path in enumerate(theirs):
        whole[path].append(position)
        for end in _ends(path):
            ending[end].append(position)
    fits = []
    for path in ours:
        found = set(ending.get(path, ())).union(*(whole.get(end, ()) for end in _ends(path)))
        fits.append(sorted(found) or ending.get(path[-1:], [])[:_MANY])
    return fits


def _check(
    fits: list[list[int]], folders: Sequence[Path], hierarchy: Hierarchy, source: str
) -> None:
    paths, takers = hierarchy.class_paths, defaultdict(list)
    for folder, fit in zip(folders, fits):
        for position in fit:
            takers[position].append(folder)
    lost = [folder for folder, fit in zip(folders, fits) if not fit]
    several = [
        (folder, [paths[position] for position in fit])
        for folder, fit in zip(folders, fits)
        if len(fit) > 1
    ]
    several += [
        (paths[position], found) for position, found in sorted(takers.items()) if len(found) > 1
    ]
    bare = [path for position, path in enumerate(paths) if position not in takers]
    faults = [f"classes without a folder: {_some(bare)}"] if bare else []
    faults += [f"folders without a class there: {_some(lost)}"] if lost else []
    faults += [f"{_shown(one)} fits {_some(found)}" for one, found in several[:3]]
    if faults:
        raise ValueError(
            f"the folders of the images and {source} must have the same classes;"
            f" {'; '.join(faults)}; rename them or"
            " write longer paths, and leave out classes without images"
        )


def _shown(path: Path) -> str:
    return repr(format_path(path))


def _some(paths: Sequence[Path]) -> str:
    return ", ".join(map(_shown, paths[:3])) + (
        f", ... ({len(paths)} in all)" if len(paths) > 3 else ""
    )
