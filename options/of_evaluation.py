"""The flags of evaluate.py, and which of them go with which kind of work."""

import argparse
from collections.abc import Iterable

from files.paths import FORBIDDEN, is_portable
from files.text import shortened
from hierarchies import WEIGHTINGS
from hierarchies.weights import weighting_options
from metrics.rule import TARGET_ACCURACY
from options.parser import (
    GPU,
    Parser,
    add_option,
    filled,
    fraction,
    natural,
    nonnegative,
    positive_int,
)
from registry import possible

# groups of flags; what the chosen kind of work does not read is refused
RUNS, IMAGES = "single runs", "single runs, embedding their images again"
RECORD = "tables over seeds"
SCORES, CLASSIFIER = "predictions from elsewhere", "classifiers from elsewhere"
# what --pool_folds cannot do
OF_ONE_MODEL = ("data_dir", "coarse", "tree", "worst", "shuffled", "tolerance", "rules", "cover")
FEWEST_RESAMPLES = 100


def build_parser(description: str, formats: Iterable[str]) -> Parser:
    """The command line of evaluate.py.

    Args:
        description: What it does.
        formats: Of tables.
    """
    parser = Parser(description=description)
    parser.add_argument(
        "run",
        nargs="*",
        type=filled,
        metavar="RUN",
        help="folder of a run, or of many; none: tables over seeds of the runs under --record",
    )
    parser.add_argument(
        "--metrics",
        "--columns",
        nargs="+",
        type=filled,
        metavar="NAME",
        help="measures to print, by name or pattern such as 'W/*', '*' for all (default: the main"
        " ones)",
    )
    of_runs = parser.add_argument_group(RUNS)
    _measure_flags(of_runs)
    _rule_flags(of_runs.add_argument)
    _work_flags(of_runs.add_argument)
    _image_flags(parser.add_argument_group(IMAGES))
    _record_flags(parser.add_argument_group(RECORD).add_argument, formats)
    _score_flags(parser.add_argument_group(SCORES).add_argument)
    _classifier_flags(parser.add_argument_group(CLASSIFIER).add_argument)
    parser.describe(
        {
            name: str(value)
            for known in WEIGHTINGS
            for name, value in weighting_options(known).items()
        }
    )
    return parser


def _resamples(text: str) -> int:
    """A number of resamples: the 2.5 % at either end of fewer than 100 are two values or less."""
    count = natural(text)
    if 0 < count < FEWEST_RESAMPLES:
        raise argparse.ArgumentTypeError(
            f"{count} resamples are too few for an interval, which might not hold the value itself:"
            f" give {FEWEST_RESAMPLES} or more (1000 are usual), or 0 for no intervals"
        )
    return count


def _measure_flags(group) -> None:
    for name, option in possible([WEIGHTINGS.option]).items():
        if name == "weighting":
            text = "node weights of the weighted measures"
            add_option(group, option, default=option.default, help=text)
        else:
            add_option(group, option)
    add = group.add_argument
    add(
        "--bootstrap",
        type=_resamples,
        default=0,
        metavar="N",
        help="resamples of the test images, or of their groups, for 95%% intervals, 100 or more"
        " (1000 are usual); 0 for none",
    )
    add(
        "--on_request",
        nargs="+",
        type=filled,
        metavar="NAME",
        help="further measures: rf_published, Robinson-Foulds distances as published figures need"
        " them; graded_retrieval, hierarchical average precision and set intersection of the"
        " ranking of all test images, which takes a minute for 10,000",
    )
    add(
        "--shuffled",
        type=natural,
        default=0,
        metavar="N",
        help="also measure on N trees with the classes shuffled, and on flat and pruned trees: what"
        " is the tree worth? 19 or more for a p below .05",
    )
    add(
        "--coarse",
        type=filled,
        metavar="RUN",
        help="also measure with the posterior multiplied by that of this run, trained with"
        " --label_depth on superclasses of the same images: the measures hie/*",
    )


