"""Files from others: images that are programs, and paths in them that lead elsewhere."""

import errno
import os
import stat
import time

import pandas as pd
import pytest
import torch
from images import draw, make_folder
from recorded import write_whole_run

from data import cache_writer
from data.cache import build_cache
from data.decoding import read_head, read_image
from data.reading import Reading
from evaluation import images
from figures.common import Rendered
from files.writing import replacing
from reports.run_report import write as write_report
from reports.run_report import write_images
from runs.folder import FORMAT, Run, RunError

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.mark.parametrize("suffix", ["jpg", "png", "eps"])
def test_a_program_that_calls_itself_an_image_is_not_run(tmp_path, monkeypatch, suffix):
    program = tmp_path / "bin" / "gs"  # Pillow has it draw PostScript
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {tmp_path / 'mark'}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)  # not looked for yet
    file = tmp_path / f"image.{suffix}"
    file.write_bytes(EPS)
    with pytest.raises(ValueError, match="not an image"):
        read_image(file, Reading(resize=4))
    with pytest.raises(ValueError, match="not an image"):
        read_head(file)
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("absolute", [True, False])
def test_a_run_shows_no_image_from_outside_of_its_data_folder(tmp_path, absolute):
    draw(tmp_path / "private.png")
    draw(tmp_path / "data/a/1.png")
    file = str(tmp_path / "private.png") if absolute else "../private.png"
    with pytest.raises(ValueError, match="leads out of the folder"):
        images.open_image(file, images.ImageFolder([tmp_path / "data"]))
    folder = images.ImageFolder([tmp_path / "data"])
    assert images.open_image("a/1.png", folder).shape == (4, 6, 3)


def test_a_folder_that_the_run_names_shows_only_images_whose_content_the_run_knows(tmp_path):
    """A stranger's config.json may name any folder; which pictures are in it he does not know."""
    draw(tmp_path / "home/me/secret.png")
    draw(tmp_path / "data/a/1.png", seed=1)
    run = write_whole_run(tmp_path / "record", resize=4)
    known = f"{read_image(tmp_path / 'data/a/1.png', Reading(resize=4)).fingerprint('pixels'):016x}"
    rows = {"file": ["a/1.png", "home/me/secret.png"], "fingerprint": [known, "0" * 16]}
    run.write_table("split.csv", pd.DataFrame(rows))
    digest = {"digest": "x", "fingerprints_of": "pixels"}

    def show(file, named, given=None):
        places = {"places": {"data_dir": str(named)}, "images": digest}
        run.write_json("config.json", {**run.config, **places})
        return images.open_image(file, images.image_folder(Run(run.folder), given))

    assert show("a/1.png", tmp_path / "data").shape == (4, 6, 3)
    with pytest.raises(ValueError, match="not known to be the image.*--data_dir"):
        show("home/me/secret.png", tmp_path)
    with pytest.raises(ValueError, match="there is no image file"):
        show("home/me/secret.png", tmp_path, given=tmp_path / "data")
    assert show("home/me/secret.png", "/nowhere", given=tmp_path).shape == (4, 6, 3)
    (run.folder / "split.csv").unlink()  # as a run of an earlier version, without fingerprints
    with pytest.raises(ValueError, match="--data_dir"):
        show("a/1.png", tmp_path / "data")


def link(path, target):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


@pytest.mark.parametrize("name", ["log.txt", ".lock"])
def test_a_run_writes_through_no_link_in_its_folder(tmp_path, name):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    link(tmp_path / "run" / name, victim)
    run = Run(tmp_path / "run")
    with pytest.raises(RunError, match=r"cannot write .*(link|Too many levels)"):
        with run.lock():
            run.log("a line")
    assert victim.read_text() == "mine"


def test_no_temporary_name_can_be_known_before_and_a_link_in_its_place_is_not_followed(
    tmp_path, monkeypatch
):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    link(tmp_path / f".a.csv.{os.getpid()}.tmp", victim)  # the name that was used once
    for name in ("a.csv", "b.csv"):
        link(tmp_path / name, victim)
        Run(tmp_path).write_text(name, "new")  # the link itself is replaced
        assert not (tmp_path / name).is_symlink() and (tmp_path / name).read_text() == "new"
    link(tmp_path / f".c.csv.{os.getpid()}-00000000.tmp", victim)
    monkeypatch.setattr("files.writing.secrets.token_hex", lambda count: "0" * 2 * count)
    with pytest.raises(RunError, match="cannot write"):
        Run(tmp_path).write_text("c.csv", "new")
    assert victim.read_text() == "mine"


