"""Networks of timm by name: which there are, how one is made for images of some size, and what its
own configuration says about them. timm is imported when it is first needed: that takes seconds.
"""

import difflib
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path

import torch
from torch import nn

from files.text import printable, shortened
from models.fetching import (
    check_hub,
    check_url,
    hub_cache,
    is_in_old_cache,
    not_waiting_for_the_hub,
    torch_file,
)
from registry import Option, switch

LEGACY_STEM = Option(
    "legacy_stem",
    switch,
    False,
    help="replace the pretrained first convolution by a random one, as published; not for networks"
    " that have none over pixels, such as transformers",
)
HUB = "hf-hub:"  # timm's spelling of a repository on Hugging Face
_FOLDER = "--backbone FOLDER (with its config.json and model.safetensors)"


@dataclass(frozen=True)
class Network:
    """A network that was made, and what follows from its kind.

    Attributes:
        module: Images (B, channels, H, W), normalised -> features (B, F); what was its last layer
            is gone.
        feature_dim: F.
        mean, std: Normalisation of each channel that the first convolution takes.
        last: Names of the last layer in files of weights.
        remap: Files of weights in other forms -> the form of this network: such as position
            embeddings of another image size.
        made_from: What makes it again where its weights are known, for config.json; None if its
            name in the registry does.
    """

    module: nn.Module
    feature_dim: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    last: tuple[str, ...] = ()
    remap: Callable[[dict], dict] = field(default=lambda state: state)
    made_from: dict | None = None


