"""Every flag of the training scripts, declared once, in groups, with its help; and the parser of
all scripts.
"""

import argparse
from collections.abc import Sequence

import data
import losses
import models
from hierarchies import FORMATS, WEIGHTINGS
from losses.hierarchical import HXE_WEIGHTS
from models.options import ALIASES, METHODS
from options.parser import (
    Parser,
    factor,
    filled,
    fraction,
    gpu,
    natural,
    nonnegative,
    pixels,
    positive,
    positive_int,
    seed,
)


def _method(text: str) -> str:
    try:
        return models.resolve_method(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not one of {', '.join([*METHODS, *ALIASES])}"
        ) from None


def build_parser(description: str, datasets: Sequence[str]) -> Parser:
    """A parser with every flag of the training scripts; defaults are set by `parse`, which knows
    the dataset.
    """
    parser = Parser(
        description=description,
        epilog="Flags can be kept in a file, for what differs from machine to machine, and read"
        " with @FILE: UTF-8 text,\n"
        "# starts a comment, quotes hold a value with spaces together, a backslash means itself."
        + (
            "\n--dataset NAME --help shows the flags and defaults of that dataset alone."
            if len(datasets) > 1
            else ""
        ),
    )
    for declare in (
        _data_flags,
        _model_flags,
        _head_flags,
        _loss_flags,
        _training_flags,
        _machine_flags,
    ):
        declare(parser, datasets)
    return parser


# fmt: off
# A flag takes a line or two, so that the groups can be read as lists.
def _data_flags(parser: Parser, datasets: Sequence[str]) -> None:
    add = parser.add_argument_group("data").add_argument
    kinds = list(dict.fromkeys(kind for dataset in datasets for kind in data.DATASETS[dataset].splits))
    if len(datasets) > 1:
        add("--dataset", choices=datasets, required=True, help="image collection to train on")
    add("--data_dir", type=filled, metavar="DIR",
        help="folder of the images" + ("; the demo draws its own there" if "demo" in datasets else ""))
    add("--use_val", action="store_true",
        help="hold out a validation split and test the epoch that is best on it, not the last. A"
             " dataset without "
        "splits of its own is shared out as 70%% training, 10%% validation, 20%% test images,"
        " instead of 90%% and 10%%")
    add("--split", choices=kinds,
        help="stratified: every class in every split where it can; published: plain random, as in"
             " the papers"
        + ("; official: the split that comes with the dataset" if "official" in kinds else ""))
    add("--split_seed", type=seed, metavar="SEED",
        help="seed of the split (default: the same for all runs, which so share their test images;"
             " with --split "
        "published that of --seed)")
    add("--reduction_factor", type=factor, metavar="R", help="train on one in R of the training"
                                                             " images (default: 1)")
    add("--subset", choices=("stratified", "published"),
        help="stratified: --reduction_factor keeps the same share of every class, and where it can"
             " an image; "
        "published: it draws from all images at once, as in the papers")
    add("--subset_seed", type=seed, metavar="SEED", help="seed of the images that"
                                                         " --reduction_factor keeps")
    add("--split_list", type=filled, metavar="CSV", help="image files in the published order, for"
                                                         " --split published")
    add("--resize", type=pixels, metavar="PIXELS",
        help="side every image is stretched to, in pixels; 0 keeps images that are all of one size")
    add("--upscale", type=pixels, metavar="PIXELS",
        help="side the resized images are then enlarged to, in pixels; 0 leaves them as they are")
    add("--gray", action=argparse.BooleanOptionalAction, help="read images as one grey channel")
    add("--crop_boxes", action="store_true", help="cut every image to its bounding box before"
                                                  " resizing")
    add("--small", action="store_true", help="train on a tenth of the images, as in the papers")
    add("--collapse", action="store_true", help="remove inner nodes with a single child from the"
                                                " tree")
    add("--hierarchy", type=filled, metavar="FILE", help="tree instead of the dataset's; its leaves"
                                                         " are class folders")
    add("--hierarchy_format", choices=sorted(FORMATS),
        help="what the file of --hierarchy is, where its suffix and content do not tell")
    add("--levels", nargs="+", type=filled, metavar="COLUMN",
        help="columns of the table of --hierarchy that are the levels of the tree, from the top"
             " down to the class")
    add("--prune_tree", action="store_true",
        help="leave out classes of the tree that have no images, named in the log, instead of"
             " stopping")
    add("--folders_are_classes", action="store_true",
        help="use folders named train, val, test or the like as classes or groups of classes,"
             " instead of stopping")
    add("--nonliving", nargs="+", type=filled, metavar="GROUP",
        help="top-level groups to leave out where measures are taken on living classes only")
    add("--exclude", nargs="+", type=filled, metavar="PATTERN", help="folders in --data_dir to"
                                                                     " leave out: 'Detritus/*'")
    stopping = "named in the log, instead of stopping"
    add("--skip_bad_images", action="store_true", help="leave out images that cannot be read,"
                                                       f" {stopping}")
    add("--ignore_empty_folders", action="store_true", help="leave out folders without images,"
                                                            f" {stopping}")


