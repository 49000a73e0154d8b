"""The runs that a comparison is of, by dataset and class tree: their values, curves and trees."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from figures.common import COMPARED
from reports import measures_shown, statistics, tree_data
from reports.labels import method_labels, relabel
from reports.titles import Title, group_titles
from runs import records
from runs.folder import Run, RunError


class Group(NamedTuple):
    """Runs of one dataset and class tree.

    Attributes:
        title: Dataset and tree, see `titles.Title`.
        note: What all rows share, which their names leave out; maybe empty.
        options: Of each row.
        more: Measures that can be chosen beside those.
        suffix: Of the names of its files; empty where there is one group only.
        values: As in `records.Record`.
        metrics: The measures to compare.
    """

    title: Title
    suffix: str
    values: pd.DataFrame
    metrics: list[str]
    note: str = ""
    options: Mapping[str, Mapping] = {}
    more: Sequence[str] = ()

    @property
    def rows(self) -> list[str]:
        """Names of the methods' rows."""
        return self.values["options"].unique().tolist()

    def folders(self, row: str) -> list[str]:
        """Folders of the runs of a row, by seed."""
        return self.values.loc[self.values["options"] == row, "folder"].unique().tolist()


class Comparison(NamedTuple):
    """Runs to compare.

    Attributes:
        groups: By dataset and class tree.
        common: A folder above all runs.
        problems: What was left out or is damaged, a line each.
    """

    groups: list[Group]
    common: Path
    problems: list[str]

    @property
    def figures(self) -> int:
        """Number of figures."""
        return sum(3 + len(group.rows) for group in self.groups)


def read_comparison(
    common: Path, folders: Sequence[Path], wanted: Sequence[str] | None
) -> Comparison:
    """The finished ones of some runs, by dataset and class tree.

    Args:
        common: A folder above all of them.
        folders: The runs.
        wanted: Names or patterns of the measures; None for those of the papers.

    Raises: ValueError: If a measure asked for is in none of the runs.
    """
    chosen = {str(folder.absolute()) for folder in folders}
    record = records.read_record(common, checkpoints=False)  # nothing here needs them
    values = record.values[record.values["folder"].isin(chosen)]
    said = (*record.unfinished, *record.damaged, *record.warnings)
    problems = [
        line
        for line in said
        if any(line.startswith((f"{folder}/", f"{folder}:", f"{folder} ")) for folder in chosen)
    ]
    parts = list(values.groupby(records.GROUP, sort=False))
    metrics = measures_shown.select_metrics(wanted, values["metric"]) if len(values) else []
    main = measures_shown.main_metrics(values["metric"].unique()) if wanted is None else []
    more = [metric for metric in main if metric not in metrics]
    groups, titles = [], group_titles(values, record.options)
    for (dataset, hierarchy), part in parts:
        suffix = "" if len(parts) == 1 else f"_{plain_name(dataset)}_{hierarchy[:8]}"
        here = set(part["options"])
        own = {
            row: of_row
            for (*group, row), of_row in record.options.items()
            if group == [dataset, hierarchy] and row in here
        }
        labels = method_labels(part["options"], own)
        options = {labels.by_name[row]: of_row for row, of_row in own.items()}
        title = titles[dataset, hierarchy]
        part = relabel(part, labels).reset_index(drop=True)
        groups.append(Group(title, suffix, part, metrics, labels.note, options, more))
    return Comparison(groups, common, problems)


def epoch_curves(group: Group) -> pd.DataFrame:
    """Means and intervals over seeds for `figures.curves.method_curves`; see there for the
    columns.
    """
    columns = [name for _, names in COMPARED.values() for name in names]
    over_seeds = ["count", "mean", "std", "min", "max"]
    parts = []
    for row in group.rows:
        epochs = pd.concat([Run(folder).epochs for folder in group.folders(row)], ignore_index=True)
        here = [column for column in columns if {column, "epoch"} <= set(epochs.columns)]
        if here:
            long = epochs.melt("epoch", here, "column", "value")
            numbers = pd.to_numeric(long["value"], errors="coerce")
            long["value"] = numbers.replace([np.inf, -np.inf], np.nan)
            table = long.groupby(["column", "epoch"])["value"].agg(over_seeds).reset_index()
            parts.append(table[table["count"] > 0].assign(options=row))
    none = ["options", "column", "epoch", *over_seeds]
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=none)
    half = statistics.half_width(table["std"].to_numpy(float), table["count"].to_numpy(float))
    return table.assign(lower=table["mean"] - half, upper=table["mean"] + half)


def comparison_trees(group: Group) -> dict:
    """The class tree of a group, and the tree of the class vectors of the first readable seed of
    each row, None where there is none; empty where no row has one, and only the number of classes,
    `too_many`, where they are more than `tree_data.MOST`.
    """
    hierarchy, learned = None, []
    for row in group.rows:
        found = None
        for folder in group.folders(row):
            run = Run(folder)
            try:
                hierarchy = run.hierarchy if hierarchy is None else hierarchy
                if hierarchy.num_classes > tree_data.MOST:
                    return {"too_many": hierarchy.num_classes}
                vectors = run.arrays("test").get("class_vectors")
            except (RunError, OSError):
                continue
            if vectors is not None and np.shape(vectors)[1:] != (0,):
                distance = run.options.get("distance") or "euc"
                found = tree_data.learned_tree(vectors, hierarchy, distance)
            break
        learned.append(found)
    if not any(learned):
        return {}
    return {"tree": tree_data.class_tree(hierarchy), "learned": learned}


def plain_name(name: str) -> str:
    """A name with letters, digits, '.', '-' and '=' only, for files."""
    return re.sub(r"[^A-Za-z0-9.=-]+", "-", name).strip("-")
