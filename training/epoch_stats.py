"""What is counted while an epoch trains, at next to no cost."""

import math
from collections.abc import Sequence

import torch
from torch import nn

from hierarchies import Hierarchy
from metrics.diagnostics import diagnostics
from models import PrototypeSums
from models.sphere import SHORTEST, unit, widen
from training.best_class import best_class
from training.coarse_targets import CoarseTargets
from training.team import ALONE, Team

CHECK_EVERY = 20  # steps between two looks at the loss: each one waits for the device
WAITING = 2**20  # bytes of embeddings that wait to be counted together


class _Waiting:
    """Rows that wait to be counted together, in memory that is filled again and again: on the CPU
    fresh memory of this size costs as much as the counting.
    """

    def __init__(self):
        self.rows = 0
        self._kept: tuple[torch.Tensor, ...] = ()

    def has_room(self, rows: int) -> bool:
        """Whether as many rows more can be taken in."""
        return bool(self._kept) and self.rows + rows <= len(self._kept[0])

    def make_room(self, parts: Sequence[torch.Tensor]) -> None:
        """Memory for rows like these, as many of them as caches hold; nothing waits."""
        row = parts[0].element_size() * parts[0].shape[1]
        rows = max(len(parts[0]), WAITING // row)
        self._kept = tuple(part.new_empty(rows, *part.shape[1:]) for part in parts)

    def add(self, parts: Sequence[torch.Tensor]) -> None:
        """Takes in rows of each part."""
        end = self.rows + len(parts[0])
        for kept, part in zip(self._kept, parts):
            kept[self.rows : end] = part
        self.rows = end

    def take(self) -> list[torch.Tensor]:
        """What waits, which may be overwritten by whoever takes it."""
        rows, self.rows = self.rows, 0
        return [kept[:rows] for kept in self._kept]


class Diverged(RuntimeError):
    """The loss stopped being a finite number."""


class EpochStats:
    """Sums over one training epoch, on the device; one wait every CHECK_EVERY steps.

    The embeddings are those of the training pass itself, so the diagnostics cost no second pass
    over the images: they see the model as it was at each step and images as they were augmented.
    Where images are `mixed` they have no class of their own: what is counted by class is NaN.

    Args:
        coarse: Where targets may be inner nodes. An image there counts as right if its class is
            below; angles and diagnostics are those of images with a class alone.
    """

    def __init__(
        self,
        num_classes: int,
        dim: int,
        steps: int,
        device: torch.device,
        team: Team = ALONE,
        mixed: bool = False,
        coarse: CoarseTargets | None = None,
    ):
        self.team, self.mixed, self.coarse = team, mixed, coarse
        self.penalties: dict[str, torch.Tensor] = {}
        # sums over the images of a step
        self.losses = torch.zeros(steps, dtype=torch.float64, device=device)
        self.correct, self.own_angle = torch.zeros(2, dtype=torch.float64, device=device)
        self.sums = PrototypeSums(num_classes, dim, device)
        self.steps = self.samples = self.with_class = self.checked = 0
        # what waits to be counted: losses; answers and targets; embeddings, class vectors, targets
        self._losses: list[torch.Tensor] = []
        self._answers: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._waiting = _Waiting()

    @torch.no_grad()
    def add(
        self,
        embeddings,
        scores,
        targets,
        terms: dict[str, torch.Tensor],
        head: nn.Module,
        mean: bool = True,
    ) -> None:
        """Takes in one step, before the model moves on: embeddings (B, D), scores (B, C), targets
        (B,).

        Args:
            terms: What is minimised, the loss first; of the loss its mean over these images if
                `mean`, else its sum.
        """
        # a number of its own, since a replayed loss overwrites its values
        self._losses.append(terms["loss"] * (len(targets) if mean else 1))
        for name in terms.keys() - {"loss"}:
            self.penalties[name] = self.penalties.get(name, 0) + terms[name].detach()
        self.samples += len(targets)
        self.steps += 1
        if self.mixed:
            return
        self._answers.append((best_class(scores), targets))
        if self.coarse is not None:
            kept = self.coarse.has_class(targets)
            embeddings, targets = embeddings[kept], targets[kept]
        self.with_class += len(targets)
        parts = widen(embeddings), head.weight.index_select(0, targets), targets
        if not self._waiting.has_room(len(targets)):
            self._take_in()
            if not self._waiting.has_room(len(targets)):
                self._waiting.make_room(parts)
        self._waiting.add(parts)

    @torch.no_grad()
    def _take_in(self) -> None:
        """Counts what waits: a few small steps at once cost little more than one."""
        if self._losses:
            self.losses[self.steps - len(self._losses) : self.steps] = torch.stack(self._losses)
            self._losses.clear()
        if self._answers:
            answers, targets = (torch.cat(parts) for parts in zip(*self._answers))
            self._answers.clear()
            right = (
                answers == targets if self.coarse is None else self.coarse.holds(targets, answers)
            )
            self.correct += right.sum()
        if not self._waiting.rows:
            return
        embeddings, own, targets = self._waiting.take()
        lengths = torch.linalg.vector_norm(own, dim=1).clamp_(min=SHORTEST)
        directions = unit(embeddings, out=embeddings)
        cosines = own.mul_(directions).sum(dim=1).div_(lengths)
        self.own_angle += cosines.clamp_(-1, 1).acos_().sum()
        self.sums.add_directions(directions, targets)

    def bar_values(self) -> dict[str, str]:
        """Mean loss and accuracy so far. Raises: Diverged: If the loss of a step is not finite,
        with that step.
        """
        self._take_in()
        fresh = self.losses[self.checked : self.steps]
        loss, correct, samples, *losses = self._total(
            self.losses.sum(), self.correct, self.samples, *fresh
        )
        for step, value in enumerate(losses, self.checked + 1):
            if not math.isfinite(value):
                raise Diverged(f"the loss is {value} at step {step}")
        self.checked = self.steps
        shown = {"loss": f"{loss / samples:.4f}", "acc": f"{correct / samples:.3f}"}
        return {"loss": shown["loss"]} if self.mixed else shown

    def _total(self, *values: torch.Tensor | float) -> list[float]:
        """Sums over all processes; waits for the device once."""
        sums = torch.stack([torch.as_tensor(value).to(self.losses) for value in values])
        self.team.sum(sums)
        return sums.tolist()

    def row(self, head: nn.Module, hierarchy: Hierarchy, quick: bool = False) -> dict:
        """Columns of epochs.csv: loss, accuracy, scale, and how class vectors lie in the tree and
        among embeddings; if the epoch is a `quick` one, of fewer classes.
        """
        self._take_in()
        loss, correct, angle, samples, with_class = self._total(
            self.losses.sum(), self.correct, self.own_angle, self.samples, self.with_class
        )
        correct, angle = (math.nan, math.nan) if self.mixed else (correct, angle)
        self.team.sum(self.sums.sums, self.sums.squares, self.sums.counts)
        return {
            "train_loss": loss / samples,
            **{
                f"penalty_{name}": float(self.penalties[name]) / self.steps
                for name in sorted(self.penalties)
            },
            "train_accuracy": correct / samples,
            "scale": float(head.scale),
            "angle_embedding_proxy": angle / with_class if with_class else math.nan,
            **diagnostics(
                head.class_vectors(),
                **self.sums.arrays(),
                hierarchy=hierarchy,
                distance=head.distance,
                quick=quick,
            ),
        }
