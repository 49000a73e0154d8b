"""A head whose classes are subspaces: the embedding has a coordinate for every node, and a class is
the axes of the nodes on its path.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import nn

from hierarchies import Hierarchy
from models.head import Head
from models.nodes import NodeOrder
from models.options import HeadOptions
from models.scale import STATIC_SCALE
from models.sphere import unit, widen, without_autocast
from registry import Option, natural

SMALLEST_SHARE = 1e-12  # of an embedding's energy, below which the score of a class stays put
TINY = 1e-30  # divides in place of an energy of 0


class HierCOS(Head):
    """z_c = s log(|x on the path of c| / |x|), with the squares divided by the number of nodes; s =
    10.

    x (B, N - 1) is the embedding, behind a trained transformation, in a frozen random orthonormal
    basis whose axes are the nodes but the root. The order of the classes is that of |x on the path|
    among paths of one length, as published; on trees of unequal depth the published form favours
    deep classes, hence the division.

    Options:
        transform_blocks: Residual blocks (linear, batch norm, PReLU, twice) behind a batch norm, in
            the transformation; 0 leaves the embedding as the backbone gives it.

    Source: Sani & Anand 2026 (Hier-COS).
    """

    paper_name = "Hier-COS"
    summary = "the share of the embedding that lies on the axes of a class's path"
    options = (
        Option(
            "transform_blocks",
            natural,
            2,
            "N",
            "residual blocks between the backbone and the axes of --method hiercos",
        ),
        *Head.options,
    )
    needs_tree = sets_dim = True
    lacks = {
        **Head.lacks,
        "cosines": "a class is the subspace of its path, which has no single direction",
    }

    def __init__(self, num_classes: int, options: HeadOptions):
        super().__init__(num_classes, options)
        self.tree = NodeOrder(options.hierarchy)
        dim = self.fixed_dim(options.hierarchy)
        blocks = options.own.get("transform_blocks")
        blocks = HierCOS.options[0].default if blocks is None else blocks
        self.transform = nn.Sequential(
            *([nn.BatchNorm1d(dim)] if blocks else []), *(_Residual(dim) for _ in range(blocks))
        )
        basis = torch.linalg.qr(torch.randn(dim, dim, dtype=torch.float64)).Q
        self.register_buffer("basis", basis.float())  # columns are the axes of the nodes 1, 2, ...

    @classmethod
    def fixed_dim(cls, hierarchy: Hierarchy) -> int:
        return hierarchy.num_nodes - 1

    @classmethod
    def offered(cls, given: Mapping[str, object]) -> tuple[str, ...]:
        return ("scores", "axes")

    @property
    def scale(self) -> float:
        return STATIC_SCALE

    @property
    def weight(self) -> torch.Tensor:
        """The direction (C, D) halfway between the axes of each path; for diagnostics only."""
        return unit(self._path_sums(self.basis.T))

    def prepare(self, embeddings: torch.Tensor) -> torch.Tensor:
        return self.transform(embeddings)

    def axes(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Coordinates of the nodes but the root, in the numbering of the tree: (B, N - 1)."""
        with without_autocast(embeddings.device):
            embeddings = widen(embeddings)
            return embeddings @ self.basis.to(embeddings.dtype)

    def plain_scores(self, embeddings: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return self._of_axes(self.axes(embeddings))

    def read(self, embeddings: torch.Tensor, names: Iterable[str]) -> dict[str, torch.Tensor]:
        names = list(names)
        if "axes" not in names:
            return super().read(embeddings, names)
        axes = self.axes(embeddings)
        found = {"axes": axes}
        if "scores" in names:
            with without_autocast(embeddings.device):
                found["scores"] = self.with_prior(self._of_axes(axes))
        return {name: found[name] for name in names}

    def _of_axes(self, axes: torch.Tensor) -> torch.Tensor:
        """Coordinates (B, N - 1) -> plain scores (B, C)."""
        energies = axes.square()
        total = energies.mean(dim=1, keepdim=True)
        means = self._path_sums(energies.T).T / self.tree.depth  # (B, C)
        shares = means / total.clamp(min=TINY)
        return STATIC_SCALE / 2 * shares.clamp(min=SMALLEST_SHARE).log()

    def _path_sums(self, values: torch.Tensor) -> torch.Tensor:
        """(N - 1, ...) in the numbering of the tree -> (C, ...)."""
        rows = torch.cat([torch.zeros_like(values[:1]), values])
        ordered = torch.empty_like(rows).index_copy(0, self.tree.place, rows)
        return self.tree.path_sums(ordered)[self.tree.leaves]


class _Residual(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        layers = []
        for _ in range(2):
            layers += [nn.Linear(dim, dim, bias=False), nn.BatchNorm1d(dim), nn.PReLU(dim)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x)
