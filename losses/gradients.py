"""What losses with hand-written gradients share."""

from collections.abc import Callable

import torch
from torch import Tensor


def times(gradient: Tensor, grad_output: Tensor) -> Tensor:
    """The gradient of a loss that is ready when the forward pass ends, times what comes from above.

    That is mostly 1, and the product would cost a tenth of a tree loss for nothing, or as much as
    cross-entropy; asking is free on the CPU alone.
    """
    if grad_output.device.type == "cpu" and grad_output.item() == 1:
        return gradient
    return gradient * grad_output


def by_hand(values: Callable, *given: Tensor) -> Tensor:
    """What a function of tensors gives, with the gradients that it gives itself.

    Args:
        values: From what is given to a scalar and its gradient in each of them; the scalar alone
            will do where none requires one.
        given: In full precision, see `losses.base.full_precision`.
    """
    return _ByHand.apply(values, *given)


class _ByHand(torch.autograd.Function):
    """A third of the passes that autograd makes, and far fewer calls."""

    @staticmethod
    def forward(ctx, values: Callable, *given: Tensor) -> Tensor:
        value, *gradients = values(*given)
        ctx.save_for_backward(*gradients)
        return value

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        return None, *(times(gradient, grad_output) for gradient in ctx.saved_tensors)
