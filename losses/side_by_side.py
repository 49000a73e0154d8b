"""The levels of a tree side by side, so that one operation works on all of them: rows (B, M) of the
M members of the levels, from the top to the classes.
"""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from hierarchies import Hierarchy
from hierarchies.levels import Level, cut, levels
from losses import segments
from losses.inner_targets import class_within, target_nodes

PART = 256  # members of a level that are added up at once
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


class _OfLevels(nn.Module):
    """What is known of the members of all levels, whichever way they lie.

    Attributes:
        sizes: Number of members of each level.
        tables: The tables of the module by name, see there. A module looks up in Python what is
            registered with it, which takes as long as a small operation; these are at hand.

    Tables:
        level (M,): The level of each member.
    """

    def __init__(self, found: Sequence[Level]):
        super().__init__()
        self.sizes = [len(level.nodes) for level in found]
        self.tables = SimpleNamespace()
        self._table("level", np.repeat(np.arange(len(found)), self.sizes))

    def _table(self, name: str, values: np.ndarray) -> None:
        self.register_buffer(name, torch.from_numpy(values), persistent=False)
        setattr(self.tables, name, self.get_buffer(name))

    def _apply(self, *arguments, **options) -> nn.Module:
        super()._apply(*arguments, **options)  # moves what is registered, to another device, say
        self.tables = SimpleNamespace(**dict(self.named_buffers()))
        return self


class SideBySide(_OfLevels):
    """Where each level lies in such rows, and what targets are there.

    Attributes:
        first (H,): Where each level starts.

    Tables:
        starts (H,): The same.
        table (H, C + N): What each target is on each level, counted within it, from the top to the
            classes: a member, or K + v for the node v of the tree that ends there.
    """

    def __init__(self, hierarchy: Hierarchy):
        super().__init__(levels(hierarchy))
        self.first = np.cumsum([0, *self.sizes])[:-1]
        self._table("starts", self.first.copy())
        self._table("table", np.stack(_columns(hierarchy)))

    def split(self, values: Tensor) -> tuple[Tensor, ...]:
        """The values (B, K) of each level, of those (B, M) of all."""
        return values.split(self.sizes, dim=1)

    def columns(self, targets: Tensor) -> Tensor:
        """What targets (B,) are on each level: (H, B), see `table`."""
        return self.tables.table.index_select(1, targets)

    def places(self, targets: Tensor) -> Tensor:
        """Where in the rows the members of targets (B,) are, none of them an inner node: (B, H)."""
        return self.columns(targets).T + self.tables.starts

    def exponentials(self, scores: Tensor) -> Exponentials:
        """Of the scores (B, M) of all levels."""
        if segments.runs_on_cpu(scores):
            tops = scores.amax(dim=1, keepdim=True)
            scores = scores - tops
            terms = exp(scores)
            sums = self.sums(terms)
            if not far_apart(sums):  # mostly one top for a row will do
                return Exponentials(scores, terms, sums, tops)
            more = torch.from_numpy(np.maximum.reduceat(scores.numpy(), self.first, axis=1))
            tops = tops + more
        else:
            more = tops = scores.new_full((len(scores), len(self.sizes)), -torch.inf)
            tops.scatter_reduce_(1, self.tables.level.expand_as(scores), scores, "amax")
        scores = scores - self.spread(more)
        terms = exp(scores)
        return Exponentials(scores, terms, self.sums(terms), tops)

    def sums(self, values: Tensor) -> Tensor:
        """Sums of values (B, M) over each level: (B, H)."""
        if segments.runs_on_cpu(values):
            return torch.from_numpy(np.add.reduceat(values.numpy(), self.first, axis=1))
        shape = len(values), len(self.sizes)
        sums = values.new_zeros(shape, dtype=torch.float64)  # terms come in any order
        sums.index_add_(1, self.tables.level, values.double())
        return sums.to(values.dtype)

    def spread(self, values: Tensor) -> Tensor:
        """The value (B, H) of the level of each member: (B, M)."""
        if segments.runs_on_cpu(values):
            return torch.from_numpy(np.repeat(values.numpy(), self.sizes, axis=1))
        return values.index_select(1, self.tables.level)


