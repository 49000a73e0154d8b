"""Images labelled at superclasses: what data, training and measures make of them."""

import numpy as np
import pandas as pd
import pytest
import torch
from images import ODD_CLASSES, make_folder
from scored_outputs import random_scores
from test_wiring import CPU, SPLITS, Memory, column
from trees import TREE

import data
import train
from data.inner_labels import shared_counts
from data.splits import split_table
from evaluation.files import _class_tables
from metrics.coarse_images import all_labels
from metrics.outputs import Outputs, outputs_of
from metrics.suite import evaluate
from models.proxy_heads import ProxyDR
from options import command_line
from runs.folder import Run
from training import loop
from training.coarse_targets import CoarseTargets
from training.outputs import compute_outputs
from training.setup import assemble
from training.validation_stats import ValidationStats

A, A2, B = (7 + next(v for v in range(TREE.num_nodes) if "/".join(TREE.path(v)) == path)
            for path in ("A", "A/A2", "B"))  # fmt: skip


def load(root, **options):
    return data.load({"dataset": "folder", "data_dir": str(root), "resize": 8, **options})


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    counts = dict.fromkeys(ODD_CLASSES, 10) | {"Plants/Centric": 20}
    return make_folder(tmp_path_factory.mktemp("images"), counts)


def test_images_of_a_class_with_classes_inside_are_labelled_at_its_node(root):
    leaf, use, drop = (load(root, coarse_labels=how) for how in ("leaf", "use", "drop"))
    assert leaf.num_classes == 6 and use.num_classes == drop.num_classes == 5
    assert leaf.has_class.all() and int((~use.has_class).sum()) == 20
    table = split_table(use)
    coarse = table[table["label"] >= 5]
    assert (coarse["class"] == "Plants/Centric").all()
    assert coarse["file"].str.startswith("Plants/Centric/").all()
    for name in ("train", "test"):  # the strata, and so the other images, are the same
        part = getattr(leaf, name)
        assert getattr(use, name).tolist() == part.tolist()
        assert getattr(drop, name).tolist() == [i for i in part if use.has_class[i]]
    assert (~use.has_class[use.test]).sum() == 2
    assert set(split_table(drop)["split"][~drop.has_class]) == {"unused"}
    assert any("20 images of 1 superclass: count" in note for note in use.notes)
    assert any("20 images of 1 superclass: in no split" in note for note in drop.notes)
    assert leaf.digest == load(root).digest != use.digest


def test_a_collection_without_such_images_says_that_nothing_changes(tmp_path):
    plain = make_folder(tmp_path, {"A/a": 10, "A/b": 10})
    splits = load(plain, coarse_labels="use")
    assert any("no image is labelled at a superclass" in note for note in splits.notes)
    assert splits.digest == load(plain).digest


def test_a_share_of_the_training_labels_is_raised_by_one_or_two_levels(root):
    plain = load(root, coarse_labels="use")
    raised = load(root, coarse_labels="use", raise_labels=0.5)
    dropped = load(root, coarse_labels="drop", raise_labels=0.5)
    assert raised.train.tolist() == plain.train.tolist()
    untouched = np.setdiff1d(np.arange(len(plain.files)), plain.train)
    assert (raised.labels[untouched] == plain.labels[untouched]).all()
    changed = np.flatnonzero(raised.labels != plain.labels)
    tree = plain.hierarchy
    nodes, before = raised.labels[changed] - tree.num_classes, tree.leaves[plain.labels[changed]]
    steps = tree.depth[before] - tree.depth[nodes]
    assert set(steps) == {1, 2} and (nodes > 0).all()
    assert all(tree.path(b)[: tree.depth[n]] == tree.path(n) for n, b in zip(nodes, before))
    can = tree.depth[tree.leaves][plain.labels[plain.with_class(plain.train)]] > 1
    assert len(changed) == (can.sum() + 1) // 2
    per_class = np.bincount(plain.labels[changed], minlength=5)
    assert per_class.max() - per_class.min() <= 2  # the same share of every class
    assert set(dropped.train) == set(plain.with_class(plain.train)) - set(changed)
    again = load(root, coarse_labels="use", raise_labels=0.5, subset_seed=1)
    assert (again.labels != raised.labels).any()


