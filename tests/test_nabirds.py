"""NABirds' official folder: tree, images, boxes, splits, what is refused, an epoch through the real
command line.
"""

import re

import numpy as np
import pytest
import torch
from images import make_earlier
from nabirds_files import LEAVES, NAMES, PER_CLASS, edit, read_lines, write_nabirds
from PIL import Image

import data
import train_nabirds
from data import opening
from data.cache import build_cache
from data.decoding import read_image
from data.reading import Reading
from files.fingerprints import pixels_fingerprint
from hierarchies.distances import path_length
from options import command_line
from runs.folder import Run
from training import start

IMAGES = len(LEAVES) * PER_CLASS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_nabirds(tmp_path_factory.mktemp("official"))


@pytest.fixture
def own(tmp_path):
    """A copy that a test may damage."""
    return write_nabirds(tmp_path)


def load(folder, **options):
    return data.load({"dataset": "NABirds", "data_dir": str(folder), "resize": 8, **options})


def sizes(splits):
    return len(splits.train), len(splits.val), len(splits.test)


def test_a_cache_of_an_earlier_version_says_by_which_hash_it_knows_images(own, monkeypatch):
    def build_earlier(*arguments, **options):
        make_earlier(build_cache(*arguments, **options))
        return build_cache(*arguments, **options)

    monkeypatch.setattr(opening, "build_cache", build_earlier)
    splits = load(own)
    size = tuple(splits.sizes[0].astype(int).tolist())
    expected = pixels_fingerprint(splits.pixels[0], size, splits.fingerprints_of)
    assert splits.fingerprints_of == "pixels" and splits.content[0] == f"{expected:016x}"


def test_the_tree_is_that_of_hierarchy_txt_with_the_names_of_classes_txt(folder):
    tree = load(folder).hierarchy
    assert tree.class_names == tuple(NAMES[leaf] for leaf in LEAVES)
    assert [path[-1] for path in tree.class_paths] == list(map(str, LEAVES))
    assert tree.class_paths[4] == ("3", "60", "70", "901") and tree.names[0] == "Birds"
    assert (tree.num_nodes, tree.max_depth, set(tree.depth[tree.leaves])) == (len(NAMES), 4, {3, 4})
    assert tree.names[tree.parent[tree.leaves[0]]] == "Common Eider"
    # siblings 2; one order 4; depths 3 and 3: 6, 3 and 4: 7; two families of one order: 6
    lengths = path_length(tree)
    assert (lengths[0, 1], lengths[0, 2], lengths[0, 3], lengths[0, 4], lengths[4, 6]) == (
        2,
        4,
        6,
        7,
        6,
    )


def test_images_labels_and_sizes_are_those_of_the_files(folder):
    splits, rows = load(folder), read_lines(folder / "images.txt")
    labels = dict(read_lines(folder / "image_class_labels.txt"))
    assert splits.files == tuple(f"images/{path}" for _, path in rows)
    assert [LEAVES[label] for label in splits.labels] == [int(labels[image]) for image, _ in rows]
    assert splits.sizes[3].tolist() == list(Image.open(folder / splits.files[3]).size)
    np.testing.assert_array_equal(
        splits.pixels[3], read_image(folder / splits.files[3], Reading(resize=8)).pixels
    )
    assert splits.notes == ()


def test_the_folder_above_may_be_named_and_other_orders_line_ends_and_blank_lines_do_not_matter(
    own,
):
    first = load(own)
    assert load(own.parent).digest == first.digest
    for name in (
        "sizes.txt",
        "image_class_labels.txt",
        "train_test_split.txt",
        "bounding_boxes.txt",
        "hierarchy.txt",
    ):
        lines = (own / name).read_text().splitlines()[::-1]
        (own / name).write_bytes(b"\xef\xbb\xbf" + "\r\n\r\n".join(lines).encode())
    assert load(own).digest == first.digest


def test_leading_zeros_do_not_matter_in_any_file(own):
    first = load(own)
    for name, width in (("classes.txt", 4), ("hierarchy.txt", 5)):
        rows = read_lines(own / name)
        (own / name).write_text("".join(f"{key.zfill(width)} {rest}\n" for key, rest in rows))
    edit(
        own / "image_class_labels.txt", 1, " 0".join(read_lines(own / "image_class_labels.txt")[0])
    )
    assert load(own).digest == first.digest


