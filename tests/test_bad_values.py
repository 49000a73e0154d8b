"""Every flag of the scripts with twenty odd values: taken, or refused by a message that names it.

Behind a switch the value is another RUN or IMAGE, which the message names then. Each flag meets
every fourth kind of value, the next flag the next ones, so that every kind meets many flags; with
VALUES=all in the environment each flag meets all.
"""

import os
from functools import cache

import pytest

import evaluate
import predict
import train
import visualize
from evaluation import prediction
from evaluation.answers import Counts
from options import command_line, flags, of_evaluation, of_prediction
from reports import visualization
from reports.formats import SUMMARIES
from training import experiment

STEP = 1 if os.environ.get("VALUES") == "all" else 4
VALUES = {
    "empty": [""],
    "blank": ["  "],
    "nan": ["nan"],
    "infinite": ["inf"],
    "negative": ["-1"],
    "too large": ["1e400"],
    "hexadecimal": ["0x10"],
    "very long": ["9" * 5000],
    "other digits": ["\u0663"],
    "newline": ["1\n2"],
    "NUL": ["a\0b"],
    "no such path": ["/no/such/path.csv"],
    "a folder": ["/"],
    "upwards": ["../.."],
    "at": ["@"],
    "hyphens": ["--"],
    "quotes": ["'\""],
    "emoji": ["\U0001f990"],
    "surrogate": ["\udcff"],
    "escape code": ["\x1b[2J"],
    "several": ["1", "x"],
    "nothing": [],
}
TRAINING = ["--dataset", "demo", "--method", "DR", "--backbone", "conv4"]


def parse_train(argv):
    return train.main("", train.DATASETS, [*TRAINING, *argv])


def take(*_):
    return 0


SCRIPTS = {
    "train": (lambda: flags.build_parser("", list(train.DATASETS)), parse_train),
    "evaluate": (lambda: of_evaluation.build_parser("", SUMMARIES), evaluate.main),
    "predict": (
        lambda: of_prediction.build_parser(""),
        lambda argv: predict.main(["RUN", "IMAGE", *argv]),
    ),
    "visualize": (visualize.build_parser, lambda argv: visualize.main(["RUN", *argv])),
}


@pytest.fixture
def only_the_command_line(monkeypatch, tmp_path):
    """What comes after parsing does nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(experiment, "run_to_status", take)
    monkeypatch.setattr(evaluate, "_show_runs", take)
    monkeypatch.setattr(evaluate, "_show_record", take)
    (tmp_path / "RUN").mkdir()
    monkeypatch.setattr(visualization, "visualize", lambda *_, **others: 0)
    monkeypatch.setattr(prediction, "predict", lambda *_: Counts())
    monkeypatch.setattr(command_line, "_describe", take)  # for --help
    build = cache(lambda datasets: flags.build_parser("", list(datasets)))
    monkeypatch.setattr(command_line, "build_parser", lambda _, datasets: build(tuple(datasets)))


def outcome(call, argv, capsys) -> tuple[object, str]:
    """The exit status and what is said on standard error. Any other error is the test's."""
    try:
        status = call(argv)
    except SystemExit as stop:
        status = stop.code
    return status, capsys.readouterr().err


@pytest.mark.usefixtures("only_the_command_line")
@pytest.mark.parametrize("script", SCRIPTS)
def test_every_flag_takes_an_odd_value_or_refuses_it_by_name(script, capsys):
    build, call = SCRIPTS[script]
    names = [action.option_strings[-1] for action in build()._actions if action.option_strings]
    wrong, met = [], set()
    for number, name in enumerate(names):
        for kind, values in list(VALUES.items())[number % STEP :: STEP]:
            if name == "--help":
                continue
            met.add(kind)
            status, said = outcome(call, [name, *values], capsys)
            behind = "argument RUN" in said or "argument IMAGE" in said or " -- " in said
            behind |= said.endswith(": there is no such folder\n") and script == "evaluate"
            behind |= name == "--pack" and "is not a run" in said  # the value is taken for RUN
            behind |= name == "--CORR" and "--loss corr" in said  # which it is short for
            refused = status == 2 and (name in said or behind or (kind == "at" and "@" in said))
            if not (refused or (status in (0, 1) and "error" not in said)):
                wrong.append((name, kind, status, said))
            elif "\x1b" in said or "Traceback" in said or len(said) > 1000:
                wrong.append((name, kind, "unreadable", said[:200]))
    assert not wrong, f"{len(wrong)}: {wrong[:20]}"
    assert len(names) > 5 and len(met) == len(VALUES) > 20
