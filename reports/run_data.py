"""What the script of a run's page shows, as numbers and names: the class tree, each test image with
its answer, small pictures, counts of confusions, rows of tables; curves, maps and trees are in
`run_plots`.
"""

import base64
import io
import time
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from PIL import Image

from figures.common import counted
from figures.subject import Subject
from files.text import printable
from hierarchies import Hierarchy
from metrics.flat import per_class, per_level
from metrics.outputs import confidences, fronts
from metrics.per_image import worst_images
from metrics.posterior import lca_nodes
from metrics.review import READS, likely_mislabelled, worth_labelling
from reports import run_plots
from reports.tree_data import class_tree

LISTED = 20_000  # test images that the page names; a longer list would make it slow to open
PICTURES = 1_000  # test images that the page shows
WORST = 100  # rows of the table of worst mistakes
SUSPECTS = 100  # rows of the table of labels that may be wrong
UNSURE, PER_ANSWER = 50, 5  # rows of the table of images worth labelling, of one answer at most
SIDE = 72  # of a picture, in pixels
SECONDS = 60  # for reading pictures: large photographs take a while each
_HOPELESS = 25  # after so many failures and no success, the images are taken to be elsewhere


def run_data(subject: Subject) -> dict:
    """Everything that run_page.js reads.

    Keys: tree (see `tree_data.class_tree`), images (file, true, answer and
    probability of those listed, worst mistakes first, and the pictures of the first of them),
    confusions (true, answer, count of all test images), classes, levels, worst, suspects and unsure
    (rows of tables), groups, curves, map and trees (see `run_plots`), notes (sentences on what is
    missing or sampled).
    """
    outputs = subject.outputs
    # all that is read of the posterior is read in one pass
    outputs.read_together([confidences, fronts, *READS])
    worst = worst_images(outputs)[:WORST]
    suspects = likely_mislabelled(outputs)
    unsure = worth_labelling(outputs, UNSURE, PER_ANSWER)
    sample = run_plots.sample_of_map(subject)
    wanted = [worst, suspects["image"][:SUSPECTS], unsure["image"]]
    order = _order(subject, wanted, [] if sample is None else sample.images)
    listed = order[:LISTED]
    place = {image: k for k, image in enumerate(listed.tolist())}
    pictures, notes = _pictures(subject, listed[:PICTURES])
    if len(listed) < outputs.num_samples:
        notes.append(
            f"{len(listed)} of {counted(outputs.num_samples, 'test image')} are listed; the counts"
            " are of all."
        )
    return {
        "tree": class_tree(subject.hierarchy),
        "images": {
            "file": _files(subject, listed),
            "true": outputs.labels[listed].tolist(),
            "answer": outputs.predictions[listed].tolist(),
            "probability": np.round(outputs.confidence[listed].astype(float), 4).tolist(),
            "picture": pictures,
        },
        "confusions": _confusions(outputs.labels, outputs.predictions, subject.hierarchy),
        "classes": _class_rows(subject, listed),
        "levels": _level_rows(subject),
        "worst": _worst_rows(subject, worst, place),
        "suspects": {
            "rows": _rows(suspects[:SUSPECTS].drop(columns="margin"), place),
            "count": len(suspects),
        },
        "unsure": _rows(unsure.drop(columns="margin"), place),
        "groups": run_plots.group_data(subject),
        "curves": run_plots.curve_data(subject),
        "map": run_plots.map_data(subject, sample, place),
        "trees": run_plots.trees(subject),
        "notes": notes,
    }


def _order(subject: Subject, wanted: Sequence[np.ndarray], of_map: Sequence[int]) -> np.ndarray:
    """The test images, those to see first at the start: those that the tables name, the surest
    right answer of each class, those of the map, then others drawn at random.
    """
    outputs = subject.outputs
    labels, answers, sure = outputs.labels, outputs.predictions, outputs.confidence
    right = np.flatnonzero(labels == answers)
    right = right[np.argsort(-sure[right], kind="stable")]
    _, first = np.unique(labels[right], return_index=True)
    others = np.random.default_rng(0).permutation(len(labels))
    together = np.concatenate([*wanted, right[first], of_map, others]).astype(int)
    _, seen = np.unique(together, return_index=True)
    return together[np.sort(seen)]


