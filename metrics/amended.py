"""Posteriors amended at test time, by a coarser classifier or by shares for classes never seen."""

import numpy as np

from hierarchies import Hierarchy
from metrics.posterior import ratio_of_children


def coarse_classes(fine: Hierarchy, coarse: Hierarchy) -> np.ndarray:
    """For each class of the fine tree the class of the coarse tree that is it or above it, (C,).

    A class that is as shallow as its coarse class stands for itself, so that it does not win by a
    missing factor.

    Raises: ValueError: If a class has none, or a coarse class has no fine one: the trees do not
    belong together.
    """
    index = {path: c for c, path in enumerate(coarse.class_paths)}
    above = np.empty(fine.num_classes, np.int64)
    for c, path in enumerate(fine.class_paths):
        hits = [index[path[:end]] for end in range(len(path), 0, -1) if path[:end] in index]
        if not hits:
            raise ValueError(
                f"the class {'/'.join(path)} has no superclass among the classes of the coarse run:"
                " it must have been trained on the same tree, cut at a level"
            )
        above[c] = hits[0]
    missing = np.setdiff1d(np.arange(coarse.num_classes), above)
    if len(missing):
        raise ValueError(
            f"the class {'/'.join(coarse.class_paths[missing[0]])} of the coarse run has no class"
            " below it in the fine run: do both know the same tree?"
        )
    return above


def hie(fine: np.ndarray, coarse: np.ndarray, above: np.ndarray) -> np.ndarray:
    """p(c) q(superclass of c), normalised: (S, C).

    Where the product is 0 for all classes the fine posterior stays.

    Args:
        fine: (S, C) posterior over the classes.
        coarse: (S, K) posterior over the superclasses, by another classifier.
        above: (C,) from `coarse_classes`.

    Source: Jain, Karthik & Gandhi 2023 (HiE).
    """
    product = np.asarray(fine, np.float64) * np.asarray(coarse, np.float64)[:, above]
    total = product.sum(axis=1, keepdims=True)
    return np.where(total > 0, product / np.where(total > 0, total, 1.0), fine)


def stop_shares(hierarchy: Hierarchy, probabilities: np.ndarray, factor: float = 1.0) -> np.ndarray:
    """A distribution over all nodes, (S, N): at each node a share stops there, for classes never
    seen.

    Of what reaches an inner node the share f h / (1 + f h) stops, h the entropy in nats of the
    posterior over its children, f the factor. A node with one child never stops. factor 0 leaves
    the posterior over the classes, infinity answers the highest node with several possible
    children.

    Args:
        probabilities: (S, N) posterior over the nodes.
        factor: f >= 0; to be calibrated on images of classes held out.

    Raises: ValueError: If the factor is negative or not finite.
    Source: Wallin et al. 2025 (ProHOC), with one posterior in place of a network for each depth.
    The factor is ours, since masses of children then always sum to their parent's; and the root is
    a node like others: their entropy over all classes would stop there whatever is unsure within
    one group, too.
    """
    if not 0 <= factor < np.inf:
        raise ValueError(f"factor must be a finite number >= 0, got {factor}")
    share = ratio_of_children(hierarchy, probabilities)  # P(v | parent of v), (S, N)
    surprise = -np.where(share > 0, share * np.log(np.where(share > 0, share, 1.0)), 0.0)
    entropy = np.zeros_like(share)
    np.add.at(entropy.T, hierarchy.parent[1:], surprise.T[1:])
    entropy[:, hierarchy.n_children <= 1] = 0.0
    reaching = np.ones_like(share)
    stops = np.empty_like(share)
    going_on = 1 / (1 + factor * entropy)
    for node in range(hierarchy.num_nodes):
        if node:
            above = hierarchy.parent[node]
            reaching[:, node] = reaching[:, above] * going_on[:, above] * share[:, node]
        inner = hierarchy.n_children[node] > 0
        stops[:, node] = reaching[:, node] * (1 - going_on[:, node] if inner else 1.0)
    return stops
