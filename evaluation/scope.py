"""Which classes can be the answer, and how far down the tree answers go: --within and --at."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from files.text import printable
from hierarchies import Hierarchy, ranks
from hierarchies.naming import node_named
from hierarchies.variants import cut, cut_at_rank
from metrics.posterior import softmax


class Scope(NamedTuple):
    """Some classes of a run, and the superclasses that stand for them in answers. K is their
    number, C' that of the answers.

    Fields:
        tree: Of the answers, C' classes.
        classes (K,): Classes of the run that an image can be of, in order.
        groups (K,): The class of `tree` that each is below.
        num_classes: Of the run, C.
        said: The flags that ask for it, for messages.
        notes: What the user should be told.
    """

    tree: Hierarchy
    classes: np.ndarray
    groups: np.ndarray
    num_classes: int
    said: str
    notes: tuple[str, ...] = ()

    @property
    def grouped(self) -> bool:
        """Whether answers end above some of the classes."""
        return self.tree.num_classes < len(self.classes)

    def kept(self, scores: np.ndarray) -> np.ndarray:
        """Scores (S, K) of those classes, of scores (S, C). Where none of them has any probability
        nothing is known of them: all are 0.
        """
        scores = scores[:, self.classes]
        nothing = ~np.isfinite(scores).any(axis=1, keepdims=True)
        return np.where(nothing, np.zeros_like(scores), scores)

    def grouped_scores(self, calibrated: np.ndarray) -> np.ndarray:
        """Log of the posterior over the classes of `tree`, (S, C'), the sum of those below each, of
        calibrated scores (S, K); these themselves where answers go down to the classes.
        """
        if not self.grouped:
            return calibrated
        below = np.zeros((len(self.groups), self.tree.num_classes))
        below[np.arange(len(self.groups)), self.groups] = 1.0
        with np.errstate(divide="ignore"):
            return np.log(softmax(calibrated) @ below)

    def labels(self, labels: np.ndarray) -> np.ndarray:
        """Place (S,) of classes of the run among the K; -1 where they are not among them, or -1."""
        place = np.full(self.num_classes, -1)
        place[self.classes] = np.arange(len(self.classes))
        return np.where(labels >= 0, place[np.maximum(labels, 0)], -1)

    def answers_of(self, labels: np.ndarray) -> np.ndarray:
        """The class (S,) of `tree` for classes of the run; -1 where they are not in the scope."""
        places = self.labels(labels)
        return np.where(places >= 0, self.groups[np.maximum(places, 0)], -1)


def choose_scope(
    tree: Hierarchy, within: Sequence[str] | None, at: int | str | None
) -> Scope | None:
    """The scope that is asked for; None without.

    Args:
        tree: Of the run.
        within: Names of taxa, see `hierarchies.naming`: an image is of a class at or below one.
        at: Depth of the answers, in edges below the root, or the rank of them, such as 'genus',
            where the tree knows ranks; classes that are not as deep, or not of it, stay.

    Raises: ValueError: If a name or a rank is unknown or means several taxa, or there is but one
        answer left.
    """
    if within is None and at is None:
        return None
    classes, said = np.arange(tree.num_classes), []
    answers = tree
    if within is not None:
        inside = np.zeros(tree.num_classes, bool)
        for name in within:
            node = node_named(tree, name, "--within")
            inside[tree.leaf_order[tree.start[node] : tree.stop[node]]] = True
        classes = np.flatnonzero(inside)
        said.append(f"--within {' '.join(within)}")
        if len(classes) < 2:
            raise ValueError(f"{said[0]}: that is one class, so there is nothing to tell apart")
        answers = tree.subset(classes.tolist())
    groups, notes = np.arange(len(classes)), ()
    if at is not None:
        said.append(f"--at {at}")
        rank = _rank(tree, at) if isinstance(at, str) else None
        below = answers
        try:
            if rank is None:
                answers, groups = _at_depth(answers, at)
            else:
                answers, groups = cut_at_rank(answers, rank)
        except ValueError as error:
            raise ValueError(f"{' '.join(said)}: {error}") from None
        if rank is not None:
            if answers.num_classes == below.num_classes:
                raise ValueError(
                    f"{' '.join(said)}: answers go down to no more than that as it is; take a"
                    " higher rank, or leave it out"
                )
            without = [c for c, leaf in enumerate(answers.leaves) if answers.ranks[leaf] != rank]
            if without:
                name = printable(answers.class_names[without[0]])
                notes = (
                    f"classes without a {rank} stay as they are: {len(without)}, such as {name}",
                )
    return Scope(answers, classes, groups, tree.num_classes, " ".join(said), notes)


def _at_depth(tree: Hierarchy, depth: int) -> tuple[Hierarchy, np.ndarray]:
    if depth >= tree.max_depth:
        raise ValueError(
            f"answers go down to depth {tree.max_depth} as it is; take a smaller depth, or leave it"
            " out"
        )
    return cut(tree, depth)


def _rank(tree: Hierarchy, written: str) -> str:
    """The rank of a tree that is meant. Raises: ValueError: If there is none, with those there are
    and the depths.
    """
    depths = "the number of a level, 1 for the first" + (
        f" to {tree.max_depth - 1}" if tree.max_depth > 2 else ""
    )
    if not tree.rank_names:
        raise ValueError(
            f"--at {printable(written)}: this run does not know what its levels are called, as runs"
            " do that took their classes from a table with a column a rank, or from a --hierarchy"
            f" file with such; give {depths}"
        )
    for same in (str.strip, str.casefold, ranks.plain):
        found = [rank for rank in tree.rank_names if same(rank) == same(written)]
        if len(found) == 1:
            return found[0]
    listed = ", ".join(map(printable, tree.rank_names))
    raise ValueError(
        f"--at {printable(written)}: the levels of this run are called {listed}; give one of them,"
        f" or {depths}"
    )
