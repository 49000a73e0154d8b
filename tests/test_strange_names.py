"""Names of classes and files that would control a terminal, break a row or be a formula."""

import io
import sys

import numpy as np
import pandas as pd
import pytest

import startup
from evaluation import predictor
from files.text import for_people, for_terminal, one_line, table_cell
from reports import formats
from runs.folder import FORMAT, Run

NAMES = [
    "\x1b]0;x\x07Calanus",
    "two\nlines",
    "carriage\rreturn",
    "=cmd|' /C calc'!A0",
    "@SUM(1)",
    "-2+3",
    "\u202egnp.exe",
    'a,"b"',
    "plain",
]
HARMLESS = [
    r"\x1b]0;x\x07Calanus",
    r"two\nlines",
    r"carriage\rreturn",
    "'=cmd|' /C calc'!A0",
    "'@SUM(1)",
    "'-2+3",
    r"\u202egnp.exe",
    'a,"b"',
    "plain",
]


def test_cells_for_people_are_harmless_and_numbers_stay():
    assert list(map(table_cell, NAMES)) == HARMLESS
    table = pd.DataFrame({"n": [-1.5] * len(NAMES), "file": NAMES})
    made = for_people(table)
    assert list(made["file"]) == HARMLESS and list(table["file"]) == NAMES
    assert list(made["n"]) == [-1.5] * len(NAMES)
    assert table_cell("-1.5") == "-1.5" and table_cell(None) is None
    assert one_line("caf\udce9\n") == "caf\udce9\\n"  # the bytes of a name that is not UTF-8 stay


@pytest.mark.parametrize("written", ["write_table", "write_table_for_people"])
def test_every_name_is_one_row_for_pandas_and_exact_for_machines(tmp_path, written):
    run, table = Run(tmp_path), pd.DataFrame({"file": NAMES, "label": range(len(NAMES))})
    (run.write_config({"format": FORMAT, "options": {}}), getattr(run, written)("split.csv", table))
    expected = NAMES if written == "write_table" else HARMLESS
    assert list(run.split["file"]) == expected
    again = pd.read_csv(tmp_path / "split.csv")
    assert list(again["file"]) == expected and list(again["label"]) == list(range(len(NAMES)))


def test_predictions_have_a_row_for_each_file_and_the_arrays_the_exact_names(tmp_path):
    frame = pd.DataFrame({"file": NAMES, "prediction": NAMES, "error": None})
    zeros = np.zeros((len(NAMES), 2), np.float32)
    with predictor._table(tmp_path / "p.csv", tmp_path / "p.npz") as write:
        write(frame, zeros, zeros)
    table = pd.read_csv(tmp_path / "p.csv")
    assert list(table["file"]) == HARMLESS and list(table["prediction"]) == HARMLESS
    assert np.load(tmp_path / "p.npz")["files"].tolist() == NAMES


@pytest.mark.parametrize("layout", [formats.terminal, formats.markdown, formats.latex])
def test_a_name_stays_in_its_line_of_a_table(layout):
    plain = formats.Table("title", ("name", "n"), tuple((f"c{i}", "1") for i in range(len(NAMES))))
    named = formats.Table("ti\ntle\x1b[2J", ("name", "n"), tuple((name, "1") for name in NAMES))
    text = layout(named)
    assert len(text.splitlines()) == len(layout(plain).splitlines())
    assert "\x1b" not in text and "\r" not in text and "\u202e" not in text


def test_what_scripts_print_cannot_control_the_terminal(monkeypatch):
    streams = {name: io.TextIOWrapper(io.BytesIO(), "utf-8") for name in ("stdout", "stderr")}
    for name, stream in streams.items():
        monkeypatch.setattr(sys, name, stream)
    startup.set_up_streams()
    startup.set_up_streams()
    for stream in streams.values():
        print("a\tü\x1b[2J\x07\x9b\u202e\nb", file=stream)
        stream.flush()
        assert stream.buffer.getvalue().decode() == "a\tü\\x1b[2J\\x07\\x9b\\u202e\nb\n"
    print("\r 50 %\x1b[A", end="", file=sys.stderr, flush=True)  # as a progress bar does
    assert streams["stderr"].buffer.getvalue().endswith(b"\r 50 %\x1b[A")
    assert for_terminal("a\rb") == r"a\rb"


def test_the_log_of_a_run_has_one_line_for_each_message(tmp_path, capsys):
    Run(tmp_path).log("note: class 'x\ny\x1b[2J'")
    said = r"note: class 'x\ny\x1b[2J'"
    assert (tmp_path / "log.txt").read_text().splitlines()[0].endswith(said)
    assert capsys.readouterr().out == f"{said}\n"
