"""The class tree beside the tree of the class vectors, with a line from each class to itself."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from figures.common import counted
from figures.crossings import Untangled
from figures.groups import MIXED, Groups
from figures.layout import DrawnTree, axis_start
from figures.palette import INK, OTHERS
from figures.style import Drawing, Rows, across, inch_axes, name_rows, printable, text_width
from figures.subject import Subject

TALLEST = 42.0  # inches of the longest list of classes
_TREE, _TOP, _BOTTOM, _PAD = 2.0, 0.32, 0.55, 0.07  # inches
_LEAST, _WIDEST = 0.35, 8.0  # inches of a level of the class tree, and of all of it, with names


class _Columns(NamedTuple):
    """Where the parts stand, in inches from the left: tree, labels, lines, labels, tree."""

    left: tuple[float, float]
    lines: tuple[float, float]
    right: tuple[float, float]
    top: float


def tanglegram(subject: Subject, title: str | None = None, *, fixed: bool = False) -> Drawing:
    """Class tree left with its inner nodes named, UPGMA tree of the class vectors right, inner
    nodes turned so that few lines cross; `fixed`: only those of the right tree, so that the
    figures of several methods have one order.
    """
    found, groups = subject.against_taxonomy if fixed else subject.untangled, subject.groups
    names = [subject.names[c] for c in subject.with_vector]
    rows = name_rows(len(names), TALLEST)
    colours = np.array(groups.class_colours())[subject.with_vector]
    depths = _depths(subject, found.left, rows)
    figure, axes, columns = _page(names, rows, groups, depths[-1] if len(depths) else _TREE)
    start = axis_start(found.right)
    for tree, span, cut in ((found.left, columns.left, 0.0), (found.right, columns.right, start)):
        x = span[0] + tree.shares(cut) * (span[1] - span[0])
        if tree is found.left and len(depths):
            x = np.where(tree.item >= 0, span[1], span[0] + depths[tree.reach.astype(int)])
        y = columns.top + (tree.rows() + 0.5) * rows.pitch
        draw_branches(
            axes, tree, x, y, tree.sole_group(groups.of_class[subject.with_vector]), groups
        )
        if tree is found.left and len(depths):
            _name_taxa(axes, tree, x, y, subject.reference.names, rows.size)
    _connect(axes, found.left.position(), found.right.position(), columns, rows, colours)
    for tree, edge, side in (
        (found.left, columns.lines[0], "right"),
        (found.right, columns.lines[1], "left"),
    ):
        order, away = tree.order(), -_PAD if side == "right" else _PAD
        for place in rows.shown(len(order)):
            y = columns.top + (place + 0.5) * rows.pitch
            axes.text(
                edge + away,
                y,
                names[order[place]],
                size=rows.size,
                ha=side,
                va="center_baseline",
                color=INK,
            )
    _head(axes, columns, title)
    _scale(figure, found.right, start, columns, subject.unit)
    return Drawing(figure, _caption(subject, found, rows, fixed))


def _depths(subject: Subject, tree: DrawnTree, rows: Rows) -> np.ndarray:
    """Inches from the root to each depth of the class tree, wide enough for the names of the inner
    nodes; one more for the classes. Empty where that would be too wide, or names are left out.
    """
    measure, _ = inch_axes(1, 1)
    depth = tree.reach.astype(int)
    inner = [v for v, item in enumerate(tree.item.tolist()) if item < 0 and v]
    columns = [0.0]
    for d in range(1, max((int(depth[v]) for v in inner), default=0) + 1):
        here = [printable(subject.reference.names[v]) for v in inner if depth[v] == d]
        columns.append(max(_LEAST, text_width(measure, here, rows.size) + 2 * _PAD))
    found = np.cumsum([*columns, _LEAST])
    return found if found[-1] <= _WIDEST and rows.step == 1 else np.empty(0)


def _name_taxa(
    axes: Axes,
    tree: DrawnTree,
    x: np.ndarray,
    y: np.ndarray,
    names: Sequence[str],
    size: float,
) -> None:
    """The names of the inner nodes above the branches that lead to them."""
    for v, above in enumerate(tree.parent.tolist()):
        if above >= 0 and tree.item[v] < 0:
            look = {"size": size, "style": "italic", "color": INK, "va": "bottom"}
            axes.text(x[above] + 0.4 * _PAD, y[v] - 0.01, printable(names[v]), **look)


def _page(
    names: list[str], rows: Rows, groups: Groups, tree: float
) -> tuple[Figure, Axes, _Columns]:
    """An empty page; `tree` is the width of the class tree in inches."""
    measure, _ = inch_axes(1, 1)
    label = text_width(measure, names, rows.size) + 2 * _PAD
    between = min(4.5, max(2.0, len(names) * rows.pitch / 8))  # long lines must not get too steep
    edges = np.cumsum([0.1, tree, label, between, label, _TREE])
    width = edges[-1] + 0.1
    handles = groups.handles(lines=True)
    columns = across(handles, width)
    legend = 0.22 * -(-len(handles) // columns) + 0.1
    top = legend + _TOP
    figure, axes = inch_axes(width, top + len(names) * rows.pitch + _BOTTOM)
    axes.legend(
        handles=handles,
        loc="upper center",
        ncols=columns,
        borderaxespad=0.2,
        labelspacing=0.35,
    )
    return (
        figure,
        axes,
        _Columns((edges[0], edges[1]), (edges[2], edges[3]), (edges[5], edges[4]), top),
    )


def draw_branches(
    axes: Axes, tree: DrawnTree, x: np.ndarray, y: np.ndarray, group: np.ndarray, groups: Groups
) -> None:
    """Right-angled branches between nodes at (x, y), (M,) each; group (M,) gives the colour, -1 is
    several groups.
    """
    colours = [groups.colours[g] if g >= 0 else MIXED for g in group.tolist()]
    segments, shades = [], []
    for v, below in enumerate(tree.children):
        if below:
            segments.append([(x[v], y[below[0]]), (x[v], y[below[-1]])])
            segments += [[(x[v], y[u]), (x[u], y[u])] for u in below]
            shades += [colours[v], *(colours[u] for u in below)]
    width = 0.7 if len(tree.item) > 200 else 1.2
    axes.add_collection(
        LineCollection(
            segments, colors=shades, linewidths=width, capstyle="projecting", clip_on=False
        )
    )


def _connect(
    axes: Axes,
    left: np.ndarray,
    right: np.ndarray,
    columns: _Columns,
    rows: Rows,
    colours: np.ndarray,
) -> None:
    """S-shaped lines from each class on the left to itself on the right, those of uncoloured groups
    below.
    """
    t = np.linspace(0, 1, 50)
    ease = t * t * (3 - 2 * t)
    x = columns.lines[0] + t * (columns.lines[1] - columns.lines[0])
    start, stop = (columns.top + (place + 0.5) * rows.pitch for place in (left, right))
    y = start[:, None] + ease * (stop - start)[:, None]
    first = np.argsort(colours != OTHERS, kind="stable")
    lines = [np.column_stack([x, y[i]]) for i in first]
    width = 0.6 if len(left) > 100 else 1.3
    axes.add_collection(
        LineCollection(lines, colors=colours[first].tolist(), linewidths=width, alpha=0.8)
    )


def _head(axes: Axes, columns: _Columns, title: str | None) -> None:
    y = columns.top - 0.12
    axes.text(columns.left[0], y, "class tree", weight="bold", ha="left", va="bottom")
    axes.text(
        columns.right[0],
        y,
        "UPGMA tree of the class vectors",
        weight="bold",
        ha="right",
        va="bottom",
    )
    if title is not None:
        axes.set_title(title, weight="bold", size=11, pad=8)


def _scale(figure: Figure, tree: DrawnTree, start: float, columns: _Columns, unit: str) -> None:
    """An axis below the learned tree: the distance at which branches join."""
    width, height = figure.get_size_inches()
    bottom = (_BOTTOM - 0.12) / height
    ruler = figure.add_axes(
        (columns.right[1] / width, bottom, (columns.right[0] - columns.right[1]) / width, 1e-6)
    )
    ruler.set_xlim(start, tree.joins().max() or 1.0)
    ruler.set_yticks([])
    ruler.spines["left"].set_visible(False)
    ruler.xaxis.set_major_locator(MaxNLocator(4))
    ruler.tick_params(labelsize=7, length=3)
    ruler.set_xlabel(unit, fontsize=7.5)


def _caption(subject: Subject, found: Untangled, rows: Rows, fixed: bool) -> str:
    count = len(subject.with_vector)
    pairs = count * (count - 1) // 2
    share = f", {found.crossings / pairs:.1%} of all pairs" if pairs else ""
    turned = (
        "the class tree keeps its order, and inner nodes of the other are turned towards it"
        if fixed
        else "inner nodes of both trees are turned for the fewest that a search from several starts"
        " finds"
    )
    notes = f"{subject.groups.note()}{rows.note()}{subject.missing_note()}"
    return (
        f"{counted(found.crossings, 'crossing')}{share}: {turned} ({found.before:,} as the trees"
        " come). Branches and lines have the colour of a group where all classes below are of"
        f" it.{cut_note(axis_start(found.right))}{notes}"
    )


def cut_note(start: float) -> str:
    """A sentence about the axis of a learned tree that does not start at 0, or nothing."""
    return f" The axis of distances starts at {start:g}: no branches join below." if start else ""