def test_boxes_are_cut_out_before_resizing(folder, tmp_path):
    plain, cropped = (
        load(folder, cache_dir=tmp_path),
        load(folder, cache_dir=tmp_path, crop_boxes=True),
    )
    left, top, width, height = map(int, read_lines(folder / "bounding_boxes.txt")[5][1].split())
    image = Image.open(folder / plain.files[5]).crop((left, top, left + width, top + height))
    np.testing.assert_array_equal(
        cropped.pixels[5], np.asarray(image.resize((8, 8), Image.Resampling.BILINEAR))
    )
    assert (cropped.pixels[5] != plain.pixels[5]).any()
    np.testing.assert_array_equal(cropped.sizes, plain.sizes)  # of the whole photographs
    assert cropped.digest == plain.digest


def test_other_boxes_are_another_cache(own):
    before = np.array(load(own, crop_boxes=True).pixels[0])
    image, _ = read_lines(own / "bounding_boxes.txt")[0]
    edit(own / "bounding_boxes.txt", 1, f"{image} 2 2 4 4")
    assert (load(own, crop_boxes=True).pixels[0] != before).any()


def test_boxes_beyond_their_image_are_cut_to_it_and_those_outside_are_refused_or_left_out(own):
    image, _ = read_lines(own / "bounding_boxes.txt")[0]
    edit(own / "bounding_boxes.txt", 1, f"{image} 2 2 400 400")
    assert any(
        "1 boxes of bounding_boxes.txt reach beyond" in note
        for note in load(own, crop_boxes=True).notes
    )
    edit(own / "bounding_boxes.txt", 1, f"{image} 900 2 4 4")
    with pytest.raises(
        ValueError, match=r"the box at 900, 2 of 4 x 4 pixels has nothing of the image"
    ):
        load(own, crop_boxes=True)
    assert len(load(own, crop_boxes=True, skip_bad_images=True).files) == IMAGES - 1
    assert len(load(own).files) == IMAGES


def test_files_of_another_size_than_listed_are_noted_and_refused_with_boxes(own):
    image, path = read_lines(own / "images.txt")[2]
    Image.new("RGB", (9, 9)).save(own / "images" / path, format="JPEG")
    note = next(note for note in load(own).notes if "sizes.txt" in note)
    assert "sizes.txt, line 3: " in note and "its file 9 x 9" in note
    with pytest.raises(ValueError, match="sizes.txt, line 3: .*--crop_boxes"):
        load(own, crop_boxes=True)


def test_random_splits_have_the_papers_shares(folder):
    assert sizes(load(folder)) == (63, 0, 7) and sizes(load(folder, use_val=True)) == (49, 7, 14)
    parts = torch.utils.data.random_split(
        range(IMAGES), [49, 7, 14], torch.Generator().manual_seed(3)
    )
    published = load(folder, use_val=True, split="published", seed=3)
    assert published.test.tolist() == sorted(parts[2].indices)
    assert any("order of images.txt" in note for note in published.notes)
    assert load(folder, use_val=True, seed=3).digest == load(folder, use_val=True).digest


def test_published_permutes_a_list_of_copies_kept_elsewhere(folder, tmp_path):
    order = np.random.default_rng(0).permutation(IMAGES)
    files = load(folder).files
    (tmp_path / "list.csv").write_text(
        "path\n" + "".join(f"nabirds_128/{files[i].removeprefix('images/')}\n" for i in order)
    )
    splits = load(folder, use_val=True, split="published", seed=3, split_list=tmp_path / "list.csv")
    assert splits.test.tolist() == sorted(
        order[load(folder, use_val=True, split="published", seed=3).test]
    )


