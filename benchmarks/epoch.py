"""What an epoch costs above its forward, backward and optimizer steps: reading images, counting, diagnostics.

    python benchmarks/epoch.py                                # resnet18 and conv4
    python benchmarks/epoch.py --backbones conv4 --side 32 --images 2048 --repeats 20

Draws images into a folder of files, builds the cache, and times a training epoch of the engine against a bare loop over
the same batches, already in memory, with the same model and optimizer; both in turn, in one process, on one CPU thread
beside the one that reads, or on the GPU where there is one. A ratio is the median of those of neighbouring epochs, by
wall time and, on the CPU, by processor time, which counts the reader's and which other programs disturb less.
Diagnostics are all that an epoch counts beside its steps, timed in epochs of their own.
"""  # noqa: E501

import argparse
import copy
import io
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

if __name__ == "__main__":  # the folder of this script would hide the packages of the same name
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import startup  # noqa: E402, F401  isort: skip

import numpy as np
import torch
from PIL import Image

import data
import train
from data.progress import progress
from options import command_line
from options.parser import Parser  # noqa: E402
from runs.folder import Run
from training import loop
from training.devices import choose_devices
from training.epoch_stats import EpochStats
from training.setup import TrainingState, assemble

LIMIT, DIAGNOSTICS_LIMIT = 1.05, 0.02


