"""Class vectors of any classifier beside a tree: evaluate.py --classifier."""

import numpy as np
import pandas as pd
import pytest
import torch
from made_outputs import exact_vectors
from recorded import run_main
from safetensors.torch import save_file
from trees import PATHS, TREE

import evaluate
from evaluation.classifier import inspect, read_class_vectors, structure_measures
from hierarchies import Hierarchy
from hierarchies.tree import format_path

VECTORS = exact_vectors(TREE)
NAMES = [format_path(path) for path in PATHS]


def measures(vectors):
    return structure_measures(inspect(vectors, TREE)).set_index("metric")["value"]


def test_vectors_that_repeat_the_tree_correlate_with_it_and_random_ones_do_not():
    found = measures(VECTORS)
    assert found["W/corr"] == pytest.approx(1, abs=1e-5)
    assert found["W/upgma_recovered"] > 0.5
    assert not any(name.startswith("P/") for name in found.index)
    # directions at random know nothing of the tree
    random = [np.random.default_rng(seed).standard_normal((7, 7)) for seed in range(5)]
    assert np.mean([measures(vectors)["W/corr"] for vectors in random]) < 0.5


@pytest.fixture
def call(tmp_path, capsys):
    """Runs evaluate.py --classifier with the flags given."""
    tree = tmp_path / "tree.txt"
    tree.write_text("\n".join(NAMES), "utf-8")

    def run(classifier, *flags):
        argv = ["--classifier", classifier, "--hierarchy", tree, "--record", tmp_path / "record"]
        return run_main(evaluate.main, capsys, *argv, *flags)

    return run


def test_measures_trees_and_a_tanglegram_are_written(tmp_path, call):
    np.save(tmp_path / "net.npy", VECTORS)
    status, out, err = call(tmp_path / "net.npy")
    assert status == 0 and not err and "7 class vectors of 7 dimensions" in out
    folder = tmp_path / "record" / "classifiers" / "net"
    assert {"class_vectors.csv", "W_upgma.nwk", "taxonomy.nwk", "trees.txt", "tanglegram.png"} <= {
        path.name for path in folder.iterdir()
    }
    table = pd.read_csv(folder / "class_vectors.csv").set_index("metric")["value"]
    assert table["W/corr"] == pytest.approx(1, abs=1e-5)
    status, out, _ = call(tmp_path / "net.npy", "--metrics", "W/corr", "--tree")
    assert status == 0 and "corr_p" not in out and "W_upgma" in out


def test_results_of_another_classifier_of_one_name_are_not_replaced_without_a_word(tmp_path, call):
    for folder, vectors in (("a", VECTORS), ("b", VECTORS[::-1])):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "net.npy", vectors)
    said = []
    for folder, *flags in (("a",), ("a",), ("b",), ("b", "--distance", "arccos")):
        status, out, _ = call(tmp_path / folder / "net.npy", *flags)
        said.append("which this replaces" in out)
        assert status == 0
    assert said == [False, False, True, True]


def test_vectors_are_found_in_every_kind_of_file(tmp_path):
    order = np.array([6, 0, 3, 1, 2, 5, 4])
    np.savez(tmp_path / "net.npz", weight=VECTORS[order], classes=np.array(NAMES)[order])
    table = pd.DataFrame(VECTORS[order])
    table.insert(0, "class", np.array([path[-1] for path in PATHS])[order])
    table.to_csv(tmp_path / "net.csv", index=False)
    state = {
        "stem.weight": torch.zeros(7, 3, 3, 3),
        "fc.weight": torch.from_numpy(VECTORS),
        "fc.bias": torch.zeros(7),
    }
    torch.save(state, tmp_path / "net.pt")
    save_file(state, tmp_path / "net.safetensors")
    for file in ("net.npz", "net.csv", "net.pt", "net.safetensors"):
        found = read_class_vectors(str(tmp_path / file), TREE, "tree")
        np.testing.assert_allclose(found.vectors, VECTORS)
    for key in ("fc.weight", "fc.nothing"):
        if key == "fc.weight":
            read_class_vectors(str(tmp_path / "net.pt"), TREE, "tree", key)
        else:
            with pytest.raises(ValueError, match="--classifier_key fc.nothing"):
                read_class_vectors(str(tmp_path / "net.pt"), TREE, "tree", key)


def test_a_class_called_na_is_a_class_in_tables_of_vectors_as_in_those_of_scores(tmp_path):
    tree = Hierarchy.from_paths([("a", "NA"), ("a", "b"), ("c",)])
    text = "\ufeffclass,x,y\nb,1,2\nNA,3,4\nc,5,6\n"
    (tmp_path / "net.csv").write_text(text, "utf-8")
    found = read_class_vectors(str(tmp_path / "net.csv"), tree, "tree")
    assert found.vectors.tolist() == [[3, 4], [1, 2], [5, 6]]
    (tmp_path / "bad.csv").write_text("class,x\nb,1\nNA,many\nc,5\n", "utf-8")
    with pytest.raises(ValueError, match="all others must be numbers"):
        read_class_vectors(str(tmp_path / "bad.csv"), tree, "tree")


def test_what_is_not_a_classifier_is_named(tmp_path, call):
    np.save(tmp_path / "few.npy", VECTORS[:5])
    torch.save({"fc.weight": torch.zeros(10, 4)}, tmp_path / "other.pt")
    np.save(tmp_path / "nan.npy", np.full((7, 3), np.nan))
    for name, words in (
        ("few.npy", "few.npy has 5 rows of numbers, but there are 7 classes in"),
        ("other.pt", "no tensor has a row for each of the 7 classes"),
        ("nan.npy", "NaN or infinity"),
        ("missing.npy", "there is no such file"),
    ):
        status, _, err = call(tmp_path / name)
        assert status == 2 and words in err
    status, _, err = call(tmp_path / "few.npy", "--bootstrap", "100")
    assert status == 2 and "--bootstrap has no meaning" in err
