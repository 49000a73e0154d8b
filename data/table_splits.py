"""The split of its images that a table says, in a column or by their folders."""

import os
import re
from collections.abc import Sequence

from data.collection import PARTS, part_of
from data.listed import OWN, check_agreement, few_words
from files.text import counted, printable
from hierarchies import ranks
from hierarchies.draft import place
from hierarchies.rows import Row, Table

OWN_PARTS = {"calibration": PARTS.index("val"), "unused": -1, "held_out": -1}
_ANSWERS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
_ANSWERS |= {"1.0": True, "0.0": False, "t": True, "f": False, "y": True, "n": False}


def given_parts(
    table: Table, files: list[str], name: str | None, group: str | None
) -> tuple[list[int] | None, list[str]]:
    """The part of the split of each row, -1 for none, and notes; None without a column of it.

    Args:
        group: The column of groups, if there is one.
    """
    if name is None:
        return None, _unused_splits(table, files, group)
    column = table.header.index(name)
    parts = [_part(table, row, column) for row in table.rows]
    check_agreement(table, files, table.column(column), "in the split")
    notes, unused = _other_folders(files, parts, name), parts.count(-1)
    if unused:
        number = counted(unused, "image")
        notes.append(f"{number} without a split in the column {name!r}: not used")
    return parts, notes


def _part(table: Table, row: Row, at: int) -> int:
    word = row.cells[at]
    if ranks.is_empty(word):
        return -1
    part = part_of(word)
    said = _asked_part(table.header[at]) if part is None else None
    if said is not None and word.casefold() in _ANSWERS:
        # what is not of the test trains, and what does not train is of the test
        return said if _ANSWERS[word.casefold()] else PARTS.index("train" if said else "test")
    if part is None and word in OWN_PARTS and OWN <= set(table.header):
        return OWN_PARTS[word]
    if part is None:
        folds = ""
        if re.fullmatch(r"\D*\d+", word):
            folds = f"; of numbers of folds --group_column {table.header[at]} --fold 1/5 tests one"
        raise ValueError(
            f"{table.source}, {place(row.line)}: {table.header[at]} is {word!r}; a split is one of"
            f" {', '.join(PARTS)}, or empty{folds}"
        )
    return part


def _asked_part(title: str) -> int | None:
    """Which part a title asks for that is answered by yes or no, such as is_train; None: none."""
    return part_of(re.sub(r"^is[\W_]*", "", title, flags=re.IGNORECASE))


def _parts_of_folders(files: Sequence[str]) -> list[int]:
    """The part of the split that the folders of each file say; empty where those of some say none
    or several, and a folder that is called so may mean another thing, as the test of a sea urchin.
    """
    folders = [os.path.dirname(file) for file in files]
    part = {folder: _part_of_folder(folder) for folder in dict.fromkeys(folders)}
    return [] if None in part.values() else [part[folder] for folder in folders]


def _part_of_folder(folder: str) -> int | None:
    found = [part for name in folder.split("/") if (part := part_of(name)) is not None]
    return found[0] if len(found) == 1 else None


def _other_folders(files: Sequence[str], parts: Sequence[int], column: str) -> list[str]:
    """A note on images in a folder of another split than the table says."""
    said = zip(files, parts, _parts_of_folders(files))
    others = [(file, part) for file, part, of in said if -1 != part != of]
    if not others:
        return []
    file, part = others[0]
    images = counted(len(others), "image lies", "images lie")
    return [
        f"{images} in a folder of another split than the column {column!r} says, which counts, such"
        f" as {printable(file)!r}: {PARTS[part]}"
    ]


def _unused_splits(table: Table, files: Sequence[str], group: str | None) -> list[str]:
    """A note on each column that says train, val or test, where none is asked for, or else on
    folders that do.
    """
    notes = []
    for at, title in enumerate(table.header):
        if title == group:
            continue
        words = {word for word in few_words(table, at) if not ranks.is_empty(word)}
        parts = {part_of(word) for word in words}
        # what is valid or not needs no test images, and may be an annotation
        asked = len(words) > 1 and _asked_part(title) not in (None, PARTS.index("val"))
        if asked and {word.casefold() for word in words} <= {*_ANSWERS}:
            parts = words
        if len(parts) > 1 and None not in parts:
            notes.append(
                f"{table.source}: the column {title!r} says which images are for training and"
                " which for the test, and is not used: the images are split anew (to use it:"
                f" --split_column {title})"
            )
        fold = re.fullmatch(r"(?:cv|k)?[\W_]*folds?(?:[\W_]*(?:id|nr|no))?", title.casefold())
        if fold and len(words) > 1:
            flags = f"--group_column {title} --fold 1/{len(words)}"
            notes.append(
                f"{table.source}: the column {title!r} says which fold each image is of, and is not"
                f" used: {flags} tests one of them"
            )
    folders = set() if notes else set(_parts_of_folders(files))
    if len(folders) > 1:
        names = " and ".join(PARTS[part] for part in sorted(folders))
        notes.append(
            f"the files of {table.source} lie in folders named like {names}, and the images are"
            " split anew: to use that split, write it into a column (--split_column)"
        )
    return notes
