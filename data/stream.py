"""Images that are decoded or enlarged anew whenever they are asked for, behind the looks of an
array.
"""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch

from data.blocks import Block, cores
from data.conversion import Box
from data.decoding import read_image
from data.reading import Reading


class _Rows:
    """What Splits and Batches need of an array of images (S, H, W, channels); `_fetch` reads rows
    (n,).
    """

    ndim, dtype = 4, np.dtype(np.uint8)

    def __init__(self, count: int, size: tuple[int, int], channels: int):
        self.shape = (count, *size, channels)
        self._rows = np.arange(count)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index) -> np.ndarray:
        """Images of rows given as in numpy: an integer, a slice, integers or booleans along the
        first axis.
        """
        rows = self._rows[index]
        images = self._fetch(np.atleast_1d(rows))
        return images if rows.ndim else images[0]

    def _fetch(self, rows: np.ndarray) -> np.ndarray:
        raise NotImplementedError


class Stream(_Rows):
    """Decodes images with threads each time they are indexed; equals the pixels that an image cache
    would hold.

    For sets that do not fit the disk when decoded: ImageNet at 224 pixels would take 200 GB.
    `Batches` reads ahead, so decoding goes on while the model computes; no decoder holds Python's
    lock meanwhile.

    Args:
        root: The data folder.
        files: Paths below it, S of them.
        reading: How their pixels are wanted, of one size.
        boxes: For each file the part of it to cut out before resizing; None for whole images.
        workers: Threads that decode; as many as there are cores by default.

    Attributes: shape (S, H, W, channels), dtype uint8, ndim.
    Raises: ValueError: If they are not resized; when indexed, if a file cannot be read; it is
    named.
    """

    def __init__(
        self,
        root: str | os.PathLike,
        files: Sequence[str],
        reading: Reading,
        *,
        boxes: Mapping[str, Box] | None = None,
        workers: int | None = None,
    ):
        check_one_size(reading)
        width, height = reading.size
        super().__init__(len(files), (height, width), reading.channels)
        self._root, self._files = Path(root), files
        self._reading, self._boxes = reading, boxes
        self._workers = workers or cores()
        self._pool = ThreadPoolExecutor(self._workers, "image decoder")

    def _fetch(self, rows: np.ndarray) -> np.ndarray:
        images = np.empty((len(rows), *self.shape[1:]), np.uint8)
        places = list(enumerate(rows.tolist()))
        Block(self._pool, self._workers, partial(self._read_into, images), places).results()
        return images

    def _read_into(self, images: np.ndarray, place_and_row: tuple[int, int]) -> None:
        place, row = place_and_row
        file = self._files[row]
        try:
            box = None if self._boxes is None else self._boxes[file]
            images[place] = read_image(self._root / file, self._reading, box).pixels
        except ValueError as error:
            raise ValueError(
                f"{self._root / file} cannot be read: {error}; repair it, or remove it and start"
                " again"
            ) from error


def check_one_size(reading: Reading) -> None:
    """Raises: ValueError: If images that are read so are not of one size by themselves."""
    if reading.size is None:
        raise ValueError(
            "streamed images are stretched to one size: give --resize, or leave out --stream"
        )


class Upscaled(_Rows):
    """Stored images enlarged, bilinearly, each time they are indexed: ImageNet's 64 pixels as 224
    (Urbani et al. 2024).

    Args:
        pixels: uint8 (S, H, W, channels), an array, a memory map or a stream.
        side: Side of the enlarged images in pixels, above 0.

    Attributes: shape (S, side, side, channels), dtype uint8, ndim; stored, the images as given.
    """

    def __init__(self, pixels: object, side: int):
        if side < 1:
            raise ValueError(f"upscale must be 1 pixel or more, got {side}")
        super().__init__(len(pixels), (int(side), int(side)), pixels.shape[3])
        self.stored = pixels

    def _fetch(self, rows: np.ndarray) -> np.ndarray:
        small = torch.from_numpy(np.ascontiguousarray(self.stored[rows])).permute(0, 3, 1, 2)
        from torchvision.transforms.v2 import functional

        large = functional.resize(small, list(self.shape[1:3]), antialias=True)
        return large.permute(0, 2, 3, 1).numpy()
