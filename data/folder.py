"""Any folder tree of images: the folders are the class tree."""

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from data.boxes import with_margin
from data.collection import Collection, split_of_folders
from data.folds import fold_split
from data.groups import group_names, joined_groups, parted
from data.label_map import apply_label_map
from data.matching import match_folders
from data.sharing import (
    choose_split_seed,
    given_split,
    grouped_split,
    split_indices,
)
from data.splits import SPLITS, Splits
from data.store import open_images
from data.table import read_table
from files.text import composed, counted, printable, some_of
from hierarchies import (
    FolderTree,
    Hierarchy,
    check_shared,
    doubtful_names,
    pruned_note,
    read_tree,
    scan_folders,
)
from hierarchies.folders import advice, repeated_folders, split_folders
from hierarchies.readers import MAX_TABLE_BYTES, read_text
from hierarchies.rows import delimiter_of
from hierarchies.tree import format_path

FEWEST_IMAGES = 10  # with fewer there is nothing to learn from and nothing to measure on

DEFAULTS = {
    "data_dir": None,
    "cache_dir": None,
    "resize": 128,
    "gray": False,
    "grey_range": None,
    "truncated_images": "refuse",
    "fit": "stretch",
    "decoder": "pillow",
    "seed": 1,
    "split": "stratified",
    "split_list": None,
    "fold": None,
    "group_copies": False,
    "strict_groups": False,
    "min_images": None,
    "label_map": None,
    "label_map_set": None,
    "label_map_levels": None,
    "split_seed": None,
    "use_val": False,
    "collapse": False,
    "hierarchy": None,
    "hierarchy_format": None,
    "levels": None,
    "prune_tree": False,
    "folders_are_classes": False,
    "table": None,
    "file_column": None,
    "split_column": None,
    "group_column": None,
    "where": None,
    "crop_box": None,
    "box_columns": None,
    "nonliving": None,
    "exclude": (),
    "skip_bad_images": False,
    "ignore_empty_folders": False,
    "stream": None,
}

# of collections of the user's own, which no dataset with folders of its own takes
TABLE_OPTIONS = (
    "table",
    "file_column",
    "split_column",
    "group_column",
    "where",
    "crop_box",
    "box_columns",
)


def load(options: Mapping) -> Splits:
    """Reads a folder tree in which every folder that directly holds images is a class.

    Args:
        options: dataset, data_dir and any of DEFAULTS:
            resize (side in pixels, 0 keeps the size), gray, grey_range, truncated_images, fit,
            cache_dir, skip_bad_images: see `build_cache`. stream: see `open_images`.
            seed, split_seed, split, use_val: see `split_indices` and `choose_split_seed`.
            fold: 'K/N': the K-th of N folds is tested, see `fold_split`.
            group_copies: Equal images are of one group. strict_groups: Refuse a given split that
                parts a group, instead of a note.
            label_map, label_map_set, label_map_levels: A table with the taxa of the classes, see
                `apply_label_map`.
            min_images: Leave out classes with fewer images, with a note.
            split_list: CSV file that lists the images in the order which 'published' permutes;
                sorted paths without it.
            hierarchy: File with the class tree, for folders that do not spell it out; see
                `read_tree` and `match_folders`.
            hierarchy_format, levels: What the file is, and which columns of a table are its levels.
            prune_tree: Leave out classes of the file that have no images, with a note.
            folders_are_classes: Folders named like the parts of a split (train, val, test) are
                classes or groups of them all the same.
            table, file_column, split_column, group_column, where: A table with a row for each image
                instead of the folders, see `read_table`; levels then names columns of it. With
                split 'given' its column says which image is in which split, or, without a table,
                the folders train, val and test do.
            crop_box: Cut images to the boxes of the table and this share of their sides around
                them. box_columns: Where the boxes are, if not in columns named like them.
            nonliving: Topmost groups that are not alive; without it living is None.
            exclude: Patterns of folders to leave out, see `scan_folders`.
            collapse: Drop inner nodes with a single child.
            ignore_empty_folders: Leave those out with a note instead of an error.

    Raises: ValueError, OSError: If the folder, its images, the list or the tree do not fit; the
    message says the file.
    """
    options = {**DEFAULTS, **options}
    if options["data_dir"] is None:
        raise ValueError(
            f"dataset {options['dataset']!r} needs the folder of its images: give --data_dir"
        )
    if options["split_list"] is not None and options["split"] != "published":
        raise ValueError("split_list orders the images for --split published; give both or neither")
    root = Path(options["data_dir"])
    tree = _collection(root, options)
    hierarchy, labels, tree_notes = _classes(tree, options)
    notes = [*tree.notes, *tree_notes]
    if options["min_images"] is not None:
        tree, hierarchy, labels, small_notes = _without_small_classes(
            tree, hierarchy, labels, options["min_images"]
        )
        notes += small_notes
    living = (
        None if options["nonliving"] is None else living_classes(hierarchy, options["nonliving"])
    )
    order = np.arange(len(tree.files))
    if options["split_list"] is not None:
        order = read_order(options["split_list"], tree.files)
    elif options["split"] == "published":
        notes.append(
            "the published split was drawn over the sorted paths: without --split_list it is not"
            " the papers' own"
        )
    boxes = None
    if options["crop_box"] is not None:
        boxes = dict(zip(tree.files, with_margin(tree.boxes, options["crop_box"])))
    images = open_images(root, tree.files, {**options, "upscale": 0}, boxes)
    files, labels, order = keep_readable(images.kept, tree.files, labels, order, hierarchy)
    kept = tree.select(images.kept)
    groups, names = _groups(kept, images.fingerprints, options)
    parts, split_notes = _split(kept, labels, groups, names, order, options)
    notes += [*split_notes, *images.notes]
    if images.cache is not None:
        notes += copy_notes(images.fingerprints, labels, parts)
    hierarchy = hierarchy.collapse() if options["collapse"] else hierarchy
    return Splits(
        options["dataset"],
        hierarchy,
        files,
        labels,
        images.sizes,
        images.pixels,
        *parts,
        living,
        tuple(notes),
        images.fingerprints,
        images.fingerprints_of,
        groups=groups,
        group_names=names,
    )


