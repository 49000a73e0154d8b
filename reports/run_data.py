"""What the script of a run's page shows, as numbers and names: the class tree, each test image with
its answer, small pictures; tables are in `panels`, curves, maps and trees in `run_plots`.
"""

import base64
import io
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from figures.common import counted
from figures.subject import Subject
from files.text import printable
from metrics.outputs import confidences, fronts
from metrics.review import READS
from reports import run_plots
from reports.panels import Panel, confusions, panels
from reports.tree_data import class_tree

LISTED = 20_000  # test images that the page names; a longer list would make it slow to open
PICTURES = 1_000  # test images that the page shows
SIDE = 72  # of a picture, in pixels
SECONDS = 60  # for reading pictures: large photographs take a while each
_HOPELESS = 25  # after so many failures and no success, the images are taken to be elsewhere


class RunData(NamedTuple):
    """What a run's page shows.

    Fields:
        panels: Its parts.
        data: What run_page.js and run_plots.js read: tree (see `tree_data.class_tree`), images
            (file, true, answer and probability of those listed, those that tables name first, and
            the pictures of the first of them), tables (columns and rows by the names of panels),
            confusions (true, answer, count of all test images), groups, curves, map and trees (see
            `run_plots`).
        notes: Sentences on what is missing or sampled.
    """

    panels: list[Panel]
    data: dict
    notes: list[str]


def run_data(subject: Subject) -> RunData:
    """All that the page of a run shows."""
    outputs = subject.outputs
    # all that is read of the posterior is read in one pass
    outputs.read_together([confidences, fronts, *READS])
    shown = panels(subject)
    sample = run_plots.sample_of_map(subject)
    wanted = [image for panel in shown for image in panel.images]
    order = _order(subject, wanted, [] if sample is None else sample.images)
    listed = order[:LISTED]
    place = {image: k for k, image in enumerate(listed.tolist())}
    pictures, notes = _pictures(subject, listed[:PICTURES])
    if len(listed) < outputs.num_samples:
        notes.append(
            f"{len(listed)} of {counted(outputs.num_samples, 'test image')} are listed; the counts"
            " are of all."
        )
    data = {
        "tree": class_tree(subject.hierarchy),
        "images": {
            "file": _files(subject, listed),
            "true": outputs.labels[listed].tolist(),
            "answer": outputs.predictions[listed].tolist(),
            "probability": np.round(outputs.confidence[listed].astype(float), 4).tolist(),
            "picture": pictures,
        },
        "tables": {
            panel.name: {"columns": panel.columns, "rows": panel.listed(place)}
            for panel in shown
            if panel.columns
        },
        "confusions": confusions(subject),
        "groups": run_plots.group_data(subject),
        "curves": run_plots.curve_data(subject),
        "map": run_plots.map_data(subject, sample, place),
        "trees": run_plots.trees(subject),
    }
    return RunData(shown, data, notes)


def _order(subject: Subject, wanted: Sequence[int], of_map: Sequence[int]) -> np.ndarray:
    """The test images, those to see first at the start: those that the tables name, the surest
    right answer of each class, those of the map, then others drawn at random.
    """
    outputs = subject.outputs
    labels, answers, sure = outputs.labels, outputs.predictions, outputs.confidence
    right = np.flatnonzero(labels == answers)
    right = right[np.argsort(-sure[right], kind="stable")]
    _, first = np.unique(labels[right], return_index=True)
    others = np.random.default_rng(0).permutation(len(labels))
    together = np.concatenate([wanted, right[first], of_map, others]).astype(int)
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
