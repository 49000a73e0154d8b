"""Image caches that are not whole yet: the folders that they are built in, and what is known of
their rows. That is written beside the pixels now and then, so that an interrupted start does not
read all images again.
"""

import contextlib
import hashlib
import json
import math
import os
import platform
import shutil
import sys
import time
import uuid
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import numpy as np
import PIL
import xxhash

from data.conversion import Decoded
from data.image_notes import ImageNotes
from data.refusals import PASSING
from files.fingerprints import NEWEST
from files.system import sync_folder
from files.writing import Together, open_to_update, write_whole

FORMAT = 1  # raised whenever what is written here, or the order of the rows, changes
STATE, ROWS, PIXELS = "unfinished.json", "unfinished.bin", "pixels.bin"
ABANDONED = 600  # seconds without a write after which a half-built cache counts as left behind
# and after which one is gone on with of which no lock says that nobody writes to it
QUIET = 120
SAVE_SECONDS = 10.0  # between two times that what was read is put on the disk
_ROW = np.dtype([("kept", "<i8"), ("size", "<f4", 2), ("fingerprint", "<u8")])


class Unfinished:
    """The images that are in pixels.bin so far, in the order of the files.

    Only what was on the disk when the state was written is trusted: the state is replaced as a
    whole, after the pixels and rows that it counts.

    Args:
        folder: With pixels.bin.
        grey_range: As the images are read, for the notes.

    Attributes:
        kept, sizes, fingerprints: Lists with a value for each row, see `data.cache.ImageCache`.
        bad: Path and reason of each file that could not be read.
        shape: (H, W, channels) of a row, once it is known.
        notes: What the user should be told of the images.
    """

    def __init__(self, folder: Path, grey_range: int | None = None):
        self.kept, self.sizes, self.fingerprints, self.bad = [], [], [], []
        self.shape, self.notes = None, ImageNotes(grey_range)
        self._folder = folder
        self._before = None  # the first file that could not be read for a reason that may pass
        self._saved, self._checksum = 0, xxhash.xxh3_64()  # rows that are in ROWS
        self._time = time.monotonic()

    @classmethod
    def open(
        cls, folder: Path, grey_range: int | None, read: Callable[[str], Decoded | str]
    ) -> "Unfinished":
        """What an interrupted start has left in the folder, as far as it can be trusted.

        If a file can be read now that could not be read for a reason that may pass, what comes
        before that file. Nothing, and a line on stderr, if it is damaged or of another version.
        """
        found = cls(folder, grey_range)
        if not (folder / STATE).exists():
            return found
        try:
            found._load(read)
        except Exception as error:  # damaged bytes can raise almost anything
            if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
                raise  # of the disk or this process, not of what was left
            why = error if isinstance(error, _Unusable) else "it is damaged"
            print(
                f"an interrupted start has left an unfinished image cache, but {why}: all images"
                " are read again",
                file=sys.stderr,
            )
            for name in (STATE, ROWS, PIXELS):
                (folder / name).unlink(missing_ok=True)
            return cls(folder, grey_range)
        return found

    @property
    def done(self) -> int:
        """Number of files that were read, or tried."""
        return len(self.kept) + len(self.bad)

    @property
    def row_bytes(self) -> int:
        """Bytes of the pixels of one image; 0 as long as it is not known."""
        return math.prod(self.shape or (0,))

    def add(self, image: Decoded, fingerprint: int, file: str) -> None:
        """The next file is read, and its pixels are written."""
        self.kept.append(self.done)
        self.sizes.append(image.size)
        self.fingerprints.append(fingerprint)
        self.notes.add(image, file)

    def add_bad(self, file: str, why: str) -> None:
        """The next file cannot be read."""
        if self._before is None and why.startswith(PASSING):
            self._before = self._counts()
        self.bad.append([file, why])

    def save_now_and_then(self, pixels: Together) -> None:
        """Puts on the disk what was read, and writes that it is there, if it is time.

        Raises: OSError: If that cannot be written, or another process has taken the folder.
        """
        if time.monotonic() - self._time < SAVE_SECONDS:
            return
        pixels.flush()
        os.fsync(pixels.fileno())
        rows = np.empty(len(self.kept) - self._saved, _ROW)
        for name, values in zip(_ROW.names, (self.kept, self.sizes, self.fingerprints)):
            rows[name] = np.array(values[self._saved :], _ROW[name].base).reshape(rows[name].shape)
        with open_to_update(self._folder / ROWS, buffering=-1) as file:
            file.seek(self._saved * _ROW.itemsize)
            file.write(rows.tobytes())
            file.flush()
            os.fsync(file.fileno())
        self._checksum.update(rows.tobytes())
        self._saved = len(self.kept)
        self._write()
        sync_folder(self._folder.parent)
        self._time = time.monotonic()

    def _counts(self) -> dict:
        return {"rows": len(self.kept), "bad": len(self.bad), "notes": self.notes.state()}

    def _write(self) -> None:
        state = {
            **_about(),
            "machine": platform.node(),
            "shape": self.shape,
            "bad": self.bad,
            "now": self._counts(),
            "before": self._before,
            "rows": self._checksum.hexdigest(),
        }
        text = json.dumps(state)
        write_whole(self._folder / STATE, f"{_sha256(text)}\n{text}".encode("ascii"))

    def _load(self, read: Callable[[str], Decoded | str]) -> None:
        checksum, text = (self._folder / STATE).read_text("ascii").split("\n")
        if checksum != _sha256(text):
            raise _Unusable("it is damaged")
        state = json.loads(text)
        if {name: state.get(name) for name in _about()} != _about():
            raise _Unusable("it is by another version of this program, of Pillow or of torchvision")
        counts, self._before, self.bad = state["now"], state["before"], state["bad"]
        self.shape = state["shape"] and tuple(state["shape"])
        content = np.fromfile(self._folder / ROWS, _ROW, counts["rows"]).tobytes()
        if (
            len(content) != counts["rows"] * _ROW.itemsize
            or xxhash.xxh3_64(content).hexdigest() != state["rows"]
            or (self._folder / PIXELS).lstat().st_size < counts["rows"] * self.row_bytes  # no link
        ):
            raise _Unusable("it is damaged")
        passing = [file for file, why in self.bad if why.startswith(PASSING)]
        again = any(not isinstance(read(file), str) for file in passing)
        if again:
            counts, self._before = self._before, None
        rows = np.frombuffer(content, _ROW, counts["rows"])
        self.kept, self.sizes, self.fingerprints = (rows[name].tolist() for name in _ROW.names)
        self.bad = self.bad[: counts["bad"]]
        self.notes.restore(counts["notes"])
        self.shape = self.shape if len(rows) else None
        self._saved = len(rows)
        self._checksum.update(rows.tobytes())
        if again:  # before the rows behind are written over
            self._write()


