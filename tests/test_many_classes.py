"""What grows with images times classes, or with the square of the classes, is computed again, in
blocks, or of a sample whose name says so.
"""

import numpy as np
import pytest
import torch
from test_suite import usual
from test_wiring import SPLITS, build
from trees import TREE

from benchmarks import many_classes
from data import split_table
from metrics import catalogue, diagnostics, flat, geometry, hops, inference, mantel, suite
from metrics import outputs as metric_outputs
from metrics import ranks as ranks_of
from metrics.outputs import Outputs, sample_classes
from metrics.threads import in_threads
from metrics.vectors import pairwise_cosines
from runs.folder import FORMAT, Run
from training import outputs as split_outputs
from training.scores import read_outputs


def record(tmp_path, training, arrays) -> Run:
    run = Run(tmp_path / "run")
    run.clear()
    run.write_json("hierarchy.json", TREE.to_dict())
    run.write_table("split.csv", split_table(SPLITS))
    made = {"options": training.options, "hierarchy": TREE.digest}
    run.write_config({"format": FORMAT, **made, "result_checkpoint": "last.pt"})
    run.write_arrays("test", arrays["test"])
    return run


@pytest.mark.parametrize(
    "method, flags",
    [
        ("softmax", ("--clspri",)),
        ("normface", ("--distance", "arccos", "--clspri")),
        ("DR", ("--dynamic", "--ema")),
        ("DR", ("--mds_W",)),
    ],
)
def test_scores_that_are_not_kept_come_back(tmp_path, monkeypatch, method, flags):
    training = build(*flags, method=method)
    if training.model.head.has_proxies and "--ema" in flags:
        training.model.head.seen[:5] = True
        training.model.head.dynamic_scale.log_scale.fill_(2.0)
    if method == "softmax":
        torch.nn.init.normal_(training.model.head.bias)
    kept = split_outputs.compute_outputs(training, SPLITS)
    monkeypatch.setattr(split_outputs, "KEPT_SCORES", 10)
    arrays = split_outputs.compute_outputs(training, SPLITS)
    assert not {"scores", "prototype_scores"} & arrays["test"].keys()
    run = record(tmp_path, training, arrays)
    found, expected = read_outputs(run), kept["test"]
    np.testing.assert_allclose(found.scores, expected["scores"], rtol=1e-4, atol=1e-5)
    if method == "softmax":
        assert found.prototype_scores is None
    else:
        np.testing.assert_allclose(
            found.prototype_scores, expected["prototype_scores"], rtol=1e-4, atol=1e-5
        )
    again = read_outputs(Run(run.folder))
    assert np.array_equal(again.scores, found.scores)  # whenever they are asked for
    assert suite.evaluate(found).shape == suite.evaluate(again).shape


def test_outputs_of_some_classes_are_those_of_the_whole_cut_out():
    outputs = usual()
    drawn = outputs.sample(4)
    classes = sample_classes(TREE.num_classes, 4)
    assert len(classes) == 4 and drawn.drawn_from == TREE.num_classes
    assert np.array_equal(drawn.path, outputs.path[np.ix_(classes, classes)])
    assert np.array_equal(drawn.class_vectors, outputs.class_vectors[classes])
    assert np.array_equal(drawn.prototypes, outputs.prototypes[classes], equal_nan=True)
    rows = np.isin(outputs.labels, classes)
    assert np.array_equal(classes[drawn.labels], outputs.labels[rows])
    assert np.array_equal(drawn.embeddings, outputs.embeddings[rows])
    assert outputs.sample(TREE.num_classes) is outputs


def test_measures_of_pairs_are_of_a_sample_that_their_name_tells(monkeypatch):
    outputs = usual()
    everything = suite.evaluate(outputs)["metric"]
    monkeypatch.setattr(suite, "SAMPLE", 4)
    table = suite.evaluate(outputs).set_index("metric")["value"]
    drawn = outputs.sample(4)
    expected = inference.correlations(drawn)["W/corr"].value
    assert table["W_of_4/corr"] == pytest.approx(expected) and "W/corr" not in table
    # the frame that the class vectors may have collapsed to is that of all classes
    cosines = pairwise_cosines(drawn.class_vectors)[np.triu_indices(4, 1)]
    away = np.abs(cosines + 1 / (TREE.num_classes - 1)).mean()
    assert table["of_4/nc/W_deviation"] == pytest.approx(away)
    plain = {name.replace("_of_4/", "/").replace("of_4/", "") for name in table.index}
    assert plain <= set(everything)
    assert {"accuracy", "W/angle_true", "ahs@39", "hops"} & plain <= set(table.index)
    assert catalogue.direction("W_of_4/corr") == catalogue.direction("W/corr") == "higher"
    assert catalogue.place("P_of_2000/upgma_rf")[1:] == ("P_of_2000", "upgma_rf")


