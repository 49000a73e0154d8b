"""A recorded run at work on new images: its model from its folder alone, and a table of what it
says of them.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from data.conversion import Box
from data.progress import progress
from data.unlabelled import Batch, ModelInput, Picture, read_batches
from evaluation.answers import Answered, Answerer, Counts
from evaluation.known_images import KnownImages
from evaluation.model import Embedder
from evaluation.novelty import Novelty
from files.text import for_people, separator_of
from files.writing import RowStore, replacing


@dataclass
class Collected:
    """What is kept of all answered images, batch by batch, for tables beside the one of answers.

    Attributes:
        posteriors: Whether they are kept, which takes 4 bytes for each image and class.
        read: Places of the answered images among the files.
        nodes, probability, novelty, posterior: See `Answered` and the columns of the table.
    """

    posteriors: bool = False
    read: list[np.ndarray] = field(default_factory=list)
    nodes: list[np.ndarray] = field(default_factory=list)
    probability: list[np.ndarray] = field(default_factory=list)
    novelty: list[np.ndarray] = field(default_factory=list)
    posterior: list[np.ndarray] = field(default_factory=list)

    def add(self, read: np.ndarray, answered: Answered, novelty: np.ndarray) -> None:
        """Keeps a batch."""
        self.read.append(read)
        self.nodes.append(answered.nodes)
        self.probability.append(answered.table["decision_probability"].to_numpy())
        self.novelty.append(novelty)
        if self.posteriors:
            self.posterior.append(answered.posterior.astype(np.float32))


class Predictor:
    """Goes through image files and writes what a model says of each.

    Args:
        embedder, answers: The model, and how its scores are answered.
        model_input: How the model takes its images.
        batch_size: Images embedded at once.
        novelty: How unlike the run's images each is; None: it is not said.

    Attributes:
        known: The images of the run, to count those that are among the new ones; None counts none.
        collected: Where to keep more of the answers; None keeps none.
    """

    def __init__(
        self,
        embedder: Embedder,
        answers: Answerer,
        model_input: ModelInput,
        batch_size: int = 64,
        novelty: Novelty | None = None,
    ):
        self.embedder, self.answers, self.model_input = embedder, answers, model_input
        self.batch_size, self.novelty = batch_size, novelty
        self.known: KnownImages | None = None
        self.collected: Collected | None = None

    def write(
        self,
        files: Sequence[str],
        out: str | os.PathLike,
        embeddings: str | os.PathLike | None = None,
        truths: np.ndarray | None = None,
        boxes: Mapping[str, Box] | None = None,
    ) -> Counts:
        """Writes a row for each file, in order; the files written to appear when all is done.

        Args:
            files: Paths of images.
            out: CSV file, or .tsv, with the columns file; truth and correct where truths are given;
                those of `Answerer`; novelty_p, the share of validation images that are as far from
                all classes, see `metrics.novelty`; split, that of the run in which an image of a
                known class is, empty for new ones; error, why an image cannot be read, and all else
                is empty.
            embeddings: .npz file for the images that could be read: files (S,), embeddings (S, D),
                not normalised, and scores (S, C), not divided by the temperature.
            truths: (S,) true classes, -1 where not known.
            boxes: For each file the part of it to cut out; None for whole images.

        Raises: ValueError: If a file cannot be written, or the model gives no finite scores.
        """
        counts = Counts()
        with _table(out, embeddings) as write, progress(total=len(files), unit="image") as bar:
            for frame, vectors, scores in self._answer(files, counts, truths, boxes):
                write(frame, vectors, scores)
                bar.update(len(frame))
        return counts

    def table(self, images: Sequence[Picture]) -> pd.DataFrame:
        """The rows that `write` writes, of image files and of images in memory, in order. Of these
        the column file is empty.

        Raises: ValueError: If the model gives no finite scores.
        """
        if not images:
            raise ValueError("there are no images to answer")
        frames = [frame for frame, _, _ in self._answer(images, Counts())]
        return pd.concat(frames, ignore_index=True)

    def _answer(
        self,
        images: Sequence[Picture],
        counts: Counts,
        truths: np.ndarray | None = None,
        boxes: Mapping[str, Box] | None = None,
    ) -> Iterator[tuple[pd.DataFrame, np.ndarray, np.ndarray]]:
        """Batch by batch the rows of the table, embeddings and scores; adds to the counts."""
        hashes = () if self.known is None else self.known.hashes
        for batch in read_batches(
            images, self.model_input, self.batch_size, boxes=boxes, fingerprints=hashes
        ):
            vectors, scores = self._embed(batch)
            answered = self.answers(scores)
            known = None if truths is None else truths[counts.images :][: len(batch.files)]
            yield self._frame(batch, answered, known, counts, vectors), vectors, scores

    def _embed(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        if len(batch.pixels):
            return self.embedder(batch.pixels, batch.sizes)
        scope, tree = self.answers.decision.scope, self.answers.hierarchy
        classes = tree.num_classes if scope is None else scope.num_classes
        widths = self.embedder.dim, classes
        return tuple(np.empty((0, width), np.float32) for width in widths)

    def _frame(
        self,
        batch: Batch,
        answered: Answered,
        truths: np.ndarray | None,
        counts: Counts,
        vectors: np.ndarray,
    ) -> pd.DataFrame:
        """Rows of the CSV file, which are also counted; those of images that cannot be read say
        why.
        """
        read = np.array([error is None for error in batch.errors])
        first = counts.images
        counts.count(self.answers.hierarchy, answered, int((~read).sum()))
        # whole numbers also beside empty rows
        frame = answered.table.astype({"decision_depth": "Int64"})
        novelty = np.full(len(vectors), np.nan)
        if self.novelty is not None:
            counts.distances.append(self.novelty.distances(vectors))
            novelty = self.novelty.p_values(counts.distances[-1])
            frame["novelty_p"] = novelty
        if self.collected is not None:
            self.collected.add(first + np.flatnonzero(read), answered, novelty)
        if truths is not None:
            judged = self.answers.judge(answered, truths[read])
            counts.count_right(answered, truths[read], judged["correct"])
            frame = pd.concat([judged, frame], axis=1)
        if self.known is not None:
            files = [file for file, error in zip(batch.files, batch.errors) if error is None]
            splits = self.known.splits(files, batch.fingerprints)
            right = None if truths is None else (truths[read], judged["correct"])
            counts.count_known(splits, answered, right)
            if truths is not None:
                frame["split"] = splits
        if not (read.all() or counts.first_error):
            place = int(np.argmin(read))
            counts.first_error = f"{batch.files[place] or 'an image'}: {batch.errors[place]}"
        frame = frame.set_axis(np.flatnonzero(read)).reindex(range(len(read)))
        around = [pd.DataFrame({name: getattr(batch, f"{name}s")}) for name in ("file", "error")]
        return pd.concat([around[0], frame, around[1]], axis=1)


def as_csv(frame: pd.DataFrame, titles: bool, separator: str = ",") -> str:
    """Rows of the table of answers, and maybe their titles, as predict.py writes them."""
    return for_people(frame).to_csv(
        index=False, header=titles, float_format="%.9g", lineterminator="\n", sep=separator
    )


@contextmanager
def _table(out: str | os.PathLike, embeddings: str | os.PathLike | None) -> Iterator[Callable]:
    """A function that appends rows to the CSV file, and those without an error to the .npz file."""
    with ExitStack() as stack:
        temporary = stack.enter_context(replacing(out))
        archive = None if embeddings is None else stack.enter_context(replacing(embeddings))
        rows = stack.enter_context(
            RowStore(temporary.parent if archive is None else archive.parent)
        )
        handle = stack.enter_context(
            temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="")
        )
        files = []

        def write(frame: pd.DataFrame, vectors: np.ndarray, scores: np.ndarray) -> None:
            handle.write(as_csv(frame, handle.tell() == 0, separator_of(out)))
            if archive is not None:
                rows.append(embeddings=vectors, scores=scores)
                files.extend(frame["file"][frame["error"].isna()])

        yield write
        if archive is not None:
            rows.save(archive, files=np.array(files, dtype=np.str_))
