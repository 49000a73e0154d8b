"""Any folder tree of images: the folders are the class tree."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from data.boxes import with_margin
from data.collection import Collection
from data.conversion import Box
from data.doubles import copy_notes, mask_notes, twin_notes
from data.folds import fold_split
from data.groups import group_names, joined_groups, parted
from data.labelled import class_tree, labelled_images
from data.opening import CACHED, keep_readable, open_images
from data.options import usual
from data.sharing import choose_split_seed, given_split, grouped_split, split_indices
from data.split_list import published_order
from data.splits import SPLITS, Splits
from files.text import composed, counted, printable, some_of
from hierarchies import Hierarchy
from hierarchies.tree import format_path

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
DEFAULTS = {
    **CACHED,
    **usual("data_dir", "seed", "split_seed", "use_val", "split_list", "fold", "stream"),
    **usual("group_copies", "strict_groups", "min_images"),
    **usual("label_map", "label_map_set", "label_map_levels"),
    **usual("hierarchy", "hierarchy_format", "levels", "prune_tree", "collapse"),
    **usual("folders_are_classes", "ignore_empty_folders", "exclude", "nonliving", "group_level"),
    **usual(*TABLE_OPTIONS),
    "resize": 128,
    "split": "stratified",
}


def load(options: Mapping) -> Splits:
    """Reads a folder tree in which every folder that directly holds images is a class.

    Args:
        options: dataset, data_dir and any of DEFAULTS:
            resize, gray, fit and so on, cache_dir, skip_bad_images, stream: see `open_images`.
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
            group_level: Levels of folders, 1 the topmost and -1 the lowest, that are groups of
                images and not of classes, see `groups_of_folders`.
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
    root = Path(options["data_dir"])
    tree = labelled_images(root, options)
    hierarchy, labels, tree_notes = class_tree(tree, options)
    tree, hierarchy, labels, small_notes = _without_small_classes(
        tree, hierarchy, labels, options["min_images"]
    )
    living = living_classes(hierarchy, options["nonliving"])
    order, order_notes = published_order(tree.files, options, "the sorted paths")
    images = open_images(root, tree.files, options, _boxes(tree, options))
    files, labels, order = keep_readable(images.kept, tree.files, labels, order, hierarchy)
    kept = tree.select(images.kept)
    groups, names = _groups(kept, images.fingerprints, options)
    parts, split_notes = _split(kept, labels, groups, names, order, options)
    copies = []
    if images.cache is not None:
        drawn = kept.parts is None and not options["group_copies"]
        way_out = " (--group_copies keeps copies in one split)" if drawn else ""
        copies = copy_notes(images.fingerprints, labels, parts, files, way_out)
    copies += [*twin_notes(files, parts), *mask_notes(files)]
    notes = (*tree.notes, *tree_notes, *small_notes, *order_notes, *split_notes, *images.notes)
    train, val, test = parts
    return Splits(
        dataset=options["dataset"],
        hierarchy=hierarchy.collapse() if options["collapse"] else hierarchy,
        files=files,
        labels=labels,
        train=train,
        val=val,
        test=test,
        living=living,
        notes=(*notes, *copies),
        groups=groups,
        group_names=names,
        **images.as_fields,
    )


def _boxes(tree: Collection, options: Mapping) -> dict[str, Box] | None:
    """What to cut out of each image, by its file; None for whole images."""
    if options["crop_box"] is None:
        return None
    return dict(zip(tree.files, with_margin(tree.boxes, options["crop_box"])))


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
            " --group_column, --group_level or --group_copies, and no export of EcoTaxa, whose"
            " samples are groups)"
        )
    if options["fold"] is not None:
        how = {"seed": seed, "use_val": use_val, "groups": groups, "names": names}
        parts = fold_split(labels, options["fold"], **how)
        return parts, _tested_groups(options["fold"], groups, names, parts[2])
    if groups is not None:
        return grouped_split(labels, groups, seed=seed, use_val=use_val), []
    parts = split_indices(labels, seed=seed, use_val=use_val, split=options["split"], order=order)
    return parts, []


def _tested_groups(
    fold: str, groups: np.ndarray | None, names: Sequence[str], test: np.ndarray
) -> list[str]:
    """A note on the groups that a fold tests."""
    if groups is None:
        return []
    tested = np.unique(groups[test]).tolist()
    shown = some_of(tested, 5, lambda group: repr(printable(names[group])))
    return [f"--fold {fold} tests {counted(len(tested), 'group')} of {len(names)}: {shown}"]


def _across(
    groups: np.ndarray, names: Sequence[str], parts: Sequence[np.ndarray], strict: bool
) -> list[str]:
    """A note on groups that the split that is given parts. Raises: ValueError: If strict."""
    found = parted(groups, parts)
    if not found:
        return []
    shown = some_of(
        found,
        3,
        lambda one: (
            f"{printable(names[one[0]])!r} has "
            + ", ".join(f"{count} {name}" for count, name in zip(one[1], SPLITS) if count)
        ),
        "; ",
    )
    tested = sum(counts[2] for _, counts in found)
    total = int(groups.max()) + 1
    text = f"the split that is given parts {len(found)} of {total} groups ({shown})"
    if strict:
        raise ValueError(f"{text}; correct it, or leave out --strict_groups to use it as it is")
    return [
        f"{text}: {tested} of {len(parts[2])} test images are of groups with images in other"
        " splits, and measures may promise too much of new groups (--strict_groups stops there)"
    ]


def _without_small_classes(
    tree: Collection, hierarchy: Hierarchy, labels: np.ndarray, least: int | None
) -> tuple[Collection, Hierarchy, np.ndarray, list[str]]:
    """All of it without the classes with fewer than `least` images and without these, and notes.

    Raises: ValueError: If fewer than two classes are left.
    """
    counts = np.bincount(labels, minlength=hierarchy.num_classes)
    least = 0 if least is None else least
    kept = np.flatnonzero(counts >= least)
    small = np.flatnonzero(counts < least)
    if not len(small):
        return tree, hierarchy, labels, []
    if len(kept) < 2:
        second, first = np.sort(counts)[-2:]
        raise ValueError(
            f"--min_images {least} leaves {len(kept)} of {hierarchy.num_classes} classes, and there"
            f" is nothing to tell apart: the largest have {first} and {second} images"
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


def living_classes(hierarchy: Hierarchy, nonliving: Sequence[str] | None) -> np.ndarray | None:
    """Which classes are in none of the given topmost groups, (C,) bool; None where none is given.

    Raises: ValueError: If a group is unknown, or no class is left that is alive.
    """
    if nonliving is None:
        return None
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
