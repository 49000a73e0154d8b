"""Sums of whole rows instead of single entries: the same Mantel test in less time."""

import numpy as np
import pytest
from scored_outputs import random_tree

from hierarchies import Hierarchy, distances
from metrics import mantel as module
from metrics.mantel import Nested, TreeSums, mantel, row_sums
from metrics.ranks import classwise, fisher_mean, rank_distances


def learned_table(size, rng):
    table = np.triu(rng.random((size, size)).round(6), 1)
    return table + table.T


def some_of(hierarchy, rng):
    """Three or more classes of a tree: where they are in it, and the ranks of their path lengths.
    """  # fmt: skip
    size = hierarchy.num_classes
    kept = np.sort(rng.choice(size, rng.integers(3, size + 1), replace=False))
    depth = hierarchy.depth[hierarchy.leaves]
    tree = distances.path_length(hierarchy)[np.ix_(kept, kept)]
    return Nested(hierarchy.level_table[kept], depth[kept]), rank_distances(tree)


@pytest.mark.parametrize("single", [0, 10**6])
@pytest.mark.parametrize("near", [0, 1, 8])
def test_sums_of_rows_are_those_of_permuted_products_on_any_tree(monkeypatch, single, near):
    monkeypatch.setattr(module, "SINGLE", single)
    monkeypatch.setattr(module, "NEAR", near)
    monkeypatch.setattr(module, "ENTRY", 1e9)  # however small the tree
    rng, ragged = np.random.default_rng(0), 0
    for _ in range(40):
        nested, b = some_of(random_tree(rng), rng)
        size = len(nested.depth)
        a, groups = rank_distances(learned_table(size, rng)), module._Groups(nested)
        ragged += len(set(nested.depth)) > 1
        for x, y in ((a.columns, b.columns), (a.pairs, b.pairs)):
            sums, order = row_sums(x, y, groups), rng.permutation(size)
            assert isinstance(sums, TreeSums)
            expected = (x[order][:, order] * y).sum(axis=1)
            np.testing.assert_allclose(
                sums(order[None])[0], expected, atol=1e-12 if single else 1e-6
            )
    assert ragged > 10


@pytest.mark.parametrize("few", [0, 10**6])
def test_a_table_that_is_no_tree_of_these_groups_is_summed_entry_by_entry(monkeypatch, few):
    monkeypatch.setattr(module, "FEW", few)
    rng = np.random.default_rng(1)
    monkeypatch.setattr(module, "NEAR", 0)
    nested = Nested(np.array([[0, 0], [0, 1], [1, 2], [1, 3]]), np.full(4, 2))
    b, orders = rank_distances(learned_table(4, rng)), np.array([[2, 0, 3, 1], [1, 3, 2, 0]])
    sums = row_sums(b.pairs, b.pairs, module._Groups(nested))
    assert not isinstance(sums, TreeSums)
    expected = [(b.pairs[order][:, order] * b.pairs).sum(axis=1) for order in orders]
    np.testing.assert_allclose(sums(orders), expected)


@pytest.mark.parametrize("near", [0, 2])
def test_the_test_is_the_same_either_way(monkeypatch, near):
    paths = [(f"a{c // 9}", f"b{c // 3}", str(c)) for c in range(30)] + [("c", "x"), ("d", "y")]
    hierarchy, rng = Hierarchy.from_paths(paths), np.random.default_rng(2)
    path, depth = distances.path_length(hierarchy), hierarchy.depth[hierarchy.leaves]
    a, b = rank_distances(path * 0.05 + learned_table(32, rng).round(6)), rank_distances(path)
    plain = mantel(a, b, 199)
    monkeypatch.setattr(module, "ENTRY", 1e9)
    monkeypatch.setattr(module, "NEAR", near)
    assert mantel(a, b, 199, nested=Nested(hierarchy.level_table, depth)) == plain
    alone = mantel(a, b, 199, nested=Nested(hierarchy.level_table, depth), classwise_too=False)
    assert np.isnan(alone[0]) and alone[1] == plain[1]
    assert 0.005 < plain[0] < 1  # neither end, where many sums would do


def test_rows_are_added_where_that_is_less_work():
    """Of 12 classes picking entries is; of 400 in 20 superclasses adding rows."""
    rng = np.random.default_rng(3)
    for size, by_rows in ((12, False), (400, True)):
        hierarchy = Hierarchy.from_paths([(f"a{c // 20}", str(c)) for c in range(size)])
        b = rank_distances(distances.path_length(hierarchy))
        nested = Nested(hierarchy.level_table, hierarchy.depth[hierarchy.leaves])
        sums = row_sums(learned_table(size, rng), b.pairs, module._Groups(nested))
        assert isinstance(sums, TreeSums) == by_rows


def test_permutations_that_change_nothing_count_in_single_precision_too(monkeypatch):
    monkeypatch.setattr(module, "ENTRY", 1e9)
    monkeypatch.setattr(module, "SINGLE", 2)
    hierarchy = Hierarchy.from_paths([("a", "b"), ("a", "c"), ("d", "e"), ("d", "f")])
    pairs = rank_distances(distances.path_length(hierarchy))
    nested = Nested(hierarchy.level_table, hierarchy.depth[hierarchy.leaves])
    # 8 of the 24 permutations keep the two pairs together
    np.testing.assert_allclose(mantel(pairs, pairs, 2000, nested=nested), 8 / 24, atol=0.04)


def test_a_class_equally_far_from_all_others_is_left_out_wherever_it_is_moved():
    rng = np.random.default_rng(5)
    learned, tree = learned_table(6, rng), learned_table(6, rng)
    for table, row in ((learned, 0), (tree, 1)):
        table[row] = table[:, row] = 0.5 * (np.arange(6) != row)
    b, orders = rank_distances(tree), np.random.default_rng(0)
    means = [fisher_mean(classwise(rank_distances(learned), b))]
    for order in (orders.permutation(6) for _ in range(99)):
        means.append(fisher_mean(classwise(rank_distances(learned[order][:, order]), b)))
    expected = np.mean(np.array(means) >= means[0] - 1e-9)
    assert mantel(rank_distances(learned), b, 99)[0] == pytest.approx(expected) and expected < 0.9
