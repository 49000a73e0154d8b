"""Independent computations side by side: numpy leaves other threads alone while it computes."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

MOST = 4  # each has blocks of its own in memory


def count_threads() -> int:
    """How many threads may compute: OMP_NUM_THREADS, as in torch and numpy, or one a core; 4 at
    most.
    """
    given = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    wanted = int(given) if given.isdecimal() and int(given) > 0 else os.cpu_count() or 1
    return min(wanted, MOST)


def in_threads(tasks: Iterable[Callable[[], object]]) -> Iterator[object]:
    """The results of functions without arguments, in order, computed side by side."""
    count = count_threads()
    if count == 1:
        yield from (task() for task in tasks)
        return
    with ThreadPoolExecutor(count) as pool:
        yield from pool.map(lambda task: task(), list(tasks))
