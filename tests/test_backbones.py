"""Backbones: shapes, normalisation, grey images, weights from files, and what is said without a
network.
"""

from urllib.error import URLError

import pytest
import torch
import torchvision
from torch.nn import functional as F
from torch.testing import assert_close

from models import BACKBONES, build_backbone, has_pretrained

SIDE = {"inception": 75, "conv4": 16}  # others take anything
FEATURES = {
    "inception": 2048,
    "resnet50": 2048,
    "resnet18": 512,
    "mobilenet_v3_small": 1024,
    "conv4": 256,
    "wide_resnet28_8": 512,
    "cifar_resnet18": 512,
}


@pytest.fixture(scope="module")
def resnet_file(tmp_path_factory):
    """A torchvision resnet18 with random weights and statistics, saved as torchvision's own files
    are.
    """
    torch.manual_seed(0)
    network = torchvision.models.resnet18()
    for name, buffer in network.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.uniform_(0.5, 1.5)
    file = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(network.state_dict(), file)
    return file


def prefixed(prefix, state):
    return {prefix + name: value for name, value in state.items()}


def from_file(file, **options):
    return build_backbone(
        "resnet18", **{"channels": 3, "dim": 8, "weights": file, **options}
    ).eval()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", list(BACKBONES))
def test_a_backbone_embeds_images_of_its_smallest_size(name, channels):
    side = SIDE.get(name, 32)
    backbone = build_backbone(
        name, channels=channels, dim=5, pretrained=False, image_size=side
    ).eval()
    assert backbone(torch.rand(2, channels, side, side + 3)).shape == (2, 5)
    assert backbone.dim == backbone.projection.out_features == 5
    assert backbone.feature_dim == FEATURES[name]


@pytest.mark.parametrize("name", ["inception", "resnet18", "mobilenet_v3_small", "conv4"])
def test_a_backbone_in_training_mode_returns_embeddings_with_gradients_everywhere(name):
    side = SIDE.get(name, 32)
    backbone = build_backbone(name, channels=3, dim=5, pretrained=False).train()
    embeddings = backbone(torch.rand(3, 3, side, side))
    embeddings.square().sum().backward()
    assert embeddings.shape == (3, 5) and all(
        parameter.grad is not None for parameter in backbone.parameters()
    )


@pytest.mark.parametrize("name", list(BACKBONES))
def test_the_stem_is_the_first_convolution(name):
    backbone, spec = build_backbone(name, channels=3, pretrained=False), BACKBONES[name]
    modules = list(backbone.network.modules())
    assert backbone.network.get_submodule(spec.stem) is next(
        m for m in modules if isinstance(m, torch.nn.Conv2d)
    )


TORCHVISION = {"inception": "inception_v3", "resnet18": "resnet18", "resnet50": "resnet50"}


@pytest.mark.parametrize("name", TORCHVISION)
def test_timms_network_is_torchvisions_weight_by_weight_and_in_its_features(name):
    side, settings = SIDE.get(name, 40), {}
    if name == "inception":
        settings = {"aux_logits": False, "init_weights": False}
    torch.manual_seed(0)
    theirs = torchvision.models.get_model(TORCHVISION[name], **settings).eval()
    theirs.fc = torch.nn.Identity()
    for buffer in theirs.buffers():
        if buffer.is_floating_point():
            torch.nn.init.uniform_(buffer, 0.5, 1.5)
    backbone = build_backbone(name, channels=3, pretrained=False).eval()
    assert list(backbone.network.state_dict()) == list(theirs.state_dict())
    backbone.network.load_state_dict(theirs.state_dict())
    images = torch.rand(2, 3, side, side)
    features = theirs((images - backbone.mean) / backbone.std).detach()
    tolerance = 1e-4 * float(features.std())
    assert_close(backbone.trunk(images).detach(), features, rtol=1e-4, atol=tolerance)


