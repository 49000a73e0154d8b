"""Parser of tables with one class on each row: ranks, paths, parents or an outline."""

import re
from collections.abc import Mapping, Sequence

from hierarchies import ranks
from hierarchies.draft import (
    ROOT,
    Draft,
    Item,
    check_number,
    checked_key,
    from_items,
    place,
    without_common_root,
)
from hierarchies.edges import edge_columns, parse_parents
from hierarchies.epithets import with_whole_names, without_epithets
from hierarchies.paths import (
    NEVER_IN_NAMES,
    holds_paths,
    path_of,
    path_separator,
    repeat_notes,
    separator_notes,
    without_bare,
)
from hierarchies.rows import Row, Table, check_titles, table_rows
from hierarchies.tree import Path

WITHOUT_TAXON = "higherclassification"  # of Darwin Core: the taxa above the one of the row
_DEPTHS = ("depth", "level", "lvl", "indent", "indentation")


def parse_table(text: str, source: str, levels: Sequence[str] | None = None) -> Draft:
    """A table with one class a row, separated by comma, semicolon, tab or bar (whichever the first
    row has most of, or what a line 'sep=;' before it says). The first row names the columns.

    - With `levels`, these columns are the levels, from the top down to the class.
    - With a column of parents (child,parent; taxonID,parentNameUsageID; AphiaID,...): see
      `hierarchies.edges.parse_parents`.
    - With a column `path` (lineage, classification, ...), it holds the path as in `parse_paths`;
      where rows have the same one, or it is of the taxa above (higherClassification), a column
      such as scientificName names the class below it.
    - With two or more ranks of a taxonomy among the titles, these are the levels, wherever they
      stand, and a column such as scientificName or label names the class below them. Columns
      without a rank are left out and noted, unless they nest between two ranks.
    - Otherwise all columns are levels, from left to right.

    Where every row has one cell, and it stands at most one column further right than the last, the
    table is an outline: what stands further right is below. So is one of a depth and a name.

    An empty cell (NA, or marks such as '-') is a rank that a class does not have: it is skipped,
    with a note where cells to its right are filled. So is a word such as 'unknown' or 'incertae
    sedis' in a column of a rank above the class. Rows that repeat another count once. A column
    `class` at either end holds names to show for the classes, no part of their paths, unless it is
    the taxonomic rank: see `ranks.class_is_rank`.
    """
    table = table_rows(text, source)
    check_number(source, None, len(table.rows))
    steps = [] if levels is not None else _steps(table)
    if steps:
        draft = without_common_root(from_items(source, [Item(None, 0, ROOT), *steps]))
        return draft._replace(notes=("rows are read as steps: what is deeper is below",))
    first: dict[tuple[str, ...], Row] = {}
    for row in table.rows:
        first.setdefault(tuple(row.cells), row)
    draft = _draft_of_table(table._replace(rows=list(first.values())), levels)
    return draft._replace(notes=draft.notes + repeat_notes("rows", len(table.rows) - len(first)))


def _steps(table: Table) -> list[Item]:
    """The rows of a table that is an outline, as nodes; [] of another."""
    found = _numbered_depths(table) or _placed_depths(table)
    depths = [0, *(depth for depth, _ in found)]
    if len({*depths}) < 3 or any(not 0 < new <= old + 1 for old, new in zip(depths, depths[1:])):
        return []
    return [
        Item(row.line, depth, checked_key(table.source, row.line, name))
        for row, (depth, name) in zip(table.rows, found)
    ]


def _numbered_depths(table: Table) -> list[tuple[int, str]]:
    """How deep each row is and its name, of a column of depths beside one of names; [] of another
    table.
    """
    titles = table.titles
    at = next((at for at, title in enumerate(titles) if title in _DEPTHS), None)
    if at is None or len(titles) != 2 or not all(map(str.isdecimal, table.column(at))):
        return []
    depths = [int(cell) for cell in table.column(at)]
    if depths == sorted(depths):  # numbers of groups, one after the other
        return []
    return [(depth - depths[0] + 1, name) for depth, name in zip(depths, table.column(1 - at))]


def _placed_depths(table: Table) -> list[tuple[int, str]]:
    """How deep each row is and its name, of rows with one cell each; [] of another table."""
    found = []
    for cells in table.cells:
        filled = [(at, cell) for at, cell in enumerate(cells, 1) if not ranks.is_empty(cell)]
        if len(filled) != 1:
            return []
        found += filled
    return found


