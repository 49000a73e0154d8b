"""A run is its folder: what is in it, as values. How its files are read and written is in
`runs.files`.

Torch is imported where a checkpoint is written or read: pages and tables are made without it.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from files import system
from files.pickles import checksum_behind, load_arrays
from files.trunks import FOLDER as TRUNKS
from files.trunks import find_trunk, shared_place
from files.writing import write_whole
from hierarchies import Hierarchy
from metrics.outputs import Outputs, outputs_of
from runs import tensors
from runs.arrays import OF_IMAGES, check_arrays
from runs.files import FORMAT, OF_ANOTHER, RESUMED, RunError, RunFiles, unwritable

if TYPE_CHECKING:
    import torch

_WRITES_TRUNK = (
    "any run of the record that starts from the same network writes it again, this one with"
    " --resume if it is not finished"
)


class Run(RunFiles):
    """One run's folder.

    Files: config.json, hierarchy.json, split.csv, epochs.csv, last.pt (last-1.pt, the one before),
    best.pt, metrics.csv (written last: its presence says that the run is finished),
    checksums.json, test.pkl, val.pkl, calibration.pkl, log.txt,
    mlflow.json, started_from.csv (with --start_from). A frozen trunk is not in the checkpoints:
    they name a file in `trunks` at the top of the record, which all runs on that trunk share.
    """

    def check_tree(self) -> None:
        """Raises: RunError: If hierarchy.json is not the tree that config.json names."""
        if self.hierarchy.digest != self.config.get("hierarchy"):
            raise RunError(
                f"{self.folder / 'hierarchy.json'} is not the tree that config.json names; was it"
                " changed?"
            )

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
        return self._place("data_dir")

    @property
    def files_in(self) -> str | None:
        """The folder that the files of split.csv are relative to, `images_in` or one inside it as
        tiny-imagenet-200 may be; None where that is not known, as of runs of earlier versions.
        """
        return self._place("images")

    def _place(self, name: str) -> str | None:
        places = self.config.get("places")
        folder = places.get(name) if isinstance(places, dict) else None
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

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """Content of <name>.pkl, of one of ARRAYS. Only arrays and builtins are ever unpickled.

        Raises: RunError: If it is missing, damaged, or an array is of another kind than a run's.
        """
        path = self.folder / f"{name}.pkl"
        try:
            content = load_arrays(path)
            check_arrays(path, content)
            self._check_own(path.name, checksum_behind(path))
            return content
        except FileNotFoundError as error:
            again = self.way_back(path.name)
            if name == "test":
                again += "; or evaluate the run from its images, evaluate.py --data_dir"
            advice = again if self.finished else "the run did not finish: continue it with --resume"
            raise RunError(f"{path} is missing; {advice}") from error
        except RunError:
            raise
        except ValueError as error:
            raise RunError(f"{error}; {self.way_back(path.name)}") from error

    def arrays_of_classes(self, name: str) -> dict[str, np.ndarray]:
        """The arrays of a split without the images that are labelled at inner nodes, in the order
        of `outputs`. Raises: RunError.
        """
        arrays = self.arrays(name)
        labels = np.asarray(arrays.get("labels", ()))
        if not np.issubdtype(labels.dtype, np.integer):
            return arrays
        kept = labels < self.hierarchy.num_classes
        own = {key: arrays[key][kept] for key in OF_IMAGES if arrays.get(key) is not None}
        return arrays if kept.all() else {**arrays, **own}

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
        hierarchy = self.hierarchy
        try:
            return outputs_of(hierarchy, **given, **similarity)
        except ValueError as error:
            raise RunError(f"{self.folder / name}.pkl: {error}") from error

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
        of = content.get("run")
        if of is not None and self.exists and of != self._digest and self._is_sealed:
            raise self._changed(path.name, OF_ANOTHER)
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
        names = [name for name in RESUMED if (self.folder / name).exists()]
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
                    system.replace(self.folder / name, self.folder / "last.pt")
                except OSError as error:
                    raise unwritable(self.folder / "last.pt", error) from error
            return content
        if errors:
            raise RunError(
                f"no checkpoint can be resumed: {'; '.join(errors)}; start again with --overwrite"
            )
        return None

    @property
    def _digest(self) -> str:
        """By which checkpoints are told from those of other runs: of all that decides the result,
        so that the same run makes the same ones wherever it is.
        """
        known = [self.config.get(name) for name in ("options", "hierarchy", "split")]
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:32]

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

    def write_epochs(self, rows: list[dict]) -> None:
        self.write_table("epochs.csv", pd.DataFrame(rows))

    def save_checkpoint(self, name: str, content: Mapping) -> None:
        """Tensors and builtins only. The previous last.pt stays as last-1.pt until the next one is
        whole.
        """
        known = {"run": self._digest} if self.exists else {}
        content = tensors.dump({"format": FORMAT, **known, **content})
        self._replace(name, content, "last-1.pt" if name == "last.pt" else None)
        if name == "last.pt":
            self._drop_replaced()

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
            raise unwritable(path, error) from error


class Bystander(Run):
    """A read-only view of a run's folder, for the processes that train along with the one that
    writes it.
    """

    @contextmanager
    def lock(self) -> Iterator[None]:
        yield

    def make_room(self) -> None:
        pass

    def _drop_replaced(self) -> None:
        pass

    def log(self, line: str) -> None:
        pass

    def save_trunk(self, digest: str, state: Mapping[str, torch.Tensor]) -> None:
        pass

    def _replace(self, name: str, content: bytes, keep: str | None = None) -> None:
        pass


def _is_digest(text: object) -> bool:
    return isinstance(text, str) and re.fullmatch("[0-9a-f]{32}", text) is not None
