"""Runs trained for tests: a small network on a folder of images, through the command line."""

from os import PathLike

import train
from options import command_line
from runs.folder import Run
from training import start


def train_small(images: str | PathLike, record: str | PathLike, *argv: str) -> tuple[int, Run]:
    """Calls train.py's main; an epoch where `argv` does not say how many. Returns its exit status
    and the run.
    """
    argv = [
        *("--dataset", "folder", "--data_dir", str(images), "--record", str(record)),
        *("--GPU", "cpu", "--resize", "16", "--backbone", "conv4", *argv),
    ]
    argv = argv if "--epochs" in argv else [*argv, "--epochs", "1"]
    status = start.main("", train.DATASETS, argv)
    return status, Run(command_line.parse(argv, "", train.DATASETS)[2])
