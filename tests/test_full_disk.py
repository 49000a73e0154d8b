"""A disk that is full while results are looked at: a message with a way out, and no half file under
a final name.

Training on a full disk is in test_safety.py. Here no file may grow, as if there were no room for a
byte.
"""

import contextlib
import resource

import pytest
from images import make_folder
from recorded import run_main, write_whole_run

import evaluate
import visualize
from data.cache import build_cache
from data.reading import Reading


@contextlib.contextmanager
def no_room(largest=0):
    """No file of this process may become larger than so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def content(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("known", [False, True], ids=["first", "again"])
@pytest.mark.parametrize(
    "main, argv, way_out",
    [(evaluate.main, [], "make room"), (visualize.main, [], "name another place with --out")],
    ids=["evaluate", "visualize"],
)
def test_what_looks_at_a_run_says_what_cannot_be_written_and_leaves_the_run_as_it_was(
    tmp_path, capsys, main, argv, way_out, known
):
    run = write_whole_run(tmp_path)
    if known:
        assert run_main(main, capsys, run.folder, *argv)[0] == 0
    before = content(tmp_path)
    with no_room():
        status, _, error = run_main(main, capsys, run.folder, *argv)
    assert (
        status == 2
        and f"cannot write {run.folder}" in error
        and "File too large" in error
        and way_out in error
    )
    assert content(tmp_path) == before


def test_tables_that_cannot_be_written_are_printed_and_the_old_file_stays(tmp_path, capsys):
    write_whole_run(tmp_path)
    argv = ["--record", tmp_path, "--format", "markdown"]
    assert run_main(evaluate.main, capsys, *argv)[0] == 0
    before = content(tmp_path)
    write_whole_run(tmp_path, seed=2)
    with no_room():
        status, out, error = run_main(evaluate.main, capsys, *argv)
    assert (
        status == 2
        and f"cannot write {tmp_path / 'summary.csv'}" in error
        and "| DR-euc | 2 |" in out
    )
    assert content(tmp_path).items() >= before.items() and not list(tmp_path.glob(".*.tmp"))


@pytest.mark.parametrize(
    "resize", [32, 4], ids=["for the pixels", "for what is written behind them"]
)
def test_a_cache_that_finds_no_room_does_not_exist(tmp_path, resize):
    images = make_folder(tmp_path / "images", {"a": 5, "b": 5})
    files = sorted(str(path.relative_to(images)) for path in images.rglob("*.png"))
    with no_room(500), pytest.raises(OSError):
        build_cache(images, files, Reading(resize=resize), cache_dir=tmp_path / "cache")
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]
    assert (
        len(build_cache(images, files, Reading(resize=resize), cache_dir=tmp_path / "cache").pixels)
        == 10
    )
