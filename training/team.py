"""Several processes that train one model together, as torchrun starts them. One process is a team
of one.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import torch
from torch import distributed as dist

# others wait while the first one decodes images; torchrun notices who died
LONGEST_SILENCE = timedelta(days=1)


class FirstFailed(RuntimeError):
    """The first process of the team failed, and says why; the other processes exit quietly."""


@dataclass(frozen=True)
class Team:
    """This process's place among those that train together. Every method but the properties is
    called by all of them.

    Attributes:
        rank: Number of this process, from 0.
        size: How many there are.
        local_rank: Number of this process on its machine; None where a process is alone.
    """

    rank: int = 0
    size: int = 1
    local_rank: int | None = None

    @property
    def first(self) -> bool:
        """Whether this process writes, prints and decides."""
        return self.rank == 0

    @property
    def launcher(self) -> str:
        """How the team was started, before the script's name."""
        if self.size == 1:
            return "python"
        here = int(os.environ.get("LOCAL_WORLD_SIZE", self.size))
        machines = f"--nnodes {self.size // here} ... " if here < self.size else ""
        return f"torchrun {machines}--nproc_per_node {here}"

    def share(self, value: object = None) -> object:
        """The first process's value."""
        if self.size == 1:
            return value
        holder = [value]
        dist.broadcast_object_list(holder, src=0)
        return holder[0]

    def on_first(self, action: Callable[..., object], *arguments: object) -> object:
        """What the first process gets from an action that it alone takes.

        Raises: FirstFailed: In the others, if the action fails.
        """
        if self.size == 1:
            return action(*arguments)
        if not self.first:
            result, failed = self.share()
            if failed:
                raise FirstFailed("the first process failed")
            return result
        try:
            result = action(*arguments)
        except BaseException:
            self.share((None, True))
            raise
        return self.share((result, False))[0]

    def first_then_others(self, action: Callable[..., object], *arguments: object) -> object:
        """Each process's own result of an action; the others begin when the first has ended."""
        results = []

        def keep() -> None:  # the result itself stays in its process
            results.append(action(*arguments))

        self.on_first(keep)
        return results[0] if self.first else action(*arguments)

    def check_equal(self, value: object, message: str) -> None:
        """Raises: ValueError: If not all have the same value; FirstFailed: In all but the first."""
        values = self.gather(value)

        def check() -> None:
            if any(other != value for other in values):
                raise ValueError(message)

        self.on_first(check)

    def gather(self, value: object) -> list:
        """Everyone's value, in the order of ranks, for the first process; nothing for the
        others.
        """
        if self.size == 1:
            return [value]
        values = [None] * self.size if self.first else None
        dist.gather_object(value, values)
        return values or []

    def sum(self, *tensors: torch.Tensor) -> None:
        """Replaces tensors by their sums over all processes."""
        if self.size > 1:
            for tensor in tensors:
                dist.all_reduce(tensor)

    def counts(self, total: int) -> list[int]:
        """How many of `total` items each process has in `my_share`."""
        return [total // self.size + (rank < total % self.size) for rank in range(self.size)]

    def my_share(self, items: np.ndarray) -> np.ndarray:
        """This process's items: every item is some process's, and one's are neighbours."""
        return np.array_split(items, self.size)[self.rank]

    def weigh(self, loss: torch.Tensor, count: int, total: int, reduction: str) -> torch.Tensor:
        """The loss of this process's `count` images of a batch of `total`, times what makes the
        average of all processes' gradients that of the whole batch's mean, or sum.
        """
        if self.size == 1:
            return loss
        return loss * (self.size * count / total if reduction == "mean" else self.size)

    def gather_rows(self, tensor: torch.Tensor, total: int) -> torch.Tensor:
        """Rows (total, ...) of a batch of which each process has its `my_share`, in the batch's
        order.
        """
        if self.size == 1:
            return tensor
        counts = self.counts(total)
        padded = tensor.new_zeros(max(counts), *tensor.shape[1:])
        padded[: len(tensor)] = tensor
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts)])

    def whole_batch(self, own: torch.Tensor, total: int) -> torch.Tensor:
        """As `gather_rows`, where the rows of this process keep their gradient."""
        if self.size == 1:
            return own
        gathered = self.gather_rows(own.detach(), total)
        first = sum(self.counts(total)[: self.rank])
        return torch.cat([gathered[:first], own, gathered[first + len(own) :]])

    def divide_gradient(self, same: torch.Tensor) -> torch.Tensor:
        """What all processes have alike, with this process's part of its gradient."""
        return same if self.size == 1 else same.detach() + (same - same.detach()) / self.size


ALONE = Team()


@contextmanager
def join(on_cpu: bool) -> Iterator[Team]:
    """The team that torchrun's environment describes; where there is none, a team of one.

    Args:
        on_cpu: Talk by gloo alone. Tensors on a GPU need NCCL.

    Raises: ValueError: If the environment describes only half of a team, or its GPUs cannot talk.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) < 2:
        yield ALONE
        return
    if "LOCAL_RANK" not in os.environ:
        raise ValueError(
            "the environment has WORLD_SIZE but no LOCAL_RANK: start several processes with"
            " torchrun"
        )
    if not (on_cpu or dist.is_nccl_available()):
        raise ValueError(
            "several processes cannot share GPUs here: PyTorch has no NCCL, as on Windows; start"
            " one process (--GPU 0,1 uses two GPUs), or compute on the processor, --GPU cpu"
        )
    dist.init_process_group("gloo" if on_cpu else "cpu:gloo,cuda:nccl", timeout=LONGEST_SILENCE)
    try:
        yield Team(dist.get_rank(), dist.get_world_size(), int(os.environ["LOCAL_RANK"]))
    finally:
        dist.destroy_process_group()
