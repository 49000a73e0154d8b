"""Labels new images with a trained run, backing off to a superclass where the class is not certain enough.

    python predict.py record/demo/DR-euc-val/seed1 my_images --out predictions.csv
    python predict.py RUN photo.jpg more_images --target_accuracy 0.9 --topk 5 --embeddings embeddings.npz
    python predict.py RUN sorted_images --labels --rule majority
    python predict.py RUN images --table objects.csv

Each image gets a row: the answer of --rule, which may be an inner node of the class tree; the most probable classes;
and the probabilities along the path of the best one, softmax of the scores after temperature scaling on the run's
validation split. --target_accuracy sets the rules threshold and darts on the run's calibration images, which training
held out and which chose nothing: for a new image drawn like those, the true class is the answer or below it with that
probability or more, on average over draws of them. How much one draw may be off is printed. A run without such images
(--split published, official or given, --calibration 0, or of an earlier version) is calibrated on its validation split,
which also chose the epoch, and the accuracy is but estimated. Images of another kind, such as those of another camera,
of another mix of classes or of classes that the run has not seen, are promised nothing; a batch that looks unlike is
pointed out. There may be as many images as you like: they are read batch by batch.
"""  # noqa: E501

import startup  # isort: skip

import argparse
import os
import sys
from collections.abc import Sequence

import numpy as np
from scipy.stats import binomtest

from data.boxes import with_margin
from data.decoding import Box
from data.options import SHARED
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
from evaluation.model import Embedder, image_shape, load_model, read_prototypes
from evaluation.predictor import Predictor
from metrics import RULES
from metrics.calibration import Temperature
from options.parser import GPU, Parser, add_option, filled, fraction, positive_int
from registry import possible
from runs.folder import Run
from training.devices import choose_devices

TARGET = 0.95
OF_TABLE = ("file_column", "where", "box_columns")  # how --table is read


def build_parser() -> Parser:
    """The command line of this script."""
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("run", type=filled, metavar="RUN", help="folder of a recorded run, which ends in seed<k>")
    add(
        "images",
        nargs="+",
        type=filled,
        metavar="IMAGE",
        help="image files, and folders in which to look for them, at any depth; with --table the"
        " folder that its files are relative to",
    )
    add(
        "--table",
        type=filled,
        metavar="FILE",
        help="take the images that this CSV, TSV or COCO json lists; a run with --crop_box cuts"
        " them to the boxes in it",
    )
    for name in OF_TABLE:
        add_option(parser, SHARED[name], default=None)
    add(
        "--out",
        type=filled,
        default="predictions.csv",
        metavar="CSV",
        help="table to write, one row an image",
    )
    add(
        "--embeddings",
        type=filled,
        metavar="NPZ",
        help="also write the embeddings and scores of the images that can be read into this NumPy"
        " file",
    )
    add(
        "--labels",
        action="store_true",
        help="use each image's folder name as its true class, and say how often answers are right",
    )
    _answer_flags(parser.add_argument_group("answers"))
    machine = parser.add_argument_group("machine")
    machine.add_argument(
        "--batch_size", type=positive_int, default=64, metavar="N", help="images embedded at once"
    )
    add_option(machine, GPU)
    return parser


def _promising() -> list[str]:
    """The rules whose setting can promise an accuracy."""
    return [name for name, rule in RULES.items() if rule.needed is not None]


