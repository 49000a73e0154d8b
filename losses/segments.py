"""How a class cuts a row of scores: by its superclasses, into levels that need no subtraction.

With the classes in depth-first order every superclass is an interval, and the superclasses of one
class are nested. Level l of a class y, 0 <= l <= H, counts outwards: level 0 is y itself, and level
l are the classes that share with y its ancestor l steps up (of a path drawn out to depth H by
repeating the class) but none nearer. Each level but the first lies in two segments of the row, on
the left and on the right of the levels inside it, some of them empty:

    left of level H, ..., left of level 1, y itself, right of level 1, ..., right of level H

So y cuts a row into 2 H + 1 segments. `Segments` reduces over levels and spreads values of levels
back over the row; one kind for the CPU and one for all other devices know how, and nothing else in
the losses depends on the device.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from hierarchies import Hierarchy

# scores worked on at a time on the CPU: what one step leaves is in the cache when the next reads it
CHUNK = 2**18
LOWEST = -1e30  # stands for log 0: finite, so that no difference is a NaN


def level_nodes(hierarchy: Hierarchy) -> np.ndarray:
    """The ancestor of each class at every depth, the class itself below its own: (C, H + 1)
    int64.
    """
    return np.concatenate(
        [np.zeros((hierarchy.num_classes, 1), np.int64), hierarchy.level_table], axis=1
    )


def segment_lengths(hierarchy: Hierarchy) -> np.ndarray:
    """Number of classes in each segment of each class, from left to right: (C, 2 H + 1) int64, rows
    sum to C.
    """
    nodes = level_nodes(hierarchy)
    left = np.diff(hierarchy.start[nodes], axis=1)
    right = np.diff(hierarchy.stop[nodes][:, ::-1], axis=1)
    return np.concatenate([left, np.ones((hierarchy.num_classes, 1), np.int64), right], axis=1)


def level_sizes(hierarchy: Hierarchy) -> np.ndarray:
    """Number of classes in each level of each class, outwards: (C, H + 1) int64."""
    lengths = segment_lengths(hierarchy)
    depth = hierarchy.max_depth
    sizes = lengths[:, depth:].copy()
    sizes[:, 1:] += lengths[:, :depth][:, ::-1]
    return sizes


class TreeOrder(nn.Module):
    """The tables of a tree that cut rows of scores, of order classes x depth.

    Attributes:
        order (C,), inverse (C,): Classes in depth-first order, and the place of each class in it;
            None if the classes are in that order.
        lengths (C, 2 H + 1): See `segment_lengths`.
    """

    def __init__(self, hierarchy: Hierarchy):
        super().__init__()
        self.num_classes, self.depth = hierarchy.num_classes, hierarchy.max_depth
        order = torch.from_numpy(np.array(hierarchy.leaf_order))
        self.in_order = bool((order == torch.arange(len(order))).all())
        self._table("order", None if self.in_order else order)
        self._table("inverse", None if self.in_order else torch.argsort(order))
        self._table("lengths", torch.from_numpy(segment_lengths(hierarchy)))

    def cut(self, targets: Tensor) -> "Cut":
        """How the targets (B,) cut their rows, in parts of the batch: on the CPU such that fit into
        the cache.
        """
        if not runs_on_cpu(targets):
            return [(slice(0, len(targets)), DeviceSegments(self, targets))]
        rows = max(1, CHUNK // self.num_classes)
        return [
            (slice(first, first + rows), CPUSegments(self, targets[first : first + rows]))
            for first in range(0, len(targets), rows)
        ]

    def _table(self, name: str, table: Tensor | None) -> None:
        self.register_buffer(name, table, persistent=False)


def runs_on_cpu(tensor: Tensor) -> bool:
    """Whether `CPUSegments` can work on the tensor; the tests say no to try the other kind."""
    return tensor.device.type == "cpu"


def join(parts: Sequence[Tensor]) -> Tensor:
    """What was computed for the parts of a batch, in one."""
    return parts[0] if len(parts) == 1 else torch.cat(parts)


RANGE = 650.0  # of exponents whose exp float64 tells from 0
FEW = float(np.exp(-32.0))  # p(target) above which float32 keeps every mass that counts
NEGLIGIBLE = 35.0  # e^-35 of a sum is less than float64 keeps of it


def relative(tops: Tensor) -> tuple[Tensor, Tensor | None]:
    """What to multiply the masses of levels by, to have them relative to one mass of the row.

    Mostly exp(top - largest top). Where a row spans more than float64 does, a level that exceeds
    all within it by so much that these do not count beside it is brought nearer, together with all
    levels outside of it.

    Args:
        tops (B, H + 1): The logarithms of what the masses are relative to, outwards.

    Returns: Factors (B, H + 1) float64, and by how much less each of the levels 1 to H exceeds what
        lies within it now, (B, H); None for nowhere.
    """
    tops = tops.double()
    # the bound lets all be impossible where the largest is
    largest = tops.amax(dim=1, keepdim=True).clamp_(min=LOWEST / 2)
    if runs_on_cpu(tops) and (largest[:, 0] - tops[:, 0]).max().item() < RANGE:
        return (tops - largest).exp_(), None
    highest = tops.cummax(dim=1).values
    most = max(NEGLIGIBLE, RANGE / (tops.shape[1] - 1))
    excess = (highest.diff(dim=1) - most).clamp_(min=0.0)
    excess.masked_fill_(highest[:, :-1] < LOWEST / 2, 0.0)  # what is impossible needs no place
    tops = torch.cat([tops[:, :1], tops[:, 1:] - excess.cumsum(dim=1)], dim=1)
    largest = tops.amax(dim=1, keepdim=True).clamp_(min=LOWEST / 2)
    return tops.sub_(largest).exp_(), excess


class Segments:
    """How B targets cut their rows of scores (B, C). Values of levels are (B, H + 1), outwards.

    No method waits for the device, and none is differentiated by autograd: losses give gradients by
    hand.
    """

    def in_order(self, values: Tensor) -> Tensor:
        """Values (B, C) in class order -> with the classes in depth-first order."""
        raise NotImplementedError

    def in_class_order(self, values: Tensor) -> Tensor:
        """The inverse of `in_order`."""
        raise NotImplementedError

    def masses(self, scores: Tensor, targets: Tensor, out: Tensor) -> tuple[Tensor, Tensor]:
        """Masses of the levels, the sums of exp(score - top of the level): (B, H + 1) float64.

        Args:
            scores (B, C): In class order.
            targets (B,): The true classes.
            out (B, C): Gets the terms of the sums, in an order that `multiply` knows.

        Returns: The masses, and the tops (B, H + 1), at least `LOWEST`: such that no mass which
        counts is too small for float32.
        """
        raise NotImplementedError

    def max(self, values: Tensor) -> Tensor:
        """Largest of the values (B, C), in depth-first order, in each level; -inf if it is
        empty.
        """
        raise NotImplementedError

    def sum(self, values: Tensor) -> Tensor:
        """Sums of the values (B, C), in depth-first order, over each level, float64; 0 if it is
        empty.
        """
        raise NotImplementedError

    def spread(self, levels: Tensor) -> Tensor:
        """The value of the level (B, H + 1) in all its places, (B, C) in depth-first order."""
        raise NotImplementedError

    def multiply(self, terms: Tensor, levels: Tensor) -> None:
        """The terms (B, C) that `masses` wrote, times the values of their levels (B, H + 1), in
        their place and in class order.
        """
        raise NotImplementedError

    def weighted_sum(self, weights: Tensor, values: Tensor) -> Tensor:
        """Sums (B,) of weights (B, C), >= 0, times values, where a weight of 0 makes 0 of -inf,
        too.
        """
        raise NotImplementedError

    def argmax(self, values: Tensor) -> Tensor:
        """Place of the largest value in each row of (B, C): (B, 1) int64."""
        raise NotImplementedError


class CPUSegments(Segments):
    """In numpy: `reduceat` sums pairwise, at the speed of memory."""

    def __init__(self, tree: TreeOrder, targets: Tensor):
        self.tree, self.depth = tree, tree.depth
        lengths = tree.lengths.numpy().take(targets.numpy(), axis=0)
        flat = lengths.ravel()
        self.shape = lengths.shape
        self.filled = np.flatnonzero(flat > 0)  # far faster than of integers
        self.counts = flat[self.filled]
        self.starts = np.cumsum(self.counts) - self.counts

    def in_order(self, values: Tensor) -> Tensor:
        return values if self.tree.order is None else _take(values, self.tree.order)

    def in_class_order(self, values: Tensor) -> Tensor:
        return values if self.tree.inverse is None else _take(values, self.tree.inverse)

    def masses(self, scores: Tensor, targets: Tensor, out: Tensor) -> tuple[Tensor, Tensor]:
        torch.softmax(scores, dim=1, out=out)  # mostly one top for the row will do
        if out.gather(1, targets[:, None]).min().item() > FEW:
            tops = torch.zeros(self.shape[0], 1, dtype=scores.dtype).expand(-1, self.depth + 1)
            return self.sum(self.in_order(out)), tops
        x = self.in_order(scores)
        tops = self.max(x).clamp_(min=LOWEST)
        terms = x.sub(self.spread(tops)).exp_()
        out.copy_(self.in_class_order(terms))
        return self.sum(terms), tops

    def max(self, values: Tensor) -> Tensor:
        values = values.numpy()
        segments = np.full(self.shape, -np.inf, values.dtype)
        segments.ravel()[self.filled] = np.maximum.reduceat(values.ravel(), self.starts)
        levels = segments[:, self.depth :]
        left = segments[:, : self.depth][:, ::-1]
        np.maximum(levels[:, 1:], left, out=levels[:, 1:])
        return torch.from_numpy(levels)

    def sum(self, values: Tensor) -> Tensor:
        segments = np.zeros(self.shape)
        segments.ravel()[self.filled] = np.add.reduceat(values.numpy().ravel(), self.starts)
        levels = segments[:, self.depth :]
        levels[:, 1:] += segments[:, : self.depth][:, ::-1]
        return torch.from_numpy(levels)

    def spread(self, levels: Tensor) -> Tensor:
        levels = levels.numpy()
        segments = np.concatenate([levels[:, :0:-1], levels], axis=1)
        values = np.repeat(segments.ravel()[self.filled], self.counts)
        return torch.from_numpy(values.reshape(len(levels), -1))

    def multiply(self, terms: Tensor, levels: Tensor) -> None:
        terms.mul_(self.in_class_order(self.spread(levels)))

    def weighted_sum(self, weights: Tensor, values: Tensor) -> Tensor:
        sums = (weights * values).sum(dim=1)
        if np.isnan(sums.numpy()).any():  # rare, and looking costs nothing here
            sums = torch.where(weights > 0, weights * values, 0.0).sum(dim=1)
        return sums

    def argmax(self, values: Tensor) -> Tensor:
        # torch's takes as long as all the rest of a loss
        return torch.from_numpy(values.numpy().argmax(axis=1))[:, None]


class DeviceSegments(Segments):
    """In torch, on any device, with few kernels and without waiting for it."""

    def __init__(self, tree: TreeOrder, targets: Tensor):
        self.tree, self.depth = tree, tree.depth
        self.lengths = tree.lengths[targets]  # (B, 2 H + 1)
        self.places = None

    def in_order(self, values: Tensor) -> Tensor:
        return values if self.tree.order is None else values.index_select(1, self.tree.order)

    def in_class_order(self, values: Tensor) -> Tensor:
        return values if self.tree.inverse is None else values.index_select(1, self.tree.inverse)

    def masses(self, scores: Tensor, targets: Tensor, out: Tensor) -> tuple[Tensor, Tensor]:
        x = self.in_order(scores)
        tops = self.max(x).clamp_(min=LOWEST)
        torch.sub(x, self.spread(tops), out=out).exp_()
        return self.sum(out), tops

    def max(self, values: Tensor) -> Tensor:
        segments = self._reduce(values, "max")
        return torch.maximum(segments, segments.flip(1))[:, self.depth :]

    def sum(self, values: Tensor) -> Tensor:
        segments = self._reduce(values, "sum").double()
        levels = segments[:, self.depth :]
        levels[:, 1:] += segments[:, : self.depth].flip(1)
        return levels

    def spread(self, levels: Tensor) -> Tensor:
        if self.places is None:
            place = torch.arange(self.tree.num_classes, device=levels.device)
            place = place.expand(len(levels), -1).contiguous()
            segment = torch.searchsorted(self.lengths.cumsum(1), place, right=True)
            self.places = segment.sub_(self.depth).abs_()
        return levels.gather(1, self.places)

    def multiply(self, terms: Tensor, levels: Tensor) -> None:
        if self.tree.in_order:
            terms.mul_(self.spread(levels))
        else:
            product = terms * self.spread(levels)
            torch.index_select(product, 1, self.tree.inverse, out=terms)

    def weighted_sum(self, weights: Tensor, values: Tensor) -> Tensor:
        return torch.where(weights > 0, weights * values, 0.0).sum(dim=1)

    def argmax(self, values: Tensor) -> Tensor:
        return values.argmax(dim=1, keepdim=True)

    def _reduce(self, values: Tensor, reduce: str) -> Tensor:
        # flat, since only of flat values CUDA reduces a segment with many threads
        flat = torch.segment_reduce(
            values.reshape(-1), reduce, lengths=self.lengths.reshape(-1), unsafe=True
        )
        return flat.view(self.lengths.shape)


Cut = list[tuple[slice, Segments]]  # the parts of a batch


def _take(values: Tensor, columns: Tensor) -> Tensor:
    # The mode "wrap" spares the copy that the default mode makes to leave `out` alone after an
    # error.
    taken = torch.empty_like(values)
    np.take(values.numpy(), columns.numpy(), axis=1, out=taken.numpy(), mode="wrap")
    return taken
