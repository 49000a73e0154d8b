"""The tree: numbering, paths, self-leaves, collapsing, and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import FLAT, PATHS, TREE

from hierarchies.tree import Hierarchy, format_path, parse_path


def test_nodes_are_in_preorder_with_the_children_in_order_of_first_mention():
    assert TREE.keys == ("root", "C", "A", "A2", "A2a", "A2b", "A1", "B", "B1", "x", "B2", "y", "z")
    assert TREE.parent.tolist() == [-1, 0, 0, 2, 3, 3, 2, 0, 7, 8, 7, 10, 10]


def test_depths_heights_and_counts_are_those_of_the_drawing():
    assert TREE.depth.tolist() == [0, 1, 1, 2, 3, 3, 2, 1, 2, 3, 2, 3, 3]
    assert TREE.height.tolist() == [3, 0, 2, 1, 0, 0, 0, 2, 1, 0, 1, 0, 0]
    assert TREE.n_leaves.tolist() == [7, 1, 3, 2, 1, 1, 1, 3, 1, 1, 2, 1, 1]
    assert TREE.n_children.tolist() == [3, 0, 2, 2, 0, 0, 0, 2, 1, 0, 2, 0, 0]
    assert TREE.max_depth == 3
    assert TREE.children(7).tolist() == [8, 10]


def test_classes_keep_the_order_in_which_they_were_given():
    assert TREE.class_paths == tuple(PATHS)
    assert TREE.leaves.tolist() == [1, 4, 9, 6, 5, 11, 12]
    assert TREE.class_of[TREE.leaves].tolist() == list(range(7))
    assert TREE.class_of[0] == -1


def test_every_node_covers_an_interval_of_the_depth_first_order():
    assert TREE.leaf_order.tolist() == [0, 1, 4, 3, 2, 5, 6]
    for node in range(TREE.num_nodes):
        covered = TREE.leaf_order[TREE.start[node] : TREE.stop[node]]
        below = [c for c, path in enumerate(PATHS) if path[: TREE.depth[node]] == TREE.path(node)]
        assert sorted(covered.tolist()) == below


def test_path_table_pads_and_level_table_carries_shallow_classes_down():
    assert TREE.path_table.tolist()[:4] == [[1, -1, -1], [2, 3, 4], [7, 8, 9], [2, 6, -1]]
    assert TREE.level_table.tolist()[:4] == [[1, 1, 1], [2, 3, 4], [7, 8, 9], [2, 6, 6]]


@pytest.mark.parametrize(
    "name", ["parent", "depth", "height", "n_leaves", "leaves", "leaf_order", "path_table"]
)
def test_arrays_cannot_be_changed(name):
    with pytest.raises(ValueError, match="read-only"):
        getattr(TREE, name)[0] = 1


def test_a_class_that_is_an_inner_node_is_refused_or_gets_a_leaf_of_its_own():
    paths = [("T", "furca"), ("T", "furca", "duplets"), ("U",)]
    with pytest.raises(ValueError, match="'T/furca' is also an inner node"):
        Hierarchy.from_paths(paths)
    tree = Hierarchy.from_paths(paths, self_leaves=True)
    assert tree.class_paths == (("T", "furca", "."), ("T", "furca", "duplets"), ("U",))
    assert tree.class_names == ("furca (itself)", "duplets", "U")
    assert tree.num_nodes == 6


def test_a_leaf_of_its_own_does_not_take_the_name_of_a_child():
    with pytest.raises(ValueError, match="already has a child named '.'"):
        Hierarchy.from_paths([("a",), ("a", ".")], self_leaves=True)


@pytest.mark.parametrize(
    "paths, message",
    [
        ([], "at least one class"),
        ([()], "non-empty names"),
        ([("a", "")], "non-empty names"),
        ([("a", 1)], "non-empty names"),
        ([("a", "b"), ("a", "b")], "'a/b' comes twice"),
        (["cat"], "is a sequence of names, got the text 'cat'"),
    ],
)
def test_paths_without_a_tree_are_refused(paths, message):
    with pytest.raises(ValueError, match=message):
        Hierarchy.from_paths(paths)


def test_names_may_repeat_because_nodes_are_known_by_their_paths():
    tree = Hierarchy.from_paths(
        [("a", "x"), ("b", "x")], names={("a",): "same", ("b",): "same", ("b", "x"): "ex"}
    )
    assert tree.names == ("root", "same", "x", "same", "ex")
    assert tree.num_classes == 2


def test_collapsing_drops_single_child_nodes_and_keeps_the_class_order():
    tree = TREE.collapse()
    assert tree.class_paths[2] == ("B", "B1/x")
    assert tree.class_names == TREE.class_names
    assert tree.num_nodes == 12 and (tree.n_children != 1).all()
    assert tree.digest != TREE.digest
    assert tree.collapse() == tree


def test_collapsing_a_chain_below_the_root_drops_it_and_a_lone_class_stays():
    assert Hierarchy.from_paths([("a", "b", "c"), ("a", "b", "d")]).collapse().class_paths == (
        ("c",),
        ("d",),
    )
    assert Hierarchy.from_paths([("a", "b", "c")]).collapse().class_paths == (("c",),)
    assert FLAT.collapse() == FLAT


def test_collapsed_siblings_with_one_key_stay_apart():
    tree = Hierarchy.from_paths([("a", "x"), ("b", "x"), ("c",)]).collapse()
    assert tree.class_paths == (("a/x",), ("b/x",), ("c",))
    slashed = Hierarchy.from_paths([("a", "b"), ("a/b",)]).collapse()
    assert slashed.class_paths == (("a/b",), ("a\\/b",)) and slashed.class_names == ("b", "a/b")


def test_a_subset_has_only_the_nodes_above_its_classes():
    tree = TREE.subset([6, 2])
    assert tree.class_paths == (("B", "B2", "z"), ("B", "B1", "x"))
    assert tree.num_nodes == 6
    with pytest.raises(ValueError, match="at least one class"):
        TREE.subset([])


def test_the_digest_depends_on_paths_and_their_order_but_not_on_shown_names():
    assert Hierarchy.from_paths(PATHS, names={("A",): "shown"}).digest == TREE.digest
    assert Hierarchy.from_paths(PATHS[::-1]).digest != TREE.digest
    assert Hierarchy.from_paths([("a/b",)]).digest != Hierarchy.from_paths([("a", "b")]).digest


def test_the_dictionary_gives_the_same_tree_back():
    tree = Hierarchy.from_paths(PATHS, names={("A",): "shown"}, root="top")
    again = Hierarchy.from_dict(tree.to_dict())
    assert again == tree and again.names == tree.names and again.digest == tree.digest


@pytest.mark.parametrize(
    "content",
    [
        {},
        [],
        None,
        {"root": "r", "classes": "ab", "names": []},
        {"root": "r", "classes": ["ab"], "names": []},
        {"root": 3, "classes": [["a"]], "names": []},
        {"root": "r", "classes": [["a"]], "names": [[["a"], 3]]},
        {"root": "r", "classes": [["a"]], "names": [["a"]]},
        {"root": "r", "classes": [[["a"]]], "names": []},
        {"root": "r", "classes": [], "names": []},
    ],
)
def test_a_dictionary_that_is_no_tree_is_refused(content):
    with pytest.raises(ValueError):
        Hierarchy.from_dict(content)


@given(st.lists(st.text(), min_size=1))
def test_a_written_path_is_read_back(keys):
    assert parse_path(format_path(tuple(keys))) == tuple(keys)


def test_a_chain_of_thousands_of_nodes_is_no_problem():
    caterpillar = [tuple(f"n{d}" for d in range(k)) + ("leaf",) for k in range(1500)]
    tree = Hierarchy.from_paths(caterpillar)
    assert tree.max_depth == 1500 and tree.num_nodes == 2 * 1500
    assert np.array_equal(np.sort(tree.depth[tree.leaves]), np.arange(1, 1501))
    assert tree.class_paths[-1] == caterpillar[-1]
