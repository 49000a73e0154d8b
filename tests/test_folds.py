"""Folds, whole groups on one side of every split, groups that a given split parts, copies as
groups, classes that are too small and those that are too large.
"""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from images import make_learnable_folder

import data
from data.folds import Fold, fold_of, fold_split, numbered_folds
from data.groups import group_names, joined_groups, parted
from data.sharing import cap_training, grouped_split

CLASSES = ("Animals/Copepods", "Animals/Worms", "Plants")


@pytest.mark.parametrize("count", [2, 3, 5])
def test_folds_are_of_one_size_in_every_class_and_altogether(count):
    labels = np.repeat([0, 1, 2, 3], [23, 10, 4, 1])
    fold = fold_of(labels, count, seed=3)
    for own in (labels == c for c in range(4)):
        assert np.ptp(np.bincount(fold[own], minlength=count)) <= 1
    assert np.ptp(np.bincount(fold, minlength=count)) <= 1
    np.testing.assert_array_equal(fold, fold_of(labels, count, seed=3))
    assert (fold != fold_of(labels, count, seed=4)).any()


@pytest.mark.parametrize("grouped", [False, True])
def test_every_image_is_tested_once_and_never_by_a_model_that_saw_its_group(grouped):
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    groups = np.random.default_rng(0).integers(0, 25, 100) if grouped else None
    if grouped:
        _, groups = np.unique(groups, return_inverse=True)
    tested = []
    for number in range(1, 6):
        train, val, test = fold_split(labels, f"{number}/5", seed=1, use_val=True, groups=groups)
        tested.append(test)
        assert sorted(np.concatenate([train, val, test]).tolist()) == list(range(100))
        assert len(train) > 6 * len(val) > 0
        if grouped:
            assert not parted(groups, (train, val, test))
        without = fold_split(labels, f"{number}/5", seed=1, use_val=False, groups=groups)
        np.testing.assert_array_equal(without[2], test)
        assert len(without[1]) == 0 and len(without[0]) == 100 - len(test)
    assert sorted(np.concatenate(tested).tolist()) == list(range(100))


@pytest.mark.parametrize(
    "names, folds",
    [
        (
            ("fold10", "fold2", *(f"fold{k}" for k in (1, 3, 4, 5, 6, 7, 8, 9))),
            (9, 1, 0, *range(2, 9)),
        ),
        (("2", "0", "1"), (2, 0, 1)),
        (("f1", "f3"), None),
        (("f2", "f3"), None),
        (("f1", "g2"), None),
        (("f1", "f2", "g"), None),
    ],
)
def test_groups_that_are_named_as_the_folds_are_those_folds(names, folds):
    found = numbered_folds(names, len(names))
    assert (None if found is None else tuple(found.tolist())) == folds
    assert numbered_folds(names, len(names) + 1) is None


@pytest.mark.parametrize("text", ["0/5", "6/5", "1/1", "1/1001", "a/5", "5", "1/5/2", "-1/5", ""])
def test_what_is_no_fold_is_refused(text):
    with pytest.raises(ValueError, match="is not K/N, such as 2/5"):
        Fold()(text)
    assert Fold()("02/5") == "2/5"


IMAGES = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 14)), min_size=8, max_size=70)


@settings(max_examples=max(60, settings().max_examples))
@given(IMAGES, st.integers(0, 5), st.booleans(), st.sampled_from([None, 2, 3, 5]))
@example([(0, g) for g in range(8)], 0, True, 2)
def test_no_group_is_on_both_sides_of_any_split_or_fold(images, seed, use_val, folds):
    labels, keys = np.array(images).T
    _, labels = np.unique(labels, return_inverse=True)
    groups = joined_groups(keys)
    needed = (folds or 2) + use_val * 2
    if groups.max() + 1 < needed + 1:
        return
    if folds is None:
        splits = [grouped_split(labels, groups, seed=seed, use_val=use_val)]
    else:
        fold = fold_of(labels, folds, seed, groups)
        if use_val and any(len(set(groups[fold != k])) < 2 for k in range(folds)):
            with pytest.raises(ValueError, match="1 group of images cannot be shared out"):
                [
                    fold_split(labels, f"{k}/{folds}", seed=seed, use_val=True, groups=groups)
                    for k in range(1, folds + 1)
                ]
            return
        splits = [
            fold_split(labels, f"{k}/{folds}", seed=seed, use_val=use_val, groups=groups)
            for k in range(1, folds + 1)
        ]
        tests = np.concatenate([test for _, _, test in splits])
        assert sorted(tests.tolist()) == list(range(len(labels)))
    for parts in splits:
        assert not parted(groups, parts)
        assert len(parts[0]) and len(parts[2]) and bool(len(parts[1])) == use_val
        assert sorted(np.concatenate(parts).tolist()) == list(range(len(labels)))


def test_parted_groups_are_counted_and_named():
    groups = np.array([0, 0, 0, 1, 1, 2])
    parts = np.array([0, 1]), np.array([], int), np.array([2, 3, 4, 5])
    assert parted(groups, parts) == [(0, (2, 0, 1))]
    keys = np.array(["", "haul 7", "", "x", "x", " "])
    assert group_names(groups, keys, list("abcdef")) == ["haul 7", "x", "f"]
    assert group_names(groups, None, list("abcdef")) == ["a", "d", "f"]


