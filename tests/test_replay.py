"""What is replayed on a GPU, losses and networks: when it is recorded, and that numbers stay."""

import copy
import gc
from contextlib import contextmanager
from dataclasses import replace

import pandas as pd
import pytest
import torch
from images import make_learnable_folder
from test_any_device import HEADS, cases, make_head, make_loss
from torch import nn
from trained import train_small
from trees import TREE

from losses import build_loss
from models import HEADS as METHODS
from training import setup
from training.devices import Devices
from training.replay import GIB, ReplayedLoss, ReplayedModel
from training.team import ALONE, Team


class Graphs:
    """Stands for torch's recorder, which needs a GPU: counts what it records and replays, and what
    it returns lives in memory that the next call overwrites, as on a GPU.
    """

    def __init__(self):
        self.recorded, self.replayed, self.devices, self.capturing = [], 0, [], False
        self.collected = 0

    def collect(self):
        self.collected += 1

    def __call__(self, function, samples, allow_unused_input):
        self.recorded.append(tuple(one.shape for one in samples))
        kept = [one.detach().clone().requires_grad_(one.requires_grad) for one in samples]
        outputs, gradients, graphs = {}, {}, self

        class Replay(torch.autograd.Function):
            @staticmethod
            def forward(ctx, *inputs):
                graphs.replayed += 1
                with torch.no_grad():
                    for place, given in zip(kept, inputs):
                        place.copy_(given)
                with torch.enable_grad():
                    found = function(*kept)
                several = isinstance(found, tuple)
                ctx.found = found if several else (found,)
                given = [overwrite(outputs, *one) for one in enumerate(ctx.found)]
                return tuple(given) if several else given[0]

            @staticmethod
            def backward(ctx, *slopes):
                asked = [number for number, place in enumerate(kept) if place.requires_grad]
                places = [kept[number] for number in asked]
                found = torch.autograd.grad(ctx.found, places, slopes, allow_unused=True)
                given = dict(zip(asked, found))
                return tuple(overwrite(gradients, n, given.get(n)) for n in range(len(kept)))

        return Replay.apply

    @contextmanager
    def on(self, device):
        self.devices.append(device)
        yield


def overwrite(memory, number, value):
    """Puts a value where the last one of that number was, and returns it."""
    if value is None:
        return None
    value = value.detach()
    memory.setdefault(number, value.clone()).copy_(value)
    return memory[number].detach()


@pytest.fixture
def graphs(monkeypatch):
    graphs = Graphs()
    monkeypatch.setattr(gc, "collect", graphs.collect)  # all that the tests hold takes long
    stand_ins = {
        "make_graphed_callables": graphs,
        "is_current_stream_capturing": lambda: graphs.capturing,
        "device": graphs.on,
        "get_sync_debug_mode": lambda: 0,
        "set_sync_debug_mode": lambda mode: None,
        "reset_peak_memory_stats": lambda device: None,
    }
    for name, stand_in in stand_ins.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
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
    fused = ReplayedLoss(build_loss("hierarchical", TREE, switch_epoch=1))
    fused.loss.fuse()
    for epoch in range(3):  # the first batch by one kernel is looked at
        fused.loss.set_epoch(epoch)
        fused.start_epoch()
        fused(*batch())
        assert len(graphs.recorded) == 1 + (epoch >= 2)
    cut = ReplayedLoss(build_loss("random_cut", TREE))
    for _epoch in range(3):
        cut.start_epoch()
        cut(*batch())
    assert len(graphs.recorded) == 2


