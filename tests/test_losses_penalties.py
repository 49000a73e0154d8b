"""Penalties on weights: values by hand, the dense forms they replace, and which weights they act
on.
"""

import numpy as np
import pytest
import torch
from torch import nn
from trees import FLAT, TELLING, TREE

from benchmarks.losses import random_tree
from hierarchies import Hierarchy, node_weights
from hierarchies.distances import path_length, weighted
from losses.penalties import HR, L2SP, PENALTIES, Distortion, HRGamma, Penalties, WeightDecay
from models.backbones import build_backbone
from models.classifier import Classifier
from models.heads import build_head
from models.options import HeadOptions

# CIFAR-100: superclasses in each group
GROUPS = {"Animals": (6, 2, 2), "Artificial": (3, 3), "Nature": (3, 1)}
CIFAR100 = Hierarchy.from_paths(
    [
        (kingdom, f"group{g}", f"superclass{s}", f"class{c}")
        for kingdom, sizes in GROUPS.items()
        for g, size in enumerate(sizes)
        for s in range(size)
        for c in range(5)
    ]
)
MODEL = nn.Sequential(
    nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 5), nn.Linear(5, 7)
)


def draw(hierarchy, dim=3):
    return torch.randn(
        hierarchy.num_classes, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    ).requires_grad_()


def gram(hierarchy):
    return 1 - weighted(hierarchy, node_weights(hierarchy, "balanced")) ** 2 / 2


def test_hr_by_hand():
    # classes a; b/x, b/y with vectors 1; 2, 4: s_b = 6, s = 7; (1 - 7/3)^2 + (6 - 14/3)^2 + (2 -
    # 3)^2 + (4 - 3)^2
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


def test_hr_counts_less_down_the_tree_by_hand():
    # as above; the edges to a and b are at the root, those to b/x and b/y a level below
    tree = Hierarchy.from_paths([("a",), ("b", "x"), ("b", "y")])
    weight = torch.tensor([[1.0], [2.0], [4.0]], dtype=torch.float64)
    value = HR(tree, hr_decay=0.5)(weight)
    assert value.item() == pytest.approx(16 / 9 + 16 / 9 + 0.5 * (1 + 1), rel=1e-12)


@pytest.mark.parametrize("of", ["vectors", "cosines"])
@pytest.mark.parametrize("tree", [TREE, TELLING, FLAT], ids=["drawn", "telling", "flat"])
def test_distortion_by_a_loop_over_pairs_at_the_best_scale(tree, of):
    weight, table = draw(tree), path_length(tree)
    found, wanted = [], []
    for i in range(tree.num_classes):
        for j in range(tree.num_classes):
            if i != j:
                pair = weight[i], weight[j]
                cosine = torch.cosine_similarity(*pair, dim=0)
                found.append((pair[0] - pair[1]).norm() if of == "vectors" else 1 - cosine)
                wanted.append(float(table[i, j]))
    d, wanted = torch.stack(found), torch.tensor(wanted, dtype=torch.float64)
    scale = (d / wanted).sum() / (d / wanted).square().sum()
    expected = ((scale * d - wanted) / wanted).square().mean()
    torch.testing.assert_close(Distortion(tree, of)(weight), expected, rtol=1e-6, atol=1e-9)


def test_distortion_is_zero_for_a_simplex_over_a_flat_tree_of_any_size():
    for scale in (0.1, 1.0, 30.0):
        value = Distortion(FLAT)(scale * torch.eye(4, dtype=torch.float64))
        assert value.item() == pytest.approx(0, abs=1e-12)


