"""Takes lines out of the code, one at a time, and tells whether a test notices.

    python tests/mutations.py                 # all of them, on two processors in about ten minutes
    python tests/mutations.py set_epoch prior # those whose names hold one of the words

Each mutation is made in a copy of the repository, never here, and the tests named beside it are run
there. Prints killed or survived; the exit status is 1 if one survived, 2 if a text is not found
exactly once. It is run by hand; `test_mutations.py` only keeps the list in step with the code.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]


class Mutation(NamedTuple):
    """A text of a file, what takes its place, and the tests that must fail then."""

    name: str
    file: str
    old: str
    new: str
    tests: str


LOOP, WIRING = "training/loop.py", "tests/test_wiring.py"
DEVICES = "tests/test_devices.py"
MUTATIONS = (
    Mutation("set_epoch", LOOP, "    training.loss.set_epoch(training.epoch)\n", "", WIRING),
    Mutation("set_lr", LOOP, "    model.head.set_lr(training.lr)\n", "", WIRING),
    Mutation("schedule.step", LOOP, "training.schedule.step()", "pass", WIRING),
    Mutation("augment", LOOP, "images = augment(images, generator)", "images = images", WIRING),
    Mutation(
        "mix",
        LOOP,
        "batch = mix(images, targets, generator)",
        "batch = Mixture(images, targets, targets)",
        "tests/test_mixing.py",
    ),
    Mutation(
        "best of equals",
        "optimization/choosing.py",
        "value > best if higher",
        "value >= best if higher",
        WIRING,
    ),
    Mutation(
        "restored prior",
        "evaluation/model.py",
        'prior = state.get("head.log_prior")',
        "prior = None",
        WIRING,
    ),
    Mutation(
        "penalties",
        LOOP,
        "sum(penalties.values(), weighed).backward()",
        "weighed.backward()",
        WIRING,
    ),
    Mutation(
        "update after step", LOOP, "head.update_after_step(embeddings, targets)", "pass", WIRING
    ),
    Mutation(
        "single image on a GPU", "training/devices.py", "if self.training:", "if False:", DEVICES
    ),
    Mutation(
        "the first batch on another GPU",
        "training/other_gpus.py",
        "        model.backbone.network.register_forward_pre_hook(_CheckedOnce())\n",
        "",
        "tests/test_other_gpus.py",
    ),
    Mutation(
        "room for the reader",
        "data/batches.py",
        "        check_room_for_thread()\n",
        "",
        "tests/test_batches.py",
    ),
    Mutation("merged single image", LOOP, "merge_single=True", "merge_single=False", WIRING),
    Mutation(
        "order of the images",
        LOOP,
        'batches.reshuffled(epoch_seed(options["seed"], training.epoch))',
        'batches.reshuffled(epoch_seed(options["seed"], 0))',
        WIRING,
    ),
    Mutation(
        "ProxyDR's exponent",
        "models/proxy_heads.py",
        "return -0.5 * (2 - 2 * cosines)",
        "return -1.0 * (2 - 2 * cosines)",
        "tests/test_heads.py",
    ),
    Mutation(
        "NormFace's square",
        "models/proxy_heads.py",
        "-angle(cosines).square()",
        "-angle(cosines)",
        "tests/test_heads.py",
    ),
    Mutation(
        "share of the average",
        "models/proxy_heads.py",
        "self.alpha * means + (1 - self.alpha) * weight",
        "(1 - self.alpha) * means + self.alpha * weight",
        "tests/test_heads.py",
    ),
    Mutation(
        "placed distances",
        "models/proxies.py",
        "targets = table + beta",
        "targets = table + 2 * beta",
        "tests/test_proxies.py",
    ),
    Mutation(
        "median angle",
        "models/scale.py",
        "angles.double().median().clamp(max=math.pi / 4)",
        "angles.double().mean().clamp(max=math.pi / 4)",
        "tests/test_scale.py",
    ),
    Mutation(
        "hierarchical weights",
        "losses/hierarchical.py",
        "np.cumsum(on_path[:, ::-1], axis=1)[:, ::-1]",
        "on_path",
        "tests/test_losses_hierarchical.py",
    ),
    Mutation(
        "soft labels' height",
        "losses/soft_targets.py",
        "height[sizes > 0].max(initial=1)",
        "hierarchy.max_depth",
        "tests/test_losses_soft_targets.py",
    ),
    Mutation(
        "share of the parent in HR",
        "losses/penalties.py",
        "share = hierarchy.n_leaves / hierarchy.n_leaves[self.parent.numpy()]",
        "share = np.ones(hierarchy.num_nodes)",
        "tests/test_losses_penalties.py",
    ),
    Mutation(
        "conformal rank",
        "metrics/covers.py",
        "return max(math.ceil(round((n + 1) * target, 9)), 1)",
        "return max(math.ceil(round(n * target, 9)), 1)",
        "tests/test_conformal.py",
    ),
    Mutation(
        "path length",
        "hierarchies/distances.py",
        "table = of_lca(hierarchy, -2 * depth)",
        "table = of_lca(hierarchy, -depth)",
        "tests/test_distances.py",
    ),
    Mutation(
        "severity of mistakes only",
        "metrics/hierarchical.py",
        "np.where(outputs.predictions == outputs.labels, np.nan, at_one)",
        "at_one",
        "tests/test_metrics_hierarchical.py",
    ),
)


def occurrences(mutation: Mutation) -> int:
    """How often the text stands in its file."""
    return (ROOT / mutation.file).read_text("utf-8").count(mutation.old)


def survives(mutation: Mutation, copy: Path) -> bool:
    """Whether the tests pass in the copy with the mutation, which is taken back afterwards."""
    path = copy / mutation.file
    whole = path.read_text("utf-8")
    path.write_text(whole.replace(mutation.old, mutation.new), "utf-8")
    try:
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
        done = subprocess.run([*command, *mutation.tests.split()], cwd=copy, capture_output=True)
    finally:
        path.write_text(whole, "utf-8")
    return done.returncode == 0


def main(words: list[str]) -> int:
    """Runs the mutations whose names hold one of the words, or all; returns the exit status."""
    chosen = [m for m in MUTATIONS if not words or any(word in m.name for word in words)]
    lost = [mutation.name for mutation in chosen if occurrences(mutation) != 1]
    if lost or not chosen:
        print(f"not found exactly once: {', '.join(lost) or ' '.join(words)}")
        return 2
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / "copy"
        ignored = shutil.ignore_patterns(".git", ".venv*", "record", "demo_images", "__pycache__")
        shutil.copytree(ROOT, copy, ignore=ignored)
        survivors = []
        for mutation in chosen:
            if survives(mutation, copy):
                survivors.append(mutation.name)
            word = "survived" if mutation.name in survivors else "killed"
            print(f"{word:<9} {mutation.name} ({mutation.file})", flush=True)
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} killed")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
