"""TinyImageNet in the layout of its archive: images, splits, tree, download, and what is
refused.
"""

import numpy as np
import pytest
from filed_images import image_bytes, put, shipped_wnids, write_tinyimagenet, zipped
from PIL import Image

import data
import train_tinyimagenet
from data import tinyimagenet
from evaluation.images import image_folder, open_image
from options import command_line
from runs.folder import Run

WNIDS = ["n01443537", "n01629819", "n02123045"]
TREE = f"whole/animal/fish/{WNIDS[0]}\nwhole/cat/{WNIDS[2]}\nwhole/animal/{WNIDS[1]}\nthing/{{}}\n"
LAST = "n09999999"


@pytest.fixture
def folder(tmp_path):
    put(tmp_path / "tree.txt", TREE.format(LAST))
    return write_tinyimagenet(tmp_path, [*WNIDS, LAST])


def load(folder, **options):
    named = {"hierarchy": folder.parent / "tree.txt", **options}
    return data.load(
        {
            "dataset": "TinyImageNet",
            "data_dir": folder,
            "cache_dir": folder.parent / "cache",
            **named,
        }
    )


def counts(splits, name):
    return np.bincount(splits.labels[getattr(splits, name)], minlength=splits.num_classes).tolist()


def test_train_is_for_training_and_the_official_val_for_testing(folder):
    splits = load(folder)
    assert (counts(splits, "train"), counts(splits, "val"), counts(splits, "test")) == (
        [10] * 4,
        [0] * 4,
        [2] * 4,
    )
    assert all(splits.files[i].startswith("val/images/") for i in splits.test)
    row = splits.files.index("val/images/val_6.JPEG")  # classes take turns in the annotations
    assert splits.hierarchy.class_paths[splits.labels[row]][-1] == WNIDS[2]
    row = splits.files.index(f"train/{LAST}/images/{LAST}_4.JPEG")
    np.testing.assert_array_equal(
        splits.pixels[row], np.asarray(Image.open(folder / splits.files[row]))
    )
    assert not any(file.startswith("test/") for file in splits.files) and splits.notes == ()


def test_classes_are_the_sorted_wnids_whatever_the_order_of_the_tree_file(folder):
    splits = load(folder)
    assert splits.hierarchy.class_paths == (
        ("whole", "animal", "fish", WNIDS[0]),
        ("whole", "animal", WNIDS[1]),
        ("whole", "cat", WNIDS[2]),
        ("thing", LAST),
    )
    collapsed = load(folder, collapse=True)
    assert (splits.hierarchy.num_nodes, collapsed.hierarchy.num_nodes) == (10, 7)
    assert collapsed.hierarchy.class_paths[2] == ("whole", f"cat/{WNIDS[2]}")
    np.testing.assert_array_equal(splits.labels, collapsed.labels)


def test_images_keep_64_pixels_and_grey_ones_become_colour(folder):
    splits = load(folder)
    grey = splits.files.index(f"train/{WNIDS[0]}/images/{WNIDS[0]}_1.JPEG")
    assert Image.open(folder / splits.files[grey]).mode == "L"
    assert splits.pixels.shape == (48, 64, 64, 3) and (splits.sizes == 64).all()
    assert (splits.pixels[grey] == splits.pixels[grey][..., :1]).all()
    assert load(folder, resize=16, upscale=32).image_size == (32, 32)


def test_all_200_classes_get_the_shipped_tree_and_the_names_of_its_synsets(tmp_path):
    wnids = shipped_wnids("tinyimagenet")
    folder = write_tinyimagenet(tmp_path, wnids, train=1, val=1)
    splits = load(folder, hierarchy=None)
    assert [path[-1] for path in splits.hierarchy.class_paths] == wnids == sorted(wnids)
    assert (splits.num_classes, splits.hierarchy.num_nodes, splits.hierarchy.max_depth) == (
        200,
        518,
        16,
    )
    assert splits.hierarchy.class_names[wnids.index("n02123045")] == "tabby"
    assert load(folder, hierarchy=None, collapse=True).hierarchy.num_nodes == 295


def test_the_folder_or_the_one_above_may_be_named(folder):
    above = {
        "data_dir": folder.parent,
        "hierarchy": folder.parent / "tree.txt",
        "cache_dir": folder.parent / "cache",
    }
    assert data.load({"dataset": "TinyImageNet", **above}).digest == load(folder).digest


