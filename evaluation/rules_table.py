"""Decision rules side by side: how often each is right on the test images, and how much it says."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from evaluation.decision import Decision, NotSet, choose_decision, cover_threshold
from evaluation.sources import Source
from hierarchies import Hierarchy
from metrics.covers import least_covers
from metrics.decisions import decide
from metrics.nodes import node_measures
from metrics.posterior import information, lca_nodes, row_blocks, softmax
from runs.folder import Run
from training.scores import read_outputs, recompute_scores


def compare_rules(
    run: Run, rules: Sequence[str], target_accuracy: float, cover: int = 0
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """One row a rule, and one for each number of nodes up to `cover`.

    Columns: rule; setting, with its name; correct, the share of test images whose class is the
    answer or below it; exact, whose class is the answer; coverage, the mean information of the
    answers as a share of that of a class; h_f1; depth, in edges; nodes, in an answer; classes,
    below an answer, both means; known_accuracy and known_distance, exact and the path length from
    answer to class in edges, both averaged over the classes; of a run with classes held out also
    unseen_accuracy and unseen_distance, the same for their images, where what is right is the
    deepest superclass that is left, averaged over these superclasses (Wallin et al. 2025).

    Args:
        run: A finished run; rules with a setting take it from its validation or calibration images,
            see `choose_decision`.
        rules: Names in RULES.
        target_accuracy: What rules are set for that can promise it.
        cover: Largest number of nodes of an answer of several, see `metrics.covers`; 0 for none.

    Returns: The table, without what cannot be set, and a sentence on each of those.
    Raises: ValueError: If nothing that was asked for can be set.
    """
    outputs, tree = read_outputs(run, "test"), run.hierarchy
    source = Source(run)  # of all rules: its splits are read and its temperature is fitted once
    parts = {"known": (outputs.scores, tree.leaves[outputs.labels])}
    unseen = _held_out(run)
    if unseen is not None:
        parts["unseen"] = unseen
    rows, without = [], {}
    for name in rules:
        try:
            decision = choose_decision(source, name, target_accuracy)
            rows.append(_row(tree, name, decision, parts))
        except NotSet as error:
            without.setdefault(error.why, []).append(name)
    try:
        rows += _covers(source, outputs, target_accuracy, cover) if cover else []
    except NotSet as error:
        without.setdefault(error.why, []).append("--cover")
    notes = tuple(f"not set: {', '.join(names)}: {why}" for why, names in without.items())
    if not rows:
        raise ValueError(
            f"{'; '.join(notes)}. Train with --use_val and more images, lower --target_accuracy, or"
            " compare rules that need no setting, such as --rules majority argmax"
        )
    return pd.DataFrame(rows), notes


def _row(
    tree: Hierarchy,
    rule: str,
    decision: Decision,
    parts: Mapping[str, tuple[np.ndarray, np.ndarray]],
) -> dict[str, object]:
    """What a rule does, see `compare_rules`.

    Args:
        parts: Scores (S, C) and right nodes (S,) of the test images, "known", and of those of
            classes held out, "unseen".
    """
    answers, balanced = {}, {}
    for kind, (scores, right) in parts.items():
        scores = scores / np.float32(decision.temperature)
        answers[kind] = decide(tree, scores, rule, **decision.options)
        found = _balanced(tree, answers[kind], right)
        balanced |= {f"{kind}_{measure}": value for measure, value in found.items()}
    nodes = answers["known"]
    found = node_measures(tree, nodes, parts["known"][1])
    share = information(tree) / max(np.log2(tree.num_classes), 1e-300)
    return {
        "rule": rule,
        "setting": ", ".join(f"{k} {_shown(v)}" for k, v in decision.options.items()),
        "correct": found["correct"].value,
        "exact": found["exact"].value,
        "coverage": float(np.mean(share[nodes])),
        "h_f1": found["h_f1"].value,
        "depth": found["depth"].value,
        "nodes": 1.0,
        "classes": float(np.mean(tree.n_leaves[nodes])),
        **balanced,
    }


def _held_out(run: Run) -> tuple[np.ndarray, np.ndarray] | None:
    """Scores (S, C) of images of classes held out, and the deepest node that is left above each."""
    if not (run.folder / "held_out.pkl").is_file():
        return None
    arrays, tree = run.arrays("held_out"), run.hierarchy
    labels = arrays["labels"]
    nodes = np.where(
        labels < tree.num_classes,
        tree.leaves[np.minimum(labels, tree.num_classes - 1)],
        labels - tree.num_classes,
    )
    if "scores" not in arrays:
        arrays = recompute_scores(run, "held_out", arrays)
    return arrays["scores"], nodes


def _balanced(tree: Hierarchy, nodes: np.ndarray, truths: np.ndarray) -> dict[str, float]:
    """Share of answers that are right, and path length to what is, averaged over what is right."""
    shared = lca_nodes(tree, nodes, truths)
    length = tree.depth[nodes] + tree.depth[truths] - 2 * tree.depth[shared]
    _, group = np.unique(truths, return_inverse=True)
    counts = np.bincount(group)
    found = {"accuracy": nodes == truths, "distance": length}
    return {
        name: float((np.bincount(group, weights=values) / counts).mean()) if len(counts) else np.nan
        for name, values in found.items()
    }


def _covers(source: Source, outputs, target_accuracy: float, cover: int) -> list[dict]:
    tree = source.tree
    least, temperature = cover_threshold(source, target_accuracy)
    rows = []
    for most in range(1, cover + 1):
        right, counts, sizes = [], [], []
        for part in row_blocks(outputs.num_samples, tree.num_nodes * (most + 1)):
            members = softmax(outputs.scores[part] / np.float32(temperature)) >= least
            nodes, size = least_covers(tree, members, most)
            right.append(_inside(tree, nodes, outputs.labels[part]))
            counts.append((nodes >= 0).sum(axis=1))
            sizes.append(size)
        rows.append(
            {
                "rule": f"cover of {most}",
                "setting": f"classes of probability {_shown(least)} or more",
                "correct": float(np.concatenate(right).mean()),
                "nodes": float(np.concatenate(counts).mean()),
                "classes": float(np.concatenate(sizes).mean()),
            }
        )
    return rows


def _inside(tree, nodes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Whether the class is below one of the nodes (S, r), which are padded with -1."""
    place = tree.start[tree.leaves[labels]][:, None]
    inside = (tree.start[nodes] <= place) & (place < tree.stop[nodes]) & (nodes >= 0)
    return inside.any(axis=1)


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
