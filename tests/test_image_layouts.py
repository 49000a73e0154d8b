"""Every layout of TIFF gives the right pixels or a reason, never noise; metadata stop no image."""

import struct
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import numpy as np
import pytest
from PIL import Image
from tiff_files import DEFLATE, FLOAT, LZW, PACKBITS, RAW, SIGNED, tiff

from data import conversion, decoding
from data.decoding import read_head, read_image
from data.reading import Reading

SIZE = (21, 19)  # height and width: not whole tiles, nor whole bytes of 1, 2 and 4 bits
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6


def smooth(samples, top, size=SIZE):
    """Values (H, W, samples) from 0 to top that no exchange of bytes, planes or rows leaves as they
    are.
    """
    height, width = size
    y, x, c = np.ogrid[:height, :width, :samples]
    return (x * 7 + y * 13 + c * 29) * top // (7 * width + 13 * height + 29 * samples)


def on_white(colours, alpha, top):
    """What Pillow makes of transparent pixels on white, within a grey level."""
    alpha = alpha / top
    return colours * alpha + 255 * (1 - alpha)


LAYOUTS = {
    f"{'separate' if separate else 'chunky'}-{'tiles' if tile else 'strips'}-{order}-{name}": {
        "separate": separate,
        "tile": tile,
        "order": order,
        "compression": compression,
        "predictor": predictor,
        "rows": 8,
    }
    for separate in (False, True)
    for tile in (None, 16)
    for order in "<>"
    for name, compression, predictor in (
        ("raw", RAW, 1),
        ("lzw", LZW, 1),
        ("lzw-differences", LZW, 2),
        ("deflate", DEFLATE, 1),
        ("deflate-differences", DEFLATE, 2),
        ("packbits", PACKBITS, 1),
    )
}
# samples, photometric, bits, extra, as which 8-bit values: 16-bit grey is divided, colour cut
KINDS = {
    "grey-8": (1, BLACK_IS_ZERO, 8, ()),
    "grey-16": (1, BLACK_IS_ZERO, 16, ()),
    "negative-16": (1, WHITE_IS_ZERO, 16, ()),
    "negative-8": (1, WHITE_IS_ZERO, 8, ()),
    "rgb-8": (3, RGB, 8, ()),
    "rgb-16": (3, RGB, 16, ()),
    "rgbx-16": (4, RGB, 16, (0,)),
    "rgba-16": (4, RGB, 16, (2,)),
    "rgba-8": (4, RGB, 8, (2,)),
    "greya-16": (2, BLACK_IS_ZERO, 16, (2,)),
    "cmyk-8": (4, CMYK, 8, ()),
    "cmyk-16": (4, CMYK, 16, ()),
}


def expected(values, kind):
    samples, photometric, bits, extra = KINDS[kind]
    top = 2**bits - 1
    if photometric == WHITE_IS_ZERO:
        values = top - values
    grey = samples - len(extra) == 1
    eight = values if bits == 8 else np.rint(values / 257) if samples == 1 else values // 256
    if photometric == CMYK:
        eight = (255 - eight[:, :, :3]) * (255 - eight[:, :, 3:]) / 255
    if extra == (2,):
        alpha = values[:, :, -1:] // (256 if bits == 16 else 1)
        colours = eight[:, :, :-1]
        if grey:
            colours = np.rint(values[:, :, :1] / 257)
        eight = on_white(colours, alpha, 255)
    eight = eight[:, :, :1] if grey else eight[:, :, :3]
    return np.broadcast_to(eight, (*SIZE, 3))


