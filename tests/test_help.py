"""What a stranger sees of the scripts: their --help, and the end after Ctrl-C."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import PATIENCE

import data
import evaluate
import predict
import train
import train_cifar100
import train_imagenet
import train_inaturalist
import train_nabirds
import train_tinyimagenet
import visualize
from options import command_line
from options.flags import FIRST, groups
from registry import possible

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = (
    train,
    train_cifar100,
    train_imagenet,
    train_inaturalist,
    train_nabirds,
    train_tinyimagenet,
)
OTHERS = (evaluate, predict, visualize)


def help_of(capsys, script, *argv, word="all") -> str:
    with pytest.raises(SystemExit) as stop:
        if script in OTHERS:
            script.main([*argv, "--help", word])
        else:
            command_line.parse([*argv, "--help", word], script.__doc__, script.DATASETS)
    assert stop.value.code == 0
    return capsys.readouterr().out


def flag_in(text: str, flag: str) -> str:
    """The entry of one flag in one line, empty if there is none."""
    entries = [" ".join(entry.split()) for entry in re.split(r"\n  (?=--)|\n\n", text)]
    return next((entry for entry in entries if re.match(rf"{flag}[ ,]", f"{entry} ")), "")


def test_defaults_that_differ_are_shown_for_each_dataset(capsys):
    text = help_of(capsys, train)
    assert "(default: conv4 for demo; inception for folder, MicroS, MicroL, MesoZ)" in flag_in(
        text, "--backbone"
    )
    assert "(default: 32 for demo; 128 for folder, MicroS, MicroL, MesoZ)" in flag_in(
        text, "--resize"
    )
    assert "(default: True for demo, MesoZ)" in flag_in(text, "--gray")
    assert "(default: 128)" in flag_in(text, "--dim")
    assert flag_in(text, "--dataset").endswith("image collection to train on")


def test_one_dataset_shows_its_own_defaults_and_flags_alone(capsys):
    text = help_of(capsys, train, "--dataset", "MicroS")
    assert "(default: inception)" in flag_in(text, "--backbone") and " for demo" not in text
    assert "--nonliving" not in text and "--nonliving" in help_of(capsys, train)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_help_shows_exactly_the_flags_that_a_dataset_of_the_script_takes(capsys, script):
    text = help_of(capsys, script)
    for name in set(possible([data.DATASETS.option])) - {"dataset"}:
        taken = any(name in data.defaults(dataset) for dataset in script.DATASETS)
        assert bool(flag_in(text, f"--{name}")) == taken, name


def test_options_of_a_loss_show_their_defaults(capsys):
    text = help_of(capsys, train_cifar100)
    assert "(default: balanced)" in flag_in(text, "--weighting") and "(default: 0.5)" in flag_in(
        text, "--decay"
    )
    assert "(default: 0)" in flag_in(text, "--resize") and "(default: 0)" in flag_in(
        text, "--switch_epoch"
    )
    assert "(default: 0.5)" in flag_in(help_of(capsys, evaluate), "--decay")


@pytest.mark.parametrize("script", SCRIPTS + OTHERS, ids=lambda script: script.__name__)
def test_help_is_plain_text_in_which_nothing_is_left_of_python(capsys, script):
    text = help_of(capsys, script)
    assert text.isascii() and not re.search(
        r"default: (\[|None|\(|')|%%|%\(", " ".join(text.split())
    )


def test_the_first_screen_explains_what_comes_first_and_names_the_groups_of_the_rest(capsys):
    with pytest.raises(SystemExit):
        command_line.parse(["--help"], train.__doc__, train.DATASETS)
    text = capsys.readouterr().out
    assert all(flag_in(text, f"--{name}") for name in FIRST) and not flag_in(text, "--decay")
    usage = " --dataset {demo,folder,MicroS,MicroL,MesoZ} --method METHOD [flags]"
    assert text.split("\n\n")[0].endswith(usage)
    everything = help_of(capsys, train)
    for title, options in groups().items():
        word, about = title.split()[0].rstrip(":"), title.split(": ")[1]
        count = int(re.search(rf"\n  {word} .*{re.escape(about)} \((\d+) flags\)", text)[1])
        of_group = help_of(capsys, train, word=word)
        of_group = of_group[of_group.index(f"{title}:") :]
        assert of_group in everything
        assert len(re.findall(r"(?m)^  --\w", of_group)) == count
        assert all(flag_in(of_group, f"--{one.name}") for one in options if one.name not in FIRST)


def test_help_of_a_word_explains_the_flags_that_have_it_in_their_name_or_explanation(capsys):
    text = help_of(capsys, train, word="Taxa")
    assert not flag_in(text, "--seed")
    text = help_of(capsys, train, "--dataset", "MicroS", word="augmentation")
    assert flag_in(text, "--aug") and flag_in(text, "--seed") and not flag_in(text, "--backbone")
    assert text.startswith("training")
    # a group, and the flag of its name, which stands among those that come first
    text = help_of(capsys, train, word="method")
    assert flag_in(text, "--method") and flag_in(text, "--mds_W") and "--backbone" not in text
    assert flag_in(help_of(capsys, predict, word="topk"), "--topk").endswith("(default: 3)")
    with pytest.raises(SystemExit) as stop:
        predict.main(["--help", "xyzzy"])
    assert stop.value.code == 2 and "--help xyzzy: no flag is about" in capsys.readouterr().err


def test_the_usage_of_a_script_is_what_it_needs(capsys):
    assert " RUN [IMAGE ...] [flags]\n" in help_of(capsys, predict)
    assert re.match(r"usage: python \S.* \[RUN ...\] \[flags\]\n", help_of(capsys, evaluate))


@pytest.mark.parametrize("script", OTHERS, ids=lambda script: script.__name__)
def test_slips_in_the_other_scripts_are_answered_in_one_line(capsys, script):
    with pytest.raises(SystemExit) as stop:
        script.main(["run", "image", "--fromat", "png", "--ouut", "x", "--metriks"])
    lines = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2 and "there is no flag --fromat" in lines[0] and len(lines) == 2
    with pytest.raises(SystemExit):
        script.main([""])
    assert "'' is empty" in capsys.readouterr().err or script is predict


def test_options_of_another_weighting_are_refused_before_a_run_is_read(capsys):
    for argv in (["--decay", "0.3"], ["--weighting", "power", "--hxe_alpha", "0"]):
        with pytest.raises(SystemExit):
            evaluate.main(["run", *argv])
        assert "has no meaning for --weighting" in capsys.readouterr().err


def test_a_folder_that_is_no_run_is_named_as_such(tmp_path, capsys):
    assert visualize.main([str(tmp_path)]) == 2
    assert f"{tmp_path} is not a run" in capsys.readouterr().err


def _heed_interrupts():
    """Tests that a shell runs in the background inherit that Ctrl-C is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("script", (train, *OTHERS), ids=lambda script: script.__name__)
def test_ctrl_c_during_the_imports_ends_a_script_without_a_traceback(script, tmp_path):
    (tmp_path / "difflib.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, ROOT / f"{script.__name__}.py"]
    done = subprocess.run(
        command,
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        preexec_fn=_heed_interrupts,
    )
    assert (done.returncode, done.stdout, done.stderr.strip()) == (
        -signal.SIGINT,
        "",
        "interrupted",
    )


@pytest.mark.parametrize("flag", ["-b", "-j", "-v", "-lr"])
def test_a_short_flag_of_other_programs_is_said_not_to_exist(flag, capsys):
    with pytest.raises(SystemExit):
        predict.main(["run", flag, "4"])
    assert f"there is no flag {flag}" in capsys.readouterr().err


def test_a_file_whose_name_begins_with_a_dash_can_be_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-photo.png").touch()
    with pytest.raises(SystemExit):
        predict.main(["run", "-photo.png"])
    assert "a file of this name is ./-photo.png" in capsys.readouterr().err
