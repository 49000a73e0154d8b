"""Matches class folders with the classes of a tree file that need not spell out the same paths."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from files.text import NO_WIDTH, composed, counted, folded, some_of
from hierarchies import Hierarchy
from hierarchies.tree import format_path, without_own_leaf

Path = tuple[str, ...]
# classes of one name that are told apart; with more the search would take the square of their
# number
_MANY = 100


class Match(NamedTuple):
    """Class in the tree of each folder, (F,) int64, and what the user should be told."""

    classes: np.ndarray
    notes: tuple[str, ...]


def match_folders(
    folders: Sequence[Path],
    hierarchy: Hierarchy,
    source: str,
    *,
    prune: bool = False,
    called: str = "folder",
) -> Match:
    """Finds the class of each folder, one to one.

    If the paths are not the same on both sides, a folder fits a class when one path is the end of
    the other; if it fits none like that, when their last names agree. The key '.' of a leaf of its
    own does not count, nor do the two ways in which Unicode writes an accented letter. What is then
    left on both sides is matched where it differs only in '_' for a blank, in capitals and what
    else `files.text.folded` passes over, in a genus before the epithet, in the author behind the
    name, in numbers or in points for blanks, one to one and with a note.

    Args:
        folders: Paths of the class folders, F of them.
        hierarchy: The tree.
        source: Where the tree comes from, for messages.
        prune: Whether the tree may have classes without a folder.
        called: What a folder is called in messages, where it is a column of a table, say.

    Raises: ValueError: If a folder or a class is left over or fits several; examples of both sides
    are named.
    """
    ours = [_plain(path) for path in folders]
    theirs = [_plain(path) for path in hierarchy.class_paths]
    index = {path: position for position, path in enumerate(theirs)}
    same = len(theirs) == len(index) and len(ours) == len(set(ours))
    if same and (set(ours) <= set(theirs) if prune else set(ours) == set(theirs)):
        return Match(np.array([index[path] for path in ours], np.int64), ())
    fits = _fits(ours, theirs)
    respelt = _respelt(fits, ours, theirs)
    for row, position in respelt.items():
        fits[row] = [position]
    _check(fits, folders, hierarchy, source, prune, called)
    classes = np.array([fit[0] for fit in fits], np.int64)
    pairs = {row: (folders[row], hierarchy.class_paths[classes[row]]) for row in range(len(ours))}
    moved = [
        row
        for row, path in enumerate(ours)
        if row not in respelt and not _is_end(path, theirs[classes[row]])
    ]
    notes = []
    if moved:
        folder, found = pairs[moved[0]]
        notes.append(
            f"{counted(len(moved), f'class {called}')} elsewhere in {source}, matched by the last"
            f" name, such as {_shown(folder)} as {_shown(found)}"
        )
    if respelt:
        listed = ", ".join(f"{_shown(pairs[r][0])} as {_shown(pairs[r][1])}" for r in respelt)
        notes.append(
            f"{counted(len(respelt), f'class {called}')} written in another way in {source},"
            f" matched all the same: {listed}"
        )
    return Match(classes, tuple(notes))


def _plain(path: Path) -> Path:
    return tuple(map(composed, without_own_leaf(path)))


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


def _respelt(fits: list[list[int]], ours: list[Path], theirs: list[Path]) -> dict[int, int]:
    """Classes of folders that fit none as they are written, by row, where writing both sides alike
    makes one folder and one class fit each other alone.
    """
    free = set(range(len(theirs))) - {position for fit in fits for position in fit}
    lost = [row for row, fit in enumerate(fits) if not fit]
    found: dict[int, int] = {}
    for ours_as, theirs_as in _SPELLINGS:
        rows = [row for row in lost if row not in found]
        places = sorted(free - set(found.values()))
        written = [ours_as(ours[row]) for row in rows]
        hits = _fits(written, [theirs_as(theirs[position]) for position in places])
        takers = Counter(hit for fit in hits for hit in fit)
        for row, fit in zip(rows, hits):
            if len(fit) == 1 and takers[fit[0]] == 1:
                found[row] = places[fit[0]]
    return found


def _with_blanks(path: Path) -> Path:
    seen = (key.translate(NO_WIDTH).replace("_", " ") for key in path)
    return tuple(" ".join(key.split()) for key in seen)


def _without_case(path: Path) -> Path:
    return tuple(map(folded, path))


def _binomial(path: Path) -> Path:
    """The path with the genus before the epithet in its last key."""
    return _without_case((*path[:-1], " ".join(path[-2:])))


def _epithet(path: Path) -> Path:
    """The path with the epithet alone in its last key, where the genus stands above it."""
    path = _without_case(path)
    return (*path[:-1], path[-1].removeprefix(f"{' '.join(path[-2:-1])} "))


# of a binomial, with var. or f. and a third name if it has one, whatever begins with a capital is
# its author; of one name alone only what ends in a year
_AUTHOR = (
    re.compile(
        r"(?P<name>[A-Z][\w-]+ [a-z][\w-]*(?: (?:var\.|f\.|subsp\.|ssp\.)?\s*[a-z][\w-]*)?)"
        r",? \(?[A-Z\u00c0-\u00de].*"
    ),
    re.compile(r"(?P<name>[A-Z][\w-]+),? \(?[A-Z\u00c0-\u00de][^\d]*\b\d{4}\)?"),
)


def _without_author(path: Path) -> Path:
    """The path without the author and year behind the name of the taxon, as GBIF writes it."""
    last = " ".join(path[-1].replace("_", " ").split())
    found = next((match for form in _AUTHOR if (match := form.fullmatch(last))), None)
    return _without_case((*path[:-1], found["name"] if found else last))


def _without_dated_author(path: Path) -> Path:
    """The path without the author of its taxon, where a year says that it is one: behind the name
    of a folder other words may stand, such as a stage.
    """
    return _without_author(path) if re.search(r"\d{4}\)?$", path[-1]) else _without_case(path)


def _abbreviated(path: Path) -> Path:
    """The path with the first letter of the genus for it: 'C. finmarchicus'."""
    genus, *rest = _without_case(path)[-1].split(" ")
    return (*_without_case(path[:-1]), " ".join([genus[:1], *rest]) if rest else genus)


def _without_number(path: Path) -> Path:
    """The path without what numbers its last key: '001.Calanus', '1. Calanus', 'Calanus__45074', or
    'Calanus_ott5' where the tree has lost such numbers.
    """
    last = re.sub(r"^\d+[\s._-]+(?=\D)|(?<=\D)__\d+$|[ _]ott\d+$", "", path[-1])
    return _without_case((*path[:-1], last or path[-1]))


def _as_numbers(path: Path) -> Path:
    """The path with whole numbers as they are counted: a spreadsheet makes 1 of 001, pandas 1.0."""
    return tuple(re.sub(r"^0*(\d+?)(?:\.0+)?$", r"\1", key) for key in _without_case(path))


def _small(path: Path) -> Path:
    return tuple(key.casefold() for key in path)


def _of_r(path: Path) -> Path:
    """The path as R writes it in the titles of columns: a point for whatever is neither letter nor
    digit, and an X before a number.
    """
    names = (re.sub(r"[^\w.]", ".", key) for key in path)
    return _small(tuple(re.sub(r"^(?=[\d_])", "X", name) for name in names))


# how folders and classes are written for another comparison, in turn
_SPELLINGS: tuple[tuple[Callable[[Path], Path], Callable[[Path], Path]], ...] = (
    (_with_blanks, _with_blanks),
    (_without_case, _without_case),
    (_without_case, _binomial),
    (_without_case, _epithet),
    (_without_case, _without_author),
    (_without_dated_author, _without_author),
    (_as_numbers, _as_numbers),
    (_without_case, _abbreviated),
    (_without_number, _without_case),
    (_small, _of_r),
)


def _check(
    fits: list[list[int]],
    folders: Sequence[Path],
    hierarchy: Hierarchy,
    source: str,
    prune: bool,
    called: str,
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
    bare = [path for position, path in enumerate(paths) if position not in takers and not prune]
    faults = [f"classes without a {called}: {_some(bare)}"] if bare else []
    if lost:
        faults.append(f"{called}s without a class there: {_some(lost)}{_inner(lost, hierarchy)}")
    faults += [f"{_shown(one)} fits {_some(found)}" for one, found in several[:3]]
    if faults:
        of_images = called in ("folder", "label")
        ways = ["rename them or write longer paths"]
        if of_images and bare:
            ways.append("leave out classes without images: --prune_tree")
        if of_images and lost:
            flag = "--exclude" if called == "folder" else "--where COLUMN!=LABEL"
            ways.append(f"add there what lacks, or leave it out: {flag}")
        raise ValueError(
            f"the {called}s {'of the images ' if of_images else ''}and {source} must have the same"
            f" classes; {'; '.join(faults)}; {'; '.join(ways)}"
        )


def _inner(lost: Sequence[Path], hierarchy: Hierarchy) -> str:
    """What to do about a folder without a class whose name a superclass has."""
    above = {hierarchy.keys[v] for v in range(1, hierarchy.num_nodes) if hierarchy.n_children[v]}
    named = [path for path in lost if _plain(path)[-1] in above]
    if not named:
        return ""
    return (
        f" ({_shown(named[0])} is a superclass there: in a file of paths or ranks, a line of its"
        " own makes it a class, too; --levels COLUMN ... leaves out columns below it)"
    )


def _shown(path: Path) -> str:
    return repr(format_path(path))


def _some(paths: Sequence[Path]) -> str:
    return some_of(paths, 3, _shown)
