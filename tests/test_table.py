"""Collections from tables, exports and split folders: the same images, classes and splits as from
class folders, and faults named with their line.
"""

import csv
import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from images import draw, make_learnable_folder
from trained import train_small

import data
from data.folder import DEFAULTS
from data.listed import Columns, list_images, read_large
from data.table import read_table
from hierarchies import scan_folders
from hierarchies.image_tables import paths_of_rows
from hierarchies.rows import Row, Table

CLASSES = ("Animals/Copepods/Calanus", "Animals/Copepods/Oithona", "Animals/Worms", "Plants")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Four classes of six grey images each, of unequal depth."""
    return make_learnable_folder(tmp_path_factory.mktemp("images"), CLASSES, 6)


@pytest.fixture(scope="module")
def tree(images):
    return scan_folders(images)


def write(path, rows, delimiter=",", before=""):
    with open(path, "w", newline="", encoding="utf-8") as file:
        file.write(before)
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


def rows_of(tree, *more):
    """A row for each image, in reverse order: file, three levels, and what `more` makes of it."""
    rows = [["file", "level1", "level2", "level3", *(name for name, _ in more)]]
    for i, file in reversed(list(enumerate(tree.files))):
        folders = list(Path(file).parts[:-1])
        padded = [*folders, *[""] * (3 - len(folders))]
        rows.append([file, *padded, *(make(i, file) for _, make in more)])
    return rows


LEVELS = ["level1", "level2", "level3"]


def check_same(found, tree):
    assert found.files == tree.files and found.hierarchy.digest == tree.hierarchy.digest
    np.testing.assert_array_equal(found.labels, tree.labels)


@pytest.mark.parametrize("before", ["", "\ufeff", "sep=;\n"])
@pytest.mark.parametrize("delimiter", [";", ",", "\t"])
def test_a_table_is_the_same_collection_as_its_folders(images, tree, tmp_path, delimiter, before):
    if before.startswith("sep") and delimiter != ";":
        pytest.skip("Excel names the separator that it uses")
    table = write(tmp_path / "table.csv", rows_of(tree), delimiter, before)
    check_same(read_table(table, images, Columns(levels=LEVELS)), tree)


def test_ranks_and_paths_are_recognised_by_their_titles(images, tree, tmp_path):
    rows = rows_of(tree)
    rows[0] = ["Image", "Kingdom", "Class", "Genus"]
    check_same(read_table(write(tmp_path / "ranks.csv", rows), images), tree)
    paths = [["image_path", "area", "lineage"]]
    paths += [[row[0], i, "|".join(filter(None, row[1:]))] for i, row in enumerate(rows[1:])]
    check_same(read_table(write(tmp_path / "paths.csv", paths), images), tree)
    foreign = [["科", "门", "文件", "大小"], *([row[2], row[1], row[0], "1,5"] for row in rows[1:])]
    found = read_table(write(tmp_path / "foreign.csv", foreign, ";"), images)
    assert found.files == tree.files and found.hierarchy.rank_names == ("phylum", "family")
    assert any("image files are those of the column '文件'" in note for note in found.notes)
    flat = [["filename", "label"], *([row[0], row[3] or row[2] or row[1]] for row in rows[1:])]
    found = read_table(write(tmp_path / "flat.csv", flat), images)
    assert found.hierarchy.max_depth == 1 and set(found.hierarchy.class_names) == {
        "Calanus", "Oithona", "Plants", "Worms"
    }  # fmt: skip


def ecotaxa(tree):
    """An export with quoted fields, a row of types, ranks of images, dubious rows and samples."""
    titles = ["object_id", "img_file_name", "img_rank", "object_annotation_hierarchy"]
    titles += ["object_annotation_status", "sample_id", "process_xml"]
    rows = [titles, ["[t]", "[t]", "[f]", "[t]", "[t]", "[t]", "[t]"]]
    for i, file in enumerate(tree.files):
        lineage = "living>" + ">".join(Path(file).parts[:-1])
        rows.append([f"o{i}", file, 0, lineage, "validated", f"haul{i % 8}", '<a b="c ""d"""/>'])
        rows.append([f"p{i}", f"gone/{i}.png", 0, "living>Other", "dubious", "haul9", ""])
    return rows


def test_an_export_of_ecotaxa_gives_its_validated_images_and_samples(images, tree, tmp_path):
    table = write(tmp_path / "export.tsv", ecotaxa(tree), "\t")
    found = read_table(table, images)
    check_same(found, tree)
    assert set(found.groups) == {f"haul{i}" for i in range(8)}
    assert any("left out: 24 of 48 rows" in note for note in found.notes)
    with pytest.raises(ValueError, match="24 of 24 files are not below"):
        read_table(table, images, Columns(where=["object_annotation_status=dubious"]))
    with pytest.raises(ValueError, match=r"no row has sample_id = 'x'; there are 'haul"):
        read_table(table, images, Columns(where=["sample_id=x"]))


def test_of_an_export_of_ecotaxa_the_measures_are_read_where_they_are_asked_for(
    images, tree, tmp_path
):
    titles, *rows = ecotaxa(tree)
    measures = ["object_area", "acq_id", "process_pixel", "sample_station"]
    rows = [[*row, "0.5", f"acq{i % 3}", "5.3", "B"] for i, row in enumerate(rows)]
    table = write(tmp_path / "export.tsv", [[*titles, *measures], *rows], "\t")
    assert not set(measures) & set(read_large(table, set(), False).header)
    assert "object_area" in read_large(table, {"object_area"}, False).header
    assert set(measures) <= set(read_large(table, set(), True).header)  # one may be of a box
    found = read_table(table, images, Columns(group_column="acq_id", where=["sample_station=B"]))
    check_same(found, tree)
    assert set(found.groups) == {"acq0", "acq1", "acq2"}
    with pytest.raises(ValueError, match="--group_column names .*'sample_haul'.* 'sample_station'"):
        read_table(table, images, Columns(group_column="sample_haul"))


