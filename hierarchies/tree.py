"""The class hierarchy: one immutable tree over read-only numpy arrays."""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

import numpy as np

from files.text import encoded

Path = tuple[str, ...]
OWN_LEAF = "."


def format_path(path: Path) -> str:
    """Joins the keys of a path with '/'; a '/' or '\\' inside a key is written with a '\\' before
    it.
    """
    return "/".join(key.replace("\\", "\\\\").replace("/", "\\/") for key in path)


def parse_path(written: str) -> Path:
    """The inverse of `format_path`: the keys of a written path, which may be empty."""
    if "\\" not in written:
        return tuple(written.split("/"))
    keys = [""]
    for part in re.findall(r"\\[\\/]|[^\\/]+|.", written, re.DOTALL):
        if part == "/":
            keys.append("")
        else:
            keys[-1] += part[1:] if part in ("\\\\", "\\/") else part
    return tuple(keys)


def without_own_leaf(path: Path) -> Path:
    """The path without the key of the leaf that a class has of its own beside classes inside."""
    return path[:-1] if len(path) > 1 and path[-1] == OWN_LEAF else path


class Hierarchy:
    """A rooted tree whose leaves are the classes. Build it with `Hierarchy.from_paths` or a reader;
    never change it.

    Nodes are numbered in preorder, so parents come first and the nodes below v are v+1 .. v+size-1.
    A node is identified by its path of keys below the root, never by its name: names repeat.
    Classes keep the order in which they were given; `leaf_order` lists them depth-first, where
    every node covers an interval.

    Attributes (N nodes, C classes, H height; all arrays int64 and read-only):
        parent (N,): Parent of each node; -1 for the root, node 0.
        depth (N,): Edges from the root; height (N,): edges to the deepest leaf below; 0 at leaves.
        n_leaves (N,): Number of classes below each node.
        leaves (C,): Node of each class, in class order; class_of (N,): class of a leaf node, -1
            inside.
        leaf_order (C,): The classes depth-first; start, stop (N,): node v covers
            leaf_order[start[v]:stop[v]].
        path_table (C, H): Nodes from depth 1 down to the class, padded with -1.
        level_table (C, H): The same, a shallow class carried down to the last level instead of -1.
        keys, names (N,): Key of each node in its path, and the name to show.
        ranks (N,): What the level of each node is called, such as 'genus', as far as its source
            says so; else ''.
    """

    def __init__(
        self,
        parent: Sequence[int],
        keys: Sequence[str],
        leaves: Sequence[int],
        names: Sequence[str],
        ranks: Sequence[str] | None = None,
    ):
        self.parent = _frozen(parent)
        self.keys, self.names = tuple(keys), tuple(names)
        self.ranks = ("",) * len(self.keys) if ranks is None else tuple(ranks)
        self.leaves = _frozen(leaves)
        self.num_nodes, self.num_classes = len(self.parent), len(self.leaves)
        depth, height = np.zeros(self.num_nodes, np.int64), np.zeros(self.num_nodes, np.int64)
        covered = np.zeros(self.num_nodes, np.int64)
        covered[self.leaves] = 1
        for node in range(1, self.num_nodes):
            depth[node] = depth[self.parent[node]] + 1
        for node in range(self.num_nodes - 1, 0, -1):
            above = self.parent[node]
            height[above] = max(height[above], height[node] + 1)
            covered[above] += covered[node]
        self.depth, self.height, self.n_leaves = _frozen(depth), _frozen(height), _frozen(covered)
        self.max_depth = int(height[0])

    @classmethod
    def from_paths(
        cls,
        paths: Iterable[Sequence[str]],
        *,
        self_leaves: bool = False,
        names: Mapping[Path, str] | None = None,
        root: str = "root",
        ranks: Mapping[Path, str] | None = None,
    ) -> "Hierarchy":
        """Builds the tree of the given class paths, in class order.

        Args:
            paths: Keys from the child of the root down to the class, one sequence a class.
            self_leaves: Give a class that is also an inner node a leaf of its own, with the key
                '.'; else an error.
            names: Names to show for nodes, by path; the last key where it has none.
            root: Name of the root, which is part of no path.
            ranks: What the levels of nodes are called, by path; '' where it says nothing.

        Raises: ValueError: If there is no class, a path or key is empty, a class comes twice or is
        an inner node.
        """
        paths = _checked_paths(paths)
        branches, ends = _branches(paths)
        shared = {path: branches[end] for path, end in zip(paths, ends) if branches[end]}
        if shared and not self_leaves:
            raise ValueError(
                f"class {format_path(next(iter(shared)))!r} is also an inner node of the tree; give"
                " it a leaf of its own (self_leaves=True) or rename it"
            )
        names = dict(names or {})
        for path, below in shared.items():
            if OWN_LEAF in below:
                raise ValueError(
                    f"{format_path(path)!r} already has a child named '.', the name of its own leaf"
                )
            names.setdefault((*path, OWN_LEAF), f"{names.get(path, path[-1])} (itself)")
        return cls._from_leaf_paths(
            [(*path, OWN_LEAF) if path in shared else path for path in paths], names, root, ranks
        )

    @classmethod
    def _from_leaf_paths(
        cls,
        paths: list[Path],
        names: Mapping[Path, str],
        root: str,
        ranks: Mapping[Path, str] | None = None,
    ) -> "Hierarchy":
        branches, ends = _branches(paths)
        parent, keys, index, stack = [], [], {}, [(0, -1, root)]
        while stack:
            node, above, key = stack.pop()
            index[node] = len(parent)
            stack.extend(
                (child, len(parent), below) for below, child in reversed(branches[node].items())
            )
            parent.append(above)
            keys.append(key)
        shown, levels = keys.copy(), [""] * len(keys)
        for values, texts in ((names, shown), (ranks or {}, levels)):
            for path, text in values.items():
                node: int | None = 0
                for key in path:
                    node = branches[node].get(key) if node is not None else None
                if node is not None:
                    texts[index[node]] = text
        return cls(parent, keys, [index[end] for end in ends], shown, levels)

    @classmethod
    def from_dict(cls, content: Mapping) -> "Hierarchy":
        """The inverse of `to_dict`. Raises: ValueError: If the content is not a hierarchy."""
        try:
            classes, named, root = content["classes"], content["names"], content["root"]
            names = {tuple(path): name for path, name in named}
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"this is not a hierarchy written by this project: {error!r}"
            ) from error
        texts = [root, *names.values()]
        if not isinstance(classes, list) or not all(isinstance(path, list) for path in classes):
            raise ValueError(
                "this is not a hierarchy written by this project: 'classes' must be a list of lists"
                " of names"
            )
        if not all(isinstance(text, str) for text in texts):
            raise ValueError(
                "this is not a hierarchy written by this project: the root and all names must be"
                " text"
            )
        tree = cls.from_paths(classes, names=names, root=root)
        ranks = content.get("ranks")
        if ranks is None:
            return tree
        texts = isinstance(ranks, list) and all(isinstance(text, str) for text in ranks)
        if not texts or len(ranks) != tree.num_nodes:
            raise ValueError(
                "this is not a hierarchy written by this project: 'ranks' must be a list of a text"
                f" for each of the {tree.num_nodes} nodes"
            )
        return cls(tree.parent, tree.keys, tree.leaves, tree.names, ranks)

    def to_dict(self) -> dict:
        """Classes, names, root and, where there are any, ranks of the nodes in their order, as
        plain lists and strings, for JSON.
        """
        names = [
            [list(self.path(v)), self.names[v]]
            for v in range(1, self.num_nodes)
            if self.names[v] != self.keys[v]
        ]
        content = {
            "root": self.names[0],
            "classes": [list(path) for path in self.class_paths],
            "names": names,
        }
        return content | ({"ranks": list(self.ranks)} if any(self.ranks) else {})

    @cached_property
    def names_by_path(self) -> dict[Path, str]:
        """The names to show of all nodes but the root, by their paths."""
        return {self.path(v): self.names[v] for v in range(1, self.num_nodes)}

    @cached_property
    def ranks_by_path(self) -> dict[Path, str]:
        """The ranks that are known, by the paths of their nodes."""
        return {self.path(v): rank for v, rank in enumerate(self.ranks) if rank}

    @cached_property
    def rank_names(self) -> tuple[str, ...]:
        """The ranks that there are, from the top down by the mean depth of their nodes."""
        depths: dict[str, list[int]] = {}
        for rank, depth in zip(self.ranks, self.depth.tolist()):
            depths.setdefault(rank, []).append(depth)
        depths.pop("", None)
        return tuple(sorted(depths, key=lambda rank: sum(depths[rank]) / len(depths[rank])))

    def path(self, node: int) -> Path:
        """Keys from the child of the root down to the node; empty for the root."""
        keys = []
        while node > 0:
            keys.append(self.keys[node])
            node = self.parent[node]
        return tuple(reversed(keys))

    @cached_property
    def class_paths(self) -> tuple[Path, ...]:
        """Path of each class, in class order."""
        return tuple(self.path(leaf) for leaf in self.leaves)

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """Name to show of each class, in class order; not necessarily unique."""
        return tuple(self.names[leaf] for leaf in self.leaves)

    @cached_property
    def class_of(self) -> np.ndarray:
        table = np.full(self.num_nodes, -1)
        table[self.leaves] = np.arange(self.num_classes)
        return _frozen(table)

    @cached_property
    def leaf_order(self) -> np.ndarray:
        return _frozen(np.argsort(self.leaves))

    @cached_property
    def start(self) -> np.ndarray:
        is_leaf = np.zeros(self.num_nodes, np.int64)
        is_leaf[self.leaves] = 1
        return _frozen(np.cumsum(is_leaf) - is_leaf)

    @cached_property
    def stop(self) -> np.ndarray:
        return _frozen(self.start + self.n_leaves)

    @cached_property
    def path_table(self) -> np.ndarray:
        table, node = np.full((self.num_classes, self.max_depth), -1), self.leaves.copy()
        rows = np.arange(self.num_classes)
        while (inside := node > 0).any():
            table[rows[inside], self.depth[node[inside]] - 1] = node[inside]
            node = np.where(inside, self.parent[node], node)
        return _frozen(table)

    @cached_property
    def level_table(self) -> np.ndarray:
        return _frozen(np.where(self.path_table < 0, self.leaves[:, None], self.path_table))

    @cached_property
    def n_children(self) -> np.ndarray:
        """Number of children of each node, (N,)."""
        return _frozen(np.bincount(self.parent[1:], minlength=self.num_nodes))

    def children(self, node: int) -> np.ndarray:
        """Children of a node, in preorder."""
        return np.flatnonzero(self.parent == node)

    def subset(self, classes: Sequence[int]) -> "Hierarchy":
        """The tree of some of the classes, in the order given; inner nodes without a class are
        dropped.
        """
        return self._from_leaf_paths(
            _nonempty([self.class_paths[c] for c in classes]),
            self.names_by_path,
            self.names[0],
            self.ranks_by_path,
        )

    def collapse(self) -> "Hierarchy":
        """The tree without inner nodes that have a single child; class order is kept.

        The key of a node becomes the keys of the chain above it and its own, written as by
        `format_path`: that is unique among its new siblings. A chain that starts at the root is
        dropped without a trace. Distances, weights and the digest change: a collapsed tree is
        another hierarchy. Without such nodes it is the tree itself.
        """
        if not (self.n_children[1:] == 1).any() and (self.n_children[0] > 1 or self.max_depth == 1):
            return self
        top = 0
        while self.n_children[top] == 1 and self.height[top] > 1:
            top += 1  # preorder: the only child of v is v + 1
        keys: dict[int, str] = {}
        paths: dict[int, Path] = {v: () for v in range(top + 1)}
        for v in range(top + 1, self.num_nodes):
            above = int(self.parent[v])
            key = format_path((self.keys[v],))
            key = f"{keys[above]}/{key}" if above in keys else key
            if self.n_children[v] == 1:
                keys[v], paths[v] = key, paths[above]  # dropped: hands its key down
            else:
                paths[v] = (*paths[above], key)
        names = {path: self.names[v] for v, path in paths.items() if v not in keys}
        ranks = {path: self.ranks[v] for v, path in paths.items() if v not in keys}
        return self._from_leaf_paths(
            [paths[leaf] for leaf in self.leaves.tolist()], names, self.names[0], ranks
        )

    @cached_property
    def digest(self) -> str:
        """Hexadecimal fingerprint of the class paths in class order; names to show do not count."""
        lines = "\n".join(format_path(path).replace("\n", "\\n") for path in self.class_paths)
        return hashlib.sha256(encoded(lines)).hexdigest()[:16]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hierarchy) and self.class_paths == other.class_paths

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return (
            f"Hierarchy({self.num_classes} classes, {self.num_nodes} nodes, height"
            f" {self.max_depth}, {self.digest})"
        )


