"""Unpacks images with their labels, Parquet files (as Hugging Face has them) and tar shards (WebDataset), into files and a table.

    python scripts/unpack.py FOLDER_OR_FILE ... --out plankton
    python train.py --dataset folder --data_dir plankton --table plankton/labels.csv --method DR --use_val

Images are written as they are. The table has a row for each: its file, the columns of the Parquet file or the keys of the
sample's .json, .cls as `label` and .txt as `text`, and the split where the names of the files say it.
"""  # noqa: E501

import json
import re
import sys
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import BytesIO
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pandas as pd
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

import startup
from data.collection import PARTS, part_of
from data.progress import progress
from files.text import counted, for_terminal, some_of
from files.writing import replacing
from hierarchies.folders import IMAGE_SUFFIXES
from options.parser import Parser

TABLE = "labels.csv"
ROWS = 64  # of a Parquet file that are held at a time
TARS = (".tar", ".tar.gz", ".tgz")
SHOWN = 5


class Sample(NamedTuple):
    """An image and what is said of it.

    Fields:
        name: What it is called in its source.
        image: The bytes of its file; None if there is none.
        cells: Values of columns, as text.
    """

    name: str
    image: bytes | None
    cells: dict[str, str]


class Source(NamedTuple):
    """A file with images, and where its images go.

    Fields:
        path: The file.
        place: A folder below that of the table, as the file's own below the folder that was named.
    """

    path: Path
    place: PurePosixPath

    @property
    def part(self) -> str | None:
        """The split that a word of its name says, or of the nearest folder that says one."""
        for name in reversed(self.place.parts):
            found = {part_of(word) for word in re.split(r"[\W_\d]+", name)} - {None}
            if len(found) == 1:
                return PARTS[found.pop()]
        return None


def main(argv: list[str] | None = None) -> int:
    """Unpacks what is named; returns the exit status."""
    parser = Parser(description=__doc__)
    parser.add_argument(
        "sources",
        nargs="+",
        type=Path,
        metavar="FOLDER_OR_FILE",
        help="files that end in .parquet, .tar, .tar.gz or .tgz, or folders with some below",
    )
    parser.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="new folder for images and table"
    )
    parser.add_argument(
        "--image_column",
        metavar="COLUMN",
        help="column of the images in a Parquet file that has several",
    )
    parser.add_argument(
        "--class_names",
        type=Path,
        metavar="FILE",
        help="names of the classes, one a line, where the labels are their numbers, counted from 0",
    )
    startup.set_up_streams()
    arguments = parser.parse_args(argv)
    try:
        unpack(arguments.sources, arguments.out, arguments.image_column, arguments.class_names)
    except (ValueError, OSError) as error:
        print(f"error: {for_terminal(str(error))}", file=sys.stderr)
        return 1
    return 0


def unpack(
    sources: Sequence[Path], out: Path, image_column: str | None, class_names: Path | None
) -> None:
    """Writes the images and the table, and prints what to do with them. What was interrupted is
    written anew.

    Raises: ValueError: If there is nothing to unpack, a file cannot be read, or the table is there
    already.
    """
    found = find_sources(sources)
    if (out / TABLE).exists():
        raise ValueError(f"{out / TABLE} is there already: name another folder with --out")
    names = None if class_names is None else class_names.read_text("utf-8-sig").splitlines()
    split = all(source.part for source in found)
    rows, without = [], []
    with progress(unit="image", desc="unpacking") as bar:
        for source in found:
            (out / source.place).mkdir(parents=True, exist_ok=True)
            for number, sample in enumerate(samples_of(source.path, image_column)):
                if sample.image is None:
                    without.append(f"{source.path}: {sample.name}")
                    continue
                file = source.place / f"{number:06d}{suffix_of(sample)}"
                (out / file).write_bytes(sample.image)
                cells = named(sample.cells, names, source.path)
                rows.append(
                    {"file": str(file), **({"split": source.part} if split else {}), **cells}
                )
                bar.update()
    if not rows:
        raise ValueError(f"there is no image in {found[0].path}")
    table = pd.DataFrame(rows).fillna("")
    with replacing(out / TABLE) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")
    print(f"unpacked {counted(len(table), 'image')} of {counted(len(found), 'file')} into {out}")
    if without:
        print(f"note: {len(without)} without an image are left out: {some_of(without, SHOWN)}")
    print(f"columns of {TABLE}: {for_terminal(', '.join(table.columns))}")
    if set(table.columns) <= {"file", "split"}:
        print(
            "note: nothing there says what an image shows. An archive of class folders is unpacked"
            " with tar -xf FILE, and is then trained on without a table"
        )
        return
    labels = {label for label in table.get("label", ()) if label}
    if labels and all(map(str.isdecimal, labels)):
        print("note: labels are numbers; --class_names FILE, a line for each class, names them")
    # a split that is given needs images to train on and images to test with
    parts = {part_of(word) for word in table.get("split", ())}
    whole = {PARTS.index("train"), PARTS.index("test")} <= parts
    given = " --split given --split_column split" if whole else ""
    print(
        f"next: python train.py --dataset folder --data_dir {out} --table {out / TABLE}{given}"
        " --use_val --method DR"
    )


