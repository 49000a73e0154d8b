"""Losses that are replayed on a GPU: when they are recorded, and that their numbers stay."""

import pytest
import torch
from test_any_device import HEADS, cases, make_head, make_loss
from trees import TREE

from losses import build_loss
from training import setup
from training.devices import Devices
from training.replay import ReplayedLoss


class Graphs:
    """Stands for torch's recorder, which needs a GPU: counts what it records and replays."""

    def __init__(self):
        self.recorded, self.replayed = [], 0

    def __call__(self, function, samples, allow_unused_input):
        self.recorded.append(tuple(one.shape for one in samples))

        def replay(*inputs):
            self.replayed += 1
            return function(*inputs)

        return replay


@pytest.fixture
def graphs(monkeypatch):
    graphs = Graphs()
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", graphs)
    return graphs


def batch(size=4):
    return torch.randn(size, 7, requires_grad=True), torch.arange(size)


def test_a_loss_is_replayed_from_its_second_epoch_on_but_for_other_shapes(graphs):
    loss = ReplayedLoss(build_loss("hierarchical", TREE))
    loss.start_epoch()  # nothing is known yet
    first = batch()
    assert torch.equal(loss(*first), loss.loss(*first)) and not graphs.recorded
    loss(*batch(3))
    loss.start_epoch()
    loss.start_epoch()
    assert graphs.recorded == [((4, 7), (4,))]
    assert torch.equal(loss(*first), loss.loss(*first)) and graphs.replayed == 1
    loss(*batch(3))
    loss(first[0].detach(), first[1])  # wants no gradient
    assert graphs.replayed == 1


def test_a_loss_that_changes_is_recorded_when_it_has_changed(graphs):
    loss = ReplayedLoss(build_loss("hierarchical", TREE, switch_epoch=2))
    for epoch in range(4):
        loss.loss.set_epoch(epoch)
        loss.start_epoch()
        loss(*batch())
        assert len(graphs.recorded) == (epoch >= 2)
    cut = ReplayedLoss(build_loss("random_cut", TREE))
    for _epoch in range(3):
        cut.start_epoch()
        cut(*batch())
    assert len(graphs.recorded) == 1


def test_a_device_that_cannot_record_is_named_once(monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("operation not permitted\nand more")

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", refuse)
    loss = ReplayedLoss(build_loss("ce", TREE))
    scores, targets = batch()
    loss(scores, targets)
    with pytest.warns(UserWarning, match="kernel by kernel: operation not permitted$"):
        loss.start_epoch()
    loss.start_epoch()
    assert torch.equal(loss(scores, targets), loss.loss(scores, targets))


def test_what_is_replayed_and_what_not():
    gpu = Devices(torch.device("cuda", 0), (0,))
    cpu = Devices(torch.device("cpu"))
    plain = {"mixup": None, "cutmix": None}
    loss, coarse = build_loss("hxe", TREE), build_loss("hxe", TREE)
    coarse.coarse = True
    assert setup._can_replay(loss, plain, gpu)
    assert not setup._can_replay(loss, plain, cpu)
    assert not setup._can_replay(coarse, plain, gpu)  # looks for inner nodes
    assert not setup._can_replay(loss, {**plain, "mixup": 0.2}, gpu)  # two values at a time
    with_weights = build_loss("aigdl", TREE, {"level_scores"})
    assert not setup._can_replay(with_weights, plain, gpu)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("case", cases(), ids=lambda case: f"{HEADS[case[0]][0]}-{case[1]}")
def test_on_a_gpu_a_replayed_loss_has_the_values_and_gradients_of_the_loss(case):
    torch.manual_seed(0)
    (method, options), name = HEADS[case[0]], case[1]
    loss = make_loss(name, method, options).cuda()
    if not loss.replayable or any(True for _ in loss.parameters()):
        pytest.skip("is not replayed")
    head, replayed = make_head(method, options).cuda(), ReplayedLoss(loss)
    for step in range(5):
        if step == 1:
            replayed.start_epoch()
            assert replayed._graph is not None
        embeddings = torch.randn(8, head.weight.shape[1], device="cuda", requires_grad=True)
        targets = torch.randint(7, (8,), device="cuda")
        found = []
        for compute in (loss, replayed):
            read = [
                head(embeddings) if one == "scores" else getattr(head, one)(embeddings)
                for one in loss.inputs
            ]
            value = compute(*read, targets)
            (slopes,) = torch.autograd.grad(value, embeddings)
            found.append((value.clone(), slopes))
        torch.testing.assert_close(*(one[0] for one in found))
        torch.testing.assert_close(*(one[1] for one in found))
