"""Operating curves and risk over coverage against plain loops over samples, thresholds and nodes,
on random trees.
"""

import math

import numpy as np
import pytest
from scored_outputs import random_tree, scored

from hierarchies import Hierarchy
from metrics.curves import operating_measures, risk_coverage_area

pytestmark = pytest.mark.filterwarnings("error")
KINDS = (
    "distinct",
    "tied",
    "all tied",
    "all correct",
    "all wrong",
    "one sample",
    "absent classes",
    "certain",
)


def draw(seed, kind):
    """Outputs of up to 12 samples on a random tree of 1..9 classes."""
    rng = np.random.default_rng(seed)
    classes, samples = int(rng.integers(2, 10)) if seed else 1, 1 if kind == "one sample" else 12
    tree = random_tree(seed, classes) if seed else Hierarchy.from_paths([("a", "b")])
    scores = 2 * rng.standard_normal((samples, classes))
    if kind == "tied":
        scores = np.round(scores / 2)
    elif kind == "all tied":
        scores[:] = 0
    elif kind == "certain":
        scores *= 1000
    elif kind == "absent classes":
        absent = rng.random(scores.shape) < 0.4
        absent[np.arange(samples), rng.integers(0, classes, samples)] = False
        scores[absent] = -np.inf
    scores = scores.astype(np.float32)
    best = {
        "all correct": scores.argmax(axis=1),
        "all wrong": (scores.argmax(axis=1) + 1) % classes,
    }
    return scored(best.get(kind, rng.integers(0, classes, samples)), scores, tree)


def path_to(tree, node):
    return (path_to(tree, int(tree.parent[node])) if node else []) + [node]


def classes_below(tree):
    """Set of classes for each node."""
    paths = [path_to(tree, int(leaf)) for leaf in tree.leaves]
    return [{c for c, path in enumerate(paths) if node in path} for node in range(tree.num_nodes)]


def answer(tree, candidates, info, p, threshold):
    """The node of largest information with P above the threshold; ties as `metrics.decisions` says;
    else the root.
    """
    above = [(info[v], p[v], len(path_to(tree, v)), -v) for v in candidates if p[v] > threshold]
    return -max(above)[-1] if above else 0


def curve_points(outputs, phi, info):
    """(recall, correct, precision) of the answers at the root and at every threshold where an
    answer changes.
    """
    tree = outputs.hierarchy
    parents = tree.parent[1:].tolist()
    candidates = [v for v in range(tree.num_nodes) if parents.count(v) != 1]
    posteriors = outputs.read(lambda block: block.nodes)  # with its rounding: it decides what ties
    points = []
    for threshold in [2.0, *sorted(set(posteriors.ravel().tolist()) | {0.0}, reverse=True)]:
        sums = [0.0, 0.0, 0.0]
        for p, label in zip(posteriors, outputs.labels):
            node, truth = answer(tree, candidates, info, p, threshold), int(tree.leaves[label])
            above_truth = path_to(tree, truth)
            shared = [v for v in path_to(tree, node) if v in above_truth][-1]
            sums[0] += phi[shared] / phi[truth] if phi[truth] else 1.0
            sums[1] += node in above_truth
            sums[2] += phi[shared] / phi[node] if phi[node] else 1.0
        points.append([total / len(posteriors) for total in sums])
    return points


def area_under(points, column):
    """Area over recall, at each recall the best of any point with at least that recall."""
    total, before = 0.0, 0.0
    for recall in sorted({point[0] for point in points}):
        total += (recall - before) * max(
            point[column] for point in points if point[0] >= recall - 1e-12
        )
        before = recall
    return total


def risk_area(outputs):
    """Mean over the samples of the risk at which they are answered, equally confident ones
    together.
    """
    scores = outputs.scores.astype(float).tolist()
    confidences = outputs.confidence.tolist()
    wrong = [row.index(max(row)) != label for row, label in zip(scores, outputs.labels)]
    total = 0.0
    for confidence in confidences:
        answered = [error for error, other in zip(wrong, confidences) if other >= confidence]
        total += sum(answered) / len(answered)
    return total / len(scores)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(7))
def test_curves_are_those_of_plain_loops(seed, kind):
    outputs = draw(seed, kind)
    tree, below = outputs.hierarchy, classes_below(outputs.hierarchy)
    info = [math.log2(tree.num_classes / len(classes)) for classes in below]
    depth = [float(len(path_to(tree, v)) - 1) for v in range(tree.num_nodes)]
    found = operating_measures(outputs)
    for value, phi in (("info", info), ("depth", depth)):
        points = curve_points(outputs, phi, info)
        assert found[f"ac_{value}"].value == pytest.approx(area_under(points, 1), abs=1e-9)
        assert found[f"ap_{value}"].value == pytest.approx(area_under(points, 2), abs=1e-9)
        for percent in (90, 95):
            best = max(recall for recall, correct, _ in points if correct >= percent / 100 - 1e-12)
            assert found[f"recall@{percent}_{value}"].value == pytest.approx(best, abs=1e-9)
    assert risk_coverage_area(outputs).value == pytest.approx(risk_area(outputs), abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_posterior_behind_the_curves_is_the_sum_over_the_classes_below(kind):
    outputs = draw(3, kind)
    below = classes_below(outputs.hierarchy)
    posteriors = outputs.read(lambda block: block.nodes)
    for scores, p in zip(outputs.scores.astype(float).tolist(), posteriors):
        weights = [math.exp(score - max(scores)) for score in scores]
        expected = [
            math.fsum(weights[c] for c in classes) / math.fsum(weights) for classes in below
        ]
        np.testing.assert_allclose(p, expected, rtol=1e-12, atol=1e-300)
    assert (
        outputs.confidence.tolist() == posteriors[:, outputs.hierarchy.leaves].max(axis=1).tolist()
    )
