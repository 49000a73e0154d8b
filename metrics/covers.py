"""Answers of several nodes: the least cover of a set of classes by at most r nodes of the tree."""

import math

import numpy as np

from hierarchies import Hierarchy


def needed_rank(n: int, target: float) -> int:
    """k = ceil((n + 1) target), at least 1: a new sample is not above the k-th smallest of n with
    probability `target` or more, where k is not above n.
    """
    return max(math.ceil(round((n + 1) * target, 9)), 1)


def set_threshold(scores_of_truth: np.ndarray, target: float) -> float:
    """The largest threshold t such that {classes with P >= t} holds the truth of a new sample with
    probability `target` or more, whatever the model: the k-th largest P of the truth among the n
    calibration samples, k their `needed_rank`.

    Args:
        scores_of_truth: (n,) probability of the true class of each calibration sample.
        target: In (0, 1).

    Returns: t; 0, which takes every class, where n is too small for the target.
    Source: Sadinle, Lei & Wasserman 2019; Vovk, Gammerman & Shafer 2005.
    """
    n = len(scores_of_truth)
    k = needed_rank(n, target)
    return 0.0 if k > n else float(-np.partition(-scores_of_truth, k - 1)[k - 1])


def least_covers(
    hierarchy: Hierarchy, members: np.ndarray, nodes: int
) -> tuple[np.ndarray, np.ndarray]:
    """At most so many nodes that have every member below them and as few classes as possible.

    Of covers of equal size the one with fewer nodes, then the one that splits a node later in
    preorder stays whole. A dynamic programme from the leaves up, for all samples together: O(S N
    r).

    Args:
        members: (S, C) bool, the classes to be covered.
        nodes: r >= 1.

    Returns: Nodes (S, r), sorted, padded with -1 on the right; number of classes covered, (S,).
    Source: Mortier et al. 2025 for the problem (representation complexity r).
    Raises: ValueError: If nodes < 1.
    """
    if nodes < 1:
        raise ValueError(f"nodes counts the nodes of an answer and must be at least 1, got {nodes}")
    samples = len(members)
    # cost[v][k]: fewest classes that k nodes at or below v cover, where they cover all members
    # there
    cost = np.full((hierarchy.num_nodes, nodes + 1, samples), np.inf)
    cost[:, 0] = 0.0  # as long as nothing below is a member
    cuts: list[list[np.ndarray]] = [[] for _ in range(hierarchy.num_nodes)]
    children: list[list[int]] = [[] for _ in range(hierarchy.num_nodes)]
    for node in range(1, hierarchy.num_nodes):
        children[hierarchy.parent[node]].append(node)
    whole = np.zeros((hierarchy.num_nodes, nodes + 1, samples), bool)
    for node in range(hierarchy.num_nodes - 1, -1, -1):
        if hierarchy.class_of[node] >= 0:
            member = members[:, hierarchy.class_of[node]]
            cost[node, 0] = np.where(member, np.inf, 0.0)
            cost[node, 1:] = np.where(member, 1.0, 0.0)
            whole[node, 1:] = member
            continue
        best = np.full((nodes + 1, samples), 0.0)
        for child in children[node]:
            merged = np.full((nodes + 1, samples), np.inf)
            taken = np.zeros((nodes + 1, samples), np.int16)
            for k in range(nodes + 1):
                for below in range(k + 1):
                    total = best[k - below] + cost[child, below]
                    better = total < merged[k]
                    merged[k] = np.where(better, total, merged[k])
                    taken[k] = np.where(better, below, taken[k])
            best = merged
            cuts[node].append(taken)
        any_member = np.isinf(best[0])
        for k in range(1, nodes + 1):
            whole[node, k] = any_member & (hierarchy.n_leaves[node] < best[k])
            best[k] = np.where(whole[node, k], hierarchy.n_leaves[node], best[k])
        cost[node] = best
    return _trace(hierarchy, nodes, children, cuts, whole, cost)


def _trace(hierarchy, nodes, children, cuts, whole, cost) -> tuple[np.ndarray, np.ndarray]:
    """The nodes behind the least costs, followed from the root down."""
    samples = cost.shape[2]
    sample = np.arange(samples)
    best = np.argmin(cost[0], axis=0)  # the fewest nodes that reach the least cost
    budget = np.zeros((hierarchy.num_nodes, samples), np.int64)
    budget[0] = best
    chosen = np.zeros((hierarchy.num_nodes, samples), bool)
    for node in range(hierarchy.num_nodes):
        taken = whole[node, budget[node], sample]
        chosen[node] = taken
        left = np.where(taken, 0, budget[node])
        for child, cut in zip(reversed(children[node]), reversed(cuts[node])):
            budget[child] = cut[left, sample]
            left = left - budget[child]
    found = np.full((samples, nodes), -1)
    rows, columns = np.nonzero(chosen.T)
    position = np.arange(len(rows)) - np.searchsorted(rows, rows)
    found[rows, position] = columns
    return found, cost[0, best, sample].astype(np.int64)
