"""Chooses the devices of a run before CUDA is initialised."""

import os
import subprocess
import sys
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Devices:
    """The main device, and the GPU indices that DataParallel spreads a batch over (empty on the CPU)."""

    main: torch.device
    gpus: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        return torch.cuda.get_device_name(self.main) if self.gpus else "CPU"


def choose_devices(gpu: str | None, ngpus: int = 1) -> Devices:
    """Devices for `--GPU gpu --ngpus ngpus`.

    Args:
        gpu: 'cpu'; indices such as '0' or '0,1'; 'auto' for the GPUs with most free memory; None for 'auto' where
            there is a GPU and the CPU, said on stderr, where there is none.
        ngpus: How many GPUs 'auto' takes.

    Raises: ValueError: If a GPU is asked for that is not there.
    """
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # the order nvidia-smi lists them in
    if gpu == "cpu":
        return Devices(torch.device("cpu"))
    present = torch.cuda.device_count()
    if present == 0:
        if gpu is not None:
            raise ValueError(f"--GPU {gpu}: this machine shows no CUDA device; use --GPU cpu")
        print("no GPU found: computing on the CPU", file=sys.stderr)
        return Devices(torch.device("cpu"))
    chosen = _freest(ngpus, present) if gpu in (None, "auto") else _indices(gpu, present)
    return Devices(torch.device("cuda", chosen[0]), chosen)


def _indices(gpu: str, present: int) -> tuple[int, ...]:
    try:
        chosen = tuple(int(part) for part in gpu.split(","))
    except ValueError:
        raise ValueError(f"--GPU {gpu}: give cpu, auto, or indices such as 0 or 0,1") from None
    if len(set(chosen)) != len(chosen) or not all(0 <= index < present for index in chosen):
        raise ValueError(f"--GPU {gpu}: indices must be different and below {present}, the number of GPUs here")
    return chosen


def _freest(count: int, present: int) -> tuple[int, ...]:
    if count > present:
        raise ValueError(f"--ngpus {count}: only {present} GPU{'s are' if present > 1 else ' is'} here")
    free = _free_memory(present)
    return tuple(sorted(range(present), key=lambda index: -free[index])[:count])


def _free_memory(present: int) -> list[int]:
    """Free MiB of each visible GPU by nvidia-smi, which takes no memory itself; zeros where it cannot tell."""
    query = ["nvidia-smi", "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
    try:
        lines = subprocess.run(query, capture_output=True, text=True, check=True, timeout=30).stdout.split()
        free = [int(line) for line in lines]
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        order = [int(index) for index in visible.split(",")] if visible else range(present)
        return [free[index] for index in order][:present]
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return [0] * present
