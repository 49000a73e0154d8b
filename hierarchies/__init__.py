"""Class hierarchies: the tree, distances between classes, node weights, readers and writers. No
torch here.
"""

from hierarchies.distances import DISTANCES
from hierarchies.export import to_newick
from hierarchies.folders import FolderTree, scan_folders
from hierarchies.readers import (
    TREE_FORMATS,
    TreeFile,
    check_same_classes,
    check_shared,
    doubtful_names,
    pruned_note,
    read_edges,
    read_tree,
    relates_none,
)
from hierarchies.tree import Hierarchy
from hierarchies.weights import WEIGHTINGS, node_weights

__all__ = [
    "DISTANCES",
    "FolderTree",
    "TREE_FORMATS",
    "Hierarchy",
    "TreeFile",
    "WEIGHTINGS",
    "check_same_classes",
    "check_shared",
    "node_weights",
    "pruned_note",
    "read_edges",
    "read_tree",
    "relates_none",
    "doubtful_names",
    "scan_folders",
    "to_newick",
]
