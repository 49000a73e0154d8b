"""Losses over scores and targets, the second axis of a method beside the head: no parameters, only
tables.
"""

from collections.abc import Collection, Mapping

from hierarchies import Hierarchy
from losses.aigdl import AIGDL
from losses.base import Loss
from losses.cosines import DeViSE, HAFrame
from losses.flat import Corr, CrossEntropy
from losses.hierarchical import HXE, Hierarchical
from losses.hiercos import HierCOSLoss
from losses.levels import HAF, TK, LevelCE, LevelSum
from losses.margin import Margin
from losses.penalties import PENALTIES
from losses.random_cut import RandomCut
from losses.soft_targets import LabelSmoothing, SoftLabels
from registry import Option, Registry, settle

LOSSES = Registry(
    Option("loss", default="ce", help="what training minimises"),
    {
        "ce": CrossEntropy,
        "corr": Corr,
        "hierarchical": Hierarchical,
        "hxe": HXE,
        "soft_labels": SoftLabels,
        "label_smoothing": LabelSmoothing,
        "level_ce": LevelCE,
        "tk": TK,
        "haf": HAF,
        "aigdl": AIGDL,
        "margin": Margin,
        "random_cut": RandomCut,
        "haframe": HAFrame,
        "devise": DeViSE,
        "hiercos": HierCOSLoss,
    },
)


def build_loss(
    name: str,
    hierarchy: Hierarchy,
    offered: Collection[str] = ("scores", "cosines"),
    **options: object,
) -> Loss:
    """The loss of that name on the tree.

    Args:
        name: A key of `LOSSES`.
        hierarchy: The class tree.
        offered: What the head offers, see `losses.base.READINGS`.
        options: What the loss takes, see `Loss.options`. None means its default.

    Raises: ValueError: If the name is unknown, an option is out of range or not one of the
    loss's, or the head does not offer what the loss reads.
    """
    loss = LOSSES.find(name).on(offered)
    if loss is None:
        reads = ", ".join(LOSSES.find(name).inputs)
        raise ValueError(f"--loss {name} reads {reads}, the head has only {', '.join(offered)}")
    spoken = f"--loss {name}"
    if any(option.name == "weighting" for option in loss.options):
        spoken += f" --weighting {options.get('weighting') or 'balanced'}"
    options = settle(loss.options, options, spoken)
    if "level_scores" in offered and loss.inputs == ("scores",):
        return LevelSum(loss, hierarchy, options)
    return loss(hierarchy, **options)


def select_options(options: Mapping[str, object]) -> dict[str, object]:
    """Of all options of a run, those that `build_loss` takes for the loss `options["loss"]`."""
    return LOSSES.select(options)


__all__ = ["LOSSES", "PENALTIES", "Loss", "build_loss", "select_options"]