def _model_flags(parser: Parser, datasets: Sequence[str]) -> None:
    add = parser.add_argument_group("model").add_argument
    add("--backbone", choices=sorted(models.BACKBONES), help="network that embeds the images")
    add("--rand_backbone", action="store_true",
        help="start from random weights instead of ImageNet's; conv4 always does")
    add("--weights", type=filled, metavar="FILE",
        help="start from the weights in this file (a state dict) instead of downloading ImageNet's")
    add("--legacy_stem", action="store_true", help="replace the pretrained first convolution by a"
                                                   " random one, as published")
    add("--no_normalize", action="store_true", help="feed pixels in [0, 1] without normalisation,"
                                                    " as published")
    add("--dim", type=positive_int, metavar="D", help="length of an embedding: how many numbers"
                                                      " describe an image")
    add("--size_inform", action="store_true",
        help="let the embedding depend on the image's original width and height, which resizing"
             " hides")
    add("--freeze", choices=models.FREEZE,
        help="what does not train: butlast, all that is pretrained; last, the rest; all (default:"
             " none)")


def _head_flags(parser: Parser, datasets: Sequence[str]) -> None:
    add = parser.add_argument_group("method (the head: how embeddings are scored against class"
                                    " vectors)").add_argument
    add("--method", type=_method, required=True,
        help="softmax: a linear layer; normface (also SD, NormFace): squared distances to the class"
             " vectors; DR (also "
        "ProxyDR): the logarithms of those distances")
    add("--distance", choices=("euc", "arccos"), help="distance between unit vectors: Euclidean, or"
                                                      " the angle in radians")
    add("--ema", action="store_true", help="class vectors follow a moving average of their class's"
                                           " embeddings")
    add("--alpha", type=fraction, metavar="SHARE",
        help="weight of a new batch in the moving average of --ema, per batch in which the class"
             " occurs")
    add("--mds_W", action="store_true", help="place class vectors beforehand at the distances of"
                                             " the tree, and fix them")
    add("--beta", type=positive, metavar="EDGES",
        help="path length, in edges, at which the target distance of --mds_W reaches half its"
             " maximum")
    add("--mds_solver", choices=models.SOLVERS,
        help="how --mds_W places the class vectors: exact, in closed form, an error where there is"
             " none; gradient, as "
        "near as found in steps; auto, exact where it can be")
    add("--dynamic", action="store_true",
        help="let the scale of the scores follow the angles, after AdaCos; without, it stays 10")
    add("--legacy_dynamic", action="store_true", help="update the scale of --dynamic by the"
                                                      " published formulas")
    add("--clspri", action="store_true",
        help="add the log share of each class in the training split to its score; with --loss corr,"
             " which trains on "
        "cosines, this acts when images are scored: on the best epoch and on the results")


