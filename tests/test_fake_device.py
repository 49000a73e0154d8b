"""What trains, on an accelerator that is none: tensors of the CPU among those of the device are an
error there as on a GPU, and the numbers are the CPU's.

    FAKE_DEVICE=1 pytest tests/test_fake_device.py

compiles the device, `fake_device.cpp`, which takes about 12 seconds of processor time.
"""

import itertools
import os
import shutil
import subprocess
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from images import make_learnable_folder
from test_any_device import COEFFICIENTS, make_head, make_loss, run_all
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from trained import train_small
from trees import TREE

from benchmarks import gpu
from benchmarks.losses import random_tree
from data import Batches
from evaluation.model import Embedder, load_model
from losses import build_loss
from losses.penalties import Penalties
from models.backbones import build_backbone
from models.classifier import Classifier
from runs.folder import Run
from training import devices, experiment, loop

SOURCE = Path(__file__).parent / "helpers" / "fake_device.cpp"
TREE_LOSSES = ("hierarchical", "hxe", "soft_labels", "label_smoothing")
pytestmark = [
    pytest.mark.skipif(
        not os.environ.get("FAKE_DEVICE"),
        reason="12 s of compiling: FAKE_DEVICE=1 pytest tests/test_fake_device.py",
    ),
    pytest.mark.skipif(shutil.which("g++") is None, reason="needs the compiler g++"),
]


class Module:
    """What torch asks of the Python module of a device, torch.fake."""

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def device_count() -> int:
        return 1

    @staticmethod
    def current_device() -> int:
        return 0

    @staticmethod
    def is_initialized() -> bool:
        return True

    @staticmethod
    def _is_in_bad_fork() -> bool:
        return False

    @staticmethod
    def manual_seed_all(seed: int) -> None:
        """It draws no numbers of its own."""

    @staticmethod
    def get_amp_supported_dtype() -> list[torch.dtype]:
        return [torch.bfloat16]


@pytest.fixture(scope="module", autouse=True)
def fake_device(tmp_path_factory):
    """Compiles and loads the device; it stays until the process ends."""
    library = tmp_path_factory.mktemp("device") / "fake_device.so"
    home = Path(torch.__file__).parent
    includes = [f"-I{home / 'include'}", f"-I{home / 'include/torch/csrc/api/include'}"]
    flags = ["-std=c++20", "-O0", "-w", "-fPIC", "-shared", "-DAT_PER_OPERATOR_HEADERS"]
    links = [f"-L{home / 'lib'}", "-ltorch_cpu", "-lc10"]
    command = ["g++", *flags, *includes, str(SOURCE), "-o", str(library), *links]
    subprocess.run(command, check=True, timeout=300)
    torch.utils.rename_privateuse1_backend("fake")
    torch._register_device_module("fake", Module)
    torch.utils.generate_methods_for_privateuse1_backend()
    torch.ops.load_library(library)


def test_tensors_of_two_devices_are_an_error():
    here, there = torch.ones(2, 3), torch.ones(2, 3).to("fake")
    operations = [
        lambda: here + there,
        lambda: there.add_(here),
        lambda: F.linear(there, here),
        lambda: torch.cat([there, here]),
        lambda: there.gather(1, here.long()),
        lambda: there[here.bool()],
        lambda: F.cross_entropy(there, torch.tensor([0, 1])),
    ]
    for operation in operations:
        with pytest.raises(RuntimeError, match="same device"):
            operation()
    assert (there * 2 + torch.tensor(1.0)).sum().item() == 18  # a number may come from anywhere


def test_a_loss_left_on_the_cpu_is_an_error():
    scores, targets = torch.randn(4, 7).to("fake"), torch.arange(4).to("fake")
    for name in TREE_LOSSES:
        with pytest.raises(RuntimeError, match="same device"):
            build_loss(name, TREE)(scores, targets)


def test_heads_losses_and_updates_give_the_numbers_of_the_cpu():
    here, there = run_all("cpu"), run_all("fake")
    for key, value in here.items():
        torch.testing.assert_close(there[key].cpu(), value, rtol=1e-6, atol=1e-6, msg=str(key))


