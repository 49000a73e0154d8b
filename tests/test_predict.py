"""predict.py through its command line, with models trained for a moment on a few small images."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from images import ODD_CLASSES, draw, make_learnable_folder
from PIL import Image
from recorded import run_main, write_run
from scipy.stats import binomtest
from scored_outputs import NODE_A2, NODE_A2A, log
from trees import TREE

import models
import predict
import train
from evaluation import remarks
from evaluation.answers import Answerer, true_classes
from evaluation.coarse import amended_scores
from evaluation.decision import Decision, choose_decision
from evaluation.model import read_prototypes
from evaluation.sources import Source
from hierarchies import Hierarchy
from hierarchies.tree import format_path
from metrics import fit_temperature
from metrics.calibration import Temperature, calibrate
from metrics.conformal import Promise, promise
from metrics.decisions import decide
from metrics.posterior import softmax
from options import command_line
from runs.folder import Run
from training import start

CLASSES = ODD_CLASSES[:5]
RUNS = {
    "plain": "--method DR --gray --use_val",
    "sizes": "--method normface --distance arccos --use_val --size_inform --clspri --dynamic"
    " --last",
    "placed": "--method DR --gray --use_val --mds_W --dynamic --clspri",
    "averages": "--method DR --gray --use_val --ema --collapse",
    "softmax": "--method softmax --gray --use_val --clspri --no_normalize",
    "unvalidated": "--method DR --gray",
    "coarse": "--method softmax --gray --use_val --label_depth 1",
}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Five classes of sixteen images each."""
    return make_learnable_folder(tmp_path_factory.mktemp("images"), CLASSES, 16, step=40)


def train_run(record, images, options, dataset="folder", epochs=1) -> Run:
    argv = ["--dataset", dataset, "--data_dir", str(images), "--record", str(record)]
    argv += ["--GPU", "cpu", "--epochs", str(epochs)]
    if dataset == "folder":
        argv += [
            "--resize",
            "16",
            "--backbone",
            "conv4",
            "--dim",
            "8",
            "--batch_size",
            "8",
            "--lr",
            "0.003",
        ]
    argv += options.split()
    assert start.main("", train.DATASETS, argv) == 0
    return Run(command_line.parse(argv, "", train.DATASETS)[2])


@pytest.fixture(scope="module")
def runs(images, tmp_path_factory):
    """The runs of RUNS, whose training images are gone: only copies of the test images are left."""
    record = tmp_path_factory.mktemp("record")
    trained = {name: train_run(record, images, options) for name, options in RUNS.items()}
    kept = tmp_path_factory.mktemp("kept")
    for file in trained["plain"].arrays("test")["files"]:
        (kept / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(images / file, kept / file)
    shutil.rmtree(images)
    return trained, kept


@pytest.fixture
def call(capsys, tmp_path):
    """Calls predict.py on the CPU; returns the exit status, what it printed, its complaints, and
    the table if any.
    """

    def run(*argv):
        out = tmp_path / "predictions.csv"
        result = run_main(predict.main, capsys, *argv, "--out", out, "--GPU", "cpu")
        return *result, pd.read_csv(
            out, keep_default_na=False, na_values=[""]
        ) if out.exists() else None

    return run


@pytest.mark.parametrize(
    "method", [name for name in models.HEADS if name not in ("normface", "DR")]
)
def test_heads_that_compare_no_directions_have_no_prototypes_to_score_by(tmp_path, method):
    run = write_run(tmp_path, method, 1, method=method)
    with pytest.raises(ValueError, match=f"--method {method} has none; use --scores W"):
        read_prototypes(run)


NEAR = 30.0  # the score of ProxyDR at scale 10 and a chord of 0.05, whose square is 0.0025


@pytest.mark.parametrize("name", [name for name in RUNS if name != "unvalidated"])
@pytest.mark.parametrize("scores", ["W", "prototypes"])
def test_predictions_from_files_alone_are_those_recorded(
    runs, call, tmp_path, monkeypatch, name, scores
):
    run, kept = runs[0][name], runs[1]
    if run.options["method"] == "softmax" and scores == "prototypes":
        status, _, err, _ = call(run.folder, kept, "--scores", scores)
        assert status == 2 and "--method softmax has none" in err
        return

    def refuse(*args, **options):
        pytest.fail("class vectors need not be placed again")

    monkeypatch.setattr(models.build, "mds_proxies", refuse)
    archive = tmp_path / "embeddings.npz"
    flags = "--rule", "majority", "--scores", scores, "--batch_size", "3", "--topk", "2"
    status, _, _, table = call(run.folder, kept, "--embeddings", archive, *flags)
    assert status == 0 and run.result_checkpoint == ("last.pt" if name == "sizes" else "best.pt")
    arrays, content = run.arrays("test"), np.load(archive)
    order = np.argsort(arrays["files"])  # of the paths, as folders are walked
    assert [os.path.relpath(file, kept) for file in content["files"]] == arrays["files"][
        order
    ].tolist()
    expected = arrays["scores" if scores == "W" else "prototype_scores"][order]
    np.testing.assert_allclose(
        content["embeddings"], arrays["embeddings"][order], rtol=1e-4, atol=1e-5
    )
    # so near a proxy that the score is above NEAR, the log of the distance is rounding
    determined = expected < NEAR
    assert (content["scores"][~determined] > NEAR - 1).all() and determined.mean() > 0.5
    np.testing.assert_allclose(
        content["scores"][determined], expected[determined], rtol=2e-3, atol=1e-3
    )
    val = run.outputs("val")
    temperature = fit_temperature(val.scores if scores == "W" else val.prototype_scores, val.labels)
    nodes = decide(run.hierarchy, content["scores"] / temperature, "majority")
    paths = [
        "root",
        *(format_path(run.hierarchy.path(v)) for v in range(1, run.hierarchy.num_nodes)),
    ]
    assert table["decision"].tolist() == [paths[v] for v in nodes]
    assert table["class"].tolist() == [
        format_path(run.hierarchy.class_paths[c]) for c in content["scores"].argmax(1)
    ]
    assert "class_2" in table and "class_3" not in table and table["error"].isna().all()


def test_the_batch_size_changes_nothing(runs, call):
    (run, kept), tables = (runs[0]["sizes"], runs[1]), []
    for size in ("1", "7", "64"):
        tables.append(
            call(run.folder, kept, "--rule", "darts", "--darts_lambda", "1", "--batch_size", size)[
                3
            ]
        )
    pd.testing.assert_frame_equal(tables[0], tables[2], rtol=1e-4)
    pd.testing.assert_frame_equal(tables[1], tables[2], rtol=1e-4)


def test_a_model_trained_with_sizes_looks_at_the_size_of_the_file(runs, call, tmp_path):
    pixels = np.full((32, 32), 90, np.uint8)
    for side in (32, 320):  # the same image once stretched
        Image.fromarray(pixels).resize((side, side)).save(tmp_path / f"{side}.png")
    for name, equal in (("sizes", False), ("plain", True)):
        table = call(runs[0][name].folder, tmp_path, "--rule", "argmax")[3]
        assert (
            table["probability"][0] == pytest.approx(table["probability"][1], abs=1e-6)
        ) == equal


def test_neither_downloads_nor_files_of_weights_are_needed(runs, call, monkeypatch, tmp_path):
    shutil.copytree(runs[0]["plain"].folder, tmp_path / "copy")
    config = json.loads((tmp_path / "copy" / "config.json").read_text())
    config.pop("checksums")
    config["options"] |= {"rand_backbone": False, "weights": "/nowhere/weights.pt"}
    (tmp_path / "copy" / "config.json").write_text(json.dumps(config))
    assert call(tmp_path / "copy", runs[1], "--rule", "majority")[0] == 0


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "CMYK", "P", "1", "I;16"])
@pytest.mark.parametrize("name", ["plain", "sizes"])  # grey, colour
def test_images_of_any_kind_and_size_are_converted_as_in_training(runs, call, tmp_path, mode, name):
    if mode == "I;16":
        Image.fromarray(np.full((50, 9), 40000, np.uint16)).save(tmp_path / "image.tif")
    else:
        draw(tmp_path / "image.tif", (9, 50), mode)
    status, _, _, table = call(runs[0][name].folder, tmp_path / "image.tif", "--rule", "majority")
    assert (
        status == 0
        and len(table) == 1
        and 0 < table["probability"][0] <= 1
        and table["error"].isna()[0]
    )


