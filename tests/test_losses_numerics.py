"""What every loss on scores must stand: extreme and half-precision scores, any class order, tiny
losses.
"""

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from trees import FLAT, TREE

from benchmarks.losses import SIZES, random_tree, time_losses
from hierarchies import Hierarchy
from losses import build_loss, segments

CASES = [
    ("ce", {}),
    ("hierarchical", {}),
    ("hierarchical", {"weighting": "power", "decay": 0.3}),
    ("hierarchical", {"weighting": "leaf", "leaf_height": 1}),
    ("hierarchical", {"weighting": "ones"}),
    ("hxe", {"hxe_alpha": 0.4}),
    ("hxe", {"hxe_alpha": 0.4, "hxe_weights": "height"}),
    ("soft_labels", {"soft_beta": 3.0}),
    ("soft_labels", {"soft_beta": 0.5, "soft_labels_variant": "urbani"}),
    ("label_smoothing", {"weighting": "power", "decay": 2.0}),
]
ON_TREES = CASES[1:]
LARGE = random_tree(300, 6, 3)
by_case = pytest.mark.parametrize(("name", "options"), CASES, ids=str)
by_tree_case = pytest.mark.parametrize(("name", "options"), ON_TREES, ids=str)


def draw(hierarchy, batch=24, spread=3.0, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(batch, hierarchy.num_classes, generator=generator, dtype=dtype) * spread
    return scores.requires_grad_(), torch.randint(
        hierarchy.num_classes, (batch,), generator=generator
    )


@pytest.fixture(params=["cpu", "device"], autouse=True)
def kind_of_segments(request, monkeypatch):
    """Every test runs the code for the CPU, and that for other devices on the CPU's tensors."""
    if request.param == "device":
        monkeypatch.setattr(segments, "runs_on_cpu", lambda tensor: False)
    return request.param


@by_case
def test_gradients_are_those_of_finite_differences(name, options):
    scores, targets = draw(TREE, batch=8)
    assert torch.autograd.gradcheck(
        lambda x: build_loss(name, TREE, **options)(x, targets), scores, eps=1e-6, atol=1e-6
    )


@by_case
def test_gradients_sum_to_zero_over_the_classes(name, options):
    scores, targets = draw(LARGE)
    build_loss(name, LARGE, **options)(scores, targets).backward()
    torch.testing.assert_close(
        scores.grad.sum(dim=1), torch.zeros(24, dtype=torch.float64), rtol=0, atol=1e-9
    )
    assert scores.grad.abs().sum() > 0.1


@by_tree_case
@pytest.mark.parametrize("spread", [0.1, 5.0, 40.0, 3000.0])
def test_both_kinds_of_segments_agree(name, options, spread, monkeypatch):
    scores, targets = draw(LARGE, spread=spread)
    here = build_loss(name, LARGE, **options)(scores, targets)
    monkeypatch.setattr(segments, "runs_on_cpu", lambda tensor: False)
    there = build_loss(name, LARGE, **options)(scores, targets)
    torch.testing.assert_close(here, there, rtol=1e-10, atol=0)
    torch.testing.assert_close(
        *(torch.autograd.grad(value, scores)[0] for value in (here, there)), rtol=1e-7, atol=1e-12
    )


@by_tree_case
@pytest.mark.parametrize("spread", [3.0, 12.0])  # all parts of one kind, or some with tops
def test_a_batch_worked_on_in_parts_is_the_same_batch(name, options, spread, monkeypatch):
    (scores, targets), loss = draw(LARGE, 23, spread), build_loss(name, LARGE, **options)
    whole = loss(scores, targets)
    monkeypatch.setattr(segments, "CHUNK", 5 * 300)
    monkeypatch.setattr(segments, "PAIRS", 5 * 7**2)
    parts = loss(scores, targets)
    torch.testing.assert_close(parts, whole)
    torch.testing.assert_close(*(torch.autograd.grad(value, scores)[0] for value in (parts, whole)))


@by_case
def test_the_order_of_the_classes_does_not_matter(name, options):
    order = LARGE.leaf_order.copy()
    assert (order != np.arange(300)).any()
    scores, targets = draw(LARGE)
    renamed = torch.from_numpy(np.argsort(order))[targets]
    loss = build_loss(name, LARGE, **options)(scores, targets)
    sorted_loss = build_loss(name, LARGE.subset(order), **options)(scores[:, order], renamed)
    torch.testing.assert_close(sorted_loss, loss)
    torch.testing.assert_close(
        *(torch.autograd.grad(value, scores)[0] for value in (sorted_loss, loss))
    )


@by_case
@pytest.mark.parametrize("offset", [0.0, 1e4, -1e4])
def test_float32_stays_within_two_millionths_of_float64_whatever_the_offset(name, options, offset):
    scores, targets = draw(LARGE, batch=200, spread=5.0)
    single = (scores.detach() + offset).float()
    loss = build_loss(name, LARGE, **options)
    torch.testing.assert_close(
        loss(single, targets).double(), loss(single.double(), targets), rtol=2e-6, atol=0
    )


@pytest.mark.parametrize("gap", [4.0, 16.0, 27.0, 30.0])
@pytest.mark.parametrize(
    ("name", "options"),
    [case for case in ON_TREES if case[0] in ("hierarchical", "hxe")]
    + [("soft_labels", {"soft_beta": 400.0}), ("label_smoothing", {"smoothing": 0.0})],
    ids=str,
)
def test_a_loss_next_to_nothing_keeps_its_digits(name, options, gap):
    scores, targets = draw(LARGE, batch=50, spread=0.5)
    scores = scores.detach().clamp(-1.0, 1.0).scatter(1, targets[:, None], gap).float()
    value = build_loss(name, LARGE, **options)(scores, targets).double()
    assert 0 < value < 6 * 300 * np.exp(1.0 - gap)
    torch.testing.assert_close(
        value, build_loss(name, LARGE, **options)(scores.double(), targets), rtol=2e-6, atol=0
    )


def test_a_loss_of_a_trillionth_by_hand():
    # C against six classes of exp(-30) each: only P(C) counts
    scores = torch.full((1, 7), -30.0).index_fill(1, torch.tensor([0]), 0.0)
    for name, options in [
        ("hierarchical", {}),
        ("hxe", {"hxe_alpha": 0.0}),
        ("soft_labels", {"soft_beta": 1e3}),
        ("label_smoothing", {"smoothing": 0.0}),
    ]:
        value = build_loss(name, TREE, **options)(scores, torch.tensor([0]))
        assert value.item() == pytest.approx(6 * np.exp(-30.0), rel=1e-6)  # 5.6e-13
        assert F.cross_entropy(scores, torch.tensor([0])).item() == 0.0


def test_a_superclass_all_but_certain_costs_a_trillionth_however_open_its_classes_are():
    # all weight on depth 1: three equal classes in A against four of e^-30 of one of them
    loss = build_loss("hierarchical", TREE, weighting="power", decay=0.0)
    scores = torch.full((1, 7), 970.0, dtype=torch.float64)
    scores[0, [1, 3, 4]] = 1000.0
    for target in (1, 3, 4):
        value = loss(scores, torch.tensor([target]))
        assert value.item() == pytest.approx(4 / 3 * np.exp(-30.0), rel=1e-9)


@by_case
@pytest.mark.parametrize("hierarchy", [TREE, LARGE], ids=["small", "large"])
def test_scores_of_ten_thousand_give_finite_losses_and_gradients(name, options, hierarchy):
    generator, classes = torch.Generator().manual_seed(0), hierarchy.num_classes
    scores = (
        ((torch.randint(0, 2, (60, classes), generator=generator) * 2 - 1) * 1e4)
        .float()
        .requires_grad_()
    )
    loss = build_loss(name, hierarchy, **options)(scores, torch.arange(60) % classes)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(scores.grad).all() and loss > 0
    assert scores.grad.abs().max() > 0


@by_tree_case
def test_extreme_scores_agree_with_the_definition(name, options):
    # one score of 1e4, the others 0 or -1e4: every superclass mass is a power of e^10000 times a
    # small number
    loss = build_loss(name, TREE, **options)
    scores = torch.tensor([[1e4, 0.0, -1e4, 0.0, -1e4, -1e4, 0.0]], requires_grad=True)
    value = loss(scores, torch.tensor([1]))
    torch.testing.assert_close(
        value.double(), loss(scores.double(), torch.tensor([1])), rtol=2e-6, atol=0
    )
    if (name, options) == ("hierarchical", {}):  # A = 2 e^0, A2 = A2a = e^0 against e^10000
        assert value.item() == pytest.approx((1e4 - np.log(2) + 1e4 + 1e4) / 3, rel=1e-6)


@by_case
@pytest.mark.parametrize("rest", [0.0, -1e4])
def test_an_impossible_target_costs_infinity(name, options, rest):
    scores, targets = torch.full((2, 7), rest), torch.tensor([1, 2])
    scores[0, 1] = -np.inf
    for dtype in (torch.float32, torch.float64):
        value = build_loss(name, TREE, **options)(scores.to(dtype).requires_grad_(), targets)
        assert value.item() == np.inf


@by_tree_case
def test_an_impossible_target_leaves_no_nan_in_the_gradient(name, options):
    scores = torch.zeros(3, 7)
    scores[0, [1, 4]] = -np.inf
    scores[2] = -np.inf
    scores.requires_grad_()
    loss = build_loss(name, TREE, **options)(scores, torch.tensor([1, 2, 3]))
    loss.backward()
    assert loss.item() == np.inf and not scores.grad.isnan().any()


@by_case
def test_impossible_other_classes_do_not_disturb(name, options):
    if name == "soft_labels":
        pytest.skip("soft labels want every class to be possible")
    scores, targets = draw(TREE, batch=1)
    masked = scores.detach().clone()
    masked[0, 5:] = -np.inf
    low = masked.clamp(min=-1e3)
    targets = torch.tensor([1])
    torch.testing.assert_close(
        build_loss(name, TREE, **options)(masked, targets),
        build_loss(name, TREE, **options)(low, targets),
    )


@by_case
def test_a_score_that_is_no_number_gives_none(name, options):
    scores, targets = draw(TREE, batch=3)
    scores = scores.detach().clone()
    scores[1, 2] = np.nan
    assert build_loss(name, TREE, **options)(scores, targets).isnan()


@by_case
def test_half_precision_is_computed_in_float32(name, options):
    scores, targets = draw(TREE, dtype=torch.float32)
    for half in (torch.float16, torch.bfloat16):
        low = scores.detach().to(half).requires_grad_()
        loss = build_loss(name, TREE, **options)(low, targets)
        loss.backward()
        torch.testing.assert_close(
            loss, build_loss(name, TREE, **options)(low.detach().float(), targets)
        )
        assert loss.dtype == torch.float32 and low.grad.dtype == half


@by_case
def test_float64_stays_float64_and_a_batch_of_one_is_a_batch(name, options):
    scores, targets = draw(TREE, batch=1)
    loss = build_loss(name, TREE, **options)(scores, targets)
    assert loss.dtype == torch.float64 and loss.shape == ()
    twice = build_loss(name, TREE, **options)(scores.repeat(2, 1), targets.repeat(2))
    torch.testing.assert_close(twice, loss)


@by_case
def test_a_single_class_costs_nothing(name, options):
    one = Hierarchy.from_paths([("chain", "of", "one")])
    scores = torch.tensor([[2.0], [-1e4]], requires_grad=True)
    loss = build_loss(name, one, **options)(scores, torch.tensor([0, 0]))
    loss.backward()
    assert loss.item() == 0.0 and (scores.grad == 0).all()


@by_tree_case
def test_evaluation_needs_no_gradient_and_a_factor_scales_it(name, options):
    (scores, targets), loss = draw(TREE), build_loss(name, TREE, **options)
    with torch.no_grad():
        assert not loss(scores, targets).requires_grad
    once = torch.autograd.grad(loss(scores, targets), scores)[0]
    torch.testing.assert_close(
        torch.autograd.grad(2.5 * loss(scores, targets), scores)[0], 2.5 * once
    )
    strided = scores.detach().t().contiguous().t()
    torch.testing.assert_close(loss(strided, targets), loss(scores, targets))


@by_tree_case
def test_a_graph_that_is_kept_gives_the_same_gradient_again(name, options):
    scores, targets = draw(TREE)
    loss = build_loss(name, TREE, **options)(scores, targets)
    loss.backward(retain_graph=True)
    first = scores.grad.clone()
    scores.grad.zero_()
    loss.backward()
    torch.testing.assert_close(scores.grad, first)


@by_tree_case
def test_tables_grow_with_classes_times_depth(name, options):
    sizes = []
    for classes in (200, 800):
        tree = random_tree(classes, 5, 0)
        sizes.append(
            sum(buffer.numel() for buffer in build_loss(name, tree, **options).buffers()) / classes
        )
    assert sizes[1] == pytest.approx(sizes[0], rel=0.1)
    assert sizes[1] < 2 * 8 * 5  # rows for classes and for nodes


def test_the_benchmark_draws_trees_of_the_size_it_names():
    for _, classes, depth, _ in SIZES:
        if classes <= 1010:
            for shuffled in (False, True):
                tree = random_tree(classes, depth, 0, shuffled)
                assert (tree.num_classes, tree.max_depth) == (classes, depth)
                assert (tree.leaf_order == np.arange(classes)).all() != shuffled


def test_the_benchmark_times_every_loss():
    times = time_losses(FLAT, batch=4, device="cpu", repeats=2)
    assert {"ce", "hierarchical", "hxe", "soft_labels", "label_smoothing"} < set(times)
    assert all(value > 0 for value in times.values())
