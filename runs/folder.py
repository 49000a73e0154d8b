"""A run is its folder: everything that writes one or reads one. Files appear whole or not at
all.

Torch is imported where a checkpoint is written or read: pages and tables are made without it.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from fnmatch import fnmatchcase
from functools import cached_property
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from tqdm import tqdm

from files.exact_tables import read_exactly
from files.locks import file_lock
from files.pickles import dump_arrays, load_arrays
from files.regular import check_regular
from files.text import encoded, for_people, one_line, shortened
from files.trunks import FOLDER as TRUNKS
from files.trunks import find_trunk, shared_place
from files.writing import open_to_append, remove_leftovers, write_whole
from hierarchies import Hierarchy
from metrics.outputs import Outputs, outputs_of
from runs import tensors

if TYPE_CHECKING:
    import torch

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
# arrays with a row for each image
_OF_IMAGES = (
    "labels",
    "files",
    "sizes",
    "groups",
    "embeddings",
    "scores",
    "prototype_scores",
)
# dimensions and kinds of type that arrays have where they are, by their names
_NUMBERS, _TEXT = "iuf", "US"
_ARRAYS_ARE = {
    "labels": (1, "iu"),
    "files": (1, _TEXT + _NUMBERS),
    "groups": (1, _TEXT + _NUMBERS),
    "living": (1, "b" + _NUMBERS),
    "prototype_counts": (1, _NUMBERS),
    **dict.fromkeys(("sizes", "embeddings", "scores", "prototype_scores"), (2, _NUMBERS)),
    **dict.fromkeys(("class_vectors", "prototypes"), (2, _NUMBERS)),
}
_NEEDED = ("labels", "embeddings", "scores", "class_vectors")  # others may be None
CHECKSUMS = "checksums.json"  # SHA-256 of the tables of a finished run
MLFLOW = "mlflow.json"  # where the run is in MLflow, and how much of it
STARTED_FROM = "started_from.csv"  # with --start_from, what became of each class
_CLEARED = (  # before another run begins, in this order
    *("metrics.csv", CHECKSUMS, "config.json", "epochs.csv", "last.pt", "last-1.pt", "best.pt"),
    *(f"{name}.pkl" for name in ARRAYS),
    *("log.txt", MLFLOW, STARTED_FROM),
)
_READ_ONCE = ("config", "hierarchy", "split", "epochs", "metrics")  # properties, by their files
_WRITES_TRUNK = (
    "any run of the record that starts from the same network writes it again, this one with"
    " --resume if it is not finished"
)
_OLD_TEMPORARY = re.compile(r"\..+\.\d+\.tmp")  # of earlier versions, which held no lock on them


class RunError(ValueError):
    """A run's folder or one of its files cannot be used; the message names it and the way out."""


