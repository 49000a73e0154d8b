"""How unlike all classes an image is: its distance to the nearest class in the embedding, against
the distances of validation images.
"""

import numpy as np

from metrics.posterior import row_blocks


def nearest_distances(embeddings: np.ndarray, prototypes: np.ndarray) -> np.ndarray:
    """1 - the largest cosine between an embedding and the mean direction of a class, (S,) float64
    in [0, 2].

    Args:
        embeddings: (S, D).
        prototypes: (C, D), NaN rows for classes without training images, which are passed over.

    Returns: NaN where an embedding is 0 or not finite, or no class has a prototype.
    """
    known = prototypes[np.isfinite(prototypes).all(axis=1)].astype(np.float64)
    lengths = np.linalg.norm(known, axis=1, keepdims=True)
    known = known[lengths[:, 0] > 0] / lengths[lengths[:, 0] > 0]
    distances = np.full(len(embeddings), np.nan)
    if not len(known):
        return distances
    for rows in row_blocks(len(embeddings), len(known) + embeddings.shape[1]):
        vectors = embeddings[rows].astype(np.float64)
        length = np.linalg.norm(vectors, axis=1)
        length = np.where((length > 0) & np.isfinite(length), length, np.nan)
        distances[rows] = 1 - (vectors @ known.T).max(axis=1) / length
    return np.clip(distances, 0.0, 2.0)  # rounding leaves the range


def novelty_p_values(distances: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """How seldom an image of a known class is as far from all classes: a p-value each, (S,).

    p = (1 + number of reference images at least as far) / (n + 1). For an image drawn like the
    reference images all places among these n + 1 are equally likely, so that p <= a has
    probability a or less for every a: whatever the network and the shape of the classes.

    Args:
        distances: (S,) of new images.
        reference: (n,) of images of known classes that trained nothing; NaN are left out.

    Returns: In [1 / (n + 1), 1]; NaN where a distance is, and everywhere with no reference image.
    Source: Vovk, Gammerman & Shafer 2005 (conformal p-values); Bates et al. 2023 for outliers.
    """
    reference = np.sort(reference[~np.isnan(reference)])
    if not len(reference):
        return np.full(len(distances), np.nan)
    farther = len(reference) - np.searchsorted(reference, distances, side="left")
    p = (1 + farther) / (len(reference) + 1)
    return np.where(np.isnan(distances), np.nan, p)
