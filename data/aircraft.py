"""FGVC-Aircraft (Maji et al. 2013): photographs of 100 variants, in families of manufacturers."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from data.headers import read_headers
from data.labelled import tree_options
from data.official import DEFAULTS as OFFICIAL
from data.official import Filed, check_there, data_folder, official_splits, read_lines
from data.splits import SPLITS, Splits
from hierarchies import Hierarchy, TreeFile, ranks, read_tree

LEVELS = ("manufacturer", "family", "variant")
BANNER = 20  # pixels at the bottom with the photographer's name
FOLDER = "fgvc-aircraft-2013b"
DEFAULTS = {**OFFICIAL, "resize": 224}


def load(options: Mapping) -> Splits:
    """FGVC-Aircraft as torchvision downloads it: data/images and the lists of variants, families
    and manufacturers, which are the tree. The banner at the bottom of each image is cut off. The
    splits are the official ones; val is not used without use_val.

    Args:
        options: dataset and any of DEFAULTS, see `official_splits`. data_dir is the folder
            fgvc-aircraft-2013b, its folder data, or the one that holds it.

    Raises: ValueError, OSError: If a file is missing, or lists disagree; it is named.
    """
    options = {**DEFAULTS, **options}
    given = data_folder(options)
    places = (given, given / "data", given / FOLDER / "data")
    root = next((place for place in places if (place / "images").is_dir()), None)
    if root is None:
        raise ValueError(
            f"{given} has no folder data/images: name {FOLDER} as downloaded with --data_dir"
        )
    filed, paths = _filed(root, options)
    tree = TreeFile(Hierarchy.from_paths(paths, ranks=ranks.of_levels(paths, LEVELS)), ())
    if options["hierarchy"] is not None:
        tree = read_tree(options["hierarchy"], **tree_options(options))
    return official_splits(filed, tree, options)


def _filed(root: Path, options: Mapping) -> tuple[Filed, list[tuple[str, ...]]]:
    """The images, and the path of each class."""
    files, ids, parts, above = [], [], [], {}
    for part, name in enumerate(SPLITS):
        lists = [dict(read_lines(root / f"images_{level}_{name}.txt")) for level in LEVELS]
        for image, variant in lists[-1].items():
            missing = [level for level, found in zip(LEVELS, lists) if image not in found]
            if missing:
                raise ValueError(
                    f"{root / f'images_{missing[0]}_{name}.txt'} does not list the image {image}"
                )
            path = tuple(found[image] for found in lists)
            if above.setdefault(variant, path) != path:
                raise ValueError(
                    f"{root}, image {image}: the variant {variant!r} is of {path[:-1]} here and of"
                    f" {above[variant][:-1]} before"
                )
            files.append(f"images/{image}.jpg")
            ids.append(variant)
            parts.append(part)
    check_there(root, files, f"the lists of {root}")
    sizes = read_headers(root, files, cache_dir=options["cache_dir"]).sizes
    # of a file that is no image the size is not known; it is named when it is read
    whole = np.where(np.isnan(sizes), BANNER + 1, sizes).astype(int)
    boxes = {file: (0, 0, int(w), int(h) - BANNER) for file, (w, h) in zip(files, whole)}
    note = f"the {BANNER} rows at the bottom of each image, its banner, are cut off"
    filed = Filed(root, tuple(files), np.array(ids), np.array(parts), (note,), boxes)
    return filed, [above[variant] for variant in sorted(above)]
