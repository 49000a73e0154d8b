"""What other systems refuse is imitated here: Windows, where an open file can be neither replaced
nor removed.
"""

import contextlib
import errno
import ntpath
import os
import re
import runpy
import subprocess
import sys
import threading
import time
import types
from importlib.util import find_spec
from pathlib import Path, PureWindowsPath

import numpy as np
import pytest
from said import Said
from test_house import ROOT, SOURCES, room

from data import table_files
from evaluation import serving
from files import paths, system
from files.locks import file_lock
from files.writing import remove_leftovers, replacing, write_whole
from options.parser import Parser
from runs import mlflow_log
from runs.files import unwritable
from runs.folder import Run, RunError
from training import team


class Locking(types.ModuleType):
    """Stands for msvcrt: a lock on a byte, which belongs to the file that is open."""

    LK_UNLCK, LK_NBLCK = 0, 2

    def __init__(self):
        super().__init__("msvcrt")
        self.held = {}  # by the file

    def locking(self, descriptor, mode, size):
        found = os.fstat(descriptor)
        file = found.st_dev, found.st_ino
        # others may read what is in the file
        assert size == 1 and os.lseek(descriptor, 0, os.SEEK_CUR) > found.st_size
        if mode == self.LK_NBLCK and file in self.held:
            raise PermissionError(errno.EACCES, "Permission denied")
        if mode == self.LK_NBLCK:
            self.held[file] = descriptor
        elif self.held.get(file) == descriptor:
            del self.held[file]


class Holding:
    """Refuses to rename or remove files that are open in this process, or held as by another."""

    def __init__(self):
        self.by_others, self.refused = set(), []

    def check(self, *paths):
        for path in map(os.path.realpath, paths):
            if path in self.by_others or self._is_open(path):
                self.refused.append(os.path.basename(path))
                raise PermissionError(errno.EACCES, "Permission denied", path)

    @staticmethod
    def _is_open(path):
        """Whether it, or a file below it, is open or mapped in this process."""
        found = [line.split(maxsplit=5)[-1] for line in Path("/proc/self/maps").open()]
        for descriptor in os.listdir("/proc/self/fd"):
            try:
                found.append(os.readlink(f"/proc/self/fd/{descriptor}"))
            except OSError:  # that of the list itself
                continue
        return any(f"{one.rstrip()}/".startswith(f"{path}/") for one in found)


@pytest.fixture
def windows(monkeypatch):
    """Windows, as far as files go."""
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("which files are open cannot be seen here")
    holding, replace, unlink = Holding(), os.replace, os.unlink
    monkeypatch.setattr(system, "fcntl", None)
    monkeypatch.setattr(system, "msvcrt", Locking(), raising=False)
    monkeypatch.setattr(system, "POLL", 0.001)

    def careful_replace(source, target):
        holding.check(source, target)
        if os.path.isdir(target):
            raise PermissionError(errno.EACCES, "Permission denied", str(target))
        replace(source, target)

    def careful_unlink(path, **options):
        holding.check(path)
        unlink(path, **options)

    monkeypatch.setattr(os, "replace", careful_replace)
    monkeypatch.setattr(os, "unlink", careful_unlink)
    return holding


def test_files_are_closed_before_they_are_renamed_on_windows(windows, tmp_path):
    for content in (b"one", b"two"):
        write_whole(tmp_path / "a.csv", content, keep="a-1.csv")
    with replacing(tmp_path / "b.csv") as temporary:
        temporary.write_bytes(b"three")
    found = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert found == {"a.csv": b"two", "a-1.csv": b"one", "b.csv": b"three"} and not windows.refused


def test_a_file_that_is_open_in_a_spreadsheet_is_waited_for(windows, tmp_path, monkeypatch):
    monkeypatch.setattr(system, "SAID", 0.01)
    path = tmp_path / "epochs.csv"
    path.write_text("old")
    windows.by_others.add(str(path.resolve()))
    writer = threading.Thread(target=write_whole, args=(path, b"new"))
    with contextlib.redirect_stderr(Said()) as stderr:
        writer.start()
        said = stderr.wait_for("close it there", writer)
    assert path.read_text() == "old"
    windows.by_others.clear()
    writer.join(30)
    assert "epochs.csv seems to be open in another program" in said
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_what_stays_open_in_another_program_loses_nothing(windows, tmp_path, monkeypatch):
    monkeypatch.setattr(system, "PATIENCE", 0.0)
    path = tmp_path / "predictions.csv"
    path.write_text("old")
    windows.by_others.add(str(path.resolve()))
    with pytest.raises(PermissionError) as caught, replacing(path) as temporary:
        temporary.write_text("an hour of answers")
    (other,) = tmp_path.glob("predictions-*.csv")
    assert f"what was to be written is in {other}" in str(caught.value)
    assert other.read_text() == "an hour of answers" and path.read_text() == "old"
    with pytest.raises(RunError, match="if it is open in another program"):
        Run(tmp_path).write_text("predictions.csv", "x")
    monkeypatch.setattr(system, "PATIENCE", 600.0)
    (tmp_path / "b.csv").mkdir()
    with pytest.raises(PermissionError):  # at once: a folder of this name would never go away
        write_whole(tmp_path / "b.csv", b"x")


