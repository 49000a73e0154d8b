"""The levels of a tree, each of which parts all classes: the nodes of a depth, and beside them the
classes that end above it.
"""

from typing import NamedTuple

import numpy as np

from hierarchies.tree import Hierarchy


class Level(NamedTuple):
    """One level. K is its number of members.

    Fields:
        nodes (K,): Its members as nodes of the tree, in the order of their numbers; on the last
            level the classes, in class order.
        column (C,): The member that each class belongs to.
        above (K,): The member of the level above that each member belongs to; 0 on the first.
    """

    nodes: np.ndarray
    column: np.ndarray
    above: np.ndarray


def levels(hierarchy: Hierarchy) -> list[Level]:
    """All levels, from the children of the root to the classes: as many as the tree is high."""
    found: list[Level] = []
    for depth in range(hierarchy.max_depth):
        nodes, column = np.unique(hierarchy.level_table[:, depth], return_inverse=True)
        if depth == hierarchy.max_depth - 1:
            nodes, column = hierarchy.leaves, np.arange(hierarchy.num_classes)
        above = np.zeros(len(nodes), np.int64)
        if found:
            above[column] = found[-1].column
        found.append(Level(np.array(nodes), column.reshape(-1), above))
    return found


def cut(hierarchy: Hierarchy, level: Level) -> Hierarchy:
    """The tree that ends at a level: its members are the classes, in their order."""
    return Hierarchy.from_paths([hierarchy.path(node) for node in level.nodes])
