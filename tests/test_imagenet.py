"""ImageNet and sets filed like it: layout, splits, streaming, and what is refused."""

import numpy as np
import pytest
from filed_images import image_bytes, put, shipped_wnids, write_splits

import data
from data import official, opening
from data.stream import Stream

IDS = ["n01440764", "n01443537", "n02123045"]


@pytest.fixture
def root(tmp_path):
    put(tmp_path / "tree.txt", f"cat/{IDS[2]}\nfish/bony/{IDS[1]}\nfish/{IDS[0]}\n")
    return write_splits(
        tmp_path / "set", {"train": dict(zip(IDS, (10, 20, 30))), "val": dict.fromkeys(IDS, 4)}
    )


def load(root, **options):
    named = {"hierarchy": root.parent / "tree.txt", "resize": 8, **options}
    return data.load({"dataset": "ImageNet", "data_dir": root, **named})


def counts(splits, name):
    return np.bincount(splits.labels[getattr(splits, name)], minlength=splits.num_classes).tolist()


def test_val_is_tested_and_train_is_for_training(root):
    splits = load(root)
    assert (counts(splits, "train"), counts(splits, "val"), counts(splits, "test")) == (
        [10, 20, 30],
        [0] * 3,
        [4] * 3,
    )
    assert [path[-1] for path in splits.hierarchy.class_paths] == IDS
    assert all(file.split("/")[1] == IDS[label] for file, label in zip(splits.files, splits.labels))


def test_a_tenth_of_train_validates(root):
    splits = load(root, use_val=True)
    assert (counts(splits, "train"), counts(splits, "val"), counts(splits, "test")) == (
        [9, 18, 27],
        [1, 2, 3],
        [4] * 3,
    )
    assert (
        splits.digest
        == load(root, use_val=True, seed=5).digest
        != load(root, use_val=True, split_seed=5).digest
    )


def test_a_test_folder_with_labels_is_tested_and_val_validates(root):
    write_splits(root, {"test": dict.fromkeys(IDS, 5)})
    splits = load(root, use_val=True)
    assert (counts(splits, "train"), counts(splits, "val"), counts(splits, "test")) == (
        [10, 20, 30],
        [4] * 3,
        [5] * 3,
    )
    assert any("own 12 validation images are not used" in note for note in load(root).notes)


def test_a_test_folder_without_labels_is_passed_over_and_named(root):
    put(root / "test" / "ILSVRC2012_test_00000001.JPEG", image_bytes(3))
    splits = load(root)
    assert counts(splits, "test") == [4] * 3
    assert any("test has no class folders" in note for note in splits.notes)


def test_all_1000_classes_get_the_shipped_tree(tmp_path):
    wnids, content = shipped_wnids("imagenet"), image_bytes(1, (8, 8))
    for wnid in wnids:
        put(tmp_path / "train" / wnid / f"{wnid}_1.JPEG", content)
        put(tmp_path / "val" / wnid / "ILSVRC2012_val_1.JPEG", content)
    splits = data.load({"dataset": "ImageNet", "data_dir": tmp_path, "resize": 8})
    assert [path[-1] for path in splits.hierarchy.class_paths] == wnids
    assert (splits.num_classes, splits.hierarchy.num_nodes, splits.hierarchy.max_depth) == (
        1000,
        1372,
        15,
    )
    assert splits.hierarchy.class_names[:2] == ("tench", "goldfish")
    assert counts(splits, "train") == counts(splits, "test") == [1] * 1000


def test_streamed_and_cached_images_are_one_dataset(root, monkeypatch):
    cached = load(root)
    assert isinstance(cached.pixels, np.memmap)
    monkeypatch.setattr(opening, "CACHE_LIMIT", 1000)
    streamed = load(root)
    assert isinstance(streamed.pixels, Stream) and streamed.digest == cached.digest
    assert (cached.fingerprints_of, streamed.fingerprints_of) == ("pixels by xxh3", "files")
    assert len(set(streamed.content)) == len(set(cached.content)) > 1
    np.testing.assert_array_equal(streamed.sizes, cached.sizes)
    np.testing.assert_array_equal(streamed.pixels[[0, 40, 71]], cached.pixels[[0, 40, 71]])


def test_the_whole_set_streams_at_224_pixels_and_not_at_64():
    total = 1_281_167 + 50_000
    assert total * 224 * 224 * 3 > opening.CACHE_LIMIT > total * 64 * 64 * 3
    assert 268_243 * 224 * 224 * 3 < opening.CACHE_LIMIT  # iNaturalist 2019


