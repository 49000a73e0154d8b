"""Settings that promise an accuracy: what each sample needs, and how often new samples are answered
right.
"""

import math

import numpy as np
import pytest
from scored_outputs import A1, A2A, A2B, C, Y, log, random_scores, random_tree
from trees import TREE

from metrics import RULES
from metrics.calibration import fit_temperature
from metrics.conformal import promise
from metrics.decisions import decide
from metrics.needed import needed_lambdas, needed_thresholds
from metrics.pareto import pareto_front
from metrics.posterior import node_probabilities, softmax
from metrics.selective import LADDERS

NEEDED = {name: rule.needed for name, rule in RULES.items() if rule.needed is not None}
OPTION = {name: rule.setting for name, rule in RULES.items()}

pytestmark = pytest.mark.filterwarnings("error")
# A2a .5, A2b .2, A1 .1, C .1, x .1: A2 .7, A .8, B .1
MIXED = np.array([0.1, 0.5, 0.1, 0.1, 0.2, 0.0, 0.0])


def front_of(scores, tree=TREE, rule="threshold"):
    ladder = LADDERS.get(rule, pareto_front)
    return ladder(tree, node_probabilities(tree, softmax(scores)))


def is_right(tree, nodes, labels):
    leaves = tree.leaves[labels]
    return (tree.start[nodes] <= tree.start[leaves]) & (tree.start[leaves] < tree.stop[nodes])


def test_the_threshold_a_sample_needs_is_the_probability_of_its_most_probable_wrong_answer():
    # answers by falling threshold: root 1, A .8, A2 .7, A2a .5
    front = front_of(log([MIXED] * 5))
    needed = needed_thresholds(TREE, front, TREE.leaves[[A2A, A2B, A1, C, Y]])
    np.testing.assert_allclose(needed, [0, 0.5, 0.7, 0.8, 0.8])


def test_the_lambda_a_sample_needs_is_where_its_last_wrong_answer_ends():
    # worth: root lambda, A .8 (log2 7/3 + lambda), A2 .7 (log2 7/2 + lambda), A2a .5 (log2 7 +
    # lambda)
    a, a2, a2a = 0.8 * math.log2(7 / 3), 0.7 * math.log2(7 / 2), 0.5 * math.log2(7)
    front = front_of(log([MIXED] * 4))
    needed = needed_lambdas(TREE, front, TREE.leaves[[A2A, A2B, A1, C]])
    np.testing.assert_allclose(needed, [0, (a2a - a2) / 0.2, (a2 - a) / 0.1, a / 0.2])


def test_a_node_as_probable_as_a_better_one_is_never_answered():
    # A2 (A2a .25, A2b .25) and C both have .5, A2 is deeper and C says more: below .5 the answer is
    # C at once
    probabilities = np.array([[0.5, 0.25, 0, 0, 0.25, 0, 0]] * 2)
    front = pareto_front(TREE, node_probabilities(TREE, probabilities))
    np.testing.assert_array_equal(front.probabilities[0], [1, 0.5, 0.5])
    np.testing.assert_array_equal(needed_thresholds(TREE, front, TREE.leaves[[C, A2B]]), [0, 0.5])
    assert needed_lambdas(TREE, front, TREE.leaves[[C, A2B]])[0] == 0


@pytest.mark.parametrize("rule", NEEDED)
@pytest.mark.parametrize("seed", range(6))
def test_from_what_a_sample_needs_on_its_answer_is_right_and_just_below_it_is_wrong(rule, seed):
    tree, samples = random_tree(seed), 60
    scores, labels = (
        random_scores(seed, samples, 12, 2.0),
        np.random.default_rng(seed).integers(0, 12, samples),
    )
    needed = NEEDED[rule](tree, front_of(scores, tree, rule), tree.leaves[labels])
    assert (needed > 0).any() and (needed == 0).any()
    for i in range(samples):
        room = 1 - needed[i] if OPTION[rule] == "threshold" else 20
        above = needed[i] + room * np.append(0, np.random.default_rng(i).random(4))
        for value in above[above < 1] if OPTION[rule] == "threshold" else above:
            assert is_right(
                tree,
                decide(tree, scores[i : i + 1], rule, **{OPTION[rule]: value}),
                labels[i : i + 1],
            )
        if needed[i] > 0:
            below = decide(tree, scores[i : i + 1], rule, **{OPTION[rule]: needed[i] * (1 - 1e-6)})
            assert not is_right(tree, below, labels[i : i + 1])


