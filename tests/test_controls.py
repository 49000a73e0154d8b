"""What the tree is worth: shuffled, pruned and flat trees beside the run's own."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from made_outputs import exact_vectors, make_outputs
from recorded import run_main, write_whole_run
from trees import FLAT, TREE

import evaluate
from evaluation.controls import compare_trees
from evaluation.measure import EvaluationOptions
from evaluation.recorded import SplitOutputs
from hierarchies import Hierarchy, distances
from hierarchies.variants import pruned, shuffled
from metrics import suite
from metrics.outputs import CoarseImages
from reports.tables_of_run import controls_table


def test_a_shuffled_tree_has_the_same_shape_and_other_classes_in_its_places():
    other = shuffled(TREE, 3)
    assert sorted(other.class_paths) == sorted(TREE.class_paths)
    assert other.class_paths != TREE.class_paths
    assert sorted(zip(other.depth, other.n_leaves)) == sorted(zip(TREE.depth, TREE.n_leaves))
    assert shuffled(TREE, 3) == other and shuffled(TREE, 4) != other


def test_a_pruned_tree_hangs_classes_on_the_ancestor_at_its_depth():
    assert pruned(TREE, 1).class_paths == (
        ("C",),
        ("A", "A2/A2a"),
        ("B", "B1/x"),
        ("A", "A1"),
        ("A", "A2/A2b"),
        ("B", "B2/y"),
        ("B", "B2/z"),
    )
    assert pruned(TREE, 1).class_names == TREE.class_names
    assert pruned(TREE, 0).max_depth == 1
    assert pruned(TREE, TREE.max_depth) == TREE
    with pytest.raises(ValueError, match="depth counts edges"):
        pruned(TREE, -1)


def test_a_class_with_its_own_leaf_inside_its_branch_survives():
    tree = Hierarchy.from_paths([("a",), ("a", "b"), ("c",)], self_leaves=True)
    assert sorted(shuffled(tree, 0).class_paths) == sorted(tree.class_paths)
    assert pruned(tree, 0).class_paths == (("a/.",), ("a/b",), ("c",))


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """Class vectors at the distances of the tree, and as many mistakes towards relatives."""
    outputs = make_outputs(TREE, class_vectors=exact_vectors(TREE), labels=np.arange(7))
    near = -distances.path_length(TREE).astype(np.float32)
    np.fill_diagonal(near, -2.5)  # the nearest relative is answered where it is 2 edges away
    source = SplitOutputs(outputs.view(scores=near), None)
    return compare_trees(source, EvaluationOptions(shuffled=19)).set_index("metric")


def test_class_vectors_that_repeat_the_tree_are_worth_all_of_it(table):
    row = table.loc["W/corr"]
    assert row["value"] == pytest.approx(1, abs=1e-5)
    assert row["lower"] <= row["shuffled"] <= row["upper"] < 1
    assert row["p"] == pytest.approx(1 / 20)  # no shuffle of 19 is as good
    assert np.isnan(row["flat"])  # all classes equally far from each other: no correlation


def test_the_severity_on_the_flat_tree_is_two_edges(table):
    assert table.loc["severity", "value"] == 2
    assert table.loc["severity", "flat"] == 2
    assert table.loc["severity", "shuffled"] > 2
    assert table.loc["severity", "pruned@1"] == 2


def test_what_does_not_read_the_tree_is_left_out(table):
    assert "accuracy" not in table.index and "calibration_error" not in table.index
    assert np.isnan(table.loc["majority/depth", "p"])  # only describes: neither side is better


def test_images_labelled_at_superclasses_are_left_out_of_other_trees(table):
    outputs = make_outputs(TREE, class_vectors=exact_vectors(TREE), labels=np.arange(7))
    deepest = np.flatnonzero(TREE.class_of < 0)[-1:]  # no node of this number in the flat tree
    coarse = CoarseImages(deepest, np.zeros((1, 7), np.float32))
    source = SplitOutputs(replace(outputs, coarse=coarse), None)
    found = compare_trees(source, EvaluationOptions(shuffled=2)).set_index("metric")
    assert len(found) and not found.index.str.startswith("all_labels/").any()
    assert found.loc["W/corr", "value"] == table.loc["W/corr", "value"]


def test_a_shuffle_without_a_value_counts_as_one_that_is_as_good(monkeypatch):
    # the run's tree, three shuffles, flat and pruned: of .5 one shuffle is undefined, one better
    values = iter([0.5, np.nan, 0.4, 0.6, 0.5, 0.5])
    monkeypatch.setattr(
        suite,
        "evaluate",
        lambda *_, **__: pd.DataFrame({"metric": ["W/corr"], "value": [next(values)]}),
    )
    source = SplitOutputs(make_outputs(TREE), None)
    table = compare_trees(source, EvaluationOptions(shuffled=3))
    assert table["p"].tolist() == [(1 + 2) / (1 + 3)]


def test_a_tree_without_groups_is_worth_nothing():
    outputs = make_outputs(FLAT)
    found = compare_trees(SplitOutputs(outputs, None), EvaluationOptions(shuffled=2))
    assert found.empty
    with pytest.raises(ValueError, match="shuffles must be 1 or more"):
        compare_trees(SplitOutputs(outputs, None), EvaluationOptions(shuffled=0))


def test_the_controls_are_printed_and_kept_beside_the_run(tmp_path, capsys):
    run = write_whole_run(tmp_path)
    status, out, err = run_main(evaluate.main, capsys, run.folder, "--shuffled", "2")
    assert status == 0 and "what the tree is worth" in out
    kept = pd.read_csv(run.folder / "shuffled.csv")
    assert {"metric", "value", "shuffled", "lower", "upper", "p", "flat"} <= set(kept)
    shown = controls_table(kept, ["ahc", "accuracy"])
    assert [row[0] for row in shown.rows] == ["ahc ↓"]
