"""CIFAR-100 from torchvision's files, with the 4-level tree of Kim et al. 2023 or another one."""

import csv
import urllib.error
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from data.cifar100_files import FOLDER, PARTS, SIDE, load_part, name_of, read_images
from data.options import usual
from data.sharing import choose_split_seed, random_split, stratified_split
from data.splits import SPLITS, Splits
from data.stream import Upscaled
from hierarchies import Hierarchy, check_same_classes, read_tree

UPPER_LEVELS = Path(__file__).resolve().parents[1] / "hierarchies" / "cifar100.csv"
DEFAULTS = {
    **usual("data_dir", "download", "seed", "split_seed", "use_val", "small"),
    **usual("resize", "upscale", "cache_dir", "gray", "collapse", "hierarchy"),
    "split": "stratified",
}


def load(options: Mapping) -> Splits:
    """CIFAR-100 with its official test set and the validation split held out of the official
    training set.

    Args:
        options: Any of DEFAULTS:
            data_dir: The folder cifar-100-python or the one that holds it; download fetches it
                there.
            use_val: 45,000 training and 5,000 validation images instead of 50,000 and none, in
                general nine tenths and one.
            small: A tenth of the official training images is for training; with use_val all others
                validate.
            split, seed, split_seed: How and by what seed they are drawn, see `choose_split_seed`.
            resize: Side in pixels that images are stretched to; 0 keeps 32.
            upscale: Side that they are then enlarged to whenever they are used; 0 leaves them.
            gray, collapse: One channel; no inner node with a single child.
            hierarchy: File with another tree of the hundred classes, by their official names, such
                as hierarchies/cifar100_5levels.txt.

    Raises: ValueError: If a file is missing, damaged or disagrees with another; it is named.
    Source: Krizhevsky 2009 for the images, Kim et al. 2023 for tree and splits.
    """
    options = {**DEFAULTS, **options}
    folder = _folder(options["data_dir"], options["download"])
    parts = [read_images(folder / name) for name in PARTS]
    meta = _read_meta(folder / "meta")
    labels = np.concatenate([part["fine_labels"] for part in parts])
    coarse = np.concatenate([part["coarse_labels"] for part in parts])
    hierarchy = _tree(meta, labels, coarse, folder)
    notes = ()
    if options["hierarchy"] is not None:
        other, notes = read_tree(options["hierarchy"], self_leaves=True)
        order = check_same_classes(other, meta["fine_label_names"], f"{folder / 'meta'}")
        hierarchy = other.subset(order)
    pixels = (
        np.concatenate([part["data"] for part in parts])
        .reshape(-1, 3, SIDE, SIDE)
        .transpose(0, 2, 3, 1)
    )
    n_train = len(parts[0]["fine_labels"])
    train, val = _held_out(labels[:n_train], options)
    pixels = _convert(pixels, options["resize"], options["gray"])
    if options["upscale"]:
        pixels = Upscaled(pixels, options["upscale"])
    return Splits(
        dataset="CIFAR100",
        hierarchy=hierarchy.collapse() if options["collapse"] else hierarchy,
        files=[
            name_of(name, row, file)
            for name, part in zip(PARTS, parts)
            for row, file in enumerate(part["filenames"])
        ],
        labels=labels,
        sizes=np.full((len(labels), 2), SIDE),
        pixels=pixels,
        train=train,
        val=val,
        test=np.arange(n_train, len(labels)),
        notes=notes,
    )


def _folder(data_dir: str, download: bool) -> Path:
    root = Path(data_dir)
    if download:
        try:
            from torchvision.datasets import CIFAR100

            CIFAR100(root.parent if root.name == FOLDER else root, download=True)
        except (urllib.error.URLError, OSError, RuntimeError) as error:
            raise ValueError(
                f"CIFAR-100 cannot be downloaded to {root} ({error}); put the folder {FOLDER} there"
                " by hand"
            ) from error
    for folder in (root / FOLDER, root):
        if (folder / "meta").is_file():
            return folder
    raise ValueError(
        f"{root} holds no {FOLDER}/meta: name the folder that holds {FOLDER}, or use --download"
    )


