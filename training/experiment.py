"""One experiment from resolved options to a recorded run: what every training script calls."""

import os
import re
import shlex
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import torch

import data
import startup
from metrics import suite
from options import argument_files, command_line, folder_name
from runs.folder import FORMAT, Bystander, Run, RunError
from runs.mlflow_log import Tracker, check_uri
from runs.provenance import provenance
from training import loop
from training.devices import Devices, choose_devices, count_gpus
from training.epoch_stats import Diverged
from training.outputs import compute_outputs
from training.setup import TrainingState, assemble
from training.team import FirstFailed, Team, join

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
    """Trains and evaluates one run in its folder, or continues or refuses it; returns the process's
    exit status.

    Under torchrun all processes call this; the first one writes.

    Args:
        options: Everything that decides the result, resolved (see command_line.parse).
        machine: What differs from machine to machine, see command_line.MACHINE.
        folder: The run's folder.

    Raises: ValueError: If data, options or the folder do not allow the run; the message says the
    way out.
    """
    check_uri(machine["mlflow"])
    with join(on_cpu=machine["GPU"] == "cpu" or not count_gpus()) as team:
        record = Run(folder) if team.first else Bystander(folder)
        if team.on_first(_is_done, record, options, machine):
            with Tracker(machine["mlflow"] if team.first else None, record) as tracker:
                tracker.finish()
            return 0
        devices = team.first_then_others(_choose_devices, options, machine, team)
        previous = signal.signal(signal.SIGTERM, _terminate)
        try:
            with ExitStack() as held:
                team.on_first(_lock, held, record)
                return _run_locked(record, options, machine, devices, team)
        except (KeyboardInterrupt, RuntimeError) as error:
            signal.signal(
                signal.SIGTERM, signal.SIG_IGN
            )  # torchrun sends one to all when it misses a process
            if isinstance(error, RuntimeError):
                explained = _explained(error, record, options, team)
                raise explained from (None if explained is error else error)
            if team.first:
                print(f"\n{_advice(record, options, team)}", file=sys.stderr)
            return 143 if isinstance(error, Terminated) else 130
        finally:
            signal.signal(signal.SIGTERM, previous)


def _choose_devices(options: Mapping, machine: Mapping, team: Team) -> Devices:
    devices = choose_devices(machine["GPU"], machine["ngpus"], team.local_rank)
    if options["amp"] and not (devices.gpus and torch.cuda.is_bf16_supported()):
        raise ValueError(
            f"--amp needs a GPU that computes in bfloat16, and this run is on {devices.name}: leave"
            " it out"
        )
    return devices


def _explained(error: RuntimeError, record: Run, options: Mapping, team: Team) -> RuntimeError:
    """The error, with what it may mean where several processes depend on each other."""
    if team.size == 1 or isinstance(error, FirstFailed):
        return error
    if isinstance(error, Diverged):
        return error if team.first else FirstFailed("the loss is that of all processes")
    if not team.first:
        return RuntimeError(
            f"process {team.rank + 1} of {team.size} has lost another one;"
            f" {_command_to_resume(team)}"
        )
    return RuntimeError(
        f"{error}\nanother process of this training may be lost; {_advice(record, options, team)}"
    )


def _run_locked(
    record: Run, options: Mapping, machine: Mapping, devices: Devices, team: Team
) -> int:
    start = time.perf_counter()
    if team.on_first(_is_done, record, options, machine):  # by now, by whoever had the lock
        return 0
    team.on_first(_check_unfinished, record, machine)
    splits = team.first_then_others(_load, options, machine)
    team.check_equal(
        splits.digest,
        "the processes see different images or splits; is --data_dir the same everywhere?",
    )
    training = assemble(options, splits, devices, team)
    team.on_first(_open, record, options, machine, splits, training)
    _introduce(record, training, splits)
    if machine["resume"]:
        _resume(record, training)
    with Tracker(machine["mlflow"] if team.first else None, record) as tracker:
        loop.fit(training, splits, record, tracker.epoch)
        _evaluate(record, training, splits)
        record.log(f"finished after {time.perf_counter() - start:.0f} s in this process")
        tracker.finish()
    if team.first:
        print(summary(Run(record.folder)))
    return 0


def _evaluate(record: Run, training: TrainingState, splits: data.Splits) -> None:
    """Records what the resulting checkpoint makes of the images, and as the run's last file its
    measures.
    """
    best = training.team.on_first(_best, record)
    if best is not None:
        training.model.load_state_dict(best["model"])
    names = ("test", "val") if len(splits.val) else ("test",)
    outputs = compute_outputs(training, splits, names)
    if training.team.first:
        for name, arrays in outputs.items():
            record.write_arrays(name, arrays)
        record.finish(suite.evaluate(record.outputs("test")))


def _best(record: Run) -> dict | None:
    """The checkpoint of the results, where that is not the last one, which is at hand."""
    return record.checkpoint("best.pt") if record.result_checkpoint == "best.pt" else None


def _lock(held: ExitStack, record: Run) -> None:
    held.enter_context(record.lock())


def _load(options: Mapping, machine: Mapping) -> data.Splits:
    return data.load({**options, **{name: machine.get(name) for name in command_line.PLACES}})


def _identity(options: Mapping, splits: data.Splits) -> dict:
    return {"options": dict(options), "hierarchy": splits.hierarchy.digest, "split": splits.digest}


