"""COCO files, as of detection tools, camera traps and iNaturalist: a row for each annotation."""

import json
import os
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from hierarchies import ranks
from hierarchies.rows import Row, Table
from hierarchies.texts import MAX_TABLE_BYTES, parsed_json, read_text

SUPERCATEGORY = "supercategory"
BOX = ("bbox_x", "bbox_y", "bbox_width", "bbox_height")  # columns of the boxes


class Annotation(int):
    """Number of an annotation, which stands where a row of a table has its line."""

    unit = "annotation"


class CocoTable(NamedTuple):
    """A COCO file as a table.

    Fields:
        table: Its first column has the files.
        levels: Columns of the class where they are not known by their titles, else None.
        of_images: Columns that are not of the class, whatever they are called.
        notes: What the user should be told.
    """

    table: Table
    levels: list[str] | None
    of_images: list[str]
    notes: list[str]


def read_coco(file: str | os.PathLike, boxes: bool = False) -> CocoTable:
    """One row for each annotation, with the ranks of its category, else the supercategories above
    it, which may be categories with a supercategory of their own, and its box if it is asked for.

    Raises: ValueError: If it is not a COCO file, or an annotation has no image or category.
        OSError: If it cannot be read.
    """
    source = os.fspath(file)
    content = _loaded(file, source)
    images = _by_id(source, "images", content["images"])
    categories = _by_id(source, "categories", content["categories"])
    known = _ranks(categories.values())
    above = {} if known else _supercategories(source, categories)
    depth = max(map(len, above.values()), default=0)
    upper = [SUPERCATEGORY, *(f"{SUPERCATEGORY} {n}" for n in range(2, depth + 1))][:depth]
    of_class = {}
    for key, category in categories.items():
        over = above.get(key, ())
        taxa = [str(category.get(title) or "") for title in known]
        taxa += [*over, *[""] * (depth - len(over)), _name(category)]
        of_class[key] = [taxon.strip() for taxon in taxa]
    own = ["file_name", *known, *upper, "label"]
    fields = [field for field in _plain_fields(images.values()) if field not in (*own, *BOX)]
    rows, used = [], set()
    for number, annotation in enumerate(content["annotations"], 1):
        image_id = _named(source, number, annotation, "image", images)
        category_id = _named(source, number, annotation, "category", categories)
        used.add(image_id)
        image = images[image_id]
        rest = [str(image.get(field, "")).strip() for field in fields]
        rest += _box(annotation) if boxes else ()
        file = str(image.get("file_name", "")).strip()
        rows.append(Row(Annotation(number), [file, *of_class[category_id], *rest]))
    if not rows:
        raise ValueError(f"{source} has no annotation, and so no image with a class")
    notes = []
    if len(used) < len(images):
        notes.append(
            f"without an annotation and not used: {len(images) - len(used)} of {len(images)} images"
            f" of {source}"
        )
    header = [*own, *fields, *(BOX if boxes else ())]
    table = Table(source, header, rows)
    return CocoTable(table, [*upper, "label"] if upper else None, fields, notes)


def _loaded(file: str | os.PathLike, source: str) -> Mapping:
    content = parsed_json(read_text(file, MAX_TABLE_BYTES), source)
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, Mapping) or not isinstance(content.get(key), list):
            raise ValueError(
                f"{source} has no list {key!r}: it is not a COCO file, the one kind of JSON that"
                " --table reads; write its images and classes as a CSV file"
            )
    return content


def _by_id(source: str, what: str, entries: list) -> dict[object, Mapping]:
    found: dict[object, Mapping] = {}
    for number, entry in enumerate(entries, 1):
        key = entry.get("id") if isinstance(entry, Mapping) else None
        if not isinstance(key, (int, float, str)):  # pandas makes floats of ids
            shown = json.dumps(entry)[:60]
            raise ValueError(f"{source}: entry {number} of {what!r} has no 'id': {shown}")
        if found.setdefault(key, entry) != entry:
            raise ValueError(
                f"{source}: entry {number} of {what!r} has the id {key!r} of an earlier one; ids"
                " must tell them apart"
            )
    return found


def _named(source: str, number: int, annotation: object, what: str, known: Mapping) -> object:
    """The id of the image or the category of an annotation."""
    key = annotation.get(f"{what}_id") if isinstance(annotation, Mapping) else None
    if not isinstance(key, (int, float, str)) or key not in known:
        listed = {"image": "images", "category": "categories"}[what]
        raise ValueError(
            f"{source}: annotation {number} names an unknown {what}: its '{what}_id' is {key!r},"
            f" which is not among the ids of {listed!r}"
        )
    return key


def _ranks(categories: Collection[Mapping]) -> list[str]:
    """The members of categories that are ranks with names, from the top down; 'order' with numbers
    is that of a list.
    """
    names = {key for entry in categories for key in entry if isinstance(entry[key], str)}
    titles = {key: ranks.plain(key) for key in names}
    found = sorted((ranks.RANKS.index(t), key) for key, t in titles.items() if t in ranks.RANKS)
    keys = [key for _, key in found]
    doubtful = ranks.kinds(keys, named=True)
    return [key for key in keys if key not in doubtful]


def _name(category: Mapping) -> str:
    return str(category.get("name") or category["id"])


def _supercategories(source: str, categories: Mapping) -> dict[object, tuple[str, ...]]:
    """Names above each category, from the top down.

    Tools that must fill in something write 'none' or the category's own name.
    """
    by_name = {_name(category): category for category in categories.values()}
    found = {}
    for key, category in categories.items():
        chain, name = [], _name(category)
        above = _above(category)
        while above:
            if above in (name, *chain):
                raise ValueError(
                    f"{source}: the supercategories of {name!r} go round in a circle:"
                    f" {' > '.join([above, *reversed(chain), name])}"
                )
            chain.append(above)
            above = _above(by_name[above]) if above in by_name else ""
        found[key] = tuple(reversed(chain))
    return found


def _above(category: Mapping) -> str:
    above = str(category.get(SUPERCATEGORY) or "").strip()
    nothing = ranks.is_empty(above) or ranks.is_unplaced(above) or above == _name(category)
    return "" if nothing else above


def _box(annotation: Mapping) -> Sequence[str]:
    box = annotation.get("bbox")
    return [str(side) for side in box] if isinstance(box, list) and len(box) == 4 else [""] * 4


def _plain_fields(images) -> list[str]:
    """Fields of the images, beside their names, that can choose, split or group them."""
    fields = {
        key for image in images for key, value in image.items() if isinstance(value, (str, int))
    }
    return sorted(fields - {"file_name"})
