"""The parser of all scripts, and the values that flags take."""

import argparse
import difflib
import glob
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence

from files.text import shortened
from options.help import Formatter, Help, usage
from registry import Choice, Option, Switch, values

DASHES = "-\N{EN DASH}\N{EM DASH}\N{MINUS SIGN}"  # which editors put in the place of two hyphens

# names that flags have in other tools, and those that they have here, of those that a script has
ELSEWHERE = {
    "learning_rate": ("lr",),
    "model": ("backbone", "method"),
    "arch": ("backbone",),
    "architecture": ("backbone",),
    "network": ("backbone",),
    "net": ("backbone",),
    "pretrained_model": ("weights",),
    "device": ("GPU",),
    "devices": ("GPU",),
    "gpus": ("GPU",),
    "gpu_ids": ("GPU",),
    "cuda": ("GPU",),
    "batch": ("batch_size",),
    "bs": ("batch_size",),
    "num_epochs": ("epochs",),
    "n_epochs": ("epochs",),
    "max_epochs": ("epochs",),
    "image_size": ("resize",),
    "img_size": ("resize",),
    "imgsz": ("resize",),
    "data": ("data_dir",),
    "data_path": ("data_dir",),
    "dataset_dir": ("data_dir",),
    "output": ("out", "record"),
    "output_dir": ("out", "record"),
    "save_dir": ("out", "record"),
    "project": ("record",),
    "random_seed": ("seed",),
    "random_state": ("seed",),
    "checkpoint_path": ("checkpoint",),
    "top_k": ("topk",),
    "optim": ("optimizer",),
    "opt": ("optimizer",),
    "warmup_epochs": ("warmup",),
    "clip_grad": ("clip",),
    "max_grad_norm": ("clip",),
    "model_ema_decay": ("average",),
    "wd": ("weight_decay", "decoupled_weight_decay"),
    "early_stopping": ("patience",),
    "early_stop": ("patience",),
}


