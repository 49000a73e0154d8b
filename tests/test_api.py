"""evaluation.load: what predict.py answers, for own programs."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from images import ODD_CLASSES, draw
from PIL import Image
from recorded import run_main
from trained import draw_odd_images, train_on_odd_images

import predict
from data.decoding import convert_image, read_image
from data.reading import Reading
from evaluation import load


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on grey images of five classes, with a validation split."""
    return train_on_odd_images(tmp_path_factory.mktemp("api"), ODD_CLASSES[:5])


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Images of odd sizes and kinds, and one that cannot be read."""
    root = tmp_path_factory.mktemp("new")
    draw_odd_images(root)
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera was held upright
    draw(root / "turned.jpg", (20, 9), seed=9, exif=turned)
    (root / "zz.png").write_bytes(b"no image")
    return root


def answered_by_script(capsys, run, images, out, *flags):
    status, *_ = run_main(
        predict.main, capsys, run.folder, images, "--out", out, "--GPU", "cpu", *flags
    )
    assert status == 0
    return pd.read_csv(out, keep_default_na=False, na_values=[""])


def assert_same_answers(table, expected):
    assert list(table.columns) == list(expected.columns) and len(table) == len(expected)
    for name in table.columns:
        if pd.api.types.is_numeric_dtype(expected[name]):
            values = table[name].astype(float)
            np.testing.assert_allclose(values, expected[name], rtol=1e-4, atol=1e-5, err_msg=name)
        else:
            assert table[name].fillna("").tolist() == expected[name].fillna("").tolist(), name


@pytest.mark.parametrize(
    "flags, options",
    [
        ("--rule majority", {"rule": "majority"}),
        (
            "--threshold 0.3 --topk 2 --batch_size 2 --at 1",
            {"settings": {"threshold": 0.3}, "topk": 2, "batch_size": 2, "at": 1},
        ),
    ],
)
def test_answers_are_those_of_the_script(run, images, capsys, tmp_path, flags, options):
    expected = answered_by_script(capsys, run, images, tmp_path / "t.csv", *flags.split())
    loaded = load(run.folder, GPU="cpu", **options)
    table = loaded.predict(images)
    assert_same_answers(table, expected)
    assert table["error"].notna().tolist() == 6 * [False] + [True]
    # the same images one by one, as paths, images of Pillow and arrays
    files = sorted(images.iterdir())
    pictures = [files[0], Image.open(files[1]), np.asarray(Image.open(files[2])), str(files[3])]
    pictures += [Image.open(files[4]), Image.open(files[5])]
    mixed = loaded.predict(pictures)
    assert mixed["file"].notna().tolist() == [True, False, False, True, False, False]
    assert_same_answers(mixed.drop(columns="file"), expected.drop(columns="file")[:6])
    assert_same_answers(
        loaded.predict(pictures[2]).drop(columns="file"), mixed.drop(columns="file")[2:3]
    )


def test_an_image_in_memory_is_taken_as_its_file_is(images):
    for file in sorted(images.iterdir())[:6]:
        for reading in (
            Reading(gray=True),
            Reading(resize=12, fit="pad"),
            Reading(resize=(9, 5), fit="crop"),
        ):
            read, image = read_image(file, reading), Image.open(file)
            for _ in range(2):  # it is not changed
                found = convert_image(image, reading)
                np.testing.assert_array_equal(found.pixels, read.pixels)
                assert found.size == read.size
    white = convert_image(
        Image.fromarray(np.full((2, 2), 4095, np.uint16)), Reading(grey_range=4095)
    )
    assert (white.pixels == 255).all()


def test_a_damaged_image_of_pillow_gets_a_row_that_says_so(run, tmp_path):
    draw(tmp_path / "a.png", (50, 50))
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[: len(content) // 2])
    table = load(run.folder, rule="majority", GPU="cpu").predict(Image.open(tmp_path / "a.png"))
    assert len(table) == 1 and table["error"].notna().all() and table["class"].isna().all()


@pytest.mark.parametrize(
    "image, message",
    [
        (np.zeros((4, 4)), "must be uint8"),
        (np.zeros((4, 4, 2), np.uint8), "channels"),
        (np.zeros((0, 4), np.uint8), "channels"),
        (3.0, "got float"),
        ("nowhere.png", "there is no image or folder 'nowhere.png'"),
    ],
)
def test_what_is_not_an_image_is_refused(run, image, message):
    loaded = load(run.folder, rule="majority", GPU="cpu")
    with pytest.raises(ValueError, match=message):
        loaded.predict([image])
    with pytest.raises(ValueError, match="no images"):
        loaded.predict([])


@pytest.mark.parametrize(
    "options, message",
    [
        ({"rule": "best"}, "must be one of"),
        ({"rule": "majority", "settings": {"threshold": 0.5}}, "threshold has no meaning"),
        ({"rule": "majority", "target_accuracy": 0.9}, "target_accuracy has no meaning"),
        ({"settings": {"threshold": 0.5}, "target_accuracy": 0.9}, "give one of the two"),
        ({"scores": "V"}, "W, prototypes"),
        ({"topk": 0}, "1 or more"),
        ({"cover": 0}, "cover must be 1 or more"),
        ({"target_accuracy": 1.5}, "between 0 and 1, got 1.5$"),
    ],
)
def test_what_cannot_be_asked_is_refused(run, options, message):
    with pytest.raises(ValueError, match=message):
        load(run.folder, GPU="cpu", **options)


def test_the_package_stays_cheap_to_import():
    root = Path(__file__).resolve().parents[1]
    code = "import sys, evaluation; assert not {'torch', 'pandas', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True)
