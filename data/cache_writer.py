"""Fills the files of an image cache: all images, in order, decoded by threads."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from data.decoding import Box, Decoded, read_image, reason
from data.progress import progress
from files.writing import sync_folder

SHOWN = 20
DARK = 65536 // 4  # 16-bit images that stay below come out dark: they hold 12 or 14 bits


def fill(
    folder: Path, files: Sequence[str], read: Callable[[str], Decoded | str], workers: int
) -> list[list[str]]:
    """Writes pixels.bin, images.npz and, last, content.json into the folder.

    Args:
        folder: An empty folder.
        files: Paths, in the order of the rows.
        read: Returns the decoded image of a path, or the reason why there is none: see
            `read_or_reason`.
        workers: Number of threads that read.

    Returns: Path and reason of each file that could not be read; it has no row. A reason that may
        pass, such as a missing permission, begins with `decoding.PASSING`.
    Raises:
        ValueError: If two images differ in shape.
        OSError: If there is no space left; checked as soon as the size of a row is known.
    """
    kept, sizes, fingerprints, bad, first, seen = [], [], [], [], None, {}
    bar = progress(total=len(files), desc="Reading images", unit="image")
    with bar, _quiet(), open(folder / "pixels.bin", "wb") as handle:
        for index, image in enumerate(_in_order(read, files, workers)):
            bar.update()
            if isinstance(image, str):
                bad.append([files[index], image])
                continue
            if first is None:
                first = image.pixels.shape
                _check_space(folder, len(files) * image.pixels.nbytes)
            elif image.pixels.shape != first:
                raise ValueError(_unequal(files[kept[0]], first, files[index], image.pixels.shape))
            handle.write(image.pixels.tobytes())
            kept.append(index)
            sizes.append(image.size)
            fingerprints.append(image.fingerprint)
            _observe(seen, image, files[index])
        handle.flush()
        os.fsync(handle.fileno())
    sizes, fingerprints = (
        np.array(sizes, np.float32).reshape(-1, 2),
        np.array(fingerprints, np.uint64),
    )
    arrays = {"kept": np.array(kept, np.int64), "sizes": sizes, "fingerprints": fingerprints}
    with open(folder / "images.npz", "wb") as handle:
        np.savez(handle, **arrays)
        handle.flush()
        os.fsync(handle.fileno())
    content = {"shape": [len(kept), *(first or (0, 0, 0))], "bad": bad, "notes": _notes(seen)}
    content["checksums"] = checksums(content, folder)
    with open(folder / "content.json", "w", encoding="utf-8") as handle:
        json.dump(content, handle, indent=1)
        handle.flush()
        os.fsync(handle.fileno())
    sync_folder(folder)
    return bad


def read_or_reason(
    file: str, *, root: Path, resize: int, gray: bool, boxes: Mapping[str, Box] | None = None
) -> Decoded | str:
    """The decoded image, cropped where boxes are given, or why it cannot be read."""
    try:
        return read_image(
            root / file, resize=resize, gray=gray, box=None if boxes is None else boxes[file]
        )
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


def refusal(bad: Sequence[Sequence[str]]) -> str:
    """The message that lists files which cannot be read, and the ways out."""
    lines = [f"  {file}: {why}" for file, why in bad[:SHOWN]]
    more = [f"  and {len(bad) - SHOWN} more"] if len(bad) > SHOWN else []
    head = (
        f"{len(bad)} images cannot be read; remove or repair them, or leave them out with"
        " --skip_bad_images:"
    )
    return "\n".join([head, *lines, *more])


def _in_order(read: Callable, files: Sequence[str], workers: int) -> Iterator[Decoded | str]:
    """The images in the order of the files; threads stay a little ahead. Pillow decodes without
    holding the GIL.
    """
    pool, ahead = ThreadPoolExecutor(workers), deque()
    try:
        for file in files:
            ahead.append(pool.submit(read, file))
            if len(ahead) > 16 * workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


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
        f" {other[1]} x {other[0]};"
        " give --resize to stretch them to one size"
    )


def _observe(seen: dict, image: Decoded, file: str) -> None:
    deep = image.brightest is not None
    kinds = {
        "deep": deep and not image.cut,
        "cut": image.cut,
        "dark": deep and image.brightest < DARK,
        "transparent": image.transparent,
        "frames": image.frames > 1,
    }
    for kind, found in kinds.items():
        if found:
            seen.setdefault(kind, []).append(file)
    if kinds["deep"]:
        seen["brightest"] = max(seen.get("brightest", 0), image.brightest)


def _notes(seen: dict) -> list[str]:
    sentences = {
        "deep": "with 16 bits a pixel were divided by 257 (the largest value found is {brightest}"
        " of 65535)",
        "cut": "in colour with 16 bits a channel were cut to the upper 8 bits of each (Pillow reads"
        " no more)",
        "dark": "with 16 bits use less than a quarter of the range, as 12-bit data do, and come out"
        " dark (values stretched"
        " to 0-65535 beforehand would not)",
        "transparent": "with transparency were laid on white",
        "frames": "with several frames or pages: the first one was read",
    }
    notes = []
    for kind, sentence in sentences.items():
        if kind in seen:
            text = sentence.format(brightest=seen.get("brightest"))
            notes.append(f"{len(seen[kind])} images {text}, for instance {seen[kind][0]}")
    return notes
