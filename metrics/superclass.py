"""Measures of the posterior over the nodes under node weights (Urbani et al. 2024)."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from hierarchies import Hierarchy
from hierarchies.weights import cumulative, is_normalised, node_weights
from metrics.decisions import least_cost
from metrics.flat import accuracy, macro_accuracy
from metrics.measure import HIGHER, LOWER, POSTERIOR, SHARE, Measure, kind
from metrics.outputs import Block, Outputs, Reader
from metrics.posterior import ancestors, lca_nodes
from metrics.result import Result, mean_over_groups, mean_over_samples, ratio

_SMALLEST_GAP = 1e-5  # cumulated weights closer than this are one cut of the tree


def tree_distances(outputs: Outputs) -> np.ndarray:
    """WTD of each sample: sum over the nodes of w_v |P(v) - 1[v above the label]|, (S,).

    In [0, 2] for weights that sum to 1 on every path, 0 for a certain and correct posterior; lower
    is better. Twice the expected weighted distance between the label and a class drawn from the
    posterior.
    """
    return outputs.read(_tree_distances)


def _tree_distances(block: Block) -> np.ndarray:
    weights, above = block.outputs.node_weights, block.tree.path_table[block.labels]
    # (s, H), without the root, whose weight is 0
    on_path = np.where(above < 0, 0.0, weights[above])
    true = np.take_along_axis(block.nodes, np.maximum(above, 0), axis=1)
    off_path = block.nodes @ weights - (on_path * true).sum(axis=1)
    missing = (on_path * (1.0 - true)).sum(axis=1)
    # rounding must not give a negative one
    return np.maximum(off_path, 0.0) + np.maximum(missing, 0.0)


def wasserstein(outputs: Outputs) -> dict[str, Result]:
    """`wtd` as published (unhalved, mean over samples), `wtd_half`, `wtd_macro` (mean over the
    classes that occur).
    """
    distances = tree_distances(outputs)
    return {
        "wtd": mean_over_samples(distances),
        "wtd_half": mean_over_samples(distances / 2),
        "wtd_macro": mean_over_groups(distances, outputs.labels, outputs.hierarchy.num_classes),
    }


def wtd_per_class(outputs: Outputs) -> np.ndarray:
    """Mean WTD of the samples of each class, (C,); NaN for classes that do not occur."""
    return _class_means(outputs, tree_distances(outputs))


def hierarchical_accuracy(outputs: Outputs) -> Result:
    """Mean of 1 - dW(prediction, label) = cum(lca); in [0, 1], higher is better, 1 where all is
    correct.

    Raises: ValueError: If the weights do not sum to 1 on every path.
    """
    return mean_over_samples(_similarity(outputs, _normalised(outputs)))


def greedy_accuracy(outputs: Outputs) -> Result:
    """Hierarchical accuracy under greedy weights: mean of 1 - hL(prediction, label) / H, of Barz &
    Denzler 2019.
    """
    return mean_over_samples(_similarity(outputs, node_weights(outputs.hierarchy, "greedy")))


def wasserstein_accuracy(outputs: Outputs) -> dict[str, Result]:
    """Accuracy of argmax over c of sum_j p_j (1 - dW(j, c)), that is CRM: over samples, and
    `_macro` over classes.

    Raises: ValueError: If the weights do not sum to 1 on every path.
    """
    _normalised(outputs)
    decided = outputs.view(order=outputs.read(_least_distance))
    return {
        "wasserstein_accuracy": accuracy(decided),
        "wasserstein_accuracy_macro": macro_accuracy(decided),
    }


def _least_distance(block: Block) -> np.ndarray:
    return least_cost(block.tree, block.classes, block.outputs.node_weights, 1)


def cut_accuracy(outputs: Outputs) -> dict[str, Result]:
    """`cut_accuracy@t`: accuracy when every path is cut at its first node with cum > t and what is
    below merges.

    t runs over the midpoints between the distinct cumulated weights of the tree, 0 for the root: a
    small t is coarse, the largest gives accuracy. Each in [0, 1]. The most probable group wins;
    equal ones by the lowest class in them.

    Raises: ValueError: If the weights do not sum to 1 on every path.
    """
    _, thresholds = _cuts(outputs.hierarchy, _normalised(outputs))
    correct = outputs.read(_right_groups).T
    return {
        f"cut_accuracy@{_name(t)}": mean_over_samples(hits) for t, hits in zip(thresholds, correct)
    }


def _right_groups(block: Block) -> np.ndarray:
    """Whether the true group of each cut is the most probable one, (s, cuts)."""
    total, thresholds = _cuts(block.tree, block.outputs.node_weights)
    correct = np.empty((len(block.labels), len(thresholds)), bool)
    true_groups = _groups(block.tree, total, thresholds)[:, block.labels]
    for cut, chosen in _best_groups(block.tree, total, thresholds, block.nodes.T):
        correct[:, cut] = chosen == true_groups[cut]
    return correct


def _cuts(tree: Hierarchy, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cumulated weights of the nodes, and the thresholds that cut the tree between them."""
    total = cumulative(tree, weights)
    levels = np.unique(np.append(total, 0.0))
    gaps = np.diff(levels) >= _SMALLEST_GAP
    return total, ((levels[1:] + levels[:-1]) / 2)[gaps]


