"""Computes one recorded run again: from its arrays alone, or from its images and checkpoint on any machine."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

import aggregation
import data
import engine
from assembly import assemble
from devices import Devices
from hierarchies import Hierarchy, node_weights, to_newick
from hierarchies.tree import format_path
from losses.penalties import PENALTIES
from metrics import Outputs, curves, fit_temperature, flat, suite, superclass, trees
from metrics.nodes import VALUES
from metrics.vectors import present, vector_sets
from provenance import provenance
from recording import Run, RunError

# every weight comes from the checkpoint: nothing is needed of what training started from or was held to
NO_START = {"rand_backbone": True, "weights": None, "freeze": "none", "compile": False, **dict.fromkeys(PENALTIES, 0.0)}


class Images(NamedTuple):
    """How to embed the images again.

    Attributes:
        places: Where files are on this machine, by the options' names: data_dir, cache_dir, hierarchy, split_list. None
            means the run's own.
        devices: To compute on.
        checkpoint: 'best.pt' or 'last.pt'; None is the one that the run's results come from.
    """

    places: Mapping
    devices: Devices
    checkpoint: str | None = None


class Request(NamedTuple):
    """What is asked of runs.

    Attributes:
        bootstrap: Resamples for 95 % intervals; 0 for none.
        weighting, options: Node weights of the weighted measures, with the weighting's own options.
        on_request: Measures to add, from `metrics.suite.ON_REQUEST`.
        images: How to embed the images again; None takes the arrays that training recorded.
        tolerance: Largest difference from the recorded measures; None is 1e-6, or 0.01 with images.
        wanted: Names or patterns of the measures to print; None for all but those of answers that back off.
        tree: Whether to print the tree of the class vectors.
    """

    bootstrap: int = 0
    weighting: str = "balanced"
    options: Mapping = {}
    on_request: Sequence[str] = ()
    images: Images | None = None
    tolerance: float | None = None
    wanted: Sequence[str] | None = None
    tree: bool = False


class Source(NamedTuple):
    """What a run's measures are computed from.

    Attributes:
        test: Of the test split.
        val: Of the validation split, or None.
    """

    test: Outputs
    val: Outputs | None


class _Embedded(Run):
    """A run whose arrays were computed anew instead of read."""

    def __init__(self, run: Run, arrays: Mapping[str, dict[str, np.ndarray]]):
        super().__init__(run.folder)
        self._arrays = arrays

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        return self._arrays[name]


def find_folders(named: Iterable[str | os.PathLike]) -> list[Path]:
    """The runs at or below the folders named, each once; a folder without any stays, to be refused by name."""
    return list(dict.fromkeys(folder for path in named for folder in aggregation.run_folders(path) or [Path(path)]))


def read_source(run: Run) -> Source:
    """What training recorded in test.pkl and val.pkl. Raises: RunError."""
    if run.hierarchy.digest != run.config.get("hierarchy"):
        raise RunError(f"{run.folder / 'hierarchy.json'} is not the tree that config.json names; was it changed?")
    return Source(run.outputs("test"), run.outputs("val") if (run.folder / "val.pkl").is_file() else None)


def embed_again(run: Run, images: Images, checkpoint: str) -> Source:
    """Rebuilds data and model from the folder and embeds the images once more; the run need not be finished.

    Raises: RunError: If the images, their split or their tree are not those of the run; ValueError from the data.
    """
    state = run.checkpoint(checkpoint)["model"]
    # a folder to write to and a download are this machine's to choose, whatever the run's config.json says
    recorded = {name: value for name, value in run.options.items() if name not in ("data_dir", "cache_dir", "download")}
    splits = data.load({**recorded, **{name: place for name, place in images.places.items() if place is not None}})
    for what, found in (("hierarchy", splits.hierarchy.digest), ("split", splits.digest)):
        if found != run.config.get(what):
            raise RunError(f"the {what} made from these images is not the one of {run.folder}; is --data_dir right?")
    options = defaultdict(lambda: None, {**run.options, **NO_START})  # what an old run did not know is off
    training = assemble(options, splits, images.devices)
    try:
        training.model.load_state_dict(state)
    except RuntimeError as error:
        raise RunError(f"{run.folder / checkpoint} does not fit the model of config.json: {error}") from error
    names = ("test", "val") if len(splits.val) else ("test",)
    embedded = _Embedded(run, engine.collect(training, splits, names))
    return Source(embedded.outputs("test"), embedded.outputs("val") if len(splits.val) else None)


def measure(source: Source, request: Request) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The measures of the test split as asked for, and as training computes them; one table where that is the same.

    With a validation split, its temperatures give the `calibrated/` and `prototype/calibrated/` measures beside the
    others: scores of class vectors and of prototypes have scales of their own.
    """
    options = {"bootstrap": request.bootstrap, "on_request": request.on_request, **_temperatures(source.val)}
    weights = node_weights(source.test.hierarchy, request.weighting, **request.options)
    if request.weighting == "balanced":
        table = suite.evaluate(source.test, **options)
        return table, table
    return suite.evaluate(source.test, weighting=weights, **options), suite.evaluate(source.test)


