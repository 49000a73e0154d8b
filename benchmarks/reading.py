"""How fast JPEG files become pixels: the stream, the cache and predicting, against bare decoders, all in one run.

    python benchmarks/reading.py                        # photographs of 500 x 375 to 224 pixels, two threads
    python benchmarks/reading.py --images 200 --rounds 3

Draws photographs with the statistics of camera JPEGs (quality 90) and reads each by Pillow, and by torchvision's
decode_jpeg and torch's resizing of bytes, with nothing around them, and by the project with --decoder torchvision. The
ways take turns and the median over the rounds counts; on a busy machine the processor time, of the best round, says more. The project must reach 1.6
times bare Pillow and .95 of bare torchvision. Of few images (200) the cache is slower, because nothing is decoded while its end is put on the disk.
"""  # noqa: E501

import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)  # this script's folder would hide packages of the same name

import numpy as np  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from data.cache import build_cache  # noqa: E402
from data.reading import Reading  # noqa: E402
from data.stream import Stream  # noqa: E402
from data.unlabelled import ModelInput, read_batches  # noqa: E402
from files.fingerprints import NEWEST  # noqa: E402
from options.parser import Parser  # noqa: E402

CACHE = "cache"  # folder
OVER_PILLOW, OF_TORCHVISION = 1.6, 0.95


def draw(folder: Path, count: int, size: tuple[int, int] = (500, 375)) -> list[str]:
    """Writes photographs: coarse shapes, finer ones with less contrast, and a little noise."""
    generator, names = np.random.default_rng(0), []
    for number in range(count):
        pixels = np.full((size[1], size[0], 3), 128.0)
        for cells, contrast in ((4, 60), (16, 30), (64, 12)):
            coarse = generator.normal(0, contrast, (cells * 3 // 4, cells, 3)).astype(np.float32)
            for channel in range(3):
                layer = Image.fromarray(coarse[:, :, channel]).resize(size, Image.BICUBIC)
                pixels[:, :, channel] += np.asarray(layer)
        pixels += generator.normal(0, 3, pixels.shape)
        names.append(f"{number}.jpg")
        image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        image.save(folder / names[-1], quality=90)
    return names


def bare_pillow(path: Path, side: int) -> np.ndarray:
    """Pixels (side, side, 3) by Pillow alone."""
    with Image.open(path) as image:
        resized = image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(resized)


def bare_torchvision(path: Path, side: int) -> np.ndarray:
    """Pixels (side, side, 3) by torchvision and torch alone."""
    from torchvision.io import ImageReadMode, decode_jpeg

    image = decode_jpeg(torch.from_numpy(np.fromfile(path, np.uint8)), ImageReadMode.RGB)
    resized = F.interpolate(image[None], (side, side), mode="bilinear", antialias=True)[0]
    return resized.permute(1, 2, 0).numpy()


def ways(folder: Path, names: Sequence[str], side: int, threads: int) -> dict[str, Callable]:
    """Name -> a function that reads all images once."""
    pool = ThreadPoolExecutor(threads)
    paths = [folder / name for name in names]
    reading = Reading(resize=side, decoder="torchvision")
    stream, taken = Stream(folder, names, reading, workers=threads), ModelInput(reading)

    def read_bare(one: Callable) -> None:
        for _ in pool.map(lambda path: one(path, side), paths):
            pass

    def through_cache() -> None:
        build_cache(folder, names, reading, cache_dir=folder / CACHE, workers=threads)

    def through_stream() -> None:
        for first in range(0, len(names), 64):
            stream[first : first + 64]

    def predicting() -> None:
        # by hashes predict.py knows images that a run was trained on
        for _ in read_batches(
            [str(path) for path in paths], taken, 64, workers=threads, fingerprints=[NEWEST]
        ):
            pass

    return {
        "bare Pillow": lambda: read_bare(bare_pillow),
        "bare torchvision": lambda: read_bare(bare_torchvision),
        "stream": through_stream,
        "cache": through_cache,
        "predicting": predicting,
    }


def take_memory(folder: Path, size: int) -> None:
    """Writes and removes a file of so many bytes. A virtual machine gives memory that was free for
    some seconds back to its host, and takes ten times as long to write a file when it has to ask
    for it again: 400 us an image of 224 pixels instead of 35, which says nothing about reading.
    """
    path, piece = folder / "memory", bytes(2**20)
    with open(path, "wb", buffering=0) as file:
        for _ in range(-(-size // len(piece))):
            file.write(piece)
    path.unlink()


def main(argv: Sequence[str] | None = None) -> int:
    """Prints a row for each way; returns 0 if the limits hold, else 1."""
    parser = Parser(description=__doc__)
    parser.add_argument("--images", type=int, default=1000, help="number of images")
    parser.add_argument("--side", type=int, default=224, help="wanted, in pixels")
    parser.add_argument("--threads", type=int, default=2, help="that decode")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each way")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)  # threads read one image each
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        names = draw(folder, args.images)
        times = {name: [] for name in ways(folder, names, args.side, args.threads)}
        processor = {name: [] for name in times}
        for _ in range(args.rounds):
            for name, read in ways(folder, names, args.side, args.threads).items():
                take_memory(folder, args.images * args.side**2 * 3)
                start, used = time.perf_counter(), time.process_time()
                read()
                times[name].append(time.perf_counter() - start)
                processor[name].append(time.process_time() - used)
                shutil.rmtree(folder / CACHE, ignore_errors=True)
    speed = {name: args.images / statistics.median(found) for name, found in times.items()}
    cost = {name: 1e3 * min(found) / args.images for name, found in processor.items()}
    print("| way | images/s | of bare Pillow | of bare torchvision | processor ms an image |")
    print("|---|---|---|---|---|")
    pillow, torchvision = speed["bare Pillow"], speed["bare torchvision"]
    for name, rate in speed.items():
        shares = f"{rate / pillow:.2f} | {rate / torchvision:.2f}"
        print(f"| {name} | {rate:.0f} | {shares} | {cost[name]:.2f} |")
    own = [speed[name] for name in ("stream", "cache", "predicting")]
    holds = min(own) >= max(OVER_PILLOW * pillow, OF_TORCHVISION * torchvision)
    print(
        f"\nlimits: {OVER_PILLOW} of bare Pillow and {OF_TORCHVISION} of bare torchvision:"
        f" {'reached' if holds else 'not reached'}"
    )
    return int(not holds)


if __name__ == "__main__":
    sys.exit(main())
