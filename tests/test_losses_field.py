"""The losses of the field: values worked out by hand, limits that are other losses, and naive loops
over a tree of unequal depth.
"""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close
from trees import FLAT, TELLING, TREE

from hierarchies import Hierarchy
from hierarchies.distances import lca_height, of_lca
from hierarchies.frame import frame_cosines
from hierarchies.levels import cut, levels
from losses import LOSSES, build_loss, segments
from losses.levels import LevelSum
from models.head import Softmax
from models.heads import HEADS
from models.proxy_heads import ProxyDR

CHAIN = Hierarchy.from_paths([("a", "b", "c"), ("a", "b", "d"), ("e", "f", "g")])
TREES = [TELLING, TREE, CHAIN, FLAT]
IDS = ["telling", "tree", "chain", "flat"]
NAMES = ["level_ce", "tk", "haf", "aigdl", "margin", "random_cut", "haframe", "devise", "hiercos"]
B = 12


def draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def labels(tree):
    return torch.arange(B) % tree.num_classes


def level_scores(tree):
    """Of all levels side by side."""
    drawn = [draw(B, len(level.nodes), seed=i) for i, level in enumerate(levels(tree))]
    return torch.cat(drawn, dim=1)


def level_vectors(tree):
    drawn = [draw(len(level.nodes), 3, seed=9 + i) for i, level in enumerate(levels(tree))]
    return torch.cat(drawn)


def widths(tree):
    return [len(level.nodes) for level in levels(tree)]


def each_level(scores, tree):
    """A part of the scores for each level."""
    return scores.split(widths(tree), dim=1)


LEVELS = ("scores", "node_scores", "level_scores", "level_vectors")


def build(name, tree, offered=("scores", "cosines"), **options):
    return build_loss(name, tree, offered, **options).double()


def drawn_of(what, tree):
    """Drawn inputs of a kind, see `losses.base.READINGS`."""
    given = {
        "scores": lambda: draw(B, tree.num_classes),
        "cosines": lambda: draw(B, tree.num_classes, seed=1).tanh(),
        "node_scores": lambda: draw(B, tree.num_nodes),
        "level_scores": lambda: level_scores(tree),
        "level_vectors": lambda: level_vectors(tree),
        "axes": lambda: draw(B, tree.num_nodes - 1),
    }
    return given[what]()


def of(loss, tree):
    """The loss of drawn inputs of each kind that it reads."""
    return loss(*(drawn_of(what, tree) for what in loss.inputs), labels(tree))


def above(tree, c):
    """The nodes from the root down to class c, both included."""
    return [0, *(int(v) for v in tree.path_table[c] if v >= 0)]


def mass(tree, p, v):
    return p[:, tree.leaf_order[tree.start[v] : tree.stop[v]].tolist()].sum(dim=1)


def member_ce(scores, tree):
    """Cross-entropy on each level, (H,)."""
    return torch.stack(
        [
            F.cross_entropy(one, torch.tensor(level.column)[labels(tree)])
            for one, level in zip(each_level(scores, tree), levels(tree))
        ]
    )


@pytest.mark.parametrize("tree", TREES, ids=IDS)
def test_flamingo_adds_the_cross_entropies_of_all_levels(tree):
    scores = level_scores(tree)
    expected = member_ce(scores, tree)
    assert_close(build("level_ce", tree, LEVELS)(scores, labels(tree)), expected.sum())
    weights = torch.tensor([math.exp(-0.7 * up) for up in range(len(expected))]).flip(0).double()
    loss = build("level_ce", tree, LEVELS, level_decay=0.7)
    assert_close(loss(scores, labels(tree)), (weights * expected).sum())
    assert_close(build("ce", tree, LEVELS)(scores, labels(tree)), expected.sum())
    last = build("level_ce", tree, LEVELS, level_decay=1000.0)
    assert_close(last(scores, labels(tree)), expected[-1])


