"""Trains what a run consists of, and collects what evaluation needs: the only training loop."""

from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
import torch
from torch.nn import functional as F
from tqdm import tqdm

import data
from data import Batches, Splits
from data.progress import progress
from models import PrototypeSums
from runs.folder import Run
from training.epoch_stats import CHECK_EVERY, Diverged, EpochStats
from training.setup import TrainingState, seed_everything


def epoch_seed(seed: int, epoch: int, rank: int = 0) -> int:
    """Seed of everything random in one epoch. It depends on nothing before, so a resumed epoch
    draws the same.
    """
    entropy = [seed, epoch, rank] if rank else [seed, epoch]
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(1))


def fit(
    training: TrainingState,
    splits: Splits,
    run: Run,
    on_epoch: Callable[[Mapping], None] | None = None,
) -> None:
    """Trains up to options['epochs'], recording after each epoch: last.pt, epochs.csv, and best.pt
    where it improved.

    Best is the strictly larger accuracy on the validation split, the first one on ties; without
    such a split there is no best.pt and the last epoch is the result. `on_epoch` is given each row
    of epochs.csv once it is recorded.
    Raises: Diverged: If the loss is no finite number.
    """
    options, team = training.options, training.team
    batches = _training_batches(training, splits)
    steps = len(batches)
    with progress(
        total=options["epochs"] * steps, initial=training.epoch * steps, disable=not team.first
    ) as bar:
        while training.epoch < options["epochs"]:
            try:
                row = _train_epoch(training, splits, batches, bar)
                row.update(_validate(training, splits))
            except Diverged as error:
                raise Diverged(f"{error} {_diverged(training)}") from None
            if training.schedule:
                training.schedule.step()
            training.history.append(row)
            training.epoch += 1
            if row.get("val_accuracy", -1.0) > training.best:
                training.best = row["val_accuracy"]
                run.save_checkpoint(
                    "best.pt", {"model": training.model.state_dict(), "epoch": training.epoch}
                )
            run.save_checkpoint("last.pt", training.state())
            run.write_epochs(training.history)
            run.log(_line(row, options["epochs"]))
            if on_epoch is not None:
                on_epoch(row)
    if training.epoch == 0:  # --epochs 0: the untrained network is the result
        run.save_checkpoint("last.pt", training.state())


def _diverged(training: TrainingState) -> str:
    lr = training.optimizer.param_groups[0]["lr"]
    return (
        f"of epoch {training.epoch + 1}, with learning rate {lr:g}; nothing of this epoch is kept."
        " Start again with a"
        f" smaller --lr (a tenth, say){' or without --amp' if training.options['amp'] else ''}"
    )


def _line(row: Mapping, epochs: int) -> str:
    """An epoch in one line of the log."""
    parts = [
        f"epoch {row['epoch']}/{epochs}",
        f"loss {row['train_loss']:.4f}",
        f"accuracy {row['train_accuracy']:.3f}",
    ]
    if "val_accuracy" in row:
        parts.append(f"validation {row['val_accuracy']:.3f}")
    return "  ".join([*parts, f"W/corr {row['W/corr']:.3f}", f"scale {row['scale']:.2f}"])


def _training_batches(training: TrainingState, splits: Splits) -> Batches:
    """Batches of the training split, for this process; on a GPU that has room the images stay
    there.
    """
    team, device = training.team, training.devices.main
    return Batches(
        splits,
        splits.train,
        training.options["batch_size"],
        merge_single=True,
        part=team.my_share,
        device=device,
        resident=device.type == "cuda",
    )


def _train_epoch(training: TrainingState, splits: Splits, batches: Batches, bar: tqdm) -> dict:
    """One pass over the training split; returns the epoch's row without the validation columns."""
    model, options, team = training.model, training.options, training.team
    own_seed = epoch_seed(options["seed"], training.epoch, team.rank)
    seed_everything(own_seed)
    generator = torch.Generator().manual_seed(own_seed)
    augment = data.augment(options["aug"])
    batches = batches.reshuffled(epoch_seed(options["seed"], training.epoch))
    model.train()
    lr = training.optimizer.param_groups[0]["lr"]
    model.head.set_lr(lr)
    training.loss.set_epoch(training.epoch)
    stats = EpochStats(splits.num_classes, model.dim, len(batches), training.devices.main, team)
    bar.set_description(f"epoch {training.epoch + 1}/{options['epochs']}", refresh=False)
    for step, ((images, sizes, targets), total) in enumerate(zip(batches, batches.totals)):
        images = (
            augment(images, generator) if len(images) else images
        )  # a process may have none of a batch
        embeddings, scores, terms = _forward_backward(training, images, sizes, targets, total)
        stats.add(embeddings, scores, targets, terms, model.head, training.loss.reduction == "mean")
        _step(training, embeddings, targets, total)
        bar.update()
        if step % CHECK_EVERY == CHECK_EVERY - 1:
            bar.set_postfix(stats.progress(), refresh=False)
    bar.set_postfix(stats.progress(), refresh=False)
    row = {"epoch": training.epoch + 1, "lr": lr, **stats.row(model.head, splits.hierarchy)}
    if not all(
        torch.stack([parameter.isfinite().all() for parameter in model.parameters()]).tolist()
    ):
        raise Diverged("a weight is no finite number at the end")
    return row


