"""One experiment from resolved options to a recorded run."""

import os
import re
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import torch

import data
import models
import startup
from data.options import SETTLED
from data.recorded import load_recorded
from files.paths import as_typed
from metrics import suite
from metrics.per_image import per_image
from options import argument_files, command_line
from runs.files import ARRAYS, FORMAT, STARTED_FROM, RunError
from runs.folder import Bystander, Run
from runs.mlflow_log import Tracker, check_uri, without_secrets
from runs.provenance import differences, provenance
from training import identity, loop
from training.better_prototypes import better_prototypes
from training.devices import Devices, choose_devices, count_gpus, lacks_memory
from training.epoch_stats import Diverged
from training.features import open_features
from training.going_on import check_start
from training.outputs import compute_outputs
from training.scores import read_outputs
from training.setup import TrainingState, assemble
from training.shared import Shared
from training.team import FirstFailed, Team, join

__all__ = ["Terminated", "run", "run_to_status", "summary"]

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
    r"[WP](_of_\d+)?/corr",
)


class Terminated(KeyboardInterrupt):
    """SIGTERM, as a queue sends before it takes a machine back; handled like Ctrl-C."""


def run_to_status(
    options: Mapping, machine: Mapping, folder: str | os.PathLike, shared: Shared | None = None
) -> int:
    """`run`, with an error as one line on stderr and its exit status."""
    try:
        return run(options, machine, folder, shared)
    except FirstFailed:
        return 2
    except (ValueError, OSError, RuntimeError, MemoryError) as error:
        if lacks_memory(error):
            detail = f"\n({error})" if str(error) else ""
            startup.complain(f"{startup.NO_MEMORY_MESSAGE}{detail}")
            return startup.NO_MEMORY
        startup.complain(f"error: {error}")
        return 1 if isinstance(error, Diverged) else 2


def run(
    options: Mapping, machine: Mapping, folder: str | os.PathLike, shared: Shared | None = None
) -> int:
    """Trains and evaluates one run in its folder, or continues or refuses it; returns the process's
    exit status.

    Under torchrun all processes call this; the first one writes.

    Args:
        options: Everything that decides the result, resolved (see command_line.parse).
        machine: What differs from machine to machine, see command_line.MACHINE.
        folder: The run's folder.
        shared: What the runs before this one in this process have read, which need not be read
            again; None: this is the only one.

    Raises: ValueError: If data, options or the folder do not allow the run; the message says the
    way out.
    """
    check_uri(machine["mlflow"])
    shared = Shared() if shared is None else shared
    with join(on_cpu=machine["GPU"] == "cpu" or not count_gpus()) as team:
        record = Run(folder) if team.first else Bystander(folder)
        options = team.on_first(identity.as_started, record, options, machine)
        if team.on_first(_is_done, record, options, machine, shared):
            with Tracker(machine["mlflow"] if team.first else None, record) as tracker:
                tracker.finish()
            return 0
        team.on_first(_check_start, record, options, machine)
        devices = team.first_then_others(_choose_devices, options, machine, team)
        previous = signal.signal(signal.SIGTERM, _terminate)
        try:
            with ExitStack() as held:
                team.on_first(_lock, held, record)
                return _run_locked(record, options, machine, devices, team, shared)
        except (KeyboardInterrupt, RuntimeError) as error:
            # torchrun sends one to all when it misses a process
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            if isinstance(error, RuntimeError):
                explained = _explained(error, record, options, team)
                raise explained from (None if explained is error else error)
            if team.first:
                startup.complain(f"\n{_advice(record, options, team)}")
            return 143 if isinstance(error, Terminated) else 130
        finally:
            signal.signal(signal.SIGTERM, previous)


