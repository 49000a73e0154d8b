"""Single runs measured again: the results are written into their folders, and the main ones
printed.
"""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from evaluation import coarse, controls, files, measure, pooled, recorded, rules_table
from evaluation.measure import EvaluationOptions
from evaluation.recorded import SplitOutputs
from metrics import flat
from metrics.per_image import per_image, worst_images
from reports import formats, measures_shown, tables_of_run
from reports.worst import worst_text
from runs import records
from runs.folder import Run, RunError

FROM_ARRAYS, FROM_IMAGES = 1e-6, 0.01  # largest differences that still reproduce a measure


def show(named: Sequence[str], request: EvaluationOptions) -> int:
    """Evaluates every run that is named or below a folder that is named, whatever happens to the
    others.

    Returns: The exit status: 0; 1 if one could not be read or is not reproduced; 2 if none could be
    read.
    """
    states = [show_run(folder, request) for folder in recorded.find_folders(named)]
    if len(states) > 1:
        read = len(states) - states.count(None)
        other = states.count(False)
        how = f"{other} of them not as recorded" if other else "all as recorded"
        print(f"{read} of {len(states)} runs read{f', {how}' if read else ''}", file=sys.stderr)
    return 2 if set(states) == {None} else int(not all(states))


def show_folds(named: Sequence[str], request: EvaluationOptions) -> int:
    """Measures the runs of each cross-validation as one; returns the exit status.

    Raises: RunError: If there is no complete one.
    """
    for folds in pooled.find_folds(map(Run, recorded.find_folders(named))):
        outputs = pooled.pool(folds)
        table, _ = measure.measure(SplitOutputs(outputs, None), request)
        written = {"": table}
        if outputs.clusters is not None:
            written["per_group"] = flat.per_group(outputs)
        paths = pooled.write(folds, written)
        print(f"{len(folds.runs)} folds of {folds.runs[0].folder}: {outputs.num_samples} images")
        print_measures(table, request.wanted, paths[0].name)
        print(f"wrote {' and '.join(map(str, paths))}\n")
    return 0


def show_run(folder: Path, request: EvaluationOptions) -> bool | None:
    """Measures one run, writes the result into the run's folder and prints it.

    Returns: Whether the measures are as recorded, True where there is nothing to compare with;
    None, after a message, if the run cannot be read or written.
    """
    run = Run(folder)
    try:
        print(f"{run.folder}: {run.options.get('dataset')}, seed {run.options.get('seed')}")
        if request.images is None and not run.finished:
            advice = "go on with --resume, or evaluate its checkpoint with --data_dir"
            print(f"unfinished: {records.epochs_done(run)}; {advice}\n")
            return True
        return _show(run, request)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
    return None


def _show(run: Run, request: EvaluationOptions) -> bool:
    if "result_checkpoint" not in run.config:
        raise RunError(f"{run.folder / 'config.json'} is damaged: it has no 'result_checkpoint'")
    images = request.images
    checkpoint = (images.checkpoint if images else None) or run.result_checkpoint
    source = measure.embed_again(run, images, checkpoint) if images else recorded.read_source(run)
    if request.coarse is not None:
        source = source._replace(amended=coarse.amended_scores(run, Run(request.coarse)))
    shown, plain = measure.measure(source, request)
    own = set(run.metrics["metric"]) if run.finished else set(plain["metric"])
    asked = [name for name in shown["metric"] if name not in own]
    table = f"evaluation{files.suffix(run, request, checkpoint)}.csv"
    # first, for the run of a colleague may be where nothing can be written
    print_measures(shown, request.wanted, table, asked)
    names = files.write_results(run, source, shown, request, checkpoint)
    drawn = next((name for name in names if name.endswith(".txt")), None)
    if request.tree:
        _print_tree(run, drawn)
    if request.worst:
        worst = worst_images(source.test)[: request.worst]
        root = source.test.hierarchy.names[0]
        print(f"{worst_text(per_image(source.test).iloc[worst], root)}\n")
    if request.rules or request.cover:
        names.append(_compare_rules(run, request))
    if request.shuffled:
        names.append(_compare_trees(run, source, request, checkpoint))
    trees = "" if drawn is None else f", the learned trees as text in {drawn}"
    print(f"wrote {names[0]} and {len(names) - 1} more files into {run.folder}{trees}")
    if run.finished and checkpoint == run.result_checkpoint:
        usual = FROM_IMAGES if images else FROM_ARRAYS
        return _reproduces(run, plain, usual if request.tolerance is None else request.tolerance)
    print(f"these are the measures of {checkpoint}; there are no recorded ones to compare with\n")
    return True


