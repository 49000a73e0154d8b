"""A copy of a run that can be carried away: its own files, and beside them the trunk that it shares
with others of its record.
"""

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from files.trunks import FOLDER, find_trunk
from runs.files import ARRAYS, CHECKSUMS, RunError
from runs.folder import Run

TABLES = ("config.json", "hierarchy.json", "split.csv", "epochs.csv", "metrics.csv", CHECKSUMS)


def pack_runs(folders: Sequence[str]) -> int:
    """Packs every run that is named, whatever happens to the others; returns 0, or 2 if one could
    not be packed.
    """
    status = 0
    for folder in folders:
        run = Run(folder)
        try:
            out = Path(packed_name(run))
            pack(run, out)
            print(f"packed {run.folder}: python predict.py {out} IMAGES works wherever it is put")
        except (ValueError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            status = 2
    return status


def packed_name(run: Run) -> str:
    """<dataset>-<method and options>-seed<k>, the last folders of the run's own path."""
    return "-".join(Path(os.path.abspath(run.folder)).parts[-3:])


def pack(run: Run, folder: str | os.PathLike) -> None:
    """Copies what evaluating and predicting with a run needs into a new folder: all but what only
    going on with its training takes.

    Raises: RunError: If the run's checkpoint, or its trunk, is missing or damaged, or the folder is
    there or cannot be written.
    """
    folder, checkpoint = Path(folder), run.result_checkpoint
    trunk = run.checkpoint(checkpoint).get("trunk")  # which also checks all that is read of it
    if folder.exists():
        raise RunError(f"{folder} is there already: move it away, or pack in another folder")
    try:
        folder.mkdir(parents=True)
        for name in (checkpoint, *TABLES, *(f"{name}.pkl" for name in ARRAYS), "log.txt"):
            if (run.folder / name).is_file():
                shutil.copyfile(run.folder / name, folder / name)
        if trunk is not None:
            (folder / FOLDER).mkdir()
            shutil.copyfile(find_trunk(run.folder, trunk), folder / FOLDER / f"{trunk}.pt")
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise RunError(f"{folder} cannot be written: {error.strerror or error}") from error
