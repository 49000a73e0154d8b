"""The course of the learning rate over the epochs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from registry import Option, Registry, natural

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler


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

    third = max(-(-epochs // 3), 1)  # rounded up: rounded down there would be a fourth part
    return StepLR(optimizer, step_size=third)


SCHEDULES: Registry = Registry(
    Option("schedule", default="none", help="course of the learning rate over the epochs"),
    {
        "none": Schedule(lambda optimizer, epochs: None, "constant"),
        "cosine": Schedule(_cosine, "down to 0 along a cosine"),
        "step": Schedule(_step, "in steps to a tenth after each third"),
    },
)
WARMUP = Option(
    "warmup",
    natural,
    0,
    "EPOCHS",
    "the learning rate rises in even steps over the first EPOCHS; the --schedule has the rest",
    off=0,
)
OPTIONS = (SCHEDULES.option, WARMUP)


def build_schedule(
    optimizer: Optimizer, name: str, epochs: int, warmup: int = 0, **options: object
) -> LRScheduler | None:
    """The schedule of a run, stepped after each epoch; None for a constant rate.

    Args:
        optimizer: Its rates, one a group, are those that the warm-up rises to.
        name: Of `SCHEDULES`.
        epochs: Of the run, the warm-up included.
        warmup: Number of epochs with the rates 1 / (warmup + 1), 2 / (warmup + 1) ... of them.
        options: Of the schedule.
    """
    later = SCHEDULES.find(name).make(optimizer, epochs - warmup, **options)
    if not warmup:
        return later
    from torch.optim.lr_scheduler import ConstantLR, LinearLR, SequentialLR

    rise = LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup)
    later = later or ConstantLR(optimizer, factor=1.0)
    return SequentialLR(optimizer, [rise, later], milestones=[warmup])
