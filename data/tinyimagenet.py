"""TinyImageNet from its original archive, with a tree of its classes from WordNet."""

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from data.download import download, unpack
from data.labelled import left_out_notes
from data.official import DEFAULTS as OFFICIAL
from data.official import TEST, TRAIN, Filed, data_folder, official_splits, shipped_tree
from data.options import usual
from data.splits import Splits
from hierarchies import scan_folders

URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
FOLDER = "tiny-imagenet-200"
ANNOTATIONS = "val/val_annotations.txt"
DEFAULTS = {**OFFICIAL, **usual("download")}
SHOWN = 20


def load(options: Mapping) -> Splits:
    """TinyImageNet: 200 classes, 64 x 64 pixels. The official val is the test split; the unlabelled
    test is not read.

    Classes are the wnids, sorted; the tree follows WordNet's first hypernyms (see
    hierarchies.wordnet), with lemmas as names to show.

    Args:
        options: dataset and any of DEFAULTS:
            data_dir: The folder tiny-imagenet-200 or the one that holds it.
            download: Fetch and unpack the archive into data_dir if it is not there.
            use_val, split_seed, and how images are read: see `official_splits`; a tenth of train
            validates.
            hierarchy: File with another tree, whose classes are the wnids.
            collapse: Drop inner nodes with a single child.

    Raises: ValueError, OSError: If a file is missing or damaged, or classes disagree; it is named.
    """
    options = {**DEFAULTS, **options}
    tree = shipped_tree("tinyimagenet", options)
    return official_splits(_filed(_folder(options)), tree, options)


def read_annotations(
    path: str | os.PathLike, classes: set[str], images: set[str]
) -> dict[str, str]:
    """Wnid of each image of val, from lines 'file, wnid, x, y, x, y', separated by tabs.

    Args:
        path: val_annotations.txt.
        classes: The wnids that there are.
        images: Names of the files that there are.

    Raises: ValueError: Naming every line that is malformed, or has an unknown wnid, a missing image
        or one that came before; and images without a line. OSError: If the file cannot be read.
    """
    wnids, faults = {}, []
    text = Path(path).read_text(encoding="utf-8-sig", errors="replace")
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        fault = _fault(line, classes, images, wnids)
        if fault is not None:
            faults.append(f"line {number}: {fault}")
            continue
        image, wnid, *_ = line.strip().split("\t")
        wnids[image] = wnid
    if faults:
        more = [f"and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
        raise ValueError("\n  ".join([f"{path} does not fit the images:", *faults[:SHOWN], *more]))
    if without := sorted(images - set(wnids)):
        raise ValueError(
            f"{path} has no line for {len(without)} images of val/images, such as {without[0]!r}"
        )
    return wnids


def _fault(line: str, classes: set[str], images: set[str], wnids: Mapping) -> str | None:
    """What is wrong with a line of val_annotations.txt; None where nothing is."""
    image, *cells = line.strip().split("\t")
    if len(cells) != 5 or not all(re.fullmatch(r"\d+", cell) for cell in cells[1:]):
        return f"expected a file, a wnid and four numbers, separated by tabs, got {line[:60]!r}"
    if cells[0] not in classes:
        return f"{cells[0]!r} is not a folder of train"
    if image not in images:
        return f"there is no image {image!r} in val/images"
    return f"{image!r} has come before" if image in wnids else None


def _folder(options: Mapping) -> Path:
    if options["download"] and options["data_dir"] is not None:
        Path(options["data_dir"]).mkdir(parents=True, exist_ok=True)
    root = data_folder(options)
    found = next((folder for folder in (root, root / FOLDER) if (folder / "train").is_dir()), None)
    if found is not None:
        return found
    if not options["download"]:
        raise ValueError(
            f"neither {root} nor {root / FOLDER} has a folder 'train': unpack {FOLDER}.zip there,"
            " or have it downloaded with --download"
        )
    return _fetch(root)


def _fetch(root: Path) -> Path:
    """Unpacks the archive, one that is in root already or a fresh one, which is removed
    afterwards.
    """
    archive = root / f"{FOLDER}.zip"
    if archive.exists():
        return unpack(archive, root, FOLDER)
    try:
        download(URL, archive)
    except OSError as error:
        raise ValueError(
            f"{error}; get {FOLDER}.zip elsewhere, put it into {root} and run again, or unpack it"
            " and name its folder with --data_dir"
        ) from error
    folder = unpack(archive, root, FOLDER)
    archive.unlink()
    return folder


def _filed(folder: Path) -> Filed:
    for part in (ANNOTATIONS, "val/images"):
        if not (folder / part).exists():
            raise ValueError(f"{folder / part} is missing; expected the layout of {FOLDER}.zip")
    train = scan_folders(folder / "train")
    names = [path[0] for path in train.hierarchy.class_paths]
    for path in train.hierarchy.class_paths:
        if path[1:] != ("images",):
            raise ValueError(
                f"{folder / 'train' / '/'.join(path)} holds images; expected"
                f" {folder}/train/<wnid>/images/<image>"
            )
    _check_list(folder, names)
    val = scan_folders(folder / "val")
    labelled = read_annotations(
        folder / ANNOTATIONS, set(names), {file.removeprefix("images/") for file in val.files}
    )
    files = [
        *(f"train/{file}" for file in train.files),
        *(f"val/images/{file}" for file in sorted(labelled)),
    ]
    ids = np.concatenate(
        [np.array(names)[train.labels], [labelled[file] for file in sorted(labelled)]]
    )
    parts = np.repeat([TRAIN, TEST], [len(train.files), len(labelled)])
    skipped = tuple(file for file in train.skipped if not file.endswith("_boxes.txt"))
    notes = left_out_notes(replace(train, skipped=skipped), "below train")
    return Filed(folder, tuple(files), ids, parts, tuple(notes))


def _check_list(folder: Path, names: list[str]) -> None:
    """Compares the folders of train with wnids.txt, where that came along."""
    if not (folder / "wnids.txt").is_file():
        return
    listed = set((folder / "wnids.txt").read_text(encoding="utf-8", errors="replace").split())
    for what, some in (
        ("has no folder in train", listed - set(names)),
        ("is a folder of train only", set(names) - listed),
    ):
        if some:
            raise ValueError(
                f"{folder / 'wnids.txt'} lists {len(listed)} classes, train has {len(names)}:"
                f" {min(some)!r} {what}"
            )