def _groups(
    kept: Collection, fingerprints: np.ndarray, options: Mapping
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Number of the group of each image, and the groups' names; None where there are none."""
    named = None if kept.groups is None else kept.groups.astype(str)
    keys = [] if named is None else [named]
    if options["group_copies"]:
        keys.append(fingerprints)
    if not keys:
        return None, ()
    groups = joined_groups(*keys)
    return groups, tuple(group_names(groups, named, kept.files))


def _split(
    kept: Collection,
    labels: np.ndarray,
    groups: np.ndarray | None,
    names: Sequence[str],
    order: np.ndarray,
    options: Mapping,
) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], list[str]]:
    """Training, validation and test, and notes. Raises: ValueError: If it is asked for a split that
    there cannot be.
    """
    seed, use_val = choose_split_seed(options), options["use_val"]
    if kept.parts is not None:
        parts, notes = given_split(kept.parts, labels, use_val, seed, groups)
        if groups is not None:
            notes += _across(groups, names, parts, options["strict_groups"])
        return parts, notes
    if groups is not None and options["split"] == "published":
        raise ValueError(
            "--split published parts groups: use --split stratified, or images without groups (no"
            " --group_column or --group_copies, and no export of EcoTaxa, whose samples are groups)"
        )
    if options["fold"] is not None:
        fold = options["fold"]
        return fold_split(labels, fold, seed=seed, use_val=use_val, groups=groups), []
    if groups is not None:
        return grouped_split(labels, groups, seed=seed, use_val=use_val), []
    parts = split_indices(labels, seed=seed, use_val=use_val, split=options["split"], order=order)
    return parts, []


def _across(
    groups: np.ndarray, names: Sequence[str], parts: Sequence[np.ndarray], strict: bool
) -> list[str]:
    """A note on groups that the split that is given parts. Raises: ValueError: If strict."""
    found = parted(groups, parts)
    if not found:
        return []
    shown = "; ".join(
        f"{printable(names[group])!r} has "
        + ", ".join(f"{count} {name}" for count, name in zip(counts, SPLITS) if count)
        for group, counts in found[:3]
    )
    tested = sum(counts[2] for _, counts in found)
    total = int(groups.max()) + 1
    text = (
        f"the split that is given parts {len(found)} of {total} groups ({shown}"
        f"{', ...' if len(found) > 3 else ''})"
    )
    if strict:
        raise ValueError(f"{text}; correct it, or leave out --strict_groups to use it as it is")
    return [
        f"{text}: {tested} of {len(parts[2])} test images are of groups with images in other"
        " splits, and measures may promise too much of new groups (--strict_groups stops there)"
    ]


