"""The Mantel test: how often shuffled classes would agree with a tree as well as these do.

A permutation costs a pass over the table of learned distances. Where the other table is a tree's,
that pass adds whole rows, which is a fraction of the work of picking single entries: see
`TreeSums`.
"""

import threading
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array

from metrics.ranks import Ranks, classwise, elementwise, fisher_mean, fisher_means
from metrics.threads import in_threads

PERMUTATIONS = 999
SINGLE = 256  # classes above which tables are in single precision, which halves them
# what takes how long, roughly, in units of adding an entry of a row to another row
ENTRY, PICK, LEVEL = 7.5, 40, 50_000  # picking an entry of a row, one of a table, a level of a tree
NEAR = 8  # other classes of a superclass, on average, that are picked singly
FEW = 4096  # entries of a matrix that is no longer small
_ROWS = 32  # of a table of 2,000 classes, half a megabyte
_AT_ONCE = 2**18  # entries of the tables of several permutations
_ROUNDING = 1e-9  # of sums in another order, and in single precision
_ROUNDING_SINGLE = 1e-6

RowSums = Callable[[np.ndarray], np.ndarray]


class Nested(NamedTuple):
    """Where C classes are in a tree.

    Attributes:
        levels: (C, L), the superclass of each class at every level, the largest ones first; the
            class itself, or any label of its own, below its last superclass.
        depth: (C,), how deep each class is.
    """

    levels: np.ndarray
    depth: np.ndarray


