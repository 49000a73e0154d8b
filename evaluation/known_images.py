"""Which of some images a run was trained, validated or tested on."""

import os
from collections.abc import Mapping, Sequence

import numpy as np

from files.fingerprints import FILES, file_fingerprint, is_of_pixels
from runs.folder import Run

# of images with copies in several splits the first counts
SPLITS = ("train", "val", "calibration", "test", "held_out", "unused")


class KnownImages:
    """The images of a run, known by the fingerprint of their content; in runs of earlier versions,
    which have none, by their path in the folder that the run names.

    Args:
        run: A run; of one without a split.csv, or with hashes of a later version, nothing is known.
        only: Of which splits its images are known.

    Attributes: hashes, the fingerprints of pixels that `splits` asks for, of
    `files.fingerprints.HASHES`.
    """

    def __init__(self, run: Run, only: Sequence[str] = SPLITS):
        self._of = run.fingerprints_of
        self.hashes = (self._of,) if is_of_pixels(self._of) else ()
        self._root = None if run.images_in is None else os.path.realpath(run.images_in)
        table = run.split if (run.folder / "split.csv").is_file() else None
        key = "file" if self._of is None else "fingerprint"
        self._splits = {}
        usable = self.hashes or self._of in (None, FILES)
        if usable and table is not None and {key, "split"} <= set(table.columns):
            keys, splits = table[key].astype(str), table["split"]
            for name in reversed(only):
                self._splits |= dict.fromkeys(keys[splits == name], name)

    def splits(self, files: Sequence[str], fingerprints: Mapping[str, np.ndarray]) -> np.ndarray:
        """Name of the split of each image, (B,) of str; '' where the run does not know it.

        Args:
            files: Paths of the B images.
            fingerprints: (B,) uint64 by each of `hashes`, of their pixels as the run reads them.
        """
        if not self._splits:
            return np.full(len(files), "", dtype=object)
        if self._of is None:
            keys = [self._relative(file) for file in files]
        elif self._of == FILES:
            keys = [f"{file_fingerprint(file):016x}" for file in files]
        else:
            keys = [f"{value:016x}" for value in map(int, fingerprints[self._of])]
        return np.array([self._splits.get(key, "") for key in keys], dtype=object)

    def _relative(self, file: str) -> str:
        path = os.path.realpath(file)
        if self._root is None or not path.startswith(self._root + os.sep):
            return ""
        return os.path.relpath(path, self._root).replace(os.sep, "/")


class KnownToAny:
    """The images of several runs: of the splits that they have an image in, the first of SPLITS
    counts, so that an image that trained any of them is in 'train'.

    Args:
        runs: One or more.
        earlier: Runs that their weights come from: what these were trained on, they were, too.

    Attributes: hashes, see `KnownImages`.
    """

    def __init__(self, runs: Sequence[Run], earlier: Sequence[Run] = ()):
        self._known = [KnownImages(run) for run in runs]
        self._known += [KnownImages(run, ("train",)) for run in earlier]
        self.hashes = tuple({of: None for known in self._known for of in known.hashes})

    def splits(self, files: Sequence[str], fingerprints: Mapping[str, np.ndarray]) -> np.ndarray:
        """As `KnownImages.splits`."""
        order = [*SPLITS, ""]
        found = [known.splits(files, fingerprints) for known in self._known]
        return np.array([min(names, key=order.index) for names in zip(*found)], dtype=object)
