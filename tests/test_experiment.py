"""Whole runs through the real command line, on a few small images."""

import itertools
import os
import shutil

import numpy as np
import pytest
import torch
from images import ODD_CLASSES, make_learnable_folder
from trained import train_small

import train
from runs import provenance
from runs.folder import Run
from training import experiment, identity, loop, start

GRID = "GRID" in os.environ
RESULTS = ("metrics.csv", "epochs.csv", "last.pt", "best.pt", "test.pkl", "val.pkl")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Six classes of eight grey images each."""
    return make_learnable_folder(tmp_path_factory.mktemp("images"), ODD_CLASSES, 8)


@pytest.fixture
def run(images, tmp_path):
    """Calls train.py's main on the images; returns the exit status and the run."""

    def call(*argv, method="DR"):
        sizes = ("--gray", "--dim", "8", "--batch_size", "8", "--lr", "0.001")
        return train_small(images, tmp_path, *sizes, "--method", method, *argv)

    return call


PROXIES = (
    [],
    ["--ema"],
    ["--dynamic"],
    ["--ema", "--dynamic"],
    ["--mds_W"],
    ["--mds_W", "--dynamic"],
    ["--CORR", "--mds_W"],
    ["--CORR", "--mds_W", "--corr_reduction", "sum"],
)
ALL_HEADS = list(
    itertools.product(
        PROXIES,
        ("normface", "DR"),
        ("euc", "arccos"),
        ([], ["--use_val", "--size_inform"]),
    )
)
# of the eight heads of each kind of proxies one and its opposite, so that every two choices meet
HEADS = [
    head
    for i in range(len(PROXIES))
    for head in (ALL_HEADS[8 * i + i % 4], ALL_HEADS[8 * i + 7 - i % 4])
]


@pytest.mark.parametrize("proxies, method, distance, data", ALL_HEADS if GRID else HEADS)
def test_every_head_trains_and_is_recorded(run, proxies, method, distance, data):
    """Under every two choices of proxies, method, distance and data. With GRID in the environment
    under all four of them together: GRID=1 pytest ...
    """
    status, record = run("--distance", distance, *proxies, *data, method=method)
    metrics = record.metrics.set_index("metric")["value"]
    assert status == 0 and 0 <= metrics["accuracy"] <= 1 and 0 <= metrics["prototype/accuracy"] <= 1
    if "--mds_W" in proxies:
        assert metrics["W/corr"] > 0.999


@pytest.mark.parametrize(
    "data",
    [
        [],
        ["--use_val"],
        ["--size_inform"],
        ["--clspri"],
        ["--aug"],
        ["--collapse"],
        ["--split", "published"],
    ],
)
def test_softmax_trains_with_every_option_of_the_data(run, data):
    status, record = run(*data, method="softmax")
    assert status == 0 and "prototype/accuracy" not in set(record.metrics["metric"])
    assert (record.folder / "best.pt").exists() == ("--use_val" in data)


LOSSES = (
    ["--loss", "hierarchical", "--weighting", "power", "--decay", "0.9", "--switch_epoch", "1"],
    ["--loss", "hxe", "--hxe_alpha", "0.3"],
    ["--loss", "soft_labels", "--soft_beta", "4"],
    ["--loss", "label_smoothing", "--weighting", "lazy"],
    ["--l2_sp", "0.01", "--freeze", "last"],
    ["--hr_gamma", "0.001", "--weight_decay", "0.001"],
)


METHODS = ("softmax", "normface", "DR")
# each loss under one method; that losses go with all heads is tested on tensors, in
# test_any_device.py
SOME = [(method, options) for method, options in zip(METHODS * 2, LOSSES, strict=True)]


@pytest.mark.parametrize("method, options", itertools.product(METHODS, LOSSES) if GRID else SOME)
def test_every_loss_and_penalty_trains(run, method, options):
    """Each under one method. With GRID in the environment under all: GRID=1 pytest ..."""
    status, record = run(*options, "--epochs", "2", method=method)
    assert status == 0
    assert any(name.startswith("penalty_") for name in record.epochs) == any(
        flag.startswith(("--hr", "--l2")) for flag in options
    )


def test_freezing_everything_or_penalising_fixed_vectors_is_refused(run, capsys):
    assert run("--mds_W", "--hr", "1")[0] == 2 and "--mds_W" in capsys.readouterr().err
    for flags, named in (
        (["--freeze", "all"], "--epochs 0"),
        (["--freeze", "last", "--ema"], "--ema"),
    ):
        with pytest.raises(SystemExit, match="2"):
            run(*flags)
        assert named in capsys.readouterr().err


