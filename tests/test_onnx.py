"""predict.py --export: a run as an ONNX file that answers as predict.py does."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from images import ODD_CLASSES, draw, make_learnable_folder
from PIL import Image
from recorded import run_main
from trained import train_small

import predict
from data.unlabelled import read_batches
from evaluation import export
from evaluation.model import model_input
from hierarchies import Hierarchy

present = all(importlib.util.find_spec(name) for name in export.NEEDED)
needs_onnx = pytest.mark.skipif(not present, reason=f"needs {', '.join(export.NEEDED)}")
RUNS = {
    "grey": "--method DR --gray --use_val --fit pad",
    "sizes": "--method normface --use_val --size_inform --clspri",
    "softmax": "--method softmax --share_parents",
    "conditional": "--method conditional --use_val",
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    place = tmp_path_factory.mktemp("onnx")
    images = make_learnable_folder(place / "images", ODD_CLASSES[:5], 12, step=40)
    found = {}
    for name, flags in RUNS.items():
        argv = [*flags.split(), "--dim", "8", "--batch_size", "8", "--lr", "0.003"]
        status, found[name] = train_small(images, place / "record", *argv)
        assert status == 0
    return found


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Of odd sizes and several kinds: grey, of 16 bits and transparent ones among them."""
    root = tmp_path_factory.mktemp("new")
    rng = np.random.default_rng(1)
    for i, mode in enumerate(["RGB", "L", "RGBA", "P", "16"] * 4):
        size, file = (5 + 7 * i % 41, 4 + 11 * i % 37), root / f"{i:02}.png"
        if mode == "16":
            Image.fromarray(rng.integers(0, 2**16, size[::-1], dtype=np.uint16)).save(file)
        else:
            draw(file, size, mode, seed=i)
    return root


@pytest.fixture(scope="module")
def written():
    return {}


@pytest.fixture
def exported(written, monkeypatch):
    """Has each network written once, which takes seconds, whatever the rule beside it."""
    write = export._onnx

    def once(network, shape):
        parts = {name: value.numpy().tobytes() for name, value in network.state_dict().items()}
        key = network.temperature, *sorted(parts.items())
        if key not in written:
            written[key] = write(network, shape)
        return written[key]

    monkeypatch.setattr(export, "_onnx", once)


@needs_onnx
@pytest.mark.parametrize(
    "name, flags",
    [
        ("grey", "--target_accuracy 0.4 --scores prototypes"),
        ("sizes", "--threshold 0.6"),
        ("softmax", "--rule majority"),
        ("conditional", "--rule majority"),
    ],
)
def test_the_file_answers_as_the_script_does(runs, images, tmp_path, capsys, exported, name, flags):
    import onnxruntime

    run, file, out = runs[name], tmp_path / "model.onnx", tmp_path / "table.csv"
    status, said, _ = run_main(predict.main, capsys, run.folder, "--export", file, *flags.split())
    assert status == 0 and "within" in said and str(file) in said
    argv = run.folder, images, "--out", out, "--GPU", "cpu", "--topk", 5, *flags.split()
    status, *_ = run_main(predict.main, capsys, *argv)
    assert status == 0
    table = pd.read_csv(out, keep_default_na=False)

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    known = {k: json.loads(v) for k, v in session.get_modelmeta().custom_metadata_map.items()}
    (batch,) = read_batches(table["file"].tolist(), model_input(run), 64)
    feed = {"images": batch.pixels}
    if known["input"]["sizes"]:
        feed["sizes"] = batch.sizes
    assert {each.name for each in session.get_inputs()} == set(feed)
    assert session.get_outputs()[0].shape == ["batch", len(known["classes"])]
    (p,) = session.run(None, feed)
    assert p.shape == (20, len(known["classes"]))
    order = {path: c for c, path in enumerate(known["classes"])}
    for rank in range(1, 6):
        suffix = "" if rank == 1 else f"_{rank}"
        of_class = p[np.arange(20), table[f"class{suffix}"].map(order)]
        np.testing.assert_allclose(of_class, table[f"probability{suffix}"], atol=1e-4)

    assert Hierarchy.from_dict(known["hierarchy"]).digest == run.hierarchy.digest
    expected = model_input(run)
    assert known["input"]["channels"] == batch.pixels.shape[3]
    assert (known["input"]["fit"], known["input"]["upscale"]) == (
        expected.reading.fit,
        expected.upscale,
    )
    assert (known["input"]["height"], known["input"]["width"]) == (16, 16)
    assert (known["calibrated"] > 0) == (name != "softmax")
    assert (known["temperature"] == 1) == (name == "softmax")
    if "threshold" in known["rule_settings"]:  # the deepest node above it is the answer
        assert known["rule"] == "threshold"
        least = known["rule_settings"]["threshold"]
        assert (table["decision_probability"] > least - 1e-6).all()
    assert known["target_accuracy"] == (0.4 if "0.4" in flags else None)


