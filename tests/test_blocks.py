"""Threads that work block by block: on all items, in order, and no further after an error."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from waiting import PATIENCE

from data import blocks as blocks_module
from data.blocks import Block, blocks


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("ahead", [0, 2])
def test_blocks_hold_all_results_in_order(workers, ahead):
    sizes, given = iter([1, 3, 2, 9, 9, 9]), []

    def size():
        given.append(next(sizes))
        return given[-1]

    found = list(blocks(lambda item: item * item, range(10), size, workers=workers, ahead=ahead))
    assert found == [[0], [1, 4, 9], [16, 25], [36, 49, 64, 81]] and given == [1, 3, 2, 9]
    assert list(blocks(abs, [], lambda: 1, workers=workers)) == []


def test_threads_work_on_a_block_side_by_side():
    together = threading.Barrier(3)  # breaks if fewer than three work at once
    with ThreadPoolExecutor(3) as pool:
        block = Block(pool, 3, lambda _: together.wait(PATIENCE), range(6))
        assert sorted(block.results()) == [0, 0, 1, 1, 2, 2]


def test_after_an_error_no_other_item_is_begun():
    begun = []

    def work(item):
        begun.append(item)
        raise IndexError("of the work itself")

    with pytest.raises(IndexError, match="of the work itself"):
        list(blocks(work, range(100), lambda: 10, workers=1, ahead=3))
    assert begun == [0]


def test_an_error_in_one_thread_stops_the_others(monkeypatch):
    begun, stopped, stop = [], threading.Event(), Block.stop

    def stop_and_tell(block):
        stop(block)
        stopped.set()

    def work(item):
        begun.append(item)
        if item == 1:
            raise ValueError("of the second item")
        stopped.wait(PATIENCE)
        stopped.set()  # waited for once, where nobody stops

    monkeypatch.setattr(Block, "stop", stop_and_tell)
    with pytest.raises(ValueError, match="of the second item"):
        list(blocks(work, range(100), lambda: 100, workers=2))
    assert sorted(begun) == [0, 1]


def test_a_reader_that_stops_early_waits_for_what_is_begun_only(monkeypatch):
    begun, ends = [], threading.Event()

    class Pool(ThreadPoolExecutor):
        def shutdown(self, **options):
            ends.set()
            super().shutdown(**options)

    def work(item):
        begun.append(item)
        if item >= 10:
            ends.wait(PATIENCE)

    monkeypatch.setattr(blocks_module, "ThreadPoolExecutor", Pool)
    found = blocks(work, range(100), lambda: 10, workers=2, ahead=3)
    next(found)
    found.close()
    assert ends.is_set() and len(begun) <= 12  # those of the first block, and one a thread
