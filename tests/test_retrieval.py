import numpy as np
import pytest
from made_outputs import CHAINS, circle, exact_vectors, make_outputs
from trees import FLAT, TREE

from hierarchies import distances
from metrics import retrieval
from metrics.retrieval import (
    class_retrieval,
    graded_retrieval,
    hierarchical_average_precision,
    image_retrieval,
    nearest,
    rank_measures,
    set_intersection,
)

pytestmark = pytest.mark.filterwarnings("error")

# classes 1 (A2a), 4 (A2b), 3 (A1), 0 (C); seen from the first image: class 0 is nearest, then 3,
# then 4
FOUR = circle([0, 30, 20, 10]) * np.array([[1], [5], [0.1], [2]])


def four_images(**options):
    return make_outputs(TREE, FOUR, [1, 4, 3, 0], np.ones((7, 2)), **options)


def test_hs_is_the_worked_value_with_path_lengths_4_3_and_2_from_the_first_image():
    results = image_retrieval(four_images())
    near, middle, far = 1 - (4 / 5) ** 2, 1 - (3 / 4) ** 2, 1 - (2 / 3) ** 2
    at_1, at_2 = near / far, (near + middle) / (far + middle)
    assert results["hs@1"].samples[0] == pytest.approx(at_1)
    assert results["hs@3"].samples[0] == pytest.approx(1)
    assert results["ahs@3"].samples[0] == pytest.approx((at_1 / 2 + at_2 + 1 / 2) / 2)


def test_no_similarity_is_above_the_best_there_is_however_sums_round():
    random = np.random.default_rng(0)
    for _ in range(20):
        labels, embeddings = random.integers(0, 7, 40), random.standard_normal((40, 3))
        results = image_retrieval(make_outputs(TREE, embeddings, labels, np.ones((7, 3))))
        for name, result in results.items():
            if name.startswith(("hs", "ahs", "hp_barz", "ahp")):
                assert np.nanmax(result.samples) <= 1, name


def test_hs_with_angles_is_the_cosine_of_the_target():
    results = image_retrieval(four_images(distance="arccos", beta=2.0))
    near, far = np.cos(np.pi / 2 * 4 / 6), np.cos(np.pi / 2 * 2 / 4)
    assert results["hs@1"].samples[0] == pytest.approx(near / far)


def test_hp_of_barz_and_denzler_is_the_worked_value_with_lca_heights_3_2_and_1_of_3():
    results = image_retrieval(four_images())
    # the nearest image is across the root: the worst there is
    assert results["hp_barz@1"].samples[0] == 0
    assert results["hp_barz@3"].samples[0] == pytest.approx(1)
    assert results["ahp@3"].samples[0] == pytest.approx(
        (0 / 2 + (1 / 3) / (2 / 3 + 1 / 3) + 1 / 2) / 3
    )


def test_wu_palmer_area_is_the_worked_value_with_depths_counted_from_1_at_the_root():
    c, a1, a2b = 2 * 1 / (4 + 2), 2 * 2 / (4 + 3), 2 * 3 / (4 + 4)
    at_1, at_2 = c / a2b, (c + a1) / (a2b + a1)
    value = image_retrieval(four_images())["ahp_wu_palmer@3"].samples[0]
    assert value == pytest.approx((at_1 / 2 + at_2 + 1 / 2) / 3)


def test_a_query_without_any_similar_image_is_undefined_and_counted():
    result = image_retrieval(four_images())["hp_barz@1"]
    assert (result.n, result.undefined) == (3, 1)
    assert np.isnan(result.samples[3])
    assert result.value == pytest.approx(np.nanmean(result.samples))


def test_an_area_of_two_images_that_share_nothing_is_undefined():
    results = image_retrieval(make_outputs(TREE, FOUR[:2], [0, 1], np.ones((7, 2))))
    for name in ("hp_barz@1", "ahp@1"):
        assert np.isnan(results[name].value)
        assert (results[name].n, results[name].undefined) == (0, 2)


def test_few_images_are_named_by_the_largest_k():
    assert {name for name in image_retrieval(four_images()) if name.startswith(("hs", "ah"))} == {
        *("hs@1", "hs@3", "ahs@3", "ahp@3", "ahp_wu_palmer@3")
    }


def test_many_images_have_all_ranks():
    embeddings = np.random.default_rng(0).standard_normal((251, 4))
    results = image_retrieval(make_outputs(TREE, embeddings, np.arange(251) % 7, np.ones((7, 4))))
    for k in (1, 50, 100, 150, 200, 250):
        assert {f"hs@{k}", f"hp_barz@{k}"} <= set(results)
    assert {"ahs@250", "ahp@250"} <= set(results)


def test_ahs_is_1_for_images_at_the_distances_of_the_tree():
    labels = np.repeat(np.arange(7), 50)
    results = image_retrieval(make_outputs(TREE, exact_vectors(TREE)[labels], labels))
    assert results["ahs@250"].value == pytest.approx(1)
    assert all(results[f"hs@{k}"].value == pytest.approx(1) for k in (1, 50, 100, 150, 200, 250))


