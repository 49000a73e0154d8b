"""Puts together what a run trains from its options: network, loss, penalties, optimizer and
schedule.
"""

import inspect
import random
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

import data
import losses
import models
from data import Splits
from losses.penalties import Penalties
from models import Classifier
from optimization import (
    OPTIMIZERS,
    SCHEDULES,
    build_schedule,
    current_lr,
    parameter_groups,
)
from optimization.averaging import fading_average
from optimization.choosing import best_epoch, out_of_patience
from training.devices import Devices, EvenDataParallel
from training.going_on import start_from, trained_before
from training.other_gpus import place
from training.replay import ReplayedLoss, ReplayedModel
from training.team import ALONE, Team

# torch 2.15 gave the argument a new name
_NAMES = ("forward_sync_buffers", "broadcast_buffers")
SYNC_BUFFERS = next(
    name for name in _NAMES if name in inspect.signature(DistributedDataParallel).parameters
)


@dataclass
class TrainingState:
    """Everything a training run moves: what resuming restores is in `state`."""

    model: Classifier
    network: nn.Module  # the model, or what spreads it over devices; calling it embeds a batch
    loss: losses.Loss
    penalties: Penalties
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler | None
    devices: Devices
    options: Mapping
    team: Team = ALONE
    epoch: int = 0  # epochs completed
    history: list[dict] = None  # a row of epochs.csv for each
    average: AveragedModel | None = None  # of the weights, with --average
    features: torch.Tensor | None = None  # (S, F) of all images, which then need no trunk
    trunk: str | None = None  # hash of a frozen trunk that the record keeps; checkpoints name it
    # with --start_from: what to record of that run, and what became of each class
    started_from: tuple[dict, pd.DataFrame] | None = None
    # what scores a batch in training, and computes the loss, where that is faster
    replayed_model: ReplayedModel | None = None
    replayed_loss: ReplayedLoss | None = None

    @property
    def lr(self) -> float:
        """The learning rate of this epoch."""
        return current_lr(self.optimizer)

    @property
    def result(self) -> "TrainingState":
        """What is evaluated and kept: this, or with --average the averaged weights in the place of
        those that train.
        """
        if self.average is None:
            return self
        model = self.average.module
        network = _over_gpus(model, self.devices)
        return replace(self, model=model, network=network, average=None)

    @property
    def best_epoch(self) -> int | None:
        """The best one so far on the validation split, from 1; None without such a split."""
        return best_epoch(self.history, self.options["choose"])

    @property
    def done(self) -> bool:
        """Whether all epochs are done, or no better one is waited for."""
        choose, patience = self.options["choose"], self.options["patience"]
        waited = out_of_patience(self.history, choose, patience)
        return waited or self.epoch >= self.options["epochs"]

    def autocast(self) -> AbstractContextManager:
        """The precision that the network computes in: bfloat16 with --amp."""
        if not self.options["amp"]:
            return nullcontext()
        return torch.autocast(self.devices.of_trunk.type, torch.bfloat16)

    @property
    def readings(self) -> tuple[str, ...]:
        """What a step reads of the head: the scores, and what else the loss is computed from."""
        return tuple(dict.fromkeys(("scores", *self.loss.inputs)))

    def score(self, images: torch.Tensor, sizes: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Embeddings (B, D) of a batch as the network takes it, and the `readings` of them."""
        with self.autocast():
            embeddings = self.network(images, sizes)
        return embeddings, *self.model.head.read(embeddings, self.readings).values()

    def state(self) -> dict:
        """Tensors and builtins from which `restore` goes on to the same numbers. "model" is what
        is evaluated; the weights that train stand beside it where they are others.
        """
        trained = {}
        if self.average is not None:
            trained = {
                "trained": self._without_trunk(self.model.state_dict()),
                "averaged_steps": int(self.average.n_averaged),
            }
        return {
            **self.model_state(),
            **trained,
            "penalties": self.penalties.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict() if self.schedule else None,
            "epoch": self.epoch,
            "history": self.history,
        }

    def model_state(self) -> dict:
        """The part of `state` that evaluation needs: "model" and, where the record keeps a frozen
        trunk, its hash in the place of its weights.
        """
        state = self._without_trunk(self.result.model.state_dict())
        return {"model": state} if self.trunk is None else {"model": state, "trunk": self.trunk}

    def _without_trunk(self, state: Mapping) -> Mapping:
        return state if self.trunk is None else models.split_state(state)[1]

    def restore(self, state: Mapping) -> None:
        self.result.model.load_state_dict(state["model"])
        if self.average is not None:
            self.model.load_state_dict({**state["model"], **state["trained"]})
            self.average.n_averaged.fill_(state["averaged_steps"])
        self.penalties.load_state_dict(state["penalties"])
        fused = self.optimizer.defaults["fused"]  # that of this machine, not of the one that saved
        groups = [{**group, "fused": fused} for group in state["optimizer"]["param_groups"]]
        self.optimizer.load_state_dict({**state["optimizer"], "param_groups": groups})
        if self.schedule:
            self.schedule.load_state_dict(state["schedule"])
        self.epoch, self.history = state["epoch"], state["history"]


def seed_everything(seed: int) -> None:
    """Seeds python, numpy's global generator and torch on every device: the same numbers again on
    one CPU.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  nothing here uses it, but a library may
    torch.manual_seed(seed)


def assemble(
    options: Mapping,
    splits: Splits,
    devices: Devices,
    team: Team = ALONE,
    restored: bool = False,
) -> TrainingState:
    """Builds model, loss, optimizer and schedule for resolved options; weights depend on
    options['seed'] alone.

    Of a team the first process goes ahead: it alone downloads weights, or says why the options do
    not allow a model. With `restored` a checkpoint will fill it (`TrainingState.restore`), so that
    nothing is needed of what the weights started from.
    Raises: ValueError: If the options do not allow it on these devices, or at all.
    """
    _check_devices(options, devices)
    training = team.first_then_others(_build, options, splits, devices, team, restored)
    training.network = _spread(training.network, devices, team)
    return training


def hold_model(model: Classifier, options: Mapping, devices: Devices) -> TrainingState:
    """What `outputs.compute_outputs` needs of a model with known weights, and nothing to train it.

    Raises: ValueError: If the options do not allow it on these devices.
    """
    options = {"batch_size": options["batch_size"], "amp": bool(options["amp"]), "compile": False}
    _check_devices(options, devices)
    place(model, devices, torch.channels_last)
    network = _spread(model, devices, ALONE)
    return TrainingState(model, network, None, None, None, None, devices, options, history=[])


def _check_devices(options: Mapping, devices: Devices) -> None:
    for name in ("compile", "amp"):  # DataParallel's threads would compute in float16
        if options[name] and len(devices.gpus) > 1:
            advice = "name one GPU with --GPU, or train under torchrun with a process for each"
            raise ValueError(f"--{name} does not go with DataParallel: {advice}")
    if options["compile"] and devices.trunk:
        raise ValueError(f"--compile is for CUDA and the CPU, not for --GPU {devices.trunk.type}")


def _build(
    options: Mapping, splits: Splits, devices: Devices, team: Team, restored: bool
) -> TrainingState:
    """Everything but what spreads the network over devices."""
    seed_everything(options["seed"])
    loss = _build_loss(options, splits)
    model, started_from = _build_model(options, splits, loss, restored)
    if team.size > 1:
        models.synchronise_batch_norm(model, devices.main)
    place(model, devices, torch.channels_last)
    loss = loss.to(devices.main)
    if devices.fused_loss:
        loss.fuse()
    penalties = Penalties(options, splits.hierarchy, model, model.head, model.fresh_parts())
    penalties.place(devices.main, devices.of_trunk)
    if any(True for _ in loss.parameters()):
        model.loss = loss  # so that it trains, is kept and is averaged over processes with the rest
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trained and options["epochs"] > 0:
        raise ValueError(
            f"--freeze {options['freeze']} leaves nothing to train; --epochs 0 evaluates the model"
            " as it starts"
        )
    optimizer = _optimizer(options, model, penalties, fused=devices.main.type == "cuda")
    schedule = build_schedule(
        optimizer,
        options["schedule"],
        options["epochs"],
        options["warmup"] or 0,
        **SCHEDULES.select(options),
    )
    network = torch.compile(model) if options["compile"] else model
    training = TrainingState(
        model, network, loss, penalties, optimizer, schedule, devices, options, team, history=[]
    )
    training.started_from = started_from
    if _can_replay(devices, team):
        if not options["compile"]:
            training.replayed_model = ReplayedModel(training.score, model)
        if _is_recordable(loss, options):
            training.replayed_loss = ReplayedLoss(loss)
    if options["average"]:
        average = fading_average(options["average"])
        training.average = AveragedModel(model, multi_avg_fn=average, use_buffers=True)
    return training


def _build_loss(options: Mapping, splits: Splits) -> losses.Loss:
    offered = models.HEADS[options["method"]].offered(options)
    own = losses.select_options(options)
    loss = losses.build_loss(options["loss"], splits.hierarchy, offered, **own)
    loss.coarse = splits.trains_coarse
    return loss


def _build_model(
    options: Mapping, splits: Splits, loss: losses.Loss, restored: bool
) -> tuple[Classifier, tuple[dict, pd.DataFrame] | None]:
    """The model as it starts, with what does not train frozen; and with --start_from what it took
    from that run.
    """
    drawn = data.drawn_counts(
        options["balance"] or "none", splits.hierarchy, splits.labels[splits.train]
    )
    start = options["start_from"] and not restored
    filled_later = {"rand_backbone": True, "weights": None} if start or restored else {}
    model = models.build_classifier(
        {**options, **filled_later},
        splits.hierarchy,
        drawn,
        splits.channels,
        splits.image_size,
        soften=loss.marginals,
    )
    started_from = start_from(model, options, splits.hierarchy) if start else None
    model.notes = (*model.notes, *trained_before(options, splits))
    models.freeze(model, options["freeze"] or "none")
    return model, started_from


def _can_replay(devices: Devices, team: Team) -> bool:
    """Whether one GPU computes every step, and may record parts of it."""
    alone = team.size == 1 and len(devices.gpus) == 1
    return devices.main.type == "cuda" and alone and devices.graphs


def _is_recordable(loss: losses.Loss, options: Mapping) -> bool:
    """Whether a loss has no weights of its own and looks at nothing that a batch holds, as for
    labels at inner nodes.
    """
    return not (loss.coarse or data.mixes(options) or any(True for _ in loss.parameters()))


def _optimizer(
    options: Mapping, model: Classifier, penalties: Penalties, fused: bool
) -> torch.optim.Optimizer:
    """What moves the weights that train; where none do, as with --epochs 0, a number of its own."""
    own = OPTIMIZERS.select(options)
    groups = parameter_groups(
        model,
        model.backbone.network,
        options["lr"],
        backbone_lr=options["backbone_lr"] or 1.0,
        layer_decay=options["layer_decay"] or 1.0,
        weight_decay=own.get("decoupled_weight_decay", 0.0),
        spared=penalties.covered,
    )
    nothing = [nn.Parameter(torch.zeros(()))]
    make = OPTIMIZERS.chosen(options).make
    return make(groups or nothing, lr=options["lr"], fused=fused, **own)


def _spread(network: nn.Module, devices: Devices, team: Team) -> nn.Module:
    """The network over the GPUs of this process, or over all processes."""
    if team.size > 1 and any(parameter.requires_grad for parameter in network.parameters()):
        buffers = {SYNC_BUFFERS: False}  # every process moves them alike
        return DistributedDataParallel(
            network, list(devices.gpus) or None, gradient_as_bucket_view=True, **buffers
        )
    return _over_gpus(network, devices)


def _over_gpus(network: nn.Module, devices: Devices) -> nn.Module:
    if len(devices.gpus) < 2:
        return network
    return EvenDataParallel(network, device_ids=list(devices.gpus))
