"""What adding a part takes: a class or function with its options in one file, and a registry row.

A toy of each kind is registered and run from the command line; nothing else knows of them.
"""

import importlib
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

import data
import evaluate
import losses
import models
import predict
import visualize
from data.catalogue import Dataset
from data.options import SEED, SHARED
from data.transforms import AUGMENTATIONS, Augmentation
from hierarchies import WEIGHTINGS, Hierarchy
from hierarchies.weights import Weighting
from losses.base import Loss, check_batch
from losses.penalties import Penalty
from metrics import METRICS, RULES, catalogue
from metrics.measure import ACCURACY, Measure
from metrics.result import Result
from metrics.rule import Rule
from models.backbones import Spec
from models.proxy_heads import ProxyHead, dissimilarity_ratio
from models.scale import Inflection
from models.sphere import angle
from optimization import OPTIMIZERS, SCHEDULES
from optimization.optimizers import Kind
from optimization.schedules import Schedule
from options import command_line
from registry import KEEP, Option, fraction, nonnegative, positive, positive_int, possible
from runs.folder import Run
from training import start
from training.rebuild import rebuilding

ROOT = Path(__file__).resolve().parents[1]


class ToyLoss(Loss):
    """toy_strength times cross-entropy."""

    summary = "so many times cross-entropy"
    options = (
        Option("toy_strength", positive, 2.0, "FACTOR", "factor of the toy loss on cross-entropy"),
    )

    def __init__(self, hierarchy, **options):
        super().__init__(hierarchy)
        self.strength = self.settle(options)["toy_strength"]

    def forward(self, scores, targets):
        check_batch(scores, targets, self.num_classes)
        return self.strength * F.cross_entropy(scores, targets)


class ToyHead(ProxyHead):
    """Scores -s log(angle), and toy_bias more for the first class."""

    summary = "angles with a favourite"
    aliases = ("Toy",)
    options = (
        *ProxyHead.options,
        Option("toy_bias", fraction, 0.5, "SHARE", "what the first class gets for free"),
    )
    inflections = {"euc": Inflection("toy with euc", -math.log(math.pi / 2), dissimilarity_ratio)}

    def __init__(self, num_classes, options):
        super().__init__(num_classes, options)
        self.bias = options.own["toy_bias"]

    def closeness(self, cosines):
        return -angle(cosines).log()

    def plain_scores(self, embeddings, weight):
        first = torch.arange(len(weight), device=weight.device) == 0
        return super().plain_scores(embeddings, weight) + self.bias * first


class ToyPenalty(Penalty):
    """Squared length of the mean class vector."""

    coefficient = Option(
        "toy_pull", nonnegative, 0, "COEF", "coefficient of the toy penalty", off=0, rebuilt=None
    )
    reads = "class_vectors"

    @classmethod
    def build(cls, held):
        return cls()

    def forward(self, weight):
        return weight.mean(dim=0).square().sum()


def toy_network(channels, fresh, toy_width):
    """Two linear layers on four pixels."""
    pixels = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten())
    return nn.Sequential(pixels, nn.Linear(4 * channels, toy_width), nn.ReLU(), nn.Linear(9, 9))


WIDTH = Option("toy_width", positive_int, 9, "N", "width of the toy network")
COUNT = Option("toy_count", positive_int, 8, "N", "images of a class of the toy dataset")
TREE = Hierarchy.from_paths([("a", "b"), ("a", "c"), ("d", "e"), ("d", "f")])


def load_toy(options):
    """Noise as bright as its class; every fourth image is for the test, as given."""
    count = options["toy_count"]
    labels = np.repeat(np.arange(TREE.num_classes), count)
    noise = np.random.default_rng(0).integers(0, 40, (len(labels), 16, 16, 3))
    order = np.arange(len(labels))
    return data.Splits(
        dataset=options["dataset"],
        hierarchy=TREE,
        files=[f"{i}.png" for i in order],
        labels=labels,
        sizes=np.full((len(labels), 2), 16.0),
        pixels=(noise + 60 * labels[:, None, None, None]).astype(np.uint8),
        train=order[order % 4 > 0] if not options["use_val"] else order[order % 4 > 1],
        val=order[order % 4 == 1] if options["use_val"] else [],
        test=order[order % 4 == 0],
    )


