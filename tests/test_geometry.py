import time

import numpy as np
import pytest
from made_outputs import CHAINS, circle, make_outputs
from trees import FLAT, TREE

from hierarchies import Hierarchy
from metrics import inference, retrieval
from metrics.diagnostics import diagnostics
from metrics.geometry import (
    METRICS,
    angles_between,
    angles_of,
    class_sums,
    discriminability,
    discriminability_of,
    embedding_angles,
    hypersphere,
    intensity,
    neural_collapse,
    neural_collapse_of,
)
from metrics.vectors import angular, cosines_of, unit

pytestmark = pytest.mark.filterwarnings("error")


def values(results):
    return {name: result.value for name, result in results.items()}


def simplex(size):
    return np.eye(size) - 1 / size


def test_discriminability_is_the_worked_value():
    # class 0 at 0 and 90 degrees: mean (1/2, 1/2), spread 1/2; class 1 at 180 degrees; class 2
    # without images
    sums = class_sums(circle([0, 90, 180]) * [[2], [3], [4]], np.array([0, 0, 1]), 3)
    results = discriminability(*sums)
    assert values(results) == pytest.approx(
        {"var_inter": 1.5**2 + 0.5**2, "var_intra": 0.25, "discriminability": 10}
    )
    assert all(result[1:3] == (2, 1) for result in results.values())


def test_discriminability_from_sums_of_batches_is_that_of_all_pairs():
    rng = np.random.default_rng(0)
    embeddings, labels = rng.standard_normal((40, 6)), rng.integers(0, 5, 40)
    units = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    means = np.stack([units[labels == c].mean(axis=0) for c in range(5)])
    between = [
        ((a - b) ** 2).sum() for i, a in enumerate(means) for j, b in enumerate(means) if i != j
    ]
    within = [((units[labels == c] - means[c]) ** 2).sum(axis=1).mean() for c in range(5)]
    batches = [
        class_sums(embeddings[rows], labels[rows], 5) for rows in (slice(0, 13), slice(13, 40))
    ]
    results = discriminability(*(first + second for first, second in zip(*batches)))
    inter, intra = np.mean(between), np.mean(within)
    expected = {"var_inter": inter, "var_intra": intra, "discriminability": inter / intra}
    assert values(results) == pytest.approx(expected)


def test_squares_may_be_given_per_coordinate():
    embeddings, labels = unit(np.random.default_rng(0).standard_normal((9, 4))), np.arange(9) % 3
    sums, squares, counts = class_sums(embeddings, labels, 3)
    by_coordinate = np.stack([(embeddings[labels == c] ** 2).sum(axis=0) for c in range(3)])
    first, second = (
        values(discriminability(sums, given, counts)) for given in (by_coordinate, squares)
    )
    assert first == pytest.approx(second)


def test_discriminability_without_spread_or_without_two_classes_is_undefined():
    collapsed = discriminability_of(make_outputs(FLAT, np.eye(4)[[0, 0, 1]], [0, 0, 1], np.eye(4)))
    assert collapsed["var_inter"].value == pytest.approx(2)
    assert collapsed["var_intra"].value == pytest.approx(0, abs=1e-12)
    assert np.isnan(collapsed["discriminability"].value)
    assert collapsed["discriminability"][1:3] == (0, 4) and collapsed["var_intra"][1:3] == (2, 2)
    single = discriminability_of(make_outputs(FLAT, np.eye(4)[:1], [3], np.eye(4)))
    assert np.isnan(single["var_inter"].value)
    assert single["var_inter"][1:3] == (0, 4)


def test_an_embedding_with_nan_is_left_out_of_the_sums():
    sums, squares, counts = class_sums(np.array([[np.nan, 1], [3, 4]]), np.array([0, 0]), 1)
    np.testing.assert_allclose(sums, [[0.6, 0.8]])
    assert (squares[0], counts[0]) == (pytest.approx(1), 1)


def shares(images, proxies):
    """Intensity of unit embeddings among unit class vectors."""
    cosines = images @ proxies.T
    return intensity(cosines, cosines_of(proxies[cosines.argmax(axis=1)], proxies))


def test_intensity_is_the_worked_share_between_two_proxies_at_0_and_90_degrees():
    proxies = circle([0, 90])
    found = shares(circle([0, 20, 44, 80]), proxies)
    np.testing.assert_allclose(found, [1, 25 / 45, 1 / 45, 35 / 45])
    assert shares(circle([45]), proxies)[0] == pytest.approx(0)


def test_intensity_is_measured_to_the_nearest_border_that_the_ray_meets():
    proxies = circle([0, 60, 140])
    found = shares(circle([20, 70]), proxies)
    np.testing.assert_allclose(found, [10 / 30, 30 / 40])