def _answer_flags(group) -> None:
    add = group.add_argument
    summaries = f"{RULES.option.help}. {RULES.summaries()}"
    add_option(group, RULES.option, default=RULES.option.default, help=summaries)
    add(
        "--target_accuracy",
        type=fraction,
        metavar="SHARE",
        help=f"how often {', '.join(_promising())} shall be right: the true class is the answer"
        f" or below it (default: {TARGET})",
    )
    for name, option in possible([RULES.option]).items():
        if name != RULES.option.name:
            add_option(group, option)
    add(
        "--cover",
        type=positive_int,
        metavar="R",
        help="also answer with up to R classes or superclasses, in the columns cover and"
        " cover_classes: the fewest classes that hold the true one as often as --target_accuracy",
    )
    add(
        "--topk",
        type=positive_int,
        default=3,
        metavar="K",
        help="number of classes to list, the most probable first",
    )
    add(
        "--scores",
        choices=("W", "prototypes"),
        default="W",
        help="compare images with the class"
        " vectors, or with the"
        " mean direction of each class's training images",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0; 1 if none of the images could be read; 2 if there is nothing to do it with; 130 if
    interrupted.
    """
    startup.set_up_streams()
    parser = build_parser()
    args = parser.parse_intermixed_args(argv)
    options = _rule_options(parser, args)
    _check_table(parser, args)
    try:
        counts = predict(args, options)
    except (ValueError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted: nothing was written", file=sys.stderr)
        return 130
    return 0 if counts.answered else 1


def _rule_options(parser: Parser, args: argparse.Namespace) -> dict[str, object]:
    """Settings by hand. Refuses those that the rule does not read."""
    rule = RULES[args.rule]
    own = {option.name: option for option in rule.options}
    given = {}
    for name in possible([RULES.option]):
        value = getattr(args, name)
        if name == RULES.option.name or value is None:
            continue
        if name not in own:
            parser.error(f"--{name} has no meaning for --rule {args.rule}")
        if name == rule.setting and args.target_accuracy is not None:
            parser.error(
                f"--{name} sets by hand what --target_accuracy calibrates: give one of the two"
            )
        given[name] = value
    if args.target_accuracy is not None and rule.needed is None and args.cover is None:
        parser.error(
            f"--target_accuracy has no meaning for --rule {args.rule}; it sets"
            f" {', '.join(_promising())} and --cover"
        )
    return given


def _check_table(parser: Parser, args: argparse.Namespace) -> None:
    if args.table is None:
        for name in OF_TABLE:
            if getattr(args, name) is not None:
                parser.error(f"--{name} needs --table")
        return
    if len(args.images) != 1 or not os.path.isdir(args.images[0]):
        parser.error(
            "--table lists files relative to a folder: name that one folder in the place of images"
        )
    if args.labels:
        parser.error("--labels takes classes from folders: leave out it or --table")


def _find(run: Run, args: argparse.Namespace) -> tuple[Found, dict[str, Box] | None]:
    """The images, and where in them the objects are, if the run is on objects cut out.

    Raises: ValueError: If there are none.
    """
    if args.table is None:
        return find_images(args.images), None
    margin = run.options.get("crop_box")
    if args.box_columns and margin is None:
        raise ValueError(
            f"--box_columns: {run.folder} was trained on whole images (without --crop_box)"
        )
    names = {
        # columns of another table may have other names
        name: getattr(args, name) or (run.options.get(name) if name != "where" else None)
        for name in OF_TABLE
    }
    root = args.images[0]
    listed = list_images(args.table, root, boxes=margin is not None, **names)
    files = [os.path.join(root, file) for file in listed.files]
    boxes = None
    if margin is not None:
        boxes = dict(zip(files, with_margin(listed.boxes, margin)))
    return Found(files, 0, tuple(listed.notes)), boxes


def predict(args: argparse.Namespace, options: dict[str, float]) -> Counts:
    """Does what the flags ask for and says so. Raises: ValueError, OSError, RuntimeError: If it is
    impossible.
    """
    run = Run(args.run)
    target = TARGET if args.target_accuracy is None else args.target_accuracy
    decision = choose_decision(run, args.rule, target, scores=args.scores, options=options)
    if args.cover is not None:
        least, _ = cover_threshold(run, target, args.scores)
        decision = decision._replace(cover=(args.cover, least))
    found, boxes = _find(run, args)
    _refuse_to_overwrite_images(found.files, args.out, args.embeddings)
    answers = Answerer(run.hierarchy, decision, args.topk)
    truths = true_classes(run, found.files) if args.labels else None
    if truths is not None and not (truths >= 0).any():
        example = answers.paths[run.hierarchy.leaves[0]]
        raise ValueError(
            f"--labels: no image is in a folder named as a class of {run.folder}, such as"
            f" {example!r}"
        )
    prototypes = read_prototypes(run) if args.scores == "prototypes" else None
    embedder = Embedder(
        load_model(run), choose_devices(args.GPU), run.options.get("amp"), prototypes
    )
    introduce(run, decision, found, target, cut=boxes is not None)
    known = KnownImages(run)
    predictor = Predictor(embedder, answers, image_shape(run), args.batch_size, known)
    counts = predictor.write(found.files, args.out, args.embeddings, truths, boxes)
    summarise(counts, truths is not None)
    for line in warnings(run, counts, decision):
        print(f"warning: {line}")
    print(f"{'written':<28}{args.out}" + (f", {args.embeddings}" if args.embeddings else ""))
    return counts


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


if __name__ == "__main__":
    startup.leave(main())
