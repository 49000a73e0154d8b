"""Curves over a threshold: answers that back off (Valmadre 2022), and answering at all (risk and
coverage).
"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from metrics.measure import CURVES, HIGHER, INFORMATION, LOWER, SHARE, Measure, kind
from metrics.nodes import VALUES, node_values
from metrics.outputs import Outputs, Reader, confidences, fronts
from metrics.pareto import over_thresholds, with_top
from metrics.posterior import lca_nodes
from metrics.result import Result, ratio


def operating_curve(outputs: Outputs, value: str = "info") -> pd.DataFrame:
    """How correct, precise and complete the answers of the rule `threshold` are, for every
    threshold that matters.

    One row for each set of answers, by falling threshold. Columns: threshold (an answer needs P
    above it), correct (share of answers that are above, at or below the truth), precision and
    recall (means of phi(lca)/phi(answer) and phi(lca)/phi(truth), 0/0 is 1; phi is depth or
    information). The first row answers `top_node`, which is the root in most trees: recall 0,
    correct 1, precision 1; the last answers classes.

    Args:
        value: "depth" or "info".

    Raises: ValueError: If value is neither.
    Source: Valmadre 2022.
    """
    tree, phi = outputs.hierarchy, node_values(outputs.hierarchy, value)
    nodes = with_top(tree, outputs.front)
    truths = np.broadcast_to(tree.leaves[outputs.labels][:, None], nodes.shape)
    shared = lca_nodes(tree, nodes, truths)
    measures = {
        "correct": (shared == nodes).astype(np.float64),
        "precision": ratio(phi[shared], phi[nodes], empty=1.0),
        "recall": ratio(phi[shared], phi[truths], empty=1.0),
    }
    return pd.DataFrame(over_thresholds(outputs.front, measures))


def recall_at(curve: pd.DataFrame, correct: float) -> float:
    """The largest recall of an `operating_curve` where at least a share `correct` is; in [0, 1],
    NaN without samples.
    """
    enough = curve["recall"][curve["correct"] >= correct - 1e-12]
    return float(enough.max())


def thinned(curve: pd.DataFrame, most: int = 2000) -> pd.DataFrame:
    """At most `most` >= 2 rows of a curve, evenly spaced with both ends; all of a shorter one. For
    files and figures.
    """
    if len(curve) <= most:
        return curve
    return curve.iloc[np.linspace(0, len(curve) - 1, most).round().astype(int)].reset_index(
        drop=True
    )


def area(recall: np.ndarray, quality: np.ndarray) -> float:
    """Area under quality over recall from 0 to the largest recall; in [0, 1], higher is better.

    At each recall stands the best quality of any point with at least that recall, as in average
    precision.
    """
    order = np.argsort(recall, kind="stable")
    envelope = np.maximum.accumulate(quality[order][::-1])[::-1]
    return float(np.sum(np.diff(recall[order], prepend=0.0) * envelope))


def operating_measures(outputs: Outputs) -> dict[str, Result]:
    """AC and AP, areas of correct and of precision over recall, and the recall where 90 and 95 %
    are correct.

    `ac_info`, `ap_info`, `recall@90_info`, `recall@95_info` and the same for depth; in [0, 1],
    higher is better.
    """
    rows, n = {}, outputs.num_samples
    for value in VALUES:
        curve = operating_curve(outputs, value)
        recall, correct = curve["recall"].to_numpy(), curve["correct"].to_numpy()
        rows[f"ac_{value}"] = Result(area(recall, correct), n)
        rows[f"ap_{value}"] = Result(area(recall, curve["precision"].to_numpy()), n)
        for percent in (90, 95):
            rows[f"recall@{percent}_{value}"] = Result(recall_at(curve, percent / 100), n)
    return rows


def risk_coverage(outputs: Outputs) -> pd.DataFrame:
    """Error among the samples answered when only the most confident are: one row for each distinct
    confidence, falling.

    Columns: confidence (the least of those answered), coverage (share answered), risk (share of
    those that is wrong).
    """
    order = np.argsort(-outputs.confidence, kind="stable")
    confidence = outputs.confidence[order]
    wrong = np.cumsum((outputs.predictions != outputs.labels)[order])
    last = np.flatnonzero(confidence != np.append(confidence[1:], -1.0))
    answered = last + 1
    coverage = answered / max(len(order), 1)
    return pd.DataFrame(
        {"confidence": confidence[last], "coverage": coverage, "risk": wrong[last] / answered}
    )


def risk_coverage_area(outputs: Outputs) -> Result:
    """AURC: the risk averaged over coverages, equal confidences together; in [0, 1], lower is
    better.
    """
    curve = risk_coverage(outputs)
    steps = np.diff(curve["coverage"].to_numpy(), prepend=0.0)
    n = outputs.num_samples
    return Result(float(steps @ curve["risk"].to_numpy()) if n else np.nan, n)


_higher = kind(HIGHER, CURVES, SHARE)
MEASURES = (
    _higher(
        "ac_depth",
        "Area under the share of correct answers over the depth in the tree they name, when"
        " answers back off to superclasses at every threshold of probability.",
    ),
    _higher(
        "ap_depth",
        "Area under the precision, how much of an answer's depth in the tree holds, over the"
        " depth named, when answers back off to superclasses at every threshold of probability.",
    ),
    _higher(
        "recall@{k}_depth",
        "How much of the true classes' depth in the tree the answers name when they back off to"
        " superclasses so far that k % are correct.",
    ),
    _higher(
        "ac_info",
        "Area under the share of correct answers over the information they name, when answers"
        " back off to superclasses at every threshold of probability" + INFORMATION,
    ),
    _higher(
        "ap_info",
        "Area under the precision, how much of an answer's information holds, over the"
        " information named, when answers back off to superclasses at every threshold of"
        " probability" + INFORMATION,
    ),
    _higher(
        "recall@{k}_info",
        "How much of the true classes' information the answers name when they back off to"
        " superclasses so far that k % are correct" + INFORMATION,
    ),
    Measure(
        "aurc",
        LOWER,
        CURVES,
        SHARE,
        "Share of wrong answers averaged over all shares of images answered, the most certain ones"
        " first.",
    ),
)
METRICS: dict[str, Callable[[Outputs], Result | dict[str, Result]]] = {
    "operating": operating_measures,
    "aurc": risk_coverage_area,
}
READS: dict[str, tuple[Reader, ...]] = {"operating": (fronts,), "aurc": (confidences,)}
