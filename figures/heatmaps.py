"""Tables of classes against classes, ordered by the class tree: distances and confusions."""

from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from figures.common import NothingToDraw, check_images, counted
from figures.palette import EMPTY, INK
from figures.style import SEQUENTIAL, Drawing, across, name_rows, new_figure
from figures.subject import Subject
from metrics import flat
from metrics.inference import classwise_correlation
from metrics.result import ratio
from metrics.vectors import pairwise_distances, present

NAMED_CLASSES = 120  # up to here every class is named
COUNTED_CLASSES = 40  # up to here cells hold their counts
_FINEST = 1200  # cells along a side; more classes are averaged
_RANKED = 4000  # classes; ranking the distances of more takes too much memory
_NARROWEST = 0.13  # inches of a group that is named
_STRIP = 0.024  # of the side, taken by a colour strip and its gap
_NAMED_GROUPS = 30  # in the table of groups


class _Frame(NamedTuple):
    """How tables of all classes are laid out.

    Attributes:
        order: (C,) classes in the order of the tree.
        side: Of a table in inches.
        classes: Whether classes are named, else their groups.
    """

    order: np.ndarray
    side: float
    classes: bool


def distance_maps(subject: Subject) -> Drawing:
    """Distances between class vectors beside those in the tree and between prototypes, classes
    ordered by the tree.
    """
    outputs, frame = subject.outputs, _frame(subject, 3.4, 6.5)
    if len(frame.order) < 2:
        raise NothingToDraw("There is one class only, so there are no distances.")
    subject.check_vectors()
    tables = {
        "class vectors (W)": (_distances(outputs.class_vectors, outputs.distance), subject.unit),
        "class tree": (outputs.path.astype(float), "path length (edges)"),
        "prototypes (P)": (_distances(outputs.prototypes, outputs.distance), subject.unit),
    }
    figure, panels = _page(frame, len(tables))
    for ax, (title, (table, unit)) in zip(panels, tables.items()):
        apart = table[~np.eye(len(table), dtype=bool) & np.isfinite(table)]
        image = _show(
            ax,
            _reduced(table[np.ix_(frame.order, frame.order)]),
            vmin=apart.min() if len(apart) else 0,
        )
        _decorate(ax, subject, frame, "white", names=ax is panels[0])
        ax.set_title(title, loc="left")
        bar = figure.colorbar(
            image, ax=ax, orientation="horizontal", shrink=0.8, pad=0.02, label=unit
        )
        bar.locator = MaxNLocator(6, integer="edges" in unit)
        bar.update_ticks()
    _legend(figure, subject)
    return Drawing(figure, _distance_caption(subject, frame, tables))


def confusions(subject: Subject) -> Drawing:
    """Share of each class's images (row) that is taken for each class (column), ordered by the
    tree.
    """
    frame = _frame(subject, 4.0, 12.0)
    check_images(subject.outputs)
    counts = flat.confusion(subject.outputs)[1][np.ix_(frame.order, frame.order)]
    totals = counts.sum(axis=1, keepdims=True)
    figure, panels = _page(frame, 1 if frame.classes else 2)
    image = _show(
        panels[0], _reduced(ratio(counts, totals)), norm=PowerNorm(0.5, 0, 1), cmap="Blues"
    )
    _decorate(panels[0], subject, frame, INK, names=True)
    if len(counts) <= COUNTED_CLASSES:
        _write_counts(
            panels[0],
            counts,
            ratio(counts, totals),
            min(9.0, max(5.0, frame.side / len(counts) * 25)),
        )
    if not frame.classes:
        panels[0].set_title("classes", loc="left", pad=22)
        _between_groups(panels[1], subject, frame, counts)
    for ax in panels:
        ax.set_xlabel("taken for")
        ax.xaxis.set_label_position("top")
    panels[0].set_ylabel("true class" if frame.classes else "true class, by group")
    ticks = [0, 0.05, 0.2, 0.5, 1]
    figure.colorbar(
        image,
        ax=panels,
        shrink=0.6,
        aspect=30,
        ticks=ticks,
        label="share of the images of the true class",
    )
    _legend(figure, subject)
    return Drawing(figure, _confusion_caption(subject, frame, counts))


