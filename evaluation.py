"""One recorded run evaluated again: from its arrays alone, or from its images and checkpoint on any machine."""

import os
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

import aggregation
import data
import engine
import tables
from devices import Devices
from hierarchies import Hierarchy, node_weights, to_newick
from hierarchies.tree import format_path
from losses.penalties import PENALTIES
from metrics import Outputs, catalogue, fit_temperature, flat, suite, superclass, trees
from metrics.vectors import present, vector_sets
from recording import Run, RunError

# every weight comes from the checkpoint: nothing is needed of what training started from or was held to
NO_START = {"rand_backbone": True, "weights": None, "freeze": "none", **dict.fromkeys(PENALTIES, 0.0)}


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


def evaluate_run(folder: Path, request: Request) -> bool | None:
    """Measures one run, prints the result and writes it into the run's folder.

    Returns: Whether the measures are as recorded, True where there is nothing to compare with; None, after a message,
    if the run cannot be read or written.
    """
    run = Run(folder)
    try:
        print(f"{run.folder}: {run.options.get('dataset')}, seed {run.options.get('seed')}")
        if request.images is None and not run.finished:
            advice = "go on with --resume, or evaluate its checkpoint with --data_dir"
            print(f"unfinished: {aggregation.progress(run)}; {advice}\n")
            return True
        return _evaluate(run, request)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
    return None


def _evaluate(run: Run, request: Request) -> bool:
    if "result_checkpoint" not in run.config:
        raise RunError(f"{run.folder / 'config.json'} is damaged: it has no 'result_checkpoint'")
    images = request.images
    checkpoint = (images.checkpoint if images else None) or run.result_checkpoint
    source = embed_again(run, images, checkpoint) if images else read_source(run)
    shown, plain = measure(source, request)
    print_measures(shown, request.wanted)
    if request.tree:
        print(f"UPGMA tree of the class vectors\n{draw_tree(source.test)}\n")
    is_result = checkpoint == run.result_checkpoint
    names = write_results(run, source, shown, "" if is_result else f"-{Path(checkpoint).stem}")
    print(f"wrote {names[0]} and {len(names) - 1} more files into {run.folder}")
    if run.finished and is_result:
        return report(run, plain, request.tolerance if request.tolerance is not None else 0.01 if images else 1e-6)
    print(f"these are the measures of {checkpoint}; there are no recorded ones to compare with\n")
    return True


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
    splits = data.load({**run.options, **{name: place for name, place in images.places.items() if place is not None}})
    for what, found in (("hierarchy", splits.hierarchy.digest), ("split", splits.digest)):
        if found != run.config.get(what):
            raise RunError(f"the {what} made from these images is not the one of {run.folder}; is --data_dir right?")
    options = defaultdict(lambda: None, {**run.options, **NO_START})  # what an old run did not know is off
    training = engine.assemble(options, splits, images.devices)
    try:
        training.model.load_state_dict(state)
    except RuntimeError as error:
        raise RunError(f"{run.folder / checkpoint} does not fit the model of config.json: {error}") from error
    names = ("test", "val") if len(splits.val) else ("test",)
    embedded = _Embedded(run, engine.collect(training, splits, names))
    return Source(embedded.outputs("test"), embedded.outputs("val") if len(splits.val) else None)


