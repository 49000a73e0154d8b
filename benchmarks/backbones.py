"""Whether networks of timm train, and read their weights back: one epoch on the demo without
pretrained weights, in grey and in colour.

    python benchmarks/backbones.py
    python benchmarks/backbones.py --backbones convnext_nano vit_small_patch16_224 --resize 64

prints a Markdown table: weights, seconds of training and evaluation, test accuracy after the one
epoch, and the largest difference between the embeddings of the run and those of a network that read
the run's weights from a file of safetensors with timm's own names (--weights). The exit status is 1
if one differs by more than 1e-5 of the largest embedding, or normalises otherwise than timm says.
"""

import argparse
import contextlib
import io
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import train
from evaluation.model import load_model
from models import Backbone, build_backbone
from options import command_line
from options.parser import Parser
from runs.folder import Run
from training import start

BACKBONES = (  # small ones; convolutional, then transformers
    "convnext_atto",
    "resnet10t",
    "tf_efficientnet_lite0",
    "mobilenetv4_conv_small_035",
    "vit_tiny_patch16_224",
    "deit_tiny_patch16_224",
    "levit_128s",
    "xcit_nano_12_p16_224",
)
TOLERANCE = 1e-5


class Result(NamedTuple):
    """Of one network in one colour: seconds, accuracy in [0, 1], largest difference between
    embeddings as a share of the largest number in them, and whether it normalises as timm says.
    """

    seconds: float
    accuracy: float
    difference: float
    as_timm: bool


def train_an_epoch(name: str, folder: Path, options: argparse.Namespace, grey: bool) -> Run:
    """A run of one epoch on the demo. Raises: RuntimeError: If it does not end well."""
    argv = ["--dataset", "demo", "--data_dir", str(options.data_dir or folder / "demo")]
    argv += ["--method", "DR", "--backbone", name, "--rand_backbone", "--epochs", "1"]
    argv += ["--resize", str(options.resize), "--gray" if grey else "--no-gray"]
    argv += ["--record", str(folder / "record"), "--cache_dir", str(folder / "cache")]
    argv += ["--GPU", options.device]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        status = start.main("", train.DATASETS, argv)
    if status:
        raise RuntimeError(f"{name} ends with status {status}:\n{said.getvalue()[-2000:]}")
    return Run(command_line.parse(argv, "", train.DATASETS)[2])


def read_back(backbone: Backbone, name: str, folder: Path, side: int, channels: int) -> float:
    """The largest difference between the embeddings of a backbone and of its weights, read from a
    file that has timm's names, with a prefix, as a share of the largest number in them.
    """
    from safetensors.torch import save_file

    last = backbone.last[0]
    state = {f"module.{key}": value for key, value in backbone.network.state_dict().items()}
    state |= {
        f"module.{last}.{key}": value for key, value in backbone.projection.state_dict().items()
    }
    file = folder / "weights.safetensors"
    save_file({key: value.contiguous() for key, value in state.items()}, file)
    other = build_backbone(
        name, channels=channels, dim=backbone.dim, weights=file, image_size=side
    ).eval()
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(8, channels, side, side, generator=generator)
    with torch.no_grad():
        embeddings = backbone(images)
        return float((other(images) - embeddings).abs().max() / embeddings.abs().max())


def measure(name: str, options: argparse.Namespace, grey: bool, folder: Path) -> Result:
    """Trains, evaluates and reads back one network."""
    from timm.data import resolve_model_data_config

    begin = time.perf_counter()
    run = train_an_epoch(name, folder, options, grey)
    seconds = time.perf_counter() - begin
    model = load_model(run)
    config = resolve_model_data_config(model.backbone.network)
    as_timm = all(
        torch.allclose(getattr(model.backbone, key).flatten(), torch.tensor(config[key]))
        for key in ("mean", "std")
    )
    difference = read_back(model.backbone, name, folder, options.resize, 1 if grey else 3)
    accuracy = run.metrics.set_index("metric")["value"]["accuracy"]
    return Result(seconds, float(accuracy), difference, as_timm)


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(description=__doc__)
    parser.add_argument("--backbones", nargs="+", default=BACKBONES, help="timm's names")
    parser.add_argument("--resize", type=int, default=32, help="side of the images, in pixels")
    parser.add_argument("--data_dir", help="folder of the demo; drawn anew if not given")
    parser.add_argument("--device", default="cpu", help="as --GPU of train.py")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table; returns 1 if a network does not give the same embeddings again."""
    options = build_parser().parse_args(argv)
    print("| network | million weights | images | s | accuracy | difference | normalised as timm |")
    print("|---|---|---|---|---|---|---|")
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        for name in options.backbones:
            network = build_backbone(name, channels=3, pretrained=False, image_size=options.resize)
            count = sum(parameter.numel() for parameter in network.network.parameters()) / 1e6
            for grey in (True, False):
                result = measure(name, options, grey, Path(folder))
                failed |= result.difference > TOLERANCE or not result.as_timm
                print(
                    f"| {name} | {count:.1f} | {'grey' if grey else 'colour'}"
                    f" | {result.seconds:.0f} | {result.accuracy:.3f} | {result.difference:.1e}"
                    f" | {'yes' if result.as_timm else 'NO'} |",
                    flush=True,
                )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
