"""What a part of the project is (a loss, a head, a dataset ...) and which options it takes.

Whoever takes an option declares it: an `Option` beside the class or function that uses it. Parts of
one kind stand in a `Registry`, which is chosen from by an option of its own. The command line, its
--help, its refusals, the record and the run's name are made from these. Standard library only.
"""

from registry.option import (
    KEEP,
    Need,
    Option,
    defaults,
    possible,
    refuse_unneeded,
    settle,
    taken,
    untaken_reason,
    with_flag,
    with_value,
)
from registry.parts import Registry
from registry.values import (
    LARGEST_SEED,
    Choice,
    Number,
    Switch,
    above_zero,
    below_one,
    either,
    factor,
    filled,
    fraction,
    natural,
    nonnegative,
    one_of,
    pixels,
    positive,
    positive_int,
    seed,
    switch,
)

__all__ = [
    "KEEP",
    "LARGEST_SEED",
    "Choice",
    "Need",
    "Number",
    "Option",
    "Registry",
    "Switch",
    "above_zero",
    "below_one",
    "defaults",
    "either",
    "with_value",
    "factor",
    "filled",
    "fraction",
    "with_flag",
    "natural",
    "nonnegative",
    "one_of",
    "pixels",
    "positive",
    "positive_int",
    "possible",
    "refuse_unneeded",
    "seed",
    "settle",
    "switch",
    "taken",
    "untaken_reason",
]
