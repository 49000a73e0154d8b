"""The worst mistakes of a run, for the terminal."""

import pandas as pd

from files.text import printable


def worst_text(table: pd.DataFrame, root: str) -> str:
    """A paragraph for each mistake of a table of `metrics.per_image.per_image`, the root by its
    name.
    """
    if table.empty:
        return "no test image is classified wrongly"
    mistakes = [_mistake(number, row, root) for number, (_, row) in enumerate(table.iterrows(), 1)]
    return "\n".join(["worst answers, the farthest from the truth first", *mistakes])


def _mistake(number: int, row: pd.Series, root: str) -> str:
    above = printable(str(row["common_ancestor"]) or root)
    lines = [
        printable(str(row.get("file", f"image {row.name}"))),
        f"answered  {printable(row['answer'])}  ({row['probability']:.3f})",
        f"true      {printable(row['true'])}  ({row['probability_of_true']:.3f}, number"
        f" {row['rank_of_true']})",
        f"both in   {above}, {row['height']} edges up",
    ]
    head, *rest = lines
    return "\n".join([f"{number:3}. {head}", *(f"     {line}" for line in rest)])
