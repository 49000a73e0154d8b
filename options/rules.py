"""Rules between options: what each of them needs, and what excludes each other."""

from collections.abc import Callable, Mapping

import data
import losses
import models

OFF = {
    "freeze": "none",
    "hr": 0,
    "hr_gamma": 0,
    "l2_sp": 0,
    "weight_decay": 0,
}  # values that say the same as no flag


# option -> (does it apply to these options?, what it needs)
NEEDS: dict[str, tuple[Callable[[Mapping], bool], str]] = {
    "distance": (lambda o: o["method"] != "softmax", "--method normface or DR"),
    "alpha": (lambda o: o["ema"], "--ema"),
    "beta": (lambda o: o["mds_W"], "--mds_W"),
    "mds_solver": (lambda o: o["mds_W"], "--mds_W"),
    "legacy_dynamic": (lambda o: o["dynamic"], "--dynamic"),
    "hierarchy_format": (lambda o: o["hierarchy"], "--hierarchy"),
    "levels": (lambda o: o["hierarchy"], "--hierarchy"),
    "prune_tree": (
        lambda o: o["hierarchy"] or o["dataset"] not in ("folder", "demo"),
        "--hierarchy",
    ),
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
        "--freeze last and all keep the head as it is, --ema and --dynamic move it: choose one of"
        " them",
    ),
    (
        lambda o: o["freeze"] == "all" and o["epochs"] > 0,
        "--freeze all leaves nothing to train: with --epochs 0 it evaluates the model as it starts",
    ),
    (
        lambda o: o["resume"] and o["overwrite"],
        "--resume goes on with a run, --overwrite drops it: choose one",
    ),
]


def _resolve(options: Mapping, given: set[str]) -> dict:
    """Options with short forms written out and None where an option does not apply. Raises:
    ValueError.
    """
    options = dict(options)
    if options.pop("CORR"):
        if "loss" in given and options["loss"] != "corr":
            raise ValueError(
                f"--CORR is short for --loss corr, but --loss is {options['loss']}: choose one"
            )
        options["loss"] = "corr"
    options |= {name: None for name, off in OFF.items() if options[name] == off}
    models.check_head_options(
        {name: options[name] for name in {*given, "loss", "method"} if name != "CORR"}
    )
    for holds, message in CLASHES:
        if holds(options):
            raise ValueError(message)
    for name in data.unused_options(options["dataset"], options):
        _drop(options, name, given, f"the dataset {options['dataset']} does not take it")
    kinds = data.DATASETS[options["dataset"]].splits
    if options["split"] is not None and options["split"] not in kinds:
        raise ValueError(
            f"--split {options['split']} has no meaning here: the dataset {options['dataset']}"
            f" takes {' or '.join(kinds)}"
        )
    for name, (applies, need) in NEEDS.items():
        if not applies(options):
            _drop(options, name, given, f"it needs {need}")
    for name in losses.unused_options(options["loss"], options):
        _drop(options, name, given, f"--loss {options['loss']} does not take it")
    options |= {
        name: value
        for name, value in losses.default_options(options["loss"], options).items()
        if options[name] is None
    }
    if not models.has_pretrained(options["backbone"]):
        _drop(
            options,
            "legacy_stem",
            given,
            f"--backbone {options['backbone']} always starts from random weights",
        )
        options["rand_backbone"] = options["weights"] is None
    return options


def _drop(options: dict, name: str, given: set[str], reason: str) -> None:
    if name in given and options[name] is not None and options[name] is not False:  # 0 is a value
        raise ValueError(f"--{name} has no meaning here: {reason}")
    options[name] = None
