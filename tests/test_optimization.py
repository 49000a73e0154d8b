"""The recipe: optimizers and their options, rates of parts of the network, warm-up, clipping and
averaging, each by what it does to the weights; take the line out of the loop and a test fails.
"""

import copy

import numpy as np
import pytest
import torch
from test_wiring import SPLITS, STEPS, Memory, build, column, fit
from torch import nn

import train
from optimization import OPTIMIZERS, build_schedule, parameter_groups
from optimization.averaging import fading_average
from options import command_line
from training import loop

ARGV = ["--dataset", "folder", "--data_dir", "none", "--method", "DR", "--backbone", "conv4"]


def refusal(capsys, *flags) -> str:
    with pytest.raises(SystemExit):
        command_line.parse([*ARGV, *flags], "", train.DATASETS)
    return capsys.readouterr().err


@pytest.mark.parametrize(
    "name, kind, expected",
    [
        ("adam", torch.optim.Adam, {"betas": (0.9, 0.999)}),
        ("adamw", torch.optim.AdamW, {"weight_decay": 0.01}),
        ("sgd", torch.optim.SGD, {"momentum": 0.9, "nesterov": False}),
    ],
)
def test_optimizers_are_those_of_pytorch_with_its_defaults(name, kind, expected):
    optimizer = build("--optimizer", name).optimizer
    assert type(optimizer) is kind and expected.items() <= optimizer.defaults.items()
    assert optimizer.defaults["lr"] == 0.01 and len(OPTIMIZERS) == 3


def test_options_of_an_optimizer_reach_it():
    sgd = build("--optimizer", "sgd", "--momentum", "0.5", "--nesterov").optimizer
    assert sgd.param_groups[0]["momentum"] == 0.5 and sgd.param_groups[0]["nesterov"]
    plain, _ = fit("--optimizer", "sgd", "--momentum", "0", "--epochs", "1")
    assert not any("momentum_buffer" in state for state in plain.optimizer.state.values())


def test_the_published_optimizer_is_recorded_as_in_runs_before_there_was_a_choice():
    for name in ("optimizer", "warmup", "average", "clip", "backbone_lr", "layer_decay"):
        assert build().options[name] is None
    named = command_line.parse([*ARGV, "--optimizer", "adam", "--warmup", "0"], "", train.DATASETS)
    assert named[2] == command_line.parse(ARGV, "", train.DATASETS)[2]


@pytest.mark.parametrize(
    "flags, message",
    [
        ("--momentum 0.5", "--optimizer adam does not take it (sgd does: --optimizer sgd)"),
        ("--optimizer sgd --momentum 0 --nesterov", "--nesterov has no meaning here"),
        ("--optimizer adamw --weight_decay 0.1", "leave out --weight_decay"),
        ("--warmup 5 --epochs 5", "--warmup must be less than --epochs"),
        ("--freeze butlast --rand_backbone --backbone_lr 0.1", "--freeze leaves one of them"),
        ("--freeze butlast --rand_backbone --layer_decay 0.9", "--freeze keeps as they are"),
        ("--average 1", "a number from 0 to below 1"),
        ("--clip 0", "a finite number above 0"),
        ("--patience 3", "--patience has no meaning here: it needs --use_val"),
        ("--choose loss", "--choose has no meaning here: it needs --use_val"),
        ("--early_stopping 3", "did you mean --patience?"),
    ],
)
def test_what_has_no_meaning_is_refused(capsys, flags, message):
    assert message in refusal(capsys, *flags.split())


def test_decoupled_decay_acts_on_matrices_that_no_penalty_covers():
    training = build("--optimizer", "adamw", "--decoupled_weight_decay", "0.5", "--hr", "0.1")
    decayed = {
        id(parameter)
        for group in training.optimizer.param_groups
        for parameter in group["params"]
        if group["weight_decay"] == 0.5
    }
    named = dict(training.model.named_parameters())
    found = {name for name, parameter in named.items() if id(parameter) in decayed}
    expected = {name for name, parameter in named.items() if parameter.ndim > 1}
    assert found == expected - {"head.weight"} and len(found) == 5
    assert sum(len(group["params"]) for group in training.optimizer.param_groups) == len(named)


def test_the_backbone_may_have_a_rate_of_its_own_and_the_table_has_that_of_the_rest():
    training, record = fit("--backbone_lr", "0.1", "--schedule", "step")
    rates = {
        id(parameter): group["initial_lr"]
        for group in training.optimizer.param_groups
        for parameter in group["params"]
    }
    for name, parameter in training.model.named_parameters():
        trunk = name.startswith("backbone.network.")
        assert rates[id(parameter)] == pytest.approx(0.001 if trunk else 0.01), name
    assert column(record, "lr") == pytest.approx([0.01, 0.001, 0.0001])


