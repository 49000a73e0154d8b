"""What the tree is worth: the measures of a run again, on trees that say less or nothing."""

from dataclasses import replace

import numpy as np
import pandas as pd

from data.progress import progress
from evaluation.measure import EvaluationOptions, temperatures
from evaluation.recorded import SplitOutputs
from hierarchies import Hierarchy, node_weights
from hierarchies.variants import pruned, shuffled
from metrics import Outputs, suite
from metrics.catalogue import direction

ROUNDING = 1e-9  # sums in another order


def compare_trees(source: SplitOutputs, request: EvaluationOptions) -> pd.DataFrame:
    """The measures that depend on the tree beside those on shuffled and on pruned trees.

    Columns: metric; value, on the run's tree; shuffled, the mean over trees with the classes
    shuffled over the leaves; lower, upper, between which 95 % of these lie; p, one-sided: (1 +
    number of shuffles that are at least as good, or where the measure is undefined) / (1 +
    shuffles), NaN for a measure without a better direction; flat and pruned@1 .., on the trees
    without inner nodes below that depth.
    Measures that no shuffle changes, such as accuracy, are left out, and those of images labelled
    at superclasses, which other trees do not have.

    Args:
        source: Of the run; the predictions stay what they are, except for CRM and answers that
            back off, which read the tree.
        request: Of it the number of shuffled trees, >= 1, the weighting and what is on request; no
            intervals.

    Raises: ValueError: If there is no shuffle.
    """
    if request.shuffled < 1:
        raise ValueError(f"shuffles must be 1 or more, got {request.shuffled}")
    tree, fitted = source.test.hierarchy, temperatures(source.val)
    others = {f"pruned@{depth}": pruned(tree, depth) for depth in range(1, tree.max_depth - 1)}
    trees = {"flat": pruned(tree, 0), **others}
    seeds = range(request.shuffled)

    def measured(other: Hierarchy) -> pd.Series:
        outputs = on_tree(source.test, other)
        weights = node_weights(other, request.weighting, **request.options)
        table = suite.evaluate(outputs, weighting=weights, on_request=request.on_request, **fitted)
        return table.set_index("metric")["value"]

    value = measured(tree)
    values = value.to_numpy()
    bar = progress(seeds, desc="shuffled trees", unit="tree", leave=False)
    draws = np.stack(  # (M, shuffles)
        [measured(shuffled(tree, one)).reindex(value.index).to_numpy() for one in bar], axis=1
    )
    table = pd.DataFrame({"metric": value.index, "value": values})
    ends = np.full((3, len(table)), np.nan)
    known = ~np.isnan(draws).all(axis=1)
    ends[0, known] = np.nanmean(draws[known], axis=1)
    ends[1:, known] = np.nanpercentile(draws[known], [2.5, 97.5], axis=1)
    table["shuffled"], table["lower"], table["upper"] = ends
    table["p"] = [_p_value(*row) for row in zip(value.index, values, draws, strict=True)]
    for name, other in trees.items():
        table[name] = measured(other).reindex(value.index).to_numpy()
    changed = np.abs(draws - values[:, None]) > ROUNDING
    return table[changed.any(axis=1)].reset_index(drop=True)


def on_tree(outputs: Outputs, tree: Hierarchy) -> Outputs:
    """The outputs as if their classes stood in another tree; its number of classes is the same.
    Images labelled at superclasses are left out: another tree has other superclasses.
    """
    return replace(outputs, hierarchy=tree, weights=None, order=None, coarse=None)


def _p_value(metric: str, own: float, drawn: np.ndarray) -> float:
    better = direction(metric)
    if better is None or np.isnan(own) or np.isnan(drawn).all():
        return np.nan
    ahead = drawn - own if better == "higher" else own - drawn
    return (1 + int((~(ahead < -ROUNDING)).sum())) / (1 + len(drawn))
