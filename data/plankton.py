"""The plankton sets MicroS, MicroL and MesoZ of Kim et al. 2023: folder trees with a few facts
known beforehand.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data import folder
from data.splits import Splits

# what the set brings along: its folders are its tree
_OWN = (
    "hierarchy",
    "hierarchy_format",
    "levels",
    "prune_tree",
    "folders_are_classes",
    "nonliving",
    "exclude",
    "label_map",
    "label_map_set",
    "label_map_levels",
    "strict_groups",
    *folder.TABLE_OPTIONS,
)
DEFAULTS = {name: value for name, value in folder.DEFAULTS.items() if name not in _OWN}


class PlanktonSet(NamedTuple):
    """What the published set holds: images, classes, those of living organisms, and the group that
    is not alive.
    """

    images: int
    classes: int
    living_images: int
    living_classes: int
    nonliving: str


SETS = {
    "MicroS": PlanktonSet(6738, 109, 4378, 90, "nonliving"),
    "MicroL": PlanktonSet(8348, 102, 5060, 76, "nonplankton"),
    "MesoZ": PlanktonSet(6653, 52, 3871, 30, "nonzooplankton"),
}


def load(options: Mapping) -> Splits:
    """One of SETS, named by options['dataset']; a copy that differs from the published set is
    reported in the notes.

    Args:
        options: As for `folder.load`, without those of the tree, nonliving and exclude, which the
            set brings along. data_dir is the folder of the set, directly above the topmost taxa, or
            the folder above that.

    Raises: ValueError, OSError: As `folder.load`.
    """
    name = options["dataset"]
    published, root = SETS[name], options["data_dir"]
    if (Path(root) / name).is_dir():
        root = Path(root) / name
    known = (Path(root) / published.nonliving).is_dir()
    splits = folder.load(
        {**options, "data_dir": root, "nonliving": [published.nonliving] if known else []}
    )
    found = PlanktonSet(
        len(splits.files),
        splits.num_classes,
        int(splits.living[splits.labels].sum()),
        int(np.count_nonzero(splits.living)),
        published.nonliving if known else "",
    )
    return replace(splits, notes=(*splits.notes, *_differences(name, found, published)))


def _differences(name: str, found: PlanktonSet, published: PlanktonSet) -> list[str]:
    notes = []
    if not found.nonliving:
        notes.append(
            f"there is no folder {published.nonliving!r}: all classes of this {name} count as"
            " living"
        )
    if found[:4] != published[:4]:
        sides = [
            f"{side.images} images in {side.classes} classes ({side.living_images} in"
            f" {side.living_classes} living ones)"
            for side in (found, published)
        ]
        notes.append(f"this {name} has {sides[0]}, the published one {sides[1]}")
    return notes
