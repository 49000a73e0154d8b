"""Backbones: images (B, channels, H, W), floats in [0, 1] -> embeddings (B, D)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from torch import nn

from models import timm_networks
from models.fetching import NoNetwork, check_url, torch_file
from models.small_images import cifar_resnet18, wide_resnet28_8
from models.timm_networks import LEGACY_STEM, Network, TimmNetwork
from models.weights_file import fill, read_weights
from registry import Option, Registry, filled, positive_int, settle, switch

HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


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


def mobilenet_v3_small(channels: int, fresh: bool) -> nn.Module:
    """torchvision's, which timm has not. torchvision is imported when this is called: importing
    takes longer than most command lines.
    """
    from torchvision.models import mobilenet_v3_small

    return mobilenet_v3_small(dropout=0.0)


@dataclass(frozen=True)
class Spec:
    """A kind of backbone that is not timm's.

    Attributes:
        make: (channels, fresh, **options) -> network; fresh is False where weights will be loaded
            over the initial ones.
        stem, last: Names of the first convolution and of the last layer, a linear one, in the
            network.
        torchvision: Name of torchvision's weights trained on ImageNet, or None.
        normalisation: Mean and standard deviation of RGB that the weights expect.
        smallest: Least height and width of images, in pixels.
        dropout: Share of the features that is dropped before the last layer while training. The
            network that `make` returns drops none there: features are what is behind the trunk.
        own_stem: Whether the first convolution takes the images' channels as they are, instead of
            RGB.
        summary: What it is, in a few words.
        own_options: What `make` takes beyond.
    """

    make: Callable[..., nn.Module]
    stem: str
    last: str
    torchvision: str | None = None
    normalisation: tuple[tuple[float, ...], tuple[float, ...]] = HALF
    smallest: int = 1
    dropout: float = 0.0
    own_stem: bool = False
    summary: str = ""
    own_options: tuple[Option, ...] = ()

    @property
    def options(self) -> tuple[Option, ...]:
        """Those of `make`, and what only networks with a pretrained first convolution take."""
        return self.own_options if self.torchvision is None else (LEGACY_STEM, *self.own_options)

    @property
    def pretrained(self) -> bool:
        """Whether there are weights to start from."""
        return self.torchvision is not None

    def check(self, name: str, image_size: tuple[int, int] | None) -> None:
        """Raises: ValueError: If the images are too small."""
        if image_size is not None and min(image_size) < self.smallest:
            height, width = image_size
            raise ValueError(
                f"--backbone {name} needs images of at least {self.smallest} x {self.smallest}"
                f" pixels, got {height} x {width}; use --resize {self.smallest} or more, or another"
                " backbone"
            )

    def network(self, channels: int, fresh: bool, own: Mapping[str, object]) -> Network:
        """The network, in the place of whose last layer is an `nn.Identity`."""
        module = self.make(channels, fresh, **own)
        outer, _, child = self.last.rpartition(".")
        feature_dim = module.get_submodule(self.last).in_features
        setattr(module.get_submodule(outer), child, nn.Identity())
        mean, std = self.normalisation
        return Network(module, feature_dim, tuple(mean), tuple(std), last=(self.last,))


# the networks that go by another name here, and those that timm has not; all others are timm's
BACKBONES = Registry(
    Option(
        "backbone",
        filled,
        "inception",
        "NAME",
        help="network that embeds the images: one of these or of timm's by its name (see"
        " --list_backbones), such as convnext_tiny or vit_small_patch14_dinov2; or a folder with"
        " its config.json and model.safetensors",
    ),
    {
        "inception": TimmNetwork(
            "inception",
            "inception_v3.tv_in1k",
            torchvision="Inception_V3_Weights.IMAGENET1K_V1",
            dropout=0.5,
            summary="Inception v3, timm's inception_v3.tv_in1k",
        ),
        "resnet50": TimmNetwork(
            "resnet50",
            "resnet50.tv_in1k",
            {"zero_init_last": False},
            torchvision="ResNet50_Weights.IMAGENET1K_V1",
            summary="timm's resnet50.tv_in1k",
        ),
        "resnet18": TimmNetwork(
            "resnet18",
            "resnet18.tv_in1k",
            {"zero_init_last": False},
            torchvision="ResNet18_Weights.IMAGENET1K_V1",
            summary="timm's resnet18.tv_in1k",
        ),
        "mobilenet_v3_small": Spec(
            mobilenet_v3_small,
            stem="features.0.0",
            last="classifier.3",
            torchvision="MobileNet_V3_Small_Weights.IMAGENET1K_V1",
            normalisation=((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            dropout=0.2,
            summary="torchvision's",
        ),
        "conv4": Spec(
            lambda channels, fresh: conv4(channels),
            stem="0",
            last="18",
            smallest=16,
            own_stem=True,
            summary="four small convolutions, without pretrained weights",
        ),
        "wide_resnet28_8": Spec(
            wide_resnet28_8,
            stem="stem",
            last="head.fc",
            smallest=8,
            own_stem=True,
            summary="WideResNet-28-8, for images of 32 pixels, without pretrained weights",
        ),
        "cifar_resnet18": Spec(
            cifar_resnet18,
            stem="conv1",
            last="fc",
            smallest=8,
            own_stem=True,
            summary="ResNet-18 for images of 32 pixels, without pretrained weights",
        ),
    },
    others=timm_networks.find,
)

# of every backbone
OPTIONS = (
    BACKBONES.option,
    Option(
        "rand_backbone",
        switch,
        False,
        help="start from random weights instead of pretrained ones; conv4 always does",
        rebuilt=True,
    ),
    Option(
        "weights",
        filled,
        None,
        "FILE",
        "start from the weights in this file (safetensors, or a state dict that torch.save wrote)"
        " instead of downloading pretrained ones",
        names_file=True,
        rebuilt=None,
    ),
    Option(
        "list_backbones",
        filled,
        None,
        "PATTERN",
        "print the names of networks that match, such as 'convnext*', and end",
        alone="*",
        machine=True,
        shows=lambda pattern: _list(pattern),
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
        network: Images -> features (B, F).
        dim: D.
        dropout: Share of the features that is dropped before the projection while training.
        normalisation: Mean and deviation of each channel that the first convolution takes.

    Attributes:
        network: The trunk behind the normalisation.
        projection: The linear layer from features to embeddings, (D, F).
        dim: D. feature_dim: F.
        mean, std: Normalisation, (1, channels of the first convolution, 1, 1).
        last: Names of the last layer in files of weights, in whose place the projection is.
        made_from: What makes the network again where its weights are known (see `Network`).
        notes: What to tell the user once about how it was made.
    """

    def __init__(
        self,
        network: Network,
        dim: int,
        dropout: float,
        normalisation: tuple[Sequence[float], Sequence[float]],
    ):
        super().__init__()
        self.network, self.made_from, self.notes = network.module, network.made_from, ()
        self.last = network.last
        self.dropout, self.projection = nn.Dropout(dropout), nn.Linear(network.feature_dim, dim)
        for name, values in zip(("mean", "std"), normalisation):
            self.register_buffer(name, torch.tensor(values).reshape(1, -1, 1, 1))
        self.register_load_state_dict_pre_hook(_take_over_last_layer)

    @property
    def dim(self) -> int:
        return self.projection.out_features

    @property
    def feature_dim(self) -> int:
        return self.projection.in_features

    @property
    def trunk_device(self) -> torch.device:
        """Where the trunk computes."""
        return self.mean.device

    def move_trunk(self, device: torch.device) -> None:
        """Lets the trunk compute on another device than the rest, in the plain layout: the other
        one, channels last, has given wrong numbers on some.
        """
        self.network.to(device, memory_format=torch.contiguous_format)
        self.mean, self.std = self.mean.to(device), self.std.to(device)

    def trunk(self, images: torch.Tensor) -> torch.Tensor:
        """Images (B, channels, H, W), floats in [0, 1], where the trunk is -> features (B, F)."""
        return self.network((images - self.mean) / self.std)  # one channel broadcasts to three

    def project(self, features: torch.Tensor) -> torch.Tensor:
        """Features (B, F) -> embeddings (B, D)."""
        return self.projection(self.dropout(features))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images (B, channels, H, W), floats in [0, 1] -> embeddings (B, D)."""
        return self.project(self.trunk(images))


def _take_over_last_layer(backbone: Backbone, state: dict, prefix: str, *_: object) -> None:
    """Runs of earlier versions have the projection in the place of the network's last layer."""
    for last in backbone.last:
        for part in ("weight", "bias"):
            before = f"{prefix}network.{last}.{part}"
            if before in state:
                state[f"{prefix}projection.{part}"] = state.pop(before)


