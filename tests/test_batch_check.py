"""Batches of images that look to the model unlike those that it was calibrated on."""

import numpy as np
from scored_outputs import random_scores

from evaluation.batch_check import FEWEST, is_unlike, traits


def drawn(seed, n, shift=0.0):
    scores = random_scores(seed, n, 7)
    scores[:, 0] += shift
    return traits(scores, 1.5)


def test_traits_are_the_largest_score_and_its_probability():
    # at temperature 2: 2 : 1 : 1, and 3 : 4 with a class that has no images
    scores = np.array([[np.log(4.0), 0.0, 0.0], [np.log(9.0), np.log(16.0), -np.inf]])
    found = traits(scores, 2.0)
    np.testing.assert_allclose(found, [[np.log(4), 0.5], [np.log(16), 4 / 7]])


def test_images_of_the_same_kind_are_seldom_called_unlike():
    alarms = sum(is_unlike(drawn(2 * i, 150), drawn(2 * i + 1, 60)) for i in range(1000))
    assert alarms <= 5  # 1 expected at most; more than 5 in one of 1,700 tries


def test_images_of_another_kind_are_called_unlike():
    assert is_unlike(drawn(1, 60, shift=4.0), drawn(2, 60))
    sure, unsure = np.array([[9.0, 1.0]] * 30), np.array([[9.0, 0.4]] * 30)  # one trait is enough
    assert is_unlike(sure, unsure) and not is_unlike(sure, sure)


def test_too_few_images_are_not_judged():
    far = drawn(1, 40, shift=50.0)
    assert not is_unlike(far[: FEWEST - 1], drawn(2, 100))
    assert not is_unlike(far, drawn(2, 100)[: FEWEST - 1])
    assert is_unlike(far, drawn(2, 100))
