"""Datasets that come with their own splits and keep their images under class ids, such as wnids."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data import doubles, opening
from data.conversion import Box
from data.labelled import left_out_notes, tree_options
from data.options import usual
from data.sharing import STRATIFIED_SEED, stratified_split
from data.splits import SPLITS, Splits
from files.text import printable
from hierarchies import (
    TreeFile,
    check_same_classes,
    check_shared,
    pruned_note,
    read_edges,
    read_tree,
    scan_folders,
)
from hierarchies.texts import read_text

TREES = Path(__file__).resolve().parents[1] / "hierarchies"
# one in so many training images validates where the dataset has no validation split of its own
HELD_OUT = 10
TRAIN, VAL, TEST = range(len(SPLITS))
DEFAULTS = {
    **opening.DEFAULTS,
    **usual("data_dir", "seed", "split_seed", "use_val"),
    **usual("hierarchy", "hierarchy_format", "levels", "prune_tree", "collapse"),
}


class Filed(NamedTuple):
    """The images of a dataset (S of them) as its authors filed them.

    Fields:
        root: The data folder.
        files: Paths below it.
        ids (S,): Id of each image's class, text.
        parts (S,): Split of each image: TRAIN, VAL or TEST.
        notes: What the user should be told.
        boxes: For each file the part of it to cut out; None for whole images.
    """

    root: Path
    files: tuple[str, ...]
    ids: np.ndarray
    parts: np.ndarray
    notes: tuple[str, ...] = ()
    boxes: Mapping[str, Box] | None = None


def data_folder(options: Mapping) -> Path:
    """The folder that --data_dir names. Raises: OSError: If there is none."""
    if not Path(options["data_dir"]).is_dir():
        raise NotADirectoryError(
            f"there is no folder {str(options['data_dir'])!r}; name that of the images with"
            " --data_dir"
        )
    return Path(options["data_dir"])


def shipped_tree(name: str, options: Mapping) -> TreeFile:
    """The tree hierarchies/<name>.edges with its names, or the one in the file that --hierarchy
    gives instead, as hierarchy_format and levels say.
    """
    how = tree_options(options)
    if options["hierarchy"] is not None:
        return read_tree(options["hierarchy"], **how)
    return TreeFile(read_edges(TREES / f"{name}.edges", TREES / f"{name}.names"), ())


def check_there(root: Path, files: Sequence[str], listed: str) -> None:
    """Raises: ValueError: If files that `listed` names are not below the folder."""
    missing = [file for file in files if not (root / file).is_file()]
    if missing:
        raise ValueError(
            f"{listed}: {len(missing)} of {len(files)} images are not below {root}, such as"
            f" {printable(missing[0])!r}"
        )


def read_lines(path: Path) -> list[tuple[str, str]]:
    """The first word of each line and what follows it. Raises: ValueError: If a line has no two
    parts; it is named. OSError: If the file cannot be read.
    """
    pairs = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        first, _, rest = line.strip().partition(" ")
        if line.strip() and not rest.strip():
            raise ValueError(f"{path}, line {number}: expected two entries, got {line!r}")
        if line.strip():
            pairs.append((first, rest.strip()))
    return pairs


def scan_splits(root: Path) -> Filed:
    """Finds the images of <root>/{train,val,test}/<class id>/<image>; {train,val,test}_images are
    taken as well.

    Without a test folder that has class folders in it, val is the test split.

    Raises: ValueError, OSError: If train or val is missing or not laid out like this.
    """
    folders = {name: _split_folder(root, name) for name in SPLITS}
    for name in ("train", "val"):
        if folders[name] is None:
            raise ValueError(
                f"{root} has no folder {name!r}; expected {root}/{{train,val,test}}/<class"
                " id>/<image>"
            )
    notes = []
    if folders["test"] is not None and not _has_folders(folders["test"]):
        notes.append(
            f"{folders['test']} has no class folders, so its images have no labels and are not used"
        )
        folders["test"] = None
    codes = {"train": TRAIN, "val": TEST if folders["test"] is None else VAL, "test": TEST}
    there = [(codes[name], folder) for name, folder in folders.items() if folder is not None]
    filed = filed_in(root, there, _class_id)
    return filed._replace(notes=(*notes, *filed.notes))


def filed_in(
    root: Path,
    folders: Sequence[tuple[int, Path]],
    class_id: Callable[[tuple[str, ...], Path], str],
) -> Filed:
    """The images of folders below root that are splits, each with its code.

    Args:
        root: The data folder.
        folders: Code and folder of each split, directly below root.
        class_id: From the path of a class inside such a folder, and that, to the id.
    """
    files, ids, parts, notes = [], [], [], []
    for part, folder in folders:
        tree = scan_folders(folder)
        known = np.array([class_id(path, folder) for path in tree.hierarchy.class_paths])
        files += [f"{folder.name}/{file}" for file in tree.files]
        ids.append(known[tree.labels])
        parts += [part] * len(tree.files)
        notes += left_out_notes(tree, f"below {folder}")
    return Filed(root, tuple(files), np.concatenate(ids), np.array(parts), tuple(notes))


def official_splits(filed: Filed, tree: TreeFile, options: Mapping) -> Splits:
    """The dataset with its authors' splits and classes in the order of their ids.

    With use_val, the validation split is the dataset's own; where it has none, a tenth of the
    training images, the same share of every class, drawn by split_seed or a fixed seed. Without,
    its own one is in no split.

    Args:
        filed: The images.
        tree: A tree whose classes have the ids as last keys of their paths, in any order, and
            what the user should be told about it.
        options: dataset and DEFAULTS, of which prune_tree leaves out classes without images;
            resize, gray, fit and so on, upscale, cache_dir, stream, skip_bad_images: see
            `open_images`.

    Raises: ValueError, OSError: If tree and images have different classes, or images cannot be
    read.
    """
    ids, labels = np.unique(filed.ids, return_inverse=True)
    where, prune = f"the folders of {filed.root}", options["prune_tree"]
    whole, source = tree.hierarchy, os.fspath(options["hierarchy"] or "the tree")
    found = check_same_classes(whole, ids.tolist(), where, prune=prune)
    hierarchy = whole.subset(found)
    tree_notes = [*tree.notes, *pruned_note(whole, found.tolist(), source)]
    if options["hierarchy"] is not None:
        tree_notes += check_shared(hierarchy, source)
    images = opening.open_images(filed.root, filed.files, options, filed.boxes)
    labels, parts = labels[images.kept], filed.parts[images.kept]
    train, val, test = (np.flatnonzero(parts == part) for part in range(len(SPLITS)))
    notes = [*filed.notes, *tree_notes, *images.notes]
    if len(val) and not options["use_val"]:
        notes.append(f"the dataset's own {len(val)} validation images are not used (--use_val)")
        val = val[:0]
    elif options["use_val"] and not len(val):
        train, val = hold_out(train, labels, options["split_seed"])
    if images.cache is not None:
        notes += doubles.copy_notes(
            images.fingerprints, labels, (train, val, test), [filed.files[k] for k in images.kept]
        )
    return Splits(
        dataset=options["dataset"],
        hierarchy=hierarchy.collapse() if options["collapse"] else hierarchy,
        files=tuple(filed.files[row] for row in images.kept),
        labels=labels,
        train=train,
        val=val,
        test=test,
        notes=tuple(notes),
        **images.as_fields,
    )


def hold_out(
    train: np.ndarray, labels: np.ndarray, seed: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Training and validation images among n training images: int(n / 10) validate, the same share
    of every class.

    Args:
        train: Indices of the training images, (n,).
        labels: Class of every image of the dataset, (S,).
        seed: Seed of a generator of its own; a fixed one by default, so that all runs share the
            split.

    Raises: ValueError: If there are too few.
    """
    held = len(train) // HELD_OUT
    if held == 0:
        raise ValueError(
            f"{len(train)} training images are too few to hold one in {HELD_OUT} out; leave out"
            " --use_val"
        )
    sizes = (len(train) - held, held, 0)
    kept, val, _ = stratified_split(labels[train], sizes, STRATIFIED_SEED if seed is None else seed)
    return train[kept], train[val]


def _split_folder(root: Path, name: str) -> Path | None:
    found = [folder for folder in (root / name, root / f"{name}_images") if folder.is_dir()]
    if len(found) > 1:
        raise ValueError(
            f"{root} has both {found[0].name!r} and {found[1].name!r}; remove or rename one"
        )
    return found[0] if found else None


def _has_folders(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(entry.is_dir() and not entry.name.startswith(".") for entry in entries)


def _class_id(path: tuple[str, ...], folder: Path) -> str:
    if len(path) != 1:
        raise ValueError(
            f"{folder / '/'.join(path)} holds images; expected {folder}/<class id>/<image>, one"
            " folder a class"
        )
    return path[0]
