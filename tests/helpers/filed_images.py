"""Small copies of datasets that keep their images under class ids."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

TREES = Path(__file__).resolve().parents[2] / "hierarchies"


def shipped_wnids(name):
    """The class ids of a tree that the repository ships, sorted."""
    edges = [line.split() for line in (TREES / f"{name}.edges").read_text().splitlines()]
    return sorted({child for child, _ in edges} - {parent for _, parent in edges})


def image_bytes(seed, size=(64, 64), mode="RGB", kind="JPEG"):
    """An image file of random blocks."""
    values = np.random.default_rng(seed).integers(
        0, 256, (4, 4) if mode == "L" else (4, 4, 3), dtype=np.uint8
    )
    stream = io.BytesIO()
    Image.fromarray(values).resize(size, Image.Resampling.NEAREST).save(stream, kind)
    return stream.getvalue()


def put(path, content):
    """Writes bytes or text, with the folders above; returns the path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def write_tinyimagenet(root, wnids, train=10, val=2):
    """tiny-imagenet-200 in root, as the original archive has it, some images grey; returns the
    folder.
    """
    folder, lines = Path(root) / "tiny-imagenet-200", []
    for c, wnid in enumerate(wnids):
        for i in range(train):
            put(
                folder / f"train/{wnid}/images/{wnid}_{i}.JPEG",
                image_bytes(100 * c + i, mode="L" if i == 1 else "RGB"),
            )
        put(folder / f"train/{wnid}/{wnid}_boxes.txt", f"{wnid}_0.JPEG\t0\t10\t63\t58\n")
    for i in range(val * len(wnids)):  # classes take turns
        put(folder / f"val/images/val_{i}.JPEG", image_bytes(10_000 + i))
        lines.append(f"val_{i}.JPEG\t{wnids[i % len(wnids)]}\t0\t32\t44\t62")
    put(folder / "val/val_annotations.txt", "\n".join(lines) + "\n")
    put(folder / "test/images/test_0.JPEG", image_bytes(1))
    put(folder / "wnids.txt", "\n".join(reversed(wnids)) + "\n")
    put(folder / "words.txt", "\n".join(f"{wnid}\tsome thing" for wnid in wnids) + "\n")
    return folder


def write_splits(root, counts, size=(20, 12)):
    """<root>/<split>/<class>/<i>.jpg from {split: {class: number of images}}; no two are equal.
    Returns root.
    """
    seed = 0
    for split, classes in counts.items():
        for name, count in classes.items():
            for i in range(count):
                put(
                    Path(root) / split / name / f"{i:04}.jpg",
                    image_bytes(seed := seed + 1, (size[0] + i % 3, size[1])),
                )
    return Path(root)


def category(number, *taxa, name=None, **changes):
    """A category as iNaturalist 2019's metadata describes it: kingdom, phylum, class, order,
    family, genus.
    """
    ranks = dict(zip(("kingdom", "phylum", "class", "order", "family", "genus"), taxa))
    return {
        "id": number,
        "name": name or f"species {number}",
        "supercategory": taxa[0],
        **ranks,
        **changes,
    }


def write_categories(path, categories):
    """Metadata in the format of train2019.json."""
    content = {
        "info": {"year": 2019},
        "categories": categories,
        "images": [],
        "annotations": [],
        "licenses": [],
    }
    return put(path, json.dumps(content))


def zipped(folder):
    """The bytes of a ZIP archive of a folder."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            archive.write(file, file.relative_to(folder.parent))
    return content.getvalue()
