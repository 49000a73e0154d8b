"""Measures of the ranked classes by their distance to the label in the tree.

Names without a suffix are in path edges (Kim et al.); the suffix `_lca_height` marks heights of the
lowest common ancestor (Bertinetto et al., Karthik et al.). Never compare the two.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from metrics.measure import ACCURACY, DESCRIBES, EDGES, HIGHER, LOWER, SHARE, TREE, kind
from metrics.nodes import overlaps
from metrics.outputs import Outputs
from metrics.posterior import row_blocks
from metrics.result import Result, mean_over_items, mean_over_samples


def ahd(outputs: Outputs, k: int, distance: str = "path") -> Result:
    """Mean distance of the k best classes to the label, over samples and classes, in edges; lower
    is better.

    k = 1 is AHC of Kim et al. and hdist@1 of Bertinetto et al. A k above C means C.

    Args:
        distance: "path" (0 .. largest path) or "lca_height" (0..H).
    """
    return mean_over_samples(_distances(outputs, k, distance).mean(axis=1))


def hdist_top(outputs: Outputs, k: int, distance: str = "path") -> Result:
    """Mean over samples of the smallest distance among the k best classes, in edges; lower is
    better.
    """
    return mean_over_samples(_distances(outputs, k, distance).min(axis=1))


def severity(outputs: Outputs, distance: str = "path") -> Result:
    """Mean distance of the predicted class to the label over the mistakes only, in edges; lower is
    better.

    It is hdist@1 / (1 - accuracy). undefined counts the correct samples; NaN with n = 0 where no
    sample is a mistake.
    """
    at_one = _distances(outputs, 1, distance)[:, 0].astype(np.float64)
    return mean_over_samples(np.where(outputs.predictions == outputs.labels, np.nan, at_one))


def radii(distances: np.ndarray, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Radius and size of the neighbourhood of each class: the entry of its sorted distances at an
    index, y included.

    Args:
        distances: (C, C) table.
        index: From 0; beyond the last class it means the last.

    Returns: r (C,) and the number of classes within it, (C,): ties all count.
    """
    index = min(index, len(distances) - 1)
    radius, size = np.empty(len(distances), distances.dtype), np.empty(len(distances), np.int64)
    for rows in row_blocks(*distances.shape):
        radius[rows] = np.partition(distances[rows], index, axis=1)[:, index]
        size[rows] = (distances[rows] <= radius[rows, None]).sum(axis=1)
    return radius, size


def neighbour_precision(outputs: Outputs, k: int = 5) -> dict[str, Result]:
    """HP@k: share of the k best classes within a radius of the label, in path edges; in [0, 1],
    higher is better.

    `hp@k` takes the k-th smallest distance from the label for radius, the label included (Frome et
    al. 2013, DeViSE), `hp@k_published` the entry at index k + 1 (Kim et al.). `..._set_size` is the
    mean number of classes within the radius, over all classes of the tree: it says how much ties
    widen the set.
    """
    rows = {}
    within = _distances(outputs, k, "path")
    for name, index in ((f"hp@{k}", k - 1), (f"hp@{k}_published", k + 1)):
        radius, size = outputs.of_tree(_path_radii, index)
        rows[name] = mean_over_samples((within <= radius[outputs.labels][:, None]).mean(axis=1))
        rows[f"{name}_set_size"] = mean_over_items(size)
    return rows


def _path_radii(outputs: Outputs, index: int) -> tuple[np.ndarray, np.ndarray]:
    return radii(outputs.path, index)


def _nearest(outputs: Outputs, size: int) -> np.ndarray:
    """The smallest distances from each class, rising, (C, size)."""
    nearest = [np.empty((0, size), outputs.lca_height.dtype)]
    for rows in row_blocks(*outputs.lca_height.shape):
        smallest = np.partition(outputs.lca_height[rows], size - 1, axis=1)[:, :size]
        nearest.append(np.sort(smallest, axis=1))
    return np.concatenate(nearest)


def hierarchical_precision(outputs: Outputs, k: int = 5) -> dict[str, Result]:
    """Similarity of the k best classes to the label, relative to the best possible k; in [0, 1],
    higher is better.

    The similarity is 1 - hL / (largest hL of two classes). `hierarchical_precision@k` is the ratio
    of the sums over the first k; `hmap@k` the mean of that ratio over 1..k. Per sample, then
    averaged (Bertinetto et al. 2020).
    """
    size = min(k, outputs.hierarchy.num_classes)
    largest = max(int(outputs.lca_height.max()), 1)  # a single class has distance 0 to itself
    best = np.cumsum(1 - outputs.of_tree(_nearest, size) / largest, axis=1)
    gained = np.cumsum(1 - _distances(outputs, k, "lca_height") / largest, axis=1)
    # the label itself has similarity 1, so nothing is divided by 0
    share = gained / best[outputs.labels]
    return {
        f"hierarchical_precision@{k}": mean_over_samples(share[:, -1]),
        f"hmap@{k}": mean_over_samples(share.mean(axis=1)),
    }


def level_accuracy(outputs: Outputs) -> dict[str, Result]:
    """Share of samples whose prediction and label have one ancestor at depth l = 1..H, shallow
    classes carried down.
    """
    table = outputs.hierarchy.level_table
    equal = table[outputs.predictions] == table[outputs.labels]  # (S, H)
    return {
        f"level_accuracy@{level + 1}": mean_over_samples(equal[:, level])
        for level in range(table.shape[1])
    }


