"""A lock between processes that a dead process does not keep."""

import contextlib
import os
import sys
from collections.abc import Iterator

from files import system


@contextlib.contextmanager
def file_lock(path: str | os.PathLike, *, waiting: str | None = None) -> Iterator[bool]:
    """Holds an exclusive lock on a file, made if it is not there, while the block runs.

    Args:
        path: The lock file; it stays behind, empty, unless the block removes it, which Windows does
            not let it. A link is not followed.
        waiting: Line printed on stderr when another process holds the lock, before waiting for it;
            None: do not wait.

    Yields: Whether no other process holds the lock. Where the file system has no locks it is True.
    Raises: OSError: If the lock file cannot be opened, or is a link.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | system.NO_LINK, 0o666)
        try:
            held = _lock(descriptor, waiting)
            if held and not system.is_at(descriptor, path):  # who held it before has removed it
                continue
            try:
                yield held
            finally:
                if held:
                    system.unlock(descriptor)
            return
        finally:
            os.close(descriptor)


def _lock(descriptor: int, waiting: str | None) -> bool:
    if system.lock(descriptor, wait=False):
        return True
    if waiting is None:
        return False
    print(waiting, file=sys.stderr)
    return system.lock(descriptor, wait=True)
