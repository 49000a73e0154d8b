"""Bounding boxes of objects in images, as tables have them."""

import math
import re
from collections.abc import Sequence

import numpy as np

from data.conversion import Box
from files.text import doubtful_comma, printable
from hierarchies.draft import place
from hierarchies.rows import Table

# titles of columns, without blanks, marks and capitals, of left, top, width, height
SIDES = (
    ("bboxx", "bboxy", "bboxwidth", "bboxheight"),
    ("bboxx", "bboxy", "bboxw", "bboxh"),
    ("bboxleft", "bboxtop", "bboxwidth", "bboxheight"),
    ("boxx", "boxy", "boxwidth", "boxheight"),
    ("left", "top", "width", "height"),
    ("x", "y", "width", "height"),
    ("x", "y", "w", "h"),
)
# of left, top, right, bottom
CORNERS = (
    ("xmin", "ymin", "xmax", "ymax"),
    ("bboxxmin", "bboxymin", "bboxxmax", "bboxymax"),
    ("x1", "y1", "x2", "y2"),
    ("left", "top", "right", "bottom"),
)
# in titles of columns that the user names; the second is of ends counted from 0
_END = re.compile(r"max|right|bottom|[xy][\W_]*(?:2|br)$", re.IGNORECASE)
_END_FROM_0 = re.compile(rf"{_END.pattern}|[xy][\W_]*1$", re.IGNORECASE)
_CENTRE = re.compile(r"cent(?:er|re)|^c[xy]$|^[xy]c$", re.IGNORECASE)


def read_boxes(
    table: Table, named: Sequence[str] | None = None
) -> tuple[list[tuple[float, ...]], str]:
    """left, top, width, height of the box in each row, in pixels, and a note on where they are.

    Args:
        table: One with a row for each image or object.
        named: Columns of left, top, width and height, or, by their titles, of left, top, right and
            bottom; by default those that are titled like them.

    Raises: ValueError: If there are no such columns, or a row has no box; the line is named.
    """
    at, corners = _columns(table, named)
    names = ", ".join(table.header[column] for column in at)
    meaning = f"left, top, {'right, bottom' if corners else 'width, height'}"
    found = doubtful_comma(cells[column] for cells in table.cells for column in at)
    if found is not None:
        raise ValueError(
            f"{table.source}: the comma of {found!r}, as of all in {names}, may part thousands or"
            " decimals: write decimals behind a point, and thousands without a mark"
        )
    boxes = []
    for row in table.rows:
        try:
            left, top, *others = (float(row.cells[column].replace(",", ".")) for column in at)
        except ValueError:
            left, top, others = math.nan, math.nan, [math.nan, math.nan]
        width, height = (others[0] - left, others[1] - top) if corners else others
        if not (all(map(math.isfinite, (left, top))) and 0 < width < 1e9 and 0 < height < 1e9):
            cells = ", ".join(printable(row.cells[column]) or "nothing" for column in at)
            raise ValueError(
                f"{table.source}, {place(row.line)}: {names} are {cells}, which is not a box; fill"
                " it in, leave the row out (--where COLUMN!=VALUE), or leave out --crop_box"
            )
        boxes.append((left, top, width, height))
    if boxes and max(map(max, boxes)) <= 1:
        raise ValueError(
            f"{table.source}: no value of {names} is above 1: they seem to be shares of the image's"
            " sides, as YOLO has them, and boxes are in pixels (left, top, width, height); convert"
            " them, or leave out --crop_box"
        )
    return boxes, f"boxes of {table.source}: {names}, read as {meaning}"


def with_margin(boxes: Sequence[Sequence[float]], margin: float) -> list[Box]:
    """Boxes of whole pixels around boxes (left, top, width, height), with `margin` times their
    width at the left and at the right and `margin` times their height above and below.
    """
    found = []
    for left, top, width, height in np.asarray(boxes, float).tolist():
        # what reaches beyond the image is cut when it is read
        start = math.floor(left - margin * width), math.floor(top - margin * height)
        end = math.ceil(left + width * (1 + margin)), math.ceil(top + height * (1 + margin))
        found.append((*start, end[0] - start[0], end[1] - start[1]))
    return found


def _columns(table: Table, named: Sequence[str] | None) -> tuple[list[int], bool]:
    """Positions of the four columns, and whether the last two are the right and lower end."""
    source, header, listed = table.source, table.header, table.listed
    if named is not None:
        missing = [name for name in named if name not in header]
        if len(named) != 4 or missing:
            raise ValueError(
                f"{source}: --box_columns takes four columns, of left, top, width and height, of"
                f" {listed}; got {', '.join(map(repr, named))}"
            )
        return [header.index(name) for name in named], _are_corners(named, source)
    titles = table.titles
    for titled, corners in ((SIDES, False), (CORNERS, True)):
        for four in titled:
            if set(four) <= set(titles):
                return [titles.index(title) for title in four], corners
    raise ValueError(
        f"{source}: --crop_box needs the boxes of the images, and no four columns are named like"
        f" them ('bbox_x', 'bbox_y', 'bbox_width', 'bbox_height' ...), only {listed}; name them"
        " with --box_columns"
    )


def _are_corners(named: Sequence[str], source: str) -> bool:
    """Whether columns that the user names are of left, top, right and bottom, by their titles.

    Raises: ValueError: If they are in another order, or of the middle of a box.
    """
    listed = ", ".join(map(repr, named))
    if any(_CENTRE.search(name) for name in named[:2]):
        raise ValueError(
            f"{source}: --box_columns takes left and top of the boxes, and of {listed} the first"
            " are called like those of a middle: subtract half of width and height from them"
        )
    end = _END_FROM_0 if named[0].endswith("0") else _END
    ends = [bool(end.search(name)) for name in named]
    if any(ends) and ends != [False, False, True, True]:
        raise ValueError(
            f"{source}: --box_columns takes left, top, width, height or left, top, right, bottom,"
            f" in this order, and not {listed}"
        )
    return all(ends[2:])
