"""Paths and names as every system takes them, and commands as its shell does."""

import os
import re
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

FORBIDDEN = '< > : " / \\ | ? *'  # in names, on Windows
_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f]|[. ]$')
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def is_portable(name: str) -> bool:
    """Whether a file or a folder can have this name on every system."""
    return not (_FORBIDDEN.search(name) or _DEVICES.fullmatch(name))


def leads_out(file: str) -> bool:
    """Whether a path that should be below a folder may be elsewhere: on Windows also one that only
    begins with a drive or a backslash.
    """
    path = Path(file)
    return bool(path.anchor) or ".." in path.parts


def no_run(path: str | os.PathLike) -> str:
    """What is said of a path that is no run's folder."""
    if not os.path.isfile(path):
        below = [
            file.parent
            for depth in ("*", "*/*")
            for file in Path(path).glob(f"{depth}/config.json")
        ]
        such = f", as {min(below)}" if below else ""
        return (
            f"{path} is not a run: it has no config.json; a run's folder ends in .../seed<k>{such}"
        )
    folder = Path(path).parent
    named = f", {folder}" if (folder / "config.json").is_file() else ""
    return f"{path} is a file, which is not a run: name the run's folder{named}"


def shown(path: str | os.PathLike) -> str:
    """A path for print: relative to the working folder where it is below that."""
    try:
        relative = os.path.relpath(path)
    except ValueError:  # on another drive of Windows
        return str(path)
    return str(path) if relative.startswith(os.pardir) else relative


def as_typed(arguments: Sequence[str]) -> str:
    """Arguments as they are typed: cmd of Windows knows no single quotes."""
    if os.name == "nt":
        return subprocess.list2cmdline(arguments)
    return shlex.join(arguments)