def test_unreadable_images_become_rows_with_an_error(runs, call, tmp_path):
    folder = tmp_path / "mixed"
    draw(folder / "a.png"), draw(folder / "c, d.png"), draw(folder / "e.png")
    (folder / "b.png").write_text("no image")
    (folder / "e.png").write_bytes((folder / "e.png").read_bytes()[:60])
    Image.fromarray(np.zeros((4, 4), np.float32)).save(folder / "f.tif")
    (folder / "list.txt").write_text("skipped")
    archive = tmp_path / "e.npz"
    for size in ("1", "4", "64"):
        argv = (
            runs[0]["plain"].folder,
            folder,
            "--rule",
            "majority",
            "--embeddings",
            archive,
            "--batch_size",
            size,
        )
        status, out, _, table = call(*argv)
        assert (
            status == 0
            and "; 1 other file is passed over" in out
            and "unreadable                  3 (see column error); " in out
            and f"{folder / 'b.png'}: this is not an image" in out
        )
        assert [Path(file).name for file in table["file"]] == [
            "a.png",
            "b.png",
            "c, d.png",
            "e.png",
            "f.tif",
        ]
        assert table["error"].isna().tolist() == [True, False, True, False, False]
        assert (
            table["error"][1] == "this is not an image that Pillow can read"
            and "8 or 16 bits" in table["error"][4]
        )
        assert table.loc[[1, 3, 4]].drop(columns=["file", "error"]).isna().all(axis=None)
        assert [Path(file).name for file in np.load(archive)["files"]] == ["a.png", "c, d.png"]
        text = pd.read_csv(tmp_path / "predictions.csv", dtype=str)
        assert set(text["decision_depth"].dropna()) <= set(
            "0123"
        )  # whole numbers, also beside empty rows
    status, out, _, table = call(
        runs[0]["plain"].folder, folder / "b.png", "--labels", "--rule", "argmax"
    )
    assert status == 2  # its folder is no class
    status, out, _, table = call(
        runs[0]["plain"].folder, folder / "b.png", "--rule", "argmax", "--embeddings", archive
    )
    assert status == 1 and len(table) == 1 and len(np.load(archive)["embeddings"]) == 0


