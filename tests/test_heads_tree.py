"""Heads that look at the tree: shared parents, a softmax over siblings, levels, subspaces, placed
and given class vectors. Naive loops on a tree of unequal depth re-derive each.
"""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode
from trees import FLAT, TELLING, TREE

from hierarchies import Hierarchy
from hierarchies.distances import lca_height, of_lca
from hierarchies.frame import frame_cosines
from hierarchies.levels import cut, levels
from models import HEADS, HeadOptions, build_head
from models.build import build_head_from
from models.levels import FEATURES
from models.priors import prior_from_counts
from models.vectors_file import read_vectors

CHAIN = Hierarchy.from_paths([("a", "b", "c"), ("a", "b", "d"), ("e", "f", "g")])
D = 6


def make(method, tree=TELLING, dim=D, **options):
    torch.manual_seed(0)
    dim = HEADS[method].fixed_dim(tree) or dim
    own = {name: options.pop(name) for name in list(options) if name not in NAMES}
    return build_head(
        method, tree.num_classes, HeadOptions(dim=dim, hierarchy=tree, own=own, **options)
    )


NAMES = HeadOptions.__dataclass_fields__


def embeddings(head, batch=5):
    width = head.weight.shape[1]
    return torch.randn(batch, width, generator=torch.Generator().manual_seed(1))


def path(tree, node):
    nodes = []
    while node > 0:
        nodes.append(int(node))
        node = tree.parent[node]
    return nodes[::-1]


def has_siblings(tree, node):
    return (tree.parent == tree.parent[node]).sum() > 1


def shuffle(head):
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return head


def node_vectors(head, name="weight"):
    """The own vector of each node, by its number; zeros where it has none."""
    shared = head.parametrizations[name]
    full = shared[0].spread(shared.original)
    return full[head.tree.place]


@pytest.mark.parametrize("method", ["softmax", "normface", "DR"])
def test_shared_class_vectors_are_sums_over_the_path(method):
    head = shuffle(make(method, share_parents=True))
    own = node_vectors(head)
    for c, leaf in enumerate(TELLING.leaves):
        expected = sum(own[v] for v in path(TELLING, leaf) if has_siblings(TELLING, v))
        assert_close(head.weight[c], expected)
    assert all(bool(row.any()) == has_siblings(TELLING, v) for v, row in enumerate(own) if v)


@pytest.mark.parametrize("method", ["softmax", "normface", "DR"])
def test_sharing_parents_on_a_flat_tree_is_the_head_without(method):
    shared, plain = make(method, FLAT, share_parents=True), make(method, FLAT)
    with torch.no_grad():
        plain.weight.copy_(shared.weight)
    x = embeddings(plain)
    assert_close(shared(x), plain(x))
    assert_close(shared.node_scores(x)[:, FLAT.leaves.tolist()], plain(x))


def test_node_scores_are_those_of_the_summed_vectors_and_the_root_is_the_zero_vector():
    head = shuffle(make("softmax", share_parents=True))
    x, own, bias = embeddings(head), node_vectors(head), node_vectors(head, "bias")
    scores = head.node_scores(x)
    assert scores.shape == (5, TELLING.num_nodes) and not scores[:, 0].any()
    for v in range(1, TELLING.num_nodes):
        on_path = path(TELLING, v)
        assert_close(scores[:, v], x @ sum(own[u] for u in on_path) + sum(bias[u] for u in on_path))
    assert_close(scores[:, TELLING.leaves.tolist()], head(x))
    directions = make("normface", share_parents=True)
    assert not directions.node_scores(x)[:, 0].any()  # 90 degrees from everything


def test_a_node_without_siblings_has_the_vector_of_its_parent():
    head = shuffle(make("DR", CHAIN, share_parents=True))
    scores = head.node_scores(embeddings(head))
    for node in range(2, CHAIN.num_nodes):
        if not has_siblings(CHAIN, node):
            assert_close(scores[:, node], scores[:, CHAIN.parent[node]])
    assert len(head.parametrizations.weight.original) == 4  # a, e; c, d


def test_shared_vectors_train_and_come_back_from_their_state():
    head, other = make("DR", share_parents=True), shuffle(make("DR", share_parents=True))
    F.cross_entropy(head(embeddings(head)), torch.arange(5)).backward()
    ((name, parameter),) = head.named_parameters()
    assert parameter.grad.any() and "weight" in name
    other.load_state_dict(head.state_dict())
    assert_close(other(embeddings(head)), head(embeddings(head)))


