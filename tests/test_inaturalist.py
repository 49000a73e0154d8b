"""iNaturalist 2019: layout, taxonomy from its metadata, splits, and what is refused."""

import json

import numpy as np
import pytest
from filed_images import category, put, write_categories, write_splits

import data
from data.inaturalist import METADATA, read_categories

BIRD, OTHER_BIRD = (
    ("Animalia", "Chordata", "Aves", "Strigiformes", "Strigidae", "Bubo"),
    ("Animalia", "Chordata", "Aves"),
)
CATEGORIES = [
    category(
        12,
        "Plantae",
        "Tracheophyta",
        "Liliopsida",
        "Asparagales",
        "Orchidaceae",
        "Bubo",
        name="Bubo orchis",
    ),
    category(3, *BIRD, name="Bubo bubo"),
    category(4, *BIRD, name="Bubo scandiacus"),
    category(1009, *OTHER_BIRD, "Passeriformes", "Corvidae", "Corvus", name="Corvus corax"),
]
IDS = ["nat0003", "nat0004", "nat0012", "nat1009"]
COUNTS = {
    "train": dict.fromkeys(IDS, 10),
    "val": dict.fromkeys(IDS, 2),
    "test": dict.fromkeys(IDS, 3),
}


@pytest.fixture
def root(tmp_path):
    write_categories(tmp_path / "set" / "train2019.json", CATEGORIES)
    return write_splits(tmp_path / "set", COUNTS)


def load(root, **options):
    return data.load({"dataset": "iNaturalist", "data_dir": root, "resize": 8, **options})


def counts(splits, name):
    return np.bincount(splits.labels[getattr(splits, name)], minlength=splits.num_classes).tolist()


def test_the_seven_ranks_of_the_metadata_are_the_tree(root):
    tree = load(root).hierarchy
    assert tree.class_paths == (
        (*BIRD, "nat0003"),
        (*BIRD, "nat0004"),
        ("Plantae", "Tracheophyta", "Liliopsida", "Asparagales", "Orchidaceae", "Bubo", "nat0012"),
        (*OTHER_BIRD, "Passeriformes", "Corvidae", "Corvus", "nat1009"),
    )
    assert tree.class_names == ("Bubo bubo", "Bubo scandiacus", "Bubo orchis", "Corvus corax")
    assert (tree.depth[tree.leaves] == 7).all() and tree.num_nodes == 1 + 2 + 2 + 2 + 3 + 3 + 3 + 4


def test_a_genus_of_that_name_in_another_kingdom_is_another_node(root):
    tree = load(root).hierarchy
    assert tree.keys.count("Bubo") == 2


def test_training_uses_train_and_testing_test(root):
    splits = load(root)
    assert (counts(splits, "train"), counts(splits, "val"), counts(splits, "test")) == (
        [10] * 4,
        [0] * 4,
        [3] * 4,
    )
    assert all(splits.files[i].startswith("train/nat") for i in splits.train)
    assert all(splits.files[i].startswith("test/nat") for i in splits.test)
    assert any("own 8 validation images are not used (--use_val)" in note for note in splits.notes)
    assert splits.sizes[:3].tolist() == [[20, 12], [21, 12], [22, 12]]


def test_its_own_val_validates(root):
    splits = load(root, use_val=True)
    assert (counts(splits, "train"), counts(splits, "val"), counts(splits, "test")) == (
        [10] * 4,
        [2] * 4,
        [3] * 4,
    )
    assert all(splits.files[i].startswith("val/nat") for i in splits.val) and splits.notes == ()


def test_training_with_and_without_val_share_one_cache(root):
    load(root)
    load(root, use_val=True)
    assert len(list((root / ".taxonomy_cache").glob("*/pixels.bin"))) == 1


def test_without_a_test_folder_val_is_tested(root):
    (root / "test").rename(root.parent / "test")
    splits = load(root)
    assert counts(splits, "test") == [2] * 4 and counts(load(root, use_val=True), "val") == [1] * 4


def test_folders_may_be_called_images(root):
    plain = load(root)
    for split in COUNTS:
        (root / split).rename(root / f"{split}_images")
    named = load(root)
    np.testing.assert_array_equal(named.labels, plain.labels)
    assert named.files[0] == "train_images/nat0003/0000.jpg"
    (root / "val").mkdir()
    with pytest.raises(ValueError, match="both 'val' and 'val_images'"):
        load(root)


