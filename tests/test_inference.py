from itertools import permutations

import numpy as np
import pytest
from made_outputs import CHAINS, exact_vectors, make_outputs
from scipy.cluster.hierarchy import cophenet, linkage
from scipy.spatial.distance import squareform
from scipy.stats import hmean, spearmanr
from scored_outputs import random_tree
from trees import FLAT, TREE

from hierarchies import Hierarchy, distances
from metrics.inference import (
    METRICS,
    classwise_correlation,
    cophenetic_correlation,
    correlations,
    published_correlation,
    published_correlations,
)
from metrics.mantel import mantel
from metrics.ranks import classwise, elementwise, fisher_mean, rank_distances
from metrics.retrieval import class_retrieval, rank_measures
from metrics.vectors import TIE_AWARE, pairwise_distances, rounded

pytestmark = pytest.mark.filterwarnings("error")

PATH = distances.path_length(TREE)
#                  pairs 01 02 03 12 13 23
LEARNED = squareform(np.array([1.0, 2, 3, 4, 5, 6]))
GIVEN = squareform(np.array([1.0, 3, 2, 4, 5, 6]))


def random_table(size, seed, levels=None):
    rng = np.random.default_rng(seed)
    pairs = size * (size - 1) // 2
    return squareform(
        rng.random(pairs) if levels is None else rng.integers(1, levels, pairs).astype(float)
    )


def test_the_classwise_correlation_is_the_worked_value():
    # only the column of class 0 differs: ranks 1 2 3 against 1 3 2
    first = 1 - 6 * 2 / (3 * (9 - 1))
    expected = np.tanh((np.arctanh(first) + 3 * np.arctanh(1 - 1e-6)) / 4)
    assert classwise_correlation(LEARNED, GIVEN)[:3] == (pytest.approx(expected), 4, 0)


def test_the_elementwise_correlation_is_the_worked_value():
    assert elementwise(rank_distances(LEARNED), rank_distances(GIVEN)) == pytest.approx(
        1 - 6 * 2 / (6 * (36 - 1))
    )


@pytest.mark.parametrize("levels", [None, 4])
def test_correlations_are_those_of_scipy_without_the_diagonal(levels):
    learned, tree = random_table(7, 3, levels), PATH.astype(float)
    a, b = rank_distances(learned), rank_distances(tree)
    others = [np.delete(np.arange(7), i) for i in range(7)]
    expected = [spearmanr(learned[i, o], tree[i, o]).statistic for i, o in enumerate(others)]
    np.testing.assert_allclose(classwise(a, b), expected)
    upper = np.triu_indices(7, 1)
    assert elementwise(a, b) == pytest.approx(spearmanr(learned[upper], tree[upper]).statistic)


def test_the_tree_distances_themselves_are_perfect_and_their_negative_the_worst():
    assert classwise_correlation(PATH, PATH).value == pytest.approx(1 - 1e-6)
    assert classwise_correlation(-PATH, PATH).value == pytest.approx(-1 + 1e-6)
    assert elementwise(rank_distances(-PATH), rank_distances(PATH)) == pytest.approx(-1)


def test_exact_class_vectors_follow_the_tree_and_the_distance_does_not_matter():
    vectors = exact_vectors(TREE)
    euc, arccos = (
        correlations(make_outputs(TREE, class_vectors=vectors, distance=d))
        for d in ("euc", "arccos")
    )
    assert euc["W/corr"].value > 0.99
    assert euc["W/corr_p"].value < 0.01
    for name in euc:
        assert euc[name].value == pytest.approx(arccos[name].value)


def test_a_constant_column_is_undefined_and_counted():
    table = random_table(5, 0)
    table[0, 1:] = table[1:, 0] = 1
    result = classwise_correlation(table, random_table(5, 1))
    assert (result.n, result.undefined) == (4, 1)
    expected = classwise(rank_distances(table), rank_distances(random_table(5, 1)))[1:]
    assert result.value == pytest.approx(np.tanh(np.arctanh(expected).mean()))


