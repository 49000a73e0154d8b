"""Runs logged to MLflow: a real server and a local store, and what happens without them."""

import contextlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image
from recorded import write_run
from trained import train_small
from waiting import PATIENCE, wait_until

import train
from runs import mlflow_log
from runs.folder import Run
from training import loop

needs_mlflow = pytest.mark.skipif(
    find_spec("mlflow") is None, reason="the optional package mlflow is not installed"
)
ARTEFACTS = {"config.json", "hierarchy.json", "epochs.csv", "metrics.csv", "log.txt"}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Three classes of six grey images each, by their brightness."""
    root, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for c, name in enumerate(("Animals/Copepods", "Animals/Worms", "Plants")):
        (root / name).mkdir(parents=True)
        for i in range(6):
            Image.fromarray(rng.integers(60 * c, 60 * c + 60, (16, 16)).astype(np.uint8)).save(
                root / name / f"{i}.png"
            )
    return root


@pytest.fixture
def run(images, tmp_path):
    """Calls train.py's main on the images; returns the exit status and the run."""

    def call(*argv):
        sizes = ("--gray", "--dim", "4", "--batch_size", "4")
        return train_small(images, tmp_path, *sizes, "--method", "softmax", "--use_val", *argv)

    return call


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """The URI of a local store with its tables, which take two seconds to make."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"
    client_of(uri).search_experiments()
    return uri


def client_of(uri):
    from mlflow import MlflowClient

    return MlflowClient(uri)


def logged(uri, record):
    """The MLflow run of a recorded one, of which there must be exactly one."""
    client = client_of(uri)
    experiment_id = client.get_experiment_by_name("folder").experiment_id
    runs = [
        found
        for found in client.search_runs([experiment_id])
        if found.data.tags["folder"] == str(record.folder)
    ]
    assert len(runs) == 1
    return client, runs[0]


def steps(client, run_id, metric):
    return [entry.step for entry in client.get_metric_history(run_id, metric)]


def free_port():
    """A port below those that systems give to whoever asks for any: it is still free later."""
    while True:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", random.SystemRandom().randint(20_000, 30_000)))
            return probe.getsockname()[1]


class Server:
    """A real MLflow server over a store in a folder; to start it takes some ten seconds."""

    def __init__(self, folder):
        self.folder, self.port, self.process = folder, free_port(), None
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self):
        command = [
            *(sys.executable, "-m", "mlflow", "server", "--workers", "1"),
            *("--host", "127.0.0.1", "--port", str(self.port)),
            *("--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db"),
            *("--artifacts-destination", str(self.folder / "artefacts")),
        ]
        environment = {
            **os.environ,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }
        path = self.folder / "server.log"
        with path.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(
            lambda: self.process.poll() is not None or answers(f"{self.uri}/health"), path.read_text
        )
        assert self.process.poll() is None, path.read_text()

    def kill(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def answers(address):
    try:
        with urllib.request.urlopen(address, timeout=10) as answer:
            return answer.status == 200
    except OSError:
        return False


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A server that runs, for all tests."""
    server = Server(tmp_path_factory.mktemp("served"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mlflow_log, "SECONDS_FOR_ANSWERS", PATIENCE)  # on a busy machine
        try:
            server.start()
            yield server
        finally:
            server.kill()


@needs_mlflow
def test_a_run_is_read_back_from_a_server(run, served, tmp_path, capfd):
    uri = served.uri
    status, record = run("--mlflow", uri)
    assert status == 0 and capfd.readouterr().err.count("MLflow") == 0
    client, found = logged(uri, record)
    assert (
        found.info.run_name == f"{record.folder.parent.name}/seed1"
        and found.info.status == "FINISHED"
    )
    assert found.data.params == {name: str(value) for name, value in record.options.items()}
    assert found.data.tags["command"].split()[0] == "python"
    row = record.epochs.iloc[0].drop("epoch").dropna()
    assert {"train_loss", "val_accuracy"} <= set(row.index)
    for name, value in row.items():
        (entry,) = client.get_metric_history(found.info.run_id, mlflow_log.mlflow_name(name))
        assert entry.step == 1 and entry.value == pytest.approx(value)
    table = record.metrics[np.isfinite(record.metrics["value"])]
    expected = {
        f"test/{mlflow_log.mlflow_name(name)}": value
        for name, value in zip(table["metric"], table["value"])
    }
    results = {
        name: value for name, value in found.data.metrics.items() if name.startswith("test/")
    }
    assert results == pytest.approx(expected) and "test/accuracy" in results
    assert {file.path for file in client.list_artifacts(found.info.run_id)} == {
        *ARTEFACTS,
        "best.pt",
    }
    for name in ("best.pt", "metrics.csv"):
        copy = client.download_artifacts(found.info.run_id, name, str(tmp_path))
        assert open(copy, "rb").read() == (record.folder / name).read_bytes()


@needs_mlflow
def test_a_run_that_loses_its_server_goes_on_and_the_same_command_completes_it(
    run, served, monkeypatch, capfd
):
    uri, train_epoch, done = served.uri, loop._train_epoch, []

    def kill_in_the_second(*arguments):
        done.append(1)
        if len(done) == 2:
            served.kill()
        return train_epoch(*arguments)

    monkeypatch.setattr(loop, "_train_epoch", kill_in_the_second)
    status, record = run("--mlflow", uri, "--epochs", "3")
    said = [
        line for line in (record.folder / "log.txt").read_text().splitlines() if "mlflow:" in line
    ]
    assert status == 0 and record.finished and len(record.epochs) == 3
    assert (
        len(said) == 2
        and "/#/experiments/" in said[0]
        and "refused" in said[1]
        and "going on without" in said[1]
    )
    assert "urllib3" not in (error := capfd.readouterr().err) and "Retrying" not in error
    served.start()
    client, found = logged(uri, record)
    assert found.info.status == "RUNNING" and steps(client, found.info.run_id, "train_loss") == [1]
    assert run("--mlflow", uri, "--epochs", "3")[0] == 0
    client, found = logged(uri, record)
    assert found.info.status == "FINISHED" and steps(client, found.info.run_id, "train_loss") == [
        1,
        2,
        3,
    ]
    assert (
        "test/accuracy" in found.data.metrics and len(client.list_artifacts(found.info.run_id)) == 6
    )


@needs_mlflow
def test_training_hardly_waits_for_a_server_that_does_not_answer(run, monkeypatch, capfd):
    monkeypatch.setattr(mlflow_log, "SECONDS_FOR_ANSWERS", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.monotonic()
        status, record = run(
            "--mlflow", f"http://127.0.0.1:{silent.getsockname()[1]}", "--epochs", "3"
        )
    # MLflow alone would try for a quarter of an hour
    assert status == 0 and record.finished and time.monotonic() - start < PATIENCE
    assert capfd.readouterr().out.count("mlflow:") == 1


@needs_mlflow
def test_a_server_that_comes_late_gets_the_whole_run(run, store, monkeypatch, capfd):
    connect, tries = mlflow_log.Tracker._connect, []

    def fail_first(tracker):
        tries.append(1)
        if len(tries) == 1:
            raise ConnectionRefusedError("nobody there")
        return connect(tracker)

    monkeypatch.setattr(mlflow_log.Tracker, "_connect", fail_first)
    status, record = run("--mlflow", store, "--epochs", "2")
    out = capfd.readouterr().out
    assert status == 0 and "nobody there" in out and "the store is back" in out
    client, found = logged(store, record)
    assert (
        steps(client, found.info.run_id, "val_loss") == [1, 2] and found.info.status == "FINISHED"
    )


@needs_mlflow
def test_a_resumed_run_continues_the_same_mlflow_run(run, store, monkeypatch):
    train_epoch = loop._train_epoch

    def stop_in_the_third(training, *arguments):
        if training.epoch == 2:
            raise KeyboardInterrupt
        return train_epoch(training, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_train_epoch", stop_in_the_third)
        status, record = run("--mlflow", store, "--epochs", "4")
    client, found = logged(store, record)
    assert (
        status == 130
        and found.info.status == "KILLED"
        and steps(client, found.info.run_id, "train_loss") == [1, 2]
    )
    assert run("--mlflow", store, "--epochs", "4", "--resume")[0] == 0
    client, resumed = logged(store, record)
    assert resumed.info.run_id == found.info.run_id and resumed.info.status == "FINISHED"
    assert steps(client, found.info.run_id, "train_loss") == [1, 2, 3, 4]


@needs_mlflow
def test_epochs_trained_without_mlflow_are_sent_when_it_is_asked_for(
    run, store, monkeypatch, capsys
):
    other = store.replace(".db", "-2.db")  # a store that has nothing of it yet
    shutil.copy(store.removeprefix("sqlite:///"), other.removeprefix("sqlite:///"))
    _, record = run("--epochs", "2")
    assert not (record.folder / mlflow_log.MLFLOW).exists()
    assert run("--epochs", "2", "--mlflow", store)[0] == 0
    client, found = logged(store, record)
    assert (
        steps(client, found.info.run_id, "train_loss") == [1, 2]
        and "test/accuracy" in found.data.metrics
    )
    assert run("--epochs", "2", "--mlflow", other)[0] == 0
    client, elsewhere = logged(other, record)
    assert (
        steps(client, elsewhere.info.run_id, "train_loss") == [1, 2]
        and elsewhere.info.run_id != found.info.run_id
    )
    monkeypatch.setattr(mlflow_log.Tracker, "_connect", None)  # complete: nothing more to be sent
    capsys.readouterr()
    assert (
        run("--epochs", "2", "--mlflow", other)[0] == 0 and "mlflow:" not in capsys.readouterr().out
    )


@needs_mlflow
def test_tracking_changes_no_byte_of_the_record_and_overwrite_makes_another_mlflow_run(run, store):
    options = ("--epochs", "2", "--aug")
    _, record = run(*options, "--mlflow", store)
    names = ("metrics.csv", "epochs.csv", "last.pt", "best.pt", "test.pkl")
    kept = {name: (record.folder / name).read_bytes() for name in names}
    _, first = logged(store, record)
    run(*options, "--overwrite")
    assert {name: (record.folder / name).read_bytes() for name in names} == kept
    assert not (record.folder / mlflow_log.MLFLOW).exists()
    client_of(store).delete_run(first.info.run_id)
    run(*options, "--overwrite", "--mlflow", store)
    assert logged(store, record)[1].info.run_id != first.info.run_id


@needs_mlflow
def test_a_run_whose_loss_diverges_has_failed(run, store, capsys):
    status, record = run("--mlflow", store, "--lr", "1e30")
    assert status == 1 and logged(store, record)[1].info.status == "FAILED"


def test_without_the_package_the_flag_is_refused_before_any_work(run, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    status, record = run("--mlflow", "http://127.0.0.1:5000")
    assert status == 2 and not record.exists and "pip install mlflow" in capsys.readouterr().err


@pytest.mark.parametrize(
    "uri, named",
    [
        ("localhost:5000", "http://HOST:PORT"),
        ("http:/127.0.0.1", "http://HOST:PORT"),
        ("http://127.0.0.1:50 00", "http://HOST:PORT"),
        ("postgresql://host/base", "sqlite:///FILE.db"),
        ("sqlite://", "no file"),
        ("sqlite:///{tmp}", "not a SQLite database"),
        ("sqlite:///{tmp}/text", "not a SQLite database"),
        ("https://me:secret@host", "MLFLOW_TRACKING_PASSWORD"),
    ],
)
def test_what_is_no_server_and_no_store_is_refused(monkeypatch, tmp_path, uri, named):
    monkeypatch.setattr(mlflow_log.importlib.util, "find_spec", lambda name: name)
    (tmp_path / "text").write_text("not a database")
    with pytest.raises(ValueError, match=named) as error:
        mlflow_log.check_uri(uri.format(tmp=tmp_path))
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    "uri", [None, "http://127.0.0.1:5000", "https://host/path", "sqlite:///{tmp}/new/mlflow.db"]
)
def test_servers_stores_and_nothing_are_taken(monkeypatch, tmp_path, uri):
    monkeypatch.setattr(mlflow_log.importlib.util, "find_spec", lambda name: name)
    assert mlflow_log.check_uri(uri and uri.format(tmp=tmp_path)) is None


@pytest.mark.parametrize(
    "content",
    ["", "[]", "null", '{"run_id": 3}', '{"run_id": "a", "epochs": "1", "complete": true}'],
)
def test_a_damaged_state_counts_as_none(tmp_path, content):
    (tmp_path / mlflow_log.MLFLOW).write_text(content)
    assert mlflow_log.Tracker(None, Run(tmp_path)).state == {
        "run_id": None,
        "epochs": 0,
        "complete": False,
    }


def test_metrics_get_names_that_mlflow_takes():
    assert (
        mlflow_log.mlflow_name("W/corr") == "W/corr"
        and mlflow_log.mlflow_name("hp@5_set_size") == "hp_at_5_set_size"
    )
    assert (
        mlflow_log.mlflow_name("cut_accuracy@0.125") == "cut_accuracy_at_0.125"
        and mlflow_log.mlflow_name("a<b: ä") == "a_b_ ä"
    )


@pytest.mark.parametrize(
    "uri, shown",
    [
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("http://127.0.0.1:5000/", "http://127.0.0.1:5000"),
        ("https://TOKEN@host", "https://host/..."),
        ("https://user:pass@host:8/x", "https://host:8/..."),
        ("https://host?api_key=SECRET", "https://host/..."),
        ("https://host/t/SECRET/mlflow#x", "https://host/..."),
        ("sqlite:///a/b.db", "sqlite:///a/b.db"),
        ("sqlite:///a/b.db?password=SECRET", "sqlite:///a/b.db"),
    ],
)
def test_the_public_form_of_a_uri_holds_no_secret(uri, shown):
    assert mlflow_log.public_uri(uri) == shown


def test_a_command_is_shown_without_the_secrets_of_its_uri():
    given = ["--seed", "1", "--mlflow", "http://T@h", "--GPU", "cpu", "--mlflow=http://h?k=S"]
    shown = ["--seed", "1", "--mlflow", "http://h/...", "--GPU", "cpu", "--mlflow=http://h/..."]
    assert mlflow_log.without_secrets(given) == shown


@needs_mlflow
def test_secrets_of_a_uri_are_recorded_nowhere(run, monkeypatch, capsys):
    secrets = ("T0KEN", "SECR3T", "K3Y")
    uri = f"http://T0KEN@127.0.0.1:{free_port()}/SECR3T?api_key=K3Y"
    monkeypatch.setattr(mlflow_log, "SECONDS_FOR_ANSWERS", 1)
    original = train.__name__  # the command line is that of the process
    monkeypatch.setattr("sys.argv", [f"{original}.py", "--mlflow", uri, f"--mlflow={uri}"])
    status, record = run("--mlflow", uri)
    said = "".join(capsys.readouterr())
    assert status == 0 and "mlflow: http://127.0.0.1" in said and "fails" in said
    for path in record.folder.iterdir():
        content = path.read_bytes()
        assert not any(secret.encode() in content for secret in secrets), path.name
    assert not any(secret in said for secret in secrets)
    assert record.config["command"][1:3] == ["--mlflow", mlflow_log.public_uri(uri)]


def log_at_once(uri, folders):
    """Logs recorded runs, each in a process of its own that has imported MLflow already; runs in a
    process that has no threads.
    """
    import mlflow  # noqa: F401

    def log(folder):
        with mlflow_log.Tracker(uri, Run(folder)) as tracker:
            tracker._catch_up()

    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=log, args=(folder,)) for folder in folders]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    sys.exit(any(process.exitcode for process in processes))


@needs_mlflow
def test_runs_that_start_at_once_on_a_new_store_are_all_logged(tmp_path, forked):
    store, records = tmp_path / "new.db", []
    for seed in (1, 2, 3):
        write_run(tmp_path, "DR-euc", seed, {"accuracy": 0.5})
        records.append(tmp_path / "demo" / "DR-euc" / f"seed{seed}")
    uri = f"sqlite:///{store}"
    process = forked.Process(target=log_at_once, args=(uri, records))
    process.start()
    process.join(PATIENCE)
    assert process.exitcode == 0
    client = client_of(uri)
    (experiment,) = [e for e in client.search_experiments() if e.name == "demo"]
    assert len(client.search_runs([experiment.experiment_id])) == 3


@needs_mlflow
def test_an_epoch_that_was_sent_but_not_noted_is_not_sent_again(run, store):
    status, record = run("--mlflow", store, "--epochs", "2")
    assert status == 0
    client, found = logged(store, record)
    state = json.loads((record.folder / "mlflow.json").read_text())
    # as after a kill between the two: the store has both epochs, mlflow.json one
    record.write_json("mlflow.json", {**state, "epochs": 1, "complete": False})
    with mlflow_log.Tracker(store, Run(record.folder)) as tracker:
        tracker.finish()
    assert steps(client, found.info.run_id, "train_loss") == [1, 2]
