"""Rules that answer with a superclass below a threshold: ladders, risks and areas, by hand."""

import numpy as np
import pytest
from scored_outputs import (
    A2A,
    A2B,
    NODE_A,
    NODE_A2,
    NODE_C,
    ROOT,
    C,
    posterior,
    random_scores,
    random_tree,
    scored,
)  # fmt: skip
from trees import TREE

from hierarchies import Hierarchy
from metrics.conformal import promise
from metrics.decisions import decide
from metrics.pareto import above_threshold
from metrics.selective import LADDERS, hierarchical_risk_coverage, ladder, risk_areas

# A2a .3, A2b .2, A1 .1: A2 .5, A .6; C .35 is the best class; x .05
MIXED = np.array([0.35, 0.3, 0.05, 0.1, 0.2, 0.0, 0.0])


def rungs(rule):
    front = ladder(posterior([A2A], [MIXED]), rule)
    used = front.nodes[0] >= 0
    return front.nodes[0][used].tolist(), front.probabilities[0][used].round(6).tolist()


def test_climbing_stays_on_the_path_of_the_best_class():
    assert rungs("climbing") == ([ROOT, NODE_C], [1, 0.35])


def test_jumping_takes_the_best_node_of_each_height():
    # height 0: C .35, 1: A2 .5, 2: A .6 (B has height 2, too), 3: the root
    assert rungs("jumping") == ([ROOT, NODE_A, NODE_A2, NODE_C], [1, 0.6, 0.5, 0.35])


def test_a_height_whose_best_node_is_less_probable_than_a_lower_one_is_left_out():
    # C .5 is more probable than every node of height 1 (A2 .3) and as probable as A
    front = ladder(posterior([C], [[0.5, 0.2, 0, 0.2, 0.1, 0, 0]]), "jumping")
    assert front.nodes[0][front.nodes[0] >= 0].tolist() == [ROOT, NODE_C]


def test_selective_answers_the_class_or_nothing():
    assert rungs("selective") == ([ROOT, NODE_C], [1, 0.35])


@pytest.mark.parametrize(
    ("rule", "threshold", "node"),
    [("climbing", 0.3, NODE_C), ("climbing", 0.35, ROOT), ("jumping", 0.49, NODE_A2),
     ("jumping", 0.5, NODE_A), ("jumping", 0.0, NODE_C), ("climbing", 0.99, ROOT)],
)  # fmt: skip
def test_an_answer_needs_more_than_the_threshold(rule, threshold, node):
    scores = np.log(MIXED + 1e-30)[None]
    if threshold == 0.35:  # exactly the probability of C: taken from the ladder, where it is known
        front = ladder(posterior([A2A], [MIXED]), rule)
        assert above_threshold(TREE, front, front.probabilities[0, 1:2])[0] == ROOT
        return
    assert decide(TREE, scores, rule, threshold=threshold)[0] == node


def test_the_curve_of_climbing_by_hand():
    # two samples of A2a: one certain of it, one MIXED, whose answers are the root, then C (wrong)
    outputs = posterior([A2A, A2A], [np.eye(7)[A2A], MIXED])
    curve = hierarchical_risk_coverage(outputs, "climbing")
    assert curve["coverage"].round(6).tolist()[-2:] == [0.5, 1.0]
    assert curve["risk"].tolist()[-2:] == [0.0, 0.5]
    assert curve["severity_risk"].tolist()[-2:] == [0.0, 0.5]
    assert risk_areas(outputs)["haurc_climbing"].value == pytest.approx(0.5 * 0.25)


def test_severity_counts_the_wrong_part_of_an_answer():
    # A2b answered for A2a: 1 - info(A2)/info(leaf), info in units of log2 7
    outputs = posterior([A2A], [np.eye(7)[A2B]])
    last = hierarchical_risk_coverage(outputs, "threshold").iloc[-1]
    assert last["severity_risk"] == pytest.approx(1 - np.log(7 / 2) / np.log(7))
    assert last["risk"] == 1.0


@pytest.mark.parametrize("rule", LADDERS)
def test_the_area_is_that_of_a_fine_grid_within_its_step(rule):
    tree = random_tree(3)
    labels = np.random.default_rng(3).integers(0, tree.num_classes, 60)
    outputs = scored(labels, random_scores(3, 60, tree.num_classes), tree)
    front, grid = ladder(outputs, rule), np.linspace(1, 0, 2001)[1:]
    truth = tree.leaves[labels]
    share = np.log(tree.num_classes / tree.n_leaves) / np.log(tree.num_classes)
    coverage, risk = [0.0], [0.0]
    for threshold in grid:
        nodes = above_threshold(tree, front, threshold)
        right = (tree.start[nodes] <= tree.start[truth]) & (tree.start[truth] < tree.stop[nodes])
        coverage.append(share[nodes].mean())
        risk.append(1 - right.mean())
    area = np.trapezoid(risk, coverage)
    assert risk_areas(outputs)[f"haurc_{rule}"].value == pytest.approx(area, abs=2e-3)


@pytest.mark.parametrize("rule", LADDERS)
def test_on_a_flat_tree_all_rules_are_the_selective_one(rule):
    flat = Hierarchy.from_paths([("a",), ("b",), ("c",)])
    outputs = scored([0, 1, 2, 0], random_scores(1, 4, 3), flat)
    areas = risk_areas(outputs)
    assert areas[f"haurc_{rule}"].value == pytest.approx(areas["haurc_selective"].value)


def test_climbing_keeps_the_accuracy_it_promises():
    generator = np.random.default_rng(0)
    truths = generator.integers(0, 7, 4000)
    scores = 2.0 * np.eye(7)[truths] + generator.standard_normal((4000, 7))
    right = []
    for first in range(0, 2000, 100):  # 20 calibrations of 100 samples
        some = slice(first, first + 100)
        setting = promise("climbing", TREE, scores[some], truths[some], 0.9)
        nodes = decide(TREE, scores[2000:], "climbing", threshold=setting.value)
        leaf = TREE.start[TREE.leaves[truths[2000:]]]
        right.append(((TREE.start[nodes] <= leaf) & (leaf < TREE.stop[nodes])).mean())
    assert 0.895 < np.mean(right) < 0.93


def test_no_sample_and_a_single_class_give_no_value():
    assert np.isnan(risk_areas(scored([], np.zeros((0, 7))))["haurc_climbing"].value)
    single = Hierarchy.from_paths([("a", "b")])
    assert np.isnan(risk_areas(scored([0], np.zeros((1, 1)), single))["haurc_climbing"].value)
