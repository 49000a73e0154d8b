"""How well distances rank: images by the similarity of their classes, class vectors by the branches
of the tree.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from hierarchies import Hierarchy
from metrics.measure import HIGHER, RETRIEVAL, SHARE, VECTORS, kind
from metrics.outputs import Outputs
from metrics.posterior import top_k
from metrics.result import Result, mean_over_items, mean_over_samples, ratio
from metrics.vectors import nearest_first, pairwise_distances, present, unit, vector_sets

RANKS = (1, 50, 100, 150, 200, 250)
_CHUNK = 1 << 23  # entries of a temporary block of cosines


def mds_similarity(outputs: Outputs, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """1 - T^2 / 2 ("euc") or cos T ("arccos") of classes a and b, in (0, 1], T the MDS target of
    their path length.

    T = sqrt(2) dT / (beta + dT) or (pi / 2) dT / (beta + dT). Source: Kim et al. 2023.
    """
    path = outputs.path[a, b].astype(np.float64)
    share = path / np.where(path > 0, outputs.beta + path, 1)
    return np.cos(np.pi / 2 * share) if outputs.distance == "arccos" else 1 - share**2


def lca_similarity(outputs: Outputs, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """1 - hL / H of classes a and b, in [0, 1], H the height of the tree. Source: Barz & Denzler
    2019.
    """
    return 1 - outputs.lca_height[a, b] / outputs.hierarchy.max_depth


def wu_palmer_similarity(outputs: Outputs, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """2 d(lca) / (d(a) + d(b)) of classes a and b, in (0, 1], with depth 1 at the root. Source: Wu
    & Palmer 1994.
    """
    depth = outputs.hierarchy.depth[outputs.hierarchy.leaves] + 1
    return 1 - outputs.path[a, b] / (depth[a] + depth[b])


class Curve(NamedTuple):
    """A family of measures over the nearest images: `name`@k, and the area over k up to the last,
    `area`@k.

    `similarity(outputs, a, b)` broadcasts class indices; a perfect area is 1 with closed ends, else
    (k - 1) / k.
    """

    name: str | None
    area: str
    similarity: Callable[[Outputs, np.ndarray, np.ndarray], np.ndarray]
    closed: bool


CURVES = (
    Curve("hs", "ahs", mds_similarity, True),  # Kim et al. 2023
    Curve("hp_barz", "ahp", lca_similarity, False),  # Barz & Denzler 2019
    Curve(None, "ahp_wu_palmer", wu_palmer_similarity, False),
)


def image_retrieval(outputs: Outputs, depth: int = RANKS[-1]) -> dict[str, Result]:
    """HS@k and AHS@250 of Kim et al., HP@k and AHP@250 of Barz & Denzler, by cosine among the
    evaluated images.

    HS@k: similarity of the k nearest other images, summed, over the best possible sum for that
    query; in [0, 1], higher
    is better. `ahs@250`: trapezoid over k = 1..250 in steps of 1/249, 1 if perfect. `hp_barz@k`,
    `ahp@250`: the same with 1 - hL/H and steps of 1/250, 0.996 if perfect; `ahp_wu_palmer@250` with
    Wu-Palmer similarities. The images themselves are left out by index. With S < 251 the largest k
    is S - 1, and the names say so.

    Undefined for an image: a NaN in its embedding, or no other image with a similarity above 0.
    """
    usable = np.flatnonzero(present(outputs.embeddings))
    last = min(depth, len(usable) - 1)
    if last < 1:
        nothing = mean_over_samples(np.full(len(outputs.labels), np.nan))
        return {f"{name}@{k}": nothing for curve in CURVES for name, k in _names(curve, depth)}
    labels = outputs.labels[usable]
    values = {
        (name, k): np.full(len(outputs.labels), np.nan)
        for curve in CURVES
        for name, k in _names(curve, last)
    }
    classes, queries = np.unique(labels, return_inverse=True)
    ideals = [ideal_curves(outputs, curve.similarity, labels, last) for curve in CURVES]
    for rows, found in nearest(unit(outputs.embeddings[usable], np.float32), last):
        for curve, ideal in zip(CURVES, ideals):
            gains = curve.similarity(outputs, labels[rows, None], labels[found]).cumsum(axis=1)
            # in exact numbers at most 1; the two sums round differently
            ratios = np.minimum(ratio(gains, ideal[queries[rows]]), 1)
            for name, k in _names(curve, last):
                of_k = ratios[:, k - 1] if name == curve.name else area(ratios, curve.closed)
                values[name, k][usable[rows]] = of_k
    return {f"{name}@{k}": mean_over_samples(samples) for (name, k), samples in values.items()}


def nearest(directions: np.ndarray, k: int) -> Iterator[tuple[slice, np.ndarray]]:
    """The k nearest other rows of each row by cosine, nearest first, in blocks (rows, indices
    (rows, k)).

    Memory is that of a block, never S x S. Ties are ordered by index. Needs 1 <= k < S.
    """
    size = len(directions)
    step = max(1, _CHUNK // size)
    for first in range(0, size, step):
        rows = slice(first, min(first + step, size))
        cosines = directions[rows] @ directions.T
        cosines[np.arange(len(cosines)), np.arange(rows.start, rows.stop)] = -np.inf
        yield rows, top_k(cosines, k)


def ideal_curves(outputs: Outputs, similarity: Callable, labels: np.ndarray, k: int) -> np.ndarray:
    """Best possible sum of similarities of the 1..k nearest others, (classes present in labels, k)
    float64.

    Needs k < S, since each image has S - 1 others.
    """
    classes, counts = np.unique(labels, return_counts=True)
    table = np.empty((len(classes), k))
    step = max(1, _CHUNK // len(classes))
    for first in range(0, len(classes), step):
        rows = np.arange(first, min(first + step, len(classes)))
        gains = similarity(outputs, classes[rows, None], classes)
        others = np.tile(counts, (len(rows), 1))
        others[np.arange(len(rows)), rows] -= 1
        order = np.argsort(-gains, axis=1, kind="stable")
        # the last is k
        ends = np.minimum(np.take_along_axis(others, order, axis=1).cumsum(axis=1), k)
        repeats = np.diff(ends, axis=1, prepend=0)
        table[rows] = np.repeat(
            np.take_along_axis(gains, order, axis=1).ravel(), repeats.ravel()
        ).reshape(-1, k)
    return table.cumsum(axis=1)


def area(curves: np.ndarray, closed: bool) -> np.ndarray:
    """Trapezoid under each row over k = 1..K, (n,): steps of 1/(K - 1) if closed, else of 1/K.

    A perfect curve has area 1 or (K - 1)/K. A closed curve of one point has that point as its area.
    NaN where the row has one.
    """
    last = curves.shape[1]
    if last == 1:  # times 0, not 0: what is undefined stays so
        return curves[:, 0] * closed
    return np.trapezoid(curves, dx=1 / (last - 1 if closed else last), axis=1)


def graded_retrieval(outputs: Outputs) -> dict[str, Result]:
    """Hierarchical average precision and average set intersection of the rankings by cosine, among
    all evaluated images.

    An image counts as found on level l if it shares l levels of the tree with the query, shallow
    classes carried down; with l >= 1 it is relevant, by rel = (l / H) / n_l where n_l other images
    share just l levels. `h_ap`: sum over the relevant images, k their rank, of [sum over the
    relevant images j down to that rank of min(rel_k, rel_j)] / k, over the sum of rel; on a tree of
    height 1 it is average precision. `asi`: mean over k = 1 .. number of relevant images of the
    share of the first k images that an ideal ranking could have there, too. Both in [0, 1],
    higher is better. `asi` is 1 for the order of falling levels, `h_ap` for that of falling
    relevance: another one where a nearer level holds so many images that each counts less.

    Undefined for an image: a NaN in its embedding, or no other relevant image.
    Cost: O(S^2 (log S + H)) time, so only on request; memory is that of a block.
    Source: Ramzi et al. 2022 (HAPPIER), with their relevances at alpha = 1.
    """
    usable = np.flatnonzero(present(outputs.embeddings))
    values = {name: np.full(len(outputs.labels), np.nan) for name in ("h_ap", "asi")}
    if len(usable) > 1:
        levels = outputs.hierarchy.level_table[outputs.labels[usable]]  # (S, H)
        directions = unit(outputs.embeddings[usable], np.float32)
        for rows, found in nearest(directions, len(usable) - 1):
            shared = np.zeros(found.shape, np.int64)  # (rows, S - 1)
            for level in levels.T:
                shared += level[rows, None] == level[found]
            values["h_ap"][usable[rows]] = hierarchical_average_precision(shared, levels.shape[1])
            values["asi"][usable[rows]] = set_intersection(shared)
    return {name: mean_over_samples(samples) for name, samples in values.items()}


def hierarchical_average_precision(shared: np.ndarray, height: int) -> np.ndarray:
    """H-AP of rankings, (n,), see `graded_retrieval`; NaN where nothing is relevant.

    Args:
        shared: Levels that each ranked image shares with the query, best first, (n, K) int.
        height: Number of levels H.
    """
    tiers = np.arange(1, height + 1)
    counts = (shared[:, :, None] == tiers).sum(axis=1)  # (n, H)
    relevance = np.pad(ratio(tiers / height, counts, empty=0.0), ((0, 0), (1, 0)))
    own = np.take_along_axis(relevance, shared, axis=1)  # (n, K)
    gained = np.zeros(shared.shape)
    for tier in tiers:
        gained += np.minimum(own, relevance[:, [tier]]) * (shared == tier).cumsum(axis=1)
    ranks = np.arange(1, shared.shape[1] + 1)
    # in exact numbers at most 1; the sums round differently
    return np.minimum(ratio((gained / ranks).sum(axis=1), own.sum(axis=1)), 1)


def set_intersection(shared: np.ndarray) -> np.ndarray:
    """ASI of rankings, (n,), see `graded_retrieval`; NaN where nothing is relevant.

    Args:
        shared: As for `hierarchical_average_precision`.
    """
    relevant = (shared > 0).sum(axis=1)
    ranks = np.arange(1, shared.shape[1] + 1)
    ideal = -np.sort(-shared, axis=1)
    common = np.zeros(shared.shape)
    for tier in np.unique(shared):
        common += np.minimum((shared == tier).cumsum(axis=1), (ideal == tier).cumsum(axis=1))
    return ratio((common / ranks * (ranks <= relevant[:, None])).sum(axis=1), relevant)


def class_retrieval(outputs: Outputs) -> dict[str, Result]:
    """P@1, R-precision and MAP@R of class vectors (W) and prototypes (P) for each level of the tree
    but the last.

    `W/p@1_level1`, `W/r_precision_level1`, `W/map@r_level1` ...; see `level_retrieval`.
    """
    results = {}
    for name, vectors in vector_sets(outputs):
        levels = level_retrieval(vectors, outputs.hierarchy, outputs.distance)
        results |= {f"{name}/{key}": result for key, result in levels.items()}
    return results


def level_retrieval(vectors: np.ndarray, hierarchy: Hierarchy, distance: str) -> dict[str, Result]:
    """P@1, R-precision and MAP@R of vectors (C, D) whose relevant others lie in the same branch;
    all in [0, 1].

    Level l = 1 is below the root; shallow classes are carried down. The last level, where each
    class is alone, is only given if it is the only one. Mean over the n classes that share their
    group; NaN if none does. `undefined` counts classes alone in their group or without a vector.
    Ties are ordered by class; above 1,500 classes noise parts some of them, see
    `pairwise_distances`.

    Source: Musgrave, Belongie & Lim 2020.
    """
    kept = np.flatnonzero(present(vectors))
    order, _ = nearest_first(pairwise_distances(vectors[kept], distance))
    return retrieval_by_distance(order, hierarchy, kept)


def retrieval_by_distance(
    order: np.ndarray, hierarchy: Hierarchy, kept: np.ndarray
) -> dict[str, Result]:
    """`level_retrieval` of n of the classes, `kept`, of which each has the others ordered by the
    distance of their vectors: (n, n - 1), see `nearest_first`.
    """
    results = {}
    for level in range(1, max(2, hierarchy.max_depth)):
        group = hierarchy.level_table[kept, level - 1]
        for name, values in rank_measures(order, group).items():
            mean = mean_over_items(values)
            results[f"{name}_level{level}"] = mean._replace(
                undefined=hierarchy.num_classes - mean.n
            )
    return results


def rank_measures(order: np.ndarray, group: np.ndarray) -> dict[str, np.ndarray]:
    """P@1, R-precision and MAP@R of each item, (C,), NaN where it is alone in its group, R = size
    of the group - 1.

    Args:
        order: The other items by distance, nearest first, (C, C - 1).
        group: Group of each item, (C,) int.
    """
    _, inverse, counts = np.unique(group, return_inverse=True, return_counts=True)
    relevant = counts[inverse] - 1
    shared = np.flatnonzero(relevant)
    names = ("p@1", "r_precision", "map@r")
    values = {name: np.full(len(group), np.nan) for name in names}
    if len(shared):
        relevant, ranks = relevant[shared, None], np.arange(1, relevant.max() + 1)
        hits = group[order[shared, : len(ranks)]] == group[shared, None]
        counted = hits & (ranks <= relevant)
        precision = hits.cumsum(axis=1) / ranks
        for name, value in zip(
            names, (hits[:, :1], counted / relevant, counted * precision / relevant)
        ):
            values[name][shared] = value.sum(axis=1)
    return values


def _names(curve: Curve, last: int) -> list[tuple[str, int]]:
    ranks = dict.fromkeys(min(k, last) for k in RANKS) if curve.name else ()
    return [(curve.name, k) for k in ranks] + [(curve.area, last)]


_higher_share = kind(HIGHER, RETRIEVAL, SHARE)
_higher_share_below_one = kind(HIGHER, RETRIEVAL, "0 to 1 - 1/k")
_higher_vectors = kind(HIGHER, VECTORS, SHARE)
MEASURES = (
    _higher_share(
        "hs@{k}",
        "How alike in the tree the classes of an image and of the k other images nearest to it by"
        " their embeddings are, relative to the best possible k images, averaged over the images.",
    ),
    _higher_share(
        "ahs@{k}",
        "How alike in the tree the classes of an image and of the other images nearest to it by"
        " their embeddings are, relative to the best possible ones, averaged over the 1, 2, ... k"
        " nearest and over the images.",
    ),
    _higher_share(
        "hp_barz@{k}",
        "How alike in the tree the classes of an image and of the k other images nearest to it by"
        " their embeddings are (1 minus the height of the smallest common superclass as a share"
        " of the tree's height, Barz and Denzler), relative to the best possible k images,"
        " averaged over the images.",
    ),
    _higher_share_below_one(
        "ahp@{k}",
        "How alike in the tree the classes of an image and of the other images nearest to it by"
        " their embeddings are (1 minus the height of the smallest common superclass as a share"
        " of the tree's height, Barz and Denzler), relative to the best possible ones, averaged"
        " over the 1, 2, ... k nearest and over the images.",
    ),
    _higher_share_below_one(
        "ahp_wu_palmer@{k}",
        "How alike in the tree the classes of an image and of the other images nearest to it by"
        " their embeddings are (twice the depth of the smallest common superclass over the sum of"
        " the depths of the two classes, the root at depth 1, Wu and Palmer), relative to the"
        " best possible ones, averaged over the 1, 2, ... k nearest and over the images.",
    ),
    _higher_share(
        "h_ap",
        "Hierarchical average precision: how early relatives, images that share a superclass"
        " below the root, stand in the ranking of all other images by their embeddings, where"
        " closer relatives count more.",
    ),
    _higher_share(
        "asi",
        "Average set intersection: share of the first k images ranked by their embeddings that a"
        " ranking from the nearest to the farthest relatives in the tree has there, too, averaged"
        " over k up to the number of relatives, images that share a superclass below the root.",
    ),
    _higher_vectors(
        "p@1_level{k}",
        "Share of the classes whose nearest other class vector is of the same superclass at depth k"
        " of the tree.",
    ),
    _higher_vectors(
        "r_precision_level{k}",
        "Of a class's nearest class vectors, as many as there are other classes in its superclass"
        " at depth k of the tree, the share that are of that superclass, averaged over the"
        " classes.",
    ),
    _higher_vectors(
        "map@r_level{k}",
        "Of a class's nearest class vectors, as many as there are other classes in its superclass"
        " at depth k of the tree: the precision at each place, 0 at one that is not of that"
        " superclass, averaged over the places and the classes, so that those that come first"
        " count more.",
    ),
)
METRICS: dict[str, Callable[[Outputs], dict[str, Result]]] = {
    "image_retrieval": image_retrieval,
    "class_retrieval": class_retrieval,
}
ON_REQUEST: dict[str, Callable[[Outputs], dict[str, Result]]] = {
    "graded_retrieval": graded_retrieval
}
OF_PAIRS = ("class_retrieval",)  # of classes, see `suite.OF_PAIRS`
