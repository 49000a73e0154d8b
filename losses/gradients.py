"""What losses with hand-written gradients share."""

from torch import Tensor


def times(gradient: Tensor, grad_output: Tensor) -> Tensor:
    """The gradient of a loss that is ready when the forward pass ends, times what comes from above.

    That is mostly 1, and the product would cost a tenth of a tree loss for nothing, or as much as
    cross-entropy; asking is free on the CPU alone.
    """
    if grad_output.device.type == "cpu" and grad_output.item() == 1:
        return gradient
    return gradient * grad_output
