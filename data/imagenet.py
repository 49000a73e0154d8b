"""ImageNet (ILSVRC 2012) and sets filed like it, with a tree of its 1000 classes from WordNet."""

from collections.abc import Mapping

from data.official import DEFAULTS as OFFICIAL
from data.official import data_folder, official_splits, scan_splits, shipped_tree
from data.splits import Splits

DEFAULTS = {**OFFICIAL, "resize": 224}


def load(options: Mapping) -> Splits:
    """ImageNet as <data_dir>/{train,val[,test]}/<wnid>/<image>, classes in the order of their
    wnids.

    A test folder with class folders in it is the test split, and val validates with use_val.
    ILSVRC's own has no labels: then val is the test split, and a tenth of train validates with
    use_val. At 224 pixels the images are decoded as they are used; --resize 64 keeps them decoded
    in 16 GB, and --upscale 224 then enlarges them as Urbani et al. 2024 do.

    The tree takes WordNet's longest paths without single-child nodes (see hierarchies.wordnet),
    with lemmas as names.

    Args:
        options: dataset and any of DEFAULTS, see `official_splits`; hierarchy is a file with
            another tree, whose classes are the wnids; collapse drops its inner nodes with a single
            child.

    Raises: ValueError, OSError: If a folder is missing, images cannot be read, or classes disagree
    with the tree.
    """
    options = {**DEFAULTS, **options}
    root = data_folder(options)
    tree = shipped_tree("imagenet", options)
    return official_splits(scan_splits(root), tree, options)
