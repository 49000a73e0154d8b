"""Text from others, made harmless where people read it. What machines read keeps it as it is."""

import re
import unicodedata

# What moves the cursor, hides or reorders text, is not valid text or breaks the line. The two
# joiners (U+200C, U+200D) are letters' parts in several scripts and stay.
_UNSAFE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_JOINERS = "\u200c\u200d"
_FORMULA = re.compile(r"[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf)", re.IGNORECASE)


def printable(text: str) -> str:
    r"""The text for a terminal or a log: characters that control the screen or break the line are
    written as escapes, such as \x1b and \n; all letters, marks and blanks stay as they are.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_shown, text))


def spreadsheet_cell(text: str) -> str:
    """The text for a cell of a CSV that people open: with an apostrophe before what a spreadsheet
    would run as a formula. Numbers stay numbers. For machine-read files use the text as it is.

    Source: OWASP, CSV injection.
    """
    if _FORMULA.match(text) and not _NUMBER.fullmatch(text):
        return f"'{text}"
    return text


def shortened(text: str, length: int = 80) -> str:
    """The text if it is not longer than `length` characters, else its start and '...'."""
    return text if len(text) <= length else f"{text[: length - 3]}..."


def _shown(character: str) -> str:
    if unicodedata.category(character) not in _UNSAFE or character in _JOINERS:
        return character
    return character.encode("unicode_escape").decode("ascii")