def test_a_name_that_is_no_unicode_is_written_as_it_is(runs, capsys, tmp_path):
    draw(tmp_path / "images" / "good.png")
    names = os.fsdecode(b"caf\xe9, 1.png"), os.fsdecode(b"damaged\xff.png")
    try:
        shutil.copy(tmp_path / "images" / "good.png", tmp_path / "images" / names[0])
        (tmp_path / "images" / names[1]).write_text("no image")
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    out, archive = tmp_path / "out.csv", tmp_path / "e.npz"
    argv = runs[0]["plain"].folder, tmp_path / "images", "--rule", "majority", "--GPU", "cpu"
    status, _, err = run_main(predict.main, capsys, *argv, "--out", out, "--embeddings", archive)
    assert status == 0, err
    table = pd.read_csv(out, encoding="latin-1")  # which takes every byte
    written = [os.path.basename(file.encode("latin-1")) for file in table["file"]]
    assert written == [os.fsencode(names[0]), os.fsencode(names[1]), b"good.png"]
    assert table["error"].isna().tolist() == [True, False, True]
    assert [os.path.basename(file) for file in np.load(archive)["files"]] == [names[0], "good.png"]


def test_a_carriage_return_in_a_name_breaks_no_row_and_what_is_passed_over_is_named(
    runs, call, tmp_path
):
    for name in ("a\rb.png", "c.jfif.png", ".d.png"):
        draw(tmp_path / "images" / name)
    (tmp_path / "images" / "phone.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    folder = runs[0]["plain"].folder
    status, said, _, table = call(folder, tmp_path / "images", "--rule", "argmax")
    assert status == 0
    names = [os.path.basename(file) for file in table["file"]]
    assert names == [r"a\rb.png", "c.jfif.png", "phone.HEIC"]
    assert table["error"].isna().tolist() == [True, True, False]
    assert table["probability"].dtype == float and "but HEIC" in table["error"][2]
    assert "note: 1 file (1 .heic), images in formats that are not read: convert" in said
    assert "note: 1 hidden image" in said and ".d.png" in said


def test_no_file_of_a_run_and_no_table_that_is_read_is_replaced(runs, capsys, tmp_path):
    draw(tmp_path / "images" / "photo.png")
    table = tmp_path / "objects.csv"
    table.write_text("file\nphoto.png\n", "utf-8")
    folder = runs[0]["plain"].folder
    argv = folder, tmp_path / "images", "--rule", "majority", "--table", table
    for flag, path, words in (
        ("--out", folder / "split.csv", "a file of the run in that folder"),
        ("--out", folder / "predictions_test.csv", "a file of the run in that folder"),
        ("--counts", table, "objects.csv is the table and would be replaced"),
        ("--out", "-", "a file is written, not the standard output"),
        ("--table", tmp_path / "nowhere.csv", "nowhere.csv: there is no such file"),
    ):
        before = os.path.isfile(path) and open(path, "rb").read()
        other = ["--out", tmp_path / "o.csv"] if flag != "--out" else []
        status, _, err = run_main(predict.main, capsys, *argv, *other, flag, path)
        assert status == 2 and words in err
        assert (os.path.isfile(path) and open(path, "rb").read()) == before


def test_no_image_is_replaced_by_a_table(runs, capsys, tmp_path):
    draw(tmp_path / "images" / "photo.png")
    before = (tmp_path / "images" / "photo.png").read_bytes()
    (tmp_path / "link").symlink_to(tmp_path / "images")
    for flag, name in (("--out", "photo.csv"), ("--embeddings", "photo.npz"), ("--out", "photo")):
        (tmp_path / "images" / name).write_bytes(before)  # an image, by its content
        argv = runs[0]["plain"].folder, tmp_path / "images" / name, "--rule", "majority"
        other = ["--out", tmp_path / "out.csv"] if flag != "--out" else []
        for path in (tmp_path / "images" / name, tmp_path / "link" / name):
            status, _, err = run_main(predict.main, capsys, *argv, *other, flag, path)
            assert status == 2 and f"{name} is one of the images and would be replaced" in err
        assert (tmp_path / "images" / name).read_bytes() == before
    status, _, err = run_main(
        predict.main, capsys, *argv, "--out", tmp_path / "x", "--embeddings", tmp_path / "x"
    )
    assert (
        status == 2 and "--out and --embeddings are both" in err and not (tmp_path / "x").exists()
    )


@pytest.mark.parametrize(
    "flag, name, ends",
    [
        ("--out", "answers.xlsx", ".csv or .tsv (a spreadsheet"),
        ("--out", "answers.csv.gz", ".csv or .tsv"),
        ("--counts", "c.parquet", ".csv or .tsv"),
        ("--ecotaxa", "e.csv", ".tsv or .txt"),
        ("--embeddings", "e.csv", "must end in .npz"),
        ("--export", "m.pt", "must end in .onnx"),
    ],
)
def test_a_file_of_another_kind_is_refused_before_any_work(capsys, flag, name, ends):
    argv = ["run"] if flag == "--export" else ["run", "image.png"]
    status, _, err = run_main(predict.main, capsys, *argv, flag, name)
    assert status == 2 and f"{flag} {name}: a file" in err and ends in err


def test_tables_with_tabs_hold_what_those_with_commas_hold(runs, capsys, tmp_path):
    for end in ("csv", "TSV"):
        out = "--out", tmp_path / f"a.{end}", "--counts", tmp_path / f"c.{end}"
        argv = runs[0]["plain"].folder, runs[1], "--rule", "majority", "--GPU", "cpu"
        assert run_main(predict.main, capsys, *argv, *out)[0] == 0
    for name in "ac":
        text = (tmp_path / f"{name}.TSV").read_text("utf-8")
        assert "\t" in text.split("\n")[0] and "," not in text.split("\n")[0]
        tabs, commas = (
            pd.read_csv(tmp_path / f"{name}.{end}", sep=sep)
            for end, sep in (("TSV", "\t"), ("csv", ","))
        )
        pd.testing.assert_frame_equal(tabs, commas)


def test_true_classes_are_read_from_the_folders(runs, call):
    trained, kept = runs
    status, out, _, table = call(trained["plain"].folder, kept, "--rule", "majority", "--labels")
    arrays = trained["plain"].arrays("test")
    labels = arrays["labels"][np.argsort(arrays["files"])]
    own = [format_path(trained["plain"].hierarchy.class_paths[c]) for c in labels]
    assert (
        status == 0
        and table["truth"].tolist() == own
        and {"Plants/Centric/.", "Plants/Centric/ä b"} <= set(own)
    )
    pairs = zip(own, table["decision"])
    above = [answer == "root" or f"{truth}/".startswith(f"{answer}/") for truth, answer in pairs]
    assert table["correct"].tolist() == above
    accuracy = trained["plain"].metrics.set_index("metric")["value"]["accuracy"]
    assert f"most probable class is true {accuracy:.4f}" in out
    assert f"answer is right             {np.mean(above):.4f}" in out
    interval = binomtest(sum(above), len(above)).proportion_ci()
    assert f"(95 % interval {interval.low:.3f} to {interval.high:.3f})" in out


def test_images_in_folders_that_are_no_classes_are_counted_and_named(runs, call, tmp_path):
    for folder in ("Animals/Worms", "Animals/Wurms", "Plants/2"):
        (tmp_path / "new" / folder).mkdir(parents=True)
        draw(tmp_path / "new" / folder / "1.png", (16, 16), "RGB")
    draw(tmp_path / "new/Plants/2/2.png", (16, 16), "RGB")
    argv = (tmp_path / "new", "--rule", "majority", "--labels")
    _, out, _, table = call(runs[0]["plain"].folder, *argv)
    assert "with a known class          1" in out and table["truth"].notna().sum() == 1
    note = next(line for line in out.splitlines() if "not classes of the run" in line)
    assert note.startswith("note: 3 images in folders") and note.endswith("new/Plants/2'")
    assert "Wurms" in note


def test_folders_are_matched_with_classes_by_the_end_of_their_path(runs, tmp_path, monkeypatch):
    def found(name, *files):
        run = runs[0][name]
        classes = true_classes(run, [f"/data/{file}" for file in files])
        return [None if c < 0 else "/".join(run.hierarchy.class_paths[c]) for c in classes]

    files = (
        "Animals/Worms/x.png",
        "Plants/Centric/x.png",
        "Plants/Centric/ä b/x.png",
        "Plants/x.png",
        "Worms/x.png",
    )
    assert found("plain", *files) == [
        "Animals/Worms",
        "Plants/Centric/.",
        "Plants/Centric/ä b",
        None,
        None,
    ]
    assert found("plain", "x/Animals/Worms/x.png", "Animals/Worms/x/x.png") == [
        "Animals/Worms",
        None,
    ]
    for accent in ("\u00e4", "a\u0308"):  # as a table or another system stores it
        assert found("plain", f"Plants/Centric/{accent} b/x.png") == ["Plants/Centric/ä b"]
    # written in another way
    assert found("plain", "Animals/worms/x.png", "plants/Centric_/x.png") == [
        "Animals/Worms",
        "Plants/Centric/.",
    ]
    assert found("plain", "WORMS/x.png", "short/x.png", "Short_/x.png", "sho rt/x.png") == [
        "Animals/Worms",
        "Animals/Copepods/short",
        "Animals/Copepods/short",
        None,
    ]
    assert found("averages", *files)[:3] == [
        "Animals/Worms",
        "Plants/Centric/.",
        "Plants/Centric/ä b",
    ]  # collapsed
    # folders that are not the tree, but named as classes
    named = found("plain", "Worms/x.png", "short/x.png", "nothing/x.png")
    assert named == ["Animals/Worms", "Animals/Copepods/short", None]
    monkeypatch.chdir(tmp_path)
    assert true_classes(runs[0]["plain"], ["x.png"]).tolist() == [-1]


def test_a_collapsed_chain_is_found_by_the_folders_it_stands_for(tmp_path):
    tree = Hierarchy.from_paths(
        [("top", "a", "b", "c"), ("top", "d", "e/f"), ("top", "d", "g")]
    ).collapse()
    run = write_run(tmp_path, "DR", 1, tree=tree, collapse=True)
    assert true_classes(
        run, ["/x/top/a/b/c/1.png", "/x/top/d/g/1.png", "/x/a/b/1.png"]
    ).tolist() == [0, 2, -1]


def test_folders_of_raw_labels_are_found_as_the_label_map_of_the_run_had_them(tmp_path):
    tree = Hierarchy.from_paths([("Copepoda", "Calanus"), ("Copepoda", "Oithona"), ("Diatoms",)])
    files = ["cal_f/1.png", "cal_m/1.png", "deep/oit/1.png", "dia/1.png"]
    table = pd.DataFrame({"file": files, "label": [0, 0, 1, 2], "split": "train"})
    new = ["/n/CAL f/x.png", "/n/cal_m/x.png", "/n/deep/oit/x.png", "/n/Diatoms/x.png", "/n/x.png"]
    for given, expected in (
        ({"label_map": "map.csv"}, [0, 0, 1, 2, -1]),
        (
            {"label_map": "map.csv", "table": "labels.csv"},
            [-1, -1, -1, 2, -1],
        ),  # folders say nothing
        ({}, [-1, -1, -1, 2, -1]),
    ):
        run = write_run(tmp_path / str(len(expected) + len(given)), "DR", 1, tree=tree, **given)
        run.write_table("split.csv", table)
        assert true_classes(run, new).tolist() == expected


def test_folders_of_groups_below_the_classes_are_passed_over(tmp_path):
    tree = Hierarchy.from_paths([("Copepoda", "Calanus"), ("Copepoda", "Oithona")])
    run = write_run(tmp_path, "DR", 1, tree=tree, group_level=[1, -1])
    new = ["h/Copepoda/Calanus/a/x.png", "h/Copepoda/Oithona/x.png", "h/Copepoda/x.png"]
    assert true_classes(run, new).tolist() == [0, 1, -1]


def test_rows_describe_answer_classes_and_path():
    decision = Decision("threshold", {"threshold": 0.6}, temperature=2.0)
    p = np.array([[0.1, 0.5, 0.1, 0.1, 0.2, 0.0, 0.0], [0.0, 0.9, 0, 0, 0, 0.1, 0]])
    answered = Answerer(TREE, decision, topk=3)(2 * log(p))  # the temperature takes the factor away
    assert answered.nodes.tolist() == [NODE_A2, NODE_A2A] and answered.classes.tolist() == [1, 1]
    row = answered.table.iloc[0]
    assert (row["decision"], row["decision_name"], row["decision_depth"]) == ("A/A2", "A2", 2)
    assert (row["class"], row["class_name"], row["class_2"], row["class_3"]) == (
        "A/A2/A2a",
        "A2a",
        "A/A2/A2b",
        "C",
    )
    numbers = row[["decision_probability", "probability", "probability_2", "probability_3"]].astype(
        float
    )
    np.testing.assert_allclose(numbers, [0.7, 0.5, 0.2, 0.1])
    np.testing.assert_allclose(
        answered.table.filter(like="level").astype(float), [[0.8, 0.7, 0.5], [0.9, 0.9, 0.9]]
    )
    shallow = Answerer(TREE, Decision(), topk=20)(log([[1.0, 0, 0, 0, 0, 0, 0]])).table.iloc[0]
    assert (
        shallow["probability_level_1"] == 1
        and np.isnan(shallow["probability_level_2"])
        and "class_7" in shallow
    )


def test_an_answer_is_right_at_and_above_the_truth_only():
    answers = Answerer(TREE, Decision("threshold", {"threshold": 0.6}))
    answered = answers(np.repeat(log([[0.1, 0.5, 0.1, 0.1, 0.2, 0.0, 0.0]]), 4, axis=0))  # A2
    judged = answers.judge(answered, np.array([1, 4, 3, -1]))
    assert judged["truth"][:3].tolist() == ["A/A2/A2a", "A/A2/A2b", "A/A1"]
    assert judged["correct"][:3].tolist() == [True, True, False]
    assert judged.isna().all(axis=1).tolist() == [False, False, False, True]


def test_without_a_validation_split_rules_that_need_it_say_how_to_get_it(runs, call):
    run, kept = runs[0]["unvalidated"], runs[1]
    for rule, option in (("threshold", "--threshold"), ("darts", "--darts_lambda")):
        status, _, err, table = call(run.folder, kept, "--rule", rule)
        assert (
            status == 2
            and table is None
            and "--use_val" in err
            and option in err
            and "--rule majority" in err
        )
    assert call(run.folder, kept)[0] == 2  # the default is such a rule
    status, out, _, table = call(run.folder, kept, "--threshold", "0.8")
    assert (
        status == 0
        and "not calibrated" in out
        and (table["decision_probability"] > 0.8 - 1e-6).all()
    )
    for rule in ("argmax", "crm", "majority"):
        assert call(run.folder, kept, "--rule", rule)[0] == 0


def test_too_few_validation_images_are_refused_before_any_image_is_read(runs, call):
    status, _, err, table = call(runs[0]["plain"].folder, runs[1], "--target_accuracy", "0.95")
    assert (
        status == 2
        and table is None
        and "with 4 images that calibrate, it takes 19 or more" in err
        and "--target_accuracy 0.8. Or train with more images, set --threshold by hand" in err
    )
    nowhere = runs[1] / "nowhere"  # which is said first
    assert f"folder {str(nowhere)!r}" in call(runs[0]["plain"].folder, nowhere)[2]
    cover = "--threshold", "0.5", "--cover", "2"
    status, _, err, _ = call(runs[0]["plain"].folder, runs[1], *cover)
    assert (
        status == 2
        and "4 images that calibrate; the largest that can is --target_accuracy 0.8\n" in err
    )
    status, out, _, _ = call(runs[0]["plain"].folder, runs[1], "--target_accuracy", "0.8")
    assert status == 0 and "promised, if new images are drawn like the 4 that calibrate" in out
    assert "answers are right with probability 0.8 or more" in out


def copied(run, target, **options):
    """A copy of a run's folder in which these options are recorded, without checksums."""
    shutil.copytree(run.folder, target)
    config = json.loads((target / "config.json").read_text())
    config.pop("checksums")
    config["options"] |= options
    (target / "config.json").write_text(json.dumps(config))
    return Run(target)


def test_images_that_chose_the_epoch_promise_nothing(runs, call, tmp_path):
    trained, kept = runs
    old = copied(trained["plain"], tmp_path / "old", calibration=None)
    (old.folder / "calibration.pkl").unlink()  # as in runs of earlier versions
    status, out, _, _ = call(old.folder, kept, "--target_accuracy", "0.7")
    assert status == 0 and "estimated, not promised" in out and "like the 4 validation" in out
    last = trained["sizes"]  # with --last all of validation calibrates
    assert not (last.folder / "calibration.pkl").exists() and len(last.arrays("val")["files"]) == 8
    status, out, _, _ = call(last.folder, kept, "--target_accuracy", "0.7")
    assert status == 0 and "promised, if" in out and "the 8 that calibrate" in out


def test_calibration_images_set_the_threshold_and_validation_images_the_temperature(runs):
    run = runs[0]["plain"]
    decision = choose_decision(Source(run), "threshold", 0.6)
    val, held_out = run.outputs("val"), run.outputs("calibration")
    assert decision.temperature == fit_temperature(val.scores, val.labels)
    scores = held_out.scores / decision.temperature
    made = promise("threshold", run.hierarchy, scores, held_out.labels, 0.6)
    assert decision.promise == made and made.n == 4 and not decision.estimated


def test_calibration_images_that_are_lost_are_missed(runs, call, tmp_path):
    run = copied(runs[0]["plain"], tmp_path / "copy")
    (run.folder / "calibration.pkl").unlink()
    status, _, err, _ = call(run.folder, runs[1], "--target_accuracy", "0.7")
    assert status == 2 and "calibration.pkl is missing" in err


def test_predict_says_where_the_temperature_is_not_known():
    assert "do not determine it" in remarks.describe_temperature(Temperature(1.0, 9, False, False))
    text = remarks.describe_temperature(Temperature(0.4, 9, True, True))
    assert "all 9 are answered right" in text
    assert "\n" not in remarks.describe_temperature(Temperature(0.4, 9, True, False))


def test_a_threshold_of_zero_is_pointed_out():
    made = Promise(0.0, 0.9, (0.7, 1.0), 9)
    decision = Decision("threshold", {"threshold": 0.0}, promise=made)
    assert "no answer backs off" in remarks.describe_promise(decision, 0.9)
    decision = decision._replace(promise=made._replace(value=0.5))
    assert "no answer backs off" not in remarks.describe_promise(decision, 0.9)


def test_a_promise_says_that_images_in_groups_spread_more():
    made = Promise(0.5, 0.9, (0.86, 0.94), 200)
    alone = Decision("threshold", {"threshold": 0.5}, promise=made)
    assert "give between 0.860 and 0.940" in remarks.describe_promise(alone, 0.9)
    assert "groups" not in remarks.describe_promise(alone._replace(groups=190), 0.9)
    assert "from 8 groups" in remarks.describe_promise(alone._replace(groups=8), 0.9)


def test_images_of_the_run_are_told_from_new_ones(call, tmp_path):
    make_learnable_folder(tmp_path / "set", CLASSES, 16, step=40)
    run = train_run(tmp_path / "record", tmp_path / "set", RUNS["plain"])
    table = run.split.set_index("file")["split"]
    moved = tmp_path / "moved" / "set"  # known by their content wherever they lie
    shutil.copytree(tmp_path / "set", moved)
    new = moved / Path(table.index[0]).parent / "new.png"
    draw(new, seed=99)
    status, out, _, found = call(run.folder, moved, "--labels", "--rule", "argmax")
    assert status == 0
    expected = [table.get(os.path.relpath(file, moved), "") for file in found["file"]]
    assert found["split"].fillna("").tolist() == expected and expected.count("") == 1
    counts = table.value_counts()
    used = counts["train"] + counts["val"]
    assert f"warning: {used} of these images trained this model or chose its epoch" in out
    train_rows = found[found["split"] == "train"]
    share = train_rows["correct"].astype(bool).mean()
    line = next(line for line in out.splitlines() if "in the run's train split" in line)
    assert f"{counts['train']}: class true" in line and f"answer right {share:.4f}" in line
    assert "new to the run" in out
    config = json.loads((run.folder / "config.json").read_text())
    config = {**config, "result_checkpoint": "last.pt"}  # then validation chose nothing
    config.pop("checksums")
    (run.folder / "config.json").write_text(json.dumps(config))
    out = call(run.folder, moved, "--rule", "argmax")[1]
    assert f"warning: {counts['train']} of these images trained" in out
    files = [moved / file for file in table.index[table == "test"]]
    assert "trained this model" not in call(run.folder, *files, "--rule", "argmax")[1]


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--rule", "majority", "--target_accuracy", "0.9"], "--target_accuracy"),
        (["--rule", "darts", "--threshold", "0.9"], "--threshold"),
        (["--rule", "threshold", "--darts_lambda", "1"], "--darts_lambda"),
        (["--threshold", "0.9", "--target_accuracy", "0.9"], "--target_accuracy"),
        (["--threshold", "1"], "below 1"),
        (["--target_accuracy", "95"], "0 to 1"),
        (["--topk", "0"], "above 0"),
        (["--rule", "guess"], "--rule"),
    ],
)
def test_flags_that_have_no_meaning_together_are_refused(runs, call, flags, named):
    status, _, err, table = call(runs[0]["plain"].folder, runs[1], *flags)
    assert status == 2 and named in err and table is None


