"""Finds and opens the images of a recorded run."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from data.cifar100_files import read_picture
from data.conversion import Box
from data.decoding import read_image
from data.reading import Reading
from files.fingerprints import FILES, file_fingerprint, is_of_pixels, pixels_fingerprint
from files.paths import leads_out
from runs.files import RunError
from runs.folder import Run

if TYPE_CHECKING:
    import pandas as pd

_PICTURE = 320  # pixels of the longer side of an example image


class ImageFolder(NamedTuple):
    """Where the images of a run may lie.

    Attributes:
        places: Folders, the likeliest first.
        content: The images that may be opened there; None where the user named the folder, and all
            in it may be.
        dataset: Of the run.
        reading: How the run reads them.
        boxes: By file, what the run cut out of it; all of the others.
    """

    places: list[Path]
    content: "Content | None" = None
    dataset: str | None = None
    reading: Reading = Reading()
    boxes: Mapping[str, Box] = MappingProxyType({})


class Content(NamedTuple):
    """What the images of a run have to look like.

    Attributes:
        fingerprints: By file, 16 hexadecimal digits.
        of: What they are made of, see `data.Splits`.
    """

    fingerprints: Mapping[str, str]
    of: str


def recorded_reading(run: Run) -> Reading:
    """How a run reads its images. Raises: RunError: If config.json says it by no values that there
    are.
    """
    options = run.options
    try:
        return Reading.of(options)
    except ValueError as error:
        raise RunError(f"{run.folder / 'config.json'} is damaged: option {error}") from error


def image_folder(run: Run, data_dir: str | None) -> ImageFolder:
    """Folders that may hold the images of a run: the one given, else the one it was trained on,
    else its dataset's own.

    config.json may come from a stranger and name any folder of this machine. Where it says the
    folder, only images are opened that have the content which the run recorded of them: nobody can
    tell it of a picture that he has not got.

    Raises: RunError: If config.json or split.csv is damaged.
    """
    dataset = run.options.get("dataset")
    place = data_dir or run.images_in or _default_place(dataset)
    if not place:
        return ImageFolder([])
    # an identifier names a folder inside this one, and nothing else
    named = isinstance(dataset, str) and dataset.isidentifier()
    inside = [*_folder_inside(run), *([dataset] if named else [])]
    folders = [Path(place), *(Path(place) / folder for folder in inside)]
    table = run.split if (run.folder / "split.csv").is_file() else None
    content = None if data_dir else _content(table, str(run.fingerprints_of))
    reading = recorded_reading(run)
    return ImageFolder(folders, content, dataset if named else None, reading, _boxes(run, table))


def _folder_inside(run: Run) -> list[str]:
    """The folder of the run's files, inside the one that the user named then, where they differ."""
    named, files = run.images_in, run.files_in
    if None in (named, files) or files == named or not PurePath(files).is_relative_to(named):
        return []
    inside = str(PurePath(files).relative_to(named))
    return [] if leads_out(inside) else [inside]


def _default_place(dataset: object) -> str | None:
    """The folder where a dataset of this project looks for its images."""
    import data  # with torch, which only runs of earlier versions, without a place, wait for

    known = isinstance(dataset, str) and dataset in data.DATASETS
    return data.defaults(dataset).get("data_dir") if known else None


def _content(table: "pd.DataFrame | None", of: str) -> Content:
    """What the run recorded of its images; nothing where it is of an earlier version."""
    if table is None or not {"file", "fingerprint"} <= set(table.columns):
        return Content({}, of)
    return Content(dict(zip(table["file"].astype(str), table["fingerprint"].astype(str))), of)


def _boxes(run: Run, table: "pd.DataFrame | None") -> dict[str, Box]:
    """What the run cut out of its images; nothing where it is of an earlier version.

    Raises: RunError: If that is damaged.
    """
    if table is None or not {"file", "box"} <= set(table.columns):
        return {}
    sides = [re.fullmatch(r"(-?\d+) (-?\d+) (\d+) (\d+)", str(box)) for box in table["box"]]
    if not all(sides):
        wrong = table["box"][sides.index(None)]
        raise RunError(f"{run.folder / 'split.csv'} is damaged: {wrong!r} is not a box")
    boxes = (tuple(map(int, found.groups())) for found in sides)
    return dict(zip(table["file"].astype(str), boxes))


def _has_content(path: Path, file: str, folder: ImageFolder) -> bool:
    """Whether an image is the one that the run knows."""
    content = folder.content
    if content.of == FILES:
        found = file_fingerprint(path)
    elif is_of_pixels(content.of):
        found = read_image(path, folder.reading, folder.boxes.get(file)).fingerprint(content.of)
    else:  # of a later version
        return False
    return content.fingerprints.get(file) == f"{found:016x}"


def _packed(file: str, folder: ImageFolder) -> np.ndarray | None:
    """An image of CIFAR-100, whose files hold thousands, (32, 32, 3); None where they are not
    there, or the image is not known to be the run's. Raises: ValueError: If a file is damaged.
    """
    pixels = next(
        (p for p in (read_picture(q, file) for q in folder.places) if p is not None), None
    )
    known = folder.content
    if pixels is None or known is None:
        return pixels
    if not is_of_pixels(known.of):
        return None
    found = pixels_fingerprint(pixels, (pixels.shape[1], pixels.shape[0]), known.of)
    return pixels if known.fingerprints.get(file) == f"{found:016x}" else None


def open_image(file: str, folder: ImageFolder) -> np.ndarray:
    """A small copy of an image for display, (H, W) or (H, W, 3) uint8. Raises: ValueError: With the
    reason.
    """
    places, reading = folder.places, folder.reading
    if leads_out(file) or "\0" in file:
        raise ValueError(
            f"the run names the image {file!r}, which leads out of the folder of its images"
        )
    try:
        path = next((place / file for place in places if (place / file).is_file()), None)
    except (ValueError, OSError) as error:  # a path that cannot be one
        raise ValueError(f"{places[0]}: {error}") from error
    if path is None and folder.dataset == "CIFAR100":
        pixels = _packed(file, folder)
        if pixels is not None:
            return np.asarray(Image.fromarray(pixels).convert("L")) if reading.gray else pixels
    if path is None:
        where = f"under {places[0]}" if places else "in a folder that the run names"
        raise ValueError(
            f"there is no image file {file} {where}; if there is one elsewhere, name its folder"
            " with --data_dir"
        )
    try:
        if folder.content is not None and not _has_content(path, file, folder):
            raise ValueError(
                "it is not known to be the image that the run was trained or tested on; if it is,"
                " name the folder of the images with --data_dir"
            )
        pixels = read_image(path, replace(reading, resize=0), folder.boxes.get(file)).pixels
    except (ValueError, OSError) as error:
        raise ValueError(f"{path}: {error}") from error
    image = Image.fromarray(pixels[:, :, 0] if reading.gray else pixels)
    image.thumbnail((_PICTURE, _PICTURE))
    return np.asarray(image)