def height_accuracy(outputs: Outputs) -> dict[str, Result]:
    """Share of samples with hL(prediction, label) <= h for h = 0..H; h = 0 is accuracy, h = H is
    1.
    """
    height = _distances(outputs, 1, "lca_height")[:, 0]
    return {
        f"height_accuracy@{h}": mean_over_samples(height <= h)
        for h in range(outputs.hierarchy.max_depth + 1)
    }


def leaf_node_measures(outputs: Outputs) -> dict[str, Result]:
    """hP, hR, hF and precision, recall, F1, excess and deficient depth and information of the
    predicted classes.
    """
    tree = outputs.hierarchy
    return overlaps(tree, tree.leaves[outputs.predictions], tree.leaves[outputs.labels])


_lower_edges = kind(LOWER, TREE, EDGES)
_higher_share = kind(HIGHER, TREE, SHARE)
_describes_classes = kind(DESCRIBES, TREE, "k or more classes, or all of fewer")
_higher_accuracy = kind(HIGHER, ACCURACY, SHARE)
MEASURES = (
    _lower_edges(
        "ahc",
        "Path length in the tree from the predicted to the true class, averaged over all images.",
    ),
    _lower_edges(
        "ahc_lca_height",
        "Height of the smallest superclass that holds both the predicted and the true class,"
        " averaged over all images.",
    ),
    _lower_edges(
        "severity",
        "Path length in the tree from the predicted to the true class, averaged over the mistakes"
        " alone.",
    ),
    _lower_edges(
        "severity_lca_height",
        "Height of the smallest superclass that holds both the predicted and the true class,"
        " averaged over the mistakes alone.",
    ),
    _lower_edges(
        "ahd@{k}",
        "Path length in the tree from the true class to the k most probable classes, averaged over"
        " them and the images.",
    ),
    _lower_edges(
        "ahd@{k}_lca_height",
        "Height of the smallest superclass that holds the true class and one of the k most probable"
        " ones, averaged over them and the images.",
    ),
    _lower_edges(
        "hdist_top@{k}",
        "Path length in the tree from the true class to the nearest of the k most probable classes,"
        " averaged over the images.",
    ),
    _lower_edges(
        "hdist_top@{k}_lca_height",
        "Height of the smallest superclass that holds the true class and the nearest of the k most"
        " probable ones, averaged over the images.",
    ),
    _higher_share(
        "hp@{k}",
        "Share of the k most probable classes that are among the k classes nearest to the true one"
        " in the tree, equally near ones included.",
    ),
    _describes_classes(
        "hp@{k}_set_size",
        "Mean number of classes that count as the k nearest to the true one in the tree (for"
        " hp@k), which is larger than k because equally near ones are included.",
    ),
    _higher_share(
        "hp@{k}_published",
        "Share of the k most probable classes that are near the true one in the tree, within the"
        " wider neighbourhood of Kim et al.'s published code, for comparison with their figures"
        " only.",
    ),
    _describes_classes(
        "hp@{k}_published_set_size",
        "Mean number of classes that count as near the true one in the tree in Kim et al.'s"
        " published code (for hp@k_published).",
    ),
    _higher_share(
        "hierarchical_precision@{k}",
        "Similarity in the tree of the k most probable classes to the true one, relative to the"
        " best possible k classes.",
    ),
    _higher_share(
        "hmap@{k}",
        "Similarity in the tree of the most probable classes to the true one, relative to the best"
        " possible classes, averaged over the 1, 2, ... k most probable ones and over the images.",
    ),
    _higher_accuracy(
        "level_accuracy@{k}",
        "Share of the images whose superclass at depth k of the tree is predicted right.",
    ),
    _higher_accuracy(
        "height_accuracy@{k}",
        "Share of the images whose predicted and true class share a superclass of height k or"
        " less, in edges above its classes; height 0 is the class itself.",
    ),
)
METRICS: dict[str, Callable[[Outputs], Result | dict[str, Result]]] = {
    "ahc": partial(ahd, k=1),
    "ahc_lca_height": partial(ahd, k=1, distance="lca_height"),
    "severity": severity,
    "severity_lca_height": partial(severity, distance="lca_height"),
    "ahd@5": partial(ahd, k=5),
    "ahd@5_lca_height": partial(ahd, k=5, distance="lca_height"),
    "ahd@20_lca_height": partial(ahd, k=20, distance="lca_height"),
    "hdist_top@5": partial(hdist_top, k=5),
    "hdist_top@5_lca_height": partial(hdist_top, k=5, distance="lca_height"),
    "hp": neighbour_precision,
    "hierarchical_precision": hierarchical_precision,
    "level_accuracy": level_accuracy,
    "height_accuracy": height_accuracy,
    "nodes": leaf_node_measures,
}


def _distances(outputs: Outputs, k: int, distance: str) -> np.ndarray:
    """Distances of the k best classes to the label, (S, min(k, C)) int."""
    if distance not in ("path", "lca_height"):
        raise ValueError(f"distance must be 'path' or 'lca_height', got {distance!r}")
    return getattr(outputs, distance)[outputs.best(k), outputs.labels[:, None]]
