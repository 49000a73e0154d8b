"""Splits: the published procedure, stratification, reduction, and the checks of the Splits
object.
"""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from trees import TREE

from data.apportionment import apportion
from data.sharing import (
    hold_out_calibration,
    random_split,
    reduce_training,
    split_indices,
    split_sizes,
    stratified_split,
)
from data.splits import Splits, coverage_notes, split_table

PUBLISHED = {
    "MicroS": (6738, (4716, 673, 1349), (6064, 674)),
    "MicroL": (8348, (5843, 834, 1671), (7513, 835)),
    "MesoZ": (6653, (4657, 665, 1331), (5987, 666)),
    "NABirds": (48562, (33993, 4856, 9713), (43705, 4857)),
}


@pytest.mark.parametrize("total, with_val, without", PUBLISHED.values(), ids=PUBLISHED)
@pytest.mark.parametrize("split", ["published", "stratified"])
def test_sizes_are_the_published_ones(total, with_val, without, split):
    labels = np.arange(total) % 20
    parts = split_indices(labels, seed=1, use_val=True, split=split)
    assert tuple(map(len, parts)) == with_val
    train, val, test = split_indices(labels, seed=1, use_val=False, split=split)
    assert (len(train), len(val), len(test)) == (without[0], 0, without[1])


def test_sizes_round_as_python_does():
    assert split_sizes(90, 0.7, 0.1) == (62, 9, 19)  # 0.7 * 90 is 62.99999999999999
    with pytest.raises(ValueError, match="leave a test set"):
        split_sizes(90, 0.9, 0.1)


def test_published_is_torch_random_split():
    total, sizes = 131, (91, 13, 27)
    expected = torch.utils.data.random_split(range(total), sizes, torch.Generator().manual_seed(7))
    found = split_indices(np.zeros(total, int), seed=7, use_val=True, split="published")
    for part, subset in zip(found, expected):
        assert part.tolist() == sorted(subset.indices)


def test_published_permutes_the_given_order():
    order = np.random.default_rng(0).permutation(50)
    plain = split_indices(np.zeros(50, int), seed=3, use_val=True, split="published")
    listed = split_indices(np.zeros(50, int), seed=3, use_val=True, split="published", order=order)
    for part, other in zip(plain, listed):
        assert other.tolist() == sorted(order[part])


def test_small_classes_go_where_they_are_needed_first():
    labels = np.repeat([0, 1, 2, 3], [1, 2, 3, 94])
    train, val, test = split_indices(labels, seed=0, use_val=True)
    counts = np.stack([np.bincount(labels[part], minlength=4) for part in (train, val, test)], 1)
    assert counts[:3].tolist() == [[1, 0, 0], [1, 0, 1], [1, 1, 1]]
    assert counts.sum(0).tolist() == [70, 10, 20]


def test_stratified_takes_the_same_share_of_equal_classes():
    labels = np.arange(300) % 3
    for part, size in zip(split_indices(labels, seed=0, use_val=True), (70, 10, 20)):
        assert np.bincount(labels[part]).tolist() == [size] * 3


def test_stratified_without_validation_uses_every_class_in_the_test_set():
    labels = np.repeat(np.arange(30), 2)
    train, val, test = split_indices(labels, seed=0, use_val=False)
    assert (
        np.bincount(labels[test]).tolist() == np.bincount(labels[train]).tolist() == [1] * 30
        and len(val) == 0
    )


def test_stratified_leaves_parts_of_size_zero_empty():
    train, val, test = stratified_split(np.arange(40) % 4, (30, 10, 0), seed=0)
    assert (len(train), len(val), len(test)) == (30, 10, 0)


@given(st.lists(st.integers(1, 60), min_size=2, max_size=30), st.booleans(), st.integers(0, 5))
def test_stratified_covers_every_class_and_every_image_once(counts, use_val, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    sizes = split_sizes(len(labels), *((0.7, 0.1) if use_val else (0.9, 0.0)))
    parts = stratified_split(labels, sizes, seed)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(labels)))
    for c, count in enumerate(counts):
        train, val, test = ((labels[part] == c).sum() for part in parts)
        assert train >= 1
        assert test >= (count >= 2 and sizes[2] > 0)
        assert val >= (count >= 3 and sizes[1] > 0)
        assert use_val or val == 0
    if min(counts) >= 10:
        assert tuple(map(len, parts)) == sizes


def test_the_seed_decides_the_split():
    labels = np.arange(200) % 5
    for split in ("published", "stratified"):
        first, again, other = (
            split_indices(labels, seed=s, use_val=True, split=split) for s in (1, 1, 2)
        )
        assert all(np.array_equal(a, b) for a, b in zip(first, again))
        assert not np.array_equal(first[2], other[2])


def test_the_global_random_state_is_untouched():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    split_indices(np.arange(50) % 5, seed=1, use_val=True)
    reduce_training(np.arange(50), np.arange(50) % 5, 2, seed=1)
    torch.testing.assert_close(torch.rand(3), expected)


