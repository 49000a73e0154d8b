"""The script that a GPU is waiting for runs on the CPU, in tiny."""

import json

import pytest

from benchmarks import gpu


def test_the_plan_ends_before_eight_minutes(capsys):
    assert gpu.main(["--plan"]) == 0
    said = capsys.readouterr().out.split()
    assert int(said[-2]) == sum(gpu.PLAN.values()) < 480
    assert list(gpu.PLAN) == list(gpu.PARTS)


def test_the_reduced_form_runs_to_its_end_on_the_cpu(tmp_path, monkeypatch):
    def here(name, limit, options):  # not in a process of its own, which would import torch again
        numbers = gpu.PARTS[name](options.device, options.reduced)
        return {"status": "ok", "seconds": 0.0, "numbers": json.loads(json.dumps(numbers))}

    monkeypatch.setattr(gpu, "run_part", here)
    assert gpu.main(["--reduced", "--device", "cpu", "--out", str(tmp_path)]) == 0
    parts = json.loads((tmp_path / "gpu.json").read_text())["parts"]
    assert list(parts) == list(gpu.PLAN)
    numbers = {name: part["numbers"] for name, part in parts.items()}
    assert numbers["losses"]["30 classes, hxe / ce"] > 0
    assert numbers["loss_in_a_step"]["bf16, first epoch, hierarchical / ce"] > 0
    assert 0 < numbers["steps_resnet50"]["float32, share of its products a second"]
    assert numbers["steps_compiled"]["eager, bf16, images a second"] > 0
    assert numbers["epoch_resnet18"]["streamed, bare / epoch"] > 0
    assert list(numbers["resume"].values()) == [1, 3, 4]
    table = (tmp_path / "gpu.md").read_text()
    assert "| losses | ok | 0 | 30 classes, hxe / ce |" in table
    assert all(f"| {name} | ok |" in table for name in gpu.PLAN)


@pytest.mark.parametrize(
    ("program", "status"),
    [("raise SystemExit('no card')", "failed (1)"), ("import time; time.sleep(60)", "longer than")],
)
def test_it_goes_on_after_a_part_that_fails_or_hangs(tmp_path, monkeypatch, program, status):
    bad = tmp_path / "bad.py"
    bad.write_text(program)
    monkeypatch.setattr(gpu, "__file__", str(bad))
    limit = 20 if "card" in program else 1
    monkeypatch.setattr(gpu, "PLAN", {"machine": limit, "losses": limit})
    assert gpu.main(["--out", str(tmp_path), "--device", "cpu"]) == 1
    parts = json.loads((tmp_path / "gpu.json").read_text())["parts"]
    assert [part["status"].startswith(status) for part in parts.values()] == [True, True]
    assert ("no card" in parts["losses"]["said"]) == ("card" in program)
