"""The flags of predict.py, and which of them go with which kind of work."""

import argparse
import os

from data.listed import GROUP
from data.options import SHARED
from files.text import shortened
from metrics import RULES
from metrics.decisions import check_settings
from metrics.rule import TARGET_ACCURACY
from options.parser import GPU, Parser, add_option, filled, fraction, natural, positive_int
from registry import possible

TREE = "hierarchy.json"  # of a run
HOST, PORT = "127.0.0.1", 8765  # of --serve
# how the names of what is written may end; a name without an end is taken as it is
ENDS = {
    "out": (".csv", ".tsv"),
    "counts": (".csv", ".tsv"),
    "ecotaxa": (".tsv", ".txt"),
    "embeddings": (".npz",),
    "export": (".onnx",),
}
OF_TABLE = ("file_column", "where", "box_columns")  # how --table is read


def build_parser(description: str) -> Parser:
    """The command line of predict.py; `description`: what it does."""
    parser = Parser(description=description)
    add = parser.add_argument
    add(
        "run",
        type=filled,
        metavar="RUN",
        help="folder of a recorded run, which ends in seed<k>; of several runs on the same classes,"
        " one after the other, the probabilities are averaged, each calibrated first",
    )
    add(
        "images",
        nargs="*",
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
        help="table to write, one row an image: .csv, or .tsv with tabs between the cells",
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
        help="use each image's folder name as its true class, or as a raw label of the run's"
        " --label_map, and say how often answers are right, apart for images that the run was"
        " trained on",
    )
    add(
        "--export",
        type=filled,
        metavar="ONNX",
        help="instead of answering images, write the network with its head, class tree, temperature"
        " and rule into this file, for onnxruntime and other programs",
    )
    _serve_flags(parser.add_argument_group("a page to drop images on"))
    _table_flags(parser.add_argument_group("further tables"))
    answers = parser.add_argument_group("answers")
    _rule_flags(answers)
    _answer_flags(answers.add_argument)
    machine = parser.add_argument_group("machine")
    machine.add_argument(
        "--batch_size", type=positive_int, default=64, metavar="N", help="images embedded at once"
    )
    add_option(machine, GPU)
    return parser


def _serve_flags(group) -> None:
    add = group.add_argument
    add(
        "--serve",
        action="store_true",
        help="answer images that are dropped on a page in the browser of this machine, until"
        " Ctrl-C; nothing is written",
    )
    add(
        "--host",
        type=filled,
        default=HOST,
        metavar="ADDRESS",
        help="where the page can be reached: another address than the default lets everybody who"
        " reaches it ask",
    )
    add(
        "--port",
        type=_port,
        default=PORT,
        metavar="N",
        help="number behind the address of the page; 0 takes a free one",
    )


def _level(text: str) -> int | str:
    return positive_int(text) if text.lstrip("+-").isdecimal() else filled(text)


def _port(text: str) -> int:
    number = natural(text)
    if number > 65535:
        raise argparse.ArgumentTypeError(f"{number} is not a port: take one up to 65535")
    return number


def _table_flags(group) -> None:
    add = group.add_argument
    add(
        "--counts",
        type=filled,
        metavar="CSV",
        help="also write how many images of each taxon each sample holds (.csv or .tsv): as"
        " answered, and corrected for what the run confuses, by its validation images, with"
        " intervals",
    )
    add(
        "--sample_column",
        type=filled,
        metavar="COLUMN",
        help=f"column of --table that names the sample of each image for --counts (default: {GROUP}"
        " where there is one, else the folder of the image)",
    )
    add(
        "--ecotaxa",
        type=filled,
        metavar="TSV",
        help="also write the answers as a table to import into EcoTaxa, with the status predicted;"
        " best into the folder of the images",
    )


def _promising() -> list[str]:
    """The rules whose setting can promise an accuracy."""
    return [name for name, rule in RULES.items() if rule.needed is not None]


