"""A recorded run at work on new images: its model from its folder alone, and a table of what it says of them."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np
import pandas as pd
import torch
from torch import nn

import models
from answers import Answered, Answers, Counts, no_prototypes
from data.progress import progress
from data.unlabelled import Batch, Shape, read_batches
from data.writing import RowStore, replacing
from devices import Devices
from recording import Run, RunError


def load_model(run: Run) -> models.Classifier:
    """The model that a run's results come from, on the CPU, from config.json, hierarchy.json and its checkpoint.

    Neither images nor pretrained weights are needed, and class vectors are not placed again. Raises: RunError.
    """
    if run.hierarchy.digest != run.config.get("hierarchy"):
        raise RunError(f"{run.folder / 'hierarchy.json'} is not the tree that config.json names; was it changed?")
    state = run.checkpoint(run.result_checkpoint)["model"]
    # all weights come from the checkpoint, class vectors too, which only training moves in other ways
    options = {**run.options, "rand_backbone": True, "weights": None, "mds_W": False, "mds_solver": None, "beta": None}
    log_prior = state.get("head.log_prior")
    train_counts = np.ones(run.hierarchy.num_classes)
    if log_prior is not None:  # the same prior again
        train_counts = (log_prior - log_prior.min()).double().exp().numpy()
    side, channels = options.get("upscale") or options.get("resize") or None, 1 if options.get("gray") else 3
    try:
        model = models.build_classifier(options, run.hierarchy, train_counts, channels, side)
        model.load_state_dict(state)
    except (RuntimeError, KeyError) as error:
        file = run.folder / run.result_checkpoint
        raise RunError(f"{file} does not fit the model of config.json: {error}") from error
    return model.eval()


def image_shape(run: Run) -> Shape:
    """How the model of a run takes its images. Raises: RunError: If only the results say it, and there are none."""
    options = run.options
    width = height = options.get("resize") or 0
    if not width:  # all training images were of one size
        width, height = (int(side) for side in run.arrays("test")["sizes"][0])
    return Shape(height, width, bool(options.get("gray")), options.get("upscale") or 0)


def read_prototypes(run: Run) -> torch.Tensor:
    """Prototypes (C, D) of a run, NaN rows for classes without training images. Raises: ValueError, RunError."""
    if run.options.get("method") == "softmax":
        raise ValueError(no_prototypes(run))
    return torch.from_numpy(run.arrays("test")["prototypes"])


class Embedder:
    """Embeds and scores images as evaluation does.

    Args:
        model: From `load_model`.
        devices: To compute on.
        amp: Compute the backbone in bfloat16, as the run did.
        prototypes: (C, D) to score with, instead of the class vectors.

    Raises: ValueError: If amp is asked of several GPUs.
    """

    def __init__(
        self, model: models.Classifier, devices: Devices, amp: bool = False, prototypes: torch.Tensor | None = None
    ):
        if amp and len(devices.gpus) > 1:  # its threads would compute in float16
            raise ValueError(
                "this run was trained with --amp, which does not go with DataParallel: name one GPU with --GPU"
            )
        self.device, self.amp = devices.main, bool(amp)
        self.model = model.to(self.device).eval()
        self.network = nn.DataParallel(model, device_ids=list(devices.gpus)) if len(devices.gpus) > 1 else self.model
        self.prototypes = None if prototypes is None else prototypes.to(self.device)

    @torch.no_grad()
    def __call__(self, pixels: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Embeddings (B, D) and scores (B, C), float32, of uint8 images (B, H, W, channels) of original sizes (B, 2).

        Raises: ValueError: If an image has no finite score.
        """
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.amp):
            embeddings = self.network(images, torch.from_numpy(sizes).to(self.device))
        embeddings = embeddings.float()
        scores = self.model.head(embeddings, weight=self.prototypes)
        if not torch.isfinite(scores.amax(dim=1)).all():
            raise ValueError("the model gives scores that are no finite numbers; did its training diverge?")
        return embeddings.cpu().numpy(), scores.cpu().numpy()


class Predictor:
    """Goes through image files and writes what a model says of each.

    Args:
        embedder, answers: The model, and how its scores are answered.
        shape: How the model takes its images.
        batch_size: Images embedded at once.
    """

    def __init__(self, embedder: Embedder, answers: Answers, shape: Shape, batch_size: int = 64):
        self.embedder, self.answers, self.shape, self.batch_size = embedder, answers, shape, batch_size

    def write(
        self,
        files: Sequence[str],
        out: str | os.PathLike,
        embeddings: str | os.PathLike | None = None,
        truths: np.ndarray | None = None,
    ) -> Counts:
        """Writes a row for each file, in order; the files written to appear when all is done.

        Args:
            files: Paths of images.
            out: CSV file with the columns file; truth and correct where truths are given; those of `Answers`; error,
                why an image cannot be read, and all else is empty.
            embeddings: .npz file for the images that could be read: files (S,), embeddings (S, D), not normalised, and
                scores (S, C), not divided by the temperature.
            truths: (S,) true classes, -1 where not known.

        Raises: ValueError: If a file cannot be written, or the model gives no finite scores.
        """
        counts = Counts()
        with _table(out, embeddings) as write, progress(total=len(files), unit="image") as bar:
            for batch in read_batches(files, self.shape, self.batch_size):
                vectors, scores = self._embed(batch)
                answered = self.answers(scores)
                known = None if truths is None else truths[counts.images :][: len(batch.files)]
                write(self._frame(batch, answered, known, counts), vectors, scores)
                bar.update(len(batch.files))
        return counts

    def _embed(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        if len(batch.pixels):
            return self.embedder(batch.pixels, batch.sizes)
        widths = self.embedder.model.dim, self.answers.hierarchy.num_classes
        return tuple(np.empty((0, width), np.float32) for width in widths)

    def _frame(self, batch: Batch, answered: Answered, truths: np.ndarray | None, counts: Counts) -> pd.DataFrame:
        """Rows of the CSV file, which are also counted; those of images that cannot be read say why."""
        read = np.array([error is None for error in batch.errors])
        counts.count(self.answers.hierarchy, answered, int((~read).sum()))
        frame = answered.table.astype({"decision_depth": "Int64"})  # whole numbers also beside empty rows
        if truths is not None:
            judged = self.answers.judge(answered, truths[read])
            counts.count_right(answered, truths[read], judged["correct"])
            frame = pd.concat([judged, frame], axis=1)
        frame = frame.set_axis(np.flatnonzero(read)).reindex(range(len(read)))
        frame.insert(0, "file", batch.files)
        return frame.assign(error=batch.errors)


@contextmanager
def _table(out: str | os.PathLike, embeddings: str | os.PathLike | None) -> Iterator[Callable]:
    """A function that appends rows to the CSV file, and those without an error to the .npz file."""
    with ExitStack() as stack:
        temporary = stack.enter_context(replacing(out))
        archive = None if embeddings is None else stack.enter_context(replacing(embeddings))
        rows = stack.enter_context(RowStore(temporary.parent if archive is None else archive.parent))
        handle = stack.enter_context(temporary.open("w", encoding="utf-8", errors="surrogateescape", newline=""))
        files = []

        def write(frame: pd.DataFrame, vectors: np.ndarray, scores: np.ndarray) -> None:
            frame.to_csv(handle, index=False, header=handle.tell() == 0, float_format="%.9g", lineterminator="\n")
            if archive is not None:
                rows.append(embeddings=vectors, scores=scores)
                files.extend(frame["file"][frame["error"].isna()])

        yield write
        if archive is not None:
            rows.save(archive, files=np.array(files, dtype=np.str_))
