"""A tree of folders with images as a class hierarchy."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

from hierarchies.tree import Hierarchy

IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "tif", "tiff", "bmp", "gif", "webp")
_JUNK = {"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin", "lost+found"}
_LAYOUT = "expected <folder>/<group>/.../<class>/<image>, where every folder that directly holds images is a class"


@dataclass(frozen=True)
class FolderTree:
    """The images below a folder. All paths are relative to it, with '/', sorted by code point.

    Attributes (S images):
        hierarchy: A class for every folder that directly holds images; class order is that of the sorted paths.
        files: Path of each image, S strings.
        labels: Class of each image, (S,) int64.
        skipped: Files that were left out for the user to know of: no images by their suffix, links that lead nowhere,
            and links to folders of the same tree, whose images count where they really are.
        empty_folders: Folders without an image anywhere below them; they are no classes.
    """

    hierarchy: Hierarchy
    files: tuple[str, ...]
    labels: np.ndarray
    skipped: tuple[str, ...]
    empty_folders: tuple[str, ...]


def scan_folders(
    root: str | os.PathLike, *, extensions: Sequence[str] = IMAGE_EXTENSIONS, exclude: Sequence[str] = ()
) -> FolderTree:
    """Finds the classes and images of a folder tree. Hidden names (.x) and litter such as Thumbs.db are passed over.

    A class folder with classes below it gets a leaf of its own.

    Args:
        root: The folder above the topmost groups or classes.
        extensions: Suffixes of image files, with or without the dot, in any case.
        exclude: Patterns of folders to leave out with all below them, such as 'nonliving' or '*/unsorted', matched in
            full against the path below root; '*' also matches '/'.

    Raises:
        FileNotFoundError, NotADirectoryError: If root is no folder.
        ValueError: If there is no image, an image is directly in root, a pattern matches no folder, a link to a folder
            leads out of root, a name is not valid text, or the options are empty.
    """
    root = Path(root)
    if not root.exists():
        raise FileNotFoundError(f"there is no folder {str(root)!r}; {_LAYOUT}")
    if not root.is_dir():
        raise NotADirectoryError(f"{str(root)!r} is not a folder; {_LAYOUT}")
    suffixes = _suffixes(extensions)
    files, skipped, folders = [], [], []
    unused = set(_patterns(exclude))
    for folder, names, others, leave_out in _walk(root, suffixes, _patterns(exclude)):
        unused -= leave_out
        folders.append(folder)
        files += [f"{folder}/{name}" if folder else name for name in names]
        skipped += [f"{folder}/{name}" if folder else name for name in others]
    _check_text([*files, *skipped, *folders], root)
    if unused:
        raise ValueError(f"the pattern {min(unused)!r} of folders to exclude matches no folder below {str(root)!r}")
    return _tree(root, sorted(files), sorted(skipped), folders)


def _tree(root: Path, files: list[str], skipped: list[str], folders: list[str]) -> FolderTree:
    owners = [file.rpartition("/")[0] for file in files]
    counts = Counter(owners)
    if not files:
        found = f" ({len(skipped)} other files)" if skipped else ""
        raise ValueError(f"there is no image below the folder {str(root)!r}{found}; {_LAYOUT}")
    if "" in counts:
        raise ValueError(
            f"{counts['']} images are directly in {str(root)!r}, such as {files[owners.index('')]!r}; a class needs a"
            f" folder: {_LAYOUT}"
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


def _walk(
    root: Path, suffixes: tuple[str, ...], patterns: Sequence[str]
) -> Iterator[tuple[str, list[str], list[str], set[str]]]:
    """For each folder: its path, its images, its other files, and the patterns that left out a folder in it."""
    real_root, stack = Path(os.path.realpath(root)), [""]
    while stack:
        folder = stack.pop()
        images, others, matched = [], [], set()
        with os.scandir(root / folder) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith(".") or name.lower() in _JUNK:
                    continue
                if _is(entry.is_dir):
                    path = f"{folder}/{name}" if folder else name
                    hits = {pattern for pattern in patterns if fnmatchcase(path, pattern)}
                    matched |= hits
                    if entry.is_symlink() and not hits:
                        _check_link(path, real_root, entry)
                        others.append(name)
                    elif not hits:
                        stack.append(path)
                elif name.lower().endswith(suffixes) and _is(entry.is_file):
                    images.append(name)
                else:
                    others.append(name)
        yield folder, images, others, matched


def _is(kind: Callable[[], bool]) -> bool:
    try:
        return kind()
    except OSError:  # a link to itself
        return False


def _check_link(path: str, real_root: Path, entry: os.DirEntry) -> None:
    target = Path(os.path.realpath(entry.path))
    if not target.is_relative_to(real_root):
        raise ValueError(
            f"the folder {path!r} is a link to {str(target)!r}, outside of {str(real_root)!r}, and is not followed;"
            " copy or mount the folder there, or exclude it"
        )


def _check_text(paths: Iterable[str], root: Path) -> None:
    for path in paths:
        try:
            path.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(
                f"the name {path!r} below {str(root)!r} is not valid UTF-8; rename it, for instance with convmv"
            ) from error


def _suffixes(extensions: Sequence[str]) -> tuple[str, ...]:
    if isinstance(extensions, str) or not extensions or not all(extension.strip(".") for extension in extensions):
        raise ValueError(f"extensions must be a list of suffixes such as 'jpg', got {extensions!r}")
    return tuple("." + extension.lower().lstrip(".") for extension in extensions)


def _patterns(exclude: Sequence[str]) -> tuple[str, ...]:
    if isinstance(exclude, str) or not all(exclude):
        raise ValueError(f"exclude must be a list of patterns of folders, got {exclude!r}")
    return tuple(pattern.rstrip("/") for pattern in exclude)
