"""The built-in demo: a small plankton-like collection, drawn as real JPEG files in a tree of
folders.
"""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from data import demo_plans as plans
from data import folder as folders
from data.progress import progress as progress_bar
from data.splits import Splits
from files import system
from hierarchies.folders import IMAGE_SUFFIXES

VERSION = 1
MANIFEST = ".demo.json"  # hidden, so that it is no part of the collection
_WAY_OUT = (
    "move away what is yours, then delete it to have it drawn anew, or name another place with"
    " --data_dir"
)


class Species(NamedTuple):
    """How the images of a class are drawn: the body plan, its typical size in pixels a unit, the
    plan's details.
    """

    plan: Callable
    size: float
    details: dict


TRIPOS = {"body": 0.42, "apical": 0.6, "antapical": (0.42, 0.3), "spread": 0.15}

SPECIES = {
    "Diatoms/Centric discs/Actinoptychus senarius": Species(plans.disc, 62, {"sectors": 6}),
    "Diatoms/Centric discs/Coscinodiscus granii": Species(
        plans.disc, 74, {"rings": 7, "pore": 0.035, "tilt": 0.88}
    ),
    "Diatoms/Centric discs/Coscinodiscus radiatus": Species(
        plans.disc, 60, {"rings": 5, "pore": 0.06}
    ),
    "Diatoms/Chains/Chaetoceros debilis": Species(
        plans.chain, 85, {"cells": 7, "width": 1.0, "gap": 0.15, "setae": 1.7, "bend": 1.6}
    ),
    "Diatoms/Chains/Chaetoceros decipiens": Species(
        plans.chain, 95, {"cells": 6, "width": 1.2, "gap": 0.1, "setae": 2.1, "bend": 0.3}
    ),
    "Diatoms/Chains/Skeletonema": Species(
        plans.chain, 80, {"cells": 7, "width": 0.7, "gap": 0.35, "setae": 0.6, "bend": 0.8}
    ),
    "Diatoms/Pennates/Navicula": Species(plans.valve, 66, {"width": 0.25, "striae": 10}),
    "Diatoms/Pennates/Pleurosigma": Species(plans.valve, 84, {"width": 0.2, "sigmoid": 0.14}),
    "Dinoflagellates/Protoperidinium": Species(
        plans.horned, 60, {"body": 0.7, "apical": 0.4, "antapical": (0.42, 0.4), "spread": 0.35}
    ),
    "Dinoflagellates/Tripos/Tripos furca": Species(plans.horned, 66, TRIPOS),
    "Dinoflagellates/Tripos/Tripos furca/Tripos furca duplets": Species(plans.couple, 66, TRIPOS),
    "Dinoflagellates/Tripos/Tripos fusus": Species(
        plans.horned,
        110,
        {"body": 0.17, "apical": 0.5, "antapical": (0.5, 0.05), "spread": 0.05, "curl": 0.3},
    ),
    "Dinoflagellates/Tripos/Tripos muelleri": Species(
        plans.horned,
        84,
        {"body": 0.34, "apical": 0.7, "antapical": (0.7, 0.65), "spread": 1.1, "curl": 1.6},
    ),
    "Ciliates/Strombidium": Species(plans.naked, 44, {"width": 0.75, "cilia": 0.3}),
    "Ciliates/Tintinnids/Favella": Species(
        plans.lorica, 72, {"width": 0.45, "tail": 0.25, "collar": 1, "taper": 0.4}
    ),
    "Ciliates/Tintinnids/Helicostomella": Species(
        plans.lorica, 80, {"width": 0.34, "tail": 0.1, "collar": 4, "taper": 0.45}
    ),
    "Ciliates/Tintinnids/Tintinnopsis": Species(
        plans.lorica, 58, {"width": 0.5, "grains": 26, "taper": 0.3}
    ),
    "Copepods/Calanoids/Calanus": Species(
        plans.copepod,
        105,
        {"width": 0.3, "prosome": 0.66, "antenna": 0.8, "furca": 0.15, "sweep": 0.4},
    ),
    "Copepods/Calanoids/Temora": Species(
        plans.copepod,
        88,
        {"width": 0.38, "prosome": 0.62, "antenna": 0.72, "furca": 0.25, "sweep": 0.5},
    ),
    "Copepods/Cyclopoids/Oithona": Species(
        plans.copepod,
        76,
        {"width": 0.28, "prosome": 0.55, "antenna": 0.5, "furca": 0.2, "sweep": 0.1},
    ),
    "Copepods/nauplii": Species(plans.nauplius, 48, {"width": 0.6, "limb": 0.45}),
    "nonliving/bubbles": Species(plans.bubble, 50, {"wall": 0.15}),
    "nonliving/detritus": Species(plans.detritus, 75, {"pieces": 7}),
    "nonliving/fibres": Species(plans.fibre, 110, {"width": 0.02}),
}
DEFAULTS = {"data_dir": "demo_images", "resize": 32, "gray": True, "nonliving": ("nonliving",)}
TAKEN = {
    name: value
    for name, value in {**folders.DEFAULTS, **DEFAULTS}.items()
    if name not in folders.TABLE_OPTIONS
}


