"""Trees made from a class tree: its classes shuffled, superclasses left out, cut at a depth."""

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


def cut(hierarchy: Hierarchy, depth: int) -> tuple[Hierarchy, np.ndarray]:
    """The tree whose classes are the nodes at a depth; classes that are not as deep stay.

    Args:
        hierarchy: The class tree.
        depth: Of the new classes, in edges below the root, >= 1.

    Returns: The tree, its classes in the order of the first class below each; and the class of it
        that each class of the old one belongs to, (C,) int64.
    Raises: ValueError: If the depth is below 1 or leaves one class.
    """
    if depth < 1:
        raise ValueError(f"depth counts edges below the root and must be at least 1, got {depth}")
    paths = [path[:depth] for path in hierarchy.class_paths]
    index = {path: c for c, path in enumerate(dict.fromkeys(paths))}
    if len(index) < 2:
        raise ValueError(
            f"at depth {depth} the tree has one superclass, {format_path(paths[0])!r}: nothing to"
            " tell apart; take a larger depth"
        )
    names = {
        hierarchy.path(v): hierarchy.names[v]
        for v in range(1, hierarchy.num_nodes)
        if hierarchy.depth[v] <= depth
    }
    tree = Hierarchy.from_paths(index, names=names, root=hierarchy.names[0])
    return tree, np.array([index[path] for path in paths], np.int64)
