"""That the loop gives losses what they read, trains what one of them learns, and keeps it."""

import pytest
import torch
from test_wiring import SPLITS, STEPS, Memory, build, column, fit
from torch.testing import assert_close

from evaluation.model import load_model
from runs.folder import FORMAT, Run
from training import loop


def test_a_loss_gets_what_it_reads_in_the_order_of_its_arguments(monkeypatch):
    training, seen = build("--loss", "haframe", "--epochs", "1"), []
    forward = training.loss.forward

    def spy(scores, cosines, targets):
        seen.append((scores, cosines))
        return forward(scores, cosines, targets)

    monkeypatch.setattr(training.loss, "forward", spy)
    loop.fit(training, SPLITS, Memory())
    scores, cosines = seen[0]
    assert_close(scores, -5 * (2 - 2 * cosines).log(), rtol=1e-4, atol=1e-4)  # of ProxyDR


def test_a_step_scores_each_level_once(monkeypatch):
    training, rows = build("--loss", "level_ce", "--epochs", "1", method="levels"), []
    head = training.model.head
    linear = head._linear

    def spy(embeddings, weight, bias):
        rows.extend([len(weight)] if head.training else [])
        return linear(embeddings, weight, bias)

    monkeypatch.setattr(head, "_linear", spy)
    loop.fit(training, SPLITS, Memory())
    assert rows == [len(head.level_vectors(None))] * STEPS


def test_what_aigdl_learns_trains_is_kept_and_scores_no_image(tmp_path):
    training, record = fit("--loss", "aigdl", "--epochs", "1", method="levels")
    other = build("--loss", "aigdl", "--epochs", "1", method="levels")
    moved = [(a - b).abs().max() for a, b in zip(training.loss.delta, other.loss.delta)]
    assert max(moved) > 1e-3
    other.restore(record.checkpoints["last.pt"])
    for one, theirs in zip(other.loss.delta, training.loss.delta):
        assert_close(one, theirs)
    run = Run(tmp_path / "run")
    run.clear()
    run.write_json("hierarchy.json", SPLITS.hierarchy.to_dict())
    made = {"hierarchy": SPLITS.hierarchy.digest, "result_checkpoint": "last.pt"}
    options = {**training.options, "resize": 16}
    run.write_json("config.json", {"format": FORMAT, "options": options, **made})
    run.save_checkpoint("last.pt", record.checkpoints["last.pt"])
    embeddings = torch.randn(3, 8)
    restored = load_model(Run(run.folder))
    assert_close(restored.head(embeddings), training.model.eval().head(embeddings))


@pytest.mark.parametrize(
    ("method", "flags"),
    [
        ("levels", ["--level_features", "chain", "--loss", "tk"]),
        ("conditional", ["--loss", "random_cut", "--cut_probability", "0.5"]),
    ],
)
def test_heads_and_losses_of_the_field_learn_and_go_on_to_the_same_numbers(method, flags):
    flags = [*flags, "--epochs", "2"]
    whole, record = fit(*flags, method=method)
    assert column(record, "train_loss")[1] < column(record, "train_loss")[0]
    half, memory = build(*flags, method=method), Memory()
    half.options = {**half.options, "epochs": 1}
    loop.fit(half, SPLITS, memory)
    other = build(*flags, method=method)
    other.restore(memory.checkpoints["last.pt"])
    loop.fit(other, SPLITS, Memory())
    for one, theirs in zip(other.model.parameters(), whole.model.parameters()):
        assert torch.equal(one, theirs)
