"""The whole model: size branch, prototypes from streamed sums, state, freezing."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from models import (
    BACKBONES,
    Classifier,
    HeadOptions,
    PrototypeSums,
    build_backbone,
    build_head,
    freeze,
)
from models.freeze import parts

SIZES = torch.tensor([[10.0, 20.0], [100.0, 50.0]])


def make(name="conv4", size_inform=True, method="DR", **options):
    backbone = build_backbone(name, channels=1, dim=4, pretrained=False)
    return Classifier(backbone, build_head(method, 6, HeadOptions(dim=4, **options)), size_inform)


def snapshot(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def moved(model, before):
    return {
        name for name, value in model.state_dict().items() if not torch.equal(value, before[name])
    }


def train_a_step(model):
    model.train()
    model.zero_grad()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    embeddings = model(torch.rand(4, 1, 32, 32), torch.cat([SIZES, SIZES]))
    targets = torch.arange(4)
    if parameters:
        optimizer = torch.optim.Adam(parameters, lr=0.1)
        F.cross_entropy(model.head(embeddings), targets).backward()
        optimizer.step()
    model.head.update_after_step(embeddings.detach(), targets)


def test_the_size_branch_adds_a_linear_map_of_the_logarithms():
    model, images = make().eval(), torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        model.size_branch.weight.copy_(
            torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, -1.0], [0.0, 0.0]])
        )
        model.size_branch.bias.copy_(torch.tensor([0.0, 0.0, 0.0, 3.0]))
    added = model(images, SIZES) - model.backbone(images)
    expected = [
        [math.log(10), math.log(20), math.log(0.5), 3.0],
        [math.log(100), math.log(50), math.log(2.0), 3.0],
    ]
    assert_close(added, torch.tensor(expected), atol=1e-5, rtol=1e-5)


def test_without_size_branch_sizes_are_not_looked_at_and_with_it_they_are_needed():
    images, plain = torch.rand(2, 1, 32, 32), make(size_inform=False).eval()
    assert_close(plain(images, SIZES), plain(images))
    with pytest.raises(ValueError, match="--size_inform"):
        make()(images)


def test_the_size_branch_stays_in_float32_under_autocast():
    model, images = make().eval(), torch.zeros(2, 1, 32, 32)
    with torch.no_grad():
        (
            torch.nn.init.zeros_(model.backbone.projection.weight),
            torch.nn.init.zeros_(model.backbone.projection.bias),
        )
    with torch.autocast("cpu", torch.bfloat16):
        embeddings = model(images, SIZES)
    assert_close(embeddings, model.size_branch(SIZES.log()), rtol=1e-6, atol=1e-6)


def test_bytes_are_images_between_0_and_1():
    model, images = make().eval(), torch.randint(0, 256, (2, 1, 32, 32), dtype=torch.uint8)
    assert_close(model(images, SIZES), model(images.float() / 255, SIZES))


@pytest.mark.parametrize("precision", [torch.float32, torch.float16])
def test_features_of_the_trunk_are_embedded_as_their_images(precision):
    model, images = make().eval(), torch.rand(2, 1, 32, 32)
    features = model.backbone.trunk(images).to(precision)
    tolerance = 1e-6 if precision == torch.float32 else 1e-3
    assert_close(model(features, SIZES), model(images, SIZES), atol=tolerance, rtol=tolerance)


def test_a_head_of_another_dimension_is_refused():
    with pytest.raises(ValueError, match="4 dimensions and the head 5"):
        Classifier(make().backbone, build_head("DR", 6, HeadOptions(dim=5)))


def test_it_shows_its_dimension_and_notes():
    model = Classifier(make().backbone, make().head, notes=["one", "two"])
    assert (model.dim, model.notes) == (4, ("one", "two"))


@pytest.mark.parametrize("options", [{}, {"proxies": "ema", "dynamic": True}])
def test_training_goes_on_from_the_state_as_if_it_had_not_stopped(options):
    torch.manual_seed(0)
    first, second = make(**options), make(**options)
    train_a_step(first)
    second.load_state_dict(snapshot(first))
    for model in (first, second):
        torch.manual_seed(1)
        train_a_step(model)
    assert not moved(first, second.state_dict())


def test_prototypes_are_mean_directions_however_the_images_are_batched():
    embeddings = torch.tensor(
        [[2.0, 0.0], [0.0, 5.0], [3.0, 4.0], [0.0, 0.0], [1.0, 0.0], [-7.0, 0.0]]
    )
    targets = torch.tensor([0, 0, 2, 2, 3, 3])
    whole, parted = PrototypeSums(5, 2), PrototypeSums(5, 2)
    whole.add(embeddings, targets)
    for rows in (slice(0, 1), slice(1, 5), slice(5, 6)):
        parted.add(embeddings[rows], targets[rows])
    nothing = [torch.nan] * 2
    for vectors, counts, means in (whole.result(), parted.result()):
        half = math.sqrt(0.5)
        assert_close(
            vectors,
            torch.tensor([[half, half], nothing, [0.6, 0.8], nothing, nothing]),
            equal_nan=True,
        )
        assert_close(
            means,
            torch.tensor([[0.5, 0.5], nothing, [0.3, 0.4], [0.0, 0.0], nothing]),
            equal_nan=True,
        )
        assert counts.tolist() == [2, 0, 2, 2, 0] and vectors.dtype == torch.float32


def test_sums_as_arrays_are_what_statistics_of_scatter_need():
    torch.manual_seed(0)
    embeddings, targets, sums = torch.randn(50, 3), torch.randint(0, 4, (50,)), PrototypeSums(5, 3)
    sums.add(embeddings, targets)
    arrays, unit = sums.arrays(), F.normalize(embeddings).double().numpy()
    for c in range(4):
        own = unit[targets.numpy() == c]
        np.testing.assert_allclose(arrays["class_sums"][c], own.sum(axis=0), atol=1e-6)
        assert arrays["class_sumsq"][c] == pytest.approx(len(own)) and arrays["counts"][c] == len(
            own
        )
    assert np.isnan(arrays["prototypes"][4]).all()


def test_prototypes_of_half_precision_embeddings_are_summed_exactly():
    torch.manual_seed(0)
    embeddings, targets = torch.randn(300, 8).bfloat16(), torch.zeros(300, dtype=torch.int64)
    sums = PrototypeSums(1, 8)
    sums.add(embeddings, targets)
    assert_close(sums.result().means[0], F.normalize(embeddings.double()).mean(dim=0).float())


@pytest.mark.parametrize("name", list(BACKBONES))
def test_every_part_of_every_backbone_holds_parameters_and_together_they_are_all(name):
    model = make(name)
    found = parts(model)
    assert all(found.values()) and set(found) == {"trunk", "projection", "size", "head"}
    assert sum(map(len, found.values())) == len(list(model.parameters()))
    assert {tuple(value.shape) for value in found["projection"].values()} == {
        (4, model.backbone.feature_dim),
        (4,),
    }
    assert (
        not make("conv4", size_inform=False, proxies="ema").state_dict().keys()
        & found["size"].keys()
    )


FROZEN = {"none": set(), "last": {"projection", "size", "head"}, "butlast": {"trunk"}}
FROZEN["all"] = FROZEN["last"] | FROZEN["butlast"]


@pytest.mark.parametrize("name", ["conv4", "resnet18", "mobilenet_v3_small"])
@pytest.mark.parametrize("what", list(FROZEN))
def test_what_is_frozen_does_not_change_and_the_rest_does(what, name):
    torch.manual_seed(0)
    model = make(name)
    freeze(model, what)
    before, expected = snapshot(model), set()
    train_a_step(model)
    for part, parameters in parts(model).items():
        expected |= set() if part in FROZEN[what] else set(parameters)
    changed = moved(model, before)
    assert expected <= changed
    statistics = {key for key in changed if "running" in key or key.endswith("num_batches_tracked")}
    assert changed - statistics == expected
    assert bool(statistics) == (what in ("none", "last"))


def test_a_frozen_trunk_is_always_the_same_function():
    model, images = make(), torch.rand(4, 1, 32, 32)
    model.backbone.network.insert(0, torch.nn.Dropout(0.5))
    freeze(model, "butlast")
    model.train()
    assert model.backbone.projection.training and not model.backbone.network.training
    assert torch.equal(model.backbone.trunk(images), model.backbone.trunk(images))


def test_freezing_nothing_thaws():
    model = make()
    freeze(model, "all"), freeze(model, "none")
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize(
    ("options", "flag"), [({"proxies": "ema"}, "--ema"), ({"dynamic": True}, "--dynamic")]
)
def test_a_head_that_moves_by_itself_is_not_frozen_in_silence(options, flag):
    freeze(make(**options), "butlast")
    for what in ("last", "all"):
        with pytest.raises(ValueError, match=f"--freeze {what} .*{flag}"):
            freeze(make(**options), what)


def test_an_unknown_part_is_refused():
    with pytest.raises(ValueError, match="--freeze must be one of none, last, butlast, all"):
        freeze(make(), "first")
