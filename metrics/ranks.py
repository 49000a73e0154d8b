"""Ranks of the distances between classes, and Spearman's correlations of two such tables."""

from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata

from metrics.result import mean_over_items, ratio
from metrics.vectors import nearest_first, whole_steps

_LARGEST_RHO = 1 - 1e-6  # atanh is infinite at 1


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


def rank_distances(distances: np.ndarray, pairs_alone: bool = False) -> Ranks:
    """Ranks of a symmetric (C, C) table for Spearman correlations without its diagonal; ties share
    their mean rank.

    Only equal entries tie: `pairwise_distances` has rounded off what float32 vectors are unsure of.
    Above 1,500 classes it leaves some of that, and a few equal distances do not tie.

    Args:
        pairs_alone: Leave the columns at 0.
    """
    size = len(distances)
    columns, pairs = np.zeros((2, size, size))
    if not pairs_alone:
        columns = rank_columns(distances)
    if size < 2:
        return Ranks(columns, pairs, np.zeros(size, bool), False)
    upper = np.triu(~np.eye(size, dtype=bool))
    pairs[upper] = standardise(_ranks(distances[upper]))
    pairs += pairs.T
    return Ranks(columns, pairs, columns.any(axis=1), bool(pairs.any()))


def rank_columns(
    distances: np.ndarray, order: tuple[np.ndarray, np.ndarray] | None = None
) -> np.ndarray:
    """`Ranks.columns` alone of a symmetric (C, C) table.

    Args:
        order: `nearest_first` of the table, where it is there already.
    """
    size = len(distances)
    columns = np.zeros((size, size))
    if size < 2:
        return columns
    others, tied = nearest_first(distances) if order is None else order
    ranks = standardise(_mean_ranks(tied))
    np.put_along_axis(columns, others, ranks, axis=1)
    return columns


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks of numbers, (n,); equal ones share their mean rank."""
    steps = whole_steps(values)
    if steps is not None and steps.max(initial=0) > 16 * len(steps):
        steps //= max(np.gcd.reduce(steps), 1)  # edges are a million steps
    if steps is None or steps.max(initial=0) > 16 * len(steps):
        return rankdata(values)
    counts = np.bincount(steps)  # counting takes a fifth of the time of sorting
    return np.cumsum(counts)[steps] - (counts[steps] - 1) / 2


def _mean_ranks(tied: np.ndarray) -> np.ndarray:
    """Ranks 1 ... n of the n numbers of each row in their order; those that are equal share their
    mean rank.

    Args:
        tied: Whether each but the first equals the one before, (C, n - 1).
    """
    rows, n = len(tied), tied.shape[1] + 1
    ranks = np.broadcast_to(np.arange(1.0, n + 1), (rows, n)).copy()
    of_run = np.zeros((rows, n), bool)  # of two or more
    of_run[:, 1:] |= tied
    of_run[:, :-1] |= tied
    row, place = np.nonzero(of_run)
    if len(row):
        begins = np.ones(len(row), bool)
        begins[1:] = ~tied[row[1:], place[1:] - 1] | (row[1:] != row[:-1])
        run = np.cumsum(begins) - 1
        ranks[row, place] = (np.bincount(run, place + 1) / np.bincount(run))[run]
    return ranks


def classwise(a: Ranks, b: Ranks) -> np.ndarray:
    """Spearman correlation of each class's distances to the others, (C,); NaN where a column is
    constant.
    """
    return by_class(a.columns, b.columns)


def by_class(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    varies = a.any(axis=1) & b.any(axis=1)
    return np.where(varies, np.einsum("ij,ij->i", a, b), np.nan)


def elementwise(a: Ranks, b: Ranks) -> float:
    """Spearman correlation over all pairs of classes; NaN where either table is constant."""
    if not (a.pairs_vary and b.pairs_vary):
        return np.nan
    # rounding must not leave the range
    return float(np.clip(np.einsum("ij,ij->", a.pairs, b.pairs) / 2, -1, 1))


def fisher_mean(correlations: np.ndarray) -> float:
    """tanh(mean of atanh rho) over the correlations that are not NaN, |rho| at most 1 - 1e-6; NaN
    if there is none.
    """
    return float(np.tanh(mean_over_items(_atanh(correlations)).value))


def fisher_means(correlations: np.ndarray) -> np.ndarray:
    """`fisher_mean` of each row of (K, C), up to rounding."""
    z = _atanh(correlations)
    return np.tanh(ratio(np.nansum(z, axis=1), (~np.isnan(z)).sum(axis=1)))


def _atanh(correlations: np.ndarray) -> np.ndarray:
    return np.arctanh(np.clip(correlations, -_LARGEST_RHO, _LARGEST_RHO))


def standardise(values: np.ndarray) -> np.ndarray:
    """Centred along the last axis, of length 1 there; 0 where constant."""
    centred = values - values.mean(axis=-1, keepdims=True)
    centred[np.broadcast_to(np.ptp(values, axis=-1, keepdims=True) == 0, values.shape)] = 0
    length = np.linalg.norm(centred, axis=-1, keepdims=True)
    return np.divide(centred, length, out=np.zeros_like(centred), where=length > 0)
