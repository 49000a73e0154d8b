"""The script that a GPU is waiting for runs on the CPU, in tiny."""

import json

import pytest

from benchmarks import gpu

# what runs in this process; the others run tools that have tests of their own, or take long
HERE = ("machine", "losses", "loss_in_a_step", "steps_resnet18", "steps_resnet50", "data_parallel")


def test_the_plan_ends_before_eight_minutes(capsys):
    assert gpu.main(["--plan"]) == 0
    said = capsys.readouterr().out.split()
    assert int(said[-2]) == sum(gpu.PLAN.values()) < 480
    assert list(gpu.PLAN) == list(gpu.PARTS)


def test_the_parts_run_in_tiny_on_the_cpu(tmp_path, monkeypatch):
    def here(name, limit, options):
        numbers = gpu.PARTS[name](options.device, options.reduced)
        return {"status": "ok", "seconds": 0.0, "numbers": json.loads(json.dumps(numbers))}

    monkeypatch.setattr(gpu, "run_part", here)
    flags = ["--reduced", "--device", "cpu", "--out", str(tmp_path)]
    assert gpu.main([*flags, "--parts", *HERE]) == 0
    parts = json.loads((tmp_path / "gpu.json").read_text())["parts"]
    assert list(parts) == [name for name in gpu.PLAN if name in HERE]
    assert parts["losses"]["numbers"]["30 classes, hxe / ce"] > 0
    assert "| losses | ok | 0 | 30 classes, hxe / ce |" in (tmp_path / "gpu.md").read_text()


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
