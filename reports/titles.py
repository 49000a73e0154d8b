"""What the runs of one dataset and class tree are called where those of several stand in one
report: in headings of the page and titles of tables.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from figures.common import counted
from files.text import printable
from hierarchies import Hierarchy
from runs.folder import Run, RunError
from runs.records import GROUP

# options that another tree of the classes comes from
_FROM = ("hierarchy", "label_map", "levels", "label_depth", "hold_out", "collapse")


class Title(NamedTuple):
    """Of the runs of one dataset and tree.

    Attributes:
        full: The dataset and its tree: 'CIFAR100, 100 classes, 20 superclasses, 2 levels'.
        short: The dataset, and what tells its trees apart where there are several.
    """

    full: str
    short: str


def group_titles(
    values: pd.DataFrame, options: Mapping[tuple[str, str, str], Mapping]
) -> dict[tuple[str, str], Title]:
    """Titles by dataset and digest of the tree, all different; see `runs.records.Record` for the
    arguments.
    """
    described: dict[str, dict[str, list[str]]] = defaultdict(dict)
    for (dataset, digest), part in values.groupby(GROUP, sort=False):
        tree = _read_tree(part["folder"].unique().tolist())
        own = [options[dataset, digest, row] for row in part["options"].unique()]
        described[dataset][digest] = _description(tree, own)
    titles = {}
    for dataset, trees in described.items():
        alike = set.intersection(*map(set, trees.values()))
        count = Counter(map(tuple, trees.values()))
        for digest, parts in trees.items():
            if not parts or count[tuple(parts)] > 1:  # nothing else tells it from another one
                parts = [*parts, f"tree {digest[:8]}"]
            telling = [part for part in parts if part not in alike] if len(trees) > 1 else []
            titles[dataset, digest] = Title(
                ", ".join([dataset, *parts]), ", ".join([dataset, *telling])
            )
    return titles


def _read_tree(folders: Sequence[str]) -> Hierarchy | None:
    """That of the first run that can be read."""
    for folder in folders:
        try:
            return Run(folder).hierarchy
        except (RunError, OSError):
            continue
    return None


def _description(tree: Hierarchy | None, rows: Sequence[Mapping]) -> list[str]:
    """How large a tree is, and which options of all its rows it comes from."""
    parts = []
    if tree is not None:
        superclasses = tree.num_nodes - 1 - tree.num_classes  # without the root
        parts = [
            counted(tree.num_classes, "class", "classes"),
            counted(superclasses, "superclass", "superclasses"),
            counted(tree.max_depth, "level"),
        ]
    for name in _FROM:
        found = [of_row.get(name) for of_row in rows]
        if found and found[0] and all(value == found[0] for value in found):
            parts.append(_option(name, found[0]))
    return parts


def _option(name: str, value: object) -> str:
    """'from taxa.csv' of the file of the tree, '--label_depth 2' of another option."""
    texts = [printable(str(one)) for one in (value if isinstance(value, list) else [value])]
    said = "from" if name == "hierarchy" else f"--{name}"
    return said if value is True else f"{said} {' '.join(texts)}"
