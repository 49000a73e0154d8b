"""Networks of timm: made for the images, normalised as their own configuration says, their weights
read from files, and runs rebuilt from their folders alone.
"""

import json

import pytest
import timm
import torch
from images import make_learnable_folder
from safetensors.torch import save_file
from timm.data import resolve_model_data_config
from torch.testing import assert_close
from trained import train_small

import evaluate
import train
from evaluation.model import load_model
from models import (
    BACKBONES,
    Classifier,
    HeadOptions,
    build_backbone,
    build_head,
    freeze,
    timm_networks,
)
from models.backbones import _list
from models.freeze import parts
from models.syncnorm import SyncBatchNormAct, _synchronised
from options import command_line
from runs.folder import Run

CONVOLUTIONAL, TRANSFORMER, ACTIVATING = "test_convnext", "test_vit", "test_efficientnet"
SIDE = 32


def build(name, channels=3, **options):
    options = {"pretrained": False, "image_size": SIDE, "dim": 5, **options}
    torch.manual_seed(0)
    return build_backbone(name, channels=channels, **options).eval()


def refusal(*args, **options) -> str:
    with pytest.raises((ValueError, RuntimeError)) as error:
        build(*args, **options)
    return str(error.value)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", [CONVOLUTIONAL, TRANSFORMER, ACTIVATING, "resnet10t"])
def test_a_network_embeds_grey_and_colour(name, channels):
    backbone, images = build(name, channels), torch.rand(2, channels, SIDE, SIDE)
    features = backbone.trunk(images)
    assert features.shape == (2, backbone.feature_dim)
    assert backbone(images).shape == (2, 5)
    theirs = timm.create_model(name, num_classes=0, **backbone.made_from["settings"]).eval()
    theirs.load_state_dict(backbone.network.state_dict())
    config = resolve_model_data_config(theirs)
    mean, std = (torch.tensor(config[key]).reshape(3, 1, 1) for key in ("mean", "std"))
    assert_close(features, theirs((images.expand(-1, 3, -1, -1) - mean) / std))


@pytest.mark.parametrize(
    "name, mean",
    [
        ("resnet50.tv_in1k", 0.485),
        ("tf_efficientnet_lite0", 0.5),
        ("vit_tiny_patch16_224.augreg_in21k", 0.5),
        ("deit_tiny_patch16_224", 0.485),
        ("convnext_atto.d2_in1k", 0.485),
        ("mixer_s32_224", 0.5),
        ("vit_base_patch32_clip_224.openai", 0.48145466),
        ("mobilenetv4_conv_small_035.untrained", 0.5),
    ],
)
def test_normalisation_is_timms_own(name, mean):
    spec = BACKBONES.find(name)
    config = timm.data.resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
    assert tuple(spec._value("mean")) == tuple(config["mean"]) and spec._value("mean")[0] == mean
    if "base" not in name:
        backbone = build(name, image_size=64)
        assert_close(backbone.mean.flatten(), torch.tensor(config["mean"]))
        assert_close(backbone.std.flatten(), torch.tensor(config["std"]))


def test_weights_of_other_sizes_of_images_are_resampled_as_timm_does(tmp_path):
    theirs = timm.create_model(TRANSFORMER, num_classes=7)
    save_file(theirs.state_dict(), tmp_path / "weights.safetensors")
    backbone = build(TRANSFORMER, pretrained=True, weights=tmp_path / "weights.safetensors")
    expected = timm.create_model(TRANSFORMER, num_classes=0, img_size=SIDE)
    timm.models.load_checkpoint(
        expected,
        tmp_path / "weights.safetensors",
        filter_fn=timm.models.vision_transformer.checkpoint_filter_fn,
        strict=False,
    )
    assert backbone.network.pos_embed.shape != theirs.pos_embed.shape
    assert_close(backbone.network.state_dict(), expected.state_dict())
    assert backbone.notes[0].endswith("left out head.bias, head.weight")