@pytest.mark.parametrize("tree", TREES, ids=IDS)
def test_with_one_posterior_a_level_is_the_mass_below_its_members(tree):
    z = draw(B, tree.num_classes)
    p, table = z.softmax(dim=1), tree.level_table
    expected = 0
    for depth in range(tree.max_depth):
        for i, c in enumerate(labels(tree).tolist()):
            expected -= mass(tree, p[i : i + 1], table[c, depth]).log() / B
    assert_close(build("level_ce", tree)(z, labels(tree)), expected[0])
    assert_close(build("tk", tree)(z, labels(tree)), expected[0] * (1 + 0.5 / tree.max_depth))
    leaves = build("level_ce", tree, level_decay=1000.0)(z, labels(tree))
    assert_close(leaves, F.cross_entropy(z, labels(tree)))


@pytest.mark.parametrize("tree", TREES, ids=IDS)
def test_tk_is_a_softmax_over_all_levels_side_by_side(tree):
    scores, height = level_scores(tree), tree.max_depth
    target = torch.zeros_like(scores)
    first = 0
    for one, level in zip(each_level(scores, tree), levels(tree)):
        for i, c in enumerate(labels(tree).tolist()):
            target[i, first + level.column[c]] = 1 / height
        first += one.shape[1]
    kl = F.kl_div(scores.log_softmax(1), target, reduction="batchmean")
    expected = member_ce(scores, tree).sum() + 0.3 * kl
    assert_close(build("tk", tree, LEVELS, tk_weight=0.3)(scores, labels(tree)), expected)
    without = build("tk", tree, LEVELS, tk_weight=0)(scores, labels(tree))
    assert_close(without, build("level_ce", tree, LEVELS)(scores, labels(tree)))


def test_tk_by_hand():
    # two levels, a posterior of 1/2 on each: 2 log 2, and log 4 - log 2 side by side
    tree = Hierarchy.from_paths([("a", "b"), ("c", "d")])
    value = build_loss("tk", tree, LEVELS)(torch.zeros(1, 4), torch.tensor([1]))
    assert value.item() == pytest.approx(2.5 * math.log(2))


def naive_haf(tree, scores, vectors, margin):
    scores, vectors = each_level(scores, tree), vectors.split(widths(tree))
    p = [one.softmax(dim=1) for one in scores]
    found, y = levels(tree), labels(tree)
    loss = F.cross_entropy(scores[-1], y)
    for k in range(len(found) - 1):
        sums = torch.stack(
            [p[k + 1][:, found[k + 1].above == v].sum(1) for v in range(len(found[k].nodes))], 1
        )
        m = (p[k] + sums) / 2
        loss = loss + ((p[k] * (p[k] / m).log() + sums * (sums / m).log()).sum(1) / 2).mean()
        terms = []
        for (i, a), (j, b) in zip(enumerate(y), list(enumerate(y))[1:]):
            if found[k].column[a] != found[k].column[b]:
                m = (p[k][i] + p[k][j]) / 2
                for q in (p[k][i], p[k][j]):
                    terms.append((margin - (q * (q / m).log()).sum()).clamp(min=0))
        loss = loss + (sum(terms) / len(terms) if terms else 0)
        for v in range(len(found[k].nodes)):
            below = F.normalize(vectors[k + 1], dim=1)[found[k + 1].above == v].sum(0)
            loss = loss - F.cosine_similarity(vectors[k][v], below, dim=0) / len(found[k].nodes)
    return loss


@pytest.mark.parametrize("margin", [3.0, 0.1])
@pytest.mark.parametrize("tree", TREES, ids=IDS)
def test_haf_by_loops_over_levels_pairs_and_nodes(tree, margin):
    scores, vectors = level_scores(tree).requires_grad_(), level_vectors(tree).requires_grad_()
    expected = naive_haf(tree, scores, vectors, margin)
    value = build("haf", tree, LEVELS, haf_margin=margin)(scores, vectors, labels(tree))
    assert_close(value, expected)
    moved = [scores, vectors] if tree.max_depth > 1 else [scores]
    for slopes in zip(*(torch.autograd.grad(one, moved) for one in (value, expected))):
        assert_close(*slopes)


