"""Distances between classes: the drawn tree by hand, a slow reference on random trees, and how they
relate.
"""

import numpy as np
import pytest
from trees import FLAT, PATHS, TREE

from hierarchies import DISTANCES, Hierarchy, node_weights
from hierarchies.distances import lca_height, max_path, of_lca, path_length, weighted


def random_tree(seed):
    """A tree of random shape with chains of single children, its classes in random order."""
    rng = np.random.default_rng(seed)
    paths = {
        tuple("abcd"[key] for key in rng.integers(0, rng.integers(1, 5), rng.integers(1, 7)))
        for _ in range(40)
    }
    leaves = [
        path
        for path in sorted(paths)
        if not any(other[: len(path)] == path != other for other in paths)
    ]
    return Hierarchy.from_paths([leaves[index] for index in rng.permutation(len(leaves))])


TREES = [TREE, FLAT, *map(random_tree, range(6))]


def slow_lca(tree, a, b):
    above_a, above_b = (
        [v for v in row if v >= 0] for row in (tree.path_table[a], tree.path_table[b])
    )
    return max([v for v in above_a if v in above_b], default=0)


def test_path_lengths_of_the_drawn_tree():
    lengths = path_length(TREE)
    assert lengths[1, 4] == 2  # A2a and A2b are siblings
    assert lengths[1, 3] == 2 + 1  # A2a up to A, down to A1
    assert lengths[0, 2] == 1 + 3  # C to the root, down to x
    assert lengths[2, 5] == 2 + 2  # x up to B through its lonely parent, down to y
    assert lengths.dtype == np.int32


def test_heights_of_the_lowest_common_ancestors_of_the_drawn_tree():
    heights = lca_height(TREE)
    assert heights[1].tolist() == [3, 0, 3, 2, 1, 3, 3]
    assert heights[3].tolist() == [3, 2, 3, 0, 2, 3, 3]


def test_the_longer_branch_differs_from_the_height_where_the_tree_is_uneven():
    table = max_path(TREE)
    # C and A1 meet at the root, of height 3
    assert table[0, 3] == 2 and lca_height(TREE)[0, 3] == 3
    assert table[2, 6] == 2 and table[5, 6] == 1


@pytest.mark.parametrize("tree", TREES)
def test_tables_agree_with_walking_the_tree_pair_by_pair(tree):
    nodes, depth, height = of_lca(tree, np.arange(tree.num_nodes)), tree.depth, tree.height
    for a, node_a in enumerate(tree.leaves):
        for b, node_b in enumerate(tree.leaves):
            node = slow_lca(tree, a, b)
            assert nodes[a, b] == node
            assert path_length(tree)[a, b] == depth[node_a] + depth[node_b] - 2 * depth[node]
            assert lca_height(tree)[a, b] == height[node]
            assert max_path(tree)[a, b] == max(depth[node_a], depth[node_b]) - depth[node]
        if a == 4:
            break


@pytest.mark.parametrize("name", DISTANCES)
@pytest.mark.parametrize("tree", TREES)
def test_distances_are_symmetric_and_zero_only_on_the_diagonal(name, tree):
    table = DISTANCES[name](tree)
    assert table.shape == (tree.num_classes, tree.num_classes)
    assert np.array_equal(table, table.T)
    assert np.array_equal(table == 0, np.eye(tree.num_classes, dtype=bool))


def test_the_lca_height_is_an_ultrametric():
    table = lca_height(random_tree(1))
    assert (table[:, None, :] <= np.maximum(table[:, :, None], table[None])).all()


def test_with_all_classes_at_one_depth_the_distances_are_one():
    tree = Hierarchy.from_paths([(a, a + b, a + b + c) for c in "xy" for a in "pqr" for b in "st"])
    assert np.array_equal(max_path(tree), lca_height(tree))
    assert np.array_equal(path_length(tree), 2 * lca_height(tree))


def test_weighted_distance_of_the_drawn_tree():
    weights = np.zeros(TREE.num_nodes)
    weights[[2, 3, 4, 5, 6]] = 0.5, 0.2, 0.3, 0.4, 0.6  # A, A2, A2a, A2b, A1
    table = weighted(TREE, weights)
    assert table[1, 4] == pytest.approx((0.3 + 0.4) / 2)
    assert table[1, 3] == pytest.approx((0.2 + 0.3 + 0.6) / 2)
    assert table[1, 2] == pytest.approx((0.5 + 0.2 + 0.3) / 2)
    assert table[0, 2] == 0


@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize(
    "name, meeting", [("greedy", "height"), ("lazy", "depth"), ("leaf_proportion", "n_leaves")]
)
def test_weighted_distances_with_a_closed_form(tree, name, meeting):
    value = of_lca(tree, getattr(tree, meeting))
    expected = {
        "greedy": value / tree.max_depth,
        "lazy": 1 - value / tree.max_depth,
        "leaf_proportion": value / tree.num_classes,
    }[name]
    off_diagonal = ~np.eye(tree.num_classes, dtype=bool)
    table = weighted(tree, node_weights(tree, name))
    np.testing.assert_allclose(table[off_diagonal], expected[off_diagonal], rtol=0, atol=1e-12)
    assert (np.diag(table) == 0).all()


@pytest.mark.parametrize("tree", TREES)
def test_weights_of_one_give_half_the_path_length(tree):
    np.testing.assert_allclose(weighted(tree, node_weights(tree, "ones")), path_length(tree) / 2)


@pytest.mark.parametrize(
    "weights", [np.ones(3), np.full(13, -1.0), np.full(13, np.nan), np.full(13, np.inf)]
)
def test_weights_that_are_no_lengths_of_edges_are_refused(weights):
    with pytest.raises(ValueError, match="weights must"):
        weighted(TREE, weights)


def test_class_order_permutes_rows_and_columns_only():
    order = [3, 0, 6, 2, 5, 1, 4]
    shuffled = Hierarchy.from_paths([PATHS[index] for index in order])
    for distance in DISTANCES.values():
        assert np.array_equal(distance(shuffled), distance(TREE)[np.ix_(order, order)])


def test_a_single_class_has_distance_zero_to_itself():
    lonely = Hierarchy.from_paths([("a", "b")])
    assert [distance(lonely).tolist() for distance in DISTANCES.values()] == [[[0]]] * 3


def test_many_classes_are_permuted_in_blocks_of_rows(monkeypatch):
    monkeypatch.setattr("hierarchies.distances._CHUNK", 10)
    assert [path_length(TREE)[1, 3], max_path(TREE)[0, 3]] == [3, 2]
    assert np.array_equal(lca_height(TREE), lca_height(TREE).T)
