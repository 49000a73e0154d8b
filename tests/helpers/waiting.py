"""Waiting for what other threads and processes do."""

import time
from collections.abc import Callable

# seconds in which each wait of a test has ended on a machine that is twenty times slower, and after
# which a test fails
PATIENCE = 180


def wait_until(condition: Callable[[], object], said: Callable[[], str] = str) -> None:
    """Returns when a condition holds. Raises: AssertionError: If it does not come to hold; with
    what `said` returns.
    """
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, said()
        time.sleep(0.02)