@pytest.mark.parametrize("name", [name for name in BACKBONES if has_pretrained(name)])
def test_normalisation_is_what_torchvision_gives_with_these_weights(name):
    weights = torchvision.models.get_weight(BACKBONES[name].torchvision)
    backbone = build_backbone(name, channels=3, pretrained=False)
    transforms = weights.transforms()
    images = torch.rand(2, 3, 4, 4)
    mean, std = (
        torch.tensor(values).reshape(3, 1, 1) for values in (transforms.mean, transforms.std)
    )
    expected = (images - mean) / std
    if name == "inception":  # whose network then turns this into its own normalisation
        network = torchvision.models.inception_v3(
            transform_input=True, aux_logits=False, init_weights=False
        )
        expected = network._transform_input(expected)
    assert_close((images - backbone.mean) / backbone.std, expected)


@pytest.mark.parametrize("name", ["inception", "mobilenet_v3_small", "conv4"])
def test_embedding_is_projecting_what_the_trunk_makes_of_images(name):
    backbone = build_backbone(name, channels=3, dim=5, pretrained=False).eval()
    images = torch.rand(2, 3, SIDE.get(name, 32), SIDE.get(name, 32))
    features = backbone.trunk(images)
    assert features.shape == (2, backbone.feature_dim)
    assert_close(backbone.project(features), backbone(images))
    layer = backbone.projection
    assert_close(backbone(images), F.linear(features, layer.weight, layer.bias))


def test_features_are_dropped_behind_the_trunk_and_only_while_training():
    backbone, features = (
        build_backbone("inception", channels=3, pretrained=False),
        torch.ones(9, 2048),
    )
    seen = []
    backbone.projection.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    for mode in (True, False):
        backbone.train(mode).project(features)
    dropped = (seen[0] == 0).float().mean()
    assert 0.45 < dropped < 0.55 and set(seen[0].unique().tolist()) == {0.0, 2.0}
    assert torch.equal(seen[1], features)
    assert not any(m.p for m in backbone.network.modules() if isinstance(m, torch.nn.Dropout))


@pytest.mark.parametrize("name", ["resnet18", "conv4"])
def test_a_checkpoint_of_an_earlier_version_loads_to_the_same_embeddings(name):
    backbone, other = (build_backbone(name, channels=3, dim=5, pretrained=False) for _ in range(2))
    last = {"resnet18": "fc", "conv4": "18"}[name]
    before = {
        key.replace("projection.", f"network.{last}."): value
        for key, value in backbone.state_dict().items()
    }
    assert f"network.{last}.weight" in before
    other.load_state_dict(before)
    images = torch.rand(2, 3, 32, 32)
    assert_close(backbone.eval()(images), other.eval()(images))
    assert f"network.{last}.weight" in before  # the caller's own is not changed


def test_without_normalisation_the_network_sees_the_image():
    backbone = build_backbone("resnet18", channels=3, pretrained=False, normalize=False).eval()
    images = torch.rand(2, 3, 32, 32)
    assert_close(backbone.trunk(images), backbone.network(images))


def test_a_grey_image_gives_exactly_what_its_rgb_copy_gives(resnet_file):
    torch.manual_seed(1)
    grey = from_file(resnet_file, channels=1)
    rgb = from_file(resnet_file, channels=3)
    rgb.projection.load_state_dict(grey.projection.state_dict())
    images = torch.rand(2, 1, 40, 40)
    assert torch.equal(grey(images), rgb(images.expand(-1, 3, -1, -1)))


def test_for_grey_images_the_first_convolution_is_the_sum_of_its_rgb_filters(resnet_file):
    backbone, images = from_file(resnet_file, channels=1), torch.rand(1, 1, 40, 40)
    weight = backbone.network.conv1.weight / backbone.std
    constant = (weight * backbone.mean).sum(dim=(1, 2, 3))
    summed = F.conv2d(
        images, weight.sum(dim=1, keepdim=True), stride=2, padding=3
    ) - constant.reshape(1, -1, 1, 1)
    exact = backbone.network.conv1((images - backbone.mean) / backbone.std)
    assert_close(summed[..., 2:-2, 2:-2], exact[..., 2:-2, 2:-2], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["inception", "resnet18", "mobilenet_v3_small"])
