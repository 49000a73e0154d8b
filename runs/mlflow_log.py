"""A second copy of a run in MLflow, for who compares runs there; the run's folder stays the source of truth.

    python train.py ... --mlflow http://127.0.0.1:5000        a server
    python train.py ... --mlflow sqlite:///mlflow.db          a local store; artefacts go to mlartifacts beside it

The experiment is the dataset, the run is named after the folder: <method and options>/seed<k>. Logged are all options
as parameters, the command as a tag, the columns of epochs.csv by epoch, the numbers of metrics.csv under test/, and as
artefacts the files in ARTEFACTS and the checkpoint that the results come from. What is not a finite number is left out.

Training never waits long for a store and never fails with it. What could not be sent is sent when the run ends, when it
is resumed, or by the same command once it is finished: mlflow.json in the run's folder says what the store has already.
MLflow is an optional package, imported only when it is asked for; its reports to its makers are switched off.
"""  # noqa: E501

import importlib.util
import json
import logging
import math
import os
import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Real
from pathlib import Path
from urllib.parse import urlsplit

from files.locks import file_lock
from files.paths import as_typed
from runs.files import MLFLOW
from runs.folder import Run

ARTEFACTS = ("config.json", "hierarchy.json", "epochs.csv", "metrics.csv", "log.txt")
SECONDS_FOR_ANSWERS = 5  # for one answer, while training waits; a second try doubles it
SECONDS_FOR_FILES = 30  # the same while files are sent, when training is over
QUIET = ("mlflow", "alembic", "urllib3")  # their warnings repeat what is said once here
NEEDED = {"http": ("mlflow",), "https": ("mlflow",), "sqlite": ("mlflow", "sqlalchemy", "alembic")}
LONGEST_PARAMETER = 500  # characters, of the older servers
BATCH = {"metrics": 500, "params": 100}  # entries that a server takes at once


def public_uri(uri: str) -> str:
    """The URI without what may be a secret: names before '@', the path and the query of a server.

    A local store is a file and is shown whole, without a query.
    """
    scheme, separator, rest = uri.partition("://")
    if scheme == "sqlite":
        return uri.partition("?")[0]
    if not separator:  # not a URI, which is refused
        return re.split(r"[/?#]", uri, maxsplit=1)[0].rpartition("@")[2]
    place = re.split(r"[/?#]", rest, maxsplit=1)[0]
    host = place.rpartition("@")[2]
    hidden = "/..." if rest.rstrip("/") != host else ""
    return f"{scheme}://{host}{hidden}"


def without_secrets(arguments: Sequence[str]) -> list[str]:
    """Arguments of a command line with the public form of what --mlflow names."""
    shown, follows = [], False
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        if follows or (flag == "--mlflow" and equals):
            value = argument if follows else value
            shown.append(f"{'' if follows else '--mlflow='}{public_uri(value)}")
        else:
            shown.append(argument)
        follows = argument == "--mlflow"
    return shown


def _hide(uri: str, text: str) -> str:
    """A text of a client or server without the secrets of the URI."""
    text = text.replace(uri, public_uri(uri))
    if uri.startswith("sqlite:"):
        return text
    rest = uri.partition("://")[2]
    place, _, behind = rest.partition("/")
    user, at, _ = place.rpartition("@")
    for secret in sorted({user, *re.split(r"[/?&#=:]", f"{behind}/{user}")}, key=len, reverse=True):
        if len(secret) > 3 and (at or secret != user):
            text = text.replace(secret, "...")
    return text


