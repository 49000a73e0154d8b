"""Trees of the comparison: the class tree stands still, branches are named after the nearest
taxon.
"""

from dataclasses import replace

import numpy as np
import pytest
from drawable import make_subject
from trees import TREE

from figures.crossings import count_crossings
from figures.tanglegrams import tanglegram
from hierarchies import Hierarchy
from reports.tree_data import class_tree, learned_tree, trees_of_run

# A holds a, b; B holds c, d
PAIRS = Hierarchy.from_paths([("A", "a"), ("A", "b"), ("B", "c"), ("B", "d")])


def turned(*degrees: float) -> np.ndarray:
    """Unit vectors in the plane."""
    return np.stack([np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))], 1)


def test_a_learned_tree_is_turned_to_the_class_tree_and_joins_at_its_angles():
    # c and d join at 20 degrees, a and b at 10, both at 90; the first in the table are c and d
    found = learned_tree(turned(0, 10, 95, 115), PAIRS, "arccos")
    assert [i for i in found["item"] if i >= 0] == [0, 1, 2, 3] and found["crossings"] == 0
    inner = [v for v, item in enumerate(found["item"]) if item < 0]
    np.testing.assert_allclose(
        [found["join"][v] for v in inner], np.deg2rad([100, 10, 20]), rtol=1e-3
    )
    assert [PAIRS.names[found["taxon"][v]] for v in inner[1:]] == ["A", "B"]
    assert [(found["shared"][v], found["size"][v]) for v in inner] == [(4, 4), (2, 2), (2, 2)]
    assert found["parent"][0] == -1 and all(p < v for v, p in enumerate(found["parent"]))


def test_a_branch_across_superclasses_is_named_after_the_nearest():
    # a alone; b, c, d together: 2 of B's 2 among 3 classes
    found = learned_tree(turned(180, 0, 10, 21), PAIRS, "arccos")
    three = next(v for v, size in enumerate(found["size"]) if size == 3)
    assert PAIRS.names[found["taxon"][three]] == "B" and found["shared"][three] == 2
    assert found["unit"] == "angle between vectors (radians)"


def test_classes_without_a_vector_are_left_out_and_too_few_make_no_tree():
    vectors = turned(0, 10, 95, 115)
    vectors[1] = np.nan
    found = learned_tree(vectors, PAIRS, "euc")
    assert sorted(i for i in found["item"] if i >= 0) == [0, 2, 3]
    vectors[2:] = np.nan
    assert learned_tree(vectors, PAIRS, "euc") is None


@pytest.mark.parametrize("seed", range(3))
def test_crossings_are_those_of_the_two_orders(seed):
    vectors = np.random.default_rng(seed).standard_normal((7, 4))
    found = learned_tree(vectors, TREE, "euc")
    order = np.array([i for i in found["item"] if i >= 0])
    assert found["crossings"] == count_crossings(np.asarray(TREE.leaf_order), order)


def test_the_trees_of_a_run_are_turned_towards_each_other():
    subject = make_subject(TREE, samples=30)
    found = trees_of_run(subject)
    items = [i for i in found["learned"]["item"] if i >= 0]
    crossings = count_crossings(np.array(found["order"]), np.array(items))
    assert found["learned"]["crossings"] == crossings == subject.untangled.crossings
    assert crossings < learned_tree(subject.outputs.class_vectors, TREE, "euc")["crossings"]
    missing = subject.outputs.class_vectors.copy()
    missing[2] = np.nan  # that class has a place in the class tree, which stands still, and no line
    fewer = replace(subject, outputs=replace(subject.outputs, class_vectors=missing))
    found = trees_of_run(fewer)
    assert found["order"] == TREE.leaf_order.tolist()
    assert found["learned"] == learned_tree(missing, TREE, "euc")


def test_the_class_tree_has_the_colours_of_its_groups():
    found = class_tree(PAIRS)
    colour = dict(zip(found["names"], found["colours"]))
    assert colour["a"] == colour["b"] == colour["A"] != colour["B"] == colour["d"]
    assert found["colours"][0] is None and [name for name, _ in found["groups"]] == ["A", "B"]
    assert [found["names"][found["leaves"][c]] for c in found["order"]] == list("abcd")


def test_figures_of_several_methods_keep_the_order_of_the_class_tree():
    for seed in (1, 2):
        subject = make_subject(TREE, samples=30, seed=seed)
        assert subject.against_taxonomy.left.order().tolist() == TREE.leaf_order.tolist()
        drawing = tanglegram(subject, fixed=True)
        assert "the class tree keeps its order" in drawing.caption
        shown = [text.get_text() for text in drawing.figure.axes[0].texts]
        assert shown.count("A2") == shown.count("B1") == 1  # inner nodes are named
