"""Many recorded runs as one long table, and its statistics over seeds: means, intervals, paired
tests.
"""

import json
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import NamedTuple

import numpy as np
import pandas as pd

from files import fingerprints
from files.pickles import is_sealed
from runs.folder import Run, RunError

METHOD_ORDER = ("softmax", "normface", "DR")
GROUP = ["dataset", "hierarchy"]
ROW = [*GROUP, "method", "options"]
# options that name a file, as options.folder_name.file_options() has them
FILES = ("weights", "hierarchy", "split_list", "table", "label_map", "class_vectors", "start_from")
_RUN_FILES = {"config.json", "metrics.csv", "epochs.csv", "test.pkl", "last.pt", "best.pt"}


class Entry(NamedTuple):
    """A finished run: what places it in the tables, and its metrics (columns metric, value)."""

    folder: Path
    dataset: str
    hierarchy: str
    method: str
    options: dict
    seed: int
    split: str
    metrics: pd.DataFrame
    # what fingerprints of the images' content are made of -> of them all together, where known
    images: Mapping[str, str]
    place: str | None = None  # of the images

    @property
    def row(self) -> tuple[str, str, str]:
        """What runs that differ only in their seed share."""
        return self.dataset, self.hierarchy, json.dumps(self.options, sort_keys=True)


@dataclass(frozen=True)
class Record:
    """Everything read below a folder.

    Attributes:
        values: One row for each metric of each finished run: dataset, hierarchy, method, options
            (the name of its row in the tables), seed, split, similarity (distance and beta behind
            HS and AHS), folder, metric, value.
        options: The options of each row but its seed, by (dataset, hierarchy, name of the row).
        finished: Number of runs in `values`.
        unfinished: A line for each run without results, with its epochs done and in total.
        damaged: A message for each folder that could not be read.
        warnings: What else is wrong, without effect on the values.
    """

    values: pd.DataFrame
    options: Mapping[tuple[str, str, str], dict]
    finished: int
    unfinished: tuple[str, ...]
    damaged: tuple[str, ...]
    warnings: tuple[str, ...]


def run_folders(record: str | os.PathLike) -> list[Path]:
    """Folders with a run or remains of one, at or below a folder, sorted: one of a run's files, or
    the name seed<k>.
    """
    folders = []
    for folder, below, files in os.walk(record):
        below[:] = [name for name in below if not name.startswith(".")]
        remains = files != [".lock"]  # which is all that a refused run leaves
        if not _RUN_FILES.isdisjoint(files) or (
            remains and re.fullmatch(r"seed\d+", os.path.basename(folder))
        ):
            folders.append(Path(folder))
    return sorted(folders)


def read_record(record: str | os.PathLike, *, checkpoints: bool = True) -> Record:
    """Reads the metrics of every run at or below a folder; what cannot be read is named and left
    out, no error.

    Args:
        record: The folder.
        checkpoints: Whether to warn of damaged checkpoints, too; looking at them takes torch.
    """
    entries, unfinished, damaged, warnings = [], [], [], []
    for folder in run_folders(record):
        run = Run(folder)
        try:
            if run.exists and not run.finished:
                unfinished.append(epochs_done(run))
            else:
                entries.append(_read_entry(run))
            warnings += _damaged_results(run, checkpoints)
        except (RunError, OSError) as error:
            damaged.append(str(error))
    entries, doubles = _without_doubles(entries)
    names = _row_names(entries)
    options = {(*entry.row[:2], names[entry.row]): entry.options for entry in entries}
    values, said = _long_table(entries, names), (*warnings, *doubles, *_mixed(entries))
    return Record(values, options, len(entries), tuple(unfinished), tuple(damaged), said)


def epochs_done(run: Run) -> str:
    """'<folder>: 3 of 20 epochs' for a run without results. Raises: RunError."""
    total = run.options.get("epochs", "an unknown number of")
    return f"{run.folder}: {len(run.epochs)} of {total} epochs"


def find_rows(values: pd.DataFrame, name: str) -> list[str]:
    """The rows of a table that a name means: the one called so, or else those of the method called
    so; maybe none.
    """
    rows = values[["method", "options"]].drop_duplicates()
    if (rows["options"] == name).any():
        return [name]
    return rows.loc[rows["method"].str.lower() == name.lower(), "options"].tolist()


def _read_entry(run: Run) -> Entry:
    config, options = run.config, dict(run.options)
    dataset, method = run.option("dataset", str), run.option("method", str)
    seed = run.option("seed", int)
    options.pop("seed")
    # an option that is off means the same as one that did not exist yet when the run was made
    options = {
        name: _portable(name, value)
        for name, value in options.items()
        if value is not None and value is not False
    }
    tree, split = str(config.get("hierarchy") or run.hierarchy.digest), str(config.get("split", ""))
    if dataset == "folder":  # collections of one's own go by the name of their folder
        dataset = run.folder.resolve().parent.parent.name
    digests = {}
    if run.fingerprints_of not in (None, fingerprints.FILES):
        others = config.get("images_by")
        digests = {**(others if isinstance(others, dict) else {})}
        digests[run.fingerprints_of] = str(config["images"].get("digest"))
    metrics = _checked_metrics(run)
    return Entry(
        run.folder, dataset, tree, method, options, seed, split, metrics, digests, run.images_in
    )


def _portable(name: str, value: object) -> object:
    """An option as it is on every machine: of a file only its name."""
    return PureWindowsPath(value).name if name in FILES and isinstance(value, str) else value


