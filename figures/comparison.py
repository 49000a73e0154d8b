"""Methods beside each other, with intervals over seeds."""

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from figures.common import FEWEST_SEEDS, NothingToDraw
from figures.groups import series_style
from figures.palette import FAINT, OTHERS
from figures.style import Drawing, distinct, new_figure
from metrics.catalogue import direction

_EDGES = r"(ahc|ahd@\d+|severity|hdist_top@\d+)(_lca_height)?"  # measures in edges of the tree
_WIDTH = 1.9  # inches of a panel
_LETTERS = 26  # of a line above one
_ARROWS = {"higher": " ↑", "lower": " ↓", None: ""}


def method_dots(summary: pd.DataFrame, values: pd.DataFrame, metrics: Sequence[str]) -> Drawing:
    """One panel a measure, one line a method: its mean, the interval and the value of each seed.

    Args:
        summary: Of one dataset and hierarchy, as `reports.statistics.summarise` returns it: options
            (name of the method's row), metric, n_seeds, mean, lower, upper.
        values: The same runs seed by seed: options, metric, value.
        metrics: The measures, a panel each.
    """
    methods = list(dict.fromkeys(summary["options"]))
    metrics = [
        metric
        for metric in metrics
        if summary.loc[summary["metric"] == metric, "mean"].notna().any()
    ]
    if not metrics:
        raise NothingToDraw("No measure is defined in any of the runs.")
    columns = min(4, len(metrics))
    rows = -(-len(metrics) // columns)
    lines = [line for name in distinct(methods) for line in name.split("\n")]
    height = rows * (0.27 * max(len(methods), 0.5 * len(lines)) + 0.75) + 0.1
    figure = new_figure(columns * _WIDTH + 0.075 * max(map(len, lines)) + 0.3, height)
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.08)
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for ax, metric in zip(panels.ravel(), metrics):
        _dots(ax, methods, summary[summary["metric"] == metric], values[values["metric"] == metric])
        ax.set_title(metric + _ARROWS[direction(metric)], loc="left", size=8.5)
        ax.set_xlabel("edges" if re.fullmatch(_EDGES, metric.rpartition("/")[2]) else "", size=7.5)
    for spare in panels.ravel()[len(metrics) :]:
        spare.set_visible(False)
    return Drawing(figure, _caption(summary[summary["metric"].isin(metrics)]))


