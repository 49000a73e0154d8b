"""Parser of files with the path of a class on each line, and what separates the names of paths."""

import re
from collections.abc import Sequence

from hierarchies.draft import (
    MAX_DEPTH,
    Draft,
    check_depth,
    checked_key,
    fault,
    without_common_root,
)
from hierarchies.edges import parse_parents
from hierarchies.rows import Row, Table, delimiter_of, numbered_lines
from hierarchies.tree import Path, parse_path

# what may stand between the names of a path, in the order in which it is tried
SEPARATORS = {"/": "/", "->": "->", ">": ">", "|": "|", "\t": "tab", ";": ";", ",": ",", "\\": "\\"}
NEVER_IN_NAMES = ("->", ">", "|")
_IN_NAMES = ";,\\"  # also within names: a separator only where most lines have it and none a '/'
# a rank whose name is not known, in lineages of QIIME and its like: k__Animalia;p__;c__
_BARE = re.compile(r"[a-z]{1,3}__", re.IGNORECASE)
_WITH_RANKS = re.compile(r"[a-z]{1,3}__[^;]*;", re.IGNORECASE)
_AROUND = re.compile(r"^/+|(?<!\\)/+$")  # '/' at the ends of a path, but not an escaped one


def parse_paths(text: str, source: str) -> Draft:
    r"""One class a line: its path, keys joined by '/', a '/' inside a key written '\/'. Empty lines
    do not count.

    Where most lines have another separator, it is taken instead and noted: > -> | ; , \ or a tab.
    A path that comes again counts once, with a note. Arrows (> or ->) from each node to those below
    it, a line for each, are a tree of parents.
    """
    _, start = delimiter_of(text)
    lines = [(number, line) for number, line in numbered_lines(text) if number > 1 or not start]
    if not lines:
        raise fault(
            source, None, "the file is empty; expected one path such as animal/bird/owl a line"
        )
    separator = path_separator([line for _, line in lines]) or "/"
    found = [(number, path_of(source, number, line, separator)) for number, line in lines]
    if separator in ("->", ">") and _are_edges([path for _, path in found]):
        rows = [Row(number, [*path]) for number, path in found]
        return parse_parents(Table(source, ["left", "right"], rows), node=1, above=0, name=1)
    found, bare_notes = without_bare(found)
    first: dict[Path, int] = {}
    for number, path in found:
        first.setdefault(path, number)
    notes = (
        *separator_notes(separator),
        *repeat_notes("lines", len(lines) - len(first)),
        *bare_notes,
    )
    classes = [(number, path) for path, number in first.items()]
    return without_common_root(Draft(classes, notes=notes))


def _are_edges(paths: Sequence[Path]) -> bool:
    """Whether paths are the steps of a tree, each once: what is below one is above another."""
    if any(len(path) != 2 or path[0] == path[1] for path in paths):
        return False
    above, below = map(set, zip(*paths))
    return len(below) == len(paths) and bool(above & below)


def path_separator(written: Sequence[str]) -> str | None:
    """What separates the names of paths: one of SEPARATORS, or None if no line has any.

    '/' unless more lines have '>', '|' or a tab. A character that is common in names counts only
    where no line has a '/' and more than half have it.
    """
    counts = {mark: sum(mark in line for line in written) for mark in SEPARATORS}
    found = [
        mark
        for mark in SEPARATORS
        if counts[mark]
        and (mark not in _IN_NAMES or (not counts["/"] and 2 * counts[mark] > len(written)))
    ]
    return max(found, key=counts.get, default=None)  # the first of equals


def holds_paths(labels: Sequence[str]) -> bool:
    """Whether most labels of a column that is not titled as one of paths are parted by '>', '->'
    or a bar, as in 'Copepoda > Calanus', which are in no name, or say their ranks, as in
    'p__Arthropoda;c__Copepoda', or all begin with '/'.
    """
    said = sum(bool(_WITH_RANKS.match(label)) for label in labels)
    if all(label.startswith("/") for label in labels) or 2 * said > len(labels):
        return True
    mark = path_separator(labels)
    if mark not in NEVER_IN_NAMES:
        return False
    parted = sum(mark in label.strip(f"{mark} ") for label in labels)  # not as '>200 um'
    return 2 * parted > len(labels)


def separator_notes(separator: str) -> tuple[str, ...]:
    """What to say of a separator that is not the usual one."""
    if separator == "/":
        return ()
    return (f"the names of a path are separated by {SEPARATORS[separator]!r} there",)


def path_of(source: str, line: int, written: str, separator: str = "/") -> Path:
    """The path that is written. Raises: ValueError: If a name is empty or too long."""
    check_depth(source, line, min(written.count(separator), MAX_DEPTH + 1))
    if separator == "/":
        inner = _AROUND.sub("", written)  # as 'find' and 'ls -d */' write folders
        return tuple(checked_key(source, line, key) for key in parse_path(inner or written))
    keys = written.split(separator)
    path = tuple(checked_key(source, line, key) for key in keys if key.strip())
    if not path:
        raise fault(source, line, f"{written!r} has no name beside its separators")
    return path


def without_bare(
    classes: Sequence[tuple[int, Path]],
) -> tuple[list[tuple[int, Path]], tuple[str, ...]]:
    """The paths without ranks that have no name, such as 'g__', which would be a group of all that
    lack one; and a note on them.
    """
    bare = dict.fromkeys(key for _, path in classes for key in path if _BARE.fullmatch(key))
    if not bare:
        return [*classes], ()
    kept = [(line, tuple(key for key in path if key not in bare) or path) for line, path in classes]
    note = f"{', '.join(map(repr, bare))} in a path is a rank without a name, and counts as empty"
    return kept, (note,)


def repeat_notes(what: str, count: int) -> tuple[str, ...]:
    """What to say of lines or rows that come again."""
    return (f"{count} {what} say the same as one before and count once",) if count else ()
