"""Several runs on the same classes as one: the mean of their posteriors, each calibrated first."""

from collections.abc import Sequence

import numpy as np

from files.text import printable
from metrics.posterior import row_blocks, softmax
from runs.folder import Run


def mean_scores(scores: Sequence[np.ndarray], temperatures: Sequence[float]) -> np.ndarray:
    """Log of the mean over runs of softmax(scores / temperature), (S, C) float32; -inf where all
    are 0.

    Args:
        scores: (S, C) of each run, on the same images and classes.
        temperatures: Of each.

    Source: Lakshminarayanan et al. 2017 for the mean of posteriors.
    """
    found = np.empty(scores[0].shape, np.float32)
    for rows in row_blocks(*found.shape):
        total = sum(softmax(s[rows] / np.float32(t)) for s, t in zip(scores, temperatures))
        with np.errstate(divide="ignore"):
            found[rows] = np.log(total / len(scores))
    return found


def check_same_classes(runs: Sequence[Run]) -> None:
    """Raises: ValueError: If the trees differ, with what is in one only."""
    first = runs[0]
    for other in runs[1:]:
        if other.hierarchy == first.hierarchy:
            continue
        own, others = set(first.hierarchy.class_paths), set(other.hierarchy.class_paths)
        what = "the same classes in another order"
        for here, run in ((own - others, first), (others - own, other)):
            if here:
                what = f"the class {printable('/'.join(min(here)))!r} is only in {run.folder}"
                what += f", and {len(own ^ others)} classes are in one of both"
                break
        raise ValueError(
            f"{first.folder} and {other.folder} cannot be averaged, as their classes differ: {what}"
        )


def same_images(runs: Sequence[Run], split: str) -> bool:
    """Whether all runs have recorded the same images of a split."""
    if not all((run.folder / f"{split}.pkl").is_file() for run in runs):
        return False
    files = [sorted(map(str, run.arrays_of_classes(split)["files"])) for run in runs]
    return all(other == files[0] for other in files[1:])


def order_like(first: Run, other: Run, split: str) -> np.ndarray:
    """Rows of a split of the other run in the order of the first, see `same_images`."""
    place = {str(file): row for row, file in enumerate(other.arrays_of_classes(split)["files"])}
    return np.array([place[str(file)] for file in first.arrays_of_classes(split)["files"]])
