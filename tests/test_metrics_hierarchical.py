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
    NODE_A2B,
    NODE_B1,
    NODE_X,
    ROOT,
    C,
    X,
    Y,
    Z,
    log,
    posterior,
    predicted,
    random_scores,
    random_tree,
    scored,
)
from trees import FLAT, TREE

from hierarchies import Hierarchy, distances
from hierarchies.weights import WEIGHTINGS, node_weights
from metrics import flat, hierarchical, superclass
from metrics.nodes import node_measures, set_measures, value_measures
from metrics.posterior import ancestors, lca_nodes, node_probabilities, path_sums, softmax

pytestmark = pytest.mark.filterwarnings("error")
LABELS, PREDICTIONS = [A2A, A2A, A1, Y, X, C], [A2A, A2B, X, Z, X, A1]
LONE = Hierarchy.from_paths([("a", "b")])


@pytest.fixture
def outputs():
    return predicted(LABELS, PREDICTIONS)


def values(results):
    return {name: result.value for name, result in results.items()}


def test_ahc_is_the_mean_path_of_all_samples_and_severity_that_of_the_mistakes(outputs):
    # path edges: 0, A2a-A2b 2, A1-x 5, y-z 2, 0, C-A1 3; heights of the ancestors: 0, 1, 3, 1, 0, 3
    assert hierarchical.ahd(outputs, 1).value == pytest.approx(12 / 6)
    assert hierarchical.ahd(outputs, 1, "lca_height").value == pytest.approx(8 / 6)
    result = hierarchical.severity(outputs)
    assert (result.value, result.n, result.undefined) == (pytest.approx(12 / 4), 4, 2)
    assert hierarchical.severity(outputs, "lca_height").value == pytest.approx(8 / 4)


@pytest.mark.parametrize("distance", ["path", "lca_height"])
def test_severity_is_the_first_distance_over_the_error(distance):
    tree = random_tree(3)
    outputs = scored(np.arange(12).repeat(5), random_scores(0, 60, 12), tree)
    error = 1 - flat.accuracy(outputs).value
    first = hierarchical.ahd(outputs, 1, distance).value
    np.testing.assert_allclose(hierarchical.severity(outputs, distance).value, first / error)


def test_severity_without_a_mistake_is_undefined():
    result = hierarchical.severity(predicted(LABELS, LABELS))
    assert np.isnan(result.value) and (result.n, result.undefined) == (0, 6)


def test_a_confusion_of_the_two_ends_of_the_tree_is_the_worst():
    assert (
        hierarchical.ahd(predicted([A2A, X], [X, A2A]), 1).value
        == distances.path_length(TREE).max()
        == 6
    )


def test_an_unknown_distance_is_an_error(outputs):
    with pytest.raises(ValueError, match="'path' or 'lca_height', got 'max_path'"):
        hierarchical.ahd(outputs, 1, "max_path")


def test_ahd_averages_over_the_k_best_and_hdist_top_takes_the_nearest():
    # the label A2a predicted as A2b; the tied rest follows by class: A2b, C, A2a, x, A1 at 2, 4, 0,
    # 6, 3 edges
    outputs = predicted([A2A], [A2B])
    assert hierarchical.ahd(outputs, 5).value == pytest.approx((2 + 4 + 0 + 6 + 3) / 5)
    assert hierarchical.ahd(outputs, 2).value == pytest.approx((2 + 4) / 2)
    assert hierarchical.hdist_top(outputs, 2).value == 2
    assert hierarchical.hdist_top(outputs, 5).value == 0
    # all classes
    assert hierarchical.ahd(outputs, 50).value == pytest.approx((2 + 4 + 0 + 6 + 3 + 6 + 6) / 7)


