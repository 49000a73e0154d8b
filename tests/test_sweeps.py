"""The sweeps: the published grid, states of runs, parallel workers, failures, signals, and SLURM
arrays.
"""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from images import make_folder
from waiting import PATIENCE, wait_until

import data
import train
from files.locks import file_lock
from training import loop, start

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
sys.path.insert(0, str(SCRIPTS))

import grid as sweeps  # noqa: E402

GRID = sweeps.read_grid(sweeps.GRID)
NAMES = ("demo", "MicroS", "MicroL", "MesoZ", "CIFAR100", "NABirds")
pytestmark = pytest.mark.skipif(os.name == "nt", reason="sweeps are for POSIX shells")


def call(script, *argv, **variables):
    """Runs a script to its end; returns its status and all it printed."""
    command, environment = (
        [SCRIPTS / script, *map(str, argv)],
        {**os.environ, "PYTHON": sys.executable, **variables},
    )
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("dataset", NAMES)
def test_the_published_grid_has_fourteen_configurations_five_seeds_and_validates(dataset):
    seeds = None if dataset == NAMES[0] else ["1"]  # those of the grid are the same for all
    planned = list(sweeps.plan(GRID, dataset, seeds))
    expected = {f"seed{seed}" for seed in seeds or range(1, 6)}
    assert {run.folder.name for run in planned} == expected
    assert len({run.folder for run in planned}) == len(planned) == 14 * len(expected)
    methods = {
        run.folder.parent.name.removesuffix("-val").replace("-size", "")
        for run in planned
        if run.folder.name == "seed1"
    }
    variants = ("", "-ema", "-dynamic", "-ema-dynamic", "-mds", "-dynamic-mds")
    expected = {f"{head}-euc{variant}" for head in ("NormFace", "DR") for variant in variants}
    assert {name.replace("-val", "") for name in methods} == expected | {
        "softmax",
        "DR-euc-mds-val-corr".replace("-val", ""),
    }
    commands = [run.command for run in planned]
    assert all("--use_val" in command and "--distance" not in command for command in commands)
    plankton = dataset.startswith("M")  # whose images have sizes that say something
    assert all(("--size_inform" in command) == plankton for command in commands)


def test_seeds_and_flags_of_the_call_go_to_every_run():
    planned = list(
        sweeps.plan(
            GRID, "demo", seeds=["7", "8"], extra=["--record", "elsewhere", "--epochs", "3"]
        )
    )
    assert (
        len(planned) == 28
        and str(planned[14].folder) == "elsewhere/demo/softmax-val-epochs=3/seed8"
    )
    with pytest.raises(ValueError, match="--seeds"):
        list(sweeps.plan(GRID, "demo", seeds=[]))
    with pytest.raises(ValueError, match="no dataset 'Micro'; choose from demo"):
        list(sweeps.plan(GRID, "Micro"))


def write_grid(path, text):
    path.write_text(text)
    return path


def test_sections_of_another_grid_are_combined(tmp_path):
    grid = write_grid(
        tmp_path / "losses.txt",
        """
[datasets]
demo train.py --dataset demo   # a comment
[losses]
--loss ce
--loss hxe --hxe_alpha 0.2
[sizes]
-
--reduction_factor 2
[seeds]
--seed 3
""",
    )
    planned = list(sweeps.plan(sweeps.read_grid(grid), "demo", extra=["--method", "softmax"]))
    losses, parts = (
        (["--loss", "ce"], ["--loss", "hxe", "--hxe_alpha", "0.2"]),
        ([], ["--reduction_factor", "2"]),
    )
    ends = ["--seed", "3", "--method", "softmax", "--resume"]
    assert [run.command[4:] for run in planned] == [
        [*loss, *part, *ends] for loss in losses for part in parts
    ]
    assert len({run.folder for run in planned}) == 4
    assert {run.folder.name for run in planned} == {"seed3"}


