"""The files in a run's folder: written whole or not at all, read with a look at their checksums,
kept from other processes by a lock.
"""

import csv
import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from files import system
from files.bars import tqdm
from files.exact_tables import read_exactly
from files.locks import file_lock
from files.paths import no_run
from files.pickles import checksum_behind, dump_arrays
from files.regular import check_regular
from files.text import encoded, for_people, one_line
from files.writing import open_to_append, remove_leftovers, write_whole
from runs.replaced import Replaced

# pyarrow, where it is installed, refuses file names that are not valid UTF-8
pd.set_option("mode.string_storage", "python")

FORMAT = 1  # of the folder; raised when an older reader would misread a newer run
# what evaluate.py and visualize.py make of a run
DERIVED = (
    "answers.csv",
    "evaluation*",
    "shuffled*.csv",
    "predictions_test*.csv",
    "per_class*.csv",
    "per_group*.csv",
    "per_level*.csv",
    "confusion_*.csv",
    "curve_*.csv",
    "risk_coverage*.csv",
    "*.nwk",
    "trees*.txt",
    "report.html",
)
SCORES = "scores"  # `source` in config.json of predictions that come from elsewhere
ARRAYS = ("test", "val", "calibration", "held_out")  # splits whose outputs are recorded
_OWN = ("*.json", "*.pt", "*.pkl", "split.csv", "epochs.csv", "metrics.csv", "log.txt")
CHECKSUMS = "checksums.json"  # of the files of a finished run
MLFLOW = "mlflow.json"  # where the run is in MLflow, and how much of it
STARTED_FROM = "started_from.csv"  # with --start_from, what became of each class
OF_ANOTHER = "it is of another run"
RESUMED = ("last.pt", "last-1.pt")  # checkpoints to go on from, the newest first
_CLEARED = (  # before another run begins, in this order
    *("metrics.csv", CHECKSUMS, "config.json", "hierarchy.json", "split.csv", "epochs.csv"),
    *(*RESUMED, "best.pt"),
    *(f"{name}.pkl" for name in ARRAYS),
    *("log.txt", MLFLOW, STARTED_FROM),
)
_READ_ONCE = ("config", "hierarchy", "split", "epochs", "metrics")  # properties, by their files
_OLD_TEMPORARY = re.compile(r"\..+\.\d+\.tmp")  # of earlier versions, which held no lock on them


class RunError(ValueError):
    """A run's folder or one of its files cannot be used; the message names it and the way out."""


