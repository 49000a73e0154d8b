"""How unlike the images of a run new ones are, in its embedding."""

import numpy as np

from evaluation.sources import Source
from metrics.novelty import nearest_distances, novelty_p_values


class Novelty:
    """Distances of images to the nearest class, and how seldom validation images are as far: those
    that calibrate, else all of the validation split. See `metrics.novelty`. Of several runs the
    distance is the mean of theirs.

    Args:
        source: The runs, and the classes that can be the answer: the distance is to these, and the
            validation images are of these.

    Attributes: reference (n,): distances of the validation images; empty where the runs have none.
    """

    def __init__(self, source: Source):
        self._prototypes: list[np.ndarray] = []
        self.reference = np.empty(0)
        split = next((name for name in ("calibration", "val") if source.has(name)), None)
        if split is None:
            return
        classes = slice(None) if source.scope is None else source.scope.classes
        total = 0.0
        for run in source.runs:
            arrays = run.arrays_of_classes(split)
            for name in ("files", "embeddings", "prototypes"):
                if arrays.get(name) is None:
                    raise ValueError(
                        f"{run.folder / split}.pkl is damaged: it has no {name!r};"
                        f" {run.way_back(f'{split}.pkl')}"
                    )
            self._prototypes.append(arrays["prototypes"][classes])
            # in the order of names, as several runs need not have one order
            order = np.argsort(np.asarray(arrays["files"]).astype(str), kind="stable")
            inside = order
            if source.scope is not None:
                inside = order[source.scope.labels(arrays["labels"][order]) >= 0]
            total = total + nearest_distances(arrays["embeddings"][inside], self._prototypes[-1])
        self.reference = total / len(source.runs)

    def distances(self, embeddings: np.ndarray) -> np.ndarray:
        """Of embeddings (B, D), those of several runs side by side: (B,); NaN where undefined."""
        if not len(self.reference):
            return np.full(len(embeddings), np.nan)
        widths = np.cumsum([prototypes.shape[1] for prototypes in self._prototypes])[:-1]
        parts = np.split(embeddings, widths, axis=1)
        return sum(map(nearest_distances, parts, self._prototypes)) / len(parts)

    def p_values(self, distances: np.ndarray) -> np.ndarray:
        """See `metrics.novelty.novelty_p_values`."""
        return novelty_p_values(distances, self.reference)