def test_haf_of_levels_that_agree_is_cross_entropy_less_a_constant():
    tree = Hierarchy.from_paths([("a", "b"), ("c", "d")])
    z = draw(B, 2)  # of chains: both levels say the same
    vectors = draw(2, 3).repeat(2, 1)
    targets = torch.zeros(B, dtype=torch.int64)  # and no pair differs
    loss = build("haf", tree, LEVELS)
    assert_close(loss(torch.cat([z, z], dim=1), vectors, targets), F.cross_entropy(z, targets) - 1)


def naive_aigdl(loss, posterior, targets, costs, delta, beta, eps, gamma):
    delta = delta * (1 - torch.eye(len(delta)))
    delta = delta / delta.norm(dim=1, keepdim=True).clamp(min=1e-12)
    a = beta * delta - costs
    total = 0
    for p, y in zip(posterior, targets):
        log_q = (a @ p).log_softmax(dim=0)
        t = eps * (gamma * a[y]).softmax(dim=0) + (1 - eps) * F.one_hot(y, len(costs))
        total -= (t * log_q).sum() / len(targets)
    return total


@pytest.mark.parametrize("offered", [LEVELS, ("scores",)], ids=["levels", "posterior"])
@pytest.mark.parametrize("tree", TREES, ids=IDS)
def test_aigdl_by_loops_over_levels_and_images(tree, offered):
    loss = build("aigdl", tree, offered, level_decay=0.5, aigdl_beta=0.7, aigdl_smoothing=0.3)
    with torch.no_grad():
        for i, delta in enumerate(loss.delta):
            delta.copy_(draw(*delta.shape, seed=i))
    z, expected = draw(B, tree.num_classes), 0
    for i, level in enumerate(levels(tree)):
        targets = torch.tensor(level.column)[labels(tree)]
        p = each_level(level_scores(tree), tree)[i].softmax(1)
        if offered == ("scores",):
            p = torch.stack(
                [z.softmax(1)[:, level.column == v].sum(1) for v in range(len(level.nodes))], 1
            )  # noqa: E501
        costs = torch.tensor(lca_height(cut(tree, level))).double()
        second = naive_aigdl(loss, p, targets, costs, loss.delta[i].detach(), 0.7, 0.3, 1.0)
        weight = math.exp(-0.5 * (tree.max_depth - 1 - i))
        expected += weight * (F.nll_loss(p.log(), targets) + second)
    value = loss(z if offered == ("scores",) else level_scores(tree), labels(tree))
    assert_close(value, expected)


def test_aigdl_without_what_is_learned_has_soft_labels_as_targets():
    z, y = draw(B, 7), labels(TREE)
    loss = build("aigdl", TREE, aigdl_beta=0, aigdl_smoothing=1, aigdl_gamma=2, level_decay=1000)
    costs = torch.tensor(lca_height(TREE)).double()
    risks = -(z.softmax(dim=1) @ costs)
    soft = build("soft_labels", TREE, soft_beta=2 * 3.0)  # distances there are divided by 3
    assert_close(loss(z, y), F.cross_entropy(z, y) + soft(risks, y))


def test_what_aigdl_learns_is_pulled_by_the_posterior_and_not_by_the_targets():
    loss = build("aigdl", TREE)
    of(loss, TREE).backward()
    assert all(delta.grad.isfinite().all() for delta in loss.delta)
    assert loss.delta[-1].grad.fill_diagonal_(0.0).any()
    alone = build("aigdl", TREE, aigdl_beta=0)
    of(alone, TREE).backward()
    assert not any(delta.grad.any() for delta in alone.delta)


def test_aigdl_is_refused_where_its_matrix_would_be_too_large():
    many = Hierarchy.from_paths([(str(i),) for i in range(2001)])
    with pytest.raises(ValueError, match="at most 2,000 classes, of which there are 2,001"):
        build_loss("aigdl", many)


def naive_margin(tree, z, kind, tau):
    """z (B, N), of nodes."""
    values = []
    for i, y in enumerate(labels(tree).tolist()):
        right = above(tree, y)
        terms = [z[i, v] + (0 if v in right else tau) for v in range(tree.num_nodes)]
        terms, own = torch.stack(terms), z[i, right[-1]]
        best = terms.logsumexp(0) - own if kind == "soft" else (terms.max() - own).clamp(min=0)
        values.append(best)
    return torch.stack(values).mean()


