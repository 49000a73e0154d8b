"""One experiment from resolved options to a recorded run: what every training script calls."""

import openmp  # noqa: F401  isort: skip

import os
import re
import shlex
import signal
import sys
import time
from collections.abc import Mapping, Sequence

import arguments
import data
import engine
from devices import Devices, choose_devices
from metrics import suite
from provenance import provenance
from recording import FORMAT, Run, RunError
from tally import Diverged
from tracking import Tracker, check_uri

# printed when a run ends, as patterns: at how many neighbours ahs@k stops depends on the test set
MAIN_METRICS = (
    r"accuracy",
    r"prototype/accuracy",
    r"accuracy@5",
    r"macro_accuracy",
    r"ahc",
    r"severity",
    r"hp@5",
    r"ahs@\d+",
    r"[WP]/corr",
)


class Terminated(KeyboardInterrupt):
    """SIGTERM, as a queue sends before it takes a machine back; handled like Ctrl-C."""


def run(options: Mapping, machine: Mapping, folder: str | os.PathLike) -> int:
    """Trains and evaluates one run in its folder, or continues or refuses it; returns the process's exit status.

    Args:
        options: Everything that decides the result, resolved (see arguments.parse).
        machine: What differs from machine to machine, see arguments.MACHINE.
        folder: The run's folder.

    Raises: ValueError: If data, options or the folder do not allow the run; the message says the way out.
    """
    check_uri(machine["mlflow"])
    record = Run(folder)
    if _is_done(record, options, machine):
        with Tracker(machine["mlflow"], record) as tracker:
            tracker.finish()
        return 0
    devices = choose_devices(machine["GPU"], machine["ngpus"])
    previous = signal.signal(signal.SIGTERM, _terminate)
    try:
        with record.lock():
            return _run_locked(record, options, machine, devices)
    except KeyboardInterrupt as interrupt:
        print(f"\n{_advice(record, options)}", file=sys.stderr)
        return 143 if isinstance(interrupt, Terminated) else 130
    finally:
        signal.signal(signal.SIGTERM, previous)


def _run_locked(record: Run, options: Mapping, machine: Mapping, devices: Devices) -> int:
    start = time.perf_counter()
    if _is_done(record, options, machine):  # by now, by the process that had the lock
        return 0
    _check_unfinished(record, machine)
    splits = _load(options, machine)
    training = engine.assemble(options, splits, devices)
    _open(record, options, machine, splits, devices)
    _introduce(record, training, splits)
    if machine["resume"]:
        _resume(record, training)
    with Tracker(machine["mlflow"], record) as tracker:
        engine.fit(training, splits, record, tracker.epoch)
        _evaluate(record, training, splits)
        record.log(f"finished after {time.perf_counter() - start:.0f} s in this process")
        tracker.finish()
    print(summary(Run(record.folder)))
    return 0


def _evaluate(record: Run, training: engine.Training, splits: data.Splits) -> None:
    """Records what the resulting checkpoint makes of the images, and as the run's last file its measures."""
    if record.result_checkpoint == "best.pt":
        training.model.load_state_dict(record.checkpoint("best.pt")["model"])
    names = ("test", "val") if len(splits.val) else ("test",)
    for name, arrays in engine.collect(training, splits, names).items():
        record.write_arrays(name, arrays)
    record.write_table("metrics.csv", suite.evaluate(record.outputs("test")))


def _load(options: Mapping, machine: Mapping) -> data.Splits:
    return data.load({**options, **{name: machine.get(name) for name in arguments.PLACES}})


def _identity(options: Mapping, splits: data.Splits) -> dict:
    return {"options": dict(options), "hierarchy": splits.hierarchy.digest, "split": splits.digest}


def _is_done(record: Run, options: Mapping, machine: Mapping) -> bool:
    """Whether this very run is finished. Raises: RunError: If what is finished there was another run, on other images."""
    if not record.finished or machine["overwrite"]:
        return False
    _check_same(record, _identity(options, _load(options, machine)))
    print(f"this run is finished; use --overwrite to do it again\n{summary(record)}")
    return True


