"""Labels at inner nodes under every loss: values by hand, limits, and the gradient."""

from functools import partial
from math import exp, log

import numpy as np
import pytest
import torch
from trees import TELLING, TREE

from losses import LOSSES, build_loss
from losses.base import check_batch
from losses.gradients import by_hand
from losses.inner_targets import _Pool, entropy

# p of the classes C, A2a, x, A1, A2b, y, z: P(A) = 0.4, P(A2) = 0.3, P(B) = 0.5
P = torch.tensor([[0.1, 0.2, 0.1, 0.1, 0.1, 0.3, 0.1]], dtype=torch.float64)
NODE = {"/".join(TREE.path(v)): 7 + v for v in range(TREE.num_nodes)}
A, A2, B, B1 = NODE["A"], NODE["A/A2"], NODE["B"], NODE["B/B1"]
VARIANTS = [
    ("ce", {}),
    ("hierarchical", {}),
    ("hierarchical", {"weighting": "leaf_proportion"}),
    ("hierarchical", {"weighting": "ones"}),
    ("hxe", {"hxe_alpha": 0.5}),
    ("soft_labels", {"soft_beta": 3.0}),
    ("soft_labels", {"soft_beta": 1.0, "soft_labels_variant": "urbani"}),
    ("label_smoothing", {"smoothing": 0.2}),
]


def value(loss, target, scores=None):
    return loss((P.log() + 5.0) if scores is None else scores, torch.tensor([target])).item()


@pytest.mark.parametrize(
    ("name", "options", "target", "expected"),
    [
        ("ce", {}, A, -log(0.4)),
        ("ce", {}, B1, -log(0.1)),
        # balanced: A takes 1/3 of what reaches a class, so A2 as a label has 2/3
        ("hierarchical", {}, A2, -(log(0.4) / 3 + 2 / 3 * log(0.3))),
        ("hierarchical", {}, A, -log(0.4)),
        # weights that do not sum to 1 stay what they are: 1/3 at A, 1/2 at A2
        ("hierarchical", {"weighting": "n_leaves"}, A2, -(log(0.4) / 3 + log(0.3) / 2)),
        ("hierarchical", {"weighting": "ones"}, A2, -(log(0.4) + log(0.3))),
        # all weight at the classes
        ("hierarchical", {"weighting": "leaf", "leaf_height": 0}, A2, -log(0.3)),
        # lambda is 1/2 at A, 1/4 at A2
        ("hxe", {"hxe_alpha": log(2)}, A2, -(log(0.4) / 2 + log(0.3 / 0.4) / 4)),
        ("hxe", {"hxe_alpha": log(2)}, A, -log(0.4) / 2),
    ],
)
def test_a_label_at_an_inner_node_by_hand(name, options, target, expected):
    loss = build_loss(name, TREE, **options)
    assert value(loss, target) == pytest.approx(expected, rel=1e-6)


def test_soft_labels_of_an_inner_node_pool_what_is_below_it_by_hand():
    # heights of the common ancestors, over 3: below A2 1, A1 2, all others 3; both classes of A2
    # have e^0, one sibling e^-1, A1 e^-2 and four others e^-3 each
    below, a1, far = 1 + exp(-1), exp(-2), exp(-3)
    total = below + a1 + 4 * far
    expected = -(below * log(0.3) + a1 * log(0.1) + far * (log(0.1) * 3 + log(0.3))) / total
    loss = build_loss("soft_labels", TREE, soft_beta=3.0)
    assert value(loss, A2) == pytest.approx(expected, rel=1e-6)


def test_label_smoothing_of_an_inner_node_pools_what_is_below_it_by_hand():
    # balanced weights 1/3, 1/3, 1/3: 1 - dW is 1 at the class, 2/3 at its sibling, 1/3 at A1
    below, a1 = (1 + 2 / 3) / 2, (1 / 3) / 2
    expected = -((0.8 + 0.2 * below) * log(0.3) + 0.2 * a1 * log(0.1))
    loss = build_loss("label_smoothing", TREE, smoothing=0.2)
    assert value(loss, A2) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("tree", [TREE, TELLING])
