"""Downloads an archive and unpacks it, without trusting what is in it."""

import contextlib
import http.client
import os
import shutil
import stat
import tempfile
import urllib.request
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from files import system
from files.bars import tqdm

BLOCK = 1 << 20  # bytes
TIMEOUT = 60  # seconds without an answer


def download(url: str, target: str | os.PathLike) -> None:
    """Writes what is at the address into a file, which appears complete or not at all; shows
    progress.

    Raises: OSError: If it cannot be reached, ends early, or cannot be written; with the address.
    """
    target = Path(target)
    partial = target.with_name(f"{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(url, timeout=TIMEOUT) as response, open(partial, "wb") as file:
            total = int(response.headers.get("Content-Length") or 0) or None
            with tqdm(
                total=total, desc=f"Downloading {target.name}", unit="B", unit_scale=True
            ) as bar:
                while block := response.read(BLOCK):
                    file.write(block)
                    bar.update(len(block))
        if total is not None and partial.stat().st_size != total:
            raise OSError(f"it ended after {partial.stat().st_size} of {total} bytes")
        system.replace(partial, target)
    except (OSError, http.client.HTTPException) as error:
        raise OSError(
            f"{url} cannot be downloaded to {target}: {getattr(error, 'reason', error)}"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def unpack(archive: str | os.PathLike, folder: str | os.PathLike, top: str) -> Path:
    """Unpacks the folder `top` of a ZIP archive into a folder, where it appears complete or not at
    all; shows progress.

    Raises:
        ValueError: If the archive is damaged, has no such folder, or a member that is a link or
            would lie outside.
        OSError: If it needs more space than there is.
    """
    archive, folder = Path(archive), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=folder))
    try:
        with zipfile.ZipFile(archive) as content:
            members = content.infolist()
            for member in members:
                _check_member(archive, member)
            needed = sum(member.file_size for member in members)
            free = shutil.disk_usage(folder).free
            if needed > free:
                raise OSError(
                    f"{archive} needs {needed / 1e9:.1f} GB unpacked, but {folder} has"
                    f" {free / 1e9:.1f} GB left"
                )
            for member in tqdm(members, desc=f"Unpacking {archive.name}", unit="file"):
                content.extract(member, temporary)
        if not (temporary / top).is_dir():
            raise ValueError(f"{archive} has no folder {top!r}: it is another archive")
        system.replace(temporary / top, folder / top)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(
            f"{archive} is not a readable ZIP archive ({error}); remove it and get it again"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder / top


def _check_member(archive: Path, member: zipfile.ZipInfo) -> None:
    path = PurePosixPath(member.filename)
    if (
        path.is_absolute()
        or ".." in path.parts
        or "\\" in member.filename
        or ":" in member.filename
    ):
        raise ValueError(
            f"{archive}: the member {member.filename!r} would lie outside of the folder; nothing"
            " was unpacked"
        )
    if stat.S_ISLNK(member.external_attr >> 16):
        raise ValueError(
            f"{archive}: the member {member.filename!r} is a link; nothing was unpacked"
        )
