"""Batches: content, order, the last batch, reading ahead."""

import errno
import threading

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from waiting import PATIENCE

from data import Batches, Splits
from data import batches as batches_module
from data import progress as progress_module
from hierarchies import Hierarchy

SIZE = 23


def make_splits(count=SIZE, channels=3):
    rng = np.random.default_rng(0)
    return Splits(
        dataset="drawn",
        hierarchy=Hierarchy.from_paths([("a",), ("b",), ("c",)]),
        files=tuple(map(str, range(count))),
        labels=rng.integers(0, 3, count),
        sizes=rng.uniform(1, 99, (count, 2)),
        pixels=rng.integers(0, 256, (count, 4, 5, channels), dtype=np.uint8),
        train=np.arange(count - 3),
        val=np.array([], int),
        test=np.arange(count - 3, count),
    )


def readers():
    return [thread for thread in threading.enumerate() if thread.name == "image reader"]


@pytest.fixture(autouse=True)
def room(monkeypatch):
    """macOS does not say how much memory is free, and a busy machine may have none."""
    monkeypatch.setattr(batches_module, "_free_bytes", lambda device: 2**20)


@pytest.fixture(autouse=True)
def no_reader_is_left():
    yield
    assert readers() == []


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("resident", [False, True])
def test_batches_hold_the_images_asked_for(channels, resident):
    splits, indices = make_splits(channels=channels), np.array([7, 3, 3, 20, 0])
    batches = Batches(splits, indices, 2, resident=resident)
    assert len(batches) == 3 and batches.is_resident == resident
    for _ in range(2):
        parts = list(batches)
        assert [len(targets) for _, _, targets in parts] == [2, 2, 1]
        images, sizes, targets = (torch.cat(part) for part in zip(*parts))
        assert (
            images.dtype == torch.uint8
            and sizes.dtype == torch.float32
            and targets.dtype == torch.int64
        )
        np.testing.assert_array_equal(images, splits.pixels[indices].transpose(0, 3, 1, 2))
        np.testing.assert_array_equal(sizes, splits.sizes[indices])
        np.testing.assert_array_equal(targets, splits.labels[indices])
        assert images.is_contiguous()


@pytest.mark.parametrize("resident", [False, True])
def test_shuffling_is_a_seeded_permutation(resident):
    splits = make_splits()
    ordered = Batches(splits, np.arange(SIZE), 4, resident=resident)

    def sizes(seed):
        return torch.cat([batch[1] for batch in ordered.reshuffled(seed)])

    first, again, other = sizes(1), sizes(1), sizes(2)
    torch.testing.assert_close(first, again)
    assert not torch.equal(first, other) and not torch.equal(first, sizes(None))
    torch.testing.assert_close(first.sort(0).values, sizes(None).sort(0).values)
    torch.testing.assert_close(sizes(None), torch.from_numpy(splits.sizes.copy()))
    torch.testing.assert_close(
        first,
        torch.cat([batch[1] for batch in Batches(splits, np.arange(SIZE), 4, shuffle_seed=1)]),
    )


def test_resident_and_streamed_batches_are_equal():
    splits = make_splits()
    streamed = list(Batches(splits, splits.train, 6, shuffle_seed=3))
    for batch, expected in zip(
        Batches(splits, splits.train, 6, shuffle_seed=3, resident=True), streamed, strict=True
    ):
        for tensor, other in zip(batch, expected):
            torch.testing.assert_close(tensor, other)


@pytest.mark.parametrize(
    "count, batch_size, merge, expected",
    [
        (9, 4, False, [4, 4, 1]),
        (9, 4, True, [4, 5]),
        (10, 4, True, [4, 4, 2]),
        (8, 4, True, [4, 4]),
        (1, 4, True, [1]),
        (3, 1, True, [1, 1, 1]),
        (5, 4, True, [5]),
        (5, 99, True, [5]),
        (0, 4, True, []),
    ],
)
def test_a_last_single_image_can_join_the_batch_before(count, batch_size, merge, expected):
    batches = Batches(make_splits(), np.arange(count), batch_size, merge_single=merge)
    assert [len(targets) for _, _, targets in batches] == expected and len(batches) == len(expected)


