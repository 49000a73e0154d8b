"""Rows of numbers, the features of images, computed once and shared by all runs: a memory-mapped
file that is filled chunk by chunk, each with a checksum.
"""

import contextlib
import errno
import json
import os
import re
import shutil
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from data.cache_places import writable
from files.locks import file_lock
from files.system import sync_folder
from files.writing import open_to_update, out_of_space, write_all, write_whole

CHUNK = 256  # rows that are computed, checked and, after an interruption, lost together
SYNC_SECONDS = 5.0  # between two times that what was computed is put on the disk
ROWS, CHUNKS, ABOUT = "rows.bin", "chunks.txt", "about.json"
_LINE = re.compile(r"(\d{1,12}) ([0-9a-f]{8})")

Compute = Callable[[np.ndarray], Iterable[np.ndarray]]


def open_rows(
    places: Sequence[Path],
    name: str,
    shape: tuple[int, int],
    dtype: str,
    compute: Compute,
    about: Mapping = {},
) -> np.ndarray:
    """Rows (S, F) that an earlier or parallel run has computed, or computes those that are missing.

    Every chunk is compared with its checksum each time the file is opened, and one that differs is
    computed again. Whoever is stopped leaves the chunks that are done to the next one.

    Args:
        places: Where they may lie, see `cache_places.places`: the first that can be written gets
            those that are computed.
        name: Of the folder, which says what the rows are made of.
        shape: S, F.
        dtype: 'float32' or 'float16'.
        compute: Given ascending rows, whole chunks of them, yields their numbers (n, F) chunk by
            chunk.
        about: What the rows are, for people and for `described`, in about.json.

    Returns: A memory map, whose changes would not reach the file.
    Raises: OSError: If there is no place that can be written, or no space left.
    """
    files = [_RowFile(place / name, shape, np.dtype(dtype)) for place in places]
    whole = next((file for file in files if not len(file.missing())), None)
    if whole is not None:
        return whole.map()
    place = writable(places)
    file = files[places.index(place)]
    waiting = "another process is computing the same features: waiting for it"
    with file_lock(place / f"{name}.lock", waiting=waiting):
        missing = file.missing()
        if len(missing):
            try:
                file.fill(missing, compute, about)
            except OSError as error:
                if out_of_space(error):
                    raise OSError(
                        f"there is no space left in {place}, where {file.nbytes / 1e9:.2f} GB are"
                        " needed: free some, name another place with --cache_dir or let images go"
                        f" through the network each time with --features off ({error})"
                    ) from error
                raise
    return file.map()


def begun(places: Sequence[Path], name: str) -> bool:
    """Whether there are rows of this name, all or some of them."""
    return any((place / name).exists() for place in places)


def described(places: Sequence[Path], pattern: str) -> list[dict]:
    """What the rows of such names are, where it can be read."""
    found = []
    for place in places:
        for folder in sorted(place.glob(pattern)):
            with contextlib.suppress(OSError, ValueError):
                found.append(dict(json.loads((folder / ABOUT).read_text(encoding="utf-8"))))
    return found


class _RowFile:
    """A folder with the rows, and a line for each chunk that is done: its number and its CRC-32."""

    def __init__(self, folder: Path, shape: tuple[int, int], dtype: np.dtype):
        self.folder, self.shape, self.dtype = folder, shape, dtype
        self.nbytes = shape[0] * shape[1] * dtype.itemsize

    def map(self) -> np.ndarray:
        """The rows; pages are read when they are used, and shared by all processes."""
        return np.memmap(self.folder / ROWS, self.dtype, "c", shape=self.shape)

    def missing(self) -> np.ndarray:
        """The chunks that are not there, or not as they were written."""
        count = -(-self.shape[0] // CHUNK)
        recorded = self._recorded()
        if not recorded:
            return np.arange(count)
        try:
            if (self.folder / ROWS).stat().st_size != self.nbytes:
                return np.arange(count)
            rows = np.memmap(self.folder / ROWS, self.dtype, "r", shape=self.shape)
        except OSError:
            return np.arange(count)
        intact = (recorded.get(c) == _checksum(rows[_rows_of(c)]) for c in range(count))
        return np.flatnonzero(~np.fromiter(intact, bool, count))

    def _recorded(self) -> dict[int, str]:
        """Checksum by chunk; a line that is cut off, as at a power failure, counts for nothing."""
        try:
            lines = (self.folder / CHUNKS).read_text("ascii", "replace").splitlines()
        except OSError:
            return {}
        found = filter(None, map(_LINE.fullmatch, lines))
        return {int(match[1]): match[2] for match in found}

    def fill(self, missing: np.ndarray, compute: Compute, about: Mapping) -> None:
        """Computes chunks and writes them; a chunk is recorded once it is on the disk."""
        self.folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps({**about, "shape": self.shape, "dtype": str(self.dtype)}, indent=1)
        write_whole(self.folder / ABOUT, f"{text}\n".encode())
        wanted = np.concatenate([np.arange(*_rows_of(c).indices(self.shape[0])) for c in missing])
        with (
            open_to_update(self.folder / ROWS) as rows,
            open_to_update(self.folder / CHUNKS) as lines,
        ):
            self._make_room(rows, len(missing))
            lines.seek(0, os.SEEK_END)
            pending, synced = [], time.monotonic()
            try:
                for chunk, computed in zip(missing.tolist(), compute(wanted), strict=True):
                    block = np.ascontiguousarray(computed, self.dtype)
                    rows.seek(_rows_of(chunk).start * self.shape[1] * self.dtype.itemsize)
                    write_all(rows, memoryview(block).cast("B"))
                    pending.append(f"\n{chunk} {_checksum(block)}\n")
                    if time.monotonic() - synced > SYNC_SECONDS:
                        _record(rows, lines, pending)
                        synced = time.monotonic()
            finally:  # also when it is interrupted
                _record(rows, lines, pending)
        sync_folder(self.folder)

    def _make_room(self, rows: BinaryIO, chunks: int) -> None:
        needed = min(self.nbytes, chunks * CHUNK * self.shape[1] * self.dtype.itemsize)
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            raise OSError(errno.ENOSPC, f"{free / 1e9:.2f} GB are free")
        rows.truncate(self.nbytes)


def _rows_of(chunk: int) -> slice:
    return slice(int(chunk) * CHUNK, (int(chunk) + 1) * CHUNK)


def _checksum(block: np.ndarray) -> str:
    return f"{zlib.crc32(np.ascontiguousarray(block)):08x}"


def _record(rows: BinaryIO, lines: BinaryIO, pending: list[str]) -> None:
    os.fsync(rows.fileno())
    lines.write("".join(pending).encode("ascii"))
    os.fsync(lines.fileno())
    pending.clear()
