"""JPEG files by torchvision's decoder, or Pillow's, and torch's resizing of bytes."""

import io
import os
import stat
import struct
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
from PIL import Image

from data.contents import File, FileContent

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif")
MAGIC = b"\xff\xd8\xff"
PLAIN = ("L", "RGB")  # modes of Pillow; inks go through Pillow itself
# second bytes of markers: of a frame, baseline or progressive; of the scan behind the head; and of
# what says nothing about how an image is shown: JFIF, tables, restarts, comments
_FRAMES, _SCAN, _SILENT = (0xC0, 0xC2), 0xDA, frozenset((0xE0, 0xC4, 0xDB, 0xDD, 0xFE))


class PlainJpeg(NamedTuple):
    """A JPEG file of grey or RGB.

    Fields:
        content: Its bytes, (n,) uint8.
        size: Width and height as stored, in pixels.
        head: Pillow's view of it, not decoded, where it has metadata that may say more.
    """

    content: np.ndarray
    size: tuple[int, int]
    head: Image.Image | None


def plain_jpeg(path: File) -> PlainJpeg | None:
    """A JPEG file; None where it is something else, by its suffix, its first bytes or its head.

    Raises: Exception: Whatever damaged bytes make Pillow raise.
    """
    in_memory = isinstance(path, FileContent)
    name = path.name if in_memory else os.fspath(path)
    if not name.lower().endswith(SUFFIXES):
        return None
    if in_memory:
        content = np.frombuffer(path.content, np.uint8).copy()  # which torch may write to
    else:
        content = _read(path)
    if content[:3].tobytes() != MAGIC:
        return None
    size = _size_without_metadata(content.data)
    if size is not None:
        return PlainJpeg(content, size, None)
    image = Image.open(io.BytesIO(content), formats=("JPEG",))
    if image.format != "JPEG" or image.mode not in PLAIN:
        return None
    return PlainJpeg(content, image.size, image)


def _read(path: str | os.PathLike) -> np.ndarray:
    """The bytes of a file, (n,) uint8, none of what is no regular file; np.fromfile takes three
    times as long.
    """
    state = os.stat(path)
    content = np.empty(state.st_size if stat.S_ISREG(state.st_mode) else 0, np.uint8)
    if not len(content):
        return content
    with open(path, "rb", buffering=0) as file:
        done = file.readinto(content)
        while done < len(content) and (more := file.readinto(content[done:])):  # of a network
            done += more
    return content[:done]


def _size_without_metadata(content: memoryview) -> tuple[int, int] | None:
    """Width and height of a JPEG file of 8 bits, grey or three colours, with nothing in its head
    but tables and comments, for which Pillow's own view of the head takes ten times as long; None
    for all others. Raises: IndexError, struct.error: If the head ends early.
    """
    size, place = None, 2
    while content[place] == 0xFF:
        marker = content[place + 1]
        if marker == _SCAN:
            return size
        if marker in _FRAMES and size is None:
            bits, height, width, channels = struct.unpack_from(">BHHB", content, place + 4)
            if bits != 8 or channels not in (1, 3) or not (width and height):
                return None
            size = width, height
        elif marker not in _SILENT:
            return None
        place += 2 + int.from_bytes(content[place + 2 : place + 4], "big")
    return None


@cache
def _decoder() -> Callable[[np.ndarray], np.ndarray]:
    """From the bytes of a JPEG file to its pixels (H, W, 1 or 3): torchvision's decoder where there
    is one that gives Pillow's pixels, else Pillow's, which takes half as long again. torchvision
    has announced in 0.29 that its decoder will go; one built without libjpeg has it in name.
    """
    trial = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (19, 27, 3), dtype=np.uint8)
    Image.fromarray(noise).save(trial, "JPEG")
    content = np.frombuffer(trial.getvalue(), np.uint8).copy()
    try:
        if np.array_equal(_by_torchvision(content), _by_pillow(content)):
            return _by_torchvision
    except Exception:  # nobody knows how a function ends
        pass
    return _by_pillow


def _by_torchvision(content: np.ndarray) -> np.ndarray:
    """What `torchvision.io.decode_jpeg` calls, without its announcement at each image."""
    import torch
    import torchvision  # noqa: F401  which makes the operator known

    as_stored = 0  # as many channels as there are
    pixels = torch.ops.image.decode_jpeg(torch.from_numpy(content), as_stored)
    return pixels.permute(1, 2, 0).numpy()


def _by_pillow(content: np.ndarray) -> np.ndarray:
    pixels = np.array(Image.open(io.BytesIO(content), formats=("JPEG",)))
    return pixels.reshape(*pixels.shape[:2], -1)


def decode_jpeg(
    content: np.ndarray,
    *,
    gray: bool,
    turn: Image.Transpose | None,
    cut: Callable[[tuple[int, int]], tuple[int, int, int, int]],
    resize: tuple[int, int] | None,
) -> np.ndarray:
    """Pixels uint8 (H, W, channels): those of Pillow's decoder, and after resizing, which is
    torch's, by 1 different in about one value of a thousand.

    Args:
        content: The bytes of the file.
        gray: One channel instead of three, by Pillow's weights of the colours.
        turn: How it is shown.
        cut: Width and height as it is shown -> the part that is wanted: left, top, right, bottom.
        resize: Width and height to stretch to; None keeps the size.

    Raises: RuntimeError, OSError: If the file is damaged.
    """
    import torch
    from torch.nn import functional as F

    shown = _decoder()(content)  # (H, W, 1 or 3)
    if turn is not None or (gray and shown.shape[2] == 3):
        picture = Image.fromarray(shown[:, :, 0] if shown.shape[2] == 1 else shown)
        picture = picture.convert("L") if gray else picture
        picture = picture if turn is None else picture.transpose(turn)
        shown = np.array(picture)
        shown = shown.reshape(*shown.shape[:2], -1)
    image = torch.from_numpy(shown).permute(2, 0, 1)  # channels last in memory
    channels, height, width = image.shape
    whole = 0, 0, width, height
    if (box := cut((width, height))) != whole:
        left, top, right, bottom = box
        image = image[:, top:bottom, left:right]
    if resize is not None:
        # a batch whose strides say that channels come last, which the fast resizing asks for
        strides = image.stride()
        batch = image.as_strided((1, *image.shape), (image.shape[1] * strides[1], *strides))
        batch = F.interpolate(batch, resize[::-1], mode="bilinear", antialias=True)
        image = batch[0]
    pixels = image.numpy().transpose(1, 2, 0)
    if channels == 1 and not gray:
        pixels = np.repeat(pixels, 3, axis=2)
    return np.ascontiguousarray(pixels)
