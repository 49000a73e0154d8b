"""What is counted while an epoch trains, at next to no cost."""

import torch
from torch import nn
from torch.nn import functional as F

from hierarchies import Hierarchy
from metrics.geometry import diagnostics
from models import PrototypeSums

CHECK_EVERY = 20  # steps between two looks at the loss: each one waits for the device


class Diverged(RuntimeError):
    """The loss stopped being a finite number."""


class Tally:
    """Sums over one training epoch, on the device; one wait every CHECK_EVERY steps.

    The embeddings are those of the training pass itself, so the diagnostics cost no second pass over the images:
    they see the model as it was at each step and images as they were augmented.
    """

    def __init__(self, num_classes: int, dim: int, steps: int, device: torch.device):
        self.penalties: dict[str, torch.Tensor] = {}
        self.losses = torch.full((steps,), torch.nan, device=device)
        self.weights = torch.zeros(steps, device=device)
        self.correct = torch.zeros((), device=device)
        self.own_angle = torch.zeros((), device=device)
        self.sums = PrototypeSums(num_classes, dim, device)
        self.steps = self.samples = 0

    def add(self, embeddings, scores, targets, terms: dict[str, torch.Tensor], head: nn.Module) -> None:
        """Takes in one step: embeddings (B, D), scores (B, C), targets (B,), and the terms that were minimised."""
        self.losses[self.steps] = terms["loss"]
        for name in terms.keys() - {"loss"}:
            self.penalties[name] = self.penalties.get(name, 0) + terms[name]
        self.weights[self.steps] = len(targets)
        self.correct += (scores.argmax(1) == targets).sum()
        with torch.no_grad():
            own = F.cosine_similarity(embeddings.float(), head.weight.detach()[targets].float())
            self.own_angle += torch.acos(own.clamp(-1, 1)).sum()
        self.sums.add(embeddings, targets)
        self.steps += 1
        self.samples += len(targets)

    def progress(self) -> dict[str, str]:
        """Mean loss and accuracy so far. Raises: Diverged: If the loss of a step is not finite, with that step."""
        finite = torch.isfinite(self.losses[: self.steps])
        if not finite.all():
            step = int((~finite).nonzero()[0])
            raise Diverged(f"the loss is {float(self.losses[step])} at step {step + 1}")
        return {"loss": f"{self.mean_loss():.4f}", "acc": f"{float(self.correct) / self.samples:.3f}"}

    def mean_loss(self) -> float:
        """Mean over the images so far."""
        losses, weights = self.losses[: self.steps].double(), self.weights[: self.steps].double()
        return float((losses * weights).sum() / weights.sum())

    def row(self, head: nn.Module, hierarchy: Hierarchy) -> dict:
        """Columns of epochs.csv: loss, accuracy, scale, and how class vectors lie in the tree and among embeddings."""
        return {
            "train_loss": self.mean_loss(),
            **{f"penalty_{name}": float(self.penalties[name]) / self.steps for name in sorted(self.penalties)},
            "train_accuracy": float(self.correct) / self.samples,
            "scale": float(head.scale),
            "angle_embedding_proxy": float(self.own_angle) / self.samples,
            **diagnostics(head.class_vectors(), **self.sums.arrays(), hierarchy=hierarchy, distance=head.distance),
        }
