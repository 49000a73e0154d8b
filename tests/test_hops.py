"""HOPS: hand-worked values, limits, ties, and the definition by a plain loop."""

import numpy as np
import pytest
from scored_outputs import random_scores, random_tree, scored
from trees import FLAT

from hierarchies import Hierarchy
from metrics.hops import hops, position_weights, tiers

# from A2a (class 1) by height of the common ancestor: A2b 1, A1 2, all others 3
NEAR_A2A = [1, 4, 3, 0, 2, 5, 6]


def scores_in_order(order):
    scores = np.zeros((1, len(order)))
    scores[0, order] = np.arange(len(order), 0, -1)
    return scores


def by_loop(outputs, k=None):
    """The published code's steps, sample by sample."""
    values = []
    for scores, label in zip(outputs.scores, outputs.labels):
        heights = np.unique(outputs.lca_height[label])
        tier = [int(np.flatnonzero(heights == h)[0]) for h in outputs.lca_height[label]]
        ideal = sorted(tier)
        found = [tier[c] for c in sorted(range(len(tier)), key=lambda c: (-scores[c], c))]
        worst = ideal[:k][::-1] + ideal[k:] if k else ideal[::-1]
        weights = [0.0] * len(tier)
        for r in set(tier):
            places = [i for i, t in enumerate(ideal) if t == r]
            after = 0.0 if r == max(tier) else 2.0 ** -(r + 1)
            for j, place in enumerate(places):
                weights[place] = 2.0**-r + (after - 2.0**-r) * j / len(places)
        end = k or len(tier)
        lost = sum(weights[i] * abs(ideal[i] - found[i]) for i in range(min(end, len(tier))))
        most = sum(w * abs(e - o) for w, e, o in zip(weights, ideal, worst))
        values.append(min(max(1 - lost / most, 0), 1))
    return np.mean(values)


def test_tiers_count_the_smaller_distances_that_occur():
    heights = np.array([[0, 5, 2, 5], [5, 0, 5, 5], [2, 5, 0, 5], [5, 5, 5, 0]])
    np.testing.assert_array_equal(tiers(heights)[:2], [[0, 2, 1, 2], [1, 0, 1, 1]])


def test_weights_fall_along_a_tier_towards_the_next_one_and_the_last_towards_0():
    np.testing.assert_allclose(
        position_weights([1, 2, 4]), [1, 0.5, 0.375, 0.25, 0.1875, 0.125, 0.0625]
    )


def test_the_value_of_a_ranking_by_hand():
    # ideal tiers 0 1 2 3 3 3 3, weights 1 1/2 1/4 1/8 3/32 2/32 1/32; A2b and A1 changed places:
    # 1/2 + 1/4 lost; reversed 3 3 3 3 2 1 0: 3 + 1 + 1/4 + 0 + 3/32 + 4/32 + 3/32
    swapped = [1, 3, 4, 0, 2, 5, 6]
    result = hops(scored([1], scores_in_order(swapped)))
    assert result["hops"].value == pytest.approx(1 - 0.75 / (4.25 + 10 / 32))
    # of the first five, reversed 3 3 2 1 0 against 0 1 2 3 3: 3 + 1 + 0 + 2/8 + 9/32
    assert result["hops@5"].value == pytest.approx(1 - 0.75 / (4.25 + 9 / 32))


def test_the_ideal_order_has_1_and_its_reverse_0():
    results = hops(scored([1], scores_in_order(NEAR_A2A)))
    assert [results[name].value for name in ("hops", "hops@5", "hops@20")] == [1, 1, 1]
    results = hops(scored([1], scores_in_order(NEAR_A2A[::-1])))
    assert [results[name].value for name in ("hops", "hops@20")] == [0, 0]
    # tiers 3 3 3 3 2 are less than the first five reversed, 3 3 2 1 0, would lose
    assert results["hops@5"].value == pytest.approx(1 - (4.25 + 3 / 32) / (4.25 + 9 / 32))


def test_it_is_the_published_definition_on_a_tree_of_unequal_depth():
    tree = random_tree(5, 30)
    labels = np.random.default_rng(5).integers(0, 30, 40)
    outputs = scored(labels, random_scores(5, 40, 30), tree)
    results = hops(outputs)
    for name, k in (("hops", None), ("hops@5", 5), ("hops@20", 20)):
        assert results[name].value == pytest.approx(by_loop(outputs, k))


def test_a_flat_tree_has_two_tiers_so_only_the_place_of_the_truth_counts():
    # weights 1 1/2 1/3 1/6; truth on place 2: 1 + 1/2 lost of the 1 + 1/6 that the reverse loses
    results = hops(scored([0], [[1.0, 2, 0, -1]], FLAT))
    assert results["hops"].value == 0.0
    assert hops(scored([0], [[2.0, 1, 0, -1]], FLAT))["hops"].value == 1.0


def test_a_single_class_is_right():
    tree = Hierarchy.from_paths([("a", "b")])
    assert hops(scored([0, 0], np.zeros((2, 1)), tree))["hops"].value == 1.0


def test_samples_with_equal_scores_are_counted():
    scores = scores_in_order(NEAR_A2A).repeat(2, axis=0)
    scores[1, 5] = scores[1, 6]
    result = hops(scored([1, 1], scores))["hops_ties"]
    assert result.value == 0.5 and result.n == 2


def test_no_sample_gives_no_value():
    result = hops(scored([], np.zeros((0, 7))))["hops"]
    assert np.isnan(result.value) and result.n == 0
