"""Raw labels that a table turns into taxa: several into one, of one collection among many."""

import numpy as np
import pytest
from images import make_folder, make_learnable_folder

import data
from data.collection import collect
from data.label_map import apply_label_map
from hierarchies import scan_folders

# as planktonzilla's taxonomy: empty ranks in the middle, rows without any, labels of other sets
MAP = """Dataset,Raw_Labels,Kingdom,Phylum,Class,Genus,proposed_label,qualifier
Lake,cal_f,Animalia,Arthropoda,Copepoda,Calanus,Calanus,female
Lake,cal_m,Animalia,Arthropoda,Copepoda,Calanus,Calanus,male
Lake,diatom,Chromista,,Bacillariophyceae,,Bacillariophyceae,
Lake,fish,Animalia,Chordata,,,Pisces,
Other,fish,Animalia,Chordata,Actinopterygii,,fish,
Other,sand,,,,,detritus,
"""
CLASSES = ("cal_f", "cal_m", "diatom", "fish")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return make_learnable_folder(tmp_path_factory.mktemp("images"), CLASSES, 6)


def load(images, tmp_path, text=MAP, **options):
    (tmp_path / "map.csv").write_text(text)
    options = {"dataset": "folder", "data_dir": str(images), "resize": 16, "gray": True, **options}
    options |= {"label_map": str(tmp_path / "map.csv"), "cache_dir": str(tmp_path / "cache")}
    return data.load(options)


def test_labels_become_their_taxa_and_those_of_one_taxon_one_class(images, tmp_path):
    splits = load(images, tmp_path, label_map_set="Lake")
    assert splits.hierarchy.class_paths == (
        ("Animalia", "Arthropoda", "Copepoda", "Calanus"),
        ("Animalia", "Chordata"),
        ("Chromista", "Bacillariophyceae"),
    )
    assert splits.files == scan_folders(images).files
    np.testing.assert_array_equal(splits.labels, np.repeat([0, 0, 2, 1], 6))
    assert any("4 labels become 3 classes (--label_map)" in note for note in splits.notes)
    assert any("--label_map_levels COLUMN" in note for note in splits.notes)


def test_the_column_that_has_all_classes_is_that_of_the_labels(images, tmp_path):
    text = "ScientificName,AphiaID,Kingdom,Class\n" + "".join(
        f"{name.upper()},{i},K{i % 2},c{i}\n" for i, name in enumerate(CLASSES)
    )
    splits = load(images, tmp_path, text)
    assert splits.hierarchy.class_names == ("c0", "c2", "c1", "c3")
    assert any("4 classes by the column 'ScientificName'" in note for note in splits.notes)


def test_levels_may_be_named(images, tmp_path):
    levels = ["Kingdom", "proposed_label", "qualifier"]
    splits = load(images, tmp_path, label_map_set="Lake", label_map_levels=levels)
    assert splits.hierarchy.class_paths == (
        ("Animalia", "Calanus", "female"),
        ("Animalia", "Calanus", "male"),
        ("Animalia", "Pisces"),
        ("Chromista", "Bacillariophyceae"),
    )


def test_labels_written_in_another_way_are_those_of_one_class(images, tmp_path):
    text = "folder,label\n CAL F ,c\ncal_m,c\nDiatom,d\nfish,f\nFish,other\n"
    splits = load(images, tmp_path, text)
    np.testing.assert_array_equal(splits.labels, np.repeat([0, 0, 1, 2], 6))
    (note,) = (note for note in splits.notes if "in another way" in note)
    assert (
        "2 classes are" in note and "'cal_f' as 'CAL F'" in note and "'diatom' as 'Diatom'" in note
    )
    with pytest.raises(ValueError, match="1 of 4 classes are no raw label .*: cal_f; add them"):
        load(images, tmp_path, text + "Cal_F,two\n")


def test_a_label_that_fits_two_classes_is_that_of_neither(tmp_path):
    images = make_learnable_folder(tmp_path / "set", ("A b", "a_b", "c"), 6)
    with pytest.raises(ValueError, match="2 of 3 classes are no raw label .*: A b, a_b; add them"):
        load(images, tmp_path, "folder,label\nA B,one\nc,two\n")


def test_labels_with_accents_and_numbers_are_found_however_they_are_stored(tmp_path):
    def taxa(*labels, folders):
        names = [(name,) for name in folders]
        files = [f"{name}/{i}.png" for i, name in enumerate(folders)]
        table = tmp_path / "map.csv"
        rows = (f"{name},t{i}\n" for i, name in enumerate(labels))
        table.write_text("folder,label\n" + "".join(rows), "utf-8")
        found = apply_label_map(collect(files, names), table)
        return [found.hierarchy.class_names[c] for c in found.labels]

    assert taxa("e\u0301", "e", folders=("e", "\u00e9")) == ["t1", "t0"]
    assert taxa("1.0", "2.0", folders=("1", "2")) == ["t0", "t1"]


def test_folders_of_one_name_become_one_class_without_groups(tmp_path):
    root = make_folder(
        tmp_path / "set", {f"{size}/{name}": 6 for size in "LS" for name in ("Acartia", "Calanus")}
    )
    splits = load(root, tmp_path, "folder,genus\nAcartia,Acartia\nCalanus,Calanus\n")
    assert splits.hierarchy.class_names == ("Acartia", "Calanus") and splits.groups is None


def test_two_columns_are_a_map_and_what_is_no_taxon_stays_as_it_is(images, tmp_path):
    rows = [f"{old},{new}" for old, new in zip(CLASSES, ("Calanus", "Calanus", "Diatom", ""))]
    splits = load(images, tmp_path, "\n".join(["before,merged", *rows]) + "\n")
    assert splits.hierarchy.class_names == ("Calanus", "Diatom", CLASSES[3])
    assert f"1 label without a taxon stays as written: '{CLASSES[3]}'" in "".join(splits.notes)
    text = MAP.replace("fish,Animalia,Chordata,", "fish,,,")  # as that of sand
    assert load(images, tmp_path, text, label_map_set="Lake").hierarchy.class_paths[-1] == ("fish",)


@pytest.mark.parametrize(
    "text, options, message",
    [
        (MAP, {}, "line 6: 'fish' is 'Animalia/Chordata/Actinopterygii', but 'Animalia/Chordata'"),
        (MAP, {"label_map_set": "Sea"}, "no row has Dataset = 'Sea'; there are Lake, Other"),
        (MAP, {"label_map_set": "Other"}, "3 of 4 classes are no raw label .*: cal_f, cal_m, diat"),
        (MAP.replace("fish", "eel"), {}, "1 of 4 classes are no raw label .*'Raw_Labels': fish"),
        (
            MAP.replace("Raw_Labels", "x").replace("fish", "eel"),
            {},
            "no column is named like one of raw labels .*none of 'Dataset'.* title the column",
        ),
        (
            "a,b\n" + "".join(f"{name},{name}\n" for name in CLASSES),
            {},
            "several have all classes: 'a', 'b'; title the column of your labels 'raw_label'",
        ),
        ("label,genus\na,b\n", {}, "the column 'label' has none of the 4 classes, such as 'cal_f'"),
    ],
)
def test_labels_that_are_missing_or_ambiguous_are_named(images, tmp_path, text, options, message):
    with pytest.raises(ValueError, match=message):
        load(images, tmp_path, text, **options)
