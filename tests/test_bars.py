"""Progress bars."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LINES = """
import multiprocessing
from multiprocessing import resource_tracker

multiprocessing.set_start_method("spawn")  # as on macOS; Python 3.14 on Linux: forkserver
from files.bars import tqdm

tqdm.write("a line")
list(tqdm(range(2)))
print(resource_tracker._resource_tracker._pid)
"""


def test_bars_start_no_helper_process_that_complains_after_ctrl_c():
    done = subprocess.run(
        [sys.executable, "-c", LINES], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "a line\nNone\n" and "2/2" in done.stderr
