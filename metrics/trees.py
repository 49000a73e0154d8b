"""Trees inferred from distances between class vectors, and how much of the hierarchy they recover.
scikit-bio is imported where neighbours are joined: nothing else needs it.
"""

import re
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import squareform

from hierarchies import Hierarchy
from metrics.measure import HIGHER, LOWER, SHARE, VECTORS, kind
from metrics.outputs import Outputs
from metrics.result import Result, ratio
from metrics.vectors import pairwise_distances, present, vector_sets

if TYPE_CHECKING:
    from skbio import TreeNode

COMPARED = ("recovered", "rf", "rf_normalised")
NJ_CLASSES = 3000  # neighbour joining takes cubic time: seconds up to here


class LearnedTree(NamedTuple):
    """A tree over items 0..C-1 in preorder, parents first (M nodes).

    Attributes:
        parent: (M,) parent of each node, -1 for the root, node 0.
        item: (M,) the item at a tip, -1 inside.
        length: (M,) of the branch to the parent, in the unit of the distances, >= 0; 0 at the root.
    """

    parent: list[int]
    item: list[int]
    length: list[float]


def upgma(distances: np.ndarray) -> LearnedTree:
    """Average-linkage tree of a symmetric (C, C) table, binary and rooted; ties are joined in class
    order.
    """
    if len(distances) < 2:
        return LearnedTree([-1] * len(distances), [0] * len(distances), [0.0] * len(distances))
    merges, count = linkage(squareform(distances, checks=False), "average"), len(distances)
    below = merges[:, :2].astype(int).tolist()
    height = [0.0] * count + (merges[:, 2] / 2).tolist()  # of SciPy's clusters: items, then merges
    tree = LearnedTree([], [], [])
    clusters: list[int] = []  # of the nodes
    stack = [(2 * count - 2, -1)]  # clusters, each with the node above it
    while stack:
        cluster, above = stack.pop()
        node = len(tree.parent)
        tree.parent.append(above)
        tree.item.append(cluster if cluster < count else -1)
        way = height[clusters[above]] - height[cluster] if above >= 0 else 0.0
        tree.length.append(max(way, 0.0))
        clusters.append(cluster)
        if cluster >= count:
            first, second = below[cluster - count]
            stack += [(second, node), (first, node)]
    return tree


def neighbour_joining(distances: np.ndarray) -> LearnedTree:
    """Neighbour-joining tree of a symmetric (C, C) table, unrooted: the root has three children.

    Negative branch lengths become 0. For C < 3, where there is nothing to join, the UPGMA tree.
    Saitou & Nei 1987.
    """
    if len(distances) < 3:
        return upgma(distances)
    skbio = import_skbio()
    return _as_arrays(skbio.tree.nj(skbio.DistanceMatrix(distances, _item_names(distances))))


def import_skbio() -> ModuleType:
    """scikit-bio, which takes a second or more: it imports torch. Done before threads compute, as
    scipy fails in one thread while another is in the middle of importing torch.
    """
    import skbio.tree

    return skbio


METHODS: dict[str, Callable[[np.ndarray], LearnedTree]] = {"upgma": upgma, "nj": neighbour_joining}


def infer_trees(vectors: np.ndarray, distance: str) -> dict[str, LearnedTree | None]:
    """UPGMA and neighbour-joining tree, "upgma" and "nj", of class vectors (C, D) without NaN.

    "nj" is None above `NJ_CLASSES` classes.
    """
    distances = pairwise_distances(vectors, distance)
    return {name: _infer(name, distances) for name in METHODS}


def to_newick(tree: LearnedTree, names: Sequence[str]) -> str:
    """The tree with branch lengths as one Newick string.

    Names with anything but letters, digits, '.' and '-' stand in single quotes, a single quote
    inside is doubled.
    """
    below: list[list[str]] = [[] for _ in tree.parent]
    for v in range(len(tree.parent) - 1, -1, -1):
        text = (
            _quote(names[tree.item[v]])
            if tree.item[v] >= 0
            else f"({','.join(reversed(below[v]))})"
        )
        if v == 0:
            return f"{text};"
        below[tree.parent[v]].append(f"{text}:{tree.length[v]:.8g}")
        below[v] = []
    return ";"


