"""A GPU that is not CUDA's is believed after the CPU has computed the same. Runs on such a device
are in tests/test_fake_device.py.
"""

import numpy as np
import pytest
import torch
from images import make_learnable_folder
from torch import nn
from trained import train_small

from evaluation.model import Embedder, load_model
from training import devices, experiment, other_gpus
from training.other_gpus import check


class Elsewhere(nn.Module):
    """Computes otherwise once it is moved, as a device might do."""

    def __init__(self, forward: float = 1, backward: float = 1):
        super().__init__()
        self.factors, self.wrong = (forward, backward), (1.0, 1.0)

    def _apply(self, function, recurse=True):
        self.wrong = self.factors
        return super()._apply(function, recurse)

    def forward(self, values):
        forward, backward = self.wrong
        # the value times one factor, with the gradient of the other
        return values * backward + (values * (forward - backward)).detach()


def network(**wrong):
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.ReLU(), Elsewhere(**wrong)]
    return nn.Sequential(*layers, nn.Flatten())


IMAGES = torch.rand(8, 3, 9, 9, generator=torch.Generator().manual_seed(1))


def test_a_network_that_is_computed_as_by_the_cpu_passes_and_stays_as_it_is():
    checked = network()
    before = {name: value.clone() for name, value in checked.state_dict().items()}
    drawn = torch.get_rng_state()
    check(checked, IMAGES)
    assert all(torch.equal(value, before[name]) for name, value in checked.state_dict().items())
    assert torch.equal(torch.get_rng_state(), drawn) and checked[2].training
    assert all(weight.grad is None for weight in checked.parameters())


def test_rounding_passes_and_other_features_are_refused():
    check(network(forward=1.005), IMAGES)
    with pytest.raises(RuntimeError, match="cpu: .* its features differ by 33.3% from"):
        check(network(forward=1.5), IMAGES)


def test_other_gradients_are_refused_where_there_are_gradients():
    wrong = network(backward=0.5)
    with torch.no_grad():
        check(wrong, IMAGES)
    with pytest.raises(RuntimeError, match="its gradients differ by"):
        check(wrong, IMAGES)
    check(wrong.requires_grad_(False), IMAGES)


def test_weights_that_are_not_numbers_are_left_to_the_run():
    broken = network()
    broken[0].weight.data[0] = torch.nan
    check(broken, IMAGES)


def test_a_run_and_who_asks_it_check_the_first_batch_once(tmp_path, monkeypatch, capsys):
    checked = []

    def note(network, images):
        checked.append((len(images), torch.is_grad_enabled()))
        check(network, images)

    # another name of the CPU in the place of another device
    chosen = devices.Devices(torch.device("cpu"), trunk=torch.device("cpu", 0))
    monkeypatch.setitem(devices.OTHER_GPUS, "cpu", "a GPU")
    monkeypatch.setattr(experiment, "choose_devices", lambda *_: chosen)
    monkeypatch.setattr(other_gpus, "check", note)
    make_learnable_folder(tmp_path / "images", ("a", "b", "c"), 8)
    flags = ("--method", "DR", "--epochs", "2", "--batch_size", "16", "--average", "0.5")
    status, run = train_small(tmp_path / "images", tmp_path / "record", *flags)
    assert status == 0 and run.config["device"] == "a GPU (cpu), and the head on the CPU"
    assert checked == [(8, True), (8, False)]  # what trains; the averages, which are evaluated

    embedder = Embedder(load_model(run), chosen)
    pixels, sizes = np.zeros((2, 16, 16, 3), np.uint8), np.full((2, 2), 16)
    first, again = embedder(pixels, sizes), embedder(pixels, sizes)
    assert checked[2:] == [(2, False)]
    np.testing.assert_array_equal(first[1], again[1])

    compiled = train_small(tmp_path / "images", tmp_path / "compiled", *flags, "--compile")
    assert compiled[0] == 2 and "--compile is for CUDA and the CPU" in capsys.readouterr().err