@pytest.mark.parametrize(("name", "options"), VARIANTS[5:])
def test_softened_targets_of_an_inner_node_are_the_mean_of_those_below_it(tree, name, options):
    """An unbalanced tree, whose classes below a node have targets of different sums."""
    loss = build_loss(name, tree, **options)
    classes = loss.distribution(torch.arange(tree.num_classes)).numpy()
    nodes = np.flatnonzero(tree.n_leaves > 1)[1:]
    rows = loss.distribution(torch.from_numpy(tree.num_classes + nodes)).numpy()
    for node, row in zip(nodes, rows):
        below = tree.leaf_order[tree.start[node] : tree.stop[node]]
        expected = classes[below].mean(axis=0)
        pooled = np.zeros(len(expected))
        pooled[loss.pool.within[tree.num_classes + node]] = expected[below].sum()
        outside = np.setdiff1d(np.arange(tree.num_classes), below)
        pooled[outside] = expected[outside]
        np.testing.assert_allclose(row, pooled, rtol=1e-5)
        target = tree.num_classes + node
        np.testing.assert_allclose(loss.mass[target], pooled.sum(), rtol=1e-5)


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_a_node_above_a_single_class_is_that_class(name, options):
    if options.get("weighting") == "ones":
        pytest.skip("its weights count nodes, and the class is one more")
    loss = build_loss(name, TREE, **options)
    assert value(loss, B1) == pytest.approx(value(loss, 2), rel=1e-6)


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_the_gradient_of_inner_labels_beside_classes_is_that_of_the_values(name, options):
    loss = build_loss(name, TREE, **options)
    targets = torch.tensor([0, A, 3, A2, B, 5])
    scores = torch.randn(6, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    assert torch.autograd.gradcheck(
        lambda x: loss(x, targets), scores.requires_grad_(), eps=1e-5, atol=1e-4
    )
    alone = torch.stack([loss(scores[i : i + 1], targets[i : i + 1]) for i in range(6)])
    torch.testing.assert_close(loss(scores, targets), alone.mean())


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_without_choosing_rows_values_and_gradients_are_the_same(name, options, monkeypatch):
    """As on a GPU, where all rows are pooled, those of classes into themselves."""
    loss = build_loss(name, TREE, **options)
    targets = torch.tensor([0, A, 3, A2, B, 5])
    scores = torch.randn(6, 7, generator=torch.Generator().manual_seed(3)).requires_grad_()
    expected = torch.autograd.grad(loss(scores, targets), scores)[0]
    pool = loss.pool
    monkeypatch.setattr(loss, "check", lambda *batch: True)
    all_rows = [pool.start[targets][:, None], pool.stop[targets][:, None]]
    below = (pool.places >= all_rows[0]) & (pool.places < all_rows[1])

    def everywhere(scores, targets):
        classes = pool.within[targets]
        return _Pool.apply(scores, below, classes[:, None], None), classes

    monkeypatch.setattr(pool, "forward", everywhere)
    torch.testing.assert_close(torch.autograd.grad(loss(scores, targets), scores)[0], expected)


def test_a_large_row_neither_overflows_nor_loses_an_impossible_class():
    scores = torch.tensor([[900.0, -torch.inf, -900.0, 3.0, 2.0, 1.0, 0.0]], requires_grad=True)
    for name, options in VARIANTS[:5]:
        found = build_loss(name, TREE, **options)(scores, torch.tensor([A]))
        (gradient,) = torch.autograd.grad(found, scores)
        assert found.isfinite() and gradient.isfinite().all()
    assert value(build_loss("ce", TREE), A, scores.detach()) == pytest.approx(
        900 - log(exp(3) + exp(2)), rel=1e-6
    )


def test_every_loss_says_whether_it_takes_inner_targets_and_why_not():
    for name, loss in LOSSES.items():
        assert loss.inner_targets is True or (
            isinstance(loss.inner_targets, str) and len(loss.inner_targets) > 10
        ), name
    assert "a superclass has none" in LOSSES["corr"].inner_targets


def test_a_target_is_a_class_or_a_node_below_the_root():
    scores = torch.zeros(2, 7)
    assert check_batch(scores, torch.tensor([0, 6]), 7, TREE.num_nodes) is False
    assert check_batch(scores, torch.tensor([0, A]), 7, TREE.num_nodes) is True
    for wrong in (7, 7 + TREE.num_nodes, -1):  # 7 is the root, which every image is in
        with pytest.raises(ValueError, match=rf"targets must lie in \[0, 7\), got {wrong};"):
            build_loss("ce", TREE)(scores, torch.tensor([A, wrong]))
    with pytest.raises(ValueError, match="targets must lie in"):
        build_loss("corr", TREE)(scores, torch.tensor([0, A]))


def test_a_batch_of_classes_alone_is_not_pooled(monkeypatch):
    loss = build_loss("hxe", TREE)
    monkeypatch.setattr(loss.pool, "forward", None)
    loss(torch.zeros(2, 7), torch.tensor([0, 6]))
    with pytest.raises(TypeError):
        loss(torch.zeros(2, 7), torch.tensor([0, A]))


def test_before_the_switch_epoch_an_inner_label_is_under_cross_entropy():
    loss = build_loss("hierarchical", TREE, switch_epoch=2)
    loss.set_epoch(0)
    assert value(loss, A2) == pytest.approx(-log(0.3), rel=1e-6)


def test_sharp_soft_labels_of_an_inner_node_are_its_log_probability():
    """The classes below B are of one depth, those below A are not."""
    for variant, node, expected in (("bertinetto", A, -log(0.4)), ("bertinetto", B, -log(0.5))):
        loss = build_loss("soft_labels", TREE, soft_beta=200.0, soft_labels_variant=variant)
        assert value(loss, node) == pytest.approx(expected, rel=1e-6)
    loss = build_loss("soft_labels", TREE, soft_beta=200.0, soft_labels_variant="urbani")
    assert loss.mass.isfinite().all() and loss.q.isfinite().all()


def test_cross_entropy_in_one_pass_is_that_of_the_pooled_scores():
    loss = build_loss("ce", TREE)
    targets = torch.tensor([0, A, 3, A2, B, 5])
    scores = torch.randn(6, 7, generator=torch.Generator().manual_seed(5)).requires_grad_()
    pooled = torch.nn.functional.cross_entropy(*loss.pool(scores, targets))
    found = loss(scores, targets)
    torch.testing.assert_close(found, pooled)
    both = [torch.autograd.grad(value, scores)[0] for value in (found, pooled)]
    torch.testing.assert_close(*both)
    below = torch.stack([loss.pool.below(target[None])[0][0] if target > 6 else
                         torch.arange(7) == target for target in targets])  # fmt: skip
    on_device = by_hand(partial(entropy, loss.pool.within[targets], below, None), scores)
    torch.testing.assert_close(on_device, pooled)
    torch.testing.assert_close(torch.autograd.grad(on_device, scores)[0], both[1])
