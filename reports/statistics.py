"""Statistics of many runs over their seeds: means, intervals, paired tests."""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from runs.records import ROW

STATISTICS = [
    *ROW,
    "metric",
    "n_seeds",
    "mean",
    "std",
    "lower",
    "upper",
    "undefined",
    "splits",
    "similarity",
]


COMPARISON = [
    "metric",
    "pairs",
    "a_mean",
    "b_mean",
    "difference",
    "lower",
    "upper",
    "p_t",
    "p_wilcoxon",
    "p_t_holm",
    "p_wilcoxon_holm",
    "differences",
]
_P = ("p_t", "p_wilcoxon")
SIMILARITY = re.compile(r"(.*/)?a?hs@\d+")  # measures over the run's own similarity of classes


def summarise(values: pd.DataFrame) -> pd.DataFrame:
    """Mean, standard deviation and interval of each metric of each row over its seeds, in the rows'
    order.

    Returns: Columns `STATISTICS`; n_seeds counts the seeds whose value is defined and undefined the
    others. std has n - 1 in the denominator, lower and upper bound the 95 % interval of Student's
    t; NaN with fewer than two seeds. splits joins the first digits of the different splits of the
    row's seeds by '+'.
    """
    grouped = values.groupby([*ROW, "metric"], sort=False)["value"]
    table = grouped.agg(n_seeds="count", mean="mean", std="std", undefined="size").reset_index()
    table["undefined"] -= table["n_seeds"]
    half = half_width(table["std"].to_numpy(), table["n_seeds"].to_numpy())
    table["lower"], table["upper"] = table["mean"] - half, table["mean"] + half
    of_row = values.groupby(ROW, sort=False)
    splits = of_row["split"].agg(
        lambda digests: "+".join(sorted({digest[:8] for digest in digests}))
    )
    table = table.join(splits.rename("splits"), on=ROW).join(of_row["similarity"].first(), on=ROW)
    return table[STATISTICS]


def half_width(std: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Half of the 95 % interval of Student's t around a mean of n values; NaN for n < 2."""
    n = np.asarray(n, float)
    enough = n > 1
    freedom, size = np.where(enough, n - 1, 1), np.where(enough, n, 1)
    return np.where(enough, stats.t.ppf(0.975, freedom) * std / np.sqrt(size), np.nan)


def compare(values: pd.DataFrame, a: str, b: str, metrics: Iterable[str]) -> pd.DataFrame:
    """Paired tests of b against a over the seeds that both have, one row a metric.

    Args:
        values: Runs of one dataset and hierarchy.
        a, b: Names of two rows.

    Returns: Columns `COMPARISON`: number of pairs with both values defined, means over them, mean
    difference b - a with the 95 % interval of Student's t, two-sided p of the paired t-test and of
    Wilcoxon's signed-rank test, both p corrected over the metrics, see `holm` and `correct`, and
    the differences, by seed, with blanks between. Intervals and p are NaN with fewer than two
    pairs; p of the t-test also where all differences are equal, both where they are 0. Of a measure
    that means something else in each row (`unlike`) there are no pairs.
    """
    rows = []
    values = values[values["options"].isin([a, b])]
    left_out = unlike(values, a, b, metrics)
    for metric in metrics:
        of_metric = values[values["metric"] == metric].set_index("seed")
        x, y = (of_metric.loc[of_metric["options"] == name, "value"] for name in (a, b))
        pairs = pd.concat([x, y], axis=1, join="inner").to_numpy(float)
        pairs = pairs[np.isfinite(pairs).all(axis=1) & (metric not in left_out)]
        differences = " ".join(f"{b - a:.6g}" for a, b in pairs)
        rows.append([metric, len(pairs), *_paired(pairs[:, 0], pairs[:, 1]), differences])
    plain = [name for name in COMPARISON if not name.endswith("_holm")]
    (table,) = correct([pd.DataFrame(rows, columns=plain)])
    return table[COMPARISON]


def unlike(values: pd.DataFrame, a: str, b: str, metrics: Iterable[str]) -> list[str]:
    """Those of the metrics that two rows do not share: HS and AHS, where their similarities of
    classes differ.
    """
    found = [metric for metric in metrics if SIMILARITY.fullmatch(metric)]
    if not found:
        return []
    kinds = values.groupby("options")["similarity"].first()
    return [] if kinds.get(a) == kinds.get(b) else found


def correct(tables: Sequence[pd.DataFrame]) -> list[pd.DataFrame]:
    """Tables of `compare` with their p corrected by `holm` over all tests of all of them."""
    corrected = [table.copy() for table in tables]
    ends = np.cumsum([len(table) for table in tables])[:-1]
    for name in _P:
        p = [table[name].to_numpy(float) for table in tables]
        for table, part in zip(corrected, np.split(holm(np.concatenate([[], *p])), ends)):
            table[f"{name}_holm"] = part
    return corrected


class Against(NamedTuple):
    """Every row against one of them, (rows, measures) each: mean difference over the seeds that
    both have, its 95 % interval, p of the paired t-test, p corrected over the rows, and the number
    of pairs. NaN where a test is not defined, see `compare`, and in the row itself.
    """

    mean: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    p: np.ndarray
    holm: np.ndarray
    pairs: np.ndarray


def against(cube: np.ndarray, reference: int) -> Against:
    """All rows against the reference at once; the numbers are those of `compare`.

    Args:
        cube: (rows, measures, seeds) values, NaN where there is none.
        reference: Which row.
    """
    difference = cube - cube[reference]
    there = np.isfinite(difference)
    there[reference] = False
    size = np.where(there, np.maximum(np.abs(cube), np.abs(cube[reference])), 0.0).max(axis=2)
    n = there.sum(axis=2)
    d = np.where(there, difference, 0.0)
    mean = np.where(n > 0, d.sum(axis=2) / np.maximum(n, 1), np.nan)
    squares = np.where(there, (d - mean[..., None]) ** 2, 0.0).sum(axis=2)
    sd = np.where(n > 1, np.sqrt(squares / np.maximum(n - 1, 1)), np.nan)
    half = half_width(sd, n)
    spread = np.where(there, difference, -np.inf).max(axis=2) - np.where(
        there, difference, np.inf
    ).min(axis=2)
    vary = (n > 1) & (spread > 1e-12 * size)
    t = mean / np.where(vary, sd / np.sqrt(np.maximum(n, 1)), 1.0)
    p = np.where(vary, 2 * stats.t.sf(np.abs(t), np.maximum(n - 1, 1)), np.nan)
    corrected = np.stack([holm(p[:, j]) for j in range(p.shape[1])], axis=1)
    return Against(mean, mean - half, mean + half, p, corrected, n)


def holm(p: np.ndarray) -> np.ndarray:
    """p-values of (m,) tests corrected by Holm (1979), which bounds the chance of one false finding
    or more whatever the tests have to do with each other. NaN stays NaN and counts as no test.
    """
    corrected = np.full(len(p), np.nan)
    order = np.argsort(p)[: np.isfinite(p).sum()]  # NaN is sorted to the end
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1.0)
    return corrected


