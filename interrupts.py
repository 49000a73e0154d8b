"""Import this first in a script: Ctrl-C, also while the imports take their seconds, ends it without a traceback."""

import os
import signal
import sys
from typing import NoReturn

STATUS = 130  # as shells report a process that Ctrl-C ended


def leave(status: int) -> NoReturn:
    """Ends a script; after Ctrl-C by the signal itself, or a loop in the shell would go on with its next round."""
    if status == STATUS and os.name == "posix":
        sys.stdout.flush()
        sys.stderr.flush()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    sys.exit(status)


def _quietly(kind, error, traceback) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        return sys.__excepthook__(kind, error, traceback)
    print("\ninterrupted", file=sys.stderr)
    leave(STATUS)


sys.excepthook = _quietly
