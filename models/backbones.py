"""Backbones: images (B, channels, H, W), floats in [0, 1] -> embeddings (B, D)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlparse

import torch
from torch import nn

from files.text import printable, shortened
from models.weights_file import read_weights
from registry import Option, Registry, filled, positive_int, settle, switch

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and standard deviation of R, G, B
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


LEGACY_STEM = Option(
    "legacy_stem",
    switch,
    False,
    help="replace the pretrained first convolution by a random one, as published",
)


def conv4(channels: int = 3) -> nn.Module:
    """Four blocks of convolution, batch norm, ReLU and pooling: small enough to train on two CPU
    cores in minutes.
    """
    layers, width = [], channels
    for wider in (32, 64, 128, 256):
        layers += [
            nn.Conv2d(width, wider, 3, padding=1, bias=False),
            nn.BatchNorm2d(wider),
            nn.ReLU(inplace=True),
        ]
        layers.append(nn.MaxPool2d(2))
        width = wider
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 1000))


def inception(channels: int, fresh: bool) -> nn.Module:
    """torchvision's Inception v3, without its auxiliary classifier."""
    from torchvision.models import inception_v3

    # transform_input stays off: it turns ImageNet's normalisation into (x - 0.5) / 0.5, which
    # Backbone does itself
    return inception_v3(weights=None, aux_logits=False, init_weights=fresh, dropout=0.0)


def from_torchvision(name: str, **settings: object) -> Callable[[int, bool], nn.Module]:
    """A function (channels, fresh) -> the network of that name in torchvision, which is imported
    when it is called: importing takes longer than most command lines.
    """

    def make(channels: int, fresh: bool) -> nn.Module:
        import torchvision

        return torchvision.models.get_model(name, **settings)

    return make


@dataclass(frozen=True)
class Spec:
    """A kind of backbone.

    Attributes:
        make: (channels, fresh, **options) -> network; fresh is False where weights will be loaded
            over the initial ones.
        stem, last: Names of the first convolution and of the last layer, a linear one, in the
            network.
        imagenet: Name of torchvision's weights trained on ImageNet, or None.
        normalisation: Mean and standard deviation of RGB that the weights expect.
        smallest: Least height and width of images, in pixels.
        dropout: Share of the features that is dropped before the last layer while training. The
            network that `make` returns drops none there: features are what is behind the trunk.
        unused: Prefix of what a file of weights holds beyond the network: an auxiliary classifier.
        own_stem: Whether the first convolution takes the images' channels as they are, instead of
            RGB.
        summary: What it is, in a few words.
        options: What `make` takes beyond, and what has a meaning for such networks only.
    """

    make: Callable[..., nn.Module]
    stem: str
    last: str
    imagenet: str | None = None
    normalisation: tuple[tuple[float, ...], tuple[float, ...]] = IMAGENET
    smallest: int = 1
    dropout: float = 0.0
    unused: str | None = None
    own_stem: bool = False
    summary: str = ""
    own_options: tuple[Option, ...] = ()

    @property
    def options(self) -> tuple[Option, ...]:
        """Those of `make`, and what only networks with a pretrained first convolution take."""
        return self.own_options if self.imagenet is None else (LEGACY_STEM, *self.own_options)

    @property
    def weights(self):
        """torchvision's weights trained on ImageNet, or None."""
        if self.imagenet is None:
            return None
        import torchvision

        return torchvision.models.get_weight(self.imagenet)


BACKBONES = Registry(
    Option("backbone", default="inception", help="network that embeds the images"),
    {
        "inception": Spec(
            inception,
            stem="Conv2d_1a_3x3.conv",
            last="fc",
            imagenet="Inception_V3_Weights.IMAGENET1K_V1",
            normalisation=HALF,
            smallest=75,
            dropout=0.5,
            unused="AuxLogits.",
        ),
        "resnet50": Spec(
            from_torchvision("resnet50"),
            stem="conv1",
            last="fc",
            imagenet="ResNet50_Weights.IMAGENET1K_V1",
        ),
        "resnet18": Spec(
            from_torchvision("resnet18"),
            stem="conv1",
            last="fc",
            imagenet="ResNet18_Weights.IMAGENET1K_V1",
        ),
        "mobilenet_v3_small": Spec(
            from_torchvision("mobilenet_v3_small", dropout=0.0),
            stem="features.0.0",
            last="classifier.3",
            dropout=0.2,
            imagenet="MobileNet_V3_Small_Weights.IMAGENET1K_V1",
        ),
        "conv4": Spec(
            lambda channels, fresh: conv4(channels),
            stem="0",
            last="18",
            normalisation=HALF,
            smallest=16,
            own_stem=True,
        ),
    },
)