@pytest.mark.parametrize(
    "text, message",
    [
        ("--seed 1", "line 1: expected flags below a .section"),
        ("[datasets]\ndemo\n", "line 2: expected a dataset, its script"),
        ("[datasets]\ndemo ../train.py\n", "line 2: expected a dataset, its script"),
        ("[datasets]\ndemo train_elsewhere.py\n", "line 2: expected a dataset, its script"),
        ("[datasets]\ndemo evaluate.py\n", "line 2: expected a dataset, its script"),
        ("[datasets]\ndemo train.py\n[a]\nseed 1", "line 4: expected flags"),
        ("[datasets]\ndemo train.py\n[a]\n--x 'y", "line 4: No closing quotation"),
        ("[datasets]\ndemo train.py\n[a]\n", r"the section \[a\] is missing or empty"),
        ("[a]\n--seed 1", r"the section \[datasets\] is missing"),
        ("[datasets]\nd train.py\n[a]\n--x\n[a]\n--y", r"line 5: the section \[a\] comes twice"),
    ],
)
def test_a_grid_that_cannot_be_read_is_named_with_the_line(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        sweeps.read_grid(write_grid(tmp_path / "grid.txt", text))


def test_flags_that_a_run_refuses_are_named_with_its_command(capsys):
    with pytest.raises(SystemExit):
        sweeps.main(["demo", "--", "--distance", "arccos"])  # softmax has no distance
    error = capsys.readouterr().err
    assert "--distance" in error and "--method softmax --distance arccos --resume" in error


def test_a_sweep_skips_finished_runs_goes_on_with_interrupted_ones_and_starts_the_others(
    tmp_path, monkeypatch, capsys, served_python
):
    images = make_folder(tmp_path / "my images", {"a/b": 8, "a/c": 8, "d": 8})
    shared = [
        "--dataset",
        "folder",
        "--data_dir",
        str(images),
        "--backbone",
        "conv4",
        "--dim",
        "4",
        "--resize",
        "16",
        "--batch_size",
        "8",
        "--use_val",
        "--epochs",
        "2",
        "--GPU",
        "cpu",
        "--record",
        str(tmp_path / "record"),
    ]
    flags, methods = " ".join(f"'{flag}'" for flag in shared), ("softmax", "normface", "DR")
    choices = [f"--method {method}" for method in methods]
    grid = write_grid(
        tmp_path / "grid.txt",
        "\n".join([f"[datasets]\ntiny train.py {flags}\n[methods]", *choices]),
    )
    planned = dict(zip(methods, sweeps.plan(sweeps.read_grid(grid), "tiny")))

    assert start.main("", train.DATASETS, [*shared, "--method", "softmax"]) == 0
    interrupt_after_an_epoch(monkeypatch, [*shared, "--method", "normface"])
    finished = (planned["softmax"].folder / "metrics.csv").stat().st_mtime_ns
    capsys.readouterr()
    assert sweeps.main(["tiny", "--grid", str(grid)]) == 0
    listed, counts = capsys.readouterr()
    assert [line.split("  ")[0] for line in listed.splitlines()] == [
        "finished",
        "interrupted at epoch 1 of 2",
        "not started",
    ]
    assert counts.strip() == "3 runs: 1 finished, 1 interrupted, 1 not started"

    python = {"PYTHON": str(served_python), "OMP_NUM_THREADS": "1"}
    status, printed = call("sweep.sh", "tiny", "--grid", grid, "--jobs", "2", **python)
    assert status == 0 and "tiny: 3 of 3 runs finished, 0 failed, 0 left, 0 running" in printed
    assert (planned["softmax"].folder / "metrics.csv").stat().st_mtime_ns == finished
    assert "resumed after epoch 1 of 2" in (planned["normface"].folder / "log.txt").read_text()
    assert "accuracy" in Path(f"{planned['DR'].folder}.out").read_text()
    assert (
        sweeps.main(["tiny", "--grid", str(grid), "--left", "--commands"]) == 0
        and capsys.readouterr().out == ""
    )


def interrupt_after_an_epoch(monkeypatch, argv):
    original, steps = loop._forward_backward, []

    def stop(*arguments):
        steps.append(1)
        if len(steps) > 3:  # 16 training images in batches of 8: in the second epoch
            raise KeyboardInterrupt
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_forward_backward", stop)
        assert start.main("", train.DATASETS, argv) == 130


def test_a_run_that_another_process_writes_is_seen_as_running(tmp_path):
    folder = tmp_path / "seed1"
    folder.mkdir()
    assert sweeps.state(folder) == "not started"
    (folder / "config.json").write_text('{"format": 1, "options": {"epochs": 9}}')
    with file_lock(folder / ".lock"):
        assert sweeps.state(folder) == "running at epoch 0 of 9"
    assert sweeps.state(folder) == "interrupted at epoch 0 of 9"
    (folder / "config.json").write_text("{}")
    assert sweeps.state(folder).startswith("damaged (")
    shutil.rmtree(folder)


STUB = """#!/usr/bin/env bash
# Stands for python: lists three runs, which wait for a signal.
for i in 1 2 3; do
    command="bash '{0}/wait.sh' '{0}/run$i'"
    if [[ " $* " == *" --in_process "* ]]; then
        mkdir "{0}/taken$i" 2>/dev/null || continue
        trap 'kill -TERM $!; wait $!; exit 143' TERM
        bash -c "exec $command" &
        wait $!
        continue
    fi
    [[ " $* " == *" --commands "* ]] || printf 'not started\\t%s\\t' "{0}/run$i"
    echo "$command"
done
"""
WAIT = """trap 'echo "$*" >"$1.stopped"; exit 143' TERM
touch "$1.started"
[ ! -e "$1.broken" ] || { echo "the reason"; exit 3; }
[ ! -e "$(dirname "$1")/quick" ] || { mkdir -p "$1" && touch "$1/metrics.csv" && exit; }
for i in $(seq 3000); do sleep 0.1; done
"""

# bash reads it first where BASH_ENV names it: what a script starts runs for a while before the
# script knows its number, as on a busy machine
LATE = """set -T
trap 'case $BASH_COMMAND in *=*\\$!*) sleep 0.2 ;; esac' DEBUG
"""


@pytest.fixture
def stub(tmp_path):
    """A stand-in for python, and for SLURM's scontrol; returns the environment that has them."""
    for name, text in (
        ("python", STUB.format(tmp_path)),
        ("wait.sh", WAIT),
        ("scontrol", f'#!/bin/sh\necho "$@" >{tmp_path}/requeued\n'),
    ):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "late.sh").write_text(LATE)
    return {
        **os.environ,
        "PYTHON": str(tmp_path / "python"),
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
    }


