"""Which devices a run gets; no GPU is needed, as what CUDA and nvidia-smi say is made up."""

import os
import subprocess

import pytest
import torch

from training import devices
from training.devices import choose_devices

LISTED = "GPU-aa, 97, 70000\nGPU-bb, 0, 30000\nGPU-cc, 3, 60000\n"


@pytest.fixture
def three_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.setattr(
        devices.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0, LISTED)
    )
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)


@pytest.mark.parametrize("ngpus, expected", [(1, (2,)), (2, (2, 1)), (3, (2, 1, 0))])
def test_auto_takes_idle_gpus_with_most_free_memory_first(three_gpus, ngpus, expected):
    assert choose_devices("auto", ngpus).gpus == expected


@pytest.mark.parametrize(
    "visible, expected", [("0,1", (1,)), ("GPU-aa,GPU-cc", (1,)), ("GPU-cc", (0,)), ("MIG-x", (0,))]
)
def test_auto_counts_the_visible_gpus_only(three_gpus, monkeypatch, visible, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(visible.split(",")))
    assert choose_devices("auto").gpus == expected


def test_without_nvidia_smi_the_first_ones_are_taken(three_gpus, monkeypatch):
    def missing(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr(devices.subprocess, "run", missing)
    assert choose_devices(None, 2).gpus == (0, 1)


@pytest.mark.parametrize("gpu, expected", [(None, 1), ("auto", 1), ("2,0", 0)])
def test_each_process_of_a_team_has_one_gpu(three_gpus, gpu, expected):
    chosen = choose_devices(gpu, local_rank=1)
    assert chosen.gpus == (expected,) and chosen.main == torch.device("cuda", expected)


@pytest.mark.parametrize(
    "gpu, ngpus, rank, message",
    [
        ("3", 1, None, "below 3"),
        ("1,1", 1, None, "different"),
        ("first", 1, None, "cpu, auto, or indices"),
        ("auto", 4, None, "only 3 GPUs are here"),
        ("auto", 2, 0, "--nproc_per_node"),
        ("0,1", 1, 2, "finds only 2 GPUs"),
    ],
)
def test_gpus_that_are_not_there_are_refused(three_gpus, gpu, ngpus, rank, message):
    with pytest.raises(ValueError, match=message):
        choose_devices(gpu, ngpus, rank)


@pytest.mark.parametrize("gpu, ngpus", [("0", 1), ("auto", 1), (None, 2)])
def test_asking_for_gpus_where_there_are_none_is_refused(no_gpu, gpu, ngpus):
    with pytest.raises(ValueError, match="use --GPU cpu"):
        choose_devices(gpu, ngpus)


def test_the_cpu_stands_in_where_no_gpu_was_asked_for(no_gpu, capsys):
    assert (
        choose_devices(None).main == torch.device("cpu")
        and "computing on the CPU" in capsys.readouterr().err
    )
    assert choose_devices("cpu").gpus == ()


def test_cuda_lists_gpus_as_nvidia_smi_does_from_the_first_question(monkeypatch):
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    monkeypatch.setattr(
        torch.cuda, "device_count", lambda: int(os.environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID")
    )
    assert devices.count_gpus() == 1
