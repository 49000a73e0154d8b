"""Packages whose names are imported when they are first used."""

from collections.abc import Callable, Mapping
from importlib import import_module


def imported_from(package: str, homes: Mapping[str, str]) -> Callable[[str], object]:
    """What a package takes for its `__getattr__`.

    Args:
        package: Its name.
        homes: For each of its public names the module in it.
    """

    def find(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{homes[name]}"), name)

    return find
