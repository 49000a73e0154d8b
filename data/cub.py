"""CUB-200-2011 (Wah et al. 2011): photographs of 200 species of birds."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from data.boxes import with_margin
from data.official import DEFAULTS as OFFICIAL
from data.official import (
    TEST,
    TRAIN,
    Filed,
    check_there,
    data_folder,
    official_splits,
    read_lines,
    tree_options,
)
from data.options import usual
from data.splits import Splits
from hierarchies import Hierarchy, TreeFile, read_tree

FOLDER = "CUB_200_2011"
DEFAULTS = {**OFFICIAL, **usual("crop_box"), "resize": 224}


def load(options: Mapping) -> Splits:
    """CUB-200-2011 from the official folder with its five lists; with use_val a tenth of the
    official training images validates.

    The dataset has no tree. Without `hierarchy` species are grouped by the last word of their
    English names (Albatross, Sparrow ...), which is no taxonomy; a note says so.

    Args:
        options: dataset and any of DEFAULTS, see `official_splits`:
            data_dir: The folder CUB_200_2011 or the one that holds it.
            hierarchy: File with a tree whose classes are the folders, '001.Black_footed_Albatross'.
            crop_box: Cut images to the birds' boxes and this share of their sides around them.

    Raises: ValueError, OSError: If a file is missing, or lists disagree; it is named.
    """
    options = {**DEFAULTS, **options}
    given = data_folder(options)
    places = (given, given / FOLDER)
    root = next((place for place in places if (place / "images.txt").is_file()), None)
    if root is None:
        raise ValueError(f"{given} has no images.txt: name {FOLDER} as downloaded with --data_dir")
    folders = dict(read_lines(root / "classes.txt"))
    if options["hierarchy"] is not None:
        tree = read_tree(options["hierarchy"], **tree_options(options))
    else:
        tree = _by_last_word(folders.values())
    return official_splits(_filed(root, folders, options["crop_box"]), tree, options)


def _by_last_word(folders) -> TreeFile:
    paths, names = [], {}
    for folder in sorted(folders):
        name = folder.partition(".")[2].replace("_", " ")
        paths.append((name.split()[-1] if name else folder, folder))
        names[paths[-1]] = name or folder
    note = (
        "species are grouped by the last word of their names, which is no taxonomy: give one with"
        " --hierarchy"
    )
    return TreeFile(Hierarchy.from_paths(paths, names=names), (note,))


def _filed(root: Path, folders: Mapping[str, str], margin: float | None) -> Filed:
    images = dict(read_lines(root / "images.txt"))
    columns = {"image_class_labels.txt": None, "train_test_split.txt": None}
    if margin is not None:
        columns["bounding_boxes.txt"] = None
    for name in columns:
        columns[name] = dict(read_lines(root / name))
        missing = [number for number in images if number not in columns[name]]
        if missing:
            raise ValueError(f"{root / name} does not list the image {missing[0]} of images.txt")
    labels, training, *boxes = columns.values()
    unknown = [number for number in images if labels[number] not in folders]
    if unknown:
        raise ValueError(
            f"{root / 'image_class_labels.txt'}: image {unknown[0]} is of class"
            f" {labels[unknown[0]]!r}, which classes.txt does not list"
        )
    files = tuple(f"images/{path}" for path in images.values())
    check_there(root, files, str(root / "images.txt"))
    ids = np.array([folders[labels[number]] for number in images])
    parts = np.array([TRAIN if training[number] == "1" else TEST for number in images])
    cut = None
    if boxes:
        sides = [[float(side) for side in boxes[0][number].split()] for number in images]
        cut = dict(zip(files, with_margin(sides, margin)))
    return Filed(root, files, ids, parts, (), cut)
