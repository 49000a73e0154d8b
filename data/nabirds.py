"""NABirds (Van Horn et al. 2015) from the official folder: photographs of birds, in a tree down to
plumages.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from data.doubles import copy_notes
from data.nabirds_files import BOXES, IMAGES, SIZES, Official, read_official
from data.opening import CACHED, Images, keep_readable, open_images
from data.options import usual
from data.sharing import choose_split_seed, split_indices, stratified_split
from data.split_list import published_order
from data.splits import Splits

DEFAULTS = {
    **CACHED,
    **usual("data_dir", "crop_boxes", "seed", "split_list", "split_seed", "use_val", "small"),
    **usual("collapse"),
    "resize": 128,
    "split": "stratified",
}
SPLITS = ("stratified", "published", "official")
SMALL = (5000 / 48562, 30000 / 48562)  # training, validation; 13,562 are left for the test


def load(options: Mapping) -> Splits:
    """NABirds as downloaded. Sizes are those of the decoded files; where sizes.txt differs, a note
    says so.

    Args:
        options: Any of DEFAULTS:
            data_dir: The folder that holds images.txt, or the one above it where that is named
                nabirds.
            resize, gray, fit and so on, cache_dir, skip_bad_images: See `open_images`.
            crop_boxes: Cut each image to its bounding box before resizing.
            split, seed, split_seed, split_list, use_val: As for `data.folder.load`; without a
                split_list 'published' permutes the order of images.txt. 'official' is the dataset's
                own split; with use_val a tenth of its training images, the same share of every
                class, validates.
            small: Random splits of 5,000 / 30,000 / 13,562 images, or in these proportions; not
                with 'official'.
            collapse: Drop inner nodes with a single child.

    Raises: ValueError, OSError: Naming the file, and the line where there is one, if files are
        missing, damaged or disagree; also if images are too few for the splits.
    Source: Kim et al. 2023 for 'published' and small.
    """
    options = {**DEFAULTS, **options}
    _check_options(options)
    root = _folder(Path(options["data_dir"]))
    official = read_official(root)
    order, notes = published_order(official.paths, options, f"the order of {IMAGES}")
    files = tuple(f"images/{path}" for path in official.paths)
    images = _decode(root, files, official, options)
    notes += _size_notes(images, official, root, options["crop_boxes"])
    files, labels, order = keep_readable(
        images.kept, files, official.labels, order, official.hierarchy
    )
    parts = _split(labels, official.training[images.kept], order, options)
    train, val, test = parts
    notes += [*images.notes, *copy_notes(images.fingerprints, labels, parts, files)]
    hierarchy = official.hierarchy.collapse() if options["collapse"] else official.hierarchy
    return Splits(
        dataset="NABirds",
        hierarchy=hierarchy,
        files=files,
        labels=labels,
        train=train,
        val=val,
        test=test,
        notes=tuple(notes),
        **images.as_fields,
    )


def _check_options(options: Mapping) -> None:
    if options["split"] not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {options['split']!r}")
    if options["small"] and options["split"] == "official":
        raise ValueError(
            "--small sets sizes of random splits; --split official has its own: use"
            " --reduction_factor there"
        )


def _folder(root: Path) -> Path:
    for folder in (root, root / "nabirds"):
        if (folder / IMAGES).is_file():
            return folder
    raise ValueError(
        f"{root} holds no {IMAGES}: name the folder of NABirds as downloaded, with text files and"
        " images"
    )


def _decode(root: Path, files: Sequence[str], official: Official, options: Mapping) -> Images:
    boxes = dict(zip(files, official.boxes)) if options["crop_boxes"] else None
    try:
        return open_images(root, files, {**options, "stream": False}, boxes)
    except (FileNotFoundError, NotADirectoryError) as error:
        absent = [i for i, file in enumerate(files) if not (root / file).is_file()]
        if not absent:
            raise
        line, file = official.lines[absent[0]], files[absent[0]]
        more = f"; {len(absent)} of {len(files)} images are" if len(absent) > 1 else ""
        raise ValueError(
            f"{root / IMAGES}, line {line}: the image {file} is missing in {root}{more}"
        ) from error


def _size_notes(images: Images, official: Official, root: Path, crop: bool) -> list[str]:
    """Where files have other sizes than listed, which boxes do not survive, and boxes that leave
    their image.
    """
    listed = official.sizes[images.kept]
    differ, notes = np.flatnonzero((listed != images.sizes).any(1)), []
    if len(differ):
        image = images.kept[differ[0]]
        sides = [
            " x ".join(f"{side:.0f}" for side in size)
            for size in (listed[differ[0]], images.sizes[differ[0]])
        ]
        place = (
            f"{root / SIZES}, line {official.size_lines[image]}: {official.paths[image]} has"
            f" {sides[0]} pixels"
        )
        message = f"{place}, its file {sides[1]}; {len(differ)} files differ from {SIZES}"
        if crop:
            raise ValueError(
                f"{message}, so their boxes do not fit: --crop_boxes needs the images as downloaded"
            )
        notes.append(message)
    if crop:
        boxes = np.array(official.boxes)[images.kept]
        beyond = (boxes[:, :2] < 0).any(1) | (boxes[:, :2] + boxes[:, 2:] > images.sizes).any(1)
        notes += (
            [f"{beyond.sum()} boxes of {BOXES} reach beyond their image and were cut to it"]
            if beyond.any()
            else []
        )
    return notes


def _split(
    labels: np.ndarray, training: np.ndarray, order: np.ndarray, options: Mapping
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    seed, use_val, nothing = choose_split_seed(options), options["use_val"], np.empty(0, np.int64)
    if options["split"] == "official":
        train, test = np.flatnonzero(training), np.flatnonzero(~training)
        held = len(train) // 10 if use_val else 0
        kept, _, val = stratified_split(labels[train], (len(train) - held, 0, held), seed)
        if use_val and not len(val):
            raise ValueError(
                f"{len(train)} official training images leave none to validate; leave out --use_val"
            )
        return train[kept], train[val], test
    if not options["small"]:
        return split_indices(
            labels, seed=seed, use_val=use_val, split=options["split"], order=order
        )
    train, val, test = split_indices(
        labels, seed=seed, use_val=True, split=options["split"], fractions=SMALL, order=order
    )
    return train, val if use_val else nothing, test
