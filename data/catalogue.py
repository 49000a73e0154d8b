"""Every dataset, and what all of them take."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from data import (
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
from data.held_out import hold_out
from data.inner_labels import at_depth, coarse_labels, raise_labels
from data.options import AFTER_SPLIT, SHARED
from data.sharing import (
    cap_training,
    choose_split_seed,
    hold_out_calibration,
    reduce_training,
)
from data.splits import Splits, coverage_notes
from data.tails import make_imbalanced
from hierarchies.variants import cut
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
        return (*shared, *AFTER_SPLIT, *self.own)


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
        options: Options of the dataset, see its module; None is the dataset's default, names that
            belong to no dataset are passed over. For all datasets: reduction_factor R keeps 1/R of
            the training images, drawn by subset_seed; of every class if subset is 'stratified', of
            all images at once if it is 'published'; max_images keeps so many of each class, also
            drawn by subset_seed; calibration is the share of the validation images that becomes the
            split of that name, None for none, as in runs of earlier versions; coarse_labels says
            what a class is that has classes inside, see `data.inner_labels`; imbalance and
            raise_labels change the training images, by subset_seed.

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
    later = {option.name for option in AFTER_SPLIT}
    splits = DATASETS[dataset].load(
        {name: value for name, value in settings.items() if name not in later}
    )
    coarse = settings["coarse_labels"]
    if coarse != "leaf":
        splits = coarse_labels(splits, coarse)
    if settings["hold_out"]:
        splits = hold_out(splits, settings["hold_out"])
    if options.get("calibration") and len(splits.val):
        if settings.get("split") != "stratified":
            raise ValueError(
                f"calibration images are held out of a split that is drawn 'stratified', not of"
                f" {settings.get('split') or 'that of the dataset'!r}"
            )
        splits = _calibrate(splits, options["calibration"], choose_split_seed(settings))
    if settings["max_images"] is not None:
        splits = _cap(splits, settings["max_images"], settings["subset_seed"])
    if settings["reduction_factor"] == 1:
        note = "a reduction_factor of 1 keeps all training images"
        splits = replace(splits, notes=(*splits.notes, note))
    elif settings["reduction_factor"] is not None:
        splits = _reduce(
            splits, settings["reduction_factor"], settings["subset_seed"], settings["subset"]
        )
    if settings["imbalance"] is not None:
        splits = make_imbalanced(splits, settings["imbalance"], settings["subset_seed"])
    if settings["raise_labels"] is not None:
        if coarse == "leaf":
            raise ValueError("raise_labels needs coarse_labels use or drop")
        splits = raise_labels(splits, settings["raise_labels"], settings["subset_seed"], coarse)
    if settings["label_depth"] is not None:
        splits = _at_depth(splits, settings["label_depth"])
    return replace(splits, notes=(*splits.notes, *coverage_notes(splits)))


def _calibrate(splits: Splits, share: float, seed: int) -> Splits:
    val, calibration = hold_out_calibration(
        splits.val, splits.labels, share, seed, groups=splits.groups
    )
    if not len(calibration):
        note = (
            f"the {len(splits.val)} validation images are too few, or of too few groups, to hold"
            " some out of the choice of the epoch: predict.py will promise nothing"
        )
        return replace(splits, notes=(*splits.notes, note))
    return replace(splits, val=val, calibration=calibration)


def _cap(splits: Splits, most: int, seed: int) -> Splits:
    kept, larger = cap_training(splits.train, splits.labels, most, seed)
    note = (
        f"{larger} classes have more than {most} training images: {len(splits.train) - len(kept)}"
        f" of {len(splits.train)} are not used (--max_images)"
    )
    return replace(splits, train=kept, notes=(*splits.notes, note))


def _reduce(splits: Splits, factor: float, seed: int, subset: str) -> Splits:
    if subset not in ("stratified", "published"):
        raise ValueError(f"subset must be 'stratified' or 'published', got {subset!r}")
    kept, vanished = reduce_training(
        splits.train, splits.labels, factor, seed, stratified=subset == "stratified"
    )
    lost = f"; {len(vanished)} classes lost their last one" if len(vanished) else ""
    note = (
        f"{len(kept)} of {len(splits.train)} training images are kept (reduction_factor"
        f" {factor}){lost}"
    )
    return replace(splits, train=kept, notes=(*splits.notes, note))


def _at_depth(splits: Splits, depth: int) -> Splits:
    """The same images in the same splits, labelled with the nodes at a depth of the tree."""
    if depth >= splits.hierarchy.max_depth:
        raise ValueError(
            f"--label_depth {depth} leaves all classes as they are: the tree has"
            f" {splits.hierarchy.max_depth} levels, take a depth above its last"
        )
    tree, above = cut(splits.hierarchy, depth)
    living = None
    if splits.living is not None:
        living = np.bincount(above, weights=splits.living) > 0
    note = (
        f"label_depth {depth}: {tree.num_classes} superclasses take the place of"
        f" {splits.num_classes} classes"
    )
    return replace(
        splits,
        hierarchy=tree,
        labels=at_depth(splits.hierarchy, tree, above, splits.labels),
        living=living,
        notes=(*splits.notes, note),
    )
