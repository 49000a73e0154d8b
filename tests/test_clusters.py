"""Groups of images in what is measured: intervals that draw whole groups, measures of each, and
the runs of a cross-validation as one.
"""

import csv

import numpy as np
import pandas as pd
import pytest
from images import make_learnable_folder
from recorded import make_arrays, run_main, write_run
from trained import train_small

import evaluate
from evaluation import pooled
from metrics import flat
from metrics.suite import bootstrap_intervals
from runs.folder import Run, RunError


def test_intervals_of_groups_are_those_of_their_means():
    # 30 groups of 20 equal values: the interval is that of 30 values, not of 600
    values = np.random.default_rng(0).random(30)
    samples, clusters = np.repeat(values, 20)[:, None], np.repeat(np.arange(30), 20)
    low, high = bootstrap_intervals(samples, 2000, 1, clusters=clusters)
    alone = bootstrap_intervals(values[:, None], 2000, 1)
    np.testing.assert_allclose([low, high], alone, rtol=1e-12)
    ignored = bootstrap_intervals(samples, 2000, 1)
    assert high - low > 3 * (ignored[1] - ignored[0])


def test_groups_of_unequal_size_weigh_by_their_images_and_nan_is_left_out():
    samples = np.array([[1.0, 1.0], [1.0, np.nan], [0.0, 0.0]])
    clusters = np.array(["a", "a", "b"])
    low, high = bootstrap_intervals(samples, 400, 0, clusters=clusters)
    # drawn are aa, ab, ba or bb: means 1, 2/3, 0, and 1, 1/2, 0 where one value is missing
    np.testing.assert_allclose([low, high], [[0, 0], [1, 1]])
    rng = np.random.default_rng(0)
    means = set()
    for seed in rng.integers(0, 1000, 30):
        one = bootstrap_intervals(samples, 1, int(seed), clusters=clusters)[0]
        means.add(tuple(np.round(one, 3)))
    assert means == {(1.0, 1.0), (0.667, 0.5), (0.0, 0.0)}


def test_groups_of_one_image_are_drawn_as_images():
    samples = np.random.default_rng(3).random((40, 2))
    both = (
        bootstrap_intervals(samples, 300, 5, clusters=clusters) for clusters in (None, range(40))
    )
    first, second = both
    np.testing.assert_allclose(first, second)


def grouped_run(tmp_path, fold=None, rows=slice(None), name="DR-euc", groups=True):
    arrays = make_arrays(samples=60)
    arrays |= {"groups": np.array([f"haul {i // 6}" for i in range(60)])} if groups else {}
    of_images = ("labels", "files", "embeddings", "scores", "prototype_scores", "groups")
    arrays = {key: a[rows] if key in of_images else a for key, a in arrays.items()}
    run = write_run(tmp_path, name, 1, {"accuracy": 0.5}, fold=fold)
    run.write_arrays("test", arrays)
    return run


def test_evaluating_a_run_measures_its_groups(tmp_path, capsys):
    run = grouped_run(tmp_path)
    outputs = run.outputs("test")
    table = flat.per_group(outputs).set_index("group")
    right = outputs.predictions == outputs.labels
    assert list(table["n"]) == [6] * 10
    assert table.loc["haul 3", "accuracy"] == pytest.approx(right[18:24].mean())
    path = outputs.path[outputs.labels, outputs.predictions]
    assert table.loc["haul 9", "ahc"] == pytest.approx(path[54:].mean())
    run_main(evaluate.main, capsys, run.folder, "--bootstrap", "200")
    assert list(pd.read_csv(run.folder / "per_group.csv")["group"])[3] == "haul 3"
    found = pd.read_csv(run.folder / "evaluation.csv").set_index("metric")
    samples = right.astype(float)[:, None]
    wider = bootstrap_intervals(samples, 200, 0, clusters=outputs.clusters)
    assert found.loc["accuracy", "lower"] == pytest.approx(wider[0][0])
    assert found.loc["accuracy", "upper"] == pytest.approx(wider[1][0])
    assert len(flat.per_group(grouped_run(tmp_path, groups=False).outputs("test"))) == 0


def test_pooled_folds_are_the_whole_and_incomplete_ones_are_refused(tmp_path, capsys):
    runs = [
        grouped_run(tmp_path, f"{k}/3", slice(20 * (k - 1), 20 * k), f"DR-euc-fold={k}_3.abc123")
        for k in (3, 1, 2)
    ]
    (folds,) = pooled.find_folds(runs)
    found, whole = pooled.pool(folds), grouped_run(tmp_path / "whole").outputs("test")
    np.testing.assert_array_equal(found.labels, whole.labels)
    np.testing.assert_array_equal(found.clusters, whole.clusters)
    folders = [run.folder for run in runs]
    status, said, err = run_main(
        evaluate.main, capsys, *folders, "--pool_folds", "--bootstrap", "100"
    )
    assert status == 0 and "3 folds of" in said, err
    table = pd.read_csv(tmp_path / "demo" / "pooled-DR-euc-folds=3-seed1.csv").set_index("metric")
    right = whole.predictions == whole.labels
    assert table.loc["accuracy", "value"] == pytest.approx(right.mean())
    assert table.loc["accuracy", "lower"] < right.mean() < table.loc["accuracy", "upper"]
    assert not any(name.startswith(("W/", "P/", "prototype/")) for name in table.index)
    assert len(pd.read_csv(tmp_path / "demo" / "pooled-DR-euc-folds=3-seed1-per_group.csv")) == 10
    status, _, err = run_main(evaluate.main, capsys, *folders[:2], "--pool_folds")
    assert status == 2 and "of the 3 folds of" in err and " 2 are missing or unfinished" in err
    status, _, err = run_main(evaluate.main, capsys, *folders, "--pool_folds", "--tree")
    assert status == 2 and "--tree has no meaning for --pool_folds" in err
    with pytest.raises(RunError, match="none of these runs is one of a cross-validation"):
        pooled.find_folds([grouped_run(tmp_path)])
    twice = grouped_run(tmp_path, "2/3", slice(0, 20), "DR-euc-fold=2_3.abc123")
    with pytest.raises(RunError, match="'0.jpg' is tested by several"):
        pooled.pool(pooled.Folds((runs[1], twice, runs[0])))


def test_training_records_the_groups_of_its_images(tmp_path):
    images = make_learnable_folder(tmp_path / "images", ("A/a", "A/b"), 12)
    files = sorted(str(path.relative_to(images)) for path in images.rglob("*.png"))
    table = tmp_path / "table.csv"
    with open(table, "w", newline="") as file:
        csv.writer(file).writerows(
            [
                ["file", "label", "haul"],
                *([name, name[2], f"h{i % 12 // 2}"] for i, name in enumerate(files)),
            ]
        )
    flags = ["--table", str(table), "--group_column", "haul", "--fold", "1/2", "--gray"]
    status, run = train_small(images, tmp_path, *flags, "--method", "softmax", "--epochs", "0")
    assert status == 0
    arrays, split = run.arrays("test"), run.split.set_index("file")
    assert set(split["group"]) == {f"h{i}" for i in range(6)}
    assert (split.loc[arrays["files"], "group"] == arrays["groups"]).all()
    assert set(arrays["groups"]).isdisjoint(split["group"][split["split"] == "train"])
    assert Run(run.folder).outputs("test").clusters is not None
