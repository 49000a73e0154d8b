"""The text files of NABirds, read as downloaded and checked against each other."""

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from data.conversion import Box
from hierarchies import Hierarchy
from hierarchies.draft import fault
from hierarchies.edges import parse_edges

IMAGES = "images.txt"
CLASSES = "classes.txt"
HIERARCHY = "hierarchy.txt"
LABELS = "image_class_labels.txt"
SPLIT = "train_test_split.txt"
SIZES = "sizes.txt"
BOXES = "bounding_boxes.txt"


class Numbered(NamedTuple):
    """What a line says of its id, and the number of the line."""

    line: int
    value: object


class Official(NamedTuple):
    """What the files say of the S images, in the order of images.txt.

    Fields:
        hierarchy: Tree of the leaf classes, in the order of their ids; ids are the keys, names are
            what is shown.
        paths (S): '<class folder>/<image>', below the folder images.
        lines (S): Line of each image in images.txt; size_lines (S): in sizes.txt.
        labels (S,): int64 class.
        training (S,): bool, whether the image is in the official training split.
        sizes (S, 2): float32 width and height in pixels.
        boxes (S): Where the bird is.
    """

    hierarchy: Hierarchy
    paths: tuple[str, ...]
    lines: tuple[int, ...]
    size_lines: tuple[int, ...]
    labels: np.ndarray
    training: np.ndarray
    sizes: np.ndarray
    boxes: tuple[Box, ...]


def read_official(root: Path) -> Official:
    """Reads all seven files below root, whichever of them are needed, so that a broken download is
    noticed at once.

    Ids of classes count as numbers: '0817' is '817'. Images are matched by their ids, whatever the
    order of the lines.

    Raises: ValueError: Naming the file, and the line where there is one, if a file is missing or
        empty, a line is truncated or comes twice, or two files differ in their images or classes.
    """
    images = _entries(root / IMAGES, "an image id and its path <class>/<image>", _image_path)
    columns = {
        LABELS: _entries(root / LABELS, "an image id and a class id", _class_id),
        SPLIT: _entries(root / SPLIT, "an image id and 1 (training) or 0 (test)", _flag),
        SIZES: _entries(root / SIZES, "an image id, width and height in pixels", _size),
        BOXES: _entries(
            root / BOXES, "an image id, left, top, width and height of a box in pixels", _box
        ),
    }
    for name, column in columns.items():
        _check_same(root / IMAGES, images, root / name, column)
    _check_paths(root, images, columns[LABELS])
    hierarchy = _tree(root, columns[LABELS])
    index = {path[-1]: label for label, path in enumerate(hierarchy.class_paths)}
    labels, training, sizes, boxes = (
        [column[image].value for image in images] for column in columns.values()
    )
    return Official(
        hierarchy=hierarchy,
        paths=tuple(entry.value for entry in images.values()),
        lines=tuple(entry.line for entry in images.values()),
        size_lines=tuple(columns[SIZES][image].line for image in images),
        labels=np.array([index[label] for label in labels], np.int64),
        training=np.array(training, bool),
        sizes=np.array(sizes, np.float32),
        boxes=tuple(boxes),
    )


def _entries(
    path: Path, expected: str, parse: Callable[[str], object], parse_id: Callable = str
) -> dict[str, Numbered]:
    """Id -> what follows the first blank of its line. Raises: ValueError: Naming the line that is
    not as expected.
    """
    entries: dict[str, Numbered] = {}
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise ValueError(f"{path} is missing: unpack the archive of NABirds again") from error
    for number, raw in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        line = raw.decode("utf-8", "replace").strip()
        if not line:
            continue
        try:
            raw.decode("utf-8")
            key, rest = line.split(maxsplit=1)
            key, value = parse_id(key), parse(rest)
        except (ValueError, OverflowError) as error:
            raise fault(str(path), number, f"expected {expected}, got {line!r}") from error
        if key in entries:
            raise fault(
                str(path), number, f"the id {key} comes twice, before in line {entries[key].line}"
            )
        entries[key] = Numbered(number, value)
    if not entries:
        raise fault(str(path), None, "the file is empty")
    return entries


