"""Writes a small NABirds folder in the exact official layout, with its quirks."""

import uuid
from pathlib import Path

import numpy as np
from PIL import Image

NAMES = {
    0: "Birds",
    1: "Ducks, Geese, and Swans",
    2: "Hawks, Kites, Eagles, and Allies",
    3: "Perching Birds",
    40: "Common Eider",
    41: "Brant",
    52: "Red-tailed Hawk",
    60: "Wood-Warblers",
    61: "New World Sparrows",
    70: "Yellow-rumped Warbler",
    71: "Dark-eyed Junco",
    295: "Common Eider (Adult male)",
    296: "Common Eider (Female/juvenile)",
    299: "Brant (Atlantic)",
    817: "Red-tailed Hawk (Dark morph adult)",
    901: "Yellow-rumped Warbler (Winter/juvenile Audubon's)",
    902: "Yellow-rumped Warbler (Breeding Myrtle)",
    1010: "Dark-eyed Junco (Slate-colored)",
}
PARENTS = {1: 0, 2: 0, 3: 0, 40: 1, 41: 1, 52: 2, 60: 3, 61: 3, 70: 60, 71: 61}
PARENTS |= {295: 40, 296: 40, 299: 41, 817: 52, 901: 70, 902: 70, 1010: 71}
LEAVES = (295, 296, 299, 817, 901, 902, 1010)
PER_CLASS = 10


def write_nabirds(root: Path) -> Path:
    """Writes the folder `nabirds` below root and returns it: seven classes of ten images each.

    Class ids have leading zeros in the folders only; the order of hierarchy.txt is not that of the
    tree; every third file ends in .JPG; boxes touch the border of their images; two thirds of the
    images are for training.
    """
    folder, rng = root / "nabirds", np.random.default_rng(0)
    rows = []
    for label in LEAVES:
        place = folder / "images" / f"{label:04d}"
        place.mkdir(parents=True)
        for i in range(PER_CLASS):
            image = uuid.UUID(bytes=rng.bytes(16))
            path = f"{label:04d}/{image.hex}{'.JPG' if i % 3 == 0 else '.jpg'}"
            width, height = int(rng.integers(20, 40)), int(rng.integers(20, 40))
            pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "images" / path, format="JPEG")
            rows.append(
                (
                    str(image),
                    path,
                    label,
                    int(i % 3 > 0),
                    (width, height),
                    (0, 3, width - 1, height - 3),
                )
            )
    rows.sort()
    columns = {
        "images.txt": [f"{image} {path}" for image, path, *_ in rows],
        "image_class_labels.txt": [f"{image} {label}" for image, _, label, *_ in rows],
        "train_test_split.txt": [f"{image} {training}" for image, _, _, training, *_ in rows],
        "sizes.txt": [f"{image} {size[0]} {size[1]}" for image, _, _, _, size, _ in rows],
        "bounding_boxes.txt": [f"{image} {' '.join(map(str, box))}" for image, *_, box in rows],
        "classes.txt": [f"{node} {name}" for node, name in NAMES.items()],
        "hierarchy.txt": [f"{child} {PARENTS[child]}" for child in sorted(PARENTS, key=str)],
    }
    for name, lines in columns.items():
        (folder / name).write_text("\n".join(lines) + "\n")
    return folder


def edit(path: Path, line: int, text: str | None) -> None:
    """Replaces a line, counted from 1, or removes it; the line after the last one is added."""
    lines = path.read_text().splitlines()
    lines[line - 1 : line] = [] if text is None else [text]
    path.write_text("\n".join(lines) + "\n")


def read_lines(path: Path) -> list[list[str]]:
    """The lines of a file, split at the first blank."""
    return [line.split(" ", 1) for line in path.read_text().splitlines()]
