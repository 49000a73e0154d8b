"""Opens the images of a dataset as pixels: from the cache where they fit one, decoded on the way
where not.
"""

import contextlib
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.cache import ImageCache, build_cache
from data.conversion import Box
from data.decoding import read_image
from data.headers import read_headers
from data.image_notes import ImageNotes
from data.options import usual
from data.reading import DEFAULTS as READING
from data.reading import Reading
from data.refusals import left_out, refusal
from data.stream import Stream, Upscaled, check_one_size
from files.fingerprints import FILES
from files.text import counted
from hierarchies import Hierarchy
from hierarchies.tree import format_path

# bytes of decoded pixels that are kept on disk at most; iNaturalist 2019 at 224 pixels has 40e9
CACHE_LIMIT = 64e9
LOOKED_AT = 20  # streamed images of 16 bits that are decoded to see how bright they are
# of what `open_images` takes; what a cache is made by comes first
CACHED = usual(*READING, "cache_dir", "skip_bad_images")
DEFAULTS = {**CACHED, **usual("upscale", "stream")}


class Images(NamedTuple):
    """Images as `Splits` takes them (K of the files asked for).

    Fields:
        pixels: uint8 (K, H, W, channels), a memory map or something that reads like an array.
        sizes (K, 2): float32 original width and height, in pixels.
        kept (K,): Position of each image in the list of files.
        notes: What the user should be told.
        fingerprints (K,): uint64 hashes of the images' content.
        fingerprints_of: What they are made of, see `files.fingerprints`.
        cache: The cache they come from, if they do.
        boxes (K, 4): int64 left, top, width and height of the part that is the image, in pixels of
            the file; None where they are whole.
        root: The data folder.
    """

    pixels: object
    sizes: np.ndarray
    kept: np.ndarray
    notes: tuple[str, ...]
    fingerprints: np.ndarray
    fingerprints_of: str
    cache: ImageCache | None = None
    boxes: np.ndarray | None = None
    root: Path | None = None

    @property
    def as_fields(self) -> dict[str, object]:
        """The fields of `Splits` that are of the images alone, by their names."""
        names = ("pixels", "sizes", "fingerprints", "fingerprints_of", "boxes", "root")
        return {name: getattr(self, name) for name in names}


def open_images(
    root: Path,
    files: Sequence[str],
    options: Mapping,
    boxes: Mapping[str, Box] | None = None,
) -> Images:
    """Opens images below a folder.

    Args:
        root: The data folder.
        files: Paths below it.
        options: Any of DEFAULTS: how they are read, see `Reading`. cache_dir, skip_bad_images: see
            `build_cache`. stream: decode images each time they are used instead of once; None:
            where the decoded ones would take more than CACHE_LIMIT. upscale: side in pixels to
            which the resized images are enlarged; 0 leaves them.
        boxes: For each file the part of it to cut out first; None for whole images.

    Raises: ValueError, OSError: As `build_cache`; or if images shall be streamed, but not resized.
    """
    options = {**DEFAULTS, **options}
    reading = Reading.of(options)
    decoded = len(files) * math.prod(reading.size or (0, 0)) * reading.channels
    stream = decoded > CACHE_LIMIT if options["stream"] is None else options["stream"]
    place, skip = options["cache_dir"], options["skip_bad_images"]
    wanted = _Wanted(root, files, reading, boxes, place, skip)
    images = (_stream(wanted) if stream else _cached(wanted))._replace(root=root)
    if boxes is not None:
        images = images._replace(boxes=np.array([boxes[files[row]] for row in images.kept]))
    if options["upscale"]:
        images = images._replace(pixels=Upscaled(images.pixels, options["upscale"]))
    return images


class _Wanted(NamedTuple):
    """Images to open; see `open_images`."""

    root: Path
    files: Sequence[str]
    reading: Reading
    boxes: Mapping[str, Box] | None
    cache_dir: str | os.PathLike | None
    skip_bad_images: bool


def _cached(wanted: _Wanted) -> Images:
    cache = build_cache(**wanted._asdict())
    return Images(
        cache.pixels,
        cache.sizes,
        cache.kept,
        (*cache.notes, *_place_notes(cache, wanted)),
        cache.fingerprints,
        cache.fingerprints_of,
        cache,
    )


def _stream(wanted: _Wanted) -> Images:
    root, files, reading = wanted.root, wanted.files, wanted.reading
    check_one_size(reading)
    headers = read_headers(root, files, cache_dir=wanted.cache_dir)
    if headers.bad and (not wanted.skip_bad_images or len(headers.bad) == len(files)):
        raise ValueError(refusal(headers.bad))
    kept = np.flatnonzero(~np.isnan(headers.sizes[:, 0]))
    files = tuple(files[row] for row in kept)
    notes = [
        "images are decoded each time they are used, and kept nowhere (--no-stream keeps them on"
        " the disk)"
    ]
    deep, colour = headers.deep[kept], headers.colour[kept]
    notes += _deep_notes(root, files, deep, colour, reading.grey_range)
    notes += left_out(headers.bad)
    if not headers.kept:
        notes.append(
            f"{root} cannot be written: image sizes will be read again next time (--cache_dir names"
            " another place)"
        )
    stream, sizes = Stream(root, files, reading, boxes=wanted.boxes), headers.sizes[kept]
    return Images(stream, sizes, kept, tuple(notes), headers.fingerprints[kept], FILES)


def _place_notes(cache: ImageCache, wanted: _Wanted) -> list[str]:
    """A note on where the images are kept, where that is not beside them and nobody asked for
    it.
    """
    if wanted.cache_dir is not None or cache.folder.is_relative_to(wanted.root):
        return []
    return [
        f"{wanted.root} cannot be written, so the decoded images are kept in {cache.folder}"
        " (--cache_dir names another place)"
    ]


def _deep_notes(
    root: Path,
    files: Sequence[str],
    deep: np.ndarray,
    colour: np.ndarray,
    grey_range: int | None = None,
) -> list[str]:
    """Notes on images with 16 bits a channel, of which some are decoded to see what they hold."""
    if not deep.any():
        return []
    seen, reading = ImageNotes(grey_range), Reading(resize=1, grey_range=grey_range)
    rows = np.flatnonzero(deep)
    for row in rows[:: max(1, len(rows) // LOOKED_AT)][:LOOKED_AT]:
        with contextlib.suppress(ValueError):  # named when it is used
            seen.add(read_image(root / files[row], reading), files[row])
    looked = seen.sentences(("dark", "clipped"))
    scaled = (
        "grey is divided by 257, colour cut to the upper 8 bits"
        if grey_range is None
        else f"{grey_range} is white (--grey_range)"
    )
    return [
        f"{counted(int(deep.sum()), 'image')} of 16 bits a channel, {int(colour.sum())} in colour:"
        f" {scaled}",
        *(f"of {min(len(rows), LOOKED_AT)} of them, {sentence}" for sentence in looked),
    ]


def keep_readable(
    kept: np.ndarray,
    files: Sequence[str],
    labels: np.ndarray,
    order: np.ndarray,
    hierarchy: Hierarchy,
) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Files, labels and order without the images that were skipped. Raises: ValueError: If a class
    has none left.
    """
    emptied = np.setdiff1d(labels, labels[kept])
    if len(emptied):
        name = format_path(hierarchy.class_paths[emptied[0]])
        raise ValueError(
            f"no image of class {name!r} can be read: repair its images or remove its folder"
        )
    position = np.full(len(files), -1)
    position[kept] = np.arange(len(kept))
    order = position[order]
    return tuple(files[i] for i in kept), labels[kept], order[order >= 0]
