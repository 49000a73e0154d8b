"""Chooses the devices of a run before CUDA is initialised."""

import errno
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from options.parser import OTHER_GPUS

# what torch, its libraries and Python say in a RuntimeError where memory, or an address space, ends
MEMORY_SIGNS = (
    "allocate memory",
    "out of memory",
    "bad_alloc",
    "start new thread",
    "could not create a primitive",
)
BUSY_PERCENT = 10  # a GPU that computes for more of the time is not idle


@dataclass(frozen=True)
class Devices:
    """What a run computes on.

    Attributes:
        main: The device of the model, but for its trunk where that has one of its own.
        gpus: Indices of the GPUs that DataParallel spreads a batch over; empty on the CPU.
        graphs: Whether steps may be replayed as CUDA graphs, see `training.replay`.
        fused_loss: Whether a loss may be one kernel, see `losses.fused`.
        trunk: Of the backbone's trunk, see `training.other_gpus`; None: `main`.
    """

    main: torch.device
    gpus: tuple[int, ...] = ()
    graphs: bool = True
    fused_loss: bool = False
    trunk: torch.device | None = None

    @property
    def of_trunk(self) -> torch.device:
        """Where the backbone's trunk computes."""
        return self.trunk or self.main

    @property
    def name(self) -> str:
        if self.trunk is not None:
            return f"{OTHER_GPUS[self.trunk.type]} ({self.trunk.type}), and the head on the CPU"
        return torch.cuda.get_device_name(self.main) if self.gpus else "CPU"


class EvenDataParallel(nn.DataParallel):
    """DataParallel that gives no replica a single image in training, from which batch norm has no
    variance; a batch that cannot be shared out so is computed by fewer GPUs, or by one.
    """

    def scatter(self, inputs: tuple, kwargs: dict | None, device_ids: Sequence[int]) -> tuple:
        """Each replica's part of the inputs, whose first is the images (B, channels, H, W)."""
        if self.training:
            device_ids = device_ids[: count_replicas(len(inputs[0]), len(device_ids))]
        return super().scatter(inputs, kwargs, device_ids)


