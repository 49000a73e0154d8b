"""What --help prints: a first screen, everything, or the flags that a word is about."""

import argparse
import sys
from collections.abc import Sequence
from typing import NamedTuple

ALL = "all"


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Shows the description as it is written, and defaults except those that say nothing."""

    def _get_help_string(self, action: argparse.Action) -> str:
        default = getattr(action, "shown_default", action.default)
        text = " ".join(map(str, default)) if isinstance(default, (list, tuple)) else str(default)
        if text in ("", "None", "False", argparse.SUPPRESS) or action.required:
            return action.help
        return f"{action.help} (default: {text.replace('%', '%%')})"


class _Group(NamedTuple):
    title: str
    flags: list[argparse.Action]  # those that are explained

    @property
    def word(self) -> str:
        """What --help calls it: 'loss' of 'loss: over the class tree, and penalties'."""
        return self.title.split()[0].rstrip(":")


class Help(argparse.Action):
    """Prints and ends. Without a word: everything, or, of a parser with a group `first`, that group
    and where the others are. With one: a group, or the flags whose name or explanation has it.
    """

    def __init__(self, option_strings: Sequence[str], dest: str, first: str | None = None):
        super().__init__(option_strings, dest, "?", "", argparse.SUPPRESS)
        self.metavar = "WORD"
        self.help = "explain the flags about a word"
        if first is not None:
            self.help = f"explain every flag (--help {ALL}), a group, or the flags about a word"
        self._first = first

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        groups = _groups(parser)
        if values == ALL or not (values or self._first):
            text = _page(parser, groups, parser.epilog)
        elif not values:
            shown = [group for group in groups if group.title == self._first]
            others = [group for group in groups if group.word not in ("options", shown[0].word)]
            text = _page(parser, shown, _signpost(parser, others))
        else:
            text = _about(parser, groups, values.lower())
        if not text:
            parser.error(f"{option_string} {values}: no flag is about that")
        parser._print_message(text, sys.stdout)
        parser.exit()


def usage(parser: argparse.ArgumentParser) -> str:
    """What a command needs, in a line: all that it can be told would fill the screen."""
    formatter = parser._get_formatter()
    words = ["python", parser.prog]
    for action in parser._actions:
        if action.required and action.option_strings:
            metavar = formatter._get_default_metavar_for_optional(action)
            words.append(f"{action.option_strings[0]} {formatter._format_args(action, metavar)}")
    for action in parser._get_positional_actions():
        metavar = formatter._get_default_metavar_for_positional(action)
        words.append(formatter._format_args(action, metavar))
    return " ".join([*words, "[flags]"]).replace("%", "%%")


def _groups(parser: argparse.ArgumentParser) -> list[_Group]:
    found = []
    for group in parser._action_groups:
        shown = [flag for flag in group._group_actions if flag.help != argparse.SUPPRESS]
        if shown:
            found.append(_Group(group.title, shown))
    return found


def _page(parser: argparse.ArgumentParser, groups: Sequence[_Group], end: str | None) -> str:
    formatter = parser._get_formatter()
    # argparse sets it where positional arguments may stand among flags, which it then hides
    formatter.add_usage(parser.usage or usage(parser), parser._actions, ())
    formatter.add_text(parser.description)
    _add(formatter, groups)
    formatter.add_text(end)
    return formatter.format_help()


def _add(formatter: argparse.HelpFormatter, groups: Sequence[_Group]) -> None:
    for group in groups:
        formatter.start_section(group.title)
        formatter.add_arguments(group.flags)
        formatter.end_section()


def _signpost(parser: argparse.ArgumentParser, groups: Sequence[_Group]) -> str:
    """Where the flags are that the first screen leaves out."""
    lines = ["more flags, of which --help followed by a word explains some:"]
    for group in groups:
        about = group.title.removeprefix(group.word).lstrip(": ")
        lines.append(f"  {group.word:<10}{about} ({len(group.flags)} flags)")
    lines += [
        "  WORD      those whose name or explanation has a word, such as rare or seed",
        f"  {ALL:<10}every flag",
    ]
    return "\n".join([*lines, "", *filter(None, [parser.epilog])])


def _about(parser: argparse.ArgumentParser, groups: Sequence[_Group], word: str) -> str:
    """The flags of the group of this name, and the flag of this name wherever it stands; or else
    those whose name or explanation has the word; empty if there are none.
    """

    def is_about(flag: argparse.Action, group: _Group) -> bool:
        if any(one.word == word for one in groups):
            return group.word == word or f"--{word}" in flag.option_strings
        return word in " ".join([*flag.option_strings, flag.help or ""]).lower()

    formatter = parser._get_formatter()
    chosen = [
        _Group(group.title, [flag for flag in group.flags if is_about(flag, group)])
        for group in groups
    ]
    _add(formatter, [group for group in chosen if group.flags])
    return formatter.format_help()
