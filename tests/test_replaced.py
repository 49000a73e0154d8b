"""A run that --overwrite replaces is there until the new one has kept an epoch, whatever happens
before.
"""

import contextlib
import errno
import os

import pytest
from images import ODD_CLASSES, make_learnable_folder
from test_recording import start
from trained import train_small

import startup
from runs import files
from runs.folder import Run, RunError
from runs.replaced import ASIDE
from training import loop

OLD = ("metrics.csv", "checksums.json", "last.pt", "best.pt", "test.pkl", "log.txt", "report.html")


def contents(folder) -> dict[str, bytes]:
    """By name, what is in a folder."""
    found = {path.name: path for path in folder.iterdir() if path.name != ".lock"}
    return {name: path.read_bytes() if path.is_file() else None for name, path in found.items()}


@pytest.fixture
def old(tmp_path):
    """A finished run, and a file that is not its own."""
    run = start(tmp_path / "seed1")
    for name in (*OLD, "notes.txt"):
        run.write_text(name, name)
    return run


def contents_aside(folder) -> dict[str, bytes]:
    return contents(folder / ASIDE) if (folder / ASIDE).is_dir() else {}


class Killed(BaseException):
    pass


@pytest.mark.parametrize("moves", range(len(OLD) + 3))
def test_a_process_killed_while_it_sets_a_run_aside_loses_no_file(old, monkeypatch, moves):
    before, replace, made = contents(old.folder), os.replace, []

    def move(source, target):
        made.append(target)
        if len(made) > moves:
            raise Killed
        replace(source, target)

    for do in (Run.make_room, Run._bring_back):  # one way, and the other
        run = Run(old.folder)
        with pytest.MonkeyPatch.context() as patch, run.lock():
            if do == Run._bring_back:
                run.make_room()
                run.write_json("config.json", {})
            made.clear()
            patch.setattr(os, "replace", move)
            with contextlib.suppress(Killed):
                do(run)
        with Run(old.folder).lock():
            whole = {**contents(old.folder), **contents_aside(old.folder)}
            assert whole.pop(ASIDE, None) is None and whole == before
        with Run(old.folder).lock():
            Run(old.folder)._replaced.bring_back()


def test_a_file_that_another_program_holds_leaves_the_run_as_it_was(old, monkeypatch):
    before, replace = contents(old.folder), os.replace

    def move(source, target):
        if os.path.basename(source) == "metrics.csv":
            raise OSError(errno.EBUSY, "in use")
        replace(source, target)

    monkeypatch.setattr(os, "replace", move)
    with pytest.raises(RunError, match="in use"), old.lock():
        old.make_room()
    assert contents(old.folder) == before


def test_a_run_set_aside_stays_while_others_fail_and_goes_with_the_first_checkpoint(old, capsys):
    before = contents(old.folder)
    for error in (RunError, OSError, RuntimeError):
        run = Run(old.folder)
        with pytest.raises(error), run.lock():
            assert run.exists and run.replaces is None
            run.make_room()
            assert not run.exists and contents(run.folder).keys() == {"notes.txt", ASIDE}
            start(run.folder).write_epochs([{"epoch": 1}])
            raise error("full")
        assert contents(run.folder) == before and "is back in" in capsys.readouterr().err
        assert Run(run.folder).config == run.config == old.config
    for _ in range(2):  # killed, and begun again
        run = Run(old.folder)
        with pytest.raises(Killed), run.lock():
            run.make_room()
            start(run.folder).write_epochs([{"epoch": 1}])
            raise Killed
        assert Run(run.replaces).finished and not run.has_begun
    with pytest.raises(RunError), run.lock():
        run.save_checkpoint("last.pt", {})
        assert run.replaces is None
        raise RunError
    assert contents(run.folder).keys() == {
        *("config.json", "hierarchy.json", "epochs.csv", "last.pt", "notes.txt")
    }


@pytest.mark.parametrize("both", [True, False])
def test_figures_drawn_of_a_run_set_aside_are_in_no_way(old, both):
    for fails in (True, False):
        with contextlib.suppress(RunError), old.lock():
            old.make_room()
            for folder in (old.folder, old.folder / ASIDE)[not both :]:
                (folder / "figures").mkdir(exist_ok=True)
                (folder / "figures" / "a.png").touch()
            if fails:
                raise RunError
            start(old.folder).save_checkpoint("last.pt", {})
        assert (old.folder / ASIDE).exists() is False and old.finished == fails
        assert (old.folder / "figures" / "a.png").exists()
        Run(old.folder).check_exists()


def test_a_new_run_that_fails_before_its_first_epoch_ends_leaves_the_old_one(
    tmp_path, monkeypatch, capsys
):
    images = make_learnable_folder(tmp_path / "images", ODD_CLASSES, 8)

    def train(*flags):
        return train_small(images, tmp_path / "record", "--method", "DR", "--dim", "8", *flags)

    _, run = train()
    before = contents(run.folder)

    def full(path, content, keep=None):
        raise OSError(errno.ENOSPC, "No space left on device")

    def stop(error):
        def train_epoch(*arguments):
            raise error

        return train_epoch

    ways = (
        (files, "write_whole", full, 2),
        (loop, "_train_epoch", stop(loop.Diverged("the loss is not finite")), 1),
        (loop, "_train_epoch", stop(MemoryError()), startup.NO_MEMORY),
    )
    for owner, name, fault, expected in ways:
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, fault)
            status, _ = train("--overwrite")
        assert status == expected and "is back in" in capsys.readouterr().err
        assert contents(run.folder) == before
    with monkeypatch.context() as patch:
        patch.setattr(loop, "_train_epoch", stop(KeyboardInterrupt()))
        assert train("--overwrite")[0] == 130
    assert f"{run.folder / ASIDE} until one is" in capsys.readouterr().err
    assert train("--resume")[0] == 0 and not (run.folder / ASIDE).exists()
