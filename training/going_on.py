"""--start_from: a run goes on from what an earlier one learned, on new images, classes or another
tree.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from data import Splits
from data.options import READING
from hierarchies import Hierarchy
from hierarchies.tree import format_path
from models import Classifier, going_on
from runs.files import STARTED_FROM, RunError
from runs.folder import Run

# splits whose images should be new to the weights, as messages call them
HELD_BACK = {"val": "validation", "calibration": "calibration", "test": "test"}
# what decides which weights a model has, and what its class vectors mean
SAME = ("backbone", "method", "dim", "distance", "legacy_stem", "no_normalize")


def check_start(options: Mapping) -> None:
    """Looks whether the run that this one starts from can be gone on from, before any work.

    Raises: RunError: If it is not finished, or had other options that decide which weights there
    are.
    """
    if options["start_from"] is None:
        return
    run = _finished(options["start_from"])
    before = run.options
    wrong = [name for name in SAME if (before.get(name) or None) != (options.get(name) or None)]
    if before.get("size_inform") and not options["size_inform"]:
        wrong.append("size_inform")
    if not wrong:
        return
    theirs = " ".join(_flag(name, before.get(name)) for name in wrong)
    ours = " ".join(_flag(name, options.get(name)) for name in wrong)
    raise RunError(
        f"--start_from {run.folder}: that run had {theirs}, this one has {ours}, so its weights do"
        " not fit: give this one the same"
    )


def start_from(
    model: Classifier, options: Mapping, hierarchy: Hierarchy
) -> tuple[dict, pd.DataFrame]:
    """Fills a model with what the run of --start_from learned.

    Returns: What to record of that run, with notes for the user; and what became of each class:
    columns class, status, from.
    Raises: RunError: If it cannot be read or does not fit.
    """
    run = _finished(options["start_from"])
    name = run.result_checkpoint
    state = run.checkpoint(name)["model"]
    try:
        changes, notes = going_on.go_on(model, state, run.hierarchy, hierarchy)
    except ValueError as error:
        raise RunError(f"--start_from {run.folder}: {error}") from error
    counts = Counter(move.status for move in changes)
    shown = ", ".join(f"{counts[status]} {status}" for status in ("kept", "moved", "new", "gone"))
    random = sum(move.status == "new" and not move.sources for move in changes)
    chance = f", {random} of them at random" if random else ""
    note = f"started from {run.folder} ({name}): classes {shown}{chance}; see {STARTED_FROM}"
    table = pd.DataFrame(
        {
            "class": [format_path(move.path) for move in changes],
            "status": [move.status for move in changes],
            "from": [move.of for move in changes],
        }
    )
    record = {"run": str(run.folder.resolve()), "checkpoint": name, "classes": dict(counts)}
    return {**record, "notes": [note, *notes]}, table


def trained_before(options: Mapping, splits: Splits) -> list[str]:
    """Notes where images that this run does not train on trained a run that its weights come from,
    by --start_from or --weights, or one before that: the network knows them, and does better on
    them than on new ones. Images are known by their content.
    """
    notes, trained = [], np.zeros(len(splits.files), bool)
    for run in earlier_runs(options):
        before = _training_images(run, options)
        content = None if before is None else splits.content_by(run.fingerprints_of)
        if content is None:
            notes.append(
                f"whether {run.folder} was trained on images that test this run is not known: it"
                " read its images in another way, or did not record their content"
            )
        else:
            trained |= np.isin(np.array(content), before)
    parts = {said: getattr(splits, name) for name, said in HELD_BACK.items()}
    seen = [
        f"{int(trained[part].sum())} of {len(part)} {said} images"
        for said, part in parts.items()
        if trained[part].any()
    ]
    if seen:
        notes.append(
            f"{', '.join(seen)} trained a run that the weights come from: measures of them are too"
            " good for new images. Test on others, or keep each image in its split of that run,"
            " whose split.csv is a table (--table, --split given --split_column split)"
        )
    return notes


def _training_images(run: Run, options: Mapping) -> np.ndarray | None:
    """The content of the training images of a run; None where it is not recorded, or is of pixels
    that these options do not make.
    """
    alike = all((run.options.get(name) or None) == (options.get(name) or None) for name in READING)
    if run.fingerprints_of is None or not alike:
        return None
    with contextlib.suppress(RunError, KeyError):  # damaged
        return run.split.set_index("split")["fingerprint"].loc[["train"]].to_numpy(str)
    return None


def earlier_runs(options: Mapping, started_from: object = None) -> Iterator[Run]:
    """The run that the weights of another come from, by its options, and those before it, as far as
    they are there; weights may stand beside a config.json of another program.

    Args:
        started_from: What that run recorded under this name, which holds wherever it is read.
    """
    weights = options.get("weights")
    beside = str(Path(weights).parent) if isinstance(weights, str) and weights else None
    folder, start = options.get("start_from") or beside, started_from
    met: set[Path] = set()
    while True:
        folder = start.get("run") if isinstance(start, dict) else folder
        if not isinstance(folder, str) or Path(folder).resolve() in met:
            return
        met.add(Path(folder).resolve())
        run, folder = Run(folder), None
        try:
            start = run.config.get("started_from")
        except RunError:
            return
        yield run


def _finished(folder: str) -> Run:
    run = Run(Path(folder))
    try:
        _ = run.config
    except RunError as error:
        raise RunError(f"--start_from: {error}") from error
    if not run.finished:
        raise RunError(
            f"--start_from {folder}: that run did not finish; continue it first, with its own"
            " command and --resume"
        )
    return run


def _flag(name: str, value: object) -> str:
    if value is None or value is False:
        return f"no --{name}"
    return f"--{name}" if value is True else f"--{name} {value}"