def test_a_prior_acts_on_nodes_as_the_sum_over_their_classes():
    counts = np.arange(1, TELLING.num_classes + 1)
    with_prior = make("softmax", share_parents=True, prior=prior_from_counts(counts))
    without = make("softmax", share_parents=True)
    without.load_state_dict(with_prior.state_dict(), strict=False)
    x = embeddings(without)
    shift = (with_prior.node_scores(x) - without.node_scores(x))[0]
    below = [TELLING.leaf_order[a:b] for a, b in zip(TELLING.start, TELLING.stop)]
    assert_close(shift, torch.tensor([counts[b].sum() / counts.sum() for b in below]).float().log())


def test_the_conditional_head_multiplies_softmaxes_over_siblings():
    head = shuffle(make("conditional"))
    x = embeddings(head)
    logits = x @ node_vectors(head).T + node_vectors(head, "bias")
    for c, leaf in enumerate(TELLING.leaves):
        expected = 0
        for v in path(TELLING, leaf):
            group = np.flatnonzero(TELLING.parent == TELLING.parent[v])
            if len(group) > 1:
                expected = expected + logits[:, v] - logits[:, group].logsumexp(dim=1)
        assert_close(head(x)[:, c], expected)
    assert_close(head(x).exp().sum(dim=1), torch.ones(5))


def test_the_conditional_head_by_hand():
    # a; b/x, b/y: p(b) = 3/4, p(x | b) = 2/3
    tree = Hierarchy.from_paths([("a",), ("b", "x"), ("b", "y")])
    head = make("conditional", tree, dim=1)
    with torch.no_grad():
        head.parametrizations.weight.original.zero_()
        wanted = {1: 0.0, 2: math.log(3), 3: math.log(2), 4: 0.0}  # nodes a, b, x, y
        order = torch.argsort(head.tree.place)[head.parametrizations.bias[0].own]
        head.parametrizations.bias.original.copy_(torch.tensor([wanted[int(v)] for v in order]))
    assert_close(head(torch.zeros(1, 1)).exp(), torch.tensor([[1 / 4, 1 / 2, 1 / 4]]))


def test_the_conditional_head_on_a_flat_tree_is_softmax():
    conditional, softmax = shuffle(make("conditional", FLAT)), make("softmax", FLAT)
    with torch.no_grad():
        softmax.weight.copy_(conditional.weight), softmax.bias.copy_(conditional.bias)
    x = embeddings(softmax)
    assert_close(conditional(x), softmax(x).log_softmax(dim=1))


def test_the_conditional_head_is_finite_at_extreme_logits():
    head = make("conditional")
    x = (1e4 * embeddings(head)).requires_grad_()
    loss = F.cross_entropy(head(x), torch.arange(5))
    loss.backward()
    assert loss.isfinite() and x.grad.isfinite().all()


def test_levels_part_the_classes_and_repeat_those_that_end_early():
    found = levels(TREE)
    assert [len(level.nodes) for level in found] == [3, 5, 7]
    assert [int(level.nodes[level.column[0]]) for level in found] == [1, 1, 1]  # class C
    for level, finer in zip(found, found[1:]):
        assert (finer.above[finer.column] == level.column).all()
    trees = [cut(TREE, level) for level in found]
    assert [tree.num_classes for tree in trees] == [3, 5, 7] and trees[-1] == TREE
    assert trees[0].class_names == ("C", "A", "B") and trees[1].max_depth == 2


def each_level(scores, tree):
    """A part of the scores for each level."""
    return scores.split([len(level.nodes) for level in levels(tree)], dim=1)


@pytest.mark.parametrize("features", ["shared", "slices", "chain"])
@pytest.mark.parametrize("unit_rows", [False, True])
def test_each_level_is_a_linear_layer_on_what_it_sees(features, unit_rows):
    if unit_rows and features == "chain":
        with pytest.raises(ValueError, match="--unit_rows has no meaning"):
            make("levels", level_features=features, unit_rows=True)
        return
    head = make("levels", level_features=features, unit_rows=unit_rows).eval()
    x = embeddings(head).requires_grad_()
    scores = each_level(head.level_scores(x), TELLING)
    assert_close(scores[-1], head(x))
    for depth, one in enumerate(scores):
        (slope,) = torch.autograd.grad(one.sum(), x, retain_graph=True)
        seen = slope.abs().sum(dim=0) > 0
        if features == "slices":  # 6 dimensions, 4 levels: 1, 1, 1 and 3 of them
            assert seen.tolist() == [depth == min(d, 3) for d in range(D)]
        else:
            assert seen.all()
    if features == "chain":
        assert_close(scores[0], head.above[0](scores[1]))
        return
    for depth, layer in enumerate(head.above):
        weight = F.normalize(layer.weight) if unit_rows else layer.weight
        start = depth if features == "slices" else 0
        assert_close(scores[depth], x[:, start:] @ weight.T + layer.bias)


