"""Classes that training never sees: --hold_out, their split, and what is answered for them."""

import dataclasses

import numpy as np
import pytest
from recorded import make_arrays, write_whole_run
from trees import PATHS, TREE

from data.held_out import hold_out
from data.splits import Splits, split_table
from evaluation.rules_table import compare_rules


def make_splits():
    """Ten images of each class of TREE: six to train, two to validate, two to test."""
    labels = np.repeat(np.arange(7), 10)
    order = np.arange(70)
    return Splits(
        dataset="made",
        hierarchy=TREE,
        files=[f"{i}.png" for i in order],
        labels=labels,
        sizes=np.full((70, 2), 8.0),
        pixels=np.zeros((70, 8, 8, 1), np.uint8),
        train=order[order % 10 < 6],
        val=order[(order % 10 == 6) | (order % 10 == 7)],
        test=order[order % 10 > 7],
    )


def truths(splits):
    """Names of the nodes at which the images held out are labelled."""
    nodes = splits.labels[splits.held_out] - splits.num_classes
    return [splits.hierarchy.names[v] for v in nodes[::10]]


def test_images_of_classes_held_out_are_labelled_at_what_is_left_above():
    splits = make_splits()
    found = hold_out(splits, ["A2a", "B/B1/x", "C"])
    assert found.hierarchy.class_paths == tuple(PATHS[c] for c in (3, 4, 5, 6))
    assert len(found.held_out) == 30
    assert truths(found) == ["root", "A2", "B"]  # C, A2a, x
    for name in ("train", "val", "test"):
        part = getattr(found, name)
        assert len(part) and not set(part) & set(found.held_out)
        old = [PATHS[c] for c in splits.labels[part]]
        assert [found.hierarchy.class_paths[c] for c in found.labels[part]] == old
    table = split_table(found)
    assert (table["split"] == "held_out").sum() == 30
    assert any("3 classes are held out, with 30 images" in note for note in found.notes)
    assert found.digest != splits.digest


def test_a_superclass_holds_out_all_below_it_and_unused_images_stay_unused():
    splits = dataclasses.replace(make_splits(), train=make_splits().train[6:])
    found = hold_out(splits, ["B2", "C"])
    assert truths(found)[-1] == "B"
    assert len(found.held_out) == 24  # six of class C were in no split
    assert found.membership[0] == 3


def test_images_labelled_at_a_superclass_go_with_the_last_class_below_it():
    splits, node = make_splits(), {TREE.path(v): v for v in range(TREE.num_nodes)}
    labels = splits.labels.copy()
    labels[[0, 20]] = 7 + node["A",], 7 + node["B", "B1"]  # all below B1 is x
    splits = dataclasses.replace(splits, labels=labels)
    found = hold_out(splits, ["x", "A2"])
    assert {0, 20} & set(found.train) == {0} and {0, 20} & set(found.held_out) == {20}
    assert found.hierarchy.path(found.labels[20] - found.num_classes) == ("B",)
    assert found.hierarchy.path(found.labels[0] - found.num_classes) == ("A",)
    whole = hold_out(splits, ["A"])  # the root is above: no label to train on
    assert 0 in whole.held_out and whole.labels[0] == whole.num_classes


@pytest.mark.parametrize(
    "names, words",
    [
        (["Unicorn"], "--hold_out Unicorn: the name is not in the tree"),
        (["A", "B"], "leaves 1 classes"),
    ],
)
def test_what_cannot_be_held_out_is_named(names, words):
    with pytest.raises(ValueError, match=words):
        hold_out(make_splits(), names)


def test_rules_are_judged_on_what_was_never_seen(tmp_path):
    run = write_whole_run(tmp_path, val=True, use_val=True)
    arrays = make_arrays(TREE, samples=4)
    classes = TREE.num_classes
    nodes = {name: v for v, name in enumerate(TREE.names)}
    # right are A2, A2, B and the root; answered are A2a, A1, y and C
    arrays["labels"] = classes + np.array([nodes[n] for n in ("A2", "A2", "B", "root")])
    arrays["scores"] = 30 * np.eye(7, dtype=np.float32)[[1, 3, 5, 0]]
    run.write_arrays("held_out", arrays)
    row = compare_rules(run, ["argmax"], 0.9)[0].iloc[0]
    assert row["unseen_accuracy"] == 0
    # 1 and 2 edges from A2, 2 from B, 1 from the root: means over A2, B and root
    assert row["unseen_distance"] == pytest.approx((1.5 + 2 + 1) / 3)
    outputs = run.outputs("test")
    hits = outputs.scores.argmax(axis=1) == outputs.labels
    each = [hits[outputs.labels == c].mean() for c in np.unique(outputs.labels)]
    assert row["known_accuracy"] == pytest.approx(np.mean(each))