def test_a_cut_tree_takes_labels_above_the_cut_as_they_are(root):
    splits = load(root, coarse_labels="use", raise_labels=0.5, label_depth=2)
    tree = splits.hierarchy
    paths = ["/".join(tree.path(v)) for v in range(tree.num_nodes)]
    assert {paths[label - tree.num_classes] for label in splits.labels[~splits.has_class]} <= {
        "Animals",
        "Plants",
    }
    own = [i for i, file in enumerate(splits.files) if file.startswith("Plants/Centric/ä b/")]
    names = {"/".join(tree.class_paths[c]) for c in splits.labels[own] if c < tree.num_classes}
    assert names == {"Plants/Centric"}


def test_a_coarse_image_is_shared_among_the_classes_below_by_their_counts():
    # A2a (class 1) has 3 images, A2b (4) 1, A1 (3) none; 4 images are of A2, 2 of A
    labels = np.array([1, 1, 1, 4, A2, A2, A2, A2, A, A])
    expected = [0, 3 + 3 + 1.5, 0, 0, 1 + 1 + 0.5, 0, 0]
    np.testing.assert_allclose(shared_counts(TREE, labels), expected)
    np.testing.assert_allclose(shared_counts(TREE, np.array([B, B, B]))[[2, 5, 6]], 1.0)
    assert shared_counts(TREE, np.array([0, 1])).dtype == np.int64


def test_a_label_that_is_no_node_is_refused():
    with pytest.raises(ValueError, match=r"labels must lie in \[0, 7\), got 7"):
        raised(np.full(len(SPLITS.labels), 7))


def raised(labels):
    fields = {name: getattr(SPLITS, name) for name in ("train", "val", "test", "pixels", "sizes")}
    return data.Splits("drawn", TREE, SPLITS.files, labels, **fields)


def coarse_splits():
    """Of the training images of A and B every second one is labelled there."""
    labels = SPLITS.labels.copy()
    for label, node in ((1, A2), (3, A), (2, B), (5, B)):
        labels[SPLITS.train[labels[SPLITS.train] == label][::2]] = node
    return raised(labels)


def fit_coarse(*flags, method="DR"):
    argv = ["--dataset", "folder", "--data_dir", "none", "--method", method, "--gray", "--backbone"]
    argv += ["conv4", "--dim", "8", "--batch_size", "8", "--lr", "0.01", "--epochs", "1", *flags]
    options, _, _ = command_line.parse([*argv, "--coarse_labels", "use"], "", train.DATASETS)
    splits, record = coarse_splits(), Memory()
    training = assemble(options, splits, CPU)
    loop.fit(training, splits, record)
    return training, splits, record


@pytest.mark.parametrize(
    "flags",
    [
        ("--loss", "ce", "--ema", "--dynamic"),
        ("--loss", "hierarchical", "--clspri"),
        ("--loss", "hxe", "--balance", "class"),
        ("--loss", "soft_labels", "--prior", "balanced"),
        ("--loss", "label_smoothing", "--prior", "posthoc", "--balance", "sqrt"),
    ],
)
def test_every_loss_trains_with_coarse_labels_and_prototypes_are_of_classes(flags):
    training, splits, record = fit_coarse(*flags)
    assert training.loss.coarse and np.isfinite(column(record, "train_loss")).all()
    assert np.isfinite(column(record, "angle_embedding_proxy")).all()
    outputs = compute_outputs(training, splits, ["test"])["test"]
    own = splits.labels[splits.with_class(splits.train)]
    assert outputs["prototype_counts"].tolist() == np.bincount(own, minlength=7).tolist()


def test_what_moves_without_a_gradient_sees_images_with_a_class_alone(monkeypatch):
    told = []

    def spy(self, embeddings, targets):
        told.append(targets)
        assert len(embeddings) == len(targets)

    monkeypatch.setattr(ProxyDR, "update_after_step", spy)
    _, splits, _ = fit_coarse("--ema")
    seen = torch.cat(told)
    assert len(seen) == len(splits.with_class(splits.train)) and (seen < 7).all()


