"""Answers for new images by a recorded run, written to a table, and what is to be known of them."""

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest

from data.boxes import with_margin
from data.decoding import Box
from data.table import list_images
from data.unlabelled import Found, find_images
from evaluation import batch_check
from evaluation.answers import (
    Answerer,
    Counts,
    Decision,
    Known,
    choose_decision,
    cover_threshold,
    true_classes,
)
from evaluation.known_images import SPLITS, KnownImages
from evaluation.model import (
    AmendedEmbedder,
    Embedder,
    image_shape,
    load_model,
    read_prototypes,
)
from evaluation.predictor import Predictor
from metrics.amended import coarse_classes
from metrics.calibration import Temperature
from metrics.rule import TARGET_ACCURACY
from runs.folder import Run
from training.devices import choose_devices


class PredictionOptions(NamedTuple):
    """What is asked of a run; the names are those of the flags of predict.py, and said there.

    Attributes:
        settings: Options of the rule, set by hand.
        target_accuracy: None: its default.
    """

    run: str
    images: Sequence[str]
    out: str
    rule: str
    settings: Mapping[str, object] = {}
    target_accuracy: float | None = None
    table: str | None = None
    file_column: str | None = None
    where: Sequence[str] | None = None
    box_columns: Sequence[str] | None = None
    embeddings: str | None = None
    labels: bool = False
    topk: int = 3
    cover: int | None = None
    scores: str = "W"
    coarse: str | None = None
    batch_size: int = 64
    GPU: object = None


def _find(run: Run, asked: PredictionOptions) -> tuple[Found, dict[str, Box] | None]:
    """The images, and where in them the objects are, if the run is on objects cut out.

    Raises: ValueError: If there are none.
    """
    if asked.table is None:
        return find_images(asked.images), None
    margin = run.options.get("crop_box")
    if asked.box_columns and margin is None:
        raise ValueError(
            f"--box_columns: {run.folder} was trained on whole images (without --crop_box)"
        )
    names = {
        # columns of another table may have other names
        "file_column": asked.file_column or run.options.get("file_column"),
        "where": asked.where,
        "box_columns": asked.box_columns or run.options.get("box_columns"),
    }
    root = asked.images[0]
    listed = list_images(asked.table, root, boxes=margin is not None, **names)
    files = [os.path.join(root, file) for file in listed.files]
    boxes = None
    if margin is not None:
        boxes = dict(zip(files, with_margin(listed.boxes, margin)))
    return Found(files, 0, tuple(listed.notes)), boxes


def predict(asked: PredictionOptions) -> Counts:
    """Answers the images, writes the table and says what came out.

    Raises: ValueError, OSError, RuntimeError: If it is impossible.
    """
    run = Run(asked.run)
    target = TARGET_ACCURACY if asked.target_accuracy is None else asked.target_accuracy
    coarse = None if asked.coarse is None else _coarse_run(run, asked.coarse)
    of = {"scores": asked.scores, "coarse": coarse}
    decision = choose_decision(run, asked.rule, target, options=asked.settings, **of)
    if asked.cover is not None:
        least, _ = cover_threshold(run, target, **of)
        decision = decision._replace(cover=(asked.cover, least))
    found, boxes = _find(run, asked)
    _refuse_to_overwrite_images(found.files, asked.out, asked.embeddings)
    answers = Answerer(run.hierarchy, decision, asked.topk)
    truths = true_classes(run, found.files) if asked.labels else None
    if truths is not None and not (truths >= 0).any():
        example = answers.paths[run.hierarchy.leaves[0]]
        raise ValueError(
            f"--labels: no image is in a folder named as a class of {run.folder}, such as"
            f" {example!r}"
        )
    prototypes = read_prototypes(run) if asked.scores == "prototypes" else None
    devices = choose_devices(asked.GPU)
    embedder = Embedder(load_model(run), devices, run.options.get("amp"), prototypes)
    if coarse is not None:
        other = Embedder(load_model(coarse), devices, coarse.options.get("amp"))
        above = coarse_classes(run.hierarchy, coarse.hierarchy)
        embedder = AmendedEmbedder(embedder, other, above)
        print(f"amended by {coarse.folder}, {coarse.hierarchy.num_classes} superclasses")
    introduce(run, decision, found, target, cut=boxes is not None)
    known = KnownImages(run)
    predictor = Predictor(embedder, answers, image_shape(run), asked.batch_size, known)
    counts = predictor.write(found.files, asked.out, asked.embeddings, truths, boxes)
    summarise(counts, truths is not None)
    for line in warnings(run, counts, decision):
        print(f"warning: {line}")
    print(f"{'written':<28}{asked.out}" + (f", {asked.embeddings}" if asked.embeddings else ""))
    return counts


