"""Cross-entropy against targets softened by the tree: soft labels and hierarchical label
smoothing.
"""

import numpy as np
import torch
from torch import Tensor

from hierarchies import WEIGHTINGS, Hierarchy, node_weights
from hierarchies.weights import cumulative, is_normalised
from losses.inner_targets import class_within, means_below
from losses.segments import LOWEST, Cut, Segments, join, level_nodes, level_sizes
from losses.tree_loss import TreeLoss
from registry import Option, fraction, nonnegative, one_of

BLOCK = 256  # rows of a table of all classes that are held at a time


class SoftTargetLoss(TreeLoss):
    """-sum over the classes j of q_yj log p_j, where q_yj depends on the segment of y that j is in;
    batch mean, nats.

    Computed as mass_y L + sum over j of q_yj (max score - score_j), L = log(1 + sum over all but
    the best class of exp(score - max score)): every term is >= 0, so nothing cancels and a loss of
    1e-12 keeps its digits.

    The q of an inner node is the mean of those of the classes below it, and what they have below it
    is pooled: scored by the node's log P.

    Args:
        hierarchy: The class tree.
        q (C + N, H + 1): Target probability of a class in each level of each target y, outwards;
            >= 0. Of an inner node all that is pooled, then 0 up to the node.
        mass (C + N,): Sum of q_yj over j; None for 1.
    """

    one_kernel = "soft_target_losses"

    def __init__(self, hierarchy: Hierarchy, q: np.ndarray, mass: np.ndarray | None = None):
        super().__init__(hierarchy)
        self._table("q", torch.from_numpy(q))
        self._table("mass", torch.from_numpy(np.ones(len(q)) if mass is None else mass))

    def tables(self, targets: Tensor) -> tuple:
        return self.q, self.mass, targets, LOWEST

    def rows(
        self, scores: Tensor, targets: Tensor, cut: Cut, differentiate: bool
    ) -> tuple[Tensor, Tensor]:
        gradient, mass = torch.empty_like(scores), self.mass.index_select(0, targets)
        losses = []
        for part, segments in cut:
            x, below = scores[part], gradient[part]
            labels = self.labels(segments, targets[part], scores.dtype)
            largest, best = segments.best(x)
            torch.sub(x, largest.clamp_(min=LOWEST), out=below)
            missed = segments.weighted_sum(labels, below)
            ratios = below.exp_()  # p / p of the best class
            others = ratios.scatter_(1, best, 0.0).sum(dim=1).double()
            losses.append(mass[part] * others.log1p() - missed)
            if differentiate:
                factor = mass[part].div(others.add_(1.0)).div_(len(scores)).to(scores.dtype)
                ratios.scatter_(1, best, 1.0).mul_(factor[:, None])
                ratios.sub_(labels, alpha=1 / len(scores))
        return join(losses), gradient

    def marginals(self, counts: np.ndarray) -> np.ndarray:
        """Sum over the classes y of counts_y q_yj / (sum over k of q_yk), (C,)."""
        total = np.zeros(self.num_classes)
        for first in range(0, self.num_classes, BLOCK):
            classes = torch.arange(first, min(first + BLOCK, self.num_classes))
            q = self.distribution(classes).numpy()
            total += counts[classes.numpy()] @ (q / q.sum(axis=1, keepdims=True))
        return total

    def distribution(self, targets: Tensor) -> Tensor:
        """The target distributions (B, C) in float64, classes in class order; that of an inner node
        has all below it at the class that stands for it.
        """
        return join(
            [
                self.labels(segments, targets[part], torch.float64)
                for part, segments in self.tree.cut(self.pool.within[targets])
            ]
        )

    def labels(self, segments: Segments, targets: Tensor, dtype: torch.dtype) -> Tensor:
        """The target distributions (B, C), classes in class order."""
        return segments.spread(self.q.index_select(0, targets).to(dtype))


