"""JPEG files by torchvision's decoder and torch's resizing of bytes, the fastest at hand."""

import io
import os
from collections.abc import Callable

import numpy as np
from PIL import Image

from data.contents import File, FileContent

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif")
MAGIC = b"\xff\xd8\xff"
PLAIN = ("L", "RGB")  # modes of Pillow; inks go through Pillow itself


def plain_jpeg(path: File) -> tuple[np.ndarray, Image.Image] | None:
    """The bytes of a JPEG file (n,) uint8, and Pillow's view of its head, not decoded; None where
    it is something else, by its suffix, its first bytes or its head.

    Raises: Exception: Whatever damaged bytes make Pillow raise.
    """
    in_memory = isinstance(path, FileContent)
    name = path.name if in_memory else os.fspath(path)
    if not name.lower().endswith(SUFFIXES):
        return None
    if in_memory:
        content = np.frombuffer(path.content, np.uint8).copy()  # which torch may write to
    else:
        content = np.fromfile(path, np.uint8)
    if content[:3].tobytes() != MAGIC:
        return None
    image = Image.open(io.BytesIO(content), formats=("JPEG",))
    return (content, image) if image.format == "JPEG" and image.mode in PLAIN else None


def check_torchvision() -> None:
    """Raises: ValueError: If this torchvision has no decoder any more, which 0.29 has announced."""
    try:
        from torchvision.io import decode_jpeg  # noqa: F401
    except ImportError as error:
        raise ValueError(
            f"--decoder torchvision: this version has none ({error}); use --decoder pillow, or"
            " torchvision 0.29"
        ) from error


def decode_jpeg(
    content: np.ndarray,
    *,
    gray: bool,
    turn: Image.Transpose | None,
    cut: Callable[[tuple[int, int]], tuple[int, int, int, int]],
    resize: tuple[int, int] | None,
) -> np.ndarray:
    """Pixels uint8 (H, W, channels): those of Pillow's decoder, and after resizing by 1 different
    in about one value of a thousand.

    Args:
        content: The bytes of the file.
        gray: One channel instead of three, by Pillow's weights of the colours.
        turn: How it is shown.
        cut: Width and height as it is shown -> the part that is wanted: left, top, right, bottom.
        resize: Width and height to stretch to; None keeps the size.

    Raises: RuntimeError: If the file is damaged.
    """
    import torch
    from torch.nn import functional as F
    from torchvision.io import decode_jpeg

    image = decode_jpeg(torch.from_numpy(content))  # (1 or 3, H, W)
    pixels = image.permute(1, 2, 0)  # as they lie in memory
    if turn is not None or (gray and len(image) == 3):
        shown = pixels.numpy()
        picture = Image.fromarray(shown[:, :, 0] if len(image) == 1 else shown)
        picture = picture.convert("L") if gray else picture
        picture = picture if turn is None else picture.transpose(turn)
        shown = np.array(picture)
        pixels = torch.from_numpy(shown.reshape(*shown.shape[:2], -1))
    left, top, right, bottom = cut((pixels.shape[1], pixels.shape[0]))
    pixels = pixels[top:bottom, left:right]
    if resize is not None:
        # a batch whose strides say that channels come last, which the fast resizing asks for
        batch = pixels[None].permute(0, 3, 1, 2)
        batch = F.interpolate(batch, resize[::-1], mode="bilinear", antialias=True)
        pixels = batch[0].permute(1, 2, 0)
    return np.ascontiguousarray((pixels if gray else pixels.expand(-1, -1, 3)).numpy())
