"""What every dataset takes once its images are shared out: labels that are cut, raised or left out,
images that calibrate, and fewer or other training images.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from data.held_out import hold_out
from data.inner_labels import coarse_labels, labels_in, raise_labels
from data.sharing import cap_training, choose_split_seed, hold_out_calibration, reduce_training
from data.splits import Splits
from data.tails import make_imbalanced
from files.text import counted
from hierarchies.variants import cut
from registry import (
    Need,
    Number,
    Option,
    above_zero,
    below_one,
    factor,
    filled,
    one_of,
    positive_int,
    seed,
    with_flag,
)

# by --subset_seed
SEEDED = ("reduction_factor", "max_images", "imbalance", "raise_labels")
# taken by every dataset
OPTIONS = (
    Option(
        "calibration",
        below_one,
        0.5,
        "SHARE",
        "share of the validation images that choose nothing and set what predict.py promises; 0"
        " lets all of them choose the epoch",
        needs=Need(
            lambda options: (
                options["use_val"] and options["split"] == "stratified" and not options["last"]
            ),
            "--use_val and --split stratified, without --last: only there a validation split is"
            " drawn, and chooses",
        ),
    ),
    Option(
        "reduction_factor",
        factor,
        None,
        "R",
        "train on one in R of the training images (default: 1)",
    ),
    Option(
        "subset",
        one_of(("stratified", "published")),
        "stratified",
        help="stratified: --reduction_factor keeps the same share of every class, and where it can"
        " an image; published: it draws from all images at once, as in the papers",
        needs=with_flag("reduction_factor"),
    ),
    Option(
        "max_images",
        positive_int,
        None,
        "N",
        "train on at most N images of each class, drawn at random; the others are in no split",
    ),
    Option(
        "subset_seed",
        seed,
        42,
        "SEED",
        "seed of the images that --reduction_factor, --max_images and --imbalance keep, and of"
        " those whose label --raise_labels raises",
        needs=Need(
            lambda options: any(map(options.get, SEEDED)),
            "--reduction_factor, --max_images, --imbalance or --raise_labels",
        ),
    ),
    Option(
        "coarse_labels",
        one_of(("leaf", "use", "drop")),
        "leaf",
        help="what a class is that has classes inside. leaf: one more class; use: images labelled"
        " only as far down as that superclass, which train and count so far; drop: images to leave"
        " out",
        off="leaf",
    ),
    Option(
        "raise_labels",
        above_zero,
        None,
        "SHARE",
        "for experiments: label this share of the training images at a superclass one or two levels"
        " up, then use or drop them as --coarse_labels says",
        needs=Need(
            lambda options: options.get("coarse_labels") in ("use", "drop"),
            "--coarse_labels use or drop",
        ),
    ),
    Option(
        "imbalance",
        Number(float, lambda x: 1 < x < float("inf"), "a finite number above 1"),
        None,
        "RATIO",
        "for experiments: make the training split long-tailed, with this many times more images of"
        " the largest class than of the smallest, in equal ratios between",
    ),
    Option(
        "hold_out",
        filled,
        None,
        "CLASS",
        "classes or superclasses that training shall never see: their images become a split of"
        " their own, to see what is answered for them (evaluate.py --rules)",
        several=True,
    ),
    Option(
        "label_depth",
        positive_int,
        None,
        "DEPTH",
        "train on the superclasses at this depth below the root instead of on the classes; a coarse"
        " run to go with a fine one in evaluate.py --coarse",
    ),
)


def change(splits: Splits, options: Mapping) -> Splits:
    """The splits of a dataset with all that the options in OPTIONS ask for.

    Args:
        splits: As the dataset gives them.
        options: Of the dataset, defaults included; calibration is None in runs of earlier versions.

    Raises: ValueError: If an option does not fit the splits or another one.
    """
    coarse = options["coarse_labels"]
    if coarse != "leaf":
        splits = coarse_labels(splits, coarse)
    if options["hold_out"]:
        splits = hold_out(splits, options["hold_out"])
    if options["calibration"] and len(splits.val):
        if options.get("split") != "stratified":
            raise ValueError(
                f"calibration images are held out of a split that is drawn 'stratified', not of"
                f" {options.get('split') or 'that of the dataset'!r}"
            )
        splits = _calibrate(splits, options["calibration"], choose_split_seed(options))
    if options["max_images"] is not None:
        splits = _cap(splits, options["max_images"], options["subset_seed"])
    if options["reduction_factor"] == 1:
        note = "a reduction_factor of 1 keeps all training images"
        splits = replace(splits, notes=(*splits.notes, note))
    elif options["reduction_factor"] is not None:
        splits = _reduce(
            splits, options["reduction_factor"], options["subset_seed"], options["subset"]
        )
    if options["imbalance"] is not None:
        splits = make_imbalanced(splits, options["imbalance"], options["subset_seed"])
    if options["raise_labels"] is not None:
        if coarse == "leaf":
            raise ValueError("raise_labels needs coarse_labels use or drop")
        splits = raise_labels(splits, options["raise_labels"], options["subset_seed"], coarse)
    if options["label_depth"] is not None:
        splits = _at_depth(splits, options["label_depth"])
    return splits


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
        f"{counted(larger, 'class has', 'classes have')} more than {most} training images:"
        f" not used, {len(splits.train) - len(kept)} of {len(splits.train)} (--max_images)"
    )
    return replace(splits, train=kept, notes=(*splits.notes, note))


def _reduce(splits: Splits, factor: float, seed: int, subset: str) -> Splits:
    if subset not in ("stratified", "published"):
        raise ValueError(f"subset must be 'stratified' or 'published', got {subset!r}")
    kept, vanished = reduce_training(
        splits.train, splits.labels, factor, seed, stratified=subset == "stratified"
    )
    lost = f"; without any: {counted(len(vanished), 'class', 'classes')}" if len(vanished) else ""
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
        labels=labels_in(tree, splits.hierarchy, splits.labels),
        living=living,
        notes=(*splits.notes, note),
    )
