"""evaluate.py without a run: everything under a record as tables over seeds, through the command
line.
"""

import io
import re
from functools import partial

import pandas as pd
import pytest
from recorded import run_main, write_run
from trees import TREE

import evaluate


@pytest.fixture
def call(capsys):
    """Runs evaluate.py with the arguments given."""
    return partial(run_main, evaluate.main, capsys)


@pytest.fixture
def record(tmp_path):
    for seed, a, b in ((1, 0.50, 0.52), (2, 0.60, 0.66), (3, 0.55, 0.59)):
        write_run(tmp_path, "NormFace-euc", seed, {"accuracy": a, "ahc": 2.0})
        write_run(tmp_path, "DR-euc", seed, {"accuracy": b, "ahc": 1.0})
    write_run(tmp_path, "DR-euc-ema", 1, None, epochs=7, ema=True)
    (tmp_path / "demo" / "DR-euc" / "seed9").mkdir()
    return tmp_path


def test_everything_under_a_record_becomes_a_table(record, call):
    status, out, err = call("--record", record)
    assert status == 0
    assert re.search(r"^NormFace +3 +0\.550 ±0\.050 +2\.000 ±0\.000$", out, re.M)
    assert re.search(r"^DR +3 +0\.590 ±0\.070\* +1\.000 ±0\.000\*$", out, re.M)
    assert "unfinished: " in err and "7 of 20 epochs" in err and "seed9 is not a run" in err
    assert "6 runs, 1 unfinished, 1 could not be read; wrote summary.csv" in err
    summary = pd.read_csv(record / "summary.csv")
    assert list(summary.columns[:10]) == [
        "dataset",
        "hierarchy",
        "method",
        "options",
        "metric",
        "n_seeds",
        "mean",
        "std",
        "lower",
        "upper",
    ]
    assert (
        len(summary) == 4
        and set(summary["n_seeds"]) == {3}
        and set(summary["hierarchy"]) == {TREE.digest}
    )


@pytest.mark.parametrize(
    "layout, name, mark",
    [
        ("markdown", "summary.md", "**0.590 ±0.070**"),
        ("latex", "summary.tex", r"ProxyDR & \textbf{0.590{\tiny$\pm$.070}}"),
    ],
)
def test_markdown_and_latex_are_printed_and_written(record, call, layout, name, mark):
    _, out, _ = call("--record", record, "--format", layout)
    assert mark in out and (record / name).read_text("utf-8") == out


def test_a_table_too_wide_for_a_paper_is_noted_with_the_way_out(record, call):
    _, _, err = call("--record", record, "--format", "latex", "--metrics", "accuracy")
    assert "points wide" not in err
    write_run(record, f"DR-euc-{'very' * 23}_long", 1, {"accuracy": 0.5}, note="long")
    _, _, err = call("--record", record, "--format", "latex", "--columns", "accuracy")
    assert "points wide and a page of a paper holds 468: its names are long" in err


def test_the_csv_format_is_numbers_for_a_spreadsheet(record, call):
    _, out, _ = call("--record", record, "--format", "csv", "--metrics", "accuracy")
    table = pd.read_csv(io.StringIO(out)).set_index("options")
    assert table["accuracy"].to_dict() == pytest.approx({"NormFace-euc": 0.55, "DR-euc": 0.59})


