"""Files of tensors and builtins, as checkpoints are.

Torch is imported where one is written or read.
"""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from files.regular import check_regular


def dump(content: Mapping) -> bytes:
    """The bytes of such a file; equal contents have equal ones."""
    import torch

    buffer = io.BytesIO()  # torch.save to a path writes the path's name into the file
    torch.save(_canonical(content), buffer)
    return buffer.getvalue()


def _canonical(content: object) -> object:
    """The same content in new containers and with equal strings made one, so that equal content
    gives equal bytes.
    """
    if isinstance(content, str):
        return sys.intern(str(content))
    if isinstance(content, Mapping):
        return {_canonical(key): _canonical(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return type(content)(_canonical(value) for value in content)
    return content


def load(path: Path, check: bool = True) -> dict:
    """The content of a file, on the CPU, loaded with weights_only=True.

    Args:
        path: Of the file.
        check: Whether to compute its checksums, for which all of it is read.

    Raises: FileNotFoundError; ValueError: If it is a folder or a pipe; of damaged bytes almost
    anything.
    """
    import torch

    check_regular(path)
    if check:
        _check_archive(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def look_at(path: Path) -> dict:
    """What `load` gives without a check. That of the last file is kept as long as it does not
    change: a record of many runs on one trunk looks at it once.
    """
    return _loaded(path, _stamp(path))


@lru_cache(maxsize=1)
def _loaded(path: Path, stamp: tuple[int, ...]) -> dict:
    return load(path, check=False)


def _stamp(path: Path) -> tuple[int, ...]:
    """What changes with a file."""
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _check_archive(path: Path) -> None:
    """Computes the checksums in a checkpoint, which torch.load passes over. Raises: BadZipFile."""
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"{damaged} does not have its checksum")
