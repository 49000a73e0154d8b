"""Reports of some runs: a page of each, and one that compares them."""

import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import figures as papers
from evaluation.recorded import find_folders
from files.bars import tqdm
from reports import run_report
from reports.compared import read_comparison
from reports.comparison_report import report_comparison
from runs.folder import Run


def visualize(
    named: Sequence[str],
    out: str | None = None,
    formats: Sequence[str] | None = None,
    data_dir: str | None = None,
    metrics: Sequence[str] | None = None,
    comparison_only: bool = False,
    figures: bool = False,
) -> int:
    """Makes the page of every run, and of the comparison if they are several, whatever happens to
    one of them.

    Args:
        named: Folders of runs, or of many.
        out: Where to write; None: into the runs' folders.
        formats: Of the files in figures/; None for all of them.
        data_dir: Where the images are; None: where training found them.
        metrics: Measures to compare, by name or pattern; None: those of the papers.
        comparison_only: Compare several without drawing every single one.
        figures: Whether to draw figures for papers, too, as files and on the pages.

    Returns: The exit status: 0; 1 if something could not be read or written; 2 if nothing could.
    Raises: ValueError: If a single run is none, or is asked to be compared; if formats are asked
        for, but no figures; if out is a file, or data_dir no folder.
    """
    if formats is not None and not figures:
        raise ValueError("--format is of the files that --figures draws: add --figures")
    if out is not None and os.path.exists(out) and not os.path.isdir(out):
        raise ValueError(f"--out {out} is a file: name a folder, --out DIR")
    if data_dir is not None and not os.path.isdir(data_dir):
        raise ValueError(f"--data_dir {data_dir}: there is no such folder")
    folders = find_folders(named)
    if len(folders) == 1:  # several are reported on whatever happens to one of them
        for name, value in (("metrics", metrics), ("comparison_only", comparison_only)):
            if value:
                raise ValueError(f"--{name} needs several runs, {folders[0]} is one")
        _existing(folders[0])
    common = _common(named)
    place = common if out is None else Path(out)
    options = run_report.Options(tuple(formats or papers.PICTURE_FORMATS), data_dir, figures)
    runs = [] if comparison_only else list(folders)
    compared = read_comparison(common, folders, metrics) if len(folders) > 1 else None
    # a page is a step, and so is a figure
    of_run = 1 + (len(papers.FIGURES) if figures else 0)
    of_comparison = 1 + (compared.figures if figures else 0) if compared is not None else 0
    with tqdm(
        total=of_run * len(runs) + of_comparison,
        unit="step",
        desc="drawing",
        delay=5,  # seconds: a page of one run needs no bar
    ) as bar:
        states = []
        for folder in runs:
            own = place / folder.absolute().relative_to(common)
            states.append(
                _attempt(bar, of_run, partial(_report_run, folder, own, options, bar.update))
            )
        if compared is not None:
            states += [None for _ in compared.problems] if comparison_only else []
            work = partial(report_comparison, compared, place, options, bar.update)
            states.append(_attempt(bar, of_comparison, work))
    if figures:
        from figures import fonts

        if (letters := fonts.note()) is not None:
            print(f"note: {letters}", file=sys.stderr)
    return 2 if set(states) <= {None} else int(None in states)


def _common(named: Sequence[str]) -> Path:
    """The folder above all that is named. Raises: ValueError: If they are on several drives."""
    try:
        return Path(os.path.commonpath([os.path.abspath(path) for path in named]))
    except ValueError:
        raise ValueError("runs on several drives cannot be compared: copy them to one") from None


def _existing(folder: Path) -> Run:
    run = Run(folder)
    run.check_exists()
    return run


def _report_run(folder: Path, *how) -> str:
    return run_report.report_run(_existing(folder), *how)


def _attempt(bar: tqdm, steps: int, work: Callable[[], str]) -> bool | None:
    """Does a part of the work and says what came of it; None, after a message, if it failed."""
    before = bar.n
    try:
        bar.write(work())
        bar.update()
        return True
    except (ValueError, OSError) as error:
        bar.write(f"error: {error}", file=sys.stderr)
        return None
    finally:
        bar.total -= steps - (bar.n - before)  # of what was not drawn
        bar.refresh()
