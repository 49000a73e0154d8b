"""Which columns of a table are ranks of a taxonomy, and which only describe a taxon.

The titles are those of Darwin Core, WoRMS, GBIF, NCBI and ITIS, in any case, with or without
blanks, hyphens and underscores, and with or without 'dwc:' or 'taxon_' before them; and the words
of other languages for the ranks in common use, for a name and for a label.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

RANKS = (
    "domain realm subrealm superkingdom kingdom subkingdom infrakingdom superphylum"
    " phylum division subphylum subdivision infraphylum parvphylum gigaclass megaclass superclass"
    " class subclass infraclass subterclass parvclass superlegion legion cohort subcohort"
    " gigaorder megaorder superorder order suborder infraorder parvorder nanorder hyporder"
    " section subsection superfamily epifamily family subfamily infrafamily supertribe tribe"
    " subtribe infratribe genus subgenus speciesgroup speciessubgroup species subspecies variety"
    " subvariety form forma strain"
).split()
# ranks whose titles mean other things as well, such as a place in a list or a part of a survey
_AMBIGUOUS = "order section division form cohort domain realm legion".split()
_NUMBERED = ("class", "species")  # beside a label perhaps by its number
_PLACES = _AMBIGUOUS[1:]  # in words, too; an order in words is one of taxa
EPITHETS = ("specificepithet", "speciesepithet")
# the class itself, below all ranks: the first of these that a table has
LABELS = (
    "label labels rawlabel rawlabels classlabel classname labelname folder foldername category"
    " objectannotationcategory taxon taxa"
    " taxonname name scientificname canonicalname acceptedname acceptednameusage validname"
    " sciname originalnameusage concept"
).split()
PATHS = (
    "path lineage taxonomy taxonomicpath taxonpath classpath classification higherclassification"
    " taxohierarchy"
    " hierarchy objectannotationhierarchy labelhierarchy lineagenames labellineagenames"
).split()
PARENTS = (
    "parent parentid parentnameusageid parentnameusage parentaphiaid aphiaidparent parenttaxid"
    " parenttaxonid parenttsn parentkey parentnode parentname parenttaxon parentusagekey"
    " parentclass"
).split()
CHILDREN = (
    "child childid taxonid taxonconceptid aphiaid id taxid tsn usagekey key speciesid node nodeid"
    " scientificnameid"
).split()
# of the name that is in use for a synonym
ACCEPTED = (
    "acceptednameusageid acceptedid acceptedtaxonid aphiaidaccepted acceptedaphiaid validaphiaid"
    " acceptedtsn acceptedkey acceptednameusage"
).split()
_OTHER = (
    "rank taxonrank status taxonomicstatus nomenclaturalstatus authority author authorship"
    " scientificnameauthorship unacceptreason url lsid citation source qualitystatus modified"
    " matchtype ismarine isbrackish isfreshwater isterrestrial isextinct confidence vernacularname"
    " commonname dataset datasetid datasetname count number images remarks taxonremarks"
    " infraspecificepithet qualifier usagekey acceptednameusageid nameaccordingto language"
    " decimallatitude decimallongitude eventdate occurrenceid basisofrecord issue"
).split()
_EMPTY = {"na", "n/a", "n.a.", "#n/a", "nan", "null", "<na>"}
_EMPTY |= {"#ref!", "#name?", "#value!", "#null!", "#num!", "#div/0!"}  # of a formula in Excel
_MARKS = "-\u2013\u2014_.?"  # '-', '--', '?' ... in the place of a name
# what is written in the place of a rank that nobody knows or that a taxon does not have: taxa that
# share such a word are not related by it
_UNPLACED = {
    *"unknown unassigned unclassified unidentified undetermined unspecified undefined".split(),
    *"unplaced uncertain unranked indet indet. none".split(),
    *("not assigned", "not applicable", "not available", "not identified", "no rank"),
    "incertae sedis",
}
# in Latin, German, French, Spanish, Portuguese, Italian, Dutch and the languages of Scandinavia
# (each once where they share a word), Chinese, Japanese, Korean, Russian, Polish, Czech, Finnish,
# Turkish and Greek; without words of other common meanings, as kunta, which is a town in Finland
_WORDS = {
    "domain": "domäne domaene domaine dominio 域",
    "kingdom": "regnum reich règne reino regno rijk rike rige 界 царство królestwo říše alem"
    " βασίλειο 계",
    "phylum": "stamm embranchement filo stam rekke række 门 門 тип kmen kaari şube συνομοταξία 문",
    "division": "divisio abteilung división divisão divisione отдел",
    "class": "classis klasse classe clase klass 纲 綱 класс gromada třída luokka sınıf ομοταξία",
    "order": "ordo ordnung ordre orden ordem ordine orde ordning 目 отряд порядок rząd řád lahko"
    " takım τάξη 목",
    "family": "familia familie famille famiglia familj 科 семейство rodzina čeleď heimo familya"
    " οικογένεια 과",
    "tribe": "tribus tribu tribo 族 триба",
    "genus": "gattung genre género genere geslacht slekt slægt släkte 属 屬 род rodzaj suku cins"
    " γένος 속",
    "species": "art espèce especie specie soort 种 種 вид gatunek druh laji tür είδος 종",
    "variety": "varietas varietät variété variedad variedade varietà 变种 變種 変種",
    "label": "etikett étiquette etiqueta rótulo etichetta 标签 標籤 ラベル метка",
    "category": "kategorie catégorie categoria 类别 類別 カテゴリ",
    "scientificname": "wissenschaftlichername nomscientifique nombrecientífico nomecientífico"
    " nomescientifico wetenschappelijkenaam 学名 學名",
}
# what the same languages put before a rank
_PREFIXES = {
    "sub": "sub unter sous sotto onder under 亚 亞 亜 아 под pod ala alt υπο",
    "super": "super über ueber sopra over 总 總 上 상 над nad yli üst υπερ",
    "infra": "infra 下",
}
# words for a rank that also say 'kind' (of sample, of image), 'strain' or 'sequence', see `kinds`;
# and ranks that other languages call as English does
_KIND_WORDS = (
    "art genre genero genere soort stamm stam orden ordem orde filo тип род вид rodzaj druh laji"
    " cins tür 종"
).split()
_SHARED = "phylum genus".split()


class Columns(NamedTuple):
    """Which columns of a table, by position, hold what.

    Attributes:
        ranks: (position, rank) from the top down.
        epithet: Column of the species' epithet, to be written behind the genus, or None.
        label: Column of the class's own name, or None.
        others: Columns whose titles say that they are not levels.
    """

    ranks: tuple[tuple[int, str], ...]
    epithet: int | None
    label: int | None
    others: frozenset[int]


def of_levels(
    paths: Iterable[tuple[str, ...]], titles: Sequence[str]
) -> dict[tuple[str, ...], str]:
    """The title of each node's level, by its path, of a tree whose levels have these titles."""
    return {path[:at]: title for path in paths for at, title in enumerate(titles[: len(path)], 1)}


