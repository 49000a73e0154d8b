"""Where what is made of images is kept, and under which names: beside the images, or else in the
user's cache folder.
"""

import hashlib
import os
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from data.conversion import Box

FOLDER = ".taxonomy_cache"


def files_digest(
    root: Path, files: Sequence[str], settings: str, boxes: Mapping[str, Box] | None = None
) -> str:
    """Hash of what is made of files: settings, boxes, and names, sizes and modification times of
    the files.
    """
    digest = hashlib.sha256(settings.encode())
    for file in files:
        stat = os.stat(root / file)
        part = f" {boxes[file]}" if boxes is not None else ""
        digest.update(
            f"\n{file!r} {stat.st_size} {stat.st_mtime_ns}{part}".encode(
                "utf-8", "backslashreplace"
            )
        )
    return digest.hexdigest()


def key_in(place: Path, root: Path, digest: str) -> str:
    """Name under which something made of files below root is kept in a place.

    Outside of root it depends on root: other collections may have files of the same names, sizes
    and times.
    """
    home = os.path.realpath(root)
    if os.path.realpath(place) != os.path.join(home, FOLDER):
        digest = hashlib.sha256(
            f"{digest} {home!r}".encode("utf-8", "backslashreplace")
        ).hexdigest()
    return digest[:24]


def places(data_dir: str | os.PathLike | None, cache_dir: str | os.PathLike | None) -> list[Path]:
    """Where to look, in this order, and to write where that can be done: in `cache_dir`, or without
    it beside the images of `data_dir`, then in the user's cache folder.
    """
    if cache_dir is not None:
        return [Path(cache_dir)]
    return [*([] if data_dir is None else [Path(data_dir) / FOLDER]), _user_folder()]


def _user_folder() -> Path:
    """Where caches are kept that cannot be kept beside their images."""
    try:
        home = Path.home()
    except RuntimeError:  # a user without a home, as in some containers
        home = Path(tempfile.gettempdir())
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / FOLDER.lstrip(".")


def writable(places: Sequence[Path]) -> Path:
    """The first of the folders, made if need be, in which a file can be written. Raises: OSError:
    If there is none.
    """
    reasons = []
    for place in places:
        probe = place / f"{uuid.uuid4().hex}.tmp"
        try:
            place.mkdir(parents=True, exist_ok=True)
            probe.touch()
            probe.unlink()
        except OSError as error:
            reasons.append(f"{place} ({error.strerror})")
        else:
            return place
    raise OSError(
        f"the image cache cannot be written to {' nor '.join(reasons)}; name another place with"
        " --cache_dir"
    )
