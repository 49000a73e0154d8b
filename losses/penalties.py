"""Penalties on weights: two that pull the class vectors towards the tree, and two that keep all
weights small.

None contains its coefficient. HR and HRGamma act on the class vectors that the head scores with;
L2SP and WeightDecay on the weights of linear and convolutional layers, never on biases or on scales
of normalisation layers.
"""

from collections.abc import Collection, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from hierarchies import Hierarchy, node_weights
from hierarchies.weights import cumulative

PENALTIES = ("hr", "hr_gamma", "l2_sp", "weight_decay")


class _UpTheTree(nn.Module):
    """Class vectors (C, D) -> one vector for each node, (N, D), collected from the leaves upwards:
    O(N D).
    """

    def __init__(self, hierarchy: Hierarchy):
        super().__init__()
        self.num_nodes, self.num_classes = hierarchy.num_nodes, hierarchy.num_classes
        self._table("parent", np.maximum(hierarchy.parent, 0))
        self._table("leaves", hierarchy.leaves)
        by_depth = [
            np.flatnonzero(hierarchy.depth == depth) for depth in range(hierarchy.max_depth, 0, -1)
        ]
        self.depths = [f"depth{i}" for i in range(len(by_depth))]
        for name, nodes in zip(self.depths, by_depth):
            self._table(name, nodes)

    def collect(self, weight: Tensor, factor: Tensor | None = None) -> Tensor:
        """Sum over the children, times their factor (N, 1) if there is one, for all nodes from the
        leaves upwards.
        """
        if weight.ndim != 2 or len(weight) != self.num_classes:
            raise ValueError(
                f"class vectors must be ({self.num_classes}, D), got {tuple(weight.shape)}; is the"
                " hierarchy another's?"
            )
        vectors = weight.new_zeros(self.num_nodes, weight.shape[1]).index_copy(
            0, self.leaves, weight
        )
        for name in self.depths:
            nodes = getattr(self, name)
            below = vectors[nodes] if factor is None else vectors[nodes] * factor[nodes]
            vectors = vectors.index_add_(0, self.parent[nodes], below)
        return vectors

    def _table(self, name: str, values: np.ndarray) -> None:
        self.register_buffer(name, torch.from_numpy(np.array(values)), persistent=False)


class HR(_UpTheTree):
    """Hierarchical weight penalty: sum over the edges p -> c of |s_c - n_c / n_p s_p|^2.

    s_v is the sum of the class vectors below v, n_v their number. >= 0, and 0 exactly if all class
    vectors are equal.

    Shape: class vectors (C, D) -> scalar.
    Source: Urbani et al. 2024.
    """

    def __init__(self, hierarchy: Hierarchy):
        super().__init__(hierarchy)
        share = hierarchy.n_leaves / hierarchy.n_leaves[self.parent.numpy()]
        self._table("share", share[:, None])

    def forward(self, weight: Tensor) -> Tensor:
        sums = self.collect(weight)
        return (sums - self.share.to(weight.dtype) * sums[self.parent])[1:].square().sum()


class HRGamma(_UpTheTree):
    """tr(K^-1 W W^T) with K = 1 - dW^2 / 2, the cosines of unit vectors at the distances dW of the
    tree. >= 0.

    dW is half the path length weighted by `balanced`, in [0, 1]. K is the covariance of a random
    walk down the tree, whose step to v has the variance g_v = k(v) - k(parent of v), k(v) = 1 - (1
    - cum(v))^2 / 2. So the penalty is a sum of squares over the edges, sum of a_c |m_c - m_p|^2,
      plus a |m|^2 at the root, where a is the precision of what the
    classes below say about a node and m the mean of their vectors in that precision: no C x C
    matrix is ever inverted.

    Shape: class vectors (C, D) -> scalar.
    Source: Urbani et al. 2024 with K for their I - dW^2 / 2, which is indefinite.
    """

    def __init__(self, hierarchy: Hierarchy):
        super().__init__(hierarchy)
        similarity = (
            1 - np.square(1 - cumulative(hierarchy, node_weights(hierarchy, "balanced"))) / 2
        )
        similarity[hierarchy.leaves] = 1.0
        variance = similarity - similarity[hierarchy.parent]
        variance[0] = similarity[0]
        precision, below = np.zeros(hierarchy.num_nodes), np.zeros(hierarchy.num_nodes)
        for v in range(hierarchy.num_nodes - 1, -1, -1):
            is_class = hierarchy.class_of[v] >= 0
            precision[v] = 1 / variance[v] if is_class else below[v] / (1 + variance[v] * below[v])
            if v:
                below[hierarchy.parent[v]] += precision[v]
        self._table("precision", precision[:, None])
        self._table("share", (precision / below[self.parent.numpy()])[:, None])

    def forward(self, weight: Tensor) -> Tensor:
        means, precision = (
            self.collect(weight, self.share.to(weight.dtype)),
            self.precision.to(weight.dtype),
        )
        steps = (means - means[self.parent])[1:]
        return (precision[1:] * steps.square()).sum() + precision[0, 0] * means[0].square().sum()


