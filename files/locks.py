"""A lock between processes that a dead process does not keep."""

import contextlib
import os
import sys
from collections.abc import Iterator

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


@contextlib.contextmanager
def file_lock(path: str | os.PathLike, *, waiting: str | None = None) -> Iterator[bool]:
    """Holds an exclusive lock on a file, made if it is not there, while the block runs.

    Args:
        path: The lock file; it stays behind, empty.
        waiting: Line printed on stderr when another process holds the lock, before waiting for it;
            None: do not wait.

    Yields: Whether no other process holds the lock. Where the platform or the file system has no
    locks it is True.
    """
    with open(path, "a") as handle:
        held = True
        try:
            if fcntl is not None:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            held = waiting is not None
            if held:
                print(waiting, file=sys.stderr)
                fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:  # a file system without locks
            pass
        yield held