def test_a_folder_takes_the_place_of_an_empty_one_on_windows(windows, tmp_path):
    for name in ("new", "empty", "full"):
        (tmp_path / name).mkdir()
    (tmp_path / "full" / "a").touch()
    with pytest.raises(OSError):
        system.replace(tmp_path / "new", tmp_path / "full")
    system.replace(tmp_path / "new", tmp_path / "empty")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "full"]
    assert (tmp_path / "full" / "a").exists()


def test_a_table_that_is_open_in_a_spreadsheet_is_named_before_any_work(
    windows, tmp_path, monkeypatch
):
    path, opened = tmp_path / "predictions.csv", os.open
    path.write_text("old")

    def refuse(place, *arguments):
        if Path(place) == path:
            raise PermissionError(errno.EACCES, "Permission denied", str(place))
        return opened(place, *arguments)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ValueError, match="if it is open in another program"), replacing(path):
        pytest.fail("an hour of work")


def test_leftovers_go_on_windows_too_when_nobody_writes_them(windows, tmp_path):
    names = [f".a.csv.1-0000000{number}.tmp" for number in range(3)]
    for name in names:
        (tmp_path / name).write_text("half")
    for name in names[:2]:
        os.utime(tmp_path / name, (time.time() - 3600,) * 2)
    with open(tmp_path / names[1]):  # by a process that writes it for long
        remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == names[1:]


def test_locks_of_windows_keep_others_out(windows, tmp_path):
    path = tmp_path / ".lock"
    with file_lock(path) as first:
        with file_lock(path) as second:
            assert first and not second
        with file_lock(path) as third:  # who did not get it has not given it back
            assert not third
        waiting = threading.Thread(target=lambda: file_lock(path, waiting="wait").__enter__())
        with contextlib.redirect_stderr(Said()) as stderr:
            waiting.start()
            assert "wait" in stderr.wait_for("wait", waiting) and waiting.is_alive()
    waiting.join(30)
    assert not waiting.is_alive()


def test_a_refused_run_leaves_no_folder_on_windows(windows, tmp_path):
    run = Run(tmp_path / "record" / "demo" / "seed1")
    with run.lock():
        with pytest.raises(RunError, match="another process"), run.lock():
            pass
        assert run.folder.is_dir()
    assert not (tmp_path / "record").exists()
    with pytest.raises(ValueError), run.lock():
        raise ValueError
    assert not (tmp_path / "record").exists()


def test_the_memory_of_windows_is_asked_for(monkeypatch):
    from data import memory

    def tell(status):
        status._obj.total, status._obj.free = 16 * 2**30, 5 * 2**30

    kernel = types.SimpleNamespace(GlobalMemoryStatusEx=tell)
    monkeypatch.delattr(os, "sysconf")
    assert memory.memory_bytes() == memory.free_memory_bytes() == 0
    monkeypatch.setattr(
        memory.ctypes, "windll", types.SimpleNamespace(kernel32=kernel), raising=False
    )
    assert memory.memory_bytes() == 16 * 2**30 and memory.free_memory_bytes() == 5 * 2**30
    assert memory.ctypes.sizeof(memory._MemoryStatus) == 64  # of MEMORYSTATUSEX


def test_features_are_mapped_and_written_while_nobody_renames_them(windows, tmp_path):
    from data.row_file import open_rows

    def compute(rows):
        for start in range(0, len(rows), 256):
            yield np.ones((len(rows[start : start + 256]), 2), np.float32)

    for _ in range(2):
        rows = open_rows([tmp_path], "f", (300, 2), "float32", compute)
        assert (rows == 1).all()
    assert not windows.refused


def test_a_path_that_is_too_long_for_windows_is_said_to_be(windows, tmp_path):
    lost = FileNotFoundError(errno.ENOENT, "No such file or directory")
    said = str(unwritable(tmp_path / ("x" * 180), lost))
    assert "too long for Windows" in said and r"--record C:\runs" in said
    assert "too long" not in str(unwritable(Path("/x"), lost))


