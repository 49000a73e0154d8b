"""From a decoded image to the 8-bit pixels that are wanted, strip by strip: turned, cut, laid on
white and brought to a square.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image

from data.reading import Reading
from data.tiff import Values
from files.fingerprints import NEWEST, pixels_fingerprint

SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N", "I")
TRANSPARENT = ("RGBA", "LA", "PA", "La", "RGBa")
OPAQUE = ("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SWAPPING = (TURNS[5], TURNS[6], TURNS[7], TURNS[8])
_FROM_THE_RIGHT = (TURNS[2], TURNS[3], TURNS[7], TURNS[8])
_FROM_BELOW = (TURNS[3], TURNS[4], TURNS[6], TURNS[7])
DEEPEST = 65535  # white in 16 bits
STRIP = 2**20  # pixels that are converted at once
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
        transparent: Whether transparency was laid on white.
        cut: Whether the lower 8 bits of 16-bit colour were dropped.
        frames: Number of frames, pages or channels, of which the first was read.
        truncated: Whether the file ends early, and what is missing is grey.
    """

    pixels: np.ndarray
    size: tuple[int, int]
    brightest: int | None
    transparent: bool
    cut: bool = False
    frames: int = 1
    truncated: bool = False

    def fingerprint(self, of: str = NEWEST) -> int:
        """64 bits of a hash of original size and pixels, one of `files.fingerprints.HASHES`; equal
        for equal images.
        """
        return pixels_fingerprint(self.pixels, self.size, of)


class _Strip(NamedTuple):
    """Rows of an image of 8 bits, without transparency.

    Fields:
        image: Of one of the OPAQUE modes.
        brightest, transparent: See `Decoded`.
    """

    image: Image.Image
    brightest: int | None
    transparent: bool


class Refused(ValueError):
    """The image is decoded, but it has no meaning as 8 bits, or not in the box."""


