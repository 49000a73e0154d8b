"""What is counted of the validation images after an epoch."""

import math

import numpy as np
import torch
from torch.nn import functional as F

from data import Splits
from metrics import METRICS
from metrics.outputs import Predictions
from optimization.choosing import CHOICES
from training.best_class import best_class
from training.epoch_stats import Diverged
from training.team import ALONE, Team


class ValidationStats:
    """Loss and predicted classes of the validation split, from which every measure that may choose
    the epoch is made, of the images with a class; of several processes each adds its part.
    """

    def __init__(self, splits: Splits, device: torch.device, team: Team = ALONE):
        self.splits, self.team = splits, team
        self.count = int(splits.has_class[splits.val].sum())
        self.entropy = torch.zeros((), dtype=torch.float64, device=device)
        self.predicted = [torch.empty(0, dtype=torch.int64, device=device)]

    @torch.no_grad()
    def add(self, scores: torch.Tensor, targets: torch.Tensor) -> None:
        """Takes in a batch: scores (B, C), targets (B,)."""
        self.predicted.append(best_class(scores))
        if self.count < len(self.splits.val):
            kept = targets < self.splits.num_classes
            scores, targets = scores[kept], targets[kept]
        self.entropy += F.cross_entropy(scores, targets, reduction="sum")

    def row(self) -> dict[str, float]:
        """Columns of epochs.csv, the same in every process.

        Raises: Diverged: If the loss is not finite: the last step may have broken a model whose
        loss was still finite.
        """
        self.team.sum(self.entropy)
        entropy = float(self.entropy)
        if not math.isfinite(entropy):
            raise Diverged(f"the loss on the validation split is {entropy} at the end")
        val = self.splits.val
        predicted = self.team.gather_rows(torch.cat(self.predicted), len(val)).cpu().numpy()
        predicted = predicted[self.splits.has_class[val]]
        labels = np.asarray(self.splits.labels)[self.splits.with_class(val)]
        answers = Predictions(self.splits.hierarchy, labels, predicted)
        return {
            "val_loss": entropy / self.count if self.count else math.nan,
            **{f"val_{name}": METRICS[name](answers).value for name in CHOICES if name != "loss"},
        }