@pytest.mark.parametrize("tau", [5.0, 0.0, 0.4])
@pytest.mark.parametrize("kind", ["soft", "hard"])
@pytest.mark.parametrize("tree", TREES, ids=IDS)
def test_the_margin_by_a_loop_over_all_nodes(tree, kind, tau):
    options = {"margin_kind": kind, "margin_tau": tau}
    nodes, y = draw(B, tree.num_nodes).requires_grad_(), labels(tree)
    value = build("margin", tree, ("scores", "node_scores"), **options)(nodes, y)
    expected = naive_margin(tree, nodes, kind, tau)
    assert_close(value, expected)
    assert_close(*(torch.autograd.grad(one, nodes)[0] for one in (value, expected)))
    z = (2 * draw(B, tree.num_classes)).requires_grad_()
    masses = torch.stack([mass(tree, z.softmax(1), v) for v in range(tree.num_nodes)], 1)
    expected = naive_margin(tree, masses.log(), kind, tau)
    value = build("margin", tree, **options)(z, y)
    assert_close(value, expected)
    slopes = [torch.autograd.grad(one, z, retain_graph=True)[0] for one in (value, expected)]
    assert_close(*slopes)


def test_the_margin_by_hand():
    # flat, p = 1/2, 1/4, 1/4: right are the root (1) and y (1/2), wrong the two others (1/4 each)
    tree = Hierarchy.from_paths([("a",), ("b",), ("c",)])
    z = torch.tensor([[0.5, 0.25, 0.25]]).log()
    soft = build_loss("margin", tree, margin_tau=math.log(3))(z, torch.tensor([0]))
    assert soft.item() == pytest.approx(math.log(1.5 + 3 * 0.5) - math.log(0.5))
    hard = build_loss("margin", tree, margin_kind="hard", margin_tau=math.log(8))
    assert hard(z, torch.tensor([0])).item() == pytest.approx(math.log(8 * 0.25 / 0.5))
    hard = build_loss("margin", tree, margin_kind="hard", margin_tau=0)
    assert hard(z, torch.tensor([0])).item() == pytest.approx(-math.log(0.5))  # the root's share


def test_a_shallow_class_pushes_itself_up_once_under_the_margin():
    # all 13 nodes score 0 and no wrong one has a handicap, so each has 1/13 of the softmax
    nodes = torch.zeros(1, TREE.num_nodes, requires_grad=True)
    loss = build_loss("margin", TREE, ("scores", "node_scores"), margin_tau=0.0)
    loss(nodes, torch.tensor([0])).backward()
    expected = torch.full((1, 13), 1 / 13)
    expected[0, int(TREE.leaves[0])] -= 1
    assert_close(nodes.grad, expected)


@pytest.mark.parametrize("tree", TREES, ids=IDS)
def test_a_cut_that_ends_nowhere_is_cross_entropy_and_one_at_the_top_that_of_the_top(tree):
    z, nodes, y = draw(B, tree.num_classes), draw(B, tree.num_nodes), labels(tree)
    for p, depth in ((0.0, -1), (1.0, 0)):
        ends = np.unique(tree.level_table[:, depth])
        column = np.searchsorted(ends, tree.level_table[:, depth])
        expected = F.cross_entropy(nodes[:, ends], torch.tensor(column)[y])
        loss = build("random_cut", tree, ("scores", "node_scores"), cut_probability=p)
        assert_close(loss(nodes, y), expected)
        masses = torch.stack([mass(tree, z.softmax(1), v) for v in ends], 1)
        expected = F.nll_loss(masses.log(), torch.tensor(column)[y])
        assert_close(build("random_cut", tree, cut_probability=p)(z, y), expected)


def test_a_random_cut_ends_every_path_once_and_as_often_as_it_should():
    loss = build("random_cut", TELLING, ("scores", "node_scores"), cut_probability=0.3)
    torch.manual_seed(0)
    counts = np.zeros(TELLING.num_nodes)
    for _ in range(4000):
        ends, end = loss.cuts.draw()
        for c in range(TELLING.num_classes):
            assert [v for v in above(TELLING, c) if v in ends] == [end[c]]
        counts[end[8]] += 1  # A / A3 / A3b: two inner nodes above it
    path = above(TELLING, 8)[1:]
    expected = [0.3, 0.7 * 0.3, 0.7 * 0.7]
    np.testing.assert_allclose(counts[path] / 4000, expected, atol=0.03)


