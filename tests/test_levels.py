"""Answers on all levels: the three ways to decode them, by hand and in the limits."""

import numpy as np
import pytest
from scored_outputs import (
    A1,
    A2A,
    A2B,
    NODE_A,
    NODE_A1,
    NODE_A2,
    NODE_A2A,
    NODE_B,
    NODE_B2,
    NODE_C,
    NODE_Y,
    C,
    X,
    Y,
    Z,
    posterior,
    random_scores,
    random_tree,
    scored,
)  # fmt: skip
from trees import TREE

from metrics.levels import (
    decode_levels,
    decode_topdown,
    is_path,
    level_measures,
)
from metrics.posterior import node_probabilities


def shares(**probabilities):
    row = np.zeros(7)
    for name, value in probabilities.items():
        row[{"c": C, "a2a": A2A, "a2b": A2B, "a1": A1, "x": X, "y": Y, "z": Z}[name]] = value
    return row


# C .35 is the best class, A .4 the best top node and A2 the best node of the second level
MIXED = shares(c=0.35, a2a=0.15, a2b=0.13, a1=0.12, x=0.15, y=0.1)


def test_the_three_ways_by_hand():
    nodes = node_probabilities(TREE, MIXED[None])
    np.testing.assert_array_equal(decode_levels(TREE, nodes), [[NODE_A, NODE_C, NODE_C]])
    np.testing.assert_array_equal(decode_topdown(TREE, nodes), [NODE_A2A])
    results = level_measures(posterior([A2A], [MIXED]))
    # levels have 3 (C A B), 5 (C A2 A1 B1 B2) and 7 nodes
    values = {name: result.value for name, result in results.items()}
    assert values == pytest.approx({
        "fpa_leaf": 0, "wap_leaf": 0, "fpa_topdown": 1, "wap_topdown": 1,
        "fpa_level": 0, "wap_level": 3 / 15, "tice_level": 1,
    })  # fmt: skip


def test_a_certain_posterior_gives_one_answer_every_way():
    results = level_measures(posterior([X, C, A1], np.eye(7)[[X, C, A1]]))
    assert {name: result.value for name, result in results.items()} == {
        "fpa_leaf": 1, "wap_leaf": 1, "fpa_topdown": 1, "wap_topdown": 1,
        "fpa_level": 1, "wap_level": 1, "tice_level": 0,
    }  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_on_any_tree_the_full_path_of_the_best_class_is_right_as_often_as_the_class(seed):
    tree = random_tree(seed)
    labels = np.random.default_rng(seed).integers(0, tree.num_classes, 50)
    outputs = scored(labels, random_scores(seed, 50, tree.num_classes), tree)
    results = level_measures(outputs)
    assert results["fpa_leaf"].value == (outputs.predictions == labels).mean()
    assert (tree.class_of[decode_topdown(tree, outputs.read(lambda block: block.nodes))] >= 0).all()


def test_nodes_of_the_levels_are_a_path_if_each_is_below_the_one_before_and_the_last_is_a_class():
    answers = np.array([
        [NODE_A, NODE_A2, NODE_A2A],
        [NODE_C, NODE_C, NODE_C],
        [NODE_A, NODE_A1, NODE_A1],
        [NODE_A, NODE_B2, NODE_Y],
        [NODE_B, NODE_A2, NODE_A2A],
        [NODE_A, NODE_A2, NODE_A2],
    ])  # fmt: skip
    assert is_path(TREE, answers).tolist() == [True, True, True, False, False, False]


def test_equal_probabilities_go_to_the_lower_node():
    nodes = node_probabilities(TREE, shares(y=0.5, z=0.5)[None])
    assert decode_topdown(TREE, nodes)[0] == NODE_Y
    assert decode_levels(TREE, nodes)[0].tolist() == [NODE_B, NODE_B2, NODE_Y]


def test_no_sample_gives_no_value():
    results = level_measures(scored([], np.zeros((0, 7))))
    assert all(np.isnan(result.value) and result.n == 0 for result in results.values())
