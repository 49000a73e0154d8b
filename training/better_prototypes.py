"""Whether the prototypes of a trained network answer better than its class vectors, as they can
after few epochs.
"""

from collections.abc import Iterable, Mapping

import numpy as np
from scipy.stats import binomtest

CHANCE = 0.05  # how often equally good ones would differ as much


def better_prototypes(parts: Iterable[Mapping[str, np.ndarray]]) -> str | None:
    """A sentence that says so where they do beyond chance, by a sign test; None else.

    Args:
        parts: Arrays of splits without a group in common, as `training.outputs.compute_outputs`
            makes them; not of the test images, which choose nothing. Images of one group count as
            one in the test. Images that are labelled at inner nodes, and splits of which no scores
            of prototypes are kept, are left out.
    """
    images, signs = [np.zeros((2, 0), bool)], [np.zeros(0)]
    for arrays in parts:
        if "prototype_scores" not in arrays:
            continue
        scores = [arrays[name] for name in ("scores", "prototype_scores")]
        labels = arrays["labels"]
        kept = labels < scores[0].shape[1]
        right = np.stack([one.argmax(axis=1) == labels for one in scores])[:, kept]  # (2, s)
        groups = arrays.get("groups", np.arange(len(labels)))[kept]
        group = np.unique(groups, return_inverse=True)[1]
        images.append(right)
        signs.append(np.sign(np.bincount(group, weights=right[1] * 1.0 - right[0])))
    better, worse = ((np.concatenate(signs) == sign).sum() for sign in (1, -1))
    if better <= worse or binomtest(better, better + worse).pvalue >= CHANCE:
        return None
    right = np.concatenate(images, axis=1)
    vectors, prototypes = right.mean(axis=1)
    return (
        f"the class vectors name {vectors:.3f} of the {right.shape[1]} validation images rightly,"
        f" the prototypes (mean embeddings of the training images of a class) {prototypes:.3f}:"
        " predict.py --scores prototypes answers with these, and more epochs or a larger --lr may"
        " bring the class vectors as far"
    )