def _without_small_classes(
    tree: Collection, hierarchy: Hierarchy, labels: np.ndarray, least: int
) -> tuple[Collection, Hierarchy, np.ndarray, list[str]]:
    """All of it without the classes with fewer than `least` images and without these, and notes.

    Raises: ValueError: If fewer than two classes are left.
    """
    counts = np.bincount(labels, minlength=hierarchy.num_classes)
    kept = np.flatnonzero(counts >= least)
    small = np.flatnonzero(counts < least)
    if not len(small):
        return tree, hierarchy, labels, []
    if len(kept) < 2:
        raise ValueError(
            f"--min_images {least} leaves {len(kept)} of {hierarchy.num_classes} classes, and there"
            f" is nothing to tell apart: the largest have {np.sort(counts)[-2:].tolist()} images"
        )
    rows = np.flatnonzero(counts[labels] >= least)
    left_out = some_of(
        small, 20, lambda c: f"{printable(format_path(hierarchy.class_paths[c]))} ({counts[c]})"
    )
    note = (
        f"{counted(len(small), 'class', 'classes')} with fewer than {least} images left out, with"
        f" {counted(len(tree.files) - len(rows), 'image')} (--min_images): {left_out}"
    )
    own = np.searchsorted(kept, labels[rows])
    return tree.select(rows), hierarchy.subset(kept.tolist()), own, [note]


def living_classes(hierarchy: Hierarchy, nonliving: Sequence[str]) -> np.ndarray:
    """Which classes are in none of the given topmost groups, (C,) bool. Raises: ValueError: If a
    group is unknown, or no class is left that is alive.
    """
    topmost = [composed(path[0]) for path in hierarchy.class_paths]
    nonliving = [composed(group) for group in nonliving]
    for group in nonliving:
        if group not in topmost:
            raise ValueError(
                f"nonliving names {group!r}, but the topmost groups are"
                f" {', '.join(map(repr, sorted(set(topmost))))}"
            )
    living = np.array([group not in nonliving for group in topmost])
    if not living.any():
        raise ValueError(
            "nonliving names every topmost group, so that no class is left that is alive: name only"
            " the groups of what is not, or none"
        )
    return living


def read_order(path: str | os.PathLike, files: Sequence[str]) -> np.ndarray:
    """Positions in files of the images that a CSV file lists, in its order.

    A line counts by its first cell that ends in the path of an image, whatever folders it names
    before; the first line may be a header. Raises: ValueError: If a line has no image, or the
    images are not all listed once.
    """
    index, order, first = {file: i for i, file in enumerate(files)}, [], {}
    text = read_text(path, MAX_TABLE_BYTES)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter_of(text)[0]))
    except csv.Error as error:
        raise ValueError(f"{path} is not a valid table: {error}; is a quote not closed?") from error
    for number, row in enumerate(rows, 1):
        found = next((hit for cell in row if (hit := _find(cell, index)) is not None), None)
        if found is None and row and number > 1:
            raise ValueError(
                f"{path}, line {number}: {', '.join(row)!r} ends in no path of an image of the data"
                " folder"
            )
        if found in first:
            raise ValueError(
                f"{path}, line {number}: {files[found]!r} is listed in line {first[found]} already"
            )
        if found is not None:
            first[found] = number
            order.append(found)
    if len(order) < len(files):
        missing = next(file for i, file in enumerate(files) if i not in first)
        raise ValueError(
            f"{path} lists {len(order)} of the {len(files)} images; it misses {missing!r}, for"
            " instance"
        )
    return np.array(order)


def _find(cell: str, index: Mapping[str, int]) -> int | None:
    parts = cell.strip().replace("\\", "/").split("/")
    return next(
        (index[tail] for start in range(len(parts)) if (tail := "/".join(parts[start:])) in index),
        None,
    )


def _folder_notes(tree: FolderTree, ignore_empty_folders: bool) -> list[str]:
    empty = some_of(tree.empty_folders, 20, repr)
    if tree.empty_folders and not ignore_empty_folders:
        more = "".join(f"; {sentence}" for sentence in advice(tree.skipped))
        raise ValueError(
            f"{counted(len(tree.empty_folders), 'folder holds', 'folders hold')} no image: {empty};"
            f" add images, remove, or leave out with --ignore_empty_folders{more}"
        )
    notes = []
    if tree.empty_folders:
        count = counted(len(tree.empty_folders), "folder")
        notes.append(f"{count} without images left out: {empty}")
    return [*notes, *left_out_notes(tree)]