@pytest.mark.parametrize("rule", NEEDED)
@pytest.mark.parametrize("target", [0.3, 0.6, 0.8, 0.9])
@pytest.mark.parametrize("spread", [0.5, 2.0, 10.0])
def test_each_sample_left_out_is_answered_right_as_often_as_promised(rule, target, spread):
    # what makes the promise hold: of n + 1 samples any may be the new one; nothing is random here
    tree, n = random_tree(3), 40
    labels = np.random.default_rng(1).integers(0, 12, n + 1)
    scores = random_scores(7, n + 1, 12, spread)
    scores[np.arange(n + 1), labels] += spread
    right = []
    for out in range(n + 1):
        others = np.arange(n + 1) != out
        try:
            value = promise(rule, tree, scores[others], labels[others], target).value
        except (
            ValueError
        ) as error:  # no setting is enough: nothing is promised, and nothing answered
            assert "probability 1" in str(error)
            right.append(True)
            continue
        answer = decide(tree, scores[[out]], rule, **{OPTION[rule]: value})
        right.append(bool(is_right(tree, answer, labels[[out]])[0]))
    assert math.ceil((n + 1) * target) <= sum(right)


@pytest.mark.parametrize("rule", NEEDED)
def test_new_samples_are_answered_right_as_often_as_asked_and_hardly_more(rule):
    tree, n, draws, target = random_tree(5), 99, 60, 0.9
    generator = np.random.default_rng(0)
    shares, counted = [], []
    for _ in range(draws):
        labels = generator.integers(0, 12, n + 400)
        scores = 3 * generator.standard_normal((n + 400, 12))
        scores[np.arange(n + 400), labels] += 4
        made = promise(rule, tree, scores[:n], labels[:n], target)
        nodes = decide(tree, scores[n:], rule, **{OPTION[rule]: made.value})
        shares.append(is_right(tree, nodes, labels[n:]).mean())
        counted.append(made.range[0] <= shares[-1] <= made.range[1])
    assert made.right == 0.9 and made.n == n  # k = 90 of 100
    assert abs(np.mean(shares) - target) < 4 * np.std(shares) / math.sqrt(draws)
    # the interval holds the probability in 95 %; shares of 400 add their own error
    assert np.mean(counted) > 0.85


def test_the_setting_is_the_kth_smallest_need():
    labels = np.full(39, A2B)
    weights = np.linspace(0.5, 0.7, 39)  # P of A2a, the wrong answer
    p = np.zeros((39, 7))
    p[:, A2A], p[:, A2B] = weights, 1 - weights
    made = promise("threshold", TREE, log(p), labels, 0.8)  # k = 0.8 * 40 = 32
    assert (
        made.value == pytest.approx(np.sort(weights)[31])
        and made.right == pytest.approx(0.8)
        and made.n == 39
    )
    assert made.range[0] < 0.8 < made.range[1]


def test_a_sure_and_right_model_needs_no_backing_off():
    for rule in NEEDED:
        assert (
            promise(rule, TREE, 100 * np.eye(7)[np.arange(70) % 7], np.arange(70) % 7, 0.95).value
            == 0
        )


