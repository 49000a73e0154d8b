"""Finds and opens the images of a recorded run."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

import data
from data.decoding import read_image
from runs.folder import Run

_PICTURE = 320  # pixels of the longer side of an example image


def image_places(run: Run, data_dir: str | None) -> list[Path]:
    """Folders that may hold the images of a run: the one given, else the one it was trained on,
    else its dataset's own.
    """
    dataset, places = run.options.get("dataset"), run.config.get("places")
    named = places.get("data_dir") if isinstance(places, dict) else None
    default = data.defaults(dataset).get("data_dir") if dataset in data.DATASETS else None
    place = data_dir or named or default
    return [] if not place else [Path(place), Path(place) / str(dataset)]


def open_image(file: str, places: Sequence[Path], gray: bool) -> np.ndarray:
    """A small copy of an image for display, (H, W) or (H, W, 3) uint8. Raises: ValueError: With the
    reason.
    """
    if Path(file).is_absolute() or ".." in Path(file).parts:
        raise ValueError(
            f"the run names the image {file!r}, which leads out of the folder of its images"
        )
    path = next((place / file for place in places if (place / file).is_file()), None)
    if path is None:
        where = f"under {places[0]}" if places else "in a folder that the run names"
        raise ValueError(
            f"there is no image file {file} {where}; if there is one elsewhere, name its folder"
            " with --data_dir"
        )
    try:
        pixels = read_image(path, resize=None, gray=gray).pixels
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    image = Image.fromarray(pixels[:, :, 0] if gray else pixels)
    image.thumbnail((_PICTURE, _PICTURE))
    return np.asarray(image)
