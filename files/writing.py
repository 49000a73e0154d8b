"""Files that appear whole or not at all, and are on the disk when they appear.

A file is written under a name of its own beside its final one, `.NAME.PID-8 HEX DIGITS.tmp`, and
takes that when all of it is on the disk. The writer holds a lock on it: a temporary file of such a
name that nobody holds was left by a process that died, and the next writer in the folder removes
it. Links at the names that are written are never followed.
"""

import contextlib
import errno
import os
import re
import secrets
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from shutil import copyfileobj
from typing import BinaryIO, TextIO

import numpy as np

from files import system
from files.system import NO_LINK, sync_folder

TOGETHER = 2**21  # bytes that are written at once, for a third less processor time than one by one
MANY = 512  # arrays that are written at once at most; systems allow 1024
_OURS = re.compile(r"\..+\.\d+-[0-9a-f]{8}\.tmp")


@contextmanager
def whole_file(
    path: str | os.PathLike, keep: str | None = None, *, beside: bool = False
) -> Iterator[Path]:
    """A path beside the file to write to; it becomes the file when the block ends and all of it is
    on the disk, and is removed after an error.

    Args:
        path: The file; a link there is replaced, not followed. Folders above it are made. What is
            neither stays: who may write to /dev could replace /dev/null for the whole machine.
        keep: Name in the same folder under which the file stays that is replaced; None: it goes.
        beside: Whether what was written stays under another name where the file cannot be replaced,
            as on Windows where it is open in another program; the error names it.

    Raises: OSError: If nothing can be written there.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        mode = os.lstat(path).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode) or stat.S_ISDIR(mode)):
            raise OSError(errno.EINVAL, "it is not a plain file", str(path))
    remove_leftovers(path.parent)
    temporary, descriptor = _open_temporary(path)
    try:
        yield temporary
        os.fsync(descriptor)
        if system.holds_open_files():
            os.close(descriptor)
            descriptor = None
        if keep is not None and path.exists():
            system.replace(path, path.with_name(keep))
        try:
            system.replace(temporary, path)
        except PermissionError as error:
            if not beside:
                raise
            there = path.with_name(f"{path.stem}-{secrets.token_hex(4)}{path.suffix}")
            os.replace(temporary, there)
            reason = f"{error.strerror}; what was to be written is in {there}"
            raise PermissionError(error.errno, reason, str(path)) from error
        sync_folder(path.parent)
    finally:
        if descriptor is not None:
            os.close(descriptor)
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_whole(path: str | os.PathLike, content: bytes, keep: str | None = None) -> None:
    """Writes a file as `whole_file` does. Raises: OSError."""
    with whole_file(path, keep) as temporary:
        temporary.write_bytes(content)


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """`whole_file` for a file that the user named. Raises: ValueError: If the path is a folder, a
    pipe or a device, also at the end of a link, or nothing can be written there; the message says
    the way out.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder: name a file in it")
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is a pipe or a device: name a file, which can be read afterwards")
    with ExitStack() as stack:
        try:
            system.check_replaceable(path)
            temporary = stack.enter_context(whole_file(path, beside=True))
        except OSError as error:
            raise ValueError(
                f"{path} cannot be written: {error.strerror or error}; name another place"
                f"{system.hint(path, error)}"
            ) from error
        try:
            yield temporary
            stack.close()
        except OSError as error:
            if not out_of_space(error):
                raise
            raise ValueError(
                f"{path} cannot be written: {error.strerror}; make room, or name another place"
            ) from error


def out_of_space(error: OSError) -> bool:
    """Whether the disk or the user's share of it is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def open_to_append(path: str | os.PathLike) -> TextIO:
    """A text file in UTF-8, made if it is not there, to add lines to. Raises: OSError: Also if it
    is a link or no plain file.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | NO_LINK | getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "it is a link, which is not followed", str(path)) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a plain file", str(path))
    return open(descriptor, "a", encoding="utf-8", errors="surrogateescape")