def test_figures_are_not_written_through_a_link(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    link(tmp_path / "run" / "figures", tmp_path / "elsewhere")
    rendered = Rendered("", {"png": b"x"})
    with pytest.raises(RunError, match="figures: it is a link"):
        write_images(tmp_path / "run", "curve", rendered, ("png", "pdf"))
    assert not list((tmp_path / "elsewhere").iterdir())


def test_only_temporary_files_of_ours_whose_writers_are_dead_are_removed(tmp_path):
    dead = tmp_path / ".predictions.csv.123-0123abcd.tmp"
    others = [tmp_path / name for name in (".a.tmp", ".a.12.tmp", "a.csv.123-0123abcd.tmp")]
    for path in (dead, *others):
        path.write_text("half")
    with replacing(tmp_path / "embeddings.npz") as living:
        with replacing(tmp_path / "predictions.csv") as temporary:
            temporary.write_text("all of it")
        assert living.exists()
    assert not dead.exists() and all(path.exists() for path in others)
    assert (tmp_path / "predictions.csv").read_text() == "all of it"


def test_a_file_and_its_folder_are_on_the_disk_when_the_file_has_its_name(tmp_path, monkeypatch):
    calls, sync, replace = [], os.fsync, os.replace

    def note_sync(descriptor):
        calls.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        sync(descriptor)

    def note_replace(source, target):
        calls.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "replace", note_replace)
    whole = ["file", "rename", "folder"]
    Run(tmp_path).write_text("metrics.csv", "a")
    write_report(tmp_path / "report.html", b"x")
    with replacing(tmp_path / "predictions.csv") as temporary:
        temporary.write_text("x")
    assert calls == 3 * whole
    calls.clear()
    make_folder(tmp_path / "images", {"a": 1})
    build_cache(tmp_path / "images", ["a/00.png"], Reading(resize=4))
    # pixels, fingerprints, what it says of itself, its folder, and the name of that
    assert calls == ["file", "file", "file", "folder", "rename", "folder"]
    calls.clear()
    monkeypatch.setattr(cache_writer, "SYNCED", 0)  # bytes; on the way, too
    build_cache(tmp_path / "images", ["a/00.png"], Reading(resize=5))
    assert calls == ["file", "file", "file", "file", "folder", "rename", "folder"]


def test_the_checkpoint_of_the_results_is_one_of_the_run(tmp_path):
    run = write_whole_run(tmp_path)
    run.write_json("config.json", {**run.config, "result_checkpoint": "../other.pt"})
    torch.save({"format": FORMAT}, run.folder.parent / "other.pt")
    other = Run(run.folder)
    with pytest.raises(RunError, match="seed1/other.pt is missing"):
        other.checkpoint(other.result_checkpoint)


def test_folders_of_others_in_the_place_of_the_cache_stay(tmp_path):
    (tmp_path / "cache/work.tmp").mkdir(parents=True)
    (tmp_path / "cache/work.tmp/thesis.txt").write_text("all of it")
    old = time.time() - 1e6
    for path in (tmp_path / "cache/work.tmp/thesis.txt", tmp_path / "cache/work.tmp"):
        os.utime(path, (old, old))
    make_folder(tmp_path / "images", {"a": 2})
    build_cache(
        tmp_path / "images",
        ["a/00.png", "a/01.png"],
        Reading(resize=4),
        cache_dir=tmp_path / "cache",
    )
    assert (tmp_path / "cache/work.tmp/thesis.txt").exists()


def test_a_file_that_finds_no_room_is_named_with_a_way_out_and_removed(tmp_path):
    with pytest.raises(
        ValueError, match=r"a\.csv cannot be written: No space left on device; make room"
    ):
        with replacing(tmp_path / "a.csv") as temporary:
            temporary.write_text("half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert not list(tmp_path.iterdir())