# of every backbone
OPTIONS = (
    BACKBONES.option,
    Option(
        "rand_backbone",
        switch,
        False,
        help="start from random weights instead of ImageNet's; conv4 always does",
        rebuilt=True,
    ),
    Option(
        "weights",
        filled,
        None,
        "FILE",
        "start from the weights in this file (a state dict) instead of downloading ImageNet's",
        names_file=True,
        rebuilt=None,
    ),
    Option(
        "no_normalize",
        switch,
        False,
        help="feed pixels in [0, 1] without normalisation, as published",
    ),
    Option(
        "dim",
        positive_int,
        128,
        "D",
        "length of an embedding: how many numbers describe an image",
    ),
)


class Backbone(nn.Module):
    """Normalises images and embeds them: a trunk, which pretrained weights fill, and a linear
    projection of its features.

    A network for RGB sees a grey image as its copy in R, G and B. That is the sum of the first
    filters over RGB, each with its own mean and deviation, and unlike one summed filter it is exact
    at padded borders, too.

    Args:
        network: Images -> features (B, F), in the place of whose last layer is an `nn.Identity`.
        spec: What kind of network it is.
        feature_dim: F.
        dim: D.
        normalisation: Mean and deviation of each channel that the first convolution takes.

    Attributes:
        projection: The linear layer from features to embeddings, (D, F).
        dim: D. feature_dim: F.
        mean, std: Normalisation, (1, channels of the first convolution, 1, 1).
    """

    def __init__(
        self,
        network: nn.Module,
        spec: Spec,
        feature_dim: int,
        dim: int,
        normalisation: tuple[list[float], list[float]],
    ):
        super().__init__()
        self.network, self._last_name = network, spec.last
        self.dropout, self.projection = nn.Dropout(spec.dropout), nn.Linear(feature_dim, dim)
        for name, values in zip(("mean", "std"), normalisation):
            self.register_buffer(name, torch.tensor(values).reshape(1, -1, 1, 1))
        self.register_load_state_dict_pre_hook(_take_over_last_layer)

    @property
    def dim(self) -> int:
        return self.projection.out_features

    @property
    def feature_dim(self) -> int:
        return self.projection.in_features

    def trunk(self, images: torch.Tensor) -> torch.Tensor:
        """Images (B, channels, H, W), floats in [0, 1] -> features (B, F)."""
        return self.network((images - self.mean) / self.std)  # one channel broadcasts to three

    def project(self, features: torch.Tensor) -> torch.Tensor:
        """Features (B, F) -> embeddings (B, D)."""
        return self.projection(self.dropout(features))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images (B, channels, H, W), floats in [0, 1] -> embeddings (B, D)."""
        return self.project(self.trunk(images))


def _take_over_last_layer(backbone: Backbone, state: dict, prefix: str, *_: object) -> None:
    """Runs of earlier versions have the projection in the place of the network's last layer."""
    for part in ("weight", "bias"):
        before = f"{prefix}network.{backbone._last_name}.{part}"
        if before in state:
            state[f"{prefix}projection.{part}"] = state.pop(before)


def has_pretrained(name: str) -> bool:
    """Whether there are ImageNet weights for a backbone. Raises: ValueError: If there is no such
    backbone.
    """
    return BACKBONES.find(name).imagenet is not None


def build_backbone(
    name: str,
    *,
    channels: int,
    dim: int = 128,
    pretrained: bool = True,
    weights: str | Path | None = None,
    legacy_stem: bool = False,
    normalize: bool = True,
    image_size: int | tuple[int, int] | None = None,
    **own: object,
) -> Backbone:
    """A backbone with a fresh last layer.

    Args:
        name: Key of BACKBONES.
        channels: 1 or 3.
        dim: Dimension D of the embeddings.
        pretrained: Start from ImageNet weights, downloaded once into torch's cache, or from
            `weights`.
        weights: File with a state dict of the network, as torchvision names its parts, or a
            checkpoint of this project. Its last layer is kept where the shape fits, and fresh
            otherwise.
        legacy_stem: Replace the first convolution by a fresh one for the images' channels, as
            published.
        normalize: Subtract mean and divide by standard deviation, as the weights expect.
        image_size: Height and width of the images to come, or the side of square ones; checked if
            given.
        own: Options that this kind of backbone alone declares; None is the default.

    Raises:
        ValueError: If an option is out of range or has no meaning for this backbone, or the file
            does not fit.
        FileNotFoundError: If the file is not there.
        RuntimeError: If the ImageNet weights can neither be found nor downloaded.
    """
    spec = BACKBONES.find(name)
    own = settle(spec.own_options, own, f"--backbone {name}")
    _check(name, spec, channels, pretrained, weights, legacy_stem, image_size)
    network = spec.make(channels, not pretrained, **own)
    outer, _, child = spec.last.rpartition(".")
    features = network.get_submodule(spec.last).in_features
    setattr(network.get_submodule(outer), child, nn.Identity())
    normalisation = _normalisation(spec, channels if legacy_stem or spec.own_stem else 3, normalize)
    backbone = Backbone(network, spec, features, dim, normalisation)
    if pretrained:
        source = f"the ImageNet weights of {name}" if weights is None else f"--weights {weights}"
        state = _download(name, spec) if weights is None else read_weights(weights)
        _fill(backbone, spec, state, source)
    if legacy_stem:
        _replace_stem(network, spec, channels)
    return backbone