def left_out_notes(tree: FolderTree, below: str = "") -> list[str]:
    """Notes on files that are not images or of formats that are not read, and on hidden images.

    Args:
        tree: What was found.
        below: Where, for a dataset of several trees, as in 'below x/train'.
    """
    where, notes = f" {below}" if below else "", []
    if tree.skipped:
        count, names = len(tree.skipped), some_of(tree.skipped, 20, repr)
        notes.append(
            f"{counted(count, 'file')}{where} left out, not images or links to folders: {names}"
        )
    notes += [f"of the files left out{where}, {sentence}" for sentence in advice(tree.skipped)]
    for path, images in tree.hidden[:3]:
        kind = "folder" if path.endswith("/") else "file"
        notes.append(
            f"left out hidden {kind} {path!r}{where} with {images} images: rename it to use them"
        )
    if len(tree.hidden) > 3:
        total = sum(images for _, images in tree.hidden[3:])
        notes.append(
            f"left out {len(tree.hidden) - 3} more hidden folders or files{where} with {total}"
            " images"
        )
    return notes


def tree_options(options: Mapping) -> dict:
    """How `read_tree` is to read the file that --hierarchy names. Raises: ValueError: If there is
    no such file to read.
    """
    chosen = {"format": options["hierarchy_format"], "levels": options["levels"]}
    for flag, value in zip(("hierarchy_format", "levels"), chosen.values()):
        if (
            value
            and options["hierarchy"] is None
            and not (flag == "levels" and options.get("table"))
        ):
            raise ValueError(f"--{flag} says how a file is read: name it with --hierarchy")
    return {**chosen, "self_leaves": True}


def _collection(root: Path, options: Mapping) -> Collection:
    """The images and their classes, as they are or as a label map says."""
    found = _as_labelled(root, options)
    if options["label_map"] is not None:
        how = {"of": options["label_map_set"], "levels": options["label_map_levels"]}
        found = apply_label_map(found, options["label_map"], **how)
        _check_size(found, options["label_map"], "name others with --label_map_levels")
    return found


def _as_labelled(root: Path, options: Mapping) -> Collection:
    """The images and their classes, from a table or from the folders."""
    given = options["split"] == "given"
    if options["table"] is not None:
        if given and options["split_column"] is None:
            raise ValueError("--split given takes the split from the table: add --split_column")
        names = ("file_column", "levels", "split_column", "group_column", "where", "box_columns")
        levels = None if options["hierarchy"] is not None else options["levels"]
        wanted = {name: options[name] for name in names} | {"levels": levels}
        found = read_table(options["table"], root, boxes=options["crop_box"] is not None, **wanted)
        columns = "do the right columns make the class? --levels COLUMN ... names them"
        _check_size(found, options["table"], columns)
        return found
    tree = scan_folders(root, exclude=options["exclude"] or ())
    notes = tuple(_folder_notes(tree, options["ignore_empty_folders"]))
    found = Collection(tree.hierarchy, tree.files, tree.labels, notes=notes)
    if given:
        found = split_of_folders(found, os.fspath(root))
    else:
        mapped = options["label_map"] is not None  # which makes equal labels one class
        _check_level(tree, root, options["folders_are_classes"], mapped)
    way_out = (
        "this is probably the wrong folder; --data_dir takes the one above all groups and classes"
    )
    _check_size(found, root, way_out)
    return found


def _classes(tree: Collection, options: Mapping) -> tuple[Hierarchy, np.ndarray, tuple[str, ...]]:
    """The class tree, of the folders or of the file, the class of each image in it, and notes."""
    file, how = options["hierarchy"], tree_options(options)
    if file is None:
        if options["prune_tree"]:
            raise ValueError("--prune_tree leaves out classes of a file: name it with --hierarchy")
        return tree.hierarchy, tree.labels, tuple(doubtful_names(tree.hierarchy))
    source = os.fspath(file)
    hierarchy, notes = read_tree(file, **how)
    check_shared(hierarchy, source)  # of a wrong order no folder fits, which says less
    folders = tree.hierarchy.class_paths
    called = "folder" if options["table"] is None else "label"
    match = match_folders(folders, hierarchy, source, prune=options["prune_tree"], called=called)
    kept, classes = np.unique(match.classes, return_inverse=True)
    notes += (*match.notes, *pruned_note(hierarchy, kept.tolist(), source))
    if len(kept) < hierarchy.num_classes:
        hierarchy = hierarchy.subset(kept.tolist())
    notes += check_shared(hierarchy, source)
    return hierarchy, classes[tree.labels], notes