def _image_path(text: str) -> str:
    parts = PurePosixPath(text).parts
    if len(parts) != 2 or ".." in parts or "\\" in text or "\0" in text or not parts[0].isdecimal():
        raise ValueError("a path that is not <class>/<image>, or leads out of the folder")
    return "/".join(parts)


def _class_id(text: str) -> str:
    return str(_natural(text))


def _natural(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError("no whole number")
    return int(text)


def _flag(text: str) -> bool:
    if text not in ("0", "1"):
        raise ValueError("neither 0 nor 1")
    return text == "1"


def _size(text: str) -> tuple[int, int]:
    width, height = map(_natural, text.split())
    if not (width and height):
        raise ValueError("no pixels")
    return width, height


def _box(text: str) -> Box:
    left, top, width, height = (round(float(number)) for number in text.split())
    if width < 1 or height < 1:
        raise ValueError("no pixels")
    return left, top, width, height


def _check_same(
    first: Path, images: dict[str, Numbered], second: Path, others: dict[str, Numbered]
) -> None:
    """Both files must list the same images."""
    for path, entries, other, known in (
        (first, images, second, others),
        (second, others, first, images),
    ):
        for image, entry in entries.items():
            if image not in known:
                raise fault(str(path), entry.line, f"the image {image} is not in {other.name}")


def _check_paths(root: Path, images: dict[str, Numbered], labels: dict[str, Numbered]) -> None:
    """Every image has a path of its own, in the folder of its class."""
    lines: dict[str, int] = {}
    for image, (line, path) in images.items():
        if path in lines:
            raise fault(
                str(root / IMAGES),
                line,
                f"the path {path} comes twice, before in line {lines[path]}",
            )
        lines[path] = line
        folder, label = path.split("/")[0], labels[image]
        if str(int(folder)) != label.value:
            source = f"{root / IMAGES}, line {line}: the image {image} is in the folder {folder}"
            raise ValueError(f"{source}, but of class {label.value} in {LABELS}, line {label.line}")


def _tree(root: Path, labels: dict[str, Numbered]) -> Hierarchy:
    """The tree of hierarchy.txt with the names of classes.txt; its leaves are the classes."""
    edges = _entries(root / HIERARCHY, "the ids of a child and its parent", _class_id, _class_id)
    names = _entries(root / CLASSES, "a class id and its name", str, _class_id)
    _check_names(root, edges, names)
    _check_leaves(root, edges, labels)
    lines = [""] * max(entry.line for entry in edges.values())
    for child, (line, parent) in edges.items():
        lines[line - 1] = f"{child} {parent}"
    shown = {node: entry.value for node, entry in names.items()}
    return parse_edges("\n".join(lines), str(root / HIERARCHY), shown).build(
        str(root / HIERARCHY), False
    )


def _check_names(root: Path, edges: dict[str, Numbered], names: dict[str, Numbered]) -> None:
    """Every node has a name, and every name a node."""
    for child, entry in edges.items():
        for node in (child, entry.value):
            if node not in names:
                raise fault(
                    str(root / HIERARCHY), entry.line, f"the id {node} has no name in {CLASSES}"
                )
    parents = {entry.value for entry in edges.values()}
    for node, entry in names.items():
        if node not in edges and node not in parents:
            raise fault(str(root / CLASSES), entry.line, f"the id {node} is not in {HIERARCHY}")


def _check_leaves(root: Path, edges: dict[str, Numbered], labels: dict[str, Numbered]) -> None:
    """Every image belongs to a leaf, and every leaf has an image."""
    parents = {entry.value for entry in edges.values()}
    for image, entry in labels.items():
        if entry.value not in edges or entry.value in parents:
            reason = "an inner node" if entry.value in parents else "none"
            message = (
                f"the image {image} is of class {entry.value}, which is {reason} of {HIERARCHY};"
                " expected a leaf"
            )
            raise fault(str(root / LABELS), entry.line, message)
    found = {entry.value for entry in labels.values()}
    for child, entry in edges.items():
        if child not in parents and child not in found:
            raise fault(
                str(root / HIERARCHY), entry.line, f"the leaf {child} has no image in {LABELS}"
            )
