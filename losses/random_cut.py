"""Cross-entropy over the ends of the tree cut at random, anew for every batch."""

from collections.abc import Collection

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hierarchies import Hierarchy
from losses.base import Loss, check_batch, full_precision
from losses.hierarchical import PathLoss
from losses.inner_targets import target_paths
from registry import Option, fraction


class RandomCut(Loss):
    """-log softmax of the node at which a random cut of the tree ends the path to the true class,
    among all nodes at which it ends paths; batch mean, in nats.

    Each inner node below the root ends the tree with probability cut_probability. One cut serves a
    batch; hiercls draws one for each image, which has the same expectation. On a head with one
    posterior this is -log P(node): a superclass loss of one random level for each branch. There a
    label at an inner node ends its path, too.

    Args:
        hierarchy: The class tree.
        cut_probability: In [0, 1]; 0 is cross-entropy of the classes, 1 that of the top level.

    Shape: node scores (B, N) or scores (B, C); targets (B,) int64 -> scalar >= 0.
    Source: Wu et al. 2020 (Deep-RTC); default of hiercls, whose reported runs have 0.
    """

    inputs = ("node_scores",)
    replayable = False  # every cut is another
    inner_targets = "a cut may end below a superclass, where no single end is the true one"
    paper_name = "Random cut"
    summary = "cross-entropy over the ends of a tree that is cut at random"
    options = (
        Option(
            "cut_probability",
            fraction,
            0.1,
            "SHARE",
            "probability with which --loss random_cut ends the tree at an inner node",
        ),
    )

    def __init__(self, hierarchy: Hierarchy, **options: float | None):
        super().__init__(hierarchy)
        self.cuts = _Cuts(hierarchy, self.settle(options)["cut_probability"])

    @classmethod
    def on(cls, offered: Collection[str]) -> type[Loss]:
        return cls if "node_scores" in offered else _RandomCutOfPosterior

    def forward(self, scores: Tensor, targets: Tensor) -> Tensor:
        check_batch(scores, targets, self.cuts.tree.num_nodes)
        ends, end = self.cuts.draw()
        scores = full_precision(scores)
        ends, end = torch.from_numpy(ends), torch.from_numpy(end)
        among = scores.index_select(1, ends.to(scores.device, non_blocking=True))
        own = end.to(scores.device, non_blocking=True)[targets]
        return (among.logsumexp(dim=1) - scores.gather(1, own[:, None])[:, 0]).mean()


class _RandomCutOfPosterior(PathLoss):
    options, summary, replayable = RandomCut.options, RandomCut.summary, False

    def __init__(self, hierarchy: Hierarchy, **options: float | None):
        super().__init__(hierarchy, np.where(target_paths(hierarchy) < 0, 0.0, 1.0))
        self.cuts = _Cuts(hierarchy, self.settle(options)["cut_probability"])

    def weights_of(self, targets: Tensor) -> Tensor:
        reached = torch.from_numpy(self.cuts.reached()).to(targets.device, non_blocking=True)
        reached = reached[self.pool.within[targets]].flip(1)  # outwards
        shares = super().weights_of(targets)[:, : self.tree.depth] * reached
        steps = -F.pad(shares, (1, 1)).diff(dim=1)
        return torch.cat([shares, steps], dim=1)


class _Cuts:
    """Random cuts of a tree, from torch's global generator, which is seeded for every epoch."""

    def __init__(self, hierarchy: Hierarchy, probability: float):
        self.tree, self.probability = hierarchy, probability
        self.inner = np.flatnonzero(hierarchy.height[1:] > 0) + 1

    def reached(self) -> np.ndarray:
        """Whether the node of each class at each depth is within a new cut: (C, H) bool."""
        ends = np.zeros(self.tree.num_nodes, bool)
        ends[self.inner] = torch.rand(len(self.inner)).numpy() < self.probability
        reached = np.ones(self.tree.level_table.shape, bool)
        ended = np.logical_or.accumulate(ends[self.tree.level_table[:, :-1]], axis=1)
        np.logical_not(ended, out=reached[:, 1:])
        return reached

    def draw(self) -> tuple[np.ndarray, np.ndarray]:
        """The nodes at which a new cut ends paths, and that of each class, (C,)."""
        deepest = self.reached().sum(axis=1) - 1
        end = self.tree.level_table[np.arange(self.tree.num_classes), deepest]
        return np.unique(end), end
