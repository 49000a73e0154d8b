"""Answers within some taxa and at a depth of the tree: posteriors, calibration, refusals."""

import numpy as np
import pytest
from recorded import write_whole_run
from scored_outputs import log
from trees import TREE

from evaluation.answers import Answerer
from evaluation.decision import Decision, choose_decision, cover_threshold
from evaluation.scope import choose_scope
from evaluation.sources import Source
from hierarchies import Hierarchy
from hierarchies.tree import format_path
from metrics.calibration import calibrate
from metrics.conformal import promise
from metrics.posterior import softmax

# C, A/A2/a, B/B1/x, A/A1, A/A2/b, B/B2/y, B/B2/z with the keys of tests/helpers/trees.py
P = np.array([[0.1, 0.2, 0.05, 0.1, 0.15, 0.3, 0.1]])


def written(tree):
    return [format_path(path) for path in tree.class_paths]


def test_the_posterior_is_renormalised_over_the_classes_of_the_taxa():
    scope = choose_scope(TREE, ["A"], None)
    assert written(scope.tree) == [written(TREE)[c] for c in (1, 3, 4)]
    found = softmax(Decision(scope=scope).calibrated(log(P)))
    np.testing.assert_allclose(found, [[0.2 / 0.45, 0.1 / 0.45, 0.15 / 0.45]])
    # the same classes from several taxa, in the order of the run
    several = choose_scope(TREE, [written(TREE)[4], written(TREE)[3], written(TREE)[1]], None)
    assert several.classes.tolist() == scope.classes.tolist()


def test_the_probability_of_a_superclass_is_the_sum_of_its_classes():
    scope = choose_scope(TREE, None, 1)
    assert written(scope.tree) == [written(TREE)[0], "A", "B"]  # a class that ends there stays
    np.testing.assert_allclose(
        softmax(Decision(scope=scope).calibrated(log(P))), [[0.1, 0.45, 0.45]]
    )
    # the temperature goes before the sum
    hot = softmax(Decision(temperature=2.0, scope=scope).calibrated(log(P)))
    p = np.sqrt(P[0]) / np.sqrt(P[0]).sum()
    np.testing.assert_allclose(hot, [[p[0], p[1] + p[3] + p[4], p[2] + p[5] + p[6]]])


def test_both_together():
    scope = choose_scope(TREE, ["A", "B"], 2)
    assert len(scope.classes) == 6 and scope.tree.max_depth == 2 and scope.grouped
    below = [written(scope.tree)[g] for g in scope.groups]
    assert below == ["/".join(written(TREE)[c].split("/")[:2]) for c in scope.classes]
    found = softmax(Decision(scope=scope).calibrated(log(P)))
    expected = [P[0][scope.classes][scope.groups == g].sum() / 0.9 for g in range(4)]
    np.testing.assert_allclose(found[0], expected)
    assert scope.answers_of(np.array([0, 1, -1])).tolist() == [-1, scope.groups[0], -1]


def test_all_classes_at_full_depth_are_no_scope_at_all_and_unknown_images_are_left_alone():
    assert choose_scope(TREE, None, None) is None
    scope = choose_scope(TREE, ["A"], None)
    assert scope.labels(np.array([0, 1, 3, 4, 6, -1])).tolist() == [-1, 0, 1, 2, -1, -1]
    nothing = np.full((1, 7), -np.inf)
    nothing[0, 0] = 0.0  # certain of a class that cannot be: nothing is known of the others
    np.testing.assert_allclose(softmax(Decision(scope=scope).calibrated(nothing)), [[1 / 3] * 3])


def test_a_part_of_a_name_is_answered_with_the_names_that_have_it():
    tree = Hierarchy.from_paths([("Calanus finmarchicus",), ("Oithona similis",), ("Tripos",)])
    with pytest.raises(ValueError, match="not in the tree; nearest is 'Calanus finmarchicus'$"):
        choose_scope(tree, ["calanus"], None)


