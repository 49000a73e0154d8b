"""Reports of some runs: of each with all its figures, and one that compares them."""

import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from tqdm import tqdm

from evaluation.measure import find_folders
from figures import FIGURES, PICTURE_FORMATS, fonts
from reports import comparison_report, run_report
from runs.folder import Run


def visualize(
    named: Sequence[str],
    out: str | None = None,
    formats: Sequence[str] = PICTURE_FORMATS,
    data_dir: str | None = None,
    metrics: Sequence[str] | None = None,
    comparison_only: bool = False,
    figures: bool = False,
) -> int:
    """Draws every run, and the comparison if they are several, whatever happens to one of them.

    Args:
        named: Folders of runs, or of many.
        out: Where to write; None: into the runs' folders.
        formats: Of the files in figures/.
        data_dir: Where the images are; None: where training found them.
        metrics: Measures to compare, by name or pattern; None: those of the papers.
        comparison_only: Compare several without drawing every single one.
        figures: Whether the comparison also has figures for papers.

    Returns: The exit status: 0; 1 if something could not be read or written; 2 if nothing could.
    Raises: ValueError: If a single run is none, or is asked to be compared.
    """
    folders = find_folders(named)
    if len(folders) == 1:  # several are reported on whatever happens to one of them
        for name, value in (("metrics", metrics), ("comparison_only", comparison_only)):
            if value:
                raise ValueError(f"--{name} needs several runs, {folders[0]} is one")
        _existing(folders[0])
    common = Path(os.path.commonpath([os.path.abspath(path) for path in named]))
    place = common if out is None else Path(out)
    options = run_report.Options(tuple(formats), data_dir, figures)
    runs = [] if comparison_only else list(folders)
    compared = (
        comparison_report.read_comparison(common, folders, metrics) if len(folders) > 1 else None
    )
    compared_figures = compared.figures if compared is not None and figures else 0
    with tqdm(
        total=len(FIGURES) * len(runs) + compared_figures,
        unit="figure",
        desc="drawing",
    ) as bar:
        states = []
        for folder in runs:
            own = place / folder.absolute().relative_to(common)
            states.append(
                _attempt(bar, len(FIGURES), partial(_report_run, folder, own, options, bar.update))
            )
        if compared is not None:
            states += [None for _ in compared.problems] if comparison_only else []
            states.append(
                _attempt(
                    bar,
                    compared_figures,
                    partial(
                        comparison_report.report_comparison, compared, place, options, bar.update
                    ),
                )
            )
    if (letters := fonts.note()) is not None:
        print(f"note: {letters}", file=sys.stderr)
    return 2 if set(states) <= {None} else int(None in states)


def _existing(folder: Path) -> Run:
    run = Run(folder)
    if not run.exists:
        raise ValueError(
            f"{folder} is not a run: it has no config.json; a run's folder ends in .../seed<k>"
        )
    return run


def _report_run(folder: Path, *how) -> str:
    return run_report.report_run(_existing(folder), *how)


def _attempt(bar: tqdm, figures: int, work: Callable[[], str]) -> bool | None:
    """Does a part of the work and says what came of it; None, after a message, if it failed."""
    before = bar.n
    try:
        bar.write(work())
        return True
    except (ValueError, OSError) as error:
        bar.write(f"error: {error}", file=sys.stderr)
        return None
    finally:
        bar.total -= figures - (bar.n - before)  # of figures that are not drawn
        bar.refresh()
