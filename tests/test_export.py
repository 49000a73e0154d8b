"""Writing trees: Newick round trips, drawings, statistics."""

import io
import math

import numpy as np
import pytest
import skbio
from hypothesis import example, given
from hypothesis import strategies as st
from trees import PATHS, TREE

from hierarchies import Hierarchy, to_newick
from hierarchies.distances import path_length
from hierarchies.export import describe, format_description
from hierarchies.phylogeny import parse_newick

AWKWARD = [
    "it's",
    "a,b",
    "(c)",
    "a;b",
    "co:lon",
    "[d]",
    "under_score",
    "two words",
    "a''b",
    "é/ü",
    "back\\slash",
    ".",
]
KEYS = (
    st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=6)
    .map(str.strip)
    .filter(bool)
)


def test_newick_of_the_drawn_tree():
    assert to_newick(TREE) == "(C,((A2a,A2b)A2,A1)A,((x)B1,(y,z)B2)B)root;\n"


def test_newick_shows_names_on_request():
    tree = Hierarchy.from_paths([("n1",), ("n2",)], names={("n1",): "Homo sapiens"}, root="life")
    assert to_newick(tree) == "(n1,n2)life;\n"
    assert to_newick(tree, show_names=True) == "('Homo sapiens',n2)life;\n"


@given(st.sets(st.lists(KEYS, min_size=1, max_size=4).map(tuple), min_size=1, max_size=12), KEYS)
@example({("0", ":"), ("00",)}, "0")
def test_newick_is_read_back_as_the_same_tree(paths, root):
    paths = {
        path for path in paths if not any(other[: len(path)] == path != other for other in paths)
    }
    tree = Hierarchy.from_paths(sorted(paths), root=root)
    again = parse_newick(to_newick(tree), "source").build("source", False)
    depth_first = [tree.class_paths[index] for index in tree.leaf_order]
    assert list(again.class_paths) == depth_first and again.names[0] == root


def test_another_program_reads_our_newick():
    tree = Hierarchy.from_paths(
        [("group", name) for name in AWKWARD] + [("other", "y"), ("other", "z")]
    )
    read = skbio.TreeNode.read(io.StringIO(to_newick(tree)), format="newick")
    assert [tip.name for tip in read.tips()] == [*AWKWARD, "y", "z"]
    assert read.find("other").parent is read


def test_statistics_of_the_drawn_tree():
    found = describe(TREE)
    assert found.pop("mean_path") == pytest.approx(
        np.mean(path_length(TREE)[np.triu_indices(7, 1)])
    )
    assert found == {
        "classes": 7,
        "nodes": 13,
        "inner": 6,
        "single_child": 1,
        "height": 3,
        "level_sizes": [3, 5, 7],  # C counts at all levels, A1 at two
        "by_depth": [3, 4, 5],
        "leaf_depths": {1: 1, 2: 1, 3: 5},
    }


def test_level_sizes_count_distinct_nodes_of_the_level_table():
    assert describe(TREE)["level_sizes"] == [
        len(set(column.tolist())) for column in TREE.level_table.T
    ]


def test_a_lone_class_has_no_mean_distance():
    assert math.isnan(describe(Hierarchy.from_paths([("a",)]))["mean_path"])


def test_the_description_gives_the_numbers_in_words():
    text = format_description(TREE)
    assert text.startswith("7 classes, 13 nodes, height 3 edges, ") and TREE.digest in text
    assert "6, of which 1 with a single child" in text
    assert "1 at depth 1, 1 at depth 2, 5 at depth 3" in text
    assert "3 5 7" in text and "4.3810 edges" in text and text.endswith("\n")


def test_deep_trees_are_written_without_recursion():
    tree = Hierarchy.from_paths([tuple(f"n{d}" for d in range(2000))])
    assert to_newick(tree).count("(") == 2000


def test_the_class_order_of_the_tree_does_not_change_its_drawing():
    assert to_newick(Hierarchy.from_paths(PATHS[:1] + PATHS[1:][::-1])).count("(") == to_newick(
        TREE
    ).count("(")