class SoftLabels(SoftTargetLoss):
    """Cross-entropy against q_yj = exp(-soft_beta hL(y, j) / max hL), normalised over j; hL the
    height of the lowest common ancestor. Batch mean, in nats.

    Args:
        hierarchy: The class tree.
        soft_beta: Hardness of the labels, >= 0; 0 is the uniform distribution, infinity
            cross-entropy. 4 to 30 in Bertinetto et al.
        soft_labels_variant: "bertinetto", or "urbani": the distance is max(d(y), d(j)) - d(lca) in
            edges, not divided by its maximum, and the table is normalised over y instead of j, so
            that the labels do not sum to 1.

    Shape: scores (B, C), targets (B,) int64 -> scalar >= 0. Half-precision scores are computed in
    float32.
    Raises: ValueError: If soft_beta is negative or not finite, or the variant unknown.
    Source: Bertinetto et al. 2020, whose code divides by C beyond that; Urbani et al. 2024, code of
    their baseline.
    """

    paper_name = "Soft labels"
    summary = "targets that fall off with the distance in the tree"
    options = (
        Option(
            "soft_beta",
            nonnegative,
            10.0,
            "RATE",
            "how sharply the targets of --loss soft_labels fall off with the distance in the tree;"
            " 0 is uniform, the limit of large ones is --loss ce",
        ),
        Option(
            "soft_labels_variant",
            one_of(("bertinetto", "urbani")),
            "bertinetto",
            help="whose soft labels: by the height of the common ancestor (bertinetto), or by the"
            " path to it (urbani)",
        ),
    )

    def __init__(self, hierarchy: Hierarchy, **options: float | str | None):
        options = self.settle(options)
        soft_beta = options["soft_beta"]
        factor, depth_row = None, None
        if options["soft_labels_variant"] == "bertinetto":
            super().__init__(hierarchy, _labels_by_height(hierarchy, soft_beta))
        else:
            q, factor, depth_row, mass = _labels_by_path(hierarchy, soft_beta)
            super().__init__(hierarchy, q, mass)
            factor, depth_row = torch.from_numpy(factor), torch.from_numpy(depth_row)
        if factor is not None:
            self.one_kernel = None
        self._table("factor", factor)  # (R, C), a row for all targets with the same depths
        self._table("depth_row", depth_row)  # (C + N,)

    def labels(self, segments: Segments, targets: Tensor, dtype: torch.dtype) -> Tensor:
        """The target distributions (B, C), classes in class order; those of the urbani variant do
        not sum to 1.
        """
        labels = super().labels(segments, targets, dtype)
        return labels if self.factor is None else labels * self.factor[self.depth_row[targets]]


class LabelSmoothing(SoftTargetLoss):
    """Cross-entropy against (1 - smoothing) onehot(y) + smoothing (1 - dW(y, j)) / sum over k of (1
    - dW(y, k)).

    dW is half the weighted path length, 0 at y itself and 1 where only the root is shared; so a
    flat tree leaves plain cross-entropy. Batch mean, in nats.

    Args:
        hierarchy: The class tree.
        smoothing: Share of the target that is spread over the tree, in [0, 1]; 0 is cross-entropy.
        weighting: Name of the node weights behind dW; one that sums to 1 on every path.
        decay, leaf_height: Options of the weighting that takes them; None is its default.

    Shape: scores (B, C), targets (B,) int64 -> scalar >= 0. Half-precision scores are computed in
    float32.
    Raises: ValueError: If smoothing is outside [0, 1], or the weighting does not sum to 1 or does
    not take an option.
    Source: Urbani et al. 2024, whose code always uses balanced weights.
    """

    paper_name = "Label smoothing"
    summary = "a share of the target is spread over the tree"
    options = (
        Option(
            "smoothing",
            fraction,
            0.1,
            "SHARE",
            "share of the target that --loss label_smoothing spreads over the tree; 0 is"
            " cross-entropy",
        ),
        WEIGHTINGS.option,
    )

    def __init__(self, hierarchy: Hierarchy, **options: float | str | None):
        options = self.settle(options)
        smoothing = options.pop("smoothing")
        weights = node_weights(hierarchy, **options)
        if not is_normalised(hierarchy, weights):
            raise ValueError(
                "label_smoothing needs a weighting that sums to 1 on every path,"
                f" {options['weighting']!r} does not; take for example balanced or power"
            )
        similar = cumulative(hierarchy, weights)[level_nodes(hierarchy)[:, :-1]]  # (C, H), 1 - dW
        similar = _outwards(np.ones(len(similar)), similar)
        q = smoothing * similar / (similar * level_sizes(hierarchy)).sum(axis=1, keepdims=True)
        q[:, 0] += 1 - smoothing
        super().__init__(hierarchy, _with_inner(hierarchy, q))


def _labels_by_height(hierarchy: Hierarchy, beta: float) -> np.ndarray:
    """exp(-beta hL / max hL) in the levels of each class, rows normalised, then those of inner
    nodes: (C + N, H + 1).
    """
    sizes = level_sizes(hierarchy)
    height = hierarchy.height[level_nodes(hierarchy)[:, :-1]]  # (C, H)
    height = _outwards(np.zeros(len(height)), height)
    q = np.exp(-beta * height / height[sizes > 0].max(initial=1))
    return _with_inner(hierarchy, q / (q * sizes).sum(axis=1, keepdims=True))


