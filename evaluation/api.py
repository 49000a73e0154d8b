"""A trained run as a Python object that answers images: what predict.py does, for own programs."""

import os
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from PIL import Image

from data.unlabelled import Picture, find_images
from evaluation.prediction import PredictionOptions, decide, make_predictor
from evaluation.predictor import Predictor
from hierarchies import Hierarchy
from metrics import RULES
from metrics.decisions import check_settings

Images = str | os.PathLike | Image.Image | np.ndarray


class LoadedRun:
    """A run, or several whose probabilities are averaged; see `load`.

    Attributes:
        hierarchy: The class tree of the answers.
        temperature: What divides the scores before the softmax.
        settings: Those of the rule, such as its calibrated threshold.
    """

    def __init__(self, predictor: Predictor):
        self._predictor = predictor
        decision = predictor.answers.decision
        self.hierarchy: Hierarchy = predictor.answers.hierarchy
        self.temperature, self.settings = float(decision.temperature), dict(decision.options)

    def predict(self, images: Images | Iterable[Images]) -> pd.DataFrame:
        """Answers images: a row for each, in order, with the columns of predict.py's table.

        Those of folders come in the order of their paths. The column file holds the path, and is
        empty for images in memory; where an image cannot be read, error says why, and all else is
        empty. Names are as in the class tree: what a spreadsheet would run as a formula is not
        quoted here.

        Args:
            images: One or more of: the path of an image, or of a folder with images at any depth;
                an image of Pillow; a uint8 array (H, W), or (H, W, channels) of grey (1), RGB (3)
                or RGBA (4). They are brought to the run's size as its own images were. Of a run
                with --crop_box give the object, cut out.

        Raises: ValueError: If there is no such file, an array is of another kind, or there is no
            image at all. RuntimeError: If the model cannot compute.
        """
        if isinstance(images, (str, os.PathLike, Image.Image)) or (
            isinstance(images, np.ndarray) and images.ndim < 4
        ):
            images = [images]
        pictures = [picture for i, one in enumerate(images) for picture in _pictures(one, i)]
        return self._predictor.table(pictures)


def load(
    run: str | os.PathLike,
    *others: str | os.PathLike,
    rule: str = RULES.option.default,
    target_accuracy: float | None = None,
    settings: Mapping[str, object] | None = None,
    topk: int = 3,
    cover: int | None = None,
    scores: str = "W",
    coarse: str | os.PathLike | None = None,
    within: Sequence[str] | None = None,
    at: int | str | None = None,
    batch_size: int = 64,
    GPU: object = None,
) -> LoadedRun:
    """A recorded run, ready to answer images; its folder alone is needed.

    What is asked has the names and the defaults of predict.py's flags, which say more
    (`python predict.py --help`).

    Args:
        run: Folder of the run, which ends in seed<k>.
        others: Of further runs on the same classes, to average the probabilities with.
        rule: Name of a decision rule, see `metrics.RULES`.
        target_accuracy: Share of the answers, between 0 and 1, that are to be right: the class or
            a superclass of it. None: the default of predict.py, for rules that can be set to it.
        settings: Of the rule, by hand, such as {"threshold": 0.7}.
        topk: Number of most probable classes in a row, >= 1.
        cover: Classes or superclasses, at most, that an answer may consist of; None: no covers.
        scores: "W", of the class vectors, or "prototypes".
        coarse: Folder of a run on superclasses, whose probabilities multiply those of the classes.
        within: Names or paths of taxa; all else is ruled out.
        at: Number of the level, 1 for the first, or the rank, down to which answers go.
        batch_size: Images that are computed together, >= 1.
        GPU: "cpu", or numbers of GPUs; None: the best there is.

    Raises: ValueError: If a folder is not a run, or it cannot answer so, with the way out.
    """
    if topk < 1 or batch_size < 1:
        raise ValueError(f"topk and batch_size must be 1 or more, got {topk} and {batch_size}")
    if cover is not None and cover < 1:
        raise ValueError(f"cover must be 1 or more, or None for no covers, got {cover}")
    if target_accuracy is not None and not 0 <= target_accuracy <= 1:
        raise ValueError(f"target_accuracy must lie between 0 and 1, got {target_accuracy}")
    if scores not in ("W", "prototypes"):
        raise ValueError(f"scores must be one of W, prototypes, got {scores!r}")
    if coarse is not None and scores != "W":
        raise ValueError("coarse multiplies the probabilities of the class vectors: leave scores W")
    rule = RULES.resolve(rule)
    asked = PredictionOptions(
        run=os.fspath(run),
        images=(),
        out="",
        rule=rule,
        settings=check_settings(rule, settings or {}, target_accuracy, cover),
        target_accuracy=target_accuracy,
        topk=topk,
        cover=cover,
        scores=scores,
        coarse=None if coarse is None else os.fspath(coarse),
        others=[os.fspath(other) for other in others],
        within=within,
        at=at,
        batch_size=batch_size,
        GPU=GPU,
    )
    return LoadedRun(make_predictor(asked, *decide(asked)))


def _pictures(image: Images, place: int) -> list[Picture]:
    """The image, or those in the folder. Raises: ValueError: If it is none."""
    if isinstance(image, Image.Image):
        return [image]
    if isinstance(image, np.ndarray):
        fitting = image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (1, 3, 4))
        if image.dtype != np.uint8 or not fitting or not image.size:
            raise ValueError(
                f"image {place}: an array must be uint8, (height, width) or (height, width, 1, 3 or"
                f" 4 channels), got {image.dtype} {image.shape}"
            )
        return [image]
    if not isinstance(image, (str, os.PathLike)):
        raise ValueError(
            f"image {place}: expected a path, an image of Pillow or a uint8 array, got"
            f" {type(image).__name__}"
        )
    path = os.fspath(image)
    if os.path.isdir(path):
        return list(find_images([path]).files)
    if not os.path.exists(path):
        raise ValueError(f"there is no image or folder {path!r}")
    return [path]
