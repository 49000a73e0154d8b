"""A lock between processes that a dead process does not keep."""

import contextlib
import os
import sys
from collections.abc import Iterator

from files.writing import NO_LINK

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


@contextlib.contextmanager
def file_lock(path: str | os.PathLike, *, waiting: str | None = None) -> Iterator[bool]:
    """Holds an exclusive lock on a file, made if it is not there, while the block runs.

    Args:
        path: The lock file; it stays behind, empty, unless the block removes it. A link is not
            followed.
        waiting: Line printed on stderr when another process holds the lock, before waiting for it;
            None: do not wait.

    Yields: Whether no other process holds the lock. Where the platform or the file system has no
    locks it is True.
    Raises: OSError: If the lock file cannot be opened, or is a link.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | NO_LINK, 0o666)
        try:
            held = _lock(descriptor, waiting)
            if held and not _is_at(descriptor, path):  # whoever held it before has removed it
                continue
            yield held
            return
        finally:
            os.close(descriptor)


def _lock(descriptor: int, waiting: str | None) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if waiting is None:
            return False
        print(waiting, file=sys.stderr)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:  # a file system without locks
        pass
    return True


def _is_at(descriptor: int, path: str | os.PathLike) -> bool:
    """Whether an open file is still the one of this name."""
    try:
        there = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(descriptor))