def _checked_metrics(run: Run) -> pd.DataFrame:
    """Columns metric and value of metrics.csv. Raises: RunError: If a row is cut off, is not a
    number or is there twice.
    """
    table, path = run.metrics, run.folder / "metrics.csv"
    numbers = table[["value", "n", "undefined"]].apply(pd.to_numeric, errors="coerce")
    broken = numbers[["n", "undefined"]].isna().any(axis=1) | (
        numbers["value"].isna() & table["value"].notna()
    )
    broken |= table["metric"].isna() | table["metric"].duplicated()
    if table.empty or broken.any():
        where = f"line {int(np.argmax(broken)) + 2}" if len(table) else "it holds no metric"
        raise RunError(
            f"{path} is damaged ({where}); remove it and use --resume, or run it again with"
            " --overwrite"
        )
    checked = pd.DataFrame(
        {"metric": table["metric"].astype(str), "value": numbers["value"].astype(float)}
    )
    infinite = checked.loc[np.isinf(checked["value"]), "metric"]
    if len(infinite):
        raise RunError(
            f"{path}: {infinite.iloc[0]} is infinite, which no mean can hold; run it again with"
            " --overwrite"
        )
    return checked


def _damaged_results(run: Run, checkpoints: bool) -> list[str]:
    """Messages about results that are there but cannot be used; files that were not copied along
    are not damage.
    """
    found = []
    name = "last.pt"
    if run.finished:  # runs of other programs' predictions have none
        name = run.config.get("result_checkpoint") and run.result_checkpoint
    if checkpoints and name and (run.folder / name).exists():
        # only what looks at checkpoints waits for torch
        from torch.utils.serialization import config as serialization

        try:
            # reads the table of contents, not the tensors
            with serialization.patch("load.mmap", True):
                run.checkpoint(name, check=False)
        except RunError as error:
            found.append(str(error))
    arrays = run.folder / "test.pkl"
    if arrays.exists() and not is_sealed(arrays):
        found.append(
            f"{arrays} is damaged: it is cut off or not a pickle; {run.way_back(arrays.name)}"
        )
    return found


def _without_doubles(entries: Sequence[Entry]) -> tuple[list[Entry], list[str]]:
    """The entries without copies of one run under several folders, and a line for each copy left
    out.
    """
    kept, messages = {}, []
    for entry in entries:
        first = kept.setdefault((entry.row, entry.seed), entry)
        if first is not entry:
            messages.append(
                f"{entry.folder} is left out: {first.folder} has the same options and seed"
            )
    return list(kept.values()), messages


def _mixed(entries: Sequence[Entry]) -> list[str]:
    """A line for each row of the tables whose seeds are on different images."""
    rows, messages = defaultdict(dict), []
    for entry in entries:
        for of, digest in entry.images.items():  # those of different hashes say nothing
            rows[entry.row, of].setdefault(digest, entry)
    for different in rows.values():
        first, *others = different.values()
        messages += [
            f"{other.folder} (images in {other.place}) and {first.folder} (images in {first.place})"
            " are on different images, but count as seeds of one method: move one of them to"
            " another folder, and train with --record DIR"
            for other in others
        ]
    return list(dict.fromkeys(messages))


def _long_table(entries: Sequence[Entry], names: Mapping[tuple, str]) -> pd.DataFrame:
    """See `Record.values`; tables in alphabetical order, their rows by method and name, and by
    seed.
    """
    order = {method: position for position, method in enumerate(METHOD_ORDER)}

    def place(entry: Entry) -> tuple:
        return (
            *entry.row[:2],
            order.get(entry.method, len(order)),
            entry.method,
            names[entry.row],
            entry.seed,
        )

    columns = [*ROW, "seed", "split", "similarity", "folder", "metric", "value"]
    tables = [pd.DataFrame(columns=columns)] if not entries else []
    for entry in sorted(entries, key=place):
        row = dict(zip(ROW, (entry.dataset, entry.hierarchy, entry.method, names[entry.row])))
        similarity = (
            f"{entry.options.get('distance', 'euc')}, beta {entry.options.get('beta', 1.0)}"
        )
        run = {
            "seed": entry.seed,
            "split": entry.split,
            "similarity": similarity,
            "folder": str(entry.folder),
        }
        tables.append(entry.metrics.assign(**row, **run)[columns])
    return pd.concat(tables, ignore_index=True)


def _row_names(entries: Iterable[Entry]) -> dict[tuple, str]:
    """A name for each row, unique in its table: its folder's, with options in [] where others are
    called the same.
    """
    options, named = {}, defaultdict(list)
    for entry in entries:
        if entry.row not in options:
            options[entry.row] = entry.options
            named[(*entry.row[:2], entry.folder.absolute().parent.name)].append(entry.row)
    names = {}
    for (*_, name), rows in named.items():
        differing = _differing([options[row] for row in rows])
        for row in rows:
            texts = [
                f"{key}={_text(options[row][key])}" if key in options[row] else f"no {key}"
                for key in differing
            ]
            names[row] = f"{name} [{', '.join(texts)}]" if texts else name
    return names


def _differing(options: Sequence[dict]) -> list[str]:
    names = sorted({name for of_row in options for name in of_row})
    return [
        name
        for name in names
        if any(of_row.get(name) != options[0].get(name) for of_row in options)
    ]


def _text(value: object) -> str:
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)
