"""Which images there are and what classes they have: of a folder tree or a table, in the tree that
the folders or a file say.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from data.collection import Collection, groups_of_folders, split_of_folders
from data.label_map import apply_label_map
from data.listed import Columns
from data.matching import match_folders
from data.table import read_table
from files.text import counted, printable, some_of
from hierarchies import (
    FolderTree,
    Hierarchy,
    check_shared,
    doubtful_names,
    pruned_note,
    read_tree,
    relates_none,
    scan_folders,
)
from hierarchies.folder_names import (
    part_names,
    parted_classes,
    repeated_folders,
    split_folders,
)
from hierarchies.folders import advice, table_hint
from hierarchies.tree import format_path, without_own_leaf

_LISTS = (".txt", ".csv", ".tsv", ".lst", ".list")
_ABOVE = "and the folders above say where or how they were taken, --group_level takes these out"
FEWEST_IMAGES = 10  # with fewer there is nothing to learn from and nothing to measure on


def labelled_images(root: Path, options: Mapping) -> Collection:
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
        names = ("file_column", "split_column", "group_column", "where", "box_columns")
        columns = Columns(
            levels=None if options["hierarchy"] is not None else options["levels"],
            boxes=options["crop_box"] is not None,
            own_tree=options["hierarchy"] is None and options["label_map"] is None,
            **{name: options[name] for name in names},
        )
        found = read_table(options["table"], root, columns)
        way_out = "do the right columns make the class? --levels COLUMN ... names them"
        _check_size(found, options["table"], way_out)
        return found
    tree = scan_folders(root, exclude=options["exclude"] or ())
    notes = tuple(_folder_notes(tree, options["ignore_empty_folders"]))
    found = Collection(tree.hierarchy, tree.files, tree.labels, notes=notes)
    if given:
        found = split_of_folders(found, os.fspath(root))
    if options["group_level"]:
        found = groups_of_folders(found, options["group_level"], os.fspath(root))
    if not options["folders_are_classes"]:
        if not given:
            _check_no_split(tree.hierarchy, root)
        if options["label_map"] is None:  # which makes equal labels one class
            _check_level(found.hierarchy, options["group_level"])
    way_out = (
        "this is probably the wrong folder; --data_dir takes the one above all groups and classes"
        f"{table_hint(tree.skipped)}"
    )
    _check_size(found, root, way_out)
    return found


def class_tree(tree: Collection, options: Mapping) -> tuple[Hierarchy, np.ndarray, tuple[str, ...]]:
    """The class tree, of the folders or of the file, the class of each image in it, and notes."""
    file, how = options["hierarchy"], tree_options(options)
    if file is None:
        if options["prune_tree"]:
            raise ValueError("--prune_tree leaves out classes of a file: name it with --hierarchy")
        folders = options["table"] is None and options["label_map"] is None
        if folders:
            notes = doubtful_names(tree.hierarchy, way_out=_ABOVE)
            notes += _common_folder(tree.hierarchy, given=tree.parts is not None)
        else:
            notes = doubtful_names(tree.hierarchy)
        if relates_none(tree.hierarchy):
            path = printable(format_path(tree.hierarchy.class_paths[0]))
            notes.append(
                f"no two classes share a superclass, such as {path!r}: losses and measures of the"
                " tree are those of a flat list. Is the order of the levels right, and is none an"
                " id, or the same for all?"
            )
        return tree.hierarchy, tree.labels, tuple(notes)
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


def _common_folder(hierarchy: Hierarchy, given: bool) -> list[str]:
    """A note on a folder that all classes are in, which is perhaps the collection's own.

    Args:
        given: Whether the folders are a split, too, and --data_dir cannot name one that is inside.
    """
    folders = [*map(without_own_leaf, hierarchy.class_paths)]
    common = os.path.commonprefix([folder[:-1] for folder in folders])
    if not common:
        return []
    levels = "a level of the tree that says" if len(common) == 1 else "levels of the tree that say"
    way_out = "move what is in it up" if given else "name that folder with --data_dir"
    return [
        f"all classes are in {printable(format_path(common))!r}, {levels} nothing: to be without,"
        f" {way_out}"
    ]


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


def _check_no_split(hierarchy: Hierarchy, root: Path) -> None:
    """Raises: ValueError: If folders look like the parts of a split."""
    parts = split_folders(hierarchy)
    if not parts:
        return
    listed = ", ".join(repr(str(root / part)) for part in parts)
    topmost = not any("/" in part for part in parts)
    one = "name one of them with --data_dir to have its images split anew, or " if topmost else ""
    raise ValueError(
        f"{listed} look like the parts of a split, not like classes or groups of classes: as"
        f" they are, every class would count once for each of them, such as"
        f" {format_path(hierarchy.class_paths[0])!r}. To use them as the split that they"
        f" are, give --split given; else {one}put all images of a class into one folder; if"
        " they really are classes or groups of classes, give --folders_are_classes"
    )


def _check_level(hierarchy: Hierarchy, levels: Sequence[int] | None) -> None:
    """Raises: ValueError: If folders look like those of another level than the classes'.

    Args:
        hierarchy: Without the folders of --group_level.
        levels: Those.
    """
    classes = [*map(format_path, hierarchy.class_paths)]
    for found, level, said in (
        (repeated_folders(hierarchy), 1, "hold the same classes"),
        (parted_classes(hierarchy), -1, "look like parts of the work below each class"),
    ):
        if not found:
            continue
        flag = f"--group_level {level}" if levels is None else "a further level of --group_level"
        if level < 0 and len(found) < hierarchy.num_classes:
            flag = f"the other classes such folders, too, and {flag}"
        name = PurePosixPath(found[-1]).name
        pattern = name if level > 0 else f"*/{name}"
        way_out = (
            f"every class would count once for each of them, such as {classes[0]!r}. If they say"
            f" which images belong together, as those of one haul, give {flag}; leave out what"
            f" shall not count with --exclude, such as {pattern!r}; else say by a --label_map which"
            " class each folder is, or put all images of a class into one"
        )
        if level < 0 and {PurePosixPath(path).name for path in classes} == {name}:
            way_out = f"all classes would be called {name!r}: {flag} takes this level out"
        raise ValueError(
            f"the folders {some_of(found, 5, repr)} {said}: as they are, {way_out}; if they"
            " really are classes or groups of classes, give --folders_are_classes"
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
    if classes == images >= FEWEST_IMAGES:
        raise ValueError(
            f"each of the {images} images of {os.fspath(source)!r} is of a class of its own, such"
            f" as {format_path(tree.hierarchy.class_paths[0])!r}: {way_out}"
        )
    if images < FEWEST_IMAGES:
        raise ValueError(
            f"there are only {images} images of {os.fspath(source)!r}, in {classes} classes:"
            f" {FEWEST_IMAGES} are the least to train and test with; {way_out}"
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
    return [*notes, *left_out_notes(tree), *_list_notes(tree.skipped)]


def _list_notes(skipped: Sequence[str]) -> list[str]:
    """A note on files that are perhaps lists of a split, such as train.txt and test.txt."""
    paths = [path for path in map(PurePosixPath, skipped) if path.suffix.lower() in _LISTS]
    parts = part_names(path.stem for path in paths)
    lists = [str(path) for path in paths if parts[path.stem]]
    if len({*parts.values()} - {None}) < 2:
        return []
    return [
        f"{some_of(lists, 5, repr)} look like lists of a split, which is not used: to use it, write"
        " a table of all images with columns of file, class and split (--table FILE --split given"
        " --split_column NAME)"
    ]


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
