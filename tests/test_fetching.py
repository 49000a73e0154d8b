"""Pretrained weights without a network: of a cache, without waiting, or refused before any work."""

import re
import socket

import pytest
import timm
import torch
from huggingface_hub import constants
from images import make_learnable_folder
from safetensors.torch import save_file
from trained import train_small

from models import build_backbone, check_weights, fetching

NAME, REPOSITORY = "resnet10t.c3_in1k", "timm/resnet10t.c3_in1k"


@pytest.fixture(autouse=True)
def no_network(monkeypatch, tmp_path):
    def refuse(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(fetching, "getproxies", dict)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


@pytest.fixture
def cached(tmp_path):
    """The state of a network in the hub's cache."""
    repository = tmp_path / "hub" / f"models--{REPOSITORY.replace('/', '--')}"
    snapshot = repository / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123")
    state = timm.create_model(NAME, pretrained=False).state_dict()
    save_file(state, snapshot / "model.safetensors")
    return state


def test_weights_in_the_hubs_cache_are_taken_without_asking_the_network(cached):
    check_weights(NAME)
    backbone = build_backbone(NAME, channels=3)
    weights = backbone.network.state_dict()
    assert all(torch.equal(value, cached[name]) for name, value in weights.items())
    assert constants.HF_HUB_OFFLINE is False  # for what comes after


def test_older_files_in_the_hubs_cache_are_taken(cached, tmp_path):
    (file,) = (tmp_path / "hub").rglob("model.safetensors")
    file.unlink()
    torch.save(cached, file.parent / "pytorch_model.bin")
    check_weights(NAME)
    weights = build_backbone(NAME, channels=3).network.state_dict()
    assert all(torch.equal(value, cached[name]) for name, value in weights.items())


def test_timms_old_cache_is_looked_at_where_timm_looks_at_it(monkeypatch):
    """In the cache of torch, by a switch in the environment that timm reads when it is imported."""
    monkeypatch.setattr("timm.models._builder._USE_OLD_CACHE", True)
    monkeypatch.setattr("timm.models._hub.HASH_REGEX", re.compile("no hash"))  # of the real file
    file = fetching.torch_file(timm.models.get_pretrained_cfg(NAME).url)
    file.parent.mkdir(parents=True)
    state = timm.create_model(NAME, pretrained=False).state_dict()
    torch.save(state, file)
    with pytest.raises(RuntimeError, match="does not reach huggingface.co"):
        check_weights(NAME)
    monkeypatch.setenv("TIMM_USE_OLD_CACHE", "1")
    check_weights(NAME)
    weights = build_backbone(NAME, channels=3).network.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in weights.items())


HOSTS = {
    NAME: "huggingface.co",
    "gcvit_base.in1k": "github.com",  # which the hub has not
    "resnet18": "pytorch.org",
    "mobilenet_v3_small": "pytorch.org",
}


@pytest.mark.parametrize("name, host", HOSTS.items())
def test_weights_that_no_cache_has_are_refused_at_once(name, host):
    with pytest.raises(RuntimeError, match=f"does not reach .*{host}.* --weights"):
        check_weights(name)


def test_a_network_on_the_hub_that_no_cache_has_is_not_waited_for():
    with pytest.raises(RuntimeError, match="does not reach huggingface.co.* --weights"):
        build_backbone(NAME, channels=3)
    assert constants.HF_HUB_OFFLINE is False


def test_weights_in_the_cache_of_torch_are_at_hand(tmp_path):
    file = fetching.torch_file("https://download.pytorch.org/models/resnet18-f37072fd.pth")
    assert file == tmp_path / "torch" / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"weights")
    check_weights("resnet18")


def test_a_host_that_takes_no_connection_is_not_reached(monkeypatch):
    """As of the nodes of a cluster, which find its address."""
    monkeypatch.undo()
    monkeypatch.setattr(fetching, "getproxies", dict)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{server.getsockname()[1]}/models"
        assert not fetching.is_reached(url)
        server.listen()
        assert fetching.is_reached(url)


def test_a_network_without_pretrained_weights_needs_none():
    check_weights("conv4")


def test_a_proxy_is_asked_in_its_own_way(monkeypatch):
    monkeypatch.setattr(fetching, "getproxies", lambda: {"https": "http://proxy:3128"})
    check_weights(NAME)
    check_weights("resnet18")


def test_hosts_that_no_proxy_is_for_are_not_a_proxy(monkeypatch):
    monkeypatch.setattr(fetching, "getproxies", lambda: {"no": "localhost"})
    with pytest.raises(RuntimeError, match="does not reach huggingface.co"):
        check_weights(NAME)


def test_a_hub_that_must_not_be_asked_is_not_waited_for(monkeypatch, request):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(fetching, "is_reached", lambda url: True)
    with pytest.raises(RuntimeError, match="HF_HUB_OFFLINE is set.* --weights"):
        check_weights(NAME)
    request.getfixturevalue("cached")
    check_weights(NAME)


def test_a_run_is_refused_before_its_images_are_read(tmp_path, capsys):
    make_learnable_folder(tmp_path / "images", ("a", "b"), 4)
    flags = ("--backbone", "resnet18", "--method", "DR")
    status = train_small(tmp_path / "images", tmp_path / "record", *flags)[0]
    assert status == 2 and "does not reach" in capsys.readouterr().err
    assert not (tmp_path / "record").exists()
    assert [
        path.name for path in (tmp_path / "images").iterdir() if path.name.startswith(".")
    ] == []
