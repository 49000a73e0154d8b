"""A run amended by a coarser one, trained on superclasses of its classes (HiE)."""

import numpy as np

from files.text import printable
from metrics.amended import coarse_classes, hie
from metrics.posterior import row_blocks, softmax
from runs.folder import Run, RunError
from training.scores import read_outputs


def amended_scores(fine: Run, coarse: Run, split: str = "test") -> np.ndarray:
    """Log of the product of both posteriors, normalised, for the images of a split of the fine
    run: (S, C) float32.

    Args:
        fine: A finished run.
        coarse: A finished run on the same images whose classes are superclasses of the fine one's
            (--label_depth), or classes where these are as shallow.
        split: Of the fine run; its images are looked up in the same split of the coarse one.

    Raises: RunError: If an image or the split is missing in the coarse run; ValueError: If the
    trees do not belong together.
    Source: Jain, Karthik & Gandhi 2023.
    """
    try:
        above = coarse_classes(fine.hierarchy, coarse.hierarchy)
    except ValueError as error:
        raise ValueError(f"{coarse.folder}: {error} (train it with --label_depth)") from None
    if coarse.hierarchy.num_classes == fine.hierarchy.num_classes:
        raise RunError(
            f"{coarse.folder} has the classes of {fine.folder} and no superclasses: train one with"
            " --label_depth, or average both, predict.py RUN1 RUN2"
        )
    own, other = fine.arrays_of_classes(split), coarse.arrays(split)
    if "scores" not in other:
        other = coarse.arrays_of_classes(split)
    place = {file: row for row, file in enumerate(other["files"])}
    missing = [file for file in own["files"] if file not in place]
    if missing:
        raise RunError(
            f"{len(missing)} of the {len(own['files'])} {split} images of {fine.folder} are not"
            f" {split} images of {coarse.folder}, such as {printable(str(missing[0]))}: both runs"
            " must have been trained on one split (the same --split and --split_seed)"
        )
    rows = np.array([place[file] for file in own["files"]], np.int64)
    of_fine, of_coarse = (
        arrays["scores"] if "scores" in arrays else read_outputs(run, split).scores
        for run, arrays in ((fine, own), (coarse, other))
    )
    scores = np.empty(of_fine.shape, np.float32)
    for part in row_blocks(*scores.shape):
        scores[part] = combine(of_fine[part], of_coarse[rows[part]], above)
    return scores


def combine(fine: np.ndarray, coarse: np.ndarray, above: np.ndarray) -> np.ndarray:
    """Scores (S, C) of the product of two posteriors, -inf where it is 0.

    Args:
        fine, coarse: Scores (S, C) and (S, K).
        above: (C,) superclass of each class, see `metrics.amended.coarse_classes`.
    """
    with np.errstate(divide="ignore"):
        return np.log(hie(softmax(fine), softmax(coarse), above))