def stop_with(signum, argv, environment, started):
    """Starts a script, signals it once so many runs have started, and returns what it printed and
    its status.

    SIGINT goes to all its processes, as from a terminal, the others to the script alone.
    """
    process = subprocess.Popen(
        [SCRIPTS / argv[0], *argv[1:]],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL
        ),  # a test run in the background ignores it
    )
    place = Path(environment["PYTHON"]).parent
    wait_until(lambda: len(list(place.glob("*.started"))) == started)
    os.killpg(process.pid, signum) if signum == signal.SIGINT else process.send_signal(signum)
    return process.communicate(timeout=PATIENCE)[0], process.returncode


@pytest.mark.parametrize("jobs", ["1", "2", "5"])
def test_a_failed_run_stops_no_other_and_is_told_at_the_end(stub, tmp_path, jobs):
    (tmp_path / "quick").touch(), (tmp_path / "run1.broken").touch()
    status, printed = call("sweep.sh", "any", "--jobs", jobs, **stub)
    assert (
        status == 1
        and "any: 2 of 3 runs finished, 1 failed, 0 left, 0 running elsewhere" in printed
    )
    assert (
        f"FAILED     {tmp_path}/run1  (status 3: the reason)" in printed
        and f"failed  {tmp_path}/run1  (see" in printed
    )
    (tmp_path / "run1.broken").unlink()
    assert call("sweep.sh", "any", "--jobs", jobs, **stub)[0] == 0


@pytest.mark.parametrize(
    "signum, late",
    [(signal.SIGTERM, {}), (signal.SIGINT, {}), (signal.SIGTERM, {"BASH_ENV": "late.sh"})],
    ids=["SIGTERM", "SIGINT", "late"],
)
def test_a_signal_stops_all_runs_of_a_sweep_and_starts_no_more(
    stub, tmp_path, monkeypatch, signum, late
):
    monkeypatch.chdir(tmp_path)
    printed, status = stop_with(
        signum, ["sweep.sh", "any", "--jobs", "2", "--GPU", "0,1"], {**stub, **late}, started=2
    )
    assert (
        status == 143
        and "any: 0 of 3 runs finished, 0 failed, 3 left, 0 running elsewhere" in printed
    )
    stopped = [file.read_text().split() for file in tmp_path.glob("*.stopped")]
    assert sorted(words[1:] for words in stopped) == [["--GPU", "0"], ["--GPU", "1"]]
    assert not list(tmp_path.glob("run3*"))


