"""The whole model: a backbone that embeds images, and a head that scores embeddings."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from models.backbones import Backbone
from models.head import Head
from models.sphere import unit, widen, without_autocast
from registry import Option, switch

SIZE_INFORM = Option(
    "size_inform",
    switch,
    False,
    help="let the embedding depend on the image's original width and height, which resizing hides",
    tag="size",
)


class Classifier(nn.Module):
    """A backbone and a head, with an optional branch for the original size of the images.

    Calling it embeds, so that DataParallel splits what is expensive; scores are
    `model.head(embeddings)`. Its state dict holds all that resuming needs: weights, class vectors,
    which classes moving averages met, scale.

    Args:
        backbone: Images -> embeddings (B, D).
        head: Embeddings (B, D) -> scores (B, C).
        size_inform: Add U log([width, height]) + u to the embeddings, in pixels of the original
            image, natural log.
        notes: What to tell the user once about how the model was made.

    Raises: ValueError: If the dimensions of backbone and head differ.
    """

    def __init__(
        self, backbone: Backbone, head: Head, size_inform: bool = False, notes: Sequence[str] = ()
    ):
        super().__init__()
        dim = head.weight.shape[1]
        if backbone.dim != dim:
            raise ValueError(
                f"the backbone has {backbone.dim} dimensions and the head {dim}; make them equal"
            )
        self.backbone, self.head, self.dim, self.notes = backbone, head, dim, tuple(notes)
        self.size_branch = nn.Linear(2, dim) if size_inform else None

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """What the backbone's trunk makes of images (B, channels, H, W), uint8 or floats in [0, 1]:
        (B, F), on the device of the images.
        """
        device, layout = images.device, torch.channels_last  # the faster one
        if self.backbone.trunk_device != device:
            images, layout = images.to(self.backbone.trunk_device), torch.contiguous_format
        if images.dtype == torch.uint8:
            images = images.float() / 255
        return self.backbone.trunk(images.contiguous(memory_format=layout)).to(device)

    def embed(self, images: torch.Tensor, sizes: torch.Tensor | None = None) -> torch.Tensor:
        """Embeddings (B, D), of any length.

        Args:
            images: (B, channels, H, W), uint8 or floats in [0, 1]; or what the backbone's trunk
                makes of them, (B, F) floats of any precision.
            sizes: (B, 2) width and height of the original images in pixels, >= 1; looked at with
                size_inform only.
        """
        features = images if images.ndim == 2 else self.features(images)
        embeddings = self.backbone.project(features.to(self.backbone.projection.weight.dtype))
        if self.size_branch is None:
            return self.head.prepare(embeddings)
        if sizes is None:
            raise ValueError(
                "--size_inform needs the original sizes of the images; pass sizes (B, 2)"
            )
        with without_autocast(images.device):
            embeddings = embeddings.float() + self.size_branch(sizes.float().log())
        return self.head.prepare(embeddings)

    def forward(self, images: torch.Tensor, sizes: torch.Tensor | None = None) -> torch.Tensor:
        return self.embed(images, sizes)

    def fresh_parts(self) -> nn.ModuleList:
        """What no pretrained weights fill: the backbone's projection, the size branch and the
        head.
        """
        return nn.ModuleList(filter(None, (self.backbone.projection, self.size_branch, self.head)))

    def train(self, mode: bool = True) -> "Classifier":
        """As in torch, but a batch norm with frozen weights stays in evaluation mode, so its
        averages freeze, too; and so does all of a frozen trunk: its features are always the same.
        """
        super().train(mode)
        if not any(parameter.requires_grad for parameter in self.backbone.network.parameters()):
            self.backbone.network.eval()
        for module in self.modules():
            if isinstance(module, _BatchNorm) and module.affine and not module.weight.requires_grad:
                module.eval()
        return self


class Prototypes(NamedTuple):
    """Mean directions of classes: a class without images has NaN rows, as has one without direction
    in `vectors`.

    Attributes:
        vectors (C, D): Unit rows, float32.
        counts (C,): Number of images, int64.
        means (C, D): Means of the unit embeddings, not normalised, float32.
    """

    vectors: torch.Tensor
    counts: torch.Tensor
    means: torch.Tensor


class PrototypeSums:
    """Sums of unit embeddings by class, batch by batch: O(S D) time, O(C D) memory.

    Attributes (those of several processes add up):
        sums (C, D): Sums of the unit embeddings, float64.
        squares (C,): Sums of their squared lengths, float64: the counts less the zero embeddings.
        counts (C,): int64.
    """

    def __init__(self, num_classes: int, dim: int, device: torch.device | str = "cpu"):
        self.sums = torch.zeros(num_classes, dim, dtype=torch.float64, device=device)
        self.squares = torch.zeros(num_classes, dtype=torch.float64, device=device)
        self.counts = torch.zeros(num_classes, dtype=torch.int64, device=device)
        self._wide = self.sums[:0]  # memory of a batch in float64, used again

    @torch.no_grad()
    def add(self, embeddings: torch.Tensor, targets: torch.Tensor) -> None:
        """Takes a batch in: embeddings (B, D) of any length, targets (B,) int64."""
        self.add_directions(unit(widen(embeddings)), targets)

    @torch.no_grad()
    def add_directions(self, directions: torch.Tensor, targets: torch.Tensor) -> None:
        """Takes in a batch whose embeddings (B, D) are of length 1 or 0 already."""
        if len(directions) > len(self._wide):
            self._wide = self.sums.new_empty(directions.shape)
        directions = self._wide[: len(directions)].copy_(directions)
        self.sums.index_add_(0, targets, directions)
        self.squares.index_add_(0, targets, torch.linalg.vector_norm(directions, dim=1).square_())
        self.counts.index_add_(0, targets, torch.ones_like(targets))

    def result(self) -> Prototypes:
        """Prototypes of what was added so far."""
        means = self.sums / self.counts[:, None]  # 0/0 is NaN: absent classes
        length = means.norm(dim=1, keepdim=True)
        vectors = torch.where(length > 1e-6, means / length, torch.nan)
        return Prototypes(vectors.float(), self.counts.clone(), means.float())

    def arrays(self) -> dict[str, np.ndarray]:
        """prototypes (C, D), class_sums (C, D), class_sumsq (C,) and counts (C,), as the metrics
        take them.
        """
        vectors, counts, _ = self.result()
        tensors = {
            "prototypes": vectors,
            "class_sums": self.sums,
            "class_sumsq": self.squares,
            "counts": counts,
        }
        return {name: tensor.cpu().numpy() for name, tensor in tensors.items()}