def test_a_batch_needs_an_image():
    with pytest.raises(ValueError, match="batch_size must be 1 or more, got 0"):
        Batches(make_splits(), np.arange(3), 0)


def test_leaving_early_ends_the_reader():
    for _ in Batches(make_splits(), np.arange(SIZE), 1):
        assert len(readers()) == 1
        break
    assert readers() == []


class Failing(np.ndarray):
    """Pixels whose third row cannot be read."""

    def __getitem__(self, rows):
        if np.any(np.asarray(rows) == 2):
            raise OSError("the disk is gone")
        return np.asarray(self)[rows]


def test_an_error_of_the_reader_is_raised_where_the_batches_are_used():
    splits = make_splits()
    object.__setattr__(splits, "pixels", splits.pixels.view(Failing))
    seen = []
    with pytest.raises(OSError, match="the disk is gone"):
        for _, _, targets in Batches(splits, np.arange(SIZE), 1):
            seen.append(len(targets))
    assert seen == [1, 1]


def test_an_error_in_the_loop_ends_the_reader():
    with pytest.raises(ZeroDivisionError):
        for _ in Batches(make_splits(), np.arange(SIZE), 1):
            raise ZeroDivisionError


def test_reading_overlaps_with_computing():
    splits, read = make_splits(), [threading.Event() for _ in range(12)]

    class Noted(np.ndarray):
        def __getitem__(self, rows):
            read[int(rows[0])].set()
            return np.asarray(self)[rows]

    object.__setattr__(splits, "pixels", splits.pixels.view(Noted))
    for number, _ in enumerate(Batches(splits, np.arange(12), 1)):
        assert number == 11 or read[number + 1].wait(PATIENCE)  # the next one, meanwhile


def test_what_does_not_fit_on_the_device_is_streamed(monkeypatch):
    splits = make_splits()
    monkeypatch.setattr(batches_module, "_free_bytes", lambda device: 2 * SIZE * 4 * 5 * 3 - 1)
    batches = Batches(splits, np.arange(SIZE), 4, resident=True)
    assert not batches.is_resident and sum(len(targets) for _, _, targets in batches) == SIZE


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("resident", [False, True])
def test_batches_on_a_gpu_are_those_of_the_cpu(resident):
    splits = make_splits()
    there = Batches(splits, splits.train, 6, shuffle_seed=3, device="cuda", resident=resident)
    assert there.is_resident == resident
    for batch, expected in zip(
        there, Batches(splits, splits.train, 6, shuffle_seed=3), strict=True
    ):
        for tensor, other in zip(batch, expected):
            assert tensor.is_cuda
            torch.testing.assert_close(tensor.cpu(), other)


def test_no_reader_is_started_without_room_for_a_thread(monkeypatch):
    def refuse():
        raise OSError(errno.ENOMEM, "no memory is left to start a thread")

    monkeypatch.setattr(batches_module, "check_room_for_thread", refuse)
    with pytest.raises(OSError, match="no memory is left"):
        next(iter(Batches(make_splits(), np.arange(4), 2)))


def test_no_bar_is_shown_without_room_for_its_thread(monkeypatch):
    def refuse():
        raise OSError(errno.ENOMEM, "no memory is left to start a thread")

    monkeypatch.setattr(progress_module, "check_room_for_thread", refuse)
    with pytest.raises(OSError, match="no memory is left"):
        progress_module.progress(total=1)


def test_an_epoch_of_resident_images_copies_its_order_to_the_device_at_once():
    batches = Batches(
        make_splits(), np.arange(SIZE), 2, shuffle_seed=1, device="meta", resident=True
    )
    copies = []

    class Copies(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            copies.extend([function] * (function.overloadpacket is torch.ops.aten._to_copy))
            return function(*args, **(kwargs or {}))

    with Copies():
        assert len(list(batches)) == len(batches) > 2
    assert len(copies) == 1  # each one waits for a GPU
