"""The levels of a tree side by side, so that one operation works on all of them: rows (B, M) of the
M members of the levels, from the top to the classes.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from hierarchies import Hierarchy
from hierarchies.levels import cut, levels
from losses import segments
from losses.base import full_precision
from losses.gradients import times
from losses.inner_targets import class_within, target_nodes

LOG2_E = float(np.log2(np.e))


class Exponentials(NamedTuple):
    """What posteriors of levels are made of.

    Fields:
        scores (B, M): Less the top of their level, which is at least near the largest of them.
        terms (B, M): exp(scores).
        sums (B, H): Of the terms of each level, so that a posterior is term / sum.
        tops (B, H): Or (B, 1), where one top does for all levels.
    """

    scores: Tensor
    terms: Tensor
    sums: Tensor
    tops: Tensor


class SideBySide(nn.Module):
    """Where each level lies in such rows, and what targets are there. `sums` and `spread` work on
    all levels or, if they are given no more, on all but the last.

    Attributes:
        sizes: Number of members of each level.
        upper: Number of members of all levels but the last.
        level (M,): The level of each member.
        first, starts (H,): Where each level starts, as an array and as a table.
        table (H, C + N): What each target is on each level, counted within it, from the top to the
            classes: a member, or K + v for the node v of the tree that ends there.
    """

    def __init__(self, hierarchy: Hierarchy):
        super().__init__()
        found = levels(hierarchy)
        self.sizes = [len(level.nodes) for level in found]
        self.upper = sum(self.sizes[:-1])
        self._table("level", np.repeat(np.arange(len(found)), self.sizes))
        self.first = np.cumsum([0, *self.sizes])[:-1]
        self._table("starts", self.first.copy())
        self._table("table", np.stack(_columns(hierarchy)))

    def columns(self, targets: Tensor) -> Tensor:
        """What targets (B,) are on each level: (H, B), see `table`."""
        return self.table.index_select(1, targets)

    def places(self, targets: Tensor) -> Tensor:
        """Where in the rows the members of targets (B,) are, none of them an inner node: (B, H)."""
        return self.columns(targets).T + self.starts

    def exponentials(self, scores: Tensor) -> Exponentials:
        """Of the scores (B, M) of all levels, in whose place they are lessened by the tops."""
        if segments.runs_on_cpu(scores):
            tops = scores.amax(dim=1, keepdim=True)
            scores -= tops
            terms = exp(scores)
            sums = self.sums(terms)
            if not sums.numpy().min(initial=1.0) < segments.FEW:  # mostly one top for a row will do
                return Exponentials(scores, terms, sums, tops)
            more = torch.from_numpy(np.maximum.reduceat(scores.numpy(), self.first, axis=1))
            tops = tops + more
        else:
            more = tops = scores.new_full((len(scores), len(self.sizes)), -torch.inf)
            tops.scatter_reduce_(1, self.level.expand_as(scores), scores, "amax")
        scores -= self.spread(more)
        terms = exp(scores)
        return Exponentials(scores, terms, self.sums(terms), tops)

    def sums(self, values: Tensor) -> Tensor:
        """Sums of values (B, M) over each level: (B, H)."""
        count = len(self.sizes) - (values.shape[1] == self.upper)
        if segments.runs_on_cpu(values):
            first = self.first[:count]
            return torch.from_numpy(np.add.reduceat(values.numpy(), first, axis=1))
        sums = values.new_zeros(len(values), count, dtype=torch.float64)  # terms come in any order
        sums.index_add_(1, self.level[: values.shape[1]], values.double())
        return sums.to(values.dtype)

    def spread(self, values: Tensor) -> Tensor:
        """The value (B, H) of the level of each member: (B, M)."""
        count = values.shape[1]
        if segments.runs_on_cpu(values):
            return torch.from_numpy(np.repeat(values.numpy(), self.sizes[:count], axis=1))
        level = self.level if count == len(self.sizes) else self.level[: self.upper]
        return values.index_select(1, level)

    def _table(self, name: str, values: np.ndarray) -> None:
        self.register_buffer(name, torch.from_numpy(values), persistent=False)


def exp(values: Tensor) -> Tensor:
    """exp(values) by way of exp2, which takes half its time on some processors."""
    return (values * LOG2_E).exp2_()


def by_hand(values: Callable, sizes: Sequence[int], *given: Sequence[Tensor]) -> Tensor:
    """What a function of tensors of all levels gives, with the gradients that it gives itself.

    Args:
        values: From what is given to a scalar and its gradient in all scores side by side, (B, M),
            and, where there are vectors, in these, (M, D).
        sizes: Number of members of each level.
        given: The scores (B, K) of each level, and for some losses the vectors (K, D).
    """
    flat = [full_precision(one) for group in given for one in group]
    return _ByHand.apply(values, sizes, *flat)


class _ByHand(torch.autograd.Function):
    """A third of the passes over rows that autograd makes, and far fewer calls."""

    @staticmethod
    def forward(ctx, values: Callable, sizes: Sequence[int], *given: Tensor) -> Tensor:
        groups = [given[first : first + len(sizes)] for first in range(0, len(given), len(sizes))]
        value, *gradients = values(*groups)
        ctx.sizes = sizes
        ctx.save_for_backward(*gradients)
        return value

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        gradients = [times(gradient, grad_output) for gradient in ctx.saved_tensors]
        split = [one.split(ctx.sizes, dim=dim) for one, dim in zip(gradients, (1, 0))]
        return None, None, *(part for one in split for part in one)


def _columns(hierarchy: Hierarchy) -> list[np.ndarray]:
    table = []
    nodes, classes = target_nodes(hierarchy)[hierarchy.num_classes :], class_within(hierarchy)
    for depth, level in enumerate(levels(hierarchy), 1):
        ended = cut(hierarchy, level)
        numbers = {ended.path(v): v for v in range(ended.num_nodes)}
        inner = [
            len(level.nodes) + numbers[hierarchy.path(v)]
            if hierarchy.depth[v] < depth and hierarchy.class_of[v] < 0
            else level.column[c]
            for v, c in zip(nodes, classes[hierarchy.num_classes :])
        ]
        table.append(np.concatenate([level.column, inner]))
    return table
