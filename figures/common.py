"""What figures and pages share: words, and what a drawing becomes. Nothing here needs matplotlib,
which pages do without.
"""

from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd

from files.text import counted as counted
from metrics.curves import recall_at
from metrics.diagnostics import EPOCH_SAMPLE, QUICK_SAMPLE
from metrics.outputs import Outputs

DPI = 144
RECALLED = {"depth": "depth", "info": "information"}  # what recall is of, in words
PERCENT_RIGHT = (90, 95)  # at which recalls are read off
FEWEST_SEEDS = 3  # for an interval: that of two spans everything (Student's t is 12.7 there)

# of several methods, one column a panel: the first that any of them has
COMPARED = {
    "Validation loss": ("mean loss of an image", ("val_loss",)),
    "Validation accuracy": ("share of images", ("val_accuracy",)),
    "Training loss": ("mean loss of an image", ("train_loss",)),
    "Training accuracy": ("share of images", ("train_accuracy",)),
    "Scale of the scores": ("factor", ("scale",)),
    "Class vectors (W) against the tree": (
        "rank correlation",
        ("W/corr", f"W_of_{EPOCH_SAMPLE}/corr", f"W_of_{QUICK_SAMPLE}/corr"),
    ),
}


class NothingToDraw(ValueError):
    """A figure has no content for this run; the message is the reason, a sentence for the reader of
    the report.
    """


def check_images(outputs: Outputs) -> None:
    """Raises: NothingToDraw: If there is no test image."""
    if not outputs.num_samples:
        raise NothingToDraw("There is no test image, so there are no answers.")


def check_mistakes(outputs: Outputs) -> None:
    """Raises: NothingToDraw: If no test image is classified wrongly, or there is none."""
    check_images(outputs)
    if (outputs.predictions == outputs.labels).all():
        raise NothingToDraw("No test image is classified wrongly.")


class Rendered(NamedTuple):
    """A drawing as files.

    Attributes:
        caption: Sentences below the figure.
        images: Format ("png", "pdf") -> bytes; empty where there was nothing to draw and the
            caption says why.
    """

    caption: str
    images: dict[str, bytes]


def ordinal(number: int) -> str:
    """2 -> 'second', 3 -> 'third', 4 -> '4th'."""
    words = {1: "first", 2: "second", 3: "third"}
    endings = {1: "st", 2: "nd", 3: "rd"}
    ending = "th" if 11 <= number % 100 <= 13 else endings.get(number % 10, "th")
    return words.get(number, f"{number}{ending}")


def recalls_note(curves: Mapping[str, pd.DataFrame]) -> str:
    """A sentence on the highest recalls at given shares of right answers, without its full stop.

    Args:
        curves: A key of RECALLED -> what `metrics.curves.operating_curve` returns.
    """
    said = [
        f"at least {percent} % of the answers are right up to a recall of "
        + " and ".join(
            f"{recall_at(curve, percent / 100):.3f} ({RECALLED[value]})"
            for value, curve in curves.items()
        )
        for percent in PERCENT_RIGHT
    ]
    return "; ".join(said).capitalize()
