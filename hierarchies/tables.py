"""Parsers of hierarchy files with one class or one edge a line: paths, tables, parent-child
edges.
"""

import csv
import io
from collections.abc import Iterator

from hierarchies.draft import ROOT, Draft, checked_key, fault, without_common_root
from hierarchies.tree import Path, parse_path


def parse_paths(text: str, source: str) -> Draft:
    r"""One class a line: its path, keys joined by '/', a '/' inside a key written '\/'. Empty lines
    do not count.
    """
    classes = [(number, _path(source, number, line)) for number, line in numbered_lines(text)]
    if not classes:
        raise fault(
            source, None, "the file is empty; expected one path such as animal/bird/owl a line"
        )
    return without_common_root(Draft(classes))


def parse_table(text: str, source: str) -> Draft:
    """A table with one class a row, separated by comma, semicolon or tab (whichever the first row
    has most of).

    The first row names the columns. With a column `path`, that holds the path as in `parse_paths`.
    Without, the columns are the levels, from left to right from the top down to the class; a
    shallow class leaves its last cells empty. A column `class` at either end holds a name to show
    for the class, no part of its path; an empty cell leaves the last key of the path to be shown.
    Between levels a column `class` is the taxonomic rank, a level like any other.
    """
    header, rows = _table_rows(text, source)
    named = 0 if header[0] == "class" else len(header) - 1 if header[-1] == "class" else None
    levels = [column for column, title in enumerate(header) if column != named and title != "path"]
    _check_header(
        source, header, [cells for _, cells in rows], [header[column] for column in levels]
    )
    if levels:
        classes = [
            (line, _levels(source, line, [cells[column] for column in levels]))
            for line, cells in rows
        ]
    else:
        classes = [(line, _path(source, line, cells[header.index("path")])) for line, cells in rows]
    if named is None:
        return without_common_root(Draft(classes))
    titled = {(path, cells[named]) for (_, path), (_, cells) in zip(classes, rows)}
    names = {path: cells[named] for (_, path), (_, cells) in zip(classes, rows) if cells[named]}
    if levels and len({path for path, _ in titled}) < len(titled):
        text = (
            "rows differ only in the column 'class', which holds names to show; if it is a level,"
            " give it another title"
        )
        raise fault(source, 1, text)
    if levels and len(set(names.values())) < len(names):
        raise fault(
            source,
            1,
            "the names in the column 'class' repeat; if it is a level, give it another title",
        )
    return without_common_root(Draft(classes, names))


def parse_edges(text: str, source: str, names: dict[str, str] | None = None) -> Draft:
    """One edge a line, 'CHILD PARENT', as in NABirds' hierarchy.txt. Nodes without a child are the
    classes.

    Class order is that of the ids as numbers if all classes have whole numbers for ids, else that
    of their lines.
    """
    parent, lines = _edges(text, source)
    root = _only_root(source, parent)
    inner = set(parent.values())
    order = [node for node in parent if node not in inner]
    paths = _upward_paths(source, parent, root, lines)
    if all(_is_number(node) for node in order):
        order.sort(key=lambda node: (int(node), node))
    unknown = [node for node in names or {} if node != root and node not in parent]
    if unknown:
        raise fault(
            source,
            None,
            f"there are names for ids that are not in the tree, such as {unknown[0]!r}",
        )
    shown = {paths[node]: name for node, name in (names or {}).items() if node != root}
    return Draft(
        [(lines[node], paths[node]) for node in order], shown, (names or {}).get(root, root)
    )


def parse_names(text: str, source: str) -> dict[str, str]:
    """One node a line, 'ID NAME', split at the first blank: names may contain blanks, commas,
    slashes and quotes.
    """
    names: dict[str, str] = {}
    for number, line in numbered_lines(text):
        node, *rest = line.split(maxsplit=1)
        if not rest:
            raise fault(source, number, f"expected an id and a name, got {line!r}")
        if node in names:
            raise fault(source, number, f"the id {node!r} comes twice")
        names[node] = checked_key(source, number, rest[0])
    return names


