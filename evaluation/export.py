"""A trained run as one ONNX file that answers without this project: network, head and softmax, and
in the file's metadata the class tree, how images are brought to size, the temperature and the rule.
"""

import contextlib
import importlib.util
import io
import json
import warnings
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from data.unlabelled import Shape
from evaluation.decision import Decision
from evaluation.model import image_shape, load_model, read_prototypes
from evaluation.prediction import PredictionOptions, decide
from files.writing import replacing
from hierarchies.tree import format_path
from models import Classifier
from runs.folder import Run

NEEDED = ("onnx", "onnxruntime")
OPSET = 18  # of ONNX; read by onnxruntime 1.14 and later
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
    run, shape = source.run, image_shape(source.run)
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
        _onnx(network, shape),
        run.hierarchy.num_classes,
        metadata(run, shape, decision, asked.scores, asked.target),
    )
    apart = _check(content, network, shape)
    with replacing(asked.out) as temporary:
        temporary.write_bytes(content)
    print(f"{run.folder}, {run.result_checkpoint}, {run.hierarchy.num_classes} classes")
    print(
        f"takes uint8 images (any number, {shape.upscale or shape.height},"
        f" {shape.upscale or shape.width}, {1 if shape.gray else 3})"
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
    run: Run, shape: Shape, decision: Decision, scores: str, target: float
) -> dict[str, str]:
    """What is in the file beside the network: each value is JSON.

    Keys: classes (their paths, in the order of the output), hierarchy (the content of
    hierarchy.json), input (height and width that images are brought to, channels, fit, upscale:
    side to which they are enlarged after that, 0 for none, grey_range, sizes: whether the original
    sizes are an input, too), temperature, calibrated (on how many images; 0 where it is not), rule,
    rule_settings (such as threshold), promised (whether the settings promise an accuracy, which for
    new images takes that they are like those of the run), target_accuracy (that), scores.
    """
    tree = run.hierarchy
    content = {
        "classes": [format_path(path) for path in tree.class_paths],
        "hierarchy": tree.to_dict(),
        "input": {
            "height": shape.height,
            "width": shape.width,
            "channels": 1 if shape.gray else 3,
            "layout": "images, height, width, channels; values 0 to 255",
            "fit": shape.fit,
            "resampling": "bilinear, antialiased (Pillow)",
            "upscale": shape.upscale,
            "grey_range": shape.grey_range,
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


def _example(shape: Shape, sizes: bool, count: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Random images, and sizes where the network takes them."""
    generator = torch.Generator().manual_seed(seed)
    side = (shape.upscale,) * 2 if shape.upscale else (shape.height, shape.width)
    dimensions = (count, *side, 1 if shape.gray else 3)
    images = torch.randint(0, 256, dimensions, generator=generator, dtype=torch.uint8)
    if not sizes:
        return (images,)
    return images, torch.randint(5, 500, (count, 2), generator=generator).float()


def _onnx(network: Posterior, shape: Shape) -> bytes:
    """The network. Raises: ValueError: If a part of it has no counterpart in ONNX."""
    example = _example(shape, network.model.size_branch is not None, 2)
    inputs, written = ["images", "sizes"][: len(example)], io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter on its own workings
        try:
            with _right_sums():
                torch.onnx.export(
                    network,
                    example,
                    written,
                    input_names=inputs,
                    output_names=["probabilities"],
                    dynamic_axes={name: {0: "batch"} for name in (*inputs, "probabilities")},
                    opset_version=OPSET,
                    # the other exporter takes ten times as long, and a package more
                    dynamo=False,
                )
        except Exception as error:  # what cannot be written raises almost anything
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise ValueError(
                f"--export: PyTorch cannot write this network as ONNX ({reason[0][:300]})"
            ) from error
    return written.getvalue()


@contextlib.contextmanager
def _right_sums() -> Iterator[None]:
    """Has the exporter write sums and maxima over siblings (--method conditional) as they are: of
    rows with one index `index_add` by itself keeps but the last, with a warning, and of a maximum
    it guesses a wrong shape, of which onnxruntime warns at each answer.
    """
    parse = torch.onnx.symbolic_helper.parse_args

    def scattered(g, values, axis, rows, source, how):
        return g.op("ScatterElements", values, rows, source, axis_i=axis, reduction_s=how).setType(
            values.type()
        )

    @parse("v", "i", "v", "v", "v")
    def index_add(g, values, axis, index, source, alpha=None):
        others = [i for i in range(source.type().dim()) if i != axis]
        rows = g.op("Unsqueeze", index, g.op("Constant", value_t=torch.tensor(others)))
        rows = g.op("Expand", rows, g.op("Shape", source))
        return scattered(g, values, axis, rows, source, "add")

    @parse("v", "i", "v", "v", "s", "b")
    def scatter_reduce(g, values, axis, rows, source, how, include_self):
        return scattered(g, values, axis, rows, source, {"amax": "max", "amin": "min"}[how])

    mended = {"aten::index_add": index_add, "aten::scatter_reduce": scatter_reduce}
    for name, written in mended.items():
        torch.onnx.register_custom_op_symbolic(name, written, OPSET)
    try:
        yield
    finally:
        for name in mended:
            torch.onnx.unregister_custom_op_symbolic(name, OPSET)


def _with_metadata(content: bytes, classes: int, texts: dict[str, str]) -> bytes:
    import onnx

    proto = onnx.load_model_from_string(content)
    # shapes that the exporter guesses, of sums over the tree wrongly, of which onnxruntime warns
    del proto.graph.value_info[:]
    shape = proto.graph.output[0].type.tensor_type.shape
    shape.Clear()
    shape.dim.add().dim_param = "batch"
    shape.dim.add().dim_value = classes
    for node in proto.graph.node:
        node.doc_string = ""  # may name folders of this machine
    onnx.helper.set_model_props(proto, texts)
    return proto.SerializeToString()


def _check(content: bytes, network: Posterior, shape: Shape) -> float:
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
