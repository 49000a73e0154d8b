"""The images that a table lists: which of its rows count, the file of each, and its box."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence, Set
from pathlib import Path
from typing import NamedTuple

from data.boxes import read_boxes
from data.coco import SUPERCATEGORY, read_coco
from data.progress import progress
from data.table_files import files_below, relative
from files.text import composed, counted, printable
from hierarchies import ranks
from hierarchies.draft import place
from hierarchies.folders import IMAGE_SUFFIXES
from hierarchies.rows import Row, Table, read_rows
from hierarchies.texts import check_size, read_lines

FILE_TITLES = (
    "file filename filepath image imagepath imagefile imagename imgfilename imgfile img path"
    " relativepath objectimage imageid"
).split()
_FILE = re.compile(rf"\.({'|'.join(suffix[1:] for suffix in IMAGE_SUFFIXES)})\b", re.IGNORECASE)
STATUS, VALIDATED = "object_annotation_status", "validated"  # of an export of EcoTaxa
GROUP, OBJECT = "sample_id", "object_id"
MOST_BYTES = 2 << 30  # of other tables: in memory some four times that
# the split.csv of a run, whose classes are paths, and what it calls images of no given split
OWN = {"file", "class", "label", "split", "fingerprint"}
_QUICK = 2  # seconds of reading without a bar
_SHOWN = 5
FEW_WORDS = 20  # a column with as many different words says no split and no status


class Columns(NamedTuple):
    """Which columns of a table of images say what; by the names of the options.

    Fields:
        file_column: The image files; by default the one that is named like it.
        levels: The class's ranks from the top down, or one of paths; by default those that are
            known by their titles, see `hierarchies.image_tables.paths_of_rows`.
        split_column: train, val or test; rows that say nothing are not used.
        group_column: What images belong together; in an export of EcoTaxa the sample, or else the
            object.
        sample_column: What `ListedImages.columns` must have beside those of EcoTaxa's names, which
            are there where the table has them.
        where: 'COLUMN=VALUE' each: only rows that have the value, or one of several; or
            'COLUMN!=VALUE': only those that have not, '' for cells without a value. An export of
            EcoTaxa is read with object_annotation_status=validated unless that column is named.
        boxes: Read the box of each image, too, see `data.boxes.read_boxes`.
        box_columns: Where the boxes are, if not in columns named like them.
        own_tree: Whether the tree of the classes is that of the table.
    """

    file_column: str | None = None
    levels: Sequence[str] | None = None
    split_column: str | None = None
    group_column: str | None = None
    sample_column: str | None = None
    where: Sequence[str] | None = None
    boxes: bool = False
    box_columns: Sequence[str] | None = None
    own_tree: bool = True

    @property
    def named(self) -> set[str]:
        """The columns that somebody names, but for the boxes'."""
        conditions = (_condition(text).column for text in self.where or ())
        single = self.file_column, self.split_column, self.group_column, self.sample_column
        return {*single, *conditions, *(self.levels or ())} - {None}


BY_TITLES = Columns()


class _Condition(NamedTuple):
    """What rows count: those with the value in the column, or with another."""

    column: str
    sign: str
    value: str


def _condition(text: str) -> _Condition:
    """The condition that is written. Raises: ValueError: If it is none."""
    found = re.fullmatch(r"([^=]+?)(!?=)(.*)", text, re.DOTALL)
    if not found:
        raise ValueError(f"--where takes COLUMN=VALUE or COLUMN!=VALUE, got {text!r}")
    return _Condition(*found.groups())


class ListedImages(NamedTuple):
    """Images that a table lists, whatever it says of their classes.

    Fields:
        files: Their paths below the folder, in the order of the rows, each once.
        boxes: left, top, width, height of what to cut out of each; None where not asked for.
        notes: What the user should be told.
        columns: Other cells of the rows, by the names of their columns.
    """

    files: list[str]
    boxes: list[tuple[float, ...]] | None
    notes: list[str]
    columns: dict[str, list[str]] = {}


