"""What the scripts set up before anything else."""

import mmap
import os
import platform
import subprocess
import sys
import types
from pathlib import Path

import pytest
from waiting import PATIENCE

import startup

# what a step of training does: a few pieces of some megabytes, all given back at its end
STEPS = """
import resource, numpy as np
{start}
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def step():
    kept = [np.ones(200_000) for _ in range(4)]
for _ in range(3):
    step()
before = faults()
for _ in range(50):
    step()
print(faults() - before)
"""
ROOT = Path(__file__).resolve().parents[1]
GLIBC = platform.libc_ver()[0] == "glibc"


def bytes_got(start: str, **environment: str) -> int:
    """Memory that the steps got anew, in whole pages."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    clean.pop("GLIBC_TUNABLES", None)
    done = subprocess.run(
        [sys.executable, "-c", STEPS.format(start=start)],
        env={**clean, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout) * mmap.PAGESIZE


@pytest.mark.skipif(not GLIBC, reason="other C libraries have no such setting")
def test_what_a_step_frees_stays_for_the_next_step():
    """50 steps of 6.4 MB are 320 MB; a page has 4 KiB, or 64 on some machines."""
    assert bytes_got("import startup") < 20e6
    assert bytes_got("import startup", MALLOC_TRIM_THRESHOLD_="131072") > 80e6  # the user's word


def test_a_complaint_is_written_in_one_piece(monkeypatch):
    """Lines of several processes at one terminal then stay whole."""
    pieces = []
    stream = types.SimpleNamespace(write=pieces.append, flush=lambda: None)
    monkeypatch.setattr(startup.sys, "stderr", stream)
    startup.complain("error: lost\ngo on with: this")
    assert pieces == ["error: lost\ngo on with: this\n"]


@pytest.mark.parametrize("closed", ["1>&-", "2>&-", "1>&- 2>&-"])
def test_a_script_whose_streams_are_closed_ends_as_others(closed):
    code = "import startup, sys; startup.set_up_streams(); print(1); startup.complain('2')"
    code += "; sys.stdout.flush(); startup.leave(0)"
    command = f'"{sys.executable}" -c "{code}" {closed}'
    assert subprocess.run(command, shell=True, cwd=ROOT, timeout=PATIENCE).returncode == 0


@pytest.mark.parametrize(
    "to, status", [("| head -c 1 >/dev/null", 0), ("> /dev/full", 2), ("2> /dev/full", 2)]
)
def test_the_work_goes_on_where_nothing_can_be_printed(tmp_path, to, status):
    if "full" in to and not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    code = (
        "import startup, sys; startup.set_up_streams()\n"
        "for _ in range(2000): print('a' * 100); startup.complain('b')\n"
        f"sys.stdout.flush(); open({str(tmp_path / 'done')!r}, 'w').close(); startup.leave(0)"
    )
    (tmp_path / "script.py").write_text(code)
    command = f'set -o pipefail; "{sys.executable}" "{tmp_path / "script.py"}" {to}'
    path = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", command], env=path, capture_output=True, text=True)
    assert done.returncode == status and (tmp_path / "done").exists()
    assert ("could not be written" in done.stderr) == (to == "> /dev/full")
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr


def test_what_python_would_colour_has_no_codes_in_it():
    """They would be printed as text. Python 3.13 colours tracebacks, 3.14 the help."""
    code = (
        "import startup, os, argparse; startup.set_up_streams(); print(os.environ['PYTHON_COLORS'])"
    )
    code += "; argparse.ArgumentParser(prog='train.py').print_help(); 1 / 0"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "FORCE_COLOR": "1", "PYTHON_COLORS": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith("0\nusage: train.py [-h]\n")
    assert "ZeroDivisionError" in done.stderr
    assert "1;3" not in done.stdout + done.stderr


def test_a_library_that_finds_no_memory_is_no_fault_of_the_program():
    """What Linux says below a limit of memory that the libraries alone reach."""
    code = "import startup; raise ImportError('lib.so: failed to map segment from shared object')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == startup.NO_MEMORY
    assert done.stderr.strip() == startup.NO_MEMORY_MESSAGE


@pytest.mark.parametrize("script", ["train.py", "predict.py", "evaluate.py"])
def test_without_the_packages_a_script_says_what_to_install(script):
    python = [sys.executable, "-S"]  # which finds no installed package
    done = subprocess.run([*python, script, "x"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and not done.stdout
    (line,) = done.stderr.splitlines()
    assert "'numpy' is not installed" in line and "pip install -r requirements.txt" in line
