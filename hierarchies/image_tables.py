"""The classes of tables with an image on each row, of which several are of one class."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from files.text import counted
from hierarchies import ranks
from hierarchies.draft import Draft
from hierarchies.paths import holds_paths, path_separator
from hierarchies.rows import Row, Table
from hierarchies.tables import (
    WITHOUT_TAXON,
    column_named,
    of_chosen,
    of_path_column,
    of_ranks,
    paths_of_cells,
)
from hierarchies.tree import Path

_FOLDERS = ("folder", "foldername")  # of a table of images mostly where the file is
_SHARE = re.compile(r"[01](?:\.\d*)?|\.\d+|\d(?:\.\d*)?[eE]-\d+")  # a number from 0 to 1
_ROUNDING = 0.005  # of a share
_MANY = 10  # images, of which no two are of one class only by mistake


class RowPaths(NamedTuple):
    """See `paths_of_rows`.

    Fields:
        paths: Of the class of each row.
        notes: What the user should be told.
        ranks: What the levels of nodes are called, by path.
    """

    paths: list[Path]
    notes: tuple[str, ...]
    ranks: dict[Path, str]


def paths_of_rows(
    table: Table, levels: Sequence[str] | None = None, own_tree: bool = True
) -> RowPaths:
    """The path of the class of each row, where rows are images and not classes.

    Levels are the columns that are named, else a column of paths (as EcoTaxa's hierarchy), else
    titles of ranks with the class's own label below them, else a label alone; see `class_columns`.
    Unless the tree is not its `own_tree`, a note says how a flat one could be deeper.

    Raises: ValueError: If no column is known to hold classes, or a row has none; the line is named.
    """
    used, kind = class_columns(table, levels)
    distinct: dict[tuple[str, ...], Row] = {}
    keys = [tuple(row.cells[at] for at in used) for row in table.rows]
    for key, row in zip(keys, table.rows):
        distinct.setdefault(key, Row(row.line, list(key)))
    names, whole = [table.header[at] for at in used], table
    empty = {key: row.line for key, row in distinct.items() if all(map(ranks.is_empty, key))}
    if empty:
        count = sum(key in empty for key in keys)
        raise table.fault(
            min(empty.values()),
            f"no level is filled, as in {counted(count, 'row')} in all: fill in"
            f" {' and '.join(names)}, or leave such images out: --where '{names[0]}!='",
        )
    table = table._replace(header=names, rows=list(distinct.values()))
    draft = _draft_of_rows(table, kind, levels)
    notes = draft.notes
    if kind != "chosen" and not any("read as levels" in note for note in notes):
        columns = "column" if len(names) == 1 else "columns"
        made = f"classes are made of the {columns} {' > '.join(names)} ({table.advice})"
        notes = (made, *notes)
    by_key = dict(zip(distinct, (path for _, path in draft.classes)))
    paths = [by_key[key] for key in keys]
    flat = len(names) == 1 and all(len(path) == 1 for path in by_key.values())
    if flat and own_tree and kind != "chosen":
        notes += _groups_of_classes(whole, names[0], paths)
    return RowPaths(paths, notes, draft.ranks)


def _groups_of_classes(table: Table, label: str, classes: Sequence[Path]) -> tuple[str, ...]:
    """A note on columns that group the classes, which have no tree: one value for each class, and
    the same for several.
    """
    number, found = len(set(classes)), []
    for at, title in enumerate(table.header):
        of_class: dict[Path, str] = {}
        cells = table.column(at)
        if title == label or any(
            of_class.setdefault(path, cell) != cell for path, cell in zip(classes, cells)
        ):
            continue
        groups = set(of_class.values())
        named = not any(map(ranks.is_empty, groups)) and not ranks.are_numbers(groups)
        named = named and not {*map(ranks.plain, groups)} <= {*ranks.RANKS}  # what each is
        if named and 1 < len(groups) < number:
            found.append(title)
    if not found:
        return ()
    return (
        f"the classes have no tree, but {', '.join(map(repr, found[:5]))} says a group of each:"
        f" {table.flag} {found[0]} {label} makes it their superclass",
    )


def _draft_of_rows(table: Table, kind: str, levels: Sequence[str] | None) -> Draft:
    """The classes of images by the columns of a kind, see `class_columns`, which are all that the
    table has.
    """
    if kind == "chosen":
        return of_chosen(table, levels)
    if kind == "path":
        return of_path_column(table, 0, None, 1 if len(table.header) > 1 else None)
    labels, title = table.column(0), table.header[0]
    alone = len(table.header) == 1
    if alone and holds_paths(labels):
        return of_path_column(table, 0, None)
    if kind == "ranks":
        known = ranks.columns(table.header, table.cells)
        draft = of_ranks(table, known, None, of_images=True)
    else:
        classes, notes, of_levels = paths_of_cells(table, [0], {})
        draft = Draft(classes, notes=notes, ranks=of_levels)
    if alone and 2 * sum("/" in label for label in labels) > len(labels):
        note = f"the '/' in {title!r} is of a name; {table.flag} {title} reads paths"
        draft = draft._replace(notes=(*draft.notes, note))
    return draft


def class_columns(table: Table, levels: Sequence[str] | None) -> tuple[list[int], str]:
    """Positions of the columns that make the class of images, and what they are: 'chosen' as
    `levels`, a 'path' with perhaps a label behind it, 'ranks' from the top down with an epithet and
    a label, or a 'label'.

    A column titled as one of lineages is one only where it holds some, or nothing else says the
    class, and no two ranks say it better; 'path' is one in any case.
    """
    titles = table.titles
    if levels:
        chosen = {column_named(table, level) for level in levels}
        return sorted(chosen | _genus(titles, chosen)), "chosen"
    known = _of_images(table)
    label = [at for at in (known.label,) if at is not None]
    path_at = next(table.titled(ranks.PATHS), None)
    if path_at is not None and titles[path_at] != "path":
        others = bool(known.ranks or label)
        separated = path_separator(table.column(path_at)) is not None
        if len(known.ranks) > 1 or (others and not separated):
            path_at = None
    if path_at is not None:
        return [path_at, *(label if titles[path_at] == WITHOUT_TAXON else ())], "path"
    epithet = [at for at in (known.epithet,) if at is not None]
    used = [*(at for at, _ in known.ranks), *epithet, *label]
    if used:
        return used, "ranks" if known.ranks else "label"
    scores, several = _scores(table)
    if scores:
        more = (
            f"; {counted(several, 'image has', 'images have')} none or several" if several else ""
        )
        raise table.fault(
            1,
            f"{', '.join(map(repr, scores[:5]))} are columns with a number for each class{more}:"
            " write one column 'label' with the name of the class of each image instead (scores of"
            " a classifier are measured by evaluate.py --scores)",
        )
    listed = table.listed or "columns of files, groups or splits"
    raise table.fault(
        1, f"no column is known to hold classes or their ranks, only {listed}; {table.advice}"
    )


def _genus(titles: Sequence[str], chosen: set[int]) -> set[int]:
    """The column of the genus, if epithets may be among those that are chosen."""
    species = any(titles[at] in (*ranks.EPITHETS, "species") for at in chosen)
    return {titles.index("genus")} if species and "genus" in titles else set()


def _of_images(table: Table) -> ranks.Columns:
    """What the titles of a table of images say. Labels that are the numbers of classes give way to
    names beside them, one for each, in another column of labels or in those of ranks; and those of
    objects, one for each image, are none.
    """
    known = _without_names_of_objects(table, _with_folders(table))
    if known.label is None or not ranks.are_numbers(table.column(known.label)):
        return known
    numbers = table.column(known.label)
    named = (at for at in table.titled(ranks.LABELS) if not ranks.are_numbers(table.column(at)))
    name = next((at for at in named if _one_each(numbers, table.column(at))), None)
    if name is not None:
        return known._replace(label=name)
    used = [*(at for at, _ in known.ranks), *(at for at in (known.epithet,) if at is not None)]
    taxa = ["/".join(row[at] for at in used if not ranks.is_empty(row[at])) for row in table.cells]
    return known._replace(label=None) if used and _one_each(numbers, taxa) else known


def _without_names_of_objects(table: Table, known: ranks.Columns) -> ranks.Columns:
    """What the titles say without a label that is another for each image, beside ranks."""
    if known.label is None or not known.ranks:
        return known
    names = table.column(known.label)
    if len(names) < _MANY or len(set(names)) < len(names):
        return known
    taxa = {tuple(cells[at] for at, _ in known.ranks) for cells in table.cells}
    return known._replace(label=None) if len(taxa) < len(names) else known


def _one_each(numbers: Sequence[str], names: Sequence[str]) -> bool:
    """Whether each number has one name and each name one number."""
    pairs = set(zip(numbers, names))
    single = len(pairs) == len({number for number, _ in pairs}) == len({name for _, name in pairs})
    return single and len(pairs) < len(names) and not any(map(ranks.is_empty, names))


def _with_folders(table: Table) -> ranks.Columns:
    """What the titles say. A folder is mostly where the file is, and a label only where nothing
    else is, or where it parts what the ranks leave together.
    """
    header, cells = table.header, table.cells
    shown = ["" if ranks.plain(title) in _FOLDERS else title for title in header]
    known, with_folder = ranks.columns(shown, cells), ranks.columns(header, cells)
    if known.label is not None:
        return known
    if with_folder.label is None or not known.ranks:
        return with_folder
    taxa = {(row[with_folder.label], *(row[at] for at, _ in known.ranks)) for row in cells}
    folders = {folder for folder, *_ in taxa}
    parts = len({tuple(taxon) for _, *taxon in taxa}) < len(folders) == len(taxa) < len(cells)
    return with_folder if parts else known


def _scores(table: Table) -> tuple[list[str], int]:
    """Columns of numbers from 0 to 1, of which the sum is 1 in each row or all are 0 or 1, without
    those of 0 alone, and the number of rows of another sum; [], 0 if there are none.
    """
    columns = {}
    for at, title in enumerate(table.header):
        cells = table.column(at)
        if all(map(_SHARE.fullmatch, cells)) and any(map(float, cells)):
            columns[title] = [*map(float, cells)]
    others = sum(abs(sum(row) - 1) >= _ROUNDING * len(row) for row in zip(*columns.values()))
    whole = all({*numbers} <= {0.0, 1.0} for numbers in columns.values())
    return ([*columns], others) if len(columns) > 1 and (whole or not others) else ([], 0)
