"""How well distances between class vectors follow the distances of the tree: rank correlations and
their tests.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy.cluster.hierarchy import cophenet, linkage
from scipy.spatial.distance import squareform
from scipy.stats import hmean, rankdata, t

from metrics.measure import DESCRIBES, HIGHER, SHARE, VECTORS, Measure
from metrics.outputs import Outputs
from metrics.result import Result, counted, mean_over_items
from metrics.threads import in_threads
from metrics.vectors import TIE_AWARE, pairwise_distances, present, vector_sets

PERMUTATIONS = 999
_LARGEST_RHO = 1 - 1e-6  # atanh is infinite at 1
_ROWS = 32  # of a table of 2,000 classes, half a megabyte
_ROUNDING = 1e-9  # of sums in another order


class Ranks(NamedTuple):
    """Centred ranks of the distances between C classes, scaled so that a sum of products is
    Spearman's correlation.

    Attributes:
        columns: (C, C), row i the ranks of the distances from class i to the others; 0 on the
            diagonal.
        pairs: (C, C) symmetric, the ranks among all pairs; the correlation is half the sum of
            products.
        varies: (C,) bool, False where a column is constant, which has no ranks: its row is 0.
        pairs_vary: Whether the distances of all pairs differ.
    """

    columns: np.ndarray
    pairs: np.ndarray
    varies: np.ndarray
    pairs_vary: bool


class Selection(NamedTuple):
    """Classes to compare: `vectors` and `tree` distances of those that have a vector, `absent` the
    number without.
    """

    prefix: str
    suffix: str
    distances: np.ndarray
    tree: np.ndarray
    absent: int


def rank_distances(distances: np.ndarray) -> Ranks:
    """Ranks of a symmetric (C, C) table for Spearman correlations without its diagonal; ties share
    their mean rank.

    Only equal entries tie: `pairwise_distances` has rounded off what float32 vectors are unsure of.
    Above 1,500 classes it leaves some of that, and a few equal distances do not tie.
    """
    size = len(distances)
    columns, pairs = rank_columns(distances), np.zeros((size, size))
    if size < 2:
        return Ranks(columns, pairs, np.zeros(size, bool), False)
    upper = np.triu(~np.eye(size, dtype=bool))
    pairs[upper] = _standardise(rankdata(distances[upper]))
    pairs += pairs.T
    return Ranks(columns, pairs, columns.any(axis=1), bool(pairs.any()))


def rank_columns(distances: np.ndarray) -> np.ndarray:
    """`Ranks.columns` alone of a symmetric (C, C) table."""
    size = len(distances)
    columns = np.zeros((size, size))
    if size < 2:
        return columns
    others = ~np.eye(size, dtype=bool)
    columns[others] = _standardise(
        rankdata(distances[others].reshape(size, size - 1), axis=1)
    ).ravel()
    return columns


def classwise(a: Ranks, b: Ranks) -> np.ndarray:
    """Spearman correlation of each class's distances to the others, (C,); NaN where a column is
    constant.
    """
    return _by_class(a.columns, b.columns)


def _by_class(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    varies = a.any(axis=1) & b.any(axis=1)
    return np.where(varies, np.einsum("ij,ij->i", a, b), np.nan)


def elementwise(a: Ranks, b: Ranks) -> float:
    """Spearman correlation over all pairs of classes; NaN where either table is constant."""
    if not (a.pairs_vary and b.pairs_vary):
        return np.nan
    return float(
        np.clip(np.einsum("ij,ij->", a.pairs, b.pairs) / 2, -1, 1)
    )  # rounding must not leave the range


def fisher_mean(correlations: np.ndarray) -> float:
    """tanh(mean of atanh rho) over the correlations that are not NaN, |rho| at most 1 - 1e-6; NaN
    if there is none.
    """
    clipped = np.clip(correlations, -_LARGEST_RHO, _LARGEST_RHO)
    return float(np.tanh(mean_over_items(np.arctanh(clipped)).value))


def classwise_correlation(distances: np.ndarray, tree: np.ndarray) -> Result:
    """Fisher mean of the class-wise Spearman correlations of two (C, C) tables, without their
    diagonals; in [-1, 1].

    n counts the classes in the mean, `undefined` those whose distances to all others are equal in
    either table.
    """
    return correlation_of_ranks(rank_columns(distances), rank_columns(tree))


def correlation_of_ranks(a: np.ndarray, b: np.ndarray) -> Result:
    """The same of tables that `rank_columns` has ranked already."""
    return _fisher_result(_by_class(a, b))


def mantel(
    a: Ranks, b: Ranks, permutations: int = PERMUTATIONS, seed: int = 0
) -> tuple[float, float]:
    """One-sided p-values of the class-wise Fisher mean and of the element-wise correlation, in [1 /
    (K + 1), 1].

    p = (1 + number of K permutations of the classes with at least the observed correlation) / (K +
    1). A permutation that makes the Fisher mean undefined counts as at least. NaN where the
    observed correlation is undefined.

    Source: Mantel 1967.
    """
    observed = np.array([fisher_mean(classwise(a, b)), elementwise(a, b)])
    size, rng = len(a.pairs), np.random.default_rng(seed)
    kind = np.float32 if size > TIE_AWARE else np.float64  # of a million products and more
    tables = [
        tuple(table.astype(kind, copy=False) for table in both)
        for both in ((a.columns, b.columns), (a.pairs, b.pairs))
    ]

    def exceeds(order: np.ndarray) -> np.ndarray:
        rows, pairs = (_permuted_products(x, y, order) for x, y in tables)
        rows = np.where(a.varies[order] & b.varies, rows, np.nan)
        permuted = np.array([fisher_mean(rows), pairs.sum() / 2])
        return ~(permuted < observed - _ROUNDING)

    orders = [rng.permutation(size) for _ in range(permutations if size > 2 else 0)]
    exceed = sum(in_threads([partial(exceeds, order) for order in orders]), np.zeros(2))
    p = (1 + exceed) / (permutations + 1)
    return tuple(float(x) for x in np.where(np.isnan(observed), np.nan, p))


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
    a, b = (_standardise(rankdata(table, axis=1)) for table in (distances, tree))
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
    a, b = _standardise(pairs), _standardise(cophenet(linkage(pairs, "average")))
    defined = a.any() and b.any()
    return (
        Result(float(np.clip(a @ b, -1, 1)), len(pairs))
        if defined
        else Result(np.nan, 0, len(pairs))
    )


def correlations(
    outputs: Outputs, permutations: int = PERMUTATIONS, seed: int = 0
) -> dict[str, Result]:
    """Spearman correlations of class vectors (W) and prototypes (P) with path lengths, with Mantel
    p-values.

    `W/corr` (class-wise, Fisher mean; n classes), `W/corr_elementwise` (one over all n pairs), each
    with `_p` (n permutations, fixed seed); the same with `_living` at the end on the living subset
    where the outputs have one. `undefined` counts constant columns and classes without a vector, or
    pairs; permutations where there is no p-value; all classes where the subset has none, or no
    pair. Above 1,500 classes a few ties are lost: `pairwise_distances`.
    """
    results = {}
    for prefix, suffix, distances, tree, absent in selections(outputs):
        a, b = rank_distances(distances), rank_distances(tree)
        pairs, missing = (size * (size - 1) // 2 for size in (len(tree), len(tree) + absent))
        rho, p_values = elementwise(a, b), mantel(a, b, permutations, seed)
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
    for prefix, suffix, distances, tree, absent in selections(outputs):
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
                int(subset.sum()) - len(kept),
            )


def _fisher_result(rho: np.ndarray, absent: int = 0) -> Result:
    n = int((~np.isnan(rho)).sum())
    return Result(fisher_mean(rho), n, len(rho) - n + absent)


def _standardise(values: np.ndarray) -> np.ndarray:
    """Centred along the last axis, of length 1 there; 0 where constant."""
    centred = values - values.mean(axis=-1, keepdims=True)
    centred[np.broadcast_to(np.ptp(values, axis=-1, keepdims=True) == 0, values.shape)] = 0
    length = np.linalg.norm(centred, axis=-1, keepdims=True)
    return np.divide(centred, length, out=np.zeros_like(centred), where=length > 0)


def _permuted_products(a: np.ndarray, b: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Row sums of a[order][:, order] * b, (C,); a few rows at a time stay in the processor's cache,
    and mode "clip" lets numpy write into the buffers directly.
    """
    sums, buffers = np.empty(len(a)), np.empty((2, _ROWS, len(a)), a.dtype)
    for first in range(0, len(a), _ROWS):
        rows = slice(first, min(first + _ROWS, len(a)))
        taken, permuted = buffers[:, : rows.stop - first]
        np.take(a, order[rows], axis=0, out=taken, mode="clip")
        np.take(taken, order, axis=1, out=permuted, mode="clip")
        sums[rows] = np.einsum("ij,ij->i", permuted, b[rows])
    return sums


