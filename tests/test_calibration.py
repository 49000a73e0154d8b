import numpy as np
import pytest
from scored_outputs import A1, log, posterior, random_scores, random_tree, scored
from trees import FLAT

from hierarchies import Hierarchy
from metrics import calibration
from metrics.calibration import calibrate, calibration_error, fit_temperature, reliability
from metrics.posterior import log_softmax_at, node_probabilities, softmax

pytestmark = pytest.mark.filterwarnings("error")


def test_ece_weighs_the_gap_of_each_bin_and_mce_takes_the_largest():
    # bins of .9 (two, one right), .62 (right), .3 (wrong): gaps .4, .38, .3
    ece, mce = calibration_error(np.array([0.9, 0.9, 0.62, 0.3]), np.array([1, 0, 1, 0], bool))
    assert ece == pytest.approx((2 * 0.4 + 0.38 + 0.3) / 4)
    assert mce == pytest.approx(0.4)


def test_a_bin_averages_its_confidences_before_the_gap_is_taken():
    ece, _ = calibration_error(np.array([0.95, 0.99]), np.array([True, False]))
    assert ece == pytest.approx(0.97 - 0.5)


def test_certain_and_right_is_perfect_certain_and_wrong_the_worst():
    assert calibration_error(np.ones(3), np.ones(3, bool)) == (0, 0)
    assert calibration_error(np.ones(3), np.zeros(3, bool)) == (1, 1)


def test_right_closed_bins_keep_both_ends_and_left_closed_ones_lose_a_confidence_of_one():
    confidences, correct = np.array([0.0, 0.5, 1.0]), np.array([True, False, True])
    right = reliability(confidences, correct, 2)
    assert right.counts.tolist() == [2, 1]
    assert right.accuracy.tolist() == [0.5, 1.0] and right.confidence.tolist() == [0.25, 1.0]
    left = reliability(confidences, correct, 2, closed="left")
    assert left.counts.tolist() == [1, 1]
    assert left.accuracy.tolist() == [1.0, 0.0]


def test_an_empty_bin_is_left_out():
    bins = reliability(np.array([0.9]), np.array([True]), 3)
    assert [ends.tolist() for ends in bins] == [[2 / 3], [1], [1], [0.9], [1]]


def test_every_confidence_is_in_the_bin_whose_ends_hold_it():
    confidences = np.append(np.linspace(0, 1, 16), np.random.default_rng(0).random(1000))
    for closed in ("right", "left"):
        bins = reliability(confidences, confidences > 0.5, closed=closed)
        assert len(bins.counts) == 15
        for lower, upper, count in zip(bins.lower, bins.upper, bins.counts):
            inside = (confidences > lower) & (confidences <= upper) | (
                (lower == 0) & (confidences == 0)
            )
            if closed == "left":
                inside = (confidences >= lower) & (confidences < upper)
            assert count == inside.sum()


def test_bins_need_a_side_and_a_number():
    with pytest.raises(ValueError, match="'right' or 'left'"):
        reliability(np.ones(1), np.ones(1, bool), closed="both")
    with pytest.raises(ValueError, match="at least 1"):
        reliability(np.ones(1), np.ones(1, bool), 0)


def test_the_published_error_loses_what_single_precision_rounds_to_one():
    # confidences 1 - 2e-9 (wrong; 1 in single precision) and about 1/4 (of four equal scores;
    # right)
    rows = calibration.errors(scored([1, 0], [[20.0, 0, -20, -20], [0, 0, 0, 0]], FLAT))
    assert rows["ece"].value == pytest.approx((1 + 0.75) / 2, abs=1e-6)
    published = rows["ece_published"]
    assert published.value == pytest.approx(0.75 / 2) and (published.n, published.undefined) == (
        1,
        1,
    )
    assert rows["mce"].value == pytest.approx(1)


def test_the_published_error_is_undefined_where_all_confidences_are_one():
    published = calibration.errors(scored([1, 0], 100 * np.eye(4)[:2], FLAT))["ece_published"]
    assert np.isnan(published.value) and (published.n, published.undefined) == (0, 2)


def test_ece_of_a_level_reads_the_most_probable_node():
    # depth 1: A .8; depth 2: A2 .7; depth 3: A2a .5. Truth A1: right, wrong, wrong
    rows = calibration.level_errors(posterior([A1], [[0.1, 0.5, 0.1, 0.1, 0.2, 0, 0]]))
    assert [row.value for row in rows.values()] == pytest.approx([0.2, 0.7, 0.5])
    assert list(rows) == ["ece_level@1", "ece_level@2", "ece_level@3"]


