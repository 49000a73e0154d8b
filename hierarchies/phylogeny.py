"""Parsers of trees as tree programs write them: Newick and NEXUS. Neither recurses."""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from files.text import counted
from hierarchies.draft import (
    ROOT,
    Draft,
    Item,
    check_depth,
    check_number,
    checked_key,
    fault,
    from_items,
)


class _Node:
    """A node as it is read: its line, depth, the node above it, its label (empty if it has none),
    whether that was in quotes, and whether there are nodes below.
    """

    __slots__ = ("line", "depth", "above", "label", "quoted", "is_inner")

    def __init__(self, line: int, depth: int = 0, above: "_Node | None" = None):
        self.line, self.depth, self.above = line, depth, above
        self.label, self.quoted, self.is_inner = "", False, False


class _Command(NamedTuple):
    """A command of a NEXUS file: its line, its first word in lower case, and the text after it."""

    line: int
    word: str
    text: str


def parse_newick(text: str, source: str) -> Draft:
    """One tree in Newick, labels quoted as 'it''s' or "so" where they need to be; comments, with
    annotations such as [&support=1], and branch lengths do not count.

    Underscores stay underscores. Numbers at inner nodes are taken for supports, not for names,
    unless they are in quotes or the classes are numbers, too. Inner nodes without a label get the
    keys node1, node2, ... in preorder; inner nodes that have the label of a sibling get a number
    behind it. Both numbers and repeated labels are noted.
    """
    return _parse(text, source, 1, {})


def parse_nexus(text: str, source: str) -> Draft:
    """The one tree of the TREES block of a NEXUS file, its labels replaced as TRANSLATE says; see
    `parse_newick`.
    """
    commands = list(_commands(text, source))
    if not commands or not re.match(r"#nexus\b", text.lstrip(), re.IGNORECASE):
        raise fault(source, 1, "this is not a NEXUS file; the first word of one is #NEXUS")
    block, trees, translation = "", [], {}
    for command in commands:
        if command.word == "begin":
            block = command.text.strip().lower()
        elif command.word in ("end", "endblock"):
            block = ""
        elif block == "trees" and command.word == "translate":
            translation = _translation(command, source)
        elif block == "trees" and command.word in ("tree", "utree"):
            trees.append(command)
    if not trees:
        raise fault(
            source,
            None,
            "there is no tree in this NEXUS file: a block 'begin trees;' with a line 'tree name ="
            " (...);' is needed",
        )
    if len(trees) > 1:
        raise fault(
            source,
            trees[1].line,
            f"a second tree; the file holds {len(trees)} of them: keep one, such as the consensus",
        )
    tree = trees[0]
    name = _NEXUS_TREE_NAME.match(tree.text)
    if name is None:
        raise fault(source, tree.line, "expected 'tree name = (...)', but there is no '='")
    line = tree.line + name.group().count("\n")
    return _parse(f"{tree.text[name.end() :]};", source, line, translation)


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
    "(": "a '(' comes first or after '(' or ','; quote a name that has one, and of two trees keep"
    " one in the file",
    ")": "more ')' than '('",
    ";": "fewer ')' than '('",
    "label": "a label comes once, after '(', ',' or ')'; quote it if it has blanks or marks:"
    " 'it''s'",
}
_NEWICK_TOKEN = re.compile(
    r"(?P<blank>\s+|\[[^\]]*\])|'(?P<quoted>(?:[^']|'')*)'|\"(?P<double>(?:[^\"]|\"\")*)\""
    r"|(?P<mark>[(),:;])"
    r"|(?P<plain>{word}(?:[ \t]+{word})*)".replace("{word}", r"[^\s()\[\]:;,'\"][^\s()\[\]:;,']*")
)
_SUPPORT = re.compile(
    r"{number}(?:[eE][+-]?\d+)?(?:/{number})*/?".replace(
        "{number}", r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)"
    )
)
_OPEN_TREE = re.compile(r"^mrcaott\d+ott\d+$|[_ ]ott\d+$")
_NEXUS_TREE_NAME = re.compile(r"(?:\[[^\]]*\]|'[^']*'|[^=\['])*=")
_NEXUS_PART = re.compile(r"\[[^\]]*\]|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|;|[^\['\";]+")