class Run:
    """One run's folder. Reading is lazy; every method that writes is atomic.

    Files: config.json, hierarchy.json, split.csv, epochs.csv, last.pt (last-1.pt, the one before),
    best.pt, metrics.csv (written last: its presence says that the run is finished),
    checksums.json, test.pkl, val.pkl, calibration.pkl, log.txt,
    mlflow.json, started_from.csv (with --start_from). A frozen trunk is not in the checkpoints:
    they name a file in `trunks` at the top of the record, which all runs on that trunk share.

    What is read is checked: arrays and checkpoints carry their own checksums, config.json has its
    own and those of hierarchy.json and split.csv, checksums.json those of the tables of a finished
    run. Runs of earlier versions have none and are read without.
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

    def writes(self, name: str) -> bool:
        """Whether a file of this name in the folder is one of the run's own."""
        own = (*_OWN, STARTED_FROM, *DERIVED)
        return self.exists and any(fnmatchcase(name, pattern) for pattern in own)

    def check_exists(self) -> None:
        """Raises: RunError: If no run was started here."""
        if not self.exists:
            raise RunError(
                f"{self.folder} is not a run: it has no config.json; a run's folder ends in"
                " .../seed<k>"
            )

    def check_tree(self) -> None:
        """Raises: RunError: If hierarchy.json is not the tree that config.json names."""
        if self.hierarchy.digest != self.config.get("hierarchy"):
            raise RunError(
                f"{self.folder / 'hierarchy.json'} is not the tree that config.json names; was it"
                " changed?"
            )

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
        if config.get("format") != FORMAT:
            raise RunError(
                f"{self.folder / 'config.json'} has format {config.get('format')!r}, this version"
                f" reads {FORMAT}; use the version of the project that wrote it"
            )
        return config

    @property
    def options(self) -> dict:
        """The options of the run, by the names that they have today."""
        options = self.config["options"]
        if "clspri" not in options:
            return options
        on = bool(options["clspri"])  # of earlier versions, now --prior fit
        kept = {name: value for name, value in options.items() if name != "clspri"}
        return {**kept, "prior": "fit" if on else None, "tau": 1.0 if on else None}

    def option(self, name: str, kind: type, usual: object = None) -> object:
        """The value of an option of the run, `usual` where it is off or was not known then.

        Raises: RunError: If it is not of its kind.
        """
        value = self.options.get(name)
        value = usual if value is None else value
        if not isinstance(value, kind):
            raise RunError(
                f"{self.folder / 'config.json'} is damaged: option {name!r} is {value!r}; run it"
                " again with --overwrite"
            )
        return value

    @property
    def images_in(self) -> str | None:
        """The folder that its images were in when it was started; None where that is not known, as
        of runs of earlier versions.
        """
        places = self.config.get("places")
        folder = places.get("data_dir") if isinstance(places, dict) else None
        return folder if isinstance(folder, str) else None

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
        """One row an image: file, class, label, split, and the fingerprint of its content."""
        return self._read_csv("split.csv")

    @cached_property
    def _checksums(self) -> dict:
        """SHA-256 by file name, of the tables of a finished run."""
        if not (self.finished and (self.folder / CHECKSUMS).is_file()):
            return {}
        checksums = self._read_json(CHECKSUMS)
        if not isinstance(checksums, dict):
            raise self._changed(CHECKSUMS)
        return checksums

    @property
    def fingerprints_of(self) -> str | None:
        """What the fingerprints in split.csv are made of, see `files.fingerprints`; None where
        there are none, in runs of earlier versions.
        """
        images = self.config.get("images")
        of = images.get("fingerprints_of") if isinstance(images, dict) else None
        return of if isinstance(of, str) else None

    def changed_images(
        self,
        files: Sequence[str],
        content_by: Callable[[str], Sequence[str] | None],
        digest_by: Callable[[str], str],
    ) -> list[str] | None:
        """Images that have another content than those that the run was started with.

        Args:
            files: All images, those of split.csv.
            content_by, digest_by: What the fingerprints are made of -> that of each image, None
                where that cannot be told, and of all together; see `data.Splits`.

        Returns: Their names; None where that cannot be told: the run is of an earlier version, or
            its fingerprints are made of something else than pixels or files are now.
        Raises: RunError: If split.csv is damaged.
        """
        of = self.fingerprints_of
        content = None if of is None else content_by(of)
        if content is None:
            return None
        if self.config["images"].get("digest") == digest_by(of):
            return []
        table = self.split
        if not {"file", "fingerprint"} <= set(table.columns):
            raise RunError(f"{self.folder / 'split.csv'} is damaged: it has no fingerprints")
        known = dict(zip(table["file"].astype(str), table["fingerprint"]))
        return [file for file, now in zip(files, content) if known.get(file) != now]

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

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """Content of <name>.pkl, of one of ARRAYS. Only arrays and builtins are ever unpickled.

        Raises: RunError: If it is missing, damaged, or an array is of another kind than a run's.
        """
        path = self.folder / f"{name}.pkl"
        try:
            content = load_arrays(path)
            _check_arrays(path, content)
            return content
        except FileNotFoundError as error:
            again = "evaluate the run from its images with --data_dir"
            advice = again if self.finished else "the run did not finish: continue it with --resume"
            raise RunError(f"{path} is missing; {advice}") from error
        except ValueError as error:
            raise RunError(f"{error}; {self.way_back(path.name)}") from error

    def checkpoint(self, name: str, check: bool = True) -> dict:
        """Content of a checkpoint, on the CPU, loaded with weights_only=True; a trunk that it names
        is part of its model.

        Args:
            name: Of the file in the run's folder.
            check: Whether to compute checksums, for which all of the files is read.

        Raises: RunError.
        """
        path = self.folder / Path(name).name  # config.json names it, which may come from others
        try:
            content = tensors.load(path, check)
        except FileNotFoundError as error:
            raise RunError(f"{path} is missing; {self.way_back(path.name)}") from error
        except Exception as error:  # damaged bytes can raise almost anything
            raise RunError(
                f"{path} cannot be read as a checkpoint ({type(error).__name__}), it may be"
                f" damaged; {self.way_back(path.name)}"
            ) from error
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            found = content.get("format") if isinstance(content, dict) else type(content).__name__
            raise RunError(
                f"{path} is a checkpoint of another version (format {found!r}, expected {FORMAT})"
            )
        if content.get("trunk") is not None:
            content["model"] = {**self._trunk(path, content["trunk"], check), **content["model"]}
        return content

    def _trunk(self, checkpoint: Path, digest: str, check: bool) -> dict:
        """The trunk that a checkpoint names. Raises: RunError."""
        file = find_trunk(self.folder, digest) if _is_digest(digest) else None
        if file is None:
            raise RunError(
                f"{checkpoint} needs the frozen trunk {TRUNKS}/{digest}.pt of its record, which is"
                " not there. Copy it from the record that the run comes from to"
                f" {shared_place(self.folder, str(digest))}; {_WRITES_TRUNK};"
                " evaluate.py --pack makes a copy of a run that has all it needs"
            )
        try:
            content = tensors.load(file) if check else tensors.look_at(file)
            if content["trunk"] != digest:
                raise ValueError("it is another trunk")
            return content["model"]
        except Exception as error:  # damaged bytes can raise almost anything
            raise RunError(
                f"{file}, the frozen trunk of {checkpoint}, cannot be read"
                f" ({type(error).__name__}); it may be damaged: put a copy of the original"
                f" back; {_WRITES_TRUNK}"
            ) from error

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
                errors.append(str(error).partition(";")[0])  # without the way out for one alone
                continue
            for error in errors:
                print(f"warning: {error}; going on from {name}", file=sys.stderr)
                try:
                    os.replace(self.folder / name, self.folder / "last.pt")
                except OSError as error:
                    raise _unwritable(self.folder / "last.pt", error) from error
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
        name = self.config.get("result_checkpoint")
        if not isinstance(name, str) or not name:
            raise RunError(
                f"{self.folder / 'config.json'} is damaged: 'result_checkpoint' is {name!r}, not"
                " the name of a file; run it again with --overwrite"
            )
        return name

    @property
    def chose_epoch(self) -> bool:
        """Whether validation images chose the epoch that the run's results come from."""
        return self.result_checkpoint == "best.pt"

    def outputs(self, name: str = "test", scores: Mapping[str, np.ndarray] = {}) -> Outputs:
        """What the metrics need of one split: of its images with a class, and those labelled at
        inner nodes as `Outputs.coarse`.

        Args:
            name: Of the split.
            scores: Those that the run does not keep, see `training.scores.read_outputs`.

        Raises: RunError: Also if the arrays do not belong to the hierarchy.
        """
        arrays = {**self.arrays(name), **scores}
        similarity = {
            "distance": self.option("distance", str, "euc"),
            "beta": self.option("beta", Real, 1.0),
        }
        fields = ("labels", "scores", "embeddings", "class_vectors", "prototypes")
        missing = [field for field in fields if field not in arrays]
        if missing:
            raise RunError(
                f"{self.folder / name}.pkl is damaged: it has no {missing[0]!r};"
                f" {self.way_back(f'{name}.pkl')}"
            )
        optional = {field: arrays.get(field) for field in ("prototype_scores", "living")}
        given = {**{field: arrays[field] for field in fields}, **optional}
        given["train_counts"] = arrays.get("prototype_counts")
        given["clusters"], given["files"] = arrays.get("groups"), arrays.get("files")
        try:
            return outputs_of(self.hierarchy, **given, **similarity)
        except ValueError as error:
            raise RunError(f"{self.folder / name}.pkl: {error}") from error

    def arrays_of_classes(self, name: str) -> dict[str, np.ndarray]:
        """The arrays of a split without the images that are labelled at inner nodes, in the order
        of `outputs`. Raises: RunError.
        """
        arrays = self.arrays(name)
        labels = np.asarray(arrays.get("labels", ()))
        if not np.issubdtype(labels.dtype, np.integer):
            return arrays
        kept = labels < self.hierarchy.num_classes
        own = {key: arrays[key][kept] for key in _OF_IMAGES if arrays.get(key) is not None}
        return arrays if kept.all() else {**arrays, **own}

    # ---- writing

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps other processes out of the folder while this one lives, and removes what a killed
        one half wrote.

        Raises: RunError: If another one holds it already, or the folder cannot be written.
        """
        with ExitStack() as stack:
            try:
                made, held = self._lock(stack)
                if held:
                    remove_leftovers(self.folder)
                    for path in self.folder.glob(".*.tmp"):
                        if _OLD_TEMPORARY.fullmatch(path.name):
                            path.unlink(missing_ok=True)
            except OSError as error:
                raise _unwritable(self.folder, error) from error
            if not held:
                raise RunError(
                    f"{self.folder} is being written by another process; wait for it or choose"
                    " other options"
                )
            stack.callback(self._remove_if_unused, made)  # while the lock is still held
            yield

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

    def clear(self) -> None:
        """Removes the files of an earlier run and what was made of it, the sign of its end first;
        all else stays. Raises: RunError: If one cannot be removed.
        """
        derived = [path.name for pattern in DERIVED for path in self.folder.glob(pattern)]
        for name in [*_CLEARED, *derived]:
            try:
                (self.folder / name).unlink(missing_ok=True)
            except OSError as error:  # a folder of this name, say
                raise _unwritable(self.folder / name, error) from error
            self._forget(name)

    def write_epochs(self, rows: list[dict]) -> None:
        self.write_table("epochs.csv", pd.DataFrame(rows))

    def log(self, line: str) -> None:
        """Prints a line, clear of progress bars, and appends it to log.txt with the time."""
        line = one_line(line)
        tqdm.write(line)
        path = self.folder / "log.txt"
        try:
            with open_to_append(path) as file:
                file.write(f"{datetime.now():%Y-%m-%d %H:%M:%S} {line}\n")
        except OSError as error:
            raise _unwritable(path, error) from error

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
        all its tables.
        """
        text = _csv(metrics)
        checksums = {
            path.name: _digest(path.read_bytes())
            for path in sorted(self.folder.glob("*.csv"))
            if path.name != "split.csv"
        }
        self.write_json(CHECKSUMS, {**checksums, "metrics.csv": _digest(encoded(text))})
        self.write_text("metrics.csv", text)

    def save_checkpoint(self, name: str, content: Mapping) -> None:
        """Tensors and builtins only. The previous last.pt stays as last-1.pt until the next one is
        whole.
        """
        content = tensors.dump({"format": FORMAT, **content})
        self._replace(name, content, "last-1.pt" if name == "last.pt" else None)

    def save_trunk(self, digest: str, state: Mapping[str, torch.Tensor]) -> None:
        """Puts a frozen trunk where all runs of the record find it, if it is not there already or
        damaged.

        Args:
            digest: Its hash, see `models.trunk_digest`.
            state: Its part of a classifier's state dict.
        """
        path = shared_place(self.folder, digest)
        try:
            if tensors.load(path)["trunk"] == digest:
                return
        except Exception:  # missing or damaged
            pass
        content = tensors.dump({"format": FORMAT, "trunk": digest, "model": state})
        try:
            write_whole(path, content)
        except OSError as error:
            raise _unwritable(path, error) from error

    def _replace(self, name: str, content: bytes, keep: str | None = None) -> None:
        """Writes a file that appears whole, once it is on the disk; the one it replaces stays under
        the name `keep`.
        """
        path = self.folder / name
        try:
            write_whole(path, content, keep)
        except OSError as error:
            raise _unwritable(path, error) from error
        self._forget(name)

    def _forget(self, name: str) -> None:
        """What was read of a file that has changed; of metrics.csv, that the run was unfinished."""
        stem = name.partition(".")[0]
        for read in (stem, "_checksums") if stem in _READ_ONCE else ("_checksums",):
            self.__dict__.pop(read, None)

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

    def _changed(self, name: str) -> RunError:
        """A file does not have its checksum."""
        cause = "it was damaged or changed"
        if name.endswith(".csv"):
            cause = "it was damaged or, as by a spreadsheet program, changed and saved"
        again = self.way_back(name).removeprefix("put a copy of the original back, or ")
        return RunError(
            f"{self.folder / name} is not as the run wrote it: {cause}; put a copy of the original"
            f" back, or {again}"
        )

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