def test_at_most_so_many_training_images_of_a_class_are_kept():
    labels = np.repeat([0, 1, 2], [50, 3, 10])
    train = np.arange(2, 63)
    kept, larger = cap_training(train, labels, 5, seed=0)
    assert np.bincount(labels[kept]).tolist() == [5, 3, 5] and larger == 2
    assert set(kept) <= set(train) and (np.diff(kept) > 0).all()
    assert (cap_training(train, labels, 5, seed=1)[0] != kept).any()
    np.testing.assert_array_equal(cap_training(train, labels, 50, seed=0)[0], train)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Three classes of ten images; the first two of each are equal."""
    root = make_learnable_folder(tmp_path_factory.mktemp("images"), CLASSES, 10)
    for name in CLASSES:
        shutil.copy(root / name / "0.png", root / name / "1.png")
    return root


def load(images, tmp_path, **options):
    options = {"dataset": "folder", "data_dir": str(images), "resize": 16, "gray": True, **options}
    return data.load({**options, "cache_dir": str(tmp_path / "cache")})


def table_of(images, path, **columns):
    """A table with a column for each keyword, a function of the image's number."""
    files = sorted(str(file.relative_to(images)) for file in images.rglob("*.png"))
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "label", *columns])
        for i, name in enumerate(files):
            label = Path(name).parent.name
            writer.writerow([name, label, *(make(i) for make in columns.values())])
    return str(path)


def test_copies_count_as_one_group_on_request(images, tmp_path):
    assert load(images, tmp_path).groups is None
    for seed in range(6):
        splits = load(images, tmp_path, group_copies=True, use_val=True, split_seed=seed)
        assert splits.groups.max() + 1 == 27
        twins = [[i for i, f in enumerate(splits.files) if f.startswith(c)][:2] for c in CLASSES]
        for one, other in twins:
            assert splits.groups[one] == splits.groups[other]
            assert splits.membership[one] == splits.membership[other]
    assert "group" in data.split_table(splits) and splits.group_names[0] in splits.files
    table = table_of(images, tmp_path / "t.csv", haul=lambda i: f"h{i // 4}")
    both = load(images, tmp_path, table=table, group_column="haul", group_copies=True)
    named = load(images, tmp_path, table=table, group_column="haul")
    assert set(named.group_names) == {f"h{i}" for i in range(8)}
    assert both.groups.max() <= named.groups.max() < 27


def test_folds_of_a_collection_share_nothing(images, tmp_path):
    tested = []
    for number in range(1, 4):
        splits = load(images, tmp_path, fold=f"{number}/3", use_val=True)
        tested += [splits.files[i] for i in splits.test]
        assert len(splits.val) == 3 and len(splits.test) == 10
    assert sorted(tested) == sorted(splits.files)
    table = table_of(images, tmp_path / "t.csv", fold=lambda i: 2 - i % 3)
    for number in range(1, 4):
        splits = load(images, tmp_path, table=table, group_column="fold", fold=f"{number}/3")
        assert {splits.group_names[g] for g in splits.groups[splits.test]} == {str(number - 1)}
        assert f"--fold {number}/3 tests 1 group of 3: '{number - 1}'" in splits.notes


def test_a_given_split_that_parts_groups_is_noted_or_refused(images, tmp_path):
    table = table_of(
        images,
        tmp_path / "t.csv",
        set=lambda i: "test" if i % 5 == 4 else "train",
        haul=lambda i: f"h{i // 5}" if i < 10 else f"solo{i}",
    )
    given = {"table": table, "split": "given", "split_column": "set", "group_column": "haul"}
    splits = load(images, tmp_path, **given)
    (note,) = [note for note in splits.notes if "parts 2 of 22 groups" in note]
    assert "'h0' has 4 train, 1 test; 'h1' has 4 train, 1 test" in note
    assert "2 of 6 test images are of groups with images in other splits" in note
    assert splits.groups is not None
    with pytest.raises(ValueError, match="parts 2 of 22 groups .*leave out --strict_groups"):
        load(images, tmp_path, **given, strict_groups=True)
    held = load(images, tmp_path, **given, use_val=True)
    assert len(held.val) and not parted(held.groups, (held.train, held.val, held.test[:0]))


def test_classes_that_are_too_small_are_left_out_and_named(images, tmp_path):
    copy = tmp_path / "images"
    shutil.copytree(images, copy, ignore=shutil.ignore_patterns(".*"))
    for i in range(3, 10):
        (copy / "Plants" / f"{i}.png").unlink()
    splits = load(copy, tmp_path, min_images=4)
    assert splits.hierarchy.class_names == ("Copepods", "Worms") and len(splits.files) == 20
    note = "1 class with fewer than 4 images left out, with 3 images (--min_images): "
    assert any(note + "Plants (3)" in text for text in splits.notes)
    with pytest.raises(ValueError, match="leaves 0 of 3 .*have 10 and 10 images"):
        load(copy, tmp_path, min_images=11)
    assert len(load(copy, tmp_path, min_images=3).files) == 23


def test_large_classes_train_on_some_of_their_images_only(images, tmp_path):
    whole = load(images, tmp_path)
    capped = load(images, tmp_path, max_images=4)
    assert capped.train_counts.tolist() == [4, 4, 4]
    np.testing.assert_array_equal(capped.test, whole.test)
    assert any("3 classes have more than 4 training images" in note for note in capped.notes)
    other = load(images, tmp_path, max_images=4, subset_seed=7)
    assert (other.train != capped.train).any()
