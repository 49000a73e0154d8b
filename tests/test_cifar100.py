"""CIFAR-100's files: layout, tree, splits, what is refused, and one epoch through the real command
line.
"""

import os
import pickle
import urllib.error

import numpy as np
import pytest
import torch
from cifar_files import UPPER, change, fine_names, read, write_cifar100

import data
import train_cifar100
from data.reading import Reading
from evaluation.images import image_folder, open_image
from hierarchies import read_tree
from hierarchies.distances import path_length
from options import command_line
from runs.folder import Run
from training import start

TRAIN, TEST = 1000, 100  # images of the fixture: 10 and 1 of each class


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_cifar100(tmp_path_factory.mktemp("cifar"))


@pytest.fixture
def own(tmp_path):
    """A copy that a test may damage."""
    return write_cifar100(tmp_path)


def load(folder, **options):
    return data.load({"dataset": "CIFAR100", "data_dir": str(folder), **options})


def sizes(splits):
    return len(splits.train), len(splits.val), len(splits.test)


def test_the_tree_has_four_levels_of_3_7_20_and_100_nodes(folder):
    tree = load(folder).hierarchy
    assert [len(np.unique(tree.level_table[:, level])) for level in range(4)] == [3, 7, 20, 100]
    assert (tree.num_nodes, tree.max_depth, int((tree.n_children == 1).sum())) == (131, 4, 1)
    assert tree.class_names == tuple(fine_names())
    assert all(len(path) == 4 for path in tree.class_paths)
    distances = path_length(tree)
    assert set(np.unique(distances[~np.eye(100, dtype=bool)])) == {2, 4, 6, 8}
    assert distances.sum() / (100 * 99) == pytest.approx(6.8283, abs=5e-5)


def test_enlarged_images_are_known_by_their_own_content(folder):
    plain, enlarged = load(folder), load(folder, upscale=64)
    assert enlarged.pixels.shape[1:3] == (64, 64) and plain.content == enlarged.content


def test_the_single_child_goes_when_collapsed(folder):
    tree = load(folder, collapse=True).hierarchy
    assert (tree.num_nodes, int((tree.n_children == 1).sum())) == (130, 0)


def test_another_tree_of_the_classes_takes_the_place_of_the_papers(folder, tmp_path):
    names = fine_names()
    file = tmp_path / "tree.txt"
    file.write_text(
        "".join(f"half {c // 50}/{name}\n" for c, name in reversed(list(enumerate(names))))
    )
    splits = load(folder, hierarchy=str(file))
    tree = splits.hierarchy
    assert tree.class_names == tuple(names) and tree.max_depth == 2 and tree.num_nodes == 103
    assert splits.notes == ()
    file.write_text(file.read_text().replace("/", ">"))
    assert "separated by '>'" in load(folder, hierarchy=str(file)).notes[0]
    file.write_text("half 0/class_000\nhalf 1/stranger\n")
    with pytest.raises(ValueError, match="must have the same classes.*'stranger'"):
        load(folder, hierarchy=str(file))


def test_the_tree_of_the_published_tables_has_five_levels():
    tree = read_tree(UPPER.with_name("cifar100_5levels.txt")).hierarchy
    assert [len(set(level)) for level in tree.level_table.T.tolist()] == [2, 4, 8, 20, 100]
    assert (tree.depth[tree.leaves] == 5).all()
    single = tree.n_children == 1
    assert single.sum() == 4  # groups 1 and 2, quarters 2 and 3
    upper = {path[3]: path[:3] for path in tree.class_paths}
    assert upper["people"] == ("half 0", "quarter 0", "group 3")
    assert upper["large_man-made_outdoor_things"] == ("half 1", "quarter 1", "group 1")
    assert upper["fish"] == ("half 0", "quarter 0", "group 6")


def test_the_folder_itself_or_the_one_above_may_be_named(folder):
    assert load(folder).digest == load(folder.parent).digest


def test_images_labels_and_the_official_test_set_are_those_of_the_files(folder):
    splits, content = load(folder), read(folder / "test")
    np.testing.assert_array_equal(splits.test, np.arange(TRAIN, TRAIN + TEST))
    np.testing.assert_array_equal(splits.pixels[TRAIN, :, :, 2].ravel(), content["data"][0, 2048:])
    assert (
        splits.files[TRAIN + 1] == "test/00001_class_001_s_000001.png"
        and splits.labels[TRAIN + 1] == 1
    )
    assert sizes(splits) == (TRAIN, 0, TEST) and set(splits.sizes.ravel()) == {32}


@pytest.mark.parametrize("split", ["stratified", "published"])
def test_a_tenth_of_the_training_images_validates(folder, split):
    splits = load(folder, use_val=True, split=split)
    assert sizes(splits) == (900, 100, TEST) and splits.test.min() == TRAIN
    spread = np.bincount(splits.labels[splits.val], minlength=100)
    assert (set(spread) == {1}) == (split == "stratified")


@pytest.mark.parametrize("split", ["stratified", "published"])
def test_the_small_set_trains_on_a_tenth(folder, split):
    assert sizes(load(folder, use_val=True, small=True, split=split)) == (100, 900, TEST)
    assert sizes(load(folder, small=True, split=split)) == (100, 0, TEST)


def test_the_published_split_is_torchs_random_split(folder):
    parts = torch.utils.data.random_split(
        range(TRAIN), [900, 100], torch.Generator().manual_seed(4)
    )
    np.testing.assert_array_equal(
        load(folder, use_val=True, split="published", seed=4).val, sorted(parts[1])
    )