@pytest.mark.parametrize("title", ["object_image", "object_picture"])
def test_a_column_of_image_files_of_an_export_of_ecotaxa_is_no_measure(
    images, tree, tmp_path, title
):
    titles, *rows = ecotaxa(tree)
    titles = [title if name == "img_file_name" else name for name in titles]
    check_same(read_table(write(tmp_path / "export.tsv", [titles, *rows], "\t"), images), tree)


def test_columns_of_an_export_of_ecotaxa_without_a_known_class_are_all_listed(tmp_path):
    titles = ["img_file_name", "object_annotation_status", "object_kind"]
    table = write(tmp_path / "export.tsv", [titles, ["a.png", "validated", "egg"]], "\t")
    (tmp_path / "a.png").touch()
    with pytest.raises(ValueError, match="no column is known to hold classes.*'object_kind'"):
        read_table(table, tmp_path)


@pytest.mark.parametrize("ranks", [("kingdom", "class"), ()])
def test_a_coco_file_gives_the_ranks_or_the_supercategory(images, tree, tmp_path, ranks):
    kinds = list(CLASSES)
    entries = [{"id": 7 * i, "file_name": file, "width": 20} for i, file in enumerate(tree.files)]
    categories = []
    for c, kind in enumerate(kinds):
        *upper, own = kind.split("/")
        fields = dict(zip(ranks, upper)) if ranks else {"supercategory": upper[-1] if upper else ""}
        categories.append({"id": 100 + c, "name": own, **fields})
    annotations = [
        {"id": i, "image_id": 7 * i, "category_id": 100 + kinds.index(str(Path(file).parent))}
        for i, file in enumerate(tree.files)
    ]
    content = {"images": entries, "annotations": annotations, "categories": categories}
    table = tmp_path / "coco.json"
    table.write_text(json.dumps(content))
    found = read_table(table, images)
    if ranks:
        check_same(found, tree)
    else:
        assert found.hierarchy.class_paths[0] == ("Animals", "Worms")
        assert found.files == tree.files
    del content["categories"]
    table.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="has no list 'categories': it is not a COCO file"):
        read_table(table, images)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[3].__setitem__(0, ""), "line 4: the column 'file' names no file"),
        (lambda rows: rows[3].__setitem__(0, "x/y.png"), "1 of 24 files are not below.*line 4"),
        (lambda rows: rows[3].__setitem__(0, "../a.png"), "line 4: '../a.png' is not below"),
        (lambda rows: rows[3].__setitem__(slice(1, 4), ["", "", ""]), "line 4: no level is filled"),
        (
            lambda rows: rows.append([rows[2][0], "Fungi", "", ""]),
            "line 26: .* is of class 'Fungi', but of 'Plants' in line 3",
        ),
        (
            lambda rows: (
                [row.append(row[0]) for row in rows] and rows[0].__setitem__(slice(0, 5, 4), "xy")
            ),
            "no column is named like one of image files",
        ),
    ],
)
def test_faults_are_named_with_their_line(images, tree, tmp_path, change, message):
    rows = rows_of(tree)
    change(rows)
    with pytest.raises(ValueError, match=message):
        read_table(write(tmp_path / "table.csv", rows), images, Columns(levels=LEVELS))


def test_a_table_without_known_columns_asks_for_the_levels(images, tree, tmp_path):
    table = write(tmp_path / "table.csv", rows_of(tree))
    with pytest.raises(ValueError, match="no column is known to hold classes.*--levels COLUMN"):
        read_table(table, images)


def test_repeated_rows_and_absolute_names_are_taken(images, tree, tmp_path):
    rows = rows_of(tree)
    rows += [list(rows[1])]
    rows = [rows[0], *([str(images / row[0]), *row[1:]] for row in rows[1:])]
    found = read_table(write(tmp_path / "table.csv", rows), images, Columns(levels=LEVELS))
    check_same(found, tree)
    assert any("1 row repeats another row" in note for note in found.notes)


def load(images, tmp_path, **options):
    options = {"dataset": "folder", "data_dir": str(images), "resize": 16, "gray": True, **options}
    return data.load({**options, "cache_dir": str(tmp_path / "cache")})


def test_a_split_that_is_not_asked_for_is_noted(images, tree, tmp_path):
    parts = ("split", lambda i, file: ("train", "Test", "")[i % 3])
    table = write(tmp_path / "t.csv", rows_of(tree, parts, ("one", lambda i, file: "test")))
    (note,) = (
        n for n in read_table(table, images, Columns(levels=LEVELS)).notes if "split anew" in n
    )
    assert "column 'split'" in note and "--split_column split" in note
    used = read_table(table, images, Columns(levels=LEVELS, split_column="split"))
    assert not any("split anew" in n for n in used.notes)


@pytest.mark.parametrize("mark", [" > ", ">", "|"])
def test_labels_that_are_paths_are_read_as_paths(images, tree, tmp_path, mark):
    rows = [[file, mark.join(Path(file).parts[:-1])] for file in tree.files]
    found = read_table(write(tmp_path / "t.csv", [["file", "taxon"], *rows]), images)
    check_same(found, tree)
    assert any("separated by" in note for note in found.notes)


