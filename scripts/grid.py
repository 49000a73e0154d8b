"""Lists the runs of a grid on a dataset, with what became of each, or runs them one after another:
the part of sweep.sh that needs python.

    python scripts/grid.py demo --left
    python scripts/grid.py MicroS --seeds "1 2" --commands -- --data_dir plankton/MicroS
    python scripts/grid.py MicroS --in_process -- --data_dir plankton/MicroS --freeze butlast

Flags after '--' go to every run. Prints state and command of each run, one a line; with
--in_process, what becomes of each that is not finished. That starts Python and reads the images
once for all runs, which matters where a run takes seconds.
"""

import contextlib
import gc
import importlib
import itertools
import os
import re
import shlex
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

STOPPED = (130, 143)  # exit statuses of a run after Ctrl-C and SIGTERM
REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

import startup  # isort: skip

from files.locks import file_lock
from files.paths import as_typed, shown
from options import command_line
from options.parser import Parser
from runs.folder import Run, RunError

GRID = REPOSITORY / "scripts" / "kim2023.txt"
SCRIPT = re.compile(r"train\w*\.py")
Flags = list[str]


class Grid(NamedTuple):
    """Flags of each dataset after its script, and the sections whose choices are combined."""

    datasets: dict[str, Flags]
    sections: dict[str, list[Flags]]


class Planned(NamedTuple):
    """One run: its command, the folder it writes and what became of it."""

    command: Flags
    folder: Path
    state: str

    @property
    def word(self) -> str:
        """finished, running, interrupted, damaged or 'not started'."""
        return "not started" if self.state == "not started" else self.state.split()[0]


def read_grid(path: str | os.PathLike) -> Grid:
    """Reads a table as described in kim2023.txt. Raises: ValueError: Naming the line that does not
    belong there.
    """
    sections, current = {"datasets": []}, None
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from error
        if len(words) == 1 and words[0].startswith("[") and words[0].endswith("]"):
            current = words[0][1:-1]
            if sections.get(current):
                raise ValueError(f"{path}, line {number}: the section [{current}] comes twice")
            sections[current] = []
        elif words and _fits(current, words):
            sections[current].append([] if words == ["-"] else words)
        elif words:
            expected = "a dataset, its script (a train*.py of the repository) and flags"
            expected = expected if current == "datasets" else "flags below a [section]"
            raise ValueError(f"{path}, line {number}: expected {expected}, got {line!r}")
    empty = [name for name, choices in sections.items() if not choices]
    if empty:
        raise ValueError(f"{path}: the section [{empty[0]}] is missing or empty")
    return Grid({name: flags for name, *flags in sections.pop("datasets")}, sections)


def _fits(section: str | None, words: Flags) -> bool:
    if section == "datasets":
        # what a table names is imported and run: nothing but the scripts that are there for it
        return (
            len(words) > 1
            and bool(SCRIPT.fullmatch(words[1]))
            and (REPOSITORY / words[1]).is_file()
        )
    return section is not None and words[0].startswith("-")


def plan(
    grid: Grid, dataset: str, seeds: Sequence[str] | None = None, extra: Sequence[str] = ()
) -> Iterator[Planned]:
    """The runs on a dataset, in the order of the table.

    Args:
        grid: The table.
        dataset: One of its datasets.
        seeds: Instead of the table's.
        extra: Flags for every run; of a flag that comes twice the last one counts.

    Raises: ValueError: If the table does not have the dataset; SystemExit: If a script refuses the
    flags of a run.
    """
    if dataset not in grid.datasets:
        raise ValueError(
            f"the grid has no dataset {dataset!r}; choose from {', '.join(grid.datasets)}"
        )
    script, *shared = grid.datasets[dataset]
    sections = dict(grid.sections)
    if seeds is not None:
        if not seeds:
            raise ValueError(
                "--seeds names no seed; give them in one argument, such as --seeds '1 2 3'"
            )
        sections["seeds"] = [["--seed", seed] for seed in seeds]
    datasets = importlib.import_module(Path(script).stem).DATASETS
    for choices in itertools.product(*sections.values()):
        flags = [*shared, *itertools.chain(*choices), *extra]
        command = [shown(sys.executable), shown(REPOSITORY / script), *flags, "--resume"]
        try:
            folder = command_line.parse([*flags, "--resume"], "", datasets)[2]
        except SystemExit:
            print(f"this was refused: {as_typed(command)}", file=sys.stderr)
            raise
        yield Planned(command, folder, state(folder))


def state(folder: Path) -> str:
    """What became of a run: finished, 'running at' or 'interrupted at epoch k of n', damaged, or
    'not started'.
    """
    run = Run(folder)
    if run.finished:
        return "finished"
    if not run.exists:
        return "not started"
    try:
        reached = f"epoch {len(run.epochs)} of {run.options.get('epochs')}"
    except RunError as error:
        return f"damaged ({error})"
    return f"{'running' if _locked(folder / '.lock') else 'interrupted'} at {reached}"