@pytest.mark.parametrize("late", [False, True])
def test_a_part_that_cannot_be_recorded_goes_on_as_it_is_or_ends_the_run(graphs, monkeypatch, late):
    def refuse(compute, samples, allow_unused_input):
        # no graph of an earlier run is dropped meanwhile
        assert graphs.collected == 1 and not gc.isenabled()
        graphs.capturing = late
        compute(*samples)
        raise RuntimeError("operation not permitted\nand more")

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", refuse)
    loss = ReplayedLoss(build_loss("ce", TREE))
    scores, targets = batch()
    loss(scores, targets)
    if late:  # torch is left in the middle of a recording
        with pytest.raises(
            RuntimeError, match=r"\(operation not permitted\).*--no_graphs --resume"
        ):
            loss.start_epoch()
        return
    with pytest.warns(UserWarning, match="kernel by kernel.*: operation not permitted$"):
        loss.start_epoch()
    loss.start_epoch()
    assert torch.equal(loss(scores, targets), loss.loss(scores, targets))
    assert gc.isenabled() and graphs.devices == [scores.device]  # the one that its kernels run on


def test_which_runs_are_replayed():
    gpu, cpu = Devices(torch.device("cuda", 1), (1,)), Devices(torch.device("cpu"))
    assert setup._can_replay(gpu, ALONE)
    assert not setup._can_replay(cpu, ALONE)
    assert not setup._can_replay(Devices(gpu.main, (1, 2)), ALONE)  # DataParallel copies the model
    assert not setup._can_replay(gpu, Team(0, 2))  # gradients are averaged meanwhile
    assert not setup._can_replay(replace(gpu, graphs=False), ALONE)


def test_which_losses_are_replayed():
    plain = {"mixup": None, "cutmix": None}
    loss, coarse = build_loss("hxe", TREE), build_loss("hxe", TREE)
    coarse.coarse = True
    assert setup._is_recordable(loss, plain)
    assert not setup._is_recordable(coarse, plain)  # looks for inner nodes
    assert not setup._is_recordable(loss, {**plain, "mixup": 0.2})  # two values at a time
    with_weights = build_loss("aigdl", TREE, {"level_scores"})
    assert not setup._is_recordable(with_weights, plain)


class Scorer(nn.Module):
    """A network whose buffers move and which draws, and a head; scores as `TrainingState.score`
    what a loss may read of it.
    """

    def __init__(self, head, readings, amp=False):
        super().__init__()
        dim = head.weight.shape[1]
        self.network = nn.Sequential(nn.Linear(5, dim), nn.BatchNorm1d(dim), nn.Dropout(0.2))
        self.head, self.readings, self.amp = head, readings, amp

    def score(self, images, sizes):
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.amp):
            embeddings = self.head.prepare(self.network(images))
        return embeddings, *self.head.read(embeddings + sizes.sum(), self.readings).values()


def make_scorer(number, **options):
    torch.manual_seed(0)
    method, own = HEADS[number]
    return Scorer(make_head(method, own), METHODS[method].offered(own), **options)


def images(size=4):
    return torch.randn(size, 5), torch.ones(size, 2)


@pytest.fixture
def room(monkeypatch):
    """Sets how many GiB are free, and how many a step takes beside what stays."""

    def set_room(free, step, stays=3):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free * GIB, 80 * GIB))
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: stays * GIB)
        largest = (stays + step) * GIB
        monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: largest)

    set_room(4, 1)
    return set_room


def step_of(score, model, batch, seed):
    """One step downhill; the slopes of all weights."""
    torch.manual_seed(seed)  # what it draws, too
    _, *read = score(*batch)
    sum(one.square().mean() for one in read).backward()
    slopes = [parameter.grad for parameter in model.parameters()]
    with torch.no_grad():
        for parameter, slope in zip(model.parameters(), slopes):
            if slope is not None:
                parameter -= 0.01 * slope
    model.zero_grad(set_to_none=True)
    return slopes


@pytest.mark.parametrize("number", range(len(HEADS)), ids=lambda number: HEADS[number][0])
def test_a_replayed_model_moves_as_the_model(graphs, room, number):
    plain = make_scorer(number)
    model = copy.deepcopy(plain)
    replayed = ReplayedModel(model.score, model)
    for step, size in enumerate((4, 4, 3, 4)):
        replayed.start_epoch()
        batch = images(size)
        expected = step_of(plain.score, plain, batch, step)
        found = step_of(replayed, model, batch, step)
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(model.state_dict(), plain.state_dict())
    assert len(graphs.recorded) == 1 and graphs.replayed == 2


