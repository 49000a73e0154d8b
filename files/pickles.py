"""Reads pickle files of arrays without ever running what a stranger put into them.

A list of permitted names is not enough: numpy's dtype, when unpickled, believes flags that say
whether an array holds pointers, so a forged file makes it follow any address. Here nothing of numpy
is called with what the file says but the constructor of a plain dtype, and `ndarray.__setstate__`
with that dtype.
"""

import hashlib
import os
import pickle
from collections.abc import Mapping
from typing import BinaryIO

import numpy as np

from files.regular import check_regular

SEAL = b"\nsha256:"  # behind the pickle, where readers stop, and then the 32 bytes of its hash
KINDS = "biufcSU"  # of arrays that are bytes and nothing else


class _Dtype:
    """Stands for numpy.dtype while a file is read: numbers, booleans and text; nothing of the
    file's flags is kept.
    """

    def __init__(self, code: str, align: bool = False, copy: bool = True):
        plain = np.dtype(code) if isinstance(code, str) else None
        if plain is None or plain.kind not in KINDS:
            raise pickle.UnpicklingError(
                f"it asks for the type {str(code)[:40]!r}, neither numbers nor text"
            )
        self.plain = plain

    def __setstate__(self, state: tuple) -> None:
        _, order, subtype, names, fields, *_ = state
        if subtype is not None or names is not None or fields is not None:
            raise pickle.UnpicklingError("it asks for a type that has parts")
        self.plain = self.plain.newbyteorder(order)


class _Array(np.ndarray):
    """An array while a file is read."""

    def __setstate__(self, state: tuple) -> None:
        version, shape, dtype, fortran, content = state
        super().__setstate__((version, shape, _plain(dtype), fortran, content))


def _plain(dtype: object) -> np.dtype:
    if not isinstance(dtype, _Dtype):
        raise pickle.UnpicklingError(f"an array has the type {str(dtype)[:40]!r}")
    return dtype.plain


def _reconstruct(kind: object, shape: object, code: object) -> _Array:
    return np.ndarray.__new__(_Array, (0,), np.int8)  # __setstate__ says all that matters


def _scalar(dtype: object, content: bytes | str) -> np.generic:
    content = content.encode("latin1") if isinstance(content, str) else content
    return np.frombuffer(content, _plain(dtype), 1)[0]


def _frombuffer(content: object, dtype: object, shape: tuple, order: str) -> np.ndarray:
    return np.frombuffer(content, _plain(dtype)).reshape(shape, order=order)


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for the encoding {encoding!r}")
    return text.encode(encoding)


_ARRAYS = {
    ("numpy", "ndarray"): object(),
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
    **{
        (f"numpy.{core}.{module}", name): part
        for core in ("core", "_core")
        for module, name, part in (
            ("multiarray", "_reconstruct", _reconstruct),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _frombuffer),
        )
    },
}


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in _ARRAYS:
            raise pickle.UnpicklingError(
                f"it asks for {module}.{name}, which a file of arrays does not need"
            )
        return _ARRAYS[module, name]


def dump_arrays(arrays: Mapping[str, np.ndarray]) -> bytes:
    """A pickled dict of numpy arrays and builtins, and behind it its checksum."""
    content = pickle.dumps(dict(arrays), protocol=4)
    return content + SEAL + hashlib.sha256(content).digest()


def load_arrays(path: str | os.PathLike, **options) -> dict:
    """Content of a pickled dict of numpy arrays and builtins; anything else in the file is refused,
    never run.

    Args:
        path: The file. Arrays are of numbers, booleans or text and, other than numpy scalars,
            values of the dict.
        options: Of `pickle.Unpickler`; encoding='bytes' for files written by Python 2.

    Raises: ValueError: If the file is damaged, which its checksum says where `dump_arrays` wrote
    it, asks for other code or holds no dict, or is a folder or a pipe; FileNotFoundError.
    """
    check_regular(path)
    with open(path, "rb") as file:
        if not _is_intact(file):
            raise ValueError(f"{path} is damaged: its content does not have its checksum")
        try:
            content = _ArraysOnly(file, **options).load()
        except Exception as error:  # a damaged pickle can raise almost anything
            raise ValueError(
                f"{path} is not a readable file of arrays ({type(error).__name__}: {error})"
            ) from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, not a dict of arrays")
    return {
        key: value.view(np.ndarray) if isinstance(value, _Array) else value
        for key, value in content.items()
    }


def is_sealed(path: str | os.PathLike) -> bool:
    """Whether a file ends as `dump_arrays`, or pickle alone, ends one; costs nothing, however
    large it is, and says nothing of what lies before.
    """
    with open(path, "rb") as file:
        start, end = file.read(1), _tail(file)
    return start == b"\x80" and (end.startswith(SEAL) or end.endswith(b"."))


def checksum_behind(path: str | os.PathLike) -> str:
    """The checksum that `dump_arrays` put behind the content of a file, in hexadecimal digits; ''
    where there is none.
    """
    with open(path, "rb") as file:
        seal = _tail(file)
    return seal.removeprefix(SEAL).hex() if seal.startswith(SEAL) else ""


def _is_intact(file: BinaryIO) -> bool:
    """Whether the content has the checksum behind it; True where there is none. Goes back to the
    start.
    """
    seal, digest = _tail(file), hashlib.sha256()
    file.seek(0)
    if not seal.startswith(SEAL):  # written by others, or by an earlier version
        return True
    left = os.fstat(file.fileno()).st_size - len(seal)
    while left > 0:
        piece = file.read(min(left, 1 << 20))
        digest.update(piece)
        left -= len(piece)
        if not piece:
            return False
    file.seek(0)
    return seal == SEAL + digest.digest()


def _tail(file: BinaryIO) -> bytes:
    """The last bytes of a file, as many as a seal has."""
    size = os.fstat(file.fileno()).st_size
    file.seek(max(size - len(SEAL) - 32, 0))
    return file.read()