def check_uri(uri: str | None) -> None:
    """Says at once what could never work: a missing package, or a URI that names no server and no
    store.

    Raises: ValueError: With the way out. Whether the server answers is not tried: training does not
    depend on it.
    """
    if uri is None:
        return
    try:
        parts = urlsplit(uri)
        named = (
            parts.scheme in NEEDED
            and (parts.scheme == "sqlite" or parts.hostname)
            and parts.port != 0
        )
    except ValueError:  # of brackets and ports that are none
        named = False
    if not named:
        raise ValueError(
            f"--mlflow {public_uri(uri)}: give a server, http://HOST:PORT, or a local store, sqlite:///FILE.db"
        )
    if parts.password is not None:
        raise ValueError(
            "--mlflow: a password would be recorded; leave it to the variable"
            " MLFLOW_TRACKING_PASSWORD"
        )
    missing = [name for name in NEEDED[parts.scheme] if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(
            f"--mlflow {public_uri(uri)} needs the package {missing[0]}, which is not here:"
            " pip install mlflow"
        )
    if parts.scheme == "sqlite":
        _check_store(uri)


def _check_store(uri: str) -> None:
    """Refuses a file that can never be a store; MLflow would try again and again for minutes."""
    path = _store(uri)
    if path is None:
        raise ValueError(
            f"--mlflow {uri} names no file: give sqlite:///FILE.db, or sqlite:////FOLDER/FILE.db"
        )
    place = next((place for place in (path, *path.absolute().parents) if place.exists()), None)
    if place is None:
        drive = path.absolute().anchor
        raise ValueError(f"--mlflow {uri}: there is no drive {drive}; choose another file")
    if not os.access(place, os.R_OK | os.W_OK):
        raise ValueError(f"--mlflow {uri}: {place} cannot be written; choose another file")
    if path.is_dir() or (path.exists() and not _is_database(path)):
        raise ValueError(f"--mlflow {uri}: {path} is not a SQLite database; choose another file")


def _is_database(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(15) in (b"", b"SQLite format 3")


def _store(uri: str) -> Path | None:
    """The file of a sqlite URI; None for a server, or where it names no file."""
    match = re.fullmatch(r"sqlite:///([^?]+)(\?.*)?", uri)
    return Path(match[1]) if match else None


class Tracker:
    """Sends a recorded run to MLflow as it goes on; a context that also says how the run ended.

    Args:
        uri: Server or store, as `check_uri` lets it pass; None to do nothing.
        record: The run, with its config.json. Epochs recorded before are sent first where the store
            lacks them.

    No method raises because of the store: the first failure is logged, and what is missing waits
    for `finish`.
    """

    def __init__(self, uri: str | None, record: Run):
        self.uri, self.record = uri, record
        self.state = {"run_id": None, "epochs": 0, "complete": False, **_read_state(record)}
        shown = None if uri is None else public_uri(uri)
        self.state["complete"] &= record.finished and self.state.get("uri") in (uri, shown)
        self.lost = self._connected = False
        self._client, self._address = None, ""
        self._pending: list[
            tuple[int, Mapping]
        ] = []  # (milliseconds since 1970, row) of epochs to be sent

    def __enter__(self) -> "Tracker":
        if self.uri is not None and not self.state["complete"] and self._attempt(self._catch_up):
            self.record.log(f"mlflow: {self._address}")
        return self

    def epoch(self, row: Mapping) -> None:
        """Takes a row of epochs.csv, its epoch counted from 1, that is in the file already."""
        if self.uri is None or row["epoch"] <= self.state["epochs"]:
            return
        self._pending.append((_now(), row))
        if not self.lost:
            self._attempt(self._catch_up)

    def finish(self) -> None:
        """Sends the results of a finished run, and first whatever is missing, even to a store that
        was lost before.
        """
        if self.uri is None or self.state["complete"]:
            return
        lost = self.lost
        if self._attempt(self._catch_up) and self._attempt(self._send_metrics):
            whole = self._attempt(self._send_files, SECONDS_FOR_FILES)
            if self._attempt(lambda: self._end("FINISHED", complete=whole)) and whole and lost:
                self.record.log(f"mlflow: the store is back and has everything: {self._address}")

    def __exit__(self, kind: type | None, *_) -> None:
        if kind is not None and self._connected and not self.lost:
            self._attempt(
                lambda: self._end("KILLED" if issubclass(kind, KeyboardInterrupt) else "FAILED")
            )

    def _attempt(self, send: Callable[[], None], seconds: int | None = None) -> bool:
        """Whether the store took what `send` sends; the first failure is logged, none is raised."""
        try:
            with _short_timeouts(SECONDS_FOR_ANSWERS if seconds is None else seconds):
                send()
        except (
            Exception
        ) as error:  # the client's, the server's, the network's: none may stop a training
            if not self.lost:
                self.record.log(
                    f"mlflow: {public_uri(self.uri)} fails ({_hide(self.uri, _reason(error))});"
                    f" going on without it. {self.record.folder} has everything, and what the store"
                    " lacks is sent when the run ends or, later, by the same command"
                )
            self.lost = True
            self._connected = False  # how much of it the store took has to be asked
            return False
        return True

    def _catch_up(self) -> None:
        if not self._connected:
            self._connect()
            self._connected = True
        if self._pending:
            self._log(
                metrics=[
                    metric
                    for now, row in self._pending
                    for metric in _metrics(row, row["epoch"], now)
                ]
            )
            self._keep(epochs=int(self._pending[-1][1]["epoch"]))
            self._pending.clear()

    def _connect(self) -> None:
        """Finds the run of mlflow.json in the store or makes one, and looks what is still to be
        sent.
        """
        from mlflow import MlflowClient
        from mlflow.entities import Param

        with _alone_with(_store(self.uri)):
            self._client = MlflowClient(self.uri)
            if _has_run(self._client, self.state["run_id"]):
                self._client.update_run(self.state["run_id"], status="RUNNING")
            else:
                self._keep(run_id=self._create(), epochs=0)
        run = self._client.get_run(self.state["run_id"]).info
        shown = public_uri(self.uri).rstrip("/")
        where = f"{shown}/#/experiments/{run.experiment_id}/runs/{run.run_id}"
        self._address = f"run {run.run_id} in {shown}" if _store(self.uri) else where
        options = self.record.options.items()  # taken again where they are equal
        self._log(params=[Param(name, str(value)[:LONGEST_PARAMETER]) for name, value in options])
        rows = self.record.epochs.to_dict("records")
        sent = self._epochs_there()
        self._pending = [(_now(), row) for row in rows if row["epoch"] not in sent]

    def _epochs_there(self) -> set[int]:
        """Epochs that the store has: a kill between sending one and noting it leaves it one ahead
        of mlflow.json.
        """
        history = self._client.get_metric_history(self.state["run_id"], "train_loss")
        return {*range(1, self.state["epochs"] + 1), *(metric.step for metric in history)}

    def _create(self) -> str:
        config, folder = self.record.config, self.record.folder.absolute()
        command = config.get("command") or ["?"]
        tags = {"command": as_typed(["python", *command]), "mlflow.source.name": command[0]}
        tags |= {"git": str(config.get("git")), "folder": str(folder)}
        experiment = _experiment(self._client, self.record.options["dataset"], self.uri)
        name = f"{folder.parent.name}/{folder.name}"
        return self._client.create_run(experiment, tags=tags, run_name=name).info.run_id

    def _log(self, **entries: list) -> None:
        """Metrics or params, in portions that a server takes."""
        for kind, values in entries.items():
            for start in range(0, len(values), BATCH[kind]):
                self._client.log_batch(
                    self.state["run_id"], **{kind: values[start : start + BATCH[kind]]}
                )

    def _send_metrics(self) -> None:
        table = Run(self.record.folder).metrics
        self._log(
            metrics=_metrics(
                {f"test/{name}": value for name, value in zip(table["metric"], table["value"])}
            )
        )

    def _send_files(self) -> None:
        for name in (*ARTEFACTS, self.record.result_checkpoint):
            self._client.log_artifact(self.state["run_id"], str(self.record.folder / name))

    def _end(self, status: str, complete: bool = False) -> None:
        self._client.set_terminated(self.state["run_id"], status)
        self._keep(complete=complete)

    def _keep(self, **changes) -> None:
        self.state.update(changes)
        self.record.write_json(MLFLOW, {**self.state, "uri": public_uri(self.uri)})


def mlflow_name(name: str) -> str:
    """A metric's name as MLflow takes it: accuracy@5 becomes accuracy_at_5, other signs become
    underscores.
    """
    return re.sub(r"[^\w./ -]", "_", name.replace("@", "_at_"))


def _metrics(numbers: Mapping, step: int = 0, now: int | None = None) -> list:
    """Entries of the finite numbers; the epoch is left out, it is the step."""
    from mlflow.entities import Metric

    finite = {
        name: value
        for name, value in numbers.items()
        if isinstance(value, Real) and math.isfinite(value)
    }
    finite.pop("epoch", None)
    return [
        Metric(mlflow_name(name), float(value), now or _now(), int(step))
        for name, value in finite.items()
    ]


@contextmanager
def _alone_with(store: Path | None) -> Iterator[None]:
    """Within it no other run uses a local store: several that make its tables at once break it."""
    if store is None:
        yield
        return
    store.absolute().parent.mkdir(parents=True, exist_ok=True)
    waiting = f"another run is using {store}: waiting for it"
    with file_lock(store.with_name(f".{store.name}.lock"), waiting=waiting):
        yield


def _experiment(client, name: str, uri: str) -> str:
    """The id of the experiment of that name, made if there is none."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        store = _store(uri)
        place = None if store is None else (store.absolute().parent / "mlartifacts").as_uri()
        try:
            return client.create_experiment(name, artifact_location=place)
        except MlflowException:  # another run of a sweep was faster
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    return found.experiment_id


def _has_run(client, run_id: str | None) -> bool:
    from mlflow.exceptions import MlflowException

    if run_id is None:
        return False
    try:
        return client.get_run(run_id).info.lifecycle_stage == "active"
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise


def _read_state(record: Run) -> dict:
    """What mlflow.json says; nothing where there is none or it is damaged, and then the run is sent
    anew.
    """
    try:
        state = json.loads((record.folder / MLFLOW).read_text("utf-8"))
        wanted = {"run_id": str, "epochs": int, "complete": bool}
        return state if all(isinstance(state[key], kind) for key, kind in wanted.items()) else {}
    except (OSError, ValueError, LookupError, TypeError):
        return {}


@contextmanager
def _short_timeouts(seconds: int) -> Iterator[None]:
    """Within it MLflow gives up after two tries of so many seconds, and prints and reports nothing.

    Variables that the user has set are obeyed instead.
    """
    wanted = {
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(seconds),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    added = {name: value for name, value in wanted.items() if name not in os.environ}
    levels = {logger: logger.level for logger in map(logging.getLogger, QUIET)}
    os.environ.update(added)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import mlflow  # noqa: F401  it sets the level of its own logger

            for logger in levels:
                logger.setLevel(logging.CRITICAL)
            yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)
        for name in added:
            os.environ.pop(name, None)


def _reason(error: BaseException) -> str:
    """The first cause of an error, in one short line; MLflow wraps a refused connection five times
    over.
    """
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__
    return re.sub(r"\s+", " ", f"{type(error).__name__}: {error}")[:200]


def _now() -> int:
    return time.time_ns() // 1_000_000