def load(options: Mapping) -> Splits:
    """The demo as a dataset, drawn into `data_dir` (default 'demo_images') unless it is there.

    Takes the options of `data.folder.load`, with the defaults of DEFAULTS. The seed is the split's:
    all runs share one collection. Raises: ValueError: If data_dir holds anything but a complete
    demo.
    """
    given = {key: value for key, value in options.items() if value is not None}
    options = {**DEFAULTS, **given, "dataset": "demo"}
    if (Path(options["data_dir"]) / MANIFEST).exists():
        check_demo(options["data_dir"])
    else:
        draw_demo(options["data_dir"])
    return folders.load(options)


def draw_demo(
    folder: str | os.PathLike,
    *,
    seed: int = 0,
    images_per_class: int | None = None,
    progress: bool = True,
) -> None:
    """Draws the collection of SPECIES as JPEG files <folder>/<group>/.../<class>/<image>.jpg,
    unless they are there.

    The folder appears complete or not at all, so that several may draw it at once. One seed gives
    the same bytes.

    Args:
        folder: Where to draw; new, empty, or drawn before with the same options.
        seed: Seed of the drawings, >= 0.
        images_per_class: Images of every class; by default 40 to 60, different from class to class.
        progress: Show a progress bar.

    Raises: ValueError: If the folder holds something else, is incomplete or was changed, or an
    option is out of range.
    """
    folder = Path(folder)
    settings = {"version": VERSION, "seed": seed, "images_per_class": images_per_class}
    if seed < 0 or (images_per_class is not None and images_per_class < 1):
        raise ValueError(
            f"the demo needs seed >= 0 and images_per_class >= 1, got {seed} and {images_per_class}"
        )
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        _build(folder, settings, progress)
    manifest = check_demo(folder)
    drawn = {key: manifest[key] for key in settings}
    if drawn != settings:
        raise ValueError(
            f"the demo in {str(folder)!r} was drawn with {drawn}, not {settings}; {_WAY_OUT}"
        )


def check_demo(folder: str | os.PathLike) -> dict:
    """Compares the demo in a folder with its manifest, byte by byte, and returns the manifest.

    Raises: ValueError: If the folder is not a demo, of another version, or an image is missing,
    changed or was added.
    """
    folder = Path(folder)
    if not (folder / MANIFEST).exists():
        raise ValueError(
            f"{str(folder)!r} holds something else than the demo (there is no {MANIFEST}), so"
            " nothing is drawn there;"
            " name a new folder with --data_dir, or train on your own images with --dataset folder"
        )
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        version, expected = manifest["version"], dict(manifest["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"the demo in {str(folder)!r} is damaged: {MANIFEST} cannot be read; {_WAY_OUT}"
        ) from error
    if version != VERSION:
        raise ValueError(
            f"the demo in {str(folder)!r} is of version {version}, this is version {VERSION};"
            f" {_WAY_OUT}"
        )
    found = {path.relative_to(folder).as_posix(): _digest(path) for path in _images(folder)}
    odd = sorted(file for file in {*expected, *found} if expected.get(file) != found.get(file))
    if odd:
        what = "changed" if odd[0] in expected else "not part of it"
        if odd[0] not in found:
            what = "missing"
        raise ValueError(
            f"the demo in {str(folder)!r} is damaged: {odd[0]!r} is {what} ({len(odd)} such);"
            f" {_WAY_OUT}"
        )
    return manifest


def draw_image(name: str, index: int, seed: int = 0) -> Image.Image:
    """Grey image number `index` (from 1) of the class with this path, from a random generator of
    its own.
    """
    species = SPECIES[name]
    rng = np.random.default_rng([seed, sorted(SPECIES).index(name), index])
    return species.plan(rng, **species.details).render(rng, plans.vary(rng, species.size, 0.16))


def _build(folder: Path, settings: dict, progress: bool) -> None:
    temporary = folder.absolute().parent / f".{folder.absolute().name}.{uuid.uuid4().hex}"
    try:
        for name in SPECIES:
            (temporary / name).mkdir(parents=True, exist_ok=True)
        images = [
            (name, index)
            for name, count in _counts(settings).items()
            for index in range(1, count + 1)
        ]
        draw = partial(_draw_file, temporary, settings["seed"])
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            drawn = pool.map(draw, *zip(*images))
            files = dict(
                progress_bar(
                    drawn, "Drawing the demo", len(images), unit="image", disable=not progress
                )
            )
        (temporary / MANIFEST).write_text(
            json.dumps({**settings, "files": files}, indent=0), encoding="utf-8"
        )
        try:
            system.replace(temporary, folder)
        except OSError:
            if not (folder / MANIFEST).exists():  # otherwise another process was faster
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _counts(settings: dict) -> dict[str, int]:
    fixed, seed = settings["images_per_class"], settings["seed"]
    drawn = [
        int(np.random.default_rng([seed, index, 0]).integers(40, 61))
        for index in range(len(SPECIES))
    ]
    return {name: count if fixed is None else fixed for name, count in zip(sorted(SPECIES), drawn)}


def _draw_file(root: Path, seed: int, name: str, index: int) -> tuple[str, str]:
    file = f"{name}/{name.rpartition('/')[2].replace(' ', '_')}_{index:03d}.jpg"
    draw_image(name, index, seed).save(root / file, quality=88)
    return file, _digest(root / file)


def _images(folder: Path) -> list[Path]:
    paths = (path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    return [
        path
        for path in paths
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