def toy_measure(outputs):
    """Share of images for which the first class scores best; in [0, 1]."""
    return Result((outputs.scores.argmax(axis=1) == 0).mean(), outputs.num_samples, 0)


def toy_rule(hierarchy, probabilities, toy_depth=1):
    """The superclass of the most probable class at a depth."""
    best = probabilities[:, hierarchy.leaves].argmax(axis=1)
    return hierarchy.level_table[best, toy_depth - 1]


def toy_augmentation(images, generator, fill, toy_share):
    """Some images mirrored left to right."""
    mirrored = torch.rand(len(images), generator=generator) < toy_share
    return torch.where(mirrored[:, None, None, None], images.flip(3), images)


def toy_schedule(optimizer, epochs, toy_halving):
    """A rate that halves, so many times in a run."""
    factor = 0.5 ** (toy_halving / epochs)
    return torch.optim.lr_scheduler.ExponentialLR(optimizer, factor)


def toy_optimizer(groups, toy_rho, **keywords):
    """Adadelta, which has no fused steps."""
    return torch.optim.Adadelta(groups, lr=keywords["lr"], rho=toy_rho)


def toy_weighting(hierarchy, *, toy_root):
    """As much as asked for at depth 1, the rest in even parts below it."""
    return np.where(hierarchy.depth == 1, toy_root, (1 - toy_root) * (hierarchy.depth == 2))


TOY_DEPTH = Option("toy_depth", positive_int, 1, "DEPTH", "depth of the answers of the toy rule")
TOY_MEASURES = (
    Measure("toy_first", "lower", ACCURACY, "0 to 1", "How often the first class wins."),
)
ROWS = (
    (losses.LOSSES, "toy", ToyLoss),
    (models.HEADS, "toy", ToyHead),
    (losses.PENALTIES, "toy_pull", ToyPenalty),
    (models.BACKBONES, "toy", Spec(toy_network, stem="1", last="3", own_stem=True,
                                   own_options=(WIDTH,))),
    (data.DATASETS, "toy", Dataset(
        load_toy, {"split": "given", "seed": 1, "use_val": False}, ("given",), (COUNT,))),
    (METRICS, "toy_first", toy_measure),
    (RULES, "toy", Rule(
        toy_rule, "a superclass at a depth", (TOY_DEPTH,), measured=True)),
    (AUGMENTATIONS, "toy", Augmentation(
        toy_augmentation, "mirrored", (Option("toy_share", fraction, 0.5, "SHARE", "mirrored"),))),
    (SCHEDULES, "toy", Schedule(
        toy_schedule, "halves", (Option("toy_halving", positive, 1.0, "TIMES", "how often"),))),
    (OPTIMIZERS, "toy", Kind(
        toy_optimizer, "Adadelta", (Option("toy_rho", fraction, 0.9, "SHARE", "what is kept"),))),
    (WEIGHTINGS, "toy", Weighting(
        toy_weighting, (Option("toy_root", fraction, 0.5, "SHARE", "weight of the top level"),))),
)  # fmt: skip
OWN = {"toy_strength": "3", "toy_bias": "0.25", "toy_pull": "0.1", "toy_width": "9",
       "toy_count": "12"}  # fmt: skip
CHOSEN = {"aug": "toy", "schedule": "toy", "optimizer": "toy", "toy_halving": "2"}
DATASETS = {"toy": {"backbone": "toy", "loss": "toy", "epochs": 2, "dim": 4, "lr": 0.01}}


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """A row for each toy."""
    for registry, name, part in ROWS:
        monkeypatch.setitem(registry, name, part)
    monkeypatch.setattr(catalogue, "MEASURES", (*catalogue.MEASURES, *TOY_MEASURES))
    catalogue._find.cache_clear()
    yield
    catalogue._find.cache_clear()


def parse(*argv):
    return command_line.parse(["--method", "toy", *argv], "", DATASETS)


def refused(capsys, *argv) -> str:
    with pytest.raises(SystemExit):
        parse(*argv)
    return capsys.readouterr().err.splitlines()[0]


