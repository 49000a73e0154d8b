"""Body plans of the demo's classes: the group chooses the plan, the order its main structure, the
species the details.

Each plan takes the image's own random generator and the species' details and returns a sketch. The
unit of length is the class's typical size; the body's axis is x, its front at positive x.
"""

import numpy as np

from data.demo_sketch import Sketch, curve, ellipse, ribbon, vary

GLASS, DARK, CHITIN = 0.2, 0.8, 0.5  # tones of diatoms and loricae, of dinoflagellates, of copepods


def disc(
    rng: np.random.Generator,
    *,
    rings: int = 0,
    pore: float = 0.04,
    sectors: int = 0,
    tilt: float = 0.97,
) -> Sketch:
    """Centric diatom seen from above: pores in rings, or sectors that are dark in turn; `tilt` is
    the shorter axis.
    """
    sketch, squash = Sketch(), np.array([1.0, min(1.0, vary(rng, tilt, 0.06))])
    sketch.area(ellipse(1, 1) * squash, vary(rng, GLASS, 0.3), 0.75, 0.05)
    phase = rng.uniform(0, 2 * np.pi)
    for sector in range(0, sectors, 2):
        angle = phase + 2 * np.pi / sectors * (sector + np.linspace(0, 1, 8))
        edge = 0.45 * np.stack([np.cos(angle), np.sin(angle)], 1)
        sketch.area(np.concatenate([edge, 0.25 * edge[::-1]]) * squash, vary(rng, 0.5, 0.15))
    for ring in range(1, rings + 1):
        angle = phase * ring + np.linspace(0, 2 * np.pi, 6 * ring, endpoint=False)
        centres = 0.44 * ring / rings * np.stack([np.cos(angle), np.sin(angle)], 1) * squash
        sketch.dots(centres, pore, vary(rng, 0.6, 0.1))
    if not sectors and rng.random() < 0.5:
        _add_plastids(rng, sketch, 0.3 * squash, 0.1)
    return sketch


def chain(
    rng: np.random.Generator, *, cells: float, width: float, gap: float, setae: float, bend: float
) -> Sketch:
    """Chain of diatom cells: `width` across and `gap` between cells, in cell lengths; length of the
    setae likewise.
    """
    count = max(3, round(vary(rng, cells, 0.25)))
    length, width = 1 / cells, vary(rng, width, 0.1) / cells
    sketch = Sketch()
    spine = curve((0, 0), 0, count * length, vary(rng, bend, 0.3), 2 * count + 1)
    along = np.gradient(spine, axis=0)
    for place, heading in zip(spine[1::2], np.arctan2(along[1::2, 1], along[1::2, 0])):
        cell = Sketch()
        for side in (-1, 1):
            for end in (-1, 1):
                base = np.array([end * length * 0.45, side * width / 2])
                angle = side * np.pi / 2 - end * side * rng.uniform(0.1, 0.6)
                seta = curve(
                    base, angle, vary(rng, setae * length, 0.2), end * side * rng.uniform(0, 0.5), 8
                )
                cell.thread(seta, 0.012, vary(rng, 0.5, 0.2))
        outline = _rounded(length * (1 - gap), width)
        cell.area(outline, vary(rng, GLASS, 0.3), 0.7, 0.02)
        cell.area(
            ellipse(length * 0.4, width * 0.5, rng.normal(0, 0.1 * length, 2), 16),
            vary(rng, 0.5, 0.15),
        )
        if gap > 0.2:
            cell.thread(np.array([[-length / 2, 0], [length / 2, 0]]), 0.015, 0.5)
        sketch.paste(cell, place, heading)
    return sketch


