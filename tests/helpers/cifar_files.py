"""Writes small files in the exact format of CIFAR-100's python version, which Python 2 pickled."""

import csv
import io
import pickle
import struct
from pathlib import Path

import numpy as np
from numpy._core.multiarray import _reconstruct

UPPER = Path(__file__).resolve().parents[2] / "hierarchies" / "cifar100.csv"


class Python2Pickler(pickle._Pickler):
    """Protocol 2 as Python 2 wrote it: byte strings for all text and for the bytes of arrays, numpy
    by its old name.
    """

    dispatch = dict(pickle._Pickler.dispatch)

    def save_text(self, value):
        content = value.encode("latin1") if isinstance(value, str) else value
        short = len(content) < 256
        self.write(
            b"U" + bytes([len(content)]) if short else b"T" + struct.pack("<i", len(content))
        )
        self.write(content)
        self.memoize(value)

    def save_function(self, value):
        if value is _reconstruct:
            self.write(b"cnumpy.core.multiarray\n_reconstruct\n")
        else:
            super().save_global(value)

    dispatch[str] = dispatch[bytes] = save_text
    dispatch[type(_reconstruct)] = save_function


def dump(path: Path, content: dict) -> None:
    stream = io.BytesIO()
    Python2Pickler(stream, protocol=2).dump(content)
    path.write_bytes(stream.getvalue())


def superclasses() -> list[str]:
    """The twenty superclass names, sorted as in `meta`."""
    with UPPER.open(newline="") as file:
        return sorted(row["superclass"] for row in csv.DictReader(file))


def fine_names() -> list[str]:
    """A hundred invented class names, sorted; class c belongs to superclass c % 20."""
    return [f"class_{c:03d}" for c in range(100)]


def write_cifar100(root: Path, train: int = 10, test: int = 1) -> Path:
    """Writes `cifar-100-python` with so many images of each class into each part; returns that
    folder.

    File names repeat, as nothing promises that they do not.
    """
    folder, rng = root / "cifar-100-python", np.random.default_rng(0)
    folder.mkdir(parents=True)
    for name, count in (("train", train), ("test", test)):
        fine = np.tile(np.arange(100), count)
        content = {
            "filenames": [f"{fine_names()[c]}_s_{i % 7:06d}.png" for i, c in enumerate(fine)],
            "batch_label": f"{name}ing batch 1 of 1",
            "fine_labels": fine.tolist(),
            "coarse_labels": (fine % 20).tolist(),
            "data": rng.integers(0, 256, (len(fine), 3072), dtype=np.uint8),
        }
        dump(folder / name, content)
    dump(folder / "meta", {"fine_label_names": fine_names(), "coarse_label_names": superclasses()})
    return folder


def read(path: Path) -> dict:
    """Content of one of the files."""
    return pickle.loads(path.read_bytes(), encoding="latin1")


def change(path: Path, **changes) -> None:
    """Rewrites one of the files with some of its entries changed; None removes an entry."""
    content = {key: value for key, value in {**read(path), **changes}.items() if value is not None}
    dump(path, content)