def test_bfloat16_needs_a_gpu(run, capsys):
    status, record = run("--amp")
    assert (
        status == 2
        and "--amp needs a GPU" in capsys.readouterr().err
        and not record.folder.exists()
    )


def test_two_runs_with_one_seed_are_equal_bytes_and_another_seed_differs(run, tmp_path):
    options = ["--use_val", "--aug", "--ema", "--dynamic", "--epochs", "2"]
    _, first = run(*options)
    kept = {name: (first.folder / name).read_bytes() for name in RESULTS}
    run(*options, "--overwrite")
    assert all((first.folder / name).read_bytes() == kept[name] for name in RESULTS)
    _, other = run(*options, "--seed", "2")
    assert all((other.folder / name).read_bytes() != kept[name] for name in RESULTS)


@pytest.mark.parametrize(
    "options",
    [["--ema", "--dynamic"], ["--mds_W", "--dynamic", "--schedule", "cosine"]],
    ids=" ".join,
)
@pytest.mark.parametrize("when", ["while training", "while writing"])
def test_an_interrupted_run_resumes_to_the_same_bytes(run, monkeypatch, options, when, capsys):
    options = ["--use_val", "--aug", "--epochs", "4", *options]
    _, whole = run(*options)
    expected = {name: (whole.folder / name).read_bytes() for name in RESULTS}
    shutil.rmtree(whole.folder)

    owner, name = (loop, "_forward_backward") if when == "while training" else (Run, "_replace")
    original, calls = getattr(owner, name), []

    def stop_in_the_middle(*arguments):
        calls.append(1)
        if len(calls) == 13:
            raise KeyboardInterrupt
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, stop_in_the_middle)
        status, record = run(*options)
    assert status == 130 and not record.finished
    assert "--resume" in capsys.readouterr().err
    assert run(*options)[0] == 2  # neither --resume nor --overwrite
    assert "--resume" in capsys.readouterr().err
    status, record = run(*options, "--resume")
    assert (
        status == 0 and {name: (record.folder / name).read_bytes() for name in RESULTS} == expected
    )


def test_a_run_resumed_by_other_code_says_that_its_numbers_may_differ(run, monkeypatch):
    _, record = run("--epochs", "1")
    (record.folder / "metrics.csv").unlink()
    run("--epochs", "1", "--resume")
    log = record.folder / "log.txt"
    assert "resumed after" in log.read_text("utf-8") and "otherwise" not in log.read_text("utf-8")
    (record.folder / "metrics.csv").unlink()
    monkeypatch.setattr(provenance, "_git_revision", lambda: "a later one")
    run("--epochs", "1", "--resume")
    assert "-> a later one): its numbers may not be those" in log.read_text("utf-8")


def test_what_a_run_is_resumed_with_is_compared_where_both_are_known():
    now = {**provenance.provenance(), "device": "CPU"}
    assert provenance.differences(now, now) == []
    before = {
        **now,
        "versions": {**now["versions"], "torch": "2.0.1"},
        "machine": {"processor": "z80"},
        "git": "unknown",
        "device": "NVIDIA H200",
    }
    assert provenance.differences(before, now) == [
        f"torch 2.0.1 -> {now['versions']['torch']}",
        f"processor z80 -> {now['machine']['processor']}",
        "device NVIDIA H200 -> CPU",
    ]
    before = {"git": "0123456789" * 4 + "+changes", "device": "CPU"}
    later = {**now, "git": "abcdef" * 6 + "abcd"}
    assert provenance.differences(before, later) == ["revision 0123456789+changes -> abcdefabcd"]
    # of an earlier version of the project, which did not record it
    assert provenance.differences({"device": "CPU"}, now) == []


def test_a_finished_run_is_not_run_again(run, monkeypatch, capsys):
    run()
    monkeypatch.setattr(loop, "fit", None)
    status, _ = run()
    assert status == 0 and "finished" in capsys.readouterr().out


def test_a_run_is_not_resumed_with_other_images(run, images, capsys):
    _, record = run("--epochs", "2")
    (record.folder / "metrics.csv").unlink()
    extra = images / ODD_CLASSES[1] / "new.png"
    shutil.copy(images / ODD_CLASSES[1] / "0.png", extra)
    try:
        status, _ = run("--epochs", "2", "--resume")
    finally:
        extra.unlink()
    assert status == 2 and "images changed" in capsys.readouterr().err


