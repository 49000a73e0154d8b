"""Tables of one run: its measures, what its tree is worth, how rules answer."""

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

import numpy as np
import pandas as pd

from metrics.catalogue import direction, place
from metrics.measure import SECTIONS
from reports.formats import Table
from reports.printed import SYMBOLS, decimals_of, number, p_value

BOOTSTRAPPED = (
    "[lower, upper]: 95 % bootstrap interval over the images of the split, drawn in whole groups"
    " where they have some"
)
NOT_BOOTSTRAPPED = "no intervals: all images of the split are of one group, which shows no spread"
# what depends on the tree most directly, for `controls_table`
OF_THE_TREE = (
    "severity",
    "ahc",
    "ahd@5",
    "ahd@5_lca_height",
    "hops",
    "hp@5",
    "ahs@*",
    "W/corr",
    "P/corr",
    "W/map@r_level1",
    "hierarchical_accuracy",
    "wtd",
    "haurc_threshold",
    "haurc_climbing",
)


def main_table(metrics: pd.DataFrame, names: Sequence[str]) -> Table:
    """The named measures of one run below each other; metrics as in `run_tables`."""
    of_name = metrics.set_index("metric")
    rows = [
        (
            name + SYMBOLS[direction(name)],
            _measured(of_name.loc[name]),
            str(int(of_name.loc[name, "n"])),
        )
        for name in names
    ]
    notes = ["↑ higher is better, ↓ lower is better"]
    if "lower" in of_name.columns:
        notes.append(BOOTSTRAPPED if of_name["lower"].notna().any() else NOT_BOOTSTRAPPED)
    if (of_name.loc[list(names), "undefined"] > 0).any():
        notes.append("(-k): k items are left out, for which the measure is not defined")
    return Table("main measures", ("measure", "value", "n"), tuple(rows), notes=tuple(notes))


def run_tables(metrics: pd.DataFrame) -> Iterator[Table]:
    """All measures of one run, one table a section: rows are measures, columns decision rules or
    sets of vectors.

    Args:
        metrics: Columns metric, value, n, undefined, and lower and upper where they were
            bootstrapped.
    """
    named = [place(metric) for metric in metrics["metric"]]
    table = metrics.assign(
        **{key: list(values) for key, values in zip(("section", "column", "name"), zip(*named))}
    )
    order = {section: position for position, section in enumerate(SECTIONS)}
    for section in sorted(
        table["section"].unique(), key=lambda section: (order.get(section, len(order)), section)
    ):
        yield _section_table(section, table[table["section"] == section])


def controls_table(controls: pd.DataFrame, wanted: Sequence[str] | None = None) -> Table:
    """What the tree is worth, see `evaluation.controls.compare_trees`, for the terminal.

    Args:
        controls: Its table.
        wanted: Names or patterns of measures, of which those that the tree does not change are
            passed over; None for the main ones.
    """
    patterns = [
        [name for name in controls["metric"] if fnmatchcase(name, one)]
        for one in wanted or OF_THE_TREE
    ]
    names = dict.fromkeys(name for found in patterns for name in found)
    others = [name for name in controls.columns if name == "flat" or name.startswith("pruned@")]
    rows, of_name = [], controls.set_index("metric")
    for name in names:
        row = of_name.loc[name]
        decimals = 4 if abs(row["value"]) < 10 else decimals_of(row["value"])
        interval = ", ".join(number(row[end], decimals) for end in ("lower", "upper"))
        rows.append(
            (
                name + SYMBOLS[direction(name)],
                number(row["value"], decimals),
                f"{number(row['shuffled'], decimals)} [{interval}]",
                p_value(row["p"]),
                *(number(row[other], decimals) for other in others),
            )
        )
    notes = (
        "shuffled: mean over trees of the same shape with the classes shuffled, and where 95 % of"
        " them lie; p: share of them at least as good, the tree itself counted in",
        "flat, pruned@d: the tree without inner nodes, without those deeper than d; distances there"
        " are other distances, so compare these columns with each other only where the measure is a"
        " share",
    )
    columns = ("measure", "tree", "shuffled", "p", *others)
    return Table("what the tree is worth", columns, tuple(rows), notes=notes)


def rules_table(answers: pd.DataFrame, target: float) -> Table:
    """How decision rules answer, see `evaluation.rules_table.compare_rules`, for the terminal."""
    measures = [name for name in answers.columns if name not in ("rule", "setting")]
    rows = [
        (row["rule"], *(number(row[name], 4) for name in measures), row["setting"])
        for _, row in answers.iterrows()
    ]
    notes = (
        f"rules with a calibrated setting are set to be right for a share {target:g} of the images;"
        " correct: the true class is the answer or below it",
        "coverage: information of the answers as a share of that of a class; compare it between"
        " rules that are equally often correct",
    )
    return Table("how rules answer", ("rule", *measures, "setting"), tuple(rows), notes=notes)


def _section_table(title: str, part: pd.DataFrame) -> Table:
    columns = list(dict.fromkeys(part["column"]))
    interval = "lower" in part.columns and part["lower"].notna().any()
    rows = []
    for name, of_name in part.groupby("name", sort=False):
        of_column = of_name.set_index("column")
        cells = [
            _measured(of_column.loc[column]) if column in of_column.index else ""
            for column in columns
        ]
        counts = list(dict.fromkeys(str(int(n)) for n in of_name["n"]))
        rows.append((name + SYMBOLS[direction(name)], *cells, "/".join(counts)))
    notes = [BOOTSTRAPPED] if interval else []
    if (part["undefined"] > 0).any():
        notes.append(
            "(-k): k items are left out, for which the measure is not defined; n counts the others"
        )
    return Table(title, ("measure", *columns, "n"), tuple(rows), notes=tuple(notes))


def _measured(row: pd.Series) -> str:
    # the interval has the decimals of the value: 0.6667 [0.667, 0.667] would not hold it
    decimals = 4 if abs(row["value"]) < 10 else decimals_of(row["value"])
    text = number(row["value"], decimals)
    if "lower" in row.index and np.isfinite(row["lower"]):
        text += f" [{number(row['lower'], decimals)}, {number(row['upper'], decimals)}]"
    return text + (f" (-{int(row['undefined'])})" if row["undefined"] > 0 else "")
