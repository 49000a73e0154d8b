"""All that only a GPU can show, in one go of less than eight minutes: nothing is installed and no data set is needed.

    benchmarks/gpu.sh                            # writes gpu.json and gpu.md into the current folder
    benchmarks/gpu.sh --plan                     # the parts, and the seconds that each may take
    benchmarks/gpu.sh --reduced --device cpu     # the same parts on tiny arrays, to see that they run

Every part is a process of its own with a time limit; one that fails or is too slow is written down with its last
words, and the next one starts. The file of results is written again after every part.
"""  # noqa: E501

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":  # the folder of this script would hide the packages of the same name
    sys.path[0] = str(ROOT)

PLAN = {  # seconds that a part may take in all
    "machine": 20,
    "tests": 50,
    "losses": 40,
    "loss_in_a_step": 40,
    "steps_resnet18": 25,
    "steps_resnet50": 35,
    "steps_compiled": 70,
    "epoch_resnet18": 45,
    "epoch_resnet50": 60,
    "resume": 60,
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
        text=True,
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

    gpu = torch.cuda.is_available()
    return {
        "device": torch.cuda.get_device_name() if gpu else "no GPU",
        "gpus": torch.cuda.device_count(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda if gpu else "none",
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
        "bf16": gpu and torch.cuda.is_bf16_supported(),
    }


def tests(device: str, reduced: bool) -> dict:
    """The suite's tests that need a GPU."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "cuda", "tests/test_any_device.py"]
    command += ["--collect-only"] if reduced else []
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return {"pytest": done.stdout.strip().splitlines()[-1]}


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
                torch.cuda.reset_peak_memory_stats()
                before = torch.cuda.memory_allocated()
                step(loss, scores, targets)
                peak = torch.cuda.max_memory_allocated() - before
                numbers[f"{classes} classes, {name}, peak in tensors of scores"] = (
                    peak / scores.nbytes
                )
    return numbers


def bare_steps(
    device: str,
    reduced: bool,
    backbone: str,
    side: int,
    batch: int,
    loss: str = "ce",
    amp: bool = False,
    compiled: bool = False,
) -> float:
    """Seconds of a training step on random images that are on the device already."""
    import torch

    import models
    from benchmarks.losses import random_tree
    from losses import build_loss

    torch.manual_seed(0)
    tree = random_tree(100, 5, 0)
    network = models.build_backbone(
        backbone, channels=3, dim=128, pretrained=False, image_size=(side, side)
    )
    model = models.Classifier(network, models.build_head("DR", 100, models.HeadOptions(128)))
    model = model.to(device, memory_format=torch.channels_last)
    criterion = build_loss(loss, tree).to(device)
    optimizer = torch.optim.Adam(model.parameters(), fused=device != "cpu")
    call = torch.compile(model) if compiled else model
    images = torch.randint(256, (batch, 3, side, side), dtype=torch.uint8, device=device)
    targets = torch.randint(100, (batch,), device=device)

    def one() -> None:
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=amp):
            embeddings = call(images)
        value = criterion(model.head(embeddings), targets)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()

    wait = torch.cuda.synchronize if device != "cpu" else lambda: None
    for _ in range(1 if reduced else 10):
        one()
    wait()
    count = 1 if reduced else 30
    start = time.perf_counter()
    for _ in range(count):
        one()
    wait()
    return (time.perf_counter() - start) / count


def loss_in_a_step(device: str, reduced: bool) -> dict:
    """What a loss of the tree adds to a step of ResNet-18."""
    size = ("conv4", 16, 4) if reduced else ("resnet18", 32, 256)
    plain = bare_steps(device, reduced, *size)
    numbers = {"ce, ms a step": plain * 1e3}
    for loss in ("hierarchical", "soft_labels"):
        numbers[f"{loss} / ce"] = bare_steps(device, reduced, *size, loss=loss) / plain
    return numbers


def steps_of(device: str, reduced: bool, backbone: str, side: int, batch: int) -> dict:
    size = ("conv4", 16, 4) if reduced else (backbone, side, batch)
    return {
        f"{name}, images a second": size[2] / bare_steps(device, reduced, *size, amp=amp)
        for name, amp in (("float32", False), ("bf16", True))
    }


def steps_resnet18(device: str, reduced: bool) -> dict:
    """Steps of ResNet-18 at 32 pixels."""
    return steps_of(device, reduced, "resnet18", 32, 256)


def steps_resnet50(device: str, reduced: bool) -> dict:
    """Steps of ResNet-50 at 224 pixels."""
    return steps_of(device, reduced, "resnet50", 224, 64)


def steps_compiled(device: str, reduced: bool) -> dict:
    """Steps of ResNet-18 at 32 pixels under --compile."""
    if reduced:
        return {"left out": "compiling takes long on a CPU"}
    seconds = bare_steps(device, reduced, "resnet18", 32, 256, amp=True, compiled=True)
    return {"bf16 compiled, images a second": 256 / seconds}


def draw(folder: str) -> list[str]:
    """Draws a folder of few images; returns the flags to train on it."""
    from benchmarks.epoch import draw_images

    draw_images(Path(folder) / "images", 24, 3, 16)
    return [
        *("--dataset", "folder", "--data_dir", str(Path(folder) / "images")),
        *("--method", "DR", "--loss", "hierarchical", "--backbone", "conv4", "--resize", "16"),
        *("--record", str(Path(folder) / "runs"), "--batch_size", "8", "--use_val"),
    ]


def command_of(flags: Sequence[str], device: str) -> list[str]:
    """train.py with these flags on that device: cpu, cuda, or GPUs by index."""
    return [sys.executable, "train.py", *flags, "--GPU", "0" if device == "cuda" else device]


def train(flags: Sequence[str], device: str) -> None:
    """Runs train.py to its end."""
    done = subprocess.run(command_of(flags, device), capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        sys.exit(done.stdout[-1000:] + done.stderr[-1000:])


def epoch_of(device: str, reduced: bool, backbone: str, flags: str) -> dict:
    """A row of benchmarks/epoch.py: a training epoch with its data, beside bare steps."""
    command = [
        sys.executable,
        "benchmarks/epoch.py",
        *("--device", "cpu" if device == "cpu" else "0"),
    ]
    if reduced:
        backbone, flags = "conv4", "--images 24 --classes 3 --side 16 --batch_size 8 --repeats 1"
    command += ["--backbones", backbone, *flags.split()]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    header, _, row = (line for line in done.stdout.splitlines() if line.startswith("|"))
    names, values = ([cell.strip() for cell in line.split("|")[1:-1]] for line in (header, row))
    return dict(zip(names, values))


def epoch_resnet18(device: str, reduced: bool) -> dict:
    """Epochs of ResNet-18 at 32 pixels."""
    flags = "--images 6000 --side 32 --batch_size 256 --repeats 3"
    return epoch_of(device, reduced, "resnet18", flags)


def epoch_resnet50(device: str, reduced: bool) -> dict:
    """Epochs of ResNet-50 at 224 pixels."""
    flags = "--images 700 --side 224 --batch_size 64 --repeats 2"
    return epoch_of(device, reduced, "resnet50", flags)


def resume(device: str, reduced: bool) -> dict:
    """A run begun on the CPU and killed, resumed on the device and killed, ended on the CPU."""
    with tempfile.TemporaryDirectory() as folder:
        flags = [*draw(folder), "--epochs", "12"]
        begun = train_until(folder, flags, "cpu", 2)
        gone_on = train_until(folder, [*flags, "--resume"], device, begun + 2)
        train([*flags, "--resume"], "cpu")
        ended = epochs_of(folder)
    return {"epochs, begun on the CPU": begun, f"after {device}": gone_on, "at the end": ended}


def train_until(folder: str, flags: Sequence[str], device: str, epochs: int) -> int:
    """Kills train.py when it has recorded so many epochs; returns how many it has then."""
    process = subprocess.Popen(
        command_of(flags, device), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT
    )
    while process.poll() is None and epochs_of(folder) < epochs:
        time.sleep(0.02)
    if process.poll() is not None:
        sys.exit(f"train.py ended by itself with {process.returncode}, before it was killed")
    process.kill()
    process.wait()
    return epochs_of(folder)


def epochs_of(folder: str) -> int:
    """Epochs recorded in the run below the folder."""
    files = list(Path(folder, "runs").rglob("epochs.csv"))
    return len(files[0].read_text().splitlines()) - 1 if files else 0


def data_parallel(device: str, reduced: bool) -> dict:
    """DataParallel where there are two cards."""
    import torch

    if torch.cuda.device_count() < 2:
        return {"left out": "needs two GPUs"}
    with tempfile.TemporaryDirectory() as folder:
        train([*draw(folder), "--epochs", "1"], "0,1")
    return {"trained on": "GPUs 0 and 1"}


PARTS = {
    part.__name__: part
    for part in (
        machine,
        tests,
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
