"""Node weights: values by hand, sums along paths, limits and identities."""

import numpy as np
import pytest
from test_distances import random_tree
from trees import FLAT, TREE

from hierarchies import WEIGHTINGS, Hierarchy, node_weights
from hierarchies.weights import cumulative, is_normalised, weighting_options

# root -> a (class), b -> (c (class), d -> e -> (f, g (classes))): heights root 4, b 3, d 2, e 1.
UNEVEN = Hierarchy.from_paths([("a",), ("b", "c"), ("b", "d", "e", "f"), ("b", "d", "e", "g")])
EVEN = Hierarchy.from_paths([(a, a + b, a + b + c) for a in "pqr" for b in "st" for c in "xy"])
TREES = [TREE, FLAT, UNEVEN, EVEN, *map(random_tree, range(4))]
UNNORMALISED = {"n_leaves", "bertinetto", "ones", "hxe"}
NORMALISED = [name for name in WEIGHTINGS if name not in UNNORMALISED]


@pytest.mark.parametrize(
    "name, options, a, b, c, d, e, f",
    [
        ("balanced", {}, 1, 1 / 4, 3 / 4, 1 / 4, 1 / 4, 1 / 4),
        ("power", {"decay": 0.5}, 1, 8 / 15, 7 / 15, 4 / 15, 2 / 15, 1 / 15),
        ("power", {"decay": 2}, 1, 1 / 15, 14 / 15, 2 / 15, 4 / 15, 8 / 15),
        ("lazy", {}, 4 / 4, 1 / 4, 3 / 4, 1 / 4, 1 / 4, 1 / 4),
        ("greedy", {}, 4 / 4, 1 / 4, 3 / 4, 1 / 4, 1 / 4, 1 / 4),
        ("leaf_proportion", {}, 4 / 4, 1 / 4, 3 / 4, 1 / 4, 0, 2 / 4),
        ("leaf", {"leaf_height": 0}, 1, 0, 1, 0, 0, 1),
        ("leaf", {"leaf_height": 1}, 1, 0, 1, 0, 1 / 2, 1 / 2),
        ("leaf", {"leaf_height": 2}, 1, 0, 1, 1 / 3, 1 / 3, 1 / 3),
        ("n_leaves", {}, 1, 1 / 3, 1, 0, 1 / 2, 1),
        ("bertinetto", {"hxe_alpha": np.log(2)}, 1 / 2, 1 / 2, 1 / 4, 1 / 4, 1 / 8, 1 / 16),
        ("ones", {}, 1, 1, 1, 1, 1, 1),
        (
            "hxe",
            {"hxe_alpha": np.log(2)},
            1 / 2,
            1 / 2 - 1 / 4,
            1 / 4,
            1 / 4 - 1 / 8,
            1 / 8 - 1 / 16,
            1 / 16,
        ),
    ],
)
def test_weights_of_a_small_tree_by_hand(name, options, a, b, c, d, e, f):
    np.testing.assert_allclose(
        node_weights(UNEVEN, name, **options), [0, a, b, c, d, e, f, f], rtol=1e-12
    )


def test_lazy_greedy_and_top_bottom_differ_where_heights_jump():
    # root -> (a -> b (class), c -> d -> e (class)): the height drops by two from the root to a.
    tree = Hierarchy.from_paths([("a", "b"), ("c", "d", "e")])
    np.testing.assert_allclose(node_weights(tree, "lazy"), [0, 1 / 3, 2 / 3, 1 / 3, 1 / 3, 1 / 3])
    np.testing.assert_allclose(node_weights(tree, "greedy"), [0, 2 / 3, 1 / 3, 1 / 3, 1 / 3, 1 / 3])
    np.testing.assert_allclose(
        node_weights(tree, "top_bottom"), [0, 1 / 2, 1 / 2, 1 / 3, 1 / 3, 1 / 3]
    )
    np.testing.assert_allclose(
        node_weights(tree, "balanced"), [0, 1 / 2, 1 / 2, 1 / 3, 1 / 3, 1 / 3]
    )


@pytest.mark.parametrize("name", WEIGHTINGS)
@pytest.mark.parametrize("tree", TREES)
def test_weights_are_read_only_and_zero_at_the_root(name, tree):
    weights = node_weights(tree, name)
    assert weights.dtype == np.float64 and weights.shape == (tree.num_nodes,)
    assert weights[0] == 0 and (weights >= 0).all()
    with pytest.raises(ValueError, match="read-only"):
        weights[0] = 1


@pytest.mark.parametrize("name", NORMALISED)
@pytest.mark.parametrize("tree", TREES)
def test_normalised_weights_sum_to_one_on_every_path(name, tree):
    sums = np.array([node_weights(tree, name)[row[row >= 0]].sum() for row in tree.path_table])
    np.testing.assert_allclose(sums, 1, rtol=0, atol=1e-12)
    assert is_normalised(tree, node_weights(tree, name))


@pytest.mark.parametrize("name", sorted(UNNORMALISED))
def test_other_weights_do_not_sum_to_one(name):
    assert not is_normalised(TREE, node_weights(TREE, name))


@pytest.mark.parametrize("tree", TREES)
def test_weights_of_bertinetto_sum_to_their_closed_forms(tree):
    ends = cumulative(tree, node_weights(tree, "hxe", hxe_alpha=0.3))[tree.leaves]
    np.testing.assert_allclose(ends, np.exp(-0.3), rtol=1e-12)
    np.testing.assert_allclose(cumulative(tree, node_weights(tree, "ones")), tree.depth)
    np.testing.assert_allclose(
        node_weights(tree, "bertinetto", hxe_alpha=0), node_weights(tree, "ones")
    )
    # cross-entropy
    np.testing.assert_allclose(node_weights(tree, "hxe", hxe_alpha=0), tree.class_of >= 0)


