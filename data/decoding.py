"""Reads one image file into 8-bit pixels."""

import contextlib
import io
import itertools
import math
import os
import struct
import threading
from collections.abc import Iterator
from functools import partial
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin, UnidentifiedImageError

from data.contents import File, for_pillow, opened, size_of
from data.conversion import (
    DEEPEST,
    SIXTEEN_BITS,
    SWAPPING,
    TURNS,
    Box,
    Decoded,
    Refused,
    convert,
    inside,
    strip_of_picture,
    strip_of_values,
)
from data.jpeg import decode_jpeg, plain_jpeg
from data.reading import Reading
from data.refusals import OF_THE_FILE, too_large, what_it_is
from data.tiff import (
    ORIENTATION,
    SAMPLES,
    TIFF_MAGIC,
    Tiff,
    check,
    count_pages,
    pillow_is_right,
    read_tags,
    read_values,
)
from data.without_metadata import bare_copies, ended_jpeg

try:
    from PIL import AvifImagePlugin

    AVIF = bool(AvifImagePlugin.SUPPORTED)
except ImportError:  # before Pillow 11.3
    AVIF = False

# what else Pillow opens is not all images: of EPS, whatever its suffix, it has Ghostscript run the
# program in it
IMAGE_FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "GIF", "WEBP", *(["AVIF"] if AVIF else []))

PIXELS_AT_ONCE = 2**28  # decoded by all threads together, of 4 bytes each; more of a single image
DRAFT_FROM = 2**26  # pixels from which on a JPEG file is decoded at a fraction of its size, which
DRAFT = 4  # is this many times the size that is wanted, or larger

# what damaged bytes make Pillow raise when it opens a file; no error of the disk
_DAMAGE = (UnidentifiedImageError, ValueError, TypeError, LookupError, SyntaxError, struct.error)


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


def read_image(path: File, reading: Reading, box: Box | None = None) -> Decoded:
    """Reads an image completely and converts it to 8-bit colour or grey.

    Transparency is laid on white; the camera's rotation flag is applied; of an animation or a
    multi-page file the first frame counts. Metadata that are damaged or huge are passed over.

    Memory: besides the decoded image, 4 bytes a pixel (6 in some TIFF layouts of 16 bits), there
    are only strips of it. All threads together hold PIXELS_AT_ONCE pixels, or those of one image.

    Args:
        path: The file, or its bytes with a name.
        reading: How its pixels are wanted.
        box: Part to cut out first; what reaches beyond the image is left out of it.

    Raises: ValueError: If the file is empty, truncated, no image, too large for Pillow's limit, of
        a kind that has no meaning as 8 bits (floating point), or all outside the box. The message
        is the reason, without the path.
    """
    try:
        fast = _read_fast(path, reading, box) if reading.decoder == "torchvision" else None
        if fast is not None:
            return fast
        if size_of(path) == 0:
            raise ValueError("the file is empty")
        try:
            return _read(path, path, reading, box)
        except (Image.DecompressionBombError, MemoryError, Refused):
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno not in OF_THE_FILE:
                raise
            return _read_otherwise(path, reading, box, error)
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


def convert_image(image: Image.Image | np.ndarray, reading: Reading) -> Decoded:
    """What `read_image` makes of a file with these pixels, but for JPEG files of more than
    DRAFT_FROM pixels, which it decodes at a fraction of their size.

    Args:
        image: An image of Pillow, opened or made, which stays as it is, and keeps the rotation flag
            of the file that it was opened from; or uint8 (H, W) or (H, W, channels) of grey (1),
            RGB (3) or RGBA (4).
        reading: How its pixels are wanted.

    Raises: ValueError: If the file behind the image cannot be read, or the pixels have no meaning
        as 8 bits.
    """
    if isinstance(image, np.ndarray):
        grey = image.ndim == 3 and image.shape[2] == 1
        image = Image.fromarray(np.ascontiguousarray(image[:, :, 0] if grey else image))
    try:
        with _LOADING:  # the same image may be there twice
            deep = _is_deep_colour(image)
            image.load()
        if deep and reading.grey_range is not None:
            raise ValueError("of 16-bit colour Pillow keeps 8 bits in memory: give the file's path")
        strip = partial(strip_of_picture, image, None, deep, reading.grey_range)
        turn = TURNS.get(orientation(image))
        return convert(strip, image.size, turn, reading)._replace(cut=deep)
    except ValueError:
        raise
    except Exception as error:  # a damaged file can raise almost anything
        raise ValueError(str(error) or type(error).__name__) from error


def _read_fast(path: File, reading: Reading, box: Box | None) -> Decoded | None:
    """A whole JPEG file of grey or RGB by `decode_jpeg`; None of others, and of damaged ones, of
    which Pillow says what they are.
    """
    try:
        if reading.resize and reading.fit != "stretch":
            return None
        found = plain_jpeg(path)
        if found is None:
            return None
        content, (width, height), head = found
        if width * height > DRAFT_FROM:
            return None
        turn = None if head is None else TURNS.get(orientation(head))
        size = (height, width) if turn in SWAPPING else (width, height)
        cut = partial(inside, box) if box is not None else lambda shown: (0, 0, *shown)
        with _BUDGET.of(width * height):
            pixels = decode_jpeg(
                content, gray=reading.gray, turn=turn, cut=cut, resize=reading.size
            )
    except (Refused, MemoryError):
        raise
    except Exception:  # damaged bytes can raise almost anything
        return None
    return Decoded(pixels, size, None, transparent=False)


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
                turned = TURNS.get(orientation(image)) in SWAPPING
                size = image.size[::-1] if turned else image.size
                return Head(size, deep or image.mode in SIXTEEN_BITS, deep)
    except Image.DecompressionBombError as error:
        raise ValueError(too_large(error)) from error
    raise ValueError(what_it_is(path))


