"""A trained run as one ONNX file that answers without this project: network, head and softmax, and
in the file's metadata the class tree, how images are brought to size, the temperature and the rule.
"""

import contextlib
import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from data.unlabelled import ModelInput
from evaluation.decision import Decision
from evaluation.model import load_model, model_input, read_prototypes
from evaluation.prediction import PredictionOptions, decide
from files.writing import replacing
from hierarchies.tree import format_path
from models import Classifier
from runs.folder import Run

NEEDED = ("onnx", "onnxruntime", "onnxscript")
# of ONNX and of its files; read by onnxruntime 1.14 and later
OPSET, IR_VERSION = 18, 8
TOLERANCE = 1e-4  # of a probability, by which the exported network may differ
CHECKED = 8  # random images that it is checked on
LARGEST = 2**31 - 2**20  # bytes of a file of this format


class Posterior(nn.Module):
    """Images to probabilities, softmax of the scores divided by the temperature.

    Args:
        model: In evaluation mode, on the CPU.
        temperature: > 0.
        prototypes: (C, D) to score with, instead of the class vectors.

    Shape: uint8 (B, H, W, channels), or floats of the same values, 0 to 255; with --size_inform
    also the original sizes, floats (B, 2), width and height in pixels -> (B, C) float32.
    """

    def __init__(
        self, model: Classifier, temperature: float, prototypes: torch.Tensor | None = None
    ):
        super().__init__()
        self.model, self.temperature = model, float(temperature)
        self.register_buffer("prototypes", prototypes)

    def forward(self, images: torch.Tensor, sizes: torch.Tensor | None = None) -> torch.Tensor:
        pixels = images.permute(0, 3, 1, 2).float() / 255
        embeddings = self.model.embed(pixels, sizes).float()
        scores = self.model.head(embeddings, weight=self.prototypes)
        return torch.softmax(scores / self.temperature, dim=1)


def export(asked: PredictionOptions) -> None:
    """Writes the run as an ONNX file, says what is in it, and how far onnxruntime's answers are
    from the run's own.

    Args:
        asked: Of these the run, the file to write, the rule, its settings and target, and the
            scores count.

    Raises: ValueError, OSError, RuntimeError: If it is impossible; then nothing is written.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(
            f"--export needs the package {missing[0]}, which is not here:"
            f" pip install {' '.join(NEEDED)}"
        )
    source, decision = decide(asked)
    run, taken = source.run, model_input(source.run)
    prototypes = read_prototypes(run) if asked.scores == "prototypes" else None
    network = Posterior(load_model(run), decision.temperature, prototypes).eval()
    size = sum(
        tensor.numel() * tensor.element_size()
        for tensor in [*network.parameters(), *network.buffers()]
    )
    if size > LARGEST:
        raise ValueError(
            f"--export: the network of {run.folder} has {size / 2**30:.1f} GiB, and one ONNX file"
            " holds 2"
        )
    content = _with_metadata(
        _onnx(network, taken.shape),
        run.hierarchy.num_classes,
        metadata(run, taken, decision, asked.scores, asked.target),
    )
    apart = _check(content, network, taken.shape)
    with replacing(asked.out) as temporary:
        temporary.write_bytes(content)
    print(f"{run.folder}, {run.result_checkpoint}, {run.hierarchy.num_classes} classes")
    print(
        f"takes uint8 images (any number, {', '.join(map(str, taken.shape))})"
        + (", and their original sizes" if network.model.size_branch is not None else "")
    )
    print(f"probabilities on {CHECKED} random images are within {apart:.1g} of the run's own")
    if decision.fit is None:
        print("note: probabilities are not calibrated: there is no validation split (--use_val)")
    if run.options.get("amp"):
        print(
            "note: the run was trained with --amp, and predict.py computes as it did; the file"
            " computes in float32, so probabilities differ in the third digit"
        )
    print(f"{'written':<28}{asked.out}")


def metadata(
    run: Run, taken: ModelInput, decision: Decision, scores: str, target: float
) -> dict[str, str]:
    """What is in the file beside the network: each value is JSON.

    Keys: classes (their paths, in the order of the output), hierarchy (the content of
    hierarchy.json), input (height and width that images are brought to, channels, fit, upscale:
    side to which they are enlarged after that, 0 for none, grey_range, sizes: whether the original
    sizes are an input, too), temperature, calibrated (on how many images; 0 where it is not), rule,
    rule_settings (such as threshold), promised (whether the settings promise an accuracy, which for
    new images takes that they are like those of the run), target_accuracy (that), scores.
    """
    tree, reading = run.hierarchy, taken.reading
    width, height = reading.size
    content = {
        "classes": [format_path(path) for path in tree.class_paths],
        "hierarchy": tree.to_dict(),
        "input": {
            "height": height,
            "width": width,
            "channels": reading.channels,
            "layout": "images, height, width, channels; values 0 to 255",
            "fit": reading.fit,
            "resampling": "bilinear, antialiased (Pillow)",
            "upscale": taken.upscale,
            "grey_range": reading.grey_range,
            "sizes": bool(run.options.get("size_inform")),
        },
        "temperature": float(decision.temperature),
        "calibrated": 0 if decision.fit is None else int(decision.fit.n),
        "rule": decision.rule,
        "rule_settings": dict(decision.options),
        "promised": decision.promise is not None and not decision.estimated,
        "target_accuracy": None if decision.promise is None else target,
        "scores": scores,
    }
    return {name: json.dumps(value, default=float) for name, value in content.items()}


def _example(
    shape: tuple[int, int, int], sizes: bool, count: int, seed: int = 0
) -> tuple[torch.Tensor, ...]:
    """Random images of that height, width and channels, and sizes where the network takes them."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, *shape), generator=generator, dtype=torch.uint8)
    if not sizes:
        return (images,)
    return images, torch.randint(5, 500, (count, 2), generator=generator).float()


