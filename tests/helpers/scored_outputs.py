"""Outputs made of given scores, and random trees: what the tests of predictions, posteriors and
decisions share.
"""

import numpy as np
from trees import TREE

from hierarchies import Hierarchy
from metrics.outputs import Outputs

# Classes of TREE by name, and nodes in preorder.
C, A2A, X, A1, A2B, Y, Z = range(7)
(
    ROOT,
    NODE_C,
    NODE_A,
    NODE_A2,
    NODE_A2A,
    NODE_A2B,
    NODE_A1,
    NODE_B,
    NODE_B1,
    NODE_X,
    NODE_B2,
    NODE_Y,
    NODE_Z,
) = range(13)


def scored(labels, scores, tree=TREE, **others) -> Outputs:
    """Outputs with the given scores, two-dimensional random embeddings and class vectors."""
    generator = np.random.default_rng(0)
    labels = np.asarray(labels, np.int64)
    vectors = generator.standard_normal((tree.num_classes, 2))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Outputs(
        hierarchy=tree,
        labels=labels,
        scores=np.asarray(scores, np.float32).reshape(len(labels), tree.num_classes),
        embeddings=generator.standard_normal((len(labels), 2)).astype(np.float32),
        class_vectors=vectors,
        prototypes=vectors.copy(),
        **others,
    )


def predicted(labels, classes, tree=TREE, **others) -> Outputs:
    """Outputs whose best class is the given one; the others tie and follow by class index."""
    return scored(labels, np.eye(tree.num_classes)[np.asarray(classes, int)], tree, **others)


def posterior(labels, probabilities, tree=TREE, **others) -> Outputs:
    """Outputs whose scores are the logarithms of the given probabilities (float32)."""
    return scored(labels, log(probabilities), tree, **others)


def log(probabilities) -> np.ndarray:
    """Logarithms, -inf for 0."""
    probabilities = np.asarray(probabilities, np.float64)
    return np.log(probabilities, out=np.full(probabilities.shape, -np.inf), where=probabilities > 0)


def random_tree(seed: int, num_classes: int = 12) -> Hierarchy:
    """An uneven tree with single-child nodes, classes in shuffled order."""
    generator = np.random.default_rng(seed)
    paths = []
    for c in range(num_classes):
        depth = generator.integers(0, 4)
        paths.append(tuple(f"n{generator.integers(0, 3)}" for _ in range(depth)) + (f"class {c}",))
    return Hierarchy.from_paths(paths)


def random_scores(seed: int, num_samples: int, num_classes: int, spread: float = 2.0) -> np.ndarray:
    """Normal scores, (S, C) float32."""
    return (
        spread * np.random.default_rng(seed).standard_normal((num_samples, num_classes))
    ).astype(np.float32)
