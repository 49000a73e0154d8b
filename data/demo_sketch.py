"""A sketch of outlines, threads and dots, and its rendering as a small grey picture like a
microscope's.
"""

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SUPERSAMPLING = 3  # drawn larger and averaged down, for smooth edges
BRIGHTEST = -0.2  # lowest tone: brighter than the background, as in a bubble


class Shape(NamedTuple):
    """Points (n, 2) drawn as one "area", one "thread" or n "dots"; `width` is the thread's, or the
    dots' diameter.
    """

    kind: str
    points: np.ndarray
    tone: float
    width: float = 0.0


class Sketch:
    """Shapes painted one over the other, the first at the bottom.

    Lengths are in units of the sketch, made pixels by `render`. A tone is the darkness over the
    background: 0 is the background, 1 black, and down to -0.2 brighter than the background.
    """

    def __init__(self):
        self.shapes: list[Shape] = []

    def area(
        self, outline: np.ndarray, tone: float, rim: float | None = None, rim_width: float = 0.0
    ) -> None:
        """Adds a filled outline (n, 2), with a rim of another tone unless that is None."""
        self.shapes.append(Shape("area", outline, tone))
        if rim is not None:
            self.thread(np.concatenate([outline, outline[:1]]), rim_width, rim)

    def thread(self, points: np.ndarray, width: float, tone: float) -> None:
        """Adds a line through the points (n, 2)."""
        self.shapes.append(Shape("thread", points, tone, width))

    def dots(self, centres: np.ndarray, diameter: float, tone: float) -> None:
        """Adds round dots of one size at the centres (n, 2)."""
        self.shapes.append(Shape("dots", centres, tone, diameter))

    def paste(self, other: "Sketch", shift: np.ndarray, angle: float = 0.0) -> None:
        """Adds another sketch, turned by the angle (radians) and then shifted by (2,)."""
        turn = rotation(angle)
        self.shapes += [
            shape._replace(points=shape.points @ turn + shift) for shape in other.shapes
        ]

    def render(self, rng: np.random.Generator, scale: float) -> Image.Image:
        """Turns the sketch at random and photographs it: a grey image cut to the drawing, `scale`
        pixels a unit.
        """
        turn = (
            rotation(rng.uniform(0, 2 * np.pi)) * scale * np.array([rng.choice([-1.0, 1.0]), 1.0])
        )
        shapes = [
            shape._replace(points=shape.points @ turn, width=shape.width * scale)
            for shape in self.shapes
        ]
        points = np.concatenate([shape.points for shape in shapes])
        before, after = rng.uniform(3, 9, 2), rng.uniform(3, 9, 2)  # margins, in pixels
        corner = points.min(0) - before
        width, height = np.ceil(points.max(0) + after - corner).astype(int).tolist()
        canvas = Image.new("L", (width * SUPERSAMPLING, height * SUPERSAMPLING), _level(0.0))
        pen = ImageDraw.Draw(canvas)
        for shape in _clutter(rng, width, height):
            _paint(pen, shape)
        for shape in shapes:
            _paint(pen, shape._replace(points=shape.points - corner))
        focus = ImageFilter.GaussianBlur(float(rng.uniform(0.4, 2.0)))
        return _photograph(rng, np.asarray(canvas.reduce(SUPERSAMPLING).filter(focus)))


def rotation(angle: float) -> np.ndarray:
    """(2, 2) matrix that turns row vectors by the angle, in radians: points @ rotation(angle)."""
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def ellipse(width: float, height: float, centre=(0.0, 0.0), count: int = 40) -> np.ndarray:
    """Outline (count, 2) of an ellipse of the given diameters."""
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([width / 2 * np.cos(angle), height / 2 * np.sin(angle)], 1) + np.asarray(centre)


