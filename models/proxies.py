"""Class vectors placed so that their distances repeat those of the tree (multidimensional scaling,
MDS).
"""

from typing import NamedTuple

import numpy as np
import torch

SOLVERS = ("auto", "exact", "gradient")
TARGETS = ("path", "haframe", "barz")
LARGEST_TARGET = {"euc": np.sqrt(2), "arccos": np.pi / 2}  # 90 degrees
# below it, targets have no exact embedding; above it, a negative one is round-off
SMALLEST_EIGENVALUE = -1e-6
BLOCK = 2**20  # entries of a C x C table held at a time: 8 MB, which stays in the cache
# of the C x C tables while the stress is minimised: half the time; sums are in float64
PRECISION = np.float32


class MDSProxies(NamedTuple):
    """Placed class vectors: `weight` (C, D) float32 unit rows, `stress` in [0, 1], `note` on how
    they were found.
    """

    weight: torch.Tensor
    stress: float
    note: str


class NoExactEmbedding(ValueError):
    """The targets cannot be met exactly in the dimension given."""


def mds_targets(path_distances: np.ndarray, beta: float = 1.0, distance: str = "euc") -> np.ndarray:
    """Distances wanted between class vectors: 90 degrees * dT / (beta + dT), as chord (euc) or in
    radians (arccos).

    Args:
        path_distances: (C, C) path lengths in edges, symmetric, zero diagonal; 0 elsewhere makes
            two classes one point.
        beta: Path length that is placed at half the largest distance, > 0.
        distance: "euc", targets in [0, sqrt 2), or "arccos", in [0, pi/2).

    Shape: (C, C) -> (C, C) float64.
    Raises: ValueError: If C < 2, beta <= 0, or the distances are not a symmetric table with a zero
    diagonal.
    Source: Kim et al. 2023.
    """
    check_beta(beta)
    table = np.asarray(path_distances, dtype=np.float64)
    if table.ndim != 2 or table.shape[0] != table.shape[1] or len(table) < 2:
        raise ValueError(
            "--mds_W needs a square table of distances of at least 2 classes, got shape"
            f" {table.shape}"
        )
    if np.diagonal(table).any() or not (table >= 0).all() or not np.array_equal(table, table.T):
        raise ValueError(
            "distances between classes must be symmetric, not negative, and 0 on the diagonal"
        )
    targets = table + beta  # in place from here on: at 10,000 classes a table takes 800 MB
    np.divide(table, targets, out=targets)
    targets *= _largest_target(distance)
    return targets


def cosine_targets(cosines: np.ndarray, distance: str = "euc") -> np.ndarray:
    """Distances between unit vectors of these cosines (C, C), as chord (euc) or in radians
    (arccos): (C, C) float64, 0 on the diagonal.
    """
    _largest_target(distance)
    cosines = np.clip(cosines, -1, 1)
    targets = np.sqrt(2 - 2 * cosines) if distance == "euc" else np.arccos(cosines)
    np.fill_diagonal(targets, 0.0)
    return targets


def check_beta(beta: float) -> None:
    """Raises: ValueError: Unless beta is positive: with 0 all targets are equal and the diagonal is
    0/0.
    """
    if not 0 < beta < np.inf:
        raise ValueError(f"--beta must be positive, got {beta}")


def mds_proxies(
    targets: np.ndarray,
    dim: int,
    *,
    distance: str = "euc",
    solver: str = "auto",
    steps: int = 100,
    seed: int = 0,
) -> MDSProxies:
    """Unit vectors whose distances are the targets, or as close to them as found.

    Args:
        targets: (C, C) from `mds_targets`; classes at distance 0 get equal rows.
        dim: Dimension D of the vectors.
        distance: "euc" or "arccos", as the targets were made.
        solver: "exact" factorises the Gram matrix, which needs D >= C and a Gram matrix without
            negative eigenvalues; "gradient" minimises the stress from random vectors; "auto" is
            exact where that is possible.
        steps: Iterations of the gradient solver (L-BFGS) at most. 100 reach a lower stress than the
            published 1000 steps of Adam, in a tenth of the time.
        seed: Seed of the random start; the exact solution does not depend on it.

    Raises: ValueError: If an option is none of those named, or there is no solution for the exact
    solver.
    """
    targets = np.asarray(targets, dtype=np.float64)
    _largest_target(distance)
    if solver not in SOLVERS:
        raise ValueError(f"--mds_solver must be one of {', '.join(SOLVERS)}, got {solver!r}")
    note = "exact embedding"
    try:
        weight = None if solver == "gradient" else _embed(targets, dim, distance)
    except NoExactEmbedding as error:
        if solver == "exact":
            raise
        weight, note = None, f"placed by gradient, since {error}"
    if weight is None:
        weight = _minimise_stress(targets, dim, distance, steps, seed)
        note = "placed by gradient" if solver == "gradient" else note
    weight = torch.from_numpy(weight.astype(np.float32))
    return MDSProxies(weight, stress(weight, targets, distance), note)