def _check_start(record: Run, options: Mapping, machine: Mapping) -> None:
    """Looks whether what the weights start from is there, before images are read. A checkpoint to
    go on from holds them all.

    Raises: ValueError, RuntimeError: If it is not.
    """
    goes_on = machine["resume"] and record.exists
    if goes_on and record.has_checkpoint:
        return
    try:
        _check_weights(options)
    except (ValueError, RuntimeError) as error:
        if not goes_on:
            raise
        raise RuntimeError(
            f"{record.folder} was interrupted before its first epoch was kept, so it starts from"
            f" the same weights again: {error}"
        ) from error


def _check_weights(options: Mapping) -> None:
    """Looks whether what the weights start from is there.

    Raises: ValueError, RuntimeError: If it is not.
    """
    check_start(options)
    if options["weights"] and not os.path.exists(options["weights"]):
        raise ValueError(f"--weights {options['weights']}: there is no such file")
    if not any(options[name] for name in ("start_from", "weights", "rand_backbone")):
        models.check_weights(options["backbone"])


def _choose_devices(options: Mapping, machine: Mapping, team: Team) -> Devices:
    devices = choose_devices(machine["GPU"], machine["ngpus"], team.local_rank)
    graphs, fused_loss = not machine["no_graphs"], machine["fused_loss"]
    devices = replace(devices, graphs=graphs, fused_loss=fused_loss)
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
    record: Run,
    options: Mapping,
    machine: Mapping,
    devices: Devices,
    team: Team,
    shared: Shared,
) -> int:
    start = time.perf_counter()
    if team.on_first(_is_done, record, options, machine, shared):  # by now, by whoever had the lock
        return 0
    team.on_first(_check_unfinished, record, machine)
    splits = team.first_then_others(_load, record, options, machine, shared)
    team.check_equal(
        splits.digest,
        "the processes see different images or splits; is --data_dir the same everywhere?",
    )
    state = team.on_first(_latest, record, options, machine)
    training = assemble(options, splits, devices, team, restored=state is not None)
    # first: checkpoints to go on from may miss theirs
    _keep_trunk(record, training, training.model.state_dict() if state is None else state["model"])
    team.on_first(_open, record, options, machine, splits, training)
    _introduce(record, training, splits)
    if machine["resume"]:
        _resume(record, training, state)
        _keep_trunk(record, training, training.model.state_dict())
    del state  # of the size of the weights, and of what the optimizer keeps of each
    _use_features(record, training, splits, machine, shared)
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
    training = training.result
    if best is not None:
        training.model.load_state_dict(best["model"])
    names = [name for name in ARRAYS if len(getattr(splits, name))]
    outputs = compute_outputs(training, splits, names)
    if training.team.first:
        for name, arrays in outputs.items():
            record.write_arrays(name, arrays)
        may_choose = [outputs[name] for name in ("val", "calibration") if name in outputs]
        if told := better_prototypes(may_choose):
            record.log(f"note: {told}")
        test = read_outputs(record, "test")
        record.write_table_for_people("predictions_test.csv", per_image(test))
        record.finish(suite.evaluate(test))


def _best(record: Run) -> dict | None:
    """The checkpoint of the results, where that is not the last one, which is at hand."""
    return record.checkpoint("best.pt") if record.chose_epoch else None


def _lock(held: ExitStack, record: Run) -> None:
    held.enter_context(record.lock())


def _load(record: Run, options: Mapping, machine: Mapping, shared: Shared) -> data.Splits:
    asked = {**options, **machine}
    own = {name: asked.get(name) for name in ("dataset", *data.defaults(options["dataset"]))}
    recorded = identity.is_kept(record, machine)
    key = repr(sorted(own.items()))
    if recorded and not shared.has("images", key):  # else what was read with all checks serves
        asked |= SETTLED
        key = f"{key}, settled"

    def load(options: Mapping) -> data.Splits:
        own_key = key if options is asked else f"{key}, as by another version"
        return shared.get("images", own_key, lambda: data.load(options))

    if recorded and record.is_intact("hierarchy.json"):
        return load_recorded(load, asked, record.hierarchy, record.config.get("split"))
    return load(asked)


