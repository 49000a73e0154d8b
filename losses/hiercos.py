"""The loss of Hier-COS, on coordinates of the embedding for every node."""

import numpy as np
import torch
from torch import Tensor

from hierarchies import Hierarchy
from losses.base import Loss, full_precision
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
        self.sizes = np.diff(edges).tolist()
        tables = {"order": order, "own": place[np.maximum(table, 1) - 1], "exists": exists}
        tables |= {"wanted": wanted.astype(np.float32), "entropy": entropy.astype(np.float32)}
        for name, values in tables.items():
            self.register_buffer(name, torch.from_numpy(values), persistent=False)

    def forward(self, axes: Tensor, targets: Tensor) -> Tensor:
        if axes.ndim != 2 or axes.shape[1] != len(self.order):
            raise ValueError(
                f"coordinates must be (B, {len(self.order)}), got {tuple(axes.shape)}; is the"
                " hierarchy of another dataset?"
            )
        sizes = full_precision(axes).abs()[:, self.order]  # depth by depth
        own = sizes.gather(1, self.own[targets])  # (B, H), without meaning below the class
        wanted, exists = self.wanted[targets], self.exists[targets]
        surprise = sizes.logsumexp(dim=1) - (wanted * own).sum(dim=1)
        loss = (surprise - self.entropy[targets]).mean()
        if self.alpha == 0:
            return loss
        levels = sizes.split(self.sizes, dim=1)
        sums = torch.stack([level.sum(dim=1) for level in levels], dim=1)  # (B, H)
        lengths = torch.stack([torch.linalg.vector_norm(level, dim=1) for level in levels], dim=1)
        present = 1 + (sums - 2 * own) / lengths.clamp(min=TINY)
        rest = _mean(present, exists) + _mean(sums, ~exists)
        return loss + self.alpha * rest.sum()


def _mean(values: Tensor, where: Tensor) -> Tensor:
    """Means over the rows for which `where` holds, (B, H) -> (H,); 0 if there are none."""
    where = where.to(values.dtype)
    return (values * where).sum(dim=0) / where.sum(dim=0).clamp(min=1)
