"""The run's folder in the hands of a process that must not write it."""

from collections.abc import Iterator
from contextlib import contextmanager

from recording import Run


class Bystander(Run):
    """The run's folder as a process sees it that trains along with the one that writes it: it writes nothing."""

    @contextmanager
    def lock(self) -> Iterator[None]:
        yield

    def clear(self) -> None:
        pass

    def log(self, line: str) -> None:
        pass

    def _replace(self, name: str, content: bytes, keep: str | None = None) -> None:
        pass
