"""Measures of predictions that may be inner nodes: hP, hR, hF, and precision and recall in depth or
information.
"""

import numpy as np

from hierarchies import Hierarchy
from metrics.measure import DESCRIBES, EDGES, HIGHER, INFORMATION, LOWER, SHARE, TREE, Measure, kind
from metrics.posterior import information, lca_nodes
from metrics.result import Result, mean_over_samples, ratio

VALUES = ("depth", "info")


def node_values(hierarchy: Hierarchy, value: str) -> np.ndarray:
    """phi(v), (N,): the depth in edges or the information in bits; 0 at the root, growing
    downwards.

    Raises: ValueError: If value is neither "depth" nor "info".
    """
    if value not in VALUES:
        raise ValueError(f"value must be 'depth' or 'info', got {value!r}")
    return hierarchy.depth.astype(np.float64) if value == "depth" else information(hierarchy)


def set_measures(hierarchy: Hierarchy, nodes: np.ndarray, truths: np.ndarray) -> dict[str, Result]:
    """hP, hR and hF: overlap of the ancestor sets of prediction and truth, nodes themselves
    included, root left out.

    Each in [0, 1], higher is better. `h_precision`, `h_recall`, `h_f1` are micro (summed counts,
    0/0 is 1); `..._macro` average over samples, leaving out and counting the samples predicted as
    the root, where hP is 0/0. hF is the harmonic mean of the two averages.

    Args:
        nodes: (S,) predicted nodes.
        truths: (S,) true nodes.

    Source: Kiritchenko et al. 2006; Silla & Freitas 2011.
    """
    shared = hierarchy.depth[lca_nodes(hierarchy, nodes, truths)]
    rows = {}
    for name, size in (
        ("h_precision", hierarchy.depth[nodes]),
        ("h_recall", hierarchy.depth[truths]),
    ):
        n = len(nodes)
        rows[name] = Result(float(ratio(shared.sum(), size.sum(), empty=1.0)) if n else np.nan, n)
        rows[f"{name}_macro"] = mean_over_samples(ratio(shared, size))
    for suffix in ("", "_macro"):
        p, r = rows[f"h_precision{suffix}"], rows[f"h_recall{suffix}"]
        rows[f"h_f1{suffix}"] = Result(
            _harmonic(p.value, r.value), min(p.n, r.n), max(p.undefined, r.undefined)
        )
    return rows


def value_measures(
    hierarchy: Hierarchy, nodes: np.ndarray, truths: np.ndarray, value: str
) -> dict[str, Result]:
    """Means over samples of recall, precision, F1, excess and deficient value, phi = depth (edges)
    or info (bits).

    recall = phi(lca) / phi(truth) and precision = phi(lca) / phi(prediction), in [0, 1], 0/0 is 1;
    F1 their harmonic mean per sample. excess = phi(prediction) - phi(lca) and deficient =
    phi(truth) - phi(lca): lower is better, 0 best.

    Args:
        nodes: (S,) predicted nodes.
        truths: (S,) true nodes.
        value: "depth" or "info".

    Source: Valmadre 2022.
    """
    phi = node_values(hierarchy, value)
    shared, predicted, true = phi[lca_nodes(hierarchy, nodes, truths)], phi[nodes], phi[truths]
    precision, recall = ratio(shared, predicted, empty=1.0), ratio(shared, true, empty=1.0)
    f1 = ratio(2 * precision * recall, precision + recall, empty=0.0)
    measures = {"recall": recall, "precision": precision, "f1": f1}
    measures |= {"excess": predicted - shared, "deficient": true - shared}
    return {f"{value}_{name}": mean_over_samples(samples) for name, samples in measures.items()}


def overlaps(hierarchy: Hierarchy, nodes: np.ndarray, truths: np.ndarray) -> dict[str, Result]:
    """`set_measures` and the `value_measures` of depth and information."""
    rows = set_measures(hierarchy, nodes, truths)
    for value in VALUES:
        rows |= value_measures(hierarchy, nodes, truths, value)
    return rows