@pytest.mark.parametrize("vectors", [np.ones((7, 3)), np.zeros((7, 3))], ids=["equal", "zero"])
def test_class_vectors_in_one_place_are_undefined(vectors):
    results = correlations(make_outputs(TREE, class_vectors=vectors))
    names = ("corr", "corr_p", "corr_elementwise", "corr_elementwise_p")
    assert np.isnan([results[f"W/{name}"].value for name in names]).all()
    assert results["W/corr"].undefined == 7
    assert results["W/corr_elementwise"].undefined == 21
    assert results["W/corr_p"][1:3] == results["W/corr_elementwise_p"][1:3] == (0, 999)


def test_an_empty_living_subset_counts_all_classes():
    results = correlations(make_outputs(TREE, living=np.zeros(7, bool)), 19)
    assert results["W/corr_living"][1:3] == results["W/corr_elementwise_living"][1:3] == (0, 7)
    assert results["W/corr_p_living"][1:3] == (0, 19)
    assert results["W/corr_p"][1:3] == (19, 0)


def test_a_flat_tree_is_undefined_but_not_as_published_where_the_diagonal_counts():
    results = correlations(make_outputs(FLAT)) | published_correlations(make_outputs(FLAT))
    assert results["W/corr"][1:3] == (0, 4)
    assert np.isnan(
        [results["W/corr"].value, results["W/corr_p"].value, results["W/corr_elementwise_p"].value]
    ).all()
    assert results["W/corr_published"].n == 4


def test_fisher_mean_of_nothing_is_nan_and_of_1_is_clipped():
    assert np.isnan(fisher_mean(np.array([np.nan])))
    assert fisher_mean(np.array([1.0, np.nan])) == pytest.approx(1 - 1e-6)


def test_mantel_converges_to_the_share_of_all_permutations():
    a, b = rank_distances(random_table(5, 0)), rank_distances(random_table(5, 7))
    tables, observed = [], (fisher_mean(classwise(a, b)), elementwise(a, b))
    for order in map(list, permutations(range(5))):
        moved = rank_distances(random_table(5, 0)[np.ix_(order, order)])
        tables.append((fisher_mean(classwise(moved, b)), elementwise(moved, b)))
    shares = (np.array(tables) >= np.array(observed) - 1e-9).mean(axis=0)
    np.testing.assert_allclose(mantel(a, b, 3000), shares, atol=0.04)


def test_mantel_is_small_for_known_structure_and_about_uniform_without():
    noise = np.random.default_rng(0).standard_normal((7, 7)) * 0.05
    noisy = correlations(make_outputs(TREE, class_vectors=exact_vectors(TREE) + noise))
    assert max(noisy["W/corr_p"].value, noisy["W/corr_elementwise_p"].value) < 0.01
    tree = rank_distances(PATH)
    p = np.array(
        [mantel(rank_distances(random_table(7, seed)), tree, 49, seed) for seed in range(120)]
    )
    np.testing.assert_allclose(p.mean(axis=0), 0.5, atol=0.12)
    np.testing.assert_allclose((p <= 0.3).mean(axis=0), 0.3, atol=0.15)


def test_mantel_counts_permutations_that_change_nothing():
    assert mantel(rank_distances(PATH), rank_distances(PATH), 0) == (1.0, 1.0)
    hierarchy = Hierarchy.from_paths([("a", "b"), ("a", "c"), ("d", "e"), ("d", "f")])
    pairs = rank_distances(distances.path_length(hierarchy))
    # 8 of the 24 permutations keep the two pairs together
    np.testing.assert_allclose(mantel(pairs, pairs, 2000), 8 / 24, atol=0.04)


def test_mantel_is_the_same_again_and_with_another_seed_another():
    a, b = rank_distances(random_table(9, 1)), rank_distances(random_table(9, 2))
    assert mantel(a, b, 199, seed=1) == mantel(a, b, 199, seed=1) != mantel(a, b, 199, seed=2)


