"""evaluate.py for single runs, through its command line: synthetic arrays, and a trained run
embedded again.
"""

import io
import json
import os
import re
import shutil
import sys
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from forked_scripts import run_script
from PIL import Image
from recorded import make_arrays, run_main, write_run, write_whole_run
from skbio import TreeNode
from trees import FLAT, PATHS, TREE

import evaluate
import metrics
from evaluation.files import tip_labels, tree_texts
from evaluation.measure import differences
from evaluation.recorded import find_folders
from files.exact_tables import read_exactly
from hierarchies import Hierarchy
from metrics import Outputs
from runs.folder import Run


@pytest.fixture
def call(capsys):
    """Runs evaluate.py with the arguments given."""
    return partial(run_main, evaluate.main, capsys)


def test_a_run_is_reproduced_from_its_folder_alone(tmp_path, call):
    run = write_whole_run(tmp_path / "there")
    shutil.move(tmp_path / "there", tmp_path / "elsewhere")
    folder = tmp_path / "elsewhere" / run.folder.relative_to(tmp_path / "there")
    status, out, err = call(folder)
    assert status == 0 and not err and "reproduces metrics.csv: largest difference 0 over" in out
    assert "\nmain measures\n" in out and "\naccuracy ↑ " in out and "\nW/corr ↑ " in out
    table = out.split("\n\n")[0].splitlines()[1:]
    assert len(out.splitlines()) < 40 and max(map(len, table)) <= 100
    assert "more measures are in evaluation.csv; --metrics '*' prints all" in out
    for section in ("accuracy", "distance in the tree", "calibration", "geometry"):
        assert f"\n{section}\n" not in out
    pd.testing.assert_frame_equal(
        read_exactly((folder / "evaluation.csv").read_text()), Run(folder).metrics
    )


def test_changed_numbers_are_listed_and_fail(tmp_path, call):
    run = write_whole_run(tmp_path)
    table = run.metrics
    table.loc[table["metric"] == "accuracy", "value"] += 0.01
    table.loc[table["metric"] == "W/corr", "value"] = np.nan
    run.write_table(
        "metrics.csv",
        pd.concat([table, pd.DataFrame([["gone", 1.0, 1, 0]], columns=table.columns)]),
    )
    status, out, _ = call(run.folder)
    assert status == 1 and "does not reproduce metrics.csv: 3 of" in out
    for line in ("accuracy: recorded", "W/corr: recorded nan", "gone: recorded 1, now nan"):
        assert f"\n  {line}" in out
    assert call(run.folder, "--tolerance", "0.02")[0] == 1  # NaN and what is gone never pass


def test_what_was_recorded_as_undefined_and_is_not_there_any_more_is_no_difference():
    recorded = pd.DataFrame({"metric": ["few_accuracy", "ahd"], "value": [np.nan, 0.5]})
    found = differences(recorded, pd.DataFrame({"metric": ["x"], "value": [1.0]}))
    assert found.set_index("metric")["difference"].to_dict() == {"ahd": np.inf, "few_accuracy": 0}


def test_differences_are_absolute_to_one_and_relative_above():
    recorded = pd.DataFrame(
        {"metric": list("abcde"), "value": [0.5, 200.0, np.nan, np.nan, np.inf]}
    )
    computed = pd.DataFrame({"metric": list("edcba"), "value": [np.inf, 1.0, np.nan, 202.0, 0.4]})
    found = differences(recorded, computed).set_index("metric")["difference"]
    assert found["a"] == pytest.approx(0.1) and found["b"] == pytest.approx(0.01)
    assert found["c"] == 0 and found["d"] == np.inf and found["e"] == 0


def test_everything_is_written_and_consistent(tmp_path, call):
    run = write_whole_run(tmp_path)
    assert call(run.folder)[0] == 0
    accuracy = run.metrics.set_index("metric")["value"]["accuracy"]
    classes = pd.read_csv(run.folder / "per_class.csv")
    assert classes["n_correct"].sum() / classes["n_true"].sum() == pytest.approx(accuracy)
    assert np.isnan(classes["recall"][0]) and np.isnan(classes["wtd"][0])  # class 0 does not occur
    for name in ("classes", "level1", "level2"):
        table = pd.read_csv(run.folder / f"confusion_{name}.csv")
        assert table["count"].sum() == 120 and (table["count"] > 0).all()
    correct = table[table["true"] == table["predicted"]]["count"].sum()  # of level 2
    assert correct / 120 == pytest.approx(
        run.metrics.set_index("metric")["value"]["level_accuracy@2"]
    )
    assert set(pd.read_csv(run.folder / "per_level.csv")["level"]) == {1, 2, 3}
    assert not list(run.folder.glob("*.tmp"))


