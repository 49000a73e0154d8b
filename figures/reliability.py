"""Whether confidences mean what they say."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from figures.common import check_images, counted
from figures.palette import FAINT, INK, OVER_COLOUR, TRUE_COLOUR, UNDER_COLOUR
from figures.style import Drawing, new_figure
from figures.subject import Subject
from metrics.calibration import BINS, calibration_error, fit_temperature, reliability
from metrics.outputs import Outputs


def reliability_diagram(subject: Subject) -> Drawing:
    """Accuracy against confidence in 15 bins with the number of images, also after temperature
    scaling.
    """
    outputs = subject.outputs
    check_images(outputs)
    views, temperature = {"as trained": outputs}, _temperature(subject.validation)
    if temperature is not None:
        views[f"scores divided by {temperature:.3g}"] = outputs.view(temperature=temperature)
    figure = new_figure(4.2 * len(views) + 0.2, 5.2)
    axes = figure.subplots(
        2, len(views), squeeze=False, height_ratios=(3, 1), sharex=True, sharey="row"
    )
    parts = []
    for (upper, lower), (name, view) in zip(axes.T, views.items()):
        correct = view.predictions == view.labels
        ece, _ = calibration_error(view.confidence, correct)
        _bars(upper, lower, view, correct)
        upper.set_title(f"{name}: ECE {ece:.3f}", loc="left")
        lower.set_xlabel("confidence: probability of the predicted class")
        parts.append(
            f"{name}, accuracy {correct.mean():.3f} and mean confidence"
            f" {view.confidence.mean():.3f}"
        )
    axes[0, 0].set_ylabel("accuracy")
    axes[1, 0].set_ylabel("images")
    axes[1, 0].yaxis.set_major_locator(MaxNLocator(3, integer=True))
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(),
        loc="outside upper left",
        ncols=4 if len(views) > 1 else 2,
    )
    return Drawing(figure, _caption(outputs, parts, temperature))


def _temperature(validation: Outputs | None) -> float | None:
    if validation is None or not validation.num_samples:
        return None
    try:
        return fit_temperature(validation.scores, validation.labels)
    except ValueError:  # no validation image has a score for its class
        return None


def _bars(upper: Axes, lower: Axes, view: Outputs, correct: np.ndarray) -> None:
    bins = reliability(view.confidence, correct)
    middle, width = (bins.lower + bins.upper) / 2, 1 / BINS
    upper.plot(
        [0, 1], [0, 1], color=INK, linewidth=0.8, linestyle="--", label="confidence = accuracy"
    )
    accuracy, confidence = bins.accuracy, bins.confidence
    common = np.minimum(accuracy, confidence)
    upper.bar(middle, common, 0.92 * width, color=TRUE_COLOUR, label="accuracy")
    for difference, colour, name in (
        (confidence - accuracy, OVER_COLOUR, "less accurate than confident"),
        (accuracy - confidence, UNDER_COLOUR, "more accurate than confident"),
    ):
        upper.bar(
            middle, np.maximum(difference, 0), 0.92 * width, bottom=common, color=colour, label=name
        )
    upper.set_xlim(0, 1)
    upper.set_ylim(0, 1.02)
    lower.bar(middle, bins.counts, 0.92 * width, color=FAINT)


def _caption(outputs: Outputs, parts: list[str], temperature: float | None) -> str:
    fitted = "The temperature is fitted on the validation split."
    scaled = (
        fitted
        if temperature is not None
        else "There is no validation split to fit a temperature on."
    )
    return (
        f"{counted(outputs.num_samples, 'test image')} in {BINS} bins of the confidence; ECE is the"
        f" mean height of the gaps, weighted with the images. {'; '.join(parts)}. {scaled}"
    )
