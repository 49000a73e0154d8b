"""The image cache and the decoder behind it: awkward files, reuse, parallel builders, full and
read-only disks.
"""

import json
import multiprocessing
import os
import shutil
import struct
import time
import zlib
from functools import partial

import numpy as np
import pytest
from images import draw, make_earlier, make_folder
from PIL import Image
from waiting import PATIENCE

from data import cache as cache_module
from data import cache_places, cache_writer, decoding, unfinished_cache
from data.cache import build_cache
from data.decoding import read_image
from data.reading import Reading
from files import writing
from files.fingerprints import HASHES, pixels_fingerprint
from hierarchies import scan_folders

READING = Reading(resize=8)
ODD_NAMES = ("Tripos furca, duplets/a b.png", "Ærøskøbing/浮游.png", "quote's (x)/100%.png")


def write(path, content):
    path.write_bytes(content)
    return path


def test_colour_pixels_and_original_size_are_kept(tmp_path):
    pixels = draw(tmp_path / "a.png", (6, 4))
    image = read_image(tmp_path / "a.png", Reading())
    np.testing.assert_array_equal(image.pixels, pixels)
    assert image.size == (6, 4) and (image.brightest, image.transparent, image.frames) == (
        None,
        False,
        1,
    )


def test_resizing_stretches_bilinearly_with_antialiasing(tmp_path):
    pixels = draw(tmp_path / "a.png", (40, 20))
    expected = Image.fromarray(pixels).resize((8, 8), Image.Resampling.BILINEAR)
    image = read_image(tmp_path / "a.png", Reading(resize=8))
    np.testing.assert_array_equal(image.pixels, np.asarray(expected))
    assert image.size == (40, 20)


def test_gray_has_one_channel_of_luminance(tmp_path):
    Image.new("RGB", (3, 2), (255, 0, 0)).save(tmp_path / "red.png")
    image = read_image(tmp_path / "red.png", Reading(gray=True))
    assert image.pixels.shape == (2, 3, 1) and set(image.pixels.ravel()) == {76}  # 0.299 * 255


@pytest.mark.parametrize("byte_order", ["<u2", ">u2"])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path, byte_order):
    values = np.array([[0, 257, 514, 65535]], np.uint16)
    mode = "I;16" if byte_order == "<u2" else "I;16B"
    Image.frombytes(mode, (4, 1), values.astype(byte_order).tobytes()).save(tmp_path / "deep.tif")
    image = read_image(tmp_path / "deep.tif", Reading(gray=True))
    assert image.pixels.ravel().tolist() == [0, 1, 2, 255] and image.brightest == 65535


def test_integers_beyond_sixteen_bits_and_floats_are_refused(tmp_path):
    Image.fromarray(np.array([[0, 70000]], np.int32)).save(tmp_path / "wide.tif")
    Image.fromarray(np.array([[0.0, 0.5]], np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(ValueError, match="values from 0 to 70000 do not fit 16 bits"):
        read_image(tmp_path / "wide.tif", Reading())
    with pytest.raises(ValueError, match="no fixed range; save the image with 8 or 16 bits"):
        read_image(tmp_path / "float.tif", Reading())


def test_transparency_is_laid_on_white(tmp_path):
    values = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 51]]], np.uint8)
    Image.fromarray(values).save(tmp_path / "clear.png")
    image = read_image(tmp_path / "clear.png", Reading())
    assert image.pixels.tolist() == [[[10, 20, 30], [255, 255, 255], [204, 204, 204]]]
    assert image.transparent


def test_palettes_become_their_colours(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 0, 200, 100, 50])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "plain.png")
    image.save(tmp_path / "clear.png", transparency=0)
    assert read_image(tmp_path / "plain.png", Reading()).pixels.tolist() == [
        [[0, 0, 0], [200, 100, 50]]
    ]
    assert read_image(tmp_path / "clear.png", Reading()).pixels.tolist() == [
        [[255, 255, 255], [200, 100, 50]]
    ]


@pytest.mark.parametrize(
    "mode, suffix",
    [("1", "png"), ("L", "bmp"), ("LA", "png"), ("P", "gif"), ("CMYK", "jpg"), ("RGB", "webp")],
)
@pytest.mark.parametrize("gray", [False, True])
def test_every_usual_mode_is_read(tmp_path, mode, suffix, gray):
    draw(tmp_path / f"a.{suffix}", (6, 4), mode)
    assert read_image(tmp_path / f"a.{suffix}", Reading(resize=5, gray=gray)).pixels.shape == (
        5,
        5,
        1 if gray else 3,
    )


