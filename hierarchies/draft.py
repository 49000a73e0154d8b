"""What the parsers of hierarchy files have in common: a draft of the tree that remembers its
lines.
"""

from collections.abc import Iterable
from typing import NamedTuple

from hierarchies.tree import Hierarchy, Path, format_path

ROOT = "root"


class Draft(NamedTuple):
    """Classes read from a file: (line or None, path below the root) each; names to show by path;
    the root's name.
    """

    classes: list[tuple[int | None, Path]]
    names: dict[Path, str] = {}
    root: str = ROOT

    def build(self, source: str, self_leaves: bool) -> Hierarchy:
        """The hierarchy. Raises: ValueError: Naming file and line, if a class comes twice or the
        tree is not valid.
        """
        lines: dict[Path, int | None] = {}
        for line, path in self.classes:
            if path in lines:
                before = f", before in line {lines[path]}" if lines[path] else ""
                raise fault(source, line, f"the class {format_path(path)!r} comes twice{before}")
            lines[path] = line
        try:
            return Hierarchy.from_paths(
                lines, self_leaves=self_leaves, names=self.names, root=self.root
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
    return ValueError(f"{source}, line {line}: {message}" if line else f"{source}: {message}")


def checked_key(source: str, line: int | None, key: str) -> str:
    """The key without blanks around it. Raises: ValueError: If it is empty or no valid text."""
    key = key.strip()
    if not key:
        raise fault(source, line, "a name is empty; every node below the root needs one")
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


def without_common_root(draft: Draft) -> Draft:
    """Makes the first key the root if all classes share it and none is that node itself."""
    first = {path[0] for _, path in draft.classes}
    if len(first) != 1 or min(len(path) for _, path in draft.classes) < 2:
        return draft
    classes = [(line, path[1:]) for line, path in draft.classes]
    return Draft(classes, {path[1:]: name for path, name in draft.names.items()}, first.pop())


def from_items(source: str, items: Iterable[Item]) -> Draft:
    """The draft of a tree whose nodes come in preorder, without jumps in depth; nodes without
    children are classes.

    Items of depth 0 are no classes and in no path: one is the root.
    """
    items, above, classes = list(items), [], []
    seen: set[tuple[int, str]] = set()
    holders: list[int] = []  # index of the item at each depth of the current branch
    for index, item in enumerate(items):
        del holders[item.depth :], above[max(item.depth - 1, 0) :]
        if item.depth:
            if (holders[-1], item.key) in seen:
                path = format_path((*above, item.key))
                raise fault(
                    source, item.line, f"{path!r} comes twice; siblings need different names"
                )
            seen.add((holders[-1], item.key))
            above.append(item.key)
        holders.append(index)
        is_last = index + 1 == len(items) or items[index + 1].depth <= item.depth
        if is_last and item.depth:
            classes.append((item.line, tuple(above)))
    if not classes:
        raise fault(source, None, "the tree is empty; it needs at least one class below its root")
    return Draft(classes, root=items[0].key)
