"""Which font of this machine has the letters of a name, where the one of all figures lacks some."""

import os
from functools import cache, lru_cache
from pathlib import Path

from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

BASE = "DejaVu Sans"  # comes with matplotlib
_EMPTY = ("lastresort",)  # fonts that have a box for every letter
_in_use: dict[str, str] = {}  # path -> family of fonts that names needed, in this process
_missing: set[str] = set()


def families() -> list[str]:
    """The fonts to draw with: the first that has a letter draws it."""
    return [BASE, *(_in_use[path] for path in sorted(_in_use, key=_preference))]


def missing() -> str:
    """Letters that no font has, of all names so far."""
    return "".join(sorted(_missing))


def can_show(letter: str) -> bool:
    """Whether an installed font has a letter; it is used from the next figure on."""
    if ord(letter) in _letters(_base()):
        return True
    if not letter.isprintable():
        return False
    path = _font_of(letter)
    if path is None:
        _missing.add(letter)
        return False
    if path not in _in_use:
        known = {font.fname for font in font_manager.fontManager.ttflist}
        if path not in known:
            font_manager.fontManager.addfont(path)
        _in_use[path] = font_manager.FontProperties(fname=path).get_name()
    return True


def note() -> str | None:
    """What the user should be told of letters that are boxes in figures, and the way out."""
    letters = missing()
    if not letters:
        return None
    shown = letters[:20] + ("..." if len(letters) > 20 else "")
    return (
        f"no installed font has the letters {shown}: figures show boxes for them, tables and the"
        " page the names; install a font that has them, such as Noto Sans CJK for Chinese, Japanese"
        " and Korean, and draw again"
    )


@cache
def _font_of(letter: str) -> str | None:
    """Path of the first font that has a letter. One that is in use comes first."""
    paths = sorted(_in_use, key=_preference) + _installed()
    return next((path for path in paths if ord(letter) in _letters(path)), None)


@lru_cache(maxsize=1)
def _installed() -> list[str]:
    """Fonts of this machine, also those that came after matplotlib's list of them was made."""
    return sorted(map(str, font_manager.findSystemFonts()), key=_preference)


def _preference(path: str) -> tuple:
    """Plain letters before others."""
    name = os.path.basename(path).lower()
    plain = any(word in name for word in ("regular", "-r.", "medium"))
    return "sans" not in name, not plain, name, path


@cache
def _letters(path: str) -> frozenset[int]:
    if any(word in Path(path).name.lower() for word in _EMPTY):
        return frozenset()
    try:
        font = FT2Font(path)
        return frozenset(font.get_charmap()) if font.scalable else frozenset()
    except (OSError, RuntimeError, ValueError):  # damaged, or of a kind that cannot be drawn
        return frozenset()


@lru_cache(maxsize=1)
def _base() -> str:
    return font_manager.findfont(font_manager.FontProperties(family=BASE))
