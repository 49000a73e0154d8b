"""Training on superclasses, and a fine run amended by a coarse one."""

import numpy as np
import pandas as pd
import pytest
from recorded import make_arrays, run_main, write_run, write_whole_run
from trees import FLAT, TREE

import evaluate
import predict
from evaluation.coarse import amended_scores, combine
from evaluation.decision import choose_decision, cover_threshold
from evaluation.model import AmendedEmbedder
from evaluation.sources import Source
from hierarchies.variants import cut
from metrics.calibration import calibrate
from runs.folder import RunError

COARSE, ABOVE = cut(TREE, 1)  # C, A, B


def test_a_tree_is_cut_at_a_depth():
    assert COARSE.class_paths == (("C",), ("A",), ("B",))
    assert ABOVE.tolist() == [0, 1, 2, 1, 1, 2, 2]
    tree, above = cut(TREE, 2)  # classes that are not as deep stay
    assert tree.class_paths == (("C",), ("A", "A2"), ("B", "B1"), ("A", "A1"), ("B", "B2"))
    assert above.tolist() == [0, 1, 2, 3, 1, 4, 4]
    assert cut(TREE, 3)[0] == TREE
    with pytest.raises(ValueError, match="depth counts edges"):
        cut(TREE, 0)


def test_a_cut_to_one_superclass_is_refused():
    tree = TREE.subset([1, 3, 4])
    with pytest.raises(ValueError, match="one superclass, 'A'"):
        cut(tree, 1)


def test_the_product_of_posteriors_by_hand():
    fine = np.log([[0.2, 0.3, 0.5]])
    coarse = np.log([[0.75, 0.25]])
    scores = combine(fine, coarse, np.array([0, 0, 1]))
    # .15, .225 and .125 of .5
    np.testing.assert_allclose(np.exp(scores), [[0.3, 0.45, 0.25]])
    certain = combine(fine, np.array([[0.0, -np.inf]]), np.array([0, 0, 1]))
    np.testing.assert_allclose(np.exp(certain), [[0.4, 0.6, 0]])


def coarse_run(record, fine, **changes):
    """A run on the superclasses of TREE that knows the branch of every image of the fine run, its
    images in another order.
    """
    run = write_run(record, "DR-coarse", 1, {"accuracy": 1.0}, tree=COARSE)
    own = fine.arrays("test")
    arrays = make_arrays(COARSE, samples=len(own["labels"]))
    labels = ABOVE[own["labels"]]
    arrays |= {
        "labels": labels,
        "files": own["files"],
        "scores": np.log(np.where(np.arange(3) == labels[:, None], 0.9, 0.05)).astype(np.float32),
    }
    arrays = {
        name: values[::-1] if len(values) == len(labels) else values
        for name, values in arrays.items()
    }
    run.write_arrays("test", arrays | changes)
    return run


def test_images_are_matched_by_file_and_branches_weighed(tmp_path):
    fine = write_whole_run(tmp_path)
    scores = amended_scores(fine, coarse_run(tmp_path, fine))
    own = fine.arrays("test")
    share = np.where(ABOVE == ABOVE[own["labels"]][:, None], 0.9, 0.05)
    expected = np.exp(own["scores"].astype(np.float64)) * share
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.exp(scores), expected, rtol=1e-4, atol=1e-12)


def test_the_measures_of_both_stand_side_by_side(tmp_path, capsys):
    fine = write_whole_run(tmp_path)
    coarse = coarse_run(tmp_path, fine)
    status, out, err = run_main(evaluate.main, capsys, fine.folder, "--coarse", coarse.folder)
    assert status == 0 and not err and "reproduces metrics.csv" in out
    table = pd.read_csv(fine.folder / "evaluation.csv").set_index("metric")["value"]
    assert table["hie/level_accuracy@1"] > table["level_accuracy@1"]
    assert {"hie/severity", "hie/hops", "hie/wtd", "hie/haurc_climbing"} <= set(table.index)


def test_a_run_of_other_images_or_of_another_tree_is_refused(tmp_path, capsys):
    fine = write_whole_run(tmp_path)
    files = np.array([f"other{i}.jpg" for i in range(120)])
    with pytest.raises(RunError, match="120 of the 120 test images .* one split"):
        amended_scores(fine, coarse_run(tmp_path, fine, files=files))
    other = write_whole_run(tmp_path, "DR-other", tree=FLAT)
    with pytest.raises(ValueError, match="DR-other.*has no superclass.*--label_depth"):
        amended_scores(fine, other)
    status, _, err = run_main(evaluate.main, capsys, fine.folder, "--coarse", tmp_path / "nowhere")
    assert status == 2 and "--coarse" in err and "there is no such folder" in err
    with pytest.raises(RunError, match="and no superclasses: .*average both"):  # its square
        amended_scores(fine, fine)
    status, _, err = run_main(
        evaluate.main, capsys, fine.folder, "--coarse", fine.folder, "--data_dir", tmp_path
    )
    assert status == 2 and "leave out --data_dir" in err


def test_answers_for_new_images_are_calibrated_on_amended_scores(tmp_path):
    fine = write_whole_run(tmp_path, val=True, use_val=True)
    coarse = coarse_run(tmp_path, fine)
    own = fine.arrays("val")
    labels = ABOVE[own["labels"]]
    arrays = make_arrays(COARSE, samples=len(labels)) | {"labels": labels, "files": own["files"]}
    arrays["scores"] = np.log(np.where(np.arange(3) == labels[:, None], 0.9, 0.05))
    coarse.write_arrays("val", arrays)
    decision = choose_decision(Source(fine, coarse=coarse), "threshold", 0.9)
    scores = amended_scores(fine, coarse, "val")
    assert decision.temperature == calibrate(scores, own["labels"]).value
    assert decision.temperature != choose_decision(Source(fine), "threshold", 0.9).temperature
    least, _ = cover_threshold(Source(fine, coarse=coarse), 0.9)
    assert least != cover_threshold(Source(fine), 0.9)[0]


def test_new_images_get_the_embeddings_of_the_fine_and_the_scores_of_both():
    class Stub:
        def __init__(self, scores):
            self.model, self.scores = "model", np.asarray(scores)

        def __call__(self, pixels, sizes):
            return pixels + len(self.scores[0]), self.scores

    fine, coarse = Stub(np.log([[0.2, 0.3, 0.5]])), Stub(np.log([[0.75, 0.25]]))
    both = AmendedEmbedder(fine, coarse, np.array([0, 0, 1]))
    embeddings, scores = both(np.zeros((1, 2)), None)
    assert embeddings.tolist() == [[3, 3]] and both.model == "model"
    np.testing.assert_allclose(np.exp(scores), [[0.3, 0.45, 0.25]], rtol=1e-6)


def test_a_coarse_run_that_takes_its_images_otherwise_is_refused(tmp_path, capsys):
    fine = write_whole_run(tmp_path, val=True, use_val=True, resize=32)
    coarse = write_run(tmp_path, "DR-coarse", 1, {"accuracy": 1.0}, tree=COARSE, resize=64)
    argv = fine.folder, tmp_path, "--coarse", coarse.folder
    status, _, err = run_main(predict.main, capsys, *argv)
    assert status == 2 and "takes its images otherwise" in err
    status, _, err = run_main(predict.main, capsys, *argv, "--scores", "prototypes")
    assert status == 2 and "leave --scores W" in err