def test_the_split_of_a_column_is_used_as_it_is(images, tree, tmp_path):
    words = ["Training", "train", "train", "VALID", "test", ""]
    rows = rows_of(tree, ("set", lambda i, file: words[i % 6]))
    table = write(tmp_path / "table.csv", rows)
    given = {"table": str(table), "levels": LEVELS, "split": "given", "split_column": "set"}
    splits = load(images, tmp_path, use_val=True, **given)
    position = np.arange(24) % 6
    for name, wanted in (("train", position < 3), ("val", position == 3), ("test", position == 4)):
        np.testing.assert_array_equal(getattr(splits, name), np.flatnonzero(wanted))
    assert any("4 images without a split" in note for note in splits.notes)
    without = load(images, tmp_path, **given)
    assert len(without.val) == 0 and any(
        "not used without --use_val: 4 val images" in n for n in without.notes
    )
    rows[5][-1] = "holdout"
    write(table, rows)
    with pytest.raises(ValueError, match="line 6: set is 'holdout'; a split is one of train, val"):
        load(images, tmp_path, **given)


def test_a_split_without_validation_holds_some_training_images_out(images, tree, tmp_path):
    rows = rows_of(tree, ("set", lambda i, file: "test" if i % 6 == 5 else "train"))
    table = write(tmp_path / "table.csv", rows)
    given = {"table": str(table), "levels": LEVELS, "split": "given", "split_column": "set"}
    splits = load(images, tmp_path, use_val=True, **given)
    # each class validates
    assert (len(splits.train), len(splits.val), len(splits.test)) == (16, 4, 4)


def test_groups_stay_on_one_side(images, tree, tmp_path):
    rows = rows_of(tree, ("haul", lambda i, file: f"h{i // 2}"))
    table = write(tmp_path / "table.csv", rows)
    options = {"table": str(table), "levels": LEVELS, "group_column": "haul", "use_val": True}
    splits = load(images, tmp_path, **options)
    sides = splits.membership.reshape(12, 2)
    assert (sides[:, 0] == sides[:, 1]).all() and set(sides.ravel()) == {0, 1, 2}
    with pytest.raises(ValueError, match="--split published parts groups"):
        load(images, tmp_path, **options, split="published")


@pytest.mark.parametrize("above", [True, False], ids=["above", "below"])
def test_folders_of_a_split_are_used_as_the_split_they_are(images, tree, tmp_path, above):
    words = ["train", "train", "train", "train", "val", "test"]
    for i, file in enumerate(tree.files):
        path = Path(file)
        word = words[i % 6]
        target = tmp_path / "set" / (word / path if above else path.parent / word / path.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((images / file).read_bytes())
    with pytest.raises(ValueError, match="give --split given"):
        load(tmp_path / "set", tmp_path)
    splits = load(tmp_path / "set", tmp_path, split="given", use_val=True)
    assert splits.hierarchy.digest == tree.hierarchy.digest
    np.testing.assert_array_equal(splits.labels, tree.labels)
    position = np.arange(24) % 6
    np.testing.assert_array_equal(splits.train, np.flatnonzero(position < 4))
    np.testing.assert_array_equal(splits.test, np.flatnonzero(position == 5))
    (tmp_path / "set" / "Strays").mkdir()
    (tmp_path / "set" / "Strays" / "1.png").write_bytes((images / tree.files[0]).read_bytes())
    with pytest.raises(ValueError, match="'Strays/1.png' below .* lies in no folder"):
        load(tmp_path / "set", tmp_path, split="given")


def test_every_option_of_a_table_is_one_of_folders():
    assert set(data.folder.TABLE_OPTIONS) < set(DEFAULTS)


def test_a_run_from_an_export_is_the_run_from_its_folders(images, tree, tmp_path):
    rows = ecotaxa(tree)
    at = rows[0].index("sample_id")  # samples would be groups, of which folders know nothing
    rows = [[*row[:at], *row[at + 1 :]] for row in rows]
    export = write(tmp_path / "export.tsv", rows, "\t")
    flags = ["--method", "DR", "--gray", "--use_val", "--cache_dir", str(tmp_path / "cache")]
    runs = [
        train_small(images, tmp_path / name, *flags, *more)[1]
        for name, more in (("folders", ()), ("table", ("--table", str(export))))
    ]
    for name in ("epochs.csv", "metrics.csv"):
        first, second = ((run.folder / name).read_bytes() for run in runs)
        assert first == second and len(first) > 100


def coco(categories, **others):
    images = [{"id": i, "file_name": f"{i}.png"} for i in range(3)]
    annotations = [{"image_id": i, "category_id": i} for i in range(3)]
    kinds = [{"id": i, **entry} for i, entry in enumerate(categories)]
    return {"images": images, "annotations": annotations, "categories": kinds, **others}


NAMED = [{"name": "a"}, {"name": "b"}, {"name": "c"}]


@pytest.fixture
def coco_of(tmp_path):
    for i in range(3):
        (tmp_path / f"{i}.png").touch()

    def read(content):
        (tmp_path / "coco.json").write_text(json.dumps(content))
        return read_table(tmp_path / "coco.json", tmp_path)

    return read


@pytest.mark.parametrize(
    ("categories", "paths"),
    [
        (
            [{"name": n, "supercategory": s} for n, s in ("aX", "bX", "cY", "XR", "YR")],
            [("X", "a"), ("X", "b"), ("Y", "c")],  # and R is the root
        ),
        (
            [{"name": n, "supercategory": s} for n, s in (("a", "none"), ("b", "none"), "cc")],
            [("a",), ("b",), ("c",)],
        ),
        (
            [{"name": n, "Genus": g, "Family": "F"} for n, g in ("aG", "bG", ("c", None))],
            [("G", "a"), ("G", "b"), ("c",)],
        ),
        (
            [{"name": n, "supercategory": s, "genre": g} for n, s, g in ("aXg", "bXh", "cYh")],
            [("X", "a"), ("X", "b"), ("Y", "c")],
        ),
    ],
    ids=["a tree of supercategories", "none and the own name", "capitals", "a kind"],
)
def test_what_is_above_a_category_of_a_coco_file(coco_of, categories, paths):
    assert sorted(coco_of(coco(categories)).hierarchy.class_paths) == sorted(paths)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": ["0.png"]}, "entry 1 of 'images' has no 'id'"),
        ({"annotations": [7]}, "annotation 1 names an unknown image"),
        ({"annotations": [{"image_id": 0, "category_id": "0"}]}, "unknown category: .* is '0'"),
        ({"categories": [{"id": 0, "name": "a"}, {"id": 0, "name": "b"}]}, "entry 2 .* the id 0"),
        ({"annotations": [{"image_id": 0, "category_id": c} for c in (0, 1)]},
         "annotation 2: .*0.png.* is of class 'b'"),
        ({"categories": [{"id": 0, "name": "a", "supercategory": "b"},
                         {"id": 1, "name": "b", "supercategory": "a"}]}, "in a circle"),
    ],
)  # fmt: skip
def test_faults_of_a_coco_file_are_named(coco_of, change, message):
    with pytest.raises(ValueError, match=f"coco.json.*{message}"):
        coco_of(coco(NAMED) | change)


