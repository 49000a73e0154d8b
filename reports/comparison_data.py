"""What the page that compares methods draws, as numbers: values over seeds, paired differences,
curves.
"""

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from figures.common import COMPARED, FEWEST_SEEDS
from metrics.catalogue import direction, meaning, value_range
from reports.statistics import SIMILARITY, against, summarise

_CEILING = 1.0  # of a share


def group_data(
    values: pd.DataFrame, metrics: Sequence[str], epochs: pd.DataFrame, dynamic: Sequence[str]
) -> dict:
    """Everything that the script of the page reads of one group of runs; numbers that are not
    defined are None.

    Args:
        values: Of one dataset and tree, as in `records.Record`.
        metrics: The measures.
        epochs: As `compared.epoch_curves` returns it.
        dynamic: Rows whose scale moves: only these have a curve of it.
    """
    rows = list(dict.fromkeys(values["options"]))
    measures = [metric for metric in metrics if (values["metric"] == metric).any()]
    summary = summarise(values).set_index(["options", "metric"])
    seeds = sorted(set(values["seed"]))
    cube = (
        values.pivot_table("value", ["options", "metric"], "seed", dropna=False)
        .reindex(index=pd.MultiIndex.from_product([rows, measures]), columns=seeds)
        .to_numpy(float)
        .reshape(len(rows), len(measures), len(seeds))
    )
    kinds = values.groupby("options")["similarity"].first().reindex(rows).to_numpy()
    return {
        "rows": rows,
        "measures": [
            {
                "name": metric,
                "direction": direction(metric),
                "meaning": meaning(metric),
                "range": value_range(metric),
            }
            for metric in measures
        ],
        "values": [
            [_of_row(summary, row, metric, cube[i, j], seeds) for j, metric in enumerate(measures)]
            for i, row in enumerate(rows)
        ],
        "tests": _tests_by_reference(cube, kinds, measures),
        "curves": _curves(rows, epochs, dynamic),
        **_heights(rows, summary),
    }


def _of_row(
    summary: pd.DataFrame, row: str, metric: str, values: np.ndarray, seeds: Sequence[int]
) -> dict:
    found = [(seed, value) for seed, value in zip(seeds, values) if np.isfinite(value)]
    own = summary.loc[(row, metric)] if (row, metric) in summary.index else None
    enough = len(found) >= FEWEST_SEEDS
    return {
        "seeds": [[int(seed), _number(value)] for seed, value in found],
        "mean": _number(own["mean"]) if own is not None else None,
        "sd": _number(own["std"]) if own is not None else None,
        "lower": _number(own["lower"]) if enough else None,
        "upper": _number(own["upper"]) if enough else None,
    }


def _tests_by_reference(
    cube: np.ndarray, kinds: np.ndarray, measures: Sequence[str]
) -> list[list[list[dict]]]:
    """Every row against each of them. Measures over a row's own similarity of classes, of these
    kinds (rows,), have no differences from another one's.
    """
    own = np.array([bool(SIMILARITY.fullmatch(metric)) for metric in measures], bool)
    tests = []
    for i, kind in enumerate(kinds):
        unlike = (kinds != kind)[:, None] & own
        tests.append(_tests(np.where(unlike[..., None], np.nan, cube), i))
    return tests


def _tests(cube: np.ndarray, reference: int) -> list[list[dict]]:
    """By row and measure, every row against one of them."""
    found = against(cube, reference)
    few = found.pairs < FEWEST_SEEDS
    return [
        [
            {
                "mean": _number(found.mean[i, j]),
                "lower": None if few[i, j] else _number(found.lower[i, j]),
                "upper": None if few[i, j] else _number(found.upper[i, j]),
                "p": _number(found.p[i, j]),
                "holm": _number(found.holm[i, j]),
                "differences": [
                    _number(value)
                    for value in cube[i, j] - cube[reference, j]
                    if np.isfinite(value) and i != reference
                ],
            }
            for j in range(cube.shape[1])
        ]
        for i in range(len(cube))
    ]


def _curves(rows: Sequence[str], epochs: pd.DataFrame, dynamic: Sequence[str]) -> dict:
    curves = {}
    for title, (_, columns) in COMPARED.items():
        column = next((name for name in columns if (epochs["column"] == name).any()), None)
        if column is None:
            continue
        part = epochs[epochs["column"] == column]
        lines = []
        for row in rows:
            own = part[part["options"] == row].sort_values("epoch")
            if column == "scale" and row not in dynamic:
                own = own.iloc[:0]  # a scale that is set is a constant, not a curve
            lines.append(
                {
                    "x": [_number(x) for x in own["epoch"]],
                    "y": [_number(y) for y in own["mean"]],
                }
            )
        if any(line["x"] for line in lines):
            curves[title] = lines
    return curves


def _heights(rows: Sequence[str], summary: pd.DataFrame) -> dict:
    """Share of answers that are right up to a height, without the root, where all are."""
    names = {
        int(metric.rpartition("@")[2]): metric
        for metric in summary.index.get_level_values("metric").unique()
        if re.fullmatch(r"height_accuracy@\d+", metric)
    }
    heights = sorted(names)[:-1] if len(names) > 1 else sorted(names)
    lines = [
        {
            "x": heights,
            "y": [
                _number(summary.loc[(row, names[h]), "mean"])
                if (row, names[h]) in summary.index
                else None
                for h in heights
            ],
        }
        for row in rows
    ]
    shown = [y for line in lines for y in line["y"] if y is not None]
    least = np.floor(10 * min(shown, default=0.0)) / 10
    return {"heights": lines, "heightRange": [float(least), _CEILING]}


def _number(value: float) -> float | None:
    return float(f"{value:.7g}") if np.isfinite(value) else None
