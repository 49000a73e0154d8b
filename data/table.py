"""Labelled images from a table: a file name and the class on every row, in columns of ranks, a path
or a label. Exports of EcoTaxa and COCO files, as iNaturalist's, are tables too.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence, Set
from pathlib import Path
from typing import NamedTuple

from data.boxes import read_boxes
from data.coco import SUPERCATEGORY, read_coco
from data.collection import PARTS, Collection, collect, part_of
from data.progress import progress
from data.table_files import SUFFIXES, files_below, relative
from files.text import composed, counted, folded, printable, some_of, told_apart
from hierarchies import ranks
from hierarchies.draft import place
from hierarchies.rows import Row, Table, read_rows
from hierarchies.tables import paths_of_rows
from hierarchies.texts import check_size, read_lines

FILE_TITLES = (
    "file filename filepath image imagepath imagefile imagename imgfilename imgfile img path"
    " relativepath objectimage imageid"
).split()
_FILE = re.compile(rf"\.({'|'.join(suffix[1:] for suffix in SUFFIXES)})\b", re.IGNORECASE)
STATUS, VALIDATED = "object_annotation_status", "validated"  # of an export of EcoTaxa
GROUP, OBJECT = "sample_id", "object_id"
MOST_BYTES = 2 << 30  # of other tables: in memory some four times that
# the split.csv of a run, whose classes are paths, and what it calls images of no given split
OWN = {"file", "class", "label", "split", "fingerprint"}
OWN_PARTS = {"calibration": PARTS.index("val"), "unused": -1, "held_out": -1}
_QUICK = 2  # seconds of reading without a bar
_SHOWN = 5
_ANSWERS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
_ANSWERS |= {"1.0": True, "0.0": False, "t": True, "f": False}
_PART_WORDS = 20  # a column with as many different words says no split


def read_table(
    table: str | os.PathLike,
    root: str | os.PathLike,
    *,
    file_column: str | None = None,
    levels: Sequence[str] | None = None,
    split_column: str | None = None,
    group_column: str | None = None,
    where: Sequence[str] | None = None,
    boxes: bool = False,
    box_columns: Sequence[str] | None = None,
) -> Collection:
    """Reads a CSV or TSV file with a row for each image, or a COCO file (.json).

    Args:
        table: The file. Its first row names the columns; separators and encodings as in
            `hierarchies.read_tree`. A second row of types, [t] and [f], is passed over.
        root: The folder that the image files are relative to.
        file_column: Column of the image files; by default the one that is named like it.
        levels: Columns of the class's ranks from the top down, or one of paths; by default those
            that are known by their titles, see `hierarchies.tables.paths_of_rows`.
        split_column: Column that says train, val or test; rows that say nothing are not used.
        group_column: Column of what images belong together; in an export of EcoTaxa the sample,
            or else the object.
        where: 'COLUMN=VALUE' each: only rows that have the value. An export of EcoTaxa is read with
            object_annotation_status=validated unless that column is named here.
        boxes: Read the box of each image, too, see `data.boxes.read_boxes`; box_columns says where.

    Raises: ValueError: If a column is missing, a row lacks a file or class, a file is missing or
        has two classes or boxes; the line is named. OSError: If the table cannot be read.
    """
    asked = [*(levels or ()), split_column, group_column]
    found = _images(table, root, file_column, where, boxes, box_columns, asked)
    read, files, notes = found.table, found.files, [*found.notes]
    source, header = read.source, read.header
    levels = found.levels if levels is None else levels
    if split_column is not None:
        split_column = header[_column(read, split_column, "--split_column")]
    if group_column is not None:
        group_column = header[_column(read, group_column, "--group_column")]
    # what says where an image is, and with which others, does not say what it shows
    name = group_column or _own_groups(read, files)
    said = {*found.elsewhere, split_column, name} - {*(levels or ())}
    kept = [at for at, title in enumerate(header) if title not in said]
    paths, path_notes, levels_of = paths_of_rows(read.with_columns(kept), levels)
    notes += [f"{source}: {note}" for note in path_notes]
    _check_agreement(read, files, ["/".join(path) for path in paths], "of class")
    parts, split_notes = _given_parts(read, files, split_column)
    groups, group_notes = _groups(read, files, name, given=parts is not None)
    notes += [*split_notes, *group_notes]
    kept = _distinct(files)
    return collect(
        _picked(files, kept),
        _picked(paths, kept),
        parts=_picked(parts, kept),
        groups=_picked(groups, kept),
        boxes=_picked(found.boxes, kept),
        notes=notes,
        ranks=levels_of,
    )


def _given_parts(
    table: Table, files: list[str], name: str | None
) -> tuple[list[int] | None, list[str]]:
    """The part of the split of each row, -1 for none, and notes; None without a column of it."""
    if name is None:
        return None, _unused_splits(table, files)
    column = table.header.index(name)
    parts = [_part(table, row, column) for row in table.rows]
    _check_agreement(table, files, table.column(column), "in the split")
    notes, unused = _other_folders(files, parts, name), parts.count(-1)
    if unused:
        number = counted(unused, "image")
        notes.append(f"{number} without a split in the column {name!r}: not used")
    return parts, notes


def _groups(
    table: Table, files: list[str], name: str | None, given: bool
) -> tuple[list[str] | None, list[str]]:
    """The group of each row, '' for none, and notes; None without a column of them.

    Args:
        given: Whether the split is given, which then may part groups.
    """
    if name is None:
        return None, []
    cells = table.column(table.header.index(name))
    groups = ["" if ranks.is_empty(cell) else cell for cell in cells]
    _check_agreement(table, files, groups, "of the group")
    count, alone = len({*groups} - {""}), groups.count("")
    kept_together = "are a group" if given else "stay in one split"
    rest = f", and {counted(alone, 'image')} without one, each for itself" if alone else ""
    note = f"images of one {name!r} {kept_together}: {counted(count, 'group')}{rest}"
    return groups, [note, *_similar_groups(groups)]


def _own_groups(table: Table, files: list[str]) -> str | None:
    """The column of the groups in an export of EcoTaxa: samples, or without them objects where one
    has several images.
    """
    if STATUS not in table.header:
        return None
    if GROUP in table.header:
        return GROUP
    objects = set(table.column(table.header.index(OBJECT))) if OBJECT in table.header else files
    return OBJECT if len(objects) < len(set(files)) else None


def _similar_groups(groups: Sequence[str]) -> list[str]:
    """A note on groups whose names are perhaps one: a split may part them."""
    written: dict[str, list[str]] = {}
    for group in sorted(set(groups) - {""}):
        written.setdefault(folded(group), []).append(group)
    similar = [names for names in written.values() if len(names) > 1]
    if not similar:
        return []
    shown = some_of(similar, _SHOWN, lambda names: " and ".join(told_apart(names)))
    number = counted(len(similar), "group is", "groups are")
    return [
        f"{number} written in several ways, each of its own: {shown}. If they are one, write"
        " them alike"
    ]


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
    table: str | os.PathLike,
    root: str | os.PathLike,
    *,
    file_column: str | None = None,
    where: Sequence[str] | None = None,
    boxes: bool = False,
    box_columns: Sequence[str] | None = None,
    sample_column: str | None = None,
) -> ListedImages:
    """The images of a table or COCO file that are to be told apart, not to be learned from: it
    needs no classes, and of an export of EcoTaxa all rows count. See `read_table`.

    Args:
        sample_column: One that must be among `columns`, beside those of EcoTaxa's names, which are
            where the table has them.
    """
    found = _images(
        table, root, file_column, where, boxes, box_columns, [sample_column], all_rows=True
    )
    read, kept = found.table, _distinct(found.files)
    places = {title: read.header.index(title) for title in (OBJECT, GROUP) if title in read.header}
    if sample_column is not None:
        places[sample_column] = _column(read, sample_column, "--sample_column")
    columns = {title: _picked(read.column(at), kept) for title, at in places.items()}
    files, boxes_of = _picked(found.files, kept), _picked(found.boxes, kept)
    return ListedImages(files, boxes_of, found.notes, columns)


class _Images(NamedTuple):
    """What `_images` finds.

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