@dataclass(frozen=True)
class TimmNetwork:
    """A network of timm.

    Attributes:
        name: How the user spells it.
        architecture: timm's name of it, with the tag of its weights where it has one.
        settings: Arguments that make it, beyond those of its architecture.
        config: What differs from timm's own configuration of this architecture (`pretrained_cfg`).
        weights_file: () -> file with its weights; None: timm knows where they are.
        torchvision: Name of torchvision's weights that it starts from instead of timm's.
        dropout: Share of the features that is dropped before the last layer while training.
        summary: What it is, in a few words.
        gone: Why its weights cannot be had; empty: nothing is known against it.
    """

    name: str
    architecture: str
    settings: Mapping[str, object] = field(default_factory=dict)
    config: Mapping[str, object] | None = None
    weights_file: Callable[[], str] | None = None
    torchvision: str | None = None
    dropout: float = 0.0
    summary: str = ""
    gone: str = ""

    own_stem = False
    own_options = ()

    @property
    def options(self) -> tuple[Option, ...]:
        """--legacy_stem, where there is a first convolution over pixels to replace."""
        known = self.torchvision is not None  # without timm
        return (LEGACY_STEM,) if known or self.stem is not None else ()

    @property
    def pretrained(self) -> bool:
        """Whether there are weights to start from."""
        if self.config is not None:  # of a folder or repository
            return self.weights_file is not None
        return self.torchvision is not None or bool(self._configuration.has_weights)

    @property
    def stem(self) -> str | None:
        """Name of the one convolution that takes the pixels; None where there is none, or it cuts
        the image into patches.
        """
        first = self._value("first_conv")
        if not isinstance(first, str) or first.startswith("patch_embed"):
            return None
        return first

    @property
    def channels(self) -> int:
        """Channels that the first layer takes."""
        channels = self.settings.get("in_chans") or self._value("input_size")[0]
        return int(channels)

    @property
    def last(self) -> tuple[str, ...]:
        """Names of the last layer, in files of weights."""
        last = self._value("classifier")
        return (last,) if isinstance(last, str) else tuple(last or ())

    def make(
        self, channels: int, image_size: tuple[int, int] | None, pretrained: bool = False
    ) -> Network:
        """The network for images of a height and width in pixels.

        Args:
            channels: Of the images.
            image_size: None: of the size that its weights were trained at, or of any size where the
                network takes any.
            pretrained: Start from the weights that timm knows; random ones otherwise.

        Raises:
            ValueError: If it takes no such images.
            RuntimeError: If its weights can neither be found nor downloaded.
        """
        if channels == 3 and self.channels == 1:
            raise ValueError(f"--backbone {self.name} takes grey images: add --gray")
        settings = self._settings(image_size)
        made = repr((self.architecture, sorted(settings.items()), self.config, image_size))
        if made not in _FEATURE_DIMS:
            _FEATURE_DIMS[made] = self._feature_dim(settings, image_size)
        try:
            with not_waiting_for_the_hub() if pretrained else nullcontext():
                module = self._build(settings, pretrained=pretrained)
        except Exception as error:  # of whatever library downloads, reads and fits the weights
            if not pretrained:
                raise
            raise RuntimeError(self._not_had(error)) from error
        normalisation = data_config(module)
        return Network(
            module,
            _FEATURE_DIMS[made],
            mean=tuple(normalisation["mean"]),
            std=tuple(normalisation["std"]),
            last=self.last,
            remap=_remapping(module),
            made_from={
                "architecture": self.architecture.partition(".")[0],
                "settings": _plain(settings),
            },
        )

    def check_weights(self) -> None:
        """Looks whether the weights that timm knows are in a cache, or there is a network.

        Raises: RuntimeError: If neither.
        """
        if self.gone:
            raise RuntimeError(self.gone)
        known = self._configuration
        if self.config is not None or is_in_old_cache(known.url):  # of a folder, which has them
            return
        file = known.hf_hub_filename or "model.safetensors"
        try:
            if known.hf_hub_id:
                other = ("pytorch_model.bin", "open_clip_model.safetensors")
                check_hub(known.hf_hub_id, file, *other)
            elif known.url:
                check_url(known.url)
        except OSError as error:
            raise RuntimeError(self._not_had(error)) from error

    def _not_had(self, error: Exception) -> str:
        import timm

        known, reason = self._configuration, _first_line(error)
        file = f"model.safetensors from https://huggingface.co/{known.hf_hub_id}"
        place = f"the cache of that machine here ({hub_cache()}, or where HF_HOME says)"
        if not known.hf_hub_id:
            file, place = known.url, f"it to {torch_file(known.url)}"
        return (
            f"the weights of {self.name} could not be had ({reason}). On a machine with network,"
            f" download {file} and give the file with --weights FILE; or bring {place}; or start"
            f" from random weights with --rand_backbone (timm {timm.__version__})"
        )

    @cached_property
    def _configuration(self):
        from timm.models import get_pretrained_cfg

        return get_pretrained_cfg(self.architecture, allow_unregistered=True)

    def _value(self, name: str) -> object:
        if self.config and self.config.get(name) is not None:
            return self.config[name]
        return getattr(self._configuration, name)

    def _build(
        self, settings: Mapping[str, object], device: str = "cpu", pretrained: bool = False
    ) -> nn.Module:
        import timm

        with torch.device(device), _quiet():
            return timm.create_model(
                self.architecture,
                pretrained=pretrained,
                num_classes=0,
                pretrained_cfg_overlay=dict(self.config) if self.config else None,
                **settings,
            )

    def _settings(self, image_size: tuple[int, int] | None) -> dict[str, object]:
        settings = dict(self.settings)
        if image_size is not None and (self._value("fixed_input_size") or "img_size" in settings):
            settings["img_size"] = tuple(image_size)
        return settings

    def _feature_dim(
        self, settings: Mapping[str, object], image_size: tuple[int, int] | None
    ) -> int:
        """F, from a network without memory for its weights, on images of this size.

        Raises: ValueError: If it takes no such images; the message names a size that it takes.
        """
        own = tuple(self._value("input_size")[1:])
        network = self._try_build(settings)
        sized = "img_size" in settings
        if sized and image_size is not None:
            self._check_patches(network or self._try_build(self.settings), image_size)
        shape = self._shape(network, image_size or settings.get("img_size") or own)
        if shape is not None and len(shape) == 2:
            return shape[1]
        if shape is not None:
            raise ValueError(
                f"--backbone {self.name} does not describe an image by one vector, but by numbers"
                f" {' x '.join(map(str, shape[1:]))}: choose another network"
            )

        def takes(side: int) -> bool:
            other = self._try_build(self._settings((side, side))) if sized else network
            return self._shape(other, (side, side)) is not None

        if image_size is None or not takes(max(own)):
            raise ValueError(
                f"--backbone {self.name} cannot be made by this version of timm; choose another"
                " network"
            )
        height, width = image_size
        least, smaller = max(own), min(image_size)
        while smaller + 1 < least:  # halving where it begins to take images
            middle = (smaller + least) // 2
            smaller, least = (smaller, middle) if takes(middle) else (middle, least)
        larger = least > min(image_size)
        needs = (
            f"needs images of at least {least} x {least} pixels"
            if larger
            else f"does not take images of every size; those of {least} x {least} pixels it takes"
        )
        raise ValueError(
            f"--backbone {self.name} {needs}, got {height} x {width}; use --resize"
            f" {least}{' or more' if larger else ''}, or another backbone"
        )

    def _check_patches(self, network: nn.Module | None, image_size: tuple[int, int]) -> None:
        """Transformers leave out in silence what does not fill a patch."""
        patch = getattr(getattr(network, "patch_embed", None), "patch_size", None)
        if not isinstance(patch, tuple) or not all(isinstance(one, int) for one in patch):
            return
        if not any(side % one for side, one in zip(image_size, patch)):
            return
        near = {
            side // one * one + step for side, one in zip(image_size, patch) for step in (0, one)
        }
        raise ValueError(
            f"--backbone {self.name} cuts images into patches of {patch[0]} x {patch[1]} pixels,"
            f" and {image_size[0]} x {image_size[1]} is not a multiple of that: use --resize"
            f" {' or '.join(str(side) for side in sorted(near) if side)}"
        )

    def _try_build(self, settings: Mapping[str, object]) -> nn.Module | None:
        """The network without memory for its weights, where it can be made so; None where its
        settings do not go together.
        """
        for device in ("meta", "cpu"):  # some ask for values of tensors while they are made
            try:
                return self._build(settings, device).eval()
            except Exception:  # every network has errors of its own
                continue
        return None

    @torch.no_grad()
    def _shape(self, network: nn.Module | None, size: tuple[int, int]) -> tuple[int, ...] | None:
        """The shape of the features of one image; None where the network does not take it."""
        try:
            device = next(network.parameters()).device
            return tuple(network(torch.zeros(1, self.channels, *size, device=device)).shape)
        except Exception:  # every network has errors of its own
            return None


