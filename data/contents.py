"""Image files whose bytes are in memory, such as those that a browser sends."""

import io
import os
from typing import BinaryIO, NamedTuple


class FileContent(NamedTuple):
    """What is in a file that need not lie on a disk.

    Fields:
        name: What it is called, for the table of answers.
        content: Its bytes.
    """

    name: str
    content: bytes


File = str | os.PathLike | FileContent


def opened(file: File) -> BinaryIO:
    """A file to read from its beginning; close it. Raises: OSError."""
    return io.BytesIO(file.content) if isinstance(file, FileContent) else open(file, "rb")


def for_pillow(file: File | io.BytesIO) -> str | os.PathLike | io.BytesIO:
    """What `Image.open` takes for a file: its path, or its bytes."""
    return io.BytesIO(file.content) if isinstance(file, FileContent) else file


def size_of(file: File) -> int:
    """Number of bytes. Raises: OSError."""
    return len(file.content) if isinstance(file, FileContent) else os.stat(file).st_size
