"""What a store took although its answer was lost, and refusals of what is not a URI."""

import pytest

from runs import mlflow_log
from runs.folder import FORMAT, Run
from tests.test_tracking import client_of, needs_mlflow, steps


@needs_mlflow
def test_an_epoch_whose_answer_was_lost_is_not_sent_again(tmp_path, monkeypatch):
    from mlflow import MlflowClient

    store, record = f"sqlite:///{tmp_path}/mlflow.db", Run(tmp_path / "seed1")
    record.folder.mkdir()
    options = {"dataset": "folder", "epochs": 3}
    record.write_config({"format": FORMAT, "options": options, "command": ["train.py"]})
    rows = [{"epoch": e, "train_loss": 1.0 / e} for e in (1, 2)]
    record.write_epochs(rows[:1])
    log_batch = MlflowClient.log_batch

    def take_and_fail(client, run_id, metrics=(), **others):
        log_batch(client, run_id, metrics=metrics, **others)
        if any(entry.step == 2 for entry in metrics):
            raise TimeoutError("no answer")

    with mlflow_log.Tracker(store, record) as tracker:
        record.write_epochs(rows)
        with monkeypatch.context() as patch:
            patch.setattr(MlflowClient, "log_batch", take_and_fail)
            tracker.epoch(rows[1])
        assert tracker.lost and tracker.state["epochs"] == 1
        assert tracker._attempt(tracker._catch_up)
    assert steps(client_of(store), tracker.state["run_id"], "train_loss") == [1, 2]


@pytest.mark.parametrize(
    "uri", ["S3CRET@host:5000", "host:5000/S3CRET", "host?k=S3CRET", "ftp://S3CRET@host"]
)
def test_a_refusal_of_what_is_no_uri_shows_no_secret(uri, monkeypatch):
    monkeypatch.setattr(mlflow_log.importlib.util, "find_spec", lambda name: name)
    with pytest.raises(ValueError, match="--mlflow .*host.*HOST:PORT") as error:
        mlflow_log.check_uri(uri)
    assert "S3CRET" not in str(error.value)
