"""Folder trees as datasets: classes, splits, what is refused, the plankton sets, and the table of
datasets.
"""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from images import draw, make_folder
from PIL import Image

import data
from data import cache_writer, folder, plankton
from data.doubles import copy_notes, mask_notes, twin_notes
from registry import possible

COUNTS = {
    "Dinophyceae/Tripos/Tripos furca": 12,
    "Dinophyceae/Tripos/Tripos furca/Tripos furca duplets": 11,
    "Copépodes, 浮游/Oithona similis": 10,
    "nonliving/fiber": 20,
}


@pytest.fixture
def root(tmp_path):
    return make_folder(tmp_path / "images of plankton", COUNTS)


def load(root, **options):
    return data.load({"dataset": "folder", "data_dir": root, "resize": 8, **options})


def per_class(splits, name):
    return np.bincount(splits.labels[getattr(splits, name)], minlength=splits.num_classes).tolist()


def test_folders_are_classes_in_the_order_of_their_paths(root):
    splits = load(root, use_val=True)
    assert splits.hierarchy.class_paths == (
        ("Copépodes, 浮游", "Oithona similis"),
        ("Dinophyceae", "Tripos", "Tripos furca", "."),
        ("Dinophyceae", "Tripos", "Tripos furca", "Tripos furca duplets"),
        ("nonliving", "fiber"),
    )
    assert splits.files[0] == "Copépodes, 浮游/Oithona similis/00.png" and len(splits.files) == 53
    assert np.bincount(splits.labels).tolist() == [10, 12, 11, 20]
    assert splits.sizes[:4].tolist() == [[6, 4], [7, 4], [8, 4], [6, 4]] and splits.image_size == (
        8,
        8,
    )
    assert [len(splits.train), len(splits.val), len(splits.test)] == [37, 5, 11]
    assert (
        min(per_class(splits, "train") + per_class(splits, "val") + per_class(splits, "test")) >= 1
    )
    assert splits.living is None and splits.notes == ()


def test_pixels_are_those_of_the_file_of_the_same_row(root):
    splits = load(root, gray=True, use_val=True)
    for row in (0, 17, 52):
        image = (
            Image.open(root / splits.files[row])
            .convert("L")
            .resize((8, 8), Image.Resampling.BILINEAR)
        )
        np.testing.assert_array_equal(splits.pixels[row, :, :, 0], np.asarray(image))


def test_the_seed_of_training_does_not_move_the_stratified_test_set(root):
    first, other, moved = load(root, seed=1), load(root, seed=2), load(root, seed=1, split_seed=5)
    assert first.digest == other.digest != moved.digest
    assert (
        load(root, seed=1, split="published").digest != load(root, seed=2, split="published").digest
    )
    assert (
        load(root, seed=1, split="published", split_seed=2).digest
        == load(root, seed=2, split="published").digest
    )


def test_published_without_a_list_says_that_it_used_sorted_paths(root):
    assert any("sorted paths" in note for note in load(root, split="published").notes)


