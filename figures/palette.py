"""Every colour that tells something from something else, in figures and on pages: one home.

Any two that stand side by side differ by 15 or more in CIEDE2000, and so they do for readers
without red, green or blue cones, as `tests/test_palette.py` simulates them; the white of the paper
counts as one of them. 2 is a difference that people just notice.
"""

# of methods and of groups of classes: eight are as many as stay that far apart
SERIES = (
    "#7573fb",
    "#a48f1c",
    "#0f784e",
    "#c03d90",
    "#67ccfc",
    "#4e085e",
    "#edcf83",
    "#0f4000",
)
OTHERS = "#b0b0b0"  # what has no colour of its own beside those
INK, FAINT, EMPTY = "#222222", "#9a9a9a", "#e6e6e6"
TRUE_COLOUR, TAKEN_COLOUR = "#0072b2", "#d55e00"  # right and wrong
OVER_COLOUR, UNDER_COLOUR = "#f0a667", "#7cc8f2"  # lighter than the right one, warm and cold


def for_pages() -> dict:
    """What the scripts of the pages find as `PALETTE`; right and wrong as parts of rgba(...)."""

    def parts(colour: str) -> str:
        return ", ".join(str(int(colour[i : i + 2], 16)) for i in (1, 3, 5))

    return {
        "series": SERIES,
        "others": OTHERS,
        "ink": INK,
        "right": parts(TRUE_COLOUR),
        "wrong": parts(TAKEN_COLOUR),
    }
