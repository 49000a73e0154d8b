"""The Pareto front of probability and information over the nodes: what every backing-off rule
chooses from.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from hierarchies import Hierarchy
from metrics.posterior import information, top_k
from metrics.result import ratio


class Front(NamedTuple):
    """Nodes of falling probability and growing information, one row a sample.

    Attributes:
        nodes: (S, K) node indices, padded with -1 on the right.
        probabilities: (S, K) their P, falling along the row; 0 where padded.
    """

    nodes: np.ndarray
    probabilities: np.ndarray


def top_node(hierarchy: Hierarchy) -> int:
    """The root, or the first node below it that has no single child: what 'anything' means as a
    prediction.
    """
    node = 0
    while hierarchy.n_children[node] == 1:
        node += 1  # preorder: the only child of v is v + 1
    return node


def with_top(hierarchy: Hierarchy, front: Front) -> np.ndarray:
    """The nodes of each sample behind `top_node`, where everyone starts, (S, K + 1); the root where
    padded.
    """
    nodes = np.pad(front.nodes, ((0, 0), (1, 0)), constant_values=top_node(hierarchy))
    return np.maximum(nodes, 0)


def over_thresholds(front: Front, measures: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Means over the samples of measures of their answers for every threshold that matters, by
    falling threshold; in [0, 1].

    Args:
        front: The answers, of falling probability.
        measures: (S, K + 1) each, of the nodes of `with_top`.

    Returns: `threshold`, above which the P of an answer must be, and the mean of each measure.
    """
    used = front.nodes >= 0
    p = front.probabilities[used]
    order = np.argsort(-p, kind="stable")
    p = p[order]
    last = np.flatnonzero(p != np.append(p[1:], -1.0))  # nodes of equal P are passed together
    means = {"threshold": np.append(p[last], 0.0)}
    for name, values in measures.items():
        steps = np.diff(values, axis=1)[used][order]
        totals = values[:, 0].sum() + np.append(0.0, np.cumsum(steps)[last])
        means[name] = np.clip(ratio(totals, len(values)), 0.0, 1.0)  # rounding of the sums
    return means


def pareto_front(hierarchy: Hierarchy, probabilities: np.ndarray) -> Front:
    """The nodes with more information than every node of larger P, sorted by falling P.

    Equal P: the deeper node goes first, then the lower index. Nodes with a single child are no
    candidates, since the child says more at the same P. The first node is the root or one as
    probable, the last the most probable leaf.

    Args:
        hierarchy: The class tree.
        probabilities: (S, N) posterior over the nodes.

    Source: Valmadre 2022.
    """
    candidates = np.flatnonzero(hierarchy.n_children != 1)
    candidates = candidates[np.argsort(-hierarchy.depth[candidates], kind="stable")]
    is_leaf = hierarchy.n_children[candidates] == 0
    p = np.ascontiguousarray(probabilities[:, candidates])
    # Nothing below the most probable leaf is on the front: that leaf already has all information.
    width = int((p >= p[:, is_leaf].max(axis=1, keepdims=True)).sum(axis=1).max(initial=1))
    columns = top_k(p, width)
    p, info = np.take_along_axis(p, columns, axis=1), information(hierarchy)[candidates][columns]
    before = np.maximum.accumulate(
        np.pad(info, ((0, 0), (1, 0)), constant_values=-1.0)[:, :-1], axis=1
    )
    keep = info > before
    order = np.argsort(~keep, axis=1, kind="stable")[:, : int(keep.sum(axis=1).max(initial=1))]
    kept = np.take_along_axis(keep, order, axis=1)
    nodes = np.take_along_axis(candidates[columns], order, axis=1)
    return Front(
        np.where(kept, nodes, -1), np.where(kept, np.take_along_axis(p, order, axis=1), 0.0)
    )


def concatenate(fronts: Sequence[Front]) -> Front:
    """The fronts of consecutive blocks of samples as one, padded to the longest."""
    width = max((front.nodes.shape[1] for front in fronts), default=1)
    nodes = [
        np.pad(f.nodes, ((0, 0), (0, width - f.nodes.shape[1])), constant_values=-1) for f in fronts
    ]
    p = [np.pad(f.probabilities, ((0, 0), (0, width - f.probabilities.shape[1]))) for f in fronts]
    empty = Front(np.empty((0, width), np.int64), np.empty((0, width)))
    return Front(np.concatenate([empty.nodes, *nodes]), np.concatenate([empty.probabilities, *p]))


def above_threshold(
    hierarchy: Hierarchy, front: Front, threshold: float | np.ndarray
) -> np.ndarray:
    """The node of largest information with P > threshold, (S,); `top_node` where no node is that
    probable.

    Args:
        threshold: One for all samples, or (S,).
    """
    count = (front.probabilities > np.reshape(threshold, (-1, 1))).sum(axis=1)
    chosen = front.nodes[np.arange(len(count)), np.maximum(count - 1, 0)]
    return np.where(count > 0, chosen, top_node(hierarchy))


def most_valuable(hierarchy: Hierarchy, front: Front, darts_lambda: float) -> np.ndarray:
    """argmax of (info(v) + lambda) P(v), (S,); equal values: the larger P. lambda = inf is
    `top_node`.
    """
    if np.isinf(darts_lambda):
        return np.full(len(front.nodes), top_node(hierarchy))
    value = (information(hierarchy)[front.nodes] + darts_lambda) * front.probabilities
    value[front.nodes < 0] = -1.0  # behind everything, also where all information is 0
    return front.nodes[np.arange(len(value)), value.argmax(axis=1)]