def test_jobs_of_one_process_each_run_all_and_get_signals(stub, tmp_path):
    (tmp_path / "quick").touch()
    status, printed = call("sweep.sh", "any", "--jobs", "2", "--in_process", **stub)
    assert status == 0 and "any: 3 of 3 runs finished, 0 failed, 0 left" in printed
    (tmp_path / "quick").unlink()
    for place in tmp_path.glob("*[0-9]*"):
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    argv = ["sweep.sh", "any", "--jobs", "2", "--in_process"]
    late = {**stub, "BASH_ENV": str(tmp_path / "late.sh")}
    printed, status = stop_with(signal.SIGTERM, argv, late, started=2)
    assert status == 143 and "0 of 3 runs finished, 0 failed, 3 left" in printed
    assert len(list(tmp_path.glob("*.stopped"))) == 2


def test_a_slurm_task_is_the_line_of_its_number_and_queued_again_before_its_time_is_up(
    stub, tmp_path
):
    environment = {**stub, "SLURM_ARRAY_TASK_ID": "2", "SLURM_JOB_ID": "77"}
    _, status = stop_with(signal.SIGUSR1, ["slurm_array.sh", "any"], environment, started=1)
    assert status == 0 and (tmp_path / "requeued").read_text() == "requeue 77\n"
    assert [file.name for file in tmp_path.glob("run*.stopped")] == ["run2.stopped"]


def test_a_slurm_task_that_is_told_to_stop_leaves_queueing_to_slurm(stub, tmp_path):
    environment = {**stub, "SLURM_ARRAY_TASK_ID": "3", "SLURM_JOB_ID": "77"}
    environment["BASH_ENV"] = str(tmp_path / "late.sh")
    _, status = stop_with(signal.SIGTERM, ["slurm_array.sh", "any"], environment, started=1)
    assert (
        status == 143
        and not (tmp_path / "requeued").exists()
        and (tmp_path / "run3.stopped").exists()
    )


def test_a_line_of_the_list_is_a_job_of_any_queue_and_gets_its_signals(stub, tmp_path):
    (tmp_path / "runs.txt").write_text(call("sweep.sh", "any", "--commands", **stub)[1])
    line = (
        'exec bash -c "exec $(sed -n "${PBS_ARRAY_INDEX}p" runs.txt)"'  # as docs/clusters.md has it
    )
    assert line in (SCRIPTS.parent / "docs" / "clusters.md").read_text()
    job = subprocess.Popen(["bash", "-c", line], env={**stub, "PBS_ARRAY_INDEX": "2"}, cwd=tmp_path)
    wait_until((tmp_path / "run2.started").exists)
    job.terminate()
    assert job.wait(PATIENCE) == 143
    assert [file.name for file in tmp_path.glob("run*.stopped")] == ["run2.stopped"]


def test_a_slurm_task_ends_with_the_status_of_its_run_and_refuses_wrong_numbers(stub, tmp_path):
    (tmp_path / "quick").touch()
    assert call("slurm_array.sh", "any", **stub, SLURM_ARRAY_TASK_ID="1")[0] == 0
    status, printed = call("slurm_array.sh", "any", **stub, SLURM_ARRAY_TASK_ID="4")
    assert status == 2 and "--array=1-3" in printed
    assert "--left" in call("slurm_array.sh", "any", "--left", **stub, SLURM_ARRAY_TASK_ID="1")[1]
    assert "SLURM_ARRAY_TASK_ID" in call("slurm_array.sh", "any", **stub)[1]


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--list"], "which dataset"),
        (["demo", "--epochs", "3"], "behind --"),
        (["demo", "--jobs", "0"], "--jobs must be"),
        (["demo", "--seeds"], "--seeds needs a value"),
        (["demo", "MicroS"], "one dataset at a time"),
        (["demo", "--list", "--GPU", "0"], "--list starts nothing"),
    ],
)
def test_a_wrong_call_of_the_sweep_is_refused_at_once(stub, argv, message):
    status, printed = call("sweep.sh", *argv, **stub)
    assert status == 2 and message in printed


