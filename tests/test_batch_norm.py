"""Where the running averages of batch norm begin."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from training.batch_norm import begin_with_first_batch, unseen

BATCH = torch.tensor([[1.0], [3.0]])  # mean 2, variance 2


def step(layer, batch=BATCH):
    layers = unseen(layer)
    layer(batch)
    begin_with_first_batch(layers)
    return layer


@pytest.mark.parametrize("momentum", [1.0, 0.1, 0.003])
def test_the_first_batch_is_the_average_so_far_and_later_ones_move_it(momentum):
    layer = step(nn.BatchNorm1d(1, momentum=momentum))
    assert_close(layer.running_mean, torch.tensor([2.0]))
    assert_close(layer.running_var, torch.tensor([2.0]), rtol=1e-4, atol=0)
    step(layer, BATCH + 10)
    assert_close(layer.running_mean, torch.tensor([2 + 10 * momentum]))


def test_a_batch_without_variance_leaves_none_below_zero():
    layer = step(nn.BatchNorm1d(1), torch.full((5, 1), 7.0))
    assert 0 <= layer.running_var < 1e-5 and layer.running_mean == pytest.approx(7)


@pytest.mark.parametrize("kind", ["pretrained", "counted", "frozen", "not tracked", "plain mean"])
def test_averages_that_have_begun_or_stand_still_are_left_alone(kind):
    layer = nn.BatchNorm1d(1, track_running_stats=kind != "not tracked")
    if kind == "pretrained":
        layer.running_mean.fill_(0.5)
    elif kind == "counted":
        layer.num_batches_tracked.fill_(1)
    elif kind == "plain mean":
        layer.momentum = None
    elif kind == "frozen":
        layer.eval()
    assert unseen(nn.Sequential(layer)) == []


def test_a_layer_that_the_step_passes_by_stays_as_it_was_made():
    met, passed_by = nn.BatchNorm1d(1), nn.BatchNorm1d(1)
    layers = unseen(nn.ModuleList([met, passed_by]))
    met(BATCH)
    begin_with_first_batch(layers)
    assert layers == [met, passed_by] and passed_by.running_var == 1 and met.running_mean == 2
