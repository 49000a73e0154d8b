"""The only training loop: epochs of steps, each recorded, and the best one kept.

Read from `fit` downwards. What changes where several processes train one model is in `team`: each
has its share of every batch, gradients are averaged, and what is counted is summed.
"""

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_, get_total_norm

import data
from data import Batches, Splits
from data.mixing import Mixture
from data.progress import progress
from files.bars import tqdm
from losses.base import OF_WEIGHTS
from optimization.choosing import CHOICES
from runs.folder import Run
from training import batch_norm
from training.coarse_targets import CoarseTargets
from training.epoch_stats import CHECK_EVERY, Diverged, EpochStats
from training.outputs import embed
from training.setup import TrainingState, seed_everything
from training.validation_stats import ValidationStats


def fit(
    training: TrainingState,
    splits: Splits,
    run: Run,
    on_epoch: Callable[[Mapping], None] | None = None,
) -> None:
    """Trains up to options['epochs'], recording after each epoch: last.pt, epochs.csv, and best.pt
    where it improved.

    Best is the strictly better epoch on the validation split by --choose, the first one on ties;
    without such a split there is no best.pt and the last epoch is the result. With --patience it
    may end before. `on_epoch` is given each row of epochs.csv once it is recorded.
    Raises: Diverged: If the loss is not a finite number.
    """
    epochs, batches = training.options["epochs"], _training_batches(training, splits)
    steps, done = len(batches), training.epoch * len(batches)
    with progress(total=epochs * steps, initial=done, disable=not training.team.first) as bar:
        while not training.done:
            try:
                row = _train_epoch(training, splits, batches, bar)
                row |= _validate(training.result, splits)
            except Diverged as error:
                raise Diverged(f"{error} {_way_out(training)}") from None
            if training.schedule:
                training.schedule.step()
            training.history.append(row)
            training.epoch += 1
            if training.best_epoch == training.epoch:
                best = {**training.model_state(), "epoch": training.epoch}
                run.save_checkpoint("best.pt", best)
            run.save_checkpoint("last.pt", training.state())
            run.write_epochs(training.history)
            run.log(_line(row, training.options))
            if on_epoch is not None:
                on_epoch(row)
    if training.epoch < epochs:
        run.log(_reason_to_stop(training))
    if training.epoch == 0:  # --epochs 0: the untrained network is the result
        run.save_checkpoint("last.pt", training.state())


def _train_epoch(training: TrainingState, splits: Splits, batches: Batches, bar: tqdm) -> dict:
    """One pass over the training split; returns the epoch's row without the validation columns."""
    model, options, team = training.model, training.options, training.team
    training.loss.set_epoch(training.epoch)
    model.train()
    for replayed in filter(None, (training.replayed_model, training.replayed_loss)):
        replayed.start_epoch()
    own_seed = epoch_seed(options["seed"], training.epoch, team.rank)
    seed_everything(own_seed)
    generator = torch.Generator().manual_seed(own_seed)
    augment, mix = data.augmenter(options), data.mixer(options)
    batches = batches.reshuffled(epoch_seed(options["seed"], training.epoch))
    model.head.set_lr(training.lr)
    coarse = None
    if splits.trains_coarse:
        coarse = CoarseTargets(splits.hierarchy, training.devices.main)
    stats = EpochStats(
        splits.num_classes,
        model.dim,
        len(batches),
        training.devices.main,
        team,
        mixed=data.mixes(options),
        coarse=coarse,
    )
    unseen = batch_norm.unseen(model) if training.epoch == 0 else []
    bar.set_description(f"epoch {training.epoch + 1}/{options['epochs']}", refresh=False)
    for step, ((images, sizes, targets), total) in enumerate(zip(batches, batches.totals)):
        images = augment(images, generator)  # (B, channels, H, W)
        batch = mix(images, targets, generator)
        embeddings, scores, terms = _forward_backward(training, batch, sizes, total)
        stats.add(embeddings, scores, targets, terms, model.head, training.loss.reduction == "mean")
        if step == 0:
            batch_norm.begin_with_first_batch(unseen)
        _step(training, embeddings, targets, total)
        bar.update()
        if step % CHECK_EVERY == CHECK_EVERY - 1:
            bar.set_postfix(stats.bar_values(), refresh=False)
    bar.set_postfix(stats.bar_values(), refresh=False)
    _check_weights(model)
    return {
        "epoch": training.epoch + 1,
        "lr": training.lr,
        **stats.row(model.head, splits.hierarchy, quick=training.features is not None),
    }


