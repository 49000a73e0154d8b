"""Test images and class vectors in the plane, by their distances on the sphere: MDS and t-SNE."""

from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox
from sklearn.manifold import TSNE, smacof
from threadpoolctl import threadpool_limits

from figures.common import NothingToDraw
from figures.palette import INK
from figures.style import Drawing, new_figure
from figures.subject import Subject
from metrics.vectors import pairwise_distances, present, unit

MDS_POINTS, TSNE_POINTS = (
    (1000, 300),
    (4000, 2000),
)  # classes and images at most; MDS takes quadratic memory and time
NAMED_CLASSES = 40
_SIDE = 7.0  # inches
_SEED = 0


class Sample(NamedTuple):
    """What is placed in the plane.

    Attributes:
        vectors: (n + m, D) unit directions, of classes first, then of images.
        classes: (n,) the classes with a vector.
        labels: (m,) true classes of the images.
        kind: What the class vectors are.
        classes_left_out, images_left_out: Numbers of class vectors and of test images not drawn.
    """

    vectors: np.ndarray
    classes: np.ndarray
    labels: np.ndarray
    kind: str
    classes_left_out: int
    images_left_out: int


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
        f" stress {stress:.3f}"
        f" (0 is a perfect map). {drawing.caption}"
    )


def tsne_map(subject: Subject) -> Drawing:
    """t-SNE map of class vectors and images: neighbours stay neighbours, distances between clusters
    mean little.
    """
    sample = draw_sample(subject, *TSNE_POINTS)
    if len(sample.vectors) < 6:
        raise NothingToDraw(
            "t-SNE needs six points or more; there are fewer images and class vectors."
        )
    perplexity = min(30.0, (len(sample.vectors) - 1) / 3)
    with threadpool_limits(1):  # sums of several threads depend on their number
        points = TSNE(perplexity=perplexity, init="random", random_state=_SEED).fit_transform(
            sample.vectors.astype(np.float32)
        )
    drawing = _map(subject, sample, points)
    return drawing._replace(
        caption=f"t-SNE of the directions of embeddings, perplexity {perplexity:.3g}: it keeps"
        " neighbours together, but"
        f" sizes of clusters and distances between them mean little. {drawing.caption}"
    )


def draw_sample(subject: Subject, most_classes: int, most_images: int) -> Sample:
    """Class vectors and test images, where there are too many evenly from the tree and from the
    images by class.

    Class vectors are prototypes where the head has no proxies: the rows of softmax's last layer are
    no points among the embeddings. Raises: NothingToDraw: If there are fewer than three points.
    """
    subject.check_vectors()
    outputs = subject.outputs
    vectors = outputs.class_vectors if subject.has_proxies else outputs.prototypes
    kind = (
        "class vectors"
        if subject.has_proxies
        else "prototypes (mean directions of the training images of a class)"
    )
    kept = np.flatnonzero(present(np.asarray(vectors, float)))
    in_order = subject.hierarchy.leaf_order
    classes = np.sort(_evenly(in_order[np.isin(in_order, kept)], most_classes))
    images = _evenly(np.argsort(outputs.labels, kind="stable"), most_images)
    images = images[present(np.asarray(outputs.embeddings[images], float))]
    points = np.concatenate([unit(vectors[classes]), unit(outputs.embeddings[images])])
    if len(points) < 3:
        raise NothingToDraw(
            "There are fewer than three class vectors and images, too few for a map."
        )
    left_out = len(kept) - len(classes), outputs.num_samples - len(images)
    return Sample(points, classes, outputs.labels[images], kind, *left_out)


def _evenly(items: np.ndarray, most: int) -> np.ndarray:
    """At most so many of the items, evenly spaced."""
    return (
        items[np.linspace(0, len(items) - 1, min(most, len(items))).round().astype(int)]
        if len(items)
        else items
    )


def place_by_stress(distances: np.ndarray) -> tuple[np.ndarray, float]:
    """Metric MDS of a symmetric table (n, n): points (n, 2) and Kruskal's normalised stress-1 >= 0.

    SMACOF from the classical solution; the same table gives the same points.
    """
    with threadpool_limits(1):
        start = _classical(distances)
        points, _ = smacof(
            distances,
            n_components=2,
            init=start,
            n_init=1,
            max_iter=300,
            eps=1e-6,
            normalized_stress=False,
        )
    planar = np.sqrt(((points[:, None] - points[None]) ** 2).sum(axis=2))
    total = (planar**2).sum()
    return points, float(np.sqrt(((planar - distances) ** 2).sum() / total)) if total else 0.0


def _classical(distances: np.ndarray) -> np.ndarray:
    """Torgerson's classical scaling into the plane, (n, 2), with fixed signs."""
    squared = distances**2
    centred = -0.5 * (
        squared - squared.mean(axis=0) - squared.mean(axis=1)[:, None] + squared.mean()
    )
    values, vectors = np.linalg.eigh(centred)
    axes = vectors[:, -2:][:, ::-1]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), [0, 1]])
    return axes * np.sqrt(np.maximum(values[-2:][::-1], 1e-12))


def _map(subject: Subject, sample: Sample, points: np.ndarray) -> Drawing:
    points = _turned(points)
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
    figure.legend(handles=handles, loc="outside upper left", ncols=min(4, len(handles)))
    named = (
        _name(axes, classes, [subject.names[c] for c in sample.classes])
        if len(classes) <= NAMED_CLASSES
        else 0
    )
    return Drawing(figure, _caption(subject, sample, named))


def _turned(points: np.ndarray) -> np.ndarray:
    """The points centred and turned so that they spread most from left to right."""
    centred = points - points.mean(axis=0)
    directions = np.linalg.svd(centred, full_matrices=False)[2]
    return (
        centred
        @ (directions * np.sign(directions[[0, 1], np.abs(directions).argmax(axis=1)])[:, None]).T
    )


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