def test_the_images_of_a_run_are_found_in_the_folder_below_the_one_named(folder, tmp_path):
    named = ["--data_dir", str(folder.parent), "--hierarchy", str(tmp_path / "tree.txt")]
    small = [
        "--rand_backbone",
        "--backbone",
        "conv4",
        "--epochs",
        "0",
        "--resize",
        "16",
        "--GPU",
        "cpu",
    ]
    command = [*named, *small, "--method", "softmax", "--record", str(tmp_path / "record")]
    assert train_tinyimagenet.main("", train_tinyimagenet.DATASETS, command) == 0
    run = Run(next(tmp_path.glob("record/*/*/seed*")))
    file = run.split["file"][0]
    for given in (None, str(folder.parent), str(folder)):
        assert open_image(file, image_folder(run, given)).shape[:2] == (64, 64)


def test_a_tenth_of_every_class_of_train_validates(folder):
    splits = load(folder, use_val=True)
    assert (counts(splits, "train"), counts(splits, "val"), counts(splits, "test")) == (
        [9] * 4,
        [1] * 4,
        [2] * 4,
    )
    np.testing.assert_array_equal(splits.test, load(folder).test)


def test_only_the_split_seed_moves_the_validation_images(folder):
    first, other, moved = (
        load(folder, use_val=True, **seed) for seed in ({"seed": 1}, {"seed": 2}, {"split_seed": 7})
    )
    assert first.digest == other.digest != moved.digest


def test_too_few_images_to_hold_some_out_are_refused(tmp_path):
    put(tmp_path / "tree.txt", "\n".join(["a/" + WNIDS[0], "b/" + WNIDS[1]]))
    folder = write_tinyimagenet(tmp_path, WNIDS[:2], train=4)
    with pytest.raises(ValueError, match="8 training images are too few .*--use_val"):
        load(folder, use_val=True)


def test_a_reduction_beyond_the_classes_empties_some_and_says_so(folder):
    splits = load(folder, reduction_factor=20)  # 40 / 20 = 2 images, 4 classes
    assert sorted(counts(splits, "train")) == [0, 0, 1, 1] and counts(splits, "test") == [2] * 4
    assert any(
        "2 of 40 training images are kept" in note and "without any: 2 classes" in note
        for note in splits.notes
    )
    assert any(note.startswith("2 of 4 classes have no train image") for note in splits.notes)
    with pytest.raises(ValueError, match=r"reduction_factor must lie in \[1, 40\]"):
        load(folder, reduction_factor=41)


def test_a_reduction_is_stratified_or_a_plain_draw(folder):
    assert counts(load(folder, reduction_factor=2), "train") == [5] * 4
    drawn = [
        counts(load(folder, reduction_factor=2, subset="published", subset_seed=seed), "train")
        for seed in range(4)
    ]
    assert all(sum(plain) == 20 for plain in drawn) and any(plain != [5] * 4 for plain in drawn)
    with pytest.raises(ValueError, match="subset must be 'stratified' or 'published', got 'half'"):
        load(folder, reduction_factor=2, subset="half")


def test_every_malformed_annotation_is_named_with_its_line(folder):
    lines = (folder / "val/val_annotations.txt").read_text().splitlines()
    lines[0] = lines[0].replace("\t", " ")
    lines[2] = lines[2].rpartition("\t")[0]
    lines[3] = lines[3].replace("62", "sixty")
    lines[4] = lines[4].replace(WNIDS[0], "n00000000")
    lines[5] = lines[5].replace("val_5", "../val_5")
    lines[7] = lines[6]
    put(folder / "val/val_annotations.txt", "\r\n".join(lines))
    with pytest.raises(ValueError) as caught:
        load(folder)
    message = str(caught.value)
    reasons = {
        1: "expected a file, a wnid",
        3: "expected",
        4: "expected",
        5: "'n00000000' is not a folder of train",
        6: "there is no image '../val_5.JPEG'",
        8: "'val_6.JPEG' has come before",
    }
    for number, reason in reasons.items():
        assert f"line {number}: {reason}" in message, message
    assert "line 2:" not in message and "line 7:" not in message


def test_many_malformed_annotations_are_counted(folder):
    put(folder / "val/val_annotations.txt", "nothing\n" * 25)
    with pytest.raises(ValueError, match="(?s)line 20: .*and 5 more"):
        load(folder)


def test_an_image_without_annotation_is_named(folder):
    put(folder / "val/images/val_99.JPEG", image_bytes(5))
    with pytest.raises(
        ValueError, match="no line for 1 images of val/images, such as 'val_99.JPEG'"
    ):
        load(folder)