@pytest.mark.parametrize("rule", NEEDED)
def test_what_cannot_be_promised_is_refused_with_a_way_out(rule):
    labels, scores = np.arange(18) % 7, 5 * np.eye(7)[np.arange(18) % 7]
    with pytest.raises(
        ValueError, match=r"with 18 images .* takes 19 or more; .* --target_accuracy 0\.947"
    ):
        promise(rule, TREE, scores, labels, 0.95)
    assert promise(rule, TREE, np.r_[scores, scores[:1]], np.r_[labels, labels[:1]], 0.95).n == 19
    assert promise(rule, TREE, scores, labels, 0.947).right == pytest.approx(18 / 19)
    with pytest.raises(ValueError, match=r"whatever the number .* --target_accuracy 0\.947"):
        promise(rule, TREE, scores, labels, 1.0)
    with pytest.raises(ValueError, match="must lie in"):
        promise(rule, TREE, scores, labels, 1.5)
    with pytest.raises(ValueError, match="with 0 images"):
        promise(rule, TREE, scores[:0], labels[:0], 0.5)
    with pytest.raises(
        ValueError, match="18 of the 18 images .* have a wrong answer of probability 1"
    ):
        promise(rule, TREE, log(np.eye(7)[labels]), (labels + 1) % 7, 0.9)
    certain = np.r_[(labels[:3] + 1) % 7, labels[3:]]  # three wrong: 15 of 19 can be promised
    with pytest.raises(ValueError, match=r"3 of the 18 .* --target_accuracy 0\.789"):
        promise(rule, TREE, log(np.eye(7)[certain]), labels, 0.9)
    assert promise(rule, TREE, log(np.eye(7)[certain]), labels, 0.789).right == 15 / 19


N, DRAWS, TARGET = 47, 700, 0.9  # k = 44 of n + 1 = 48: .9167, between .9 and .9 + 1 / 48


def drawn(rng, draws, n):
    """Scores (draws, n, C) of a model that is mediocre, and labels (draws, n)."""
    labels = rng.integers(0, 7, (draws, n))
    scores = rng.normal(size=(draws, n, 7))
    return scores + 1.5 * (labels[..., None] == np.arange(7)), labels


def needed_by_draw(scores, labels, temperature):
    scores = scores / temperature[:, None, None]
    front = front_of(scores.reshape(-1, 7))
    return needed_thresholds(TREE, front, TREE.leaves[labels.ravel()]).reshape(labels.shape)


@pytest.mark.parametrize("epochs", [1, 5, 20])
def test_the_promise_is_kept_whatever_the_number_of_epochs_to_choose_from(epochs):
    rng = np.random.default_rng(epochs)
    val, val_labels = zip(*(drawn(rng, DRAWS, N) for _ in range(epochs)))
    accuracy = np.stack([(s.argmax(2) == y).mean(1) for s, y in zip(val, val_labels)])
    best = accuracy.argmax(axis=0), np.arange(DRAWS)
    val, val_labels = np.stack(val)[best], np.stack(val_labels)[best]
    temperature = np.array([fit_temperature(*pair) for pair in zip(val, val_labels)])
    # epochs are equally good, so other images do not depend on which of them was chosen
    (held_out, labels), (new, truths) = drawn(rng, DRAWS, N), drawn(rng, DRAWS, 100)
    needed = needed_by_draw(new, truths, temperature)

    def coverage(scores, labels):
        settings = np.sort(needed_by_draw(scores, labels, temperature), axis=1)[:, 43]
        for i in (0, 1):  # as choose_decision does
            made = promise("threshold", TREE, scores[i] / temperature[i], labels[i], TARGET)
            assert settings[i] == pytest.approx(made.value) and made.right == 44 / 48
        return (needed <= settings[:, None] + 1e-12).mean()

    assert TARGET - 0.005 < coverage(held_out, labels) < TARGET + 1 / (N + 1) + 0.005
    if epochs == 20:  # images that chose the epoch fall short
        assert coverage(val, val_labels) < TARGET - 0.005


@pytest.mark.parametrize("rule", NEEDED)
def test_a_target_of_nothing_still_gives_a_setting(rule):
    made = promise(rule, TREE, random_scores(0, 5, 7), np.arange(5), 0.0)
    assert np.isfinite(made.value) and made.right == pytest.approx(1 / 6)