MEASURES = (
    Measure(
        "corr",
        HIGHER,
        VECTORS,
        "-1 to 1",
        "Rank correlation of each class's distances to the others, between class vectors and the"
        " tree, averaged over the classes.",
    ),
    Measure(
        "corr_p",
        DESCRIBES,
        VECTORS,
        SHARE,
        "Chance of such a corr or a larger one if the classes were shuffled (Mantel test).",
    ),
    Measure(
        "corr_elementwise",
        HIGHER,
        VECTORS,
        "-1 to 1",
        "Rank correlation over all pairs of classes, between distances of class vectors and in the"
        " tree.",
    ),
    Measure(
        "corr_elementwise_p",
        DESCRIBES,
        VECTORS,
        SHARE,
        "Chance of such a corr_elementwise or a larger one if the classes were shuffled (Mantel"
        " test).",
    ),
    Measure(
        "corr_published",
        HIGHER,
        VECTORS,
        "-1 to 1",
        "corr as Kim et al.'s published code computes it, with the zeros on the diagonals, for"
        " comparison with their figures only.",
    ),
    Measure(
        "corr_published_p",
        DESCRIBES,
        VECTORS,
        SHARE,
        "The p-value of Kim et al.'s published code, which is not a valid test, for comparison with"
        " their figures only.",
    ),
    Measure(
        "corr_living",
        HIGHER,
        VECTORS,
        "-1 to 1",
        "Rank correlation of each class's distances to the others, between class vectors and the"
        " tree, averaged over the classes, among living classes alone.",
    ),
    Measure(
        "corr_p_living",
        DESCRIBES,
        VECTORS,
        SHARE,
        "Chance of such a corr or a larger one if the classes were shuffled (Mantel test), among"
        " living classes alone.",
    ),
    Measure(
        "corr_elementwise_living",
        HIGHER,
        VECTORS,
        "-1 to 1",
        "Rank correlation over all pairs of classes, between distances of class vectors and in the"
        " tree, among living classes alone.",
    ),
    Measure(
        "corr_elementwise_p_living",
        DESCRIBES,
        VECTORS,
        SHARE,
        "Chance of such a corr_elementwise or a larger one if the classes were shuffled (Mantel"
        " test), among living classes alone.",
    ),
    Measure(
        "corr_published_living",
        HIGHER,
        VECTORS,
        "-1 to 1",
        "corr as Kim et al.'s published code computes it, with the zeros on the diagonals, for"
        " comparison with their figures only, among living classes alone.",
    ),
    Measure(
        "corr_published_p_living",
        DESCRIBES,
        VECTORS,
        SHARE,
        "The p-value of Kim et al.'s published code, which is not a valid test, for comparison with"
        " their figures only, among living classes alone.",
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
