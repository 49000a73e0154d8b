"""Folder trees as hierarchies: what is a class, what is passed over, what is refused."""

import os
import sys

import numpy as np
import pytest

from hierarchies import folders, scan_folders

LAYOUT = "expected <folder>/<group>/.../<class>/<image>"


def touch(root, *files):
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()


def test_every_folder_that_directly_holds_images_is_a_class(tmp_path):
    touch(tmp_path, "B/b1/2.JPG", "B/b1/1.png", "A/x.tiff", "B/b2/deep/y.webp")
    found = scan_folders(tmp_path)
    assert found.hierarchy.class_paths == (("A",), ("B", "b1"), ("B", "b2", "deep"))
    assert found.files == ("A/x.tiff", "B/b1/1.png", "B/b1/2.JPG", "B/b2/deep/y.webp")
    assert found.labels.tolist() == [0, 1, 1, 2] and found.labels.dtype == np.int64
    assert found.skipped == () and found.empty_folders == ()


def test_a_class_above_other_classes_gets_a_leaf_of_its_own(tmp_path):
    touch(
        tmp_path,
        "T/furca/1.jpg",
        "T/furca/duplets/0.jpg",
        "T/furca/duplets/2.jpg",
        "T/furca b/3.jpg",
    )
    found = scan_folders(str(tmp_path))
    assert found.hierarchy.class_paths == (
        ("T", "furca", "."),
        ("T", "furca b"),
        ("T", "furca", "duplets"),
    )
    assert found.files == (
        "T/furca b/3.jpg",
        "T/furca/1.jpg",
        "T/furca/duplets/0.jpg",
        "T/furca/duplets/2.jpg",
    )
    assert found.labels.tolist() == [1, 0, 2, 2]


def test_class_order_is_that_of_whole_paths_by_code_point(tmp_path):
    touch(tmp_path, "a/z/1.jpg", "a b/1.jpg", "B/1.jpg", "é/1.jpg", "a-c/1.jpg")
    paths = ["/".join(path) for path in scan_folders(tmp_path).hierarchy.class_paths]
    assert paths == ["B", "a b", "a-c", "a/z", "é"]  # ' ' < '-' < '/'


def test_other_files_and_empty_folders_are_listed_and_litter_is_not(tmp_path):
    touch(tmp_path, "a/1.jpg", "a/notes.txt", "readme.md", "a/no_suffix", "only_text/x.txt")
    touch(
        tmp_path,
        "a/.hidden.jpg",
        ".cache/1.jpg",
        "a/Thumbs.db",
        "b/desktop.ini",
        "__MACOSX/a/1.jpg",
    )
    (tmp_path / "c/d").mkdir(parents=True)
    found = scan_folders(tmp_path)
    assert found.files == ("a/1.jpg",)
    assert found.skipped == ("a/no_suffix", "a/notes.txt", "only_text/x.txt", "readme.md")
    assert found.empty_folders == ("b", "c", "c/d", "only_text")
    assert found.hidden == ((".cache/", 1), ("a/.hidden.jpg", 1))


def test_hidden_images_are_counted_and_never_used(tmp_path):
    touch(
        tmp_path,
        "a/1.jpg",
        "a/.old/2.jpg",
        "a/.old/x/3.PNG",
        "a/.old/x/._3.PNG",
        "a/.old/notes.txt",
        ".git/config",
        "a/._1.jpg",
    )
    (tmp_path / ".link").symlink_to("a")
    found = scan_folders(tmp_path)
    assert found.files == ("a/1.jpg",) and found.skipped == () and found.hidden == (("a/.old/", 2),)
    assert scan_folders(tmp_path, exclude=["*/.old"]).hidden == ()


def test_a_huge_hidden_folder_is_not_counted_to_the_end(tmp_path, monkeypatch):
    touch(tmp_path, "a/1.jpg", *(f".snapshot/{day}/{i}.jpg" for day in range(3) for i in range(5)))
    monkeypatch.setattr(folders, "_COUNTED", 7)
    assert scan_folders(tmp_path).hidden == ((".snapshot/", 7),)


def test_a_folder_of_formats_that_are_not_read_says_so(tmp_path):
    touch(tmp_path, "a/1.heic", "a/2.HEIC", "b/scan.czi", "b/x.csv", "more.zip")
    message = (
        r"no image below .* \(5 other files\); 3 files \(2 .heic, 1 .czi\), images in formats"
        r" that are not read: convert them to PNG, JPEG or TIFF; 1 file \(1 .zip\), archives:"
        r" unpack them; expected"
    )
    with pytest.raises(ValueError, match=message):
        scan_folders(tmp_path)


