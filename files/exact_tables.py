"""CSV in which numbers come back to the last digit."""

import io

import pandas as pd

_OLD = tuple(map(int, pd.__version__.split(".")[:2])) < (3, 1)  # 3.1 reads exactly, unasked


def read_exactly(text: str, **options: object) -> pd.DataFrame:
    """The table of a CSV's text, as `pandas.read_csv` with these options; each float is the one
    that was written.
    """
    exactly = {"float_precision": "round_trip"} if _OLD else {}
    return pd.read_csv(io.StringIO(text, newline=""), **exactly, **options)