def test_paths_that_are_not_there_are_named(runs, call, tmp_path, capsys):
    run, kept = runs[0]["plain"].folder, runs[1]
    assert "nowhere" in call(run, kept, tmp_path / "nowhere", "--rule", "majority")[2]
    assert "config.json" in call(tmp_path, kept)[2]
    (tmp_path / "list.txt").write_text("a.png\nb.png\n")
    assert (
        "give a list of images as --table"
        in call(run, tmp_path / "list.txt", "--rule", "majority")[2]
    )
    (tmp_path / "empty").mkdir()
    assert "no image" in call(run, tmp_path / "empty", "--rule", "majority")[2]
    status, _, err = run_main(
        predict.main, capsys, run, kept, "--rule", "majority", "--out", tmp_path, "--GPU", "cpu"
    )
    assert status == 2 and "is a folder" in err
    assert not list(tmp_path.glob(".*.tmp")) and not (tmp_path / "predictions.csv").exists()


def test_damaged_runs_are_refused(runs, call, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(runs[0]["plain"].folder, folder)
    config = json.loads((folder / "config.json").read_text())
    config.pop("checksums")
    (folder / "config.json").write_text(
        json.dumps({**config, "options": {**config["options"], "dim": 9}})
    )
    assert "does not fit the model of config.json" in call(folder, runs[1], "--rule", "majority")[2]
    (folder / "config.json").write_text(json.dumps({**config, "hierarchy": "another"}))
    assert (
        "is not the tree that config.json names" in call(folder, runs[1], "--rule", "majority")[2]
    )


def test_an_interrupted_prediction_leaves_an_older_table_alone(runs, call, monkeypatch, tmp_path):
    (tmp_path / "predictions.csv").write_text("a\n1\n")

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(models.Classifier, "embed", interrupt)
    status, _, err, _ = call(
        runs[0]["plain"].folder, runs[1], "--rule", "majority", "--embeddings", tmp_path / "e.npz"
    )
    assert status == 130 and "nothing was written" in err
    assert (tmp_path / "predictions.csv").read_text() == "a\n1\n" and len(
        list(tmp_path.iterdir())
    ) == 1


def test_only_classes_within_the_taxa_are_answered_down_to_a_depth(runs, call):
    trained, kept = runs
    run = trained["plain"]
    status, out, err, table = call(
        run.folder, kept, "--rule", "majority", "--labels", "--within", "Plants"
    )
    assert status == 0, err
    inside = [p for p in map(format_path, run.hierarchy.class_paths) if p.startswith("Plants/")]
    assert set(table["class"]) <= set(inside) and f"{len(inside)} classes can be" in out
    own = table[table["truth"].notna()]
    assert (
        set(own["truth"]) <= set(inside)
        and f"{len(table) - len(own)} images of a class that" in out
    )
    listed = table[[name for name in table if re.fullmatch(r"probability(_\d)?", name)]]
    assert len(inside) > 3 or np.allclose(listed.sum(axis=1), 1, atol=1e-6)
    status, out, _, top = call(run.folder, kept, "--rule", "argmax", "--at", "1", "--labels")
    assert status == 0 and top["decision_depth"].max() == 1 and top["truth"].notna().all()
    plain = call(run.folder, kept, "--rule", "argmax")[3]
    place = plain["class"].str.split("/").str[0] == top["class"]
    # where the best class lies below the best superclass its probability is that of this one
    np.testing.assert_allclose(
        top["probability"][place], plain["probability_level_1"][place], rtol=1e-5
    )
    assert "nearest is 'Plants'" in call(run.folder, kept, "--within", "Plant")[2]


def test_counts_of_samples_and_the_table_for_ecotaxa_are_written_beside(runs, call, tmp_path):
    run, kept = runs[0]["plain"], runs[1]
    counts, ecotaxa = tmp_path / "counts.csv", tmp_path / "ecotaxa.tsv"
    flags = "--rule", "majority", "--counts", counts, "--ecotaxa", ecotaxa
    status, out, err, table = call(run.folder, kept, *flags, "--batch_size", "3")
    assert status == 0 and str(counts) in out and str(ecotaxa) in out, err
    found = pd.read_csv(counts)
    sizes = table["file"].map(os.path.dirname).value_counts()
    assert found.groupby("sample")["images"].first().to_dict() == sizes.to_dict()
    tops = found[found["depth"] == 0]
    for name in ("counted", "adjusted", "em"):
        np.testing.assert_allclose(tops[name], tops["images"], rtol=1e-4)
    answered = table["class"].value_counts()
    of_classes = found.groupby("taxon")["counted"].sum()
    assert all(of_classes[path] == count for path, count in answered.items())
    written = pd.read_csv(ecotaxa, sep="\t", skiprows=[1], keep_default_na=False)
    assert len(written) == len(table) and "note: EcoTaxa looks for images beside the table" in out
    names = written["object_annotation_hierarchy"].str.replace(">", "/")
    own = table["decision"].str.removesuffix("/.").replace("root", "")
    assert names.tolist() == own.tolist()
    assert table["novelty_p"].between(0, 1).all()
    status, _, err, _ = call(runs[0]["unvalidated"].folder, kept, *flags)
    assert status == 2 and "--counts corrects by validation images" in err


def test_a_table_names_samples_and_objects(runs, call, tmp_path):
    run, kept = runs[0]["plain"], runs[1]
    files = sorted(os.path.relpath(path, kept) for path in Path(kept).rglob("*.png"))[:4]
    listed = pd.DataFrame({"file": files, "object_id": list("wxyz"), "haul": [1, 1, 2, 2]})
    listed.to_csv(tmp_path / "list.csv", index=False)
    flags = "--rule", "argmax", "--table", tmp_path / "list.csv", "--counts", tmp_path / "c.csv"
    ecotaxa = "--ecotaxa", tmp_path / "e.tsv"
    status, _, err, _ = call(run.folder, kept, *flags, "--sample_column", "haul", *ecotaxa)
    assert status == 0, err
    found = pd.read_csv(tmp_path / "c.csv")
    assert found.groupby("sample")["images"].first().to_dict() == {1: 2, 2: 2}
    written = pd.read_csv(tmp_path / "e.tsv", sep="\t", skiprows=[1])
    assert written["object_id"].tolist() == list("wxyz")
    status, _, err, _ = call(run.folder, kept, *flags, "--sample_column", "net")
    assert status == 2 and "--sample_column names the column 'net'" in err
    status, _, err, _ = call(run.folder, kept, "--sample_column", "haul")
    assert status == 2 and "--sample_column needs --table" in err


def test_probabilities_of_several_runs_are_averaged(runs, call, tmp_path):
    trained, kept = runs
    pair = trained["plain"].folder, trained["placed"].folder
    every = "--rule", "majority", "--topk", "5"
    both = call(*pair, kept, *every)
    assert both[0] == 0 and "mean of the probabilities of 2 runs, at temperatures" in both[1]
    own = [call(folder, kept, *every)[3] for folder in pair]
    for row in range(0, len(both[3]), 7):
        mean = {}
        for table in (both[3], *own):
            names = table.loc[row, ["class", *(f"class_{k}" for k in range(2, 6))]]
            values = table.loc[row, ["probability", *(f"probability_{k}" for k in range(2, 6))]]
            for name, value in zip(names, values):
                mean.setdefault(name, []).append(value)
        for averaged, first, second in mean.values():
            assert averaged == pytest.approx((first + second) / 2, abs=1e-5)
    refused = [
        ((pair[0], pair[0], kept), "is named twice"),
        ((*pair, kept, "--embeddings", tmp_path / "e.npz"), "a space of its own"),
        ((pair[0], trained["averages"].folder, kept), "as their classes differ"),
        (pair, "is a run: name the images to answer after the runs"),
        ((pair[0], kept, pair[1]), "is a run: name all runs before the images"),
        ((pair[0], trained["sizes"].folder, kept), "take their images otherwise: gray"),
    ]
    for argv, message in refused:
        status, _, err, _ = call(*argv)
        assert status == 2 and message in err, (argv, err)


def test_probabilities_are_amended_by_those_of_a_run_on_superclasses(runs, call, tmp_path):
    trained, kept = runs
    fine, coarse = trained["plain"], trained["coarse"]
    archive = tmp_path / "embeddings.npz"
    amended = "--coarse", coarse.folder, "--rule", "majority"
    status, out, _, table = call(fine.folder, kept, *amended, "--embeddings", archive)
    assert status == 0 and f"amended by {coarse.folder}, 2 superclasses\n" in out
    order = np.argsort(fine.arrays("test")["files"])
    scores = np.load(archive)["scores"]
    found = softmax(scores)
    np.testing.assert_allclose(found, softmax(amended_scores(fine, coarse))[order], atol=2e-3)
    assert np.abs(found - softmax(fine.arrays("test")["scores"])[order]).max() > 0.01
    validated = amended_scores(fine, coarse, "val"), fine.arrays("val")["labels"]
    temperature = calibrate(*validated).value
    calibrated = softmax(scores / temperature).max(axis=1)
    np.testing.assert_allclose(table["probability"], calibrated, atol=1e-5)
    status, _, err, _ = call(fine.folder, kept, "--coarse", tmp_path / "nowhere")
    assert status == 2 and f"error: {tmp_path / 'nowhere'} is not a run: it has no config" in err


def test_a_run_without_resizing_stretches_images_to_the_size_of_its_own(tmp_path, call):
    rng = np.random.default_rng(0)
    for c in range(2):
        for i in range(10):
            draw(
                tmp_path / "images" / f"class{c}" / f"{i}.png",
                (24, 16),
                seed=int(rng.integers(1e9)),
            )
    run = train_run(tmp_path / "record", tmp_path / "images", "--method softmax --resize 0")
    draw(tmp_path / "new" / "large.png", (100, 100)), draw(tmp_path / "new" / "own.png", (24, 16))
    status, _, _, table = call(run.folder, tmp_path / "new", "--rule", "argmax")
    assert status == 0 and table["error"].isna().all()


def test_demo_images_are_answered_right_as_often_as_promised(tmp_path_factory, call):
    root = tmp_path_factory.mktemp("demo")
    run = train_run(
        root / "record", root / "demo_images", "--method DR --use_val", dataset="demo", epochs=2
    )
    files = [root / "demo_images" / file for file in run.arrays("test")["files"]]
    for target in (0.9, 0.95):
        status, out, _, table = call(run.folder, *files, "--labels", "--target_accuracy", target)
        share, depth = table["correct"].mean(), table["decision_depth"].mean()
        # the validation split was one draw, and the test images are another
        low, high = choose_decision(Source(run), "threshold", target).promise.range
        error = 2 * np.sqrt(target * (1 - target) / len(files))
        assert status == 0 and low - error < share < high + error
        assert f"mean depth of answers       {depth:.3f} (of the most" in out and depth > 0.2
