"""Images decoded on the way: the same pixels and sizes as from the cache, and what happens to bad
files.
"""

import os
import threading
from pathlib import Path

import numpy as np
import pytest
from images import draw
from PIL import Image
from waiting import PATIENCE

from data import Batches, headers, opening, stream
from data.cache import build_cache
from data.decoding import read_head
from data.headers import read_headers
from data.reading import Reading
from data.splits import Splits
from data.stream import Stream, Upscaled
from hierarchies import Hierarchy

FILES = [
    f"{i}.{suffix}"
    for i, suffix in enumerate(["jpg", "png", "JPEG", "png", "gif", "png", "jpg", "png", "png"])
]


@pytest.fixture
def root(tmp_path):
    for i, file in enumerate(FILES):
        draw(
            tmp_path / file,
            (20 + 3 * i, 14 + i),
            mode=("RGB", "L", "RGB", "RGBA", "P")[i % 5] if i != 6 else "L",
            seed=i,
        )
    return tmp_path


def options(**changes):
    return {**opening.DEFAULTS, "resize": 8, **changes}


@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize(
    "index",
    [4, -1, slice(2, 7, 2), [5, 0, 5], np.array([], int), np.arange(9) % 2 == 0, slice(None)],
)
def test_a_stream_gives_the_pixels_of_the_cache(root, index, gray):
    cached = build_cache(root, FILES, Reading(resize=8, gray=gray)).pixels
    streamed = Stream(root, FILES, Reading(resize=8, gray=gray))
    assert (streamed.shape, streamed.dtype, streamed.ndim, len(streamed)) == (
        cached.shape,
        cached.dtype,
        4,
        9,
    )
    np.testing.assert_array_equal(streamed[index], cached[index])


def test_a_row_that_is_not_there_is_refused(root):
    with pytest.raises(IndexError):
        Stream(root, FILES, Reading(resize=8))[[0, 9]]
    with pytest.raises(ValueError, match="to one size: give --resize"):
        Stream(root, FILES, Reading())


def test_images_are_decoded_side_by_side(root, monkeypatch):
    together = threading.Barrier(3)
    read = stream.read_image

    def waiting(*arguments, **named):
        together.wait(PATIENCE)  # breaks if fewer than three are being read at once
        return read(*arguments, **named)

    monkeypatch.setattr(stream, "read_image", waiting)
    assert Stream(root, FILES, Reading(resize=8), workers=3)[np.arange(9)].shape == (9, 8, 8, 3)


def test_an_image_that_breaks_later_is_named(root):
    streamed = Stream(root, FILES, Reading(resize=8))
    whole = (root / "2.JPEG").read_bytes()
    (root / "2.JPEG").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="2.JPEG cannot be read: (?i:.*truncated)"):
        streamed[np.arange(9)]
    assert streamed[[0, 1]].shape == (2, 8, 8, 3)


def test_batches_of_a_stream_are_those_of_the_cache(root):
    tree = Hierarchy.from_paths([("a",), ("b",)])
    batches = []
    for asked in (False, True):
        images = opening.open_images(root, FILES, options(stream=asked))
        splits = Splits(
            "x",
            tree,
            FILES,
            np.arange(9) % 2,
            images.sizes,
            images.pixels,
            range(6),
            [],
            range(6, 9),
        )
        batches.append(list(Batches(splits, splits.train, 4, shuffle_seed=3)))
    for cached, streamed in zip(*batches, strict=True):
        assert all(a.equal(b) for a, b in zip(cached, streamed, strict=True))


def test_what_does_not_fit_is_streamed(root, monkeypatch):
    assert isinstance(opening.open_images(root, FILES, options()).pixels, np.memmap)
    monkeypatch.setattr(opening, "CACHE_LIMIT", 9 * 8 * 8 * 3 - 1)
    images = opening.open_images(root, FILES, options())
    assert isinstance(images.pixels, Stream) and "--no-stream" in images.notes[0]
    assert isinstance(opening.open_images(root, FILES, options(stream=False)).pixels, np.memmap)
    assert isinstance(opening.open_images(root, FILES, options(gray=True)).pixels, np.memmap)
    with pytest.raises(ValueError, match="give --resize"):
        opening.open_images(root, FILES, options(stream=True, resize=0))


def test_sizes_come_from_the_heads_of_the_files(root):
    sizes = read_headers(root, FILES).sizes
    np.testing.assert_array_equal(sizes, build_cache(root, FILES, Reading(resize=8)).sizes)
    assert sizes.dtype == np.float32 and sizes[2].tolist() == [26, 16]


@pytest.mark.parametrize(
    "flag, expected", [(1, (30, 10)), (3, (30, 10)), (6, (10, 30)), (8, (10, 30))]
)
@pytest.mark.parametrize("kind", ["jpg", "png", "tif", "webp"])
def test_sizes_are_those_after_the_rotation_flag(tmp_path, kind, flag, expected):
    image = Image.new("RGB", (30, 10))
    exif = image.getexif()
    exif[274] = flag
    image.save(tmp_path / f"x.{kind}", exif=exif)
    assert read_head(tmp_path / f"x.{kind}").size == expected
    assert build_cache(tmp_path, [f"x.{kind}"], Reading(resize=8)).sizes.tolist() == [
        list(expected)
    ]