_RECALLED: dict[str, TimmNetwork] = {}
_FEATURE_DIMS: dict[str, int] = {}  # of what was made before in this process; each takes a second


def recall_backbone(name: str, made_from: Mapping[str, object], pretrained: bool) -> None:
    """Has `find` know a folder or repository that is not there any more, by what a run of it
    recorded; its weights must come from a checkpoint.

    Args:
        name: As the user spells it.
        made_from: See `Network`.
        pretrained: Whether it had weights.

    Raises: ValueError: If timm does not have its architecture.
    """
    gone = f"--backbone {name} cannot be had here, and with it its weights"
    weights_file = (lambda: name) if pretrained else None
    _RECALLED[name] = replace(
        again(made_from), name=name, config={}, weights_file=weights_file, gone=gone
    )


def is_recalled(name: str) -> bool:
    """Whether all that is known of a network is what a run of it recorded."""
    return name in _RECALLED


def find(name: str) -> TimmNetwork:
    """The network that a name means: one of timm's, with or without the tag of its weights; a
    folder with config.json and model.safetensors; or a repository on Hugging Face, "owner/name".

    Raises: ValueError: If there is none; the message suggests names.
    """
    return _RECALLED.get(name) or _find(name)


@cache
def _find(name: str) -> TimmNetwork:
    text = name.strip()
    folder = text.removeprefix("local-dir:")
    # os.path, because Path's fails at long names
    if folder != text or os.path.isfile(os.path.join(folder, "config.json")):
        return _of_folder(name, Path(folder))
    known = text.removeprefix(HUB).removeprefix("timm/")
    from timm.models import get_deprecated_models, get_pretrained_cfg, is_model

    if os.path.isdir(folder) and not is_model(known):
        return _of_folder(name, Path(folder))  # which says what is missing
    if "/" in known:
        return _of_hub(name, known)
    if new := get_deprecated_models().get(known):
        raise ValueError(f"--backbone {name}: timm calls this network {new} now")
    try:
        if is_model(known):
            get_pretrained_cfg(known, allow_unregistered=False)
            return TimmNetwork(name, known)
    except RuntimeError:
        tags = list_names(f"{known.partition('.')[0]}.*")
        raise ValueError(
            f"--backbone {name}: timm has no such weights of this network; it has {', '.join(tags)}"
        ) from None
    raise ValueError(_unknown(name, known))


def _unknown(name: str, known: str) -> str:
    names = list_names("*", tags=False)
    near = difflib.get_close_matches(known.partition(".")[0], names, n=4, cutoff=0.6)
    near = near or [one for one in names if one.startswith(known)][:4]
    meant = f"did you mean {' or '.join(near)}? " if near else ""
    return (
        f"--backbone {printable(shortened(name))}: neither timm nor this project has a network of"
        f" this name, and there is no such folder; {meant}--list_backbones 'PATTERN' shows the"
        " names"
    )


def again(made_from: Mapping[str, object]) -> TimmNetwork:
    """The network that `Network.made_from` describes. Raises: ValueError: If timm has it no
    more.
    """
    architecture, settings = made_from["architecture"], made_from["settings"]
    settings = {
        key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()
    }
    return TimmNetwork(architecture, find(architecture).architecture, settings)


