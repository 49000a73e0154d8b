"""Losses of the cosines between embeddings and class vectors: HAFrame's, and DeViSE's ranking."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from hierarchies import Hierarchy
from hierarchies.frame import GAMMA, frame_cosines
from losses.base import Loss, full_precision
from losses.segments import TreeOrder, join, level_nodes
from registry import Option, fraction, nonnegative


class HAFrame(Loss):
    """(1 - frame_share) CE + frame_share times the sum over the classes c of (cos_c - S_yc)^2, S
    the cosines of the hierarchy-aware frame; batch mean.

    Args:
        hierarchy: The class tree.
        frame_share: In [0, 1]; 0 is cross-entropy. 0.4, 0.5 on FGVC-Aircraft and tieredImageNet.
        gamma: Rate of the frame, see `hierarchies.frame`. 2 for CIFAR-100, 1 for FGVC-Aircraft, 5
            for iNaturalist 2019, 3 for tieredImageNet.

    Shape: scores (B, C), cosines (B, C), targets (B,) int64 -> scalar >= 0.
    Source: Liang & Davis 2023 (HAFrame), whose class vectors are the frame itself: --mds_W
        --mds_targets haframe.
    """

    inputs = ("scores", "cosines")
    inner_targets = "it draws an image to the vector of its class, and a superclass has none"
    paper_name = "HAFrame"
    summary = "cross-entropy, and cosines to all classes that are drawn to those of the tree"
    options = (
        Option(
            "frame_share",
            fraction,
            0.4,
            "SHARE",
            "share of the squared differences of cosines in --loss haframe; cross-entropy has the"
            " rest",
        ),
        GAMMA,
    )

    def __init__(self, hierarchy: Hierarchy, **options: float | None):
        super().__init__(hierarchy)
        options = self.settle(options)
        self.share = options["frame_share"]
        self.tree = TreeOrder(hierarchy)
        # of the levels outwards, the class itself first
        cosines = frame_cosines(hierarchy, options["gamma"])[level_nodes(hierarchy)[:, ::-1]]
        self.register_buffer("wanted", torch.from_numpy(cosines.copy()).float(), persistent=False)

    def forward(self, scores: Tensor, cosines: Tensor, targets: Tensor) -> Tensor:
        self.check(scores, targets)
        cosines = full_precision(cosines)
        wanted = join(
            [
                segments.spread(self.wanted[targets[part]])
                for part, segments in self.tree.cut(targets)
            ]
        )
        squares = (cosines - wanted).square().sum(dim=1).mean()
        entropy = F.cross_entropy(full_precision(scores), targets)
        return (1 - self.share) * entropy + self.share * squares


class DeViSE(Loss):
    """The sum over the classes j != y of max(0, devise_margin + cos_j - cos_y), batch mean.

    Args:
        hierarchy: The class tree; only its number of classes is used, the class vectors hold the
            rest.
        devise_margin: >= 0.

    Shape: cosines (B, C), targets (B,) int64 -> scalar >= 0.
    Source: Frome et al. 2013 (DeViSE). Some code has j = y in the sum, a constant.
    """

    inputs = ("cosines",)
    inner_targets = "it ranks the vector of a class above others, and a superclass has none"
    paper_name = "DeViSE"
    summary = "the cosine to the true class against that to each other one"
    options = (
        Option(
            "devise_margin",
            nonnegative,
            0.1,
            "COSINE",
            "by how much the cosine to the true class must be larger in --loss devise",
        ),
    )

    def __init__(self, hierarchy: Hierarchy, **options: float | None):
        super().__init__(hierarchy)
        self.margin = self.settle(options)["devise_margin"]

    @classmethod
    def check_head(cls, head: type, given: Mapping[str, object]) -> None:
        super().check_head(head, given)
        if not head.has_proxies:
            raise ValueError(
                f"--loss devise trains cosines, and the scores of --method {given['method']} depend"
                " on lengths and biases as well, which it would leave as they start; use --method"
                " normface or DR"
            )
        if given.get("dynamic"):
            raise ValueError("--loss devise does not use the scale; drop --dynamic")

    def forward(self, cosines: Tensor, targets: Tensor) -> Tensor:
        self.check(cosines, targets)
        cosines = full_precision(cosines)
        own = cosines.gather(1, targets[:, None])
        # the true class adds the margin itself, whatever the cosines
        return (self.margin + cosines - own).clamp(min=0).sum(dim=1).mean() - self.margin
