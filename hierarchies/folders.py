"""A tree of folders with images as a class hierarchy."""

import os
import re
import sys
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import lru_cache
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from files.text import composed, counted
from hierarchies.tree import Hierarchy

IMAGE_SUFFIXES = tuple(".jpg .jpeg .jfif .jpe .png .tif .tiff .bmp .gif .webp .avif".split())
# files that hold images all the same, and what to do with them
UNREAD_IMAGES = tuple(
    "heic heif jxl jp2 j2k jpx pgm ppm pnm pbm tga ico psd xcf dng nef cr2 cr3 arw orf raf rw2 raw"
    " czi nd2 lif oib oif vsi svs ndpi scn mrxs lsm dcm".split()
)
_ELSEWHERE = {
    "images in formats that are not read: convert them to PNG, JPEG or TIFF": (
        *UNREAD_IMAGES,
        *"svg eps pdf nii fits npy mp4 avi mov mkv".split(),
    ),
    "archives: unpack them": tuple("zip gz bz2 xz 7z rar".split()),
    "archives: unpack them; python scripts/unpack.py makes files and a table of WebDataset's": (
        "tar",
        "tgz",
    ),
    "tables: python scripts/unpack.py makes files and a table of those that hold images": (
        "parquet",
    ),
}
_TABLES = (".csv", ".tsv", ".json")
_JUNK = {
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "__macosx",
    "@eadir",
    "$recycle.bin",
    "lost+found",
}
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
# a species with its genus, which is no stage or view that several taxa share
_BINOMIAL = re.compile(r"[A-Z][a-z]+[ _](?:[a-z]{3,}|(?:spp?|cf|aff)\b).*")
# of a genus or group, by its Latin end
_GENUS = re.compile(r"[A-Z][a-z]{2,}(?:ae?|[iue]s|um|os|on|[ai]x|ops)(?![a-z])")
# but 'Adult female' and 'Single cell' are
_SHARED = re.compile(
    r"(?:.*[ _])?(?:adults?|juveniles?|larva[el]?|eggs?|naupli(?:us|i)|copepodites?|zoeae?|pupae?"
    r"|(?:fe)?males?|stages?|cysts?|spores?|cells?|chains?|colon(?:y|ies)|single|parts?|fragments?"
    r"|pieces?|shells?|frustules?|empty|dead|living|alive|broken|whole|views?|dorsal|ventral|lateral"
    r"|specimens?|mass|sacs?|pellets?)(?:[ _].*)?",
    re.IGNORECASE,
)
UNCLEAR = "unclear"  # of a name that some write for validation and some for the test
_COUNTED = 100_000  # files of a hidden folder that are looked at
_LAYOUT = (
    "expected <folder>/<group>/.../<class>/<image>, where every folder that directly holds images"
    " is a class"
)


@dataclass(frozen=True)
class FolderTree:
    """The images below a folder. All paths are relative to it, with '/', sorted by code point.

    Attributes (S images):
        hierarchy: A class for every folder that directly holds images; class order is that of the
            sorted paths.
        files: Path of each image, S strings.
        labels: Class of each image, (S,) int64.
        skipped: Files that were left out for the user to know of: no images by their suffix, links
            that lead nowhere, and links to folders of the same tree, whose images count where they
            really are.
        empty_folders: Folders without an image anywhere below them; they are not classes.
        hidden: Hidden folders with images below them, written with a final '/', and hidden images,
            each with the number of images that were left out; large folders are not counted to the
            end.
    """

    hierarchy: Hierarchy
    files: tuple[str, ...]
    labels: np.ndarray
    skipped: tuple[str, ...]
    empty_folders: tuple[str, ...]
    hidden: tuple[tuple[str, int], ...] = ()


class _Folder(NamedTuple):
    """What a folder directly holds: names of images and other files, paths of folders, hidden
    images, patterns met.
    """

    path: str
    images: list[str]
    others: list[str]
    below: list[str]
    hidden: list[tuple[str, int]]
    matched: set[str]


def scan_folders(root: str | os.PathLike, *, exclude: Sequence[str] = ()) -> FolderTree:
    """Finds the classes and images of a folder tree. Litter such as Thumbs.db is passed over, and
    what is hidden (.x).

    A class folder with classes below it gets a leaf of its own.

    Args:
        root: The folder above the topmost groups or classes.
        exclude: Patterns of folders to leave out with all below them, such as 'nonliving' or
            '*/unsorted', matched in full against the path below root; '*' also matches '/'.

    Raises:
        FileNotFoundError, NotADirectoryError: If root is not a folder.
        ValueError: If there is no image, an image is directly in root, a pattern matches no folder,
            a link to a folder leads out of root, a name is not valid text, or a pattern is empty.
    """
    root = Path(root)
    if not root.exists():
        raise FileNotFoundError(f"there is no folder {str(root)!r}; {_LAYOUT}")
    if not root.is_dir():
        raise NotADirectoryError(f"{str(root)!r} is not a folder; {_LAYOUT}")
    files, skipped, folders, hidden = [], [], [], []
    unused = set(_patterns(exclude))
    for folder in _walk(root, _patterns(exclude)):
        unused -= folder.matched
        folders.append(folder.path)
        files += [_join(folder.path, name) for name in folder.images]
        skipped += [_join(folder.path, name) for name in folder.others]
        hidden += folder.hidden
    _check_text([*files, *skipped, *folders], root)
    if unused:
        raise ValueError(
            f"the pattern {min(unused)!r} of folders to exclude matches no folder below"
            f" {str(root)!r}"
        )
    return replace(
        _tree(root, sorted(files), sorted(skipped), folders), hidden=tuple(sorted(hidden))
    )