def _temperatures(val: Outputs | None) -> dict[str, float]:
    """The temperatures that `suite.evaluate` takes, of the scores by which the true class of any image has one."""
    if val is None:
        return {}
    kinds = {"temperature": val.scores, "prototype_temperature": val.prototype_scores}
    own = np.arange(val.num_samples), val.labels
    fit = {name: scores for name, scores in kinds.items() if scores is not None and np.isfinite(scores[own]).any()}
    return {name: fit_temperature(scores, val.labels) for name, scores in fit.items()}


def differences(recorded: pd.DataFrame, computed: pd.DataFrame) -> pd.DataFrame:
    """How far each recorded measure is from the computed one: metric, recorded, computed, difference, largest first.

    difference is absolute up to a recorded 1 and relative above; 0 where both are NaN, inf where one is NaN or missing.
    """
    recorded = recorded[["metric", "value"]].assign(value=pd.to_numeric(recorded["value"], errors="coerce"))
    table = recorded.merge(computed[["metric", "value"]], on="metric", how="left", indicator=True)
    a, b = table.pop("value_x"), table.pop("value_y")
    gap = ((a - b).abs() / a.abs().clip(lower=1)).fillna(np.inf)
    gap[(a.isna() & b.isna() & (table.pop("_merge") == "both")) | (a == b)] = 0.0
    table = table.assign(recorded=a, computed=b, difference=gap)
    return table.sort_values("difference", ascending=False, kind="stable", ignore_index=True)


def write_results(run: Run, source: Source, metrics: pd.DataFrame, request: Request, checkpoint: str) -> list[str]:
    """Writes the measures, tables of classes, levels and confusions, curves and the trees into the run's folder.

    Before the extensions stands '-prototype' where the prediction is that of the prototypes, '-best' or '-last' where
    the checkpoint is not that of the run's results, and the weighting with its options, such as '-power-decay=0.2',
    where a file depends on it and it is not the balanced one. Beside evaluation.csv stands evaluation.json: what was
    asked for, what it was computed from, and with which code, as config.json says it of metrics.csv.

    Returns: The names of the files, that of the measures first.
    """
    outputs = source.test
    other = "" if checkpoint == run.result_checkpoint else f"-{Path(checkpoint).stem}"
    weighted = other + weighting_suffix(request)
    outputs = outputs.view(weights=node_weights(outputs.hierarchy, request.weighting, **request.options))
    written = {f"evaluation{weighted}.csv": metrics, **_class_tables(outputs, "", weighted, other)}
    if outputs.prototype_scores is not None:
        written |= _class_tables(outputs.view(scores=outputs.prototype_scores), "-prototype", weighted, other)
    for name, table in written.items():
        run.write_table(name, table)
    made = f"evaluation{weighted}.json"
    run.write_json(made, {"checkpoint": checkpoint, **_asked(request), **provenance()})
    drawn = learned_trees(outputs)
    texts = {f"{name}{other}.nwk": text for name, text in newick_trees(outputs, drawn).items()}
    texts |= {f"trees{other}.txt": "\n".join(f"{name}\n{trees.draw(*drawn[name])}\n" for name in drawn)}
    for name, text in texts.items():
        run.write_text(name, text)
    return [*written, made, *texts]


