"""Decision rules: what to answer, given the posterior. A class, or a node that backs off to a
superclass.

Ties: a class of equal score or probability goes by the lower class index. Costs of CRM that agree
to twelve decimals
are equal, then the more probable class goes first. Nodes of equal value go by larger P, then
greater depth, then lower node index. Nodes with a single child are never answered: the child says
more.
"""

from collections.abc import Callable, Mapping

import numpy as np

from hierarchies import Hierarchy
from hierarchies.weights import cumulative, node_weights
from metrics.needed import needed_lambdas, needed_thresholds
from metrics.nodes import node_measures
from metrics.outputs import RANKED, Block, Outputs, Reader, fronts
from metrics.pareto import Front, above_threshold, most_valuable, pareto_front
from metrics.posterior import node_probabilities, path_sums, row_blocks, softmax, top_k
from metrics.prohoc import fit_stop_factor, prohoc, prohoc_distance
from metrics.result import Result
from metrics.rule import Rule
from metrics.selective import climbing_ladder, jumping_ladder
from registry import Number, Option, Registry, nonnegative, one_of

below_one = Number(float, lambda x: 0 <= x < 1, "a probability from 0 to below 1")
_DECIMALS = 12  # costs are sums of many probabilities: what agrees so far is a tie


def cost_weights(hierarchy: Hierarchy, distance: str | np.ndarray = "path") -> np.ndarray:
    """Node weights whose `weighted` distance is the asked one up to a factor: "path", "lca_height",
    or (N,) weights.

    Raises: ValueError: If the distance is none of them.
    """
    if isinstance(distance, np.ndarray):
        return distance
    if distance not in ("path", "lca_height"):
        raise ValueError(
            f"distance must be 'path', 'lca_height' or an array of node weights, got {distance!r}"
        )
    return node_weights(hierarchy, "ones" if distance == "path" else "greedy")


def crm_gain(
    hierarchy: Hierarchy, probabilities: np.ndarray, distance: str | np.ndarray = "path"
) -> np.ndarray:
    """Minus the expected tree cost of each class, up to a positive factor and a term that all
    classes share.

    The cost of class c is sum_j p_j dW(j, c) = const + cum(c) / 2 - sum over v in path(c) of w_v
    P(v): no C x C table.

    Args:
        hierarchy: The class tree.
        probabilities: (S, C).
        distance: "path", "lca_height", or (N,) node weights for `weighted`.

    Returns: (S, C) float64; differences to the best class are costs, the values themselves are not
    probabilities.
    Source: Karthik et al. 2021.
    """
    weights = cost_weights(hierarchy, distance)
    return (
        path_sums(hierarchy, probabilities, weights)
        - cumulative(hierarchy, weights)[hierarchy.leaves] / 2
    )


def crm_ranking(
    hierarchy: Hierarchy, scores: np.ndarray, distance: str | np.ndarray = "path", k: int = RANKED
) -> np.ndarray:
    """The k classes of least expected tree cost, best first, (S, min(k, C)). Scores (S, C), higher
    is better.
    """
    ranking = np.empty((len(scores), min(k, hierarchy.num_classes)), np.int64)
    for rows in row_blocks(len(scores), hierarchy.num_nodes):
        ranking[rows] = least_cost(hierarchy, softmax(scores[rows]), distance, k)
    return ranking


def least_cost(
    hierarchy: Hierarchy, probabilities: np.ndarray, distance: str | np.ndarray, k: int
) -> np.ndarray:
    """The same of a posterior (S, C)."""
    gain = np.round(crm_gain(hierarchy, probabilities, distance), _DECIMALS)
    return top_k(gain, k, tie_break=probabilities)


def crm_scores(
    hierarchy: Hierarchy, scores: np.ndarray, distance: str | np.ndarray = "path"
) -> np.ndarray:
    """Scores (S, C) float64 that rank all classes as `crm_ranking` does the first, but for ties:
    see `crm_gain`, to twelve decimals.
    """
    gains = np.empty(scores.shape)
    for rows in row_blocks(len(scores), hierarchy.num_nodes):
        gains[rows] = np.round(crm_gain(hierarchy, softmax(scores[rows]), distance), _DECIMALS)
    return gains


def argmax(hierarchy: Hierarchy, probabilities: np.ndarray) -> np.ndarray:
    """The most probable leaf."""
    return hierarchy.leaves[probabilities[:, hierarchy.leaves].argmax(axis=1)]


def crm(
    hierarchy: Hierarchy, probabilities: np.ndarray, crm_distance: str | np.ndarray = "path"
) -> np.ndarray:
    """The leaf of least expected tree cost (Karthik et al. 2021)."""
    best = least_cost(hierarchy, probabilities[:, hierarchy.leaves], crm_distance, 1)
    return hierarchy.leaves[best[:, 0]]


def threshold(
    hierarchy: Hierarchy, probabilities: np.ndarray, threshold: float = 0.5
) -> np.ndarray:
    """The node of largest information with P > threshold; the root always qualifies.

    Raises: ValueError: If the threshold is not in [0, 1).
    """
    _check_threshold(threshold)
    return above_threshold(hierarchy, pareto_front(hierarchy, probabilities), threshold)


