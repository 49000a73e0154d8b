"""The superclass loss and HXE against values worked out by walking the tree, and against the losses
they turn into.
"""

from math import exp, log

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from trees import FLAT, TREE

from hierarchies import WEIGHTINGS, Hierarchy, node_weights
from hierarchies.weights import is_normalised
from losses import build_loss

# p of the classes C, A2a, x, A1, A2b, y, z: P(A) = 0.4, P(A2) = 0.3, P(B) = 0.5, P(B1) = 0.1, P(B2)
# = 0.4
P = torch.tensor([[0.1, 0.2, 0.1, 0.1, 0.1, 0.3, 0.1]], dtype=torch.float64)
SCORES = torch.randn(40, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 3
TARGETS = torch.arange(40) % 7
C, A2A, X, A1 = 0, 1, 2, 3
NORMALISED = [name for name in WEIGHTINGS if is_normalised(TREE, node_weights(TREE, name))]


def value(loss, target, scores=None):
    return loss((P.log() + 5.0) if scores is None else scores, torch.tensor([target])).item()


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (C, -log(0.1)),
        (A2A, -(log(0.4) + log(0.3) + log(0.2)) / 3),
        (A1, -(log(0.4) + 2 * log(0.1)) / 3),
        (X, -(log(0.5) + log(0.1) + log(0.1)) / 3),
    ],
)
def test_the_balanced_loss_by_hand(target, expected):
    assert value(build_loss("hierarchical", TREE), target) == pytest.approx(expected, rel=1e-12)


def test_the_power_loss_by_hand():
    # q = 1/2: A has height 2 and takes 1/2 / (1 - 1/8) = 4/7, A2 takes 2/3 of the rest, the class
    # what is left
    expected = -(4 / 7 * log(0.4) + 2 / 7 * log(0.3) + 1 / 7 * log(0.2))
    assert value(
        build_loss("hierarchical", TREE, weighting="power", decay=0.5), A2A
    ) == pytest.approx(expected, rel=1e-12)


def test_a_loss_without_normalised_weights_by_hand():
    expected = -(log(0.4) / 3 + log(0.3) / 2 + log(0.2))
    assert value(build_loss("hierarchical", TREE, weighting="n_leaves"), A2A) == pytest.approx(
        expected, rel=1e-12
    )
    expected = -(log(0.5) / 3 + 0 + log(0.1))
    assert value(build_loss("hierarchical", TREE, weighting="n_leaves"), X) == pytest.approx(
        expected, rel=1e-12
    )


@pytest.mark.parametrize(
    ("hxe_weights", "scale", "shares"),
    [
        ("depth", 1, (1 / 2, 1 / 4, 1 / 8)),
        ("normalised", 1 / (1 + 3 / 2 + 4 / 4 + 5 / 8), (1 / 2, 1 / 4, 1 / 8)),
        ("parent", 2, (1 / 2, 1 / 4, 1 / 8)),
        ("height", 1, (1 / 4, 1 / 2, 1)),
    ],
)
def test_hxe_by_hand(hxe_weights, scale, shares):
    loss = build_loss("hxe", TREE, hxe_alpha=log(2), hxe_weights=hxe_weights)
    expected = -(shares[0] * log(0.4) + shares[1] * log(0.3 / 0.4) + shares[2] * log(0.2 / 0.3))
    assert value(loss, A2A) == pytest.approx(scale * expected, rel=1e-12)


def test_hxe_without_decay_is_cross_entropy():
    torch.testing.assert_close(
        build_loss("hxe", TREE, hxe_alpha=0.0)(SCORES, TARGETS), F.cross_entropy(SCORES, TARGETS)
    )


@pytest.mark.parametrize("hxe_alpha", [0.0, 0.1, 0.6, 3.0])
def test_hxe_is_the_superclass_loss_with_its_telescoped_weights(hxe_alpha):
    by_weights = build_loss("hierarchical", TREE, weighting="hxe", hxe_alpha=hxe_alpha)
    torch.testing.assert_close(
        build_loss("hxe", TREE, hxe_alpha=hxe_alpha)(SCORES, TARGETS), by_weights(SCORES, TARGETS)
    )


@pytest.mark.parametrize("weighting", NORMALISED)
def test_every_weighting_that_sums_to_one_is_cross_entropy_on_a_flat_tree(weighting):
    torch.testing.assert_close(
        build_loss("hierarchical", FLAT, weighting=weighting)(SCORES[:, :4], TARGETS % 4),
        F.cross_entropy(SCORES[:, :4], TARGETS % 4),
    )


@pytest.mark.parametrize(
    "options", [{"weighting": "power", "decay": 1e12}, {"weighting": "leaf", "leaf_height": 0}]
)
def test_weight_on_the_classes_alone_is_cross_entropy(options):
    torch.testing.assert_close(
        build_loss("hierarchical", TREE, **options)(SCORES, TARGETS),
        F.cross_entropy(SCORES, TARGETS),
    )