def test_intensity_ends_where_two_class_vectors_are_equally_near():
    rng = np.random.default_rng(0)
    proxies, images = unit(rng.standard_normal((6, 3))), unit(rng.standard_normal((50, 3)))
    found = shares(images, proxies)
    assert np.isfinite(found).sum() > 20
    for image, share in zip(images, found):
        nearest = proxies[(proxies @ image).argmax()]
        if np.isfinite(share):
            angle = np.arccos(nearest @ image)
            along = unit((image - nearest * (nearest @ image))[None])[0]
            whole = angle / (1 - share)
            border = nearest * np.cos(whole) + along * np.sin(whole)
            first, second = np.sort(proxies @ border)[:-3:-1]
            assert first == pytest.approx(second)
            assert first == pytest.approx(nearest @ border)


def test_intensity_is_undefined_where_the_ray_leaves_no_cell():
    away = np.array([[np.cos(np.pi / 6), -np.sin(np.pi / 6)]])
    assert np.isnan(shares(away, np.eye(2)))[0]
    assert np.isnan(shares(np.eye(1), np.eye(1))).all()
    together = np.array([[1.0, 0.0], [1.0, 0.0]])
    assert np.isnan(shares(together, together)).all()  # two class vectors in one place


def test_angles_of_an_embedding_are_the_worked_ones():
    samples = embedding_angles(circle([10, 80]) * 7, circle([0, 30, 100, 180]), np.array([0, 3]))
    degrees = {name: np.rad2deg(found) for name, found in samples.items() if name != "intensity"}
    np.testing.assert_allclose(degrees["angle_true"], [10, 100])
    np.testing.assert_allclose(degrees["angle_nearest"], [10, 20])
    np.testing.assert_allclose(degrees["angle_nearest_wrong"], [20, 20])
    np.testing.assert_allclose(
        degrees["angle_mean"], [(10 + 20 + 90 + 170) / 4, (80 + 50 + 20 + 100) / 4]
    )


def test_angles_are_undefined_for_zero_and_nan_embeddings_and_absent_classes():
    prototypes = np.eye(4)
    prototypes[1] = np.nan
    embeddings = np.array([[0, 0, 0, 0], [np.nan, 0, 0, 1], [1, 1, 0, 0], [1, 1, 0, 0]])
    results = angles_of(make_outputs(FLAT, embeddings, [0, 0, 0, 1], np.eye(4), prototypes))
    assert results["W/angle_true"][1:3] == (2, 2)
    assert results["P/angle_true"][1:3] == (1, 3)
    assert results["P/angle_nearest"].value == pytest.approx(np.pi / 4)
    np.testing.assert_allclose(
        results["P/angle_nearest_wrong"].samples, [np.nan, np.nan, np.pi / 2, np.nan]
    )
    assert results["P/angle_nearest_wrong"][1:3] == (1, 3)


def test_a_prototype_on_its_proxy_is_at_angle_0():
    angles = angles_between(circle([0, 30, 90]), circle([0, 75, 90]) * 3)
    np.testing.assert_allclose(angles, np.deg2rad([0, 45, 0]), atol=1e-7)


def test_hypersphere_statistics_of_orthogonal_vectors_are_the_worked_ones():
    results = hypersphere(np.eye(3) * [[1], [2], [5]])
    expected = {"l_hp": 0, "sep": 0, "resultant": 1 / np.sqrt(3), "l_unif": np.log(3 * np.e + 6)}
    expected |= {f"pair_angle_{name}": np.pi / 2 for name in ("mean", "min", "max")} | {
        "pair_angle_std": 0
    }
    assert values(results) == pytest.approx(expected)


def test_hypersphere_statistics_of_three_directions_are_the_worked_ones():
    results = hypersphere(np.vstack([circle([0, 60, 180]), [[np.nan, 1]]]))
    assert results["l_hp"][:3] == (pytest.approx((0.5 + 0.5 - 0.5) / 3), 3, 1)
    assert results["sep"].value == pytest.approx(0.5)
    assert np.rad2deg(results["pair_angle_mean"].value) == pytest.approx((60 + 120 + 180) / 3)
    assert np.rad2deg(results["pair_angle_std"].value) == pytest.approx(np.std([60, 120, 180]))
    assert results["l_unif"].value == pytest.approx(
        np.log(3 * np.e + 2 * np.exp([0.5, -0.5, -1]).sum())
    )


def test_equal_vectors_are_at_exactly_angle_0_and_opposite_ones_have_resultant_0():
    equal = hypersphere(
        np.tile(np.random.default_rng(0).standard_normal(128), (4, 1)).astype(np.float32)
    )
    assert equal["pair_angle_max"].value == 0
    assert equal["resultant"].value == pytest.approx(1)
    assert hypersphere(circle([0, 180]))["resultant"].value == pytest.approx(0)


