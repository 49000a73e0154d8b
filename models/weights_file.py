"""Reads a file of weights that may come from anybody: no code in it is run, and what else it is
instead is said in words, with the way out.
"""

import re
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from files.regular import check_regular
from files.text import printable, shortened, some_of
from files.trunks import find_trunk

if TYPE_CHECKING:
    from models.timm_networks import Network

SAVE = "torch.save(model.state_dict(), 'weights.pt')"
# first bytes of files that are taken for weights, what they are, and what to do
_KINDS = (
    (
        rb"\s*<",
        "a web page, not weights",
        "open its address in a browser: it may ask you to log in",
    ),
    (rb"version https://git-lfs", "a pointer of Git LFS, not the weights", "run: git lfs pull"),
    (rb"\x89HDF", "an HDF5 file, as Keras writes them", "take the weights that torch.save wrote"),
    (rb"\x1f\x8b|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd", "a compressed file", "unpack it first"),
    (rb"\x93NUMPY", "a NumPy array", f"save the tensors of the network with {SAVE}"),
    (
        rb"\x80[\x03-\x05]",
        "a pickle that torch.save did not write; reading it could run code, so it is not read",
        f"where it was made, save the weights with {SAVE}",
    ),
    (rb"\x89PNG|\xff\xd8\xff|GIF8", "an image", "name the file of the weights"),
)


# where files keep the state dict of a network, beside other things; averaged weights first, as in
# timm
_KEYS = ("state_dict_ema", "model_ema", "state_dict", "model")


def read_weights(file: str | Path, flag: str = "--weights") -> dict[str, torch.Tensor]:
    """The state dict in a file: of safetensors, or of torch, plain or under "state_dict", "model"
    and their like. No code in the file is run. The flag is what messages name.

    Raises: FileNotFoundError, or ValueError: If it is not a file of tensors, or a number in it is
    NaN or infinite.
    """
    name = f"{flag} {printable(str(file))}"
    if _check_kind(file, name):
        content = _load_safetensors(file, name)
    else:
        content = _with_trunk(file, _load_torch(file, name), name)
    for key in _KEYS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    tensors = isinstance(content, Mapping) and all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in content.items()
    )
    if not tensors or not content:
        raise ValueError(
            f"{name} holds no state dict, neither plain nor under 'state_dict' or 'model': save"
            f" one with {SAVE}"
        )
    for key, value in content.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise ValueError(
                f"{name}: {printable(shortened(key))} holds NaN or infinite numbers, as after a"
                " training that diverged; take an earlier checkpoint"
            )
    return dict(content)


def _with_trunk(file: str | Path, content: object, name: str) -> object:
    """A checkpoint of this project with the frozen trunk that it names, see `files.trunks`."""
    digest = content.get("trunk") if isinstance(content, Mapping) else None
    if not isinstance(digest, str) or not isinstance(content.get("model"), Mapping):
        return content
    trunk = find_trunk(Path(file).parent, digest) if re.fullmatch("[0-9a-f]{32}", digest) else None
    try:
        state = torch.load(trunk, map_location="cpu", weights_only=True)["model"]
    except Exception as error:  # missing, or damaged bytes, which can raise anything
        raise ValueError(
            f"{name} is a checkpoint whose frozen trunk,"
            f" trunks/{printable(shortened(digest))}.pt in its record, is missing or damaged: name"
            " the checkpoint in its record, or pack its run there with evaluate.py --pack"
        ) from error
    return {**content, "model": {**state, **content["model"]}}


def fill(
    backbone: nn.Module, network: "Network", state: Mapping[str, torch.Tensor], source: str
) -> tuple[str, ...]:
    """Copies a state dict into a backbone.

    All parts of the network must be there and fit, whatever one prefix their names have in common
    ("module.", "model.", "backbone." ...). The last layer becomes the projection if its shape fits.

    Args:
        backbone: With `network` and `projection`; changed in place.
        network: What it was made from.
        state: From `read_weights`.
        source: What to call it in messages.

    Returns: What of the file was left out, in words.
    Raises: ValueError: If a part lacks or has another shape, or the file has more of the same kind:
    it is another network's.
    """
    own = backbone.network.state_dict()
    prefix = _common_prefix(state, own)
    last = _last_layer(state, prefix, network.last)
    inside = {key.removeprefix(prefix): state[key] for key in state if key.startswith(prefix)}
    inside = {key: value for key, value in inside.items() if not _lies_in(key, network.last)}
    outside = [key for key in state if not key.startswith(prefix)]
    try:
        found = dict(network.remap(dict(inside)))
    except Exception:  # made for files of others; what does not fit is named below
        found = inside
    optional = {key for key in own if not own[key].is_floating_point()}  # counts and indices
    children = {name for name, _ in backbone.network.named_children()}
    unknown = [key for key in found if key not in own]
    problems = {
        "lacks": [key for key in own if key not in found and key not in optional],
        "has unknown": unknown,
        "has of another shape": [
            key for key in found if key in own and found[key].shape != own[key].shape
        ],
    }
    more_of_it = any(key.partition(".")[0] in children for key in unknown)
    if problems["lacks"] or problems["has of another shape"] or more_of_it:
        named = [f"{problem} {_list(keys)}" for problem, keys in problems.items() if keys]
        raise ValueError(f"{source} does not fit this backbone: it {'; it '.join(named)}")
    backbone.network.load_state_dict({key: found[key] for key in own if key in found}, strict=False)
    if {key: value.shape for key, value in last.items()} == {
        key: value.shape for key, value in backbone.projection.state_dict().items()
    }:
        backbone.projection.load_state_dict(last)
        last = {}
    left = [*unknown, *(key for key in outside if not key.startswith(_PROJECTION))]
    left += [f"{network.last[0]}.{key}" for key in last] if network.last else []
    return (f"{source}: left out {_list(left)}",) if left else ()


