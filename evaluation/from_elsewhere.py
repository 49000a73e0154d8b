"""Numbers that other programs wrote for each class: arrays and tables, with the names of their
classes, brought into the order of a class tree.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from data.matching import match_folders
from files.foreign_arrays import load_foreign_arrays
from files.regular import check_regular
from files.text import doubtful_comma, shortened
from hierarchies import Hierarchy, read_tree
from hierarchies.rows import delimiter_of
from hierarchies.tree import Path as TreePath
from hierarchies.tree import parse_path

# up to 15 digits, of which a float holds each, and none that begin with a zero: names, such as 007
_WHOLE = re.compile(r"\s*-?(0|[1-9]\d{0,14})(\.0*)?\s*")
_DECIMAL = re.compile(r"[+-]?\d+(,\d+)?([eE][+-]?\d+)?")  # with a comma for the point
# attributes of tables: whether their numbers may have decimal commas, and where they are from
_COMMAS, _SOURCE = "decimal_commas", "source"


def check_file(flag: str, file: str | Path | None) -> None:
    """Raises: ValueError: If a flag names a file that is not there, or a folder or a pipe."""
    if file is None:
        return
    name = f"{flag} {shortened(str(file), 200)}"
    try:
        check_regular(file)
    except FileNotFoundError:
        raise ValueError(f"{name}: there is no such file") from None
    except (ValueError, OSError) as error:
        raise ValueError(f"{name} cannot be read: {error}") from None


def read_class_tree(file: str) -> tuple[Hierarchy, tuple[str, ...]]:
    """The tree of `--hierarchy` for numbers from elsewhere, with its notes.

    Raises: ValueError, OSError.
    """
    check_file("--hierarchy", file)
    found = read_tree(file, self_leaves=True)
    return found.hierarchy, found.notes


def read_arrays(flag: str, file: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file by name; that of an .npy file goes by the name ''.

    Raises: ValueError: If it is damaged, or holds objects.
    """
    try:
        return load_foreign_arrays(file)
    except (ValueError, OSError) as error:
        raise ValueError(f"{flag} {file} cannot be read: {error}") from None


def named_array(
    flag: str, file: Path, arrays: dict[str, np.ndarray], names: Sequence[str], shape: str
) -> np.ndarray:
    """The first of the names that there is, a table. Raises: ValueError: If there is none."""
    found = next((arrays[name] for name in names if name in arrays), None)
    if found is None or found.ndim != 2:
        listed = (f"{name!r} {array.shape}" for name, array in sorted(arrays.items()))
        raise ValueError(
            f"{flag} {file}: it needs an array {names[0]!r} {shape}, it has"
            f" {', '.join(listed) or 'nothing'}"
        )
    return found


def real_numbers(flag: str, file: Path, values: np.ndarray) -> np.ndarray:
    """The values as float64. Raises: ValueError: If they are text, truth values or complex."""
    if values.dtype.kind not in "iuf":
        raise ValueError(f"{flag} {file}: expected numbers, got values of type {values.dtype}")
    return values.astype(np.float64)


def class_names(arrays: dict[str, np.ndarray]) -> list[TreePath] | None:
    """Paths or names of the classes, from the array `classes`; None without."""
    if "classes" not in arrays:
        return None
    return [parse_path(str(name)) for name in arrays["classes"].reshape(-1).tolist()]


def read_table(flag: str, file: Path, names: Callable[[list[str]], Iterable[str]]) -> pd.DataFrame:
    """A .csv (whatever stands between its cells), .tsv or .parquet, all titles as text. A cell NA
    is the text 'NA', as a class may be called.

    Args:
        names: Titles -> those of columns that may hold names, which stay as they are written: 007
            is not 7.

    Raises: ValueError: If it cannot be read.
    """
    try:
        if file.suffix.lower() == ".parquet":
            table = pd.read_parquet(file)
        else:
            table = _read_text_table(file, names)
    except ImportError:
        raise ValueError(
            f"{flag} {file}: reading parquet needs the package pyarrow; install it, or save a .csv"
            " or .npz"
        ) from None
    except UnicodeError:
        raise ValueError(
            f"{flag} {file} is not text in UTF-8: save it as CSV UTF-8, or name it by what it is"
        ) from None
    except (ValueError, OSError) as error:
        raise ValueError(f"{flag} {file} cannot be read as a table: {error}") from None
    if not len(table) or not len(table.columns):
        raise ValueError(f"{flag} {file} holds no rows: it takes a row of titles and others below")
    table.columns = [str(title) for title in table.columns]
    table.attrs[_SOURCE] = f"{flag} {file}"
    return table


