"""The superclass loss with any node weighting, and the hierarchical cross-entropy HXE."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hierarchies import WEIGHTINGS, Hierarchy, node_weights
from hierarchies.weights import HXE_ALPHA, is_normalised
from losses.base import full_precision
from losses.inner_targets import class_within, target_paths
from losses.segments import TINY, Cut, LevelMasses, level_sizes, row_sums
from losses.tree_loss import TreeLoss
from registry import Option, natural, one_of

IMPOSSIBLE = 1e15  # a loss above it stands for infinity: that of a target with a score of -inf


class PathLoss(TreeLoss):
    """-sum over the nodes v on the path to the true class of share_v log p(v | parent of v), batch
    mean, in nats.

    With S_l the mass up to level l, and share_l that of the node whose siblings are level l:

        sum over l of share_l log(S_l / S_(l-1)) = sum over l of (share_l - share_(l+1)) log S_l,

    the former for the value, as it keeps the digits of a loss of 1e-12, the latter for the slopes.

    Args:
        hierarchy: The class tree.
        shares (C + N, H): share_v for the nodes from depth 1 down to each class, then to each node
            as a label, 0 below it; >= 0.
    """

    one_kernel = "path_losses"

    def __init__(self, hierarchy: Hierarchy, shares: np.ndarray):
        super().__init__(hierarchy)
        # A node without siblings is certain given its parent; its share must not meet the 0/0 of an
        # impossible parent.
        sizes = level_sizes(hierarchy)[class_within(hierarchy)]
        shares = np.where(sizes[:, 1:] > 0, shares[:, ::-1], 0.0)
        steps = -np.diff(shares, axis=1, prepend=0.0, append=0.0)
        weights = np.concatenate([shares, steps], axis=1)
        self._table("weights", torch.from_numpy(weights))  # (C + N, 2 H + 1), outwards

    def tables(self, targets: Tensor) -> tuple:
        return self.weights, targets, TINY, IMPOSSIBLE

    def rows(
        self, scores: Tensor, targets: Tensor, cut: Cut, differentiate: bool
    ) -> tuple[Tensor, Tensor]:
        terms, weights = torch.empty_like(scores), self.weights_of(targets)
        shares, steps = weights.tensor_split([self.tree.depth], dim=1)
        levels = LevelMasses.of(
            [segments.masses(scores[part], terms[part]) for part, segments in cut]
        )
        losses = row_sums(shares, levels.surprises)
        if levels.tops is not None:
            losses.masked_fill_(losses > IMPOSSIBLE, torch.inf)
        if differentiate:
            slopes = levels.slopes(steps)
            for part, segments in cut:
                segments.multiply(slopes[part], terms[part])
        return losses, terms

    def weights_of(self, targets: Tensor) -> Tensor:
        """Shares (B, H) and their steps (B, H + 1) for the targets (B,), outwards, side by side."""
        return self.weights.index_select(0, targets)  # in a fifth of the time of an index


class Hierarchical(PathLoss):
    """-sum over the nodes v on the path to the true class of w_v log P(v), P(v) the mass below v;
    batch mean, in nats.

    A label at an inner node has the weight of all below it: 1 - the weights above, or, of a
    weighting that does not sum to 1, its own.

    Args:
        hierarchy: The class tree.
        weighting: Name of the node weights w, see `hierarchies.weights`. Every weighting that sums
            to 1 makes the loss cross-entropy on a tree of depth 1.
        decay, leaf_height, hxe_alpha: Options of the weighting that takes them; None is its
            default.
        switch_epoch: Number of epochs of plain cross-entropy before this loss takes over (30 in
            Urbani et al.).

    Shape: scores (B, C), targets (B,) int64 -> scalar >= 0. Half-precision scores are computed in
    float32.
    Raises: ValueError: If an option is out of range or not one of the weighting's.
    Source: Urbani et al. 2024. A proper scoring rule; strictly so if all classes have positive
    weight.
    """

    paper_name = "Hier. loss"
    summary = "cross-entropy on all levels of the tree"
    options = (
        WEIGHTINGS.option,
        Option(
            "switch_epoch",
            natural,
            0,
            "EPOCHS",
            "epochs of cross-entropy before --loss hierarchical takes over",
        ),
    )

    def __init__(self, hierarchy: Hierarchy, **options: float | str | None):
        options = self.settle(options)
        switch_epoch = options.pop("switch_epoch")
        weights = node_weights(hierarchy, **options)
        paths = target_paths(hierarchy)
        on_path = np.where(paths < 0, 0.0, weights[paths])  # (C + N, H)
        if is_normalised(hierarchy, weights):
            inner = np.arange(hierarchy.num_nodes)[1:]  # the root is on no path
            rows, last = hierarchy.num_classes + inner, hierarchy.depth[inner] - 1
            on_path[rows, last] += 1 - on_path[rows].sum(axis=1)
            on_path.clip(0.0, out=on_path)  # what rounding left
        # -log P(v) is the sum of the surprises down to v, so a surprise counts with all the weight
        # from there on.
        super().__init__(hierarchy, np.cumsum(on_path[:, ::-1], axis=1)[:, ::-1])
        self.switch_epoch, self.epoch = switch_epoch, 0

    @property
    def replayable(self) -> bool:
        """Not before it took over."""
        return self.epoch >= self.switch_epoch and super().replayable

    def set_epoch(self, epoch: int) -> None:
        """Cross-entropy in epochs below `switch_epoch`, counted from 0, the hierarchical loss from
        then on.
        """
        self.epoch = epoch

    def forward(self, scores: Tensor, targets: Tensor) -> Tensor:
        if self.epoch < self.switch_epoch:
            scores = full_precision(scores)
            if self.check(scores, targets):
                return self.pool.entropy(scores, targets)
            return F.cross_entropy(scores, targets)
        return super().forward(scores, targets)


HXE_WEIGHTS = {
    "depth": lambda tree, alpha: np.exp(-alpha * tree.depth),
    "normalised": lambda tree, alpha: (
        np.exp(-alpha * tree.depth) / np.exp(-alpha * tree.depth).sum()
    ),
    "parent": lambda tree, alpha: np.exp(-alpha * (tree.depth - 1)),
    "height": lambda tree, alpha: np.exp(-alpha * tree.height),
}


class HXE(PathLoss):
    """-sum over the nodes v on the path to the true class of lambda_v log p(v | parent of v), batch
    mean, in nats.

    Args:
        hierarchy: The class tree.
        hxe_alpha: Decay of lambda, per edge, >= 0; 0 is cross-entropy.
        hxe_weights: What lambda is. "depth": exp(-hxe_alpha d(v)), as in Urbani et al.
            "normalised": that divided by its sum over all nodes, the root included, as in
            Bertinetto et al.'s code. "parent": exp(-hxe_alpha d(parent of v)), as in Valmadre.
            "height": exp(-hxe_alpha h(v)), as Bertinetto et al.'s paper words it. The first three
            differ by a constant, which changes the effective learning rate.

    Shape: scores (B, C), targets (B,) int64 -> scalar >= 0. Half-precision scores are computed in
    float32.
    Raises: ValueError: If hxe_alpha is negative or hxe_weights unknown.
    Source: Bertinetto et al. 2020; Urbani et al. 2024; Valmadre 2022. A node without siblings adds
        nothing, but moves all below it one level down. For a label at an inner node the path ends
        there.
    """

    paper_name = "HXE"
    summary = "cross-entropy on all levels, conditional on the one above"
    options = (
        HXE_ALPHA,
        Option(
            "hxe_weights",
            one_of(HXE_WEIGHTS),
            "depth",
            help="weights of --loss hxe, which decay with the depth of a node or of its parent, so"
            " that all sum to 1 (normalised), or with its height",
        ),
    )

    def __init__(self, hierarchy: Hierarchy, **options: float | str | None):
        options = self.settle(options)
        weights = HXE_WEIGHTS[options["hxe_weights"]](hierarchy, options["hxe_alpha"])
        paths = target_paths(hierarchy)
        super().__init__(hierarchy, np.where(paths < 0, 0.0, weights[paths]))
