"""How weights move: the course of the learning rate over the epochs; and which epoch is the
result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from optimization import choosing
from registry import Option, Registry, positive

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

LR = Option(
    "lr", positive, 1e-4, "RATE", "learning rate of Adam, at the start if there is a --schedule"
)


class Schedule(NamedTuple):
    """A course of the learning rate: (optimizer, number of epochs, **options) -> torch's schedule,
    or None for a constant one; and the options that it takes.
    """

    make: Callable[..., LRScheduler | None]
    summary: str
    options: tuple[Option, ...] = ()


def _cosine(optimizer: Optimizer, epochs: int) -> LRScheduler:
    from torch.optim.lr_scheduler import CosineAnnealingLR

    return CosineAnnealingLR(optimizer, T_max=max(epochs, 1))


def _step(optimizer: Optimizer, epochs: int) -> LRScheduler:
    from torch.optim.lr_scheduler import StepLR

    return StepLR(optimizer, step_size=max(epochs // 3, 1))


SCHEDULES: Registry = Registry(
    Option("schedule", default="none", help="course of the learning rate over the epochs"),
    {
        "none": Schedule(lambda optimizer, epochs: None, "constant"),
        "cosine": Schedule(_cosine, "down to 0 along a cosine"),
        "step": Schedule(_step, "in steps to a tenth after each third"),
    },
)
OPTIONS = (LR, SCHEDULES.option, *choosing.OPTIONS)
