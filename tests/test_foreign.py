"""Predictions from elsewhere become a run: evaluate.py --scores."""

import fnmatch
import re
import unicodedata

import numpy as np
import pandas as pd
import pytest
from recorded import make_arrays, run_main, write_run
from trees import PATHS, TREE

import evaluate
import predict
from evaluation.foreign import NOT_GIVEN, as_scores, read_predictions
from hierarchies import Hierarchy
from hierarchies.tree import format_path
from metrics import suite
from runs.folder import Run

NAMES = [format_path(path) for path in PATHS]


@pytest.fixture
def tree_file(tmp_path):
    file = tmp_path / "tree.txt"
    file.write_text("\n".join(NAMES), "utf-8")
    return file


@pytest.fixture
def call(capsys, tmp_path, tree_file):
    """Runs evaluate.py --scores on a file with the flags given."""

    def run(file, *flags):
        argv = ["--scores", file, "--hierarchy", tree_file, "--record", tmp_path / "record"]
        return run_main(evaluate.main, capsys, *argv, *flags)

    return run


def as_table(arrays, names=NAMES):
    table = pd.DataFrame(arrays["scores"], columns=names)
    table.insert(0, "file", arrays["files"])
    table["label"] = [names[c] for c in arrays["labels"]]
    return table


def test_scores_of_a_run_give_every_measure_that_scores_alone_determine(tmp_path, call, capsys):
    own = write_run(tmp_path / "own", "DR-euc", 1)
    arrays = {**make_arrays(), "prototype_counts": np.array([0, 30, 500, 50, 60, 10, 200])}
    own.write_arrays("test", arrays)
    own.write_table("metrics.csv", suite.evaluate(own.outputs("test")))
    file = tmp_path / "net.csv"
    table = as_table(own.arrays("test"))
    table[table.columns[::-1]].to_csv(file, index=False)  # columns go by their titles
    status, out, err = call(file)
    assert status == 0 and not err
    assert "reproduces metrics.csv" in out and out.count("scores alone do not give") == 1
    made = Run(tmp_path / "record" / "scores" / "net" / "seed1")
    recorded = own.metrics.set_index("metric")
    found = made.metrics.set_index("metric")
    alone = {**suite.RANKED, **suite.ORDERED, **suite.POSTERIOR}
    outputs = own.outputs("test")
    expected = []
    for name, metric in alone.items():
        result = metric(outputs)
        expected += result if isinstance(result, dict) else [name]
    expected = [name for name in expected if not name.startswith(("many_", "medium_", "few_"))]
    assert set(expected) <= set(found.index) <= set(recorded.index)
    gap = (found["value"] - recorded.loc[found.index, "value"]).abs()
    assert gap.max() < 1e-6
    assert (found["value"].isna() == recorded.loc[found.index, "value"].isna()).all()
    # what is not there is named, and what is named is not there
    left = set(recorded.index) - set(found.index)
    for pattern in [one for patterns in NOT_GIVEN.values() for one in patterns]:
        assert pattern in out and not fnmatch.filter(found.index, pattern)
        named = set(fnmatch.filter(left, pattern))
        assert named, pattern
        left -= named
    assert not left
    assert "learned trees" not in out and not (made.folder / "trees.txt").exists()
    status, out, _ = run_main(evaluate.main, capsys, made.folder, "--tree")
    assert status == 0 and "the run has no class vectors" in out


def test_a_column_of_answers_in_words_is_left_out_with_a_note(tmp_path):
    tree = Hierarchy.from_paths([("a", "b"), ("a", "c"), ("d",)])
    rows = "file,label,b,c,d,answer\n1,b,3,0,1,b\n2,d,1,0,2,d\n"
    (tmp_path / "net.csv").write_text(rows)
    (tmp_path / "labels.csv").write_text("file,label\n2,c\n1,d\n")
    found = read_predictions(tmp_path / "net.csv", tree, "tree")
    assert found.labels.tolist() == [0, 2] and found.scores[0].tolist() == [3, 0, 1]
    assert any("left out, without a number: 'answer'" in note for note in found.notes)
    other = read_predictions(tmp_path / "net.csv", tree, "tree", str(tmp_path / "labels.csv"))
    assert other.labels.tolist() == [2, 1] and "'label', 'answer'" in other.notes[0]


