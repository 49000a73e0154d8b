"""The command line: every flag declared once, combinations checked before any work is done.

The flags are in flags.py; here are their defaults and what each of them needs. `parse` returns two dicts: the options
that decide a run's result, which are recorded and name its folder, and those of the machine.
An option that the chosen dataset, method or loss does not take is None in the record and an error on the command line.
"""

import argparse
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import data
import losses
import models
from flags import Parser, build_parser

PLACES = ("data_dir", "cache_dir", "download", "stream")  # where data.load finds images and how it keeps them
MACHINE = (*PLACES, "record", "GPU", "ngpus", "mlflow", "resume", "overwrite")
FILES = ("weights", "hierarchy", "split_list")  # options that name a file
TAGS = {"ema": "ema", "dynamic": "dynamic", "mds_W": "mds", "size_inform": "size", "use_val": "val", "clspri": "prior"}


# of training; those of the data are in the dataset's module, and a script can set others for its datasets
DEFAULTS = {
    "dim": 128, "distance": "euc", "alpha": 0.01, "beta": 1.0, "mds_solver": "auto", "loss": "ce", "epochs": 50,
    "batch_size": 32, "lr": 1e-4, "schedule": "none", "aug": "none", "seed": 1, "backbone": "inception", "ngpus": 1,
    "record": "record",
}  # fmt: skip

# option -> (does it apply to these options?, what it needs)
NEEDS: dict[str, tuple[Callable[[Mapping], bool], str]] = {
    "distance": (lambda o: o["method"] != "softmax", "--method normface or DR"),
    "alpha": (lambda o: o["ema"], "--ema"),
    "beta": (lambda o: o["mds_W"], "--mds_W"),
    "mds_solver": (lambda o: o["mds_W"], "--mds_W"),
    "legacy_dynamic": (lambda o: o["dynamic"], "--dynamic"),
    "split_list": (lambda o: o["split"] == "published", "--split published"),
    "subset": (lambda o: o["reduction_factor"], "--reduction_factor"),
    "subset_seed": (lambda o: o["reduction_factor"], "--reduction_factor"),
    "last": (lambda o: o["use_val"], "--use_val; without it the last epoch is the result anyway"),
    "ngpus": (lambda o: o["GPU"] in (None, "auto"), "--GPU auto"),
}

# options that exclude each other: (does the clash hold?, message)
CLASHES: list[tuple[Callable[[Mapping], bool], str]] = [
    (
        lambda o: o["small"] and o["split"] == "official",
        "--small sets the sizes of random splits: choose it or --split official",
    ),
    (
        lambda o: o["weights"] and o["rand_backbone"],
        "--weights and --rand_backbone are two different starts: choose one",
    ),
    (lambda o: o["resume"] and o["overwrite"], "--resume goes on with a run, --overwrite drops it: choose one"),
]


def parse(argv: Sequence[str] | None, description: str, datasets: Mapping[str, Mapping]) -> tuple[dict, dict, Path]:
    """Parses a training script's command line.

    Args:
        argv: Arguments; None for those of the process.
        description: What the script trains on.
        datasets: The datasets it offers, each with its defaults of training options.

    Returns: Options that decide the result, options of the machine, and the run's folder. Exits with a message that
    names the flag where an option or a combination makes no sense.
    """
    parser = build_parser(description, list(datasets))
    dataset = _dataset(argv, datasets)
    defaults = {**DEFAULTS, **data.defaults(dataset), **datasets[dataset], "dataset": dataset}
    defaults = {
        name: list(value) if isinstance(value, tuple) else value for name, value in defaults.items()
    }  # as in JSON
    parser.set_defaults(**defaults)
    options = {"dataset": defaults["dataset"], **vars(parser.parse_args(argv))}
    unset = object()
    probe = parser.parse_args(argv, argparse.Namespace(**dict.fromkeys(options, unset)))
    given = {name for name, value in vars(probe).items() if value is not unset}
    try:
        options = _resolve(options, given)
        machine = {name: options.pop(name) for name in MACHINE}
        return options, machine, run_folder(_collection(machine, options), options, defaults)
    except ValueError as error:
        parser.error(str(error))


