"""Every registered measure, and what is known about a value from its name in metrics.csv."""

import re
from functools import lru_cache

from metrics import (
    calibration,
    curves,
    decisions,
    flat,
    geometry,
    hierarchical,
    hops,
    inference,
    levels,
    nodes,
    retrieval,
    selective,
    superclass,
    trees,
)
from metrics.measure import SECTIONS, Measure
from metrics.outputs import SAMPLE

# what the measures of a module are of; a new module needs a row here and no other file
RANKED = (flat, hierarchical)  # the ranked classes: they make sense under any decision
ORDERED = (hops,)  # the order of all classes by score
POSTERIOR = (superclass, calibration, decisions, curves, selective, levels)  # every kind of scores
STRUCTURE = (retrieval, inference, trees, geometry)  # embeddings and class vectors: once a run
MODULES = (*RANKED, nodes, *ORDERED, *POSTERIOR, *STRUCTURE)
MEASURES: tuple[Measure, ...] = tuple(
    row for module in MODULES for row in getattr(module, "MEASURES", ())
)
# prefixes that stand side by side in the tables of one run, with what they say; split takes the
# first that fits
COLUMNS = {
    "prototype/calibrated": "of prototypes, the mean embeddings of the training images of each"
    " class, scores divided by the temperature",
    "prototype": "of prototypes, the mean embeddings of the training images of each class, in place"
    " of the class vectors",
    "all_labels": "of all images, those labelled at superclasses down to their label",
    "hie": "of scores amended by those of a run on superclasses (evaluate.py --coarse)",
    "crm": "of the class of least expected path length",
    "crm_lca_height": "of the class of least expected height of the common ancestor",
    "calibrated": "of scores divided by the temperature, which is fitted on validation images",
    f"W_of_{SAMPLE}": f"of the class vectors of {SAMPLE} classes drawn at random",
    f"P_of_{SAMPLE}": f"of the prototypes of {SAMPLE} classes drawn at random",
    f"of_{SAMPLE}": f"of {SAMPLE} classes drawn at random",
    "W": "of the class vectors",
    "P": "of the prototypes, the mean embeddings of the training images of each class",
}
BACKING_OFF = "backing off"


def describe(metric: str) -> Measure:
    """The registered measure of a name. Raises: ValueError: If it is not registered."""
    found = _find(split(metric)[-1])
    if found is None:
        raise ValueError(
            f"the measure {metric!r} is not registered: add its direction, section, range and"
            " meaning to the MEASURES of its module"
        )
    return found


def is_known(metric: str) -> bool:
    """Whether a name can be that of a measure of this project."""
    return _find(split(metric)[-1]) is not None


def direction(metric: str) -> str | None:
    """'higher' or 'lower', whichever is better; None for a measure that only describes, or that is
    not this project's.
    """
    found = _find(split(metric)[-1])
    return None if found is None else found.direction


def meaning(metric: str) -> str:
    """One sentence on a measure, with what its column is of; '' for one that is not this
    project's.
    """
    column, _, name = split(metric)
    found = _find(name)
    if found is None:
        return ""
    drawn = re.fullmatch(r"(?:[WP]_)?of_(\d+)", column)
    of_column = COLUMNS.get(column, f"of {drawn[1]} classes drawn at random" if drawn else "")
    said = found.meaning_of(name)
    return f"{said} Here: {of_column}." if of_column else said


def value_range(metric: str) -> str:
    """Smallest and largest value of a measure with the unit; '' where it is not known."""
    found = _find(split(metric)[-1])
    return "" if found is None else found.range


def place(metric: str) -> tuple[str, str, str]:
    """Section, column and row of a measure in the tables of one run."""
    column, rule, name = split(metric)
    if rule:
        return f"{BACKING_OFF}: {rule}", column, name
    found = _find(name)
    return SECTIONS[-1] if found is None else found.section, column, name


@lru_cache(maxsize=4096)
def split(metric: str) -> tuple[str, str, str]:
    """The column ('value' if none), the rule that backs off ('' if none) and the name of a
    measure.
    """
    drawn = re.match(r"((?:[WP]_)?of_\d+)/", metric)
    known = (prefix for prefix in COLUMNS if metric.startswith(f"{prefix}/"))
    column = drawn[1] if drawn else next(known, "value")
    name = metric.removeprefix(f"{column}/")
    rule, slash, answer = name.partition("/")
    return (column, rule, answer) if slash and rule != "nc" else (column, "", name)


def of_sample(metric: str, size: int) -> str:
    """The name of a measure where it is of `size` classes drawn at random: W_of_2000/corr for
    W/corr.
    """
    vectors, slash, name = metric.partition("/")
    if slash and vectors in ("W", "P"):
        return f"{vectors}_of_{size}/{name}"
    return f"of_{size}/{metric}"


@lru_cache(maxsize=4096)
def _find(name: str) -> Measure | None:
    return next((measure for measure in MEASURES if measure.matches(name)), None)
