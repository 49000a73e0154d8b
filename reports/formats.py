"""Tables as text: for the terminal, Markdown and LaTeX."""

import re
import shutil
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from files.text import one_line

MARK = "{mark}"
LABEL_SHARE = 0.4  # of the width of a terminal, for names; longer ones go on in the next line
NO_TERMINAL = 100  # characters of a line that goes to a file or another program
COLUMN = 229.0  # points of a column of a paper: the narrowest of the usual ones, LaTeX's article
PAGE = 468.0  # and of both columns of that, for tables that would else be longer than a page
LINES = 60  # of a table in \footnotesize that a page holds beside its caption
_SEPARATION = 2.0  # points on either side of a cell, \tabcolsep
# points of characters in \footnotesize of Computer Modern
_POINTS = {
    letter: points
    for points, letters in {
        2.4: "il.,:;![]'",
        3.1: "fjI- _",
        3.4: "rts()",
        3.8: "cez",
        4.3: "ago0123456789/*?↑↓–",
        4.8: "bdhnpukqvxySJ",
        5.8: "ZLFEP",
        6.2: "BCRTw",
        7.1: "m%",
        8.8: "MW",
    }.items()
    for letter in letters
}
_OTHER = 6.7  # of any other character
_TINY, _DOT, _PLUS_MINUS = 3.4, 2.1, 5.5  # of a digit, a point and the sign of a deviation in \tiny
_BOLD, _TINY_BOLD = 1.16, 1.07  # bold ones are wider
_MINUS = re.compile(r"(?<![^\s\[{}(])-(?=\.?\d)")  # before a number; else - is a hyphen
_WIDER = 3.5  # points of a minus sign above those of a hyphen
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


def terminal_width() -> int:
    """Characters of a line: of the terminal, COLUMNS where that is set, `NO_TERMINAL` elsewhere."""
    return shutil.get_terminal_size(fallback=(NO_TERMINAL, 24)).columns


def terminal(table: Table, width: int | None = None) -> str:
    """Aligned columns, marked cells with '*'; columns that do not fit into the width follow below,
    labels repeated, and notes go on in the next line.
    """
    cells = [
        [f"{name} " for name in table.columns],
        *table.marked(lambda cell: f"{cell}*", lambda cell: f"{cell} "),
    ]
    if width:
        cells = _folded(cells, table.labels, round(width * LABEL_SHARE))
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
    return "\n".join([*lines[:-1], *_wrapped(table.notes_for("*"), width)])


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
    """A `table` of a paper's column, or a `table*` of both, with booktabs rules and marked cells in
    bold; columns that do not fit beside each other follow below, labels repeated. The notes are in
    its caption.
    """
    environment = "table" if room_in_paper(table) == COLUMN else "table*"
    rows = [[_escape_latex(name) for name in table.columns]]
    rows += table.marked(lambda cell: rf"\textbf{{{_cell(cell)}}}", _cell)
    # a sign, as p in "p: two-sided", stays as the column has it
    notes = [
        re.sub(r"^\w(?=\w)", lambda first: first[0].upper(), note)
        for note in table.notes_for("bold")
    ]
    caption = ". ".join([table.title, *notes])
    lines = [
        r"% needs \usepackage{booktabs}",
        rf"\begin{{{environment}}}",
        r"\centering",
        rf"\caption{{\raggedright {_escape_latex(caption)}.}}",  # options leave wide gaps else
        r"\footnotesize",
        rf"\setlength{{\tabcolsep}}{{{_SEPARATION}pt}}",
    ]
    for number, block in enumerate(_panels(table, room_in_paper(table))):
        headings, *others = (rf"{' & '.join(row[j] for j in block)} \\" for row in rows)
        lines += [
            *([r"\par\medskip"] if number else []),
            rf"\begin{{tabular}}{{{''.join('l' if j < table.labels else 'r' for j in block)}}}",
            r"\toprule",
            headings,
            r"\midrule",
            *others,
            r"\bottomrule",
            r"\end{tabular}",
        ]
    return "\n".join([*lines, rf"\end{{{environment}}}"]) + "\n"


def width_in_print(table: Table) -> int:
    """Characters of the widest row of a printed table, columns two blanks apart."""
    lines = zip(table.columns, *table.rows)
    return sum(2 + max(map(len, column)) for column in lines) - 2


