"""What the parsers of hierarchy files have in common: a draft of the tree that remembers its
lines, and the bounds that keep a damaged or hostile file from filling the memory.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from files.text import printable, shortened
from hierarchies.tree import Hierarchy, Path, format_path

ROOT = "root"
# Far above every published class tree (ImageNet-21k: 18 levels, 10,000 nodes). Memory grows with
# the product of depth and classes.
MAX_DEPTH = 2_000
MAX_NODES = 1_000_000
MAX_ENTRIES = 20_000_000  # of all class paths together
MAX_NAME = 1_000  # characters


class Draft(NamedTuple):
    """Classes read from a file.

    Attributes:
        classes: (line or None, path below the root) each.
        names: Names to show by path.
        root: The root's name.
        notes: What the user should be told about the reading, without the file's name.
        advice: The way out if a class comes twice, where the format knows one.
        ranks: What the levels of nodes are called, by path.
    """

    classes: list[tuple[int | None, Path]]
    names: dict[Path, str] = {}
    root: str = ROOT
    notes: tuple[str, ...] = ()
    advice: str = ""
    ranks: Mapping[Path, str] = {}

    def build(self, source: str, self_leaves: bool) -> Hierarchy:
        """The hierarchy. Raises: ValueError: Naming file and line, if a class comes twice or the
        tree is not valid.
        """
        lines: dict[Path, int | None] = {}
        for line, path in self.classes:
            if path in lines:
                before = f", before in {place(lines[path])}" if lines[path] else ""
                advice = f"; {self.advice}" if self.advice else ""
                shown = shortened(format_path(path))
                raise fault(source, line, f"the class {shown!r} comes twice{before}{advice}")
            lines[path] = line
        try:
            return Hierarchy.from_paths(
                lines,
                self_leaves=self_leaves,
                names=self.names,
                root=self.root,
                ranks=self.ranks,
            )
        except ValueError as error:
            raise fault(source, None, str(error)) from error


class Item(NamedTuple):
    """A node of a nested file, in preorder: its line if it has one, its depth below the first node,
    and its key.
    """

    line: int | None
    depth: int
    key: str


def fault(source: str, line: int | None, message: str) -> ValueError:
    """A ValueError that says where it happened."""
    message = printable(shortened(message, 2000))
    return ValueError(f"{source}, {place(line)}: {message}" if line else f"{source}: {message}")


def place(line: int) -> str:
    """'line 3'; a number of something else says in `unit` of what."""
    return f"{getattr(line, 'unit', 'line')} {line}"


def checked_key(source: str, line: int | None, key: str) -> str:
    """The key without blanks around it. Raises: ValueError: If it is empty, far too long or not
    valid text.
    """
    key = key.strip()
    if not key:
        raise fault(source, line, "a name is empty; fill it in, or remove it")
    if len(key) > MAX_NAME:
        raise fault(
            source,
            line,
            f"a name has {len(key)} characters and starts with {shortened(key, 40)!r}; names have"
            f" at most {MAX_NAME}: is this a class tree?",
        )
    try:
        key.encode("utf-8")
    except UnicodeEncodeError as error:
        raise fault(source, line, f"the name {key!r} is not valid Unicode text") from error
    if "\0" in key:
        raise fault(
            source,
            line,
            f"the name {key!r} has a NUL character; is the file UTF-16? Save it as UTF-8",
        )
    return key


def check_depth(source: str, line: int | None, depth: int) -> None:
    """Raises: ValueError: If a node lies too deep for the memory of the tables made from it."""
    if depth > MAX_DEPTH:
        raise fault(
            source,
            line,
            f"the tree is deeper than {MAX_DEPTH} levels: its tables have a column for each level"
            " and would not fit into memory; a class tree has at most a few dozen. Is this one?",
        )


def check_number(source: str, line: int | None, nodes: int, entries: int = 0) -> None:
    """Raises: ValueError: If there are too many nodes, or too many entries in all class paths."""
    if nodes > MAX_NODES or entries > MAX_ENTRIES:
        found = f"{MAX_NODES:,} nodes" if nodes > MAX_NODES else "what fits into memory"
        raise fault(
            source,
            line,
            f"the tree has more than {found}; cut it to the groups that hold your classes",
        )


def without_common_root(draft: Draft) -> Draft:
    """Makes the first key the root if all classes share it and none is that node itself."""
    first = {path[0] for _, path in draft.classes}
    if len(first) != 1 or min(len(path) for _, path in draft.classes) < 2:
        return draft
    return draft._replace(
        classes=[(line, path[1:]) for line, path in draft.classes],
        names={path[1:]: name for path, name in draft.names.items()},
        ranks={path[1:]: rank for path, rank in draft.ranks.items() if path[1:]},
        root=first.pop(),
    )


def from_items(source: str, items: Iterable[Item]) -> Draft:
    """The draft of a tree whose nodes come in preorder, without jumps in depth; nodes without
    children are classes.

    Items of depth 0 are not classes and not part of a path: one of them is the root.
    """
    items, above, classes = list(items), [], []
    check_number(source, None, len(items))
    seen: set[tuple[int, str]] = set()
    holders: list[int] = []  # index of the item at each depth of the current branch
    entries = 0
    for index, item in enumerate(items):
        check_depth(source, item.line, item.depth)
        del holders[item.depth :], above[max(item.depth - 1, 0) :]
        if item.depth:
            if (holders[-1], item.key) in seen:
                path = shortened(format_path((*above, item.key)))
                raise fault(
                    source, item.line, f"{path!r} comes twice; siblings need different names"
                )
            seen.add((holders[-1], item.key))
            above.append(item.key)
        holders.append(index)
        is_last = index + 1 == len(items) or items[index + 1].depth <= item.depth
        if is_last and item.depth:
            entries += len(above)
            check_number(source, item.line, 0, entries)
            classes.append((item.line, tuple(above)))
    if not classes:
        raise fault(source, None, "the tree is empty; it needs at least one class below its root")
    return Draft(classes, root=items[0].key)