def _list(pattern: str) -> str:
    """What --list_backbones shows: the names that match a pattern of the shell, with the least that
    is worth knowing of each.

    Raises: ValueError: If there is none.
    """
    rows = [(name, part.summary) for name, part in BACKBONES.items() if fnmatchcase(name, pattern)]
    rows += timm_networks.list_rows(pattern)
    if not rows:
        raise ValueError(f"no network has a name like {pattern!r}; try '*{pattern.strip('*')}*'")
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:{width}}  {text}".rstrip() for name, text in rows)


def has_pretrained(name: str) -> bool:
    """Whether there are pretrained weights for a backbone. Raises: ValueError: If there is no such
    backbone.
    """
    return BACKBONES.find(name).pretrained


def is_known(name: str) -> bool:
    """Whether there is a backbone of this name, and all that describes it can be had."""
    try:
        BACKBONES.find(name)
    except ValueError:
        return False
    return True


def check_weights(name: str) -> None:
    """Looks whether the pretrained weights of a backbone are in a cache, or there is a network to
    fetch them by; before images are read, say.

    Raises: RuntimeError: If neither.
    """
    spec = BACKBONES.find(name)
    if spec.torchvision is None:
        if isinstance(spec, TimmNetwork):
            spec.check_weights()
        return
    url = _of_torchvision(spec.torchvision).url
    try:
        check_url(url)
    except NoNetwork as error:
        raise RuntimeError(_not_had(name, url, error)) from error


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
    made_from: Mapping[str, object] | None = None,
    **own: object,
) -> Backbone:
    """A backbone with a fresh projection.

    Args:
        name: Key of BACKBONES, or of a network of timm (see `timm_networks.find`).
        channels: 1 or 3.
        dim: Dimension D of the embeddings.
        pretrained: Start from pretrained weights, downloaded once into a cache, or from `weights`.
        weights: File with a state dict of the network, or a checkpoint of this project. Its last
            layer becomes the projection where the shape fits, and is left out otherwise.
        legacy_stem: Replace the first convolution by a fresh one for the images' channels, as
            published.
        normalize: Subtract mean and divide by standard deviation, as the weights expect.
        image_size: Height and width of the images to come, or the side of square ones.
        made_from: Of a recorded run, instead of the name (see `Network`); its weights are to come.
        own: Options that this kind of backbone alone declares; None is the default.

    Raises:
        ValueError: If an option is out of range or has no meaning for this backbone, or the file
            does not fit.
        FileNotFoundError: If the file is not there.
        RuntimeError: If the pretrained weights can neither be found nor downloaded.
    """
    spec = BACKBONES.find(name) if made_from is None else timm_networks.again(made_from)
    own = settle(spec.own_options, own, f"--backbone {name}")
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    _check(name, spec, channels, pretrained, weights, legacy_stem)
    source, file = None, weights
    if pretrained and weights is None and isinstance(spec, TimmNetwork) and spec.weights_file:
        file = spec.weights_file()
    if isinstance(spec, TimmNetwork):
        by_timm = pretrained and file is None and spec.torchvision is None
        network = spec.make(channels, None if made_from else size, by_timm)
    else:
        spec.check(name, size)
        network = spec.network(channels, not pretrained, own)
    own_channels = channels if legacy_stem or spec.own_stem else len(network.mean)
    normalisation = _normalisation(network, own_channels, normalize)
    backbone = Backbone(network, dim, spec.dropout, normalisation)
    if pretrained and file is not None:
        source = f"--weights {file}" if weights is not None else f"--backbone {name}: {file}"
        backbone.notes = fill(backbone, network, read_weights(file), source)
    elif pretrained and spec.torchvision is not None:
        state = _download(name, spec.torchvision)
        state = {key: state[key] for key in state if key.rpartition(".")[0] not in network.last}
        fill(backbone, network, state, f"the ImageNet weights of {name}")
    if legacy_stem:
        _replace_stem(network.module, spec.stem, channels)
    return backbone


