"""Class tree and trees of class vectors as numbers, for the page that draws them beside each
other.
"""

from collections import Counter

import numpy as np

from figures.crossings import count_crossings, turn
from figures.groups import top_groups
from figures.layout import DrawnTree, axis_start, drawn_hierarchy, drawn_learned
from figures.subject import UNITS, Subject
from files.text import printable
from hierarchies import Hierarchy
from metrics.trees import upgma
from metrics.vectors import pairwise_distances, present

MOST = 2000  # classes; the trees of more are too long to read


def too_many(classes: int) -> str:
    """Why trees of more than `MOST` classes are not drawn."""
    return (
        f"Trees of {classes:,} classes are too long to read here; evaluate.py RUN writes them as"
        " Newick."
    )


def node_names(tree: Hierarchy) -> list[str]:
    """A name of each node to show: of a class that of the class; with that of the parent behind
    those that several nodes have.
    """
    names = list(tree.names)
    for leaf, name in zip(tree.leaves.tolist(), tree.class_names):
        names[leaf] = name
    count = Counter(names)
    return [
        printable(f"{name} ({tree.names[parent]})" if count[name] > 1 and parent >= 0 else name)
        for name, parent in zip(names, tree.parent.tolist())
    ]


def class_tree(hierarchy: Hierarchy) -> dict:
    """Names, parents and colours of the nodes, and the node of each class.

    The colour is that of the group at the top that holds all classes below, None above those.
    """
    groups = top_groups(hierarchy)
    sole = drawn_hierarchy(hierarchy).sole_group(groups.of_class)
    return {
        "names": node_names(hierarchy),
        "parent": hierarchy.parent.tolist(),
        "leaves": hierarchy.leaves.tolist(),
        "order": hierarchy.leaf_order.tolist(),
        "colours": [groups.colours[g] if g >= 0 else None for g in sole.tolist()],
        "groups": [(groups.names[g], groups.colours[g]) for g in groups.own]
        + ([(groups.others_name(), groups.colours[groups.others[0]])] if groups.others else []),
    }


def learned_tree(vectors: np.ndarray, hierarchy: Hierarchy, distance: str) -> dict | None:
    """The UPGMA tree of class vectors (C, D), turned towards the class tree, which stands still, so
    that the trees of several methods can be compared; None with fewer than two finite vectors.

    Returns: Of each node, parents first, children from top to bottom: its parent, the class at a
    tip (-1 inside), the distance at which its branches join, its number of classes, and the taxon
    that shares most with it (Jaccard) with the number of classes that both have; then the start of
    the axis, its unit, and the number of crossings.
    """
    kept = np.flatnonzero(present(np.asarray(vectors, float)))
    if len(kept) < 2:
        return None
    rank = np.empty(hierarchy.num_classes, np.int64)
    rank[hierarchy.leaf_order] = np.arange(hierarchy.num_classes)
    position = np.argsort(np.argsort(rank[kept]))
    found = turn(drawn_learned(upgma(pairwise_distances(vectors[kept], distance))), position)
    crossings = int(count_crossings(np.argsort(position), found.order()))
    return _as_numbers(found, kept, hierarchy, distance, crossings)


def trees_of_run(subject: Subject) -> dict:
    """The tree of a run's class vectors and the class tree turned towards each other; that one
    stands still where some classes have no vector.

    Keys: order (C,), the classes of the class tree from top to bottom; learned, see `learned_tree`.
    Raises: NothingToDraw: If there is no learned tree.
    """
    tree, kept = subject.hierarchy, subject.with_vector
    whole = len(kept) == tree.num_classes
    found = subject.untangled if whole else subject.against_taxonomy
    distance = subject.outputs.distance
    return {
        "order": (found.left.order() if whole else tree.leaf_order).tolist(),
        "learned": _as_numbers(found.right, kept, tree, distance, found.crossings),
    }


def _as_numbers(
    found: DrawnTree, kept: np.ndarray, hierarchy: Hierarchy, distance: str, crossings: int
) -> dict:
    """What `learned_tree` returns, from a drawn tree over the classes kept."""
    taxon, shared, size = nearest_taxa(found, kept, hierarchy)
    places = _preorder(found)
    place_of = np.empty(len(places), np.int64)
    place_of[places] = np.arange(len(places))
    parent = found.parent[places]
    return {
        "parent": np.where(parent >= 0, place_of[parent], -1).tolist(),
        "item": [int(kept[i]) if i >= 0 else -1 for i in found.item[places].tolist()],
        "join": [float(f"{x:.4g}") for x in found.joins()[places].tolist()],
        "size": size[places].tolist(),
        "taxon": taxon[places].tolist(),
        "shared": shared[places].tolist(),
        "start": axis_start(found),
        "unit": UNITS[distance],
        "crossings": crossings,
    }


def _preorder(tree: DrawnTree) -> np.ndarray:
    """The nodes, parents first, children from top to bottom."""
    found, stack = [], [0]
    while stack:
        v = stack.pop()
        found.append(v)
        stack.extend(reversed(tree.children[v]))
    return np.array(found)


def nearest_taxa(
    tree: DrawnTree, kept: np.ndarray, hierarchy: Hierarchy
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each node of a learned tree over some classes: the node of the class tree whose classes,
    of those, overlap most with its own (of equal ones the deepest; the root only where it is all
    classes), how many both have, and its number of classes.
    """
    below = np.zeros((len(tree.item), len(kept)), np.float32)
    for v in range(len(tree.item) - 1, -1, -1):
        if tree.item[v] >= 0:
            below[v, tree.item[v]] = 1
        for u in tree.children[v]:
            below[v] += below[u]
    taxa = np.zeros((len(hierarchy.parent), len(kept)), np.float32)
    for i, c in enumerate(kept.tolist()):
        v = int(hierarchy.leaves[c])
        while v >= 0:
            taxa[v, i] = 1
            v = int(hierarchy.parent[v])
    both = below @ taxa.T
    size = below.sum(axis=1)
    jaccard = both / (size[:, None] + taxa.sum(axis=1) - both)
    jaccard[size < len(kept), 0] = 0  # the root says nothing about a part
    deepest = np.argsort(-hierarchy.depth, kind="stable")
    taxon = deepest[jaccard[:, deepest].argmax(axis=1)]
    return taxon, both[np.arange(len(both)), taxon].astype(int), size.astype(int)