def curve(start, angle: float, length: float, bend: float, count: int = 14) -> np.ndarray:
    """Points (count, 2) of an arc that leaves `start` at an angle and has turned by `bend` at its
    end (radians).
    """
    headings = angle + bend * np.linspace(0, 1, count - 1)
    steps = length / (count - 1) * np.stack([np.cos(headings), np.sin(headings)], 1)
    return np.asarray(start) + np.concatenate([np.zeros((1, 2)), np.cumsum(steps, 0)])


def ribbon(spine: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Outline (2n, 2) around a spine (n, 2) with the given widths (n,) across it."""
    along = np.gradient(spine, axis=0)
    across = (
        np.stack([-along[:, 1], along[:, 0]], 1)
        / np.maximum(np.linalg.norm(along, axis=1), 1e-9)[:, None]
    )
    half = across * np.asarray(widths)[:, None] / 2
    return np.concatenate([spine + half, (spine - half)[::-1]])


def vary(rng: np.random.Generator, value, spread: float = 0.1):
    """The value times a log-normal factor, cut at two standard deviations `spread`."""
    return value * float(np.exp(np.clip(rng.normal(0, spread), -2 * spread, 2 * spread)))


def _level(tone: float) -> int:
    return int(np.clip(np.rint(255 * (tone - BRIGHTEST) / (1 - BRIGHTEST)), 0, 255))


def _paint(pen: ImageDraw.ImageDraw, shape: Shape) -> None:
    points, level = shape.points * SUPERSAMPLING, _level(shape.tone)
    width = max(shape.width * SUPERSAMPLING, SUPERSAMPLING * 0.7)
    if shape.kind == "area":
        pen.polygon(points.ravel().tolist(), fill=level)
    elif shape.kind == "thread":
        pen.line(
            points.ravel().tolist(),
            fill=level,
            width=max(1, round(width)),
            joint="curve" if width > 6 else None,
        )
    else:
        for box in np.concatenate([points - width / 2, points + width / 2], 1).tolist():
            pen.ellipse(box, fill=level)


def _clutter(rng: np.random.Generator, width: int, height: int) -> list[Shape]:
    sketch, frame = Sketch(), np.array([width, height])
    for _ in range(rng.poisson(2.0 + width * height / 900)):
        place, tone = rng.uniform(-0.05, 1.05, 2) * frame, rng.uniform(0.1, 0.6)
        if rng.random() < 0.6:
            sketch.area(ellipse(*rng.lognormal(1, 0.5, 2), place, 12), tone)
        elif rng.random() < 0.7:
            hair = curve(place, rng.uniform(0, 2 * np.pi), rng.uniform(5, 16), rng.normal(0, 1.5))
            sketch.thread(hair, rng.uniform(0.7, 1.5), tone)
        else:
            sketch.area(ellipse(*[rng.uniform(4, 9)] * 2, place, 16), 0.05, tone, 1.0)
    return sketch.shapes


def _photograph(rng: np.random.Generator, levels: np.ndarray) -> Image.Image:
    """Grey image of a drawing's levels (H, W): uneven light, contrast and noise are the
    microscope's.
    """
    height, width = levels.shape
    tone = levels * np.float32((1 - BRIGHTEST) / 255) + np.float32(BRIGHTEST)
    slope_x, slope_y = rng.normal(0, 7, 2)
    light = rng.uniform(160, 215)
    light = (
        light
        + slope_x * np.linspace(-1, 1, width)[None, :]
        + slope_y * np.linspace(-1, 1, height)[:, None]
    )
    noise = rng.uniform(4, 14) * rng.standard_normal((height, width), dtype=np.float32)
    grey = light * (1 - rng.uniform(0.35, 0.95) * tone * _mottle(rng, width, height)) + noise
    return Image.fromarray(np.clip(np.rint(grey), 0, 255).astype(np.uint8))


def _mottle(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Smooth random factors (H, W) around 1, a few pixels wide: no body is evenly dark."""
    coarse = rng.normal(1, 0.12, (height // 7 + 2, width // 7 + 2)).astype(np.float32)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
