"""Rows that are computed once: shared, checked, gone on with after an interruption."""

import threading
from collections import namedtuple

import numpy as np
import pytest
from waiting import PATIENCE

from data import row_file
from data.cache_places import places
from data.row_file import CHUNKS, ROWS, open_rows

SHAPE = (10, 3)
EXPECTED = np.arange(30, dtype=np.float32).reshape(SHAPE)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Chunks of 4 rows: three, of which the last one has 2."""
    monkeypatch.setattr(row_file, "CHUNK", 4)


class Computer:
    """Gives the expected rows, and remembers which it was asked for."""

    def __init__(self, stop_after=None):
        self.asked, self.stop_after = [], stop_after

    def __call__(self, rows):
        for done, chunk in enumerate(np.unique(rows // 4)):
            if done == self.stop_after:
                raise KeyboardInterrupt
            self.asked.append(int(chunk))
            yield EXPECTED[rows[rows // 4 == chunk]]


def opened(folder, computer, dtype="float32", cache_dir=None, about=None):
    return open_rows(places(folder, cache_dir), "rows", SHAPE, dtype, computer, about or {})


def test_rows_are_computed_once(tmp_path):
    first, second = Computer(), Computer()
    np.testing.assert_array_equal(opened(tmp_path, first), EXPECTED)
    np.testing.assert_array_equal(opened(tmp_path, second), EXPECTED)
    assert (first.asked, second.asked) == ([0, 1, 2], [])
    halves = opened(tmp_path, Computer(), "float16", cache_dir=tmp_path / "elsewhere")
    assert (
        halves.dtype == np.float16 and (tmp_path / "elsewhere" / "rows" / ROWS).stat().st_size == 60
    )
    assert '"what": "features"' in tell(tmp_path)


def tell(folder):
    opened(folder, Computer(), cache_dir=folder / "told", about={"what": "features"})
    return (folder / "told" / "rows" / "about.json").read_text()


def test_what_is_changed_in_memory_does_not_reach_the_file(tmp_path):
    opened(tmp_path, Computer())[:] = 0
    np.testing.assert_array_equal(opened(tmp_path, Computer()), EXPECTED)


@pytest.mark.parametrize("byte, chunk", [(0, 0), (4 * 12 + 5, 1), (119, 2)])
def test_a_flipped_bit_is_noticed_and_only_its_chunk_is_computed_again(tmp_path, byte, chunk):
    opened(tmp_path, Computer())
    file = tmp_path / ".taxonomy_cache" / "rows" / ROWS
    content = bytearray(file.read_bytes())
    content[byte] ^= 1
    file.write_bytes(content)
    again = Computer()
    np.testing.assert_array_equal(opened(tmp_path, again), EXPECTED)
    assert again.asked == [chunk]
    assert opened(tmp_path, again) is not None and again.asked == [chunk]


def test_an_interrupted_one_goes_on_where_it_stopped(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        opened(tmp_path, Computer(stop_after=2))
    rest = Computer()
    np.testing.assert_array_equal(opened(tmp_path, rest), EXPECTED)
    assert rest.asked == [2]


@pytest.mark.parametrize("damage", ["cut off line", "cut off rows", "no lines", "other lines"])
def test_what_a_power_failure_leaves_is_computed_again(tmp_path, damage):
    opened(tmp_path, Computer())
    folder = tmp_path / ".taxonomy_cache" / "rows"
    lines = (folder / CHUNKS).read_bytes()
    expected = [0, 1, 2]
    if damage == "cut off line":
        (folder / CHUNKS).write_bytes(lines.rstrip()[:-1])
        expected = [2]
    elif damage == "cut off rows":
        (folder / ROWS).write_bytes(b"1")
    elif damage == "no lines":
        (folder / CHUNKS).unlink()
    else:
        (folder / CHUNKS).write_bytes(b"\xff\xfe 0 12")
    again = Computer()
    np.testing.assert_array_equal(opened(tmp_path, again), EXPECTED)
    assert again.asked == expected
    np.testing.assert_array_equal(opened(tmp_path, Computer()), EXPECTED)


def test_whoever_comes_second_waits_and_computes_nothing(tmp_path):
    began, go_on = threading.Event(), threading.Event()

    def slowly(rows):
        began.set()
        go_on.wait(PATIENCE)
        yield from Computer()(rows)

    first = threading.Thread(target=opened, args=(tmp_path, slowly))
    first.start()
    assert began.wait(PATIENCE)
    second, results = Computer(), []
    other = threading.Thread(target=lambda: results.append(opened(tmp_path, second)))
    other.start()
    go_on.set()
    first.join(PATIENCE), other.join(PATIENCE)
    np.testing.assert_array_equal(results[0], EXPECTED)
    assert second.asked == []


def test_a_full_disk_is_told_with_the_way_out(tmp_path, monkeypatch):
    usage = namedtuple("usage", "free")(free=100)
    monkeypatch.setattr(row_file.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(OSError, match="no space left.*--cache_dir or .*--features off"):
        opened(tmp_path, Computer())


def test_a_data_folder_that_cannot_be_written_leaves_them_in_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / ".taxonomy_cache").write_bytes(b"in the way")
    opened(tmp_path / "data", Computer())
    assert (tmp_path / "home" / "taxonomy_cache" / "rows" / ROWS).is_file()
    second = Computer()
    opened(tmp_path / "data", second)
    assert second.asked == []
