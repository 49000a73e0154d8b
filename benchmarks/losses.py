"""What the losses of the tree cost beside cross-entropy: time and memory of forward plus backward.

    python benchmarks/losses.py

prints ratios measured within one process, on one CPU thread or on the GPU where there is one. Every repeat times all
losses in turn; a ratio is that of the least times, which neighbours disturb least. On the CPU the clock is the process's.
Memory is the peak above the scores, in tensors of their size; on the CPU a process of its own measures each loss.
"""  # noqa: E501

import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hierarchies import Hierarchy
from hierarchies.levels import levels
from losses import build_loss
from options.parser import Parser

# batch, classes, depth, limit
SIZES = [(256, 1010, 7, 3.0), (256, 1000, 15, 3.0), (256, 10000, 8, 2.5), (128, 200, 16, 6.0)]
LOSSES = (
    *("hierarchical", "hxe", "soft_labels", "label_smoothing", "level_ce", "tk", "margin"),
    *("margin hard", "random_cut", "haframe", "devise"),
)
# of heads that offer more than scores: name -> what they read
WIDE = {
    "level_ce": ("level_scores",),
    "tk": ("level_scores",),
    "haf": ("level_scores", "level_vectors"),
    "margin": ("node_scores",),
    "margin hard": ("node_scores",),
    "random_cut": ("node_scores",),
    "hiercos": ("axes",),
}
LIMIT = 6.0  # of every other loss, AIGDL aside, whose matrix has the square of the classes
LARGE = SIZES[2]  # memory is measured where it matters and where the resident size tells it


def random_tree(classes: int, depth: int, seed: int, shuffled: bool = True) -> Hierarchy:
    """A tree of exactly this height with groups of random sizes, single-child nodes and leaves at
    several depths.

    The classes are in random order, or depth-first if not `shuffled`.
    """
    generator = np.random.default_rng(seed)
    paths: dict[int, tuple[str, ...]] = {}
    stack = [(generator.permutation(classes), ())]
    while stack:
        members, path = stack.pop()
        left = depth - len(path)
        # class 0 goes all the way down
        if left == 1 or (len(members) == 1 and path and 0 not in members):
            paths.update((member, (*path, str(member))) for member in members.tolist())
            continue
        children = min(len(members), 1 + generator.poisson(len(members) ** (1 / left) - 1))
        cuts = np.sort(generator.choice(len(members) - 1, children - 1, replace=False) + 1)
        stack.extend(
            (part, (*path, f"{len(path)}.{i}")) for i, part in enumerate(np.split(members, cuts))
        )
    tree = Hierarchy.from_paths([paths[c] for c in range(classes)])
    return tree if shuffled else tree.subset(tree.leaf_order)


def step(loss: Callable, scores: torch.Tensor, targets: torch.Tensor) -> None:
    """Forward and backward."""
    scores.grad = None
    loss(*(scores for _ in getattr(loss, "inputs", ("scores",))), targets).backward()