def _loss_flags(parser: Parser, datasets: Sequence[str]) -> None:
    add = parser.add_argument_group("loss").add_argument
    add("--loss", choices=sorted(losses.LOSSES),
        help="ce: cross-entropy; corr: 1 minus the cosine to the class vector, with --mds_W;"
             " hierarchical, hxe: "
        "cross-entropy on all levels of the tree; soft_labels, label_smoothing: targets softened by"
        " the tree")
    add("--CORR", action="store_true", help="short for --loss corr")
    add("--corr_reduction", choices=("mean", "sum"), help="average --loss corr over the batch, or"
                                                          " sum it as published")
    add("--weighting", choices=sorted(WEIGHTINGS),
        help="node weights of --loss hierarchical and label_smoothing")
    add("--decay", type=nonnegative, metavar="FACTOR",
        help="of --weighting power: weight of a level, as a factor of the one above")
    add("--leaf_height", type=natural, metavar="EDGES",
        help="of --weighting leaf: height up to which nodes have weight, in edges")
    add("--switch_epoch", type=natural, metavar="EPOCHS",
        help="epochs of cross-entropy before --loss hierarchical takes over")
    add("--hxe_alpha", type=nonnegative, metavar="RATE",
        help="decay of the weights with depth, per edge, of --loss hxe and --weighting hxe or"
             " bertinetto")
    add("--hxe_weights", choices=sorted(HXE_WEIGHTS),
        help="weights of --loss hxe, which decay with the depth of a node or of its parent, so that"
             " all sum to 1 "
        "(normalised), or with its height")
    add("--soft_beta", type=nonnegative, metavar="RATE",
        help="how sharply the targets of --loss soft_labels fall off with the distance in the tree;"
             " 0 is uniform")
    add("--soft_labels_variant", choices=("bertinetto", "urbani"),
        help="whose soft labels: by the height of the common ancestor (bertinetto), or by the path"
             " to it (urbani)")
    add("--smoothing", type=fraction, metavar="SHARE",
        help="share of the target that --loss label_smoothing spreads over the tree")
    add("--hr", type=nonnegative, metavar="COEF",
        help="coefficient of the penalty that pulls class vectors towards those of their relatives"
             " (default: 0)")
    add("--hr_gamma", type=nonnegative, metavar="COEF",
        help="coefficient of its variant with the tree's covariance (default: 0)")
    add("--l2_sp", type=nonnegative, metavar="COEF",
        help="coefficient of the squared distance of the backbone from its starting weights"
             " (default: 0)")
    add("--weight_decay", type=nonnegative, metavar="COEF",
        help="coefficient of the squared weights that no other penalty covers (default: 0)")


def _training_flags(parser: Parser, datasets: Sequence[str]) -> None:
    add = parser.add_argument_group("training").add_argument
    add("--epochs", type=natural, metavar="N", help="passes over the training split; 0 evaluates"
                                                    " the untrained network")
    add("--batch_size", type=positive_int, metavar="N", help="images in a step")
    add("--lr", type=positive, metavar="RATE", help="learning rate of Adam, at the start if there"
                                                    " is a --schedule")
    add("--schedule", choices=("none", "cosine", "step"),
        help="course of the learning rate over the epochs: constant (none), down to 0 along a"
             " cosine, or in steps to a "
        "tenth after each third")
    add("--aug", nargs="?", const="affine", choices=sorted(data.AUGMENTATIONS),
        help="augmentation of training images; --aug alone is affine, Kim et al.'s: rotated,"
             " sheared, scaled, shifted, "
        "mirrored")
    add("--seed", type=seed, metavar="SEED", help="seed of starting weights, order of the images"
                                                  " and augmentation")
    add("--last", action="store_true", help="test the last epoch although --use_val finds the best"
                                            " one")
    add("--amp", action="store_true",
        help="compute the backbone in bfloat16: faster, a little less exact; needs a GPU that has"
             " bfloat16")
    add("--compile", action="store_true",
        help="compile the network with torch.compile: slower to start, faster steps on a GPU")


def _machine_flags(parser: Parser, datasets: Sequence[str]) -> None:
    add = parser.add_argument_group("machine (not part of a run's identity)").add_argument
    add("--GPU", type=gpu, metavar="GPU",
        help="cpu, auto, or GPU indices such as 0 or 0,1 (default: auto, or the CPU where there is"
             " no GPU)")
    add("--ngpus", type=positive_int, default=1, metavar="N",
        help="number of GPUs that --GPU auto takes; the images of a batch are shared out among them")
    add("--record", type=filled, default="record", metavar="DIR", help="folder that runs are"
                                                                       " recorded in")
    add("--cache_dir", type=filled, metavar="DIR", help="folder for decoded images (default: beside"
                                                        " the images)")
    add("--download", action="store_true", help="fetch the images into --data_dir if they are not"
                                                " there")
    add("--stream", action=argparse.BooleanOptionalAction,
        help="decode images whenever they are used, keeping none (default: where decoded they would"
             " take over 64 GB)")
    add("--mlflow", type=filled, metavar="URI",
        help="also log to this MLflow server, http://HOST:PORT, or local store, sqlite:///FILE.db"
             " (needs the package)")
    add("--resume", action="store_true", help="go on with this run if it was interrupted, else"
                                              " start it")
    add("--overwrite", action="store_true", help="drop an earlier run with the same options, and"
                                                 " start again")