def _draft_of_table(table: Table, levels: Sequence[str] | None) -> Draft:
    if levels is not None:
        return of_chosen(table, levels)
    edges = edge_columns(table)
    if edges is not None:
        return parse_parents(*edges)
    check_titles(table)
    titles, named = table.titles, _names_column(table)
    known = ranks.columns(table.header, table.cells)
    levels = [column for column in known.ranks if column[0] != named]
    others = [at for at in range(len(titles)) if at != named]
    at = _path_at(table, ranked=len(levels) > 1)
    if at is not None:
        draft = of_path_column(table, at, named)
        repeated = len({path for _, path in draft.classes}) < len(table.rows)
        label = known.label if known.label is not None else named
        if label is not None and (titles[at] == WITHOUT_TAXON or repeated):
            draft = of_path_column(table, at, None if label == named else named, label)
        advice = "where paths end above the class, title the column of its name 'label'"
        return draft._replace(advice=advice)
    rest = known.others | {known.label, known.epithet, *(at for at, _ in levels)}
    if len(levels) > 1 or (levels and len(others) > 1 and set(others) <= rest):
        return of_ranks(table, known, named)
    return _leveled(table, others, named)


def _path_at(table: Table, ranked: bool) -> int | None:
    """The column of the paths, by its title or as the only one that holds some; of a table with
    ranks one that is titled 'path' alone.
    """
    at = next(table.titled(("path",) if ranked else ("path", *ranks.PATHS)), None)
    if at is not None or ranked:
        return at
    holding = [at for at in range(len(table.header)) if holds_paths(table.column(at))]
    return holding[0] if len(holding) == 1 else None


def _names_column(table: Table) -> int | None:
    """Position of a column 'class' that holds names to show, or None."""
    titles = table.titles
    for at in (0, len(titles) - 1):
        if titles[at] == "class" and not ranks.is_foreign(table.header[at]):
            return None if ranks.class_is_rank(table.header, table.cells, at) else at
    return None


def of_path_column(table: Table, at: int, named: int | None, label: int | None = None) -> Draft:
    """A table with a column of paths, and with `label` one of the name of the class below them."""
    source = table.source
    separator = path_separator(table.column(at)) or "/"
    classes = [(line, path_of(source, line, cells[at], separator)) for line, cells in table.rows]
    classes, bare_notes = without_bare(classes)
    if label is not None:
        names = [checked_key(source, line, cells[label]) for line, cells in table.rows]
        classes = [
            (line, path if path[-1] == name else (*path, name))
            for name, (line, path) in zip(names, classes)
        ]
    notes = separator_notes(separator) + bare_notes
    rest = _left_out(table, at, named, label)
    if rest:
        notes += (f"the paths are in the column {table.header[at]!r}; {rest}",)
    return _named(table, classes, named, notes, own_levels=False)


def of_ranks(
    table: Table, known: ranks.Columns, named: int | None, of_images: bool = False
) -> Draft:
    """A table with titles of ranks, of classes or of images."""
    header, plain = table.header, table.titles
    levels = _with_unknown(table, known, named)
    levels = [at for at in levels if not all(map(ranks.is_empty, table.column(at)))] or levels
    levels = without_epithets(table, levels, known.label)
    label = known.label
    if len(levels) == 1 and _is_above(table, label, levels[0]):
        levels, label = [label, *levels], None
    titles = {at: plain[at] for at in levels}
    genus = next((at for at in levels if titles[at] == "genus"), None)
    epithet = known.epithet if "species" not in titles.values() and genus is not None else None
    if epithet is not None:
        levels = [*levels, epithet]
    table, whole = with_whole_names(table, levels)
    if _needs_label(table, label, levels, epithet, of_images):
        levels = [*levels, label]
    titled = {at: title for at, title in titles.items() if at != label}
    titled |= {} if epithet is None else {epithet: "species"}
    classes, notes, of_levels = paths_of_cells(table, levels, titled, label)
    notes += whole
    rest = _left_out(table, *levels, named)
    if rest or levels != sorted(levels):
        shown = " > ".join(header[at] for at in levels)
        tail = f"; {rest}" if rest else f" ({table.advice})"
        notes += (f"the columns are read as levels {shown}{tail}",)
    advice = ""
    if rest:
        advice = (
            "a table has one row for each class; if the rows differ in columns that are left out,"
            f" {table.advice}"
        )
    draft = _named(table, classes, named, notes, of_levels=of_levels)
    return draft._replace(advice=advice)