def test_sizes_are_read_once_and_again_when_a_file_changes(root, monkeypatch):
    first = read_headers(root, FILES)
    draw(root / "1.png", (50, 60), seed=5)
    assert read_headers(root, FILES).sizes[1].tolist() == [50, 60]
    monkeypatch.setattr(headers, "read_head", None)
    np.testing.assert_array_equal(read_headers(root, FILES).sizes[2:], first.sizes[2:])


def test_two_collections_that_look_the_same_do_not_share_their_sizes(tmp_path):
    for name, size in (("one", (10, 20)), ("two", (20, 10))):
        draw(tmp_path / name / "a.bmp", size, mode="P")  # one byte a pixel, rows without padding
        (tmp_path / name / "a.bmp").write_bytes(
            (tmp_path / name / "a.bmp").read_bytes().ljust(3000, b"\0")
        )
        os.utime(tmp_path / name / "a.bmp", (1e9, 1e9))
        found = read_headers(tmp_path / name, ["a.bmp"], cache_dir=tmp_path / "cache")
        assert found.sizes.tolist() == [list(size)] and found.kept


def test_an_image_beyond_pillows_limit_is_called_too_large(tmp_path, monkeypatch):
    draw(tmp_path / "big.png", (40, 40))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 600)
    with pytest.raises(ValueError, match="too large: .*1600 pixels.*scale it down"):
        read_head(tmp_path / "big.png")


def test_sizes_that_cannot_be_kept_are_a_note(root):
    (root / ".taxonomy_cache").write_text("in the way")
    images = opening.open_images(root, FILES, options(stream=True))
    assert any("read again next time" in note and "--cache_dir" in note for note in images.notes)
    assert not list(root.glob("*.npz"))


def test_damaged_size_files_are_written_anew(root, tmp_path):
    read_headers(root, FILES, cache_dir=tmp_path / "kept")
    (stored,) = (tmp_path / "kept").glob("sizes-*.npz")
    for content in (b"", b"PK\x03\x04 damaged", stored.read_bytes()[:-40]):
        stored.write_bytes(content)
        assert read_headers(root, FILES, cache_dir=tmp_path / "kept").sizes[2].tolist() == [26, 16]


def test_files_that_are_no_images_stop_the_reading_or_are_named(root):
    (root / "3.png").write_bytes(b"")
    (root / "5.png").write_text("no image")
    with pytest.raises(
        ValueError,
        match="(?s)2 images cannot be read.*--skip_bad_images.*3.png: the file is empty.*5.png:"
        " this is not an image",
    ):
        opening.open_images(root, FILES, options(stream=True))
    for _ in range(2):  # read, then kept
        images = opening.open_images(root, FILES, options(stream=True, skip_bad_images=True))
        assert (
            images.kept.tolist() == [0, 1, 2, 4, 6, 7, 8]
            and len(images.pixels) == len(images.sizes) == 7
        )
        assert "2 images were left out as not readable: 3.png, 5.png" in images.notes
    np.testing.assert_array_equal(
        images.pixels[3], build_cache(root, ["4.gif"], Reading(resize=8)).pixels[0]
    )


def test_without_any_image_there_is_no_dataset(root):
    for file in FILES:
        (root / file).write_bytes(b"")
    with pytest.raises(ValueError, match="9 images cannot be read"):
        opening.open_images(root, FILES, options(stream=True, skip_bad_images=True))


@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize("streamed", [False, True])
def test_upscaled_images_are_the_resized_ones_enlarged(root, gray, streamed):
    small = opening.open_images(root, FILES, options(gray=gray, stream=streamed)).pixels
    large = opening.open_images(root, FILES, options(gray=gray, stream=streamed, upscale=20)).pixels
    assert large.shape == (9, 20, 20, 1 if gray else 3) and large[[1, 2]].dtype == np.uint8
    for row in range(9):
        image = Image.fromarray(small[row].squeeze()).resize((20, 20), Image.Resampling.BILINEAR)
        np.testing.assert_allclose(
            large[row].squeeze().astype(int), np.asarray(image).astype(int), atol=2
        )


def test_upscaling_to_nothing_is_refused():
    with pytest.raises(ValueError, match="upscale must be 1 pixel or more, got -3"):
        Upscaled(np.zeros((2, 4, 4, 3), np.uint8), -3)


def test_streams_take_any_kind_of_path(root):
    assert (
        Stream(str(root), FILES, Reading(resize=4))[0].shape
        == Stream(Path(root), FILES, Reading(resize=4))[0].shape
        == (4, 4, 3)
    )


def test_streamed_images_of_sixteen_bits_are_noted_with_the_range_that_would_hold_them(tmp_path):
    for number in range(3):
        deep = np.full((8, 8), 4000 - number, np.uint16)
        Image.fromarray(deep).save(tmp_path / f"{number}.tif")
    draw(tmp_path / "3.png", (8, 8))
    files = [f"{number}.tif" for number in range(3)] + ["3.png"]
    images = opening.open_images(tmp_path, files, options(stream=True))
    assert any("3 images of 16 bits a channel, 0 in colour" in n for n in images.notes)
    assert any("--grey_range 4095 would make 4095 white" in note for note in images.notes)
    assert images.pixels[0].max() == 16
    images = opening.open_images(tmp_path, files, options(stream=True, grey_range=4000))
    assert images.pixels[0].min() == 255
    assert not any("dark" in note for note in images.notes)
