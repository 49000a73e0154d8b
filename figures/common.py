"""What figures and pages share: words, and what a drawing becomes. Nothing here needs matplotlib,
which pages do without.
"""

from typing import NamedTuple

DPI = 144
FEWEST_SEEDS = 3  # for an interval: that of two spans everything (Student's t is 12.7 there)


class NothingToDraw(ValueError):
    """A figure has no content for this run; the message is the reason, a sentence for the reader of
    the report.
    """


class Rendered(NamedTuple):
    """A drawing as files.

    Attributes:
        caption: Sentences below the figure.
        images: Format ("png", "pdf") -> bytes; empty where there was nothing to draw and the
            caption says why.
    """

    caption: str
    images: dict[str, bytes]


def ordinal(number: int) -> str:
    """2 -> 'second', 3 -> 'third', 4 -> '4th'."""
    words = {1: "first", 2: "second", 3: "third"}
    endings = {1: "st", 2: "nd", 3: "rd"}
    ending = "th" if 11 <= number % 100 <= 13 else endings.get(number % 10, "th")
    return words.get(number, f"{number}{ending}")


def counted(number: int, one: str, many: str | None = None) -> str:
    """'1 class', '2 classes': a number with its noun."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
