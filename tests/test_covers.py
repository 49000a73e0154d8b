"""Answers of several nodes, and posteriors amended by a coarser classifier or by stop shares."""

import itertools
import os

import numpy as np
import pytest
from scored_outputs import (
    A2A,
    A2B,
    NODE_A2,
    NODE_B2,
    NODE_C,
    NODE_X,
    NODE_Y,
    ROOT,
    C,
    X,
    Y,
    Z,
    random_tree,
)  # fmt: skip
from trees import TREE

from hierarchies import Hierarchy
from metrics.amended import coarse_classes, hie, stop_shares
from metrics.covers import least_covers, set_threshold
from metrics.decisions import decide
from metrics.posterior import node_probabilities
from metrics.prohoc import FACTORS, fit_stop_factor, prohoc, prohoc_distance, unseen_nodes


def members(*classes):
    row = np.zeros((1, 7), bool)
    row[0, list(classes)] = True
    return row


def cover(nodes, *classes):
    found, size = least_covers(TREE, members(*classes), nodes)
    return [node for node in found[0].tolist() if node >= 0], int(size[0])


def test_covers_by_hand():
    assert cover(1, A2A, A2B) == ([NODE_A2], 2)
    assert cover(2, A2A, A2B) == ([NODE_A2], 2)  # as small with fewer nodes
    assert cover(1, Y, X) == ([7], 3)  # B, with z
    assert cover(2, Y, X) == ([NODE_X, NODE_Y], 2) or cover(2, Y, X) == ([8, NODE_Y], 2)
    assert cover(2, C, Y, Z) == ([NODE_C, NODE_B2], 3)
    assert cover(1, C, Y) == ([ROOT], 7)


def test_nothing_to_cover_takes_no_node():
    assert cover(2) == ([], 0)


@pytest.mark.parametrize("nodes", [1, 2, 3])
def test_no_other_cover_is_smaller(nodes):
    tree = random_tree(1, 8)
    below = [set(tree.leaf_order[tree.start[v] : tree.stop[v]]) for v in range(tree.num_nodes)]
    wanted = np.random.default_rng(0).random((25, 8)) < 0.4
    found, sizes = least_covers(tree, wanted, nodes)
    for row, answer, size in zip(wanted, found, sizes):
        covers = [
            set().union(*(below[v] for v in choice))
            for count in range(nodes + 1)
            for choice in itertools.combinations(range(tree.num_nodes), count)
        ]
        need = set(np.flatnonzero(row))
        assert size == min(len(covered) for covered in covers if need <= covered)
        covered = set().union(*(below[v] for v in answer if v >= 0))
        assert need <= covered and len(covered) == size


def test_covers_of_no_node_are_refused():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        least_covers(TREE, members(1), 0)


def test_the_set_threshold_is_a_quantile_of_the_truths_or_takes_every_class():
    truths = np.array([0.9, 0.2, 0.5, 0.7])
    assert set_threshold(truths, 0.6) == 0.5  # k = 3 of n + 1 = 5
    assert set_threshold(truths, 0.8) == 0.2
    assert set_threshold(truths, 0.9) == 0.0


COARSE = Hierarchy.from_paths([("C",), ("A", "A2"), ("A", "A1"), ("B", "B1"), ("B", "B2")])


def test_hie_multiplies_by_the_superclass_and_a_shallow_class_by_itself():
    above = coarse_classes(TREE, COARSE)
    assert [COARSE.class_names[k] for k in above] == ["C", "A2", "B1", "A1", "A2", "B2", "B2"]
    fine = np.array([[0.3, 0.3, 0.1, 0.1, 0.1, 0.1, 0.0]])
    coarse = np.array([[0.1, 0.5, 0.2, 0.1, 0.1]])
    product = np.array([0.03, 0.15, 0.01, 0.02, 0.05, 0.01, 0.0])
    np.testing.assert_allclose(hie(fine, coarse, above), [product / product.sum()])


def test_hie_with_an_indifferent_coarse_classifier_changes_nothing():
    fine = np.random.default_rng(0).dirichlet(np.ones(7), 4)
    np.testing.assert_allclose(hie(fine, np.full((4, 5), 0.2), coarse_classes(TREE, COARSE)), fine)


def test_hie_without_common_support_keeps_the_fine_posterior():
    fine, coarse = np.eye(7)[[A2A]], np.eye(5)[[4]]
    np.testing.assert_allclose(hie(fine, coarse, coarse_classes(TREE, COARSE)), fine)


def test_trees_that_do_not_belong_together_are_refused():
    with pytest.raises(ValueError, match="A/A2/A2a has no superclass"):
        coarse_classes(TREE, Hierarchy.from_paths([("C",), ("B",), ("A", "A1")]))
    with pytest.raises(ValueError, match="the class D of the coarse run"):
        coarse_classes(TREE, Hierarchy.from_paths([("A",), ("B",), ("C",), ("D",)]))


def test_stop_shares_by_hand():
    # y and z .5 each: root and B have one child with all the mass, at B2 the entropy is ln 2
    probabilities = node_probabilities(TREE, np.array([[0, 0, 0, 0, 0, 0.5, 0.5]]))
    shares, h = stop_shares(TREE, probabilities)[0], np.log(2)
    expected = {ROOT: 0, NODE_B2: h / (1 + h), NODE_Y: 0.5 / (1 + h)}
    for node, value in expected.items():
        assert shares[node] == pytest.approx(value)
    assert shares.sum() == pytest.approx(1)