@pytest.mark.parametrize("missing", ["train", "val/images", "val/val_annotations.txt"])
def test_a_missing_part_is_named(folder, missing):
    (folder / missing).rename(folder.parent / "away")
    with pytest.raises(
        ValueError, match="train.*--download" if missing == "train" else f"{missing} is missing"
    ):
        load(folder)


def test_images_beside_the_folder_images_are_refused(folder):
    put(folder / f"train/{WNIDS[0]}/stray.JPEG", image_bytes(7))
    with pytest.raises(
        ValueError, match=f"train/{WNIDS[0]} holds images; expected .*/train/<wnid>/images/<image>"
    ):
        load(folder)


def test_files_that_are_no_images_are_named_but_for_the_boxes(folder):
    put(folder / f"train/{WNIDS[0]}/images/readme.md", "words")
    (note,) = load(folder).notes
    assert (
        "1 file below train left out, not images" in note and f"{WNIDS[0]}/images/readme.md" in note
    )


def test_a_list_of_other_wnids_is_refused(folder):
    put(folder / "wnids.txt", "\n".join([*WNIDS, "n00000001"]))
    with pytest.raises(
        ValueError,
        match="wnids.txt lists 4 classes, train has 4: 'n00000001' has no folder in train",
    ):
        load(folder)
    put(folder / "wnids.txt", "\n".join(WNIDS))
    with pytest.raises(ValueError, match=f"'{LAST}' is a folder of train only"):
        load(folder)
    (folder / "wnids.txt").unlink()
    assert load(folder).num_classes == 4


def test_a_tree_and_images_of_different_classes_are_refused(folder):
    put(folder.parent / "tree.txt", TREE.format("n00000002"))
    with pytest.raises(
        ValueError, match=f"only in the hierarchy: 'n00000002'; only in .*: '{LAST}'"
    ):
        load(folder)
    with pytest.raises(
        ValueError, match=rf"only in the hierarchy: .* and 194 more; only in .*: '{LAST}'"
    ):
        load(folder, hierarchy=None)


def test_a_malformed_tree_file_is_named_with_its_line(folder):
    put(
        folder.parent / "tree.edges",
        f"{WNIDS[0]} fish\n{WNIDS[1]} fish\nfish root\n{WNIDS[0]} root\n",
    )
    with pytest.raises(ValueError, match=f"tree.edges, line 4: '{WNIDS[0]}' has a second parent"):
        load(folder, hierarchy=folder.parent / "tree.edges")


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(NotADirectoryError, match="nowhere"):
        data.load({"dataset": "TinyImageNet", "data_dir": tmp_path / "nowhere"})


def test_the_archive_is_downloaded_unpacked_and_removed(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(
        tinyimagenet, "URL", put(tmp_path / "away" / "served.zip", zipped(folder)).as_uri()
    )
    target = tmp_path / "new" / "place"
    fetched = load(folder, data_dir=target, download=True)
    assert fetched.digest == load(folder).digest
    assert [path.name for path in target.iterdir()] == ["tiny-imagenet-200"]
    monkeypatch.setattr(tinyimagenet, "URL", "http://127.0.0.1:9/")
    assert load(folder, data_dir=target, download=True).digest == fetched.digest


def test_an_archive_that_lies_there_is_used_and_kept(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(tinyimagenet, "URL", "http://127.0.0.1:9/")
    put(tmp_path / "new" / "tiny-imagenet-200.zip", zipped(folder))
    assert load(folder, data_dir=tmp_path / "new", download=True).digest == load(folder).digest
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "tiny-imagenet-200",
        "tiny-imagenet-200.zip",
    ]


def test_without_a_network_the_way_out_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(tinyimagenet, "URL", "http://127.0.0.1:9/tiny-imagenet-200.zip")
    with pytest.raises(
        ValueError, match="http://127.0.0.1:9/.* cannot be downloaded.*elsewhere.*--data_dir"
    ):
        data.load({"dataset": "TinyImageNet", "data_dir": tmp_path / "new", "download": True})
    assert list((tmp_path / "new").iterdir()) == []


def parse(*argv):
    return command_line.parse(["--method", "softmax", *argv], "test", train_tinyimagenet.DATASETS)


def test_the_script_takes_its_options_and_no_others(capsys):
    options, machine, folder = parse("--download", "--data_dir", "x")
    assert options["subset_seed"] is None and options["split"] is None
    assert (
        machine["download"]
        and folder == parse("--stream")[2] != parse("--reduction_factor", "8")[2]
    )
    for flag in (["--split", "published"], ["--exclude", "x"], ["--subset", "published"]):
        with pytest.raises(SystemExit):
            parse(*flag)
        assert f"--{flag[0].strip('-')} " in capsys.readouterr().err
