"""Reads a file of weights that may come from anybody: no code in it is run, and what else it is
instead is said in words, with the way out.
"""

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch

from files.regular import check_regular
from files.text import printable, shortened

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


def read_weights(file: str | Path) -> dict[str, torch.Tensor]:
    """The state dict in a file: plain, or under "state_dict" or "model"; without the prefixes that
    wrappers add.

    Of a checkpoint of a whole classifier, only the network. No code in the file is run.

    Raises: FileNotFoundError, or ValueError: If it is not a file of tensors that torch.save wrote,
    or a number in it is NaN or infinite.
    """
    name = f"--weights {printable(str(file))}"
    _check_kind(file, name)
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes can raise anything
        raise ValueError(f"{name} is no file of weights {_reason(error)}") from error
    for key in ("state_dict", "model"):
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
    return _strip(dict(content))


def _check_kind(file: str | Path, name: str) -> None:
    """Looks at what kind of file it is before torch does, which would say it in its own terms.

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
    if start[8:9] == b"{" and 2 <= length <= size - 8:
        raise ValueError(
            f"{name} is a safetensors file, which is not read: convert it with"
            " torch.save(safetensors.torch.load_file(FILE), 'weights.pt')"
        )
    if start.startswith(b"PK") and zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            if not any(one.endswith("data.pkl") for one in archive.namelist()):
                raise ValueError(
                    f"{name} is a ZIP archive that torch.save did not write: unpack it first"
                )


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


def _strip(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    if all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    own = {
        key.removeprefix("backbone.").removeprefix("network."): value
        for key, value in state.items()
        if key.startswith(("backbone.network.", "backbone.projection."))
    }
    return own if any(key.startswith("backbone.network.") for key in state) else state