def _print_tree(run: Run, drawn: str | None) -> None:
    """The first tree of the file of those that are drawn, without its name."""
    if drawn is None:
        print("note: --tree: the run has no class vectors, of which a tree could be drawn\n")
        return
    text = (run.folder / drawn).read_text("utf-8", "surrogateescape")
    _, _, upgma = text.partition("\n\n")[0].partition("\n")
    print(f"UPGMA tree of the class vectors\n{upgma}\n")


def _compare_rules(run: Run, request: EvaluationOptions) -> str:
    """Writes and prints how decision rules answer; returns the name of the file."""
    table, notes = rules_table.compare_rules(
        run, request.rules, request.target_accuracy, request.cover
    )
    name = "answers.csv"
    run.write_table_for_people(name, table)
    _print([tables_of_run.rules_table(table, request.target_accuracy)])
    for note in notes:
        print(f"note: {note}\n")
    return name


def _compare_trees(
    run: Run, source: SplitOutputs, request: EvaluationOptions, checkpoint: str
) -> str:
    """Writes and prints what the tree is worth; returns the name of the file."""
    table = controls.compare_trees(source, request)
    name = f"shuffled{files.suffix(run, request, checkpoint)}.csv"
    run.write_table_for_people(name, table)
    _print([tables_of_run.controls_table(table, request.wanted)])
    return name


def print_measures(
    metrics: pd.DataFrame, wanted: Sequence[str] | None, file: str, added: Sequence[str] = ()
) -> None:
    """Prints the main measures and the main ones of those that were asked for in addition, or the
    wanted ones in a table a section; `file` holds them all.
    """
    known = metrics["metric"]
    if wanted:
        names = measures_shown.select_metrics(wanted, known, file)
        _print(tables_of_run.run_tables(metrics[known.isin(names)]))
    else:
        names = measures_shown.main_metrics(known, added)
        _print([tables_of_run.main_table(metrics, names)])
    if len(names) < len(metrics):
        groups = [name.split("/")[0] for name in known if "/" in name]
        some = f", --metrics '{groups[-1]}/*' some" if groups else ""
        print(
            f"{len(metrics) - len(names)} more measures are in {file}; --metrics '*' prints"
            f" all{some}"
        )


def _print(shown: Iterable[formats.Table]) -> None:
    width = formats.terminal_width()
    for table in shown:
        print(formats.terminal(table, width), end="\n\n")


def _reproduces(run: Run, computed: pd.DataFrame, tolerance: float) -> bool:
    """Says whether the computed measures are those in metrics.csv, and which are not; returns
    whether they are.
    """
    table = measure.differences(run.metrics, computed)
    wrong = table[table["difference"] > tolerance]
    largest = table["difference"].max()
    if wrong.empty:
        print(
            f"reproduces metrics.csv: largest difference {largest:.3g} over {len(table)} measures\n"
        )
        return True
    print(
        f"does not reproduce metrics.csv: {len(wrong)} of {len(table)} measures differ by more than"
        f" {tolerance:g}"
    )
    for row in wrong.head(20).itertuples():
        print(f"  {row.metric}: recorded {row.recorded:.10g}, now {row.computed:.10g}")
    print(f"  and {len(wrong) - 20} more\n" if len(wrong) > 20 else "")
    return False
