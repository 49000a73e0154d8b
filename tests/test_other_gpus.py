"""A GPU that is not CUDA's is believed after the CPU has computed the same. Runs on such a device
are in tests/test_fake_device.py.
"""

import pytest
import torch
from torch import nn

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