def test_learned_trees_and_taxonomy_have_the_same_tips(tmp_path, call):
    run = write_whole_run(tmp_path)
    call(run.folder)
    tips = {}
    for path in run.folder.glob("*.nwk"):
        tree = TreeNode.read(str(path), format="newick", convert_underscores=False)
        tips[path.stem] = {tip.name for tip in tree.tips()}
    assert set(tips) == {"taxonomy", "W_upgma", "W_nj", "P_upgma", "P_nj"}
    assert tips["taxonomy"] == tips["W_upgma"] == tips["W_nj"] == set(TREE.class_names)
    assert tips["P_upgma"] == set(TREE.class_names) - {"C"}  # class 0 has no prototype


def test_classes_of_one_name_are_tips_called_by_their_paths():
    tree = Hierarchy.from_paths(
        [("a", "x"), ("b", "x"), ("c", "y z"), ("a/b",)], names={("c", "y z"): "a/x"}
    )
    assert tip_labels(tree) == ["a/x", "b/x", "c/y z", "a/b"]
    assert len(set(tip_labels(tree))) == 4
    arrays = make_arrays(tree)
    arrays.pop("files")
    text = tree_texts(Outputs(tree, **arrays))["W_upgma.nwk"]
    found = TreeNode.read(io.StringIO(text), format="newick", convert_underscores=False)
    assert {tip.name for tip in found.tips()} == set(tip_labels(tree))


def test_intervals_weights_requests_and_the_tree_are_printed_on_demand(tmp_path, call):
    run = write_whole_run(tmp_path)
    options = (
        "--bootstrap",
        100,
        "--weighting",
        "power",
        "--decay",
        0.2,
        "--tree",
        "--on_request",
        "rf_published",
    )
    status, out, _ = call(run.folder, *options)
    assert status == 0 and "reproduces metrics.csv" in out  # compared with the weights of training
    assert re.search(r"^accuracy ↑ +0\.\d{4} \[0\.\d+, 0\.\d+\]", out, re.M)
    assert "rf_published" in out and re.search("[├└]── A2a\n", out)
    table = pd.read_csv(run.folder / "evaluation-power-decay=0.2.csv").set_index("metric")
    assert not (run.folder / "evaluation.csv").exists()
    classes = pd.read_csv(run.folder / "per_class-power-decay=0.2.csv")
    assert np.average(classes["wtd"].fillna(0), weights=classes["n_true"]) == pytest.approx(
        table["value"]["wtd"]
    )
    recorded = run.metrics.set_index("metric")["value"]
    assert table["lower"]["accuracy"] <= table["value"]["accuracy"] <= table["upper"]["accuracy"]
    assert (
        table["value"]["accuracy"] == recorded["accuracy"]
        and abs(table["value"]["wtd"] - recorded["wtd"]) > 1e-3
    )


def test_a_validation_split_adds_calibrated_measures(tmp_path, call):
    run = write_whole_run(tmp_path, val=True)
    status, out, _ = call(run.folder, "--metrics", "*ece")
    assert status == 0 and "calibrated" in out
    assert "calibrated/ece" in set(pd.read_csv(run.folder / "evaluation.csv")["metric"])


def test_printed_measures_can_be_chosen(tmp_path, call):
    run = write_whole_run(tmp_path)
    _, out, _ = call(run.folder, "--metrics", "ahc", "majority/*")
    assert "ahc ↓" in out and "backing off: majority" in out and "accuracy ↑" not in out
    status, _, err = call(run.folder, "--metrics", "zzqxj*")
    assert (
        status == 2
        and "--metrics zzqxj*" in err
        and "evaluation.csv" in err
        and "summary.csv" not in err
    )
    assert (run.folder / "evaluation.csv").exists()


