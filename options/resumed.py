"""Which run --resume goes on with where what it started from is not there any more: the name of its
folder is made from that content, but its checkpoints hold all weights.
"""

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import models
from options.of_training import MACHINE

RECORD = next(option for option in MACHINE if option.name == "record")


def without_younger(options: Mapping, before: Mapping) -> dict:
    """The options, without the calibration images and the features that runs of earlier versions do
    not have.
    """
    younger = {name: None for name in ("calibration", "features") if name not in before}
    return {**options, **younger}


def recall_backbone(given: Mapping) -> None:
    """Has a --backbone that is a folder or repository, and is not there any more, known by what a
    run of it recorded; nothing where there is no such run.

    Args:
        given: What the command line says.
    """
    name = given.get("backbone")
    if name is None or models.is_known(name):
        return
    for file in sorted(Path(given.get("record", RECORD.default)).glob("*/*/seed*/config.json")):
        config = _config(file)
        options, made_from = config["options"], config["backbone"]
        if options.get("backbone") == name and made_from:
            pretrained = not options.get("rand_backbone") or bool(options.get("weights"))
            with contextlib.suppress(ValueError, KeyError):  # timm has its architecture no more
                models.recall_backbone(name, made_from, pretrained)
                return


def missing_starts(options: Mapping) -> list[str]:
    """Which of the files and runs that weights start from are not there."""
    gone = ["backbone"] if models.is_recalled(options["backbone"]) else []
    return gone + [
        name
        for name, inside in (("weights", ()), ("start_from", ("config.json",)))
        if options[name] and not os.path.exists(os.path.join(options[name], *inside))
    ]


def find_begun(collection: Path, options: Mapping, missing: Sequence[str]) -> Path:
    """The folder of a run that was started with these very options, where what its weights start
    from has gone since.

    Args:
        collection: Where to look.
        options: Of the run.
        missing: What has gone, of `missing_starts`.

    Raises: ValueError: If there is no such run, or more than one.
    """
    found = [
        file.parent
        for file in sorted(collection.glob(f"*/seed{options['seed']}/config.json"))
        if _has_options(file, options)
    ]
    if len(found) == 1:
        return found[0]
    flags = " ".join(f"--{name} {options[name]}" for name in missing)
    if not found:
        raise ValueError(
            f"{flags} is not there, nor is there a run in {collection} that was started from it"
            " with these options, to go on with"
        )
    raise ValueError(
        f"{flags} is not there, and several runs were started from what had this name:"
        f" {', '.join(map(str, found))}; put back what the one to resume was started from"
    )


def differing(before: Mapping, options: Mapping) -> list[str]:
    """Names of the options that are others than those of a run before, sorted; one that is younger
    than the run was off.
    """
    return sorted(
        name
        for name in {*before, *options}
        if (before.get(name) or None) != (options.get(name) or None)
    )


def _has_options(file: Path, options: Mapping) -> bool:
    """Whether a run's config.json has these options."""
    before = _config(file)["options"]
    return bool(before) and not differing(before, without_younger(options, before))


def _config(file: Path) -> dict[str, dict]:
    """Options and backbone of a config.json; empty where it is damaged."""
    try:
        content = json.loads(file.read_text("utf-8"))
        return {name: dict(content.get(name) or {}) for name in ("options", "backbone")}
    except (OSError, ValueError, TypeError, AttributeError):
        return {"options": {}, "backbone": {}}
