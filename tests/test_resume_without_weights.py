"""--resume where what a run's weights started from is at hand no more: last.pt holds them all."""

import json
import shutil
import socket
import weakref

import pytest
import timm
import torch
from huggingface_hub import constants
from images import make_learnable_folder
from safetensors.torch import save_file
from trained import interrupt, train_small

from models import build_backbone, fetching, timm_networks
from options.resumed import find_begun
from runs.folder import Run
from training import loop

CLASSES = ("A/a", "A/b", "B/c")
FLAGS = ("--method", "DR", "--dim", "4", "--lr", "0.01", "--epochs", "2", "--use_val")
RESULTS = ("epochs.csv", "metrics.csv", "last.pt", "best.pt", "test.pkl")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return make_learnable_folder(tmp_path_factory.mktemp("data") / "images", CLASSES, 8)


def make_weights(file, seed):
    torch.manual_seed(seed)
    torch.save(build_backbone("conv4", channels=3, pretrained=False).network.state_dict(), file)
    return file


@pytest.fixture
def weights(tmp_path):
    return make_weights(tmp_path / "weights.pt", 3)


def check_equal(run, whole):
    for name in RESULTS:
        assert (run.folder / name).read_bytes() == (whole.folder / name).read_bytes(), name


@pytest.mark.parametrize(
    "flags",
    [
        ("--l2_sp", "0.5"),  # whose anchor is the start
        ("--freeze", "butlast", "--ema", "--dynamic"),
        ("--average", "0.8", "--optimizer", "adamw", "--backbone_lr", "0.1"),
    ],
    ids=" ".join,
)
def test_a_run_goes_on_without_its_file_of_weights(images, weights, tmp_path, monkeypatch, flags):
    flags = (*FLAGS, "--weights", str(weights), *flags)
    status, whole = train_small(images, tmp_path / "whole", *flags)
    assert status == 0
    begun = interrupt(monkeypatch, images, tmp_path / "parts", *flags)
    weights.unlink()
    status, run = train_small(images, tmp_path / "parts", *flags, "--resume")
    assert status == 0 and run.folder == begun.folder
    check_equal(run, whole)


def test_a_run_goes_on_without_the_run_that_it_started_from(images, tmp_path, monkeypatch):
    status, first = train_small(images, tmp_path / "first", *FLAGS)
    flags = (*FLAGS, "--lr", "0.02", "--start_from", str(first.folder))
    status, whole = train_small(images, tmp_path / "whole", *flags)
    assert status == 0
    begun = interrupt(monkeypatch, images, tmp_path / "parts", *flags)
    shutil.rmtree(first.folder)
    read, fit, checkpoints = Run.latest, loop.fit, []

    def latest(run):
        state = read(run)
        checkpoints.append(weakref.ref(state["model"]["head.weight"]))
        return state

    def fit_without_it(*arguments):  # which is as large as the model and its optimizer
        assert [checkpoint() for checkpoint in checkpoints] == [None]
        fit(*arguments)

    monkeypatch.setattr(Run, "latest", latest)
    monkeypatch.setattr(loop, "fit", fit_without_it)
    status, run = train_small(images, tmp_path / "parts", *flags, "--resume")
    assert status == 0 and run.folder == begun.folder
    check_equal(run, whole)
    table = "started_from.csv"
    assert (run.folder / table).read_bytes() == (whole.folder / table).read_bytes()


NETWORK = "test_resnet"  # a small one of timm, for tests


def in_a_folder(folder):
    """Saves the network as timm does; returns the name of the network."""
    folder.mkdir(parents=True)
    about = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.2, 0.3], "input_size": [3, 64, 64]}
    content = {"architecture": NETWORK, "pretrained_cfg": about}
    (folder / "config.json").write_text(json.dumps(content))
    torch.manual_seed(0)
    state = timm.create_model(NETWORK, pretrained=False).state_dict()
    save_file(state, folder / "model.safetensors")
    return str(folder)


def in_the_hubs_cache(hub, repository=f"timm/{NETWORK}.r160_in1k"):
    """Puts the network into it; returns the name of the network."""
    place = hub / f"models--{repository.replace('/', '--')}"
    in_a_folder(place / "snapshots" / "0123")
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("0123")
    return repository.removeprefix("timm/")


