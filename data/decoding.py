"""Reads one image file into 8-bit pixels, or says why it cannot."""

import contextlib
import errno
import io
import itertools
import math
import os
import struct
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin, UnidentifiedImageError

from data.bare import bare_copies, ended_jpeg
from data.contents import File, for_pillow, opened, size_of
from data.jpeg import check_torchvision, decode_jpeg, plain_jpeg
from data.tiff import (
    ORIENTATION,
    Tiff,
    Values,
    check,
    count_pages,
    pillow_is_right,
    read_tags,
    read_values,
    unread,
)
from files.fingerprints import NEWEST, pixels_fingerprint

try:
    from PIL import AvifImagePlugin

    AVIF = bool(AvifImagePlugin.SUPPORTED)
except ImportError:  # before Pillow 11.3
    AVIF = False

# what else Pillow opens is not all images: of EPS, whatever its suffix, it has Ghostscript run the
# program in it
IMAGE_FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "GIF", "WEBP", *(["AVIF"] if AVIF else []))
TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two are BigTIFF
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
_SWAPPING = (TURNS[5], TURNS[6], TURNS[7], TURNS[8])
_FROM_THE_RIGHT = (TURNS[2], TURNS[3], TURNS[7], TURNS[8])
_FROM_BELOW = (TURNS[3], TURNS[4], TURNS[6], TURNS[7])
OPAQUE = ("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")
DEEPEST = 65535  # white in 16 bits

PIXELS_AT_ONCE = 2**28  # decoded by all threads together, of 4 bytes each; more of a single image
STRIP = 2**20  # pixels that are converted at once
DRAFT_FROM = 2**26  # pixels from which on a JPEG file is decoded at a fraction of its size, which
DRAFT = 4  # is this many times the size that is wanted, or larger

# how an image comes to be a square -> in words
FITS = {
    "stretch": "to the square, whatever its proportions",
    "pad": "as a whole into the square, with the median colour of its own edge around it",
    "crop": "so that its middle fills the square, and the ends of its longer side are lost",
}

# torchvision reads whole JPEG files of grey or RGB, the others are Pillow's all the same
DECODERS = ("pillow", "torchvision")
PASSING = "for now: "
# errors of reading that the file itself causes: those of Pillow have no number, and a damaged file
# may name a place in it that there cannot be
_OF_THE_FILE = (None, errno.EINVAL, errno.EOVERFLOW)
# what damaged bytes make Pillow raise when it opens a file; no error of the disk
_DAMAGE = (UnidentifiedImageError, ValueError, TypeError, LookupError, SyntaxError, struct.error)
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
    (0, (b"version https://git-lfs",), "a pointer of Git LFS; fetch the files with git lfs pull"),
)