def test_names_with_blanks_commas_quotes_and_accents_are_kept(tmp_path):
    names = [
        "Tripos furca, 2",
        'say "cheese"',
        "Ærøskøbing",
        "日本",
        "100%",
        "a.jpg",
        "[x]",
        "back\\slash",
    ]
    touch(tmp_path, *(f"{name}/{name} .jpg" for name in names))
    found = scan_folders(tmp_path)
    assert found.hierarchy.class_names == tuple(sorted(names))
    assert found.files == tuple(sorted(f"{name}/{name} .jpg" for name in names))


def test_excluded_folders_are_left_out_with_all_below(tmp_path):
    touch(
        tmp_path,
        "living/a/1.jpg",
        "living/unsorted/1.jpg",
        "nonliving/b/1.jpg",
        "living/a/unsorted/x/1.jpg",
    )
    found = scan_folders(tmp_path, exclude=["nonliving/", "*/unsorted"])
    assert found.files == ("living/a/1.jpg",) and found.empty_folders == ()
    with pytest.raises(ValueError, match="pattern 'nonlivng' .* matches no folder"):
        scan_folders(tmp_path, exclude=["nonlivng"])
    with pytest.raises(ValueError, match="exclude must be a list"):
        scan_folders(tmp_path, exclude="nonliving")


def test_folders_that_cannot_be_a_dataset_are_refused_with_the_layout(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder .*nowhere.*" + LAYOUT):
        scan_folders(tmp_path / "nowhere")
    touch(tmp_path, "file.zip", "empty/x.txt", "loose/1.jpg", "loose/a/1.jpg")
    with pytest.raises(NotADirectoryError, match="is not a folder.*" + LAYOUT):
        scan_folders(tmp_path / "file.zip")
    with pytest.raises(
        ValueError, match=r"no image below the folder .*empty' \(1 other file\).*" + LAYOUT
    ):
        scan_folders(tmp_path / "empty")
    with pytest.raises(
        ValueError,
        match="1 image is directly in .*loose', such as '1.jpg'; a class needs a folder",
    ):
        scan_folders(tmp_path / "loose")


def test_a_link_to_a_folder_outside_is_refused_unless_excluded(tmp_path):
    touch(tmp_path, "outside/b/1.jpg", "set/a/1.jpg")
    (tmp_path / "set/b").symlink_to(tmp_path / "outside/b")
    with pytest.raises(ValueError, match="the folder 'b' is a link to .*outside/b', outside of"):
        scan_folders(tmp_path / "set")
    assert scan_folders(tmp_path / "set", exclude=["b"]).files == ("a/1.jpg",)


def test_links_within_the_tree_count_no_image_twice_and_never_loop(tmp_path):
    touch(tmp_path, "a/x/1.jpg", "other/b.jpg/c.jpg")
    (tmp_path / "a/up").symlink_to(tmp_path)
    (tmp_path / "again").symlink_to("a")
    (tmp_path / "a/self").symlink_to("self")
    (tmp_path / "a/self.jpg").symlink_to("self.jpg")
    (tmp_path / "a/x/broken.jpg").symlink_to("nowhere.jpg")
    found = scan_folders(tmp_path)
    assert found.files == ("a/x/1.jpg", "other/b.jpg/c.jpg")
    assert found.skipped == ("a/self", "a/self.jpg", "a/up", "a/x/broken.jpg", "again")


def test_a_link_to_an_image_counts_and_the_root_may_be_a_link(tmp_path):
    touch(tmp_path, "store/1.jpg", "set/a/2.jpg")
    (tmp_path / "set/a/1.jpg").symlink_to(tmp_path / "store/1.jpg")
    (tmp_path / "link").symlink_to("set")
    assert scan_folders(tmp_path / "link").files == ("a/1.jpg", "a/2.jpg")


@pytest.mark.skipif(
    sys.platform != "linux", reason="other file systems refuse such names themselves"
)
def test_names_that_are_no_text_are_refused(tmp_path):
    os.makedirs(os.fsencode(tmp_path) + b"/a\xff")
    open(os.fsencode(tmp_path) + b"/a\xff/1.jpg", "w").close()
    with pytest.raises(ValueError, match="is not valid UTF-8; rename it"):
        scan_folders(tmp_path)