def test_too_few_images_are_refused():
    with pytest.raises(ValueError, match="val split; leave out --use_val"):
        split_indices(np.array([0, 0, 1, 1, 2, 2]), seed=0, use_val=True)
    with pytest.raises(ValueError, match="test split"):
        split_indices(np.arange(6), seed=0, use_val=False)
    with pytest.raises(ValueError, match="'stratified' or 'published', got 'official'"):
        split_indices(np.arange(6), seed=0, use_val=False, split="official")
    with pytest.raises(ValueError, match="sum to the 5 images"):
        random_split(np.arange(5), (3, 1), 0)


def test_largest_remainder_by_hand():
    weights, none = np.array([5, 3, 2]), np.zeros(3, int)
    # quotas of 5: 2.5, 1.5, 1.0; one unit is left for the first or the second
    assert apportion(weights, 5, none, weights, np.array([0, 1, 2])).tolist() == [3, 1, 1]
    assert apportion(weights, 5, none, weights, np.array([1, 0, 2])).tolist() == [2, 2, 1]
    # at least 2 of the last: 2 and 3 to share between the others, 1.875 and 1.125
    assert apportion(weights, 5, np.array([0, 0, 2]), weights, np.arange(3)).tolist() == [2, 1, 2]


def test_an_impossible_total_is_moved_to_the_nearest():
    weights = np.array([5, 3])
    assert apportion(weights, 1, np.array([2, 1]), weights, np.arange(2)).tolist() == [2, 1]
    assert apportion(weights, 99, np.array([2, 1]), weights, np.arange(2)).tolist() == [5, 3]


@pytest.mark.parametrize("factor", [1, 2, 3, 8, 32, 2.5])
def test_reduction_keeps_the_floor_of_the_share(factor):
    labels = np.repeat([0, 1, 2], [100, 60, 43])
    indices = np.arange(203)[::2]
    kept, vanished = reduce_training(indices, labels, factor, seed=1)
    assert len(kept) == int(len(indices) // factor) and len(set(kept)) == len(kept)
    assert set(kept) <= set(indices) and (np.diff(kept) > 0).all() and len(vanished) == 0


def test_reduction_keeps_shares_and_names_the_classes_that_vanish():
    labels = np.repeat([0, 1, 2, 3], [80, 16, 3, 1])
    kept, vanished = reduce_training(np.arange(100), labels, 4, seed=0)
    assert np.bincount(labels[kept], minlength=4).min() == 1 and len(kept) == 25
    kept, vanished = reduce_training(np.arange(100), labels, 50, seed=0)
    assert len(kept) == 2 and vanished.tolist() == sorted(set(range(4)) - set(labels[kept]))


def test_reduction_without_strata_draws_from_all_images():
    labels = np.arange(1000) % 200
    kept, vanished = reduce_training(np.arange(1000), labels, 32, seed=42, stratified=False)
    assert len(kept) == 31 and len(vanished) == 200 - len(set(labels[kept]))
    assert not np.array_equal(
        kept, reduce_training(np.arange(1000), labels, 32, seed=1, stratified=False)[0]
    )


@pytest.mark.parametrize("factor", [0, 0.5, 101])
def test_a_reduction_without_meaning_is_refused(factor):
    with pytest.raises(ValueError, match="reduction_factor"):
        reduce_training(np.arange(100), np.zeros(100, int), factor, seed=0)


def make(**changes):
    """Ten images of TREE: class 6 has none at all, class 5 only in training."""
    labels = np.array([0, 1, 2, 3, 4, 5, 0, 1, 2, 3])
    fields = {
        "dataset": "drawn",
        "hierarchy": TREE,
        "files": tuple(f"{i}.png" for i in range(10)),
        "labels": labels,
        "sizes": np.full((10, 2), 7.0),
        "pixels": np.zeros((10, 4, 6, 3), np.uint8),
        "train": np.array([5, 4, 3, 2, 1, 0]),
        "val": np.array([], int),
        "test": np.array([6, 7, 8]),
    }
    return Splits(**{**fields, **changes})


def test_splits_describe_themselves():
    splits = make()
    assert splits.train.tolist() == [0, 1, 2, 3, 4, 5]
    assert (splits.num_classes, splits.channels, splits.image_size) == (7, 3, (4, 6))
    assert splits.train_counts.tolist() == [1, 1, 1, 1, 1, 1, 0]
    assert {name: classes.tolist() for name, classes in splits.missing.items()} == {
        "train": [6],
        "test": [3, 4, 5, 6],
    }
    assert coverage_notes(splits) == (
        "1 of 7 classes has no train image: B/B2/z",
        "4 of 7 classes have no test image: A/A1, A/A2/A2b, B/B2/y, B/B2/z",
    )
    with pytest.raises(ValueError):
        splits.labels[0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        splits.train = splits.test


def test_the_table_has_one_row_an_image():
    table = split_table(make())
    columns = ["file", "class", "label", "split", "fingerprint"]
    assert table.columns.tolist() == columns and len(table) == 10
    assert table.iloc[4].tolist()[:4] == ["4.png", "A/A2/A2b", 4, "train"]
    assert table["split"].value_counts().to_dict() == {"train": 6, "test": 3, "unused": 1}


def test_the_digest_sees_files_labels_and_membership():
    labels = np.array([0, 1, 2, 3, 4, 5, 0, 1, 2, 4])
    variants = [
        make(),
        make(labels=labels),
        make(test=np.array([6, 7, 9])),
        make(val=np.array([9])),
        make(files=tuple(f"{i}.jpg" for i in range(10))),
        make(hierarchy=TREE.collapse()),
    ]
    assert len({splits.digest for splits in variants}) == len(variants)
    assert make().digest == make(notes=("a",), pixels=np.ones((10, 4, 6, 3), np.uint8)).digest


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"labels": np.full(10, 7)}, r"labels must lie in \[0, 7\), got 7"),
        ({"labels": np.full(10, -1)}, r"labels must lie in \[0, 7\), got -1"),
        ({"labels": np.zeros(9, int)}, r"labels must have shape \(10,\)"),
        ({"labels": np.zeros(10)}, "labels must be integers"),
        ({"sizes": np.ones((10, 3))}, r"sizes must have shape \(10, 2\)"),
        ({"sizes": np.zeros((10, 2))}, "original size of '0.png' must be positive"),
        ({"sizes": np.full((10, 2), np.nan)}, "original size of '0.png' must be positive"),
        ({"pixels": np.zeros((10, 4, 6), np.uint8)}, "pixels must be uint8"),
        ({"pixels": np.zeros((10, 4, 6, 3))}, "pixels must be uint8"),
        ({"files": ("a",) * 10}, "come twice"),
        ({"train": np.array([], int)}, "the train split of drawn has no image"),
        ({"test": np.array([], int)}, "the test split of drawn has no image"),
        ({"val": np.array([10])}, r"val split must hold indices in \[0, 10\)"),
        ({"val": np.array([-1])}, r"val split must hold indices in \[0, 10\)"),
        ({"val": np.array([3])}, "image '3.png' is in the splits more than once"),
        ({"val": np.array([9, 9])}, "image '9.png' is in the splits more than once"),
        ({"living": np.ones(6, bool)}, r"living must have shape \(7,\)"),
    ],
)
def test_splits_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)


