"""The report that compares recorded runs: methods beside each other, with intervals over seeds."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from html import escape
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import pandas as pd

import figures
from figures.common import Rendered, counted
from metrics.catalogue import direction, meaning
from reports import comparison_data, formats, page, statistics, tables_over_seeds, tree_data
from reports.compared import (
    Comparison,
    Group,
    comparison_trees,
    epoch_curves,
    plain_name,
)
from reports.run_report import Options, read_subject, shown, write, write_images
from runs.folder import Run, RunError

# title of a section, part of the script that draws it, and what the reader has to know
_DRAWN = (
    (
        "Seeds, intervals and paired differences",
        "measure",
        "Marks are means over seeds, dots single seeds, lines 95 % intervals of Student's t where"
        " there are three seeds or more. Differences are to the reference, over the seeds that both"
        " have; p (Holm) is corrected for all methods that are compared with it in this measure.",
    ),
    (
        "Any two measures",
        "scatter",
        "Means over seeds. On the dashed line, the Pareto front, no other method is as good in both"
        " measures and better in one.",
    ),
    (
        "Right up to a height in the tree",
        "heights",
        "Share of the test images whose answer shares an ancestor of at most that height with the"
        " truth; 0: the class itself. The root, where every answer is right, is left out. Grey: the"
        " other methods.",
    ),
    (
        "Training",
        "curves",
        "Means over seeds by epoch. Grey: the other methods. The scale of the scores is a curve"
        " only with --dynamic.",
    ),
)
_TREES = (
    "Learned trees",
    "trees",
    "The class tree, and the tree that the class vectors of a method make by average linkage"
    " (UPGMA) of their distances: of the first seed that can be read. Point at a branch, a name or"
    " a dot to read what it is.",
)
_ALL_PAIRS = 4  # rows with seeds in common of which every pair is tested
_PAIRED = 8  # rows that are tested against the first one where there are more


class _Maker(NamedTuple):
    """Draws and writes the figures of a comparison."""

    out: Path
    options: Options
    step: Callable[[], object]

    def figure(
        self, name: str, alt: str, draw: Callable, *arguments: object, line_art: bool = False
    ) -> str:
        """HTML of a figure that was drawn and written."""
        rendered = figures.render(draw, *arguments, formats=self.options.formats)
        return self.show(name, alt, rendered, line_art)

    def show(self, name: str, alt: str, rendered: Rendered, line_art: bool = False) -> str:
        links = write_images(self.out, name, rendered, self.options.formats)
        self.step()
        return page.figure(rendered, alt, links, line_art=line_art)


def report_comparison(
    compared: Comparison, out: Path, options: Options, step: Callable[[], object]
) -> str:
    """Writes figures/ and report.html of a comparison; returns a line that says so.

    Args:
        compared: The runs.
        out: Folder to write into; reports of single runs are linked where they are below.
        options: How.
        step: Called after each figure.

    Raises: RunError: If there is nothing to compare, or a file cannot be written.
    """
    if not compared.groups:
        raise RunError(f"there is no finished run to compare under {shown(compared.common)}")
    maker = _Maker(out, options, step)
    sections, numbers = [], []
    for number, group in enumerate(compared.groups):
        epochs = epoch_curves(group)
        dynamic = [row for row, own in group.options.items() if own.get("dynamic")]
        data = comparison_data.group_data(
            group.values, [*group.metrics, *group.more], epochs, dynamic
        )
        trees = comparison_trees(group)
        numbers.append(data | trees)
        sections += _sections(compared, group, maker, number, epochs, trees)
    if compared.problems:
        sections.append(
            page.Section("Left out or damaged", page.notes(compared.problems, "problem"))
        )
    runs = sum(group.values["folder"].nunique() for group in compared.groups)
    rows = sum(len(group.rows) for group in compared.groups)
    names = dict.fromkeys(group.values["dataset"].iloc[0] for group in compared.groups)
    lead = [
        f"{runs} runs of {counted(rows, 'kind')} (method and options)",
        *(
            f"{group.title.full}; {group.note}" if group.note else group.title.full
            for group in compared.groups
        ),
    ]
    write(
        out / "report.html",
        page.document(
            f"{', '.join(names)}: methods compared",
            lead,
            sections,
            kind="comparison",
            data=numbers,
        ),
    )
    return f"wrote {shown(out / 'report.html')}, which compares {runs} runs"


def _sections(
    compared: Comparison,
    group: Group,
    maker: _Maker,
    number: int,
    epochs: pd.DataFrame,
    trees: Mapping,
) -> Iterator[page.Section]:
    """The parts of the page about one dataset and tree; `number` is its place in the data, `trees`
    as `comparison_trees` returns them.
    """
    head = f"{group.title.short}: " if len(compared.groups) > 1 else ""
    summary = statistics.summarise(group.values)
    methods = "".join(
        _methods_table(table, group)
        for table in tables_over_seeds.summary_tables(
            summary, group.metrics, advice="see the paired differences below"
        )
    )
    yield page.Section(f"{head}Methods", methods)
    for title, part, said in _DRAWN + ((_TREES,) if "tree" in trees else ()):
        place = f'<div data-part="{part}" data-group="{number}"></div>'
        yield page.Section(f"{head}{title}", page.notes([said]) + place)
    if "too_many" in trees:
        reason = tree_data.too_many(trees["too_many"])
        yield page.Section(f"{head}{_TREES[0]}", page.none(reason))
    tests, said = paired_tests(group)
    if tests:
        shown_tests = page.notes([said]) + "".join(map(page.table, tests))
        folded = page.folded(f"{counted(len(tests), 'comparison')}, all measures", shown_tests)
        yield page.Section(f"{head}Paired tests", folded)
    if maker.options.figures:
        yield from _figures(group, maker, head, summary, epochs)
    yield page.Section(f"{head}Runs", _links(group, compared.common, maker.out))


def _figures(
    group: Group, maker: _Maker, head: str, summary: pd.DataFrame, epochs: pd.DataFrame
) -> Iterator[page.Section]:
    """Figures for papers."""
    # matplotlib, which the page does without
    from figures.comparison import height_curves, method_dots
    from figures.curves import method_curves

    dots = maker.figure(
        f"methods{group.suffix}",
        "Method comparison",
        method_dots,
        summary,
        group.values,
        group.metrics,
    )
    heights = maker.figure(
        f"heights{group.suffix}",
        "Answers by height in the tree",
        height_curves,
        summary,
        group.values,
    )
    dynamic = {row for row, own in group.options.items() if own.get("dynamic")}
    moving = epochs[(epochs["column"] != "scale") | epochs["options"].isin(dynamic)]
    curves = maker.figure(
        f"curves{group.suffix}", "Training curves by method", method_curves, moving
    )
    trees = page.beside(_tanglegrams(group, maker))
    yield page.Section(f"{head}Figures for papers", dots + heights + curves + trees)


def _breakable(heading: str) -> str:
    """A heading that a narrow column breaks after '/' and '_' only, and only where it is long."""
    whole = escape(heading).replace(" ", "\N{NO-BREAK SPACE}")
    return whole.replace("/", "/<wbr>").replace("_", "_<wbr>") if len(heading) > 12 else whole


def _methods_table(table: formats.Table, group: Group) -> str:
    """The table of methods and measures, to be sorted by the script; what a measure means is in its
    heading.
    """
    measured = [name for name in group.metrics if (group.values["metric"] == name).any()]
    heads = ['<th class="label">method</th>', "<th>seeds</th>"]
    for metric, heading in zip(measured, table.columns[2:]):
        first = "ascending" if direction(metric) == "lower" else "descending"
        said = escape(meaning(metric))
        heads.append(f'<th title="{said}" data-first="{first}">{_breakable(heading)}</th>')
    rows = []
    for i, (name, seeds, *cells) in enumerate(table.rows):
        parts = [
            f'<td class="label">{escape(name)}</td>',
            f'<td data-value="{seeds}">{escape(seeds)}</td>',
        ]
        for j, cell in enumerate(cells, 2):
            value, _, rest = cell.partition(" ")
            sorts = "" if value == "–" else f"{float(value):g}"
            css = ' class="best"' if (i, j) in table.best else ""
            small = f"<small>{escape(rest)}</small>" if rest else ""
            parts.append(f'<td{css} data-value="{sorts}">{escape(value)}{small}</td>')
        rows.append(f"<tr>{''.join(parts)}</tr>")
    return (
        f'<div data-sortable><div class="wide"><table><thead><tr>{"".join(heads)}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div></div>" + page.notes(table.notes_for("bold"))
    )


def paired_tests(group: Group) -> tuple[list[formats.Table], str]:
    """A table for each tested pair of rows that share two seeds or more, and a sentence that says
    which are tested.

    All pairs where at most `_ALL_PAIRS` rows share seeds; else the `_PAIRED` rows after the first
    one against that one.
    """
    first, *others = group.rows
    seeds = group.values.groupby("options")["seed"].agg(set)
    pairs = [(a, b) for a, b in combinations(group.rows, 2) if len(seeds[a] & seeds[b]) > 1]
    sharing = len({row for pair in pairs for row in pair})
    said = "every pair of methods that share two seeds or more is tested"
    if sharing > _ALL_PAIRS:
        pairs = [(a, b) for a, b in pairs if a == first and b in others[:_PAIRED]]
        rows = (
            "the other rows"
            if len(others) <= _PAIRED
            else f"the next {_PAIRED} of {len(others)} other rows"
        )
        said = (
            f"{rows} are tested against the first one, {first}, not each other; for more:"
            " evaluate.py --compare A B"
        )
    said += "; p in brackets is corrected for the number of measures, not for that of pairs"
    return [_paired_test(group, a, b) for a, b in pairs], said


def _paired_test(group: Group, a: str, b: str) -> formats.Table:
    seeds, elsewhere = statistics.paired_seeds(group.values, a, b)
    notes = [f"paired seeds: {', '.join(map(str, seeds))}"]
    if elsewhere:
        notes.append(
            f"seeds {', '.join(map(str, elsewhere))}: the two were tested on different images"
        )
    measured = [metric for metric in group.metrics if (group.values["metric"] == metric).any()]
    notes += tables_over_seeds.unlike_measures(group.values, a, b, measured)
    numbers = statistics.compare(group.values, a, b, measured)
    return tables_over_seeds.comparison_table(numbers, a, b, f"{b} against {a}", notes)


def _tanglegrams(group: Group, maker: _Maker) -> Iterator[str]:
    """The tanglegram of the first readable seed of each row, the class tree in one order."""
    from figures.tanglegrams import tanglegram

    for row in group.rows:
        name = f"tanglegram{group.suffix}_{plain_name(row)}"
        reasons = []
        for folder in group.folders(row):
            try:
                subject = read_subject(Run(folder))
            except (RunError, OSError) as error:
                reasons.append(str(error))
                continue
            title = f"{row}, seed {subject.options.get('seed')}"
            draw = partial(tanglegram, fixed=True)
            yield maker.figure(name, f"Learned tree of {row}", draw, subject, title, line_art=True)
            break
        else:
            yield maker.show(name, "", Rendered(f"{row}: no run can be drawn. {reasons[0]}", {}))


def _links(group: Group, common: Path, out: Path) -> str:
    """The runs of each row, with links to those reports that exist."""
    content = {}
    for row in group.rows:
        inside = [Path(folder).absolute().relative_to(common) for folder in group.folders(row)]
        there = [(out / folder / "report.html").is_file() for folder in inside]
        content[row] = [
            page.link((f / "report.html").as_posix(), f.name) if t else escape(f.name)
            for f, t in zip(inside, there)
        ]
    return page.linked(content)
