"""What a large class tree costs: reading and checking it, its tables of distances, and placing class vectors by it.

    python benchmarks/trees.py                                       # 10,000 classes; 100, 555 and 1,010 class vectors
    python benchmarks/trees.py --classes 20000 --vectors 555

Each file format is read in a process of its own, which then fills every table of distances between classes, one after
the other: its time, imports left out, and its peak memory, imports included. The limits are 5 s and 1.5 GB in all.
Class vectors are placed by the project's solver and by the published recipe, 1,000 steps of Adam, in one process; the
solver must reach a stress as low in a tenth of the time. Everything runs on one thread; times are the process's own.
"""  # noqa: E501

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

if __name__ == "__main__":
    # this script's folder would hide packages of the same name
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    # numpy reads them right below
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

import numpy as np

from hierarchies import DISTANCES, Hierarchy, distances, node_weights, read_tree, to_newick
from hierarchies.tree import format_path
from options.parser import Parser

DEPTH = 8
SUFFIXES = {
    "paths": "txt",
    "table": "csv",
    "edges": "edges",
    "outline": "outline",
    "json": "json",
    "newick": "nwk",
}
TABLES: dict[str, Callable[[Hierarchy], np.ndarray]] = {
    **DISTANCES,
    "weighted": lambda tree: distances.weighted(tree, node_weights(tree, "balanced")),
}
LIMIT_SECONDS, LIMIT_GB = 5, 1.5


def write_tree(tree: Hierarchy, format: str, path: Path) -> None:
    """Writes a tree in one of the formats that `read_tree` takes."""
    inner = enumerate(tree.parent.tolist())
    texts = {
        "paths": lambda: "\n".join(map(format_path, tree.class_paths)),
        "table": lambda: "\n".join(
            ["path", *(f'"{format_path(path)}"' for path in tree.class_paths)]
        ),
        "edges": lambda: "\n".join(f"n{node} n{above}" for node, above in inner if above >= 0),
        "outline": lambda: "\n".join(
            f"{'--' * depth}{key}" for depth, key in zip(tree.depth.tolist(), tree.keys)
        ),
        "json": lambda: json.dumps(tree.to_dict()),
        "newick": lambda: to_newick(tree),
    }
    path.write_text(texts[format]() + "\n", "utf-8")


def measure(path: Path) -> dict[str, float]:
    """Seconds to read and check the tree of a file, and for each table; peak of the process in GB,
    for a fresh one.
    """
    clock, seconds = time.process_time(), {}
    tree = read_tree(path).hierarchy
    seconds["read"] = time.process_time() - clock
    for name, fill in TABLES.items():
        clock = time.process_time()
        fill(tree)
        seconds[name] = time.process_time() - clock
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        **seconds,
        "classes": tree.num_classes,
        "gb": peak * (1 if sys.platform == "darwin" else 2**10) / 1e9,
    }


def measure_apart(path: Path) -> dict[str, float]:
    """The same in a process of its own."""
    command = [sys.executable, __file__, "--measure", str(path)]
    return json.loads(
        subprocess.run(command, check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout
    )


def adam_recipe(targets: np.ndarray, dim: int, distance: str, steps: int = 1000) -> "torch.Tensor":  # noqa: F821
    """Class vectors (C, D) by Kim et al.'s recipe: Adam on the stress from random unit vectors,
    learning rate 1e-3.
    """
    import torch
    from torch.nn import functional as F

    weight = F.normalize(
        torch.randn(len(targets), dim, generator=torch.Generator().manual_seed(0))
    ).requires_grad_()
    wanted = torch.from_numpy(targets).float()
    adam, length = torch.optim.Adam([weight], lr=1e-3), wanted.norm()
    for _ in range(steps):
        cosines = F.normalize(weight) @ F.normalize(weight).T
        reached = (
            (2 - 2 * cosines).clamp(min=1e-12).sqrt()
            if distance == "euc"
            else (0.999999 * cosines).acos()
        )
        stress = (reached - wanted).fill_diagonal_(0).norm() / length
        adam.zero_grad(set_to_none=True)
        stress.backward()
        adam.step()
    return weight.detach()


def compare_placements(tree: Hierarchy, dim: int, distance: str) -> str:
    """A line of the table of placements: stress and time of the solver and of the recipe, and the
    ratio of times.
    """
    from models.proxies import mds_proxies, mds_targets, stress

    targets = mds_targets(distances.path_length(tree), 1.0, distance)
    start = time.process_time()
    placed = mds_proxies(targets, dim, distance=distance)
    middle = time.process_time()
    recipe = stress(adam_recipe(targets, dim, distance), targets, distance)
    ours, theirs = middle - start, time.process_time() - middle
    how = "exact" if placed.note == "exact embedding" else "gradient"
    return (
        f"| {tree.num_classes} | {distance} | {how} | {placed.stress:.2e} | {recipe:.2e} |"
        f" {ours:.2f} | {theirs:.2f} | {theirs / ours:.1f} |"
    )


def print_reading(classes: int) -> None:
    """The table of formats."""
    from benchmarks.losses import random_tree

    tree = random_tree(classes, DEPTH, 0)
    columns = ("read", *TABLES)
    print(
        f"{tree.num_classes:,} classes in random order, {tree.num_nodes:,} nodes, height"
        f" {tree.max_depth}; seconds\n"
    )
    print("| format |", *(f"{name} |" for name in columns), "all | peak, GB |")
    print("|---" * (3 + len(columns)) + "|")
    with tempfile.TemporaryDirectory() as folder:
        for format, suffix in SUFFIXES.items():
            path = Path(folder) / f"tree.{suffix}"
            write_tree(tree, format, path)
            found = measure_apart(path)
            if found["classes"] != tree.num_classes:
                raise RuntimeError(
                    f"{format}: read {found['classes']} of {tree.num_classes} classes"
                )
            total = sum(found[name] for name in columns)
            cells = (f"{found[name]:.2f} |" for name in columns)
            print(f"| {format} |", *cells, f"{total:.2f} | {found['gb']:.2f} |", flush=True)
    print(f"\nlimits: {LIMIT_SECONDS} s and {LIMIT_GB} GB in all")


def print_placements(sizes: Sequence[int], dim: int) -> None:
    """The table of placements."""
    import torch

    from benchmarks.losses import random_tree

    torch.set_num_threads(1)
    print(
        f"\nclass vectors in {dim} dimensions against 1,000 steps of Adam; limit: no more stress,"
        " 10 times faster\n"
    )
    print(
        "| classes | distance | solver | stress | stress of Adam | s | s of Adam | times faster |"
    )
    print("|---" * 8 + "|")
    for classes in sizes:
        for distance in ("euc", "arccos"):
            print(compare_placements(random_tree(classes, 4, 0), dim, distance), flush=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Prints both tables."""
    parser = Parser(description=__doc__)
    parser.add_argument(
        "--classes",
        type=int,
        default=10_000,
        help="classes of the tree that is read",
    )
    parser.add_argument(
        "--vectors",
        type=int,
        nargs="*",
        default=[100, 555, 1010],
        help="numbers of class vectors to place, or none",
    )
    parser.add_argument("--dim", type=int, default=128, help="dimensions of the class vectors")
    parser.add_argument(
        "--measure",
        type=Path,
        metavar="FILE",
        help="only read this file and print the figures as JSON",
    )
    options = parser.parse_args(argv)
    if options.measure:
        print(json.dumps(measure(options.measure)))
        return
    print_reading(options.classes)
    if options.vectors:
        print_placements(options.vectors, options.dim)


if __name__ == "__main__":
    main()
