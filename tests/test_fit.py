"""Images of other proportions than the square: stretched, padded or cropped, cut to their boxes; in
the cache, streamed, in training and in predicting alike.
"""

import csv
import json

import numpy as np
import pytest
from images import draw, make_learnable_folder
from PIL import Image
from recorded import run_main
from trained import train_small

import data
import predict
from data.boxes import read_boxes, with_margin
from data.cache import build_cache
from data.decoding import read_image
from data.reading import Reading
from data.stream import Stream
from evaluation import images
from evaluation.images import image_folder, open_image
from hierarchies.rows import Row, Table
from runs.files import RunError


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)
    return path


def test_pad_keeps_proportions_and_fills_with_the_colour_of_the_edge(tmp_path):
    picture = np.full((4, 8), 200)
    picture[1:3, 2:6] = 10  # an object in the middle, and one pixel of it on the edge
    picture[0, 4] = 10
    path = save(tmp_path / "a.png", picture)
    found = read_image(path, Reading(resize=8, gray=True, fit="pad"))
    assert found.pixels.shape == (8, 8, 1) and found.size == (8, 4)
    np.testing.assert_array_equal(found.pixels[2:6, :, 0], picture)
    assert (found.pixels[[0, 1, 6, 7]] == 200).all()
    tall = read_image(save(tmp_path / "b.png", picture.T), Reading(resize=8, gray=True, fit="pad"))
    np.testing.assert_array_equal(tall.pixels[:, :, 0], found.pixels[:, :, 0].T)


def test_crop_takes_the_middle_and_stretch_all(tmp_path):
    picture = np.tile(np.arange(8) * 30, (4, 1))
    path = save(tmp_path / "a.png", picture)
    found = read_image(path, Reading(resize=4, gray=True, fit="crop"))
    np.testing.assert_array_equal(found.pixels[:, :, 0], picture[:, 2:6])
    stretched = read_image(path, Reading(resize=4, gray=True))
    assert stretched.pixels[0, 0, 0] < 30 and stretched.pixels[0, 3, 0] > 180


@pytest.mark.parametrize("size", [(20, 20), (1, 300), (301, 2), (7, 5)])
@pytest.mark.parametrize("fit", ["stretch", "pad", "crop"])
def test_every_size_becomes_the_square(tmp_path, size, fit):
    draw(tmp_path / "a.png", size)
    found = read_image(tmp_path / "a.png", Reading(resize=16, fit=fit))
    assert found.pixels.shape == (16, 16, 3) and found.size == size
    if size == (20, 20):  # of a square all are the same
        np.testing.assert_array_equal(
            found.pixels, read_image(tmp_path / "a.png", Reading(resize=16)).pixels
        )


def test_margins_are_shares_of_the_sides_and_end_at_the_image(tmp_path):
    assert with_margin([(10, 20, 40, 10)], 0.1) == [(6, 19, 48, 12)]
    assert with_margin([(0.5, 0, 2.2, 3)], 0) == [(0, 0, 3, 3)]
    picture = np.arange(48).reshape(6, 8)
    path = save(tmp_path / "a.png", picture)
    (box,) = with_margin([(6, 4, 2, 2)], 0.5)  # 5 to 9 of 8, 3 to 7 of 6
    np.testing.assert_array_equal(
        read_image(path, Reading(gray=True), box).pixels[:, :, 0], picture[3:, 5:]
    )


@pytest.mark.parametrize(
    "titles, cells, box",
    [
        (["bbox_x", "bbox_y", "bbox_width", "bbox_height"], ["1", "2", "3,5", "4"], (1, 2, 3.5, 4)),
        (["xmin", "ymin", "xmax", "ymax"], ["1", "2", "5", "4"], (1, 2, 4, 2)),
        (["Left", "Top", "Right", "Bottom"], ["1", "2", "5", "4"], (1, 2, 4, 2)),
    ],
)
def test_boxes_are_known_by_their_titles(titles, cells, box):
    header = ["file", *titles]
    found, note = read_boxes(Table("t.csv", header, [Row(2, ["a", *cells])]))
    assert found == [box] and titles[0] in note
    for wrong in (["", "", "", ""], ["1", "1", "0", "3"], ["x", "1", "1", "1"]):
        with pytest.raises(ValueError, match="t.csv, line 7: .* which is not a box"):
            read_boxes(Table("t.csv", header, [Row(7, ["a", *wrong])]))