def test_no_decay_is_cross_entropy_between_the_children_of_the_root():
    top = torch.tensor([0, 1, 2, 1, 1, 2, 2])
    masses = torch.zeros(40, 3, dtype=torch.float64).index_add_(1, top, SCORES.exp())
    loss = build_loss("hierarchical", TREE, weighting="power", decay=0.0)
    torch.testing.assert_close(loss(SCORES, TARGETS), F.cross_entropy(masses.log(), top[TARGETS]))


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_any_weighting_equals_the_sum_over_the_path_by_definition(weighting):
    weights, p = node_weights(TREE, weighting), SCORES.softmax(dim=1)
    expected = 0.0
    for row, target in enumerate(TARGETS.tolist()):
        for node in TREE.path_table[target]:
            if node >= 0:
                below = TREE.leaf_order[TREE.start[node] : TREE.stop[node]].copy()
                expected -= weights[node] * p[row, below].sum().log() / len(TARGETS)
    torch.testing.assert_close(
        build_loss("hierarchical", TREE, weighting=weighting)(SCORES, TARGETS), expected
    )


def test_the_gradient_is_that_of_the_formula():
    scores, weights = SCORES.clone().requires_grad_(), node_weights(TREE, "balanced")
    build_loss("hierarchical", TREE)(scores, TARGETS).backward()
    p, expected = SCORES.softmax(dim=1), torch.zeros_like(SCORES)
    for row, target in enumerate(TARGETS.tolist()):
        for node in TREE.path_table[target]:
            if node >= 0:
                inside = torch.zeros(7, dtype=torch.float64)
                inside[TREE.leaf_order[TREE.start[node] : TREE.stop[node]].copy()] = 1
                expected[row] += (
                    weights[node] * p[row] * (1 - inside / (p[row] * inside).sum()) / len(TARGETS)
                )
    torch.testing.assert_close(scores.grad, expected)


def test_a_single_child_node_moves_hxe_of_the_classes_below_it_one_level_down():
    short = Hierarchy.from_paths([("a", "x"), ("a", "y"), ("b",)])
    long = Hierarchy.from_paths([("a", "only", "x"), ("a", "only", "y"), ("b",)])
    scores, a = torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64).log(), exp(-0.4)
    for tree, steps in [(short, 2), (long, 3)]:
        loss = build_loss("hxe", tree, hxe_alpha=0.4)
        assert value(loss, 0, scores) == pytest.approx(
            -(a * log(0.8) + a**steps * log(0.5 / 0.8)), rel=1e-12
        )
        assert value(loss, 2, scores) == pytest.approx(-a * log(0.2), rel=1e-12)
        assert value(build_loss("hxe", tree, hxe_alpha=0.0), 0, scores) == pytest.approx(
            -log(0.5), rel=1e-12
        )


def test_a_single_child_node_only_moves_weight_to_its_child_or_back():
    # balanced: 1/2 and 1/2 on a and x become 1/3 each on a, only and x, and P(only) = P(a)
    long = Hierarchy.from_paths([("a", "only", "x"), ("a", "only", "y"), ("b",)])
    scores = torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64).log()
    assert value(build_loss("hierarchical", long), 0, scores) == pytest.approx(
        -(2 * log(0.8) + log(0.5)) / 3, rel=1e-12
    )
    assert value(build_loss("hierarchical", long), 2, scores) == pytest.approx(-log(0.2), rel=1e-12)
    # leaf_proportion gives an inner node with a single child's number of classes no weight: nothing
    # moves
    short = Hierarchy.from_paths([("a", "x"), ("a", "y"), ("b",)])
    for target in range(3):
        expected = value(
            build_loss("hierarchical", short, weighting="leaf_proportion"), target, scores
        )
        assert value(
            build_loss("hierarchical", long, weighting="leaf_proportion"), target, scores
        ) == pytest.approx(expected, rel=1e-12)


def test_a_chain_above_everything_costs_nothing_to_know():
    chain = Hierarchy.from_paths([("all", "of", "it", name) for name in "abcd"])
    loss = build_loss("hierarchical", chain)(SCORES[:, :4], TARGETS % 4)
    torch.testing.assert_close(loss, F.cross_entropy(SCORES[:, :4], TARGETS % 4) / 4)


def test_a_class_of_weight_zero_may_be_impossible():
    scores = torch.tensor([[0.0, 1.0, 2.0, -np.inf, 1.0, 0.5, 0.2]], dtype=torch.float64)
    p = scores.softmax(dim=1)[0]
    loss = build_loss("hierarchical", TREE, weighting="power", decay=0.0)
    assert value(loss, A1, scores) == pytest.approx(-log(p[1] + p[3] + p[4]), rel=1e-12)
