import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "metrics.py"


def test_the_benchmark_prints_time_and_memory_of_the_measures_asked_for():
    command = [
        sys.executable,
        SCRIPT,
        "--images",
        "60",
        "--classes",
        "12",
        "--dim",
        "4",
        "--only",
        "everything",
    ]
    lines = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True
    ).stdout.splitlines()
    assert lines[0] == "60 images, 12 classes, 4 dimensions"
    name, seconds, peak, above = lines[2].split()
    assert name == "everything"
    assert float(seconds) > 0
    assert float(peak) > float(above) >= 0