def _folded(word: str) -> str:
    """The word in lower case without accents."""
    letters = unicodedata.normalize("NFKD", word.casefold())
    return "".join(letter for letter in letters if not unicodedata.combining(letter))


_ENGLISH = {_folded(word): title for title, words in _WORDS.items() for word in words.split()}
_KINDS = {*map(_folded, _KIND_WORDS)}
_ENGLISH |= {
    _folded(prefix) + word: before + rank
    for before, prefixes in _PREFIXES.items()
    for prefix in prefixes.split()
    for word, rank in tuple(_ENGLISH.items())
    if before + rank in RANKS
}


def plain(title: str) -> str:
    """A title in lower case without marks, blanks and the prefixes of data standards, and in
    English where it is a rank, a name or a label in another language.
    """
    title = _without_marks(title)
    return title if title in RANKS else _ENGLISH.get(_word(title), title)


def plain_titles(header: Sequence[str]) -> list[str]:
    """The titles of a table as `plain` writes them, but 'class_name' as the rank where others, such
    as 'order_name', say that they mean ranks.
    """
    found = [plain(title) for title in header]
    named = (rank for title, rank in zip(header, found) if _squeezed(title).endswith("name"))
    if "class" in found or {*RANKS}.isdisjoint({*named} - {"species"}):
        return found
    return ["class" if title == "classname" else title for title in found]


