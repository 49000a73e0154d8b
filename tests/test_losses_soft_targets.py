"""Soft labels and label smoothing against values worked out by hand and against dense tables of
targets.
"""

from math import log

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from trees import FLAT, TREE

from hierarchies import Hierarchy, node_weights
from hierarchies.distances import lca_height, max_path, weighted
from losses import build_loss

# C, A2a, x, A1, A2b, y, z
P = torch.tensor([[0.1, 0.2, 0.1, 0.1, 0.1, 0.3, 0.1]], dtype=torch.float64)
SCORES = torch.randn(40, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) * 3
TARGETS = torch.arange(40) % 7
ONE = Hierarchy.from_paths([("only",)])
CHAIN = Hierarchy.from_paths([("all", "of", name) for name in "abc"])


def dense(table):
    """Cross-entropy against rows of a table of targets, by definition."""
    return -(torch.as_tensor(table)[TARGETS] * SCORES.log_softmax(dim=1)).sum(dim=1).mean()


def bertinetto(beta):
    table = np.exp(-beta * lca_height(TREE) / lca_height(TREE).max())
    return table / table.sum(axis=1, keepdims=True)


def urbani(beta):
    table = np.exp(-beta * max_path(TREE))
    return table / table.sum(axis=0, keepdims=True)


def smoothed(smoothing, **options):
    similarity = 1 - weighted(TREE, node_weights(TREE, **options))
    return (1 - smoothing) * np.eye(7) + smoothing * similarity / similarity.sum(
        axis=1, keepdims=True
    )


def test_soft_labels_by_hand():
    # A2a: A2b shares A2 of height 1, A1 shares A of height 2, four others the root of height 3;
    # exp(-beta / 3) = 1/2
    expected = -(log(0.2) + log(0.1) / 2 + log(0.1) / 4 + (3 * log(0.1) + log(0.3)) / 8) / (
        1 + 1 / 2 + 1 / 4 + 4 / 8
    )
    loss = build_loss("soft_labels", TREE, soft_beta=3 * log(2))
    assert loss(P.log() - 3, torch.tensor([1])).item() == pytest.approx(expected, rel=1e-12)


def test_soft_labels_of_urbani_by_hand():
    # max(d, d) - d(lca) is 2 for a-x and a-y, 1 for x-y; exp(-beta) = 1/2; so columns a, x, y sum
    # to 6/4, 7/4, 7/4
    tree = Hierarchy.from_paths([("a",), ("b", "x"), ("b", "y")])
    scores = torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64).log()
    loss = build_loss("soft_labels", tree, soft_beta=log(2), soft_labels_variant="urbani")
    expected = -(log(0.5) / (6 / 4) + (log(0.3) + log(0.2)) * (1 / 4) / (7 / 4))
    assert loss(scores, torch.tensor([0])).item() == pytest.approx(expected, rel=1e-6)
    expected = -(log(0.5) * (1 / 4) / (6 / 4) + log(0.3) / (7 / 4) + log(0.2) * (1 / 2) / (7 / 4))
    assert loss(scores, torch.tensor([1])).item() == pytest.approx(expected, rel=1e-6)


def test_label_smoothing_by_hand():
    # balanced: cum(A) = 1/3, cum(A2) = 2/3, so 1 - dW of A2a is 1, 2/3 for A2b, 1/3 for A1, and 2
    # in total
    expected = -((0.9 + 0.1 / 2) * log(0.2) + 0.1 / 3 * log(0.1) + 0.1 / 6 * log(0.1))
    loss = build_loss("label_smoothing", TREE, smoothing=0.1)
    assert loss(P.log() + 2, torch.tensor([1])).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("soft_beta", [0.0, 0.5, 10.0, 200.0])
