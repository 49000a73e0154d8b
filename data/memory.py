"""Memory that a thread needs before it can say that it lacks some."""

import errno
import mmap

THREAD_BYTES = 16 * 2**20  # a stack, usually 8 MiB, and what a thread's first steps take


def check_room_for_thread() -> None:
    """Asks for what a new thread needs, and gives it back: one that has no memory for its first
    step never says that it has started, for which `Thread.start` waits without an end.

    Raises: OSError: With ENOMEM, if the memory, or what this process may have of it, is too little.
    """
    try:
        mmap.mmap(-1, THREAD_BYTES).close()
    except OSError as error:
        raise OSError(errno.ENOMEM, "no memory is left to start a thread") from error
