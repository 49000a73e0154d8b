"""Images for a person to look at: labels that may be wrong, answers that are least sure."""

import numpy as np
import pandas as pd
import pytest

from hierarchies import Hierarchy
from metrics import posterior
from metrics.outputs import outputs_of
from metrics.review import likely_mislabelled, worth_labelling

THREE = Hierarchy.from_paths([("a",), ("b",), ("c",)])


def outputs(labels, probabilities, tree=THREE):
    with np.errstate(divide="ignore"):
        scores = np.log(np.array(probabilities, float))
    none = np.zeros((tree.num_classes, 0))
    return outputs_of(
        tree,
        np.array(labels),
        scores=scores,
        embeddings=np.zeros((len(labels), 0)),
        class_vectors=none,
        prototypes=None,
    )


# thresholds: of a (0.9 + 0.7 + 0.2) / 3 = 0.6, of b (0.8 + 0.4) / 2 = 0.6, of c none
LABELS = [0, 0, 0, 1, 1]
PROBABILITIES = [
    [0.9, 0.1, 0.0],
    [0.7, 0.3, 0.0],
    [0.2, 0.7, 0.1],  # below 0.6 for a, above 0.6 for b: suspect, margin (0.2 - 0.7 + 1) / 2
    [0.1, 0.8, 0.1],
    [0.1, 0.4, 0.5],  # below 0.6 for b, but nothing reaches its threshold: c has none
]


def test_a_suspect_is_unlike_its_label_and_like_another_class():
    table = likely_mislabelled(outputs(LABELS, PROBABILITIES))
    assert len(table) == 1
    row = table.iloc[0]
    assert (row["image"], row["suggested"]) == (2, 1)
    found = row[["own", "own_mean", "other", "other_mean", "margin"]].astype(float)
    np.testing.assert_allclose(found, [0.2, 0.6, 0.7, 0.6, 0.25])


def test_suspects_stand_by_their_margin_and_a_label_that_is_the_answer_is_none():
    # thresholds: a 0.475, b 0.7, c 0.3 (of the last image alone)
    labels = [0, 0, 0, 0, 1, 2]
    probabilities = [
        [0.9, 0.1, 0.0],
        [0.4, 0.25, 0.35],  # below 0.475 for a, above 0.3 for c, but a is the answer
        [0.3, 0.3, 0.4],  # margin 0.45, c suggested
        [0.3, 0.0, 0.7],  # margin 0.3, c suggested: first
        [0.3, 0.7, 0.0],
        [0.3, 0.4, 0.3],  # not below its threshold, which is its own
    ]
    table = likely_mislabelled(outputs(labels, probabilities))
    assert table["image"].tolist() == [3, 2] and table["suggested"].tolist() == [2, 2]
    np.testing.assert_allclose(table["margin"], [0.3, 0.45])


def test_an_image_as_probable_as_others_with_its_label_is_no_suspect():
    # thresholds: a 0.25, b 0.5; the first image is answered b, but no less a than others are
    probabilities = [[0.45, 0.55, 0.0], [0.05, 0.9, 0.05], [0.3, 0.5, 0.2]]
    table = likely_mislabelled(outputs([0, 0, 1], probabilities))
    assert table["image"].tolist() == [1]


def test_blocks_of_images_give_what_all_at_once_give(monkeypatch):
    rng = np.random.default_rng(1)
    probabilities = rng.dirichlet(np.ones(3), 50)
    split = np.arange(50) % 3, probabilities
    whole = likely_mislabelled(outputs(*split)), worth_labelling(outputs(*split), 9, 4)
    monkeypatch.setattr(posterior, "_BLOCK_ENTRIES", 12)  # four images
    parts = likely_mislabelled(outputs(*split)), worth_labelling(outputs(*split), 9, 4)
    assert len(whole[0]) > 5
    for one, other in zip(whole, parts):
        pd.testing.assert_frame_equal(one, other)


def test_a_planted_wrong_label_is_the_first_suspect():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 40)
    scores = 6 * np.eye(3)[labels] + rng.standard_normal((120, 3))
    given = labels.copy()
    given[17], scores[17] = 2, (12, 0, 0)  # surely of the first class, and labelled with the last
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    assert likely_mislabelled(outputs(given, probabilities))["image"].iloc[0] == 17


def test_nothing_is_suspected_of_a_perfect_classifier_or_without_images():
    assert not len(likely_mislabelled(outputs([0, 1, 2], np.eye(3))))
    nobody = outputs(np.empty(0, int), np.empty((0, 3)))
    assert not len(likely_mislabelled(nobody)) and not len(worth_labelling(nobody, 5, 5))


def test_the_least_sure_come_first_and_no_answer_takes_all_places():
    probabilities = [
        [0.5, 0.25, 0.25],  # a over b (the first of equals), margin 0.25
        [0.6, 0.4, 0.0],  # a over b, 0.2
        [0.0, 0.3, 0.7],  # c over b, 0.4
        [1.0, 0.0, 0.0],  # a, 1
    ]
    table = worth_labelling(outputs([0, 0, 0, 0], probabilities), most=3, per_answer=2)
    assert table["image"].tolist() == [1, 0, 2] and table["answer"].tolist() == [0, 0, 2]
    assert table["second"].tolist() == [1, 1, 1]
    np.testing.assert_allclose(table["margin"], [0.2, 0.25, 0.4])
    # -(0.5 log 0.5 + 2 * 0.25 log 0.25) / log 3 = 1.5 log 2 / log 3
    assert table["entropy"][1] == pytest.approx(1.5 * np.log(2) / np.log(3))
    two = worth_labelling(outputs([0, 0, 0, 0], probabilities), most=2, per_answer=2)
    assert two["image"].tolist() == [1, 0]
    only = worth_labelling(outputs([0, 0, 0, 0], probabilities), most=9, per_answer=1)
    assert only["image"].tolist() == [1, 2]


def test_entropy_reaches_from_certainty_to_equal_probabilities():
    table = worth_labelling(outputs([0, 0], [[1, 0, 0], np.full(3, 1 / 3)]), 2, 2)
    np.testing.assert_allclose(table["entropy"], [1.0, 0.0], atol=1e-9)
    one = Hierarchy.from_paths([("a",)])
    assert not len(worth_labelling(outputs([0], [[1.0]], one), 3, 3))
