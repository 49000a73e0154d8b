"""Classes that training never sees: their images form a split of their own, labelled at the deepest
superclass that is left, to see what is answered for what has no class.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from data.inner_labels import labels_in
from data.splits import CALIBRATION, SPLITS, Splits
from files.text import counted, printable, some_of
from hierarchies import Hierarchy
from hierarchies.naming import node_named
from hierarchies.tree import format_path


def hold_out(splits: Splits, names: Sequence[str]) -> Splits:
    """The same images without the classes named in tree and splits; those of their images that were
    in a split are the split `held_out`, labelled at the deepest node above them that is left:
    C + v, the root included. So are images labelled at a superclass of which all is held out.

    Args:
        splits: The dataset.
        names: Of classes or superclasses, as paths or ends of paths; of a superclass all classes
            below.

    Raises: ValueError: If a name means nothing or several things, or fewer than two classes or a
    split without images are left.
    """
    tree = splits.hierarchy
    gone = np.zeros(tree.num_classes, bool)
    for name in names:
        gone |= _below(tree, name)
    kept = np.flatnonzero(~gone)
    if len(kept) < 2:
        raise ValueError(f"--hold_out leaves {len(kept)} classes: training needs two or more")
    small = tree.subset(kept.tolist())
    # a superclass is away if all below it is: an image labelled there is of none of what is left
    left_below = np.concatenate([[0], np.cumsum(~gone[tree.leaf_order])])
    nodes_gone = left_below[tree.stop] == left_below[tree.start]
    away = np.concatenate([gone, nodes_gone])[splits.labels]
    parts = {name: getattr(splits, name) for name in (*SPLITS, CALIBRATION)}
    used = np.zeros(len(splits.files), bool)
    for part in parts.values():
        used[part] = True
    left = {name: part[~away[part]] for name, part in parts.items()}
    for name, part in left.items():
        if len(parts[name]) and not len(part):
            raise ValueError(f"--hold_out leaves no {name} image: hold out fewer classes")
    held = np.flatnonzero(away & used)
    some = some_of(np.flatnonzero(gone), 5, lambda c: printable(format_path(tree.class_paths[c])))
    note = (
        f"{counted(int(gone.sum()), 'class is', 'classes are')} held out, with"
        f" {counted(len(held), 'image')}: {some}"
    )
    return replace(
        splits,
        hierarchy=small,
        labels=labels_in(small, tree, splits.labels),
        living=None if splits.living is None else splits.living[kept],
        held_out=held,
        notes=(*splits.notes, note),
        **left,
    )


def _below(tree: Hierarchy, name: str) -> np.ndarray:
    """The classes at or below the node that a name means, (C,) bool."""
    node = node_named(tree, name, "--hold_out")
    below = np.zeros(tree.num_classes, bool)
    below[tree.leaf_order[tree.start[node] : tree.stop[node]]] = True
    return below