def _check(name, spec, channels, pretrained, weights, legacy_stem) -> None:
    if channels not in (1, 3):
        raise ValueError(f"images must have 1 channel (grey) or 3 (RGB), got {channels}")
    if weights is not None and not pretrained:
        raise ValueError(
            "--rand_backbone starts from random weights and --weights from a file; give one of the"
            " two"
        )
    if pretrained and weights is None and not spec.pretrained:
        raise ValueError(
            f"there are no pretrained weights for --backbone {name}; add --rand_backbone or"
            " --weights FILE"
        )
    if legacy_stem and LEGACY_STEM not in spec.options:
        raise ValueError(
            f"--legacy_stem replaces a pretrained first convolution over pixels, which {name} has"
            " not; drop it"
        )


def _download(name: str, torchvision_name: str) -> Mapping[str, torch.Tensor]:
    weights = _of_torchvision(torchvision_name)
    try:
        return weights.get_state_dict(
            progress=True, check_hash=True, map_location="cpu", weights_only=True
        )
    except Exception as error:  # no network, no space, or a damaged file in the cache, which can
        # raise anything
        raise RuntimeError(_not_had(name, weights.url, error)) from error


def _of_torchvision(name: str):
    import torchvision

    return torchvision.models.get_weight(name)


def _not_had(name: str, url: str, error: Exception) -> str:
    return (
        f"the ImageNet weights of {name} could not be had ({error}). Start from random weights with"
        f" --rand_backbone, or download {url} on another machine and either give the file with"
        f" --weights FILE or put it at {torch_file(url)}"
    )


def _replace_stem(network: nn.Module, name: str, channels: int) -> None:
    outer, _, child = name.rpartition(".")
    old = network.get_submodule(name)
    stem = nn.Conv2d(
        channels,
        old.out_channels,
        old.kernel_size,
        old.stride,
        old.padding,
        bias=old.bias is not None,
    )
    setattr(network.get_submodule(outer), child, stem)


def _normalisation(
    network: Network, channels: int, normalize: bool
) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and deviation of each channel that the first convolution takes; those of grey are the
    means of RGB's.
    """
    mean, std = (network.mean, network.std) if normalize else ((0.0,) * 3, (1.0,) * 3)
    if channels == 1:
        mean, std = (sum(mean) / len(mean),), (sum(std) / len(std),)
    return mean, std
