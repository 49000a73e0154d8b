"""Cross-entropy over the ends of the tree cut at random, anew for every batch."""

from collections.abc import Collection

import numpy as np
import torch
from torch import Tensor

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
        paths = target_paths(hierarchy)
        super().__init__(hierarchy, np.where(paths < 0, 0.0, 1.0))
        self.cuts = _Cuts(hierarchy, self.settle(options)["cut_probability"])
        self._table("depth", torch.from_numpy((paths >= 0).sum(axis=1)))  # (C + N,)
        # of a path that ends at each depth, outwards: shares, and steps as in PathLoss
        height = hierarchy.max_depth
        shares = np.arange(height) >= height - np.arange(height + 1)[:, None]
        steps = -np.diff(shares.astype(np.float64), axis=1, prepend=0.0, append=0.0)
        ended = np.concatenate([shares, steps], axis=1)
        self._table("ended", torch.from_numpy(ended))  # (H + 1, 2 H + 1)

    def weights_of(self, targets: Tensor) -> Tensor:
        end = torch.from_numpy(self.cuts.depths()).to(targets.device, non_blocking=True)
        end = end.index_select(0, self.pool.within.index_select(0, targets))
        end = torch.minimum(end, self.depth.index_select(0, targets))
        weights = self.ended.index_select(0, end)
        uncut = super().weights_of(targets)
        height = self.tree.depth
        weights[:, :height].mul_(uncut[:, :height])  # 0 for nodes without siblings
        return weights


class _Cuts:
    """Random cuts of a tree, from torch's global generator, which is seeded for every epoch."""

    def __init__(self, hierarchy: Hierarchy, probability: float):
        self.tree, self.probability = hierarchy, probability
        self.inner = np.flatnonzero(hierarchy.height[1:] > 0) + 1

    def depths(self) -> np.ndarray:
        """The depth at which a new cut ends the path to each class, (C,) int64; the height of the
        tree where it does not.
        """
        ends = np.zeros(self.tree.num_nodes, bool)
        ends[self.inner] = torch.rand(len(self.inner)).numpy() < self.probability
        ends = ends.take(self.tree.level_table)
        ends[:, -1] = True
        return ends.argmax(axis=1) + 1

    def draw(self) -> tuple[np.ndarray, np.ndarray]:
        """The nodes at which a new cut ends paths, and that of each class, (C,)."""
        end = self.tree.level_table[np.arange(self.tree.num_classes), self.depths() - 1]
        return np.unique(end), end
