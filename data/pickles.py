"""Reads pickle files of arrays without ever running what a stranger put into them."""

import os
import pickle

_ARRAYS = {
    ("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode"),
    *((f"numpy.{core}.{module}", name) for core in ("core", "_core") for module, name in (
        ("multiarray", "_reconstruct"), ("multiarray", "scalar"), ("numeric", "_frombuffer"))),
}  # fmt: skip


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in _ARRAYS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which a file of arrays does not need")
        return super().find_class(module, name)


def load_arrays(path: str | os.PathLike, **options) -> dict:
    """Content of a pickled dict of numpy arrays and builtins; anything else in the file is refused, never run.

    Args:
        path: The file.
        options: Of `pickle.Unpickler`; encoding='bytes' for files written by Python 2.

    Raises: ValueError: If the file is damaged, asks for other code or holds no dict; FileNotFoundError.
    """
    with open(path, "rb") as file:
        try:
            content = _ArraysOnly(file, **options).load()
        except Exception as error:  # a damaged pickle can raise almost anything
            raise ValueError(f"{path} is no readable file of arrays ({type(error).__name__}: {error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, not a dict of arrays")
    return content
