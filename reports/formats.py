"""Tables as text: for the terminal, Markdown and LaTeX."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from files.text import one_line

MARK = "{mark}"
PAGE = 90  # characters of 10 points beside each other on a page of a paper, about
# formats of tables over seeds, and the file that each also goes to
SUMMARIES = {"terminal": None, "markdown": "summary.md", "latex": "summary.tex", "csv": None}


@dataclass(frozen=True)
class Table:
    """A table of text, ready to be written in any format.

    Attributes:
        title: One line.
        columns: Headings; the first `labels` columns are left-aligned labels, the others
            right-aligned values.
        rows: Cells, as many as columns.
        best: (row, column) of the cells to mark.
        notes: What the reader has to know, one sentence each; MARK stands for how the format marks
            the best cells.
        labels: Number of label columns.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    best: frozenset[tuple[int, int]] = frozenset()
    notes: tuple[str, ...] = ()
    labels: int = 1

    def notes_for(self, mark: str) -> list[str]:
        """The notes of a format that marks the best cells in the way named."""
        return [note.replace(MARK, mark) for note in self.notes]

    def marked(self, best: Callable[[str], str], other: Callable[[str], str]) -> list[list[str]]:
        """The rows, with `best` applied to the cells to mark and `other` to the others."""
        return [
            [
                best(one_line(cell)) if (i, j) in self.best else other(one_line(cell))
                for j, cell in enumerate(row)
            ]
            for i, row in enumerate(self.rows)
        ]


def terminal(table: Table, width: int | None = None) -> str:
    """Aligned columns, marked cells with '*'; columns that do not fit into the width follow below,
    labels repeated.
    """
    cells = [
        [f"{name} " for name in table.columns],
        *table.marked(lambda cell: f"{cell}*", lambda cell: f"{cell} "),
    ]
    widths = [
        max(len(row[j]) - (j < table.labels) for row in cells) for j in range(len(table.columns))
    ]
    lines = [one_line(table.title)]
    for block in _blocks(widths, table.labels, width):
        for i, row in enumerate(cells):
            parts = [
                row[j][:-1].ljust(widths[j]) if j < table.labels else row[j].rjust(widths[j])
                for j in block
            ]
            lines.append("  ".join(parts).rstrip())
            if i == 0:
                lines.append("─" * len("  ".join("x" * widths[j] for j in block)))
        lines.append("")
    return "\n".join([*lines[:-1], *(f"  {note}" for note in table.notes_for("*"))])


def markdown(table: Table) -> str:
    """A pipe table with marked cells in bold."""

    def line(cells: Iterable[str]) -> str:
        return f"| {' | '.join(cells)} |"

    rows = table.marked(lambda cell: f"**{_escape_markdown(cell)}**", _escape_markdown)
    rule = ["---" if j < table.labels else "---:" for j in range(len(table.columns))]
    title, headings = f"### {_escape_markdown(table.title)}", map(_escape_markdown, table.columns)
    lines = [title, "", line(headings), line(rule), *map(line, rows)]
    notes = [f"- {_escape_markdown(note)}" for note in table.notes_for("bold")]
    return "\n".join([*lines, "", *notes]) + "\n"


def latex(table: Table) -> str:
    """A `table` with booktabs rules and marked cells in bold; the notes are in its caption."""
    rows = [map(_escape_latex, table.columns)]
    rows += table.marked(lambda cell: rf"\textbf{{{_escape_latex(cell)}}}", _escape_latex)
    headings, *rows = (rf"{' & '.join(row)} \\" for row in rows)
    caption = ". ".join([table.title, *table.notes_for("bold")])
    alignment = "".join("l" if j < table.labels else "r" for j in range(len(table.columns)))
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_escape_latex(caption)}.}}",
        rf"\begin{{tabular}}{{{alignment}}}",
        r"\toprule",
        headings,
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def width_in_print(table: Table) -> int:
    """Characters of the widest row of a printed table, columns two blanks apart."""
    lines = zip(table.columns, *table.rows)
    return sum(2 + max(map(len, column)) for column in lines) - 2


def _blocks(widths: Sequence[int], labels: int, width: int | None) -> Iterator[list[int]]:
    """Columns of each block: the labels and as many others as fit, at least one."""
    head = list(range(labels))
    block = head.copy()
    for j in range(labels, len(widths)):
        if width and len(block) > labels and sum(widths[k] + 2 for k in (*block, j)) - 2 > width:
            yield block
            block = head.copy()
        block.append(j)
    yield block


def _escape_markdown(text: str) -> str:
    return re.sub(r"([|*_`\\<\[\]])", r"\\\1", one_line(text))


def _escape_latex(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''"}
    special |= {"±": r"$\pm$", "–": "--", "↑": r"$\uparrow$", "↓": r"$\downarrow$"} | {
        c: f"\\{c}" for c in "&%$#_{}"
    }
    escaped = re.sub("-(?=-)", "-\0", one_line(text))  # two hyphens would become a dash
    escaped = "".join(special.get(character, character) for character in escaped).replace(
        "\0", "{}"
    )
    return (
        f"{{{escaped[0]}}}{escaped[1:]}" if escaped.startswith(("[", "*")) else escaped
    )  # else an option of \\