def test_ahp_is_0_996_for_images_at_the_lca_heights_of_the_tree():
    labels = np.repeat(np.arange(7), 50)
    vectors = np.linalg.cholesky(1 - distances.lca_height(TREE) / 3)
    results = image_retrieval(make_outputs(TREE, vectors[labels], labels))
    assert results["ahp@250"].value == pytest.approx(0.996)
    assert results["hp_barz@250"].value == pytest.approx(1)


def test_flat_classes_in_one_place_each_retrieve_perfectly():
    labels = np.repeat(np.arange(4), 3)
    results = image_retrieval(make_outputs(FLAT, np.eye(4)[labels], labels))
    assert results["hp_barz@1"].value == 1
    assert results["ahs@11"].value == pytest.approx(1)


@pytest.mark.parametrize("block", [1, 500, 1 << 20])
def test_blocks_agree_with_a_loop_over_all_pairs(monkeypatch, block):
    monkeypatch.setattr(retrieval, "_CHUNK", block)
    rng = np.random.default_rng(1)
    embeddings, labels = rng.standard_normal((60, 5)), rng.integers(0, 7, 60)
    results = image_retrieval(make_outputs(TREE, embeddings, labels, np.ones((7, 5))))
    units = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    similarity = 1 - (distances.path_length(TREE) / (1 + distances.path_length(TREE))) ** 2
    for query in range(60):
        others = np.delete(np.arange(60), query)
        gains = similarity[labels[query], labels[others]]
        found = np.cumsum(gains[np.argsort(-(units @ units[query])[others])])
        curve = found / np.cumsum(np.sort(gains)[::-1])
        assert results["hs@50"].samples[query] == pytest.approx(curve[49])
        assert results["ahs@59"].samples[query] == pytest.approx(np.trapezoid(curve, dx=1 / 58))


def test_the_image_itself_is_left_out_by_index_also_among_duplicates():
    for rows, found in nearest(np.ones((5, 3), np.float32), 4):
        others = [sorted({0, 1, 2, 3, 4} - {image}) for image in range(rows.start, rows.stop)]
        assert [sorted(line) for line in found.tolist()] == others


@pytest.mark.parametrize("k", [1, 4, 19])
def test_equal_images_at_the_border_of_k_are_found_by_index(k):
    corners = np.eye(4, dtype=np.float32)[
        np.random.default_rng(0).permutation(np.repeat(np.arange(4), 10))
    ]
    for rows, found in nearest(corners, k):
        cosines = corners[rows] @ corners.T
        cosines[np.arange(len(cosines)), np.arange(rows.start, rows.stop)] = -np.inf
        np.testing.assert_array_equal(found, np.argsort(-cosines, axis=1, kind="stable")[:, :k])


def test_duplicates_and_zero_embeddings_have_a_value():
    embeddings = np.zeros((6, 3))
    embeddings[:4] = 1
    results = image_retrieval(make_outputs(TREE, embeddings, [1, 1, 4, 4, 0, 2], np.ones((7, 3))))
    assert np.isfinite(results["hs@1"].samples).all()


def test_an_embedding_with_nan_is_undefined_and_found_by_no_query():
    embeddings = np.vstack([FOUR, [np.nan, 1]])
    with_nan = image_retrieval(make_outputs(TREE, embeddings, [1, 4, 3, 0, 1], np.ones((7, 2))))
    without = image_retrieval(four_images())
    assert with_nan["hs@1"].undefined == 1
    assert np.isnan(with_nan["hs@1"].samples[4])
    np.testing.assert_allclose(with_nan["ahs@3"].samples[:4], without["ahs@3"].samples)


@pytest.mark.parametrize("size", [0, 1])
def test_without_a_second_image_everything_is_undefined(size):
    results = image_retrieval(make_outputs(TREE, np.ones((size, 3)), [2] * size, np.ones((7, 3))))
    assert {"hs@1", "ahs@250", "ahp@250"} <= set(results)
    assert all(
        np.isnan(result.value) and (result.n, result.undefined) == (0, size)
        for result in results.values()
    )


def test_two_images_have_rank_1_only():
    results = image_retrieval(make_outputs(TREE, np.eye(2), [1, 4], np.ones((7, 2))))
    assert results["hs@1"].value == results["ahs@1"].value == 1
    assert results["ahp@1"].value == 0  # (k - 1) / k of a perfect curve


# the angles of classes 0..6: the branch A = {1, 3, 4}, disturbed by class 0; B = {2, 5, 6}
ANGLES = circle([15, 0, 90, 40, 10, 100, 120])


def test_class_vectors_have_the_worked_precisions_at_level_1():
    results = class_retrieval(make_outputs(TREE, class_vectors=ANGLES))
    # class 1 finds 4, 0; class 4 finds 0, 1; class 3 finds 0, 4; the three of B find each other
    assert results["W/p@1_level1"][:3] == (pytest.approx((1 + 0 + 0 + 3) / 6), 6, 1)
    assert results["W/r_precision_level1"].value == pytest.approx((1 / 2 + 1 / 2 + 1 / 2 + 3) / 6)
    assert results["W/map@r_level1"].value == pytest.approx((1 / 2 + 1 / 4 + 1 / 4 + 3) / 6)