def _read_meta(path: Path) -> dict:
    content = load_part(path)
    for key in ("fine_label_names", "coarse_label_names"):
        names = content.get(key)
        if not isinstance(names, list) or len(
            {name for name in names if isinstance(name, str)}
        ) != len(names):
            raise ValueError(f"{path} has no list {key!r} of different names")
    return content


def _tree(meta: dict, labels: np.ndarray, coarse: np.ndarray, folder: Path) -> Hierarchy:
    """Kingdom, group, superclass, class: the lower two from the data files, the upper two from the
    table.
    """
    with UPPER_LEVELS.open(newline="") as file:
        upper = {row["superclass"]: (row["kingdom"], row["group"]) for row in csv.DictReader(file)}
    names, groups = meta["fine_label_names"], meta["coarse_label_names"]
    for what, values, known in (("fine", labels, names), ("coarse", coarse, groups)):
        outside = values[(values < 0) | (values >= len(known))]
        if len(outside):
            raise ValueError(
                f"{folder}: a {what} label is {outside[0]}, but meta names {len(known)}, from 0 on"
            )
    pairs = np.unique(np.stack([labels, coarse]), axis=1).T
    parents = dict(pairs.tolist())
    if len(parents) != len(pairs):
        twice = next(
            label for label, count in zip(*np.unique(pairs[:, 0], return_counts=True)) if count > 1
        )
        raise ValueError(f"{folder}: class {names[twice]!r} comes with two coarse labels")
    without = [name for label, name in enumerate(names) if label not in parents]
    if without:
        raise ValueError(
            f"{folder}: meta names the class {without[0]!r}, but no image in train or test has it"
        )
    unknown = sorted(set(groups) - set(upper))
    if unknown:
        raise ValueError(
            f"{folder}: superclass {unknown[0]!r} of meta is not in {UPPER_LEVELS.name}"
        )
    return Hierarchy.from_paths(
        [(*upper[groups[parents[c]]], groups[parents[c]], name) for c, name in enumerate(names)]
    )


def _held_out(labels: np.ndarray, options: Mapping) -> tuple[np.ndarray, np.ndarray]:
    """Training and validation images among the official training images, in the papers'
    proportions.
    """
    total, seed = len(labels), choose_split_seed(options)
    held = total // 10 if options["use_val"] else 0
    if options["small"]:
        held = total - total // 10
    if options["split"] == "published":
        train, val = random_split(np.arange(total), (total - held, held), seed)
    elif options["split"] == "stratified":
        train, _, val = stratified_split(labels, (total - held, 0, held), seed)
    else:
        raise ValueError(
            f"split must be 'stratified' or 'published', got {options['split']!r}; the test set is"
            " official"
        )
    for name, part in zip(SPLITS, (train, val)):
        if len(part) == 0 and (name == "train" or options["use_val"]):
            raise ValueError(
                f"{total} official training images leave none for the {name} split; leave out"
                " --small or --use_val"
            )
    return train, val if options["use_val"] else np.empty(0, np.int64)


def _convert(pixels: np.ndarray, resize: int, gray: bool) -> np.ndarray:
    """Resized with antialiasing and turned grey (ITU-R 601-2 luma) where asked; (S, H, W, channels)
    uint8.
    """
    if not gray and resize in (0, SIDE):
        return np.ascontiguousarray(pixels)
    from torchvision.transforms.v2 import functional as transforms

    blocks = []
    for start in range(0, len(pixels), 1000):
        block = torch.from_numpy(pixels[start : start + 1000]).permute(0, 3, 1, 2)
        block = transforms.rgb_to_grayscale(block) if gray else block
        block = (
            transforms.resize(block, [resize, resize], antialias=True)
            if resize not in (0, SIDE)
            else block
        )
        blocks.append(block.permute(0, 2, 3, 1).numpy())
    return np.concatenate(blocks)