def test_the_order_in_a_list_of_categories_is_no_rank(coco_of):
    names = enumerate(("aX", "bX", "cY"))
    content = coco([{"name": n, "supercategory": s, "order": i} for i, (n, s) in names])
    assert coco_of(content).hierarchy.class_paths == (("X", "a"), ("X", "b"), ("Y", "c"))


def test_what_a_coco_file_says_of_images_is_not_of_their_class(coco_of):
    content = coco(NAMED)
    for image in content["images"]:
        image |= {
            "path": f"/d/{image['file_name']}",
            "section": "S",
            "label": "x",
            "lineage": "K>L",
        }
    assert coco_of(content).hierarchy.class_paths == (("a",), ("b",), ("c",))


def test_ids_of_a_coco_file_may_be_numbers_with_a_point(coco_of):
    content = coco(NAMED, annotations=[{"image_id": float(i), "category_id": i} for i in range(3)])
    for image in content["images"]:
        image["id"] = float(image["id"])
    assert coco_of(content).labels.tolist() == [0, 1, 2]


def test_images_without_an_annotation_are_counted(coco_of):
    found = coco_of(coco(NAMED, annotations=[{"image_id": i, "category_id": i} for i in (0, 1)]))
    assert len(found.files) == 2 and "1 of 3 images" in found.notes[0]


def test_a_table_of_images_may_be_larger_than_a_class_tree(tmp_path, monkeypatch):
    (tmp_path / "a.png").touch()
    (tmp_path / "t.csv").write_text("file,label\na.png,x\n")
    monkeypatch.setattr("hierarchies.texts.MAX_BYTES", 5)
    assert read_table(tmp_path / "t.csv", tmp_path).files == ("a.png",)
    monkeypatch.setattr("data.listed.MOST_BYTES", 10)
    with pytest.raises(ValueError, match="cut it to what is used"):
        read_table(tmp_path / "t.csv", tmp_path)


@pytest.fixture
def three(tmp_path):
    """A folder with the images im/0.png to im/2.png, and what reads a table of them."""
    folder = tmp_path / "set"
    (folder / "im").mkdir(parents=True)
    for i in range(3):
        (folder / "im" / f"{i}.png").touch()

    def read(lines, **options):
        (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
        return read_table(tmp_path / "t.csv", folder, Columns(**options))

    return read


@pytest.mark.parametrize(
    "start", ["C:\\Users\\me\\im\\", "/home/me/im/", "set/im/", "https://x.org/im/"]
)
def test_folders_before_the_data_folder_are_taken_off_where_all_files_are_there_then(three, start):
    found = three(["file,label", *(f"{start}{i}.png,{'abc'[i]}" for i in range(3))])
    assert found.files == ("im/0.png", "im/1.png", "im/2.png")
    assert any("are taken without" in note for note in found.notes)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["0.png", "1.png", "2.png"], "there is 'im/0.png': give --data_dir .*set/im"),
        (["0", "1", "2"], "there is 'im/0.png': write the names as they are"),
        (["im/0.PNG", "im/1.PNG", "im/2.PNG"], "there is 'im/0.png': write the names as they are"),
        (["im/0.png", "im/1.png", "im/7.png"], "line 4: 'im/7.png'; add them, or remove"),
        (["/home/me/0.png", "/home/you/1.png", "/srv/2.png"], "line 2: .* is not below"),
    ],
)
def test_a_file_that_is_not_there_is_looked_for_by_its_name(three, names, message):
    with pytest.raises(ValueError, match=message):
        three(["file,label", *(f"{name},{label}" for name, label in zip(names, "abc"))])


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["im/0.png,a", "im/1.png,b"], "line 1: the first row must be titles"),
        (["file,label", "[t],[t]"], "no row of an image"),
        (["file", "im/0.png"], "no column is known to hold classes"),
        (["file,label", "im/0.png,a", "im/1.png,NA"], "line 3: no level is filled"),
        (["file,label", "im/0.png,a, juvenile"], "a cell with ',' in it must be in quotes"),
        (
            ["file,A,B", "im/0.png,1,0", "im/1.png,0,1"],
            "'A', 'B' are columns with a number for each class",
        ),
        (
            ["file,n,A,B,C", "im/0.png,0,0.2,.8,1e-5", "im/1.png,0,0,1.0,0"],
            "'A', 'B', 'C' are columns with a number for each class",
        ),
        (
            ["file,A,B,C", "im/0.png,1,0,0", "im/1.png,1,1,0", "im/2.png,0,0,0"],
            "'A', 'B' are columns with a number for each class; 2 images have none or several",
        ),
        (["file,count,id", "im/0.png,1,0", "im/1.png,1,0"], "no column is known to hold classes"),
        (["im/0.png 0", "im/1.png 1"], "line 1: the first row must be titles.* between cells"),
        (["file label", "0.png a"], "line 1: cells are separated by comma.* one cell, 'file label"),
        (
            ['{"file_name": "0.png", "label": "a"}', '{"file_name": "1.png", "label": "b"}'],
            "holds JSON, of which --table reads COCO files alone",
        ),
    ],
)
def test_tables_without_titles_images_or_classes_are_refused(three, lines, message):
    with pytest.raises(ValueError, match=message):
        three(lines)


