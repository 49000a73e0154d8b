"""How many of each class a batch holds: adjusted counts, EM, and their intervals."""

import numpy as np
import pytest
from trees import TREE

from hierarchies import Hierarchy
from metrics import quantification
from metrics.quantification import (
    COLUMNS,
    Validation,
    adjusted_count,
    class_shares,
    confusion,
    confusion_rates,
    count_nodes,
    drawn_shares,
    saerens,
    undetermined,
)

pytestmark = pytest.mark.filterwarnings("error")
THREE = Hierarchy.from_paths([("a", "x"), ("a", "y"), ("b",)])
CENTRES = np.array([[0.0, 0.0], [1.5, 0.0], [0.0, 2.5]])  # of three clouds of spread 1


def test_two_classes_are_corrected_by_the_rates_of_true_and_false_answers():
    # 8 of 10 of the first and 3 of 10 of the second are answered "first"; half of a batch is
    rates = np.array([[0.8, 0.2], [0.3, 0.7]])
    found = adjusted_count(np.array([0.5, 0.5]), rates)
    np.testing.assert_allclose(found, [0.4, 0.6], atol=1e-6)  # (0.5 - 0.3) / (0.8 - 0.3)


def test_shares_beyond_what_the_rates_allow_end_at_the_bounds():
    rates = np.array([[0.8, 0.2], [0.3, 0.7]])
    np.testing.assert_allclose(adjusted_count(np.array([0.9, 0.1]), rates), [1, 0], atol=1e-6)
    np.testing.assert_allclose(adjusted_count(np.array([0.1, 0.9]), rates), [0, 1], atol=1e-6)


def test_without_confusion_both_corrections_are_the_plain_count():
    answered, prior = np.array([0.2, 0.5, 0.3]), np.array([0.5, 0.25, 0.25])
    np.testing.assert_allclose(adjusted_count(answered, np.eye(3)), answered, atol=1e-6)
    sure = np.eye(3)[[0, 0, 1, 1, 1, 1, 1, 2, 2, 2]]
    np.testing.assert_allclose(saerens(sure, prior), answered, atol=1e-9)


def test_em_ends_at_the_root_of_its_equation():
    # of the share q of the first class the likelihood is (0.1 + 0.8 q)^2 (0.9 - 0.8 q), largest at
    posterior = np.array([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9]])
    # 2 * 0.8 / (0.1 + 0.8 q) = 0.8 / (0.9 - 0.8 q): q = 1.7 / 2.4
    np.testing.assert_allclose(
        saerens(posterior, np.array([0.5, 0.5])), [1.7 / 2.4, 0.7 / 2.4], atol=1e-5
    )


def test_one_step_of_em_by_hand_from_uneven_shares():
    # posterior (0.5, 0.5) that comes from shares (0.8, 0.2): the second class is four times as
    # likely, and EM goes all the way there
    found = saerens(np.array([[0.5, 0.5]] * 5), np.array([0.8, 0.2]))
    np.testing.assert_allclose(found, [0, 1], atol=1e-5)


def test_validation_images_have_by_em_the_shares_that_they_have_by_their_posteriors():
    rng = np.random.default_rng(0)
    posterior = rng.dirichlet([1, 2, 3], 50)
    prior = posterior.mean(axis=0)
    np.testing.assert_allclose(saerens(posterior, prior), prior, atol=1e-9)


def test_a_class_without_validation_images_is_taken_as_it_is_answered():
    counts = confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), 3)
    assert counts.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
    rates = confusion_rates(counts)
    np.testing.assert_allclose(rates, [[0.5, 0.5, 0], [0, 1, 0], [0, 0, 1]])
    found = adjusted_count(np.array([0.2, 0.3, 0.5]), rates)
    np.testing.assert_allclose(found, [0.4, 0.1, 0.5], atol=1e-6)


