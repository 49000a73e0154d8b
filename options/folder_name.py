"""The folder of a run, named by its options."""

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path

import data
import losses
import models
from files.paths import no_run
from files.regular import check_regular
from options.flags import declared
from registry import Option, possible

_OF_A_NETWORK = ("config.json", "model.safetensors", "pytorch_model.bin")  # as timm saves one
# of the runs recorded so far, in the order in which their names have them; new tags follow
TAGS = ("ema", "dynamic", "mds", "size", "val", "prior")


def collection_folder(machine: Mapping, options: Mapping) -> Path:
    """<record>/<dataset>; the user's own collections go by the name of their folder, which no
    dataset's name becomes.
    """
    name = options["dataset"]
    if name == "folder" and machine["data_dir"] is not None:
        name = Path(machine["data_dir"]).resolve().name or "root"
        name = f"folder-{name}" if name.lower() in map(str.lower, data.DATASETS) else name
    return Path(machine["record"], name)


def run_folder(collection: Path, options: Mapping, defaults: Mapping) -> Path:
    """<collection>/<method and options>/seed<k>; two runs share it only if all their options are
    equal.

    The name says the method, its main switches, and every other option that differs from the
    dataset's default.
    """
    declared_ones = possible(declared())
    head = models.HEADS[options["method"]]
    method = [head.label or options["method"], options["distance"]]
    tags = {name: _tag(option, options.get(name)) for name, option in declared_ones.items()}
    tags = {name: tag for name, tag in tags.items() if tag is not None}
    switches = sorted((tag for name, tag in tags.items() if options[name]), key=_place)
    named = {"dataset", "method", "distance", "seed", "loss", *tags}
    loss = [options["loss"]] if options["loss"] != losses.LOSSES.option.default else []
    others = [
        _part(declared_ones[name], options[name])
        for name in sorted(options)
        if name not in named and _differs(name, options, defaults)
    ]
    name = "-".join(filter(None, [*method, *switches, *loss, *others]))
    encoded = name.encode()
    if len(encoded) > 200:  # file systems allow 255 bytes
        name = f"{encoded[:100].decode(errors='ignore')}-{hashlib.sha256(encoded).hexdigest()[:12]}"
    return collection / name / f"seed{options['seed']}"


def _differs(name: str, options: Mapping, defaults: Mapping) -> bool:
    value = options[name]
    if value is None or (
        name == "rand_backbone" and not models.has_pretrained(options["backbone"])
    ):
        return False  # does not apply, or could not be otherwise
    default = defaults.get(name)
    return value != (False if default is None else default)  # an unset flag is False


def _tag(option: Option, value: object) -> str | None:
    """The short form of an option, or of the part that it chooses."""
    if option.parts is None:
        return option.tag
    return getattr(option.parts.get(value), "tag", None)


def _place(tag: str) -> tuple[int, str]:
    return (TAGS.index(tag) if tag in TAGS else len(TAGS), tag)


def _part(option: Option, value: object) -> str:
    name = option.name
    if option.parts is not None and os.path.isfile(os.path.join(value, "config.json")):
        # a folder with a network counts by what it holds
        files = sorted(path for path in Path(value).iterdir() if path.name in _OF_A_NETWORK)
        value = "+".join([Path(value).name, *(_content_digest(name, path) for path in files)])
    elif option.names_run:
        value = f"{Path(value).name}.{_run_digest(name, Path(value))}"
    elif option.names_file:
        value = f"{Path(value).stem}.{_content_digest(name, value)}"
    if isinstance(value, float) and value.is_integer() and value < 1e15:
        value = int(value)
    said = "+".join(map(str, value)) if isinstance(value, list) else value
    text = name if value is True else f"{name}={said}"
    plain = re.sub(r"[^\w=+.,]+", "_", text)
    return (
        plain
        if plain == text
        else f"{plain}.{hashlib.sha256(repr(value).encode()).hexdigest()[:6]}"
    )


def _run_digest(name: str, folder: Path) -> str:
    """Short fingerprint of what a run learned: of its checkpoints. Raises: ValueError: If the
    folder is not that of a run.
    """
    if not os.path.isfile(os.path.join(folder, "config.json")):
        raise ValueError(f"--{name} {no_run(folder)}")
    files = [file for one in ("best.pt", "last.pt") if (file := folder / one).is_file()]
    parts = [_content_digest(name, folder / "config.json")]
    parts += [_content_digest(name, file) for file in files]
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:8]


def _content_digest(name: str, path: str) -> str:
    """Short fingerprint of a file's content: a run is the same wherever its files lie. Raises:
    ValueError: If it is not a regular file (a pipe would hang) or cannot be read.
    """
    try:
        check_regular(path)
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:8]
    except OSError as error:
        raise ValueError(f"--{name} {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise ValueError(f"--{name}: {error}") from error


def file_options() -> set[str]:
    """Names of the options that name a file, or a run."""
    everything = possible(declared()).items()
    return {name for name, option in everything if option.names_file or option.names_run}
