"""On a GPU: the kernels of a step launched as one. A small network, or a loss over the tree, is
dozens of small kernels, and to launch one takes longer than to run it.
"""

import gc
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call

from losses import Loss

ROOM = 4  # times the memory of a step that must be free: two for the recording, two for others
GIB = 2**30


class Replayed:
    """A part of a training step on a GPU that from its second epoch on is replayed as a CUDA graph,
    forward and backward; batches of another shape than the first, such as the last of an epoch, are
    computed as ever. Its numbers are those of the part itself; where a loss reads more than the
    scores they are so up to rounding, as gradients of both are added in another order.

    What it returns, and its gradient, live until the next call.

    Args:
        compute: The part itself, kernel by kernel: tensors -> one or several.
        model: Whose weights it reads; None: it reads none that train.
    """

    name = ""  # in messages

    def __init__(self, compute: Callable, model: nn.Module | None = None):
        self.compute, self.model = compute, model
        self._samples: tuple[Tensor, ...] | None = None  # of the first call
        self._kinds: list[tuple] = []
        self._graph, self._capturing = None, False

    @property
    def is_replayed(self) -> bool:
        """Whether it has been recorded."""
        return self._graph is not None

    @property
    def can_record(self) -> bool:
        """Whether it is already what it will be."""
        return True

    def why_not(self) -> str | None:
        """Why it is better not recorded at all."""
        return None

    def start_epoch(self) -> None:
        """Records the part when it is known what it is called with. Call it between epochs, when no
        other thread asks anything of the GPU, in training mode, and before the epoch is seeded: to
        record something is to run it a few times.

        Raises: RuntimeError: If recording fails so late that torch cannot go on.
        """
        if not self._samples or not self.can_record:
            return
        samples, self._samples = self._samples, ()
        reason = self.why_not()
        if reason is None:
            reason = self._try_to_record(samples)
        if reason is not None:
            warnings.warn(
                f"the {self.name} is computed kernel by kernel, with the same numbers and for small"
                f" networks slower: {reason}",
                stacklevel=2,
            )

    def __call__(self, *inputs: Tensor):
        """As `compute`."""
        if self._graph is not None and _kinds(inputs) == self._kinds:
            return self._graph(*inputs)
        if self._samples is None:
            self._samples = tuple(map(_like, inputs))
        return self.compute(*inputs)

    def _try_to_record(self, samples: tuple[Tensor, ...]) -> str | None:
        """Why it could not be recorded; None if it was."""
        self._capturing = False
        try:
            with (
                torch.cuda.device(samples[0].device),
                _refusing_to_wait(),
                _leaving_garbage(),
                _mixing_streams(),
            ):
                self._graph, self._kinds = self._record(samples), _kinds(samples)
        except Exception as error:  # whatever a network may raise
            reason = str(error).partition("\n")[0]
            if self._capturing:
                raise RuntimeError(
                    f"the {self.name} cannot be recorded as a CUDA graph ({reason}); the same"
                    " command with --no_graphs --resume goes on without"
                ) from error
            return reason
        return None

    def _record(self, samples: tuple[Tensor, ...]) -> Callable:
        """What replays it, recorded with these samples of its inputs."""
        if self.model is None:
            return self._recorded(self.compute, samples)
        whole = _Whole(self.model, self.compute)
        names, weights = zip(*whole.named_parameters())
        # not the weights themselves, for which the autograd graph that is recorded would stay alive
        # on the stream of the recording, but others in the same memory
        aliases = [weight.detach().requires_grad_(weight.requires_grad) for weight in weights]
        before = [(buffer, buffer.clone()) for buffer in whole.buffers()]

        def compute(*inputs: Tensor):
            inputs, weights = inputs[: -len(names)], inputs[-len(names) :]
            return functional_call(whole, dict(zip(names, weights)), inputs)

        try:
            graph = self._recorded(compute, (*samples, *aliases))
        finally:
            for buffer, value in before:  # batch norms have moved
                buffer.copy_(value)
        return lambda *inputs: graph(*inputs, *weights)

    def _recorded(self, compute: Callable, samples: tuple[Tensor, ...]) -> Callable:
        def noted(*inputs: Tensor):
            self._capturing = torch.cuda.is_current_stream_capturing()
            return compute(*inputs)

        return torch.cuda.make_graphed_callables(noted, samples, allow_unused_input=True)


class ReplayedLoss(Replayed):
    """A loss, called with readings of a head, then targets. Mixtures of images, which need two of
    its values at a time, are not for it.
    """

    name = "loss"

    def __init__(self, loss: Loss):
        super().__init__(loss)
        self.loss = loss

    @property
    def can_record(self) -> bool:
        return self.loss.replayable


class ReplayedModel(Replayed):
    """A model in training, from images and their sizes to embeddings and scores. Left alone where a
    graph, which keeps memory for all that a step computes, might leave too little for the rest.
    """

    name = "network"

    def why_not(self) -> str | None:
        device = next(self.model.parameters()).device
        free, _ = torch.cuda.mem_get_info(device)
        step = torch.cuda.max_memory_allocated(device) - torch.cuda.memory_allocated(device)
        if ROOM * step <= free:
            return None
        return (
            f"its CUDA graph would take {step / GIB:.1f} GiB of the GPU's memory, of which"
            f" {free / GIB:.1f} are free"
        )

    def __call__(self, *inputs: Tensor):
        if self._samples is None:  # from here on the largest is that of an epoch
            torch.cuda.reset_peak_memory_stats(inputs[0].device)
        return super().__call__(*inputs)


class _Whole(nn.Module):
    """A model, called by a function that calls it."""

    def __init__(self, model: nn.Module, compute: Callable):
        super().__init__()
        self.model, self.compute = model, compute

    def forward(self, *inputs: Tensor):
        return self.compute(*inputs)


@contextmanager
def _refusing_to_wait() -> Iterator[None]:
    """Makes torch refuse what waits for the GPU, as code does that looks at values: it cannot be
    recorded, and better fails before than while it is.
    """
    mode = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():  # that not all is found, says torch
        warnings.filterwarnings("ignore", "Synchronization debug mode")
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(mode)


@contextmanager
def _leaving_garbage() -> Iterator[None]:
    """Collects garbage before, and none meanwhile: a graph of an earlier run that is dropped while
    another one is recorded breaks both.
    """
    gc.collect()
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


@contextmanager
def _mixing_streams() -> Iterator[None]:
    """Spares users a warning of torch 2.11, which warms up on one stream and records on another."""
    warn = torch.autograd.graph.set_warn_on_accumulate_grad_stream_mismatch
    warn(False)
    try:
        yield
    finally:
        warn(True)


def _like(tensor: Tensor) -> Tensor:
    return tensor.detach().clone().requires_grad_(tensor.requires_grad)


def _kinds(inputs: tuple[Tensor, ...]) -> list[tuple]:
    return [(one.shape, one.dtype, one.requires_grad) for one in inputs]
