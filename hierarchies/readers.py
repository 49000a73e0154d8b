"""Reads a class hierarchy from a file, whatever its format."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import PurePath
from typing import NamedTuple

import numpy as np

from files.text import NO_WIDTH, counted, folded, printable, some_of, told_apart
from hierarchies import ranks
from hierarchies.draft import Draft
from hierarchies.edges import is_edge_list, parse_edges, parse_names
from hierarchies.nested import is_indented, parse_json, parse_outline
from hierarchies.paths import parse_paths, path_separator
from hierarchies.phylogeny import parse_newick, parse_nexus
from hierarchies.rows import numbered_lines, title_row
from hierarchies.tables import parse_table
from hierarchies.texts import read_text
from hierarchies.tree import Hierarchy, Path, format_path, without_own_leaf

TREE_FORMATS: dict[str, Callable[[str, str], Draft]] = {
    "paths": parse_paths,
    "table": parse_table,
    "edges": parse_edges,
    "outline": parse_outline,
    "json": parse_json,
    "newick": parse_newick,
    "nexus": parse_nexus,
}
# names as spreadsheets show what they take for a date or a number
_MONTHS = "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
_CHANGED = re.compile(rf"\d{{1,2}}-({_MONTHS})|({_MONTHS})-\d\d|\d(\.\d+)?E\+\d\d")
# a line between rows, as Markdown and database programs draw it: |---|:--:| or +----+----+
_RULE = re.compile(r"^(?=[^\n]*[|+])[ \t|+:=]*-[ \t|+:=-]*$", re.MULTILINE)
# a species with its author, as some sources write it and others do not
_DATED = re.compile(r"^([A-Z][\w-]+[ _][a-z][\w-]+),?[ _]\(?[A-Z\u00c0-\u00de].*\b\d{4}\)?$")
_JOINED = re.compile(r"[;,|+&]|\band\b")  # several labels in one
SUFFIXES = {
    ".paths": "paths",
    ".csv": "table",
    ".tsv": "table",
    ".edges": "edges",
    ".outline": "outline",
    ".json": "json",
}
NEWICK_SUFFIXES = (".newick", ".nwk", ".nw", ".tree", ".tre")
_FORMAT_FLAG = (
    f"let its name end in what it is ({', '.join(SUFFIXES)}, .nwk), or in training say it with"
    f" --hierarchy_format: {', '.join(TREE_FORMATS)}"
)


class TreeFile(NamedTuple):
    """A hierarchy read from a file, and what the user should be told about the reading."""

    hierarchy: Hierarchy
    notes: tuple[str, ...]


def read_tree(
    file: str | os.PathLike,
    format: str | None = None,
    *,
    levels: Sequence[str] | None = None,
    self_leaves: bool = False,
) -> TreeFile:
    """Reads a class hierarchy from a text file in UTF-8 (or in UTF-16 with its mark), with any line
    ends, with or without a byte order mark.

    Blanks around names are dropped. A first key that all classes share is the root, not a level, in
    paths, tables and nested JSON objects, whose root is not marked otherwise. Class order is that
    of the file (edges: see `parse_edges`).

    Args:
        file: The file.
        format: One of `TREE_FORMATS`, described at its parser; None goes by the suffix (see
            `SUFFIXES`) and, for all other suffixes, by the content.
        levels: Titles of the columns of a table that are the levels, from the top down.
        self_leaves: Give a class that is also an inner node a leaf of its own instead of an error
            (paths and tables; in the other formats the classes are the leaves anyway).

    Raises: ValueError: Naming the file, and the line where there is one, if the file holds no
    single valid tree, is not a regular file or larger than `texts.MAX_BYTES`.
        OSError: If the file cannot be read.
    """
    if format is not None and format not in TREE_FORMATS:
        raise ValueError(f"format must be one of {', '.join(TREE_FORMATS)}, got {format!r}")
    # letters without width come with what is copied from a page, and nobody sees them
    text, source = read_text(file).translate(NO_WIDTH), str(file)
    suffix = PurePath(file).suffix.lower()
    if (format or SUFFIXES.get(suffix, "table")) == "table" and _is_ruled(text):
        text, format = _RULE.sub("", text), "table"
    if format is None:
        format = "table" if levels else _format(text, suffix, source)
    if levels is not None and format != "table":
        raise ValueError(
            f"{source} is read as {format!r}, but --levels names columns of a table: leave it out,"
            " or say --hierarchy_format table"
        )
    options = {} if levels is None else {"levels": levels}
    draft = TREE_FORMATS[format](text, source, **options)
    hierarchy = draft.build(source, self_leaves)
    notes = [f"{source}: {printable(note)}" for note in (*draft.notes, *doubtful_names(hierarchy))]
    return TreeFile(hierarchy, tuple(notes))


def read_edges(file: str | os.PathLike, names_file: str | os.PathLike | None = None) -> Hierarchy:
    """Reads 'CHILD PARENT' ids a line, and the names to show from lines 'ID NAME': NABirds'
    hierarchy.txt, classes.txt.

    The ids are the keys. Raises: as `read_tree`.
    """
    names = parse_names(read_text(names_file), str(names_file)) if names_file is not None else None
    return parse_edges(read_text(file), str(file), names).build(str(file), False)


def check_shared(hierarchy: Hierarchy, source: str) -> tuple[str, ...]:
    """Notes on a tree from a file that relates no two classes below its root.

    Raises: ValueError: If there are superclasses, but none has two classes: then all classes are
    equally far from each other, and every loss and measure of the tree is one of a flat list.
    """
    if hierarchy.max_depth == 1 and hierarchy.num_classes > 2:
        return (
            f"{source}: all classes are directly below the root, so the tree says nothing about"
            " which are alike",
        )
    if not relates_none(hierarchy):
        return ()
    path = hierarchy.class_paths[0]
    shown = path if len(path) <= 10 else (*path[:8], "...", path[-1])
    raise ValueError(
        f"{source}: no two classes share a superclass: each of the {hierarchy.num_classes} classes"
        f" has all the nodes above it for itself, such as {' > '.join(map(repr, shown))}. Are the"
        " levels in the wrong order, is a column an id, or are cells empty that a spreadsheet shows"
        " merged with the one above? --levels COLUMN ... names the columns of a table from the top"
        " down; or leave --hierarchy out"
    )


def relates_none(hierarchy: Hierarchy) -> bool:
    """Whether there are superclasses, but none has two classes. Of two classes no tree says more
    than that they differ.
    """
    inner = (hierarchy.n_children > 0) & (hierarchy.depth > 0)
    shared = (hierarchy.n_leaves[inner] > 1).any()
    return bool(hierarchy.num_classes > 2 and inner.any() and not shared)


def check_same_classes(
    hierarchy: Hierarchy,
    classes: Iterable[str | Sequence[str]],
    source: str,
    *,
    prune: bool = False,
) -> np.ndarray:
    """Index in the hierarchy of each of the given classes, (len(classes),) int64, if both have the
    same classes.

    Args:
        hierarchy: The tree.
        classes: The classes that have images: either all as paths of keys, or all by the last key
            of their path. The key '.' of a leaf of its own is left out of both.
        source: Where the classes come from, for the message.
        prune: Whether the tree may have more classes.

    Raises: ValueError: If a class is missing on one side or comes twice, listing a few.
    """
    wanted = [name if isinstance(name, str) else tuple(name) for name in classes]
    paths = [*map(without_own_leaf, hierarchy.class_paths)]
    by_key = all(isinstance(name, str) for name in wanted)
    known = [path[-1] for path in paths] if by_key else paths
    _check_unique(known, "the hierarchy")
    _check_unique(wanted, source)
    index, given = {name: position for position, name in enumerate(known)}, set(wanted)
    without_images = [] if prune else [name for name in known if name not in given]
    unknown = [name for name in wanted if name not in index]
    if without_images or unknown:
        prune_flag = ", or leave out the classes without images: --prune_tree"
        way_out = prune_flag if without_images else ""
        raise ValueError(
            f"the hierarchy and {source} must have the same classes; only in the hierarchy:"
            f" {_some(without_images)}; only in {source}: {_some(unknown)}; rename them{way_out}"
        )
    return np.array([index[name] for name in wanted], dtype=np.int64)


def pruned_note(hierarchy: Hierarchy, kept: Iterable[int], source: str) -> tuple[str, ...]:
    """A note that lists the classes of a tree that are left out because they have no images.

    Args:
        hierarchy: The whole tree.
        kept: Indices of the classes with images.
        source: Where the tree comes from.
    """
    lost = sorted({*range(hierarchy.num_classes)} - {*kept})
    if not lost:
        return ()
    listed = some_of(lost, 20, lambda c: repr(format_path(hierarchy.class_paths[c])))
    return (
        f"{source}: {counted(len(lost), 'class', 'classes')} without images left out of the tree:"
        f" {listed}",
    )


def _format(text: str, suffix: str, source: str) -> str:
    """Format of a file by its suffix, or by its content where the suffix does not tell it or says
    something else.
    """
    if re.match(r"\s*#nexus\b", text, re.IGNORECASE):
        return "nexus"
    bare = text.strip()
    begins_as_newick = text[re.match(r"(?:\s|\[[^\]]*\])*", text).end() :].startswith("(")
    if begins_as_newick and bare.endswith(";"):
        return "newick"
    if re.match(r"[{\[]\s*[\"{\[]", bare) and bare[-1] in "}]":
        return "json"
    named = "newick" if suffix in NEWICK_SUFFIXES else SUFFIXES.get(suffix)
    begins = {"newick": begins_as_newick, "json": bare[:1] in ("{", "[")}
    if bare and not begins.get(named, True):
        raise ValueError(f"{source} does not begin as a file of {named} does; {_FORMAT_FLAG}")
    if named is not None:
        return named
    lines = [line for _, line in numbered_lines(text)]
    if bare[:1] in ("{", "["):
        return "json"
    if re.match(r"(?:strict\s+)?(?:di)?graph\b[^{\n]*\{", bare, re.IGNORECASE):
        raise ValueError(
            f"{source} is a graph of Graphviz (DOT): write a table with the columns parent and"
            " child, or a line 'parent -> child' for each of its arrows and nothing else"
        )
    if any(line.startswith("--") for line in lines[1:]) or is_indented(text):
        return "outline"
    if _has_titles(text) or is_edge_list(lines):
        return "table"
    if suffix == ".dmp":
        raise ValueError(
            f"{source} is a part of a dump, not a tree of your classes; write a table with the"
            " columns id, parent and name, or with their ranks"
        )
    if path_separator(lines) is not None:
        return "paths"
    if lines and all(re.fullmatch(r"\d+\s+\d+", line) for line in lines):
        return "edges"
    raise ValueError(
        f"{source}: the suffix tells no format, and no line has a '/' or another separator, so all"
        f" classes would be directly below the root; if that is meant, or else, {_FORMAT_FLAG}"
    )


def _is_ruled(text: str) -> bool:
    """Whether a line is drawn above or below the titles of a table."""
    first = islice(numbered_lines(text[:100_000]), 2)
    return any(_RULE.fullmatch(line) for _, line in first)


def _has_titles(text: str) -> bool:
    """Whether the first line of a text has titles of a table that `parse_table` knows."""
    header = title_row(text)
    titles = ranks.plain_titles(header)
    if len(titles) < 2 or len(set(titles)) < len(titles):
        return False
    known = ranks.columns(header)
    parents = any(title in ranks.PARENTS for title in titles)
    children = any(title in (*ranks.CHILDREN, *ranks.LABELS) for title in titles)
    return len(known.ranks) > 1 or "path" in titles or (parents and children)


def doubtful_names(
    hierarchy: Hierarchy, way_out: str = "correct the levels above them"
) -> list[str]:
    """Notes on different nodes that are perhaps meant to be one: those of one name below several
    parents, as nodes are identified by their paths, and those below one parent whose names are the
    same by `files.text.folded`; on names that a spreadsheet may have changed, and on those that are
    made of others, as of images with several labels.

    Args:
        way_out: What to do where nodes of one name below several parents are one.
    """
    return [
        *_repeated_names(hierarchy, way_out),
        *_similar_names(hierarchy),
        *_changed_names(hierarchy),
        *_joined_names(hierarchy),
    ]


def _changed_names(hierarchy: Hierarchy) -> list[str]:
    found = [key for key in dict.fromkeys(hierarchy.keys[1:]) if _CHANGED.fullmatch(key)]
    if not found:
        return []
    return [
        f"{some_of(found, 5, repr)} may be what a spreadsheet made of another name (5-1 becomes"
        " 5-Jan, 12E5 becomes 1.2E+06): if so, format its column as text before typing or importing"
    ]


def _joined_names(hierarchy: Hierarchy) -> list[str]:
    names, found = set(hierarchy.keys), []
    for key in dict.fromkeys(hierarchy.keys[1:]):
        parts = [part.strip() for part in _JOINED.split(key)]
        if len(parts) > 1 and names.issuperset(parts):
            found.append(key)
    if not found:
        return []
    return [
        f"{some_of(found, 5, repr)} {'is' if len(found) == 1 else 'are'} made of names of others,"
        " and a class of its own: images of several classes are better left out, or cut to one"
        " object each"
    ]


def _similar_names(hierarchy: Hierarchy) -> list[str]:
    written = defaultdict(list)
    for node in range(1, hierarchy.num_nodes):
        sure = re.sub(r"[\s(]*\?+\)?$", "", hierarchy.keys[node])  # 'Calanus?'
        sure = _DATED.sub(r"\1", sure)
        written[hierarchy.parent[node], folded(sure)].append(node)
    similar = [nodes for nodes in written.values() if len(nodes) > 1]
    if not similar:
        return []
    listed = some_of(
        similar,
        5,
        lambda nodes: " and ".join(told_apart([format_path(hierarchy.path(v)) for v in nodes])),
    )
    return [
        f"{counted(len(similar), 'name is', 'names are')} written in several ways, each a class or"
        f" group of its own: {listed}. If they are one, write them alike"
    ]


def _repeated_names(hierarchy: Hierarchy, way_out: str) -> list[str]:
    places = defaultdict(list)
    for node in range(1, hierarchy.num_nodes):
        if hierarchy.keys[node] != ".":
            places[hierarchy.keys[node]].append(node)
    repeated = {}
    for name, nodes in places.items():
        outer = _outermost(hierarchy, nodes)
        if len(outer) > 1:
            repeated[name] = outer
    if not repeated:
        return []
    name, nodes = next(iter(repeated.items()))
    shown = " and ".join(repr(format_path(hierarchy.path(v))) for v in nodes[:2])
    return [
        f"{counted(len(repeated), 'name stands', 'names stand')} in several places of the tree, for"
        f" different nodes, told apart by their paths: {some_of(list(repeated), 10, repr)};"
        f" {name!r} is {shown}. If they are one, {way_out}"
    ]


def _outermost(hierarchy: Hierarchy, nodes: Sequence[int]) -> list[int]:
    """Of nodes in preorder those that lie below none of the others: a subgenus may have the name
    of its genus.
    """
    outer: list[int] = []
    for node in nodes:
        if not outer or hierarchy.start[node] >= hierarchy.stop[outer[-1]]:
            outer.append(node)
    return outer


def _check_unique(names: list[str] | list[Path], side: str) -> None:
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise ValueError(
            f"{_some(repeated)} comes more than once in {side}; tell the classes apart by their"
            " paths"
        )


def _shown(name: str | Path) -> str:
    return repr(name if isinstance(name, str) else format_path(name))


def _some(names: list[str | Path]) -> str:
    return some_of(names, 3, _shown) or "none"