def test_hp_counts_the_best_within_a_radius_and_ties_widen_it():
    # from A2a: itself 0, A2b 2, A1 3, C 4, x y z 6. k = 2: index 1 gives radius 2, index 3 gives
    # radius 4
    # the two best are A2b and C
    rows = hierarchical.neighbour_precision(predicted([A2A], [A2B]), k=2)
    assert rows["hp@2"].value == 1 / 2
    assert rows["hp@2_published"].value == 1
    # radii of C 3, A2a 2, x 4, A1 3, A2b 2, y 2, z 2 hold 2, 2, 4 (C, y, z and itself), 4, 2, 2, 2
    # classes
    assert rows["hp@2_set_size"].value == pytest.approx(18 / 7)
    assert rows["hp@2_set_size"].n == 7


def test_hp_is_one_for_the_nearest_and_zero_for_the_farthest():
    order = np.argsort(distances.path_length(TREE), axis=1, kind="stable")
    near, far = (
        predicted(range(7), range(7)).view(order=ranks) for ranks in (order, order[:, ::-1])
    )
    assert hierarchical.neighbour_precision(near, 3)["hp@3"].value == 1
    assert hierarchical.neighbour_precision(far, 1)["hp@1"].value == 0


def test_hp_set_sizes_of_a_tree_of_even_depth():
    # five superclasses of five classes below two groups of 2 and 3: the six best reach into the
    # group
    paths = [
        (f"g{s // 2 if s < 4 else 1}", f"s{s}", f"c{s}{c}") for s in range(5) for c in range(5)
    ]
    rows = hierarchical.neighbour_precision(predicted([0], [0], Hierarchy.from_paths(paths)))
    assert rows["hp@5_set_size"].value == 5
    assert rows["hp@5_published_set_size"].value == pytest.approx((10 * 10 + 15 * 15) / 25)


def test_hierarchical_precision_relates_the_ranked_to_the_best_possible():
    # heights from A2a: itself 0, A2b 1, A1 2, the others 3 = largest. Ranked A2b, C: similarities
    # 2/3, 0; best 1, 2/3
    rows = hierarchical.hierarchical_precision(predicted([A2A], [A2B]), k=2)
    assert rows["hierarchical_precision@2"].value == pytest.approx((2 / 3) / (5 / 3))
    assert rows["hmap@2"].value == pytest.approx((2 / 3 + (2 / 3) / (5 / 3)) / 2)


def test_hierarchical_precision_is_one_for_the_best_order():
    best = scored(range(7), -distances.lca_height(TREE))
    rows = hierarchical.hierarchical_precision(best)
    assert values(rows) == pytest.approx({"hierarchical_precision@5": 1, "hmap@5": 1})
    worst = scored(range(7), distances.lca_height(TREE))
    assert hierarchical.hierarchical_precision(worst, 1)["hmap@1"].value == 0


def test_level_accuracy_compares_ancestors_and_carries_shallow_classes_down(outputs):
    # depth 1: A, A, A-B, B, B, C-A; depth 2: A2, A2, A1-B1, B2, B1, C-A1; depth 3: the classes
    assert values(hierarchical.level_accuracy(outputs)) == pytest.approx(
        {"level_accuracy@1": 4 / 6, "level_accuracy@2": 4 / 6, "level_accuracy@3": 2 / 6}
    )
    assert values(hierarchical.height_accuracy(outputs)) == pytest.approx(
        {
            "height_accuracy@0": 2 / 6,
            "height_accuracy@1": 4 / 6,
            "height_accuracy@2": 4 / 6,
            "height_accuracy@3": 1,
        }
    )


def test_set_measures_sum_counts_or_average_samples(outputs):
    rows = hierarchical.leaf_node_measures(outputs)
    # shared ancestors 3, 2, 0, 2, 3, 0; of the predictions 3 3 3 3 3 2, of the labels 3 3 2 3 3 1
    assert rows["h_precision"].value == pytest.approx(10 / 17)
    assert rows["h_recall"].value == pytest.approx(10 / 15)
    assert rows["h_f1"].value == pytest.approx(2 * 10 / (17 + 15))
    mean = (1 + 2 / 3 + 0 + 2 / 3 + 1 + 0) / 6
    assert rows["h_precision_macro"].value == rows["h_recall_macro"].value == pytest.approx(mean)
    assert rows["h_f1_macro"].value == pytest.approx(mean)
    assert rows["depth_excess"].value == pytest.approx((0 + 1 + 3 + 1 + 0 + 2) / 6)
    assert rows["depth_deficient"].value == pytest.approx((0 + 1 + 2 + 1 + 0 + 1) / 6)


