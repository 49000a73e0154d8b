"""Predictions from elsewhere as a run: scores of any classifier, with labels and a class tree."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from evaluation.from_elsewhere import (
    class_names,
    in_class_order,
    named_array,
    read_arrays,
    read_table,
)
from files.text import printable
from hierarchies import Hierarchy
from hierarchies.tree import format_path, parse_path
from metrics import suite
from runs.folder import FORMAT, SCORES, Run, RunError
from runs.provenance import provenance

SUFFIXES = (".npz", ".csv", ".tsv", ".parquet")
LABEL_COLUMNS = ("label", "labels", "truth", "true", "true_class", "target", "y")
FILE_COLUMNS = ("file", "files", "image", "path", "id")
# what scores alone do not give: measures of these, by the patterns of their names
NOT_GIVEN = {
    "embeddings": ("ahp*", "ahs@*", "hs@*", "hp_barz@*", "var_*", "discriminability", "nc/*"),
    "class vectors and prototypes": ("W/*", "P/*", "prototype/*", "proxy_prototype_angle"),
    "the numbers of training images": ("*many_accuracy", "*medium_accuracy", "*few_accuracy"),
}
NO_CHECKPOINT = "none"  # result_checkpoint of a run that has no model
ROUNDING = 2e-3  # of the sum of probabilities that were written with few digits


class Predictions(NamedTuple):
    """Scores of S images from elsewhere, for the classes of a tree.

    Attributes:
        scores: (S, C) float32, in the tree's class order; -inf is probability 0.
        labels: (S,) int64.
        files: (S,) names of the images.
        notes: What the user should be told.
    """

    scores: np.ndarray
    labels: np.ndarray
    files: np.ndarray
    notes: tuple[str, ...] = ()


def read_predictions(
    file: str | os.PathLike, tree: Hierarchy, source: str, labels: str | None = None
) -> Predictions:
    """Scores and labels of a split.

    Args:
        file: .npz with `scores` (S, C) and, if they are not in the order of the tree's classes,
            `classes` (C,), their names or paths; also `labels` (S,) and `files` (S,). Or .csv,
            .tsv, .parquet with a column for each class, titled by its name or path, and columns of
            labels and of files.
        tree: Of the classes.
        source: Where it comes from, for messages.
        labels: Where the true classes are if not there: the title of a column, or a file: .npy, or
            a .csv with a column of labels, and one of files if it is in another order.

    Raises: ValueError: Naming the file and what does not fit; OSError.
    """
    file = Path(file)
    if file.suffix.lower() not in SUFFIXES:
        raise ValueError(f"--scores {file}: expected a file {', '.join(SUFFIXES)}")
    read = _of_arrays if file.suffix.lower() == ".npz" else _of_columns
    scores, classes, truths, files = read(file, labels)
    scores, order, notes = in_class_order(
        scores, classes, tree, source, axis=1, said=f"--scores {file}"
    )
    if files is None:
        files = np.array([f"image {row}" for row in range(len(scores))])
    elif len(np.unique(files)) < len(files):
        raise ValueError(f"{file}: images are named twice, such as {_twice(files)}")
    if truths is None:
        truths = _read_labels(labels, files, file)
    if len(truths) != len(scores):
        raise ValueError(f"{file} has {len(scores)} images and {len(truths)} labels")
    scores, found = as_scores(scores, file)
    return Predictions(scores, _class_numbers(truths, tree, order, file), files, (*notes, *found))


def as_scores(values: np.ndarray, file: object = "scores") -> tuple[np.ndarray, list[str]]:
    """Probabilities as their logarithms, scores as they are, (S, C) float32, with a note which.

    Probabilities are values in [0, 1] whose rows all sum to 1.

    Raises: ValueError: If a value is NaN or inf, no class of an image has a score, or the values
    may be either.
    """
    values = np.asarray(values, np.float64)
    if np.isnan(values).any() or (values == np.inf).any():
        row = int(np.flatnonzero(np.isnan(values).any(1) | (values == np.inf).any(1))[0])
        raise ValueError(f"{file}: the scores of image {row + 1} hold NaN or infinity")
    if len(values) and ((values >= 0) & (values <= 1)).all():
        sums = values.sum(axis=1)
        if np.abs(sums - 1).max() > ROUNDING:
            wrong = int(np.abs(sums - 1).argmax())
            raise ValueError(
                f"{file}: all values lie in [0, 1], but those of image {wrong + 1} sum to"
                f" {sums[wrong]:.4g}. Probabilities must sum to 1: divide each row by its sum; give"
                " the scores before a sigmoid instead if that is what they come from"
            )
        with np.errstate(divide="ignore"):
            return np.log(values).astype(np.float32), ["the values are taken for probabilities"]
    empty = np.isneginf(values).all(axis=1)
    if empty.any():
        raise ValueError(f"{file}: image {int(empty.argmax()) + 1} has a score for no class")
    note = "the values are taken for scores, whose softmax gives probabilities"
    return values.astype(np.float32), [note]


def make_run(
    folder: str | os.PathLike,
    tree: Hierarchy,
    test: Predictions,
    val: Predictions | None,
    options: Mapping[str, object],
) -> Run:
    """Writes a finished run of predictions: config.json, hierarchy.json, split.csv, test.pkl,
    val.pkl and metrics.csv.

    Args:
        folder: Of the run; what an earlier call of the same predictions left is replaced.
        tree: Of the classes.
        test: What is measured.
        val: Of a validation split, for temperatures; None for none.
        options: dataset, method and seed, which place the run in tables, and what else is known.

    Raises: RunError: If the folder holds a trained run or cannot be written.
    """
    run = Run(folder)
    if run.exists and run.config.get("source") != SCORES:
        raise RunError(f"{folder} holds a trained run: name another place with --record or --name")
    with run.lock():
        run.clear()
        parts = {"test": test} if val is None else {"test": test, "val": val}
        for name, part in parts.items():
            run.write_arrays(name, _arrays(part, tree.num_classes))
        table = pd.concat(
            [
                pd.DataFrame(
                    {
                        "file": part.files.astype(str),
                        "class": [format_path(tree.class_paths[c]) for c in part.labels],
                        "label": part.labels,
                        "split": name,
                    }
                )
                for name, part in parts.items()
            ]
        )
        run.write_json("hierarchy.json", tree.to_dict())
        run.write_table("split.csv", table)
        split = hashlib.sha256(table.to_csv(index=False).encode("utf-8", "backslashreplace"))
        run.write_config(
            {
                "format": FORMAT,
                "source": SCORES,
                "options": dict(options),
                "hierarchy": tree.digest,
                "split": split.hexdigest()[:16],
                "result_checkpoint": NO_CHECKPOINT,
                **provenance(),
            }
        )
        run.finish(suite.evaluate(run.outputs("test")))
    return Run(folder)


def _arrays(part: Predictions, classes: int) -> dict[str, np.ndarray]:
    nothing = np.empty((classes, 0), np.float32)
    return {
        "labels": part.labels,
        "scores": part.scores,
        "files": part.files.astype(str),
        "embeddings": np.empty((len(part.labels), 0), np.float32),
        "class_vectors": nothing,
        "prototypes": nothing,
    }


def _of_arrays(file: Path, labels: str | None):
    arrays = read_arrays("--scores", file)
    names = ("scores", "logits", "probabilities")
    scores = named_array("--scores", file, arrays, names, "(images, classes)")
    truths = arrays.get("labels") if labels is None else None
    return scores, class_names(arrays), truths, arrays.get("files")


def _of_columns(file: Path, labels: str | None):
    table = read_table("--scores", file)
    titles = list(table.columns)
    known = {title.strip().lower(): title for title in titles}
    of_labels = labels if labels in titles else None
    if labels is None:
        of_labels = next((known[name] for name in LABEL_COLUMNS if name in known), None)
    of_files = next((known[name] for name in FILE_COLUMNS if name in known), None)
    others = [title for title in titles if title not in (of_labels, of_files)]
    numbers = table[others].apply(pd.to_numeric, errors="coerce")
    text = [title for title in others if numbers[title].isna().any()]
    if text:
        row = int(numbers[text[0]].isna().to_numpy().argmax())
        raise ValueError(
            f"--scores {file}: column {printable(text[0])!r} is not a number in row {row + 2};"
            " every column but those of labels and files must be a class"
        )
    truths = None if of_labels is None else table[of_labels].to_numpy()
    files = None if of_files is None else table[of_files].astype(str).to_numpy()
    return numbers.to_numpy(np.float64), [parse_path(name) for name in others], truths, files


def _read_labels(labels: str | None, files: np.ndarray, file: Path) -> np.ndarray:
    if labels is None:
        raise ValueError(f"--scores {file} holds no labels: name a column or a file with --labels")
    path = Path(labels)
    if not path.is_file():
        raise ValueError(f"--labels {labels}: neither a column of {file} nor a file")
    if path.suffix.lower() == ".npy":
        try:
            return np.load(path, allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise ValueError(f"--labels {path} cannot be read: {error}") from None
    table = read_table("--labels", path)
    known = {str(title).strip().lower(): title for title in table.columns}
    column = next((known[name] for name in LABEL_COLUMNS if name in known), None)
    if column is None and len(table.columns) == 1:
        column = table.columns[0]
    if column is None:
        raise ValueError(
            f"--labels {path}: none of its columns is called {', '.join(LABEL_COLUMNS)}"
        )
    of_files = next((known[name] for name in FILE_COLUMNS if name in known), None)
    if of_files is None:
        return table[column].to_numpy()
    by_file = dict(zip(table[of_files].astype(str), table[column]))
    missing = [name for name in files if name not in by_file]
    if missing:
        raise ValueError(
            f"--labels {path}: {len(missing)} of the {len(files)} images have no label there, such"
            f" as {printable(str(missing[0]))!r}"
        )
    return np.array([by_file[name] for name in files])


def _class_numbers(
    truths: np.ndarray, tree: Hierarchy, order: np.ndarray, file: Path
) -> np.ndarray:
    """Classes of the tree from names or paths, or from numbers of the columns of scores."""
    truths = np.asarray(truths)
    if np.issubdtype(truths.dtype, np.number):
        whole = truths.astype(np.int64)
        wrong = (whole != truths) | (whole < 0) | (whole >= tree.num_classes)
        if wrong.any():
            row = int(wrong.argmax())
            raise ValueError(
                f"{file}: label {truths[row]} of image {row + 1} is not the number of a column of"
                f" scores, 0 to {tree.num_classes - 1}"
            )
        return order[whole]
    index: dict[tuple[str, ...], set[int]] = {}
    for c, path in enumerate(tree.class_paths):
        path = _plain(path)
        for start in range(len(path)):
            index.setdefault(path[start:], set()).add(c)
    numbers: dict[str, int] = {}
    for name in np.unique(truths.astype(str)).tolist():
        written = _plain(parse_path(name))
        found = index.get(written, set())
        whole = [c for c in found if _plain(tree.class_paths[c]) == written]
        if len(found) != 1 and len(whole) != 1:
            what = "is not a class of the tree" if not found else "names several classes"
            raise ValueError(f"{file}: label {printable(name)!r} {what}; write its whole path")
        numbers[name] = (whole or list(found))[0]
    return np.array([numbers[name] for name in truths.astype(str).tolist()], np.int64)


def _plain(path: tuple[str, ...]) -> tuple[str, ...]:
    """A path without the key '.' of a leaf of its own."""
    return path[:-1] if path[-1] == "." and len(path) > 1 else path


def _twice(files: np.ndarray) -> str:
    names, counts = np.unique(files, return_counts=True)
    return repr(printable(str(names[counts > 1][0])))
