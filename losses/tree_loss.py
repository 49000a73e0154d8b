"""The base of losses that read the tree: on the CPU one pass over the scores gives losses and
gradient together.
"""

from abc import abstractmethod

import numpy as np
import torch
from torch import Tensor

from hierarchies import Hierarchy
from losses.base import Loss, check_batch, full_precision
from losses.segments import Cut, segment_lengths

CHUNK = (
    2**18
    # scores worked on at a time: what one step leaves behind is still in the cache when the next
    # reads
    # it
)


class TreeLoss(Loss):
    """A loss that depends on the scores of a row and on how the target cuts it into segments, see
    `losses.segments`.

    A subclass gives its formula twice: `rows`, in numpy and with its gradient, is what runs on the
    CPU; `plain`, in torch and left to autograd, runs on other devices and for rows that `rows`
    leaves open, and checks `rows` in the tests. Tables are of order classes x depth. It is fastest
    if the classes are in depth-first order.
    """

    def __init__(self, hierarchy: Hierarchy):
        super().__init__(hierarchy)
        order = torch.from_numpy(hierarchy.leaf_order.copy())
        in_order = bool((order == torch.arange(len(order))).all())
        self._table("order", None if in_order else order)
        self._table("inverse", None if in_order else torch.argsort(order))
        self._table("lengths", torch.from_numpy(segment_lengths(hierarchy)))

    def forward(self, scores: Tensor, targets: Tensor) -> Tensor:
        check_batch(scores, targets, self.num_classes)
        scores = full_precision(scores)
        if scores.device.type == "cpu" and len(scores):
            return _RowLoss.apply(scores, targets, self)
        return self.plain(scores, targets).mean().to(scores.dtype)

    @abstractmethod
    def rows(
        self, scores: Tensor, targets: np.ndarray, differentiate: bool
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Losses of the rows and the gradient of their mean.

        Args:
            scores (B, C): Contiguous, on the CPU.
            targets (B,): True classes.
            differentiate: Whether the gradient is wanted.

        Returns: Losses (B,) float64, NaN where `plain` shall compute the row, and the gradient (B,
        C) or None.
        """

    @abstractmethod
    def plain(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Losses (B,) of scores (B, C); can be differentiated by autograd."""

    def parts(self, targets: np.ndarray) -> list[tuple[slice, Cut]]:
        """How the targets cut their rows, in parts that fit into the cache."""
        return list(
            Cut(self.lengths.numpy().take(targets, axis=0)).parts(max(1, CHUNK // self.num_classes))
        )

    def in_order(self, values: np.ndarray) -> np.ndarray:
        """Values (B, C) in class order -> with the classes in depth-first order."""
        return values if self.order is None else _take(values, self.order)

    def in_class_order(self, values: np.ndarray) -> np.ndarray:
        """The inverse of `in_order`."""
        return values if self.inverse is None else _take(values, self.inverse)

    def _table(self, name: str, table: Tensor | None) -> None:
        self.register_buffer(name, table, persistent=False)

    def _complete(
        self, scores: Tensor, targets: Tensor, differentiate: bool
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """`rows`, with what they leave open computed by `plain`."""
        losses, gradient = self.rows(scores, targets.numpy(), differentiate)
        missing = np.isnan(losses)
        if missing.any():
            with torch.enable_grad():
                x = scores[torch.from_numpy(missing)].requires_grad_()
                exact = self.plain(x, targets[torch.from_numpy(missing)])
                (slope,) = torch.autograd.grad(exact.sum() / len(scores), x)
            losses[missing] = exact.detach().numpy()
            if differentiate:
                gradient[missing] = slope.numpy()
        return losses, gradient


class _RowLoss(torch.autograd.Function):
    """The mean of a TreeLoss on the CPU; its gradient is ready when the forward pass ends."""

    @staticmethod
    def forward(ctx, scores: Tensor, targets: Tensor, loss: TreeLoss) -> Tensor:
        with np.errstate(all="ignore"):
            losses, gradient = loss._complete(
                scores.detach().contiguous(), targets, ctx.needs_input_grad[0]
            )
        if gradient is not None:
            ctx.save_for_backward(torch.from_numpy(gradient))
        return torch.tensor(losses.mean(), dtype=scores.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_output: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        factor = (
            grad_output.item()
        )  # mostly 1, and then the product would cost a tenth of the loss for nothing
        return gradient if factor == 1 else gradient * factor, None, None


def _take(values: np.ndarray, columns: Tensor) -> np.ndarray:
    # The mode "wrap" spares the copy that the default mode makes to leave `out` alone after an
    # error.
    return np.take(values, columns.numpy(), axis=1, out=np.empty_like(values), mode="wrap")