@pytest.mark.parametrize("seed", [0, 75, 311, 842, 975])
def test_adjusted_counts_are_the_nearest_where_rates_are_singular(seed):
    # of all but the first, SciPy 1.17 ends elsewhere if asked alone, in one way or another
    rng = np.random.default_rng(seed)
    true, answers = rng.integers(0, 20, 40), rng.integers(0, 20, 40)
    given = np.where(rng.random(40) < 0.6, true, answers)
    rates = confusion_rates(confusion(true, given, 20))
    answered = np.bincount(rng.integers(0, 20, 10), minlength=20) / 10
    found = adjusted_count(answered, rates)
    assert found.min() >= 0 and found.sum() == pytest.approx(1)
    slopes = rates @ (rates.T @ found - answered)  # moving share to any class brings nothing
    assert slopes.min() >= slopes @ found - 1e-9


def test_weights_of_images_count_as_copies():
    posterior = np.random.default_rng(1).dirichlet([1, 1, 1], 20)
    weights = np.arange(20.0)
    prior = np.array([0.2, 0.3, 0.5])
    copies = saerens(np.repeat(posterior, np.arange(20), axis=0), prior)
    found = saerens(posterior, prior, weights[None])
    np.testing.assert_allclose(found[0], copies, atol=0.01)  # draws stop a little earlier


