"""Everything under record/ as tables over seeds: reads it, prints the tables and writes them beside
the runs.
"""

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import pandas as pd

from files.text import for_people, some_of
from reports import formats, measures_shown, statistics, tables_over_seeds
from reports.labels import Labels, method_labels
from reports.titles import Title, group_titles
from runs import records
from runs.folder import Run
from runs.records import Record

_SHOWN = 5  # rows that one note names


def show(
    record: str | os.PathLike,
    layout: str,
    wanted: Sequence[str] | None,
    pairs: Sequence[Sequence[str]],
    aliases: Mapping[str, str],
) -> int:
    """Prints tables of all finished runs under a folder and writes summary.csv, and comparisons.csv
    if there are any.

    Args:
        record: The folder.
        layout: Key of `formats.SUMMARIES`.
        wanted: Names or patterns of the measures to show; None for those of the papers.
        pairs: Rows to compare, two names each.
        aliases: Other names of methods.

    Returns: The exit status: 2 if there is nothing, nothing could be read, or no comparison could
    be made.
    Raises: ValueError: If a measure is not there or a file cannot be written, both after the
    tables.
    """
    found = records.read_record(record)
    _report_problems(found)
    if not found.finished:
        return _nothing(record, found)
    summary = statistics.summarise(found.values)
    metrics = measures_shown.select_metrics(wanted, summary["metric"])
    asked = [_names(pair, aliases) for pair in pairs]
    titles = group_titles(found.values, found.options)
    comparisons, refused = _comparisons(found, titles, metrics, asked, paper=layout == "latex")
    compared = [table for table, _ in comparisons]
    shown = partial(
        tables_over_seeds.summary_tables,
        summary,
        metrics,
        found.options,
        titles={group: title.full for group, title in titles.items()},
    )
    text = _layout(summary, metrics, shown, compared, layout)
    file = formats.SUMMARIES[layout]
    try:
        _write(Run(record), summary, [numbers for _, numbers in comparisons], file, text)
    finally:
        print(text)  # the tables are worth as much where nothing can be written
    written = ["summary.csv", "comparisons.csv" if comparisons else None, file]
    print(
        f"{_counts(found)}; wrote {', '.join(filter(None, written))} into {record}", file=sys.stderr
    )
    wide = ()
    if layout == "latex":
        wide = _too_wide([*shown(paper=True), *compared])
    for line in [*refused, *wide]:
        print(f"note: {line}", file=sys.stderr)
    return 2 if pairs and not comparisons else 0


def _too_wide(shown: Sequence[formats.Table]) -> list[str]:
    """A line on each table whose labels leave no room for a value on a page of a paper."""
    widths = [(table.title, formats.width_in_paper(table)) for table in shown]
    return [
        f"{title}: the table is about {width:.0f} points wide and a page of a paper holds"
        f" {formats.PAGE:.0f}: its names are long; shorten them in the file"
        for title, width in widths
        if width > formats.PAGE
    ]


def _write(
    run: Run, summary: pd.DataFrame, comparisons: list[pd.DataFrame], name: str | None, text: str
) -> None:
    run.write_table_for_people("summary.csv", summary)
    if comparisons:
        run.write_table_for_people("comparisons.csv", pd.concat(comparisons))
    if name is not None:
        run.write_text(name, text + "\n")


def _layout(
    summary: pd.DataFrame,
    metrics: Sequence[str],
    summary_tables: Callable[..., Iterable[formats.Table]],
    comparisons: Sequence[formats.Table],
    layout: str,
) -> str:
    if layout == "csv":
        table = for_people(tables_over_seeds.wide(summary, metrics))
        return table.to_csv(index=False, lineterminator="\n").rstrip("\n")
    shown = [*summary_tables(paper=layout == "latex"), *comparisons]
    if layout == "terminal":
        width = formats.terminal_width()
        return "\n\n".join(formats.terminal(table, width) for table in shown) + "\n"
    return "\n".join(formats.LAYOUTS[layout](table) for table in shown).rstrip("\n")


def _names(pair: Sequence[str], aliases: Mapping[str, str]) -> list[tuple[str, str]]:
    """Each name with the other name of the method, or itself."""
    return [(name, aliases.get(name, name)) for name in pair]


def _comparisons(
    found: Record,
    titles: Mapping[tuple[str, str], Title],
    metrics: Sequence[str],
    pairs: Sequence[Sequence[tuple[str, str]]],
    *,
    paper: bool = False,
) -> tuple[list[tuple[formats.Table, pd.DataFrame]], list[str]]:
    """A table and its numbers for each pair of rows in each dataset and hierarchy, and what cannot
    be compared. p are corrected over all tests of one dataset and hierarchy.
    """
    made, refused = [], []
    parts = [part for _, part in found.values.groupby(records.GROUP, sort=False)]
    couples_of: list[list[tuple[str, str]]] = [[] for _ in parts]
    for pair in pairs:
        asked, compared = f"--compare {' '.join(name for name, _ in pair)}", False
        for part, of_part in zip(parts, couples_of):
            sides = [_find(part, found.options, *names) for names in pair]
            if not all(sides):
                continue
            compared = True
            couples, alone = _couples(part, found.options, *sides)
            title = titles[tuple(part[records.GROUP].iloc[0])].short
            refused += [f"{asked}: {title}: {line}" for line in alone]
            of_part += couples
        if not compared:
            rows = ", ".join(dict.fromkeys(found.values["options"]))
            refused.append(f"{asked}: no dataset has both; the rows are {rows}")
    for part, couples in zip(parts, couples_of):
        title = titles[tuple(part[records.GROUP].iloc[0])].short
        made += _compare(part, title, list(dict.fromkeys(couples)), metrics, found.options, paper)
    return made, refused


