"""Heads: published formulas at values worked out by hand, ends of their domains, what moves without
a gradient.
"""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from models import HEADS, HeadOptions, build_head
from models.heads import check_head_options
from models.priors import prior_from_counts

METHODS = [("normface", "euc"), ("normface", "arccos"), ("DR", "euc"), ("DR", "arccos")]
KINDS = [("softmax", {})] + [
    (method, {"distance": distance, **kind})
    for method, distance in METHODS
    for kind in (
        {},
        {"proxies": "ema"},
        {"dynamic": True},
        {"proxies": "ema", "dynamic": True},
        {"proxies": "mds"},
    )
]


def make(method, num_classes=3, dim=2, **options):
    if options.get("proxies") == "mds":
        options.setdefault("fixed", F.normalize(torch.randn(num_classes, dim)))
    return build_head(method, num_classes, HeadOptions(dim=dim, **options))


def on_circle(*degrees):
    radians = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    return torch.stack([radians.cos(), radians.sin()], dim=1)


def place(head, *degrees):
    with torch.no_grad():
        head.weight.copy_(2.5 * on_circle(*degrees))
    return head


def test_softmax_is_a_linear_layer_that_starts_from_a_standard_normal():
    torch.manual_seed(0)
    head = make("softmax", 200, 50)
    weight = head.weight.detach()
    assert abs(float(weight.mean())) < 0.05 and abs(float(weight.std()) - 1) < 0.05
    assert not head.bias.any() and head.scale == 1.0 and not head.has_proxies
    with torch.no_grad():
        head.weight.copy_(torch.eye(200, 50)), head.bias.fill_(0.5)
    embeddings = torch.randn(4, 50)
    assert_close(head(embeddings), F.pad(embeddings, (0, 150)) + 0.5)