@pytest.mark.parametrize(
    "prefix, suffix",
    [
        ("", ".safetensors"),
        ("module.", ".pth"),
        ("model.", ".safetensors"),
        ("backbone.", ".pth"),
        ("module._orig_mod.", ".pth"),
    ],
)
def test_one_prefix_of_any_kind_is_left_out(tmp_path, prefix, suffix):
    theirs, file = timm.create_model(CONVOLUTIONAL, num_classes=5), tmp_path / f"weights{suffix}"
    state = {f"{prefix}{key}": value for key, value in theirs.state_dict().items()}
    state["decoder.weight"] = torch.ones(2)
    (save_file if suffix == ".safetensors" else torch.save)(state, file)
    backbone = build(CONVOLUTIONAL, pretrained=True, weights=file)
    images = torch.rand(2, 3, SIDE, SIDE)
    expected = theirs.eval()((images - backbone.mean) / backbone.std)
    assert_close(backbone(images), expected)  # 5 classes: the last layer fits the embedding
    assert backbone.notes == (f"--weights {file}: left out decoder.weight",)


def test_a_file_of_a_larger_or_another_network_is_refused(tmp_path):
    file = tmp_path / "weights.safetensors"
    state = build(CONVOLUTIONAL).network.state_dict()
    one = next(iter(state))
    save_file({**state, "stages.9.odd": torch.ones(1)}, file)
    message = refusal(CONVOLUTIONAL, pretrained=True, weights=file)
    assert "does not fit this backbone: it has unknown stages.9.odd" in message
    assert "lacks" in refusal(TRANSFORMER, pretrained=True, weights=file)
    save_file({**state, one: torch.ones(7)}, file)
    message = refusal(CONVOLUTIONAL, pretrained=True, weights=file)
    assert f"has of another shape {one}" in message
    file.write_bytes(file.read_bytes()[:-9])
    assert "damaged or cut off" in refusal(CONVOLUTIONAL, pretrained=True, weights=file)


def test_a_folder_of_timm_is_a_backbone_with_its_own_settings_and_normalisation(tmp_path):
    theirs = timm.create_model(CONVOLUTIONAL, num_classes=5, depths=(1, 1, 1, 1))
    save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    config = {
        "architecture": CONVOLUTIONAL,
        "num_classes": 5,
        "model_args": {"depths": [1, 1, 1, 1]},
        "pretrained_cfg": {**theirs.pretrained_cfg, "mean": [0.1, 0.2, 0.3], "std": [0.4] * 3},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    backbone, images = build(str(tmp_path), pretrained=True), torch.rand(2, 3, SIDE, SIDE)
    mean = torch.tensor([0.1, 0.2, 0.3]).reshape(3, 1, 1)
    assert_close(backbone(images), theirs.eval()((images - mean) / 0.4))
    argv = ["--dataset", "demo", "--method", "DR", "--backbone", str(tmp_path)]
    named = command_line.parse(argv, "", train.DATASETS)
    weights = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights + b" ")  # another network
    other = command_line.parse(argv, "", train.DATASETS)
    assert named[2] != other[2] and tmp_path.name in str(named[2])
    again = build("gone", made_from=json.loads(json.dumps(backbone.made_from)))
    again.load_state_dict(backbone.state_dict())  # normalisation, too
    assert_close(again(images), backbone(images))
    (tmp_path / "config.json").write_text("{}")
    timm_networks._find.cache_clear()
    assert "not the config.json of a network of timm" in refusal(str(tmp_path))


@pytest.mark.parametrize(
    "name, size, message",
    [
        (TRANSFORMER, 40, "patches of 16 x 16 pixels, and 40 x 40 is not a multiple .* 32 or 48"),
        (CONVOLUTIONAL, 8, "needs images of at least [0-9]+ x [0-9]+ pixels, got 8 x 8"),
    ],
)
def test_images_that_a_network_does_not_take_are_refused_with_a_size_that_it_takes(
    name, size, message
):
    with pytest.raises(ValueError, match=message):
        build(name, image_size=size)


