import dataclasses

import numpy as np
import pytest
from scored_outputs import predicted, random_scores, random_tree, scored
from trees import FLAT, TELLING, TREE

from hierarchies import Hierarchy
from hierarchies.weights import node_weights
from metrics import catalogue, evaluate, suite
from metrics.decisions import crm_ranking
from metrics.measure import ACCURACY, Measure
from metrics.outputs import CoarseImages
from metrics.suite import METRICS, ON_REQUEST, bootstrap_intervals

pytestmark = pytest.mark.filterwarnings("error")
SINGLE = Hierarchy.from_paths([("a", "b")])


def usual(num_samples=40, tree=TREE, **others):
    classes = tree.num_classes
    labels, scores = np.arange(num_samples) % classes, random_scores(0, num_samples, classes)
    return scored(
        labels, scores, tree, prototype_scores=random_scores(1, num_samples, classes), **others
    )


@pytest.fixture(scope="module")
def table():
    return evaluate(usual()).set_index("metric")


def test_the_table_has_one_row_a_measure_with_its_numbers(table):
    assert table.columns.tolist() == ["value", "n", "undefined"]
    assert table.index.is_unique
    assert (
        table["n"].dtype == table["undefined"].dtype == np.int64
        and table["value"].dtype == np.float64
    )
    assert (table["n"] >= 0).all() and (table["undefined"] >= 0).all()
    assert (table["n"][table["value"].isna()] == 0).all()


def test_every_measure_of_both_papers_has_a_row(table):
    names = """accuracy accuracy@5 macro_accuracy macro_precision macro_f1 level_precision@1
    level_recall@1
    level_f1@1 ahc ahc_lca_height severity severity_lca_height ahd@5 ahd@5_lca_height
    hdist_top@5 hp@5 hp@5_set_size hp@5_published hp@5_published_set_size
    hierarchical_precision@5 hmap@5 level_accuracy@1 height_accuracy@0 h_precision h_recall h_f1
    h_f1_macro depth_f1 info_excess wtd wtd_half wtd_macro hierarchical_accuracy
    hierarchical_accuracy_greedy wasserstein_accuracy wasserstein_accuracy_macro
    cut_accuracy@0.5 ece mce ece_published ece_level@1 confidence_spearman
    confidence_point_biserial ac_info ap_depth recall@90_info recall@95_depth aurc
    majority/correct plurality/info_f1 expected_information/depth_recall crm/accuracy crm/ahd@5
    crm/hp@5 prototype/accuracy prototype/wtd prototype/ece W/corr P/corr""".split()
    assert [name for name in names if name not in table.index] == []


def test_the_decisions_are_measured_on_their_own_rankings():
    outputs = usual()
    table = evaluate(outputs).set_index("metric")["value"]
    assert table["accuracy"] == (outputs.scores.argmax(axis=1) == outputs.labels).mean()
    assert (
        table["prototype/accuracy"]
        == (outputs.prototype_scores.argmax(axis=1) == outputs.labels).mean()
    )
    chosen = crm_ranking(TREE, outputs.scores)[:, 0]
    assert table["crm/accuracy"] == (chosen == outputs.labels).mean()
    assert table["crm/ahc"] == outputs.path[chosen, outputs.labels].mean()
    assert len({table["accuracy"], table["prototype/accuracy"], table["crm/accuracy"]}) > 1


def test_without_proxies_there_are_no_prototype_rows():
    outputs = dataclasses.replace(usual(), prototype_scores=None)
    assert not evaluate(outputs)["metric"].str.startswith("prototype/").any()


def test_crm_rows_keep_what_depends_on_the_ranking_only(table):
    crm = {name.removeprefix("crm/") for name in table.index if name.startswith("crm/")}
    assert "ece" not in crm and "wtd" not in crm and {"accuracy", "ahd@5", "h_f1"} <= crm


def test_a_temperature_adds_calibrated_rows():
    outputs = usual()
    table = evaluate(outputs, temperature=4.0).set_index("metric")["value"]
    cooled = evaluate(outputs.view(scores=outputs.scores / 4)).set_index("metric")["value"]
    assert (
        table["calibrated/ece"] == pytest.approx(cooled["ece"])
        and table["calibrated/ece"] != table["ece"]
    )
    assert table["calibrated/wtd"] == pytest.approx(cooled["wtd"])
    assert "calibrated/accuracy" not in table.index


def test_prototype_scores_have_a_temperature_of_their_own():
    outputs = usual()
    table = evaluate(outputs, prototype_temperature=3.0).set_index("metric")["value"]
    cooled = evaluate(outputs.view(scores=outputs.prototype_scores / np.float32(3))).set_index(
        "metric"
    )["value"]
    for name in ("ece", "wtd", "majority/depth"):
        assert table[f"prototype/calibrated/{name}"] == cooled[name] != table[f"prototype/{name}"]
    assert (
        "calibrated/ece" not in table.index and "prototype/calibrated/accuracy" not in table.index
    )
    alone = evaluate(dataclasses.replace(outputs, prototype_scores=None), prototype_temperature=3.0)
    assert not alone["metric"].str.startswith("prototype/").any()


