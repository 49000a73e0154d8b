"""What a run's page draws in the browser: curves, maps of embeddings, and trees, as numbers."""

import numpy as np
import pandas as pd

from figures.common import (
    RECALLED,
    NothingToDraw,
    check_images,
    check_mistakes,
    counted,
    recalls_note,
)
from figures.epochs import epochs_note, numeric, panels
from figures.planes import Sample, draw_sample, place_by_neighbours, principal_components, turned
from figures.subject import Subject
from files.text import printable
from metrics.calibration import calibration_error, fit_temperature, reliability
from metrics.catalogue import meaning
from metrics.curves import operating_curve, risk_coverage, risk_coverage_area, thinned
from metrics.outputs import Outputs
from metrics.per_image import heights_of_mistakes
from reports import tree_data

CLASSES, IMAGES = 300, 500  # of a map at most: t-SNE takes a second for so many
ITERATIONS = 400  # of t-SNE: half of its default, in which so few points come to rest
POINTS = 400  # of a curve at most
# matplotlib's markers by the names that Plotly has for them
_SYMBOLS = {
    "o": "circle",
    "s": "square",
    "^": "triangle-up",
    "D": "diamond",
    "v": "triangle-down",
    "P": "cross",
    "X": "x",
    "<": "triangle-left",
    ">": "triangle-right",
    ".": "circle",
}


def curve_data(subject: Subject) -> dict:
    """Training curves, operating curves, risk and coverage, and reliability: {} of what there is
    not, with the reason in `none`.

    Keys: training, operating, risk, reliability, heights.
    """
    return {
        "training": _or_reason(_training, subject),
        "operating": _or_reason(_operating, subject.outputs),
        "risk": _or_reason(_risk, subject.outputs),
        "reliability": _or_reason(_reliability, subject),
        "heights": _or_reason(_heights, subject),
    }


def group_data(subject: Subject) -> dict:
    """Groups of classes as they are coloured: names, colours, symbols and of_class, a note on those
    without a colour.
    """
    groups = subject.groups
    names = [printable(name) for name in groups.names]
    return {
        "names": names,
        "colours": list(groups.colours),
        "symbols": [_SYMBOLS[marker] for marker in groups.markers],
        "of_class": groups.of_class.tolist(),
        "others": printable(groups.others_name()) if groups.others else "",
        "own": groups.own,
        "note": groups.note().strip(),
    }


def sample_of_map(subject: Subject) -> Sample | None:
    """Images and classes of the maps; None where there are too few, or no embeddings."""
    try:
        return draw_sample(subject, CLASSES, IMAGES)
    except NothingToDraw:
        return None


def map_data(subject: Subject, sample: Sample | None, place: dict[int, int]) -> dict:
    """Maps of class vectors and test images.

    Args:
        sample: What is shown.
        place: Row of a test image -> its place in the page's list of images.

    Keys: views (name, note, x, y: of the classes, then of the images), classes, images (places in
        the list), kind and note; or none, the reason.
    """
    if sample is None:
        return {"none": _reason(draw_sample, subject, CLASSES, IMAGES)}
    components, shares = principal_components(sample.vectors)
    if components.shape[1] < 2:
        components = np.pad(components, ((0, 0), (0, 1)))
    shown = float(np.nansum(shares[:2]))
    views = [
        _view(
            "distances (principal components)",
            f"The two directions in which the points spread most, {shown:.0%} of their variance:"
            " what is far apart here is far apart.",
            components,
        )
    ]
    try:
        points, perplexity = place_by_neighbours(sample.vectors, ITERATIONS)
        views.append(
            _view(
                "neighbours (t-SNE)",
                f"t-SNE, perplexity {perplexity:.3g}: it keeps neighbours together; sizes of"
                " clusters and distances between them mean little.",
                turned(points),
            )
        )
    except NothingToDraw:  # too few points
        pass
    total = sample.images_left_out + len(sample.images)
    return {
        "views": views[::-1],
        "classes": sample.classes.tolist(),
        "images": [place[i] for i in sample.images.tolist()],
        "note": f"Small: {_part(len(sample.images), total, 'test image')}, by the direction of"
        f" their embeddings. Large, outlined:"
        f" {_part(len(sample.classes), len(sample.classes) + sample.classes_left_out, 'class', 'classes')}"  # noqa: E501
        f" ({sample.kind}).",
    }