def _rule_flags(group) -> None:
    add = group.add_argument
    summaries = f"{RULES.option.help}. {RULES.summaries()}"
    add_option(group, RULES.option, default=RULES.option.default, help=summaries)
    add(
        "--target_accuracy",
        type=fraction,
        metavar="SHARE",
        help=f"how often {', '.join(_promising())} shall be right: the true class is the answer"
        f" or below it (default: {TARGET_ACCURACY})",
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


def _answer_flags(add) -> None:
    add(
        "--within",
        nargs="+",
        type=filled,
        metavar="TAXON",
        help="only classes at or below these taxa (names, or paths as Copepoda/Calanus) can be the"
        " answer: probabilities, rule and promise are calibrated for them, on validation images of"
        " them",
    )
    add(
        "--at",
        type=_level,
        metavar="LEVEL",
        help="answer at most so many steps below the root of the class tree, 1 for its first level,"
        " or at a rank by its name, such as genus, where the classes came from a table of ranks:"
        " the probability of a superclass is the sum of its classes', and the rule is calibrated"
        " for superclasses",
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
        help="compare images with the class vectors, or with the mean direction of each class's"
        " training images",
    )
    add(
        "--coarse",
        type=filled,
        metavar="RUN",
        help="multiply the probabilities by those of this run, trained with --label_depth on"
        " superclasses of the same images",
    )


def check(parser: Parser, args: argparse.Namespace) -> dict[str, object]:
    """Refuses flags that do not go together. Returns the settings of the rule that are given."""
    settings = _rule_options(parser, args)
    if args.coarse is not None and args.scores != "W":
        parser.error("--coarse multiplies the probabilities of the class vectors: leave --scores W")
    _check_asked(parser, args)
    _check_ends(parser, args)
    _check_table(parser, args)
    return settings


def _rule_options(parser: Parser, args: argparse.Namespace) -> dict[str, object]:
    """Settings by hand. Refuses those that the rule does not read."""
    names = [name for name in possible([RULES.option]) if name != RULES.option.name]
    given = {name: getattr(args, name) for name in names}
    try:
        return check_settings(args.rule, given, args.target_accuracy, args.cover)
    except ValueError as error:
        parser.error(str(error))


def _check_asked(parser: Parser, args: argparse.Namespace) -> None:
    """Refuses flags that the chosen kind of work does not read."""
    rule = {"run", "images", "target_accuracy", "scores", *possible([RULES.option])}
    if args.export is not None:
        if args.images:
            parser.error(
                "--export writes the network and answers no images: leave out one of the two"
            )
        _check_read(parser, args, "export", rule)
    elif args.serve:
        answers = {"host", "port", "topk", "cover", "coarse", "within", "at", "GPU"}
        _check_read(parser, args, "serve", rule | answers)
    else:
        for name in ("host", "port"):
            if getattr(args, name) != parser.get_default(name):
                parser.error(f"--{name} needs --serve")
        if not args.images:
            parser.error("the following arguments are required: IMAGE")


def _check_ends(parser: Parser, args: argparse.Namespace) -> None:
    """Refuses names of files whose end promises what is not written into them."""
    for name, ends in ENDS.items():
        path = getattr(args, name)
        if path == "-":
            parser.error(
                f"--{name} -: a file is written, not the standard output; name one that ends in"
                f" {' or '.join(ends)}"
            )
        end = os.path.splitext(path or "")[1]
        if end and end.lower() not in ends:
            way = " (a spreadsheet opens it)" if ".csv" in ends else ""
            parser.error(
                f"--{name} {shortened(path, 200)}: a file {end} cannot be written here; the name"
                f" must end in {' or '.join(ends)}{way}"
            )


def _check_read(parser: Parser, args: argparse.Namespace, kind: str, read: set[str]) -> None:
    for name, value in vars(args).items():
        if name not in read | {kind} and value != parser.get_default(name):
            parser.error(f"--{name} has no meaning with --{kind}")


def _check_table(parser: Parser, args: argparse.Namespace) -> None:
    if args.table is None:
        for name in (*OF_TABLE, "sample_column"):
            if getattr(args, name) is not None:
                parser.error(f"--{name} needs --table")
        return
    if args.sample_column is not None and args.counts is None:
        parser.error("--sample_column needs --counts")
    images = [path for path in args.images if not _is_run(path)]
    if len(images) != 1 or not os.path.isdir(images[0]):
        parser.error(
            "--table lists files relative to a folder: name that one folder in the place of images"
        )
    if args.labels:
        parser.error("--labels takes classes from folders: leave it or --table out")
    if not os.path.isfile(args.table):
        kind = "it is not a file" if os.path.exists(args.table) else "there is no such file"
        parser.error(f"--table {args.table}: {kind}")


def _is_run(path: str) -> bool:
    return all(os.path.isfile(os.path.join(path, name)) for name in ("config.json", TREE))


def split_runs(args: argparse.Namespace) -> tuple[list[str], list[str]]:
    """Runs named after the first one, and images: what comes first of the paths and is a run.

    Raises: ValueError: If there are no images, or a run comes after them.
    """
    paths = args.images
    number = next((i for i, path in enumerate(paths) if not _is_run(path)), len(paths))
    others, images = paths[:number], paths[number:]
    if args.serve:
        if images:
            raise ValueError(
                f"{shortened(images[0], 200)} is not a run; --serve answers the images that are"
                " dropped on its page: leave out one of the two"
            )
        return others, images
    if not images:
        raise ValueError(
            f"{shortened(paths[-1], 200)} is a run: name the images to answer after the runs"
        )
    late = next((path for path in images if _is_run(path)), None)
    if late is not None:
        raise ValueError(f"{shortened(late, 200)} is a run: name all runs before the images")
    return others, images