def _tiff_head(tiff: Tiff) -> Head:
    check(tiff)
    size = tiff.size[::-1] if TURNS.get(tiff.first(ORIENTATION, 1)) in SWAPPING else tiff.size
    deep = max(tiff.bits) > 12  # of 12 bits the range is known
    return Head(size, deep, deep and tiff.samples > 1)


def _read_otherwise(path: File, reading: Reading, box: Box | None, error: Exception) -> Decoded:
    """The image without its metadata, or as far as it goes. Raises: The error that there was."""
    for copy in bare_copies(path):
        with contextlib.suppress(Exception):
            return _read(copy, path, reading, box)
    copy = ended_jpeg(path) if reading.truncated_images == "use" else None
    if copy is not None:
        with contextlib.suppress(Exception):
            return _read(copy, path, reading, box)._replace(truncated=True)
    raise error


def _read(file: File | io.BytesIO, path: File, reading: Reading, box: Box | None) -> Decoded:
    """Reads a file, or a copy of it in memory."""
    tiff = None
    with opened(path) as start:
        if start.read(4) in TIFF_MAGIC:
            tiff = read_tags(start)
            deep = reading.grey_range is not None and max(tiff.bits, default=0) > 8
            if deep or not pillow_is_right(tiff):
                return _read_tiff(path, tiff, reading, box)
    try:
        return _read_with_pillow(file, reading, box)
    except (Image.DecompressionBombError, MemoryError, Refused):
        raise
    except Exception:  # what stopped Pillow may be metadata
        if tiff is None:
            raise
        return _read_tiff(path, tiff, reading, box)


def _read_with_pillow(file: File | io.BytesIO, reading: Reading, box: Box | None) -> Decoded:
    with Image.open(for_pillow(file), formats=IMAGE_FORMATS) as image:
        frames, deep = _frames(image), _is_deep_colour(image)
        if deep and isinstance(image.info.get("transparency"), tuple):
            # of 16 bits, of which the pixels keep the upper ones
            image.info["transparency"] = tuple(v >> 8 for v in image.info["transparency"])
        original, wanted = image.size, reading.size
        if original[0] * original[1] > DRAFT_FROM and box is None and wanted:
            image.draft(None, (DRAFT * wanted[0], DRAFT * wanted[1]))
        drafted, both = image.size != original, deep and reading.grey_range is not None
        with _BUDGET.of(image.size[0] * image.size[1] * (2 if both else 1)):
            try:
                low = _lower_bits(file) if both else None
                image.load()
                turn = TURNS.get(orientation(image))
                size = original if drafted else image.size  # some versions turn it on loading
                strip = partial(strip_of_picture, image, low, deep, reading.grey_range)
                found = convert(strip, image.size, turn, reading, size, box)
                return found._replace(cut=deep and low is None, frames=frames)
            finally:  # its pixels go before the next image comes
                image.close()


def _read_tiff(path: File, tiff: Tiff, reading: Reading, box: Box | None) -> Decoded:
    width, height = tiff.size
    bytes_each = tiff.samples * math.ceil(max(tiff.bits, default=8) / 8)
    with opened(path) as file, _BUDGET.of(math.ceil(width * height * bytes_each / 4)):
        return _decode_tiff(file, tiff, reading, box)


def _decode_tiff(file: BinaryIO, tiff: Tiff, reading: Reading, box: Box | None) -> Decoded:
    values = read_values(file, tiff)
    channels = values.array.shape[2] if values.mode == "L" else 1
    frames = max(count_pages(file, tiff), channels)
    cut = values.top == DEEPEST and values.mode != "L" and reading.grey_range is None
    turn = TURNS.get(tiff.first(ORIENTATION, 1))
    strip = partial(strip_of_values, values, reading.grey_range)
    found = convert(strip, tiff.size, turn, reading, box=box)
    return found._replace(cut=cut, frames=frames)


def orientation(image: Image.Image) -> int:
    """The camera's rotation flag, 1 to 8; 1, upright, where there is none or the metadata are
    damaged.
    """
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:
        # damaged metadata can raise almost anything, and viewers show the image all the same
        return 1


def _frames(image: Image.Image) -> int:
    """Number of frames or pages, 1 where they cannot be counted."""
    if image.format == "MPO":  # a photograph with its preview
        return 1
    try:
        pages = getattr(image, "n_frames", 1)
        # Pillow takes the first channel of grey with others that are no transparency
        channels = (
            image.tag_v2.get(SAMPLES, 1) if (image.format, image.mode) == ("TIFF", "L") else 1
        )
        return max(pages, channels)
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
        image.tile = [tile._replace(args=other)]
        image.load()
        if grey:
            _, low, _, alpha = image.split()
            return Image.merge("RGBA", (low, low, low, alpha))
        return image.copy()