def _read_text_table(file: Path, names: Callable[[list[str]], Iterable[str]]) -> pd.DataFrame:
    with open(file, "rb") as stream:
        marked = stream.read(2) in (b"\xff\xfe", b"\xfe\xff")
    with open(file, encoding="utf-16" if marked else "utf-8-sig", newline="") as stream:
        first = stream.readline()
        delimiter, declared = delimiter_of(first)
        start = stream.tell() if declared else 0
        mark = "\t" if file.suffix.lower() == ".tsv" else delimiter
        options = {"sep": mark, "keep_default_na": False, "low_memory": False}
        try:
            stream.seek(start)
            titles = [str(title) for title in pd.read_csv(stream, nrows=0, **options).columns]
            stream.seek(start)
            table = pd.read_csv(stream, dtype=dict.fromkeys(names(titles), str), **options)
        except pd.errors.EmptyDataError:
            raise ValueError("it is empty") from None
    if not isinstance(table.index, pd.RangeIndex):  # pandas takes what is too much for row names
        raise ValueError("its rows have more cells than its first row has titles")
    table.attrs[_COMMAS] = mark != ","
    return table


def as_labels(column: pd.Series) -> np.ndarray:
    """Labels of a column of names as numbers, where all are written as whole numbers are."""
    if column.dtype.kind in "biuf" or not all(_WHOLE.fullmatch(str(cell)) for cell in column):
        return column.to_numpy()
    return pd.to_numeric(column).to_numpy()


def as_numbers(table: pd.DataFrame, titles: Sequence[str]) -> pd.DataFrame:
    """Columns of `read_table` as numbers, NaN where a cell is none. Decimals may be behind a comma
    where commas do not part the cells.

    Raises: ValueError: If all commas may as well part thousands.
    """
    columns = table[list(titles)]
    if table.attrs.get(_COMMAS):
        _check_commas(columns, table.attrs[_SOURCE])
        columns = columns.apply(_with_points)
    return columns.apply(pd.to_numeric, errors="coerce")


def _check_commas(columns: pd.DataFrame, source: str) -> None:
    """Raises: ValueError: If there are numbers with commas and none tells what these are."""
    text = (columns[title] for title in columns if columns[title].dtype.kind not in "biuf")
    found = doubtful_comma(cell for column in text for cell in column.astype(str))
    if found is not None:
        raise ValueError(
            f"{source}: the comma of {found!r}, as of all numbers there that have one, may part"
            " thousands or decimals: write decimals behind a point, and thousands without a mark"
        )


def _with_points(column: pd.Series) -> pd.Series:
    """Numbers of a column that are all written with a decimal comma or none, as R's write.csv2 and
    spreadsheets in many languages write them; others as they are.
    """
    if column.dtype.kind in "biuf":
        return column
    if column.map(lambda cell: bool(_DECIMAL.fullmatch(str(cell)))).all():
        return pd.to_numeric(column.str.replace(",", "."))
    return column


class Ordered(NamedTuple):
    """Numbers in the order of the tree's classes.

    Fields:
        values: As they were given, but for the order.
        classes: (C,) class of each of the columns or rows that were given.
        notes: What the user should be told of the names.
    """

    values: np.ndarray
    classes: np.ndarray
    notes: tuple[str, ...]


def in_class_order(
    values: np.ndarray,
    classes: Sequence[TreePath] | None,
    tree: Hierarchy,
    source: str,
    *,
    axis: int,
    said: str,
) -> Ordered:
    """Columns (axis 1) or rows (axis 0) of numbers in the tree's class order.

    Args:
        values: (n, C) or (C, n).
        classes: Names or paths of the columns or rows; None: they are in the tree's order.
        tree, source: The tree, and where it comes from, for messages.
        said: What holds the numbers, for messages.

    Raises: ValueError: If their number is another, or the names do not fit.
    """
    called = "column" if axis == 1 else "row"
    if _only_count(classes, tree):
        classes = None
    count = tree.num_classes if classes is None else len(classes)
    if values.shape[axis] != count:
        raise ValueError(
            f"{said} has {values.shape[axis]} {called}s of numbers, but there are {count} classes"
            + (f" in {source}" if classes is None else "")
            + f": it takes one {called} for each class"
        )
    if classes is None:
        note = f"{said} does not name its classes: its {called}s are taken in the order of {source}"
        return Ordered(values, np.arange(count), (note,))
    try:
        match = match_folders(classes, tree, source, called=called)
    except ValueError as error:
        raise ValueError(f"{said}: {error}") from None
    ordered = np.empty_like(values)
    ordered[(slice(None), match.classes) if axis == 1 else match.classes] = values
    return Ordered(ordered, match.classes, tuple(match.notes))


def _only_count(classes: Sequence[TreePath] | None, tree: Hierarchy) -> bool:
    """Whether names are but numbers from 0, as pandas calls columns, of no class of the tree."""
    numbers = [(str(k),) for k in range(tree.num_classes)]
    return list(classes or ()) == numbers and not any(
        path[-1].isdigit() for path in tree.class_paths
    )
