"""Answers as a table that EcoTaxa imports beside the images."""

import csv
import io
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from files.text import encoded
from hierarchies import Hierarchy
from hierarchies.tree import without_own_leaf

PREDICTED = "predicted"
# title -> type: [t] text, [f] number
COLUMNS = {
    "img_file_name": "[t]",
    "img_rank": "[f]",
    "object_id": "[t]",
    "object_annotation_category": "[t]",
    "object_annotation_hierarchy": "[t]",
    "object_annotation_status": "[t]",
    "object_probability": "[f]",
    "object_novelty_p": "[f]",
}


def category_names(hierarchy: Hierarchy) -> list[str]:
    """Name of each node as EcoTaxa shows taxa: its own, and where several nodes have it
    'name<parent', with as many parents as it takes. A class that is also a superclass goes by the
    name of that one; the root has none, ''.
    """
    paths = [without_own_leaf(hierarchy.path(v)) for v in range(hierarchy.num_nodes)]
    distinct = set(filter(None, paths))
    names = {(): ""}
    length = 1
    left = distinct
    while left:
        count = Counter(path[-length:] for path in distinct)
        done = {path for path in left if count[path[-length:]] == 1 or len(path) <= length}
        names |= {path: "<".join(reversed(path[-length:])) for path in done}
        left, length = left - done, length + 1
    return [names[path] for path in paths]


def ecotaxa_rows(
    hierarchy: Hierarchy,
    files: Sequence[str],
    nodes: np.ndarray,
    probabilities: np.ndarray,
    novelty: np.ndarray,
    ids: Sequence[str],
    others: Mapping[str, Sequence[str]] = {},
) -> list[dict[str, object]]:
    """A row for each image.

    Args:
        hierarchy: Of the answers.
        files: img_file_name.
        nodes, probabilities, novelty: (S,) answers, their probabilities, and `novelty_p`.
        ids: object_id; several images of one object are numbered by img_rank.
        others: Columns of a table of the images to hand on.

    An image that is answered by the root has no category and no status: EcoTaxa takes it as not
    classified.
    """
    names = category_names(hierarchy)
    seen: Counter = Counter()
    rows = []
    for row, (file, node) in enumerate(zip(files, nodes.tolist())):
        path = [key for key in hierarchy.path(node) if key != "."]
        rows.append(
            {
                "img_file_name": file,
                "img_rank": seen[ids[row]],
                "object_id": ids[row],
                "object_annotation_category": names[node],
                "object_annotation_hierarchy": ">".join(path),
                "object_annotation_status": PREDICTED if path else "",
                "object_probability": _number(probabilities[row]),
                "object_novelty_p": _number(novelty[row]),
                **{title: cells[row] for title, cells in others.items()},
            }
        )
        seen[ids[row]] += 1
    return rows


def write_ecotaxa(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Writes rows of `ecotaxa_rows` with the titles, the types, and tabs between the cells."""
    titles = list(rows[0]) if rows else list(COLUMNS)
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(titles)
    writer.writerow([COLUMNS.get(title, "[t]") for title in titles])
    for row in rows:
        writer.writerow([_one_line(row[title]) for title in titles])
    path.write_bytes(encoded(text.getvalue()))


def names_beside(path: str | os.PathLike, files: Sequence[str]) -> list[str] | None:
    """The files relative to the folder of a table, with '/', as EcoTaxa looks for them; None where
    one is not below it.
    """
    folder = os.path.dirname(os.path.abspath(path))
    try:
        found = [os.path.relpath(os.path.abspath(file), folder) for file in files]
    except ValueError:  # on another drive of Windows
        return None
    if any(file.startswith("..") for file in found):
        return None
    return [Path(file).as_posix() for file in found]


def object_ids(names: Sequence[str]) -> list[str]:
    """Files without their suffixes, with it where two are else equal."""
    short = [os.path.splitext(name)[0] for name in names]
    count = Counter(short)
    return [name if count[stem] > 1 else stem for name, stem in zip(names, short)]


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.6g}"


def _one_line(value: object) -> str:
    return " ".join(str(value).splitlines()) if isinstance(value, str) else str(value)