def _check_unfinished(record: Run, machine: Mapping) -> None:
    if record.exists and not machine["resume"] and not machine["overwrite"]:
        raise RunError(
            f"{record.folder} holds an unfinished run: continue it with --resume or drop it with --overwrite"
        )


def _open(record: Run, options: Mapping, machine: Mapping, splits: data.Splits, devices: Devices) -> None:
    """Writes what identifies the run, or checks it against what an interrupted one wrote."""
    identity = _identity(options, splits)
    if record.exists and machine["resume"] and not machine["overwrite"]:
        _check_same(record, identity)
        return
    record.clear()
    use_best = bool(len(splits.val)) and not options["last"] and options["epochs"] > 0
    result = {"result_checkpoint": "best.pt" if use_best else "last.pt", "device": devices.name}
    record.write_json("hierarchy.json", splits.hierarchy.to_dict())
    record.write_table("split.csv", data.split_table(splits))
    record.write_json("config.json", {"format": FORMAT, **identity, **result, **provenance()})


def _check_same(record: Run, identity: Mapping) -> None:
    """Raises: RunError: If the interrupted run had other options, another tree or another split."""
    before, now = record.options, identity["options"]
    for name in sorted({*before, *now} - {*arguments.FILES}):  # files count by their content, which names the folder
        if before.get(name) != now.get(name):
            change = f"--{name} was {before.get(name)!r} when this run was started and is {now.get(name)!r} now"
            raise RunError(f"{record.folder}: {change}; use --overwrite to start again")
    for key in ("hierarchy", "split"):
        if record.config.get(key) != identity[key]:
            change = f"the {key} is not the one this run was started with; have the images changed?"
            raise RunError(f"{record.folder}: {change} Use --overwrite to start again")


def _introduce(record: Run, training: engine.Training, splits: data.Splits) -> None:
    """Says once what is about to be trained on what, and everything unusual that data and model report."""
    tree = splits.hierarchy
    record.log(
        f"{splits.dataset}: {tree.num_classes} classes, {tree.num_nodes} nodes, height {tree.max_depth};"
        f" {len(splits.train)} training, {len(splits.val)} validation, {len(splits.test)} test images"
    )
    for note in (*splits.notes, *training.model.notes):
        record.log(f"note: {note}")
    if not len(splits.val):
        record.log("note: no validation split (--use_val): the last epoch is the result")
    record.log(f"on {training.devices.name}; writes {record.folder}")


def _resume(record: Run, training: engine.Training) -> None:
    state = record.latest()
    if state is None:
        record.log("nothing to resume: starting at epoch 1")
        return
    training.restore(state)
    record.write_epochs(training.history)  # it may have been stopped between the checkpoint and the table
    record.log(f"resumed after epoch {training.epoch} of {training.options['epochs']}")


def summary(record: Run) -> str:
    """The main numbers of a finished run, one a line, and where they are."""
    lines = [
        f"{'test split':<24}{record.options['dataset']}, seed {record.options['seed']}, {record.result_checkpoint}"
    ]
    for row in record.metrics.itertuples():
        if any(re.fullmatch(pattern, row.metric) for pattern in MAIN_METRICS):
            lines.append(f"{row.metric:<24}{row.value:.4f}{f'  (n = {row.n})' if row.undefined else ''}")
    return "\n".join([*lines, f"{'all measures':<24}{record.folder / 'metrics.csv'}"])


def _terminate(signum, frame) -> None:
    raise Terminated


def _advice(record: Run, options: Mapping) -> str:
    done = len(record.epochs) if record.exists else 0
    command = shlex.join(
        ["python", *(argument for argument in sys.argv if argument not in ("--resume", "--overwrite"))]
    )
    return (
        f"interrupted: {done} of {options['epochs']} epochs are saved in {record.folder}\n"
        f"go on with: {command} --resume"
    )


def main(description: str, datasets: Mapping[str, Mapping], argv: Sequence[str] | None = None) -> int:
    """A training script: its description, the datasets it offers with their defaults; returns the exit status."""
    options, machine, folder = arguments.parse(argv, description, datasets)
    try:
        return run(options, machine, folder)
    except (ValueError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1 if isinstance(error, Diverged) else 2
