import itertools

import numpy as np
import pytest
from made_outputs import CHAINS, circle, exact_vectors, make_outputs
from scipy.spatial.distance import squareform
from skbio import TreeNode
from skbio.tree import rf_dists
from trees import FLAT, TREE

from hierarchies import Hierarchy, distances
from metrics import trees
from metrics.trees import (
    ON_REQUEST,
    compare,
    draw,
    hierarchy_splits,
    infer_trees,
    neighbour_joining,
    robinson_foulds,
    to_newick,
    tree_comparisons,
    tree_splits,
    upgma,
)

pytestmark = pytest.mark.filterwarnings("error")

NAMES = "abcdefghijklmnopqrstuvwxyz"
PATH = distances.path_length(TREE).astype(float)
HEIGHT = distances.lca_height(TREE).astype(float)


def bits(*items):
    return sum(1 << item for item in items)


def random_table(size, seed):
    vectors = np.random.default_rng(seed).standard_normal((size, 5))
    return np.linalg.norm(vectors[:, None] - vectors, axis=-1)


def test_the_splits_of_the_tree_are_those_of_its_branches():
    # A = {1, 3, 4}, A2 = {1, 4}, B = {2, 5, 6}, B2 = {5, 6}; B1 holds one class
    assert hierarchy_splits(TREE) == {bits(1, 3, 4), bits(1, 4), bits(2, 5, 6), bits(5, 6)}


def test_two_branches_below_the_root_are_one_split():
    hierarchy = Hierarchy.from_paths([("a", "b"), ("a", "c"), ("d", "e"), ("d", "f")])
    assert hierarchy_splits(hierarchy) == {bits(2, 3)}


def test_upgma_is_the_worked_tree():
    # b and c join at 1 = 2 / 2, a at 3 = 6 / 2
    tree = upgma(squareform([6.0, 6, 2]))
    assert to_newick(tree, "abc") == "(a:3,(b:1,c:1):2);"


def test_neighbour_joining_is_the_worked_tree():
    # tips at 1, 2, 3 and 4 from two inner nodes that are 5 apart: additive distances give the tree
    # back
    table = squareform([1 + 2.0, 1 + 5 + 3, 1 + 5 + 4, 2 + 5 + 3, 2 + 5 + 4, 3 + 4])
    tree = neighbour_joining(table)
    lengths = {
        "".join(sorted(tip.name for tip in node.tips(True))): node.length
        for node in read(tree, 4).preorder()
    }
    assert {tip: lengths[tip] for tip in "abcd"} == {"a": 1, "b": 2, "c": 3, "d": 4}
    assert lengths.get("ab", lengths.get("cd")) == 5


def read(tree, size):
    return TreeNode.read([to_newick(tree, NAMES[:size])])


def test_neighbour_joining_recovers_an_unbalanced_tree_from_its_path_lengths():
    results = compare(neighbour_joining(PATH), TREE)
    assert results["recovered"][:2] == (1, 4)
    assert results["rf"].value == results["rf_normalised"].value == 0


def test_upgma_recovers_an_unbalanced_tree_from_its_lca_heights():
    assert compare(upgma(HEIGHT), TREE)["recovered"].value == 1
    # three branches at the root, all others two: fully resolved
    assert compare(upgma(HEIGHT), TREE)["rf"].value == 0


def test_exact_class_vectors_recover_every_split():
    hierarchy = Hierarchy.from_paths([(f"a{i % 3}", f"b{i % 6}", f"c{i}") for i in range(24)])
    results = tree_comparisons(make_outputs(hierarchy, class_vectors=exact_vectors(hierarchy)))
    for method in ("upgma", "nj"):
        assert results[f"W/{method}_recovered"][:2] == (1, 3 + 6)
        assert results[f"W/{method}_rf"].value == 24 - 3 - 9  # the learned trees are binary
        assert results[f"W/{method}_rf_normalised"].value == pytest.approx(
            (24 - 3 - 9) / (24 - 3 + 9)
        )


def test_class_vectors_against_the_tree_recover_nothing():
    # neighbours on a circle are the pairs that the tree keeps apart
    hierarchy = Hierarchy.from_paths([("a", "b"), ("a", "c"), ("d", "e"), ("d", "f")])
    results = tree_comparisons(make_outputs(hierarchy, class_vectors=circle([0, 90, 5, 95])))
    assert results["W/upgma_recovered"][:2] == results["W/nj_recovered"][:2] == (0, 1)
    assert results["W/upgma_rf"].value == 2
    assert results["W/upgma_rf_normalised"][:2] == (1, 2)


@pytest.mark.parametrize("build", [upgma, neighbour_joining])
def test_robinson_foulds_is_that_of_scikit_bio(build):
    for seed in range(5):
        first, second = build(random_table(12, seed)), build(random_table(12, seed + 100))
        expected = rf_dists([read(first, 12), read(second, 12)], rooted=False)[0, 1]
        assert robinson_foulds(tree_splits(first), tree_splits(second)) == expected
        assert len(tree_splits(first)) == 12 - 3
        assert robinson_foulds(tree_splits(first), tree_splits(first)) == 0