def test_the_published_correlation_is_that_of_scipy_with_the_diagonal():
    learned = random_table(7, 5)
    columns = [spearmanr(learned[i], PATH[i]) for i in range(7)]
    value, p = published_correlation(learned, PATH)
    assert value.value == pytest.approx(
        np.tanh(np.mean(np.arctanh([c.statistic for c in columns])))
    )
    assert p.value == pytest.approx(hmean([c.pvalue for c in columns]))


def test_the_published_correlation_is_above_the_default_for_random_vectors():
    paths = [(f"a{i % 3}", f"b{i % 9}", f"c{i}") for i in range(60)]
    vectors = np.random.default_rng(0).standard_normal((60, 16))
    outputs = make_outputs(Hierarchy.from_paths(paths), class_vectors=vectors)
    raised = (
        published_correlations(outputs)["W/corr_published"].value
        - correlations(outputs, 1)["W/corr"].value
    )
    assert 0.02 < raised < 0.12


def test_a_perfect_column_has_published_p_0():
    assert published_correlation(PATH, PATH)[1].value == 0


def test_the_living_subset_is_the_tree_of_its_classes():
    living = np.array([False, True, True, True, True, False, True])
    vectors = np.random.default_rng(2).standard_normal((7, 4))
    kept = np.flatnonzero(living)
    whole = make_outputs(TREE, class_vectors=vectors, living=living)
    part = make_outputs(TREE.subset(kept), class_vectors=vectors[kept])
    of_whole = correlations(whole) | published_correlations(whole)
    of_part = correlations(part) | published_correlations(part)
    for name in ("corr", "corr_p", "corr_elementwise", "corr_published"):
        assert of_whole[f"W/{name}_living"] == of_part[f"W/{name}"]
        assert f"W/{name}_living" not in of_part


def test_absent_prototypes_are_left_out_of_both_tables_and_counted():
    vectors = np.random.default_rng(2).standard_normal((7, 4))
    prototypes = vectors.copy()
    prototypes[[0, 5]] = np.nan
    kept = np.array([1, 2, 3, 4, 6])
    results = correlations(make_outputs(TREE, class_vectors=vectors, prototypes=prototypes))
    part = correlations(make_outputs(TREE.subset(kept), class_vectors=vectors[kept]))
    assert results["P/corr"].value == part["W/corr"].value
    assert results["P/corr"][1:3] == (5, 2)
    assert results["P/corr_elementwise"][1:3] == (10, 11)


def test_all_prototypes_absent_is_undefined():
    outputs = make_outputs(TREE, prototypes=np.full((7, 8), np.nan), living=np.zeros(7, bool))
    for metric in METRICS.values():
        results = metric(outputs)
        undefined = [name for name in results if name.startswith("P/") or name.endswith("_living")]
        assert undefined
        assert all(np.isnan(results[name].value) and results[name].n == 0 for name in undefined)


def test_the_cophenetic_correlation_of_an_ultrametric_is_1_and_else_that_of_scipy():
    assert cophenetic_correlation(distances.lca_height(TREE).astype(float)).value == pytest.approx(
        1
    )
    pairs = squareform(random_table(9, 4))
    result = cophenetic_correlation(random_table(9, 4))
    assert result[:2] == (pytest.approx(cophenet(linkage(pairs, "average"), pairs)[0]), 36)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_few_classes_break_nothing_and_fewer_than_three_are_undefined(size):
    vectors = np.array([[1.0, 0, 0], [0, 1, 0], [0.5, 0.5, 1]])[:size]
    results = {}
    for metric in METRICS.values():
        results |= metric(make_outputs(CHAINS[size], class_vectors=vectors))
    for name in (
        "corr",
        "corr_p",
        "corr_elementwise",
        "corr_elementwise_p",
        "corr_published_p",
        "cophenetic",
    ):
        assert np.isnan(results[f"W/{name}"].value) == (size < 3)
        assert (results[f"W/{name}"].n == 0) == (size < 3)