def test_class_vectors_have_the_worked_precisions_at_level_2():
    results = class_retrieval(make_outputs(TREE, class_vectors=ANGLES))
    # groups {1, 4} and {5, 6}: 1 finds 4, 4 finds 0, 5 finds 2, 6 finds 5
    for name in ("p@1", "r_precision", "map@r"):
        assert results[f"W/{name}_level2"][:3] == (pytest.approx(2 / 4), 4, 3)
    assert "W/p@1_level3" not in results  # every class is alone there


def test_class_vectors_at_the_lca_heights_of_the_tree_are_perfect():
    vectors = np.linalg.cholesky(1 - distances.lca_height(TREE) / 3)
    assert all(
        result.value == 1
        for result in class_retrieval(make_outputs(TREE, class_vectors=vectors)).values()
    )


def test_class_vectors_with_their_relatives_last_are_the_worst():
    order = np.array([[2, 3, 1], [2, 3, 0], [0, 1, 3], [0, 1, 2]])
    assert all(
        (values == 0).all() for values in rank_measures(order, np.array([0, 0, 1, 1])).values()
    )


def test_a_flat_tree_has_no_shared_group():
    results = class_retrieval(make_outputs(FLAT))
    assert all(
        np.isnan(result.value) and (result.n, result.undefined) == (0, 4)
        for result in results.values()
    )
    assert "W/p@1_level1" in results


def test_an_absent_prototype_is_neither_query_nor_found():
    prototypes = ANGLES.copy()
    prototypes[0] = np.nan
    results = class_retrieval(make_outputs(TREE, class_vectors=ANGLES, prototypes=prototypes))
    assert results["P/p@1_level1"][:3] == (1, 6, 1)
    prototypes[1] = np.nan
    results = class_retrieval(make_outputs(TREE, class_vectors=ANGLES, prototypes=prototypes))
    assert results["P/p@1_level2"][:3] == (pytest.approx(1 / 2), 2, 5)  # class 4 is alone now


@pytest.mark.parametrize("size", [1, 2, 3])
def test_few_classes_do_not_break_the_measures(size):
    results = class_retrieval(make_outputs(CHAINS[size], class_vectors=np.eye(size, 4)))
    expected = (1.0, 2, size - 2) if size > 1 else (pytest.approx(np.nan, nan_ok=True), 0, 1)
    assert results["W/p@1_level1"][:3] == expected


def test_graded_retrieval_has_the_worked_values_of_the_first_image():
    results = graded_retrieval(four_images())
    # class 0 shares no level with class 1, class 3 one and class 4 two of three: relevances 0, 1/3
    # and 2/3, found in this order
    h_ap = (1 / 3 / 2 + (1 / 3 + 2 / 3) / 3) / (1 / 3 + 2 / 3)
    assert results["h_ap"].samples[0] == pytest.approx(h_ap)
    assert results["asi"].samples[0] == pytest.approx((0 / 1 + 1 / 2) / 2)
    assert np.isnan(results["h_ap"].samples[3])  # class 0 has no relative among them
    assert (results["h_ap"].n, results["asi"].undefined) == (3, 1)


def naive_graded(levels, height):
    """H-AP and ASI of one ranking by their sums: levels shared with the query, best first."""
    counts = {level: list(levels).count(level) for level in levels}
    rel = [level / height / counts[level] if level else 0.0 for level in levels]
    relevant = [k for k, level in enumerate(levels) if level]
    gained = sum(sum(min(rel[k], rel[j]) for j in range(k + 1)) / (k + 1) for k in relevant)
    ideal = sorted(levels, reverse=True)
    shares = []
    for k in range(1, len(relevant) + 1):
        left, common = list(ideal[:k]), 0
        for level in levels[:k]:
            if level in left:
                left.remove(level)
                common += 1
        shares.append(common / k)
    return gained / sum(rel), sum(shares) / len(shares)


def test_graded_retrieval_is_the_sum_over_pairs_on_random_rankings():
    random = np.random.default_rng(1)
    for _ in range(30):
        shared = random.integers(0, 4, (1, 12))
        shared[0, 0] = 1  # something is relevant
        found = (hierarchical_average_precision(shared, 3)[0], set_intersection(shared)[0])
        assert found == pytest.approx(naive_graded(shared[0].tolist(), 3))


def test_graded_retrieval_is_average_precision_on_a_flat_tree_and_1_in_ideal_order():
    shared = np.array([[0, 1, 0, 1, 1], [1, 1, 1, 0, 0]])
    found = hierarchical_average_precision(shared, 1)
    assert found == pytest.approx([(1 / 2 + 2 / 4 + 3 / 5) / 3, 1])
    assert set_intersection(shared)[1] == 1
    ideal = np.array([[3, 2, 2, 1, 0]])
    assert set_intersection(ideal) == 1
    assert np.isnan(hierarchical_average_precision(np.zeros((1, 3), int), 3)).all()