@pytest.mark.parametrize("kind", KINDS)
def test_all_layouts_of_tiff_give_the_pixels_that_were_written(tmp_path, kind):
    samples, photometric, bits, extra = KINDS[kind]
    values = smooth(samples, 2**bits - 1)
    right = expected(values, kind)
    inks = kind.startswith("cmyk")  # Pillow rounds products, twice
    near = 2 if inks or extra == (2,) else 0
    for name, layout in LAYOUTS.items():
        if samples == 1 and layout["separate"]:
            continue
        content = tiff(values, photometric=photometric, bits=bits, extra=extra, **layout)
        (tmp_path / "a.tif").write_bytes(content)
        found = read_image(tmp_path / "a.tif", Reading())
        worst = np.abs(found.pixels - right).max()
        assert worst <= near, f"{kind} {name}: {worst} grey levels"
        assert found.size == (SIZE[1], SIZE[0]) and found.frames == 1
        assert read_head(tmp_path / "a.tif") == (found.size, bits == 16, found.cut), name
        assert found.cut == (bits == 16 and samples > 1), name
        assert (found.brightest is None) == (bits == 8), name


COLOURS = [value for c in range(3) for value in (np.arange(16) * (c + 1) * 5).tolist()]
ODD = {
    # bits, photometric, options of `tiff`, values -> 8-bit values
    "1-bit": (1, BLACK_IS_ZERO, {}, lambda v: v * 255),
    "1-bit-negative": (1, WHITE_IS_ZERO, {}, lambda v: 255 - v * 255),
    "1-bit-reversed": (1, BLACK_IS_ZERO, {"fill_order": 2}, lambda v: v * 255),
    "2-bit": (2, BLACK_IS_ZERO, {}, lambda v: v * 85),
    "4-bit": (4, BLACK_IS_ZERO, {"order": ">"}, lambda v: v * 17),
    "4-bit-deflate": (4, BLACK_IS_ZERO, {"compression": DEFLATE}, lambda v: v * 17),
    "8-bit-reversed": (8, BLACK_IS_ZERO, {"fill_order": 2}, lambda v: v),
    "12-bit": (12, BLACK_IS_ZERO, {}, lambda v: np.rint(v / 4095 * 255)),
    "12-bit-big": (12, BLACK_IS_ZERO, {"order": ">", "compression": LZW}, lambda v: v / 4095 * 255),
    "8-bit-signed": (8, BLACK_IS_ZERO, {"sign": SIGNED, "top": 127}, lambda v: v),
    "16-bit-signed": (16, BLACK_IS_ZERO, {"sign": SIGNED, "top": 32767}, lambda v: v / 257),
    "32-bit": (32, BLACK_IS_ZERO, {"top": 65535}, lambda v: v / 257),
    "32-bit-big": (32, BLACK_IS_ZERO, {"order": ">", "top": 65535}, lambda v: v / 257),
    "32-bit-signed": (32, BLACK_IS_ZERO, {"sign": SIGNED, "top": 65535}, lambda v: v / 257),
    "big-tiff": (8, BLACK_IS_ZERO, {"big": True}, lambda v: v),
    "big-tiff-big": (16, BLACK_IS_ZERO, {"big": True, "order": ">"}, lambda v: v / 257),
    "two-pages": (8, BLACK_IS_ZERO, {"pages": 2}, lambda v: v),
    "three-pages-negative": (16, WHITE_IS_ZERO, {"pages": 3}, lambda v: (65535 - v) / 257),
    "palette-16": (4, PALETTE, {"more": [(320, "H", [c * 257 for c in COLOURS])]}, lambda v: v * 5),
    "palette-8": (4, PALETTE, {"more": [(320, "H", COLOURS)]}, lambda v: v * 5),
}


@pytest.mark.parametrize("name", ODD)
def test_rare_depths_signs_and_palettes_are_read_as_what_they_are(tmp_path, name):
    bits, photometric, options, meaning = ODD[name]
    options = dict(options)
    values = smooth(1, options.pop("top", 2**bits - 1))
    (tmp_path / "a.tif").write_bytes(tiff(values, bits=bits, photometric=photometric, **options))
    found = read_image(tmp_path / "a.tif", Reading())
    assert np.abs(found.pixels[:, :, :1] - meaning(values)).max() <= 0.51
    assert found.frames == options.get("pages", 1)
    if photometric == PALETTE:
        np.testing.assert_array_equal(found.pixels[:, :, 2], values[:, :, 0] * 15)


