"""Optimizers, and which rate and decay each weight has."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, NamedTuple

from registry import (
    Need,
    Option,
    Registry,
    above_zero,
    below_one,
    nonnegative,
    positive,
    switch,
)

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

LR = Option("lr", positive, 1e-4, "RATE", "learning rate, at the start if there is a --schedule")


class Kind(NamedTuple):
    """An optimizer of PyTorch: (parameter groups, lr=, fused=, **options) -> Optimizer; and the
    options that it takes.
    """

    make: Callable[..., Optimizer]
    summary: str
    options: tuple[Option, ...] = ()


def _adam(groups: list[dict], **keywords: object) -> Optimizer:
    from torch.optim import Adam

    return Adam(groups, **keywords)


def _adamw(groups: list[dict], decoupled_weight_decay: float, **keywords: object) -> Optimizer:
    from torch.optim import AdamW

    return AdamW(groups, weight_decay=decoupled_weight_decay, **keywords)


def _sgd(groups: list[dict], **keywords: object) -> Optimizer:
    from torch.optim import SGD

    return SGD(groups, **keywords)


DECOUPLED = Option(
    "decoupled_weight_decay",
    nonnegative,
    0.01,
    "COEF",
    "of --optimizer adamw: share of the weights, times the rate, that each step takes away; not of"
    " biases, of scales of normalisation layers, and of weights that a penalty covers",
)
MOMENTUM = Option(
    "momentum",
    below_one,
    0.9,
    "SHARE",
    "of --optimizer sgd: share of the step before that goes on in a step; 0 for plain descent",
)
NESTEROV = Option(
    "nesterov",
    switch,
    False,
    help="of --optimizer sgd: the gradient is taken ahead of the momentum",
    needs=Need(lambda options: options["momentum"] != 0, "--momentum above 0"),
)
OPTIMIZERS: Registry = Registry(
    Option("optimizer", default="adam", help="what moves the weights", off="adam"),
    {
        "adam": Kind(_adam, "Adam, as published"),
        "adamw": Kind(_adamw, "Adam with a weight decay of its own", (DECOUPLED,)),
        "sgd": Kind(_sgd, "gradient descent with momentum", (MOMENTUM, NESTEROV)),
    },
)
BACKBONE_LR = Option(
    "backbone_lr",
    positive,
    1,
    "FACTOR",
    "learning rate of the backbone without its last layer, as a factor of --lr: less than 1 where"
    " pretrained weights should move slowly",
    off=1,
)
LAYER_DECAY = Option(
    "layer_decay",
    above_zero,
    1,
    "FACTOR",
    "learning rate of each layer of the backbone, as a factor of that of the layer behind it; for"
    " networks of timm",
    off=1,
)
OPTIONS = (LR, OPTIMIZERS.option, BACKBONE_LR, LAYER_DECAY)


def parameter_groups(
    model: nn.Module,
    trunk: nn.Module,
    lr: float,
    *,
    backbone_lr: float = 1.0,
    layer_decay: float = 1.0,
    weight_decay: float = 0.0,
    spared: Collection[str] = (),
) -> list[dict]:
    """The weights that train, in groups of one rate and decay, as optimizers take them; `lr_scale`
    of a group is its rate as a factor of `lr`.

    Args:
        model: All that may train.
        trunk: The part of it whose rate is `backbone_lr` times `lr`, and less by `layer_decay` for
            each layer further from the end.
        lr: Of what is not in the trunk.
        weight_decay: Of matrices and kernels, so not of biases and scales, nor of what the network
            itself excepts (`no_weight_decay` of timm's networks).
        spared: Names of parameters of `model` without decay.

    Raises: ValueError: If the order of the trunk's layers is not known.
    """
    scales = _layer_scales(trunk, layer_decay)
    own = getattr(trunk, "no_weight_decay", set)()
    excepted = {id(parameter) for name, parameter in trunk.named_parameters() if name in own}
    groups: dict[tuple[float, float], list] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        scale = backbone_lr * scales[id(parameter)] if id(parameter) in scales else 1.0
        decays = parameter.ndim > 1 and name not in spared and id(parameter) not in excepted
        groups.setdefault((scale, weight_decay if decays else 0.0), []).append(parameter)
    return [
        {"params": groups[key], "lr": lr * key[0], "lr_scale": key[0], "weight_decay": key[1]}
        for key in sorted(groups, key=lambda key: key[0] != 1)  # the first has --lr itself
    ]


def _layer_scales(trunk: nn.Module, layer_decay: float) -> dict[int, float]:
    """By the identity of each parameter of the trunk that trains, its rate as a factor."""
    if layer_decay == 1:
        return {id(parameter): 1.0 for parameter in trunk.parameters()}
    if not hasattr(trunk, "group_matcher"):
        raise ValueError(
            "--layer_decay needs to know the order of the layers, which timm does of its networks"
            " alone: choose one of them, or --backbone_lr"
        )
    from timm.optim import param_groups_layer_decay

    return {
        id(parameter): group["lr_scale"]
        for group in param_groups_layer_decay(trunk, layer_decay=layer_decay)
        for parameter in group["params"]
    }


def current_lr(optimizer: Optimizer) -> float:
    """The rate that --lr and the schedule give now, whatever factors groups have on it."""
    group = optimizer.param_groups[0]
    return group["lr"] / group.get("lr_scale", 1.0)