def draw(tree: LearnedTree, names: Sequence[str]) -> str:
    """The tree as lines of text for a log, one node a line, without branch lengths."""
    last = {parent: v for v, parent in enumerate(tree.parent)}
    lines, indents = [], []
    for v, (parent, item) in enumerate(zip(tree.parent, tree.item)):
        label = names[item] if item >= 0 else "┐"
        branch, below = ("└── ", "    ") if last[parent] == v else ("├── ", "│   ")
        lines.append(indents[parent] + branch + label if v else label)
        indents.append(indents[parent] + below if v else "")
    return "\n".join(lines)


def splits(parent: Sequence[int], item: Sequence[int], size: int) -> set[int]:
    """Unrooted splits of a tree over items 0..size-1 with two items or more on both sides.

    A split is the bit set of the items on the side without item 0. Exact, whatever the rooting and
    number of children.

    Args:
        parent: Parent of each node, parents first; item: the item at a leaf, -1 inside.
    """
    below = [1 << int(i) if i >= 0 else 0 for i in item]
    for v in range(len(below) - 1, 0, -1):
        below[parent[v]] |= below[v]
    everything = (1 << size) - 1
    sides = {everything ^ side if side & 1 else side for side in below}
    return {side for side in sides if 2 <= side.bit_count() <= size - 2}


def tree_splits(tree: LearnedTree) -> set[int]:
    """The splits of a learned tree; see `splits`."""
    return splits(tree.parent, tree.item, sum(i >= 0 for i in tree.item))


def hierarchy_splits(hierarchy: Hierarchy) -> set[int]:
    """The splits of the inner nodes of a hierarchy, over its classes; see `splits`."""
    return splits(hierarchy.parent.tolist(), hierarchy.class_of.tolist(), hierarchy.num_classes)


def robinson_foulds(a: set[int], b: set[int]) -> int:
    """Number of splits that only one of two trees over the same items has. Robinson & Foulds
    1981.
    """
    return len(a ^ b)


def compare(tree: LearnedTree, hierarchy: Hierarchy) -> dict[str, Result]:
    """A learned tree against the hierarchy of the same C classes, by their unrooted splits.

    `recovered`: share of the hierarchy's splits that the tree has, in [0, 1], higher is better (n
    of them). `rf`: splits that only one has; `rf_normalised`: over C - 3 + number of the
    hierarchy's, in [0, 1], lower is better. The tree is binary, so rf is at least C - 3 - number of
    the hierarchy's splits. NaN with n = 0 and all C classes undefined if C < 4, where no tree has
    splits; `recovered` also if the hierarchy has none.
    """
    nothing = Result(np.nan, 0, hierarchy.num_classes)
    if hierarchy.num_classes < 4:
        return dict.fromkeys(COMPARED, nothing)
    learned, given = tree_splits(tree), hierarchy_splits(hierarchy)
    share, rf = ratio(len(learned & given), len(given)), robinson_foulds(learned, given)
    total = hierarchy.num_classes - 3 + len(given)
    recovered = Result(float(share), len(given)) if given else nothing
    return dict(zip(COMPARED, (recovered, Result(float(rf), total), Result(rf / total, total))))


def tree_comparisons(outputs: Outputs) -> dict[str, Result]:
    """`W/upgma_recovered`, `W/upgma_rf`, `W/upgma_rf_normalised`, the same for `nj` and for
    prototypes (P).

    See `compare`. n counts splits, `undefined` classes without a vector, which are cut out of the
    hierarchy too; every class where the value is NaN. Above `NJ_CLASSES` classes there is no
    neighbour joining: NaN.
    """
    results = {}
    for prefix, vectors in vector_sets(outputs):
        kept = np.flatnonzero(present(vectors))
        reference = outputs.hierarchy.subset(kept) if len(kept) else None
        for method, tree in infer_trees(vectors[kept], outputs.distance).items():
            known = tree is not None and reference is not None
            compared = (
                compare(tree, reference) if known else dict.fromkeys(COMPARED, Result(np.nan, 0))
            )
            for name, result in compared.items():
                absent = len(vectors) - (len(kept) if result.n else 0)
                results[f"{prefix}/{method}_{name}"] = result._replace(undefined=absent)
    return results