def test_the_official_split_is_that_of_its_file(folder):
    official, rows = load(folder, split="official"), read_lines(folder / "train_test_split.txt")
    assert official.train.tolist() == [i for i, (_, training) in enumerate(rows) if training == "1"]
    assert sizes(official) == (42, 0, 28)
    with_val = load(folder, split="official", use_val=True)
    assert sizes(with_val) == (35, 7, 28)  # a tenth would be 4, but each class validates
    np.testing.assert_array_equal(with_val.test, official.test)
    np.testing.assert_array_equal(np.union1d(with_val.train, with_val.val), official.train)


@pytest.mark.parametrize("split", ["stratified", "published"])
def test_the_small_set_keeps_the_papers_proportions(folder, split):
    # 70 of 5,000 / 30,000 / 13,562
    assert sizes(load(folder, use_val=True, small=True, split=split)) == (7, 43, 20)
    assert sizes(load(folder, small=True, split=split)) == (7, 0, 20)


def test_the_sizes_of_the_real_set_are_the_papers():
    from data.nabirds import SMALL
    from data.sharing import split_sizes

    assert split_sizes(48562, *SMALL) == (5000, 30000, 13562)


def test_what_cannot_be_split_that_way_is_refused(folder, capsys):
    with pytest.raises(ValueError, match="--small.*official"):
        load(folder, small=True, split="official")
    for argv in (["--split", "official", "--small"], ["--hierarchy", "x.csv"], ["--download"]):
        with pytest.raises(SystemExit):
            command_line.parse(["--method", "DR", *argv], "", train_nabirds.DATASETS)
        assert argv[0] in capsys.readouterr().err


FAULTS = {
    "images.txt is empty": ("images.txt", "all", ""),
    "images.txt, line 2: expected an image id and its path": ("images.txt", 2, "{key}"),
    "images.txt, line 2: expected .*0817/../x.jpg": ("images.txt", 2, "{key} 0817/../x.jpg"),
    "images.txt, line 2: expected .*/etc/x.jpg": ("images.txt", 2, "{key} /etc/x.jpg"),
    "images.txt, line 2: expected .*../x.jpg": ("images.txt", 2, "{key} ../x.jpg"),
    r"images.txt, line 2: expected .*0817\\\\..": ("images.txt", 2, "{key} 0817\\..\\..\\x.jpg"),
    "images.txt, line 2: the path .* comes twice, before in line 1": (
        "images.txt",
        2,
        "{key} {first}",
    ),
    "images.txt, line 3: the image .* is not in image_class_labels.txt": (
        "image_class_labels.txt",
        3,
        None,
    ),
    "images.txt, line 3: the image .* is not in train_test_split.txt": (
        "train_test_split.txt",
        3,
        None,
    ),
    "images.txt, line 3: the image .* is not in sizes.txt": ("sizes.txt", 3, None),
    "images.txt, line 70: the image .* is not in bounding_boxes.txt": (
        "bounding_boxes.txt",
        70,
        None,
    ),
    "image_class_labels.txt, line 3: the image .* is not in images.txt": ("images.txt", 3, None),
    "image_class_labels.txt, line 2: expected an image id and a class id, got": (
        "image_class_labels.txt",
        2,
        "{key}",
    ),
    "image_class_labels.txt, line 2: expected .*-5": ("image_class_labels.txt", 2, "{key} -5"),
    "images.txt, line 2: .*in the folder .*image_class_labels.txt, line 2": (
        "image_class_labels.txt",
        2,
        "{key} 71",
    ),
    "train_test_split.txt, line 2: expected .*2'": ("train_test_split.txt", 2, "{key} 2"),
    "train_test_split.txt, line 2: the id .* comes twice, before in line 1": (
        "train_test_split.txt",
        2,
        "{top} 1",
    ),
    "sizes.txt, line 4: expected an image id, width and height": ("sizes.txt", 4, "{key} 30"),
    "sizes.txt, line 4: expected .*30 0": ("sizes.txt", 4, "{key} 30 0"),
    "bounding_boxes.txt, line 4: expected .*left, top": ("bounding_boxes.txt", 4, "{key} 1 2 3"),
    "bounding_boxes.txt, line 4: expected .*inf": ("bounding_boxes.txt", 4, "{key} 1 2 3 inf"),
    "classes.txt, line 3: expected a class id and its name": ("classes.txt", 3, "2"),
    "classes.txt, line 19: the id 2000 is not in hierarchy.txt": ("classes.txt", 19, "2000 Dodo"),
    "hierarchy.txt, line 2: the id 1010 has no name in classes.txt": ("classes.txt", 18, None),
    "hierarchy.txt, line 18: the leaf 80 has no image": ("hierarchy.txt", 18, "80 3"),
    "hierarchy.txt, line 2: expected the ids of a child": ("hierarchy.txt", 2, "1010 x"),
    "hierarchy.txt, line 18: the id 299 comes twice, before in line": (
        "hierarchy.txt",
        18,
        "299 2",
    ),
    "hierarchy.txt: there are 2 roots": ("hierarchy.txt", 1, None),
    "classes.txt, line 18: the id 1010 is not in hierarchy.txt": ("hierarchy.txt", 2, None),
    "image_class_labels.txt, line .*class 1010, which is an inner node": (
        "hierarchy.txt",
        18,
        "80 1010",
    ),
}