def test_rows_are_chosen_by_what_they_have_and_by_what_they_have_not(three):
    rows = ["file,label,by", "im/0.png,a,x", "im/1.png,NA,y", "im/2.png,b,y", "im/1.png,c,z"]
    with pytest.raises(ValueError, match="line 3: no level is filled, as in 1 row .*'label!='"):
        three(rows[:4])
    found = three(rows[:4], where=["label!="])
    assert found.files == ("im/0.png", "im/2.png")
    assert found.notes[0].startswith("left out: 1 of 3 rows, where label is ''")
    assert three(rows, where=["by!=y", "by!=w"]).files == ("im/0.png", "im/1.png")
    assert three(rows, where=["by=y", "by=x", "label!="]).files == ("im/0.png", "im/2.png")
    with pytest.raises(ValueError, match="no row has by != 'x' or 'y' or 'z'; there are 'y'"):
        three(rows, where=["by!=x", "by!=y", "by!=z"])
    for text in ("by", "=x"):
        with pytest.raises(ValueError, match="--where takes COLUMN=VALUE or COLUMN!=VALUE"):
            three(rows, where=[text])


def test_columns_that_group_the_classes_of_a_flat_table_are_noted(three):
    rows = [f"im/{i}.png,{'abc'[i]},{'gh'[i > 1]},{i > 0:d},{'abc'[i]},{'x'[:i]}" for i in range(3)]
    found = three(["file,label,kind,n,code,note", *rows])
    (note,) = [note for note in found.notes if "have no tree" in note]
    assert "'kind' says a group of each: --levels kind label makes it their superclass" in note
    found = three(["file,label,kind", *(row.rsplit(",", 3)[0] for row in rows)], levels=["label"])
    assert not any("have no tree" in note for note in found.notes)


def test_the_columns_that_make_the_class_are_named(three):
    rows = [f"{i},im/{i}.png,F,{'abc'[i]},{i}" for i in range(3)]  # numbered as pandas does
    found = three([",image,family,label,size", *rows])
    assert found.hierarchy.class_names == ("a", "b", "c")
    assert "columns family > label" in found.notes[0]
    rows = [f"im/{i}.png,{'abc'[i]}" for i in range(3)]  # as in a file to import
    found = three(["img_file_name,object_annotation_category", *rows])
    assert found.hierarchy.class_names == ("a", "b", "c")


@pytest.mark.parametrize(
    ("titles", "cells", "paths"),
    [
        ("path,label", "{file},{label}", "a b c"),  # and not a class for each file
        ("image,path,label", "{i},{file},{label}", "a b c"),
        ("file,path,label", "{file},/d/{file},{label}", "a b c"),
        ("file,supercategory,category", "{file},X{i},{label}", "X0/a X1/b X2/c"),
        ("file,taxonomy,species", "{file},worms,{label}", "a b c"),
        ("file,folder,scientificName", "{file},im,{label}", "a b c"),
        ("file,name,genus,species", "{file},bob{i},G{i},{label}", "G0/a G1/b G2/c"),
        ("file,order,label", "{file},{i},{label}", "a b c"),
        ("file,higherClassification,genus,species", "{file},K; G,G{i},{label}", "G0/a G1/b G2/c"),
        ("file,higherClassification,scientificName", "{file},K; G{i},{label}", "G0/a G1/b G2/c"),
        ("file,lineage,label", "{file},K>{label},x", "a b c"),
        ("file,folder", "{file},{label}", "a b c"),
        ("file,taxonomy", "{file},{label}", "a b c"),
    ],
)
def test_which_columns_of_a_table_of_images_make_the_class(three, titles, cells, paths):
    rows = [cells.format(i=i, file=f"im/{i}.png", label="abc"[i]) for i in range(3)]
    found = three([titles, *rows]).hierarchy
    assert list(map("/".join, found.class_paths)) == paths.split()


@pytest.mark.parametrize(
    ("folders", "genera", "names"),
    [("aab", "GGG", "a b"), ("aab", "GHG", "G H"), ("abc", "GGH", "G H"), ("aab", "GGH", "G H")],
    ids=["parts a genus", "has two", "one for each image", "says the same"],
)
def test_a_folder_beside_ranks_is_a_label_where_it_parts_what_they_leave_together(
    three, folders, genera, names
):
    rows = [f"im/{i}.png,{folders[i]},{genera[i]}" for i in range(3)]
    found = three(["file,folder,genus", *rows]).hierarchy
    assert found.class_names == tuple(names.split())


def test_a_folder_of_several_genera_is_no_label():
    rows = [Row(2 + i, [*cells]) for i, cells in enumerate(("aG", "aH", "bG", "cG"))]
    table = Table("t.csv", ["folder", "genus"], rows)
    assert set(paths_of_rows(table).paths) == {("G",), ("H",)}


