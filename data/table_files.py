"""Where the files are that a table names: below the data folder, however the table writes them."""

import contextlib
import os
import unicodedata
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path, PurePosixPath, PureWindowsPath

from data.progress import progress
from files.paths import leads_out
from files.text import printable, some_of
from hierarchies.draft import place
from hierarchies.folders import IMAGE_SUFFIXES
from hierarchies.rows import Table

_SHOWN = 5
_LOOKED_AT = 100_000  # files below the data folder, to say what a missing one may be called
_WAITING = 8  # threads that ask for files, more than there are cores: they wait for the disk
_AT_ONCE = 1000  # files a thread asks for before it reports


def relative(written: Sequence[str], root: str | os.PathLike) -> list[str]:
    """Paths below the data folder, with '/', of those that may be absolute or of Windows."""
    starts = _starts(os.fspath(root))
    return [_relative(one, starts) for one in written]


def _starts(root: str) -> list[str]:
    """Ways in which a table may write the data folder before its files, with '/'."""
    return [f"{one.replace(os.sep, '/').rstrip('/')}/" for one in (root, os.path.abspath(root))]


def _relative(written: str, starts: Sequence[str]) -> str:
    """The path below the data folder, with '/', of one that may be of Windows, or begin with one of
    these `_starts`.
    """
    path = PureWindowsPath(written).as_posix() if "\\" in written else written
    for start in starts:
        path = path.removeprefix(start)
    plain = not path.startswith((".", "/")) and not path.endswith("/")
    if plain and "//" not in path and "/." not in path:
        return path
    return PurePosixPath(path).as_posix() if path else ""


def files_below(
    root: str | os.PathLike, table: Table, files: list[str]
) -> tuple[list[str], list[str]]:
    """The files as they are below the folder, of which the table may name folders that are above
    it: those of another machine, 'C:/Users/me/images/', or the folder itself; and a note where they
    are.

    Args:
        root: The data folder.
        table: The table, for messages.
        files: That of each of its rows.

    Raises: ValueError: If some are not there.
    """
    root = Path(root)
    source, rows = table.source, table.rows
    outside = [i for i, file in enumerate(files) if leads_out(file)]
    missing = [] if outside else [i for i, there in enumerate(_are_there(root, files)) if not there]
    if missing:
        files, missing = _as_written(root, files, missing)
    if not outside and not missing:
        return files, []
    if len(missing) == len(files):
        named = _with_suffixes(root, files)
        if named is not None:
            return named, [f"the files of {source} are taken with the suffixes of the folder's"]
    if outside or len(missing) == len(files):
        start = _start_elsewhere(root, files)
        if start is not None:
            note = f"the files of {source} are taken without {printable(start)!r} before them"
            return [file.removeprefix(start) for file in files], [note]
    if outside:
        raise ValueError(
            f"{source}, {place(rows[outside[0]].line)}: {printable(files[outside[0]])!r} is"
            f" not below {root}; name the folder that all files are in with --data_dir"
        )
    shown = some_of(
        missing, _SHOWN, lambda i: f"{place(rows[i].line)}: {printable(files[i])!r}", "; "
    )
    raise ValueError(
        f"{source}: {len(missing)} of {len(files)} files are not below {root}: {shown};"
        f" {_way_out(root, files[missing[0]], len(missing) == len(files))}"
    )


def _as_written(
    root: Path, files: Sequence[str], missing: Sequence[int]
) -> tuple[list[str], list[int]]:
    """The files with accents as the folder has them, of which Unicode knows two ways and a Mac
    takes the other, and the positions of those that are still missing.
    """
    files, left = list(files), []
    for i in missing:
        forms = (unicodedata.normalize(form, files[i]) for form in ("NFC", "NFD"))
        there = next((file for file in forms if (root / file).is_file()), None)
        if there is None:
            left.append(i)
        else:
            files[i] = there
    return files, left


def _with_suffixes(root: Path, files: Sequence[str]) -> list[str] | None:
    """The files with the suffix that the table leaves out; None if that of one is not clear."""
    images: dict[str, list[str]] = {}
    for folder in {os.path.dirname(file) for file in files}:
        with contextlib.suppress(OSError):
            for name in os.listdir(root / folder):
                if name.lower().endswith(IMAGE_SUFFIXES):
                    path = f"{folder}/{name}" if folder else name
                    images.setdefault(os.path.splitext(path)[0], []).append(path)
    found = [images.get(file, []) for file in files]
    return [paths[0] for paths in found] if all(len(paths) == 1 for paths in found) else None


def _start_elsewhere(root: Path, files: Sequence[str]) -> str | None:
    """What all files have before the paths that they have below the folder; None if it is not so
    simple.
    """
    folders = files[0].split("/")[:-1]
    for end in range(1, len(folders) + 1):
        start = "/".join(folders[:end]) + "/"
        if not all(file.startswith(start) for file in files):
            return None
        rest = [file.removeprefix(start) for file in files]
        if any(map(leads_out, rest)) or not (root / rest[0]).is_file():
            continue
        if all(_are_there(root, rest)):
            return start
    return None


def _way_out(root: Path, file: str, all_of_them: bool) -> str:
    """What to do about a file that is not there, judged by the names of those that are."""
    wanted = PurePosixPath(file)
    names = (Path(folder, name) for folder, _, below in os.walk(root) for name in below)
    for path in islice(names, _LOOKED_AT):
        same = path.name.casefold() == wanted.name.casefold()
        if same or path.stem.casefold() == wanted.name.casefold():  # without its suffix
            there = path.relative_to(root).as_posix()
            inside = there.removesuffix(file)
            if inside != there and all_of_them and (root / inside).is_dir():
                return f"there is {printable(there)!r}: give --data_dir {root / inside}"
            return (
                f"there is {printable(there)!r}: write the names as they are on the disk, with"
                " folder, suffix and capitals"
            )
    if all_of_them:
        return "are the names relative to another folder (--data_dir)?"
    return "add them, or remove the lines of those that you do not have"


def _are_there(root: Path, files: Sequence[str]) -> Iterator[bool]:
    """Whether each file is below the folder."""

    def ask(start: int) -> list[bool]:
        return [
            os.path.isfile(os.path.join(root, file)) for file in files[start : start + _AT_ONCE]
        ]

    bar = progress(total=len(files), desc="Looking for images", unit="image")
    with bar, ThreadPoolExecutor(_WAITING) as pool:
        for answers in pool.map(ask, range(0, len(files), _AT_ONCE)):
            bar.update(len(answers))
            yield from answers