def test_ece_of_the_last_level_is_that_of_the_classes():
    tree = random_tree(0)
    outputs = scored(np.arange(12).repeat(5), random_scores(0, 60, 12), tree)
    last = calibration.level_errors(outputs)[f"ece_level@{tree.max_depth}"].value
    assert last == pytest.approx(calibration.errors(outputs)["ece"].value)
    p = node_probabilities(tree, softmax(outputs.scores))
    top = np.unique(tree.level_table[:, 0])
    expected, _ = calibration_error(
        p[:, top].max(axis=1), top[p[:, top].argmax(axis=1)] == tree.level_table[outputs.labels, 0]
    )
    assert calibration.level_errors(outputs)["ece_level@1"].value == pytest.approx(expected)


def sure(confidences, right):
    """Two classes, predicted as the first with the given confidences."""
    tree = Hierarchy.from_paths([("a",), ("b",)])
    confidences = np.asarray(confidences)
    return posterior(
        1 - np.asarray(right, int), np.stack([confidences, 1 - confidences], axis=1), tree
    )


def test_spearman_ranks_the_accuracies_of_the_bins():
    rising = sure([0.55, 0.55, 0.75, 0.75, 0.95], [0, 0, 1, 0, 1])  # accuracies 0, 1/2, 1
    result = calibration.confidence_spearman(rising)
    assert (result.value, result.n, result.undefined) == (pytest.approx(1), 3, 12)
    falling = sure([0.55, 0.75, 0.75, 0.95], [1, 1, 0, 0])
    assert calibration.confidence_spearman(falling).value == pytest.approx(-1)
    tied = sure([0.55, 0.75, 0.95], [0, 1, 1])  # ranks 1, 2.5, 2.5 against 1, 2, 3
    assert calibration.confidence_spearman(tied).value == pytest.approx(
        np.corrcoef([1, 2.5, 2.5], [1, 2, 3])[0, 1]
    )


def test_point_biserial_compares_the_mean_confidence_of_right_and_wrong():
    confidences, right = np.array([0.9, 0.8, 0.6, 0.7]), np.array([1, 1, 0, 0])
    result = calibration.confidence_point_biserial(sure(confidences, right))
    expected = (0.85 - 0.65) / np.std(confidences) * np.sqrt(0.5 * 0.5)
    assert result.value == pytest.approx(expected, rel=1e-5) and result.n == 4


@pytest.mark.parametrize(
    "outputs", [sure([0.9, 0.7], [1, 1]), sure([0.8, 0.8], [0, 1]), sure([0.9], [1])]
)
def test_constant_confidences_or_results_leave_the_correlations_undefined(outputs):
    result = calibration.confidence_point_biserial(outputs)
    assert np.isnan(result.value) and (result.n, result.undefined) == (0, outputs.num_samples)
    assert np.isnan(calibration.confidence_spearman(outputs).value)


def test_without_samples_the_errors_are_undefined():
    empty = scored([], np.empty((0, 7)))
    for rows in (calibration.errors(empty), calibration.level_errors(empty)):
        assert all(np.isnan(row.value) and row.n == 0 for row in rows.values())
    assert np.isnan(calibration.confidence_point_biserial(empty).value)
    assert np.isnan(calibration.confidence_spearman(empty).value)


def test_a_single_class_is_certain_and_right():
    rows = calibration.errors(scored([0, 0], [[1.0], [5.0]], Hierarchy.from_paths([("a",)])))
    assert rows["ece"].value == rows["mce"].value == 0


def test_the_temperature_makes_confidence_the_share_that_is_right():
    # margins of 2, three of four right, and half of one image more: sigmoid(2 / T) = 3.5 / 5
    scores = np.tile(np.array([[1.0, -1.0]], np.float32), (4, 1))
    fitted = calibrate(scores, np.array([0, 0, 0, 1]))
    assert fitted.value == pytest.approx(2 / np.log(7 / 3), rel=1e-4)
    assert fitted[1:] == (4, True, False)