@pytest.mark.parametrize("message", FAULTS)
def test_files_that_are_damaged_or_disagree_are_named_with_the_line(own, message):
    name, line, text = FAULTS[message]
    if line == "all":
        (own / name).write_text(text)
    else:
        rows, first = read_lines(own / name), read_lines(own / "images.txt")[0]
        key = rows[line - 1][0] if line <= len(rows) else ""
        edit(own / name, line, text and text.format(key=key, first=first[1], top=first[0]))
    if "80" in (text or "").split():
        edit(own / "classes.txt", 19, "80 Vireos")
    with pytest.raises(
        ValueError,
        match=f"{re.escape(str(own))}/{message.replace(' is empty', ': the file is empty')}",
    ):
        load(own)


def test_images_of_a_class_that_the_tree_lacks_are_named(own):
    image, _ = read_lines(own / "images.txt")[1]
    edit(own / "images.txt", 2, f"{image} 0080/x.jpg")
    edit(own / "image_class_labels.txt", 2, f"{image} 80")
    with pytest.raises(
        ValueError,
        match="image_class_labels.txt, line 2: .*class 80, which is none of hierarchy.txt",
    ):
        load(own)


@pytest.mark.parametrize(
    "name", ["classes.txt", "sizes.txt", "bounding_boxes.txt", "train_test_split.txt"]
)
def test_a_missing_file_is_named(own, name):
    (own / name).unlink()
    with pytest.raises(ValueError, match=f"{name} is missing"):
        load(own)


def test_text_that_is_not_utf8_is_named_with_the_line(own):
    (own / "classes.txt").write_bytes(
        (own / "classes.txt").read_bytes().replace(b"Brant\n", b"Br\xe4nt\n")
    )
    with pytest.raises(ValueError, match="classes.txt, line 6"):
        load(own)


def test_a_missing_image_is_named_with_its_line(own):
    (own / "images" / read_lines(own / "images.txt")[6][1]).unlink()
    with pytest.raises(ValueError, match="images.txt, line 7: the image .* is missing"):
        load(own)


def test_a_wrong_folder_is_named_with_the_way_out(tmp_path):
    with pytest.raises(ValueError, match="holds no images.txt: name the folder of NABirds"):
        load(tmp_path)


@pytest.mark.parametrize(
    "more",
    [[], ["--split", "official", "--crop_boxes", "--use_val", "--aug", "none"]],
    ids=" ".join,
)
def test_an_epoch_trains_through_the_command_line(folder, tmp_path, more):
    argv = [
        "--data_dir",
        str(folder),
        "--record",
        str(tmp_path),
        "--method",
        "DR",
        "--backbone",
        "conv4",
        "--GPU",
        "cpu",
    ]
    argv += ["--resize", "32", "--epochs", "1", "--batch_size", "8", *more]
    assert start.main("", train_nabirds.DATASETS, argv) == 0
    record = Run(command_line.parse(argv, "", train_nabirds.DATASETS)[2])
    assert record.finished and record.hierarchy.class_names == tuple(NAMES[leaf] for leaf in LEAVES)
    assert 0 <= record.metrics.set_index("metric")["value"]["accuracy"] <= 1
