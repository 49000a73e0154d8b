"""The order of the images that published splits permute, which a file may list."""

import csv
import io
import os
from collections.abc import Mapping, Sequence

import numpy as np

from hierarchies.rows import delimiter_of
from hierarchies.texts import MAX_TABLE_BYTES, read_text


def published_order(
    files: Sequence[str], options: Mapping, usual: str
) -> tuple[np.ndarray, list[str]]:
    """Positions of the images in the order that a published split permutes, and a note where it is
    not that of a list.

    Args:
        files: The images.
        options: split and split_list.
        usual: The order without a list, for the note.

    Raises: ValueError: If there is a list for another split; as `read_order`.
    """
    published, file = options["split"] == "published", options["split_list"]
    if file is not None and not published:
        raise ValueError("split_list orders the images for --split published; give both or neither")
    if file is not None:
        return read_order(file, files), []
    note = (
        f"the published split was drawn over {usual}: without --split_list it is not the papers'"
        " own"
    )
    return np.arange(len(files)), [note] if published else []


def read_order(path: str | os.PathLike, files: Sequence[str]) -> np.ndarray:
    """Positions in files of the images that a CSV file lists, in its order.

    A line counts by its first cell that ends in the path of an image, whatever folders it names
    before; the first line may be a header. Raises: ValueError: If a line has no image, or the
    images are not all listed once.
    """
    index, order, first = {file: i for i, file in enumerate(files)}, [], {}
    text = read_text(path, MAX_TABLE_BYTES)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter_of(text)[0]))
    except csv.Error as error:
        raise ValueError(f"{path} is not a valid table: {error}; is a quote not closed?") from error
    for number, row in enumerate(rows, 1):
        found = next((hit for cell in row if (hit := _find(cell, index)) is not None), None)
        if found is None and row and number > 1:
            raise ValueError(
                f"{path}, line {number}: {', '.join(row)!r} ends in no path of an image of the data"
                " folder"
            )
        if found in first:
            raise ValueError(
                f"{path}, line {number}: {files[found]!r} is listed in line {first[found]} already"
            )
        if found is not None:
            first[found] = number
            order.append(found)
    if len(order) < len(files):
        missing = next(file for i, file in enumerate(files) if i not in first)
        raise ValueError(
            f"{path} lists {len(order)} of the {len(files)} images; it misses {missing!r}, for"
            " instance"
        )
    return np.array(order)


def _find(cell: str, index: Mapping[str, int]) -> int | None:
    parts = cell.strip().replace("\\", "/").split("/")
    return next(
        (index[tail] for start in range(len(parts)) if (tail := "/".join(parts[start:])) in index),
        None,
    )
