"""The base of all heads, embeddings (B, D) -> scores (B, C), and softmax. A head owns the class
vectors W (C, D) and the scale.
"""

from collections.abc import Iterable, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrize

from hierarchies import Hierarchy
from models.nodes import NodeOrder, PathSum
from models.options import SHARE_PARENTS, HeadOptions
from models.priors import PRIORS
from models.sphere import unit, widen, without_autocast
from registry import Option


class Head(nn.Module):
    """Base of all heads: scores (B, C), higher is better; softmax of the scores is the posterior.

    Everything is computed in float32 at least, also under autocast: half precision cannot tell
    small angles apart.

    Attributes:
        weight (C, D): The class vectors, of any length; a parameter, or a buffer where no gradient
            moves them.
        has_proxies: Whether class vectors and embeddings are compared by direction, so that
            prototypes can stand in.
        needs_tree: Whether it cannot be built without the class tree.
        sets_dim: Whether the tree fixes the dimension of its embeddings, see `fixed_dim`.
        distance: How class vectors are compared: "euc" or "arccos".
        note: Something to tell the user about the head once, or None.
        lacks: What the head does not offer to losses (see `offered`) -> why, as part of a message.
        options: The options that it takes, see `registry.Option`; those that `HeadOptions` has no
            field for reach the constructor as `HeadOptions.own`.
        summary, aliases: For --help, and the other names that `--method` knows it by.
        label: How the names of runs spell the method; None: as --method does.
        paper_name: What papers call it, for their tables; None: as the names of runs.
    """

    options: tuple[Option, ...] = (PRIORS.option,)
    summary: str = ""
    aliases: tuple[str, ...] = ()
    label: str | None = None
    paper_name: str | None = None
    has_proxies = False
    needs_tree = False
    sets_dim = False
    distance = "euc"
    note: str | None = None
    lacks: Mapping[str, str] = {
        "node_scores": "the score of a superclass follows from those of its classes",
        "level_scores": "all levels have one posterior and agree by themselves",
        "level_vectors": "superclasses have no vectors of their own",
        "axes": "embeddings are compared with directions of classes, not split among nodes",
    }

    def __init__(self, num_classes: int, options: HeadOptions):
        super().__init__()
        prior = options.prior
        self.tree = None
        if prior is not None and (prior.shape != (num_classes,) or not (prior > 0).all()):
            raise ValueError(f"--prior needs {num_classes} positive class priors, got {prior}")
        shift = None if prior is None else (options.tau * prior.double().log()).float()
        self.register_buffer("log_prior", shift)  # times tau
        self.prior_use, self.tau = PRIORS[options.prior_kind], options.tau

    @classmethod
    def check(cls, given: Mapping[str, object]) -> None:
        """Refuses combinations of its options without meaning.

        Args:
            given: Options of the run by name; what was not given is absent, None or False.

        Raises: ValueError: Naming the flags and the way out.
        """

    @classmethod
    def offered(cls, given: Mapping[str, object]) -> tuple[str, ...]:
        """What a loss can read of it; but for "scores" each is the name of a method on embeddings
        (B, D). The names and shapes are those of `losses.base.READINGS`.

        Args:
            given: Options of the run by name.
        """
        shared = ("node_scores",) if given.get("share_parents") else ()
        return ("scores", "cosines", *shared)

    @classmethod
    def fixed_dim(cls, hierarchy: Hierarchy) -> int | None:
        """The dimension of its embeddings where the tree fixes it, and so --dim has no meaning."""
        return None

    def prepare(self, embeddings: torch.Tensor) -> torch.Tensor:
        """What the head makes of the network's output before it is called an embedding: (B, D) ->
        (B, D).
        """
        return embeddings

    @property
    def scale(self) -> float:
        """The factor s on the scores; 1 for softmax."""
        return 1.0

    @property
    def prior_times(self) -> int:
        """How often `log_prior` is added now: 1, 0 or -1, in training and in prediction."""
        if self.log_prior is None:
            return 0
        return self.prior_use.training if self.training else self.prior_use.prediction

    def forward(self, embeddings: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
        """Scores of embeddings of any length against the class vectors, or against others in their
        place.

        Args:
            embeddings: (B, D).
            weight: (C, D) vectors to score against, such as prototypes. A row with NaN is an absent
                class: -inf.

        Returns: (B, C) float32, or float64 for such embeddings.
        """
        with without_autocast(embeddings.device):
            scores = self.plain_scores(embeddings, self.weight if weight is None else weight)
            scores = self.with_prior(scores)
        return (
            scores
            if weight is None
            else scores.masked_fill(weight.isnan().any(dim=1), float("-inf"))
        )

    def read(self, embeddings: torch.Tensor, names: Iterable[str]) -> dict[str, torch.Tensor]:
        """What is asked for of embeddings (B, D), by name, see `offered`. A head whose readings
        have much in common computes that once.
        """
        return {
            name: self(embeddings) if name == "scores" else getattr(self, name)(embeddings)
            for name in names
        }

    def with_prior(self, scores: torch.Tensor) -> torch.Tensor:
        """Plain scores (B, C) with the class prior added, where it is now."""
        return scores + self.prior_times * self.log_prior if self.prior_times else scores

    def plain_scores(self, embeddings: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Scores without the class prior: what a head defines."""
        raise NotImplementedError(f"{type(self).__name__} must define plain_scores")

    def cosines(self, embeddings: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
        """Cosines (B, C) between embeddings and class vectors, or others in their place; NaN for
        rows with NaN.
        """
        with without_autocast(embeddings.device):
            embeddings = widen(embeddings)
            vectors = (self.weight if weight is None else weight).to(embeddings.dtype)
            return unit(embeddings) @ unit(vectors).T

    def share(self, hierarchy: Hierarchy) -> None:
        """Makes the class vectors, and the bias where there is one, sums over the paths of the
        classes; what trains is a vector for each node that has siblings. They start such that the
        deepest classes are as long as before.
        """
        self.tree = NodeOrder(hierarchy)
        for name, parameter in list(self.named_parameters(recurse=False)):
            path_sum = PathSum(self.tree)
            start = parameter.detach().new_empty(len(path_sum.own), *parameter.shape[1:])
            spread = float(parameter.detach().square().mean().sqrt())
            start.normal_(std=spread / hierarchy.max_depth**0.5)
            setattr(self, name, nn.Parameter(start))
            parametrize.register_parametrization(self, name, path_sum, unsafe=True)

    def of_nodes(self, name: str) -> torch.Tensor:
        """What a shared parameter is for every node: (N, ...), in the numbering of the tree; 0 for
        the root.
        """
        shared = self.parametrizations[name]
        return shared[0].nodes(shared.original)

    def node_scores(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Scores of all nodes, with --share_parents: (B, D) -> (B, N)."""
        with without_autocast(embeddings.device):
            scores = self.plain_scores(embeddings, self.of_nodes("weight"))
            if self.prior_times:
                shares = self.tree.log_sums(self.log_prior / self.tau)
                scores = scores + self.prior_times * self.tau * shares
            return scores

    @property
    def updates_after_step(self) -> bool:
        """Whether something moves without a gradient, by `update_after_step`."""
        return False

    def class_vectors(self) -> np.ndarray:
        """The class vectors as an array (C, D) float32, for statistics: NaN rows for those that are
        still random.
        """
        return self.weight.detach().float().cpu().numpy().copy()

    def update_after_step(self, embeddings: torch.Tensor, targets: torch.Tensor) -> None:
        """Moves what moves without a gradient; call once a step, after the optimiser, with the
        step's whole batch.

        Args:
            embeddings: (B, D) as the step computed them. With several processes, gathered from all
                of them.
            targets: (B,) int64.
        """

    def set_lr(self, lr: float) -> None:
        """Tells a head that moves something by its own steps which learning rate the epoch has."""


class Softmax(Head):
    """z = f W^T + b, with W from N(0, 1) and b = 0 at the start. Source: Kim et al. 2023."""

    paper_name = "Softmax"
    summary = "a linear layer"
    options = (SHARE_PARENTS, *Head.options)

    def __init__(self, num_classes: int, options: HeadOptions):
        super().__init__(num_classes, options)
        self.weight = nn.Parameter(torch.randn(num_classes, options.dim))
        self.bias = nn.Parameter(torch.zeros(num_classes))
        if options.share_parents:
            self.share(options.hierarchy)

    def plain_scores(self, embeddings: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        embeddings = widen(embeddings)
        # (C, D), or (N, D) for node scores; a tree has more nodes than classes
        bias = self.bias if len(weight) == len(self.bias) else self.of_nodes("bias")
        return F.linear(embeddings, weight.to(embeddings.dtype), bias.to(embeddings.dtype))
