import numpy as np
import pytest
from scored_outputs import (
    A1,
    A2A,
    A2B,
    NODE_A,
    NODE_A2,
    NODE_A2A,
    NODE_A2B,
    NODE_X,
    NODE_Y,
    ROOT,
    C,
    X,
    Y,
    log,
    posterior,
    random_scores,
    random_tree,
    scored,
)  # fmt: skip
from trees import FLAT, TREE

from hierarchies import Hierarchy, distances
from hierarchies.weights import node_weights
from metrics.decisions import (
    RULES,
    backing_off,
    crm_gain,
    crm_ranking,
    crm_scores,
    decide,
    plurality_thresholds,
)
from metrics.pareto import concatenate, pareto_front, top_node
from metrics.posterior import information, node_probabilities, softmax

pytestmark = pytest.mark.filterwarnings("error")
# A2a .5, A2b .2, A1 .1, C .1, x .1: A2 .7, A .8, B .1
MIXED = np.array([0.1, 0.5, 0.1, 0.1, 0.2, 0.0, 0.0])


def answer(probabilities, rule, tree=TREE, **options):
    return decide(tree, log(np.atleast_2d(probabilities)), rule, **options).tolist()


def table(tree, distance):
    tables = {"path": distances.path_length, "lca_height": distances.lca_height}
    return (
        distances.weighted(tree, distance)
        if isinstance(distance, np.ndarray)
        else tables[distance](tree)
    )


def test_argmax_answers_the_most_probable_class_and_the_lowest_of_equal_ones():
    assert answer(MIXED, "argmax") == [NODE_A2A]
    assert answer([0, 0.1, 0.3, 0, 0.3, 0.3, 0], "argmax") == [NODE_X]


def test_crm_prefers_a_class_with_near_alternatives():
    # expected path: y 0.6 * 6 = 3.6, A2a and A2b 0.3 * 2 + 0.4 * 6 = 3.0, A1 0.6 * 3 + 0.4 * 5 =
    # 3.8, C 1.0 * 4 = 4
    p = [0, 0.3, 0, 0, 0.3, 0.4, 0]
    assert answer(p, "argmax") == [NODE_Y]
    assert answer(p, "crm") == [NODE_A2A]  # of two equal costs and probabilities the lower class
    ranking = crm_ranking(TREE, log([p]))
    assert ranking[0, :3].tolist() == [A2A, A2B, Y]


def test_equal_costs_go_to_the_more_probable_class_and_then_to_the_lower_one():
    tree = Hierarchy.from_paths([("a", "b"), ("a", "c"), ("d",)])
    # paths: b-c 2, b-d 3, c-d 3. All cost 1.8: b .3 * 2 + .4 * 3, c likewise, d .6 * 3
    assert crm_ranking(tree, log([[0.3, 0.3, 0.4]]))[0].tolist() == [2, 0, 1]
    # b and d cost 1.5 and have .5 each
    assert crm_ranking(tree, log([[0.5, 0.0, 0.5]]))[0].tolist() == [0, 2, 1]


def test_costs_that_differ_by_rounding_only_are_equal():
    # twelfths: C 4, A2a 1, x 1, A1 3, A2b 3. C costs 4 + 4 + 3 * 3 + 4 * 3 = 29, A1 3 * 4 + 3 + 5 +
    # 3 * 3 = 29
    assert crm_ranking(TREE, log(np.array([[4, 1, 1, 3, 3, 0, 0]])))[0, :2].tolist() == [C, A1]


@pytest.mark.parametrize(
    "distance", ["path", "lca_height", "balanced", "ones", "leaf_proportion", "n_leaves"]
)
@pytest.mark.parametrize("seed", range(3))
def test_the_tree_form_of_crm_is_the_dense_one(distance, seed):
    tree = random_tree(seed)
    distance = distance if distance in ("path", "lca_height") else node_weights(tree, distance)
    scores = random_scores(seed, 200, 12)
    risk = softmax(scores) @ table(tree, distance)
    gain = crm_gain(tree, softmax(scores), distance)
    differences = risk - risk[:, :1], gain[:, :1] - gain
    factor = (
        {"path": 2.0, "lca_height": tree.max_depth}.get(distance, 1.0)
        if isinstance(distance, str)
        else 1.0
    )
    np.testing.assert_allclose(differences[0], factor * differences[1], atol=1e-11)
    best = np.argsort(risk, axis=1, kind="stable")[:, :5]
    np.testing.assert_array_equal(crm_ranking(tree, scores, distance, 5), best)


def test_crm_with_equal_costs_for_all_errors_is_argmax():
    scores = random_scores(0, 300, 4)
    np.testing.assert_array_equal(decide(FLAT, scores, "crm"), decide(FLAT, scores, "argmax"))
    np.testing.assert_array_equal(
        crm_ranking(FLAT, scores), np.argsort(-scores, axis=1, kind="stable")
    )
    # the leaf weighting puts all cost on being wrong, on any tree
    tree = random_tree(0)
    scores, weights = random_scores(1, 300, 12), node_weights(tree, "leaf")
    np.testing.assert_array_equal(
        decide(tree, scores, "crm", crm_distance=weights), tree.leaves[scores.argmax(axis=1)]
    )


