"""Predictions from elsewhere as a run: scores of any classifier, with labels and a class tree."""

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from data.listed import FILE_TITLES
from evaluation.from_elsewhere import (
    as_labels,
    as_numbers,
    check_file,
    class_names,
    in_class_order,
    named_array,
    read_arrays,
    read_table,
    real_numbers,
)
from files.text import composed, counted, folded, printable, some_of
from hierarchies import Hierarchy
from hierarchies.tree import format_path, parse_path, without_own_leaf
from metrics import suite
from runs.files import FORMAT, SCORES, RunError
from runs.folder import Run
from runs.provenance import provenance

SUFFIXES = (".npz", ".csv", ".tsv", ".parquet")
# titles without capitals, blanks and marks; 'class' may be what was answered
LABEL_COLUMNS = "label labels truth true trueclass truelabel groundtruth target y ytrue".split()
FILE_COLUMNS = (*FILE_TITLES, "files", "images", "id", "objectid", "pid")
# what scores alone do not give: measures of these, by the patterns of their names
NOT_GIVEN = {
    "embeddings": ("ahp*", "ahs@*", "hs@*", "hp_barz@*", "var_*", "discriminability", "nc/*"),
    "class vectors and prototypes": ("W/*", "P/*", "prototype/*", "proxy_prototype_angle"),
    "the numbers of training images": ("*many_accuracy", "*medium_accuracy", "*few_accuracy"),
}
NO_CHECKPOINT = "none"  # result_checkpoint of a run that has no model
ROUNDING = 2e-3  # of the sum of probabilities that were written with few digits
_SHARES = 0.02  # of their sum, by which the sums of percentages or bytes differ from each other
_UNITS = (100, 1_000, 10_000)  # steps of a whole that shares may be rounded to
_SAME = 0.01  # of a step, by which a rounded share may be off for its type
_MOST = 0.05  # by which the sum of rounded probabilities may be off: a sigmoid's may be anything
_FEW = 20  # images of which the share of right answers may be anything


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
    file: str | os.PathLike,
    tree: Hierarchy,
    source: str,
    labels: str | None = None,
    split: str = "",
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
        split: What stands before the names of the flags in messages: "val_" of a validation split.

    Raises: ValueError: Naming the file and what does not fit; OSError.
    """
    file, flag = Path(file), f"--{split}scores"
    if file.suffix.lower() not in SUFFIXES:
        raise ValueError(
            f"{flag} {file}: expected a file {', '.join(SUFFIXES)}; arrays of other programs become"
            " one by numpy.savez('scores.npz', scores=..., labels=..., classes=...)"
        )
    read = _of_arrays if file.suffix.lower() == ".npz" else _of_columns
    scores, titles, truths, files, left_out = read(flag, file, labels, tree.num_classes)
    scores, order, notes = in_class_order(
        scores, titles, tree, source, axis=1, said=f"{flag} {file}"
    )
    if not len(scores):
        raise ValueError(f"{flag} {file} holds scores of no image")
    if files is None:
        files = np.array([f"image {row}" for row in range(len(scores))])
    if len(np.unique(files)) < len(files):
        raise ValueError(f"{file}: images are named twice, such as {_twice(files)}")
    if truths is None:
        truths, found = _read_labels(labels, files, file, split)
        notes = (*notes, *found)
    if truths.shape != (len(scores),):
        count = len(truths) if truths.ndim == 1 else f"{truths.ndim} dimensions of"
        way = "; give the number of the true class of each image, not a row" * (truths.ndim > 1)
        raise ValueError(f"{file} has {len(scores)} images and {count} labels{way}")
    scores, found = as_scores(scores, file)
    classes, respelt = _class_numbers(truths, tree, titles, order, file)
    notes = (*left_out, *notes, *respelt, *found, *_unlike_chance(scores, classes, file))
    return Predictions(scores, classes, files, notes)


def check_apart(test: Predictions, val: Predictions) -> None:
    """Raises: ValueError: If images are in both splits, by their names and scores: what is fitted
    on validation images would see what it is measured on.
    """
    _, ours, theirs = np.intersect1d(test.files, val.files, return_indices=True)
    same = (test.scores[ours] == val.scores[theirs]).all(axis=1)
    if len(same) and (same & (test.labels[ours] == val.labels[theirs])).all():
        raise ValueError(
            f"--val_scores holds {len(same)} images of --scores, such as"
            f" {printable(str(test.files[ours[0]]))!r}: what is fitted on them would be measured on"
            " them; give scores of other images, or leave it out"
        )


def as_scores(values: np.ndarray, file: object = "scores") -> tuple[np.ndarray, list[str]]:
    """Probabilities as their logarithms, scores as they are, (S, C) float32, with a note which.

    Probabilities are values in [0, 1] whose rows all sum to 1.

    Raises: ValueError: If a value is NaN or inf, no class of an image has a score, or the values
    may be either: also percentages, votes and their like, whose rows all have another sum, and
    logarithms to another base.
    """
    values = np.asarray(values, np.float64)
    if np.isnan(values).any() or (values == np.inf).any():
        row = int(np.flatnonzero(np.isnan(values).any(1) | (values == np.inf).any(1))[0])
        raise ValueError(f"{file}: the scores of image {row + 1} hold NaN or infinity")
    if len(values) and ((values >= 0) & (values <= 1)).all():
        sums = values.sum(axis=1)
        off = np.abs(sums - 1).max()
        if off > ROUNDING and (off > _MOST or not _are_rounded(values, 1)):
            wrong = int(np.abs(sums - 1).argmax())
            raise ValueError(
                f"{file}: all values lie in [0, 1], but those of image {wrong + 1} sum to"
                f" {sums[wrong]:.4g}. Probabilities must sum to 1: divide each row by its sum; give"
                " the scores before a sigmoid instead if that is what they come from"
            )
        with np.errstate(divide="ignore"):
            notes = ["the values are taken for probabilities"]
            if ((values == 0) | (values == 1)).all():
                notes += [
                    f"{file}: each image has one class of probability 1 and no other: what measures"
                    " say of confidence and of the order of the other classes means nothing"
                ]
            return np.log(values).astype(np.float32), notes
    empty = np.isneginf(values).all(axis=1)
    if empty.any():
        raise ValueError(f"{file}: image {int(empty.argmax()) + 1} has a score for no class")
    sums = values.sum(axis=1)
    alike = len(values) > 1 and np.ptp(sums) <= _SHARES * sums.mean()
    if (values >= 0).all() and (alike or _are_rounded(values, 100)):
        raise ValueError(
            f"{file}: no value is negative, and those of each image sum to some {sums.mean():.4g},"
            " as percentages or votes do, whose softmax means nothing: divide each row by its sum"
        )
    for base in (2, 10):
        if (values <= 0).all() and np.abs((float(base) ** values).sum(axis=1) - 1).max() < ROUNDING:
            raise ValueError(
                f"{file}: the values are logarithms to base {base} of probabilities: give the"
                f" probabilities, or multiply by {np.log(base):.4f} for natural logarithms"
            )
    note = "the values are taken for scores, whose softmax gives probabilities"
    return values.astype(np.float32), [note]


def _are_rounded(values: np.ndarray, whole: int) -> bool:
    """Whether values (S, C), at least 0, are shares of a whole, 1 or 100, that were rounded, so
    that the sums of their rows differ by half of the last digit of each.
    """
    steps = (values * unit / whole for unit in _UNITS)
    units = (
        1 / unit for step, unit in zip(steps, _UNITS) if np.abs(step - step.round()).max() < _SAME
    )
    unit, off = next(units, None), np.abs(values.sum(axis=1) / whole - 1)
    return unit is not None and values.max() <= whole and off.max() <= values.shape[1] * unit / 2


def is_of_others(folder: str | os.PathLike, test: Predictions) -> bool:
    """Whether a run of other predictions is there, which `make_run` would replace."""
    run = Run(folder)
    try:
        if not run.exists or run.config.get("source") != SCORES:
            return False
        before = run.arrays("test")
    except RunError:  # damaged
        return False
    names = ("labels", "scores", "files")
    return not all(np.array_equal(before.get(name), getattr(test, name)) for name in names)


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
        run.make_room()
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
        split = hashlib.sha256(
            table.to_csv(index=False, lineterminator="\n").encode("utf-8", "backslashreplace")
        )
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


def _of_arrays(flag: str, file: Path, labels: str | None, classes: int):
    arrays = read_arrays(flag, file)
    names = ("scores", "logits", "probabilities")
    scores = named_array(flag, file, arrays, names, "(images, classes)")
    truths = arrays.get("labels") if labels is None else None
    return real_numbers(flag, file, scores), class_names(arrays), truths, arrays.get("files"), []


def _of_columns(flag: str, file: Path, labels: str | None, classes: int):
    def of_names(titles: Sequence[str]) -> tuple[str | None, str | None]:
        """The columns of labels and of files."""
        of_labels = labels if labels in titles else None
        if labels is None:
            of_labels = _titled(titles, LABEL_COLUMNS)
        return of_labels, _titled(titles, FILE_COLUMNS)

    table = read_table(flag, file, lambda titles: filter(None, of_names(titles)))
    titles = list(table.columns)
    of_labels, of_files = of_names(titles)
    others = [title for title in titles if title not in (of_labels, of_files)]
    if _numbers_rows(table[titles[0]]):
        others.remove(titles[0])
    numbers = as_numbers(table, others)
    words = [title for title in others if numbers[title].isna().all()]
    left_out = []
    if words and len(others) - len(words) == classes:  # the answer, or labels that a file says, too
        left_out = [f"{file}: left out, without a number: {some_of(words, 5, repr)}"]
        others = [title for title in others if title not in words]
        numbers = numbers[others]
    text = [title for title in others if numbers[title].isna().any()]
    if text:
        row = int(numbers[text[0]].isna().to_numpy().argmax())
        raise ValueError(
            f"{flag} {file}: column {printable(text[0])!r} is not a number in row {row + 2};"
            f" every column but those of labels ({flag.replace('scores', 'labels')} COLUMN) and of"
            " files (titled 'file', 'filename' ...) must be the score of a class, which all classes"
            " must have"
        )
    truths = None if of_labels is None else as_labels(table[of_labels])
    files = None if of_files is None else table[of_files].astype(str).to_numpy()
    titles = [parse_path(name) for name in others]
    return numbers.to_numpy(np.float64), titles, truths, files, left_out


def _numbers_rows(column: pd.Series) -> bool:
    """Whether a column is one without a title that counts the rows, as pandas writes it."""
    untitled = not str(column.name).strip() or str(column.name) == "Unnamed: 0"
    return untitled and column.dtype.kind in "iu" and bool((column.diff()[1:] == 1).all())


def _read_labels(
    labels: str | None, files: np.ndarray, file: Path, split: str
) -> tuple[np.ndarray, list[str]]:
    flag = f"--{split}labels"
    if labels is None:
        raise ValueError(
            f"--{split}scores {file} holds no labels: name a column or a file with {flag}"
        )
    path = Path(labels)
    if not path.exists():
        raise ValueError(f"{flag} {labels}: neither a column of {file} nor a file")
    check_file(flag, path)
    if path.suffix.lower() == ".npy":
        return read_arrays(flag, path)[""], []
    table = read_table(flag, path, lambda titles: filter(None, _of_labels(titles)))
    column, of_files = _of_labels(table.columns)
    if column is None:
        raise ValueError(f"{flag} {path}: none of its columns is called {', '.join(LABEL_COLUMNS)}")
    if of_files is None:
        note = f"{flag} {path} names no files: its rows are taken in the order of --{split}scores"
        return as_labels(table[column]), [note]
    names = table[of_files].astype(str).map(composed)
    named = table.assign(name=names).groupby("name", sort=False)[column]
    several = named.nunique()
    if (several > 1).any():
        raise ValueError(
            f"{flag} {path}: {printable(str(several.idxmax()))!r} has several labels there"
        )
    by_file = named.first()
    wanted = [composed(str(name)) for name in files]
    missing = [name for name in wanted if name not in by_file.index]
    if missing:
        raise ValueError(
            f"{flag} {path}: {len(missing)} of the {len(files)} images have no label there, such"
            f" as {printable(missing[0])!r}; it calls its first image"
            f" {printable(by_file.index[0])!r}"
        )
    others = len(by_file) - len(files)
    note = f"{others} of the {len(by_file)} images of {flag} have no scores: they are not measured"
    return as_labels(by_file.loc[wanted]), [note] if others else []


def _of_labels(titles: Sequence[str]) -> tuple[str | None, str | None]:
    """The columns of labels and of files in a table of labels."""
    alone = titles[0] if len(titles) == 1 else None
    return _titled(titles, LABEL_COLUMNS) or alone, _titled(titles, FILE_COLUMNS)


def _titled(titles: Sequence[str], names: Sequence[str]) -> str | None:
    """The column that is called by the first of these names that one has."""
    known = {re.sub(r"[\s_.-]", "", title).lower(): title for title in reversed(titles)}
    return next((known[name] for name in names if name in known), None)


def _class_numbers(
    truths: np.ndarray,
    tree: Hierarchy,
    titles: list[tuple[str, ...]] | None,
    order: np.ndarray,
    file: Path,
) -> tuple[np.ndarray, list[str]]:
    """Classes of the tree from names or paths as the columns of scores or the tree write them, or
    from numbers of the columns, from 0. Numbers that are the titles of columns are names, such as
    identifiers of taxa, as are those that are no numbers of columns but names in the tree. What is
    no name so is compared by `files.text.folded`, with a note.
    """
    truths = np.asarray(truths)
    of_columns = dict(zip([] if titles is None else map(without_own_leaf, titles), order.tolist()))
    index: dict[tuple[str, ...], set[int]] = {}
    for c, path in enumerate(tree.class_paths):
        path = without_own_leaf(path)
        for start in range(len(path)):
            index.setdefault(path[start:], set()).add(c)
    if truths.dtype.kind in "iufb":
        whole = np.nan_to_num(truths).astype(np.int64)
        names = of_columns if ((whole >= 0) & (whole < len(order))).all() else index
        if (whole != truths).any() or not all((str(k),) in names for k in np.unique(whole)):
            return _of_numbers(truths, whole, order, file), []
        truths = whole
    alike: dict[tuple[str, ...], set[int]] = {}
    for path, found in (*index.items(), *((path, {c}) for path, c in of_columns.items())):
        alike.setdefault(tuple(map(folded, path)), set()).update(found)
    numbers: dict[str, int] = {}
    respelt = []
    for name in np.unique(truths.astype(str)).tolist():
        written = without_own_leaf(parse_path(name)) if name.strip() else ()
        found = {of_columns[written]} if written in of_columns else index.get(written, set())
        if not found and written:
            found = alike.get(tuple(map(folded, written)), set())
            respelt += [name] * (len(found) == 1)
        whole = [c for c in found if without_own_leaf(tree.class_paths[c]) == written]
        if len(found) != 1 and len(whole) != 1:
            row = int(np.flatnonzero(truths.astype(str) == name)[0]) + 1
            raise ValueError(f"{file}, image {row}: {_no_class(name, written, found, tree)}")
        numbers[name] = (whole or list(found))[0]
    notes = []
    if respelt:
        shown = some_of(
            respelt,
            5,
            lambda name: f"{printable(name)!r} as {format_path(tree.class_paths[numbers[name]])!r}",
        )
        listed = counted(len(respelt), "label is", "labels are")
        notes = [f"{listed} written in another way than the classes, matched all the same: {shown}"]
    return np.array([numbers[name] for name in truths.astype(str).tolist()], np.int64), notes


def _of_numbers(truths: np.ndarray, whole: np.ndarray, order: np.ndarray, file: Path) -> np.ndarray:
    wrong = (whole != truths) | (whole < 0) | (whole >= len(order))
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(
            f"{file}: label {truths[row]} of image {row + 1} is not the number of a column of"
            f" scores, 0 to {len(order) - 1}"
        )
    return order[whole]


def _no_class(name: str, written: tuple[str, ...], found: set[int], tree: Hierarchy) -> str:
    """What is wrong with a label, and what to do."""
    if not name.strip():
        return "its label is empty; leave out images without one"
    label = f"label {printable(name)!r}"
    if found:
        return f"{label} names several classes; write its whole path"
    if written and written[-1] in {tree.keys[v] for v in range(1, tree.num_nodes)}:
        return f"{label} is a superclass; scores are measured on images whose class is known"
    return f"{label} is not a class of the tree, nor a column of scores"


def _unlike_chance(scores: np.ndarray, classes: np.ndarray, file: Path) -> list[str]:
    """A note where no more answers are right than by guessing, as with columns in another order."""
    right, count = int((scores.argmax(axis=1) == classes).sum()), len(classes)
    if right * scores.shape[1] > count or count < _FEW:
        return []
    return [
        f"{file}: {right} of {count} images are answered right, no more than by guessing. Is a"
        " higher value better, are the columns in the order of the classes, do labels that are"
        " numbers begin at 0, and are they of the same images?"
    ]


def _twice(files: np.ndarray) -> str:
    names, counts = np.unique(files, return_counts=True)
    return repr(printable(str(names[counts > 1][0])))