def test_probabilities_and_numbers_of_columns_are_understood(tmp_path, call):
    arrays = make_arrays(TREE)
    p = np.exp(arrays["scores"].astype(float))
    p /= p.sum(axis=1, keepdims=True)
    order = np.array([6, 0, 3, 1, 2, 5, 4])
    column = np.argsort(order)  # of each class
    last = np.array([path[-1] for path in PATHS])
    file = tmp_path / "net.npz"
    np.savez(file, scores=p[:, order], classes=last[order], labels=column[arrays["labels"]])
    status, out, err = call(file, "--name", "other", "--collection", "sea", "--seed", "3")
    assert status == 0 and "taken for probabilities" in out, err
    run = Run(tmp_path / "record" / "sea" / "other" / "seed3")
    np.testing.assert_array_equal(run.arrays("test")["labels"], arrays["labels"])
    np.testing.assert_allclose(np.exp(run.arrays("test")["scores"]), p, atol=1e-6)
    status, out, _ = call(file, "--name", "again", "--collection", "sea", "--seed", "4")
    assert status == 0
    assert run.options == {"dataset": "sea", "method": "other", "seed": 3}
    assert set(pd.read_csv(run.folder / "split.csv")["split"]) == {"test"}


@pytest.mark.parametrize(("sep", "decimal", "read"), [(";", ",", True), (",", ",", False)])
def test_decimal_commas_are_points_where_commas_do_not_part_cells(tmp_path, sep, decimal, read):
    tree = Hierarchy.from_paths([("a", "b"), ("a", "c"), ("d",)])
    table = pd.DataFrame({"a/b": [1.5, -2.25e-7], "a/c": [3, 1], "d": [0.5, 4]})
    table.insert(0, "label", ["a/b", "d"])
    table.to_csv(tmp_path / "net.csv", sep=sep, decimal=decimal, index=False)
    if not read:
        with pytest.raises(ValueError, match="column 'a/b' is not a number in row 2"):
            read_predictions(tmp_path / "net.csv", tree, "tree")
        return
    found = read_predictions(tmp_path / "net.csv", tree, "tree")
    np.testing.assert_allclose(found.scores, table[["a/b", "a/c", "d"]].to_numpy(), rtol=1e-6)


@pytest.mark.parametrize(
    "cells, scores",
    [
        ("1,234;-12,345", None),  # 1234 or 1.234
        ("1,234,567;0", None),
        ("1,234;0,345", [1.234, 0.345]),
        ("1,234;1234,567", [1.234, 1234.567]),
        ("1,234;2,5", [1.234, 2.5]),
    ],
)
def test_commas_that_may_part_thousands_as_well_as_decimals_are_refused(tmp_path, cells, scores):
    tree = Hierarchy.from_paths([("a",), ("b",)])
    (tmp_path / "net.csv").write_text(f"label;a;b\na;{cells}\nb;0;0\n", "utf-8")
    if scores is None:
        with pytest.raises(
            ValueError, match="net.csv: the comma of '1,234.*decimals behind a point"
        ):
            read_predictions(tmp_path / "net.csv", tree, "tree")
    else:
        found = read_predictions(tmp_path / "net.csv", tree, "tree")
        np.testing.assert_allclose(found.scores[0], scores, rtol=1e-6)