def is_foreign(title: str) -> bool:
    """Whether a title says in another language than English what `plain` says of it."""
    return plain(title) != _without_marks(title)


def kinds(titles: Sequence[str], named: bool) -> set[str]:
    """Those of the titles of ranks that more likely say 'kind': beside ranks in English or a label,
    and no other rank in their own language.

    Args:
        titles: Of ranks.
        named: Whether another column is a label.
    """
    found = {title for title in titles if _is_kind(title)}
    others = [title for title in titles if title not in found]
    if any(map(is_foreign, others)) or (others and {*map(plain, others)} <= {*_SHARED}):
        return set()
    alone = len({plain(title) for title in found}) < 2
    return found if others or (named and alone) else set()


def _is_kind(title: str) -> bool:
    return _word(_without_marks(title)) in _KINDS


def _word(title: str) -> str:
    """A title without accents and without 'name' behind a rank, as in Artname, 科名."""
    word = _folded(title)
    named = re.fullmatch(r"(\w+?)(?:name|名|\u1106\u1167\u11bc)", word)
    return named[1] if named and _ENGLISH.get(named[1]) in RANKS else word


def _without_marks(title: str) -> str:
    """A title in lower case without marks, blanks and the prefixes of data standards."""
    title = _squeezed(title)
    taxon = re.fullmatch(r"taxon(\w+?)name", title) or re.fullmatch(r"taxon(\w+)", title)
    if taxon and taxon[1] in RANKS:
        return taxon[1]
    named = re.fullmatch(r"(\w+)name", title)
    if named and named[1] in RANKS and named[1] != "class":  # class_name is a label
        return named[1]
    return title


def _squeezed(title: str) -> str:
    """A title in lower case without blanks, marks and what data standards put before it."""
    before = r"^(?:dwc|dwc terms|gbif|ncbi|worms|itis)\s*\.|^\w[\w ]*:(?=.)"
    return re.sub(r"[\s_\-.:]+", "", re.sub(before, "", title.strip().casefold()))


def is_empty(cell: str) -> bool:
    """Whether a cell says that there is nothing, as R, pandas, spreadsheets and people write it."""
    return not cell.strip(_MARKS) or cell.casefold() in _EMPTY


def is_unplaced(cell: str) -> bool:
    """Whether a cell of a rank says that the rank is not known, such as 'incertae sedis'. In the
    place of a class the same word is a name, such as that of all images of unknown things.
    """
    return " ".join(cell.casefold().replace("_", " ").split()) in _UNPLACED


def columns(header: Sequence[str], rows: Sequence[Sequence[str]] = ()) -> Columns:
    """What the titles of a table say about its columns; with rows, a column that is called 'order'
    or the like and holds numbers, or parts most labels, is no rank.
    """
    titles = plain_titles(header)
    foreign = {position for position, title in enumerate(header) if is_foreign(title)}
    own = {title for position, title in enumerate(titles) if position not in foreign}
    label = next((titles.index(name) for name in LABELS if name in titles), None)
    # of one rank in two other languages the second
    doubled = {
        position
        for position in foreign
        if titles[position] not in own and titles.index(titles[position]) < position
    }
    found = [
        (position, title)
        for position, title in enumerate(titles)
        if title in RANKS
        and not (position in foreign and title in own)  # the same rank in English
        and position not in doubled
        and not (
            (position in foreign or title in _AMBIGUOUS or _counts(rows, title, position, label))
            and are_numbers(row[position] for row in rows)
        )
    ]
    found = [
        (position, title)
        for position, title in found
        if title not in _PLACES or not _parts_most(rows, _next_below(title, found, label), position)
    ]
    doubtful = kinds([header[position] for position, _ in found], label is not None)
    found = [(position, title) for position, title in found if header[position] not in doubtful]
    found.sort(key=lambda column: RANKS.index(column[1]))
    epithet = next((titles.index(name) for name in EPITHETS if name in titles), None)
    known = {*LABELS, *CHILDREN, *PARENTS, *_OTHER}
    others = {
        position
        for position, title in enumerate(titles)
        if title in known
        or re.search(r"(id|key|url)$", title)
        or (
            title in RANKS
            and (position, title) not in found
            and (position in doubled or not _is_kind(header[position]))
        )
    }
    return Columns(tuple(found), epithet, label, frozenset(others - {label}))