def test_the_prediction_of_the_prototypes_has_its_own_tables(tmp_path, call):
    run = write_whole_run(tmp_path)
    assert call(run.folder)[0] == 0
    classes = pd.read_csv(run.folder / "per_class-prototype.csv")
    accuracy = run.metrics.set_index("metric")["value"]["prototype/accuracy"]
    assert classes["n_correct"].sum() / classes["n_true"].sum() == pytest.approx(accuracy)
    for name in ("per_level", "confusion_classes", "confusion_level1", "confusion_level2"):
        assert (run.folder / f"{name}-prototype.csv").exists()


def test_the_curves_are_written_for_both_predictions(tmp_path, call):
    run = write_whole_run(tmp_path)
    assert call(run.folder, "--weighting", "power")[0] == 0  # which changes no curve
    recorded = run.metrics.set_index("metric")["value"]
    for kind, prefix in (("", ""), ("-prototype", "prototype/")):
        accuracy = recorded[f"{prefix}accuracy"]
        for value in ("depth", "info"):
            curve = pd.read_csv(run.folder / f"curve_{value}{kind}.csv")
            assert list(curve) == ["threshold", "correct", "precision", "recall"]
            # the root
            assert curve.iloc[0][["correct", "precision", "recall"]].tolist() == [1, 1, 0]
            assert curve["threshold"].iloc[-1] == 0 and curve["correct"].iloc[-1] == pytest.approx(
                accuracy
            )
            kept = curve["recall"][curve["correct"] >= 0.9].max()
            assert kept == pytest.approx(recorded[f"{prefix}recall@90_{value}"])
        risk = pd.read_csv(run.folder / f"risk_coverage{kind}.csv")
        assert list(risk) == ["confidence", "coverage", "risk"]
        assert risk["coverage"].iloc[-1] == 1 and risk["risk"].iloc[-1] == pytest.approx(
            1 - accuracy
        )


def test_the_curves_of_a_perfect_classifier_lose_nothing(tmp_path, call):
    run = write_run(tmp_path, "softmax", 1, method="softmax")
    arrays = make_arrays(proxies=False)
    perfect = np.where(np.eye(7)[arrays["labels"]], 0.0, -np.inf).astype(np.float32)
    run.write_arrays("test", {**arrays, "scores": perfect})
    run.write_table("metrics.csv", metrics.evaluate(run.outputs("test")))
    assert call(run.folder)[0] == 0
    for value in ("depth", "info"):
        last = pd.read_csv(run.folder / f"curve_{value}.csv").iloc[-1]
        assert last.tolist() == pytest.approx([0, 1, 1, 1])
    assert pd.read_csv(run.folder / "risk_coverage.csv").to_numpy().tolist() == [[1, 1, 0]]


def test_a_head_without_proxies_has_no_tables_of_prototypes(tmp_path, call):
    run = write_run(tmp_path, "softmax", 1, method="softmax")
    run.write_arrays("test", make_arrays(proxies=False))
    run.write_table("metrics.csv", metrics.evaluate(run.outputs("test")))
    assert call(run.folder)[0] == 0 and not list(run.folder.glob("*-prototype*"))


def test_the_learned_trees_are_kept_as_text(tmp_path, call):
    run = write_whole_run(tmp_path)
    _, out, _ = call(run.folder, "--tree")
    text = (run.folder / "trees.txt").read_text("utf-8")
    assert "trees.txt" in out and [line for line in text.splitlines() if "_" in line] == [
        "W_upgma",
        "W_nj",
        "P_upgma",
        "P_nj",
    ]
    # seven classes
    assert text.split("\n\n")[0].removeprefix("W_upgma\n") in out and out.count("┐\n") == 6


def test_a_finished_run_without_its_arrays_is_sent_to_its_images(tmp_path, call):
    run = write_whole_run(tmp_path)
    (run.folder / "test.pkl").unlink()
    status, _, err = call(run.folder)
    assert status == 2 and "--data_dir" in err and "did not finish" not in err


def speak_to_nobody():
    """Makes standard output a pipe whose reader has seen enough, as `| head` has."""
    reader, writer = os.pipe()
    sys.stdout = open(writer, "w")
    os.close(reader)


def test_a_reader_that_stops_early_is_no_error(tmp_path, forked):
    argv = [evaluate.__file__, write_whole_run(tmp_path).folder, "--metrics", "*"]
    ended = run_script(forked, argv, tmp_path / "said.txt", prepare=speak_to_nobody)
    assert (ended.status, ended.said) == (0, "")


