"""Each command that the pages and the scripts' own descriptions show is one that is taken, each
flag is one that there is, and links lead somewhere.
"""

import importlib
import re
import shlex
import sys
from pathlib import Path

import pytest

import visualize
from options import command_line, of_evaluation, of_prediction
from options.flags import declared
from registry import possible
from reports.formats import SUMMARIES

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import grid  # noqa: E402

PAGES = [page for kind in ("*.md", "*/*.md", "*.py", "scripts/*.sh") for page in ROOT.glob(kind)]
COMMAND = re.compile(
    r"(?:(?<!\\n' )\b(?:python|torchrun --nproc_per_node \d) |\| `)"  # or in a table of them
    r"((?:train\w*|evaluate|predict|visualize)\.py(?:(?! [ #|&>])[^`\n;)])*)|"
    r"(?:[`/ ]|^)(scripts/sweep\.sh [A-Z\d]\w*(?:(?! [ #|&>])[^`\n;)])*)",
    re.MULTILINE,
)
GIVEN = re.compile(r"""(?:^|for )(\w+)(?:=| in )("[^"]*"|\w+)""", re.MULTILINE)
LEFT_OUT = re.compile(
    r"\.\.\.|\[|--list_backbones|--help|\.py$|^train.py --dataset demo$"
)  # or cut short
FILES = {".csv", ".tsv", ".txt", ".json", ".safetensors"}


def commands_of(page):
    """The words of each command on a page; a variable of the shell has its first value."""
    text = re.sub(r" *\\\n\s*", " ", page.read_text("utf-8"))
    values = {name: value.strip('"') for name, value in GIVEN.findall(text)}
    for found in COMMAND.findall(text):
        words = re.sub(r"\$(\w+)", lambda name: values[name[1]], "".join(found))
        if not LEFT_OUT.search(words):
            # a run to start from is one that only the reader has
            yield tuple(shlex.split(re.sub(r" --start_from \S+", "", words)))


COMMANDS = sorted({command for page in PAGES for command in commands_of(page)})


def take(script, *words):
    """Raises: SystemExit: If the script does not take these words."""
    if script == "scripts/sweep.sh":
        own, each = (part.split() for part in " ".join(words).partition(" -- ")[::2])
        table = own[own.index("--grid") + 1] if "--grid" in own else "scripts/kim2023.txt"
        next(grid.plan(grid.read_grid(ROOT / table), own[0], extra=each))
        described = (ROOT / script).read_text("utf-8")
        assert all(f"#   {word} " in described for word in own if word.startswith("--"))
    elif script == "evaluate.py":
        parser = of_evaluation.build_parser("", SUMMARIES)
        of_evaluation.check(parser, parser.parse_intermixed_args(words))
    elif script == "predict.py":
        parser = of_prediction.build_parser("")
        of_prediction.check(parser, parser.parse_intermixed_args(words))
    elif script == "visualize.py":
        visualize.build_parser().parse_intermixed_args(words)
    else:
        command_line.parse(words, "", importlib.import_module(script[:-3]).DATASETS)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_command_of_the_pages_is_taken(command, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for word in command[1:]:  # what it reads is there
        if Path(word).suffix in FILES:
            Path(word).parent.mkdir(parents=True, exist_ok=True)
            Path(word).touch()
        elif word.isalpha():
            Path(word).mkdir(exist_ok=True)
    take(*command)


def test_commands_are_found_on_the_pages():
    assert len(COMMANDS) > 100


DOCUMENTS = [ROOT / "README.md", ROOT / "record" / "README.md", *(ROOT / "docs").glob("*.md")]
OF_OTHERS = {"nproc_per_node", "my_factor", "headless", "hide", "window", "screenshot"}
OF_OTHERS |= {"joblog", "sshlogin", "workdir"}


def test_each_flag_that_a_page_names_is_one():
    parsers = (of_evaluation.build_parser("", SUMMARIES), of_prediction.build_parser(""))
    known = OF_OTHERS | set(possible(declared()))
    for parser in (*parsers, visualize.build_parser()):
        known |= {action.dest for action in parser._actions}
    for file in (*(ROOT / "scripts").glob("*.*"), *(ROOT / "benchmarks").glob("*.*")):
        known |= set(re.findall(r"--(\w+)", file.read_text("utf-8")))
    for page in DOCUMENTS:
        named = re.findall(r"(?<![\w-])--(?:no-)?([a-z]\w+)", page.read_text("utf-8"))
        assert not set(named) - known, page


def test_links_lead_to_files_and_headings():
    for page in DOCUMENTS:
        for link in re.findall(r"\]\((?!http)([^)]+)\)", page.read_text("utf-8")):
            file, _, heading = link.partition("#")
            target = page.parent / file if file else page
            assert target.exists(), f"{page}: {link}"
            titles = re.findall(r"^#+ (.*)$", target.read_text("utf-8"), re.M) if heading else []
            anchors = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
            assert not heading or heading in anchors, f"{page}: {link}"