def test_recording_a_model_moves_nothing(graphs, room, monkeypatch):
    def record(compute, samples, allow_unused_input):
        compute(*samples)  # as torch does
        return graphs(compute, samples, allow_unused_input)

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", record)
    model = make_scorer(0)
    replayed = ReplayedModel(model.score, model)
    replayed(*images())
    before = copy.deepcopy(model.state_dict())
    replayed.start_epoch()
    assert before["network.1.num_batches_tracked"] == 1 and len(graphs.recorded) == 1
    torch.testing.assert_close(model.state_dict(), before)


def test_a_model_is_left_alone_where_a_graph_might_take_too_much_memory(graphs, room):
    for free, step in [(4, 1.01), (4, 1)]:
        room(free, step)
        model = make_scorer(0)
        replayed = ReplayedModel(model.score, model)
        replayed(*images())
        if step > 1:
            with pytest.warns(
                UserWarning, match=r"1\.0 GiB of the GPU's memory, .* 4\.0 are free$"
            ):
                replayed.start_epoch()
        else:
            replayed.start_epoch()
        assert replayed.is_replayed == (step == 1)
        replayed.start_epoch()  # no second warning


@pytest.mark.parametrize(
    "flags",
    [
        ("--method", "DR", "--loss", "hierarchical", "--dynamic", "--ema", "--clip", "1"),
        ("--method", "softmax", "--average", "0.5", "--hr", "0.1", "--mixup", "0.2"),
        ("--method", "levels", "--loss", "haf", "--schedule", "cosine"),
    ],
    ids=lambda flags: flags[1],
)
def test_a_replayed_run_has_the_numbers_of_one_that_is_not(
    graphs, room, monkeypatch, tmp_path, flags
):
    """Nobody in the loop holds what the next step overwrites."""
    images = make_learnable_folder(tmp_path / "images", ["a/b", "a/c", "d/e"], 8)
    flags = (*flags, "--use_val", "--dim", "8", "--batch_size", "4", "--epochs", "3")
    epochs = []
    for replay in (False, True):
        monkeypatch.setattr(setup, "_can_replay", lambda *_, replay=replay: replay)
        status, run = train_small(images, tmp_path / f"record{replay}", *flags)
        assert status == 0
        epochs.append(run.epochs)
    assert len(graphs.recorded) == (1 if "--mixup" in flags else 2) and graphs.replayed > 2
    pd.testing.assert_frame_equal(*epochs, rtol=1e-3, atol=1e-5)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("amp", [False, True], ids=["float32", "bf16"])
@pytest.mark.parametrize("number", range(len(HEADS)), ids=lambda number: HEADS[number][0])
def test_on_a_gpu_a_replayed_model_moves_as_the_model(number, amp):
    plain = make_scorer(number, amp=amp).cuda()
    model = copy.deepcopy(plain)
    replayed = ReplayedModel(model.score, model)
    for step in range(5):
        replayed.start_epoch()
        batch = tuple(part.cuda() for part in images(8))
        expected = step_of(plain.score, plain, batch, step)
        found = step_of(replayed, model, batch, step)
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(model.state_dict(), plain.state_dict())
    assert replayed.is_replayed


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_a_model_that_looks_at_values_goes_on_as_it_is():
    model = make_scorer(0).cuda()

    def score(images, sizes):
        embeddings, *read = model.score(images, sizes)
        return embeddings, *read[1:], read[0] * (1 if read[0].sum().item() > 0 else 2)

    replayed = ReplayedModel(score, model)
    batch = tuple(part.cuda() for part in images(8))
    step_of(replayed, model, batch, 0)
    with pytest.warns(UserWarning, match="kernel by kernel"):
        replayed.start_epoch()
    step_of(replayed, model, batch, 1)
    other = make_scorer(0).cuda()
    after = ReplayedModel(other.score, other)
    for step in range(2):
        after.start_epoch()
        step_of(after, other, batch, step)
    assert after.is_replayed and not replayed.is_replayed


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
            assert replayed.is_replayed
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
