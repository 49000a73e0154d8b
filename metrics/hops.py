"""HOPS: how well the whole ranking of the classes follows their distances from the truth."""

from collections.abc import Callable

import numpy as np

from metrics.measure import DESCRIBES, HIGHER, SHARE, TREE, Measure
from metrics.outputs import Outputs
from metrics.posterior import row_blocks
from metrics.result import Result, mean_over_samples

AT = (5, 20)  # positions of the truncated values that published tables give


def tiers(distances: np.ndarray) -> np.ndarray:
    """Number of smaller distances that occur in the row: 0 for the class itself, 1 for its nearest
    others, and so on; (C, C) int16.

    Args:
        distances: (C, C) table, 0 on its diagonal and nowhere else.
    """
    table = np.empty(distances.shape, np.int16)
    for row, values in zip(table, distances):
        row[:] = np.unique(values, return_inverse=True)[1]
    return table


def position_weights(sizes: np.ndarray) -> np.ndarray:
    """Weights of the positions of a ranking whose ideal order has `sizes[r]` classes in tier r,
    (C,).

    The first position of tier r weighs 2^-r. Along a tier the weight falls linearly towards that of
    the next tier, along the last one towards 0, and neither is reached. Tier 0 is the class itself.
    """
    first = 0.5 ** np.arange(len(sizes) + 1)
    first[-1] = 0.0
    return np.concatenate(
        [
            first[r] + (first[r + 1] - first[r]) * np.arange(size) / size
            for r, size in enumerate(sizes)
        ]
    )


def hops(outputs: Outputs) -> dict[str, Result]:
    """`hops`, and `hops@k` of the first k positions: 1 - sum w |ideal tier - tier| / (the same for
    the ideal order reversed), at least 0, mean over samples; in [0, 1], higher is better.

    The tier of a class counts the smaller distances (heights of the lowest common ancestor) from
    the truth, w are `position_weights`. `hops@k` sums over k positions above and below the line,
    where only these k are reversed, so it reaches 0 early. `hops@1` would be 0/0 and is accuracy,
    as it is for a single class. The reversed order is not always the worst, so values below 0 are
    cut. `hops_ties` is the share of samples with two classes of equal scores, whose order is that
    of the classes.

    Source: Sani & Anand 2025 (Hier-COS) and their code.
    """
    tree, labels, scores = outputs.hierarchy, outputs.labels, outputs.scores
    table = tiers(outputs.lca_height)
    ideal = np.sort(table, axis=1)  # (C, C), tiers in the best order
    weights = np.stack([position_weights(np.bincount(row)) for row in ideal])
    cuts = {f"hops@{k}": min(k, tree.num_classes) for k in AT} | {"hops": tree.num_classes}
    worst = {name: _loss(weights, ideal, ideal[:, :k][:, ::-1]) for name, k in cuts.items()}
    values = {name: np.empty(len(labels)) for name in cuts}
    tied = np.empty(len(labels), bool)
    for rows in row_blocks(len(labels), tree.num_classes):
        order = np.argsort(-scores[rows], axis=1, kind="stable")
        ranked = np.take_along_axis(scores[rows], order, axis=1)
        tied[rows] = (ranked[:, 1:] == ranked[:, :-1]).any(axis=1)
        truths = labels[rows]
        tier = table[truths[:, None], order]
        for name, k in cuts.items():
            lost = _loss(weights[truths], ideal[truths], tier[:, :k])
            most = worst[name][truths]
            with np.errstate(invalid="ignore", divide="ignore"):
                share = np.where(most > 0, 1 - lost / most, tier[:, 0] == 0)
            values[name][rows] = np.clip(share, 0.0, 1.0)
    return {
        **{name: mean_over_samples(value) for name, value in sorted(values.items())},
        "hops_ties": mean_over_samples(tied),
    }


def _loss(weights: np.ndarray, ideal: np.ndarray, tier: np.ndarray) -> np.ndarray:
    """Weighted difference of the tiers in the first positions, (rows,)."""
    k = tier.shape[1]
    return np.einsum("sk,sk->s", weights[:, :k], np.abs(ideal[:, :k] - tier).astype(np.float64))


MEASURES = (
    Measure(
        "hops",
        HIGHER,
        TREE,
        SHARE,
        "How well the order of all classes by score follows their distance from the true class in"
        " the tree; 1 is the ideal order.",
    ),
    Measure(
        "hops@{k}",
        HIGHER,
        TREE,
        SHARE,
        "How well the k most probable classes follow the order of distance from the true class in"
        " the tree; 1 is the ideal order.",
    ),
    Measure(
        "hops_ties",
        DESCRIBES,
        TREE,
        SHARE,
        "Share of the images with equal scores of two classes, whose order in hops is that of the"
        " classes.",
    ),
)
METRICS: dict[str, Callable[[Outputs], Result | dict[str, Result]]] = {"hops": hops}