def _with_inner(hierarchy: Hierarchy, q: np.ndarray) -> np.ndarray:
    """The targets of classes (C, H + 1), then those of inner nodes: their means over the classes
    below, with what is below pooled: (C + N, H + 1).
    """
    pooled = _pool(hierarchy, means_below(hierarchy, q), q * level_sizes(hierarchy))
    return np.concatenate([q, pooled])


def _pool(hierarchy: Hierarchy, outside: np.ndarray, masses: np.ndarray) -> np.ndarray:
    """Rows (N, H + 1) of inner nodes, outwards: all that is below the node, from the masses (C, H +
    1) of levels of classes, then 0, then from where the node ends as given.
    """
    levels = np.arange(hierarchy.max_depth, -1, -1)  # depth of the ancestor that spans the level
    below = levels >= hierarchy.depth[:, None]
    own = np.where(below, means_below(hierarchy, masses), 0.0).sum(axis=1)
    rows = np.where(below, 0.0, outside)
    rows[:, 0] = own
    return rows


def _labels_by_path(
    hierarchy: Hierarchy, beta: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """exp(-beta max_path(y, j)) / (its sum over y), max_path(y, j) = max(d(y), d(j)) - d(lca),
    without a C x C table; of an inner node its mean over the classes y below.

    Returns: What depends on the lca, exp(-beta (d(y) - d(lca))), of an inner node with the least
        d(y) (C + N, H + 1); the rest, which depends on j and the depths of y, (R, C); the row of
        each target in that, (C + N,); and the sum over j, (C + N,).
    """
    depth, levels = hierarchy.depth[hierarchy.leaves], np.arange(hierarchy.max_depth)
    depths, depth_row = np.unique(depth, return_inverse=True)
    column = np.ones(len(depth))
    for other in depths:
        count = _levels(hierarchy, (depth == other)[None], np.zeros_like(depth_row))
        distance = np.maximum(np.maximum(depth, other)[:, None] - levels, 0)
        column += (count * np.exp(-beta * distance)).sum(axis=1)
    one_depth = np.eye(len(depths))[depth_row]  # (C, depths)
    of_nodes = means_below(hierarchy, one_depth).round(12)  # shares of the classes below
    shares, row = np.unique(np.concatenate([one_depth, of_nodes]), axis=0, return_inverse=True)
    row = row.reshape(-1)
    least = depths[(shares > 0).argmax(axis=1)]  # (R,), the least depth of a class
    deeper = np.maximum(depths[:, None], depths) - least[:, None, None]  # (R, depths, depths)
    factor = np.einsum("rd,rde->re", shares, np.exp(-beta * np.maximum(deeper, 0)))
    factor = (factor[:, depth_row] / column).astype(np.float32)
    by_level = np.exp(-beta * np.maximum(least[row][:, None] - levels, 0))  # (C + N, H)
    classes = slice(0, len(depth))
    masses = _outwards(
        factor[row[classes], np.arange(len(depth))],
        _levels(hierarchy, factor, row[classes]) * by_level[classes],
    )
    q = _outwards(np.ones(len(row)), by_level)
    inner = _pool(hierarchy, q[len(depth) :], masses)
    inner[:, 0] /= factor[row, class_within(hierarchy)][len(depth) :]
    mass = masses.sum(axis=1)
    mass = np.concatenate([mass, means_below(hierarchy, mass)])
    return np.concatenate([q[classes], inner]), factor, row, mass


def _outwards(own: np.ndarray, by_depth: np.ndarray) -> np.ndarray:
    """Values of each target itself (T,) and at the depths of its ancestors (T, H) -> of its
    levels, (T, H + 1).
    """
    return np.concatenate([own[:, None], by_depth[:, ::-1]], axis=1)


def _levels(hierarchy: Hierarchy, values: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Sums of the row of values (R, C) that belongs to each class over the levels of the class: (C,
    H) float64.
    """
    before = np.cumsum(values[:, hierarchy.leaf_order], axis=1, dtype=np.float64)
    before = np.concatenate([np.zeros((len(values), 1)), before], axis=1)
    nodes = level_nodes(hierarchy)
    inside = (
        before[row[:, None], hierarchy.stop[nodes]] - before[row[:, None], hierarchy.start[nodes]]
    )
    return inside[:, :-1] - inside[:, 1:]
