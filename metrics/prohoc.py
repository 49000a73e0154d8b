"""Stopping at a superclass because no class below it is likely: for classes never seen."""

import numpy as np

from hierarchies import Hierarchy
from metrics.amended import stop_shares
from metrics.posterior import node_probabilities, row_blocks, softmax
from metrics.result import ratio

FACTORS = (0.0, *np.logspace(-2, 2, 33).tolist())


def prohoc(hierarchy: Hierarchy, probabilities: np.ndarray, stop_factor: float = 1.0) -> np.ndarray:
    """The most probable node of the distribution over all nodes in which a share stops at each
    superclass, see `metrics.amended.stop_shares`; equal ones: the lower node index.

    Raises: ValueError: If the factor is negative or not finite.
    Source: Wallin et al. 2025 (ProHOC).
    """
    return stop_shares(hierarchy, probabilities, stop_factor).argmax(axis=1)


def prohoc_distance(
    hierarchy: Hierarchy, probabilities: np.ndarray, stop_factor: float = 1.0
) -> np.ndarray:
    """The node of least expected path length to one drawn from the same distribution over all
    nodes; equal ones: the node above.

    It is the deepest node with more than half of the distribution at or below it: a step down
    brings that share an edge nearer, and the rest an edge further away.

    Raises: ValueError: If the factor is negative or not finite.
    Source: Wallin et al. 2025 (ProHOC).
    """
    shares = stop_shares(hierarchy, probabilities, stop_factor)
    for node in range(hierarchy.num_nodes - 1, 0, -1):  # parents come first
        shares[:, hierarchy.parent[node]] += shares[:, node]
    shares[:, 0] = 1.0  # whatever rounding made of it
    return np.where(shares > 0.5, hierarchy.depth, -1).argmax(axis=1)


def fit_stop_factor(hierarchy: Hierarchy, scores: np.ndarray, labels: np.ndarray) -> float:
    """The factor that parts known classes best from classes never seen, without images of these.

    Each image counts twice: as it is, when its class should be answered; and as if its class had
    never been seen, without the probability of that class, when the deepest superclass should be
    answered that holds other classes. What is largest is the mean of the two shares of right
    answers of `prohoc`, each averaged over the classes, of 0 and 33 factors from 0.01 to 100; of
    equal ones the smallest factor.

    Args:
        hierarchy: The class tree, of at least two classes.
        scores: (S, C) of validation images, divided by the temperature if there is one.
        labels: (S,).

    Raises: ValueError: If there is no image or one class only.
    Source: ours; Wallin et al. 2025 have a network for each depth and no factor.
    """
    if not len(labels) or hierarchy.num_classes < 2:
        raise ValueError("--rule prohoc is calibrated on validation images of at least two classes")
    above = unseen_nodes(hierarchy)
    right = np.zeros((2, len(FACTORS), hierarchy.num_classes))
    for rows in row_blocks(len(labels), hierarchy.num_nodes):
        own = labels[rows]
        known = softmax(scores[rows])
        unseen = known.copy()
        unseen[np.arange(len(own)), own] = 0.0
        rest = unseen.sum(axis=1, keepdims=True)
        # an image whose class has all the probability says nothing about the others
        unseen = np.where(rest > 0, ratio(unseen, rest, empty=0.0), 1 / hierarchy.num_classes)
        truths = (hierarchy.leaves[own], above[own])
        for kind, (posterior, truth) in enumerate(zip((known, unseen), truths)):
            nodes = node_probabilities(hierarchy, posterior)
            for position, factor in enumerate(FACTORS):
                hits = prohoc(hierarchy, nodes, factor) == truth
                right[kind, position] += np.bincount(own[hits], minlength=hierarchy.num_classes)
    counts = np.bincount(labels, minlength=hierarchy.num_classes)
    shares = np.nanmean(ratio(right, counts), axis=2)  # of classes without images: none
    return FACTORS[int(shares.sum(axis=0).argmax())]


def unseen_nodes(hierarchy: Hierarchy) -> np.ndarray:
    """For each class the deepest node above it that holds other classes, too, (C,): what is right
    to answer if the class had never been seen.
    """
    node = hierarchy.leaves.copy()
    while (alone := (hierarchy.n_leaves[node] == 1) & (node > 0)).any():
        node = np.where(alone, hierarchy.parent[node], node)
    return node