_lower_to_two = kind(LOWER, POSTERIOR, "0 to 2")
_higher = kind(HIGHER, POSTERIOR, SHARE)
MEASURES = (
    _lower_to_two(
        "wtd",
        "Wasserstein tree distance: twice the expected distance in the tree, its branches"
        " weighted, between the true class and one drawn from the predicted probabilities.",
    ),
    Measure(
        "wtd_half",
        LOWER,
        POSTERIOR,
        SHARE,
        "Expected distance in the tree, its branches weighted, between the true class and one"
        " drawn from the predicted probabilities: half the Wasserstein tree distance.",
    ),
    _lower_to_two(
        "wtd_macro",
        "Wasserstein tree distance, twice the expected distance in the tree, its branches"
        " weighted, between the true class and one drawn from the predicted probabilities: within"
        " each class, averaged over the classes.",
    ),
    _higher(
        "hierarchical_accuracy",
        "1 minus the distance in the tree, its branches weighted, from the predicted to the true"
        " class, averaged over the images.",
    ),
    _higher(
        "hierarchical_accuracy_greedy",
        "1 minus the height of the smallest superclass of the predicted and the true class as a"
        " share of the tree's height, averaged over the images.",
    ),
    _higher(
        "wasserstein_accuracy",
        "Accuracy if the class of least expected distance in the tree is predicted instead of the"
        " most probable one.",
    ),
    _higher(
        "wasserstein_accuracy_macro",
        "Accuracy within each class, averaged over the classes, if the class of least expected"
        " distance in the tree is predicted instead of the most probable one.",
    ),
    _higher(
        "cut_accuracy@{k}",
        "Accuracy of the superclasses that are left when every branch of the tree is cut where"
        " the weights of the nodes from the root down sum to more than k.",
    ),
)
METRICS: dict[str, Callable[[Outputs], Result | dict[str, Result]]] = {
    "wtd": wasserstein,
    "hierarchical_accuracy": hierarchical_accuracy,
    "hierarchical_accuracy_greedy": greedy_accuracy,
    "wasserstein_accuracy": wasserstein_accuracy,
    "cut_accuracy": cut_accuracy,
}
# Rows that reject weights which do not sum to 1, and the names they give; the cuts of such a tree
# have no names.
NEED_NORMALISED: dict[str, tuple[str, ...]] = {
    "hierarchical_accuracy": ("hierarchical_accuracy",),
    "wasserstein_accuracy": ("wasserstein_accuracy", "wasserstein_accuracy_macro"),
    "cut_accuracy": (),
}
READS: dict[str, tuple[Reader, ...]] = {
    "wtd": (_tree_distances,),
    "wasserstein_accuracy": (_least_distance,),
    "cut_accuracy": (_right_groups,),
}


def _normalised(outputs: Outputs) -> np.ndarray:
    if not is_normalised(outputs.hierarchy, outputs.node_weights):
        raise ValueError(
            "this measure needs node weights that sum to 1 on every path from the root to a class,"
            " like 'balanced'"
        )
    return outputs.node_weights


def _similarity(outputs: Outputs, weights: np.ndarray) -> np.ndarray:
    """cum(lca) of prediction and label, (S,)."""
    leaves = outputs.hierarchy.leaves
    shared = lca_nodes(outputs.hierarchy, leaves[outputs.predictions], leaves[outputs.labels])
    return cumulative(outputs.hierarchy, weights)[shared]


def _class_means(outputs: Outputs, samples: np.ndarray) -> np.ndarray:
    classes = outputs.hierarchy.num_classes
    sums = np.bincount(outputs.labels, weights=samples, minlength=classes)
    return ratio(sums, np.bincount(outputs.labels, minlength=classes))


def _groups(tree: Hierarchy, total: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """The node whose group each class is in, for each threshold, (T, C)."""
    paths = ancestors(tree)[tree.leaves]  # (C, H + 1)
    cumulated = np.where(paths < 0, -1.0, total[paths])
    groups = np.empty((len(thresholds), tree.num_classes), np.int64)
    for row, t in enumerate(thresholds):
        groups[row] = paths[np.arange(tree.num_classes), (cumulated > t).argmax(axis=1)]
    return groups


def _best_groups(tree: Hierarchy, total: np.ndarray, thresholds: np.ndarray, by_node: np.ndarray):
    """Yields each threshold's index, from the finest cut to the coarsest, and the winning group of
    each sample (s,).

    A coarser cut only merges groups, and a group is at least as probable as those it was merged
    from: so the winner so far has to be compared with the new groups alone, and every node is
    looked at once.
    """
    num_samples = by_node.shape[1]
    columns = np.arange(num_samples)
    best = np.full(num_samples, -1)
    best_p = np.full(num_samples, -1.0)
    best_class = np.full(num_samples, -1)
    above, lowest = total[tree.parent], _lowest_class(tree)
    above[0] = -1.0
    finer = np.inf
    for cut in reversed(range(len(thresholds))):
        t = thresholds[cut]
        new = np.flatnonzero((above <= t) & (total > t) & (total <= finer))
        if len(new):
            new = new[np.argsort(lowest[new], kind="stable")]
            p = by_node[new]
            first = p.argmax(axis=0)
            p, node = p[first, columns], new[first]
            # equal lowest classes: the new group has swallowed the winner
            wins = (p > best_p) | ((p == best_p) & (lowest[node] <= best_class))
            best, best_p = np.where(wins, node, best), np.where(wins, p, best_p)
            best_class = lowest[best]
        finer = t
        yield cut, best


@lru_cache(maxsize=4)
def _lowest_class(tree: Hierarchy) -> np.ndarray:
    """Lowest class index below each node, (N,)."""
    lowest = np.where(tree.class_of >= 0, tree.class_of, tree.num_classes)
    for node in range(tree.num_nodes - 1, 0, -1):
        lowest[tree.parent[node]] = min(lowest[tree.parent[node]], lowest[node])
    lowest.flags.writeable = False
    return lowest


def _name(threshold: float) -> str:
    return f"{threshold:.6f}".rstrip("0")