def split_folders(tree: FolderTree) -> list[str]:
    """Folders that are named like the parts of a split: train, val, test, training, validation,
    test_images, ..., in any case, above or below the classes; [] if there are none.

    That is two different parts in one folder, or nothing else in the topmost one. A lone 'test' or
    'valid' beside other groups may well be a taxon's.
    """
    below = defaultdict(dict)
    for path in tree.hierarchy.class_paths:
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


def repeated_folders(tree: FolderTree) -> list[str]:
    """Topmost folders that hold the same classes over again, as those of folds, years or hauls do:
    fold1/Copepoda/Calanus and fold2/Copepoda/Calanus; [] if there are none.

    That is folders that are parts of the work by their names, as numbered ones and dates are, or
    one of which is named like a part of a split, or that hold the same species (or genera, if they
    are called like none themselves), where most of their classes are in others, too; or all, if
    their classes are alike and in groups. Others may well be alike: species 1 and 2, or all genera,
    may have the same stages, sexes and views.
    """
    below: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for path in tree.hierarchy.class_paths:
        if len(path) > 1:
            below[path[0]].add(path[1:])
    together: dict[str, list[str]] = defaultdict(list)
    for name in below:
        kind = _kind_of_work(name)
        if kind is not None:
            together[kind].append(name)
    parts = [name for name in below if part_name(name)]
    pairs = [[part, other] for part in parts for other in below if other != part]
    found = [*below] if _are_alike(tree.hierarchy, [*below.values()]) else []
    for names in (*together.values(), *pairs):
        found += _held_again({name: below[name] for name in names})
    taxa = {
        # what several genera hold may be called like one: their larvae are Megalopa and Zoea
        name: {path for path in paths if _is_taxon(path[-1], genera=not _GENUS.match(name))}
        for name, paths in below.items()
    }
    again = _held_again(taxa)
    return sorted({*found, *(again if len(again) > 1 else ())})


def _is_taxon(name: str, genera: bool) -> bool:
    """Whether a folder is called as species are, or genera, too."""
    taxon = _BINOMIAL.fullmatch(name) or (genera and _GENUS.fullmatch(name))
    return bool(taxon) and not _SHARED.fullmatch(name)


def _held_again(below: Mapping[str, set[tuple[str, ...]]]) -> list[str]:
    """Folders of which most classes, and more than one, are in others of these, too."""
    times = Counter(path for paths in below.values() for path in paths)
    common = {name: sum(times[path] > 1 for path in paths) for name, paths in below.items()}
    return [name for name, count in common.items() if count > 1 and 2 * count > len(below[name])]


def parted_classes(tree: FolderTree) -> list[str]:
    """Folders of several classes, or beside the images of one, that hold a part of each by their
    names, as those of folds, years or hauls do: Calanus/fold1 and Oithona/fold1, Calanus/masks
    beside Calanus/1.png; [] if there are none.
    """
    below: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for path in tree.hierarchy.class_paths:
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


def advice(names: Sequence[str]) -> list[str]:
    """What to do with files that hold images which are not read, a sentence for each kind; judged
    by the suffix.
    """
    counts = Counter(PurePosixPath(name).suffix.lower().lstrip(".") for name in names)
    sentences = []
    for sentence, suffixes in _ELSEWHERE.items():
        found = sorted((-counts[suffix], suffix) for suffix in suffixes if suffix in counts)
        if found:
            listed = ", ".join(f"{-count} .{suffix}" for count, suffix in found)
            files = counted(-sum(count for count, _ in found), "file")
            sentences.append(f"{files} ({listed}), {sentence}")
    nowhere = sum(counts[suffix[1:]] for suffix in IMAGE_SUFFIXES)
    if nowhere:  # what is read is not among them
        sentences.append(
            f"{nowhere} are called as images are, but are no files: links that lead nowhere, as of"
            " git-annex or DVC before what they stand for is fetched, or folders elsewhere"
        )
    return sentences


def table_hint(names: Sequence[str]) -> str:
    """What to do if the classes are in one of these files; '' if none is a table."""
    table = next((name for name in names if name.lower().endswith(_TABLES)), None)
    return "" if table is None else f". If the classes are in {table!r}: --table FILE"