def list_images(
    table: str | os.PathLike, root: str | os.PathLike, columns: Columns = BY_TITLES
) -> ListedImages:
    """The images of a table or COCO file that are to be told apart, not to be learned from: it
    needs no classes, and of an export of EcoTaxa all rows count. See `data.table.read_table`.
    """
    found = listed_rows(table, root, columns, all_rows=True)
    read, kept = found.table, distinct(found.files)
    places = {title: read.header.index(title) for title in (OBJECT, GROUP) if title in read.header}
    sample = columns.sample_column
    if sample is not None:
        places[sample] = column_at(read, sample, "--sample_column")
    cells = {title: picked(read.column(at), kept) for title, at in places.items()}
    files, boxes_of = picked(found.files, kept), picked(found.boxes, kept)
    return ListedImages(files, boxes_of, found.notes, cells)


class ListedRows(NamedTuple):
    """Rows of a table, an image each, or an object of one.

    Fields:
        table: The rows that are used.
        files: That of each row, below the folder.
        boxes: That of each row; None where not asked for.
        notes: What the user should be told.
        levels: The columns of the class, where the kind of the table says them.
        elsewhere: Columns that say where an image is, or what else is not of its class.
    """

    table: Table
    files: list[str]
    boxes: list[tuple[float, ...]] | None
    notes: list[str]
    levels: list[str] | None
    elsewhere: list[str]


def listed_rows(
    table: str | os.PathLike,
    root: str | os.PathLike,
    columns: Columns,
    all_rows: bool = False,
) -> ListedRows:
    """The rows of a table that count.

    Args:
        table, root: See `data.table.read_table`.
        columns: What it is to be read by.
        all_rows: Whether predicted ones of an export of EcoTaxa count, too.
    """
    notes, of_images = [], []
    if Path(table).suffix.lower() == ".json":
        read, levels, of_images, notes = read_coco(table, columns.boxes)
    else:
        read = read_large(table, columns.named, columns.boxes)
        levels = ["class"] if OWN <= set(read.header) else _below_supercategory(read)
    read = read._replace(rows=[row for row in read.rows if not _is_types(row)])
    if not read.rows:
        raise ValueError(f"{read.source} has titles, but no row of an image")
    read, left_out = _selected(read, columns.where, all_rows)
    at, taken = _file_column(read, columns.file_column)
    named = [read.header[at], *of_images, *(read.header[other] for other in _named_files(read))]
    read, files, repeated = _without_repeats(read, relative(read.column(at), root), at)
    files, changed = files_below(root, read, files)
    unsure = [] if all_rows else _predicted(read)
    notes = [*notes, *left_out, *taken, *repeated, *changed, *unsure]
    found = None
    if columns.boxes:
        found, note = read_boxes(read, columns.box_columns)
        notes.append(note)
        # of several objects in an image each would need a name of its own
        shown = [" ".join(f"{side:g}" for side in box) for box in found]
        check_agreement(read, files, shown, "cut to")
    return ListedRows(read, files, found, notes, levels, named)


def read_large(table: str | os.PathLike, asked: Set[str], boxes: bool) -> Table:
    """A table of text, of which may be millions of rows. Of an export of EcoTaxa the hundred
    measures of each object are passed over, unless they are asked for.
    """
    size, name = os.path.getsize(table), os.path.basename(table)

    def wanted(header: list[str]) -> Iterable[int]:
        if STATUS not in header:
            check_size(table, MOST_BYTES)
            return range(len(header))
        files = {title for title in header if ranks.plain(title) in FILE_TITLES}
        classes = {*map(ranks.plain, header)} & {*ranks.RANKS, *ranks.LABELS, *ranks.PATHS}
        # messages of missing columns list all, and any may hold the names of image files
        if boxes or not (asked.issubset(header) and files and classes):
            return range(len(header))
        used = {*asked, *files, OBJECT, GROUP}
        measures = re.compile(r"(object_(?!annotation_)|sample_|acq_|process_)")
        return [at for at, one in enumerate(header) if one in used or not measures.match(one)]

    options = {"unit": "B", "unit_scale": True, "delay": _QUICK, "leave": False}
    with progress(total=size, desc=f"Reading {printable(name)}", **options) as bar:
        return read_rows(read_lines(table, passed=bar.update), os.fspath(table), wanted)