def height_curves(summary: pd.DataFrame, values: pd.DataFrame) -> Drawing:
    """Share of the images whose answer shares an ancestor of at most a height with the truth, one
    panel a method with the others in grey; summary and values as in `method_dots`.
    """
    part = summary[
        summary["metric"].str.fullmatch(r"height_accuracy@\d+") & summary["mean"].notna()
    ]
    if part.empty:
        raise NothingToDraw("The runs have no measures by height in the tree.")
    part = part.assign(height=part["metric"].str.rpartition("@")[2].astype(int)).sort_values(
        "height", kind="stable"
    )
    part = part[part["height"] < part["height"].max()] if part["height"].max() else part
    methods = [
        name for name in dict.fromkeys(summary["options"]) if (part["options"] == name).any()
    ]
    columns = min(4, len(methods))
    rows = -(-len(methods) // columns)
    figure = new_figure(max(3.4, columns * _WIDTH) + 0.5, rows * 1.7 + 0.5)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for index, (ax, name, label) in enumerate(zip(panels, methods, distinct(methods, _LETTERS))):
        for _, other in part[part["options"] != name].groupby("options", sort=False):
            ax.plot(other["height"], other["mean"], color=OTHERS, linewidth=0.7)
        _heights(ax, part[part["options"] == name], values[values["options"] == name], index)
        ax.set_title(label, loc="left", size=8.5)
        ax.grid(axis="y", color=FAINT, alpha=0.3, linewidth=0.6)
    for spare in panels[len(methods) :]:
        spare.set_visible(False)
    panels[0].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    panels[0].yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    # of a share, whatever an interval reaches
    panels[0].set_ylim(np.floor(10 * part["mean"].min() - 1e-9) / 10, 1.0)
    figure.supxlabel("height of the lowest common ancestor, at most (edges)", size=9)
    figure.supylabel("share of the test images", size=9)
    caption = (
        "How many answers are right if an answer within a subtree of that height counts; 0: the"
        " class itself. The root, where every answer is right, is left out."
    )
    if len(methods) > 1:
        caption += " Grey: the other methods."
    return Drawing(figure, f"{caption} {_interval_note(part)}")


def _heights(ax: Axes, mine: pd.DataFrame, values: pd.DataFrame, index: int) -> None:
    """The curve of one method with its intervals, or the values of the seeds where they are few."""
    style = {**series_style(index), "linestyle": "-"}
    few = mine["n_seeds"] < FEWEST_SEEDS
    for at, metric in zip(mine.loc[few, "height"], mine.loc[few, "metric"]):
        seeds = values.loc[values["metric"] == metric, "value"].dropna()
        _seed_dots(ax, np.full(len(seeds), at), seeds, style["color"])
    error = np.nan_to_num((mine["mean"] - mine["lower"]).mask(few).to_numpy())
    look = {"markersize": 4, "linewidth": 1.4, "capsize": 2}
    ax.errorbar(mine["height"], mine["mean"], yerr=error, **look, **style)


def _dots(ax: Axes, methods: list[str], summary: pd.DataFrame, values: pd.DataFrame) -> None:
    ax.set_ylim(len(methods) - 0.5, -0.5)
    ax.set_yticks(range(len(methods)), distinct(methods), size=8)
    ax.tick_params(axis="y", length=0)
    ax.xaxis.set_major_locator(MaxNLocator(3))
    ax.tick_params(axis="x", labelsize=7)
    ax.grid(axis="y", color=FAINT, alpha=0.25, linewidth=0.6)
    for row, name in enumerate(methods):
        style = series_style(row)
        seeds = values.loc[values["options"] == name, "value"].dropna()
        _seed_dots(ax, seeds, np.full(len(seeds), row + 0.22), style["color"])
        mine = summary[summary["options"] == name]
        if len(mine) and np.isfinite(mine["mean"].iloc[0]):
            of_row = mine.iloc[0]
            if of_row["n_seeds"] >= FEWEST_SEEDS:
                ax.plot(
                    [of_row["lower"], of_row["upper"]],
                    [row, row],
                    color=style["color"],
                    linewidth=1.6,
                    solid_capstyle="butt",
                )
            ax.plot(
                of_row["mean"],
                row,
                marker="D",
                markersize=5,
                color=style["color"],
                markeredgecolor="white",
                markeredgewidth=0.6,
            )


def _seed_dots(ax: Axes, x: Sequence[float], y: Sequence[float], color: str) -> None:
    look = {"markersize": 3, "color": color, "alpha": 0.6, "markeredgewidth": 0}
    ax.plot(x, y, linestyle="", marker="o", **look)


def _caption(summary: pd.DataFrame) -> str:
    arrows = (
        "↑ higher is better, ↓ lower is better."
        if summary["metric"].map(direction).notna().any()
        else ""
    )
    return (
        f"Diamonds are means over seeds, small dots single seeds. {_interval_note(summary)}"
        f" {arrows}".strip()
    )


def _interval_note(summary: pd.DataFrame) -> str:
    many = summary["n_seeds"] >= FEWEST_SEEDS
    notes = []
    if many.any():
        notes.append("Lines are 95 % intervals of Student's t around the mean, wide for few seeds.")
    if not many.all():
        notes.append(
            f"With fewer than {FEWEST_SEEDS} seeds there is no interval, only the values of the"
            " seeds as small dots."
        )
    return " ".join(notes)
