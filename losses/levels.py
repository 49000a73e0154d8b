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
    inner_targets = "its pairs need a member on every level"
    mixes = "it compares pairs of images by the classes of both, and a mixture has two"
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
        self.height = len(found)
        for k, finer in enumerate(found[1:]):
            self.register_buffer(f"above{k}", torch.from_numpy(finer.above), persistent=False)

    def forward(
        self, scores: Sequence[Tensor], vectors: Sequence[Tensor], targets: Tensor
    ) -> Tensor:
        self.check(scores[-1], targets)
        scores = [full_precision(one) for one in scores]
        columns = self.columns(targets)
        loss = F.cross_entropy(scores[-1], columns[-1])
        posteriors = [one.softmax(dim=1) for one in scores]
        order = torch.randperm(len(targets)).to(targets.device)
        directions = [F.normalize(one) for one in vectors]
        for k in range(self.height - 1):
            above, p = getattr(self, f"above{k}"), posteriors[k]
            q = torch.zeros_like(p).index_add(1, above, posteriors[k + 1])
            loss = loss + ((to_mixture(q, p) + to_mixture(p, q)) / 2).mean()
            loss = loss + self._apart(p[order], columns[k][order])
            sums = torch.zeros_like(vectors[k]).index_add(0, above, directions[k + 1])
            loss = loss - F.cosine_similarity(directions[k], sums).mean()
        return loss

    def _apart(self, posteriors: Tensor, labels: Tensor) -> Tensor:
        first, second = posteriors[:-1], posteriors[1:]
        differ = (labels[:-1] != labels[1:]).to(posteriors.dtype)
        terms = (self.margin - to_mixture(first, second)).clamp(min=0)
        terms = terms + (self.margin - to_mixture(second, first)).clamp(min=0)
        return (terms * differ).sum() / (2 * differ.sum().clamp(min=1))


def to_mixture(p: Tensor, q: Tensor) -> Tensor:
    """KL(p || (p + q) / 2) of rows, in nats, in [0, log 2]: (B, K) -> (B,)."""
    mixture = ((p + q) / 2).clamp(min=SMALLEST)
    return (p * (p.clamp(min=TINY).log() - mixture.log())).sum(dim=1)


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
