import sys

from benchmarks import metrics


def test_the_benchmark_prints_time_and_memory_of_the_measures_asked_for(
    capsys, monkeypatch, served_python
):
    monkeypatch.setattr(sys, "executable", str(served_python))  # of the process that measures
    metrics.main("--images 60 --classes 12 --dim 4 --only everything".split())
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "60 images, 12 classes, 4 dimensions"
    name, seconds, peak, above = lines[2].split()
    assert name == "everything"
    assert float(seconds) > 0
    assert float(peak) > float(above) >= 0