@pytest.mark.parametrize(
    ("within", "at", "message"),
    [
        (["A9"], None, "--within A9: the name is not in the tree; nearest is 'A"),
        (["Unicorn"], None, "--within Unicorn: the name is not in the tree$"),
        ([written(TREE)[0]], None, "that is one class, so there is nothing to tell apart"),
        (None, 3, "--at 3: answers go down to depth 3 as it is; take a smaller depth"),
        (["A"], 1, "--within A --at 1: at depth 1 the tree has one superclass, 'A'"),
    ],
)
def test_what_leaves_nothing_to_answer_is_refused(within, at, message):
    with pytest.raises(ValueError, match=message):
        choose_scope(TREE, within, at)


@pytest.fixture
def run(tmp_path):
    return write_whole_run(tmp_path, val=True, use_val=True)


def test_temperature_and_promise_are_those_of_the_validation_images_of_the_taxa(run):
    scope = choose_scope(TREE, ["A"], None)
    val = run.arrays("val")
    inside = np.isin(val["labels"], scope.classes)
    scores = val["scores"][inside][:, scope.classes]
    labels = scope.labels(val["labels"][inside])
    decision = choose_decision(Source(run, scope=scope), "threshold", 0.9)
    assert decision.temperature == calibrate(scores, labels).value
    expected = promise("threshold", scope.tree, scores / decision.temperature, labels, 0.9)
    assert decision.promise == expected and expected.n == inside.sum() < len(inside)
    assert decision.options["threshold"] == expected.value
    table = Answerer(scope.tree, decision)(val["scores"]).table
    assert set(table["class"]) <= set(written(scope.tree))


def test_at_a_depth_the_rule_is_set_for_superclasses_and_the_temperature_is_that_of_classes(run):
    scope = choose_scope(TREE, None, 1)
    val = run.arrays("val")
    decision = choose_decision(Source(run, scope=scope), "threshold", 0.9)
    plain = choose_decision(Source(run), "threshold", 0.9)
    np.testing.assert_allclose(decision.temperature, plain.temperature, rtol=1e-6)
    values = decision.calibrated(val["scores"])
    expected = promise("threshold", scope.tree, values, scope.groups[val["labels"]], 0.9)
    np.testing.assert_allclose(decision.options["threshold"], expected.value)
    answers = Answerer(scope.tree, decision)(val["scores"])
    assert scope.tree.depth[answers.nodes].max() == 1
    least, temperature = cover_threshold(Source(run, scope=scope), 0.9)
    assert temperature == decision.temperature
    p = softmax(values)[np.arange(len(values)), scope.groups[val["labels"]]]
    assert np.mean(p >= least - 1e-6) >= 0.9


def test_too_few_validation_images_are_refused_by_the_rules_and_said_by_the_others(tmp_path):
    run = write_whole_run(tmp_path, val=True, use_val=True)
    val = run.arrays("val")
    outside = np.flatnonzero(~np.isin(val["labels"], [1, 3, 4]))
    some = np.flatnonzero(np.isin(val["labels"], [1, 3, 4]))[:3]
    scope = choose_scope(TREE, ["A"], None)

    def keep(rows):
        own = ("labels", "embeddings", "scores", "files", "prototype_scores")
        run.write_arrays("val", {**val, **{name: val[name][rows] for name in own}})

    keep(np.concatenate([outside, some]))
    with pytest.raises(ValueError, match="--within A: an accuracy of 0.9 .* with 3 images"):
        choose_decision(Source(run, scope=scope), "threshold", 0.9)
    with pytest.raises(ValueError, match="--within A: an answer that holds .* with 3 images"):
        cover_threshold(Source(run, scope=scope), 0.9)
    keep(outside)
    with pytest.raises(ValueError, match="--within A: there is no validation image of these"):
        choose_decision(Source(run, scope=scope), "threshold", 0.9)
    decision = choose_decision(Source(run, scope=scope), "majority")
    assert decision.fit is None and decision.temperature == 1
    assert Source(run, scope=scope).split("val")[0].shape == (0, 3)