def _check_level(tree: FolderTree, root: Path, folders_are_classes: bool, mapped: bool) -> None:
    """Raises: ValueError: If the folders look like those of another level than the classes'."""
    if folders_are_classes:
        return
    parts = split_folders(tree)
    if parts:
        listed = ", ".join(repr(str(root / part)) for part in parts)
        topmost = not any("/" in part for part in parts)
        one = (
            "name one of them with --data_dir to have its images split anew, or " if topmost else ""
        )
        raise ValueError(
            f"{listed} look like the parts of a split, not like classes or groups of classes: as"
            f" they are, every class would count once for each of them, such as"
            f" {format_path(tree.hierarchy.class_paths[0])!r}. To use them as the split that they"
            f" are, give --split given; else {one}put all images of a class into one folder; if"
            " they really are classes or groups of classes, give --folders_are_classes"
        )
    repeated = [] if mapped else repeated_folders(tree)
    if repeated:
        listed = ", ".join(repr(str(root / name)) for name in repeated[:5])
        more = f", ... ({len(repeated)} in all)" if len(repeated) > 5 else ""
        raise ValueError(
            f"{listed}{more} hold the same classes: as they are, every class would count once for"
            f" each of them, such as {format_path(tree.hierarchy.class_paths[0])!r}. Put all images"
            " of a class into one folder, or list the images in a table (--table FILE), which can"
            " say in a column which belong together (--group_column); if they really are groups of"
            " classes, give --folders_are_classes"
        )


def _check_size(tree: Collection, source: str | os.PathLike, way_out: str) -> None:
    """Raises: ValueError: If there is nothing to tell apart, or too little to train and test."""
    classes, images = tree.hierarchy.num_classes, len(tree.files)
    if classes < 2:
        only = format_path(tree.hierarchy.class_paths[0])
        raise ValueError(
            f"all {images} images of {os.fspath(source)!r} are of one class, {only!r}, and there is"
            f" nothing to tell apart: {way_out}"
        )
    if images < FEWEST_IMAGES:
        raise ValueError(
            f"there are only {images} images of {os.fspath(source)!r}, in {classes} classes:"
            f" {FEWEST_IMAGES} are the least to train and test with; {way_out}"
        )


def keep_readable(
    kept: np.ndarray,
    files: Sequence[str],
    labels: np.ndarray,
    order: np.ndarray,
    hierarchy: Hierarchy,
) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Files, labels and order without the images that were skipped. Raises: ValueError: If a class
    has none left.
    """
    emptied = np.setdiff1d(labels, labels[kept])
    if len(emptied):
        name = format_path(hierarchy.class_paths[emptied[0]])
        raise ValueError(
            f"no image of class {name!r} can be read: repair its images or remove its folder"
        )
    position = np.full(len(files), -1)
    position[kept] = np.arange(len(kept))
    order = position[order]
    return tuple(files[i] for i in kept), labels[kept], order[order >= 0]


def copy_notes(
    fingerprints: np.ndarray, labels: np.ndarray, parts: Sequence[np.ndarray]
) -> list[str]:
    """A note on equal images, which count in the test set though the network may have seen them in
    training.
    """
    _, group, counts = np.unique(fingerprints, return_inverse=True, return_counts=True)
    extra = int((counts - 1).sum())
    if extra == 0:
        return []
    train, _, test = parts
    seen = int(np.isin(group[test], group[train]).sum())
    pairs = np.unique(np.stack([group, labels]), axis=1)[0]
    mixed = len(pairs) - len(counts)
    return [
        f"{counted(extra, 'image is a copy', 'images are copies')} of another image;"
        f" {counted(seen, 'test image is', 'test images are')} also in the training split"
        + (
            f", and {counted(mixed, 'copy is', 'copies are')} in another class than the original"
            if mixed
            else ""
        )
    ]