@pytest.mark.parametrize("distance", ["euc", "arccos"])
@pytest.mark.parametrize("beta", [0.5, 0.8, 1.0, 1.3, 1.7, 2.0])
def test_exact_vectors_in_single_precision_have_the_ties_of_the_tree(distance, beta):
    tree = random_tree(3, 60)
    path = distances.path_length(tree)
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal(path.shape))[0]
    vectors = (exact_vectors(tree, beta) @ turn).astype(np.float32)
    outputs = make_outputs(tree, class_vectors=vectors, distance=distance)
    learned = pairwise_distances(vectors, distance)
    assert len(np.unique(learned)) == len(np.unique(path))
    results = correlations(outputs, 9)
    assert results["W/corr"].value == pytest.approx(
        classwise_correlation(path, path).value, abs=1e-9
    )
    assert results["W/corr_elementwise"].value == pytest.approx(1, abs=1e-9)
    order = np.argsort(np.where(np.eye(60, dtype=bool), -1, path), axis=1, kind="stable")[:, 1:]
    of_ties = np.nanmean(rank_measures(order, tree.level_table[:, 0])["map@r"])
    assert class_retrieval(outputs)["W/map@r_level1"].value == pytest.approx(of_ties, abs=1e-12)


def test_rounded_distances_tie_within_a_step_and_keep_their_order():
    # 0.4999995 is half a step: plain rounding parts the first two
    np.testing.assert_array_equal(
        np.unique(rounded(np.array([0.49999949, 0.49999951, 0.500003]))), [0.499999, 0.500003]
    )
    dense = np.sort(np.random.default_rng(0).random(100_000) * 0.02)
    found = rounded(dense)
    assert (
        np.abs(found - dense).max() < 1.5e-6
        and (np.diff(found) >= 0).all()
        and len(np.unique(found)) > 10_000
    )
    assert rounded(np.array([0.0, np.nan]))[0] == 0 and np.isnan(
        rounded(np.array([0.0, np.nan]))[1]
    )


@pytest.mark.parametrize(
    ("kind", "distance"), [("exact", "euc"), ("random", "euc"), ("random", "arccos")]
)
def test_plain_rounding_of_many_classes_gives_the_same_measures(monkeypatch, kind, distance):
    tree = random_tree(3, 60)
    path = distances.path_length(tree)
    generator = np.random.default_rng(0)
    turn = np.linalg.qr(generator.standard_normal(path.shape))[0]
    vectors = exact_vectors(tree) @ turn if kind == "exact" else generator.standard_normal((60, 8))
    vectors = vectors.astype(np.float32)
    outputs = make_outputs(tree, class_vectors=vectors, distance=distance)
    aware, measures = (
        pairwise_distances(vectors, distance),
        correlations(outputs, 9) | class_retrieval(outputs),
    )
    monkeypatch.setattr("metrics.vectors.TIE_AWARE", 59)
    plain, others = (
        pairwise_distances(vectors, distance),
        correlations(outputs, 9) | class_retrieval(outputs),
    )
    assert np.abs(aware - plain).max() <= 2.1e-6 and (plain == np.round(plain, 6)).all()
    assert kind == "exact" or (aware != plain).any()  # the other way was taken
    for name in ("W/corr", "W/corr_elementwise", "W/p@1_level1", "W/map@r_level1"):
        assert others[name].value == pytest.approx(measures[name].value, abs=1e-5), name


def test_plain_rounding_of_many_classes_may_part_a_tie(monkeypatch):
    # distances 1 +- 2e-8 shifted by half a step: meant to be one value, on both sides of 1.0000005
    angles = np.array(
        [0.0, 2 * np.arcsin((1.0000005 + 2e-8) / 2), -2 * np.arcsin((1.0000005 - 2e-8) / 2)]
    )
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    found = pairwise_distances(vectors, "euc")[0, 1:]
    assert found[0] == found[1]
    monkeypatch.setattr("metrics.vectors.TIE_AWARE", 2)
    assert (
        sorted(pairwise_distances(vectors, "euc")[0, 1:]) == [1.0, 1.000001] and TIE_AWARE == 1500
    )
