"""Copies of image files in memory without their metadata, for files whose metadata stop Pillow."""

import io
import os
import struct
import zlib
from collections.abc import Iterator

from data.contents import File, opened

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
# of PNG; transparency and rotation are kept if they are whole
_PIXELS = (b"IHDR", b"PLTE", b"IDAT")
_SMALL = {b"tRNS": 1024, b"eXIf": 2**20}
_LOOKS = (0xE0, 0xEE)  # of JPEG: JFIF's and Adobe's segments say what the colours are
_EXIF = 0xE1
_END = b"\xff\xd9"


def bare_copies(path: File) -> Iterator[io.BytesIO]:
    """Copies of a PNG or JPEG file to try in turn: without metadata but the camera's, and without
    those; nothing for other files.

    What holds the pixels is copied as it is, so that damage there stays damage.
    """
    with opened(path) as file:
        head = file.read(len(_PNG))
    if head == _PNG:
        yield _png(path)
    elif head.startswith(_JPEG):
        with opened(path) as file:
            content = file.read()
        for keep in ((*_LOOKS, _EXIF), _LOOKS):
            yield _jpeg(content, keep)


def ended_jpeg(path: File) -> io.BytesIO | None:
    """A copy of a JPEG file with an end marker behind whatever there is; None for other files."""
    with opened(path) as file:
        content = file.read()
    return io.BytesIO(content + _END) if content.startswith(_JPEG) else None


def _png(path: File) -> io.BytesIO:
    parts = [_PNG]
    with opened(path) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(len(_PNG))
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">L4s", head)
            if kind == b"IEND":
                break
            if kind in _PIXELS or length <= _SMALL.get(kind, -1):
                body = file.read(length + 4)
                whole = body[length:] == struct.pack(">L", zlib.crc32(kind + body[:length]))
                if kind in _PIXELS or whole:
                    parts += [head, body]
            elif file.tell() + length + 4 > size:
                break
            else:
                file.seek(length + 4, os.SEEK_CUR)
    parts.append(struct.pack(">L4sL", 0, b"IEND", zlib.crc32(b"IEND")))
    return io.BytesIO(b"".join(parts))


def _jpeg(content: bytes, keep: tuple[int, ...]) -> io.BytesIO:
    parts, place = [_JPEG], len(_JPEG)
    while place + 4 <= len(content) and content[place] == 0xFF:
        marker = content[place + 1]
        if marker == 0xDA:  # from here on there are pixels
            break
        if marker == 0xFF:  # padding
            place += 1
            continue
        end = place + 2 + int.from_bytes(content[place + 2 : place + 4], "big")
        application = 0xE0 <= marker <= 0xEF or marker == 0xFE
        damaged = marker == _LOOKS[0] and end - place < 18  # shorter than a segment of JFIF's
        if not application or (marker in keep and not damaged):
            parts.append(content[place:end])
        place = end
    return io.BytesIO(b"".join([*parts, content[place:]]))