def _coarse_run(run: Run, folder: str) -> Run:
    """The run on superclasses. Raises: ValueError: If it takes its images otherwise."""
    coarse = Run(folder)
    if image_shape(coarse) != image_shape(run):
        raise ValueError(
            f"--coarse {folder}: it takes its images otherwise than {run.folder} (--resize, --gray,"
            " --upscale, --fit and the like must be the same)"
        )
    return coarse


def _refuse_to_overwrite_images(images: Sequence[str], *outputs: str | None) -> None:
    """Raises: ValueError: If what is to be written would replace an image, or the other file to be
    written.
    """
    outputs = [os.path.realpath(path) for path in outputs if path is not None]
    if len(set(outputs)) < len(outputs):
        raise ValueError(f"--out and --embeddings are both {outputs[0]}: give them different names")
    names = {os.path.basename(path) for path in outputs}
    for image in images:
        if os.path.basename(image) in names and os.path.realpath(image) in outputs:
            raise ValueError(
                f"{image} is one of the images and would be replaced; name another file to write"
            )


def introduce(run: Run, decision: Decision, found: Found, target: float, cut: bool = False) -> None:
    """Says which model answers how, and everything unusual about it."""
    others = f"; {found.others} other files are passed over" if found.others else ""
    print(f"{run.folder}, {run.result_checkpoint}, {run.hierarchy.num_classes} classes")
    print(f"{len(found.files)} images{others}")
    for note in found.notes:
        print(f"note: {note}")
    if not run.finished:
        print("note: this run is not finished; its best or last epoch so far answers")
    if run.options.get("crop_boxes") or (run.options.get("crop_box") is not None and not cut):
        print(
            "note: this run was trained on images cut to their bounding boxes; give it images cut"
            " likewise, or a table with boxes (--table)"
        )
    if decision.fit is not None:
        print(describe_temperature(decision.fit))
    else:
        print(
            "note: probabilities are not calibrated: there are no results on a validation split"
            " (--use_val)"
        )
    settings = "".join(
        f", {name} {value if isinstance(value, str) else f'{value:.4g}'}"
        for name, value in decision.options.items()
    )
    print(f"rule {decision.rule}{settings}")
    if decision.promise is not None:
        print(describe_promise(decision, target))


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
    if not promise.value:
        text += (
            "\nnote: none of those images needs a superclass, so no answer backs off, not even\n"
            "      for images of another kind"
        )
    return text


def warnings(run: Run, counts: Counts, decision: Decision) -> list[str]:
    """What makes the figures of a batch mean something else than they seem to."""
    lines = []
    made_by = ("train", "val") if run.result_checkpoint == "best.pt" else ("train",)
    used = {name: counts.known[name].images for name in made_by if name in counts.known}
    if used:
        listed = ", ".join(f"{count} of split {name}" for name, count in used.items())
        lines.append(
            f"{sum(used.values())} of these images trained this model or chose its epoch"
            f" ({listed}): on them it is right more often than on new ones"
        )
    if decision.reference is not None and counts.traits:
        reference = batch_check.traits(decision.reference, decision.temperature)
        if batch_check.is_unlike(np.concatenate(counts.traits), reference):
            what = "what is promised above" if decision.promise else "the probabilities"
            lines.append(
                f"the model sees these images otherwise than {len(reference)} of the run that chose"
                " nothing (other objects, another mix of classes or another way of taking them?):"
                f" {what} may not hold for them; check some answers by eye"
            )
    return lines


def summarise(counts: Counts, labelled: bool) -> None:
    """Says what came out, and with labels how often it was right, with an exact binomial
    interval.
    """
    hint = " (see column error)" if counts.errors else ""
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