def test_a_step_without_any_image_with_a_class_moves_nothing(monkeypatch):
    training, _, _ = fit_coarse("--ema", "--dynamic")
    before = training.model.head.state_dict()
    before = {name: tensor.clone() for name, tensor in before.items()}
    loop._step(training, torch.randn(3, 8), torch.tensor([A, B, A2]), 3)
    for name, tensor in training.model.head.state_dict().items():
        torch.testing.assert_close(tensor, before[name])


def test_training_accuracy_asks_whether_the_class_is_below_the_label():
    coarse = CoarseTargets(TREE)
    targets = torch.tensor([A, A, A2, A2, B, 1, 1])
    classes = torch.tensor([3, 2, 4, 3, 6, 1, 4])
    expected = [True, False, True, False, True, True, False]
    assert coarse.holds(targets, classes).tolist() == expected
    assert coarse.has_class(targets).tolist() == [False] * 5 + [True] * 2


def test_corr_gives_the_reason_why_it_takes_no_label_at_a_superclass(capsys):
    argv = ["--dataset", "demo", "--method", "DR", "--mds_W", "--CORR", "--coarse_labels", "use"]
    with pytest.raises(SystemExit):
        command_line.parse(argv, "", train.DATASETS)
    message = capsys.readouterr().err
    assert "a superclass has none" in message and "--coarse_labels drop" in message


def test_raising_labels_needs_to_know_what_becomes_of_them(capsys):
    argv = ["--dataset", "demo", "--method", "DR", "--raise_labels", "0.3"]
    with pytest.raises(SystemExit):
        command_line.parse(argv, "", train.DATASETS)
    assert "--coarse_labels use or drop" in capsys.readouterr().err
    folder = command_line.parse([*argv, "--coarse_labels", "drop"], "", train.DATASETS)[2]
    assert "coarse_labels=drop" in str(folder) and "raise_labels=0.3" in str(folder)


def made(labels, scores):
    embeddings = np.ones((len(labels), 2), np.float32)
    vectors = np.random.default_rng(0).standard_normal((7, 2))
    return outputs_of(
        TREE, np.asarray(labels), scores=np.asarray(scores, np.float32), embeddings=embeddings,
        class_vectors=vectors, prototypes=vectors,
    )  # fmt: skip


def test_measures_of_all_labels_by_hand():
    # predicted: A2a, A2a, x, A1 for images labelled A2a, A2, A, A2
    scores = np.eye(7)[[1, 1, 2, 3]] * 5
    outputs = made([1, A2, A, A2], scores)
    assert outputs.labels.tolist() == [1] and outputs.coarse.nodes.tolist() == [
        A2 - 7,
        A - 7,
        A2 - 7,
    ]
    rows = {name.removeprefix("all_labels/"): r for name, r in all_labels(outputs).items()}
    assert rows["accuracy"].value == 2 / 4
    # x to A is 1 + 3 edges over the root, A1 to A2 2 edges over A; heights of these 3 and 2
    assert rows["ahc"].value == (4 + 2) / 4 and rows["severity"].value == (4 + 2) / 2
    assert rows["severity_lca_height"].value == (3 + 2) / 2
    # the label A does not reach depth 2, and only the class is at depth 3
    assert (rows["level_accuracy@1"].value, rows["level_accuracy@1"].n) == (3 / 4, 4)
    assert (rows["level_accuracy@2"].value, rows["level_accuracy@2"].n) == (2 / 3, 3)
    assert (rows["level_accuracy@3"].value, rows["level_accuracy@3"].n) == (1.0, 1)
    assert rows["accuracy@5"].value == 1.0  # five of seven classes: the first has one below each


def test_images_with_a_class_are_measured_as_without_the_others():
    scores = random_scores(0, 40, 7)
    labels = np.arange(40) % 7
    labels[::4] = A
    table = evaluate(made(labels, scores), bootstrap=100).set_index("metric")
    kept = labels < 7
    plain = evaluate(made(labels[kept], scores[kept]), bootstrap=100).set_index("metric")
    pd.testing.assert_frame_equal(table.loc[plain.index], plain)
    extra = table.drop(plain.index)
    assert all(name.startswith("all_labels/") for name in extra.index) and len(extra) > 20
    assert extra.loc["all_labels/accuracy", "n"] == 40
    assert extra.loc["all_labels/accuracy", "lower"] < extra.loc["all_labels/accuracy", "upper"]
    classes = _class_tables(made(labels, scores), "", "", "")["per_class.csv"].set_index("path")
    assert classes.loc["A", "class"] == A and classes.loc["A", "n_true"] == 10
    assert classes.loc["A", "n_correct"] == np.isin(scores[~kept].argmax(1), [1, 3, 4]).sum()


