"""docs/measures.md says what the registry says."""

import importlib.util
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "measures.py"


def test_the_page_is_that_of_the_registered_measures():
    spec = importlib.util.spec_from_file_location("measures_page", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.PAGE.read_text("utf-8") == script.page(), "run python scripts/measures.py"
