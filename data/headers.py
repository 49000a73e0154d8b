"""Original sizes of images from the head of their files, read once and kept."""

import contextlib
import os
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.cache_places import FOLDER, files_digest, key_in
from data.decoding import Head, read_head
from data.progress import progress
from data.refusals import PASSING, reason
from files.fingerprints import file_fingerprint
from files.writing import whole_file

FORMAT = 4  # raised whenever the same files would give other sizes
_ARRAYS = ("sizes", "fingerprints", "deep", "colour")
AT_ONCE = 256  # files a thread reads before it reports
WORKERS = 8  # threads; more than there are cores, because they wait for the disk


class Headers(NamedTuple):
    """What the heads of S files say.

    Fields:
        sizes (S, 2): float32 width and height in pixels, as a viewer shows the image; NaN rows for
            bad files.
        fingerprints (S,): uint64, see `files.fingerprints`; 0 for bad files.
        deep, colour (S,): See `data.decoding.Head`; False for bad files.
        bad: Path and reason of each file that is not an image.
        kept: Whether the sizes could be written down for the next time.
    """

    sizes: np.ndarray
    fingerprints: np.ndarray
    deep: np.ndarray
    colour: np.ndarray
    bad: list[list[str]]
    kept: bool


def read_headers(
    root: str | os.PathLike,
    files: Sequence[str],
    *,
    cache_dir: str | os.PathLike | None = None,
) -> Headers:
    """Sizes of all images without decoding them, or what an earlier call has found for the same
    files.

    They are kept beside the image caches, under names, sizes and modification times of the files
    like those.

    Args:
        root: The data folder.
        files: Paths below it, in the order of the rows.
        cache_dir: Where they are kept; '.taxonomy_cache' inside root by default.
    """
    root = Path(root)
    place = Path(cache_dir) if cache_dir is not None else root / FOLDER
    stored = (
        place / f"sizes-{key_in(place, root, files_digest(root, files, f'sizes {FORMAT}'))}.npz"
    )
    with (
        contextlib.suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile),
        np.load(stored) as arrays,
    ):
        return Headers(*(arrays[name] for name in _ARRAYS), arrays["bad"].tolist(), True)
    sizes, bad = np.full((len(files), 2), np.nan, np.float32), []
    fingerprints = np.zeros(len(files), np.uint64)
    deep, colour = np.zeros(len(files), bool), np.zeros(len(files), bool)
    bar = progress(total=len(files), desc="Measuring images", unit="image")
    with bar, ThreadPoolExecutor(WORKERS) as pool:
        pieces = [files[start : start + AT_ONCE] for start in range(0, len(files), AT_ONCE)]
        for number, piece in enumerate(pool.map(partial(_read_heads, root), pieces)):
            bar.update(len(piece))
            for row, found in enumerate(piece, number * AT_ONCE):
                if isinstance(found, str):
                    bad.append([files[row], found])
                else:
                    head, fingerprints[row] = found
                    sizes[row], deep[row], colour[row] = head
    # what may be readable the next time is not remembered as bad
    passing = any(why.startswith(PASSING) for _, why in bad)
    arrays = dict(zip(_ARRAYS, (sizes, fingerprints, deep, colour)))
    kept = passing or _store(stored, bad=np.array(bad, dtype=str).reshape(-1, 2), **arrays)
    return Headers(*arrays.values(), bad, kept)


def _read_heads(root: Path, files: Sequence[str]) -> list[tuple[Head, int] | str]:
    found = []
    for file in files:
        try:
            found.append((read_head(root / file), file_fingerprint(root / file)))
        except ValueError as error:
            found.append(reason(error))
        except OSError as error:
            found.append(f"{PASSING}{error.strerror or error}")
    return found


def _store(path: Path, **arrays: np.ndarray) -> bool:
    try:
        with whole_file(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, **arrays)
    except OSError:
        return False
    return True
