"""What is answered for the scores of new images, in tables, and how often that is right."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from evaluation import batch_check
from evaluation.decision import Decision
from files.text import composed, folded
from hierarchies import Hierarchy
from hierarchies.naming import taxon_paths
from hierarchies.tree import parse_path, without_own_leaf
from metrics import RULES
from metrics.covers import least_covers
from metrics.posterior import lca_nodes, node_probabilities, softmax, top_k
from runs.folder import Run


class Answered(NamedTuple):
    """What is answered for B images.

    Attributes:
        nodes (B,): The answers.
        classes (B,): The most probable classes.
        traits (B, 2): See `batch_check.traits`.
        table: One row an image, see `Answerer`.
        posterior (B, C'): Over the classes that can be the answer.
    """

    nodes: np.ndarray
    classes: np.ndarray
    traits: np.ndarray
    table: pd.DataFrame
    posterior: np.ndarray


class Answerer:
    """Answers scores.

    Args:
        hierarchy: The class tree of the answers: of the run, or of the decision's scope.
        decision: How answers are chosen.
        topk: Number of classes to list.

    Attributes: paths, names (N,): of the nodes, as they are written; the root goes by its name.
    """

    def __init__(self, hierarchy: Hierarchy, decision: Decision, topk: int = 3):
        self.hierarchy, self.decision, self.topk = hierarchy, decision, topk
        self.paths = np.array(taxon_paths(hierarchy), dtype=object)
        self.names = np.array(hierarchy.names, dtype=object)

    def __call__(self, scores: np.ndarray) -> Answered:
        """What is answered for scores (B, C).

        Columns of the table: decision (path of the answered node), decision_name, decision_depth
        (edges below the root), decision_probability; class (path of the most probable one),
        class_name, probability; class_2, probability_2 ...; probability_level_1 ...: of the nodes
        on the class's path, from the top down, NaN below it. With a cover also cover (paths of its
        nodes, joined by ' | '; empty where no class is probable enough) and cover_classes (how many
        are below them).
        """
        tree = self.hierarchy
        p = softmax(self.decision.calibrated(scores))
        by_node = np.minimum(node_probabilities(tree, p), 1.0)  # sums may exceed 1 by rounding
        nodes = RULES[self.decision.rule].answer(tree, by_node, **self.decision.options)
        best = top_k(p, self.topk)
        columns = {"decision": self.paths[nodes], "decision_name": self.names[nodes]}
        columns |= {
            "decision_depth": tree.depth[nodes],
            "decision_probability": _at(by_node, nodes),
        }
        for rank, classes in enumerate(best.T, 1):
            suffix, leaves = "" if rank == 1 else f"_{rank}", tree.leaves[classes]
            columns[f"class{suffix}"] = self.paths[leaves]
            columns |= {"class_name": self.names[leaves]} if rank == 1 else {}
            columns[f"probability{suffix}"] = _at(p, classes)
        for level, above in enumerate(tree.path_table[best[:, 0]].T, 1):
            columns[f"probability_level_{level}"] = np.where(
                above >= 0, _at(by_node, above), np.nan
            )
        if self.decision.cover is not None:
            most, least = self.decision.cover
            found, sizes = least_covers(tree, p >= least, most)
            columns["cover"] = [" | ".join(self.paths[row[row >= 0]]) for row in found]
            columns["cover_classes"] = sizes
        traits = batch_check.traits(self.decision.kept(scores), self.decision.temperature)
        return Answered(nodes, best[:, 0], traits, pd.DataFrame(columns), p)

    def judge(self, answered: Answered, truths: np.ndarray) -> pd.DataFrame:
        """truth (path of the true class) and correct (whether it is the answer or below it), from
        truths (B,) classes.

        Both are missing where a truth is -1.
        """
        known = truths >= 0
        leaves = self.hierarchy.leaves[truths]
        right = lca_nodes(self.hierarchy, answered.nodes, leaves) == answered.nodes
        correct = pd.Series(right, dtype="boolean").where(pd.Series(known))
        return pd.DataFrame(
            {"truth": np.where(known, self.paths[leaves], None), "correct": correct}
        )


def _at(table: np.ndarray, columns: np.ndarray) -> np.ndarray:
    return table[np.arange(len(columns)), columns]


@dataclass
class Known:
    """Counts of the images in one split of the run; see `Counts` for the last three."""

    images: int = 0
    judged: int = 0
    accurate: int = 0
    right: int = 0


@dataclass
class Counts:
    """What was answered so far, and with true classes how much of it was right.

    Attributes:
        images: Number of files; errors: of those that could not be read; first_error: the first of
            them, and why.
        leaves: Answers that are classes; depth: sum of the depths of the answers, in edges;
            class_depth: of the most probable classes.
        judged: Answers for images of a known class; accurate: of them those whose most probable
            class is the true one;
            right: those whose answer is the true class or above it.
        traits: Of the answered images, see `batch_check.traits`, batch by batch; distances: see
            `evaluation.novelty`, likewise.
        known: By split of the run: counts of the images that are in it.
    """

    images: int = 0
    errors: int = 0
    first_error: str = ""
    leaves: int = 0
    depth: int = 0
    class_depth: int = 0
    judged: int = 0
    accurate: int = 0
    right: int = 0
    traits: list[np.ndarray] = field(default_factory=list)
    distances: list[np.ndarray] = field(default_factory=list)
    known: dict[str, "Known"] = field(default_factory=dict)

    @property
    def answered(self) -> int:
        """Number of images with an answer."""
        return self.images - self.errors

    def count(self, tree: Hierarchy, answered: Answered, errors: int) -> None:
        """Adds answers, and a number of images without one."""
        self.images += len(answered.nodes) + errors
        self.errors += errors
        self.leaves += int((tree.class_of[answered.nodes] >= 0).sum())
        self.depth += int(tree.depth[answered.nodes].sum())
        self.class_depth += int(tree.depth[tree.leaves[answered.classes]].sum())
        self.traits.append(answered.traits)

    def count_known(
        self, splits: np.ndarray, answered: Answered, judged: tuple[np.ndarray, pd.Series] | None
    ) -> None:
        """Adds images by the split of the run that they are in, (B,) names, '' for none; with true
        classes and the column of `Answerer.judge` also how many were right.
        """
        for name in np.unique(splits):
            own = splits == name
            known = self.known.setdefault(str(name), Known())
            known.images += int(own.sum())
            if judged is not None:
                truths, correct = judged
                known.judged += int((truths[own] >= 0).sum())
                known.accurate += int((answered.classes == truths)[own].sum())
                known.right += int(correct[own].sum())

    def count_right(self, answered: Answered, truths: np.ndarray, correct: pd.Series) -> None:
        """Adds how many were right: true classes (B,), -1 where not known, and the column of
        `Answerer.judge`.
        """
        self.judged += int((truths >= 0).sum())
        self.accurate += int((answered.classes == truths).sum())
        self.right += int(correct.sum())


def _by_ends(
    folders: Mapping[str, Sequence[str]],
    paths: Sequence[tuple[tuple[str, ...], int]],
    spelt: Callable[[str], str],
) -> dict[str, int]:
    """The class whose path is the end of each folder's, the longest; -1 for none, or several.

    Args:
        folders: Their whole paths.
        paths: With the class that each stands for.
        spelt: How names are written to compare them.
    """
    known: dict[tuple[str, ...], int] = {}
    for path, c in paths:
        path = tuple(map(spelt, path))
        known[path] = c if known.get(path, c) == c else -1
    depth = max(map(len, known))
    found = {}
    for folder, parts in folders.items():
        parts = tuple(map(spelt, parts[-depth:]))
        tails = (parts[-length:] for length in range(depth, 0, -1))
        found[folder] = next((known[tail] for tail in tails if tail in known), -1)
    return found


def _mapped_folders(run: Run) -> list[tuple[tuple[str, ...], int]]:
    """The folders of the run's images with the class that --label_map made of each; none without,
    or where a table has the labels.
    """
    if run.options.get("label_map") is None or run.options.get("table") is not None:
        return []
    split = run.split[run.split["label"] < run.hierarchy.num_classes]
    pairs = {(os.path.dirname(file), int(c)) for file, c in zip(split["file"], split["label"])}
    return sorted((tuple(folder.split("/")), c) for folder, c in pairs if folder)


def _without_groups(run: Run, folders: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """The paths of folders without those below the classes that --group_level says are groups."""
    levels = run.options.get("group_level")
    taken = levels if isinstance(levels, list) else []  # -1: the lowest; 1 is above the classes
    return {
        folder: tuple(part for at, part in enumerate(parts, -len(parts)) if at not in taken)
        for folder, parts in folders.items()
    }


def true_classes(run: Run, files: Sequence[str]) -> np.ndarray:
    """The class of each file by the folder it is in, (S,) int64; -1 where that is none of the run's
    classes.

    The folder's path must end in the class's path (the longest counts). Where no file has such a
    folder, its name must be the last key of a class, and of one class only. What fits none so is
    compared by `files.text.folded`, as training does with folders and a tree. With --label_map the
    folders that the run was trained on stand for the classes that they became, too; with
    --group_level the lowest folders may be of groups of images.
    """
    paths = run.hierarchy.class_paths
    if run.options.get("collapse"):
        paths = [parse_path("/".join(path)) for path in paths]
    paths = [(without_own_leaf(path), c) for c, path in enumerate(paths)]
    paths += _mapped_folders(run)
    folders = [os.path.dirname(file) for file in files]
    whole = {folder: Path(os.path.abspath(folder)).parts for folder in set(folders)}
    found, in_tree = dict.fromkeys(whole, -1), False
    shapes = [_without_groups(run, whole), whole]
    for spelt, shape in product((composed, folded), shapes):
        lost = {folder: parts for folder, parts in shape.items() if found[folder] < 0}
        by_path = _by_ends(lost, paths, spelt)
        in_tree = in_tree or any(c >= 0 for c in by_path.values())
        found |= (
            by_path if in_tree else _by_ends(lost, [(path[-1:], c) for path, c in paths], spelt)
        )
    return np.array([found[folder] for folder in folders], np.int64)