@pytest.mark.parametrize("file", ["C:/a.jpg", "C:a.jpg", "/a.jpg", "b/../../a.jpg", "//host/x/a"])
def test_an_image_of_a_foreign_run_is_below_its_folder_on_windows(monkeypatch, file):
    monkeypatch.setattr(paths, "Path", PureWindowsPath)
    assert paths.leads_out(file) and not paths.leads_out("b/a.jpg")


def test_tables_of_windows_name_files_with_slashes(monkeypatch, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.png").touch()
    there = types.SimpleNamespace(**{**vars(os.path), "join": ntpath.join, "abspath": str})
    # for this module alone: from Python 3.12 on pathlib asks os.path, too
    monkeypatch.setattr(
        table_files, "os", types.SimpleNamespace(**{**vars(os), "path": there, "sep": "\\"})
    )
    assert table_files._with_suffixes(tmp_path, ["a/1"]) == ["a/1.png"]
    for written in (r"D:\my plankton\a\1.png", "D:/my plankton/a/1.png", r"a\1.png"):
        assert table_files.relative([written], r"D:\my plankton") == ["a/1.png"]


def test_names_are_of_every_system():
    for name in ("a:b", "what?", "aux", "NUL.csv", "end.", "end ", "a/b", r"a\b", 'a"', "tab\t"):
        assert not paths.is_portable(name), name
    assert all(map(paths.is_portable, ("resnet 50", "auxiliary", "浮游生物", "a.b", "DR-euc")))


def test_commands_and_places_are_shown_as_windows_takes_them(monkeypatch):
    def on_another_drive(path):
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    assert paths.as_typed(["a b", r"D:\x"]) == r"'a b' 'D:\x'"
    with monkeypatch.context() as patch:
        patch.setattr(os.path, "relpath", on_another_drive)
        patch.setattr(os, "name", "nt")
        shown, typed = paths.shown(r"D:\runs"), paths.as_typed(["a b", r"D:\x"])
    assert shown == r"D:\runs" and typed == r'"a b" D:\x'


def test_a_backslash_before_a_quote_is_named_on_windows(monkeypatch, capsys):
    given = ["--data_dir", r'D:\my plankton" --method DR']
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(os, "name", "nt")
        Parser().parse_args(given)
    assert "leave out the backslash before the quote that ends" in capsys.readouterr().err


def test_stars_mean_files_on_windows_where_no_flag_takes_them(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ("b.jpg", "a.jpg"):
        Path(name).touch()
    parser = Parser()
    parser.add_argument("images", nargs="*")
    parser.add_argument("--where")
    with monkeypatch.context() as patch:
        patch.setattr(os, "name", "nt")
        given = parser.parse_intermixed_args(["*.jpg", "--where", "?.jpg", "x*"])
    assert given.images == ["a.jpg", "b.jpg", "x*"] and given.where == "?.jpg"


def test_processes_that_cannot_share_gpus_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setattr(team.dist, "is_nccl_available", lambda: False)
    with pytest.raises(ValueError, match="NCCL, as on Windows"), team.join(on_cpu=False):
        pass


def test_a_port_of_windows_is_not_shared_with_another_server(monkeypatch):
    for name in ("posix", "nt"):
        monkeypatch.setattr(serving, "os", types.SimpleNamespace(name=name))
        with serving.make_server(lambda name, content: {}, [], "127.0.0.1", 0) as server:
            assert server.allow_reuse_address == (name == "posix")


def test_a_drive_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(mlflow_log.Path, "exists", lambda path: False)
    with pytest.raises(ValueError, match="there is no drive"):
        mlflow_log._check_store("sqlite:///mlflow.db")


def test_every_text_file_is_read_and_written_in_utf_8():
    """Windows takes the code page of the country where no encoding is named."""
    if find_spec("ruff") is None:
        pytest.skip("ruff is not installed")
    rule = ["--preview", "--select", "PLW1514", "--exclude", "tests", "--no-cache"]
    command = [sys.executable, "-m", "ruff", "check", *rule, "."]
    done = subprocess.run(command, cwd=ROOT, capture_output=True)
    assert not done.returncode, done.stdout.decode()
    for path in SOURCES:
        text = path.read_text("utf-8")
        assert "text=True" not in text, path
        # lines end in another way there, too
        assert text.count("to_csv(") <= text.count("lineterminator="), path


def test_modules_that_windows_lacks_are_asked_for_in_one_place(monkeypatch):
    there = re.compile(r"^ *(import|from) (fcntl|grp|msvcrt|posix|pwd|resource|termios)\b", re.M)
    found = [path for path in SOURCES if there.search(path.read_text("utf-8"))]
    assert [path.name for path in found if room(path) != "benchmarks"] == ["system.py"]
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", Locking())
    there = runpy.run_path(system.__file__)
    assert there["fcntl"] is None and there["holds_open_files"]()