def test_the_legacy_stem_is_a_fresh_first_convolution_for_the_channels(name, channels):
    backbone = build_backbone(name, channels=channels, pretrained=False, legacy_stem=True).eval()
    plain = build_backbone(name, channels=channels, pretrained=False)
    stem, old = (each.network.get_submodule(BACKBONES[name].stem) for each in (backbone, plain))
    assert stem.in_channels == channels and old.in_channels == 3
    assert (stem.kernel_size, stem.stride, stem.padding, stem.bias) == (
        old.kernel_size,
        old.stride,
        old.padding,
        None,
    )
    assert backbone.mean.shape == (1, channels, 1, 1)
    assert backbone.mean.mean() == pytest.approx(float(plain.mean.mean()))
    assert backbone(torch.rand(2, channels, 80, 80)).shape == (2, 128)


def test_a_file_fills_all_but_the_last_layer_and_the_legacy_stem(resnet_file):
    state = torch.load(resnet_file)
    own, legacy = (
        from_file(resnet_file, legacy_stem=flag).network.state_dict() for flag in (False, True)
    )
    different = {
        name for name in state if name not in own or not torch.equal(own[name], state[name])
    }
    assert different == {"fc.weight", "fc.bias"}
    assert not torch.equal(legacy["conv1.weight"], state["conv1.weight"])
    assert torch.equal(legacy["bn1.running_mean"], state["bn1.running_mean"])
    assert torch.equal(from_file(resnet_file, dim=1000).projection.weight, state["fc.weight"])


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": prefixed("module.", state)},
        lambda state: prefixed("module.", state),
        lambda state: {
            "model": {"head.weight": torch.ones(2), **prefixed("backbone.network.", state)}
        },
        lambda state: {
            "model": {
                **prefixed("backbone.network.", {k: v for k, v in state.items() if "fc." not in k}),
                "backbone.projection.weight": torch.ones(5, 512),
                "backbone.mean": torch.ones(1),
            }
        },
        lambda state: {
            name: value for name, value in state.items() if not name.endswith("num_batches_tracked")
        },
        lambda state: {name: value for name, value in state.items() if not name.startswith("fc.")},
    ],
    ids=[
        "state_dict",
        "model and module",
        "module",
        "own checkpoint of an earlier version",
        "own checkpoint",
        "old torch",
        "no last layer",
    ],
)
def test_files_of_other_programs_are_understood(resnet_file, tmp_path, wrap):
    state = torch.load(resnet_file)
    torch.save(wrap(state), tmp_path / "other.pt")
    found = from_file(tmp_path / "other.pt").network.state_dict()
    assert found.keys() == state.keys() - {"fc.weight", "fc.bias"}
    counted = {name for name in found if name.endswith("num_batches_tracked")}  # not in old ones
    assert all(torch.equal(found[name], state[name]) for name in found.keys() - counted)


def test_the_auxiliary_classifier_of_inception_is_left_out(tmp_path):
    network = torchvision.models.inception_v3(init_weights=False)
    torch.save(network.state_dict(), tmp_path / "inception.pth")
    backbone = build_backbone("inception", channels=3, dim=4, weights=tmp_path / "inception.pth")
    assert torch.equal(
        backbone.network.Conv2d_1a_3x3.conv.weight, network.Conv2d_1a_3x3.conv.weight
    )
    assert not any("AuxLogits" in name for name in backbone.state_dict())


def test_a_file_that_does_not_fit_is_refused_by_the_names_of_its_parts(resnet_file, tmp_path):
    state = torch.load(resnet_file)
    state["stranger.weight"] = state.pop("layer1.0.conv1.weight")
    state["bn1.weight"] = torch.ones(7)
    torch.save(state, tmp_path / "odd.pt")
    pattern = (
        r"odd.pt does not fit.*lacks layer1.0.conv1.weight.*unknown stranger.weight"
        r".*another shape bn1.weight"
    )
    with pytest.raises(ValueError, match=pattern):
        from_file(tmp_path / "odd.pt")
    with pytest.raises(ValueError, match="and [0-9]+ more"):
        build_backbone("mobilenet_v3_small", channels=3, weights=resnet_file)


