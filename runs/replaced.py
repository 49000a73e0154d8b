"""A run that another one is to replace, kept until that one has begun well."""

import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from files import system

ASIDE = ".replaced"  # in the run's folder
_MARK = "config.json"  # while it is there all of the run is; else the files are on their way


class Replaced:
    """The files of a run that were moved into a folder in its own, so that no room is needed and a
    process killed at any moment loses none.
    """

    def __init__(self, folder: Path):
        self.folder, self.aside = folder, folder / ASIDE

    @property
    def is_whole(self) -> bool:
        """Whether a whole run is set aside."""
        return self._is_there and (self.aside / _MARK).is_file()

    @property
    def _is_there(self) -> bool:
        return self.aside.is_dir() and not self.aside.is_symlink()

    def set_aside(self, names: Iterable[str]) -> None:
        """Moves files of the folder, those of these names that are there. Raises: OSError: If one
        cannot be moved; then all are where they were.
        """
        self.aside.mkdir()
        try:
            for name in sorted(set(names), key=lambda name: (name == _MARK, name)):
                path = self.folder / name
                if path.is_file() and not path.is_symlink():
                    if name == _MARK:
                        system.sync_folder(self.aside)
                    system.replace(path, self.aside / name)
        except OSError:
            with suppress(OSError):
                self.bring_back()
            raise

    def bring_back(self) -> None:
        """Moves back what is aside, if anything. Raises: OSError."""
        if not self._is_there:
            return
        for path in self._content(reverse=True):
            target = self.folder / path.name
            if path.is_dir() and target.exists():  # figures of the run, in both places
                _remove(path)
            else:
                system.replace(path, target)
        self.aside.rmdir()

    def drop(self) -> None:
        """Removes what is aside, if anything. Raises: OSError."""
        if not self._is_there:
            return
        for path in self._content():
            _remove(path)
        self.aside.rmdir()

    def _content(self, reverse: bool = False) -> list[Path]:
        """What is aside, the mark last, or reversed: the run's files, and what was made of them
        there, maybe a folder of figures.
        """
        return sorted(
            self.aside.iterdir(), key=lambda path: (path.name == _MARK, path.name), reverse=reverse
        )


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