def test_images_of_64_pixels_are_enlarged_on_request(root):
    splits = load(root, resize=6, upscale=21)
    assert splits.image_size == (21, 21) and splits.pixels[[3]].shape == (1, 21, 21, 3)
    (images, _, _), *_ = data.Batches(splits, splits.test, 5)
    assert images.shape == (5, 3, 21, 21)


@pytest.mark.parametrize("stream", [False, True])
def test_bad_images_stop_the_reading_or_are_left_out(root, stream):
    (root / "train" / IDS[1] / "0003.jpg").write_text("no image")
    with pytest.raises(ValueError, match=f"1 image cannot be read.*\n.*train/{IDS[1]}/0003.jpg"):
        load(root, stream=stream)
    splits = load(root, stream=stream, skip_bad_images=True)
    assert counts(splits, "train") == [10, 19, 30]
    assert all(file.split("/")[1] == IDS[label] for file, label in zip(splits.files, splits.labels))


def test_copies_across_the_splits_are_reported(root):
    put(root / "val" / IDS[0] / "copy.jpg", (root / "train" / IDS[0] / "0000.jpg").read_bytes())
    assert any("1 test image is also in the training split" in note for note in load(root).notes)


def test_classes_that_differ_from_the_tree_are_refused_both_ways(root):
    (root / "train" / IDS[0]).rename(root / "train" / "n00000001")
    (root / "val" / IDS[0]).rename(root / "val" / "n00000001")
    with pytest.raises(
        ValueError, match=f"only in the hierarchy: '{IDS[0]}'; only in .*: 'n00000001'"
    ):
        load(root)
    with pytest.raises(ValueError, match=r"only in the hierarchy: .* and 995 more"):
        load(root, hierarchy=None)


def test_classes_of_the_tree_without_images_are_pruned_on_request(root):
    for part in ("train", "val"):
        (root / part / IDS[1]).rename(root / f"{part} of another")
    with pytest.raises(ValueError, match=f"only in the hierarchy: '{IDS[1]}'.*--prune_tree"):
        load(root)
    splits = load(root, prune_tree=True)
    assert splits.hierarchy.class_paths == (("fish", IDS[0]), ("cat", IDS[2]))
    assert counts(splits, "train") == [10, 30]
    (note,) = [note for note in splits.notes if "left out of the tree" in note]
    assert note.endswith(
        f"tree.txt: 1 class without images left out of the tree: 'fish/bony/{IDS[1]}'"
    )
    assert len(load(root, hierarchy=None, prune_tree=True).hierarchy.class_paths) == 2


def test_a_class_that_one_split_lacks_is_noted(root):
    for file in (root / "val" / IDS[2]).iterdir():
        file.unlink()
    assert any(note.startswith("1 of 3 classes has no test image") for note in load(root).notes)


def test_a_malformed_tree_file_stops_before_the_images_are_read(root, tmp_path):
    tree = put(tmp_path / "tree.edges", "a b\na b c\n")
    with pytest.raises(ValueError, match="tree.edges, line 2"):
        load(root, hierarchy=tree)
    assert not (root / ".taxonomy_cache").exists()


@pytest.mark.parametrize("missing", ["train", "val"])
def test_a_missing_split_is_named(root, missing):
    (root / missing).rename(root / "away")
    with pytest.raises(ValueError, match=f"no folder '{missing}'; expected"):
        load(root)


def test_folders_below_the_classes_are_refused(root):
    put(root / "train" / IDS[0] / "images" / "x.jpg", image_bytes(9))
    with pytest.raises(ValueError, match="holds images; expected .*/train/<class id>/<image>"):
        load(root)


def test_files_that_are_no_images_are_noted(root):
    put(root / "train" / IDS[0] / "list.txt", "words")
    assert any("1 file below" in note and f"{IDS[0]}/list.txt" in note for note in load(root).notes)


def test_holding_out_takes_the_same_share_of_every_class():
    labels = np.repeat([0, 1, 2], [100, 50, 2])
    train, val = official.hold_out(np.arange(152), labels)
    assert (
        np.bincount(labels[val], minlength=3).tolist() == [10, 5, 0]
        and len(np.intersect1d(train, val)) == 0
    )
    np.testing.assert_array_equal(np.union1d(train, val), np.arange(152))
    train, val = official.hold_out(np.arange(50, 150), labels, seed=3)
    assert val.min() >= 50 and len(val) == 10