def is_support(label: str) -> bool:
    """Whether an unquoted label of an inner node is read as a support: a number such as 100 or
    0.98, or several with '/' between them.
    """
    return _SUPPORT.fullmatch(label) is not None


def _parse(text: str, source: str, first: int, translation: Mapping[str, str]) -> Draft:
    nodes, decimals = _read_nodes(text, source, first)
    if decimals and not all(is_support(node.label) for node in nodes if not node.is_inner):
        raise fault(
            source,
            decimals[0].line,
            f"{decimals[0].label!r} behind a ',' and a branch length would be a class: are decimals"
            " written with commas? Lengths take a point, as 0.1; put a name that is a number in"
            " quotes",
        )
    notes = _tidy(nodes, translation)
    return from_items(source, _newick_items(source, nodes))._replace(notes=tuple(notes))


def _read_nodes(text: str, source: str, first: int) -> tuple[list[_Node], list[_Node]]:
    """The nodes in preorder, and those of them that may be what is behind a decimal comma."""
    nodes = [_Node(first)]
    node, above, state = nodes[0], [], "fresh"
    after: list[str] = []  # the kinds of the last two tokens
    decimals: list[_Node] = []
    for line, kind, value in _newick_tokens(text, source, first):
        quoted, kind = kind == "quoted", "label" if kind == "quoted" else kind
        kind = "length" if state == ":" and kind == "label" else kind
        too_early = kind == ";" and above
        if state not in _MAY_FOLLOW[kind] or too_early or (kind in ",)" and not above):
            raise fault(
                source,
                line,
                f"{value!r} is out of place: {_REASONS.get(kind, 'the tree is not well-formed')}",
            )
        if state == "fresh" or kind == "label":
            node.line = line
        state = kind
        if kind in "(,":
            above += [node] if kind == "(" else []
            check_depth(source, line, len(above))
            above[-1].is_inner = True
            node = _Node(line, len(above), above[-1])
            nodes.append(node)
            check_number(source, line, len(nodes))
            state = "fresh"
        elif kind == ")":
            node = above.pop()
        elif kind == "label":
            node.label, node.quoted = checked_key(source, line, value), quoted
            if after == ["length", ","] and not quoted and value.isdigit():
                decimals.append(node)
        elif kind == ":" and decimals and decimals[-1] is node:
            decimals.pop()  # what has a length of its own is a class
        elif kind == "length":
            _check_length(source, line, value)
        after = [*after[-1:], kind]
    if state != ";":
        if len(nodes) == 1 and not nodes[0].label:
            raise fault(source, None, "the file is empty; expected a tree such as ((a,b),c);")
        raise fault(
            source,
            None,
            "the tree does not end: there is no ';' after its last ')'; if the file is whole, add"
            " it",
        )
    return nodes, decimals


def _tidy(nodes: list[_Node], translation: Mapping[str, str]) -> list[str]:
    """Translates classes, removes supports, tells siblings of one label apart, and says so."""
    inner = [node for node in nodes if node.is_inner]
    tips = [node for node in nodes if not node.is_inner]
    for tip in tips:
        tip.label = translation.get(tip.label, tip.label)
    notes = _without_numbers(nodes, tips)
    supports = [node for node in inner if is_support(node.label) and not node.quoted]
    if supports and not all(is_support(tip.label) for tip in tips):
        notes.append(
            f"{counted(len(supports), 'inner node is', 'inner nodes are')} labelled with a number,"
            f" such as {supports[0].label}: it is taken for a support, not for a name"
        )
        for node in supports:
            node.label = ""
    renamed = _tell_apart(nodes)
    if renamed:
        notes.append(
            f"{counted(len(renamed), 'inner node')} with the name of a sibling, now with a number"
            " behind it,"
            f" such as {renamed[0][0]!r} as {renamed[0][1]!r}"
        )
    return notes


def _without_numbers(nodes: list[_Node], tips: list[_Node]) -> list[str]:
    """Takes the numbers that the Open Tree of Life writes behind names out of the labels, if all
    classes have one and are told apart without; its nodes without a name have only numbers.
    """
    bare = [_OPEN_TREE.sub("", tip.label) for tip in tips]
    numbered = all(one != tip.label for one, tip in zip(bare, tips))
    if not numbered or len(set(bare)) < len(bare):
        return []
    example = tips[0].label
    for node in nodes:
        node.label = _OPEN_TREE.sub("", node.label)
    return [f"numbers of the Open Tree of Life behind names are left out, such as in {example!r}"]


