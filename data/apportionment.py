"""Shares of whole things: integers in proportion, with bounds and a fixed sum."""

import numpy as np


def apportion(
    weights: np.ndarray, total: int, lower: np.ndarray, upper: np.ndarray, tie: np.ndarray
) -> np.ndarray:
    """Integers in [lower, upper] proportional to the weights that sum to the total, by largest
    remainder.

    Args:
        weights, lower, upper: Weight >= 0 and bounds of each entry, (K,); 0 <= lower <= upper,
            upper 0 at weight 0.
        total: The sum; moved to the nearest one that the bounds allow.
        tie: A permutation of K; of equal remainders the one with the smaller value is rounded up.

    Returns: int64 (K,).
    """
    total = int(np.clip(total, lower.sum(), upper.sum()))
    few, many = 0.0, float(np.max(upper / np.maximum(weights, 1), initial=0.0))
    for _ in range(100):  # the factor at which the bounded quotas sum to the total
        middle = (few + many) / 2
        if np.clip(weights * middle, lower, upper).sum() < total:
            few = middle
        else:
            many = middle
    quota = np.clip(weights * many, lower, upper)
    shares = np.floor(quota + 1e-9).astype(np.int64)  # 2.9999999999 is 3
    shares[np.lexsort((tie, shares - quota))[: total - shares.sum()]] += 1
    return shares
