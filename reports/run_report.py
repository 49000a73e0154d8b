"""The report of one recorded run: one HTML page that needs nothing beside it, and figures for
papers where they are asked for.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd

import figures
from evaluation.images import image_folder, open_image
from evaluation.recorded import read_source
from figures.common import Rendered, counted
from figures.subject import Subject
from files import system
from files.paths import as_typed, shown
from files.writing import write_whole
from hierarchies.export import format_description
from metrics.catalogue import COLUMNS, direction, meaning
from optimization.choosing import best_epoch
from reports import measures_shown, page, printed, tables_of_run
from reports.run_data import run_data
from runs import records
from runs.folder import Run, RunError


class Options(NamedTuple):
    """How reports are made.

    Attributes:
        formats: Of the files in figures/.
        data_dir: Where the images of the runs are; None for where training found them.
        figures: Whether there are figures for papers, too.
    """

    formats: tuple[str, ...]
    data_dir: str | None = None
    figures: bool = False


def report_run(run: Run, out: Path, options: Options, step: Callable[[], object]) -> str:
    """Writes report.html of one run, and figures/ where asked for; returns a line that says so.

    Args:
        run: The run.
        out: Folder to write into.
        options: How.
        step: Called after each figure.

    Raises: RunError: If the run is not there, not finished or damaged, or a file cannot be written.
    """
    subject = read_subject(run, options.data_dir)
    metrics = run.metrics
    found = run_data(subject)
    sections = [page.Section("Main measures", _main_measures(metrics))]
    for panel in found.panels:
        html = page.placeholder(panel.name, panel.sentence)
        if panel.name == "confusion":  # whose images are those that the notes are on
            html += page.notes(found.notes)
        sections.append(page.Section(panel.title, html))
    if options.figures:
        drawn = "".join(_figures(subject, out, options, step))
        sections.append(page.Section("Figures for papers", drawn))
    every = "".join(page.table(table, _explanation) for table in tables_of_run.run_tables(metrics))
    sections.append(
        page.Section(
            "All measures", page.folded(f"{len(metrics)} measures of the test split", every)
        )
    )
    sections.append(page.Section("The run", _provenance(run)))
    lead = _lead(run, subject)
    content = page.document(run_title(run), lead, sections, kind="run_page", data=found.data)
    write(out / "report.html", content)
    return f"wrote {shown(out / 'report.html')}"


def _figures(
    subject: Subject, out: Path, options: Options, step: Callable[[], object]
) -> Iterator[str]:
    """Writes the figures and gives each with its heading."""
    for name, plan in figures.FIGURES.items():
        rendered = figures.render(plan.draw, subject, formats=options.formats)
        links = write_images(out, name, rendered, options.formats)
        yield page.headed(
            plan.title, page.figure(rendered, plan.title, links, line_art=plan.line_art)
        )
        step()


def read_subject(run: Run, data_dir: str | None = None) -> Subject:
    """What the figures of a run read. Raises: RunError: If it is not finished or a file is
    damaged.
    """
    if run.exists and not run.finished:
        raise RunError(f"unfinished: {records.epochs_done(run)}; go on with --resume, then draw it")
    source, epochs = read_source(run), run.epochs
    best = None
    if run.chose_epoch and "epoch" in epochs.columns:
        numbers = epochs.apply(pd.to_numeric, errors="coerce")
        best = best_epoch(numbers.to_dict("records"), run.options.get("choose"))
    files = run.arrays_of_classes("test").get("files")
    reader = partial(open_image, folder=image_folder(run, data_dir))
    return Subject(source.test, epochs, run.options, source.val, files, reader, best)


def run_title(run: Run) -> str:
    """Dataset, folder and seed of a run."""
    folder, dataset = run.folder.absolute().parent, run.options.get("dataset")
    if dataset == "folder":  # people's own collections go by the name of their folder
        dataset = folder.parent.name
    return f"{dataset}: {folder.name}, seed {run.options.get('seed')}"


def write_images(
    out: Path, name: str, rendered: Rendered, formats: Sequence[str]
) -> dict[str, str]:
    """Writes figures/<name>.<format>, and removes what is left there of an earlier one; the paths
    by format.

    Raises: RunError: If a file cannot be written.
    """
    links, folder = {}, out / "figures"
    if folder.is_symlink():
        raise RunError(
            f"cannot write {folder}: it is a link, which is not followed; remove it, or name"
            " another place with --out DIR"
        )
    for kind in formats:
        path = folder / f"{name}.{kind}"
        if kind in rendered.images:
            write(path, rendered.images[kind])
            links[kind] = f"figures/{name}.{kind}"
        else:
            path.unlink(missing_ok=True)
    return links


def write(path: Path, content: bytes) -> None:
    """A file, whole or not at all. Raises: RunError: If that is not possible; the message says the
    way out.
    """
    try:
        write_whole(path, content)
    except OSError as error:
        reason = error.strerror or error
        raise RunError(
            f"cannot write {path}: {reason}; name another place with --out DIR"
            f"{system.hint(path, error)}"
        ) from error


def _main_measures(metrics: pd.DataFrame) -> str:
    here = metrics[metrics["metric"].isin(measures_shown.DEFAULT_METRICS)].set_index("metric")
    intervals = {"lower", "upper"} <= set(here.columns)
    rows = []
    for name in measures_shown.DEFAULT_METRICS:
        if name in here.index:
            row = here.loc[name]
            known = intervals and pd.notna(row["lower"]) and pd.notna(row["upper"])
            ends = f"[{row['lower']:.4f}, {row['upper']:.4f}]" if known else "–"
            cells = [printed.number(float(row["value"]), 4), *([ends] if intervals else [])]
            label = name + printed.SYMBOLS[direction(name)]
            rows.append((label, (*cells, str(int(row["n"]))), meaning(name)))
    head = ("measure", "value", *(["95 % interval"] if intervals else []), "n", "what it is")
    notes = [
        "↑ higher is better, ↓ lower is better",
        "n: images, classes or pairs of classes that the measure is over; lengths are in edges of"
        " the class tree",
    ]
    if intervals:
        notes.append("the intervals are of a bootstrap over the images of the test split")
    return page.explained("test split", head, rows) + page.notes(notes)


def _lead(run: Run, subject: Subject) -> list[str]:
    options, tree = run.options, subject.hierarchy
    wanted = ("method", "distance", "loss", "backbone", "epochs", "batch_size", "lr", "seed")
    settings = ", ".join(
        f"{name} {options[name]}" for name in wanted if options.get(name) is not None
    )
    classes = f"{counted(tree.num_classes, 'class', 'classes')}, tree of height {tree.max_depth}"
    return [settings, f"{classes}, {counted(subject.outputs.num_samples, 'test image')}"]


def _explanation(text: str) -> str:
    """A sentence on a measure or a column of the tables of measures, by what stands there; '' for
    what needs none.
    """
    if text in COLUMNS:
        return f"Measures {COLUMNS[text]}."
    if text == "n":
        return "Images, classes or pairs of classes that the measure is over."
    return meaning(text.partition(" ")[0])  # without the arrow behind its name


def _provenance(run: Run) -> str:
    """How the run was made: command, options, versions, tree; folded away."""
    config = run.config
    facts: dict[str, object] = {}
    if isinstance(config.get("command"), list):
        facts["command"] = as_typed(["python", *map(str, config["command"])])
    facts |= {
        name: config[name]
        for name in ("git", "device", "hierarchy", "split", "result_checkpoint")
        if name in config
    }
    for name in ("versions", "machine"):
        if isinstance(config.get(name), Mapping):
            facts[name] = ", ".join(f"{key} {value}" for key, value in config[name].items())
    options = {name: value for name, value in config["options"].items() if value is not None}
    return (
        page.pairs(facts)
        + page.folded("options", page.pairs(options))
        + page.folded("class tree", page.notes(format_description(run.hierarchy).splitlines()))
    )
