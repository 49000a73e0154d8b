"""Image files without labels: found in folders, and decoded a little ahead of their use."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from data.blocks import blocks, cores
from data.contents import FileContent
from data.conversion import Box
from data.decoding import convert_image, read_image
from data.reading import Reading
from data.stream import Upscaled
from files.text import counted
from hierarchies.folders import (
    IMAGE_SUFFIXES,
    UNREAD_IMAGES,
    advice,
    count_images,
)

_UNREAD = tuple(f".{extension}" for extension in UNREAD_IMAGES)

# a file, what is in one, or an image in memory: uint8 (H, W), or (H, W, channels) of grey, RGB or
# RGBA
Picture = str | FileContent | Image.Image | np.ndarray


class Found(NamedTuple):
    """Images below the paths given, each once.

    Fields:
        files: Paths that can be opened; those of formats that are not read are among them, and get
            a row that says so.
        others: Number of other files.
        notes: What the user should be told of hidden images and of formats that are not read.
    """

    files: list[str]
    others: int
    notes: tuple[str, ...] = ()


class ModelInput(NamedTuple):
    """How a model takes its images.

    Attributes:
        reading: How their files are read, to one size.
        upscale: Side in pixels to which they are then enlarged; 0 leaves them.
    """

    reading: Reading
    upscale: int = 0

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels."""
        width, height = (self.upscale,) * 2 if self.upscale else self.reading.size
        return height, width, self.reading.channels


class Batch(NamedTuple):
    """Consecutive files (n of them), of which B could be read.

    Attributes:
        files: Their paths or names; None of images in memory.
        errors (n): Why a file cannot be read; None where it can.
        pixels: uint8 (B, H, W, channels).
        sizes: float32 (B, 2), original width and height in pixels.
        fingerprints: By each hash that was asked for uint64 (B,), of size and pixels, as in
            `data.Splits`.
    """

    files: list[str | None]
    errors: list[str | None]
    pixels: np.ndarray
    sizes: np.ndarray
    fingerprints: dict[str, np.ndarray]


def check_paths(paths: Iterable[str | os.PathLike]) -> None:
    """Raises: ValueError: If one of these images and folders does not exist."""
    for path in paths:
        if not os.path.exists(path):
            raise ValueError(f"there is no image or folder {os.fspath(path)!r}")


def find_images(paths: Iterable[str | os.PathLike]) -> Found:
    """The images named, and those below the folders named, sorted in each folder tree.

    In folders the suffix says what is an image, also of formats that are not read; a file that is
    named counts whatever it is called. Hidden files and folders are passed over, with a note where
    they hold images. Links to folders are followed, every folder once.

    Raises: ValueError: If a path does not exist, a folder cannot be listed, or there is no image at
    all.
    """
    paths, files, others, hidden = list(map(Path, paths)), {}, [], []
    check_paths(paths)
    for path in paths:
        below = _below(path) if path.is_dir() else _Below([str(path)], [], [])
        files.update(dict.fromkeys(below.images))
        others += below.others
        hidden += below.hidden
    unread = [file for file in files if file.lower().endswith(_UNREAD)]
    if len(unread) == len(files):
        sentences = [
            f"there is no image in {', '.join(map(str, paths)) or 'no folder'} "
            f"({counted(len(others), 'other file')})",
            *advice([*unread, *others]),
            *_hidden_notes(hidden),
            f"images end in {', '.join(IMAGE_SUFFIXES)}",
        ]
        raise ValueError("; ".join(sentences))
    advised = advice([*unread, *others])
    return Found(list(files), len(others), (*advised, *_hidden_notes(hidden)))


def _hidden_notes(hidden: Sequence[str]) -> list[str]:
    if not hidden:
        return []
    what = "1 hidden image or folder" if len(hidden) == 1 else f"{len(hidden)} hidden ones"
    return [f"{what} with images left out, such as {hidden[0]!r}: rename to use them"]


