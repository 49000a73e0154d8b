"""All measures of one run in one table. A new metric is a function of `Outputs`, a row in its
module's METRICS and, with its direction, range and meaning, one in its MEASURES.

Names: no prefix for the class vectors and argmax; `prototype/` for prototypes in their place;
`all_labels/` where images that are labelled at superclasses count, too; `crm/` for the class of
least expected path length, `crm_lca_height/` for that of least expected LCA height (Karthik et al.
2021); `calibrated/` and `prototype/calibrated/` for scores divided by a temperature; `majority/`
... for answers that back off; `W/` and `P/` for the structure of class vectors and of prototypes,
`W_of_2000/`, `P_of_2000/` and `of_2000/` for that of 2,000 classes drawn at random of more.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd
from scipy.sparse import csr_array
from scipy.special import ndtr, stdtrit

from hierarchies.weights import is_normalised, node_weights
from metrics import catalogue, retrieval, superclass, trees
from metrics.catalogue import describe
from metrics.coarse_images import PREFIX, all_labels
from metrics.decisions import crm_ranking, crm_scores
from metrics.outputs import SAMPLE, Outputs, Reader
from metrics.posterior import row_blocks
from metrics.result import Result, ratio
from metrics.threads import in_threads

Metrics = Mapping[str, Callable[[Outputs], Result | dict[str, Result]]]


def _of(modules: Iterable) -> dict[str, Callable[[Outputs], Result | dict[str, Result]]]:
    return {name: metric for module in modules for name, metric in module.METRICS.items()}


RANKED: Metrics = _of(catalogue.RANKED)
ORDERED: Metrics = _of(catalogue.ORDERED)
POSTERIOR: Metrics = _of(catalogue.POSTERIOR)
STRUCTURE: Metrics = _of(catalogue.STRUCTURE)
METRICS: Metrics = {**RANKED, **ORDERED, **POSTERIOR, **STRUCTURE}
# what the measures of the posterior read of it, by their names
READS: Mapping[str, tuple[Reader, ...]] = {
    name: readers for module in catalogue.POSTERIOR for name, readers in module.READS.items()
}
ON_REQUEST: Metrics = {**trees.ON_REQUEST, **retrieval.ON_REQUEST}
# whose cost grows with the square of the number of classes, or more: above `SAMPLE` classes they
# are of so many, drawn at random, and their names say so
OF_PAIRS = frozenset(
    name for module in catalogue.STRUCTURE for name in getattr(module, "OF_PAIRS", ())
)
NEED_COUNTS = frozenset({"frequency"})  # of the training images
MOST_SCORES = 2**24  # images x classes up to which CRM ranks all classes, not the best twenty only
# prefix -> tree distance whose expectation is least
CRM = {"crm/": "path", "crm_lca_height/": "lca_height"}


def evaluate(
    outputs: Outputs,
    *,
    bootstrap: int = 0,
    seed: int = 0,
    weighting: str | np.ndarray = "balanced",
    temperature: float | None = None,
    prototype_temperature: float | None = None,
    hie_scores: np.ndarray | None = None,
    on_request: Iterable[str] = (),
) -> pd.DataFrame:
    """Every measure of one split, one row each: metric, value, n, undefined, and lower, upper with
    a bootstrap.

    Args:
        outputs: The evaluated split. Without dimensions, D = 0, there are no measures of embeddings
            and class vectors, and without numbers of training images none of these.
        bootstrap: Number of resamples of the images, or of their groups where the outputs have
            `clusters`, for 95 % intervals (`bootstrap_intervals`); 0 for no
            intervals. Means over samples get one, and means over classes or nodes of the means of
            their samples (`macro_accuracy`, `few_accuracy`, `level_recall@l` ...). The images
            retrieved stay what they are, only queries are drawn. All others have NaN there: what is
            made of counts or curves of all images (ECE, precision, F, micro hF, AC, AURC), since
            resampling makes some of them larger than they are, and what no test image enters.
        seed: Of the resampling.
        weighting: Node weights of the weighted measures: a name from
            `hierarchies.weights.WEIGHTINGS`, or (N,) weights. Measures that need weights summing to
            1 are NaN for other ones, all samples undefined.
        temperature: From `fit_temperature` on the validation split: adds the `calibrated/` measures
            of the posterior.
        prototype_temperature: The same from the prototype scores, which have a scale of their own:
            adds the `prototype/calibrated/` measures. Without prototype scores there are none.
        hie_scores: (S, C) scores amended by a coarser classifier: adds the `hie/` measures of the
            ranked classes and of the posterior.
        on_request: Names from `ON_REQUEST` to add.

    Raises: ValueError: If an option is out of range or a name unknown.
    """
    on_request = list(on_request)
    temperatures = {"temperature": temperature, "prototype_temperature": prototype_temperature}
    _check(bootstrap, temperatures, on_request)
    weights = (
        node_weights(outputs.hierarchy, weighting)
        if isinstance(weighting, str)
        else np.asarray(weighting)
    )
    outputs = outputs.view(weights=weights)
    results = {}
    for name, result in _measure(outputs, temperatures, hie_scores, on_request):
        describe(name)  # a measure without a direction and a meaning reaches no table
        results[name] = result if bootstrap else result._replace(samples=None, groups=None)
    table = results_table(results)
    if bootstrap:
        ends = _intervals(results, bootstrap, seed, outputs)
        table["lower"] = table["metric"].map({name: lower for name, (lower, _) in ends.items()})
        table["upper"] = table["metric"].map({name: upper for name, (_, upper) in ends.items()})
    return table


def results_table(results: Mapping[str, Result]) -> pd.DataFrame:
    """A row for each measure: metric, value, n, undefined."""
    rows = [(name, float(r.value), int(r.n), int(r.undefined)) for name, r in results.items()]
    return pd.DataFrame(rows, columns=["metric", "value", "n", "undefined"])


def _intervals(
    results: Mapping[str, Result], bootstrap: int, seed: int, outputs: Outputs
) -> dict[str, tuple]:
    """Ends of the interval of each mean over samples; those over all labels have samples of their
    own.
    """
    ends = {}
    for over_all in (False, True):
        means = {
            name: result
            for name, result in results.items()
            if result.samples is not None and name.startswith(PREFIX) == over_all
        }
        if means:
            samples = np.column_stack([mean.samples for mean in means.values()])
            groups = [mean.groups for mean in means.values()]
            drawn = outputs.clusters
            if over_all and drawn is not None:
                drawn = np.concatenate([drawn, outputs.coarse.clusters])
            both = bootstrap_intervals(samples, bootstrap, seed, groups, drawn)
            ends |= dict(zip(means, zip(*both)))
    return ends


def bootstrap_intervals(
    samples: np.ndarray,
    bootstrap: int,
    seed: int = 0,
    groups: Sequence[np.ndarray | None] | None = None,
    clusters: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """95 % intervals of means over samples by percentiles of resamples, all measures on the same
    resamples of the images.

    Resamples of n spread less than samples do, so the percentiles lie further out than 2.5 and 97.5
    where n is small (`_percentiles`). With a handful of clusters the intervals are still too
    narrow.

    Args:
        samples: (S, M) values of M measures; NaN entries are left out of the means.
        bootstrap: Number of resamples.
        seed: Of the resampling.
        groups: For each measure None, or (S,) int where it is the mean over groups, those that are
            drawn, of the means of their samples, none of them NaN; -1 for samples of no group. None
            for no groups at all.
        clusters: (S,) of any type: whole clusters of images are drawn, as many as there are, and a
            mean is over all images of those drawn; None draws single images.

    Returns: Lower and upper ends, (M,) each; NaN where no resample has a defined value, and with a
    single sample or cluster, of which all resamples are equal.
    Source: Hesterberg 2015 (expanded percentiles).
    """
    num_samples, generator = len(samples), np.random.default_rng(seed)
    values, means = np.nan_to_num(samples), np.full((bootstrap, samples.shape[1]), np.nan)
    partly = np.isnan(samples).any(axis=0)  # the other columns are divided by S
    units, member = num_samples, None
    if clusters is not None and num_samples:
        _, member = np.unique(clusters, return_inverse=True)
        units = int(member.max()) + 1
    defined = (~np.isnan(samples[:, partly])).astype(np.float64)
    grouped = _grouped_columns(groups or [])
    for rows in row_blocks(bootstrap if num_samples else 0, num_samples):
        size = rows.stop - rows.start
        drawn = generator.integers(0, units, (size, units)) + units * np.arange(size)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=size * units).reshape(size, units)
        counts = (counts if member is None else counts[:, member]).astype(np.float64)
        sizes = np.repeat(counts.sum(axis=1, keepdims=True), samples.shape[1], axis=1)
        sizes[:, partly] = counts @ defined
        means[rows] = ratio(counts @ values, sizes)
        for columns, members in grouped:
            means[rows, columns] = _group_means(
                np.ascontiguousarray(counts.T), values[:, columns], members
            )
    known = ~np.isnan(means).all(axis=0)
    ends = np.full((2, samples.shape[1]), np.nan)
    if known.any() and units > 1:
        ends[:, known] = np.nanpercentile(means[:, known], _percentiles(units), axis=0)
    return ends[0], ends[1]


def _percentiles(units: int) -> tuple[float, float]:
    """The percentiles between which means of resamples of so many units, 2 or more, are a 95 %
    interval.

    The variance of the resamples has n for n - 1 in its denominator, and Student's t is wider than
    the normal distribution: 0.9 and 99.1 for 10 units, 2.4 and 97.6 for 200.
    """
    tail = 100 * ndtr(-np.sqrt(units / (units - 1)) * stdtrit(units - 1, 0.975))
    return tail, 100 - tail


def _grouped_columns(groups: Sequence[np.ndarray | None]) -> list[tuple[list[int], csr_array]]:
    """The columns that have the same groups, and the members of these as 0 and 1, (G, S); a sample
    of none is no member.
    """
    columns: dict[bytes, list[int]] = {}
    for column, group in enumerate(groups):
        if group is not None and len(group):
            columns.setdefault(np.asarray(group, np.int64).tobytes(), []).append(column)
    found = []
    for same in columns.values():
        group = np.asarray(groups[same[0]])
        inside = np.flatnonzero(group >= 0)
        names, index = np.unique(group[inside], return_inverse=True)
        shape = (len(names), len(group))
        found.append((same, csr_array((np.ones(len(index)), (index, inside)), shape=shape)))
    return found


def _group_means(counts: np.ndarray, values: np.ndarray, members: csr_array) -> np.ndarray:
    """Means over the groups drawn (G) of the means of their samples, (R, M), for (S, R) counts and
    (S, M) values.
    """
    sizes = members @ counts  # (G, R)
    drawn = (sizes > 0).sum(axis=0)
    sums = [
        ratio(members.multiply(column).tocsr() @ counts, sizes, empty=0.0).sum(axis=0)
        for column in values.T
    ]
    return ratio(np.stack(sums, axis=1), drawn[:, None])


def _check(bootstrap: int, temperatures: Mapping[str, float | None], on_request: list[str]) -> None:
    if bootstrap < 0:
        raise ValueError(f"bootstrap is a number of resamples and must be >= 0, got {bootstrap}")
    for name, temperature in temperatures.items():
        if temperature is not None and not 0 < temperature < np.inf:
            raise ValueError(f"{name} must be a finite number > 0, got {temperature}")
    for name in on_request:
        if name not in ON_REQUEST:
            raise ValueError(f"on_request must name one of {', '.join(ON_REQUEST)}, got {name!r}")


def _measure(
    outputs: Outputs,
    temperatures: Mapping[str, float | None],
    hie_scores: np.ndarray | None,
    on_request: list[str],
) -> Iterator[tuple[str, Result]]:
    """Names and results of all measures, under every kind of scores and decision."""
    absent = () if outputs.embeddings.shape[1] else STRUCTURE  # of scores alone there is none
    own = {name: metric for name, metric in METRICS.items() if name not in absent}
    own |= {name: ON_REQUEST[name] for name in on_request}
    of_scores = {**RANKED, **ORDERED, **POSTERIOR}
    drawn, tasks = outputs.sample(SAMPLE), []

    def add(*task) -> None:
        tasks.append(partial(_computed, *task))

    outputs.share_tables()  # before there are views of them
    if "trees" in own:
        trees.import_skbio()
    for name, metric in own.items():
        sampled = name in OF_PAIRS and drawn is not outputs
        if name not in POSTERIOR:
            add({name: metric}, drawn if sampled else outputs, "", sampled)
        elif name == next(iter(POSTERIOR)):  # all of them together, as they read the same blocks
            add(POSTERIOR, outputs)
    if outputs.coarse is not None:
        add({PREFIX: all_labels}, outputs)
    for prefix, scores in (("prototype/", outputs.prototype_scores), ("hie/", hie_scores)):
        if scores is not None:
            add(of_scores, outputs.view(scores=scores), prefix)
    tasks += [partial(_decided, outputs, *one) for one in CRM.items()]
    calibrated = {"calibrated/": (outputs.scores, temperatures["temperature"])}
    calibrated["prototype/calibrated/"] = (
        outputs.prototype_scores,
        temperatures["prototype_temperature"],
    )
    for prefix, (scores, temperature) in calibrated.items():
        if scores is not None and temperature is not None:
            view = outputs.view(scores=scores, temperature=temperature)
            add(POSTERIOR, view, prefix)
    for results in in_threads(tasks):
        yield from results.items()


def _decided(outputs: Outputs, prefix: str, distance: str) -> dict[str, Result]:
    """The measures of the classes of least expected distance."""
    tree, scores = outputs.hierarchy, outputs.scores
    results = _computed(RANKED, outputs.view(order=crm_ranking(tree, scores, distance)), prefix)
    if scores.size <= MOST_SCORES:
        gains = crm_scores(tree, scores, distance)
        results |= _computed(ORDERED, outputs.view(scores=gains), prefix)
    return results


def _computed(
    metrics: Metrics, outputs: Outputs, prefix: str = "", sampled: bool = False
) -> dict[str, Result]:
    """The results of some measures by name."""
    normalised, results = is_normalised(outputs.hierarchy, outputs.node_weights), {}
    outputs.read_together(
        reader
        for name in metrics
        if normalised or name not in superclass.NEED_NORMALISED
        for reader in READS.get(name, ())
    )
    # of a run in whose days they were not recorded they are NaN; of scores alone they are not there
    alone = outputs.train_counts is None and not outputs.embeddings.shape[1]
    for name, metric in metrics.items():
        if name in NEED_COUNTS and alone:
            continue
        if name in superclass.NEED_NORMALISED and not normalised:
            result = dict.fromkeys(
                superclass.NEED_NORMALISED[name], Result(np.nan, 0, outputs.num_samples)
            )
        else:
            result = metric(outputs)
        for key, value in (result if isinstance(result, dict) else {name: result}).items():
            results[prefix + (catalogue.of_sample(key, SAMPLE) if sampled else key)] = value
    return results
