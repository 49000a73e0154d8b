"""Options that several datasets take.

A dataset names those that it takes, with its own defaults, in DEFAULTS of its module; what it alone
takes is declared there, too.
"""

from data import after_split, reading
from data.folds import Fold
from hierarchies import TREE_FORMATS
from registry import (
    Need,
    Number,
    Option,
    either,
    filled,
    nonnegative,
    one_of,
    pixels,
    positive_int,
    seed,
    switch,
    with_flag,
    with_value,
)

# kind of split -> what it is; a dataset lists its kinds in its row of DATASETS
KINDS = {
    "stratified": "every class in every split where it can",
    "published": "plain random, as in the papers",
    "official": "the split that comes with the dataset",
    "given": "that of --split_column, or of folders named train, val and test",
}
SEED = Option(
    "seed", seed, 1, "SEED", "seed of starting weights, order of the images and augmentation"
)
STOPPING = "named in the log, instead of stopping"

# the images of a run that is recorded are compared with its tree, so that no folder's name need be
# doubted, not by rules that are newer than the run either
SETTLED = {"folders_are_classes": True}

SHARED: dict[str, Option] = {
    option.name: option
    for option in (
        Option("data_dir", filled, None, "DIR", "folder of the images", machine=True),
        Option(
            "use_val",
            switch,
            False,
            help="hold out a validation split and test the epoch that is best on it, not the last."
            " A dataset without splits of its own is shared out as 70% training, 10% validation,"
            " 20% test images, instead of 90% and 10%",
            tag="val",
        ),
        Option("split", one_of(KINDS), None, help="how images are shared out between the splits"),
        Option(
            "split_seed",
            seed,
            None,
            "SEED",
            "seed of the split (default: the same for all runs, which so share their test images;"
            " with --split published that of --seed)",
        ),
        *after_split.OPTIONS,
        Option(
            "fold",
            Fold(),
            None,
            "K/N",
            "cross-validation: test the K-th of N folds, which share out every class evenly and"
            " part no group; evaluate.py pools the N runs",
            needs=with_value("split", "stratified"),
        ),
        Option(
            "group_copies",
            switch,
            False,
            help="equal images, known by their pixels, are one group, which no random split parts",
        ),
        Option(
            "strict_groups",
            switch,
            False,
            help="stop where the split that is given parts a group, instead of noting it",
            needs=with_value("split", "given"),
        ),
        Option(
            "label_map",
            filled,
            None,
            "FILE",
            "CSV or TSV that says which taxon each class is: a column of raw labels, and ranks or a"
            " path; labels of one taxon become one class",
            names_file=True,
        ),
        Option(
            "label_map_set",
            filled,
            None,
            "NAME",
            "use only the rows of --label_map whose column dataset has this value",
            needs=with_flag("label_map"),
        ),
        Option(
            "label_map_levels",
            filled,
            None,
            "COLUMN",
            "columns of --label_map that are the ranks, from the top down (default: those that are"
            " named like ranks)",
            several=True,
            needs=with_flag("label_map"),
        ),
        Option(
            "min_images",
            positive_int,
            None,
            "N",
            "leave out classes that have fewer images in all, named in the log",
        ),
        Option(
            "split_list",
            filled,
            None,
            "CSV",
            "image files in the published order, for --split published",
            names_file=True,
            needs=with_value("split", "published"),
        ),
        Option(
            "split_lists",
            filled,
            None,
            "DIR",
            "folder with the authors' lists of images, <split>/<wnid>.txt",
        ),
        *reading.OPTIONS,
        Option(
            "upscale",
            pixels,
            0,
            "PIXELS",
            "side the resized images are then enlarged to, in pixels; 0 leaves them as they are",
        ),
        Option(
            "crop_boxes",
            switch,
            False,
            help="cut every image to its bounding box before resizing",
        ),
        Option("small", switch, False, help="train on a tenth of the images, as in the papers"),
        Option(
            "collapse",
            switch,
            False,
            help="remove inner nodes with a single child from the tree",
        ),
        Option(
            "hierarchy",
            filled,
            None,
            "FILE",
            "tree instead of the dataset's; its leaves are class folders",
            names_file=True,
        ),
        Option(
            "hierarchy_format",
            one_of(TREE_FORMATS),
            None,
            help="what the file of --hierarchy is, where its suffix and content do not tell",
            needs=with_flag("hierarchy"),
        ),
        Option(
            "levels",
            filled,
            None,
            "COLUMN",
            "columns of the table of --hierarchy, else of --table, that are the levels of the tree,"
            " from the top down to the class",
            several=True,
            needs=Need(
                lambda options: options.get("hierarchy") or options.get("table"),
                "--hierarchy or --table",
            ),
        ),
        Option(
            "table",
            filled,
            None,
            "FILE",
            "CSV or TSV with a row for each image, an export of EcoTaxa or a COCO json, in place of"
            " class folders; files in it are relative to --data_dir",
            names_file=True,
        ),
        Option(
            "file_column",
            filled,
            None,
            "COLUMN",
            "column of --table with the image files (default: the one that is named like it)",
            needs=with_flag("table"),
        ),
        Option(
            "split_column",
            filled,
            None,
            "COLUMN",
            "column of --table that says train, val or test, for --split given",
            needs=Need(
                lambda options: options.get("table") and options.get("split") == "given",
                "--table and --split given",
            ),
        ),
        Option(
            "group_column",
            filled,
            None,
            "COLUMN",
            "column of --table that says which images belong together, as those of one sample: no"
            " split parts them (default: the sample in an export of EcoTaxa, or else the object)",
            needs=with_flag("table"),
        ),
        Option(
            "group_level",
            Number(int, lambda level: level != 0, "a whole number that is not 0"),
            None,
            "N",
            "level of the folders that say which images belong together, as those of one haul, and"
            " not what they show: 1 is the topmost, -1 the lowest; no random split parts such a"
            " folder",
            several=True,
            needs=Need(
                lambda options: not options.get("table"), "class folders (tables: --group_column)"
            ),
        ),
        Option(
            "where",
            filled,
            None,
            "COLUMN=VALUE",
            "use only rows of --table with that value, or with COLUMN!=VALUE those with another,"
            " 'COLUMN!=' those with any (default: validated ones in an export of EcoTaxa)",
            several=True,
            needs=with_flag("table"),
        ),
        Option(
            "crop_box",
            nonnegative,
            None,
            "MARGIN",
            "cut every image to its bounding box in --table and so much around it, as a share of"
            " the box's width and height: 0 is the box itself, 0.1 a fifth more of either",
            needs=Need(
                lambda options: options.get("table") or options.get("dataset") == "CUB",
                "--table",
            ),
        ),
        Option(
            "box_columns",
            filled,
            None,
            "COLUMN",
            "columns of --table with the left end, top, width and height of the boxes, or left,"
            " top, right and bottom (called so, or like xmax), in pixels (default: those that are"
            " named like it)",
            several=True,
            needs=Need(
                lambda options: options.get("crop_box") is not None,
                "--crop_box MARGIN",
            ),
        ),
        Option(
            "prune_tree",
            switch,
            False,
            help="leave out classes of the tree that have no images, named in the log, instead of"
            " stopping",
            needs=Need(
                # the other datasets come with a tree
                lambda options: (
                    options["hierarchy"] or options["dataset"] not in ("folder", "demo")
                ),
                "--hierarchy",
            ),
        ),
        Option(
            "folders_are_classes",
            switch,
            False,
            help="use folders named train, val, test or the like as classes or groups of classes,"
            " instead of stopping",
        ),
        Option(
            "nonliving",
            filled,
            None,
            "GROUP",
            "top-level groups to leave out where measures are taken on living classes only",
            several=True,
        ),
        Option(
            "exclude",
            filled,
            (),
            "PATTERN",
            "folders in --data_dir to leave out: 'Detritus/*'",
            several=True,
        ),
        Option(
            "skip_bad_images",
            switch,
            False,
            help=f"leave out images that cannot be read, {STOPPING}",
        ),
        Option(
            "ignore_empty_folders",
            switch,
            False,
            help=f"leave out folders without images, {STOPPING}",
        ),
        Option(
            "cache_dir",
            filled,
            None,
            "DIR",
            "folder for decoded images (default: beside the images)",
            machine=True,
        ),
        Option(
            "download",
            switch,
            False,
            help="fetch the images into --data_dir if they are not there",
            machine=True,
        ),
        Option(
            "stream",
            either,
            None,
            help="decode images whenever they are used, keeping none (default: where decoded they"
            " would take over 64 GB)",
            machine=True,
        ),
        SEED,
    )
}


def usual(*names: str, **others: object) -> dict[str, object]:
    """The options of these names with their defaults, and others with those of a dataset."""
    return {**{name: SHARED[name].default for name in names}, **others}


# options by which the same files become other images
READING = (*reading.DEFAULTS, "upscale", "crop_boxes", "crop_box", "box_columns")