def _check(name, spec, channels, pretrained, weights, legacy_stem, image_size) -> None:
    if channels not in (1, 3):
        raise ValueError(f"images must have 1 channel (grey) or 3 (RGB), got {channels}")
    if weights is not None and not pretrained:
        raise ValueError(
            "--rand_backbone starts from random weights and --weights from a file; give one of the"
            " two"
        )
    if pretrained and weights is None and spec.imagenet is None:
        raise ValueError(
            f"there are no ImageNet weights for --backbone {name}; add --rand_backbone or --weights"
            " FILE"
        )
    if legacy_stem and spec.own_stem:
        raise ValueError(
            f"--legacy_stem replaces a pretrained first convolution, which {name} has not; drop it"
        )
    height, width = (
        (image_size, image_size) if isinstance(image_size, int) else image_size or (None, None)
    )
    if height is not None and min(height, width) < spec.smallest:
        raise ValueError(
            f"--backbone {name} needs images of at least {spec.smallest} x {spec.smallest} pixels,"
            f" got {height} x {width}; use --resize {spec.smallest} or more, or another backbone"
        )


def _download(name: str, spec: Spec) -> Mapping[str, torch.Tensor]:
    try:
        state = spec.weights.get_state_dict(
            progress=True, check_hash=True, map_location="cpu", weights_only=True
        )
    except (
        Exception
    ) as error:  # no network, no space, or a damaged file in the cache, which can raise anything
        file = (
            Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(spec.weights.url).path).name
        )
        raise RuntimeError(
            f"the ImageNet weights of {name} could not be had ({error}). Start from random weights"
            " with"
            f" --rand_backbone, or download {spec.weights.url} on another machine and either give"
            " the file with"
            f" --weights FILE or put it at {file}"
        ) from error
    return _without(state, f"{spec.last}.")


def _fill(backbone: Backbone, spec: Spec, state: Mapping[str, torch.Tensor], source: str) -> None:
    """Copies a state dict into the backbone; all of it but the last layer must be there and fit."""
    network, projection = backbone.network, backbone.projection
    for prefix in ("projection.", f"{spec.last}."):
        last = {key.removeprefix(prefix): state[key] for key in state if key.startswith(prefix)}
        state = _without(state, prefix)
        if {key: value.shape for key, value in last.items()} == {
            key: value.shape for key, value in projection.state_dict().items()
        }:
            projection.load_state_dict(last)
    own = network.state_dict()
    if spec.unused is not None:
        state = _without(state, spec.unused)
    optional = {key for key in own if key.endswith("num_batches_tracked")}  # not in old files
    problems = {
        "lacks": [key for key in own if key not in state and key not in optional],
        "has unknown": [key for key in state if key not in own],
        "has of another shape": [
            key for key in state if key in own and state[key].shape != own[key].shape
        ],
    }
    found = [f"{problem} {_list(keys)}" for problem, keys in problems.items() if keys]
    if found:
        raise ValueError(f"{source} does not fit this backbone: it {'; it '.join(found)}")
    network.load_state_dict(dict(state), strict=False)


def _without(state: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {key: value for key, value in state.items() if not key.startswith(prefix)}


def _list(names: list[str]) -> str:
    shown = [printable(shortened(name)) for name in names[:5]]
    return ", ".join(shown) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _replace_stem(network: nn.Module, spec: Spec, channels: int) -> None:
    outer, _, child = spec.stem.rpartition(".")
    old = network.get_submodule(spec.stem)
    stem = nn.Conv2d(
        channels,
        old.out_channels,
        old.kernel_size,
        old.stride,
        old.padding,
        bias=old.bias is not None,
    )
    setattr(network.get_submodule(outer), child, stem)


def _normalisation(spec: Spec, channels: int, normalize: bool) -> tuple[list[float], list[float]]:
    """Mean and deviation of each channel that the first convolution takes; those of grey are the
    means of RGB's.
    """
    mean, std = spec.normalisation if normalize else ((0.0,) * 3, (1.0,) * 3)
    if channels == 1:
        mean, std = (sum(mean) / 3,), (sum(std) / 3,)
    return list(mean), list(std)
