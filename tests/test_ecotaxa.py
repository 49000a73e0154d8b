"""Answers as a table for EcoTaxa, read back by this project's own reader of its tables."""

import numpy as np
from images import draw

from data.listed import Columns
from data.table import read_table
from evaluation.ecotaxa import (
    category_names,
    ecotaxa_rows,
    names_beside,
    object_ids,
    write_ecotaxa,
)
from hierarchies import Hierarchy

TREE = Hierarchy.from_paths(
    [
        ("Copepoda", "."),
        ("Copepoda", "Calanus", "egg"),
        ("Copepoda", "Oithona", "egg"),
        ("detritus > 1 mm",),
    ]
)


def node(*path):
    return next(v for v in range(TREE.num_nodes) if TREE.path(v) == path)


def test_names_are_followed_by_as_many_parents_as_tell_them_apart():
    names = category_names(TREE)
    assert names[0] == "" and names[node("Copepoda")] == "Copepoda"
    assert names[node("Copepoda", ".")] == "Copepoda"
    assert names[node("Copepoda", "Calanus", "egg")] == "egg<Calanus"
    assert names[node("detritus > 1 mm")] == "detritus > 1 mm"
    deep = Hierarchy.from_paths([("A", "x", "egg"), ("B", "x", "egg")])
    assert sorted(category_names(deep)) == ["", "A", "B", "egg<x<A", "egg<x<B", "x<A", "x<B"]


def test_the_table_has_titles_types_and_predicted_answers_and_is_read_back(tmp_path):
    files = ["haul 1/a.png", "haul 1/b.png", "haul 2/a.png", "c.png"]
    for file in files:
        draw(tmp_path / file)
    nodes = np.array(
        [node("Copepoda"), node("Copepoda", "Oithona", "egg"), 0, node("Copepoda", ".")]
    )
    out = tmp_path / "ecotaxa_answers.tsv"
    names = names_beside(out, [str(tmp_path / file) for file in files])
    assert names == files
    rows = ecotaxa_rows(
        TREE,
        names,
        nodes,
        np.array([0.9, 0.51234567, 1.0, 0.7]),
        np.array([0.5, np.nan, 0.25, 1.0]),
        object_ids(names),
        {"sample_id": ["h\n1", "h 1", "h 2", "h 3"]},
    )
    write_ecotaxa(out, rows)
    lines = [line.split("\t") for line in out.read_text().splitlines()]
    assert lines[0] == [
        "img_file_name",
        "img_rank",
        "object_id",
        "object_annotation_category",
        "object_annotation_hierarchy",
        "object_annotation_status",
        "object_probability",
        "object_novelty_p",
        "sample_id",
    ]
    assert lines[1] == ["[t]", "[f]", *["[t]"] * 4, "[f]", "[f]", "[t]"]
    assert lines[3] == [
        *("haul 1/b.png", "0", "haul 1/b", "egg<Oithona", "Copepoda>Oithona>egg", "predicted"),
        *("0.512346", "", "h 1"),
    ]
    assert lines[4][3:6] == ["", "", ""]  # the root: not classified
    found = read_table(out, tmp_path, Columns(where=["object_annotation_status=predicted"]))
    paths = [found.hierarchy.class_paths[label] for label in found.labels]
    assert dict(zip(found.files, paths)) == {
        "haul 1/a.png": ("Copepoda", "."),  # a class that is also a superclass of another
        "haul 1/b.png": ("Copepoda", "Oithona", "egg"),
        "c.png": ("Copepoda", "."),
    }
    assert sorted(found.groups) == ["h 1", "h 1", "h 3"]


def test_objects_of_several_images_are_ranked_and_equal_names_keep_their_suffix(tmp_path):
    rows = ecotaxa_rows(
        TREE, ["a.png", "b.png"], np.array([1, 1]), np.ones(2), np.ones(2), ["o", "o"]
    )
    assert [row["img_rank"] for row in rows] == [0, 1]
    assert object_ids(["x/a.png", "x/a.jpg", "b.png"]) == ["x/a.png", "x/a.jpg", "b"]
    assert names_beside(tmp_path / "in" / "t.tsv", [str(tmp_path / "a.png")]) is None


def test_without_an_image_the_table_has_its_titles(tmp_path):
    write_ecotaxa(tmp_path / "t.tsv", [])
    lines = (tmp_path / "t.tsv").read_text().splitlines()
    assert len(lines) == 2 and lines[0].startswith("img_file_name\timg_rank\tobject_id")