class Bystander(Run):
    """A read-only view of a run's folder, for the processes that train along with the one that
    writes it.
    """

    @contextmanager
    def lock(self) -> Iterator[None]:
        yield

    def clear(self) -> None:
        pass

    def log(self, line: str) -> None:
        pass

    def save_trunk(self, digest: str, state: Mapping[str, torch.Tensor]) -> None:
        pass

    def _replace(self, name: str, content: bytes, keep: str | None = None) -> None:
        pass


def _check_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Raises: ValueError: If an array is none, has other dimensions or another type than that of a
    run, or not a row for each image.
    """
    images = len(arrays["labels"]) if np.ndim(arrays.get("labels")) else None
    for name, (dimensions, kinds) in _ARRAYS_ARE.items():
        array = arrays.get(name)
        if array is None and (name not in _NEEDED or (name not in arrays and name != "labels")):
            continue
        plain = isinstance(array, np.ndarray) and array.ndim == dimensions
        if not plain or array.dtype.kind not in kinds:
            is_ = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else repr(array)
            raise ValueError(
                f"{path} is damaged: {name!r} is {shortened(is_)}, where a run has {dimensions}"
                f" dimensions of {'text' if 'U' in kinds else 'numbers'}"
            )
        if name in _OF_IMAGES and len(array) != images:
            raise ValueError(f"{path} is damaged: {len(array)} {name} of {images} images")


def _unwritable(path: Path, error: OSError) -> RunError:
    return RunError(
        f"cannot write {path}: {error.strerror or error}; make room or permit writing there (a"
        " training goes on with --resume), or take another place: --record, or a copy of the run"
    )


def _is_digest(text: object) -> bool:
    return isinstance(text, str) and re.fullmatch("[0-9a-f]{32}", text) is not None


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
