"""Small image files and folder trees for the tests."""

import hashlib
import json
from pathlib import Path

import numpy as np
from PIL import Image

from data.cache_writer import checksums

ODD_CLASSES = (
    "Animals/Copepods/long, thin",
    "Animals/Copepods/short",
    "Animals/Worms",
    "Plants/Centric/ä b",
    "Plants/Centric",
    "Plants/Pennate",
)


def draw(path, size=(6, 4), mode="RGB", seed=0, **options):
    """Writes a noise image of (width, height) and returns its pixels as they were before saving."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = len(Image.new(mode, (1, 1)).getbands())
    shape = (size[1], size[0]) if channels == 1 else (size[1], size[0], channels)
    values = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    image = Image.fromarray(values if mode != "P" else values % 8)
    if image.mode != mode:
        image = image.convert(mode)
    image.save(path, **options)
    return np.asarray(image)


def make_folder(root, counts, size=(6, 4)):
    """A folder tree with the given number of PNG images in each class folder; no two are equal."""
    seed = 0
    for folder, count in counts.items():
        for i in range(count):
            draw(
                Path(root) / folder / f"{i:02}.png",
                (size[0] + i % 3, size[1]),
                seed=(seed := seed + 1),
            )
    return Path(root)


def make_earlier(cache):
    """Turns an image cache into one of an earlier version: other fingerprints, under their name."""
    sizes, path = cache.sizes.astype(int), cache.folder / "content.json"
    found = [
        hashlib.blake2b(b"%d %d " % tuple(size) + pixels.tobytes(), digest_size=8).digest()
        for size, pixels in zip(sizes.tolist(), cache.pixels[:])
    ]
    arrays = {"kept": cache.kept, "sizes": cache.sizes}
    arrays["fingerprints"] = np.frombuffer(b"".join(found), ">u8").astype(np.uint64)
    np.savez(cache.folder / "images.npz", **arrays)
    content = json.loads(path.read_text())
    del content["fingerprints_of"]
    content["checksums"] = checksums(content, cache.folder)
    path.write_text(json.dumps(content))


def make_learnable_folder(root, names, count, step=30):
    """Grey images that a network can tell apart: the class decides the brightness of one half, by
    steps, and the width.
    """
    rng = np.random.default_rng(0)
    for c, name in enumerate(names):
        (Path(root) / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            pixels = rng.integers(0, 60, (20, 20 + c))
            pixels[:, : 10 if c % 2 else 20] += step * c
            Image.fromarray(pixels.astype(np.uint8)).save(Path(root) / name / f"{i}.png")
    return Path(root)
