"""Penalties on weights: values by hand, the dense forms they replace, and which weights they act on."""

import numpy as np
import pytest
import torch
from torch import nn
from trees import FLAT, TREE

from benchmarks.losses import random_tree
from hierarchies import Hierarchy, node_weights
from hierarchies.distances import weighted
from losses.penalties import HR, L2SP, HRGamma, WeightDecay

GROUPS = {"Animals": (6, 2, 2), "Artificial": (3, 3), "Nature": (3, 1)}  # CIFAR-100: superclasses in each group
CIFAR100 = Hierarchy.from_paths(
    [
        (kingdom, f"group{g}", f"superclass{s}", f"class{c}")
        for kingdom, sizes in GROUPS.items()
        for g, size in enumerate(sizes)
        for s in range(size)
        for c in range(5)
    ]
)
MODEL = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 5), nn.Linear(5, 7))


def draw(hierarchy, dim=3):
    return torch.randn(
        hierarchy.num_classes, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    ).requires_grad_()


def gram(hierarchy):
    return 1 - weighted(hierarchy, node_weights(hierarchy, "balanced")) ** 2 / 2


def test_hr_by_hand():
    # classes a; b/x, b/y with vectors 1; 2, 4: s_b = 6, s = 7; (1 - 7/3)^2 + (6 - 14/3)^2 + (2 - 3)^2 + (4 - 3)^2
    tree = Hierarchy.from_paths([("a",), ("b", "x"), ("b", "y")])
    value = HR(tree)(torch.tensor([[1.0], [2.0], [4.0]], dtype=torch.float64))
    assert value.item() == pytest.approx(16 / 9 + 16 / 9 + 1 + 1, rel=1e-12)


def test_hr_of_a_flat_tree_is_the_scatter_around_the_mean():
    weight = draw(FLAT)
    torch.testing.assert_close(HR(FLAT)(weight), (weight - weight.mean(dim=0)).square().sum())


@pytest.mark.parametrize("tree", [TREE, FLAT, CIFAR100], ids=["drawn", "flat", "cifar100"])
def test_hr_is_zero_for_equal_class_vectors_and_positive_otherwise(tree):
    equal = torch.tensor([[0.3, -2.0]], dtype=torch.float64).expand(tree.num_classes, 2)
    assert HR(tree)(equal).item() == pytest.approx(0.0, abs=1e-20)
    nudged = equal.clone()
    nudged[1, 0] += 1e-3
    assert HR(tree)(nudged) > 1e-7


def test_hr_gamma_by_hand():
    # two classes below the root: dW = 1, K = [[1, 1/2], [1/2, 1]], K^-1 = [[4, -2], [-2, 4]] / 3
    value = HRGamma(Hierarchy.from_paths([("a",), ("b",)]))(torch.tensor([[1.0], [3.0]], dtype=torch.float64))
    assert value.item() == pytest.approx((4 * 1 + 4 * 9 - 2 * 2 * 3) / 3, rel=1e-12)


@pytest.mark.parametrize(
    "tree", [TREE, FLAT, CIFAR100, random_tree(60, 6, 1)], ids=["drawn", "flat", "cifar100", "random"]
)
def test_hr_gamma_is_the_trace_with_the_inverse_of_the_gram_matrix(tree):
    weight = draw(tree)
    solved = np.linalg.solve(np.linalg.cholesky(gram(tree)), weight.detach().numpy())
    assert HRGamma(tree)(weight).item() == pytest.approx((solved**2).sum(), rel=1e-10)


@pytest.mark.parametrize(
    ("tree", "expected"),
    [(CIFAR100, 0.03125), (FLAT, 0.5), (TREE, (1 / 3) ** 2 / 2)],
    ids=["cifar100", "flat", "drawn"],
)
def test_the_smallest_eigenvalue_is_half_the_squared_distance_of_the_closest_siblings(tree, expected):
    assert np.linalg.eigvalsh(gram(tree)).min() == pytest.approx(expected, rel=1e-9)
    distances = weighted(tree, node_weights(tree, "balanced"))
    assert distances[distances > 0].min() ** 2 / 2 == pytest.approx(expected, rel=1e-9)


def test_the_published_matrix_is_indefinite_and_the_corrected_penalty_is_not():
    published = np.eye(100) - weighted(CIFAR100, node_weights(CIFAR100, "balanced")) ** 2 / 2
    assert np.linalg.eigvalsh(published).min() < -1
    worst = torch.from_numpy(np.linalg.eigh(published)[1][:, :1])
    assert HRGamma(CIFAR100)(worst) > 0


@pytest.mark.parametrize("penalty", [HR, HRGamma])
def test_gradients_of_penalties_are_those_of_finite_differences(penalty):
    assert torch.autograd.gradcheck(penalty(TREE), draw(TREE))


@pytest.mark.parametrize("penalty", [HR, HRGamma])
def test_a_penalty_keeps_the_precision_of_its_class_vectors_and_refuses_others(penalty):
    assert penalty(TREE)(draw(TREE).float()).dtype == torch.float32
    with pytest.raises(ValueError, match=r"class vectors must be \(7, D\), got \(4, 3\)"):
        penalty(TREE)(torch.zeros(4, 3))


def test_l2_sp_is_the_squared_distance_from_the_start_over_the_weights_of_the_body():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 3))
    penalty = L2SP(model, model[2])
    assert penalty(model).item() == 0.0
    with torch.no_grad():
        model[0].weight += torch.tensor([[1.0, 0.0], [0.0, -2.0]])
        model[0].bias += 7.0
        model[1].weight += 7.0
        model[2].weight += 7.0
    assert penalty(model).item() == pytest.approx(1.0 + 4.0, rel=1e-5)


def test_l2_sp_keeps_its_start_in_the_state_of_the_run():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 3))
    state = L2SP(model, model[1]).state_dict()
    assert set(state) == {"0/weight"}
    with torch.no_grad():
        model[0].weight += 1.0
    resumed = L2SP(model, model[1])
    resumed.load_state_dict(state)
    assert resumed(model).item() == pytest.approx(4.0, rel=1e-5)


@pytest.mark.parametrize(
    ("l2_sp", "hr", "covered"),
    [
        (False, False, ["0.weight", "3.weight", "4.weight"]),
        (True, False, ["4.weight"]),
        (False, True, ["0.weight", "3.weight"]),
    ],
)
def test_weight_decay_leaves_alone_what_another_penalty_covers(l2_sp, hr, covered):
    penalty, parameters = WeightDecay(MODEL, MODEL[4], l2_sp=l2_sp, hr=hr), dict(MODEL.named_parameters())
    torch.testing.assert_close(penalty(MODEL), sum(parameters[name].square().sum() for name in covered))
    gradients = torch.autograd.grad(penalty(MODEL), list(parameters.values()), allow_unused=True)
    assert [name for name, gradient in zip(parameters, gradients) if gradient is not None] == covered


def test_a_penalty_without_a_weight_to_act_on_is_an_error():
    with pytest.raises(
        ValueError, match="weight_decay has no trainable weight to act on beside l2_sp=True and hr=True"
    ):
        WeightDecay(MODEL, MODEL[4], l2_sp=True, hr=True)
    frozen = nn.Sequential(nn.Linear(2, 2).requires_grad_(False), nn.Linear(2, 3))
    with pytest.raises(ValueError, match="l2_sp finds no trainable weight outside of the last layer"):
        L2SP(frozen, frozen[1])
