import numpy as np
import pytest
from scored_outputs import A1, A2A, A2B, NODE_A, NODE_B, NODE_C, C, X, Y, Z, predicted, scored
from trees import FLAT

from hierarchies import Hierarchy
from metrics import flat
from metrics.posterior import top_k

pytestmark = pytest.mark.filterwarnings("error")
# A2a as itself and as A2b, A1 as x, y as z, x as itself, C as A1; A2b and z do not occur
LABELS, PREDICTIONS = [A2A, A2A, A1, Y, X, C], [A2A, A2B, X, Z, X, A1]


@pytest.fixture
def outputs():
    return predicted(LABELS, PREDICTIONS)


def check(result, value, n, undefined=0):
    np.testing.assert_allclose(result.value, value)
    assert (result.n, result.undefined) == (n, undefined)


def test_accuracy_counts_the_correct_predictions(outputs):
    check(flat.accuracy(outputs), 2 / 6, 6)
    np.testing.assert_array_equal(flat.accuracy(outputs).samples, [1, 0, 0, 0, 1, 0])


def test_perfect_and_worst_predictions_give_one_and_zero():
    perfect, worst = predicted(LABELS, LABELS), predicted(LABELS, np.add(LABELS, 1) % 7)
    for metric in (flat.accuracy, flat.macro_accuracy, flat.macro_precision, flat.macro_f1):
        assert metric(perfect).value == 1
        assert metric(worst).value == 0


def test_macro_measures_average_over_the_classes_they_are_defined_for(outputs):
    # recall: C 0, A2a 1/2, x 1, A1 0, y 0; A2b and z do not occur
    check(flat.macro_accuracy(outputs), 1.5 / 5, 5, 2)
    # precision: A2a 1, A2b 0, x 1/2, z 0, A1 0; C and y are never predicted
    check(flat.macro_precision(outputs), 1.5 / 5, 5, 2)
    # F: A2a 2/(2+1), x 2/(1+2), the other five 0
    check(flat.macro_f1(outputs), (2 / 3 + 2 / 3) / 7, 7)


def test_the_macro_accuracy_is_the_accuracy_where_all_classes_are_equally_frequent():
    labels = np.repeat(np.arange(7), 3)
    outputs = predicted(labels, np.random.default_rng(0).integers(0, 7, 21))
    np.testing.assert_allclose(flat.macro_accuracy(outputs).value, flat.accuracy(outputs).value)


def test_top_k_finds_the_label_among_the_k_best():
    scores = [[7, 6, 5, 4, 3, 2, 1], [7, 6, 5, 4, 3, 2, 1], [7, 6, 5, 4, 3, 2, 1]]
    outputs = scored([0, 4, 5], scores)
    assert flat.top_k_accuracy(outputs, 1).value == pytest.approx(1 / 3)
    assert flat.top_k_accuracy(outputs, 5).value == pytest.approx(2 / 3)
    assert flat.top_k_accuracy(outputs, 6).value == 1
    assert flat.top_k_accuracy(outputs, 100).value == 1  # more than there are classes


def test_equal_scores_go_by_the_lower_class_index_also_across_the_border():
    np.testing.assert_array_equal(top_k(np.array([[0.0, 2.0, 1.0, 2.0, 1.0]]), 3), [[1, 3, 2]])
    np.testing.assert_array_equal(top_k(np.zeros((2, 6)), 4), [[0, 1, 2, 3]] * 2)
    np.testing.assert_array_equal(
        top_k(np.array([[-np.inf, 1.0, -np.inf, -np.inf]]), 3), [[1, 0, 2]]
    )


def test_top_k_is_a_stable_sort_for_any_keys():
    keys = np.random.default_rng(0).integers(0, 6, (200, 30)).astype(np.float32)
    for k in (1, 7, 29, 30, 40):
        np.testing.assert_array_equal(
            top_k(keys, k), np.argsort(-keys, axis=1, kind="stable")[:, :k]
        )


def test_top_k_breaks_ties_by_the_second_key_before_the_index():
    keys, second = np.array([[1.0, 1.0, 1.0, 2.0]]), np.array([[0.1, 0.3, 0.3, 0.0]])
    np.testing.assert_array_equal(top_k(keys, 3, second), [[3, 1, 2]])
    np.testing.assert_array_equal(top_k(keys, 4, second), [[3, 1, 2, 0]])


def test_k_below_one_is_an_error():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        flat.top_k_accuracy(predicted([0], [0]), 0)


