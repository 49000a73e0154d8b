"""Class vectors and test images placed in the plane, by their distances on the sphere. Nothing here
needs matplotlib.
"""

from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from figures.common import NothingToDraw
from figures.subject import Subject
from metrics.result import ratio
from metrics.vectors import present, unit

_SEED = 0
_ANGLE = 0.7  # of Barnes-Hut: a quarter faster than the usual 0.5, with the same neighbours
_COMPONENTS = 30  # principal ones that t-SNE starts from, as its authors do


class Sample(NamedTuple):
    """What is placed in the plane.

    Attributes:
        vectors: (n + m, D) unit directions, of classes first, then of images.
        classes: (n,) the classes with a vector.
        images: (m,) rows of the images among the test images.
        labels: (m,) true classes of the images.
        kind: What the class vectors are.
        classes_left_out, images_left_out: Numbers of class vectors and of test images not drawn.
    """

    vectors: np.ndarray
    classes: np.ndarray
    images: np.ndarray
    labels: np.ndarray
    kind: str
    classes_left_out: int
    images_left_out: int


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
    return Sample(points, classes, images, outputs.labels[images], kind, *left_out)


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
    from sklearn.manifold import smacof

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


def place_by_neighbours(vectors: np.ndarray, iterations: int = 1000) -> tuple[np.ndarray, float]:
    """t-SNE of vectors (n, D): points (n, 2), and the perplexity, 30 or less of few points.

    From the first 30 principal components, and the first two of them to start with; the same
    vectors give the same points.

    Raises: NothingToDraw: If there are fewer than six points.
    """
    if len(vectors) < 6:
        raise NothingToDraw(
            "t-SNE needs six points or more; there are fewer images and class vectors."
        )
    from sklearn.manifold import TSNE  # which takes a while to import

    perplexity = min(30.0, (len(vectors) - 1) / 3)
    reduced = principal_components(vectors, _COMPONENTS)[0].astype(np.float32)
    with threadpool_limits(1):  # sums of several threads depend on their number
        start = reduced[:, :2] / max(float(reduced[:, 0].std()), 1e-12) * 1e-4
        if start.shape[1] < 2:
            start = np.pad(start, ((0, 0), (0, 1)))
        points = TSNE(
            perplexity=perplexity,
            init=start,
            max_iter=iterations,
            angle=_ANGLE,
            random_state=_SEED,
        ).fit_transform(reduced)
    return points, perplexity


def principal_components(vectors: np.ndarray, count: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """The vectors (n, D) along their first directions of most variance, (n, min(count, n, D)), and
    the share of the variance that each direction has, (min(n, D),), NaN without any. Signs are
    fixed.

    Of unit vectors this is the classical scaling of their Euclidean distances (Torgerson).
    """
    centred = vectors - vectors.mean(axis=0)
    with threadpool_limits(1):  # of so few rows; where other programs run, threads wait for cores
        left, size, directions = np.linalg.svd(centred, full_matrices=False)
    rows = np.arange(len(directions))
    signs = np.sign(directions[rows, np.abs(directions).argmax(axis=1)])
    return (left * size * signs)[:, :count], ratio(size**2, (size**2).sum())


def turned(points: np.ndarray) -> np.ndarray:
    """The points centred and turned so that they spread most from left to right."""
    centred = points - points.mean(axis=0)
    directions = np.linalg.svd(centred, full_matrices=False)[2]
    return (
        centred
        @ (directions * np.sign(directions[[0, 1], np.abs(directions).argmax(axis=1)])[:, None]).T
    )
