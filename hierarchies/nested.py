"""Parsers of hierarchy files whose nesting is the tree: outline, JSON, Newick. None of them
recurses.
"""

import json
import re
from collections.abc import Iterator

from hierarchies.draft import ROOT, Draft, Item, checked_key, fault, from_items, without_common_root
from hierarchies.tables import numbered_lines
from hierarchies.tree import Hierarchy


def parse_outline(text: str, source: str) -> Draft:
    """One node a line, two dashes a level before its name; the first line is the root and has
    none.
    """
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
    content = _loaded(text, source)
    if isinstance(content, dict) and isinstance(content.get("root"), str):
        try:
            tree = Hierarchy.from_dict(content)
        except ValueError as error:
            raise fault(source, None, str(error)) from error
        names = {tree.path(v): tree.names[v] for v in range(1, tree.num_nodes)}
        return Draft([(None, path) for path in tree.class_paths], names, tree.names[0])
    if isinstance(content, dict) and isinstance(content.get("name"), str):
        return from_items(source, _json_items(source, content, 0))
    return without_common_root(
        from_items(source, [Item(None, 0, ROOT), *_json_items(source, content, 1)])
    )


def parse_newick(text: str, source: str) -> Draft:
    """One tree in Newick, labels quoted as 'it''s' where they need to be; comments and branch
    lengths do not count.

    Underscores stay underscores. Inner nodes without a label get the keys node1, node2, ... in
    preorder.
    """
    nodes: list[list] = [[1, 0, ""]]  # line, depth and label, in preorder
    node, above, state = nodes[0], [], "fresh"
    for line, kind, value in _newick_tokens(text, source):
        kind = "length" if state == ":" and kind == "label" else kind
        if (
            state not in _MAY_FOLLOW[kind]
            or (kind in ",)" and not above)
            or (kind == ";" and above)
        ):
            raise fault(
                source,
                line,
                f"{value!r} is out of place: {_REASONS.get(kind, 'the tree is not well-formed')}",
            )
        if state == "fresh" or kind == "label":
            node[0] = line
        state = kind
        if kind in "(,":
            above += [node] if kind == "(" else []
            nodes.append([line, len(above), ""])
            node, state = nodes[-1], "fresh"
        elif kind == ")":
            node = above.pop()
        elif kind == "label":
            node[2] = checked_key(source, line, value)
        elif kind == "length":
            _check_length(source, line, value)
    if state != ";":
        raise fault(source, None, "the tree does not end: there is no ';' after its last ')'")
    return from_items(source, _newick_items(source, nodes))


_MAY_FOLLOW = {
    "(": ("fresh",),
    "label": ("fresh", ")"),
    ":": ("fresh", ")", "label"),
    "length": (":",),
    ",": ("fresh", ")", "label", "length"),
    ")": ("fresh", ")", "label", "length"),
    ";": ("fresh", ")", "label", "length"),
}
_REASONS = {
    ",": "a second root, or a ',' without a '(' before",
    ")": "more ')' than '('",
    ";": "fewer ')' than '('",
    "label": "a label comes once, after '(', ',' or ')'; quote it if it has blanks or marks:"
    " 'it''s'",
}
_NEWICK_TOKEN = re.compile(
    r"(?P<blank>\s+|\[[^\]]*\])|'(?P<quoted>(?:[^']|'')*)'|(?P<mark>[(),:;])"
    r"|(?P<plain>[^\s()\[\]:;,']+(?:[ \t]+[^\s()\[\]:;,']+)*)"
)


def _newick_tokens(text: str, source: str) -> Iterator[tuple[int, str, str]]:
    """Line, kind (a mark or 'label') and value of each token."""
    position, line = 0, 1
    while position < len(text):
        token = _NEWICK_TOKEN.match(text, position)
        if token is None:
            what = {"'": "a quote that does not end", "[": "a comment that does not end"}
            raise fault(
                source,
                line,
                f"{text[position : position + 20]!r}: {what.get(text[position], 'unexpected')}",
            )
        if token.lastgroup == "mark":
            yield line, token["mark"], token["mark"]
        elif token.lastgroup != "blank":
            quoted = token["quoted"]
            yield line, "label", token["plain"] if quoted is None else quoted.replace("''", "'")
        line += token.group().count("\n")
        position = token.end()


def _check_length(source: str, line: int, value: str) -> None:
    try:
        float(value)
    except ValueError as error:
        raise fault(
            source, line, f"{value!r} is no branch length; expected a number after ':'"
        ) from error


def _newick_items(source: str, nodes: list[list]) -> Iterator[Item]:
    taken, number = {label for _, _, label in nodes}, 0
    for index, (line, depth, label) in enumerate(nodes):
        is_inner = index + 1 < len(nodes) and nodes[index + 1][1] > depth
        if not label and depth and not is_inner:
            raise fault(source, line, "a class has no label; only inner nodes may go without")
        if not label and depth == 0:
            label = ROOT
        while not label:
            number += 1
            label = f"node{number}" if f"node{number}" not in taken else ""
        yield Item(line, depth, label)


def _loaded(text: str, source: str) -> object:
    try:
        return json.loads(text, object_pairs_hook=_without_repeats)
    except json.JSONDecodeError as error:
        raise fault(source, error.lineno, f"this is no valid JSON: {error.msg}") from error
    except RecursionError as error:
        raise fault(
            source, None, "the JSON is nested too deeply; write a tree this deep as paths or Newick"
        ) from error
    except ValueError as error:
        raise fault(source, None, str(error)) from error


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
    for entry in content if isinstance(content, list) else [content] if content is not None else []:
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
                f"{shown} is no node; expected an object, a list of nodes and names, or null",
            )
    return nodes