def test_the_readme_names_the_registry_of_every_kind_of_part_and_its_file():
    text = (ROOT / "README.md").read_text("utf-8")
    text = text[text.index("To add a part") : text.index("class MyLoss")]
    named = []
    for name, file in re.findall(r"\(`([A-Z]+)`\s+in\s+`([\w/]+)\.py`", text):
        assert re.search(rf"^{name}\b", (ROOT / f"{file}.py").read_text("utf-8"), re.MULTILINE)
        module = file.removesuffix("/__init__").replace("/", ".")
        named.append(getattr(importlib.import_module(module), name))
    assert {id(registry) for registry in named} == {id(registry) for registry, _, _ in ROWS}


def test_toys_train_with_a_dynamic_scale_and_are_evaluated_and_reported(tmp_path, capsys):
    flags = [word for name, value in {**OWN, **CHOSEN}.items() for word in (f"--{name}", value)]
    argv = ["--method", "Toy", "--use_val", "--dynamic", "--GPU", "cpu", *flags]
    argv += ["--record", str(tmp_path)]
    assert start.main("", DATASETS, argv) == 0
    run = Run(command_line.parse(argv, "", DATASETS)[2])
    assert run.folder.parts[-2:] == (
        "toy-euc-dynamic-val-toy-aug=toy-optimizer=toy-schedule=toy-toy_bias=0.25-toy_count=12"
        "-toy_halving=2-toy_pull=0.1-toy_strength=3",
        "seed1",
    )
    assert {name: float(run.options[name]) for name in OWN} == {
        name: float(value) for name, value in OWN.items()
    }
    epochs = run.epochs.iloc[-1]
    assert epochs["scale"] != 10  # it moved: a start of its own, then steps
    assert run.epochs["lr"].tolist() == pytest.approx([0.01, 0.005])  # two epochs, two halves
    measures = run.metrics.set_index("metric")["value"]
    assert 0 <= measures["toy_first"] <= 1 and measures["toy/depth"] == 1
    assert len(run.outputs("test").labels) == 12  # every fourth of 4 x 12
    capsys.readouterr()
    assert evaluate.main([str(run.folder), "--metrics", "*"]) == 0
    shown = capsys.readouterr().out
    assert "toy_first" in shown and "reproduces metrics.csv" in shown
    argv = [str(run.folder), "--weighting", "toy", "--toy_root", "0.75"]
    assert evaluate.main(argv) == 0 and (run.folder / "evaluation-toy-toy_root=0.75.csv").is_file()
    assert evaluate.main(["--record", str(tmp_path)]) == 0
    assert "toy-euc-dynamic" in capsys.readouterr().out
    assert catalogue.direction("toy_first") == "lower"
    assert "toy_first" in set(pd.read_csv(tmp_path / "summary.csv")["metric"])
    assert evaluate.main([str(run.folder), "--metrics", "toy/*"]) == 0
    assert "backing off: toy" in capsys.readouterr().out
    answered_by_a_toy(run, tmp_path, capsys)
    assert visualize.main([str(run.folder)]) == 0
    assert "toy_first" in (run.folder / "report.html").read_text("utf-8")


def answered_by_a_toy(run, folder, capsys):
    """predict.py takes the toy rule and its option, and refuses the option under another rule."""
    Image.fromarray(np.full((16, 16), 99, np.uint8)).save(folder / "image.png")
    out = folder / "predictions.csv"
    argv = [str(run.folder), str(folder / "image.png"), "--out", str(out), "--GPU", "cpu"]
    for flags, depth in (([], 1), (["--toy_depth", "1"], 1), (["--toy_depth", "2"], 2)):
        assert predict.main([*argv, "--rule", "toy", *flags]) == 0
        assert pd.read_csv(out)["decision_depth"].tolist() == [depth]
    assert "rule toy, toy_depth 2" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        predict.main([*argv, "--rule", "crm", "--toy_depth", "1"])
    assert "--toy_depth has no meaning for --rule crm" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        predict.main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "toy: a superclass at a depth" in text
    assert "depth of the answers of the toy rule" in text