def _images(
    table: str | os.PathLike,
    root: str | os.PathLike,
    file_column: str | None,
    where: Sequence[str] | None,
    boxes: bool,
    box_columns: Sequence[str] | None,
    asked: Sequence[str | None],
    all_rows: bool = False,
) -> _Images:
    notes, of_images = [], []
    if Path(table).suffix.lower() == ".json":
        read, levels, of_images, notes = read_coco(table, boxes)
    else:
        conditions = (condition.partition("=")[0] for condition in where or ())
        read = _read_large(table, {file_column, *conditions, *asked} - {None}, boxes)
        levels = ["class"] if OWN <= set(read.header) else _below_supercategory(read)
    read = read._replace(rows=[row for row in read.rows if not _is_types(row)])
    if not read.rows:
        raise ValueError(f"{read.source} has titles, but no row of an image")
    read, left_out = _selected(read, where, all_rows)
    at, taken = _file_column(read, file_column)
    named = [read.header[at], *of_images, *(read.header[other] for other in _named_files(read))]
    read, files, repeated = _without_repeats(read, relative(read.column(at), root), at)
    files, changed = files_below(root, read, files)
    unsure = [] if all_rows else _predicted(read)
    notes = [*notes, *left_out, *taken, *repeated, *changed, *unsure]
    found = None
    if boxes:
        found, note = read_boxes(read, box_columns)
        notes.append(note)
        # of several objects in an image each would need a name of its own
        shown = [" ".join(f"{side:g}" for side in box) for box in found]
        _check_agreement(read, files, shown, "cut to")
    return _Images(read, files, found, notes, levels, named)