def climbing(hierarchy: Hierarchy, probabilities: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """The deepest node above the most probable leaf, or this itself, with P > threshold; the root
    always qualifies. The answer never leaves the path of the most probable class.

    Raises: ValueError: If the threshold is not in [0, 1).
    Source: Goren et al. 2024.
    """
    _check_threshold(threshold)
    return above_threshold(hierarchy, climbing_ladder(hierarchy, probabilities), threshold)


def jumping(hierarchy: Hierarchy, probabilities: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """The most probable node of the least height at which one has P > threshold.

    Raises: ValueError: If the threshold is not in [0, 1).
    Source: Goren et al. 2024.
    """
    _check_threshold(threshold)
    return above_threshold(hierarchy, jumping_ladder(hierarchy, probabilities), threshold)


def majority(
    hierarchy: Hierarchy, probabilities: np.ndarray, front: Front | None = None
) -> np.ndarray:
    """The deepest node with P > 1/2: those nodes form one chain."""
    return above_threshold(hierarchy, _front(hierarchy, probabilities, front), 0.5)


def plurality_thresholds(hierarchy: Hierarchy, probabilities: np.ndarray) -> np.ndarray:
    """The largest P of a node that is only second best among its siblings, (S,); 0 where nobody has
    siblings.
    """
    nodes = np.flatnonzero(hierarchy.n_children[hierarchy.parent] > 1)
    nodes = nodes[nodes > 0]
    if not len(nodes):
        return np.zeros(len(probabilities))
    nodes = nodes[np.argsort(hierarchy.parent[nodes], kind="stable")]
    _, first, group = np.unique(hierarchy.parent[nodes], return_index=True, return_inverse=True)
    p = np.ascontiguousarray(probabilities.T)[nodes]  # siblings side by side, (n, S)
    best = np.maximum.reduceat(p, first, axis=0)
    is_best = p == best[group]
    behind = np.where(is_best, 0.0, p).max(axis=0)
    # equal best siblings: one of them is second
    shared = np.add.reduceat(is_best, first, axis=0, dtype=np.int64) > 1
    return np.maximum(behind, np.where(shared, best, 0.0).max(axis=0))


def plurality(
    hierarchy: Hierarchy, probabilities: np.ndarray, front: Front | None = None
) -> np.ndarray:
    """The node of largest information that is more probable than every second-best sibling in the
    tree.
    """
    thresholds = plurality_thresholds(hierarchy, probabilities)
    return above_threshold(hierarchy, _front(hierarchy, probabilities, front), thresholds)


def expected_information(
    hierarchy: Hierarchy, probabilities: np.ndarray, front: Front | None = None
) -> np.ndarray:
    """argmax of P(v) info(v)."""
    return most_valuable(hierarchy, _front(hierarchy, probabilities, front), 0.0)


def darts(hierarchy: Hierarchy, probabilities: np.ndarray, darts_lambda: float = 0.0) -> np.ndarray:
    """argmax of (info(v) + lambda) P(v) (Deng et al. 2012): 0 is `expected_information`, inf the
    root.

    `metrics.conformal.promise` finds the lambda that reaches an accuracy.

    Raises: ValueError: If darts_lambda is negative.
    """
    if not darts_lambda >= 0:
        raise ValueError(f"darts_lambda is in bits and must be >= 0, got {darts_lambda}")
    return most_valuable(hierarchy, pareto_front(hierarchy, probabilities), darts_lambda)


def _front(hierarchy: Hierarchy, probabilities: np.ndarray, known: Front | None) -> Front:
    return pareto_front(hierarchy, probabilities) if known is None else known


def _check_threshold(threshold: float) -> None:
    if not 0 <= threshold < 1:
        raise ValueError(f"threshold is a probability and must lie in [0, 1), got {threshold}")


THRESHOLD = Option(
    "threshold",
    below_one,
    None,
    "P",
    "probability that an answer of --rule threshold, climbing or jumping must exceed (default: so"
    " that --target_accuracy is reached)",
)
STOP_FACTOR = Option(
    "stop_factor",
    nonnegative,
    None,
    "F",
    "how readily --rule prohoc and prohoc_distance stop at a superclass; 0 never (default: what"
    " parts validation images of known classes best from the same images with their class taken"
    " out of the tree)",
)
RULES = Registry(
    Option("rule", default="threshold", help="how answers are chosen"),
    {
        "argmax": Rule(argmax, "the most probable class"),
        "crm": Rule(
            crm,
            "the class of least expected tree distance",
            (
                Option(
                    "crm_distance",
                    one_of(("path", "lca_height")),
                    "path",
                    help="tree distance that --rule crm expects the least of: path length, or"
                    " height of the lowest common ancestor",
                ),
            ),
        ),
        "threshold": Rule(
            threshold,
            "the most specific node above a probability",
            (THRESHOLD,),
            "threshold",
            needed_thresholds,
        ),
        "climbing": Rule(
            climbing,
            "the same among the superclasses of the most probable class",
            (THRESHOLD,),
            "threshold",
            needed_thresholds,
            climbing_ladder,
        ),
        "jumping": Rule(
            jumping,
            "the most probable node of the least height at which one is above a probability",
            (THRESHOLD,),
            "threshold",
            needed_thresholds,
            jumping_ladder,
        ),
        "majority": Rule(majority, "the deepest node above 1/2", measured=True, reads_front=True),
        "plurality": Rule(
            plurality,
            "the most specific node above every second-best sibling of the tree",
            measured=True,
            reads_front=True,
        ),
        "expected_information": Rule(
            expected_information,
            "the node of most information times probability",
            measured=True,
            reads_front=True,
        ),
        "darts": Rule(
            darts,
            "the same, with a bonus for every node",
            (
                Option(
                    "darts_lambda",
                    nonnegative,
                    None,
                    "BITS",
                    "what --rule darts adds to the information of every node (default: so that"
                    " --target_accuracy is reached)",
                ),
            ),
            "darts_lambda",
            needed_lambdas,
        ),
        "prohoc": Rule(
            prohoc,
            "a superclass where no class below it is likely, as for classes never seen",
            (STOP_FACTOR,),
            "stop_factor",
            fit=fit_stop_factor,
        ),
        "prohoc_distance": Rule(
            prohoc_distance,
            "the node of least expected path length, classes never seen included",
            (STOP_FACTOR,),
            "stop_factor",
            fit=fit_stop_factor,
        ),
    },
)


def check_settings(
    rule: str,
    given: Mapping[str, object],
    target_accuracy: float | None = None,
    cover: int | None = None,
) -> dict[str, object]:
    """The settings of a rule that are given by hand, as the rule takes them.

    Args:
        rule: A name in `RULES`.
        given: Setting -> value; None is not given.
        target_accuracy: How often answers shall be right, where that is asked for.
        cover: Number of nodes of a second answer, which that sets, too.

    Raises: ValueError: Naming the flags, where the rule has no such setting, a value is out of
        range, or nothing is set by the target.
    """
    chosen, settings = RULES[rule], {}
    own = {option.name: option for option in chosen.options}
    for name, value in given.items():
        if value is None:
            continue
        if name not in own:
            raise ValueError(f"--{name} has no meaning for --rule {rule}")
        if name == chosen.setting and target_accuracy is not None:
            raise ValueError(
                f"--{name} sets by hand what --target_accuracy calibrates: give one of the two"
            )
        settings[name] = own[name].check(value)
    if target_accuracy is not None and chosen.needed is None and cover is None:
        promising = ", ".join(name for name, each in RULES.items() if each.needed is not None)
        raise ValueError(
            f"--target_accuracy has no meaning for --rule {rule}; it sets {promising} and --cover"
        )
    return settings


def decide(hierarchy: Hierarchy, scores: np.ndarray, rule: str, **options) -> np.ndarray:
    """The node that a rule answers for each row of scores, (S,) int64.

    Args:
        hierarchy: The class tree.
        scores: (S, C), calibrated where probabilities matter: divide by the temperature first.
        rule: A name from `RULES`.
        options: What the rule takes, see its row.

    Raises: ValueError: If the rule is unknown, or an option is out of range or not one of the
    rule's.
    """
    chosen = RULES.find(rule)
    allowed = [option.name for option in chosen.options]
    for name in options:
        if name not in allowed:
            takes = f"only {', '.join(allowed)}" if allowed else "no option"
            raise ValueError(f"the rule {rule!r} takes {takes}; leave out {name}={options[name]!r}")
    nodes = np.empty(len(scores), np.int64)
    for rows in row_blocks(len(scores), hierarchy.num_nodes):
        nodes[rows] = chosen.answer(
            hierarchy, node_probabilities(hierarchy, softmax(scores[rows])), **options
        )
    return nodes


def backing_off(outputs: Outputs) -> dict[str, Result]:
    """Measures of the nodes that the rules answer which say that they are measured:
    `majority/correct`, `plurality/h_f1` ...
    """
    tree, truths = outputs.hierarchy, outputs.hierarchy.leaves[outputs.labels]
    rules = [name for name, rule in RULES.items() if rule.measured]
    return {
        f"{rule}/{name}": result
        for rule, nodes in zip(rules, outputs.read(_measured_answers).T)
        for name, result in node_measures(tree, nodes, truths).items()
    }


def _measured_answers(block: Block) -> np.ndarray:
    """The nodes that the measured rules answer, (s, rules)."""
    answers = []
    for rule in RULES.values():
        if rule.measured:
            known = {"front": block.front} if rule.reads_front else {}
            answers.append(rule.answer(block.tree, block.nodes, **known))
    return np.stack(answers, axis=1)


METRICS: dict[str, Callable[[Outputs], Result | dict[str, Result]]] = {"backing_off": backing_off}
READS: dict[str, tuple[Reader, ...]] = {"backing_off": (fronts, _measured_answers)}
