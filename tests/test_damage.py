"""Damage: a bit that flips anywhere in what a command reads is noticed, or changes nothing.

The bits are drawn; the seed is in the message of a failure. FLIPS in the environment says how many
in each of three places, 8 by default: FLIPS=100 pytest tests/test_damage.py
"""

import hashlib
import itertools
import os
import random
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from images import make_learnable_folder
from recorded import run_main, write_run

import predict
import train
from data.cache import build_cache
from data.decoding import read_image
from data.reading import Reading
from data.refusals import reason
from evaluation.model import load_model
from evaluation.recorded import read_source
from files.pickles import SEAL, dump_arrays, load_arrays
from files.trunks import shared_place
from options import command_line
from runs import folder, tensors
from runs.folder import Run, RunError
from training.start import main

READING = Reading(resize=8)
FLIPS = int(os.environ.get("FLIPS", 8))
SEED = 20
CLASSES = ("A/a", "A/b", "B/c")
OPTIONS = "--dataset folder --GPU cpu --resize 16 --gray --backbone conv4 --dim 8 --batch_size 8"
OPTIONS += " --lr 0.01 --method DR --use_val --epochs 3"
RESULTS = ("metrics.csv", "epochs.csv", "last.pt", "best.pt", "test.pkl", "val.pkl")


def start(images, record, *flags) -> tuple[int, Run]:
    argv = [*OPTIONS.split(), "--data_dir", str(images), "--record", str(record), *flags]
    folder = command_line.parse(argv, "", train.DATASETS)[2]
    return main("", train.DATASETS, argv), Run(folder)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return make_learnable_folder(tmp_path_factory.mktemp("damage") / "images", CLASSES, 8)


@pytest.fixture(scope="module")
def finished(images, tmp_path_factory):
    """The folder of a run that has ended."""
    status, run = start(images, tmp_path_factory.mktemp("finished"))
    assert status == 0
    return run.folder


@pytest.fixture(scope="module")
def interrupted(images, tmp_path_factory):
    """The record folder of the same run, stopped when it had two of three epochs, and the run."""
    record, original, calls = tmp_path_factory.mktemp("interrupted"), Run.write_epochs, []

    def stop(run, rows):
        original(run, rows)
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "write_epochs", stop)
        status, run = start(images, record)
    assert status == 130 and (run.folder / "last-1.pt").exists()
    return record, run


def copied(folder: Path, place: Path) -> Path:
    return Path(shutil.copytree(folder, place, symlinks=True))


def drawn_flips(folder: Path, passed_over=(".lock", "log.txt")):
    """(file, position, bit), as many as asked for, over all files below a folder."""
    chance = random.Random(SEED)
    found = (p for p in folder.rglob("*") if p.is_file() and p.name not in passed_over)
    files = sorted(path for path in found if path.stat().st_size)
    for _ in range(FLIPS):
        file = chance.choice(files)
        yield file.relative_to(folder), chance.randrange(file.stat().st_size), chance.randrange(8)


def flip(path: Path, position: int, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)


def digest(*parts) -> str:
    """Hash of arrays, tables, tensors and what json can hold."""
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, dict):
            part = digest(*itertools.chain(*sorted((str(k), v) for k, v in part.items())))
        elif isinstance(part, pd.DataFrame):
            part = part.to_csv()
        elif hasattr(part, "numpy"):
            part = part.numpy()
        found.update(part.tobytes() if isinstance(part, np.ndarray) else repr(part).encode())
    return found.hexdigest()


def everything(folder: Path) -> str:
    """Hash of all that commands read of a run."""
    run = Run(folder)
    source = read_source(run)
    outputs = [
        getattr(part, name)
        for part in (source.test, source.val)
        for name in ("labels", "scores", "embeddings", "class_vectors", "prototypes")
    ]
    checkpoints = [run.checkpoint(name)["model"] for name in ("last.pt", "last-1.pt", "best.pt")]
    tables = run.metrics, run.epochs, run.split
    config = {name: value for name, value in run.config.items() if name != "checksums"}
    model = load_model(run).state_dict()
    return digest(*outputs, *checkpoints, *tables, config, run.hierarchy.to_dict(), model)


