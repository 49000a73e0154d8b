"""Trees to compare the class tree with: what a measure is worth without what the tree says."""

import numpy as np

from hierarchies.tree import Hierarchy, format_path


def shuffled(hierarchy: Hierarchy, seed: int) -> Hierarchy:
    """The same tree with its classes shuffled over the leaves: same shape, no meaning.

    Class c keeps its number and takes the place of another class; names to show stay with the
    places.

    Args:
        hierarchy: The class tree.
        seed: Of the permutation.
    """
    order = np.random.default_rng(seed).permutation(hierarchy.num_classes)
    names = {hierarchy.path(v): hierarchy.names[v] for v in range(1, hierarchy.num_nodes)}
    paths = [hierarchy.class_paths[c] for c in order]
    return Hierarchy.from_paths(paths, names=names, root=hierarchy.names[0])


def pruned(hierarchy: Hierarchy, depth: int) -> Hierarchy:
    """The tree without its inner nodes below a depth: their classes hang on the ancestor there.

    The key of a class becomes the keys of what was dropped and its own, written as by
    `format_path`; class order is kept. Depth 0 is the flat tree.

    Args:
        hierarchy: The class tree.
        depth: Of the deepest inner nodes that stay, in edges below the root, >= 0.

    Raises: ValueError: If the depth is negative.
    """
    if depth < 0:
        raise ValueError(f"depth counts edges below the root and must be >= 0, got {depth}")
    paths, names = [], {}
    for path, name in zip(hierarchy.class_paths, hierarchy.class_names):
        short = path[:depth] + ((format_path(path[depth:]),) if path[depth:] else ())
        paths.append(short)
        names[short] = name
    for v in range(1, hierarchy.num_nodes):
        if hierarchy.depth[v] <= depth and hierarchy.class_of[v] < 0:
            names[hierarchy.path(v)] = hierarchy.names[v]
    return Hierarchy.from_paths(paths, names=names, root=hierarchy.names[0])
