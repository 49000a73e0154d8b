"""How a class cuts a row of scores: by its superclasses, into levels that need no subtraction.

With the classes in depth-first order every superclass is an interval, and the superclasses of one
class are nested. Level l of a class y, 0 <= l <= H, counts outwards: level 0 is y itself, and level
l are the classes that share with y its ancestor l steps up (of a path drawn out to depth H by
repeating the class) but none nearer. Each level but the first lies in two segments of the row, on
the left and on the right of the levels inside it, some of them empty:

    left of level H, ..., left of level 1, y itself, right of level 1, ..., right of level H

So y cuts a row into 2 H + 1 segments. `Segments` sums over levels and spreads values of levels back
over the row; one kind for the CPU and one for all other devices know how, and nothing else in the
losses depends on the device. `LevelMasses` is what a loss then knows of a row.
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hierarchies import Hierarchy

# scores worked on at a time on the CPU: what one step leaves is in the cache when the next reads it
CHUNK = 2**18
TABLE = 1024  # classes up to which the level of each beside each is kept off the CPU: 16 MiB
BINS = 32  # of each level at most, so that no neighbours wait for the same place of memory
PAIRS = 2**26  # of levels, in all rows together, that are held at a time
FEW = float(np.exp(-32.0))  # p(target) above which float32 keeps every mass that counts
LOWEST = -1e30  # stands for log 0: finite, so that no difference is a NaN
TINY = 1e-30  # stands for a mass of 0 beside one of at least 1, which then has a logarithm


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
        order (C,): Classes in depth-first order; None if they are in that order.
        places (C,): The place of each class in depth-first order.
        lengths (C, 2 H + 1): See `segment_lengths`.
        ends (C, 2 H): Where all segments but the last end.
        level (2 H + 1,): The level that each segment belongs to.
        floors (H + 1,): What stands for log 0 in each level: ever lower inwards, so that a class in
            an impossible superclass is impossible within it, too; bin_floors has each `bins` times.
        bins, bin (C,): Of how many bins of its level each class belongs to which.
    """

    def __init__(self, hierarchy: Hierarchy):
        super().__init__()
        self.num_classes, self.depth = hierarchy.num_classes, hierarchy.max_depth
        order = torch.from_numpy(np.array(hierarchy.leaf_order))
        in_order = bool((order == torch.arange(len(order))).all())
        lengths = torch.from_numpy(segment_lengths(hierarchy))
        self._table("order", None if in_order else order)
        self._table("places", torch.argsort(order))
        self._table("lengths", lengths)
        self._table("ends", lengths.cumsum(dim=1)[:, :-1].contiguous())
        self._table("level", torch.arange(-self.depth, self.depth + 1).abs())
        self._table("floors", LOWEST * torch.arange(self.depth + 1.0, 0.0, -1.0))
        # no more in all levels together than there are classes
        self.bins = max(1, min(BINS, self.num_classes // (self.depth + 1)))
        self._table("bin_floors", self.floors.repeat_interleave(self.bins))
        self._table("bin", torch.arange(self.num_classes) % self.bins)
        # both (C, C) of few classes, once asked for
        self._table("levels", None)
        self._table("level_bins", None)

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

    def levels_of(self, targets: Tensor) -> Tensor:
        """The level of each class for the targets (B,), in class order: (B, C) int64."""
        if self.num_classes > TABLE:
            return self._find_levels(targets)
        if self.levels is None:
            self.levels = self._find_levels(torch.arange(self.num_classes, device=targets.device))
            self.level_bins = self._find_bins(self.levels)
        return self.levels.index_select(0, targets)

    def bins_of(self, targets: Tensor, levels: Tensor) -> Tensor:
        """The bin of each class among those of all levels, for targets of which `levels_of` gave
        the levels: (B, C) int64.
        """
        if self.bins == 1:
            return levels
        if self.num_classes > TABLE:
            return self._find_bins(levels)
        return self.level_bins.index_select(0, targets)

    def _find_levels(self, targets: Tensor) -> Tensor:
        places = self.places.expand(len(targets), -1).contiguous()
        segments = torch.searchsorted(self.ends.index_select(0, targets), places, right=True)
        return self.level[segments]

    def _find_bins(self, levels: Tensor) -> Tensor:
        return torch.add(self.bin, levels, alpha=self.bins)

    def _table(self, name: str, table: Tensor | None) -> None:
        self.register_buffer(name, table, persistent=False)


def runs_on_cpu(tensor: Tensor) -> bool:
    """Whether `CPUSegments` can work on the tensor; the tests say no to try the other kind."""
    return tensor.device.type == "cpu"


def join(parts: Sequence[Tensor]) -> Tensor:
    """What was computed for the parts of a batch, in one."""
    return parts[0] if len(parts) == 1 else torch.cat(parts)


class LevelMasses:
    """What the levels of B rows weigh: A_k = masses_k exp(top_k) for k = 0, ..., H, outwards.

    S_l = A_0 + ... + A_l is the mass of level l and all within, so S_H that of the row.

    Args:
        masses (B, H + 1): float64, >= 0; where there are tops, > 0.
        tops (B, H + 1): At least `TreeOrder.floors`. None for one top a row and a mass of the
            target that is far from underflow.

    Attributes:
        surprises (B, H): log(S_l / S_(l-1)) for l = 1, ..., H, float64: -log p of the node whose
            siblings are level l, given its parent. One of 1e-12 has all its digits.
    """

    def __init__(self, masses: Tensor, tops: Tensor | None):
        self.tops = tops
        if tops is None:
            self.inside = masses.cumsum(dim=1)  # S_l
            self.surprises = masses[:, 1:].div(self.inside[:, :-1]).log1p_()
        else:
            logs = masses.log().add_(tops)  # of the A_k
            self.inside = logs.logcumsumexp(dim=1)  # log S_l
            ratios = logs[:, 1:] - self.inside[:, :-1]
            self.surprises = F.softplus(ratios, threshold=40)

    @classmethod
    def of(cls, parts: Sequence[tuple[Tensor, Tensor | None]]) -> "LevelMasses":
        """Of the masses and tops of the parts of a batch."""
        masses, tops = zip(*parts)
        if any(top is not None for top in tops):
            tops = [torch.zeros_like(mass) if top is None else top for mass, top in parts]
            return cls(join(masses), join(tops))
        return cls(join(masses), None)

    def slopes(self, weights: Tensor) -> Tensor:
        """What to multiply the terms of each level by to have the gradient of the mean over the
        rows of the sum over l of weights_l log S_l, (B, H + 1) float64.

            slope_k = exp(top_k) / B times the sum over l >= k of weights_l / S_l
        """
        share = 1 / len(weights)
        if self.tops is None:
            return weights.mul(share).div_(self.inside).flip(1).cumsum(dim=1).flip(1)
        rows = max(1, PAIRS // self.tops.shape[1] ** 2)
        parts = zip(self.tops.split(rows), self.inside.split(rows), weights.split(rows))
        return join([_outer_sums(*part, share) for part in parts])


def _outer_sums(tops: Tensor, inside: Tensor, weights: Tensor, share: float) -> Tensor:
    """`share` of the sums over l >= k of weights_l exp(tops_k - inside_l), (B, H + 1); inside_l >=
    tops_k but for a `TINY` mass.
    """
    pairs = tops[:, :, None].sub(inside[:, None, :]).exp_().triu_()
    weights = weights[:, :, None]
    return torch.baddbmm(weights, pairs, weights, beta=0, alpha=share)[:, :, 0]


def row_sums(one: Tensor, other: Tensor) -> Tensor:
    """The sum of the products in each row: two (B, H) -> (B,), in one kernel."""
    return torch.bmm(one[:, None, :], other[:, :, None])[:, 0, 0]


class Segments:
    """How B targets cut their rows of scores (B, C). Values of levels are (B, H + 1), outwards.

    No method waits for the device, and none is differentiated by autograd: losses give gradients by
    hand.
    """

    def masses(self, scores: Tensor, out: Tensor) -> tuple[Tensor, Tensor | None]:
        """Masses and tops of the levels, as `LevelMasses` takes them.

        Args:
            scores (B, C): In class order.
            out (B, C): Room for the terms of the sums, exp(score - top of the level), which
                `multiply` is given, too.
        """
        raise NotImplementedError

    def spread(self, levels: Tensor) -> Tensor:
        """The value (B, H + 1) of the level of each class: (B, C)."""
        raise NotImplementedError

    def multiply(self, levels: Tensor, out: Tensor) -> None:
        """The terms of `masses` times the values (B, H + 1) of their levels, in the room that it
        was given (B, C).
        """
        raise NotImplementedError

    def best(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """The largest score of each row, of any number of columns, and its column: (B, 1) and (B,
        1) int64.
        """
        raise NotImplementedError

    def interval_sums(self, values: Tensor, start: Tensor, stop: Tensor) -> Tensor:
        """Sums of values (B, C) over intervals of classes in depth-first order, which start and end
        before these places (V,): (B, V) float64, differences of sums over more.
        """
        raise NotImplementedError

    def spread_interval(
        self, start: Tensor, stop: Tensor, inside: Tensor, outside: Tensor
    ) -> Tensor:
        """One value for the classes of an interval of each row, another for the rest: all (B, 1) ->
        (B, C).
        """
        raise NotImplementedError

    def weighted_sum(self, weights: Tensor, values: Tensor) -> Tensor:
        """Sums (B,) of weights (B, C), >= 0, times values, where a weight of 0 makes 0 of -inf,
        too; for rows without a NaN.
        """
        raise NotImplementedError


class CPUSegments(Segments):
    """In numpy: `reduceat` sums pairwise, at the speed of memory."""

    def __init__(self, tree: TreeOrder, targets: Tensor):
        self.tree, self.depth, self.targets = tree, tree.depth, targets

    @cached_property
    def cut(self) -> tuple[tuple[int, int], np.ndarray, np.ndarray, np.ndarray]:
        """Shape (B, 2 H + 1) of all segments, and of those that are not empty, row by row, where
        in it they are, how many classes they have, and where they start.
        """
        lengths = self.tree.lengths.numpy().take(self.targets.numpy(), axis=0)
        flat = lengths.ravel()
        filled = np.flatnonzero(flat > 0)  # far faster than of integers
        counts = flat[filled]
        return lengths.shape, filled, counts, np.cumsum(counts) - counts

    def masses(self, scores: Tensor, out: Tensor) -> tuple[Tensor, Tensor | None]:
        torch.softmax(scores, dim=1, out=out)  # mostly one top for the row will do
        masses = self._sum(self._in_order(out.numpy()))
        if masses[:, 0].min(initial=np.inf) > FEW:
            return torch.from_numpy(masses), None
        x = self._in_order(scores.numpy())
        tops = np.maximum(self._max(x), self.tree.floors.numpy().astype(x.dtype))
        with np.errstate(invalid="ignore"):  # a score of +inf gives a NaN, which is said elsewhere
            terms = np.exp(x - self._repeat(tops))
        out.copy_(torch.from_numpy(self._in_class_order(terms)))
        masses = np.maximum(self._sum(terms), TINY)
        return torch.from_numpy(masses), torch.from_numpy(tops)

    def spread(self, levels: Tensor) -> Tensor:
        return torch.from_numpy(self._in_class_order(self._repeat(levels.numpy())))

    def multiply(self, levels: Tensor, out: Tensor) -> None:
        out.mul_(self.spread(levels.to(out.dtype)))

    def best(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        # torch's argmax takes as long as all the rest of a loss
        best = torch.from_numpy(scores.numpy().argmax(axis=1))[:, None]
        return scores.gather(1, best), best

    def interval_sums(self, values: Tensor, start: Tensor, stop: Tensor) -> Tensor:
        values = self._in_order(values.numpy())
        sums = torch.zeros(len(values), self.tree.num_classes + 1, dtype=torch.float64)
        torch.cumsum(torch.from_numpy(values), dim=1, dtype=sums.dtype, out=sums[:, 1:])
        before, after = (_take(sums.numpy(), places) for places in (start, stop))
        return torch.from_numpy(np.subtract(after, before, out=after))

    def spread_interval(
        self, start: Tensor, stop: Tensor, inside: Tensor, outside: Tensor
    ) -> Tensor:
        first, last = start.numpy(), stop.numpy()
        lengths = np.concatenate([first, last - first, self.tree.num_classes - last], axis=1)
        values = np.concatenate([outside, inside, outside], axis=1)
        spread = np.repeat(values.ravel(), lengths.ravel()).reshape(len(first), -1)
        return torch.from_numpy(self._in_class_order(spread))

    def weighted_sum(self, weights: Tensor, values: Tensor) -> Tensor:
        sums = (weights * values).sum(dim=1)
        if np.isnan(sums.numpy()).any():  # rare, and looking costs nothing here
            sums = (weights * values).nansum(dim=1)
        return sums

    def _in_order(self, values: np.ndarray) -> np.ndarray:
        """Values (B, C) in class order -> with the classes in depth-first order."""
        return values if self.tree.order is None else _take(values, self.tree.order)

    def _in_class_order(self, values: np.ndarray) -> np.ndarray:
        """The inverse of `_in_order`."""
        return values if self.tree.order is None else _take(values, self.tree.places)

    def _sum(self, values: np.ndarray) -> np.ndarray:
        """Sums of values (B, C), in depth-first order, over the levels: float64, 0 of an empty
        one.
        """
        shape, filled, _, starts = self.cut
        segments = np.zeros(shape)
        segments.ravel()[filled] = np.add.reduceat(values.ravel(), starts)
        levels = segments[:, self.depth :]
        levels[:, 1:] += segments[:, : self.depth][:, ::-1]
        return levels

    def _max(self, values: np.ndarray) -> np.ndarray:
        """The same for the largest; -inf of an empty one."""
        shape, filled, _, starts = self.cut
        segments = np.full(shape, -np.inf, values.dtype)
        segments.ravel()[filled] = np.maximum.reduceat(values.ravel(), starts)
        return np.maximum(segments[:, self.depth :], segments[:, self.depth :: -1])

    def _repeat(self, levels: np.ndarray) -> np.ndarray:
        """The value of its level for each class: (B, C) in depth-first order."""
        _, filled, counts, _ = self.cut
        segments = np.concatenate([levels[:, :0:-1], levels], axis=1)
        values = np.repeat(segments.ravel()[filled], counts)
        return values.reshape(len(levels), -1)


class DeviceSegments(Segments):
    """In torch, on any device, with few kernels and without waiting for it."""

    def __init__(self, tree: TreeOrder, targets: Tensor):
        self.tree, self.depth, self.targets = tree, tree.depth, targets
        self.level = tree.levels_of(targets)

    def masses(self, scores: Tensor, out: Tensor) -> tuple[Tensor, Tensor | None]:
        tops = self.tree.bin_floors.to(scores.dtype).repeat(len(scores), 1)
        bins = self.tree.bins_of(self.targets, self.level)
        tops.scatter_reduce_(1, bins, scores, "amax")
        if self.tree.bins > 1:
            tops = tops.unflatten(1, (-1, self.tree.bins)).amax(dim=2)
        torch.sub(scores, self.spread(tops), out=out)
        self.terms = torch.exp(out, out=torch.empty_like(out, dtype=torch.float64))
        masses = torch.full_like(tops, TINY, dtype=torch.float64)
        return masses.scatter_add_(1, self.level, self.terms), tops

    def spread(self, levels: Tensor) -> Tensor:
        return levels.gather(1, self.level)

    def multiply(self, levels: Tensor, out: Tensor) -> None:
        torch.mul(self.terms, self.spread(levels), out=out)

    def best(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        return scores.max(dim=1, keepdim=True)

    def interval_sums(self, values: Tensor, start: Tensor, stop: Tensor) -> Tensor:
        if self.tree.order is not None:
            values = values.index_select(1, self.tree.order)
        sums = F.pad(values.cumsum(dim=1, dtype=torch.float64), (1, 0))
        return sums.index_select(1, stop) - sums.index_select(1, start)

    def spread_interval(
        self, start: Tensor, stop: Tensor, inside: Tensor, outside: Tensor
    ) -> Tensor:
        within = (self.tree.places >= start) & (self.tree.places < stop)
        return torch.where(within, inside, outside)

    def weighted_sum(self, weights: Tensor, values: Tensor) -> Tensor:
        return (weights * values).nansum(dim=1)


Cut = list[tuple[slice, Segments]]  # the parts of a batch


def _take(values: np.ndarray, columns: Tensor) -> np.ndarray:
    # The mode "wrap" spares the copy that the default mode makes to leave `out` alone after an
    # error.
    taken = np.empty((len(values), len(columns)), values.dtype)
    return np.take(values, columns.numpy(), axis=1, out=taken, mode="wrap")
