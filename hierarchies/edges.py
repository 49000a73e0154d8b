"""Parsers of trees that say of each node what is above it: lists of edges, tables of parents."""

import re
from collections.abc import Sequence

from files.text import counted, some_of
from hierarchies import ranks
from hierarchies.draft import (
    ROOT,
    Draft,
    check_depth,
    check_number,
    checked_key,
    fault,
    without_common_root,
)
from hierarchies.rows import DELIMITERS, Row, Table, check_titles, numbered_lines
from hierarchies.tree import Path

# titles of the two ends of an edge in tables of graphs, which may have other columns
_ENDS = (("source", "target"), ("from", "to"))
_WHOLE = re.compile(r"^(\d+)(?:\.0+)?$")


def parse_edges(text: str, source: str, names: dict[str, str] | None = None) -> Draft:
    """One edge a line, 'CHILD PARENT', as in NABirds' hierarchy.txt. Nodes without a child are the
    classes. Where a tab, comma, semicolon or bar parts all lines in two, ids may have blanks.

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


def is_edge_list(lines: Sequence[str]) -> bool:
    """Whether lines without titles are pairs of child and parent, for
    `hierarchies.tables.parse_table`: two names each, all different on one side, and some of them
    again on the other.
    """
    mark = _edge_separator(lines)
    if mark is None or mark not in DELIMITERS:
        return False
    first, *rows = [Row(1, [cell.strip() for cell in line.split(mark)]) for line in lines]
    return _untitled_edges(Table("", first.cells, rows)) is not None


def edge_columns(table: Table) -> tuple[Table, int, int, int] | None:
    """The table, and the columns of ids, parents and names, if it has a row for each node; else
    None.
    """
    titles = table.titles
    parent = next(table.titled(ranks.PARENTS), None)
    if parent is None:
        ends = next((pair for pair in _ENDS if set(pair) <= set(titles)), ())
        return _untitled_edges(table.with_columns([*map(titles.index, ends)]) if ends else table)
    label = next(table.titled(ranks.LABELS), None)
    known = [at for at, title in enumerate(titles) if title in ranks.CHILDREN]
    candidates = [*known, *([label] if label is not None else [])]
    candidates = candidates or [at for at in range(len(titles)) if at != parent]
    if not candidates:
        return None
    above = [cell for cell in table.column(parent) if not ranks.is_empty(cell)]
    hits = []
    for at in candidates:
        ids = set(table.column(at))
        hits.append(sum(cell in ids for cell in above))
    best = hits.index(max(hits))
    if 2 * hits[best] < len(above) and len(ranks.columns(table.header).ranks) > 1:
        return None  # the rows of the parents are not there, but their ranks are
    check_titles(table)
    node = candidates[best]
    return table, node, parent, node if label is None else label


def _untitled_edges(table: Table) -> tuple[Table, int, int, int] | None:
    """The same for a table of two columns without telling titles, whose values say that one holds
    the parents of the other: all different on one side, and in part again on the other.
    """
    header = table.header
    if len(header) != 2 or len(ranks.columns(header).ranks) > 1:
        return None
    if {*header} & {cell for cells in table.cells for cell in cells}:
        # the first row is an edge as well
        table = table._replace(rows=[Row(1, list(header)), *table.rows])
    if any(left == right for left, right in table.cells):
        return None
    sides = [table.column(0), table.column(1)]
    if not set(sides[0]) & set(sides[1]):
        return None
    child = next((at for at in (0, 1) if len(set(sides[at])) == len(table.rows)), None)
    if child is None or "" in sides[child]:
        return None
    return table, child, 1 - child, child


def parse_parents(table: Table, node: int, above: int, name: int) -> Draft:
    """A table with a row for each node: its id, the id of its parent, and a name if it has one.

    Nodes without a child are the classes. A node whose parent is empty, itself or nowhere in the
    table is at the top, but a synonym beside the name that is accepted for it, where the table says
    which. Siblings of one name get their ids behind it.
    """
    parent, lines, shown = _rows_of_nodes(table, node, above, name)
    synonyms = _place_synonyms(table, node, parent)
    named_in = {up: lines[child] for child, up in reversed(parent.items())}
    unknown = [up for up in dict.fromkeys(parent.values()) if up and up not in parent]
    if node != name and len(unknown) == 1 and all(parent.values()):  # 0 or -1: no parent
        parent = {child: "" if up in unknown else up for child, up in parent.items()}
        unknown = []
    for up in unknown:
        parent[up], shown[up], lines[up] = "", up, named_in[up]
    taken, twice = {}, []
    for child, up in parent.items():
        first = taken.setdefault((up, shown[child]), child)
        twice += [child] if first != child else []
    for child in twice:
        shown[child] = f"{shown[child]} ({child})"
    source, header = table.source, table.header
    shown = {child: checked_key(source, lines[child], key) for child, key in shown.items()}
    paths = _upward_paths(source, parent, "", lines, shown)
    inner = set(parent.values())
    classes = [(lines[child], paths[child]) for child in parent if child not in inner]
    if not classes:
        raise table.fault(None, "no row is without children, so there is no class")
    left_out = [title for at, title in enumerate(header) if at not in (node, above, name)]
    rest = f"; left out: {', '.join(map(repr, left_out))}" if left_out else ""
    notes = [
        f"read as a row for each node, its parent in the column {header[above]!r}, its name in"
        f" {header[name]!r}{rest}"
    ]
    tops = any(not up for child, up in parent.items() if child not in unknown)
    if synonyms:
        number = counted(len(synonyms), "synonym")
        notes.append(f"{number} placed beside the accepted name, such as {shown[synonyms[0]]!r}")
    if unknown and (node != name or tops):  # where all tops are without a row, no row is missing
        ids = ", named by id" if node != name else ", at the top therefore"
        notes.append(
            f"{counted(len(unknown), 'parent')} without a row{ids}: {some_of(unknown, 3, repr)}"
        )
    if twice:
        notes.append(
            f"{counted(len(twice), 'name')} twice below one parent, told apart by the id behind,"
            f" such as {shown[twice[0]]!r}"
        )
    return without_common_root(Draft(classes, notes=tuple(notes)))


def _place_synonyms(table: Table, node: int, parent: dict[str, str]) -> list[str]:
    """Gives synonyms the parent of the name that is accepted for them, and names them: those
    without a parent, and those whose parent it is, as in the Catalogue of Life.

    Args:
        table, node: The table, and its column of ids.
        parent: That of each node, '' at the top; changed.
    """
    placed, accepted = {}, _accepted(table, node, parent)
    for child, name in accepted.items():
        if child == name or parent.get(child, child) not in ("", name):
            continue
        passed = {child}
        while name not in passed and accepted.get(name):  # a synonym of a synonym
            passed.add(name)
            name = accepted[name]
        if parent.get(name):
            placed[child] = parent[name]
    parent.update(placed)
    return [*placed]


def _accepted(table: Table, node: int, parent: dict[str, str]) -> dict[str, str]:
    """The node of the accepted name of each node, where the table says which: in a column of its
    own, or as the parent of what its status calls a synonym, of the same rank.
    """

    def column(names: Sequence[str]) -> list[str] | None:
        at = next(table.titled(names), None)
        return None if at is None else table.column(at)

    nodes = [_WHOLE.sub(r"\1", cell) for cell in table.column(node)]
    accepted = column(ranks.ACCEPTED)
    found = dict(zip(nodes, (_WHOLE.sub(r"\1", cell) for cell in accepted or ())))
    status, of_ranks = column(("taxonomicstatus", "status")), column(("taxonrank", "rank"))
    if status is not None and of_ranks is not None:
        rank = dict(zip(nodes, of_ranks))
        for child, said in zip(nodes, status):
            up = parent.get(child)
            if "synonym" in said.casefold() and up in rank and rank[up] == rank[child]:
                found[child] = up
    return found


def _rows_of_nodes(
    table: Table, node: int, above: int, name: int
) -> tuple[dict[str, str], dict[str, int], dict[str, str]]:
    """The parent of each node, '' at the top, its line and its name, by its id."""
    # a column with empty cells has its numbers written as 1.0 by pandas
    as_numbers = all(map(_WHOLE.fullmatch, table.column(node)))
    parent, lines, shown = {}, {}, {}
    for line, cells in table.rows:
        child, up = checked_key(table.source, line, cells[node]), cells[above]
        if as_numbers:
            child, up = _WHOLE.sub(r"\1", child), _WHOLE.sub(r"\1", up)
        if child in parent:
            raise table.fault(
                line,
                f"{child!r} has a second row and so a second parent, before in line"
                f" {lines[child]}; keep one of them",
            )
        parent[child] = "" if ranks.is_empty(up) or up == child else up
        lines[child] = line
        unnamed = name == node or ranks.is_empty(cells[name])
        shown[child] = child if unnamed else cells[name]
    return parent, lines, shown


def _edges(text: str, source: str) -> tuple[dict[str, str], dict[str, int]]:
    parent: dict[str, str] = {}
    lines: dict[str, int] = {}
    written = list(numbered_lines(text))
    check_number(source, None, len(written))
    mark = _edge_separator([line for _, line in written])
    for number, line in written:
        ids = line.split(mark)
        if number == 1 and len(ids) == 2 and _are_titles(ids):
            continue
        if len(ids) != 2:
            raise fault(
                source,
                number,
                f"expected 'CHILD PARENT', two ids, got {len(ids)} in {line!r}; names with blanks"
                " need a tab, a comma or a semicolon between the two",
            )
        child, above = (checked_key(source, number, node) for node in ids)
        if parent.setdefault(child, above) != above:
            raise fault(
                source,
                number,
                f"{child!r} has a second parent {above!r}; line {lines[child]} has"
                f" {parent[child]!r}; keep one of them",
            )
        lines.setdefault(child, number)
    if not parent:
        raise fault(source, None, "the file is empty; expected 'CHILD PARENT' a line")
    return parent, lines


def _edge_separator(lines: Sequence[str]) -> str | None:
    """What separates child and parent: None for blanks, else the mark that all lines have once."""
    if all(len(line.split()) == 2 for line in lines):
        return None
    marks = (mark for mark in "\t,;|>" if all(line.count(mark) == 1 for line in lines))
    return next(marks, None)


def _are_titles(ids: Sequence[str]) -> bool:
    child, above = map(ranks.plain, ids)
    return above in ranks.PARENTS and child in (*ranks.CHILDREN, *ranks.LABELS)


def _only_root(source: str, parent: dict[str, str]) -> str:
    roots = [node for node in dict.fromkeys(parent.values()) if node not in parent]
    if len(roots) > 1:
        few = " and ".join(repr(root) for root in roots[:2])
        raise fault(
            source, None, f"there are {len(roots)} roots, such as {few}; give them a common parent"
        )
    return roots[0] if roots else ROOT


def _upward_paths(
    source: str,
    parent: dict[str, str],
    root: str,
    lines: dict[str, int],
    keys: dict[str, str] | None = None,
) -> dict[str, Path]:
    """Path of every node, of its keys or, without, of the nodes' ids."""
    paths: dict[str, Path] = {root: ()} if root not in parent else {}
    entries = 0
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
        check_depth(source, lines.get(node), len(branch) + len(paths[node]))
        for below in reversed(branch):
            paths[below] = (*paths[parent[below]], keys[below] if keys else below)
            entries += len(paths[below])
        check_number(source, None, 0, entries)
    return paths


def _is_number(node: str) -> bool:
    return node.isascii() and node.isdigit() and len(node) < 19