def _is_done(record: Run, options: Mapping, machine: Mapping, shared: Shared) -> bool:
    """Whether this very run is finished. Raises: RunError: If what is finished there was another
    run, on other images.
    """
    if not record.finished or machine["overwrite"]:
        return False
    splits = _load(record, options, machine, shared)
    for note in identity.check_same(record, options, machine, splits):
        print(f"note: {note}")
    print(f"this run is finished; use --overwrite to do it again\n{summary(record)}")
    return True


def _check_unfinished(record: Run, machine: Mapping) -> None:
    if identity.is_kept(record, machine) and not machine["resume"]:
        if elsewhere := identity.other_collection(record, machine):
            raise RunError(
                f"{elsewhere}; or, if these are the same images in another place, continue it with"
                " --resume"
            )
        raise RunError(
            f"{record.folder} holds an unfinished run: continue it with --resume or drop it with"
            " --overwrite"
        )


def _open(
    record: Run, options: Mapping, machine: Mapping, splits: data.Splits, training: TrainingState
) -> None:
    """Writes what identifies the run, or checks it against what an interrupted one wrote."""
    if identity.is_kept(record, machine) and machine["resume"]:
        for note in identity.check_same(record, options, machine, splits):
            record.log(f"note: {note}")
        identity.mend(record, splits)
        begun = any((record.folder / name).exists() for name in ("best.pt", "last.pt"))
        if record.chose_epoch and begun:
            record.checkpoint("best.pt")  # else its loss would be found when all epochs are done
        return
    notes = identity.note_replaced(record, machine)
    notes += identity.check_other_seeds(record, machine, splits)
    record.make_room()
    for note in notes:
        record.log(f"note: {note}")
    use_best = bool(len(splits.val)) and not options["last"] and options["epochs"] > 0
    result = {
        "result_checkpoint": "best.pt" if use_best else "last.pt",
        "notes": _notes(training, splits),
        "backbone": training.model.backbone.made_from,
    }
    if training.started_from is not None:
        result["started_from"], table = training.started_from
        record.write_table(STARTED_FROM, table)
    devices = {"device": training.devices.name, "processes": training.team.size}
    places = {name: machine[name] for name in command_line.PLACES}
    places["data_dir"] = identity.place(machine)
    places["images"] = None if splits.root is None else str(splits.root.resolve())
    arguments = without_secrets(argument_files.read_argument_files(sys.argv[1:]))
    command = [Path(sys.argv[0]).name, *arguments]
    made = {"places": places, **provenance(), "command": command}
    record.write_json("hierarchy.json", splits.hierarchy.to_dict())
    record.write_table("split.csv", data.split_table(splits))
    asked = identity.identify(options, splits)
    known = {"images_by": identity.known_by(record, splits)}
    record.write_config({"format": FORMAT, **asked, **known, **result, **devices, **made})


def _notes(training: TrainingState, splits: data.Splits) -> list[str]:
    """Everything unusual that data and model report."""
    notes = [*splits.notes, *training.model.notes]
    if splits.trains_coarse:
        others = int((~splits.has_class[splits.train]).sum())
        notes.append(
            f"labelled at superclasses: {others} of {len(splits.train)} training images;"
            " prototypes, moving averages, the dynamic scale and the columns on class vectors in"
            " epochs.csv are of the others"
        )
    if training.started_from is not None:
        notes += training.started_from[0]["notes"]
    return (
        notes
        if len(splits.val)
        else [*notes, "no validation split (--use_val): the last epoch is the result"]
    )


