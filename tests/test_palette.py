"""Colours that stand side by side are far apart for every common kind of colour vision."""

import re
from pathlib import Path

import numpy as np
import pytest

from figures import palette
from figures.palette import (
    FAINT,
    INK,
    OTHERS,
    OVER_COLOUR,
    SERIES,
    TAKEN_COLOUR,
    TRUE_COLOUR,
    UNDER_COLOUR,
)

ROOT = Path(__file__).parents[1]
APART = 15.0  # CIEDE2000; 2 is just noticed
# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB
VISION = {
    "all cones": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
_XYZ = np.array(  # of linear sRGB, white D65
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)


def linear(colours) -> np.ndarray:
    """(n, 3) linear RGB of colours such as "#0072b2"."""
    rgb = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in colours]) / 255
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """(n, 3) CIELAB of linear RGB."""
    t = np.clip(rgb, 0, 1) @ _XYZ.T / _XYZ.sum(axis=1)
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1)


def ciede2000(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Colour difference of CIELAB values, as Sharma, Wu and Dalal 2005 write it."""
    (l1, a1, b1), (l2, a2, b2) = np.moveaxis(a, -1, 0), np.moveaxis(b, -1, 0)
    mean = (np.hypot(a1, b1) + np.hypot(a2, b2)) / 2
    g = 0.5 * (1 - np.sqrt(mean**7 / (mean**7 + 25.0**7)))
    a1, a2 = (1 + g) * a1, (1 + g) * a2
    c1, c2 = np.hypot(a1, b1), np.hypot(a2, b2)
    h1, h2 = np.degrees(np.arctan2(b1, a1)) % 360, np.degrees(np.arctan2(b2, a2)) % 360
    grey = c1 * c2 == 0
    turn = np.where(grey, 0, (h2 - h1 + 180) % 360 - 180)
    hue = 2 * np.sqrt(c1 * c2) * np.sin(np.radians(turn) / 2)
    light, chroma = (l1 + l2) / 2, (c1 + c2) / 2
    around = np.where(h1 + h2 < 360, 180, -180)
    angle = np.where(grey, h1 + h2, (h1 + h2) / 2 + np.where(abs(h1 - h2) > 180, around, 0))
    cos = lambda factor, shift: np.cos(np.radians(factor * angle + shift))  # noqa: E731
    t = 1 - 0.17 * cos(1, -30) + 0.24 * cos(2, 0) + 0.32 * cos(3, 6) - 0.2 * cos(4, -63)
    rotation = 60 * np.exp(-(((angle - 275) / 25) ** 2))
    r = -2 * np.sqrt(chroma**7 / (chroma**7 + 25.0**7)) * np.sin(np.radians(rotation))
    sl = 1 + 0.015 * (light - 50) ** 2 / np.sqrt(20 + (light - 50) ** 2)
    dl, dc, dh = (l2 - l1) / sl, (c2 - c1) / (1 + 0.045 * chroma), hue / (1 + 0.015 * chroma * t)
    return np.sqrt(dl**2 + dc**2 + dh**2 + r * dc * dh)


def least(colours, matrix) -> float:
    """The smallest difference of any two colours as somebody sees them."""
    seen = lab(linear(colours) @ np.array(matrix).T)
    apart = ciede2000(seen[:, None], seen[None])
    return apart[np.triu_indices(len(seen), 1)].min()


@pytest.mark.parametrize(
    ("a", "b", "difference"),  # pairs 1, 7, 17 and 25 of Sharma, Wu and Dalal's test data
    [
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, 0, 0), (50, -1, 2), 2.3669),
        ((50, 2.5, 0), (73, 25, -18), 27.1492),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ],
)
def test_the_difference_of_colours_is_that_of_the_published_pairs(a, b, difference):
    found = ciede2000(np.array(a, float), np.array(b, float))
    assert found == pytest.approx(difference, abs=1e-4)


def test_white_and_the_primaries_are_where_cielab_has_them():
    white, red = lab(linear(["#ffffff", "#ff0000"]))
    np.testing.assert_allclose(white, [100, 0, 0], atol=0.01)
    np.testing.assert_allclose(red, [53.24, 80.09, 67.20], atol=0.02)


PAPER = "#ffffff"
SIDE_BY_SIDE = (
    (*SERIES, OTHERS, INK, PAPER),
    (TRUE_COLOUR, TAKEN_COLOUR, FAINT, INK, PAPER),
    (TRUE_COLOUR, OVER_COLOUR, UNDER_COLOUR, INK, PAPER),
)


@pytest.mark.parametrize("vision", VISION)
def test_colours_side_by_side_are_far_apart_for_everybody(vision):
    for colours in SIDE_BY_SIDE:
        assert least(colours, VISION[vision]) >= APART, colours


def test_the_simulation_finds_what_colour_blind_readers_confuse():
    # teal and grey, rose and grey of the palette before this one
    assert least(["#44aa99", "#8c8c8c"], VISION["deuteranopia"]) < 5
    assert least(["#cc6677", "#8c8c8c"], VISION["protanopia"]) < 8
    assert least(["#44aa99", "#8c8c8c"], VISION["all cones"]) > APART


def test_no_figure_and_no_script_has_colours_of_its_own():
    files = [*ROOT.glob("figures/*.py"), *ROOT.glob("reports/*.js")]
    for path in files:
        if path.name in ("palette.py", "plotly.min.js"):
            continue
        for colour in re.findall(r"[\"'](#[0-9a-fA-F]{3,6})\b", path.read_text("utf-8")):
            parts = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
            assert parts[:2] == parts[2:4] == parts[4:], f"{path.name}: {colour}"


def test_the_scripts_of_the_pages_get_the_palette():
    given = palette.for_pages()
    assert given["series"] == palette.SERIES and given["right"] == "0, 114, 178"
    assert given["wrong"] == "213, 94, 0"