def list_names(pattern: str, tags: bool = True) -> list[str]:
    """timm's names that match a pattern of the shell, such as "convnext*", in natural order."""
    import timm

    return timm.list_models(pattern, include_tags=tags)


def list_rows(pattern: str) -> list[tuple[str, str]]:
    """(name, what is worth knowing of it) for timm's names that match a pattern of the shell: the
    size of the images that it was made for, and its number of weights where there are few names.
    """
    from timm.models import get_pretrained_cfg

    names = list_names(pattern)
    architectures = {name.partition(".")[0] for name in names}
    counts = {one: _count(one) for one in architectures} if len(architectures) <= 40 else {}
    rows = []
    for name in names:
        config = get_pretrained_cfg(name, allow_unregistered=True)
        text = " x ".join(map(str, config.input_size[1:])) + " pixels"
        if config.fixed_input_size:
            text += " (made for the size of the images)"
        count = counts.get(name.partition(".")[0])
        text += f", {count / 1e6:.1f} million weights" if count else ""
        rows.append((name, text + ("" if config.has_weights else ", not pretrained")))
    return rows


def _count(architecture: str) -> int | None:
    network = TimmNetwork(architecture, architecture)._try_build({})
    return network and sum(parameter.numel() for parameter in network.parameters())


def data_config(module: nn.Module) -> dict:
    """What timm says about the images of a network: `mean`, `std`, `input_size`."""
    from timm.data import resolve_model_data_config

    return resolve_model_data_config(module)


def _of_folder(name: str, folder: Path) -> TimmNetwork:
    """Raises: ValueError: If the folder has no config.json of a network of timm."""
    files = [folder / one for one in ("model.safetensors", "pytorch_model.bin")]
    file = next((one for one in files if one.is_file()), None)
    weights_file = None if file is None else lambda: str(file)
    return _described(name, folder / "config.json", weights_file)


def _of_hub(name: str, repository: str) -> TimmNetwork:
    """Raises: ValueError: If its config.json can neither be found nor downloaded."""
    from huggingface_hub import hf_hub_download

    repository, _, revision = repository.partition("@")

    def download(file: str) -> str:
        try:
            with not_waiting_for_the_hub():
                return hf_hub_download(repository, file, revision=revision or None)
        except Exception as error:  # no network, no such repository, no right to read it
            raise ValueError(
                f"--backbone {name}: {file} could not be had from"
                f" https://huggingface.co/{repository} ({_first_line(error)}). Download the"
                f" repository on a machine with network and give it as {_FOLDER}"
            ) from error

    return _described(name, Path(download("config.json")), lambda: download("model.safetensors"))


def _described(name: str, file: Path, weights_file: Callable[[], str] | None) -> TimmNetwork:
    from timm.models import is_model

    try:
        content = json.loads(file.read_text("utf-8"))
        architecture = content["architecture"]
        settings = dict(content.get("model_args") or {})
        config = dict(content.get("pretrained_cfg") or content)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"--backbone {name}: {file} is not the config.json of a network of timm"
            f" ({type(error).__name__}: {error}); save the network with timm.models.save_for_hf"
        ) from error
    if not isinstance(architecture, str) or not is_model(architecture):
        raise ValueError(f"--backbone {name}: {file} names {architecture!r}, which timm has not")
    keys = ("mean", "std", "input_size", "first_conv", "classifier", "fixed_input_size")
    config = {key: config[key] for key in keys if config.get(key) is not None}
    return TimmNetwork(name, architecture, settings, config, weights_file)


def _remapping(module: nn.Module) -> Callable[[dict], dict]:
    """What timm itself makes of files of weights for this network."""
    function = getattr(sys.modules[type(module).__module__], "checkpoint_filter_fn", None)
    return (lambda state: state) if function is None else lambda state: function(state, module)


def _plain(settings: Mapping[str, object]) -> dict[str, object]:
    """As in JSON."""
    return {
        key: list(value) if isinstance(value, tuple) else value for key, value in settings.items()
    }


def _first_line(error: Exception) -> str:
    line = printable(str(error).strip().partition("\n")[0])
    return line if len(line) <= 200 else f"{line[:200]}..."


class _quiet:
    """timm's own remarks while it makes a network; what does not fit is said in its place."""

    def __enter__(self) -> None:
        self._logger = logging.getLogger("timm")
        self._level = self._logger.level
        self._logger.setLevel(logging.ERROR)

    def __exit__(self, *_: object) -> None:
        self._logger.setLevel(self._level)