def measure(source: Source, request: Request) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The measures of the test split as asked for, and as training computes them; one table where that is the same.

    With a validation split, its temperature gives the `calibrated/` measures beside the others.
    """
    temperature = fit_temperature(source.val.scores, source.val.labels) if source.val is not None else None
    options = {"bootstrap": request.bootstrap, "temperature": temperature, "on_request": request.on_request}
    weights = node_weights(source.test.hierarchy, request.weighting, **request.options)
    if request.weighting == "balanced":
        table = suite.evaluate(source.test, **options)
        return table, table
    return suite.evaluate(source.test, weighting=weights, **options), suite.evaluate(source.test)


def print_measures(metrics: pd.DataFrame, wanted: Sequence[str] | None) -> None:
    """Prints tables of measures, a section each."""
    names = tables.select_metrics(wanted, metrics["metric"]) if wanted else None
    if names is None:
        names = [name for name in metrics["metric"] if not catalogue.place(name)[0].startswith(catalogue.BACKING_OFF)]
    for table in tables.run_tables(metrics[metrics["metric"].isin(names)]):
        print(tables.terminal(table), end="\n\n")
    if len(names) < len(metrics):
        print(f"{len(metrics) - len(names)} more measures; --metrics prints others, such as 'majority/*'")


def report(run: Run, computed: pd.DataFrame, tolerance: float) -> bool:
    """Says whether the computed measures are those in metrics.csv, and which are not; returns whether they are."""
    table = differences(run.metrics, computed)
    wrong = table[table["difference"] > tolerance]
    largest = table["difference"].max()
    if wrong.empty:
        print(f"reproduces metrics.csv: largest difference {largest:.3g} over {len(table)} measures\n")
        return True
    print(f"does not reproduce metrics.csv: {len(wrong)} of {len(table)} measures differ by more than {tolerance:g}")
    for row in wrong.head(20).itertuples():
        print(f"  {row.metric}: recorded {row.recorded:.10g}, now {row.computed:.10g}")
    print(f"  and {len(wrong) - 20} more\n" if len(wrong) > 20 else "")
    return False


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


def write_results(run: Run, source: Source, metrics: pd.DataFrame, suffix: str = "") -> list[str]:
    """Writes evaluation.csv, per_class.csv, per_level.csv, confusions and trees into the run's folder.

    Args:
        suffix: Goes before the extensions, where the results are not those of the run's own checkpoint.

    Returns: The names of the files.
    """
    outputs = source.test
    written = {"evaluation": metrics, "per_class": _per_class(outputs), "per_level": flat.per_level(outputs)}
    written |= dict(_confusions(outputs))
    for name, table in written.items():
        run.write_table(f"{name}{suffix}.csv", table)
    newicks = newick_trees(outputs)
    for name, text in newicks.items():
        run.write_text(f"{name}{suffix}.nwk", text)
    return [*(f"{name}{suffix}.csv" for name in written), *(f"{name}{suffix}.nwk" for name in newicks)]


def newick_trees(outputs: Outputs) -> dict[str, str]:
    """Newick strings: `taxonomy`, and `W_upgma`, `W_nj`, `P_upgma`, `P_nj` with the same tip names.

    See `tip_labels`.
    """
    tree, labels = outputs.hierarchy, tip_labels(outputs.hierarchy)
    named = Hierarchy.from_paths(tree.class_paths, names=dict(zip(tree.class_paths, labels)))
    newicks = {"taxonomy": to_newick(named, show_names=True)}
    for prefix, vectors in vector_sets(outputs):
        for method, text in trees.learned_trees(vectors, labels, outputs.distance).items():
            if text is not None:
                newicks[f"{prefix}_{method}"] = text + "\n"
    return newicks


def draw_tree(outputs: Outputs) -> str:
    """The UPGMA tree of the class vectors as text, one node a line."""
    kept = np.flatnonzero(present(outputs.class_vectors))
    labels = tip_labels(outputs.hierarchy)
    learned = trees.infer_trees(np.asarray(outputs.class_vectors[kept], np.float64), outputs.distance)["upgma"]
    return trees.draw(learned, [labels[c] for c in kept])


def tip_labels(hierarchy: Hierarchy) -> list[str]:
    """A unique name for each class: the name to show, or its path where another class is called the same."""
    paths = [format_path(path) for path in hierarchy.class_paths]
    count, taken = Counter(hierarchy.class_names), set(paths)
    pairs = zip(hierarchy.class_names, paths)
    return [path if count[name] > 1 or (name in taken and name != path) else name for name, path in pairs]


def _per_class(outputs: Outputs) -> pd.DataFrame:
    return flat.per_class(outputs).assign(wtd=superclass.wtd_per_class(outputs))


def _confusions(outputs: Outputs) -> Iterator[tuple[str, pd.DataFrame]]:
    """How often what is taken for what, without zeros, for each level and for the classes: true, predicted, count."""
    tree = outputs.hierarchy
    for level in (*range(1, tree.max_depth), None):
        nodes, counts = flat.confusion(outputs, level)
        true, predicted = counts.nonzero()
        paths = np.array([format_path(tree.path(v)) for v in nodes], dtype=object)
        table = pd.DataFrame({"true": paths[true], "predicted": paths[predicted], "count": counts[true, predicted]})
        yield "confusion_classes" if level is None else f"confusion_level{level}", table