def signed_rank_p(differences: np.ndarray) -> float:
    """Two-sided p of Wilcoxon's signed-rank test, exact whatever the number and the ties: the share
    of all 2^n choices of signs whose sum of ranks is as far from its mean as the one observed, or
    farther.

    Args:
        differences: (n,), none of them 0.
    """
    ranks = np.round(2 * stats.rankdata(np.abs(differences))).astype(int)  # ties have halves
    share = np.zeros(ranks.sum() + 1)  # of the choices by the sum of the positive ranks
    share[0] = 1.0
    for rank in ranks:
        share[rank:] = share[rank:] + share[:-rank]
        share /= share.sum()
    from_mean = np.abs(2 * np.arange(len(share)) - ranks.sum())
    return float(share[from_mean >= from_mean[ranks[differences > 0].sum()]].sum())


def paired_seeds(values: pd.DataFrame, a: str, b: str) -> tuple[list[int], list[int]]:
    """Seeds that two rows share, sorted, and those of them in which the two were tested on
    different splits.
    """
    splits = values.drop_duplicates(["options", "seed"]).pivot(
        index="seed", columns="options", values="split"
    )
    both = splits[[a, b]].dropna()
    return both.index.tolist(), both.index[both[a] != both[b]].tolist()


def _paired(x: np.ndarray, y: np.ndarray) -> list[float]:
    """Means, mean difference, its interval and the p-values, of paired values."""
    if not len(x):
        return [np.nan] * 7
    difference = _without_noise(y - x, np.maximum(np.abs(x), np.abs(y)))
    mean, n = difference.mean(), len(difference)
    # differences that are equal but for rounding do not vary, so there is no t
    vary = np.ptp(difference) > 1e-12 * max(np.abs(x).max(), np.abs(y).max())
    half = half_width(difference.std(ddof=1) if n > 1 else np.nan, n)
    p_t = stats.ttest_1samp(difference, 0.0).pvalue if n > 1 and vary else np.nan
    changed = difference[difference != 0]
    p_wilcoxon = signed_rank_p(changed) if n > 1 and len(changed) else np.nan
    return [x.mean(), y.mean(), mean, mean - half, mean + half, p_t, p_wilcoxon]


def _without_noise(difference: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Differences rounded to what their operands determine, so that equal ones tie: rates of k/n
    differ by j/n, which rounding parts in the last digits, and a rank test would rank that.

    Args:
        difference: (n,) of numbers.
        size: (n,) how large the numbers are.
    """
    step = 10.0 ** (np.floor(np.log10(size.max(initial=0.0) or 1.0)) - 10)
    return np.round(difference / step) * step