def test_the_rotation_flag_of_the_camera_is_applied(tmp_path):
    image = Image.new("L", (2, 1))
    image.putpixel((1, 0), 255)
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    image.save(tmp_path / "turned.png", exif=exif)
    read = read_image(tmp_path / "turned.png", Reading(gray=True))
    assert read.size == (1, 2) and read.pixels.ravel().tolist() == [0, 255]


def test_a_box_is_cut_from_the_image_as_it_is_shown(tmp_path):
    values = np.arange(12, dtype=np.uint8).reshape(3, 4)
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    Image.fromarray(values).save(tmp_path / "turned.png", exif=exif)
    shown = np.rot90(values, -1)
    # the second reaches beyond
    for box, expected in (((1, 0, 2, 3), shown[:3, 1:]), ((-5, 2, 6, 9), shown[2:, :1])):
        image = read_image(tmp_path / "turned.png", Reading(gray=True), box)
        np.testing.assert_array_equal(image.pixels[:, :, 0], expected)
        assert image.size == (3, 4)
    with pytest.raises(
        ValueError,
        match="the box at 3, 0 of 2 x 2 pixels has nothing of the image, which has 3 x 4",
    ):
        read_image(tmp_path / "turned.png", Reading(), (3, 0, 2, 2))


def test_the_first_frame_counts(tmp_path):
    frames = [Image.new("L", (2, 2), value) for value in (40, 80)]
    frames[0].save(tmp_path / "pages.tif", save_all=True, append_images=frames[1:])
    image = read_image(tmp_path / "pages.tif", Reading(gray=True))
    assert image.frames == 2 and set(image.pixels.ravel()) == {40}


def test_equal_images_have_equal_fingerprints(tmp_path):
    draw(tmp_path / "a.png"), draw(tmp_path / "b.bmp"), draw(tmp_path / "c.png", seed=1)
    images = [read_image(tmp_path / name, Reading()) for name in ("a.png", "b.bmp", "c.png")]
    for of in HASHES:
        a, b, c = (image.fingerprint(of) for image in images)
        assert a == b != c != images[0]._replace(size=(12, 8)).fingerprint(of) != a


def test_fingerprints_stay_what_they_were():
    """Records and caches hold them: big-endian, of the text '2 2 ' and the bytes 0 to 11."""
    pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    expected = {"pixels": 0xC8F08A3DD5C2237D, "pixels by xxh3": 0x026A9D706B082569}
    assert {of: pixels_fingerprint(pixels, (2, 2), of) for of in HASHES} == expected
    turned = np.asfortranarray(pixels)  # in another order in memory
    assert {of: pixels_fingerprint(turned, (2, 2), of) for of in HASHES} == expected


def test_a_cache_of_an_earlier_version_is_used_and_its_damage_noticed(tmp_path):
    files = [f"a/{number:02}.png" for number in range(3)]
    root, place = make_folder(tmp_path / "images", {"a": 3}), tmp_path / "cache"
    new = build_cache(root, files, Reading(resize=4), cache_dir=place)
    expected = np.array(new.pixels)
    make_earlier(new)
    written = (new.folder / "pixels.bin").stat().st_mtime_ns
    old = build_cache(root, files, Reading(resize=4), cache_dir=place)
    assert (old.folder / "pixels.bin").stat().st_mtime_ns == written
    assert (old.fingerprints_of, new.fingerprints_of) == ("pixels", "pixels by xxh3")
    np.testing.assert_array_equal(old.pixels[:], expected)
    content = bytearray((old.folder / "pixels.bin").read_bytes())
    content[50] ^= 1
    (old.folder / "pixels.bin").write_bytes(content)
    with pytest.raises(ValueError, match="image cache .* is damaged: its image 1 "):
        build_cache(root, files, Reading(resize=4), cache_dir=place).pixels[:]
    again = build_cache(root, files, Reading(resize=4), cache_dir=place)
    assert again.fingerprints_of == new.fingerprints_of
    np.testing.assert_array_equal(again.pixels[:], expected)