def _is_types(row: Row) -> bool:
    """Whether a row only says what types the columns have, as in files to import into EcoTaxa."""
    filled = [cell for cell in row.cells if cell]
    return bool(filled) and all(cell in ("[t]", "[f]") for cell in filled)


def _selected(table: Table, where: Sequence[str] | None, all_rows: bool) -> tuple[Table, list[str]]:
    """The rows that are wanted, and notes on those that are left out."""
    notes: list[str] = []
    wanted: dict[tuple[str, str], list[str]] = {}
    for column, sign, value in map(_condition, where or ()):
        wanted.setdefault((column, sign), []).append(value)
    if STATUS in table.header and not all_rows and STATUS not in {name for name, _ in wanted}:
        wanted[STATUS, "="] = [VALIDATED]
    for (name, sign), values in wanted.items():
        at, rows = column_at(table, name, "--where"), table.rows
        cells, like = set(map(composed, values)), sign == "="
        if "" in cells:
            cells.update(row.cells[at] for row in rows if ranks.is_empty(row.cells[at]))
        kept = [row for row in rows if (composed(row.cells[at]) in cells) == like]
        said = " or ".join(map(repr, values))
        if not kept:
            found = Counter(row.cells[at] for row in rows).most_common(_SHOWN)
            listed = ", ".join(f"{value!r} ({count})" for value, count in found)
            raise ValueError(
                f"{table.source}: no row has {name} {sign} {said}; there are {listed} (--where"
                f" {name}=VALUE chooses others)"
            )
        if len(kept) < len(rows):
            others = f"{name} is {'not ' * like}{said}"
            notes.append(
                f"left out: {len(rows) - len(kept)} of {len(rows)} rows, where {others} (--where"
                f" {name}=VALUE chooses others)"
            )
        table = table._replace(rows=kept)
    return table, notes


def _predicted(table: Table) -> list[str]:
    """Notes on columns that say of some rows that they are validated and of others not: a
    classifier's answers are no labels.
    """
    notes = []
    for at, title in enumerate(table.header):
        words = {word.casefold(): word for word in few_words(table, at)}
        if title != STATUS and {*words} >= {VALIDATED, "predicted"}:
            count = sum(cell.casefold() == "predicted" for cell in table.column(at))
            notes.append(
                f"{table.source}: the column {title!r} says predicted of {count} of"
                f" {len(table.rows)} rows, which are used as others are (--where"
                f" {title}={words[VALIDATED]} leaves them out)"
            )
    return notes


def few_words(table: Table, at: int) -> set[str]:
    """The different cells of a column; none where they are `FEW_WORDS` or more."""
    words = set()
    for row in table.rows:
        words.add(row.cells[at])
        if len(words) >= FEW_WORDS:  # of a million rows mostly after a few
            return set()
    return words


def _file_column(table: Table, named: str | None) -> tuple[int, list[str]]:
    """The column of the image files, and a note where its title does not say it."""
    if named is not None:
        return column_at(table, named, "--file_column"), []
    titles = table.titles
    known = _named_files(table) or [at for at in table.titled(FILE_TITLES) if titles[at] != "path"]
    if known:
        return known[0], []
    holding = [
        at
        for at in range(len(titles))
        if all(cell.lower().endswith(IMAGE_SUFFIXES) for cell in table.column(at))
    ]
    if len(holding) == 1 and not table.header[holding[0]].lower().endswith(IMAGE_SUFFIXES):
        note = (
            f"{table.source}: image files are those of the column {table.header[holding[0]]!r}"
            " (--file_column names another)"
        )
        return holding[0], [note]
    raise _no_files(table)