def replica_shares(images: int, replicas: int) -> list[int]:
    """How many images of a batch each replica gets, as `torch.chunk` cuts: all but the last get the
    same number, rounded up, which may leave fewer replicas than asked for.
    """
    share = -(-images // replicas)
    return [min(share, images - start) for start in range(0, images, share)] if images else []


def count_replicas(images: int, replicas: int) -> int:
    """The most replicas, up to `replicas`, of which none gets a single image; 1 if there are no
    such, and for a batch of one image.
    """
    possible = range(replicas, 1, -1)
    return next((count for count in possible if 1 not in replica_shares(images, count)), 1)


def lacks_memory(error: BaseException) -> bool:
    """Whether an error says that memory has run out, on a GPU or beside it."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, RuntimeError):
        return any(sign in str(error) for sign in MEMORY_SIGNS)
    return isinstance(error, MemoryError)


def choose_devices(gpu: str | None, ngpus: int = 1, local_rank: int | None = None) -> Devices:
    """Devices for `--GPU gpu --ngpus ngpus`.

    Args:
        gpu: 'cpu'; indices such as '0' or '0,1'; 'auto' for the GPUs that are idle and have most
            free memory; a name of OTHER_GPUS; None for 'auto' where there is a GPU of CUDA, and
            the CPU, said on stderr, where there is none.
        ngpus: How many GPUs 'auto' takes.
        local_rank: Of several processes on this machine that train together, which one this is: it
            gets one GPU, of those in `gpu` or of all.

    Raises: ValueError: If a GPU is asked for that is not there.
    """
    if gpu == "cpu":
        return Devices(torch.device("cpu"))
    if gpu in OTHER_GPUS:
        return _with_other_gpu(gpu, local_rank)
    present = count_gpus()
    if present == 0:
        other = _other_gpu()
        if gpu is not None or ngpus > 1:
            asked = f"--ngpus {ngpus}" if gpu is None else f"--GPU {gpu}"
            ways_out = " or ".join(f"--GPU {name}" for name in (other, "cpu") if name)
            raise ValueError(f"{asked}: this machine shows no CUDA device; use {ways_out}")
        if not local_rank:
            hint = f"; --GPU {other} tries {OTHER_GPUS[other]}" if other else ""
            kind = "CUDA GPU" if other else "GPU"
            print(f"no {kind} found: computing on the CPU{hint}", file=sys.stderr)
        return Devices(torch.device("cpu"))
    if local_rank is not None:
        return _one_of_several(gpu, ngpus, present, local_rank)
    chosen = _freest(ngpus, present) if gpu in (None, "auto") else _indices(gpu, present)
    return Devices(torch.device("cuda", chosen[0]), chosen)


def count_gpus() -> int:
    """How many GPUs CUDA shows, in the order in which nvidia-smi lists them; ask this first, as
    CUDA keeps its order.
    """
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    return torch.cuda.device_count()


def _other_gpu() -> str | None:
    """The name in OTHER_GPUS of what this machine has of them."""
    found = torch.accelerator.current_accelerator(check_available=True)
    return found.type if found is not None and found.type in OTHER_GPUS else None


def _with_other_gpu(name: str, local_rank: int | None) -> Devices:
    if local_rank is not None:
        raise ValueError(f"--GPU {name}: several processes train on CUDA GPUs or with --GPU cpu")
    if _other_gpu() != name:
        raise ValueError(f"--GPU {name}: torch does not find {OTHER_GPUS[name]}; use --GPU cpu")
    return Devices(torch.device("cpu"), trunk=torch.device(name))


def _one_of_several(gpu: str | None, ngpus: int, present: int, local_rank: int) -> Devices:
    if ngpus > 1:
        raise ValueError(
            f"--ngpus {ngpus}: under torchrun every process has one GPU; set --nproc_per_node"
            " instead"
        )
    chosen = tuple(range(present)) if gpu in (None, "auto") else _indices(gpu, present)
    if local_rank >= len(chosen):
        raise ValueError(
            f"process {local_rank + 1} of this machine finds only {len(chosen)} GPUs: lower"
            " --nproc_per_node"
        )
    device = torch.device("cuda", chosen[local_rank])
    torch.cuda.set_device(device)
    return Devices(device, (chosen[local_rank],))


def _indices(gpu: str, present: int) -> tuple[int, ...]:
    try:
        chosen = tuple(int(part) for part in gpu.split(","))
    except ValueError:
        raise ValueError(f"--GPU {gpu}: give cpu, auto, or indices such as 0 or 0,1") from None
    if len(set(chosen)) != len(chosen) or not all(0 <= index < present for index in chosen):
        raise ValueError(
            f"--GPU {gpu}: indices must be different and below {present}, the number of GPUs here"
        )
    return chosen


def _freest(count: int, present: int) -> tuple[int, ...]:
    if count > present:
        raise ValueError(
            f"--ngpus {count}: only {present} GPU{'s are' if present > 1 else ' is'} here"
        )
    busy_and_used = _load(present)
    return tuple(sorted(range(present), key=lambda index: busy_and_used[index])[:count])


def _load(present: int) -> list[tuple[bool, int]]:
    """Of each visible GPU, whether it computes, and minus its free MiB; by nvidia-smi, which takes
    no memory itself.

    Equal values where it cannot tell.
    """
    query = [
        "nvidia-smi",
        "--query-gpu=uuid,utilization.gpu,memory.free",
        "--format=csv,noheader,nounits",
    ]
    try:
        lines = subprocess.run(
            query, capture_output=True, encoding="utf-8", check=True, timeout=30
        ).stdout.splitlines()
        cells = [line.split(", ") for line in lines]
        loads = [(int(busy) >= BUSY_PERCENT, -int(free)) for _, busy, free in cells]
        order = _visible([uuid for uuid, _, _ in cells])
        return [loads[index] for index in order][:present]
    except (OSError, subprocess.SubprocessError, ValueError, IndexError, StopIteration):
        return [(False, 0)] * present


def _visible(uuids: Sequence[str]) -> list[int]:
    """Positions in nvidia-smi's list of the GPUs that CUDA_VISIBLE_DEVICES names by index or by
    (part of) their uuid.
    """
    names = os.environ.get("CUDA_VISIBLE_DEVICES")
    if not names:
        return list(range(len(uuids)))
    return [
        int(name)
        if name.isdigit()
        else next(i for i, uuid in enumerate(uuids) if uuid.startswith(name))
        for name in map(str.strip, names.split(","))
    ]
