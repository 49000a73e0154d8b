"""An option: everything that there is to know about it, once; and what follows for several."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from registry.values import filled

if TYPE_CHECKING:
    from registry.parts import Registry

KEEP = object()  # of Option.rebuilt: the recorded value


class Need(NamedTuple):
    """What an option needs of the others.

    Fields:
        holds: Whether it is so, from all options by name.
        words: What to add, as in "--ema".
    """

    holds: Callable[[Mapping], bool]
    words: str


def with_flag(name: str, more: str = "") -> Need:
    """The option of that name, switched on or with a value; `more` follows in the message."""
    return Need(lambda options: bool(options.get(name)), f"--{name}{more}")


def with_value(name: str, value: object) -> Need:
    """The option of that name with that value."""
    return Need(lambda options: options.get(name) == value, f"--{name} {value}")


@dataclass(frozen=True)
class Option:
    """An option of a class or function: flag, keyword argument, key in config.json and column in
    tables at once.

    Attributes:
        name: Without dashes.
        values: What it takes, see `registry.values`: text or value -> value.
        default: Its value when it is not given.
        metavar: Unit or meaning of the value, in capitals.
        help: What it is, for somebody who does not know the code.
        several: Whether it takes several values, as a list.
        alone: What the flag means without a value; None: it needs one.
        off: A value that says the same as not giving the option; recorded as None.
        tag: Short form in the name of a run's folder, of a switch that methods are known by.
        names_file: Whether it names a file, which then counts by its content.
        names_run: Whether it names the folder of a run, which then counts by what it learned.
        machine: Whether it differs from machine to machine: no part of what a run is.
        needs: Without this it has no meaning.
        rebuilt: The value with which a recorded model is rebuilt, whose weights all come from its
            checkpoint; KEEP: the recorded one.
        parts: The registry that it chooses from, whose chosen part may take options of its own.
        shows: Instead of running, print what this makes of the value and end, as --help does.
    """

    name: str
    values: Callable[[object], object] = filled
    default: object = None
    metavar: str | None = None
    help: str = ""
    several: bool = False
    alone: object = None
    off: object = None
    tag: str | None = None
    names_file: bool = False
    names_run: bool = False
    machine: bool = False
    needs: Need | None = None
    rebuilt: object = KEEP
    parts: Registry | None = None
    shows: Callable[[str], str] | None = None

    def defaulting(self, default: object) -> Option:
        """The same option with another default."""
        return replace(self, default=default)

    def check(self, value: object) -> object:
        """The value, of its type. Raises: ValueError: Naming the option, the rule and the value."""
        try:
            if self.several:
                return [self.values(one) for one in value]
            return self.values(value)
        except ValueError as error:
            if not hasattr(self.values, "rule"):
                raise ValueError(f"{self.name}: {error}") from None
            raise ValueError(f"{self.name} must be {self.values.rule}, got {value!r}") from None


def taken(options: Iterable[Option], values: Mapping[str, object]) -> Iterator[Option]:
    """These options, and behind one that chooses a part those that the chosen part takes.

    Args:
        options: Such as `Loss.options`.
        values: Name -> value; where there is none, or None, the default chooses.

    Raises: ValueError: If there is no part of the name that is chosen.
    """
    for option in options:
        yield option
        if option.parts is not None and (chosen := _chosen(option, values)) is not None:
            part = option.parts.find(chosen)
            yield from taken(getattr(part, "options", ()), values)


def possible(options: Iterable[Option]) -> dict[str, Option]:
    """Name -> option for these options and those of all parts that they choose from.

    Raises: ValueError: If two parts declare different options of one name.
    """
    found: dict[str, Option] = {}
    for option in options:
        members = [option]
        for part in (option.parts or {}).values():
            members += possible(getattr(part, "options", ())).values()
        for member in members:
            known = found.setdefault(member.name, member)
            if (known.values, known.help) != (member.values, member.help):
                raise ValueError(f"--{member.name} is declared twice, and differently")
    return found


def defaults(options: Iterable[Option], values: Mapping[str, object]) -> dict[str, object]:
    """Name -> default for all that is `taken`."""
    return {option.name: option.default for option in taken(options, values)}


def settle(options: Iterable[Option], values: Mapping[str, object], taker: str) -> dict:
    """The values of all options that are taken: checked, defaults where they are None or missing.

    Args:
        options: What a class or function declares.
        values: Name -> value.
        taker: Who takes them, for the message, as in "--loss ce".

    Raises: ValueError: If a value breaks its rule, or an option is given that is not taken; the
    message lists those that are.
    """
    values = {name: value for name, value in values.items() if value is not None}
    own = {option.name: option for option in taken(options, values)}
    for name, value in values.items():
        if name not in own:
            known = f"only {', '.join(f'--{other}' for other in own)}" if own else "no option"
            raise ValueError(f"{taker} takes {known}; leave out --{name} {value}")
    return {
        name: option.check(values[name]) if name in values else option.default
        for name, option in own.items()
    }


def refuse_unneeded(options: Iterable[Option], values: Mapping[str, object]) -> None:
    """Raises: ValueError: If an option is given whose `needs` are not met."""
    for option in options:
        if option.needs is None or option.needs.holds(values):
            continue
        if _is_given(values.get(option.name)):
            raise ValueError(f"--{option.name} has no meaning here: it needs {option.needs.words}")


def untaken_reason(name: str, options: Iterable[Option], values: Mapping[str, object]) -> str:
    """Why an option that one of the parts could take is not taken: which choice does not take it,
    and which would.
    """
    for option in options:
        takers = [
            part
            for part, row in (option.parts or {}).items()
            if name in possible(getattr(row, "options", ()))
        ]
        if not takers:
            continue
        chosen = _chosen(option, values)
        if chosen in takers:
            return untaken_reason(name, option.parts.find(chosen).options, values)
        also = " and ".join([", ".join(takers[:-1]), takers[-1]] if takers[1:] else takers)
        does = "do" if takers[1:] else "does"
        way_out = f"--{option.name} {' or '.join(takers)}"
        return f"{option.parts.spoken} {chosen} does not take it ({also} {does}: {way_out})"
    return "nothing takes it"


def _chosen(option: Option, values: Mapping[str, object]) -> str | None:
    value = values.get(option.name)
    return option.default if value is None else value


def _is_given(value: object) -> bool:
    return value is not None and value is not False  # 0 is a value
