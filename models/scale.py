"""The dynamic scale of proxy heads: it follows the angles, so that the posterior stays steep where
embeddings lie.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

STATIC_SCALE = 10.0
SMALLEST, LARGEST = 1.0, 64.0  # bounds of the scale
DECAYS, EPSILON = (0.9, 0.999), 1e-8  # of Adam, as in torch
LARGEST_GRADIENT = 1e150  # its square is still finite


def _as_it_is(value: torch.Tensor) -> torch.Tensor:
    return value


@dataclass(frozen=True)
class Inflection:
    """What the dynamic scale needs to know of a head with one of its distances. A head owns these.

    Attributes:
        name: Method and distance, for messages.
        closeness_at_90: Score at scale 1 of a class vector at 90 degrees.
        residual: (scale, wrong, own, angle) -> a number, float64 tensors: 0 where the posterior of
            the own class has its inflection as a function of the distance to its vector. wrong:
            sum of exp(score) over the wrong classes, each times its prior if there is one; own:
            prior of the own class, 1 if there is none; angle: to the own class vector, in radians.
        legacy_power: Scale -> factor on the closeness of the wrong classes, as published.
        legacy_angle: Angle -> what was published in its place.

    Source: Kim et al. 2023, after AdaCos (Zhang et al. 2019).
    """

    name: str
    closeness_at_90: float
    residual: Callable[..., torch.Tensor]
    legacy_power: Callable[[torch.Tensor], torch.Tensor] = _as_it_is
    legacy_angle: Callable[[torch.Tensor], torch.Tensor] = _as_it_is

    def __call__(self, scale, wrong, own, angle) -> torch.Tensor:
        """`residual` of tensors or floats, in float64."""
        values = (torch.as_tensor(one, dtype=torch.float64) for one in (scale, wrong, own, angle))
        return self.residual(*values)


def start_scale(inflection: Inflection, num_classes: float) -> float | None:
    """The scale at which the posterior has its inflection at 45 degrees when all wrong class
    vectors are at 90.

    The larger root where there are two. None where there is none: NormFace with few classes (euc C
    <= 22, arccos C <= 48).

    Args:
        inflection: Of the head.
        num_classes: C; with a class prior, the number 1 / sum pi^2 of equally frequent classes.
    """

    from scipy.optimize import brentq

    def residual(scale):
        wrong = (num_classes - 1) * np.exp(scale * inflection.closeness_at_90)
        return inflection(scale, wrong, 1.0, math.pi / 4).numpy()

    grid = np.linspace(0.05, LARGEST, 4096)
    changes = np.flatnonzero(np.diff(np.sign(residual(grid))))
    if not len(changes):
        return None
    below = changes[-1]
    return max(
        SMALLEST,
        brentq(lambda scale: float(residual(scale)), grid[below], grid[below + 1], xtol=1e-12),
    )


class DynamicScale(nn.Module):
    """A scale s = exp(t) moved once a batch, by one step of Adam on t that lowers the squared
    residual of the inflection.

    t and the state of Adam are buffers: the model's optimiser leaves them alone, and a checkpoint
    holds them.

    Args:
        inflection: Of the head.
        num_classes: C.
        lr: Learning rate of Adam, the model's; may be set between steps by a schedule.
        prior: (C,) class prior, or None.
        legacy: Update as published: DR euc with exp(2 sqrt(s) closeness) for the wrong classes,
            NormFace arccos with the squared chord for the squared angle, a gradient that holds the
            sum over the wrong classes constant, and a start that ignores the prior.

    Attributes:
        note: Why the scale stays at 10, where there is no start (`start_scale`); None otherwise.
    """

    def __init__(
        self,
        inflection: Inflection,
        num_classes: int,
        *,
        lr: float,
        prior: torch.Tensor | None = None,
        legacy: bool = False,
    ):
        super().__init__()
        self.inflection, self.lr, self.legacy = inflection, lr, legacy
        classes = (
            num_classes if prior is None or legacy else 1 / float(prior.double().square().sum())
        )
        start, self.note = start_scale(inflection, classes), None
        if start is None:
            start = STATIC_SCALE
            self.note = (
                f"--dynamic: {inflection.name} has no starting scale for {classes:.4g} "
                f"{'classes' if classes == num_classes else 'classes (1 / sum of squared priors)'};"
                f" the scale stays at {STATIC_SCALE:g}"
            )
        for name, value in {
            "log_scale": math.log(start),
            "moment": 0.0,
            "variance": 0.0,
            "steps": 0.0,
        }.items():
            self.register_buffer(name, torch.tensor(value, dtype=torch.float64))
        self.register_buffer("prior", None if prior is None else prior.clone())

    def forward(self) -> torch.Tensor:
        """The scale, a scalar tensor without gradient, in [1, 64]."""
        return self.log_scale.exp()

    @torch.no_grad()
    def update(self, closeness: torch.Tensor, angles: torch.Tensor, targets: torch.Tensor) -> None:
        """One step, from a whole batch.

        Args:
            closeness: (B, C) scores at scale 1, without the prior.
            angles: (B,) angles to the own class vectors, in radians.
            targets: (B,) int64.
        """
        if self.note is not None or not len(targets):
            return
        residual, slope = self.residual(closeness, angles, targets)
        gradient = (2 * residual * slope).clamp(-LARGEST_GRADIENT, LARGEST_GRADIENT)
        self.steps += 1
        self.moment.lerp_(gradient, 1 - DECAYS[0])
        self.variance.lerp_(gradient**2, 1 - DECAYS[1])
        moment = self.moment / (1 - DECAYS[0] ** self.steps)
        variance = self.variance / (1 - DECAYS[1] ** self.steps)
        self.log_scale -= self.lr * moment / (variance.sqrt() + EPSILON)
        self.log_scale.clamp_(math.log(SMALLEST), math.log(LARGEST))

    def residual(
        self, closeness: torch.Tensor, angles: torch.Tensor, targets: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The inflection's residual of a batch, at min(median angle, 45 degrees), and its
        derivative in t; scalars.
        """
        own = 1.0 if self.prior is None else self.prior.double()[targets].mean()
        angle = angles.double().median().clamp(max=math.pi / 4)
        if self.legacy:
            angle = self.inflection.legacy_angle(angle)
        with torch.enable_grad():
            log_scale = self.log_scale.detach().clone().requires_grad_()
            scale = log_scale.exp()
            power = self.inflection.legacy_power(scale) if self.legacy else scale
            wrong, by_power = self._wrong(power.detach(), closeness.double(), targets)
            if not self.legacy:  # the published gradient holds it constant
                wrong = wrong + by_power * (power - power.detach())
            residual = self.inflection(scale, wrong, own, angle)
            (slope,) = torch.autograd.grad(residual, log_scale)
        return residual.detach(), slope

    def _wrong(
        self, power: torch.Tensor, closeness: torch.Tensor, targets: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The sum over the wrong classes of exp(power * closeness), each times its prior if there
        is one, mean of the batch, and its derivative in power: far cheaper than by autograd.
        """
        with torch.no_grad():
            terms = (power * closeness).exp_().scatter_(1, targets[:, None], 0.0)
            if self.prior is not None:
                terms *= self.prior.double()
            return terms.sum() / len(targets), (terms * closeness).sum() / len(targets)
