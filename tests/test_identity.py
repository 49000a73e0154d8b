"""A run knows what its images are: others in their place are refused by name, and collections whose
folders have one name are told apart.
"""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from images import draw, make_earlier, make_learnable_folder
from PIL import Image

import data
import evaluate
import train
from data.cache import build_cache
from data.headers import read_headers
from data.reading import Reading
from data.unlabelled import ModelInput, read_batches
from evaluation.known_images import KnownImages, KnownToAny
from files.fingerprints import HASHES, file_fingerprint
from options import command_line
from runs.folder import Run
from runs.records import read_record
from training import experiment
from training.shared import Shared
from training.start import main

CLASSES = ("A/a", "A/b", "B/c")
OPTIONS = "--dataset folder --GPU cpu --resize 16 --gray --backbone conv4 --dim 8 --batch_size 8"
OPTIONS += " --method DR --epochs 2"


@pytest.fixture
def images(tmp_path):
    return make_learnable_folder(tmp_path / "images", CLASSES, 8)


@pytest.fixture
def start(images, tmp_path, capsys):
    """Calls train.py's main; returns the exit status, the run, and all that it said."""

    def call(*flags, collection=images, seed=1, shared=None):
        argv = [*OPTIONS.split(), "--data_dir", str(collection), "--seed", str(seed)]
        argv += ["--record", str(tmp_path / "record"), *flags]
        folder = command_line.parse(argv, "", train.DATASETS)[2]
        status = main("", train.DATASETS, argv, shared)
        said = capsys.readouterr()
        return status, Run(folder), said.out + said.err

    return call


def interrupt(start, *flags, **place):
    """A run that stops after its first epoch."""
    original = Run.write_epochs

    def stop(run, rows):
        original(run, rows)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "write_epochs", stop)
        status, run, _ = start(*flags, **place)
    assert status == 130
    return run


def replace(path, value=7):
    """Another image of the same name, size in pixels, and time of change."""
    stat = os.stat(path)
    with Image.open(path) as image:
        size = image.size
    Image.new("L", size, value).save(path)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_images_replaced_between_interruption_and_resume_are_refused_by_name(start, images):
    run = interrupt(start)
    kept = (images / "A/a/3.png").read_bytes()
    replace(images / "A/a/3.png")
    status, _, said = start("--resume")
    assert status == 2 and "1 of 24 images are not those" in said and "A/a/3.png" in said
    assert "put the originals back" in said and len(Run(run.folder).epochs) == 1
    (images / "A/a/3.png").write_bytes(kept)
    assert start("--resume")[0] == 0


def test_a_finished_run_is_not_taken_for_one_on_replaced_images(start, images):
    assert start()[0] == 0 and start()[0] == 0
    replace(images / "B/c/0.png")
    status, _, said = start()
    assert status == 2 and "B/c/0.png" in said


def test_another_version_of_pillow_is_named_as_a_possible_cause(start, images):
    run = interrupt(start)
    config = {name: value for name, value in run.config.items() if name != "checksums"}
    run.write_json("config.json", {**config, "versions": {"pillow": "1.0"}})
    replace(images / "B/c/0.png")
    assert "reads them otherwise than 1.0" in start("--resume")[2]


def test_evaluating_on_replaced_images_says_so(start, images, capsys):
    _, run, _ = start()
    assert evaluate.main([str(run.folder), "--data_dir", str(images), "--GPU", "cpu"]) == 0
    assert "warning" not in capsys.readouterr().err
    replace(images / "B/c/0.png")
    evaluate.main([str(run.folder), "--data_dir", str(images), "--GPU", "cpu"])
    assert "warning: the content of 1 of 24 images is not that" in capsys.readouterr().err


def test_rules_on_folders_that_are_newer_than_a_run_do_not_stop_it(start, images, monkeypatch):
    run = interrupt(start)
    monkeypatch.setattr("data.labelled.repeated_folders", lambda tree: ["A", "B"])
    assert "--folders_are_classes" in start("--overwrite")[2]
    assert start("--resume")[0] == 0 and "this run is finished" in start()[2]
    assert evaluate.main([str(run.folder), "--data_dir", str(images), "--GPU", "cpu"]) == 0
    shared = Shared()  # what it has read without those rules is not for new runs in its process
    assert "this run is finished" in start(shared=shared)[2]
    assert "--folders_are_classes" in start("--ema", shared=shared)[2]


def test_a_run_of_a_version_that_drew_folds_whatever_their_names_goes_on(start, tmp_path):
    parts = [f"fold{k}/{name}" for k in (1, 2, 3) for name in CLASSES]
    folder = make_learnable_folder(tmp_path / "folds", parts, 4)
    place = {"collection": folder}
    flags = ("--group_level", "1", "--fold", "2/3", "--split_seed", "2")  # which draws fold3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("data.folds.numbered_folds", lambda names, count: None)
        drawn = interrupt(start, *flags, **place).config["split"]
    status, run, said = start(*flags, "--resume", **place)
    assert status == 0 and run.config["split"] == drawn
    assert "this run is finished" in start(*flags, **place)[2]
    assert evaluate.main([str(run.folder), "--data_dir", str(folder), "--GPU", "cpu"]) == 0
    assert start(*flags, "--overwrite", **place)[0] == 0  # anew it tests the fold of that name
    assert Run(run.folder).config["split"] != drawn
    assert "fold2/A/a/0.png" in (run.folder / "predictions_test.csv").read_text()
    draw(folder / "fold2/A/a/9.png")
    assert "have the images changed?" in start(*flags, **place)[2]