def test_crm_by_lca_heights_has_rows_of_its_own():
    outputs = usual(200)
    table = evaluate(outputs).set_index("metric")["value"]
    chosen = crm_ranking(TREE, outputs.scores, "lca_height")[:, 0]
    assert (chosen != crm_ranking(TREE, outputs.scores)[:, 0]).any()
    assert (
        table["crm_lca_height/ahc_lca_height"] == outputs.lca_height[chosen, outputs.labels].mean()
    )


def test_the_catalogue_knows_every_column():
    coarse = CoarseImages(np.array([2]), random_scores(3, 1, 7))
    outputs = usual(coarse=coarse)
    temperatures = {"temperature": 2.0, "prototype_temperature": 2.0}
    names = evaluate(outputs, hie_scores=outputs.scores, **temperatures)["metric"]
    everyday = {column for column in catalogue.COLUMNS if "of_" not in column}
    assert {catalogue.split(name)[0] for name in names} == {"value", *everyday}
    assert catalogue.split("prototype/calibrated/majority/depth") == (
        "prototype/calibrated",
        "majority",
        "depth",
    )
    assert catalogue.place("crm_lca_height/ahc") == (
        "distance in the tree",
        "crm_lca_height",
        "ahc",
    )
    assert not any(
        "calibrated" in catalogue.place(name)[0].removeprefix("calibration") for name in names
    )


def test_the_weighting_moves_the_weighted_measures_only():
    outputs = usual(tree=TELLING)
    tables = [
        evaluate(outputs, weighting=w).set_index("metric")["value"] for w in ("balanced", "greedy")
    ]
    assert abs(tables[0]["wtd"] - tables[1]["wtd"]) > 1e-3
    assert tables[0]["ahc"] == tables[1]["ahc"]
    greedy = tables[1]["hierarchical_accuracy_greedy"]
    assert tables[1]["hierarchical_accuracy"] == pytest.approx(greedy, rel=1e-9)
    weights = node_weights(TELLING, "greedy")
    given = evaluate(outputs, weighting=weights).set_index("metric")["value"]
    assert given["wtd"] == pytest.approx(tables[1]["wtd"], rel=1e-9)


def test_weights_that_do_not_sum_to_one_leave_measures_undefined():
    table = evaluate(usual(), weighting="ones").set_index("metric")
    assert table.loc["wtd", "value"] > 2
    for name in ("hierarchical_accuracy", "wasserstein_accuracy", "wasserstein_accuracy_macro"):
        assert np.isnan(table.loc[name, "value"])
        assert table.loc[name, ["n", "undefined"]].tolist() == [0, 40]
    assert table.loc["hierarchical_accuracy_greedy", "value"] > 0


