"""What is counted while an epoch trains, against the same from all its steps at once."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from training import epoch_stats, loop
from training.best_class import best_class
from training.epoch_stats import Diverged, EpochStats


def counted(sizes, dim=3, classes=4, dtype=torch.float32):
    """Statistics of steps of these many images, and what they were made of."""
    generator = torch.Generator().manual_seed(0)
    stats, steps = EpochStats(classes, dim, len(sizes), torch.device("cpu")), []
    head = SimpleNamespace(weight=torch.empty(classes, dim))
    for count in sizes:
        head.weight.normal_(generator=generator)  # moves on from step to step
        embeddings = torch.randn(count, dim, generator=generator).to(dtype)
        scores = torch.randn(count, classes, generator=generator)
        targets = torch.randint(classes, (count,), generator=generator)
        given = embeddings.clone()
        stats.add(embeddings, scores, targets, {"loss": torch.tensor(2.0)}, head)
        steps.append((given, head.weight.clone()[targets], scores, targets))
        assert torch.equal(embeddings, given)  # others use them, too
    stats._take_in()
    return stats, [torch.cat(parts) for parts in zip(*steps)]


@pytest.mark.parametrize("sizes", [[2], [5, 5, 5, 1], [1, 40, 3, 100, 2, 2]])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_steps_of_any_size_are_counted_as_all_at_once(sizes, dtype, monkeypatch):
    monkeypatch.setattr(epoch_stats, "WAITING", 10 * 3 * 4)  # ten rows at once
    stats, (embeddings, own, scores, targets) = counted(sizes, dtype=dtype)
    directions = F.normalize(embeddings.double())
    angles = torch.acos((directions * F.normalize(own.double())).sum(1))
    assert float(stats.own_angle) == pytest.approx(float(angles.sum()), rel=1e-5)
    sums = torch.zeros(4, 3, dtype=torch.float64).index_add_(0, targets, directions)
    torch.testing.assert_close(stats.sums.sums, sums, atol=1e-5, rtol=0)
    assert stats.sums.counts.tolist() == torch.bincount(targets, minlength=4).tolist()
    assert float(stats.correct) == float((scores.argmax(1) == targets).sum())
    assert float(stats.losses.sum()) == 2 * sum(sizes) and stats.samples == sum(sizes)


def test_a_step_without_images_counts_nothing():
    stats, _ = counted([0, 3, 0])
    assert stats.samples == 3 and int(stats.sums.counts.sum()) == 3
    assert stats._waiting._kept[0].nbytes <= epoch_stats.WAITING


@pytest.mark.parametrize("mean", [True, False])
def test_what_a_step_computed_is_counted_although_the_next_overwrites_it(mean):
    """As replayed parts of a step do."""
    stats, head = EpochStats(2, 1, 2, torch.device("cpu")), SimpleNamespace(weight=torch.ones(2, 1))
    embeddings, scores, loss = torch.ones(3, 1), torch.eye(3, 2), torch.tensor(0.0)
    for value in (2.0, 5.0):
        loss.fill_(value)
        embeddings.fill_(value - 3)
        scores.copy_(scores.flip(1))
        stats.add(embeddings, scores, torch.tensor([0, 1, 1]), {"loss": loss}, head, mean)
    stats._take_in()
    assert stats.losses.tolist() == ([6, 15] if mean else [2, 5])
    assert stats.sums.sums.tolist() == [[0], [0]] and float(stats.correct) == 2


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_weight_that_is_not_finite_after_the_last_step_is_noticed(bad):
    model = nn.Sequential(nn.Linear(2, 3), nn.PReLU())
    model.register_parameter("empty", nn.Parameter(torch.empty(0)))
    with torch.no_grad():
        model[0].bias[1] = 3e38  # large, and finite
        loop._check_weights(model)
        model[0].weight[2, 0] = bad
    with pytest.raises(Diverged, match="a weight is not a finite number"):
        loop._check_weights(model)


def test_the_best_class_is_the_first_of_equal_scores_and_one_that_is_not_a_number():
    scores = torch.tensor([[1.0, 3.0, 3.0], [0.0, 0.0, 0.0], [5.0, math.nan, 7.0]])
    for dtype in (torch.float32, torch.float64):
        assert best_class(scores.to(dtype)).tolist() == [1, 0, 1]
    drawn = torch.randn(50, 7)
    assert np.array_equal(best_class(drawn), drawn.argmax(1))
    assert np.array_equal(best_class(drawn.bfloat16()), drawn.bfloat16().argmax(1))