def test_a_factor_of_0_leaves_the_classes_and_a_large_one_answers_the_root():
    probabilities = node_probabilities(TREE, np.random.default_rng(0).dirichlet(np.ones(7), 3))
    none = stop_shares(TREE, probabilities, 0.0)
    np.testing.assert_allclose(none[:, TREE.leaves], probabilities[:, TREE.leaves])
    np.testing.assert_allclose(stop_shares(TREE, probabilities, 1e9)[:, ROOT], 1, atol=1e-6)
    with pytest.raises(ValueError, match="factor must be a finite number >= 0"):
        stop_shares(TREE, probabilities, -1.0)


def test_a_certain_posterior_stops_nowhere_and_an_only_child_is_passed():
    certain = stop_shares(TREE, node_probabilities(TREE, np.eye(7)[[X]]))
    assert certain[0, NODE_X] == pytest.approx(1)
    mixed = stop_shares(TREE, node_probabilities(TREE, np.full((1, 7), 1 / 7)))
    assert mixed[0, NODE_X - 1] == 0.0  # B1, whose only child is x


def test_prohoc_answers_the_class_without_a_factor_and_the_root_with_a_large_one():
    scores = np.random.default_rng(0).standard_normal((20, 7))
    best = TREE.leaves[scores.argmax(axis=1)]
    assert (decide(TREE, scores, "prohoc", stop_factor=0.0) == best).all()
    assert (decide(TREE, scores, "prohoc", stop_factor=1e9) == ROOT).all()


def test_prohoc_stops_by_hand_where_siblings_are_alike():
    # of what reaches A2, all of it, 1/2 goes to each child: entropy ln 2, so with f = 2 the share
    # 2 ln 2 / (1 + 2 ln 2) = .581 stops there; with f = 1 it is .409, still more than .295 each
    nodes = node_probabilities(TREE, np.array([[0, 0.5, 0, 0, 0.5, 0, 0]]))
    stop = 2 * np.log(2) / (1 + 2 * np.log(2))
    assert stop_shares(TREE, nodes, 2.0)[0, NODE_A2] == pytest.approx(stop)
    assert prohoc(TREE, nodes, 2.0).tolist() == prohoc(TREE, nodes, 1.0).tolist() == [NODE_A2]
    assert prohoc(TREE, nodes, 0.5).tolist() == [TREE.leaves[A2A]]  # .257 against .371 each


def test_prohoc_by_distance_stops_above_two_classes_where_the_most_probable_node_is_one_of_them():
    # f = 1/2 on the same: .257 stops at A2, .371 goes to each child. The expected path length is
    # .743 from A2, .257 + 2 * .371 = 1 from a child, and more from above
    nodes = node_probabilities(TREE, np.array([[0, 0.5, 0, 0, 0.5, 0, 0]]))
    assert prohoc_distance(TREE, nodes, 0.5).tolist() == [NODE_A2]
    # .8 for one child: without a factor .4 edges from it, 1 from A2
    sure = np.array([[0, 0.8, 0, 0, 0.2, 0, 0]])
    nodes = node_probabilities(TREE, sure)
    assert prohoc_distance(TREE, nodes, 0.0).tolist() == [TREE.leaves[A2A]]
    assert prohoc_distance(TREE, nodes, 1e9).tolist() == [NODE_A2]
    with np.errstate(divide="ignore"):
        scores = np.log(sure)
    assert decide(TREE, scores, "prohoc_distance", stop_factor=0.0).tolist() == [TREE.leaves[A2A]]


@pytest.mark.parametrize("factor", [0.0, 0.7])
def test_prohoc_by_distance_has_the_least_expected_path_length_of_all_nodes(factor):
    tree = random_tree(3)
    posterior = np.random.default_rng(2).dirichlet(np.full(tree.num_classes, 0.3), 60)
    nodes = node_probabilities(tree, posterior)
    paths = [tree.path(v) for v in range(tree.num_nodes)]
    shared = [[len(os.path.commonprefix([a, b])) for a in paths] for b in paths]
    lengths = tree.depth[:, None] + tree.depth - 2 * np.array(shared)
    expected = stop_shares(tree, nodes, factor) @ lengths
    answers = prohoc_distance(tree, nodes, factor)
    np.testing.assert_allclose(expected[np.arange(60), answers], expected.min(axis=1))


def test_what_is_right_for_a_class_never_seen_is_the_deepest_node_with_others():
    # C: the root; A2a and A2b: A2; x, the only class below B1: B; A1: A; y and z: B2
    names = [TREE.names[v] for v in unseen_nodes(TREE)]
    assert names == ["root", "A2", "B", "A", "A2", "B2", "B2"]


def test_the_factor_parts_sure_images_from_those_whose_class_is_taken_away():
    tree = Hierarchy.from_paths([(f"g{c // 4}", f"c{c}") for c in range(12)])
    rng = np.random.default_rng(1)
    labels = np.repeat(np.arange(12), 10)
    group = np.arange(12)[None] // 4 == labels[:, None] // 4
    scores = 8.0 * np.eye(12)[labels] + 4.0 * group + 0.1 * rng.standard_normal((120, 12))
    factor = fit_stop_factor(tree, scores, labels)
    assert 0 < factor < FACTORS[-1]
    assert (decide(tree, scores, "prohoc", stop_factor=factor) == tree.leaves[labels]).all()
    away = np.where(np.eye(12)[labels] > 0, -np.inf, scores)
    truth = unseen_nodes(tree)[labels]
    assert (decide(tree, away, "prohoc", stop_factor=factor) == truth).all()
    assert not (decide(tree, away, "prohoc", stop_factor=0.0) == truth).any()
    with pytest.raises(ValueError, match="at least two classes"):
        fit_stop_factor(tree, scores[:0], labels[:0])
