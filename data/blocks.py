"""Items that threads work on block by block. Each thread takes the next item when it is done with
one, which costs less than handing it every item on its own.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

Item, Result = TypeVar("Item"), TypeVar("Result")


class Block(Generic[Item, Result]):
    """Items that the threads of a pool begin with at once.

    Args:
        pool: With so many threads or more.
        workers: Threads that work on the block together.
        work: What is done with an item; decoders and hashes leave Python's lock to others.
        items: In whose order the results are; they are begun with in it, too.
    """

    def __init__(
        self,
        pool: ThreadPoolExecutor,
        workers: int,
        work: Callable[[Item], Result],
        items: Sequence[Item],
    ):
        self._work, self._items = work, items
        self._results, self._places = [None] * len(items), deque(range(len(items)))
        self._tasks = [pool.submit(self._run) for _ in range(min(workers, len(items)))]

    def results(self) -> list[Result]:
        """Of all items, once they are there. Raises: What the work on one of them raises; the items
        that nobody has begun with are left.
        """
        try:
            for task in self._tasks:
                task.result()
        finally:
            self.stop()
        return self._results

    def stop(self) -> None:
        """Has no thread begin with another item."""
        self._places.clear()

    def _run(self) -> None:
        while True:
            try:
                place = self._places.popleft()
            except IndexError:
                return
            try:
                self._results[place] = self._work(self._items[place])
            except BaseException:
                self.stop()
                raise


def blocks(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    size: Callable[[], int],
    *,
    workers: int,
    ahead: int = 1,
) -> Iterator[list[Result]]:
    """What is made of items, in order, block by block.

    Args:
        work: See `Block`.
        items: All of them.
        size: Returns the number of items of the next block, 1 or more.
        workers: Threads.
        ahead: Blocks that are begun before the one before them is asked for.
    """
    pool, begun, start = ThreadPoolExecutor(workers, "image decoder"), deque(), 0
    try:
        while start < len(items) or begun:
            while start < len(items) and len(begun) <= ahead:
                part = items[start : start + size()]
                begun.append(Block(pool, workers, work, part))
                start += len(part)
            results = begun[0].results()
            begun.popleft()
            yield results
    finally:
        for block in begun:
            block.stop()
        pool.shutdown(wait=True, cancel_futures=True)


def cores() -> int:
    """Number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