def _dataset(argv: Sequence[str] | None, datasets: Mapping[str, Mapping]) -> str:
    """The dataset asked for, read ahead of everything else because the defaults depend on it; the first where none is."""
    ahead = Parser(add_help=False, allow_abbrev=False, fromfile_prefix_chars="@")
    ahead.add_argument("--dataset")
    asked = ahead.parse_known_args(argv)[0].dataset
    return asked if asked in datasets else next(iter(datasets))


def _resolve(options: Mapping, given: set[str]) -> dict:
    """Options with short forms written out and None where an option does not apply. Raises: ValueError."""
    options = dict(options)
    if options.pop("CORR"):
        if "loss" in given and options["loss"] != "corr":
            raise ValueError(f"--CORR is short for --loss corr, but --loss is {options['loss']}: choose one")
        options["loss"] = "corr"
    models.check_head_options({name: options[name] for name in {*given, "loss", "method"} if name != "CORR"})
    for holds, message in CLASHES:
        if holds(options):
            raise ValueError(message)
    for name in data.unused_options(options["dataset"], options):
        _drop(options, name, given, f"--dataset {options['dataset']} does not take it")
    kinds = data.DATASETS[options["dataset"]].splits
    if options["split"] is not None and options["split"] not in kinds:
        raise ValueError(
            f"--split {options['split']} has no meaning here: --dataset {options['dataset']} takes {' or '.join(kinds)}"
        )
    for name, (applies, need) in NEEDS.items():
        if not applies(options):
            _drop(options, name, given, f"it needs {need}")
    for name in losses.unused_options(options["loss"], options):
        _drop(options, name, given, f"--loss {options['loss']} does not take it")
    options |= {
        name: value for name, value in losses.default_options(options["loss"], options).items() if options[name] is None
    }
    if not models.has_pretrained(options["backbone"]):
        _drop(options, "legacy_stem", given, f"--backbone {options['backbone']} always starts from random weights")
        options["rand_backbone"] = options["weights"] is None
    return options


def _drop(options: dict, name: str, given: set[str], reason: str) -> None:
    if name in given and options[name] not in (None, False):
        raise ValueError(f"--{name} has no meaning here: {reason}")
    options[name] = None


def _collection(machine: Mapping, options: Mapping) -> Path:
    """<record>/<dataset>; the user's own collections go by the name of their folder."""
    own = options["dataset"] == "folder" and machine["data_dir"] is not None
    return Path(machine["record"], Path(machine["data_dir"]).resolve().name if own else options["dataset"])


def run_folder(collection: Path, options: Mapping, defaults: Mapping) -> Path:
    """<collection>/<method and options>/seed<k>; two runs share it only if all their options are equal.

    The name says the method, its main switches, and every other option that differs from the dataset's default.
    """
    method = [options["method"] if options["method"] != "normface" else "NormFace", options["distance"]]
    switches = [tag for name, tag in TAGS.items() if options[name]]
    named = {"dataset", "method", "distance", "seed", "loss", *TAGS}
    loss = [options["loss"]] if options["loss"] != "ce" else []
    others = [
        _part(name, options[name])
        for name in sorted(options)
        if name not in named and _differs(name, options, defaults)
    ]
    name = "-".join(filter(None, [*method, *switches, *loss, *others]))
    if len(name) > 200:  # file systems allow 255 bytes
        name = f"{name[:100]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
    return collection / name / f"seed{options['seed']}"


def _differs(name: str, options: Mapping, defaults: Mapping) -> bool:
    value, default = options[name], defaults.get(name)
    if value is None or (name == "rand_backbone" and not models.has_pretrained(options["backbone"])):
        return False  # does not apply, or could not be otherwise
    if default is None:  # unset flags are False, options of the loss are the loss's own default
        default = losses.default_options(options["loss"], options).get(name, False)
    return value != default


def _part(name: str, value: object) -> str:
    if name in FILES:
        value = f"{Path(value).stem}.{_content_digest(name, value)}"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = name if value is True else f"{name}={'+'.join(value) if isinstance(value, list) else value}"
    plain = re.sub(r"[^\w=+.,]+", "_", text)
    return plain if plain == text else f"{plain}.{hashlib.sha256(repr(value).encode()).hexdigest()[:6]}"


def _content_digest(name: str, path: str) -> str:
    """Short fingerprint of a file's content: a run is the same wherever its files lie. Raises: ValueError."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:8]
    except OSError as error:
        raise ValueError(f"--{name} {path}: {error.strerror or error}") from error
