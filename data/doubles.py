"""Notes on images that are perhaps there twice: copies, other files of one picture, masks."""

import os
import re
from collections.abc import Sequence

import numpy as np

from files.text import counted, printable

# what programs write behind the name of each file that they make of an image: Roboflow's code, or
# how it was turned or changed
_TURNED = r"rot(?:ated?)?|[hv]?flip(?:ped)?|mirror(?:ed)?"
_CHANGED = r"aug(?:mented)?|nois[ey]|blur(?:red)?|bright(?:ness)?|contrast|orig(?:inal)?"
_CODE = re.compile(
    r"(?:\.rf\.[0-9A-Za-z]{16,}"
    rf"|(?:[ _.-]+(?:(?:{_TURNED})[ _-]*[0-9]*|(?:{_CHANGED})[0-9]{{0,3}}))+)$",
    re.IGNORECASE,
)
# the same with a number apart, which may be that of an image, and 'aug' a month, unless there is an
# image of what is before
_COUNTED = re.compile(rf"(?:[ _.-]+(?:{_TURNED}|{_CHANGED})[ _-]*[0-9]*)+$", re.IGNORECASE)
# what stands behind the names of files that are made of an image
_MADE = tuple(
    "mask masks masked seg segmented segmentation bin binary blob outline contour overlay label"
    " thumb thumbnail preview".split()
)


def copy_notes(
    fingerprints: np.ndarray,
    labels: np.ndarray,
    parts: Sequence[np.ndarray],
    files: Sequence[str],
    way_out: str = "",
) -> list[str]:
    """A note on equal images, which count in the test set though the network may have seen them in
    training.

    Args:
        fingerprints, labels, files: Of each image.
        parts: Indices of the images of training, validation and test.
        way_out: What keeps copies in one split.
    """
    _, group, counts = np.unique(fingerprints, return_inverse=True, return_counts=True)
    extra = int((counts - 1).sum())
    if extra == 0:
        return []
    train, _, test = parts
    seen = test[np.isin(group[test], group[train])]
    pairs = np.unique(np.stack([group, labels]), axis=1)[0]
    mixed = np.flatnonzero(np.bincount(pairs) > 1)  # groups with several classes
    text = (
        f"{counted(extra, 'image is a copy', 'images are copies')} of another image;"
        f" {counted(len(seen), 'test image is', 'test images are')} also in the training split"
    )
    if len(seen):
        original = train[group[train] == group[seen[0]]][0]
        text += f", such as {_named(files, seen[0], original)}{way_out}"
    if len(mixed):
        copies = np.flatnonzero(group == mixed[0])
        other = copies[labels[copies] != labels[copies[0]]][0]
        count = len(pairs) - len(counts)
        text += (
            f", and {counted(count, 'copy is', 'copies are')} in another class than the original,"
            f" such as {_named(files, other, copies[0])}"
        )
    return [text]


def mask_notes(files: Sequence[str]) -> list[str]:
    """A note on files that are perhaps no images of what their class says, but masks or previews of
    others: called as another one, with such a word behind.
    """
    stems = [os.path.splitext(file)[0] for file in files]
    names, found = set(stems), []
    for file, stem in zip(files, stems):
        if stem.lower().endswith(_MADE):
            before = next(stem[: -len(word)] for word in _MADE if stem.lower().endswith(word))
            name = before.rstrip(" _-.")
            found += [file] if name != before and name in names else []
    if not found:
        return []
    number = counted(len(found), "file is", "files are")
    return [
        f"{number} named like a mask or preview of another image, such as {printable(found[0])!r},"
        " and count as images of the class: if that is what they are, move them elsewhere"
    ]


def twin_notes(files: Sequence[str], parts: Sequence[np.ndarray]) -> list[str]:
    """A note on test images that are perhaps another file of a training image: of its name, but
    for the suffix or what is written behind those of augmented copies.
    """
    train, _, test = parts
    stems = [os.path.splitext(file)[0] for file in files]
    known = set(stems)
    originals = [_COUNTED.sub("", stem) for stem in stems]
    names = [
        original if original != stem and original in known else _CODE.sub("", stem)
        for original, stem in zip(originals, stems)
    ]
    trained = {names[i]: i for i in reversed(train.tolist())}
    twins = [i for i in test.tolist() if names[i] in trained]
    if not twins:
        return []
    have = counted(len(twins), "test image has", "test images have")
    shown = _named(files, twins[0], trained[names[twins[0]]])
    return [
        f"{have} the name of a training image but for the ending, such as {shown}: if both are of"
        " one picture, measures are too good; keep one file of each, or name what belongs together"
        " in a table (--group_column)"
    ]


def _named(files: Sequence[str], one: int, other: int) -> str:
    return f"{printable(files[one])!r}, as {printable(files[other])!r}"
