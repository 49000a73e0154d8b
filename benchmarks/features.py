"""What an epoch on cached features costs above its steps, which are those of a head: forward, backward, optimizer.

    python benchmarks/features.py
    python benchmarks/features.py --images 5000 --repeats 3 --flags "--method normface"

Draws features into a file as training keeps them (training/features.py), and times a training epoch of the engine against
a bare loop over the same numbers in memory, with the same model, optimizer and updates of moving averages and scale, and
without anything that is counted; both in turn, in one process, on one CPU thread. Times are the least, ratios the median
of those of neighbouring epochs, by wall time and by processor time, which other programs disturb less: a machine that is
fast for some seconds would be so for one of both. The last column is the least share of an
epoch's processor time that its diagnostics take, how class vectors lie in the tree.
"""  # noqa: E501

import argparse
import contextlib
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

if __name__ == "__main__":  # the folder of this script would hide the packages of the same name
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import startup  # noqa: E402, F401  isort: skip

import numpy as np
import torch
from torch import Tensor, nn

import data
import train
from benchmarks.epoch import engine_epoch, in_turns
from data.row_file import CHUNK, open_rows
from hierarchies import Hierarchy
from options import command_line
from options.parser import Parser  # noqa: E402
from training import epoch_stats, loop
from training.devices import Devices
from training.setup import TrainingState, assemble

LIMIT = 1.10
FLAGS = ("--method DR", "--method DR --ema --dynamic")
CPU = Devices(torch.device("cpu"))


def draw_splits(images: int, classes: int) -> data.Splits:
    """A collection whose pixels nobody looks at, in a tree of classes four levels high."""
    paths = [(f"a{c // 50}", f"b{c // 20}", f"c{c // 5}", f"d{c}") for c in range(classes)]
    rows, pixels = np.arange(images + 2), np.zeros((1, 16, 16, 3), np.uint8)
    return data.Splits(
        "drawn",
        Hierarchy.from_paths(paths),
        [str(row) for row in rows],
        np.random.default_rng(0).permutation(rows % classes),
        np.full((len(rows), 2), 32.0),
        np.broadcast_to(pixels, (len(rows), *pixels.shape[1:])),
        train=rows[:images],
        val=rows[images : images + 1],
        test=rows[images + 1 :],
    )


def prepare(
    flags: str, classes: int, options: argparse.Namespace, folder: str
) -> tuple[TrainingState, data.Splits]:
    """A training as train.py would assemble it, whose trunk's features are drawn."""
    argv = ["--dataset", "folder", "--data_dir", folder, "--backbone", "conv4", "--rand_backbone"]
    argv += ["--freeze", "butlast", "--batch_size", str(options.batch_size), *shlex.split(flags)]
    resolved, _, _ = command_line.parse(argv, "", train.DATASETS)
    splits = draw_splits(options.images, classes)
    training = assemble(resolved, splits, CPU)
    shape = (len(splits.files), options.width)
    projection = nn.Linear(options.width, training.model.dim)
    training.model.backbone.projection = projection
    trained = [parameter for parameter in training.model.parameters() if parameter.requires_grad]
    training.optimizer = torch.optim.Adam(trained, lr=resolved["lr"])
    generator = torch.Generator().manual_seed(0)

    def draw(rows: np.ndarray):
        for start in range(0, len(rows), CHUNK):
            count = len(rows[start : start + CHUNK])
            yield torch.randn(count, options.width, generator=generator).numpy()

    drawn = open_rows([Path(folder)], "drawn.features", shape, options.precision, draw)
    training.features = torch.from_numpy(drawn)
    return training, splits


def bare_epoch(training: TrainingState, inputs: Sequence[Tensor], batch_size: int) -> None:
    """Forward, backward, optimizer and what moves without a gradient, on tensors in memory."""
    model, optimizer = training.model.train(), training.optimizer
    features, sizes, targets = inputs
    for rows in torch.randperm(len(features)).split(batch_size):
        own = targets.index_select(0, rows)
        batch = features.index_select(0, rows).float()
        embeddings = model(batch, sizes.index_select(0, rows))
        loss = training.loss(model.head(embeddings), own)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if model.head.updates_after_step:
            model.head.update_after_step(embeddings.detach(), own)


@contextlib.contextmanager
def timed_diagnostics() -> Iterator[list[float]]:
    """Collects the processor time of each epoch's diagnostics."""
    times, compute = [], epoch_stats.diagnostics

    def timed(*arguments, **named):
        start = time.process_time()
        row = compute(*arguments, **named)
        times.append(time.process_time() - start)
        return row

    epoch_stats.diagnostics = timed
    try:
        yield times
    finally:
        epoch_stats.diagnostics = compute


def measure(flags: str, classes: int, options: argparse.Namespace) -> str:
    """A line of the table."""
    with tempfile.TemporaryDirectory() as folder, timed_diagnostics() as diagnosed:
        training, splits = prepare(flags, classes, options, folder)
        batches = loop._training_batches(training, splits)
        rows = torch.from_numpy(splits.train.copy())
        whole = (training.features, torch.tensor(splits.sizes), torch.tensor(splits.labels))
        inputs = [tensor.index_select(0, rows) for tensor in whole]
        runs = [
            lambda: engine_epoch(training, splits, batches),
            lambda: bare_epoch(training, inputs, options.batch_size),
        ]
        times = in_turns(runs, options.repeats + 1)[1:]
    engine, bare = times.min(axis=0)  # (wall and processor)
    whole, alone = times.swapaxes(0, 1)
    ratios, steps = np.median(whole / alone, axis=0), len(batches)
    share = (np.array(diagnosed[1:]) / times[:, 0, 1]).min()
    return (
        f"| {flags} | {classes} | {steps} | {bare[1] / steps * 1e3:.2f} |"
        f" {engine[1] / steps * 1e3:.2f} | {engine[0]:.2f} |"
        f" {ratios[0]:.3f} | {ratios[1]:.3f} | {share:.1%} |"
    )


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Reads the flags."""
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("--images", type=int, default=45000, help="training images")
    add("--width", type=int, default=1280, help="features of an image")
    add("--classes", type=int, nargs="+", default=[100], help="classes, a line each")
    add("--batch_size", type=int, default=256, help="images in a step")
    add("--precision", default="float32", choices=("float32", "float16"), help="of the features")
    add("--repeats", type=int, default=11, help="pairs of epochs that are timed")
    add(
        "--flags", nargs="+", default=FLAGS, help="of the training script, a line of the table each"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table."""
    options = parse(argv)
    torch.set_num_threads(1)
    print(
        f"{options.images} x {options.width} features in {options.precision}; torch"
        f" {torch.__version__}, load {os.getloadavg()[0]:.1f}; limit: {LIMIT}\n"
    )
    columns = ("flags", "classes", "steps", "bare, ms a step", "epoch, ms a step", "epoch, s")
    columns += ("wall ratio", "processor ratio", "diagnostics")
    print(*(f"| {name}" for name in columns), "|")
    print("|---" * len(columns) + "|")
    for classes in options.classes:
        for flags in options.flags:
            print(measure(flags, classes, options), flush=True)
    print(f"\nload at the end: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
