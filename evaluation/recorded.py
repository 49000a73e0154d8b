"""What training recorded of a run's splits. Nothing here waits for torch, unless scores have to be
computed again.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from metrics.outputs import Outputs
from runs import records
from runs.folder import Run
from training.scores import read_outputs


class SplitOutputs(NamedTuple):
    """What a run's measures are computed from.

    Attributes:
        test: Of the test split.
        val: Of the validation split, or None.
        amended: (S, C) scores of the test split amended by a coarse run, or None.
    """

    test: Outputs
    val: Outputs | None
    amended: np.ndarray | None = None


def find_folders(named: Iterable[str | os.PathLike]) -> list[Path]:
    """The runs at or below the folders named, each once; a folder without any stays, to be refused
    by name.
    """
    return list(
        dict.fromkeys(
            folder for path in named for folder in records.run_folders(path) or [Path(path)]
        )
    )


def read_source(run: Run) -> SplitOutputs:
    """What training recorded in test.pkl and val.pkl. Raises: RunError."""
    run.check_tree()
    return SplitOutputs(
        read_outputs(run, "test"),
        read_outputs(run, "val") if (run.folder / "val.pkl").is_file() else None,
    )