def test_a_finished_run_is_not_taken_for_one_on_other_images(run, images, capsys):
    run()
    extra = images / ODD_CLASSES[1] / "new.png"
    shutil.copy(images / ODD_CLASSES[1] / "0.png", extra)
    try:
        status, _ = run()
    finally:
        extra.unlink()
    assert status == 2 and "images changed" in capsys.readouterr().err


def test_an_untrained_network_is_recorded_with_epochs_0(run):
    status, record = run("--epochs", "0", "--use_val")
    assert status == 0 and record.finished and len(record.epochs) == 0


def test_the_best_epoch_on_the_validation_split_is_the_first_of_the_best(run):
    _, record = run("--epochs", "4", "--use_val")
    best = record.checkpoint("best.pt")
    assert best["epoch"] == 1 + int(np.argmax(record.epochs["val_accuracy"]))


def test_with_last_the_last_epoch_is_tested_though_a_best_one_is_kept(run):
    _, record = run("--epochs", "3", "--use_val", "--last", "--lr", "0.01")
    assert record.result_checkpoint == "last.pt" and (record.folder / "best.pt").exists()
    weights = record.checkpoint("last.pt")["model"]["head.weight"]
    torch.testing.assert_close(torch.from_numpy(record.arrays("test")["class_vectors"]), weights)


def test_a_diverging_run_stops_and_says_what_to_do(run, capsys):
    status, record = run("--lr", "1e30", method="softmax")
    error = capsys.readouterr().err
    assert (
        status == 1
        and "learning rate 1e+30" in error
        and "--lr" in error
        and not (record.folder / "last.pt").exists()
    )


def test_prototypes_and_scores_are_those_of_the_recorded_model(run):
    _, record = run("--use_val", "--clspri")
    arrays = record.arrays("test")
    unit = arrays["embeddings"] / np.linalg.norm(arrays["embeddings"], axis=1, keepdims=True)
    vectors = arrays["class_vectors"] / np.linalg.norm(
        arrays["class_vectors"], axis=1, keepdims=True
    )
    prior = np.log(arrays["prototype_counts"] / arrays["prototype_counts"].sum())
    squared = np.maximum(2 - 2 * unit @ vectors.T, 1e-6)
    np.testing.assert_allclose(arrays["scores"], -5 * np.log(squared) + prior, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(arrays["prototypes"], axis=1), 1, rtol=1e-5)


def test_a_missing_folder_is_named(capsys, tmp_path):
    argv = [
        "--dataset",
        "folder",
        "--data_dir",
        str(tmp_path / "nothing"),
        "--record",
        str(tmp_path),
        "--method",
        "DR",
        "--GPU",
        "cpu",
    ]
    assert start.main("", train.DATASETS, argv) == 2
    assert "nothing" in capsys.readouterr().err


def test_calibration_images_are_recorded_and_choose_nothing(run, monkeypatch):
    seen = []
    monkeypatch.setattr(experiment, "better_prototypes", lambda parts: seen.append(parts) or "so")
    _, record = run("--use_val")
    files = {name: set(record.arrays(name)["files"]) for name in ("val", "calibration", "test")}
    table = record.split
    for name, found in files.items():
        assert found == set(table["file"][table["split"] == name]) and found
    assert len(files["val"]) == len(files["calibration"]) == 3
    accuracy = (record.outputs("val").predictions == record.outputs("val").labels).mean()
    assert record.epochs["val_accuracy"].tolist() == [accuracy]  # of the choosing part alone
    # what is said of prototypes is of these images, not of those that test
    assert [set(part["files"]) for part in seen[0]] == [files["val"], files["calibration"]]
    assert "note: so\n" in (record.folder / "log.txt").read_text()


def test_runs_of_earlier_versions_go_on_without_calibration_images(run, capsys):
    _, record = run("--use_val", "--calibration", "0")
    config = {key: value for key, value in record.config.items() if key != "checksums"}
    del config["options"]["calibration"]
    old = Run(record.folder.parent.parent / "DR-euc-val-old" / "seed1")
    machine = {"overwrite": False}
    old.write_json("config.json", config)
    assert identity.as_started(old, {"calibration": 0.5}, machine) == {"calibration": None}
    assert identity.as_started(old, {"calibration": 0.5}, {"overwrite": True}) == {
        "calibration": 0.5
    }
    fresh = Run(old.folder.parent / "seed2")
    assert identity.as_started(fresh, {"calibration": 0.5}, machine) == {"calibration": 0.5}
