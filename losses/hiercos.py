"""The loss of Hier-COS, on coordinates of the embedding for every node."""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from hierarchies import Hierarchy
from losses.base import Loss, full_precision
from losses.gradients import by_hand
from registry import Option, nonnegative

TINY = 1e-12  # divides in place of a length of 0


class HierCOSLoss(Loss):
    """KL(t || softmax(|x|)) + hiercos_alpha R for coordinates x of the nodes; batch mean, in nats.

    t is exp(2 / (K + 1 - l)), normalised, on the node of depth l of a path of K nodes. R is the sum
    over the depths l of the mean over images that have a node there of |onehot - |x_l| / length of
    x_l|, summed over the nodes of that depth; of images whose class ends above, the mean of the sum
    of |x_l|.

    The authors' code leaves a depth out when all images of a batch have its first node.

    Args:
        hierarchy: The class tree.
        hiercos_alpha: Factor of R, >= 0: 0.05 for CIFAR-100, 0.1 FGVC-Aircraft, 0.001 iNaturalist
            2019, 1e-5 tieredImageNet.

    Shape: axes (B, N - 1), targets (B,) int64 -> scalar >= 0.
    Source: Sani & Anand 2026 (Hier-COS).
    """

    inputs = ("axes",)
    separate = False
    inner_targets = "the coordinates below a superclass can be neither large nor small"
    paper_name = "Hier-COS"
    summary = "coordinates of nodes that are large on the path to the true class alone"
    options = (
        Option(
            "hiercos_alpha",
            nonnegative,
            0.05,
            "FACTOR",
            "factor of what --loss hiercos asks of each depth of the tree",
        ),
    )

    def __init__(self, hierarchy: Hierarchy, **options: float | None):
        super().__init__(hierarchy)
        self.alpha = self.settle(options)["hiercos_alpha"]
        order = np.argsort(hierarchy.depth[1:], kind="stable")
        place = np.argsort(order)
        table = hierarchy.path_table
        exists = table >= 0
        depth = exists.sum(axis=1, keepdims=True)
        steps = np.arange(1, table.shape[1] + 1)
        wanted = np.where(exists, np.exp(2 / np.maximum(depth + 1 - steps, 1)), 0.0)
        wanted /= wanted.sum(axis=1, keepdims=True)
        entropy = -np.where(exists, wanted * np.log(np.where(exists, wanted, 1.0)), 0.0).sum(axis=1)
        edges = np.searchsorted(hierarchy.depth[1:][order], np.arange(1, table.shape[1] + 2))
        self.sizes = np.diff(edges).tolist()  # nodes of each depth
        level = np.repeat(np.arange(len(self.sizes)), self.sizes)
        tables = {
            "order": order,
            "place": place,
            "level": level,
            "own": place[np.maximum(table, 1) - 1],
            "exists": exists,
            "wanted": wanted.astype(np.float32),
            "entropy": entropy.astype(np.float32),
        }
        for name, values in tables.items():
            self.register_buffer(name, torch.from_numpy(values), persistent=False)

    def forward(self, axes: Tensor, targets: Tensor) -> Tensor:
        if axes.ndim != 2 or axes.shape[1] != len(self.order):
            raise ValueError(
                f"coordinates must be (B, {len(self.order)}), got {tuple(axes.shape)}; is the"
                " hierarchy of another dataset?"
            )
        return by_hand(partial(self.values, targets), full_precision(axes))

    def values(self, targets: Tensor, axes: Tensor) -> tuple[Tensor, Tensor]:
        """The loss, and its gradient (B, N - 1)."""
        batch = len(axes)
        sizes = axes.abs().index_select(1, self.order)  # depth by depth
        place, exists = self.own[targets], self.exists[targets]
        own = sizes.gather(1, place)  # (B, H), without meaning below the class
        wanted = self.wanted[targets].to(sizes.dtype)
        total = sizes.logsumexp(dim=1, keepdim=True)
        loss = total[:, 0] - (wanted * own).sum(dim=1) - self.entropy[targets]
        slopes = (sizes - total).exp_().div_(batch)
        at_own = -wanted / batch
        levels = sizes.split(self.sizes, dim=1)
        sums = torch.stack([level.sum(dim=1) for level in levels], dim=1)  # (B, H)
        lengths = torch.stack([torch.linalg.vector_norm(level, dim=1) for level in levels], dim=1)
        lengths.clamp_(min=TINY)
        # |onehot - x / r| summed is 1 + (sum - 2 x_own) / r, as x_own <= r
        share, rest = _shares(exists, sizes.dtype), _shares(~exists, sizes.dtype)
        excess = (sums - 2 * own) / lengths
        loss = loss.mean() + self.alpha * (share * (1 + excess) + rest * sums).sum()
        along = share / lengths
        slopes += (self.alpha * (along + rest)).index_select(1, self.level)
        slopes -= (self.alpha * along * excess / lengths).index_select(1, self.level).mul_(sizes)
        slopes.scatter_add_(1, place, torch.where(exists, at_own - 2 * self.alpha * along, 0.0))
        return loss, slopes.index_select(1, self.place).mul_(axes.sign())


def _shares(where: Tensor, dtype: torch.dtype) -> Tensor:
    """What each row counts in a mean over those for which `where` (B, H) holds."""
    where = where.to(dtype)
    return where / where.sum(dim=0).clamp(min=1)
