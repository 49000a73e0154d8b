"""Tables over seeds: methods side by side, and paired tests of two."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from metrics.catalogue import direction, place
from reports.formats import MARK, Table
from reports.labels import method_labels, relabel
from reports.printed import SYMBOLS, decimals_of, number, p_value
from reports.statistics import SIMILARITY, unlike

FEWEST = 3  # paired seeds of an interval: of two, Student's t is 12.7, which spans everything
# what papers call measures; those with a number (@k) are found by what is before it
PAPER_MEASURES = {
    "accuracy": "Acc.",
    "macro_accuracy": "Macro acc.",
    "balanced_accuracy": "Bal. acc.",
    "hierarchical_accuracy": "HA",
    "severity": "Severity",
    "ahc": "AHC",
    "ahd": "AHD",
    "hp": "HP",
    "hs": "HS",
    "ahs": "AHS",
    "ahp": "AHP",
    "wtd": "WTD",
    "hops": "HOPS",
    "ece": "ECE",
    "nll": "NLL",
    "brier": "Brier",
    "aurc": "AURC",
    "corr": "Corr.",
}
_PAPER_COLUMNS = {"value": "", "prototype": "(NC)", "W": "(W)", "P": "(P)"}


def paper_measure(metric: str) -> str:
    """What papers call a measure: 'Acc. (NC)' for prototype/accuracy; its own name where none."""
    _, column, name = place(metric)
    base, at, number_of = name.partition("@")
    if base not in PAPER_MEASURES:
        return metric
    which = _PAPER_COLUMNS.get(column, f"({column})")
    return f"{PAPER_MEASURES[base]}{at}{number_of} {which}".strip()


def summary_tables(
    summary: pd.DataFrame,
    metrics: Sequence[str],
    options: Mapping[tuple[str, str, str], Mapping] | None = None,
    *,
    titles: Mapping[tuple[str, str], str] | None = None,
    paper: bool = False,
    advice: str = "use --compare A B",
) -> Iterator[Table]:
    """One table for each dataset and hierarchy, with its part of the summary: rows are methods and
    options.

    A cell is the mean ± standard deviation over seeds, '(k/n)' where only k of the row's n seeds
    have a value. The best mean of each column is marked, with ties, if two rows or more have one.
    Only rows whose seeds were run on the same set of splits compete for a mark, and for that of HS
    or AHS only rows of one similarity.

    Args:
        summary: As `statistics.summarise` returns it.
        metrics: The columns.
        options: Of the rows, as in `runs.records.Record`.
        titles: Of the tables, by dataset and hierarchy; None for these two.
        paper: Whether methods and measures are called as in papers, and what all rows share, their
            number of seeds too, is said in the caption only.
        advice: How to test what the marks do not, where not for a paper.
    """
    for (dataset, hierarchy), part in summary.groupby(["dataset", "hierarchy"], sort=False):
        of_rows = {
            row[2]: own for row, own in (options or {}).items() if row[:2] == (dataset, hierarchy)
        }
        labels = method_labels(part["options"], of_rows, paper=paper)
        part = relabel(part, labels)
        seeds = (part["n_seeds"] + part["undefined"]).groupby(part["options"], sort=False).max()
        here = [metric for metric in metrics if (part["metric"] == metric).any()]
        columns = [
            _column(part[part["metric"] == metric].set_index("options"), seeds) for metric in here
        ]
        rows = [(name, str(n), *cells) for name, n, *cells in zip(seeds.index, seeds, *columns)]
        best = {
            (row, j + 2)
            for j, metric in enumerate(here)
            for row in _best(part, metric, list(seeds.index))
        }
        called = map(paper_measure, here) if paper else here
        headings = ("method", "seeds")
        headings += tuple(name + SYMBOLS[direction(metric)] for name, metric in zip(called, here))
        notes = (
            *_summary_notes(bool(best), seeds, rows, None if paper else advice),
            *_conditions(part, here),
        )
        notes = (labels.note, *notes) if labels.note else notes
        if len(here) < len(metrics):
            notes += (
                "in no run of this table:"
                f" {', '.join(metric for metric in metrics if metric not in here)}",
            )
        title = titles[dataset, hierarchy] if titles else f"{dataset}, tree {hierarchy[:8]}"
        table = Table(title, headings, tuple(rows), frozenset(best), notes)
        yield _for_paper(table, seeds) if paper else table


def unlike_measures(values: pd.DataFrame, a: str, b: str, metrics: Sequence[str]) -> list[str]:
    """A note on the measures that two rows do not share, see `statistics.unlike`; none where they
    share all.
    """
    if not unlike(values, a, b, metrics):
        return []
    kinds = values.groupby("options")["similarity"].first()
    return [
        "HS and AHS are not compared: they depend on each run's own distance and beta, which differ"
        f" ({kinds[a]} | {kinds[b]})"
    ]


def comparison_table(
    comparison: pd.DataFrame,
    a: str,
    b: str,
    title: str,
    notes: Sequence[str],
    family: str | None = None,
) -> Table:
    """Paired tests of b against a, as `statistics.compare` returns them, one row a measure.

    Args:
        family: A sentence on the tests that the correction is over, where they are more than those
            of this table.
    """
    headings = ("measure", "pairs", a, b, "difference", "95 % interval", "p (t)", "p (Wilcoxon)")
    tests = comparison.reindex(columns=["p_t", "p_wilcoxon"]).notna().sum()
    rows, few = [], False
    for row in comparison.itertuples():
        interval = f"[{number(row.lower)}, {number(row.upper)}]" if np.isfinite(row.lower) else "–"
        if 1 < row.pairs < FEWEST:
            interval, few = ", ".join(map(number, map(float, row.differences.split()))), True
        means = (number(row.a_mean), number(row.b_mean), number(row.difference))
        p_values = (
            p_value(row.p_t) + _corrected(row.p_t_holm, tests["p_t"], family),
            p_value(row.p_wilcoxon) + _corrected(row.p_wilcoxon_holm, tests["p_wilcoxon"], family),
        )
        rows.append(
            (
                row.metric + SYMBOLS[direction(row.metric)],
                str(row.pairs),
                *means,
                interval,
                *p_values,
            )
        )
    own = (
        f"difference: {b} minus {a}, mean over the paired seeds with the 95 % interval of Student's"
        " t",
        "p: two-sided; with n pairs Wilcoxon's is at least 2 / 2^n",
    )
    if few:
        own += (f"with fewer than {FEWEST} pairs: the differences in place of an interval",)
    if tests.max() > 1 or (family is not None and tests.max() > 0):
        own += (
            "(p): corrected by Holm for the number of measures in this table"
            if family is None
            else family,
        )
    return Table(title, headings, tuple(rows), notes=(*notes, *own))


def wide(summary: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """The compact tables as numbers, for spreadsheets: a row each, and for each measure its mean,
    std and n_seeds.
    """
    keys = ["dataset", "hierarchy", "method", "options"]
    rows = summary.drop_duplicates(keys)[keys].set_index(keys)
    for metric in metrics:
        part = summary[summary["metric"] == metric].set_index(keys)
        rows[metric] = part["mean"]
        rows[f"{metric} std"] = part["std"]
        rows[f"{metric} n_seeds"] = part["n_seeds"]
        rows[f"{metric} n_seeds"] = rows[f"{metric} n_seeds"].fillna(0).astype(int)
    return rows.reset_index()


def _column(part: pd.DataFrame, seeds: pd.Series) -> list[str]:
    """Cells of one measure, with as many decimals in every row."""
    means = part["mean"].abs()
    decimals = decimals_of(means.max()) if means.notna().any() else 3
    cells = []
    for name, n in seeds.items():
        row = part.loc[name] if name in part.index else None
        count = 0 if row is None else int(row["n_seeds"])
        text = "–" if count == 0 else number(row["mean"], decimals)
        deviation = f" ±{number(row['std'], decimals)}" if count > 1 else ""
        cells.append(f"{text}{deviation}{'' if count == n else f' ({count}/{n})'}")
    return cells


def _for_paper(table: Table, seeds: pd.Series) -> Table:
    """The table without its column of seeds, which the caption says where all rows have equally
    many.
    """
    if seeds.nunique() > 1:
        return table
    columns = (table.columns[0], *table.columns[2:])
    rows = tuple((row[0], *row[2:]) for row in table.rows)
    best = frozenset((i, j - 1) for i, j in table.best)
    said = f"every row: {seeds.iloc[0]} {'seed' if seeds.iloc[0] == 1 else 'seeds'}"
    return replace(table, columns=columns, rows=rows, best=best, notes=(*table.notes, said))


def _best(part: pd.DataFrame, metric: str, rows: list[str]) -> list[int]:
    """Positions of the rows with the best mean of those on the same splits, ties included; none
    where one is alone.
    """
    way = direction(metric)
    if way is None or (SIMILARITY.fullmatch(metric) and part["similarity"].nunique() > 1):
        return []
    positions = []
    for _, rivals in part[part["metric"] == metric].dropna(subset="mean").groupby("splits"):
        means = rivals.set_index("options")["mean"]
        best = means.max() if way == "higher" else means.min()
        tied = means.index[np.isclose(means, best, rtol=1e-12, atol=1e-12)]
        positions += [rows.index(name) for name in tied] if len(means) > 1 else []
    return positions


def _conditions(part: pd.DataFrame, metrics: Sequence[str]) -> Iterator[str]:
    """Notes on what the rows of a table, or the seeds of one, do not have in common."""
    of_row = part.drop_duplicates("options")
    own = of_row.loc[of_row["splits"].str.contains("+", regex=False), "options"]
    if len(own):
        yield (
            "the seeds have different splits of the images, and their spread contains this:"
            f" {', '.join(own)}"
        )
    if of_row["splits"].nunique() > 1:
        groups = " | ".join(
            ", ".join(rows["options"]) for _, rows in of_row.groupby("splits", sort=False)
        )
        yield (
            "rows on different splits of the images are not comparable; the best is that of equal"
            f" ones: {groups}"
        )
    if of_row["similarity"].nunique() > 1 and any(map(SIMILARITY.fullmatch, metrics)):
        kinds = "; ".join(
            f"{', '.join(rows['options'])}: {kind}" for kind, rows in of_row.groupby("similarity")
        )
        yield (
            "HS and AHS depend on each run's own distance and beta, which differ, so none is best"
            f" ({kinds})"
        )


def _summary_notes(
    marked: bool, seeds: pd.Series, rows: Sequence[Sequence[str]], advice: str | None
) -> tuple[str, ...]:
    notes = ["mean ± standard deviation (n - 1) over seeds"] if seeds.max() > 1 else []
    if marked:
        notes.append("↑ higher is better, ↓ lower is better")
        test = "no test" if advice is None else f"no test: for that, {advice}"
        notes.append(f"{MARK}: the best mean of its column, ties too; {test}")
    if any("/" in cell.partition("(")[2] for row in rows for cell in row[2:]):
        notes.append("(k/n): only k of the row's n seeds have a value")
    return tuple(notes)


def _corrected(p: float, tests: int, family: str | None) -> str:
    several = tests > 1 or family is not None
    return f" ({p_value(p)})" if several and np.isfinite(p) else ""
