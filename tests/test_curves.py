import numpy as np
import pandas as pd
import pytest
from scored_outputs import (
    A2A,
    A2B,
    X,
    Y,
    log,
    posterior,
    random_scores,
    random_tree,
    scored,
)
from trees import FLAT

from hierarchies import Hierarchy
from metrics.curves import (
    area,
    operating_curve,
    operating_measures,
    recall_at,
    risk_coverage,
    risk_coverage_area,
)
from metrics.decisions import decide
from metrics.nodes import value_measures
from metrics.posterior import lca_nodes

pytestmark = pytest.mark.filterwarnings("error")
MIXED = [0.1, 0.45, 0.1, 0.1, 0.25, 0, 0]  # A2a .45, A2b .25, A1 .1, C .1, x .1: A .8, A2 .7


def test_a_sample_walks_from_the_root_to_its_most_probable_class():
    # truth A2b: the root, A, A2 are right and more and more complete; A2a is wrong but shares A2
    curve = operating_curve(posterior([A2B], [MIXED]), "depth")
    np.testing.assert_allclose(curve["threshold"], [1, 0.8, 0.7, 0.45, 0], atol=1e-6)
    assert curve["correct"].tolist() == [1, 1, 1, 1, 0]
    np.testing.assert_allclose(curve["recall"], [0, 0, 1 / 3, 2 / 3, 2 / 3])
    np.testing.assert_allclose(curve["precision"], [1, 1, 1, 1, 2 / 3])


def test_the_areas_of_that_walk():
    rows = operating_measures(posterior([A2B], [MIXED]))
    assert rows["ac_depth"].value == pytest.approx(2 / 3)
    assert rows["ap_depth"].value == pytest.approx(2 / 3)
    assert rows["recall@90_depth"].value == pytest.approx(2 / 3)
    info = np.log2(7 / 2) / np.log2(7)
    assert rows["ac_info"].value == pytest.approx(info)
    # a second sample, right to the end, halves what the first loses at .45
    rows = operating_measures(posterior([A2B, A2A], [MIXED, MIXED]))
    # recall 0, 1/3, 2/3 while both are right, then (2/3 + 1) / 2 with one right
    assert rows["ac_depth"].value == pytest.approx(2 / 3 + 1 / 6 * 0.5)
    assert rows["ap_depth"].value == pytest.approx(2 / 3 + 1 / 6 * (2 / 3 + 1) / 2)
    assert rows["recall@95_depth"].value == pytest.approx(2 / 3)


@pytest.mark.parametrize("value", ["depth", "info"])
@pytest.mark.parametrize("seed", range(3))
def test_each_row_is_the_rule_threshold_at_that_threshold(seed, value):
    tree = random_tree(seed)
    scores = np.round(random_scores(seed, 30, 12)) if seed == 0 else random_scores(seed, 30, 12)
    outputs = scored(np.arange(30) % 12, scores, tree)
    curve, truths = operating_curve(outputs, value), tree.leaves[outputs.labels]
    for row in curve[curve["threshold"] < 1].iloc[::5].itertuples():
        nodes = decide(tree, scores, "threshold", threshold=row.threshold)
        rows = value_measures(tree, nodes, truths, value)
        assert row.recall == pytest.approx(rows[f"{value}_recall"].value)
        assert row.precision == pytest.approx(rows[f"{value}_precision"].value)
        assert row.correct == pytest.approx((lca_nodes(tree, nodes, truths) == nodes).mean())
    assert (np.diff(curve["threshold"]) < 0).all()


def test_the_ends_of_the_curve_are_the_root_and_the_classes():
    tree = random_tree(1)
    outputs = scored(np.arange(24) % 12, random_scores(2, 24, 12), tree)
    curve = operating_curve(outputs)
    assert curve.iloc[0][["correct", "precision", "recall"]].tolist() == [1, 1, 0]
    assert curve.iloc[-1]["correct"] == pytest.approx(
        (outputs.predictions == outputs.labels).mean()
    )
    assert curve.iloc[-1]["threshold"] == 0


def test_perfect_posteriors_have_full_areas_and_wrong_ones_none():
    perfect = operating_measures(scored([A2A, Y], log(np.eye(7)[[A2A, Y]])))
    assert {row.value for row in perfect.values()} == {1}
    worst = operating_measures(scored([A2A, Y], log(np.eye(7)[[Y, A2A]])))
    assert {row.value for row in worst.values()} == {0}


