"""What every training script calls: the command line, then one experiment."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import data
import startup
from options import command_line
from training.shared import Shared


def main(
    description: str,
    datasets: Mapping[str, Mapping],
    argv: Sequence[str] | None = None,
    shared: Shared | None = None,
) -> int:
    """A training script: its description, the datasets it offers with their defaults; returns the
    exit status. `shared` is what the runs before this one in this process have read.
    """
    startup.set_up_streams()
    options, machine, folder = command_line.parse(argv, description, datasets)
    try:
        _check_folder(options, machine)
        # what trains and measures takes seconds to import, which a slip need not wait for
        from training import experiment

        return experiment.run_to_status(options, machine, folder, shared)
    except (ValueError, OSError) as error:
        startup.complain(f"error: {error}")
        return 2


def _check_folder(options: Mapping, machine: Mapping) -> None:
    """Raises: ValueError: If the images are in no folder; the demo draws its own."""
    folder, usual = machine["data_dir"], data.defaults(options["dataset"]).get("data_dir")
    if folder is None or usual is not None or machine["download"]:
        return
    if not Path(folder).is_dir():
        raise ValueError(f"--data_dir {folder}: there is no such folder")