def _with_unknown(table: Table, known: ranks.Columns, named: int | None) -> list[int]:
    """Columns of ranks from the top down, and between them those that nest between two."""
    order = [at for at, _ in known.ranks if at != named]
    taken = {*order, *known.others, known.label, known.epithet, named}
    levels, cells = [], table.cells
    for above, below in zip(order, order[1:]):
        step = 1 if below > above else -1
        between = [at for at in range(above + step, below, step) if at not in taken]
        between = [at for at in between if ranks.is_level(cells, at, above, below)]
        levels += [above, *between]
        taken.update(between)
    return [*levels, order[-1]]


def _is_above(table: Table, label: int | None, rank: int) -> bool:
    """Whether a column such as 'category' holds groups of the taxa of the only rank, and not their
    names, as one of scientific names does, of which synonyms share one.
    """
    if label is None or not _may_hold_groups(table.header[label]):
        return False
    group_of: dict[str, str] = {}
    for row in table.cells:
        if ranks.is_empty(row[rank]) or group_of.setdefault(row[rank], row[label]) != row[label]:
            return False
    groups = [group for group in group_of.values() if not ranks.is_empty(group)]
    return len(set(groups)) < len(groups)


def _may_hold_groups(title: str) -> bool:
    """Whether a title is neither one of labels or folders nor one of names of taxa."""
    first, last = map(ranks.LABELS.index, ("category", "taxa"))
    return first <= ranks.LABELS.index(ranks.plain(title)) <= last


def _is_label(title: str) -> bool:
    """Whether a title is one of labels or folders, which are below all ranks."""
    return ranks.LABELS.index(ranks.plain(title)) < ranks.LABELS.index("category")


def _needs_label(
    table: Table, label: int | None, levels: list[int], epithet: int | None, of_images: bool
) -> bool:
    """Whether the column of the class's own name is a level below the ranks: always a column of
    labels or folders, and a scientific name where the species is not among the ranks, or where
    rows of classes are equal without it. Those of images are equal anyway.
    """
    if label is None or label in levels:
        return False
    titles = table.titles
    if _is_label(table.header[label]):
        return True
    lowest = ranks.RANKS[ranks.RANKS.index("species") :]
    species = epithet is not None or any(titles[at] in lowest for at in levels)
    paths = {tuple(cells[at] for at in levels) for cells in table.cells}
    return not species or (len(paths) < len(table.rows) and not of_images)


def _leveled(table: Table, levels: list[int], named: int | None) -> Draft:
    """A table whose columns are levels from left to right, or in the order of their numbers."""
    if not levels:
        raise table.fault(
            1,
            f"there is no column for the path and none for a level, only {table.listed}; give a"
            " column 'path' with paths such as animal/bird/owl, or a column for each level from the"
            " top down, such as family, genus, species; a column 'class' at either end holds the"
            " names to show",
        )
    notes = ()
    lowest = named if named is not None else levels[0]
    above = [at for at in levels if at != lowest]
    if _is_lowest(table, lowest, above):
        notes = (f"the column {table.header[lowest]!r} is the lowest level ({table.advice})",)
        levels, named = [*above, lowest], None
    numbers = [re.fullmatch(r"(\D*)(\d+)", table.header[at]) for at in levels]
    if all(numbers) and len({found[1] for found in numbers}) == 1:  # level1, level2, ...
        levels = [at for _, at in sorted(zip((int(found[2]) for found in numbers), levels))]
    if len(levels) == 1:
        title = table.header[levels[0]]
        cells = [title, *table.column(levels[0])]
        for mark in "/>":
            if any(mark in cell for cell in cells):
                raise table.fault(
                    1,
                    f"the only level {title!r} has a '{mark}' in it; a column of paths has the"
                    " title 'path', and a file of paths without a title is read with"
                    " --hierarchy_format paths",
                )
    classes, more, of_levels = paths_of_cells(table, levels, _titles(table, levels))
    return _named(table, classes, named, notes + more, of_levels=of_levels)


def _is_lowest(table: Table, at: int, levels: Sequence[int]) -> bool:
    """Whether a column has another value in each row, and the only other level has not: read as
    the upper one it would relate no two classes.
    """
    single = len(levels) == 1 and len(set(table.column(levels[0]))) < len(table.rows)
    return single and len(set(table.column(at))) == len(table.rows)