class L2SP(nn.Module):
    """|w - w0|^2 over the weights of the body, w0 their values when this is made; no biases, not
    the last layer.

    The starting values are buffers: they belong to the state of a run that is to be resumed.

    Args:
        model: The network with its pretrained weights.
        last: The part of it that holds the class vectors, left out; None if the model has none.

    Raises: ValueError: If no weight is left.
    Source: Li et al. 2018.
    """

    def __init__(self, model: nn.Module, last: nn.Module | None = None):
        super().__init__()
        self.body = _names(model, last, inside=False)
        if not self.body:
            raise ValueError(
                "l2_sp finds no trainable weight outside of the last layer; is the backbone frozen?"
            )
        parameters = dict(model.named_parameters())
        for name in self.body:
            self.register_buffer(_key(name), parameters[name].detach().clone())

    def forward(self, model: nn.Module) -> Tensor:
        parameters = dict(model.named_parameters())
        return sum(
            (parameters[name] - getattr(self, _key(name))).square().sum() for name in self.body
        )


class WeightDecay(nn.Module):
    """|w|^2 over the weights that no other penalty covers, no biases.

    Args:
        model: The network.
        elsewhere: Names of the weights that other penalties cover.

    Raises: ValueError: If that leaves no weight.
    Source: Urbani et al. 2024.
    """

    def __init__(self, model: nn.Module, elsewhere: Collection[str] = ()):
        super().__init__()
        self.covered = [name for name in _names(model, None, inside=False) if name not in elsewhere]
        if not self.covered:
            raise ValueError(
                "weight_decay has no trainable weight to act on that no other penalty covers; leave"
                " it out"
            )

    def forward(self, model: nn.Module) -> Tensor:
        parameters = dict(model.named_parameters())
        return sum(parameters[name].square().sum() for name in self.covered)


class Penalties(nn.Module):
    """All penalties of a run, each with its coefficient and by the name of its flag.

    Args:
        coefficients: hr, hr_gamma, l2_sp, weight_decay; one that is 0 is left out.
        hierarchy: The class tree.
        model: The network with its starting weights.
        head: The part of it that holds the class vectors, as `head.weight` (C, D).
        fresh: The parts, head included, that no pretrained weights fill: l2_sp leaves them alone.

    Raises: ValueError: If a penalty finds no trainable weight.
    """

    def __init__(
        self,
        coefficients: Mapping[str, float],
        hierarchy: Hierarchy,
        model: nn.Module,
        head: nn.Module,
        fresh: nn.Module,
    ):
        super().__init__()
        self.coefficients = {name: coefficients[name] for name in PENALTIES if coefficients[name]}
        on_vectors = any(name in self.coefficients for name in ("hr", "hr_gamma"))
        if on_vectors and not head.weight.requires_grad:
            raise ValueError(
                "hr and hr_gamma act on class vectors that train; --ema, --mds_W or --freeze leave"
                " none"
            )
        self.hr = HR(hierarchy) if "hr" in self.coefficients else None
        self.hr_gamma = HRGamma(hierarchy) if "hr_gamma" in self.coefficients else None
        self.l2_sp = L2SP(model, fresh) if "l2_sp" in self.coefficients else None
        self.weight_decay = None
        if "weight_decay" in self.coefficients:
            pulled = [] if self.l2_sp is None else self.l2_sp.body
            self.weight_decay = WeightDecay(
                model, pulled + (_names(model, head, inside=True) if on_vectors else [])
            )

    def forward(self, model: nn.Module, weight: Tensor) -> dict[str, Tensor]:
        """Each penalty times its coefficient, from the network and its class vectors (C, D)."""
        inputs = {"hr": weight, "hr_gamma": weight, "l2_sp": model, "weight_decay": model}
        return {
            name: factor * getattr(self, name)(inputs[name])
            for name, factor in self.coefficients.items()
        }


def _names(model: nn.Module, last: nn.Module | None, inside: bool) -> list[str]:
    """Names of the trainable matrices and kernels, so without biases, inside or outside of the last
    layer.
    """
    last_ones = set() if last is None else {id(parameter) for parameter in last.parameters()}
    return [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and parameter.ndim > 1 and (id(parameter) in last_ones) == inside
    ]


def _key(name: str) -> str:
    return name.replace(".", "/")  # a buffer's name has no dot
