"""A head with scores of its own on each level of the tree; those of the classes decide."""

from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import nn

from hierarchies.levels import levels
from models.head import Head
from models.options import HeadOptions
from models.sphere import unit, widen, without_autocast
from registry import Option, one_of, switch

FEATURES = ("shared", "slices", "chain")


class Levels(Head):
    """z_l = f W_l^T + b_l on every level l of the tree; the posterior is that of the classes.

    A class that ends above the last level is repeated below, so that each level parts all images.

    Options:
        level_features: What a level sees of the embedding. "shared": all of it (HAF, H-CAST).
            "slices": its own slice, and those of finer levels without passing a gradient on, so
            that the classes see the last slice alone (Flamingo). "chain": the scores of the level
            below, through batch norm, a linear layer, batch norm, ELU and another linear layer
            (BiLT, whose code has a leaky ReLU in two of four networks).
        unit_rows: Vectors of length 1 (HAF).

    Source: Chang et al. 2021 (Flamingo); Garg et al. 2022 (HAF); Park et al. 2025 (H-CAST); Lu et
        al. 2025 (BiLT).
    """

    paper_name = "Per-level heads"
    summary = "a linear layer for each level of the tree, of which that of the classes decides"
    options = (
        Option(
            "level_features",
            one_of(FEATURES),
            "shared",
            help="what a level of --method levels sees: the whole embedding (shared), its own slice"
            " and those of finer levels (slices), or the scores of the level below (chain)",
        ),
        Option(
            "unit_rows",
            switch,
            False,
            help="class vectors of --method levels have length 1, as in HAF",
        ),
        *Head.options,
    )
    needs_tree = True
    lacks = {
        **Head.lacks,
        "cosines": "each level has vectors of its own, so that no single vector stands for a class",
        "level_vectors": "with --level_features slices or chain the vectors of two levels lie in"
        " different spaces (shared has them in one)",
    }

    def __init__(self, num_classes: int, options: HeadOptions):
        super().__init__(num_classes, options)
        hierarchy = options.hierarchy
        found = levels(hierarchy)
        features = options.own.get("level_features") or FEATURES[0]
        self.features, self.unit_rows = features, bool(options.own.get("unit_rows"))
        edges = [0] * (len(found) + 1)
        if features == "slices":
            width = options.dim // len(found)
            if width < 1:
                raise ValueError(
                    f"--level_features slices needs a dimension for each of the {len(found)} levels"
                    f" of the tree, got --dim {options.dim}"
                )
            edges = [width * i for i in range(len(found))] + [options.dim]
        self.edges = edges  # where the slice of each level starts
        self.weight = nn.Parameter(torch.empty(num_classes, options.dim))
        self._start(self.weight, options.dim - edges[-2])
        self.hide()
        self.bias = nn.Parameter(torch.zeros(num_classes))
        self.above = nn.ModuleList()  # from the top
        for depth, (level, finer) in enumerate(zip(found, found[1:])):
            if features == "chain":
                self.above.append(_link(len(finer.nodes), len(level.nodes)))
            else:
                layer = nn.Linear(options.dim - edges[depth], len(level.nodes))
                self._start(layer.weight, layer.in_features)
                nn.init.zeros_(layer.bias)
                self.above.append(layer)
        # column of each node among the scores of all levels, from the top; the root has none
        columns = torch.zeros(hierarchy.num_nodes, dtype=torch.int64)
        first = 0
        for level in found:
            own = torch.from_numpy(level.nodes.copy())
            columns[own] = first + torch.arange(len(own))  # a class is met last on the last level
            first += len(own)
        self.register_buffer("columns", columns[1:], persistent=False)
        self._keep_priors(found)

    @staticmethod
    def _start(weight: torch.Tensor, width: int) -> None:
        """As torch starts a linear layer, which the authors' networks have: uniform, up to 1 /
        sqrt(width). Long vectors would let levels start from confident disagreement.
        """
        nn.init.uniform_(weight, -(width**-0.5), width**-0.5)

    @classmethod
    def offered(cls, given: Mapping[str, object]) -> tuple[str, ...]:
        shared = given.get("level_features") in (None, "shared")
        vectors = ("level_vectors",) if shared else ()
        return ("scores", "node_scores", "level_scores", *vectors)

    @classmethod
    def check(cls, given: Mapping[str, object]) -> None:
        if given.get("unit_rows") and given.get("level_features") == "chain":
            raise ValueError(
                "--unit_rows has no meaning with --level_features chain, whose upper levels have no"
                " vectors in the space of embeddings"
            )

    @torch.no_grad()
    def hide(self) -> None:
        """Makes the class vectors 0 where the classes do not see the embedding; they take no
        gradient there and stay so.
        """
        self.weight[:, : self.edges[-2]] = 0

    def plain_scores(self, embeddings: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        hidden = self.edges[-2]  # dimensions of the slices above that of the classes
        if hidden:
            # the embedding is not 0 there: without this the first step would make the classes see
            # the slices above, and train them
            weight = torch.cat([weight[:, :hidden].detach(), weight[:, hidden:]], dim=1)
        return self._linear(widen(embeddings), weight, self.bias)

    def level_scores(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Scores of all levels side by side, from the top to the classes: (B, M)."""
        with without_autocast(embeddings.device):
            embeddings = widen(embeddings)
            if self.features == "shared":
                biases = torch.cat([*(layer.bias for layer in self.above), self.bias])
                scores = self._linear(embeddings, self.level_vectors(embeddings), biases)
            else:
                found = [self.plain_scores(embeddings, self.weight)]
                for depth in reversed(range(len(self.above))):
                    found.insert(0, self._upper(depth, embeddings, found[0]))
                scores = torch.cat(found, dim=1)
            if self.prior_times:
                scores = scores + self.prior_times * self.level_prior
        return scores

    def node_scores(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Scores of all nodes, each from the level of its depth, a class from the last: (B, D) ->
        (B, N); 0 for the root.
        """
        return self._of_nodes(self.level_scores(embeddings))

    def level_vectors(self, embeddings: torch.Tensor) -> torch.Tensor:
        """The vectors of all levels, from the top: (M, D), whatever the embeddings."""
        return torch.cat([*(layer.weight for layer in self.above), self.weight])

    def read(self, embeddings: torch.Tensor, names: Iterable[str]) -> dict[str, torch.Tensor]:
        names = list(names)
        if not {"level_scores", "node_scores"} & set(names):
            return super().read(embeddings, names)
        scores = self.level_scores(embeddings)
        found = {"level_scores": scores, "scores": scores[:, -len(self.bias) :]}
        if "node_scores" in names:
            found["node_scores"] = self._of_nodes(scores)
        if "level_vectors" in names:
            found["level_vectors"] = self.level_vectors(embeddings)
        return {name: found[name] for name in names}

    def _of_nodes(self, scores: torch.Tensor) -> torch.Tensor:
        """Scores (B, M) of all levels -> (B, N)."""
        scores = scores[:, self.columns]
        return torch.cat([scores.new_zeros(len(scores), 1), scores], dim=1)

    def _upper(self, depth: int, embeddings: torch.Tensor, finer: torch.Tensor) -> torch.Tensor:
        layer = self.above[depth]
        if self.features == "chain":
            return layer(finer.to(layer[1].weight.dtype))
        if self.features == "slices":
            start, stop = self.edges[depth], self.edges[depth + 1]
            own = embeddings[:, start:stop]
            embeddings = torch.cat([own, embeddings[:, stop:].detach()], dim=1)
        return self._linear(embeddings, layer.weight, layer.bias)

    def _linear(self, embeddings, weight, bias):
        weight = unit(weight) if self.unit_rows else weight
        return F.linear(embeddings, weight.to(embeddings.dtype), bias.to(embeddings.dtype))

    def _keep_priors(self, found) -> None:
        if self.log_prior is None:
            return
        shares = []
        for level in found:
            column = torch.from_numpy(level.column.copy())
            own = self.log_prior.new_zeros(len(level.nodes))
            shares.append(own.index_add_(0, column, (self.log_prior / self.tau).exp()))
        prior = self.tau * torch.cat(shares).log()
        self.register_buffer("level_prior", prior, persistent=False)


def _link(finer: int, coarser: int) -> nn.Sequential:
    """From the scores of a level to those of the one above."""
    return nn.Sequential(
        nn.BatchNorm1d(finer),
        nn.Linear(finer, coarser),
        nn.BatchNorm1d(coarser),
        nn.ELU(),
        nn.Linear(coarser, coarser),
    )
