"""Measures of the predicted classes without a distance: accuracy, precision, recall, F, confusion,
at every level.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from hierarchies.tree import format_path
from metrics.measure import ACCURACY, HIGHER, SHARE, kind
from metrics.outputs import Outputs
from metrics.result import (
    Result,
    counted,
    mean_over_groups,
    mean_over_items,
    mean_over_samples,
    ratio,
)

# group of classes -> fewest and most training images of a class in it
FREQUENCIES = {"many": (101, np.inf), "medium": (20, 100), "few": (0, 19)}


def accuracy(outputs: Outputs) -> Result:
    """Share of samples whose predicted class is the label; in [0, 1], higher is better."""
    return mean_over_samples(outputs.predictions == outputs.labels)


def top_k_accuracy(outputs: Outputs, k: int = 5) -> Result:
    """Share of samples whose label is among the k best classes; in [0, 1]. A k above C means C,
    which gives 1.
    """
    return mean_over_samples((outputs.best(k) == outputs.labels[:, None]).any(axis=1))


def macro_accuracy(outputs: Outputs) -> Result:
    """Mean recall over the classes that occur (balanced accuracy); in [0, 1]. n counts them,
    undefined the others.
    """
    return mean_over_groups(
        outputs.predictions == outputs.labels, outputs.labels, outputs.hierarchy.num_classes
    )


def frequency_accuracies(outputs: Outputs) -> dict[str, Result]:
    """Mean recall over the classes with many, medium or few training images, see `FREQUENCIES`; in
    [0, 1], higher is better. n counts the classes of the group that occur, undefined the others of
    the group; NaN with all classes undefined where a group is empty or the counts are not known.

    Source: Liu et al. 2019, large-scale long-tailed recognition, who share test images out evenly.
    """
    classes, rows = outputs.hierarchy.num_classes, {}
    right = outputs.predictions == outputs.labels
    counts = np.full(classes, -1) if outputs.train_counts is None else outputs.train_counts
    for name, (fewest, most) in FREQUENCIES.items():
        group = np.flatnonzero((counts >= fewest) & (counts <= most))
        place = np.full(classes, -1)
        place[group] = np.arange(len(group))
        found = mean_over_groups(right, place[outputs.labels], len(group))
        rows[f"{name}_accuracy"] = counted(found, classes)
    return rows


def macro_precision(outputs: Outputs) -> Result:
    """Mean precision over the classes that are predicted at all; in [0, 1]. undefined counts the
    others.
    """
    _, n_predicted, n_correct = _counts(
        outputs.labels, outputs.predictions, outputs.hierarchy.num_classes
    )
    return mean_over_items(ratio(n_correct, n_predicted))


def macro_f1(outputs: Outputs) -> Result:
    """Mean F over the classes that occur or are predicted; in [0, 1]. undefined counts the
    others.
    """
    n_true, n_predicted, n_correct = _counts(
        outputs.labels, outputs.predictions, outputs.hierarchy.num_classes
    )
    return mean_over_items(ratio(2 * n_correct, n_true + n_predicted))


def level_macros(outputs: Outputs) -> dict[str, Result]:
    """Mean precision, recall and F over the nodes of each level l = 1..H, shallow classes carried
    down.
    """
    rows = {}
    for level in range(1, outputs.hierarchy.max_depth + 1):
        nodes, truths, predicted = _at_level(outputs, level)
        n_true, n_predicted, n_correct = _counts(truths, predicted, len(nodes))
        rows[f"level_precision@{level}"] = mean_over_items(ratio(n_correct, n_predicted))
        rows[f"level_recall@{level}"] = mean_over_groups(truths == predicted, truths, len(nodes))
        rows[f"level_f1@{level}"] = mean_over_items(ratio(2 * n_correct, n_true + n_predicted))
    return rows


def per_class(outputs: Outputs) -> pd.DataFrame:
    """One row a class: class, name, path, n_true, n_predicted, n_correct, precision, recall, f1.

    A share is NaN where its denominator is 0: precision of a class never predicted, recall of one
    that does not occur.
    """
    tree = outputs.hierarchy
    labels = {"class": np.arange(tree.num_classes), "name": tree.class_names}
    labels["path"] = [format_path(path) for path in tree.class_paths]
    return _shares(labels, outputs.labels, outputs.predictions)


def per_group(outputs: Outputs) -> pd.DataFrame:
    """One row a group of images, in the order of their names: group, n, n_correct, accuracy, and
    ahc, the mean path length from the true to the predicted class in edges; the worst groups are
    what a mean over images hides. Empty without groups.
    """
    if outputs.clusters is None:
        return pd.DataFrame(columns=["group", "n", "n_correct", "accuracy", "ahc"])
    table = pd.DataFrame(
        {
            "group": outputs.clusters,
            "correct": outputs.predictions == outputs.labels,
            "path": outputs.path[outputs.labels, outputs.predictions],
        }
    )
    grouped = table.groupby("group", sort=True)
    found = grouped.agg(n=("correct", "size"), n_correct=("correct", "sum"), ahc=("path", "mean"))
    found.insert(2, "accuracy", found["n_correct"] / found["n"])
    return found.reset_index()


def per_level(outputs: Outputs) -> pd.DataFrame:
    """The same for the nodes of every level l = 1..H, shallow classes carried down: level, node,
    name, path ...
    """
    tree, tables = outputs.hierarchy, []
    for level in range(1, tree.max_depth + 1):
        nodes, truths, predicted = _at_level(outputs, level)
        labels = {
            "level": np.full(len(nodes), level),
            "node": nodes,
            "name": [tree.names[v] for v in nodes],
        }
        labels["path"] = [format_path(tree.path(v)) for v in nodes]
        tables.append(_shares(labels, truths, predicted))
    return pd.concat(tables, ignore_index=True)


def confusion(outputs: Outputs, level: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """How often each node (row) is predicted as each node (column).

    Args:
        level: 1..H, shallow classes carried down; None for the classes, in class order.

    Returns: The nodes (n,) and the counts (n, n) int64.
    Raises: ValueError: If the tree has no such level.
    """
    nodes, true, predicted, counts = confused(outputs, level)
    table = np.zeros((len(nodes), len(nodes)), np.int64)
    table[true, predicted] = counts
    return nodes, table


def confused(
    outputs: Outputs, level: int | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """`confusion` without its zeros.

    Returns: The nodes (n,), and of each pair that occurs the places of the true and of the
        predicted node among them, and how often it does.
    """
    tree = outputs.hierarchy
    if level is None:
        nodes, truths, predicted = tree.leaves, outputs.labels, outputs.predictions
    elif 1 <= level <= tree.max_depth:
        nodes, truths, predicted = _at_level(outputs, level)
    else:
        raise ValueError(
            f"level must lie in 1..{tree.max_depth}, the height of the tree, got {level}"
        )
    pairs, counts = np.unique(truths * len(nodes) + predicted, return_counts=True)
    return nodes, pairs // len(nodes), pairs % len(nodes), counts


_higher = kind(HIGHER, ACCURACY, SHARE)
MEASURES = (
    _higher("accuracy", "Share of the images whose predicted class is the true one."),
    _higher(
        "accuracy@{k}", "Share of the images whose true class is among the k most probable classes."
    ),
    _higher(
        "macro_accuracy",
        "Accuracy within each class, averaged over the classes, so that rare classes count as much"
        " as common ones.",
    ),
    _higher(
        "many_accuracy",
        "Accuracy within each class that has more than 100 training images, averaged over them.",
    ),
    _higher(
        "medium_accuracy",
        "Accuracy within each class that has 20 to 100 training images, averaged over them.",
    ),
    _higher(
        "few_accuracy",
        "Accuracy within each class that has fewer than 20 training images, averaged over them.",
    ),
    _higher(
        "macro_precision",
        "Share of a class's predictions that are right, averaged over the classes that are"
        " predicted at all.",
    ),
    _higher(
        "macro_f1",
        "Harmonic mean of precision and recall of each class, averaged over the classes.",
    ),
    _higher(
        "level_precision@{k}",
        "Precision of the superclasses at depth k of the tree, averaged over them.",
    ),
    _higher(
        "level_recall@{k}", "Recall of the superclasses at depth k of the tree, averaged over them."
    ),
    _higher(
        "level_f1@{k}",
        "Harmonic mean of precision and recall of the superclasses at depth k of the tree, averaged"
        " over them.",
    ),
)
METRICS: dict[str, Callable[[Outputs], Result | dict[str, Result]]] = {
    "accuracy": accuracy,
    "accuracy@5": top_k_accuracy,
    "macro_accuracy": macro_accuracy,
    "frequency": frequency_accuracies,
    "macro_precision": macro_precision,
    "macro_f1": macro_f1,
    "level": level_macros,
}


def _at_level(outputs: Outputs, level: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nodes of a level (n,), and for each sample the position of the true and of the predicted
    one.
    """
    nodes, position = np.unique(outputs.hierarchy.level_table[:, level - 1], return_inverse=True)
    return nodes, position[outputs.labels], position[outputs.predictions]


def _counts(
    truths: np.ndarray, predicted: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Occurrences, predictions and correct predictions of each item, (size,) each."""
    correct = truths[truths == predicted]
    return tuple(np.bincount(items, minlength=size) for items in (truths, predicted, correct))


def _shares(labels: dict, truths: np.ndarray, predicted: np.ndarray) -> pd.DataFrame:
    table = pd.DataFrame(labels)
    n_true, n_predicted, n_correct = _counts(truths, predicted, len(table))
    table["n_true"], table["n_predicted"], table["n_correct"] = n_true, n_predicted, n_correct
    table["precision"], table["recall"] = ratio(n_correct, n_predicted), ratio(n_correct, n_true)
    table["f1"] = ratio(2 * n_correct, n_true + n_predicted)
    return table