def _frozen(values) -> np.ndarray:
    array = np.array(values, dtype=np.int64)
    array.flags.writeable = False
    return array


def _nonempty(paths: list[Path]) -> list[Path]:
    if not paths:
        raise ValueError("a hierarchy needs at least one class, got none")
    return paths


def _checked_paths(given: Iterable[Sequence[str]]) -> list[Path]:
    paths, seen = [], set()
    for path in given:
        if isinstance(path, str):
            raise ValueError(
                f"the path of a class is a sequence of names, got the text {path!r}; use"
                f" ({path!r},)"
            )
        paths.append(tuple(path))
    for path in _nonempty(paths):
        if not path or not all(isinstance(key, str) and key for key in path):
            raise ValueError(
                f"every class needs a path of non-empty names below the root, got {path!r}"
            )
        if path in seen:
            raise ValueError(f"class {format_path(path)!r} comes twice in the hierarchy")
        seen.add(path)
    return paths


def _branches(paths: list[Path]) -> tuple[list[dict[str, int]], list[int]]:
    """The tree of the paths as one dict of children a node, the root first, and the node where each
    path ends.
    """
    branches: list[dict[str, int]] = [{}]
    ends = []
    for path in paths:
        node = 0
        for key in path:
            child = branches[node].setdefault(key, len(branches))
            if child == len(branches):
                branches.append({})
            node = child
        ends.append(node)
    return branches, ends