def convert(
    strip: Callable[[tuple], _Strip],
    stored: tuple[int, int],
    turn: Image.Transpose | None,
    reading: Reading,
    size: tuple[int, int] | None = None,
    box: Box | None = None,
) -> Decoded:
    """Turns, cuts and resizes an image strip by strip; equal to doing so with all of it.

    Args:
        strip: Part of the stored image, left, top, right, bottom -> its pixels.
        stored: Width and height of what was decoded.
        turn: How it is shown.
        reading: How it is wanted.
        size: Original width and height, as stored; None if they are those of what was decoded.
        box: The part that is wanted; None for all of it.
    """
    size = stored if size is None else size
    size = size[::-1] if turn in SWAPPING else size
    shown = stored[::-1] if turn in SWAPPING else stored
    part = (0, 0, *shown) if box is None else inside(box, shown)
    if reading.size and reading.fit == "crop":
        part = _middle(part, reading.size)
    left, top, right, bottom = part
    canvas = _Canvas((right - left, bottom - top), reading)
    rows = max(1, STRIP // (right - left))
    brightest, transparent = None, False
    for start in range(top, bottom, rows):
        end = min(start + rows, bottom)
        found = strip(_as_stored((left, start, right, end), stored, turn))
        if found.brightest is not None:
            brightest = max(found.brightest, brightest or 0)
        transparent |= found.transparent
        canvas.put(_shown(found.image, turn, "L" if reading.gray else "RGB"), start - top)
    return Decoded(canvas.pixels(), size, brightest, transparent)


class _Canvas:
    """Where the strips of an image are put, from the top down, until they are its pixels.

    Args:
        size: Width and height of all strips together.
        reading: To which size they are brought.
    """

    def __init__(self, size: tuple[int, int], reading: Reading):
        self._size, self._reading, self._wanted = size, reading, reading.size
        if self._wanted and reading.fit == "pad":
            self._wanted = _within(size, self._wanted)
        self._whole: np.ndarray | None = None  # (H, W, channels)
        self._narrow: Image.Image | None = None  # of the wanted width

    def put(self, strip: Image.Image, top: int) -> None:
        """Puts a strip, of the mode that is wanted, so many rows below the top."""
        (width, height), bottom = self._size, top + strip.height
        if self._wanted is None:
            if self._whole is None:
                self._whole = np.empty((height, width, self._reading.channels), np.uint8)
            self._whole[top:bottom] = np.asarray(strip).reshape(strip.height, width, -1)
        elif strip.height == height:
            self._narrow = strip  # as wide as it was: all is resized at once
        else:
            # rows are stretched first, then columns, with whole numbers in between, as Pillow does
            wide = self._wanted[0]
            if self._narrow is None:
                self._narrow = Image.new(strip.mode, (wide, height))
            stretched = strip.resize((wide, strip.height), Image.Resampling.BILINEAR)
            self._narrow.paste(stretched, (0, top))

    def pixels(self) -> np.ndarray:
        """The image, uint8 (H, W, channels), once all strips are there."""
        if self._wanted is None:
            return self._whole
        pixels = np.array(self._narrow.resize(self._wanted, Image.Resampling.BILINEAR))
        pixels = pixels.reshape(*pixels.shape[:2], self._reading.channels)
        whole = self._wanted == self._reading.size
        return pixels if whole else _padded(pixels, self._reading.size)


def _shown(image: Image.Image, turn: Image.Transpose | None, mode: str) -> Image.Image:
    """A strip as it is shown, in another mode."""
    if image.mode == "LAB" and mode == "L":
        image = image.convert("RGB")
    image = image if image.mode == mode else image.convert(mode)
    return image if turn is None else image.transpose(turn)


def _as_stored(box: tuple, stored: tuple[int, int], turn: Image.Transpose | None) -> tuple:
    """Where a box of the image as it is shown lies in the stored one; left, top, right, bottom."""
    (left, top, right, bottom), (width, height) = box, stored
    if turn in SWAPPING:  # rows are columns there
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


def _within(size: tuple[int, int], wanted: tuple[int, int]) -> tuple[int, int]:
    """The largest width and height of the proportions of a size that fit into the wanted ones."""
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


def inside(box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The part of the box that lies in the image, as left, top, right, bottom."""
    left, top, width, height = box
    corners = max(left, 0), max(top, 0), min(left + width, size[0]), min(top + height, size[1])
    if corners[0] >= corners[2] or corners[1] >= corners[3]:
        raise Refused(
            f"the box at {left}, {top} of {width} x {height} pixels has nothing of the image, which"
            f" has {size[0]} x {size[1]} pixels"
        )
    return corners


def strip_of_picture(
    image: Image.Image, low: Image.Image | None, deep: bool, grey_range: int | None, box: tuple
) -> _Strip:
    """A part of a decoded image as 8 bits, laid on white."""
    whole = box == (0, 0, *image.size)
    part = image if whole else image.crop(box)
    if image.mode in SIXTEEN_BITS:
        values, clear = np.asarray(part), image.info.get("transparency")
        if values.min() < 0 or values.max() > DEEPEST:
            raise Refused(
                f"values from {values.min()} to {values.max()} do not fit 16 bits; save it with 8"
                " or 16 bits"
            )
        shown = _eight_bits(values, grey_range)
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
            [_eight_bits(values, grey_range), upper[:, :, 3:].astype(np.uint8)], axis=2
        )
        deep_part = Image.fromarray(shown)
        deep_part.info = dict(part.info)
        part = deep_part
    strip = _on_white(part)
    if deep and low is None:
        extrema = strip.image.convert("RGB").getextrema()
        brightest = 257 * max(high for _, high in extrema)
    return strip._replace(brightest=brightest)


def strip_of_values(values: Values, grey_range: int | None, box: tuple) -> _Strip:
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
        shown = (array >> 8).astype(np.uint8)
        # of inks nothing is known of their range
        if mode == "L" or (grey_range is not None and mode.startswith(("L", "RGB"))):
            shown[:, :, : colours.shape[2]] = _eight_bits(colours, grey_range)
    elif values.top == 255:
        shown = array
    else:
        shown = np.rint(array * (255 / values.top)).astype(np.uint8)
    image = Image.frombytes(mode, size, np.ascontiguousarray(shown))
    return _on_white(image)._replace(brightest=brightest)


def _on_white(image: Image.Image) -> _Strip:
    if image.mode in TRANSPARENT or (image.mode in OPAQUE and "transparency" in image.info):
        # Pillow makes no RGBA of premultiplied grey
        layer = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        transparent = layer.getextrema()[3][0] < 255
        if transparent:
            layer = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
        return _Strip(layer, None, transparent)
    if image.mode not in OPAQUE:
        raise Refused(
            f"pixels of mode {image.mode!r} have no fixed range; save the image with 8 or 16 bits"
        )
    return _Strip(image, None, False)


def _eight_bits(values: np.ndarray, grey_range: int | None) -> np.ndarray:
    """16-bit values as 8 bits."""
    if grey_range is None:
        return np.rint(values / 257).astype(np.uint8)
    return np.rint(np.minimum(values, grey_range) * (255 / grey_range)).astype(np.uint8)
