"""The form of the code, as the formatter and the linter see it."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.skipif(find_spec("ruff") is None, reason="ruff is not installed")
@pytest.mark.parametrize("command", [("format", "--check"), ("check",)], ids=" ".join)
def test_the_code_is_as_ruff_would_have_it(command):
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *command, "--no-cache", "."],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_page_has_the_marks_of_a_merge_left_in_it():
    kinds = ("*.md", "*/*.md", "*/*.js", "*/*.sh")
    pages = [page for kind in kinds for page in ROOT.glob(kind)]
    marks = re.compile(r"^(<{7}|>{7})( |$)", re.MULTILINE)
    assert len(pages) > 10 and not [page for page in pages if marks.search(page.read_text("utf-8"))]
