"""What a tree of many classes costs, from a folder of images to the report: seconds, memory, and the largest file.

    python benchmarks/many_classes.py                            # 10,000 classes, 40,000 images; two cores
    python benchmarks/many_classes.py --classes 81 --images 4    # the same in a minute

Draws small images into a folder tree of four levels, each class a colour and a place of its own, and then reads them
into the cache, trains conv4 for an epoch with the evaluation of its end, evaluates the run again, predicts some images
and makes the report: each by the project's script, as a process of its own; on a machine that is busy with other things
the processor seconds say more. The limits for 10,000 classes are 6 GB of
memory, 200 MB a file, 3 minutes for an evaluation, and 2 % of an epoch for its diagnostics.
"""  # noqa: E501

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)  # this script's folder would hide packages of the same name

import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402

from options.parser import Parser  # noqa: E402

LEVELS = ("order", "family", "genus", "species")
LIMITS = "limits: 6000 MB of memory, 200 MB a file, 180 s for an evaluation"


def class_folders(classes: int) -> list[str]:
    """Folders of four levels, as many branches on each as make up the classes."""
    branches = int(np.ceil(classes ** (1 / len(LEVELS))))
    folders = []
    for c in range(classes):
        places = [c // branches**level % branches for level in reversed(range(len(LEVELS)))]
        parts, number = [], 0
        for level, place in zip(LEVELS, places):
            number = number * branches + place
            parts.append(f"{level}{number}")
        folders.append("/".join(parts))
    return folders


def draw(folder: Path, classes: int, images: int, side: int, seed: int = 0) -> None:
    """Draws `images` PNG files of each class."""
    generator = np.random.default_rng(seed)
    looks = generator.integers(0, 256, (classes, 2, 2, 3)).astype(np.float64)
    for look, name in zip(looks, class_folders(classes)):
        (folder / name).mkdir(parents=True)
        plain = look.repeat(side // 2, axis=0).repeat(side // 2, axis=1)
        for i in range(images):
            pixels = (plain + generator.normal(0, 20, plain.shape)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png", compress_level=1)


def timed(*command: str, log: Path) -> tuple[float, float, float]:
    """Seconds, processor seconds and peak memory in MB of a process. Raises: SystemExit: If it
    fails.
    """
    start = time.perf_counter()
    with log.open("ab") as out:
        process = os.posix_spawn(
            sys.executable,
            [sys.executable, *command],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, out.fileno(), n) for n in (1, 2)],
        )
        _, status, usage = os.wait4(process, 0)
    if status:
        raise SystemExit(f"{command[0]} failed:\n{log.read_text('utf-8', 'replace')[-2000:]}")
    processor = usage.ru_utime + usage.ru_stime
    return time.perf_counter() - start, processor, usage.ru_maxrss / 1e3


def parts_of_training(run: Path) -> tuple[float, float]:
    """Seconds of the epoch and of the evaluation behind it, from the times in log.txt."""
    lines = (run / "log.txt").read_text("utf-8").splitlines()
    marks = ["; writes " in line for line in lines]
    times = [time.mktime(time.strptime(line[:19], "%Y-%m-%d %H:%M:%S")) for line in lines]
    begin = times[marks.index(True)]
    trained = times[next(i for i, line in enumerate(lines) if " epoch 1/1" in line)]
    return trained - begin, times[-1] - trained


def main(argv: Sequence[str] | None = None) -> None:
    """Prints a row for each step."""
    parser = Parser(description=__doc__)
    parser.add_argument("--classes", type=int, default=10_000, help="number of classes")
    parser.add_argument("--images", type=int, default=4, help="images of each class")
    parser.add_argument("--side", type=int, default=32, help="of the images, in pixels")
    parser.add_argument("--predict", type=int, default=1000, help="images to predict")
    parser.add_argument("--keep", help="folder to work in, which stays; a temporary one if not")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        measure(Path(args.keep or temporary), args)


def measure(folder: Path, args: argparse.Namespace) -> None:
    """Draws the images where they are not yet, and measures in a folder."""
    images, record, log = folder / "many", folder / "record", folder / "output.txt"
    if not images.exists():
        draw(images, args.classes, args.images, args.side)
    shown = sorted(images.rglob("*.png"))[:: max(args.classes * args.images // args.predict, 1)]
    (folder / "some").mkdir(exist_ok=True)
    for number, path in enumerate(shown[: args.predict]):
        (folder / "some" / f"{number}.png").write_bytes(path.read_bytes())
    of_data = ["--dataset", "folder", "--data_dir", str(images)]
    of_run = ["--method", "DR", "--backbone", "conv4", "--epochs", "1", "--batch_size", "128"]
    more = ["--lr", "0.001", "--resize", str(args.side), "--use_val", "--GPU", "cpu"]
    train = ["train.py", *of_data, *of_run, *more, "--record", str(record)]
    read = (
        "import sys, train, data; from options import command_line;"
        " options, machine, _ = command_line.parse(sys.argv[1:], '', train.DATASETS);"
        " data.load({**options, **machine})"
    )
    os.environ["PYTHONPATH"] = str(ROOT)
    print("| step | s | of processors | MB |\n|---|---|---|---|")
    row = "| {} | {:.1f} | {:.1f} | {:.0f} |".format
    print(row("reading into the cache", *timed("-c", read, *train[1:], log=log)), flush=True)
    total = timed(str(ROOT / train[0]), *train[1:], log=log)
    run = next(record.rglob("metrics.csv")).parent
    epoch, evaluation = parts_of_training(run)
    print(row("training and evaluation", *total))
    print(f"| of which an epoch | {epoch:.0f} | | |\n| the evaluation | {evaluation:.0f} | | |")
    sys.stdout.flush()
    steps = {
        "evaluate.py": [],
        "predict.py": [str(folder / "some"), "--out", str(folder / "predictions.csv")],
        "visualize.py": [],
    }
    for script, flags in steps.items():
        print(row(script, *timed(str(ROOT / script), str(run), *flags, log=log)), flush=True)
    files = [path for path in (*record.rglob("*"), *images.parent.glob("*")) if path.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    print(f"\nlargest file: {largest.name}, {largest.stat().st_size / 1e6:.0f} MB; {LIMITS}")


if __name__ == "__main__":
    main()