def test_names_of_files_and_classes_are_no_decimals(tmp_path):
    tree = Hierarchy.from_paths([("0,5",), ("1,2",)])
    names = ["20240115123045123456781", "20240115123045123456782"]
    lines = ["file;label;0,5;1,2", f"{names[0]};0,5;0,75;0,25", f"{names[1]};1,2;0,5;0,5"]
    (tmp_path / "net.csv").write_text("\n".join(lines), "utf-8")
    found = read_predictions(tmp_path / "net.csv", tree, "tree")
    assert list(found.files) == names and found.labels.tolist() == [0, 1]
    (tmp_path / "scores.tsv").write_text("0,5\t1,2\n0,75\t0,25\n0,5\t0,5\n", "utf-8")
    (tmp_path / "labels.csv").write_text("label;seen\n1,2;a\n0,5;a\n", "utf-8")
    labels = str(tmp_path / "labels.csv")
    found = read_predictions(tmp_path / "scores.tsv", tree, "tree", labels=labels)
    assert found.labels.tolist() == [1, 0]


def test_scores_are_told_from_probabilities():
    found, (note,) = as_scores([[0.25, 0.75], [1, 0]])
    np.testing.assert_allclose(np.exp(found), [[0.25, 0.75], [1, 0]])
    assert "probabilities" in note
    found, (note,) = as_scores([[2.0, -np.inf]])
    assert found.tolist() == [[2.0, -np.inf]] and "taken for scores" in note
    found, _ = as_scores(np.log([[0.25, 0.75], [0.9, 0.1]]))
    np.testing.assert_allclose(np.exp(found), [[0.25, 0.75], [0.9, 0.1]], rtol=1e-6)
    for wrong, words in (
        ([[0.9, 0.8]], "sum to 1.7.*sigmoid"),
        ([[1.0, np.nan]], "image 1 hold NaN"),
        ([[3.0, 1.0], [-np.inf, -np.inf]], "image 2 has a score for no class"),
        (np.log10([[0.25, 0.75], [0.9, 0.1]]), "base 10 of probabilities.* multiply by 2.3026"),
        (np.log2([[0.25, 0.75], [0.5, 0.5]]), "base 2 of probabilities"),
    ):
        with pytest.raises(ValueError, match=words):
            as_scores(wrong)


@pytest.mark.parametrize("decimals", [0, 1, 2])
def test_percentages_are_refused_however_they_were_rounded(decimals):
    """Of 30 classes, whose rounding moves the sums of rows by several units."""
    shares = np.random.default_rng(0).dirichlet(np.full(30, 0.3), 50) * 100
    rounded = np.round(shares, decimals)
    assert decimals or np.ptp(rounded.sum(axis=1)) > 2
    for values in (rounded, rounded[:1]):
        with pytest.raises(ValueError, match="as percentages or votes do"):
            as_scores(values)
    scores = np.round(np.random.default_rng(0).exponential(30, (50, 4)))
    assert as_scores(scores)[1] == [
        "the values are taken for scores, whose softmax gives probabilities"
    ]


@pytest.mark.parametrize("decimals", [2, 3])
def test_probabilities_that_were_rounded_are_probabilities(decimals):
    """Of 12 classes, whose rounding moves the sums of rows by more than a program's own."""
    shares = np.random.default_rng(0).dirichlet(np.full(12, 0.5), 300)
    rounded = np.round(shares, decimals)
    assert np.abs(rounded.sum(axis=1) - 1).max() > 0.002
    found, notes = as_scores(rounded.astype(np.float32))
    np.testing.assert_allclose(np.exp(found), rounded, atol=1e-6)
    assert notes == ["the values are taken for probabilities"]
    with pytest.raises(ValueError, match="must sum to 1"):
        as_scores(np.round(shares, decimals) * 0.97)
    with pytest.raises(ValueError, match="must sum to 1"):  # of a sigmoid
        as_scores(np.round(np.random.default_rng(0).random((20, 4)), decimals))


