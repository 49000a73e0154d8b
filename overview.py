"""Everything under record/ as tables over seeds: reads it, prints the tables and writes them beside the runs."""

import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

import aggregation
import tables
from aggregation import Record
from recording import Run

# and the file that each also goes to
FORMATS = {"terminal": None, "markdown": "summary.md", "latex": "summary.tex", "csv": None}


def show(
    record: str | os.PathLike,
    layout: str,
    wanted: Sequence[str] | None,
    pairs: Sequence[Sequence[str]],
    aliases: Mapping[str, str],
) -> int:
    """Prints tables of all finished runs under a folder and writes summary.csv, and comparisons.csv if there are any.

    Args:
        record: The folder.
        layout: Key of FORMATS.
        wanted: Names or patterns of the measures to show; None for those of the papers.
        pairs: Rows to compare, two names each.
        aliases: Other names of methods.

    Returns: The exit status: 2 if there is nothing or nothing could be read.
    Raises: ValueError: If a measure or a row to compare is not there, or a file cannot be written.
    """
    found = aggregation.read_record(record)
    _report_problems(found)
    if not found.finished:
        return _nothing(record, found)
    summary = aggregation.summarise(found.values)
    metrics = tables.select_metrics(wanted, summary["metric"])
    comparisons = list(_comparisons(found.values, metrics, pairs, aliases))
    text = _layout(summary, metrics, [table for table, _ in comparisons], layout)
    print(text)
    Run(record).write_table("summary.csv", summary)
    if comparisons:
        Run(record).write_table("comparisons.csv", pd.concat([numbers for _, numbers in comparisons]))
    if FORMATS[layout] is not None:
        Run(record).write_text(FORMATS[layout], text + "\n")
    written = ["summary.csv", "comparisons.csv" if comparisons else None, FORMATS[layout]]
    print(f"{_counts(found)}; wrote {', '.join(filter(None, written))} into {record}", file=sys.stderr)
    return 0


def _layout(summary: pd.DataFrame, metrics: Sequence[str], comparisons: Sequence[tables.Table], layout: str) -> str:
    if layout == "csv":
        return tables.wide(summary, metrics).to_csv(index=False, lineterminator="\n").rstrip("\n")
    shown = [*tables.summary_tables(summary, metrics), *comparisons]
    if layout == "terminal":
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        return "\n\n".join(tables.terminal(table, width) for table in shown) + "\n"
    return "\n".join(tables.FORMATS[layout](table) for table in shown).rstrip("\n")


def _comparisons(
    values: pd.DataFrame, metrics: Sequence[str], pairs: Sequence[Sequence[str]], aliases: Mapping[str, str]
) -> Iterator[tuple[tables.Table, pd.DataFrame]]:
    """A table and its numbers for each pair in each dataset and hierarchy that has both rows."""
    parts = [part for _, part in values.groupby(aggregation.GROUP, sort=False)]
    for pair in pairs:
        compared = False
        for part in parts:
            a, b = (_find(part, name, aliases) for name in pair)
            if a is not None and b is not None:
                compared = True
                yield _compare(part, a, b, [metric for metric in metrics if (part["metric"] == metric).any()])
        if not compared:
            rows = ", ".join(dict.fromkeys(values["options"]))
            raise ValueError(f"--compare {' '.join(pair)}: no dataset has both; the rows are {rows}")


def _find(part: pd.DataFrame, name: str, aliases: Mapping[str, str]) -> str | None:
    found = aggregation.find_row(part, name)
    return aggregation.find_row(part, aliases[name]) if found is None and name in aliases else found


def _compare(part: pd.DataFrame, a: str, b: str, metrics: Sequence[str]) -> tuple[tables.Table, pd.DataFrame]:
    if a == b:
        raise ValueError(f"--compare needs two different rows, both names mean {a}")
    numbers = aggregation.compare(part, a, b, metrics)
    seeds, other_split = aggregation.paired_seeds(part, a, b)
    dataset, hierarchy = part[aggregation.GROUP].iloc[0]
    notes = [f"paired seeds: {', '.join(map(str, seeds)) or 'none'}"]
    if len(seeds) < 2:
        notes.append("with fewer than two common seeds there is no interval and no test")
    if other_split:
        notes.append(f"seeds {', '.join(map(str, other_split))}: the two were tested on different images")
    place = {"dataset": dataset, "hierarchy": hierarchy, "a": a, "b": b, "seeds": " ".join(map(str, seeds))}
    table = tables.comparison_table(numbers, a, b, f"{dataset}, tree {hierarchy[:8]}: {b} against {a}", notes)
    return table, pd.DataFrame(place, index=numbers.index).join(numbers)


def _report_problems(found: Record) -> None:
    for line in found.warnings:
        print(f"warning: {line}", file=sys.stderr)
    for line in found.damaged:
        print(f"left out: {line}", file=sys.stderr)
    for line in found.unfinished:
        print(f"unfinished: {line}", file=sys.stderr)


def _nothing(record: str | os.PathLike, found: Record) -> int:
    if found.unfinished:
        print(f"{_counts(found)}: no run is finished; continue one by its command and --resume", file=sys.stderr)
        return 0
    if found.damaged:
        print(f"error: {_counts(found)}: nothing could be read", file=sys.stderr)
        return 2
    train = "python train.py --dataset demo --method DR --use_val"
    print(f"error: no run under {record}; train one with `{train}`, or name a folder with --record", file=sys.stderr)
    return 2


def _counts(found: Record) -> str:
    counts = [f"{found.finished} {'run' if found.finished == 1 else 'runs'}"]
    counts += [f"{len(found.unfinished)} unfinished"] if found.unfinished else []
    counts += [f"{len(found.damaged)} could not be read"] if found.damaged else []
    return ", ".join(counts)
