"""Fills the files of an image cache: all images, in order, decoded by threads."""

import contextlib
import errno
import hashlib
import json
import math
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from data.blocks import blocks
from data.conversion import Box, Decoded
from data.decoding import read_image
from data.progress import progress
from data.reading import Reading
from data.refusals import reason
from data.unfinished_cache import PIXELS, Unfinished
from files.fingerprints import NEWEST
from files.system import sync_folder
from files.writing import Together, open_to_update

WAITING = 2**28  # bytes of pixels that wait to be written
BLOCK, AHEAD = 16, 3  # images that are written together; how many times as many are read before
SYNCED = 2**23  # bytes that are put on the disk together, while threads decode the next images


def fill(
    folder: Path,
    files: Sequence[str],
    read: Callable[[str], Decoded | str],
    workers: int,
    grey_range: int | None = None,
) -> list[list[str]]:
    """Writes pixels.bin, images.npz and, last, content.json into the folder. What is known of the
    images is written now and then, and whoever finds that in the folder goes on behind it.

    Args:
        folder: An empty folder, or one that an interrupted start with the same files has left.
        files: Paths, in the order of the rows.
        read: Returns the decoded image of a path, or the reason why there is none: see
            `read_or_reason`.
        workers: Number of threads that read.
        grey_range: With which they are read, for the notes.

    Returns: Path and reason of each file that could not be read; it has no row. A reason that may
        pass, such as a missing permission, begins with `refusals.PASSING`.
    Raises:
        ValueError: If two images differ in shape.
        OSError: If there is no space left; checked as soon as the size of a row is known.
    """
    with _quiet():
        begun = Unfinished.open(folder, grey_range, read)
    if begun.done:
        print(
            f"an interrupted start has read {begun.done} of {len(files)} images: going on behind"
            " them",
            file=sys.stderr,
        )
    _write_pixels(begun, folder, files, read, workers)
    _write_tables(begun, folder)
    sync_folder(folder)
    os.stat(folder / PIXELS)  # an error where another process has taken the folder to go on
    return begun.bad


def _write_pixels(
    begun: Unfinished,
    folder: Path,
    files: Sequence[str],
    read: Callable[[str], Decoded | str],
    workers: int,
) -> None:
    """Reads the images that are left, and adds them to pixels.bin and to what is known of them."""
    bar = progress(total=len(files), initial=begun.done, desc="Reading images", unit="image")
    with (
        bar,
        _quiet(),
        open_to_update(folder / PIXELS) as unbuffered,
        closing(_in_order(read, files[begun.done :], workers)) as images,
    ):
        unbuffered.truncate(len(begun.kept) * begun.row_bytes)
        unbuffered.seek(0, os.SEEK_END)
        handle = Together(unbuffered)
        _check_space(folder, (len(files) - begun.done) * begun.row_bytes)
        unsynced = 0
        for file, (image, fingerprint) in zip(files[begun.done :], images):
            bar.update()
            if isinstance(image, str):
                begun.add_bad(file, image)
                begun.save_now_and_then(handle)
                continue
            if begun.shape is None:
                begun.shape = image.pixels.shape
                _check_space(folder, len(files) * begun.row_bytes)
            elif image.pixels.shape != begun.shape:
                first = files[begun.kept[0]]
                raise ValueError(_unequal(first, begun.shape, file, image.pixels.shape))
            unsynced += handle.write(np.ascontiguousarray(image.pixels))
            if unsynced > SYNCED:
                os.fsync(handle.fileno())
                unsynced = 0
            begun.add(image, fingerprint, file)
            begun.save_now_and_then(handle)
        handle.flush()
        os.fsync(handle.fileno())


def _write_tables(begun: Unfinished, folder: Path) -> None:
    """images.npz, what is known of each image, and content.json, of all together."""
    sizes = np.array(begun.sizes, np.float32).reshape(-1, 2)
    fingerprints = np.array(begun.fingerprints, np.uint64)
    arrays = {"kept": np.array(begun.kept, np.int64), "sizes": sizes, NEWEST: fingerprints}
    with _new(folder / "images.npz", "wb") as handle:
        np.savez(handle, **arrays)
    content = {
        "shape": [len(begun.kept), *(begun.shape or (0, 0, 0))],
        "bad": begun.bad,
        "notes": begun.notes.sentences(),
        "fingerprints_of": NEWEST,
    }
    content["checksums"] = checksums(content, folder)
    with _new(folder / "content.json", "w", encoding="utf-8") as handle:
        json.dump(content, handle, indent=1)


@contextlib.contextmanager
def _new(path: Path, mode: str, **options: str) -> Iterator[IO]:
    """A file in the place of one that an interrupted start may have left; never behind a link. It
    is on the disk when the block ends.
    """
    path.unlink(missing_ok=True)
    with open(path, mode, **options) as handle:
        yield handle
        handle.flush()
        os.fsync(handle.fileno())


def read_or_reason(
    file: str, root: Path, reading: Reading, boxes: Mapping[str, Box] | None
) -> Decoded | str:
    """The decoded image, cropped where boxes are given, or why it cannot be read."""
    try:
        return read_image(root / file, reading, None if boxes is None else boxes[file])
    except ValueError as error:
        return reason(error)


def checksums(content: Mapping, folder: Path) -> dict[str, str]:
    """SHA-256 of what content.json says beside its checksums, and of images.npz. Raises: OSError.

    Of the pixels there are the fingerprints, one an image.
    """
    said = {name: value for name, value in content.items() if name != "checksums"}
    text = json.dumps(said, sort_keys=True)
    return {
        "content.json": hashlib.sha256(text.encode("ascii")).hexdigest(),
        "images.npz": hashlib.sha256((folder / "images.npz").read_bytes()).hexdigest(),
    }


def _in_order(
    read: Callable, files: Sequence[str], workers: int
) -> Iterator[tuple[Decoded | str, int | None]]:
    """The images and their fingerprints in the order of the files; threads stay a little ahead."""
    least = math.ceil(workers / (AHEAD + 1))  # so that no thread is idle
    size = least  # until it is known how large an image is

    def read_one(file: str) -> tuple[Decoded | str, int | None]:
        image = read(file)
        return image, None if isinstance(image, str) else image.fingerprint()

    with closing(blocks(read_one, files, lambda: size, workers=workers, ahead=AHEAD)) as found:
        for images in found:
            for image, fingerprint in images:
                if not isinstance(image, str):
                    size = max(least, min(BLOCK, WAITING // (image.pixels.nbytes * (AHEAD + 1))))
                yield image, fingerprint


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hides Pillow's warnings about odd metadata and large images: what matters becomes a note or
    an error.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            errno.ENOSPC, f"{needed / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free"
        )


def _unequal(first: str, shape: tuple[int, ...], second: str, other: tuple[int, ...]) -> str:
    return (
        f"images differ in size: {first!r} has {shape[1]} x {shape[0]} pixels, {second!r}"
        f" {other[1]} x {other[0]}; give --resize to stretch them to one size"
    )
