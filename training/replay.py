"""On a GPU: the kernels of a loss launched as one. A loss over the tree is dozens of small kernels,
and to launch one takes longer than to run it.
"""

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from losses import Loss

Reading = Tensor | Sequence["Reading"]


class ReplayedLoss:
    """A loss on a GPU that from its second epoch on is replayed as a CUDA graph, forward and
    backward; batches of another shape than the first, such as the last of an epoch, are computed
    as ever. Its numbers are those of the loss itself.

    A value and its gradient live until the next call: mixtures of images, which need two at a time,
    are not for it.
    """

    def __init__(self, loss: Loss):
        self.loss = loss
        self._samples: tuple[Reading, ...] | None = None  # of the first call
        self._shapes: list[tuple] = []
        self._graph = None

    def start_epoch(self) -> None:
        """Records the loss when it is known what it is called with. Between epochs, because no
        other thread may ask anything of the GPU meanwhile.
        """
        if not self._samples or not self.loss.replayable:
            return
        samples, self._samples = self._samples, ()
        try:
            self._graph = torch.cuda.make_graphed_callables(
                lambda *inputs: self.loss(*inputs), samples, allow_unused_input=True
            )
            self._shapes = _shapes(samples)
        except RuntimeError as error:  # of drivers and devices that cannot
            reason = str(error).partition("\n")[0]
            warnings.warn(f"the loss is computed kernel by kernel: {reason}", stacklevel=2)

    def __call__(self, *inputs: Reading) -> Tensor:
        """The loss of readings of a head, then targets, as `Loss`."""
        if self._graph is not None and _shapes(inputs) == self._shapes:
            return self._graph(*inputs)
        if self._samples is None:
            self._samples = tuple(tree_map(_like, list(inputs)))
        return self.loss(*inputs)


def _like(tensor: Tensor) -> Tensor:
    return tensor.detach().clone().requires_grad_(tensor.requires_grad)


def _shapes(inputs: Sequence[Reading]) -> list[tuple]:
    return [(one.shape, one.dtype, one.requires_grad) for one in tree_leaves(list(inputs))]