@pytest.mark.parametrize("tree", TREES)
def test_hxe_weights_telescope_those_of_bertinetto(tree):
    lambdas, weights = (node_weights(tree, name, hxe_alpha=0.7) for name in ("bertinetto", "hxe"))
    for leaf, row in zip(tree.leaves, tree.path_table):
        path = row[row >= 0]
        np.testing.assert_allclose(weights[path[:-1]], lambdas[path[:-1]] - lambdas[path[1:]])
        np.testing.assert_allclose(weights[leaf], lambdas[leaf])


def test_with_all_classes_at_one_depth_balanced_lazy_and_greedy_are_one():
    for name in ("lazy", "greedy", "top_bottom"):
        np.testing.assert_allclose(
            node_weights(EVEN, name), node_weights(EVEN, "balanced"), atol=1e-15
        )


@pytest.mark.parametrize("name", [*NORMALISED, "n_leaves", "ones"])
def test_on_a_flat_tree_all_the_weight_is_on_the_classes(name):
    np.testing.assert_allclose(node_weights(FLAT, name), [0, 1, 1, 1, 1])


@pytest.mark.parametrize("tree", TREES)
def test_power_meets_balanced_at_one_from_both_sides(tree):
    balanced = node_weights(tree, "balanced")
    for decay in (1 - 1e-12, 1, 1 + 1e-12):
        np.testing.assert_allclose(node_weights(tree, "power", decay=decay), balanced, atol=1e-10)


@pytest.mark.parametrize("tree", TREES)
def test_power_puts_all_weight_at_depth_one_or_on_the_classes_in_its_limits(tree):
    np.testing.assert_array_equal(node_weights(tree, "power", decay=0), tree.depth == 1)
    for decay in (1e12, 1e300):
        np.testing.assert_allclose(
            node_weights(tree, "power", decay=decay), tree.class_of >= 0, atol=1e-11
        )


def test_power_is_geometric_along_a_longest_path():
    weights = node_weights(UNEVEN, "power", decay=0.3)[[2, 4, 5, 6]]
    np.testing.assert_allclose(weights[1:] / weights[:-1], 0.3)


@pytest.mark.parametrize("decay", [0, 1e-300, 0.1, 0.999, 1.001, 10, 1e300])
def test_power_neither_overflows_nor_loses_mass_in_a_tree_of_height_400(decay):
    spine = [tuple(f"n{d}" for d in range(k)) + ("leaf",) for k in range(400)]
    tree = Hierarchy.from_paths(spine)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        weights = node_weights(tree, "power", decay=decay)
    assert np.isfinite(weights).all() and is_normalised(tree, weights)


def test_leaf_up_to_the_whole_height_is_balanced():
    for tree in TREES:
        np.testing.assert_allclose(
            node_weights(tree, "leaf", leaf_height=99), node_weights(tree, "balanced")
        )


@pytest.mark.parametrize("name", NORMALISED)
def test_a_single_child_only_moves_weight_along_its_path(name):
    short = Hierarchy.from_paths([("a", "b"), ("a", "c"), ("d",)])
    long = Hierarchy.from_paths([("a", "b"), ("a", "c"), ("only", "d")])
    for tree in (short, long):
        assert cumulative(tree, node_weights(tree, name))[tree.leaves[2]] == pytest.approx(1)


def test_options_left_out_or_none_are_the_defaults():
    assert weighting_options("power") == {"decay": 0.5}
    assert weighting_options("lazy") == {}
    default = node_weights(TREE, "power", decay=None, hxe_alpha=None)
    np.testing.assert_array_equal(default, node_weights(TREE, "power", decay=0.5))


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("Balanced", {}, "weighting must be one of balanced, power"),
        ("balanced", {"decay": 0.5}, "'balanced' takes no option; leave out --decay 0.5"),
        ("power", {"hxe_alpha": 0.1}, "'power' takes only --decay; leave out --hxe_alpha"),
        ("hxe", {"alpha": 0.1}, "'hxe' takes only --hxe_alpha"),
        ("power", {"decay": -0.1}, "decay must be a finite number, 0 or more, got -0.1"),
        ("power", {"decay": np.inf}, "decay must be a finite"),
        ("power", {"decay": np.nan}, "decay must be a finite"),
        ("hxe", {"hxe_alpha": -1}, "hxe_alpha must be a finite number, 0 or more"),
        ("bertinetto", {"hxe_alpha": np.inf}, "hxe_alpha must be a finite"),
        ("leaf", {"leaf_height": -1}, "leaf_height must be a whole number, 0 or more"),
        ("leaf", {"leaf_height": 0.5}, "leaf_height must be a whole number, 0 or more"),
        ("leaf", {"leaf_height": np.inf}, "leaf_height must be a whole number, 0 or more"),
        ("leaf", {"leaf_height": np.nan}, "leaf_height must be a whole number, 0 or more"),
    ],
)
def test_unknown_names_and_options_out_of_place_or_range_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        node_weights(TREE, name, **options)


def test_cumulative_weights_add_up_from_the_root_down():
    weights = np.arange(TREE.num_nodes) / 100
    total = cumulative(TREE, weights)
    assert total[4] == pytest.approx((2 + 3 + 4) / 100)  # A, A2, A2a
    assert total[9] == pytest.approx((7 + 8 + 9) / 100)  # B, B1, x