def test_answers_alone_have_a_note_on_what_they_do_not_say():
    _, notes = as_scores([[0, 1], [1, 0]])
    assert "confidence" in notes[1] and "means nothing" in notes[1]


def test_labels_and_titles_of_other_programs_are_matched_with_a_note(tmp_path):
    tree = Hierarchy.from_paths([("C", "Calanus glacialis"), ("C", "Oithona"), ("D", "2 (x)")])
    lines = (
        "file,Calanus.glacialis,oithona,X2..x.,label\na,9,1,1,calanus_glacialis\nb,1,2,9,2  (X)\n"
    )
    (tmp_path / "r.csv").write_text(lines, "utf-8")
    found = read_predictions(tmp_path / "r.csv", tree, "tree")
    assert found.labels.tolist() == found.scores.argmax(axis=1).tolist()
    assert "2 labels are written in another way" in " ".join(found.notes)


def test_titles_that_only_count_the_classes_are_their_order(tmp_path):
    (tmp_path / "n.csv").write_text("0,1,label\n.9,.1,b\n.2,.8,a\n", "utf-8")
    tree = Hierarchy.from_paths([("A", "a"), ("B", "b")])
    found = read_predictions(tmp_path / "n.csv", tree, "tree.txt")
    assert found.labels.tolist() == [1, 0]
    assert (
        "does not name its classes: its columns are taken in the order of tree.txt"
        in found.notes[0]
    )
    with pytest.raises(ValueError, match="columns without a class there: '1'"):
        read_predictions(tmp_path / "n.csv", Hierarchy.from_paths([("A", "0"), ("B", "b")]), "tree")


@pytest.mark.parametrize("title", ["Filename", "img_file_name", "image id", "object_id"])
def test_files_and_labels_are_known_by_the_titles_of_other_tables(tmp_path, title):
    arrays, file = make_arrays(TREE, samples=5), tmp_path / "net.csv"
    table = as_table(arrays).rename(columns={"file": title, "label": "True_Label"})
    table.to_csv(file)  # with the column of pandas that counts the rows
    found = read_predictions(file, TREE, "tree")
    assert found.files.tolist() == arrays["files"].tolist()
    np.testing.assert_array_equal(found.labels, arrays["labels"])
    table.set_index(pd.Index([3, 1, 2, 0, 4])).to_csv(file)
    with pytest.raises(ValueError, match="columns without a class there: 'Unnamed: 0'"):
        read_predictions(file, TREE, "tree")


def test_labels_come_from_a_file_in_any_order(tmp_path, tree_file):
    arrays = make_arrays(TREE, samples=5)
    file, labels = tmp_path / "net.csv", tmp_path / "labels.csv"
    table = as_table(arrays)
    table.drop(columns="label").to_csv(file, index=False)
    table[["file", "label"]].iloc[::-1].to_csv(labels, index=False)
    found = read_predictions(file, TREE, "tree", str(labels))
    np.testing.assert_array_equal(found.labels, arrays["labels"])
    assert found.files.tolist() == arrays["files"].tolist()
    table[["file", "label"]].iloc[1:].to_csv(labels, index=False)
    with pytest.raises(ValueError, match="no label there, such as '0.jpg'; .* image '1.jpg'"):
        read_predictions(file, TREE, "tree", str(labels))
    table[["label"]].to_csv(labels, index=False)
    assert any(
        "names no files" in note for note in read_predictions(file, TREE, "tree", str(labels)).notes
    )
    for form, target in (("NFC", file), ("NFD", labels)):
        names = table.assign(
            file=[unicodedata.normalize(form, f"é{name}") for name in table["file"]]
        )
        columns = ["file", "label"] if target == labels else [*table.columns.drop("label")]
        names[columns].to_csv(target, index=False)
    found = read_predictions(file, TREE, "tree", str(labels))
    np.testing.assert_array_equal(found.labels, arrays["labels"])
    archive = tmp_path / "net.npz"
    encoded = np.array([f"é{name}".encode() for name in table["file"]])
    np.savez(archive, scores=arrays["scores"], files=encoded)
    found = read_predictions(archive, TREE, "tree", str(labels))
    np.testing.assert_array_equal(found.labels, arrays["labels"])
    assert found.files[0] == f"é{table['file'][0]}"
    np.savez(archive, scores=arrays["scores"], files=np.arange(5))  # numbers are no names
    with pytest.raises(ValueError, match="5 of the 5 images have no label there, such as '0'"):
        read_predictions(archive, TREE, "tree", str(labels))
    with pytest.raises(ValueError, match="holds no labels: name a column or a file with --labels"):
        read_predictions(file, TREE, "tree")
    with pytest.raises(ValueError, match="neither a column of .* nor a file"):
        read_predictions(file, TREE, "tree", "nothing")