class _Below(NamedTuple):
    """Paths of images, names of other files, and paths of hidden images and folders with some."""

    images: list[str]
    others: list[str]
    hidden: list[str]


def _below(root: Path) -> _Below:
    found, visited = _Below([], [], []), set()

    def refuse(error: OSError) -> None:
        raise ValueError(
            f"the folder {error.filename!r} cannot be listed: {error.strerror}"
        ) from error

    for folder, folders, names in os.walk(root, onerror=refuse, followlinks=True):
        real = os.path.realpath(folder)
        if real in visited:  # a link into the same tree, or a circle
            folders.clear()
            continue
        visited.add(real)
        for name in sorted(folders):
            path = os.path.join(folder, name)
            if name.startswith(".") and count_images(path):
                found.hidden.append(path + "/")
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            image = name.lower().endswith((*IMAGE_SUFFIXES, *_UNREAD))
            if name.startswith("."):
                if image and not name.startswith("._"):  # what a Mac leaves beside an image
                    found.hidden.append(os.path.join(folder, name))
            elif image:
                found.images.append(os.path.join(folder, name))
            else:
                found.others.append(name)
    return found._replace(images=sorted(found.images))


def read_batches(
    files: Sequence[Picture],
    model_input: ModelInput,
    batch_size: int,
    workers: int | None = None,
    boxes: Mapping[str, Box] | None = None,
    fingerprints: Sequence[str] = (),
) -> Iterator[Batch]:
    """The files in order, batch by batch, as training reads images; threads stay up to a batch
    ahead.

    Args:
        files: Paths; images in memory are taken as files of their pixels would be.
        model_input: How the model takes its images.
        batch_size: Files in a batch, 1 or more.
        workers: Threads that decode; as many as there are cores by default.
        boxes: For each file the part of it to cut out first; None for whole images.
        fingerprints: Those of `files.fingerprints.HASHES` that are wanted.

    Raises: ValueError: If batch_size is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be 1 or more, got {batch_size}")
    how = {"reading": model_input.reading, "boxes": boxes, "fingerprints": fingerprints}
    read, start = partial(_read, **how), 0
    with closing(blocks(read, files, lambda: batch_size, workers=workers or cores())) as found:
        for images in found:
            names = [_name(file) for file in files[start : start + batch_size]]
            start += len(names)
            yield _batch(names, images, model_input, fingerprints)


def _name(file: Picture) -> str | None:
    if isinstance(file, FileContent):
        return file.name
    return file if isinstance(file, str) else None


def _batch(
    files: list[str | None],
    images: list[tuple[np.ndarray, tuple[int, int], list[int]] | str],
    model_input: ModelInput,
    hashes: Sequence[str],
) -> Batch:
    read = [image for image in images if not isinstance(image, str)]
    pixels = np.empty((0, *model_input.shape), np.uint8)
    if read:
        pixels = np.stack([image for image, _, _ in read])
        pixels = Upscaled(pixels, model_input.upscale)[:] if model_input.upscale else pixels
    sizes = np.array([size for _, size, _ in read], np.float32).reshape(-1, 2)
    fingerprints = {
        of: np.array([values[place] for _, _, values in read], np.uint64)
        for place, of in enumerate(hashes)
    }
    errors = [image if isinstance(image, str) else None for image in images]
    return Batch(files, errors, pixels, sizes, fingerprints)


def _read(
    file: Picture,
    reading: Reading,
    boxes: Mapping[str, Box] | None,
    fingerprints: Sequence[str],
) -> tuple[np.ndarray, tuple[int, int], list[int]] | str:
    """Pixels, original size and fingerprints of an image, or why there are none."""
    try:
        if isinstance(file, (str, FileContent)):
            image = read_image(file, reading, None if boxes is None else boxes[file])
        else:
            image = convert_image(file, reading)
    except Exception as error:  # damaged bytes can raise anything
        return str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
    return image.pixels, image.size, [image.fingerprint(of) for of in fingerprints]