def test_what_a_new_run_has_read_serves_recorded_ones_in_its_process(start, monkeypatch):
    start()
    shared, read, load = Shared(), [], data.load
    monkeypatch.setattr(data, "load", lambda options: read.append(1) or load(options))
    for flags in ([], ["--ema"], []):
        assert start(*flags, shared=shared)[0] == 0
    assert len(read) == 2


def test_a_run_of_a_version_that_called_classes_otherwise_goes_on(start, images, tmp_path):
    rows = [f"{file.relative_to(images)},G,{file.parent.name}xx" for file in images.rglob("*.png")]
    (tmp_path / "t.csv").write_text("file,genus,species\n" + "\n".join(rows) + "\n")
    table = ("--table", str(tmp_path / "t.csv"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hierarchies.tables.with_whole_names", lambda table, levels: (table, ()))
        run = interrupt(start, *table)
    assert start(*table, "--resume")[0] == 0 and "this run is finished" in start(*table)[2]
    assert Run(run.folder).hierarchy.class_names == ("axx", "bxx", "cxx")
    assert evaluate.main([str(run.folder), "--data_dir", str(images), "--GPU", "cpu"]) == 0


def test_the_same_images_in_another_place_go_on(start, images, tmp_path):
    interrupt(start)
    moved = tmp_path / "elsewhere" / "images"
    shutil.move(images, moved)
    status, _, said = start(collection=moved)
    assert status == 2 and str(images) in said and str(moved) in said and "--resume" in said
    assert start("--resume", collection=moved)[0] == 0


@pytest.mark.parametrize("state", ["finished", "interrupted", "interrupted, to be resumed"])
def test_two_collections_of_one_name_are_told_apart(start, images, tmp_path, state):
    other = make_learnable_folder(tmp_path / "other" / "images", CLASSES[::-1], 8)
    if state == "finished":
        start()
    else:
        interrupt(start)
    flags = ["--resume"] if state.endswith("resumed") else []
    status, _, said = start(*flags, collection=other)
    assert status == 2 and f"{images}," in said and f"{other}:" in said
    assert "--record DIR" in said and "--overwrite" not in said


def test_seeds_of_two_collections_of_one_name_are_not_mixed(start, images, tmp_path, capsys):
    other = make_learnable_folder(tmp_path / "other" / "images", CLASSES[::-1], 8)
    assert start()[0] == 0
    status, run, said = start(collection=other, seed=2)
    assert status == 2 and str(images) in said and str(other) in said and "--record DIR" in said
    assert not run.folder.exists()
    # recorded elsewhere and copied together, as an earlier version would have mixed them
    apart = tmp_path / "apart"
    assert start("--record", str(apart), collection=other, seed=2)[0] == 0
    (copy,) = apart.rglob("seed2")
    shutil.copytree(copy, run.folder)
    (warning,) = read_record(tmp_path / "record").warnings
    assert str(images) in warning and str(other) in warning and "--record DIR" in warning


def test_runs_whose_images_are_known_by_another_hash_are_on_the_same_images(
    start, images, tmp_path, capsys
):
    flags = ("--freeze", "butlast", "--rand_backbone", "--use_val", "--features", "float32")
    _, whole, _ = start(*flags, "--record", str(tmp_path / "whole"))
    (place,) = images.glob(".taxonomy_cache/*/pixels.bin")
    files = sorted(str(path.relative_to(images)) for path in images.rglob("*.png"))
    make_earlier(build_cache(images, files, Reading(resize=16, gray=True)))
    for features in images.glob(".taxonomy_cache/*.features"):
        shutil.rmtree(features)
    run = interrupt(start, *flags)
    assert run.config["images"]["fingerprints_of"] == "pixels"
    shutil.rmtree(place.parent)  # it is built anew, with the hashes of this version
    text = (run.folder / "split.csv").read_text()
    (run.folder / "split.csv").write_text(text.replace("train", "tra1n"))
    status, run, said = start(*flags, "--resume")
    assert status == 0 and place.is_file()
    assert "computed before" in said and "split.csv was damaged" in said
    assert "not known" not in said and "other images" not in said
    assert (run.folder / "split.csv").read_text() == text
    for name in ("last.pt", "best.pt", "epochs.csv", "metrics.csv", "test.pkl"):
        assert (run.folder / name).read_bytes() == (whole.folder / name).read_bytes(), name
    status, other, said = start(*flags, seed=2)
    assert other.config["images"]["fingerprints_of"] == "pixels by xxh3"
    assert status == 0 and "other images" not in said
    assert not read_record(tmp_path / "record").warnings
    assert evaluate.main([str(run.folder), "--data_dir", str(images), "--GPU", "cpu"]) == 0
    assert "warning" not in capsys.readouterr().err
    known = run.split.set_index("file")["split"]
    for seen in (KnownImages(run), KnownImages(other), KnownToAny([run, other])):
        (batch,) = read_batches(
            [str(images / file) for file in known.index],
            ModelInput(Reading(resize=16, gray=True)),
            64,
            fingerprints=HASHES,
        )
        assert seen.splits(batch.files, batch.fingerprints).tolist() == known.tolist()
    assert KnownToAny([run, other]).hashes == ("pixels", "pixels by xxh3")
    later = {"digest": "1", "fingerprints_of": "a hash to come"}
    config = {name: value for name, value in other.config.items() if name != "checksums"}
    other.write_json("config.json", {**config, "images": later})
    unknown = KnownImages(Run(other.folder))
    assert unknown.splits(["a.png"], {}).tolist() == [""] and unknown.hashes == ()
    status, _, said = start(*flags, seed=2)
    assert status == 0 and "a later version of this project has recorded the run" in said
    replace(images / "A/a/3.png")
    status, _, said = start(*flags)
    assert status == 2 and "1 of 24 images are not those" in said and "A/a/3.png" in said
    status, changed, said = start(*flags, seed=3)
    assert status == 0 and "seed1 was trained on other images" in said
    assert set(changed.config["images_by"]) == {"pixels"}
    (warning,) = read_record(tmp_path / "record").warnings  # seed2 is of a hash to come
    assert "seed1" in warning and "seed3" in warning and "on different images" in warning


def test_images_added_between_two_seeds_are_a_note(start, images):
    assert start()[0] == 0
    Image.new("L", (20, 20), 9).save(images / "A/a/new.png")
    status, _, said = start(seed=2)
    assert status == 0 and "was trained on other images, or an earlier state of them" in said


def test_overwriting_the_run_of_another_collection_is_a_note(start, images, tmp_path):
    other = make_learnable_folder(tmp_path / "other" / "images", CLASSES[::-1], 8)
    start()
    status, _, said = start("--overwrite", collection=other)
    assert status == 0 and "note: replaced on request" in said and str(images) in said


@pytest.mark.parametrize("refused", ["bad image", "options", "interrupted"])
def test_a_start_that_is_refused_leaves_nothing(start, images, tmp_path, monkeypatch, refused):
    flags = []
    if refused == "bad image":
        (images / "A/a/0.png").write_bytes(b"no image")
    elif refused == "options":
        flags = ["--weights", str(images / "A/a/0.png")]
    else:
        monkeypatch.setattr(experiment, "assemble", interrupted)
    assert start(*flags)[0] in (2, 130)
    assert not (tmp_path / "record").exists()


def interrupted(*_, **__):
    raise KeyboardInterrupt


def test_a_refused_start_leaves_what_was_there(start, images, tmp_path):
    (tmp_path / "record/images").mkdir(parents=True)
    (images / "A/a/0.png").write_bytes(b"no image")
    assert start()[0] == 2
    assert [path.name for path in (tmp_path / "record").rglob("*")] == ["images"]


def test_the_record_names_each_image_by_its_content(start, images):
    shutil.copy(images / "A/a/1.png", images / "A/a/2.png")
    _, run, _ = start()
    table = run.split.set_index("file")["fingerprint"]
    assert table["A/a/1.png"] == table["A/a/2.png"] and table.nunique() == 23
    assert table.str.fullmatch("[0-9a-f]{16}").all()
    assert set(run.config["images"]) == {"digest", "fingerprints_of"}


def test_the_fingerprint_of_a_file_is_of_its_size_and_both_ends(tmp_path):
    contents = [b"a" * 9000, b"a" * 9001, b"b" + b"a" * 8999, b"a" * 8999 + b"b"]
    for number, content in enumerate(contents):
        (tmp_path / str(number)).write_bytes(content)
    assert len({file_fingerprint(tmp_path / str(number)) for number in range(4)}) == 4


def test_headers_remember_no_file_that_could_not_be_read_once(tmp_path, monkeypatch):
    draw(tmp_path / "a.png"), draw(tmp_path / "b.png", seed=1)
    (tmp_path / "c.png").write_bytes(b"no image")
    files = ["a.png", "b.png", "c.png"]
    original = Image.open

    def fail(path, **how):
        if Path(path).name == "a.png":
            raise PermissionError(13, "Permission denied")
        return original(path, **how)

    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", fail)
        found = read_headers(tmp_path, files)
    assert found.bad[0] == ["a.png", "for now: Permission denied"] and found.kept
    again = read_headers(tmp_path, files)
    assert [file for file, _ in again.bad] == ["c.png"] and again.fingerprints[0] != 0
    np.testing.assert_array_equal(read_headers(tmp_path, files).fingerprints, again.fingerprints)
