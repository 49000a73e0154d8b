"""docs/methods.md: its command lines are taken, its pairs without meaning are refused for its
reasons, and no part is missing.
"""

import re
from pathlib import Path

import pytest

import train
from losses import LOSSES, PENALTIES
from metrics import RULES
from models import HEADS
from options import command_line

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "methods.md").read_text("utf-8")
MADE, REFUSED = PAGE.split("## Pairs without meaning")
LINES = re.findall(r"\| `(--method [^`]*)` \|", MADE)
PAIRS = re.findall(r"\| `(--method [^`]*)` \| `(--loss [^`]*)` \| (.*) \|", REFUSED)


def parse(words):
    return command_line.parse(["--dataset", "demo", *words.split()], "", train.DATASETS)[0]


@pytest.mark.parametrize("line", LINES)
def test_a_command_line_of_the_page_is_taken_as_it_stands(line):
    options = parse(line)
    for word in line.split():
        if word.startswith("--"):
            assert options[word[2:]] is not None and options[word[2:]] is not False


@pytest.mark.parametrize(("head", "loss", "reason"), PAIRS)
def test_a_pair_of_the_page_is_refused_for_its_reason(head, loss, reason, capsys):
    with pytest.raises(SystemExit):
        parse(f"{head} {loss}")
    assert reason in capsys.readouterr().err


def test_every_head_loss_and_penalty_is_on_the_page():
    assert {f"--method {name}" for name in HEADS} <= {line[: len("--method ") + len(name)]
            for line in LINES for name in HEADS if line.split()[1] == name}  # fmt: skip
    assert all(any(f"--loss {name}" in line for line in LINES) for name in LOSSES)
    assert all(any(f"--{name} " in line for line in LINES) for name in PENALTIES)
    rules = MADE[MADE.index("## Decision rules") :]
    assert all(name.replace("_", " ") in rules.lower() for name in RULES)
    rows = [row.count("|") for row in MADE.splitlines() if row.startswith("| ")]
    assert set(rows) == {6} and len(LINES) > 35


@pytest.mark.parametrize("name", HEADS)
def test_every_refusal_of_a_head_and_a_loss_is_on_the_page(name, capsys):
    for loss in LOSSES:
        listed = any(head == f"--method {name}" and pair == f"--loss {loss}"
                     for head, pair, _ in PAIRS)  # fmt: skip
        if name != "normface":  # which the page says is as DR
            try:
                parse(f"--method {name} --loss {loss}")
            except SystemExit:
                assert listed, f"{name}, {loss}: {capsys.readouterr().err}"
            else:
                assert not listed