def test_of_names_beside_the_species_no_class_is_made(three):
    lines = ["file,name,species", "im/0.png,bob,a", "im/1.png,eve,a", "im/2.png,bob,b"]
    assert three(lines).hierarchy.class_paths == (("a",), ("b",))


def test_a_table_with_columns_of_files_and_groups_alone_has_no_classes(three):
    with pytest.raises(ValueError, match="only columns of files, groups or splits; --levels"):
        three(["file,label", *(f"im/{i}.png,a" for i in range(3))], group_column="label")


def test_a_column_of_groups_or_of_the_split_is_no_rank(three):
    rows = [f"im/{i}.png,{'abc'[i]},h{i},{'train' if i else 'test'}" for i in range(3)]
    columns = {"group_column": "section", "split_column": "series"}
    found = three(["file,label,section,series", *rows], **columns)
    assert found.hierarchy.class_paths == (("a",), ("b",), ("c",))
    found = three(["file,label,section,series", *rows], levels=["section", "label"], **columns)
    assert found.hierarchy.class_paths == (("h0", "a"), ("h1", "b"), ("h2", "c"))  # as is asked


def test_no_way_of_writing_names_files_beside_the_data_folder(three, tmp_path):
    (tmp_path / "out").mkdir()
    for i in range(3):
        (tmp_path / "out" / f"{i}.png").touch()
    with pytest.raises(ValueError, match="is not below"):
        three(["file,label", *(f"x/../out/{i}.png,{'abc'[i]}" for i in range(3))])


def test_a_mark_in_the_place_of_a_split_is_none(three):
    rows = [f"im/{i}.png,{'abc'[i]},{word}" for i, word in enumerate(("train", "-", "NA"))]
    assert three(["file,label,set", *rows], split_column="set").parts.tolist() == [0, -1, -1]


@pytest.mark.parametrize(
    ("title", "words", "parts"),
    [
        ("is_train", "1 0 1", [0, 2, 0]),
        ("Is_Test", "True False False", [2, 0, 0]),
        ("is_training_image", "yes no no", [0, 2, 2]),
        ("isValid", "n y n", [0, 1, 0]),
    ],
)
def test_a_column_that_asks_for_a_part_of_the_split_is_answered(three, title, words, parts):
    rows = [f"im/{i}.png,{'abc'[i]},{word}" for i, word in enumerate(words.split())]
    lines = [f"file,label,{title}", *rows]
    assert three(lines, split_column=title).parts.tolist() == parts
    # 'valid' alone leaves no image for the test, and may say that a label was checked
    noted = any(f"--split_column {title}" in note for note in three(lines).notes)
    assert noted == (2 in parts)


def test_a_name_for_each_image_is_no_class_beside_ranks(tmp_path):
    for i in range(10):
        (tmp_path / f"{i}.png").touch()
    rows = [f"{i}.png,object {i},{'ab'[i % 2]}" for i in range(10)]
    (tmp_path / "t.csv").write_text("\n".join(["file,name,class", *rows]) + "\n")
    assert read_table(tmp_path / "t.csv", tmp_path).hierarchy.class_paths == (("a",), ("b",))
    (tmp_path / "t.csv").write_text("\n".join(["file,name,kind", *rows]) + "\n")
    with pytest.raises(ValueError, match="each of the 10 images .* such as 'object 0': .*--levels"):
        load(tmp_path, tmp_path, table=str(tmp_path / "t.csv"))


def test_a_column_of_what_may_belong_together_is_noted(tmp_path):
    for i in range(9):
        (tmp_path / f"{i}.png").touch()
    rows = [f"{i}.png,{'ab'[i % 2]},{i // 3},train" for i in range(9)]

    def said(title, **options):
        (tmp_path / "t.csv").write_text("\n".join([f"file,label,{title},set", *rows]) + "\n")
        notes = read_table(tmp_path / "t.csv", tmp_path, Columns(**options)).notes
        return any(f"--group_column {title} keeps them together" in note for note in notes)

    assert said("Haul") and said("station_id") and not said("size")
    assert not said("Haul", group_column="Haul") and not said("Haul", split_column="set")
    assert not said("individual", levels=["individual"])


def test_numbers_of_folds_are_groups(three):
    lines = ["file,label,fold", *(f"im/{i}.png,{'abc'[i]},{i}" for i in range(3))]
    (note,) = (note for note in three(lines).notes if "which fold" in note)
    assert "--group_column fold --fold 1/3 tests one" in note
    assert not any("which fold" in note for note in three(lines, group_column="fold").notes)
    with pytest.raises(ValueError, match="fold is '0'; a split .*--group_column fold --fold 1/5"):
        three(lines, split_column="fold")


def test_labels_that_a_classifier_predicted_are_noted(three):
    rows = [f"im/{i}.png,{'abc'[i]},{'Validated' if i else 'predicted'}" for i in range(3)]
    (note,) = (note for note in three(["file,label,status", *rows]).notes if "predicted" in note)
    assert (
        "'status' says predicted of 1 of 3 rows" in note
        and "--where status=Validated leaves" in note
    )
    assert len(three(["file,label,status", *rows[1:]]).notes) == 1


def test_labels_that_all_begin_with_a_slash_are_paths(three):
    found = three(["file,label", *(f"im/{i}.png,/{'AAB'[i]}/{'abc'[i]}" for i in range(3))])
    assert found.hierarchy.class_paths == (("A", "a"), ("A", "b"), ("B", "c"))


def test_images_without_a_group_are_each_for_itself(three):
    rows = [f"im/{i}.png,{'abc'[i]},{'h' if i == 1 else 'NA'}" for i in range(3)]
    found = three(["file,label,haul", *rows], group_column="haul")
    assert found.groups.tolist() == ["", "h", ""]
    assert any("1 group, and 2 images without one" in note for note in found.notes)


