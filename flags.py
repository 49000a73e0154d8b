"""Every flag of the training scripts, declared once, in groups, with its help."""

import argparse
import shlex
from collections.abc import Callable, Sequence

import data
import losses
import models
from hierarchies import WEIGHTINGS
from losses.hierarchical import HXE_WEIGHTS


class Formatter(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Shows the description as it is written, and defaults except those that say nothing."""

    def _get_help_string(self, action: argparse.Action) -> str:
        return action.help if action.default in (None, False) else super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """Reads `@file` arguments: one or more flags a line, quoted as in a shell, `#` starts a comment."""

    def convert_arg_line_to_args(self, line: str) -> list[str]:
        try:
            return shlex.split(line, comments=True)
        except ValueError as error:
            self.error(f"a line of the argument file cannot be read ({error}), put quotes around it: {line}")

    def error(self, message: str) -> None:
        """Ends with the message alone: the usage of so many flags would hide it."""
        self.exit(2, f"error: {message}\n(all flags: python {self.prog} --help)\n")


def positive_int(text: str) -> int:
    return _number(text, int, lambda value: value > 0, "a whole number above 0")


def natural(text: str) -> int:
    return _number(text, int, lambda value: value >= 0, "a whole number, 0 or more")


def positive(text: str) -> float:
    return _number(text, float, lambda value: 0 < value < float("inf"), "a number above 0")


def nonnegative(text: str) -> float:
    return _number(text, float, lambda value: 0 <= value < float("inf"), "a number, 0 or more")


def fraction(text: str) -> float:
    return _number(text, float, lambda value: 0 <= value <= 1, "a number from 0 to 1")


def _method(text: str) -> str:
    try:
        return models.resolve_method(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _number(text: str, kind: type, holds: Callable, rule: str) -> float:
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not holds(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not {rule}")
    return value


def build_parser(description: str, datasets: Sequence[str]) -> Parser:
    """A parser with every flag of the training scripts; defaults are set by `parse`, which knows the dataset."""
    parser = Parser(
        description=description,
        formatter_class=Formatter,
        allow_abbrev=False,
        fromfile_prefix_chars="@",
        epilog="Flags can be kept in a file and read with @FILE, for what differs from machine to machine.",
    )
    for declare in (_data_flags, _model_flags, _head_flags, _loss_flags, _training_flags, _machine_flags):
        declare(parser, datasets)
    return parser


# fmt: off
# A flag takes a line or two, so that the groups can be read as lists.
def _data_flags(parser: Parser, datasets: Sequence[str]) -> None:
    add = parser.add_argument_group("data").add_argument
    if len(datasets) > 1:
        add("--dataset", choices=datasets, required=True, help="image collection to train on")
    add("--data_dir", help="folder of the images; the demo draws its own")
    add("--use_val", action="store_true",
        help="select the best epoch on a validation split: 70/10/20 instead of 90/10 where the dataset has no own")
    add("--split", choices=("stratified", "published", "official"),
        help="every class in every split where it can, the papers' plain random split, or the split that "
        "comes with the dataset (NABirds)")
    add("--split_seed", type=natural, metavar="SEED",
        help="seed of the split alone (default: a fixed one, so that runs of all seeds share their test "
        "images; --seed with --split published)")
    add("--reduction_factor", type=positive, metavar="R",
        help="keep 1/R of the training images, of every class where there are enough")
    add("--subset", choices=("stratified", "published"),
        help="draw those images class by class, or all at once as in the papers")
    add("--subset_seed", type=natural, help="seed that draws the images which --reduction_factor keeps")
    add("--split_list", metavar="CSV", help="list of image files in the published order, for --split published")
    add("--resize", type=natural, metavar="PIXELS",
        help="side every image is stretched to, in pixels; 0 keeps images that are all of one size")
    add("--upscale", type=natural, metavar="PIXELS",
        help="side the resized images are then enlarged to, in pixels; 0 leaves them")
    add("--gray", action=argparse.BooleanOptionalAction, help="read images as one grey channel")
    add("--crop_boxes", action="store_true", help="cut every image to its bounding box before resizing")
    add("--small", action="store_true", help="train on a small fixed part of the training split")
    add("--collapse", action="store_true", help="remove inner nodes with a single child from the tree")
    add("--hierarchy", metavar="FILE",
        help="tree of the classes, instead of the folders'; its leaves are the class folders")
    add("--nonliving", nargs="+", metavar="GROUP",
        help="top-level groups to leave out where measures are taken on living classes only")
    add("--exclude", nargs="+", metavar="PATTERN",
        help="folders to leave out, such as 'Detritus/*', relative to --data_dir")
    add("--skip_bad_images", action="store_true",
        help="leave out images that cannot be read, named in the log, instead of stopping")
    add("--ignore_empty_folders", action="store_true",
        help="leave out folders without images, named in the log, instead of stopping")


def _model_flags(parser: Parser, datasets: Sequence[str]) -> None:
    add = parser.add_argument_group("model").add_argument
    add("--backbone", choices=sorted(models.BACKBONES), help="network that embeds the images")
    add("--rand_backbone", action="store_true",
        help="start from random weights instead of ImageNet's; conv4 always does")
    add("--weights", metavar="FILE",
        help="start from the weights in this file (a state dict) instead of downloading ImageNet's")
    add("--legacy_stem", action="store_true", help="replace the first convolution by a fresh one, as published")
    add("--no_normalize", action="store_true", help="feed pixels in [0, 1] without normalisation, as published")
    add("--dim", type=positive_int, help="length of an embedding")
    add("--size_inform", action="store_true", help="add the image's original width and height to its embedding")
    add("--freeze", choices=[part for part in models.FREEZE if part != 'none'],
        help="part that does not train: what is pretrained (butlast), what is not (last), or all")


def _head_flags(parser: Parser, datasets: Sequence[str]) -> None:
    add = parser.add_argument_group("method (the head: how embeddings are scored against class vectors)").add_argument
    add("--method", type=_method, required=True, help="softmax, normface (also SD, NormFace) or DR (also ProxyDR)")
    add("--distance", choices=("euc", "arccos"), help="distance between unit vectors: Euclidean or the angle")
    add("--ema", action="store_true", help="class vectors follow a moving average of their class's embeddings")
    add("--alpha", type=fraction,
        help="weight of a new batch in the moving average, per batch in which the class occurs")
    add("--mds_W", action="store_true",
        help="fix the class vectors beforehand so that their distances match the tree's")
    add("--beta", type=positive,
        help="path length, in edges, at which the target distance of --mds_W reaches half its maximum")
    add("--mds_solver", choices=("auto", "exact", "gradient"), help="how --mds_W places the class vectors")
    add("--dynamic", action="store_true", help="let the scale of the scores follow the angles, after AdaCos")
    add("--legacy_dynamic", action="store_true", help="update that scale by the published formulas")
    add("--clspri", action="store_true", help="add the log share of each class in the training split to its score")


def _loss_flags(parser: Parser, datasets: Sequence[str]) -> None:
    add = parser.add_argument_group("loss").add_argument
    add("--loss", choices=sorted(losses.LOSSES), help="what is minimised over scores and targets")
    add("--CORR", action="store_true", help="short for --loss corr")
    add("--corr_reduction", choices=("mean", "sum"), help="average --loss corr over the batch, or sum it as published")
    add("--weighting", choices=sorted(WEIGHTINGS), help="node weights of --loss hierarchical and label_smoothing")
    add("--decay", type=nonnegative, help="of --weighting power: weight of a level, as a factor of the one above")
    add("--leaf_height", type=natural, help="of --weighting leaf: height up to which nodes have weight, in edges")
    add("--switch_epoch", type=natural, help="epochs of cross-entropy before --loss hierarchical takes over")
    add("--hxe_alpha", type=nonnegative,
        help="decay of the weights with depth, per edge, of --loss hxe and --weighting hxe or bertinetto")
    add("--hxe_weights", choices=sorted(HXE_WEIGHTS), help="convention for the weights of --loss hxe")
    add("--soft_beta", type=nonnegative,
        help="how sharply --loss soft_labels falls off with the distance in the tree; 0 is uniform")
    add("--soft_labels_variant", choices=("bertinetto", "urbani"),
        help="whose soft labels: by the height of the common ancestor, or by path")
    add("--smoothing", type=fraction, help="share of the target that --loss label_smoothing spreads over the tree")
    add("--hr", type=positive, metavar="COEF", help="coefficient of the hierarchical penalty on the class vectors")
    add("--hr_gamma", type=positive, metavar="COEF", help="coefficient of its variant with the tree's covariance")
    add("--l2_sp", type=positive, metavar="COEF",
        help="coefficient of the squared distance of the backbone from its starting weights")
    add("--weight_decay", type=positive, metavar="COEF",
        help="coefficient of the squared weights that no other penalty covers")


def _training_flags(parser: Parser, datasets: Sequence[str]) -> None:
    add = parser.add_argument_group("training").add_argument
    add("--epochs", type=natural, help="passes over the training split; 0 evaluates the untrained network")
    add("--batch_size", type=positive_int, help="images in a step")
    add("--lr", type=positive, help="learning rate of Adam")
    add("--schedule", choices=("none", "cosine", "step"), help="course of the learning rate over the epochs")
    add("--aug", nargs="?", const="affine", choices=sorted(data.AUGMENTATIONS),
        help="augmentation of training images; --aug alone is affine, the papers'")
    add("--seed", type=natural, help="seed of the weights, the order and the augmentation")
    add("--last", action="store_true", help="test the last epoch instead of the best one on the validation split")
    add("--amp", action="store_true", help="compute the backbone in bfloat16 where the GPU can")


def _machine_flags(parser: Parser, datasets: Sequence[str]) -> None:
    add = parser.add_argument_group("machine (not part of a run's identity)").add_argument
    add("--GPU", help="cpu, auto, or GPU indices such as 0 or 0,1 (default: auto, or the CPU where there is no GPU)")
    add("--ngpus", type=positive_int, default=1, help="number of GPUs that --GPU auto takes")
    add("--record", default="record", metavar="DIR", help="folder that runs are recorded in")
    add("--cache_dir", metavar="DIR", help="folder for decoded images (default: beside the images)")
    add("--download", action="store_true", help="fetch the images into --data_dir if they are not there")
    add("--stream", action=argparse.BooleanOptionalAction,
        help="decode images whenever they are used, keeping nothing (default: where the decoded ones would "
        "take over 64 GB)")
    add("--mlflow", metavar="URI",
        help="also log to this MLflow server, http://HOST:PORT, or local store, sqlite:///FILE.db (needs the package)")
    add("--resume", action="store_true", help="go on with this run if it was interrupted")
    add("--overwrite", action="store_true", help="drop an earlier run with the same options and start again")
