"""On a GPU: losses as one kernel each, where Triton can compile them; a loss over the tree takes
two dozen without, and to launch them takes longer than to run them.
"""

import warnings

import torch
from torch import Tensor

LONGEST = 16384  # classes that the registers of one block hold


class Fused:
    """A function of `losses.kernels`, as long as it can be had.

    Args:
        name: Of the function, whose first argument are scores (B, C).
    """

    def __init__(self, name: str):
        self.name, self.works = name, True

    def fits(self, scores: Tensor) -> bool:
        """Whether it can be computed of scores like these."""
        return self.works and scores.is_cuda and scores.shape[1] <= LONGEST

    def __call__(self, scores: Tensor, *more) -> tuple[Tensor, ...] | None:
        """What the function returns; None if it cannot be had, which is found out once."""
        if not self.fits(scores):
            return None
        try:
            from losses import kernels

            with torch.cuda.device_of(scores):
                return getattr(kernels, self.name)(scores, *more)
        except torch.OutOfMemoryError:
            raise
        except ImportError:
            self.works = False  # there is no Triton
        except Exception as error:  # whatever a compiler may raise
            self.works = False
            reason = str(error).partition("\n")[0]
            warnings.warn(
                "the loss over the tree is computed kernel by kernel, with the same numbers and"
                f" slower: Triton cannot compile it here ({type(error).__name__}: {reason})",
                stacklevel=2,
            )
        return None