def write_list(path, rows):
    with open(path, "w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows(rows)
    return path


def test_published_permutes_the_list_that_is_given(root, tmp_path):
    files = load(root).files
    order = np.random.default_rng(0).permutation(len(files))
    rows = [
        ["index", "path"],
        *([i, f"plankton_datasets\\images of plankton/{files[i]}"] for i in order),
    ]
    splits = load(
        root, split="published", seed=3, split_list=write_list(tmp_path / "list.csv", rows)
    )
    plain = load(root, split="published", seed=3)
    assert splits.test.tolist() == sorted(order[plain.test]) and splits.notes == ()


def test_a_list_of_other_images_is_refused(root, tmp_path):
    rows = [[file] for file in load(root).files]
    cases = {
        "misses 'Copépodes, 浮游/Oithona similis/00.png'": rows[1:],
        "line 54: 'x/y.png' ends in no path of an image": [*rows, ["x/y.png"]],
        "line 54: .*00.png' is listed in line 1 already": [*rows, rows[0]],
    }
    for message, content in cases.items():
        with pytest.raises(ValueError, match=message):
            load(root, split="published", split_list=write_list(tmp_path / "list.csv", content))
    (tmp_path / "latin.csv").write_bytes(b"caf\xe9.png\n")
    with pytest.raises(ValueError, match=r"latin\.csv, line 1: this is not valid UTF-8"):
        load(root, split="published", split_list=tmp_path / "latin.csv")
    with pytest.raises(ValueError, match="split_list"):
        load(root, split_list=write_list(tmp_path / "list.csv", rows))


def test_a_class_with_one_image_goes_to_training_and_is_named(root):
    draw(root / "Copépodes, 浮游" / "Calanus" / "only.png", seed=99)
    splits = load(root, use_val=True)
    assert splits.hierarchy.class_names[0] == "Calanus"
    assert [per_class(splits, name)[0] for name in ("train", "val", "test")] == [1, 0, 0]
    assert [note for note in splits.notes if "Calanus" in note] == [
        "1 of 5 classes has no val image: Copépodes, 浮游/Calanus",
        "1 of 5 classes has no test image: Copépodes, 浮游/Calanus",
    ]


def test_an_empty_folder_is_refused_or_named(root):
    (root / "Copépodes, 浮游" / "Temora" / "adult").mkdir(parents=True)
    with pytest.raises(
        ValueError, match="2 folders hold no image: .*Temora.*--ignore_empty_folders"
    ):
        load(root)
    splits = load(root, ignore_empty_folders=True)
    assert splits.num_classes == 4 and any("Temora/adult" in note for note in splits.notes)


def test_files_that_are_no_images_are_named(root):
    (root / "nonliving" / "fiber" / "notes, of a cruise.txt").write_text("windy")
    assert any("nonliving/fiber/notes, of a cruise.txt" in note for note in load(root).notes)


def test_hidden_images_and_formats_that_are_not_read_are_named(root):
    draw(root / "nonliving" / ".old" / "x" / "1.png"), draw(root / "nonliving" / ".old" / "2.png")
    draw(root / ".one.png")
    (root / "nonliving" / "fiber" / "phone.HEIC").write_bytes(b"x")
    splits = load(root)
    assert len(splits.files) == 53
    for part in (
        "left out hidden folder 'nonliving/.old/' with 2 images",
        "left out hidden file '.one.png' with 1 images",
        "1 file (1 .heic), images in formats that are not read: convert them",
    ):
        assert any(part in note for note in splits.notes), part


def test_many_hidden_folders_are_counted(root):
    for name in "abcde":
        draw(root / f".{name}" / "1.png")
    notes = [note for note in load(root).notes if "hidden" in note]
    assert len(notes) == 4 and "2 more hidden folders or files with 2 images" in notes[3]


def test_a_class_of_formats_that_are_not_read_is_no_mere_empty_folder(root):
    (root / "phone").mkdir()
    (root / "phone" / "1.heic").write_bytes(b"x")
    with pytest.raises(
        ValueError, match=r"1 folder holds no image: 'phone'.*1 file \(1 .heic\), .*convert them"
    ):
        load(root)


def test_bad_images_stop_the_reading_or_are_named(root):
    (root / "nonliving" / "fiber" / "03.png").write_bytes(b"")
    with pytest.raises(ValueError, match="nonliving/fiber/03.png: the file is empty"):
        load(root)
    splits = load(root, skip_bad_images=True, use_val=True)
    assert len(splits.files) == 52 and "nonliving/fiber/03.png" not in splits.files
    assert np.bincount(splits.labels).tolist() == [10, 12, 11, 19]
    assert any(
        "1 image was left out" in note and "nonliving/fiber/03.png" in note for note in splits.notes
    )
    image = (
        Image.open(root / splits.files[51]).convert("RGB").resize((8, 8), Image.Resampling.BILINEAR)
    )
    np.testing.assert_array_equal(splits.pixels[51], np.asarray(image))


def test_a_list_may_name_an_image_that_was_skipped(root, tmp_path):
    files = write_list(tmp_path / "list.csv", [[file] for file in reversed(load(root).files)])
    (root / "nonliving" / "fiber" / "03.png").write_bytes(b"")
    splits = load(root, split="published", split_list=files, skip_bad_images=True)
    assert len(splits.train) + len(splits.test) == 52


def test_a_class_whose_images_are_all_bad_is_refused(root):
    (root / "nonliving" / "fluff").mkdir()
    (root / "nonliving" / "fluff" / "a.png").write_bytes(b"")
    with pytest.raises(ValueError, match="no image of class 'nonliving/fluff' can be read"):
        load(root, skip_bad_images=True)


def test_copies_are_reported(root):
    first = (root / "nonliving" / "fiber" / "00.png").read_bytes()
    (root / "nonliving" / "fiber" / "copy.png").write_bytes(first)
    (root / "Copépodes, 浮游" / "Oithona similis" / "copy.png").write_bytes(first)
    splits = load(root)
    (note,) = splits.notes
    assert "2 images are copies of another image" in note and "1 copy is in another class" in note
    named = re.findall(r"such as '(.+?)', as '(.+?)'", note)
    seen, (other, original) = named[:-1], named[-1]
    assert Path(root, other).read_bytes() == Path(root, original).read_bytes() == first
    assert Path(other).parent != Path(original).parent
    for tested, trained in seen:
        rows = [splits.files.index(name) for name in (tested, trained)]
        assert rows[0] in splits.test and rows[1] in splits.train


def test_a_copy_in_the_test_split_is_named_with_the_training_image():
    parts = np.array([0, 1]), np.array([], int), np.array([2, 3])
    files = ["a", "b", "c", "d"]
    (note,) = copy_notes(np.array([5, 7, 8, 7]), np.array([0, 0, 0, 0]), parts, files, " (so)")
    assert note == (
        "1 image is a copy of another image; 1 test image is also in the training split, such as"
        " 'd', as 'b' (so)"
    )


@pytest.mark.parametrize(
    "tested, trained",
    [
        ("a/1.jpg", "a/1.tif"),
        ("a/1_jpg.rf.9e1f0c4b2a6d8e7f.jpg", "a/1_jpg.rf.0123456789abcdef.jpg"),
        ("a/1_rot90.jpg", "a/1_flip_aug2.jpg"),
        ("a/1-augmented-3.jpg", "a/1.jpg"),
        ("a/1_aug_2.jpg", "a/1.jpg"),
        ("a/1_rotifer.jpg", None),
        ("a/1.jpg", None),
        ("b/1.jpg", None),
        ("a/1.0.jpg", None),
    ],
)
def test_another_file_of_a_training_picture_in_the_test_split_is_noted(tested, trained):
    files = [trained or "a/2.tif", "a/1.2.jpg", tested]
    notes = twin_notes(files, (np.array([0, 1]), np.array([], int), np.array([2])))
    assert len(notes) == (trained is not None)
    if trained is not None:
        said = (
            f"1 test image has the name of a training image but for the ending, such as {tested!r}"
        )
        assert notes[0].startswith(f"{said}, as {trained!r}: ")


@pytest.mark.parametrize(
    "names", ["haul_Aug_001 haul_Aug_003", "12-Aug-2020 12-Aug-2021", "s_bright_1 s_bright_2"]
)
def test_months_and_numbers_of_images_are_no_endings_of_copies(names):
    files = [f"a/{name}.png" for name in names.split()]
    assert twin_notes(files, (np.array([0]), np.array([], int), np.array([1]))) == []


def test_files_that_are_masks_of_others_are_noted():
    assert (
        mask_notes(["a/1.png", "a/2_mask.png", "a/3-seg.png", "b/1_mask.png", "a/1mask.png"]) == []
    )
    (note,) = mask_notes(["a/1.jpg", "a/1_Mask.png", "a/2.jpg", "a/2 - thumb.jpg", "a/x_mask.jpg"])
    assert note.startswith("2 files are named like a mask") and "'a/1_Mask.png'" in note


def test_living_classes_go_by_the_topmost_folder(root):
    assert load(root, nonliving=["nonliving"]).living.tolist() == [True, True, True, False]
    assert load(root, nonliving=["nonliving"], collapse=True).living.tolist() == [
        True,
        True,
        True,
        False,
    ]
    with pytest.raises(
        ValueError, match="nonliving names 'Tripos', but the topmost groups are .*Dinophyceae"
    ):
        load(root, nonliving=["Tripos"])
    with pytest.raises(ValueError, match="no class is left that is alive"):
        load(root, nonliving=sorted({path[0] for path in load(root).hierarchy.class_paths}))


def test_collapsing_drops_single_children_only(root):
    splits, collapsed = load(root), load(root, collapse=True)
    assert (splits.hierarchy.num_nodes, collapsed.hierarchy.num_nodes) == (10, 6)
    np.testing.assert_array_equal(splits.labels, collapsed.labels)


def test_flat_folders_take_their_tree_from_a_file(tmp_path):
    root = make_folder(tmp_path / "flat", {"cod": 5, "Calanus": 4, "salp": 6})
    tree = tmp_path / "tree.txt"
    tree.write_text("animals/fish/cod\nanimals/tunicates/salp\ncrustaceans/Calanus\n")
    splits = load(root, hierarchy=tree)
    assert splits.hierarchy.class_names == ("cod", "salp", "Calanus")
    assert np.bincount(splits.labels).tolist() == [5, 6, 4]
    assert all(
        splits.hierarchy.class_names[label] in file
        for file, label in zip(splits.files, splits.labels)
    )


def test_the_self_leaf_of_a_nested_class_is_found_in_a_tree_file(root, tmp_path):
    lines = [
        "nonliving/fiber",
        "Dinophyceae/Tripos/Tripos furca/Tripos furca duplets",
        "Dinophyceae/Tripos/Tripos furca",
    ]
    tree = tmp_path / "tree.txt"
    tree.write_text("\n".join([*lines, "Copépodes, 浮游/Oithona similis"]), encoding="utf-8")
    assert np.bincount(load(root, hierarchy=tree).labels).tolist() == [20, 11, 12, 10]


def test_a_flat_folder_may_have_a_class_directly_below_the_root(tmp_path):
    root = make_folder(tmp_path / "flat", {"cod": 5, "detritus": 4, "salp": 6})
    tree = tmp_path / "tree.txt"
    tree.write_text("animals/fish/cod\ndetritus\nanimals/tunicates/salp\n")
    splits = load(root, hierarchy=tree)
    assert splits.hierarchy.class_names == ("cod", "detritus", "salp") and splits.notes == ()
    assert np.bincount(splits.labels).tolist() == [5, 4, 6]


def test_a_tree_file_that_does_not_fit_lists_both_sides(tmp_path):
    root = make_folder(tmp_path / "flat", {"cod": 5, "Calanus": 4, "salp": 6})
    tree = tmp_path / "tree.txt"
    tree.write_text("animals/fish/cod\nanimals/fish/herring\ncrustaceans/Calanus\n")
    with pytest.raises(ValueError, match="(?s)herring.*salp"):
        load(root, hierarchy=tree)


def test_groups_can_be_left_out(root):
    assert load(root, exclude=["nonliving"]).num_classes == 3


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(OSError, match="nowhere"):
        load(tmp_path / "nowhere")


def test_the_cache_goes_where_it_is_told(root, tmp_path):
    load(root, cache_dir=tmp_path / "elsewhere")
    assert (
        not (root / ".taxonomy_cache").exists()
        and len(list((tmp_path / "elsewhere").glob("*/pixels.bin"))) == 1
    )


def test_a_read_only_data_folder_is_reported(root, tmp_path, monkeypatch):
    (root / ".taxonomy_cache").write_bytes(b"in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    assert any("cannot be written" in note and "--cache_dir" in note for note in load(root).notes)


def test_the_cache_inside_the_folder_is_no_class(root):
    assert load(root).digest == load(root).digest and load(root).num_classes == 4


@pytest.mark.parametrize(
    "name, nonliving",
    [("MicroS", "nonliving"), ("MicroL", "nonplankton"), ("MesoZ", "nonzooplankton")],
)
@pytest.mark.parametrize("above", [False, True])
def test_a_plankton_set_knows_what_lives(tmp_path, name, nonliving, above):
    root = make_folder(tmp_path / name, {"Mesozooplankton/Copepoda": 10, f"{nonliving}/fluff": 10})
    splits = data.load(
        {"dataset": name, "data_dir": tmp_path if above else root, "use_val": True, "resize": 8}
    )
    assert splits.living.tolist() == [True, False] and splits.dataset == name
    assert splits.channels == (1 if name == "MesoZ" else 3)
    (note,) = [note for note in splits.notes if "published" in note]
    assert (
        "20 images in 2 classes (10 in 1 living ones)" in note
        and str(plankton.SETS[name].images) in note
    )


def test_a_plankton_set_of_the_published_counts_needs_no_note():
    for name, published in plankton.SETS.items():
        assert plankton._differences(name, published, published) == []
        assert (
            len(plankton._differences(name, published._replace(images=1, nonliving=""), published))
            == 2
        )


def test_a_plankton_set_in_colour_is_an_option(tmp_path):
    make_folder(
        tmp_path / "MesoZ", {"Mesozooplankton/Copepoda": 10, "Mesozooplankton/Ctenophora": 3}
    )
    options = {"dataset": "MesoZ", "data_dir": tmp_path, "resize": 8}
    assert data.load({**options, "gray": None}).channels == 1
    assert data.load({**options, "gray": False}).channels == 3


def test_options_of_other_datasets_are_refused(root):
    with pytest.raises(ValueError, match="dataset folder takes no option small"):
        load(root, small=True)
    with pytest.raises(ValueError, match="dataset MicroS takes no option hierarchy"):
        data.load({"dataset": "MicroS", "hierarchy": "tree.txt"})
    assert load(root, small=False, download=None, epochs=3).num_classes == 4
    assert data.unused_options(
        "MicroS", {"small": False, "seed": 1, "nonliving": None, "lr": 1}
    ) == ["small", "nonliving"]


def test_an_unknown_dataset_lists_the_known_ones():
    with pytest.raises(ValueError, match="no dataset 'nano'; choose from demo, folder"):
        data.load({"dataset": "nano"})
    with pytest.raises(ValueError, match="one of demo, folder"):
        data.load({})


@pytest.mark.parametrize("name", data.DATASETS)
def test_every_dataset_declares_options_that_are_known(name):
    assert set(data.defaults(name)) <= set(possible([data.DATASETS.option]))


def test_a_reduced_training_split_leaves_the_test_split_alone(root):
    assert "keeps all training images" in load(root, reduction_factor=1).notes[-1]
    whole, part = load(root), load(root, reduction_factor=4)
    assert len(part.train) == len(whole.train) // 4 and set(part.train) <= set(whole.train)
    np.testing.assert_array_equal(whole.test, part.test)
    assert any("11 of 47 training images are kept" in note for note in part.notes)
    assert part.digest != load(root, reduction_factor=4, subset_seed=1).digest


def test_superclasses_take_the_place_of_classes_in_the_same_split(root):
    fine, coarse = load(root), load(root, label_depth=1)
    assert coarse.hierarchy.max_depth == 1
    assert coarse.num_classes < fine.num_classes
    np.testing.assert_array_equal(coarse.train, fine.train)
    np.testing.assert_array_equal(coarse.test, fine.test)
    for new, old in zip(coarse.labels, fine.labels):
        assert coarse.hierarchy.class_paths[new] == fine.hierarchy.class_paths[old][:1]
    assert any("label_depth 1" in note for note in coarse.notes)
    with pytest.raises(ValueError, match="leaves all classes as they are"):
        load(root, label_depth=fine.hierarchy.max_depth)


def test_loading_twice_decodes_once(root, monkeypatch):
    first = folder.load({"dataset": "folder", "data_dir": root})
    monkeypatch.setattr(cache_writer, "read_image", None)
    assert folder.load({"dataset": "folder", "data_dir": root, "seed": 2}).files == first.files


def test_calibration_images_come_from_the_validation_split_alone(root):
    plain, held = load(root, use_val=True), load(root, use_val=True, calibration=0.5)
    assert len(plain.calibration) == 0 and len(held.calibration) == 3 and len(held.val) == 2
    assert sorted([*held.val, *held.calibration]) == plain.val.tolist()
    for name in ("train", "test"):
        assert getattr(plain, name).tolist() == getattr(held, name).tolist()
    assert len(load(root, calibration=0.5).calibration) == 0  # without a validation split
    with pytest.raises(ValueError, match="drawn 'stratified', not of 'published'"):
        load(root, use_val=True, split="published", calibration=0.5)
    few = load(root, use_val=True, calibration=0.05)
    assert len(few.calibration) == 0 and any("promise nothing" in note for note in few.notes)
