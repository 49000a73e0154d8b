"""Parquet files and tar shards become files and a table that trains."""

import io
import json
import tarfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from data.listed import Columns
from data.table import read_table
from scripts import unpack


def image(value, kind="PNG"):
    content = io.BytesIO()
    Image.fromarray(np.full((4, 5), value, np.uint8)).save(content, kind)
    return content.getvalue()


def write_shard(path, files):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def write_parquet(path, rows, features=None):
    pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow")
    from pyarrow import parquet

    table = pyarrow.Table.from_pylist(rows)
    notes = {"huggingface": json.dumps({"info": {"features": features or {}}})}
    parquet.write_table(table.replace_schema_metadata(notes), path)


def test_shards_become_files_and_a_table(tmp_path, capsys):
    where = {"genus": "Calanus", "haul": 7, "box": [1, 2]}
    write_shard(
        tmp_path / "set/train/0.tar",
        {
            "./a.jpg": image(10, "JPEG"),
            "./a.cls": b"1\n",
            "./a.json": json.dumps(where).encode(),
            "./b.x.png": image(20),
            "./b.cls": b"0",
            "../../c.cls": b"0",  # without an image, and not a place to write to
        },
    )
    write_shard(tmp_path / "set/test/0.tar", {"a.webp": image(30), "a.cls": b"1"})
    (tmp_path / "names.txt").write_text("Tripos\nCalanus, large\n")
    names = ["--class_names", str(tmp_path / "names.txt")]
    out = tmp_path / "out"
    assert unpack.main([str(tmp_path / "set"), "--out", str(out), *names]) == 0
    said = capsys.readouterr().out
    assert "unpacked 3 images of 2 files" in said and "../../c" in said
    assert f"--table {out / 'labels.csv'} --split given --split_column split" in said
    assert "are numbers" not in said
    table = pd.read_csv(out / "labels.csv", dtype=str, keep_default_na=False)
    assert table["file"].tolist() == [
        "test/0/000000.webp",
        "train/0/000000.jpg",
        "train/0/000001.png",
    ]
    assert table["label"].tolist() == ["Calanus, large", "Calanus, large", "Tripos"]
    assert table["haul"].tolist() == ["", "7", ""] and "box" not in table
    assert (out / "train/0/000000.jpg").read_bytes() == image(10, "JPEG")
    found = read_table(out / "labels.csv", out, Columns(levels=["label"], split_column="split"))
    assert found.hierarchy.class_names == ("Calanus, large", "Tripos")
    assert found.labels.tolist() == [0, 0, 1] and found.parts.tolist() == [2, 0, 0]
    assert unpack.main([str(tmp_path / "set"), "--out", str(out)]) == 1
    assert "labels.csv is there already" in capsys.readouterr().err


def test_a_parquet_file_of_hugging_face_has_the_names_of_its_classes(tmp_path, capsys):
    rows = [
        {"image": {"bytes": image(v), "path": name}, "label": label, "size": v / 4, "tags": ["x"]}
        for v, name, label in ((1, "a.PNG", 1), (2, None, 0), (3, "c", -1))
    ]
    write_parquet(
        tmp_path / "data.parquet",
        [*rows, {"image": None, "label": 0, "size": None, "tags": None}],
        {"label": {"_type": "ClassLabel", "names": ["Tripos", "Calanus"]}},
    )
    out = tmp_path / "out"
    assert unpack.main([str(tmp_path / "data.parquet"), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "note: 1 without an image are left out: " in said and "row 3" in said
    assert "--split" not in said
    table = pd.read_csv(out / "labels.csv", dtype=str, keep_default_na=False)
    assert table.columns.tolist() == ["file", "label", "size"]
    assert table["file"].tolist() == [f"data/00000{i}.png" for i in range(3)]
    assert table["label"].tolist() == ["Calanus", "Tripos", ""]
    assert table["size"].tolist() == ["0.25", "0.5", "0.75"]
    assert (out / "data/000001.png").read_bytes() == image(2)


def test_shards_of_one_part_are_no_split_and_labels_that_are_numbers_want_names(tmp_path, capsys):
    write_shard(tmp_path / "train/0.tar", {"a.png": image(1), "a.cls": b"0", "b.png": image(2)})
    assert unpack.main([str(tmp_path / "train"), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "next: python" in said and "--split" not in said
    assert "labels are numbers; --class_names FILE" in said


def test_an_archive_of_class_folders_is_no_shard(tmp_path, capsys):
    write_shard(tmp_path / "0.tar", {"crab/1.png": image(1), "fish/1.png": image(2)})
    assert unpack.main([str(tmp_path / "0.tar"), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "with tar -xf FILE" in said and "next: python" not in said


def test_several_columns_of_bytes_need_a_choice(tmp_path, capsys):
    write_parquet(tmp_path / "d.parquet", [{"left": image(1), "right": image(2), "label": "a"}])
    source, out = str(tmp_path / "d.parquet"), tmp_path / "out"
    assert unpack.main([source, "--out", str(out)]) == 1
    assert "--image_column; those that hold bytes are left, right" in capsys.readouterr().err
    assert unpack.main([source, "--out", str(out), "--image_column", "right"]) == 0
    assert (out / "d/000000.png").read_bytes() == image(2)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"no tar", "s.tar cannot be read: "),
        (None, "no file below .* ends in .parquet, .tar"),
        ({"a.jpg": b"x", "a.cls": b"2"}, "the label '2' is not one of the numbers 0 to 1"),
        ({"a.json": b"{"}, "s.tar cannot be read: "),
        ({"a.cls": b"1"}, "there is no image in "),
    ],
)
def test_what_cannot_be_unpacked_is_said(tmp_path, capsys, content, said):
    (tmp_path / "in").mkdir()
    (tmp_path / "names.txt").write_text("a\nb\n")
    if isinstance(content, bytes):
        (tmp_path / "in/s.tar").write_bytes(content)
    elif content:
        write_shard(tmp_path / "in/s.tar", content)
    names = ["--class_names", str(tmp_path / "names.txt")]
    assert unpack.main([str(tmp_path / "in"), "--out", str(tmp_path / "out"), *names]) == 1
    with pytest.raises(ValueError, match=said):
        raise ValueError(capsys.readouterr().err)
    assert not (tmp_path / "out/labels.csv").exists()


def test_two_files_of_one_name_are_not_mixed(tmp_path, capsys):
    for folder in "ab":
        write_shard(tmp_path / folder / "0.tar", {"x.png": image(1)})
    assert unpack.main([*map(str, map(tmp_path.joinpath, "ab")), "--out", str(tmp_path / "o")]) == 1
    assert "2 files are called 0: unpack them into different folders" in capsys.readouterr().err