def _between_groups(ax: Axes, subject: Subject, frame: _Frame, counts: np.ndarray) -> None:
    """Confusions of the groups that are named, all others together."""
    groups = subject.groups
    size = np.bincount(groups.of_class, minlength=len(groups.names))
    kept = np.sort(np.argsort(-size, kind="stable")[:_NAMED_GROUPS])
    rest = len(groups.names) - len(kept)
    place = np.full(len(groups.names), len(kept))
    place[kept] = np.arange(len(kept))
    of_class = place[groups.of_class[frame.order]]
    member = (of_class[:, None] == np.arange(len(kept) + (rest > 0))).astype(np.int64)
    table = member.T @ counts @ member
    shares = ratio(table, table.sum(axis=1, keepdims=True))
    _show(ax, shares, norm=PowerNorm(0.5, 0, 1), cmap="Blues")
    _write_counts(ax, table, shares, max(4.5, min(7.0, frame.side * 72 / len(table) / 3.5)))
    names = [groups.printable[g] for g in kept] + ([counted(rest, "smaller group")] if rest else [])
    ax.set_yticks(range(len(names)), names, size=7.5)
    ax.set_xticks(range(len(names)), names, size=7.5, rotation=90)
    ax.tick_params(length=0)
    ax.set_title("top-level groups", loc="left", pad=22)


def _frame(subject: Subject, smallest: float, largest: float) -> _Frame:
    order = np.asarray(subject.hierarchy.leaf_order)
    rows = name_rows(len(order), largest, roomy=0.17)
    named = len(order) <= NAMED_CLASSES
    side = max(smallest, len(order) * rows.pitch) if named else 6.0
    return _Frame(order, side, named)


def _page(frame: _Frame, count: int) -> tuple[Figure, list[Axes]]:
    figure = new_figure(count * (frame.side + 0.3) + 2.4, frame.side + 2.6, layout="compressed")
    return figure, figure.subplots(1, count, squeeze=False)[0].tolist()


def _show(ax: Axes, table: np.ndarray, **scale: object) -> AxesImage:
    ax.set_facecolor(EMPTY)
    scale = {"cmap": SEQUENTIAL, **scale}
    return ax.imshow(np.ma.masked_invalid(table), **scale)


def _decorate(ax: Axes, subject: Subject, frame: _Frame, line: str, *, names: bool) -> None:
    """Names and colour strips along the sides, lines between groups."""
    count = len(frame.order)
    cells = min(count, _cells(count))
    group = subject.groups.of_class[frame.order]
    ends = np.flatnonzero(np.diff(group)) + 1 if subject.groups.own else np.empty(0, np.int64)
    for end in ends / count * cells - 0.5:
        ax.axhline(end, color=line, linewidth=1.0 if count <= 60 else 0.4)
        ax.axvline(end, color=line, linewidth=1.0 if count <= 60 else 0.4)
    _strips(ax, np.array(subject.groups.colours)[group])
    ax.set_xticks([])
    ax.set_yticks([])
    ax.tick_params(length=0, pad=2 + _STRIP * frame.side * 72)
    if names and frame.classes:
        _name_classes(ax, [subject.names[c] for c in frame.order], frame)
    elif names and subject.groups.own:
        starts, stops = np.concatenate([[0], ends]), np.concatenate([ends, [count]])
        wide = (stops - starts) / count * frame.side >= _NARROWEST
        middles = ((starts + stops) / 2 / count * cells - 0.5)[wide]
        ax.set_yticks(middles, [subject.groups.printable[group[i]] for i in starts[wide]], size=8)


def _name_classes(ax: Axes, names: list[str], frame: _Frame) -> None:
    rows = name_rows(len(names), frame.side)
    places = rows.shown(len(names))
    shown, size = [names[i] for i in places], min(8.5, rows.size)
    ax.set_yticks(places, shown, size=size)
    ax.set_xticks(places, shown, size=size, rotation=90)


def _strips(ax: Axes, colours: np.ndarray) -> None:
    """Bands with the group's colour of each class, left of and below a table."""
    steps = np.arange(len(colours))[:, None]
    for bounds, table in (
        ((-_STRIP, 0, 0.7 * _STRIP, 1), steps),
        ((0, -_STRIP, 1, 0.7 * _STRIP), steps.T),
    ):
        strip = ax.inset_axes(bounds)
        strip.imshow(
            table,
            cmap=ListedColormap(colours.tolist()),
            aspect="auto",
            interpolation="nearest",
            vmin=-0.5,
            vmax=len(colours) - 0.5,
        )
        strip.set_axis_off()


