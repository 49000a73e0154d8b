"""Labelled images from a table: a file name and the class on every row, in columns of ranks, a path
or a label. Exports of EcoTaxa and COCO files, as iNaturalist's, are tables too.
"""

import os
from collections.abc import Sequence

from data.collection import Collection, collect
from data.listed import (
    BY_TITLES,
    GROUP,
    OBJECT,
    STATUS,
    Columns,
    check_agreement,
    column_at,
    distinct,
    listed_rows,
    picked,
)
from data.table_splits import given_parts
from files.text import counted, folded, some_of, told_apart
from hierarchies import ranks
from hierarchies.image_tables import paths_of_rows
from hierarchies.rows import Table

# titles of what images may belong together by, the first that a table has
GROUPS = (
    "sample sampleid haul haulid tow dive deployment deploymentid station stationid site siteid"
    " transect cruise location camera cameraid video videoid sequence sequenceid seqid individual"
    " individualid specimen specimenid slide plate"
).split()
_SHOWN = 5


def read_table(
    table: str | os.PathLike, root: str | os.PathLike, columns: Columns = BY_TITLES
) -> Collection:
    """Reads a CSV or TSV file with a row for each image, or a COCO file (.json).

    Args:
        table: The file. Its first row names the columns; separators and encodings as in
            `hierarchies.read_tree`. A second row of types, [t] and [f], is passed over.
        root: The folder that the image files are relative to.
        columns: What it is to be read by.

    Raises: ValueError: If a column is missing, a row lacks a file or class, a file is missing or
        has two classes or boxes; the line is named. OSError: If the table cannot be read.
    """
    found = listed_rows(table, root, columns)
    read, files, notes = found.table, found.files, [*found.notes]
    source, header = read.source, read.header
    levels = found.levels if columns.levels is None else columns.levels
    split_column, group_column = (
        None if name is None else header[column_at(read, name, flag)]
        for name, flag in (
            (columns.split_column, "--split_column"),
            (columns.group_column, "--group_column"),
        )
    )
    # what says where an image is, and with which others, does not say what it shows
    name = group_column or _own_groups(read, files)
    said = {*found.elsewhere, split_column, name} - {*(levels or ())}
    kept = [at for at, title in enumerate(header) if title not in said]
    paths, path_notes, levels_of = paths_of_rows(read.with_columns(kept), levels, columns.own_tree)
    notes += [f"{source}: {note}" for note in path_notes]
    check_agreement(read, files, ["/".join(path) for path in paths], "of class")
    parts, split_notes = given_parts(read, files, split_column, name)
    groups, group_notes = _groups(read, files, name, given=parts is not None)
    if name is None and parts is None:
        group_notes = _unused_groups(read, files, levels or ())
    notes += [*split_notes, *group_notes]
    kept = distinct(files)
    return collect(
        picked(files, kept),
        picked(paths, kept),
        parts=picked(parts, kept),
        groups=picked(groups, kept),
        boxes=picked(found.boxes, kept),
        notes=notes,
        ranks=levels_of,
    )


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
    check_agreement(table, files, groups, "of the group")
    count, alone = len({*groups} - {""}), groups.count("")
    kept_together = "are a group" if given else "stay in one split"
    rest = f", and {counted(alone, 'image')} without one, each for itself" if alone else ""
    note = f"images of one {name!r} {kept_together}: {counted(count, 'group')}{rest}"
    return groups, [note, *_similar_groups(groups)]


def _unused_groups(table: Table, files: Sequence[str], levels: Sequence[str]) -> list[str]:
    """A note on a column that may say which images belong together: a random split parts them.

    Args:
        levels: Columns that are named as those of the class, such as that of individuals.
    """
    titles = [
        title if name not in levels else "" for title, name in zip(table.titles, table.header)
    ]
    for title in (title for title in GROUPS if title in titles):
        at = titles.index(title)
        count = len({cell for cell in set(table.column(at)) if not ranks.is_empty(cell)})
        if 2 < count <= len(set(files)) / 2:
            name = table.header[at]
            return [
                f"{table.source}: images of one {name!r} may be in several splits: if they are more"
                f" alike than those of others, --group_column {name} keeps them together"
            ]
    return []


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
