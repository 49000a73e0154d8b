"""Freezing parts of a model (Urbani et al. 2024)."""

from torch import nn

from models.classifier import Classifier
from registry import Option, one_of

FREEZE = ("none", "last", "butlast", "all")
FREEZE_OPTION = Option(
    "freeze",
    one_of(FREEZE),
    "none",
    help="what does not train: butlast, the pretrained trunk; last, what follows it; all",
    off="none",
    rebuilt=None,
)


def parts(model: Classifier) -> dict[str, dict[str, nn.Parameter]]:
    """The parameters of a model by part, under their names: "trunk", what pretrained weights fill;
    "projection", the backbone's last layer; "size", the size branch; "head", class vectors and
    bias. Empty where there is none.
    """
    prefixes = {
        "backbone.network.": "trunk",
        "backbone.projection.": "projection",
        "size_branch.": "size",
        "head.": "head",
    }
    found: dict[str, dict[str, nn.Parameter]] = {part: {} for part in prefixes.values()}
    for name, parameter in model.named_parameters():
        part = next(part for prefix, part in prefixes.items() if name.startswith(prefix))
        found[part][name] = parameter
    return found


def freeze(model: Classifier, what: str) -> None:
    """Stops parts of a model from training; frozen batch norms stay in evaluation mode
    (`Classifier.train`).

    Args:
        model: Changed in place.
        what: "none"; "butlast", the trunk; "last", all behind it, which pretrained weights never
            fill: the backbone's last layer, the size branch and the head; or "all".

    Raises: ValueError: If `what` is none of these, or the head would move without a gradient
    although it is frozen.
    """
    if what not in FREEZE:
        raise ValueError(f"--freeze must be one of {', '.join(FREEZE)}, got {what!r}")
    frozen = {"none": (), "last": ("projection", "size", "head"), "butlast": ("trunk",)}
    chosen = frozen.get(what, ("trunk", "projection", "size", "head"))
    moving = [flag for flag, moves in _moving(model).items() if moves]
    if "head" in chosen and moving:
        raise ValueError(
            f"--freeze {what} freezes the head, but {' and '.join(moving)} moves it; drop one of"
            " them"
        )
    for part, parameters in parts(model).items():
        for parameter in parameters.values():
            parameter.requires_grad_(part not in chosen)
    model.train(model.training)


def _moving(model: Classifier) -> dict[str, bool]:
    head = model.head
    return {
        "--ema": getattr(head, "proxies", None) == "ema",
        "--dynamic": getattr(head, "dynamic_scale", None) is not None,
    }
