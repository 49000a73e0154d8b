"""Distances between classes: (C, C) tables in class order, filled block by block along the
depth-first order.

There are several distances and they differ; say which one it is wherever a value is shown.
"""

from collections.abc import Callable

import numpy as np

from hierarchies.tree import Hierarchy
from hierarchies.weights import cumulative

_CHUNK = 1 << 22  # entries of a temporary block of rows


def of_lca(hierarchy: Hierarchy, values: np.ndarray) -> np.ndarray:
    """values[lca(a, b)] for every pair of classes, (C, C), in the dtype of the values;
    values[class] on the diagonal.

    Args:
        values: One value for each node, (N,).
    """
    start, stop, order = hierarchy.start, hierarchy.stop, hierarchy.leaf_order
    # columns depth-first for now
    table = np.empty((hierarchy.num_classes, hierarchy.num_classes), values.dtype)
    for node in range(1, hierarchy.num_nodes):
        above = hierarchy.parent[node]
        first, last, end = start[node], stop[node], stop[above]
        # pairs of this branch and the later ones
        table[order[first:last], last:end] = values[above]
        table[order[last:end], first:last] = values[above]
    rank = np.argsort(order)
    table[np.arange(len(order)), rank] = values[hierarchy.leaves]
    if (rank[1:] < rank[:-1]).any():
        for rows in _row_blocks(len(order)):
            table[rows] = table[rows].take(rank, axis=1)
    return table


def path_length(hierarchy: Hierarchy) -> np.ndarray:
    """dT(a, b) = d(a) + d(b) - 2 d(lca), in edges, (C, C) int32. Kim et al. 2023."""
    depth = hierarchy.depth.astype(np.int32)
    table = of_lca(hierarchy, -2 * depth)
    table += depth[hierarchy.leaves][:, None]
    table += depth[hierarchy.leaves]
    return table


def lca_height(hierarchy: Hierarchy) -> np.ndarray:
    """hL(a, b) = h(lca), in edges, 0..H, (C, C) int32: an ultrametric. Bertinetto et al. 2020,
    Karthik et al. 2021.
    """
    return of_lca(hierarchy, hierarchy.height.astype(np.int32))


def max_path(hierarchy: Hierarchy) -> np.ndarray:
    """max(d(a), d(b)) - d(lca), in edges, (C, C) int32. Equals `lca_height` only if all classes
    have one depth.
    """
    depth = hierarchy.depth.astype(np.int32)
    table, at_class = of_lca(hierarchy, -depth), depth[hierarchy.leaves]
    for rows in _row_blocks(len(at_class)):
        table[rows] += np.maximum(at_class[rows, None], at_class)
    return table


def weighted(hierarchy: Hierarchy, weights: np.ndarray) -> np.ndarray:
    """dW(a, b), half the weighted path length: (cum(a) + cum(b)) / 2 - cum(lca), (C, C) float.

    It is 1 - cum(lca), in [0, 1], if the weights sum to 1 on every path from the root to a class.

    Args:
        weights: One weight >= 0 for each node, (N,); see `node_weights`.

    Raises: ValueError: If there is not one finite weight >= 0 for every node.
    Source: Urbani et al. 2024.
    """
    total = cumulative(hierarchy, weights)
    table = of_lca(hierarchy, -total)
    half = total[hierarchy.leaves] / 2
    table += half[:, None]
    table += half
    return np.maximum(table, 0, out=table)  # rounding must not give a negative distance


DISTANCES: dict[str, Callable[[Hierarchy], np.ndarray]] = {
    "path": path_length,
    "lca_height": lca_height,
    "max_path": max_path,
}


def _row_blocks(num_classes: int) -> list[slice]:
    step = max(1, _CHUNK // num_classes)
    return [slice(first, first + step) for first in range(0, num_classes, step)]
