"""iNaturalist 2019 in the layout of Bertinetto et al. 2020, with the taxonomy of its own
metadata.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from data.labelled import tree_options
from data.official import DEFAULTS as OFFICIAL
from data.official import data_folder, official_splits, scan_splits
from data.splits import Splits
from hierarchies import Hierarchy, TreeFile, ranks, read_tree
from hierarchies.texts import MAX_TABLE_BYTES, parsed_json, read_text

RANKS = ("kingdom", "phylum", "class", "order", "family", "genus")
METADATA = ("categories.json", "train2019.json", "val2019.json")
DEFAULTS = {**OFFICIAL, "resize": 224}


def load(options: Mapping) -> Splits:
    """iNaturalist as <data_dir>/{train,val,test}/natNNNN/<image>, where NNNN is the id of the
    category.

    Training uses train alone, testing test; val selects the epoch with use_val and is not used
    without. (Urbani et al. 2024 both select and report on val: for their figures, leave the folder
    test out, and val is tested.)

    Args:
        options: dataset and any of DEFAULTS, see `official_splits`. hierarchy is a file with the
            categories (see `read_categories`) or any other tree whose classes are natNNNN; by
            default one of METADATA in data_dir. collapse drops inner nodes with a single child.

    Raises: ValueError, OSError: If a folder or the metadata is missing, images cannot be read, or
    classes disagree.
    """
    options = {**DEFAULTS, **options}
    root = data_folder(options)
    tree = _tree(root, options)
    return official_splits(scan_splits(root), tree, options)


def read_categories(path: str | os.PathLike) -> Hierarchy:
    """The tree kingdom > phylum > class > order > family > genus > natNNNN of a file with the
    dataset's categories.

    Args:
        path: JSON: a list of categories, or an object with such a list as 'categories'
            (train2019.json). Each has an id, a name, which is shown, and the six RANKS.

    Raises: ValueError: If it is not that; the category is named. OSError: If the file cannot be
    read.
    """
    content = _content(path)
    categories = content.get("categories") if isinstance(content, dict) else content
    if not isinstance(categories, list) or not categories:
        raise ValueError(
            f"{path} has no list 'categories'; is it the metadata of iNaturalist, such as"
            " train2019.json?"
        )
    taxa: dict[int, tuple[str, ...]] = {}
    for position, category in enumerate(categories):
        taxon = _taxon(category, where := f"{path}, entry {position} of the categories")
        if category["id"] in taxa:
            raise ValueError(f"{where}: the id {category['id']} has come before")
        taxa[category["id"]] = taxon
    names = {taxon: category["name"].strip() for taxon, category in zip(taxa.values(), categories)}
    paths = [taxa[number] for number in sorted(taxa)]
    return Hierarchy.from_paths(
        paths, names=names, ranks=ranks.of_levels(paths, (*RANKS, "species"))
    )


def _taxon(category: object, where: str) -> tuple[str, ...]:
    """The path of a category."""
    if not isinstance(category, dict):
        raise ValueError(f"{where}: expected an object, got {str(category)[:40]!r}")
    number = category.get("id")
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise ValueError(f"{where}: 'id' must be a whole number, 0 or more, got {number!r}")
    for key in ("name", *RANKS):
        if not isinstance(category.get(key), str) or not category[key].strip():
            raise ValueError(
                f"{where} (id {number}): {key!r} must be a name, got {category.get(key)!r}"
            )
    return (*(category[rank].strip() for rank in RANKS), f"nat{number:04d}")


def _tree(root: Path, options: Mapping) -> TreeFile:
    how, file = tree_options(options), options["hierarchy"]
    if file is None:
        file = next((root / name for name in METADATA if (root / name).is_file()), None)
    if file is None:
        raise ValueError(
            f"{root} has none of {', '.join(METADATA)}, which say how the categories are related:"
            " put one there, or name it or a file with another tree with --hierarchy"
        )
    if not how["format"] and not how["levels"] and _has_categories(Path(file)):
        return TreeFile(read_categories(file), ())
    return read_tree(file, **how)


def _has_categories(path: Path) -> bool:
    """Whether a file with a tree is one of categories, unlike nested JSON."""
    if path.suffix.lower() != ".json":
        return False
    content = _content(path)
    entries = content.get("categories") if isinstance(content, dict) else content
    return isinstance(entries, list) and any(
        isinstance(entry, dict) and "id" in entry for entry in entries
    )


def _content(path: str | os.PathLike) -> object:
    return parsed_json(read_text(path, MAX_TABLE_BYTES), str(path))
