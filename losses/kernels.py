"""Losses over the tree as one kernel each for GPUs, written in Triton. Imported by `losses.fused`
alone: Triton comes with PyTorch only where there are GPUs.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor


def _call(kernel, scores: Tensor, order: Tensor | None, ends: Tensor, *given: Tensor, **more):
    """Losses (B,) float64 and the gradient (B, C) of their mean, by a program for each row."""
    rows, columns = scores.shape
    losses = scores.new_empty(rows, dtype=torch.float64)
    gradient = torch.empty_like(scores)
    block = triton.next_power_of_2(columns)
    kernel[(rows,)](
        scores,
        ends if order is None else order,
        ends,
        *given,
        losses,
        gradient,
        columns,
        1 / rows,
        **more,
        DEPTH=ends.shape[1] // 2,
        BLOCK=block,
        IN_ORDER=order is None,
        num_warps=min(16, max(1, block // 256)),
    )
    return losses, gradient


def path_losses(
    scores: Tensor,
    order: Tensor | None,
    ends: Tensor,
    floors: Tensor,
    classes: Tensor,
    weights: Tensor,
    targets: Tensor,
    tiny: float,
    impossible: float,
) -> tuple[Tensor, Tensor]:
    """What `losses.hierarchical.PathLoss` computes of rows of up to `losses.fused.LONGEST` classes.

    Args:
        scores (B, C): Contiguous, in class order.
        order (C,), ends (C, 2 H), floors (H + 1,): As in `losses.segments.TreeOrder`.
        classes (B,): Rows of ends.
        weights (C + N, 2 H + 1): Shares, then steps, outwards.
        targets (B,): Rows of weights.
        tiny: Stands for a mass of 0.
        impossible: Losses above it are infinite.

    Returns: Losses (B,) float64, and the gradient (B, C) of their mean.
    """
    given = (floors, classes, weights, targets)
    return _call(_path_losses, scores, order, ends, *given, tiny=tiny, impossible=impossible)


def soft_target_losses(
    scores: Tensor,
    order: Tensor | None,
    ends: Tensor,
    floors: Tensor,
    classes: Tensor,
    q: Tensor,
    mass: Tensor,
    targets: Tensor,
    lowest: float,
) -> tuple[Tensor, Tensor]:
    """What `losses.soft_targets.SoftTargetLoss` computes of such rows.

    Args:
        scores (B, C), order (C,), ends (C, 2 H), floors (H + 1,), classes (B,): As of
            `path_losses`; the floors are not asked for.
        q (C + N, H + 1), mass (C + N,): As there.
        targets (B,): Rows of q.
        lowest: Stands for a largest score of -inf.

    Returns: Losses (B,) float64, and the gradient (B, C) of their mean.
    """
    return _call(_soft_target_losses, scores, order, ends, classes, q, mass, targets, lowest=lowest)


@triton.jit
def _path_losses(
    scores,
    order,
    ends,
    floors,
    classes,
    weights,
    targets,
    losses,
    gradient,
    columns,
    share_of_row,
    tiny,
    impossible,
    DEPTH: tl.constexpr,
    BLOCK: tl.constexpr,
    IN_ORDER: tl.constexpr,
):
    """A row for each program, with its classes in depth-first order: level after level outwards.

    With S_l the mass up to level l, the gradient of weights_l log S_l is weights_l p(class | all up
    to level l), added up as the levels go by.
    """
    row, places = tl.program_id(0).to(tl.int64), tl.arange(0, BLOCK)
    column, exists, x = _scores_in_order(scores, order, row, places, columns, IN_ORDER)
    ends += tl.load(classes + row) * (2 * DEPTH)
    weights += tl.load(targets + row) * (2 * DEPTH + 1)

    slope = tl.zeros_like(x)
    start, stop = columns, columns  # of all up to the level before: nothing yet
    best = tl.full((), -float("inf"), x.dtype)  # the largest of all up to the level
    inside = tl.full((), -float("inf"), tl.float64)  # log S_l
    loss = tl.full((), 0.0, tl.float64)
    for level in range(DEPTH + 1):
        before = (places >= start) & (places < stop)
        start, stop = _interval(ends, level, columns, DEPTH)
        within = (places >= start) & (places < stop)
        ring = tl.where(before, -float("inf"), tl.where(within, x, -float("inf")))
        top = tl.maximum(tl.max(ring, axis=0), tl.load(floors + level).to(x.dtype))
        best = tl.maximum(best, top)
        mass = tl.sum(tl.exp(ring - top), axis=0).to(tl.float64) + tiny
        log_mass = tl.log(mass) + top.to(tl.float64)
        ratio = log_mass - inside
        more = _log1p(tl.exp(-tl.abs(ratio)))
        share = tl.load(weights + (level - 1), mask=level > 0, other=0.0)
        loss += tl.where(level > 0, share * (tl.maximum(ratio, 0.0) + more), 0.0)
        inside = tl.maximum(inside, log_mass) + more
        step = (tl.load(weights + (DEPTH + level)) * share_of_row).to(x.dtype)
        rest = (inside - best.to(tl.float64)).to(x.dtype)
        slope += tl.where(within, step * tl.exp(x - best - rest), 0.0)
    tl.store(losses + row, tl.where(loss > impossible, float("inf"), loss))
    tl.store(gradient + row * columns + column, slope, mask=exists)


@triton.jit
def _soft_target_losses(
    scores,
    order,
    ends,
    classes,
    q,
    mass,
    targets,
    losses,
    gradient,
    columns,
    share_of_row,
    lowest,
    DEPTH: tl.constexpr,
    BLOCK: tl.constexpr,
    IN_ORDER: tl.constexpr,
):
    """A row for each program, with its classes in depth-first order."""
    row, places = tl.program_id(0).to(tl.int64), tl.arange(0, BLOCK)
    column, exists, x = _scores_in_order(scores, order, row, places, columns, IN_ORDER)
    ends += tl.load(classes + row) * (2 * DEPTH)
    target = tl.load(targets + row)
    q += target * (DEPTH + 1)

    labels = tl.zeros_like(x)
    start, stop = columns, columns
    for level in range(DEPTH + 1):
        before = (places >= start) & (places < stop)
        start, stop = _interval(ends, level, columns, DEPTH)
        within = (places >= start) & (places < stop)
        labels = tl.where(within & ~before, tl.load(q + level).to(x.dtype), labels)
    best = tl.argmax(x, axis=0)
    below = x - tl.maximum(tl.max(x, axis=0), lowest)
    missed = tl.sum(tl.where(labels == 0.0, 0.0, labels * below), axis=0)
    ratios = tl.exp(below)  # p / p of the best class
    others = tl.sum(tl.where(places == best, 0.0, ratios), axis=0).to(tl.float64)
    whole = tl.load(mass + target)
    tl.store(losses + row, whole * _log1p(others) - missed)
    factor = (whole / (1.0 + others) * share_of_row).to(x.dtype)
    slope = tl.where(places == best, 1.0, ratios) * factor - labels * share_of_row
    tl.store(gradient + row * columns + column, slope.to(x.dtype), mask=exists)


@triton.jit
def _scores_in_order(scores, order, row, places, columns, IN_ORDER: tl.constexpr):
    """The column of the class at each place, whether there is one, and its score, or -inf."""
    exists = places < columns
    column = places
    if not IN_ORDER:
        column = tl.load(order + places, mask=exists, other=0).to(tl.int32)
    x = tl.load(scores + row * columns + column, mask=exists, other=-float("inf"))
    return column, exists, x


@triton.jit
def _interval(ends, level, columns, DEPTH: tl.constexpr):
    """Where the classes up to a level start and end, of the row that the ends are of."""
    start = tl.load(ends + (DEPTH - 1 - level), mask=level < DEPTH, other=0)
    stop = tl.load(ends + (DEPTH + level), mask=level < DEPTH, other=columns)
    return start.to(tl.int32), stop.to(tl.int32)


@triton.jit
def _log1p(x):
    """log(1 + x) with all digits of a small x >= 0."""
    whole = 1.0 + x  # rounded; its logarithm is too, by the same factor
    return tl.where(whole == 1.0, x, tl.log(whole) * (x / (whole - 1.0)))
