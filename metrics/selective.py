"""Rules that answer with a superclass below a threshold, and how much risk they take per coverage.

Every rule gives each sample a ladder: nodes of falling probability from the root down. The answer
at a threshold is the last rung with P above it. So one function applies them, finds what a sample
needs, and draws their curves:

- `threshold`: the most informative nodes of the whole tree (max-coverage in Goren et al.);
- `climbing`: the path of the most probable class, so an answer never leaves it;
- `jumping`: the most probable node of each height that is more probable than all of lower height;
- `selective`: the most probable class, or nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from hierarchies import Hierarchy
from metrics.measure import CURVES, INFORMATION, LOWER, SHARE, kind
from metrics.outputs import Block, Outputs, Reader, fronts
from metrics.pareto import Front, over_thresholds, pareto_front, top_node, with_top
from metrics.posterior import ancestors, information, lca_nodes
from metrics.result import Result, ratio

if TYPE_CHECKING:  # imported where it is used, as --help need not wait for it
    import pandas as pd


def climbing_ladder(hierarchy: Hierarchy, probabilities: np.ndarray) -> Front:
    """The nodes from the root down to the most probable class of each sample.

    Args:
        probabilities: (S, N) posterior over the nodes.

    Source: Goren et al. 2024.
    """
    best = hierarchy.leaves[probabilities[:, hierarchy.leaves].argmax(axis=1)]
    nodes = ancestors(hierarchy)[best]
    rows = np.arange(len(nodes))[:, None]
    return Front(nodes, np.where(nodes < 0, 0.0, probabilities[rows, np.maximum(nodes, 0)]))


def jumping_ladder(hierarchy: Hierarchy, probabilities: np.ndarray) -> Front:
    """The most probable node of each height, from the root down, without those that a node of lower
    height reaches in probability. Equal P at one height: the deeper node, then the lower index.

    Args:
        probabilities: (S, N) posterior over the nodes.

    Source: Goren et al. 2024.
    """
    candidates = np.flatnonzero(hierarchy.n_children != 1)
    candidates = candidates[np.argsort(-hierarchy.depth[candidates], kind="stable")]
    nodes, best = [], []
    for height in np.unique(hierarchy.height[candidates]):
        here = candidates[hierarchy.height[candidates] == height]
        p = probabilities[:, here]
        nodes.append(here[p.argmax(axis=1)])
        best.append(p.max(axis=1))
    nodes, best = np.stack(nodes, axis=1), np.stack(best, axis=1)  # rising heights
    before = np.maximum.accumulate(np.pad(best, ((0, 0), (1, 0)), constant_values=-1.0), axis=1)
    kept = (best > before[:, :-1])[:, ::-1]
    order = np.argsort(~kept, axis=1, kind="stable")
    kept = np.take_along_axis(kept, order, axis=1)
    nodes = np.take_along_axis(nodes[:, ::-1], order, axis=1)
    best = np.take_along_axis(best[:, ::-1], order, axis=1)
    return Front(np.where(kept, nodes, -1), np.where(kept, best, 0.0))


def selective_ladder(hierarchy: Hierarchy, probabilities: np.ndarray) -> Front:
    """The root, then the most probable class. Args: probabilities: (S, N)."""
    p = probabilities[:, hierarchy.leaves]
    best = p.argmax(axis=1)
    nodes = np.stack([np.full(len(p), top_node(hierarchy)), hierarchy.leaves[best]], axis=1)
    return Front(nodes, np.stack([np.ones(len(p)), p.max(axis=1, initial=0.0)], axis=1))


LADDERS: dict[str, Callable[[Hierarchy, np.ndarray], Front]] = {
    "threshold": pareto_front,
    "climbing": climbing_ladder,
    "jumping": jumping_ladder,
    "selective": selective_ladder,
}


def ladder(outputs: Outputs, rule: str) -> Front:
    """The ladder of every sample. Raises: ValueError: If the rule is not in LADDERS."""
    if rule not in LADDERS:
        raise ValueError(f"rule must be one of {', '.join(LADDERS)}, got {rule!r}")
    return outputs.read(_READERS[rule])


def _built(build: Callable[[Hierarchy, np.ndarray], Front], block: Block) -> Front:
    return build(block.tree, block.nodes)


_READERS: dict[str, Reader] = {rule: partial(_built, build) for rule, build in LADDERS.items()}
_READERS["threshold"] = fronts  # which other measures read, too


def hierarchical_risk_coverage(outputs: Outputs, rule: str) -> pd.DataFrame:
    """Risk of a rule's answers against their coverage, for every threshold that matters.

    One row for each set of answers, by falling threshold. Columns: threshold (an answer needs P
    above it); coverage, the mean over all samples of the information of the answer as a share of
    that of a class, 0 at the root and 1 at a class; risk, the share of all samples whose answer is
    neither the truth nor above it; severity_risk, the mean over all samples of 1 - coverage of the
    lowest common ancestor of answer and truth / coverage of the answer, 0 where the root is
    answered. Risks are not divided by the coverage.

    Args:
        rule: A name in LADDERS.

    Raises: ValueError: If the rule is unknown.
    Source: Goren et al. 2024.
    """
    tree, front = outputs.hierarchy, ladder(outputs, rule)
    answers = with_top(tree, front)
    truths = np.broadcast_to(tree.leaves[outputs.labels][:, None], answers.shape)
    shared = lca_nodes(tree, answers, truths)
    share = ratio(information(tree), np.log2(tree.num_classes))  # NaN for a single class
    measures = {
        "coverage": share[answers],
        "risk": (shared != answers).astype(np.float64),
        "severity_risk": 1 - ratio(share[shared], share[answers], empty=1.0),
    }
    import pandas as pd

    return pd.DataFrame(over_thresholds(front, measures))


def risk_areas(outputs: Outputs) -> dict[str, Result]:
    """hAURC: area under risk over coverage from the least to the largest coverage, by trapezoids;
    in [0, 1], lower is better.

    `haurc_RULE` with the share of wrong answers for risk, `haurc_severity_RULE` with how much of an
    answer's information is wrong. Exact: every threshold at which an answer changes is a point.

    Source: Goren et al. 2024, who take 10,000 thresholds.
    """
    results, n = {}, outputs.num_samples
    for rule in LADDERS:
        curve = hierarchical_risk_coverage(outputs, rule)
        for name, column in (("haurc", "risk"), ("haurc_severity", "severity_risk")):
            area = float(np.trapezoid(curve[column], curve["coverage"])) if n else np.nan
            known = not np.isnan(area)  # a single class has no information, so no coverage
            results[f"{name}_{rule}"] = Result(area, n if known else 0, 0 if known else n)
    return results


_lower = kind(LOWER, CURVES, SHARE)
MEASURES = (
    _lower(
        "haurc_threshold",
        "Area under the share of wrong answers over their information, when answers back off to"
        " the most informative superclass that is probable enough" + INFORMATION,
    ),
    _lower(
        "haurc_severity_threshold",
        "Area under the wrong share of the answers' information over their information, when"
        " answers back off to the most informative superclass that is probable enough"
        + INFORMATION,
    ),
    _lower(
        "haurc_climbing",
        "Area under the share of wrong answers over their information, when answers back off"
        " along the path of the most probable class" + INFORMATION,
    ),
    _lower(
        "haurc_severity_climbing",
        "Area under the wrong share of the answers' information over their information, when"
        " answers back off along the path of the most probable class" + INFORMATION,
    ),
    _lower(
        "haurc_jumping",
        "Area under the share of wrong answers over their information, when answers back off to"
        " the most probable superclass of the next height" + INFORMATION,
    ),
    _lower(
        "haurc_severity_jumping",
        "Area under the wrong share of the answers' information over their information, when"
        " answers back off to the most probable superclass of the next height" + INFORMATION,
    ),
    _lower(
        "haurc_selective",
        "Area under the share of wrong answers over their information, when answers back off to"
        " no answer at all" + INFORMATION,
    ),
    _lower(
        "haurc_severity_selective",
        "Area under the wrong share of the answers' information over their information, when"
        " answers back off to no answer at all" + INFORMATION,
    ),
)
METRICS: dict[str, Callable[[Outputs], Result | dict[str, Result]]] = {"risk_areas": risk_areas}
READS: dict[str, tuple[Reader, ...]] = {"risk_areas": tuple(_READERS.values())}