def published_comparisons(outputs: Outputs) -> dict[str, Result]:
    """`W/rf_published`, `P/rf_published`: UPGMA of the vectors against UPGMA of the path lengths,
    over 2 (C - 3).

    In [0, 1], lower is better. Path lengths are full of ties, so the reference, and with it the
    value, depends on the order of the classes: for comparison with published figures only. Kim et
    al. 2023.
    """
    results = {}
    for prefix, vectors in vector_sets(outputs):
        kept = np.flatnonzero(present(vectors))
        size, result = len(kept), Result(np.nan, 0)
        if size > 3:
            tables = (
                pairwise_distances(vectors[kept], outputs.distance),
                outputs.path[np.ix_(kept, kept)].astype(float),
            )
            rf = robinson_foulds(*(tree_splits(upgma(table)) for table in tables))
            result = Result(rf / (2 * (size - 3)), 2 * (size - 3))
        results[f"{prefix}/rf_published"] = result._replace(
            undefined=len(vectors) - (size if result.n else 0)
        )
    return results


def _infer(name: str, distances: np.ndarray) -> LearnedTree | None:
    return None if name == "nj" and len(distances) > NJ_CLASSES else METHODS[name](distances)


def _item_names(distances: np.ndarray) -> list[str]:
    return [str(i) for i in range(len(distances))]


def _as_arrays(root: "TreeNode") -> LearnedTree:
    nodes = list(root.preorder())
    index = {id(node): v for v, node in enumerate(nodes)}
    parent = [-1 if node.parent is None else index[id(node.parent)] for node in nodes]
    item = [int(node.name) if node.is_tip() else -1 for node in nodes]
    return LearnedTree(parent, item, [max(node.length or 0.0, 0.0) for node in nodes])


def _quote(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9.\-]+", name) else "'" + name.replace("'", "''") + "'"


_higher = kind(HIGHER, VECTORS, SHARE)
_lower_groups = kind(LOWER, VECTORS, "0 or more groups")
_lower_share = kind(LOWER, VECTORS, SHARE)
# the trees are compared without their roots
_UNROOTED = ", as the classes below a branch or as all others."
MEASURES = (
    _higher(
        "upgma_recovered",
        "Share of the tree's superclasses that the tree learned from class vectors by average"
        " linkage has as well" + _UNROOTED,
    ),
    _lower_groups(
        "upgma_rf",
        "Robinson-Foulds distance: groups of classes that only one of the class tree and the tree"
        " learned from class vectors by average linkage (UPGMA) has.",
    ),
    _lower_share(
        "upgma_rf_normalised",
        "Robinson-Foulds distance, groups of classes that only one of the class tree and the tree"
        " learned from class vectors by average linkage (UPGMA) has, as a share of the largest"
        " possible number.",
    ),
    _higher(
        "nj_recovered",
        "Share of the tree's superclasses that the tree learned from class vectors by neighbour"
        " joining has as well" + _UNROOTED,
    ),
    _lower_groups(
        "nj_rf",
        "Robinson-Foulds distance: groups of classes that only one of the class tree and the tree"
        " learned from class vectors by neighbour joining has.",
    ),
    _lower_share(
        "nj_rf_normalised",
        "Robinson-Foulds distance, groups of classes that only one of the class tree and the tree"
        " learned from class vectors by neighbour joining has, as a share of the largest possible"
        " number.",
    ),
    _lower_share(
        "rf_published",
        "Robinson-Foulds distance, groups of classes that only one of the class tree and a tree"
        " learned from class vectors has, as published by Kim et al., which depends on the order"
        " of the classes, for comparison with their figures only.",
    ),
)
METRICS: dict[str, Callable[[Outputs], dict[str, Result]]] = {"trees": tree_comparisons}
ON_REQUEST: dict[str, Callable[[Outputs], dict[str, Result]]] = {
    "rf_published": published_comparisons
}
OF_PAIRS = (*METRICS, *ON_REQUEST)  # of classes, see `suite.OF_PAIRS`
