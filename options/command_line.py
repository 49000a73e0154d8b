"""The command line: every flag declared once, combinations checked before any work is done.

The flags are in flags.py; here are their defaults and what each of them needs. `parse` returns two
dicts: the options that decide a run's result, which are recorded and name its folder, and those of
the machine.
An option that the chosen dataset, method or loss does not take is None in the record and an error
on the command line.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import data
import losses
from hierarchies import WEIGHTINGS
from options.argument_files import read_argument_files
from options.flags import build_parser
from options.folder_name import _collection, run_folder
from options.parser import Parser
from options.rules import _resolve

PLACES = (
    "data_dir",
    "cache_dir",
    "download",
    "stream",
)  # where data.load finds images and how it keeps them
MACHINE = (*PLACES, "record", "GPU", "ngpus", "mlflow", "resume", "overwrite")


# of training; those of the data are in the dataset's module, and a script can set others for its
# datasets
DEFAULTS = {
    "dim": 128,
    "distance": "euc",
    "alpha": 0.01,
    "beta": 1.0,
    "mds_solver": "auto",
    "loss": "ce",
    "epochs": 50,
    "batch_size": 32,
    "lr": 1e-4,
    "schedule": "none",
    "aug": "none",
    "seed": 1,
    "backbone": "inception",
    "ngpus": 1,
    "record": "record",
}


def parse(
    argv: Sequence[str] | None, description: str, datasets: Mapping[str, Mapping]
) -> tuple[dict, dict, Path]:
    """Parses a training script's command line.

    Args:
        argv: Arguments; None for those of the process.
        description: What the script trains on.
        datasets: The datasets it offers, each with its defaults of training options.

    Returns: Options that decide the result, options of the machine, and the run's folder. Exits
    with a message that names the flag where an option or a combination makes no sense.
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


def _dataset(parser: Parser, argv: Sequence[str], datasets: Mapping[str, Mapping]) -> str | None:
    """The dataset asked for, read ahead of everything else because the defaults depend on it; None
    where none is.
    """
    if len(datasets) == 1:
        return next(iter(datasets))
    ahead = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    ahead.error = parser.error
    ahead.add_argument("--dataset", choices=list(datasets))
    return ahead.parse_known_args(argv)[0].dataset


def _defaults(dataset: str, datasets: Mapping[str, Mapping]) -> dict:
    """Every option's value when nothing is given, as in JSON."""
    defaults = {**DEFAULTS, **data.defaults(dataset), **datasets[dataset], "dataset": dataset}
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in defaults.items()
    }


def _describe(parser: Parser, tables: Mapping[str, Mapping]) -> None:
    """Makes --help show the defaults of these datasets, each where they differ, and only flags that
    one of them takes.
    """
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
        texts[name] = (
            first if not others else "; ".join(part for part in parts if not part.startswith(" "))
        )
    unused = [set(data.unused_options(dataset, data.OPTIONS)) for dataset in tables]
    parser.describe({name: text or None for name, text in texts.items()}, set.intersection(*unused))
