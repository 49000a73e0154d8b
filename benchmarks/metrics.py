"""Time and peak memory of every measure on made-up outputs, each in a process of its own.

python benchmarks/metrics.py                      # 10,000 images, 555 classes, 128 dimensions
python benchmarks/metrics.py --images 100000 --only image_retrieval everything
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

if __name__ == "__main__":  # the folder of this script would hide the package of the same name
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np

from hierarchies import Hierarchy
from metrics import METRICS, Outputs, evaluate
from metrics.suite import ON_REQUEST
from options.parser import Parser

EVERYTHING = "everything"
MEASURES = {**METRICS, **ON_REQUEST, EVERYTHING: evaluate}


def made_outputs(images: int, classes: int, dim: int) -> Outputs:
    """Noisy images around random class vectors in an unbalanced tree of four levels, the same on
    every call.
    """
    rng = np.random.default_rng(0)
    above = [(f"o{c % 22}", f"f{c % 88}", f"g{c % 352}") for c in range(classes)]
    paths = [(*(keys if c % 5 else keys[:1]), f"s{c}") for c, keys in enumerate(above)]
    vectors = rng.standard_normal((classes, dim), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labels = rng.integers(0, classes, images)
    embeddings = rng.standard_normal((images, dim), np.float32)
    embeddings *= 0.15
    embeddings += vectors[labels]
    scores = embeddings @ vectors.T
    scores *= 10
    return Outputs(
        Hierarchy.from_paths(paths), labels, scores, embeddings, vectors, vectors, scores
    )


def measure(name: str, outputs: Outputs) -> dict[str, float]:
    """Seconds, peak of the process and how far it lies above what the outputs themselves took, in
    MiB.
    """
    before, start = peak_mib(), time.perf_counter()
    MEASURES[name](outputs)
    return {
        "seconds": time.perf_counter() - start,
        "peak": peak_mib(),
        "above": peak_mib() - before,
    }


def peak_mib() -> float:
    """Largest resident memory of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def measure_apart(name: str, sizes: list[str]) -> dict[str, float]:
    """The same in a process of its own, so that no measure inherits the memory of another."""
    command = [sys.executable, __file__, *sizes, "--in_process", name]
    return json.loads(
        subprocess.run(command, check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout
    )


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Reads the flags."""
    parser = Parser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000, help="number of test images")
    parser.add_argument("--classes", type=int, default=555, help="number of classes")
    parser.add_argument("--dim", type=int, default=128, help="dimensions of the embedding")
    parser.add_argument(
        "--only", nargs="+", choices=MEASURES, metavar="NAME", help=f"of {', '.join(MEASURES)}"
    )
    parser.add_argument(
        "--in_process",
        choices=MEASURES,
        metavar="NAME",
        help="run this one here and print it as JSON",
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Prints one line a measure."""
    options = parse(argv)
    if options.in_process:
        outputs = made_outputs(options.images, options.classes, options.dim)
        print(json.dumps(measure(options.in_process, outputs)))
        return
    sizes = [
        text
        for name in ("images", "classes", "dim")
        for text in (f"--{name}", str(getattr(options, name)))
    ]
    print(f"{options.images:,} images, {options.classes:,} classes, {options.dim} dimensions")
    print(f"{'measure':32} {'seconds':>9} {'peak MiB':>9} {'above the outputs':>18}")
    for name in options.only or MEASURES:
        found = measure_apart(name, sizes)
        print(
            f"{name:32} {found['seconds']:9.3f} {found['peak']:9.0f} {found['above']:18.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