def valve(
    rng: np.random.Generator, *, width: float, sigmoid: float = 0.0, striae: int = 0
) -> Sketch:
    """Pennate diatom: a boat-shaped valve with a raphe along it; `sigmoid` bends its two ends to
    opposite sides.
    """
    sketch, position = Sketch(), np.linspace(-0.5, 0.5, 25)
    spine = np.stack([position, vary(rng, sigmoid, 0.3) * np.sin(2 * np.pi * position) * 0.5], 1)
    widths = vary(rng, width, 0.15) * np.cos(np.pi * position * 0.97) ** 0.8
    sketch.area(ribbon(spine, widths), vary(rng, GLASS, 0.3), 0.75, 0.03)
    for k in np.linspace(3, 21, striae).round().astype(int):
        across = np.array([[0, -0.4], [0, 0.4]]) * widths[k]
        sketch.thread(spine[k] + across, 0.012, 0.5)
    sketch.thread(spine[2:-2], 0.02, 0.65)
    for end in (-1, 1) if rng.random() < 0.7 else ():
        middle = spine[12 + 5 * end]
        sketch.area(ellipse(0.22, width * 0.45, middle, 16), vary(rng, 0.5, 0.2))
    return sketch


def horned(
    rng: np.random.Generator,
    *,
    body: float,
    apical: float,
    antapical: tuple[float, float],
    spread: float,
    curl: float = 0.0,
) -> Sketch:
    """Dinoflagellate: dark, one horn ahead and two behind, `spread` apart and curled forward
    (radians).
    """
    sketch, width = Sketch(), vary(rng, body, 0.1)
    tone = vary(rng, DARK, 0.12)
    front = curve((0.2 * body, 0), rng.normal(0, 0.05), vary(rng, apical, 0.15), rng.normal(0, 0.2))
    sketch.area(ribbon(front, np.linspace(0.45 * width, 0.04, len(front))), tone)
    for side, length in zip((1, -1), antapical):
        start, angle = (-0.1 * body, side * 0.25 * width), np.pi - side * vary(rng, spread, 0.2)
        horn = curve(start, angle, vary(rng, length, 0.15), -side * vary(rng, curl, 0.15))
        sketch.area(ribbon(horn, np.linspace(0.4 * width, 0.03, len(horn))), tone)
    right = np.array([[0.55, 0.1], [0.1, 0.5], [-0.15, 0.5], [-0.5, 0.25]])
    corners = np.concatenate([right, right[::-1] * [1, -1]]) * rng.normal(1, 0.05, (8, 2))
    sketch.area(corners * [body, width], tone)
    sketch.thread(np.array([[0, -0.5], [0.03 * body, 0], [0, 0.5]]) * [1, width], 0.035, tone - 0.4)
    return sketch


def couple(rng: np.random.Generator, **details) -> Sketch:
    """Two horned cells attached one behind the other, as after a division."""
    sketch, behind = horned(rng, **details), horned(rng, **details)
    sketch.paste(
        behind, np.array([-vary(rng, 0.75, 0.08), rng.normal(0, 0.06)]), rng.normal(0, 0.15)
    )
    return sketch


def lorica(
    rng: np.random.Generator,
    *,
    width: float,
    taper: float,
    tail: float = 0.0,
    collar: int = 0,
    grains: int = 0,
) -> Sketch:
    """Tintinnid: a translucent vase with a dark ciliate inside; tail spike, rings at the mouth,
    grains on the wall.
    """
    sketch, position = Sketch(), np.linspace(0, 1, 20)
    width = vary(rng, width, 0.1)
    spine = np.stack([position - 0.5, np.zeros(20)], 1)
    _add_cilia(rng, sketch, np.array([0.48, 0]), width * 0.8, 0.2)
    widths = width * np.minimum(1, (position + 0.02) ** vary(rng, taper, 0.15) * 1.15)
    if tail:
        sketch.thread(
            np.array([[-0.5 - vary(rng, tail, 0.2), rng.normal(0, 0.03)], [-0.45, 0]]), 0.04, 0.6
        )
    sketch.area(ribbon(spine, widths), vary(rng, 0.3, 0.2), 0.6, 0.035)
    length = vary(rng, 0.4, 0.2)
    sketch.area(
        ellipse(length, width * 0.6, (rng.uniform(-0.15, 0.2), 0), 20), vary(rng, 0.65, 0.1)
    )
    for ring in range(collar):
        sketch.thread(
            np.array([[0.46 - 0.09 * ring, -width / 2], [0.46 - 0.09 * ring, width / 2]]),
            0.025,
            0.6,
        )
    if grains:
        k = rng.integers(0, 20, grains)
        sketch.dots(
            spine[k] + np.stack([np.zeros(grains), widths[k] * rng.uniform(-0.5, 0.5, grains)], 1),
            0.07,
            0.7,
        )
    return sketch


