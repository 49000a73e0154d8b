"""Writes a hierarchy for other programs and for people: Newick, statistics."""

import numpy as np

from hierarchies.phylogeny import is_support
from hierarchies.tree import Hierarchy


def to_newick(hierarchy: Hierarchy, *, show_names: bool = False) -> str:
    """The tree in Newick, with a final newline. Children stand in preorder, so the class order is
    not kept.

    Args:
        hierarchy: The class tree.
        show_names: Label nodes with the names to show, which may repeat, instead of their keys.
    """
    names, is_inner = hierarchy.names if show_names else hierarchy.keys, hierarchy.n_children > 0
    labels = [_newick_label(name, inner) for name, inner in zip(names, is_inner.tolist())]
    written, open_nodes = [], []
    for node, above in enumerate(hierarchy.parent.tolist()):
        while open_nodes and open_nodes[-1] != above:
            written.append(")" + labels[open_nodes.pop()])
        if node and written[-1] != "(":
            written.append(",")
        written.append("(" if is_inner[node] else labels[node])
        open_nodes += [node] if is_inner[node] else []
    return "".join([*written, *(")" + labels[node] for node in reversed(open_nodes)), ";\n"])


def describe(hierarchy: Hierarchy) -> dict[str, object]:
    """Statistics of the tree, the root counted, as plain numbers, lists and dicts.

    Keys: `classes`, `nodes`, `inner`, `single_child` (inner nodes with one child), `height`;
    `level_sizes`, different
    nodes at depth 1, 2, ... with shallow classes carried down; `by_depth`, nodes at each depth;
    `leaf_depths`, how many classes have each depth; `mean_path`, mean path length in edges of two
    different classes, NaN for a lone one.
    """
    classes, depth = hierarchy.num_classes, hierarchy.depth
    by_depth = np.bincount(depth)[1:]
    leaf_depths = np.bincount(depth[hierarchy.leaves], minlength=hierarchy.max_depth + 1)
    pairs = classes * (classes - 1) / 2
    # An edge lies between the classes below it and all others.
    edges_between = float(hierarchy.n_leaves @ (classes - hierarchy.n_leaves))
    return {
        "classes": classes,
        "nodes": hierarchy.num_nodes,
        "inner": hierarchy.num_nodes - classes,
        "single_child": int((hierarchy.n_children == 1).sum()),
        "height": hierarchy.max_depth,
        "level_sizes": (by_depth + np.cumsum(leaf_depths)[:-1]).tolist(),
        "by_depth": by_depth.tolist(),
        "leaf_depths": {int(d): int(leaf_depths[d]) for d in np.flatnonzero(leaf_depths)},
        "mean_path": edges_between / pairs if pairs else float("nan"),
    }


def format_description(hierarchy: Hierarchy) -> str:
    """The statistics of `describe` as a few lines of text, with a final newline."""
    found = describe(hierarchy)
    depths = ", ".join(f"{count} at depth {depth}" for depth, count in found["leaf_depths"].items())
    lines = [
        f"{found['classes']} classes, {found['nodes']} nodes, height {found['height']} edges,"
        f" {hierarchy.digest}",
        f"inner nodes: {found['inner']}, of which {found['single_child']} with a single child",
        f"classes: {depths}",
        f"nodes by depth from 1: {' '.join(map(str, found['by_depth']))}",
        f"the same with shallow classes carried down: {' '.join(map(str, found['level_sizes']))}",
        f"mean path between two classes: {found['mean_path']:.4f} edges",
    ]
    return "\n".join(lines) + "\n"


def _newick_label(name: str, is_inner: bool) -> str:
    # Unquoted underscores mean blanks to some programs, a number at an inner node is a support to
    # most, and a name of other marks needs quotes in any case.
    plain = name.isalnum() and name.isascii() and not (is_inner and is_support(name))
    return name if plain else "'" + name.replace("'", "''") + "'"