def run_here(planned: Sequence[Planned], dataset: str, claims: Path | None = None) -> int:
    """Runs one after another in this process what nobody has finished or is running. What a run
    prints goes to <its folder>.out; one that fails stops no other.

    Args:
        planned: The runs.
        dataset: Its name, for what is said at the end.
        claims: A folder in which processes that share the runs out between them claim those that
            they take, by their number, and leave the exit status.

    Returns: 0; 1 if a run failed; 130 or 143 if it was stopped by Ctrl-C or SIGTERM.
    """
    from training.shared import Shared

    shared, statuses = Shared(), {}
    for number, run in enumerate(planned):
        if run.word in ("finished", "running") or not _claim(claims, number):
            continue
        head, start = f"[{number + 1}/{len(planned)}]", time.perf_counter()
        print(f"{head} starts     {run.folder}", flush=True)
        status, said = _run_one(run, shared)
        statuses[number] = status
        if claims is not None:
            (claims / str(number) / "status").write_text(f"{status}\n")
        if status in STOPPED:
            break
        if status == 0:
            print(f"{head} finished   {run.folder}  ({time.perf_counter() - start:.0f} s)")
        else:
            print(f"{head} FAILED     {run.folder}  (status {status}: {said})", flush=True)
        gc.collect()  # models hold themselves in circles
    stopped = next((status for status in statuses.values() if status in STOPPED), None)
    failed = [planned[n].folder for n, status in statuses.items() if status not in (0, *STOPPED)]
    if claims is None:
        finished = sum((run.folder / "metrics.csv").is_file() for run in planned)
        left = len(planned) - finished - len(failed)
        print(
            f"{dataset}: {finished} of {len(planned)} runs finished, {len(failed)} failed,"
            f" {left} left"
        )
        for folder in failed:
            print(f"failed  {folder}  (see {folder}.out)")
    return stopped or int(bool(failed))


def _claim(claims: Path | None, number: int) -> bool:
    if claims is None:
        return True
    try:
        (claims / str(number)).mkdir()
    except FileExistsError:
        return False
    return True


def _run_one(run: Planned, shared: object) -> tuple[int, str]:
    """Exit status of a run, as if its command had been called, and the last line it printed."""
    from training import start

    script = importlib.import_module(Path(run.command[1]).stem)
    out = Path(f"{run.folder}.out")
    out.parent.mkdir(parents=True, exist_ok=True)
    before, sys.argv = sys.argv, run.command[1:]
    try:
        with _printing_to(out):
            try:
                status = start.main(script.__doc__, script.DATASETS, run.command[2:], shared)
            except SystemExit as stop:
                status = stop.code if isinstance(stop.code, int) else 2
            except KeyboardInterrupt:
                status = STOPPED[0]
            except Exception:  # a mistake in this program; the next run may not meet it
                traceback.print_exc()
                status = 1
    finally:
        sys.argv = before
    lines = out.read_text("utf-8", "replace").replace("\r", "\n").strip().splitlines()
    return status, lines[-1] if lines else ""


@contextlib.contextmanager
def _printing_to(path: Path) -> Iterator[None]:
    """Appends all that this process prints to a file, also what libraries print."""
    kept = [os.dup(number) for number in (1, 2)]
    try:
        with open(path, "a", encoding="utf-8", errors="replace", buffering=1) as file:
            sys.stdout.flush()
            for number in (1, 2):
                os.dup2(file.fileno(), number)
            with contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
                yield
    finally:
        for number, old in zip((1, 2), kept):
            os.dup2(old, number)
            os.close(old)


def _locked(lock: Path) -> bool:
    if not lock.exists():
        return False
    with file_lock(lock) as free:
        return not free


def build_parser() -> Parser:
    """Options of the listing; flags of the runs come after '--' and are not its."""
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("dataset", help="dataset of the grid")
    add("--grid", default=GRID, metavar="FILE", help="table of the runs")
    add(
        "--seeds",
        type=str.split,
        metavar="'K ...'",
        help="seeds instead of the grid's, in one argument",
    )
    add("--left", action="store_true", help="leave out finished runs")
    shown = parser.add_mutually_exclusive_group().add_argument
    shown("--commands", action="store_true", help="print bare commands, for a job queue")
    shown(
        "--tabs",
        action="store_true",
        help="print state, folder and command, separated by tabs, for sweep.sh",
    )
    shown(
        "--in_process",
        action="store_true",
        help="run what is left, one after another in this process",
    )
    add(
        "--claims",
        metavar="DIR",
        help="with --in_process, for sweep.sh: folder in which several such processes claim runs",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the runs; returns the exit status, 2 where the grid or the flags are wrong."""
    startup.set_up_streams()
    argv = list(sys.argv[1:] if argv is None else argv)
    end = argv.index("--") if "--" in argv else len(argv)
    asked = build_parser().parse_args(argv[:end])
    try:
        planned = list(plan(read_grid(asked.grid), asked.dataset, asked.seeds, argv[end + 1 :]))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if asked.in_process:
        return run_here(planned, asked.dataset, asked.claims and Path(asked.claims))
    for run in planned:
        if asked.left and run.state == "finished":
            continue
        command = as_typed(run.command)
        if asked.commands:
            print(command)
        else:
            print(
                f"{run.word}\t{run.folder}\t{command}"
                if asked.tabs
                else f"{run.state:<32}  {command}"
            )
    if not (asked.commands or asked.tabs):
        counts = Counter(run.word for run in planned)
        said = ", ".join(f"{count} {word}" for word, count in counts.items())
        print(f"{len(planned)} runs: {said}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    if hasattr(signal, "SIGPIPE") and "--in_process" not in sys.argv:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # end quietly behind `| head`
    sys.exit(main())