def test_the_legacy_stem_is_for_networks_with_a_convolution_over_pixels():
    assert build(CONVOLUTIONAL, 1, legacy_stem=True).network.stem[0].in_channels == 1
    assert "--legacy_stem" in refusal(TRANSFORMER, legacy_stem=True)


def test_without_network_the_message_says_what_to_fetch_and_where_to_put_it(monkeypatch):
    def refuse(*args, **options):
        raise OSError("Name or service not known")

    monkeypatch.setattr("timm.models._hub.hf_hub_download", refuse)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", refuse)
    message = refusal("resnet10t.c3_in1k", pretrained=True)
    for text in ("Name or service", "huggingface.co/timm/resnet10t.c3_in1k", "--weights FILE",
                 "hub", "--rand_backbone"):  # fmt: skip
        assert text in message
    message = refusal("somebody/network", pretrained=True)
    assert "huggingface.co/somebody/network" in message and "--backbone FOLDER" in message


def test_names_on_the_hub_are_timms_own():
    assert BACKBONES.find("timm/resnet10t.c3_in1k").architecture == "resnet10t.c3_in1k"
    assert BACKBONES.find("hf-hub:timm/resnet10t.c3_in1k").pretrained


def test_names_are_listed_with_what_is_worth_knowing(capsys):
    with pytest.raises(SystemExit) as stop:
        command_line.parse(["--list_backbones", "resnet10t*"], "", train.DATASETS)
    shown = capsys.readouterr().out
    assert stop.value.code == 0
    assert "resnet10t.c3_in1k" in shown and "176 x 176 pixels, 4.9 million weights" in shown
    assert "resnet50.tv_in1k" in _list("resnet50.tv_*") and "conv4" in _list("conv4")
    with pytest.raises(SystemExit):
        command_line.parse(["--list_backbones", "nothing"], "", train.DATASETS)
    assert "no network has a name like 'nothing'" in capsys.readouterr().err


def test_trunk_and_projection_freeze_apart():
    model = Classifier(build(TRANSFORMER), build_head("DR", 4, HeadOptions(dim=5)))
    freeze(model, "butlast")
    trained = {name for name, value in model.named_parameters() if value.requires_grad}
    assert trained == {"backbone.projection.weight", "backbone.projection.bias", "head.weight"}
    assert len(parts(model)["trunk"]) == len(list(model.backbone.network.parameters()))


def test_batch_norm_over_processes_keeps_the_activation_that_timm_has_in_it():
    norm = timm.layers.BatchNormAct2d(3)
    norm.running_mean.uniform_(), norm.running_var.uniform_(1, 2)
    images = torch.randn(2, 3, 4, 4)
    other = _synchronised(norm, torch.device("cpu"))
    assert isinstance(other, SyncBatchNormAct)
    assert_close(other.eval()(images), norm.eval()(images))
    assert other.state_dict().keys() == norm.state_dict().keys() and (other(images) >= 0).all()


@pytest.mark.parametrize(
    "network, settings", [(TRANSFORMER, {"img_size": [32, 32]}), (ACTIVATING, {})]
)
def test_a_run_with_a_network_of_timm_is_rebuilt_from_its_folder_alone(tmp_path, network, settings):
    images = make_learnable_folder(tmp_path / "images", ("A/a", "A/b", "B/c"), 6)
    argv = ["--backbone", network, "--rand_backbone", "--method", "DR", "--dim", "4"]
    status, run = train_small(images, tmp_path / "record", *argv, "--resize", "32")
    assert status == 0
    assert run.config["backbone"] == {"architecture": network, "settings": settings}
    model = load_model(Run(run.folder))
    assert_close(model.state_dict(), run.checkpoint("last.pt")["model"])
    assert evaluate.main([str(run.folder), "--data_dir", str(images), "--GPU", "cpu"]) == 0
