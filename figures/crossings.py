"""Two trees over the same items, turned at their inner nodes so that lines between equal items
cross little.
"""

from bisect import bisect, insort
from typing import NamedTuple

import numpy as np

from figures.layout import DrawnTree

_STARTS = 12
_MANY = 600  # nodes of which the search starts only twice: each start takes half a second
_PAIR_ENTRIES = (
    4_000_000  # above this, the children of a node are sorted by their mean position only
)


class Untangled(NamedTuple):
    """Two trees ready to be drawn side by side.

    Attributes:
        left, right: The trees, turned.
        crossings: Number of pairs of lines that cross.
        before: The same for the trees as given.
    """

    left: DrawnTree
    right: DrawnTree
    crossings: int
    before: int


def count_crossings(left: np.ndarray, right: np.ndarray) -> int:
    """Pairs of items in opposite order in two orders of the same items: lines between them
    cross.
    """
    place = np.empty(len(right), np.int64)
    place[right] = np.arange(len(right))
    crossings, seen = 0, []
    for position in place[left].tolist():
        crossings += len(seen) - bisect(seen, position)
        insort(seen, position)
    return crossings


def untangle(left: DrawnTree, right: DrawnTree) -> Untangled:
    """The turned trees with the fewest crossings found.

    With one tree fixed, the best order of the other's children is found node by node, exactly where
    a node has two children or only tips; the two trees take turns until neither gains. That is
    repeated from several starts, since the best of both together is not known to be computable in
    reasonable time.

    Source: Buchin et al. 2012, "Drawing (complete) binary tanglegrams", for the problem.
    """
    before = count_crossings(left.order(), right.order())
    rng, best = np.random.default_rng(0), Untangled(left, right, before, before)
    starts = _STARTS if len(left.item) < _MANY else 2
    for start in range(starts):
        a, b = (left, right) if start == 0 else (left, _shuffled(right, rng))
        a, b, crossings = _descend(a, b)
        if crossings < best.crossings:
            best = Untangled(a, b, crossings, before)
        if best.crossings == 0:
            break
    return best


def turn(tree: DrawnTree, position: np.ndarray) -> DrawnTree:
    """The tree with children ordered for few crossings with items at the given positions, (n,)."""
    children = list(tree.children)
    below: list[np.ndarray | None] = [None] * len(tree.item)
    for v in range(len(tree.item) - 1, -1, -1):
        if tree.item[v] >= 0:
            below[v] = position[[tree.item[v]]]
            continue
        parts = [below[u] for u in children[v]]
        order = _best_order(parts)
        children[v] = tuple(children[v][i] for i in order)
        below[v] = np.sort(np.concatenate(parts))
        for u in children[v]:
            below[u] = None
    return tree._replace(children=tuple(children))


def _descend(a: DrawnTree, b: DrawnTree) -> tuple[DrawnTree, DrawnTree, int]:
    """Turns one tree after the other until that gains nothing more."""
    best = a, b, count_crossings(a.order(), b.order())
    while True:
        a = turn(a, b.position())
        b = turn(b, a.position())
        crossings = count_crossings(a.order(), b.order())
        if crossings >= best[2]:
            return best
        best = a, b, crossings


def _shuffled(tree: DrawnTree, rng: np.random.Generator) -> DrawnTree:
    return tree._replace(
        children=tuple(tuple(rng.permutation(below).tolist()) for below in tree.children)
    )


def _best_order(parts: list[np.ndarray]) -> list[int]:
    """Order of the parts, each a sorted array of positions, with few pairs from different parts the
    wrong way round.
    """
    count = len(parts)
    if count == 1:
        return [0]
    if count == 2:
        wrong = int(np.searchsorted(parts[1], parts[0]).sum())
        return [1, 0] if 2 * wrong > len(parts[0]) * len(parts[1]) else [0, 1]
    by_mean = np.argsort([part.mean() for part in parts], kind="stable")
    if all(len(part) == 1 for part in parts) or count * sum(map(len, parts)) > _PAIR_ENTRIES:
        return by_mean.tolist()
    excess = _excess(parts)
    orders = [_improved(excess, start) for start in (np.arange(count), by_mean)]
    return min(orders, key=lambda order: _cost(excess, order)).tolist()


def _excess(parts: list[np.ndarray]) -> np.ndarray:
    """(k, k): pairs that cross if part i stands before part j, less those that cross if it stands
    behind.
    """
    sizes = [len(part) for part in parts]
    owner = np.repeat(np.arange(len(parts)), sizes)[
        np.argsort(np.concatenate(parts), kind="stable")
    ]
    member = owner[:, None] == np.arange(len(parts))
    # (i, j): an item of j lies before one of i
    wrong = member.T.astype(float) @ (np.cumsum(member, axis=0) - member)
    return wrong - wrong.T


def _cost(excess: np.ndarray, order: np.ndarray) -> float:
    return float(np.triu(excess[np.ix_(order, order)], 1).sum())


def _improved(excess: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Moves single parts to better places as long as that gains."""
    order = order.copy()
    while True:
        gained = False
        for part in order.copy():
            rest = order[order != part]
            # cost of standing at place p: behind rest[:p], before rest[p:]
            behind, before = excess[rest, part], excess[part, rest]
            costs = (
                np.concatenate([[0], np.cumsum(behind)])
                + before.sum()
                - np.concatenate([[0], np.cumsum(before)])
            )
            here = int(np.flatnonzero(order == part)[0])
            place = int(costs.argmin())
            if costs[place] < costs[here]:
                order, gained = np.insert(rest, place, part), True
        if not gained:
            return order