def _forward_backward(
    training: TrainingState, batch: Mixture, sizes: Tensor, total: int
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Forward and backward of this process's images of a batch of `total` images.

    Returns: Detached embeddings (B, D), scores (B, C), and the terms of what is minimised, the loss
    first.
    """
    head, loss, team = training.model.head, training.loss, training.team
    score, compute = training.replayed_model or training.score, training.replayed_loss or loss
    embeddings, *found = score(batch.images, sizes)  # (B, D), and what the head says of them
    found = dict(zip(training.readings, found))
    scores, read = found["scores"], [found[name] for name in loss.inputs]  # (B, C)
    count = len(batch.targets)
    if team.size > 1 and not loss.separate:
        value = _of_whole_batch(training, batch, read, total)
        weighed = value * team.size  # as all gradients are averaged
    else:
        value = batch.loss(lambda targets: compute(*read, targets)) if count else _nothing(read)
        weighed = team.weigh(value, count, total, loss.reduction)
    penalties = training.penalties(training.model, head.weight)
    training.optimizer.zero_grad(set_to_none=True)
    sum(penalties.values(), weighed).backward()
    terms = {name: term.detach() for name, term in {"loss": value, **penalties}.items()}
    return embeddings.detach(), scores.detach(), terms


def _of_whole_batch(
    training: TrainingState, batch: Mixture, read: Sequence[Tensor], total: int
) -> Tensor:
    """The loss of a batch of `total` images of which each process has a part, the same in all; its
    gradients, this process's, add up over the processes.
    """
    team, loss = training.team, training.loss
    read = [
        team.divide_gradient(one) if name in OF_WEIGHTS else team.whole_batch(one, total)
        for name, one in zip(loss.inputs, read)
    ]
    targets, partners = (
        team.gather_rows(labels, total) for labels in (batch.targets, batch.partners)
    )
    whole = batch._replace(targets=targets, partners=partners)
    return whole.loss(lambda targets: loss(*read, targets))


def _nothing(read: Sequence[Tensor]) -> Tensor:
    """The loss of no images: 0, its gradient too."""
    return sum(one.sum() for one in read)


def _step(training: TrainingState, embeddings: Tensor, targets: Tensor, total: int) -> None:
    """Optimizer step, then EMA and scale updates, which see the whole batch in every process; then
    the average of all weights.
    """
    model, options, team = training.model, training.options, training.team
    if options["clip"]:
        clip_grad_norm_(model.parameters(), options["clip"])
    training.optimizer.step()
    head = model.head
    if head.updates_after_step:
        embeddings, targets = team.gather_rows(embeddings, total), team.gather_rows(targets, total)
        if training.loss.coarse:  # what moves without a gradient belongs to classes
            kept = targets < training.loss.num_classes
            embeddings, targets = embeddings[kept], targets[kept]
        if len(targets):
            head.update_after_step(embeddings, targets)
    if training.average is not None:
        training.average.update_parameters(model)


@torch.no_grad()
def _validate(training: TrainingState, splits: Splits) -> dict:
    """The validation columns of the epoch's row, with the class vectors; nothing where there is no
    such split.
    """
    if len(splits.val) == 0:
        return {}
    stats = ValidationStats(splits, training.devices.main, training.team)
    for embeddings, targets in embed(training, splits, splits.val):
        stats.add(training.model.head(embeddings), targets)
    return stats.row()


def epoch_seed(seed: int, epoch: int, rank: int = 0) -> int:
    """Seed of everything random in one epoch. It depends on nothing before, so a resumed epoch
    draws the same.
    """
    entropy = [seed, epoch, rank] if rank else [seed, epoch]
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(1))


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
        weights=data.draw_weights(
            training.options["balance"] or "none", splits.hierarchy, splits.labels[splits.train]
        ),
        resident=device.type == "cuda",
        features=training.features,
    )


def _check_weights(model: torch.nn.Module) -> None:
    """Raises: Diverged: If a weight is not finite."""
    weights = [parameter.detach() for parameter in model.parameters() if parameter.numel()]
    if not get_total_norm(weights, torch.inf).isfinite():
        raise Diverged("a weight is not a finite number at the end")


def _way_out(training: TrainingState) -> str:
    amp = " or without --amp" if training.options["amp"] else ""
    return (
        f"of epoch {training.epoch + 1}, with learning rate {training.lr:g}; nothing of this epoch"
        f" is kept. Start again with a smaller --lr (a tenth, say){amp}"
    )


def _reason_to_stop(training: TrainingState) -> str:
    choose = training.options["choose"] or CHOICES.option.default
    return (
        f"stopped after epoch {training.epoch}: val_{choose} was best in epoch"
        f" {training.best_epoch}, --patience {training.options['patience']}"
    )


def _line(row: Mapping, options: Mapping) -> str:
    """An epoch in one line of the log."""
    parts = [
        f"epoch {row['epoch']}/{options['epochs']}",
        f"loss {row['train_loss']:.4f}",
        f"accuracy {row['train_accuracy']:.3f}",
    ]
    if "val_accuracy" in row:
        parts.append(f"validation {row['val_accuracy']:.3f}")
    chosen_by = f"val_{options['choose']}"
    if chosen_by in row:
        parts.append(f"{chosen_by} {row[chosen_by]:.3f}")
    parts += [f"{name} {row[name]:.3f}" for name in row if re.fullmatch(r"W(_of_\d+)?/corr", name)]
    return "  ".join([*parts, f"scale {row['scale']:.2f}"])
