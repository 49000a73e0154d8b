"""A frozen trunk embeds every image once, and is kept once for all runs of a record."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from images import ODD_CLASSES, make_learnable_folder
from recorded import run_main
from trained import interrupt, train_small

import evaluate
import predict
from data import splits
from evaluation.model import load_model
from files.fingerprints import FILES, FIRST, NEWEST
from models import build_backbone
from runs.folder import Run, RunError
from training import features as module

FROZEN = ("--freeze", "butlast", "--method", "DR", "--gray", "--dim", "8", "--batch_size", "8")
FLAGS = (*FROZEN, "--rand_backbone", "--lr", "0.01", "--use_val", "--epochs", "2")


@pytest.fixture
def images(tmp_path):
    """Six classes of eight grey images each."""
    return make_learnable_folder(tmp_path / "data" / "images", ODD_CLASSES, 8)


@pytest.fixture
def computed(monkeypatch):
    """Numbers of images that go through a trunk to be kept, one a call."""
    original, counts = module._compute, []

    def count(training, splits, rows, precision):
        counts.append(len(rows))
        return original(training, splits, rows, precision)

    monkeypatch.setattr(module, "_compute", count)
    return counts


def losses(run):
    return run.epochs["train_loss"].to_numpy()


OTHERS = ("--size_inform", "--ema", "--dynamic")


@pytest.mark.parametrize("flags", [(), OTHERS], ids=" ".join)
def test_training_on_features_is_training_on_their_images(images, tmp_path, computed, flags):
    runs = {}
    for precision in ("float32", "float16", "off"):
        status, run = train_small(images, tmp_path, *FLAGS, *flags, "--features", precision)
        assert status == 0
        runs[precision] = run
    assert computed == [48, 48]
    np.testing.assert_allclose(losses(runs["float32"]), losses(runs["off"]), atol=1e-5)
    np.testing.assert_allclose(losses(runs["float16"]), losses(runs["off"]), atol=1e-2)
    assert losses(runs["off"])[1] < losses(runs["off"])[0]
    plain = [runs[name].arrays("test")["embeddings"] for name in ("float32", "off")]
    np.testing.assert_allclose(*plain, atol=1e-4)


def test_a_second_run_on_the_same_trunk_computes_nothing(images, tmp_path, computed):
    for method in ("DR", "normface"):
        status, run = train_small(images, tmp_path, *FLAGS, "--method", method)
        assert status == 0
    assert computed == [48]
    assert "48 images" in (run.folder / "log.txt").read_text()
    assert "computed before" in (run.folder / "log.txt").read_text()


@pytest.mark.parametrize(
    "flags",
    [("--seed", "2"), ("--no_normalize",), ("--resize", "20"), ("--features", "float16")],
    ids=" ".join,
)
def test_another_trunk_or_other_images_have_features_of_their_own(
    images, tmp_path, computed, flags
):
    train_small(images, tmp_path, *FLAGS)
    train_small(images, tmp_path, *FLAGS, *flags)
    assert computed == [48, 48]


def test_images_are_not_hashed_again_for_features_that_no_earlier_version_made(
    images, tmp_path, computed, monkeypatch
):
    hashed, original = [], splits.pixels_fingerprint
    spy = lambda *image: hashed.append(1) or original(*image)  # noqa: E731
    monkeypatch.setattr(splits, "pixels_fingerprint", spy)
    for seed in ("1", "2"):  # another trunk, beside the features of the first
        assert train_small(images, tmp_path, *FLAGS, "--seed", seed)[0] == 0
    assert len(computed) == 2 and not hashed


def test_only_where_images_are_not_known_by_their_pixels_the_table_is_asked(tmp_path):
    table = tmp_path / "boxes.csv"
    table.write_text("file\n")
    for of, names in ((FIRST, []), (NEWEST, []), (FILES, ["table"])):
        known = SimpleNamespace(fingerprints_of=of)
        assert list(module._table(known, {"table": str(table)})) == names


def test_a_changed_image_has_other_features(images, tmp_path, computed):
    train_small(images, tmp_path, *FLAGS)
    first, second = sorted((images / ODD_CLASSES[0]).iterdir())[:2]
    shutil.copy(first, second)
    train_small(images, tmp_path / "again", *FLAGS)
    assert computed == [48, 48]


def test_a_trunk_that_trains_or_images_that_change_have_no_features(
    images, tmp_path, computed, capsys
):
    status, run = train_small(images, tmp_path, *FLAGS, "--aug")
    assert status == 0 and "--aug none" in (run.folder / "log.txt").read_text()
    train_small(images, tmp_path, *FLAGS, "--freeze", "none")
    assert computed == []
    for flags in (("--aug",), ("--freeze", "none")):
        with pytest.raises(SystemExit, match="2"):
            train_small(images, tmp_path, *FLAGS, *flags, "--features", "float16")
        assert "--features has no meaning here" in capsys.readouterr().err


def test_features_that_are_not_finite_are_refused(images, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        module.torch.Tensor, "isfinite", lambda self: torch.zeros(1, dtype=torch.bool)
    )
    status, _ = train_small(images, tmp_path, *FLAGS, "--features", "float16")
    assert status == 2 and "use --features float32" in capsys.readouterr().err


def test_an_interrupted_run_on_features_ends_as_one_that_was_not(images, tmp_path, monkeypatch):
    flags = (*FLAGS, *OTHERS)
    _, whole = train_small(images, tmp_path / "whole", *flags)
    run = interrupt(monkeypatch, images, tmp_path / "parts", *flags)
    status, run = train_small(images, tmp_path / "parts", *flags, "--resume")
    assert status == 0
    for name in ("last.pt", "best.pt", "epochs.csv", "metrics.csv", "test.pkl"):
        assert (run.folder / name).read_bytes() == (whole.folder / name).read_bytes()


def saved(run, name="best.pt"):
    return torch.load(run.folder / name, weights_only=True)


def test_a_frozen_trunk_is_in_the_record_once_and_in_no_checkpoint(images, tmp_path):
    runs = [train_small(images, tmp_path, *FLAGS, "--method", m)[1] for m in ("DR", "normface")]
    files = list((tmp_path / "trunks").iterdir())
    assert len(files) == 1
    for run in runs:
        for name in ("last.pt", "best.pt"):
            content = saved(run, name)
            assert f"{content['trunk']}.pt" == files[0].name
            assert not [key for key in content["model"] if key.startswith("backbone.network.")]
    _, free = train_small(images, tmp_path, *FLAGS, "--freeze", "none")
    assert "trunk" not in saved(free)
    assert [key for key in saved(free)["model"] if key.startswith("backbone.network.")]


@pytest.fixture
def run(images, tmp_path):
    """A finished run on a frozen trunk."""
    return train_small(images, tmp_path / "record", *FLAGS, "--features", "float32")[1]


def trunk_file(run):
    return next((run.folder.parents[2] / "trunks").iterdir())


def test_a_run_is_evaluated_and_predicts_with_the_trunk_of_its_record(
    run, images, tmp_path, capsys
):
    status, said, _ = run_main(evaluate.main, capsys, run.folder, "--data_dir", images)
    assert status == 0 and "reproduces metrics.csv" in said
    out = tmp_path / "out.csv"
    status, _, _ = run_main(
        predict.main, capsys, run.folder, images, "--rule", "majority", "--out", out
    )
    assert status == 0 and len(out.read_text().splitlines()) == 49


@pytest.mark.parametrize("damage", ["missing", "damaged", "another"])
def test_a_trunk_that_is_not_there_is_named_and_resuming_writes_it_again(
    images, tmp_path, monkeypatch, damage
):
    run = interrupt(monkeypatch, images, tmp_path / "record", *FLAGS)
    file = trunk_file(run)
    before = file.read_bytes()
    if damage == "missing":
        file.unlink()
    elif damage == "damaged":
        content = bytearray(before)
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    else:
        torch.save({"format": 1, "trunk": "0" * 32, "model": {}}, file)
    with pytest.raises(RunError, match=f"{file.name}.*writes it again") as caught:
        load_model(run, "last.pt")
    assert str(file) in str(caught.value)
    status, run = train_small(images, tmp_path / "record", *FLAGS, "--resume")
    assert status == 0 and file.read_bytes() == before
    load_model(run)


def test_a_run_of_an_earlier_version_goes_on_with_its_own_trunk(
    images, tmp_path, monkeypatch, computed
):
    """Its checkpoints hold the trunk, and its options know no features."""
    run = interrupt(monkeypatch, images, tmp_path, *FLAGS, "--features", "off")
    older = Run(str(run.folder).replace("-features=off", ""))
    run.folder.parent.rename(older.folder.parent)
    config = json.loads((older.folder / "config.json").read_text())
    del config["options"]["features"], config["checksums"]
    kept = {name: older.checkpoint(name) for name in ("best.pt", "last.pt")}
    older.write_config(config)
    for name, content in kept.items():
        del content["trunk"], content["format"]
        older.save_checkpoint(name, {**content, "run": None})  # which none of them named
    shutil.rmtree(tmp_path / "trunks")
    status, older = train_small(images, tmp_path, *FLAGS, "--resume")
    assert status == 0 and computed == [] and saved(older, "last.pt")["trunk"]
    load_model(older)


def test_a_checkpoint_with_a_shared_trunk_is_a_file_of_weights(run):
    weights = build_backbone("conv4", channels=1, weights=run.folder / "best.pt").network
    expected = load_model(run).backbone.network
    for name, value in weights.state_dict().items():
        assert torch.equal(value, expected.state_dict()[name])


def test_a_packed_run_predicts_elsewhere(run, images, tmp_path, capsys, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    status, said, _ = run_main(evaluate.main, capsys, "--pack", run.folder)
    (packed,) = Path().iterdir()
    assert status == 0 and str(packed) in said
    outputs = []
    for folder in (run.folder, packed):
        if folder == packed:
            shutil.rmtree(tmp_path / "record")
        out = tmp_path / f"{len(outputs)}.csv"
        assert (
            run_main(predict.main, capsys, folder, images, "--rule", "majority", "--out", out)[0]
            == 0
        )
        outputs.append(out.read_text())
    assert outputs[0] == outputs[1]
    status, said, _ = run_main(evaluate.main, capsys, packed, "--data_dir", images)
    assert status == 0 and "reproduces metrics.csv" in said
    assert not (packed / "last.pt").exists()


def test_packing_replaces_nothing_and_needs_a_run(run, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_main(evaluate.main, capsys, "--pack", run.folder)[0] == 0
    status, _, error = run_main(evaluate.main, capsys, "--pack", run.folder)
    assert status == 1 or status == 2
    assert "is there already" in error
    trunk_file(run).unlink()
    for folder in Path().glob("*-seed1"):
        shutil.rmtree(folder)
    status, _, error = run_main(evaluate.main, capsys, "--pack", run.folder)
    assert status in (1, 2) and "trunks/" in error and not list(Path().glob("*-seed1"))
    assert run_main(evaluate.main, capsys, "--pack")[0] == 2
