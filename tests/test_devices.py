"""Which devices a run gets; no GPU is needed, as what CUDA and nvidia-smi say is made up."""

import os
import subprocess
import sys

import pytest
import torch
from images import make_learnable_folder
from trained import train_small

from training import devices, experiment
from training.devices import choose_devices
from training.setup import _spread
from training.team import ALONE

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


@pytest.fixture
def a_mac(no_gpu, monkeypatch):
    monkeypatch.setattr(
        torch.accelerator, "current_accelerator", lambda check_available: torch.device("mps")
    )


def test_the_gpu_of_a_mac_computes_the_trunk_where_it_is_asked_for(a_mac, capsys):
    chosen = choose_devices("mps")
    assert (chosen.main.type, chosen.of_trunk.type, chosen.gpus) == ("cpu", "mps", ())
    assert chosen.name == "the GPU of a Mac (mps), and the head on the CPU"
    assert choose_devices(None).of_trunk.type == "cpu"
    assert "--GPU mps tries the GPU of a Mac" in capsys.readouterr().err


@pytest.mark.parametrize(
    "gpu, rank, message",
    [
        ("0", None, "no CUDA device; use --GPU mps or --GPU cpu"),
        ("xpu", None, "does not find a GPU of Intel; use --GPU cpu"),
        ("mps", 0, "several processes train on CUDA GPUs or with --GPU cpu"),
    ],
)
def test_what_the_gpu_of_a_mac_is_not_for_is_refused(a_mac, gpu, rank, message):
    with pytest.raises(ValueError, match=message):
        choose_devices(gpu, 1, rank)


def test_a_gpu_that_is_not_cudas_is_refused_where_there_is_none(no_gpu):
    with pytest.raises(ValueError, match="torch does not find the GPU of a Mac"):
        choose_devices("mps")


def test_cuda_lists_gpus_as_nvidia_smi_does_from_the_first_question(monkeypatch):
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    monkeypatch.setattr(
        torch.cuda, "device_count", lambda: int(os.environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID")
    )
    assert devices.count_gpus() == 1


@pytest.mark.parametrize("replicas", [1, 2, 3, 4, 8])
def test_no_replica_is_given_a_single_image_in_training(replicas):
    for images in range(1, 40):
        chunks = [len(chunk) for chunk in torch.zeros(images).chunk(replicas)]
        assert devices.replica_shares(images, replicas) == chunks  # as DataParallel scatters
        count = devices.count_replicas(images, replicas)
        shares = [len(chunk) for chunk in torch.zeros(images).chunk(count)]
        assert sum(shares) == images and (min(shares) > 1 or images == 1)
        if min(chunks) > 1:
            assert count == replicas  # nothing changes where no share is too small


@pytest.mark.parametrize(
    "images, shares", [(1, [1]), (2, [2]), (3, [3]), (4, [2, 2]), (5, [3, 2]), (9, [3, 3, 3])]
)
def test_a_batch_whose_parts_would_be_single_images_goes_to_fewer_of_four_replicas(images, shares):
    assert devices.replica_shares(images, devices.count_replicas(images, 4)) == shares


@pytest.fixture
def replicas_on_the_cpu(monkeypatch):
    """DataParallel on the CPU alone: nothing but two cards is missing. Returns how many images each
    call of a replica was given.
    """
    shares = []

    def scatter(inputs, kwargs, ids, dim):
        parts = list(zip(*(tensor.chunk(len(ids)) for tensor in inputs)))
        return parts, [kwargs for _ in parts]

    def apply(replicas, inputs, kwargs, ids):
        shares.append([len(part[0]) for part in inputs])
        return [one(*part, **more) for one, part, more in zip(replicas, inputs, kwargs)]

    made_up = {
        "_get_available_device_type": lambda: "cpu",
        "_get_device_index": lambda index, *_: index,
        "chain": lambda *_: (),  # of the tensors that must be on the first GPU
        "scatter_kwargs": scatter,
        "replicate": lambda network, ids, detach: [network for _ in ids],
        "parallel_apply": apply,
        "gather": lambda outputs, device, dim: torch.cat(outputs, dim),
    }
    for name, function in made_up.items():
        monkeypatch.setattr(sys.modules[torch.nn.DataParallel.__module__], name, function)
    return shares


def test_training_on_several_gpus_shares_out_as_planned(replicas_on_the_cpu):
    four = devices.Devices(torch.device("cpu"), (0, 1, 2, 3))
    alone = torch.nn.Linear(2, 2)
    spread = _spread(alone, four, ALONE)
    images = torch.randn(5, 2)
    gradients = []
    for network in (alone, spread.train()):
        alone.zero_grad()
        network(images).square().sum().backward()
        gradients.append(alone.weight.grad.clone())
    torch.testing.assert_close(*gradients)
    torch.testing.assert_close(spread.eval()(images), alone(images))
    assert replicas_on_the_cpu == [[3, 2], [2, 2, 1]]  # no single image in training


def test_a_run_on_two_gpus_trains_and_is_recorded(replicas_on_the_cpu, tmp_path, monkeypatch):
    two = devices.Devices(torch.device("cpu"), (0, 1))
    monkeypatch.setattr(experiment, "choose_devices", lambda *_: two)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "card")
    images = make_learnable_folder(tmp_path / "images", ("A/a", "A/b", "B/c"), 5)
    flags = ("--method", "DR", "--batch_size", "5", "--loss", "hierarchical")
    status, run = train_small(images, tmp_path / "runs", *flags)
    assert status == 0 and run.finished
    assert all(len(shares) == 2 and min(shares) > 1 for shares in replicas_on_the_cpu[:2])
    assert not any(name.startswith("module.") for name in run.checkpoint("last.pt")["model"])


@pytest.mark.parametrize(
    "error, lacking",
    [
        (MemoryError(), True),
        (OSError(12, "Cannot allocate memory"), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("can't start new thread"), True),
        (OSError(28, "No space left on device"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_errors_that_say_that_memory_has_run_out_are_known(error, lacking):
    assert devices.lacks_memory(error) is lacking
