"""The structured margin: the true class against all nodes, wrong ones with a handicap."""

from collections.abc import Collection

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hierarchies import Hierarchy
from losses.base import Loss, check_batch, full_precision
from losses.inner_targets import target_nodes
from losses.segments import TINY, Cut, join, level_nodes
from losses.tree_loss import TreeLoss
from registry import Option, nonnegative, one_of


class Margin(Loss):
    """log of the sum over all nodes v, the root included, of exp(z_v + margin_tau [v is wrong]) -
    z_y; "hard" has the largest of them for the sum, and 0 for what is negative. Batch mean, nats.

    A node is wrong unless it is the true class y or above it. Nodes above y compete with y. On a
    head with one posterior z_v is log P(v), the mass below v; there a label at an inner node acts
    as a leaf, below which there are no nodes.

    Args:
        hierarchy: The class tree.
        margin_kind: "soft" or "hard".
        margin_tau: Handicap, >= 0; 5 in the runs reported, 1 in the authors' class.

    Shape: node scores (B, N) or scores (B, C); targets (B,) int64 -> scalar >= 0.
    Source: Valmadre 2022.
    """

    inputs = ("node_scores",)
    inner_targets = "the nodes below a superclass can be neither right nor wrong"
    paper_name = "Margin"
    summary = "the true class against all nodes, wrong ones with a handicap"
    options = (
        Option(
            "margin_kind",
            one_of(("soft", "hard")),
            "soft",
            help="whether all nodes compete in --loss margin, or the best alone",
        ),
        Option("margin_tau", nonnegative, 5.0, "NATS", "handicap of wrong nodes in --loss margin"),
    )

    def __init__(self, hierarchy: Hierarchy, **options: float | str | None):
        super().__init__(hierarchy)
        options = self.settle(options)
        self.tau, self.hard = options["margin_tau"], options["margin_kind"] == "hard"
        self.num_nodes = hierarchy.num_nodes
        right = torch.from_numpy(level_nodes(hierarchy))  # (C, H + 1), the root first
        self.register_buffer("right", right, persistent=False)

    @classmethod
    def on(cls, offered: Collection[str]) -> type[Loss]:
        return cls if "node_scores" in offered else _MarginOfPosterior

    def forward(self, scores: Tensor, targets: Tensor) -> Tensor:
        check_batch(scores, targets, self.num_nodes)
        scores, right = full_precision(scores), self.right[targets]
        handicapped = (scores + self.tau).scatter(1, right, scores.gather(1, right))
        own = scores.gather(1, right[:, -1:])[:, 0]
        if self.hard:
            return (handicapped.amax(dim=1) - own).clamp(min=0).mean()
        return (handicapped.logsumexp(dim=1) - own).mean()


