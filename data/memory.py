"""How much memory there is, and what a thread needs before it can say that it lacks some."""

import ctypes
import errno
import mmap
import os

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


class _MemoryStatus(ctypes.Structure):
    """MEMORYSTATUSEX of Windows: length, percent in use, then bytes."""

    _fields_ = [("length", ctypes.c_uint32), ("load", ctypes.c_uint32)] + [
        (name, ctypes.c_uint64)
        for name in ("total", "free", *(f"other{number}" for number in range(5)))
    ]


def memory_bytes() -> int:
    """All of the main memory; 0 where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return _on_windows().total


def free_memory_bytes() -> int:
    """What is free of the main memory; 0 where the system does not say, as on macOS."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return _on_windows().free


def _on_windows() -> _MemoryStatus:
    """What Windows says; zeros elsewhere."""
    status = _MemoryStatus(length=ctypes.sizeof(_MemoryStatus))
    if hasattr(ctypes, "windll"):
        ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
    return status
