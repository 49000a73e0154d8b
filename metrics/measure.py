"""What a measure says about itself. A measure is registered beside the function that computes it,
in the MEASURES of its module; one that is not cannot appear in a table.
"""

import re
from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

HIGHER, LOWER, DESCRIBES = "higher", "lower", None
# sections of the tables of one run, in their order
ACCURACY = "accuracy"
TREE = "distance in the tree"
POSTERIOR = "posterior in the tree"
CALIBRATION = "calibration"
CURVES = "operating curves"
RETRIEVAL = "retrieval of images"
VECTORS = "class vectors (W) and prototypes (P)"
GEOMETRY = "geometry"
SECTIONS = (ACCURACY, TREE, POSTERIOR, CALIBRATION, CURVES, RETRIEVAL, VECTORS, GEOMETRY)
SHARE = "0 to 1"
EDGES = "0 or more edges"
# ends the meaning of a measure of information
INFORMATION = (
    " (information: in bits, none at the root, the more the fewer classes a superclass holds)."
)


class _Fields(NamedTuple):
    name: str
    direction: str | None
    section: str
    range: str
    meaning: str


class Measure(_Fields):
    """One measure, or a family whose names differ in numbers.

    Attributes:
        name: As in metrics.csv, without its column (`prototype/`, `W/`) and rule; {k} stands for
            any number.
        direction: "higher" or "lower", whichever is better; None if it only describes.
        section: One of SECTIONS.
        range: Its smallest and largest value, with the unit.
        meaning: One sentence for a reader who has not met it.
    """

    @cached_property
    def _pattern(self) -> re.Pattern:
        return re.compile(re.escape(self.name).replace(re.escape("{k}"), r"([\d.]+)"))

    def matches(self, name: str) -> bool:
        """Whether a name is this measure's."""
        return self._pattern.fullmatch(name) is not None

    def meaning_of(self, name: str) -> str:
        """The meaning of one of the family, with its number for k."""
        numbers = self._pattern.fullmatch(name).groups()
        return re.sub(r"\bk\b", numbers[0], self.meaning) if numbers else self.meaning


def kind(direction: str | None, section: str, range: str) -> Callable[[str, str], Measure]:
    """A function from name and meaning to a measure, for those that have the rest in common."""
    return lambda name, meaning: Measure(name, direction, section, range, meaning)
