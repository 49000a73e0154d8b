"""Losses of heads that score each level of the tree by itself, and what becomes of them where all
levels have one posterior.
"""

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hierarchies import Hierarchy
from hierarchies.levels import cut, levels
from losses.base import Loss, full_precision
from losses.flat import CrossEntropy
from losses.gradients import times
from losses.hierarchical import PathLoss
from losses.inner_targets import class_within, target_nodes, target_paths
from registry import Option, nonnegative

LEVEL_DECAY = Option(
    "level_decay",
    nonnegative,
    0.0,
    "RATE",
    "levels count exp(-level_decay) less for each step from the classes upwards; 0 counts all"
    " alike",
)
SMALLEST = 1e-7  # probability of a mixture, as in HAF's code
TINY = 1e-30  # probability whose logarithm stands for that of 0, which has an infinite slope


class LevelSum(Loss):
    """The sum over the levels of a loss of scores, each on the tree that ends at that level: what
    such a loss becomes on a head with scores for every level.

    A label at an inner node is a member of the levels down to its own; on those below it is a label
    at an inner node still.

    Args:
        kind: The loss.
        hierarchy: The class tree.
        options: Of the loss.
        weights: Factor of each level; None for 1.

    Shape: level scores, a tuple of (B, K) from the top to the classes, targets (B,) int64 ->
    scalar.
    """

    inputs = ("level_scores",)

    def __init__(
        self,
        kind: type[Loss],
        hierarchy: Hierarchy,
        options: Mapping[str, object],
        weights: Sequence[float] | None = None,
    ):
        self.inner_targets = kind.inner_targets  # which the base's constructor looks at
        super().__init__(hierarchy)
        self.weights = [1.0] * hierarchy.max_depth if weights is None else weights
        self.columns = _Columns(hierarchy)
        self.parts = nn.ModuleList(
            kind(cut(hierarchy, level), **options) for level in levels(hierarchy)
        )
        self.reduction = self.parts[-1].reduction

    def set_epoch(self, epoch: int) -> None:
        for part in self.parts:
            part.set_epoch(epoch)

    def forward(self, scores: Sequence[Tensor], targets: Tensor) -> Tensor:
        self.check(scores[-1], targets)
        total = 0.0
        for weight, part, one, column in zip(
            self.weights, self.parts, scores, self.columns(targets)
        ):
            part.coarse = self.coarse
            total = total + weight * part(one, column)
        return total


class LevelCE(LevelSum):
    """The sum over the levels of cross-entropy, exp(-level_decay) less for each step upwards; batch
    mean, in nats.

    A class that ends above the last level counts on all levels below, too. On a head with one
    posterior the cross-entropy of a level is -log of the mass below its member: a superclass loss.

    Args:
        hierarchy: The class tree.
        level_decay: >= 0; 0 is the plain sum, infinity cross-entropy of the classes.

    Shape: level scores, a tuple of (B, K) from the top to the classes, or scores (B, C); targets
    (B,) int64 -> scalar >= 0.
    Source: Chang et al. 2021 (Flamingo).
    """

    inner_targets = True
    paper_name = "Level CE"
    summary = "the sum of cross-entropies on all levels"
    options = (LEVEL_DECAY,)

    def __init__(self, hierarchy: Hierarchy, **options: float | None):
        weights = level_weights(hierarchy, self.settle(options)["level_decay"])
        super().__init__(CrossEntropy, hierarchy, {}, weights)

    @classmethod
    def on(cls, offered: Collection[str]) -> type[Loss]:
        return cls if "level_scores" in offered else _LevelCEOfPosterior


class _LevelCEOfPosterior(PathLoss):
    options = LevelCE.options
    summary = LevelCE.summary

    def __init__(self, hierarchy: Hierarchy, **options: float | None):
        weights = level_weights(hierarchy, self.settle(options)["level_decay"])
        super().__init__(hierarchy, level_shares(hierarchy, weights))


