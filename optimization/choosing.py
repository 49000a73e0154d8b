"""Which epoch is the result, and when no better one is waited for: by a measure of the validation
images.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from registry import Option, Registry, positive_int, with_flag


class Choice(NamedTuple):
    """A measure of the validation images, in the column val_<name> of epochs.csv: the one of this
    name in `metrics.METRICS`, of labels and predicted classes alone, or the loss.
    """

    summary: str
    higher_is_better: bool = True


CHOICES: Registry = Registry(
    Option(
        "choose",
        default="accuracy",
        help="measure of the validation images whose best epoch is the result, the first of equal"
        " ones",
        off="accuracy",
        needs=with_flag("use_val", "; without it the last epoch is the result"),
    ),
    {
        "accuracy": Choice("share of images named rightly"),
        "macro_accuracy": Choice("the same within each class, averaged over the classes"),
        "macro_f1": Choice("F1 of each class, averaged over the classes"),
        "hierarchical_accuracy": Choice(
            "a mistake counts by how much of the tree's weight it shares with the true class"
        ),
        "loss": Choice("mean cross-entropy, the smallest", higher_is_better=False),
    },
)
PATIENCE = Option(
    "patience",
    positive_int,
    None,
    "EPOCHS",
    "stop when so many epochs in a row were not better than the best one by --choose",
    needs=with_flag("use_val", "; without it no epoch is better than another"),
)
OPTIONS = (CHOICES.option, PATIENCE)


def best_epoch(rows: Iterable[Mapping], choose: str | None = None) -> int | None:
    """The epoch, counted from 1, whose validation measure is best, the first of equal ones.

    Args:
        rows: Of epochs.csv.
        choose: Name from `CHOICES`; None for accuracy.

    Returns: None where no row has a value of the measure.
    """
    choose = choose or CHOICES.option.default
    higher, found, best = CHOICES.find(choose).higher_is_better, None, None
    for row in rows:
        value = row.get(f"val_{choose}")
        if value is None or math.isnan(value):
            continue
        if best is None or (value > best if higher else value < best):
            found, best = int(row["epoch"]), value
    return found


def out_of_patience(rows: list[Mapping], choose: str | None, patience: int | None) -> bool:
    """Whether the last `patience` epochs were not better than one before them; never if it is
    None.
    """
    best = best_epoch(rows, choose)
    return None not in (patience, best) and rows[-1]["epoch"] - best >= patience