def test_slices_of_classes_have_class_vectors_that_are_zero_elsewhere():
    head = make("levels", level_features="slices")
    assert not head.weight[:, :3].any() and (head.weight[:, 3:] != 0).all()
    x, labels = embeddings(head).requires_grad_(), torch.arange(5)
    optimiser = torch.optim.SGD(head.parameters(), lr=0.1)
    for _ in range(2):  # and they stay so: the classes' error does not train coarser slices
        optimiser.zero_grad()
        (slope,) = torch.autograd.grad(F.cross_entropy(head(x), labels), x)
        F.cross_entropy(head(x), labels).backward()
        optimiser.step()
        assert not head.weight[:, :3].any() and not slope[:, :3].any() and slope[:, 3:].all()
    with pytest.raises(ValueError, match="a dimension for each of the 4 levels .* --dim 3"):
        make("levels", dim=3, level_features="slices")


def test_node_scores_of_levels_come_from_the_level_of_each_node():
    head = make("levels")
    x = embeddings(head)
    scores, nodes = each_level(head.level_scores(x), TELLING), head.node_scores(x)
    for v in range(1, TELLING.num_nodes):
        depth = 3 if TELLING.class_of[v] >= 0 else TELLING.depth[v] - 1
        column = list(levels(TELLING)[depth].nodes).index(v)
        assert_close(nodes[:, v], scores[depth][:, column])
    assert not nodes[:, 0].any()


def test_levels_of_a_flat_tree_are_softmax():
    head, plain = make("levels", FLAT), make("softmax", FLAT)
    plain.load_state_dict(head.state_dict())
    x = embeddings(plain)
    assert_close(head.level_scores(x), plain(x))


def test_a_prior_of_levels_is_the_share_of_each_member():
    prior = prior_from_counts(np.arange(1, TELLING.num_classes + 1))
    head = make("levels", prior=prior)
    x = torch.zeros(1, D)
    for level, scores in zip(levels(TELLING), each_level(head.level_scores(x), TELLING)):
        shares = torch.zeros(len(level.nodes)).index_add_(0, torch.tensor(level.column), prior)
        assert_close(scores[0].softmax(dim=0), shares)


class Products(TorchDispatchMode):
    """Counts products of matrices."""

    def __init__(self):
        super().__init__()
        self.number = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.number += func.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm)
        return func(*args, **(kwargs or {}))


READ = [
    *(("levels", {"level_features": kind}, "level_scores") for kind in FEATURES),
    ("levels", {}, "node_scores"),
    ("hiercos", {"transform_blocks": 0}, "axes"),
]


@pytest.mark.parametrize(("method", "own", "name"), READ)
def test_scores_beside_what_a_loss_reads_take_no_product_more(method, own, name):
    prior = prior_from_counts(np.arange(1, TELLING.num_classes + 1))
    head = make(method, dim=12, prior=prior, **own)
    with torch.no_grad():
        expected = {one: getattr(head, one)(embeddings(head)) for one in head.offered(own)[1:]}
        expected["scores"] = head(embeddings(head))
        with Products() as alone:
            getattr(head, name)(embeddings(head))
        with Products() as both:
            found = head.read(embeddings(head), ("scores", name))
        assert both.number == alone.number > 0 and [*found] == ["scores", name]
        for one, value in head.read(embeddings(head), expected).items():
            assert_close(value, expected[one])
        assert_close(head.read(embeddings(head), ["scores"])["scores"], expected["scores"])


def test_hiercos_by_a_loop_over_the_axes_of_each_path():
    head = make("hiercos").eval()
    x = embeddings(head)
    axes = head.axes(x)
    assert_close(axes.norm(dim=1), x.norm(dim=1))  # an orthonormal basis
    for c, leaf in enumerate(TELLING.leaves):
        nodes = [v - 1 for v in path(TELLING, leaf)]
        mean, total = axes[:, nodes].square().mean(dim=1), axes.square().mean(dim=1)
        assert_close(head(x)[:, c], 5 * (mean / total).log(), rtol=1e-4, atol=1e-4)
        direction = sum(head.basis[:, v] for v in nodes)
        assert_close(head.weight[c], F.normalize(direction, dim=0))


