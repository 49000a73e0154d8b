"""Figures of recorded runs, one module a family, and the page that shows them. No pyplot, no
state.

A name is imported when it is first used: the --help of visualize.py need not wait for matplotlib.
"""

from files.lazy import imported_from

PICTURE_FORMATS = ("png", "pdf")  # that figures are written in

HOMES = {
    "FIGURES": "catalogue",
    "Subject": "subject",
    "render": "style",
}

__all__ = ["PICTURE_FORMATS", *HOMES]
__getattr__ = imported_from(__name__, HOMES)
