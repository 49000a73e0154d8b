"""An image cache whose making was interrupted is gone on with, and ends in the same bytes as one
that nothing disturbed; or all images are read again.
"""

import contextlib
import errno
import itertools
import json
import multiprocessing
import os
import resource
import shutil
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from images import draw
from PIL import Image
from waiting import PATIENCE, wait_until

from data import cache as cache_module
from data import cache_writer, unfinished_cache
from data.cache import build_cache
from data.decoding import read_image
from data.reading import Reading

COUNT, BAD, DEEP = 60, (3, 41), (1, 30)
FILES = [f"{i:02}.png" for i in range(COUNT)]
READING = Reading(resize=16)
OPTIONS = {"skip_bad_images": True, "workers": 2}
fork = multiprocessing.get_context("fork") if hasattr(os, "fork") else None


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Images of many kinds: there are notes, files that cannot be read, and different sizes."""
    folder = tmp_path_factory.mktemp("images")
    for i, file in enumerate(FILES):
        if i in BAD:
            (folder / file).write_bytes(b"no image at all")
        elif i in DEEP:
            Image.fromarray(np.full((5, 6), 900 + i, np.uint16)).save(folder / file)
        else:
            draw(folder / file, (6 + i % 3, 4), "RGBA" if i % 7 == 0 else "RGB", seed=i)
    return folder


@pytest.fixture(scope="module")
def whole(images):
    """What a cache is that nothing disturbed."""
    cache = build_cache(images, FILES, READING, **OPTIONS)
    assert len(cache.bad) == 2 and len(cache.notes) > 2
    assert set(content(cache)) == {"pixels.bin", "images.npz", "content.json"}
    return content(cache)


@pytest.fixture
def root(images, tmp_path):
    for file in FILES:
        shutil.copy2(images / file, tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def saved_each_time(monkeypatch):
    monkeypatch.setattr(unfinished_cache, "SAVE_SECONDS", 0.0)


class Reader:
    """In place of `read_image`: notes which files are read, and fails at some of them."""

    def __init__(self, fail=(), error=KeyboardInterrupt):
        self.fail, self.error, self.read = fail, error, []

    def __call__(self, path, *how):
        number = int(Path(path).stem)
        self.read.append(number)
        if number in self.fail:
            if self.error is signal.SIGKILL:
                wait_for_rows(path.parent / "cache", 15)
                os.kill(os.getpid(), signal.SIGKILL)
            raise self.error
        return read_image(path, *how)


class StuckDisk(Reader):
    """Reading file 30 does not end."""

    def __call__(self, path, *how):
        if Path(path).stem == "30":
            time.sleep(10 * PATIENCE)
        return super().__call__(path, *how)


class BrokenDisk(Reader):
    """File 20 cannot be read, for a reason that may pass."""

    def __call__(self, path, *how):
        if Path(path).stem == "20":
            self.read.append(20)
            raise ValueError("broken disk") from OSError(errno.EIO, "Input/output error")
        return super().__call__(path, *how)


def build(root, monkeypatch, reader=None, place="cache", resize=16, **options):
    """The cache, and which files were read for it."""
    reader, options = reader or Reader(), {**OPTIONS, **options}
    monkeypatch.setattr(cache_writer, "read_image", reader)
    reading, place = Reading(resize=resize), root / place
    return build_cache(root, FILES, reading, cache_dir=place, **options), reader.read


def interrupt(root, monkeypatch, at, error=KeyboardInterrupt, **options):
    """Has the reading end at a file; returns the folder that is left."""
    expected = type(error) if isinstance(error, OSError) else error
    with pytest.raises(expected):
        build(root, monkeypatch, Reader([at], error), **options)
    (left,) = (root / "cache").glob("*.tmp")
    return left


def kill(root, monkeypatch, at):
    process = fork.Process(target=build, args=(root, monkeypatch, Reader([at], signal.SIGKILL)))
    process.start()
    process.join(PATIENCE)
    assert process.exitcode == -signal.SIGKILL


def content(cache):
    return {path.name: path.read_bytes() for path in cache.folder.iterdir()}


def wait_for_rows(place, count):
    states = "*.tmp/unfinished.json"
    wait_until(lambda: any(rows_of(path.parent) >= count for path in place.glob(states)))


def rows_of(left):
    return json.loads((left / "unfinished.json").read_text().split("\n")[1])["now"]["rows"]


@pytest.mark.usefixtures("may_fork")
@pytest.mark.skipif(fork is None, reason="needs fork")
@pytest.mark.parametrize("stop", [interrupt, kill])
def test_one_that_is_stopped_again_and_again_ends_in_the_same_bytes(
    root, monkeypatch, whole, capsys, stop
):
    for at in (33, 34, 58):
        stop(root, monkeypatch, at)
    cache, read = build(root, monkeypatch)
    assert 58 in read and min(read) >= 15
    said = capsys.readouterr().err
    assert f"has read {min(read)} of 60 images: going on behind them" in said
    assert f"| {min(read)}/60 [00:00<" in said
    assert content(cache) == whole
    assert not list((root / "cache").glob("*.tmp"))


def test_what_was_written_after_the_last_state_is_not_trusted(root, monkeypatch, whole):
    left = interrupt(root, monkeypatch, 40)
    for name in ("pixels.bin", "unfinished.bin"):
        with open(left / name, "ab") as file:
            file.write(b"half a row")
    (left / ".unfinished.json.1-0123abcd.tmp").write_text("half a state")
    # no other state, which would remove it
    monkeypatch.setattr(unfinished_cache, "SAVE_SECONDS", 1e9)
    cache, read = build(root, monkeypatch)
    assert min(read) > 20 and content(cache) == whole


def test_a_state_counts_only_what_was_put_on_the_disk_before(root, monkeypatch):
    """Each state is written behind a sync of the pixels and of the rows that it counts."""
    synced, before, states = {}, {}, []
    sync, write = os.fsync, unfinished_cache.write_whole

    def note_sync(descriptor):
        sync(descriptor)
        path = Path(f"/proc/self/fd/{descriptor}").resolve()
        synced[path.name] = os.fstat(descriptor).st_size

    def note_write(path, text):
        count = json.loads(text.decode().split("\n")[1])["now"]["rows"]
        states.append(count)
        before.update(synced)
        assert synced["pixels.bin"] == count * 16 * 16 * 3
        assert synced["unfinished.bin"] == count * unfinished_cache._ROW.itemsize
        write(path, text)

    if not Path("/proc/self/fd").exists():
        pytest.skip("looks at names of open files in /proc")
    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(unfinished_cache, "write_whole", note_write)
    build(root, monkeypatch)
    good = np.cumsum([i not in BAD for i in range(COUNT)])
    assert states == good.tolist() and "cache" in before  # behind each file, a bad one, too


def _flip(path):
    found = bytearray(path.read_bytes())
    found[len(found) // 2] ^= 1
    path.write_bytes(found)


@pytest.mark.parametrize(
    "damage",
    [
        lambda left: _flip(left / "unfinished.json"),
        lambda left: (left / "unfinished.json").write_bytes(b""),
        lambda left: _flip(left / "unfinished.bin"),
        lambda left: os.truncate(left / "unfinished.bin", 100),
        lambda left: os.truncate(left / "pixels.bin", 5000),
        lambda left: (left / "pixels.bin").unlink(),
    ],
    ids=["state", "empty state", "rows", "rows cut", "pixels cut", "no pixels"],
)
def test_a_damaged_one_is_read_again_from_the_beginning(root, monkeypatch, whole, capsys, damage):
    damage(interrupt(root, monkeypatch, 40))
    cache, read = build(root, monkeypatch)
    assert "it is damaged: all images are read again" in capsys.readouterr().err
    assert sorted(read) == list(range(COUNT)) and content(cache) == whole
    assert not list((root / "cache").glob("*.tmp"))


def test_one_by_another_version_is_read_again_from_the_beginning(root, monkeypatch, capsys):
    interrupt(root, monkeypatch, 40)
    monkeypatch.setattr(unfinished_cache.PIL, "__version__", "0.1")
    _, read = build(root, monkeypatch)
    assert "by another version of this program, of Pillow" in capsys.readouterr().err
    assert sorted(read) == list(range(COUNT))


def test_pixels_that_are_damaged_meanwhile_are_noticed_when_they_are_used(root, monkeypatch, whole):
    _flip(interrupt(root, monkeypatch, 40) / "pixels.bin")
    with pytest.raises(ValueError, match="is not as it was written"):
        build(root, monkeypatch)[0].pixels[:]
    assert content(build(root, monkeypatch)[0]) == whole


def test_a_file_that_was_replaced_meanwhile_is_read(root, monkeypatch):
    left = interrupt(root, monkeypatch, 40)
    before = os.stat(root / FILES[5])
    new = draw(root / FILES[5], (6, 4), seed=999)
    os.utime(root / FILES[5], ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    cache, read = build(root, monkeypatch)
    assert sorted(read) == list(range(COUNT)) and left.exists()
    row = cache.kept.tolist().index(5)
    right = Image.fromarray(new).resize((16, 16), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(cache.pixels[row], np.asarray(right))


def test_one_of_other_options_is_left_alone_and_removed_when_it_is_old(root, monkeypatch):
    left = interrupt(root, monkeypatch, 40)
    _, read = build(root, monkeypatch, resize=8)
    assert sorted(read) == list(range(COUNT)) and left.exists()
    _age(left, 3600)
    removed, rmtree = [], shutil.rmtree

    def note_rmtree(path, **options):
        removed.append(path.name)
        rmtree(path, **options)

    monkeypatch.setattr(shutil, "rmtree", note_rmtree)
    build(root, monkeypatch, resize=4)
    # under another name, so that a process that just goes on with it has all of it or nothing
    assert removed[0].startswith("0" * 24) and left.name not in removed
    assert not left.exists() and not list((root / "cache").glob("*.tmp"))


def _age(left, seconds):
    for path in [*left.iterdir(), left]:
        os.utime(path, (time.time() - seconds,) * 2)


def test_one_that_was_left_long_ago_is_still_gone_on_with(root, monkeypatch, whole):
    """And no other process takes it for abandoned meanwhile."""
    fill = cache_module.fill

    def check_and_fill(folder, *args):
        assert unfinished_cache._quiet_for(folder) < unfinished_cache.ABANDONED / 2
        return fill(folder, *args)

    _age(interrupt(root, monkeypatch, 40), 1e6)
    monkeypatch.setattr(cache_module, "fill", check_and_fill)
    cache, read = build(root, monkeypatch)
    assert min(read) > 20 and content(cache) == whole


def test_of_several_the_latest_is_gone_on_with_and_the_others_are_removed(root, monkeypatch, whole):
    older = interrupt(root, monkeypatch, 20)
    older.rename(root / older.name)
    interrupt(root, monkeypatch, 50)
    (root / older.name).rename(older)
    _age(older, 60)
    cache, read = build(root, monkeypatch)
    assert min(read) > 20 and content(cache) == whole
    assert not list((root / "cache").glob("*.tmp"))


@pytest.mark.parametrize("readable", [True, False])
def test_a_file_that_could_not_be_read_for_now_is_tried_again(root, monkeypatch, whole, readable):
    """An error of the disk at file 20, and the end at file 50."""
    with pytest.raises(KeyboardInterrupt):
        build(root, monkeypatch, BrokenDisk([50]))
    if readable:
        interrupt(root, monkeypatch, 25)  # once more, when it can be read
        cache, read = build(root, monkeypatch)
        assert min(read) >= 20 and content(cache) == whole
    else:
        cache, read = build(root, monkeypatch, BrokenDisk())
        assert sorted(set(read))[:2] == [20, min(set(read) - {20})] and min(set(read) - {20}) > 25
        assert [file for file, _ in cache.bad] == [FILES[i] for i in (3, 20, 41)]
        assert content(cache) == content(build(root, monkeypatch, BrokenDisk(), place="other")[0])


def test_one_that_was_cut_is_not_damaged_when_it_stops_before_its_next_state(
    root, monkeypatch, whole, capsys
):
    """The rows from file 20 on are written anew, and that is not recorded any more."""
    write, states = unfinished_cache.write_whole, []

    def stop_at_second(path, text):
        states.append(text)
        if len(states) == 2:
            raise KeyboardInterrupt
        write(path, text)

    with pytest.raises(KeyboardInterrupt):
        build(root, monkeypatch, BrokenDisk([50]))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(unfinished_cache, "write_whole", stop_at_second)
        build(root, patch)
    cache, read = build(root, monkeypatch)
    assert min(read) == 20 and content(cache) == whole
    assert "damaged" not in capsys.readouterr().err


def test_a_state_is_written_every_ten_seconds(root, monkeypatch):
    clock, write, states = itertools.count(), unfinished_cache.write_whole, []

    def note_write(path, text):
        states.append(path)
        write(path, text)

    monkeypatch.setattr(unfinished_cache, "SAVE_SECONDS", 10)
    monkeypatch.setattr(unfinished_cache, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(unfinished_cache, "write_whole", note_write)
    build(root, monkeypatch)
    assert 4 <= len(states) <= 6  # a second for each image


@pytest.mark.usefixtures("may_fork")
@pytest.mark.skipif(fork is None, reason="needs fork")
def test_who_waits_goes_on_when_the_other_process_is_killed(root, monkeypatch, whole, tmp_path):
    one = fork.Process(target=build, args=(root, monkeypatch, StuckDisk()))
    one.start()
    wait_for_rows(root / "cache", 1)

    def build_and_tell():
        with open(said, "w", buffering=1) as file, contextlib.redirect_stderr(file):
            build(root, monkeypatch, Reader([0]))

    # not caught by pytest: what is printed while it is asked for what it caught is lost
    said = tmp_path / "said.txt"
    said.touch()
    two = fork.Process(target=build_and_tell)
    two.start()
    wait_until(lambda: "waiting for it" in said.read_text())
    one.kill()
    for process in (one, two):
        process.join(PATIENCE)
    assert one.exitcode == -signal.SIGKILL and two.exitcode == 0  # it did not read the first file
    assert "going on behind them" in said.read_text()
    cache, read = build(root, monkeypatch)
    assert not read and content(cache) == whole


@pytest.mark.parametrize("where", ["another machine", "no locks"])
def test_one_that_may_still_be_written_to_is_left_alone_for_a_while(
    root, monkeypatch, whole, where
):
    left = interrupt(root, monkeypatch, 40)
    if where == "no locks":
        monkeypatch.setattr(cache_module, "file_lock", lambda *args, **options: open(os.devnull))
    else:
        monkeypatch.setattr(unfinished_cache.platform, "node", lambda: "other")
    with pytest.raises(KeyboardInterrupt):
        build(root, monkeypatch, Reader([0]))
    assert left.exists()
    _age(left, unfinished_cache.QUIET + 60)
    cache, read = build(root, monkeypatch)
    assert min(read) > 20 and content(cache) == whole and not left.exists()


@pytest.mark.parametrize("state", [1, 20, COUNT])
@pytest.mark.parametrize("step", ["open_to_update", "write_whole"])
def test_who_was_taken_for_dead_writes_no_cache_any_more(root, monkeypatch, step, state):
    """Without locks, and stopped for minutes before one of its states."""
    real, count, taken = getattr(unfinished_cache, step), itertools.count(1), root / "taken"

    def stop(path, *args, **options):
        if next(count) == state:
            path.parent.rename(taken)
        return real(path, *args, **options)

    monkeypatch.setattr(unfinished_cache, step, stop)
    with pytest.raises(FileNotFoundError):
        build(root, monkeypatch)
    assert [path.suffix for path in (root / "cache").iterdir()] == [".lock"]
    good = sum(i not in BAD for i in range(state - 1))
    assert rows_of(taken) == good if state > 1 else not (taken / "unfinished.json").exists()


def test_a_refusal_of_bad_files_loses_nothing(root, monkeypatch, whole):
    """The next start may have --skip_bad_images, as the refusal says, or a disk that is well."""
    with pytest.raises(ValueError, match="--skip_bad_images"):
        build(root, monkeypatch, skip_bad_images=False)
    cache, read = build(root, monkeypatch)
    assert content(cache) == whole and not read


def test_who_is_stopped_behind_the_last_image_has_lost_nothing(root, monkeypatch, whole):
    def stop(folder):
        raise KeyboardInterrupt

    def stop_for_folders(source, target):
        if Path(source).is_dir():
            raise KeyboardInterrupt
        os.replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(cache_module, "sync_folder", stop)  # between the rename and its sync
        with pytest.raises(KeyboardInterrupt):
            build(root, monkeypatch)
        patch.undo()
        patch.setattr(cache_module.system, "replace", stop_for_folders)
        with pytest.raises(KeyboardInterrupt):
            build(root, monkeypatch, resize=17)
    cache, read = build(root, monkeypatch)
    assert content(cache) == whole and not read
    assert not build(root, monkeypatch, resize=17)[1]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EMFILE], ids=errno.errorcode.get)
def test_an_error_of_the_disk_is_not_damage(root, monkeypatch, whole, number):
    left = interrupt(root, monkeypatch, 40)
    rows = rows_of(left)

    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(unfinished_cache.np, "fromfile", fail)
        with pytest.raises(OSError, match=os.strerror(number)):
            build(root, monkeypatch)
    (left,) = (root / "cache").glob("*.tmp")
    assert rows_of(left) == rows
    cache, read = build(root, monkeypatch)
    assert content(cache) == whole and min(read) > 20


def test_of_two_the_one_with_more_images_is_gone_on_with(root, monkeypatch, whole):
    much = interrupt(root, monkeypatch, 40)
    aside = much.rename(root / "aside")
    interrupt(root, monkeypatch, 20)
    aside.rename(much)
    _age(much, 60)
    cache, read = build(root, monkeypatch)
    assert content(cache) == whole and min(read) > 20
    assert not list((root / "cache").glob("*.tmp"))


def test_nothing_is_written_behind_links_that_lie_in_one_that_is_left(root, monkeypatch, whole):
    left, precious = interrupt(root, monkeypatch, 40), root / "precious.txt"
    precious.write_text("mine")
    for name in ("images.npz", "content.json"):
        (left / name).symlink_to(precious)
    assert content(build(root, monkeypatch)[0]) == whole
    assert precious.read_text() == "mine"
    shutil.rmtree(root / "cache")
    left = interrupt(root, monkeypatch, 40)
    elsewhere = left.rename(root / "elsewhere")
    left.symlink_to(elsewhere)
    cache, read = build(root, monkeypatch)
    assert content(cache) == whole and min(read) == 0 and not cache.folder.is_symlink()


def test_a_full_disk_says_that_what_was_read_is_kept(root, monkeypatch, whole):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40 * 16 * 16 * 3 + 100, hard))  # of pixels.bin
    try:
        with pytest.raises(OSError, match="free some or name .*too large.* kept there, to go on"):
            build(root, monkeypatch)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    cache, read = build(root, monkeypatch)
    assert min(read) > 20 and content(cache) == whole


def test_room_is_needed_only_for_what_is_missing(root, monkeypatch):
    left = interrupt(root, monkeypatch, 40)
    missing = (COUNT - rows_of(left) - 1) * 16 * 16 * 3  # and the bad file before
    usage = type(cache_writer.shutil.disk_usage(root))
    usages = [usage(0, 0, missing - 1), usage(0, 0, missing)]
    monkeypatch.setattr(cache_writer.shutil, "disk_usage", lambda path: usages[0])
    with pytest.raises(OSError, match="no space left"):
        build(root, monkeypatch)
    del usages[0]
    build(root, monkeypatch)


def test_images_of_another_size_behind_those_that_were_read_are_refused(root, monkeypatch):
    """And nothing is left: the next start would find the same."""
    for i in range(COUNT):
        draw(root / FILES[i], (6, 4) if i != 50 else (4, 6), seed=i)
    interrupt(root, monkeypatch, 40, resize=0)
    with pytest.raises(ValueError, match="'00.png' has 6 x 4 pixels, '50.png' 4 x 6"):
        build(root, monkeypatch, resize=0)
    assert not list((root / "cache").glob("*.tmp"))


def test_a_link_in_what_was_left_is_not_followed(root, monkeypatch, whole):
    left = interrupt(root, monkeypatch, 40)
    (left / "pixels.bin").rename(root / "precious")
    (left / "pixels.bin").symlink_to(root / "precious")
    before = (root / "precious").read_bytes()
    cache, read = build(root, monkeypatch)
    assert sorted(read) == list(range(COUNT)) and content(cache) == whole
    assert (root / "precious").read_bytes() == before


def test_what_another_user_has_left_is_not_touched(root, monkeypatch):
    left = interrupt(root, monkeypatch, 40)
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "pixels.bin")
    cache, read = build(root, monkeypatch)
    monkeypatch.setattr(os, "access", access)
    assert sorted(read) == list(range(COUNT)) and rows_of(left) > 20
