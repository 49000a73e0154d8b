"""How new images are answered: a rule, its setting and the temperature, from images of the run that
do nothing else.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from evaluation import batch_check
from evaluation.scope import Scope
from evaluation.sources import Source
from metrics import RULES
from metrics.calibration import Temperature
from metrics.conformal import Promise, largest_target, promise
from metrics.covers import set_threshold
from metrics.posterior import softmax
from metrics.rule import TARGET_ACCURACY


class NotSet(ValueError):
    """The images of a run do not suffice to set a rule.

    Attributes:
        why: The message without what to do about it.
    """

    def __init__(self, why: str, way_out: str = ""):
        super().__init__(why + way_out)
        self.why = why


class Decision(NamedTuple):
    """How answers are chosen from scores.

    Attributes:
        rule: A name in `metrics.RULES`.
        options: What the rule takes.
        temperature: Divides the scores; 1 where there is no validation split to fit it on.
        fit: What that split says of the temperature; None without.
        promise: What the setting of the rule promises; None where it was not calibrated.
        estimated: Whether the promise is but an estimate: the images that calibrated the rule also
            chose the epoch.
        reference: (n, C) scores of images of the run that chose nothing, to compare new ones with;
            None without.
        scope: Which classes can be the answer; None: all. `reference` has the scores of these.
        cover: Largest number of nodes of a second answer, and the least probability of the classes
            that it holds, see `cover_threshold`; None without.
        groups: Number of groups that the images behind the promise come from; None where each
            stands alone.
    """

    rule: str = "argmax"
    options: Mapping = {}
    temperature: float = 1.0
    fit: Temperature | None = None
    promise: Promise | None = None
    estimated: bool = False
    reference: np.ndarray | None = None
    cover: tuple[int, float] | None = None
    scope: Scope | None = None
    groups: int | None = None

    def kept(self, scores: np.ndarray) -> np.ndarray:
        """Scores (S, K) of the classes that can be the answer, of scores (S, C)."""
        return scores if self.scope is None else self.scope.kept(scores)

    def calibrated(self, scores: np.ndarray) -> np.ndarray:
        """Scores (S, C') whose softmax is the posterior over the classes of the answers, of scores
        (S, C).
        """
        values = self.kept(scores) / self.temperature
        return values if self.scope is None else self.scope.grouped_scores(values)


def choose_decision(
    source: Source,
    rule: str,
    target_accuracy: float | None = TARGET_ACCURACY,
    options: Mapping | None = None,
) -> Decision:
    """A rule for new images: the temperature from the validation split of a run, the setting of
    the rule from its calibration images, which chose neither the epoch nor the temperature.

    Where there are none, the validation split does both, which promises less: see
    `Decision.estimated`. With --last that split chose no epoch, and the temperature, a single
    number, costs next to nothing.

    Args:
        source: Scores of a finished run, or of several; without validation split, rules that need
            a setting must be given it. With a scope all is set on the images whose class is in it;
            what is promised is of its answers. Of several runs it is set on their mean posteriors,
            and takes the same images in their validation splits.
        rule: A name in `metrics.RULES`.
        target_accuracy: How often answers shall be right: the truth is the answer or below it. For
            rules with a setting that can promise it, unless options give that; see
            `metrics.conformal` what is promised.
        options: Of the rule: its setting by hand.

    Raises: NotSet: If the accuracy cannot be promised, or there is no validation split. ValueError:
    If there are no such scores.
    """
    run, scope = source.run, source.scope
    options, promised = dict(options or {}), None
    setting = RULES.find(rule).setting
    needs = setting is not None and options.get(setting) is None
    validated = source.has("val") or bool(
        run.options.get("use_val") and needs and not source.others
    )
    if needs and not validated:
        raise NotSet(
            _without_validation(source),
            f" to calibrate --rule {rule} on: train with --use_val, {_by_hand(setting)}",
        )
    if not validated:
        return Decision(rule, options, scope=scope)
    _, of_val = source.split("val")
    values, labels = source.split(source.calibrating)
    if scope is not None and (not len(of_val) or (needs and not len(labels))):
        if needs:
            raise NotSet(
                f"{scope.said}: there is no validation image of these classes to calibrate --rule"
                f" {rule} on",
                f": {_by_hand(setting)}",
            )
        return Decision(rule, options, scope=scope)
    fit = source.temperature
    tree, (calibrating, truths) = source.tree, source.calibrated(values, labels, fit.value)
    if needs and RULES[rule].needed is None:
        options[setting] = RULES[rule].fit(tree, calibrating, truths)
    elif needs:
        try:
            promised = promise(rule, tree, calibrating, truths, target_accuracy)
        except ValueError as error:
            of = "" if scope is None else f"{scope.said}: "
            way_out = f". Or train with more images, {_by_hand(setting)}"
            raise NotSet(f"{of}{error}", way_out) from None
        options[setting] = promised.value
    estimated = source.calibrating == "val" and any(each.chose_epoch for each in source.runs)
    reference = _reference(source, None if estimated else values)
    return Decision(
        rule,
        options,
        fit.value,
        fit,
        promised,
        estimated,
        reference,
        scope=scope,
        groups=source.groups(source.calibrating),
    )


def _by_hand(setting: str) -> str:
    """What predict.py can do without images that set a rule."""
    return f"set --{setting} by hand, or take a rule that needs no setting, such as --rule majority"


def _without_validation(source: Source) -> str:
    """That there are no validation images, or not those of all runs."""
    with_val = [run for run in source.runs if Source(run).has("val")]
    if source.others and len(with_val) == len(source.runs):
        listed = ", ".join(str(run.folder) for run in source.runs)
        return (
            f"{listed} have no validation split in common (the same --split and --split_seed), so"
            " there is none"
        )
    without = next(run for run in source.runs if run not in with_val)
    return f"{without.folder} has no validation split"


def cover_threshold(source: Source, target_accuracy: float) -> tuple[float, float]:
    """Least probability of the classes in an answer of several nodes, so that it holds the true
    class as often as asked, and the temperature; from the same images as the setting of a rule.

    Raises: NotSet: If the run has no images to calibrate on, or too few.
    """
    scope = source.scope
    if not source.has("val"):
        way_out = " to calibrate --cover on: train with --use_val"
        raise NotSet(_without_validation(source), way_out)
    _, of_val = source.split("val")
    values, labels = source.split(source.calibrating)
    if len(labels) * (1 - target_accuracy) < target_accuracy:  # (n + 1) target > n
        of = "" if scope is None else f"{scope.said}: "
        raise NotSet(
            f"{of}an answer that holds the true class with probability {target_accuracy:g} cannot"
            f" be promised with {len(labels)} images that calibrate",
            "; the largest that can is --target_accuracy"
            f" {largest_target(len(labels), len(labels)):g}",
        )
    if not len(of_val):
        raise NotSet(f"{scope.said}: there is no validation image of these classes")
    temperature = source.temperature.value
    calibrated, truths = source.calibrated(values, labels, np.float32(temperature))
    p = softmax(calibrated)
    return set_threshold(p[np.arange(len(p)), truths], target_accuracy), temperature


def _reference(source: Source, calibrating: np.ndarray | None) -> np.ndarray | None:
    """Scores of images that chose nothing: those that calibrate, and where they are few those of
    the test split, too.
    """
    parts = [] if calibrating is None else [calibrating]
    if sum(map(len, parts)) < batch_check.ENOUGH and source.has("test"):
        parts.append(source.split("test")[0])
    return np.concatenate(parts) if parts else None
