"""For GPUs, where it is asked for: losses as one kernel each; a loss over the tree takes two dozen
otherwise, and to launch them takes longer than to run them.
"""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

LONGEST = 16384  # classes that the registers of one block hold
Found = tuple[Tensor, Tensor]  # losses (B,) and the gradient (B, C) of their mean


class Fused:
    """A function of `losses.kernels`, as long as it can be had and gives the numbers that many
    kernels give, which is looked at in the first call.

    Args:
        name: Of the function, whose first argument are scores (B, C).

    Attributes:
        called: Whether it was, so that there is no more to look at, which waits for the device.
    """

    def __init__(self, name: str):
        self.name, self.works, self.called = name, True, False

    def fits(self, scores: Tensor) -> bool:
        """Whether it can be computed of scores like these."""
        return self.works and scores.is_cuda and scores.shape[1] <= LONGEST

    def __call__(self, otherwise: Callable[[], Found], scores: Tensor, *more) -> Found:
        """What the function returns, or, where it cannot be had, `otherwise`."""
        first, self.called = not self.called, True
        if not self.fits(scores):
            return otherwise()
        try:
            from losses import kernels

            with torch.cuda.device_of(scores):
                found = getattr(kernels, self.name)(scores, *more)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # whatever a compiler may raise
            reason = str(error).partition("\n")[0]
            return self._give_up(f"Triton fails ({type(error).__name__}: {reason})", otherwise())
        if first:
            expected = otherwise()
            if not all(map(_are_close, found, expected)):
                return self._give_up("here that gives other numbers", expected)
        return found

    def _give_up(self, reason: str, found: Found) -> Found:
        self.works = False
        warnings.warn(
            f"--fused_loss: the loss is computed by many kernels, not by one: {reason}",
            stacklevel=2,
        )
        return found


def _are_close(found: Tensor, expected: Tensor) -> bool:
    """Whether they differ by less than 1e-4 of the largest; where one is infinite or no number,
    both are.
    """
    largest = expected.abs().nan_to_num(posinf=0.0).max()
    return torch.allclose(found, expected, 1e-4, 1e-4 * largest.item(), equal_nan=True)