def test_distortion_by_hand_and_of_equal_class_vectors():
    # distances 1, 2, 3 of a-x, x-y, a-y; path lengths 3, 2, 3
    tree = Hierarchy.from_paths([("a",), ("b", "x"), ("b", "y")])
    weight = torch.tensor([[0.0], [1.0], [3.0]], dtype=torch.float64)
    r = np.array([1 / 3, 1.0, 1.0])
    value = Distortion(tree)(weight).item()
    assert value == pytest.approx(1 - r.mean() ** 2 / (r**2).mean(), rel=1e-6)
    equal = torch.ones(3, 2, dtype=torch.float64, requires_grad=True)
    Distortion(tree)(equal).backward()
    assert equal.grad.isfinite().all()
    with pytest.raises(ValueError, match="of which there is one"):
        Distortion(Hierarchy.from_paths([("a",)]))


def test_distortion_of_sampled_pairs_is_near_that_of_all(monkeypatch):
    tree = random_tree(60, 6, 1)
    weight = draw(tree)
    expected = Distortion(tree)(weight).item()
    monkeypatch.setattr("losses.penalties.MOST_PAIRED", 10)
    torch.manual_seed(0)
    sampled = [Distortion(tree, of)(weight) for of in ("vectors", "cosines")]
    assert sampled[0].item() == pytest.approx(expected, rel=0.03)
    monkeypatch.undo()
    assert sampled[1].item() == pytest.approx(Distortion(tree, "cosines")(weight).item(), rel=0.03)


def test_options_of_a_penalty_reach_it():
    model = network()
    terms = penalise(model, hr=1.0, distortion=2.0, hr_decay=0.5, distortion_of="cosines")
    found = terms(model, model.head.weight)
    torch.testing.assert_close(found["hr"], HR(TREE, 0.5)(model.head.weight))
    torch.testing.assert_close(
        found["distortion"], 2 * Distortion(TREE, "cosines")(model.head.weight)
    )


def test_hr_gamma_by_hand():
    # two classes below the root: dW = 1, K = [[1, 1/2], [1/2, 1]], K^-1 = [[4, -2], [-2, 4]] / 3
    value = HRGamma(Hierarchy.from_paths([("a",), ("b",)]))(
        torch.tensor([[1.0], [3.0]], dtype=torch.float64)
    )
    assert value.item() == pytest.approx((4 * 1 + 4 * 9 - 2 * 2 * 3) / 3, rel=1e-12)


@pytest.mark.parametrize(
    "tree",
    [TREE, FLAT, CIFAR100, random_tree(60, 6, 1)],
    ids=["drawn", "flat", "cifar100", "random"],
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
def test_the_smallest_eigenvalue_is_half_the_squared_distance_of_the_closest_siblings(
    tree, expected
):
    assert np.linalg.eigvalsh(gram(tree)).min() == pytest.approx(expected, rel=1e-9)
    distances = weighted(tree, node_weights(tree, "balanced"))
    assert distances[distances > 0].min() ** 2 / 2 == pytest.approx(expected, rel=1e-9)


def test_the_published_matrix_is_indefinite_and_the_corrected_penalty_is_not():
    published = np.eye(100) - weighted(CIFAR100, node_weights(CIFAR100, "balanced")) ** 2 / 2
    assert np.linalg.eigvalsh(published).min() < -1
    worst = torch.from_numpy(np.linalg.eigh(published)[1][:, :1])
    assert HRGamma(CIFAR100)(worst) > 0


@pytest.mark.parametrize("penalty", [HR, HRGamma, Distortion])
def test_gradients_of_penalties_are_those_of_finite_differences(penalty):
    assert torch.autograd.gradcheck(penalty(TREE), draw(TREE))


@pytest.mark.parametrize("penalty", [HR, HRGamma, Distortion])
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
    ("elsewhere", "covered"),
    [
        ((), ["0.weight", "3.weight", "4.weight"]),
        (("0.weight", "3.weight"), ["4.weight"]),
        (("4.weight",), ["0.weight", "3.weight"]),
    ],
)
def test_weight_decay_leaves_alone_what_another_penalty_covers(elsewhere, covered):
    penalty, parameters = WeightDecay(MODEL, elsewhere), dict(MODEL.named_parameters())
    torch.testing.assert_close(
        penalty(MODEL), sum(parameters[name].square().sum() for name in covered)
    )
    gradients = torch.autograd.grad(penalty(MODEL), list(parameters.values()), allow_unused=True)
    assert [
        name for name, gradient in zip(parameters, gradients) if gradient is not None
    ] == covered


