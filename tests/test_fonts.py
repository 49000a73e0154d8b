"""Names in letters that the usual font lacks are drawn with one that has them, or named."""

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.image import imread

from figures import fonts, style
from figures.style import Drawing, inch_axes, printable, render

NAME = "浮游"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with no fonts but those that a test adds."""
    paths = []
    monkeypatch.setattr(fonts.font_manager, "findSystemFonts", lambda: paths)
    monkeypatch.setattr(fonts, "_in_use", {})
    monkeypatch.setattr(fonts, "_missing", set())
    for cached in (fonts._font_of, fonts._installed, fonts._letters):
        cached.cache_clear()
    yield paths
    for cached in (fonts._font_of, fonts._installed, fonts._letters):
        cached.cache_clear()


def make_font(path, letters):
    """A font of which every letter is a filled square."""
    pen = TTGlyphPen(None)
    for number, point in enumerate(((0, 0), (0, 900), (900, 900), (900, 0))):
        (pen.lineTo if number else pen.moveTo)(point)
    pen.closePath()
    square = pen.glyph()
    names = [".notdef", *(f"u{ord(letter):x}" for letter in letters)]
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({ord(letter): f"u{ord(letter):x}" for letter in letters})
    builder.setupGlyf(dict.fromkeys(names, square))
    builder.setupHorizontalMetrics(dict.fromkeys(names, (1000, 0)))
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": path.stem, "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=900)
    builder.setupPost()
    builder.save(path)
    return str(path)


def draw(name):
    figure, axes = inch_axes(3, 1)
    early = axes.text(0.1, 0.5, "", size=30)  # made before the name is known
    early.set_text(printable(name))
    return Drawing(figure, name)


def ink(rendered, tmp_path):
    (tmp_path / "a.png").write_bytes(rendered.images["png"])
    return float((imread(tmp_path / "a.png")[:, :, :3] < 0.5).mean())


def test_an_installed_font_draws_the_letters_that_the_usual_one_lacks(machine, tmp_path):
    boxes = render(draw, NAME)
    machine.append(make_font(tmp_path / "Squares Sans.ttf", NAME))
    fonts._font_of.cache_clear(), fonts._installed.cache_clear()
    fonts._missing.clear()
    squares = render(draw, NAME)
    assert fonts.families() == ["DejaVu Sans", "Squares Sans"] and fonts.note() is None
    assert ink(squares, tmp_path) > 2 * ink(boxes, tmp_path) > 0
    assert squares.images["pdf"].startswith(b"%PDF") and render(draw, NAME) == squares
    assert printable(NAME + "a") == NAME + "a"


def test_letters_that_no_font_has_are_boxes_and_are_named_once_with_the_way_out(machine):
    assert fonts.note() is None and printable("Fisch ü") == "Fisch ü"
    assert printable(NAME) == "□□" and printable("a游\udcff\x07") == "a□□□"
    assert fonts.note().startswith("no installed font has the letters 浮游: figures show boxes")
    assert "install a font that has them, such as Noto Sans CJK" in fonts.note()
    with style.styled():
        assert style.matplotlib.rcParams["font.family"] == ["DejaVu Sans"]


def test_fonts_of_boxes_damaged_ones_and_those_that_cannot_be_drawn_are_passed_over(
    machine, tmp_path
):
    (tmp_path / "Damaged Sans.ttf").write_bytes(np.arange(200, dtype=np.uint8).tobytes())
    machine += [
        str(tmp_path / "Damaged Sans.ttf"),
        str(tmp_path / "gone.ttf"),
        make_font(tmp_path / "LastResortHE.ttf", NAME),
    ]
    assert printable(NAME) == "□□"
