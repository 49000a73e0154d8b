"""What may happen to a run from outside: it is killed, stopped, started twice, its disk is full.
Nothing is lost.

Every run here is a process of its own, forked from a server that has imported torch already, and
trains on one thread. KILLS in the environment says how often the first test kills its run, 4 times
by default; with more, the runs that are killed at a file are killed at every moment of it, else at
every second: KILLS=60 pytest ...
"""

import errno
import itertools
import multiprocessing
import os
import random
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from forked_scripts import ROOT, run_script, start_script
from images import make_learnable_folder
from waiting import PATIENCE, wait_until

import startup
import train
from data import Batches
from options import command_line
from runs import files as run_files
from runs.folder import Run
from training import loop, start

FEW_KILLS = 4
KILLS = int(os.environ.get("KILLS", FEW_KILLS))
RESULTS = ("metrics.csv", "epochs.csv", "last.pt", "best.pt", "test.pkl", "val.pkl")
OPTIONS = (
    "--dataset folder --GPU cpu --resize 16 --gray --backbone conv4 --dim 8 --batch_size 8 --lr"
    " 0.01".split()
)
MOVING = "--method DR --ema --dynamic --aug affine --schedule cosine --use_val --epochs 8".split()
STEPS = 5  # in an epoch: 35 training images
WAITS = "training waits"
UNLIMITED = resource.RLIM_INFINITY


def kill_at_write(number: int) -> None:
    """Kills this process at its number-th step of writing a file: before it is on the disk, or
    before it is renamed.
    """
    calls = itertools.count(1)

    def dangerous(original):
        def step(*arguments, **options):
            if next(calls) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **options)

        return step

    os.fsync, os.replace = dangerous(os.fsync), dangerous(os.replace)


