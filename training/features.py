"""Features, what a frozen trunk makes of every image: computed once, kept beside the decoded images
and shared by all runs that start from the same trunk.
"""

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

import data
from data import Batches, Splits
from data.cache_places import places
from data.options import READING
from data.progress import progress
from data.row_file import CHUNK, begun, described, open_rows
from files.fingerprints import HASHES, is_of_pixels
from models import BACKBONES, has_frozen_trunk, split_state, trunk_digest
from training.setup import TrainingState
from training.shared import Shared

FORMAT = 1  # raised whenever the same trunk and images would give other features
ON_CPU = 32  # images that go through the trunk at once there: larger ones leave the caches


def open_features(
    training: TrainingState, splits: Splits, machine: Mapping, shared: Shared | None = None
) -> tuple[torch.Tensor | None, str | None]:
    """The features of all images of a dataset, which are computed where they are not there yet.

    Of a team the first process computes them; the others find them, or on another machine compute
    their own.

    Args:
        training: The model, with the weights that it trains with.
        splits: The images.
        machine: data_dir and cache_dir.
        shared: What the runs before this one in this process had open.

    Returns: Features (S, F), float32 or float16, on the device where it has room for them; and what
        to tell the user. None where the run has no use for them (--features).
    Raises: ValueError: If a feature is not a finite number; OSError: If they cannot be kept.
    """
    precision = training.options.get("features")
    if precision in (None, "off") or not has_frozen_trunk(training.model):
        return None, None
    shared = Shared() if shared is None else shared
    trunk = trunk_digest(split_state(training.model.state_dict())[0])
    data_dir = machine["data_dir"] or data.defaults(splits.dataset).get("data_dir")
    where = places(data_dir, machine["cache_dir"])
    about = _about(training, splits, trunk, precision, splits.fingerprints_of)
    if not begun(where, _name(about)):
        about = _by_another_hash(training, splits, trunk, precision, where) or about
    name = _name(about)
    device, timer = training.devices.main, _Timer()

    def open_them() -> torch.Tensor:
        rows = open_rows(
            where,
            name,
            (len(splits.files), training.model.backbone.feature_dim),
            precision,
            lambda wanted: timer.count(_compute(training, splits, wanted, precision)),
            about,
        )
        return _on_device(torch.from_numpy(rows), device)

    features = shared.get(
        "features",
        (name, device, machine["data_dir"], machine["cache_dir"]),
        lambda: training.team.first_then_others(open_them),
    )
    done = f"computed once in {timer.seconds:.0f} s" if timer.seconds else "computed before"
    size = features.numel() * features.element_size() / 1e6
    count, width = features.shape
    return features, f"{width} features of each of {count} images ({size:.0f} MB, {done})"


class _Timer:
    """Adds up the time until each item is there."""

    seconds = 0.0

    def count(self, items: Iterator) -> Iterator:
        start = time.perf_counter()
        for item in items:
            self.seconds += time.perf_counter() - start
            yield item
            start = time.perf_counter()


def _name(about: Mapping[str, str]) -> str:
    return f"{hashlib.sha256(repr(sorted(about.items())).encode()).hexdigest()[:24]}.features"


def _by_another_hash(
    training: TrainingState, splits: Splits, trunk: str, precision: str, where: Sequence[Path]
) -> dict[str, str] | None:
    """What says of features that they are those of these images, which an earlier version knew by
    another hash; None where there are none.
    """
    if not is_of_pixels(splits.fingerprints_of):
        return None
    there = [about for about in described(where, "*.features") if about.get("trunk") == trunk]
    for of in HASHES.keys() - {splits.fingerprints_of}:
        if any(str(about.get("images")).endswith(f" of {of}") for about in there):
            about = _about(training, splits, trunk, precision, of)  # which takes a while
            if begun(where, _name(about)):
                return about
    return None


def _about(
    training: TrainingState, splits: Splits, trunk: str, precision: str, of: str
) -> dict[str, str]:
    """All that the features depend on, but for the numerics of processors; the images by the hash
    `of`.
    """
    options, backbone = training.options, training.model.backbone
    own = [option.name for option in BACKBONES.find(options["backbone"]).own_options]
    names = ("backbone", "legacy_stem", *own, *READING)
    images = hashlib.sha256("\n".join(splits.content_by(of)).encode()).hexdigest()
    return {
        "format": str(FORMAT),
        "dataset": splits.dataset,
        "images": f"{images} of {of}",
        "image_size": str((*splits.image_size, splits.channels)),
        "trunk": trunk,
        "normalisation": str([backbone.mean.flatten().tolist(), backbone.std.flatten().tolist()]),
        "precision": f"{precision}{' of bfloat16' if options['amp'] else ''}",
        **_table(splits, options),
        **{name: str(options[name]) for name in names if options.get(name) not in (None, False)},
    }


def _table(splits: Splits, options: Mapping) -> dict[str, str]:
    """Of the table that says which part of an image is used, where its fingerprint does not."""
    if is_of_pixels(splits.fingerprints_of) or not options.get("table"):
        return {}
    with open(options["table"], "rb") as file:
        return {"table": hashlib.file_digest(file, "sha256").hexdigest()}


@torch.no_grad()
def _compute(
    training: TrainingState, splits: Splits, rows: np.ndarray, precision: str
) -> Iterator[np.ndarray]:
    """Features of images, CHUNK by CHUNK."""
    model, device = training.model.eval(), training.devices.main
    part = CHUNK if device.type == "cuda" else ON_CPU
    total = len(splits.files)
    with progress(total=total, initial=total - len(rows), desc="features", unit="image") as bar:
        for images, _, _ in Batches(splits, rows, CHUNK, device=device):
            pieces = []
            for piece in images.split(part):
                with training.autocast():
                    pieces.append(model.features(piece).to(getattr(torch, precision)))
                bar.update(len(piece))
            features = torch.cat(pieces)
            if not features.isfinite().all():
                raise ValueError(_not_finite(precision))
            yield features.cpu().numpy()


def _not_finite(precision: str) -> str:
    if precision == "float16":
        return (
            "a feature of this network is not a finite number, or above 65504, the largest of"
            " float16: use --features float32"
        )
    return "a feature of this network is not a finite number; are its weights those of a training?"


def _on_device(features: torch.Tensor, device: torch.device) -> torch.Tensor:
    """On a GPU if half of its free memory holds them; else as they are, in the file."""
    if device.type != "cuda":
        return features
    fits = features.numel() * features.element_size() <= torch.cuda.mem_get_info(device)[0] / 2
    return features.to(device) if fits else features
