"""Measures of all images, those included that are labelled at a superclass only: these count down
to their label, and a prediction below it is cut off there.

They stand beside those of images with a class under the prefix `all_labels/`, where a split has
such images.
"""

import numpy as np
import pandas as pd

from hierarchies.tree import format_path
from metrics.nodes import overlaps
from metrics.outputs import Outputs
from metrics.posterior import lca_nodes, top_k
from metrics.result import Result, mean_over_samples

PREFIX = "all_labels/"
AMONG = 5  # best classes of accuracy@5


def all_labels(outputs: Outputs) -> dict[str, Result]:
    """Accuracy, accuracy@5, level accuracies, path lengths and heights, hP, hR, hF and the measures
    of depth and information, over the S images with a class and then the K labelled above.

    An answer is right at its label or below it. A level counts images whose label reaches it, the
    others are undefined there.
    """
    tree, coarse = outputs.hierarchy, outputs.coarse
    truths = np.concatenate([tree.leaves[outputs.labels], coarse.nodes])  # (S + K,)
    best = np.concatenate([outputs.best(AMONG), top_k(coarse.scores, AMONG)])
    leaves = tree.leaves[best]  # (S + K, 5)
    below = (leaves >= truths[:, None]) & (leaves <= _last_below(outputs)[truths][:, None])
    nodes = np.where(below[:, 0], truths, leaves[:, 0])
    right = nodes == truths
    above = lca_nodes(tree, nodes, truths)
    path = (tree.depth[nodes] + tree.depth[truths] - 2 * tree.depth[above]).astype(np.float64)
    height = np.where(right, 0, tree.height[above]).astype(np.float64)
    rows = {
        "accuracy": mean_over_samples(right),
        f"accuracy@{AMONG}": mean_over_samples(below.any(axis=1)),
        "ahc": mean_over_samples(path),
        "ahc_lca_height": mean_over_samples(height),
        "severity": mean_over_samples(np.where(right, np.nan, path)),
        "severity_lca_height": mean_over_samples(np.where(right, np.nan, height)),
    }
    table = tree.level_table[best[:, 0]]
    of_truth = np.concatenate([tree.level_table[outputs.labels], _levels_of(outputs)])
    for level in range(tree.max_depth):
        equal = (table[:, level] == of_truth[:, level]).astype(np.float64)
        equal[of_truth[:, level] < 0] = np.nan
        rows[f"level_accuracy@{level + 1}"] = mean_over_samples(equal)
    rows |= overlaps(tree, nodes, truths)
    return {PREFIX + name: result for name, result in rows.items()}


def per_label(outputs: Outputs) -> pd.DataFrame:
    """One row for each inner node that images are labelled at: class (C + v), name, path, n_true,
    n_correct (predicted below it) and recall.
    """
    tree, coarse = outputs.hierarchy, outputs.coarse
    predicted = tree.leaves[coarse.scores.argmax(axis=1)]
    right = (predicted > coarse.nodes) & (predicted <= _last_below(outputs)[coarse.nodes])
    nodes, index = np.unique(coarse.nodes, return_inverse=True)
    n_true, n_correct = np.bincount(index), np.bincount(index, weights=right).astype(np.int64)
    return pd.DataFrame(
        {
            "class": tree.num_classes + nodes,
            "name": [tree.names[v] for v in nodes],
            "path": [format_path(tree.path(v)) for v in nodes],
            "n_true": n_true,
            "n_correct": n_correct,
            "recall": n_correct / n_true,
        }
    )


def _last_below(outputs: Outputs) -> np.ndarray:
    """The last node below each, itself where there is none, (N,): nodes are in preorder."""
    tree = outputs.hierarchy
    sizes = np.ones(tree.num_nodes, np.int64)
    for node in range(tree.num_nodes - 1, 0, -1):
        sizes[tree.parent[node]] += sizes[node]
    return np.arange(tree.num_nodes) + sizes - 1


def _levels_of(outputs: Outputs) -> np.ndarray:
    """Nodes from depth 1 down to the label of each coarse image, padded with -1: (K, H)."""
    tree, nodes = outputs.hierarchy, outputs.coarse.nodes
    a_class_below = tree.leaf_order[tree.start[nodes]]
    levels = tree.path_table[a_class_below]
    return np.where(np.arange(1, tree.max_depth + 1) <= tree.depth[nodes][:, None], levels, -1)