def test_random_cuts_of_both_kinds_of_head_agree_on_log_probabilities():
    z, y = draw(B, TELLING.num_classes), labels(TELLING)
    masses = torch.stack([mass(TELLING, z.softmax(1), v) for v in range(TELLING.num_nodes)], 1)
    values = []
    for offered, inputs in ((("scores", "node_scores"), masses.log()), (("scores",), z)):
        torch.manual_seed(3)
        loss = build("random_cut", TELLING, offered, cut_probability=0.4)
        values.append(torch.stack([loss(inputs, y) for _ in range(5)]))
    assert_close(*values)
    assert values[0].std() > 0.01


@pytest.mark.parametrize("gamma", [0.5, 3.0])
@pytest.mark.parametrize("tree", TREES, ids=IDS)
def test_haframe_draws_all_cosines_to_those_of_the_tree(tree, gamma):
    z, y = draw(B, tree.num_classes), labels(tree)
    cosines = draw(B, tree.num_classes, seed=1).tanh()
    wanted = torch.tensor(of_lca(tree, frame_cosines(tree, gamma)))
    expected = 0
    for i, c in enumerate(y.tolist()):
        expected += sum((cosines[i, j] - wanted[c, j]) ** 2 for j in range(tree.num_classes)) / B
    loss = build("haframe", tree, gamma=gamma, frame_share=0.3)
    assert_close(
        loss(z, cosines, y), 0.7 * F.cross_entropy(z, y) + 0.3 * expected, rtol=1e-5, atol=1e-6
    )  # noqa: E501
    assert_close(build("haframe", tree, frame_share=0)(z, cosines, y), F.cross_entropy(z, y))
    perfect = build("haframe", tree, gamma=gamma, frame_share=1)(z, wanted[y], y)
    assert perfect.item() == pytest.approx(0, abs=1e-10)


def test_devise_by_hand_and_by_a_loop():
    cosines = torch.tensor([[0.5, 0.45, 0.0], [0.9, 0.2, 0.3]])
    tree = Hierarchy.from_paths([("a",), ("b",), ("c",)])
    value = build_loss("devise", tree)(cosines, torch.tensor([0, 2]))
    assert value.item() == pytest.approx((0.05 + (0.1 + 0.9 - 0.3)) / 2)
    far, y = draw(B, 3, seed=1).tanh(), torch.arange(B) % 3
    expected = 0
    for i, c in enumerate(y.tolist()):
        expected += sum(max(0, 0.4 + far[i, j] - far[i, c]) for j in range(3) if j != c) / B
    assert_close(build("devise", tree, devise_margin=0.4)(far, y), expected)
    apart = torch.eye(3).double()
    assert build("devise", tree)(apart, torch.arange(3)).item() == pytest.approx(0, abs=1e-12)


def naive_hiercos(tree, x, alpha):
    y, sizes, depth = labels(tree).tolist(), x.abs(), tree.depth[1:]
    loss = 0
    for i, c in enumerate(y):
        path = [v - 1 for v in above(tree, c)[1:]]
        t = torch.tensor([2 / (len(path) + 1 - k) for k in range(1, len(path) + 1)]).double()
        t = t.exp() / t.exp().sum()
        loss += (t * (t.log() - sizes[i].log_softmax(0)[path])).sum() / B
    for level in range(1, tree.max_depth + 1):
        here, ended = [], []
        nodes = np.flatnonzero(depth == level)
        for i, c in enumerate(y):
            if tree.depth[tree.leaves[c]] < level:
                ended.append(sizes[i, nodes].sum())
                continue
            hot = torch.tensor(nodes == above(tree, c)[level] - 1).double()
            here.append((hot - sizes[i, nodes] / sizes[i, nodes].norm()).abs().sum())
        loss += alpha * sum(sum(terms) / len(terms) for terms in (here, ended) if terms)
    return loss