def _counts(rows: Sequence[Sequence[str]], title: str, at: int, label: int | None) -> bool:
    """Whether a rank may hold the numbers of the labels beside it, and no groups of them."""
    if title not in _NUMBERED or label is None:
        return False
    return len({row[at] for row in rows}) == len({(row[at], row[label]) for row in rows})


def _next_below(title: str, found: Sequence[tuple[int, str]], label: int | None) -> int | None:
    """Position of what a rank holds groups of: the next rank below whose title means nothing else,
    or else the label.
    """
    below = [(RANKS.index(rank), at) for at, rank in found if rank not in _AMBIGUOUS]
    return min((place for place in below if place[0] > RANKS.index(title)), default=(0, label))[1]


def _parts_most(rows: Sequence[Sequence[str]], below: int | None, at: int) -> bool:
    """Whether half of what stands in a column or more has several values in another, which then
    holds no groups of it: the section of a survey, the form of an animal.
    """
    if below is None:
        return False
    values: dict[str, set[str]] = {}
    for row in rows:
        if not is_empty(row[below]) and not is_empty(row[at]):
            values.setdefault(row[below], set()).add(row[at])
    return bool(values) and 2 * sum(len(several) > 1 for several in values.values()) >= len(values)


def are_numbers(cells: Iterable[str]) -> bool:
    """Whether there are cells that are not empty, and all of these are numbers."""
    empty = True
    for cell in cells:
        if not is_empty(cell):
            empty = False
            if not re.fullmatch(r"[+-]?\d+([.,]\d+)?", cell):
                return False
    return not empty


def class_is_rank(header: Sequence[str], rows: Sequence[Sequence[str]], at: int) -> bool:
    """Whether a column 'class' beside other ranks is the rank; else it holds names to show.

    Names to show are all different, and a rank has one value for all rows of the rank below it:
    where the values leave both open, the place decides. Among columns in the order of the ranks
    (or the reverse), 'class' is one of them.

    Args:
        header: Titles.
        rows: Cells of each row.
        at: Position of the column 'class', the first or the last one.
    """
    ranks = [(position, plain(title)) for position, title in enumerate(header)]
    ranks = [(position, title) for position, title in ranks if title in RANKS]
    if len(ranks) < 2:
        return False
    values = [row[at] for row in rows if not is_empty(row[at])]
    if len(set(values)) < len(values):
        return True
    below = [
        (RANKS.index(title), position)
        for position, title in ranks
        if RANKS.index(title) > RANKS.index("class")
    ]
    if below:
        nearest, seen = min(below)[1], {}
        for row in rows:
            if not is_empty(row[nearest]) and not is_empty(row[at]):
                if seen.setdefault(row[nearest], row[at]) != row[at]:
                    return False
    order = [RANKS.index(title) for _, title in ranks]
    return order in (sorted(order), sorted(order, reverse=True))


def is_level(rows: Sequence[Sequence[str]], at: int, above: int, below: int) -> bool:
    """Whether a column without a known title nests between two ranks: each of its values has one
    value of the rank above, and each value of the rank below has one of its values, and it is not
    a number.
    """
    up, down = {}, {}
    for row in rows:
        value = row[at]
        if is_empty(value) or is_empty(row[above]):
            return False
        if re.fullmatch(r"[\d.,:/\-+ ]+", value) or up.setdefault(value, row[above]) != row[above]:
            return False
        if not is_empty(row[below]) and down.setdefault(row[below], value) != value:
            return False
    return len(up) < len(rows)
