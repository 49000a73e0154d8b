"""The flags of the training scripts, in groups, made from what data, models, losses and training
declare.
"""

import argparse
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import data
import losses
import models
from options.of_training import MACHINE, TRAINING
from options.parser import Parser, add_option
from registry import Option, one_of, possible

FIRST_TITLE = "first of all"
FIRST = ("dataset", "data_dir", "method", "backbone", "use_val", "epochs")  # a beginner's
EPILOG = """Flags can be kept in a file, for what differs from machine to machine, and read with \
@FILE: UTF-8 text,
# starts a comment, quotes hold a value with spaces together, a backslash means itself."""


def groups() -> dict[str, tuple[Option, ...]]:
    """Title of a group -> the options in it; behind one that chooses a part come those that the
    parts take.
    """
    return {
        "data: splits, class tree, tables, how images are read": (data.DATASETS.option,),
        "model: starting weights, what is trained": models.OPTIONS,
        "method (the head): class vectors, scale, class frequencies": (models.HEADS.option,),
        "loss: over the class tree, and penalties": (
            losses.LOSSES.option,
            *(
                option
                for penalty in losses.PENALTIES.values()
                for option in (penalty.coefficient, *penalty.options)
            ),
        ),
        "training: recipe, epoch kept, augmentation": TRAINING,
        "machine (not part of a run's identity): GPU, record, resume": MACHINE,
    }


def declared() -> tuple[Option, ...]:
    """The options that do not depend on a choice; all others are found from them, see
    `registry.possible` and `registry.taken`.
    """
    return tuple(option for options in groups().values() for option in options)


def build_parser(description: str, datasets: Sequence[str]) -> Parser:
    """A parser with every flag of the training scripts; what was not given is not in its result.

    Args:
        description: What the script trains on.
        datasets: The datasets it offers.
    """
    epilog = EPILOG
    if len(datasets) > 1:
        epilog += "\n--dataset NAME --help shows the flags and defaults of that dataset alone."
    parser = Parser(FIRST_TITLE, description=description, epilog=epilog)
    everything, takers = possible(declared()), _takers()
    placed = {"dataset"} if len(datasets) == 1 else set()
    _add(parser, FIRST_TITLE, [everything[name] for name in FIRST], datasets, placed, takers)
    later = {option.name for option in declared()}  # in their own group, whoever else takes them
    for title, options in groups().items():
        members = []
        for option in options:
            below = [other for name, other in possible([option]).items() if name not in later]
            members += [option, *(other for other in below if not other.machine)]
        if options is MACHINE:
            members += [option for option in everything.values() if option.machine]
        _add(parser, title, members, datasets, placed, takers)
    return parser


def _add(
    parser: Parser,
    title: str,
    options: Sequence[Option],
    datasets: Sequence[str],
    placed: set[str],
    takers: Mapping[str, Mapping[str, Collection[str]]],
) -> None:
    group = parser.add_argument_group(title)
    for option in options:
        if option.name in placed:
            continue
        placed.add(option.name)
        changes = {"default": argparse.SUPPRESS}
        if option.parts is not None and option.default is None:
            changes["required"] = True
        if option.name == "dataset":
            changes["choices"] = datasets
        if option.name == "split":
            option = _split_option(option, datasets)
        add_option(group, replace(option, help=_help(option, takers)), **changes)
        for name, part in (option.parts or {}).items():
            if flag := getattr(part, "short_flag", None):
                group.add_argument(
                    f"--{flag}",
                    action="store_true",
                    default=argparse.SUPPRESS,
                    help=f"short for --{option.name} {name}",
                )


def _split_option(option: Option, datasets: Sequence[str]) -> Option:
    kinds = list(dict.fromkeys(kind for name in datasets for kind in data.DATASETS[name].splits))
    texts = [f"{kind}: {data.KINDS[kind]}" for kind in kinds if kind in data.KINDS]
    return replace(option, values=one_of(kinds), help="; ".join([option.help, *texts]))


def _takers() -> dict[str, dict[str, Collection[str]]]:
    """How a message speaks of a registry -> name of each of its parts -> options that the part
    takes.
    """
    registries = (models.HEADS, models.BACKBONES, losses.LOSSES)
    return {
        registry.spoken: {name: possible(part.options) for name, part in registry.items()}
        for registry in registries
    }


def _help(option: Option, takers: Mapping[str, Mapping[str, Collection[str]]]) -> str:
    """The help of an option, with what can be chosen, and whose it is where not all take it."""
    text = option.help
    if option.parts is not None and (summaries := option.parts.summaries()):
        text += f". {summaries}"
    for spoken, parts in takers.items():
        names = [name for name, options in parts.items() if option.name in options]
        if names and len(names) < len(parts) and spoken not in text:
            text += f" (with {spoken} {', '.join(names)})"
    return text