class TK(Loss):
    """The sum of cross-entropies on all H levels, plus tk_weight times KL(t || q): q the softmax
    over the scores of all levels side by side, t 1/H at the true member of each. Batch mean, nats.

    On a head with one posterior, whose log probabilities of nodes are the scores of levels, KL is
    the mean of the levels' cross-entropies.

    Args:
        hierarchy: The class tree.
        tk_weight: >= 0; 0 is `LevelCE`.

    Shape: level scores, a tuple of (B, K) from the top to the classes, or scores (B, C); targets
    (B,) int64 -> scalar >= 0.
    Source: Park et al. 2025 (H-CAST).
    """

    inputs = ("level_scores",)
    inner_targets = "its divergence needs a true member on every level"
    paper_name = "TK"
    summary = "that sum, and a softmax over the scores of all levels side by side"
    options = (
        Option(
            "tk_weight",
            nonnegative,
            0.5,
            "FACTOR",
            "factor of the divergence over all levels side by side in --loss tk",
        ),
    )

    def __init__(self, hierarchy: Hierarchy, **options: float | None):
        super().__init__(hierarchy)
        self.columns = _Columns(hierarchy)
        self.weight = self.settle(options)["tk_weight"]

    @classmethod
    def on(cls, offered: Collection[str]) -> type[Loss]:
        return cls if "level_scores" in offered else _TKOfPosterior

    def forward(self, scores: Sequence[Tensor], targets: Tensor) -> Tensor:
        self.check(scores[-1], targets)
        scores = [full_precision(one) for one in scores]
        columns = self.columns(targets)
        own = torch.stack([one.gather(1, c[:, None])[:, 0] for one, c in zip(scores, columns)], 1)
        sums = torch.stack([one.logsumexp(dim=1) for one in scores], dim=1)  # (B, H)
        apart = (sums - own).sum(dim=1)
        together = sums.logsumexp(dim=1) - own.mean(dim=1) - math.log(len(scores))
        return (apart + self.weight * together).mean()


class _TKOfPosterior(PathLoss):
    options = TK.options
    summary = TK.summary

    def __init__(self, hierarchy: Hierarchy, **options: float | None):
        height = hierarchy.max_depth
        weight = 1 + self.settle(options)["tk_weight"] / height
        super().__init__(hierarchy, level_shares(hierarchy, [weight] * height))


class HAF(Loss):
    """Cross-entropy of the classes, and three terms on each level k above them: how far its
    posterior p_k is from the sums q_k of the finer one, how alike images of different members are,
    and how far its vectors point from the sums of their children's.

        CE + sum over k of [JSD(q_k, p_k) + M_k - mean over v of cos(w_v, sum of w_children)]

    M_k is the mean over pairs of images with different labels on level k of max(0, haf_margin -
    KL(p || m)), m the mean of both images' posteriors, over both ways round. KL to m is at most log
    2: with the published margin of 3 it is never closed and M_k is 3 - JSD. Pairs are neighbours in
    a random order of the batch, as in the authors' code, which fills up with pairs of zeros, a
    constant, where there are fewer than 256.

    Args:
        hierarchy: The class tree.
        haf_margin: >= 0.

    Shape: level scores, a tuple of (B, K), and level vectors, a tuple of (K, D), both from the top
    to the classes; targets (B,) int64 -> scalar.
    Source: Garg et al. 2022 (HAF).
    """

    inputs = ("level_scores", "level_vectors")
    separate = False
    replayable = False  # pairs are drawn at random
    inner_targets = "its pairs need a member on every level"
    mixes = "it compares pairs of images by the classes of both, and a mixture has two"
    paper_name = "HAF"
    summary = "levels that agree, of which superclasses lie among their classes"
    options = (
        Option(
            "haf_margin",
            nonnegative,
            3.0,
            "NATS",
            "up to which divergence --loss haf drives posteriors of different superclasses apart",
        ),
    )

    def __init__(self, hierarchy: Hierarchy, **options: float | None):
        super().__init__(hierarchy)
        self.margin = self.settle(options)["haf_margin"]
        self.columns = _Columns(hierarchy)
        found = levels(hierarchy)
        self.sizes = [len(level.nodes) for level in found]
        starts = np.cumsum([0, *self.sizes])[:-1]
        # side by side, the levels above the classes; and what each member of a finer one is part of
        self._table("level", np.repeat(np.arange(len(found) - 1), self.sizes[:-1]))
        above = [starts[k] + finer.above for k, finer in enumerate(found[1:])]
        self._table("above", np.concatenate([np.zeros(0, np.int64), *above]))
        shares = np.repeat([1 / size for size in self.sizes[:-1]], self.sizes[:-1])
        self._table("share", shares.astype(np.float32))

    def forward(
        self, scores: Sequence[Tensor], vectors: Sequence[Tensor], targets: Tensor
    ) -> Tensor:
        self.check(scores[-1], targets)
        columns = self.columns(targets)
        log_p = torch.cat([full_precision(one).log_softmax(dim=1) for one in scores], dim=1)
        loss = _HAFOfPosteriors.apply(log_p, columns, self)
        directions = F.normalize(torch.cat(tuple(vectors)), dim=1)
        upper, finer = directions[: len(self.level)], directions[self.sizes[0] :]
        sums = F.normalize(torch.zeros_like(upper).index_add(0, self.above, finer), dim=1)
        return loss - (self.share * (upper * sums).sum(dim=1)).sum()

    def of_posteriors(self, log_p: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy and the terms of the posteriors, and their gradient.

        With m = (p + q) / 2 the slopes of KL(p || m) are log(p / m) + 1 - p / (2 m) in p and
        -p / (2 m) in q; so those of JSD are half of log(p / m) and of log(q / m).

        Args:
            log_p (B, M): Of all levels side by side.
            columns (H, B): The true member on each level.
        """
        batch, upper = len(log_p), len(self.level)
        loss = F.nll_loss(log_p[:, -self.sizes[-1] :], columns[-1])
        p = log_p.exp()
        slopes = torch.zeros_like(p)  # in p
        if upper:
            own, finer = p[:, :upper], p[:, self.sizes[0] :]
            sums = torch.zeros_like(own).index_add_(1, self.above, finer)
            log_m = ((own + sums) / 2).clamp_(min=SMALLEST).log_()
            in_own = log_p[:, :upper] - log_m
            in_sums = sums.clamp(min=TINY).log_().sub_(log_m)
            loss = loss + ((own * in_own).sum() + (sums * in_sums).sum()) / (2 * batch)
            slopes[:, :upper] = in_own
            slopes[:, self.sizes[0] :] += in_sums.index_select(1, self.above)
            slopes /= 2 * batch
            order = torch.randperm(batch).to(log_p.device)
            value, of_pairs = self._apart(
                own[order], log_p[order, :upper], columns[:-1, order].T.contiguous()
            )
            loss = loss + value
            slopes[:, :upper].index_add_(0, order, of_pairs)
        slopes *= p  # in log p
        last = columns[-1][:, None] + upper
        slopes.scatter_add_(1, last, torch.full_like(last, -1 / batch, dtype=p.dtype))
        return loss, slopes

    def _apart(self, p: Tensor, log_p: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The sum of M_k for neighbours in p (B, M), and its slopes (B, M)."""
        differ = (labels[:-1] != labels[1:]).to(p.dtype)  # (B - 1, H - 1)
        weights = differ / (2 * differ.sum(dim=0).clamp(min=1))
        first, second = p[:-1], p[1:]
        m = ((first + second) / 2).clamp_(min=SMALLEST)
        log_m = m.log()
        slopes, value, parts = torch.zeros_like(p), 0.0, []
        for one, log_one in ((first, log_p[:-1]), (second, log_p[1:])):
            surprise = log_one - log_m
            sizes = self.sizes[:-1]
            apart = torch.stack([x.sum(dim=1) for x in (one * surprise).split(sizes, dim=1)], dim=1)
            value = value + (weights * (self.margin - apart).clamp(min=0)).sum()
            counts = (weights * (apart < self.margin)).index_select(1, self.level)
            parts.append((surprise, one / (2 * m), counts))
        for (surprise, share, own), (_, other_share, other), rows in (
            (parts[0], parts[1], slopes[:-1]),
            (parts[1], parts[0], slopes[1:]),
        ):
            rows -= own * (surprise + 1 - share) - other * other_share
        return value, slopes

    def _table(self, name: str, values: np.ndarray) -> None:
        self.register_buffer(name, torch.from_numpy(values), persistent=False)


class _HAFOfPosteriors(torch.autograd.Function):
    """What HAF asks of posteriors, its gradient by hand: a third of the passes over them."""

    @staticmethod
    def forward(ctx, log_p: Tensor, columns: Tensor, loss: HAF) -> Tensor:
        value, slopes = loss.of_posteriors(log_p.detach(), columns)
        ctx.save_for_backward(slopes)
        return value

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_output: Tensor) -> tuple[Tensor, None, None]:
        (slopes,) = ctx.saved_tensors
        return times(slopes, grad_output), None, None