def find_sources(named: Sequence[Path]) -> list[Source]:
    """Files with images among those named and below the folders named, by their paths.

    Raises: ValueError: If there are none, or two would write to one place.
    """
    found = []
    for path in named:
        if not path.exists():
            raise ValueError(f"there is no file or folder {path}")
        below = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in below:
            kind = next((end for end in (".parquet", *TARS) if file.name.endswith(end)), None)
            if kind is None or not file.is_file():
                if file == path:
                    raise ValueError(f"{path} does not end in .parquet, {', '.join(TARS)}")
                continue
            place = file.relative_to(path if path.is_dir() else path.parent)
            found.append(Source(file, PurePosixPath(place.parent, place.name.removesuffix(kind))))
    if not found:
        raise ValueError(f"no file below {named[0]} ends in .parquet, {', '.join(TARS)}")
    place, count = Counter(source.place for source in found).most_common(1)[0]
    if count > 1:
        raise ValueError(f"{count} files are called {place}: unpack them into different folders")
    return found


def samples_of(path: Path, image_column: str | None) -> Iterator[Sample]:
    """The images of a file in their order. Raises: ValueError: If it cannot be read."""
    if path.suffix == ".parquet":
        yield from parquet_samples(path, image_column)
    else:
        yield from tar_samples(path)


def parquet_samples(path: Path, image_column: str | None) -> Iterator[Sample]:
    """Those of a Parquet file: images are bytes, or structures of `bytes` and `path`; numbers of
    classes become their names where Hugging Face's notes in the file have these. Columns of lists
    and other structures are left out.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise ValueError(f"to read {path} takes another package: pip install pyarrow") from None
    try:
        with parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            holds_bytes = [field.name for field in schema if _holds_bytes(pyarrow, field.type)]
            image = image_column or (holds_bytes[0] if len(holds_bytes) == 1 else None)
            if image not in holds_bytes:
                raise ValueError(
                    f"{path}: name the column of the images with --image_column; those that hold"
                    f" bytes are {', '.join(holds_bytes) or 'none'}"
                )
            classes = _class_names(schema.metadata or {})
            plain = [field.name for field in schema if not pyarrow.types.is_nested(field.type)]
            plain = [name for name in plain if name not in holds_bytes]
            batches = file.iter_batches(ROWS, columns=[image, *plain])
            for row, values in enumerate(
                values for batch in batches for values in batch.to_pylist()
            ):
                content, name = values.pop(image), ""
                if isinstance(content, Mapping):
                    content, name = content["bytes"], content.get("path") or ""
                cells = {key: _cell(value, classes.get(key)) for key, value in values.items()}
                yield Sample(name or f"row {row}", content or None, cells)
    except (pyarrow.ArrowException, EOFError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


def _holds_bytes(pyarrow, kind) -> bool:
    if pyarrow.types.is_struct(kind):
        return any(kind.field(i).name == "bytes" for i in range(kind.num_fields))
    return pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind)


def _class_names(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """Names of the classes by columns, from what Hugging Face writes into a file."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return {
        column: feature["names"]
        for column, feature in features.items()
        if isinstance(feature, dict) and isinstance(feature.get("names"), list)
    }


def _cell(value: object, names: list[str] | None = None) -> str:
    if value is None:
        return ""
    if names is not None and isinstance(value, int):  # -1 stands for no label
        return names[value] if 0 <= value < len(names) else ""
    return str(value)


def tar_samples(path: Path) -> Iterator[Sample]:
    """Those of a tar file in which the files of a sample stand one after the other, their names
    equal up to the first dot.
    """
    try:
        with tarfile.open(path) as archive:
            for key, members in groupby(filter(tarfile.TarInfo.isfile, archive), _key):
                files = ((member.name, archive.extractfile(member).read()) for member in members)
                yield _tar_sample(key, files)
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


def _tar_sample(key: str, files: Iterable[tuple[str, bytes]]) -> Sample:
    """The sample of these files, of which names and contents are given."""
    name, image, cells = key, None, {}
    for file, content in files:
        kind = PurePosixPath(file).suffix.lower().lstrip(".")
        if f".{kind}" in IMAGE_SUFFIXES and image is None:
            name, image = file, content
        elif kind in ("cls", "txt"):
            cells["label" if kind == "cls" else "text"] = content.decode("utf-8").strip()
        elif kind == "json":
            cells |= _plain_values(json.loads(content))
    return Sample(name, image, cells)


def _key(member: tarfile.TarInfo) -> str:
    folder, slash, name = member.name.rpartition("/")
    return folder + slash + name.partition(".")[0]


def _plain_values(found: object) -> dict[str, str]:
    if not isinstance(found, dict):
        return {}
    return {
        key: _cell(value) for key, value in found.items() if not isinstance(value, (dict, list))
    }


def named(cells: dict[str, str], names: list[str] | None, path: Path) -> dict[str, str]:
    """The cells with the name of the class in place of its number.

    Raises: ValueError: If there are names, and the label is not the number of one.
    """
    if names is None or not cells.get("label"):
        return cells
    label = cells["label"]
    if not label.isdecimal() or int(label) >= len(names):
        raise ValueError(
            f"{path}: the label {label!r} is not one of the numbers 0 to {len(names) - 1} of"
            " --class_names"
        )
    return {**cells, "label": names[int(label)]}


def suffix_of(sample: Sample) -> str:
    """How the file of an image should end, by its name or its first bytes."""
    suffix = PurePosixPath(sample.name).suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return suffix
    try:
        kind = Image.open(BytesIO(sample.image)).format.lower()
    except Exception:  # whatever a decoder may raise: reading it will say what it is
        return ".jpg"
    return {"jpeg": ".jpg", "tiff": ".tif"}.get(kind, f".{kind}")


if __name__ == "__main__":
    sys.exit(main())