def test_hiercos_orders_classes_of_one_depth_by_the_norm_on_their_path():
    tree = Hierarchy.from_paths([("a", "b"), ("a", "c"), ("d", "e"), ("d", "f")])
    head = make("hiercos", tree).eval()
    x = embeddings(head)
    published = torch.stack(
        [head.axes(x)[:, [v - 1 for v in path(tree, leaf)]].norm(dim=1) for leaf in tree.leaves], 1
    )
    assert_close(head(x).argsort(dim=1), published.argsort(dim=1))


def test_hiercos_by_hand_and_at_the_ends_of_its_domain():
    # a; b/x, b/y: nodes a, b, x, y; the embedding has 3, 0, 4, 0 there
    tree = Hierarchy.from_paths([("a",), ("b", "x"), ("b", "y")])
    head = make("hiercos", tree, transform_blocks=0)
    x = torch.tensor([[3.0, 0.0, 4.0, 0.0]]) @ head.basis.T
    expected = [5 * math.log(9 / (25 / 4)), 5 * math.log((16 / 2) / (25 / 4))]
    assert_close(head(x)[0, :2], torch.tensor(expected), rtol=1e-4, atol=1e-4)
    assert head(x)[0, 2].isfinite() and head(x)[0, 2] < -100
    zero = torch.zeros(2, 4, requires_grad=True)
    scores = head(zero)
    scores.sum().backward()
    assert scores.isfinite().all() and (scores == scores[0, 0]).all() and zero.grad.isfinite().all()
    assert head.prepare(x) is not None and not list(head.parameters())


def test_the_transformation_of_hiercos_is_trained_and_part_of_its_state():
    head = make("hiercos")
    assert head.prepare(embeddings(head)).shape == (5, TELLING.num_nodes - 1)
    names = {name.split(".")[0] for name in head.state_dict()}
    assert names == {"transform", "basis"} and len(head.transform) == 3


@pytest.mark.parametrize("gamma", [0.5, 2.0, 5.0])
@pytest.mark.parametrize("tree", [TELLING, TREE, FLAT, CHAIN])
def test_the_frame_is_as_far_apart_as_cosines_can_be(tree, gamma):
    cosines = of_lca(tree, frame_cosines(tree, gamma))
    height = lca_height(tree)
    similar = np.exp(-gamma * height / height.max())
    ones = np.ones(len(similar))
    share = 1 / (ones @ np.linalg.solve(similar, ones))
    least = max(-1.0, -share / (1 - share) if share < 1 else -1.0)
    np.testing.assert_allclose(cosines, (1 - least) * similar + least, atol=1e-12)
    smallest = np.linalg.eigvalsh(cosines)[0]
    assert smallest > -1e-12 and (least == -1 or smallest < 1e-9)
    published = [s for s in np.linspace(-1 / (len(similar) - 1), -1, 100)
                 if np.linalg.eigvalsh((1 - s) * similar + s)[0] > -1e-6]  # fmt: skip
    if published:
        assert least <= min(published) + 1e-6  # theirs is on a grid


def test_the_frame_of_unrelated_classes_is_a_simplex():
    np.testing.assert_allclose(frame_cosines(FLAT, 50.0)[0], -1 / 3)


OPTIONS = {
    "method": "DR", "dim": 12, "distance": "euc", "ema": False, "alpha": None, "mds_W": True,
    "beta": None, "mds_solver": "auto", "dynamic": False, "legacy_dynamic": False, "prior": None,
    "lr": 1e-3, "seed": 0, "gamma": 2.0,
}  # fmt: skip


@pytest.mark.parametrize("distance", ["euc", "arccos"])
@pytest.mark.parametrize("kind", ["haframe", "barz"])
def test_class_vectors_are_placed_at_the_cosines_asked_for(kind, distance):
    options = {**OPTIONS, "mds_targets": kind, "distance": distance}
    head, notes = build_head_from(options, TELLING, np.ones(TELLING.num_classes))
    expected = {
        "haframe": of_lca(TELLING, frame_cosines(TELLING, 2.0)),
        "barz": 1 - lca_height(TELLING) / 4,
    }[kind]
    np.testing.assert_allclose(head.weight @ head.weight.T, expected, atol=1e-5)
    assert not head.weight.requires_grad and "exact embedding" in notes[0]
    near, notes = build_head_from({**options, "dim": 4}, TELLING, np.ones(TELLING.num_classes))
    assert "placed by gradient" in notes[0] and near.weight.shape == (11, 4)


