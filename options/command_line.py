"""The command line: from arguments to options, combinations checked before any work is done.

Whoever takes an option declares it; the flags that follow are in flags.py, what they mean together
in rules.py. `parse` returns two dicts: the options that decide a run's result, which are recorded
and name its folder, and those of the machine. An option that the chosen dataset, method or loss
does not take is None in the record and an error on the command line.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import data
from data.options import SHARED
from options.argument_files import read_argument_files
from options.flags import build_parser, declared
from options.folder_name import collection_folder, run_folder
from options.parser import Parser
from options.resumed import find_begun, missing_starts, recall_backbone
from options.rules import resolve
from registry import possible

# where data.load finds images and how it keeps them
PLACES = tuple(name for name, option in SHARED.items() if option.machine)


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
    given = {"dataset": next(iter(datasets)), **vars(parser.parse_args(argv))}
    try:
        if given.get("resume"):
            recall_backbone(given)
        options, defaults = resolve(given, datasets[given["dataset"]])
        is_machine = {name for name, option in possible(declared()).items() if option.machine}
        machine = {name: options.pop(name) for name in sorted(is_machine)}
        collection = collection_folder(machine, options)
        if machine["resume"] and (gone := missing_starts(options)):
            return options, machine, find_begun(collection, options, gone)
        return options, machine, run_folder(collection, options, defaults)
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
    """Every option's value when nothing is given; for --help."""
    declared_ones = possible(declared()).values()
    return {
        **{option.name: option.default for option in declared_ones},
        **data.defaults(dataset),
        **datasets[dataset],
    }


def _describe(parser: Parser, tables: Mapping[str, Mapping]) -> None:
    """Makes --help show the defaults of these datasets, each where they differ, and only flags that
    one of them takes.
    """
    texts = {}
    for name in sorted({name for table in tables.values() for name in table}):
        groups = defaultdict(list)
        for dataset, table in tables.items():
            value = table.get(name)
            text = " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
            groups["" if value is None or value is False else text].append(dataset)
        first, *others = sorted(groups, key=lambda text: (len(groups[text]), text != ""))
        parts = [f"{text} for {', '.join(groups[text])}" for text in (first, *others)]
        texts[name] = (
            first if not others else "; ".join(part for part in parts if not part.startswith(" "))
        )
    of_datasets = possible([data.DATASETS.option])
    elsewhere = {option.name for option in declared()}
    unused = [set(data.unused_options(dataset, of_datasets)) - elsewhere for dataset in tables]
    parser.describe({name: text or None for name, text in texts.items()}, set.intersection(*unused))
