"""Parsers of hierarchy files whose nesting is the tree: outline and JSON. Neither recurses."""

import json
import re
from collections.abc import Iterator

from hierarchies import ranks
from hierarchies.draft import (
    MAX_DEPTH,
    ROOT,
    Draft,
    Item,
    checked_key,
    fault,
    from_items,
    without_common_root,
)
from hierarchies.rows import numbered_lines
from hierarchies.texts import parsed_json
from hierarchies.tree import Hierarchy

# what may stand before a name of an indented list: blanks, lines as `tree` draws them, a bullet
_INDENT = re.compile(r"(?:[`+|]-+|[\s\u2500-\u257f|])*(?:[-*\u2022]\s+)?")
_COUNTS = re.compile(r"\d+ director(?:y|ies)(?:, \d+ files?)?")  # the last line of `tree`
_TAB = 8  # blanks
_LOOKED_AT = 1_000_000  # letters that show whether a text is indented
_RANK = re.compile(r"\s*\[[a-z ]+\]")  # behind names of the Catalogue of Life
_SYNONYM = ("=", "\u2261")  # before them there


def is_indented(text: str) -> bool:
    """Whether a text is a list whose indentation is a tree: half of its lines or more stand further
    in than the first, and none is a row of cells or a member with a value.
    """
    lines = [line for line in text[:_LOOKED_AT].split("\n") if line.strip()]
    first, *rest = [_indent(line) for line in lines] or [0]
    cells = any("\t" in line.strip() or re.search(r"\w: \S", line) for line in lines)
    return (
        bool(rest)
        and not cells
        and min(rest) >= first
        and 2 * sum(at > first for at in rest) >= len(rest)
    )


def _indent(line: str) -> int:
    before = _INDENT.match(line)[0][: MAX_DEPTH * _TAB]
    return len(before.expandtabs(_TAB))


def _indented(text: str, source: str) -> Draft:
    """A list whose indentation is a tree, below an implied root if several lines stand at its left
    edge.
    """
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    lines = [(number, line) for number, line in lines if not _COUNTS.fullmatch(line.strip())]
    with_ranks = all(_RANK.search(line) for _, line in lines)
    items: list[Item] = []
    above: list[int] = []  # indentation of the nodes of the current branch
    for number, line in lines:
        indent, closed = _indent(line), None
        name = line[_INDENT.match(line).end() :].strip().removesuffix(":")
        if name == "." and not items:  # the folder that `tree` was called in
            name = ROOT
        if with_ranks:
            name = _RANK.sub("", name)
            if name.startswith(_SYNONYM):
                continue
        while above and indent <= above[-1]:
            closed = above.pop()
        if closed not in (None, indent):
            raise fault(
                source,
                number,
                f"{name!r} stands further in than the line that it should be below, and less than"
                " those that are: indent all nodes of a level alike",
            )
        above.append(indent)
        items.append(Item(number, len(above) - 1, checked_key(source, number, name)))
    if sum(item.depth == 0 for item in items) > 1:
        items = [Item(None, 0, ROOT), *(item._replace(depth=item.depth + 1) for item in items)]
    return from_items(source, items)


def parse_outline(text: str, source: str) -> Draft:
    """One node a line, two dashes a level before its name; the first line is the root and has none.
    Or a list that is indented by blanks, as `tree` draws it or as one of bullets.
    """
    if is_indented(text):
        return _indented(text, source)
    items: list[Item] = []
    for number, line in numbered_lines(text):
        name = line.lstrip("-")
        depth, odd = divmod(len(line) - len(name), 2)
        if odd:
            raise fault(
                source, number, f"expected two dashes a level, got {2 * depth + 1} before {name!r}"
            )
        if not items and depth:
            raise fault(
                source, number, f"the first line is the root and has no dashes, got {line!r}"
            )
        if items and depth == 0:
            raise fault(
                source,
                number,
                f"{name!r} is a second root; all lines but the first start with dashes",
            )
        if items and depth > items[-1].depth + 1:
            raise fault(
                source,
                number,
                f"{name!r} is at level {depth}, directly below one at level {items[-1].depth}",
            )
        items.append(Item(number, depth, checked_key(source, number, name)))
    return from_items(source, items)


def parse_json(text: str, source: str) -> Draft:
    """Nodes as {"name": ..., "children": [...]} (other members are passed over) or as {name: nodes
    below}.

    What is below a name is another such object, a list of class names or nodes, or nothing: {}, []
    or null. A list, or an object with several names, at the top has an implied root. What
    `Hierarchy.to_dict` gives is read as well.
    """
    content = parsed_json(text, source, _without_repeats)
    if isinstance(content, dict) and isinstance(content.get("root"), str):
        try:
            tree = Hierarchy.from_dict(content)
        except ValueError as error:
            raise fault(source, None, str(error)) from error
        classes = [(None, path) for path in tree.class_paths]
        return Draft(classes, tree.names_by_path, tree.names[0], ranks=tree.ranks_by_path)
    if isinstance(content, dict) and {"images", "annotations", "categories"} <= set(content):
        raise fault(source, None, "this is a COCO file: give it as --table, without --hierarchy")
    if isinstance(content, list) and content and all(map(_is_record, content)):
        raise fault(
            source,
            None,
            "the list says the parent of each node: write it as a table (CSV) with the columns id,"
            " parent and name",
        )
    if isinstance(content, dict) and isinstance(content.get("name"), str):
        return from_items(source, _json_items(source, content, 0))
    return without_common_root(
        from_items(source, [Item(None, 0, ROOT), *_json_items(source, content, 1)])
    )


def _is_record(entry: object) -> bool:
    """Whether an entry of a list is a node with the id of its parent, and none below it."""
    if not isinstance(entry, dict) or "children" in entry or "name" not in entry:
        return False
    return any(ranks.plain(key) in ranks.PARENTS for key in entry)


def _without_repeats(members: list[tuple[str, object]]) -> dict[str, object]:
    content = dict(members)
    if len(content) < len(members):
        keys = [key for key, _ in members]
        raise ValueError(
            f"{next(key for key in keys if keys.count(key) > 1)!r} comes twice in one object"
        )
    return content


def _json_items(source: str, content: object, depth: int) -> Iterator[Item]:
    stack = [(depth, name, below) for name, below in reversed(_json_nodes(source, content))]
    while stack:
        depth, name, below = stack.pop()
        yield Item(None, depth, checked_key(source, None, name))
        stack += [(depth + 1, child, rest) for child, rest in reversed(_json_nodes(source, below))]


def _json_nodes(source: str, content: object) -> list[tuple[str, object]]:
    """The nodes that a JSON value holds, each with the value that is below it."""
    nodes: list[tuple[str, object]] = []
    if content is None:
        return nodes
    for entry in content if isinstance(content, list) else [content]:
        if isinstance(entry, str) and isinstance(content, list):
            nodes.append((entry, None))
        elif isinstance(entry, dict) and isinstance(entry.get("name"), str):
            nodes.append((entry["name"], entry.get("children")))
        elif isinstance(entry, dict):
            nodes += entry.items()
        else:
            shown = json.dumps(entry)[:40]
            raise fault(
                source,
                None,
                f"{shown} is not a node; expected an object, a list of nodes and names, or null:"
                ' {"family": ["a", "b"]} or {"name": "family", "children": [...]}; other layouts'
                " are read as a table (CSV) with a column for each rank, or of ids and parents",
            )
    return nodes