@pytest.mark.parametrize("alpha", [0.0, 0.05, 2.0])
@pytest.mark.parametrize("tree", TREES, ids=IDS)
def test_the_loss_of_hiercos_by_loops_over_images_and_depths(tree, alpha):
    x = draw(B, tree.num_nodes - 1).requires_grad_()
    loss = build("hiercos", tree, ("scores", "axes"), hiercos_alpha=alpha)
    value, expected = loss(x, labels(tree)), naive_hiercos(tree, x, alpha)
    assert_close(value, expected, rtol=1e-5, atol=1e-6)
    slopes = [torch.autograd.grad(one, x)[0] for one in (value, expected)]
    assert_close(*slopes, rtol=1e-5, atol=1e-6)


def test_the_loss_of_hiercos_on_a_flat_tree_without_its_rest_is_cross_entropy_of_sizes():
    x, y = draw(B, 4), labels(FLAT)
    loss = build("hiercos", FLAT, ("scores", "axes"), hiercos_alpha=0)
    assert_close(loss(x, y), F.cross_entropy(x.abs(), y))
    zero = torch.zeros(2, 4, dtype=torch.float64, requires_grad=True)
    build("hiercos", FLAT, ("scores", "axes"))(zero, y[:2]).backward()
    assert zero.grad.isfinite().all()


@pytest.mark.parametrize("name", ["ce", "hierarchical", "hxe", "soft_labels", "label_smoothing"])
def test_a_loss_of_scores_becomes_its_sum_over_the_levels(name):
    loss = build(name, TELLING, LEVELS)
    assert isinstance(loss, LevelSum) and loss.inputs == ("level_scores",)
    expected = 0
    for level, scores in zip(levels(TELLING), each_level(level_scores(TELLING), TELLING)):
        column = torch.tensor(level.column)[labels(TELLING)]
        expected += build(name, cut(TELLING, level))(scores, column)
    assert_close(of(loss, TELLING), expected)


def test_the_sum_over_levels_tells_its_losses_the_epoch():
    loss = build("hierarchical", TREE, LEVELS, switch_epoch=3)
    loss.set_epoch(0)
    early = of(loss, TREE)
    assert_close(early, of(build("ce", TREE, LEVELS), TREE))
    loss.set_epoch(3)
    assert abs(early - of(loss, TREE)) > 0.1


CASES = [(name, offered) for name in NAMES
         for offered in (("scores", "cosines"), LEVELS, ("scores", "axes"),
                         ("scores", "cosines", "node_scores"))
         if LOSSES[name].on(offered) is not None]  # fmt: skip