def draw(batch: int, classes: int, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores and targets as an untrained network gives them."""
    torch.manual_seed(0)
    scores = torch.randn(batch, classes, device=device, requires_grad=True)
    return scores, torch.randint(classes, (batch,), device=device)


def seconds(run: Callable[[], None], device: str) -> float:
    """Duration of one call."""
    if device == "cpu":
        start = time.process_time()
        run()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def build(tree: Hierarchy, device: str) -> dict[str, Callable]:
    """Cross-entropy as torch has it, and the losses of the tree with their default options."""
    return {"ce": F.cross_entropy, **{name: make(name, tree).to(device) for name in LOSSES}}


def make(name: str, tree: Hierarchy, offered: Sequence[str] = ("scores", "cosines")) -> Callable:
    """A loss with its default options; "margin hard" is the margin of the other kind."""
    name, _, kind = name.partition(" ")
    return build_loss(name, tree, offered, **({"margin_kind": kind} if kind else {}))


def time_wide(tree: Hierarchy, batch: int, device: str, repeats: int) -> dict[str, float]:
    """Least time of a step under losses of what few heads offer, as a share of cross-entropy on as
    many columns.
    """
    widths = {
        "level_scores": sum(len(level.nodes) for level in levels(tree)),
        "node_scores": tree.num_nodes,
        "axes": tree.num_nodes - 1,
    }
    targets = torch.randint(tree.num_classes, (batch,), device=device)
    runs = {}
    for name, inputs in WIDE.items():
        loss = make(name, tree, ("scores", *inputs)).to(device)
        width = widths[inputs[0]]
        given = [torch.randn(batch, width, device=device, requires_grad=True)]
        if len(inputs) > 1:
            given.append(torch.randn(width, 128, device=device, requires_grad=True))
        wide = torch.randn(batch, width, device=device, requires_grad=True)
        pair = (
            partial(step_on, loss, given, targets),
            partial(step, F.cross_entropy, wide, targets),
        )
        times = [[seconds(run, device) for run in pair] for _ in range(repeats + 3)][3:]
        least = np.min(times, axis=0)
        runs[name] = float(least[0] / least[1])
    return runs


def step_on(loss: Callable, given: Sequence, targets: torch.Tensor) -> None:
    """Forward and backward of inputs of any kind."""
    for tensor in given:
        tensor.grad = None
    loss(*given, targets).backward()


def time_losses(tree: Hierarchy, batch: int, device: str, repeats: int) -> dict[str, float]:
    """Least seconds of a step under each loss, all measured in turn."""
    scores, targets = draw(batch, tree.num_classes, device)
    losses = build(tree, device)
    times = {name: [] for name in losses}
    for repeat in range(repeats + 3):
        for name, loss in losses.items():
            duration = seconds(partial(step, loss, scores, targets), device)
            if repeat >= 3:
                times[name].append(duration)
    return {name: min(values) for name, values in times.items()}


def peak_memory(name: str, device: str) -> float:
    """Peak memory of a step above the scores, in score-sized tensors; on the CPU to be called in a
    fresh process.
    """
    batch, classes, depth, _ = LARGE
    tree = random_tree(classes, depth, 0)
    loss = F.cross_entropy if name == "ce" else make(name, tree).to(device)
    scores, targets = draw(batch, classes, device)
    few = scores[:8].detach().requires_grad_()
    step(loss, few, targets[:8])  # what a first call leaves behind for good is no part of a step
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step(loss, scores, targets)
        return (torch.cuda.max_memory_allocated() - before) / scores.nbytes
    Path("/proc/self/clear_refs").write_text("5", "ascii")  # resets the peak of the resident size
    before = _resident("VmHWM")
    step(loss, scores, targets)
    return (_resident("VmHWM") - before) / scores.nbytes


def peak_memory_apart(name: str, device: str) -> float:
    """The same, on the CPU in a process where every array is returned to the system when it is
    freed.
    """
    if device != "cpu":
        return peak_memory(name, device)
    environment = {
        **os.environ,
        "MALLOC_MMAP_THRESHOLD_": "65536",
        "MALLOC_TRIM_THRESHOLD_": "65536",
    }
    command = [sys.executable, __file__, "--memory_of", name]
    return float(
        subprocess.run(
            command, env=environment, check=True, capture_output=True, encoding="utf-8"
        ).stdout
    )


def keep_freed_memory() -> None:
    """Lets malloc reuse large blocks: fresh pages in every step would slow down cross-entropy more
    than our losses.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(-3, 2**30)  # M_MMAP_THRESHOLD
        libc.mallopt(-1, 2**30)  # M_TRIM_THRESHOLD


def _resident(field: str) -> int:
    line = next(
        line
        for line in Path("/proc/self/status").read_text("utf-8").splitlines()
        if line.startswith(field)
    )
    return int(line.split()[1]) * 1024


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the tables."""
    parser = Parser(description=__doc__)
    parser.add_argument(
        "--repeats",
        type=int,
        default=200,
        help="steps timed for each loss; a tenth at the largest size",
    )
    parser.add_argument(
        "--device",
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="cpu or cuda",
    )
    parser.add_argument(
        "--memory_of",
        choices=("ce", *LOSSES),
        help="only print the peak memory of this loss, in score-sized tensors",
    )
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    if arguments.memory_of:
        print(peak_memory(arguments.memory_of, "cpu"))
        return
    keep_freed_memory()
    print(
        f"forward + backward, float32, on {arguments.device}; torch {torch.__version__}; times of"
        " cross-entropy = 1\n"
    )
    print_losses(arguments.device, arguments.repeats)
    print(
        "\nlosses of heads that offer more than scores, as shares of cross-entropy on as many"
        f" columns; limit {LIMIT}\n"
    )
    print_wide(arguments.device, arguments.repeats)
    print(
        f"\npeak memory above the scores, batch {LARGE[0]}, {LARGE[1]} classes shuffled, in"
        " score-sized tensors\n"
    )
    for name in ("ce", *LOSSES):
        print(f"- {name}: {peak_memory_apart(name, arguments.device):.2f}", flush=True)


def print_losses(device: str, repeats: int) -> None:
    """A row for each size and order of the classes."""
    print(
        "| batch | classes | depth | class order | ce, ms |",
        *(f"{name} |" for name in LOSSES),
        "limit of the first four |",
    )
    print("|---" * (6 + len(LOSSES)) + "|")
    for batch, classes, depth, limit in SIZES:
        for shuffled in (False, True):
            tree = random_tree(classes, depth, 0, shuffled)
            steps = max(1, repeats // (10 if classes == LARGE[1] else 1))
            times = time_losses(tree, batch, device, steps)
            ratios = (f"{times[name] / times['ce']:.2f} |" for name in LOSSES)
            order = "shuffled" if shuffled else "depth-first"
            print(
                f"| {batch} | {classes} | {depth} | {order} | {times['ce'] * 1e3:.3f} |",
                *ratios,
                f"{limit} |",
                flush=True,
            )


def print_wide(device: str, repeats: int) -> None:
    """A row for each size, of the losses that read more than scores."""
    print("| batch | classes | depth |", *(f"{name} |" for name in WIDE))
    print("|---" * (3 + len(WIDE)) + "|")
    for batch, classes, depth, _ in SIZES:
        steps = max(1, repeats // (20 if classes == LARGE[1] else 2))
        ratios = time_wide(random_tree(classes, depth, 0), batch, device, steps)
        cells = (f"{ratio:.2f} |" for ratio in ratios.values())
        print(f"| {batch} | {classes} | {depth} |", *cells, flush=True)


if __name__ == "__main__":
    main()