def _introduce(record: Run, training: TrainingState, splits: data.Splits) -> None:
    """Says once what is about to be trained on what, and everything unusual about it."""
    tree, team = splits.hierarchy, training.team
    calibration = f"{len(splits.calibration)} calibration, " if len(splits.calibration) else ""
    held_out = f", {len(splits.held_out)} of classes held out" if len(splits.held_out) else ""
    record.log(
        f"{splits.dataset}: {tree.num_classes} classes, {tree.num_nodes} nodes, height"
        f" {tree.max_depth}; {len(splits.train)} training, {len(splits.val)} validation,"
        f" {calibration}{len(splits.test)} test images{held_out}"
    )
    for note in _notes(training, splits):
        record.log(f"note: {note}")
    several = f" in {team.size} processes" if team.size > 1 else ""
    record.log(f"on {training.devices.name}{several}; writes {record.folder}")


def _latest(record: Run, options: Mapping, machine: Mapping) -> dict | None:
    """The checkpoint to go on from; None where there is none, or it lacks the frozen trunk that the
    weights which the run started from give again.

    Raises: RunError: If there are checkpoints but none can be read, and those weights are not here.
    """
    if not machine["resume"]:
        return None
    try:
        return record.latest()
    except RunError as error:
        try:
            _check_weights(options)
        except (ValueError, RuntimeError) as missing:
            raise RunError(
                f"{error}. Nor are the weights here that it started from: {missing}"
            ) from missing
        return None


def _resume(record: Run, training: TrainingState, state: dict | None) -> None:
    if state is None:
        state = training.team.on_first(record.latest)
    if state is None:
        record.log("nothing to resume: starting at epoch 1")
        return
    training.restore(state)
    # it may have been stopped between the checkpoint and the table
    record.write_epochs(training.history)
    after = f"epoch {training.epoch} of {training.options['epochs']}"
    now = {**provenance(), "device": training.devices.name}
    record.log(f"resumed after {after}, by the code at revision {now['git']}")
    if changed := differences(record.config, now):
        record.log(
            f"note: this run was begun otherwise ({', '.join(changed)}): its numbers may not be"
            " those of a run that was never interrupted"
        )


def _keep_trunk(record: Run, training: TrainingState, state: Mapping) -> None:
    """Puts a frozen trunk, its part of a model's state dict, into the record, once for all runs on
    it, and leaves it out of the checkpoints.
    """
    if not models.has_frozen_trunk(training.model):
        return
    trunk = models.split_state(state)[0]
    training.trunk = models.trunk_digest(trunk)
    training.team.on_first(record.save_trunk, training.trunk, trunk)


def _use_features(
    record: Run, training: TrainingState, splits: data.Splits, machine: Mapping, shared: Shared
) -> None:
    training.features, told = open_features(training, splits, machine, shared)
    if told is not None:
        record.log(told)
    elif models.has_frozen_trunk(training.model) and data.augments(training.options):
        record.log(
            "note: augmentation makes other images in every epoch, so that all go through the"
            " frozen network each time; without it (--aug none) they do so once, see --features"
        )


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
    ends = {"all measures": "metrics.csv", "each image": "predictions_test.csv"}
    found = [
        f"{what:<24}{record.folder / name}"
        for what, name in ends.items()
        if (record.folder / name).is_file()
    ]
    return "\n".join([*lines, *found])


def _terminate(signum, frame) -> None:
    raise Terminated


def _advice(record: Run, options: Mapping, team: Team) -> str:
    done = len(record.epochs) if record.exists else 0
    saved = f"interrupted: {done} of {options['epochs']} epochs are saved in {record.folder}"
    if record.replaces is not None:
        saved += f"; the run that this one replaces is in {record.replaces} until one is"
    return f"{saved}\n{_command_to_resume(team)}"


def _command_to_resume(team: Team) -> str:
    argv = [argument for argument in sys.argv if argument not in ("--resume", "--overwrite")]
    shown = without_secrets(argv)
    again = "" if shown == argv else " (with the whole URI of --mlflow, which is not shown)"
    return f"go on with: {team.launcher} {as_typed(shown)} --resume{again}"
