"""Text from others, made harmless where people read it. What machines read keeps it as it is.

People read the terminal, log.txt, pages and the tables that are the end of the way: predictions.csv, per_class*.csv,
confusion_*.csv, summary.csv, comparisons.csv and their like. Names stay exact in split.csv, hierarchy.json, .pkl and
.npz, by which images are found again.
"""  # noqa: E501

import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

# What moves the cursor, hides or reorders text, is not valid text or breaks the line. The two
# joiners (U+200C, U+200D) are letters' parts in several scripts and stay.
_UNSAFE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_JOINERS = "\u200c\u200d"
_OTHER = re.compile(r"[^\x20-\x7e]")
NO_WIDTH = dict.fromkeys((0x200B, 0x2060, 0xFEFF))  # code points of blanks that take no room
# letters of Cyrillic and Greek that look like those of Latin, as typed with another keyboard
_ALIKE = str.maketrans("аеорсухіАВЕКМНОРСТХΑΒΕΖΗΙΚΜΝΟΡΤΥΧο", "aeopcyxiABEKMHOPCTXABEZHIKMNOPTYXo")
# the sign of hybrids, dashes and quotation marks, as word processors change them
_ALIKE |= dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2212"), "-") | {0xD7: "x"}
_ALIKE |= dict.fromkeys(map(ord, "\u2018\u2019\u00b4`"), "'")
_ALIKE |= dict.fromkeys(map(ord, "\u201c\u201d"), '"')
_FORMULA = re.compile(r"[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf)", re.IGNORECASE)
# a number whose comma may part thousands
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+")


def printable(text: str) -> str:
    r"""The text for a terminal or a log: characters that control the screen or break the line are
    written as escapes, such as \x1b and \n; all letters, marks and blanks stay as they are.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_shown, text))


def one_line(text: str) -> str:
    """As `printable`, but bytes of file names that are not UTF-8 stay, which files can hold."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if "\ud800" <= c <= "\udfff" else _shown(c) for c in text)


def for_terminal(text: str, kept: str = "\n\t") -> str:
    """What a program prints, line breaks included, without what could control the screen."""
    return _OTHER.sub(lambda found: found[0] if found[0] in kept else one_line(found[0]), text)


def table_cell(value: object) -> object:
    """A value for a cell of a CSV that people open; other than texts they stay as they are."""
    return spreadsheet_cell(one_line(value)) if isinstance(value, str) else value


def for_people(table: "pd.DataFrame") -> "pd.DataFrame":
    """A copy of a table in which every text is a `table_cell`."""
    texts = [name for name in table.columns if table[name].dtype.kind in "OSU"]
    return table.assign(**{name: table[name].astype(object).map(table_cell) for name in texts})


def spreadsheet_cell(text: str) -> str:
    """The text for a cell of a CSV that people open: with an apostrophe before what a spreadsheet
    would run as a formula. Numbers stay numbers. For machine-read files use the text as it is.

    Source: OWASP, CSV injection.
    """
    if _FORMULA.match(text) and not _NUMBER.fullmatch(text):
        return f"'{text}"
    return text


def composed(text: str) -> str:
    """The text with each accent in one with its letter (NFC), as keyboards write it; names of files
    of a Mac have them apart.
    """
    return unicodedata.normalize("NFC", text)


def folded(text: str) -> str:
    """The text as it compares with others where capitals, blanks and '_', points behind words, the
    way in which an accent or a whole number is stored, and what cannot be seen make no difference:
    7 and 7.0 are one, as are sp and sp.
    """
    text = unicodedata.normalize("NFKC", _seen(text)).casefold()
    text = re.sub(r"(?<=\w)\.(?= |$)", "", " ".join(text.replace("_", " ").split()))
    return re.sub(r"^(\d+)\.0+$", r"\1", text)


def told_apart(names: Sequence[str]) -> list[str]:
    """The names in quotes, by their codes where the eye cannot tell them apart."""
    seen = set(map(_seen, names))
    return [repr(name) if len(seen) == len(names) else ascii(name) for name in names]


def _seen(text: str) -> str:
    """The text without what the eye cannot tell apart."""
    return composed(text).translate(NO_WIDTH).translate(_ALIKE)


def encoded(text: str) -> bytes:
    """The text in UTF-8; what stands for bytes of a file name that are not UTF-8 becomes those
    bytes again.
    """
    return text.encode("utf-8", "surrogateescape")


def separator_of(table: str | os.PathLike) -> str:
    """What stands between the cells of a table of this file name: a tab in .tsv, else a comma."""
    return "\t" if os.fspath(table).lower().endswith(".tsv") else ","


def shortened(text: str, length: int = 80) -> str:
    """The text if it is not longer than `length` characters, else its start and '...'."""
    return text if len(text) <= length else f"{text[: length - 3]}..."


def counted(number: int, one: str, many: str | None = None) -> str:
    """'1 class', '2 classes': a number with its noun, and with its verb where that follows."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def some_of(
    items: Sequence, most: int, written: Callable[[Any], str] = str, between: str = ", "
) -> str:
    """The first `most` of the items, and of how many more there are: "a, b and 3 more"."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return between.join(map(written, items[:most])) + more


def _shown(character: str) -> str:
    if unicodedata.category(character) not in _UNSAFE or character in _JOINERS:
        return character
    return character.encode("unicode_escape").decode("ascii")


def doubtful_comma(numbers: Iterable[str]) -> str | None:
    """One of the numbers that have a comma, if it may part thousands as well as decimals in all of
    them: '1,234', beside none as '0,234' or '1,23'.
    """
    with_comma = [number for number in map(str.strip, numbers) if "," in number]
    doubtful = bool(with_comma) and all(map(_THOUSANDS.fullmatch, with_comma))
    return with_comma[0] if doubtful else None
