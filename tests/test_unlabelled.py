"""Finding image files without labels, and reading them in batches."""

import os
import threading
import time

import numpy as np
import pytest
from images import draw
from PIL import Image

from data import unlabelled
from data.decoding import read_image
from data.reading import Reading
from data.stream import Upscaled
from data.unlabelled import ModelInput, find_images, read_batches


@pytest.fixture
def folder(tmp_path):
    """Five images at several depths, and what is none."""
    for seed, name in enumerate(("b/2.png", "b/10.JPG", "a.tif", "b/c/d/e.webp", "b-/x.png")):
        draw(tmp_path / name, (20 + seed, 18), seed=seed)
    (tmp_path / "b" / "notes.txt").write_text("no image")
    (tmp_path / "list.csv").write_text("no image")
    (tmp_path / "b" / ".hidden.png").write_text("litter")
    (tmp_path / ".cache").mkdir()
    draw(tmp_path / ".cache" / "x.png")
    return tmp_path


def relative(found, folder):
    return [os.path.relpath(file, folder) for file in found.files]


def test_folders_are_walked_to_any_depth_in_sorted_order_and_other_files_are_counted(folder):
    found = find_images([folder])
    assert relative(found, folder) == ["a.tif", "b-/x.png", "b/10.JPG", "b/2.png", "b/c/d/e.webp"]
    assert found.others == 2


def test_paths_keep_their_order_and_every_image_comes_once(folder):
    found = find_images([folder / "b" / "2.png", folder / "b", str(folder / "a.tif")])
    assert relative(found, folder) == ["b/2.png", "b/10.JPG", "b/c/d/e.webp", "a.tif"]


def test_a_named_file_counts_whatever_its_suffix(folder):
    assert relative(find_images([folder / "list.csv"]), folder) == ["list.csv"]


