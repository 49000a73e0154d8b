"""Progress bars, all alike."""

import sys

from data.memory import check_room_for_thread
from files.bars import tqdm


def progress(*args, **options) -> tqdm:
    """A tqdm bar on stderr: twice a second on a terminal, every half minute in a file, where each
    state is a line.
    """
    check_room_for_thread()  # tqdm watches its bars in a thread of its own
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
