"""How well distances between class vectors follow the distances of the tree: rank correlations and
their tests.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from scipy.cluster.hierarchy import cophenet, linkage
from scipy.spatial.distance import squareform
from scipy.stats import hmean, rankdata, t

from metrics.mantel import PERMUTATIONS, Nested, mantel
from metrics.measure import DESCRIBES, HIGHER, SHARE, VECTORS, Measure, kind
from metrics.outputs import Outputs
from metrics.ranks import (
    by_class,
    classwise,
    elementwise,
    fisher_mean,
    rank_columns,
    rank_distances,
    standardise,
)
from metrics.result import Result, counted
from metrics.vectors import pairwise_distances, present, vector_sets


class Selection(NamedTuple):
    """Classes to compare: `distances` of vectors and in the `tree` of those that have a vector,
    where they are in it, and the number `absent` without.
    """

    prefix: str
    suffix: str
    distances: np.ndarray
    tree: np.ndarray
    nested: Nested
    absent: int


def classwise_correlation(distances: np.ndarray, tree: np.ndarray) -> Result:
    """Fisher mean of the class-wise Spearman correlations of two (C, C) tables, without their
    diagonals; in [-1, 1].

    n counts the classes in the mean, `undefined` those whose distances to all others are equal in
    either table.
    """
    return correlation_of_ranks(rank_columns(distances), rank_columns(tree))


def correlation_of_ranks(a: np.ndarray, b: np.ndarray) -> Result:
    """The same of tables that `rank_columns` has ranked already."""
    return _fisher_result(by_class(a, b))


def published_correlation(distances: np.ndarray, tree: np.ndarray) -> tuple[Result, Result]:
    """The class-wise Spearman correlation of Kim et al.: with the diagonal; Fisher mean and
    harmonic mean p-value.

    The zeros on both diagonals raise the value by 0.03 to 0.06, and the harmonic mean of two-sided
    p-values is not a
    valid test: for comparison with published figures only.
    """
    size = len(distances)
    if size < 2:
        return Result(np.nan, 0, size), Result(np.nan, 0, size)
    a, b = (standardise(rankdata(table, axis=1)) for table in (distances, tree))
    rho = np.where(a.any(axis=1) & b.any(axis=1), np.clip((a * b).sum(axis=1), -1, 1), np.nan)
    defined = rho[~np.isnan(rho)]
    if size < 3 or not len(defined):
        return _fisher_result(rho), Result(np.nan, 0, size)
    spread = np.sqrt((1 - defined**2) / (size - 2))
    statistic = np.divide(
        np.abs(defined), spread, out=np.full(len(defined), np.inf), where=spread > 0
    )
    p = 2 * t.sf(statistic, size - 2)
    value = float(hmean(p)) if (p > 0).all() else 0.0
    return _fisher_result(rho), Result(value, len(defined), size - len(defined))


def cophenetic_correlation(distances: np.ndarray) -> Result:
    """Pearson correlation of distances (C, C) with those in their UPGMA tree, in [-1, 1]; n pairs;
    NaN if constant.
    """
    pairs = squareform(distances, checks=False)
    if len(pairs) < 2:
        return Result(np.nan, 0, len(pairs))
    tree = linkage(pairs, "average")
    heights = tree[:, 2]  # each is that of a pair
    if (pairs == pairs[0]).all() or (heights == heights[0]).all():
        return Result(np.nan, 0, len(pairs))
    return Result(float(np.clip(cophenet(tree, pairs)[0], -1, 1)), len(pairs))


def correlations(outputs: Outputs, permutations: int = PERMUTATIONS) -> dict[str, Result]:
    """Spearman correlations of class vectors (W) and prototypes (P) with path lengths, with Mantel
    p-values.

    `W/corr` (class-wise, Fisher mean; n classes), `W/corr_elementwise` (one over all n pairs), each
    with `_p` (n permutations, fixed seed); the same with `_living` at the end on the living subset
    where the outputs have one. `undefined` counts constant columns and classes without a vector, or
    pairs; permutations where there is no p-value; all classes where the subset has none, or no
    pair. Above 1,500 classes a few ties are lost: `pairwise_distances`.
    """
    results = {}
    for prefix, suffix, distances, tree, nested, absent in selections(outputs):
        a, b = rank_distances(distances), rank_distances(tree)
        pairs, missing = (size * (size - 1) // 2 for size in (len(tree), len(tree) + absent))
        rho, p_values = elementwise(a, b), mantel(a, b, permutations, nested=nested)
        n = 0 if np.isnan(rho) else pairs
        values = {
            "corr": _fisher_result(classwise(a, b), absent),
            "corr_elementwise": Result(rho, n, missing - n),
        }
        for (name, result), p in zip(values.items(), p_values):
            results[f"{prefix}/{name}{suffix}"] = counted(result, outputs.hierarchy.num_classes)
            results[f"{prefix}/{name}_p{suffix}"] = Result(
                p, *((0, permutations) if np.isnan(p) else (permutations, 0))
            )
    return results


def published_correlations(outputs: Outputs) -> dict[str, Result]:
    """`W/corr_published`, `W/corr_published_p`, the same for P and with `_living`; see
    `published_correlation`.
    """
    results = {}
    for prefix, suffix, distances, tree, _, absent in selections(outputs):
        value, p = published_correlation(distances, tree)
        for name, result in (("corr_published", value), ("corr_published_p", p)):
            result = result._replace(undefined=result.undefined + absent)
            results[f"{prefix}/{name}{suffix}"] = counted(result, outputs.hierarchy.num_classes)
    return results


def cophenetic_correlations(outputs: Outputs) -> dict[str, Result]:
    """`W/cophenetic` and `P/cophenetic`: how well a tree fits the distances at all; see
    `cophenetic_correlation`.
    """
    results = {}
    for name, vectors in vector_sets(outputs):
        kept = vectors[present(vectors)]
        result = cophenetic_correlation(pairwise_distances(kept, outputs.distance))
        result = result._replace(undefined=len(vectors) * (len(vectors) - 1) // 2 - result.n)
        results[f"{name}/cophenetic"] = counted(result, len(vectors))
    return results


def selections(outputs: Outputs) -> Iterator[Selection]:
    """W and P on all classes and, where the outputs have one, on the living subset."""
    depth = outputs.hierarchy.depth[outputs.hierarchy.leaves]
    subsets = {"": np.ones(outputs.hierarchy.num_classes, bool)}
    if outputs.living is not None:
        subsets["_living"] = outputs.living
    for prefix, vectors in vector_sets(outputs):
        has_vector = present(vectors)
        for suffix, subset in subsets.items():
            kept = np.flatnonzero(subset & has_vector)
            distances = pairwise_distances(vectors[kept], outputs.distance)
            yield Selection(
                prefix,
                suffix,
                distances,
                outputs.path[np.ix_(kept, kept)],
                Nested(outputs.hierarchy.level_table[kept], depth[kept]),
                int(subset.sum()) - len(kept),
            )


def _fisher_result(rho: np.ndarray, absent: int = 0) -> Result:
    n = int((~np.isnan(rho)).sum())
    return Result(fisher_mean(rho), n, len(rho) - n + absent)


_higher_correlation = kind(HIGHER, VECTORS, "-1 to 1")
_describes = kind(DESCRIBES, VECTORS, SHARE)
MEASURES = (
    _higher_correlation(
        "corr",
        "Rank correlation of each class's distances to the others, between class vectors and the"
        " tree, averaged over the classes.",
    ),
    _describes(
        "corr_p",
        "Chance that the rank correlation of distances between class vectors and in the tree"
        " (corr) would be as large or larger if the classes were shuffled (Mantel test).",
    ),
    _higher_correlation(
        "corr_elementwise",
        "Rank correlation over all pairs of classes, between distances of class vectors and in the"
        " tree.",
    ),
    _describes(
        "corr_elementwise_p",
        "Chance that the rank correlation over all pairs of classes of distances between class"
        " vectors and in the tree (corr_elementwise) would be as large or larger if the classes"
        " were shuffled (Mantel test).",
    ),
    _higher_correlation(
        "corr_published",
        "Rank correlation of each class's distances to all classes, itself included, between"
        " class vectors and the tree, averaged over the classes, as Kim et al.'s published code"
        " computes it, for comparison with their figures only.",
    ),
    _describes(
        "corr_published_p",
        "The p-value of Kim et al.'s published code for the rank correlation of distances between"
        " class vectors and in the tree, which is not a valid test, for comparison with their"
        " figures only.",
    ),
    _higher_correlation(
        "corr_living",
        "Rank correlation of each class's distances to the others, between class vectors and the"
        " tree, averaged over the classes, among living classes alone.",
    ),
    _describes(
        "corr_p_living",
        "Chance that the rank correlation of distances between class vectors and in the tree"
        " (corr) would be as large or larger if the classes were shuffled (Mantel test), among"
        " living classes alone.",
    ),
    _higher_correlation(
        "corr_elementwise_living",
        "Rank correlation over all pairs of classes, between distances of class vectors and in the"
        " tree, among living classes alone.",
    ),
    _describes(
        "corr_elementwise_p_living",
        "Chance that the rank correlation over all pairs of classes of distances between class"
        " vectors and in the tree (corr_elementwise) would be as large or larger if the classes"
        " were shuffled (Mantel test), among living classes alone.",
    ),
    _higher_correlation(
        "corr_published_living",
        "Rank correlation of each class's distances to all classes, itself included, between"
        " class vectors and the tree, averaged over the classes, as Kim et al.'s published code"
        " computes it, for comparison with their figures only, among living classes alone.",
    ),
    _describes(
        "corr_published_p_living",
        "The p-value of Kim et al.'s published code for the rank correlation of distances between"
        " class vectors and in the tree, which is not a valid test, for comparison with their"
        " figures only, among living classes alone.",
    ),
    Measure(
        "cophenetic",
        DESCRIBES,
        VECTORS,
        "-1 to 1",
        "How well any tree fits the distances between class vectors: their correlation with"
        " distances in the tree learned from them.",
    ),
)
METRICS: dict[str, Callable[[Outputs], dict[str, Result]]] = {
    "corr": correlations,
    "corr_published": published_correlations,
    "cophenetic": cophenetic_correlations,
}
OF_PAIRS = tuple(METRICS)  # of classes, see `suite.OF_PAIRS`