class _MarginOfPosterior(TreeLoss):
    """With z_v = log P(v) the sum over all nodes is that over the classes c of p_c a_yc, a_yc the
    number of right nodes on the path of c, the root included, plus exp(margin_tau) that of wrong
    ones: cross-entropy with the handicaps log a_yc.
    """

    options, summary = Margin.options, Margin.summary

    def __init__(self, hierarchy: Hierarchy, **options: float | str | None):
        super().__init__(hierarchy)
        options = self.settle(options)
        self.tau, self.hard = options["margin_tau"], options["margin_kind"] == "hard"
        own = hierarchy.depth[target_nodes(hierarchy)].astype(np.float64)
        # of the levels outwards, how deep what a class of it shares with y is
        shared = np.minimum(own[:, None], np.arange(hierarchy.max_depth, -1, -1.0))
        # a_yc exp(-tau) = depth of c - shared depth + exp(-tau) (1 + shared depth)
        self.rest = float(np.exp(-self.tau))
        self._table("shared", torch.from_numpy((1 - self.rest) * shared))  # (C + N, H + 1)
        self._table("own", torch.from_numpy((own + 1) * self.rest)[:, None])  # (C + N, 1)
        depth = hierarchy.depth[hierarchy.leaves] + self.rest
        self._table("depth", torch.from_numpy(depth))  # (C,)
        inner = np.flatnonzero(hierarchy.height > 0)
        place = np.full(hierarchy.num_nodes, len(inner))  # of classes: beyond the last
        place[inner] = np.arange(len(inner))
        tables = {"start": hierarchy.start[inner], "stop": hierarchy.stop[inner]}
        tables |= {"right": place[level_nodes(hierarchy)]}  # (C, H + 1)
        for name, table in tables.items():
            self._table(name, torch.from_numpy(np.array(table)))

    def rows(
        self, scores: Tensor, targets: Tensor, cut: Cut, differentiate: bool
    ) -> tuple[Tensor, Tensor]:
        if self.hard:
            return self._hard_rows(scores, targets, cut)
        gradient, losses = torch.empty_like(scores), []
        for part, segments in cut:
            shared = segments.spread(self.shared[targets[part]].to(scores.dtype))
            handicap = self.depth.to(scores.dtype) - shared
            own = self.pool.within[targets[part]][:, None]
            handicap.scatter_(1, own, self.own[targets[part]].to(scores.dtype))
            x = handicap.log_().add_(scores[part])
            total = x.logsumexp(dim=1, keepdim=True)
            losses.append((total - scores[part].gather(1, own))[:, 0].double() + self.tau)
            if differentiate:
                slopes = torch.sub(x, total, out=gradient[part]).exp_().div_(len(scores))
                slopes.scatter_add_(1, own, torch.full_like(total, -1 / len(scores)))
        return join(losses), gradient

    def _hard_rows(self, scores: Tensor, targets: Tensor, cut: Cut) -> tuple[Tensor, Tensor]:
        """The root has log P = 0, so -log p itself competes with the wrong node v of most mass: the
        slopes of the first are p - onehot, those of log P(v) - log p are p / P(v) below v - onehot.
        """
        gradient, losses = torch.empty_like(scores), []
        for part, _ in cut:
            x = scores[part]
            own = self.pool.within[targets[part]][:, None]
            p = torch.softmax(x, dim=1, out=gradient[part])
            surprise = x.logsumexp(dim=1, keepdim=True) - x.gather(1, own)
            wrong, first, last = self._worst(p, own)
            decides = wrong * np.exp(self.tau) > 1
            most = torch.where(decides, self.tau + wrong.clamp(min=TINY).log(), 0.0)
            losses.append((surprise + most)[:, 0].double())
            below = (self.tree.places >= first) & (self.tree.places < last)
            factor = torch.where(decides, 1 / wrong.clamp(min=TINY), 1.0).div_(len(scores))
            p.mul_(factor).masked_fill_(decides & ~below, 0.0)
            p.scatter_add_(1, own, torch.full_like(factor, -1 / len(scores)))
        return join(losses), gradient

    def _worst(self, p: Tensor, own: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The most mass of a wrong node, and where its classes begin and end, (b, 1) each."""
        value, chosen = p.scatter(1, own, -1.0).max(dim=1, keepdim=True)
        first = self.tree.places[chosen]
        in_order = p if self.tree.order is None else p.index_select(1, self.tree.order)
        sums = F.pad(in_order.cumsum(dim=1, dtype=torch.float64), (1, 0))
        # differences of sums are exact enough: such a node decides only where its mass is large
        masses = sums.index_select(1, self.stop) - sums.index_select(1, self.start)
        masses = F.pad(masses, (0, 1)).scatter_(1, self.right[own[:, 0]], -1.0)
        mass, node = masses[:, :-1].max(dim=1, keepdim=True)
        inner = mass > value
        value = torch.where(inner, mass.to(value.dtype), value).clamp(min=0.0)
        last = torch.where(inner, self.stop[node], first + 1)
        return value, torch.where(inner, self.start[node], first), last