def _is_done(record: Run, options: Mapping, machine: Mapping) -> bool:
    """Whether this very run is finished. Raises: RunError: If what is finished there was another
    run, on other images.
    """
    if not record.finished or machine["overwrite"]:
        return False
    _check_same(record, _identity(options, _load(options, machine)))
    print(f"this run is finished; use --overwrite to do it again\n{summary(record)}")
    return True


def _check_unfinished(record: Run, machine: Mapping) -> None:
    if record.exists and not machine["resume"] and not machine["overwrite"]:
        raise RunError(
            f"{record.folder} holds an unfinished run: continue it with --resume or drop it with"
            " --overwrite"
        )


def _open(
    record: Run, options: Mapping, machine: Mapping, splits: data.Splits, training: TrainingState
) -> None:
    """Writes what identifies the run, or checks it against what an interrupted one wrote."""
    identity = _identity(options, splits)
    if record.exists and machine["resume"] and not machine["overwrite"]:
        _check_same(record, identity)
        return
    record.clear()
    use_best = bool(len(splits.val)) and not options["last"] and options["epochs"] > 0
    result = {
        "result_checkpoint": "best.pt" if use_best else "last.pt",
        "notes": _notes(training, splits),
    }
    devices = {"device": training.devices.name, "processes": training.team.size}
    places = {name: machine[name] for name in command_line.PLACES}
    if places["data_dir"] is not None:
        places["data_dir"] = str(Path(places["data_dir"]).resolve())
    command = [Path(sys.argv[0]).name, *argument_files.read_argument_files(sys.argv[1:])]
    made = {"places": places, **provenance(), "command": command}
    record.write_json("hierarchy.json", splits.hierarchy.to_dict())
    record.write_table("split.csv", data.split_table(splits))
    record.write_config({"format": FORMAT, **identity, **result, **devices, **made})


def _notes(training: TrainingState, splits: data.Splits) -> list[str]:
    """Everything unusual that data and model report."""
    notes = [*splits.notes, *training.model.notes]
    return (
        notes
        if len(splits.val)
        else [*notes, "no validation split (--use_val): the last epoch is the result"]
    )


def _check_same(record: Run, identity: Mapping) -> None:
    """Raises: RunError: If the interrupted run had other options, another tree or another split."""
    before, now = record.options, identity["options"]
    for name in sorted(
        {*before, *now} - {*folder_name.FILES}
    ):  # files count by their content, which names the folder
        if (before.get(name) or None) != (
            now.get(name) or None
        ):  # an option that is younger than the run was off
            change = (
                f"--{name} was {before.get(name)!r} when this run was started and is"
                f" {now.get(name)!r} now"
            )
            raise RunError(f"{record.folder}: {change}; use --overwrite to start again")
    for key in ("hierarchy", "split"):
        if record.config.get(key) != identity[key]:
            change = f"the {key} is not the one this run was started with; have the images changed?"
            raise RunError(f"{record.folder}: {change} Use --overwrite to start again")


def _introduce(record: Run, training: TrainingState, splits: data.Splits) -> None:
    """Says once what is about to be trained on what, and everything unusual about it."""
    tree, team = splits.hierarchy, training.team
    record.log(
        f"{splits.dataset}: {tree.num_classes} classes, {tree.num_nodes} nodes, height"
        f" {tree.max_depth};"
        f" {len(splits.train)} training, {len(splits.val)} validation, {len(splits.test)} test"
        " images"
    )
    for note in _notes(training, splits):
        record.log(f"note: {note}")
    several = f" in {team.size} processes" if team.size > 1 else ""
    record.log(f"on {training.devices.name}{several}; writes {record.folder}")


def _resume(record: Run, training: TrainingState) -> None:
    state = training.team.on_first(record.latest)
    if state is None:
        record.log("nothing to resume: starting at epoch 1")
        return
    training.restore(state)
    record.write_epochs(
        training.history
    )  # it may have been stopped between the checkpoint and the table
    after = f"epoch {training.epoch} of {training.options['epochs']}"
    record.log(f"resumed after {after}, by the code at revision {provenance()['git']}")


def summary(record: Run) -> str:
    """The main numbers of a finished run, one a line, and where they are."""
    lines = [
        f"{'test split':<24}{record.options['dataset']}, seed {record.options['seed']},"
        f" {record.result_checkpoint}"
    ]
    for row in record.metrics.itertuples():
        if any(re.fullmatch(pattern, row.metric) for pattern in MAIN_METRICS):
            lines.append(
                f"{row.metric:<24}{row.value:.4f}{f'  (n = {row.n})' if row.undefined else ''}"
            )
    return "\n".join([*lines, f"{'all measures':<24}{record.folder / 'metrics.csv'}"])


def _terminate(signum, frame) -> None:
    raise Terminated


def _advice(record: Run, options: Mapping, team: Team) -> str:
    done = len(record.epochs) if record.exists else 0
    saved = f"interrupted: {done} of {options['epochs']} epochs are saved in {record.folder}"
    return f"{saved}\n{_command_to_resume(team)}"


def _command_to_resume(team: Team) -> str:
    argv = [argument for argument in sys.argv if argument not in ("--resume", "--overwrite")]
    return f"go on with: {team.launcher} {shlex.join(argv)} --resume"


def main(
    description: str, datasets: Mapping[str, Mapping], argv: Sequence[str] | None = None
) -> int:
    """A training script: its description, the datasets it offers with their defaults; returns the
    exit status.
    """
    startup.set_up_streams()
    options, machine, folder = command_line.parse(argv, description, datasets)
    try:
        return run(options, machine, folder)
    except FirstFailed:
        return 2
    except (ValueError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1 if isinstance(error, Diverged) else 2