class Layers(nn.Module):
    """A stem and two blocks in an order that timm can tell, and a number that shall not decay."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(2, 2)
        self.blocks = nn.ModuleList([nn.Linear(2, 2), nn.LayerNorm(2)])
        self.token = nn.Parameter(torch.zeros(1, 2))

    def group_matcher(self, coarse=False):
        return {"stem": r"^stem|^token", "blocks": r"^blocks\.(\d+)"}

    def no_weight_decay(self):
        return {"token"}


def test_layers_further_from_the_end_have_smaller_rates():
    pytest.importorskip("timm")
    model = nn.ModuleDict({"trunk": Layers(), "head": nn.Linear(2, 3)})
    groups = parameter_groups(
        model, model["trunk"], 0.1, backbone_lr=0.5, layer_decay=0.8, weight_decay=0.3
    )
    found = {
        name: (group["lr"], group["weight_decay"])
        for group in groups
        for name, parameter in model.named_parameters()
        if any(parameter is one for one in group["params"])
    }
    for name, parameter in model.named_parameters():
        behind = {"trunk.blocks.1": 0, "trunk.blocks.0": 1, "head.": None}
        layer = next((n for start, n in behind.items() if name.startswith(start)), 2)
        rate = 0.1 if layer is None else 0.05 * 0.8**layer
        decay = 0.3 if parameter.ndim > 1 and "token" not in name else 0.0
        assert found[name] == (pytest.approx(rate), decay), name
    assert groups[0]["lr"] == 0.1


def test_layer_decay_is_refused_where_the_order_of_layers_is_not_known():
    with pytest.raises(ValueError, match="--layer_decay needs to know the order of the layers"):
        build("--layer_decay", "0.8")


@pytest.mark.parametrize(
    "schedule, later",
    [
        ("none", [0.9] * 4),
        ("cosine", [0.9 * (1 + np.cos(np.pi * epoch / 4)) / 2 for epoch in range(4)]),
        ("step", [0.9, 0.9, 0.09, 0.09]),
    ],
)
def test_the_rate_rises_in_even_steps_before_any_schedule(schedule, later):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.9)
    course, rates = build_schedule(optimizer, schedule, 6, warmup=2), []
    for _ in range(6):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        course.step()
    assert rates == pytest.approx([0.3, 0.6, *later])


def test_the_warm_up_is_part_of_training():
    assert column(fit("--warmup", "1")[1], "lr") == pytest.approx([0.005, 0.01, 0.01])


def test_long_gradients_are_shortened(monkeypatch):
    lengths, original = [], torch.optim.Adam.step

    def spy(self, *arguments, **keywords):
        own = [p.grad.square().sum() for group in self.param_groups for p in group["params"]]
        lengths.append(float(torch.stack(own).sum().sqrt()))
        return original(self, *arguments, **keywords)

    monkeypatch.setattr(torch.optim.Adam, "step", spy)
    fit("--epochs", "1")
    fit("--epochs", "1", "--clip", "0.01")
    assert min(lengths[:STEPS]) > 0.02
    assert lengths[STEPS:] == pytest.approx([0.01] * STEPS, rel=1e-3)


def averaged_by_hand(monkeypatch, decay, *flags):
    """A run, and the average of what its weights were after each step."""
    steps, original = [], loop._step

    def spy(training, *arguments):
        original(training, *arguments)
        steps.append(copy.deepcopy(training.model.state_dict()))

    monkeypatch.setattr(loop, "_step", spy)
    training, record = fit("--average", str(decay), *flags)
    monkeypatch.setattr(loop, "_step", original)
    shares = decay ** np.arange(len(steps))[::-1]
    mean = {
        name: sum(share * step[name] for share, step in zip(shares / shares.sum(), steps))
        for name, value in steps[0].items()
        if value.is_floating_point()
    }
    return training, record, mean


def test_the_average_of_the_weights_is_what_is_kept_and_measured(monkeypatch):
    flags = ("--use_val", "--epochs", "2", "--dynamic")
    training, record, mean = averaged_by_hand(monkeypatch, 0.8, *flags)
    last = record.checkpoints["last.pt"]
    for name, value in mean.items():
        torch.testing.assert_close(last["model"][name], value, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(last["trained"][name], training.model.state_dict()[name])
    weight = last["model"]["backbone.projection.weight"]
    assert (weight - last["trained"]["backbone.projection.weight"]).abs().max() > 1e-3
    plain = build("--use_val", "--dynamic")
    plain.model.load_state_dict(last["model"])
    row = loop._validate(plain, SPLITS)
    assert record.epochs[-1]["val_loss"] == pytest.approx(row["val_loss"], rel=1e-5)
    best = record.checkpoints["best.pt"]
    if best["epoch"] == 2:
        torch.testing.assert_close(best["model"], last["model"])
    assert training.result.model is training.average.module


def test_averaging_goes_on_to_the_same_numbers(monkeypatch):
    recipe = ("--optimizer", "sgd", "--average", "0.8", "--warmup", "1", "--schedule", "cosine")
    recipe += ("--backbone_lr", "0.5", "--clip", "1", "--use_val")
    _, record = fit(*recipe)
    half, memory = build(*recipe), Memory()
    half.options = {**half.options, "epochs": 2}
    loop.fit(half, SPLITS, memory)
    rest, after = build(*recipe), Memory()
    rest.restore(copy.deepcopy(memory.checkpoints["last.pt"]))
    loop.fit(rest, SPLITS, after)
    assert after.epochs == record.epochs
    for part in ("model", "trained"):
        ends = (memory.checkpoints["last.pt"][part] for memory in (after, record))
        torch.testing.assert_close(*ends, rtol=0, atol=0)


@pytest.mark.parametrize(("decay", "expected"), [(0.5, 17 / 7), (1 - 1e-9, 2.0), (1e-9, 3.0)])
def test_each_step_has_decay_times_the_share_of_the_next(decay, expected):
    """(1 + 2 * 2 + 4 * 3) / 7 of three steps; near 1 their mean, near 0 the last."""
    averaged, counts = [torch.tensor([1.0, 0.0])], [torch.tensor([1])]
    for steps in (1, 2):
        update = fading_average(decay)
        update(averaged, [torch.tensor([steps + 1.0, 0.0])], torch.tensor(steps))
        update(counts, [torch.tensor([steps + 1])], torch.tensor(steps))
    torch.testing.assert_close(averaged, [torch.tensor([expected, 0.0])])
    assert counts == [3]


def test_averages_start_as_the_network_does():
    training, record = fit("--average", "0.9", "--epochs", "0")
    torch.testing.assert_close(
        record.checkpoints["last.pt"]["model"], training.model.state_dict(), rtol=0, atol=0
    )