def test_the_area_takes_the_best_point_to_the_right():
    assert area(np.array([0, 0.5, 0.8]), np.array([1, 0.2, 0.6])) == pytest.approx(0.8 * 0.6)
    assert area(np.array([0, 0.8, 0.5]), np.array([1, 0.5, 0.9])) == pytest.approx(
        0.5 * 0.9 + 0.3 * 0.5
    )
    assert area(np.array([0.0]), np.array([1.0])) == 0


def test_an_unknown_value_is_an_error():
    with pytest.raises(ValueError, match="'depth' or 'info'"):
        operating_curve(posterior([A2B], [MIXED]), "height")


def test_what_all_classes_share_is_known_without_looking():
    # the rule answers r, depth 1 of 2, where nothing is probable enough; a is certain, once wrongly
    tree = Hierarchy.from_paths([("r", "a"), ("r", "b")])
    outputs = scored([0, 1], [[0.0, -np.inf]] * 2, tree)
    curve = operating_curve(outputs, "depth")
    assert curve["correct"].tolist() == [1, 0.5]
    assert curve["recall"].tolist() == [0.5, 0.75]
    assert operating_measures(outputs)["recall@90_depth"].value == 0.5


def test_a_single_class_is_known_without_looking():
    rows = operating_measures(scored([0, 0], [[1.0], [2.0]], Hierarchy.from_paths([("a", "b")])))
    assert {name: row.value for name, row in rows.items()} == dict.fromkeys(rows, 1)


def test_without_samples_the_curves_are_undefined():
    empty = scored([], np.empty((0, 7)))
    assert all(np.isnan(row.value) and row.n == 0 for row in operating_measures(empty).values())
    assert np.isnan(risk_coverage_area(empty).value) and len(risk_coverage(empty)) == 0


def test_risk_is_the_error_of_the_most_confident():
    # confidences .9 right, .7 wrong, .6 wrong and right
    p = [[0.9, 0.1, 0, 0], [0.7, 0.3, 0, 0], [0.6, 0.4, 0, 0], [0.6, 0, 0.4, 0]]
    outputs = posterior([0, 1, 1, 0], p, FLAT)
    curve = risk_coverage(outputs)
    np.testing.assert_allclose(curve["confidence"], [0.9, 0.7, 0.6], atol=1e-6)
    np.testing.assert_allclose(curve["coverage"], [1 / 4, 2 / 4, 1])
    np.testing.assert_allclose(curve["risk"], [0, 1 / 2, 2 / 4])
    assert risk_coverage_area(outputs).value == pytest.approx((0 + 1 / 2 + 2 * 1 / 2) / 4)


def test_the_order_of_equally_confident_samples_does_not_matter():
    scores, labels = np.eye(7)[[X, X, X, X]], np.array([X, Y, X, Y])
    forward, backward = scored(labels, scores), scored(labels[::-1].copy(), scores)
    assert risk_coverage_area(forward).value == risk_coverage_area(backward).value == 0.5


def test_errors_cost_less_where_the_confidence_is_low():
    scores = np.array([[5.0, 0, 0, 0], [1.0, 0, 0, 0]])
    late, early = scored([0, 1], scores, FLAT), scored([1, 0], scores, FLAT)
    assert risk_coverage_area(late).value == pytest.approx(0.25)
    assert risk_coverage_area(early).value == pytest.approx(0.75)


def test_the_recall_at_a_share_correct_is_the_largest_one():
    curve = pd.DataFrame({"correct": [1, 0.9, 0.8, 0.95], "recall": [0, 0.3, 0.7, 0.5]})
    assert [recall_at(curve, share) for share in (0.8, 0.9, 0.96)] == [0.7, 0.5, 0]
    assert np.isnan(recall_at(pd.DataFrame({"correct": [np.nan], "recall": [np.nan]}), 0.9))


def test_no_probability_is_above_1_where_sums_round():
    # a root with one child: its sevenths sum to 1.0000000000000002
    tree = Hierarchy.from_paths([("x", f"c{c}") for c in range(7)])
    for seed in range(20):
        outputs = scored(np.arange(6), random_scores(seed, 6, 7), tree)
        curve = operating_curve(outputs)
        assert curve["threshold"].max() <= 1.0
        assert outputs.read(lambda block: block.nodes).max() <= 1.0
