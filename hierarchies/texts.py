"""Text files that the user gives: refused where they are something else, decoded, their lines' ends
as one.
"""

import io
import json
import os
import re
from collections.abc import Callable, Iterator

from files.regular import check_regular
from hierarchies.draft import fault

MAX_BYTES = 64 << 20  # the tree of 10,000 species with all ranks takes about 1 MB
# of images, read at once: ten times that in memory
MAX_TABLE_BYTES = 256 << 20
# of a table of images, read line by line: an export of a million objects of EcoTaxa has 1 GB
MAX_LINES_BYTES = 8 << 30
_START = 1 << 16  # bytes that show what a file is
_LINES = 10_000  # between two reports of progress
_NOT_TEXT = {
    b"PK\x03\x04": "a zip archive or an Excel workbook: unpack it, or save the sheet as CSV UTF-8",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook: save the sheet as CSV UTF-8",
    b"\x1f\x8b": "compressed (gzip): unpack it",
    b"%PDF": "a PDF document",
    b"{\\rtf": "a document of a word processor (RTF): save it as plain text",
    b"SQLite format 3": "a database of SQLite: export the table as CSV UTF-8",
    b"MATLAB 5.0 MAT-file": "a file of MATLAB: save the table as CSV UTF-8 (writetable)",
    b"MATLAB 7.3 MAT-file": "a file of MATLAB: save the table as CSV UTF-8 (writetable)",
    b"\x89HDF\r\n": "an HDF5 file: save the table as CSV UTF-8",
    b"version https://git-lfs": "a pointer of Git LFS: fetch the file with git lfs pull",
    b"PAR1": "a Parquet file: save it as CSV UTF-8; python scripts/unpack.py makes files and a"
    " table of one that holds images",
}
_MARKUP = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:\?xml|!doctype|html|nex:|phyloxml)", re.IGNORECASE)


def read_text(file: str | os.PathLike, most: int = MAX_BYTES) -> str:
    """Text of a file that the user gives, with line ends as '\\n'.

    Args:
        most: Bytes that it may have.

    Raises: ValueError: If it is not a regular file, larger than that or not text in UTF-8 or
    marked UTF-16. OSError: If it cannot be read.
    """
    check_size(file, most)
    with open(file, "rb") as stream:
        content = stream.read(most + 1)
    encoding = _encoding(content, file)
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise _not_text(file, line, encoding, error) from error
    _check_no_nul(text[:1000], file)
    return text.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def read_lines(
    file: str | os.PathLike,
    most: int = MAX_LINES_BYTES,
    passed: Callable[[int], object] | None = None,
) -> Iterator[str]:
    """The lines of what `read_text` reads, with their ends, one by one.

    Args:
        passed: Called with numbers of bytes, as they are read.

    Raises: As `read_text`, some of it only where it comes to the place.
    """
    check_size(file, most)
    with open(file, "rb") as stream:
        start = stream.read(_START)
        encoding = _encoding(start, file)
        _check_no_nul(start.decode(encoding, "replace")[:1000], file)
        stream.seek(0)
        before = 0
        try:
            for number, line in enumerate(io.TextIOWrapper(stream, encoding)):
                yield line if number else line.lstrip("\ufeff")
                if passed is not None and number % _LINES == 0:
                    passed(stream.tell() - before)
                    before = stream.tell()
        except UnicodeDecodeError as error:
            raise _not_text(file, _undecodable_line(file, encoding), encoding, error) from error


def parsed_json(text: str, source: str, members: Callable | None = None) -> object:
    """What a JSON text says.

    Args:
        source: Where it is from, for messages.
        members: As `object_pairs_hook` of `json.loads`; what it refuses is named with the source.

    Raises: ValueError: If it is not valid, with the line, or nested too deeply.
    """
    try:
        return json.loads(text, object_pairs_hook=members)
    except json.JSONDecodeError as error:
        raise fault(source, error.lineno, f"this is not valid JSON: {error.msg}") from error
    except RecursionError as error:
        message = "the JSON is nested too deeply; a tree this deep is read as paths or Newick"
        raise fault(source, None, message) from error
    except ValueError as error:
        raise fault(source, None, str(error)) from error


def check_size(file: str | os.PathLike, most: int) -> None:
    """Raises: ValueError: If a file is no regular one, or has more than this number of bytes."""
    size = check_regular(file)
    if size > most:
        needed, kept = "any class tree needs", "the groups that hold your classes"
        if most > MAX_BYTES:  # a table, which is no class tree
            needed, kept = "is read", "what is used: file, class, split, group"
        if most > MAX_BYTES and os.fspath(file).lower().endswith(".json"):
            kept = "what is used, without segmentations, or write files and classes as a CSV file"
        raise ValueError(
            f"{file} has {size / 2**20:.0f} MB, more than {needed} ({most >> 20} MB at most): cut"
            f" it to {kept}"
        )


def _encoding(start: bytes, file: str | os.PathLike) -> str:
    """By how a file begins. Raises: ValueError: If that is no text, or none that is read."""
    for mark, kind in _NOT_TEXT.items():
        if start.startswith(mark):
            raise ValueError(f"{file} is {kind}")
    if _MARKUP.match(start):
        raise ValueError(
            f"{file} is XML or HTML, which is not read; save a tree as Newick, and a table as CSV"
            " UTF-8 (a page of HTML in its place is often that of a download that failed)"
        )
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"  # what Excel calls Unicode text
    return "utf-8-sig"


def _undecodable_line(file: str | os.PathLike, encoding: str) -> int | None:
    """The first line that is not valid, in an encoding whose lines end in the byte of '\\n'."""
    if encoding == "utf-16":
        return None
    with open(file, "rb") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                line.decode(encoding)
            except UnicodeDecodeError:
                return number
    return None


def _not_text(
    file: str | os.PathLike, line: int | None, encoding: str, error: UnicodeDecodeError
) -> ValueError:
    return fault(
        str(file),
        line,
        f"this is not valid {encoding[:6].rstrip('-').upper()} text ({error.reason}); save it as"
        " UTF-8 (in Excel: CSV UTF-8)",
    )


def _check_no_nul(start: str, file: str | os.PathLike) -> None:
    if "\0" in start:
        raise ValueError(
            f"{file} has NUL characters, as UTF-16 without its mark has: save it as UTF-8"
        )
