"""A tree of folders with images as a class hierarchy."""

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
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
