"""Computes one recorded run again: from its arrays alone, or from its images and checkpoint on any
machine.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

import data
from data.options import SETTLED
from data.recorded import load_recorded
from evaluation.model import load_model
from evaluation.recorded import SplitOutputs
from files.text import printable, some_of
from hierarchies import node_weights
from metrics import Outputs, fit_temperature, suite
from metrics.rule import TARGET_ACCURACY
from runs.folder import Run, RunError
from training.devices import Devices
from training.outputs import compute_outputs
from training.rebuild import rebuilding
from training.scores import read_outputs
from training.setup import hold_model


class ImageSource(NamedTuple):
    """How to embed the images again.

    Attributes:
        places: Where files are on this machine, by the options' names: data_dir, cache_dir,
            hierarchy, split_list. None means the run's own.
        devices: To compute on.
        checkpoint: 'best.pt' or 'last.pt'; None is the one that the run's results come from.
    """

    places: Mapping
    devices: Devices
    checkpoint: str | None = None


class EvaluationOptions(NamedTuple):
    """What is asked of runs.

    Attributes:
        bootstrap: Resamples for 95 % intervals; 0 for none.
        weighting, options: Node weights of the weighted measures, with the weighting's own options.
        on_request: Measures to add, from `metrics.suite.ON_REQUEST`.
        images: How to embed the images again; None takes the arrays that training recorded.
        tolerance: Largest difference from the recorded measures; None is 1e-6, or 0.01 with images.
        wanted: Names or patterns of the measures to print; None for all but those of answers that
            back off.
        tree: Whether to print the tree of the class vectors.
        shuffled: Number of shuffled trees to compare with; 0 for none.
        coarse: Folder of a run on superclasses, to multiply posteriors with; None for none.
        rules, cover, target_accuracy: Decision rules to compare, largest number of nodes of an
            answer of several, and what both are set for.
        worst: Number of the worst answers to print.
    """

    bootstrap: int = 0
    weighting: str = "balanced"
    options: Mapping = {}
    on_request: Sequence[str] = ()
    images: ImageSource | None = None
    tolerance: float | None = None
    wanted: Sequence[str] | None = None
    tree: bool = False
    shuffled: int = 0
    coarse: str | None = None
    rules: tuple[str, ...] = ()
    cover: int = 0
    target_accuracy: float = TARGET_ACCURACY
    worst: int = 0


class _Embedded(Run):
    """A run whose arrays were computed anew instead of read."""

    def __init__(self, run: Run, arrays: Mapping[str, dict[str, np.ndarray]]):
        super().__init__(run.folder)
        self._arrays = arrays

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        return self._arrays[name]


def embed_again(run: Run, images: ImageSource, checkpoint: str) -> SplitOutputs:
    """Rebuilds data and model from the folder and embeds the images once more; the run need not be
    finished.

    Raises: RunError: If the images, their split or their tree are not those of the run; ValueError
    from the data.
    """
    model = load_model(run, checkpoint)
    # a folder to write to and a download are this machine's to choose, whatever the run's
    # config.json says
    recorded = {
        name: value
        for name, value in run.options.items()
        if name not in ("data_dir", "cache_dir", "download")
    }
    places = {name: place for name, place in images.places.items() if place is not None}
    splits = _load(run, {**recorded, **places, **SETTLED})
    for what, found in (("hierarchy", splits.hierarchy.digest), ("split", splits.digest)):
        if found != run.config.get(what):
            raise RunError(
                f"the {what} made from these images is not the one of {run.folder}; is --data_dir"
                " right?"
            )
    _warn_of_other_images(run, splits)
    batch_size = run.options.get("batch_size")
    if not isinstance(batch_size, int) or batch_size < 1:
        raise RunError(
            f"{run.folder / 'config.json'} is damaged: option 'batch_size' is {batch_size!r}, not"
            " the number of images in a batch"
        )
    training = hold_model(model, rebuilding(run.options), images.devices)
    names = ("test", "val") if len(splits.val) else ("test",)  # calibration is for predict.py
    embedded = _Embedded(run, compute_outputs(training, splits, names))
    return SplitOutputs(
        read_outputs(embedded, "test"), read_outputs(embedded, "val") if len(splits.val) else None
    )


def _load(run: Run, options: Mapping) -> data.Splits:
    """The images of a run. Raises: RunError: If its options are none that training writes;
    ValueError, OSError from the data.
    """
    try:
        return load_recorded(data.load, options, run.hierarchy, run.config.get("split"))
    except (ValueError, OSError):
        raise
    except Exception as error:  # odd options of a config.json from elsewhere raise almost anything
        raise RunError(
            f"the images cannot be loaded with the options in {run.folder / 'config.json'}"
            f" ({type(error).__name__}: {error}); was it changed?"
        ) from error


def _warn_of_other_images(run: Run, splits: data.Splits) -> None:
    """Says on stderr which images are not those that the run was made with; other versions of
    Pillow may read the same files a little differently.
    """
    changed = run.changed_images(splits.files, splits.content_by, splits.digest_by)
    if changed:
        print(
            f"warning: the content of {len(changed)} of {len(splits.files)} images is not that"
            f" which {run.folder} was trained and tested on: {some_of(changed, 5, printable)};"
            " they were replaced, or Pillow reads them differently here",
            file=sys.stderr,
        )


def measure(source: SplitOutputs, request: EvaluationOptions) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The measures of the test split as asked for, and as training computes them; one table where
    that is the same.

    With a validation split, its temperatures give the `calibrated/` and `prototype/calibrated/`
    measures beside the
    others: scores of class vectors and of prototypes have scales of their own.
    """
    options = {
        "bootstrap": request.bootstrap,
        "on_request": request.on_request,
        **temperatures(source.val),
    }
    shown = {**options, "hie_scores": source.amended}
    plain = request.weighting == "balanced" and source.amended is None
    if not plain:
        weights = node_weights(source.test.hierarchy, request.weighting, **request.options)
        shown["weighting"] = weights
    table = suite.evaluate(source.test, **shown)
    return table, table if plain else suite.evaluate(source.test, **options)


def temperatures(val: Outputs | None) -> dict[str, float]:
    """The temperatures that `suite.evaluate` takes, of the scores by which the true class of any
    image has one.
    """
    if val is None:
        return {}
    kinds = {"temperature": val.scores, "prototype_temperature": val.prototype_scores}
    own = np.arange(val.num_samples), val.labels
    fit = {
        name: scores
        for name, scores in kinds.items()
        if scores is not None and np.isfinite(scores[own]).any()
    }
    return {name: fit_temperature(scores, val.labels) for name, scores in fit.items()}


def differences(recorded: pd.DataFrame, computed: pd.DataFrame) -> pd.DataFrame:
    """How far each recorded measure is from the computed one: metric, recorded, computed,
    difference, largest first.

    difference is absolute up to a recorded 1 and relative above; 0 where neither has a value, inf
    where one has none.
    """
    recorded = recorded[["metric", "value"]].assign(
        value=pd.to_numeric(recorded["value"], errors="coerce")
    )
    table = recorded.merge(computed[["metric", "value"]], on="metric", how="left")
    a, b = table.pop("value_x"), table.pop("value_y")
    gap = ((a - b).abs() / a.abs().clip(lower=1)).fillna(np.inf)
    gap[(a.isna() & b.isna()) | (a == b)] = 0.0
    table = table.assign(recorded=a, computed=b, difference=gap)
    return table.sort_values("difference", ascending=False, kind="stable", ignore_index=True)
