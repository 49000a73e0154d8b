"""Where embeddings, class vectors and prototypes lie on the sphere."""

from collections.abc import Callable

import numpy as np
from scipy.sparse import csr_array
from scipy.special import logsumexp

from metrics.measure import DESCRIBES, GEOMETRY, HIGHER, SHARE, Measure, kind
from metrics.outputs import Outputs
from metrics.posterior import row_blocks
from metrics.result import Result, counted, mean_over_items, mean_over_samples, ratio
from metrics.vectors import (
    cosines_of,
    pairwise_cosines,
    present,
    unit,
    vector_sets,
)

_TINY = 1e-12  # below this a squared distance or a step is rounding
_TINY_ANGLE = 1e-6  # radians
ANGLES = ("angle_true", "angle_nearest", "angle_nearest_wrong", "angle_mean", "intensity")


def class_sums(
    embeddings: np.ndarray, labels: np.ndarray, num_classes: int, *, normalise: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per class: sum (C, D) and sum of squared lengths (C,) of the embeddings, float64, and their
    number (C,) int.

    Of unit embeddings unless `normalise` is False. Rows with NaN or infinity are left out. Sums of
    batches add up.
    """
    sums, squares = np.zeros((num_classes, embeddings.shape[1])), np.zeros(num_classes)
    keep = present(embeddings)
    for rows in row_blocks(len(labels), embeddings.shape[1]):
        block, of_class = embeddings[rows][keep[rows]], labels[rows][keep[rows]]
        block = unit(block) if normalise else block.astype(np.float64)
        members = csr_array(
            (np.ones(len(block)), (of_class, np.arange(len(block)))),
            shape=(num_classes, len(block)),
        )
        sums += members @ block
        squares += members @ np.einsum("ij,ij->i", block, block)
    return sums, squares, np.bincount(labels[keep], minlength=num_classes)


def discriminability(
    sums: np.ndarray, squares: np.ndarray, counts: np.ndarray
) -> dict[str, Result]:
    """`var_inter`, `var_intra` and their ratio `discriminability` of unit embeddings; higher is
    better.

    var_inter = sum over a != b of |mu_a - mu_b|^2 / (n (n - 1)) over the n classes present, in [0,
    4]; var_intra = mean over these of the mean of |fhat - mu_c|^2, in [0, 1]; mu the means, not
    normalised. `undefined` counts absent classes, or all of them where a value is NaN: var_inter if
    fewer than two classes are present, the ratio also if var_intra is 0.

    Args:
        sums: (C, D) float64; squares: (C,) or (C, D) float64, squared lengths or squared
            coordinates; counts: (C,).

    Source: Roth et al. 2020.
    """
    seen = np.flatnonzero(counts)
    n, absent = len(seen), len(counts) - len(seen)
    if n == 0:
        return dict.fromkeys(
            ("var_inter", "var_intra", "discriminability"), Result(np.nan, 0, len(counts))
        )
    size = np.asarray(counts, np.float64)[seen]
    means = np.asarray(sums, np.float64)[seen] / size[:, None]
    lengths = np.einsum("ij,ij->i", means, means)
    total = np.asarray(squares, np.float64)[seen].reshape(n, -1).sum(axis=1)
    intra = float(np.maximum(total / size - lengths, 0).mean())
    # sum of |mu_a - mu_b|^2 over ordered pairs
    spread = 2 * n * lengths.sum() - 2 * (means.sum(axis=0) ** 2).sum()
    inter = float(ratio(max(spread, 0.0), n * (n - 1)))
    quotient = float(ratio(inter, intra if intra > _TINY else 0.0))
    values = {"var_inter": inter, "var_intra": intra, "discriminability": quotient}
    return {
        name: Result(value, *((0, len(counts)) if np.isnan(value) else (n, absent)))
        for name, value in values.items()
    }


def embedding_angles(
    embeddings: np.ndarray, vectors: np.ndarray, labels: np.ndarray
) -> dict[str, np.ndarray]:
    """Angles between each embedding and the class vectors, in radians, and its intensity; each (S,)
    float64.

    `angle_true`, `angle_nearest`, `angle_nearest_wrong`, `angle_mean` (over all classes),
    `intensity` (see there). NaN for embeddings that are zero or not finite; `angle_true` and
    `angle_nearest_wrong` also where the class has no vector, so that both are over the same images,
    the latter where no other class has one.
    """
    kept = np.flatnonzero(present(vectors))
    column = np.full(len(vectors), -1)
    column[kept] = np.arange(len(kept))
    directions = unit(vectors[kept])
    usable = np.flatnonzero(present(embeddings) & np.any(embeddings, axis=1))
    samples = {name: np.full(len(labels), np.nan) for name in ANGLES}
    for block in row_blocks(len(usable) if len(kept) else 0, len(vectors)):
        rows = usable[block]
        cosines = np.clip(unit(embeddings[rows]) @ directions.T, -1, 1)
        nearest = directions[cosines.argmax(axis=1)]
        samples["intensity"][rows] = intensity(cosines, cosines_of(nearest, directions))
        angles, own = np.arccos(cosines), column[labels[rows]]
        known = np.flatnonzero(own >= 0)
        samples["angle_nearest"][rows] = angles.min(axis=1)
        samples["angle_mean"][rows] = angles.mean(axis=1)
        samples["angle_true"][rows[known]] = angles[known, own[known]]
        angles[known, own[known]] = np.inf
        wrong = angles[known].min(axis=1)
        samples["angle_nearest_wrong"][rows[known]] = np.where(np.isinf(wrong), np.nan, wrong)
    return samples


def intensity(cosines: np.ndarray, of_nearest: np.ndarray) -> np.ndarray:
    """d_B / (d_1 + d_B) of unit embeddings, (S,) in [0, 1]: 1 on the nearest class vector, 0 on the
    border of its cell.

    d_1 is the angle to the nearest class vector P1, d_B the angle to the point B where the ray from
    P1 through the embedding leaves the Voronoi cell of P1. NaN where it does not leave, or no class
    vector differs from P1.

    Args:
        cosines: With the class vectors, (S, C); of_nearest: those of the nearest class vector with
            all, (S, C).
    """
    nearest = cosines.argmax(axis=1)
    closest = cosines[np.arange(len(cosines)), nearest]
    gap = 1 - of_nearest
    slope = gap + cosines - closest[:, None]
    crosses = (gap > _TINY) & (slope > _TINY)
    # B = P1 + step (fhat - P1)
    step = np.divide(gap, slope, out=np.full(gap.shape, np.inf), where=crosses).min(axis=1)
    leaves = np.isfinite(step)
    step = np.where(leaves, step, 1)
    to_nearest = np.arccos(closest)
    to_border = np.arctan2(step * np.sin(to_nearest), 1 - step * (1 - closest))
    share = 1 - ratio(to_nearest, to_border)
    share = np.where(leaves, np.clip(share, 0, 1), np.nan)
    # the ray has no direction there
    on_vector = (to_nearest < _TINY_ANGLE) & (gap > _TINY).any(axis=1)
    return np.where(on_vector, 1.0, share)


def hypersphere(vectors: np.ndarray) -> dict[str, Result]:
    """How the directions of vectors (C, D) spread over the sphere; vectors with NaN are left out
    and counted.

    `l_hp`: mean over classes of the largest cosine with another, and `sep`, the largest of all; in
    [-1, 1], lower is wider (Mettes et al. 2019). `resultant`: |mean direction|, in [0, 1].
    `l_unif`: log of the sum of e^cos over all ordered pairs, a vector with itself included (Trosten
    et al. 2023). `pair_angle_mean`, `_std` (population), `_min`, `_max`: over unordered pairs,
    radians. n counts classes or pairs, `undefined` classes. NaN if there is no pair.
    """
    kept = np.asarray(vectors)[present(vectors)]
    n, absent = len(kept), len(vectors) - len(kept)
    cosines, pairs = pairwise_cosines(kept), n * (n - 1) // 2
    angles = np.arccos(cosines[np.triu_indices(n, 1)])
    largest = (cosines - 3 * np.eye(n)).max(axis=1) if pairs else np.empty(0)
    resultant = float(np.linalg.norm(unit(kept).mean(axis=0))) if n else np.nan
    results = {
        "l_hp": mean_over_items(largest),
        "sep": Result(float(largest.max()) if pairs else np.nan, pairs),
    }
    results |= {
        "resultant": Result(resultant, n),
        "l_unif": Result(float(logsumexp(cosines)) if n else np.nan, n * n),
    }
    for name, of in (("mean", np.mean), ("std", np.std), ("min", np.min), ("max", np.max)):
        results[f"pair_angle_{name}"] = Result(float(of(angles)) if pairs else np.nan, pairs)
    return {
        name: counted(result._replace(undefined=absent), len(vectors))
        for name, result in results.items()
    }


def angles_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Angle between the directions of each row of a and of b, (C,) radians; NaN where either is
    NaN.
    """
    return np.arccos(np.clip(np.einsum("ij,ij->i", unit(a), unit(b)), -1, 1))


def neural_collapse(
    class_vectors: np.ndarray,
    means: np.ndarray,
    target: np.ndarray | None = None,
    drawn_from: int | None = None,
) -> dict[str, Result]:
    """How close class vectors and class means (C, D) are to a frame; 0 is collapse.

    `nc/W_deviation`, `nc/means_deviation`, `nc/centred_deviation`: mean of |cos - target| over
    pairs of classes, in [0, 2], each with its `_std`; centred are the means less their mean over
    classes. `nc/self_duality`: |W / |W| - M / |M||^2 with Frobenius norms, M the centred means, in
    [0, 4]. Classes with NaN (no samples) are left out and counted.

    Args:
        target: Cosines of the frame, (C, C); None for those of a simplex, -1 / (C - 1).
        drawn_from: C of the simplex, where these are a sample of its classes.

    Source: Papyan et al. 2020; Liang & Davis 2023.
    """
    size, kept = len(means), present(means) & present(class_vectors)
    if target is None:
        target = np.full((size, size), -1 / max((drawn_from or size) - 1, 1))
    target, n = target[np.ix_(kept, kept)], int(kept.sum())
    centred = means[kept] - (means[kept].mean(axis=0) if n else 0)
    results, upper = {}, np.triu_indices(n, 1)
    for name, vectors in (("W", class_vectors[kept]), ("means", means[kept]), ("centred", centred)):
        deviation = mean_over_items(np.abs(pairwise_cosines(vectors) - target)[upper])
        spread = (
            float(np.abs(pairwise_cosines(vectors) - target)[upper].std())
            if deviation.n
            else np.nan
        )
        results |= {
            f"nc/{name}_deviation": deviation,
            f"nc/{name}_deviation_std": deviation._replace(value=spread),
        }
    scaled = [ratio(vectors, np.linalg.norm(vectors)) for vectors in (class_vectors[kept], centred)]
    distance = float(((scaled[0] - scaled[1]) ** 2).sum()) if n else np.nan
    results["nc/self_duality"] = Result(distance, 0 if np.isnan(distance) else n)
    return {
        name: counted(result._replace(undefined=size - n), size) for name, result in results.items()
    }


def discriminability_of(outputs: Outputs) -> dict[str, Result]:
    """`var_inter`, `var_intra`, `discriminability` of the evaluated images; see
    `discriminability`.
    """
    return discriminability(
        *class_sums(outputs.embeddings, outputs.labels, outputs.hierarchy.num_classes)
    )


def angles_of(outputs: Outputs) -> dict[str, Result]:
    """`W/angle_true`, `W/intensity` ... and the same for prototypes (P), means over samples; see
    `embedding_angles`.
    """
    results = {}
    for prefix, vectors in vector_sets(outputs):
        samples = embedding_angles(outputs.embeddings, vectors, outputs.labels)
        results |= {
            f"{prefix}/{name}": mean_over_samples(values) for name, values in samples.items()
        }
    return results


def hypersphere_of(outputs: Outputs) -> dict[str, Result]:
    """`W/l_hp`, `W/pair_angle_mean` ..., the same for P, and `proxy_prototype_angle`; see
    `hypersphere`.
    """
    results = {}
    for prefix, vectors in vector_sets(outputs):
        results |= {f"{prefix}/{name}": result for name, result in hypersphere(vectors).items()}
    if outputs.prototypes is not None:
        angles = angles_between(outputs.class_vectors, outputs.prototypes)
        results["proxy_prototype_angle"] = mean_over_items(angles)
    return results


def neural_collapse_of(outputs: Outputs) -> dict[str, Result]:
    """Neural collapse of the class vectors and of the means of the evaluated embeddings; see
    `neural_collapse`.
    """
    sums, _, counts = class_sums(
        outputs.embeddings, outputs.labels, outputs.hierarchy.num_classes, normalise=False
    )
    means = ratio(sums, counts[:, None])
    return neural_collapse(outputs.class_vectors, means, drawn_from=outputs.drawn_from)


_describes_distance = kind(DESCRIBES, GEOMETRY, "0 to 4")
_describes_share = kind(DESCRIBES, GEOMETRY, SHARE)
_describes_angle = kind(DESCRIBES, GEOMETRY, "0 to pi radians")
_describes_correlation = kind(DESCRIBES, GEOMETRY, "-1 to 1")
_describes_to_two = kind(DESCRIBES, GEOMETRY, "0 to 2")
MEASURES = (
    _describes_distance(
        "var_inter", "Mean squared distance between the mean embeddings of two classes."
    ),
    _describes_share(
        "var_intra", "Mean squared distance of the embeddings from the mean of their class."
    ),
    Measure(
        "discriminability",
        HIGHER,
        GEOMETRY,
        "0 or more",
        "Variance of the embeddings between classes over that within classes.",
    ),
    _describes_angle(
        "angle_true", "Mean angle between an embedding and the vector of its true class."
    ),
    _describes_angle(
        "angle_nearest", "Mean angle between an embedding and the nearest class vector."
    ),
    _describes_angle(
        "angle_nearest_wrong",
        "Mean angle between an embedding and the nearest vector of a wrong class.",
    ),
    _describes_angle("angle_mean", "Mean angle between an embedding and all class vectors."),
    _describes_share(
        "intensity",
        "How typical embeddings are of the nearest class: 1 on its vector, 0 on the border to"
        " another class.",
    ),
    _describes_correlation(
        "l_hp", "Largest cosine of a class vector with another one, averaged over the classes."
    ),
    _describes_correlation("sep", "Largest cosine between any two class vectors."),
    _describes_share(
        "resultant",
        "Length of the mean direction of the class vectors: 0 if they are spread evenly.",
    ),
    Measure(
        "l_unif",
        DESCRIBES,
        GEOMETRY,
        "any number",
        "Logarithm of the sum of exp(cosine) over all pairs of class vectors: smaller if they are"
        " spread more evenly.",
    ),
    _describes_angle("pair_angle_mean", "Mean angle between two class vectors."),
    _describes_angle("pair_angle_std", "Standard deviation of the angles between class vectors."),
    _describes_angle("pair_angle_min", "Smallest angle between two class vectors."),
    _describes_angle("pair_angle_max", "Largest angle between two class vectors."),
    _describes_angle(
        "proxy_prototype_angle",
        "Angle between the vector of a class and the mean direction of its training images,"
        " averaged over the classes.",
    ),
    _describes_to_two(
        "nc/W_deviation",
        "Neural collapse: how far the cosines of the class vectors are from those of the most"
        " evenly spread frame, on average; 0 is collapse.",
    ),
    _describes_share(
        "nc/W_deviation_std",
        "Neural collapse: standard deviation over pairs of how far the cosines of the class vectors"
        " are from those of the most evenly spread frame.",
    ),
    _describes_to_two(
        "nc/means_deviation",
        "Neural collapse: how far the cosines of the class means are from those of the most evenly"
        " spread frame, on average; 0 is collapse.",
    ),
    _describes_share(
        "nc/means_deviation_std",
        "Neural collapse: standard deviation over pairs of how far the cosines of the class means"
        " are from those of the most evenly spread frame.",
    ),
    _describes_to_two(
        "nc/centred_deviation",
        "Neural collapse: how far the cosines of the centred class means are from those of the most"
        " evenly spread frame, on average; 0 is collapse.",
    ),
    _describes_share(
        "nc/centred_deviation_std",
        "Neural collapse: standard deviation over pairs of how far the cosines of the centred class"
        " means are from those of the most evenly spread frame.",
    ),
    _describes_distance(
        "nc/self_duality",
        "Neural collapse: squared distance between the class vectors and the centred class means,"
        " each scaled to length 1; 0 is collapse.",
    ),
)
METRICS: dict[str, Callable[[Outputs], dict[str, Result]]] = {
    "discriminability": discriminability_of,
    "angles": angles_of,
    "hypersphere": hypersphere_of,
    "neural_collapse": neural_collapse_of,
}
OF_PAIRS = ("hypersphere", "neural_collapse")  # of classes, see `suite.OF_PAIRS`
