"""Every image of a dataset decoded once into one memory-mapped uint8 array, shared by all runs."""

import json
import math
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from data.blocks import cores
from data.cache_places import files_digest, key_in, places, writable
from data.cache_writer import checksums, fill, read_or_reason
from data.conversion import Box
from data.reading import Reading
from data.refusals import PASSING, left_out, refusal
from data.unfinished_cache import ROWS, STATE, begin, is_begun, sweep, temporary_for
from files import system
from files.fingerprints import FIRST, HASHES, pixels_fingerprint
from files.locks import file_lock
from files.system import sync_folder
from files.writing import out_of_space, remove_leftovers

FORMAT = 3  # raised whenever the same images would give other pixels, files or notes


@dataclass(frozen=True, eq=False)
class ImageCache:
    """The decoded images (S of them).

    Attributes:
        pixels (S, H, W, channels): Read-only uint8 memory map, which compares each image with its
            fingerprint when it is first read.
        sizes (S, 2): float32 original width and height, in pixels.
        fingerprints (S,): uint64 hashes of size and pixels; equal for equal images.
        fingerprints_of: By which of `files.fingerprints.HASHES`.
        kept (S,): Position of each image in the list of files; misses the bad ones that were
            skipped.
        bad: Path and reason of each file that could not be read.
        folder: Where the cache lies.
        notes: What the user should be told.
    """

    pixels: np.ndarray
    sizes: np.ndarray
    fingerprints: np.ndarray
    fingerprints_of: str
    kept: np.ndarray
    bad: tuple[tuple[str, str], ...]
    folder: Path
    notes: tuple[str, ...]


class CheckedPixels(np.memmap):
    """The pixels of a cache. Images that are read by index are compared with their fingerprints,
    each once a process, in the thread that reads them.

    Raises: ValueError: When indexed, if an image is not as it was written. The cache is then marked
    as damaged, and the next start builds it anew.
    """

    _check = None  # views and results of arithmetic are plain arrays

    @classmethod
    def open(cls, folder: Path, shape: tuple[int, ...], check: "_Check") -> "CheckedPixels":
        """The pixels in a cache's folder; `check` is called with the rows that are read."""
        pixels = np.memmap(folder / "pixels.bin", np.uint8, "r", shape=shape).view(cls)
        pixels._check = check
        return pixels

    def check_again(self) -> None:
        """Has all images compared once more, as in a new process."""
        if self._check is not None:
            self._check.forget()

    def __getitem__(self, index):
        found = super().__getitem__(index)
        if self._check is not None:
            first = index[0] if isinstance(index, tuple) and index else index
            self._check(self, first)
        return found.view(np.ndarray) if isinstance(found, CheckedPixels) else found


class _Check:
    """Compares rows of pixels with their fingerprints, each once."""

    def __init__(self, folder: Path, sizes: np.ndarray, fingerprints: np.ndarray, of: str):
        self._folder, self._fingerprints, self._of = folder, fingerprints, of
        self._sizes = np.asarray(sizes, np.int64)
        self._rows, self._seen = np.arange(len(sizes)), np.zeros(len(sizes), bool)
        self._all = False  # seen

    def forget(self) -> None:
        self._seen[:] = False
        self._all = False

    def __call__(self, pixels: CheckedPixels, index: object) -> None:
        if self._all:
            return
        plain = isinstance(index, (int, np.integer, slice, list)) or getattr(index, "ndim", 0) == 1
        rows = np.atleast_1d(self._rows[index] if plain else self._rows)
        whole = pixels.view(np.ndarray)
        for row in rows[~self._seen[rows]].tolist():
            size = tuple(self._sizes[row].tolist())
            if pixels_fingerprint(whole[row], size, self._of) != int(self._fingerprints[row]):
                raise ValueError(self._damaged(row))
            self._seen[row] = True
        self._all = bool(self._seen.all())

    def _damaged(self, row: int) -> str:
        again = "start again, or go on with --resume: it is built anew"
        try:
            (self._folder / "content.json").unlink()
        except OSError:
            again = "remove that folder, or name another place with --cache_dir, and start again"
        return (
            f"the image cache {self._folder} is damaged: its image {row} is not as it was written;"
            f" {again}"
        )


