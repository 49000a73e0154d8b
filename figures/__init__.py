"""Figures of recorded runs, one module a family, and the page that shows them. No pyplot, no
state.

A name is imported when it is first used: the --help of visualize.py need not wait for matplotlib.
"""

from importlib import import_module

PICTURE_FORMATS = ("png", "pdf")  # that figures are written in

HOMES = {
    "FIGURES": "catalogue",
    "Subject": "subject",
    "render": "style",
}

__all__ = ["PICTURE_FORMATS", *HOMES]


def __getattr__(name: str) -> object:
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{HOMES[name]}"), name)
