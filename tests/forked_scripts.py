"""Scripts run as a shell runs them, each in a process forked from one that has imported everything
already: see `forked` in conftest.py.
"""

import os
import runpy
import sys
import threading
from pathlib import Path
from typing import NamedTuple

import torch
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]


class Ended(NamedTuple):
    """How a script ended: its exit status, negative for the signal that ended it, and what it wrote
    to standard output and error together.
    """

    status: int
    said: str


def start_script(forked, argv, output, environment=None, prepare=None, arguments=()):
    """Starts `python ARGV`, with all that it says in the file `output`; returns the process.

    `prepare(*arguments)` is called in the new process before the script begins.
    """
    words = [str(word) for word in argv]
    process = forked.Process(
        target=_run, args=(words, output, environment or {}, prepare, arguments)
    )
    process.start()
    return process


def run_script(forked, argv, output, **options) -> Ended:
    """The same, to its end."""
    process = start_script(forked, argv, output, **options)
    process.join()
    return Ended(process.exitcode, Path(output).read_text())


def _run(argv, output, environment, prepare, arguments):
    with open(output, "wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.update(environment)
    torch.set_num_threads(1)
    tqdm.set_lock(threading.RLock())  # the usual one outlives a killed process
    sys.argv = argv
    if prepare is not None:
        prepare(*arguments)
    runpy.run_path(argv[0], run_name="__main__")
