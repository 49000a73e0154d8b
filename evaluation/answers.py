"""What is answered for the scores of new images: decisions that back off, in tables, and how often
they are right.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from evaluation import batch_check
from evaluation.scope import Scope
from evaluation.sources import Source
from hierarchies import Hierarchy
from hierarchies.naming import taxon_paths
from hierarchies.tree import parse_path
from metrics import RULES
from metrics.calibration import Temperature
from metrics.conformal import Promise, promise
from metrics.covers import least_covers, set_threshold
from metrics.posterior import lca_nodes, node_probabilities, softmax, top_k
from metrics.rule import TARGET_ACCURACY
from runs.folder import Run

pd.set_option(
    "mode.string_storage", "python"
)  # pyarrow, where it is installed, refuses names that are not valid UTF-8


class Decision(NamedTuple):
    """How answers are chosen from scores.

    Attributes:
        rule: A name in `metrics.RULES`.
        options: What the rule takes.
        temperature: Divides the scores; 1 where there is no validation split to fit it on.
        fit: What that split says of the temperature; None without.
        promise: What the setting of the rule promises; None where it was not calibrated.
        estimated: Whether the promise is but an estimate: the images that calibrated the rule also
            chose the epoch.
        reference: (n, C) scores of images of the run that chose nothing, to compare new ones with;
            None without.
        scope: Which classes can be the answer; None: all. `reference` has the scores of these.
        cover: Largest number of nodes of a second answer, and the least probability of the classes
            that it holds, see `cover_threshold`; None without.
    """

    rule: str = "argmax"
    options: Mapping = {}
    temperature: float = 1.0
    fit: Temperature | None = None
    promise: Promise | None = None
    estimated: bool = False
    reference: np.ndarray | None = None
    cover: tuple[int, float] | None = None
    scope: Scope | None = None

    def kept(self, scores: np.ndarray) -> np.ndarray:
        """Scores (S, K) of the classes that can be the answer, of scores (S, C)."""
        return scores if self.scope is None else self.scope.kept(scores)

    def calibrated(self, scores: np.ndarray) -> np.ndarray:
        """Scores (S, C') whose softmax is the posterior over the classes of the answers, of scores
        (S, C).
        """
        values = self.kept(scores) / self.temperature
        return values if self.scope is None else self.scope.grouped_scores(values)


def choose_decision(
    source: Source,
    rule: str,
    target_accuracy: float | None = TARGET_ACCURACY,
    options: Mapping | None = None,
) -> Decision:
    """A rule for new images: the temperature from the validation split of a run, the setting of
    the rule from its calibration images, which chose neither the epoch nor the temperature.

    Where there are none, the validation split does both, which promises less: see
    `Decision.estimated`. With --last that split chose no epoch, and the temperature, a single
    number, costs next to nothing.

    Args:
        source: Scores of a finished run, or of several; without validation split, rules that need
            a setting must be given it. With a scope all is set on the images whose class is in it;
            what is promised is of its answers. Of several runs it is set on their mean posteriors,
            and takes the same images in their validation splits.
        rule: A name in `metrics.RULES`.
        target_accuracy: How often answers shall be right: the truth is the answer or below it. For
            rules with a setting that can promise it, unless options give that; see
            `metrics.conformal` what is promised.
        options: Of the rule: its setting by hand.

    Raises: ValueError: If the accuracy cannot be promised, there is no validation split, or there
    are no such scores.
    """
    run, scope = source.run, source.scope
    options, promised = dict(options or {}), None
    setting = RULES.find(rule).setting
    needs = setting is not None and options.get(setting) is None
    validated = source.has("val") or bool(
        run.options.get("use_val") and needs and not source.others
    )
    if needs and not validated:
        raise ValueError(
            f"{_without_validation(source)} to calibrate --rule {rule} on: train with"
            f" --use_val, set --{setting} by hand, or take a rule that needs no setting, such as"
            " --rule majority"
        )
    if not validated:
        return Decision(rule, options, scope=scope)
    val = source.split("val")
    held_out = source.split("calibration") if source.has_calibration else None
    values, labels = val if held_out is None else held_out
    if scope is not None and (not len(val[1]) or (needs and not len(labels))):
        if needs:
            raise ValueError(
                f"{scope.said}: there is no validation image of these classes to calibrate --rule"
                f" {rule} on: set --{setting} by hand, or take a rule that needs no setting, such"
                " as --rule majority"
            )
        return Decision(rule, options, scope=scope)
    fit = source.temperature
    tree, (calibrating, truths) = source.tree, source.calibrated(values, labels, fit.value)
    if needs and RULES[rule].needed is None:
        options[setting] = RULES[rule].fit(tree, calibrating, truths)
    elif needs:
        try:
            promised = promise(rule, tree, calibrating, truths, target_accuracy)
        except ValueError as error:
            of = "" if scope is None else f"{scope.said}: "
            raise ValueError(
                f"{of}{error}. Or train with more images, set --{setting} by hand, or take a rule"
                " that needs no setting, such as --rule majority"
            ) from None
        options[setting] = promised.value
    chosen = any(each.result_checkpoint == "best.pt" for each in source.runs)
    estimated = held_out is None and chosen
    reference = _reference(source, None if estimated else values)
    return Decision(rule, options, fit.value, fit, promised, estimated, reference, scope=scope)


def _without_validation(source: Source) -> str:
    """That there are no validation images, or not those of all runs."""
    with_val = [run for run in source.runs if Source(run).has("val")]
    if source.others and len(with_val) == len(source.runs):
        listed = ", ".join(str(run.folder) for run in source.runs)
        return (
            f"{listed} have no validation split in common (the same --split and --split_seed), so"
            " there is none"
        )
    without = next(run for run in source.runs if run not in with_val)
    return f"{without.folder} has no validation split"


def cover_threshold(source: Source, target_accuracy: float) -> tuple[float, float]:
    """Least probability of the classes in an answer of several nodes, so that it holds the true
    class as often as asked, and the temperature; from the same images as the setting of a rule.

    Raises: ValueError: If the run has no images to calibrate on, or too few.
    """
    scope = source.scope
    if not source.has("val"):
        raise ValueError(
            f"{_without_validation(source)} to calibrate --cover on: train with --use_val"
        )
    val = source.split("val")
    values, labels = source.split("calibration") if source.has_calibration else val
    if len(labels) * (1 - target_accuracy) < target_accuracy:  # (n + 1) target > n
        of = "" if scope is None else f"{scope.said}: "
        raise ValueError(
            f"{of}an answer that holds the true class with probability {target_accuracy:g} cannot"
            f" be promised with {len(labels)} images that calibrate: lower --target_accuracy"
        )
    if not len(val[1]):
        raise ValueError(f"{scope.said}: there is no validation image of these classes")
    temperature = source.temperature.value
    calibrated, truths = source.calibrated(values, labels, np.float32(temperature))
    p = softmax(calibrated)
    return set_threshold(p[np.arange(len(p)), truths], target_accuracy), temperature


def _reference(source: Source, calibrating: np.ndarray | None) -> np.ndarray | None:
    """Scores of images that chose nothing: those that calibrate, and where they are few those of
    the test split, too.
    """
    parts = [] if calibrating is None else [calibrating]
    if sum(map(len, parts)) < batch_check.ENOUGH and source.has("test"):
        parts.append(source.split("test")[0])
    return np.concatenate(parts) if parts else None


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
        self.paths, self.names = (
            np.array(taxon_paths(hierarchy), dtype=object),
            np.array(hierarchy.names, dtype=object),
        )

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
        images: Number of files; errors: of those that could not be read.
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


def true_classes(run: Run, files: Sequence[str]) -> np.ndarray:
    """The class of each file by the folder it is in, (S,) int64; -1 where that is none of the run's
    classes.

    The folder's path must end in the class's path (the longest counts). Where no file has such a
    folder, its name must be the last key of a class, and of one class only.
    """
    paths = run.hierarchy.class_paths
    if run.options.get("collapse"):
        paths = [parse_path("/".join(path)) for path in paths]
    known = {path[:-1] if path[-1] == "." else path: c for c, path in enumerate(paths)}
    folders = [os.path.dirname(file) for file in files]
    depth, found = max(map(len, known)), {}
    for folder in set(folders):
        parts = Path(os.path.abspath(folder)).parts
        tails = (parts[-length:] for length in range(depth, 0, -1))
        found[folder] = next((known[tail] for tail in tails if tail in known), -1)
    if all(c < 0 for c in found.values()):
        count = Counter(path[-1] for path in known)
        single = {path[-1]: c for path, c in known.items() if count[path[-1]] == 1}
        found = {
            folder: single.get(os.path.basename(os.path.abspath(folder)), -1) for folder in found
        }
    return np.array([found[folder] for folder in folders], np.int64)
