"""The files of CIFAR-100's python version, and single images of them; without torch."""

import re
from functools import lru_cache
from pathlib import Path

import numpy as np

from files.pickles import load_arrays

FOLDER = "cifar-100-python"
PARTS = ("train", "test")  # the two image files
SIDE = 32  # pixels, of the original images
_NAME = re.compile(rf"({'|'.join(PARTS)})/(\d{{5}})_(.+)", re.DOTALL)


def name_of(part: str, row: int, file: str) -> str:
    """The name of an image: its part, its row there, and the name that the part gives it."""
    return f"{part}/{row:05d}_{file}"


def read_picture(root: Path, name: str) -> np.ndarray | None:
    """The pixels of an image by its name, (32, 32, 3) uint8; None where the folder, that of the
    files or one that holds it, has no such image.

    Raises: ValueError: If a file is damaged.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    path = next((p for p in (root / FOLDER / match[1], root / match[1]) if p.is_file()), None)
    if path is None:
        return None
    pixels, files = _images(path)
    row = int(match[2])
    if row >= len(files) or files[row] != match[3]:
        return None
    return pixels[row].reshape(3, SIDE, SIDE).transpose(1, 2, 0)


@lru_cache(maxsize=len(PARTS))
def _images(path: Path) -> tuple[np.ndarray, list[str]]:
    content = read_images(path)
    return content["data"], [str(file) for file in content["filenames"]]


def load_part(path: Path) -> dict:
    """What a file holds. Raises: ValueError: If it is missing, or more than arrays and names."""
    try:
        return load_arrays(path, encoding="latin1")
    except FileNotFoundError as error:
        raise ValueError(
            f"{path} is missing; unpack the archive again or use --download"
        ) from error


def read_images(path: Path) -> dict:
    """One of the two image files: data (n, 3072) uint8, fine_labels, coarse_labels, filenames, all
    of one length.
    """
    content = load_part(path)
    for key in ("data", "fine_labels", "coarse_labels", "filenames"):
        if key not in content:
            raise ValueError(
                f"{path} has no {key!r}: it is not a file of CIFAR-100's python version"
            )
    images = content["data"] = np.asarray(content["data"])
    if images.dtype != np.uint8 or images.ndim != 2 or images.shape[1] != 3 * SIDE * SIDE:
        raise ValueError(
            f"{path}: data must be uint8 of shape (n, {3 * SIDE * SIDE}), got {images.dtype}"
            f" {images.shape}"
        )
    lengths = {
        key: len(content[key]) for key in ("data", "fine_labels", "coarse_labels", "filenames")
    }
    if len(set(lengths.values())) != 1 or not len(images):
        raise ValueError(f"{path}: its parts differ in length or are empty: {lengths}")
    return content
