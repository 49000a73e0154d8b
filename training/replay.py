"""On a GPU: the kernels of a step launched as one. A small network, or a loss over the tree, is
dozens of small kernels, and to launch one takes longer than to run it.
"""

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_leaves, tree_map

from losses import Loss

Reading = Tensor | Sequence["Reading"]


class Replayed:
    """A part of a training step on a GPU that from its second epoch on is replayed as a CUDA graph,
    forward and backward; batches of another shape than the first, such as the last of an epoch, are
    computed as ever. Its numbers are those of the part itself.

    What it returns, and its gradient, live until the next call.

    Args:
        compute: The part itself, kernel by kernel.
        model: Whose weights it reads; None: it reads none that train.
    """

    name = ""  # in messages

    def __init__(self, compute: Callable[..., Reading], model: nn.Module | None = None):
        self.compute, self.model = compute, model
        self._samples: tuple[Reading, ...] | None = None  # of the first call
        self._shapes: list[tuple] = []
        self._graph = None

    @property
    def ready(self) -> bool:
        """Whether it can be recorded now."""
        return True

    def start_epoch(self) -> None:
        """Records the part when it is known what it is called with. Between epochs, because no
        other thread may ask anything of the GPU meanwhile; and before the epoch is seeded, because
        what is recorded runs a few times.
        """
        if not self._samples or not self.ready:
            return
        samples, self._samples = self._samples, ()
        mode = torch.cuda.get_sync_debug_mode()
        torch.cuda.set_sync_debug_mode("error")  # what looks at values cannot be recorded
        try:
            self._graph, self._shapes = self._record(samples), _shapes(samples)
        except RuntimeError as error:  # of parts, drivers and devices that cannot
            reason = str(error).partition("\n")[0]
            warnings.warn(f"the {self.name} is computed kernel by kernel: {reason}", stacklevel=2)
        finally:
            torch.cuda.set_sync_debug_mode(mode)

    def __call__(self, *inputs: Reading) -> Reading:
        """As `compute`."""
        if self._graph is not None and _shapes(inputs) == self._shapes:
            return self._graph(*inputs)
        if self._samples is None:
            self._samples = tuple(tree_map(_like, list(inputs)))
        return self.compute(*inputs)

    def _record(self, samples: tuple[Reading, ...]) -> Callable[..., Reading]:
        """What replays it, recorded with these samples of its inputs."""
        if self.model is None:
            return torch.cuda.make_graphed_callables(
                lambda *inputs: self.compute(*inputs), samples, allow_unused_input=True
            )
        whole = _Whole(self.model, self.compute)
        names, weights = zip(*whole.named_parameters())
        # not the weights themselves, for which the autograd graph that is recorded would stay alive
        # on the stream of the recording, but others in the same memory
        aliases = [weight.detach().requires_grad_(weight.requires_grad) for weight in weights]
        before = [(buffer, buffer.clone()) for buffer in whole.buffers()]

        def compute(*inputs: Reading) -> Reading:
            inputs, weights = inputs[: -len(names)], inputs[-len(names) :]
            return functional_call(whole, dict(zip(names, weights)), inputs)

        try:
            graph = torch.cuda.make_graphed_callables(
                compute, (*samples, *aliases), allow_unused_input=True
            )
        finally:
            for buffer, value in before:  # batch norms have moved
                buffer.copy_(value)
        return lambda *inputs: graph(*inputs, *weights)


class ReplayedLoss(Replayed):
    """A loss, called with readings of a head, then targets. Mixtures of images, which need two of
    its values at a time, are not for it.
    """

    name = "loss"

    def __init__(self, loss: Loss):
        super().__init__(loss)
        self.loss = loss

    @property
    def ready(self) -> bool:
        return self.loss.replayable


class ReplayedModel(Replayed):
    """A model in training, from images and their sizes to embeddings and scores. Left alone where a
    graph, which keeps memory for all that a step computes, might leave too little for the rest.
    """

    name = "network"

    @property
    def ready(self) -> bool:
        device = next(self.model.parameters()).device
        free, _ = torch.cuda.mem_get_info(device)
        # once for the graph, and once for the steps by which it is recorded
        return 2 * torch.cuda.max_memory_allocated(device) <= free


class _Whole(nn.Module):
    """A model, called by a function that calls it."""

    def __init__(self, model: nn.Module, compute: Callable[..., Reading]):
        super().__init__()
        self.model, self.compute = model, compute

    def forward(self, *inputs: Reading) -> Reading:
        return self.compute(*inputs)


def _like(tensor: Tensor) -> Tensor:
    return tensor.detach().clone().requires_grad_(tensor.requires_grad)


def _shapes(inputs: Sequence[Reading]) -> list[tuple]:
    return [(one.shape, one.dtype, one.requires_grad) for one in tree_leaves(list(inputs))]
