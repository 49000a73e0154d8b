"""Shows recorded runs: pages to explore, report.html, that need no network, and figures for papers.

    python visualize.py record/demo/DR-euc-val/seed1        one run: report.html in its folder
    python visualize.py RUN --figures                       also figures/, as PNG and PDF
    python visualize.py record/demo                         every run below a folder, and record/demo/report.html that
                                                            compares their methods, with intervals over seeds
    python visualize.py RUN RUN ... --out DIR               some runs, written elsewhere

The page of a run has tables that sort and search, a confusion matrix that opens to the images of a cell with their
files, the worst mistakes, labels that may be wrong, images worth labelling next, maps of the images, curves, and the
learned tree beside the class tree. It is one file: open it in any browser, send it to anyone.
"""  # noqa: E501

import startup  # isort: skip

import os
import sys
from collections.abc import Sequence

from figures import PICTURE_FORMATS
from files.text import shortened
from options.parser import Parser, filled


def build_parser() -> Parser:
    """The command line of this script."""
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("run", nargs="+", type=filled, metavar="RUN_OR_FOLDER", help="folder of a run, or of many")
    add(
        "--out",
        type=filled,
        metavar="DIR",
        help="where to write (default: into the folder of the run; a comparison into the innermost"
        " folder that holds all runs)",
    )
    add(
        "--format",
        nargs="+",
        choices=PICTURE_FORMATS,
        help="formats of the files that --figures writes (default: all)",
    )
    add(
        "--data_dir",
        type=filled,
        metavar="DIR",
        help="where the images of the runs are on this machine, for the worst mistakes (default:"
        " where training found them, if their content is as recorded)",
    )
    add(
        "--metrics",
        nargs="+",
        type=filled,
        metavar="NAME",
        help="measures to compare, by name or pattern such as 'W/*' (default: those of the papers)",
    )
    add(
        "--figures",
        action="store_true",
        help="also draw figures for papers: as files in figures/, and on the page; takes some"
        " 15 s a run",
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
    args = build_parser().parse_intermixed_args(argv)
    try:
        if not any(map(os.path.exists, args.run)):
            raise ValueError(f"{shortened(args.run[0], 200)}: there is no such folder")
        # what draws takes seconds to import, which a slip need not wait for
        from reports.visualization import visualize

        wanted = dict(vars(args))
        return visualize(wanted.pop("run"), formats=wanted.pop("format"), **wanted)
    except KeyboardInterrupt:
        print("\ninterrupted: what was written is whole, the rest is missing", file=sys.stderr)
        return 130
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    startup.leave(main())
