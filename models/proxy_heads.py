"""Heads that compare directions: embeddings and class vectors (proxies) on the unit sphere."""

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from hierarchies.frame import GAMMA
from models.head import Head
from models.options import (
    ALPHA,
    BETA,
    CLASS_VECTORS,
    DISTANCE,
    DYNAMIC,
    EMA,
    LEGACY_DYNAMIC,
    MDS_SOLVER,
    MDS_TARGETS,
    MDS_W,
    SHARE_PARENTS,
    HeadOptions,
)
from models.scale import STATIC_SCALE, DynamicScale, Inflection
from models.sphere import angle, unit, widen

# smallest squared distance told apart: float32 gets 2 - 2 cos wrong below, even in its sign
NEAREST = 1e-6
SHORTEST_MEAN = 1e-6  # features that cancel to less than this have no direction


class ProxyHead(Head):
    """Scores s * closeness(cos): only the directions of embeddings and class vectors (proxies)
    count.

    A subclass defines `closeness` and, for each distance that it has, the `inflections` by which
    --dynamic moves the scale. The scale s is 10, or follows the angles
    (`DynamicScale`) and is then a constant to the gradient. Proxies start as random directions;
    averages replace theirs when a class is first met.

    Attributes:
        seen (C,): With "ema" proxies, which classes were met; the others still have random proxies.
            None otherwise.
        inflections: Distance -> what the dynamic scale needs to know.
    """

    options = (
        DISTANCE,
        EMA,
        ALPHA,
        DYNAMIC,
        LEGACY_DYNAMIC,
        MDS_W,
        MDS_TARGETS,
        BETA,
        GAMMA,
        MDS_SOLVER,
        CLASS_VECTORS,
        SHARE_PARENTS,
        *Head.options,
    )
    has_proxies = True
    inflections: Mapping[str, Inflection] = {}

    def __init__(self, num_classes: int, options: HeadOptions):
        super().__init__(num_classes, options)
        self.distance = DISTANCE.default if options.distance is None else options.distance
        self.proxies = options.proxies
        self.alpha = ALPHA.default if options.alpha is None else options.alpha
        weight = unit(torch.randn(num_classes, options.dim))
        if options.proxies == "gradient":
            self.weight = nn.Parameter(weight)
            if options.share_parents:
                self.share(options.hierarchy)
        else:
            placed = weight if options.fixed is None else _check_fixed(options.fixed, weight.shape)
            self.register_buffer("weight", placed)
        self.register_buffer(
            "seen", torch.zeros(num_classes, dtype=torch.bool) if options.proxies == "ema" else None
        )
        self.dynamic_scale = self._follow(num_classes, options) if options.dynamic else None

    @classmethod
    def check(cls, given: Mapping[str, object]) -> None:
        if not 0 < (1 if given.get("alpha") is None else given["alpha"]) <= 1:
            raise ValueError(f"--alpha must lie in (0, 1], got {given['alpha']}")
        if given.get("ema") and given.get("mds_W"):
            raise ValueError(
                "--ema moves the class vectors and --mds_W fixes them; give one of the two"
            )
        apart = [f"--{name}" for name in ("ema", "mds_W", "class_vectors") if given.get(name)]
        if len(apart) > 1 and "class_vectors" in apart[-1]:
            raise ValueError(
                f"{apart[0]} and --class_vectors both say where class vectors are; give one of the"
                " two"
            )
        if given.get("share_parents") and apart:
            raise ValueError(
                f"--share_parents makes class vectors of sums that train, {apart[0]} sets each by"
                " itself; give one of the two"
            )
        distance = given.get("distance") or DISTANCE.default
        if given.get("dynamic") and distance not in cls.inflections:
            raise ValueError(
                f"--dynamic needs the inflection of {cls.__name__} with --distance {distance},"
                f" which has none; drop --dynamic"
            )

    def _follow(self, num_classes: int, options: HeadOptions) -> DynamicScale | None:
        scale = DynamicScale(
            self.inflections[self.distance],
            num_classes,
            lr=options.lr,
            prior=options.training_prior,
            legacy=options.legacy_dynamic,
        )
        self.note = scale.note
        return scale if scale.note is None else None

    @property
    def scale(self) -> float:
        return STATIC_SCALE if self.dynamic_scale is None else float(self.dynamic_scale())

    @property
    def updates_after_step(self) -> bool:
        return self.dynamic_scale is not None or self.proxies == "ema"

    def set_lr(self, lr: float) -> None:
        if self.dynamic_scale is not None:
            self.dynamic_scale.lr = lr

    def closeness(self, cosines: torch.Tensor) -> torch.Tensor:
        """Scores (B, C) at scale 1; finite, with finite gradients, for cosines a round-off beyond
        1, too.
        """
        raise NotImplementedError(f"{type(self).__name__} must define closeness")

    def class_vectors(self) -> np.ndarray:
        vectors = super().class_vectors()
        if self.seen is not None:
            vectors[~self.seen.cpu().numpy()] = np.nan
        return vectors

    def plain_scores(self, embeddings: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        scale = STATIC_SCALE if self.dynamic_scale is None else self.dynamic_scale()
        return scale * self.closeness(self.cosines(embeddings, weight))

    @torch.no_grad()
    def update_after_step(self, embeddings: torch.Tensor, targets: torch.Tensor) -> None:
        """Moves the dynamic scale, then the moving averages, so that the scale sees the proxies
        that the step saw.
        """
        if self.dynamic_scale is not None:
            cosines = self.cosines(embeddings)
            own = angle(cosines.gather(1, targets[:, None])[:, 0])
            self.dynamic_scale.update(self.closeness(cosines), own, targets)
        if self.proxies == "ema":
            self._average(unit(widen(embeddings)), targets)

    def _average(self, features: torch.Tensor, targets: torch.Tensor) -> None:
        """w_c <- mean direction of class c when it is first met, then the direction of alpha * mean
        + (1 - alpha) w_c.

        A proxy stays where it is if the features of its class cancel, or cancel it.
        """
        weight = self.weight.to(features.dtype)
        sums = torch.zeros_like(weight).index_add_(0, targets, features)
        counts = weight.new_zeros(len(weight), 1).index_add_(
            0, targets, weight.new_ones(len(targets), 1)
        )
        means = unit(sums)
        blend = torch.where(
            self.seen[:, None], self.alpha * means + (1 - self.alpha) * weight, means
        )
        moved = sums.norm(dim=1, keepdim=True) > SHORTEST_MEAN * counts
        moved &= blend.norm(dim=1, keepdim=True) > SHORTEST_MEAN
        self.weight.copy_(torch.where(moved, unit(blend), weight))
        self.seen |= moved[:, 0]


def chord(angle: torch.Tensor) -> torch.Tensor:
    """Distance of two unit vectors at an angle in radians."""
    return (2 - 2 * angle.cos()).sqrt()


def normface_euc(scale, wrong, own, angle):
    """own e^(s cos a) (cos a + s sin(a)^2) + wrong (cos a - s sin(a)^2), see `Inflection`."""
    cosine, bend = angle.cos(), scale * angle.sin() ** 2
    return own * (scale * cosine).exp() * (cosine + bend) + wrong * (cosine - bend)


def normface_arccos(scale, wrong, own, angle):
    """wrong e^(s a^2) (2 s a^2 - 1) - own (2 s a^2 + 1), see `Inflection`."""
    power = scale * angle**2
    return wrong * power.exp() * (2 * power - 1) - own * (2 * power + 1)


def dissimilarity_ratio(scale, wrong, own, distance):
    """wrong (s + 1) d^s + own (1 - s), see `Inflection`; d is the chord or the angle."""
    return wrong * (scale + 1) * distance**scale + own * (1 - scale)


class NormFace(ProxyHead):
    """z = s cos (euc) or -s theta^2 (arccos), theta the angle in radians.

    Source: Wang et al. 2017; arccos: Kim et al. 2023.
    """

    summary = "squared distances to the class vectors"
    aliases = ("SD", "NormFace")
    label = "NormFace"
    inflections = {
        "euc": Inflection("normface with euc", 0.0, normface_euc),
        "arccos": Inflection(
            "normface with arccos", -((math.pi / 2) ** 2), normface_arccos, legacy_angle=chord
        ),
    }

    def closeness(self, cosines: torch.Tensor) -> torch.Tensor:
        return cosines if self.distance == "euc" else -angle(cosines).square()


class ProxyDR(ProxyHead):
    """P(c) = d_c^-s / sum_j d_j^-s, that is z = -s log d, with d the chord (euc) or the angle in
    radians (arccos).

    Squared chords are at least 1e-6, so that a score is at most 6.9 s. Published: log(d^2 + 1e-12),
    which is NaN for a share of the embeddings that lie on a proxy, as float32 rounds 2 - 2 cos
    below 0 there.
    Source: Kim, Parviainen, Malde, ProxyDR; Kim et al. 2023.
    """

    paper_name = "ProxyDR"
    summary = "the logarithms of those distances"
    aliases = ("ProxyDR",)
    inflections = {
        "euc": Inflection(
            "DR with euc",
            -math.log(2) / 2,
            lambda scale, wrong, own, angle: dissimilarity_ratio(scale, wrong, own, chord(angle)),
            legacy_power=lambda scale: 2 * scale.sqrt(),
        ),
        "arccos": Inflection("DR with arccos", -math.log(math.pi / 2), dissimilarity_ratio),
    }

    def closeness(self, cosines: torch.Tensor) -> torch.Tensor:
        if self.distance == "euc":
            return -0.5 * (2 - 2 * cosines).clamp(min=NEAREST).log()
        return -angle(cosines).log()


def _check_fixed(fixed: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    if fixed.shape != shape or not fixed.isfinite().all():
        raise ValueError(
            f"placed class vectors must be finite and of shape {tuple(shape)}, got"
            f" {tuple(fixed.shape)}"
        )
    return fixed.detach().clone().float()
