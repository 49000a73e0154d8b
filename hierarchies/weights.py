"""Node weights (Urbani et al. 2024, Bertinetto et al. 2020): one number for every node of the tree,
0 at the root.

Notation: d depth (root 0), h height (leaf 0), H height of the tree, n number of classes below a
node, C classes, and
r the mass left for a node, 1 minus the weights above it. All weightings but n_leaves, bertinetto,
ones and hxe sum to 1 on every path from the root to a class.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from hierarchies.tree import Hierarchy
from registry import Option, Registry, defaults, natural, nonnegative, settle

DECAY = Option(
    "decay",
    nonnegative,
    0.5,
    "FACTOR",
    "of --weighting power: weight of a level, as a factor of the one above",
)
LEAF_HEIGHT = Option(
    "leaf_height",
    natural,
    0,
    "EDGES",
    "of --weighting leaf: height up to which nodes have weight, in edges",
)
HXE_ALPHA = Option(
    "hxe_alpha",
    nonnegative,
    0.1,
    "RATE",
    "decay of the weights with depth, per edge, of --loss hxe (0 is cross-entropy) and of"
    " --weighting hxe or bertinetto",
)


def balanced(hierarchy: Hierarchy) -> np.ndarray:
    """w = r / (h + 1): every node shares what is left evenly with the longest path below it."""
    return _from_shares(hierarchy, 1.0 / (hierarchy.height + 1.0))


def power(hierarchy: Hierarchy, *, decay: float) -> np.ndarray:
    """w = r (1 - q) / (1 - q^(h + 1)) with q = decay >= 0, so that w is proportional to q^d along a
    longest path.

    0 puts all mass at depth 1, below 1 favours the top, 1 is `balanced`, and ever larger values
    approach cross-entropy.
    """
    if decay == 1:
        return balanced(hierarchy)
    height = hierarchy.height.astype(np.float64)
    # The sum of q^0 .. q^h, written so that nothing overflows and nothing cancels when q is close
    # to 1.
    rate = -abs(np.log(decay)) if decay > 0 else -np.inf
    share = np.expm1(rate) / np.expm1((height + 1) * rate)
    return _from_shares(hierarchy, share if decay < 1 else share * np.exp(height * rate))


def lazy(hierarchy: Hierarchy) -> np.ndarray:
    """w = 1/H inside and (H - d + 1)/H at a class: classes near the root keep the rest. 1 - cum(v)
    = 1 - d/H inside.
    """
    at_leaf = hierarchy.max_depth - hierarchy.depth + 1
    return np.where(is_leaf(hierarchy), at_leaf, 1) / hierarchy.max_depth


def greedy(hierarchy: Hierarchy) -> np.ndarray:
    """w = (h(parent) - h) / H: the weight goes to the top as early as the height drops. 1 - cum(v)
    = h/H.
    """
    return (hierarchy.height[hierarchy.parent] - hierarchy.height) / hierarchy.max_depth


def top_bottom(hierarchy: Hierarchy) -> np.ndarray:
    """The mean of `greedy` and `lazy`."""
    return (greedy(hierarchy) + lazy(hierarchy)) / 2


def leaf_proportion(hierarchy: Hierarchy) -> np.ndarray:
    """w = (n(parent) - n) / C inside and n(parent) / C at a class. 1 - cum(v) = n/C inside."""
    above = hierarchy.n_leaves[hierarchy.parent]
    return np.where(is_leaf(hierarchy), above, above - hierarchy.n_leaves) / hierarchy.num_classes


def leaf(hierarchy: Hierarchy, *, leaf_height: int) -> np.ndarray:
    """w = 0 where h > leaf_height and r / (h + 1) elsewhere; a leaf_height of 0 is
    cross-entropy.
    """
    return _from_shares(
        hierarchy, np.where(hierarchy.height > leaf_height, 0.0, 1.0 / (hierarchy.height + 1.0))
    )


def n_leaves(hierarchy: Hierarchy) -> np.ndarray:
    """w = 1/n, and 0 at a node with one child. Does not sum to 1."""
    return np.where(hierarchy.n_children == 1, 0.0, 1.0 / hierarchy.n_leaves)


def bertinetto(hierarchy: Hierarchy, *, hxe_alpha: float) -> np.ndarray:
    """w = exp(-hxe_alpha d). Does not sum to 1."""
    return np.exp(-hxe_alpha * hierarchy.depth)


def ones(hierarchy: Hierarchy) -> np.ndarray:
    """w = 1. Sums to the depth of the class."""
    return np.ones(hierarchy.num_nodes)


def hxe(hierarchy: Hierarchy, *, hxe_alpha: float) -> np.ndarray:
    """w = exp(-hxe_alpha d), times 1 - exp(-hxe_alpha) inside. Sums to exp(-hxe_alpha).

    The superclass loss with these weights is the hierarchical cross-entropy of Bertinetto et al.
    2020.
    """
    return np.exp(-hxe_alpha * hierarchy.depth) * np.where(
        is_leaf(hierarchy), 1.0, -np.expm1(-hxe_alpha)
    )


class Weighting(NamedTuple):
    """A function (hierarchy, **options) -> weights (N,), and the options that it takes."""

    weights: Callable[..., np.ndarray]
    options: tuple[Option, ...] = ()


WEIGHTINGS = Registry(
    Option(
        "weighting",
        default="balanced",
        help="node weights of --loss hierarchical and label_smoothing",
    ),
    {
        "balanced": Weighting(balanced),
        "power": Weighting(power, (DECAY,)),
        "lazy": Weighting(lazy),
        "greedy": Weighting(greedy),
        "top_bottom": Weighting(top_bottom),
        "leaf_proportion": Weighting(leaf_proportion),
        "leaf": Weighting(leaf, (LEAF_HEIGHT,)),
        "n_leaves": Weighting(n_leaves),
        "bertinetto": Weighting(bertinetto, (HXE_ALPHA,)),
        "ones": Weighting(ones),
        "hxe": Weighting(hxe, (HXE_ALPHA,)),
    },
    spoken="weighting",
)


def weighting_options(weighting: str) -> dict[str, float]:
    """The options that a weighting takes, with their defaults. Raises: ValueError: If the name is
    unknown.
    """
    return defaults(WEIGHTINGS.find(weighting).options, {})


def node_weights(
    hierarchy: Hierarchy, weighting: str = "balanced", **options: float | None
) -> np.ndarray:
    """The weights of all nodes, (N,) float64, read-only, 0 at the root.

    Args:
        hierarchy: The class tree.
        weighting: A name from `WEIGHTINGS`.
        options: What the weighting takes: `decay` (power), `leaf_height` in edges (leaf),
            `hxe_alpha` per edge (bertinetto, hxe). None means the default.

    Raises: ValueError: If the name is unknown, or an option is out of range or not one of the
    weighting's.
    Source: Urbani et al. 2024; Bertinetto et al. 2020 for bertinetto and hxe.
    """
    chosen = WEIGHTINGS.find(weighting)
    settled = settle(chosen.options, options, f"the weighting {weighting!r}")
    weights = np.array(chosen.weights(hierarchy, **settled), dtype=np.float64)
    weights[0] = 0.0
    weights.flags.writeable = False
    return weights


def cumulative(hierarchy: Hierarchy, weights: np.ndarray) -> np.ndarray:
    """cum(v), the sum of the weights from the root down to each node, itself included: (N,)
    float64.

    Raises: ValueError: If there is not one finite weight >= 0 for every node.
    """
    weights = np.asarray(weights, dtype=np.float64)
    if weights.shape != (hierarchy.num_nodes,):
        raise ValueError(
            f"weights must have shape ({hierarchy.num_nodes},), one for each node, got"
            f" {weights.shape}"
        )
    if not (np.isfinite(weights) & (weights >= 0)).all():
        wrong = weights[~(np.isfinite(weights) & (weights >= 0))]
        raise ValueError(f"node weights must be finite and >= 0, got {wrong[:3]}")
    total = weights.tolist()
    for node, above in enumerate(hierarchy.parent.tolist()):
        if node:
            total[node] += total[above]
    return np.array(total)


def is_normalised(hierarchy: Hierarchy, weights: np.ndarray) -> bool:
    """Whether the weights sum to 1, up to 1e-9, on every path from the root to a class (the root's
    weight left out).
    """
    below_root = cumulative(hierarchy, weights)[hierarchy.leaves] - weights[0]
    return bool(np.allclose(below_root, 1.0, rtol=0, atol=1e-9))


def is_leaf(hierarchy: Hierarchy) -> np.ndarray:
    """Whether each node is a class, (N,) bool."""
    return hierarchy.class_of >= 0


def _from_shares(hierarchy: Hierarchy, share: np.ndarray) -> np.ndarray:
    """Weights where every node below the root takes its share of the mass left over by the nodes
    above it.
    """
    left, keeps = [1.0] * hierarchy.num_nodes, (1.0 - share).tolist()
    for node, above in enumerate(hierarchy.parent.tolist()):
        if node:
            left[node] = left[above] * (keeps[above] if above else 1.0)
    return np.array(left) * share
