"""What evaluate.py leaves beside its measures: where they come from, and temperatures for every
kind of scores.
"""

import json

import numpy as np
import pandas as pd
import pytest
from recorded import make_arrays, run_main, write_whole_run

import evaluate
import metrics
from evaluation import files, measure
from evaluation.recorded import read_source
from runs import provenance


def validated(tmp_path, **changes):
    """A run whose prototypes need another temperature than its class vectors; `changes` of its
    validation arrays.
    """
    run = write_whole_run(tmp_path, val=True)
    arrays = {name: run.arrays(name) for name in ("test", "val")}
    for split in arrays.values():
        split["prototype_scores"] = 3 * split["prototype_scores"]
    arrays["val"] |= changes
    for name, split in arrays.items():
        run.write_arrays(name, split)
    run.write_table("metrics.csv", metrics.evaluate(run.outputs("test")))
    return run


def measured(run):
    table, _ = measure.measure(read_source(run), measure.EvaluationOptions())
    return table.set_index("metric")["value"]


def test_prototypes_are_calibrated_by_a_temperature_of_their_own(tmp_path):
    run = validated(tmp_path)
    table, test, val = measured(run), run.outputs("test"), run.outputs("val")
    ours = metrics.fit_temperature(val.prototype_scores, val.labels)
    assert ours == pytest.approx(3 * metrics.fit_temperature(val.scores, val.labels), rel=0.05)
    cooled = metrics.evaluate(test.view(scores=test.prototype_scores / np.float32(ours))).set_index(
        "metric"
    )["value"]
    for name in ("ece", "wtd", "majority/depth", "ac_info"):
        assert table[f"prototype/calibrated/{name}"] == pytest.approx(cooled[name], rel=1e-9)
    assert (
        table["prototype/calibrated/ece"] != table["prototype/ece"]
        and "calibrated/ece" in table.index
    )
    assert "crm/calibrated/accuracy" not in table.index


def test_without_proxies_only_the_class_vectors_are_calibrated(tmp_path):
    run = write_whole_run(tmp_path)
    for name in ("test", "val"):
        run.write_arrays(name, make_arrays(proxies=False))
    table = measured(run)
    assert "calibrated/ece" in table.index and not table.index.str.startswith("prototype/").any()


def test_prototypes_that_know_no_validation_class_are_not_calibrated(tmp_path):
    scores = np.where(np.arange(7) == 1, 0.0, -np.inf) * np.ones((5, 1))
    few = {
        name: values[:5]
        for name, values in make_arrays().items()
        if name in ("scores", "embeddings", "files")
    }
    run = validated(
        tmp_path, labels=np.full(5, 2), prototype_scores=scores.astype(np.float32), **few
    )
    table = measured(run)
    assert (
        "calibrated/ece" in table.index
        and not table.index.str.startswith("prototype/calibrated/").any()
    )


def test_the_code_behind_recomputed_measures_is_recorded_beside_them(tmp_path, capsys, monkeypatch):
    run = write_whole_run(tmp_path)
    before = {path.name for path in run.folder.iterdir()}
    monkeypatch.setattr(provenance, "_git_revision", lambda: "revision of the evaluation")
    status, out, err = run_main(
        evaluate.main, capsys, run.folder, "--bootstrap", 100, "--on_request", "rf_published"
    )
    assert status == 0, err
    made = json.loads((run.folder / "evaluation.json").read_text("utf-8"))
    assert made["git"] == "revision of the evaluation" and set(made["versions"]) == {
        "python",
        *provenance.PACKAGES,
    }
    assert made["computed_from"] == "test.pkl" and made["checkpoint"] == "last.pt"
    assert made["options"] == {
        "bootstrap": 100,
        "weighting": "balanced",
        "on_request": ["rf_published"],
    }
    assert "W/rf_published" in pd.read_csv(run.folder / "evaluation.csv")["metric"].tolist()
    written = {path.name for path in run.folder.iterdir()} - before
    assert (
        "evaluation.json" in written
        and f"wrote evaluation.csv and {len(written) - 1} more files" in out
    )


def test_each_weighting_has_its_own_record(tmp_path, capsys):
    run = write_whole_run(tmp_path)
    for options in ((), ("--weighting", "power", "--decay", 0.2)):
        assert run_main(evaluate.main, capsys, run.folder, *options)[0] == 0
    assert (
        json.loads((run.folder / "evaluation.json").read_text("utf-8"))["options"]["weighting"]
        == "balanced"
    )
    made = json.loads((run.folder / "evaluation-power-decay=0.2.json").read_text("utf-8"))
    assert made["options"] == {"bootstrap": 0, "weighting": "power", "decay": 0.2, "on_request": []}


def test_measures_from_images_say_so():
    images = measure.ImageSource({}, devices=None)
    assert files._asked(measure.EvaluationOptions(images=images))["computed_from"] == "images"
