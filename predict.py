"""Labels new images with a trained run, backing off to a superclass where the class is not certain enough.

    python predict.py record/demo/DR-euc-val/seed1 my_images --out predictions.csv
    python predict.py RUN photo.jpg more_images --target_accuracy 0.9 --topk 5 --embeddings embeddings.npz
    python predict.py RUN sorted_images --labels --rule majority
    python predict.py RUN images --table objects.csv --counts counts.csv --ecotaxa images/answers.tsv
    python predict.py RUN --export model.onnx
    python predict.py RUN --serve
    python predict.py RUN1 RUN2 images --within Copepoda --at genus

Each image gets a row: the answer of --rule, which may be an inner node of the class tree; the most probable classes;
and the probabilities along the path of the best one, softmax of the scores after temperature scaling on the run's
validation split. --target_accuracy sets the rules threshold and darts on the run's calibration images, which training
held out and which chose nothing: for a new image drawn like those, the true class is the answer or below it with that
probability or more, on average over draws of them. How much one draw may be off is printed. A run without such images
(--split published, official or given, --calibration 0, or of an earlier version) is calibrated on its validation split,
which also chose the epoch, and the accuracy is but estimated. Images of another kind, such as those of another camera,
of another mix of classes or of classes that the run has not seen, are promised nothing; a batch that looks unlike is
pointed out. There may be as many images as you like: they are read batch by batch (--counts keeps the probabilities in memory).
The column novelty_p is the share of validation images that are as far from all classes as the image: look at the
smallest first.
"""  # noqa: E501

from __future__ import annotations

import startup  # isort: skip

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from files.paths import no_run
from files.text import shortened
from options.of_prediction import build_parser, check, split_runs

if TYPE_CHECKING:
    from evaluation.prediction import PredictionOptions


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0; 1 if none of the images could be read; 2 if there is nothing to do it with; 130 if
    interrupted.
    """
    startup.set_up_streams()
    parser = build_parser(__doc__)
    args = parser.parse_intermixed_args(argv)
    settings = check(parser, args)
    try:
        if args.export is not None:
            _export(args, settings)
            return 0
        others, images = split_runs(args)
        _check_folder(args.run)
        if args.serve:
            return _serve(args, others, settings)
        # what reads images and models takes seconds to import, which a slip need not wait for
        from evaluation.prediction import predict

        counts = predict(_asked(args, settings=settings, others=others, images=images))
    except (ValueError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted: nothing was written", file=sys.stderr)
        return 130
    return 0 if counts.answered else 1


def _serve(args: argparse.Namespace, others: list[str], settings: dict[str, object]) -> int:
    from evaluation.serving import serve

    asked = _asked(args, settings=settings, others=others, images=(), out="")
    serve(asked, args.host, args.port)
    return 0


def _export(args: argparse.Namespace, settings: dict[str, object]) -> None:
    _check_folder(args.run)
    from evaluation.export import export

    export(_asked(args, settings=settings, images=(), out=args.export))


def _asked(args: argparse.Namespace, **others: object) -> PredictionOptions:
    """What the flags of the same names ask for, and others in their place."""
    from evaluation.prediction import PredictionOptions

    given = {name: getattr(args, name) for name in PredictionOptions._fields if name in args}
    return PredictionOptions(**{**given, **others})


def _check_folder(folder: str) -> None:
    """Raises: ValueError: If there is no such run."""
    if os.path.isfile(folder):
        raise ValueError(no_run(folder))
    if not os.path.isdir(folder):
        raise ValueError(f"{shortened(folder, 200)}: there is no such folder")


if __name__ == "__main__":
    startup.leave(main())
