"""Whether a path that the user gives is a file that can be read to its end."""

import os
import stat

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe (FIFO)"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def check_regular(path: str | os.PathLike) -> int:
    """Size in bytes of a regular file, links followed. Nothing is opened, so nothing can hang.

    Raises: ValueError: If the path is a folder, pipe, device or socket. OSError: If it does not
    exist or cannot be looked at.
    """
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        kind = next((kind for test, kind in _KINDS if test(found.st_mode)), "no ordinary file")
        folder = stat.S_ISDIR(found.st_mode)
        name = "one in it, or join several to one" if folder else "a file that is saved on disk"
        raise ValueError(f"{path} is {kind}, not a file: name {name}")
    return found.st_size
