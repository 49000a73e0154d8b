"""The scores that recorded splits have as new images will get them: of one run or of several
averaged, of class vectors or prototypes, amended by a coarse run, of all classes or of some.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from evaluation.averaged import mean_scores, order_like, same_images
from evaluation.coarse import amended_scores
from evaluation.scope import Scope
from hierarchies import Hierarchy
from metrics.calibration import Temperature, calibrate
from runs.folder import Run
from training.scores import read_outputs


@dataclass(frozen=True)
class Source:
    """Where the scores come from.

    Attributes:
        run: A finished run.
        scores: "W", of the class vectors, or "prototypes".
        coarse: A run on superclasses by which the scores are amended, see `evaluation.coarse`.
        others: Runs whose posteriors are averaged with this one's, see `evaluation.averaged`.
        scope: Which classes can be the answer; None: all.
    """

    run: Run
    scores: str = "W"
    coarse: Run | None = None
    others: tuple[Run, ...] = ()
    scope: Scope | None = None

    def __post_init__(self):
        """Raises: ValueError: If several runs are to be amended by a coarse one."""
        if self.coarse is not None and self.others:
            raise ValueError("--coarse amends one run: leave it out, or name one run")

    @property
    def runs(self) -> tuple[Run, ...]:
        """All runs that are averaged."""
        return (self.run, *self.others)

    @property
    def tree(self) -> Hierarchy:
        """Of the answers."""
        return self.run.hierarchy if self.scope is None else self.scope.tree

    def has(self, split: str) -> bool:
        """Whether there are outputs of a split, of several runs on the same images."""
        if not self.others:
            return (self.run.folder / f"{split}.pkl").is_file()
        return same_images(self.runs, split)

    @property
    def calibrating(self) -> str:
        """The split that calibrates: images that do nothing else where there are some, whose
        outputs may be missing all the same, which is then said; else the validation images.
        """
        run = self.run
        held_out = self.has("calibration") or (
            not self.others
            and run.options.get("calibration")
            and "calibration" in set(run.split["split"])
        )
        return "calibration" if held_out else "val"

    @cached_property
    def temperatures(self) -> tuple[float, ...]:
        """Of each of several runs, on its own validation split; 1 where it has none."""
        found = []
        for run in self.runs:
            own = Source(run, self.scores)
            found.append(calibrate(*own.all_classes("val")).value if own.has("val") else 1.0)
        return tuple(found)

    def all_classes(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Scores (S, C) and labels (S,) of a split, whatever the scope.

        Raises: ValueError: If there are no such scores.
        """
        outputs = read_outputs(self.run, split)
        if self.coarse is not None:
            return amended_scores(self.run, self.coarse, split), outputs.labels
        if self.others:
            own = [Source(run, self.scores).all_classes(split)[0] for run in self.runs]
            ordered = [own[0]]
            for run, scores in zip(self.others, own[1:]):
                ordered.append(scores[order_like(self.run, run, split)])
            return mean_scores(ordered, self.temperatures), outputs.labels
        values = outputs.scores if self.scores == "W" else outputs.prototype_scores
        if values is None:
            raise ValueError(no_prototypes(self.run))
        return values, outputs.labels

    def groups(self, split: str) -> int | None:
        """Number of groups that the images of a split come from; None where each stands alone."""
        names = self.run.arrays_of_classes(split).get("groups")
        return None if names is None else len(np.unique(names))

    def split(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Scores (S, K) and labels (S,) of the images of a split whose class is in the scope, of
        its classes. They are read once.
        """
        if split not in self._splits:
            self._splits[split] = self._read(split)
        return self._splits[split]

    @cached_property
    def _splits(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        return {}

    def _read(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        scores, labels = self.all_classes(split)
        if self.scope is None:
            return scores, labels
        places = self.scope.labels(labels)
        inside = places >= 0
        return self.scope.kept(scores[inside]), places[inside]

    @cached_property
    def temperature(self) -> Temperature:
        """Of the scores of the validation images. Posteriors of several runs are calibrated before
        they are averaged: theirs is 1 as long as all classes can be the answer.
        """
        scores, labels = self.split("val")
        if self.others and self.scope is None:
            return Temperature(1.0, len(labels), True, False)
        return calibrate(scores, labels)

    def calibrated(
        self, scores: np.ndarray, labels: np.ndarray, temperature: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Scores (S, C') whose softmax is the posterior over the classes of `tree`, and labels
        (S,), of those of `split`.
        """
        values = scores / temperature
        if self.scope is None:
            return values, labels
        return self.scope.grouped_scores(values), self.scope.groups[labels]


def no_prototypes(run: Run) -> str:
    """The message for a run whose head has none."""
    return (
        f"--scores prototypes compares directions, and --method {run.options.get('method')} has"
        " none; use --scores W"
    )