# left, top, width, height, in pixels of the image as a viewer shows it
Box = tuple[int, int, int, int]


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
        frames: Number of frames, pages or channels, of which the first was read.
        truncated: Whether the file ends early, and what is missing is grey.
    """

    pixels: np.ndarray
    size: tuple[int, int]
    brightest: int | None
    cut: bool
    transparent: bool
    frames: int
    truncated: bool = False

    def fingerprint(self, of: str = NEWEST) -> int:
        """64 bits of a hash of original size and pixels, one of `files.fingerprints.HASHES`; equal
        for equal images.
        """
        return pixels_fingerprint(self.pixels, self.size, of)


class _Refused(ValueError):
    """The image is decoded, but it has no meaning as 8 bits, or not in the box."""


class _Budget:
    """Has threads wait, so that together they hold so many pixels, or those of one image."""

    def __init__(self, total: int):
        self.total = total
        self._clear()
        if hasattr(os, "register_at_fork"):  # the other threads are not there to give back theirs
            os.register_at_fork(after_in_child=self._clear)

    def _clear(self) -> None:
        self._used, self._changed = 0, threading.Condition()

    @contextlib.contextmanager
    def of(self, pixels: int) -> Iterator[None]:
        with self._changed:
            # a large image waits until it is alone: those behind it end, because they are read
            # only a little ahead
            self._changed.wait_for(lambda: not self._used or self._used + pixels <= self.total)
            self._used += pixels
        try:
            yield
        finally:
            with self._changed:
                self._used -= pixels
                self._changed.notify_all()


_BUDGET = _Budget(PIXELS_AT_ONCE)
_LOADING = threading.Lock()
# Large images lie in blocks of this size. Blocks of Pillow's 16 MiB stay with the thread that freed
# them (glibc gives back above 32 MiB only), and every thread kept the memory of an image.
with contextlib.suppress(AttributeError, ValueError):
    Image.core.set_block_size(2**26)


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
    path: File,
    *,
    resize: int | tuple[int, int] | None = 128,
    gray: bool = False,
    box: Box | None = None,
    grey_range: int | None = None,
    truncated: bool = False,
    fit: str = "stretch",
    decoder: str = "pillow",
) -> Decoded:
    """Reads an image completely and converts it to 8-bit colour or grey.

    Transparency is laid on white; 16-bit grey is divided by 257; of 16-bit colour the upper 8 bits
    count, which are all that Pillow reads; the camera's rotation flag is applied; of an animation
    or a multi-page file the first frame counts. Metadata that are damaged or huge are passed over.

    Memory: besides the decoded image, 4 bytes a pixel (6 in some TIFF layouts of 16 bits), there
    are only strips of it. All threads together hold PIXELS_AT_ONCE pixels, or those of one image.

    Args:
        path: The file, or its bytes with a name.
        resize: Side in pixels that both sides are stretched to (bilinear, antialiased), or width
            and height; None or 0 keeps the size, whatever `fit` says.
        gray: One channel instead of three.
        box: Part to cut out first; what reaches beyond the image is left out of it.
        grey_range: Value that becomes white in images of 16 bits a channel, grey and colour, 1 to
            65535, such as 4095 for 12-bit cameras; what is brighter is white, too. None: as above.
        truncated: Read a JPEG file that ends early as far as it goes; the rest is grey.
        fit: How an image of other proportions than `resize` gets there, one of FITS.
        decoder: Of `DECODERS`.

    Raises: ValueError: If the file is empty, truncated, no image, too large for Pillow's limit, of
        a kind that has no meaning as 8 bits (floating point), or all outside the box. The message
        is the reason, without the path.
    """
    if fit not in FITS:
        raise ValueError(f"fit must be one of {', '.join(FITS)}, got {fit!r}")
    how = _How(_pair(resize), gray, box, grey_range, fit)
    try:
        if decoder == "torchvision" and (fast := _read_fast(path, how)) is not None:
            return fast
        if size_of(path) == 0:
            raise ValueError("the file is empty")
        try:
            return _read(path, path, how)
        except (Image.DecompressionBombError, MemoryError, _Refused):
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno not in _OF_THE_FILE:
                raise
            return _read_otherwise(path, how, truncated, error)
    except UnidentifiedImageError:
        raise ValueError(what_it_is(path)) from None
    except Image.DecompressionBombError as error:
        raise ValueError(too_large(error)) from error
    except ValueError:
        raise
    except Exception as error:  # a damaged file can raise almost anything, struct.error for one
        raise ValueError(
            getattr(error, "strerror", None) or str(error) or type(error).__name__
        ) from error


def convert_image(
    image: Image.Image | np.ndarray,
    *,
    resize: int | tuple[int, int] | None = 128,
    gray: bool = False,
    grey_range: int | None = None,
    fit: str = "stretch",
) -> Decoded:
    """What `read_image` makes of a file with these pixels, but for JPEG files of more than
    DRAFT_FROM pixels, which it decodes at a fraction of their size.

    Args:
        image: An image of Pillow, opened or made, which stays as it is, and keeps the rotation flag
            of the file that it was opened from; or uint8 (H, W) or (H, W, channels) of grey (1),
            RGB (3) or RGBA (4).
        resize, gray, grey_range, fit: See `read_image`.

    Raises: ValueError: If the file behind the image cannot be read, or the pixels have no meaning
        as 8 bits.
    """
    if isinstance(image, np.ndarray):
        grey = image.ndim == 3 and image.shape[2] == 1
        image = Image.fromarray(np.ascontiguousarray(image[:, :, 0] if grey else image))
    how = _How(_pair(resize), gray, None, grey_range, fit)
    try:
        with _LOADING:  # the same image may be there twice
            deep = _is_deep_colour(image)
            image.load()
        if deep and grey_range is not None:
            raise ValueError("of 16-bit colour Pillow keeps 8 bits in memory: give the file's path")
        strip = partial(_strip_of_picture, image, None, deep, how)
        turn = TURNS.get(orientation(image))
        return _convert(strip, image.size, turn, how, image.size, cut=deep, frames=1)
    except ValueError:
        raise
    except Exception as error:  # a damaged file can raise almost anything
        raise ValueError(str(error) or type(error).__name__) from error


def _read_fast(path: File, how: "_How") -> Decoded | None:
    """A whole JPEG file of grey or RGB by torchvision; None of others, and of damaged ones, of
    which Pillow says what they are.
    """
    check_torchvision()
    try:
        if how.resize and how.fit != "stretch":
            return None
        found = plain_jpeg(path)
        if found is None:
            return None
        content, (width, height), head = found
        if width * height > DRAFT_FROM:
            return None
        turn = None if head is None else TURNS.get(orientation(head))
        size = (height, width) if turn in _SWAPPING else (width, height)
        cut = partial(_inside, how.box) if how.box is not None else lambda shown: (0, 0, *shown)
        with _BUDGET.of(width * height):
            pixels = decode_jpeg(content, gray=how.gray, turn=turn, cut=cut, resize=how.resize)
    except _Refused:
        raise
    except Exception:  # damaged bytes can raise almost anything
        return None
    return Decoded(pixels, size, None, False, False, 1)


class Head(NamedTuple):
    """What the head of an image file says.

    Fields:
        size: (width, height) in pixels, as a viewer shows the image.
        deep: Whether it holds more than 8 bits a channel.
        colour: Whether those are of colour, of which the lower ones are cut.
    """

    size: tuple[int, int]
    deep: bool
    colour: bool


def read_head(path: str | os.PathLike) -> Head:
    """Size and depth of an image that is not decoded. Raises: ValueError: If `read_image` would not
    read it, as far as its head tells; OSError: If there is no such file.
    """
    if os.stat(path).st_size == 0:
        raise ValueError("the file is empty")
    try:
        with open(path, "rb") as file:
            if file.read(4) in TIFF_MAGIC:
                return _tiff_head(read_tags(file))
        for source in itertools.chain([path], bare_copies(path)):
            with contextlib.suppress(*_DAMAGE), Image.open(source, formats=IMAGE_FORMATS) as image:
                deep = _is_deep_colour(image)
                turned = TURNS.get(orientation(image)) in _SWAPPING
                size = image.size[::-1] if turned else image.size
                return Head(size, deep or image.mode in SIXTEEN_BITS, deep)
    except Image.DecompressionBombError as error:
        raise ValueError(too_large(error)) from error
    raise ValueError(what_it_is(path))


def _tiff_head(tiff: Tiff) -> Head:
    check(tiff)
    size = tiff.size[::-1] if TURNS.get(tiff.first(ORIENTATION, 1)) in _SWAPPING else tiff.size
    deep = max(tiff.bits) > 12  # of 12 bits the range is known
    return Head(size, deep, deep and tiff.samples > 1)


class _How(NamedTuple):
    """How an image is wanted, see `read_image`."""

    resize: tuple[int, int] | None
    gray: bool
    box: Box | None
    grey_range: int | None
    fit: str = "stretch"


def _pair(resize: int | tuple[int, int] | None) -> tuple[int, int] | None:
    if isinstance(resize, tuple):
        return resize
    return (resize, resize) if resize else None


def _read_otherwise(path: File, how: _How, truncated: bool, error: Exception) -> Decoded:
    """The image without its metadata, or as far as it goes. Raises: The error that there was."""
    for copy in bare_copies(path):
        with contextlib.suppress(Exception):
            return _read(copy, path, how)
    copy = ended_jpeg(path) if truncated else None
    if copy is not None:
        with contextlib.suppress(Exception):
            return _read(copy, path, how)._replace(truncated=True)
    raise error


def _read(file: File | io.BytesIO, path: File, how: _How) -> Decoded:
    """Reads a file, or a copy of it in memory."""
    tiff = None
    with opened(path) as start:
        if start.read(4) in TIFF_MAGIC:
            tiff = read_tags(start)
            deep = how.grey_range is not None and max(tiff.bits, default=0) > 8
            if deep or not pillow_is_right(tiff):
                return _read_tiff(path, tiff, how)
    try:
        return _read_with_pillow(file, how)
    except (Image.DecompressionBombError, MemoryError, _Refused):
        raise
    except Exception:  # what stopped Pillow may be metadata
        if tiff is None:
            raise
        return _read_tiff(path, tiff, how)


def _read_with_pillow(file: File | io.BytesIO, how: _How) -> Decoded:
    with Image.open(for_pillow(file), formats=IMAGE_FORMATS) as image:
        frames, deep = _frames(image), _is_deep_colour(image)
        if deep and isinstance(image.info.get("transparency"), tuple):
            # of 16 bits, of which the pixels keep the upper ones
            image.info["transparency"] = tuple(v >> 8 for v in image.info["transparency"])
        original = image.size
        if original[0] * original[1] > DRAFT_FROM and how.box is None and how.resize:
            image.draft(None, (DRAFT * how.resize[0], DRAFT * how.resize[1]))
        drafted, both = image.size != original, deep and how.grey_range is not None
        with _BUDGET.of(image.size[0] * image.size[1] * (2 if both else 1)):
            try:
                low = _lower_bits(file) if both else None
                image.load()
                turn = TURNS.get(orientation(image))
                size = original if drafted else image.size  # some versions turn it on loading
                strip = partial(_strip_of_picture, image, low, deep, how)
                return _convert(
                    strip, image.size, turn, how, size, cut=deep and low is None, frames=frames
                )
            finally:  # its pixels go before the next image comes
                image.close()


def _read_tiff(path: File, tiff: Tiff, how: _How) -> Decoded:
    width, height = tiff.size
    bytes_each = tiff.samples * math.ceil(max(tiff.bits, default=8) / 8)
    with opened(path) as file, _BUDGET.of(math.ceil(width * height * bytes_each / 4)):
        return _decode_tiff(file, tiff, how)


def _decode_tiff(file: BinaryIO, tiff: Tiff, how: _How) -> Decoded:
    values = read_values(file, tiff)
    channels = values.array.shape[2] if values.mode == "L" else 1
    frames = max(count_pages(file, tiff), channels)
    cut = values.top == DEEPEST and values.mode != "L" and how.grey_range is None
    turn = TURNS.get(tiff.first(ORIENTATION, 1))
    strip = partial(_strip_of_values, values, how)
    return _convert(strip, tiff.size, turn, how, tiff.size, cut=cut, frames=frames)


def orientation(image: Image.Image) -> int:
    """The camera's rotation flag, 1 to 8; 1, upright, where there is none or the metadata are
    damaged.
    """
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:
        # damaged metadata can raise almost anything, and viewers show the image all the same
        return 1


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
        for place, starts, name in _NOT_READ:
            if head[place:].startswith(starts):
                return f"this is not an image that Pillow can read, but {name}"
    return "this is not an image that Pillow can read"


def _frames(image: Image.Image) -> int:
    """Number of frames or pages, 1 where they cannot be counted."""
    if image.format == "MPO":  # a photograph with its preview
        return 1
    try:
        return getattr(image, "n_frames", 1)
    except Exception:
        # a later page is of a kind that is not read, or damaged; only the first counts
        image.seek(0)
        return 1


def _is_deep_colour(image: Image.Image) -> bool:
    """Whether an opened file holds more than 8 bits a channel, of which Pillow reads 8."""
    if image.mode in SIXTEEN_BITS:
        return False
    if image.format == "TIFF":
        return max(image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (8,))) > 8
    return image.format == "PNG" and any(";16" in str(tile[3]) for tile in image.tile)


def _lower_bits(file: File | io.BytesIO) -> Image.Image:
    """The lower 8 bits of a PNG file of 16-bit colour, in which Pillow reads the upper ones: read
    as if the order of the bytes were the other.
    """
    with Image.open(for_pillow(file), formats=("PNG",)) as image:
        (tile,) = image.tile
        grey = tile[3] == "LA;16B"  # of 4 bytes a pixel, as RGBA of 8 bits is
        other = "RGBA" if grey else tile[3].replace(";16B", ";16L")
        image.tile = [
            tile._replace(args=other) if hasattr(tile, "_replace") else (*tile[:3], other)
        ]
        image.load()
        if grey:
            _, low, _, alpha = image.split()
            return Image.merge("RGBA", (low, low, low, alpha))
        return image.copy()


def _strip_of_picture(
    image: Image.Image, low: Image.Image | None, deep: bool, how: _How, box: tuple
) -> "_Strip":
    """A part of a decoded image as 8 bits, laid on white."""
    whole = box == (0, 0, *image.size)
    part = image if whole else image.crop(box)
    if image.mode in SIXTEEN_BITS:
        values, clear = np.asarray(part), image.info.get("transparency")
        if values.min() < 0 or values.max() > DEEPEST:
            raise _Refused(
                f"values from {values.min()} to {values.max()} do not fit 16 bits; save it with 8"
                " or 16 bits"
            )
        shown = _eight_bits(values, how.grey_range)
        clear = values == clear if isinstance(clear, int) else np.zeros(1, bool)
        if clear.any():
            shown[clear] = 255
        return _Strip(Image.fromarray(shown), int(values.max()), bool(clear.any()))
    brightest = None
    if low is not None:
        upper = np.asarray(part, np.uint16)
        lower = np.asarray(low if whole else low.crop(box), np.uint16)
        values = (upper << 8 | lower)[:, :, :3]
        brightest = int(values.max())
        shown = np.concatenate(
            [_eight_bits(values, how.grey_range), upper[:, :, 3:].astype(np.uint8)], axis=2
        )
        deep_part = Image.fromarray(shown)
        deep_part.info = dict(part.info)
        part = deep_part
    strip = _on_white(part)
    if deep and low is None:
        extrema = strip.image.convert("RGB").getextrema()
        brightest = 257 * max(high for _, high in extrema)
    return strip._replace(brightest=brightest)


def _strip_of_values(values: Values, how: _How, box: tuple) -> "_Strip":
    """A part of the values of a TIFF file as 8 bits, laid on white."""
    left, top, right, bottom = box
    array = values.array[top:bottom, left:right]
    size, mode = (right - left, bottom - top), values.mode
    if mode == "P":
        image = Image.frombytes("P", size, np.ascontiguousarray(array[:, :, 0]))
        image.putpalette(values.palette)
        return _on_white(image)
    array = array[:, :, : len(mode)]
    brightest = None
    if values.top == DEEPEST:
        colours = array[:, :, : len(mode.rstrip("Aa"))]
        brightest = int(colours.max())
        if how.grey_range is None and mode != "L":
            shown = (array >> 8).astype(np.uint8)
        elif mode.startswith(("L", "RGB")):
            shown = (array >> 8).astype(np.uint8)
            shown[:, :, : colours.shape[2]] = _eight_bits(colours, how.grey_range)
        else:  # inks: nothing is known of their range
            shown = (array >> 8).astype(np.uint8)
    elif values.top == 255:
        shown = array
    else:
        shown = np.rint(array * (255 / values.top)).astype(np.uint8)
    image = Image.frombytes(mode, size, np.ascontiguousarray(shown))
    return _on_white(image)._replace(brightest=brightest)


class _Strip(NamedTuple):
    """Rows of an image of 8 bits, without transparency.

    Fields:
        image: Of one of the OPAQUE modes.
        brightest, transparent: See `Decoded`.
    """

    image: Image.Image
    brightest: int | None
    transparent: bool


def _on_white(image: Image.Image) -> _Strip:
    if image.mode in TRANSPARENT or (image.mode in OPAQUE and "transparency" in image.info):
        # Pillow makes no RGBA of premultiplied grey
        layer = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        transparent = layer.getextrema()[3][0] < 255
        if transparent:
            layer = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
        return _Strip(layer, None, transparent)
    if image.mode not in OPAQUE:
        raise _Refused(
            f"pixels of mode {image.mode!r} have no fixed range; save the image with 8 or 16 bits"
        )
    return _Strip(image, None, False)


def _eight_bits(values: np.ndarray, grey_range: int | None) -> np.ndarray:
    """16-bit values as 8 bits."""
    if grey_range is None:
        return np.rint(values / 257).astype(np.uint8)
    return np.rint(np.minimum(values, grey_range) * (255 / grey_range)).astype(np.uint8)


def _convert(
    strip: Callable[[tuple], _Strip],
    stored: tuple[int, int],
    turn: Image.Transpose | None,
    how: _How,
    size: tuple[int, int],
    *,
    cut: bool,
    frames: int,
) -> Decoded:
    """Turns, cuts and resizes an image strip by strip; equal to doing so with all of it.

    Args:
        strip: Part of the stored image, left, top, right, bottom -> its pixels.
        stored: Width and height of what was decoded.
        turn: How it is shown.
        how: How it is wanted.
        size: Original width and height, as stored.
        cut, frames: See `Decoded`.
    """
    size = size[::-1] if turn in _SWAPPING else size
    shown = stored[::-1] if turn in _SWAPPING else stored
    left, top, right, bottom = (0, 0, *shown) if how.box is None else _inside(how.box, shown)
    if how.resize and how.fit == "crop":
        left, top, right, bottom = _middle((left, top, right, bottom), how.resize)
    width, height = right - left, bottom - top
    side = _within((width, height), how.resize) if how.fit == "pad" else how.resize
    mode, channels = ("L", 1) if how.gray else ("RGB", 3)
    rows = max(1, STRIP // width)
    if how.resize:
        wide = side[0]
        # rows are stretched first, then columns, with whole numbers in between, as Pillow does it
        narrow = Image.new(mode, (wide, height)) if rows < height else None
    else:
        pixels = np.empty((height, width, channels), np.uint8)
    brightest, transparent = None, False
    for start in range(0, height, rows):
        end = min(start + rows, height)
        found = strip(_as_stored((left, top + start, right, top + end), stored, turn))
        if found.brightest is not None:
            brightest = max(found.brightest, brightest or 0)
        transparent |= found.transparent
        image = found.image
        if image.mode == "LAB" and mode == "L":
            image = image.convert("RGB")
        image = image if image.mode == mode else image.convert(mode)
        image = image if turn is None else image.transpose(turn)
        if not how.resize:
            pixels[start:end] = np.asarray(image).reshape(end - start, width, channels)
        elif narrow is None:
            narrow = image
        else:
            narrow.paste(image.resize((wide, end - start), Image.Resampling.BILINEAR), (0, start))
    if how.resize:
        pixels = np.array(narrow.resize(side, Image.Resampling.BILINEAR))
        pixels = pixels.reshape(*pixels.shape[:2], channels)
        pixels = pixels if side == how.resize else _padded(pixels, how.resize)
    return Decoded(pixels, size, brightest, cut, transparent, frames)


def _as_stored(box: tuple, stored: tuple[int, int], turn: Image.Transpose | None) -> tuple:
    """Where a box of the image as it is shown lies in the stored one; left, top, right, bottom."""
    (left, top, right, bottom), (width, height) = box, stored
    if turn in _SWAPPING:  # rows are columns there
        left, top, right, bottom = top, left, bottom, right
    if turn in _FROM_THE_RIGHT:
        left, right = width - right, width - left
    if turn in _FROM_BELOW:
        top, bottom = height - bottom, height - top
    return left, top, right, bottom


def _middle(box: tuple, wanted: tuple[int, int]) -> tuple[int, int, int, int]:
    """The largest part of a box, left, top, right, bottom, that has the proportions of the wanted
    width and height and its centre; of whole pixels.
    """
    left, top, right, bottom = box
    scale = min((right - left) / wanted[0], (bottom - top) / wanted[1])
    width = max(1, min(round(wanted[0] * scale), right - left))
    height = max(1, min(round(wanted[1] * scale), bottom - top))
    left, top = left + (right - left - width) // 2, top + (bottom - top - height) // 2
    return left, top, left + width, top + height


def _within(size: tuple[int, int], wanted: tuple[int, int] | None) -> tuple[int, int] | None:
    """The largest width and height of the proportions of a size that fit into the wanted ones."""
    if not wanted:
        return wanted
    scale = min(wanted[0] / size[0], wanted[1] / size[1])
    # of one side this is the wanted one, which rounding must not miss
    return tuple(max(1, min(round(side * scale), most)) for side, most in zip(size, wanted))


def _padded(pixels: np.ndarray, wanted: tuple[int, int]) -> np.ndarray:
    """Pixels (h, w, channels) in the middle of (H, W, channels) for the wanted (W, H), the rest of
    the median colour of their outermost rows and columns: mostly the ground that an object lies on,
    even where it touches an edge.
    """
    height, width, channels = pixels.shape
    # (number of pixels, channels)
    edge = np.concatenate([pixels[0], pixels[-1], pixels[1:-1, 0], pixels[1:-1, -1]])
    middle = np.sort(edge, axis=0)[len(edge) // 2]  # one of the values, of integers no mean
    padded = np.empty((wanted[1], wanted[0], channels), np.uint8)
    padded[:] = middle
    top, left = (wanted[1] - height) // 2, (wanted[0] - width) // 2
    padded[top : top + height, left : left + width] = pixels
    return padded


def _inside(box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The part of the box that lies in the image, as left, top, right, bottom."""
    left, top, width, height = box
    corners = max(left, 0), max(top, 0), min(left + width, size[0]), min(top + height, size[1])
    if corners[0] >= corners[2] or corners[1] >= corners[3]:
        raise _Refused(
            f"the box at {left}, {top} of {width} x {height} pixels has nothing of the image, which"
            f" has {size[0]} x {size[1]} pixels"
        )
    return corners