def test_commas_in_boxes_that_may_part_thousands_are_refused():
    header = ["file", "x", "y", "w", "h"]
    for cells, width in (
        (["1", "1", "1,234", "12,345"], None),
        (["1", "1", "1,234", "2,5"], 1.234),
    ):
        table = Table("t.csv", header, [Row(2, ["a", *cells])])
        if width is None:
            with pytest.raises(ValueError, match="t.csv: the comma of '1,234'.* decimals behind"):
                read_boxes(table)
        else:
            assert read_boxes(table)[0][0][2] == width


def test_boxes_of_other_titles_are_named():
    table = Table("t.csv", ["file", "a", "b", "c", "d"], [Row(2, ["f", "1", "2", "3", "4"])])
    assert read_boxes(table, ["a", "b", "c", "d"])[0] == [(1, 2, 3, 4)]
    with pytest.raises(ValueError, match="name them with --box_columns"):
        read_boxes(table)
    with pytest.raises(ValueError, match="--box_columns takes four columns"):
        read_boxes(table, ["a", "b", "c", "z"])


@pytest.mark.parametrize(
    "named, box",
    [
        (["b_xmin", "b_ymin", "b_xmax", "b_ymax"], (1, 2, 2, 3)),
        (["x1", "y1", "x2", "y2"], (1, 2, 2, 3)),
        (["x0", "y0", "x1", "y1"], (1, 2, 2, 3)),
        (["xtl", "ytl", "xbr", "ybr"], (1, 2, 2, 3)),
        (["x1", "y1", "w1", "h1"], (1, 2, 3, 5)),
        (["obj_x", "obj_y", "obj_w", "obj_h"], (1, 2, 3, 5)),
        (["x1", "x2", "y1", "y2"], "left, top, right, bottom, in this order, and not 'x1', 'x2'"),
        (["x_center", "y_center", "w", "h"], "called like those of a middle: subtract half"),
        (["cx", "cy", "w", "h"], "called like those of a middle"),
    ],
)
def test_boxes_are_what_the_columns_that_are_named_are_called(named, box):
    table = Table("t.csv", ["file", *named], [Row(2, ["f", "1", "2", "3", "5"])])
    if isinstance(box, str):
        with pytest.raises(ValueError, match=box):
            read_boxes(table, named)
    else:
        found, note = read_boxes(table, named)
        assert found == [box] and note.endswith("bottom") == (box[2] == 2)


CLASSES = ("Animals/Copepods", "Animals/Worms", "Plants")


@pytest.fixture(scope="module")
def boxed(tmp_path_factory):
    """Images of three classes; a table with boxes and the same as a COCO file."""
    root = make_learnable_folder(tmp_path_factory.mktemp("boxed"), CLASSES, 6)
    files = sorted(str(path.relative_to(root)) for path in root.rglob("*.png"))
    rows = [["file", "kingdom", "label", "bbox_x", "bbox_y", "bbox_w", "bbox_h"]]
    images, annotations = [], []
    for i, file in enumerate(files):
        folders, box = file.split("/")[:-1], [2, 1, 12, 6 + i % 3]
        kingdom = folders[0] if len(folders) > 1 else ""
        rows.append([file, kingdom, folders[-1], *box])
        images.append({"id": i, "file_name": file})
        annotations.append({"image_id": i, "category_id": len(folders[-1]), "bbox": box})
    table = root.parent / f"{root.name}.csv"
    with open(table, "w", newline="") as file:
        csv.writer(file).writerows(rows)
    categories = [
        {"id": 8, "name": "Copepods", "kingdom": "Animals"},
        {"id": 5, "name": "Worms", "kingdom": "Animals"},
        {"id": 6, "name": "Plants", "kingdom": ""},
    ]
    coco = root.parent / f"{root.name}.json"
    coco.write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    return root, table, coco


def load(boxed, tmp_path, table=None, **options):
    root = boxed[0]
    options = {"table": str(table or boxed[1]), "resize": 16, "gray": True, **options}
    return data.load(
        {"dataset": "folder", "data_dir": str(root), "cache_dir": str(tmp_path), **options}
    )


def test_images_are_cut_to_their_boxes_in_the_cache_and_streamed(boxed, tmp_path):
    whole = load(boxed, tmp_path)
    cut = load(boxed, tmp_path, crop_box=0.0, fit="pad")
    first = read_image(
        boxed[0] / cut.files[0], Reading(resize=16, gray=True, fit="pad"), (2, 1, 12, 6)
    )
    np.testing.assert_array_equal(cut.pixels[0], first.pixels)
    np.testing.assert_array_equal(cut.sizes, whole.sizes)  # for --size_inform
    assert not (cut.pixels[0] == whole.pixels[0]).all()
    for other in (
        load(boxed, tmp_path, table=boxed[2], crop_box=0.0, fit="pad"),
        load(boxed, tmp_path, crop_box=0.0, fit="pad", stream=True),
    ):
        np.testing.assert_array_equal(other.pixels[:], cut.pixels[:])
        assert other.digest == cut.digest
    wider = load(boxed, tmp_path, crop_box=0.25)
    assert not (wider.pixels[:] == load(boxed, tmp_path, crop_box=0.0).pixels[:]).all()


