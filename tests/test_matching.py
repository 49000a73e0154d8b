"""Class folders matched with a tree file whose paths are longer, shorter or other than those of the
folders.
"""

import unicodedata

import pytest

from data.matching import match_folders
from hierarchies import Hierarchy


def match(folders, classes):
    """Position of each folder's class among the classes, both written with '/', and the notes."""
    paths = [tuple(text.split("/")) for text in classes]
    found = match_folders(
        [tuple(text.split("/")) for text in folders],
        Hierarchy.from_paths(paths, self_leaves=True),
        "tree.txt",
    )
    return found.classes.tolist(), found.notes


@pytest.mark.parametrize(
    "folders, classes, expected",
    [
        (["a/x", "b/x", "c"], ["c", "a/x", "b/x"], [1, 2, 0]),  # the same
        (
            ["cod", "detritus", "salp"],
            ["fish/cod", "detritus", "tunicates/salp"],
            [0, 1, 2],
        ),  # flat folders
        (
            ["fish/cod", "detritus", "tunicates/salp"],
            ["cod", "detritus", "salp"],
            [0, 1, 2],
        ),  # flat tree
        (
            ["all/a/x", "all/b/x", "all/c"],
            ["a/x", "b/x", "c"],
            [0, 1, 2],
        ),  # a first key that only the folders have
        (
            ["a/x", "b/x", "c"],
            ["k/p/c", "k/p/a/x", "k/p/b/x"],
            [1, 2, 0],
        ),  # ... or only the tree, and several
        (["x", "a/x"], ["a/x", "x"], [1, 0]),  # the same paths count before their ends
        (["a/.", "a/b"], ["r/a/b", "r/a"], [1, 0]),  # a leaf of its own
    ],
)
def test_one_path_may_be_the_end_of_the_other(folders, classes, expected):
    assert match(folders, classes) == (expected, ())


def test_a_class_that_lies_elsewhere_is_matched_by_its_name_with_a_note():
    found, (note,) = match(["a/x", "c/y"], ["a/x", "b/y"])
    assert (
        found == [0, 1]
        and note.startswith("1 class folder elsewhere in tree.txt")
        and "'c/y' as 'b/y'" in note
    )


def test_both_ways_to_write_an_accent_are_one():
    composed, apart = (unicodedata.normalize(form, "Copépodes") for form in ("NFC", "NFD"))
    assert composed != apart
    assert match([apart, "b"], [composed, "b"]) == ([0, 1], ())


@pytest.mark.parametrize(
    "folders, classes, message",
    [
        (
            ["a", "b"],
            ["a", "c"],
            "classes without a folder: 'c'; folders without a class there: 'b'",
        ),
        (
            list("abcde"),
            ["e", "f"],
            r"without a folder: 'f'; folders without a class there: 'a', 'b', 'c' and 1 more",
        ),
        (
            ["unknown", "salp"],
            ["fish/unknown", "shrimp/unknown", "salp"],
            "'unknown' fits 'fish/unknown', 'shrimp/unknown'",
        ),
        (["one/cod", "two/cod"], ["fish/cod"], "'fish/cod' fits 'one/cod', 'two/cod'"),
        (
            ["r/x", "r/r/x"],
            ["x", "r/x"],
            "'r/x' fits 'x', 'r/x'",
        ),  # r/x is x below a common r, or r/x itself
        (
            ["fish/unknown", "shrimps/unknown"],
            ["fish/unknown", "shrimp/unknown"],
            "'shrimps/unknown' fits",
        ),
    ],
)
def test_what_is_left_over_or_fits_several_is_named(folders, classes, message):
    with pytest.raises(ValueError, match=f"the folders of the images and tree.txt .*{message}"):
        match(folders, classes)
