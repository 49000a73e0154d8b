"""Trees as they are drawn: where nodes stand, how often lines cross, and that turning finds the
fewest crossings.
"""

from itertools import permutations, product

import numpy as np
import pytest
from drawable import uneven_tree
from hypothesis import given
from hypothesis import strategies as st
from scored_outputs import random_tree
from trees import TREE

from figures.crossings import count_crossings, turn, untangle
from figures.layout import DrawnTree, axis_start, drawn_hierarchy, drawn_learned
from metrics.trees import upgma


def tree(nested, reach=1.0) -> DrawnTree:
    """From nested tuples of items: every branch has the given length."""
    children, item, depth = [], [], []

    def add(node, below_root):
        index = len(children)
        children.append(())
        item.append(node if isinstance(node, int) else -1)
        depth.append(below_root)
        if not isinstance(node, int):
            children[index] = tuple(add(child, below_root + reach) for child in node)
        return index

    add(nested, 0.0)
    return DrawnTree(tuple(children), np.array(item), np.array(depth))


def all_turns(drawn: DrawnTree):
    """Every tree that turning inner nodes can give."""
    inner = [v for v, below in enumerate(drawn.children) if below]
    for orders in product(*(permutations(drawn.children[v]) for v in inner)):
        children = list(drawn.children)
        for v, order in zip(inner, orders):
            children[v] = order
        yield drawn._replace(children=tuple(children))


def random_nested(rng, items):
    if len(items) == 1:
        return int(items[0])
    parts = np.array_split(rng.permutation(items), rng.integers(2, min(4, len(items)) + 1))
    return tuple(random_nested(rng, part) for part in parts)


def test_crossings_are_pairs_in_opposite_order():
    # 0 1 2 3 against 2 0 3 1: the pairs (0, 2), (1, 2), (1, 3) cross
    assert count_crossings(np.array([0, 1, 2, 3]), np.array([2, 0, 3, 1])) == 3
    assert count_crossings(np.arange(5), np.arange(5)[::-1]) == 10


@given(st.permutations(list(range(9))), st.permutations(list(range(9))))
def test_crossings_equal_a_count_over_all_pairs(left, right):
    by_hand = sum(
        (left.index(a) < left.index(b)) != (right.index(a) < right.index(b))
        for a in range(9)
        for b in range(a)
    )
    assert count_crossings(np.array(left), np.array(right)) == by_hand


def test_two_trees_that_cannot_be_untangled_keep_one_crossing():
    # {0, 1} | {2, 3} against {0, 2} | {1, 3}: every arrangement crosses at least once
    found = untangle(tree(((0, 1), (2, 3))), tree(((3, 1), (0, 2))))
    assert found.crossings == 1 == count_crossings(found.left.order(), found.right.order())
    assert found.before == count_crossings(np.array([0, 1, 2, 3]), np.array([3, 1, 0, 2])) == 4


@pytest.mark.parametrize("seed", range(6))
def test_small_trees_get_the_fewest_crossings_of_all_arrangements(seed):
    rng = np.random.default_rng(seed)
    left, right = (tree(random_nested(rng, np.arange(6))) for _ in range(2))
    first, second = (
        {tuple(turned.order()) for turned in all_turns(drawn)} for drawn in (left, right)
    )
    best = min(count_crossings(np.array(a), np.array(b)) for a, b in product(first, second))
    assert untangle(left, right).crossings == best


@pytest.mark.parametrize("seed", range(4))
def test_one_tree_alone_is_turned_as_well_as_possible(seed):
    rng = np.random.default_rng(seed)
    drawn, position = tree(random_nested(rng, np.arange(7))), rng.permutation(7)
    other = np.argsort(position)
    best = min(count_crossings(turned.order(), other) for turned in all_turns(drawn))
    assert count_crossings(turn(drawn, position).order(), other) == best


@given(st.integers(0, 10_000))
def test_turning_keeps_the_trees_and_never_adds_crossings(seed):
    reference = random_tree(seed, 20)
    vectors = np.random.default_rng(seed).standard_normal((20, 3))
    left, right = (
        drawn_hierarchy(reference),
        drawn_learned(upgma(np.linalg.norm(vectors[:, None] - vectors, axis=2))),
    )
    found = untangle(left, right)
    assert found.crossings <= found.before
    for before, after in ((left, found.left), (right, found.right)):
        assert [set(below) for below in before.children] == [set(below) for below in after.children]
        assert sorted(after.order()) == list(range(20))


def test_a_tree_beside_itself_shuffled_has_no_crossings():
    reference = drawn_hierarchy(uneven_tree(120, 9))
    rng = np.random.default_rng(3)
    shuffled = reference._replace(
        children=tuple(tuple(rng.permutation(below).tolist()) for below in reference.children)
    )
    found = untangle(reference, shuffled)
    assert found.before > 0 and found.crossings == 0


def test_rows_and_depths_of_the_drawn_tree_are_those_on_paper():
    drawn = drawn_hierarchy(TREE)  # C, A(A2(a, b), A1), B(B1(x), B2(y, z)) from top to bottom
    names = [TREE.names[v] for v in TREE.leaves[drawn.order()]]
    assert names == ["C", "A2a", "A2b", "A1", "x", "y", "z"]
    rows = dict(zip(TREE.names, drawn.rows()))
    assert (
        rows["A2"] == 1.5
        and rows["A"] == (1.5 + 3) / 2
        and rows["B1"] == 4
        and rows["B"] == (4 + 5.5) / 2
    )
    assert drawn.reach.tolist() == TREE.depth.tolist()


def test_a_learned_tree_joins_at_the_mean_distances():
    # 0 and 1 join at 2, then 2 at (5 + 7) / 2 = 6
    drawn = drawn_learned(upgma(np.array([[0.0, 2, 5], [2, 0, 7], [5, 7, 0]])))
    inner = drawn.joins()[drawn.item < 0]
    np.testing.assert_allclose(sorted(inner), [2, 6])
    np.testing.assert_allclose(drawn.joins()[drawn.item >= 0], 0, atol=1e-12)
    # from the root (6) to the tips (0), the join at 2 is two thirds down; cut at 1, (6 - 2) / (6 -
    # 1)
    assert sorted(drawn.shares())[1] == pytest.approx(2 / 3) and sorted(drawn.shares(1.0))[
        1
    ] == pytest.approx(0.8)


def test_the_axis_starts_below_the_first_join_or_at_zero():
    def starting(first):
        return axis_start(drawn_learned(upgma(np.array([[0, first, 2], [first, 0, 2], [2, 2, 0]]))))

    assert starting(0.2) == 0 and starting(2.0) == 0  # little to gain; nothing to tell apart
    assert starting(1.5) == pytest.approx(1.35)


def test_a_branch_belongs_to_a_group_if_all_its_tips_do():
    drawn = tree(((0, 1), (2, 3)))
    group = drawn.sole_group(np.array([5, 5, 5, 6]))
    assert group.tolist() == [-1, 5, 5, 5, -1, 5, 6]