def test_an_image_in_two_splits_or_groups_is_refused(three):
    rows = ["file,label,set,haul", "im/0.png,a,train,1", "im/1.png,b,train,2", "im/2.png,c,test,3"]
    assert three([*rows, "im/0.png,a,train,7"], split_column="set").parts.tolist() == [0, 0, 2]
    with pytest.raises(ValueError, match="line 5: 'im/0.png' is in the split 'test', but in 'tra"):
        three([*rows, "im/0.png,a,test,1"], split_column="set")
    with pytest.raises(ValueError, match="line 5: 'im/0.png' is of the group '3', but of '1' in l"):
        three([*rows, "im/0.png,a,train,3"], group_column="haul")


def test_a_quotation_mark_that_is_not_closed_swallows_no_rows(three):
    rows = ["file,comment,label", "im/0.png,x,a", 'im/1.png,"by night,b', "im/2.png,x,a"]
    with pytest.raises(ValueError, match="t.csv, line 3: a cell that begins here .* close its quo"):
        three([*rows, 'im/3.png,y",b'])
    rows[2:] = ['im/1.png,"two, lines,\nor, with, more",a', 'im/2.png,"one\n, two, three",b']
    assert len(three(rows).files) == 3


def test_groups_that_are_perhaps_one_are_noted(three):
    def note(*groups):
        rows = [f"im/{i}.png,{'abc'[i]},{group}" for i, group in enumerate(groups)]
        found = three(["file,label,haul", *rows], group_column="haul")
        assert found.groups.tolist() == [*groups]  # what is written decides
        return [note for note in found.notes if "written in several ways" in note]

    for groups, shown in (
        (("7", "7.0", "8"), "'7' and '7.0'"),
        (("Haul_1", "haul 1", "haul 2"), "'Haul_1' and 'haul 1'"),
        (("é", "e\u0301", "e"), r"'e\u0301' and '\xe9'"),
    ):
        assert (
            f"1 group is written in several ways, each of its own: {shown}. If" in note(*groups)[0]
        )
    assert note("7", "70", "haul7") == []


def test_objects_of_an_export_without_samples_are_groups_where_one_has_several_images(three):
    titles = "object_id,img_file_name,object_annotation_hierarchy,object_annotation_status"
    rows = [f"o{i // 2},im/{i}.png,living>{'abb'[i]},validated" for i in range(3)]
    assert three([titles, *rows]).groups.tolist() == ["o0", "o0", "o1"]
    rows = [f"o{i},im/{i}.png,living>{'abb'[i]},validated" for i in range(3)]
    assert three([titles, *rows]).groups is None


def test_boxes_in_shares_of_the_image_are_no_pixels(three):
    rows = [f"im/{i}.png,{'abc'[i]},0.5,0.5,0.2,1" for i in range(3)]
    with pytest.raises(ValueError, match="shares of the image's sides, as YOLO"):
        three(["file,label,x,y,w,h", *rows], boxes=True)


def test_labels_of_a_table_are_not_called_folders(three, tmp_path):
    (tmp_path / "t.csv").write_text("file,label\n" + "".join(f"im/{i}.png,a\n" for i in range(3)))
    given = {"dataset": "folder", "data_dir": tmp_path / "set", "table": tmp_path / "t.csv"}
    with pytest.raises(ValueError, match="one class, 'a'.*--levels COLUMN"):
        data.load(given)


def test_accents_of_a_table_from_a_mac_are_those_of_the_folder(three, tmp_path):
    (tmp_path / "set" / "im" / "é.png").touch()
    decomposed = unicodedata.normalize("NFD", "im/é.png")
    assert three(["file,label", f"{decomposed},a", "im/0.png,b"]).files == ("im/0.png", "im/é.png")


def test_a_split_of_the_folders_that_a_table_does_not_use_is_noted(tmp_path):
    for file in ("train/0.png", "train/1.png", "test/2.png", "3.png"):
        draw(tmp_path / "set" / file)

    def notes(*rows, **options):
        (tmp_path / "t.csv").write_text("\n".join(["file,label,set", *rows]))
        found = read_table(tmp_path / "t.csv", tmp_path / "set", Columns(**options))
        return [note for note in found.notes if "in folders named" in note or "in a folder" in note]

    rows = ["train/0.png,a,test", "train/1.png,b,train", "test/2.png,a,"]
    plain = ["train/0.png,a,", "train/1.png,b,", "test/2.png,a,"]
    (note,) = notes(*plain)
    assert "in folders named like train and test, and the images are split anew" in note
    assert notes(*plain, "3.png,a,") == []  # not all are
    assert notes(*rows) == []  # which the column says that is noted then
    (note,) = notes(*rows, split_column="set")
    assert note.startswith("1 image lies in a folder of another split than the column 'set' says")
    assert note.endswith("such as 'train/0.png': test")
    assert notes(*rows[1:], split_column="set") == []
    # a folder named test beside others is perhaps the shell of an urchin
    assert notes(*rows, "3.png,a,train", split_column="set") == []


def test_columns_and_values_are_found_however_their_accents_are_stored(three, tmp_path):
    title, value = "Größe", "Ålesund"
    apart = [unicodedata.normalize("NFD", text) for text in (title, value)]
    rows = [f"file,label,{apart[0]}", *(f"im/{i}.png,{'abc'[i]},{apart[1]}" for i in range(3))]
    found = three(rows, where=[f"{title}={value}"], group_column=title)
    assert set(found.groups) == {apart[1]}
    listed = list_images(tmp_path / "t.csv", tmp_path / "set", Columns(sample_column=title))
    assert listed.columns == {title: [apart[1]] * 3}


