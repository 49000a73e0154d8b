"""Scripts run as a shell runs them, each in a process forked from one that has imported everything
already: see `forked` in conftest.py.
"""

import multiprocessing
import os
import runpy
import socket
import sys
from pathlib import Path
from typing import NamedTuple

import torch

ROOT = Path(__file__).resolve().parents[2]


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


ASKS = """#!{python} -SI
import os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    words = [os.environ.get("OMP_NUM_THREADS", "1"), *sys.argv[1:]]
    socket.send_fds(server, ["\\n".join(words).encode()], [1, 2])
    sys.exit(int(server.recv(9)))
"""


def quick_python(place):
    """Writes a program into a folder that does what python does with a script, without importing
    anything: `serve`, in another process, runs the script. Returns its path.
    """
    path = place / "quick_python"
    path.write_text(ASKS.format(python=sys.executable, address=str(place / "socket")))
    path.chmod(0o755)
    return path


def serve(path):
    """Runs what the program of that path asks for, each in a process of its own, until it is ended
    from outside.
    """
    fork = multiprocessing.get_context("fork")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path.with_name("bound")))
        listener.listen()
        path.with_name("bound").rename(path.with_name("socket"))  # seen when it answers
        while True:
            connection, _ = listener.accept()
            fork.Process(target=_answer, args=(fork, connection, path)).start()
            connection.close()


def _answer(fork, connection, path):
    message, outputs, _, _ = socket.recv_fds(connection, 100_000, 2)
    threads, *argv = message.decode().split("\n")
    process = fork.Process(target=_asked, args=(argv, threads, outputs, path))
    process.start()
    process.join()
    connection.send(str(process.exitcode).encode())


def _asked(argv, threads, outputs, path):
    for number, output in enumerate(outputs, 1):
        os.dup2(output, number)
    # a stream remembers whether what it wrote to when it was made can be searched
    sys.stdout, sys.stderr = (open(n, "w", encoding="utf-8", closefd=False) for n in (1, 2))
    sys.executable = str(path)  # a script that writes commands names the program again
    _play(argv, {"OMP_NUM_THREADS": threads})


def _run(argv, output, environment, prepare, arguments):
    with open(output, "wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    _play(argv, environment, prepare, arguments)


def _play(argv, environment, prepare=None, arguments=()):
    os.environ.update(environment)
    torch.set_num_threads(1)
    sys.argv = argv
    if prepare is not None:
        prepare(*arguments)
    runpy.run_path(argv[0], run_name="__main__")