def numbered_lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, stripped, with their numbers from 1."""
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line.strip()


def _path(source: str, line: int, written: str) -> Path:
    return tuple(checked_key(source, line, key) for key in parse_path(written))


def _table_rows(text: str, source: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    title = next(numbered_lines(text), (0, ""))[1]
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=max(",;\t", key=title.count), strict=True
    )
    rows = []
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                rows.append((reader.line_num, [cell.strip() for cell in cells]))
    except csv.Error as error:
        raise fault(source, reader.line_num, f"this is no valid table row: {error}") from error
    if len(rows) < 2:
        raise fault(
            source,
            None,
            "the table is empty; expected a row of column names and a row for each class",
        )
    width = len(rows[0][1])
    for line, cells in rows[1:]:
        if len(cells) != width:
            raise fault(
                source, line, f"expected {width} cells as in the first row, got {len(cells)}"
            )
    return rows[0][1], rows[1:]


def _check_header(source: str, header: list[str], rows: list[list[str]], levels: list[str]) -> None:
    if not all(header) or len(set(header)) < len(header):
        raise fault(
            source, 1, f"the first row must give every column a name of its own, got {header}"
        )
    if not levels and "path" not in header:
        raise fault(
            source,
            1,
            "there is no column for the path and none for a level, only"
            f" {', '.join(map(repr, header))}; give a column"
            " 'path' with paths such as animal/bird/owl, or a column for each level from the top"
            " down, such as"
            " family, genus, species; a column 'class' at either end holds the names to show",
        )
    if levels and "path" in header:
        raise fault(
            source,
            1,
            f"a table with a column 'path' has no other columns than 'class', got {levels}",
        )
    if len(levels) == 1 and any("/" in cell for cells in rows for cell in cells):
        raise fault(
            source,
            1,
            f"the only level {levels[0]!r} has a '/' in it; a column of paths has the title 'path'",
        )
    for title, *cells in zip(header, *rows):
        if title in cells:
            raise fault(
                source,
                1,
                f"{title!r} is a column title and also in that column; the first row must be titles",
            )


def _levels(source: str, line: int, cells: list[str]) -> Path:
    while cells and not cells[-1]:
        cells = cells[:-1]
    if not all(cells) or not cells:
        raise fault(
            source,
            line,
            "a level is empty above a filled one; only the last cells of a row may be empty",
        )
    return tuple(checked_key(source, line, cell) for cell in cells)


def _edges(text: str, source: str) -> tuple[dict[str, str], dict[str, int]]:
    parent: dict[str, str] = {}
    lines: dict[str, int] = {}
    for number, line in numbered_lines(text):
        ids = [checked_key(source, number, node) for node in line.split()]
        if len(ids) != 2:
            raise fault(
                source, number, f"expected 'CHILD PARENT', two ids, got {len(ids)} in {line!r}"
            )
        child, above = ids
        if child in parent:
            raise fault(
                source,
                number,
                f"{child!r} has a second parent {above!r}; line {lines[child]} has"
                f" {parent[child]!r}",
            )
        parent[child], lines[child] = above, number
    if not parent:
        raise fault(source, None, "the file is empty; expected 'CHILD PARENT' a line")
    return parent, lines


def _only_root(source: str, parent: dict[str, str]) -> str:
    roots = [node for node in dict.fromkeys(parent.values()) if node not in parent]
    if len(roots) > 1:
        few = " and ".join(repr(root) for root in roots[:2])
        raise fault(
            source, None, f"there are {len(roots)} roots, such as {few}; give them a common parent"
        )
    return roots[0] if roots else ROOT


def _upward_paths(
    source: str, parent: dict[str, str], root: str, lines: dict[str, int]
) -> dict[str, Path]:
    paths: dict[str, Path] = {root: ()} if root not in parent else {}
    for node in parent:
        branch: dict[str, None] = {}
        while node not in paths:
            if node in branch:
                cycle = [*branch][[*branch].index(node) :]
                raise fault(
                    source,
                    lines[node],
                    f"{' -> '.join([*cycle[:5], node])} is a cycle; no root is above it",
                )
            branch[node] = None
            node = parent[node]
        for below in reversed(branch):
            paths[below] = (*paths[parent[below]], below)
    return paths


def _is_number(node: str) -> bool:
    return node.isascii() and node.isdigit() and len(node) < 19