def test_information_counts_the_classes_ruled_out(outputs):
    rows = hierarchical.leaf_node_measures(outputs)
    shared = [np.log2(7), np.log2(7 / 2), 0, np.log2(7 / 2), np.log2(7), 0]
    assert rows["info_recall"].value == pytest.approx(np.mean(shared) / np.log2(7))
    assert rows["info_excess"].value == pytest.approx(np.log2(7) - np.mean(shared))


def test_the_root_as_prediction_is_precise_and_recalls_nothing():
    root, truths = np.array([ROOT, NODE_A]), np.array([NODE_A2A, NODE_A2A])
    rows = set_measures(TREE, root, truths)
    assert (rows["h_precision"].value, rows["h_recall"].value) == (
        pytest.approx(1),
        pytest.approx(1 / 6),
    )
    result = rows["h_precision_macro"]
    assert (result.value, result.n, result.undefined) == (1, 1, 1)
    assert set_measures(TREE, root[:1], truths[:1])["h_precision"].value == 1  # 0/0
    rows = value_measures(TREE, root[:1], truths[:1], "info")
    assert values(rows) == pytest.approx(
        {
            "info_recall": 0,
            "info_precision": 1,
            "info_f1": 0,
            "info_excess": 0,
            "info_deficient": np.log2(7),
        }
    )


def test_an_ancestor_is_correct_but_not_exact():
    rows = node_measures(
        TREE, np.array([NODE_A2, NODE_A2, NODE_B1]), np.array([NODE_A2B, NODE_A1, NODE_X])
    )
    assert (rows["correct"].value, rows["exact"].value, rows["depth"].value) == (
        pytest.approx(2 / 3),
        0,
        2,
    )


def test_an_unknown_value_is_an_error():
    with pytest.raises(ValueError, match="'depth' or 'info', got 'height'"):
        value_measures(TREE, np.array([0]), np.array([0]), "height")


def test_lca_of_nodes_agrees_with_the_table_of_classes():
    tree = random_tree(1)
    first, second = np.meshgrid(tree.leaves, tree.leaves, indexing="ij")
    table = distances.of_lca(tree, np.arange(tree.num_nodes))
    np.testing.assert_array_equal(lca_nodes(tree, first, second), table)
    assert lca_nodes(
        TREE, np.array([NODE_A2, ROOT, NODE_A2]), np.array([NODE_A2B, NODE_X, NODE_A1])
    ).tolist() == [NODE_A2, ROOT, NODE_A]
    assert ancestors(TREE)[NODE_A2].tolist() == [ROOT, NODE_A, NODE_A2, -1]


# A2a .5, A2b .2, A1 .1, C .1, x .1
MIXED = np.array([[0.1, 0.5, 0.1, 0.1, 0.2, 0.0, 0.0]])


def test_node_probabilities_are_the_sums_of_the_classes_below():
    p = node_probabilities(TREE, MIXED)[0]
    np.testing.assert_allclose(p, [1, 0.1, 0.8, 0.7, 0.5, 0.2, 0.1, 0.1, 0.1, 0.1, 0, 0, 0])
    np.testing.assert_array_equal(p[TREE.leaves], MIXED[0])  # exactly
    assert p[NODE_X] == p[NODE_B1]


def test_no_node_is_more_probable_than_its_parent():
    tree = random_tree(5, 40)
    p = node_probabilities(tree, softmax(random_scores(0, 500, 40, spread=8)))
    assert (p[:, 1:] <= p[:, tree.parent[1:]]).all()
    np.testing.assert_allclose(p[:, 0], 1)


def test_path_sums_add_up_from_the_root():
    weights = np.arange(13.0)
    p = node_probabilities(TREE, MIXED)[0]
    expected = 0 * p[ROOT] + NODE_A * p[NODE_A] + NODE_A2 * p[NODE_A2] + NODE_A2B * p[NODE_A2B]
    assert path_sums(TREE, MIXED, weights)[0, A2B] == pytest.approx(expected)


