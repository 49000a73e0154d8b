"""Parsers of hierarchy files with one class a line: paths, and tables of ranks."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hierarchies import ranks
from hierarchies.draft import (
    MAX_DEPTH,
    ROOT,
    Draft,
    Item,
    check_depth,
    check_number,
    checked_key,
    fault,
    from_items,
    place,
    without_common_root,
)
from hierarchies.edges import edge_columns, parse_parents
from hierarchies.rows import Row, Table, check_titles, delimiter_of, numbered_lines, table_rows
from hierarchies.tree import Path, parse_path

# what may stand between the names of a path, in the order in which it is tried
SEPARATORS = {"/": "/", "->": "->", ">": ">", "|": "|", "\t": "tab", ";": ";", ",": ",", "\\": "\\"}
_NEVER_IN_NAMES = ("->", ">", "|")
_IN_NAMES = ";,\\"  # also within names: a separator only where most lines have it and none a '/'
_WITHOUT_TAXON = "higherclassification"  # of Darwin Core: the taxa above the one of the row
_FOLDERS = ("folder", "foldername")  # of a table of images mostly where the file is
# a rank whose name is not known, in lineages of QIIME and its like: k__Animalia;p__;c__
_BARE = re.compile(r"[a-z]{1,3}__", re.IGNORECASE)
_WITH_RANKS = re.compile(r"[a-z]{1,3}__[^;]*;", re.IGNORECASE)
_AROUND = re.compile(r"^/+|(?<!\\)/+$")  # '/' at the ends of a path, but not an escaped one
# the second part of a name alone: an epithet, or what stands in its place, such as 'sp. 1'
_EPITHET = re.compile(r"(?:[^\W\d_]|-){3,}|(?:sp|spp|cf|aff|nr|gr|ssp|subsp|var)\b.*")
_SHARE = re.compile(r"[01](?:\.\d*)?|\.\d+|\d(?:\.\d*)?[eE]-\d+")  # a number from 0 to 1
_ROUNDING = 0.005  # of a share
_DEPTHS = ("depth", "level", "lvl", "indent", "indentation")
_BELOW_SPECIES = ("subspecies", "variety", "subvariety", "forma")


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


def parse_paths(text: str, source: str) -> Draft:
    r"""One class a line: its path, keys joined by '/', a '/' inside a key written '\/'. Empty lines
    do not count.

    Where most lines have another separator, it is taken instead and noted: > -> | ; , \ or a tab.
    A path that comes again counts once, with a note. Arrows (> or ->) from each node to those below
    it, a line for each, are a tree of parents.
    """
    _, start = delimiter_of(text)
    lines = [(number, line) for number, line in numbered_lines(text) if number > 1 or not start]
    if not lines:
        raise fault(
            source, None, "the file is empty; expected one path such as animal/bird/owl a line"
        )
    separator = path_separator([line for _, line in lines]) or "/"
    found = [(number, _path(source, number, line, separator)) for number, line in lines]
    if separator in ("->", ">") and _are_edges([path for _, path in found]):
        rows = [Row(number, [*path]) for number, path in found]
        return parse_parents(Table(source, ["left", "right"], rows), node=1, above=0, name=1)
    found, bare_notes = _without_bare(found)
    first: dict[Path, int] = {}
    for number, path in found:
        first.setdefault(path, number)
    notes = (
        *_separator_notes(separator),
        *_repeat_notes("lines", len(lines) - len(first)),
        *bare_notes,
    )
    classes = [(number, path) for path, number in first.items()]
    return without_common_root(Draft(classes, notes=notes))


def _are_edges(paths: Sequence[Path]) -> bool:
    """Whether paths are the steps of a tree, each once: what is below one is above another."""
    if any(len(path) != 2 or path[0] == path[1] for path in paths):
        return False
    above, below = map(set, zip(*paths))
    return len(below) == len(paths) and bool(above & below)


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
    return draft._replace(notes=draft.notes + _repeat_notes("rows", len(table.rows) - len(first)))


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


def _repeat_notes(what: str, count: int) -> tuple[str, ...]:
    return (f"{count} {what} say the same as one before and count once",) if count else ()


def _draft_of_table(table: Table, levels: Sequence[str] | None) -> Draft:
    if levels is not None:
        return _chosen(table, levels)
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
        draft = _path_column(table, at, named)
        repeated = len({path for _, path in draft.classes}) < len(table.rows)
        label = known.label if known.label is not None else named
        if label is not None and (titles[at] == _WITHOUT_TAXON or repeated):
            draft = _path_column(table, at, None if label == named else named, label)
        advice = "where paths end above the class, title the column of its name 'label'"
        return draft._replace(advice=advice)
    rest = known.others | {known.label, known.epithet, *(at for at, _ in levels)}
    if len(levels) > 1 or (levels and len(others) > 1 and set(others) <= rest):
        return _ranked(table, known, named)
    return _leveled(table, others, named)


def _path_at(table: Table, ranked: bool) -> int | None:
    """The column of the paths, by its title or as the only one that holds some; of a table with
    ranks one that is titled 'path' alone.
    """
    titles = table.titles
    wanted = ("path",) if ranked else ("path", *ranks.PATHS)
    at = next((titles.index(title) for title in wanted if title in titles), None)
    if at is not None or ranked:
        return at
    holding = [at for at in range(len(titles)) if _holds_paths(table.column(at))]
    return holding[0] if len(holding) == 1 else None


def paths_of_rows(table: Table, levels: Sequence[str] | None = None) -> RowPaths:
    """The path of the class of each row, where rows are images and not classes.

    Levels are the columns that are named, else a column of paths (as EcoTaxa's hierarchy), else
    titles of ranks with the class's own label below them, else a label alone; see `_class_columns`.

    Raises: ValueError: If no column is known to hold classes, or a row has none; the line is named.
    """
    used, kind = _class_columns(table, levels)
    distinct: dict[tuple[str, ...], Row] = {}
    keys = [tuple(row.cells[at] for at in used) for row in table.rows]
    for key, row in zip(keys, table.rows):
        distinct.setdefault(key, Row(row.line, list(key)))
    names = [table.header[at] for at in used]
    table = table._replace(header=names, rows=list(distinct.values()))
    draft = _draft_of_rows(table, kind, levels)
    notes = draft.notes
    if kind != "chosen" and not any("read as levels" in note for note in notes):
        columns = "column" if len(names) == 1 else "columns"
        made = f"classes are made of the {columns} {' > '.join(names)} ({table.advice})"
        notes = (made, *notes)
    paths = dict(zip(distinct, (path for _, path in draft.classes)))
    return RowPaths([paths[key] for key in keys], notes, draft.ranks)


def _draft_of_rows(table: Table, kind: str, levels: Sequence[str] | None) -> Draft:
    """The classes of images by the columns of a kind, see `_class_columns`, which are all that the
    table has.
    """
    if kind == "chosen":
        return _chosen(table, levels)
    if kind == "path":
        return _path_column(table, 0, None, 1 if len(table.header) > 1 else None)
    labels, title = table.column(0), table.header[0]
    alone = len(table.header) == 1
    if alone and _holds_paths(labels):
        return _path_column(table, 0, None)
    if kind == "ranks":
        known = ranks.columns(table.header, table.cells)
        draft = _ranked(table, known, None, of_images=True)
    else:
        classes, notes, of_levels = _paths_of_cells(table, [0], {})
        draft = Draft(classes, notes=notes, ranks=of_levels)
    if alone and 2 * sum("/" in label for label in labels) > len(labels):
        note = f"the '/' in {title!r} is of a name; {table.flag} {title} reads paths"
        draft = draft._replace(notes=(*draft.notes, note))
    return draft


def _class_columns(table: Table, levels: Sequence[str] | None) -> tuple[list[int], str]:
    """Positions of the columns that make the class of images, and what they are: 'chosen' as
    `levels`, a 'path' with perhaps a label behind it, 'ranks' from the top down with an epithet and
    a label, or a 'label'.

    A column titled as one of lineages is one only where it holds some, or nothing else says the
    class, and no two ranks say it better; 'path' is one in any case.
    """
    titles = table.titles
    if levels:
        chosen = {_position(table, level) for level in levels}
        return sorted(chosen | _genus(titles, chosen)), "chosen"
    known = _of_images(table)
    label = [at for at in (known.label,) if at is not None]
    path_at = next((titles.index(name) for name in ranks.PATHS if name in titles), None)
    if path_at is not None and titles[path_at] != "path":
        others = bool(known.ranks or label)
        separated = path_separator(table.column(path_at)) is not None
        if len(known.ranks) > 1 or (others and not separated):
            path_at = None
    if path_at is not None:
        return [path_at, *(label if titles[path_at] == _WITHOUT_TAXON else ())], "path"
    epithet = [at for at in (known.epithet,) if at is not None]
    used = [*(at for at, _ in known.ranks), *epithet, *label]
    if used:
        return used, "ranks" if known.ranks else "label"
    scores = _scores(table)
    if scores:
        raise table.fault(
            1,
            f"{', '.join(map(repr, scores[:5]))} are columns with a number for each class: write"
            " one column 'label' with the name of the class of each image instead (scores of a"
            " classifier are measured by evaluate.py --scores)",
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
    names beside them, one for each, in another column of labels or in those of ranks.
    """
    known = _with_folders(table)
    if known.label is None or not ranks.are_numbers(table.column(known.label)):
        return known
    titles, numbers = table.titles, table.column(known.label)
    named = (titles.index(title) for title in ranks.LABELS if title in titles)
    named = (at for at in named if not ranks.are_numbers(table.column(at)))
    name = next((at for at in named if _one_each(numbers, table.column(at))), None)
    if name is not None:
        return known._replace(label=name)
    used = [*(at for at, _ in known.ranks), *(at for at in (known.epithet,) if at is not None)]
    taxa = ["/".join(row[at] for at in used if not ranks.is_empty(row[at])) for row in table.cells]
    return known._replace(label=None) if used and _one_each(numbers, taxa) else known


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


def _scores(table: Table) -> list[str]:
    """Columns of numbers from 0 to 1 whose sum is 1 in each row, but those of 0 alone; [] if there
    are none.
    """
    columns = {}
    for at, title in enumerate(table.header):
        cells = table.column(at)
        if all(map(_SHARE.fullmatch, cells)) and any(map(float, cells)):
            columns[title] = [*map(float, cells)]
    sums = map(sum, zip(*columns.values()))
    single = len(columns) > 1 and all(abs(total - 1) < _ROUNDING * len(columns) for total in sums)
    return [*columns] if single else []


def _holds_paths(labels: Sequence[str]) -> bool:
    """Whether most labels of a column that is not titled as one of paths are parted by '>', '->'
    or a bar, as in 'Copepoda > Calanus', which are in no name, or say their ranks, as in
    'p__Arthropoda;c__Copepoda', or all begin with '/'.
    """
    said = sum(bool(_WITH_RANKS.match(label)) for label in labels)
    if all(label.startswith("/") for label in labels) or 2 * said > len(labels):
        return True
    mark = path_separator(labels)
    return mark in _NEVER_IN_NAMES and 2 * sum(mark in label for label in labels) > len(labels)


def path_separator(written: Sequence[str]) -> str | None:
    """What separates the names of paths: one of SEPARATORS, or None if no line has any.

    '/' unless more lines have '>', '|' or a tab. A character that is common in names counts only
    where no line has a '/' and more than half have it.
    """
    counts = {mark: sum(mark in line for line in written) for mark in SEPARATORS}
    found = [
        mark
        for mark in SEPARATORS
        if counts[mark]
        and (mark not in _IN_NAMES or (not counts["/"] and 2 * counts[mark] > len(written)))
    ]
    return max(found, key=counts.get, default=None)  # the first of equals


def _separator_notes(separator: str) -> tuple[str, ...]:
    if separator == "/":
        return ()
    return (f"the names of a path are separated by {SEPARATORS[separator]!r} there",)


def _path(source: str, line: int, written: str, separator: str = "/") -> Path:
    check_depth(source, line, min(written.count(separator), MAX_DEPTH + 1))
    if separator == "/":
        inner = _AROUND.sub("", written)  # as 'find' and 'ls -d */' write folders
        return tuple(checked_key(source, line, key) for key in parse_path(inner or written))
    keys = written.split(separator)
    path = tuple(checked_key(source, line, key) for key in keys if key.strip())
    if not path:
        raise fault(source, line, f"{written!r} has no name beside its separators")
    return path


def _without_bare(
    classes: Sequence[tuple[int, Path]],
) -> tuple[list[tuple[int, Path]], tuple[str, ...]]:
    """The paths without ranks that have no name, such as 'g__', which would be a group of all that
    lack one; and a note on them.
    """
    bare = dict.fromkeys(key for _, path in classes for key in path if _BARE.fullmatch(key))
    if not bare:
        return [*classes], ()
    kept = [(line, tuple(key for key in path if key not in bare) or path) for line, path in classes]
    note = f"{', '.join(map(repr, bare))} in a path is a rank without a name, and counts as empty"
    return kept, (note,)


def _names_column(table: Table) -> int | None:
    """Position of a column 'class' that holds names to show, or None."""
    titles = table.titles
    for at in (0, len(titles) - 1):
        if titles[at] == "class" and not ranks.is_foreign(table.header[at]):
            return None if ranks.class_is_rank(table.header, table.cells, at) else at
    return None


def _path_column(table: Table, at: int, named: int | None, label: int | None = None) -> Draft:
    """A table with a column of paths, and with `label` one of the name of the class below them."""
    source = table.source
    separator = path_separator(table.column(at)) or "/"
    classes = [(line, _path(source, line, cells[at], separator)) for line, cells in table.rows]
    classes, bare_notes = _without_bare(classes)
    if label is not None:
        names = [checked_key(source, line, cells[label]) for line, cells in table.rows]
        classes = [
            (line, path if path[-1] == name else (*path, name))
            for name, (line, path) in zip(names, classes)
        ]
    notes = _separator_notes(separator) + bare_notes
    rest = _left_out(table, at, named, label)
    if rest:
        notes += (f"the paths are in the column {table.header[at]!r}; {rest}",)
    return _named(table, classes, named, notes, own_levels=False)


def _ranked(
    table: Table, known: ranks.Columns, named: int | None, of_images: bool = False
) -> Draft:
    """A table with titles of ranks, of classes or of images."""
    header, plain = table.header, table.titles
    levels = _with_unknown(table, known, named)
    levels = [at for at in levels if not all(map(ranks.is_empty, table.column(at)))] or levels
    levels = _without_epithets(table, levels, known.label)
    label = known.label
    if len(levels) == 1 and _is_above(table, label, levels[0]):
        levels, label = [label, *levels], None
    titles = {at: plain[at] for at in levels}
    genus = next((at for at in levels if titles[at] == "genus"), None)
    epithet = known.epithet if "species" not in titles.values() and genus is not None else None
    if epithet is not None:
        levels = [*levels, epithet]
    table = _with_whole_names(table, levels)
    if _needs_label(table, label, levels, epithet, of_images):
        levels = [*levels, label]
    titled = {at: title for at, title in titles.items() if at != label}
    titled |= {} if epithet is None else {epithet: "species"}
    classes, notes, of_levels = _paths_of_cells(table, levels, titled, label)
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


def _with_whole_names(table: Table, levels: Sequence[int]) -> Table:
    """With whole names in the place of epithets alone, which taxa of several genera may share:
    'Calanus minor' for 'minor'. What is below a species is written behind its name likewise.
    """
    titles, column = table.titles, {table.titles[at]: at for at in levels}
    above = titles.index("genus") if "genus" in titles else None
    for title in (*ranks.EPITHETS, "species", *_BELOW_SPECIES):
        at = column.get(title)
        if at is None or above is None:
            continue
        if title in ranks.EPITHETS or _holds_epithets(table, above, at):
            table = _behind(table, above, at)
        above = at
    return table


def _holds_epithets(table: Table, above: int, at: int) -> bool:
    """Whether a column of names has epithets alone and otherwise whole names, which begin as those
    of the column above.
    """
    pairs = [(row[above], row[at]) for row in table.cells]
    pairs = [pair for pair in pairs if not any(map(ranks.is_empty, pair))]
    short = [name for up, name in pairs if not _begins(name, up)]
    return not all(map(ranks.is_unplaced, short)) and all(map(_is_epithet, short))


def _is_epithet(name: str) -> bool:
    return bool(_EPITHET.fullmatch(name)) and name[0].islower()


def _begins(name: str, above: str) -> bool:
    """Whether a name begins with that of the taxon above, as one of a species with its genus."""
    return f"{_spaced(name)} ".startswith(f"{_spaced(above)} ")


def _spaced(name: str) -> str:
    return name.casefold().replace("_", " ")


def _behind(table: Table, above: int, at: int) -> Table:
    """With the names of one column written behind those of another, where they do not begin so."""
    rows = []
    for line, cells in table.rows:
        up, name = cells[above], cells[at]
        if not any(map(ranks.is_empty, (up, name))) and not ranks.is_unplaced(name):
            name = name if _begins(name, up) else f"{up} {name}"
            cells = [*cells[:at], name, *cells[at + 1 :]]
        rows.append(Row(line, cells))
    return table._replace(rows=rows)


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


def _without_epithets(table: Table, levels: list[int], label: int | None) -> list[int]:
    """The levels without species and what is below, where those cells hold epithets alone and
    another column has the whole name: Calanus, finmarchicus and Calanus finmarchicus in WoRMS,
    which for a synonym begins with another genus.
    """
    plain = table.titles
    titles = [plain[at] for at in levels]
    if label is None or "genus" not in titles or "species" not in titles:
        return levels
    genus, species = levels[titles.index("genus")], levels[titles.index("species")]
    filled = [row for row in table.cells if not ranks.is_empty(row[species])]
    whole = sum(_begins(row[label], row[genus]) for row in filled)  # but of synonyms
    if 2 * whole > len(filled) and all(_is_epithet(row[species]) for row in filled):
        return [at for at in levels if at not in levels[levels.index(species) :]]
    return levels


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
    classes, notes, of_levels = _paths_of_cells(table, levels, _titles(table, levels))
    return _named(table, classes, named, notes, of_levels=of_levels)


def _chosen(table: Table, levels: Sequence[str]) -> Draft:
    """A table with the columns that the user names."""
    check_titles(table)
    found = []
    for level in levels:
        at = _position(table, level)
        if at in found:
            raise table.fault(1, f"{table.flag} names the column {table.header[at]!r} twice")
        found.append(at)
    if len(found) == 1 and path_separator(table.column(found[0])) in ("/", *_NEVER_IN_NAMES):
        return _path_column(table, found[0], None)
    table = _with_whole_names(table, found)
    classes, notes, of_levels = _paths_of_cells(table, found, _titles(table, found))
    return without_common_root(Draft(classes, notes=notes, ranks=of_levels))


def _position(table: Table, level: str) -> int:
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


def _paths_of_cells(
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