def _forward_backward(
    training: TrainingState, images, sizes, targets, total: int
) -> tuple[torch.Tensor, torch.Tensor, dict]:
    """Forward and backward of this process's images of a batch of `total` images.

    Returns: Detached embeddings (B, D), scores (B, C), and the terms of what is minimised, the loss
    first.
    """
    head, loss, size = training.model.head, training.loss, training.team.size
    with torch.autocast(
        training.devices.main.type, torch.bfloat16, enabled=bool(training.options["amp"])
    ):
        embeddings = training.network(images, sizes)
    scores = head(embeddings)
    inputs = scores if loss.inputs == "scores" else head.cosines(embeddings)
    own = (
        loss(inputs, targets) if len(targets) else inputs.sum()
    )  # 0 with the gradient 0, where the mean is not defined
    penalties = training.penalties(training.model, head.weight)
    training.optimizer.zero_grad(set_to_none=True)
    # gradients are averaged over processes: the factor makes of that the mean, or sum, over the
    # batch
    factor = size * len(targets) / total if loss.reduction == "mean" else size
    sum(penalties.values(), own * factor if size > 1 else own).backward()
    terms = {"loss": own, **penalties}
    return (
        embeddings.detach(),
        scores.detach(),
        {name: term.detach() for name, term in terms.items()},
    )


def _step(
    training: TrainingState, embeddings: torch.Tensor, targets: torch.Tensor, total: int
) -> None:
    """The optimizer's step, and what heads move without a gradient, which see the whole batch in
    every process.
    """
    training.optimizer.step()
    head, team = training.model.head, training.team
    if head.updates_after_step:
        head.update_after_step(
            team.gather_rows(embeddings, total), team.gather_rows(targets, total)
        )


@torch.no_grad()
def _validate(training: TrainingState, splits: Splits) -> dict:
    """Accuracy and cross-entropy on the validation split with the class vectors; nothing where
    there is none.
    """
    if len(splits.val) == 0:
        return {}
    sums = torch.zeros(2, dtype=torch.float64, device=training.devices.main)
    for embeddings, targets in _embed(training, splits, splits.val):
        scores = training.model.head(embeddings)
        sums[0] += (scores.argmax(1) == targets).sum()
        sums[1] += F.cross_entropy(scores, targets, reduction="sum")
    training.team.sum(sums)
    correct, entropy = sums.tolist()
    if not np.isfinite(
        entropy
    ):  # the last step may have broken a model whose loss was still finite
        raise Diverged(f"the loss on the validation split is {entropy} at the end")
    return {"val_loss": entropy / len(splits.val), "val_accuracy": correct / len(splits.val)}


def _embed(
    training: TrainingState, splits: Splits, indices: np.ndarray, what: str | None = None
) -> Iterator[tuple]:
    """Yields (embeddings (B, D) float32, targets (B,)) of this process's part of clean images, in
    order.
    """
    training.model.eval()
    team, device, amp = training.team, training.devices.main, bool(training.options["amp"])
    batches = Batches(splits, team.my_share(indices), training.options["batch_size"], device=device)
    for images, sizes, targets in progress(
        batches, desc=what, disable=what is None or not team.first, leave=False
    ):
        with torch.autocast(device.type, torch.bfloat16, enabled=amp):
            embeddings = training.network(images, sizes)
        yield embeddings.float(), targets


@torch.no_grad()
def compute_outputs(
    training: TrainingState, splits: Splits, names: Iterable[str] = ("test",)
) -> dict[str, dict[str, np.ndarray]]:
    """Embeddings and scores of whole splits, after a clean pass over the training images for the
    prototypes.

    Returns: For each split named ('test', 'val', 'train') a dict of arrays: labels (S,), files
    (S,), sizes (S, 2), embeddings (S, D), scores (S, C), class_vectors (C, D), prototypes (C, D)
    with NaN rows for classes without training images, prototype_counts (C,); for heads with proxies
    prototype_scores (S, C); living (C,) where known. Of several processes only the first has the
    arrays of single images.
    """
    sums = PrototypeSums(splits.num_classes, training.model.dim, training.devices.main)
    for embeddings, targets in _embed(training, splits, splits.train, "prototypes"):
        sums.add(embeddings, targets)
    training.team.sum(sums.sums, sums.squares, sums.counts)
    prototypes, counts, _ = sums.result()
    shared = {"prototypes": prototypes.cpu().numpy(), "prototype_counts": counts.cpu().numpy()}
    shared["class_vectors"] = training.model.head.class_vectors()
    if splits.living is not None:
        shared["living"] = splits.living
    return {name: {**_outputs(training, splits, name, prototypes), **shared} for name in names}


def _outputs(
    training: TrainingState, splits: Splits, name: str, prototypes: torch.Tensor
) -> dict[str, np.ndarray]:
    """What belongs to the images of one split, gathered batch by batch on the CPU."""
    head, indices, parts = (
        training.model.head,
        getattr(splits, name),
        {"embeddings": [], "scores": []},
    )
    if head.has_proxies:
        parts["prototype_scores"] = []
    for embeddings, _ in _embed(training, splits, indices, name):
        parts["embeddings"].append(embeddings.cpu())
        parts["scores"].append(head(embeddings).cpu())
        if head.has_proxies:
            parts["prototype_scores"].append(head(embeddings, weight=prototypes).cpu())
    gathered = training.team.gather(parts)
    if not gathered:
        return {}
    return {
        "labels": splits.labels[indices],
        "files": np.array([splits.files[i] for i in indices]),
        "sizes": np.asarray(splits.sizes[indices]),
        **{
            key: torch.cat([batch for one in gathered for batch in one[key]]).numpy()
            for key in parts
        },
    }