def sweep(folder: Path) -> None:
    """Removes what builders that died have left in the place of a cache: nothing was written to it
    for a while. What can be gone on with for this very cache stays.
    """
    # --cache_dir may hold others
    for leftover in folder.parent.glob(f"{'[0-9a-f]' * 24}.{'[0-9a-f]' * 32}.tmp"):
        with contextlib.suppress(OSError):
            ours = leftover.name.startswith(f"{folder.name}.") and (leftover / STATE).exists()
            if not ours and _quiet_for(leftover) > ABANDONED:
                # under a name that no cache has, so that nobody goes on with it meanwhile
                removed = temporary_for(leftover.with_name("0" * 24))
                leftover.rename(removed)
                shutil.rmtree(removed, ignore_errors=True)


def temporary_for(folder: Path) -> Path:
    """A folder of a new name in which a cache is built, beside its place."""
    return folder.with_suffix(f".{uuid.uuid4().hex}.tmp")


def _quiet_for(leftover: Path) -> float:
    """Seconds since something was written in a folder. Raises: OSError."""
    return time.time() - max(file.stat().st_mtime for file in [leftover, *leftover.glob("*")])


def begin(folder: Path, temporary: Path, locked: bool) -> None:
    """Makes the folder in which this process builds a cache: of what an interrupted process has
    left of the same one, or empty.

    The lock says that nobody writes to it any more, where it is one (locked) and the other process
    ran on this computer: file systems may keep a lock from those of other computers. Else it must
    have been left alone for a while.
    """
    states = []
    for state in folder.parent.glob(f"{folder.name}.{'[0-9a-f]' * 32}.tmp/{STATE}"):
        with contextlib.suppress(OSError):
            here = locked and _machine_of(state) in (platform.node(), None)
            if _is_ours(state.parent) and (here or _quiet_for(state.parent) > QUIET):
                states.append((_pixels_of(state.parent), state.stat().st_mtime, state))
    for *_, state in sorted(states, reverse=True):
        if temporary.exists():  # one with less
            shutil.rmtree(state.parent, ignore_errors=True)
            continue
        with contextlib.suppress(OSError):  # another process was faster
            os.utime(state.parent)
            state.parent.rename(temporary)
    temporary.mkdir(exist_ok=True)


def _pixels_of(leftover: Path) -> int:
    """Bytes of the pixels that have been written."""
    try:
        return (leftover / PIXELS).stat().st_size
    except OSError:
        return 0


def is_begun(temporary: Path) -> bool:
    """Whether there is something in a folder that can be gone on with."""
    return all((temporary / name).exists() for name in (STATE, PIXELS))


def _is_ours(folder: Path) -> bool:
    """Whether an unfinished cache is a folder here, all files of which this user may write to.
    Raises: OSError.
    """
    paths = [folder, *folder.iterdir()]
    return not folder.is_symlink() and all(os.access(path, os.R_OK | os.W_OK) for path in paths)


def _machine_of(state: Path) -> str | None:
    """The name of the computer on which a state was written; None if it cannot be read."""
    with contextlib.suppress(Exception):  # damaged bytes can raise almost anything
        return json.loads(state.read_text("ascii").split("\n")[1])["machine"]
    return None


class _Unusable(ValueError):
    """Says why an unfinished cache is not gone on with."""


def _about() -> dict[str, object]:
    """On what the pixels depend beside the files and options, by which a cache is found."""
    versions = {"pillow": PIL.__version__, "torchvision": None}
    with contextlib.suppress(metadata.PackageNotFoundError):
        versions["torchvision"] = metadata.version("torchvision")
    return {"format": FORMAT, "fingerprints_of": NEWEST, **versions}


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("ascii")).hexdigest()
