"""How a class cuts a row of scores: by its superclasses, into segments that need no subtraction.

With the classes in depth-first order every superclass is an interval, and the superclasses of one
class are nested. Level l of a class y, 0 <= l < H, are the classes that share with y its ancestor
at depth l but none deeper: what lies in that interval to the left and to the right of the next one.
So y cuts a row into K = 2 H + 1 segments, some empty:

    left of level 0, left of level 1, ..., y itself, ..., right of level 1, right of level 0
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from hierarchies import Hierarchy


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


def fold(segments: np.ndarray) -> np.ndarray:
    """Left plus right: (B, 2 H + 1) segments -> (B, H) levels, the class itself left out."""
    depth = segments.shape[1] // 2
    return segments[:, :depth] + segments[:, :depth:-1]


def unfold(levels: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Values of levels (B, H) and of the class itself (B,) -> values of the segments (B, 2 H +
    1).
    """
    return np.concatenate([levels, own[:, None], levels[:, ::-1]], axis=1)


class Cut:
    """Rows of C values, each cut into K segments, in numpy: `reduceat` sums pairwise, at the speed
    of memory.

    Args:
        lengths (B, K): Lengths of the segments of each row; every row sums to C.
    """

    def __init__(self, lengths: np.ndarray):
        flat = lengths.ravel()
        self.shape = lengths.shape
        self.filled = np.flatnonzero(flat > 0)  # far faster than of integers
        self.counts = flat[self.filled]
        self.starts = np.cumsum(self.counts) - self.counts

    def parts(self, rows: int) -> Iterator[tuple[slice, "Cut"]]:
        """The same for so many rows at a time, each part with the slice of the rows it covers."""
        size, num_segments = self.shape
        if size <= rows:
            yield slice(0, size), self
            return
        for first in range(0, size, rows):
            part = object.__new__(Cut)
            part.shape = (min(rows, size - first), num_segments)
            begin, end = np.searchsorted(
                self.filled, [first * num_segments, (first + rows) * num_segments]
            )
            part.filled = self.filled[begin:end] - first * num_segments
            part.counts = self.counts[begin:end]
            part.starts = self.starts[begin:end] - self.starts[begin]
            yield slice(first, first + rows), part

    def sum(self, values: np.ndarray) -> np.ndarray:
        """Sums of the values (B, C) over the segments, (B, K) float64, 0 where a segment is
        empty.
        """
        sums = np.zeros(self.shape)
        sums.ravel()[self.filled] = np.add.reduceat(values.ravel(), self.starts)
        return sums

    def spread(self, values: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """The segment's value (B, K) in all its places, (B, C)."""
        spread = np.repeat(values.ravel()[self.filled].astype(dtype), self.counts)
        return spread.reshape(len(values), -1)


def segment_reduce(values: Tensor, lengths: Tensor, reduce: str) -> Tensor:
    """Sum or max of the values (B, C) over segments of the given lengths (B, K), on any device: (B,
    K).

    An empty segment has sum 0 and max -inf. A sum can be differentiated.
    """
    return torch.segment_reduce(values, reduce, lengths=lengths, axis=1, unsafe=True)


def spread(values: Tensor, lengths: Tensor, num_classes: int) -> Tensor:
    """The segment's value (B, K) in all its places, (B, C), on any device and without waiting for
    it.
    """
    size = len(values) * num_classes
    return torch.repeat_interleave(values.ravel(), lengths.ravel(), output_size=size).view(
        -1, num_classes
    )