def _pictures(subject: Subject, images: np.ndarray) -> tuple[list[str | None], list[str]]:
    """Of each image a small JPEG as a data URI, None where it cannot be read; sentences on that."""
    if subject.files is None or subject.open_image is None:
        return [], ["The run does not record which images it was tested on: none can be shown."]
    found: list[str | None] = []
    failures: list[str] = []
    end = time.monotonic() + SECONDS
    for image in images.tolist():
        if time.monotonic() > end or len(found) == len(failures) == _HOPELESS:
            break
        try:
            found.append(_uri(subject.open_image(str(subject.files[image]))))
        except ValueError as error:
            failures.append(printable(str(error)))
            found.append(None)
    notes = []
    shown = len(found) - len(failures)
    if not shown and failures:
        return [], [f"The images cannot be shown: {failures[0]}."]
    if failures:
        notes.append(f"{counted(len(failures), 'image')} cannot be read: {failures[0]}.")
    total = subject.outputs.num_samples
    if len(found) < total:
        notes.append(
            f"Pictures are shown of {shown} of {counted(total, 'test image')}: those that the"
            " tables name, the surest right answer of each class, those of the map, and others"
            " drawn at random."
        )
    return found, notes


def _uri(pixels: np.ndarray) -> str:
    image = Image.fromarray(pixels)
    image.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=72)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _files(subject: Subject, images: np.ndarray) -> list[str]:
    if subject.files is None:
        return [f"test image {i + 1}" for i in images.tolist()]
    return [printable(str(file)) for file in np.asarray(subject.files)[images].tolist()]


def _confusions(labels: np.ndarray, answers: np.ndarray, tree: Hierarchy) -> dict:
    """True class, answer and count of each pair that occurs."""
    pairs, count = np.unique(
        labels.astype(np.int64) * tree.num_classes + answers, return_counts=True
    )
    return {
        "true": (pairs // tree.num_classes).tolist(),
        "answer": (pairs % tree.num_classes).tolist(),
        "count": count.tolist(),
    }


def _class_rows(subject: Subject, listed: np.ndarray) -> list[list]:
    """Of each class: node, test images, recall, precision, F1, class it is most often taken for and
    how often, example images as places in the list.
    """
    outputs, tree = subject.outputs, subject.hierarchy
    taken: dict[int, tuple[int, int]] = {}
    found = _confusions(outputs.labels, outputs.predictions, tree)
    for true, answer, count in zip(found["true"], found["answer"], found["count"]):
        if true != answer and count > taken.get(true, (0, 0))[0]:
            taken[true] = count, answer
    examples: list[list[int]] = [[] for _ in range(tree.num_classes)]
    for place, image in enumerate(listed[:PICTURES].tolist()):
        of_class = examples[outputs.labels[image]]
        if len(of_class) < 3:
            of_class.append(place)
    table = per_class(outputs)
    columns = (table[name] for name in ("n_true", "recall", "precision", "f1"))
    return [
        [
            int(tree.leaves[c]),
            int(n),
            *map(_number, shares),
            tree.leaves[taken[c][1]].item() if c in taken else None,
            taken[c][0] if c in taken else 0,
            examples[c],
        ]
        for c, (n, *shares) in enumerate(zip(*columns))
    ]


def _level_rows(subject: Subject) -> list[list]:
    """Of each inner node: level, node, test images, recall, precision, F1."""
    table = per_level(subject.outputs)
    classes = set(subject.hierarchy.leaves.tolist())
    rows: Iterable = table[["level", "node", "n_true", "recall", "precision", "f1"]].itertuples(
        index=False
    )
    return [
        [int(level), int(node), int(n), *map(_number, shares)]
        for level, node, n, *shares in rows
        if int(node) not in classes
    ]


def _worst_rows(subject: Subject, worst: np.ndarray, place: Mapping[int, int]) -> list[list]:
    """Of each of the worst mistakes: place in the list of images, lowest common ancestor of
    the true class and the answer, its height.
    """
    outputs, tree = subject.outputs, subject.hierarchy
    common = lca_nodes(
        tree, tree.leaves[outputs.labels[worst]], tree.leaves[outputs.predictions[worst]]
    )
    return [
        [place[image], node, int(tree.height[node])]
        for image, node in zip(worst.tolist(), np.ravel(common).tolist())
    ]


def _rows(table: pd.DataFrame, place: Mapping[int, int]) -> list[list]:
    """The rows of a table of `metrics.review`, the images by their places in the list."""
    table = table.assign(image=[place[int(image)] for image in table["image"]])
    return [
        [_number(value) if isinstance(value, float) else int(value) for value in row]
        for row in table.itertuples(index=False)
    ]


def _number(value: float) -> float | None:
    return None if pd.isna(value) else round(float(value), 7)  # the page rounds to 2 or 3 digits
