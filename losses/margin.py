"""The structured margin: the true class against all nodes, wrong ones with a handicap."""

from collections.abc import Collection

import numpy as np
import torch
from torch import Tensor

from hierarchies import Hierarchy
from losses.base import Loss, check_batch, full_precision
from losses.inner_targets import target_nodes
from losses.segments import TINY, Cut, Segments, join, level_nodes
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
        # no gradient passes through scatter: a shallow class is several times among the right ones
        handicapped = scores + torch.full_like(scores, self.tau).scatter_(1, right, 0.0)
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
        # superclasses that have the same classes are one; the root and those of a single class,
        # which need no sum, are an empty one, the first
        covers = np.stack([hierarchy.start, hierarchy.stop], axis=1)
        sizes = hierarchy.n_leaves
        covers[(sizes == 1) | (sizes == hierarchy.num_classes)] = 0
        covers, place = np.unique(np.concatenate([[[0, 0]], covers]), axis=0, return_inverse=True)
        place = place.reshape(-1)[1:]
        places = np.argsort(hierarchy.leaf_order)
        classes = np.stack([places, places + 1], axis=1)
        tables = {"start": covers[:, 0].copy(), "stop": covers[:, 1].copy()}
        tables |= {"right": place[level_nodes(hierarchy)]}  # (C, H + 1)
        tables |= {"covers": np.concatenate([covers, classes])}  # (V + C, 2)
        for name, table in tables.items():
            self._table(name, torch.from_numpy(table))

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
        gradient, losses, share = torch.empty_like(scores), [], 1 / len(scores)
        for part, segments in cut:
            x, classes = scores[part], self.pool.within.index_select(0, targets[part])
            own = classes[:, None]
            p = torch.softmax(x, dim=1, out=gradient[part])
            best, at = segments.best(x)
            surprise = best - p.gather(1, at).log_() - x.gather(1, own)
            mine = p.gather(1, own)
            wrong, first, last = self._worst(p.scatter_(1, own, 0.0), classes, segments)
            wrong.clamp_(min=TINY)
            most = (wrong.log() + self.tau).clamp_(min=0.0)
            losses.append((surprise + most)[:, 0].double())
            decides = most > 0
            inside = torch.where(decides, share / wrong, share)
            outside = torch.where(decides, 0.0, share)
            p.mul_(segments.spread_interval(first, last, inside, outside))
            p.scatter_(1, own, mine.mul_(outside).sub_(share))
        return join(losses), gradient

    def _worst(
        self, p: Tensor, classes: Tensor, segments: Segments
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The most mass of a wrong node, and where its classes begin and end, (b, 1) each; the true
        class has 0 in p.
        """
        value, chosen = segments.best(p)
        # differences of sums are exact enough: such a node decides only where its mass is large
        masses = segments.interval_sums(p, self.start, self.stop)
        masses.scatter_(1, self.right.index_select(0, classes), -1.0)
        mass, node = segments.best(masses)
        mass = mass.to(value.dtype)
        node = torch.where(mass > value, node, chosen + len(self.start))
        first, last = self.covers[node].unbind(dim=2)
        return torch.maximum(mass, value), first, last
