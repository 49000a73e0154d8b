"""Losses of heads that score each level of the tree by itself, and what becomes of them where all
levels have one posterior.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from hierarchies import Hierarchy
from hierarchies.levels import cut, levels
from losses.base import Loss, full_precision
from losses.flat import CrossEntropy
from losses.gradients import by_hand
from losses.hierarchical import PathLoss
from losses.inner_targets import target_paths
from losses.side_by_side import SideBySide, Stack
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
SHORTEST = 1e-12  # divides in place of a length of 0


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

    Shape: level scores (B, M), side by side from the top to the classes, targets (B,) int64 ->
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
        self.side = SideBySide(hierarchy)
        self.width = sum(self.side.sizes)
        factors = torch.tensor(self.weights, dtype=torch.float64)
        self.register_buffer("factors", factors, persistent=False)
        self.parts = nn.ModuleList(
            kind(cut(hierarchy, level), **options) for level in levels(hierarchy)
        )
        self.reduction = self.parts[-1].reduction

    @property
    def replayable(self) -> bool:
        """As those of all levels."""
        return all(part.replayable for part in self.parts)

    def set_epoch(self, epoch: int) -> None:
        for part in self.parts:
            part.set_epoch(epoch)

    def fuse(self) -> None:
        for part in self.parts:
            part.fuse()

    def marginals(self, counts: np.ndarray) -> np.ndarray:
        """Those of the classes, which decide."""
        return self.parts[-1].marginals(counts)

    def forward(self, scores: Tensor, targets: Tensor) -> Tensor:
        coarse = self.check(scores, targets)
        if isinstance(self.parts[-1], CrossEntropy) and not coarse:
            return by_hand(partial(self.entropies, targets), full_precision(scores))
        total = 0.0
        for weight, part, one, column in zip(
            self.weights, self.parts, self.side.split(scores), self.side.columns(targets)
        ):
            part.coarse = self.coarse
            total = total + weight * part(one, column)
        return total

    def entropies(self, targets: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """The sum of the cross-entropies of classes, and its gradient (B, M) in the scores of all
        levels side by side.
        """
        places = self.side.places(targets)
        x, terms, sums, _ = self.side.exponentials(scores)
        factors = self.factors.to(x.dtype)
        loss = ((sums.log() - x.gather(1, places)) * factors).sum(dim=1).mean()
        factors = factors / len(targets)
        gradient = terms.mul_(self.side.spread(factors / sums))
        return loss, gradient.scatter_add_(1, places, -factors.expand_as(places))


class LevelCE(LevelSum):
    """The sum over the levels of cross-entropy, exp(-level_decay) less for each step upwards; batch
    mean, in nats.

    A class that ends above the last level counts on all levels below, too. On a head with one
    posterior the cross-entropy of a level is -log of the mass below its member: a superclass loss.

    Args:
        hierarchy: The class tree.
        level_decay: >= 0; 0 is the plain sum, infinity cross-entropy of the classes.

    Shape: level scores (B, M), side by side from the top to the classes, or scores (B, C); targets
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

    Shape: level scores (B, M), side by side from the top to the classes, or scores (B, C); targets
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
        self.side = SideBySide(hierarchy)
        self.width = sum(self.side.sizes)
        self.weight = self.settle(options)["tk_weight"]

    @classmethod
    def on(cls, offered: Collection[str]) -> type[Loss]:
        return cls if "level_scores" in offered else _TKOfPosterior

    def forward(self, scores: Tensor, targets: Tensor) -> Tensor:
        self.check(scores, targets)
        return by_hand(partial(self.values, targets), full_precision(scores))

    def values(self, targets: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """The loss, and its gradient (B, M) in the scores of all levels side by side.

        With z_l the log of the sum of exp(score) over level l, the slopes of that of exp(z_l) over
        the levels are p_l times softmax(z)_l.
        """
        batch, height = len(targets), len(self.side.sizes)
        places = self.side.places(targets)
        x, terms, sums, tops = self.side.exponentials(scores)
        own, logs = x.gather(1, places), sums.log()
        apart = (logs - own).sum(dim=1)
        tops = tops - tops.amax(dim=1, keepdim=True)
        together = (logs + tops).logsumexp(dim=1) - (own + tops).mean(dim=1) - math.log(height)
        loss = (apart + self.weight * together).mean()
        factors = (logs + tops).softmax(dim=1).mul_(self.weight).add_(1).div_(sums * batch)
        gradient = terms.mul_(self.side.spread(factors))
        at_own = torch.full_like(own, -(1 + self.weight / height) / batch)
        return loss, gradient.scatter_add_(1, places, at_own)


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
    the batch, whose order is random in training. The authors' code draws another random order of
    it, and fills up with pairs of zeros, a constant, where there are fewer than 256.

    Args:
        hierarchy: The class tree.
        haf_margin: >= 0.

    Shape: level scores (B, M) and level vectors (M, D), both from the top to the classes; targets
    (B,) int64 -> scalar.
    Source: Garg et al. 2022 (HAF).
    """

    inputs = ("level_scores", "level_vectors")
    separate = False
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
        self.stack = Stack(hierarchy)
        sizes = self.stack.sizes
        self.width = sum(sizes)
        shares = np.repeat([1 / size for size in sizes[:-1]] + [0.0], [*sizes[:-1], 1])
        self._table("share", shares.astype(np.float32)[:, None])

    def forward(self, scores: Tensor, vectors: Tensor, targets: Tensor) -> Tensor:
        self.check(scores, targets)
        return by_hand(
            partial(self.values, targets), full_precision(scores), full_precision(vectors)
        )

    def values(
        self, targets: Tensor, scores: Tensor, vectors: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The loss, its gradient (B, M) in the scores of all levels side by side, and that (M, D)
        in the vectors.
        """
        of_posteriors, of_scores = self.of_posteriors(targets, scores)
        cosines, of_vectors = self.of_vectors(vectors)
        return of_posteriors - cosines, of_scores, of_vectors

    def of_posteriors(self, targets: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy and the terms of the posteriors, and their gradient (B, M) in the scores of
        all levels side by side.

        With m = (p + q) / 2 the slopes of KL(p || m) are log(p / m) + q / (2 m) in p and -p / (2 m)
        in q; so those of JSD are half of log(p / m) and of log(q / m). All these terms grow in
        proportion to the posteriors, so that each is the sum of p times its slopes.
        """
        stack, batch = self.stack, len(targets)
        upper = stack.upper
        last = (targets + upper)[None]  # (1, B)
        x, p, sums = stack.exponentials(stack.columns(scores))
        # posteriors are divided by 2 B from here on, for the mean and the half in JSD: their ratios
        # stay, and all terms are divided with them
        scale = 2 * batch
        logs = sums.mul_(scale).log()
        loss = (logs[-1:] - x.gather(0, last)).mean()
        p /= stack.spread(sums)
        of_sums = stack.of_children(p)
        own, q = p[:upper], of_sums[:upper]
        log_own = x[:upper].sub_(stack.spread(logs[:-1]))
        log_m = torch.lerp(own, q, 0.5).clamp_(min=SMALLEST / scale).log_()
        q.clamp_(min=TINY).log_().sub_(log_m)
        slopes = stack.to_children(of_sums)  # in p
        of_own = slopes[:upper].sub_(log_m)
        labels = stack.tables.labels.index_select(1, targets)
        loss = loss + self._apart(own, log_own, labels, of_own)
        slopes *= p  # in log p
        slopes.scatter_(0, last, -1 / batch, reduce="add")
        totals = stack.sums(slopes)
        # but for what the division adds to cross-entropy, and for its slopes' -1 / B of each image
        loss = loss + totals.sum() - (math.log(scale) - 1)
        slopes.addcmul_(p, stack.spread(totals), value=-scale)
        return loss, slopes.T  # a head's product takes it as it is

    def _apart(self, p: Tensor, log_p: Tensor, labels: Tensor, slopes: Tensor) -> Tensor:
        """Adds log p and the slopes of the M_k in p (M, B), posteriors divided by 2 B, to
        others, and returns what the sum of p times slopes leaves out of the M_k.
        """
        stack, batch, scale = self.stack, p.shape[1], 2 * p.shape[1]
        pairs = (labels[:, 1:] != labels[:, :-1]).to(p.dtype)
        pairs /= pairs.sum(dim=1, keepdim=True).clamp_(min=1) / batch
        counts = p.new_zeros(labels.shape)
        left, right = p[:, :-1], p[:, 1:]
        m = torch.lerp(left, right, 0.5).clamp_(min=SMALLEST / scale)
        if self.margin > math.log(2):  # which no divergence exceeds
            log_m = m.log_().mul_(stack.spread(pairs))
            for images in (slice(None, -1), slice(1, None)):
                counts[:, images].add_(pairs)
                slopes[:, images].add_(log_m)
        else:
            log_m, wide = m.log(), []
            for one, images in ((left, slice(None, -1)), (right, slice(1, None))):
                apart = stack.sums(one * (log_p[:, images] - log_m))
                closer = pairs * (apart < self.margin / scale)
                counts[:, images].add_(closer)
                wide.append(stack.spread(closer))
                slopes[:, images].addcmul_(log_m, wide[-1])
            uneven = (wide[0] - wide[1]).div_(m.mul_(2))
            slopes[:, :-1].addcmul_(uneven, right, value=-1)
            slopes[:, 1:].addcmul_(uneven, left)
        slopes.addcmul_(log_p, stack.spread(1 - counts))
        return self.margin / scale * counts.sum()

    def of_vectors(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """The sum over the levels of the mean cosine of the vector of a member with the sum of the
        directions of its children, and the gradient (M, D) of less that in the vectors of all
        levels.
        """
        stack = self.stack
        lengths = torch.linalg.vector_norm(vectors, dim=1, keepdim=True).clamp_(min=SHORTEST)
        directions = vectors / lengths
        sums = stack.of_children(directions)
        own = directions[: len(sums)]  # one too many, whose share is 0
        length = torch.linalg.vector_norm(sums, dim=1, keepdim=True).clamp_(min=SHORTEST)
        share = self.share.to(vectors.dtype) / length
        cosines = torch.linalg.vecdot(own, sums)[:, None].mul_(share)  # times their share
        of_sums = (sums * (cosines / length / length)).addcmul_(own, share, value=-1)
        slopes = stack.to_children(of_sums)  # in directions
        slopes[: len(sums)].addcmul_(sums, share, value=-1)
        along = torch.linalg.vecdot(slopes, directions)[:, None]
        return cosines.sum(), slopes.addcmul_(directions, along, value=-1).div_(lengths)

    def _table(self, name: str, values: np.ndarray) -> None:
        self.register_buffer(name, torch.from_numpy(values), persistent=False)


def level_weights(hierarchy: Hierarchy, decay: float) -> list[float]:
    """exp(-decay (H - l)) for the levels l = 1 to H."""
    return [math.exp(-decay * up) for up in reversed(range(hierarchy.max_depth))]


def level_shares(hierarchy: Hierarchy, weights: Sequence[float]) -> np.ndarray:
    """The shares of a `PathLoss` that is the sum over the levels of weight times -log P(member),
    (C + N, H).
    """
    left = np.cumsum(weights[::-1])[::-1]  # what counts from a level on
    return np.where(target_paths(hierarchy) < 0, 0.0, left)