def _asked(request: Request) -> dict:
    """What the measures depend on beside the checkpoint, for evaluation.json."""
    options = {name: value for name, value in request.options.items() if value is not None}
    arrays = "images" if request.images else "test.pkl"
    asked = {"bootstrap": request.bootstrap, "weighting": request.weighting, **options}
    return {"computed_from": arrays, "options": {**asked, "on_request": list(request.on_request)}}


def weighting_suffix(request: Request) -> str:
    """The weighting and the options given with it, as part of a file's name; empty for the balanced one."""
    if request.weighting == "balanced":
        return ""
    given = [f"{name}={value:g}" for name, value in request.options.items() if value is not None]
    return "-".join(["", request.weighting, *given])


def learned_trees(outputs: Outputs) -> dict[str, tuple[trees.LearnedTree, list[str]]]:
    """Trees of the class vectors and prototypes, `W_upgma`, `W_nj`, `P_upgma`, `P_nj`, each with its items' names."""
    labels, learned = tip_labels(outputs.hierarchy), {}
    for prefix, vectors in vector_sets(outputs):
        kept = np.flatnonzero(present(vectors))
        found = trees.infer_trees(np.asarray(vectors[kept], np.float64), outputs.distance)
        names = [labels[c] for c in kept]
        learned |= {f"{prefix}_{method}": (tree, names) for method, tree in found.items() if tree is not None}
    return learned


def newick_trees(outputs: Outputs, learned: Mapping | None = None) -> dict[str, str]:
    """Newick strings of the `taxonomy` and of the `learned_trees`, which are inferred if not given; equal tip names."""
    tree, labels = outputs.hierarchy, tip_labels(outputs.hierarchy)
    named = Hierarchy.from_paths(tree.class_paths, names=dict(zip(tree.class_paths, labels)))
    newicks = {"taxonomy": to_newick(named, show_names=True)}
    learned = learned_trees(outputs) if learned is None else learned
    return newicks | {name: trees.to_newick(*inferred) + "\n" for name, inferred in learned.items()}


def tip_labels(hierarchy: Hierarchy) -> list[str]:
    """A unique name for each class: the name to show, or its path where another class is called the same."""
    paths = [format_path(path) for path in hierarchy.class_paths]
    count, taken = Counter(hierarchy.class_names), set(paths)
    pairs = zip(hierarchy.class_names, paths)
    return [path if count[name] > 1 or (name in taken and name != path) else name for name, path in pairs]


def _class_tables(outputs: Outputs, kind: str, weighted: str, other: str) -> dict[str, pd.DataFrame]:
    """Tables by file name: the classes with their weighted tree distance, the nodes of the levels, the confusions."""
    classes = flat.per_class(outputs).assign(wtd=superclass.wtd_per_class(outputs))
    tables = {f"per_class{kind}{weighted}.csv": classes, f"per_level{kind}{other}.csv": flat.per_level(outputs)}
    others = {**dict(_confusions(outputs)), **_curves(outputs)}
    return tables | {f"{name}{kind}{other}.csv": table for name, table in others.items()}


def _curves(outputs: Outputs) -> dict[str, pd.DataFrame]:
    """Curves over a threshold by name, see `metrics.curves`; of a longer one 2000 rows, evenly spaced with both ends."""
    found = {f"curve_{value}": curves.operating_curve(outputs, value) for value in VALUES}
    found["risk_coverage"] = curves.risk_coverage(outputs)
    return {name: curves.thinned(curve) for name, curve in found.items()}


def _confusions(outputs: Outputs) -> Iterator[tuple[str, pd.DataFrame]]:
    """How often what is taken for what, without zeros, for each level and for the classes: true, predicted, count."""
    tree = outputs.hierarchy
    for level in (*range(1, tree.max_depth), None):
        nodes, counts = flat.confusion(outputs, level)
        true, predicted = counts.nonzero()
        paths = np.array([format_path(tree.path(v)) for v in nodes], dtype=object)
        table = pd.DataFrame({"true": paths[true], "predicted": paths[predicted], "count": counts[true, predicted]})
        yield "confusion_classes" if level is None else f"confusion_level{level}", table
