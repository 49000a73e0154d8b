"""How near the rules that back off come to the accuracy they are set for, and how much they say.

python benchmarks/target_accuracy.py                       # made-up posteriors
python benchmarks/target_accuracy.py record/.../seed1      # the test images of a run

Again and again some images are drawn to set a rule and the others to judge it. Bias: mean reached
accuracy less the target, in points; spread: its standard deviation over the draws; coverage: mean
information of the answers as a share of that of a class, at the settings drawn and, `coverage at
target`, where a setting chosen on all images reaches just the target: rules compare there.
"""

import argparse
import math
import sys
from pathlib import Path

if __name__ == "__main__":  # the folder of this script would hide packages of the same name
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np

from hierarchies import Hierarchy
from metrics.calibration import calibrate
from metrics.covers import needed_rank
from metrics.decisions import RULES
from metrics.pareto import Front, above_threshold, most_valuable
from metrics.posterior import information, lca_nodes, node_probabilities, softmax
from options.parser import Parser
from runs.folder import Run


def main(argv: list[str] | None = None) -> int:
    """Prints the table."""
    parser = Parser(description=__doc__)
    parser.add_argument("run", nargs="?", help="folder of a finished run")
    parser.add_argument("--target", type=float, default=0.95, help="accuracy to reach")
    parser.add_argument("--calibration", type=int, default=5000, help="images that set the rule")
    parser.add_argument("--repetitions", type=int, default=1000, help="draws")
    parser.add_argument("--images", type=int, default=20000, help="made-up images")
    args = parser.parse_args(argv)
    tree, scores, labels = recorded(args.run) if args.run else made_up(args.images)
    if not 0 < args.calibration < len(labels):
        parser.error(f"--calibration must leave some of the {len(labels)} images to judge")
    print(
        f"{len(labels)} images, {args.calibration} of them set the rule, {args.repetitions} draws"
    )
    print(f"target {args.target:g}")
    print("| rule | bias (points) | spread (points) | coverage | coverage at target |")
    print("|---|---|---|---|---|")
    for rule in [name for name, rule in RULES.items() if rule.needed is not None]:
        row = simulate(rule, tree, scores, labels, args)
        print(
            f"| {rule} | {row[0]:+.3f} | {row[1]:.3f} | {row[2]:.4f} | {row[3]:.4f} |", flush=True
        )
    return 0


def recorded(folder: str) -> tuple[Hierarchy, np.ndarray, np.ndarray]:
    """Tree, scores and labels of the test images, scores divided by the temperature of the
    validation split where there is one.
    """
    run = Run(folder)
    outputs, temperature = run.outputs("test"), 1.0
    if (run.folder / "val.pkl").is_file():
        val = run.outputs("val")
        temperature = calibrate(val.scores, val.labels).value
    return run.hierarchy, outputs.scores / temperature, outputs.labels


def made_up(images: int) -> tuple[Hierarchy, np.ndarray, np.ndarray]:
    """100 classes in a tree of four levels; relatives are mistaken for each other most."""
    rng = np.random.default_rng(0)
    tree = Hierarchy.from_paths([(f"a{c // 25}", f"b{c // 5}", f"c{c}") for c in range(100)])
    labels = rng.integers(0, 100, images)
    vectors = (
        rng.standard_normal((4, 32))[np.arange(100) // 25]
        + rng.standard_normal((20, 32))[np.arange(100) // 5]
        + rng.standard_normal((100, 32))
    )
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    noisy = vectors[labels] + 0.22 * rng.standard_normal((images, 32))
    return tree, 12.0 * noisy @ vectors.T, labels


def simulate(
    rule: str, tree: Hierarchy, scores: np.ndarray, labels: np.ndarray, args: argparse.Namespace
) -> tuple[float, float, float, float]:
    """Bias and spread in points, coverage, coverage at the target."""
    front = RULES[rule].front(tree, node_probabilities(tree, softmax(scores)))
    leaves = tree.leaves[labels]
    needed = RULES[rule].needed(tree, front, leaves)
    k = needed_rank(args.calibration, args.target)
    rng = np.random.default_rng(0)
    reached, covered = np.empty(args.repetitions), np.empty(args.repetitions)
    for draw in range(args.repetitions):
        order = rng.permutation(len(labels))
        sets, judged = order[: args.calibration], order[args.calibration :]
        setting = float(np.partition(needed[sets], k - 1)[k - 1])
        reached[draw], covered[draw] = judge(rule, tree, front, leaves, judged, setting)
    everything = np.arange(len(labels))
    at = float(np.sort(needed)[math.ceil(len(labels) * args.target) - 1])
    _, at_target = judge(rule, tree, front, leaves, everything, at)
    return 100 * (reached.mean() - args.target), 100 * reached.std(), covered.mean(), at_target


def judge(
    rule: str,
    tree: Hierarchy,
    front: Front,
    leaves: np.ndarray,
    rows: np.ndarray,
    setting: float,
) -> tuple[float, float]:
    """Share of right answers and coverage of a rule with a setting on some of the images."""
    some = Front(front.nodes[rows], front.probabilities[rows])
    answer = most_valuable if rule == "darts" else above_threshold
    nodes = answer(tree, some, setting)
    right = lca_nodes(tree, nodes, leaves[rows]) == nodes
    return right.mean(), (information(tree)[nodes] / np.log2(tree.num_classes)).mean()


if __name__ == "__main__":
    sys.exit(main())
