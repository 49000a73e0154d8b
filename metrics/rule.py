"""What a decision rule says about itself. A rule is a row of `metrics.decisions.RULES`."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hierarchies import Hierarchy
from metrics.pareto import Front, pareto_front
from registry import Option

TARGET_ACCURACY = 0.95  # that rules are set for where no other is asked for
Answer = Callable[..., np.ndarray]  # (hierarchy, (S, N) probabilities, **options) -> (S,) nodes


@dataclass(frozen=True)
class Rule:
    """From the posterior over the nodes to an answer.

    Attributes:
        answer: The function; its keyword arguments are the options.
        summary: What is answered, in a few words, for --help.
        options: What it takes.
        setting: Name of the option that is set on images with known classes; None where there is
            none.
        needed: Of a rule whose setting can promise an accuracy: (hierarchy, front, (S,) true
            leaves) -> (S,) the smallest setting from which on each answer is right.
        front: What `needed` reads: (hierarchy, (S, N) probabilities) -> the nodes that the rule
            chooses from.
        fit: Of a rule whose setting promises nothing: (hierarchy, (S, C) scores, (S,) labels) ->
            the setting.
        measured: Whether the answers of every run are measured, as `<rule>/correct` and so on: of a
            rule that needs no setting.
        reads_front: Whether `answer` takes the Pareto front of the probabilities as `front` where
            it is known already, which saves the time to find it.
    """

    answer: Answer
    summary: str
    options: tuple[Option, ...] = ()
    setting: str | None = None
    needed: Callable[[Hierarchy, Front, np.ndarray], np.ndarray] | None = None
    front: Callable[[Hierarchy, np.ndarray], Front] = pareto_front
    fit: Callable[[Hierarchy, np.ndarray, np.ndarray], float] | None = None
    measured: bool = False
    reads_front: bool = False
