"""Images labelled at inner nodes of the tree: a label is a class c in [0, C), or C + v for a node
v.

A collection gives a class that has classes inside a leaf of its own, with the key '.'. Where such
labels mean 'one of the classes inside, we could not tell which', they belong to the node itself.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from data.sharing import systematic_sample
from data.splits import CALIBRATION, SPLITS, Splits
from files.text import counted
from hierarchies import Hierarchy
from hierarchies.tree import OWN_LEAF


def coarse_labels(splits: Splits, how: str) -> Splits:
    """The same splits with images of a class that has classes inside labelled at its node ('use'),
    or in no split ('drop'). The classes then are those without classes inside.

    Raises: ValueError: If no two classes, or no such training and test images, are left.
    """
    tree = splits.hierarchy
    leaves = np.array([_is_own_leaf(tree, leaf) for leaf in tree.leaves.tolist()])
    if not leaves.any():
        note = f"no image is labelled at a superclass: --coarse_labels {how} leaves all as it is"
        return replace(splits, notes=(*splits.notes, note))
    kept = np.flatnonzero(~leaves)
    if len(kept) < 2:
        raise ValueError(
            f"--coarse_labels {how} leaves {len(kept)} classes: only classes without classes inside"
            " count as such; keep the others with --coarse_labels leaf"
        )
    small = tree.subset(kept.tolist())
    labels = labels_in(small, tree, splits.labels)
    coarse = labels >= small.num_classes
    parts = {name: getattr(splits, name) for name in (*SPLITS, CALIBRATION)}
    if how == "drop":
        parts = {name: part[~coarse[part]] for name, part in parts.items()}
        what = "in no split (--coarse_labels drop)"
    else:
        what = "counted as far down as the label goes (--coarse_labels use)"
    _check_left(parts, coarse, how)
    images = counted(int(coarse.sum()), "image")
    note = f"{images} of {counted(int(leaves.sum()), 'superclass', 'superclasses')}: {what}"
    return replace(
        splits,
        hierarchy=small,
        labels=labels,
        living=None if splits.living is None else splits.living[kept],
        notes=(*splits.notes, note),
        **parts,
    )


def raise_labels(splits: Splits, share: float, seed: int, how: str) -> Splits:
    """The same splits with the labels of a share of the training images raised by one level or by
    two, each as often, but never to the root: what they are labelled at is used, or they are
    dropped, as `coarse_labels` does.

    Of every class floor(share n) or one more of its n images are raised, so that the total is the
    share of all whose class is not directly below the root.
    """
    tree, train = splits.hierarchy, splits.train
    own = splits.labels[train]
    depth = tree.depth[tree.leaves]
    can = (own < tree.num_classes) & (depth[np.minimum(own, tree.num_classes - 1)] > 1)
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(int(can.sum()), generator=generator).numpy()
    candidates = train[can][shuffled]
    by_class = candidates[np.argsort(splits.labels[candidates], kind="stable")]
    raised = systematic_sample(by_class, int(share * len(by_class) + 0.5), generator)
    two = torch.rand(len(raised), generator=generator, dtype=torch.float64).numpy() < 0.5
    nodes = tree.leaves[splits.labels[raised]]
    parents = tree.parent[nodes]
    further = tree.parent[parents]
    labels = splits.labels.copy()
    labels[raised] = tree.num_classes + np.where(two & (further > 0), further, parents)
    kept = np.setdiff1d(train, raised) if how == "drop" else train
    if not (labels[kept] < tree.num_classes).any():
        raise ValueError(
            f"--raise_labels {share} leaves no training image labelled with a class: take less"
        )
    fate = "are in no split" if how == "drop" else "count as far down as their label goes"
    note = (
        f"{len(raised)} of {len(train)} training labels are raised by one or two levels"
        f" (--raise_labels {share:g}) and {fate}"
    )
    return replace(splits, labels=labels, train=kept, notes=(*splits.notes, note))


def shares_below(
    hierarchy: Hierarchy, labels: np.ndarray
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """For each label of an inner node among the labels (n,): the label, the classes below it, and
    their shares of its images: in proportion to their own images, even if none has any.
    """
    classes = hierarchy.num_classes
    own = np.bincount(labels, minlength=classes)[:classes]
    for label in np.unique(labels[labels >= classes]).tolist():
        node = label - classes
        below = hierarchy.leaf_order[hierarchy.start[node] : hierarchy.stop[node]]
        among = own[below] if own[below].any() else np.ones(len(below))
        yield label, below, among / among.sum()


def shared_counts(hierarchy: Hierarchy, labels: np.ndarray) -> np.ndarray:
    """Images of each class, (C,): int64, or float64 where some are labelled at inner nodes, which
    are shared among the classes below, see `shares_below`.
    """
    classes = hierarchy.num_classes
    counts = np.bincount(labels, minlength=classes)
    total = counts[:classes]
    for label, below, shares in shares_below(hierarchy, labels):
        total = total.astype(np.float64)
        total[below] += counts[label] * shares
    return total


def labels_in(new: Hierarchy, old: Hierarchy, labels: np.ndarray) -> np.ndarray:
    """The labels (S,) of a tree in one that has some of its nodes and no others: each is that of
    the deepest node on its path that is left, a class where this is one there.
    """
    node_of = {new.path(v): v for v in range(new.num_nodes)}
    mapped = np.full(old.num_classes + old.num_nodes, -1)
    for label in np.unique(labels).tolist():
        path = old.path(old.leaves[label] if label < old.num_classes else label - old.num_classes)
        while path not in node_of:
            path = path[:-1]
        own = int(new.class_of[node_of[path]])
        mapped[label] = own if own >= 0 else new.num_classes + node_of[path]
    return mapped[labels]


def _is_own_leaf(tree: Hierarchy, leaf: int) -> bool:
    """Whether a class is that of an inner node itself, beside classes inside it."""
    return tree.keys[leaf] == OWN_LEAF and bool(tree.n_leaves[tree.parent[leaf]] > 1)


def _check_left(parts: dict, coarse: np.ndarray, how: str) -> None:
    for name in SPLITS:
        part = parts[name]
        if (len(part) or name != "val") and coarse[part].all():
            raise ValueError(
                f"--coarse_labels {how} leaves no {name} image labelled with a class that has none"
                " inside; keep today's labels with --coarse_labels leaf"
            )