def test_methods_are_compared_by_paired_tests(record, call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")
    status, out, _ = call(
        "--record", record, "--compare", "SD", "ProxyDR", "--compare", "DR-euc", "NormFace-euc"
    )
    assert status == 0 and "DR against NormFace" in out and "paired seeds: 1, 2, 3" in out
    assert re.search(
        r"accuracy ↑ +3 +0\.550 +0\.590 +0\.040 +\[-0\.010, 0\.090\] +0\.074 \(0\.\d+\) +0\.250",
        out,
    )
    table = pd.read_csv(record / "comparisons.csv")
    assert table.groupby(["a", "b"])["difference"].first().to_dict() == pytest.approx(
        {("NormFace-euc", "DR-euc"): 0.04, ("DR-euc", "NormFace-euc"): -0.04}
    )


def test_several_comparisons_are_corrected_together(record, call):
    for seed, value in ((1, 0.51), (2, 0.63), (3, 0.58)):
        write_run(record, "DR-euc-mds", seed, {"accuracy": value, "ahc": 1.5}, mds_W=True)
    pairs = ("--compare", "NormFace-euc", "DR-euc", "--compare", "NormFace-euc", "DR-euc-mds")
    _, out, _ = call("--record", record, *pairs, "--metrics", "accuracy")
    table = pd.read_csv(record / "comparisons.csv")
    smaller = min(table["p_t"])
    assert min(table["p_t_holm"]) == pytest.approx(2 * smaller)
    words = " ".join(out.split())
    assert words.count("corrected by Holm for the 2 tests of the 2 comparisons") == 2
    assert f"({max(table['p_t_holm']):.3f})" in out


def test_tables_fit_the_terminal(record, call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    _, out, _ = call("--record", record, "--compare", "NormFace", "DR")
    assert max(map(len, out.splitlines())) <= 60 and out.count("─\n") > 2


def test_comparisons_that_cannot_be_made_are_refused_with_the_rows(record, call):
    status, _, err = call("--record", record, "--compare", "softmax", "DR")
    assert status == 2 and "NormFace-euc, DR-euc" in err and (record / "summary.csv").exists()
    status, out, err = call("--record", record, "--compare", "DR-euc", "DR-euc")
    assert status == 2 and "two different rows" in err and "NormFace" in out


def test_methods_with_several_rows_are_compared_where_the_other_options_agree(record, call):
    for seed in (1, 2):
        write_run(record, "DR-euc-ema", seed, {"accuracy": 0.5}, ema=True)
        write_run(record, "NormFace-euc-ema", seed, {"accuracy": 0.4 + seed / 10}, ema=True)
        write_run(record, "DR-euc-mds", seed, {"accuracy": 0.5}, mds_W=True)
        write_run(record, "DR-euc-dynamic", seed, {"accuracy": 0.5}, dynamic=True)
    status, out, err = call("--record", record, "--compare", "normface", "DR")
    assert status == 0 and "DR-euc-dynamic, DR-euc-mds have no partner" in err
    table = pd.read_csv(record / "comparisons.csv")
    pairs = set(zip(table["a"], table["b"]))
    assert pairs == {("NormFace-euc", "DR-euc"), ("NormFace-euc-ema", "DR-euc-ema")}
    assert out.index("DR-mds") < out.index("DR-ema against NormFace-ema")
    status, _, err = call("--record", record, "--compare", "NormFace-euc", "DR")
    assert status == 0 and set(pd.read_csv(record / "comparisons.csv")["b"]) == {"DR-euc"}


def test_an_ambiguous_comparison_is_a_note(record, call):
    for distance in ("euc", "arccos"):
        write_run(record, f"DR-{distance}", 1, {"accuracy": 0.5}, distance=distance)
    write_run(record, "softmax", 1, {"accuracy": 0.5}, method="softmax", distance=None)
    status, out, err = call(
        "--record", record, "--compare", "softmax", "DR", "--compare", "DR", "normface"
    )
    assert status == 0 and "softmax could be compared with DR-arccos, DR-euc" in err
    assert "NormFace-euc against DR-euc" in out


@pytest.mark.parametrize(
    "name, advice",
    [
        ("acuracy", "did you mean accuracy, ahc?"),
        ("ahc,accuracy", "names are separated by spaces, --metrics ahc accuracy"),
    ],
)
def test_a_measure_that_does_not_exist_is_refused_before_any_table(record, call, name, advice):
    status, out, err = call("--record", record, "--metrics", name)
    assert status == 2 and out == "" and not (record / "summary.csv").exists()
    assert f"error: --metrics {name}: there is no measure of this name; {advice}\n" in err


def test_a_comparison_over_one_seed_says_that_it_is_none(record, call):
    write_run(record, "DR-euc-ema", 1, {"accuracy": 0.5}, ema=True, split="other")
    status, out, _ = call("--record", record, "--compare", "DR-euc", "DR-euc-ema")
    assert status == 0 and "paired seeds: 1\n" in out and "fewer than two" in out
    assert "tested on different images" in out


def test_nothing_recorded_says_how_to_train(tmp_path, call):
    status, _, err = call("--record", tmp_path / "none")
    assert status == 2 and "python train.py --dataset demo" in err


def test_a_record_of_damage_only_fails_and_one_of_unfinished_runs_does_not(tmp_path, call):
    (tmp_path / "a" / "seed1").mkdir(parents=True)
    assert call("--record", tmp_path)[0] == 2
    write_run(tmp_path, "DR-euc", 1, None)
    status, _, err = call("--record", tmp_path)
    assert status == 0 and "--resume" in err and not (tmp_path / "summary.csv").exists()


def test_a_record_that_cannot_be_written_is_named_after_the_table(record, call, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    status, out, err = call("--record", record)
    assert status == 2 and "NormFace" in out and "No space left" in err


def test_names_that_a_terminal_cannot_show_are_no_crash(tmp_path, call):
    write_run(tmp_path, "DR-\udcff", 1, {"accuracy": 0.5})
    status, out, _ = call("--record", tmp_path, "--format", "markdown")
    assert status == 0 and "DR-" in out