class Stack(_OfLevels):
    """The same with the levels one below the other, columns (M, B): what is added up and spread are
    then rows, which takes a fraction of the time, so that it pays where there is enough of it.

    `sums` and `spread` work on all levels or, if they are given no more, on all but the last.

    Attributes:
        upper: Number of members of all levels but the last.

    Tables:
        upper_level (M - K,): The level of each of them.
        above (M,): What each member is part of; those of the first level of nothing, which is the
            row behind the upper levels.
        labels (H - 1, C): The member that each class belongs to, counted within the level.
    """

    def __init__(self, hierarchy: Hierarchy):
        found = levels(hierarchy)
        super().__init__(found)
        self.upper = sum(self.sizes[:-1])
        self._table("upper_level", np.repeat(np.arange(len(found) - 1), self.sizes[:-1]))
        starts = np.cumsum([0, *self.sizes])
        above = [start + finer.above for start, finer in zip(starts, found[1:])]
        above = np.concatenate([np.full(self.sizes[0], self.upper), *above])
        by_parent = np.argsort(above, kind="stable")[: len(above) - self.sizes[0]]
        self._table("above", above)
        self._table("by_parent", by_parent)
        self._table("first_child", np.searchsorted(above[by_parent], np.arange(self.upper + 1)))
        self._table("members", np.arange(starts[-1]))
        labels = np.zeros((len(found) - 1, hierarchy.num_classes), np.int64)
        for row, level in zip(labels, found):
            row[:] = level.column
        self._table("labels", labels)
        # in parts, because long sums of single precision are exact to fewer digits
        parts = [np.arange(*pair, PART) for pair in zip(starts, starts[1:])]
        self._table("parts", np.concatenate(parts))
        self._table("first_part", np.cumsum([0, *(len(part) for part in parts)])[:-1])

    def columns(self, rows: Tensor) -> Tensor:
        """Rows (B, M) as columns (M, B), in memory of their own."""
        if segments.runs_on_cpu(rows):  # NumPy copies them in two thirds of the time
            return torch.from_numpy(np.array(rows.numpy().T, order="C"))
        return rows.T.contiguous()

    def exponentials(self, scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`Exponentials` without the tops, of the scores (M, B), in whose place they are lessened
        by these.
        """
        if segments.runs_on_cpu(scores):
            scores -= scores.amax(dim=0)
            terms = exp(scores)
            sums = self.sums(terms)
            if not far_apart(sums):  # mostly one top for all will do
                return scores, terms, sums
        tops = scores.new_full((len(self.sizes), scores.shape[1]), -torch.inf)
        tops.scatter_reduce_(0, self.tables.level[:, None].expand_as(scores), scores, "amax")
        scores -= self.spread(tops)
        terms = exp(scores)
        return scores, terms, self.sums(terms)

    def sums(self, values: Tensor) -> Tensor:
        """Sums of values (M, B) over each level: (H, B)."""
        tables = self.tables
        members, parts, first = tables.members, tables.parts, tables.first_part
        if len(values) == self.upper:
            members, first = members[: self.upper], first[:-1]
            parts = parts[: len(parts) - -(-self.sizes[-1] // PART)]
        sums = add_up(values, members, parts)
        return sums if len(parts) == len(first) else add_up(sums, members[: len(sums)], first)

    def spread(self, values: Tensor) -> Tensor:
        """The value (H, B) of the level of each member: (M, B)."""
        level = self.tables.level if len(values) == len(self.sizes) else self.tables.upper_level
        return values.index_select(0, level)

    def of_children(self, values: Tensor) -> Tensor:
        """Sums of values (M, B) over the children of each member of an upper level, and a row of
        zeros, which are those of nothing: (M - K + 1, B).
        """
        return add_up(values, self.tables.by_parent, self.tables.first_child)

    def to_children(self, values: Tensor) -> Tensor:
        """The value of what each member is part of, from such rows: (M, B)."""
        return values.index_select(0, self.tables.above)


def add_up(values: Tensor, rows: Tensor, starts: Tensor) -> Tensor:
    """The sums of the rows of values (K, B), of which each sum takes those from its start to the
    next: in the order of the rows, wherever it runs.
    """
    return torch.embedding_bag(values, rows, starts)[0]


def far_apart(sums: Tensor) -> bool:
    """Whether a level lies too far below the top of all for these sums of its terms."""
    return np.minimum.reduce(sums.numpy(), axis=None, initial=1.0) < segments.FEW


def exp(values: Tensor) -> Tensor:
    """exp(values) by way of exp2, which takes half its time on some processors."""
    return (values * LOG2_E).exp2_()


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
