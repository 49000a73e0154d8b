"""Losses that do not look at the tree: cross-entropy and CORR."""

from torch import Tensor
from torch.nn import functional as F

from hierarchies import Hierarchy
from losses.base import Loss, check_batch, full_precision


class CrossEntropy(Loss):
    """-log p(true class), batch mean, in nats; >= 0. Half-precision scores are computed in
    float32.
    """

    def forward(self, scores: Tensor, targets: Tensor) -> Tensor:
        check_batch(scores, targets, self.num_classes)
        return F.cross_entropy(full_precision(scores), targets)


class Corr(Loss):
    """1 - cosine between an embedding and the fixed vector of its class, in [0, 2].

    Args:
        hierarchy: The class tree; only its number of classes is used, the class vectors hold the
            rest.
        corr_reduction: "mean" over the batch, or "sum" as published by Kim et al. 2023: equal under
            Adam up to its epsilon, not under SGD.

    Shape: cosines (B, C), targets (B,) int64 -> scalar.
    Raises: ValueError: If the reduction is neither.
    Source: Barz & Denzler 2019; Kim et al. 2023.
    """

    inputs = "cosines"
    takes = ("corr_reduction",)

    def __init__(self, hierarchy: Hierarchy, *, corr_reduction: str = "mean"):
        super().__init__(hierarchy)
        if corr_reduction not in ("mean", "sum"):
            raise ValueError(f"corr_reduction must be mean or sum, got {corr_reduction!r}")
        self.reduction = corr_reduction

    def forward(self, scores: Tensor, targets: Tensor) -> Tensor:
        check_batch(scores, targets, self.num_classes)
        distances = 1 - full_precision(scores).gather(1, targets[:, None])
        return distances.sum() if self.reduction == "sum" else distances.mean()
