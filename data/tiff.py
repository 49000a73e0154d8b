"""Reads the first page of a TIFF file in the layouts that Pillow reads wrongly or not at all.

Pillow takes 16-bit colour with separate planes for 8-bit colour, signed values for unsigned ones,
and 16-bit grey on a white ground for its negative, without a word. Here libtiff, through Pillow,
only undoes the compression; what the bytes mean is told from the tags.
"""

import io
import math
import os
import struct
from collections.abc import Iterator, Mapping
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image

TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two are BigTIFF
WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 256, 257, 258, 259, 262, 266
STRIPS, SAMPLES, ROWS_PER_STRIP, STRIP_BYTES, PLANAR, PREDICTOR = 273, 277, 278, 279, 284, 317
COLOURS, TILE_WIDTH, TILE_LENGTH, TILES, TILE_BYTES, EXTRA, SIGN = 320, 322, 323, 324, 325, 338, 339
ORIENTATION = 274

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR, LAB = 0, 1, 2, 3, 5, 6, 8
UNSIGNED, SIGNED, FLOAT = 1, 2, 3
COLOURS_OF = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3, LAB: 3}
NAMES = {RGB: "RGB", PALETTE: "palette", CMYK: "CMYK", YCBCR: "YCbCr", LAB: "CIELAB"}
# those that libtiff undoes to the bytes of the pixels: none, LZW, deflate twice, PackBits, LZMA,
# Zstandard
PACKBITS = 32773
LOSSLESS = (1, 5, 8, PACKBITS, 32946, 34925, 50000)
AT_ONCE = 2**26  # bytes of pixels that are uncompressed at once
PAGES = 100_000  # more are not counted


