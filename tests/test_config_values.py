"""config.json from elsewhere, with values that nobody expects: every command says what is wrong, or
does its work, and none ends in a traceback. Each command meets some twenty of the values, and each
other ones; with VALUES=all in the environment it meets all, and does all of its work.
"""

import json
import os
import shutil

import pandas as pd
import pytest
from images import make_learnable_folder
from recorded import run_main

import evaluate
import figures
import predict
import train
import visualize
from evaluation import files, measure
from options import command_line
from runs.folder import Run, RunError
from training import start

EVERY = os.environ.get("VALUES") == "all"
CLASSES = ("A/a", "A/b", "B/c")
DEEP = json.loads("[" * 50 + "]" * 50)
WHOLE = (None, [], 1, "x")  # in the place of config.json
TOP = {
    "format": ("1", None),
    "options": (None, [], {}),
    "hierarchy": (None, 5),
    "split": (None, ["x"]),
    "images": (7, {"digest": 1, "fingerprints_of": "pixels"}, {"fingerprints_of": []}),
    "checksums": (3, {"hierarchy.json": 5}, {"split.csv": None}),
    "result_checkpoint": (None, 3, 1e308, "", "../last.pt", "nothing.pt"),
    "places": (
        None,
        [],
        {"data_dir": 5},
        {"data_dir": "\0"},
        {"data_dir": "/a", "images": "/a/\0"},
    ),
    "notes": (3,),
    "command": (5, [1, None]),
    "versions": ([], {"python": {}}),
    "format ": (1,),
}
OPTIONS = {
    "dataset": (None, 5, "nothing", "../..", []),
    "method": (None, "nothing", 5, []),
    "distance": ("nothing", 3),
    "backbone": (None, "nothing", [], "timm:nothing"),
    "dim": (None, 0, -1, 1.5, "8", 10**12, 1e308, [8]),
    "resize": (None, -3, "16", 1.5, 10**9, 0, True),
    "gray": ("yes", 2, []),
    "upscale": (-1, "a", 10**9),
    "batch_size": (None, 0, -1, "8", 1.5, 10**12),
    "seed": (None, -1, "x", 2**70, 1.5),
    "beta": ("x", -1, [], {}),
    "epochs": (None, "x", -1),
    "split_seed": ("x", -1, 2**70),
    "exclude": (5, "x", [5]),
    "fit": ({}, ["pad"]),
    "hierarchy": (5, [], "/nowhere/tree.csv"),
    "split": (5, "nothing"),
    "amp": ("x",),
    "clspri": ("x", {}),
    "lr": ("x", None),
    "alpha": ("x",),
    "size_inform": ("x", []),
    "nonliving": (5, ["nothing"]),
    "reduction_factor": ("x", 0, -1, []),
    "label_depth": ("x", 0, 99),
    "loss": (5, []),
    "dynamic": ("x", []),
    "something_new": (DEEP,),
}


def changes():
    """(name, function from a good content to an odd one) for each value above."""
    for value in WHOLE:
        yield f"all of it is {value!r}", lambda config, value=value: value
    for name, values in TOP.items():
        yield (
            f"no {name}",
            lambda config, name=name: {key: config[key] for key in config if key != name},
        )
        for value in values:
            yield f"{name} {value!r}", lambda config, n=name, v=value: {**config, n: v}
    for name, values in OPTIONS.items():
        yield (
            f"no option {name}",
            lambda config, name=name: {
                **config,
                "options": {key: v for key, v in config["options"].items() if key != name},
            },
        )
        for value in values:
            text = repr(value)[:30]
            yield (
                f"option {name} {text}",
                lambda config, n=name, v=value: {
                    **config,
                    "options": {**config["options"], n: v},
                },
            )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on twelve small images, the folder of those, and the folder of the run."""
    place = tmp_path_factory.mktemp("values")
    images = make_learnable_folder(place / "images", CLASSES, 6)
    argv = ["--dataset", "folder", "--data_dir", str(images), "--record", str(place / "record")]
    argv += "--GPU cpu --resize 16 --gray --backbone conv4 --dim 8 --method DR --epochs 1".split()
    argv += ["--use_val"]
    folder = command_line.parse(argv, "", train.DATASETS)[2]
    assert start.main("", train.DATASETS, argv) == 0
    return Run(folder), images


def commands(folder, images, out):
    picture = next(images.rglob("*.png"))
    here = ("--GPU", "cpu")
    return {
        "evaluate": (evaluate.main, folder),
        "evaluate images": (evaluate.main, folder, "--data_dir", images, *here),
        "predict": (predict.main, folder, picture, "--out", out, "--rule", "majority", *here),
        "visualize": (visualize.main, folder, "--figures", "--format", "png", "--data_dir", images),
    }


@pytest.fixture
def quick(monkeypatch):
    """Without what takes the arrays alone, whatever config.json says."""
    if not EVERY:
        table = pd.DataFrame({"metric": ["accuracy"], "value": [0.5], "n": 1, "undefined": 0})
        monkeypatch.setattr(measure, "measure", lambda source, request: (table, table))
        monkeypatch.setattr(files, "write_results", lambda *parts: ["a.csv", "a.txt"])
    drawn = {"mistake_images": figures.FIGURES["mistake_images"]} if EVERY else {}
    monkeypatch.setattr(figures, "FIGURES", drawn)


COMMANDS = ("evaluate", "evaluate images", "predict", "visualize")


@pytest.mark.parametrize("command", COMMANDS)
def test_no_value_of_config_json_ends_in_a_traceback(trained, tmp_path, capsys, quick, command):
    run, images = trained
    folder = tmp_path / "images" / "DR" / "seed1"
    shutil.copytree(run.folder, folder)
    main, *argv = commands(folder, images, tmp_path / "p.csv")[command]
    assert run_main(main, capsys, *argv)[0] < 2, "the run as it is"
    good = json.loads((folder / "config.json").read_text("utf-8"))
    odd, wrong = list(changes()), []
    step = len(odd) // 20
    mine = odd[COMMANDS.index(command) * step // len(COMMANDS) :: step]
    for name, change in odd if EVERY else mine:
        content = change(good)
        if isinstance(content, dict) and content.get("checksums") == good["checksums"]:
            del content["checksums"]  # else that is all that is wrong
        (folder / "config.json").write_text(json.dumps(content), "utf-8")
        try:
            status, _, err = run_main(main, capsys, *argv)
        except Exception as error:
            wrong.append(f"{name}: {type(error).__name__}: {error}"[:200])
            continue
        if status not in (0, 1) and "error: " not in err:
            wrong.append(f"{name}: status {status} without a message")
    assert not wrong, "\n".join(wrong)


def test_a_changed_config_json_is_noticed_and_one_that_is_laid_out_otherwise_is_not(trained):
    run, _ = trained
    path, text = run.folder / "config.json", (run.folder / "config.json").read_text("utf-8")
    content = json.loads(text)
    try:
        path.write_text(json.dumps(dict(reversed(content.items()))), "utf-8")
        assert Run(run.folder).options["dim"] == 8
        content["options"]["dim"] = 9
        path.write_text(json.dumps(content), "utf-8")
        with pytest.raises(RunError, match="config.json is not as the run wrote it"):
            _ = Run(run.folder).config
    finally:
        path.write_text(text, "utf-8")