def mantel(
    a: Ranks,
    b: Ranks,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
    nested: Nested | None = None,
    classwise_too: bool = True,
) -> tuple[float, float]:
    """One-sided p-values of the class-wise Fisher mean and of the element-wise correlation, in [1 /
    (K + 1), 1].

    p = (1 + number of K permutations of the classes with at least the observed correlation) / (K +
    1). A permutation that makes the Fisher mean undefined counts as at least. NaN where the
    observed correlation is undefined.

    Args:
        nested: Where b is of the path lengths of a tree, its classes in it: the same numbers in
            less time.
        classwise_too: Whether to test the Fisher mean; its p-value is NaN if not.

    Source: Mantel 1967.
    """
    by_class = fisher_mean(classwise(a, b)) if classwise_too else np.nan
    observed = np.array([by_class, elementwise(a, b)])
    size, rng = len(a.pairs), np.random.default_rng(seed)
    place = None if nested is None or size < 3 else _Groups(nested)  # nothing to permute
    pairs_of = row_sums(a.pairs, b.pairs, place)
    rows_of = row_sums(a.columns, b.columns, place) if classwise_too else None
    least = observed - (_ROUNDING_SINGLE if size > SINGLE else _ROUNDING)

    def count_exceeding(orders: np.ndarray) -> np.ndarray:
        by_class = np.full(len(orders), np.nan)
        if rows_of is not None:
            rows = np.where(a.varies[orders] & b.varies, rows_of(orders), np.nan)
            by_class = fisher_means(rows)
        by_pair = pairs_of(orders).sum(axis=1) / 2
        return (~(np.stack([by_class, by_pair], axis=1) < least)).sum(axis=0)

    orders = [rng.permutation(size) for _ in range(permutations if size > 2 else 0)]
    several = max(1, _AT_ONCE // max(size, 1) ** 2)
    parts = [np.stack(orders[at : at + several]) for at in range(0, len(orders), several)]
    exceed = sum(in_threads([partial(count_exceeding, part) for part in parts]), np.zeros(2))
    p = (1 + exceed) / (permutations + 1)
    return tuple(float(x) for x in np.where(np.isnan(observed), np.nan, p))


def row_sums(a: np.ndarray, b: np.ndarray, groups: "_Groups | None" = None) -> RowSums:
    """A function of permutations (K, C): the row sums of a[order][:, order] * b, (K, C), of tables
    (C, C) with 0 on their diagonals; by `TreeSums` where b is of these groups and there is less to
    do.
    """
    kind = np.float32 if len(a) > SINGLE else np.float64
    a, b = a.astype(kind, copy=False), b.astype(kind, copy=False)
    steps = None if groups is None else groups.steps(b)
    if steps is not None:
        sums = TreeSums(a, groups, *steps)
        if sums.work < ENTRY * a.size:
            return sums
    if a.size <= FEW:
        return partial(_small_products, a, b)
    return lambda orders: np.stack([_permuted_products(a, b, order) for order in orders])


def _small_products(a: np.ndarray, b: np.ndarray, orders: np.ndarray) -> np.ndarray:
    """Row sums of a[order][:, order] * b for each order, (K, C), of tables that are all at once in
    the processor's cache.
    """
    return np.einsum("kij,ij->ki", a[orders[:, :, None], orders[:, None, :]], b)


def _permuted_products(a: np.ndarray, b: np.ndarray, order: np.ndarray) -> np.ndarray:
    """The same of one order, (C,); a few rows at a time stay in the cache, and mode "clip" lets
    numpy write into the buffers directly.
    """
    sums, buffers = np.empty(len(a)), np.empty((2, _ROWS, len(a)), a.dtype)
    for first in range(0, len(a), _ROWS):
        rows = slice(first, min(first + _ROWS, len(a)))
        taken, permuted = buffers[:, : rows.stop - first]
        np.take(a, order[rows], axis=0, out=taken, mode="clip")
        np.take(taken, order, axis=1, out=permuted, mode="clip")
        sums[rows] = np.einsum("ij,ij->i", permuted, b[rows])
    return sums


class _Groups:
    """Groups of classes: those of one superclass that are equally deep, at each level of a tree
    from the root's down to where superclasses are so small that pairs in them are picked singly.

    Attributes:
        near: The classes of these pairs, both ways round, two arrays (pairs,).
    """

    def __init__(self, nested: Nested):
        size = len(nested.depth)
        depths, self.depth = np.unique(nested.depth, return_inverse=True)
        self.superclasses = [np.zeros(size, np.int64)]
        self.shared = np.zeros((size, size), np.int8)  # the last level at which two share theirs
        self.near = np.empty(0, np.int64), np.empty(0, np.int64)
        for labels in nested.levels.T:
            same = labels[:, None] == labels
            if same.sum() <= (NEAR + 1) * size:
                self.near = np.nonzero(same & ~np.eye(size, dtype=bool))
                break
            self.shared += same
            self.superclasses.append(np.unique(labels, return_inverse=True)[1])
        self.depths, self.levels = len(depths), len(self.superclasses)
        self.groups = [
            np.unique(one * self.depths + self.depth, return_inverse=True)[1]
            for one in self.superclasses
        ]

    def steps(self, b: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """What is added to each row of b for the group of each level and depth that its class
        shares, (C, levels, depths), and what is left of near pairs, (pairs,); None where b is not
        made so.
        """
        rows, far = np.arange(len(b))[:, None], ~np.eye(len(b), dtype=bool)
        far[self.near] = False
        values = np.full((len(b), self.levels, self.depths + 1), np.nan)
        values[rows, self.shared, np.where(far, self.depth, self.depths)] = b
        values = values[:, :, : self.depths]
        steps, before = np.zeros(values.shape), np.zeros((len(b), self.depths))
        made = np.zeros(b.shape)
        for level in range(self.levels):
            known = ~np.isnan(values[:, level])
            steps[:, level] = np.where(known, values[:, level] - before, 0)
            before = np.where(known, values[:, level], before)
            made += np.where(self.shared >= level, steps[:, level][:, self.depth], 0)
        left = b - made
        fits = np.abs(left[far]).max(initial=0) <= 1e-12 * np.abs(b).max(initial=0)
        return (steps, left[self.near]) if fits else None

    def needed(self, level: int, steps: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Groups, classes and steps of a level that are not 0: the groups of each depth in the
        superclass that a class is in.
        """
        of_class = self.superclasses[level]
        table = np.full((of_class.max() + 1, self.depths), -1)
        table[of_class, self.depth] = self.groups[level]
        classes, column = np.nonzero((table[of_class] >= 0) & (steps != 0))
        return table[of_class[classes], column], classes, steps[classes, column]


class TreeSums:
    """Row sums of a[order][:, order] * b where row i of b depends on the superclass that i shares
    with j, and on the depth of j, alone.

    Row i of b is a constant on the largest group of each depth (see `_Groups`), plus one more on
    that of the next level that i is in, and so on. So its sum is one over levels of a constant
    times the sum of row i of a[order][:, order] over a group, and these sums are of whole rows of a
    (transposed): of its C rows for the smallest groups, of fewer for each level above. What is left
    of pairs of near classes is added singly.
    """

    def __init__(self, a: np.ndarray, groups: _Groups, steps: np.ndarray, left: np.ndarray):
        self._size, self._rows_of_a = len(a), np.ascontiguousarray(a.T)
        upwards = range(groups.levels)[::-1]
        self._needed = [groups.needed(level, steps[:, level]) for level in upwards]
        self._near, self._left = groups.near, left
        finest = groups.groups[-1]
        self._members = np.argsort(finest, kind="stable")
        self._finest = _members_of(finest, np.arange(len(a)), a.dtype)
        self._own = threading.local()  # a copy for each thread, whose columns it sets
        self._merge = [
            _few(_members_of(groups.groups[level], groups.groups[level + 1], a.dtype))
            for level in upwards[1:]
        ]

    @property
    def work(self) -> float:
        """How much there is to do for a permutation, see `ENTRY`."""
        rows = self._size + sum(merge.shape[1] for merge in self._merge)
        picks = sum(len(steps) for _, _, steps in self._needed)
        return rows * self._size + PICK * picks + LEVEL * len(self._needed)

    def __call__(self, orders: np.ndarray) -> np.ndarray:
        """The row sums for each permutation, (K, C) float64."""
        return np.stack([self._of(order) for order in orders])

    def _of(self, order: np.ndarray) -> np.ndarray:
        if not hasattr(self._own, "finest"):
            self._own.finest = self._finest.copy()
        finest = self._own.finest
        finest.indices[:] = order[self._members]
        sums = finest @ self._rows_of_a  # (groups, C)
        row, column = self._near
        near = self._left * self._rows_of_a[order[column], order[row]]
        total = np.zeros(self._size) + np.bincount(row, near, minlength=self._size)
        for level, (groups, classes, steps) in enumerate(self._needed):
            if level:
                sums = self._merge[level - 1] @ sums
            if len(steps):
                values = steps * sums[groups, order[classes]]
                total += np.bincount(classes, values, minlength=self._size)
        return total


def _members_of(groups: np.ndarray, parts: np.ndarray, dtype: type) -> csr_array:
    """(groups, parts): 1 where a part, given for each class, is in the group."""
    first = np.unique(parts, return_index=True)[1]
    ones = np.ones(len(first), dtype)
    return csr_array((ones, (groups[first], np.arange(len(first)))))


def _few(matrix: csr_array) -> csr_array | np.ndarray:
    """A small matrix with all its zeros, whose products take less time than the calls around those
    of a sparse one.
    """
    return matrix.toarray() if np.prod(matrix.shape) <= FEW else matrix
