"""Keeps torch to one thread: several test processes share the cores of a test machine, and take
tests from each other at the end, when one has nothing left to do.
"""

import multiprocessing
import os
import sys
import tempfile
from multiprocessing import forkserver
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from waiting import wait_until

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported
os.environ["PYTHON_COLORS"] = "0"  # where FORCE_COLOR is set, Python 3.14 would colour help texts

TESTS = Path(__file__).parent

# how many examples each property is tried on, the same each time; EXAMPLES=1000 pytest ... for a
# thorough search among others
EXAMPLES = int(os.environ.get("EXAMPLES", 0))
settings.register_profile(
    "suite",
    max_examples=EXAMPLES or 25,
    derandomize=not EXAMPLES,
    deadline=None,
    # a folder of the test may be used again, and a busy machine draws slowly
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("suite")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """The tests that take longest share a file, so that one process would do them alone."""
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log)


@pytest.fixture(autouse=True)
def seeded():
    """What a test draws does not depend on which tests its process has run before."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def unsynced():
    """Nobody cuts the power, and waiting for the disk at every file is a fifth of a small run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session")
def forked():
    """Starts processes like `multiprocessing`, each forked from one that has only imported: without
    the threads of this one, and without the seconds that imports take.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["all_imported"])
    with pytest.MonkeyPatch.context() as patch:  # what the server imports is found by this alone
        patch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS.parent), str(TESTS / "helpers")]))
        forkserver.ensure_running()
    return context


@pytest.fixture
def may_fork():
    """Ends tqdm's thread in this process: one that is forked while that thread holds the lock of
    all bars would wait for it for ever.
    """
    from files.bars import tqdm

    if tqdm.monitor is not None:
        tqdm.monitor.exit()
        tqdm.monitor = None


@pytest.fixture
def served_python(forked):
    """A program that does what python does with a script, without the seconds that imports take."""
    from forked_scripts import quick_python, serve  # which imports torch

    with tempfile.TemporaryDirectory() as place:  # the name of a socket must be short
        path = quick_python(Path(place))
        server = forked.Process(target=serve, args=(path,))
        server.start()
        wait_until(lambda: path.with_name("socket").exists() or not server.is_alive())
        yield path
        server.kill()
        server.join()