def test_help_of_the_sweep_is_its_header():
    status, printed = call("sweep.sh", "--help")
    assert status == 0 and "--jobs N" in printed and "set -euo" not in printed


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shell_scripts_pass_shellcheck():
    subprocess.run(["shellcheck", *SCRIPTS.glob("*.sh")], check=True)


@pytest.fixture
def small_grid(tmp_path):
    """A table of three methods on a few images, the second of which fails; and its plan."""
    images = make_folder(tmp_path / "data" / "images", {"a/b": 8, "a/c": 8, "d": 8})
    flags = f"--data_dir '{images}' --backbone conv4 --dim 4 --resize 16 --batch_size 8 --use_val"
    flags += f" --epochs 2 --GPU cpu --record '{tmp_path / 'record'}' --freeze butlast"
    choices = ["softmax", "normface --mds_W --hr 1", "DR --ema"]
    text = f"[datasets]\ntiny train.py --dataset folder {flags} --rand_backbone\n[methods]\n"
    text += "\n".join(f"--method {choice}" for choice in choices)
    grid = write_grid(tmp_path / "grid.txt", text)
    return grid, list(sweeps.plan(sweeps.read_grid(grid), "tiny"))


def test_a_grid_in_one_process_reads_images_once_and_makes_what_single_runs_make(
    small_grid, tmp_path, monkeypatch, capfd
):
    grid, planned = small_grid
    loads, original = [], data.load
    monkeypatch.setattr(data, "load", lambda options: loads.append(1) or original(options))
    assert sweeps.main(["tiny", "--grid", str(grid), "--in_process"]) == 1
    printed = capfd.readouterr().out
    assert len(loads) == 1
    assert "tiny: 2 of 3 runs finished, 1 failed, 0 left" in printed
    assert f"[2/3] FAILED     {planned[1].folder}  (status 2: error: " in printed
    assert "accuracy" not in printed and "computed before" in printed_by(planned[2])
    made = {run.folder: contents(run.folder) for run in (planned[0], planned[2])}
    shutil.rmtree(tmp_path / "record")
    for run in (planned[0], planned[2]):
        assert start.main("", train.DATASETS, run.command[2:]) == 0
        assert contents(run.folder) == made[run.folder]
    assert sweeps.main(["tiny", "--grid", str(grid), "--in_process"]) == 1  # only what is left
    assert "[1/3]" not in capfd.readouterr().out


def printed_by(run):
    return Path(f"{run.folder}.out").read_text()


def contents(folder):
    names = ("last.pt", "best.pt", "epochs.csv", "metrics.csv", "test.pkl")
    return {name: (folder / name).read_bytes() for name in names}


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemError])
def test_ctrl_c_ends_a_grid_in_one_process_and_a_mistake_in_it_does_not(
    small_grid, monkeypatch, capfd, stop
):
    grid, planned = small_grid

    def fail(*arguments):
        raise stop("a mistake")

    monkeypatch.setattr(loop, "_train_epoch", fail)
    status = sweeps.main(["tiny", "--grid", str(grid), "--in_process"])
    printed = capfd.readouterr().out
    if stop is KeyboardInterrupt:
        assert status == 130 and "[2/3]" not in printed and "0 failed, 3 left" in printed
    else:
        assert status == 1 and "[3/3] FAILED" in printed and "3 failed, 0 left" in printed
        assert "Traceback" in printed_by(planned[0])


def test_processes_share_the_runs_of_a_grid_by_claims(small_grid, tmp_path, monkeypatch, capfd):
    grid, planned = small_grid
    (tmp_path / "claims" / "0").mkdir(parents=True)
    monkeypatch.setattr(sweeps, "_run_one", lambda run, shared: (0, ""))
    argv = ["tiny", "--grid", str(grid), "--in_process", "--claims", str(tmp_path / "claims")]
    assert sweeps.main(argv) == 0
    assert "[1/3]" not in capfd.readouterr().out
    assert (tmp_path / "claims" / "2" / "status").read_text() == "0\n"
    assert not (tmp_path / "claims" / "0" / "status").exists()
