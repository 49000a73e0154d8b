"""Penalties on weights: three that pull the class vectors towards the tree, and two that keep all
weights small.

A penalty is computed without its coefficient, which `Penalties` multiplies by. HR, HRGamma and
Distortion act on the class vectors that the head scores with; L2SP and WeightDecay on the weights
of linear and convolutional layers, never on biases or on scales of normalisation layers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hierarchies import Hierarchy, node_weights
from hierarchies.distances import path_length
from hierarchies.weights import cumulative
from registry import Option, fraction, nonnegative, one_of, settle, with_flag

MOST_PAIRED = 2000  # classes, up to which all pairs are compared
SAMPLED = 2**16  # pairs above that
SHORTEST = 1e-12  # squared distance below which its root has no slope


class Held(NamedTuple):
    """What a penalty can be made from.

    Fields:
        hierarchy: The class tree.
        model: The network with its starting weights.
        head: The part of it that holds the class vectors, as `head.weight` (C, D).
        fresh: The parts, head included, that no pretrained weights fill.
        covered: Names of the weights that the run's other penalties cover; complete for a penalty
            that `comes_last`.
        options: Values of the options of the run, by name; what was not given is None or missing.
    """

    hierarchy: Hierarchy
    model: nn.Module
    head: nn.Module
    fresh: nn.Module
    covered: tuple[str, ...] = ()
    options: Mapping[str, object] = {}


def _coefficient(name: str, help: str) -> Option:
    """The coefficient of a penalty; a recorded model is rebuilt without any."""
    return Option(name, nonnegative, 0, "COEF", f"coefficient of {help}", off=0, rebuilt=None)


class Penalty(nn.Module):
    """A term on weights that is added to the loss, times its coefficient.

    Attributes:
        coefficient: The option that is its coefficient; its name is that of the penalty.
        options: Further options, which need the coefficient.
        reads: What it is called with: "class_vectors" (C, D), or the "model".
        comes_last: Whether it needs to know what all others cover.
        holds_trunk: Whether its buffers are as the weights of the backbone's trunk.
    """

    coefficient: Option
    options: tuple[Option, ...] = ()
    reads = "model"
    comes_last = False
    holds_trunk = False

    @classmethod
    def build(cls, held: Held) -> Penalty:
        """The penalty of a run; for `PENALTIES`."""
        raise NotImplementedError(f"{cls.__name__} must define build")

    def names(self, held: Held) -> Sequence[str]:
        """Names of the weights that it covers, which weight_decay then leaves alone."""
        return _names(held.model, held.head, inside=True) if self.reads == "class_vectors" else ()


class _OfClassVectors(Penalty):
    """A penalty on the class vectors (C, D)."""

    reads = "class_vectors"

    @classmethod
    def build(cls, held: Held) -> Penalty:
        if not held.head.weight.requires_grad:
            raise ValueError(
                f"{cls.coefficient.name} acts on class vectors that train; --ema, --mds_W,"
                " --class_vectors, --freeze and --method hiercos leave none"
            )
        given = {option.name: held.options.get(option.name) for option in cls.options}
        return cls(held.hierarchy, **settle(cls.options, given, f"--{cls.coefficient.name}"))

    def check(self, weight: Tensor) -> None:
        """Raises: ValueError: If the class vectors are not those of the tree."""
        if weight.ndim != 2 or len(weight) != self.num_classes:
            raise ValueError(
                f"class vectors must be ({self.num_classes}, D), got {tuple(weight.shape)}; is the"
                " hierarchy another's?"
            )

    def _table(self, name: str, values: np.ndarray) -> None:
        self.register_buffer(name, torch.from_numpy(np.array(values)), persistent=False)


class _UpTheTree(_OfClassVectors):
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
        self.check(weight)
        vectors = weight.new_zeros(self.num_nodes, weight.shape[1]).index_copy(
            0, self.leaves, weight
        )
        for name in self.depths:
            nodes = getattr(self, name)
            below = vectors[nodes] if factor is None else vectors[nodes] * factor[nodes]
            vectors = vectors.index_add_(0, self.parent[nodes], below)
        return vectors


class HR(_UpTheTree):
    """Hierarchical weight penalty: sum over the edges p -> c of hr_decay^depth(p) |s_c - n_c / n_p
    s_p|^2.

    s_v is the sum of the class vectors below v, n_v their number. >= 0, and 0 exactly if all class
    vectors are equal.

    Args:
        hierarchy: The class tree.
        hr_decay: Factor from a level to the one below, in (0, 1]; 1 in Urbani et al.'s runs, .5 as
            their other choice.

    Shape: class vectors (C, D) -> scalar.
    Source: Urbani et al. 2024.
    """

    coefficient = _coefficient(
        "hr", "the penalty that pulls class vectors towards those of their relatives"
    )

    options = (
        Option(
            "hr_decay",
            fraction,
            1.0,
            "FACTOR",
            "by what --hr counts less from each level of the tree to the one below",
            needs=with_flag("hr"),
            rebuilt=None,
        ),
    )

    def __init__(self, hierarchy: Hierarchy, hr_decay: float = 1.0):
        super().__init__(hierarchy)
        share = hierarchy.n_leaves / hierarchy.n_leaves[self.parent.numpy()]
        self._table("share", share[:, None])
        self._table("factor", hr_decay ** (hierarchy.depth - 1.0)[1:, None])

    def forward(self, weight: Tensor) -> Tensor:
        sums = self.collect(weight)
        gaps = (sums - self.share.to(weight.dtype) * sums[self.parent])[1:]
        return (self.factor.to(weight.dtype) * gaps.square()).sum()


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

    coefficient = _coefficient("hr_gamma", "the variant of --hr with the tree's covariance")

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
        means = self.collect(weight, self.share.to(weight.dtype))
        precision = self.precision.to(weight.dtype)
        steps = (means - means[self.parent])[1:]
        return (precision[1:] * steps.square()).sum() + precision[0, 0] * means[0].square().sum()


class Distortion(_OfClassVectors):
    """How far the distances d of class vectors are from a multiple of those D of the tree: the mean
    over pairs of classes of (s d - D)^2 / D^2 at the best s; in [0, 1).

    With r = d / D the best s is sum r / sum r^2, and the mean is 1 - mean(r)^2 / mean(r^2): 0 if
    all ratios are equal. D is the path length in edges. Above 2,000 classes a random sample of
    pairs stands for all, another one in each step.

    Args:
        hierarchy: The class tree, of at least 2 classes.
        distortion_of: d is the length of the difference ("vectors"), or 1 - cosine ("cosines").

    Shape: class vectors (C, D) -> scalar.
    Raises: ValueError: If there is one class.
    Source: Garnot & Landrieu 2021 (metric-guided prototypes).
    """

    coefficient = _coefficient(
        "distortion", "how far the distances of class vectors are from a multiple of the tree's"
    )
    options = (
        Option(
            "distortion_of",
            one_of(("vectors", "cosines")),
            "vectors",
            help="the distances that --distortion looks at: between class vectors as they are, or"
            " 1 less their cosines",
            needs=with_flag("distortion"),
            rebuilt=None,
        ),
    )

    def __init__(self, hierarchy: Hierarchy, distortion_of: str = "vectors"):
        super().__init__()
        self.num_classes = hierarchy.num_classes
        if self.num_classes < 2:
            raise ValueError("distortion compares distances of classes, of which there is one")
        self.cosines = distortion_of == "cosines"
        if self.num_classes <= MOST_PAIRED:
            nearness = 1 / np.maximum(path_length(hierarchy), 1)
            np.fill_diagonal(nearness, 0.0)
            self._table("nearness", nearness.astype(np.float32))  # 1 / D, (C, C)
        else:
            self._table("levels", hierarchy.level_table)
            self._table("depth", hierarchy.depth[hierarchy.leaves])

    def forward(self, weight: Tensor) -> Tensor:
        self.check(weight)
        if self.cosines:
            weight = F.normalize(weight, dim=1)
        sampled = self.num_classes > MOST_PAIRED
        ratios = self._of_sample(weight) if sampled else self._of_all(weight)
        pairs = SAMPLED if sampled else self.num_classes * (self.num_classes - 1)
        mean, square = ratios.sum() / pairs, ratios.square().sum() / pairs
        return 1 - mean.square() / square.clamp(min=SHORTEST)

    def _of_all(self, weight: Tensor) -> Tensor:
        products = weight @ weight.T
        if self.cosines:
            return (1 - products) * self.nearness
        squares = products.diagonal()
        lengths = squares[:, None] + squares - 2 * products
        return lengths.clamp(min=SHORTEST).sqrt() * self.nearness

    def _of_sample(self, weight: Tensor) -> Tensor:
        first = torch.randint(self.num_classes, (SAMPLED,)).to(weight.device)
        other = torch.randint(1, self.num_classes, (SAMPLED,)).to(weight.device)
        second = (first + other) % self.num_classes
        shared = (self.levels[first] == self.levels[second]).sum(dim=1)
        distances = self.depth[first] + self.depth[second] - 2 * shared
        one, two = weight[first], weight[second]
        if self.cosines:
            return (1 - (one * two).sum(dim=1)) / distances
        return (one - two).square().sum(dim=1).clamp(min=SHORTEST).sqrt() / distances


class L2SP(Penalty):
    """|w - w0|^2 over the weights of the body, w0 their values when this is made; no biases, not
    the last layer.

    The starting values are buffers: they belong to the state of a run that is to be resumed.

    Args:
        model: The network with its pretrained weights.
        last: The part of it that holds the class vectors, left out; None if the model has none.

    Raises: ValueError: If no weight is left.
    Source: Li et al. 2018.
    """

    coefficient = _coefficient(
        "l2_sp", "the squared distance of the backbone from its starting weights"
    )
    holds_trunk = True

    @classmethod
    def build(cls, held: Held) -> Penalty:
        return cls(held.model, held.fresh)

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

    def names(self, held: Held) -> Sequence[str]:
        return self.body

    def forward(self, model: nn.Module) -> Tensor:
        parameters = dict(model.named_parameters())
        return _total(
            (parameters[name] - getattr(self, _key(name))).square().sum() for name in self.body
        )


class WeightDecay(Penalty):
    """|w|^2 over the weights that no other penalty covers, no biases.

    Args:
        model: The network.
        elsewhere: Names of the weights that other penalties cover.

    Raises: ValueError: If that leaves no weight.
    Source: Urbani et al. 2024.
    """

    coefficient = _coefficient("weight_decay", "the squared weights that no other penalty covers")
    comes_last = True

    @classmethod
    def build(cls, held: Held) -> Penalty:
        return cls(held.model, held.covered)

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
        return _total(parameters[name].square().sum() for name in self.covered)


PENALTIES: dict[str, type[Penalty]] = {
    penalty.coefficient.name: penalty for penalty in (HR, HRGamma, Distortion, L2SP, WeightDecay)
}


class Penalties(nn.Module):
    """All penalties of a run, each with its coefficient and by the name of its flag.

    Args:
        coefficients: Those of `PENALTIES` by name, beside any other options of the run; a penalty
            whose coefficient is 0 or None is left out, and is None as an attribute.
        hierarchy: The class tree.
        model: The network with its starting weights.
        head: The part of it that holds the class vectors, as `head.weight` (C, D).
        fresh: The parts, head included, that no pretrained weights fill: l2_sp leaves them alone.

    Attributes:
        covered: Names of the weights that any but weight_decay acts on.

    Raises: ValueError: If a penalty finds no trainable weight.
    """

    def __init__(
        self,
        coefficients: Mapping[str, float | None],
        hierarchy: Hierarchy,
        model: nn.Module,
        head: nn.Module,
        fresh: nn.Module,
    ):
        super().__init__()
        self.coefficients = {
            name: coefficients[name] for name in PENALTIES if coefficients.get(name)
        }
        held, covered = Held(hierarchy, model, head, fresh, options=coefficients), []
        for name in sorted(PENALTIES, key=lambda name: PENALTIES[name].comes_last):
            penalty = None
            if name in self.coefficients:
                penalty = PENALTIES[name].build(held._replace(covered=tuple(covered)))
                covered += penalty.names(held)
            setattr(self, name, penalty)
        self.covered = frozenset(covered)

    def forward(self, model: nn.Module, weight: Tensor) -> dict[str, Tensor]:
        """Each penalty times its coefficient, from the network and its class vectors (C, D)."""
        inputs = {"class_vectors": weight, "model": model}
        terms = {}
        for name, coefficient in self.coefficients.items():
            penalty = getattr(self, name)
            terms[name] = coefficient * penalty(inputs[penalty.reads]).to(weight.device)
        return terms

    def place(self, device: torch.device, trunk: torch.device) -> Penalties:
        """Moves what they hold to the device of the class vectors; and what belongs to the weights
        of the trunk to that of the trunk.
        """
        for penalty in self.to(device).children():
            if penalty.holds_trunk:
                penalty.to(trunk)
        return self


def _total(terms: Iterable[Tensor]) -> Tensor:
    """Their sum. Those of a trunk may be on a device of its own."""
    sums = {}
    for term in terms:
        sums[term.device] = sums.get(term.device, 0) + term
    return sum(one.cpu() for one in sums.values()) if len(sums) > 1 else sums.popitem()[1]


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
