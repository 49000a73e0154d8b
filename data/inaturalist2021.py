"""iNaturalist 2021: 10,000 species, whose folders are named by all seven ranks."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from data.labelled import tree_options
from data.official import DEFAULTS as OFFICIAL
from data.official import TEST, TRAIN, data_folder, filed_in, official_splits
from data.splits import Splits
from hierarchies import Hierarchy, TreeFile, ranks, read_tree

RANKS = ("kingdom", "phylum", "class", "order", "family", "genus", "epithet")
DEFAULTS = {**OFFICIAL, "resize": 224}


def load(options: Mapping) -> Splits:
    """iNaturalist 2021 as <data_dir>/{train or train_mini,val}/<folder>/<image>, with folders such
    as 00001_Animalia_Annelida_Clitellata_Haplotaxida_Lumbricidae_Lumbricus_terrestris. val is the
    test split, as the official test has no labels; a tenth of train validates with use_val.

    Args:
        options: dataset and any of DEFAULTS, see `official_splits`; hierarchy is a file with
            another tree, whose classes are the folders.

    Raises: ValueError, OSError: If a folder is missing or not named like this.
    """
    options = {**DEFAULTS, **options}
    root = data_folder(options)
    trains = [root / name for name in ("train", "train_mini") if (root / name).is_dir()]
    if len(trains) != 1 or not (root / "val").is_dir():
        raise ValueError(
            f"{root} must have the folder val and one of train and train_mini, as the archives of"
            " iNaturalist 2021 unpack"
        )
    splits = ((TRAIN, trains[0]), (TEST, root / "val"))
    filed = filed_in(root, splits, lambda path, folder: "/".join(path))
    if options["hierarchy"] is not None:
        named = read_tree(options["hierarchy"], **tree_options(options))
    else:
        named = TreeFile(taxa(np.unique(filed.ids).tolist(), root), ())
    return official_splits(filed, named, options)


def taxa(folders: list[str], root: Path | str = "") -> Hierarchy:
    """The tree kingdom > ... > genus > folder of the folders' names; a species is shown as genus
    and epithet. Raises: ValueError: If a name has not all ranks.
    """
    paths, names = [], {}
    for folder in folders:
        pieces = folder.split("_")
        if len(pieces) != len(RANKS) + 1 or not all(pieces) or not pieces[0].isdecimal():
            raise ValueError(
                f"{root}: the folder {folder!r} is not named <number>_{'_'.join(RANKS)}, as those"
                " of iNaturalist 2021 are"
            )
        paths.append((*pieces[1:-1], folder))
        names[paths[-1]] = f"{pieces[-2]} {pieces[-1]}"
    titles = (*RANKS[:-1], "species")
    return Hierarchy.from_paths(paths, names=names, ranks=ranks.of_levels(paths, titles))
