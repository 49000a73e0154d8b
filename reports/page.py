"""One HTML page with nothing outside it: images and the one script are embedded, the browser may
load nothing and run nothing else.
"""

import base64
import gzip
import hashlib
import importlib.util
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from html import escape
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from PIL import Image

from figures.common import DPI, Rendered
from figures.palette import for_pages
from reports.formats import width_in_print

_LARGE = 1_000_000  # bytes of line art from which a palette is worth it
# pixels on the page; taller pictures are shown in full size and scroll in a box of their own
_TALL = 1500
_WIDE = 140  # characters of a table beside each other, about
_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action"
    " 'none'"
)
# files beside this module, but for .css and .js: the style and the script of a kind of page
_KINDS = {
    "run_page": ("page", "run_page", "plots", "tanglegram", "run_plots"),
    "comparison": ("page", "tanglegram", "comparison"),
}


class Section(NamedTuple):
    """A part of the page: its heading, and its content as HTML."""

    title: str
    html: str

    @property
    def anchor(self) -> str:
        """Identifier of the heading within the page."""
        return "-".join("".join(c if c.isalnum() else " " for c in self.title.lower()).split())


def document(
    title: str, lead: Iterable[str], sections: Sequence[Section], *, kind: str, data: object
) -> bytes:
    """The whole page in UTF-8; characters that have no UTF-8 form become '?'.

    Args:
        title: Its heading.
        lead: Lines below that.
        sections: Its parts.
        kind: Of the page, see `_KINDS`: its script is the only one that the browser may run, after
            everything else, and its hash is in the page's policy; so is that of the library, which
            stands in the page where `plots` is among its parts.
        data: What the script finds as JSON in the element `data`.
    """
    style, script = (
        "".join(_beside(f"{name}.{suffix}") for name in _KINDS[kind]) for suffix in ("css", "js")
    )
    script = f'"use strict";\nconst PALETTE = {as_json(for_pages())};\n{script}'
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy, scripts = f"{_POLICY}; script-src 'sha256-{digest}'", ""
    if "plots" in _KINDS[kind]:
        library = plot_library()
        policy += f" 'sha256-{library.digest}'"
        # what a plot is saved as is an image that the page itself has made
        policy = policy.replace("img-src data:", "img-src data: blob:")
        scripts = (
            f"<!-- {escape(library.notice)} -->\n"
            f'<script type="text/plain" id="library">{library.text}</script>\n'
        )
    scripts += (
        f'<script type="application/json" id="data">{as_json(data)}</script>\n'
        f"<script>{script}</script>\n"
    )
    contents = "".join(
        f'<a href="#{escape(section.anchor)}">{escape(section.title)}</a>' for section in sections
    )
    parts = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n',
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
        f"<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n",
        f"<h1>{escape(title)}</h1>\n",
        *(f'<p class="lead">{escape(line)}</p>\n' for line in lead),
        f"<nav>{contents}</nav>\n",
        *(
            f'<h2 id="{escape(section.anchor)}">{escape(section.title)}</h2>\n{section.html}\n'
            for section in sections
        ),
        f"{scripts}</body>\n</html>\n",
    ]
    return "".join(parts).encode("utf-8", "replace")


class Library(NamedTuple):
    """plotly.js, as it stands in a page.

    Attributes:
        text: The script, compressed (gzip) and in base64.
        digest: SHA-256 of the script in base64, for the page's policy.
        notice: Its name, its version and whose it is, under which licence.
    """

    text: str
    digest: str
    notice: str


@cache
def plot_library() -> Library:
    """The library that draws plots in the browser, from the package plotly, which is not imported.

    Raises: ValueError: If it is not installed.
    """
    package = importlib.util.find_spec("plotly")
    places = package.submodule_search_locations if package is not None else None
    script = Path((places or [""])[0], "package_data", "plotly.min.js")
    if not places or not script.is_file():
        raise ValueError(
            "the page's plots need the package plotly: install it with pip install -r"
            " requirements.txt"
        )
    content = script.read_bytes()
    head = re.match(rb"\s*/\*+(.*?)\*/", content, re.DOTALL)
    notice = head[1].decode("utf-8", "replace") if head else "plotly.js, MIT license"
    return Library(
        base64.b64encode(gzip.compress(content, 6, mtime=0)).decode("ascii"),
        base64.b64encode(hashlib.sha256(content).digest()).decode("ascii"),
        " ".join(re.sub(r"[^\w.,()&]+", " ", notice).split()),
    )


