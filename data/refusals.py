"""Why image files are not read, what they are instead, and the ways out."""

import contextlib
import errno
from collections.abc import Sequence

from PIL import Image

from data.contents import File, opened
from data.tiff import TIFF_MAGIC, read_tags, unread
from files.text import counted

SHOWN = 20  # files that a message lists
PASSING = "for now: "
# errors of reading that the file itself causes: those of Pillow have no number, and a damaged file
# may name a place in it that there cannot be
OF_THE_FILE = (None, errno.EINVAL, errno.EOVERFLOW)
# how files begin that are often named like images -> what they are, and the way out
_CONVERT = "convert it to PNG, JPEG or TIFF"
_NOT_READ = (
    (4, (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypheim", b"ftypmsf1"), f"HEIC; {_CONVERT}"),
    (4, (b"ftypavif", b"ftypavis"), f"AVIF, which Pillow reads from 11.3 on; {_CONVERT}"),
    (0, (b"\xff\x0a", b"\0\0\0\x0cJXL "), f"JPEG XL; {_CONVERT}"),
    (0, (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"), f"JPEG 2000; {_CONVERT}"),
    (0, (b"8BPS",), f"Photoshop; {_CONVERT}"),
    (0, (b"%PDF",), "PDF, not an image"),
    (0, (b"PK\x03\x04",), "a ZIP archive; unpack it"),
    (0, (b"<!DOCTYPE", b"<!doctype", b"<html", b"<HTML"), "a web page, not an image"),
    (0, (b"<?xml", b"<Error"), "XML, as a server sends where it has no file; fetch it again"),
    (0, (b"<svg",), f"SVG; {_CONVERT}"),
    (0, (b"version https://git-lfs",), "a pointer of Git LFS; fetch the files with git lfs pull"),
    (0, (b"/annex/objects",), "a pointer of git-annex; fetch the files with git annex get"),
)


def reason(error: ValueError) -> str:
    """Why an image cannot be read: the message, or what the system said, with PASSING before it,
    where that says nothing of the file itself and may be otherwise the next time.
    """
    cause = error.__cause__
    if isinstance(cause, MemoryError):
        return f"{PASSING}there was not enough memory"
    if isinstance(cause, OSError) and cause.errno not in OF_THE_FILE:
        return f"{PASSING}{cause.strerror or cause}"
    return str(error)


def too_large(error: Image.DecompressionBombError) -> str:
    """Why an image beyond Pillow's limit is not read, and the way out."""
    return f"too large: {str(error).partition(',')[0]}; scale it down or cut it into parts"


def what_it_is(path: File) -> str:
    """Why a file is not read that Pillow does not know, and the way out, judged by its first
    bytes.
    """
    with contextlib.suppress(OSError), opened(path) as file:
        head = file.read(64)
        if head[:4] in TIFF_MAGIC:
            with contextlib.suppress(ValueError):
                return unread(read_tags(file))
        text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
        for place, starts, name in _NOT_READ:
            if head[place:].startswith(starts) or text[place:].startswith(starts):
                return f"this is not an image that Pillow can read, but {name}"
    return "this is not an image that Pillow can read"


def refusal(bad: Sequence[Sequence[str]]) -> str:
    """The message that lists files which cannot be read, and the ways out."""
    lines = [f"  {file}: {why}" for file, why in bad[:SHOWN]]
    more = [f"  and {len(bad) - SHOWN} more"] if len(bad) > SHOWN else []
    head = (
        f"{counted(len(bad), 'image')} cannot be read; remove or repair, or leave out with"
        " --skip_bad_images:"
    )
    # Pillow's words for JPEG, PNG and others
    early = any("truncated" in why for _, why in bad)
    end = ["  --truncated_images use reads JPEG files that end early as far as they go"]
    return "\n".join([head, *lines, *more, *(end if early else [])])


def left_out(bad: Sequence[Sequence[str]]) -> list[str]:
    """A note on the files that could not be read and were left out, all by name."""
    if not bad:
        return []
    number = counted(len(bad), "image was", "images were")
    return [f"{number} left out as not readable: {', '.join(file for file, _ in bad)}"]
