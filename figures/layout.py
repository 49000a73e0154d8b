"""Trees as they are drawn: children in an order that may be turned, and a depth for every node."""

from typing import NamedTuple

import numpy as np

from hierarchies import Hierarchy
from metrics.trees import LearnedTree


class DrawnTree(NamedTuple):
    """A tree to draw, parents before children (M nodes).

    Attributes:
        children: Of each node, from top to bottom.
        item: (M,) the item at a tip, -1 inside.
        reach: (M,) distance from the root, in the unit of the tree.
    """

    children: tuple[tuple[int, ...], ...]
    item: np.ndarray
    reach: np.ndarray

    @property
    def parent(self) -> np.ndarray:
        """(M,) parent of each node, -1 for the root."""
        parent = np.full(len(self.item), -1)
        for v, below in enumerate(self.children):
            parent[list(below)] = v
        return parent

    def order(self) -> np.ndarray:
        """The items from top to bottom, (n,)."""
        found, stack = [], [0] if len(self.item) else []
        while stack:
            v = stack.pop()
            if self.item[v] >= 0:
                found.append(int(self.item[v]))
            stack.extend(reversed(self.children[v]))
        return np.array(found, np.int64)

    def position(self) -> np.ndarray:
        """Place of each item in `order`, (n,)."""
        order = self.order()
        position = np.empty(len(order), np.int64)
        position[order] = np.arange(len(order))
        return position

    def rows(self) -> np.ndarray:
        """Row of each node, (M,): tips are 0, 1, ..., an inner node is in the middle of its
        outermost children.
        """
        position, rows = self.position(), np.empty(len(self.item))
        for v in range(len(self.item) - 1, -1, -1):
            below = self.children[v]
            rows[v] = (rows[below[0]] + rows[below[-1]]) / 2 if below else position[self.item[v]]
        return rows

    def joins(self) -> np.ndarray:
        """Of a learned tree: the distance at which the branches of each node join, (M,), twice the
        way to its tips.
        """
        return 2 * (self.reach.max(initial=0.0) - self.reach)

    def shares(self, start: float = 0.0) -> np.ndarray:
        """How far each node is on the way from the root (0) to the tips (1), (M,), all tips drawn
        at the same depth.

        Args:
            start: Distance below which no branches join; that part is cut off, see `axis_start`.
        """
        largest = self.reach.max(initial=0.0) - start / 2
        return np.where(self.item >= 0, 1.0, self.reach / largest if largest > 0 else 0.0)

    def sole_group(self, of_item: np.ndarray) -> np.ndarray:
        """The group that all tips below each node belong to, (M,); -1 where there are several."""
        group = np.full(len(self.item), -1)
        for v in range(len(self.item) - 1, -1, -1):
            found = (
                {int(of_item[self.item[v]])}
                if self.item[v] >= 0
                else {int(group[u]) for u in self.children[v]}
            )
            group[v] = found.pop() if len(found) == 1 else -1
        return group


def axis_start(tree: DrawnTree) -> float:
    """Where the axis of a learned tree may start: just below the first join, 0 unless that saves
    much of the width.
    """
    joins = tree.joins()[tree.item < 0]
    first, last = joins.min(initial=np.inf), joins.max(initial=0.0)
    return float(np.floor(18 * first) / 20) if 0.3 * last < first < 0.999 * last else 0.0


def drawn_hierarchy(hierarchy: Hierarchy) -> DrawnTree:
    """A class tree; items are the classes, reach is the depth in edges."""
    return DrawnTree(
        _children(hierarchy.parent.tolist()),
        np.array(hierarchy.class_of),
        hierarchy.depth.astype(float),
    )


def drawn_learned(tree: LearnedTree) -> DrawnTree:
    """A tree from `metrics.trees`; reach in the unit of its branch lengths."""
    reach = np.zeros(len(tree.parent))
    for v, above in enumerate(tree.parent):
        if above >= 0:
            reach[v] = reach[above] + tree.length[v]
    return DrawnTree(_children(tree.parent), np.array(tree.item, np.int64), reach)


def _children(parent: list[int]) -> tuple[tuple[int, ...], ...]:
    below: list[list[int]] = [[] for _ in parent]
    for v, above in enumerate(parent):
        if above >= 0:
            below[above].append(v)
    return tuple(map(tuple, below))