def open_to_update(path: str | os.PathLike, buffering: int = 0) -> BinaryIO:
    """A file to read and write, made if it is not there and not emptied if it is; buffering as of
    `open`. Raises: OSError: Also if it is a link.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | NO_LINK, 0o666)
    return open(descriptor, "r+b", buffering=buffering)


def write_all(file: BinaryIO, content: memoryview) -> None:
    """Writes all bytes to a file without a buffer, which may take a part of them at once, as a disk
    that is nearly full does before it says so.
    """
    while len(content):
        content = content[file.write(content) :]


class Together:
    """Arrays that are written together to a file without a buffer, and not copied before.

    Args:
        file: Open for writing.
    """

    def __init__(self, file: BinaryIO):
        self._file, self._waiting, self._bytes = file, [], 0
        self.fileno = file.fileno

    def write(self, array: np.ndarray) -> int:
        """Takes in a contiguous array, which must not change any more; returns its bytes."""
        self._waiting.append(memoryview(array).cast("B"))
        self._bytes += array.nbytes
        if self._bytes >= TOGETHER or len(self._waiting) >= MANY:
            self.flush()
        return array.nbytes

    def flush(self) -> None:
        """Writes what waits. Raises: OSError."""
        parts, size = self._waiting, self._bytes
        self._waiting, self._bytes = [], 0
        done = os.writev(self._file.fileno(), parts) if parts and hasattr(os, "writev") else 0
        if done < size:
            write_all(self._file, memoryview(b"".join(parts))[done:])


def remove_leftovers(folder: str | os.PathLike) -> None:
    """Removes the temporary files in a folder whose writers have died; those of others, and of
    programs that still run, stay.
    """
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        names = [entry.path for entry in entries if _OURS.fullmatch(entry.name)]
        for name in names:
            with contextlib.suppress(OSError):
                if stat.S_ISREG(os.lstat(name).st_mode):
                    system.remove_unwritten(name)


def _open_temporary(path: Path) -> tuple[Path, int]:
    """A new file beside the path, and the descriptor by which this process holds its lock."""
    stem = os.fsdecode(os.fsencode(path.name)[:200])  # file systems allow names of 255 bytes
    while True:
        temporary = path.with_name(f".{stem}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | NO_LINK, 0o666)
        system.mark_as_written(descriptor)
        # else it was taken for a leftover before it was locked
        if system.holds_open_files() or os.fstat(descriptor).st_nlink:
            return temporary, descriptor
        os.close(descriptor)


class RowStore:
    """Arrays that grow by rows, kept in unnamed files and not in memory, to be saved as one .npz
    file.

    Args:
        folder: Where there is space for them, as much as the .npz file will take.
    """

    def __init__(self, folder: str | os.PathLike):
        self._folder, self._files, self._kinds, self._counts = folder, {}, {}, {}
        self._stack = ExitStack()

    def __enter__(self) -> "RowStore":
        return self

    def __exit__(self, *exception) -> None:
        self._stack.close()

    def append(self, **arrays: np.ndarray) -> None:
        """Adds rows to the arrays of these names, of the same shape (n, ...) and type each time but
        for n.
        """
        for name, rows in arrays.items():
            if name not in self._files:
                self._files[name] = self._stack.enter_context(
                    tempfile.TemporaryFile(dir=self._folder)
                )
                self._kinds[name], self._counts[name] = (rows.dtype, rows.shape[1:]), 0
            self._files[name].write(np.ascontiguousarray(rows, self._kinds[name][0]).tobytes())
            self._counts[name] += len(rows)

    def save(self, path: str | os.PathLike, **whole: np.ndarray) -> None:
        """Writes what was added, and other arrays as they are; np.load reads it."""
        with zipfile.ZipFile(path, "w") as archive:
            for name, array in whole.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as handle:
                    np.lib.format.write_array(handle, array, allow_pickle=False)
            for name, source in self._files.items():
                dtype, shape = self._kinds[name]
                header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False}
                with archive.open(f"{name}.npy", "w", force_zip64=True) as handle:
                    np.lib.format.write_array_header_1_0(
                        handle, {**header, "shape": (self._counts[name], *shape)}
                    )
                    source.seek(0)
                    copyfileobj(source, handle, 1 << 20)
