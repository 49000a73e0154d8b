"""Primitives of the metrics: posterior over classes and nodes, the k best classes, ancestors; rows
go by blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from hierarchies import Hierarchy

if TYPE_CHECKING:  # imported where it is used, as --help need not wait for it
    from scipy.sparse import csr_array

_BLOCK_ENTRIES = 1 << 21  # of float64: 16 MiB for one temporary array


def row_blocks(num_rows: int, width: int) -> Iterator[slice]:
    """Slices that cut rows into blocks of about two million entries when every row has `width` of
    them.
    """
    step = max(1, _BLOCK_ENTRIES // max(width, 1))
    for first in range(0, num_rows, step):
        yield slice(first, min(first + step, num_rows))


def softmax(scores: np.ndarray) -> np.ndarray:
    """Posterior over the classes, (S, C) float64; scores may be -inf (probability 0) where not all
    of a row are.
    """
    z = np.array(scores, np.float64)
    z -= z.max(axis=1, keepdims=True)
    np.exp(z, out=z)
    z /= z.sum(axis=1, keepdims=True)
    return z


def log_softmax_at(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Log posterior of one class a row, (S,) float64; -inf where its score is."""
    z = np.asarray(scores, np.float64)
    z = z - z.max(axis=1, keepdims=True)
    return z[np.arange(len(z)), labels] - np.log(np.exp(z).sum(axis=1))


def node_probabilities(hierarchy: Hierarchy, probabilities: np.ndarray) -> np.ndarray:
    """P(v), the sum of the probabilities of the classes below each node: (S, C) -> (S, N) float64.

    A leaf has exactly its class's probability and no node more than its parent: sums of
    non-negative terms in one order, without cancellation. Nodes with the same classes below have
    the same P.
    """
    by_class = np.ascontiguousarray(np.asarray(probabilities, np.float64).T)
    below = _below(hierarchy) @ by_class
    return np.minimum(below, 1.0, out=below).T  # sums of probabilities may round to above 1


def ratio_of_children(hierarchy: Hierarchy, probabilities: np.ndarray) -> np.ndarray:
    """P(v | parent of v), (S, N), from the posterior over the nodes (S, N); 1 at the root.

    Below a node of probability 0 the children share it by their numbers of classes.
    """
    above = np.maximum(hierarchy.parent, 0)
    mass = probabilities[:, above]
    even = hierarchy.n_leaves / hierarchy.n_leaves[above]
    share = np.where(mass > 0, probabilities / np.where(mass > 0, mass, 1.0), even)
    share[:, 0] = 1.0
    return share


def path_sums(hierarchy: Hierarchy, probabilities: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """sum of w_v P(v) over the nodes v on the path from the root to each class: (S, C) -> (S, C)
    float64.

    The sum runs from the root down, so classes with the same ancestors differ in their last term
    only.
    """
    by_class = np.ascontiguousarray(np.asarray(probabilities, np.float64).T)
    return (_above(hierarchy) @ (weights[:, None] * (_below(hierarchy) @ by_class))).T


@lru_cache(maxsize=4)
def _above(hierarchy: Hierarchy) -> csr_array:
    """1 where a node is above a class (C, N), each row from the root down."""
    return _below(hierarchy).T.tocsr()


@lru_cache(maxsize=4)
def _below(hierarchy: Hierarchy) -> csr_array:
    """1 where a class is below a node (N, C)."""
    from scipy.sparse import csr_array

    first, count = hierarchy.start, hierarchy.n_leaves
    pointers = np.concatenate([[0], np.cumsum(count)])
    columns = hierarchy.leaf_order[
        np.arange(pointers[-1]) - np.repeat(pointers[:-1] - first, count)
    ]
    return csr_array(
        (np.ones(len(columns)), columns, pointers),
        shape=(hierarchy.num_nodes, hierarchy.num_classes),
    )


@lru_cache(maxsize=4)
def ancestors(hierarchy: Hierarchy) -> np.ndarray:
    """Nodes from the root (column 0) down to each node itself, (N, H + 1), padded with -1."""
    table = np.full((hierarchy.num_nodes, hierarchy.max_depth + 1), -1)
    for v in range(hierarchy.num_nodes):
        if v:
            table[v] = table[hierarchy.parent[v]]
        table[v, hierarchy.depth[v]] = v
    table.flags.writeable = False
    return table


def lca_nodes(hierarchy: Hierarchy, nodes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Deepest node above (or equal to) both, for pairs of nodes of any one shape."""
    table = ancestors(hierarchy)
    first, second = table[nodes], table[others]
    depth = ((first == second) & (first >= 0)).sum(axis=-1) - 1
    return np.take_along_axis(first, depth[..., None], axis=-1)[..., 0]


def information(hierarchy: Hierarchy) -> np.ndarray:
    """info(v) = log2 C - log2 n_v in bits, (N,): 0 at the root, log2 C at a leaf."""
    return np.log2(hierarchy.num_classes / hierarchy.n_leaves)


def top_k(keys: np.ndarray, k: int, tie_break: np.ndarray | None = None) -> np.ndarray:
    """Columns of the k largest keys of each row, best first, (S, min(k, C)).

    Equal keys: the larger `tie_break` first where it is given (same shape), then the lower column.

    Raises: ValueError: If k < 1.
    """
    if k < 1:
        raise ValueError(f"k counts classes and must be at least 1, got {k}")
    num_rows, num_columns = keys.shape
    best = np.empty((num_rows, min(k, num_columns)), np.int64)
    for rows in row_blocks(num_rows, num_columns):
        best[rows] = _top_k_block(
            keys[rows], best.shape[1], None if tie_break is None else tie_break[rows]
        )
    return best


def _top_k_block(keys: np.ndarray, k: int, tie_break: np.ndarray | None) -> np.ndarray:
    num_columns = keys.shape[1]
    if k == num_columns:
        return _sorted(keys, tie_break)
    cut = num_columns - k
    chosen = np.argpartition(keys, cut, axis=1)[:, cut:]
    smallest = np.take_along_axis(keys, chosen[:, :1], axis=1)
    chosen.sort(axis=1)
    among = None if tie_break is None else np.take_along_axis(tie_break, chosen, axis=1)
    best = np.take_along_axis(
        chosen, _sorted(np.take_along_axis(keys, chosen, axis=1), among), axis=1
    )
    # A tie across the border: the partition kept any of the equal keys, so these rows are sorted in
    # full.
    tied = np.flatnonzero((keys >= smallest).sum(axis=1) > k)
    if len(tied):
        best[tied] = _sorted(keys[tied], None if tie_break is None else tie_break[tied])[:, :k]
    return best


def _sorted(keys: np.ndarray, tie_break: np.ndarray | None) -> np.ndarray:
    if tie_break is None:
        return np.argsort(-keys, axis=1, kind="stable")
    return np.lexsort((-tie_break, -keys), axis=1)