def clouds(rng, labels):
    """Posteriors for points of three clouds with even shares, as a right classifier has them."""
    points = CENTRES[labels] + rng.standard_normal((len(labels), 2))
    near = -0.5 * ((points[:, None] - CENTRES) ** 2).sum(axis=2)
    p = np.exp(near - near.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def test_shifted_shares_are_counted_better_than_by_answers_and_within_the_intervals():
    rng = np.random.default_rng(4)
    labels = np.repeat(np.arange(3), 150)
    errors: dict = {"counted": [], "adjusted": [], "em": []}
    inside: dict = {}
    leaves = THREE.leaves
    widths = []
    for repeat in range(25):
        # drawn again each time: their error is part of what the intervals are for
        validation = Validation(labels, clouds(rng, labels))
        truths = rng.choice(3, 300, p=rng.permutation([0.8, 0.15, 0.05]))
        counts = np.bincount(truths, minlength=3)
        table = count_nodes(THREE, clouds(rng, truths), validation, draws=60, seed=repeat)
        for name, found in errors.items():
            found.append(np.abs(table[name].to_numpy()[leaves] - counts).sum())
        for name in ("adjusted", "em"):
            low, high = (table[f"{name}_{end}"].to_numpy()[leaves] for end in ("low", "high"))
            inside.setdefault(name, []).append((low <= counts) & (counts <= high))
            widths.append(high - low)
        assert np.isclose(table["em"][0], 300) and np.isclose(table["adjusted"][0], 300)
    mean = {name: np.mean(found) for name, found in errors.items()}
    assert mean["adjusted"] < 0.6 * mean["counted"] and mean["em"] < 0.5 * mean["counted"]
    # over 300 such repeats .948 and .976 were inside, with a spread of .16 a repeat: of the mean of
    # 25 less than .83 is nearly 4 standard errors away
    for name, found in inside.items():
        assert np.mean(found) > 0.83, name
    assert np.mean(widths) < 100  # not by being wide


def test_mistakes_that_few_validation_images_do_not_show_are_within_the_interval():
    # 900 and 100 of 1,000 are answered so, and 10 validation images of each class are all right:
    # were 1 in 20 of the first class answered as the second, these would be 53
    labels = np.repeat([0, 1], 10)
    sure = np.eye(2)
    tree = Hierarchy.from_paths([("a",), ("b",)])
    batch = sure[np.repeat([0, 1], [900, 100])]
    low, high = count_nodes(tree, batch, Validation(labels, sure[labels])).loc[
        2, ["adjusted_low", "adjusted_high"]
    ]
    assert low < 53 and high > 110  # 1.96 sqrt(1,000 * 0.9 * 0.1) are 18.6
    # of 10,000 each there is little doubt
    labels = np.repeat([0, 1], 10_000)
    low, high = count_nodes(tree, batch, Validation(labels, sure[labels])).loc[
        2, ["adjusted_low", "adjusted_high"]
    ]
    assert 75 < low < 90 and 110 < high < 125


def test_a_superclass_has_the_sum_of_its_classes_in_every_draw():
    rng = np.random.default_rng(2)
    posterior = clouds(rng, rng.integers(0, 3, 40))
    labels = np.repeat(np.arange(3), 20)
    validation = Validation(labels, clouds(rng, labels))
    table = count_nodes(THREE, posterior, validation, draws=30, seed=3)
    found = class_shares(posterior, validation)
    drawn = drawn_shares(posterior, validation, found, 30, 3)
    a = next(v for v in range(THREE.num_nodes) if THREE.path(v) == ("a",))
    assert list(table.columns) == list(COLUMNS) and len(table) == THREE.num_nodes
    for name in ("adjusted", "em"):
        of_a = 40 * getattr(drawn, name)[:, :2].sum(axis=1)
        ends = np.quantile(of_a, [0.025, 0.975])
        np.testing.assert_allclose(table.loc[a, [f"{name}_low", f"{name}_high"]], ends, atol=1e-9)
    assert table["counted"][a] == 40 * found.counted[:2].sum()


def test_em_of_the_images_is_computed_once(monkeypatch):
    rng = np.random.default_rng(5)
    posterior, labels = clouds(rng, rng.integers(0, 3, 30)), np.repeat(np.arange(3), 10)
    validation = Validation(labels, clouds(rng, labels))
    plain = []

    def counted(*args):
        plain.append(len(args) == 2)  # without weights of draws
        return saerens(*args)

    monkeypatch.setattr(quantification, "saerens", counted)
    count_nodes(THREE, posterior, validation, draws=20)
    assert sorted(plain) == [False, True]


def test_no_image_is_counted_as_nothing_and_no_validation_image_is_refused():
    validation = Validation(np.array([0]), np.array([[1.0, 0, 0, 0, 0, 0, 0]]))
    table = count_nodes(TREE, np.empty((0, 7)), validation)
    assert (table["counted"] == 0).all() and table.drop(columns="counted").isna().all(axis=None)
    nothing = Validation(np.empty(0, np.int64), np.empty((0, 7)))
    with pytest.raises(ValueError, match="validation images, and there are none"):
        count_nodes(TREE, np.full((3, 7), 1 / 7), nothing)
    assert np.isnan(saerens(np.empty((0, 3)), np.full(3, 1 / 3))).all()


def test_what_the_answers_say_nothing_of_is_not_adjusted():
    """Images of the first two classes are answered alike, so that only their sum is known."""
    tree = Hierarchy.from_paths([("a", "b"), ("a", "c"), ("d",)])
    rates = np.array([[0.6, 0.4, 0.0], [0.6, 0.4, 0.0], [0.1, 0.0, 0.9]])
    found = dict(zip(tree.names, undetermined(tree, rates)))
    assert [name for name, lost in found.items() if lost] == ["b", "c"]
    assert undetermined(tree, np.full((3, 3), 1 / 3)).tolist() == [False, True, True, True, True]
    assert not undetermined(tree, np.eye(3)).any()


def test_counts_of_a_classifier_that_always_answers_the_same_are_nan_not_a_corner():
    tree = Hierarchy.from_paths([("a", "b"), ("a", "c"), ("d",)])
    alike = np.tile([0.5, 0.3, 0.2], (30, 1))
    table = count_nodes(tree, alike[:9], Validation(np.arange(30) % 3, alike), draws=20)
    assert table["counted"].tolist() == [9, 9, 9, 0, 0]
    assert table.loc[0, "adjusted"] == pytest.approx(9)  # all of them are something
    assert table.loc[1:, ["adjusted", "adjusted_low", "adjusted_high"]].isna().all(axis=None)
    assert table["em"].notna().all()
    assert (table["em_low"] <= table["em"]).all() and (table["em"] <= table["em_high"]).all()