def test_threshold_answers_the_most_informative_node_above_it():
    answers = {t: answer(MIXED, "threshold", threshold=t)[0] for t in (0.4, 0.5, 0.6, 0.75, 0.9)}
    assert answers == {0.4: NODE_A2A, 0.5: NODE_A2, 0.6: NODE_A2, 0.75: NODE_A, 0.9: ROOT}
    assert answer(MIXED, "majority") == [NODE_A2]


def test_a_low_threshold_answers_the_most_probable_class_and_the_lowest_node_of_equal_ones():
    assert answer([0, 0.3, 0.3, 0, 0.4, 0, 0], "threshold", threshold=0.1) == [NODE_A2B]
    assert answer([0, 0.5, 0, 0, 0.5, 0, 0], "threshold", threshold=0.1) == [NODE_A2A]
    assert answer([0, 0.5, 0, 0, 0.5, 0, 0], "majority") == [NODE_A2]


def test_a_node_with_a_single_child_is_never_answered():
    only_x = np.eye(7)[X]
    for rule in RULES:
        assert answer(only_x, rule) == [NODE_X]
    chain = Hierarchy.from_paths([("a", "b", "c"), ("a", "b", "d")])
    assert top_node(chain) == 2
    assert answer([0.5, 0.5], "threshold", chain, threshold=0.9) == [2]
    assert answer([0.5, 0.5], "darts", chain, darts_lambda=np.inf) == [2]


def test_plurality_asks_for_more_than_the_second_best_sibling():
    # second best: C or B .1, A1 .1, A2b .2, of x y z none; P > .2 leaves A2a
    assert plurality_thresholds(
        TREE, node_probabilities(TREE, MIXED[None])
    ).tolist() == pytest.approx([0.2])
    assert answer(MIXED, "plurality") == [NODE_A2A]
    # A .5, B .4 (y .2, z .2), A2a .3, A2b .2: the second best of the root, .4, keeps all classes
    # out
    assert answer([0.1, 0.3, 0, 0, 0.2, 0.2, 0.2], "plurality") == [NODE_A2]
    # equal best siblings: A2a and A2b .5 each
    assert answer([0, 0.5, 0, 0, 0.5, 0, 0], "plurality") == [NODE_A2]


@pytest.mark.parametrize("seed", range(4))
def test_plurality_thresholds_agree_with_a_loop_over_sibling_groups(seed):
    tree = random_tree(seed)
    p = node_probabilities(tree, softmax(np.round(random_scores(seed, 50, 12))))
    expected = np.zeros(50)
    for v in range(tree.num_nodes):
        if tree.n_children[v] > 1:
            expected = np.maximum(expected, np.sort(p[:, tree.children(v)], axis=1)[:, -2])
    np.testing.assert_array_equal(plurality_thresholds(tree, p), expected)


def test_expected_information_weighs_probability_against_detail():
    # bits: A log2(7/3), A2 log2(7/2), a class log2 7; A2a .5 * 2.81 = 1.40 beats A2 .7 * 1.81 =
    # 1.27
    assert answer(MIXED, "expected_information") == [NODE_A2A]
    # with A2a .4 and A2b .3 it is 1.12 against 1.27
    assert answer([0.1, 0.4, 0.1, 0.1, 0.3, 0, 0], "expected_information") == [NODE_A2]


def test_darts_moves_from_expected_information_to_the_root():
    np.testing.assert_array_equal(answer(MIXED, "darts"), answer(MIXED, "expected_information"))
    # lambda 1: A2a .5 * 3.81 = 1.90, A2 .7 * 2.81 = 1.97, A .8 * 2.22 = 1.78
    assert answer(MIXED, "darts", darts_lambda=1.0) == [NODE_A2]
    # lambda 3: A2 .7 * 4.81 = 3.37, A .8 * 4.22 = 3.38, root 3; lambda 5: A 4.98, root 5
    assert answer(MIXED, "darts", darts_lambda=3.0) == [NODE_A]
    assert answer(MIXED, "darts", darts_lambda=5.0) == [ROOT]
    assert answer(np.eye(7)[Y], "darts", darts_lambda=np.inf) == [ROOT]


def preferred(tree, values, p):
    """The node of largest value; ties by larger P, greater depth, lower index; nodes with one child
    left out.
    """
    candidates = np.flatnonzero(tree.n_children != 1)
    return max(candidates, key=lambda v: (round(values[v], 12), p[v], tree.depth[v], -v))