def _onnx(network: Posterior, shape: tuple[int, int, int]) -> bytes:
    """The network. Raises: ValueError: If a part of it has no counterpart in ONNX."""
    example = _example(shape, network.model.size_branch is not None, 2)
    batch = {0: torch.export.Dim("batch")}
    try:
        with _quietly():
            program = torch.onnx.export(
                network,
                example,
                input_names=["images", "sizes"][: len(example)],
                output_names=["probabilities"],
                dynamic_shapes=(batch,) * len(example),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
            return program.model_proto.SerializeToString()
    except Exception as error:  # what cannot be written raises almost anything
        raise ValueError(
            f"--export: PyTorch cannot write this network as ONNX ({_reason(error)})"
        ) from error


def _reason(error: BaseException) -> str:
    """The first line of what went wrong first: what wraps it is advice to who wrote the network."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:300]


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without what the exporter says of its own workings: screens of code, where it fails."""
    before, said = logging.root.manager.disable, io.StringIO()
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
    finally:
        logging.disable(before)


def _with_metadata(content: bytes, classes: int, texts: dict[str, str]) -> bytes:
    import onnx

    proto = onnx.load_model_from_string(content)
    proto.ir_version = IR_VERSION
    del proto.graph.value_info[:]  # shapes inside, which nobody needs
    shape = proto.graph.output[0].type.tensor_type.shape
    shape.Clear()
    shape.dim.add().dim_param = "batch"
    shape.dim.add().dim_value = classes
    for part in (proto.graph, *proto.graph.node, *proto.graph.input, *proto.graph.output):
        part.doc_string = ""  # may name folders of this machine, as may these:
        del part.metadata_props[:]
    onnx.helper.set_model_props(proto, texts)
    return proto.SerializeToString()


def _check(content: bytes, network: Posterior, shape: tuple[int, int, int]) -> float:
    """The largest difference of a probability, of one image and of several.

    Raises: ValueError: If it is too large.
    """
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    try:
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ValueError(f"--export: onnxruntime does not read the file ({error})") from error
    largest = 0.0
    for count in (1, CHECKED):
        inputs = _example(shape, network.model.size_branch is not None, count, seed=count)
        with torch.no_grad():
            expected = network(*inputs).numpy()
        names = [each.name for each in session.get_inputs()]
        feed = {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)}
        found = session.run(None, feed)[0]
        if found.shape != expected.shape or not np.isfinite(expected).all():
            raise ValueError(
                f"--export: the model gives {found.shape} probabilities that should be"
                f" {expected.shape}, or that are not finite; did its training diverge?"
            )
        largest = max(largest, float(np.abs(found - expected).max()))
    if not largest <= TOLERANCE:
        raise ValueError(
            f"--export: onnxruntime's probabilities are up to {largest:.2g} from the run's own,"
            f" more than {TOLERANCE:g}: PyTorch's exporter does not keep what this network"
            " computes; nothing is written"
        )
    return largest