def bad_files(root):
    """Seven files that are no readable images, and why."""
    (
        draw(root / "x" / "good.png"),
        draw(root / "x" / "whole.jpg", (64, 64)),
        draw(root / "x" / "whole.png", (64, 64)),
    )
    Image.fromarray(np.zeros((2, 2), np.float32)).save(root / "x" / "float.tif")
    write(root / "x" / "empty.jpg", b"")
    write(root / "x" / "text.png", b"no image at all")
    for suffix in ("jpg", "png"):
        whole = (root / "x" / f"whole.{suffix}").read_bytes()
        write(root / "x" / f"cut.{suffix}", whole[: len(whole) // 2])
        write(root / "x" / f"head.{suffix}", whole[:20])
    return ["empty.jpg", "text.png", "cut.jpg", "cut.png", "head.jpg", "head.png", "float.tif"]


def test_all_bad_files_are_listed_with_their_reasons(tmp_path):
    files = [f"x/{name}" for name in ("good.png", *bad_files(tmp_path))]
    with pytest.raises(ValueError) as error:
        build_cache(tmp_path, files, READING, cache_dir=tmp_path / "cache")
    message = str(error.value)
    assert (
        "7 images cannot be read" in message
        and "--skip_bad_images" in message
        and "good.png" not in message
    )
    for file, reason in zip(
        files[1:5],
        ("the file is empty", "not an image that Pillow can read", "truncated", "truncated"),
    ):
        assert any(file in line and reason in line for line in message.splitlines()), (
            file,
            message,
        )
    assert all(file in message for file in files[1:])
    assert not list((tmp_path / "cache").glob("*.tmp"))


def test_bad_files_can_be_skipped_but_never_silently(tmp_path):
    files = sorted(f"x/{name}" for name in ("good.png", "whole.jpg", *bad_files(tmp_path)))
    place = tmp_path / "cache"
    for _ in range(2):  # built, then reused
        cache = build_cache(tmp_path, files, READING, cache_dir=place, skip_bad_images=True)
        assert [files[i] for i in cache.kept] == ["x/good.png", "x/whole.jpg"] and len(
            cache.pixels
        ) == 2
        assert len(cache.bad) == 7 and any(
            "7 images were left out as not readable" in note and "x/cut.jpg" in note
            for note in cache.notes
        )
        np.testing.assert_array_equal(
            cache.pixels[1], read_image(tmp_path / "x" / "whole.jpg", Reading(resize=8)).pixels
        )
    with pytest.raises(ValueError, match="7 images cannot be read"):
        build_cache(tmp_path, files, READING, cache_dir=place)


def test_a_long_list_of_bad_files_is_cut(tmp_path):
    for i in range(25):
        write(tmp_path / f"{i:02}.png", b"")
    with pytest.raises(ValueError, match="25 images cannot be read") as error:
        build_cache(tmp_path, [f"{i:02}.png" for i in range(25)], READING, skip_bad_images=True)
    assert (
        "19.png" in str(error.value)
        and "20.png" not in str(error.value)
        and "and 5 more" in str(error.value)
    )


def test_an_image_beyond_pillows_limit_is_a_bad_file(tmp_path, monkeypatch):
    draw(tmp_path / "big.png", (40, 40)), draw(tmp_path / "fine.png", (30, 30))
    # above: a warning, which is silenced; above twice: an error
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 600)
    with pytest.raises(
        ValueError, match="1 image cannot be read.*\n  big.png: too large: .*scale it down"
    ) as error:
        build_cache(tmp_path, ["big.png", "fine.png"], READING)
    assert "fine.png" not in str(error.value)


def test_odd_names_are_no_problem(tmp_path):
    for seed, name in enumerate(ODD_NAMES):
        draw(tmp_path / name, seed=seed)
    cache = build_cache(tmp_path, ODD_NAMES, Reading())
    assert [row.shape for row in cache.pixels] == [(4, 6, 3)] * 3


def test_rows_follow_the_order_of_the_files(tmp_path):
    pixels = [draw(tmp_path / f"{i}.png", seed=i) for i in range(90)]
    order = np.random.default_rng(0).permutation(90)
    cache = build_cache(tmp_path, [f"{i}.png" for i in order], Reading(), workers=2)
    np.testing.assert_array_equal(cache.pixels, np.stack(pixels)[order])
    assert cache.sizes.tolist() == [[6, 4]] * 90 and cache.pixels.dtype == np.uint8
    with pytest.raises(ValueError, match="read-only"):
        cache.pixels[0] = 0


def test_without_resize_all_images_need_one_size(tmp_path):
    draw(tmp_path / "a.png", (6, 4)), draw(tmp_path / "b.png", (4, 6))
    with pytest.raises(ValueError, match="'a.png' has 6 x 4 pixels, 'b.png' 4 x 6; give --resize"):
        build_cache(tmp_path, ["a.png", "b.png"], Reading())
    assert build_cache(tmp_path, ["a.png", "b.png"], Reading(resize=5)).sizes.tolist() == [
        [6, 4],
        [4, 6],
    ]


def test_the_cache_is_reused_and_the_images_are_not_read_again(tmp_path, monkeypatch):
    make_folder(tmp_path, {"a": 3})
    files = [f"a/{i:02}.png" for i in range(3)]
    first = build_cache(tmp_path, files, READING)
    assert first.folder.parent == tmp_path / ".taxonomy_cache"
    monkeypatch.setattr(cache_writer, "read_image", None)  # a decode would fail
    again = build_cache(tmp_path, files, READING)
    np.testing.assert_array_equal(first.pixels, again.pixels)
    np.testing.assert_array_equal(first.sizes, again.sizes)


def test_a_change_of_files_or_options_makes_another_cache(tmp_path):
    make_folder(tmp_path, {"a": 3})
    files = [f"a/{i:02}.png" for i in range(3)]
    folders = [build_cache(tmp_path, files, READING).folder]
    folders.append(build_cache(tmp_path, files, Reading(resize=16)).folder)
    folders.append(build_cache(tmp_path, files, Reading(resize=8, gray=True)).folder)
    folders.append(build_cache(tmp_path, files[:2], READING).folder)
    folders.extend(
        build_cache(tmp_path, files, READING, boxes=dict.fromkeys(files, (0, 0, 2, n))).folder
        for n in (1, 2)
    )
    stat = os.stat(tmp_path / files[0])
    os.utime(tmp_path / files[0], ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    folders.append(build_cache(tmp_path, files, READING).folder)
    pixels = draw(tmp_path / files[0], (30, 30), seed=99)
    changed = build_cache(tmp_path, files, Reading(resize=30))
    np.testing.assert_array_equal(changed.pixels[0], pixels)
    assert len({*folders, changed.folder}) == 8


@pytest.mark.parametrize("damage", ["pixels.bin", "images.npz", "content.json", "cut", "garbage"])
def test_a_damaged_cache_is_built_anew(tmp_path, damage):
    make_folder(tmp_path, {"a": 2})
    first = build_cache(tmp_path, ["a/00.png", "a/01.png"], READING)
    expected = np.array(first.pixels)
    if damage == "cut":
        os.truncate(first.folder / "pixels.bin", 100)
    elif damage == "garbage":
        write(first.folder / "content.json", b'{"sha')
    else:
        (first.folder / damage).unlink()
    np.testing.assert_array_equal(
        build_cache(tmp_path, ["a/00.png", "a/01.png"], READING).pixels, expected
    )


def test_notes_say_what_was_converted(tmp_path):
    Image.fromarray(np.full((3, 3), 4000, np.uint16)).save(tmp_path / "deep.png")
    draw(tmp_path / "clear.png", mode="RGBA"), draw(tmp_path / "plain.png")
    notes = build_cache(tmp_path, ["clear.png", "deep.png", "plain.png"], READING).notes
    assert notes == build_cache(tmp_path, ["clear.png", "deep.png", "plain.png"], READING).notes
    assert len(notes) == 3
    assert (
        "1 images with 16 bits" in notes[0]
        and "4000 of 65535" in notes[0]
        and "deep.png" in notes[0]
    )
    assert (
        "1 images with 16 bits use less than a quarter" in notes[1] and "come out dark" in notes[1]
    )
    assert "laid on white" in notes[2] and "clear.png" in notes[2]


@pytest.mark.parametrize("brightest, said", [(16384, True), (32767, True), (32768, False)])
def test_the_range_of_values_with_a_sign_is_named(tmp_path, brightest, said):
    Image.fromarray(np.full((3, 3), brightest, np.uint16)).save(tmp_path / "a.png")
    (note,) = build_cache(tmp_path, ["a.png"], READING).notes
    assert ("as in files with a sign, give --grey_range 32767" in note) == said


def sixteen_bit_png(path, colour_type, values):
    """A PNG of 16 bits a channel, which Pillow cannot write: values (H, W, channels) uint16."""

    def chunk(name, content):
        return (
            struct.pack(">I", len(content))
            + name
            + content
            + struct.pack(">I", zlib.crc32(name + content))
        )

    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, colour_type, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    chunks = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return write(path, b"\x89PNG\r\n\x1a\n" + chunks)


def sixteen_bit_tiff(path, values):
    """An uncompressed TIFF of three channels of 16 bits: values (H, W, 3) uint16."""
    entries = [
        (256, 3, 1, values.shape[1]),
        (257, 3, 1, values.shape[0]),
        (258, 3, 3, 122),
        (259, 3, 1, 1),
        (262, 3, 1, 2),
    ]
    entries += [
        (273, 4, 1, 128),
        (277, 3, 1, 3),
        (278, 3, 1, values.shape[0]),
        (279, 4, 1, values.nbytes),
    ]
    folder = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    head = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(entries)) + folder + bytes(4)
    return write(path, head + struct.pack("<HHH", 16, 16, 16) + values.astype("<u2").tobytes())


@pytest.mark.parametrize("gray", [False, True])
def test_colour_that_was_cut_to_eight_bits_is_a_note_with_its_count(tmp_path, gray):
    values = np.random.default_rng(0).integers(0, 65536, (4, 5, 4))
    sixteen_bit_png(tmp_path / "a.png", 2, values[:, :, :3])
    sixteen_bit_png(tmp_path / "b.png", 6, values)
    sixteen_bit_png(tmp_path / "c.png", 4, values[:, :, :2])
    sixteen_bit_tiff(tmp_path / "d.tif", values[:, :, :3])
    draw(tmp_path / "e.png"), draw(tmp_path / "f.tif"), draw(tmp_path / "g.jpg")
    files = [
        f"{name}.{suffix}"
        for name, suffix in zip("abcdefg", ("png", "png", "png", "tif", "png", "tif", "jpg"))
    ]
    (note,) = [
        note
        for note in build_cache(tmp_path, files, Reading(resize=8, gray=gray)).notes
        if "16 bits" in note
    ]
    assert (
        note.startswith("4 images in colour with 16 bits a channel were cut to the upper 8 bits")
        and "a.png" in note
    )
    read = read_image(tmp_path / "a.png", Reading())
    np.testing.assert_array_equal(read.pixels, values[:, :, :3] // 256)
    assert read.cut and not read_image(tmp_path / "e.png", Reading()).cut


def test_images_that_use_little_of_sixteen_bits_are_counted(tmp_path):
    for name, brightest in (
        ("twelve", 4095),
        ("fourteen", 16383),
        ("full", 65535),
        ("just", 16384),
    ):
        Image.fromarray(np.array([[0, brightest]], np.uint16)).save(tmp_path / f"{name}.tif")
    sixteen_bit_png(tmp_path / "colour.png", 2, np.full((2, 2, 3), 4095))
    sixteen_bit_png(tmp_path / "white.png", 2, np.full((2, 2, 3), 65535))
    files = ["colour.png", "full.tif", "fourteen.tif", "just.tif", "twelve.tif", "white.png"]
    (note,) = [
        note for note in build_cache(tmp_path, files, Reading(resize=2)).notes if "dark" in note
    ]
    assert (
        note.startswith("3 images with 16 bits use less than a quarter of the range")
        and "colour.png" in note
    )


@pytest.mark.parametrize("kind", ["webp", "png", "jpg"])
def test_damaged_metadata_do_not_make_an_image_unreadable(tmp_path, kind):
    pixels = draw(tmp_path / f"a.{kind}", exif=b"Exif\0\0no metadata at all")
    image = read_image(tmp_path / f"a.{kind}", Reading())
    assert image.pixels.shape == pixels.shape and image.size == (6, 4)


def same_looking(root, files, value):
    """Images of one colour whose names, sizes and times tell nothing of the colour."""
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (5, 4), (value, value, value)).save(root / file)
        os.utime(root / file, (1e9, 1e9))


FILES = ["a/1.bmp", "a/2.bmp"]


def test_two_collections_that_look_the_same_share_no_cache_in_one_place(tmp_path):
    same_looking(tmp_path / "one", FILES, 10), same_looking(tmp_path / "two", FILES, 200)
    first, second = (
        build_cache(tmp_path / name, FILES, READING, cache_dir=tmp_path / "cache")
        for name in ("one", "two")
    )
    assert set(first.pixels.ravel()) == {10} and set(second.pixels.ravel()) == {200}


def test_two_collections_whose_cache_folder_is_a_link_to_one_place_share_no_cache(tmp_path):
    (tmp_path / "cache").mkdir()
    for name, value in (("one", 10), ("two", 200)):
        same_looking(tmp_path / name, FILES, value)
        (tmp_path / name / ".taxonomy_cache").symlink_to(tmp_path / "cache")
        assert set(build_cache(tmp_path / name, FILES, READING).pixels.ravel()) == {value}


def test_two_read_only_collections_that_look_the_same_share_no_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    for name, value in (("one", 10), ("two", 200)):
        same_looking(tmp_path / name, FILES, value)
        write(tmp_path / name / ".taxonomy_cache", b"in the way")
        assert set(build_cache(tmp_path / name, FILES, READING).pixels.ravel()) == {value}


def test_runs_on_one_collection_share_a_cache_whatever_they_call_its_folder(tmp_path, monkeypatch):
    same_looking(tmp_path / "one", FILES, 10)
    (tmp_path / "link").symlink_to("one")
    place = tmp_path / "cache"
    first = build_cache(tmp_path / "one", FILES, READING, cache_dir=place)
    monkeypatch.setattr(cache_writer, "read_image", None)  # a decode would fail
    monkeypatch.chdir(tmp_path)
    for root in ("link", "one", "./link/../one/"):
        assert build_cache(root, FILES, READING, cache_dir=place).folder == first.folder


def test_a_collection_moves_and_is_copied_with_the_cache_inside_it(tmp_path, monkeypatch):
    same_looking(tmp_path / "one", FILES, 10)
    build_cache(tmp_path / "one", FILES, READING)
    shutil.copytree(tmp_path / "one", tmp_path / "copy")
    (tmp_path / "one").rename(tmp_path / "moved")
    monkeypatch.setattr(cache_writer, "read_image", None)
    for name in ("copy", "moved"):
        assert (
            build_cache(tmp_path / name, FILES, READING).folder.parent
            == tmp_path / name / ".taxonomy_cache"
        )
    assert build_cache(
        tmp_path / "copy", FILES, READING, cache_dir=tmp_path / "copy/.taxonomy_cache"
    ).folder.is_dir()


def test_an_unwritable_data_folder_uses_the_users_cache(tmp_path, monkeypatch):
    make_folder(tmp_path / "data", {"a": 2})
    write(
        tmp_path / "data" / ".taxonomy_cache",
        b"a file in the way, as a permission that also stops root",
    )
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    cache = build_cache(tmp_path / "data", ["a/00.png", "a/01.png"], READING)
    assert cache.folder.parent == tmp_path / "home" / "taxonomy_cache"


def test_a_user_without_a_home_needs_none(tmp_path, monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    make_folder(tmp_path, {"a": 1})
    monkeypatch.setattr(cache_places.Path, "home", homeless)
    assert (
        build_cache(tmp_path, ["a/00.png"], READING).folder.parent == tmp_path / ".taxonomy_cache"
    )


def test_an_existing_cache_is_used_where_nothing_can_be_written(tmp_path, monkeypatch):
    make_folder(tmp_path, {"a": 2})
    folder = build_cache(tmp_path, ["a/00.png", "a/01.png"], READING).folder
    monkeypatch.setattr(cache_module, "writable", None)
    assert build_cache(tmp_path, ["a/00.png", "a/01.png"], READING).folder == folder


def test_no_place_to_write_names_the_way_out(tmp_path):
    make_folder(tmp_path, {"a": 1})
    blocked = write(tmp_path / "file", b"")
    with pytest.raises(OSError, match="cannot be written to .*file.*--cache_dir"):
        build_cache(tmp_path, ["a/00.png"], READING, cache_dir=blocked)


def test_a_disk_that_is_too_small_is_found_before_the_work(tmp_path, monkeypatch):
    make_folder(tmp_path, {"a": 4})
    usage = type(shutil.disk_usage(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(100, 100, 0))
    with pytest.raises(OSError, match="no space left for the image cache in .*--cache_dir"):
        build_cache(tmp_path, [f"a/{i:02}.png" for i in range(4)], READING)
    assert not [path for path in (tmp_path / ".taxonomy_cache").iterdir() if path.suffix != ".lock"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_disk_that_fills_up_leaves_nothing_behind(tmp_path, monkeypatch):
    make_folder(tmp_path, {"a": 2})
    monkeypatch.setattr(
        cache_writer,
        "open",
        lambda path, mode, **options: open("/dev/full", mode, **options),
        raising=False,
    )
    with pytest.raises(OSError, match="no space left for the image cache"):
        build_cache(tmp_path, ["a/00.png", "a/01.png"], READING)
    assert not [path for path in (tmp_path / ".taxonomy_cache").iterdir() if path.suffix != ".lock"]


def test_an_interruption_leaves_nothing_behind(tmp_path, monkeypatch):
    make_folder(tmp_path, {"a": 5})

    def interrupt(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(unfinished_cache.ImageNotes, "add", interrupt)
    with pytest.raises(KeyboardInterrupt):
        build_cache(tmp_path, [f"a/{i:02}.png" for i in range(5)], READING)
    assert not [path for path in (tmp_path / ".taxonomy_cache").iterdir() if path.suffix != ".lock"]


def test_what_a_killed_builder_left_is_removed_later(tmp_path):
    make_folder(tmp_path, {"a": 1})
    place = tmp_path / ".taxonomy_cache"
    old, new = (f"{letter * 24}.{letter * 32}.tmp" for letter in "ab")
    for name, age in ((old, 3600), (new, 0)):
        (place / name).mkdir(parents=True)
        write(place / name / "pixels.bin", b"half")
        for path in (place / name / "pixels.bin", place / name):
            os.utime(path, (time.time() - age,) * 2)
    build_cache(tmp_path, ["a/00.png"], READING)
    assert not (place / old).exists() and (place / new).exists()


def _build_slowly(root, files, decoded):
    def read(path, *how):
        decoded.put(str(path))
        time.sleep(0.02)
        return read_image(path, *how)

    cache_writer.read_image = read
    build_cache(root, files, READING, workers=1)


@pytest.mark.usefixtures("may_fork")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_parallel_builders_decode_every_image_once(tmp_path):
    make_folder(tmp_path, {"a": 10})
    files = [f"a/{i:02}.png" for i in range(10)]
    context = multiprocessing.get_context("fork")
    decoded = context.SimpleQueue()
    builders = [
        context.Process(target=_build_slowly, args=(tmp_path, files, decoded)) for _ in range(3)
    ]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join(PATIENCE)
    assert [builder.exitcode for builder in builders] == [0, 0, 0]
    paths = []
    while not decoded.empty():
        paths.append(decoded.get())
    assert sorted(paths) == [str(tmp_path / file) for file in files]
    assert len(list((tmp_path / ".taxonomy_cache").glob("*/content.json"))) == 1


def test_builders_without_locks_do_not_harm_each_other(tmp_path, monkeypatch):
    make_folder(tmp_path, {"a": 3})
    files = [f"a/{i:02}.png" for i in range(3)]
    fill, inner = cache_module.fill, []

    def overtaken(folder, *args):
        bad = fill(folder, *args)
        if not inner:
            inner.append(None)
            monkeypatch.setattr(
                cache_module, "file_lock", lambda *args, **options: open(os.devnull)
            )
            inner.append(build_cache(tmp_path, files, READING))  # another builder is faster
        return bad

    monkeypatch.setattr(cache_module, "fill", overtaken)
    cache = build_cache(tmp_path, files, READING)
    np.testing.assert_array_equal(cache.pixels, inner[1].pixels)
    assert not list((tmp_path / ".taxonomy_cache").glob("*.tmp"))


def test_the_content_is_plain_json(tmp_path):
    draw(tmp_path / "å, b.png")
    cache = build_cache(tmp_path, ["å, b.png"], Reading(resize=3))
    content = json.loads((cache.folder / "content.json").read_text())
    assert set(content.pop("checksums")) == {"content.json", "images.npz"}
    of = {"fingerprints_of": "pixels by xxh3"}
    assert content == {"shape": [1, 3, 3, 3], "bad": [], "notes": [], **of}


def test_a_grey_range_makes_its_value_white_in_grey_and_colour(tmp_path):
    values = np.array([[[0, 16, 2048], [4095, 5000, 17]]])
    sixteen_bit_png(tmp_path / "colour.png", 2, values)
    sixteen_bit_png(tmp_path / "clear.png", 6, np.dstack([values, [[65535, 65535]]]))
    sixteen_bit_png(tmp_path / "greya.png", 4, np.dstack([values[:, :, :1], [[65535, 65535]]]))
    Image.fromarray(values[0].astype(np.uint16)).save(tmp_path / "grey.tif")
    Image.fromarray(values[0].astype(np.uint8)).save(tmp_path / "eight.png")
    right = np.rint(np.minimum(values, 4095) * 255 / 4095)
    for name in ("colour.png", "clear.png"):
        found = read_image(tmp_path / name, Reading(grey_range=4095))
        np.testing.assert_array_equal(found.pixels, right)
        assert found.brightest == 5000 and not found.cut
    found = read_image(tmp_path / "greya.png", Reading(grey_range=4095))
    np.testing.assert_array_equal(found.pixels[:, :, 1], right[:, :, 0])
    found = read_image(tmp_path / "grey.tif", Reading(grey_range=4095, gray=True))
    np.testing.assert_array_equal(found.pixels[:, :, 0], right[0])
    found = read_image(tmp_path / "eight.png", Reading(grey_range=4095, gray=True))
    np.testing.assert_array_equal(found.pixels[:, :, 0], values[0] % 256)


def test_notes_say_which_grey_range_would_hold_all_values_and_what_it_clips(tmp_path):
    for name, brightest in (("a", 4000), ("b", 300)):
        Image.fromarray(np.array([[0, brightest]], np.uint16)).save(tmp_path / f"{name}.tif")
    files = ["a.tif", "b.tif"]
    dark = build_cache(tmp_path, files, Reading(resize=2))
    (note,) = [note for note in dark.notes if "dark" in note]
    assert "2 images" in note and "largest value found is 4000: --grey_range 4095 would" in note
    light = build_cache(tmp_path, files, Reading(resize=2, grey_range=1023))
    assert light.folder != dark.folder and light.pixels.max() == 255 > dark.pixels.max()
    assert not [note for note in light.notes if "dark" in note]
    (note,) = [note for note in light.notes if "above" in note]
    assert note.startswith("1 images have values above 1023") and "a.tif" in note


@pytest.mark.parametrize("lost", [2, 1200])
def test_a_jpeg_that_ends_early_is_refused_with_the_way_out_or_used(tmp_path, lost):
    pixels = draw(tmp_path / "whole.jpg", (64, 64))
    content = (tmp_path / "whole.jpg").read_bytes()
    write(tmp_path / "early.jpg", content[:-lost])
    with pytest.raises(ValueError, match="early.jpg: .*truncated.*\n.*--truncated_images use"):
        build_cache(tmp_path, ["early.jpg"], Reading())
    cache = build_cache(tmp_path, ["early.jpg", "whole.jpg"], Reading(truncated_images="use"))
    assert cache.pixels.shape == (2, *pixels.shape)
    rows = 64 if lost == 2 else 8
    np.testing.assert_array_equal(cache.pixels[0][:rows], cache.pixels[1][:rows])
    (note,) = cache.notes
    assert note == "1 images end early: what is missing is grey, for instance early.jpg"


@pytest.mark.parametrize("suffix", ["jfif", "jpe", "avif"])
def test_what_pillow_reads_is_read_whatever_its_suffix(tmp_path, suffix):
    if suffix == "avif" and not decoding.AVIF:
        pytest.skip("this Pillow reads no AVIF")
    kind = "AVIF" if suffix == "avif" else "JPEG"
    Image.new("RGB", (20, 10), (200, 100, 50)).save(tmp_path / f"a.{suffix}", kind)
    found = read_image(tmp_path / f"a.{suffix}", Reading())
    assert found.size == (20, 10) and np.abs(found.pixels - [200.0, 100, 50]).max() < 6
    (tmp_path / "x").mkdir()
    shutil.move(tmp_path / f"a.{suffix}", tmp_path / "x" / f"a.{suffix}")
    assert scan_folders(tmp_path).files == (f"x/a.{suffix}",)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0", "but HEIC; convert it to PNG, JPEG or TIFF"),
        (b"\xff\x0a\xfa\x7f", "but JPEG XL"),
        (b"%PDF-1.7", "but PDF"),
        (b"<!DOCTYPE html><html>", "but a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "but a pointer of Git LFS"),
        (b'\n<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "but XML"),
        (b"/annex/objects/MD5E-s1--x.jpg\n", "git annex get"),
        (b"II*\0\xff\xff\xff\xff", "list of tags of this TIFF file is damaged"),
    ],
)
def test_a_file_that_is_called_an_image_is_named_for_what_it_is(tmp_path, content, message):
    write(tmp_path / "a.jpg", content)
    for read in (partial(read_image, reading=READING), decoding.read_head):
        with pytest.raises(ValueError, match=message):
            read(tmp_path / "a.jpg")


def test_a_later_page_of_a_kind_that_is_not_read_does_not_matter(tmp_path):
    pages = [Image.new("L", (4, 4), 7), Image.new("F", (4, 4), 0.5)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    content = (tmp_path / "a.tif").read_bytes()
    depth = struct.pack("<HHLL", 258, 3, 1, 32)  # of the second page
    assert content.count(depth) == 1
    write(tmp_path / "a.tif", content.replace(depth, struct.pack("<HHLL", 258, 3, 1, 31)))
    assert set(read_image(tmp_path / "a.tif", Reading()).pixels.ravel()) == {7}


@pytest.mark.parametrize("most", [None, 0, 1, 100, 10**6], ids=str)
def test_what_is_written_together_is_written_whole(tmp_path, monkeypatch, most):
    """Also where a call takes a part of it, or the platform has none for several arrays."""
    if most is None:
        monkeypatch.delattr(os, "writev", raising=False)
    else:

        def writev(descriptor, parts):
            assert len(parts) <= writing.MANY
            return os.write(descriptor, b"".join(parts)[:most])

        monkeypatch.setattr(os, "writev", writev, raising=False)
    monkeypatch.setattr(writing, "TOGETHER", 250)
    generator = np.random.default_rng(0)
    arrays = [generator.integers(0, 256, (5, 4, 3), np.uint8) for _ in range(17)]
    with open(tmp_path / "a.bin", "wb", buffering=0) as file:
        together = writing.Together(file)
        assert [together.write(array) for array in arrays] == [60] * 17
        assert file.tell() == 15 * 60  # five at a time
        together.flush()
        together.flush()
    assert (tmp_path / "a.bin").read_bytes() == b"".join(array.tobytes() for array in arrays)