class Parser(argparse.ArgumentParser):
    """Refuses with one line instead of the usage, and suggests the flag that a misspelt one may
    have meant.
    """

    def __init__(self, first: str | None = None, **options):
        """
        Args:
            first: Title of the group that --help explains alone, and says where the others are;
                None if it explains all.
            options: Keyword arguments of argparse's parser.
        """
        settings = {"formatter_class": Formatter, "allow_abbrev": False, "add_help": False}
        super().__init__(**{**settings, **options})
        self.add_argument("-h", "--help", action=Help, first=first)
        # argparse takes -1e-3 for a flag
        self._negative_number_matcher = re.compile(r"-(\d|\.\d|inf|nan)")
        self._given: Sequence[str] = ()

    def parse_known_args(
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple:
        return super().parse_known_args(self._checked(args), namespace)

    # which Python 3.12 does not do by way of the other
    def parse_known_intermixed_args(self, args=None, namespace=None) -> tuple:
        return super().parse_known_intermixed_args(self._checked(args), namespace)

    def format_usage(self) -> str:
        """In one line."""
        return f"usage: {usage(self)}\n"

    def error(self, message: str) -> None:
        """Ends with the message alone: the usage of so many flags would hide it."""
        if extra := re.match(r"(?s)unrecognized arguments: (.*)", message):
            words = extra[1]
            message = f"no flag takes {words}{self._behind(words)}; quote values with spaces"
        # one value of thousands of characters would hide the rest
        message = re.sub(r"\S{200,}", lambda found: shortened(found[0]), message)
        self.exit(2, f"error: {message}\n(flags: python {self.prog} --help)\n")

    def _behind(self, words: str) -> str:
        """Behind which flag the words stand of which the first is one too many."""
        for place, argument in enumerate(self._given):
            if words == argument or words.startswith(f"{argument} "):
                flags = [one for one in self._given[:place] if one in self._option_string_actions]
                return f" (behind {flags[-1]})" if flags else ""
        return ""

    def describe(self, defaults: Mapping[str, str | None], unused: Sequence[str] = ()) -> None:
        """Makes --help show these texts as defaults, by the names of the flags, and leave out the
        flags `unused`.
        """
        for action in self._actions:
            if action.dest in defaults:
                action.shown_default = defaults[action.dest]
            if action.dest in unused:
                action.help = argparse.SUPPRESS

    def flags_of(self, title: str) -> list[str]:
        """Names of the flags in the group of that title."""
        group = next(group for group in self._action_groups if group.title == title)
        return [action.dest for action in group._group_actions]

    def _checked(self, args: Sequence[str] | None) -> list[str]:
        self._given = args = sys.argv[1:] if args is None else list(args)
        if os.name == "nt":  # where no path has a quote
            self._check_quotes(args)
            args = self._expanded(args)
        flags = {flag.lower(): flag for flag in self._option_string_actions}
        for before, argument in zip(
            ["", *args], args[: args.index("--")] if "--" in args else args
        ):
            flag = argument.partition("=")[0]
            if flag in self._option_string_actions:
                continue
            spelt = f"--{flag.lstrip(DASHES).lower().replace('-', '_')}"
            number = self._negative_number_matcher.match(flag)
            short = flag[:1] == "-" != flag and " " not in argument and not number
            if short or (flag[:1] in tuple(DASHES) and spelt in flags):
                file = os.path.exists(argument)
                way = f"; a file of this name is ./{argument}" if file else ""
                self.error(f"there is no flag {flag}{self._meant(spelt, flags)}{way}")
            switch = self._option_string_actions.get(before)
            if switch is not None and switch.nargs == 0 and not self._get_positional_actions():
                self.error(f"{before} takes no value, got {argument!r}")
        return args

    def _check_quotes(self, args: Sequence[str]) -> None:
        """Refuses what Windows makes of a backslash before a quote, as where a folder ends in one:
        a value that has all that follows.
        """
        for argument in args:
            before, quote, _ = argument.partition('"')
            if quote:
                self.error(f"leave out the backslash before the quote that ends {before!r}")

    def _expanded(self, args: Sequence[str]) -> list[str]:
        """The arguments with the files that one with '*' or '?' means, which Windows leaves to the
        program. What stands behind a flag may mean something else and stays.
        """
        if not self._get_positional_actions():
            return list(args)
        found = []
        for before, argument in zip(["", *args], args):
            files = re.search(r"[*?]", argument) and before not in self._option_string_actions
            found += (sorted(glob.glob(argument)) if files else []) or [argument]
        return found

    @staticmethod
    def _meant(spelt: str, flags: Mapping[str, str]) -> str:
        """What goes on a message about a flag that does not exist: what it is called here."""
        name = spelt.removeprefix("--")
        here = [f"--{other}" for other in ELSEWHERE.get(name, ())]
        near = [flag for flag in here if flag.lower() in flags] or [
            flags[found] for found in difflib.get_close_matches(spelt, flags, n=2, cutoff=0.75)
        ]
        return f", did you mean {' or '.join(near)}?" if near else ""


def from_text(check: Callable[[str], object]) -> Callable[[str], object]:
    """A checker of `registry.values` as a type of argparse, which then shows its words."""

    def convert(text: str) -> object:
        try:
            return check(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


# torch's names of GPUs that are not CUDA's, and whose they are
OTHER_GPUS = {"mps": "the GPU of a Mac", "xpu": "a GPU of Intel"}


def device(text: str) -> str:
    """Where to compute: cpu, auto, GPU indices, or a GPU that is not CUDA's. Raises: ValueError: If
    it is none of these.
    """
    indices = text.split(",")
    if text in ("cpu", "auto", *OTHER_GPUS) or (
        all(map(str.isdecimal, indices)) and len(set(indices)) == len(indices)
    ):
        return text
    raise ValueError(
        f"{text!r} is not cpu, auto, different GPU indices such as 0 or 0,1, mps or xpu"
    )


# types for the flags of the scripts that declare their own
filled = from_text(values.filled)
fraction = from_text(values.fraction)
natural = from_text(values.natural)
nonnegative = from_text(values.nonnegative)
positive_int = from_text(values.positive_int)

GPU = Option(
    "GPU",
    device,
    None,
    "GPU",
    "cpu, auto, GPU indices such as 0 or 0,1, mps for the GPU of a Mac, or xpu for one of Intel"
    " (default: auto, or the CPU where there is no CUDA GPU)",
    machine=True,
)


class _Show(argparse.Action):
    """Prints what an option shows (`Option.shows`) and ends, whatever else is missing."""

    def __init__(self, shows: Callable[[str], str], **keywords):
        super().__init__(**keywords)
        self._shows = shows

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        try:
            text = self._shows(values)
        except ValueError as error:
            parser.error(f"{option_string}: {error}")
        print(text)
        parser.exit()


def add_option(group: argparse._ActionsContainer, option: Option, **changes: object) -> None:
    """Makes a flag of an option.

    Args:
        group: A parser or one of its groups.
        option: What is declared.
        changes: Keyword arguments of argparse's `add_argument` that shall be others.
    """
    keywords = {"help": option.help.replace("%", "%%"), "default": None}
    if isinstance(option.values, Switch):
        negatable = option.values.negatable
        keywords["action"] = argparse.BooleanOptionalAction if negatable else "store_true"
    else:
        keywords |= {"metavar": option.metavar, "type": from_text(option.values)}
        if option.parts is not None and option.parts.aliases:
            keywords["type"] = from_text(_resolver(option))
        elif isinstance(option.values, Choice):
            keywords |= {"choices": list(option.values.names), "type": str}
        if option.several:
            keywords["nargs"] = "+"
        elif option.alone is not None:
            keywords |= {"nargs": "?", "const": option.alone}
        if option.shows is not None:
            keywords |= {"action": _Show, "shows": option.shows}
    group.add_argument(f"--{option.name}", **{**keywords, **changes})


def _resolver(option: Option) -> Callable[[str], str]:
    parts = option.parts

    def resolve(text: str) -> str:
        if text not in parts and text not in parts.aliases:
            raise ValueError(f"{text!r} is not one of {', '.join([*parts, *parts.aliases])}")
        return parts.resolve(text)

    return resolve
