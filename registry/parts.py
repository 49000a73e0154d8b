"""Named parts of one kind, such as all losses."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property

from registry.option import Option, taken
from registry.values import Choice


class Registry(dict):
    """Name -> part: a dict, so that a row is all that a new part needs.

    A part may be anything. What is read of it, where it is there:
        options: Its `Option`s, a tuple.
        summary: What it is, in a few words, for --help.
        aliases: Other names that it is known by.

    Args:
        option: The option that chooses a part; its default and help are those of the flag. Its help
            is followed by the summaries.
        parts: The rows.
        spoken: How messages refer to the choice; "--loss" for the option loss if None.
        others: Name -> part, for names that another library owns: they are not rows, and a name is
            looked up when it is used, since that library may take long to import. Raises
            ValueError where there is no such part.
    """

    def __init__(
        self,
        option: Option,
        parts: Mapping[str, object],
        spoken: str | None = None,
        others: Callable[[str], object] | None = None,
    ):
        super().__init__(parts)
        self._option, self.spoken = option, spoken or f"--{option.name}"
        self._others = others

    @cached_property
    def option(self) -> Option:
        """The option that chooses a part of this registry."""
        values = Choice(self) if self._others is None else self._option.values
        return replace(self._option, values=values, parts=self)

    @property
    def aliases(self) -> dict[str, str]:
        """Alias -> name."""
        return {
            alias: name for name, part in self.items() for alias in getattr(part, "aliases", ())
        }

    def resolve(self, name: str) -> str:
        """The name of a part from its name or an alias. Raises: ValueError: Listing the names."""
        name = self.aliases.get(name, name)
        if name not in self:
            known = ", ".join([*self, *self.aliases])
            raise ValueError(f"{self.spoken} must be one of {known}, got {name!r}")
        return name

    def find(self, name: str) -> object:
        """The part of that name or alias. Raises: ValueError: Listing the names."""
        if self._others is not None and name not in self and name not in self.aliases:
            return self._others(name)
        return self[self.resolve(name)]

    def chosen(self, options: Mapping[str, object]) -> object:
        """The part that the options of a run choose; the default's where it is recorded as None."""
        return self.find(options.get(self._option.name) or self._option.default)

    def select(self, options: Mapping[str, object]) -> dict[str, object]:
        """Of all options of a run, those that the chosen part takes, by name.

        Args:
            options: Of the run, with the choice; those that it lacks are left out.
        """
        part = self.chosen(options)
        names = [option.name for option in taken(getattr(part, "options", ()), options)]
        return {name: options[name] for name in names if name in options}

    def summaries(self) -> str:
        """The parts and what they are: "ce: cross-entropy; corr: ..."; those without a summary are
        left out.
        """
        texts = []
        for name, part in self.items():
            also = ", ".join(getattr(part, "aliases", ()))
            if getattr(part, "summary", ""):
                texts.append(f"{name}{f' (also {also})' if also else ''}: {part.summary}")
        return "; ".join(texts)
