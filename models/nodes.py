"""Sums down the class tree and over siblings, for heads that score nodes.

Everything is (nodes, ...) inside and in breadth-first order, in which the nodes of a depth are a
block: so a step down the tree is one operation on whole rows, and all of it is of order nodes x
batch, without a table of classes x depth.
"""

import numpy as np
import torch
from torch import nn

from hierarchies import Hierarchy

LOWEST = -1e30  # below every score, and finite, so that no difference is a NaN


class NodeOrder(nn.Module):
    """The tables of a tree; no parameters, and nothing in a checkpoint.

    Attributes (N nodes, root first; C classes):
        place (N,): Where each node of the tree is in breadth-first order.
        parent (N,): Place of the parent of the node at each place; 0 for the root.
        leaves (C,): Place of each class.
        several (N,): Whether the node at a place has siblings; the root has none.
        depth (C,): Depth of each class, in edges.
        blocks: The slice of each depth, from the root down.
    """

    def __init__(self, hierarchy: Hierarchy):
        super().__init__()
        self.num_nodes, self.num_classes = hierarchy.num_nodes, hierarchy.num_classes
        order = np.argsort(hierarchy.depth, kind="stable")
        place = np.argsort(order)
        several = hierarchy.n_children[np.maximum(hierarchy.parent, 0)] > 1
        several[0] = False
        edges = np.searchsorted(hierarchy.depth[order], np.arange(hierarchy.max_depth + 2))
        self.blocks = [slice(int(a), int(b)) for a, b in zip(edges, edges[1:])]
        self._table("place", place)
        self._table("parent", place[np.maximum(hierarchy.parent[order], 0)])
        self._table("leaves", place[hierarchy.leaves])
        self._table("several", several[order])
        self._table("depth", hierarchy.depth[hierarchy.leaves])

    def path_sums(self, values: torch.Tensor) -> torch.Tensor:
        """Sums over the nodes from the root down to each: (N, ...) -> (N, ...), breadth-first."""
        sums = [values[:1]]
        for above, block in zip(self.blocks, self.blocks[1:]):
            sums.append(sums[-1][self.parent[block] - above.start] + values[block])
        return torch.cat(sums)

    def log_sums(self, values: torch.Tensor) -> torch.Tensor:
        """log of the sums of exp(value) over the classes below each node: (C,) -> (N,), in the
        numbering of the tree.
        """
        sums = values.new_zeros(self.num_nodes).index_copy(0, self.leaves, values.exp())
        for block in reversed(self.blocks[1:]):
            sums = sums.index_add(0, self.parent[block], sums[block])
        return sums.log()[self.place]

    def log_conditional(self, logits: torch.Tensor) -> torch.Tensor:
        """log p(v | parent of v), the log softmax within every group of siblings; 0 for a node
        without any: (N, B) -> (N, B), breadth-first.
        """
        logits, group = logits[1:], self.parent[1:]
        top = logits.new_full((self.num_nodes, logits.shape[1]), LOWEST)
        rows = group[:, None].expand_as(logits)
        top.scatter_reduce_(0, rows, logits.detach(), "amax")  # at the place of the parent
        shifted = logits - top[group]
        mass = torch.zeros_like(top).index_add(0, group, shifted.exp())
        conditional = shifted - mass[group].log()
        conditional = torch.where(self.several[1:, None], conditional, 0.0)
        return torch.cat([torch.zeros_like(top[:1]), conditional])

    def _table(self, name: str, values: np.ndarray) -> None:
        self.register_buffer(name, torch.from_numpy(np.array(values)), persistent=False)


class PathSum(nn.Module):
    """Values of nodes -> those of classes: the sum over the nodes on the path that have siblings.

    A node without siblings covers the classes of its parent: a value of its own would only count
    that of the parent twice. As a parametrization it makes class vectors that share their parents'.
    """

    def __init__(self, tree: NodeOrder):
        super().__init__()
        self.tree = tree
        own = torch.nonzero(tree.several)[:, 0]
        self.register_buffer("own", own, persistent=False)  # (N',) places of nodes with siblings

    def spread(self, values: torch.Tensor) -> torch.Tensor:
        """(N', ...) -> (N, ...), breadth-first; 0 for the others."""
        return values.new_zeros(self.tree.num_nodes, *values.shape[1:]).index_copy(
            0, self.own, values
        )

    def nodes(self, values: torch.Tensor) -> torch.Tensor:
        """Sums over the path of every node: (N', ...) -> (N, ...), in the numbering of the tree."""
        return self.tree.path_sums(self.spread(values))[self.tree.place]

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """(N', ...) -> (C, ...)."""
        return self.tree.path_sums(self.spread(values))[self.tree.leaves]