def node_measures(hierarchy: Hierarchy, nodes: np.ndarray, truths: np.ndarray) -> dict[str, Result]:
    """`correct` (the truth is the prediction or below it), `exact` (it is the prediction), `depth`,
    all the above.
    """
    below = lca_nodes(hierarchy, nodes, truths) == nodes
    rows = {"correct": mean_over_samples(below), "exact": mean_over_samples(nodes == truths)}
    rows["depth"] = mean_over_samples(hierarchy.depth[nodes])
    return rows | overlaps(hierarchy, nodes, truths)


_higher = kind(HIGHER, TREE, SHARE)
_lower_edges = kind(LOWER, TREE, EDGES)
_lower_bits = kind(LOWER, TREE, "0 or more bits")
MEASURES = (
    _higher(
        "h_precision",
        "Share of the superclasses named by the answers, the answers included, that hold for the"
        " true classes, counted over all images.",
    ),
    _higher(
        "h_precision_macro",
        "Share of the superclasses named by an answer, itself included, that hold for the true"
        " class, averaged over the images.",
    ),
    _higher(
        "h_recall",
        "Share of the true classes' superclasses, themselves included, that the answers name,"
        " counted over all images.",
    ),
    _higher(
        "h_recall_macro",
        "Share of the true class's superclasses, itself included, that an answer names, averaged"
        " over the images.",
    ),
    _higher(
        "h_f1",
        "Harmonic mean of the share of the superclasses named by the answers that hold"
        " (h_precision) and the share of the true classes' superclasses that are named"
        " (h_recall), counted over all images.",
    ),
    _higher(
        "h_f1_macro",
        "Harmonic mean of the share of the superclasses named by an answer that hold"
        " (h_precision_macro) and the share of the true class's superclasses that are named"
        " (h_recall_macro), each averaged over the images.",
    ),
    _higher(
        "correct", "Share of the images whose true class is the answer or below it in the tree."
    ),
    _higher("exact", "Share of the images whose answer is the true class itself."),
    Measure(
        "depth",
        DESCRIBES,
        TREE,
        EDGES,
        "Mean depth of the answers in the tree: 0 says nothing, deeper ones say more.",
    ),
    _higher(
        "depth_recall",
        "How much of the true class's depth in the tree an answer names, averaged over the images.",
    ),
    _higher(
        "depth_precision",
        "How much of an answer's depth in the tree holds for the true class, averaged over the"
        " images.",
    ),
    _higher(
        "depth_f1",
        "Harmonic mean of how much of the true class's depth in the tree an answer names and how"
        " much of the answer's depth holds, averaged over the images.",
    ),
    _lower_edges(
        "depth_excess",
        "Depth in the tree that an answer claims beyond what holds for the true class, averaged"
        " over the images.",
    ),
    _lower_edges(
        "depth_deficient",
        "Depth in the tree of the true class that an answer leaves open, averaged over the images.",
    ),
    _higher(
        "info_recall",
        "How much of the true class's information an answer names, averaged over the images"
        + INFORMATION,
    ),
    _higher(
        "info_precision",
        "How much of an answer's information holds for the true class, averaged over the images"
        + INFORMATION,
    ),
    _higher(
        "info_f1",
        "Harmonic mean of how much of the true class's information an answer names and how much"
        " of the answer's information holds, averaged over the images" + INFORMATION,
    ),
    _lower_bits(
        "info_excess",
        "Information that an answer claims beyond what holds for the true class, averaged over"
        " the images" + INFORMATION,
    ),
    _lower_bits(
        "info_deficient",
        "Information of the true class that an answer leaves open, averaged over the images"
        + INFORMATION,
    ),
)


def _harmonic(a: float, b: float) -> float:
    return float(ratio(2 * a * b, a + b, empty=0.0))
