"""Evaluates recorded runs: all measures of one or more runs, or tables over seeds of everything under record/.

python evaluate.py record/demo/DR-euc-val/seed1              all measures of a run, from its test.pkl alone
python evaluate.py RUN --data_dir DIR                        the same from images and checkpoint, on any machine
python evaluate.py --pack RUN                                a copy of a run to carry away
python evaluate.py                                           every run under record/, aggregated over seeds
python evaluate.py --compare NormFace-euc DR-euc --format latex
python evaluate.py --scores scores.csv --hierarchy tree.csv  predictions of any classifier become a run
python evaluate.py --classifier weights.pt --hierarchy tree.csv  class vectors of any classifier beside a tree
"""  # noqa: E501

from __future__ import annotations

import startup  # isort: skip

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from files.paths import no_run
from files.text import shortened
from options.of_evaluation import build_parser, check, of_weightings
from reports.formats import SUMMARIES

# What measures and draws takes seconds to import, which --help and a slip need not wait for: it is
# imported where it is used.
if TYPE_CHECKING:
    from evaluation.measure import EvaluationOptions


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0; 1 if a run could not be read or is not reproduced; 2 if nothing could be read or
    done.
    """
    startup.set_up_streams()
    parser = build_parser(__doc__, SUMMARIES)
    args = parser.parse_intermixed_args(argv)
    check(parser, args)
    try:
        _check_given(args)
        return _work(args)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _check_given(args: argparse.Namespace) -> None:
    """Raises: ValueError: If no RUN is there, or not the folder of the images, or no measure has a
    name that was given.
    """
    if args.run and not any(map(os.path.exists, args.run)):
        raise ValueError(f"{shortened(args.run[0], 200)}: there is no such folder")
    if os.path.isfile(args.record):
        raise ValueError(f"--record {no_run(args.record)}")
    if args.coarse is not None and not Path(args.coarse).is_dir():
        raise ValueError(f"--coarse {shortened(args.coarse, 200)}: there is no such folder")
    if args.data_dir is not None and not Path(args.data_dir).is_dir():
        raise ValueError(f"--data_dir {args.data_dir}: there is no such folder")
    # a record may hold measures of other versions: its names are known once it is read
    if args.metrics and (args.run or args.scores or args.classifier):
        from reports import measures_shown

        measures_shown.check_names(args.metrics)


def _work(args: argparse.Namespace) -> int:
    """What was asked for, of one kind; returns the exit status."""
    if args.pack:
        from runs.packing import pack_runs

        return pack_runs(args.run)
    if args.classifier is not None:
        return _show_classifier(args)
    if args.scores is not None:
        return _show_scores(args)
    return _show_runs(args) if args.run else _show_record(args)


def _show_record(args: argparse.Namespace) -> int:
    from models import HEADS
    from reports import overview

    return overview.show(args.record, args.format, args.metrics, args.compare or [], HEADS.aliases)


def _show_runs(args: argparse.Namespace) -> int:
    from reports import single_runs

    show = single_runs.show_folds if args.pool_folds else single_runs.show
    return show(args.run, _request(args))


def _show_scores(args: argparse.Namespace) -> int:
    """Makes a run of predictions from elsewhere, and evaluates it."""
    from evaluation import foreign
    from evaluation.from_elsewhere import check_file, read_class_tree
    from reports import single_runs

    for name in ("scores", "val_scores"):
        check_file(f"--{name}", getattr(args, name))
    tree, notes = read_class_tree(args.hierarchy)
    test = foreign.read_predictions(args.scores, tree, args.hierarchy, args.labels)
    val = None
    if args.val_scores is not None:
        val = foreign.read_predictions(
            args.val_scores, tree, args.hierarchy, args.val_labels, "val_"
        )
        foreign.check_apart(test, val)
        notes = (*notes, *(f"--val_scores: {note}" for note in val.notes))
    for note in dict.fromkeys([*notes, *test.notes]):
        print(f"note: {note}")
    listed = "; ".join(
        f"of {what} ({', '.join(names)})" for what, names in foreign.NOT_GIVEN.items()
    )
    print(f"note: scores alone do not give the measures {listed}: they are not there")
    name = args.name or Path(args.scores).stem
    folder = Path(args.record, args.collection, name, f"seed{args.seed}")
    options = {"dataset": args.collection, "method": name, "seed": args.seed}
    if foreign.is_of_others(folder, test):
        print(
            f"note: {folder} held other predictions, which these replace: to keep several, give"
            " each a --name or a --seed of its own"
        )
    foreign.make_run(folder, tree, test, val, options)
    return {True: 0, False: 1, None: 2}[single_runs.show_run(folder, _request(args))]


def _show_classifier(args: argparse.Namespace) -> int:
    from reports import classifier

    return classifier.show(
        args.classifier,
        args.hierarchy,
        args.classifier_key,
        args.distance,
        args.record,
        args.metrics,
        drawn=args.tree,
    )


def _request(args: argparse.Namespace) -> EvaluationOptions:
    from evaluation.measure import EvaluationOptions, ImageSource
    from metrics import RULES
    from training.devices import choose_devices

    images = None
    if args.data_dir is not None:
        kept = ("data_dir", "cache_dir", "hierarchy", "split_list")
        places = {name: getattr(args, name) for name in kept}
        images = ImageSource(places, choose_devices(args.GPU), args.checkpoint)
    given = {name: getattr(args, name) for name in EvaluationOptions._fields if name in args}
    others = {
        "options": {name: getattr(args, name) for name in of_weightings()},
        "on_request": args.on_request or (),
        "images": images,
        "wanted": args.metrics,
        "rules": tuple(RULES if args.rules == ["all"] else args.rules or ()),
        "cover": args.cover or 0,
    }
    return EvaluationOptions(**{**given, **others})


if __name__ == "__main__":
    startup.leave(main())
