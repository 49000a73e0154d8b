"""A run is its folder: everything that writes one or reads one. Files appear whole or not at
all.
"""

import io
import json
import os
import pickle
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from functools import cached_property
from pathlib import Path
from pickle import UnpicklingError
from zipfile import BadZipFile

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from files.locks import file_lock
from files.pickles import load_arrays
from hierarchies import Hierarchy
from metrics.outputs import Outputs

FORMAT = 1  # of the folder; raised when an older reader would misread a newer run
DERIVED = ("evaluation*", "per_class*.csv", "per_level*.csv", "confusion_*.csv", "curve_*.csv", "risk_coverage*.csv",
           "*.nwk", "trees*.txt", "report.html")  # what evaluate.py and visualize.py make of a run # fmt: skip


class RunError(ValueError):
    """A run's folder or one of its files cannot be used; the message names it and the way out."""


class Run:
    """One run's folder. Reading is lazy; every method that writes is atomic.

    Files: config.json, hierarchy.json, split.csv, epochs.csv, last.pt (last-1.pt, the one before),
    best.pt,
    metrics.csv (written last: its presence says that the run is finished), test.pkl, val.pkl,
    log.txt, mlflow.json.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)

    # ---- state

    @property
    def exists(self) -> bool:
        """Whether a run was started here."""
        return (self.folder / "config.json").is_file()

    @property
    def finished(self) -> bool:
        return self.exists and (self.folder / "metrics.csv").is_file()

    # ---- reading

    @cached_property
    def config(self) -> dict:
        """Resolved options under 'options', and what the run was made with. Raises: RunError."""
        if not self.exists:
            raise RunError(
                f"{self.folder} is no run: it has no config.json; a run's folder ends in"
                " .../seed<k>"
            )
        config = self._read_json("config.json")
        if not isinstance(config, dict) or not isinstance(config.get("options"), dict):
            raise RunError(
                f"{self.folder / 'config.json'} is damaged: it has no options; run it again with"
                " --overwrite"
            )
        if config.get("format") != FORMAT:
            raise RunError(
                f"{self.folder / 'config.json'} has format {config.get('format')!r}, this version"
                f" reads {FORMAT};"
                " use the version of the project that wrote it"
            )
        return config

    @property
    def options(self) -> dict:
        return self.config["options"]

    @cached_property
    def hierarchy(self) -> Hierarchy:
        try:
            return Hierarchy.from_dict(self._read_json("hierarchy.json"))
        except RunError:
            raise
        except ValueError as error:
            raise RunError(f"{self.folder / 'hierarchy.json'}: {error}") from error

    @cached_property
    def epochs(self) -> pd.DataFrame:
        """One row an epoch; empty before the first one ended."""
        return (
            self._read_csv("epochs.csv")
            if (self.folder / "epochs.csv").is_file()
            else pd.DataFrame()
        )

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """Columns metric, value, n, undefined, and more where they were asked for."""
        table = self._read_csv("metrics.csv")
        missing = {"metric", "value", "n", "undefined"} - set(table.columns)
        if missing:
            raise RunError(
                f"{self.folder / 'metrics.csv'} is damaged: it has no column {sorted(missing)[0]!r}"
            )
        return table

    @cached_property
    def split(self) -> pd.DataFrame:
        return self._read_csv("split.csv")

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """Content of test.pkl (name 'test') or val.pkl ('val'). Only arrays and builtins are ever
        unpickled.
        """
        path = self.folder / f"{name}.pkl"
        try:
            return load_arrays(path)
        except FileNotFoundError as error:
            again = "evaluate the run from its images with --data_dir"
            advice = again if self.finished else "the run did not finish: continue it with --resume"
            raise RunError(f"{path} is missing; {advice}") from error
        except ValueError as error:
            raise RunError(f"{error}; run it again with --overwrite") from error

    def checkpoint(self, name: str) -> dict:
        """Content of a checkpoint, on the CPU, loaded with weights_only=True. Raises: RunError."""
        path = self.folder / Path(name).name  # config.json names it, which may come from others
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except FileNotFoundError as error:
            raise RunError(
                f"{path} is missing; continue the run with --resume or start it with --overwrite"
            ) from error
        except (
            RuntimeError,
            EOFError,
            OSError,
            ValueError,
            KeyError,
            UnpicklingError,
            BadZipFile,
        ) as error:
            raise RunError(
                f"{path} cannot be read as a checkpoint ({type(error).__name__}); it may be damaged"
            ) from error
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            found = content.get("format") if isinstance(content, dict) else type(content).__name__
            raise RunError(
                f"{path} is a checkpoint of another version (format {found!r}, expected {FORMAT})"
            )
        return content

    def latest(self) -> dict | None:
        """The newest readable checkpoint to resume from; None before the first epoch ended.

        It takes the place of a damaged last.pt, which would else become the fallback of the next
        one.
        Raises: RunError: If there are checkpoints but none can be read.
        """
        names = [name for name in ("last.pt", "last-1.pt") if (self.folder / name).exists()]
        errors = []
        for name in names:
            try:
                content = self.checkpoint(name)
            except RunError as error:
                errors.append(str(error))
                continue
            for error in errors:
                print(f"warning: {error}; going on from {name}", file=sys.stderr)
                os.replace(self.folder / name, self.folder / "last.pt")
            return content
        if errors:
            raise RunError(
                f"no checkpoint can be resumed: {'; '.join(errors)}; start again with --overwrite"
            )
        return None

    @property
    def result_checkpoint(self) -> str:
        """The checkpoint that the run's results come from: 'best.pt', or 'last.pt' without a
        validation split.
        """
        return self.config["result_checkpoint"]

    def outputs(self, name: str = "test") -> Outputs:
        """What the metrics need of one split. Raises: RunError: Also if the arrays do not belong to
        the hierarchy.
        """
        arrays, options = self.arrays(name), self.options
        similarity = {
            "distance": options.get("distance") or "euc",
            "beta": options.get("beta") or 1.0,
        }
        fields = ("labels", "scores", "embeddings", "class_vectors", "prototypes")
        missing = [field for field in fields if field not in arrays]
        if missing:
            raise RunError(
                f"{self.folder / name}.pkl is damaged: it has no {missing[0]!r}; run it again with"
                " --overwrite"
            )
        optional = {field: arrays.get(field) for field in ("prototype_scores", "living")}
        try:
            return Outputs(
                self.hierarchy,
                **{field: arrays[field] for field in fields},
                **optional,
                **similarity,
            )
        except ValueError as error:
            raise RunError(f"{self.folder / name}.pkl: {error}") from error

    # ---- writing

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps other processes out of the folder while this one lives, and removes what a killed
        one half wrote.

        Raises: RunError: If another one holds it already, or the folder cannot be written.
        """
        with ExitStack() as stack:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                held = stack.enter_context(file_lock(self.folder / ".lock"))
                for leftover in self.folder.glob(".*.tmp") if held else ():
                    leftover.unlink(missing_ok=True)
            except OSError as error:
                raise _unwritable(self.folder, error) from error
            if not held:
                raise RunError(
                    f"{self.folder} is being written by another process; wait for it or choose"
                    " other options"
                )
            yield

    def clear(self) -> None:
        """Removes the files of an earlier run and what was made of it, the sign of its end first;
        all else stays.
        """
        checkpoints, arrays = ("last.pt", "last-1.pt", "best.pt"), ("test.pkl", "val.pkl")
        names = [
            "metrics.csv",
            "config.json",
            "epochs.csv",
            *checkpoints,
            *arrays,
            "log.txt",
            "mlflow.json",
        ]
        for name in [
            *names,
            *(path.name for pattern in DERIVED for path in self.folder.glob(pattern)),
        ]:
            (self.folder / name).unlink(missing_ok=True)
        for name in ("config", "epochs", "metrics", "hierarchy", "split"):
            self.__dict__.pop(name, None)

    def write_epochs(self, rows: list[dict]) -> None:
        self.write_table("epochs.csv", pd.DataFrame(rows))
        self.__dict__.pop("epochs", None)

    def log(self, line: str) -> None:
        """Prints a line, clear of progress bars, and appends it to log.txt with the time."""
        tqdm.write(line)
        path = self.folder / "log.txt"
        try:
            with path.open("a", encoding="utf-8", errors="surrogateescape") as file:
                file.write(f"{datetime.now():%Y-%m-%d %H:%M:%S} {line}\n")
        except OSError as error:
            raise _unwritable(path, error) from error

    def write_text(self, name: str, text: str) -> None:
        """A text file in UTF-8; folder names that are no text come back as the bytes they were."""
        self._replace(name, text.encode("utf-8", "surrogateescape"))

    def write_json(self, name: str, content: object) -> None:
        self.write_text(
            name, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        )

    def write_table(self, name: str, table: pd.DataFrame) -> None:
        """CSV with 17 significant digits at most: reading it back gives the same floats. NaN is
        written as 'nan'.
        """
        self.write_text(name, table.to_csv(index=False, na_rep="nan", lineterminator="\n"))

    def write_arrays(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        self._replace(f"{name}.pkl", pickle.dumps(dict(arrays), protocol=4))

    def save_checkpoint(self, name: str, content: Mapping) -> None:
        """Tensors and builtins only. The previous last.pt stays as last-1.pt until the next one is
        whole.
        """
        buffer = (
            io.BytesIO()
        )  # torch.save to a path writes the path's name into the file: bytes would differ by run
        torch.save(_canonical({"format": FORMAT, **content}), buffer)
        self._replace(name, buffer.getvalue(), "last-1.pt" if name == "last.pt" else None)

    def _replace(self, name: str, content: bytes, keep: str | None = None) -> None:
        """Writes a file that appears whole, once it is on the disk; the one it replaces stays under
        the name `keep`.
        """
        path, temporary = self.folder / name, self.folder / f".{name}.{os.getpid()}.tmp"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if keep is not None and path.exists():
                os.replace(path, self.folder / keep)
            os.replace(temporary, path)
        except OSError as error:
            raise _unwritable(path, error) from error
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    def _read_json(self, name: str) -> object:
        path = self.folder / name
        try:
            return json.loads(path.read_text("utf-8", "surrogateescape"))
        except FileNotFoundError as error:
            raise RunError(f"{path} is missing; start the run again with --overwrite") from error
        except (ValueError, UnicodeDecodeError) as error:
            raise RunError(
                f"{path} is damaged ({error}); start the run again with --overwrite"
            ) from error

    def _read_csv(self, name: str) -> pd.DataFrame:
        path = self.folder / name
        try:
            options = {"encoding": "utf-8", "encoding_errors": "surrogateescape"}
            return pd.read_csv(path, engine="python", **options)  # this engine reads floats exactly
        except FileNotFoundError as error:
            raise RunError(
                f"{path} is missing; the run did not finish: continue it with --resume"
            ) from error
        except (ValueError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
            raise RunError(f"{path} is damaged ({error}); run it again with --overwrite") from error


class Bystander(Run):
    """The run's folder as a process sees it that trains along with the one that writes it: it
    writes nothing.
    """

    @contextmanager
    def lock(self) -> Iterator[None]:
        yield

    def clear(self) -> None:
        pass

    def log(self, line: str) -> None:
        pass

    def _replace(self, name: str, content: bytes, keep: str | None = None) -> None:
        pass


def _unwritable(path: Path, error: OSError) -> RunError:
    return RunError(
        f"cannot write {path}: {error.strerror or error}; make room or permit writing there and go"
        " on with --resume, or"
        " choose another place with --record"
    )


def _canonical(content: object) -> object:
    """The same content in new containers and with equal strings made one, so that equal content
    gives equal bytes.
    """
    if isinstance(content, str):
        return sys.intern(str(content))
    if isinstance(content, Mapping):
        return {_canonical(key): _canonical(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return type(content)(_canonical(value) for value in content)
    return content


def find_runs(record: str | os.PathLike) -> list[Run]:
    """Every run below a folder, sorted by path; also the folder itself if it is one."""
    return [Run(path.parent) for path in sorted(Path(record).rglob("config.json"))]
