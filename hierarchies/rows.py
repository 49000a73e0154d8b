"""The rows of text files: lines that are not blank, and tables with titles."""

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from hierarchies import ranks
from hierarchies.draft import fault

DELIMITERS = ",;\t|"
_KNOWN = 2**20  # different cells that are remembered while a table is read
# the first line by which Excel says what separates cells
_SEP_LINE = re.compile(r"\"?sep=([,;\t|])\"?[ \t]*(?:\n|$)", re.IGNORECASE)


class Row(NamedTuple):
    """A row of a table below its titles: its line in the file and its cells, stripped."""

    line: int
    cells: list[str]


class Table(NamedTuple):
    """A table as it is in a file.

    Fields:
        source: The file, for messages.
        header: The title of each column.
        rows: What is below them, a cell for each column.
        flag: The option that chooses the columns of the levels, for messages.
    """

    source: str
    header: list[str]
    rows: list[Row]
    flag: str = "--levels"

    @property
    def titles(self) -> list[str]:
        """The titles as `ranks.plain_titles` writes them."""
        return ranks.plain_titles(self.header)

    @property
    def cells(self) -> list[list[str]]:
        return [row.cells for row in self.rows]

    @property
    def listed(self) -> str:
        """The titles in quotes, for messages."""
        return ", ".join(map(repr, self.header))

    @property
    def advice(self) -> str:
        """How the columns of the levels are chosen."""
        return f"{self.flag} COLUMN ... names the columns of the levels, from the top down"

    def titled(self, names: Sequence[str]) -> Iterator[int]:
        """The columns that are called by one of these titles, in the order of the names."""
        titles = self.titles
        return (titles.index(name) for name in names if name in titles)

    def column(self, at: int) -> list[str]:
        return [row.cells[at] for row in self.rows]

    def with_columns(self, kept: Sequence[int]) -> "Table":
        """These columns alone."""
        rows = [Row(line, [cells[at] for at in kept]) for line, cells in self.rows]
        return self._replace(header=[self.header[at] for at in kept], rows=rows)

    def fault(self, line: int | None, message: str) -> ValueError:
        """A ValueError that says where it happened."""
        return fault(self.source, line, message)