def _rule_flags(add) -> None:
    add(
        "--rules",
        nargs="+",
        metavar="NAME",
        help="also compare decision rules, or all: how often each is right, and how much it says;"
        " the names are those of predict.py --rule",
    )
    add(
        "--cover",
        type=positive_int,
        metavar="R",
        help="also answers of up to R nodes that hold the true class as often as --target_accuracy",
    )
    add(
        "--target_accuracy",
        type=fraction,
        default=TARGET_ACCURACY,
        metavar="SHARE",
        help="what --rules and --cover are set for on the run's calibration images",
    )


def _work_flags(add) -> None:
    add(
        "--pack",
        action="store_true",
        help="instead of measuring, copy each RUN, with the frozen network that it shares with"
        " others, into a new folder here that can be carried away",
    )
    add(
        "--pool_folds",
        action="store_true",
        help="measure the runs of each cross-validation among RUN (--fold) as one, on all images",
    )
    add(
        "--worst",
        type=natural,
        default=0,
        metavar="N",
        help="print the N wrong answers that are farthest from the truth, each with its file",
    )
    add("--tree", action="store_true", help="print the UPGMA tree of the class vectors")
    add(
        "--tolerance",
        type=nonnegative,
        metavar="X",
        help="largest difference from a recorded measure that still reproduces it: absolute where"
        " that is up to 1, else relative (default: 1e-6, with --data_dir 0.01)",
    )


def _image_flags(group) -> None:
    add = group.add_argument
    add(
        "--data_dir",
        type=filled,
        metavar="DIR",
        help="where the images of the run are on this machine: embeds them again with the"
        " checkpoint",
    )
    add(
        "--cache_dir",
        type=filled,
        metavar="DIR",
        help="folder for decoded images (default: beside the images)",
    )
    add(
        "--hierarchy",
        type=filled,
        metavar="FILE",
        help="where the file of the run's --hierarchy is on this machine; with --scores, the file"
        " of the class tree",
    )
    add(
        "--split_list",
        type=filled,
        metavar="CSV",
        help="where the file of the run's --split_list is on this machine",
    )
    add(
        "--checkpoint",
        choices=("best.pt", "last.pt"),
        help="model to evaluate (default: the one of the results)",
    )
    add_option(group, GPU)


def _record_flags(add, formats: Iterable[str]) -> None:
    add(
        "--record",
        type=filled,
        default="record",
        metavar="DIR",
        help="folder of the recorded runs; summary.csv is written there",
    )
    add(
        "--format",
        choices=sorted(formats),
        default="terminal",
        help="format of the tables; markdown and latex are also written to summary.md and"
        " summary.tex",
    )
    add(
        "--compare",
        nargs=2,
        type=filled,
        action="append",
        metavar=("A", "B"),
        help="paired test of B against A over the seeds of both: rows of the table, or methods,"
        " whose rows with equal options are then paired; can be given several times",
    )


def _score_flags(add) -> None:
    add(
        "--scores",
        type=filled,
        metavar="FILE",
        help="scores or probabilities of any classifier on test images: .csv, .tsv or .parquet with"
        " a column a class, or .npz; makes a run of them under --record, with all measures that"
        " scores alone give",
    )
    add(
        "--labels",
        type=filled,
        metavar="WHERE",
        help="their true classes: a column of FILE, or a file with columns file and label"
        " (default: a column or array called label)",
    )
    add(
        "--val_scores",
        type=filled,
        metavar="FILE",
        help="the same of validation images, for the temperature",
    )
    add("--val_labels", type=filled, metavar="WHERE", help="their true classes")
    add(
        "--name",
        type=filled,
        metavar="METHOD",
        help="what the classifier is called in tables (default: the name of FILE)",
    )
    add(
        "--collection",
        type=filled,
        default="scores",
        metavar="NAME",
        help="what the images are called in tables",
    )
    add("--seed", type=natural, default=1, metavar="K", help="which of its runs this is")


def _classifier_flags(add) -> None:
    add(
        "--classifier",
        type=filled,
        metavar="WHICH",
        help="what tree have its class vectors learned? A file of them (.npy, .npz, .csv), of"
        " weights (.pt, .safetensors), or a network of timm; needs --hierarchy FILE and no image",
    )
    add(
        "--classifier_key",
        type=filled,
        metavar="NAME",
        help="tensor of the class vectors among the weights (default: the last with a row a class)",
    )
    add(
        "--distance",
        choices=("euc", "arccos"),
        default="euc",
        help="how class vectors are compared: chord of their directions, or angle",
    )