@pytest.mark.parametrize("seed", range(6))
def test_backing_off_rules_agree_with_a_search_over_all_nodes(seed):
    tree = random_tree(seed, 9)
    scores = random_scores(seed, 60, 9)
    scores = np.round(scores) if seed % 2 else scores  # rounded: equal probabilities
    p, info = node_probabilities(tree, softmax(scores)), information(tree)
    for darts_lambda in (0.0, 0.7, 3.0):
        expected = [preferred(tree, (info + darts_lambda) * row, row) for row in p]
        np.testing.assert_array_equal(
            decide(tree, scores, "darts", darts_lambda=darts_lambda), expected
        )
    for threshold in (0.0, 0.1, 0.3, 0.5, 0.9):
        top = top_node(tree)
        above = [np.where((row > threshold) | (np.arange(len(row)) == top), info, -1) for row in p]
        expected = [preferred(tree, values, row) for values, row in zip(above, p)]
        np.testing.assert_array_equal(
            decide(tree, scores, "threshold", threshold=threshold), expected
        )


def test_the_front_falls_in_probability_and_grows_in_information():
    tree = random_tree(0, 30)
    scores = random_scores(0, 100, 30, 1.0)
    front = pareto_front(tree, node_probabilities(tree, softmax(scores)))
    used = front.nodes >= 0
    assert (np.diff(front.probabilities, axis=1) <= 0).all()
    assert (np.diff(information(tree)[front.nodes], axis=1)[used[:, 1:]] > 0).all()
    last = front.nodes[np.arange(100), used.sum(axis=1) - 1]
    np.testing.assert_array_equal(last, decide(tree, scores, "argmax"))


def test_fronts_of_different_length_are_padded():
    p = node_probabilities(TREE, np.stack([MIXED, np.eye(7)[C]]))
    short, long = pareto_front(TREE, p[1:]), pareto_front(TREE, p[:1])
    both = concatenate([short, long])
    assert (
        both.nodes.shape == (2, long.nodes.shape[1])
        and both.nodes[0, -1] == -1
        and both.probabilities[0, -1] == 0
    )
    assert concatenate([]).nodes.shape == (0, 1)


def test_one_class_and_no_samples_are_decided_too():
    lone = Hierarchy.from_paths([("a", "b")])
    for rule in RULES:
        assert decide(lone, np.zeros((3, 1)), rule).tolist() == [2, 2, 2]
        assert decide(TREE, np.zeros((0, 7)), rule).shape == (0,)


def test_unknown_rules_and_options_are_errors():
    scores = np.zeros((1, 7))
    with pytest.raises(ValueError, match="rule must be one of argmax, crm, .* got 'mode'"):
        decide(TREE, scores, "mode")
    with pytest.raises(ValueError, match="'argmax' takes no option; leave out threshold=0.5"):
        decide(TREE, scores, "argmax", threshold=0.5)
    with pytest.raises(ValueError, match="'darts' takes only darts_lambda"):
        decide(TREE, scores, "darts", threshold=0.5)
    for threshold in (-0.1, 1.0, np.nan):
        with pytest.raises(ValueError, match=r"must lie in \[0, 1\)"):
            decide(TREE, scores, "threshold", threshold=threshold)
    for darts_lambda in (-1.0, np.nan):
        with pytest.raises(ValueError, match="must be >= 0"):
            decide(TREE, scores, "darts", darts_lambda=darts_lambda)
    with pytest.raises(ValueError, match="'path', 'lca_height' or an array"):
        decide(TREE, scores, "crm", crm_distance="max_path")


def noisy(seed, num_samples, tree, strength=3.0):
    """Scores that are right often but not always."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, tree.num_classes, num_samples)
    right = strength * np.eye(tree.num_classes, dtype=np.float32)[labels]
    return random_scores(seed, num_samples, tree.num_classes) + right, labels


def test_the_measures_of_backing_off_are_those_of_the_answers():
    p = [0.1, 0.45, 0.1, 0.1, 0.25, 0, 0]
    rows = backing_off(posterior([A2B, C], [p, p]))
    # majority answers A2, right for A2b; plurality answers A2a, wrong for both
    assert rows["majority/correct"].value == 0.5 and rows["majority/depth"].value == 2
    assert rows["plurality/correct"].value == 0 and rows["plurality/depth"].value == 3
    perfect = backing_off(scored([Y], log(np.eye(7)[[Y]])))
    assert {
        perfect[f"{rule}/exact"].value for rule in ("majority", "plurality", "expected_information")
    } == {1}


@pytest.mark.parametrize("distance", ["path", "lca_height"])
def test_scores_of_crm_rank_all_classes_as_their_expected_costs(distance):
    scores = random_scores(0, 30, 7)
    gains = crm_scores(TREE, scores, distance)
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    table = distances.path_length(TREE) if distance == "path" else distances.lca_height(TREE)
    costs = p @ table  # the expected distance of each class
    for gain, cost in zip(gains, costs):
        order = np.argsort(-gain, kind="stable")
        assert (np.diff(cost[order]) > -1e-9).all()
    first = crm_ranking(TREE, scores, distance, 1)[:, 0]
    np.testing.assert_allclose(gains[np.arange(30), first], gains.max(axis=1))
