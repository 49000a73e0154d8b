"""Files from others: images that are programs, and paths in them that lead elsewhere."""

import errno
import os
import time

import pytest
import torch
from images import draw, make_folder
from recorded import write_whole_run

from data.cache import build_cache
from data.decoding import read_image
from data.headers import read_size
from evaluation import images
from files.writing import replacing
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
    with pytest.raises(ValueError, match="no image"):
        read_image(file, resize=4)
    with pytest.raises(ValueError, match="no image"):
        read_size(file)
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("absolute", [True, False])
def test_a_run_shows_no_image_from_outside_of_its_data_folder(tmp_path, absolute):
    draw(tmp_path / "private.png")
    draw(tmp_path / "data/a/1.png")
    file = str(tmp_path / "private.png") if absolute else "../private.png"
    with pytest.raises(ValueError, match="leads out of the folder"):
        images.open_image(file, [tmp_path / "data"], False)
    assert images.open_image("a/1.png", [tmp_path / "data"], False).shape == (4, 6, 3)


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
        tmp_path / "images", ["a/00.png", "a/01.png"], resize=4, cache_dir=tmp_path / "cache"
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
