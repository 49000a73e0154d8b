"""How near counts of samples come to the truth where the shares of the classes are shifted.

python benchmarks/quantification.py record/.../seed1
python benchmarks/quantification.py RUN RUN --images 300 1000 --samples 30

Samples are drawn with replacement from the test images of a finished run, with shares of the classes drawn from a
Dirichlet distribution of a low concentration: a few classes make up most of a sample. They are counted as `predict.py
--counts` counts, by the validation images of the run, the same for all samples. Error: sum over the taxa of |count -
true count|, as a share of the images of the sample, mean over the samples. Coverage: how often the nominal 95 % interval
holds the true count of the sample, and the count that the shares drawn would make; mean over the taxa and samples.
"""  # noqa: E501

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":  # the folder of this script would hide packages of the same name
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np

from evaluation.counting import counting_images
from evaluation.decision import choose_decision
from evaluation.sources import Source
from hierarchies import Hierarchy
from metrics.posterior import node_probabilities, softmax
from metrics.quantification import DRAWS, Validation, count_nodes
from options.parser import Parser
from runs.folder import Run

METHODS = ("counted", "adjusted", "em")
CORRECTED = METHODS[1:]


def main(argv: list[str] | None = None) -> int:
    """Prints a table for each run."""
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("run", nargs="+", help="folders of finished runs with validation images")
    add("--images", type=int, nargs="+", default=[300, 1000], help="images of a sample")
    add("--samples", type=int, default=30, help="samples of each size")
    add("--concentration", type=float, default=0.3, help="of the shares; 1 and more: even ones")
    add("--draws", type=int, default=DRAWS, help="of the bootstrap behind an interval")
    args = parser.parse_args(argv)
    for folder in args.run:
        run = Run(folder)
        source = Source(run)
        decision = choose_decision(source, "argmax")
        validation = counting_images(source, decision)
        scores, labels = source.split("test")
        posterior = softmax(scores / decision.temperature)
        right = (posterior.argmax(axis=1) == labels).mean()
        print(
            f"\n{run.folder}: {len(labels)} test images, accuracy {right:.3f},"
            f" {len(validation.labels)} validation images, {args.samples} samples of each size\n"
        )
        print("| images | taxa | error: counted | adjusted | em |", end="")
        print(" count in interval: adjusted | em | share in interval: adjusted | em |")
        print("|" + 9 * "---|")
        for images in args.images:
            rows = measure(run.hierarchy, posterior, labels, validation, images, args)
            for name, values in rows.items():
                listed = " | ".join(f"{value:.3f}" for value in values)
                print(f"| {images} | {name} | {listed} |", flush=True)
    return 0


def measure(
    tree: Hierarchy,
    posterior: np.ndarray,
    labels: np.ndarray,
    validation: Validation,
    images: int,
    args: argparse.Namespace,
) -> dict[str, list[float]]:
    """Errors and coverages of samples of one size, for classes and for superclasses."""
    rng = np.random.default_rng(images)
    by_class = [np.flatnonzero(labels == c) for c in range(tree.num_classes)]
    seen = np.array([len(rows) > 0 for rows in by_class])
    classes = tree.class_of >= 0
    superclasses = ~classes & (tree.depth > 0)
    found: dict[str, list] = {}
    for sample in range(args.samples):
        shares = rng.dirichlet(np.full(tree.num_classes, args.concentration)) * seen
        shares /= shares.sum()
        truths = rng.choice(tree.num_classes, images, p=shares)
        rows = np.array([rng.choice(by_class[c]) for c in truths])
        table = count_nodes(tree, posterior[rows], validation, args.draws, seed=sample)
        counts = np.bincount(truths, minlength=tree.num_classes)
        true, expected = node_probabilities(tree, np.stack([counts / images, shares])) * images
        for name, taxa in (("classes", classes), ("superclasses", superclasses)):
            errors = [np.abs(table[m].to_numpy() - true)[taxa].sum() / images for m in METHODS]
            inside = []
            for target in (true, expected):
                for method in CORRECTED:
                    low, high = (table[f"{method}_{end}"].to_numpy() for end in ("low", "high"))
                    # a count that is 0 in all draws has an interval of 0 to 0, up to rounding
                    inside.append(((low - 1e-6 <= target) & (target <= high + 1e-6))[taxa].mean())
            found.setdefault(name, []).append([*errors, *inside])
    return {name: np.mean(values, axis=0).tolist() for name, values in found.items()}


if __name__ == "__main__":
    sys.exit(main())
