"""The command line: every flag declared once, combinations checked before any work is done.

The flags are in flags.py; here are their defaults and what each of them needs. `parse` returns two dicts: the options
that decide a run's result, which are recorded and name its folder, and those of the machine.
An option that the chosen dataset, method or loss does not take is None in the record and an error on the command line.
"""

import argparse
import hashlib
import os
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import data
import losses
import models
from flags import Parser, build_parser
from hierarchies import WEIGHTINGS

PLACES = ("data_dir", "cache_dir", "download", "stream")  # where data.load finds images and how it keeps them
MACHINE = (*PLACES, "record", "GPU", "ngpus", "mlflow", "resume", "overwrite")
FILES = ("weights", "hierarchy", "split_list")  # options that name a file
WORD = re.compile(r"""#.*|((?:"[^"]*"|'[^']*'|[^\s"'])+)""")  # of an argument file; its group is empty in a comment
QUOTED = re.compile(r""""([^"]*)"|'([^']*)'""")
OFF = {"freeze": "none", "hr": 0, "hr_gamma": 0, "l2_sp": 0, "weight_decay": 0}  # values that say the same as no flag
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
    (
        lambda o: o["freeze"] in ("last", "all") and (o["ema"] or o["dynamic"]),
        "--freeze last and all keep the head as it is, --ema and --dynamic move it: choose one of them",
    ),
    (
        lambda o: o["freeze"] == "all" and o["epochs"] > 0,
        "--freeze all leaves nothing to train: with --epochs 0 it evaluates the model as it starts",
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
    try:
        argv = read_argument_files(sys.argv[1:] if argv is None else argv)
    except ValueError as error:
        parser.error(str(error))
    asked = _dataset(parser, argv, datasets)
    shown = datasets if asked is None else [asked]
    _describe(parser, {dataset: _defaults(dataset, datasets) for dataset in shown})
    defaults = _defaults(next(iter(shown)), datasets)
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


def read_argument_files(arguments: Sequence[str], within: Sequence[Path] = ()) -> list[str]:
    """The arguments with each `@FILE` replaced by those in the file: UTF-8, any number on a line, `#` starts a comment.

    Quotes hold a value with spaces together and ~ at its start is the home folder; everything else, backslashes too,
    means itself. Files may name others.

    Args:
        arguments: Of a command line.
        within: Files that are being read.

    Raises: ValueError: If a file cannot be read; the message names it.
    """
    found = []
    for argument in arguments:
        if not argument.startswith("@"):
            found.append(argument)
            continue
        path = Path(argument[1:])
        if path.resolve() in within:
            raise ValueError(f"the argument file {argument} names itself: take that out of it")
        found += read_argument_files(_words(argument, path), [*within, path.resolve()])
    return found


def _words(argument: str, path: Path) -> list[str]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ValueError(f"the argument file {argument} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:  # UTF-16 without its mark is UTF-8 full of these
        raise ValueError(f"the argument file {argument} is not in UTF-8: save it as UTF-8")
    words = []
    for number, line in enumerate(text.splitlines(), 1):
        if WORD.sub("", line).strip():
            raise ValueError(
                f"the argument file {argument}, line {number}: a quote is not closed, put quotes around the value: {line}"
            )
        words += [os.path.expanduser(QUOTED.sub(r"\1\2", word)) for word in WORD.findall(line) if word]
    return words


def _dataset(parser: Parser, argv: Sequence[str], datasets: Mapping[str, Mapping]) -> str | None:
    """The dataset asked for, read ahead of everything else because the defaults depend on it; None where none is."""
    if len(datasets) == 1:
        return next(iter(datasets))
    ahead = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    ahead.error = parser.error
    ahead.add_argument("--dataset", choices=list(datasets))
    return ahead.parse_known_args(argv)[0].dataset


def _defaults(dataset: str, datasets: Mapping[str, Mapping]) -> dict:
    """Every option's value when nothing is given, as in JSON."""
    defaults = {**DEFAULTS, **data.defaults(dataset), **datasets[dataset], "dataset": dataset}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in defaults.items()}


def _describe(parser: Parser, tables: Mapping[str, Mapping]) -> None:
    """Makes --help show the defaults of these datasets, each where they differ, and only flags that one of them takes."""
    of_losses = {}
    for loss in losses.LOSSES:
        for weighting in WEIGHTINGS:
            of_losses |= losses.default_options(loss, {"weighting": weighting})
    texts = {name: str(value) for name, value in of_losses.items()}
    for name in sorted({name for table in tables.values() for name in table}):
        groups = defaultdict(list)
        for dataset, table in tables.items():
            value = table.get(name)
            text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
            groups["" if value is None or value is False else text].append(dataset)
        first, *others = sorted(groups, key=lambda text: (len(groups[text]), text != ""))
        parts = [f"{text} for {', '.join(groups[text])}" for text in (first, *others)]
        texts[name] = first if not others else "; ".join(part for part in parts if not part.startswith(" "))
    unused = [set(data.unused_options(dataset, data.OPTIONS)) for dataset in tables]
    parser.describe({name: text or None for name, text in texts.items()}, set.intersection(*unused))


def _resolve(options: Mapping, given: set[str]) -> dict:
    """Options with short forms written out and None where an option does not apply. Raises: ValueError."""
    options = dict(options)
    if options.pop("CORR"):
        if "loss" in given and options["loss"] != "corr":
            raise ValueError(f"--CORR is short for --loss corr, but --loss is {options['loss']}: choose one")
        options["loss"] = "corr"
    options |= {name: None for name, off in OFF.items() if options[name] == off}
    models.check_head_options({name: options[name] for name in {*given, "loss", "method"} if name != "CORR"})
    for holds, message in CLASHES:
        if holds(options):
            raise ValueError(message)
    for name in data.unused_options(options["dataset"], options):
        _drop(options, name, given, f"the dataset {options['dataset']} does not take it")
    kinds = data.DATASETS[options["dataset"]].splits
    if options["split"] is not None and options["split"] not in kinds:
        raise ValueError(
            f"--split {options['split']} has no meaning here: the dataset {options['dataset']} takes {' or '.join(kinds)}"
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
    if name in given and options[name] is not None and options[name] is not False:  # 0 is a value
        raise ValueError(f"--{name} has no meaning here: {reason}")
    options[name] = None


def _collection(machine: Mapping, options: Mapping) -> Path:
    """<record>/<dataset>; the user's own collections go by the name of their folder, which no dataset's name becomes."""
    name = options["dataset"]
    if name == "folder" and machine["data_dir"] is not None:
        name = Path(machine["data_dir"]).resolve().name or "root"
        name = f"folder-{name}" if name.lower() in map(str.lower, data.DATASETS) else name
    return Path(machine["record"], name)


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
    encoded = name.encode()
    if len(encoded) > 200:  # file systems allow 255 bytes
        name = f"{encoded[:100].decode(errors='ignore')}-{hashlib.sha256(encoded).hexdigest()[:12]}"
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
    if isinstance(value, float) and value.is_integer() and value < 1e15:
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