def test_where_all_are_right_the_number_of_images_limits_the_probability():
    # C = 3: e^(1/T) / (e^(1/T) + 2) = (n + 1/3) / (n + 1)
    for n, odds in ((1, 4), (3, 10), (300, 901)):
        labels = np.arange(n) % 3
        fitted = calibrate(np.eye(3)[labels], labels)
        assert fitted.value == pytest.approx(1 / np.log(odds), rel=1e-4)
        assert fitted[1:] == (n, True, True)


def test_with_many_images_the_temperature_is_that_of_the_least_loss_alone():
    # three of four right: sigmoid(2 / T) = 3/4, from which a single image more takes 1 in n
    def distance(n):
        scores, labels = np.tile([[1.0, -1.0]], (n, 1)), (np.arange(n) % 4 == 3).astype(int)
        return abs(fit_temperature(scores, labels) - 2 / np.log(3))

    assert distance(40_000) < 1e-3
    assert distance(400) == pytest.approx(10 * distance(4000), rel=0.05)


@pytest.mark.parametrize(
    ("scores", "labels"),
    [
        (np.eye(3), [1, 2, 0]),  # all wrong, and the true class no higher than the average
        (np.eye(2), [0, 0]),  # one right, one wrong, equally sure
        (np.ones((2, 3)), [0, 1]),  # no class is higher
        (np.array([[0.0, 5.0]]), [0]),
        (np.zeros((2, 1)), [0, 0]),  # one class only
    ],
)
def test_scores_that_say_nothing_leave_the_temperature_at_one(scores, labels):
    fitted = calibrate(scores, np.array(labels))
    assert (fitted.value, fitted.n, fitted.determined) == (1, len(labels), False)


def test_wrong_images_whose_true_class_is_second_have_a_temperature():
    fitted = calibrate(np.tile([[1.0, 0.5, -3.0, -3.0]], (20, 1)), np.ones(20, int))
    assert fitted.determined and not fitted.separable and fitted.value > 1


def test_scores_times_a_factor_have_that_temperature_more():
    generator = np.random.default_rng(0)
    scores = random_scores(0, 2000, 6)
    labels = np.array([generator.choice(6, p=p) for p in softmax(scores)])
    once = fit_temperature(scores, labels)
    assert once == pytest.approx(1, abs=0.1)
    assert fit_temperature(8 * scores, labels) == pytest.approx(8 * once, rel=1e-4)


def test_no_temperature_nearby_fits_better():
    scores = random_scores(3, 100, 5)
    labels = np.where(np.arange(100) % 3 == 0, 0, scores.argmax(axis=1))
    fitted = fit_temperature(scores, labels)

    def loss(t):
        every = [log_softmax_at(scores / t, np.full(100, c)).mean() for c in range(5)]
        return -log_softmax_at(scores / t, labels).sum() - np.mean(every)

    assert loss(fitted) < min(loss(0.98 * fitted), loss(1.02 * fitted))


def test_labels_without_a_score_say_nothing_about_the_temperature():
    scores, labels = random_scores(4, 50, 5), np.random.default_rng(4).integers(0, 4, 50)
    with_absent = np.where(np.arange(5) == 4, -np.inf, scores).astype(np.float32)
    more = np.concatenate([with_absent, with_absent[:1]]), np.append(labels, 4)
    assert fit_temperature(*more) == pytest.approx(fit_temperature(with_absent, labels))
    with pytest.raises(ValueError, match="there are none"):
        fit_temperature(with_absent[:1], np.array([4]))
    with pytest.raises(ValueError, match="there are none"):
        fit_temperature(np.empty((0, 5)), np.empty(0, int))


def test_log_softmax_is_finite_where_the_softmax_underflows():
    np.testing.assert_allclose(log_softmax_at(np.array([[1e4, 0.0]]), np.array([1])), [-1e4])
    assert log_softmax_at(log([[1.0, 0.0]]), np.array([1]))[0] == -np.inf


def test_the_published_error_takes_its_softmax_in_single_precision():
    # exp(-17) is lost beside 1 there, so the confidence is exactly 1 and the sample is left out
    pair = Hierarchy.from_paths([("a",), ("b",)])
    rows = calibration.errors(scored([1, 0], [[17.0, 0.0], [1.0, 0.0]], pair))
    assert rows["ece_published"].undefined == 1 and rows["ece_published"].n == 1
    assert calibration.errors(scored([1], [[16.0, 0.0]], pair))["ece_published"].undefined == 0
    assert rows["ece"].n == 2