def write_table(file, rows, delimiter=","):
    file.write_text("\n".join(delimiter.join(map(str, row)) for row in rows) + "\n")
    return file


def test_class_vectors_from_a_file_go_by_path_or_unique_name(tmp_path):
    tree = Hierarchy.from_paths([("a", "x"), ("b", "x"), ("b", "y")])
    rows = [["name", "d1", "d2"], ["b/x", 1, 0], ["y", 0, 2], ["other", 9, 9], ["a/x", 0.5, 0.5]]
    expected = torch.tensor([[0.5, 0.5], [1.0, 0.0], [0.0, 2.0]])
    for delimiter in ",\t;":
        vectors, note = read_vectors(write_table(tmp_path / "v.csv", rows, delimiter), tree)
        assert_close(vectors, expected)
        assert "1 of its rows are of no class" in note
    names, values = [row[0] for row in rows[1:]], np.array([row[1:] for row in rows[1:]], float)
    np.savez(tmp_path / "v.npz", classes=np.array(names), vectors=values)
    assert_close(read_vectors(tmp_path / "v.npz", tree)[0], expected)
    options = {**OPTIONS, "mds_W": False, "class_vectors": str(tmp_path / "v.csv"), "dim": 2}
    head, _ = build_head_from(options, tree, np.ones(3))
    assert_close(head.weight, expected)
    assert not head.weight.requires_grad
    with pytest.raises(ValueError, match="vectors of 2 numbers: add --dim 2"):
        build_head_from({**options, "dim": 3}, tree, np.ones(3))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([["x", 1, 0]], "line 1: 2 classes are called 'x'; give the path, such as 'a/x'"),
        ([["y", 1, 0], ["y", 1, 0]], "line 2: 'y' comes twice"),
        ([["y", 1, 0], ["a/x", 1]], "line 2: 1 numbers, where others have 2"),
        ([["y", 0, 0]], "line 1: the vector of 'y' is zero"),
        ([["y", "nan", 1]], "line 1: the vector of 'y' is zero or has numbers that are not finite"),
        ([["y", 1, 0], ["a/x", "b", 1]], "line 2: what follows the name must be numbers"),
        ([["y", 1, 0]], "no row for 2 of 3 classes: a/x, b/x"),
        ([["Y", 1, 0]], "no row for 3 of 3 .*; rows are called 'Y', as is no class: write names"),
        ([["y" * 200_000, 1]], "line 1: this is not a row of a table"),
        (None, "cannot be read"),
    ],
)
def test_a_file_of_class_vectors_is_refused_by_line(tmp_path, rows, message):
    tree = Hierarchy.from_paths([("a", "x"), ("b", "x"), ("b", "y")])
    file = tmp_path / "v.csv"
    if rows is not None:
        write_table(file, rows)
    with pytest.raises(ValueError, match=message):
        read_vectors(file, tree)


def test_arrays_of_class_vectors_are_of_numbers_and_names_may_be_bytes(tmp_path):
    tree, file = Hierarchy.from_paths([("a",), ("b",)]), tmp_path / "v.npz"
    np.savez(file, classes=np.array(["b", "a"], "S"), vectors=np.array([[1.0, 0.0], [0.0, 2.0]]))
    assert_close(read_vectors(file, tree)[0], torch.tensor([[0.0, 2.0], [1.0, 0.0]]))
    np.savez(file, classes=["a", "b"], vectors=np.ones((2, 2)) + 1j)
    with pytest.raises(ValueError, match="vectors are of type complex128, not numbers"):
        read_vectors(file, tree)
    file.write_bytes(b"PK\x03\x04 damaged")
    with pytest.raises(ValueError, match="v.npz cannot be read: it is damaged"):
        read_vectors(file, tree)


@pytest.mark.parametrize("method", ["conditional", "levels", "hiercos"])
def test_heads_of_the_tree_need_one(method):
    with pytest.raises(ValueError, match=f"--method {method} needs the class tree"):
        build_head(method, 3, HeadOptions(dim=2))
    with pytest.raises(ValueError, match="--share_parents needs the class tree"):
        build_head("DR", 3, HeadOptions(dim=2, share_parents=True))


@pytest.mark.parametrize("other", [{"proxies": "ema"}, {"proxies": "mds"}, {"proxies": "file"}])
def test_shared_vectors_cannot_be_set_one_by_one(other):
    if other["proxies"] != "ema":
        other = {**other, "fixed": torch.ones(TELLING.num_classes, D)}
    with pytest.raises(ValueError, match="--share_parents makes class vectors of sums that train"):
        make("DR", share_parents=True, **other)
