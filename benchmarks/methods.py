"""Every head under every loss: an epoch on features of the demo's images, or the reason why not.

    python benchmarks/methods.py

draws the demo's images, embeds them once with an untrained network, and trains each pair for an epoch in one process, on
one CPU thread. It prints a table of the validation accuracies, and the pairs that the command line refuses with what it
says. It ends with status 1 if anything else goes wrong. One epoch says nothing about how good a method is.
"""  # noqa: E501

import contextlib
import io
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import data
import losses
import models
import train
from losses.penalties import Penalties
from options import command_line
from options.parser import Parser

HEADS = (
    "softmax",
    "softmax --share_parents",
    "normface",
    "normface --mds_W --mds_targets haframe",
    "DR",
    "DR --share_parents",
    "DR --ema",
    "DR --mds_W",
    "DR --dynamic",
    "conditional",
    "levels",
    "levels --level_features slices",
    "levels --level_features chain --clspri",
    "hiercos",
)
LOSSES = (*losses.LOSSES, "corr --corr_ce 0.1", "margin --margin_kind hard")


def parse(head: str, loss: str, more: Sequence[str]) -> tuple[dict | None, str]:
    """The options of a run, or None and why the command line refuses it."""
    argv = ["--dataset", "demo", "--method", *head.split(), "--loss", *loss.split(), *more]
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            options, machine, _ = command_line.parse(argv, "", train.DATASETS)
    except SystemExit:
        return None, said.getvalue().splitlines()[0].removeprefix("error: ")
    return {**options, **machine}, ""


def train_epoch(options: dict, splits, features: torch.Tensor) -> float:
    """Trains an epoch on the features of all images and returns the validation accuracy."""
    torch.manual_seed(0)
    model = models.build_classifier(
        options, splits.hierarchy, splits.train_counts, splits.channels, splits.image_size
    )
    models.freeze(model, "butlast")
    head = model.head
    offered = models.HEADS[options["method"]].offered(options)
    loss = losses.build_loss(
        options["loss"], splits.hierarchy, offered, **losses.select_options(options)
    )
    penalties = Penalties(options, splits.hierarchy, model, head, model.fresh_parts())
    moving = [p for p in [*model.parameters(), *loss.parameters()] if p.requires_grad]
    optimizer = torch.optim.Adam(moving, lr=1e-3)
    labels = torch.from_numpy(splits.labels)
    model.train()
    for batch in torch.from_numpy(splits.train)[torch.randperm(len(splits.train))].split(64):
        embeddings = model(features[batch])
        scores = head(embeddings)
        read = [scores if name == "scores" else getattr(head, name)(embeddings)
                for name in loss.inputs]  # fmt: skip
        value = loss(*read, labels[batch])
        value = sum(penalties(model, head.weight).values(), value)
        if not value.isfinite():
            raise ArithmeticError(f"the loss is {float(value)}")
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        if head.updates_after_step:
            head.update_after_step(embeddings.detach(), labels[batch])
    model.eval()
    with torch.no_grad():
        answers = head(model(features[splits.val])).argmax(dim=1)
    return float((answers == labels[splits.val]).double().mean())


def embed(options: dict, splits) -> torch.Tensor:
    """What an untrained network makes of all images, (S, F)."""
    torch.manual_seed(0)
    model = models.build_classifier(
        options, splits.hierarchy, splits.train_counts, splits.channels, splits.image_size
    ).eval()
    pixels = torch.from_numpy(splits.pixels.copy()).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        features = torch.cat([model.backbone.trunk(part) for part in pixels.split(256)])
    return (features - features.mean(dim=0)) / (features.std(dim=0) + 1e-6)


def tried(options: dict | None, said: str, splits, features: torch.Tensor) -> tuple[str, str]:
    """What the table says of a pair, and why: the accuracy; "-" if it is refused, "!" if it fails.

    Args:
        options: Of the run; None if they are refused.
        said: The reason.
    """
    if options is None:
        return "-", said
    try:
        return f"{train_epoch(options, splits, features):.3f}", ""
    except Exception as error:  # noqa: BLE001  all pairs are to be seen
        return "!", f"{type(error).__name__}: {error}"


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table and the refusals; 1 if a pair neither trains nor is refused."""
    parser = Parser(description=__doc__)
    parser.add_argument("--heads", nargs="+", default=HEADS, help="heads, each with its flags")
    parser.add_argument("--losses", nargs="+", default=LOSSES, help="losses, each with its flags")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    started = time.perf_counter()
    reasons: dict[str, list[str]] = {"-": [], "!": []}
    with tempfile.TemporaryDirectory() as folder:
        more = ["--use_val", "--data_dir", folder, "--GPU", "cpu", "--seed", "1"]
        options, said = parse("softmax", "ce", more)
        if options is None:
            raise SystemExit(said)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            splits = data.load(options)
        features = embed(options, splits)
        print(f"validation accuracy after an epoch, {len(splits.val)} images\n")
        print("| head |", *(f"{loss} |" for loss in arguments.losses))
        print("|---" * (1 + len(arguments.losses)) + "|")
        for head in arguments.heads:
            cells = []
            for loss in arguments.losses:
                cell, why = tried(*parse(head, loss, more), splits, features)
                cells.append(f"{cell} |")
                if why:
                    reasons[cell].append(f"{head}, {loss}: {why}")
            print(f"| {head} |", *cells, flush=True)
    print("\nrefused, with the reason\n")
    for reason in reasons["-"]:
        print(f"- {reason}")
    for reason in reasons["!"]:
        print(f"WRONG {reason}")
    print(f"\n{time.perf_counter() - started:.0f} s")
    return 1 if reasons["!"] else 0


if __name__ == "__main__":
    sys.exit(main())
