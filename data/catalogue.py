"""Every dataset, and how one is read by its name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from data import (
    after_split,
    aircraft,
    cifar100,
    cub,
    demo,
    folder,
    imagenet,
    inaturalist,
    inaturalist2021,
    nabirds,
    plankton,
    tieredimagenet,
    tinyimagenet,
)
from data.options import SHARED
from data.splits import Splits, coverage_notes
from registry import Option, Registry, possible


@dataclass(frozen=True)
class Dataset:
    """A function from options to Splits, and what it takes.

    Attributes:
        load: Values of its options, by name, and its own name as "dataset" -> Splits.
        defaults: Those of the options in `data.options` that it takes, with their values when
            nothing is given.
        splits: The kinds of split that it has, see `data.options.KINDS`.
        own: Options that it alone declares.
    """

    load: Callable[[Mapping], Splits]
    defaults: Mapping[str, object]
    splits: tuple[str, ...] = ("stratified", "published")
    own: tuple[Option, ...] = ()

    @cached_property  # a command line asks for it some hundred times
    def options(self) -> tuple[Option, ...]:
        """All options that it takes, those of every dataset included."""
        shared = (
            SHARED[name].defaulting(self.defaults[name]) for name in SHARED if name in self.defaults
        )
        return (*shared, *after_split.OPTIONS, *self.own)


DATASETS = Registry(
    Option("dataset", help="image collection to train on"),
    {
        "demo": Dataset(demo.load, demo.TAKEN),
        "folder": Dataset(folder.load, folder.DEFAULTS, ("stratified", "published", "given")),
        "MicroS": Dataset(plankton.load, plankton.DEFAULTS),
        "MicroL": Dataset(plankton.load, plankton.DEFAULTS),
        "MesoZ": Dataset(plankton.load, {**plankton.DEFAULTS, "gray": True}),
        "CIFAR100": Dataset(cifar100.load, cifar100.DEFAULTS),
        "NABirds": Dataset(nabirds.load, nabirds.DEFAULTS, nabirds.SPLITS),
        "TinyImageNet": Dataset(tinyimagenet.load, tinyimagenet.DEFAULTS),
        "iNaturalist": Dataset(inaturalist.load, inaturalist.DEFAULTS),
        "ImageNet": Dataset(imagenet.load, imagenet.DEFAULTS),
        "TieredImageNet": Dataset(tieredimagenet.load, tieredimagenet.DEFAULTS),
        "iNaturalist2021": Dataset(inaturalist2021.load, inaturalist2021.DEFAULTS),
        "CUB": Dataset(cub.load, cub.DEFAULTS),
        "Aircraft": Dataset(aircraft.load, aircraft.DEFAULTS),
    },
    spoken="the dataset",
)


def defaults(dataset: str) -> dict:
    """The options that a dataset takes, with their values when nothing is given. Raises:
    ValueError: If it is unknown.
    """
    if dataset not in DATASETS:
        raise ValueError(f"there is no dataset {dataset!r}; choose from {', '.join(DATASETS)}")
    return {option.name: option.default for option in DATASETS[dataset].options}


def unused_options(dataset: str, options: Mapping) -> list[str]:
    """The names among the options that belong to datasets, but not to this one."""
    taken = defaults(dataset)
    known = possible([DATASETS.option])
    return [name for name in options if name in known and name not in taken and name != "dataset"]


def load(options: Mapping) -> Splits:
    """Reads the dataset that options['dataset'] names.

    Args:
        options: Options of the dataset, see its module, and those that all take, see
            `data.after_split.OPTIONS`. None is the dataset's default, but for calibration, where it
            means none, as in runs of earlier versions; names that belong to no dataset are passed
            over.

    Raises: ValueError: If the dataset is unknown, does not take an option that is set, or cannot be
    read as it is.
    """
    if options.get("dataset") is None:
        raise ValueError(f"a dataset is needed: one of {', '.join(DATASETS)}")
    dataset = options["dataset"]
    taken = defaults(dataset)
    for name in unused_options(dataset, options):
        if options[name] not in (None, False):
            raise ValueError(f"dataset {dataset} takes no option {name}, got {options[name]!r}")
    given = {name: value for name, value in options.items() if name in taken and value is not None}
    settings = {**taken, **given, "dataset": dataset}
    if "data_dir" in taken and settings["data_dir"] is None:
        fetched = ", into which --download fetches them" if "download" in taken else ""
        raise ValueError(
            f"dataset {dataset!r} needs the folder of its images{fetched}: give --data_dir"
        )
    later = {option.name for option in after_split.OPTIONS}
    splits = DATASETS[dataset].load(
        {name: value for name, value in settings.items() if name not in later}
    )
    splits = after_split.change(splits, {**settings, "calibration": options.get("calibration")})
    return replace(splits, notes=(*splits.notes, *coverage_notes(splits)))
