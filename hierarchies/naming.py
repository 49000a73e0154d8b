"""Nodes of a tree by the names that a user reads and writes."""

import difflib

from files.text import composed, printable, some_of
from hierarchies.tree import Hierarchy, format_path, parse_path


def node_named(tree: Hierarchy, name: str, flag: str) -> int:
    """The node that a name means: a path of keys, or the end of one node's path; a whole path
    counts first. The two ways in which Unicode writes an accented letter are one.

    Args:
        tree: The class tree.
        name: Written as by `format_path`.
        flag: What it was given to, for messages.

    Raises: ValueError: If it is the name of no node, with the nearest names, or of several.
    """
    wanted = parse_path(name)
    paths = {v: tree.path(v) for v in range(1, tree.num_nodes) if tree.keys[v] != "."}
    whole = [v for v, path in paths.items() if path == wanted]
    found = whole or [v for v, path in paths.items() if path[-len(wanted) :] == wanted]
    if not found:  # folders of a Mac have accents on their own, keyboards have not
        wanted_plain = tuple(map(composed, wanted))
        plain = {v: tuple(map(composed, path)) for v, path in paths.items()}
        found = [v for v, path in plain.items() if path[-len(wanted) :] == wanted_plain]
    if len(found) == 1:
        return found[0]
    if found:
        listed = some_of(found, 3, lambda v: repr(printable(format_path(paths[v]))))
        what = f"means several: {listed}; write a longer path"
    else:
        what = f"is not in the tree{_nearest(wanted[-1], [path[-1] for path in paths.values()])}"
    raise ValueError(f"{flag} {printable(name)}: the name {what}")


def taxon_paths(tree: Hierarchy) -> list[str]:
    """The path of each node as `format_path` writes it; the root goes by its name."""
    return [tree.names[0], *(format_path(tree.path(v)) for v in range(1, tree.num_nodes))]


def _nearest(wanted: str, keys: list[str]) -> str:
    by_plain: dict[str, str] = {}
    for key in keys:
        by_plain.setdefault(key.lower(), key)
    near = difflib.get_close_matches(wanted.lower(), by_plain, n=3, cutoff=0.6)
    near = near or [key for key in by_plain if wanted.lower() in key][:3]
    if not near:
        return ""
    listed = ", ".join(repr(printable(by_plain[key])) for key in near)
    return f"; nearest {'are' if len(near) > 1 else 'is'} {listed}"
