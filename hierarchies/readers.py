"""Reads a class hierarchy from a file, whatever its format."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePath

import numpy as np

from hierarchies.draft import Draft, fault
from hierarchies.nested import parse_json, parse_newick, parse_outline
from hierarchies.tables import parse_edges, parse_names, parse_paths, parse_table
from hierarchies.tree import Hierarchy, Path, format_path

FORMATS: dict[str, Callable[[str, str], Draft]] = {
    "paths": parse_paths,
    "table": parse_table,
    "edges": parse_edges,
    "outline": parse_outline,
    "json": parse_json,
    "newick": parse_newick,
}
SUFFIXES = {
    ".txt": "paths",
    ".paths": "paths",
    ".csv": "table",
    ".tsv": "table",
    ".edges": "edges",
    ".outline": "outline",
    ".json": "json",
    ".newick": "newick",
    ".nwk": "newick",
    ".nw": "newick",
    ".tree": "newick",
    ".tre": "newick",
}


def read_hierarchy(
    file: str | os.PathLike,
    format: str | None = None,
    *,
    self_leaves: bool = False,
    collapse: bool = False,
) -> Hierarchy:
    """Reads a class hierarchy from a UTF-8 text file, with any line ends, with or without a byte
    order mark.

    Blanks around names are dropped. A first key that all classes share is the root, not a level, in
    paths, tables and nested JSON objects, whose root is not marked otherwise. Class order is that
    of the file (edges: see `parse_edges`).

    Args:
        file: The file.
        format: One of `FORMATS`, described at its parser; None goes by the suffix, see `SUFFIXES`.
        self_leaves: Give a class that is also an inner node a leaf of its own instead of an error
            (paths and tables; in the other formats the classes are the leaves anyway).
        collapse: Drop inner nodes with a single child.

    Raises: ValueError: Naming the file, and the line where there is one, if the file holds no
    single valid tree.
        OSError: If the file cannot be read.
    """
    if format is None:
        format = SUFFIXES.get(PurePath(file).suffix.lower())
        if format is None:
            raise ValueError(
                f"{file}: the suffix tells no format; name one of {', '.join(FORMATS)}"
            )
        text = _text(file)
        if format == "paths" and text.strip() and "/" not in text:
            raise ValueError(
                f"{file}: no line has a '/', so all classes would be directly below the root; if"
                " that is meant, ask for"
                " the format 'paths', else for 'edges' or 'outline'"
            )
    elif format in FORMATS:
        text = _text(file)
    else:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
    return _collapsed(FORMATS[format](text, str(file)).build(str(file), self_leaves), collapse)


def read_edges(
    file: str | os.PathLike, names_file: str | os.PathLike | None = None, *, collapse: bool = False
) -> Hierarchy:
    """Reads 'CHILD PARENT' ids a line, and the names to show from lines 'ID NAME': NABirds'
    hierarchy.txt, classes.txt.

    The ids are the keys. Raises: as `read_hierarchy`.
    """
    names = parse_names(_text(names_file), str(names_file)) if names_file is not None else None
    return _collapsed(parse_edges(_text(file), str(file), names).build(str(file), False), collapse)


def check_same_classes(
    hierarchy: Hierarchy, classes: Iterable[str | Sequence[str]], source: str
) -> np.ndarray:
    """Index in the hierarchy of each of the given classes, (len(classes),) int64, if both have the
    same classes.

    Args:
        hierarchy: The tree.
        classes: The classes that have images: either all as paths of keys, or all by the last key
            of their path. The key '.' of a leaf of its own is left out of both.
        source: Where the classes come from, for the message.

    Raises: ValueError: If a class is missing on one side or comes twice, listing a few.
    """
    wanted = [name if isinstance(name, str) else tuple(name) for name in classes]
    paths = [
        path[:-1] if path[-1] == "." and len(path) > 1 else path for path in hierarchy.class_paths
    ]
    by_key = all(isinstance(name, str) for name in wanted)
    known = [path[-1] for path in paths] if by_key else paths
    _check_unique(known, "the hierarchy")
    _check_unique(wanted, source)
    index, given = {name: position for position, name in enumerate(known)}, set(wanted)
    without_images = [name for name in known if name not in given]
    unknown = [name for name in wanted if name not in index]
    if without_images or unknown:
        raise ValueError(
            f"the hierarchy and {source} must have the same classes; only in the hierarchy:"
            f" {_some(without_images)};"
            f" only in {source}: {_some(unknown)}; rename them, or leave out the classes without"
            " images"
        )
    return np.array([index[name] for name in wanted], dtype=np.int64)


def _check_unique(names: list[str] | list[Path], side: str) -> None:
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise ValueError(
            f"{_some(repeated)} comes more than once in {side}; tell the classes apart by their"
            " paths"
        )


def _text(file: str | os.PathLike) -> str:
    with open(file, "rb") as stream:
        content = stream.read()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise fault(
            str(file), line, f"this is not valid UTF-8 text ({error.reason}); save it as UTF-8"
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _collapsed(hierarchy: Hierarchy, collapse: bool) -> Hierarchy:
    return hierarchy.collapse() if collapse else hierarchy


def _shown(name: str | Path) -> str:
    return repr(name if isinstance(name, str) else format_path(name))


def _some(names: list[str | Path]) -> str:
    if not names:
        return "none"
    more = f", ... ({len(names)} in all)" if len(names) > 3 else ""
    return ", ".join(map(_shown, names[:3])) + more
