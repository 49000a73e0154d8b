"""Outputs made of few given arrays, and class vectors whose cosines follow the tree exactly."""

import numpy as np

from hierarchies import Hierarchy, distances
from metrics.outputs import Outputs


def make_outputs(
    hierarchy, embeddings=None, labels=None, class_vectors=None, prototypes=None, **others
):
    """Outputs with zero scores; what is not given becomes random class vectors and one image on
    each of them.
    """
    classes = hierarchy.num_classes
    dim = next(
        (len(x[0]) for x in (class_vectors, embeddings, prototypes) if x is not None and len(x)), 8
    )
    if class_vectors is None:
        class_vectors = np.random.default_rng(0).standard_normal((classes, dim))
    class_vectors = np.asarray(class_vectors, float)
    embeddings = class_vectors if embeddings is None else embeddings
    labels = np.arange(len(embeddings)) if labels is None else labels
    return Outputs(
        hierarchy=hierarchy,
        labels=np.asarray(labels, np.int64),
        scores=np.zeros((len(labels), classes), np.float32),
        embeddings=np.asarray(embeddings, np.float32).reshape(len(labels), dim),
        class_vectors=class_vectors,
        prototypes=class_vectors.copy() if prototypes is None else np.asarray(prototypes, float),
        **others,
    )


def exact_vectors(hierarchy: Hierarchy, beta: float = 1.0) -> np.ndarray:
    """Unit vectors (C, C) at the Euclidean distances sqrt(2) dT / (beta + dT): Cholesky factor of
    their cosines.
    """
    path = distances.path_length(hierarchy).astype(float)
    return np.linalg.cholesky(1 - (path / (beta + path)) ** 2)


def circle(degrees) -> np.ndarray:
    """Unit vectors in the plane at the given angles, (n, 2)."""
    angles = np.deg2rad(np.asarray(degrees, float))
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


CHAINS = {size: Hierarchy.from_paths([("a", "b"), ("a", "c"), ("d",)][:size]) for size in (1, 2, 3)}