REFUSED = {
    "negative values": ({"bits": 16, "sign": SIGNED, "top": 65535}, "some of them negative"),
    "8-bit negative": ({"bits": 8, "sign": SIGNED}, "signed value a pixel of 8 bits, some of them"),
    "floats": ({"bits": 32, "sign": FLOAT}, "floating-point value a pixel of 32 bits"),
    "too deep": ({"bits": 32, "top": 2**31}, "values from 0 to .* do not fit 16 bits"),
    "float colour": (
        {"bits": 32, "sign": FLOAT, "samples": 3, "photometric": RGB},
        "no fixed range",
    ),
    "subsampled": ({"samples": 3, "photometric": YCBCR}, r"TIFF \(YCbCr\) of 3 values a pixel"),
    "two channels": ({"samples": 2, "extra": (0,), "bits": 16}, "2 values a pixel of 16 bits"),
    "unknown": ({"samples": 1, "photometric": 32803}, "kind 32803"),
    "predicted": (
        {"bits": 16, "compression": DEFLATE, "predictor": 3, "order": ">"},
        "predictor 3",
    ),
    "predicted PackBits": ({"compression": PACKBITS, "predictor": 2}, "with predictor 2"),
    "10 bits": ({"bits": 10}, "of 10 bits, which is not read here; save the image as"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_meaning_as_an_image_is_refused_with_what_it_is(tmp_path, name):
    options, message = REFUSED[name]
    options = {"photometric": BLACK_IS_ZERO, **options}
    bits, samples = options.get("bits", 8), options.pop("samples", 1)
    values = smooth(samples, options.pop("top", 2**bits - 1))
    (tmp_path / "a.tif").write_bytes(tiff(values, **options))
    with pytest.raises(ValueError, match=message):
        read_image(tmp_path / "a.tif", Reading())
    if "negative" not in name and name != "too deep":  # which only the pixels tell
        with pytest.raises(ValueError, match=message):
            read_head(tmp_path / "a.tif")


@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("compression", [RAW, LZW, DEFLATE, PACKBITS])
def test_a_tiff_that_ends_early_is_bad_in_every_layout(tmp_path, separate, compression):
    values = smooth(3, 65535)
    whole = tiff(
        values, photometric=RGB, bits=16, separate=separate, compression=compression, rows=4
    )
    # the last strip begins just before the end of the file
    content, (directory,) = bytearray(whole), struct.unpack_from("<L", whole, 4)
    entry = whole.index(struct.pack("<HH", 273, 4), directory)
    count, place = struct.unpack_from("<LL", whole, entry + 4)
    struct.pack_into("<L", content, place + 4 * (count - 1), len(content) - 4)
    (tmp_path / "a.tif").write_bytes(bytes(content))
    with pytest.raises(ValueError):
        read_image(tmp_path / "a.tif", Reading())


@pytest.mark.parametrize("flag", range(1, 9))
def test_separate_planes_are_turned_as_the_camera_says(tmp_path, flag):
    values = smooth(3, 255)
    for name, separate in (("a.tif", True), ("b.tif", False)):
        more = [(274, "H", [flag])]
        content = tiff(values, photometric=RGB, separate=separate, more=more)
        (tmp_path / name).write_bytes(content)
    found, pillow = (read_image(tmp_path / name, Reading()) for name in ("a.tif", "b.tif"))
    np.testing.assert_array_equal(found.pixels, pillow.pixels)
    assert found.size == pillow.size and found.fingerprint() == pillow.fingerprint()
    assert read_head(tmp_path / "a.tif").size == found.size


@pytest.mark.parametrize("separate", [False, True])
def test_a_second_channel_of_grey_is_counted_however_it_lies(tmp_path, separate):
    values = smooth(2, 255)
    content = tiff(values, photometric=BLACK_IS_ZERO, extra=(0,), separate=separate)
    (tmp_path / "a.tif").write_bytes(content)
    found = read_image(tmp_path / "a.tif", Reading(gray=True))
    np.testing.assert_array_equal(found.pixels, values[:, :, :1])
    assert found.frames == 2


def png_chunk(kind, body, crc=None):
    check = zlib.crc32(kind + body) if crc is None else crc
    return struct.pack(">L", len(body)) + kind + body + struct.pack(">L", check)


PNG_METADATA = {
    "compressed text of 3 MB": png_chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(3_000_000))),
    "compressed texts of 20 MB": png_chunk(
        b"iTXt", b"k\0\1\0\0\0" + zlib.compress(bytes(20_000_000)) * 3
    ),
    "many texts": 80 * png_chunk(b"iTXt", b"k\0\1\0\0\0" + zlib.compress(b"a" * 1_000_000)),
    "profile": png_chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(5_000_000))),
    "profile of no kind": png_chunk(b"iCCP", b"p\0\7xyz"),
    "text of no kind": png_chunk(b"zTXt", b"k\0\7xyz"),
    "empty profile": png_chunk(b"iCCP", b"p"),
    "wrong check": png_chunk(b"tEXt", b"k\0v", crc=1),
    "short gamma": png_chunk(b"gAMA", b"\0"),
    "short resolution": png_chunk(b"pHYs", b""),
    "camera": png_chunk(b"eXIf", b"MM\0*\0\0\0\x08\xff\xff" + bytes(50)),
    "animation": png_chunk(b"acTL", b"\0"),
}


