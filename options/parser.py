"""The parser of all scripts, and the values that flags take."""

import argparse
import difflib
import re
import sys
from collections.abc import Callable, Mapping, Sequence

LARGEST_SEED = 2**63 - 1  # torch takes one bit more, tables of runs do not


DASHES = "-\N{EN DASH}\N{EM DASH}\N{MINUS SIGN}"  # which editors put in the place of two hyphens


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Shows the description as it is written, and defaults except those that say nothing."""

    def _get_help_string(self, action: argparse.Action) -> str:
        default = getattr(action, "shown_default", action.default)
        text = " ".join(map(str, default)) if isinstance(default, (list, tuple)) else str(default)
        if text in ("", "None", "False", argparse.SUPPRESS) or action.required:
            return action.help
        return f"{action.help} (default: {text.replace('%', '%%')})"


class Parser(argparse.ArgumentParser):
    """Refuses with one line instead of the usage, and suggests the flag that a misspelt one may
    have meant.
    """

    def __init__(self, **options):
        super().__init__(**{"formatter_class": Formatter, "allow_abbrev": False, **options})
        self._negative_number_matcher = re.compile(
            r"-(\d|\.\d|inf|nan)"
        )  # argparse takes -1e-3 for a flag

    def parse_known_args(
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple:
        return super().parse_known_args(self._checked(args), namespace)

    # which Python 3.12 does not do by way of the other
    def parse_known_intermixed_args(self, args=None, namespace=None) -> tuple:
        return super().parse_known_intermixed_args(self._checked(args), namespace)

    def error(self, message: str) -> None:
        """Ends with the message alone: the usage of so many flags would hide it."""
        message = re.sub(
            r"(?s)^unrecognized arguments: (.*)",
            r"no flag takes \1; quote values with spaces",
            message,
        )
        self.exit(2, f"error: {message}\n(all flags: python {self.prog} --help)\n")

    def describe(self, defaults: Mapping[str, str | None], unused: Sequence[str] = ()) -> None:
        """Makes --help show these texts as defaults, by the names of the flags, and leave out the
        flags `unused`.
        """
        for action in self._actions:
            if action.dest in defaults:
                action.shown_default = defaults[action.dest]
            if action.dest in unused:
                action.help = argparse.SUPPRESS

    def _checked(self, args: Sequence[str] | None) -> list[str]:
        args = sys.argv[1:] if args is None else list(args)
        flags = {flag.lower(): flag for flag in self._option_string_actions}
        for before, argument in zip(
            ["", *args], args[: args.index("--")] if "--" in args else args
        ):
            flag = argument.partition("=")[0]
            if flag in self._option_string_actions:
                continue
            spelt = f"--{flag.lstrip(DASHES).lower().replace('-', '_')}"
            if flag.startswith("--") or (flag[:1] in tuple(DASHES) and spelt in flags):
                near = [
                    flags[name]
                    for name in difflib.get_close_matches(spelt, flags, n=2, cutoff=0.75)
                ]
                self.error(
                    f"there is no flag {flag}"
                    + (f", did you mean {' or '.join(near)}?" if near else "")
                )
            switch = self._option_string_actions.get(before)
            if switch is not None and switch.nargs == 0 and not self._get_positional_actions():
                self.error(f"{before} takes no value, got {argument!r}")
        return args


def positive_int(text: str) -> int:
    return _number(
        text, int, lambda value: 0 < value < 2**31, "a whole number above 0 (and below 2^31)"
    )


def natural(text: str) -> int:
    return _number(
        text, int, lambda value: 0 <= value < 2**31, "a whole number, 0 or more (and below 2^31)"
    )


def pixels(text: str) -> int:
    return _number(
        text, int, lambda value: 0 <= value < 2**15, f"a number of pixels, from 0 to {2**15 - 1}"
    )


def seed(text: str) -> int:
    return _number(
        text,
        int,
        lambda value: 0 <= value <= LARGEST_SEED,
        f"a whole number from 0 to {LARGEST_SEED}",
    )


def positive(text: str) -> float:
    return _number(text, float, lambda value: 0 < value < float("inf"), "a finite number above 0")


def nonnegative(text: str) -> float:
    return _number(
        text, float, lambda value: 0 <= value < float("inf"), "a finite number, 0 or more"
    )


def factor(text: str) -> float:
    return _number(
        text, float, lambda value: 1 <= value < float("inf"), "a finite number, 1 or more"
    )


def fraction(text: str) -> float:
    return _number(text, float, lambda value: 0 <= value <= 1, "a number from 0 to 1")


def filled(text: str) -> str:
    """A text that says something: an empty one is mostly a variable of the shell that is not
    set.
    """
    if not text.strip():
        raise argparse.ArgumentTypeError(
            f"{text!r} is empty: give it a value or leave the flag out"
        )
    return text


def gpu(text: str) -> str:
    """Where to compute: cpu, auto or GPU indices."""
    indices = text.split(",")
    if text in ("cpu", "auto") or (
        all(map(str.isdecimal, indices)) and len(set(indices)) == len(indices)
    ):
        return text
    raise argparse.ArgumentTypeError(
        f"{text!r} is not cpu, auto, or different GPU indices such as 0 or 0,1"
    )


def _number(text: str, kind: type, holds: Callable, rule: str) -> float:
    try:
        if holds(value := kind(text)):
            return value
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not {rule}")
