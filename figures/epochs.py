"""Which columns of epochs.csv are drawn, and how they are called. Nothing here needs matplotlib."""

import numpy as np
import pandas as pd

from figures.common import NothingToDraw, counted
from figures.subject import Subject
from metrics.diagnostics import EPOCH_SAMPLE, QUICK_SAMPLE

SCALE = "Scale of the scores"
# title of a panel -> its axis, and the columns of epochs.csv with their names in the legend
PANELS = {
    "Loss": ("mean loss of an image", {"train_loss": "training", "val_loss": "validation"}),
    "Accuracy": ("share of images", {"train_accuracy": "training", "val_accuracy": "validation"}),
    SCALE: ("factor", {"scale": "scale"}),
    "Class distances against the tree": (
        "rank correlation",
        {
            "W/corr": "class vectors (W)",
            "P/corr": "prototypes (P)",
            **{
                f"{prefix}_of_{size}/corr": f"{name} of {size} classes"
                for size in (EPOCH_SAMPLE, QUICK_SAMPLE)
                for prefix, name in (("W", "class vectors (W)"), ("P", "prototypes (P)"))
            },
        },
    ),
}


def numeric(epochs: pd.DataFrame) -> pd.DataFrame:
    """The table of the epochs with NaN for what is no finite number."""
    table = epochs.apply(pd.to_numeric, errors="coerce").replace([np.inf, -np.inf], np.nan)
    return table if "epoch" in table.columns else pd.DataFrame({"epoch": []})


def panels(subject: Subject, epochs: pd.DataFrame) -> dict[str, tuple[str, dict[str, str]]]:
    """PANELS of what has numbers: title -> its axis, and the columns with their names. A scale that
    was set is a constant, and no curve.

    Raises: NothingToDraw: If no epoch was recorded.
    """
    found = {
        title: (unit, own)
        for title, (unit, columns) in PANELS.items()
        if (own := _defined(epochs, columns)) and (title != SCALE or subject.options.get("dynamic"))
    }
    if not found:
        raise NothingToDraw("No epoch was recorded, so there are no training curves.")
    return found


def _defined(epochs: pd.DataFrame, columns: dict[str, str]) -> dict[str, str]:
    return {
        column: name
        for column, name in columns.items()
        if column in epochs.columns and epochs[column].notna().any()
    }


def epochs_note(subject: Subject, epochs: pd.DataFrame) -> str:
    """Sentences on how many epochs there were and of which one the results are."""
    caption = f"{counted(len(epochs), 'epoch')}."
    if subject.best_epoch is not None:
        chosen = (subject.options.get("choose") or "accuracy").replace("_", " ")
        caption += (
            f" The results are from epoch {subject.best_epoch} (dotted line), of the best"
            f" validation {chosen}."
        )
    elif len(epochs):
        caption += " The results are from the last epoch."
    return caption
