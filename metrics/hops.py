"""HOPS: how well the whole ranking of the classes follows their distances from the truth."""

from collections.abc import Callable

import numpy as np

from metrics.measure import DESCRIBES, HIGHER, SHARE, TREE, Measure, kind
from metrics.outputs import Outputs
from metrics.posterior import row_blocks
from metrics.result import Result, mean_over_samples

AT = (5, 20)  # positions of the truncated values that published tables give


def tiers(distances: np.ndarray) -> np.ndarray:
    """Number of smaller distances that occur in the row: 0 for the class itself, 1 for its nearest
    others, and so on; (C, C) int16.

    Args:
        distances: (C, C) table in edges, int, 0 on its diagonal and nowhere else.
    """
    table = np.empty(distances.shape, np.int16)
    for row, values in zip(table, distances):
        occurs = np.zeros(int(values.max(initial=0)) + 1, np.int16)
        occurs[values] = 1
        row[:] = (occurs.cumsum() - 1)[values]
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
    classes, labels = outputs.hierarchy.num_classes, outputs.labels
    cuts = {f"hops@{k}": min(k, classes) for k in AT} | {"hops": classes}
    values = {name: np.empty(len(labels)) for name in cuts}
    tied = np.empty(len(labels), bool)
    by_class = np.argsort(labels, kind="stable")  # a block has few classes, and each few blocks
    for block in row_blocks(len(labels), classes):
        rows = by_class[block]
        order, tied[rows] = _order(outputs.scores[rows])
        present, truths = np.unique(labels[rows], return_inverse=True)
        table = tiers(outputs.lca_height[present])
        ideal = np.sort(table, axis=1)  # tiers in the best order
        weights = np.stack([position_weights(np.bincount(row)) for row in ideal])
        tier = table[truths[:, None], order]
        for name, k in cuts.items():
            lost = _loss(weights[truths], ideal[truths], tier[:, :k])
            most = _loss(weights, ideal, ideal[:, :k][:, ::-1])[truths]
            with np.errstate(invalid="ignore", divide="ignore"):
                share = np.where(most > 0, 1 - lost / most, tier[:, 0] == 0)
            values[name][rows] = np.clip(share, 0.0, 1.0)
    return {
        **{name: mean_over_samples(value) for name, value in sorted(values.items())},
        "hops_ties": mean_over_samples(tied),
    }


def _order(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Classes by falling score, equal ones by class, (rows, C); whether a row has equal ones,
    (rows,).

    Of float32 a key is sorted whose upper half falls with the score and whose lower half is the
    class: several times as fast as a stable sort of the scores.
    """
    if scores.dtype != np.float32:
        order = np.argsort(-scores, axis=1, kind="stable")
        ranked = np.take_along_axis(scores, order, axis=1)
        return order, (ranked[:, 1:] == ranked[:, :-1]).any(axis=1)
    bits = (scores + np.float32(0)).view(np.uint32)  # -0 has become 0
    negative = bits >> 31 == 1
    falling = np.where(negative, bits, ~bits & np.uint32(0x7FFFFFFF))
    keys = falling.astype(np.uint64) << np.uint64(32)
    keys |= np.arange(scores.shape[1], dtype=np.uint64)
    keys.sort(axis=1)
    upper = keys >> np.uint64(32)
    return (keys & np.uint64(0xFFFFFFFF)).astype(np.int64), (upper[:, 1:] == upper[:, :-1]).any(1)


def _loss(weights: np.ndarray, ideal: np.ndarray, tier: np.ndarray) -> np.ndarray:
    """Weighted difference of the tiers in the first positions, (rows,)."""
    k = tier.shape[1]
    return np.einsum("sk,sk->s", weights[:, :k], np.abs(ideal[:, :k] - tier).astype(np.float64))


_higher = kind(HIGHER, TREE, SHARE)
MEASURES = (
    _higher(
        "hops",
        "How well the order of all classes by score follows their distance from the true class in"
        " the tree; 1 is the ideal order.",
    ),
    _higher(
        "hops@{k}",
        "How well the k most probable classes follow the order of distance from the true class in"
        " the tree; 1 is the ideal order.",
    ),
    Measure(
        "hops_ties",
        DESCRIBES,
        TREE,
        SHARE,
        "Share of the images with equal scores of two classes, whose order by score is then that"
        " of the list of classes.",
    ),
)
METRICS: dict[str, Callable[[Outputs], Result | dict[str, Result]]] = {"hops": hops}
