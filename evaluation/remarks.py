"""What is to be known of answers for new images, in lines: before, with and after them."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import binomtest

from data.unlabelled import Found
from evaluation import batch_check
from evaluation.answers import Counts, Known
from evaluation.decision import Decision
from evaluation.known_images import SPLITS
from evaluation.novelty import Novelty
from evaluation.sources import Source
from files.text import counted, printable
from metrics.calibration import Temperature
from runs.folder import Run


def introduction(
    source: Source, decision: Decision, found: Found | None, target: float, cut: bool = False
) -> list[str]:
    """Which model answers how, and everything unusual about it, in lines.

    Args:
        source, decision: What answers.
        found: The images, where they are known.
        target: How often answers shall be right.
        cut: Whether a table says where in the images the objects are.
    """
    run, lines = source.run, []
    for each in source.runs:
        lines.append(
            f"{each.folder}, {each.result_checkpoint}, {each.hierarchy.num_classes} classes"
        )
    if source.scope is not None:
        apart = f", told apart as {source.tree.num_classes}" if source.scope.grouped else ""
        lines.append(
            f"{source.scope.said}: {len(source.scope.classes)} classes can be the answer{apart}"
        )
        lines += [f"note: {note}" for note in source.scope.notes]
    if found is not None:
        others = ""
        if found.others:
            others = f"; {counted(found.others, 'other file is', 'other files are')} passed over"
        lines.append(counted(len(found.files), "image") + others)
        lines += [f"note: {note}" for note in found.notes]
    if not all(each.finished for each in source.runs):
        lines.append("note: this run is not finished; its best or last epoch so far answers")
    if run.options.get("crop_boxes") or (run.options.get("crop_box") is not None and not cut):
        lines.append(
            "note: this run was trained on images cut to their bounding boxes; give it images cut"
            " likewise, or a table with boxes (--table)"
        )
    if source.others:
        listed = ", ".join(f"{temperature:.4g}" for temperature in source.temperatures)
        lines.append(
            f"mean of the probabilities of {len(source.runs)} runs, at temperatures {listed}"
        )
    return [*lines, *_on_calibration(source, decision), *_on_rule(decision, target)]


def _on_calibration(source: Source, decision: Decision) -> list[str]:
    if decision.fit is not None:
        # of several runs each has its own, which were listed
        own = not source.others or source.scope is not None
        return [describe_temperature(decision.fit)] if own else []
    if source.others and all(Source(each).has("val") for each in source.runs):
        return [
            "note: each is calibrated on its own validation images; they have none in common to"
            " calibrate the mean on"
        ]
    if source.scope is not None and source.has("val"):
        return [
            "note: probabilities are not calibrated: there is no validation image of these classes"
        ]
    lost = [each for each in source.runs if each.finished and each.options.get("use_val")]
    if lost and not Source(lost[0]).has("val"):
        return [
            f"note: probabilities are not calibrated: {lost[0].folder / 'val.pkl'} is missing; put"
            " a copy of the original back, or remove metrics.csv and use --resume, which writes it"
            " again"
        ]
    return [
        "note: probabilities are not calibrated: there are no results on a validation split"
        " (--use_val)"
    ]


def _on_rule(decision: Decision, target: float) -> list[str]:
    settings = "".join(
        f", {name} {value if isinstance(value, str) else f'{value:.4g}'}"
        for name, value in decision.options.items()
    )
    lines = [f"rule {decision.rule}{settings}"]
    return lines if decision.promise is None else [*lines, describe_promise(decision, target)]


def describe_temperature(fit: Temperature) -> str:
    """The temperature, and what is to be known of probabilities that come from it."""
    if not fit.determined:
        return (
            f"temperature 1: the {fit.n} validation images do not determine it, as their true"
            " classes score no higher than others; probabilities are not calibrated"
        )
    text = f"temperature {fit.value:.4g}, fitted on {fit.n} validation images"
    if fit.separable:
        text += (
            f"\nnote: all {fit.n} are answered right, so they do not say how often a sure answer is"
            f" wrong;\n      the temperature is that of {fit.n} right images and one of any class"
        )
    return text


def describe_promise(decision: Decision, target: float) -> str:
    """How often answers are right, on which condition, and whether that is promised."""
    promise = decision.promise
    low, high = promise.range
    if decision.estimated:
        text = (
            f"estimated, not promised: a new image like the {promise.n} validation images is"
            f" answered right with\n          probability {target:g}, or somewhat less often, as"
            " those images also chose the epoch;\n          a promise takes images that chose"
            " nothing: train with --use_val and --split stratified, or with --last"
        )
    else:
        text = (
            f"promised, if new images are drawn like the {promise.n} that calibrate (the same"
            " classes in the same mix, taken\n          and sorted the same way): answers are right"
            f" with probability {target:g} or more, on average over\n          such draws; 95 % of"
            f" draws of {promise.n} images give between {low:.3f} and {high:.3f}"
        )
        if decision.groups is not None and 2 * decision.groups <= promise.n:
            text += (
                f".\n          These images come from {decision.groups} groups, whose images are"
                " alike: draws of as few groups vary more"
            )
    if not promise.value:
        text += (
            "\nnote: none of those images needs a superclass, so no answer backs off, not even\n"
            "      for images of another kind"
        )
    return text


def warnings(
    runs: Sequence[Run], counts: Counts, decision: Decision, novelty: Novelty
) -> list[str]:
    """What makes the figures of a batch mean something else than they seem to."""
    lines = []
    chosen = any(run.chose_epoch for run in runs)
    made_by = ("train", "val") if chosen else ("train",)
    used = {name: counts.known[name].images for name in made_by if name in counts.known}
    if used:
        listed = ", ".join(f"{count} of split {name}" for name, count in used.items())
        lines.append(
            f"{sum(used.values())} of these images trained this model or chose its epoch"
            f" ({listed}): on them it is right more often than on new ones"
        )
    unlike, compared = _unlike(counts, decision, novelty)
    if unlike:
        what = "what is promised above" if decision.promise else "the probabilities"
        lines.append(
            f"the model sees these images otherwise than {compared} of the run that chose nothing"
            f" (other objects, another mix of classes or another way of taking them?): {what} may"
            " not hold for them; check some answers by eye, those of the smallest novelty_p first"
        )
    return lines


def _unlike(counts: Counts, decision: Decision, novelty: Novelty) -> tuple[bool, int]:
    """Whether the batch is unlike images that chose nothing, by scores, or validation images, by
    the distance to the nearest class; and the number of the former.
    """
    if decision.reference is None or not counts.traits:
        return False, 0
    reference = batch_check.traits(decision.reference, decision.temperature)
    tests = reference.shape[1] + 1
    unlike = batch_check.is_unlike(np.concatenate(counts.traits), reference, tests)
    if counts.distances and len(novelty.reference):
        distances = np.concatenate(counts.distances)[:, None]
        unlike |= batch_check.is_unlike(distances, novelty.reference[:, None], tests)
    return unlike, len(reference)


def summarise(counts: Counts, labelled: bool) -> None:
    """Says what came out, and with labels how often it was right, with an exact binomial
    interval.
    """
    hint = f" (see column error); {printable(counts.first_error)}" if counts.errors else ""
    print(f"\n{'images':<28}{counts.images}\n{'unreadable':<28}{counts.errors}{hint}")
    if counts.answered:
        depth, class_depth = counts.depth / counts.answered, counts.class_depth / counts.answered
        print(
            f"{'mean depth of answers':<28}{depth:.3f} (of the most probable classes"
            f" {class_depth:.3f})"
        )
        print(f"{'answers that are classes':<28}{counts.leaves / counts.answered:.3f}")
    if labelled and counts.judged:
        print(f"{'with a known class':<28}{counts.judged}")
        for name, count in (
            ("most probable class is true", counts.accurate),
            ("answer is right", counts.right),
        ):
            print(f"{name:<28}{_share(count, counts.judged)}")
        if set(counts.known) - {""}:
            for name in ("", *SPLITS):
                if name in counts.known and counts.known[name].judged:
                    _say_of_split(name, counts.known[name])


def _say_of_split(name: str, known: Known) -> None:
    title = f"  in the run's {name} split" if name else "  new to the run"
    print(
        f"{title:<34}{known.judged}: class true {known.accurate / known.judged:.4f}, answer right"
        f" {_share(known.right, known.judged)}"
    )


def _share(count: int, total: int) -> str:
    interval = binomtest(count, total).proportion_ci(0.95)
    return f"{count / total:.4f}  (95 % interval {interval.low:.3f} to {interval.high:.3f})"
