"""Files that are written piece by piece and appear whole or not at all."""

import errno
import os
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from shutil import copyfileobj

import numpy as np


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """A path beside the file to write to; it becomes the file when the block ends, and is removed
    after an error.

    Folders above the file are made. Raises: ValueError: If the path is a folder, or nothing can be
    written there.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder: name a file in it")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
    except OSError as error:
        raise ValueError(
            f"{path} cannot be written: {error.strerror or error}; name another place"
        ) from error
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise ValueError(
            f"{path} cannot be written: {error.strerror}; make room, or name another place"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


class RowStore:
    """Arrays that grow by rows, kept in unnamed files and not in memory, to be saved as one .npz
    file.

    Args:
        folder: Where there is space for them, as much as the .npz file will take.
    """

    def __init__(self, folder: str | os.PathLike):
        self._folder, self._files, self._kinds, self._counts = folder, {}, {}, {}
        self._stack = ExitStack()

    def __enter__(self) -> "RowStore":
        return self

    def __exit__(self, *exception) -> None:
        self._stack.close()

    def append(self, **arrays: np.ndarray) -> None:
        """Adds rows to the arrays of these names, of the same shape (n, ...) and type each time but
        for n.
        """
        for name, rows in arrays.items():
            if name not in self._files:
                self._files[name] = self._stack.enter_context(
                    tempfile.TemporaryFile(dir=self._folder)
                )
                self._kinds[name], self._counts[name] = (rows.dtype, rows.shape[1:]), 0
            self._files[name].write(np.ascontiguousarray(rows, self._kinds[name][0]).tobytes())
            self._counts[name] += len(rows)

    def save(self, path: str | os.PathLike, **whole: np.ndarray) -> None:
        """Writes what was added, and other arrays as they are; np.load reads it."""
        with zipfile.ZipFile(path, "w") as archive:
            for name, array in whole.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as handle:
                    np.lib.format.write_array(handle, array, allow_pickle=False)
            for name, source in self._files.items():
                dtype, shape = self._kinds[name]
                header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False}
                with archive.open(f"{name}.npy", "w", force_zip64=True) as handle:
                    np.lib.format.write_array_header_1_0(
                        handle, {**header, "shape": (self._counts[name], *shape)}
                    )
                    source.seek(0)
                    copyfileobj(source, handle, 1 << 20)