class Stranger:
    def __reduce__(self):
        return print, ("code from a file ran",)


NO_WEIGHTS = [
    [1, 2],
    {},
    {"epoch": 3},
    {"model": {"a": "b"}},
    Stranger(),
    b"",
    b"not a file of torch",
]


@pytest.mark.parametrize("content", NO_WEIGHTS)
def test_a_file_without_weights_is_refused_and_nothing_in_it_runs(tmp_path, content, capsys):
    file = tmp_path / "bad.pt"
    file.write_bytes(content) if isinstance(content, bytes) else torch.save(content, file)
    with pytest.raises(ValueError, match="--weights .*bad.pt"):
        from_file(file)
    assert capsys.readouterr().out == ""


def test_a_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match="--weights nowhere.pt"):
        from_file("nowhere.pt")


def test_without_network_one_error_names_both_ways_out(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise URLError("Name or service not known")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", refuse)
    with pytest.raises(RuntimeError) as error:
        build_backbone("resnet18", channels=3)
    file = tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    assert all(
        text in str(error.value)
        for text in ("--rand_backbone", "--weights FILE", str(file), "Name or service")
    )


def test_weights_in_the_cache_need_no_network_and_leave_the_last_layer_fresh(
    resnet_file, tmp_path, monkeypatch
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "resnet18-f37072fd.pth").write_bytes(resnet_file.read_bytes())
    backbone, state = build_backbone("resnet18", channels=3, dim=1000), torch.load(resnet_file)
    assert torch.equal(backbone.network.conv1.weight, state["conv1.weight"])
    assert not torch.equal(backbone.projection.weight, state["fc.weight"])
    (folder / "resnet18-f37072fd.pth").write_bytes(b"half a download")
    with pytest.raises(RuntimeError, match="--rand_backbone"):
        build_backbone("resnet18", channels=3)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("vgg", {}, "--backbone vgg: neither timm nor .* did you mean vgg.* --list_backbones"),
        ("resnet50.none", {}, "no such weights of this network; it has .*resnet50.tv_in1k"),
        ("tv_resnet50", {}, "timm calls this network resnet50.tv_in1k now"),
        ("resnet18", {"channels": 4}, "1 channel .* or 3"),
        ("resnet18", {"pretrained": False, "weights": "file.pt"}, "--rand_backbone .* --weights"),
        ("conv4", {}, "no pretrained weights for --backbone conv4; add --rand_backbone"),
        ("conv4", {"pretrained": False, "legacy_stem": True}, "--legacy_stem"),
        (
            "inception",
            {"pretrained": False, "image_size": (128, 74)},
            "at least 75 x 75 pixels, got 128 x 74; use --resize 75",
        ),
    ],
)
def test_options_without_meaning_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        build_backbone(name, **{"channels": 3, **options})


def test_there_are_no_pretrained_weights_for_the_networks_of_small_images():
    without = ["conv4", "wide_resnet28_8", "cifar_resnet18"]
    assert [name for name in BACKBONES if not has_pretrained(name)] == without


@pytest.mark.parametrize("name, weights", [("wide_resnet28_8", 23.40), ("cifar_resnet18", 11.22)])
def test_the_networks_of_the_cifar_tables_have_their_published_sizes(name, weights):
    """Millions of weights with a last layer for 100 classes; the first convolution leaves images
    of 32 pixels at their size, and the last one sees 8 x 8 or 4 x 4.
    """
    backbone = build_backbone(name, channels=3, dim=100, pretrained=False, image_size=32)
    count = sum(parameter.numel() for parameter in backbone.parameters())
    assert abs(count / 1e6 - weights) < 0.005
    sides = []
    for module in backbone.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda *call: sides.append(call[2].shape[-1]))
    backbone(torch.rand(2, 3, 32, 32))
    assert sides[0] == 32 and sides[-1] == {"wide_resnet28_8": 8, "cifar_resnet18": 4}[name]