def check(parser: Parser, args: argparse.Namespace) -> None:
    """Refuses flags that the chosen kind of work does not read."""
    if args.classifier is not None:
        _check_classifier(parser, args)
        return
    _refuse(parser, args, parser.flags_of(CLASSIFIER), "needs --classifier WHICH")
    if args.scores is not None:
        _check_scores(parser, args)
        return
    _refuse(parser, args, parser.flags_of(SCORES), "needs --scores FILE")
    if not args.run:
        of_runs = (*parser.flags_of(RUNS), *parser.flags_of(IMAGES))
        _refuse(parser, args, of_runs, "needs a RUN")
    else:
        pairs = ", and --compare takes two names at a time" if args.compare else ""
        why = (
            f"is for tables over seeds: leave out {shortened(args.run[0], 200)}, which is taken for"
            f" a single RUN (--record names the folder of the tables{pairs})"
        )
        _refuse(parser, args, parser.flags_of(RECORD), why)
    if args.run and args.data_dir is None:
        _refuse(parser, args, parser.flags_of(IMAGES), "needs --data_dir DIR")
    if args.pool_folds:
        why = "has no meaning for --pool_folds, which has several models"
        _refuse(parser, args, OF_ONE_MODEL, why)
    for name in sorted(of_weightings() - weighting_options(args.weighting).keys()):
        if getattr(args, name) is not None:
            parser.error(f"--{name} has no meaning for --weighting {args.weighting}")
    if args.coarse is not None and args.data_dir is not None:
        parser.error("--coarse reads the arrays of both runs: leave out --data_dir")
    if args.data_dir is not None and (args.rules or args.cover):
        parser.error("--rules and --cover read the arrays of the run: leave out --data_dir")
    if args.rules and args.rules != ["all"]:
        from metrics import RULES

        for name in args.rules:
            if name not in RULES:
                parser.error(f"--rules: {name!r} is not one of {', '.join(['all', *RULES])}")
    if args.on_request:
        from metrics.suite import ON_REQUEST

        for name in args.on_request:
            if name not in ON_REQUEST:
                parser.error(f"--on_request: {name!r} is not one of {', '.join(ON_REQUEST)}")


def _refuse(parser: Parser, args: argparse.Namespace, names: Iterable[str], why: str) -> None:
    """Ends with a message on the first of these flags that is given."""
    for name in names:
        if getattr(args, name) != parser.get_default(name):
            parser.error(f"--{name} {why}")


def _check_classifier(parser: Parser, args: argparse.Namespace) -> None:
    if args.hierarchy is None:
        parser.error("--classifier needs the class tree: --hierarchy FILE (see docs/trees.md)")
    kept = {"hierarchy", "record", "metrics", "tree", *parser.flags_of(CLASSIFIER)}
    for name, value in vars(args).items():
        if name not in kept and value != parser.get_default(name) and value != []:
            raise parser.error(
                f"{'RUN' if name == 'run' else f'--{name}'} has no meaning with --classifier"
            )


def _check_scores(parser: Parser, args: argparse.Namespace) -> None:
    if args.run:
        parser.error("--scores makes a run of its own: leave out RUN")
    if args.hierarchy is None:
        parser.error("--scores needs the class tree: --hierarchy FILE (see docs/trees.md)")
    if args.val_labels is not None and args.val_scores is None:
        parser.error("--val_labels needs --val_scores FILE")
    others = ("compare", "format", "tree", "coarse", "data_dir", "checkpoint", "split_list")
    _refuse(parser, args, others, "has no meaning with --scores")
    for name in (args.name, args.collection):
        if name is not None and (name.startswith(".") or not is_portable(name)):
            parser.error(
                f"{name!r} becomes the name of a folder on any system: leave out {FORBIDDEN}, a '.'"
                " or a space at an end, and names such as aux and nul"
            )


def of_weightings() -> set[str]:
    """Names of the options that weightings take."""
    return set(possible([WEIGHTINGS.option])) - {"weighting"}
