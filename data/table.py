"""Labelled images from a table: a file name and the class on every row, in columns of ranks, a path
or a label. Exports of EcoTaxa and COCO files, as iNaturalist's, are tables too.
"""

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from data.collection import PARTS, Collection, collect, part_of
from files.text import printable
from hierarchies import ranks
from hierarchies.folders import IMAGE_EXTENSIONS
from hierarchies.readers import read_text
from hierarchies.tables import Row, paths_of_rows, read_rows

FILE_TITLES = (
    "file filename filepath image imagepath imagefile imagename imgfilename imgfile img path"
    " relativepath objectimage"
).split()
STATUS, VALIDATED = "object_annotation_status", "validated"  # of an export of EcoTaxa
GROUP = "sample_id"
SUPERCATEGORY = "supercategory"  # of a category of a COCO file
_SHOWN = 5


def read_table(
    table: str | os.PathLike,
    root: str | os.PathLike,
    *,
    file_column: str | None = None,
    levels: Sequence[str] | None = None,
    split_column: str | None = None,
    group_column: str | None = None,
    where: Sequence[str] | None = None,
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
        group_column: Column of what images belong together; in an export of EcoTaxa the sample.
        where: 'COLUMN=VALUE' each: only rows that have the value. An export of EcoTaxa is read with
            object_annotation_status=validated unless that column is named here.

    Raises: ValueError: If a column is missing, a row lacks a file or class, a file is missing or
        has two classes; the line is named. OSError: If the table cannot be read.
    """
    source = os.fspath(table)
    if Path(table).suffix.lower() == ".json":
        header, rows = _coco_rows(table, source)
    else:
        header, rows = read_rows(read_text(table), source)
    rows = [row for row in rows if not _is_types(row)]
    notes: list[str] = []
    rows = _selected(source, header, rows, where, notes)
    at = _file_column(source, header, rows, file_column)
    files = [_relative(row.cells[at], os.fspath(root)) for row in rows]
    rows, files = _without_repeats(source, header, rows, files, at, notes)
    _check_files(source, rows, files, Path(root))
    if levels is None and header[1] == SUPERCATEGORY:
        levels = header[1:3]
    paths, path_notes = paths_of_rows(source, header, rows, levels)
    notes += [f"{source}: {note}" for note in path_notes]
    _check_classes(source, rows, files, paths)
    parts, groups = None, None
    if split_column is not None:
        column = _column(source, header, split_column, "--split_column")
        parts = [_part(source, row, column, header) for row in rows]
        unused = parts.count(-1)
        if unused:
            notes.append(f"{unused} images have no split in the column {split_column!r}: not used")
    name = group_column or (GROUP if STATUS in header and GROUP in header else None)
    if name is not None:
        column = _column(source, header, name, "--group_column")
        groups = [row.cells[column] for row in rows]
        count = len({group for group in groups if group})
        notes.append(f"images of one {name!r} stay in one split: {count} groups")
    files, paths, parts, groups = _distinct(files, paths, parts, groups)
    return collect(files, paths, parts=parts, groups=groups, notes=notes)


def _is_types(row: Row) -> bool:
    """Whether a row only says what types the columns have, as in files to import into EcoTaxa."""
    filled = [cell for cell in row.cells if cell]
    return bool(filled) and all(cell in ("[t]", "[f]") for cell in filled)


def _selected(
    source: str, header: Sequence[str], rows: list[Row], where: Sequence[str] | None, notes: list
) -> list[Row]:
    wanted: dict[str, list[str]] = {}
    for condition in where or ():
        name, equals, value = condition.partition("=")
        if not equals:
            raise ValueError(f"--where takes COLUMN=VALUE, got {condition!r}")
        wanted.setdefault(name, []).append(value)
    if STATUS in header and STATUS not in wanted:
        wanted[STATUS] = [VALIDATED]
    for name, values in wanted.items():
        at = _column(source, header, name, "--where")
        kept = [row for row in rows if row.cells[at] in values]
        if not kept:
            found = Counter(row.cells[at] for row in rows).most_common(_SHOWN)
            listed = ", ".join(f"{value!r} ({count})" for value, count in found)
            raise ValueError(
                f"{source}: no row has {name} = {' or '.join(map(repr, values))}; there are"
                f" {listed}"
            )
        if len(kept) < len(rows):
            notes.append(
                f"{len(rows) - len(kept)} of {len(rows)} rows are left out: {name} is not"
                f" {' or '.join(map(repr, values))} (--where {name}=VALUE chooses others)"
            )
        rows = kept
    return rows


def _file_column(source: str, header: Sequence[str], rows: list[Row], named: str | None) -> int:
    if named is not None:
        return _column(source, header, named, "--file_column")
    titles = [ranks.plain(title) for title in header]
    suffixes = tuple(f".{suffix.lstrip('.').lower()}" for suffix in IMAGE_EXTENSIONS)
    for title in FILE_TITLES:
        if title in titles:
            at = titles.index(title)
            if title != "path" or rows[0].cells[at].lower().endswith(suffixes):
                return at
    listed = ", ".join(map(repr, header))
    raise ValueError(
        f"{source}: no column is named like one of image files ('file', 'image', 'img_file_name'"
        f" ...), only {listed}; name it with --file_column"
    )


def _column(source: str, header: Sequence[str], name: str, flag: str) -> int:
    if name not in header:
        raise ValueError(
            f"{source}: {flag} names the column {name!r}, but the columns are"
            f" {', '.join(map(repr, header))}"
        )
    return list(header).index(name)


def _relative(written: str, root: str) -> str:
    """The path below the data folder, with '/', of one that may be absolute or of Windows."""
    path = PureWindowsPath(written).as_posix() if "\\" in written else written
    for start in (root.rstrip("/") + "/", os.path.abspath(root).rstrip("/") + "/"):
        path = path.removeprefix(start)
    return PurePosixPath(path).as_posix() if path else ""


def _without_repeats(
    source: str, header: Sequence[str], rows: list[Row], files: list[str], at: int, notes: list
) -> tuple[list[Row], list[str]]:
    empty = [row.line for row, file in zip(rows, files) if not file]
    if empty:
        raise ValueError(
            f"{source}, line {empty[0]}: the column {header[at]!r} names no file ({len(empty)} such"
            " rows); fill it in or remove the line"
        )
    kept = {}
    for number, (row, file) in enumerate(zip(rows, files)):
        kept.setdefault((file, tuple(row.cells)), number)
    if len(kept) < len(rows):
        notes.append(f"{len(rows) - len(kept)} rows of {source} repeat another row")
    return [rows[i] for i in kept.values()], [files[i] for i in kept.values()]


def _check_files(source: str, rows: list[Row], files: list[str], root: Path) -> None:
    outside = [i for i, file in enumerate(files) if file.startswith("/") or ".." in file.split("/")]
    if outside:
        raise ValueError(
            f"{source}, line {rows[outside[0]].line}: {printable(files[outside[0]])!r} is not below"
            f" {root}; name the folder that all files are in with --data_dir"
        )
    missing = [i for i, file in enumerate(files) if not (root / file).is_file()]
    if missing:
        shown = "; ".join(f"line {rows[i].line}: {printable(files[i])!r}" for i in missing[:_SHOWN])
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise ValueError(
            f"{source}: {len(missing)} of {len(files)} files are not below {root}: {shown}{more};"
            " are the names relative to another folder (--data_dir)?"
        )


def _check_classes(source: str, rows: list[Row], files: list[str], paths: list) -> None:
    first: dict[str, int] = {}
    for i, file in enumerate(files):
        other = first.setdefault(file, i)
        if paths[other] != paths[i]:
            raise ValueError(
                f"{source}, line {rows[i].line}: {printable(file)!r} is of class"
                f" {printable('/'.join(paths[i]))!r}, but of {printable('/'.join(paths[other]))!r}"
                f" in line {rows[other].line}; remove one of the lines"
            )


def _part(source: str, row: Row, at: int, header: Sequence[str]) -> int:
    word = row.cells[at]
    if ranks.is_empty(word):
        return -1
    part = part_of(word)
    if part is None:
        raise ValueError(
            f"{source}, line {row.line}: {header[at]} is {word!r}; a split is one of"
            f" {', '.join(PARTS)}, or empty"
        )
    return part


def _distinct(files: list[str], paths: list, parts: list | None, groups: list | None) -> tuple:
    """The first row of each file: others differ in columns that are not used."""
    kept = list(dict(zip(reversed(files), reversed(range(len(files))))).values())[::-1]
    pick = lambda values: None if values is None else [values[i] for i in kept]  # noqa: E731
    return pick(files), pick(paths), pick(parts), pick(groups)


def _coco_rows(table: str | os.PathLike, source: str) -> tuple[list[str], list[Row]]:
    """Rows of a COCO file: one for each annotation, with the ranks or the supercategory of its
    category.
    """
    try:
        content = json.loads(read_text(table))
    except json.JSONDecodeError as error:
        raise ValueError(f"{source}, line {error.lineno}: not valid JSON: {error.msg}") from error
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, Mapping) or not isinstance(content.get(key), list):
            raise ValueError(f"{source} has no list {key!r}: it is not a COCO file")
    images = {entry["id"]: entry for entry in content["images"]}
    categories = {entry["id"]: entry for entry in content["categories"]}
    known = [rank for rank in ranks.RANKS if any(rank in c for c in categories.values())]
    upper = [] if known else [SUPERCATEGORY]
    header = ["file_name", *known, *upper, "label", *_plain_fields(images.values())]
    rows = []
    for number, annotation in enumerate(content["annotations"], 1):
        image = images.get(annotation.get("image_id"))
        category = categories.get(annotation.get("category_id"))
        if image is None or category is None:
            what = "image" if image is None else "category"
            raise ValueError(f"{source}: annotation {number} names an unknown {what}")
        taxa = [str(category.get(rank) or "") for rank in (*known, *upper)]
        own = str(category.get("name") or category["id"])
        rest = [str(image.get(field, "")) for field in header[len(known) + len(upper) + 2 :]]
        rows.append(Row(number, [str(image.get("file_name", "")), *taxa, own, *rest]))
    if not rows:
        raise ValueError(f"{source} has no annotation")
    if upper and not any(row.cells[1] for row in rows):
        header.pop(1)
        rows = [Row(row.line, [row.cells[0], *row.cells[2:]]) for row in rows]
    return header, rows


def _plain_fields(images) -> list[str]:
    """Fields of the images, beside their names, that can choose, split or group them."""
    fields = {
        key for image in images for key, value in image.items() if isinstance(value, (str, int))
    }
    return sorted(fields - {"file_name"})