@pytest.mark.parametrize(("name", "offered"), CASES)
def test_classes_of_the_same_tree_in_another_order_have_the_same_losses(name, offered):
    order = [4, 0, 2, 6, 1, 5, 3]
    other = TREE.subset(order)
    torch.manual_seed(0)
    loss, renamed = build(name, TREE, offered), build(name, other, offered)
    node = {TREE.path(v): v for v in range(TREE.num_nodes)}
    nodes = [node[other.path(v)] for v in range(other.num_nodes)]
    y = labels(TREE)
    targets = torch.tensor([order.index(c) for c in y.tolist()])
    given, swapped = [], []
    for what in loss.inputs:
        if what in ("scores", "cosines"):
            given.append(draw(B, 7).tanh()), swapped.append(given[-1][:, order])
        elif what == "node_scores":
            given.append(draw(B, TREE.num_nodes)), swapped.append(given[-1][:, nodes])
        elif what == "axes":
            given.append(draw(B, TREE.num_nodes - 1))
            swapped.append(given[-1][:, [v - 1 for v in nodes[1:]]])
        else:
            one = level_scores(TREE) if what == "level_scores" else level_vectors(TREE)
            starts = np.cumsum([0, *widths(TREE)])
            columns = [start + list(a.nodes).index(nodes[v])
                       for start, a, b in zip(starts, levels(TREE), levels(other))
                       for v in b.nodes]  # fmt: skip
            given.append(one)
            swapped.append(one[:, columns] if what == "level_scores" else one[columns])
    torch.manual_seed(1)
    value = loss(*given, y)
    torch.manual_seed(1)
    if name == "random_cut":
        return  # draws node by node
    assert_close(value, renamed(*swapped, targets), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(("name", "offered"), CASES)
def test_the_way_for_other_devices_has_the_same_losses(name, offered, monkeypatch):
    loss, found = build(name, TELLING, offered), []
    for way in (segments.runs_on_cpu, lambda tensor: False):
        monkeypatch.setattr(segments, "runs_on_cpu", way)
        given = [drawn_of(what, TELLING) for what in loss.inputs]
        flat = [one.requires_grad_() for one in given]
        torch.manual_seed(0)
        value = loss(*given, labels(TELLING))
        value.backward()
        found.append([value, *(x.grad for x in flat)])
    for here, there in zip(*found):
        assert_close(here, there)


@pytest.mark.parametrize("apart", [10.0, 1000.0])
@pytest.mark.parametrize("name", ["level_ce", "haf"])
def test_levels_may_lie_far_apart(name, apart, monkeypatch):
    loss = build(name, TELLING, LEVELS)
    near, level = level_scores(TELLING), np.repeat(range(4), widths(TELLING))
    far = near + apart * torch.from_numpy(level)
    for way in (segments.runs_on_cpu, lambda tensor: False):
        monkeypatch.setattr(segments, "runs_on_cpu", way)
        found = []
        for scores in (near, far):
            scores = scores.detach().requires_grad_()
            torch.manual_seed(0)
            vectors = [level_vectors(TELLING)] if name == "haf" else []
            value = loss(scores, *vectors, labels(TELLING))
            value.backward()
            found.append([value, scores.grad])
        for here, there in zip(*found):
            assert_close(here, there)


@pytest.mark.parametrize("apart", [0.0, 1000.0])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("level_ce", {"level_decay": 0.3}),
        ("tk", {"tk_weight": 2.0}),
        ("haf", {}),
        ("haf", {"haf_margin": 0.1}),
    ],
)
def test_levels_side_by_side_give_gradients_of_finite_differences(name, options, apart):
    loss = build(name, TREE, LEVELS, **options)
    level = np.repeat(range(TREE.max_depth), widths(TREE))
    given = [level_scores(TREE) + apart * torch.from_numpy(level)]
    given += [level_vectors(TREE)] if name == "haf" else []

    def value(*given):
        torch.manual_seed(2)
        return 3 * loss(*given, labels(TREE))

    given = [one.requires_grad_() for one in given]
    assert torch.autograd.gradcheck(value, given, eps=1e-6, atol=1e-6, fast_mode=True)


@pytest.mark.parametrize(("name", "offered"), CASES)
def test_losses_are_finite_with_finite_gradients_at_extreme_inputs(name, offered):
    loss = build_loss(name, TELLING, offered)
    given = []
    for what in loss.inputs:
        size = {"cosines": 1.0}.get(what, 1e4)
        width = {"node_scores": TELLING.num_nodes, "axes": TELLING.num_nodes - 1}
        if what.startswith("level"):
            many = level_scores(TELLING) if what == "level_scores" else level_vectors(TELLING)
            given.append((size * many.float()).requires_grad_())
        else:
            drawn = size * draw(B, width.get(what, TELLING.num_classes)).float()
            given.append(drawn.clamp(-1e4, 1e4).requires_grad_())
    value = loss(*given, labels(TELLING))
    value.backward()
    assert value.isfinite() and all(x.grad is None or x.grad.isfinite().all() for x in given)


@pytest.mark.parametrize(
    ("name", "method", "given", "message"),
    [
        ("haf", "DR", {}, "separate scores on each level .* agree by themselves; use --method lev"),
        ("haf", "hiercos", {}, "agree by themselves"),
        ("haf", "levels", {"level_features": "chain"}, "different spaces"),
        ("hiercos", "softmax", {}, "a coordinate .* not split among nodes; use --method hiercos"),
        ("haframe", "levels", {}, "no single vector stands for a class"),
        ("haframe", "hiercos", {}, "the subspace of its path, which has no single direction"),
        ("devise", "softmax", {}, "lengths and biases"),
        ("devise", "DR", {"dynamic": True}, "drop --dynamic"),
        ("corr", "levels", {}, "no single vector"),
    ],
)
def test_pairs_without_meaning_are_refused_with_the_reason(name, method, given, message):
    with pytest.raises(ValueError, match=message):
        LOSSES[name].check_head(HEADS[method], {"loss": name, "method": method, **given})


