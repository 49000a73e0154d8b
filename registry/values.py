"""Values that options take: functions from a text of the command line, or a value, to the value.

They raise ValueError with the rule, so that the parser and the constructor of the class that takes
an option say the same.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

LARGEST_SEED = 2**63 - 1  # torch takes one bit more, tables of runs do not


@dataclass(frozen=True)
class Number:
    """Numbers for which a rule holds.

    Attributes:
        kind: int or float.
        holds: Whether the rule holds for a number.
        rule: The rule in words, as in "a whole number above 0".
    """

    kind: type
    holds: Callable[[float], bool]
    rule: str

    def __call__(self, value: object) -> float:
        """The number that a text or a number is. Raises: ValueError: If the rule does not hold."""
        try:
            number = self.kind(value)
            same = isinstance(value, str) or number == value
            if self.holds(number) and same and not isinstance(value, bool):
                return number
        except (TypeError, ValueError, OverflowError):
            pass
        raise ValueError(f"{value!r} is not {self.rule}")


positive_int = Number(int, lambda n: 0 < n < 2**31, "a whole number above 0 (and below 2^31)")
natural = Number(int, lambda n: 0 <= n < 2**31, "a whole number, 0 or more (and below 2^31)")
pixels = Number(int, lambda n: 0 <= n < 2**15, f"a number of pixels, from 0 to {2**15 - 1}")
seed = Number(int, lambda n: 0 <= n <= LARGEST_SEED, f"a whole number from 0 to {LARGEST_SEED}")
positive = Number(float, lambda x: 0 < x < float("inf"), "a finite number above 0")
nonnegative = Number(float, lambda x: 0 <= x < float("inf"), "a finite number, 0 or more")
factor = Number(float, lambda x: 1 <= x < float("inf"), "a finite number, 1 or more")
fraction = Number(float, lambda x: 0 <= x <= 1, "a number from 0 to 1")
below_one = Number(float, lambda x: 0 <= x < 1, "a number from 0 to below 1")
above_zero = Number(float, lambda x: 0 < x <= 1, "a number above 0, up to 1")


@dataclass(frozen=True)
class Choice:
    """One of some names, which are looked up when they are needed: a `Registry` may still grow."""

    names: Iterable[str]

    @property
    def rule(self) -> str:
        """The rule in words."""
        return f"one of {', '.join(self.names)}"

    def __call__(self, value: object) -> str:
        """The name. Raises: ValueError: If it is not one of them; the message lists them."""
        if not isinstance(value, str) or value not in self.names:  # a list cannot be looked up
            raise ValueError(f"{value!r} is not {self.rule}")
        return value


def one_of(names: Iterable[str]) -> Choice:
    """One of these names: `one_of(("mean", "sum"))`, `one_of(TABLE)`."""
    return Choice(names)


@dataclass(frozen=True)
class Switch:
    """True or False: a flag without a value. `negatable` ones can be switched off, too: --no-x."""

    negatable: bool = False

    def __call__(self, value: object) -> bool:
        """The value. Raises: ValueError: If it is neither True nor False."""
        if value not in (True, False):
            raise ValueError(f"{value!r} is neither True nor False")
        return bool(value)


switch = Switch()
either = Switch(negatable=True)


def filled(text: object) -> str:
    """A text that says something: an empty one is mostly a variable of the shell that is not set.

    Raises: ValueError: If it is empty.
    """
    if not str(text).strip():
        raise ValueError(f"{text!r} is empty: give it a value or leave the flag out")
    return str(text)
