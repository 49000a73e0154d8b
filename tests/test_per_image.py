"""The table of what is said of each image, and the worst of it."""

import numpy as np
import pandas as pd
import pytest
from recorded import run_main, write_whole_run
from trees import TREE

import evaluate
from hierarchies import Hierarchy
from metrics.outputs import Outputs, outputs_of
from metrics.per_image import heights_of_mistakes, per_image, worst_images
from runs.folder import Run

PROBABILITIES = np.array(
    [
        [0.50, 0.10, 0.05, 0.10, 0.20, 0.05, 0.00],  # C, rightly
        [0.02, 0.30, 0.03, 0.05, 0.60, 0.00, 0.00],  # A2b for A2a: A2 holds both
        [0.00, 0.10, 0.10, 0.70, 0.10, 0.00, 0.00],  # A1 for x: nothing holds both
        [0.10, 0.10, 0.10, 0.10, 0.10, 0.20, 0.30],  # z for y
    ]
)
LABELS = np.array([0, 1, 2, 5])


def outputs(labels=LABELS, probabilities=PROBABILITIES, tree=TREE, **fields):
    with np.errstate(divide="ignore"):
        scores = np.log(probabilities)
    vectors = np.eye(tree.num_classes, 3)
    return outputs_of(
        tree,
        labels,
        scores=scores,
        embeddings=np.ones((len(labels), 3)),
        class_vectors=vectors,
        prototypes=None,
        **fields,
    )


def test_each_image_has_a_row_worked_out_by_hand():
    table = per_image(outputs(files=np.array(list("abcd")), clusters=np.array([7, 7, 8, 8])))
    assert table["file"].tolist() == list("abcd") and table["group"].tolist() == [7, 7, 8, 8]
    assert table["true"].tolist() == ["C", "A/A2/A2a", "B/B1/x", "B/B2/y"]
    assert table["answer"].tolist() == ["C", "A/A2/A2b", "A/A1", "B/B2/z"]
    assert table["correct"].tolist() == [True, False, False, False]
    assert table["probability"].tolist() == [0.5, 0.6, 0.7, 0.3]
    assert table["probability_of_true"].tolist() == [0.5, 0.3, 0.1, 0.2]
    assert table["rank_of_true"].tolist() == [1, 2, 4, 2]  # of .1 thrice the last
    assert table["common_ancestor"].tolist() == ["C", "A/A2", "", "B/B2"]
    assert table["height"].tolist() == [0, 1, 3, 1]
    assert table["answer_2"].tolist() == ["A/A2/A2b", "A/A2/A2a", "A/A2/A2a", "B/B2/y"]
    assert table["probability_2"].tolist() == [0.2, 0.3, 0.1, 0.2]
    assert table["answer_3"].tolist()[1] == "A/A1" and table["probability_3"][3] == 0.1


def test_the_worst_are_the_farthest_and_then_the_surest():
    assert "file" not in per_image(outputs())
    assert worst_images(outputs()).tolist() == [2, 1, 3]
    assert not len(worst_images(outputs(LABELS[:1], PROBABILITIES[:1])))


def test_mistakes_have_the_heights_worked_out_by_hand():
    # wrong are A2b for A2a at height 1, z for y at 1, A1 for x at 3
    table = heights_of_mistakes(outputs())
    assert table["height"].tolist() == [1, 2, 3] and table["count"].tolist() == [2, 0, 1]
    np.testing.assert_allclose(table["share"], [2 / 3, 0, 1 / 3])
    # of six others, A2a meets one at 1 (A2b), one at 2 (A1), four at 3; y one at 1 (z), one at 2
    # (x) and four at 3; x none at 1, two at 2 (y and z), four at 3
    np.testing.assert_allclose(table["random"], [2 / 18, 4 / 18, 12 / 18])
    right = heights_of_mistakes(outputs(LABELS[:1], PROBABILITIES[:1]))
    assert right["count"].sum() == 0 and right["share"].isna().all()


def test_few_classes_no_images_and_images_at_superclasses():
    two = Hierarchy.from_paths([("a",), ("b",)])
    table = per_image(outputs(np.array([1]), np.array([[0.4, 0.6]]), two))
    assert table["answer_2"].tolist() == ["a"] and "answer_3" not in table
    none = per_image(outputs(LABELS[:0], PROBABILITIES[:0]))
    assert len(none) == 0 and "rank_of_true" in none
    coarse = np.where(LABELS == 1, TREE.num_classes + 2, LABELS)  # an inner node's label
    assert per_image(outputs(coarse, files=np.array(list("abcd"))))["file"].tolist() == list("acd")


def test_a_run_has_the_table_and_evaluate_prints_the_worst(tmp_path, capsys):
    run = write_whole_run(tmp_path)
    arrays = run.arrays("test")
    files = np.array([f"im<b>{i}\x1b.png" for i in range(len(arrays["labels"]))])
    run.write_arrays("test", {**arrays, "files": files})
    status, out, _ = run_main(evaluate.main, capsys, run.folder, "--worst", "2")
    table = pd.read_csv(run.folder / "predictions_test.csv")
    assert status == 0 and len(table) == len(files)
    own = Run(run.folder).outputs()
    ordered = per_image(own).iloc[worst_images(own)[:2]]
    assert "\x1b" not in out
    for place, (index, row) in enumerate(ordered.iterrows(), 1):
        assert f"{place}. im<b>{index}\\x1b.png\n" in out
        assert f"answered  {row['answer']}" in out
        assert f"both in   {row['common_ancestor'] or 'root'}, {row['height']} edges up" in out
    assert "" in set(ordered["common_ancestor"]) and "  3. " not in out
    assert (table["answer"] == per_image(Run(run.folder).outputs())["answer"]).all()


def test_files_must_be_as_many_as_images():
    with pytest.raises(ValueError, match="files must have shape"):
        Outputs(
            TREE,
            LABELS,
            np.zeros((4, 7)),
            np.zeros((4, 0)),
            np.zeros((7, 0)),
            None,
            files=np.array(["a"]),
        )
