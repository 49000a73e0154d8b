"""What the page of a run draws in the browser: curves, maps and trees as numbers."""

import base64
import gzip
import hashlib
import importlib.util
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from drawable import make_epochs, make_outputs, make_subject
from trees import TREE

from figures.epochs import epochs_note
from figures.planes import place_by_neighbours, principal_components
from figures.subject import Subject
from reports import page, run_data, run_plots, tree_data


@pytest.fixture(scope="module")
def subject():
    return make_subject(TREE, samples=60)


def test_too_many_classes_and_scores_alone_have_a_reason(monkeypatch, subject):
    monkeypatch.setattr(tree_data, "MOST", 3)
    assert "Trees of 7 classes are too long" in run_plots.trees(subject)["none"]
    none = np.zeros((60, 0)), np.zeros((7, 0))
    scores = replace(subject.outputs, embeddings=none[0], class_vectors=none[1], prototypes=none[1])
    alone = replace(subject, outputs=replace(scores, prototype_scores=None))
    monkeypatch.undo()
    assert "scores only" in run_plots.trees(alone)["none"]
    assert "scores only" in run_plots.map_data(alone, run_plots.sample_of_map(alone), {})["none"]


def test_the_scale_is_a_curve_only_where_it_moves(subject):
    fixed = run_plots.curve_data(subject)["training"]
    moving = replace(subject, options={**subject.options, "dynamic": True})
    dynamic = run_plots.curve_data(moving)["training"]
    titles = [[panel["title"] for panel in found["panels"]] for found in (fixed, dynamic)]
    assert set(titles[1]) - set(titles[0]) == {"Scale of the scores"}
    loss = fixed["panels"][0]["lines"]
    assert loss[0]["y"] == pytest.approx(make_epochs()["train_loss"].tolist(), rel=1e-4)
    assert fixed["best"] == 4 and "epoch 4" in fixed["note"]
    none = replace(subject, epochs=pd.DataFrame({"epoch": []}))
    assert "No epoch" in run_plots.curve_data(none)["training"]["none"]


def test_the_curves_end_at_what_all_images_give(subject):
    found = run_plots.curve_data(subject)
    wrong = (subject.outputs.predictions != subject.outputs.labels).mean()
    assert found["risk"]["risk"][-1] == pytest.approx(wrong, abs=1e-4)
    assert found["risk"]["coverage"][-1] == 1.0
    for line in found["operating"]["lines"]:
        assert (line["recall"][0], line["correct"][0]) == (0.0, 1.0)  # the root, always right
        assert line["correct"][-1] == pytest.approx(1 - wrong, abs=1e-4)
    first, second = found["reliability"]["views"]
    assert sum(first["counts"]) == 60 and "fitted on the validation images" in second["name"]
    heights = found["heights"]
    assert heights["mistakes"] == round(wrong * 60) and sum(heights["share"]) == pytest.approx(1.0)
    assert sum(heights["random"]) == pytest.approx(1.0, abs=1e-4)
    alone = replace(subject, validation=None)
    assert len(run_plots.curve_data(alone)["reliability"]["views"]) == 1


def test_a_map_shows_each_image_at_its_place_in_the_list_and_says_what_is_left_out(
    monkeypatch, subject
):
    found = run_data.run_data(subject).data
    images, own = found["images"], found["map"]
    assert sorted(own["images"]) == list(range(60)) and "all 60 test images" in own["note"]
    assert [view["name"].split()[0] for view in own["views"]] == ["neighbours", "distances"]
    assert all(len(view["x"]) == 67 for view in own["views"])
    sample = run_plots.sample_of_map(subject)
    assert [images["file"][k] for k in own["images"]] == subject.files[sample.images].tolist()
    monkeypatch.setattr(run_plots, "IMAGES", 20)
    monkeypatch.setattr(run_data, "LISTED", 50)
    fewer = run_data.run_data(subject)
    shown = fewer.data["map"]
    assert len(shown["images"]) == 20 and "20 of 60 test images" in shown["note"]
    assert any("50 of 60 test images are listed" in note for note in fewer.notes)


def test_the_rows_of_the_tables_name_their_images(subject):
    noisy = replace(subject, outputs=make_outputs(TREE, 60, noise=0.8))
    found = run_data.run_data(noisy).data
    files, outputs = found["images"]["file"], noisy.outputs  # a file is called as its number
    for place, label, answer, second, *_ in found["tables"]["unsure"]["rows"]:
        image = int(files[place])
        assert outputs.labels[image] == label
        assert outputs.best(2)[image].tolist() == [answer, second]
    suspects = found["tables"]["suspects"]["rows"]
    for place, label, suggested, *_ in suspects:
        image = int(files[place])
        assert outputs.labels[image] == label != suggested
        assert outputs.predictions[image] != label
    assert len(suspects) > 0


def test_points_on_a_line_have_one_component():
    line = np.arange(5.0)[:, None] * np.array([3.0, 4.0, 0.0])
    points, shares = principal_components(line)
    np.testing.assert_allclose(np.abs(np.diff(points[:, 0])), 5.0)
    np.testing.assert_allclose(shares[0], 1.0)
    np.testing.assert_allclose(points[:, 1], 0.0, atol=1e-9)


def test_neighbours_stay_together_and_the_map_is_the_same_again():
    rng = np.random.default_rng(0)
    centres = 10 * np.eye(3, 8)
    points = np.repeat(centres, 20, axis=0) + rng.standard_normal((60, 8))
    placed, perplexity = place_by_neighbours(points, 300)
    again, _ = place_by_neighbours(points, 300)
    np.testing.assert_array_equal(placed, again)
    assert perplexity == pytest.approx(59 / 3)
    middles = placed.reshape(3, 20, 2).mean(axis=1)
    spread = np.linalg.norm(placed.reshape(3, 20, 2) - middles[:, None], axis=2).max()
    apart = np.linalg.norm(middles[:, None] - middles, axis=2)[~np.eye(3, dtype=bool)].min()
    assert spread < apart
    with pytest.raises(ValueError, match="six points"):
        place_by_neighbours(points[:5], 300)


def test_the_library_is_whole_in_the_page_and_named_in_its_policy(monkeypatch):
    library = page.plot_library()
    script = gzip.decompress(base64.b64decode(library.text))
    digest = base64.b64encode(hashlib.sha256(script).digest()).decode()
    assert library.digest == digest and b"Plotly" in script
    assert "plotly.js" in library.notice and "MIT" in library.notice
    made = page.document("t", [], [], kind="run_page", data={}).decode()
    assert f"'sha256-{digest}'" in made and library.notice in made
    assert "library" not in page.document("t", [], [], kind="comparison", data={}).decode()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    page.plot_library.cache_clear()
    with pytest.raises(ValueError, match="pip install"):
        page.plot_library()


@pytest.mark.parametrize(
    "options, said", [({}, "accuracy"), ({"choose": "macro_accuracy"}, "macro accuracy")]
)
def test_the_curves_say_by_what_the_epoch_was_chosen(options, said):
    epochs = pd.DataFrame({"epoch": [1, 2]})
    subject = Subject(None, epochs, options, best_epoch=2)
    assert f"from epoch 2 (dotted line), of the best validation {said}." in epochs_note(
        subject, epochs
    )
