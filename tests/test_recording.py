"""A run's folder: what is written comes back, damage is named, nothing foreign is executed."""

import os
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from trees import TREE
from waiting import PATIENCE

from runs import files as run_files
from runs.folder import FORMAT, Run, RunError


def start(folder) -> Run:
    run = Run(folder)
    run.write_json("hierarchy.json", TREE.to_dict())
    run.write_json(
        "config.json", {"format": FORMAT, "options": {"seed": 1}, "result_checkpoint": "last.pt"}
    )
    return run


def test_tables_come_back_to_the_last_digit(tmp_path):
    table = pd.DataFrame(
        {"metric": ["a, b", "ü"], "value": [1 / 3, np.nan], "n": [3, 0], "undefined": [0, 3]}
    )
    run = start(tmp_path)
    run.write_table("metrics.csv", table)
    pd.testing.assert_frame_equal(run.metrics, table, check_exact=True)
    assert run.finished and "nan" in (tmp_path / "metrics.csv").read_text()


def test_the_hierarchy_comes_back(tmp_path):
    assert start(tmp_path).hierarchy == TREE


def test_arrays_come_back_and_other_pickles_are_refused(tmp_path):
    run = start(tmp_path)
    run.write_arrays(
        "test",
        {
            "labels": np.arange(2),
            "files": np.array(["a", "ü"]),
            "scores": np.ones((2, 2), np.float32),
        },
    )
    assert (
        run.arrays("test")["files"].tolist() == ["a", "ü"]
        and run.arrays("test")["scores"].dtype == np.float32
    )
    (tmp_path / "val.pkl").write_bytes(pickle.dumps({"x": os.system}))
    with pytest.raises(RunError, match=r"val.pkl.*system"):
        run.arrays("val")


@pytest.mark.parametrize("content", [b"", b"\x80\x04", b"no pickle", pickle.dumps([1])])
def test_damaged_arrays_are_named(tmp_path, content):
    run = start(tmp_path)
    (tmp_path / "test.pkl").write_bytes(content)
    with pytest.raises(RunError, match="test.pkl"):
        run.arrays("test")


def test_a_folder_that_is_no_run_is_named(tmp_path):
    with pytest.raises(RunError, match=r"is not a run: .* ends in \.\.\./seed<k>$"):
        _ = Run(tmp_path / "nothing").config
    for folder in (tmp_path, tmp_path / "DR-euc"):  # above a run
        run = start(tmp_path / "DR-euc" / "seed3")
        with pytest.raises(RunError, match=f"is not a run: .*, as {run.folder}$"):
            _ = Run(folder).config


def test_a_file_of_a_run_is_answered_with_the_runs_folder(tmp_path):
    run = start(tmp_path / "seed1")
    for name, advice in (("seed1/config.json", f", {run.folder}$"), ("notes.txt", "$")):
        (tmp_path / "notes.txt").touch()
        said = f"{name} is a file, which is not a run: name the run's folder{advice}"
        with pytest.raises(RunError, match=said):
            Run(tmp_path / name).check_exists()


@pytest.mark.parametrize(
    "text, reason",
    [("{", "damaged"), ("[]", "damaged"), ('{"format": 99, "options": {}}', "format 99")],
)
def test_damaged_or_newer_configurations_are_named(tmp_path, text, reason):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(RunError, match=f"config.json.*{reason}"):
        _ = Run(tmp_path).config


def test_equal_checkpoints_are_equal_bytes_whatever_their_name(tmp_path):
    run = start(tmp_path)
    for name in ("best.pt", "last.pt"):
        run.save_checkpoint(name, {"model": {"w": torch.arange(4.0)}})
    assert (tmp_path / "best.pt").read_bytes() == (tmp_path / "last.pt").read_bytes()


def test_a_truncated_checkpoint_falls_back_to_the_one_before(tmp_path, capsys):
    run = start(tmp_path)
    for epoch in (1, 2):
        run.save_checkpoint("last.pt", {"epoch": epoch})
    content = (tmp_path / "last.pt").read_bytes()
    (tmp_path / "last.pt").write_bytes(content[: len(content) // 2])
    assert run.latest()["epoch"] == 1
    assert "last.pt" in capsys.readouterr().err
    run.save_checkpoint("last.pt", {"epoch": 2})
    assert run.checkpoint("last-1.pt")["epoch"] == 1  # not the damaged one
    for name in ("last.pt", "last-1.pt"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(RunError, match="--overwrite"):
        run.latest()


def test_a_checkpoint_that_asks_for_code_is_refused(tmp_path):
    run = start(tmp_path)
    torch.save({"format": FORMAT, "model": os.system}, tmp_path / "last.pt")
    with pytest.raises(RunError, match="last.pt"):
        run.checkpoint("last.pt")


def test_a_checkpoint_of_another_version_is_named(tmp_path):
    run = start(tmp_path)
    torch.save({"format": 99}, tmp_path / "best.pt")
    with pytest.raises(RunError, match="another version"):
        run.checkpoint("best.pt")


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path, monkeypatch):
    run = start(tmp_path)
    run.write_table("epochs.csv", pd.DataFrame({"epoch": [1]}))

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run_files.os, "fsync", full)
    with pytest.raises(RunError, match="No space left"):
        run.write_table("epochs.csv", pd.DataFrame({"epoch": [1, 2]}))
    assert len(Run(tmp_path).epochs) == 1
    assert not list(tmp_path.glob(".*.tmp"))


def hold(folder, held, done):
    with Run(folder).lock():
        held.set()
        done.wait(PATIENCE)


def test_a_second_process_is_refused_until_the_first_is_dead(tmp_path, forked):
    held, done = forked.Event(), forked.Event()
    process = forked.Process(target=hold, args=(tmp_path, held, done))
    process.start()
    assert held.wait(PATIENCE)
    with pytest.raises(RunError, match="another process"), Run(tmp_path).lock():
        pass
    process.kill()
    process.join()
    with Run(tmp_path).lock():
        pass


def test_what_was_made_of_an_earlier_run_goes_with_it_and_other_files_stay(tmp_path):
    run = Run(tmp_path)
    names = [
        "metrics.csv",
        "evaluation.csv",
        "evaluation.json",
        "per_class-prototype.csv",
        "W_upgma.nwk",
        "report.html",
    ]
    names += [
        "curve_depth.csv",
        "curve_info-best.csv",
        "risk_coverage-prototype.csv",
        "trees-best.txt",
    ]
    for name in [*names, "my notes.txt"]:
        run.write_text(name, "old")
    run.clear()
    assert [path.name for path in tmp_path.iterdir()] == ["my notes.txt"]


def test_names_that_are_no_text_come_back_from_json(tmp_path):
    run, name = Run(tmp_path), b"caf\xe9".decode("utf-8", "surrogateescape")
    run.write_json("some.json", [name])
    assert run._read_json("some.json") == [name]
