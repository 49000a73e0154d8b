"""How every figure looks and is written: one style, whatever matplotlibrc says, and the same bytes
every time.
"""

import io
import math
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import matplotlib
import matplotlib.style
from matplotlib import font_manager
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from figures import PICTURE_FORMATS, fonts
from figures.common import DPI, NothingToDraw, Rendered, ordinal
from figures.palette import INK

SMALLEST, LARGEST = 4.5, 9.0  # font sizes in points
LONGEST_NAME = 44  # characters
SEQUENTIAL = "viridis"  # even in lightness, for every kind of colour vision

_STYLE = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "axes.edgecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "text.color": INK,
    "text.parse_math": False,
    "savefig.bbox": "tight",
    "savefig.pad_inches": 0.1,
    "pdf.fonttype": 42,  # TrueType: publishers refuse Type 3
}
_METADATA = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
}


class Drawing(NamedTuple):
    """A figure and what the reader has to know about it, in sentences."""

    figure: Figure
    caption: str


@contextmanager
def styled() -> Iterator[None]:
    """The project's style, and only that, for whatever is drawn inside."""
    style = ["default", {**_STYLE, "font.family": fonts.families()}]
    with matplotlib.style.context(style), warnings.catch_warnings():
        # a figure is drawn again with the font that a name needs, and what no font has is said once
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        yield


def render(
    draw: Callable[..., Drawing], *arguments: object, formats: Iterable[str] = PICTURE_FORMATS
) -> Rendered:
    """Draws and writes one figure in memory; always also as PNG. Equal input gives equal bytes."""
    while True:
        before = fonts.families()
        with styled():
            try:
                figure, caption = draw(*arguments)
            except NothingToDraw as reason:
                return Rendered(str(reason), {})
            if fonts.families() == before:
                return Rendered(caption, _written(figure, dict.fromkeys(["png", *formats])))
        # a name needed one more font, which is not in what was drawn before that name


def new_figure(width: float, height: float, *, layout: str | None = "constrained") -> Figure:
    """An empty figure that no pyplot knows of; sizes in inches."""
    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def inch_axes(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of one frameless axes whose data coordinates are inches from its upper left
    corner.
    """
    figure = new_figure(width, height, layout=None)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    return figure, axes


def text_width(figure: Figure, texts: Iterable[str], size: float) -> float:
    """Width in inches of the widest text at a font size in points; 0 without any."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    font = font_manager.FontProperties(size=size)
    widths = [renderer.get_text_width_height_descent(text, font, ismath=False)[0] for text in texts]
    return max(widths, default=0.0) / figure.dpi


def entry_width(handles: Sequence[Artist]) -> float:
    """Width in inches of one of several entries of a legend side by side, as wide as the widest."""
    size = _STYLE["legend.fontsize"]
    around = 4.8 * size / 72  # the line or mark, its distance from the name, and to the next entry
    return text_width(Figure(), [handle.get_label() for handle in handles], size) + around


def across(handles: Sequence[Artist], width: float) -> int:
    """How many entries of a legend there is room for side by side; width in inches."""
    return max(1, min(len(handles), int(width / entry_width(handles))))


def printable(text: str, length: int = LONGEST_NAME) -> str:
    """One line of a limited length that the fonts can show; what they cannot show becomes '□'."""
    marks = ("\n", "\r", "\t")
    blank = "".join(" " if c in marks else c for c in text)
    shown = "".join(c if fonts.can_show(c) else "□" for c in blank)
    if len(shown) <= length:
        return shown
    half = (length - 1) // 2
    return f"{shown[:half]}…{shown[-half:]}"


def distinct(names: Sequence[str], width: int = 34) -> list[str]:
    """Whole names of methods that the fonts can show, in lines of at most so many letters that end
    at a dash or a blank where they can; those that differ only in what the fonts lack get a number.
    """
    shown = [printable(name, len(name)) for name in names]
    if len(set(shown)) < len(set(names)):
        order = {name: number for number, name in enumerate(dict.fromkeys(names), 1)}
        shown = [f"{text} ({order[name]})" for text, name in zip(shown, names)]
    return ["\n".join(_lines(text, width)) for text in shown]


def _lines(text: str, width: int) -> list[str]:
    lines = [""]
    for part in re.split(r"(?<=[- ])(?=[^- ])", text):
        for start in range(0, len(part), width):
            piece = part[start : start + width]
            if lines[-1] and len(lines[-1] + piece.rstrip()) > width:
                lines.append("")
            lines[-1] += piece
    return [line.rstrip() for line in lines]


class Rows(NamedTuple):
    """How a list of names is spread along an axis.

    Attributes:
        pitch: Distance of two rows in inches.
        size: Font size in points.
        step: Every step-th name is written.
    """

    pitch: float
    size: float
    step: int

    def shown(self, count: int) -> list[int]:
        """Positions whose name is written."""
        return list(range(0, count, self.step))

    def note(self) -> str:
        """A sentence about names left out, or nothing."""
        if self.step == 1:
            return ""
        return f" Only every {ordinal(self.step)} of the classes is named."


def name_rows(count: int, longest: float, roomy: float = 0.19) -> Rows:
    """Rows for `count` names along at most `longest` inches: `roomy` for a few, closer the more
    there are.
    """
    least = SMALLEST * 1.2 / 72
    wanted = max(least, roomy * min(1.0, (40 / max(count, 1)) ** 0.5))
    pitch = min(wanted, longest / max(count, 1))
    step = max(1, math.ceil(least / pitch - 1e-9))
    return Rows(pitch, min(LARGEST, max(SMALLEST, pitch * 72 / 1.2)), step)


def _written(figure: Figure, names: Iterable[str]) -> dict[str, bytes]:
    """The figure in each format; laid out once, so that all are alike."""
    images = {}
    with warnings.catch_warnings():
        # matplotlib warns where a small axes gets no room; the tight bounding box gives it
        warnings.filterwarnings("ignore", "constrained_layout not applied", UserWarning)
        for name in names:
            buffer = io.BytesIO()
            figure.savefig(buffer, format=name, dpi=DPI, metadata=_METADATA[name])
            images[name] = buffer.getvalue()
            figure.set_layout_engine("none")
    return images