def _no_files(table: Table) -> ValueError:
    """What to do about a table of which no column is known to hold image files."""
    source, listed = table.source, table.listed
    if table.header[0].startswith(("{", "[{", '["')):
        return ValueError(
            f"{source} holds JSON, of which --table reads COCO files alone, named .json: write its"
            " images and classes as a CSV file"
        )
    if any(map(_FILE.search, table.header)):
        return ValueError(
            f"{source}, line 1: the first row must be titles of the columns, such as file,label,"
            f" with a comma, semicolon or tab between cells, and is {listed}; add them"
        )
    if len(table.header) == 1:
        return ValueError(
            f"{source}, line 1: cells are separated by comma, semicolon, tab or |, and the first"
            f" row is one cell, {listed}"
        )
    return ValueError(
        f"{source}: no column is named like one of image files ('file', 'image',"
        f" 'img_file_name' ...), only {listed}; name it with --file_column"
    )


def _named_files(table: Table) -> list[int]:
    """Columns with titles of image files that do hold names of some, the best first."""
    first = table.rows[0].cells
    return [at for at in table.titled(FILE_TITLES) if first[at].lower().endswith(IMAGE_SUFFIXES)]


def _below_supercategory(table: Table) -> list[str] | None:
    """The columns of the class in a table that has the supercategory of COCO files and no ranks."""
    header, titles = table.header, table.titles
    known = ranks.columns(header)
    if SUPERCATEGORY not in titles or known.label is None or known.ranks:
        return None
    return [header[titles.index(SUPERCATEGORY)], header[known.label]]


def column_at(table: Table, name: str, flag: str) -> int:
    """Where the column is that a flag names. Raises: ValueError: If there is no such column."""
    if name in table.header:
        return table.header.index(name)
    header = [*map(composed, table.header)]
    if composed(name) not in header:
        raise ValueError(
            f"{table.source}: {flag} names the column {name!r}, but the columns are {table.listed}"
        )
    return header.index(composed(name))


def _without_repeats(table: Table, files: list[str], at: int) -> tuple[Table, list[str], list[str]]:
    """The rows and their files, each row once, and a note on repeats. Raises: ValueError: If a row
    has no file.
    """
    source, rows = table.source, table.rows
    empty = [row.line for row, file in zip(rows, files) if not file]
    if empty:
        raise ValueError(
            f"{source}, {place(empty[0])}: the column {table.header[at]!r} names no file"
            f" ({counted(len(empty), 'such row')}); fill it in, or leave such rows out: --where"
            f" '{table.header[at]}!='"
        )
    kept = {}
    for number, (row, file) in enumerate(zip(rows, files)):
        kept.setdefault((file, tuple(row.cells)), number)
    notes = []
    if len(kept) < len(rows):
        repeat = counted(len(rows) - len(kept), "row repeats", "rows repeat")
        notes.append(f"{source}: {repeat} another row")
    table = table._replace(rows=[rows[i] for i in kept.values()])
    return table, [files[i] for i in kept.values()], notes


def check_agreement(table: Table, files: list[str], values: Sequence[str], said: str) -> None:
    """Raises: ValueError: If two rows of one file say different things."""
    first: dict[str, int] = {}
    for i, file in enumerate(files):
        other = first.setdefault(file, i)
        if values[other] != values[i]:
            raise ValueError(
                f"{table.source}, {place(table.rows[i].line)}: {printable(file)!r} is {said}"
                f" {printable(values[i])!r}, but {said.partition(' ')[0]}"
                f" {printable(values[other])!r} in {place(table.rows[other].line)}; remove one of"
                " them, or give each object a file of its own"
            )


def distinct(files: list[str]) -> list[int]:
    """The first row of each file: others differ in columns that are not used."""
    first: dict[str, int] = {}
    for i, file in enumerate(files):
        first.setdefault(file, i)
    return list(first.values())


def picked(values: list | None, kept: list[int]) -> list | None:
    """The values of these rows; None where there are none."""
    return None if values is None else [values[i] for i in kept]
