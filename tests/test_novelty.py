"""How unlike all classes an image is: distances to the nearest class, and their p-values."""

import numpy as np
import pytest
from recorded import make_arrays, write_whole_run
from trees import TREE

from evaluation.novelty import Novelty
from evaluation.scope import choose_scope
from evaluation.sources import Source
from metrics.novelty import nearest_distances, novelty_p_values

pytestmark = pytest.mark.filterwarnings("error")


def test_distance_to_the_nearest_class_by_hand():
    prototypes = np.array([[2.0, 0.0], [0.0, 1.0], [np.nan, np.nan]])
    embeddings = np.array([[3.0, 0.0], [1.0, 1.0], [-1.0, -1.0], [-4.0, 3.0]])
    found = nearest_distances(embeddings, prototypes)
    np.testing.assert_allclose(found, [0, 1 - np.sqrt(0.5), 1 + np.sqrt(0.5), 0.4], atol=1e-12)


def test_what_has_no_direction_has_no_distance():
    embeddings = np.array([[0.0, 0.0], [np.inf, 0.0], [1.0, 0.0]])
    found = nearest_distances(embeddings, np.array([[1.0, 0.0]]))
    assert np.isnan(found).tolist() == [True, True, False]
    assert np.isnan(nearest_distances(embeddings, np.full((2, 2), np.nan))).all()


def test_p_values_by_hand_and_at_both_ends():
    reference = np.array([0.1, 0.2, 0.3, 0.4, np.nan])
    found = novelty_p_values(np.array([0.35, 0.0, 9.0, np.nan]), reference)
    np.testing.assert_allclose(found, [2 / 5, 1, 1 / 5, np.nan])
    assert np.isnan(novelty_p_values(np.array([0.1]), np.empty(0))).all()


def test_images_like_the_validation_images_have_small_p_values_no_more_often_than_they_say():
    rng = np.random.default_rng(0)
    p = np.concatenate(
        [novelty_p_values(rng.exponential(size=20), rng.exponential(size=99)) for _ in range(200)]
    )
    for level in (0.05, 0.2, 0.5):  # the spread over the draws is below 0.006, 0.01 and 0.014
        assert abs(np.mean(p <= level + 1e-9) - level) < 0.05


def test_a_run_compares_with_its_calibration_images_and_classes_of_the_scope(tmp_path):
    run = write_whole_run(tmp_path, val=True)
    val = run.arrays("val")
    found = Novelty(Source(run))
    order = np.argsort(val["files"].astype(str), kind="stable")
    expected = nearest_distances(val["embeddings"][order], val["prototypes"])
    np.testing.assert_allclose(found.reference, expected)
    np.testing.assert_allclose(found.distances(val["embeddings"][order]), expected)
    run.write_arrays("calibration", make_arrays(samples=40, seed=5))
    assert len(Novelty(Source(run)).reference) == 40
    scope = choose_scope(TREE, ["A"], None)
    narrow = Novelty(Source(run, scope=scope))
    labels = run.arrays("calibration")["labels"]
    assert len(narrow.reference) == np.isin(labels, scope.classes).sum() < 40
    # a class outside the scope has no prototype to be near to
    outside = val["embeddings"][~np.isin(val["labels"], scope.classes)]
    assert narrow.distances(outside).mean() > found.distances(outside).mean() + 0.1


def test_without_validation_images_it_is_not_defined(tmp_path):
    novelty = Novelty(Source(write_whole_run(tmp_path)))
    distances = novelty.distances(np.ones((3, 8)))
    assert np.isnan(distances).all() and np.isnan(novelty.p_values(distances)).all()


def test_several_runs_have_the_mean_of_their_distances(tmp_path):
    runs = [write_whole_run(tmp_path, seed=seed, val=True) for seed in (1, 2)]
    both = Novelty(Source(runs[0], others=(runs[1],)))
    own = [Novelty(Source(run)) for run in runs]
    np.testing.assert_allclose(both.reference, (own[0].reference + own[1].reference) / 2)
    embeddings = [run.arrays("val")["embeddings"][:5] for run in runs]
    expected = (own[0].distances(embeddings[0]) + own[1].distances(embeddings[1])) / 2
    np.testing.assert_allclose(both.distances(np.hstack(embeddings)), expected)


def test_arrays_that_lack_what_novelty_needs_are_named(tmp_path):
    run = write_whole_run(tmp_path)
    arrays = make_arrays(samples=40, seed=5)
    for name in ("files", "prototypes"):
        run.write_arrays("calibration", {k: v for k, v in arrays.items() if k != name})
        with pytest.raises(ValueError, match=f"calibration.pkl is damaged: it has no '{name}'"):
            Novelty(Source(run))
