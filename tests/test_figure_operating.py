"""The figure and the files of operating curves."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from drawable import make_subject
from recorded import write_whole_run
from test_figures import drawn
from trees import TREE

import evaluate
from figures.common import NothingToDraw
from figures.operating import operating_curves
from metrics.curves import operating_curve, recall_at, risk_coverage_area, thinned
from metrics.outputs import Outputs


def classifier(right: bool) -> Outputs:
    """An image of each class with nearly all probability on its own class, or on the next one."""
    labels, eye = np.arange(TREE.num_classes), np.eye(TREE.num_classes, dtype=np.float32)
    scores = 30 * (eye if right else np.roll(eye, 1, axis=1))
    return Outputs(TREE, labels, scores, eye, eye, eye)


def lines(figure) -> dict[str, np.ndarray]:
    return {
        line.get_label(): line.get_xydata() for axes in figure.axes for line in axes.get_lines()
    }


def test_a_perfect_classifier_recalls_everything_without_risk():
    subject = replace(make_subject(TREE), outputs=classifier(right=True))
    figure, caption = drawn(operating_curves, subject)
    found = lines(figure)
    for name in ("recall of depth", "recall of information"):
        assert found[name][:, 0].max() == pytest.approx(1) and (found[name][:, 1] == 1).all()
    assert not found["most confident first"][:, 1].any()
    assert (
        "90 % of the answers are right up to a recall of 1.000 (depth) and 1.000 (information)"
        in caption
    )


def test_a_classifier_that_is_always_wrong_answers_at_full_risk():
    figure, _ = drawn(
        operating_curves, replace(make_subject(TREE), outputs=classifier(right=False))
    )
    assert (lines(figure)["most confident first"][:, 1] == 1).all()


def test_the_figure_names_the_measures_it_shows():
    subject = make_subject(TREE)
    figure, caption = drawn(operating_curves, subject)
    area = risk_coverage_area(subject.outputs).value
    assert f"AURC {area:.3f}" in caption and f"AURC {area:.3f}" in figure.axes[1].get_title(
        loc="left"
    )
    curve = operating_curve(subject.outputs, "depth")
    assert f"up to a recall of {recall_at(curve, 0.9):.3f} (depth)" in caption


def test_without_images_there_is_nothing_to_draw():
    whole = classifier(right=True)
    empty = {name: getattr(whole, name)[:0] for name in ("labels", "scores", "embeddings")}
    outputs = Outputs(TREE, **empty, class_vectors=whole.class_vectors, prototypes=whole.prototypes)
    with pytest.raises(NothingToDraw):
        operating_curves(replace(make_subject(TREE), outputs=outputs))


def test_thinned_curves_keep_both_ends_and_short_ones_everything():
    curve = pd.DataFrame({"threshold": np.arange(7001.0)})
    kept = thinned(curve, 100)["threshold"]
    assert (
        len(kept) == 100
        and kept.iloc[0] == 0
        and kept.iloc[-1] == 7000
        and kept.is_monotonic_increasing
    )
    assert thinned(curve, 7001) is curve


def test_an_evaluation_writes_the_curves_of_class_vectors_and_prototypes(tmp_path):
    run = write_whole_run(tmp_path)
    assert evaluate.main([str(run.folder)]) == 0
    for kind in ("", "-prototype"):
        for value in ("depth", "info"):
            curve = pd.read_csv(run.folder / f"curve_{value}{kind}.csv")
            assert {"threshold", "correct", "precision", "recall"} <= set(curve.columns)
            assert curve["correct"].max() == 1  # the root is always right
        risk = pd.read_csv(run.folder / f"risk_coverage{kind}.csv")
        assert risk["coverage"].iloc[-1] == 1 and risk["risk"].between(0, 1).all()
    metrics = pd.read_csv(run.folder / "evaluation.csv").set_index("metric")["value"]
    assert risk_at_the_end(run, "") == pytest.approx(1 - metrics["accuracy"])
    assert risk_at_the_end(run, "-prototype") == pytest.approx(1 - metrics["prototype/accuracy"])


def risk_at_the_end(run, kind: str) -> float:
    return pd.read_csv(run.folder / f"risk_coverage{kind}.csv")["risk"].iloc[-1]