def _tell_apart(nodes: list[_Node]) -> list[tuple[str, str]]:
    """Puts a number behind the label of an inner node that a class beside it or an earlier inner
    node beside it has. Returns the labels before and after.
    """
    labels = {(node.above, node.label) for node in nodes}
    taken = {(node.above, node.label) for node in nodes if not node.is_inner}
    last, renamed = {}, []
    for node in nodes[1:]:
        key = above, label = node.above, node.label
        if not node.is_inner or not label:
            continue
        if key in taken:
            number = last.get(key, 1) + 1
            while (above, f"{label} {number}") in labels:
                number += 1
            last[key] = number
            node.label = f"{label} {number}"
            labels.add((above, node.label))
            renamed.append((label, node.label))
        taken.add(key)
    return renamed


def _newick_tokens(text: str, source: str, line: int) -> Iterator[tuple[int, str, str]]:
    """Line, kind (a mark, 'label', or 'quoted' for a label in quotes) and value of each token."""
    position = 0
    while position < len(text):
        token = _NEWICK_TOKEN.match(text, position)
        if token is None:
            what = {
                "'": "a quote that does not end; a name with an apostrophe is written"
                " 'Muller''s x', in quotes and with two of them",
                '"': "a quote that does not end",
                "[": "a comment that does not end",
            }
            raise fault(
                source,
                line,
                f"{text[position : position + 20]!r}: {what.get(text[position], 'unexpected')}",
            )
        if token.lastgroup == "mark":
            yield line, token["mark"], token["mark"]
        elif token.lastgroup != "blank":
            plain = token["plain"] is not None
            yield line, "label" if plain else "quoted", _unquoted(token)
        line += token.group().count("\n")
        position = token.end()


def _unquoted(token: re.Match) -> str:
    if token["quoted"] is not None:
        return token["quoted"].replace("''", "'")
    if token["double"] is not None:
        return token["double"].replace('""', '"')
    return token["plain"]


def _check_length(source: str, line: int, value: str) -> None:
    try:
        float(value)
    except ValueError as error:
        raise fault(
            source, line, f"{value!r} is not a branch length; expected a number after ':'"
        ) from error


def _newick_items(source: str, nodes: list[_Node]) -> Iterator[Item]:
    taken, number = {node.label for node in nodes}, 0
    for node in nodes:
        label = node.label
        if not label and node.depth and not node.is_inner:
            raise fault(source, node.line, "a class has no label; only inner nodes may go without")
        if not label and node.depth == 0:
            label = ROOT
        while not label:
            number += 1
            label = f"node{number}" if f"node{number}" not in taken else ""
        yield Item(node.line, node.depth, label)


def _commands(text: str, source: str) -> Iterator[_Command]:
    """The commands of a NEXUS file, which end in ';', with the comments in them."""
    text = re.sub(r"^\s*#nexus", lambda start: "\n" * start[0].count("\n"), text, flags=re.I)
    parts, line, first = [], 1, 1
    position = 0
    while position < len(text):
        part = _NEXUS_PART.match(text, position)
        if part is None:
            raise fault(source, line, "a quote or a comment does not end")
        if part.group() == ";":
            yield _command("".join(parts), first)
            parts, first = [], line
        else:
            parts.append(part.group())
        line += part.group().count("\n")
        position = part.end()


def _command(text: str, line: int) -> _Command:
    start = re.match(r"(?:\s|\[[^\]]*\])*", text)[0]
    word = re.match(r"\w*", text[len(start) :])[0]
    return _Command(line + start.count("\n"), word.lower(), text[len(start) + len(word) :])


def _translation(command: _Command, source: str) -> dict[str, str]:
    """The names that stand for the labels of a NEXUS tree: '1 Calanus, 2 'Oithona similis''."""
    names, entry = {}, []
    for line, kind, value in _newick_tokens(f"{command.text},", source, command.line):
        if kind != ",":
            entry += [value] if entry or kind == "quoted" else value.split(maxsplit=1)
            continue
        if not entry:  # some programs write a comma behind the last one, too
            continue
        if len(entry) != 2:
            raise fault(source, line, f"TRANSLATE: expected a label and a name, got {entry}")
        names[entry[0]] = entry[1]
        entry = []
    return names
