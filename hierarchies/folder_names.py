"""What the names of folders say: that they are parts of a split or of the work, not classes."""

import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from hierarchies.tree import Hierarchy

# names of the parts of a split, in English and in other languages without accents, with what people
# write before and after them
_PARTS = re.compile(
    r"(?:\d+|my|the|images?|imgs?|photos?|data(?:set)?)?(?:(?P<train>train(?:ing|ed)?|trn"
    r"|entrenamiento|entrainement|apprentissage|treino|treinamento|addestramento|обучение"
    r"|训练|訓練|学習)"
    r"|(?P<val>val(?:id(?:ation|ate)?)?|dev|validacion|validacao|validierung|валидация|验证|検証)"
    r"|(?P<test>test(?:ing)?|tst|prueba|teste|тест|测试|テスト)"
    r"|(?P<unclear>eval(?:uation)?|holdout))"
    r"(?:set|s?daten|data|split|images?|imgs?|集|数据)?"
)
# names of folders of one part of the work each: fold1, batch 02, station B
_NUMBERED = re.compile(
    r"(?P<what>fold|part|split|subset|set|batch|chunk|y|yr|year|month|week|day|haul|tow|net|dive"
    r"|st|station|stn|site|transect|plot|plate|sample|cruise|trip|survey|campaign|deployment|run"
    r"|session|replicate|rep|camera|cam|gopro|mesh|annotator|observer)"
    r"(?:[\W_]*\d[\W\d_]*|[\W_]+[a-h]\d*)"
)
# of a time (2021, 2021-05 cruise, 01.05.2021, May, D20210501T101500_IFCB109), a size or depth
# (20-60um), a magnification (10x), or of what was done to the images
_OF_WORK = re.compile(
    r"(?:19|20)\d\d(?:\d{4})?(?!\d).*|\d\d?[\W_]\d\d?[\W_](?:19|20)\d\d"
    r"|d(?:19|20)\d{6}t\d{6}.*|ifcb\d+_(?:19|20)\d\d_\d{3}.*"
    r"|(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?"
    r"|sep(?:t(?:ember)?)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?|spring|summer|autumn|fall|winter)"
    r"|[<>]?\d+(?:[.,]\d+)?(?:\s*-\s*\d+(?:[.,]\d+)?)?\s*[\u00b5\u03bcu]?m|\d+x|x\d+"
    r"|(?:original|orig|raw|augmented|augmentations?|aug|processed|cropped|segmented|segmentations?"
    r"|masked|masks?|images?|thumbnails?|thumbs?|previews?)(?:[\W_]*(?:images?|imgs?|data))?"
)
# below a taxon also a stage, an age or a part of the body
_OF_ANIMALS = ("st", "day", "week", "month", "y", "yr", "year", "part")
# a species with its genus, or in English, which is no stage or view that several taxa share
_EPITHET = r"[ _](?:[a-z]{3,}|(?:spp?|cf|aff)\b).*"
_BINOMIAL = re.compile(f"[A-Z][a-z]+{_EPITHET}")
# of a genus or group, by its Latin end
_GENUS = re.compile(r"[A-Z][a-z]{2,}(?:ae?|[iue]s|um|os|on|[ai]x|ops)(?![a-z])")
_SPECIES = re.compile(_GENUS.pattern + _EPITHET)
# but 'Adult female' and 'Single cell' are
_SHARED = re.compile(
    r"(?:.*[ _])?(?:adults?|juveniles?|larva[el]?|eggs?|naupli(?:us|i)|copepodites?|zoeae?|pupae?"
    r"|(?:fe)?males?|stages?|cysts?|spores?|cells?|chains?|colon(?:y|ies)|single|parts?|fragments?"
    r"|pieces?|shells?|frustules?|empty|dead|living|alive|broken|whole|views?|dorsal|ventral|lateral"
    r"|specimens?|mass|sacs?|pellets?|instars?|sides?|sections?|tissues?|healthy|diseased|bleached"
    r"|(?:un)?infected|heads?|tails?|leaves|branches)(?:[ _].*)?",
    re.IGNORECASE,
)
UNCLEAR = "unclear"  # of a name that some write for validation and some for the test


def split_folders(hierarchy: Hierarchy) -> list[str]:
    """Folders that are named like the parts of a split: train, val, test, training, validation,
    test_images, ..., in any case, above or below the classes; [] if there are none.

    That is two different parts in one folder, or nothing else in the topmost one. A lone 'test' or
    'valid' beside other groups may well be a taxon's.
    """
    below = defaultdict(dict)
    for path in hierarchy.class_paths:
        for end, key in enumerate(path):
            below[path[:end]].setdefault(key)
    for above, keys in sorted(below.items()):
        names = part_names(keys)
        parts = {part for part in names.values() if part}
        if len(parts) > 1 or (not above and all(names.values())):
            return ["/".join((*above, name)) for name, part in names.items() if part]
    return []


def part_names(names: Iterable[str]) -> dict[str, str | None]:
    """`part_name` of names side by side, without what all of them begin or end with: 'lake_train'
    beside 'lake_test', 'train2021' beside 'val2021'.
    """
    names = [*dict.fromkeys(names)]
    found = {name: part_name(name) for name in names}
    if len(names) < 2 or any(found.values()):
        return found
    start = re.match(r"(?:.*[\W\d_])?", os.path.commonprefix(names)).end()
    rest = [name[start:] for name in names]
    end = re.match(r"(?:.*[\W\d_])?", os.path.commonprefix([name[::-1] for name in rest])).end()
    found = {name: part_name(one[: len(one) - end]) for name, one in zip(names, rest)}
    return found if len({*found.values()} - {None}) > 1 else dict.fromkeys(names)


