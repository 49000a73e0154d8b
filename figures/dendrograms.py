"""The tree of the class vectors alone: upright for a few dozen classes, around a circle for
more.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from figures.groups import MIXED
from figures.layout import DrawnTree, axis_start
from figures.palette import FAINT, INK
from figures.style import (
    SMALLEST,
    Drawing,
    Rows,
    across,
    entry_width,
    inch_axes,
    name_rows,
    new_figure,
    text_width,
)
from figures.subject import Subject
from figures.tanglegrams import cut_note, draw_branches

CIRCULAR_FROM = 61  # classes
_WIDEST = 15.0  # inches of the circle of names
_GAP = np.deg2rad(14)  # left open for the axis


def dendrogram(subject: Subject) -> Drawing:
    """UPGMA tree of the class vectors, coloured by top-level group."""
    return _upright(subject) if len(subject.with_vector) < CIRCULAR_FROM else _circular(subject)


def _upright(subject: Subject) -> Drawing:
    tree, groups = _turned(subject), subject.groups
    rows = name_rows(len(subject.with_vector), 20.0)
    start, order = axis_start(tree), tree.order()
    figure = new_figure(7.5, len(order) * rows.pitch + 1.1)
    axes = figure.add_subplot(
        ylim=(len(order) - 0.4, -0.6), xlim=((tree.joins().max() or 1.0), start)
    )
    x = np.where(tree.item >= 0, start, tree.joins())
    draw_branches(
        axes, tree, x, tree.rows(), tree.sole_group(groups.of_class[subject.with_vector]), groups
    )
    axes.yaxis.tick_right()
    axes.set_yticks(
        range(len(order)), [subject.names[subject.with_vector[i]] for i in order], size=rows.size
    )
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(subject.unit)
    handles = groups.handles(lines=True)
    columns = across(handles, figure.get_figwidth())
    figure.legend(handles=handles, loc="outside upper left", ncols=columns)
    return Drawing(figure, _caption(subject, rows, start))


def _circular(subject: Subject) -> Drawing:
    tree, groups = _turned(subject), subject.groups
    count = len(subject.with_vector)
    rows = name_rows(count, _WIDEST * np.pi * (1 - _GAP / 2 / np.pi))
    radius = max(3.0, count * rows.pitch / (2 * np.pi - _GAP))
    names = [subject.names[c] for c in subject.with_vector]
    handles = groups.handles(lines=True)
    figure, axes = _round_page(names, rows, radius, handles)
    start = axis_start(tree)
    angle = _GAP / 2 + (tree.rows() + 0.5) / count * (2 * np.pi - _GAP)
    distance = tree.shares(start) * radius
    _rings(axes, tree, start, radius, subject.unit)
    group = tree.sole_group(groups.of_class[subject.with_vector])
    colours = [groups.colours[g] if g >= 0 else MIXED for g in group.tolist()]
    _round_branches(axes, tree, angle, distance, colours)
    for place, item in enumerate(tree.order()):
        if place % rows.step == 0:
            at = _GAP / 2 + (place + 0.5) / count * (2 * np.pi - _GAP)
            _round_label(axes, names[item], at, radius + 0.06, rows.size)
    axes.legend(handles=handles, loc="upper left", borderaxespad=0.3)
    return Drawing(figure, _caption(subject, rows, start))


def _turned(subject: Subject) -> DrawnTree:
    return subject.untangled.right


def _round_page(
    names: list[str], rows: Rows, radius: float, handles: list[Line2D]
) -> tuple[Figure, Axes]:
    """An axes in inches around the centre of the circle, with room for the names and the legend in
    the corner.
    """
    measure, _ = inch_axes(1, 1)
    half = radius + text_width(measure, names, rows.size) + 0.15
    # what the legend takes of the corner that the circle leaves free
    wide = max(0.0, half - entry_width(handles))
    corner = max(0.0, 0.19 * len(handles) + 0.3 - (half - np.sqrt(half**2 - wide**2)))
    figure = new_figure(2 * half, 2 * half + corner, layout=None)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(-half, half), ylim=(-half, half + corner))
    axes.set_axis_off()
    return figure, axes


def _round_branches(
    axes: Axes, tree: DrawnTree, angle: np.ndarray, distance: np.ndarray, colours: list[str]
) -> None:
    lines, shades = [], []
    for v, below in enumerate(tree.children):
        if below:
            lines.append(_polar(np.linspace(angle[below[0]], angle[below[-1]], 60), distance[v]))
            lines += [_polar(angle[u], distance[[v, u]]) for u in below]
            shades += [colours[v], *(colours[u] for u in below)]
    axes.add_collection(LineCollection(lines, colors=shades, linewidths=0.9, capstyle="round"))


def _round_label(axes: Axes, name: str, angle: float, distance: float, size: float) -> None:
    x, y = _polar(angle, np.array([distance]))[0]
    turned, degrees = np.cos(angle) < 0, np.rad2deg(angle)
    axes.text(
        x,
        y,
        name,
        size=size,
        color=INK,
        ha="right" if turned else "left",
        va="center",
        rotation=degrees - 180 if turned else degrees,
        rotation_mode="anchor",
    )


def _rings(axes: Axes, tree: DrawnTree, start: float, radius: float, unit: str) -> None:
    """Thin circles at round distances, with their values in the gap on the right."""
    last = tree.joins().max() or 1.0
    ticks = [
        tick
        for tick in MaxNLocator(4).tick_values(start, last)
        if start + 0.06 * (last - start) < tick < 0.98 * last
    ]
    for tick in ticks:
        at = radius * (last - tick) / (last - start)
        axes.add_collection(
            LineCollection(
                [_polar(np.linspace(0, 2 * np.pi, 200), at)],
                colors=FAINT,
                linewidths=0.4,
                linestyles=":",
            )
        )
        axes.text(
            at,
            0,
            f"{tick:g}",
            size=6.5,
            ha="center",
            va="center",
            color=INK,
            backgroundcolor="white",
            zorder=3,
        ).set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.8})
    axes.text(radius + 0.1, 0, unit, size=max(6.0, SMALLEST), ha="left", va="center", color=INK)


def _polar(angle: np.ndarray | float, distance: np.ndarray | float) -> np.ndarray:
    """Points (n, 2), angles counted from the right, against the clock."""
    return np.column_stack(np.broadcast_arrays(distance * np.cos(angle), distance * np.sin(angle)))


def _caption(subject: Subject, rows: Rows, start: float) -> str:
    return (
        "Average linkage of the distances between class vectors alone. A branch has the colour of a"
        " group where all classes below are of"
        f" it.{subject.groups.note()}{cut_note(start)}{rows.note()}{subject.missing_note()}"
    )