def _read_large(table: str | os.PathLike, asked: Set[str], boxes: bool) -> Table:
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
    wanted: dict[str, list[str]] = {}
    for condition in where or ():
        name, equals, value = condition.partition("=")
        if not equals:
            raise ValueError(f"--where takes COLUMN=VALUE, got {condition!r}")
        wanted.setdefault(name, []).append(value)
    if STATUS in table.header and STATUS not in wanted and not all_rows:
        wanted[STATUS] = [VALIDATED]
    for name, values in wanted.items():
        at, rows = _column(table, name, "--where"), table.rows
        wanted_cells = set(map(composed, values))
        kept = [row for row in rows if composed(row.cells[at]) in wanted_cells]
        if not kept:
            found = Counter(row.cells[at] for row in rows).most_common(_SHOWN)
            listed = ", ".join(f"{value!r} ({count})" for value, count in found)
            raise ValueError(
                f"{table.source}: no row has {name} = {' or '.join(map(repr, values))}; there are"
                f" {listed} (--where {name}=VALUE chooses others)"
            )
        if len(kept) < len(rows):
            notes.append(
                f"left out: {len(rows) - len(kept)} of {len(rows)} rows, where {name} is not"
                f" {' or '.join(map(repr, values))} (--where {name}=VALUE chooses others)"
            )
        table = table._replace(rows=kept)
    return table, notes


def _predicted(table: Table) -> list[str]:
    """Notes on columns that say of some rows that they are validated and of others not: a
    classifier's answers are no labels.
    """
    notes = []
    for at, title in enumerate(table.header):
        counts = Counter(map(str.casefold, table.column(at)))
        if title != STATUS and {*counts} >= {VALIDATED, "predicted"} and len(counts) < _PART_WORDS:
            notes.append(
                f"{table.source}: the column {title!r} says predicted of {counts['predicted']} of"
                f" {len(table.rows)} rows, which are used as others are (--where {title}=VALUE"
                " chooses)"
            )
    return notes


def _file_column(table: Table, named: str | None) -> tuple[int, list[str]]:
    """The column of the image files, and a note where its title does not say it."""
    if named is not None:
        return _column(table, named, "--file_column"), []
    titles = table.titles
    known = _named_files(table) or [at for at in _titled_files(table) if titles[at] != "path"]
    if known:
        return known[0], []
    holding = [
        at
        for at in range(len(titles))
        if all(cell.lower().endswith(SUFFIXES) for cell in table.column(at))
    ]
    if len(holding) == 1 and not table.header[holding[0]].lower().endswith(SUFFIXES):
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


def _titled_files(table: Table) -> list[int]:
    """Columns whose titles are those of image files, the best first."""
    titles = table.titles
    return [titles.index(title) for title in FILE_TITLES if title in titles]


def _named_files(table: Table) -> list[int]:
    """Those of `_titled_files` that do hold names of image files."""
    first = table.rows[0].cells
    return [at for at in _titled_files(table) if first[at].lower().endswith(SUFFIXES)]


def _below_supercategory(table: Table) -> list[str] | None:
    """The columns of the class in a table that has the supercategory of COCO files and no ranks."""
    header, titles = table.header, table.titles
    known = ranks.columns(header)
    if SUPERCATEGORY not in titles or known.label is None or known.ranks:
        return None
    return [header[titles.index(SUPERCATEGORY)], header[known.label]]