def in_a_repository(hub):
    """Puts the network into the hub's cache as somebody's own; returns its name."""
    return in_the_hubs_cache(hub, "somebody/network")


@pytest.mark.parametrize("prepare", [in_the_hubs_cache, in_a_folder, in_a_repository])
def test_a_run_goes_on_where_its_pretrained_network_is_not_at_hand(
    images, tmp_path, monkeypatch, capsys, prepare
):
    def refuse(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    place = tmp_path / "network"
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(fetching, "getproxies", dict)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(place))
    monkeypatch.setattr(timm_networks, "_RECALLED", {})
    flags = (*FLAGS, "--backbone", prepare(place), "--resize", "32")
    status, whole = train_small(images, tmp_path / "whole", *flags)
    assert status == 0
    interrupt(monkeypatch, images, tmp_path / "parts", *flags)
    interrupt(monkeypatch, images, tmp_path / "early", *flags, after=0)
    shutil.rmtree(place)
    timm_networks._find.cache_clear()
    assert train_small(images, tmp_path / "early", *flags, "--resume")[0] == 2
    said = capsys.readouterr().err
    assert "interrupted before its first epoch was kept" in said and " be had" in said
    status, run = train_small(images, tmp_path / "parts", *flags, "--resume")
    assert status == 0
    check_equal(run, whole)


def test_before_the_first_checkpoint_the_weights_are_asked_for(
    images, weights, tmp_path, monkeypatch, capsys
):
    flags = (*FLAGS, "--weights", str(weights))
    interrupt(monkeypatch, images, tmp_path, *flags, after=0)
    weights.unlink()
    assert train_small(images, tmp_path, *flags, "--resume")[0] == 2
    said = capsys.readouterr().err
    assert "interrupted before its first epoch was kept" in said and "no such file" in said


def test_a_frozen_trunk_that_is_gone_with_its_weights_is_named(
    images, weights, tmp_path, monkeypatch, capsys
):
    flags = (*FLAGS, "--weights", str(weights), "--freeze", "butlast")
    interrupt(monkeypatch, images, tmp_path, *flags)
    (trunk,) = (tmp_path / "trunks").iterdir()
    content = trunk.read_bytes()
    trunk.unlink()
    moved = weights.rename(tmp_path / "moved")
    assert train_small(images, tmp_path, *flags, "--resume")[0] == 2
    said = capsys.readouterr().err
    assert trunk.name in said and f"--weights {weights}: there is no such file" in said
    moved.rename(weights)
    assert train_small(images, tmp_path, *flags, "--resume")[0] == 0
    assert trunk.read_bytes() == content


def test_which_run_is_meant_is_never_guessed(images, weights, tmp_path, monkeypatch, capsys):
    flags = (*FLAGS, "--weights", str(weights))
    one = interrupt(monkeypatch, images, tmp_path, *flags)
    weights.unlink()
    with pytest.raises(SystemExit):
        train_small(images, tmp_path, *flags, "--lr", "0.5", "--resume")
    assert "nor is there a run" in capsys.readouterr().err
    make_weights(weights, 4)
    two = interrupt(monkeypatch, images, tmp_path, *flags)
    weights.unlink()
    with pytest.raises(SystemExit):
        train_small(images, tmp_path, *flags, "--resume")
    said = capsys.readouterr().err
    assert str(one.folder) in said and str(two.folder) in said


def test_runs_of_earlier_versions_are_found_and_damaged_ones_passed_over(tmp_path):
    options = {"seed": 2, "weights": "w.pt", "lr": 0.1, "gray": False, "features": "float32"}
    older = {"seed": 2, "weights": "w.pt", "lr": 0.1}
    contents = {
        "older/seed2": json.dumps({"options": older}),
        "other/seed2": json.dumps({"options": {**older, "lr": 0.2}}),
        "older/seed1": json.dumps({"options": {**older, "seed": 1}}),
        "cut/seed2": '{"options": {',
        "list/seed2": "[]",
        "empty/seed2": "{}",
    }
    for place, content in contents.items():
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "config.json").write_text(content)
    assert find_begun(tmp_path, options, ["weights"]) == tmp_path / "older/seed2"
    with pytest.raises(ValueError, match="--weights w.pt is not there, nor is there a run"):
        find_begun(tmp_path, {**options, "seed": 3}, ["weights"])