def numbered_lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, stripped, with their numbers from 1."""
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line.strip()


def delimiter_of(text: str) -> tuple[str, int]:
    """What separates the cells of a table, by its first lines, and where its titles begin: a first
    line 'sep=;' says it, else what the titles have most of.
    """
    declared = _SEP_LINE.match(text)
    if declared:
        return declared[1], declared.end()
    return max(DELIMITERS, key=next(numbered_lines(text), (0, ""))[1].count), 0


def title_row(text: str) -> list[str]:
    """The titles of a table, by the rule of `hierarchies.tables.parse_table`; [] if the text has no
    line.
    """
    text = text[:100_000]
    mark, start = delimiter_of(text)
    title = next(numbered_lines(text[start:]), (0, ""))[1]
    return [cell.strip(' "') for cell in title.split(mark)] if title else []


def read_rows(
    text: str | Iterable[str],
    source: str,
    wanted: Callable[[list[str]], Iterable[int]] | None = None,
) -> Table:
    """A table with any number of rows a class, by the rules of `hierarchies.tables.parse_table`.

    Args:
        text: All of it, or its lines with their ends, which are read one by one.
        source: The file, for messages.
        wanted: Titles -> the columns that are kept of each row; None: all.
    """
    table = table_rows(text, source, wanted)
    _check_names(table)
    return table


def table_rows(
    text: str | Iterable[str],
    source: str,
    wanted: Callable[[list[str]], Iterable[int]] | None = None,
) -> Table:
    """As `read_rows`, with any titles: a table without empty columns and one that only numbers the
    rows. Cells that say the same are one string.

    Raises: ValueError: If a row has more or fewer cells than the titles, or there is none.
    """
    lines = _lines(text) if isinstance(text, str) else iter(text)
    delimiter, lines, skipped = _without_declaration(lines)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    header, kept, rows, known = None, [], [], {}
    swallowed: list[Row] = []
    end = 0
    try:
        for cells in reader:
            start, end = end, reader.line_num
            if not any(map(str.strip, cells)):
                continue
            line = end + skipped
            if header is None:
                header = [cell.strip() for cell in cells]
                kept = list(range(len(header)) if wanted is None else wanted(header))
                continue
            _check_width(cells, header, source, line, delimiter)
            if end > start + 1:
                within = _rows_within(cells, len(header), delimiter)
                swallowed += [Row(start + 1 + skipped, [row[at] for at in kept]) for row in within]
            cells = [cells[at].strip() for at in kept]
            rows.append(Row(line, [known.setdefault(cell, cell) for cell in cells]))
            if len(known) > _KNOWN:
                known.clear()
    except csv.Error as error:
        raise fault(
            source,
            reader.line_num + skipped,
            f"this is not a valid table row: {error}; is a quotation mark not closed, or one in a"
            " cell not written twice?",
        ) from error
    if not rows:
        raise fault(
            source,
            None,
            "the table is empty; expected a row of column names and further rows below it",
        )
    _check_swallowed(swallowed, rows, source)
    header = [header[at] for at in kept]
    # spreadsheets add empty columns
    filled = [at for at, title in enumerate(header) if title or any(row.cells[at] for row in rows)]
    if _numbers_rows(header, rows):
        filled = filled[1:]
    table = Table(source, header, rows)
    return table if len(filled) == len(header) else table.with_columns(filled)


def _without_declaration(lines: Iterator[str]) -> tuple[str, Iterator[str], int]:
    """What separates the cells, by the first lines; all lines but one that only says so; and how
    many those are.
    """
    first = []
    for line in lines:
        first.append(line)
        if line.strip():
            break
    delimiter, start = delimiter_of("".join(first))
    return delimiter, lines if start else chain(first, lines), int(start > 0)


def _rows_within(cells: list[str], width: int, delimiter: str) -> Iterator[list[str]]:
    """The lines within a cell, from its second on, that have as many cells as a row."""
    for cell in cells:
        for piece in cell.split("\n")[1:]:
            if width > 1 and piece.count(delimiter) == width - 1:
                yield [part.strip(' "') for part in piece.split(delimiter)]


def _check_swallowed(within: Sequence[Row], rows: Sequence[Row], source: str) -> None:
    """Raises: ValueError: If a line within a cell is a row, as where a quotation mark is not closed
    before the next one: a part of it is what another row has in that column.
    """
    if not within:
        return
    columns = [set(column) - {""} for column in zip(*(row.cells for row in rows))]
    for line, cells in within:
        if any(cell in column for cell, column in zip(cells, columns)):
            raise fault(
                source,
                line,
                "a cell that begins here goes on over the next rows: close its quotation mark, or"
                " write one that is part of a cell twice",
            )


def _check_width(
    cells: list[str], header: Sequence[str], source: str, line: int, delimiter: str
) -> None:
    width = len(header)
    if len(cells) < width or any(map(str.strip, cells[width:])):
        raise fault(
            source,
            line,
            f"expected {width} cells as in the first row, got {len(cells)}; the first row must"
            f" be the titles, one for each column, and a cell with {delimiter!r} in it must be"
            " in quotes",
        )


def _check_names(table: Table) -> None:
    header = table.header
    if not all(header) or len(set(header)) < len(header):
        raise table.fault(
            1,
            f"the first row must give every column a name of its own, got {header}; remove"
            " lines above the titles, and columns without a title or with that of another",
        )


def check_titles(table: Table) -> None:
    """Raises: ValueError: If titles lack or repeat, or one is also in its column."""
    _check_names(table)
    for at, title in enumerate(table.header):
        if title in table.column(at):
            raise table.fault(
                1,
                f"{title!r} is a column title and also in that column; the first row must be"
                " titles",
            )


def _lines(text: str) -> Iterator[str]:
    """The lines with their ends. A file of `io` would hold four bytes a letter."""
    start = 0
    while end := text.find("\n", start) + 1:
        yield text[start:end]
        start = end
    if start < len(text):
        yield text[start:]


def _numbers_rows(header: Sequence[str], rows: Sequence[Row]) -> bool:
    """Whether the first column has no title and only numbers the rows, as pandas and R write it."""
    title, *others = header
    if title or not all(others):
        return False
    numbers = [row.cells[0] for row in rows]
    whole = all(number.isascii() and number.isdigit() for number in numbers)
    return whole and len(set(numbers)) == len(numbers)
