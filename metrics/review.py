"""Which images of a labelled split a person should look at: those whose label may be wrong, and
those of whose kind more labels would help most. For reading only: nothing is trained, chosen or
measured with them.
"""

import numpy as np
import pandas as pd

from metrics.outputs import Block, Outputs
from metrics.posterior import row_blocks

SUSPECTS = ("image", "suggested", "own", "own_mean", "other", "other_mean", "margin")
UNSURE = ("image", "answer", "second", "probability", "second_probability", "margin", "entropy")


def likely_mislabelled(outputs: Outputs) -> pd.DataFrame:
    """Images whose label may be wrong by confident learning, the likeliest first.

    The threshold of a class is the mean probability of the class over the images labelled with it.
    An image is a suspect if its label's probability is below its label's threshold and that of
    another class is at or above that class's threshold; the most probable such class is suggested.
    Images whose label is the answer are never suspects. Ranked by the normalised margin.

    Returns: Columns image, its row; suggested, the class; own and own_mean, the probability of the
        label and the threshold of that class; other and other_mean, the same of the suggested
        class; margin, (own - the largest probability of another class + 1) / 2, in [0, 0.5], lower
        is more suspicious. No row without suspects.
    Source: Northcutt, Jiang & Chuang 2021, "Confident learning: estimating uncertainty in dataset
        labels", for the thresholds; their cleanlab for the margin and for images that are answered
        with their label. Its scores must be of images that the classifier was not trained on.
    """
    labels, classes = outputs.labels, outputs.hierarchy.num_classes
    own = outputs.read(_of_label)
    count = np.bincount(labels, minlength=classes)
    with np.errstate(invalid="ignore"):  # a class without images has no threshold: NaN
        mean = np.bincount(labels, weights=own, minlength=classes) / count
    found = []
    for rows in row_blocks(outputs.num_samples, classes):
        block = Block(outputs, rows)
        others = block.classes.copy()
        others[np.arange(len(others)), block.labels] = -1.0
        largest = others.max(axis=1)
        above = np.where(others >= mean, others, -1.0)  # never where a threshold is NaN
        suggested, likeliest = above.argmax(axis=1), above.max(axis=1)
        suspect = (own[rows] < mean[block.labels]) & (likeliest >= 0)
        suspect &= outputs.predictions[rows] != block.labels
        i = np.flatnonzero(suspect)
        label, other = block.labels[i], suggested[i]
        margin = (own[rows][i] - largest[i] + 1) / 2
        image = i + rows.start
        found.append((image, other, own[image], mean[label], likeliest[i], mean[other], margin))
    columns = map(np.concatenate, zip(*found)) if found else [np.empty(0)] * len(SUSPECTS)
    table = pd.DataFrame(dict(zip(SUSPECTS, columns))).astype({"image": int, "suggested": int})
    return table.sort_values("margin", kind="stable", ignore_index=True)


def worth_labelling(outputs: Outputs, most: int, per_answer: int) -> pd.DataFrame:
    """The images whose answer is least sure, the least first: labels of more images like these
    would teach the classifier most.

    Ranked by the margin between the two most probable classes; for diversity at most `per_answer`
    images of one answered class are taken.

    Args:
        most: Largest number of images.
        per_answer: Largest number of them with the same answer.

    Returns: Columns image, its row; answer and second, the most probable class and the next one,
        probability and second_probability, theirs; margin, their difference, in [0, 1]; entropy of
        the posterior divided by that of equal probabilities, in [0, 1]. No row of fewer than two
        classes.
    Source: Scheffer et al. 2001, "Active hidden Markov models for information extraction" (margin);
        Settles 2009, "Active learning literature survey".
    """
    if outputs.hierarchy.num_classes < 2:
        return pd.DataFrame({name: [] for name in UNSURE})
    pair, probability, entropy = outputs.read(_two_best)
    margin = probability[:, 0] - probability[:, 1]
    order = np.argsort(margin, kind="stable")
    place = pd.Series(pair[order, 0]).groupby(pair[order, 0]).cumcount().to_numpy()
    image = order[place < per_answer][:most]
    columns = (image, *pair[image].T, *probability[image].T, margin[image], entropy[image])
    return pd.DataFrame(dict(zip(UNSURE, columns)))


def _of_label(block: Block) -> np.ndarray:
    """Probability of the label, (s,)."""
    return np.take_along_axis(block.classes, block.labels[:, None], axis=1)[:, 0]


def _two_best(block: Block) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The two most probable classes, (s, 2), their probabilities and the entropy, a share, (s,)."""
    pair = block.outputs.best(2)[block.rows]
    p = block.classes
    logarithms = np.log(p, out=np.zeros_like(p), where=p > 0)
    entropy = -(p * logarithms).sum(axis=1) / np.log(p.shape[1])
    return pair, np.take_along_axis(p, pair, axis=1), entropy


READS = (_of_label, _two_best)