@lru_cache(maxsize=10_000)  # asked for each folder of each image
def part_name(name: str) -> str | None:
    """'train', 'val' or 'test' for what people call these parts of a split, such as 'Training set',
    UNCLEAR for names such as 'holdout', None for others.
    """
    letters = unicodedata.normalize("NFKD", name.casefold())
    plain = "".join(letter for letter in letters if not unicodedata.combining(letter))
    found = _PARTS.fullmatch(re.sub(r"[\W_]+", "", plain))
    return found.lastgroup if found else None


def repeated_folders(hierarchy: Hierarchy) -> list[str]:
    """Topmost folders that hold the same classes over again, as those of folds, years or hauls do:
    fold1/Copepoda/Calanus and fold2/Copepoda/Calanus; [] if there are none.

    That is folders that are parts of the work by their names, as numbered ones and dates are, or
    one of which is named like a part of a split, or that hold the same species (or genera, if they
    are called like none themselves), where most of their classes are in others, too; or all, if
    their classes are alike and in groups. Others may well be alike: species 1 and 2, or all genera,
    may have the same stages, sexes and views, which may stand above them, too.
    """
    below: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for path in hierarchy.class_paths:
        if len(path) > 1:
            below[path[0]].add(path[1:])
    together: dict[str, list[str]] = defaultdict(list)
    for name in below:
        kind = _kind_of_work(name)
        if kind is not None:
            together[kind].append(name)
    parts = [name for name in below if part_name(name)]
    pairs = [[part, other] for part in parts for other in below if other != part]
    shared = all(map(_may_share, below))
    found = [*below] if not shared and _are_alike(hierarchy, [*below.values()]) else []
    for names in (*together.values(), *pairs):
        found += _held_again({name: below[name] for name in names})
    taxa = {
        name: {path for path in paths if _is_taxon(path[-1], name)} for name, paths in below.items()
    }
    again = _held_again(taxa)
    return sorted({*found, *(again if len(again) > 1 else ())})


def _may_share(top: str) -> bool:
    """Whether a folder is called as sexes, stages and views are, which may stand above the taxa,
    and not as one part of several: 'Section B'.
    """
    return bool(_SHARED.fullmatch(top)) and not re.search(r"\d|[ _][a-z]$", top, re.IGNORECASE)


def _is_taxon(name: str, top: str) -> bool:
    """Whether a folder is called as a genus or species is that is in no other topmost folder."""
    if _SHARED.fullmatch(name) or _may_share(top):
        return False
    of_genus = _GENUS.match(top)
    if of_genus or _BINOMIAL.fullmatch(top):  # of all corals there may be 'Pale colour'
        found = _SPECIES.fullmatch(name)
    else:
        found = _BINOMIAL.fullmatch(name)
    # what several genera hold may be called like one: their larvae are Megalopa and Zoea
    return bool(found or (not of_genus and _GENUS.fullmatch(name)))


def _held_again(below: Mapping[str, set[tuple[str, ...]]]) -> list[str]:
    """Folders of which most classes, and more than one, are in others of these, too."""
    times = Counter(path for paths in below.values() for path in paths)
    common = {name: sum(times[path] > 1 for path in paths) for name, paths in below.items()}
    return [name for name, count in common.items() if count > 1 and 2 * count > len(below[name])]


def parted_classes(hierarchy: Hierarchy) -> list[str]:
    """Folders of several classes, or beside the images of one, that hold a part of each by their
    names, as those of folds, years or hauls do: Calanus/fold1 and Oithona/fold1, Calanus/masks
    beside Calanus/1.png; [] if there are none.
    """
    below: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for path in hierarchy.class_paths:
        below[path[:-1]].add(path[-1])
    parted = {
        path: names
        for path, names in below.items()
        if path and all(_kind_of_work(name) not in (None, *_OF_ANIMALS) for name in names - {"."})
    }
    times = Counter(name for names in parted.values() for name in names - {"."})
    return [
        "/".join((*path, name))
        for path, names in parted.items()
        for name in sorted(names - {"."})
        if times[name] > 1 or "." in names  # beside images of the class itself
    ]


def _kind_of_work(name: str) -> str | None:
    """What a folder is called that holds a part of the work, such as 'fold'; None for others."""
    numbered = _NUMBERED.fullmatch(name.casefold())
    if numbered:
        return numbered["what"]
    return "" if _OF_WORK.fullmatch(name.casefold()) else None


def _are_alike(hierarchy: Hierarchy, classes: Sequence[set[tuple[str, ...]]]) -> bool:
    """Whether all topmost folders have the same classes, several and in groups, and no two of one
    name: those of taxa have names of their own, while both sexes may have the same stages.
    """
    if len(classes) < 2 or len(classes) < len(hierarchy.children(0)):
        return False
    first = classes[0]
    names = {path[-1] for path in first}
    in_groups = len(first) > 1 and min(map(len, first)) > 1
    return in_groups and len(names) == len(first) and all(paths == first for paths in classes)
