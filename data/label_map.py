"""Raw labels of a collection -> taxa: a table that says for each label, of one collection or many,
where it belongs, such as the taxonomy of planktonzilla for fifteen plankton sets.
"""

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from data.collection import Collection, collect
from files.text import composed, counted, folded, printable, some_of
from hierarchies import ranks
from hierarchies.image_tables import class_columns, paths_of_rows
from hierarchies.rows import Row, Table, read_rows
from hierarchies.texts import read_text
from hierarchies.tree import format_path

# titles of the column of raw labels, without blanks, marks and capitals, the first that is there
RAW = (
    "rawlabel rawlabels rawname originallabel sourcelabel sourcename folder foldername label labels"
    " classname"
).split()
SETS = ("dataset", "datasetname", "set", "source", "collection")
_SHOWN = 5


def apply_label_map(
    collection: Collection,
    table: str | os.PathLike,
    *,
    of: str | None = None,
    levels: Sequence[str] | None = None,
) -> Collection:
    """The collection with the taxa of a table in the place of its classes. Labels of one taxon
    become one class.

    A class is looked up by its whole path, 'Animals/Copepods', or by its last name; where that is
    not there, one label that differs in capitals, blanks or '_', or as a number, is taken. One of
    which the table has the label and no taxon stays as it is.

    Args:
        collection: Of any source.
        table: CSV or TSV with a row for each label: a column of raw labels, see `_raw_column`, and
            columns of ranks, a path or a name.
        of: Only rows with this value in the table's column of collections, see SETS.
        levels: Columns of the ranks from the top down; by default those known by their titles.

    Raises: ValueError: If a class is not in the table or is there with two taxa, or the table has
        several collections and none is named; the line or the classes are named.
        OSError: If the table cannot be read.
    """
    source = os.fspath(table)
    read = read_rows(read_text(table), source)._replace(flag="--label_map_levels")
    titles = read.titles
    classes = collection.hierarchy.class_paths
    raw = _raw_column(read, classes)
    at = next(read.titled(SETS), None)
    read, spelt_notes = _spelt_as(_of_one(read, at, of), raw, classes)
    read = _of_classes(read, raw, classes)
    # the raw label is no rank, and what it is called by must not become one
    left_out = () if levels else (raw, at)
    kept = [column for column in range(len(titles)) if column not in left_out]
    if len(kept) == 1 and titles[kept[0]] not in (*ranks.RANKS, *ranks.LABELS, *ranks.PATHS):
        levels = [read.header[kept[0]]]  # what else than the taxon
    read, bare = _without_taxa(read, raw, kept, levels)
    paths, notes, levels_of = paths_of_rows(read.with_columns(kept), levels)
    found = _taxa(read, raw, paths)
    taxa = [
        next((found[name] for name in _names(path) if name in found), None)
        or (path if bare & {*_names(path)} else None)
        for path in classes
    ]
    missing = [format_path(path) for path, taxon in zip(classes, taxa) if taxon is None]
    if missing:
        raise ValueError(
            f"{source}: {len(missing)} of {len(classes)} classes are no raw label in the column"
            f" {read.header[raw]!r}: {some_of(missing, _SHOWN, printable)}; add them,"
            " or leave their images out (--exclude, of a table --where)"
        )
    if bare:
        kept_names = some_of(sorted(bare), _SHOWN, repr)
        number = counted(len(bare), "label without a taxon stays", "labels without a taxon stay")
        notes = (*notes, f"{number} as written: {kept_names}")
    own = [taxa[label] for label in collection.labels.tolist()]
    mapped = collect(
        collection.files,
        own,
        parts=collection.parts,
        groups=collection.groups,
        boxes=collection.boxes,
        order=[f"{i:012}" for i in range(len(own))],  # as they are
        notes=(*collection.notes, *(f"{source}: {note}" for note in (*notes, *spelt_notes))),
        ranks=levels_of,
    )
    where = "" if titles[raw] in RAW else f" by the column {read.header[raw]!r}"
    note = (
        f"{source}: {len(classes)} labels become {mapped.hierarchy.num_classes} classes{where}"
        " (--label_map)"
    )
    return replace(mapped, notes=(*mapped.notes, note))


