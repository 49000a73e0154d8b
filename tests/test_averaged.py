"""Several runs on the same classes as one: the mean of their calibrated posteriors."""

import numpy as np
import pytest
from recorded import make_arrays, write_whole_run
from scored_outputs import log
from trees import FLAT

from evaluation.averaged import check_same_classes, mean_scores
from evaluation.decision import choose_decision
from evaluation.model import AveragedEmbedder
from evaluation.sources import Source
from metrics.calibration import calibrate
from metrics.conformal import promise
from metrics.posterior import softmax


def test_the_mean_of_posteriors_by_hand_each_at_its_temperature():
    first, second = log([[0.8, 0.2, 0.0]]), 2 * log([[0.5, 0.25, 0.25]])
    found = softmax(mean_scores([first, second], [1.0, 2.0]))
    np.testing.assert_allclose(found, [[0.65, 0.225, 0.125]], rtol=1e-6)
    certain = log([[1.0, 0.0, 0.0]])
    both = mean_scores([certain, certain], [1.0, 1.0])
    assert both.tolist() == [[0.0, -np.inf, -np.inf]]


def test_new_images_get_the_embeddings_side_by_side_and_the_mean_scores():
    class Stub:
        def __init__(self, p, dim):
            self.scores, self.dim = log(p), dim

        def __call__(self, pixels, sizes):
            return np.full((1, self.dim), self.dim, np.float32), self.scores

    both = AveragedEmbedder([Stub([[0.8, 0.2]], 2), Stub([[0.4, 0.6]], 1)], [1.0, 1.0])
    embeddings, scores = both(None, None)
    assert embeddings.tolist() == [[2, 2, 1]] and both.dim == 3
    np.testing.assert_allclose(np.exp(scores), [[0.6, 0.4]], rtol=1e-6)


@pytest.fixture
def runs(tmp_path):
    """Two runs on the same validation images, in another order."""
    runs = [write_whole_run(tmp_path, seed=seed, val=True, use_val=True) for seed in (1, 2)]
    first, rng = runs[0].arrays("val"), np.random.default_rng(0)
    order = rng.permutation(len(first["labels"]))
    arrays = make_arrays(seed=7)
    arrays |= {"labels": first["labels"][order], "files": first["files"][order]}
    right = np.eye(7)[arrays["labels"]]
    arrays["scores"] = (3 * right + rng.standard_normal(right.shape)).astype(np.float32)
    runs[1].write_arrays("val", arrays)
    return runs, order


def test_a_rule_is_set_on_the_mean_posteriors_of_the_same_validation_images(runs):
    (first, second), order = runs
    own, other = first.arrays("val"), second.arrays("val")
    back = np.argsort(order)
    temperatures = [calibrate(a["scores"], a["labels"]).value for a in (own, other)]
    mean = (
        softmax(own["scores"] / temperatures[0]) + softmax(other["scores"] / temperatures[1])[back]
    )
    source = Source(first, others=(second,))
    np.testing.assert_allclose(source.temperatures, temperatures)
    scores, labels = source.split("val")
    np.testing.assert_allclose(softmax(scores), mean / 2, rtol=1e-4, atol=1e-7)
    assert labels.tolist() == own["labels"].tolist()
    decision = choose_decision(Source(first, others=(second,)), "threshold", 0.9)
    assert decision.temperature == 1 and decision.promise.n == 120
    expected = promise("threshold", first.hierarchy, np.log(mean / 2), labels, 0.9)
    np.testing.assert_allclose(decision.options["threshold"], expected.value, rtol=1e-4)


def test_runs_without_validation_images_in_common_take_no_rule_that_is_set_on_them(tmp_path):
    first, second, third = (
        write_whole_run(tmp_path, seed=seed, val=seed < 3, use_val=seed < 3) for seed in (1, 2, 3)
    )
    arrays = second.arrays("val")
    second.write_arrays("val", {**arrays, "files": np.array([f"x{i}" for i in range(120)])})
    with pytest.raises(ValueError, match="no validation split in common .*to calibrate --rule thr"):
        choose_decision(Source(first, others=(second,)), "threshold", 0.9)
    with pytest.raises(ValueError, match="seed3 has no validation split to calibrate --rule thres"):
        choose_decision(Source(first, others=(third,)), "threshold", 0.9)
    assert choose_decision(Source(first, others=(second,)), "majority").fit is None
    source = Source(first, others=(third,))
    assert source.temperatures[0] != 1 and source.temperatures[1] == 1


def test_runs_on_other_classes_and_coarse_runs_are_refused(tmp_path):
    first, second = write_whole_run(tmp_path), write_whole_run(tmp_path, "DR-flat", tree=FLAT)
    with pytest.raises(ValueError, match="cannot be averaged, as their classes differ: the class"):
        check_same_classes([first, second])
    check_same_classes([first, write_whole_run(tmp_path, seed=2)])
    with pytest.raises(ValueError, match="--coarse amends one run"):
        Source(first, coarse=second, others=(first,))
