"""Where frozen trunks lie that several runs share: in a folder `trunks` beside or above them."""

import os
from pathlib import Path

FOLDER = "trunks"
DEPTH = 3  # folders from a run up to its record: <record>/<dataset>/<method and options>/seed<k>


def shared_place(run: str | os.PathLike, digest: str) -> Path:
    """The file of a trunk for the runs of a record, of one of which the folder is given."""
    above = [Path(run), *Path(os.path.abspath(run)).parents]
    return above[min(DEPTH, len(above) - 1)] / FOLDER / f"{digest}.pt"


def find_trunk(folder: str | os.PathLike, digest: str) -> Path | None:
    """The file of a trunk in a run's folder, as packed ones have it, or above it; None where there
    is none.
    """
    above = [Path(folder), *Path(os.path.abspath(folder)).parents][: DEPTH + 1]
    files = (place / FOLDER / f"{digest}.pt" for place in above)
    return next((file for file in files if file.is_file()), None)
