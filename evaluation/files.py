"""Writes what a run was measured to be into its folder."""

import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from evaluation.measure import EvaluationOptions
from evaluation.recorded import SplitOutputs
from hierarchies import Hierarchy, node_weights, to_newick
from hierarchies.tree import format_path
from metrics import Outputs, coarse_images, curves, flat, per_image, superclass, trees
from metrics.nodes import VALUES
from metrics.outputs import SAMPLE
from metrics.vectors import present, vector_sets
from runs.folder import Run
from runs.provenance import provenance


def write_results(
    run: Run,
    source: SplitOutputs,
    metrics: pd.DataFrame,
    request: EvaluationOptions,
    checkpoint: str,
) -> list[str]:
    """Writes the measures, tables of classes, levels, images and confusions, curves and the trees
    into the run's folder.

    Before the extensions stands '-prototype' where the prediction is that of the prototypes,
    '-best' or '-last' where the checkpoint is not that of the run's results, and the weighting with
    its options, such as '-power-decay=0.2', where a file depends on it and it is not the balanced
    one. Beside evaluation.csv stands evaluation.json: what was asked for, what it was computed
    from, and with which code, as config.json says it of metrics.csv.

    Returns: The names of the files, that of the measures first.
    """
    outputs = source.test
    other = _checkpoint_suffix(run, checkpoint)
    weighted = suffix(run, request, checkpoint)
    outputs = outputs.view(
        weights=node_weights(outputs.hierarchy, request.weighting, **request.options)
    )
    written = {f"evaluation{weighted}.csv": metrics, **_class_tables(outputs, "", weighted, other)}
    if outputs.prototype_scores is not None:
        written |= _class_tables(
            outputs.view(scores=outputs.prototype_scores), "-prototype", weighted, other
        )
    if outputs.clusters is not None:
        written[f"per_group{other}.csv"] = flat.per_group(outputs)
    for name, table in written.items():
        run.write_table_for_people(name, table)
    made = f"evaluation{weighted}.json"
    run.write_json(made, {"checkpoint": checkpoint, **_asked(request), **provenance()})
    texts = tree_texts(outputs, other)
    for name, text in texts.items():
        run.write_text(name, text)
    return [*written, made, *texts]


def suffix(run: Run, request: EvaluationOptions, checkpoint: str) -> str:
    """What stands before the extension of a file that depends on the weighting."""
    return _checkpoint_suffix(run, checkpoint) + weighting_suffix(request)


def _checkpoint_suffix(run: Run, checkpoint: str) -> str:
    return "" if checkpoint == run.result_checkpoint else f"-{Path(checkpoint).stem}"


def _asked(request: EvaluationOptions) -> dict:
    """What the measures depend on beside the checkpoint, for evaluation.json."""
    options = {name: value for name, value in request.options.items() if value is not None}
    arrays = "images" if request.images else "test.pkl"
    asked = {"bootstrap": request.bootstrap, "weighting": request.weighting, **options}
    if request.coarse is not None:
        asked["coarse"] = request.coarse
    return {"computed_from": arrays, "options": {**asked, "on_request": list(request.on_request)}}


def weighting_suffix(request: EvaluationOptions) -> str:
    """The weighting and the options given with it, as part of a file's name; empty for the balanced
    one.
    """
    if request.weighting == "balanced":
        return ""
    given = [f"{name}={value:g}" for name, value in request.options.items() if value is not None]
    return "-".join(["", request.weighting, *given])


def learned_trees(outputs: Outputs) -> dict[str, tuple[trees.LearnedTree, list[str]]]:
    """Trees of the class vectors and prototypes, `W_upgma`, `W_nj`, `P_upgma`, `P_nj`, each with
    its items' names; of more than 2,000 classes `W_of_2000_upgma` ... of so many drawn at random.
    """
    every, outputs = outputs.hierarchy.num_classes, outputs.sample(SAMPLE)
    labels, learned = tip_labels(outputs.hierarchy), {}
    drawn = "" if outputs.hierarchy.num_classes == every else f"_of_{SAMPLE}"
    for prefix, vectors in vector_sets(outputs):
        kept = np.flatnonzero(present(vectors))
        found = trees.infer_trees(np.asarray(vectors[kept], np.float64), outputs.distance)
        names = [labels[c] for c in kept]
        learned |= {
            f"{prefix}{drawn}_{method}": (tree, names)
            for method, tree in found.items()
            if tree is not None
        }
    return learned


