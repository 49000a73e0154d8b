"""How much can be answered, and how far down the tree, at a given share of right answers."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from figures.common import PERCENT_RIGHT, RECALLED, check_images, counted, recalls_note
from figures.palette import FAINT, INK, TAKEN_COLOUR, TRUE_COLOUR
from figures.style import Drawing, new_figure
from figures.subject import Subject
from metrics.curves import operating_curve, recall_at, risk_coverage, risk_coverage_area, thinned

_LINES = {"depth": (TRUE_COLOUR, "-"), "info": (TAKEN_COLOUR, "--")}
_MARKS = dict(zip(PERCENT_RIGHT, "os"))


def operating_curves(subject: Subject) -> Drawing:
    """Share of correct answers against their recall when answers back off, and risk against
    coverage.
    """
    outputs = subject.outputs
    check_images(outputs)
    figure = new_figure(9.0, 4.2)
    left, right = figure.subplots(1, 2)
    curves = {value: operating_curve(outputs, value) for value in _LINES}
    _recall(left, curves)
    risk = risk_coverage(outputs)
    area = risk_coverage_area(outputs).value
    _risk(right, risk, area)
    return Drawing(figure, _caption(outputs.num_samples, curves, risk, area))


def _recall(axes: Axes, curves: dict[str, pd.DataFrame]) -> None:
    for value, curve in curves.items():
        colour, line = _LINES[value]
        points = thinned(curve)
        axes.plot(
            points["recall"],
            points["correct"],
            line,
            color=colour,
            label=f"recall of {RECALLED[value]}",
        )
    for percent, marker in _MARKS.items():
        axes.axhline(percent / 100, color=FAINT, linewidth=0.6, linestyle=":", zorder=0)
        for value, curve in curves.items():
            x = recall_at(curve, percent / 100)
            y = curve["correct"][curve["recall"] == x].max()
            axes.plot(
                x,
                y,
                marker,
                color=_LINES[value][0],
                fillstyle="none",
                markersize=8,
                markeredgewidth=1.5,
            )
        axes.plot(
            [],
            [],
            marker,
            color=INK,
            fillstyle="none",
            label=f"highest recall with {percent} % right",
        )
    lowest = min(curve["correct"].min() for curve in curves.values())
    _frame(axes, (min(lowest, 0.85), 1.0))
    axes.set_title("Answers that back off", loc="left")
    axes.set_xlabel("recall: share of what the true classes say")
    axes.set_ylabel("share of answers that are right")
    axes.legend(loc="best")


def _risk(axes: Axes, risk: pd.DataFrame, area: float) -> None:
    points, error = thinned(risk), risk["risk"].iloc[-1]
    axes.plot(points["coverage"], points["risk"], color=TRUE_COLOUR, label="most confident first")
    axes.axhline(
        error, color=INK, linewidth=0.8, linestyle="--", label="any order: error of all images"
    )
    _frame(axes, (0.0, max(risk["risk"].max(), 0.05)))
    axes.set_title(f"Answers withheld: AURC {area:.3f}", loc="left")
    axes.set_xlabel("coverage: share of images answered")
    axes.set_ylabel("risk: share of answers that are wrong")
    axes.legend(loc="best")


def _frame(axes: Axes, heights: tuple[float, float]) -> None:
    """Shares on both axes; a margin keeps lines at the ends off the frame."""
    low, high = heights
    margin = 0.04 * (high - low)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(low - margin, high + margin)


def _caption(count: int, curves: dict[str, pd.DataFrame], risk: pd.DataFrame, area: float) -> str:
    half = np.searchsorted(risk["coverage"], 0.5)
    return (
        f"{counted(count, 'test image')}. Left: the answer is the node that says most of those"
        " whose probability is above a threshold, from the root (recall 0) to the classes; it is"
        f" right if the true class is at or below it. {recalls_note(curves)}. Right: of the"
        f" {risk['coverage'].iloc[half]:.0%} most confident images {risk['risk'].iloc[half]:.1%}"
        f" are wrong, of all {risk['risk'].iloc[-1]:.1%}; AURC {area:.3f} is the area below the"
        " curve."
    )