def test_links_to_folders_are_followed_but_never_in_circles(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    draw(other / "far.png")
    (folder / "link").symlink_to(other)
    (folder / "b" / "up").symlink_to(folder)
    files = relative(find_images([folder]), folder)
    assert files == ["a.tif", "b-/x.png", "b/10.JPG", "b/2.png", "b/c/d/e.webp", "link/far.png"]


@pytest.mark.parametrize("what", ["nowhere", "empty"])
def test_what_is_not_there_is_named(folder, what):
    (folder / "empty").mkdir()
    (folder / "empty" / "readme.md").write_text("")
    with pytest.raises(ValueError, match=what):
        find_images([folder, folder / what] if what == "nowhere" else [folder / what])


def test_formats_that_are_not_read_are_named(tmp_path):
    (tmp_path / "phone.HEIC").write_bytes(b"x")
    with pytest.raises(
        ValueError,
        match=r"1 file \(1 .heic\), images in formats that are not read: convert them",
    ):
        find_images([tmp_path])


def test_images_that_cannot_be_read_are_found_and_hidden_ones_named(folder):
    for name in ("phone.HEIC", "b/x.nef", "b/.y.png", "list.pdf"):
        (folder / name).write_bytes(b"x")
    Image.new("RGB", (9, 9)).save(folder / "new.jfif", "JPEG")
    found = find_images([folder])
    assert {"phone.HEIC", "b/x.nef", "new.jfif"} < set(relative(found, folder))
    assert found.others == 3  # notes.txt, list.csv, list.pdf
    advice, hidden = found.notes
    assert advice.startswith("3 files (1 .heic, 1 .nef, 1 .pdf), images in formats that are not")
    assert hidden.startswith("3 hidden ones with images left out") and ".cache/" in hidden
    (batch,) = read_batches(
        [str(folder / "phone.HEIC"), found.files[0]], ModelInput(Reading(resize=4)), 5
    )
    assert "not an image that Pillow can read" in batch.errors[0] and batch.errors[1] is None


def test_a_run_s_grey_range_and_cut_photographs_are_read_as_in_training(tmp_path):
    Image.fromarray(np.full((4, 4), 4095, np.uint16)).save(tmp_path / "a.tif")
    draw(tmp_path / "whole.jpg", (64, 64))
    (tmp_path / "b.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:-2])
    files = [str(tmp_path / name) for name in ("a.tif", "b.jpg")]
    (plain,) = read_batches(files, ModelInput(Reading(resize=4)), 5)
    assert plain.pixels.max() == 16 and "truncated" in plain.errors[1]
    (batch,) = read_batches(
        files, ModelInput(Reading(resize=4, grey_range=4095, truncated_images="use")), 5
    )
    assert batch.errors == [None, None] and set(batch.pixels[0].ravel()) == {255}


def test_a_folder_that_cannot_be_listed_is_named(folder, monkeypatch):
    scandir, closed = os.scandir, str(folder / "b")

    def refuse(path):
        if str(path) == closed:
            raise PermissionError(13, "Permission denied", closed)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ValueError, match="b' cannot be listed: Permission denied"):
        find_images([folder])


@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize("batch_size", [1, 2, 5, 100])
def test_batches_hold_the_images_as_training_reads_them_in_order(folder, gray, batch_size):
    files = find_images([folder]).files
    batches = list(
        read_batches(files, ModelInput(Reading(resize=16, gray=gray)), batch_size, workers=3)
    )
    assert [file for batch in batches for file in batch.files] == files
    assert all(len(batch.files) == batch_size for batch in batches[:-1])
    expected = [read_image(file, Reading(resize=16, gray=gray)) for file in files]
    pixels, sizes = (
        np.concatenate([getattr(batch, name) for batch in batches]) for name in ("pixels", "sizes")
    )
    np.testing.assert_array_equal(pixels, [image.pixels for image in expected])
    np.testing.assert_array_equal(sizes, [image.size for image in expected])


def test_what_cannot_be_read_says_why_in_its_place(folder, monkeypatch):
    (folder / "a.tif").write_bytes(b"")
    (folder / "b" / "2.png").write_bytes((folder / "b" / "2.png").read_bytes()[:200])
    files = [*find_images([folder]).files, str(folder / "gone.png")]
    (batch,) = read_batches(files, ModelInput(Reading(resize=16)), 10)
    reasons = [reason for reason in batch.errors if reason]
    assert [reason is None for reason in batch.errors] == [False, True, True, False, True, False]
    assert reasons[0] == "the file is empty" and "No such file" in reasons[2]
    assert len(batch.pixels) == len(batch.sizes) == 3

    def break_down(*args, **options):
        raise ZeroDivisionError("in a decoder")

    monkeypatch.setattr(unlabelled, "read_image", break_down)
    (batch,) = read_batches(files, ModelInput(Reading(resize=16)), 10)
    assert set(batch.errors) == {"ZeroDivisionError: in a decoder"} and batch.pixels.shape == (
        0,
        16,
        16,
        3,
    )


@pytest.mark.parametrize("gray", [False, True])
def test_images_of_another_size_are_stretched_to_a_shape_that_is_not_square(tmp_path, gray):
    files = [str(tmp_path / "fits.png"), str(tmp_path / "large.png")]
    draw(files[0], (10, 6)), draw(files[1], (40, 40))
    (batch,) = read_batches(files, ModelInput(Reading(resize=(10, 6), gray=gray)), 2)
    assert batch.pixels.shape == (2, 6, 10, 1 if gray else 3) and batch.sizes.tolist() == [
        [10, 6],
        [40, 40],
    ]
    np.testing.assert_array_equal(batch.pixels[0], read_image(files[0], Reading(gray=gray)).pixels)
    large = (
        Image.open(files[1])
        .convert("L" if gray else "RGB")
        .resize((10, 6), Image.Resampling.BILINEAR)
    )
    np.testing.assert_array_equal(batch.pixels[1].squeeze(), np.asarray(large))


def test_images_are_enlarged_where_training_does(folder):
    files = find_images([folder]).files
    (small,), (large,) = (
        read_batches(files, ModelInput(Reading(resize=8), side), 9) for side in (0, 24)
    )
    np.testing.assert_array_equal(large.pixels, Upscaled(small.pixels, 24)[:])
    (none,) = read_batches([str(folder / "list.csv")], ModelInput(Reading(resize=8), 24), 9)
    assert len(none.pixels) == 0 and none.errors[0]


def test_at_most_one_batch_is_read_ahead(folder, monkeypatch):
    files, lock, seen = find_images([folder]).files * 20, threading.Lock(), []

    def read(file, **options):
        with lock:
            seen.append(file)
        return np.zeros((4, 4, 3), np.uint8), (4, 4), 0

    monkeypatch.setattr(unlabelled, "_read", read)
    for number, _ in enumerate(
        read_batches(files, ModelInput(Reading(resize=4)), 10, workers=4), 1
    ):
        time.sleep(0.01)
        assert 10 * number <= len(seen) <= 10 * (number + 1)
    assert number == 10 and len(seen) == 100


def test_no_thread_is_left_when_reading_stops_early(folder):
    for _ in read_batches(find_images([folder]).files * 50, ModelInput(Reading(resize=16)), 2):
        break
    assert not [thread for thread in threading.enumerate() if "image decoder" in thread.name]


def test_a_batch_needs_an_image(folder):
    with pytest.raises(ValueError, match="batch_size"):
        list(read_batches(find_images([folder]).files, ModelInput(Reading(resize=4)), 0))
