"""Assembles a run from its options, trains it, and collects what evaluation needs: the only training loop."""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

import data
import losses
import models
from data import Batches, Splits
from data.progress import progress
from devices import Devices
from losses.penalties import Penalties
from models import Classifier, PrototypeSums
from recording import Run
from tally import CHECK_EVERY, Diverged, Tally


@dataclass
class Training:
    """Everything a training run moves: what resuming restores is in `state`."""

    model: Classifier
    network: nn.Module  # the model, or DataParallel around it; calling it embeds a batch
    loss: nn.Module
    penalties: Penalties
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler | None
    devices: Devices
    options: Mapping
    epoch: int = 0  # epochs completed
    best: float = -1.0
    history: list[dict] = None

    def state(self) -> dict:
        """Tensors and builtins from which `restore` goes on to the same numbers."""
        return {
            "model": self.model.state_dict(),
            "penalties": self.penalties.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict() if self.schedule else None,
            "epoch": self.epoch,
            "best": self.best,
            "history": self.history,
        }

    def restore(self, state: Mapping) -> None:
        self.model.load_state_dict(state["model"])
        self.penalties.load_state_dict(state["penalties"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.schedule:
            self.schedule.load_state_dict(state["schedule"])
        self.epoch, self.best, self.history = state["epoch"], state["best"], state["history"]


def seed_everything(seed: int) -> None:
    """Seeds python, numpy's global generator and torch on every device: the same numbers again on one CPU."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  nothing here uses it, but a library may
    torch.manual_seed(seed)


def epoch_seed(seed: int, epoch: int) -> int:
    """Seed of everything random in one epoch. It depends on nothing before, so a resumed epoch draws the same."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def assemble(options: Mapping, splits: Splits, devices: Devices) -> Training:
    """Builds model, loss, optimizer and schedule for resolved options; weights depend on options['seed'] alone."""
    seed_everything(options["seed"])
    model = models.build_classifier(options, splits.hierarchy, splits.train_counts, splits.channels, splits.image_size)
    models.freeze(model, options["freeze"] or "none")
    model.to(devices.main, memory_format=torch.channels_last)
    network = nn.DataParallel(model, device_ids=list(devices.gpus)) if len(devices.gpus) > 1 else model
    loss = losses.build_loss(options["loss"], splits.hierarchy, **losses.select_options(options)).to(devices.main)
    penalties = Penalties(options, splits.hierarchy, model, model.head, model.fresh_parts()).to(devices.main)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trained and options["epochs"] > 0:
        raise ValueError(
            f"--freeze {options['freeze']} leaves nothing to train; --epochs 0 evaluates the model as it starts"
        )
    optimizer = torch.optim.Adam(trained or [nn.Parameter(torch.zeros(()))], lr=options["lr"])
    schedule = SCHEDULES[options["schedule"]](optimizer, options["epochs"])
    return Training(model, network, loss, penalties, optimizer, schedule, devices, options, history=[])


SCHEDULES = {
    "none": lambda optimizer, epochs: None,
    "cosine": lambda optimizer, epochs: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=max(epochs, 1)),
    "step": lambda optimizer, epochs: torch.optim.lr_scheduler.StepLR(optimizer, step_size=max(epochs // 3, 1)),
}


def fit(training: Training, splits: Splits, run: Run, on_epoch: Callable[[Mapping], None] | None = None) -> None:
    """Trains up to options['epochs'], recording after each epoch: last.pt, epochs.csv, and best.pt where it improved.

    Best is the strictly larger accuracy on the validation split, the first one on ties; without such a split there
    is no best.pt and the last epoch is the result. `on_epoch` is given each row of epochs.csv once it is recorded.
    Raises: Diverged: If the loss is no finite number.
    """
    options = training.options
    steps = len(_training_batches(training, splits))
    with progress(total=options["epochs"] * steps, initial=training.epoch * steps) as bar:
        while training.epoch < options["epochs"]:
            try:
                row = _train_epoch(training, splits, bar)
                row.update(_validate(training, splits))
            except Diverged as error:
                raise Diverged(f"{error} {_diverged(training)}") from None
            if training.schedule:
                training.schedule.step()
            training.history.append(row)
            training.epoch += 1
            if row.get("val_accuracy", -1.0) > training.best:
                training.best = row["val_accuracy"]
                run.save_checkpoint("best.pt", {"model": training.model.state_dict(), "epoch": training.epoch})
            run.save_checkpoint("last.pt", training.state())
            run.write_epochs(training.history)
            run.log(_line(row, options["epochs"]))
            if on_epoch is not None:
                on_epoch(row)
    if training.epoch == 0:  # --epochs 0: the untrained network is the result
        run.save_checkpoint("last.pt", training.state())


def _diverged(training: Training) -> str:
    lr = training.optimizer.param_groups[0]["lr"]
    return (
        f"of epoch {training.epoch + 1}, with learning rate {lr:g}; nothing of this epoch is kept. Start again with a"
        f" smaller --lr (a tenth, say){' or without --amp' if training.options['amp'] else ''}"
    )


def _line(row: Mapping, epochs: int) -> str:
    """An epoch in one line of the log."""
    parts = [f"epoch {row['epoch']}/{epochs}", f"loss {row['train_loss']:.4f}", f"accuracy {row['train_accuracy']:.3f}"]
    if "val_accuracy" in row:
        parts.append(f"validation {row['val_accuracy']:.3f}")
    return "  ".join([*parts, f"W/corr {row['W/corr']:.3f}", f"scale {row['scale']:.2f}"])


def _training_batches(training: Training, splits: Splits) -> Batches:
    options, seed = training.options, epoch_seed(training.options["seed"], training.epoch)
    return Batches(
        splits, splits.train, options["batch_size"], shuffle_seed=seed, merge_single=True, device=training.devices.main
    )


def _train_epoch(training: Training, splits: Splits, bar: tqdm) -> dict:
    """One pass over the training split; returns the epoch's row without the validation columns."""
    model, options = training.model, training.options
    seed = epoch_seed(options["seed"], training.epoch)
    seed_everything(seed)
    generator = torch.Generator().manual_seed(seed)
    augment = data.augment(options["aug"])
    batches = _training_batches(training, splits)
    model.train()
    lr = training.optimizer.param_groups[0]["lr"]
    model.head.set_lr(lr)
    training.loss.set_epoch(training.epoch)
    tally = Tally(splits.num_classes, model.dim, len(batches), training.devices.main)
    bar.set_description(f"epoch {training.epoch + 1}/{options['epochs']}", refresh=False)
    for step, (images, sizes, targets) in enumerate(batches):
        embeddings, scores, terms = _step(training, augment(images, generator), sizes, targets)
        tally.add(embeddings, scores, targets, terms, model.head)
        bar.update()
        if step % CHECK_EVERY == CHECK_EVERY - 1:
            bar.set_postfix(tally.progress(), refresh=False)
    bar.set_postfix(tally.progress(), refresh=False)
    return {"epoch": training.epoch + 1, "lr": lr, **tally.row(model.head, splits.hierarchy)}


def _step(training: Training, images, sizes, targets) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
    """Forward, backward, optimizer step, and what heads move without a gradient.

    Returns: Detached embeddings (B, D), scores (B, C), and the terms of what was minimised, the loss first.
    """
    head = training.model.head
    with torch.autocast(training.devices.main.type, torch.bfloat16, enabled=bool(training.options["amp"])):
        embeddings = training.network(images, sizes)
    scores = head(embeddings)
    loss = training.loss(scores if training.loss.inputs == "scores" else head.cosines(embeddings), targets)
    penalties = training.penalties(training.model, head.weight)
    training.optimizer.zero_grad(set_to_none=True)
    sum(penalties.values(), loss).backward()
    training.optimizer.step()
    embeddings = embeddings.detach()
    head.observe(embeddings, targets)
    terms = {"loss": loss, **penalties}
    return embeddings, scores.detach(), {name: term.detach() for name, term in terms.items()}


@torch.no_grad()
def _validate(training: Training, splits: Splits) -> dict:
    """Accuracy and cross-entropy on the validation split with the class vectors; nothing where there is none."""
    if len(splits.val) == 0:
        return {}
    correct = entropy = 0.0
    for embeddings, targets in _embed(training, splits, splits.val):
        scores = training.model.head(embeddings)
        correct += float((scores.argmax(1) == targets).sum())
        entropy += float(F.cross_entropy(scores, targets, reduction="sum"))
    if not np.isfinite(entropy):  # the last step may have broken a model whose loss was still finite
        raise Diverged(f"the loss on the validation split is {entropy} at the end")
    return {"val_loss": entropy / len(splits.val), "val_accuracy": correct / len(splits.val)}


def _embed(training: Training, splits: Splits, indices: np.ndarray, what: str | None = None) -> Iterator[tuple]:
    """Yields (embeddings (B, D) float32, targets (B,)) of clean images in evaluation mode, each image once, in order."""
    training.model.eval()
    batches = Batches(splits, indices, training.options["batch_size"], device=training.devices.main)
    for images, sizes, targets in progress(batches, desc=what, disable=what is None, leave=False):
        with torch.autocast(training.devices.main.type, torch.bfloat16, enabled=bool(training.options["amp"])):
            embeddings = training.network(images, sizes)
        yield embeddings.float(), targets


@torch.no_grad()
def collect(training: Training, splits: Splits, names: Iterable[str] = ("test",)) -> dict[str, dict[str, np.ndarray]]:
    """Embeddings and scores of whole splits, after a clean pass over the training images for the prototypes.

    Returns: For each split named ('test', 'val', 'train') a dict of arrays: labels (S,), files (S,), sizes (S, 2),
    embeddings (S, D), scores (S, C), class_vectors (C, D), prototypes (C, D) with NaN rows for classes without
    training images, prototype_counts (C,); for heads with proxies prototype_scores (S, C); living (C,) where known.
    """
    sums = PrototypeSums(splits.num_classes, training.model.dim, training.devices.main)
    for embeddings, targets in _embed(training, splits, splits.train, "prototypes"):
        sums.add(embeddings, targets)
    prototypes, counts, _ = sums.result()
    shared = {"prototypes": prototypes.cpu().numpy(), "prototype_counts": counts.cpu().numpy()}
    shared["class_vectors"] = training.model.head.class_vectors()
    if splits.living is not None:
        shared["living"] = splits.living
    return {name: {**_outputs(training, splits, name, prototypes), **shared} for name in names}


def _outputs(training: Training, splits: Splits, name: str, prototypes: torch.Tensor) -> dict[str, np.ndarray]:
    """What belongs to the images of one split, gathered batch by batch on the CPU."""
    head, indices, parts = training.model.head, getattr(splits, name), {"embeddings": [], "scores": []}
    if head.has_proxies:
        parts["prototype_scores"] = []
    for embeddings, _ in _embed(training, splits, indices, name):
        parts["embeddings"].append(embeddings.cpu())
        parts["scores"].append(head(embeddings).cpu())
        if head.has_proxies:
            parts["prototype_scores"].append(head(embeddings, weight=prototypes).cpu())
    return {
        "labels": splits.labels[indices],
        "files": np.array([splits.files[i] for i in indices]),
        "sizes": np.asarray(splits.sizes[indices]),
        **{key: torch.cat(values).numpy() for key, values in parts.items()},
    }
