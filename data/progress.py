"""Progress bars, all alike."""

import sys

from tqdm import tqdm


def progress(*args, **options) -> tqdm:
    """A tqdm bar on stderr: twice a second on a terminal, every half minute in a file, where each
    state is a line.
    """
    terminal = sys.stderr.isatty()
    return tqdm(
        *args,
        **{
            "mininterval": 0.5 if terminal else 30,
            "dynamic_ncols": terminal,
            "unit": "step",
            **options,
        },
    )