@pytest.mark.parametrize("place", ["before", "behind"])
@pytest.mark.parametrize("name", PNG_METADATA)
def test_no_metadata_make_a_png_unreadable(tmp_path, name, place):
    head = struct.pack(">LLBBBBB", 5, 4, 8, 2, 0, 0, 0)
    values = smooth(3, 255, (4, 5)).astype(np.uint8)
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    parts = [png_chunk(b"IHDR", head), png_chunk(b"IDAT", zlib.compress(rows))]
    parts.insert(1 if place == "before" else 2, PNG_METADATA[name])
    content = b"\x89PNG\r\n\x1a\n" + b"".join(parts) + png_chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(content)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", Reading()).pixels, values)
    assert read_head(tmp_path / "a.png") == ((5, 4), False, False)


def test_damaged_pixels_of_a_png_stay_damage_whatever_the_metadata(tmp_path):
    values = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    text = PNG_METADATA["compressed text of 3 MB"]
    (tmp_path / "a.png").write_bytes(content[:33] + text + content[33:-6000])
    with pytest.raises(ValueError):
        read_image(tmp_path / "a.png", Reading())


SEGMENTS = {
    "camera": b"\xff\xe1\0\x10Exif\0\0MM\0*\xff\xff\xff\xff",
    "short JFIF": b"\xff\xe0\0\x07JFIF\0",
    "profile": b"\xff\xe2\0\x10ICC_PROFILE\0\x01",
    "pictures": b"\xff\xe2\0\x0eMPF\0MM\0*\xff\xff\xff\xff",
    "Photoshop": b"\xff\xed\0\x1cPhotoshop 3.0\x008BIM\x03\xed\xff\0\0\xff\xff",
    "comment": b"\xff\xfe\0\x02",
    "1000 of XMP": 1000 * (b"\xff\xe1\xff\xff" + b"http://ns.adobe.com/xap/1.0/\0".ljust(65533)),
}


@pytest.mark.parametrize("name", SEGMENTS)
def test_no_metadata_make_a_jpeg_unreadable(tmp_path, name):
    Image.fromarray(smooth(3, 255, (24, 32)).astype(np.uint8)).save(tmp_path / "a.jpg")
    content = (tmp_path / "a.jpg").read_bytes()
    right = read_image(tmp_path / "a.jpg", Reading()).pixels
    (tmp_path / "a.jpg").write_bytes(content[:2] + SEGMENTS[name] + content[2:])
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg", Reading()).pixels, right)


