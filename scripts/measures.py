"""Writes docs/measures.md from the registered measures.

python scripts/measures.py
"""

import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from metrics.catalogue import COLUMNS, MEASURES
from metrics.decisions import RULES
from metrics.measure import SECTIONS
from metrics.suite import ON_REQUEST
from options.parser import Parser

PAGE = REPOSITORY / "docs" / "measures.md"
BETTER = {"higher": "higher", "lower": "lower", None: "describes"}


def page() -> str:
    """The page in Markdown: every measure with its direction, range and meaning, by section."""
    measured = ", ".join(f"`{name}/`" for name, rule in RULES.items() if rule.measured)
    lines = [
        "# Measures",
        "",
        "Every measure of `metrics.csv` and `evaluate.py`, made from the code by"
        " `python scripts/measures.py`. {k} stands for a number. Lengths in the tree are in edges,"
        " angles in radians; what is undefined is NaN, with a count of what was left out.",
        "",
        "Words: the *embedding* of an image is the vector that the network makes of it; a *class"
        " vector* is what embeddings are compared with, the weights of a class in the last layer or"
        " its proxy; the *prototype* of a class is the mean embedding of its training images. A"
        " *superclass* holds classes in the tree; its *depth* counts edges down from the root, the"
        " top of the tree that holds all classes, its *height* edges up from the farthest class"
        " below it. Branches are weighted evenly along each path, or as `evaluate.py --weighting`"
        " says; the largest distances below are of weights that sum to 1 along each path. An answer"
        " *backs off* where it names a superclass instead of a class.",
        "",
        "`h_ap`, `asi` and `rf_published` take long, and are there where `evaluate.py --on_request`"
        f" {' '.join(ON_REQUEST)} asks for them.",
        "",
        "A prefix says of what scores or vectors a measure is:",
        "",
        "| prefix | |",
        "|---|---|",
        "| none | of the class vectors |",
        *(f"| `{column}/` | {meaning} |" for column, meaning in COLUMNS.items()),
        f"| {measured} | of answers that back off to a superclass by that rule |",
    ]
    for section in SECTIONS:
        lines += ["", f"## {section[0].upper()}{section[1:]}", ""]
        lines += ["| measure | better | range | meaning |", "|---|---|---|---|"]
        lines += [
            f"| `{row.name}` | {BETTER[row.direction]} | {row.range} | {row.meaning} |"
            for row in MEASURES
            if row.section == section
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    Parser(description=__doc__).parse_args()
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
