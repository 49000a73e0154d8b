"""tieredImageNet-H (Bertinetto et al. 2020): 608 classes of ImageNet, split by image by lists."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from data.official import DEFAULTS as OFFICIAL
from data.official import Filed, check_there, data_folder, official_splits, shipped_tree
from data.options import usual
from data.splits import SPLITS, Splits
from hierarchies import TreeFile
from hierarchies.texts import read_text

DEFAULTS = {**OFFICIAL, **usual("split_lists"), "resize": 224}


def load(options: Mapping) -> Splits:
    """The classes and images that <split_lists>/{train,val,test}/<wnid>.txt list, a file name of
    ILSVRC 2012 a line, from ImageNet as <data_dir>/{train,val}/<wnid>/<image>.

    Without `hierarchy` the tree is that of ImageNet here, cut to the classes, without inner nodes
    of a single child. The authors' distances are not those of their tree: compare with published
    figures with care.

    Args:
        options: dataset and any of DEFAULTS, see `official_splits`. split_lists: The authors'
            folder of lists, which they do not allow to be passed on.

    Raises: ValueError, OSError: If a list or an image is missing; it is named.
    """
    options = {**DEFAULTS, **options}
    root = data_folder(options)
    if options["split_lists"] is None:
        raise ValueError(
            "TieredImageNet needs the authors' lists of images, <split>/<wnid>.txt: name their"
            " folder with --split_lists"
        )
    filed = _filed(root, Path(options["split_lists"]))
    tree = shipped_tree("imagenet", options)
    if options["hierarchy"] is None:
        known = {path[-1]: c for c, path in enumerate(tree.hierarchy.class_paths)}
        unknown = sorted(set(filed.ids) - set(known))
        if unknown:
            raise ValueError(f"{options['split_lists']}: {unknown[0]!r} is no class of ImageNet")
        kept = sorted(known[wnid] for wnid in set(filed.ids))
        tree = TreeFile(tree.hierarchy.subset(kept), tree.notes)
        options["collapse"] = True
    return official_splits(filed, tree, options)


def _filed(root: Path, lists: Path) -> Filed:
    files, ids, parts = [], [], []
    for part, name in enumerate(SPLITS):
        found = sorted((lists / name).glob("*.txt"))
        if not found:
            raise ValueError(f"{lists / name} has no lists <wnid>.txt")
        for path in found:
            for line in filter(None, map(str.strip, read_text(path).splitlines())):
                # the authors took images of both official splits
                official = "val" if line.startswith("ILSVRC2012_val") else "train"
                files.append(f"{official}/{path.stem}/{Path(line).name}")
                ids.append(path.stem)
                parts.append(part)
    check_there(root, files, f"the lists of {lists}")
    return Filed(root, tuple(files), np.array(ids), np.array(parts))
