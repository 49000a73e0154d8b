"""Folders of another level than the classes', and trees whose names differ from the folders'."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from images import make_folder
from waiting import PATIENCE

import data
import train
from data.matching import match_folders
from hierarchies import Hierarchy, doubtful_names, scan_folders
from hierarchies.folder_names import parted_classes, repeated_folders, split_folders
from options import command_line

CLASSES = ["Copepoda/Calanus f", "Copepoda/Oithona s", "Diatomea/Chaetoceros"]
ROOT = Path(__file__).resolve().parents[1]


def load(root, **options):
    return data.load({"dataset": "folder", "data_dir": root, "resize": 8, **options})


def touched(root, *folders):
    for folder in folders:
        (root / folder).mkdir(parents=True)
        (root / folder / "1.png").touch()
    return split_folders(scan_folders(root).hierarchy)


def test_folders_of_a_split_are_not_taken_for_taxa(tmp_path):
    folders = [f"{part}/{name}" for part in ("train", "val", "test") for name in CLASSES]
    root = make_folder(tmp_path / "set", dict.fromkeys(folders, 4))
    with pytest.raises(
        ValueError, match=r"set/test', .*set/train', .* parts of a split.*--data_dir"
    ):
        load(root)
    with pytest.raises(ValueError, match="--folders_are_classes"):
        load(root, hierarchy=tmp_path / "tree.txt")  # before the tree is read
    splits = load(root, folders_are_classes=True)
    assert splits.num_classes == 9
    (note,) = [note for note in splits.notes if "several places" in note]
    assert "'Calanus f'" in note
    assert load(root / "train").num_classes == 3


@pytest.mark.parametrize("folders", [
    ["Train/a", "Test/b"],
    ["training/a", "validation/a", "x/a"],
    ["train_images/a", "val-images/a"],
    ["01_TrainSet/a", "02_testset/a"],
    ["a/train", "a/valid", "b/train"],
    ["g/a/testing", "g/a/training", "g/b/dev"],
    ["train/a", "train/b"],
    ["g/train/a", "g/holdout/a"],
    ["images_train/a", "images_val/a"],
    ["zoolake-train/a", "zoolake-test/a"],
    ["lake_train/a", "lake_test/a", "lake_info/b"],
    ["train2017/a", "val2017/a"],
    ["entraînement/a", "validation/a"],
    ["训练集/a", "测试集/a"],
    ["Trainingsdaten/a", "Testdaten/a"],
])  # fmt: skip
def test_splits_in_all_dresses_above_and_below_the_classes(tmp_path, folders):
    assert touched(tmp_path, *folders)


@pytest.mark.parametrize("folders", [
    ["Foraminifera/test", "Foraminifera/whole"],
    ["valid/a", "dubious/a"],
    ["training wheels/a", "tests of urchins/a", "evaluated/b"],
    ["contest/a", "trainer/b", "x/value"],
    ["test/a", "fish/a"],
    ["urchin test/a", "urchin spine/a"],
])  # fmt: skip
def test_names_of_taxa_are_not_taken_for_a_split(tmp_path, folders):
    assert touched(tmp_path, *folders) == []


@pytest.mark.parametrize("folders, found", [
    (["fold1/a", "fold1/b", "fold2/a", "fold2/b", "fold10/a", "fold10/c"], "fold1|fold2"),
    (["2021/a", "2021/b", "2022/a", "2022/b", "2022/c", "fish/a"], "2021|2022"),
    (["train/a", "train/b", "unlabelled/a", "unlabelled/b"], "train|unlabelled"),
    (["ensayo/A/a", "ensayo/B/b", "prueba/A/a", "prueba/B/b"], "ensayo|prueba"),
    (["2021-05 HE5/a", "2021-05 HE5/b", "2022-06 HE6/a", "2022-06 HE6/b"],
     "2021-05 HE5|2022-06 HE6"),
    (["ST01/a", "ST01/b", "ST02/a", "ST02/b"], "ST01|ST02"),
    (["Station A/a", "Station A/b", "Station B/a", "Station B/b"], "Station A|Station B"),
    (["01.05.2021/a", "01.05.2021/b", "02.06.2021/a", "02.06.2021/b"], "01.05.2021|02.06.2021"),
    (["May/a", "May/b", "June/a", "June/b", "fish/a"], "June|May"),
    (["D20210501T101500_IFCB9/a", "D20210501T101500_IFCB9/b", "D20210602T000000_IFCB9/a",
      "D20210602T000000_IFCB9/b"], "D20210501T101500_IFCB9|D20210602T000000_IFCB9"),
    (["10x/a", "10x/b", "40x/a", "40x/b"], "10x|40x"),
    (["20-60 um/a", "20-60 um/b", ">60 um/a", ">60 um/b"], "20-60 um|>60 um"),
    (["original/a", "original/b", "augmented/a", "augmented/b"], "augmented|original"),
    (["L4/Calanus f", "L4/Calanus fin", "L4/Oithona sim", "E1/Calanus fin", "E1/Oithona sim"],
     "E1|L4"),  # species are no stages
    (["small/Acartia", "small/Calanus", "large/Acartia", "large/Calanus", "x"], "large|small"),
    (["PS1/Acartia", "PS1/Calanus", "PS1/Z", "MSM/Acartia", "MSM/Calanus"], "MSM|PS1"),
    (["barnacles/Left", "barnacles/Top", "mussels/Left", "mussels/Top"], ""),
    (["Calanus/Medusa", "Calanus/Zoea", "Oithona/Medusa", "Oithona/Zoea"], ""),
    (["Copepoda/Calanus fin", "Copepoda/Oithona sim", "unsure/Calanus fin", "unsure/x"], ""),
    (["A/Adult female", "A/Egg mass", "B/Adult female", "B/Egg mass"], ""),
    (["A/Single cell", "A/Empty frustule", "B/Single cell", "B/Empty frustule"], ""),
    (["small/egg", "small/adult", "large/egg", "large/adult"], ""),
    (["male/Calanus", "male/Temora", "female/Calanus", "female/Temora"], ""),  # of either sex
    (["male/Calanus fin", "male/Temora lon", "female/Calanus fin", "female/Temora lon"], ""),
    (["Section A/Calanus fin", "Section A/Temora lon", "Section B/Calanus fin",
      "Section B/Temora lon"], "Section A|Section B"),
    (["male/A/x", "male/B/y", "female/A/x", "female/B/y"], ""),
    (["live part 21/Calanus fin", "live part 21/Temora lon", "live part 22/Calanus fin",
      "live part 22/Temora lon"], "live part 21|live part 22"),
    (["Acropora/Pale colour", "Acropora/Full colour", "Porites/Pale colour", "Porites/Full colour"],
     ""),
    (["Grey seal/White coat", "Grey seal/Brown coat", "Harp seal/White coat",
      "Harp seal/Brown coat"], ""),
    (["lateral view/Calanus", "lateral view/Temora", "dorsal/Calanus", "dorsal/Temora"], ""),
    ([f"haul_1/{c}" for c in "abcd"] + [f"haul_2/{c}" for c in "cdef"], ""),  # half of their own
    (["Calanus/egg", "Calanus/adult", "Oithona/egg", "Oithona/adult"], ""),  # stages
    (["part1 head/a", "part1 head/b", "part2 tail/a", "part2 tail/b"], ""),
    (["sp1/egg", "sp1/adult", "sp2/egg", "sp2/adult"], ""),  # as of any other species
    (["type 1/side", "type 1/top", "type 2/side", "type 2/top"], ""),
    (["n001/left", "n001/right", "n002/left", "n002/right"], ""),  # codes of taxa
    (["A/f/CV", "A/f/CVI", "A/m/CV", "A/m/CVI", "B/f/CV", "B/f/CVI", "B/m/CV", "B/m/CVI"], ""),
    (["A/f/x", "A/m/y", "B/f/x", "B/m/y", "C/z"], ""),  # not all are alike
    (["A/f/x", "A/m/y", "B/f/x", "B/m/y", "c"], ""),
])  # fmt: skip
def test_topmost_folders_that_hold_the_same_classes_again_are_no_groups(tmp_path, folders, found):
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "1.png").touch()
    assert "|".join(repeated_folders(scan_folders(tmp_path).hierarchy)) == found


@pytest.mark.parametrize("folders, found", [
    (["a/fold1", "a/fold2", "b/fold1", "b/fold2"], "a/fold1|a/fold2|b/fold1|b/fold2"),
    (["a/2021", "b/2021", "b/2022", "c"], "a/2021|b/2021"),
    (["a/images", "a/masks", "b/images", "b/masks"], "a/images|a/masks|b/images|b/masks"),
    (["a/images", "b/images"], "a/images|b/images"),
    (["a", "a/thumbs", "b", "b/thumbs", "c"], "a/thumbs|b/thumbs"),
    (["a", "a/masks", "b"], "a/masks"),
    (["a/images", "b"], ""),
    (["a/2021", "a/2022", "b"], ""),
    (["a/egg", "a/rep 1", "b/egg", "b/rep 1"], ""),
    (["a/day 1", "a/day 2", "b/day 1", "b/day 2"], ""),  # stages
    (["a/st1", "a/st2", "b/st1", "b/st2"], ""),
    (["a/year 1", "a/year 2", "b/year 1", "b/year 2"], ""),  # ages
])  # fmt: skip
def test_parts_of_the_work_below_classes_are_no_classes(tmp_path, folders, found):
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "1.png").touch()
    assert "|".join(parted_classes(scan_folders(tmp_path).hierarchy)) == found


@pytest.mark.parametrize(
    "shape, levels",
    [("{haul}/{name}", [1]), ("{name}/{haul}", [-1]), ("{haul}/x/{name}", [2, 1])],
)
def test_folders_of_hauls_are_groups_and_no_classes(tmp_path, shape, levels):
    hauls = [f"haul_{k}" for k in range(5)]
    folders = [shape.format(haul=haul, name=f"g/{name}") for haul in hauls for name in "ab"]
    root = make_folder(tmp_path / "set", dict.fromkeys(folders, 3))
    if len(levels) == 1:
        with pytest.raises(ValueError, match=f"such as .*give --group_level {levels[0]}; leave"):
            load(root)
    splits = load(root, group_level=levels, use_val=True)
    assert splits.hierarchy.class_paths == (("g", "a"), ("g", "b"))
    assert [name.split("/")[0] for name in splits.group_names] == hauls
    for part in (splits.train, splits.val, splits.test):
        others = np.setdiff1d(np.arange(30), part)
        assert len(part) and set(splits.groups[part]).isdisjoint(splits.groups[others])
    haul = {file: next(h for h in hauls if h in file) for file in splits.files}
    assert len({(haul[f], g) for f, g in zip(splits.files, splits.groups)}) == 5


def test_levels_of_groups_that_are_not_there_or_leave_no_class_are_refused(tmp_path):
    root = make_folder(tmp_path / "set", {"h1/a": 6, "h2/b": 6})
    for levels in ([3], [1, 2], [-3]):
        with pytest.raises(ValueError, match="needs a folder at that level .*lies in 'h1/a'"):
            load(root, group_level=levels)
    root = make_folder(tmp_path / "images", {"g/a/images": 6, "g/b/images": 6})
    with pytest.raises(ValueError, match="called 'images': --group_level -1 takes this level out"):
        load(root)
    splits = load(root, group_level=[-1], use_val=True)  # no group, which no split could part
    assert splits.hierarchy.class_paths == (("g", "a"), ("g", "b")) and splits.groups is None
    root = make_folder(tmp_path / "some", {"a/2021": 6, "b/2021": 6, "b/2022": 6, "c": 6})
    with pytest.raises(ValueError, match="give the other classes such folders, too, and --group_l"):
        load(root)
    folders = [f"{part}/h{k}/{name}" for part in ("train", "test") for k in "12" for name in "ab"]
    root = make_folder(tmp_path / "given", dict.fromkeys(folders, 3))
    with pytest.raises(ValueError, match="parts of a split"):  # no groups of images
        load(root, group_level=[1])
    with pytest.raises(
        ValueError, match="'haul_1', 'haul_2' hold the same classes.*--group_level 1"
    ):
        load(
            make_folder(
                tmp_path / "hauls", dict.fromkeys([f.replace("/h", "/haul_") for f in folders], 3)
            ),
            split="given",
        )
    splits = load(root, group_level=[1], split="given")
    assert splits.num_classes == 2 and splits.group_names == ("h1", "h2")
    assert any("parts 2 of 2 groups" in note for note in splits.notes)


def test_lists_of_a_split_beside_class_folders_are_noted(tmp_path):
    root = make_folder(tmp_path / "set", {"a": 6, "b": 6})
    (root / "train.txt").write_text("a/1.png\n")
    assert not any("lists of a split" in note for note in load(root).notes)
    (root / "val.csv").write_text("b/1.png\n")
    (root / "readme.txt").write_text("b/1.png\n")
    (note,) = (note for note in load(root).notes if "lists of a split" in note)
    assert note.startswith("'train.txt', 'val.csv' look") and "--split_column NAME" in note


def test_folds_are_stopped_unless_they_are_said_to_be_classes(tmp_path):
    root = make_folder(tmp_path / "set", dict.fromkeys(["y1/a", "y1/b", "y2/a", "y2/b"], 3))
    with pytest.raises(ValueError, match="y1', .*y2' hold the same classes.*--folders_are_classes"):
        load(root)
    assert load(root, folders_are_classes=True).num_classes == 4
    table = tmp_path / "map.csv"
    table.write_text("label,genus\na,A\nb,B\n")  # which makes one class of equal labels
    assert load(root, label_map=table).num_classes == 2


@pytest.mark.parametrize(
    "words", [["Training set", "Test set"], ["train_images", "test-images"], ["x_train", "x_test"]]
)
def test_what_is_said_to_be_a_split_can_be_used_as_the_split(tmp_path, words):
    folders = [f"{word}/{name}" for word in words for name in ("a", "b")]
    root = make_folder(tmp_path / "set", dict.fromkeys(folders, 3))
    with pytest.raises(ValueError, match="give --split given"):
        load(root)
    splits = load(root, split="given")
    assert splits.hierarchy.class_paths == (("a",), ("b",)) and len(splits.train) == 6


def test_below_the_split_a_test_may_be_the_shell_of_an_urchin(tmp_path):
    names = ["urchin/test", "urchin/whole", "crab"]
    above = [f"{part}/{name}" for part in ("train", "test") for name in names]
    below = [f"{name}/{part}" for part in ("train", "test") for name in names]
    for folder, folders in (("above", above), ("below", below)):
        splits = load(make_folder(tmp_path / folder, dict.fromkeys(folders, 3)), split="given")
        paths = (("crab",), ("urchin", "test"), ("urchin", "whole"))
        assert splits.hierarchy.class_paths == paths and len(splits.test) == 9
        assert any("taken for classes" in note for note in splits.notes)


def test_a_folder_that_may_be_validation_or_test_is_to_be_renamed(tmp_path):
    folders = [f"{part}/{name}" for part in ("train", "holdout") for name in ("a", "b")]
    with pytest.raises(ValueError, match="'holdout' may mean either: rename it to val or test"):
        load(make_folder(tmp_path / "set", dict.fromkeys(folders, 3)), split="given")


def test_one_class_or_a_handful_of_images_is_the_wrong_level(tmp_path):
    one = make_folder(tmp_path / "one", {"Copepoda/Calanus": 12})
    with pytest.raises(
        ValueError, match="all 12 images .* one class, 'Copepoda/Calanus'.*--data_dir"
    ):
        load(one)
    few = make_folder(tmp_path / "few", {"a": 5, "b": 4})
    with pytest.raises(ValueError, match="only 9 images .* in 2 classes: 10 are the least"):
        load(few)
    assert load(make_folder(tmp_path / "few", {"a": 5, "b": 5})).num_classes == 2


@pytest.mark.parametrize("folder", [".", "images"])
def test_a_table_beside_images_of_no_class_is_named(tmp_path, folder):
    root = make_folder(tmp_path / "set", {folder: 12})
    (root / "labels.csv").touch()
    with pytest.raises(ValueError, match="If the classes are in 'labels.csv': --table FILE"):
        load(root)


def test_classes_without_images_are_pruned_on_request_and_listed(tmp_path):
    root = make_folder(tmp_path / "flat", {"Calanus f": 5, "Oithona s": 4, "Chaetoceros": 6})
    tree = tmp_path / "tree.txt"
    tree.write_text("C/more\nC/Oithona s\nC/Calanus f\nD/Chaetoceros\nD/E/gone\nC/Oithona s/egg\n")
    with pytest.raises(ValueError, match="without a folder: 'C/more', .*: --prune_tree"):
        load(root, hierarchy=tree)
    splits = load(root, hierarchy=tree, prune_tree=True)
    paths = (("C", "Oithona s", "."), ("C", "Calanus f"), ("D", "Chaetoceros"))
    assert splits.hierarchy.class_paths == paths
    assert np.bincount(splits.labels).tolist() == [4, 5, 6]
    named = {path.split("/")[0]: label for path, label in zip(splits.files, splits.labels)}
    assert named == {"Oithona s": 0, "Calanus f": 1, "Chaetoceros": 2}
    (note,) = [note for note in splits.notes if "left out of the tree" in note]
    assert "3 classes" in note and "'C/more', 'D/E/gone', 'C/Oithona s/egg'" in note
    tree.write_text("C/Oithona s\nC/Calanus f\n")
    without = "folders without a class there: 'Chaetoceros'.*or leave it out: --exclude"
    with pytest.raises(ValueError, match=without):
        load(root, hierarchy=tree, prune_tree=True)
    with pytest.raises(ValueError, match="--prune_tree .* name it with --hierarchy"):
        load(root, prune_tree=True)


def matched(folders, classes, **options):
    paths = [tuple(text.split("/")) for text in classes]
    tree = Hierarchy.from_paths(paths, self_leaves=True)
    found = match_folders([tuple(text.split("/")) for text in folders], tree, "t", **options)
    return found.classes.tolist(), found.notes


@pytest.mark.parametrize(
    "folders, classes, expected",
    [
        (["Calanus f", "b"], ["b", "x/Calanus_f"], [1, 0]),
        (["Calanus_f", "b"], ["b", "x/Calanus f"], [1, 0]),
        (["Calanus__f ", "b"], ["b", "Calanus  f"], [1, 0]),
        (["CALANUS F", "b"], ["b", "x/calanus_f"], [1, 0]),
        (["a f", "A f"], ["A_f", "a_f"], [1, 0]),  # capitals tell apart what underscores do not
        (["Calanus f", "Calanus_h"], ["Calanus/f", "Calanus/h"], [0, 1]),
        (["Calanus/f", "h"], ["Calanus/Calanus f", "Calanus/Calanus h"], [0, 1]),
        (["g_1/x y", "g_2/x y"], ["g 1/x_y", "g 2/x_y"], [0, 1]),
        (["Calanus f", "c"], ["Calanus f (Gunnerus, 1770)", "c"], [0, 1]),
        (["Calanus f Krøyer, 1838", "c"], ["Calanus f", "c"], [0, 1]),
        (["Tripos f var. g", "c"], ["Tripos f var. g Cleve", "c"], [0, 1]),
        (["Calanus", "c"], ["Calanus Leach, 1816", "c"], [0, 1]),
        (["Cal\u200banus f", "c"], ["Calanus f", "c"], [0, 1]),
        (["001", "c"], ["1", "c"], [0, 1]),
        (["Calanus sp", "c"], ["x/Calanus sp.", "c"], [0, 1]),
        (["1-5 mm", "c"], ["1\u20135 mm", "c"], [0, 1]),
        (["10", "c"], ["10.0", "c"], [0, 1]),
        (["C. fin", "O. fin"], ["x/Oithona fin", "x/Calanus fin"], [1, 0]),
        (["Calanus.f", "c"], ["Calanus f", "c"], [0, 1]),
        (["001.Calanus_f", "c"], ["x/Calanus f", "c"], [0, 1]),
        (["Calanus__45074", "c"], ["Calanus", "c"], [0, 1]),
        (["Calanus f_ott45", "c ott7"], ["Calanus f", "c"], [0, 1]),
    ],
)
def test_other_spellings_are_matched_one_to_one_with_a_note(folders, classes, expected):
    found, (note,) = matched(folders, classes)
    assert found == expected and "written in another way in t" in note
    assert repr(folders[0]) in note and repr(classes[expected[0]]) in note


@pytest.mark.parametrize(
    "folders, classes",
    [
        (["a b", "a_b"], ["a b", "c"]),  # the exact one is taken, and the other has none
        (["AB", "ab"], ["Ab", "c"]),
        (["a_b", "A B"], ["a b", "c"]),
        (["cal_f"], ["x/Cal f", "y/cal F"]),
        (["minor"], ["Calanus/Calanus minor", "Oithona/Oithona minor"]),
        (["Calanus"], ["Calanus Nauplius"]),
        (["01", "001"], ["1", "c"]),
        (["1. Calanus", "2. Calanus"], ["Calanus", "c"]),
        (["a.b", "A.B"], ["a b", "c"]),
        (["C. fin"], ["Calanus fin", "Centropages fin"]),
        (["Calanus_1"], ["Calanus"]),  # a morphotype
        (["Calanus f"], ["Calanus f Claus, 1866", "Calanus f (Gunnerus, 1770)"]),
        (["Calanus f CV"], ["Calanus f"]),  # a stage
    ],
)
def test_spellings_that_fit_twice_are_not_guessed(folders, classes):
    with pytest.raises(ValueError, match="must have the same classes"):
        matched(folders, classes, prune=True)


def test_a_folder_named_as_a_superclass_says_so():
    with pytest.raises(ValueError, match="'Calanus' is a superclass there: .* line of its own"):
        matched(["Calanus", "b"], ["Calanus/f", "b"])


def test_a_tree_of_ids_is_stopped_before_images_are_read(tmp_path):
    root = make_folder(tmp_path / "flat", {"x": 5, "y": 4, "z": 6})
    (tmp_path / "t.csv").write_text("id,group,kind\n1,a,x\n2,a,y\n3,b,z\n")
    with pytest.raises(ValueError, match="no two classes share a superclass"):
        load(root, hierarchy=tmp_path / "t.csv")
    assert not (root / ".taxonomy_cache").exists()
    splits = load(root, hierarchy=tmp_path / "t.csv", levels=["group", "kind"])
    assert splits.hierarchy.class_paths == (("a", "x"), ("a", "y"), ("b", "z"))
    (tmp_path / "t.dat").write_text("x\ny\nz\n")
    with pytest.raises(ValueError, match="--hierarchy_format"):
        load(root, hierarchy=tmp_path / "t.dat")
    splits = load(root, hierarchy=tmp_path / "t.dat", hierarchy_format="paths")
    assert "directly below the root" in splits.notes[0]
    with pytest.raises(ValueError, match="--levels says how a file is read"):
        load(root, levels=["a"])


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no ASCII locale")
def test_a_locale_that_cannot_read_names_is_named_as_the_cause(tmp_path):
    (tmp_path / "Copépodes").mkdir()
    (tmp_path / "Copépodes" / "1.png").touch()
    environment = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    program = "import sys, hierarchies; hierarchies.scan_folders(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path],
        env={**os.environ, **environment},
        cwd=ROOT,
        capture_output=True,
        timeout=PATIENCE,
    )
    message = done.stderr.decode().splitlines()[-1]
    assert "this program's locale (ascii)" in message and "LC_ALL=C.UTF-8" in message
    assert "rename it" not in message


def test_control_characters_in_names_are_exact_in_the_tree_and_harmless_in_notes(tmp_path):
    names = {"a/\x1b]0;x\x07": 1, "a/two\nlines": 6, "b/=cmd|x": 6}
    splits = load(make_folder(tmp_path / "odd", names), use_val=True)
    assert splits.hierarchy.class_names == tuple(path.split("/")[1] for path in sorted(names))
    assert any("\\x1b]0;x\\x07" in note for note in splits.notes)
    assert all(note.isprintable() for note in splits.notes)


@pytest.mark.parametrize(
    "names, shown",
    [
        (("Calanus", "calanus"), "'Calanus' and 'calanus'"),
        (("Calanus sp", "Calanus_sp", "Calanus  sp"), "'Calanus sp' and 'Calanus_sp' and"),
        (("Calanus sp", "Calanus\u00a0sp"), "'Calanus sp' and 'Calanus\\xa0sp'"),
        (("mér", "me\u0301r"), "'m\\xe9r' and 'me\\u0301r'"),
        (("1", "1.0"), "'1' and '1.0'"),
        (("Calanus", "Calanus ?", "Calanus (?)"), "'Calanus' and 'Calanus ?' and"),
        (("Calanus sp.", "Calanus sp"), "'Calanus sp.' and 'Calanus sp'"),
        (("A cf. b", "A cf b"), "'A cf. b' and 'A cf b'"),
        (
            ("Cal fin", "Cal fin (Gunnerus, 1770)", "Cal_fin G. & X 1770"),
            "'Cal fin' and 'Cal fin (",
        ),
        (("A x b", "A \u00d7 b"), "'A x b' and 'A \\xd7 b'"),
        (("1-5 mm", "1\u20135 mm"), "'1-5 mm' and '1\\u20135 mm'"),
        (("Mueller's", "Mueller\u2019s"), "\"Mueller's\" and 'Mueller\\u2019s'"),
        (("Calanus", "Cal\u200banus"), "'Calanus' and 'Cal\\u200banus'"),
        (("Calanus", "C\u0430lanus"), "'Calanus' and 'C\\u0430lanus'"),  # a letter of Cyrillic
    ],
)
def test_names_that_are_perhaps_one_are_noted(names, shown):
    (note,) = doubtful_names(Hierarchy.from_paths([*[(name,) for name in names], ("other",)]))
    assert note.startswith("1 name is written in several ways") and shown in note


def test_names_that_a_spreadsheet_has_changed_are_noted():
    names = ["5-Jan", "Mar-01", "1.2E+06", "Mar", "5-1", "12E5", "May-fly", "1-Maria"]
    (note,) = doubtful_names(Hierarchy.from_paths([(name,) for name in names]))
    assert note.startswith("'5-Jan', 'Mar-01', '1.2E+06' may be what a spreadsheet made of another")


def test_several_labels_in_one_are_noted():
    names = ["Calanus", "Oithona", "Calanus; Oithona", "Oithona and Calanus", "Calanus, adult"]
    (note,) = doubtful_names(Hierarchy.from_paths([(name,) for name in names]))
    assert note.startswith("'Calanus; Oithona', 'Oithona and Calanus' are made of names of others")


def test_names_that_differ_are_not_doubted():
    paths = [
        ("Cruise A 2021",),
        ("Cruise B 2021",),
        ("Rattus", "rattus"),
        ("10",),
        ("1.01",),
        ("x 2",),
        ("x",),
        ("y", "rattus x"),
    ]
    assert doubtful_names(Hierarchy.from_paths(paths)) == []


def test_names_of_folders_that_are_perhaps_one_are_noted(tmp_path):
    splits = load(make_folder(tmp_path / "c", {"a sp": 6, "a_sp": 6, "b": 6}), use_val=True)
    assert any("'a sp' and 'a_sp'" in note for note in splits.notes)


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--levels", "a"], "--levels has no meaning here: it needs --hierarchy"),
        (["--hierarchy_format", "newick"], "--hierarchy_format has no meaning here"),
        (["--prune_tree"], "--prune_tree has no meaning here: it needs --hierarchy"),
        (["--hierarchy", "/dev/zero"], "--hierarchy: /dev/zero is a device"),
    ],
)
def test_flags_of_the_tree_without_a_tree_are_refused(argv, message, capsys):
    start = ["--dataset", "folder", "--data_dir", "x", "--method", "softmax"]
    with pytest.raises(SystemExit):
        command_line.parse([*start, *argv], "", train.DATASETS)
    assert message in capsys.readouterr().err


def test_links_to_images_that_were_not_fetched_are_said(tmp_path):
    root = make_folder(tmp_path / "set", {"a": 6, "b": 6})
    (root / "a" / "gone.jpg").symlink_to(tmp_path / "annex" / "gone.jpg")
    assert any("links that lead nowhere" in note for note in load(root).notes)


def test_the_list_of_a_published_split_is_read_as_other_tables_are(tmp_path):
    root = make_folder(tmp_path / "set", {"a": 6, "b": 6})
    files = scan_folders(root).files[::-1]
    listed = tmp_path / "list.csv"
    listed.write_bytes("\n".join(["n;file", *(f"1;{file}" for file in files)]).encode("utf-16"))
    assert load(root, split="published", split_list=listed).num_classes == 2
    listed.write_text('file\n"' + "x\n" * 70_000)
    with pytest.raises(ValueError, match="list.csv is not a valid table.*quote not closed"):
        load(root, split="published", split_list=listed)


def test_a_wrong_order_of_levels_is_said_before_names_are_compared(tmp_path):
    root = make_folder(tmp_path / "set", {"a": 4, "b": 4, "c": 4})
    (tmp_path / "t.csv").write_text("name,house,room\na,C,G\nb,C,G\nc,C,H\n")
    with pytest.raises(ValueError, match="no two classes share a superclass.*--levels COLUMN"):
        load(root, hierarchy=tmp_path / "t.csv")


@pytest.mark.parametrize(
    "folders, common",
    [
        (("set/A/a", "set/A/b", "set/B/c"), "set"),
        (("set/x/a", "set/x/b"), "set/x"),
        (("A/a", "B/b"), None),
        (("A", "A/a"), None),  # A is a class, too
    ],
)
def test_a_folder_that_all_classes_are_in_is_noted(tmp_path, folders, common):
    splits = load(make_folder(tmp_path / "all", dict.fromkeys(folders, 6)))
    notes = [note for note in splits.notes if "all classes are in" in note]
    assert len(notes) == (common is not None)
    levels = "levels of the tree that say" if "/" in (common or "") else "a level of the tree that"
    assert not notes or notes[0].startswith(f"all classes are in '{common}', {levels}")
    assert not notes or notes[0].endswith("name that folder with --data_dir")


def test_a_folder_in_all_folders_of_a_split_is_no_data_dir(tmp_path):
    names = [f"{part}/set/{name}" for part in ("train", "test") for name in "ab"]
    splits = load(make_folder(tmp_path / "all", dict.fromkeys(names, 4)), split="given")
    (note,) = [note for note in splits.notes if "all classes are in" in note]
    assert note.endswith("to be without, move what is in it up")


def test_a_split_without_test_images_says_what_to_call_them(tmp_path):
    root = make_folder(tmp_path / "all", {"train/a": 6, "train/b": 6, "val/a": 3, "val/b": 3})
    with pytest.raises(ValueError, match="has no test image.*; if val is what to test on, call it"):
        load(root, split="given")


def test_folders_that_relate_no_two_classes_are_noted(tmp_path):
    for name, folders, noted in (
        ("alone", ("a/x", "b/y", "c/z"), True),
        ("flat", ("a", "b", "c"), False),
        ("shared", ("A/a", "A/b", "B/c"), False),
        ("two", ("A/a", "B/b"), False),  # no tree says more of two
    ):
        notes = load(make_folder(tmp_path / name, dict.fromkeys(folders, 6))).notes
        assert any("no two classes share a superclass" in note for note in notes) == noted