@pytest.mark.parametrize("spread", [1.0, 30.0, 3000.0])
def test_tree_losses_and_gradients_are_those_of_the_cpu(spread):
    tree = random_tree(300, 6, 3)
    torch.manual_seed(0)
    scores, classes = torch.randn(24, 300).double() * spread, torch.randint(300, (24,))
    nodes = torch.where(torch.arange(24) % 3 == 0, 300 + 1 + torch.arange(24), classes)
    for name, targets in itertools.product(TREE_LOSSES, (classes, nodes)):
        found = []
        for device in ("cpu", "fake"):
            x = scores.to(device).detach().requires_grad_()
            loss = build_loss(name, tree).to(device)
            loss.coarse = targets is nodes  # which only the CPU could see for itself
            value = loss(x, targets.to(device))
            value.backward()
            assert x.grad.device.type == device
            found.append((value.detach().cpu(), x.grad.cpu()))
        torch.testing.assert_close(*found, rtol=1e-6, atol=1e-9)


def steps_on(device, options, loss):
    """Two steps of a network with penalties; the losses and its weights, on the CPU."""
    torch.manual_seed(0)
    fixed = ("hr", "hr_gamma") if options.get("proxies") else ()
    coefficients = {name: 0.0 if name in fixed else value for name, value in COEFFICIENTS.items()}
    network = build_backbone("conv4", channels=3, dim=5, pretrained=False, image_size=(16, 16))
    model = Classifier(network, make_head("DR", options), size_inform=True)
    penalties = Penalties(coefficients, TREE, model, model.head, model.fresh_parts())
    model, penalties = model.to(device), penalties.to(device)
    loss = loss.to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    values = []
    for _ in range(2):
        images = torch.randint(256, (8, 3, 16, 16), dtype=torch.uint8)
        images = images.to(device, memory_format=torch.channels_last)
        sizes, targets = (
            torch.rand(8, 2).to(device),
            torch.arange(8).remainder(7).to(device),
        )
        embeddings = model(images, sizes)
        value = loss(model.head(embeddings), targets)
        total = value + sum(penalties(model, model.head.weight).values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        model.head.update_after_step(embeddings.detach(), targets)
        values.append(total.detach().cpu())
    return values, {name: tensor.cpu() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("options", [{}, {"proxies": "ema"}, {"dynamic": True}], ids=str)
def test_steps_of_a_network_with_penalties_are_those_of_the_cpu(options):
    for name in ("hierarchical", "urbani"):
        here = steps_on("cpu", options, make_loss(name, "DR", options))
        there = steps_on("fake", options, make_loss(name, "DR", options))
        torch.testing.assert_close(there, here, rtol=1e-6, atol=1e-6)


def keep_images(stay, *arguments, **options):
    """Batches whose images stay on the device, as on a GPU, or are read in every epoch."""
    batches = Batches(*arguments, **{**options, "resident": stay})
    assert batches.is_resident == stay
    return batches


@pytest.mark.parametrize("resident", [False, True], ids=["streamed", "resident"])
def test_a_run_of_train_py_is_that_of_the_cpu(tmp_path, monkeypatch, resident):
    names = ("Animals/a", "Animals/b", "Plants/c", "Plants/d")
    make_learnable_folder(tmp_path / "images", names, 10)
    flags = ["--loss", "hierarchical", "--use_val", "--dynamic", "--method", "DR", "--epochs", "2"]
    status, here = train_small(tmp_path / "images", tmp_path / "here", *flags)
    assert status == 0
    chosen = devices.Devices(torch.device("fake", 0))
    monkeypatch.setattr(experiment, "choose_devices", lambda *_: chosen)
    monkeypatch.setattr(loop, "Batches", partial(keep_images, resident))
    status, there = train_small(tmp_path / "images", tmp_path / "there", *flags)
    assert status == 0
    assert list(there.metrics["metric"]) == list(here.metrics["metric"])
    expected = here.epochs["train_loss"].to_list()
    assert there.epochs["train_loss"].to_list() == pytest.approx(expected, rel=1e-2)


def test_a_run_goes_on_where_another_device_left_it(tmp_path, monkeypatch):
    flags = [*gpu.draw(tmp_path), "--epochs", "4"]
    fake, choose = devices.Devices(torch.device("fake", 0)), experiment.choose_devices
    assert gpu.train(flags, "cpu", 1) == 1
    monkeypatch.setattr(experiment, "choose_devices", lambda *_: fake)
    assert gpu.train([*flags, "--resume"], "cpu", 3) == 3
    monkeypatch.setattr(experiment, "choose_devices", choose)
    assert gpu.train([*flags, "--resume"], "cpu", 4) == 4
    moved = next(Path(tmp_path, "runs").rglob("config.json")).parent
    assert gpu.train([*flags, "--record", str(tmp_path / "stayed")], "cpu", 4) == 4
    stayed = next(Path(tmp_path, "stayed").rglob("config.json")).parent
    expected = Run(stayed).epochs["train_loss"].to_list()
    assert Run(moved).epochs["train_loss"].to_list() == pytest.approx(expected, rel=1e-2)


class NoDoubles(TorchDispatchMode):
    """Refuses float64 on the device, as the GPU of a Mac does."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        for value in tree_leaves(found):
            if isinstance(value, torch.Tensor) and value.device.type == "fake":
                assert value.dtype != torch.float64, function
        return found


def test_float64_on_the_device_is_noticed():
    with NoDoubles(), pytest.raises(AssertionError, match="_to_copy"):
        torch.ones(2).to("fake").add(1).double()


TRUNK_ONLY = [
    ["--method", "DR", "--dynamic", "--size_inform", "--l2_sp", "0.1", "--weight_decay", "0.01"],
    ["--loss", "hierarchical", "--ema", "--method", "DR", "--average", "0.5", "--clip", "1"],
    ["--method", "softmax", "--optimizer", "sgd", "--momentum", "0.9", "--backbone_lr", "0.5"],
    ["--freeze", "butlast", "--rand_backbone", "--method", "DR"],
]


@pytest.mark.parametrize("flags", TRUNK_ONLY, ids=" ".join)
def test_a_run_whose_trunk_alone_is_on_the_device_is_that_of_the_cpu(tmp_path, monkeypatch, flags):
    names = ("Animals/a", "Animals/b", "Plants/c", "Plants/d")
    make_learnable_folder(tmp_path / "images", names, 10)
    flags = [*flags, "--use_val", "--epochs", "2"]
    status, here = train_small(tmp_path / "images", tmp_path / "here", *flags)
    assert status == 0
    chosen = devices.Devices(torch.device("cpu"), trunk=torch.device("fake", 0))
    monkeypatch.setitem(devices.OTHER_GPUS, "fake", "a device")
    monkeypatch.setattr(experiment, "choose_devices", lambda *_: chosen)
    with NoDoubles():
        status, there = train_small(tmp_path / "images", tmp_path / "there", *flags)
    assert status == 0
    assert there.config["device"] == "a device (fake), and the head on the CPU"
    expected = here.epochs["train_loss"].to_list()
    assert there.epochs["train_loss"].to_list() == pytest.approx(expected, rel=1e-2)

    pixels = np.random.default_rng(0).integers(256, size=(5, 16, 16, 3), dtype=np.uint8)
    sizes = np.full((5, 2), 16)
    own = Embedder(load_model(there), chosen)
    assert own.model.backbone.trunk_device.type == "fake"
    expected = Embedder(load_model(there), devices.Devices(torch.device("cpu")))(pixels, sizes)
    for found, value in zip(own(pixels, sizes), expected):
        np.testing.assert_allclose(found, value, rtol=1e-4, atol=1e-5)

    monkeypatch.undo()  # and it goes on on the CPU
    more = [*flags[:-1], "3", "--resume"]
    status, there = train_small(tmp_path / "images", tmp_path / "there", *more)
    assert status == 0 and len(there.epochs) == 3
