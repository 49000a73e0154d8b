"""Splits that never part a group, and are as even as groups allow."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.groups import joined_groups, share_out


def test_images_that_share_any_key_are_one_group_also_by_way_of_others():
    samples = np.array(["a", "a", "b", "", "", "c"])
    copies = np.array([1, 2, 2, 3, 4, -1])
    assert joined_groups(samples).tolist() == [0, 0, 1, 2, 3, 4]
    assert joined_groups(samples, copies).tolist() == [0, 0, 0, 1, 2, 3]


def test_without_a_key_every_image_is_alone():
    assert joined_groups(np.array(["", " ", ""])).tolist() == [0, 1, 2]


def test_groups_of_one_image_give_the_shares_of_every_class():
    labels = np.repeat([0, 1, 2], [100, 50, 10])
    part = share_out(labels, np.arange(160), (0.7, 0.1, 0.2), seed=1)
    counts = np.array([np.bincount(part[labels == c], minlength=3) for c in range(3)])
    np.testing.assert_array_equal(counts, [[70, 10, 20], [35, 5, 10], [7, 1, 2]])


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 12)), min_size=6, max_size=80),
    st.integers(0, 3),
)
def test_no_group_is_on_both_sides_and_no_part_is_empty(images, seed):
    labels, keys = np.array(images).T
    _, labels = np.unique(labels, return_inverse=True)
    groups = joined_groups(keys)
    if groups.max() < 2:
        with pytest.raises(ValueError, match="groups? of images cannot be shared out"):
            share_out(labels, groups, (0.7, 0.1, 0.2), seed)
        return
    part = share_out(labels, groups, (0.7, 0.1, 0.2), seed)
    assert set(part.tolist()) == {0, 1, 2}
    for group in range(groups.max() + 1):
        assert len(set(part[groups == group].tolist())) == 1


def test_classes_are_as_even_as_groups_allow():
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), 10)
    labels = generator.integers(0, 5, 600)
    part = share_out(labels, groups, (0.7, 0.1, 0.2), seed=0)
    for c in range(5):
        found = np.bincount(part[labels == c], minlength=3) / (labels == c).sum()
        np.testing.assert_allclose(found, [0.7, 0.1, 0.2], atol=0.05)


def test_no_move_of_a_single_group_would_be_better():
    generator = np.random.default_rng(2)
    groups = generator.integers(0, 30, 300)
    _, groups = np.unique(groups, return_inverse=True)
    labels, shares = generator.integers(0, 4, 300), np.array([0.7, 0.1, 0.2])

    def misfit(part):
        total = np.bincount(labels)
        filled = np.array([np.bincount(labels[part[groups] == p], minlength=4) for p in range(3)])
        return (shares[:, None] * (filled / total / shares[:, None] - 1) ** 2).sum()

    part = share_out(labels, groups, shares, seed=0)
    own = np.array([part[groups == g][0] for g in range(groups.max() + 1)])
    best = misfit(own)
    for group in range(len(own)):
        for other in range(3):
            changed = own.copy()
            changed[group] = other
            assert misfit(changed) >= best - 1e-9


def test_equal_seeds_give_equal_splits_and_others_different_ones():
    labels, groups = np.zeros(200, int), np.repeat(np.arange(50), 4)
    parts = [share_out(labels, groups, (0.5, 0.5), seed) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(parts[0], parts[1])
    assert (parts[0] != parts[2]).any()
