"""Losses over scores and targets, the second axis of a method beside the head: no parameters, only
tables.
"""

import inspect
from collections.abc import Mapping

from hierarchies import Hierarchy
from hierarchies.weights import WEIGHTINGS, weighting_options
from losses.base import Loss
from losses.flat import Corr, CrossEntropy
from losses.hierarchical import HXE, Hierarchical
from losses.soft_targets import LabelSmoothing, SoftLabels

LOSSES: dict[str, type[Loss]] = {
    "ce": CrossEntropy,
    "corr": Corr,
    "hierarchical": Hierarchical,
    "hxe": HXE,
    "soft_labels": SoftLabels,
    "label_smoothing": LabelSmoothing,
}
OPTIONS: tuple[str, ...] = tuple(
    dict.fromkeys(option for loss in LOSSES.values() for option in loss.takes)
)


def build_loss(name: str, hierarchy: Hierarchy, **options: object) -> Loss:
    """The loss of that name on the tree.

    Args:
        name: A key of `LOSSES`.
        hierarchy: The class tree.
        options: What the loss takes, see `Loss.takes`. None means its default.

    Raises: ValueError: If the name is unknown, or an option is out of range or not one of the
    loss's.
    """
    given = {option: value for option, value in options.items() if value is not None}
    for option in given:
        taken = taken_options(name, given)
        if option not in taken:
            allowed = f"only {', '.join(f'--{other}' for other in taken)}" if taken else "no option"
            raise ValueError(
                f"--loss {_with_weighting(name, given)} takes {allowed}; leave out --{option}"
                f" {given[option]}"
            )
    return _find(name)(hierarchy, **given)


def taken_options(name: str, options: Mapping[str, object]) -> tuple[str, ...]:
    """The options that the loss takes with the weighting in `options`, of which not every one takes
    --decay, say.
    """
    takes = _find(name).takes
    if "weighting" not in takes:
        return takes
    of_weighting = weighting_options(options.get("weighting") or "balanced")
    of_others = {
        option for weighting in WEIGHTINGS for option in weighting_options(weighting)
    } - set(of_weighting)
    return tuple(option for option in takes if option not in of_others)


def default_options(name: str, options: Mapping[str, object]) -> dict[str, object]:
    """What each option that the loss takes, with the weighting in `options`, is when it is not
    given.
    """
    taken = taken_options(name, options)
    own = {
        key: value.default
        for key, value in inspect.signature(_find(name)).parameters.items()
        if key in taken
    }
    return {
        **(
            weighting_options(options.get("weighting") or "balanced")
            if "weighting" in taken
            else {}
        ),
        **own,
    }


def unused_options(name: str, options: Mapping[str, object]) -> tuple[str, ...]:
    """Those of the options that belong to losses, but mean nothing to this one."""
    taken = taken_options(name, options)
    return tuple(option for option in options if option in OPTIONS and option not in taken)


def select_options(options: Mapping[str, object]) -> dict[str, object]:
    """Of all options of a run, those that `build_loss` takes for the loss `options["loss"]`."""
    return {
        option: options[option]
        for option in taken_options(options["loss"], options)
        if option in options
    }


def _find(name: str) -> type[Loss]:
    if name not in LOSSES:
        raise ValueError(f"--loss must be one of {', '.join(LOSSES)}, got {name!r}")
    return LOSSES[name]


def _with_weighting(name: str, options: Mapping[str, object]) -> str:
    return (
        f"{name} --weighting {options.get('weighting') or 'balanced'}"
        if "weighting" in _find(name).takes
        else name
    )


__all__ = [
    "LOSSES",
    "OPTIONS",
    "Loss",
    "build_loss",
    "default_options",
    "select_options",
    "taken_options",
    "unused_options",
]