def test_toys_change_what_is_minimised():
    """The options arrive: each moves the loss of the first step as it should."""
    torch.manual_seed(0)
    scores, targets = torch.randn(5, 4), torch.tensor([0, 1, 2, 3, 0])
    loss = losses.build_loss("toy", TREE, toy_strength=3.0)
    torch.testing.assert_close(loss(scores, targets), 3 * F.cross_entropy(scores, targets))
    options = models.HeadOptions(dim=2, own={"toy_bias": 0.25})
    head = models.build_head("toy", 4, options)
    embeddings = torch.randn(5, 2)
    expected = -10 * head.cosines(embeddings).acos().log() + torch.tensor([0.25, 0, 0, 0])
    torch.testing.assert_close(head(embeddings), expected, atol=1e-4, rtol=1e-4)


def test_flags_of_toys_are_in_the_help_with_their_defaults(capsys):
    with pytest.raises(SystemExit):
        command_line.parse(["--help", "all"], "", DATASETS)
    text = " ".join(capsys.readouterr().out.split())
    assert "--toy_strength FACTOR factor of the toy loss on cross-entropy (with --loss toy)" in text
    assert "(default: 2.0)" in text and "toy: so many times cross-entropy" in text
    assert "toy (also Toy): angles with a favourite" in text
    for name in OWN:
        assert f"--{name} " in text


@pytest.mark.parametrize(
    "argv, message",
    [
        (
            ["--loss", "ce", "--toy_strength", "3"],
            "--loss ce does not take it (toy does: --loss toy)",
        ),
        (
            ["--method", "DR", "--toy_bias", "0"],
            "--method DR does not take it (toy does: --method toy)",
        ),
        (["--backbone", "conv4", "--toy_width", "9"], "--backbone conv4 does not take it"),
        (["--toy_strength", "0"], "--toy_strength: '0' is not a finite number above 0"),
        (["--split", "published"], "--split"),
        (["--resize", "8"], "--resize has no meaning here: the dataset toy does not take it"),
        (["--dynamic", "--distance", "arccos"], "--dynamic needs the inflection of ToyHead"),
        (["--loss", "corr"], "--mds_W"),
    ],
)
def test_options_of_toys_are_refused_where_they_have_no_meaning(capsys, argv, message):
    assert message in refused(capsys, *argv)


def test_defaults_of_toys_neither_name_the_run_nor_are_missing_from_the_record():
    options, _, folder = parse("--toy_strength", "2", "--toy_pull", "0")
    assert folder.parts[-2] == "toy-euc-toy" and options["toy_strength"] == 2
    assert options["toy_pull"] is None and options["toy_bias"] == 0.5


def test_one_name_declared_differently_by_two_parts_is_an_error(monkeypatch):
    other = Spec(toy_network, "1", "3", own_options=(Option("toy_width", fraction, 1),))
    monkeypatch.setitem(models.BACKBONES, "other", other)
    with pytest.raises(ValueError, match="--toy_width is declared twice, and differently"):
        possible([models.BACKBONES.option])


def test_a_recorded_model_is_rebuilt_without_what_training_was_held_to():
    options = rebuilding({"method": "toy", "toy_pull": 0.1, "mds_W": True, "freeze": "last"})
    assert options["toy_pull"] is None and options["mds_W"] is False and options["freeze"] is None
    assert options["method"] == "toy" and options["toy_bias"] is None  # not known then
    assert SEED.rebuilt is KEEP and "seed" in SHARED


HEAVY = ("torchvision", "timm", "skbio", "sklearn", "mlflow", "matplotlib", "scipy", "pandas")
MISSING = {
    "train": ["--dataset", "folder", "--data_dir", "nowhere", "--method", "DR"],
    "evaluate": ["nowhere"],
    "predict": ["nowhere", "image.png"],
    "visualize": ["nowhere"],
}


@pytest.mark.parametrize("script", MISSING)
def test_flags_are_parsed_and_a_missing_folder_is_named_before_anything_heavy_is_imported(
    script, tmp_path
):
    """The help is asked for first, in the same process."""
    for name in HEAVY:
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported')")
    code = f"""import runpy, sys
for argv in (["--help"], {MISSING[script]}):
    sys.argv = [{str(ROOT / script) + ".py"!r}, *argv]
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as stop:
        print("ended with", stop.code)"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
    )  # fmt: skip
    ends = [line for line in done.stdout.splitlines() if line.startswith("ended with")]
    assert ends == ["ended with 0", "ended with 2"], done.stderr
    assert "usage: " in done.stdout and "nowhere: there is no such folder" in done.stderr