def kill_between_checkpoints(number: int) -> None:
    """Kills this process when last.pt has become last-1.pt and the new one is not there yet, for
    the number-th time.
    """
    calls, original = itertools.count(1), os.replace

    def rename(source, target):
        if target.name == "last.pt" and source.suffix == ".tmp" and next(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        original(source, target)

    os.replace = rename


IN_TURN = (
    "hierarchy.json",
    "split.csv",
    "config.json",
    "best.pt",
    "last.pt",
    "epochs.csv",
    "test.pkl",
    "val.pkl",
    "metrics.csv",
)
MOMENTS = [(name, moment, 1) for name in IN_TURN for moment in ("half written", "written")]
# after the last epoch of all, whose row epochs.csv does not have yet
EPOCHS_LEFT = ("last.pt", "written", 8)


def kill_at_moment(number: int) -> None:
    """Kills this process when a file is half written, or has just taken its place and nothing else
    has happened.
    """
    name, moment, time_of_it = [*MOMENTS, EPOCHS_LEFT][number]
    times, original = itertools.count(1), os.replace

    def rename(source, target):
        kills = Path(target) == Path(source).with_name(name) and next(times) == time_of_it
        if kills and moment == "half written":
            os.truncate(source, os.path.getsize(source) // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        original(source, target)
        if kills:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = rename


def kill_in_log(number: int) -> None:
    """Kills this process in the middle of the number-th line of log.txt."""
    calls, original = itertools.count(1), Run.log

    def log(run, line):
        original(run, line)
        if next(calls) == number:
            path = run.folder / "log.txt"
            os.truncate(path, path.stat().st_size - len(line) // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    Run.log = log


def kill_with_the_cache_in_place(number: int) -> None:
    """Kills this process when the cache has its name, and the lock is still held."""
    original = os.replace

    def replace(source, target, **options):
        original(source, target, **options)
        if Path(target).is_dir():
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = replace


def fill_disk_at_write(number: int) -> None:
    """From the number-th file on nothing more fits on the disk."""
    calls, original = itertools.count(1), os.fsync

    def write(descriptor):
        if next(calls) >= number:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(descriptor)

    os.fsync = write


def break_weights_at_step(number: int) -> None:
    """Makes a weight NaN ahead of the number-th step of training."""
    calls, original = itertools.count(1), loop._forward_backward

    def step(training, *batch):
        if next(calls) == number:
            next(training.model.parameters()).data.view(-1)[0] = torch.nan
        return original(training, *batch)

    loop._forward_backward = step


def wait_at_step(number: int) -> None:
    """Has this process say WAITS ahead of the number-th step of training, and wait for a signal."""
    calls, original = itertools.count(1), loop._forward_backward

    def step(training, *batch):
        if next(calls) == number:
            print(WAITS, flush=True)
            time.sleep(PATIENCE)
        return original(training, *batch)

    loop._forward_backward = step


def limit_memory(kilobytes: int) -> None:
    """Allows this process so much more than it has when training begins."""
    original = loop.fit

    def fit(*arguments):
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + kilobytes * 1024,) * 2)
        return original(*arguments)

    loop.fit = fit


def starve_threads(number: int) -> None:
    """Lets no thread start: each has no memory for its first steps."""

    def starve(thread):
        raise MemoryError

    threading.Thread._set_ident = starve


def starve_reading(number: int) -> None:
    """Makes reading a batch fail for lack of memory."""

    def starve(batches, rows, pin=False):
        raise MemoryError

    Batches._read = starve


def break_something(fault, number: int, largest_file: int) -> None:
    """What goes wrong in a process that trains."""
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (largest_file, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    )
    if fault is not None:
        fault(number)


class Trainer:
    """Starts runs of one command line on the same images, with a record folder and a cache of their
    own.
    """

    def __init__(self, images: Path, place: Path, context, *options: str):
        self.context, self.output, self.cache = (
            context,
            place / f"{options[1]}.txt",
            place / "cache",
        )
        places = {"--data_dir": images, "--record": place / "record", "--cache_dir": self.cache}
        self.argv = [
            *OPTIONS,
            *options,
            *itertools.chain(*((flag, str(path)) for flag, path in places.items())),
        ]
        self.run = Run(command_line.parse(self.argv, "", train.DATASETS)[2])

    def start(
        self, *flags: str, fault=None, number: int = 0, largest_file: int = UNLIMITED
    ) -> multiprocessing.Process:
        return start_script(
            self.context,
            [ROOT / "train.py", *self.argv, *flags],
            self.output,
            prepare=break_something,
            arguments=(fault, number, largest_file),
        )

    def __call__(self, *flags: str, **faults) -> int:
        """Exit status of a whole run; negative for the signal that ended it."""
        process = self.start(*flags, **faults)
        process.join()
        return process.exitcode

    @property
    def said(self) -> str:
        """What the latest process wrote."""
        return self.output.read_text()

    def results(self) -> dict[str, bytes]:
        return {name: (self.run.folder / name).read_bytes() for name in RESULTS}

    def start_and_wait(self, *flags: str, steps: int) -> multiprocessing.Process:
        """A run that has trained so many steps and waits for a signal."""
        self.output.write_text("")
        process = self.start(*flags, fault=wait_at_step, number=steps + 1)
        wait_until(lambda: WAITS in self.said or not process.is_alive(), lambda: self.said)
        assert process.is_alive(), self.said
        return process

    def leftovers(self) -> list[Path]:
        return [*self.run.folder.glob(".*.tmp"), *self.cache.glob("*.tmp")]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Five classes of ten grey images each."""
    return make_learnable_folder(
        tmp_path_factory.mktemp("images"), ("A/a", "A/b", "A/c/d", "A/c/e", "B"), 10
    )


@pytest.fixture(scope="module")
def whole(images, tmp_path_factory, forked):
    """Results of a run that nothing disturbed, and how many seconds it took."""
    trainer = Trainer(images, tmp_path_factory.mktemp("whole"), forked, *MOVING)
    trainer("--overwrite")  # starts the server, too
    start = time.monotonic()
    assert trainer("--overwrite") == 0, trainer.said
    return trainer.results(), time.monotonic() - start


@pytest.fixture
def trainer(images, tmp_path, forked):
    return Trainer(images, tmp_path, forked, *MOVING)


def test_a_run_killed_again_and_again_ends_in_the_same_bytes(trainer, whole):
    expected, duration = whole
    chance, kills = random.Random(5), 0
    assert trainer(fault=kill_at_write, number=1) == -signal.SIGKILL  # while it builds the cache
    assert len(trainer.leftovers()) == 1
    while kills < KILLS:
        if trainer.run.finished:
            assert trainer.results() == expected
            flag = "--overwrite"
        else:
            flag = "--resume"
        if kills % 2:
            status = trainer(flag, fault=kill_at_write, number=chance.randint(1, 30))
        else:
            process = trainer.start(flag)
            process.join(chance.uniform(0, duration / 2))
            process.kill()
            process.join()
            status = process.exitcode
        assert status in (0, -signal.SIGKILL), trainer.said
        kills += status != 0
    assert trainer("--resume") == 0, trainer.said
    assert trainer.results() == expected
    assert not list(trainer.run.folder.glob(".*.tmp"))


def test_a_run_killed_at_every_file_it_writes_ends_in_the_same_bytes(trainer, whole):
    for number, moment in enumerate(MOMENTS):
        if KILLS <= FEW_KILLS and number % 4 not in (1, 2):
            continue  # the first file is tried written, the next half written, and so on
        assert trainer("--resume", fault=kill_at_moment, number=number) == -signal.SIGKILL, (
            moment,
            trainer.said,
        )
        assert trainer.run.finished == (moment == MOMENTS[-1])
    assert trainer.results() == whole[0] and not list(trainer.run.folder.glob(".*.tmp"))
    assert trainer("--overwrite", fault=kill_at_moment, number=len(MOMENTS)) == -signal.SIGKILL
    assert len(trainer.run.epochs) == EPOCHS_LEFT[-1] - 1
    assert trainer("--resume") == 0 and trainer.results() == whole[0], trainer.said


def test_a_line_of_the_log_cut_by_a_kill_costs_that_line(trainer, whole):
    assert trainer(fault=kill_in_log, number=5) == -signal.SIGKILL
    assert trainer("--resume") == 0, trainer.said
    assert (
        trainer.results() == whole[0]
        and "resumed after epoch" in (trainer.run.folder / "log.txt").read_text()
    )


@pytest.mark.parametrize(
    "fault, number",
    [(kill_at_write, 1), (kill_at_write, 2), (kill_with_the_cache_in_place, 1)],
    ids=["pixels written", "all written", "in place"],
)
def test_a_half_built_cache_is_never_used(trainer, whole, fault, number):
    assert trainer(fault=fault, number=number) == -signal.SIGKILL
    built = [
        path.parent for path in trainer.cache.glob("*/content.json") if path.parent.suffix != ".tmp"
    ]
    assert len(built) == (fault is kill_with_the_cache_in_place)
    assert trainer("--resume") == 0, trainer.said
    assert ("Reading images" in trainer.said) != bool(built) and trainer.results() == whole[0]


def test_an_evaluation_killed_while_it_writes_leaves_whole_files_and_the_results_alone(
    trainer, whole, forked
):
    def evaluate_in(folder, number=0):
        argv, output = [ROOT / "evaluate.py", folder], trainer.output
        return run_script(forked, argv, output, prepare=kill_at_write, arguments=(number,)).status

    assert trainer() == 0, trainer.said
    folder, kept = trainer.run.folder, trainer.run.folder.parent / "kept"
    shutil.copytree(folder, kept)
    assert evaluate_in(folder) == 0
    expected = {path.name: path.read_bytes() for path in folder.iterdir()}
    shutil.rmtree(folder)
    kept.rename(folder)
    for number in (1, 2, 7) if KILLS > FEW_KILLS else (2, 7):
        assert evaluate_in(folder, number) == -signal.SIGKILL
        found = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".tmp"}
        assert found.items() <= expected.items()
    assert evaluate_in(folder) == 0  # and nothing is left of those that were killed
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == expected
    assert trainer.results() == whole[0]


def test_sigterm_saves_and_says_the_command_that_goes_on(trainer, whole, forked):
    process = trainer.start_and_wait(steps=2 * STEPS + 1)
    process.terminate()
    process.join()
    assert process.exitcode == 143
    command = trainer.said.split("go on with: ")[1].splitlines()[0]
    assert "2 of 8 epochs are saved" in trainer.said and command.endswith("--resume")
    program, *argv = shlex.split(command)
    assert program == "python" and not trainer.leftovers()
    again = run_script(forked, argv, trainer.output)
    assert again.status == 0 and "resumed after epoch" in again.said, again.said
    assert trainer.results() == whole[0]


def test_a_second_process_is_refused_and_a_dead_one_keeps_no_lock(trainer, images, whole):
    first = trainer.start_and_wait(steps=STEPS)
    before = {path.name: path.read_bytes() for path in trainer.run.folder.iterdir()}
    try:
        for flags in ([], ["--resume"], ["--overwrite"]):
            assert trainer(*flags) == 2 and "is being written by another process" in trainer.said
    finally:
        first.kill()
    first.join()
    assert {path.name: path.read_bytes() for path in trainer.run.folder.iterdir()} == before
    assert trainer("--resume") == 0, trainer.said
    assert trainer.results() == whole[0]


def test_a_run_that_another_process_has_finished_meanwhile_is_not_dropped(
    trainer, whole, monkeypatch, capsys
):
    assert trainer() == 0, trainer.said
    looks = itertools.count(1)
    # this process's first look was before the other one ended and left the lock
    finished = Run.finished.fget
    monkeypatch.setattr(Run, "finished", property(lambda run: next(looks) > 1 and finished(run)))
    assert start.main("", train.DATASETS, trainer.argv) == 0
    assert "finished" in capsys.readouterr().out and trainer.results() == whole[0]


def test_two_runs_of_a_sweep_that_start_at_once_share_one_cache(images, tmp_path, forked):
    methods = [["--method", "softmax"], ["--method", "normface", "--mds_W"]]
    trainers = [Trainer(images, tmp_path, forked, *method, "--epochs", "1") for method in methods]
    processes = [trainer.start() for trainer in trainers]
    for process, trainer in zip(processes, trainers):
        process.join()
        assert process.exitcode == 0 and trainer.run.finished, trainer.said
    caches = [path.parent for path in (tmp_path / "cache").rglob("content.json")]
    assert len(caches) == 1 and not trainers[0].leftovers()
    assert sum("Reading images" in trainer.said for trainer in trainers) == 1


FULL = (  # at the first checkpoint, and later
    ("File too large", {"largest_file": 60_000}),
    ("No space left", {"fault": fill_disk_at_write, "number": 12}),
)


def test_a_full_disk_stops_with_a_message_and_the_run_goes_on_when_there_is_room(trainer, whole):
    for reason, faults in FULL:
        assert trainer("--resume", **faults) == 2, (reason, trainer.said)
        assert f": {reason}" in trainer.said and "make room" in trainer.said
        assert "Traceback" not in trainer.said
        assert not trainer.leftovers() and not trainer.run.finished
        for path in trainer.run.folder.glob("*.pt"):
            trainer.run.checkpoint(path.name)
    assert trainer("--resume") == 0, trainer.said
    assert trainer.results() == whole[0]


FAULTS_OF_MEMORY = {
    "no more": (limit_memory, 0),
    "no thread": (limit_memory, 9_000),
    "a thread that cannot start": (starve_threads, 0),
    "reading": (starve_reading, 0),
}


@pytest.mark.skipif(sys.platform != "linux", reason="reads a process's size from /proc")
def test_too_little_memory_ends_a_run_with_a_message_and_a_status_of_its_own(trainer, whole):
    for name, (fault, number) in FAULTS_OF_MEMORY.items():
        process = trainer.start("--resume", fault=fault, number=number)
        process.join(PATIENCE)
        hangs = process.is_alive()
        process.kill()
        process.join()
        assert not hangs, (name, trainer.said)
        assert process.exitcode == startup.NO_MEMORY, (name, trainer.said)
        assert "there is not enough memory" in trainer.said and "--resume" in trainer.said
    assert trainer("--resume") == 0, trainer.said
    assert trainer.results() == whole[0]


def test_a_thread_that_runs_out_of_memory_ends_the_process_that_would_wait_for_it():
    lines = (
        "import startup, threading",
        "def work(): raise MemoryError",
        "thread = threading.Thread(target=work)",
        "thread.start()",
        "thread.join()",
        "print('went on')",
    )
    command = [sys.executable, "-c", "\n".join(lines)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    assert ended.returncode == startup.NO_MEMORY and not ended.stdout
    assert "there is not enough memory" in ended.stderr and "Traceback" not in ended.stderr


@pytest.mark.parametrize("problem", ["a file in the way", "no permission"])
def test_a_record_folder_that_cannot_be_written_is_named_before_anything_else(
    trainer, problem, monkeypatch, capsys
):
    argv, way = trainer.argv, trainer.run.folder.parent
    if problem == "no permission":  # a read-only folder does not stop root, who may run the tests

        def refuse(path):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

        monkeypatch.setattr(run_files, "file_lock", refuse)
    else:
        way.parent.mkdir(parents=True)
        way.write_text("")
    assert start.main("", train.DATASETS, argv) == 2
    message = capsys.readouterr().err
    assert f"cannot write {trainer.run.folder}" in message and "--record" in message
    assert not trainer.cache.exists()


def test_a_truncated_checkpoint_costs_an_epoch_and_nothing_else(trainer, whole):
    assert trainer(fault=break_weights_at_step, number=3 * STEPS + 1) == 1
    path = trainer.run.folder / "last.pt"
    path.write_bytes(path.read_bytes()[:-1000])
    assert trainer("--resume", fault=kill_between_checkpoints, number=1) == -signal.SIGKILL
    assert "last.pt cannot be read" in trainer.said and "going on from last-1.pt" in trainer.said
    assert not path.exists()  # one checkpoint is left, and it is not the damaged one
    assert trainer("--resume") == 0 and "resumed after epoch 2 of 8" in trainer.said, trainer.said
    assert trainer.results() == whole[0]


def test_a_loss_that_is_no_number_stops_the_run_and_leaves_what_was_good(trainer, whole):
    assert trainer(fault=break_weights_at_step, number=2 * STEPS + 3) == 1
    assert "the loss is nan at step 3 of epoch 3, with learning rate 0.00853553" in trainer.said
    assert "smaller --lr" in trainer.said and "Traceback" not in trainer.said
    for name in ("best.pt", "last.pt"):
        checkpoint = trainer.run.checkpoint(name)
        assert checkpoint["epoch"] <= 2 and all(
            value.isfinite().all() for value in checkpoint["model"].values()
        )
    assert trainer("--resume") == 0, trainer.said
    assert trainer.results() == whole[0]


def test_weights_broken_by_the_last_step_of_an_epoch_never_become_the_best(
    images, tmp_path, forked
):
    breaking = ["--batch_size", "64", "--lr", "1e30"]  # one step an epoch
    trainer = Trainer(images, tmp_path, forked, "--method", "softmax", "--use_val", *breaking)
    assert trainer() == 1
    assert "validation split is nan at the end of epoch 1, with learning rate 1e+30" in trainer.said
    assert not list(trainer.run.folder.glob("*.pt"))
