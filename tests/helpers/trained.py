"""Runs trained for tests: a small network on a folder of images, through the command line; and
images to ask them about.
"""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from images import draw, make_learnable_folder

import train
from options import command_line
from runs.folder import Run
from training import loop, start


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


def interrupt(monkeypatch, images, record, *flags, after: int = 1) -> Run:
    """Trains `after` epochs and stops in the next one; returns the run."""
    original, calls = loop._train_epoch, []

    def stop(*arguments):
        calls.append(1)
        if len(calls) > after:
            raise KeyboardInterrupt
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_train_epoch", stop)
        status, run = train_small(images, record, *flags)
    assert status == 130
    return run


def train_on_odd_images(place: Path, classes: Sequence[str]) -> Run:
    """A run on grey images of these classes, with a validation split."""
    images = make_learnable_folder(place / "images", classes, 12, step=40)
    flags = ("--method", "DR", "--gray", "--use_val", "--dim", "8", "--batch_size", "8")
    status, run = train_small(images, place / "record", *flags, "--lr", "0.003")
    assert status == 0
    return run


def draw_odd_images(root: Path) -> None:
    """Draws images of odd sizes and several kinds."""
    for i, (size, mode) in enumerate(
        [((7, 31), "RGB"), ((40, 5), "L"), ((16, 16), "RGBA"), ((1, 1), "RGB"), ((64, 33), "P")]
    ):
        draw(root / f"{i}.png", size, mode, seed=i)