class Tiff(NamedTuple):
    """What the tags of the first page say.

    Fields:
        order: "<" or ">", the order of bytes.
        big: Whether it is a BigTIFF.
        tags: Number -> values.
        next: Place of the next page in the file, 0 if there is none.
    """

    order: str
    big: bool
    tags: Mapping[int, tuple]
    next: int

    def first(self, tag: int, default: int) -> int:
        """The tag's first value."""
        return (self.tags.get(tag) or (default,))[0]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height as stored, in pixels. Raises: ValueError: If they are missing."""
        width, height = self.first(WIDTH, 0), self.first(HEIGHT, 0)
        if width < 1 or height < 1:
            raise ValueError("this is a TIFF file that does not say how large its image is")
        return width, height

    @property
    def samples(self) -> int:
        """Values a pixel."""
        return self.first(SAMPLES, 1)

    @property
    def bits(self) -> tuple[int, ...]:
        """Bits of each value of a pixel."""
        bits = tuple(self.tags.get(BITS) or (1,))
        return bits * self.samples if len(bits) == 1 else bits[: self.samples]

    @property
    def signs(self) -> tuple[int, ...]:
        """UNSIGNED, SIGNED or FLOAT of each value of a pixel."""
        signs = tuple(self.tags.get(SIGN) or (UNSIGNED,))
        return signs * self.samples if len(signs) == 1 else signs[: self.samples]

    @property
    def photometric(self) -> int:
        """What the values mean; Pillow, too, takes 0 where it is missing."""
        return self.first(PHOTOMETRIC, 0)

    @property
    def separate(self) -> bool:
        """Whether the values of a pixel lie in planes of their own."""
        return self.first(PLANAR, 1) == 2 and self.samples > 1

    def __str__(self) -> str:
        kinds = {UNSIGNED: "", SIGNED: "signed ", FLOAT: "floating-point "}
        signs = "".join(kinds.get(sign, "other ") for sign in sorted(set(self.signs)))
        bits = " and ".join(map(str, sorted(set(self.bits)))) or "no"
        grey = self.photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO)
        name = "grey" if grey else NAMES.get(self.photometric, f"kind {self.photometric}")
        planes = ", in separate planes" if self.separate else ""
        values = "value" if self.samples == 1 else "values"
        return f"TIFF ({name}) of {self.samples} {signs}{values} a pixel of {bits} bits{planes}"


class Values(NamedTuple):
    """The pixels of a TIFF file.

    Fields:
        array: Unsigned (H, W, samples) in the file's own depth; white is the largest value.
        top: The largest value that its bits allow.
        mode: What the samples are: L, LA, La, RGB, RGBA, RGBa, CMYK or P, as Pillow calls them.
        palette: 8-bit RGB of a palette, 3 times 256 values, if that is what they are.
    """

    array: np.ndarray
    top: int
    mode: str
    palette: bytes | None = None


_READ = {
    *(WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, STRIPS, SAMPLES, ROWS_PER_STRIP),
    *(STRIP_BYTES, PLANAR, PREDICTOR, COLOURS, TILE_WIDTH, TILE_LENGTH, TILES, TILE_BYTES, EXTRA),
    *(SIGN, ORIENTATION),
}
_TYPES = {1: "B", 3: "H", 4: "L", 13: "L", 16: "Q", 18: "Q"}  # whole numbers


def read_tags(file: BinaryIO) -> Tiff:
    """The tags of the first page that say what its pixels are; metadata are passed over.

    Pillow's own reader of tags is not used: it does not know the big-endian BigTIFF.

    Raises: ValueError: If the list is damaged.
    """
    end = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(16)
    order, big = "<" if head[:2] == b"II" else ">", head[2:4] in (b"+\0", b"\0+")
    count_kind, offset_kind, room = ("Q", "Q", 8) if big else ("H", "L", 4)
    try:
        (place,) = struct.unpack_from(order + offset_kind, head, 8 if big else 4)
        file.seek(place)
        (count,) = struct.unpack(order + count_kind, file.read(struct.calcsize(count_kind)))
        size = 4 + 2 * room
        entries = file.read(size * min(count, 65535) + room)
        following = struct.unpack_from(order + offset_kind, entries, size * count)[0]
        tags = {}
        for start in range(0, size * count, size):
            tag, kind, number = struct.unpack_from(order + "HH" + offset_kind, entries, start)
            if tag not in _READ or kind not in _TYPES:
                continue
            width = number * struct.calcsize("<" + _TYPES[kind])
            content = entries[start + size - room : start + size]
            if width > room:
                file.seek(struct.unpack(order + offset_kind, content)[0])
                content = file.read(min(width, end))
            tags[tag] = struct.unpack_from(f"{order}{number}{_TYPES[kind]}", content)
    except (struct.error, OverflowError, OSError, ValueError) as error:
        raise ValueError("the list of tags of this TIFF file is damaged or cut off") from error
    return Tiff(order, big, tags, following)


def pillow_is_right(tiff: Tiff) -> bool:
    """Whether Pillow reads this layout, and as what it is; compressed or not, in strips or tiles.

    That is 16-bit grey, and up to 8 bits of everything, without a sign and with the values of a
    pixel side by side.
    """
    if tiff.separate or set(tiff.signs) != {UNSIGNED}:
        return False
    bits, photometric, predictor = set(tiff.bits), tiff.photometric, _predictor(tiff)
    if photometric not in COLOURS_OF or predictor not in (1, 2):
        return False
    if tiff.first(COMPRESSION, 1) == PACKBITS and predictor != 1:
        return False
    if bits == {16}:
        return tiff.samples == 1 and photometric == BLACK_IS_ZERO
    if photometric == YCBCR and tiff.first(COMPRESSION, 1) == 1:
        return False  # takes them as three values a pixel, though they are subsampled
    if photometric == PALETTE:
        return bits <= {1, 2, 4, 8} and max(tiff.tags.get(COLOURS) or (0,)) > 255
    return len(bits) == 1 and bits <= {1, 2, 4, 8}


def read_values(file: BinaryIO, tiff: Tiff) -> Values:
    """The pixels, whatever their layout. Raises: ValueError: If they cannot be told from the tags,
    are damaged, or have no meaning as 8 or 16 bits; with the reason.
    """
    mode, depth = _mode(tiff), tiff.bits[0] if tiff.bits else 0
    width, height = tiff.size
    _check_pixels(width * height)
    stored = np.dtype(f"u{_bytes(depth)}")
    array = np.zeros((height, width, tiff.samples), stored)
    predictor = _predictor(tiff)
    for target, rows in _pieces(file, tiff, array):
        target[...] = _unpacked(rows, target, tiff, depth, predictor)
    top = 2**depth - 1
    if tiff.signs[0] == SIGNED:
        if array.max() > top // 2:
            raise ValueError(
                f"this is a {tiff}, some of them negative; save the image with 8 or 16 bits without"
                " a sign"
            )
    if depth > 16:
        top = 65535
        if array.max() > top:
            raise ValueError(
                f"values from {array.min()} to {array.max()} do not fit 16 bits; save it with 8 or"
                " 16 bits"
            )
        array = array.astype(np.uint16)
    if tiff.photometric == WHITE_IS_ZERO:
        array[:, :, 0] = top - array[:, :, 0]
    return Values(array, top, mode, _palette(tiff) if mode == "P" else None)


def count_pages(file: BinaryIO, tiff: Tiff) -> int:
    """Number of pages, counted without a look at them; as far as the chain is whole."""
    seen, place = set(), tiff.next
    number, entry, offset = ("Q", 20, "Q") if tiff.big else ("H", 12, "L")
    while place and place not in seen and len(seen) < PAGES:
        seen.add(place)
        try:
            file.seek(place)
            (count,) = struct.unpack(tiff.order + number, file.read(struct.calcsize(number)))
            file.seek(count * entry, os.SEEK_CUR)
            width = 8 if tiff.big else 4
            (place,) = struct.unpack(tiff.order + offset, file.read(width))
        except (struct.error, OSError, OverflowError):
            return len(seen)
    return 1 + len(seen)


def check(tiff: Tiff) -> None:
    """Raises: ValueError, DecompressionBombError: If the tags say that the image is not read."""
    width, height = tiff.size
    _check_pixels(width * height)
    if not pillow_is_right(tiff):
        _mode(tiff)


def _check_pixels(count: int) -> None:
    """Raises: DecompressionBombError: As Pillow does, in its words."""
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and count > 2 * limit:
        raise Image.DecompressionBombError(
            f"Image size ({count} pixels) exceeds limit of {2 * limit} pixels, could be"
            " decompression bomb DOS attack."
        )


def _mode(tiff: Tiff) -> str:
    """What the samples are. Raises: ValueError: If that cannot be told, or is not read here."""
    bits, signs, extra = set(tiff.bits), set(tiff.signs), tuple(tiff.tags.get(EXTRA) or ())
    if signs == {FLOAT}:
        raise ValueError(
            f"this is a {tiff}: they have no fixed range; save the image with 8 or 16 bits"
        )
    colours = COLOURS_OF.get(tiff.photometric, 0)
    further = tiff.samples - colours
    regular = len(tiff.bits) == len(tiff.signs) == tiff.samples and len(bits) == len(signs) == 1
    depths = (1, 2, 4, 8) if tiff.photometric == PALETTE else (1, 2, 4, 8, 12, 16, 32)
    known = regular and signs <= {UNSIGNED, SIGNED} and bits <= set(depths)
    if not (known and colours and 0 <= further and len(extra) in (0, further)):
        raise ValueError(unread(tiff))
    if tiff.photometric in (YCBCR, LAB) or tiff.first(COMPRESSION, 1) not in LOSSLESS:
        raise ValueError(unread(tiff))
    predictor = _predictor(tiff)
    known = predictor == 1 or (predictor == 2 and bits <= {8, 16, 32})
    # some programs write such files, others ignore the predictor: one of them would see noise
    if not known or (predictor == 2 and tiff.first(COMPRESSION, 1) == PACKBITS):
        raise ValueError(unread(tiff, f" with predictor {predictor}"))
    if tiff.photometric == PALETTE:
        return "P"
    mode = {1: "L", 3: "RGB", 4: "CMYK"}[colours]
    if further == 0 or mode == "CMYK":
        return mode
    if mode == "RGB" and further == 1 and not extra:  # Pillow, too, takes it for transparency
        return "RGBA"
    mode += {1: "a", 2: "A"}.get(extra[0] if extra else 0, "")
    if mode == "L" and not tiff.separate:
        raise ValueError(unread(tiff))
    return mode


def unread(tiff: Tiff, more: str = "") -> str:
    """Why a TIFF file is not read, and the way out."""
    compression = tiff.first(COMPRESSION, 1)
    packed = "" if compression in LOSSLESS else f" with compression {compression}"
    return (
        f"this is a {tiff}{packed}{more}, which is not read here; save the image as grey or RGB"
        " with 8 or 16 bits"
    )


def _predictor(tiff: Tiff) -> int:
    """1: none; uncompressed pixels have none, whatever the tag says."""
    return 1 if tiff.first(COMPRESSION, 1) == 1 else tiff.first(PREDICTOR, 1)


def _bytes(depth: int) -> int:
    if depth <= 8:
        return 1
    return 2 if depth <= 16 else 4


def _pieces(file: BinaryIO, tiff: Tiff, array: np.ndarray) -> Iterator[tuple]:
    """Views of the array (h, w, samples in a segment), and the bytes (rows, row bytes) that belong
    there, of which what is behind h and w is padding.
    """
    height, width, samples = array.shape
    tiled = TILES in tiff.tags
    if tiled:
        across, down = tiff.first(TILE_WIDTH, 0), tiff.first(TILE_LENGTH, 0)
        offsets, counts = tiff.tags[TILES], tiff.tags.get(TILE_BYTES)
    else:
        across, down = width, min(tiff.first(ROWS_PER_STRIP, height), height)
        offsets, counts = tiff.tags.get(STRIPS, ()), tiff.tags.get(STRIP_BYTES)
    if across < 1 or down < 1 or across > 2 * max(width, 4096) or down > 2 * max(height, 4096):
        raise ValueError(unread(tiff, f", in tiles of {across} x {down} pixels"))
    planes = samples if tiff.separate else 1
    each = samples // planes
    row_bytes = math.ceil(across * each * tiff.bits[0] / 8)
    places = [
        (plane, top, left)
        for plane in range(planes)
        for top in range(0, height, down)
        for left in range(0, width, across)
    ]
    if len(offsets) < len(places) or (counts is not None and len(counts) < len(places)):
        raise ValueError(
            f"the file is damaged: it has {len(offsets)} of {len(places)} parts of its image"
        )
    compression = tiff.first(COMPRESSION, 1)
    for number, (plane, top, left) in enumerate(places):
        rows = down if tiled else min(down, height - top)
        size = rows * row_bytes
        if size > 4 * AT_ONCE and compression != 1:
            raise ValueError(unread(tiff, f", in parts of {size} bytes"))
        file.seek(offsets[number])
        packed = file.read(size if compression == 1 or counts is None else counts[number])
        content = _unpack(packed, rows, row_bytes, tiff, compression)
        target = array[top : top + down, left : left + across]
        yield target[:, :, plane : plane + 1] if tiff.separate else target, content


def _unpack(packed: bytes, rows: int, row_bytes: int, tiff: Tiff, compression: int) -> np.ndarray:
    """The bytes (rows, row_bytes) of a strip or tile."""
    order = tiff.first(FILL_ORDER, 1)
    if compression == 1:
        if len(packed) < rows * row_bytes:
            raise ValueError("the file ends before its image does")
        content = np.frombuffer(packed, np.uint8, rows * row_bytes).reshape(rows, row_bytes)
        if order == 2:
            content = np.packbits(np.unpackbits(content, axis=1, bitorder="little"), axis=1)
        return content
    tags = {
        WIDTH: row_bytes,
        HEIGHT: rows,
        BITS: 8,
        COMPRESSION: compression,
        PHOTOMETRIC: BLACK_IS_ZERO,
        FILL_ORDER: order,
        STRIPS: 8,
        SAMPLES: 1,
        ROWS_PER_STRIP: rows,
        STRIP_BYTES: len(packed),
    }
    start = 8 + len(packed) + len(packed) % 2
    parts = [struct.pack("<2sHL", b"II", 42, start), packed, b"\0" * (len(packed) % 2)]
    parts.append(struct.pack("<H", len(tags)))
    parts += [struct.pack("<HHLL", tag, 4, 1, value) for tag, value in tags.items()]
    parts.append(struct.pack("<L", 0))
    with Image.open(io.BytesIO(b"".join(parts)), formats=("TIFF",)) as image:
        return np.asarray(image)


def _unpacked(
    content: np.ndarray, target: np.ndarray, tiff: Tiff, depth: int, predictor: int
) -> np.ndarray:
    """The values of a strip or tile, (h, w, samples in it)."""
    height, width, samples = target.shape
    rows = content[:height]
    if depth < 8 or depth == 12:
        bits = np.unpackbits(rows, axis=1)
        bits = bits[:, : bits.shape[1] // depth * depth].reshape(height, -1, depth)
        weights = 1 << np.arange(depth - 1, -1, -1)
        values = (bits * weights).sum(axis=2)
    else:
        # a row may end in bytes of a value that is not whole
        kind = np.dtype(f"{tiff.order}u{depth // 8}")
        values = np.ascontiguousarray(rows).view(kind).astype(target.dtype)
    values = values[:, : values.shape[1] // samples * samples].reshape(height, -1, samples)
    if predictor == 2:  # the differences between neighbours; sums wrap around as they do there
        values = np.cumsum(values, axis=1, dtype=target.dtype)
    return values[:, :width]


def _palette(tiff: Tiff) -> bytes:
    """Red, green, blue of each value, 8 bits; some programs write 8 bits where 16 are meant."""
    colours = tiff.tags.get(COLOURS) or ()
    count = 2 ** tiff.bits[0]
    if len(colours) != 3 * count:
        raise ValueError(f"its palette has {len(colours)} values and not {3 * count}")
    shift = 8 if max(colours) > 255 else 0
    table = (np.array(colours, np.int64).reshape(3, count) >> shift).astype(np.uint8)
    return table.T.tobytes()