def test_softmax_holds_at_any_size_of_scores():
    p = softmax(np.array([[1e4, -1e4, 0.0], [-1e4, -1e4, -np.inf]], np.float32))
    np.testing.assert_array_equal(p, [[1, 0, 0], [0.5, 0.5, 0]])


def test_wtd_weighs_what_is_missing_and_what_is_too_much_at_every_node():
    # balanced weights: A A2 A2a A2b B B1 x each 1/3, A1 2/3, C 1; differences .2 .3 .5 .2 .1 .1 .1,
    # .1, .1
    value = (0.2 + 0.3 + 0.5 + 0.2 + 0.1 + 0.1 + 0.1) / 3 + 0.1 * 2 / 3 + 0.1
    rows = superclass.wasserstein(posterior([A2A], MIXED))
    assert rows["wtd"].value == pytest.approx(value, rel=1e-6)
    assert rows["wtd_half"].value == pytest.approx(value / 2, rel=1e-6)


@pytest.mark.parametrize("weighting", sorted(WEIGHTINGS))
def test_wtd_is_twice_the_expected_weighted_distance(weighting):
    tree = random_tree(7)
    weights = node_weights(tree, weighting)
    outputs = scored(np.arange(12).repeat(4), random_scores(1, 48, 12), tree, weights=weights)
    expected = 2 * (
        softmax(outputs.scores) * distances.weighted(tree, weights)[outputs.labels]
    ).sum(axis=1)
    np.testing.assert_allclose(superclass.tree_distances(outputs), expected, atol=1e-12)


def test_wtd_of_a_certain_posterior_is_zero_or_two():
    certain = posterior([A2A, C], np.eye(7)[[A2A, X]])
    np.testing.assert_array_equal(superclass.tree_distances(certain), [0, 2])


def test_wtd_of_a_class_is_the_mean_of_its_samples():
    outputs = posterior([A2A, A2A, C], np.eye(7)[[A2A, X, X]])
    np.testing.assert_allclose(
        superclass.wtd_per_class(outputs), [2, 1, np.nan, np.nan, np.nan, np.nan, np.nan]
    )
    result = superclass.wasserstein(outputs)["wtd_macro"]
    assert (result.value, result.n, result.undefined) == (1.5, 2, 5)


def test_hierarchical_accuracy_keeps_the_weight_shared_with_the_label(outputs):
    # balanced: cum(A2) = cum(B2) = 2/3
    value = (1 + 2 / 3 + 0 + 2 / 3 + 1 + 0) / 6
    assert superclass.hierarchical_accuracy(outputs).value == pytest.approx(value)
    assert superclass.hierarchical_accuracy(predicted(LABELS, LABELS)).value == 1
    assert superclass.hierarchical_accuracy(predicted([A2A, C], [X, Y])).value == 0


def test_greedy_hierarchical_accuracy_is_one_minus_the_relative_height():
    tree = random_tree(2)
    outputs = scored(np.arange(12).repeat(4), random_scores(2, 48, 12), tree)
    expected = 1 - hierarchical.ahd(outputs, 1, "lca_height").value / tree.max_depth
    assert superclass.greedy_accuracy(outputs).value == pytest.approx(expected)
    greedy = outputs.view(weights=node_weights(tree, "greedy"))
    assert superclass.hierarchical_accuracy(greedy).value == pytest.approx(expected)


@pytest.mark.parametrize("name", superclass.NEED_NORMALISED)
def test_weights_that_do_not_sum_to_one_are_rejected(name):
    with pytest.raises(ValueError, match="sum to 1 on every path"):
        superclass.METRICS[name](predicted([0], [0], weights=node_weights(TREE, "ones")))