def test_calibration_images_have_their_share_of_every_class():
    labels = np.repeat(np.arange(5), (12, 7, 4, 2, 1))
    val = np.flatnonzero(np.arange(26) != 3)  # 11 of class 0
    for seed in range(20):
        chosen, held = hold_out_calibration(val, labels, 0.5, seed)
        assert sorted([*chosen, *held]) == val.tolist()
        assert len(held) == 13  # 12.5, rounded
        share = np.bincount(labels[held], minlength=5) - np.bincount(labels[val]) * 13 / 25
        assert np.abs(share).max() < 1
        again = hold_out_calibration(val, labels, 0.5, seed)
        assert [part.tolist() for part in again] == [chosen.tolist(), held.tolist()]


def test_every_image_calibrates_with_the_same_probability():
    labels = np.array([0, 0, 0, 0, 0, 1, 2, 2, 3, 4])  # also the only one of its class
    held = [hold_out_calibration(np.arange(10), labels, 0.3, seed)[1] for seed in range(600)]
    assert all(len(part) == 3 for part in held)
    frequency = np.bincount(np.concatenate(held), minlength=10) / 600
    assert np.abs(frequency - 0.3).max() < 0.08  # more than 4 standard errors


def test_some_validation_images_are_left_to_choose_the_epoch():
    labels = np.zeros(5, int)
    assert len(hold_out_calibration(np.arange(5), labels, 0.99, 1)[0]) == 1
    for count, share in ((1, 0.5), (5, 0.0), (4, 0.1)):
        assert len(hold_out_calibration(np.arange(count), labels, share, 1)[1]) == 0


def test_calibration_images_never_part_a_group():
    labels, groups = np.arange(40) % 4, np.repeat(np.arange(10), 4)
    chosen, held = hold_out_calibration(np.arange(8, 40), labels, 0.5, 3, groups)
    assert not set(groups[chosen]) & set(groups[held]) and len(chosen) + len(held) == 32
    assert len(chosen) == len(held) == 16
    alone = hold_out_calibration(np.arange(4), labels, 0.5, 3, groups)
    assert (len(alone[0]), len(alone[1])) == (4, 0)


def test_calibration_is_a_split_of_its_own():
    parts = {"val": np.array([6]), "calibration": np.array([7, 9]), "test": np.array([8])}
    splits = make(**parts)
    assert splits.calibration.tolist() == [7, 9]
    assert split_table(splits)["split"][6:].tolist() == [
        "val",
        "calibration",
        "test",
        "calibration",
    ]
    assert splits.digest != make(val=np.array([6, 7, 9]), test=np.array([8])).digest
    with pytest.raises(ValueError, match="more than once"):
        make(**{**parts, "calibration": np.array([6])})
    with pytest.raises(ValueError, match="calibration split must hold indices"):
        make(**{**parts, "calibration": np.array([10])})


def test_runs_of_earlier_versions_keep_the_fingerprint_of_their_splits():
    assert make(val=np.array([9])).digest == "749d1c6dfd00bbf6"
