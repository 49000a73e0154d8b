"""Files that appear whole or not at all."""

import contextlib
import os
import threading

import numpy as np
import pandas as pd
import pytest
from said import Said

from files import system, writing
from files.exact_tables import read_exactly
from files.locks import file_lock
from files.writing import RowStore, replacing, write_whole


def test_a_file_appears_when_all_is_written_and_its_folder_with_it(tmp_path):
    path = tmp_path / "new" / "table.csv"
    with replacing(path) as temporary:
        temporary.write_text("one")
        assert not path.exists()
    assert path.read_text() == "one" and list(path.parent.iterdir()) == [path]


def test_after_an_error_the_old_file_is_still_there_and_nothing_else(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_places_that_cannot_be_written_are_named_before_any_work(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "table.csv"):
        with pytest.raises(ValueError, match=str(path)), replacing(path):
            pytest.fail("there is nothing to write to")


def test_rows_added_in_pieces_are_read_back_as_one_array(tmp_path):
    vectors = np.random.default_rng(0).standard_normal((7, 3)).astype(np.float32)
    counts, names = np.arange(7), np.array(["ä", "b/c"])
    with RowStore(tmp_path) as rows:
        for piece in (slice(0, 3), slice(3, 3), slice(3, 7)):
            rows.append(vectors=vectors[piece][:, ::-1], counts=counts[piece])
        rows.save(tmp_path / "rows.npz", names=names)
    with np.load(tmp_path / "rows.npz") as content:
        assert (
            set(content) == {"vectors", "counts", "names"}
            and content["vectors"].dtype == np.float32
        )
        np.testing.assert_array_equal(content["vectors"], vectors[:, ::-1])
        np.testing.assert_array_equal(content["counts"], counts)
        np.testing.assert_array_equal(content["names"], names)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.npz"]


def test_no_rows_are_an_empty_array(tmp_path):
    with RowStore(tmp_path) as rows:
        rows.append(vectors=np.empty((0, 5), np.float32))
        rows.save(tmp_path / "rows.npz")
    assert np.load(tmp_path / "rows.npz")["vectors"].shape == (0, 5)


def test_a_lock_whose_file_its_holder_removed_is_taken_on_the_new_one(tmp_path):
    path, entered = tmp_path / ".lock", threading.Event()

    def second():
        with file_lock(path, waiting="waiting") as held:
            assert held and path.exists()
            with file_lock(path) as third:
                assert not third  # nobody can take it beside this one
            entered.set()

    with file_lock(path):
        other = threading.Thread(target=second)
        with contextlib.redirect_stderr(Said()) as stderr:
            other.start()
            assert "waiting" in stderr.wait_for("waiting", other)
        path.unlink()
    other.join(30)
    assert entered.is_set()


def test_a_temporary_file_taken_for_a_leftover_before_it_was_locked_is_made_again(
    tmp_path, monkeypatch
):
    original, calls = system.fcntl.flock, []

    def slow(descriptor, operation):
        if not calls:
            (next(tmp_path.glob(".a.csv.*.tmp"))).unlink()
        calls.append(operation)
        original(descriptor, operation)

    monkeypatch.setattr(system.fcntl, "flock", slow)
    write_whole(tmp_path / "a.csv", b"all of it")
    assert (tmp_path / "a.csv").read_bytes() == b"all of it" and len(calls) == 2


def test_a_long_name_is_written_too(tmp_path):
    write_whole(tmp_path / ("ö" * 120 + ".csv"), b"x")
    assert [len(path.name) for path in tmp_path.iterdir()] == [124]


def test_floats_come_back_from_csv_to_the_last_digit():
    values = np.random.default_rng(0).random(2000) * 10.0 ** np.arange(-1000, 1000).clip(-300, 300)
    text = pd.DataFrame({"x": values}).to_csv(index=False)
    assert (read_exactly(text)["x"].to_numpy() == values).all()


def test_pipes_and_devices_are_never_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(os.devnull)  # as /dev/stdout is one to a device or a pipe
    with pytest.raises(OSError, match="not a plain file"):
        write_whole(tmp_path / "pipe", b"x")
    for name in ("pipe", "link"):
        with pytest.raises(ValueError, match=f"{name} is a pipe or a device: name a file"):
            with writing.replacing(tmp_path / name):
                pass
    assert (tmp_path / "pipe").is_fifo() and (tmp_path / "link").is_symlink()
    assert not os.path.isfile(os.devnull)