def test_a_flipped_bit_in_a_finished_run_is_noticed_or_changes_nothing(finished, tmp_path):
    folder = copied(finished, tmp_path / "images" / "DR" / "seed1")
    expected, noticed = everything(folder), 0
    for name, position, bit in drawn_flips(folder):
        flip(folder / name, position, bit)
        try:
            assert everything(folder) == expected, (SEED, name, position, bit)
        except RunError as error:
            assert str(folder) in str(error)
            noticed += 1
        flip(folder / name, position, bit)
    assert noticed > FLIPS / 2 and everything(folder) == expected


def test_a_flipped_bit_in_an_interrupted_run_is_noticed_or_changes_nothing(
    interrupted, finished, images, tmp_path, capsys
):
    record, run = interrupted
    expected = {name: (finished / name).read_bytes() for name in RESULTS}
    place = run.folder.relative_to(record)
    for name, position, bit in drawn_flips(run.folder):
        folder = copied(record, tmp_path / "record") / place
        flip(folder / name, position, bit)
        status, _ = start(images, tmp_path / "record", "--resume")
        case = (SEED, name, position, bit, error := capsys.readouterr().err[-300:])
        if status == 0:
            assert {name: (folder / name).read_bytes() for name in RESULTS} == expected, case
        else:
            assert status == 2 and str(name) in error, case
            rows = len((folder / "epochs.csv").read_bytes().splitlines())
            assert rows == 3 or str(name) == "epochs.csv", case  # before any epoch
        shutil.rmtree(tmp_path / "record")


@pytest.fixture(scope="module")
def of_another_seed(images, tmp_path_factory):
    """The folder of a finished run that differs in its seed."""
    status, run = start(images, tmp_path_factory.mktemp("other"), "--seed", "2")
    assert status == 0
    return run.folder


@pytest.mark.parametrize("name", ["best.pt", "last.pt", "test.pkl", "val.pkl", "config.json"])
def test_a_whole_file_of_another_run_is_noticed(finished, of_another_seed, tmp_path, name):
    folder = copied(finished, tmp_path / "images" / "DR" / "seed1")
    shutil.copy(of_another_seed / name, folder / name)
    with pytest.raises(RunError, match=f"{name} is not as the run wrote it: it is of another run"):
        everything(folder)


def test_an_interrupted_run_does_not_go_on_from_weights_of_another(
    interrupted, finished, of_another_seed, images, tmp_path, capsys
):
    record, run = interrupted
    folder = copied(record, tmp_path / "record") / run.folder.relative_to(record)
    shutil.copy(of_another_seed / "last.pt", folder / "last.pt")
    assert start(images, tmp_path / "record", "--resume")[0] == 0
    assert "it is of another run" in capsys.readouterr().err
    assert (folder / "test.pkl").read_bytes() == (finished / "test.pkl").read_bytes()
    (folder / "metrics.csv").unlink()
    shutil.copy(of_another_seed / "best.pt", folder / "best.pt")
    assert start(images, tmp_path / "record", "--resume")[0] == 2


def test_a_flipped_bit_in_the_cache_is_noticed_or_changes_nothing(images, tmp_path):
    place, names = tmp_path / "cache", sorted(p.relative_to(images) for p in images.rglob("*.png"))

    def read():
        cache = build_cache(images, list(map(str, names)), Reading(resize=16), cache_dir=place)
        batches = [cache.pixels[rows] for rows in np.array_split(np.arange(len(names)), 5)]
        return digest(*batches, cache.sizes, cache.fingerprints, cache.kept, *cache.notes)

    expected, noticed = read(), 0
    for name, position, bit in drawn_flips(place):
        flip(place / name, position, bit)
        try:
            assert read() == expected, (SEED, name, position, bit)
        except ValueError as error:
            assert "is damaged" in str(error) and "--resume" in str(error)
            noticed += 1
        assert read() == expected, (SEED, name, position, bit)  # built anew
    assert noticed


