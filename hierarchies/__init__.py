"""Class hierarchies: the tree, distances between classes, node weights, readers and writers. No
torch here.
"""

from hierarchies.distances import DISTANCES
from hierarchies.export import describe, format_description, to_ascii, to_graphviz, to_newick
from hierarchies.folders import FolderTree, scan_folders
from hierarchies.readers import check_same_classes, read_edges, read_hierarchy
from hierarchies.tree import Hierarchy
from hierarchies.weights import WEIGHTINGS, node_weights

__all__ = [
    "DISTANCES",
    "FolderTree",
    "Hierarchy",
    "WEIGHTINGS",
    "check_same_classes",
    "describe",
    "format_description",
    "node_weights",
    "read_edges",
    "read_hierarchy",
    "scan_folders",
    "to_ascii",
    "to_graphviz",
    "to_newick",
]