def level_weights(hierarchy: Hierarchy, decay: float) -> list[float]:
    """exp(-decay (H - l)) for the levels l = 1 to H."""
    return [math.exp(-decay * up) for up in reversed(range(hierarchy.max_depth))]


def level_shares(hierarchy: Hierarchy, weights: Sequence[float]) -> np.ndarray:
    """The shares of a `PathLoss` that is the sum over the levels of weight times -log P(member),
    (C + N, H).
    """
    left = np.cumsum(weights[::-1])[::-1]  # what counts from a level on
    return np.where(target_paths(hierarchy) < 0, 0.0, left)


class _Columns(nn.Module):
    """What targets (B,) are on each level, from the top to the classes: a member, or K + v for the
    node v of the tree that ends there.
    """

    def __init__(self, hierarchy: Hierarchy):
        super().__init__()
        table = []
        nodes, classes = target_nodes(hierarchy)[hierarchy.num_classes :], class_within(hierarchy)
        for depth, level in enumerate(levels(hierarchy), 1):
            ended = cut(hierarchy, level)
            numbers = {ended.path(v): v for v in range(ended.num_nodes)}
            inner = [
                len(level.nodes) + numbers[hierarchy.path(v)]
                if hierarchy.depth[v] < depth and hierarchy.class_of[v] < 0
                else level.column[c]
                for v, c in zip(nodes, classes[hierarchy.num_classes :])
            ]
            table.append(np.concatenate([level.column, inner]))
        self.register_buffer("table", torch.from_numpy(np.stack(table)), persistent=False)

    def forward(self, targets: Tensor) -> Tensor:
        return self.table[:, targets]  # (H, B)
