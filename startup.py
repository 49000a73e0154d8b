"""Import this first in a script, before anything heavy: how its threads wait, how Ctrl-C ends it,
how it prints.

- Threads that wait for work sleep instead of spinning. Spinning gains little on an idle machine,
  but where other processes want the cores too (a sweep, a shared server) two spinning threads made
  an epoch of the demo 13 times slower. A value that the user has set is kept.
- Memory that a step of training frees stays with the process for the next step, where the C library
  is glibc: to give some megabytes back and to get them anew, page by page, takes a tenth of the
  time of a head's step on features. Values that the user has set are kept.
- What torch cannot compute on the GPU of a Mac it computes on the CPU, and says so.
- Ctrl-C ends a script without a traceback, also while the imports take their seconds.
- Where a thread has no memory to start or to go on, the process ends: others would wait for it for
  ever.
- Where a package is not installed the script says so, and how to install it.
- Where nobody reads what is printed any more, as behind `| head` or when a terminal is closed, or
  the disk that it goes to is full, the work goes on without.
- What the terminal cannot show, such as a file name that is not valid text, is replaced instead of
  ending the script; what would control it, such as an escape code in a file name, is printed as
  text.
"""

import contextlib
import ctypes
import errno
import functools
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TextIO

from files.text import for_terminal

UP = "\x1b[A"  # by which a progress bar goes up a line
STATUS = 130  # as shells report a process that Ctrl-C ended
NO_MEMORY = 3  # exit status where the memory did not suffice
NO_MEMORY_MESSAGE = (
    "error: there is not enough memory. Close other programs or raise the limit, then give the same"
    " command again (training goes on with --resume); a smaller --batch_size needs less"
)
NO_PACKAGE_MESSAGE = (
    "error: the package {name!r} is not installed in the Python that runs this, {python}. Activate"
    " the environment that has what this project needs, or install it there:"
    " python -m pip install -r requirements.txt"
)

_HERE = Path(__file__).parent
# why nobody reads: the pipe is closed (on Windows an invalid argument), the terminal is gone
_NOBODY = (errno.EPIPE, errno.EIO, *((errno.EINVAL,) if os.name == "nt" else ()))
_unprinted: list[OSError] = []  # why what was printed is not where it should be

KEPT = 256 << 20  # bytes that are free at the end of the heap and stay there
MAPPED = 32 << 20  # larger pieces are got and given back each by itself, as by glibc's own largest
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is imported
os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")  # the same


def leave(status: int) -> NoReturn:
    """Ends a script; after Ctrl-C by the signal itself, or a loop in the shell would go on with its
    next round. What was printed for a file and is not in it is an error.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    if _unprinted and not status:
        reason = _unprinted[0].strerror
        complain(f"error: what this prints could not be written ({reason}); all else is done")
        status = 2
    if status == STATUS and os.name == "posix":
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    sys.exit(status)


def complain(text: str) -> None:
    """Prints lines on standard error in one piece: `print` writes the end of the last one by
    itself, and between the two another process may write.
    """
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def keep_freed_memory() -> None:
    """Has glibc keep what is freed up to KEPT bytes; does nothing with other C libraries, which
    have no such call, or where the environment says what to keep.
    """
    if {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"} & set(os.environ):
        return
    with contextlib.suppress(AttributeError, OSError, TypeError):  # TypeError: Windows
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_TRIM_THRESHOLD, KEPT)
        mallopt(_M_MMAP_THRESHOLD, MAPPED)


def replace_closed_streams() -> None:
    """Where standard output or error is closed, as by `2>&-` in a shell, what is printed is
    dropped. A file that is written would else take its place, and get what libraries print.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))


def set_up_streams() -> None:
    """Makes standard output and error replace characters that they cannot encode, and print those
    that control a terminal as escapes.
    """
    # Python 3.13 colours tracebacks and 3.14 the help, whose codes would be printed as text
    os.environ["PYTHON_COLORS"] = "0"
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # tests put others in their place
            stream.reconfigure(errors="replace")
            _make_harmless(stream, "\n\t\r" if stream is sys.stderr else "\n\t")


def _make_harmless(stream: TextIO, kept: str) -> None:
    if "write" in vars(stream):  # done before
        return
    write, flush = stream.write, stream.flush

    def write_harmless(text: str) -> int:
        parts = text.split(UP) if "\r" in kept else [text]
        _try_to(write, stream, UP.join(for_terminal(part, kept) for part in parts))
        return len(text)

    stream.write, stream.flush = write_harmless, lambda: _try_to(flush, stream)


def _try_to(act: Callable, stream: TextIO, *text: str) -> None:
    """Writes or flushes; where that fails, what is printed from then on is dropped."""
    try:
        act(*text)
    except OSError as error:
        if error.errno not in _NOBODY:
            _unprinted.append(error)
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _quietly(kind, error, traceback) -> None:
    unmapped = issubclass(kind, ImportError) and "failed to map segment" in str(error)
    if issubclass(kind, MemoryError) or unmapped:  # by a library, or by the loader of libraries
        print(NO_MEMORY_MESSAGE, file=sys.stderr)
        leave(NO_MEMORY)
    if issubclass(kind, ModuleNotFoundError) and _is_package(error.name):
        print(NO_PACKAGE_MESSAGE.format(name=error.name, python=sys.executable), file=sys.stderr)
        leave(2)
    if not issubclass(kind, KeyboardInterrupt):
        return sys.__excepthook__(kind, error, traceback)
    print("\ninterrupted", file=sys.stderr)
    leave(STATUS)


def _is_package(name: str | None) -> bool:
    """Whether a module that is not there is none of this project."""
    first = (name or "").partition(".")[0]
    return bool(first) and not any(_HERE.glob(f"{first}*"))


def _end_without_memory(report: Callable, failure) -> None:
    """What a thread calls when it fails. One that fails while it starts never says that it has
    started, for which `Thread.start` waits without an end.
    """
    error = failure.exc_value
    while error is not None and not isinstance(error, MemoryError):
        error = error.__context__  # a thread that cannot start fails again while it clears up
    if error is not None and threading.get_ident() != threading.main_thread().ident:
        os.write(2, b"\n" + NO_MEMORY_MESSAGE.encode() + b"\n")  # print would need memory
        os._exit(NO_MEMORY)
    report(failure)


replace_closed_streams()
keep_freed_memory()
sys.excepthook = _quietly
sys.unraisablehook = functools.partial(_end_without_memory, sys.unraisablehook)
threading.excepthook = functools.partial(_end_without_memory, threading.excepthook)
