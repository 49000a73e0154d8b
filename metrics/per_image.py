"""What a classifier says of each image of a split, one row an image: the table to open first when
some answers are wrong.
"""

import numpy as np
import pandas as pd

from hierarchies.tree import format_path
from metrics.outputs import Block, Outputs
from metrics.posterior import lca_nodes
from metrics.result import ratio

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
    best, (probability_of_true, rank, probabilities) = _best(outputs), outputs.read(probable)
    answers = best[:, 0]
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
        "probability": probabilities[:, 0].round(DIGITS),
        "probability_of_true": probability_of_true.round(DIGITS),
        "rank_of_true": rank,
        "common_ancestor": paths[common],
        "height": np.where(answers == outputs.labels, 0, tree.height[common]),
    }
    for k in range(1, best.shape[1]):
        columns[f"answer_{k + 1}"] = paths[tree.leaves[best[:, k]]]
        columns[f"probability_{k + 1}"] = probabilities[:, k].round(DIGITS)
    return pd.DataFrame(columns)


def worst_images(outputs: Outputs) -> np.ndarray:
    """The images that are answered wrongly, by their rows: those farthest from the truth first,
    and of those equally far the surest.
    """
    tree, (wrong, common) = outputs.hierarchy, _mistakes(outputs)
    return wrong[np.lexsort((wrong, -outputs.confidence[wrong], -tree.height[common]))]


def heights_of_mistakes(outputs: Outputs) -> pd.DataFrame:
    """How far from the truth the wrong answers are, a row for each height of the lowest common
    ancestor, from 1.

    Columns: height in edges; count of the mistakes; share of the mistakes, in [0, 1]; random, the
    share expected if each were any other class than the true one, all alike. Shares are NaN without
    mistakes.
    """
    tree, (wrong, common) = outputs.hierarchy, _mistakes(outputs)
    labels, top = outputs.labels, tree.max_depth
    count = np.bincount(tree.height[common], minlength=top + 1)
    images, expected = np.bincount(labels[wrong], minlength=tree.num_classes), np.zeros(top + 1)
    for c in np.flatnonzero(images).tolist():
        v = int(tree.leaves[c])
        while (above := int(tree.parent[v])) >= 0:  # classes that first meet this one there
            others = tree.n_leaves[above] - tree.n_leaves[v]
            expected[tree.height[above]] += images[c] * others / (tree.num_classes - 1)
            v = above
    return pd.DataFrame(
        {
            "height": np.arange(1, top + 1),
            "count": count[1:],
            "share": ratio(count[1:], len(wrong)),
            "random": ratio(expected[1:], len(wrong)),
        }
    )


def _mistakes(outputs: Outputs) -> tuple[np.ndarray, np.ndarray]:
    """The images that are answered wrongly, by their rows, and the lowest common ancestors of their
    answers and true classes.
    """
    tree, labels, answers = outputs.hierarchy, outputs.labels, outputs.predictions
    wrong = np.flatnonzero(answers != labels)
    return wrong, lca_nodes(tree, tree.leaves[labels[wrong]], tree.leaves[answers[wrong]])


def probable(block: Block) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each image the probability and the rank of the true class, (s,), and the probabilities of
    the best classes, (s, K).
    """
    best = _best(block.outputs)[block.rows]
    true = np.take_along_axis(block.classes, block.labels[:, None], axis=1)
    rank = (block.classes >= true).sum(axis=1)
    return true[:, 0], rank, np.take_along_axis(block.classes, best, axis=1)


def _best(outputs: Outputs) -> np.ndarray:
    return outputs.best(min(ALTERNATIVES, outputs.hierarchy.num_classes))


READS = (probable,)
