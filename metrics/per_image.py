"""What a classifier says of each image of a split, one row an image: the table to open first when
some answers are wrong.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from hierarchies.tree import format_path
from metrics.outputs import Outputs
from metrics.posterior import lca_nodes, row_blocks, softmax

ALTERNATIVES = 3  # classes named for each image, the answer among them
DIGITS = 6  # of probabilities, behind the point


def per_image(outputs: Outputs) -> pd.DataFrame:
    """One row an image, in the order of the outputs.

    Columns: file, as split.csv has it, and group, where the outputs know them; true and answer, as
    paths from the top of the tree; correct; probability of the answer, and probability_of_true, of
    the classes' posterior; rank_of_true, from 1, the number of classes that are not less probable
    (those of equal probability count); common_ancestor of the true class and the answer, as a path,
    empty for the root, and height, its height in edges: 0 where the answer is right; answer_2,
    probability_2 ... the next best classes, where there are so many.
    """
    tree = outputs.hierarchy
    paths = np.array([format_path(tree.path(v)) for v in range(tree.num_nodes)], object)
    best = outputs.best(min(ALTERNATIVES, tree.num_classes))
    answers = best[:, 0]
    posterior = _in_blocks(outputs, best)
    common = lca_nodes(tree, tree.leaves[outputs.labels], tree.leaves[answers])
    columns = {}
    if outputs.files is not None:
        columns["file"] = outputs.files
    if outputs.clusters is not None:
        columns["group"] = outputs.clusters
    columns |= {
        "true": paths[tree.leaves[outputs.labels]],
        "answer": paths[tree.leaves[answers]],
        "correct": answers == outputs.labels,
        "probability": posterior[:, 2].round(DIGITS),
        "probability_of_true": posterior[:, 0].round(DIGITS),
        "rank_of_true": posterior[:, 1].astype(np.int64),
        "common_ancestor": paths[common],
        "height": np.where(answers == outputs.labels, 0, tree.height[common]),
    }
    for k in range(1, best.shape[1]):
        columns[f"answer_{k + 1}"] = paths[tree.leaves[best[:, k]]]
        columns[f"probability_{k + 1}"] = posterior[:, 2 + k].round(DIGITS)
    return pd.DataFrame(columns)


def worst(table: pd.DataFrame, count: int) -> pd.DataFrame:
    """The wrong answers of a table of `per_image` that are farthest from the truth, and of those
    equally far the surest, worst first.
    """
    wrong = table[~table["correct"].astype(bool)]
    ordered = wrong.sort_values(["height", "probability"], ascending=False, kind="stable")
    return ordered.head(count)


def _in_blocks(outputs: Outputs, best: np.ndarray) -> np.ndarray:
    """Of each image: probability and rank of the true class, probabilities of `best` (S, K):
    (S, 2 + K).
    """
    return np.concatenate([np.empty((0, 2 + best.shape[1])), *_rows(outputs, best)])


def _rows(outputs: Outputs, best: np.ndarray) -> Iterator[np.ndarray]:
    for part in row_blocks(outputs.num_samples, outputs.hierarchy.num_classes):
        probabilities = softmax(outputs.scores_of(part))
        labels = outputs.labels[part][:, None]
        true = np.take_along_axis(probabilities, labels, axis=1)
        rank = (probabilities >= true).sum(axis=1, keepdims=True)
        yield np.hstack([true, rank, np.take_along_axis(probabilities, best[part], axis=1)])
