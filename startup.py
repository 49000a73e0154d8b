"""Import this first in a script, before anything heavy: how its threads wait, how Ctrl-C ends it,
how it prints.

- Threads that wait for work sleep instead of spinning. Spinning gains little on an idle machine,
  but where other processes want the cores too (a sweep, a shared server) two spinning threads made
  an epoch of the demo 13 times slower. A value that the user has set is kept.
- Ctrl-C ends a script without a traceback, also while the imports take their seconds.
- What the terminal cannot show, such as a file name that is not valid text, is replaced instead of
  ending the script.
"""

import os
import signal
import sys
from typing import NoReturn

STATUS = 130  # as shells report a process that Ctrl-C ended

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is imported


def leave(status: int) -> NoReturn:
    """Ends a script; after Ctrl-C by the signal itself, or a loop in the shell would go on with its
    next round.
    """
    if status == STATUS and os.name == "posix":
        sys.stdout.flush()
        sys.stderr.flush()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    sys.exit(status)


def set_up_streams() -> None:
    """Makes standard output and error replace characters that they cannot encode."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # tests put others in their place
            stream.reconfigure(errors="replace")


def _quietly(kind, error, traceback) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        return sys.__excepthook__(kind, error, traceback)
    print("\ninterrupted", file=sys.stderr)
    leave(STATUS)


sys.excepthook = _quietly
