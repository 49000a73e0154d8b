"""Where mistakes go: how high in the tree, and what the worst of them look like."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from figures.common import NothingToDraw, check_mistakes, counted
from figures.palette import FAINT, INK, TAKEN_COLOUR, TRUE_COLOUR
from figures.style import Drawing, new_figure, printable
from figures.subject import Subject
from metrics.outputs import Outputs
from metrics.per_image import heights_of_mistakes, worst_images
from metrics.posterior import lca_nodes

SHOWN = 8  # mistakes with images


class Mistake(NamedTuple):
    """A wrongly classified test image.

    Attributes:
        image: Index of the image.
        like: Index of the image of the predicted class that is recognised with the highest
            confidence; None if none is.
        height: Of the lowest common ancestor of the true and the predicted class, in edges.
        confidence: Probability of the predicted class, in [0, 1].
    """

    image: int
    like: int | None
    height: int
    confidence: float


def mistake_heights(subject: Subject) -> Drawing:
    """Share of the mistakes at each height of the lowest common ancestor, beside that of random
    wrong answers.
    """
    outputs = subject.outputs
    check_mistakes(outputs)
    wrong = outputs.predictions != outputs.labels
    top, table = outputs.hierarchy.max_depth, heights_of_mistakes(outputs)
    shares = {
        "mistakes of the model": table["share"].to_numpy(),
        "random wrong answers for the same images": table["random"].to_numpy(),
    }
    figure = new_figure(max(4.6, 0.95 * top + 1.4), 3.4)
    axes = figure.add_subplot()
    for side, (colour, (name, values)) in enumerate(zip((TRUE_COLOUR, FAINT), shares.items())):
        bars = axes.bar(
            np.arange(1, top + 1) + (side - 0.5) * 0.4, values, 0.38, color=colour, label=name
        )
        axes.bar_label(bars, [f"{value:.0%}" for value in values], size=7, padding=1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlim(0.4, top + 0.6)
    axes.set_xlabel("height of the lowest common ancestor (edges)")
    axes.set_ylabel("share of the mistakes")
    figure.legend(loc="outside upper left", ncols=2)
    return Drawing(figure, _heights_caption(outputs, wrong, table))


def worst_mistakes(outputs: Outputs, most: int = SHOWN) -> list[Mistake]:
    """The mistakes that go highest in the tree, the most confident of them first; at most one of a
    pair of classes.
    """
    labels, predictions = outputs.labels, outputs.predictions
    heights = outputs.lca_height[labels, predictions]
    found: dict[tuple[int, int], Mistake] = {}
    for image in worst_images(outputs).tolist():
        pair = int(labels[image]), int(predictions[image])
        if len(found) < most and pair not in found:
            right = np.flatnonzero((labels == pair[1]) & (predictions == pair[1]))
            like = int(right[outputs.confidence[right].argmax()]) if len(right) else None
            found[pair] = Mistake(
                image, like, int(heights[image]), float(outputs.confidence[image])
            )
    return list(found.values())


def mistake_images(subject: Subject) -> Drawing:
    """Images of the worst mistakes, each beside a typical image of the class that it was taken
    for.
    """
    check_mistakes(subject.outputs)
    mistakes = worst_mistakes(subject.outputs)
    pairs, failed = _read(subject, mistakes)
    rows, across = -(-len(pairs) // 2), min(2, len(pairs))
    figure = new_figure(5.2 * across, 2.2 * rows)
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.06)
    blocks = np.ravel(figure.subfigures(rows, across, squeeze=False)).tolist()
    for block, (mistake, images) in zip(blocks, pairs):
        axes = block.subplots(1, 2)
        block.suptitle(
            f"{printable(str(subject.files[mistake.image]))}\nconfidence {mistake.confidence:.0%},"
            f" common ancestor: {_common(subject, mistake.image)}",
            size=8,
        )
        _picture(
            axes[0],
            images[0],
            f"{subject.names[subject.outputs.labels[mistake.image]]}",
            "the image and its true class",
            TRUE_COLOUR,
        )
        name = subject.names[subject.outputs.predictions[mistake.image]]
        _picture(axes[1], images[1], name, "an image of what it was taken for", TAKEN_COLOUR)
    return Drawing(figure, _images_caption(len(pairs), failed))


def _common(subject: Subject, image: int) -> str:
    """Name of the lowest common ancestor of an image's true class and its answer."""
    outputs, tree = subject.outputs, subject.hierarchy
    node = lca_nodes(
        tree, tree.leaves[outputs.labels[image]], tree.leaves[outputs.predictions[image]]
    )
    return printable(tree.names[int(node)])


def _read(
    subject: Subject, mistakes: list[Mistake]
) -> tuple[list[tuple[Mistake, tuple]], list[str]]:
    """Each mistake with its image and a typical one of the predicted class, and reasons for those
    without.
    """
    if subject.files is None or subject.open_image is None:
        raise NothingToDraw(
            "The run does not record which images it was tested on, so none can be shown."
        )
    pairs, failed = [], []
    for mistake in mistakes:
        try:
            image = subject.open_image(str(subject.files[mistake.image]))
        except ValueError as error:
            failed.append(str(error))
            continue
        try:
            like = (
                None
                if mistake.like is None
                else subject.open_image(str(subject.files[mistake.like]))
            )
        except ValueError as error:
            failed.append(str(error))
            like = None
        pairs.append((mistake, (image, like)))
    if not pairs:
        raise NothingToDraw(f"The images of the worst mistakes cannot be read: {failed[0]}.")
    return pairs, failed


def _picture(ax: Axes, pixels: np.ndarray | None, name: str, role: str, colour: str) -> None:
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set(visible=True, color=colour, linewidth=1.8)
    ax.set_title(role, size=7, color=colour, pad=3)
    ax.set_xlabel(name, size=7.5)
    if pixels is None:
        ax.set_aspect("equal", adjustable="box")
        ax.text(
            0.5,
            0.5,
            "no image of it\nis recognised",
            transform=ax.transAxes,
            ha="center",
            va="center",
            size=7,
            color=INK,
        )
        return
    gray = {"cmap": "gray", "vmin": 0, "vmax": 255} if pixels.ndim == 2 else {}
    ax.imshow(pixels, **gray)


def _heights_caption(outputs: Outputs, wrong: np.ndarray, table: pd.DataFrame) -> str:
    path = outputs.path[outputs.labels[wrong], outputs.predictions[wrong]]
    siblings, mean = float(table["share"][0]), float((table["height"] * table["share"]).sum())
    top, mistakes = outputs.hierarchy.max_depth, counted(int(wrong.sum()), "mistake")
    return (
        f"{mistakes} in {counted(outputs.num_samples, 'test image')}. {siblings:.0%} of them are at"
        f" height 1, between siblings; at height {top}, only the root is common to the true and the"
        f" predicted class. Mean height {mean:.2f}, mean path length {path.mean():.2f} edges. Grey:"
        " what answers drawn at random from the other classes would do; a model that knows the"
        " tree is further to the left."
    )


def _images_caption(shown: int, failed: list[str]) -> str:
    note = f" {counted(len(failed), 'image')} cannot be read: {failed[0]}." if failed else ""
    return (
        f"{counted(shown, 'mistake that goes', 'mistakes that go')} highest in the tree, the most"
        " confident first, at most one of a pair of classes. Left the image, right the test image"
        f" of the predicted class that is recognised with the highest confidence.{note}"
    )