def draw_images(root: Path, count: int, classes: int, side: int) -> None:
    """Writes noise as JPEG files, a little larger than they will be read, into a tree of folders
    three levels high.
    """
    generator = np.random.default_rng(0)
    for index in range(count):
        kind = index % classes
        folder = root / f"a{kind % 3}" / f"b{kind % 9}" / f"c{kind}"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 256, (side + 8, side + 8, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.jpg")


def prepare(
    backbone: str, folder: Path, options: argparse.Namespace
) -> tuple[TrainingState, data.Splits]:
    """A training as train.py would assemble it."""
    argv = ["--dataset", "folder", "--method", options.method, "--data_dir", str(folder / "images")]
    argv += [
        "--backbone",
        backbone,
        "--resize",
        str(options.side),
        "--batch_size",
        str(options.batch_size),
    ]
    argv += [] if backbone == "conv4" else ["--rand_backbone"]
    resolved, machine, _ = command_line.parse(argv, "", train.DATASETS)
    splits = data.load({**resolved, **{name: machine[name] for name in command_line.PLACES}})
    return assemble(resolved, splits, choose_devices(options.device)), splits


def engine_epoch(
    training: TrainingState, splits: data.Splits, batches: data.Batches, first: bool = False
) -> None:
    """An epoch as `loop.fit` trains it; the first of a process compares every image with its
    fingerprint.
    """
    if first:
        splits.pixels.check_again()
    with progress(total=1, file=io.StringIO()) as bar:
        loop._train_epoch(training, splits, batches, bar)


def bare_epoch(training: TrainingState, batches: Sequence[tuple]) -> None:
    """Forward, backward and optimizer step on batches that are on the device."""
    training.model.train()
    for images, sizes, targets in batches:
        with torch.autocast(
            training.devices.main.type, torch.bfloat16, enabled=bool(training.options["amp"])
        ):
            embeddings = training.network(images, sizes)
        loss = training.loss(training.model.head(embeddings), targets)
        training.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        training.optimizer.step()


def clocks(run: Callable[[], None]) -> np.ndarray:
    """Wall time and processor time of one call, in seconds; with a GPU, until it has nothing left
    to do.
    """
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    start = time.perf_counter(), time.process_time()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return np.array([time.perf_counter() - start[0], time.process_time() - start[1]])


def in_turns(runs: Sequence[Callable[[], None]], times: int) -> np.ndarray:
    """`clocks` of two works that are done in turns, now the one first and now the other: (times, 2
    works, wall and processor).
    """
    pairs = []
    for repeat in range(times):
        pair = [clocks(run) for run in (runs if repeat % 2 else runs[::-1])]
        pairs.append(pair if repeat % 2 else pair[::-1])
    return np.array(pairs)


class TimedStats(EpochStats):
    """A stats that adds up the time spent in it."""

    spent = np.zeros(2)

    def add(self, *arguments, **keywords) -> None:
        TimedStats.spent += clocks(lambda: super(TimedStats, self).add(*arguments, **keywords))

    def row(self, *arguments, **keywords) -> dict:
        rows = []
        TimedStats.spent += clocks(
            lambda: rows.append(super(TimedStats, self).row(*arguments, **keywords))
        )
        return rows[0]

    def bar_values(self) -> dict:
        shown = []
        TimedStats.spent += clocks(lambda: shown.append(super(TimedStats, self).bar_values()))
        return shown[0]


def diagnostics_share(epoch: Callable[[], None], repeats: int) -> np.ndarray:
    """Median share of an epoch that is spent counting, by wall and by processor time."""
    shares, loop.EpochStats = [], TimedStats
    try:
        for _ in range(repeats):
            TimedStats.spent = np.zeros(2)
            total = clocks(epoch)
            shares.append(TimedStats.spent / total)
    finally:
        loop.EpochStats = EpochStats
    return np.median(shares, axis=0)


def measure(backbone: str, folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """A line of the table, by the names of its columns: seconds, ratios and shares."""
    training, splits = prepare(backbone, folder, options)
    source = loop._training_batches(training, splits)
    batches = list(source)
    if options.streamed:
        source = copy.copy(source)
        source._resident = None
    runs = [
        lambda: engine_epoch(training, splits, source, options.first),
        lambda: bare_epoch(training, batches),
    ]
    # the first two do not count: on a GPU the first epoch is computed kernel by kernel, and the
    # second starts with recording them
    pairs = in_turns(runs, options.repeats + 2)[2:]
    ratios = np.median(pairs[:, 0] / pairs[:, 1], axis=0)
    seconds = np.median(pairs, axis=0)[:, 0]
    shares = diagnostics_share(
        lambda: engine_epoch(training, splits, source), max(1, options.repeats // 2)
    )
    saved = clocks(lambda: Run(folder / "run").save_checkpoint("last.pt", training.state()))[0]
    return {
        "steps": len(batches),
        "bare, s": seconds[1],
        "epoch, s": seconds[0],
        "wall ratio": ratios[0],
        "processor ratio": ratios[1],
        "diagnostics, wall": shares[0],
        "processor": shares[1],
        "saving, s": saved,
    }


def row_of(backbone: str, measured: dict[str, float]) -> str:
    """The line in print: shares in percent."""
    shares = ("diagnostics, wall", "processor")
    cells = [
        f"{value:.2%}" if name in shares else f"{value:.3f}" if name != "steps" else f"{value}"
        for name, value in measured.items()
    ]
    return f"| {' | '.join([backbone, *cells])} |"


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Reads the flags."""
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add(
        "--backbones",
        nargs="+",
        default=["resnet18", "conv4"],
        help="networks to train",
    )
    add(
        "--images",
        type=int,
        default=640,
        help="images drawn, of which nine tenths train",
    )
    add("--classes", type=int, default=60, help="classes they are drawn into")
    add("--side", type=int, default=64, help="side of the cached images, in pixels")
    add("--batch_size", type=int, default=32, help="images in a step")
    add(
        "--method",
        default="DR",
        choices=("softmax", "normface", "DR"),
        help="the head",
    )
    add("--repeats", type=int, default=7, help="pairs of epochs that are timed")
    add("--device", help="cpu, or a GPU by index (default: a GPU where there is one)")
    add(
        "--first",
        action="store_true",
        help="every epoch compares the images with their fingerprints, as the first of a process",
    )
    add(
        "--streamed",
        action="store_true",
        help="read the images in every epoch, even where a GPU has room to keep them",
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table."""
    options = parse(argv)
    torch.set_num_threads(1)
    device = choose_devices(options.device)
    print(
        f"{options.images} images of {options.side} pixels, {options.classes} classes, on"
        f" {device.name};",
        end=" ",
    )
    print(
        f"torch {torch.__version__}, load {os.getloadavg()[0]:.1f}; limits: {LIMIT} and"
        f" {DIAGNOSTICS_LIMIT:.0%}\n"
    )
    columns = ("backbone", "steps", "bare, s", "epoch, s", "wall ratio", "processor ratio")
    print(*(f"| {name}" for name in (*columns, "diagnostics, wall", "processor", "saving, s")), "|")
    print("|---" * 9 + "|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw_images(folder / "images", options.images, options.classes, options.side)
        for backbone in options.backbones:
            print(row_of(backbone, measure(backbone, folder, options)), flush=True)
    print(f"\nload at the end: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
