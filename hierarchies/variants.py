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
    paths = [hierarchy.class_paths[c] for c in order]
    return Hierarchy.from_paths(paths, names=hierarchy.names_by_path, root=hierarchy.names[0])


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

    See `cut_paths`.

    Args:
        hierarchy: The class tree.
        depth: Of the new classes, in edges below the root, >= 1.

    Returns: The tree, its classes in the order of the first class below each; and the class of it
        that each class of the old one belongs to, (C,) int64.
    Raises: ValueError: If the depth is below 1 or leaves one class.
    """
    if depth < 1:
        raise ValueError(f"depth counts edges below the root and must be at least 1, got {depth}")
    depths = np.minimum(hierarchy.depth[hierarchy.leaves], depth)
    return cut_paths(hierarchy, depths, f"depth {depth}", "take a larger depth")


def cut_at_rank(hierarchy: Hierarchy, rank: str) -> tuple[Hierarchy, np.ndarray]:
    """The tree whose classes are the nodes of a rank; classes without a node of that rank above
    them or themselves stay. See `cut_paths`.

    Raises: ValueError: If the tree has no node of the rank, or that leaves one class.
    """
    of_rank = np.array([each == rank for each in hierarchy.ranks])
    if not of_rank.any():
        raise ValueError(f"the tree has no node of the rank {rank!r}")
    table = hierarchy.path_table
    there = (table >= 0) & of_rank[table]
    own = hierarchy.depth[hierarchy.leaves]
    depths = np.where(there.any(axis=1), there.argmax(axis=1) + 1, own)
    return cut_paths(hierarchy, depths, f"the rank {rank}", "take a lower rank")


def cut_paths(
    hierarchy: Hierarchy, depths: np.ndarray, where: str, way_out: str
) -> tuple[Hierarchy, np.ndarray]:
    """The tree that ends at a node on the path of each class.

    Args:
        hierarchy: The class tree.
        depths: (C,) of these nodes, 1 or more and not below the class; none is below another.
        where, way_out: For the message.

    Returns: The tree, its classes in the order of the first class below each; and the class of it
        that each class of the old one belongs to, (C,) int64.
    Raises: ValueError: If that leaves one class.
    """
    paths = [path[:depth] for path, depth in zip(hierarchy.class_paths, depths.tolist())]
    index = {path: c for c, path in enumerate(dict.fromkeys(paths))}
    if len(index) < 2:
        raise ValueError(
            f"at {where} the tree has one superclass, {format_path(paths[0])!r}: nothing to"
            f" tell apart; {way_out}"
        )
    ranks = hierarchy.ranks_by_path
    tree = Hierarchy.from_paths(
        index, names=hierarchy.names_by_path, root=hierarchy.names[0], ranks=ranks
    )
    return tree, np.array([index[path] for path in paths], np.int64)