def test_pairs_with_meaning_are_not():
    for name in NAMES:
        given = {"loss": name, "method": "DR"}
        if name not in ("haf", "hiercos"):
            LOSSES[name].check_head(ProxyDR, given)
    LOSSES["haframe"].check_head(Softmax, {"loss": "haframe", "method": "softmax"})
    LOSSES["haf"].check_head(HEADS["levels"], {"loss": "haf", "method": "levels"})
    LOSSES["corr"].check_head(ProxyDR, {"class_vectors": "file.csv"})


def ended_at(tree, node):
    """The tree with the node as a class in the place of those below it, and for each of its classes
    the classes of the tree that it has.
    """
    paths, members = [], []
    for c, path in enumerate(tree.class_paths):
        path = tree.path(node) if node in above(tree, c) else path
        if path not in paths:
            paths.append(path), members.append([])
        members[paths.index(path)].append(c)
    return Hierarchy.from_paths(paths), members


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("level_ce", {"level_decay": 0.3}),
        ("tk", {}),
        ("margin", {}),
        ("margin", {"margin_kind": "hard", "margin_tau": 1.0}),
        ("random_cut", {"cut_probability": 0}),  # cuts of two trees are not the same
    ],
)
@pytest.mark.parametrize("key", [("B", "B2"), ("A", "A2"), ("B",)])
def test_a_label_at_a_superclass_acts_as_a_leaf(name, key, options):
    node = [TELLING.path(v) for v in range(TELLING.num_nodes)].index(key)
    tree, members = ended_at(TELLING, node)
    assert tree.max_depth == TELLING.max_depth
    # other images see the nodes below the label, which count as wrong in a margin
    others = [i for i, c in enumerate(members) if len(c) == 1 and name != "margin"][:2]
    label = next(i for i, c in enumerate(members) if len(c) > 1)
    z = draw(1 + len(others), TELLING.num_classes).requires_grad_()
    pooled = torch.stack([z[:, c].logsumexp(dim=1) for c in members], dim=1)
    expected = build(name, tree, **options)(pooled, torch.tensor([label, *others]))
    targets = [TELLING.num_classes + node, *(members[i][0] for i in others)]
    value = build(name, TELLING, **options)(z, torch.tensor(targets))
    assert_close(value, expected)
    assert_close(*(torch.autograd.grad(one, z, retain_graph=True)[0] for one in (value, expected)))


@pytest.mark.parametrize("name", ["ce", "level_ce", "hxe"])
def test_a_label_at_a_superclass_is_a_member_down_to_its_level_and_a_label_below(name):
    node = [TELLING.path(v) for v in range(TELLING.num_nodes)].index(("A", "A3"))
    scores, target = level_scores(TELLING), TELLING.num_classes + node
    options = {"hxe_alpha": 0.0} if name == "hxe" else {}
    value = build(name, TELLING, LEVELS, **options)(scores[:1], torch.tensor([target]))
    expected = 0
    for level, one in zip(levels(TELLING), each_level(scores, TELLING)):
        p = one[0].softmax(dim=0)
        below = [
            i for i, v in enumerate(level.nodes) if node in node_path(v) or v in node_path(node)
        ]
        expected -= p[below].sum().log()
    assert_close(value, expected)


def node_path(v):
    found = []
    while v > 0:
        found.append(int(v))
        v = TELLING.parent[v]
    return found


def test_losses_say_why_a_label_cannot_be_a_superclass():
    for name in NAMES:
        for offered in (("scores", "cosines"), LEVELS, ("scores", "axes")):
            if LOSSES[name].on(offered) is not None:
                says = build(name, TREE, offered).inner_targets
                assert says is True or len(says) > 20
