"""Test images and class vectors in the plane, by their distances on the sphere: MDS and t-SNE."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox

from figures.palette import INK
from figures.planes import (
    Sample,
    draw_sample,
    place_by_neighbours,
    place_by_stress,
    turned,
)
from figures.style import Drawing, across, new_figure
from figures.subject import Subject
from metrics.vectors import pairwise_distances

# classes and images at most; MDS takes quadratic memory and time
MDS_POINTS, TSNE_POINTS = (1000, 300), (4000, 2000)
NAMED_CLASSES = 40
_SIDE = 7.0  # inches


def mds_map(subject: Subject) -> Drawing:
    """Stress-minimising map of class vectors and images: distances in the plane resemble those on
    the sphere.
    """
    sample = draw_sample(subject, *MDS_POINTS)
    distances = pairwise_distances(sample.vectors, subject.outputs.distance)
    points, stress = place_by_stress(distances)
    drawing = _map(subject, sample, points)
    return drawing._replace(
        caption=f"Metric MDS of the {subject.unit.replace('(radians)', 'in radians')}; normalised"
        f" stress {stress:.3f} (0 is a perfect map). {drawing.caption}"
    )


def tsne_map(subject: Subject) -> Drawing:
    """t-SNE map of class vectors and images: neighbours stay neighbours, distances between clusters
    mean little.
    """
    sample = draw_sample(subject, *TSNE_POINTS)
    points, perplexity = place_by_neighbours(sample.vectors)
    drawing = _map(subject, sample, points)
    return drawing._replace(
        caption=f"t-SNE of the directions of embeddings, perplexity {perplexity:.3g}: it keeps"
        " neighbours together, but"
        f" sizes of clusters and distances between them mean little. {drawing.caption}"
    )


def _map(subject: Subject, sample: Sample, points: np.ndarray) -> Drawing:
    points = turned(points)
    width, height = np.ptp(points, axis=0)
    figure = new_figure(
        _SIDE + 0.2, _SIDE * np.clip((height + 0.1 * width) / (1.1 * width or 1.0), 0.4, 1.1) + 0.6
    )
    axes = figure.add_subplot()
    classes, images = points[: len(sample.classes)], points[len(sample.classes) :]
    groups = subject.groups
    for g, (colour, marker) in enumerate(zip(groups.colours, groups.markers)):
        mine = groups.of_class[sample.labels] == g
        axes.scatter(
            *images[mine].T, s=_area(len(images)), c=colour, marker=marker, alpha=0.55, linewidths=0
        )
        mine = groups.of_class[sample.classes] == g
        axes.scatter(
            *classes[mine].T,
            s=46 if len(classes) <= 100 else 22,
            c=colour,
            marker=_visible(marker),
            edgecolors=INK,
            linewidths=0.9,
            zorder=3,
        )
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    handles = groups.handles()
    columns = across(handles, figure.get_figwidth())
    figure.legend(handles=handles, loc="outside upper left", ncols=columns)
    named = (
        _name(axes, classes, [subject.names[c] for c in sample.classes])
        if len(classes) <= NAMED_CLASSES
        else 0
    )
    return Drawing(figure, _caption(subject, sample, named))


def _visible(marker: str) -> str:
    return "o" if marker == "." else marker


def _area(count: int) -> float:
    return float(np.clip(6000 / max(count, 1), 5, 22))


def _name(axes: Axes, points: np.ndarray, names: list[str]) -> int:
    """Writes names beside points where there is room that no other name or class takes; returns how
    many.
    """
    figure = axes.figure
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # fixes the transformation before places are compared
    renderer = canvas.get_renderer()
    pixels = axes.transData.transform(points)
    taken = [Bbox.from_bounds(x - 5, y - 5, 10, 10) for x, y in pixels]
    inside, named = axes.get_window_extent(renderer), 0
    for (x, y), name in zip(points, names):
        for dx, dy, ha, va in _PLACES:
            text = axes.annotate(
                name, (x, y), (dx, dy), textcoords="offset points", size=7, ha=ha, va=va, zorder=4
            )
            text.set_path_effects([withStroke(linewidth=2, foreground="white", alpha=0.8)])
            box = text.get_window_extent(renderer)
            fits = (
                inside.x0 <= box.x0
                and box.x1 <= inside.x1
                and inside.y0 <= box.y0
                and box.y1 <= inside.y1
            )
            if fits and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                named += 1
                break
            text.remove()
    return named


# offsets in points around a marker, right first
_PLACES = (
    (6, 0, "left", "center"),
    (-6, 0, "right", "center"),
    (0, 6, "center", "bottom"),
    (0, -6, "center", "top"),
    (5, 5, "left", "bottom"),
    (5, -5, "left", "top"),
    (-5, 5, "right", "bottom"),
    (-5, -5, "right", "top"),
)


def _caption(subject: Subject, sample: Sample, named: int) -> str:
    count = len(sample.classes)
    images = _number(len(sample.labels), sample.images_left_out) + " test images (small)"
    classes = _number(count, sample.classes_left_out) + f" {sample.kind} (outlined)"
    note = ""
    if count > NAMED_CLASSES:
        note = f" {count:,} classes are too many to name."
    elif named < count:
        note = f" {named} of {count} classes are named; there is no room for the others."
    return (
        f"{images} and {classes}. Colour and shape are the group of the true"
        f" class.{subject.groups.note()}{note}"
    )


def _number(shown: int, left_out: int) -> str:
    return f"{shown:,} of {shown + left_out:,}" if left_out else f"{shown:,}"
