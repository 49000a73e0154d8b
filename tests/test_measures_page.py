"""docs/measures.md says what the registry says, and each measure can be read by itself."""

import importlib.util
import re
from pathlib import Path

from metrics.catalogue import MEASURES, meaning

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "measures.py"
# names of measures that are ordinary words
WORDS = {"accuracy", "correct", "depth", "exact", "intensity", "recall"}


def test_the_page_is_that_of_the_registered_measures():
    spec = importlib.util.spec_from_file_location("measures_page", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.PAGE.read_text("utf-8") == script.page(), "run python scripts/measures.py"


def test_no_meaning_leans_on_that_of_another_measure():
    """A name may stand in brackets, behind what it is."""
    names = {re.sub(r"(@|_level){k}.*", "", row.name) for row in MEASURES} - WORDS
    assert {"hs", "ece", "r_precision", "hp"} <= names
    for row in MEASURES:
        said = re.sub(r"\(.*?\)", "", row.meaning)
        used = names & set(re.split(r"[^\w/]+", said))
        assert not used, f"{row.name}: {used}"
        assert not re.search(r"^As |\b(such|these)\b", said), row.name


def test_the_meaning_of_one_of_a_family_has_its_number():
    assert meaning("accuracy@5") == (
        "Share of the images whose true class is among the 5 most probable classes."
    )
    assert "that 95 % are correct" in meaning("recall@95_depth")
    assert "k" not in re.findall(r"\w+", meaning("prototype/hp@20"))


def test_information_is_explained_wherever_it_is_measured():
    asked = [row for row in MEASURES if "information" in row.meaning.lower()]
    assert len(asked) > 10 and all(
        "fewer classes a superclass holds" in row.meaning for row in asked
    )