class RunFiles:
    """A folder with the files of a run. Reading is lazy; every method that writes is atomic.

    What is read is checked: arrays and checkpoints carry their own checksums, config.json has its
    own and those of hierarchy.json and split.csv, checksums.json those of the tables of a finished
    run, and by what its other files are known from those of other runs. Runs of earlier versions
    have none and are read without.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)
        self._replaced = Replaced(self.folder)
        self._made_room = False  # whether this process has set the run aside that was here
        self._is_sealed = False  # whether config.json has a checksum, as since earlier versions

    @property
    def exists(self) -> bool:
        """Whether a run was started here."""
        return (self.folder / "config.json").is_file()

    @property
    def finished(self) -> bool:
        return self.exists and (self.folder / "metrics.csv").is_file()

    @property
    def has_checkpoint(self) -> bool:
        """Whether an epoch has ended, so that there is something to resume from."""
        return any((self.folder / name).exists() for name in RESUMED)

    @property
    def has_begun(self) -> bool:
        """Whether there is something of this run that is worth more than one that it replaces."""
        return self.has_checkpoint or self.finished

    @property
    def replaces(self) -> Path | None:
        """Where the run is that this one is about to replace; None where there is none."""
        return self._replaced.aside if self._replaced.is_whole else None

    def writes(self, name: str) -> bool:
        """Whether a file of this name in the folder is one of the run's own."""
        own = (*_OWN, STARTED_FROM, *DERIVED)
        return self.exists and any(fnmatchcase(name, pattern) for pattern in own)

    def check_exists(self) -> None:
        """Raises: RunError: If no run was started here."""
        if not self.exists:
            raise RunError(no_run(self.folder))

    # ---- reading

    @cached_property
    def config(self) -> dict:
        """Resolved options under 'options', and what the run was made with. Raises: RunError."""
        self.check_exists()
        config = self._read_json("config.json")
        if not isinstance(config, dict) or not isinstance(config.get("options"), dict):
            raise RunError(
                f"{self.folder / 'config.json'} is damaged: it has no options;"
                f" {self.way_back('config.json')}"
            )
        checksums = config.get("checksums", {})
        if not isinstance(checksums, dict):
            raise self._changed("config.json")
        own = checksums.pop("config.json", None)
        if own is not None and own != _config_digest(config):
            raise self._changed("config.json")
        self._is_sealed = own is not None
        if self._is_sealed:
            self._check_own("config.json", own)
        if config.get("format") != FORMAT:
            raise RunError(
                f"{self.folder / 'config.json'} has format {config.get('format')!r}, this version"
                f" reads {FORMAT}; use the version of the project that wrote it"
            )
        return config

    @cached_property
    def _checksums(self) -> dict:
        """By file name, of a finished run: SHA-256 of its tables, and what tells its arrays and
        config.json from those of other runs.
        """
        if not (self.finished and (self.folder / CHECKSUMS).is_file()):
            return {}
        checksums = self._read_json(CHECKSUMS)
        if not isinstance(checksums, dict):
            raise self._changed(CHECKSUMS)
        return checksums

    def _check_own(self, name: str, known_by: str | None) -> None:
        """Raises: RunError: If a file that is whole is not the one that the run finished with."""
        recorded = self._checksums.get(name)
        if recorded is not None and recorded != known_by:
            raise self._changed(name, OF_ANOTHER)

    def is_intact(self, name: str) -> bool | None:
        """Whether a file has the checksum that was recorded of it, also False where it is missing;
        None where none was recorded. Raises: RunError: If config.json cannot be used.
        """
        recorded = {**self._checksums, **self.config.get("checksums", {})}.get(name)
        if recorded is None:
            return None
        try:
            check_regular(self.folder / name)
            return _digest((self.folder / name).read_bytes()) == recorded
        except (OSError, ValueError):
            return False

    def _read(self, name: str) -> str:
        """Text of a file, after a look at its checksum where there is one."""
        path = self.folder / name
        try:
            check_regular(path)  # a pipe would never end
        except ValueError as error:
            raise RunError(f"{error}; move it away, and {self.way_back(path.name)}") from error
        content = path.read_bytes()
        if name not in ("config.json", CHECKSUMS):
            # a table alone may be read where there is no config.json
            own = self.config.get("checksums", {}) if self.exists else {}
            recorded = {**self._checksums, **own}.get(name)
            if recorded is not None and recorded != _digest(content):
                raise self._changed(name)
        return content.decode("utf-8", "surrogateescape")

    def _read_json(self, name: str) -> object:
        path = self.folder / name
        try:
            return json.loads(self._read(name))
        except FileNotFoundError as error:
            raise RunError(f"{path} is missing; {self.way_back(path.name)}") from error
        except RunError:
            raise
        except (ValueError, RecursionError) as error:
            raise RunError(f"{path} is damaged ({error}); {self.way_back(path.name)}") from error

    def _read_csv(self, name: str) -> pd.DataFrame:
        path = self.folder / name
        try:
            # fingerprints may look like numbers
            return read_exactly(self._read(name), dtype={"fingerprint": str})
        except FileNotFoundError as error:
            raise RunError(
                f"{path} is missing; the run did not finish: continue it with --resume"
            ) from error
        except RunError:
            raise
        except ValueError as error:  # all of pandas' are
            raise RunError(f"{path} is damaged ({error}); {self.way_back(path.name)}") from error

    def way_back(self, name: str) -> str:
        """How a file that is damaged or missing is written again, without losing more."""
        config = self.__dict__.get("config", {})  # where that could be read
        if config.get("source") == SCORES:
            return "make the run again with evaluate.py --scores"
        if name == "config.json" or name.endswith(".pt"):
            return "put a copy of the original back, or run it again with --overwrite"
        if name in ("hierarchy.json", "split.csv"):
            first = "remove metrics.csv and " if self.finished else ""
            return f"{first}use --resume, which writes it again"
        return "remove metrics.csv and use --resume, which writes it again"

    def _changed(self, name: str, cause: str | None = None) -> RunError:
        """A file does not have its checksum."""
        if cause is None:
            cause = "it was damaged or changed"
            if name.endswith(".csv"):
                cause = "it was damaged or, as by a spreadsheet program, changed and saved"
        again = self.way_back(name).removeprefix("put a copy of the original back, or ")
        return RunError(
            f"{self.folder / name} is not as the run wrote it: {cause}; put a copy of the original"
            f" back, or {again}"
        )

    # ---- writing

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps other processes out of the folder while this one lives, and removes what a killed
        one half wrote.

        Raises: RunError: If another one holds it already, or the folder cannot be written.
        """
        with ExitStack() as afterwards, ExitStack() as stack:
            try:
                made, held = self._lock(stack)
                if held:
                    remove_leftovers(self.folder)
                    for path in self.folder.glob(".*.tmp"):
                        if _OLD_TEMPORARY.fullmatch(path.name):
                            path.unlink(missing_ok=True)
                    if not self._replaced.is_whole:  # a process was killed while it moved files
                        self._replaced.bring_back()
            except OSError as error:
                raise unwritable(self.folder, error) from error
            if not held:
                raise RunError(
                    f"{self.folder} is being written by another process; wait for it or choose"
                    " other options"
                )
            stack.callback(self._remove_if_unused, made)  # while the lock is still held
            if system.holds_open_files():  # and then not if somebody else has it
                afterwards.callback(self._remove_if_unused, made)
            try:
                yield
            except Exception:
                self._bring_back()
                raise

    def _lock(self, stack: ExitStack) -> tuple[list[Path], bool]:
        """Locks the folder until the stack is closed: the folders that were made for it, innermost
        first, and whether no other process holds the lock.
        """
        ways = (self.folder, *self.folder.parents)
        for attempts_left in reversed(range(10)):
            made = [folder for folder in ways if not folder.exists()]
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                return made, stack.enter_context(file_lock(self.folder / ".lock"))
            except FileNotFoundError:  # another process has just removed the folder, unused
                if not attempts_left:
                    raise

    def _remove_if_unused(self, made: list[Path]) -> None:
        """Removes what a start that was refused has made: a folder in which there is only the
        lock.
        """
        with suppress(OSError):
            if [path.name for path in self.folder.iterdir()] == [".lock"]:
                (self.folder / ".lock").unlink()
                for folder in made or [self.folder]:
                    folder.rmdir()

    def make_room(self) -> None:
        """Clears the folder for another run, under its lock. A run that is there is set aside until
        the other one has kept an epoch or is finished, and comes back if that fails before.

        Raises: RunError: If a file cannot be moved or removed.
        """
        try:
            if self._replaced.is_whole and self.has_begun:
                self._replaced.drop()
            if self.exists and not self._replaced.is_whole:
                self._replaced.set_aside(self._names())
        except OSError as error:
            raise unwritable(self._replaced.aside, error) from error
        self._made_room = True
        self.clear()

    def _bring_back(self) -> None:
        """The run that was set aside for one that has failed before it had begun."""
        if not self._made_room or not self._replaced.is_whole or self.has_begun:
            return
        with suppress(OSError, RunError):  # the folder cannot be written: it stays aside
            self.clear()
            self._replaced.bring_back()
            print(f"the run that was to be replaced is back in {self.folder}", file=sys.stderr)

    def _drop_replaced(self) -> None:
        """Lets go of the run that this one replaces. Raises: RunError: If a file stays."""
        try:
            self._replaced.drop()
        except OSError as error:
            raise unwritable(self._replaced.aside, error) from error

    def _names(self) -> list[str]:
        """Names that files of a run and what is made of it have here, the sign of its end first."""
        derived = [path.name for pattern in DERIVED for path in self.folder.glob(pattern)]
        return [*_CLEARED, *derived]

    def clear(self) -> None:
        """Removes the files of an earlier run and what was made of it, the sign of its end first;
        all else stays. Raises: RunError: If one cannot be removed.
        """
        for name in self._names():
            try:
                (self.folder / name).unlink(missing_ok=True)
            except OSError as error:  # a folder of this name, say
                raise unwritable(self.folder / name, error) from error
            self._forget(name)

    def log(self, line: str) -> None:
        """Prints a line, clear of progress bars, and appends it to log.txt with the time."""
        line = one_line(line)
        tqdm.write(line)
        path = self.folder / "log.txt"
        try:
            with open_to_append(path) as file:
                file.write(f"{datetime.now():%Y-%m-%d %H:%M:%S} {line}\n")
        except OSError as error:
            raise unwritable(path, error) from error

    def write_text(self, name: str, text: str) -> None:
        """A text file in UTF-8; folder names that are not valid text come back as the bytes they
        were.
        """
        self._replace(name, encoded(text))

    def write_json(self, name: str, content: object) -> None:
        self.write_text(name, _json(content))

    def write_table(self, name: str, table: pd.DataFrame) -> None:
        """CSV with 17 significant digits at most: reading it back gives the same floats, and the
        same names. NaN is written as 'nan'.
        """
        self.write_text(name, _csv(table))

    def write_table_for_people(self, name: str, table: pd.DataFrame) -> None:
        """As `write_table`, with names made harmless for spreadsheet programs."""
        self.write_table(name, for_people(table))

    def write_arrays(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        self._replace(f"{name}.pkl", dump_arrays(arrays))

    def write_config(self, content: Mapping) -> None:
        """config.json with its checksum and those of hierarchy.json and split.csv, which are
        written before it.
        """
        checksums = {
            name: _digest((self.folder / name).read_bytes())
            for name in ("hierarchy.json", "split.csv")
            if (self.folder / name).is_file()
        }
        content = {**content, "checksums": checksums}
        checksums["config.json"] = _config_digest(content)
        self.write_json("config.json", content)

    def finish(self, metrics: pd.DataFrame) -> None:
        """Writes metrics.csv, which says that the run is finished, and before it the checksums of
        all its tables and what its other files are known by.
        """
        text = _csv(metrics)
        checksums = {
            path.name: _digest(path.read_bytes())
            for path in sorted(self.folder.glob("*.csv"))
            if path.name != "split.csv"
        }
        checksums["metrics.csv"] = _digest(encoded(text))
        checksums["config.json"] = _config_digest(self.config)
        for name in ARRAYS:
            if (self.folder / f"{name}.pkl").is_file():
                checksums[f"{name}.pkl"] = checksum_behind(self.folder / f"{name}.pkl")
        self.write_json(CHECKSUMS, checksums)
        self.write_text("metrics.csv", text)
        self._drop_replaced()

    def _replace(self, name: str, content: bytes, keep: str | None = None) -> None:
        """Writes a file that appears whole, once it is on the disk; the one it replaces stays under
        the name `keep`.
        """
        path = self.folder / name
        try:
            write_whole(path, content, keep)
        except OSError as error:
            raise unwritable(path, error) from error
        self._forget(name)

    def _forget(self, name: str) -> None:
        """What was read of a file that has changed; of metrics.csv, that the run was unfinished."""
        stem = name.partition(".")[0]
        for read in (stem, "_checksums") if stem in _READ_ONCE else ("_checksums",):
            self.__dict__.pop(read, None)


def unwritable(path: Path, error: OSError) -> RunError:
    """What is said where a file of a run cannot be written."""
    return RunError(
        f"cannot write {path}: {error.strerror or error}; make room or permit writing there (a"
        " training goes on with --resume), or take another place: --record, or a copy of the run"
        f"{system.hint(path, error)}"
    )


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _config_digest(config: Mapping) -> str:
    """Checksum of what config.json says, however it is laid out, but for its own checksum."""
    others = {
        name: value for name, value in config.get("checksums", {}).items() if name != "config.json"
    }
    return _digest(
        json.dumps({**config, "checksums": others}, sort_keys=True).encode("ascii", "strict")
    )


def _json(content: object) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _csv(table: pd.DataFrame) -> str:
    text = table.to_csv(index=False, na_rep="nan", lineterminator="\n")
    if "\r" not in text:
        return text
    # of which Python writes a name without quotes, and reads it as the end of the row
    return table.to_csv(
        index=False, na_rep="nan", lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC
    )