_PROJECTION = "backbone.projection."  # of checkpoints of this project


def _common_prefix(state: Mapping[str, object], own: Mapping[str, object]) -> str:
    """What stands before the names of most parts of a network in a file; "" where none is found."""
    counts: Counter[str] = Counter({"": 0})
    for key in state:
        steps = key.split(".")
        for start in range(len(steps)):
            if ".".join(steps[start:]) in own:
                counts["".join(f"{step}." for step in steps[:start])] += 1
    return counts.most_common(1)[0][0]


def _last_layer(
    state: Mapping[str, torch.Tensor], prefix: str, names: Sequence[str]
) -> dict[str, torch.Tensor]:
    """Weight and bias of the last layer in a file, as far as they are there."""
    places = [_PROJECTION, *(f"{prefix}{name}." for name in names)]
    return next(
        (
            found
            for place in places
            if (found := {k.removeprefix(place): state[k] for k in state if k.startswith(place)})
        ),
        {},
    )


def _lies_in(key: str, modules: Sequence[str]) -> bool:
    return any(key.startswith(f"{module}.") for module in modules)


def _list(names: Sequence[str]) -> str:
    return some_of(names, 5, lambda name: printable(shortened(name)))


def _load_torch(file: str | Path, name: str) -> object:
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes can raise anything
        raise ValueError(f"{name} is not a file of weights {_reason(error)}") from error


def _load_safetensors(file: str | Path, name: str) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except Exception as error:  # as above
        raise ValueError(
            f"{name} is a damaged or cut off safetensors file ({error}): copy or download it again"
        ) from error


def _check_kind(file: str | Path, name: str) -> bool:
    """Looks at what kind of file it is before torch does, which would say it in its own terms.

    Returns: Whether it is one of safetensors.
    Raises: FileNotFoundError, ValueError.
    """
    try:
        size = check_regular(file)
        with open(file, "rb") as opened:
            start = opened.read(512)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{name}: there is no such file") from error
    except OSError as error:
        raise ValueError(f"{name}: {error.strerror or error}") from error
    except ValueError as error:
        raise ValueError(f"--weights: {printable(str(error))}") from error
    if not size:
        raise ValueError(f"{name} is empty: copy or download it again")
    for pattern, kind, way_out in _KINDS:
        if re.match(pattern, start):
            raise ValueError(f"{name} is {kind}: {way_out}")
    length = int.from_bytes(start[:8], "little")
    if start[8:9] == b"{" and 2 <= length:
        return True
    if start.startswith(b"PK") and zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            if not any(one.endswith("data.pkl") for one in archive.namelist()):
                raise ValueError(
                    f"{name} is a ZIP archive that torch.save did not write: unpack it first"
                )
    return False


def _reason(error: Exception) -> str:
    """Why torch does not read a file, without its own text: that advises to run the code in it."""
    text = str(error)
    found = re.search(r"(?:GLOBAL|global:?|class|function) ([A-Za-z_][\w.]*\.\w+)", text)
    if found:
        numpy = {"scalar": "a NumPy number", "_reconstruct": "a NumPy array"}
        what = numpy.get(found[1].rpartition(".")[2], shortened(found[1]))
        return (
            f"alone: it also holds {what}, and reading that could run code, so nothing of it is"
            f" read. Where it was made, save the weights alone with {SAVE}"
        )
    if "TorchScript" in text:
        return f"but a TorchScript program: where it was made, save the weights with {SAVE}"
    return (
        "that torch.save wrote, or it is damaged or cut off: copy or download it again, or save it"
        f" anew with {SAVE}"
    )
