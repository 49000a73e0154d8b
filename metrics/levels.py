"""Answers on all levels of the tree at once, by each way to decode them from one posterior.

Three ways: `leaf`, the ancestors of the most probable class; `topdown`, from the root to the most
probable child again and again; `level`, on every level its own most probable node, which may
disagree with each other. A class that ends above a level is carried down. Published tables mix
these ways: compare only values of one.
"""

from collections.abc import Callable

import numpy as np

from hierarchies import Hierarchy
from metrics.measure import ACCURACY, HIGHER, LOWER, SHARE, Measure, kind
from metrics.outputs import Block, Outputs, Reader
from metrics.result import Result, mean_over_samples


def decode_levels(hierarchy: Hierarchy, probabilities: np.ndarray) -> np.ndarray:
    """The most probable node of each level 1..H, (S, H); equal ones: the lower node index.

    Args:
        probabilities: (S, N) posterior over the nodes.
    """
    chosen = np.empty((len(probabilities), hierarchy.max_depth), np.int64)
    for level in range(hierarchy.max_depth):
        nodes = np.unique(hierarchy.level_table[:, level])
        chosen[:, level] = nodes[probabilities[:, nodes].argmax(axis=1)]
    return chosen


def decode_topdown(hierarchy: Hierarchy, probabilities: np.ndarray) -> np.ndarray:
    """The class reached from the root by the most probable child each time, (S,) nodes."""
    node = np.zeros(len(probabilities), np.int64)
    for depth in range(hierarchy.max_depth):
        below = np.flatnonzero(hierarchy.depth == depth + 1)
        p = np.where(hierarchy.parent[below] == node[:, None], probabilities[:, below], -1.0)
        best = p.argmax(axis=1)
        inside = hierarchy.n_children[node] > 0
        node = np.where(inside, below[best], node)
    return node


def level_measures(outputs: Outputs) -> dict[str, Result]:
    """Full-path accuracy, weighted average precision and inconsistency over the levels 1..H.

    `fpa_WAY`: share of samples with every level right; `fpa_leaf` is accuracy. `wap_WAY`:
    accuracies of the levels, weighted by their number of nodes. Both in [0, 1], higher is better.
    `tice_level`: share of samples whose answers on the levels are on no path of the tree, in [0,
    1], lower is better; it is 0 for the other ways.

    Source: Park et al. 2025 (H-CAST).
    """
    tree = outputs.hierarchy
    carried = np.full((tree.num_nodes, tree.max_depth), -1)
    carried[tree.leaves] = tree.level_table  # a leaf's nodes on the levels
    truths = tree.level_table[outputs.labels]
    topdown, level = outputs.read(_decoded)
    answers = {
        "leaf": tree.level_table[outputs.predictions],
        "topdown": carried[topdown],
        "level": level,
    }
    sizes = np.array([len(np.unique(column)) for column in tree.level_table.T])
    results = {}
    for way, answer in answers.items():
        right = answer == truths  # (S, H)
        results[f"fpa_{way}"] = mean_over_samples(right.all(axis=1))
        results[f"wap_{way}"] = mean_over_samples(right @ sizes / sizes.sum())
        if way == "level":
            results["tice_level"] = mean_over_samples(~is_path(tree, answer))
    return results


def _decoded(block: Block) -> tuple[np.ndarray, np.ndarray]:
    """What top-down decoding ends in, (s,) nodes, and the most probable node of each level."""
    return decode_topdown(block.tree, block.nodes), decode_levels(block.tree, block.nodes)


def is_path(hierarchy: Hierarchy, answers: np.ndarray) -> np.ndarray:
    """Whether the nodes of levels 1..H, (S, H), are each the one above or a child of it, (S,)."""
    above, below = answers[:, :-1], answers[:, 1:]
    follows = (hierarchy.parent[below] == above) | (below == above)
    ends_at_class = hierarchy.class_of[answers[:, -1]] >= 0 if answers.shape[1] else True
    return follows.all(axis=1) & ends_at_class


_higher = kind(HIGHER, ACCURACY, SHARE)
MEASURES = (
    _higher(
        "fpa_leaf",
        "Full-path accuracy: share of the images with the right answer on every level of the tree,"
        " decoded as the ancestors of the most probable class.",
    ),
    _higher(
        "wap_leaf",
        "Accuracies on the levels of the tree, averaged with the number of their superclasses for"
        " weight, decoded as the ancestors of the most probable class.",
    ),
    _higher(
        "fpa_topdown",
        "Full-path accuracy: share of the images with the right answer on every level of the tree,"
        " decoded from the root to the most probable child each time.",
    ),
    _higher(
        "wap_topdown",
        "Accuracies on the levels of the tree, averaged with the number of their superclasses for"
        " weight, decoded from the root to the most probable child each time.",
    ),
    _higher(
        "fpa_level",
        "Full-path accuracy: share of the images with the right answer on every level of the tree,"
        " decoded on each level by itself.",
    ),
    _higher(
        "wap_level",
        "Accuracies on the levels of the tree, averaged with the number of their superclasses for"
        " weight, decoded on each level by itself.",
    ),
    Measure(
        "tice_level",
        LOWER,
        ACCURACY,
        SHARE,
        "Share of the images whose answers, decoded on each level by itself, are on no path of the"
        " tree.",
    ),
)
METRICS: dict[str, Callable[[Outputs], Result | dict[str, Result]]] = {"levels": level_measures}
READS: dict[str, tuple[Reader, ...]] = {"levels": (_decoded,)}
