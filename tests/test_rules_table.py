"""Decision rules side by side on the test images: evaluate.py --rules and --cover."""

import numpy as np
import pandas as pd
import pytest
from recorded import run_main, write_whole_run
from trees import PATHS

import evaluate
from evaluation import sources
from evaluation.answers import Answerer
from evaluation.decision import choose_decision, cover_threshold
from evaluation.rules_table import compare_rules
from evaluation.sources import Source
from metrics import RULES
from metrics.calibration import calibrate
from metrics.posterior import softmax
from training.scores import read_outputs


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_whole_run(tmp_path_factory.mktemp("rules"), val=True, use_val=True)


def test_every_rule_is_set_and_judged_on_the_test_images(run):
    table, notes = compare_rules(run, tuple(RULES), 0.9, cover=2)
    assert notes == ()
    table = table.set_index("rule")
    outputs = run.outputs("test")
    accuracy = (outputs.scores.argmax(axis=1) == outputs.labels).mean()
    assert table.loc["argmax", "correct"] == table.loc["argmax", "exact"] == accuracy
    assert table.loc["argmax", "coverage"] == table.loc["argmax", "classes"] == 1
    assert table.loc["majority", "correct"] >= accuracy
    assert table.loc["threshold", "setting"].startswith("threshold 0.")
    assert table.loc["prohoc", "setting"].startswith("stop_factor ")
    # more nodes cover the same classes more tightly
    assert table.loc["cover of 2", "classes"] <= table.loc["cover of 1", "classes"]
    assert table.loc["cover of 2", "nodes"] <= 2 and table.loc["cover of 1", "nodes"] == 1
    # 120 images each: .9 within 4 standard errors of both samplings
    spread = 4 * np.sqrt(0.9 * 0.1 * 2 / 120)
    assert table.loc["climbing", "correct"] > 0.9 - spread
    assert table.loc["cover of 2", "correct"] > 0.9 - spread


def test_the_table_is_printed_and_kept(run, capsys):
    status, out, err = run_main(
        evaluate.main, capsys, run.folder, "--rules", "climbing", "darts", "--cover", "1"
    )
    assert status == 0 and not err and "how rules answer" in out
    kept = pd.read_csv(run.folder / "answers.csv")
    assert kept["rule"].tolist() == ["climbing", "darts", "cover of 1"]


def test_rules_that_cannot_be_set_are_left_out_of_a_comparison_and_named(run, tmp_path, capsys):
    # 120 images: .999 cannot be promised
    status, out, err = run_main(
        evaluate.main,
        capsys,
        run.folder,
        *("--rules", "all", "--cover", "2", "--target_accuracy", "0.999"),
    )
    assert status == 0 and not err and "\nnote: not set: threshold, " in out
    assert "--cover: an answer that" in out and "--threshold" not in out
    kept = pd.read_csv(run.folder / "answers.csv")["rule"].tolist()
    assert {"argmax", "majority", "prohoc"} <= {*kept} and not {"threshold", "cover of 1"} & {*kept}
    plain = write_whole_run(tmp_path)
    table, (note,) = compare_rules(plain, ("argmax", "darts", "threshold"), 0.9, cover=1)
    assert table["rule"].tolist() == ["argmax"]
    assert note.startswith("not set: darts, threshold, --cover: ")


def test_what_cannot_be_done_is_refused(run, tmp_path, capsys):
    status, _, err = run_main(evaluate.main, capsys, run.folder, "--rules", "guess")
    assert status == 2 and "'guess' is not one of all, argmax" in err
    status, _, err = run_main(
        evaluate.main, capsys, run.folder, "--cover", "2", "--target_accuracy", "0.999"
    )
    assert status == 2 and "cannot be promised with 120 images" in err
    plain = write_whole_run(tmp_path)
    status, _, err = run_main(evaluate.main, capsys, plain.folder, "--cover", "2")
    assert status == 2 and "no validation split" in err
    status, _, err = run_main(evaluate.main, capsys, "--rules", "darts")
    assert status == 2 and "--rules needs a RUN" in err


def test_an_answer_of_several_nodes_stands_beside_the_answer(run):
    outputs = run.outputs("test")
    least, _ = cover_threshold(Source(run), 0.9)
    decision = choose_decision(Source(run), "argmax")._replace(cover=(2, least))
    answered = Answerer(run.hierarchy, decision)(outputs.scores)
    p = softmax(outputs.scores / decision.temperature)
    for row, members in zip(answered.table.itertuples(), p >= least):
        named = [tuple(path.split("/")) for path in row.cover.split(" | ") if path]
        named = [()] if named == [("root",)] else named
        assert len(named) <= 2
        below = [any(path[: len(one)] == one for one in named) for path in PATHS]
        assert sum(below) == row.cover_classes and np.all(np.array(below) >= members)
    assert (
        not Answerer(run.hierarchy, choose_decision(Source(run), "argmax"))(outputs.scores)
        .table.filter(like="cover")
        .size
    )


def test_rules_share_one_calibration(run, monkeypatch):
    read, fitted = [], []
    monkeypatch.setattr(
        sources,
        "read_outputs",
        lambda run, split: (read.append(split), read_outputs(run, split))[1],
    )
    monkeypatch.setattr(
        sources, "calibrate", lambda *images: (fitted.append(1), calibrate(*images))[1]
    )
    compare_rules(run, ["threshold", "darts", "climbing"], 0.8, cover=2)
    assert len(fitted) == 1 and len(read) == len(set(read)) and "val" in read
