"""TIFF files of any layout, put together by hand from their specification."""

import struct
import zlib

import numpy as np

RAW, LZW, DEFLATE, PACKBITS = 1, 5, 8, 32773
UNSIGNED, SIGNED, FLOAT = 1, 2, 3
TYPES = {"H": 3, "L": 4, "s": 2, "Q": 16, "B": 1}


def tiff(
    values,
    *,
    photometric,
    bits=8,
    order="<",
    sign=UNSIGNED,
    separate=False,
    compression=RAW,
    predictor=1,
    tile=None,
    rows=None,
    big=False,
    fill_order=1,
    extra=(),
    more=(),
    pages=1,
):
    """The bytes of a file.

    Args:
        values: Whole numbers (H, W, samples); floats with sign FLOAT.
        tile: Side of square tiles; None for strips of `rows` rows.
        more: Further tags, (number, type as in struct, values).
    """
    values = np.asarray(values)
    height, width, samples = values.shape
    side, rows = tile or width, tile or rows or height
    planes = np.split(values, samples, axis=2) if separate else [values]
    segments = []
    for plane in planes:
        for top in range(0, height, rows):
            for left in range(0, width, side):
                part = plane[top : top + rows, left : left + side]
                if tile:
                    missing = [(0, tile - part.shape[0]), (0, tile - part.shape[1]), (0, 0)]
                    part = np.pad(part, missing, mode="edge")
                segments.append(
                    _packed(part, bits, order, sign, compression, predictor, fill_order)
                )
    tags = [
        (256, "L", [width]),
        (257, "L", [height]),
        (258, "H", [bits] * samples),
        (259, "H", [compression]),
        (262, "H", [photometric]),
        (266, "H", [fill_order]),
        (277, "H", [samples]),
        (284, "H", [2 if separate else 1]),
        (317, "H", [predictor]),
        (339, "H", [sign] * samples),
        *([(338, "H", list(extra))] if extra else []),
        *([(322, "L", [tile]), (323, "L", [tile])] if tile else [(278, "L", [rows])]),
        *more,
    ]
    numbers = (324, 325) if tile else (273, 279)
    head = 16 if big else 8
    places = np.cumsum([head, *map(len, segments)]).tolist()
    tags += [(numbers[0], "L", places[:-1]), (numbers[1], "L", list(map(len, segments)))]
    mark = {"<": b"II", ">": b"MM"}[order]
    content, start = b"".join(segments), places[-1] + places[-1] % 2
    first = (
        struct.pack(order + "HHHQ", 43, 8, 0, start)
        if big
        else struct.pack(order + "HL", 42, start)
    )
    content = (mark + first + content).ljust(start, b"\0")
    for page in range(pages):
        content += _directory(tags, order, big, len(content), last=page == pages - 1)
    return content


def _directory(tags, order, big, start, last):
    """The list of tags, and behind it what does not fit into it."""
    count, offset, room = ("Q", "Q", 8) if big else ("H", "L", 4)
    size = struct.calcsize("<" + count) + len(tags) * (12 + 2 * (room - 4)) + room
    entries, behind = b"", b""
    for number, kind, values in sorted(tags, key=lambda tag: tag[0]):
        packed = values if kind == "s" else struct.pack(f"{order}{len(values)}{kind}", *values)
        entries += struct.pack(order + "HH" + offset, number, TYPES[kind], len(values))
        if len(packed) <= room:
            entries += packed.ljust(room, b"\0")
        else:
            entries += struct.pack(order + offset, start + size + len(behind))
            behind += packed + b"\0" * (len(packed) % 2)
    next_page = 0 if last else start + size + len(behind)
    numbers = struct.pack(order + count, len(tags)), struct.pack(order + offset, next_page)
    return numbers[0] + entries + numbers[1] + behind


def _packed(part, bits, order, sign, compression, predictor, fill_order):
    if predictor == 2:
        part = np.diff(part, axis=1, prepend=np.zeros_like(part[:, :1]))
    rows = part.reshape(len(part), -1)
    if sign == FLOAT:
        content = rows.astype(f"{order}f{bits // 8}").tobytes()
    elif bits in (8, 16, 32):
        content = (rows % 2**bits).astype(f"{order}u{bits // 8}").tobytes()
    else:
        numbers = rows[:, :, None] >> np.arange(bits - 1, -1, -1) & 1
        content = np.packbits(numbers.reshape(len(rows), -1), axis=1).tobytes()
    if compression == DEFLATE:
        content = zlib.compress(content)
    elif compression == LZW:
        content = _lzw(content)
    elif compression == PACKBITS:
        parts = [content[start : start + 128] for start in range(0, len(content), 128)]
        content = b"".join(bytes([len(part) - 1]) + part for part in parts)
    if fill_order == 2:
        content = np.packbits(
            np.unpackbits(np.frombuffer(content, np.uint8), bitorder="little")
        ).tobytes()
    return content


def _lzw(content):
    """Codes of 9 bits, with a clear code (256) before they would become longer."""
    codes = []
    for start in range(0, len(content), 200):
        codes += [256, *content[start : start + 200]]
    codes.append(257)
    bits = np.array(codes)[:, None] >> np.arange(8, -1, -1) & 1
    return np.packbits(bits.ravel()).tobytes()