def naked(rng: np.random.Generator, *, width: float, cilia: float) -> Sketch:
    """Ciliate without a lorica: a dark cone with a crown of cilia."""
    sketch, width = Sketch(), vary(rng, width, 0.12)
    _add_cilia(rng, sketch, np.array([0.4, 0]), width * 0.9, cilia)
    spine = np.stack([np.linspace(-0.5, 0.5, 20), np.zeros(20)], 1)
    widths = width * np.sqrt(np.linspace(0.01, 1, 20)) * np.where(np.arange(20) > 16, 0.9, 1)
    sketch.area(ribbon(spine, widths), vary(rng, 0.5, 0.15), 0.65, 0.04)
    _add_plastids(rng, sketch, np.array([0.25, width * 0.25]), 0.09)
    return sketch


def copepod(
    rng: np.random.Generator,
    *,
    width: float,
    prosome: float,
    antenna: float,
    furca: float,
    sweep: float,
) -> Sketch:
    """Copepod: oval prosome, narrow segmented urosome, two long antennae and a furca; lengths in
    body lengths.
    """
    sketch, width = Sketch(), vary(rng, width, 0.1)
    for side in (-1, 1):
        angle = side * (np.pi / 2 + vary(rng, sweep, 0.5))
        feeler = curve(
            (0.46, side * 0.1 * width), angle, vary(rng, antenna, 0.1), side * rng.normal(0.1, 0.3)
        )
        sketch.thread(feeler, 0.03, CHITIN + 0.1)
        for place in np.linspace(0.15, 0.45, 3) * prosome if rng.random() < 0.6 else ():
            leg = curve(
                (0.35 - place, side * width * 0.4), side * rng.uniform(1.7, 2.4), width * 0.6, 0, 4
            )
            sketch.thread(leg, 0.018, CHITIN)
        branch = curve(
            (-0.47, side * 0.02), np.pi - side * rng.uniform(0.1, 0.4), vary(rng, furca, 0.15), 0, 5
        )
        sketch.thread(branch, 0.02, CHITIN)
    joint = 0.5 - prosome
    tone = vary(rng, CHITIN, 0.15)
    tail = np.stack([np.linspace(joint + 0.05, -0.5, 8), np.zeros(8)], 1)
    sketch.area(ribbon(tail, np.linspace(0.3 * width, 0.2 * width, 8)), tone)
    middle = ((0.5 + joint) / 2, 0)
    sketch.area(ellipse(prosome, width, middle), tone, tone + 0.2, 0.02)
    gut = (middle[0] + rng.normal(0, 0.04), 0)
    sketch.area(ellipse(prosome * 0.6, width * 0.4, gut, 20), vary(rng, tone + 0.22, 0.1))
    for place in np.linspace(joint + 0.06, 0.3, 4):
        half = width / 2 * np.sqrt(max(0.0, 1 - ((place - middle[0]) / (prosome / 2)) ** 2))
        sketch.thread(np.array([[place, -half], [place, half]]), 0.012, tone + 0.2)
    return sketch