@pytest.mark.parametrize("damage", ["emptied", "zeros", "truncated"])
@pytest.mark.parametrize("name", ["images.npz", "content.json", "pixels.bin"])
def test_a_cache_with_a_damaged_file_is_built_anew(images, tmp_path, name, damage):
    files = sorted(str(p.relative_to(images)) for p in images.rglob("*.png"))
    cache = build_cache(images, files, Reading(resize=8), cache_dir=tmp_path)
    expected, path = np.array(cache.pixels), cache.folder / name
    content = path.read_bytes()
    zeros, half = bytes(len(content)), content[: len(content) // 2]
    path.write_bytes({"emptied": b"", "zeros": zeros, "truncated": half}[damage])
    if (name, damage) == ("pixels.bin", "zeros"):  # seen when they are read
        with pytest.raises(ValueError, match="image cache .* is damaged: its image 3 "):
            build_cache(images, files, Reading(resize=8), cache_dir=tmp_path).pixels[[3, 2]]
    again = build_cache(images, files, Reading(resize=8), cache_dir=tmp_path)
    np.testing.assert_array_equal(again.pixels, expected)


def test_each_image_of_a_cache_is_checked_once(images, tmp_path, monkeypatch):
    files, checked = sorted(str(p.relative_to(images)) for p in images.rglob("*.png")), []
    pixels = build_cache(images, files, Reading(resize=8), cache_dir=tmp_path).pixels
    original = build_cache.__globals__["pixels_fingerprint"]

    def count(*image):
        checked.append(1)
        return original(*image)

    monkeypatch.setitem(build_cache.__globals__, "pixels_fingerprint", count)
    for index in (3, slice(2, 5), [0, 3, 4], np.array([True] + 23 * [False]), np.int64(-1)):
        assert isinstance(pixels[index], np.ndarray)
    assert len(checked) == 5  # of rows 3, 2, 4, 0 and 23
    pixels[:], pixels[:, 0], pixels[..., 0]
    assert len(checked) == len(files)


@pytest.mark.parametrize("name", ["last.pt", "best.pt", "test.pkl", "val.pkl"])
def test_a_flipped_bit_in_a_tensor_or_an_array_is_noticed(finished, tmp_path, name):
    folder = copied(finished, tmp_path / "seed1")
    flip(folder / name, (folder / name).stat().st_size // 2, 6)
    run = Run(folder)
    with pytest.raises(RunError, match=name):
        run.checkpoint(name) if name.endswith(".pt") else run.arrays(name[:-4])


def test_a_damaged_best_checkpoint_is_noticed_before_the_epochs_that_are_left(
    interrupted, images, tmp_path, capsys
):
    record, run = interrupted
    folder = copied(record, tmp_path / "record") / run.folder.relative_to(record)
    flip(folder / "best.pt", (folder / "best.pt").stat().st_size // 2, 0)
    assert start(images, tmp_path / "record", "--resume")[0] == 2
    assert "best.pt cannot be read" in capsys.readouterr().err and len(Run(folder).epochs) == 2


@pytest.mark.parametrize("name", ["hierarchy.json", "split.csv"])
@pytest.mark.parametrize("old", [False, True], ids=["", "of an earlier version"])
def test_a_damaged_tree_or_split_is_noticed_and_written_again_before_training(
    interrupted, images, tmp_path, capsys, name, old
):
    record, run = interrupted
    folder = copied(record, tmp_path / "record") / run.folder.relative_to(record)
    if old:
        config = {k: v for k, v in run.config.items() if k not in ("checksums", "images")}
        Run(folder).write_json("config.json", config)
    text = (folder / name).read_text()
    (folder / name).write_text(text.replace("train", "tra1n").replace('"A', '"X'))
    assert start(images, tmp_path / "record", "--resume")[0] == 0
    out = capsys.readouterr().out
    assert out.index(f"{name} was damaged or changed, and is written again") < out.index("resumed")
    assert (folder / name).read_text() == text
    assert ("whether the images are still the same is not known" in out) == old


def test_tables_that_a_spreadsheet_program_has_saved_are_named_with_a_way_out(finished, tmp_path):
    folder = copied(finished, tmp_path / "seed1")
    for name in ("metrics.csv", "epochs.csv", "split.csv"):
        text = (folder / name).read_text()
        (folder / name).write_text(text.replace(",", ";").replace("\n", "\r\n"), newline="")
        with pytest.raises(RunError, match=rf"{name} is not as the run wrote it.*spreadsheet"):
            getattr(Run(folder), name[:-4])
        (folder / name).write_text(text)


def test_runs_of_an_earlier_version_without_checksums_are_read(tmp_path):
    run = write_run(tmp_path, "DR", 1, {"accuracy": 0.5})
    assert run.is_intact("metrics.csv") is None and len(run.metrics) == 1
    run.finish(run.metrics)
    assert run.is_intact("metrics.csv") and run.is_intact("epochs.csv")
    (run.folder / "epochs.csv").unlink()
    assert run.is_intact("epochs.csv") is False


def test_arrays_carry_a_checksum_that_other_readers_pass_over(tmp_path):
    path, arrays = tmp_path / "a.pkl", {"x": np.arange(5.0)}
    content = dump_arrays(arrays)
    path.write_bytes(content)
    assert SEAL in content and load_arrays(path)["x"].tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(np.load(path, allow_pickle=True)["x"], arrays["x"])
    path.write_bytes(content.partition(SEAL)[0])  # of an earlier version
    assert load_arrays(path)["x"].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("number", [5, 13, 24], ids=["I/O", "permission", "too many files"])
def test_a_file_that_could_not_be_read_once_is_not_remembered_as_bad(
    images, tmp_path, monkeypatch, number
):
    files = sorted(str(p.relative_to(images)) for p in images.rglob("*.png"))
    options = {"cache_dir": tmp_path, "skip_bad_images": True}

    def fail_once(path, *how):
        if str(path).endswith(files[2]):
            raise ValueError(os.strerror(number)) from OSError(number, os.strerror(number))
        return read_image(path, *how)

    with monkeypatch.context() as patch:
        patch.setattr("data.cache_writer.read_image", fail_once)
        cache = build_cache(images, files, READING, **options)
        assert len(cache.pixels) == len(files) - 1 and cache.bad[0][1].startswith("for now: ")
        assert build_cache(images, files, READING, **options).folder == cache.folder
    assert len(build_cache(images, files, READING, **options).pixels) == len(files)


@pytest.mark.parametrize("error", [OSError("broken data stream"), OSError(22, "Invalid argument")])
def test_what_pillow_says_of_a_damaged_file_does_not_pass(error):
    bad = ValueError("the reason")
    bad.__cause__ = error
    assert reason(bad) == "the reason"
    bad.__cause__ = MemoryError()
    assert reason(bad).startswith("for now: ")


def test_a_trunk_of_many_runs_is_looked_at_once_until_it_changes(tmp_path, monkeypatch):
    digest, read = "0" * 32, []
    place = shared_place(tmp_path / "demo" / "a" / "seed1", digest)

    def put(value: float) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"trunk": digest, "model": {"w": torch.full((3,), value)}}, f"{place}.new")
        os.replace(f"{place}.new", place)

    def load(path, check=True, real=tensors.load):
        read.append(path.name)
        return real(path, check)

    put(1.0)
    monkeypatch.setattr(tensors, "load", load)
    for name in "ab":
        run = write_run(tmp_path, name, 1, {"accuracy": 0.5})
        content = {"format": folder.FORMAT, "trunk": digest, "model": {}}
        torch.save(content, run.folder / "last.pt")
    runs = [Run(tmp_path / "demo" / name / "seed1") for name in "ab"]
    assert [run.checkpoint("last.pt", check=False)["model"]["w"][0] for run in runs] == [1, 1]
    assert read.count(place.name) == 1
    put(2.0)
    assert runs[0].checkpoint("last.pt", check=False)["model"]["w"][0] == 2
    assert runs[0].checkpoint("last.pt")["model"]["w"][0] == 2 and read.count(place.name) == 3


@pytest.mark.parametrize("name", ["hierarchy.json", "test.pkl", "best.pt", "metrics.csv"])
def test_a_folder_or_a_pipe_in_the_place_of_a_file_is_named_and_nothing_waits(
    finished, tmp_path, name
):
    read = {
        "hierarchy.json": lambda run: run.hierarchy,
        "test.pkl": lambda run: run.arrays("test"),
        "best.pt": lambda run: run.checkpoint("best.pt"),
        "metrics.csv": lambda run: run.metrics,
    }
    for kind, make in (("a folder", os.mkdir), ("a pipe", os.mkfifo)):
        folder = copied(finished, tmp_path / kind)
        (folder / name).unlink()
        make(folder / name)
        with pytest.raises(RunError, match=name):
            read[name](Run(folder))


def test_what_is_damaged_of_a_finished_run_is_written_again_as_the_message_says(
    finished, images, tmp_path, capsys
):
    record = tmp_path / "record"
    folder = record.joinpath(*finished.parts[-3:])
    shutil.copytree(finished.parents[2], record)
    names = ("hierarchy.json", "split.csv", "test.pkl", "val.pkl", "checksums.json")
    before = {name: (folder / name).read_bytes() for name in (*names, "metrics.csv")}
    for name, read in zip(
        names,
        (
            lambda run: run.hierarchy,
            lambda run: run.split,
            lambda run: run.arrays("test"),
            lambda run: run.arrays("val"),
            lambda run: run.metrics,
        ),
    ):
        (folder / name).write_bytes(b"x")
        with pytest.raises(RunError, match=rf"{name} .*remove metrics.csv and use --resume"):
            read(Run(folder))
    (folder / "metrics.csv").unlink()
    assert start(images, record, "--resume")[0] == 0, capsys.readouterr().err
    assert {name: (folder / name).read_bytes() for name in before} == before


def test_a_lost_best_checkpoint_is_noticed_before_the_epochs_that_are_left(
    interrupted, images, tmp_path, capsys
):
    record, run = interrupted
    folder = copied(record, tmp_path / "record") / run.folder.relative_to(record)
    (folder / "best.pt").unlink()
    assert start(images, tmp_path / "record", "--resume")[0] == 2
    error = capsys.readouterr().err
    assert "best.pt is missing; put a copy" in error and "--overwrite" in error
    assert len(Run(folder).epochs) == 2


@pytest.mark.parametrize(
    "name, spoil, words",
    [
        ("labels", lambda a: None, "'labels' is None"),
        ("labels", lambda a: np.array(3), "1 dimensions of numbers"),
        ("scores", lambda a: "hello", "'scores' is 'hello'"),
        ("scores", lambda a: a > 0, "'scores' is bool"),
        ("embeddings", lambda a: a.astype(str), "2 dimensions of numbers"),
        ("sizes", lambda a: a[:-1], "sizes of 6 images"),
        ("files", lambda a: a[:, None], "1 dimensions of text"),
    ],
)
def test_arrays_that_are_not_those_of_a_run_are_refused_by_name(
    finished, tmp_path, name, spoil, words
):
    folder = copied(finished, tmp_path / "seed1")
    arrays = Run(folder).arrays("test")
    (folder / "test.pkl").write_bytes(dump_arrays({**arrays, name: spoil(arrays[name])}))
    with pytest.raises(RunError, match=words):
        Run(folder).outputs("test")


def test_predictions_without_the_arrays_that_calibrate_say_which_file_is_missing(
    finished, images, tmp_path, capsys
):
    folder = copied(finished, tmp_path / "seed1")
    (folder / "val.pkl").unlink()
    out = tmp_path / "o.csv"
    argv = (folder, images, "--rule", "majority", "--GPU", "cpu", "--out", out)
    status, said, _ = run_main(predict.main, capsys, *argv)
    assert status == 0 and "not calibrated" in said and "val.pkl is missing" in said
