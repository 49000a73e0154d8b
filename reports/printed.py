"""Numbers in print, and the signs of which way is better."""

import numpy as np

SYMBOLS = {"higher": " ↑", "lower": " ↓", None: ""}


def number(value: float, decimals: int | None = None) -> str:
    """A number for print: three decimals, fewer for large ones; '–' for NaN."""
    if np.isnan(value):
        return "–"
    return f"{value:z.{decimals_of(value) if decimals is None else decimals}f}"  # z: no -0.000


def decimals_of(value: float) -> int:
    """Three decimals, fewer of large numbers."""
    if abs(value) < 10:
        return 3
    return 2 if abs(value) < 100 else 1


def p_value(p: float) -> str:
    """A p-value for print: three decimals, or the power of ten; '–' for NaN."""
    if np.isnan(p):
        return "–"
    return f"{p:.3f}" if p >= 0.001 else f"{p:.1e}"
