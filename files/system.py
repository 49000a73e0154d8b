"""What Windows and POSIX systems do in different ways with files: locks, names on the disk, and
files that somebody has open.

On Windows an open file can neither be replaced nor removed, by nobody: a table that is open in a
spreadsheet program waits until it is closed there, as does a file that a virus scanner looks at,
and a temporary file that can be removed is one that nobody writes any more. Bytes that are locked
there cannot be read by others, so that one far behind the end of the file is.
"""

import contextlib
import errno
import os
import sys
import time

try:
    import fcntl
except ImportError:  # Windows
    import msvcrt

    fcntl = None

NO_LINK = getattr(os, "O_NOFOLLOW", 0)  # of os.open: an error where the name is a link
LOCKED = 2**30  # position of the byte that is locked on Windows
POLL = 0.1  # seconds between two tries, where a system does not say when a file is free
PATIENCE = 600.0  # seconds that a file may stay open in another program
SAID = 2.0  # seconds after which that is said; a virus scanner takes less
LONG = 180  # characters of a folder below which names of files may end behind Windows' limit
ABANDONED = 2 * PATIENCE  # seconds without a write after which nobody waits to rename a file
_UNSUPPORTED = (errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EPERM, errno.EBADF, errno.ENOSYS)


def lock(descriptor: int, wait: bool) -> bool:
    """Takes the exclusive lock on an open file, which ends when it is closed, also by the end of
    the process.

    Args:
        descriptor: Of the file; where it stands in it may change.
        wait: Whether to wait for whoever holds it.

    Returns: Whether it is this process's, also where the file system has no locks.
    """
    if fcntl is None:
        while not (taken := _lock_on_windows(descriptor)) and wait:
            time.sleep(POLL)
        return taken
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        pass
    return True


def _lock_on_windows(descriptor: int) -> bool:
    try:
        os.lseek(descriptor, LOCKED, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    except OSError as error:  # else a file system without locks
        return error.errno not in (errno.EACCES, errno.EDEADLK)
    return True


def unlock(descriptor: int) -> None:
    """Gives a lock back at once; Windows takes its time when a file is closed."""
    if fcntl is None:
        with contextlib.suppress(OSError):
            os.lseek(descriptor, LOCKED, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)


def is_at(descriptor: int, path: str | os.PathLike) -> bool:
    """Whether an open file is still the one of this name, which nobody can change on Windows."""
    if fcntl is None:
        return True
    try:
        there = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(descriptor))


def mark_as_written(descriptor: int) -> None:
    """Has others see that this process writes a temporary file, as long as it is open; Windows does
    so by itself.
    """
    if fcntl is not None:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)


def remove_unwritten(path: str | os.PathLike) -> None:
    """Removes a temporary file. Raises: OSError: If somebody writes it, or may be about to rename
    it.
    """
    if fcntl is None:  # which renames no open file: there is a moment in which it is closed
        if time.time() - os.stat(path).st_mtime > ABANDONED:
            os.unlink(path)
        return
    descriptor = os.open(path, os.O_RDONLY | NO_LINK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # an error: its writer lives
        os.unlink(path)
    finally:
        os.close(descriptor)


def holds_open_files() -> bool:
    """Whether a file that is open can be neither renamed nor removed."""
    return fcntl is None


def replace(source: str | os.PathLike, target: str | os.PathLike) -> None:
    """Renames a file, in the place of one that may be there, or a folder, in that of an empty one.
    Where one of them is open in another program this waits until it is closed, and says so on
    stderr.

    Raises: OSError: Also if it is still open after PATIENCE seconds.
    """
    if fcntl is None and os.path.isdir(source) and os.path.isdir(target):
        os.rmdir(target)
    start, said = time.monotonic(), False
    while True:
        try:
            return os.replace(source, target)
        except PermissionError:
            waited = time.monotonic() - start
            if fcntl is not None or waited > PATIENCE or not _may_be_freed(source, target):
                raise
        if waited > SAID and not said:
            print(
                f"waiting: {os.fspath(target)} seems to be open in another program, such as a"
                " spreadsheet: close it there, and this goes on",
                file=sys.stderr,
            )
            said = True
        time.sleep(POLL)


def _may_be_freed(source: str | os.PathLike, target: str | os.PathLike) -> bool:
    """Whether a refusal can come from a program that has a file open, and from nothing lasting."""
    if os.path.isdir(target) or not os.path.exists(source):
        return False
    return not os.path.exists(target) or os.access(target, os.W_OK)


def check_replaceable(path: str | os.PathLike) -> None:
    """Raises: PermissionError: If a file is open in a program that lets nobody write to it, as
    spreadsheet programs do on Windows. Elsewhere that hinders no replacement.
    """
    if fcntl is None and os.path.isfile(path):
        os.close(os.open(path, os.O_RDWR))


def hint(path: str | os.PathLike, error: OSError) -> str:
    """What goes on a message about a file that cannot be written: what may hinder on Windows, and
    the way out.
    """
    if fcntl is None and isinstance(error, PermissionError):
        return "; if it is open in another program, such as a spreadsheet, close it there"
    if fcntl is None and len(os.path.abspath(path)) > LONG:
        return (
            "; its path may be too long for Windows, which stops at 259 characters: name a shorter"
            " place, such as --record C:\\runs, or allow long paths (docs/your_images.md)"
        )
    return ""


def sync_folder(folder: str | os.PathLike) -> None:
    """Puts the names in a folder on the disk, where the system can. Raises: OSError."""
    if fcntl is None:
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
    finally:
        os.close(descriptor)