@pytest.mark.parametrize("name", METADATA)
def test_metadata_is_found_in_the_folder(root, name):
    (root / "train2019.json").rename(root / name)
    assert load(root).num_classes == 4


def test_metadata_may_be_a_bare_list_and_lie_elsewhere(root, tmp_path):
    expected = load(root).hierarchy
    (root / "train2019.json").unlink()
    with pytest.raises(
        ValueError, match="has none of categories.json, train2019.json, .*--hierarchy"
    ):
        load(root)
    assert (
        load(root, hierarchy=put(tmp_path / "real names.json", json.dumps(CATEGORIES))).hierarchy
        == expected
    )


@pytest.mark.parametrize(
    "name, text",
    [
        ("tree.txt", "a/nat0012\na/nat0003\nb/nat0004\nb/c/nat1009"),
        ("tree.json", '{"a": ["nat0012", "nat0003"], "b": {"nat0004": [], "c": ["nat1009"]}}'),
        (
            "tree.json",
            '[{"name": "a", "children": ["nat0012", "nat0003"]}, {"b": ["nat0004", {"c":'
            ' ["nat1009"]}]}]',
        ),
    ],
)
def test_any_other_tree_is_taken(root, tmp_path, name, text):
    tree = load(root, hierarchy=put(tmp_path / name, text)).hierarchy
    assert tree.class_paths == (
        ("a", "nat0003"),
        ("b", "nat0004"),
        ("a", "nat0012"),
        ("b", "c", "nat1009"),
    )


def test_images_of_a_category_that_the_metadata_lacks_are_refused(root):
    write_categories(root / "train2019.json", CATEGORIES[:3])
    with pytest.raises(ValueError, match="only in the hierarchy: none; only in .*: 'nat1009'"):
        load(root)


def test_a_category_without_images_is_refused(root):
    write_categories(root / "train2019.json", [*CATEGORIES, category(7, *BIRD)])
    with pytest.raises(ValueError, match="only in the hierarchy: 'nat0007'"):
        load(root)


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"genus": None}, r"entry 1 of the categories \(id 3\): 'genus' must be a name, got None"),
        ({"class": " "}, r"\(id 3\): 'class' must be a name"),
        ({"name": 5}, r"\(id 3\): 'name' must be a name, got 5"),
        ({"id": "3"}, "entry 1 of the categories: 'id' must be a whole number, 0 or more, got '3'"),
        ({"id": -3}, "'id' must be .* got -3"),
        ({"id": 12}, "entry 1 of the categories: the id 12 has come before"),
    ],
)
def test_a_malformed_category_is_named(tmp_path, changes, reason):
    path = write_categories(tmp_path / "c.json", [CATEGORIES[0], {**CATEGORIES[1], **changes}])
    with pytest.raises(ValueError, match=f"c.json.*{reason}"):
        read_categories(path)


@pytest.mark.parametrize(
    "text, reason",
    [
        ('{"categories": [\n{"id": 1,\n oops}]}', "line 3: this is not valid JSON"),
        ("[]", "no list 'categories'"),
        ('{"images": []}', "no list 'categories'"),
        ("[1, 2]", "entry 0 of the categories: expected an object, got '1'"),
        ("3", "no list 'categories'"),
    ],
)
def test_files_that_are_no_metadata_are_named(tmp_path, text, reason):
    with pytest.raises(ValueError, match=f"c.json.*{reason}"):
        read_categories(put(tmp_path / "c.json", text))


def test_text_that_is_not_utf8_is_named(tmp_path):
    with pytest.raises(ValueError, match="c.json, line 1: this is not valid UTF-8 text"):
        read_categories(put(tmp_path / "c.json", b'[{"name": "\xff"}]'))


def test_a_broken_json_given_as_hierarchy_is_named_with_its_line(root, tmp_path):
    with pytest.raises(ValueError, match="tree.json, line 2: this is not valid JSON"):
        load(root, hierarchy=put(tmp_path / "tree.json", '{"a":\n oops}'))


def test_1010_categories_at_depth_7_are_read_in_the_order_of_their_ids(tmp_path):
    taxa = [
        [f"{rank}{number // 2**step}" for step, rank in enumerate("fedcba", 5)][::-1]
        for number in range(1010)
    ]
    path = write_categories(
        tmp_path / "c.json", [category(number, *taxa[number]) for number in reversed(range(1010))]
    )
    tree = read_categories(path)
    assert (tree.num_classes, tree.max_depth) == (1010, 7)
    assert [leaf[-1] for leaf in tree.class_paths] == [f"nat{number:04d}" for number in range(1010)]