def trees(subject: Subject) -> dict:
    """What `tree_data.trees_of_run` returns, and a note on what is left out; or none, the reason
    for nothing.
    """
    if len(subject.with_vector) > tree_data.MOST:
        return {"none": tree_data.too_many(len(subject.with_vector))}
    found = _or_reason(tree_data.trees_of_run, subject)
    return {**found, "note": subject.missing_note().strip()}


def _training(subject: Subject) -> dict:
    epochs = numeric(subject.epochs)
    shown = [
        {
            "title": title,
            "unit": unit,
            "lines": [
                {"name": name, "x": _numbers(epochs["epoch"]), "y": _numbers(epochs[column])}
                for column, name in columns.items()
            ],
        }
        for title, (unit, columns) in panels(subject, epochs).items()
    ]
    note = epochs_note(subject, epochs)
    return {"panels": shown, "best": subject.best_epoch, "note": note}


def _operating(outputs: Outputs) -> dict:
    check_images(outputs)
    curves = {value: operating_curve(outputs, value) for value in RECALLED}
    lines = []
    for value, curve in curves.items():
        points = thinned(curve, POINTS)
        columns = {name: _numbers(points[name]) for name in ("recall", "correct", "threshold")}
        lines.append({"name": f"recall of {RECALLED[value]}", **columns})
    note = f"{recalls_note(curves)}. AURC: {meaning('aurc')} ECE: {meaning('ece')}"
    return {"lines": lines, "note": note}


def _risk(outputs: Outputs) -> dict:
    check_images(outputs)
    curve = risk_coverage(outputs)
    points = thinned(curve, POINTS)
    return {
        **{name: _numbers(points[name]) for name in ("coverage", "risk", "confidence")},
        "error": float(curve["risk"].iloc[-1]),
        "area": _number(risk_coverage_area(outputs).value),
    }


def _reliability(subject: Subject) -> dict:
    outputs, validation = subject.outputs, subject.validation
    check_images(outputs)
    views = {"as trained": outputs}
    if validation is not None and validation.num_samples:
        try:
            temperature = fit_temperature(validation.scores, validation.labels)
            name = f"scores divided by {temperature:.2f}, fitted on the validation images"
            views[name] = outputs.view(temperature=temperature)
        except ValueError:  # no validation image has a score for its class
            pass
    found = []
    for name, view in views.items():
        correct = view.predictions == view.labels
        bins = reliability(view.confidence, correct)._asdict()
        columns = {column: _numbers(values) for column, values in bins.items()}
        ece = calibration_error(view.confidence, correct)[0]
        found.append({"name": name, "ece": ece, **columns})
    return {"views": found}


def _heights(subject: Subject) -> dict:
    check_mistakes(subject.outputs)
    table = heights_of_mistakes(subject.outputs)
    columns = {name: _numbers(table[name]) for name in ("height", "count", "share", "random")}
    return {**columns, "mistakes": int(table["count"].sum())}


def _view(name: str, note: str, points: np.ndarray) -> dict:
    x, y = np.round(points[:, :2] / (np.abs(points).max() or 1.0), 4).T
    return {"name": name, "note": note, "x": x.tolist(), "y": y.tolist()}


def _or_reason(make, *arguments: object) -> dict:
    """What a function makes, or why it makes nothing."""
    try:
        return make(*arguments)
    except NothingToDraw as reason:
        return {"none": str(reason)}


def _reason(make, *arguments: object) -> str:
    return _or_reason(lambda: make(*arguments) and {}).get("none", "")


def _part(shown: int, total: int, one: str, many: str | None = None) -> str:
    """'100 of 200 images', 'all 200 images'."""
    if shown == total:
        return f"all {counted(total, one, many)}"
    return f"{shown:,} of {counted(total, one, many)}"


def _numbers(values: pd.Series | np.ndarray) -> list[float | None]:
    return [_number(value) for value in values.tolist()]


def _number(value: float) -> float | None:
    return float(f"{value:.5g}") if np.isfinite(value) else None