def tree_texts(outputs: Outputs, other: str = "") -> dict[str, str]:
    """Texts by file name: the taxonomy and the `learned_trees` in Newick, with equal tip names, and
    the latter drawn, where there are any.

    Args:
        other: What stands before the extensions.
    """
    tree, labels = outputs.hierarchy, tip_labels(outputs.hierarchy)
    named = Hierarchy.from_paths(tree.class_paths, names=dict(zip(tree.class_paths, labels)))
    drawn = learned_trees(outputs)
    texts = {f"taxonomy{other}.nwk": to_newick(named, show_names=True)}
    for name, learned in drawn.items():
        texts[f"{name}{other}.nwk"] = trees.to_newick(*learned) + "\n"
    if not drawn:
        return texts
    lines = "\n".join(f"{name}\n{trees.draw(*drawn[name])}\n" for name in drawn)
    return texts | {f"trees{other}.txt": lines}


def tip_labels(hierarchy: Hierarchy) -> list[str]:
    """A unique name for each class: the name to show, or its path where another class is called the
    same.
    """
    paths = [format_path(path) for path in hierarchy.class_paths]
    count, taken = Counter(hierarchy.class_names), set(paths)
    pairs = zip(hierarchy.class_names, paths)
    return [
        path if count[name] > 1 or (name in taken and name != path) else name
        for name, path in pairs
    ]


def _class_tables(
    outputs: Outputs, kind: str, weighted: str, other: str
) -> dict[str, pd.DataFrame]:
    """Tables by file name: the classes with their weighted tree distance, the nodes of the levels,
    the images, the confusions.
    """
    outputs.read_together(
        itertools.chain(*curves.READS.values(), superclass.READS["wtd"], per_image.READS)
    )
    classes = flat.per_class(outputs).assign(wtd=superclass.wtd_per_class(outputs))
    if outputs.train_counts is not None:
        classes["n_train"] = outputs.train_counts
    if outputs.coarse is not None and not kind:
        classes = pd.concat([classes, coarse_images.per_label(outputs)], ignore_index=True)
    tables = {
        f"per_class{kind}{weighted}.csv": classes,
        f"per_level{kind}{other}.csv": flat.per_level(outputs),
        f"predictions_test{kind}{other}.csv": per_image.per_image(outputs),
    }
    others = {**dict(_confusions(outputs)), **_curves(outputs)}
    return tables | {f"{name}{kind}{other}.csv": table for name, table in others.items()}


def _curves(outputs: Outputs) -> dict[str, pd.DataFrame]:
    """Curves over a threshold by name, see `metrics.curves`; of a longer one 2000 rows, evenly
    spaced with both ends.
    """
    found = {f"curve_{value}": curves.operating_curve(outputs, value) for value in VALUES}
    found["risk_coverage"] = curves.risk_coverage(outputs)
    return {name: curves.thinned(curve) for name, curve in found.items()}


def _confusions(outputs: Outputs) -> Iterator[tuple[str, pd.DataFrame]]:
    """How often what is taken for what, without zeros, for each level and for the classes: true,
    predicted, count.
    """
    tree = outputs.hierarchy
    for level in (*range(1, tree.max_depth), None):
        nodes, true, predicted, counts = flat.confused(outputs, level)
        paths = np.array([format_path(tree.path(v)) for v in nodes], dtype=object)
        table = pd.DataFrame({"true": paths[true], "predicted": paths[predicted], "count": counts})
        yield "confusion_classes" if level is None else f"confusion_level{level}", table