def nauplius(rng: np.random.Generator, *, width: float, limb: float) -> Sketch:
    """Copepod larva: a pear-shaped body with three pairs of limbs and an eye."""
    sketch, tone = Sketch(), vary(rng, CHITIN, 0.15)
    for side in (-1, 1):
        for place, angle in ((0.25, 0.9), (0.1, 1.6), (-0.05, 2.2)):
            heading = side * (angle + rng.normal(0, 0.2))
            sketch.thread(
                curve((place, side * width * 0.35), heading, vary(rng, limb, 0.2), side * 0.6),
                0.05,
                tone,
            )
    spine = np.stack([np.linspace(-0.5, 0.45, 20), np.zeros(20)], 1)
    widths = vary(rng, width, 0.1) * np.sin(np.pi * np.linspace(0.02, 0.98, 20) ** 1.5) ** 0.6
    sketch.area(ribbon(spine, widths), tone, tone + 0.2, 0.03)
    sketch.dots(np.array([[0.33, 0.0]]), 0.1, 0.9)
    return sketch


def bubble(rng: np.random.Generator, *, wall: float) -> Sketch:
    """One to three air bubbles: a black ring around a bright middle."""
    sketch, place = Sketch(), np.zeros(2)
    for k in range(rng.choice([1, 2, 3], p=[0.7, 0.2, 0.1])):
        diameter = 1.0 if k == 0 else rng.uniform(0.25, 0.6)
        sketch.area(ellipse(diameter, diameter, place), vary(rng, 0.85, 0.1))
        inside = diameter * (1 - 2 * vary(rng, wall, 0.25))
        sketch.area(ellipse(inside, inside, place), rng.uniform(-0.1, 0.1))
        sketch.area(ellipse(0.3 * inside, 0.2 * inside, place + 0.15 * inside), -0.2)
        angle = rng.uniform(0, 2 * np.pi)
        place = place + np.array([np.cos(angle), np.sin(angle)]) * rng.uniform(0.55, 0.9)
    return sketch


def fibre(rng: np.random.Generator, *, width: float) -> Sketch:
    """One to three long curved threads."""
    sketch = Sketch()
    for _ in range(rng.integers(1, 4)):
        thread = curve(
            rng.normal(0, 0.15, 2), rng.normal(0, 0.5), vary(rng, 0.5, 0.2), rng.normal(0, 1.2)
        )
        rest = curve(
            thread[-1],
            np.arctan2(*(thread[-1] - thread[-2])[::-1]),
            vary(rng, 0.5, 0.2),
            rng.normal(0, 1.5),
        )
        sketch.thread(
            np.concatenate([thread, rest[1:]]), vary(rng, width, 0.3), rng.uniform(0.35, 0.75)
        )
    return sketch


def detritus(rng: np.random.Generator, *, pieces: int) -> Sketch:
    """A ragged clump of bits and grains without any symmetry."""
    sketch = Sketch()
    for _ in range(max(3, round(vary(rng, pieces, 0.3)))):
        # a ragged closed outline
        radius = np.cumsum(rng.normal(0, 0.12, 30)) * np.sin(np.linspace(0, np.pi, 30))
        radius = rng.uniform(0.08, 0.25) * np.exp(radius[:, None])
        outline = ellipse(2, rng.uniform(0.8, 2), count=30) * radius + rng.normal(0, 0.2, 2)
        sketch.area(outline, rng.uniform(0.25, 0.75))
    sketch.dots(rng.normal(0, 0.25, (12, 2)), 0.06, 0.7)
    return sketch


def _rounded(length: float, width: float) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    corner = np.stack([np.cos(angle), np.sin(angle)], 1)
    return np.sign(corner) * np.abs(corner) ** 0.45 * np.array([length / 2, width / 2])


def _add_plastids(
    rng: np.random.Generator, sketch: Sketch, spread: np.ndarray, diameter: float
) -> None:
    sketch.dots(
        rng.uniform(-1, 1, (rng.integers(3, 9), 2)) * spread, diameter, vary(rng, 0.55, 0.15)
    )


def _add_cilia(
    rng: np.random.Generator, sketch: Sketch, mouth: np.ndarray, width: float, length: float
) -> None:
    for place in np.linspace(-0.5, 0.5, 9):
        angle = place * 1.8 + rng.normal(0, 0.15)
        cilium = curve(
            mouth + [0, place * width], angle, vary(rng, length, 0.25), rng.normal(0, 0.4), 6
        )
        sketch.thread(cilium, 0.02, 0.45)
