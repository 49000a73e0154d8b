"""All that only a GPU can show, in one go of less than eight minutes: nothing is installed and no data set is needed.

    benchmarks/gpu.sh                            # writes gpu.json and gpu.md into the current folder
    benchmarks/gpu.sh --plan                     # the parts, and the seconds that each may take
    benchmarks/gpu.sh --reduced --device cpu     # the same parts on tiny arrays, to see that they run

Every part is a process of its own with a time limit; one that fails or is too slow is written down with its last
words, and the next one starts. The file of results is written again after every part.
"""  # noqa: E501

import argparse
import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":  # the folder of this script would hide the packages of the same name
    sys.path[0] = str(ROOT)

PLAN = {  # seconds that a part may take in all
    "machine": 30,  # the first to import torch
    "tests": 55,
    "numbers": 20,
    "losses": 25,
    "loss_in_a_step": 35,
    "steps_resnet18": 30,
    "steps_resnet50": 35,
    "steps_compiled": 100,
    "epoch_resnet18": 45,
    "epoch_resnet50": 55,
    "resume": 30,
    "data_parallel": 15,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the parts, or one of them."""
    options = parse(argv)
    if options.plan:
        for name, limit in PLAN.items():
            print(f"{name:16s}{limit:5d} s")
        print(f"{'in all':16s}{sum(PLAN.values()):5d} s")
        return 0
    if options.part:
        print(json.dumps(PARTS[options.part](options.device, options.reduced)))
        return 0
    results = {}
    for name, limit in PLAN.items():
        if options.parts is None or name in options.parts:
            results[name] = run_part(name, limit, options)
            write(results, options)
            print(
                f"{name}: {results[name]['status']}, {results[name]['seconds']:.0f} s", flush=True
            )
    return 0 if all(result["status"] == "ok" for result in results.values()) else 1


def run_part(name: str, limit: float, options: argparse.Namespace) -> dict:
    """A part in a process of its own: its status, seconds, and numbers or last words."""
    command = [sys.executable, __file__, "--part", name, "--device", options.device]
    command += ["--reduced"] if options.reduced else []
    start = time.perf_counter()
    # a session of its own, so that what it started ends with it
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        cwd=ROOT,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=limit)
        status = "ok" if process.returncode == 0 else f"failed ({process.returncode})"
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, errors = process.communicate()
        status = f"longer than {limit} s"
    result = {"status": status, "seconds": time.perf_counter() - start}
    if status == "ok":
        result["numbers"] = json.loads(output.splitlines()[-1])
    else:
        result["said"] = (output + errors)[-2000:]
    return result


def write(results: dict, options: argparse.Namespace) -> None:
    """gpu.json, and the same as a table, gpu.md."""
    folder = Path(options.out)
    content = {"device": options.device, "reduced": options.reduced, "parts": results}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "gpu.json").write_text(json.dumps(content, indent=1) + "\n")
    lines = ["| part | status | seconds | what | value |", "|---|---|---|---|---|"]
    for name, result in results.items():
        start = f"| {name} | {result['status']} | {result['seconds']:.0f} |"
        numbers = result.get("numbers") or {"": ""}
        for key, value in numbers.items():
            shown = f"{value:.4g}" if isinstance(value, float) else value
            lines.append(f"{start} {key} | {shown} |")
    (folder / "gpu.md").write_text("\n".join(lines) + "\n")


def machine(device: str, reduced: bool) -> dict:
    """What it is measured on."""
    import torch
    import torchvision

    gpu = torch.cuda.is_available()
    return {
        "device": torch.cuda.get_device_name() if gpu else "no GPU",
        "gpus": torch.cuda.device_count(),
        "memory, GiB": torch.cuda.mem_get_info()[1] / 2**30 if gpu else 0.0,
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "timm": find_spec("timm") is not None,
        "cuda": torch.version.cuda if gpu else "none",
        "python": platform.python_version(),
        "processors": os.cpu_count(),
        "date": time.strftime("%Y-%m-%d"),
        "bf16": gpu and torch.cuda.is_bf16_supported(),
    }


def tests(device: str, reduced: bool) -> dict:
    """The suite's tests that need a GPU."""
    if find_spec("pytest") is None:
        return {"left out": "pytest is not installed"}
    if reduced:
        return {"left out": "the suite has run them, or has none to run"}
    files = [
        f"tests/test_{name}.py"
        for name in ("any_device", "replay", "kernels", "batches", "transforms")
    ]
    # of the first failures, which may cause all others, the last words are kept
    command = [sys.executable, "-m", "pytest", "-q", "--maxfail=2", "--tb=short", "-m", "cuda"]
    command += files
    done = subprocess.run(command, capture_output=True, encoding="utf-8")
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return {"pytest": done.stdout.strip().splitlines()[-1]}


def numbers(device: str, reduced: bool) -> dict:
    """How far losses and gradients in float32 are from the CPU's; more than 1e-4 is an error."""
    from benchmarks.losses import draw, random_tree
    from losses import build_loss

    found = {}
    for batch, classes in [(8, 30)] if reduced else [(256, 1010), (64, 10000)]:
        tree = random_tree(classes, 7, 0)
        scores, targets = draw(batch, classes, "cpu")
        for name in ("ce", "hierarchical", "hxe", "soft_labels", "label_smoothing"):
            values, slopes = [], []
            kinds = ["", ", one kernel"] if name != "ce" else [""]
            for place, kind in (("cpu", ""), *((device, kind) for kind in kinds)):
                x = scores.detach().mul(10).to(place).requires_grad_()
                loss = build_loss(name, tree).to(place)
                if kind:
                    loss.fuse()
                value = loss(x, targets.to(place))
                value.backward()
                values.append(value.item())
                slopes.append(x.grad.cpu())
            for kind, value, slope in zip(kinds, values[1:], slopes[1:]):
                off = abs(value - values[0]) / values[0]
                slope_off = ((slope - slopes[0]).abs().max() / slopes[0].abs().max()).item()
                found[f"{classes} classes, {name}{kind}, off by"] = off
                found[f"{classes} classes, {name}{kind}, its gradient off by"] = slope_off
    if max(found.values()) > 1e-4:
        sys.exit(f"a loss is not that of the CPU: {found}")
    return found


def losses(device: str, reduced: bool) -> dict:
    """A loss, forward and backward, in units of cross-entropy, and its peak memory."""
    from benchmarks.losses import LOSSES, build, draw, random_tree, step, time_losses

    numbers = {}
    for batch, classes in [(8, 30)] if reduced else [(256, 1010), (256, 10000)]:
        tree = random_tree(classes, 7, 0)
        times = time_losses(tree, batch, device, 2 if reduced else 50)
        numbers[f"{classes} classes, ce, ms"] = times["ce"] * 1e3
        for name in LOSSES:
            numbers[f"{classes} classes, {name} / ce"] = times[name] / times["ce"]
        if device != "cpu":
            import torch

            scores, targets = draw(batch, classes, device)
            for name, loss in build(tree, device).items():
                step(loss, scores, targets)  # what is kept from the first call on
                torch.cuda.reset_peak_memory_stats()
                before = torch.cuda.memory_allocated()
                step(loss, scores, targets)
                peak = torch.cuda.max_memory_allocated() - before
                numbers[f"{classes} classes, {name}, peak in tensors of scores"] = (
                    peak / scores.nbytes
                )
    return numbers


class Step:
    """A training step on random images that are on the device already.

    Args:
        device: Where.
        size: Backbone, side of the images in pixels, images in the batch.
        amp: Whether the network computes in bfloat16.
        compiled: Arguments of torch.compile for the network; None to leave it alone.
    """

    def __init__(
        self,
        device: str,
        size: tuple[str, int, int],
        amp: bool = False,
        compiled: dict | None = None,
    ):
        import torch

        import models
        from benchmarks.losses import random_tree
        from losses import build_loss

        backbone, side, batch = size
        torch.manual_seed(0)
        tree = random_tree(100, 5, 0)
        network = models.build_backbone(
            backbone, channels=3, dim=128, pretrained=False, image_size=(side, side)
        )
        model = models.Classifier(network, models.build_head("DR", 100, models.HeadOptions(128)))
        self.model = model.to(device, memory_format=torch.channels_last)
        self.network = torch.compile(model, **compiled) if compiled else model
        self.losses = {
            name: build_loss(name, tree).to(device)
            for name in ("ce", "hierarchical", "soft_labels")
        }
        for name in list(self.losses)[1:]:
            fused = build_loss(name, tree).to(device)
            fused.fuse()
            self.losses[f"{name}, one kernel"] = fused
        self.score = self.score_by_kernels
        self.optimizer = torch.optim.Adam(model.parameters(), fused=device != "cpu")
        self.images = torch.randint(256, (batch, 3, side, side), dtype=torch.uint8, device=device)
        self.sizes = torch.ones(batch, 2, device=device)
        self.targets = torch.randint(100, (batch,), device=device)
        self.autocast = torch.autocast(torch.device(device).type, torch.bfloat16, enabled=amp)

    def score_by_kernels(self, images, sizes):
        """Embeddings and scores, as `training.setup.TrainingState.score`."""
        with self.autocast:
            embeddings = self.network(images, sizes)
        return embeddings, self.model.head(embeddings)

    def replay(self) -> None:
        """From here on steps are those of a second epoch on a GPU."""
        from training.replay import ReplayedLoss, ReplayedModel

        self.score = ReplayedModel(self.score_by_kernels, self.model)
        self.losses = {name: ReplayedLoss(loss) for name, loss in self.losses.items()}
        for name in self.losses:
            self(name)
        for replayed in (self.score, *self.losses.values()):
            replayed.start_epoch()
            if not replayed.is_replayed:
                raise RuntimeError(f"the {replayed.name} was not recorded")

    def __call__(self, loss: str = "ce") -> None:
        _, scores = self.score(self.images, self.sizes)
        value = self.losses[loss](scores, self.targets)
        self.optimizer.zero_grad(set_to_none=True)
        value.backward()
        self.optimizer.step()


def seconds_of(runs: Sequence[Callable[[], None]], device: str, reduced: bool) -> list[float]:
    """Seconds of one call of each, the least of several rounds in which all take turns."""
    import torch

    wait = torch.cuda.synchronize if device != "cpu" else lambda: None

    def clock(run: Callable[[], None], calls: int) -> float:
        wait()
        start = time.perf_counter()
        for _ in range(calls):
            run()
        wait()
        return (time.perf_counter() - start) / calls

    for run in runs:
        clock(run, 1 if reduced else 3)  # what only first calls do
    slowest = max(clock(run, 1) for run in runs)
    calls = 1 if reduced else max(1, min(10, int(0.5 / slowest)))
    rounds = [[clock(run, calls) for run in runs] for _ in range(1 if reduced else 5)]
    return [min(times) for times in zip(*rounds)]


def limits(device: str, amp: bool, reduced: bool) -> tuple[float, float]:
    """What the card itself reaches: operations a second of a product of large matrices, in bfloat16
    or, as cuDNN computes float32, in TF32; and bytes a second of a copy, read and written.
    """
    import torch

    side = 64 if reduced else 8192
    dtype = torch.bfloat16 if amp else torch.float32
    one, other = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    before, torch.backends.cuda.matmul.allow_tf32 = torch.backends.cuda.matmul.allow_tf32, True
    try:
        multiply, copy = seconds_of(
            [lambda: torch.mm(one, other), lambda: one.copy_(other)], device, reduced
        )
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
    return 2 * side**3 / multiply, 2 * one.nbytes / copy


def work_of(step: Step) -> tuple[int, int]:
    """Of a step, the operations of its products and convolutions, and the bytes that its kernels
    read and write if none keeps anything for the next.
    """
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves
    from torch.utils.flop_counter import FlopCounterMode

    class Traffic(TorchDispatchMode):
        bytes = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            if not func.is_view:
                tensors = tree_leaves((args, kwargs, result))
                Traffic.bytes += sum(getattr(tensor, "nbytes", 0) for tensor in tensors)
            return result

    with FlopCounterMode(display=False) as counter:
        step()
    with Traffic():
        step()
    return counter.get_total_flops(), Traffic.bytes


def peak_of(step: Step, device: str) -> float:
    """The most memory that is taken during a step, in MiB; 0 on the CPU, which does not tell."""
    import torch

    if device == "cpu":
        return 0.0
    torch.cuda.reset_peak_memory_stats()
    step()
    return torch.cuda.max_memory_allocated() / 2**20


def loss_in_a_step(device: str, reduced: bool) -> dict:
    """What a loss of the tree adds to a step of ResNet-18, in the first epoch and, on a GPU, in
    those after it, which are replayed.
    """
    found = {}
    for precision, amp in (("float32", False), ("bf16", True)):
        step = Step(device, ("conv4", 16, 4) if reduced else ("resnet18", 32, 256), amp)
        for when in ("first epoch",) if device == "cpu" else ("first epoch", "replayed"):
            if when == "replayed":
                step.replay()
            plain, *others = seconds_of(
                [partial(step, name) for name in step.losses], device, reduced
            )
            found[f"{precision}, {when}, ce, ms a step"] = plain * 1e3
            for name, seconds in zip(list(step.losses)[1:], others):
                found[f"{precision}, {when}, {name} / ce"] = seconds / plain
    return found


def steps_of(device: str, reduced: bool, *size: str | int) -> dict:
    """Images a second, and what part of the card's limits that is."""
    size = ("conv4", 16, 4) if reduced else size
    found = {}
    for precision, amp in (("float32", False), ("bf16", True)):
        step = Step(device, size, amp)
        (seconds,) = seconds_of([step], device, reduced)
        operations, traffic = work_of(step)
        per_second, bandwidth = limits(device, amp, reduced)
        found |= {
            f"{precision}, images a second": size[2] / seconds,
            f"{precision}, peak memory, MiB": peak_of(step, device),
            f"{precision}, the card multiplies, TFLOP/s": per_second / 1e12,
            f"{precision}, the card copies, GB/s": bandwidth / 1e9,
            f"{precision}, share of its products a second": operations / seconds / per_second,
            f"{precision}, share of its bytes a second": traffic / seconds / bandwidth,
        }
    return found


def steps_resnet18(device: str, reduced: bool) -> dict:
    """Steps of ResNet-18 at 32 pixels."""
    return steps_of(device, reduced, "resnet18", 32, 256)


def steps_resnet50(device: str, reduced: bool) -> dict:
    """Steps of ResNet-50 at 224 pixels."""
    return steps_of(device, reduced, "resnet50", 224, 64)


def steps_compiled(device: str, reduced: bool) -> dict:
    """Steps of ResNet-18 at 32 pixels under --compile; the first one compiles."""
    # in the reduced form torch only traces, as compiling takes minutes
    ways = [{"backend": "eager"}] if reduced else [{"mode": "default"}, {"mode": "reduce-overhead"}]
    size = ("conv4", 16, 4) if reduced else ("resnet18", 32, 256)
    found = {}
    for way in ways:
        step, name = Step(device, size, amp=True, compiled=way), "".join(way.values())
        start = time.perf_counter()
        step()
        found[f"{name}, first step, s"] = time.perf_counter() - start
        (seconds,) = seconds_of([step], device, reduced)
        found[f"{name}, bf16, images a second"] = size[2] / seconds
    return found


def draw(folder: str) -> list[str]:
    """Draws a folder of few images; returns the flags to train on it."""
    from benchmarks.epoch import draw_images

    draw_images(Path(folder) / "images", 24, 3, 16)
    return [
        *("--dataset", "folder", "--data_dir", str(Path(folder) / "images")),
        *("--method", "DR", "--loss", "hierarchical", "--backbone", "conv4", "--resize", "16"),
        *("--record", str(Path(folder) / "runs"), "--batch_size", "8", "--use_val"),
    ]


class Stopped(BaseException):
    """What a training is stopped by, as a program that is killed."""


def train(flags: Sequence[str], device: str, epochs: int) -> int:
    """train.py with these flags on that device, cpu, cuda, or GPUs by index, stopped once so many
    epochs are recorded; returns the epochs that the run has then.
    """
    from options import command_line
    from runs.folder import Run
    from train import DATASETS
    from training import experiment, start

    class StoppingRun(Run):
        def write_epochs(self, rows: list[dict]) -> None:
            super().write_epochs(rows)
            if len(rows) == epochs:
                raise Stopped

    argv = [*flags, "--GPU", "0" if device == "cuda" else device]
    status, experiment.Run = 0, StoppingRun
    with contextlib.redirect_stdout(sys.stderr):
        try:
            status = start.main("", DATASETS, argv)
        except Stopped:
            pass
        finally:
            experiment.Run = Run
        recorded = len(Run(command_line.parse(argv, "", DATASETS)[2]).epochs)
    if status:
        sys.exit(f"train.py ended with {status}")
    return recorded


def epoch_of(device: str, reduced: bool, backbone: str, flags: str) -> dict:
    """Rows of benchmarks/epoch.py: a training epoch with its data, beside bare steps; with the
    images on the device, and read in every epoch.
    """
    from benchmarks import epoch

    if reduced:
        backbone, flags = "conv4", "--images 24 --classes 3 --side 16 --batch_size 8 --repeats 1"
    argv = [*flags.split(), "--device", "cpu" if device == "cpu" else "0"]
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        options = epoch.parse(argv)
        epoch.draw_images(Path(folder) / "images", options.images, options.classes, options.side)
        for name in ("streamed",) if device == "cpu" else ("resident", "streamed"):
            options.streamed = name == "streamed"
            measured = epoch.measure(backbone, Path(folder), options)
            found |= {f"{name}, {column}": float(value) for column, value in measured.items()}
            found[f"{name}, bare / epoch"] = found[f"{name}, bare, s"] / found[f"{name}, epoch, s"]
    return found


def epoch_resnet18(device: str, reduced: bool) -> dict:
    """Epochs of ResNet-18 at 32 pixels."""
    flags = "--images 6000 --side 32 --batch_size 256 --repeats 3"
    return epoch_of(device, reduced, "resnet18", flags)


def epoch_resnet50(device: str, reduced: bool) -> dict:
    """Epochs of ResNet-50 at 224 pixels."""
    flags = "--images 2200 --side 224 --batch_size 64 --repeats 2"
    return epoch_of(device, reduced, "resnet50", flags)


def resume(device: str, reduced: bool) -> dict:
    """A run begun on the CPU and stopped, resumed on the device and stopped, ended on the CPU."""
    with tempfile.TemporaryDirectory() as folder:
        flags = [*draw(folder), "--epochs", "4"]
        begun = train(flags, "cpu", 1)
        gone_on = train([*flags, "--resume"], device, 3)
        ended = train([*flags, "--resume"], "cpu", 4)  # before what needs scikit-bio
    return {"epochs, begun on the CPU": begun, f"after {device}": gone_on, "at the end": ended}


def data_parallel(device: str, reduced: bool) -> dict:
    """DataParallel where there are two cards."""
    import torch

    if torch.cuda.device_count() < 2:
        return {"left out": "needs two GPUs"}
    with tempfile.TemporaryDirectory() as folder:
        epochs = train([*draw(folder), "--epochs", "1"], "0,1", 1)
    return {"epochs trained on GPUs 0 and 1": epochs}


PARTS = {
    part.__name__: part
    for part in (
        machine,
        tests,
        numbers,
        losses,
        loss_in_a_step,
        steps_resnet18,
        steps_resnet50,
        steps_compiled,
        epoch_resnet18,
        epoch_resnet50,
        resume,
        data_parallel,
    )
}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Reads the flags."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--plan", action="store_true", help="only print the parts and the seconds they may take")
    add("--reduced", action="store_true", help="tiny arrays: to see that every part runs")
    add("--device", default="cuda", choices=("cuda", "cpu"), help="where to compute")
    add("--parts", nargs="+", choices=PLAN, help="only these (default: all)")
    add("--out", default=os.curdir, help="folder of gpu.json and gpu.md (default: the current)")
    add("--part", choices=PLAN, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
