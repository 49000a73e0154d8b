"""What a method is called where several stand side by side: in tables, figures and on pages.

A row is named by its runs' folder: the method, its switches, and every option that is not the
dataset's default. Side by side only what differs tells rows apart; what all share is said once.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from typing import NamedTuple

import pandas as pd

from metrics.vectors import DISTANCES
from registry import possible

# between the parts of a name; a number such as 1e-05 has a dash of its own
_BETWEEN = re.compile(r"-(?=[A-Za-z_])")
_BRACKETS = re.compile(r"^(?P<name>.*?) \[(?P<options>.*)\]$")
# a folder whose name would be too long for a file system ends in a digest of the rest
_SHORTENED = re.compile(r".{90,}-[0-9a-f]{12}(?= \[|$)", re.DOTALL)
# said of all rows where their names do not tell, because they are shortened
_SETTINGS = (
    "use_val backbone weights freeze dim upscale image_size optimizer lr schedule batch_size epochs"
    " aug"
).split()
_PLACES = {"dataset", "method", "distance", "loss", "seed"}
# what papers call the parts of a name that are neither a head nor a loss
_PAPER_NAMES = {
    "euc": "Euclidean distance",
    "arccos": "angular distance",
    "ema": "EMA",
    "mds": "MDS",
    "val": "validation split",
    "shared": "shared parents",
    "size": "size-informed",
}


class Labels(NamedTuple):
    """What rows are called.

    Attributes:
        by_name: Labels by the names of rows, all different.
        shared: What all rows share, '' for nothing.
        distance: Of all rows that have one, where not all have one; '' where they have several.
    """

    by_name: dict[str, str]
    shared: str
    distance: str = ""

    @property
    def note(self) -> str:
        """A sentence on what the labels leave out, '' where they leave out nothing."""
        said = f"every row: {self.shared}" if self.shared else ""
        if not self.distance:
            return said
        return f"{said}{'; ' if said else ''}every row with a distance: {self.distance}"


def method_labels(
    names: Sequence[str],
    options: Mapping[str, Mapping] | None = None,
    *,
    paper: bool = False,
) -> Labels:
    """The method of each row with those parts of its name that not all rows have.

    Args:
        names: Names of the rows, as in the column options of summary.csv, all different.
        options: The recorded options by the names of rows. Where one of the names is shortened
            ("...-b085eeea82e6"), all labels are made from these.
        paper: Whether parts are called as papers call them, "ProxyDR + EMA" for "DR-ema".
    """
    names = list(dict.fromkeys(names))
    known = options is not None and all(name in options for name in names)
    if known and any(map(_SHORTENED.match, names)):
        parts = _parts_of_options({name: options[name] for name in names})
    else:
        parts = {name: _parts(name) for name in names}
    if len(names) < 2 and not paper:
        return Labels({name: "-".join(own) for name, own in parts.items()}, "")
    first = parts[names[0]][1:] if len(names) > 1 else []
    shared = [part for part in first if all(part in own[1:] for own in parts.values())]
    own = {
        name: [of_row[0], *(part for part in of_row[1:] if part not in shared)]
        for name, of_row in parts.items()
    }
    own, distance = _without_distance(own) if len(names) > 1 else (own, "")
    labels = {name: "-".join(of_row) for name, of_row in own.items()}
    if paper:
        labels = {name: " + ".join(map(_in_papers, of_row)) for name, of_row in own.items()}
        shared, distance = [_in_papers(part) for part in shared], _in_papers(distance)
    if len(set(labels.values())) < len(names):  # the same parts in another order
        return Labels({name: name for name in names}, "")
    return Labels(labels, ", ".join(shared), distance)


def _without_distance(parts: Mapping[str, list[str]]) -> tuple[dict[str, list[str]], str]:
    """The parts without the distance, and the distance, where all rows that have one have the same;
    else as they are.
    """
    found = {own[1] for own in parts.values() if own[1:] and own[1] in DISTANCES}
    shorter = {
        name: own[:1] + [p for p in own[1:] if p not in found] for name, own in parts.items()
    }
    if len(found) != 1 or len(set(map(tuple, shorter.values()))) < len(parts):
        return dict(parts), ""
    return shorter, found.pop()


def relabel(table: pd.DataFrame, labels: Labels) -> pd.DataFrame:
    """The table with labels in place of the names in its column options."""
    return table.assign(options=table["options"].map(labels.by_name))


def _parts(name: str) -> list[str]:
    """The method, and each option of a name; those in brackets tell equal names apart."""
    found = _BRACKETS.match(name)
    own = _BETWEEN.split(found["name"] if found else name)
    return own + (found["options"].split(", ") if found else [])


@cache
def paper_names() -> dict[str, str]:
    """What papers call the parts of a name; what is not here is called the same."""
    import losses  # torch, which a page and a table do without
    import models

    parts = [(head.label or name, head) for name, head in models.HEADS.items()]
    parts += losses.LOSSES.items()
    return _PAPER_NAMES | {name: part.paper_name or name for name, part in parts}


def _in_papers(part: str) -> str:
    return paper_names().get(part, part)


def _parts_of_options(rows: Mapping[str, Mapping]) -> dict[str, list[str]]:
    """The same from options: the method, what rows differ in, and the settings that they share.

    An option that only some rows have, with one value, comes with their method or loss; it is
    named only where rows would else be called the same.
    """
    values = {}
    for of_row in rows.values():
        for name, value in of_row.items():
            values.setdefault(name, []).append(value)
    telling, implied = [], []
    for name, found in sorted(values.items()):
        everywhere = len(found) == len(rows)
        if name in _PLACES or (everywhere and all(value == found[0] for value in found)):
            continue
        differs = any(value != found[0] for value in found) or found[0] is True
        (telling if differs else implied).append(name)
    settings = [
        name
        for name in _SETTINGS
        if len(values.get(name, ())) == len(rows) and name not in (*telling, *implied)
    ]
    wanted = {name: list(telling) for name in rows}
    for option in implied:  # each only where it tells rows apart that nothing before it does
        alike = defaultdict(list)
        for name, of_row in rows.items():
            alike[tuple(_row_parts(of_row, wanted[name]))].append(name)
        for same in alike.values():
            if len({str(rows[name].get(option)) for name in same}) > 1:
                for name in same:
                    wanted[name].append(option)
    return {name: _row_parts(of_row, [*wanted[name], *settings]) for name, of_row in rows.items()}


def _row_parts(options: Mapping, wanted: Sequence[str]) -> list[str]:
    """The method, the distance, the loss where it is not the usual one, and the wanted options."""
    import data  # torch, which only names that are shortened need
    import losses
    import models

    head = models.HEADS[options["method"]] if options["method"] in models.HEADS else None
    parts = [getattr(head, "label", None) or options["method"]]
    if options.get("distance") is not None:
        parts.append(options["distance"])
    if options.get("loss") not in (None, losses.LOSSES.option.default):
        parts.append(options["loss"])
    tags = possible((data.DATASETS.option, *models.OPTIONS, models.HEADS.option))
    for name in wanted:
        if name in options:
            tag = tags[name].tag if name in tags else None
            parts.append(_part(name, options[name], tag))
    return parts


def _part(name: str, value: object, tag: str | None) -> str:
    if value is True:
        return tag or name
    return f"{name}={'+'.join(map(str, value)) if isinstance(value, list) else value}"