def test_the_tree_forms_of_soft_labels_equal_the_dense_forms(soft_beta):
    loss = build_loss("soft_labels", TREE, soft_beta=soft_beta)
    torch.testing.assert_close(loss(SCORES, TARGETS), dense(bertinetto(soft_beta)))
    loss = build_loss("soft_labels", TREE, soft_beta=soft_beta, soft_labels_variant="urbani")
    torch.testing.assert_close(
        loss(SCORES, TARGETS), dense(urbani(soft_beta)), rtol=1e-6, atol=1e-9
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"weighting": "power", "decay": 0.3},
        {"weighting": "leaf", "leaf_height": 1},
        {"weighting": "lazy"},
    ],
)
def test_the_tree_form_of_label_smoothing_equals_the_dense_form_under_any_weighting(options):
    loss = build_loss("label_smoothing", TREE, smoothing=0.3, **options)
    torch.testing.assert_close(loss(SCORES, TARGETS), dense(smoothed(0.3, **options)))


def test_all_target_rows_sum_to_one():
    for loss in (
        build_loss("soft_labels", TREE, soft_beta=2.0),
        build_loss("label_smoothing", TREE),
    ):
        targets = loss.distribution(torch.arange(7))
        assert (targets >= 0).all()
        torch.testing.assert_close(targets.sum(dim=1), torch.ones(7, dtype=torch.float64))


def test_the_published_table_does_not_sum_to_one_and_that_is_kept():
    loss = build_loss("soft_labels", TREE, soft_beta=0.5, soft_labels_variant="urbani")
    sums = loss.distribution(torch.arange(7)).sum(dim=1)
    torch.testing.assert_close(sums.numpy(), urbani(0.5).sum(axis=1), rtol=1e-6, atol=0)
    assert sums.max() - sums.min() > 0.05


def test_hard_soft_labels_are_cross_entropy_and_soft_ones_uniform():
    for variant in ("bertinetto", "urbani"):
        hard = build_loss("soft_labels", TREE, soft_beta=500.0, soft_labels_variant=variant)
        torch.testing.assert_close(
            hard(SCORES, TARGETS), F.cross_entropy(SCORES, TARGETS), rtol=1e-6, atol=0
        )
        uniform = build_loss("soft_labels", TREE, soft_beta=0.0, soft_labels_variant=variant)
        torch.testing.assert_close(
            uniform(SCORES, TARGETS), -SCORES.log_softmax(dim=1).mean(), rtol=1e-6, atol=0
        )


def test_no_smoothing_is_cross_entropy():
    torch.testing.assert_close(
        build_loss("label_smoothing", TREE, smoothing=0.0)(SCORES, TARGETS),
        F.cross_entropy(SCORES, TARGETS),
    )


def test_smoothing_over_a_flat_tree_is_cross_entropy():
    scores, targets = SCORES[:, :4], TARGETS % 4
    torch.testing.assert_close(
        build_loss("label_smoothing", FLAT, smoothing=0.4)(scores, targets),
        F.cross_entropy(scores, targets),
    )


def test_soft_labels_on_a_flat_tree_are_uniform_label_smoothing():
    beta, scores, targets = 3.0, SCORES[:, :4], TARGETS % 4
    smoothing = 4 * np.exp(-beta) / (1 + 3 * np.exp(-beta))
    expected = F.cross_entropy(scores, targets, label_smoothing=smoothing)
    torch.testing.assert_close(
        build_loss("soft_labels", FLAT, soft_beta=beta)(scores, targets), expected
    )


def test_the_largest_distance_is_that_of_two_classes_and_not_the_height_of_a_chain_above_all():
    chain = build_loss("soft_labels", CHAIN, soft_beta=3.0).distribution(torch.arange(3))
    flat = build_loss(
        "soft_labels", Hierarchy.from_paths([("a",), ("b",), ("c",)]), soft_beta=3.0
    ).distribution(torch.arange(3))
    torch.testing.assert_close(chain, flat)


@pytest.mark.parametrize("name", ["soft_labels", "label_smoothing"])
def test_a_single_class_is_certain(name):
    assert build_loss(name, ONE)(torch.tensor([[3.0]]), torch.tensor([0])).item() == 0.0


@pytest.mark.parametrize("name", ["soft_labels", "label_smoothing"])
def test_an_impossible_class_costs_nothing_unless_the_target_includes_it(name):
    scores = SCORES[:1].clone()
    scores[0, 5] = -np.inf  # y shares only the root with A2a
    loss = build_loss(name, TREE)(scores, torch.tensor([1]))
    assert torch.isinf(loss) if name == "soft_labels" else torch.isfinite(loss)