def test_labels_that_are_neither_classes_nor_inner_nodes_are_refused():
    for wrong in (7, -1, 7 + TREE.num_nodes, 7 + int(TREE.leaves[0])):
        with pytest.raises(ValueError, match="labels must be integers"):
            made([0, A, wrong], np.eye(7)[:3])
    assert isinstance(made([0, 1], np.eye(7)[:2]), Outputs)


def test_a_row_of_a_table_without_its_lower_ranks_is_labelled_so_far(tmp_path):
    make_folder(tmp_path, {"x": 24})
    rows = ["file,class,genus"]
    genera = ("Calanus", "Oithona", "")
    rows += [f"x/{i:02}.png,Copepoda,{genera[i % 3]}" for i in range(24)]
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    splits = load(tmp_path, table=str(tmp_path / "labels.csv"), coarse_labels="use")
    assert ["/".join(path) for path in splits.hierarchy.class_paths] == [
        "Copepoda/Calanus",
        "Copepoda/Oithona",
    ]
    table = split_table(splits).set_index("file")["class"]
    assert table["x/02.png"] == "Copepoda" and table["x/00.png"] == "Copepoda/Calanus"


def test_validation_is_of_the_images_with_a_class():
    labels = SPLITS.labels.copy()
    labels[SPLITS.val[0]] = A
    splits = raised(labels)
    stats = ValidationStats(splits, torch.device("cpu"))
    scores = torch.zeros(len(splits.val), 7)
    own = labels[splits.val[1:]]
    scores[np.arange(1, len(splits.val)), own] = 3.0
    stats.add(scores, torch.from_numpy(labels[splits.val]))
    row = stats.row()
    assert row["val_accuracy"] == 1.0
    assert row["val_loss"] == pytest.approx(np.log(np.exp(3) + 6) - 3, rel=1e-5)


def test_files_go_with_the_outputs_of_images_with_a_class(tmp_path):
    run = Run(tmp_path)
    run.write_json("hierarchy.json", TREE.to_dict())
    arrays = {"labels": np.array([0, A, 3]), "files": np.array(["a", "b", "c"]),
              "scores": np.eye(7)[:3], "living": np.ones(7, bool)}  # fmt: skip
    run.write_arrays("test", arrays)
    kept = run.arrays_of_classes("test")
    assert kept["files"].tolist() == ["a", "c"] and kept["labels"].tolist() == [0, 3]
    assert kept["scores"].shape == (2, 7) and kept["living"].shape == (7,)


def test_a_share_of_the_calibration_images_may_have_no_class(root):
    splits = load(root, coarse_labels="use", use_val=True, calibration=0.5)
    held = np.concatenate([splits.val, splits.calibration])
    assert (~splits.has_class[held]).any() and splits.has_class[splits.val].any()


def test_intervals_over_all_labels_draw_whole_groups():
    scores = random_scores(0, 8, 7)
    labels, group = np.array([0, 1, A, A, 2, 3, A2, 5]), np.arange(8) // 4
    vectors = np.ones((7, 2))

    def measured(images, bootstrap=0):
        outputs = outputs_of(
            TREE, labels[images], scores=scores[images], embeddings=vectors[[0]][[0] * len(images)],
            class_vectors=vectors, prototypes=vectors, clusters=group[images],
        )  # fmt: skip
        return evaluate(outputs, bootstrap=bootstrap).set_index("metric").loc["all_labels/accuracy"]

    row, one = measured(np.arange(8), 100), measured(np.arange(4), 100)
    ends = sorted(measured(np.arange(4) + first)["value"] for first in (0, 4))
    np.testing.assert_allclose([row["lower"], row["upper"]], ends)  # one group drawn twice
    assert np.isnan(one[["lower", "upper"]].astype(float)).all()  # a single group says no spread