def spoil(table, kind):
    """The table with one fault."""
    if kind == "class":
        return table.rename(columns={"C": "Cx"})
    if kind == "label":
        return table.replace({"label": {table["label"][0]: "Unicorn"}})
    if kind == "text":
        return table.assign(C="many")
    if kind == "twice":
        return table.assign(file="a.jpg")
    return table.assign(C=[np.nan, *table["C"][1:]])


@pytest.mark.parametrize(
    "kind, words",
    [
        ("class", "columns without a class there: 'Cx'"),
        ("label", "label 'Unicorn' is not a class of the tree"),
        ("text", "column 'C' is not a number in row 2; every column but those of labels (--labels"),
        ("twice", "named twice, such as 'a.jpg'"),
        ("nan", "column 'C' is not a number in row 2"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, call, kind, words):
    file = tmp_path / "net.csv"
    spoil(as_table(make_arrays(TREE, samples=6)), kind).to_csv(file, index=False)
    status, out, err = call(file)
    assert status == 2 and words in err
    assert not (tmp_path / "record").exists()


def test_flags_that_do_not_go_together_are_refused(tmp_path, call, capsys, tree_file):
    for argv, words in (
        (["--scores", "x.csv"], "--scores needs the class tree"),
        (["--name", "x"], "--name needs --scores"),
        (["--scores", "x.csv", "--hierarchy", "t", "--tree"], "--tree has no meaning with"),
        (["RUN", "--scores", "x.csv", "--hierarchy", "t"], "leave out RUN"),
        (["--scores", "x.csv", "--hierarchy", "t", "--name", "a/b"], "name of a folder"),
        (["--scores", "x.csv", "--hierarchy", "t", "--name", "a "], "or a space at an end"),
    ):
        status, _, err = run_main(evaluate.main, capsys, *argv)
        assert status == 2 and words in err
    status, _, err = call(tmp_path / "nowhere.csv")
    assert status == 2 and "there is no such file" in err


def test_a_validation_split_gives_a_temperature_and_there_is_no_model(tmp_path, call, capsys):
    files = [tmp_path / "net.csv", tmp_path / "val.csv"]
    for seed, file in enumerate(files):
        as_table(make_arrays(TREE, seed=seed)).to_csv(file, index=False)
    status, _, err = call(files[0], "--val_scores", files[1])
    assert status == 0, err
    run = Run(tmp_path / "record" / "scores" / "net" / "seed1")
    table = pd.read_csv(run.folder / "evaluation.csv").set_index("metric")
    assert "calibrated/ece" in table.index
    status, _, err = run_main(predict.main, capsys, run.folder, tmp_path, "--rule", "majority")
    assert status == 2 and "image" in err  # no images there; with some, no model
    status, _, err = call(files[0], "--val_scores", files[1])  # again: replaced
    assert status == 0, err


def numbered(labels, titles=("11", "7", "30")):
    """Predictions of three classes that are called by numbers, all right; labels as given."""
    scores = np.eye(3)[np.arange(len(labels)) % 3] * 5 - 1
    return pd.DataFrame(scores, columns=titles).assign(label=labels)


@pytest.mark.parametrize("separate", [False, True], ids=["a column", "a file"])
def test_labels_with_zeros_before_them_are_names(tmp_path, separate):
    """Read as numbers, 001 and 002 would be the columns 1 and 2, counted from 0."""
    tree = Hierarchy.from_paths([("a", "000"), ("a", "001"), ("b", "002")])
    table = numbered(["001", "002", "001"], ("001", "002", "000"))
    table["file"] = files = ["007", "7", "08"]
    file, labels = tmp_path / "net.csv", tmp_path / "labels.csv"
    if separate:
        table[["label", "file"]][::-1].to_csv(labels, index=False)
        table = table.drop(columns="label")
    table.to_csv(file, index=False)
    found = read_predictions(file, tree, "tree", str(labels) if separate else None)
    assert found.labels.tolist() == [1, 2, 1] and found.files.tolist() == files
    numbered([0, 1, 2], ("001", "002", "000")).to_csv(file, index=False)  # numbers of columns
    assert read_predictions(file, tree, "tree").labels.tolist() == [1, 2, 0]


@pytest.mark.parametrize(
    "labels, classes",
    [
        ([0, 1, 2], [11, 7, 30]),  # numbers of columns
        ([11, 7, 30], [11, 7, 30]),  # names, of which none is the number of a column
    ],
)
def test_labels_that_are_numbers_are_columns_unless_they_are_names(tmp_path, labels, classes):
    tree = Hierarchy.from_paths([("a", "7"), ("a", "11"), ("b", "30")])
    numbered(labels).to_csv(tmp_path / "net.csv", index=False)
    found = read_predictions(tmp_path / "net.csv", tree, "tree")
    assert [tree.class_paths[c][-1] for c in found.labels] == list(map(str, classes))
    assert (found.scores.argmax(axis=1) == found.labels).all()


def test_labels_that_are_the_titles_of_columns_are_names_even_where_they_count(tmp_path):
    tree = Hierarchy.from_paths([("a", "0"), ("a", "1"), ("b", "2")])
    numbered([2, 0, 1], ("2", "0", "1")).to_csv(tmp_path / "net.csv", index=False)
    found = read_predictions(tmp_path / "net.csv", tree, "tree")
    assert found.labels.tolist() == [2, 0, 1]
    assert (found.scores.argmax(axis=1) == found.labels).all()


def test_labels_are_spelt_as_their_column_or_the_tree(tmp_path):
    tree = Hierarchy.from_paths([("a", "x y"), ("a", "z"), ("b", "w")])
    numbered(["X_Y", "z", "w"], ("X_Y", "z", "w")).to_csv(tmp_path / "net.csv", index=False)
    assert read_predictions(tmp_path / "net.csv", tree, "tree").labels.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "text", ["label\nA\nB\n", "truth\nA\nB\n", "sep=;\nfile;label\n0;A\n1;B\n"]
)
def test_labels_may_be_a_table_of_one_column_or_say_its_separator(tmp_path, text):
    tree = Hierarchy.from_paths([("A",), ("B",)])
    np.savez(tmp_path / "net.npz", scores=np.eye(2) * 3 - 1, files=["0", "1"])
    (tmp_path / "labels.csv").write_text(text, "utf-8")
    found = read_predictions(tmp_path / "net.npz", tree, "tree", str(tmp_path / "labels.csv"))
    assert found.labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    "arrays, words",
    [
        ({"labels": np.eye(3)}, "2 dimensions of labels; give the number of the true class"),
        ({"classes": np.array(["A", "B", "C"], dtype=object)}, "'classes' is not numbers or text"),
        ({"scores": np.eye(3) + 1j}, "expected numbers, got values of type complex128"),
        ({"scores": np.eye(3) * 98 + 1}, "sum to some 101, as percentages or votes do"),
        ({"scores": np.eye(3)[:0], "labels": []}, "holds scores of no image"),
        ({"labels": ["A", "", "C"]}, "image 2: its label is empty"),
        ({"labels": ["A", "up", "C"]}, "image 2: label 'up' is a superclass"),
    ],
    ids=["one-hot", "objects", "complex", "percent", "nothing", "no label", "superclass"],
)
def test_arrays_that_mean_something_else_are_refused_in_words(tmp_path, arrays, words):
    tree = Hierarchy.from_paths([("up", "A"), ("up", "B"), ("C",)])
    plain = {"scores": np.eye(3) * 4 - 1, "labels": [0, 1, 2], "classes": ["A", "B", "C"]}
    np.savez(tmp_path / "net.npz", **(plain | arrays))
    with pytest.raises(ValueError, match=re.escape(words)) as error:
        read_predictions(tmp_path / "net.npz", tree, "tree")
    assert "allow_pickle" not in str(error.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", np.random.default_rng(0).bytes(300), b"file,label\n", b"a,b\n1,2,3\n"],
    ids=["empty", "a line", "noise", "title", "ragged"],
)
@pytest.mark.parametrize("name", ["net.csv", "net.npz"])
def test_files_that_are_no_predictions_are_refused_and_not_a_crash(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"--val_scores .*{name}"):
        read_predictions(tmp_path / name, TREE, "tree", split="val_")


