"""Unit vectors, distances between them, and the two sets of class vectors that measures compare
with the tree.
"""

from collections.abc import Iterator

import numpy as np

DISTANCES = ("euc", "arccos")
# classes up to which `rounded` is used: it takes 1 s at 3,000 and, with 7 GB, 10 s at 10,000
TIE_AWARE = 1500
_STEP = 1e-6  # of distances; float32 vectors carry about 1e-7 of rounding


def unit(vectors: np.ndarray, dtype: type = np.float64) -> np.ndarray:
    """Rows divided by their length, (n, D); a zero row stays zero, a row with NaN or infinity
    becomes NaN.
    """
    vectors = np.array(vectors, dtype=dtype, ndmin=2)
    vectors[~np.isfinite(vectors).all(axis=1)] = np.nan
    largest = np.abs(vectors).max(axis=1, keepdims=True, initial=0)
    vectors /= np.where(largest > 0, largest, 1)  # squares stay in range
    # at least 1 unless the row is zero
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1)


def angular(cosines: np.ndarray, distance: str) -> np.ndarray:
    """Distance of unit vectors from their cosines: "euc" sqrt(2 - 2 cos), "arccos" the angle in
    radians; any shape.

    Raises: ValueError: If the distance is neither.
    """
    if distance not in DISTANCES:
        raise ValueError(f"distance must be one of {', '.join(DISTANCES)}, got {distance!r}")
    cosines = np.clip(cosines, -1, 1)  # rounding must not leave the domain of either
    return np.arccos(cosines) if distance == "arccos" else np.sqrt(2 - 2 * cosines)


def pairwise_cosines(vectors: np.ndarray) -> np.ndarray:
    """Cosines of the rows, (C, C) float64, exactly symmetric, 1 on the diagonal also for a zero
    row.

    They are rounded to 13 digits, far finer than float32 vectors are, so that equal vectors are at
    distance 0 and equal distances tie whatever the order of summation.
    """
    directions = unit(vectors)
    cosines = directions @ directions.T
    cosines = np.round((cosines + cosines.T) / 2, 13)
    np.fill_diagonal(cosines, 1)
    return np.clip(cosines, -1, 1)


def cosines_of(directions: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Cosines of unit rows with other unit rows, (n, m), rounded as `pairwise_cosines` are."""
    return np.clip(np.round(directions @ others.T, 13), -1, 1)


def pairwise_distances(vectors: np.ndarray, distance: str) -> np.ndarray:
    """Distances of the directions of the rows, (C, C) float64, symmetric, 0 on the diagonal; see
    `angular`.

    They are multiples of 1e-6, at most 1.5e-6 off, so that distances meant to be equal tie in every
    ranking (`rounded`).

    Above `TIE_AWARE` classes they are rounded plainly, 0.5e-6 off at most. Noise then parts a
    distance that many pairs share in two, 1e-6 apart, where it lies within 1e-8 or so of half a
    step, as about one in a hundred does. Learned class vectors have no such distances. With vectors
    placed exactly, a rank correlation can lose 0.001, and more the more pairs share the distance;
    measures that order ties by class then order these by noise.
    """
    distances = angular(pairwise_cosines(vectors), distance)
    return rounded(distances) if len(distances) <= TIE_AWARE else np.round(distances, 6)


def rounded(distances: np.ndarray) -> np.ndarray:
    """Distances >= 0 as multiples of 1e-6 in the same order, same shape; NaN stays.

    Plain rounding would part equal distances that noise puts on either side of half a step. Here
    the steps are counted from the smallest value of each run without a gap of 1e-6: values within
    such a step tie, those of two runs do not.
    """
    known = np.nan_to_num(distances).ravel()
    # wide as a step, so that at most one run starts in each
    cell = (known / _STEP).astype(np.int64)
    cell = _numbered(cell)  # no tables of all the empty cells
    least, largest = np.full((2, cell.max(initial=0) + 1), [[np.inf], [-np.inf]])
    np.minimum.at(least, cell, known)
    np.maximum.at(largest, cell, known)
    before = np.concatenate([[-np.inf], np.maximum.accumulate(largest)[:-1]])
    start = np.maximum.accumulate(np.where((least < np.inf) & (least - before > _STEP), least, 0))[
        cell
    ]
    start = start.reshape(distances.shape)
    return np.round(np.round(start, 6) + np.floor((distances - start) / _STEP) * _STEP, 6)


def _numbered(cells: np.ndarray) -> np.ndarray:
    """Numbers >= 0 replaced by 0, 1, ... in the same order."""
    if cells.max(initial=0) > 16 * len(cells):  # sorting a few is faster than going through all
        return np.unique(cells, return_inverse=True)[1]
    taken = np.zeros(cells.max(initial=0) + 1, bool)
    taken[cells] = True
    return (np.cumsum(taken) - 1)[cells]


def whole_steps(distances: np.ndarray) -> np.ndarray | None:
    """Distances as multiples of 1e-6, int64; None where they are not such, or below 0."""
    steps = np.rint(np.asarray(distances, np.float64) / _STEP)
    if not np.array_equal(np.round(distances, 6), distances):
        return None
    if steps.min(initial=0) < 0 or steps.max(initial=0) >= 2**40:
        return None
    return steps.astype(np.int64)


def nearest_first(distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The others of each row of distances (n, n), nearest first and ties by number: their numbers
    (n, n - 1), and whether each but the first is as far as the one before, (n, n - 2).
    """
    n, steps = len(distances), whole_steps(distances)
    if steps is not None:
        # whole numbers, step and column in one, are sorted several times as fast as their order
        keys = steps * n + np.arange(n) + n
        np.fill_diagonal(keys, 0)
        keys = keys.astype(np.uint32 if keys.max(initial=0) < 2**32 else np.uint64)
        keys.sort(axis=1)
        far, order = np.divmod(keys[:, 1:], keys.dtype.type(n))
        return order.astype(np.int64), far[:, 1:] == far[:, :-1]
    others = np.array(distances, np.float64)
    np.fill_diagonal(others, -np.inf)
    order = np.argsort(others, axis=1, kind="stable")[:, 1:]
    far = np.take_along_axis(others, order, axis=1)
    return order, far[:, 1:] == far[:, :-1]


def present(vectors: np.ndarray) -> np.ndarray:
    """Rows without NaN or infinity, (C,) bool. A prototype is NaN where its class has no training
    image.
    """
    return np.isfinite(vectors).all(axis=1)


def vector_sets(outputs) -> Iterator[tuple[str, np.ndarray]]:
    """("W", class vectors) and ("P", prototypes), each (C, D) float64; prototypes only where the
    outputs have them, neither where they are of scores alone.
    """
    if not outputs.class_vectors.shape[1]:
        return
    yield "W", np.asarray(outputs.class_vectors, np.float64)
    if outputs.prototypes is not None:
        yield "P", np.asarray(outputs.prototypes, np.float64)
