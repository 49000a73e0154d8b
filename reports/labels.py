"""What a method is called where several stand side by side: in tables, figures and on pages.

A row is named by its runs' folder: the method, its switches, and every option that is not the
dataset's default. Side by side only what differs tells rows apart; what all share is said once.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

# between the parts of a name; a number such as 1e-05 has a dash of its own
_BETWEEN = re.compile(r"-(?=[A-Za-z_])")
_BRACKETS = re.compile(r"^(?P<name>.*?) \[(?P<options>.*)\]$")


class Labels(NamedTuple):
    """Labels by the names of rows, all different, and what all rows share, '' for nothing."""

    by_name: dict[str, str]
    shared: str

    @property
    def note(self) -> str:
        """A sentence on what all rows share, '' where they share nothing."""
        return f"every row: {self.shared}" if self.shared else ""


def method_labels(names: Sequence[str]) -> Labels:
    """The method of each row with those parts of its name that not all rows have.

    Args:
        names: Names of the rows, as in the column options of summary.csv, all different.
    """
    names = list(dict.fromkeys(names))
    parts = {name: _parts(name) for name in names}
    if len(names) < 2:
        return Labels({name: name for name in names}, "")
    shared = [
        part for part in parts[names[0]][1:] if all(part in parts[name][1:] for name in names)
    ]
    labels = {
        name: "-".join([own[0], *(part for part in own[1:] if part not in shared)])
        for name, own in parts.items()
    }
    if len(set(labels.values())) < len(names):  # the same parts in another order
        return Labels({name: name for name in names}, "")
    return Labels(labels, ", ".join(shared))


def relabel(table: pd.DataFrame, labels: Labels) -> pd.DataFrame:
    """The table with labels in place of the names in its column options."""
    return table.assign(options=table["options"].map(labels.by_name))


def _parts(name: str) -> list[str]:
    """The method, and each option of a name; those in brackets tell equal names apart."""
    found = _BRACKETS.match(name)
    own = _BETWEEN.split(found["name"] if found else name)
    return own + (found["options"].split(", ") if found else [])