def test_two_objects_in_one_image_are_refused_with_their_lines(boxed, tmp_path):
    lines = boxed[1].read_text().splitlines()
    table = tmp_path / "two.csv"
    table.write_text("\n".join([*lines, lines[3].rpartition(",")[0] + ",9"]) + "\n")
    with pytest.raises(ValueError, match="line 20: .* is cut to '2 1 12 9', but cut .* in line 4"):
        load(boxed, tmp_path, table=table, crop_box=0.0)
    assert len(load(boxed, tmp_path, table=table).files) == 18  # whole images are the same


def test_the_cache_tells_fits_apart(boxed, tmp_path):
    root = boxed[0]
    files = sorted(str(path.relative_to(root)) for path in root.rglob("*.png"))
    readings = [Reading(resize=16, gray=True, fit=fit) for fit in ("stretch", "pad", "crop")]
    caches = [build_cache(root, files, reading, cache_dir=tmp_path) for reading in readings]
    folders = [cache.folder for cache in caches]
    assert len(set(folders)) == 3
    stream = Stream(root, files, Reading(resize=16, gray=True, fit="crop"))
    np.testing.assert_array_equal(stream[:], caches[2].pixels[:])


def test_a_run_on_boxes_predicts_what_it_measured_from_a_table(boxed, tmp_path, capsys):
    root, table, _ = boxed
    flags = ["--table", str(table), "--gray", "--crop_box", "0.1", "--fit", "pad"]
    flags += ["--cache_dir", str(tmp_path / "cache"), "--method", "softmax", "--epochs", "0"]
    status, run = train_small(root, tmp_path / "record", *flags)
    assert status == 0 and run.options["fit"] == "pad" and run.options["crop_box"] == 0.1
    out, vectors = tmp_path / "answers.csv", tmp_path / "vectors.npz"
    argv = [str(run.folder), str(root), "--table", str(table), "--out", str(out), "--GPU", "cpu"]
    status, said, _ = run_main(
        predict.main, capsys, *argv, "--embeddings", vectors, "--rule", "argmax"
    )
    assert status == 0 and "cut to their bounding boxes" not in said
    found, test = np.load(vectors), run.arrays("test")
    place = {file: i for i, file in enumerate(found["files"].tolist())}
    rows = [place[str(root / file)] for file in test["files"].tolist()]
    np.testing.assert_allclose(found["scores"][rows], test["scores"], rtol=1e-4, atol=1e-4)
    argv = [str(run.folder), str(root), "--out", str(out), "--GPU", "cpu", "--rule", "argmax"]
    status, said, _ = run_main(predict.main, capsys, *argv)
    assert status == 0 and "or a table with boxes (--table)" in said
    _check_pictures(run, root)


def _check_pictures(run, root):
    """What reports show of a run on boxes is what it saw, whoever says where the images are."""
    rows = run.split.set_index("file")["box"]
    file = rows.index[0]
    assert rows[file] == "0 0 16 8"  # 2 1 12 6 with a tenth of its sides around it, in whole pixels
    cut = read_image(root / file, Reading(gray=True, fit="pad"), (0, 0, 16, 8)).pixels[:, :, 0]
    for given in (None, str(root)):
        np.testing.assert_array_equal(open_image(file, image_folder(run, given)), cut)
    with pytest.raises(RunError, match="split.csv is damaged: '1 2 3' is not a box"):
        images._boxes(run, run.split.assign(box="1 2 3"))


def test_fits_and_boxes_without_what_they_need_are_refused(boxed, tmp_path, capsys):
    for flags, message in (
        (["--fit", "pad", "--resize", "0"], "--fit has no meaning here: it needs --resize"),
        (["--crop_box", "0.1"], "--crop_box has no meaning here: it needs --table"),
        (["--table", "t.csv", "--box_columns", "a"], "it needs --crop_box MARGIN"),
    ):
        with pytest.raises(SystemExit):
            train_small(boxed[0], tmp_path, "--method", "DR", *flags)
        assert message in capsys.readouterr().err
