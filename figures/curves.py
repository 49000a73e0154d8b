"""Training curves: of one run, and of several methods with intervals over their seeds."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from figures.common import COMPARED, FEWEST_SEEDS, NothingToDraw
from figures.epochs import epochs_note, numeric, panels
from figures.groups import series_style
from figures.palette import FAINT, OTHERS, SERIES, TAKEN_COLOUR, TRUE_COLOUR
from figures.style import Drawing, distinct, new_figure
from figures.subject import Subject

_ACROSS, _LETTERS = 7, 18  # panels of methods beside each other, letters of a line above one
_RANGES = {"mean loss of an image": (0.0, np.inf), "share of images": (0.0, 1.02)}


def training_curves(subject: Subject) -> Drawing:
    """Loss, accuracy, scale and correlation with the tree over the epochs; the epoch of the results
    is marked.
    """
    epochs = numeric(subject.epochs)
    shown = panels(subject, epochs)
    figure, axes = _panels(len(shown))
    for ax, (title, (unit, columns)) in zip(axes, shown.items()):
        for colour, (column, name) in zip((TRUE_COLOUR, TAKEN_COLOUR), columns.items()):
            ax.plot(
                epochs["epoch"], epochs[column], color=colour, label=name, **_marks(len(epochs))
            )
        if subject.best_epoch is not None:
            ax.axvline(subject.best_epoch, color=FAINT, linestyle=":", linewidth=1.2)
        _finish(ax, title, unit)
        if len(columns) > 1:
            ax.legend(loc="best")
    return Drawing(figure, epochs_note(subject, epochs))


def method_curves(curves: pd.DataFrame) -> Drawing:
    """The same for several methods: means over seeds, with bands; a panel a method where they are
    more than there are colours.

    Args:
        curves: Columns options (the name of a method's row), column (of epochs.csv), epoch, mean,
            count (of seeds), lower and upper, min and max; bounds are NaN where there is no
            interval. Methods stand in the order in which they are to be listed.
    """
    methods = list(dict.fromkeys(curves["options"]))
    known = set(curves["column"])
    found = {
        title: (unit, column)
        for title, (unit, names) in COMPARED.items()
        if (column := next((name for name in names if name in known), None)) is not None
    }
    if not found:
        raise NothingToDraw("No run has recorded epochs, so there are no training curves.")
    together = len(methods) <= len(SERIES)
    figure = (_in_one_panel if together else _panel_by_panel)(methods, found, curves)
    caption = "Lines are means over the seeds of a method."
    if not together:
        caption += " Grey: the other methods."
    many = curves["count"] >= FEWEST_SEEDS
    if curves.loc[many, "lower"].notna().any():
        caption += (
            " Bands are 95 % intervals of Student's t around the mean, where three seeds or more"
            " reached the epoch."
        )
    if (curves["count"] == 2).any():
        caption += " Dots are the values of two seeds, whose interval would span everything."
    return Drawing(figure, caption)


def _in_one_panel(
    methods: list[str], panels: dict[str, tuple[str, str]], curves: pd.DataFrame
) -> Figure:
    figure, axes = _panels(len(panels), columns=2)
    for ax, (title, (unit, column)) in zip(axes, panels.items()):
        of_panel = curves[curves["column"] == column]
        for index, method in enumerate(methods):
            _band(ax, of_panel[of_panel["options"] == method], series_style(index))
        _finish(ax, title, unit)
        _keep_in_range(ax, unit)
    handles = [
        Line2D([], [], **{**series_style(index), "marker": ""}, label=name)
        for index, name in enumerate(distinct(methods))
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(3, len(methods)))
    return figure


def _panel_by_panel(
    methods: list[str], panels: dict[str, tuple[str, str]], curves: pd.DataFrame
) -> Figure:
    labels = dict(zip(methods, distinct(methods, _LETTERS)))
    of_column = {column: curves[curves["column"] == column] for _, column in panels.values()}
    rows = [-(-of_column[column]["options"].nunique() // _ACROSS) for _, column in panels.values()]
    high = 1.15 + 0.12 * max(label.count("\n") for label in labels.values())
    heights = [high * count + 0.55 for count in rows]
    figure = new_figure(1.4 * _ACROSS + 0.6, sum(heights))
    blocks = figure.subfigures(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
    for block, count, (title, (unit, column)) in zip(blocks, rows, panels.items()):
        block.suptitle(title, x=0.01, ha="left", size=10, weight="bold")
        block.supylabel(unit, size=8)
        axes = block.subplots(count, _ACROSS, squeeze=False, sharex=True, sharey=True).ravel()
        there = of_column[column].groupby("options", sort=False)
        for ax, (method, own) in zip(axes, there):
            for other, part in there:
                if other != method:
                    ax.plot(part["epoch"], part["mean"], color=OTHERS, linewidth=0.6)
            _band(ax, own, {**series_style(methods.index(method)), "linestyle": "-"})
            ax.set_title(labels[method], loc="left", size=7)
            ax.tick_params(labelsize=6.5)
            ax.xaxis.set_major_locator(MaxNLocator(3, integer=True))
        for spare in axes[len(there) :]:
            spare.set_visible(False)
        _keep_in_range(axes[0], unit)
    return figure


def _keep_in_range(ax: Axes, unit: str) -> None:
    """However far the bands reach."""
    if unit in _RANGES:
        (low, high), (bottom, top) = _RANGES[unit], ax.get_ylim()
        ax.set_ylim(max(low - 0.03 * top, bottom), min(high, top))


def _band(ax: Axes, part: pd.DataFrame, style: dict) -> None:
    lone = {} if len(part) > 1 else {"markersize": 5}
    ax.plot(
        part["epoch"],
        part["mean"],
        linewidth=1.5,
        **{**style, "marker": style["marker"] if lone else ""},
        **lone,
    )
    two, many = part[part["count"] == 2], part["count"] >= FEWEST_SEEDS
    for value in ("min", "max") if len(two) else ():
        dots = {"color": style["color"], "alpha": 0.6, "markeredgewidth": 0}
        ax.plot(two["epoch"], two[value], linestyle="", marker="o", markersize=2.5, **dots)
    if part.loc[many, "lower"].notna().any():
        ax.fill_between(
            part["epoch"],
            part["lower"].where(many),
            part["upper"].where(many),
            color=style["color"],
            alpha=0.16,
            linewidth=0,
        )


def _panels(count: int, columns: int = 2) -> tuple[Figure, list[Axes]]:
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = new_figure(4.4 * columns, 2.7 * rows)
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.08)
    axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for spare in axes[count:]:
        spare.remove()
    return figure, axes[:count]


def _finish(ax: Axes, title: str, unit: str) -> None:
    ax.set_title(title, loc="left")
    ax.set_xlabel("epoch")
    ax.set_ylabel(unit)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    ax.grid(axis="y", color=FAINT, alpha=0.3, linewidth=0.6)
    ax.set_xlim(left=0.5)
    low, high = ax.get_ylim()
    if high - low < 1e-3 * max(abs(low), abs(high)):
        # a constant, not noise blown up
        ax.set_ylim(low - 0.05 * abs(low) - 1e-3, high + 0.05 * abs(high) + 1e-3)


def _marks(count: int) -> dict:
    return {"linewidth": 1.5, "marker": "o", "markersize": 3 if count <= 40 else 0}