def test_random_trees_recover_a_share_of_splits_and_keep_the_identity_with_rf():
    for seed in range(5):
        results = compare(upgma(random_table(7, seed)), TREE)
        shared = results["recovered"].value * 4
        assert results["rf"].value == pytest.approx((4 - shared) + (4 - shared))


def test_a_flat_tree_has_no_split_to_recover():
    results = tree_comparisons(make_outputs(FLAT))
    assert np.isnan(results["W/upgma_recovered"].value)
    assert results["W/upgma_recovered"][1:3] == (0, 4)
    assert results["W/upgma_rf"][:2] == (1, 1)


def test_absent_prototypes_are_cut_out_of_the_hierarchy_too():
    prototypes = np.linalg.cholesky(1 - HEIGHT / 3)
    prototypes[[0, 4]] = np.nan
    results = tree_comparisons(
        make_outputs(TREE, prototypes=prototypes, class_vectors=np.ones((7, 7)))
    )
    # without C and A2b: A = {1, 3} and B = {2, 5, 6} are one split, B2 = {5, 6} the other
    for method in ("upgma", "nj"):
        assert results[f"P/{method}_recovered"][:3] == (1, 2, 2)
        assert results[f"P/{method}_rf"][:3] == (0, 2 + 2, 2)


@pytest.mark.parametrize("absent", [range(7), range(4)])
def test_too_few_prototypes_are_undefined(absent):
    prototypes = np.eye(7)
    prototypes[list(absent)] = np.nan
    outputs = make_outputs(TREE, prototypes=prototypes)
    for metric in (tree_comparisons, ON_REQUEST["rf_published"]):
        results = [result for name, result in metric(outputs).items() if name.startswith("P/")]
        assert results
        assert all(np.isnan(result.value) and result[1:3] == (0, 7) for result in results)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_few_classes_have_trees_but_no_splits(size):
    outputs = make_outputs(CHAINS[size], class_vectors=np.eye(3)[:size])
    assert all(
        np.isnan(result.value) and result[1:3] == (0, size)
        for result in tree_comparisons(outputs).values()
    )
    for tree in infer_trees(np.eye(3)[:size], "euc").values():
        tips = TreeNode.read([to_newick(tree, "abc"[:size])]).tips(include_self=True)
        assert sorted(tip.name for tip in tips) == list("abc"[:size])


def test_duplicate_class_vectors_are_at_distance_0_and_break_nothing():
    vectors = np.repeat(np.random.default_rng(0).standard_normal((4, 5)), 2, axis=0)
    newick = to_newick(infer_trees(vectors, "arccos")["upgma"], NAMES[:8])
    assert all(f"({a}:0,{b}:0)" in newick for a, b in ("ab", "cd", "ef", "gh"))
    infer_trees(np.ones((8, 5)), "euc")


def test_negative_branches_of_neighbour_joining_become_0():
    table = np.array([[0, 1, 5, 5], [1, 0, 5, 1], [5, 5, 0, 1], [5, 1, 1, 0.0]])
    assert min(neighbour_joining(table).length) == 0


def test_names_are_quoted_so_that_scikit_bio_reads_them_back():
    names = ["a b", "x_y", "(c)", "d,e", "it's", "f:g", "plain-1.5", "[h]", "ü"]
    for tree in infer_trees(np.random.default_rng(0).standard_normal((9, 4)), "euc").values():
        newick = to_newick(tree, names)
        assert sorted(
            tip.name.replace("''", "'") for tip in TreeNode.read([newick]).tips()
        ) == sorted(names)
        assert "plain-1.5:" in newick
        assert "'it''s':" in newick


def test_the_tree_is_drawn_one_node_a_line():
    drawing = draw(upgma(squareform([6.0, 6, 2])), ["root", "b", "c"])
    assert drawing.splitlines() == ["┐", "├── root", "└── ┐", "    ├── b", "    └── c"]


def test_a_long_caterpillar_needs_no_recursion():
    steps = np.arange(1500.0)
    table = np.maximum(steps[:, None], steps)
    np.fill_diagonal(table, 0)
    tree, names = upgma(table), [str(i) for i in range(1500)]
    assert to_newick(tree, names).count("(") == 1499
    assert len(draw(tree, names).splitlines()) == 2999
    assert len(tree_splits(tree)) == 1497


def test_rf_published_compares_with_upgma_of_the_path_lengths():
    outputs = make_outputs(TREE, class_vectors=exact_vectors(TREE))
    result = ON_REQUEST["rf_published"](outputs)["W/rf_published"]
    # distances in the order of the path lengths need not give it, but do here
    assert result[:3] == (0, 8, 0)
    values = {
        ON_REQUEST["rf_published"](make_outputs(FLAT, class_vectors=circle(order)))[
            "W/rf_published"
        ].value
        for order in itertools.permutations([0, 10, 90, 105])
    }
    # the reference of a flat tree is arbitrary: the default is not reported against it
    assert values == {0, 1}


def test_above_the_limit_neighbour_joining_is_undefined_and_counted(monkeypatch):
    monkeypatch.setattr(trees, "NJ_CLASSES", 6)
    results = tree_comparisons(make_outputs(TREE))
    assert np.isnan(results["W/nj_rf"].value)
    assert results["W/nj_rf"].undefined == 7
    assert results["W/upgma_rf"].undefined == 0
    assert infer_trees(np.eye(7), "euc")["nj"] is None