def test_runs_are_evaluated_below_a_folder_and_damage_stops_no_other(tmp_path, call):
    for seed in (1, 2):
        write_whole_run(tmp_path, seed=seed)
    write_run(tmp_path, "DR-euc", 3, None, epochs=4)
    broken = write_whole_run(tmp_path, seed=4)
    (broken.folder / "test.pkl").write_bytes(b"\x80\x04")
    status, out, err = call(tmp_path, tmp_path / "nothing")
    assert status == 1 and out.count("reproduces metrics.csv: largest difference 0") == 2
    assert "4 of 20 epochs" in out and "3 of 5 runs read" in err
    assert "seed4/test.pkl" in err and "nothing is not a run" in err


@pytest.mark.parametrize("damage", ["tree", "labels", "csv", "config", "old config"])
def test_a_run_whose_files_do_not_fit_is_refused(tmp_path, call, damage):
    run = write_whole_run(tmp_path)
    if damage == "tree":
        run.write_json("hierarchy.json", FLAT.to_dict())
    elif damage == "labels":
        run.write_arrays("test", {**make_arrays(), "labels": np.full(120, 7)})
    elif damage == "csv":
        (run.folder / "metrics.csv").write_text("metric,val")
    elif damage == "config":
        (run.folder / "config.json").write_text("[]")
    else:
        config = run.config
        del config["result_checkpoint"]
        run.write_json("config.json", config)
    status, _, err = call(run.folder)
    assert status == 2 and err.startswith("error: ") and str(run.folder) in err


def test_a_folder_named_twice_is_evaluated_once(tmp_path):
    run = write_run(tmp_path, "DR-euc", 1, {"accuracy": 0.1})
    assert find_folders([tmp_path, run.folder, tmp_path / "x"]) == [run.folder, tmp_path / "x"]


@pytest.mark.parametrize(
    "argv, named",
    [
        (["--tree"], "--tree needs a RUN"),
        (["--data_dir", "x"], "--data_dir needs a RUN"),
        (["RUN", "--compare", "a", "b"], "leave out RUN"),
        (["--compare", "a", "b", "c"], "leave out c, which is taken for a single RUN"),
        (["--compare", "a", "b", "c"], "--compare takes two names at a time"),
        (["--record", __file__], f"--record {__file__} is a file, which is not a run"),
        (["RUN", "--GPU", "cpu"], "--GPU needs --data_dir"),
        (["RUN", "--checkpoint", "last.pt"], "--checkpoint needs --data_dir"),
        (["RUN", "--bootstrap", "-1"], "--bootstrap"),
        (["RUN", "--bootstrap", "1"], "1 resamples are too few for an interval"),
        (["RUN", "--bootstrap", "99"], "give 100 or more"),
        (["--boot", "3"], "--boot"),
    ],
)
def test_flags_that_would_be_ignored_are_refused(tmp_path, call, argv, named):
    status, _, err = call(*argv)
    assert status == 2 and named in err


def test_a_name_of_no_measure_is_refused_before_a_run_is_measured(tmp_path, call):
    run = write_whole_run(tmp_path)
    for name in ("acuracy", "W/acuracy", "accuracy,ahc"):
        status, out, err = call(run.folder, "--metrics", name)
        assert (status, out) == (2, "") and err.count("\n") == 1 and name in err and "{" not in err