def build_cache(
    root: str | os.PathLike,
    files: Sequence[str],
    reading: Reading,
    *,
    boxes: Mapping[str, Box] | None = None,
    cache_dir: str | os.PathLike | None = None,
    workers: int | None = None,
    skip_bad_images: bool = False,
) -> ImageCache:
    """Reads the images into a cache, or opens the one that an earlier or parallel run has made of
    the same files.

    The cache is found by names, sizes and modification times of the files, the reading and the
    boxes; outside of the data folder, where those of several may lie, by its path too. So a
    collection moves and is copied together with the cache inside it. It appears complete or not at
    all; others that want the same one wait for it. One that was interrupted is gone on with.

    Args:
        root: The data folder.
        files: Paths below it, in the order of the rows.
        reading: How their pixels are wanted. Without resize all images must have one size.
        boxes: For each file the part of it to cut out before resizing; sizes stay those of the
            whole images.
        cache_dir: Where caches are kept; by default in '.taxonomy_cache' inside root, or the user's
            cache folder where root cannot be written.
        workers: Threads that decode; as many as there are cores by default.
        skip_bad_images: Leave out files that cannot be read, with a note, instead of an error.

    Raises:
        ValueError: If files cannot be read (all are counted, 20 listed with reasons) or differ in
            size without resize.
        OSError: If there is no place that can be written, or no space left.
    """
    root = Path(root)
    digest = files_digest(root, files, f"{FORMAT} {reading.key}", boxes)
    where = places(root, cache_dir)
    folders = {place: place / key_in(place, root, digest) for place in where}
    read = partial(read_or_reason, root=root, reading=reading, boxes=boxes)
    cache = next(filter(None, (_open(folder, read) for folder in folders.values())), None)
    if cache is None:
        folder = folders[writable(where)]
        sweep(folder)
        lock = folder.with_suffix(".lock")
        waiting = "another process is reading the same images into the cache: waiting for it"
        with file_lock(lock, waiting=waiting), file_lock(lock) as unlocked:
            cache = _open(folder, read)
            if cache is None:
                threads, locked = workers or cores(), not unlocked
                _build(folder, locked, files, read, threads, skip_bad_images, reading.grey_range)
                cache = _open(folder)
    if cache.bad and not skip_bad_images:
        raise ValueError(refusal(cache.bad))
    return cache


def _build(
    folder: Path,
    locked: bool,
    files: Sequence[str],
    read: Callable,
    workers: int,
    skip_bad_images: bool,
    grey_range: int | None,
) -> None:
    temporary, interrupted = temporary_for(folder), True
    try:
        begin(folder, temporary, locked)
        bad = fill(temporary, files, read, workers, grey_range)
        if len(bad) == len(files) or (bad and not skip_bad_images):
            raise _Refusal(refusal(bad))
        if _open(folder, read) is not None:
            interrupted = False  # another builder was faster
        else:
            shutil.rmtree(folder, ignore_errors=True)  # a damaged one
            system.replace(temporary, folder)
            interrupted = False
            for name in (STATE, ROWS):
                (folder / name).unlink(missing_ok=True)
            sync_folder(folder.parent)
            remove_leftovers(folder)
    except _Refusal:  # with --skip_bad_images, or once files can be read, it is gone on with
        raise
    except ValueError:  # the next start would find the same
        interrupted = False
        raise
    except OSError as error:
        if out_of_space(error):
            kept = "; what was read is kept there, to go on" if is_begun(temporary) else ""
            raise OSError(
                f"there is no space left for the image cache in {folder.parent}: free some or name"
                f" another place with --cache_dir ({error}){kept}"
            ) from error
        if _open(folder, read) is None:
            raise
        interrupted = False
        # otherwise another builder was faster, on a file system without locks
    finally:
        if not (interrupted and is_begun(temporary)):
            shutil.rmtree(temporary, ignore_errors=True)


class _Refusal(ValueError):
    """Names files that cannot be read."""


def _open(folder: Path, read: Callable | None = None) -> ImageCache | None:
    """The cache in a folder; None where there is no whole one.

    Args:
        folder: Where.
        read: Reads a file: those that could not be read for a reason that may pass are tried again,
            and the cache is no longer whole if one can be read now. None: they are not.
    """
    try:
        content = json.loads((folder / "content.json").read_text(encoding="utf-8"))
        shape = tuple(content["shape"])
        if (folder / "pixels.bin").stat().st_size != math.prod(shape):
            return None
        # caches of earlier versions have none
        if content.get("checksums") not in (None, checksums(content, folder)):
            return None
        of = content.get("fingerprints_of", FIRST)
        # other hashes under another name: an earlier version, which knows one, sees no whole cache
        # in it, and no damage either
        named = "fingerprints" if of == FIRST else of
        with np.load(folder / "images.npz") as arrays:
            sizes, fingerprints, kept = (arrays[name] for name in ("sizes", named, "kept"))
        if of not in HASHES or not len(sizes) == len(fingerprints) == len(kept) == shape[0]:
            return None
        bad = tuple((file, reason) for file, reason in content["bad"])
        notes = list(content["notes"])
    except Exception:  # damaged bytes can raise almost anything
        return None
    passing = [file for file, reason in bad if reason.startswith(PASSING)]
    if read is not None and any(not isinstance(read(file), str) for file in passing):
        return None
    pixels = CheckedPixels.open(folder, shape, _Check(folder, sizes, fingerprints, of))
    notes += left_out(bad)
    return ImageCache(pixels, sizes, fingerprints, of, kept, bad, folder, tuple(notes))
