"""Batches of cached images, read ahead by a thread so that reading overlaps with computing, or of
their features.
"""

import contextlib
import copy
import queue
import threading
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from data.memory import check_room_for_thread, free_memory_bytes, memory_bytes
from data.splits import Splits
from data.tails import draw

AHEAD = 4  # batches read before they are asked for
PIECE = 4096  # images read at once onto the device

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class Batches:
    """Goes through some images of a dataset once, in batches, every time it is iterated over.

    Yields: images uint8 (B, channels, H, W), or features (B, F); original sizes float32 (B, 2) as
    width and height in pixels; targets int64 (B,), on the device. No image is dropped; the last
    batch may be smaller.

    Args:
        splits: The dataset.
        indices: Its images to go through, (n,).
        batch_size: Images in a batch.
        shuffle_seed: Seed of the order; None keeps that of the indices.
        merge_single: Add a last batch of one image to the one before: batch norm cannot train on
            one image.
        part: Picks from the positions (B,) of a batch those that this process gets, maybe none;
            None for all.
        device: Where the tensors are put; copies to a GPU are asynchronous.
        weights: How often each of the images is drawn on average, (n,); see `data.tails.draw`. None
            for once each.
        resident: Keep all these images on the device, if half of its free memory holds them;
            `is_resident` tells.
        features: (S, F) of all images of the dataset, on the device or the CPU: the batches have
            rows of them, (B, F), in the place of images. Of a file that the memory does not hold
            they are read ahead, too.

    Raises: ValueError: If batch_size is below 1.
    """

    def __init__(
        self,
        splits: Splits,
        indices: np.ndarray,
        batch_size: int,
        *,
        shuffle_seed: int | None = None,
        merge_single: bool = False,
        part: Callable[[np.ndarray], np.ndarray] | None = None,
        device: str | torch.device = "cpu",
        weights: np.ndarray | None = None,
        resident: bool = False,
        features: torch.Tensor | None = None,
    ):
        if batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, got {batch_size}")
        self.splits = splits
        self.indices = np.asarray(indices, np.int64)
        self.batch_size = int(batch_size)
        self.shuffle_seed = shuffle_seed
        self.merge_single = merge_single
        self.device = torch.device(device)
        self.part, self.weights = part, weights
        self._features, self._resident = features, None
        self._rows = np.arange(len(self.indices))  # of what is resident, by position in indices
        if features is not None and self._features_fit():
            self._resident, self._rows = self._load_labels(), self.indices
        elif features is None and resident and self._fits():
            self._resident = self._load_all()

    @property
    def is_resident(self) -> bool:
        """Whether the images, or their features, are on the device already."""
        return self._resident is not None

    def reshuffled(self, shuffle_seed: int | None) -> "Batches":
        """The same images in another order; what is on the device is shared, not copied."""
        other = copy.copy(self)
        other.shuffle_seed = shuffle_seed
        return other

    def __len__(self) -> int:
        """Number of batches."""
        return len(self._bounds()) - 1

    def __iter__(self) -> Iterator[Batch]:
        if self.is_resident:
            for chosen in self._chosen():
                yield tuple(tensor.index_select(0, chosen) for tensor in self._resident)
            return
        stop, ready = threading.Event(), queue.Queue(maxsize=AHEAD)
        reader = threading.Thread(
            target=self._read_ahead, args=(ready, stop), name="image reader", daemon=True
        )
        check_room_for_thread()
        reader.start()
        try:
            while (item := ready.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield tuple(tensor.to(self.device, non_blocking=True) for tensor in item)
        finally:
            stop.set()
            while reader.is_alive():  # it may wait for a free place in the queue
                with contextlib.suppress(queue.Empty):
                    ready.get(timeout=0.01)

    @property
    def totals(self) -> list[int]:
        """Number of images in each batch, all its parts together."""
        return np.diff(self._bounds()).tolist()

    def _bounds(self) -> np.ndarray:
        """Where the batches start, and the end."""
        total = len(self.indices)
        bounds = np.append(np.arange(0, total, self.batch_size), total)
        if (
            self.merge_single
            and self.batch_size > 1
            and len(bounds) > 2
            and bounds[-1] - bounds[-2] == 1
        ):
            bounds = np.delete(bounds, -2)
        return bounds

    def _plan(self) -> list[np.ndarray]:
        """For each batch, the positions in indices of those of its images that are in the part."""
        total = len(self.indices)
        order = np.arange(total)
        if self.shuffle_seed is not None:
            generator = torch.Generator().manual_seed(self.shuffle_seed)
            if self.weights is None:
                order = torch.randperm(total, generator=generator).numpy()
            else:
                order = draw(self.weights, generator)
        batches = np.split(order, self._bounds()[1:-1]) if total else []
        return batches if self.part is None else list(map(self.part, batches))

    def _chosen(self) -> Sequence[torch.Tensor]:
        """For each batch, its rows of what is resident; copied to the device all at once, since
        each copy from memory that is not pinned waits for all that the device has to do.
        """
        plan = self._plan()
        rows = self._rows[np.concatenate(plan)] if plan else self._rows[:0]
        return torch.from_numpy(rows).to(self.device).split([len(one) for one in plan])

    def _read_ahead(self, ready: queue.Queue, stop: threading.Event) -> None:
        try:
            for positions in self._plan():
                if stop.is_set():
                    return
                ready.put(self._read(self.indices[positions], pin=self.device.type == "cuda"))
            ready.put(None)
        except BaseException as error:  # raised where the batches are used
            ready.put(error)

    def _read(self, rows: np.ndarray, pin: bool = False) -> Batch:
        if self._features is None:
            pixels = np.asarray(self.splits.pixels[rows]).transpose(0, 3, 1, 2)
            images = torch.from_numpy(np.ascontiguousarray(pixels))
        else:
            images = self._features.index_select(0, torch.from_numpy(rows))
        others = map(torch.from_numpy, (self.splits.sizes[rows], self.splits.labels[rows]))
        batch = (images, *others)
        return tuple(tensor.pin_memory() for tensor in batch) if pin else batch

    def _load_all(self) -> Batch:
        """All images on the device, in the order of the indices; read in pieces that the main
        memory holds.
        """
        height, width, channels = self.splits.pixels.shape[1:]
        images = torch.empty(
            (len(self.indices), channels, height, width), dtype=torch.uint8, device=self.device
        )
        for start in range(0, len(self.indices), PIECE):
            images[start : start + PIECE] = self._read(self.indices[start : start + PIECE])[0].to(
                self.device
            )
        sizes, labels = self.splits.sizes[self.indices], self.splits.labels[self.indices]
        return (
            images,
            torch.from_numpy(sizes).to(self.device),
            torch.from_numpy(labels).to(self.device),
        )

    def _load_labels(self) -> Batch:
        """The features, and sizes and labels of all images of the dataset on their device."""
        others = (torch.tensor(values) for values in (self.splits.sizes, self.splits.labels))
        return (self._features, *(values.to(self.device) for values in others))

    def _features_fit(self) -> bool:
        """Whether rows can be picked where the features are: on the device, or in a mapped file
        that half of the memory holds.
        """
        if self._features.device.type != self.device.type:
            return False
        needed = self._features.numel() * self._features.element_size()
        return self.device.type != "cpu" or needed <= memory_bytes() / 2

    def _fits(self) -> bool:
        needed = len(self.indices) * int(np.prod(self.splits.pixels.shape[1:]))
        return needed <= _free_bytes(self.device) / 2


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return free_memory_bytes()