def test_a_table_that_was_saved_twice_with_a_mark_of_byte_order_is_read(three):
    found = three(["\ufeff\ufefffile,label", *(f"im/{i}.png,{'abc'[i]}" for i in range(3))])
    assert found.hierarchy.class_names == ("a", "b", "c")


def test_a_level_that_is_no_column_is_refused_with_those_that_are(three):
    with pytest.raises(ValueError, match="--levels names 'c', but the columns are 'a', 'b'"):
        three(["file,a,b", "im/0.png,x,y"], levels=["a", "c"])


def test_a_slash_in_labels_is_noted_and_makes_paths_on_demand(three):
    lines = ["file,label", "im/0.png,A/a", "im/1.png,A/b", "im/2.png,B/c"]
    found = three(lines)
    assert found.hierarchy.max_depth == 1
    assert any("--levels label reads paths" in note for note in found.notes)
    assert three(lines, levels=["label"]).hierarchy.max_depth == 2


@pytest.mark.parametrize("title", ["label", "class"])
def test_paths_in_the_only_column_of_the_class_are_read_or_noted(three, title):
    lines = [f"file,{title}", "im/0.png,A > a", "im/1.png,A > b", "im/2.png,B > c"]
    assert three(lines).hierarchy.max_depth == 2
    slashes = [line.replace(" > ", "/") for line in lines]
    assert any(f"--levels {title} reads paths" in note for note in three(slashes).notes)


def test_the_split_of_a_run_is_a_table(images, tmp_path):
    argv = ("--gray", "--method", "DR", "--dim", "4", "--use_val", "--max_images", "2")
    status, run = train_small(images, tmp_path, *argv)
    found = read_table(run.folder / "split.csv", images, Columns(split_column="split"))
    table = run.split.set_index("file").loc[[*found.files]]
    assert status == 0 and found.hierarchy.class_paths == run.hierarchy.class_paths
    assert found.labels.tolist() == table["label"].tolist()
    codes = {"train": 0, "val": 1, "calibration": 1, "test": 2, "unused": -1}
    assert found.parts.tolist() == [codes[word] for word in table["split"]]
    assert {*table["split"]} == {*codes}


def test_files_may_be_named_without_their_suffix_where_it_is_clear(three, tmp_path):
    found = three(["image_id,label", *(f"im/{i},{'abc'[i]}" for i in range(3))])
    assert found.files == ("im/0.png", "im/1.png", "im/2.png")
    assert any("with the suffixes" in note for note in found.notes)
    (tmp_path / "set" / "im" / "1.jpg").touch()
    with pytest.raises(ValueError, match="there is 'im/0.png': write the names as they are"):
        three(["image_id,label", *(f"im/{i},{'abc'[i]}" for i in range(3))])


def test_a_section_or_form_that_parts_most_labels_is_no_rank(three):
    def classes(title, *cells):
        rows = (f"im/{i}.png,{row}" for i, row in enumerate(cells))
        return ["/".join(p) for p in three([f"file,label,{title}", *rows]).hierarchy.class_paths]

    for title in ("section", "Form", "domain"):
        assert classes(title, "a,north", "a,south", "b,north") == ["a", "b"]
    assert classes("order", "a,X", "b,X", "c,Y") == ["X/a", "X/b", "Y/c"]
    assert classes("order", "egg,X", "egg,Y", "adult,X") == ["X/adult", "X/egg", "Y/egg"]
    # labels are stages, and sections hold whole families
    both = classes("section,family", "egg,S,F", "egg,T,G", "adult,T,G")
    assert both == ["S/F/egg", "T/G/adult", "T/G/egg"]
    assert classes("section,family", "a,north,F", "a,south,F", "b,north,G") == ["F/a", "G/b"]
    assert classes("family", "a,X", "a,Y", "b,Y") == ["X/a", "Y/a", "Y/b"]  # means nothing else


@pytest.mark.parametrize(
    "titles, cells, classes",
    [
        ("label,label_name", ("0,Calanus", "1,Oithona", "1,Oithona"), ("Calanus", "Oithona")),
        ("label,species", ("0.0,Calanus x", "1.0,Oithona y", "1.0,Oithona y"), None),
        (
            "label,genus,specificEpithet",
            ("0,Aus,x", "1,Aus,y", "1,Aus,y"),
            ("Aus x", "Aus y"),
        ),
        # numbers that say more than the names, and names of images
        ("label,genus", ("0,Aus", "1,Aus", "1,Bus"), ("Aus/0", "Aus/1", "Bus/1")),
        ("label,name", ("0,first", "1,second", "1,third"), ("0", "1")),
        ("label,name", ("0,A", "1,", "1,"), ("0", "1")),
    ],
)
def test_numbers_of_classes_give_way_to_their_names(three, titles, cells, classes):
    found = three([f"file,{titles}", *(f"im/{i}.png,{row}" for i, row in enumerate(cells))])
    paths = tuple("/".join(path) for path in found.hierarchy.class_paths)
    assert paths == (classes or ("Calanus x", "Oithona y"))


@pytest.mark.parametrize(
    "titles",
    ["label_name,label_hierarchy", "label.name,label.lineage_names"],
    ids=["BIIGLE", "SQUIDLE"],
)
def test_lineages_of_programs_for_annotation_are_paths(three, titles):
    rows = (f"im/{i}.png,{name},Fauna > {'AAB'[i]} > {name}" for i, name in enumerate("xyz"))
    found = three([f"file,{titles}", *rows])
    assert found.hierarchy.class_paths == (("A", "x"), ("A", "y"), ("B", "z"))
