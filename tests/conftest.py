"""Keeps torch to one thread: several test processes share the cores of a test machine, and take
tests from each other at the end, when one has nothing left to do.
"""

import os

import pytest

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """The tests that take longest share a file, so that one process would do them alone."""
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log)
