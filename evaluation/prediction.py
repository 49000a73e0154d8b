"""Answers for new images by a recorded run, written to a table, and what is to be known of them."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import NamedTuple

import numpy as np
from PIL import Image

from data.boxes import with_margin
from data.conversion import Box
from data.listed import GROUP, OBJECT, Columns, list_images
from data.unlabelled import Found, check_paths, find_images
from evaluation.answers import Answerer, Counts, true_classes
from evaluation.averaged import check_same_classes
from evaluation.counting import count_samples, counting_images, write_counts
from evaluation.decision import Decision, choose_decision, cover_threshold
from evaluation.ecotaxa import ecotaxa_rows, names_beside, object_ids, write_ecotaxa
from evaluation.known_images import KnownToAny
from evaluation.model import (
    AmendedEmbedder,
    AveragedEmbedder,
    Embedder,
    load_model,
    model_input,
    read_prototypes,
)
from evaluation.novelty import Novelty
from evaluation.predictor import Collected, Predictor
from evaluation.remarks import introduction, summarise, warnings
from evaluation.scope import choose_scope
from evaluation.sources import Source
from files.text import counted, printable, separator_of, some_of
from files.writing import replacing
from hierarchies.tree import format_path
from metrics.amended import coarse_classes
from metrics.rule import TARGET_ACCURACY
from runs.folder import Run
from training.devices import choose_devices
from training.going_on import earlier_runs


class PredictionOptions(NamedTuple):
    """What is asked of a run; the names are those of the flags of predict.py, and said there.

    Attributes:
        settings: Options of the rule, set by hand.
        target_accuracy: None: its default.
        others: Folders of the runs whose posteriors are averaged with those of `run`.
    """

    run: str
    images: Sequence[str]
    out: str
    rule: str
    settings: Mapping[str, object] = {}
    target_accuracy: float | None = None
    table: str | None = None
    file_column: str | None = None
    where: Sequence[str] | None = None
    box_columns: Sequence[str] | None = None
    embeddings: str | None = None
    labels: bool = False
    topk: int = 3
    cover: int | None = None
    scores: str = "W"
    coarse: str | None = None
    others: Sequence[str] = ()
    within: Sequence[str] | None = None
    at: int | str | None = None
    counts: str | None = None
    sample_column: str | None = None
    ecotaxa: str | None = None
    batch_size: int = 64
    GPU: object = None

    @property
    def target(self) -> float:
        """How often answers shall be right."""
        return TARGET_ACCURACY if self.target_accuracy is None else self.target_accuracy


class Images(NamedTuple):
    """The images to answer.

    Fields:
        found: Their files.
        boxes: Where in them the objects are, if the run is on objects cut out.
        columns: Cells of their rows in a table, by the names of the columns.
    """

    found: Found
    boxes: dict[str, Box] | None = None
    columns: Mapping[str, Sequence[str]] = {}


def _find(run: Run, asked: PredictionOptions) -> Images:
    """The images. Raises: ValueError: If there are none."""
    if asked.table is None:
        _refuse_lists(asked.images)
        return Images(find_images(asked.images))
    margin = run.options.get("crop_box")
    if asked.box_columns and margin is None:
        raise ValueError(
            f"--box_columns: {run.folder} was trained on whole images (without --crop_box)"
        )
    columns = Columns(
        # those of another table may have other names
        file_column=asked.file_column or run.options.get("file_column"),
        where=asked.where,
        boxes=margin is not None,
        box_columns=asked.box_columns or run.options.get("box_columns"),
        sample_column=asked.sample_column,
    )
    root = asked.images[0]
    listed = list_images(asked.table, root, columns)
    files = [os.path.join(root, file) for file in listed.files]
    boxes = None
    if margin is not None:
        boxes = dict(zip(files, with_margin(listed.boxes, margin)))
    return Images(Found(files, 0, tuple(listed.notes)), boxes, listed.columns)


def _refuse_lists(paths: Sequence[str]) -> None:
    """Raises: ValueError: If a file named as an image is a list of images."""
    for path in paths:
        if path.lower().endswith((".txt", ".csv", ".tsv")) and os.path.isfile(path):
            try:
                Image.open(path).close()
            except OSError:
                raise ValueError(
                    f"{path} is not an image: give a list of images as --table, with titles of its"
                    " columns, such as file, and name the folder of the images"
                ) from None


def predict(asked: PredictionOptions) -> Counts:
    """Answers the images, writes the table and says what came out.

    Raises: ValueError, OSError, RuntimeError: If it is impossible.
    """
    check_paths(asked.images)  # a slip in one is the most likely mistake
    source, decision = decide(asked)
    run, runs, coarse = source.run, source.runs, source.coarse
    validation = None if asked.counts is None else counting_images(source, decision)
    images = _find(run, asked)
    found, boxes, _ = images
    _refuse_to_overwrite(
        found.files,
        asked.table,
        {name: getattr(asked, name) for name in ("out", "embeddings", "counts", "ecotaxa")},
    )
    truths = _truths(run, found.files, source) if asked.labels else None
    predictor = make_predictor(asked, source, decision)
    if coarse is not None:
        print(f"amended by {coarse.folder}, {coarse.hierarchy.num_classes} superclasses")
    for line in introduction(source, decision, found, asked.target, cut=boxes is not None):
        print(line)
    earlier = [
        before
        for each in runs
        for before in earlier_runs(each.options, each.config.get("started_from"))
    ]
    predictor.known = KnownToAny(runs, earlier)
    collected = Collected(posteriors=asked.counts is not None)
    predictor.collected = collected
    with ExitStack() as stack:
        tables = {
            name: stack.enter_context(replacing(getattr(asked, name)))
            for name in ("counts", "ecotaxa")
            if getattr(asked, name) is not None
        }
        counts = predictor.write(found.files, asked.out, asked.embeddings, truths, boxes)
        if "counts" in tables:
            samples = _samples(asked, images, collected)
            posterior = np.concatenate(collected.posterior)
            write_counts(
                tables["counts"],
                count_samples(source.tree, posterior, samples, validation),
                separator_of(asked.counts),
            )
        if "ecotaxa" in tables:
            write_ecotaxa(tables["ecotaxa"], _rows(asked, source, images, collected))
    summarise(counts, truths is not None)
    for line in warnings(runs, counts, decision, predictor.novelty):
        print(f"warning: {line}")
    written = [asked.out, asked.embeddings, asked.counts, asked.ecotaxa]
    print(f"{'written':<28}{', '.join(path for path in written if path is not None)}")
    return counts


def decide(asked: PredictionOptions) -> tuple[Source, Decision]:
    """The runs that answer together, and how they answer.

    Raises: ValueError, RunError: If they cannot.
    """
    run, others = Run(asked.run), [Run(folder) for folder in asked.others]
    if others:
        _check_averaged(asked, [run, *others])
    coarse = None if asked.coarse is None else _coarse_run(run, asked.coarse)
    scoped = asked.within is not None or asked.at is not None
    scope = choose_scope(run.hierarchy, asked.within, asked.at) if scoped else None
    source = Source(run, asked.scores, coarse, tuple(others), scope)
    decision = choose_decision(source, asked.rule, asked.target, asked.settings)
    if asked.cover is not None:
        least, _ = cover_threshold(source, asked.target)
        decision = decision._replace(cover=(asked.cover, least))
    return source, decision


def make_predictor(asked: PredictionOptions, source: Source, decision: Decision) -> Predictor:
    """The models at work, for any images. Raises: ValueError, RunError: If there is none."""
    return Predictor(
        _embedder(asked, source),
        Answerer(source.tree, decision, asked.topk),
        model_input(source.run),
        asked.batch_size,
        novelty=Novelty(source),
    )


def _check_averaged(asked: PredictionOptions, runs: Sequence[Run]) -> None:
    """Raises: ValueError: If the runs cannot be averaged."""
    folders = [os.path.realpath(run.folder) for run in runs]
    if len(set(folders)) < len(folders):
        again = next(run for i, run in enumerate(runs) if folders[i] in folders[:i])
        raise ValueError(f"{again.folder} is named twice: average different runs")
    if asked.embeddings is not None:
        raise ValueError(
            "--embeddings writes those of one run: each run embeds the images in a space of its"
            " own; leave it out, or name one run"
        )
    check_same_classes(runs)
    inputs = [{**asdict(reading), "upscale": side} for reading, side in map(model_input, runs)]
    for run, taken in zip(runs, inputs):
        differ = [
            f"{name} {inputs[0][name]} and {value}"
            for name, value in taken.items()
            if value != inputs[0][name]
        ]
        if differ:
            raise ValueError(
                f"{runs[0].folder} and {run.folder} cannot be averaged, as they take their images"
                f" otherwise: {', '.join(differ)}"
            )


def _truths(run: Run, files: Sequence[str], source: Source) -> np.ndarray:
    """True classes (S,) of the tree of the answers; -1 where not known, or not in the scope."""
    truths = true_classes(run, files)
    if not (truths >= 0).any():
        raise ValueError(
            f"--labels: no image is in a folder named as a class of {run.folder}, such as"
            f" {format_path(run.hierarchy.class_paths[0])!r}"
        )
    others = Counter(os.path.dirname(file) for file, c in zip(files, truths) if c < 0)
    if others:
        shown = some_of(list(others), 5, lambda folder: repr(printable(folder or ".")))
        print(
            f"note: {counted(others.total(), 'image')} in folders that are not classes of the run:"
            f" answers are given, and are not counted as right or wrong: {shown}"
        )
    if source.scope is None:
        return truths
    inside = source.scope.answers_of(truths)
    outside = int(((truths >= 0) & (inside < 0)).sum())
    if outside:
        print(
            f"note: {counted(outside, 'image')} of a class that {source.scope.said} excludes:"
            " answers are given, cannot be right, and are not counted"
        )
    return inside


def _embedder(asked: PredictionOptions, source: Source):
    """Of the run, or of all that work together."""
    run, coarse = source.run, source.coarse
    devices = choose_devices(asked.GPU)
    embedders = []
    for each in source.runs:
        prototypes = read_prototypes(each) if asked.scores == "prototypes" else None
        embedders.append(Embedder(load_model(each), devices, each.options.get("amp"), prototypes))
    if source.others:
        return AveragedEmbedder(embedders, source.temperatures)
    if coarse is None:
        return embedders[0]
    other = Embedder(load_model(coarse), devices, coarse.options.get("amp"))
    return AmendedEmbedder(embedders[0], other, coarse_classes(run.hierarchy, coarse.hierarchy))


def _samples(asked: PredictionOptions, images: Images, collected: Collected) -> list[str]:
    """The sample of each answered image: its cell in the table, or its folder."""
    column = asked.sample_column or GROUP
    files, read = images.found.files, np.concatenate(collected.read)
    if column in images.columns:
        return [images.columns[column][i] for i in read]
    return [os.path.dirname(files[i]) for i in read]


def _rows(asked: PredictionOptions, source: Source, images: Images, collected: Collected) -> list:
    """Of the table for EcoTaxa, of the images that could be read."""
    read = np.concatenate(collected.read)
    files = [images.found.files[i] for i in read]
    names = names_beside(asked.ecotaxa, files)
    if names is None:
        try:
            top = os.path.commonpath([os.path.dirname(os.path.abspath(file)) for file in files])
        except ValueError:
            raise ValueError("--ecotaxa: name images that are all on one drive") from None
        names = [os.path.relpath(os.path.abspath(file), top).replace(os.sep, "/") for file in files]
        print(
            f"note: EcoTaxa looks for images beside the table: move {asked.ecotaxa} to {top}, to"
            " which its file names are relative"
        )
    given = {title: [cells[i] for i in read] for title, cells in images.columns.items()}
    ids = given.pop(OBJECT, None)
    if ids is None or not all(ids):
        ids = object_ids(names)
    others = {title: given[title] for title in (GROUP,) if title in given}
    return ecotaxa_rows(
        source.tree,
        names,
        np.concatenate(collected.nodes),
        np.concatenate(collected.probability),
        np.concatenate(collected.novelty),
        ids,
        others,
    )


def _coarse_run(run: Run, folder: str) -> Run:
    """The run on superclasses. Raises: ValueError: If it takes its images otherwise."""
    coarse = Run(folder)
    if model_input(coarse) != model_input(run):
        raise ValueError(
            f"--coarse {folder}: it takes its images otherwise than {run.folder} (--resize, --gray,"
            " --upscale, --fit and the like must be the same)"
        )
    return coarse


def _refuse_to_overwrite(
    images: Sequence[str], table: str | None, asked: Mapping[str, str | None]
) -> None:
    """Raises: ValueError: If what is to be written would replace an image or a table that is read,
    a file of a run, or the other file to be written.

    Args:
        images, table: Files that are read; None for no table.
        asked: File to write, by its flag; None for none.
    """
    first: dict[str, str] = {}
    for name, path in asked.items():
        if path is None:
            continue
        path = os.path.realpath(path)
        if path in first:
            raise ValueError(
                f"--{first[path]} and --{name} are both {path}: give them different names"
            )
        first[path] = name
        if Run(os.path.dirname(path)).writes(os.path.basename(path)):
            raise ValueError(
                f"--{name} {asked[name]} is the name of a file of the run in that folder, which"
                " would be lost: name another file"
            )
    outputs = list(first)
    names = {os.path.basename(path) for path in outputs}
    for file in (*images, *([] if table is None else [table])):
        if os.path.basename(file) in names and os.path.realpath(file) in outputs:
            kind = "the table" if file == table else "one of the images"
            raise ValueError(f"{file} is {kind} and would be replaced; name another file to write")