def _labels(part: pd.DataFrame, options: Mapping[tuple, dict], paper: bool = False) -> Labels:
    group = tuple(part[records.GROUP].iloc[0])
    own = {row[2]: of_row for row, of_row in options.items() if row[:2] == group}
    return method_labels(part["options"], own, paper=paper)


def _find(part: pd.DataFrame, options: Mapping[tuple, dict], name: str, alias: str) -> list[str]:
    """The rows that a name means: as runs' folders have it, as a method, or as the table shows
    it.
    """
    shown = {label: row for row, label in _labels(part, options).by_name.items()}
    found = records.find_rows(part, name) or records.find_rows(part, alias)
    return found or ([shown[name]] if name in shown else [])


def _couples(
    part: pd.DataFrame, options: Mapping[tuple, dict], left: list[str], right: list[str]
) -> tuple[list[tuple[str, str]], list[str]]:
    """Rows to compare, a line on those without a partner, and one on each with several.

    Two rows alone are a pair whatever they are. Of several, those are whose options agree but for
    the method; the distance counts only where both have one, which softmax has not.
    """
    if len(left) == len(right) == 1:
        same = [f"{left[0]} is both of them; name two different rows"] if left == right else []
        return [] if same else [*zip(left, right)], same
    group = tuple(part[records.GROUP].iloc[0])
    partners = {
        a: [b for b in right if a != b and _agree(options[*group, a], options[*group, b])]
        for a in left
    }
    suitors = {b: [a for a in left if b in partners[a]] for b in right}
    couples = [
        (a, b) for a in left for b in partners[a] if len(partners[a]) == len(suitors[b]) == 1
    ]
    every, lines = [*partners.items(), *suitors.items()], []
    alone = list(dict.fromkeys(row for row, others in every if not others))
    if alone:
        has = "has" if len(alone) == 1 else "have"
        lines.append(
            f"{some_of(alone, _SHOWN)} {has} no partner with the same options; name two rows to"
            " compare them anyway"
        )
    for row, others in every:
        if len(others) > 1:
            lines.append(f"{row} could be compared with {', '.join(others)}; name one of them")
    return couples, list(dict.fromkeys(lines))


def _agree(a: Mapping, b: Mapping) -> bool:
    ignored = {"method"} if "distance" in a and "distance" in b else {"method", "distance"}
    return all(a.get(name) == b.get(name) for name in {*a, *b} - ignored)


def _compare(
    part: pd.DataFrame,
    title: str,
    couples: Sequence[tuple[str, str]],
    metrics: Sequence[str],
    options: Mapping[tuple, dict],
    paper: bool,
) -> list[tuple[formats.Table, pd.DataFrame]]:
    """A table and its numbers for each pair of rows of one dataset and hierarchy."""
    measured = [metric for metric in metrics if (part["metric"] == metric).any()]
    compared = statistics.correct([statistics.compare(part, a, b, measured) for a, b in couples])
    family = None
    if len(couples) > 1:
        both = pd.concat(compared)[["p_t", "p_wilcoxon"]]
        tests = int(both.notna().sum().max())
        family = (
            f"(p): corrected by Holm for the {tests} tests of the {len(couples)} comparisons"
            " (measures times pairs of methods)"
        )
    return [
        _comparison(part, title, pair, numbers, _labels(part, options, paper), family)
        for pair, numbers in zip(couples, compared)
    ]


def _comparison(
    part: pd.DataFrame,
    title: str,
    pair: tuple[str, str],
    numbers: pd.DataFrame,
    labels: Labels,
    family: str | None,
) -> tuple[formats.Table, pd.DataFrame]:
    a, b = pair
    seeds, other_split = statistics.paired_seeds(part, a, b)
    dataset, hierarchy = part[records.GROUP].iloc[0]
    notes = [f"paired seeds: {', '.join(map(str, seeds)) or 'none'}"]
    if len(seeds) < 2:
        notes.append("with fewer than two common seeds there is no interval and no test")
    if other_split:
        notes.append(
            f"seeds {', '.join(map(str, other_split))}: the two were tested on different images"
        )
    place = {
        "dataset": dataset,
        "hierarchy": hierarchy,
        "a": a,
        "b": b,
        "seeds": " ".join(map(str, seeds)),
    }
    left, right = labels.by_name[a], labels.by_name[b]
    if labels.note:
        notes.append(labels.note)
    notes += tables_over_seeds.unlike_measures(part, a, b, numbers["metric"])
    table = tables_over_seeds.comparison_table(
        numbers, left, right, f"{title}: {right} against {left}", notes, family
    )
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
        print(
            f"{_counts(found)}: no run is finished; continue one by its command and --resume",
            file=sys.stderr,
        )
        return 0
    if found.damaged:
        print(f"error: {_counts(found)}: nothing could be read", file=sys.stderr)
        return 2
    train = "python train.py --dataset demo --method DR --use_val"
    print(
        f"error: no run under {record}; train one with `{train}`, or name a folder with --record",
        file=sys.stderr,
    )
    return 2


def _counts(found: Record) -> str:
    counts = [f"{found.finished} {'run' if found.finished == 1 else 'runs'}"]
    counts += [f"{len(found.unfinished)} unfinished"] if found.unfinished else []
    counts += [f"{len(found.damaged)} could not be read"] if found.damaged else []
    return ", ".join(counts)