def of_chosen(table: Table, levels: Sequence[str]) -> Draft:
    """A table with the columns that the user names."""
    check_titles(table)
    found = []
    for level in levels:
        at = column_named(table, level)
        if at in found:
            raise table.fault(1, f"{table.flag} names the column {table.header[at]!r} twice")
        found.append(at)
    if len(found) == 1 and path_separator(table.column(found[0])) in ("/", *NEVER_IN_NAMES):
        return of_path_column(table, found[0], None)
    table, whole = with_whole_names(table, found)
    classes, notes, of_levels = paths_of_cells(table, found, _titles(table, found))
    return without_common_root(Draft(classes, notes=notes + whole, ranks=of_levels))


def column_named(table: Table, level: str) -> int:
    """Where the column is that the user names. Raises: ValueError: If there is no such column."""
    if level in table.header:
        return table.header.index(level)
    if table.titles.count(ranks.plain(level)) != 1:
        message = f"{table.flag} names {level!r}, but the columns are {table.listed}"
        raise table.fault(1, message)
    return table.titles.index(ranks.plain(level))


def _titles(table: Table, levels: Sequence[int]) -> dict[int, str]:
    """What levels are called: their rank where the title is one, else the title."""
    plain, header = table.titles, table.header
    return {at: plain[at] if plain[at] in ranks.RANKS else header[at] for at in levels}


def paths_of_cells(
    table: Table, levels: list[int], titles: dict[int, str], label: int | None = None
) -> tuple[list[tuple[int, Path]], tuple[str, ...], dict[Path, str]]:
    """The path of each row, a note on ranks that are missing above filled ones, and what the levels
    of the nodes are called, '' where rows differ.
    """
    classes, gaps = [], []
    named: dict[Path, str] = {}
    unplaced: dict[str, None] = {}
    for line, cells in table.rows:
        filled = [at for at in levels if not ranks.is_empty(cells[at])]
        groups = [at for at in filled[:-1] if titles.get(at) in ranks.RANKS]
        vague = [at for at in groups if ranks.is_unplaced(cells[at])]
        unplaced.update(dict.fromkeys(cells[at] for at in vague))
        kept = [at for at in filled if at not in vague]
        if not kept:
            raise table.fault(
                line,
                "no level is filled; fill in the class or remove the line (levels are"
                f" {', '.join(table.header[at] for at in levels)}; {table.advice})",
            )
        lowest = [at for at in kept if at != label] or kept  # a label has no rank
        above = levels[: levels.index(lowest[-1])]
        gaps += [(line, at) for at in above if at not in filled][:1]
        keys = [checked_key(table.source, line, cells[at]) for at in kept]
        if kept[-1] == label and keys[-2:-1] == keys[-1:]:  # the taxon is of the rank above
            keys.pop()
        classes.append((line, tuple(keys)))
        for depth, at in enumerate(kept[: len(keys)], 1):
            title = titles.get(at, "")
            if named.setdefault(tuple(keys[:depth]), title) != title:
                named[tuple(keys[:depth])] = ""
    notes = []
    if gaps:
        line, at = gaps[0]
        notes.append(
            f"{len(gaps)} of {len(table.rows)} rows with an empty level above a filled one, which"
            f" is skipped, such as {table.header[at]} in {place(line)} (fill in cells that a"
            " spreadsheet shows merged with the one above)"
        )
    if unplaced:
        notes.append(
            f"{', '.join(map(repr, unplaced))} in the place of a rank is not a group of taxa, and"
            " counts as empty"
        )
    return classes, tuple(notes), named


def _named(
    table: Table,
    classes: list[tuple[int, Path]],
    named: int | None,
    notes: tuple[str, ...],
    own_levels: bool = True,
    of_levels: Mapping[Path, str] = {},
) -> Draft:
    """The draft with names to show from a column, if there is one."""
    if named is None:
        return without_common_root(Draft(classes, notes=notes, ranks=of_levels))
    shown, title = table.column(named), table.header[named]
    titled = {(path, name) for (_, path), name in zip(classes, shown)}
    names = {path: name for (_, path), name in zip(classes, shown) if name}
    way_out = f"if it is a level, name the levels: {table.advice}"
    if own_levels and len({path for path, _ in titled}) < len(titled):
        raise table.fault(
            1, f"rows differ only in the column {title!r}, which holds names to show; {way_out}"
        )
    if own_levels and len(set(names.values())) < len(names):
        raise table.fault(1, f"the names in the column {title!r} repeat; {way_out}")
    return without_common_root(Draft(classes, names, notes=notes, ranks=of_levels))


def _left_out(table: Table, *used: int | None) -> str:
    """Which columns are not used, '' if none is."""
    titles = [title for at, title in enumerate(table.header) if at not in used]
    return f"left out: {', '.join(map(repr, titles))} ({table.advice})" if titles else ""
