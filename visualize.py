"""Draws recorded runs: figures as PNG and PDF, and a report.html that needs no network.

    python visualize.py record/demo/DR-euc-val/seed1        one run: figures/ and report.html in its folder
    python visualize.py record/demo                         every run below a folder, and record/demo/report.html that
                                                            compares their methods, with intervals over seeds
    python visualize.py RUN RUN ... --out DIR               some runs, written elsewhere

The report shows how the run was trained, where its mistakes go in the class tree, which tree its class vectors make by
themselves, and how that compares with the class tree. It is one file: open it in any browser, send it to anyone.
"""  # noqa: E501

import startup  # isort: skip

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from tqdm import tqdm

from evaluation.measure import find_folders
from figures import FIGURES, FORMATS, fonts
from options.parser import Parser, filled
from reports import comparison_report, run_report
from runs.folder import Run


def build_parser() -> Parser:
    """The command line of this script."""
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("run", nargs="+", type=filled, metavar="RUN_OR_FOLDER", help="folder of a run, or of many")
    add(
        "--out",
        type=filled,
        metavar="DIR",
        help="where to write (default: into the folder of the"
        " run; a comparison"
        " into the innermost folder that holds all runs)",
    )
    add(
        "--format",
        nargs="+",
        choices=FORMATS,
        default=list(FORMATS),
        help="formats of the files in figures/; the report embeds its images in any case",
    )
    add(
        "--data_dir",
        type=filled,
        metavar="DIR",
        help="where the images of the runs are on this"
        " machine, for the worst"
        " mistakes (default: where training found them, if their content is as recorded)",
    )
    add(
        "--metrics",
        nargs="+",
        type=filled,
        metavar="NAME",
        help="measures to compare, by name or pattern such as 'W/*' (default: those of the papers)",
    )
    add(
        "--comparison_only",
        action="store_true",
        help="compare the methods without drawing every single run",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0; 1 if something could not be read or written; 2 if nothing could; 130 if
    interrupted.
    """
    startup.set_up_streams()
    parser = build_parser()
    args = parser.parse_intermixed_args(argv)
    folders = find_folders(args.run)
    if len(folders) == 1:
        for name in ("metrics", "comparison_only"):
            if getattr(args, name):
                parser.error(f"--{name} needs several runs, {folders[0]} is one")
    try:
        if len(folders) == 1:  # several are reported on whatever happens to one of them
            _existing(folders[0])
        return visualize(folders, args)
    except KeyboardInterrupt:
        print("\ninterrupted: what was written is whole, the rest is missing", file=sys.stderr)
        return 130
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def visualize(folders: Sequence[Path], args: argparse.Namespace) -> int:
    """Draws every run, and the comparison if they are several, whatever happens to one of them; the
    exit status.
    """
    common = Path(os.path.commonpath([os.path.abspath(path) for path in args.run]))
    out = common if args.out is None else Path(args.out)
    options = run_report.Options(tuple(args.format), args.data_dir)
    runs = [] if args.comparison_only else list(folders)
    compared = (
        comparison_report.read_comparison(common, folders, args.metrics)
        if len(folders) > 1
        else None
    )
    with tqdm(
        total=len(FIGURES) * len(runs) + (compared.figures if compared else 0),
        unit="figure",
        desc="drawing",
    ) as bar:
        states = []
        for folder in runs:
            place = out / folder.absolute().relative_to(common)
            states.append(
                _attempt(
                    bar, len(FIGURES), partial(_report_run, folder, place, options, bar.update)
                )
            )
        if compared is not None:
            states += [None for _ in compared.problems] if args.comparison_only else []
            states.append(
                _attempt(
                    bar,
                    compared.figures,
                    partial(
                        comparison_report.report_comparison, compared, out, options, bar.update
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


if __name__ == "__main__":
    startup.leave(main())