@pytest.mark.parametrize(
    ("method", "distance", "expected"),
    [
        ("normface", "euc", [10 * math.sqrt(3) / 2, 0.0, -10.0]),  # cos of 30, 90 and 180 degrees
        (
            "normface",
            "arccos",
            [-10 * (math.pi / 6) ** 2, -10 * (math.pi / 2) ** 2, -10 * math.pi**2],
        ),
        ("DR", "euc", [-5 * math.log(2 - math.sqrt(3)), -5 * math.log(2), -5 * math.log(4)]),
        (
            "DR",
            "arccos",
            [-10 * math.log(math.pi / 6), -10 * math.log(math.pi / 2), -10 * math.log(math.pi)],
        ),
    ],
)
def test_scores_at_30_90_and_180_degrees(method, distance, expected):
    head = place(make(method, distance=distance), 30, 90, 180)
    scores = head(7.0 * on_circle(0))  # lengths do not count
    # acos(0.999999 * -1)
    assert_close(scores, torch.tensor([expected], dtype=torch.float64), rtol=3e-3, atol=1e-4)
    assert_close(
        scores[0, :2], torch.tensor(expected[:2], dtype=torch.float64), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("distance", ["euc", "arccos"])
def test_the_posterior_of_proxy_dr_is_a_ratio_of_distances(distance):
    head = place(make("DR", distance=distance), 40, 100, 200)
    angles = torch.tensor([40.0, 100.0, 160.0], dtype=torch.float64).deg2rad()
    lengths = 2 * (angles / 2).sin() if distance == "euc" else angles
    expected = lengths**-10 / (lengths**-10).sum()
    assert_close(head(on_circle(0)).softmax(dim=1)[0], expected, rtol=1e-4, atol=0)


def test_normface_is_softmax_on_unit_vectors_times_ten():
    torch.manual_seed(0)
    head, embeddings = make("normface", 7, 5), torch.randn(6, 5)
    assert_close(head.weight.norm(dim=1), torch.ones(7))
    assert_close(head(embeddings), 10 * F.normalize(embeddings) @ F.normalize(head.weight).T)


@pytest.mark.parametrize(("method", "distance"), METHODS)
def test_an_embedding_on_its_own_proxy_has_finite_scores_and_gradients(method, distance):
    torch.manual_seed(0)
    head = make(method, 40, 128, distance=distance)
    weight = head.weight.detach()
    embeddings = torch.cat([weight, -weight, weight + 1e-4 * torch.randn(40, 128)])
    embeddings = (3 * embeddings).requires_grad_()
    targets = torch.arange(120) % 40
    scores = head(embeddings)
    F.cross_entropy(scores, targets).backward()
    assert all(
        torch.isfinite(values).all() for values in (scores, embeddings.grad, head.weight.grad)
    )
    assert (scores[:40].argmax(1) == targets[:40]).all()
    if method == "DR":
        assert scores.max() <= 69.1  # 6.9 s


@pytest.mark.parametrize(("method", "distance"), METHODS)
def test_a_zero_embedding_is_at_90_degrees_from_everything_with_a_gradient_of_zero(
    method, distance
):
    head = make(method, distance=distance)
    embeddings = torch.zeros(1, 2, requires_grad=True)
    scores = head(embeddings)
    scores[0, 0].backward()
    assert_close(scores[0], scores[0, :1].expand(3).clone())
    assert_close(head.cosines(embeddings), torch.zeros(1, 3))
    assert_close(embeddings.grad, torch.zeros(1, 2))


def test_an_embedding_that_is_not_a_number_stays_one():
    assert make("DR")(torch.tensor([[torch.nan, 1.0]])).isnan().all()


@pytest.mark.parametrize(("method", "options"), KINDS)
def test_bf16_autocast_leaves_the_head_in_float32(method, options):
    torch.manual_seed(0)
    head, embeddings = make(method, 5, 8, **options), torch.randn(4, 8).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        scores, cosines = head(embeddings), head.cosines(embeddings)
    assert scores.dtype == cosines.dtype == torch.float32
    assert_close(scores, head(embeddings.float()), rtol=0, atol=0)
    assert_close(cosines, head.cosines(embeddings.float()), rtol=0, atol=0)


@pytest.mark.parametrize(("method", "options"), KINDS)
def test_prototypes_are_scored_by_the_same_formula_and_absent_ones_get_minus_infinity(
    method, options
):
    torch.manual_seed(0)
    head, embeddings = (
        make(method, 5, 8, prior=prior_from_counts([1, 2, 3, 4, 0]), **options),
        torch.randn(4, 8),
    )
    prototypes = head.weight.detach().clone()
    assert_close(head(embeddings, weight=prototypes), head(embeddings))
    prototypes[2] = torch.nan
    scores = head(embeddings, weight=prototypes)
    assert (scores[:, 2] == -torch.inf).all() and head.cosines(embeddings, weight=prototypes)[
        :, 2
    ].isnan().all()
    others = [0, 1, 3, 4]
    assert_close(scores[:, others], head(embeddings)[:, others])


def test_the_class_prior_is_added_in_log_space_and_an_absent_class_counts_once():
    prior = prior_from_counts(np.array([6, 0, 3]))
    assert_close(prior, torch.tensor([0.6, 0.1, 0.3]))
    torch.manual_seed(0)
    head = make("DR", prior=prior)
    torch.manual_seed(0)
    plain, embeddings = make("DR"), torch.randn(4, 2)
    assert_close(
        head(embeddings) - plain(embeddings), torch.tensor([[0.6, 0.1, 0.3]]).log().expand(4, 3)
    )


@pytest.mark.parametrize("prior", [torch.ones(2) / 2, torch.tensor([0.5, 0.5, 0.0])])
def test_a_prior_of_another_length_or_with_zeros_is_refused(prior):
    with pytest.raises(ValueError, match="--prior"):
        make("DR", prior=prior)


def test_moving_averages_jump_to_the_first_mean_and_then_follow_slowly():
    head = make("DR", proxies="ema", alpha=0.25)
    start = head.weight.clone()
    head.update_after_step(
        torch.tensor([[4.0, 0.0], [0.0, 0.5], [0.0, 3.0]]), torch.tensor([0, 0, 2])
    )
    # mean of (1, 0) and (0, 1)
    assert_close(head.weight[0], torch.tensor([1.0, 1.0]) / math.sqrt(2))
    assert_close(head.weight[1], start[1])
    assert_close(head.weight[2], torch.tensor([0.0, 1.0]))
    assert head.seen.tolist() == [True, False, True]
    assert np.isnan(head.class_vectors()).all(axis=1).tolist() == [False, True, False]
    head.update_after_step(torch.tensor([[9.0, 0.0]]), torch.tensor([2]))
    assert_close(head.weight[2], F.normalize(torch.tensor([0.25, 0.75]), dim=0))
    assert_close(head.weight[0], torch.tensor([1.0, 1.0]) / math.sqrt(2))


def test_an_average_stays_where_features_cancel():
    head = make("DR", proxies="ema", alpha=0.5)
    start = head.weight.clone()
    head.update_after_step(torch.tensor([[1.0, 0.0], [-3.0, 0.0]]), torch.tensor([1, 1]))
    head.update_after_step(torch.zeros(2, 2), torch.tensor([0, 0]))
    assert_close(head.weight, start) and not head.seen.any()
    head.update_after_step(torch.tensor([[1.0, 0.0]]), torch.tensor([2]))
    # 0.5 * (-1, 0) + 0.5 * (1, 0)
    head.update_after_step(torch.tensor([[-1.0, 0.0]]), torch.tensor([2]))
    assert_close(head.weight[2], torch.tensor([1.0, 0.0]))
    assert head.seen.tolist() == [False, False, True]


def test_alpha_one_forgets_all_but_the_last_batch():
    head = make("normface", proxies="ema", alpha=1.0)
    for degrees in (10, 200, 75):
        head.update_after_step(on_circle(degrees).float(), torch.tensor([0]))
    assert_close(head.weight[0], on_circle(75)[0].float())


@pytest.mark.parametrize(("method", "options"), KINDS)
def test_only_what_was_asked_for_moves_and_only_gradient_proxies_are_parameters(method, options):
    torch.manual_seed(0)
    head = make(method, 60, 8, **options)
    names = {name for name, _ in head.named_parameters()}
    assert names == (
        {"weight", "bias"} if method == "softmax" else set() if "proxies" in options else {"weight"}
    )
    before = {name: value.clone() for name, value in head.state_dict().items()}
    head.update_after_step(torch.randn(20, 8), torch.arange(20))
    moved = {
        name.split(".")[0]
        for name, value in head.state_dict().items()
        if not torch.equal(value, before[name])
    }
    expected = {"weight", "seen"} if options.get("proxies") == "ema" else set()
    assert moved == expected | ({"dynamic_scale"} if options.get("dynamic") else set())


@pytest.mark.parametrize(("method", "options"), KINDS)
def test_a_head_goes_on_from_its_state_as_if_it_had_not_stopped(method, options):
    torch.manual_seed(0)
    head = make(method, 60, 8, **options)
    batches = [(torch.randn(30, 8), torch.randint(0, 60, (30,))) for _ in range(4)]
    for batch in batches[:2]:
        head.update_after_step(*batch)
    other = make(method, 60, 8, **options)
    other.load_state_dict({name: value.clone() for name, value in head.state_dict().items()})
    for batch in batches[2:]:
        head.update_after_step(*batch), other.update_after_step(*batch)
    embeddings = torch.randn(5, 8)
    assert torch.equal(head(embeddings), other(embeddings)) and head.scale == other.scale
    assert all(
        torch.equal(value, other.state_dict()[name]) for name, value in head.state_dict().items()
    )


def test_fixed_class_vectors_are_the_ones_given_and_get_no_gradient():
    fixed = on_circle(0, 120, 240).float()
    head = make("DR", proxies="mds", fixed=fixed)
    fixed[0] = 0
    assert_close(head.weight, on_circle(0, 120, 240).float())
    assert not head.weight.requires_grad


def test_a_dynamic_scale_is_a_constant_to_the_gradient():
    head = make("DR", 30, 4, dynamic=True)
    embeddings = torch.randn(3, 4)
    head(embeddings).sum().backward()
    assert_close(head(embeddings), head.scale * head.closeness(head.cosines(embeddings)))
    assert head.weight.grad is not None and not any(
        buffer.requires_grad for buffer in head.buffers()
    )


def test_a_head_whose_scale_cannot_start_says_so_and_keeps_ten():
    head = make("normface", 10, 4, dynamic=True)
    assert head.scale == 10.0 and "10" in head.note and "--dynamic" in head.note
    assert make("normface", 30, 4, dynamic=True).note is None


def test_one_class_and_embeddings_in_float64_work():
    head = make("DR", 1, 4)
    assert_close(head(torch.randn(3, 4)).softmax(dim=1), torch.ones(3, 1))
    assert head(torch.randn(3, 4, dtype=torch.float64)).dtype == torch.float64


def test_random_class_vectors_come_from_the_global_generator():
    weights = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        weights.append(make("DR", 5, 4).weight)
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


NAMES = [("SD", "normface"), ("NormFace", "normface"), ("ProxyDR", "DR"), ("DR", "DR")]


@pytest.mark.parametrize(("alias", "method"), NAMES)
def test_aliases_of_methods(alias, method):
    assert HEADS.resolve(alias) == method


@pytest.mark.parametrize(
    ("options", "flag"),
    [
        ({"method": "cosface"}, "--method"),
        ({"method": "softmax", "distance": "euc"}, "--distance"),
        ({"method": "softmax", "ema": True}, "--ema"),
        ({"method": "softmax", "mds_W": True}, "--mds_W"),
        ({"method": "softmax", "dynamic": True}, "--dynamic"),
        ({"method": "DR", "distance": "cosine"}, "distance must be one of euc, arccos"),
        ({"method": "DR", "ema": True, "mds_W": True}, "--ema .* --mds_W"),
        ({"method": "DR", "alpha": 0.1}, "--alpha .* --ema"),
        ({"method": "DR", "ema": True, "alpha": 0.0}, "--alpha"),
        ({"method": "DR", "ema": True, "alpha": 1.5}, "alpha must be"),
        ({"method": "DR", "beta": 1.0}, "--beta .* --mds_W"),
        ({"method": "DR", "mds_W": True, "beta": 0}, "beta must be a finite number above 0"),
        ({"method": "DR", "mds_W": True, "mds_solver": "smacof"}, "mds_solver must be one of auto"),
        ({"method": "DR", "legacy_dynamic": True}, "--legacy_dynamic .* --dynamic"),
    ],
)
def test_a_combination_without_meaning_is_refused_by_the_name_of_the_flag(options, flag):
    with pytest.raises(ValueError, match=flag):
        check_head_options(options)


@pytest.mark.parametrize(
    "options",
    [
        {"method": "softmax", "distance": None, "ema": False},
        {
            "method": "SD",
            "distance": "arccos",
            "ema": True,
            "alpha": 1,
            "dynamic": True,
            "legacy_dynamic": True,
        },
        {"method": "DR", "mds_W": True, "beta": 2.0, "mds_solver": "exact", "dynamic": True},
    ],
)
def test_the_other_combinations_are_accepted(options):
    check_head_options(options)


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("softmax", {"proxies": "ema"}, "--ema"),
        ("DR", {"proxies": "sgd"}, "proxies must be one of"),
        ("DR", {"fixed": torch.ones(3, 2)}, "--mds_W"),
        ("DR", {"proxies": "mds", "fixed": torch.ones(3, 3)}, "shape"),
        ("DR", {"proxies": "mds", "fixed": torch.full((3, 2), torch.nan)}, "finite"),
        ("DR", {"dim": 0}, "dimension"),
    ],
)
def test_a_head_is_not_built_from_options_that_do_not_fit(method, options, message):
    with pytest.raises(ValueError, match=message):
        build_head(method, 3, HeadOptions(**{"dim": 2, **options}))