def test_neural_collapse_is_0_for_a_simplex_on_its_own_dual():
    results = values(neural_collapse(3 * simplex(5), simplex(5)))
    assert results == pytest.approx(dict.fromkeys(results, 0))


def test_neural_collapse_of_the_opposite_dual_is_the_worst():
    assert neural_collapse(-simplex(4), simplex(4))["nc/self_duality"].value == pytest.approx(4)


def test_neural_collapse_of_orthogonal_vectors_is_the_worked_value():
    results = neural_collapse(np.eye(3), np.eye(3) + 1)
    assert results["nc/W_deviation"][:3] == (pytest.approx(1 / 2), 3, 0)
    # (2, 1, 1) and (1, 2, 1)
    assert results["nc/means_deviation"].value == pytest.approx(5 / 6 + 1 / 2)
    assert results["nc/centred_deviation"].value == pytest.approx(0)
    assert values(neural_collapse(np.eye(3), np.eye(3), np.eye(3)))[
        "nc/W_deviation"
    ] == pytest.approx(0)


def test_neural_collapse_leaves_out_classes_without_images():
    outputs = make_outputs(FLAT, 5 * simplex(4)[[0, 1, 2, 2]], [0, 1, 2, 2], simplex(4))
    results = neural_collapse_of(outputs)
    assert results["nc/W_deviation"][:3] == (pytest.approx(0, abs=1e-6), 3, 1)
    assert results["nc/means_deviation"].value == pytest.approx(0, abs=1e-6)


def test_distances_are_defined_at_the_ends_and_others_are_refused():
    np.testing.assert_allclose(
        angular(np.array([1 + 1e-9, -1 - 1e-9, 0]), "euc"), [0, 2, np.sqrt(2)]
    )
    np.testing.assert_allclose(
        angular(np.array([1 + 1e-9, -1 - 1e-9, 0]), "arccos"), [0, np.pi, np.pi / 2]
    )
    with pytest.raises(ValueError, match="cosine"):
        angular(np.zeros(1), "cosine")
    found = unit([[0, 0], [3, 4], [np.inf, 1], [1e-320, 0]])
    np.testing.assert_allclose(found, [[0, 0], [0.6, 0.8], [np.nan, np.nan], [1, 0]])


def test_diagnostics_are_the_figures_of_the_whole_evaluation():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(7), 4)
    vectors, embeddings = (
        rng.standard_normal((7, 5)),
        rng.standard_normal((28, 5)).astype(np.float32),
    )
    sums = class_sums(embeddings, labels, 7)
    prototypes = unit(sums[0])
    prototypes[2] = np.nan
    outputs = make_outputs(TREE, embeddings, labels, vectors, prototypes)
    expected = inference.correlations(outputs, 1) | retrieval.class_retrieval(outputs)
    for metric in METRICS.values():
        expected |= metric(outputs)
    found = diagnostics(vectors, prototypes, *sums, TREE, "euc")
    assert found == pytest.approx({name: expected[name].value for name in found})
    assert {"W/corr", "P/corr", "P/map@r_level2", "var_inter", "proxy_prototype_angle"} <= set(
        found
    )


def test_diagnostics_cost_little_at_555_classes():
    hierarchy = Hierarchy.from_paths([(f"a{i % 9}", f"b{i % 45}", f"c{i}") for i in range(555)])
    vectors = np.random.default_rng(0).standard_normal((555, 128))
    sums = class_sums(vectors, np.arange(555), 555)
    start = time.process_time()
    diagnostics(vectors, vectors, *sums, hierarchy, "euc")
    assert time.process_time() - start < 2  # 0.15 s measured


@pytest.mark.parametrize("size", [1, 2, 3])
def test_few_classes_break_nothing(size):
    outputs = make_outputs(CHAINS[size], class_vectors=np.eye(size, 4))
    results = {}
    for metric in METRICS.values():
        results |= metric(outputs)
    assert (
        np.isnan(results["W/pair_angle_mean"].value)
        == np.isnan(results["var_inter"].value)
        == (size == 1)
    )
    assert results["W/angle_true"].value == 0
    sums = class_sums(outputs.embeddings, outputs.labels, size)
    diagnostics(outputs.class_vectors, outputs.prototypes, *sums, CHAINS[size], "arccos")


def test_an_empty_split_without_prototypes_is_undefined():
    outputs = make_outputs(TREE, np.empty((0, 8)), [], prototypes=np.full((7, 8), np.nan))
    results = {}
    for metric in METRICS.values():
        results |= metric(outputs)
    for name, result in results.items():
        if not name.startswith("W/") or "angle_" in name and "pair" not in name:
            assert np.isnan(result.value), name
            assert result.n == 0, name
