"""Arrays of numpy files that other programs wrote."""

import zipfile
from pathlib import Path

import numpy as np

from files.regular import check_regular


def load_foreign_arrays(file: str | Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file by name; that of an .npy file goes by the name ''. Bytes are read
    as UTF-8, no code in the file is run.

    Raises: ValueError: In words, if it is not such a file, is damaged, holds Python objects or does
    not fit into the memory. OSError: If it cannot be opened.
    """
    if not check_regular(file):
        raise ValueError("the file is empty")
    try:
        content = np.load(file, allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # damaged bytes can raise anything
        raise ValueError(_reason(error, "")) from None
    if isinstance(content, np.ndarray):
        return {"": _text(content)}
    arrays = {}
    with content:
        for name in content.files:
            try:
                arrays[name] = _text(content[name])
            except Exception as error:
                raise ValueError(_reason(error, f"its array {name!r} ")) from None
    return arrays


def _text(array: np.ndarray) -> np.ndarray:
    """An array of bytes as one of text; others as they are."""
    return np.char.decode(array, "utf-8", "backslashreplace") if array.dtype.kind == "S" else array


def _reason(error: Exception, what: str) -> str:
    if isinstance(error, MemoryError):
        return f"{what or 'it '}says that it is larger than the memory: is the file damaged?"
    if "allow_pickle" in str(error):  # numpy's advice would run code of the file
        return (
            f"{what or 'it '}is not numbers or text but Python objects, or no array at all: save"
            " names as text (numpy.array(names, dtype=str)) and numbers as numbers"
        )
    if isinstance(error, zipfile.BadZipFile) or what:
        return f"{what or 'it '}is damaged or was not written whole ({error})"
    return str(error)