def test_damaged_tags_do_not_make_a_tiff_unreadable(tmp_path):
    values = smooth(3, 255)
    more = [
        (270, "s", b"\xff\xfe no text"),
        (282, "H", [0]),
        (700, "H", [1, 2, 3]),
        (34665, "L", [0xFFFFFFF0]),
        (34675, "L", [7]),
        (65000, "s", b"x" * 5_000_000),
    ]
    (tmp_path / "a.tif").write_bytes(tiff(values, photometric=RGB, more=more))
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif", Reading()).pixels, values)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "I;16", "CMYK"])
@pytest.mark.parametrize("flag", range(1, 9))
def test_strips_give_the_pixels_of_the_whole(tmp_path, monkeypatch, mode, flag):
    suffix = "tif" if mode == "CMYK" else "png"
    values = np.random.default_rng(flag).integers(0, 256, (45, 31, 4), np.uint8)
    if mode == "I;16":
        image = Image.fromarray(values.view(np.uint16)[:, :, 0])
    elif mode == "P":
        image = Image.fromarray(values[:, :, :3]).quantize(17)
    else:
        image = Image.frombytes(mode, (31, 45), values[:, :, : len(mode)].tobytes())
    exif = Image.Exif()
    exif[274] = flag
    image.save(tmp_path / f"a.{suffix}", exif=exif)
    for resize, box in ((16, None), (0, None), ((9, 60), None), (0, (3, 5, 20, 22))):
        for gray in (False, True):
            found, reading = [], Reading(resize=resize, gray=gray)
            for strip in (2**20, 100):
                monkeypatch.setattr(conversion, "STRIP", strip)
                found.append(read_image(tmp_path / f"a.{suffix}", reading, box))
            np.testing.assert_array_equal(found[0].pixels, found[1].pixels)
            assert found[0][1:] == found[1][1:]


def test_threads_hold_the_pixels_of_few_images_at_once(tmp_path, monkeypatch):
    budget = decoding._Budget(100)
    held, most, lock = [0], [0], threading.Lock()

    def hold(pixels):
        with budget.of(pixels):
            with lock:
                held[0] += pixels
                most[0] = max(most[0], held[0])
            time.sleep(0.002)
            with lock:
                held[0] -= pixels

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(hold, [40, 30, 30, 60, 50, 1, 99, 40] * 3))
    assert 60 < most[0] <= 100
    with ThreadPoolExecutor(2) as pool:  # larger than all: one after the other, not never
        list(pool.map(hold, [150, 170]))
    assert most[0] == 170
    asked = []
    monkeypatch.setattr(
        decoding._BUDGET, "of", lambda pixels: asked.append(pixels) or nullcontext()
    )
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    (tmp_path / "b.tif").write_bytes(
        tiff(smooth(4, 65535, (20, 30)), photometric=CMYK, bits=16, separate=True)
    )
    read_image(tmp_path / "a.png", Reading()), read_image(tmp_path / "b.tif", Reading())
    assert asked == [600, 1200]


def test_a_huge_photograph_is_decoded_at_a_fraction_of_its_size(tmp_path, monkeypatch):
    values = smooth(3, 255, (320, 480)).astype(np.uint8)
    Image.fromarray(values).save(tmp_path / "a.jpg", quality=95)
    whole = read_image(tmp_path / "a.jpg", Reading(resize=10))
    monkeypatch.setattr(decoding, "DRAFT_FROM", 1000)
    asked = []
    monkeypatch.setattr(
        decoding._BUDGET, "of", lambda pixels: asked.append(pixels) or nullcontext()
    )
    draft = read_image(tmp_path / "a.jpg", Reading(resize=10))
    assert asked == [60 * 40] and draft.size == whole.size == (480, 320)
    assert np.abs(draft.pixels.astype(int) - whole.pixels).max() < 8
    read_image(tmp_path / "a.jpg", Reading(resize=10), (0, 0, 100, 100))  # a box is in whole pixels
    assert asked[1:] == [480 * 320]
