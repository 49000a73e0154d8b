"""The superclass loss with any node weighting, and the hierarchical cross-entropy HXE."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hierarchies import WEIGHTINGS, Hierarchy, node_weights
from hierarchies.weights import HXE_ALPHA
from losses.base import check_batch, full_precision
from losses.segments import fold, segment_reduce, spread, unfold
from losses.tree_loss import TreeLoss
from registry import Option, natural, one_of

SAFE = np.exp(
    -32.0
)  # p(target) / max p above which one shift for the whole row keeps every digit of float32
IMPOSSIBLE = -1e30  # stands for log 0: finite, so that differences of two of them are no NaN


class PathLoss(TreeLoss):
    """-sum over the nodes v on the path to the true class of share_v log p(v | parent of v), batch
    mean, in nats.

    Every term is -log(1 - q) = log(1 + A / S) with S the mass of v and A that of its siblings, both
    sums of positive
    numbers: nothing cancels, so a loss of 1e-12 keeps its digits.

    Args:
        hierarchy: The class tree.
        shares (C, H): share_v for the nodes from depth 1 down to each class, 0 below it; >= 0.
    """

    def __init__(self, hierarchy: Hierarchy, shares: np.ndarray):
        super().__init__(hierarchy)
        # A node without siblings is certain given its parent; its share must not meet the 0/0 of an
        # impossible parent.
        shares = np.where(fold(self.lengths.numpy()) > 0, shares, 0.0)
        self._table("shares", torch.from_numpy(shares))
        depth, segment = (
            np.arange(hierarchy.max_depth + 1),
            np.arange(2 * hierarchy.max_depth + 1)[:, None],
        )
        nested = (segment >= depth) & (
            segment <= 2 * hierarchy.max_depth - depth
        )  # segments below each ancestor
        self._table("nested", torch.from_numpy(nested.astype(np.float64)))
        self._table("above", torch.from_numpy(-(depth[:-1, None] < depth).astype(np.float64)))

    def rows(
        self, scores: Tensor, targets: np.ndarray, differentiate: bool
    ) -> tuple[np.ndarray, np.ndarray | None]:
        parts, p, sums = self.parts(targets), torch.empty_like(scores), []
        for part, cut in parts:
            torch.softmax(scores[part], dim=1, out=p[part])
            sums.append(cut.sum(self.in_order(p[part].numpy())))
        losses, slopes = self._combine(
            np.concatenate(sums), self.shares.numpy().take(targets, axis=0)
        )
        if not differentiate:
            return losses, None
        slopes /= len(scores)
        p = p.numpy()
        for part, cut in parts:
            p[part] *= self.in_class_order(cut.spread(slopes[part], p.dtype))
        return losses, p

    def _combine(self, sums: np.ndarray, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Masses (B, 2 H + 1) of the segments, shares (B, H) -> losses (B,), and what to multiply p
        by per segment.
        """
        inside, own = sums @ self.nested.numpy(), sums[:, shares.shape[1]]  # S, (B, H + 1)
        ratio = fold(sums) / inside[:, 1:]  # A / S
        losses = np.einsum("bh,bh->b", shares, np.log1p(ratio))
        losses[~(own > SAFE)] = np.nan
        # d loss / d score of a class on level l: p (share_l / S_l - sum over k < l of share_k A_k /
        # (S_k S_k+1))
        shares /= inside[:, :-1]
        ratio *= shares
        slopes = ratio @ self.above.numpy()
        slopes[:, :-1] += shares
        return losses, unfold(slopes[:, :-1], slopes[:, -1])

    def plain(self, scores: Tensor, targets: Tensor) -> Tensor:
        x = scores if self.order is None else scores.index_select(1, self.order)
        lengths, shares = self.lengths[targets], self.shares[targets]
        top = segment_reduce(x.detach(), lengths, "max").clamp(min=IMPOSSIBLE)
        sums = segment_reduce(
            (x - spread(top, lengths, self.num_classes)).exp(), lengths, "sum"
        ).double()
        top = top.double() - x.detach().amax(dim=1, keepdim=True).clamp(min=IMPOSSIBLE)
        logs = torch.where(sums == 0, IMPOSSIBLE, sums.where(sums != 0, 1.0).log() + top)  # (B, K)
        depth = shares.shape[1]
        side = torch.logaddexp(logs[:, :depth], logs[:, depth + 1 :].flip(1))
        inside = (
            torch.cat([side, logs[:, depth : depth + 1]], dim=1).flip(1).logcumsumexp(dim=1).flip(1)
        )
        surprise = F.softplus(side - inside[:, 1:], threshold=40)  # (B, H), -log p(v | parent of v)
        surprise = torch.where(inside[:, 1:] < IMPOSSIBLE / 2, torch.inf, surprise)
        return torch.where(shares > 0, shares * surprise, 0.0).sum(dim=1)


class Hierarchical(PathLoss):
    """-sum over the nodes v on the path to the true class of w_v log P(v), P(v) the mass below v;
    batch mean, in nats.

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
        on_path = np.where(hierarchy.path_table < 0, 0.0, weights[hierarchy.path_table])  # (C, H)
        # -log P(v) is the sum of the surprises down to v, so a surprise counts with all the weight
        # from there on.
        super().__init__(hierarchy, np.cumsum(on_path[:, ::-1], axis=1)[:, ::-1])
        self.switch_epoch, self.epoch = switch_epoch, 0

    def set_epoch(self, epoch: int) -> None:
        """Cross-entropy in epochs below `switch_epoch`, counted from 0, the hierarchical loss from
        then on.
        """
        self.epoch = epoch

    def forward(self, scores: Tensor, targets: Tensor) -> Tensor:
        if self.epoch < self.switch_epoch:
            check_batch(scores, targets, self.num_classes)
            return F.cross_entropy(full_precision(scores), targets)
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
        nothing, but moves all below it one level down.
    """

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
        super().__init__(
            hierarchy, np.where(hierarchy.path_table < 0, 0.0, weights[hierarchy.path_table])
        )
