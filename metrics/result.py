"""What a metric returns."""

from typing import NamedTuple

import numpy as np


class Result(NamedTuple):
    """The value of a metric and how many items it is over.

    Attributes:
        value: The metric; NaN where it is undefined.
        n: Number of items (samples, classes, pairs ...) the value is over.
        undefined: Number of items left out because the metric is undefined for them.
        samples: (S,) values of the samples where the metric is their plain mean, for the bootstrap;
            NaN = undefined.
        groups: (S,) int group of each sample, where the metric is the mean over groups of the means
            of their samples; -1 for samples of none.
    """

    value: float
    n: int
    undefined: int = 0
    samples: np.ndarray | None = None
    groups: np.ndarray | None = None


def mean_over_samples(samples: np.ndarray) -> Result:
    """The mean of per-sample values, with those values; NaN entries are undefined, left out and
    counted.
    """
    result = mean_over_items(samples)
    return result._replace(samples=np.asarray(samples, np.float64))


def mean_over_groups(samples: np.ndarray, groups: np.ndarray, num_groups: int) -> Result:
    """The mean over groups (classes ...) of the means of their samples, with those; groups without
    samples are counted.

    Args:
        samples: (S,) values, none of them NaN.
        groups: (S,) int in [0, num_groups), or -1 for samples that are left out.
    """
    samples, inside = np.asarray(samples, np.float64), groups >= 0
    sums = np.bincount(groups[inside], weights=samples[inside], minlength=num_groups)
    result = mean_over_items(ratio(sums, np.bincount(groups[inside], minlength=num_groups)))
    return result._replace(samples=samples, groups=groups)


def mean_over_items(items: np.ndarray) -> Result:
    """The mean of values that are not one per sample (classes, bins ...); NaN entries are left out
    and counted.
    """
    items = np.asarray(items, np.float64)
    defined = ~np.isnan(items)
    n = int(defined.sum())
    return Result(float(items[defined].mean()) if n else np.nan, n, items.size - n)


def counted(result: Result, items: int) -> Result:
    """The result, with `items` as undefined where it is NaN and nothing was counted: no pair, an
    empty subset.
    """
    return (
        result._replace(undefined=items)
        if np.isnan(result.value) and not result.undefined
        else result
    )


def ratio(
    numerator: np.ndarray | float, denominator: np.ndarray | float, empty: float = np.nan
) -> np.ndarray:
    """numerator / denominator element by element, and `empty` where the denominator is 0; no
    warning.
    """
    numerator, denominator = np.broadcast_arrays(
        np.asarray(numerator, float), np.asarray(denominator, float)
    )
    return np.divide(
        numerator, denominator, out=np.full(denominator.shape, float(empty)), where=denominator != 0
    )
