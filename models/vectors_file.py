"""Class vectors from a file, such as embeddings of the classes' names or descriptions."""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from files.foreign_arrays import load_foreign_arrays
from files.regular import check_regular
from files.text import printable, shortened, some_of
from hierarchies import Hierarchy
from hierarchies.tree import format_path


def read_vectors(path: str | Path, hierarchy: Hierarchy) -> tuple[torch.Tensor, str]:
    """Class vectors (C, D) float32 in class order, and a note on what was in the file.

    Args:
        path: An .npz file with `classes` (text) and `vectors` (rows, D); or a table of text, with
            commas, tabs or semicolons, a row for each class, its name first, a header or none. A
            class goes by its path, a/b/c, or by its name if no other class has it.
        hierarchy: The class tree.

    Raises: ValueError: Naming the file and line: if it cannot be read, a class is missing, comes
    twice or is none of the tree's in doubt, or a vector has another length, is zero or not finite.
    """
    path = Path(path)
    known: dict[str, list[int]] = {}
    for c, (keys, name) in enumerate(zip(hierarchy.class_paths, hierarchy.class_names)):
        for text in {format_path(keys), name}:
            known.setdefault(text, []).append(c)
    found: dict[int, np.ndarray] = {}
    others: list[str] = []
    for where, name, vector in _rows(path):
        classes = known.get(name, [])
        if len(classes) > 1:
            raise ValueError(
                f"--class_vectors {path}, {where}: {len(classes)} classes are called {name!r}; give"
                f" the path, such as {format_path(hierarchy.class_paths[classes[0]])!r}"
            )
        if not classes:
            others.append(name)
            continue
        width = len(next(iter(found.values()), vector))
        twice = f"{name!r} comes twice" if classes[0] in found else None
        wrong = twice or _wrong(vector, name, width)
        if wrong is not None:
            raise ValueError(f"--class_vectors {path}, {where}: {wrong}")
        found[classes[0]] = vector
    missing = [format_path(hierarchy.class_paths[c]) for c in range(hierarchy.num_classes)
               if c not in found]  # fmt: skip
    if missing:
        raise ValueError(
            f"--class_vectors {path} has no row for {len(missing)} of {hierarchy.num_classes}"
            f" classes: {some_of(missing, 5)}{_called(others)}"
        )
    note = f"class vectors from {path.name}"
    if others:
        note += f"; {len(others)} of its rows are of no class of the tree and left out"
    rows = np.stack([found[c] for c in range(hierarchy.num_classes)])
    return torch.from_numpy(rows.astype(np.float32)), note


def _wrong(vector: np.ndarray, name: str, width: int) -> str | None:
    """Why a vector cannot be that of a class; None where it can."""
    if len(vector) != width:
        return f"{len(vector)} numbers, where others have {width}"
    if not np.isfinite(vector).all() or not vector.any():
        return (
            f"the vector of {name!r} is zero or has numbers that are not finite, so it has no"
            " direction"
        )
    return None


def _called(others: list[str]) -> str:
    """What rows are called that are of no class, for a message that classes have none."""
    if not others:
        return ""
    some = some_of(others, 3, lambda name: repr(printable(shortened(name))))
    return f"; rows are called {some}, as is no class: write names or paths as the tree has them"


def _rows(path: Path) -> Iterator[tuple[str, str, np.ndarray]]:
    """Where a row is, the class it names, and its vector."""
    try:
        check_regular(path)
        if path.suffix.lower() == ".npz":
            arrays = load_foreign_arrays(path)
            names, vectors = arrays["classes"], arrays["vectors"]
            if vectors.dtype.kind not in "iuf":
                raise ValueError(f"vectors are of type {vectors.dtype}, not numbers")
            if vectors.ndim != 2 or names.shape != vectors.shape[:1]:
                raise ValueError(
                    f"classes {names.shape} and vectors {vectors.shape} do not belong together"
                )
            for i, (name, vector) in enumerate(zip(names, vectors)):
                yield f"row {i + 1}", str(name), np.asarray(vector, np.float64)
            return
        text = path.read_text("utf-8-sig")
    except KeyError as error:
        raise ValueError(f"--class_vectors {path} has no array {error}") from None
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise ValueError(f"--class_vectors {path} cannot be read: {error}") from None
    lines = text.splitlines()
    delimiter = max("\t;,", key=(lines or [""])[0].count)
    reader = csv.reader(lines, delimiter=delimiter)
    try:
        rows = list(reader)
    except csv.Error as error:
        where = f"--class_vectors {path}, line {reader.line_num}"
        raise ValueError(f"{where}: this is not a row of a table: {error}") from None
    for number, cells in enumerate(rows, 1):
        if not cells:
            continue
        try:
            yield f"line {number}", cells[0].strip(), np.array(cells[1:], np.float64)
        except ValueError:
            if number == 1:  # a header
                continue
            raise ValueError(
                f"--class_vectors {path}, line {number}: what follows the name must be numbers"
            ) from None