def _column(table: Table, name: str, flag: str) -> int:
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
            f" ({counted(len(empty), 'such row')}); fill it in or remove the line"
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


def _check_agreement(table: Table, files: list[str], values: Sequence[str], said: str) -> None:
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


def _parts_of_folders(files: Sequence[str]) -> list[int]:
    """The part of the split that the folders of each file say; empty where those of some say none
    or several, and a folder that is called so may mean another thing, as the test of a sea urchin.
    """
    folders = [os.path.dirname(file) for file in files]
    part = {folder: _part_of_folder(folder) for folder in dict.fromkeys(folders)}
    return [] if None in part.values() else [part[folder] for folder in folders]


def _part_of_folder(folder: str) -> int | None:
    found = [part for name in folder.split("/") if (part := part_of(name)) is not None]
    return found[0] if len(found) == 1 else None


def _other_folders(files: Sequence[str], parts: Sequence[int], column: str) -> list[str]:
    """A note on images in a folder of another split than the table says."""
    said = zip(files, parts, _parts_of_folders(files))
    others = [(file, part) for file, part, of in said if -1 != part != of]
    if not others:
        return []
    file, part = others[0]
    images = counted(len(others), "image lies", "images lie")
    return [
        f"{images} in a folder of another split than the column {column!r} says, which counts, such"
        f" as {printable(file)!r}: {PARTS[part]}"
    ]


def _unused_splits(table: Table, files: Sequence[str]) -> list[str]:
    """A note on each column that says train, val or test, where none is asked for, or else on
    folders that do.
    """
    notes = []
    for at, title in enumerate(table.header):
        words = {word for word in set(table.column(at)) if not ranks.is_empty(word)}
        parts = {part_of(word) for word in words} if len(words) < _PART_WORDS else {None}
        asked = len(words) > 1 and _asked_part(title) is not None
        if asked and {word.casefold() for word in words} <= {*_ANSWERS}:
            parts = words
        if len(parts) > 1 and None not in parts:
            notes.append(
                f"{table.source}: the column {title!r} says which images are for training and"
                " which for the test, and is not used: the images are split anew (to use it:"
                f" --split_column {title})"
            )
        if re.fullmatch(r"(?:cv|k)?[\W_]*folds?(?:[\W_]*(?:id|nr|no))?", title.casefold()):
            flags = f"--group_column {title} --fold 1/{len(words)}"
            notes.append(
                f"{table.source}: the column {title!r} says which fold each image is of, and is not"
                f" used: {flags} tests one of them"
            )
    folders = set() if notes else set(_parts_of_folders(files))
    if len(folders) > 1:
        names = " and ".join(PARTS[part] for part in sorted(folders))
        notes.append(
            f"the files of {table.source} lie in folders named like {names}, and the images are"
            " split anew: to use that split, write it into a column (--split_column)"
        )
    return notes


def _part(table: Table, row: Row, at: int) -> int:
    word = row.cells[at]
    if ranks.is_empty(word):
        return -1
    part = part_of(word)
    said = _asked_part(table.header[at])
    if part is None and said is not None and word.casefold() in _ANSWERS:
        # what is not of the test trains, and what does not train is of the test
        return said if _ANSWERS[word.casefold()] else PARTS.index("train" if said else "test")
    if part is None and word in OWN_PARTS and OWN <= set(table.header):
        return OWN_PARTS[word]
    if part is None:
        folds = ""
        if word.isdecimal():
            folds = f"; of numbers of folds --group_column {table.header[at]} --fold 1/5 tests one"
        raise ValueError(
            f"{table.source}, {place(row.line)}: {table.header[at]} is {word!r}; a split is one of"
            f" {', '.join(PARTS)}, or empty{folds}"
        )
    return part


def _asked_part(title: str) -> int | None:
    """Which part a title asks for that is answered by yes or no, such as is_train; None: none."""
    return part_of(re.sub(r"^is[\W_]*", "", title))


def _distinct(files: list[str]) -> list[int]:
    """The first row of each file: others differ in columns that are not used."""
    first: dict[str, int] = {}
    for i, file in enumerate(files):
        first.setdefault(file, i)
    return list(first.values())


def _picked(values: list | None, kept: list[int]) -> list | None:
    return None if values is None else [values[i] for i in kept]