def _raw_column(table: Table, classes: Sequence[tuple[str, ...]]) -> int:
    """The column of raw labels: by its title, or else the only one that has all classes. Raises:
    ValueError: If there is none, or are several.
    """
    named = next(table.titled(RAW), None)
    if named is not None:
        return named
    found = []
    for at in range(len(table.header)):
        labels = {folded(_label(cell)) for cell in table.column(at)}
        if all(not labels.isdisjoint(map(folded, _names(path))) for path in classes):
            found.append(at)
    if len(found) == 1:
        return found[0]
    which = ", ".join(repr(table.header[at]) for at in found)
    why = (
        f"several have all classes: {which}" if found else f"none of {table.listed} has all classes"
    )
    raise ValueError(
        f"{table.source}: no column is named like one of raw labels ('raw_label', 'label', 'folder'"
        f" ...), and {why}; title the column of your labels 'raw_label'"
    )


def _of_classes(table: Table, raw: int, classes: Sequence[tuple[str, ...]]) -> Table:
    """The rows of labels that are classes here: of others taxa may be missing. Raises: ValueError:
    If there are none.
    """
    wanted = {name for path in classes for name in _names(path)}
    kept = [row for row in table.rows if _label(row.cells[raw]) in wanted]
    if not kept:
        raise ValueError(
            f"{table.source}: the column {table.header[raw]!r} has none of the {len(classes)}"
            f" classes, such as {printable(format_path(classes[0]))!r}"
        )
    return table._replace(rows=kept)


def _without_taxa(
    table: Table, raw: int, kept: Sequence[int], levels: Sequence[str] | None
) -> tuple[Table, set[str]]:
    """The rows that name a taxon, and the labels of the others, as of detritus; all rows if none
    does.
    """
    used, _ = class_columns(table.with_columns(kept), levels)
    rows, bare = [], set()
    for row in table.rows:
        if all(ranks.is_empty(row.cells[kept[at]]) for at in used):
            bare.add(_label(row.cells[raw]))
        else:
            rows.append(row)
    return (table._replace(rows=rows), bare) if rows else (table, set())


def _taxa(table: Table, raw: int, paths: Sequence[tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """The taxon of each raw label. Raises: ValueError: If one has two."""
    found: dict[str, tuple[tuple[str, ...], int]] = {}
    for row, path in zip(table.rows, paths):
        label = _label(row.cells[raw])
        before, line = found.setdefault(label, (path, row.line))
        if before != path:
            raise ValueError(
                f"{table.source}, line {row.line}: {printable(label)!r} is {format_path(path)!r},"
                f" but {format_path(before)!r} in line {line}; remove one of the lines, or name the"
                " collection with --label_map_set"
            )
    return {label: path for label, (path, _) in found.items()}


def _label(cell: str) -> str:
    return composed(cell.strip().strip("/"))


def _names(path: tuple[str, ...]) -> tuple[str, str]:
    """By which a class is looked up."""
    return composed("/".join(path)), composed(path[-1])


def _spelt_as(
    table: Table, raw: int, classes: Sequence[tuple[str, ...]]
) -> tuple[Table, list[str]]:
    """The table with labels as the classes are written that it writes in another way, where one
    label and one class fit each other alone; and a note on them.
    """
    labels = {_label(cell) for cell in table.column(raw)}
    free, lost = defaultdict(list), defaultdict(list)
    for label in labels - {name for path in classes for name in _names(path)}:
        free[folded(label)].append(label)
    for path in classes:
        if labels.isdisjoint(_names(path)):
            for name in {*_names(path)}:
                lost[folded(name)].append(name)
    spelt = {
        free[key][0]: names[0]
        for key, names in lost.items()
        if len(names) == 1 and len(free[key]) == 1
    }
    if not spelt:
        return table, []
    rows = []
    for line, cells in table.rows:
        label = _label(cells[raw])
        rows.append(Row(line, [*cells[:raw], spelt.get(label, label), *cells[raw + 1 :]]))
    shown = some_of([*spelt.items()], 5, lambda pair: f"{pair[1]!r} as {pair[0]!r}")
    number = counted(len(spelt), "class is", "classes are")
    note = f"{number} written in another way there, matched all the same: {printable(shown)}"
    return table._replace(rows=rows), [note]


def _of_one(table: Table, at: int | None, of: str | None) -> Table:
    """The rows of the collection that is named."""
    if of is None:
        return table
    if at is None:
        raise ValueError(
            f"{table.source}: --label_map_set names {of!r}, but no column is called"
            f" {' or '.join(map(repr, SETS))}"
        )
    kept = [row for row in table.rows if row.cells[at].strip() == of]
    if not kept:
        known = sorted(set(table.column(at)))
        raise ValueError(
            f"{table.source}: no row has {table.header[at]} = {of!r}; there are"
            f" {', '.join(map(printable, known[:30]))}"
        )
    return table._replace(rows=kept)
