"""Labels at inner nodes: a target is a class c in [0, C), or C + v for a node v of the tree.

A label v acts as a leaf: the classes below it become one, whose probability is P(v).
"""

from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from hierarchies import Hierarchy
from losses.gradients import by_hand

LOWEST = -1e30  # stands for log 0: finite, so that no difference is a NaN
SMALLEST = -80.0  # exp of less is no normal float32, and counts for nothing beside 1


def target_nodes(hierarchy: Hierarchy) -> np.ndarray:
    """The node of each target: (C + N,) int64, the classes first."""
    return np.concatenate([hierarchy.leaves, np.arange(hierarchy.num_nodes)])


def class_within(hierarchy: Hierarchy) -> np.ndarray:
    """The class itself for a class, the first of the least depth below it for a node: (C + N,)
    int64.
    """
    chosen, depth = hierarchy.class_of.tolist(), hierarchy.depth[hierarchy.leaves]
    for node in range(hierarchy.num_nodes - 1, 0, -1):  # of siblings the first comes last
        above = hierarchy.parent[node]
        if chosen[above] < 0 or depth[chosen[node]] <= depth[chosen[above]]:
            chosen[above] = chosen[node]
    return np.concatenate([np.arange(hierarchy.num_classes), np.array(chosen, np.int64)])


def target_paths(hierarchy: Hierarchy) -> np.ndarray:
    """Nodes from depth 1 down to each target, padded with -1: (C + N, H) int64."""
    depth = hierarchy.depth[target_nodes(hierarchy)]
    paths = hierarchy.path_table[class_within(hierarchy)]
    return np.where(np.arange(1, hierarchy.max_depth + 1) <= depth[:, None], paths, -1)


def means_below(hierarchy: Hierarchy, values: np.ndarray) -> np.ndarray:
    """Means of the values (C, ...) over the classes below each node: (N, ...)."""
    in_order = values[hierarchy.leaf_order]
    padded = np.concatenate([in_order, np.zeros_like(in_order[:1])])  # an interval may end at C
    bounds = np.stack([hierarchy.start, hierarchy.stop], axis=1).ravel()
    sums = np.add.reduceat(padded, bounds, axis=0)[::2]
    return sums / hierarchy.n_leaves.reshape(-1, *[1] * (values.ndim - 1))


class Pooling(nn.Module):
    """Scores in which a label is a leaf: one class below it has log of the sum over all below it of
    exp(score), the others -inf. So P(label) becomes that class's probability, and all beside
    the label stays as it is.

    Attributes:
        places (C,): The place of each class in depth-first order.
        start, stop (C + N,): The interval of places that each target covers.
        within (C + N,): See `class_within`.
    """

    def __init__(self, hierarchy: Hierarchy):
        super().__init__()
        self.num_classes = hierarchy.num_classes
        nodes = target_nodes(hierarchy)
        self._table("places", np.argsort(hierarchy.leaf_order).astype(np.int32))
        self._table("start", hierarchy.start[nodes].astype(np.int32))
        self._table("stop", hierarchy.stop[nodes].astype(np.int32))
        self._table("within", class_within(hierarchy))

    def forward(self, scores: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (B, C) and targets (B,) of classes; rows whose target is a class are as given."""
        classes = self.within[targets]
        below, rows = self.below(targets)
        into = classes[:, None] if rows is None else classes[rows, None]
        return _Pool.apply(scores, below, into, rows), classes

    def entropy(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy of scores (B, C), -log P(target), batch mean: that of `forward`, in about
        the time of torch's.
        """
        below, rows = self.below(targets)
        return by_hand(partial(entropy, self.within[targets], below, rows), scores)

    def below(self, targets: Tensor) -> tuple[Tensor, Tensor | None]:
        """Which classes are below each target that is an inner node, (b, C) bool, and the rows of
        these, (b,); of all targets, and None, where choosing rows would wait for the device.
        """
        rows = None
        if targets.device.type == "cpu":
            rows = (targets >= self.num_classes).nonzero()[:, 0]
            targets = targets[rows]
        start, stop = self.start[targets][:, None], self.stop[targets][:, None]
        return (self.places >= start) & (self.places < stop), rows

    def _table(self, name: str, values: np.ndarray) -> None:
        self.register_buffer(name, torch.from_numpy(np.array(values)), persistent=False)


def _shares_below(scores: Tensor, below: Tensor) -> tuple[Tensor, Tensor]:
    """The exponentials of scores (b, C) at the classes below as shares of their sum, (b, C), and
    the log of that, (b, 1).
    """
    inside = torch.where(below, scores, -torch.inf)
    top = inside.amax(dim=1, keepdim=True)
    # exp of -inf takes three times as long as that of other numbers
    shares = inside.sub_(top.clamp(min=LOWEST)).clamp_(min=SMALLEST).exp_().mul_(below)
    sums = shares.sum(dim=1, keepdim=True)
    return shares.div_(sums), sums.log() + top


class _Pool(torch.autograd.Function):
    """The scores of some rows, or of all, with the log-sum-exp over `below` (b, C) at `into` (b, 1)
    and -inf at the others below.
    """

    @staticmethod
    def forward(ctx, scores: Tensor, below: Tensor, into: Tensor, rows: Tensor | None) -> Tensor:
        own = scores if rows is None else scores.index_select(0, rows)
        shares, logs = _shares_below(own, below)
        pooled = own.masked_fill(below, -torch.inf).scatter_(1, into, logs)
        ctx.save_for_backward(below, into, rows, shares)
        return pooled if rows is None else scores.index_copy(0, rows, pooled)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        below, into, rows, shares = ctx.saved_tensors
        own = gradient if rows is None else gradient.index_select(0, rows)
        own = torch.where(below, shares * own.gather(1, into), own)
        return own if rows is None else gradient.index_copy(0, rows, own), None, None, None


def entropy(
    classes: Tensor, below: Tensor, rows: Tensor | None, scores: Tensor
) -> tuple[Tensor, ...]:
    """The mean of -log P(target), and where it is wanted its gradient, p - p(given the target).

    Args:
        classes (B,): That stand for the targets.
        below, rows: As `Pooling.below` returns them.
        scores (B, C).
    """
    log_p = scores.log_softmax(dim=1)
    given, logs = _shares_below(log_p if rows is None else log_p.index_select(0, rows), below)
    losses = -logs
    if rows is not None:
        losses = (-log_p.gather(1, classes[:, None])).index_copy_(0, rows, losses)
    if not scores.requires_grad:
        return (losses.mean(),)
    gradient = log_p.exp_()
    if rows is None:
        gradient.sub_(given)
    else:
        ones = -torch.ones_like(losses)
        ones[rows] = 0.0
        gradient.scatter_add_(1, classes[:, None], ones)
        gradient.index_add_(0, rows, given, alpha=-1)
    return losses.mean(), gradient.div_(len(scores))
