"""tqdm's progress bars, with a lock that is this process's own.

By itself tqdm takes one that processes share. Where these are not forked (macOS, and Linux from
Python 3.14 on) such a lock starts a helper process, which complains of a leak when Ctrl-C or a kill
ends a script.
"""

import threading

from tqdm import tqdm

__all__ = ["tqdm"]

tqdm.set_lock(threading.RLock())