def test_a_penalty_without_a_weight_to_act_on_is_an_error():
    with pytest.raises(
        ValueError,
        match="weight_decay has no trainable weight to act on that no other penalty covers",
    ):
        WeightDecay(MODEL, ("0.weight", "3.weight", "4.weight"))
    frozen = nn.Sequential(nn.Linear(2, 2).requires_grad_(False), nn.Linear(2, 3))
    with pytest.raises(
        ValueError, match="l2_sp finds no trainable weight outside of the last layer"
    ):
        L2SP(frozen, frozen[1])


class Network(nn.Module):
    """A body, a fresh layer that no pretrained weights fill, and a head with the class vectors of
    TREE.
    """

    def __init__(self):
        super().__init__()
        self.body, self.norm = nn.Linear(2, 4), nn.BatchNorm1d(4)
        self.fresh = nn.ModuleDict({"projection": nn.Linear(4, 3), "head": nn.Linear(3, 7)})

    @property
    def head(self):
        return self.fresh["head"]


def network():
    torch.manual_seed(0)
    return Network()


def penalise(model, **coefficients):
    return Penalties(
        {**dict.fromkeys(PENALTIES, 0.0), **coefficients}, TREE, model, model.head, model.fresh
    )


def moved(model, penalties):
    """What the penalties say once every parameter has moved by 1 since they were made."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 1.0
    return penalties(model, model.head.weight)


def test_penalties_without_coefficients_are_none():
    model = network()
    penalties = penalise(model)
    assert penalties(model, model.head.weight) == {} and not list(penalties.children())


@pytest.mark.parametrize("name", PENALTIES)
def test_a_coefficient_of_zero_leaves_its_penalty_out(name):
    model = network()
    penalties = penalise(
        model, **{other: 0.5 for other in PENALTIES if other not in (name, "weight_decay")}
    )
    assert getattr(penalties, name) is None and name not in penalties(model, model.head.weight)


def test_each_term_is_its_coefficient_times_the_single_penalty():
    model = network()
    penalties = penalise(model, hr=0.1, hr_gamma=0.2, l2_sp=0.3)
    start = L2SP(model, model.fresh)
    terms = moved(model, penalties)
    assert list(terms) == ["hr", "hr_gamma", "l2_sp"]  # names of flags, in their order
    weight = model.head.weight
    torch.testing.assert_close(terms["hr"], 0.1 * HR(TREE)(weight))
    torch.testing.assert_close(terms["hr_gamma"], 0.2 * HRGamma(TREE)(weight))
    torch.testing.assert_close(terms["l2_sp"], 0.3 * start(model))
    assert min(terms.values()) > 0


def test_penalties_on_class_vectors_read_those_that_are_given():
    # heads score with unit vectors, say: what the penalty reads is up to the caller
    model = network()
    given = torch.ones(7, 3)
    terms = penalise(model, hr=1.0, hr_gamma=1.0)(model, given)
    assert terms["hr"].item() == pytest.approx(0.0, abs=1e-10)
    torch.testing.assert_close(terms["hr_gamma"], HRGamma(TREE)(given))


def test_l2_sp_leaves_fresh_parts_biases_and_scales_alone():
    model = network()
    value = moved(model, penalise(model, l2_sp=2.0))["l2_sp"]
    # body.weight alone, 4 x 2 entries moved by 1
    assert value.item() == pytest.approx(2.0 * 4 * 2, rel=1e-5)


@pytest.mark.parametrize(
    ("others", "covered"),
    [
        ({}, {"body.weight", "fresh.projection.weight", "fresh.head.weight"}),
        ({"l2_sp": 1.0}, {"fresh.projection.weight", "fresh.head.weight"}),
        ({"hr": 1.0}, {"body.weight", "fresh.projection.weight"}),
        ({"hr_gamma": 1.0}, {"body.weight", "fresh.projection.weight"}),
        ({"hr": 1.0, "l2_sp": 1.0}, {"fresh.projection.weight"}),
    ],
    ids=lambda value: "+".join(sorted(value)) or "alone",
)
def test_weight_decay_covers_exactly_the_weights_that_no_other_penalty_does(others, covered):
    model = network()
    penalties = penalise(model, weight_decay=1.0, **others)
    terms = moved(model, penalties)
    for name, parameter in model.named_parameters():
        gradients = {
            term: torch.autograd.grad(value, parameter, retain_graph=True, allow_unused=True)[0]
            for term, value in terms.items()
        }
        acting = {
            term for term, gradient in gradients.items() if gradient is not None and gradient.any()
        }
        is_weight = parameter.ndim > 1
        assert ("weight_decay" in acting) == (name in covered), name
        # no weight is forgotten, no bias or scale is touched
        assert bool(acting) == is_weight, name


@pytest.mark.parametrize("name", ["hr", "hr_gamma", "distortion"])
def test_penalties_on_class_vectors_that_do_not_train_are_an_error(name):
    model = network()
    model.head.requires_grad_(False)
    with pytest.raises(
        ValueError,
        match=f"{name} acts on class vectors that train; --ema, --mds_W, .* --freeze",
    ):
        penalise(model, **{name: 1.0})
    assert set(penalise(model, weight_decay=1.0)(model, model.head.weight)) == {"weight_decay"}


def test_class_vectors_that_do_not_train_do_not_decay_either():
    model = network()
    model.head.requires_grad_(False)
    assert penalise(model, weight_decay=1.0).weight_decay.covered == [
        "body.weight",
        "fresh.projection.weight",
    ]


def test_penalties_without_anything_to_act_on_are_an_error():
    model = network()
    model.body.requires_grad_(False)
    with pytest.raises(
        ValueError, match="l2_sp finds no trainable weight outside of the last layer"
    ):
        penalise(model, l2_sp=1.0)
    model.fresh.requires_grad_(False)
    with pytest.raises(ValueError, match="weight_decay has no trainable weight to act on"):
        penalise(model, weight_decay=1.0)


def test_the_state_of_penalties_is_the_start_of_l2_sp_and_survives_a_round_trip():
    model = network()
    penalties = penalise(model, hr=0.1, hr_gamma=0.2, l2_sp=0.3, weight_decay=0.4)
    state = {name: value.clone() for name, value in penalties.state_dict().items()}
    assert set(state) == {"l2_sp.body/weight"}
    terms = moved(model, penalties)
    # starts where training has come to
    resumed = penalise(model, hr=0.1, hr_gamma=0.2, l2_sp=0.3, weight_decay=0.4)
    assert resumed(model, model.head.weight)["l2_sp"] == 0
    resumed.load_state_dict(state)
    torch.testing.assert_close(resumed(model, model.head.weight), terms)


def test_all_penalties_at_once_share_out_every_weight_of_a_real_model():
    backbone = build_backbone("conv4", channels=1, dim=8, pretrained=False)
    model = Classifier(backbone, build_head("DR", 7, HeadOptions(dim=8)), size_inform=True)
    penalties = Penalties(
        dict.fromkeys(PENALTIES, 1.0), TREE, model, model.head, model.fresh_parts()
    )
    weights = {name for name, parameter in model.named_parameters() if parameter.ndim > 1}
    last = {id(parameter) for parameter in model.backbone.projection.parameters()}
    of_last = {
        name for name, parameter in model.named_parameters() if id(parameter) in last
    } & weights
    fresh = of_last | {"size_branch.weight"}
    assert set(penalties.weight_decay.covered) == fresh and len(fresh) == 2
    assert set(penalties.l2_sp.body) == weights - fresh - {"head.weight"}
