"""Epithets in tables of ranks: the second part of the name of a species, without the genus."""

import re
from collections.abc import Sequence

from hierarchies import ranks
from hierarchies.rows import Row, Table

# the second part of a name alone: an epithet, perhaps with its author, or what stands in its place,
# such as 'sp. 1'
_EPITHET = re.compile(
    r"(?:[x\u00d7] ?)?(?:[^\W\d_]|-){3,}(?:,? \(?[A-Z\u00c0-\u00de].*)?"
    r"|(?:sp|spp|cf|aff|nr|gr|ssp|subsp|var)\b.*"
)
_BELOW_SPECIES = ("subspecies", "variety", "subvariety", "forma")


def with_whole_names(table: Table, levels: Sequence[int]) -> tuple[Table, tuple[str, ...]]:
    """With whole names in the place of epithets alone, which taxa of several genera may share:
    'Calanus minor' for 'minor'; and a note where that changes any. What is below a species is
    written behind its name likewise.
    """
    before = table.cells
    titles, column = table.titles, {table.titles[at]: at for at in levels}
    above = titles.index("genus") if "genus" in titles else None
    for title in (*ranks.EPITHETS, "species", *_BELOW_SPECIES):
        at = column.get(title)
        if at is None or above is None:
            continue
        if title in ranks.EPITHETS or _holds_epithets(table, above, at):
            table = _behind(table, above, at)
        above = at
    pairs = (pair for rows in zip(before, table.cells) for pair in zip(*rows))
    name, whole = next((pair for pair in pairs if pair[0] != pair[1]), (None, None))
    if name is None:
        return table, ()
    return table, (f"epithets are written behind what they belong to: {name!r} as {whole!r}",)


def without_epithets(table: Table, levels: list[int], label: int | None) -> list[int]:
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


def _holds_epithets(table: Table, above: int, at: int) -> bool:
    """Whether a column of names has epithets alone or behind the first letter of the genus, and
    otherwise whole names, which begin as those of the column above.
    """
    pairs = [(row[above], row[at]) for row in table.cells]
    pairs = [pair for pair in pairs if not any(map(ranks.is_empty, pair))]
    short = [(up, name) for up, name in pairs if not _begins(name, up)]
    alone = [
        name.casefold() if up.isupper() else name
        for up, name in short
        if not _is_cut_short(name, up)
    ]
    placed = not all(ranks.is_unplaced(name) for _, name in short)
    return placed and all(map(_is_epithet, alone))


def _is_epithet(name: str) -> bool:
    return bool(_EPITHET.fullmatch(name)) and (name[0].islower() or name[0] == "\u00d7")


def _is_cut_short(name: str, above: str) -> bool:
    """Whether a name begins with the first letter of its genus: 'C. minor' of Calanus."""
    return name.startswith(f"{above[0]}.") and " " not in above


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
            if not _begins(name, up):
                rest = name[2:].strip() if _is_cut_short(name, up) else name
                name = f"{up} {rest}"
            cells = [*cells[:at], name, *cells[at + 1 :]]
        rows.append(Row(line, cells))
    return table._replace(rows=rows)