@needs_onnx
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_recipe_answers_as_the_script_does(runs, tmp_path, capsys, monkeypatch, exported, mode):
    monkeypatch.chdir(tmp_path)
    turned = Image.Exif()
    turned[0x0112] = 8  # the camera was held upright
    draw("photo.jpg", (37, 22), mode, exif=turned)
    run = runs["sizes"].folder, "--rule", "majority"
    assert run_main(predict.main, capsys, *run, "--export", "model.onnx")[0] == 0
    assert run_main(predict.main, capsys, *run, "photo.jpg", "--GPU", "cpu")[0] == 0
    text = (Path(predict.__file__).parent / "docs/your_images.md").read_text("utf-8")
    (recipe,) = (
        block for block in text.split("```") if "model.onnx" in block and "import" in block
    )
    exec(recipe.removeprefix("python"), {})
    said = [line.rsplit(" ", 1) for line in capsys.readouterr().out.splitlines()]
    row = pd.read_csv("predictions.csv").iloc[0]
    assert [name for name, _ in said] == [row["class"], row["class_2"], row["class_3"]]
    expected = [row["probability"], row["probability_2"], row["probability_3"]]
    np.testing.assert_allclose([float(p) for _, p in said], expected, atol=1e-4)


@needs_onnx
def test_a_file_that_answers_otherwise_is_not_written(
    runs, tmp_path, monkeypatch, capsys, exported
):
    file, write = tmp_path / "model.onnx", export._onnx

    def of_another_temperature(network, shape):
        content = write(network, shape)
        network.temperature *= 3
        return content

    monkeypatch.setattr(export, "_onnx", of_another_temperature)
    argv = runs["sizes"].folder, "--rule", "majority", "--export", file
    status, _, err = run_main(predict.main, capsys, *argv)
    assert status == 2 and "from the run's own" in err and not file.exists()


class Branching(torch.nn.Linear):
    """Another computation for other values, which a file of ONNX cannot hold."""

    def forward(self, features):
        found = super().forward(features)
        return found if found.sum() > 0 else 2 * found


@needs_onnx
def test_a_network_that_cannot_be_written_is_refused_in_a_line(runs, tmp_path, monkeypatch, capsys):
    """And not in the screens of code that the exporter prints."""
    load = export.load_model

    def other(run):
        model = load(run)
        model.backbone.projection.__class__ = Branching
        return model

    monkeypatch.setattr(export, "load_model", other)
    argv = runs["grey"].folder, "--rule", "majority", "--export", tmp_path / "model.onnx"
    status, out, err = run_main(predict.main, capsys, *argv)
    assert status == 2 and "PyTorch cannot write this network as ONNX" in err
    assert len(err.splitlines()) == 1 and out == "" and list(tmp_path.iterdir()) == []


@needs_onnx
def test_the_file_is_of_an_older_format_and_names_no_folder(
    runs, tmp_path, capsys, exported, monkeypatch
):
    """Which onnxruntime of 2023 reads; the exporter keeps the source of each step."""
    import onnx

    file = tmp_path / "model.onnx"
    argv = runs["sizes"].folder, "--rule", "majority", "--export", file
    status, out, err = run_main(predict.main, capsys, *argv)
    assert status == 0 and err == "" and "Warning" not in out
    assert str(Path(predict.__file__).parent).encode() not in file.read_bytes()
    model = onnx.load(file)
    onnx.checker.check_model(model)
    assert (model.ir_version, [one.version for one in model.opset_import]) == (8, [18])


def test_without_the_packages_the_export_says_what_to_install(tmp_path, monkeypatch, capsys, runs):
    monkeypatch.setattr(export, "NEEDED", ("onnx_that_is_not_there",))
    argv = runs["grey"].folder, "--rule", "majority", "--export", tmp_path / "m.onnx"
    status, _, err = run_main(predict.main, capsys, *argv)
    assert status == 2 and "pip install onnx_that_is_not_there" in err


@pytest.mark.parametrize(
    "argv, message",
    [
        (("run", "--export", "m.onnx", "image.png"), "leave out one of the two"),
        (("run", "--export", "m.onnx", "--topk", "4"), "--topk has no meaning with --export"),
        (("run", "--export", "m.onnx", "--within", "A"), "--within has no meaning with --export"),
        (("run",), "required: IMAGE"),
    ],
)
def test_what_an_export_does_not_read_is_refused(capsys, argv, message):
    with pytest.raises(SystemExit):
        predict.main(argv)
    assert message in capsys.readouterr().err