def test_wasserstein_accuracy_decides_by_expected_similarity():
    tree = random_tree(4)
    outputs = scored(np.arange(12).repeat(9), random_scores(3, 108, 12, 1.0), tree)
    similarity = 1 - distances.weighted(tree, node_weights(tree))
    chosen = (softmax(outputs.scores) @ similarity).argmax(axis=1)
    rows = superclass.wasserstein_accuracy(outputs)
    assert rows["wasserstein_accuracy"].value == pytest.approx((chosen == outputs.labels).mean())
    per_class = [(chosen == outputs.labels)[outputs.labels == c].mean() for c in range(12)]
    assert rows["wasserstein_accuracy_macro"].value == pytest.approx(np.mean(per_class))
    assert (chosen != outputs.predictions).any()  # or the test would not tell it from accuracy


def test_cutting_the_tree_merges_what_is_below():
    # A2a .25, A2b .2, x .3, y .15, z .1: B .55 beats A .45; A2 .45 beats B1 .3 and B2 .25; x beats
    # all classes
    p = np.array([[0, 0.25, 0.3, 0, 0.2, 0.15, 0.1]] * 2)
    rows = superclass.cut_accuracy(posterior([Y, A2B], p))
    # cum: A B 1/3; A2 B1 B2 2/3; the classes 1, C and A1 among them
    assert list(rows) == ["cut_accuracy@0.166667", "cut_accuracy@0.5", "cut_accuracy@0.833333"]
    assert [row.samples.tolist() for row in rows.values()] == [[1, 0], [0, 1], [0, 0]]


@pytest.mark.parametrize("seed", range(4))
def test_cut_accuracy_agrees_with_merging_group_by_group(seed):
    tree = random_tree(seed, 15)
    weights = node_weights(tree, ["balanced", "lazy", "leaf_proportion", "top_bottom"][seed])
    scores = np.round(random_scores(seed, 60, 15, 1.0), seed % 2)  # rounded: ties among groups
    outputs = scored(np.arange(15).repeat(4), scores, tree, weights=weights)
    total = np.concatenate([[0.0], np.zeros(tree.num_nodes - 1)])
    for v in range(1, tree.num_nodes):
        total[v] = total[tree.parent[v]] + weights[v]
    p = softmax(outputs.scores)
    levels = np.unique(np.round(total, 9))
    rows = list(superclass.cut_accuracy(outputs).values())
    assert len(rows) == len(levels) - 1
    for t, row in zip((levels[1:] + levels[:-1]) / 2, rows):
        group = []
        for c in range(15):
            path = [v for v in ancestors(tree)[tree.leaves[c]] if v >= 0]
            group.append(next(v for v in path if total[v] > t))
        group, sums = np.array(group), np.zeros((60, 15))
        for v in np.unique(group):
            sums[:, group == v] = p[:, group == v].sum(axis=1, keepdims=True)
        chosen = np.round(sums, 12).argmax(axis=1)  # the lowest class of the group
        np.testing.assert_array_equal(row.samples, group[chosen] == group[outputs.labels])
    np.testing.assert_array_equal(rows[-1].samples, flat.accuracy(outputs).samples)


def test_a_flat_tree_has_one_cut_and_plain_values():
    outputs = scored([0, 1, 2, 3], random_scores(0, 4, 4), FLAT)
    accuracy = flat.accuracy(outputs).value
    assert values(superclass.cut_accuracy(outputs)) == {"cut_accuracy@0.5": accuracy}
    assert superclass.hierarchical_accuracy(outputs).value == accuracy
    assert hierarchical.ahd(outputs, 1).value == pytest.approx(2 * (1 - accuracy))


def test_a_single_class_is_always_right():
    outputs = scored([0, 0], [[3.0], [-2.0]], LONE)
    for metric in (*hierarchical.METRICS.items(), *superclass.METRICS.items()):
        result = metric[1](outputs)
        for name, row in (result if isinstance(result, dict) else {metric[0]: result}).items():
            if "severity" in name:
                assert np.isnan(row.value) and row.n == 0
            elif name.startswith(("ah", "hdist", "wtd")) or name.endswith(("excess", "deficient")):
                assert row.value == 0, name
            else:
                assert row.value == 1, name


def test_infinite_scores_of_absent_classes_have_probability_zero():
    outputs = scored([Y, A1], log(np.eye(7)[[Y, A1]]))
    assert superclass.wasserstein(outputs)["wtd"].value == 0