def test_an_option_that_the_weighting_does_not_take_is_refused(tmp_path, call):
    run = write_whole_run(tmp_path)
    status, _, err = call(run.folder, "--decay", "0.5")
    assert status == 2 and "decay" in err


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run trained for one epoch on drawn images, and the folder of these."""
    import train
    from training import start

    images, record = tmp_path_factory.mktemp("images"), tmp_path_factory.mktemp("record")
    rng = np.random.default_rng(0)
    for c, path in enumerate(PATHS):
        folder = images.joinpath(*path)
        folder.mkdir(parents=True)
        for i in range(10):
            pixels = rng.integers(0, 60, (20, 20 + c)) + 25 * c
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.png")
    argv = [
        "--dataset",
        "folder",
        "--data_dir",
        images,
        "--record",
        record,
        "--GPU",
        "cpu",
        "--resize",
        16,
        "--gray",
        "--use_val",
        "--backbone",
        "conv4",
        "--dim",
        8,
        "--batch_size",
        8,
        "--epochs",
        2,
        "--method",
        "DR",
        "--mds_W",
    ]
    assert start.main("", train.DATASETS, [str(argument) for argument in argv]) == 0
    return next(record.rglob("metrics.csv")).parent, images


def test_moved_images_and_the_checkpoint_give_the_recorded_numbers(trained, tmp_path, call):
    folder, images = trained
    shutil.copytree(images, tmp_path / "moved", ignore=shutil.ignore_patterns(".*"))
    status, out, err = call(
        folder, "--data_dir", tmp_path / "moved", "--GPU", "cpu", "--tolerance", "1e-9"
    )
    assert status == 0, out + err
    assert "reproduces metrics.csv" in out


def test_options_that_an_old_run_did_not_know_are_off(trained, tmp_path, call):
    folder, images = trained
    shutil.copytree(folder, tmp_path / "seed1")
    run = Run(tmp_path / "seed1")
    known = {name: value for name, value in run.options.items() if value not in (None, False)}
    run.write_json("config.json", {**run.config, "options": known})
    status, out, err = call(run.folder, "--data_dir", images, "--GPU", "cpu")
    assert status == 0 and "largest difference 0" in out, out + err


def test_another_checkpoint_is_written_beside_and_not_compared(trained, call):
    folder, images = trained
    kept = (
        (folder / "evaluation.csv").read_bytes() if (folder / "evaluation.csv").exists() else None
    )
    status, out, _ = call(folder, "--data_dir", images, "--GPU", "cpu", "--checkpoint", "last.pt")
    assert (
        status == 0 and "measures of last.pt" in out and (folder / "evaluation-last.csv").exists()
    )
    assert kept is None or (folder / "evaluation.csv").read_bytes() == kept


def test_other_images_are_refused(trained, tmp_path, call):
    folder, images = trained
    shutil.copytree(images, tmp_path / "less", ignore=shutil.ignore_patterns(".*"))
    next((tmp_path / "less").rglob("*.png")).unlink()
    status, _, err = call(folder, "--data_dir", tmp_path / "less", "--GPU", "cpu")
    assert status == 2 and "is --data_dir right?" in err


@pytest.mark.parametrize("damage", ["version", "truncated", "missing", "other model"])
def test_a_checkpoint_that_cannot_be_used_is_named(trained, tmp_path, call, damage):
    folder, images = trained
    shutil.copytree(folder, tmp_path / "seed1")
    path = tmp_path / "seed1" / "best.pt"
    if damage == "version":
        torch.save({"format": 99}, path)
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:1000])
    elif damage == "missing":
        path.unlink()
    else:
        config = json.loads((tmp_path / "seed1" / "config.json").read_text())
        config.pop("checksums")
        config["options"]["dim"] = 9
        (tmp_path / "seed1" / "config.json").write_text(json.dumps(config))
    status, _, err = call(tmp_path / "seed1", "--data_dir", images, "--GPU", "cpu")
    assert status == 2 and "best.pt" in err


def test_an_unfinished_run_is_evaluated_from_its_checkpoint(trained, tmp_path, call):
    folder, images = trained
    shutil.copytree(folder, tmp_path / "seed1")
    for name in ("metrics.csv", "test.pkl", "val.pkl"):
        (tmp_path / "seed1" / name).unlink()
    status, out, _ = call(
        tmp_path / "seed1", "--data_dir", images, "--GPU", "cpu", "--checkpoint", "last.pt"
    )
    assert status == 0 and "no recorded ones to compare with" in out


def test_a_folder_of_images_that_is_not_there_is_refused_and_not_made(tmp_path, capsys):
    assert evaluate.main([str(tmp_path), "--data_dir", str(tmp_path / "nowhere")]) == 2
    assert (
        "there is no such folder" in capsys.readouterr().err and not (tmp_path / "nowhere").exists()
    )


def test_measures_of_a_run_that_cannot_be_written_to_are_printed_all_the_same(
    tmp_path, capsys, monkeypatch
):
    run = write_whole_run(tmp_path)

    def refuse(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("runs.files.write_whole", refuse)
    status, out, err = run_main(evaluate.main, capsys, run.folder)
    assert status == 2 and "Read-only" in err and "a copy of the run" in err
    assert "macro_accuracy" in out and "wrote" not in out