def test_more_than_twenty_of_the_best_classes_can_be_asked_for():
    tree = Hierarchy.from_paths([(f"{i:02}",) for i in range(40)])
    outputs = scored([29, 30], np.tile(np.arange(40.0, 0, -1), (2, 1)), tree)
    assert flat.top_k_accuracy(outputs, 30).value == 0.5
    decided = outputs.view(order=np.array([[0], [30]]))
    assert flat.accuracy(decided).value == 0.5
    with pytest.raises(ValueError, match="ranked 1 classes only, 5"):
        flat.top_k_accuracy(decided, 5)


def test_the_class_table_says_what_is_undefined(outputs):
    table = flat.per_class(outputs).set_index("class")
    assert table.loc[A2A, ["path", "n_true", "n_predicted", "n_correct"]].tolist() == [
        "A/A2/A2a",
        2,
        1,
        1,
    ]
    np.testing.assert_allclose(
        table.loc[A2A, ["precision", "recall", "f1"]].to_numpy(float), [1, 1 / 2, 2 / 3]
    )
    np.testing.assert_allclose(
        table.loc[X, ["precision", "recall", "f1"]].to_numpy(float), [1 / 2, 1, 2 / 3]
    )
    np.testing.assert_allclose(
        table.loc[C, ["precision", "recall", "f1"]].to_numpy(float), [np.nan, 0, 0]
    )
    np.testing.assert_allclose(
        table.loc[A2B, ["precision", "recall", "f1"]].to_numpy(float), [0, np.nan, 0]
    )


def test_level_measures_are_macro_averages_over_the_nodes_of_the_level(outputs):
    rows = flat.level_macros(outputs)
    # depth 1, truth as prediction: A A, A A, A B, B B, B B, C A; C is never predicted
    check(rows["level_precision@1"], (2 / 3 + 2 / 3) / 2, 2, 1)
    check(rows["level_recall@1"], (0 + 2 / 3 + 1) / 3, 3)
    check(rows["level_f1@1"], (0 + 4 / 6 + 4 / 5) / 3, 3)
    # at the last level they are those of the classes
    np.testing.assert_allclose(rows["level_recall@3"].value, flat.macro_accuracy(outputs).value)
    np.testing.assert_allclose(rows["level_f1@3"].value, flat.macro_f1(outputs).value)


def test_the_level_table_names_the_nodes(outputs):
    table = flat.per_level(outputs)
    assert table.groupby("level").size().tolist() == [3, 5, 7]
    top = table[table["level"] == 1].set_index("name")
    assert top.loc["A", ["n_true", "n_predicted", "n_correct"]].tolist() == [3, 3, 2]


def test_confusion_has_truths_in_rows(outputs):
    nodes, counts = flat.confusion(outputs)
    assert counts.sum() == 6 and counts[A1, X] == 1 and counts[X, A1] == 0
    assert counts[A2A].tolist() == [0, 1, 0, 0, 1, 0, 0]
    nodes, counts = flat.confusion(outputs, level=1)
    assert nodes.tolist() == [NODE_C, NODE_A, NODE_B]
    np.testing.assert_array_equal(counts, [[0, 1, 0], [0, 2, 1], [0, 0, 2]])


@pytest.mark.parametrize("level", [0, 4])
def test_a_level_the_tree_has_not_is_an_error(outputs, level):
    with pytest.raises(ValueError, match=r"1\.\.3"):
        flat.confusion(outputs, level=level)


def test_without_samples_every_measure_is_undefined():
    empty = scored([], np.empty((0, 4)), FLAT)
    check(flat.accuracy(empty), np.nan, 0)
    check(flat.macro_accuracy(empty), np.nan, 0, 4)
    assert flat.confusion(empty)[1].sum() == 0
    assert flat.per_class(empty)["recall"].isna().all()


def test_levels_of_a_flat_tree_are_the_classes():
    outputs = predicted([0, 1, 2, 3], [0, 1, 2, 2], FLAT)
    assert (
        flat.level_macros(outputs)["level_recall@1"].value
        == flat.macro_accuracy(outputs).value
        == 0.75
    )


def test_the_predicted_class_is_the_first_of_equal_scores_ranked_or_not():
    outputs = scored([0] * 40, np.random.default_rng(0).integers(0, 3, (40, 7)))
    predicted = outputs.predictions
    ranked = scored([0] * 40, outputs.scores)
    assert ranked.ranking.shape[0] == 40  # computed before the predictions, which then read it
    np.testing.assert_array_equal(ranked.predictions, predicted)
    np.testing.assert_array_equal(ranked.ranking[:, 0], predicted)
