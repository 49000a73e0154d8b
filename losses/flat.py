"""Losses that do not look at the tree: cross-entropy and CORR."""

from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional as F

from hierarchies import Hierarchy
from losses.base import Loss, check_batch, full_precision
from registry import Option, one_of


class CrossEntropy(Loss):
    """-log p(true class), batch mean, in nats; >= 0. Half-precision scores are computed in
    float32.
    """

    summary = "cross-entropy"

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
    summary = "1 minus the cosine to the class vector, with --mds_W"
    short_flag = "CORR"
    options = (
        Option(
            "corr_reduction",
            one_of(("mean", "sum")),
            "mean",
            help="average --loss corr over the batch, or sum it as published",
        ),
    )

    def __init__(self, hierarchy: Hierarchy, **options: str | None):
        super().__init__(hierarchy)
        self.reduction = self.settle(options)["corr_reduction"]

    @classmethod
    def check_head(cls, head: type, given: Mapping[str, object]) -> None:
        if not head.has_proxies:
            raise ValueError(
                "--loss corr needs class vectors of fixed direction; use --method normface or DR"
                " with --mds_W"
            )
        if not given.get("mds_W"):
            instead = " in place of --ema" if given.get("ema") else ""
            raise ValueError(f"--loss corr needs fixed class vectors; add --mds_W{instead}")
        if given.get("dynamic"):
            raise ValueError("--loss corr does not use the scale; drop --dynamic")

    def forward(self, scores: Tensor, targets: Tensor) -> Tensor:
        check_batch(scores, targets, self.num_classes)
        distances = 1 - full_precision(scores).gather(1, targets[:, None])
        return distances.sum() if self.reduction == "sum" else distances.mean()