def test_runs_of_all_seeds_share_the_stratified_split_unless_it_gets_a_seed(folder):
    digests = [
        load(folder, use_val=True, **options).digest
        for options in ({"seed": 1}, {"seed": 2}, {"split_seed": 2})
    ]
    assert digests[0] == digests[1] != digests[2]


def test_images_are_resized_and_turned_grey_on_request(folder):
    assert load(folder, resize=16).pixels.shape == (TRAIN + TEST, 16, 16, 3)
    gray = load(folder, gray=True).pixels
    first = load(folder).pixels[0].astype(float)
    np.testing.assert_allclose(gray[0, :, :, 0], first @ [0.2989, 0.587, 0.114], atol=1.01)


@pytest.mark.parametrize(
    "name, changes, reason",
    [
        ("train", {"coarse_labels": None}, "train.*coarse_labels"),
        ("train", {"data": np.zeros((TRAIN, 12), np.uint8)}, "train.*3072"),
        ("train", {"data": np.zeros((TRAIN, 3072), np.int64)}, "train.*uint8"),
        ("test", {"fine_labels": [0]}, "test.*differ in length"),
        ("train", {"fine_labels": [100] * TRAIN}, "is 100, but meta names 100"),
        ("train", {"fine_labels": [-1] * TRAIN}, "is -1, but meta names 100"),
        ("train", {"coarse_labels": [1] * TRAIN}, "two coarse labels"),
        ("meta", {"coarse_label_names": [f"s{i}" for i in range(20)]}, "superclass 's0'"),
        ("meta", {"fine_label_names": ["same"] * 100}, "meta.*fine_label_names"),
        ("meta", {"fine_label_names": [["a"]]}, "meta.*fine_label_names"),
        (
            "meta",
            {"fine_label_names": [f"class_{i:03d}" for i in range(101)]},
            "class_100.*no image",
        ),
    ],
)
def test_files_that_disagree_are_named(own, name, changes, reason):
    change(own / name, **changes)
    with pytest.raises(ValueError, match=reason):
        load(own)


def test_missing_truncated_and_dangerous_files_are_named(own):
    (own / "test").rename(own / "away")
    with pytest.raises(ValueError, match="test is missing"):
        load(own)
    (own / "test").write_bytes((own / "away").read_bytes()[:-100])
    with pytest.raises(ValueError, match="test is not a readable"):
        load(own)
    (own / "test").write_bytes(pickle.dumps({"data": os.system}))
    with pytest.raises(ValueError, match=r"test.*system"):
        load(own)


def test_a_wrong_folder_is_named_with_the_way_out(tmp_path):
    with pytest.raises(ValueError, match="--download"):
        load(tmp_path)


def test_splits_and_options_of_other_datasets_are_refused(folder, capsys):
    for wrong in ({"split": "official"}, {"crop_boxes": True}, {"exclude": ["x"]}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            load(folder, **wrong)
    with pytest.raises(SystemExit):
        start.main("", train_cifar100.DATASETS, ["--method", "DR", "--split", "official"])
    assert "--split" in capsys.readouterr().err


def test_download_goes_through_torchvision_and_says_so_where_there_is_no_network(own, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "torchvision.datasets.CIFAR100", lambda root, download: asked.append((root, download))
    )
    assert (
        load(own, download=True).num_classes == 100
        and load(own.parent, download=True).num_classes == 100
    )
    assert asked == [(own.parent, True)] * 2

    def offline(root, download):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("torchvision.datasets.CIFAR100", offline)
    with pytest.raises(ValueError, match="cannot be downloaded.*no route to host.*by hand"):
        load(own, download=True)


def test_downloading_is_no_part_of_a_runs_identity():
    parse, datasets = command_line.parse, train_cifar100.DATASETS
    plain, downloaded = (
        parse(["--method", "DR", *more], "", datasets) for more in ([], ["--download"])
    )
    assert plain[0] == downloaded[0] and plain[2] == downloaded[2] and downloaded[1]["download"]


def test_an_epoch_trains_through_the_command_line(folder, tmp_path):
    argv = [
        "--data_dir",
        str(folder),
        "--record",
        str(tmp_path),
        "--method",
        "DR",
        "--backbone",
        "conv4",
        "--GPU",
        "cpu",
    ]
    argv += ["--epochs", "1", "--use_val"]
    assert start.main("", train_cifar100.DATASETS, argv) == 0
    record = Run(command_line.parse(argv, "", train_cifar100.DATASETS)[2])
    assert record.finished and record.hierarchy.digest == load(folder).hierarchy.digest
    assert 0 <= record.metrics.set_index("metric")["value"]["accuracy"] <= 1
    assert record.split["split"].value_counts().to_dict() == {
        "train": 900,
        "val": 50,
        "calibration": 50,
        "test": TEST,
    }
    # a page can show its images, which are rows of a file, where they are the run's
    row = record.split[record.split["split"] == "test"].iloc[-1]["file"]
    found, named = image_folder(record, None), image_folder(record, str(folder.parent))
    splits = load(folder)
    expected = splits.pixels[splits.files.index(row)]
    assert np.array_equal(open_image(row, found), expected)
    assert np.array_equal(open_image(row, named), expected)
    assert open_image(row, named._replace(reading=Reading(gray=True))).shape == (32, 32)
    changed = found._replace(content=found.content._replace(fingerprints={row: "0" * 16}))
    for wrong in (f"{row}x", "test/99999_a.png", "test/a.png", "other/00000_a.png"):
        with pytest.raises(ValueError, match="there is no image file"):
            open_image(wrong, named)
    with pytest.raises(ValueError, match="there is no image file"):
        open_image(row, changed)
