"""How many images of each taxon the samples among new images hold, corrected and with intervals."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from data.progress import progress
from evaluation.decision import Decision
from evaluation.sources import Source
from files.text import encoded, for_people
from hierarchies import Hierarchy
from hierarchies.naming import taxon_paths
from metrics.posterior import softmax
from metrics.quantification import (
    COLUMNS,
    Validation,
    confusion_rates,
    count_nodes,
    undetermined,
)


def counting_images(source: Source, decision: Decision) -> Validation:
    """The validation images that counts are corrected by, those that calibrate among them.

    Raises: ValueError: If there are none.
    """
    names = [name for name in ("val", "calibration") if source.has(name)]
    splits = [source.split(name) for name in names]
    if not sum(len(labels) for _, labels in splits):
        of = " of these classes" if source.scope is not None else ""
        runs = ", ".join(str(run.folder) for run in source.runs)
        raise ValueError(
            f"--counts corrects by validation images{of}, and {runs} has none: train with --use_val"
            + (" and one split for all runs (--split_seed)" if source.others else "")
        )
    labels = np.concatenate([labels for _, labels in splits])
    posterior = np.concatenate(
        [_posterior(source, scores, labels, decision.temperature) for scores, labels in splits]
    )
    groups = labels if source.scope is None else source.scope.groups[labels]
    return Validation(groups, posterior)


def _posterior(source: Source, scores, labels, temperature: float) -> np.ndarray:
    return softmax(source.calibrated(scores, labels, temperature)[0])


def count_samples(
    tree: Hierarchy, posterior: np.ndarray, samples: Sequence[str], validation: Validation
) -> pd.DataFrame:
    """A row for each taxon of each sample, samples in the order of their names.

    Columns: sample; taxon (its path), name, depth (in edges below the root); images, those of the
    sample that could be read; and those of `metrics.quantification.count_nodes`.
    """
    names, place = np.unique(np.asarray(samples, dtype=object).astype(str), return_inverse=True)
    frames, paths = [], taxon_paths(tree)
    unknown = undetermined(tree, confusion_rates(validation.confusion))  # the same for all
    for number in progress(range(len(names)), desc="Counting", unit="sample"):
        own = posterior[place == number]
        frame = count_nodes(tree, own, validation, unknown=unknown)
        frame.insert(0, "sample", names[number])
        frame.insert(1, "taxon", paths)
        frame.insert(2, "name", tree.names)
        frame.insert(3, "depth", tree.depth)
        frame.insert(4, "images", len(own))
        frames.append(frame)
    if not frames:
        return pd.DataFrame(columns=["sample", "taxon", "name", "depth", "images", *COLUMNS])
    return pd.concat(frames, ignore_index=True)


def write_counts(path: Path, table: pd.DataFrame, separator: str = ",") -> None:
    """Writes the table of `count_samples`; counts to a ten-thousandth of an image."""
    counts = table.columns.intersection(COLUMNS)
    text = for_people(table.assign(**table[counts].round(4))).to_csv(
        index=False, float_format="%.6g", lineterminator="\n", sep=separator
    )
    path.write_bytes(encoded(text))
