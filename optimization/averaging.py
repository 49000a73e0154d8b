"""An average of weights over the steps that forgets where they started."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def fading_average(decay: float) -> Callable:
    """The mean of what weights were after each step, in which each step has `decay` times the share
    of the next: decay^(n - k) / sum over k of decay^(n - k) for step k of n.

    PyTorch's `get_ema_multi_avg_fn` gives the first step 1 / (1 - decay) times that: of .999 over
    500 steps it is .61, and what is kept is hardly trained.

    Args:
        decay: Above 0, below 1.

    Returns: `multi_avg_fn` of `torch.optim.swa_utils.AveragedModel`; of counts and the like, which
    are no fractions, the last is kept.
    """

    @torch.no_grad()
    def update(averaged: Sequence[Tensor], current: Sequence[Tensor], steps: Tensor) -> None:
        if not averaged[0].is_floating_point():
            torch._foreach_copy_(averaged, current)
            return
        share = (1 - decay) / -torch.expm1((steps + 1) * math.log(decay))  # of this step
        change = torch._foreach_sub(current, averaged)
        torch._foreach_mul_(change, share)
        torch._foreach_add_(averaged, change)

    return update