def _tree(root: Path, files: list[str], skipped: list[str], folders: list[str]) -> FolderTree:
    owners = [file.rpartition("/")[0] for file in files]
    counts = Counter(owners)
    if not files:
        found = f" ({counted(len(skipped), 'other file')})" if skipped else ""
        sentences = "; ".join(
            [f"there is no image below the folder {str(root)!r}{found}", *advice(skipped), _LAYOUT]
        )
        raise ValueError(sentences)
    if "" in counts:
        raise ValueError(
            f"{counted(counts[''], 'image is', 'images are')} directly in {str(root)!r}, such as"
            f" {files[owners.index('')]!r}; a class needs a folder, so move them into one, or"
            f" elsewhere: {_LAYOUT}{table_hint(skipped)}"
        )
    classes = {folder: index for index, folder in enumerate(sorted(counts))}
    inhabited = set()
    for folder in classes:
        while folder and folder not in inhabited:
            inhabited.add(folder)
            folder = folder.rpartition("/")[0]
    hierarchy = Hierarchy.from_paths([folder.split("/") for folder in classes], self_leaves=True)
    labels = np.fromiter((classes[owner] for owner in owners), np.int64, len(owners))
    empty = sorted(set(folders) - inhabited - {""})
    return FolderTree(hierarchy, tuple(files), labels, tuple(skipped), tuple(empty))


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _walk(root: Path, patterns: Sequence[str]) -> Iterator[_Folder]:
    real_root, stack = Path(os.path.realpath(root)), [""]
    while stack:
        folder = _Folder(stack.pop(), [], [], [], [], set())
        with os.scandir(root / folder.path) as entries:
            for entry in entries:
                if not entry.name.startswith("._") and entry.name.lower() not in _JUNK:
                    _sort(entry, folder, patterns, real_root)
        stack += folder.below
        yield folder


def _sort(
    entry: os.DirEntry,
    folder: _Folder,
    patterns: Sequence[str],
    real_root: Path,
) -> None:
    """Puts an entry of a folder where it belongs."""
    name, path, hidden = entry.name, _join(folder.path, entry.name), entry.name.startswith(".")
    if _is(entry.is_dir):
        hits = {pattern for pattern in patterns if fnmatchcase(composed(path), pattern)}
        folder.matched.update(hits)
        if hits:
            return
        if hidden:
            images = 0 if entry.is_symlink() else count_images(entry.path)
            folder.hidden.extend([(f"{path}/", images)] if images else [])
        elif entry.is_symlink():
            _check_link(path, real_root, entry)
            folder.others.append(name)
        else:
            folder.below.append(path)
    elif name.lower().endswith(IMAGE_SUFFIXES) and _is(entry.is_file):
        if hidden:
            folder.hidden.append((path, 1))
        else:
            folder.images.append(name)
    elif not hidden:
        folder.others.append(name)


def count_images(folder: str) -> int:
    """Images below a folder, among its first files: the folder may be a file server's snapshot of
    everything.
    """
    names = (name for _, _, files in os.walk(folder) for name in files)
    return sum(
        name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith("._")
        for name in islice(names, _COUNTED)
    )


def _is(kind: Callable[[], bool]) -> bool:
    try:
        return kind()
    except OSError:  # a link to itself
        return False


def _check_link(path: str, real_root: Path, entry: os.DirEntry) -> None:
    target = Path(os.path.realpath(entry.path))
    if not target.is_relative_to(real_root):
        raise ValueError(
            f"the folder {path!r} is a link to {str(target)!r}, outside of {str(real_root)!r}, and"
            " is not followed; copy or mount the folder there, or exclude it"
        )


def _check_text(paths: Iterable[str], root: Path) -> None:
    for path in paths:
        try:
            path.encode("utf-8")
        except UnicodeEncodeError as error:
            if _is_utf8(path):
                raise ValueError(
                    f"names below {str(root)!r} have letters that this program's locale"
                    f" ({sys.getfilesystemencoding()}) cannot read, such as"
                    f" {os.fsencode(path).decode()!r}: the names are valid UTF-8, do not rename"
                    " them, but set LC_ALL=C.UTF-8 (or PYTHONUTF8=1) and start again"
                ) from error
            raise ValueError(
                f"the name {path!r} below {str(root)!r} is not valid UTF-8; rename it, for instance"
                " with convmv"
            ) from error


def _is_utf8(path: str) -> bool:
    """Whether a name that Python could not decode is UTF-8 on the disk."""
    try:
        path.encode("utf-8", "surrogateescape").decode("utf-8")
    except UnicodeError:
        return False
    return True


def _patterns(exclude: Sequence[str]) -> tuple[str, ...]:
    if isinstance(exclude, str) or not all(exclude):
        raise ValueError(f"exclude must be a list of patterns of folders, got {exclude!r}")
    return tuple(composed(pattern.rstrip("/")) for pattern in exclude)
