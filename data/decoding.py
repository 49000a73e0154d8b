"""Reads one image file into 8-bit pixels, or says why it cannot."""

import errno
import hashlib
import os
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin, UnidentifiedImageError

# what else Pillow opens is not all images: of EPS, whatever its suffix, it has Ghostscript run the
# program in it
FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "GIF", "WEBP")
SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N", "I")
TRANSPARENT = ("RGBA", "LA", "PA", "La", "RGBa")
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
OPAQUE = ("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")

PASSING = "for now: "
# errors of reading that the file itself causes: those of Pillow have no number, and a damaged file
# may name a place in it that there cannot be
_OF_THE_FILE = (None, errno.EINVAL, errno.EOVERFLOW)

Box = tuple[
    int, int, int, int
]  # left, top, width, height, in pixels of the image as a viewer shows it


class Decoded(NamedTuple):
    """One image.

    Fields:
        pixels: uint8 (H, W, channels).
        size: Original (width, height), in pixels, as a viewer shows it (after the camera's rotation
            flag), uncropped.
        brightest: Largest value, of 65535, where the file holds 16 bits a channel, else None; of
            colour that was cut, as 257 times the largest of the upper 8 bits.
        cut: Whether the lower 8 bits of 16-bit colour were dropped.
        transparent: Whether transparency was laid on white.
        frames: Number of frames or pages, of which the first was read.
        fingerprint: 64 bits of a hash of original size and pixels; equal for equal images.
    """

    pixels: np.ndarray
    size: tuple[int, int]
    brightest: int | None
    cut: bool
    transparent: bool
    frames: int
    fingerprint: int


def reason(error: ValueError) -> str:
    """Why an image cannot be read: the message, or what the system said, with PASSING before it,
    where that says nothing of the file itself and may be otherwise the next time.
    """
    cause = error.__cause__
    if isinstance(cause, MemoryError):
        return f"{PASSING}there was not enough memory"
    if isinstance(cause, OSError) and cause.errno not in _OF_THE_FILE:
        return f"{PASSING}{cause.strerror or cause}"
    return str(error)


def read_image(
    path: str | os.PathLike, *, resize: int | None = 128, gray: bool = False, box: Box | None = None
) -> Decoded:
    """Reads an image completely and converts it to 8-bit colour or grey.

    Transparency is laid on white; 16-bit grey is divided by 257; of 16-bit colour Pillow reads the
    upper 8 bits; the camera's rotation flag is applied; of an animation or a multi-page file the
    first frame counts.

    Args:
        path: The file.
        resize: Side in pixels that both sides are stretched to (bilinear, antialiased); None or 0
            keeps the size.
        gray: One channel instead of three.
        box: Part to cut out first; what reaches beyond the image is left out of it.

    Raises: ValueError: If the file is empty, truncated, no image, too large for Pillow's limit, of
        a kind that has no meaning as 8 bits (floating point), or all outside the box. The message
        is the reason, without the path.
    """
    try:
        if os.stat(path).st_size == 0:
            raise ValueError("the file is empty")
        with Image.open(path, formats=FORMATS) as image:
            frames = (
                1 if image.format == "MPO" else getattr(image, "n_frames", 1)
            )  # MPO: a photograph with its preview
            cut = image.mode not in SIXTEEN_BITS and _channel_bits(image) > 8
            image.load()
            turn = TURNS.get(orientation(image))
            return _convert(
                image if turn is None else image.transpose(turn), resize, gray, frames, box, cut
            )
    except UnidentifiedImageError:
        raise ValueError("this is no image that Pillow can read") from None
    except Image.DecompressionBombError as error:
        raise ValueError(too_large(error)) from error
    except ValueError:
        raise
    except Exception as error:  # a damaged file can raise almost anything, struct.error for one
        raise ValueError(
            getattr(error, "strerror", None) or str(error) or type(error).__name__
        ) from error


def orientation(image: Image.Image) -> int:
    """The camera's rotation flag, 1 to 8; 1, upright, where there is none or the metadata are
    damaged.
    """
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except (
        Exception
    ):  # damaged metadata can raise almost anything, and viewers show the image all the same
        return 1


def too_large(error: Image.DecompressionBombError) -> str:
    """Why an image beyond Pillow's limit is not read, and the way out."""
    return f"too large: {str(error).partition(',')[0]}; scale it down or cut it into parts"


def _channel_bits(image: Image.Image) -> int:
    """Bits a channel of an opened file, before it is loaded; 8 where they are never more."""
    if image.format == "TIFF":
        return max(image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (8,)))
    return 16 if image.format == "PNG" and any(";16" in str(tile[3]) for tile in image.tile) else 8


def _convert(
    image: Image.Image, resize: int | None, gray: bool, frames: int, box: Box | None, cut: bool
) -> Decoded:
    size, brightest, transparent = image.size, None, False
    image = image if box is None else image.crop(_inside(box, size))
    if image.mode in SIXTEEN_BITS:
        image, brightest = _eight_bits(image)
    elif image.mode in TRANSPARENT or (image.mode in OPAQUE and "transparency" in image.info):
        layer = image.convert("RGBA")
        transparent = layer.getextrema()[3][0] < 255
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    elif image.mode not in OPAQUE:
        raise ValueError(
            f"pixels of mode {image.mode!r} have no fixed range; save the image with 8 or 16 bits"
        )
    if cut:
        brightest = 257 * max(high for _, high in image.convert("RGB").getextrema())
    mode = "L" if gray else "RGB"
    image = image if image.mode == mode else image.convert(mode)
    if resize:
        image = image.resize((resize, resize), Image.Resampling.BILINEAR)
    pixels = np.array(image)
    pixels = pixels[:, :, None] if gray else pixels
    return Decoded(
        pixels, size, brightest, cut, transparent, frames, pixels_fingerprint(pixels, size)
    )


def pixels_fingerprint(pixels: np.ndarray, size: tuple[int, int]) -> int:
    """64 bits of a hash of an image's original (width, height) and pixels (H, W, channels)."""
    digest = hashlib.blake2b(b"%d %d " % size, digest_size=8)
    digest.update(np.ascontiguousarray(pixels))
    return int.from_bytes(digest.digest(), "big")


def _inside(box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The part of the box that lies in the image, as left, top, right, bottom."""
    left, top, width, height = box
    corners = max(left, 0), max(top, 0), min(left + width, size[0]), min(top + height, size[1])
    if corners[0] >= corners[2] or corners[1] >= corners[3]:
        raise ValueError(
            f"the box at {left}, {top} of {width} x {height} pixels has nothing of the image, which"
            " has"
            f" {size[0]} x {size[1]} pixels"
        )
    return corners


def _eight_bits(image: Image.Image) -> tuple[Image.Image, int]:
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError(
            f"values from {values.min()} to {values.max()} do not fit 16 bits; save it with 8 or 16"
            " bits"
        )
    return Image.fromarray(np.rint(values / 257).astype(np.uint8)), int(values.max())
