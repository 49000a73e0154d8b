"""The runs of a cross-validation as one: every image of the collection is tested once."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from data.folds import Fold
from files.text import encoded, for_people, printable
from files.writing import write_whole
from metrics import Outputs
from runs.folder import Run, RunError


class Folds(NamedTuple):
    """The N runs of a cross-validation, in the order of their folds."""

    runs: tuple[Run, ...]

    @property
    def name(self) -> str:
        """What the runs share, for the name of a file: method, options, number of folds, seed."""
        first = self.runs[0].folder
        text = re.sub(r"fold=[^-]*", f"folds={len(self.runs)}", first.parent.name)
        return f"pooled-{text}-{first.name}"


def find_folds(runs: Iterable[Run]) -> list[Folds]:
    """Cross-validations among the runs, which differ in nothing but the fold.

    Raises: RunError: If there is none, or a run of one is missing or unfinished.
    """
    found: dict[str, dict[int, Run]] = {}
    for run in runs:
        fold = run.options.get("fold")
        if fold is None:
            continue
        number, count = Fold.parts(fold)
        others = {name: value for name, value in run.options.items() if name != "fold"}
        tree = run.config.get("hierarchy")
        key = json.dumps([count, tree, str(run.folder.parents[1]), others], sort_keys=True)
        found.setdefault(key, {})[number] = run
    if not found:
        raise RunError(
            "none of these runs is one of a cross-validation: train with --fold 1/N to --fold N/N"
        )
    complete = []
    for key, folds in found.items():
        count = json.loads(key)[0]
        missing = [k for k in range(1, count + 1) if k not in folds or not folds[k].finished]
        if missing:
            one = next(iter(folds.values()))
            raise RunError(
                f"of the {count} folds of {one.folder} {', '.join(map(str, missing))} are missing"
                " or unfinished: train them with the same options, and name their folders, or the"
                " one above them"
            )
        complete.append(Folds(tuple(folds[k] for k in sorted(folds))))
    return complete


def pool(folds: Folds) -> Outputs:
    """The test images of all folds, scored each by the model that has not seen it. The models have
    class vectors and embeddings of their own, so there are none, and no measures of them.

    Raises: RunError: If an image is tested twice.
    """
    arrays = [run.arrays_of_classes("test") for run in folds.runs]
    if not all("scores" in one for one in arrays):
        raise RunError(
            f"{folds.runs[0].folder} has so many classes that its scores are not kept: folds of"
            " such runs are not pooled"
        )
    files = np.concatenate([one["files"] for one in arrays])
    names, counts = np.unique(files, return_counts=True)
    if (counts > 1).any():
        raise RunError(
            f"{printable(str(names[counts.argmax()]))!r} is tested by several of the folds of"
            f" {folds.runs[0].folder}: have the images changed between them?"
        )
    tree = folds.runs[0].hierarchy
    grouped = all("groups" in one for one in arrays)
    return Outputs(
        tree,
        labels=np.concatenate([one["labels"] for one in arrays]),
        scores=np.concatenate([one["scores"] for one in arrays]),
        embeddings=np.empty((len(files), 0), np.float32),
        class_vectors=np.empty((tree.num_classes, 0), np.float32),
        prototypes=np.empty((tree.num_classes, 0), np.float32),
        beta=folds.runs[0].options.get("beta") or 1.0,
        clusters=np.concatenate([one["groups"] for one in arrays]) if grouped else None,
    )


def write(folds: Folds, tables: Mapping[str, pd.DataFrame]) -> list[Path]:
    """Writes tables beside the folders of the runs, a file for each name; returns their paths."""
    place, paths = folds.runs[0].folder.parents[1], []
    for name, table in tables.items():
        path = place / f"{folds.name}{f'-{name}' if name else ''}.csv"
        text = for_people(table).to_csv(index=False, na_rep="nan", lineterminator="\n")
        write_whole(path, encoded(text))
        paths.append(path)
    return paths