def as_json(data: object) -> str:
    """JSON that may stand in an HTML page: without '<', and without what is not ASCII."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _beside(name: str) -> str:
    """The file of this name beside this module."""
    return Path(__file__).with_name(name).read_text("utf-8")


def figure(
    rendered: Rendered, alt: str, links: Mapping[str, str], *, line_art: bool = False
) -> str:
    """An embedded image with its caption and links to its files; only the reason where there is no
    image.

    Args:
        rendered: The figure.
        alt: What it is, for those who cannot see it.
        links: Name of a format to the address of that file, relative to the page.
        line_art: Whether few colours make it up, so that a large one can do with a palette.
    """
    if not rendered.images:
        return none(rendered.caption)
    content = _compact(rendered.images["png"]) if line_art else rendered.images["png"]
    width, height = _size(content)
    tall = height / DPI * 100 > _TALL
    shown = width if tall else round(width / DPI * 100)
    image = (
        f'<img alt="{escape(alt)}" width="{shown}" height="{round(shown * height / width)}"'
        ' src="data:image/png;base64,'
    )
    image += base64.b64encode(content).decode("ascii") + '">'
    if tall:
        image = f'<div class="tall">{image}</div>'
    files = ", ".join(
        link(address, name.upper()) for name, address in links.items() if name in rendered.images
    )
    files = f" Files: {files}." if files else ""
    return f"<figure>{image}<figcaption>{escape(rendered.caption)}{files}</figcaption></figure>"


def table(content, explain: Callable[[str], str] | None = None) -> str:
    """A `tables.Table`: title, columns, rows, best cells in bold, notes below. `explain` gives the
    sentence that a heading or the first cell of a row shows on hover, focus or touch, '' for none.
    """
    labels = content.labels
    explain = explain or (lambda text: "")
    head = "".join(
        _cell("th", name, j < labels, sentence=explain(name))
        for j, name in enumerate(content.columns)
    )
    rows = []
    for i, row in enumerate(content.rows):
        cells = (
            _cell("td", cell, j < labels, (i, j) in content.best, "" if j else explain(cell))
            for j, cell in enumerate(row)
        )
        rows.append(f"<tr>{''.join(cells)}</tr>")
    caption = f"<caption>{escape(content.title)}</caption>"
    hint = ["The table goes on to the right: scroll it."] if width_in_print(content) > _WIDE else []
    return notes(hint) + (
        f'<div class="wide"><table>{caption}<thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>" + notes(content.notes_for("bold"))
    )


def pairs(content: Mapping[str, object]) -> str:
    """Names and values in two columns."""
    rows = "".join(
        f"<tr>{_cell('td', name, True)}{_cell('td', str(value), True)}</tr>"
        for name, value in content.items()
    )
    return f'<div class="wide"><table><tbody>{rows}</tbody></table></div>'


def explained(
    title: str, columns: Sequence[str], rows: Iterable[tuple[str, Sequence[str], str]]
) -> str:
    """A table whose rows are a label, further cells, and a sentence that explains the label."""
    last = len(columns) - 1
    head = "".join(_cell("th", name, j in (0, last)) for j, name in enumerate(columns))
    lines = []
    for label, cells, sentence in rows:
        numbers = "".join(_cell("td", cell, False) for cell in cells)
        said = f'<td class="label meaning">{escape(sentence)}</td>'
        lines.append(f"<tr>{_cell('td', label, True)}{numbers}{said}</tr>")
    return (
        f'<div class="wide"><table><caption>{escape(title)}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def placeholder(identifier: str, sentence: str) -> str:
    """What the page's script fills, with a sentence above it."""
    return (
        f'<p class="lead">{escape(sentence)}</p><div id="{escape(identifier)}"></div>'
        "<noscript>This part needs JavaScript, which this browser does not run.</noscript>"
    )


def notes(lines: Iterable[str], css: str = "notes") -> str:
    """A list of sentences; nothing where there are none."""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<ul class="{css}">{items}</ul>' if items else ""


def linked(content: Mapping[str, Iterable[str]]) -> str:
    """A list of names, each with pieces of HTML behind it."""
    rows = (f"<li>{escape(name)}: {', '.join(parts)}</li>" for name, parts in content.items())
    return f"<ul>{''.join(rows)}</ul>"


def headed(title: str, html: str) -> str:
    """Content with a heading within a section."""
    return f"<h3>{escape(title)}</h3>{html}"


def folded(title: str, html: str) -> str:
    """Content that is shown on demand."""
    return f"<details><summary>{escape(title)}</summary>{html}</details>"


def none(reason: str) -> str:
    """A sentence in place of a figure."""
    return f'<p class="none">{escape(reason)}</p>'


def beside(parts: Iterable[str]) -> str:
    """Parts next to each other where the window is wide enough."""
    return f'<div class="beside">{"".join(f"<div>{part}</div>" for part in parts)}</div>'


def link(address: str, text: str) -> str:
    """A link to a file at a path relative to the page."""
    return f'<a href="{escape(quote(address, errors="replace"))}">{escape(text)}</a>'


def _cell(kind: str, text: str, label: bool, bold: bool = False, sentence: str = "") -> str:
    inner = f"<strong>{escape(text)}</strong>" if bold else escape(text)
    if sentence:
        inner = f'<span data-tip="{escape(sentence)}" tabindex="0">{inner}</span>'
    return f'<{kind} class="label">{inner}</{kind}>' if label else f"<{kind}>{inner}</{kind}>"


def _size(content: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(content)) as image:
        return image.size


def _compact(content: bytes) -> bytes:
    """A large image with a palette of 256 colours, which takes a third of the bytes; a small one as
    it is.
    """
    if len(content) < _LARGE:
        return content
    with Image.open(io.BytesIO(content)) as image:
        reduced = image.convert("RGB").quantize(
            256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE
        )
    buffer = io.BytesIO()
    reduced.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
