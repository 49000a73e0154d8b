"""Losses that do not look at the tree: cross-entropy and CORR."""

from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional as F

from hierarchies import Hierarchy
from losses.base import Loss, check_batch, full_precision
from registry import Option, nonnegative, one_of


class CrossEntropy(Loss):
    """-log p(true class), of an inner node -log of the sum below it, batch mean, in nats; >= 0.
    Half-precision scores are computed in float32.
    """

    inner_targets = True
    paper_name = "CE"
    summary = "cross-entropy"

    def forward(self, scores: Tensor, targets: Tensor) -> Tensor:
        scores = full_precision(scores)
        if self.check(scores, targets):
            return self.pool.entropy(scores, targets)
        return F.cross_entropy(scores, targets)


class Corr(Loss):
    """1 - cosine between an embedding and the fixed vector of its class, in [0, 2], plus corr_ce
    times cross-entropy on the scores.

    Args:
        hierarchy: The class tree; only its number of classes is used, the class vectors hold the
            rest.
        corr_reduction: "mean" over the batch, or "sum" as published by Kim et al. 2023: equal under
            Adam up to its epsilon, not under SGD.
        corr_ce: Factor of the cross-entropy, >= 0; 0.1 in Barz & Denzler, whose cross-entropy has a
            branch of its own (ReLU, batch norm, linear layer) where this one has the head's scores.

    Shape: cosines (B, C), with corr_ce scores (B, C), targets (B,) int64 -> scalar.
    Raises: ValueError: If the reduction is neither, or the factor negative.
    Source: Barz & Denzler 2019; Kim et al. 2023.
    """

    inputs = ("cosines",)
    inner_targets = "it compares an image with the vector of its class, and a superclass has none"
    paper_name = "CORR"
    summary = "1 minus the cosine to the class vector, with --mds_W"
    short_flag = "CORR"
    options = (
        Option(
            "corr_reduction",
            one_of(("mean", "sum")),
            "mean",
            help="average --loss corr over the batch, or sum it as published",
        ),
        Option(
            "corr_ce",
            nonnegative,
            0.0,
            "FACTOR",
            "factor of cross-entropy beside --loss corr; 0.1 in Barz & Denzler 2019",
        ),
    )

    def __init__(self, hierarchy: Hierarchy, **options: str | float | None):
        super().__init__(hierarchy)
        options = self.settle(options)
        self.reduction, self.factor = options["corr_reduction"], options["corr_ce"]
        if self.factor > 0:
            self.inputs = ("cosines", "scores")

    @classmethod
    def check_head(cls, head: type, given: Mapping[str, object]) -> None:
        super().check_head(head, given)
        if given.get("corr_ce"):
            return  # cross-entropy keeps the classes apart and trains the scale
        if not head.has_proxies:
            raise ValueError(
                "--loss corr needs class vectors of fixed direction, else all fall together; use"
                " --method normface or DR with --mds_W, or add --corr_ce"
            )
        if not (given.get("mds_W") or given.get("class_vectors")):
            instead = " in place of --ema" if given.get("ema") else ""
            raise ValueError(
                f"--loss corr needs fixed class vectors, else all fall together; add"
                f" --mds_W{instead}, --class_vectors or --corr_ce"
            )
        if given.get("dynamic"):
            raise ValueError("--loss corr does not use the scale; drop --dynamic")

    def forward(self, cosines: Tensor, *scores_and_targets: Tensor) -> Tensor:
        *scores, targets = scores_and_targets
        check_batch(cosines, targets, self.num_classes)
        distances = 1 - full_precision(cosines).gather(1, targets[:, None])
        loss = distances.sum() if self.reduction == "sum" else distances.mean()
        if not scores:
            return loss
        check_batch(scores[0], targets, self.num_classes)
        entropy = F.cross_entropy(full_precision(scores[0]), targets, reduction=self.reduction)
        return loss + self.factor * entropy
