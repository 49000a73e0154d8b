"""Files that hold arguments of a command line."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from files.regular import check_regular

# of an argument file; its group is empty in a comment
WORD = re.compile(r"""#.*|((?:"[^"]*"|'[^']*'|[^\s"'])+)""")


QUOTED = re.compile(r""""([^"]*)"|'([^']*)'""")


def read_argument_files(arguments: Sequence[str], within: Sequence[Path] = ()) -> list[str]:
    """The arguments with each `@FILE` replaced by those in the file: UTF-8, any number on a line,
    `#` starts a comment.

    Quotes hold a value with spaces together and ~ at its start is the home folder; everything else,
    backslashes too, means itself. Files may name others.

    Args:
        arguments: Of a command line.
        within: Files that are being read.

    Raises: ValueError: If a file cannot be read; the message names it.
    """
    found = []
    for argument in arguments:
        if not argument.startswith("@"):
            found.append(argument)
            continue
        path = Path(argument[1:])
        if path.resolve() in within:
            raise ValueError(f"the argument file {argument} names itself: take that out of it")
        found += read_argument_files(_words(argument, path), [*within, path.resolve()])
    return found


def _words(argument: str, path: Path) -> list[str]:
    try:
        check_regular(path)  # a pipe would hang, a device never end
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ValueError(
            f"the argument file {argument} cannot be read: {error.strerror or error}"
        ) from error
    except UnicodeDecodeError:
        text = "\0"
    except ValueError as error:
        raise ValueError(f"the argument file {argument} cannot be read: {error}") from error
    if "\0" in text:  # UTF-16 without its mark is UTF-8 full of these
        raise ValueError(f"the argument file {argument} is not in UTF-8: save it as UTF-8")
    words = []
    for number, line in enumerate(text.splitlines(), 1):
        if WORD.sub("", line).strip():
            raise ValueError(
                f"the argument file {argument}, line {number}: a quote is not closed, put quotes"
                f" around the value: {line}"
            )
        words += [
            os.path.expanduser(QUOTED.sub(r"\1\2", word)) for word in WORD.findall(line) if word
        ]
    return words