def test_what_is_on_request_comes_on_request():
    assert "W/rf_published" not in evaluate(usual())["metric"].tolist()
    assert "W/rf_published" in evaluate(usual(), on_request=["rf_published"])["metric"].tolist()
    with pytest.raises(ValueError, match="rf_published, graded_retrieval, got 'rf'"):
        evaluate(usual(), on_request=["rf"])


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("bootstrap", -1),
        ("temperature", 0.0),
        ("temperature", np.inf),
        ("prototype_temperature", 0.0),
        ("weighting", "even"),
    ],
)
def test_options_out_of_range_are_errors(option, value):
    with pytest.raises(ValueError, match="must be"):
        evaluate(usual(), **{option: value})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"scores": np.zeros((40, 6), np.float32)},
            r"scores must have shape \(40, 7\), got \(40, 6\)",
        ),
        ({"prototypes": np.zeros((7, 3))}, r"prototypes must have shape \(7, 2\)"),
        ({"living": np.ones(6, bool)}, r"living must have shape \(7,\)"),
        ({"labels": np.full(40, 7)}, r"labels must be integers in \[0, 7\)"),
        ({"labels": np.full(40, -1)}, r"labels must be integers in \[0, 7\)"),
        ({"labels": np.zeros(40)}, "labels must be integers"),
        ({"scores": np.full((40, 7), np.nan, np.float32)}, "scores hold NaN"),
        (
            {"prototype_scores": np.full((40, 7), -np.inf, np.float32)},
            "prototype_scores hold NaN, inf, or a row",
        ),
        ({"distance": "cos"}, "'euc' or 'arccos', got 'cos'"),
    ],
)
def test_outputs_that_do_not_fit_together_are_errors(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(usual(), **changes)


def absent_prototypes():
    outputs = usual()
    prototypes, scores = outputs.prototypes.copy(), outputs.prototype_scores.copy()
    prototypes[[1, 4]], scores[:, [1, 4]] = np.nan, -np.inf
    return dataclasses.replace(outputs, prototypes=prototypes, prototype_scores=scores)


def constant_columns():
    outputs = usual()
    same, scores = np.tile([1.0, 0.0], (7, 1)), np.zeros((40, 7), np.float32)
    return dataclasses.replace(outputs, class_vectors=same, prototypes=same.copy(), scores=scores)


EDGES = {
    "no sample": lambda: usual(0),
    "one sample": lambda: usual(1),
    "one class": lambda: usual(5, SINGLE),
    "one class, one sample": lambda: usual(1, SINGLE),
    "one class, no sample": lambda: usual(0, SINGLE),
    "two classes": lambda: usual(6, Hierarchy.from_paths([("a",), ("b",)])),
    "a flat tree": lambda: usual(9, FLAT),
    "an uneven tree": lambda: usual(30, random_tree(0)),
    "classes missing from the test set": lambda: predicted(
        [2, 2, 3], [2, 3, 3], prototype_scores=np.eye(7)[[2, 2, 2]]
    ),
    "all scores tied": lambda: scored(np.arange(7), np.zeros((7, 7))),
    "absent prototypes": absent_prototypes,
    "constant columns": constant_columns,
    "no living class": lambda: usual().view(living=np.zeros(7, bool)),
    "certain and right": lambda: scored(np.arange(7), 1e4 * np.eye(7)),
    "certain and wrong": lambda: scored(np.arange(7), -1e4 * np.eye(7)),
    "duplicate images": lambda: usual().view(embeddings=np.ones((40, 2), np.float32)),
    "zero embeddings": lambda: usual().view(embeddings=np.zeros((40, 2), np.float32)),
}


@pytest.mark.parametrize("edge", EDGES)
def test_every_measure_is_a_number_or_a_counted_nan(edge):
    table = evaluate(
        EDGES[edge](),
        bootstrap=3,
        temperature=2.0,
        prototype_temperature=2.0,
        on_request=list(ON_REQUEST),
    )
    assert table["metric"].is_unique
    undefined = table[table["value"].isna()]
    assert (undefined["n"] == 0).all(), undefined
    assert (undefined["undefined"] > 0).all() or "no sample" in edge, undefined[
        undefined["undefined"] == 0
    ]
    assert np.isfinite(table["value"].dropna()).all()


def test_the_bootstrap_interval_of_a_share_is_the_binomial_one():
    samples = (np.arange(400) < 300).astype(float)[:, None]
    lower, upper = bootstrap_intervals(samples, 4000, seed=0)
    spread = 1.96 * np.sqrt(0.75 * 0.25 / 400)
    np.testing.assert_allclose([lower[0], upper[0]], [0.75 - spread, 0.75 + spread], atol=0.004)


def test_the_bootstrap_interval_of_few_groups_is_students():
    # 10 groups of means 0 ... 9: deviation 3.028, t 2.262; of the normal distribution, and without
    # the factor sqrt(10 / 9), it would be 1.78
    samples, groups = np.repeat(np.arange(10.0), 3)[:, None], np.repeat(np.arange(10), 3)
    lower, upper = bootstrap_intervals(samples, 10000, clusters=groups)
    half = 2.262 * 3.028 / np.sqrt(10)
    np.testing.assert_allclose([lower[0], upper[0]], [4.5 - half, 4.5 + half], atol=0.1)


def test_the_bootstrap_repeats_with_its_seed_and_holds_the_value():
    outputs = usual(200)
    first, again, other = (evaluate(outputs, bootstrap=100, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first[["lower", "upper"]], again[["lower", "upper"]])
    assert not np.array_equal(first["lower"], other["lower"], equal_nan=True)
    known = first.dropna(subset=["lower"])
    assert {"accuracy", "ahc", "severity", "wtd", "crm/accuracy", "prototype/hp@5"} <= set(
        known["metric"]
    )
    assert (known["lower"] <= known["value"] + 1e-12).all() and (
        known["value"] <= known["upper"] + 1e-12
    ).all()


def test_the_bootstrap_leaves_undefined_samples_out_of_each_mean():
    samples = np.array([[1.0, np.nan, np.nan], [3.0, 5.0, np.nan]])
    lower, upper = bootstrap_intervals(samples, 200)
    np.testing.assert_array_equal(lower, [1, 5, np.nan])
    np.testing.assert_array_equal(upper, [3, 5, np.nan])


def test_the_bootstrap_of_a_mean_over_groups_leaves_out_groups_that_are_not_drawn():
    # groups 7: 0 and 4; 9: 1 alone, which some resamples miss
    samples, group = np.array([[0.0], [4.0], [1.0]]), np.array([7, 7, 9])
    expected = []
    for drawn in np.random.default_rng(3).integers(0, 3, (50, 3)):
        of_groups = [
            samples[drawn[group[drawn] == g], 0].mean() for g in (7, 9) if (group[drawn] == g).any()
        ]
        expected.append(np.mean(of_groups))
    lower, upper = bootstrap_intervals(samples, 50, 3, [group])
    # of three samples Student's t is 4.3, which takes all resamples
    np.testing.assert_allclose([lower[0], upper[0]], [min(expected), max(expected)], atol=1e-5)


@pytest.mark.filterwarnings("default")  # constant columns of a resample are no matter here
def test_intervals_are_those_of_measuring_every_resample():
    outputs, bootstrap = usual(30, train_counts=np.array([200, 200, 50, 50, 5, 5, 5])), 6
    table = evaluate(outputs, bootstrap=bootstrap, seed=5).set_index("metric")
    tables = []
    for drawn in np.random.default_rng(5).integers(0, 30, (bootstrap, 30)):
        names = ("labels", "scores", "prototype_scores", "embeddings")
        tables.append(
            evaluate(outputs.view(**{name: getattr(outputs, name)[drawn] for name in names}))
        )
    resampled = np.array(
        [part.set_index("metric")["value"].reindex(table.index) for part in tables]
    )
    # of 30 images Student's t is 2.0452, times sqrt(30 / 29) in the normal distribution 1.8754 %
    lower, upper = np.nanpercentile(resampled, [1.8754, 98.1246], axis=0)
    # there only the queries are drawn
    of_images = table.index.str.match(r"(hs|ahs|hp_barz|ahp|ahp_wu_palmer)@")
    known = table["lower"].notna() & ~of_images
    names = {"macro_accuracy", "crm/level_recall@1", "prototype/wtd_macro", "severity"}
    assert names | {"many_accuracy", "crm/few_accuracy"} <= set(table.index[known])
    np.testing.assert_allclose(table["lower"][known], lower[known], atol=1e-6)
    np.testing.assert_allclose(table["upper"][known], upper[known], atol=1e-6)


def test_measures_that_are_no_means_over_images_have_no_interval():
    table = evaluate(usual(60), bootstrap=20, temperature=2.0).set_index("metric")
    none = """ece mce ece_published ece_level@1 calibrated/ece prototype/ece macro_precision
    macro_f1
    level_f1@1 aurc level_precision@1 h_precision h_recall h_f1 h_f1_macro ac_info ap_depth
    recall@90_info confidence_spearman confidence_point_biserial majority/h_f1 hp@5_set_size
    W/corr P/corr W/l_hp discriminability""".split()
    assert table.loc[none, ["lower", "upper"]].isna().all(axis=None)
    assert table.loc[none, "value"].notna().any()
    assert (table["lower"].isna() == table["upper"].isna()).all()


def test_blocks_of_the_bootstrap_do_not_change_it(monkeypatch):
    samples, groups = (
        np.random.default_rng(0).random((50, 3)),
        [None, np.arange(50) % 4, np.arange(50) // 7],
    )
    whole = bootstrap_intervals(samples, 40, 0, groups)
    monkeypatch.setattr("metrics.posterior._BLOCK_ENTRIES", 120)
    np.testing.assert_allclose(bootstrap_intervals(samples, 40, 0, groups), whole)
    assert not np.allclose(bootstrap_intervals(samples, 40), whole)


def test_blocks_of_samples_do_not_change_any_measure(monkeypatch, table):
    monkeypatch.setattr("metrics.posterior._BLOCK_ENTRIES", 40)
    small = evaluate(usual()).set_index("metric")
    np.testing.assert_allclose(small["value"], table["value"], rtol=1e-6, atol=1e-9)
    assert (small["n"] == table["n"]).all()


def test_a_new_metric_needs_a_function_and_a_row(monkeypatch):
    monkeypatch.setitem(
        suite.RANKED,
        "lowest_class",
        lambda outputs: suite.Result(float(outputs.predictions.min()), 1),
    )
    row = Measure("lowest_class", None, ACCURACY, "0 or more", "Lowest class that is predicted.")
    monkeypatch.setattr(catalogue, "MEASURES", (*catalogue.MEASURES, row))
    catalogue._find.cache_clear()
    outputs = usual()
    table = evaluate(outputs).set_index("metric")
    catalogue._find.cache_clear()
    assert (
        table.loc["prototype/lowest_class", "value"]
        == outputs.prototype_scores.argmax(axis=1).min()
    )
    assert "crm/lowest_class" in table.index


def test_no_measure_hides_another():
    parts = (suite.RANKED, suite.ORDERED, suite.POSTERIOR, suite.STRUCTURE)
    assert len(METRICS) == sum(map(len, parts))