def _legend(figure: Figure, subject: Subject) -> None:
    handles = subject.groups.handles(lines=True)
    columns = across(handles, figure.get_figwidth())
    figure.legend(handles=handles, loc="outside upper left", ncols=columns)


def _cells(count: int) -> int:
    """Number of cells along a side for a number of classes."""
    return -(-count // -(-count // _FINEST))


def _reduced(table: np.ndarray) -> np.ndarray:
    """The table with blocks of neighbouring classes averaged, so that it has at most _FINEST
    rows.
    """
    step = -(-len(table) // _FINEST)
    if step == 1:
        return table
    starts = np.arange(0, len(table), step)
    known = np.isfinite(table).astype(float)
    sums, sizes = (
        np.add.reduceat(np.add.reduceat(t, starts, 0), starts, 1)
        for t in (np.where(known, table, 0.0), known)
    )
    return ratio(sums, sizes)


def _distances(vectors: np.ndarray, distance: str) -> np.ndarray:
    """(C, C) distances, NaN in rows and columns of classes without a vector."""
    kept = present(np.asarray(vectors, float))
    table = np.full((len(vectors), len(vectors)), np.nan)
    table[np.ix_(kept, kept)] = pairwise_distances(vectors[kept], distance)
    return table


def _write_counts(ax: Axes, counts: np.ndarray, shares: np.ndarray, size: float) -> None:
    for row, column in np.argwhere(counts > 0):
        dark = shares[row, column] > 0.25
        ax.text(
            column,
            row,
            counts[row, column],
            size=size,
            ha="center",
            va="center",
            color="white" if dark else INK,
        )


def _distance_caption(subject: Subject, frame: _Frame, tables: dict) -> str:
    tree = subject.outputs.path
    parts = []
    for title in ("class vectors (W)", "prototypes (P)"):
        kept = np.flatnonzero(~np.isnan(np.diagonal(tables[title][0])))
        if len(kept) > _RANKED:
            parts.append(f"{title} see the measure W/corr or P/corr")
            continue
        rho = classwise_correlation(
            tables[title][0][np.ix_(kept, kept)], tree[np.ix_(kept, kept)]
        ).value
        parts.append(f"{title} {rho:.3f}" if np.isfinite(rho) else f"{title} undefined")
    grey = (
        " Grey rows and columns: classes without training images have no prototype."
        if np.isnan(tables["prototypes (P)"][0]).any()
        else ""
    )
    return (
        "Classes in the order of the tree, lines between top-level groups. Colours run from the"
        " smallest distance of two different classes to the largest. Class-wise rank correlation"
        " with the path lengths of the tree:"
        f" {', '.join(parts)}.{grey}{_frame_note(subject, frame)}"
    )


def _confusion_caption(subject: Subject, frame: _Frame, counts: np.ndarray) -> str:
    group = subject.groups.of_class[frame.order]
    total, right = int(counts.sum()), int(np.trace(counts))
    inside = int(counts[group[:, None] == group].sum()) - right
    empty = int((counts.sum(axis=1) == 0).sum())
    absent = (
        f" {counted(empty, 'class has', 'classes have')} no test image (grey rows)."
        if empty
        else ""
    )
    cells = " Cells hold numbers of images." if len(counts) <= COUNTED_CLASSES else ""
    return (
        f"{right:,} of {total:,} test images are on the diagonal; {inside:,} of the"
        f" {total - right:,} mistakes stay within their top-level group (boxes along the"
        f" diagonal).{cells} The colour scale is a square root, so that rare confusions"
        f" show.{absent}{_frame_note(subject, frame)}"
    )


def _frame_note(subject: Subject, frame: _Frame) -> str:
    note, count = subject.groups.note(), len(frame.order)
    if frame.classes:
        note += name_rows(count, frame.side).note()
    else:
        note += (
            f" With {count} classes, only groups are named, and of these only those wide enough."
        )
    if count > _FINEST:
        note += (
            f" A cell is the mean over {-(-count // _FINEST)} x {-(-count // _FINEST)} neighbouring"
            " classes."
        )
    return note