def room_in_paper(table: Table) -> float:
    """Points of the width for a table: `COLUMN`, or `PAGE` where it would be too long or its labels
    leave no room for a value.
    """
    widths = _paper_widths(table)
    panels = _panels(table, COLUMN)
    fits = max(sum(widths[j] for j in block) for block in panels) <= COLUMN
    return COLUMN if fits and len(panels) * (len(table.rows) + 2) <= LINES else PAGE


def width_in_paper(table: Table) -> float:
    """Points of the widest part of a table as `latex` sets it, about; more than `room_in_paper`
    where the labels and one column of values are wider.
    """
    widths = _paper_widths(table)
    panels = _panels(table, room_in_paper(table))
    return max(sum(widths[j] for j in block) for block in panels)


def _panels(table: Table, room: float) -> list[list[int]]:
    """Columns of each part of a table in a paper: as many as fit, about equally many in each."""
    widths = _paper_widths(table)
    fewest = len(list(_blocks(widths, table.labels, room, apart=0.0)))
    values = len(widths) - table.labels
    size = -(-values // fewest) if fewest else values
    head = list(range(table.labels))
    even = [
        [*head, *range(start, min(start + size, len(widths)))]
        for start in range(table.labels, len(widths), max(size, 1))
    ]
    if even and all(sum(widths[j] for j in block) <= room for block in even):
        return even
    return list(_blocks(widths, table.labels, room, apart=0.0))


def _paper_widths(table: Table) -> list[float]:
    return [
        2 * _SEPARATION
        + max(
            _points(table.columns[j]),
            *(_points(row[j], (i, j) in table.best) for i, row in enumerate(table.rows)),
            0.0,
        )
        for j in range(len(table.columns))
    ]


def _points(text: str, bold: bool = False) -> float:
    plain, plus_minus, deviation = one_line(text).partition(" ±")
    width = sum(_POINTS.get(letter, _OTHER) for letter in plain) * (_BOLD if bold else 1.0)
    width += _WIDER * len(_MINUS.findall(plain))
    if plus_minus:
        digits = sum(map(str.isdigit, deviation)) - deviation.startswith("0.")
        small = _PLUS_MINUS + _TINY * digits + _DOT * ("." in deviation)
        rest = sum(_POINTS.get(c, _OTHER) for c in deviation if not c.isdigit() and c != ".")
        width += small * (_TINY_BOLD if bold else 1.0) + rest
    return width


def _cell(text: str) -> str:
    """A cell in LaTeX: the deviation small, without the 0 before its point, and minus signs."""
    small = re.sub(
        r"\s?\$\\pm\$(-?)(?:0(?=\.))?([\d.]+)", r"{\\tiny$\\pm$\1\2}", _escape_latex(text)
    )
    return _MINUS.sub("$-$", small)


def _folded(cells: list[list[str]], labels: int, longest: int) -> list[list[str]]:
    """The cells with labels that are too long in several rows, parted at a dash or a blank."""
    found = []
    for row in cells:
        heads = [_parted(cell.rstrip(), longest) for cell in row[:labels]]
        for line in range(max(map(len, heads), default=1)):
            own = [f"{head[line]} " if line < len(head) else " " for head in heads]
            found.append(own + (row[labels:] if line == 0 else [""] * len(row[labels:])))
    return found


def _parted(label: str, longest: int) -> list[str]:
    lines = [""]
    for part in re.split(r"(?<=-)(?=[A-Za-z_])|(?<= )", label):
        if lines[-1] and len(lines[-1] + part) > longest:
            lines.append("  ")
        lines[-1] += part
    return [line.rstrip() for line in lines]


def _wrapped(notes: Iterable[str], width: int | None) -> Iterator[str]:
    for note in notes:
        if not width or len(note) + 2 <= width:
            yield f"  {note}"
            continue
        yield from textwrap.wrap(
            note,
            max(width, 20),
            initial_indent="  ",
            subsequent_indent="    ",
            break_long_words=False,
            break_on_hyphens=False,
        )


def _blocks(
    widths: Sequence[float], labels: int, width: float | None, apart: float = 2
) -> Iterator[list[int]]:
    """Columns of each block: the labels and as many others as fit, at least one."""
    head = list(range(labels))
    block = head.copy()
    for j in range(labels, len(widths)):
        needed = sum(widths[k] + apart for k in (*block, j)) - apart
        if width and len(block) > labels and needed > width:
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
    # else an option of \\
    return f"{{{escaped[0]}}}{escaped[1:]}" if escaped.startswith(("[", "*")) else escaped


LAYOUTS: dict[str, Callable[..., str]] = {
    "terminal": terminal,
    "markdown": markdown,
    "latex": latex,
}