def test_an_archive_that_is_damaged_inside_is_named_with_its_array(tmp_path):
    np.savez(tmp_path / "net.npz", scores=np.zeros((50, TREE.num_classes)))
    content = bytearray((tmp_path / "net.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "net.npz").write_bytes(content)
    with pytest.raises(ValueError, match="its array 'scores' is damaged"):
        read_predictions(tmp_path / "net.npz", TREE, "tree")


def test_no_better_than_guessing_is_said(tmp_path):
    arrays = make_arrays(TREE, samples=40)
    right = np.eye(TREE.num_classes)[arrays["labels"]] * 3 - 1
    for sign, said in ((1, False), (-1, True)):
        np.savez(tmp_path / "net.npz", scores=sign * right, labels=arrays["labels"])
        notes = read_predictions(tmp_path / "net.npz", TREE, "tree").notes
        assert any("no more than by guessing" in note for note in notes) == said


def test_the_validation_images_are_others(tmp_path, call):
    file = tmp_path / "net.csv"
    as_table(make_arrays(TREE)).to_csv(file, index=False)
    status, _, err = call(file, "--val_scores", file)
    assert status == 2 and "--val_scores holds" in err and "images of --scores" in err


def test_labels_of_images_without_scores_are_counted_and_two_labels_refused(tmp_path):
    tree = Hierarchy.from_paths([("A",), ("B",)])
    np.savez(tmp_path / "net.npz", scores=np.eye(2) * 3 - 1, files=["0", "1"])
    labels = tmp_path / "labels.csv"
    labels.write_text("file,label\n1,B\n0,A\n2,A\n1,B\n", "utf-8")
    found = read_predictions(tmp_path / "net.npz", tree, "tree", str(labels))
    assert found.labels.tolist() == [0, 1]
    assert any("1 of the 3 images of --labels have no scores" in note for note in found.notes)
    labels.write_text("file,label\n1,B\n0,A\n1,A\n", "utf-8")
    with pytest.raises(ValueError, match="'1' has several labels there"):
        read_predictions(tmp_path / "net.npz", tree, "tree", str(labels))


def test_other_predictions_of_one_name_are_said_to_be_replaced(tmp_path, call):
    file = tmp_path / "net.csv"
    for seed, said in ((0, False), (0, False), (1, True)):
        as_table(make_arrays(TREE, seed=seed)).to_csv(file, index=False)
        status, out, _ = call(file)
        assert status == 0 and ("held other predictions, which these replace" in out) == said