@pytest.mark.parametrize("quick", [False, True])
def test_figures_of_an_epoch_are_of_a_sample_that_their_name_tells(monkeypatch, quick):
    outputs = usual()
    sums = geometry.class_sums(outputs.embeddings, outputs.labels, TREE.num_classes)
    arguments = (outputs.class_vectors, outputs.prototypes, *sums, TREE, "euc")
    whole = diagnostics.diagnostics(*arguments)
    assert diagnostics.diagnostics(*arguments, quick=quick).keys() == whole.keys()
    if quick:
        monkeypatch.setattr(diagnostics, "QUICK_SAMPLE", 4)
    else:
        monkeypatch.setattr(diagnostics, "EPOCH_CLASSES", TREE.num_classes - 1)
        monkeypatch.setattr(diagnostics, "EPOCH_SAMPLE", 4)
    row = diagnostics.diagnostics(*arguments, quick=quick)
    expected = inference.correlations(outputs.sample(4), permutations=0)["W/corr"].value
    assert row["W_of_4/corr"] == pytest.approx(expected)
    assert {name.replace("_of_4", "") for name in row} <= set(whole)
    same = whole.keys() & row.keys()
    assert {"var_inter", "proxy_prototype_angle"} <= same
    assert all(row[name] == pytest.approx(whole[name], nan_ok=True) for name in same)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_classes_are_ordered_by_score_and_equal_ones_by_class(dtype):
    scores = np.array(
        [[0.0, -0.0, 2, -3, -np.inf, 2], [1, 2, 3, 4, 5, 6], [-1, -2, -0.5, 1e-40, 0, -1e-40]],
        dtype,
    )
    order, tied = hops._order(scores)
    assert order.tolist() == [[2, 5, 0, 1, 3, 4], [5, 4, 3, 2, 1, 0], [3, 4, 5, 2, 0, 1]]
    assert tied.tolist() == [True, False, False]


def test_confusions_without_zeros_are_those_of_the_table():
    outputs = usual()
    nodes, true, predicted, counts = flat.confused(outputs, 1)
    _, table = flat.confusion(outputs, 1)
    assert counts.min() > 0 and counts.sum() == table.sum() == outputs.num_samples
    assert np.array_equal(table[true, predicted], counts)


def test_permutations_of_many_classes_are_counted_in_single_precision(monkeypatch):
    generator = np.random.default_rng(0)
    tables = []
    for _ in range(2):
        points = generator.normal(size=(40, 3))
        tables.append(np.linalg.norm(points[:, None] - points, axis=2))
    ranks = [ranks_of.rank_distances(table) for table in (tables[0], tables[0] + tables[1])]
    double = mantel.mantel(*ranks, permutations=99)
    monkeypatch.setattr(mantel, "SINGLE", 10)
    assert mantel.mantel(*ranks, permutations=99) == pytest.approx(double, abs=0.021)


@pytest.mark.parametrize("threads", ["1", "3"])
def test_results_of_threads_keep_their_order(monkeypatch, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    tasks = [lambda number=number: number**2 for number in range(20)]
    assert list(in_threads(tasks)) == [number**2 for number in range(20)]


def test_tables_of_the_tree_are_made_once(monkeypatch):
    made = []
    for name in ("path_length", "lca_height"):
        original = getattr(metric_outputs.distances, name)
        spy = lambda tree, name=name, original=original: made.append(name) or original(tree)  # noqa: E731
        monkeypatch.setattr(metric_outputs.distances, name, spy)
    suite.evaluate(usual(), temperature=2.0)
    assert sorted(made) == ["lca_height", "path_length"]


def test_the_temperature_of_a_view_divides_its_scores():
    outputs = usual()
    divided = outputs.view(scores=outputs.scores / np.float32(3))
    warm = outputs.view(temperature=3.0)
    found, expected = (outputs.read(lambda block: block.nodes) for outputs in (warm, divided))
    np.testing.assert_allclose(found, expected)
    assert isinstance(warm, Outputs)


def test_the_posterior_of_a_kind_of_scores_is_computed_once_for_all_measures(monkeypatch):
    outputs, computed = usual(), []
    original = metric_outputs.softmax
    spy = lambda scores: computed.append(len(scores)) or original(scores)  # noqa: E731
    monkeypatch.setattr(metric_outputs, "softmax", spy)
    together = suite._computed(suite.POSTERIOR, outputs)
    assert sum(computed) == outputs.num_samples
    alone = {}
    for name, metric in suite.POSTERIOR.items():
        result = metric(outputs.view())
        alone |= result if isinstance(result, dict) else {name: result}
    for name, result in together.items():
        np.testing.assert_equal(result.value, alone[name].value)


def test_blocks_of_samples_are_joined(monkeypatch):
    at_once = suite._computed(suite.POSTERIOR, usual())
    size = len(metric_outputs.Block(usual(), slice(0, 1)).nodes[0])
    monkeypatch.setattr("metrics.posterior._BLOCK_ENTRIES", 7 * size)
    for name, result in suite._computed(suite.POSTERIOR, usual()).items():
        np.testing.assert_allclose(result.value, at_once[name].value, rtol=1e-12)


def test_no_samples_have_measures_without_values():
    results = suite._computed(suite.POSTERIOR, usual(0))
    assert np.isnan(results["wtd"].value) and results["wtd"].n == 0


def test_the_benchmark_draws_a_tree_of_four_levels(tmp_path):
    folders = many_classes.class_folders(81)
    assert len(set(folders)) == 81 and folders[0] == "order0/family0/genus0/species0"
    assert folders[80] == "order2/family8/genus26/species80"
    many_classes.draw(tmp_path / "many", 5, images=2, side=8)
    assert len(list((tmp_path / "many").rglob("*.png"))) == 10
    lines = ["12:00:00 on CPU; writes record", "12:00:09 epoch 1/1  loss", "12:00:12 finished"]
    (tmp_path / "log.txt").write_text("".join(f"2026-01-01 {line}\n" for line in lines))
    assert many_classes.parts_of_training(tmp_path) == (9, 3)
