"""What the figures of one run read: its outputs, epochs, groups, trees and images."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from figures.common import NothingToDraw
from figures.crossings import Untangled, count_crossings, turn, untangle
from figures.groups import Groups, top_groups
from figures.layout import DrawnTree, drawn_hierarchy, drawn_learned
from hierarchies import Hierarchy
from metrics.outputs import Outputs
from metrics.trees import upgma
from metrics.vectors import pairwise_distances, present

UNITS = {"euc": "Euclidean distance of unit vectors", "arccos": "angle between vectors (radians)"}


@dataclass(frozen=True, eq=False)
class Subject:
    """One finished run.

    Attributes:
        outputs: Of the test split.
        epochs: One row an epoch, may be empty.
        options: The run's resolved options.
        validation: Outputs of the validation split, or None.
        files: (S,) identifier of each test image, or None.
        open_image: From an identifier to pixels (H, W) or (H, W, 3) uint8; raises ValueError with
            the reason.
        best_epoch: The epoch that the results are from; None for the last.
    """

    outputs: Outputs
    epochs: pd.DataFrame
    options: Mapping
    validation: Outputs | None = None
    files: np.ndarray | None = None
    open_image: Callable[[str], np.ndarray] | None = None
    best_epoch: int | None = None

    @property
    def hierarchy(self) -> Hierarchy:
        """The class tree."""
        return self.outputs.hierarchy

    @cached_property
    def groups(self) -> Groups:
        """Top-level groups of the classes."""
        return top_groups(self.hierarchy)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """A short name of each class for labels, see `short_names`."""
        return short_names(self.hierarchy)

    @cached_property
    def unit(self) -> str:
        """What the distances between class vectors are, for an axis."""
        return UNITS[self.outputs.distance]

    @cached_property
    def has_proxies(self) -> bool:
        """Whether class vectors lie among the embeddings: images are then scored by their distance
        to them.
        """
        return self.outputs.prototype_scores is not None

    @cached_property
    def with_vector(self) -> np.ndarray:
        """The classes whose class vector is finite; none where there are only scores."""
        if not self.outputs.class_vectors.shape[1]:
            return np.empty(0, np.int64)
        return np.flatnonzero(present(np.asarray(self.outputs.class_vectors, float)))

    @cached_property
    def vector_distances(self) -> np.ndarray:
        """Distances between the class vectors of `with_vector`, (n, n)."""
        return pairwise_distances(
            self.outputs.class_vectors[self.with_vector], self.outputs.distance
        )

    def check_vectors(self) -> None:
        """Raises: NothingToDraw: If there are only scores, of predictions from elsewhere."""
        if not self.outputs.class_vectors.shape[1]:
            raise NothingToDraw(
                "There are scores only: no embeddings and class vectors, so nothing to draw here."
            )

    def check_tree(self) -> None:
        """Raises: NothingToDraw: If fewer than two classes have a class vector, so that there is no
        tree.
        """
        self.check_vectors()
        if len(self.with_vector) < 2:
            raise NothingToDraw(
                "There is no tree to draw: fewer than two classes have a class vector."
            )

    @cached_property
    def reference(self) -> Hierarchy:
        """The class tree of `with_vector`. Raises: NothingToDraw: See `check_tree`."""
        self.check_tree()
        whole = len(self.with_vector) == self.hierarchy.num_classes
        return self.hierarchy if whole else self.hierarchy.subset(self.with_vector)

    @cached_property
    def learned(self) -> DrawnTree:
        """UPGMA tree of the class vectors; items index `with_vector`, reach in half the unit of
        their distances.
        """
        self.check_tree()
        return drawn_learned(upgma(self.vector_distances))

    @cached_property
    def untangled(self) -> Untangled:
        """The class tree (left) and the learned tree (right), turned towards each other."""
        return untangle(drawn_hierarchy(self.reference), self.learned)

    @cached_property
    def against_taxonomy(self) -> Untangled:
        """The class tree in its own order (left) and the learned tree (right), turned to it."""
        left = drawn_hierarchy(self.reference)
        right = turn(self.learned, left.position())
        crossings = count_crossings(left.order(), right.order())
        return Untangled(
            left, right, crossings, count_crossings(left.order(), self.learned.order())
        )

    def missing_note(self) -> str:
        """A sentence about classes without a class vector, or nothing."""
        absent = self.hierarchy.num_classes - len(self.with_vector)
        return f" {absent} classes without a finite class vector are left out." if absent else ""


def short_names(hierarchy: Hierarchy) -> tuple[str, ...]:
    """Names of the classes to show, with that of the parent behind those that several classes
    have.
    """
    from figures.style import printable  # of matplotlib's fonts, which pages do without

    count, names = Counter(hierarchy.class_names), []
    for leaf, name in zip(hierarchy.leaves.tolist(), hierarchy.class_names):
        above = hierarchy.names[hierarchy.parent[leaf]]
        names.append(printable(f"{name} ({above})" if count[name] > 1 else name))
    return tuple(names)