def stress(weight: torch.Tensor | np.ndarray, targets: np.ndarray, distance: str = "euc") -> float:
    """||T - Dist(W)|| / ||T|| over the pairs of different classes; 0 is an exact embedding.

    Args:
        weight: (C, D), any length but 0; rows are normalised in float64.
        targets: (C, C) distances wanted.
        distance: "euc" or "arccos".
    """
    rows = np.asarray(weight, dtype=np.float64)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    squares = sum(np.vdot(gap, gap) for _, gap, _ in _gaps(rows, targets, distance))
    total = np.linalg.norm(targets)
    return float(np.sqrt(squares) / total) if total > 0 else float(np.sqrt(squares))


def _largest_target(distance: str) -> float:
    if distance not in LARGEST_TARGET:
        raise ValueError(f"--distance must be one of {', '.join(LARGEST_TARGET)}, got {distance!r}")
    return LARGEST_TARGET[distance]


def _embed(targets: np.ndarray, dim: int, distance: str) -> np.ndarray:
    """(C, D) rows with the targets' Gram matrix, zero-padded: its Cholesky factor, or V
    sqrt(Lambda) if singular.
    """
    num_classes = len(targets)
    if dim < num_classes:
        raise NoExactEmbedding(
            f"{num_classes} classes need {num_classes} dimensions, of which there are {dim}"
        )
    gram = 1 - targets**2 / 2 if distance == "euc" else np.cos(targets)
    try:
        rows = np.linalg.cholesky(gram)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(gram)
        if values[0] < SMALLEST_EIGENVALUE:
            raise NoExactEmbedding(
                f"no vectors have these distances (smallest eigenvalue {values[0]:.3g}); try"
                " another --beta"
            ) from None
        rows = vectors * np.sqrt(np.maximum(values, 0))
    return np.pad(rows, ((0, 0), (0, dim - num_classes)))


def _minimise_stress(
    targets: np.ndarray, dim: int, distance: str, steps: int, seed: int
) -> np.ndarray:
    """(C, D) unit rows of low stress: L-BFGS on the squared stress, from random directions."""
    start = np.random.default_rng(seed).standard_normal((len(targets), dim))
    total, wanted = np.vdot(targets, targets) or 1.0, targets.astype(PRECISION)

    def squared_stress(flat: np.ndarray) -> tuple[float, np.ndarray]:
        free = flat.reshape(start.shape)
        length = np.linalg.norm(free, axis=1, keepdims=True)
        rows, squares, gradient = free / length, 0.0, np.empty_like(free)
        short = rows.astype(PRECISION)
        for block, gap, slope in _gaps(short, wanted, distance):
            squares += float(np.vdot(gap, gap))
            slope *= gap
            gradient[block] = slope @ short
        gradient *= 4  # each pair counts twice, in a square
        gradient -= (gradient * rows).sum(axis=1, keepdims=True) * rows
        return squares / total, (gradient / length / total).ravel()

    start /= np.linalg.norm(start, axis=1, keepdims=True)
    # more corrections cost more than they gain
    options = {"maxiter": steps, "gtol": 1e-9, "maxcor": 5}
    from scipy.optimize import minimize

    found = minimize(squared_stress, start.ravel(), jac=True, method="L-BFGS-B", options=options)
    rows = found.x.reshape(start.shape)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _gaps(rows: np.ndarray, targets: np.ndarray, distance: str):
    """Yields (block, Dist(W) - T, d Dist / d cos) for blocks of rows, both (b, C), the diagonal of
    the first 0.
    """
    height = max(1, BLOCK // len(rows))
    for start in range(0, len(rows), height):
        block = slice(start, min(start + height, len(rows)))
        cosines = rows[block] @ rows.T
        np.clip(cosines, -1, 1, out=cosines)
        if distance == "euc":
            gap = np.sqrt(2 - 2 * cosines)
            # the derivative is infinite where two vectors meet
            slope = np.maximum(gap, 1e-6, out=cosines)
        else:
            gap = np.arccos(cosines)
            slope = np.sqrt(np.maximum(1 - cosines * cosines, 1e-12), out=cosines)
        np.divide(-1, slope, out=slope)
        gap -= targets[block]
        gap[np.arange(gap.shape[0]), np.arange(block.start, block.stop)] = 0
        yield block, gap, slope
