"""The command line: what is refused, what is resolved, and where a run goes."""

import pytest

import arguments
import train

DEMO = ["--dataset", "demo", "--method"]


def parse(*argv):
    return arguments.parse([*DEMO, *argv], "test", train.DATASETS)


def refused(capsys, *argv) -> str:
    with pytest.raises(SystemExit) as stop:
        parse(*argv)
    assert stop.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    "alias, method", [("SD", "normface"), ("NormFace", "normface"), ("ProxyDR", "DR"), ("softmax", "softmax")]
)
def test_published_method_names_are_understood(alias, method):
    assert parse(alias)[0]["method"] == method


@pytest.mark.parametrize(
    "argv, named",
    [
        (["softmax", "--ema"], "--ema"),
        (["softmax", "--dynamic"], "--dynamic"),
        (["softmax", "--mds_W"], "--mds_W"),
        (["softmax", "--distance", "arccos"], "--distance"),
        (["softmax", "--CORR"], "--loss corr"),
        (["DR", "--ema", "--mds_W"], "--ema"),
        (["DR", "--CORR"], "--mds_W"),
        (["DR", "--CORR", "--mds_W", "--dynamic"], "--dynamic"),
        (["DR", "--CORR", "--mds_W", "--loss", "ce"], "--loss"),
        (["DR", "--alpha", "0.1"], "--ema"),
        (["DR", "--beta", "2"], "--mds_W"),
        (["DR", "--legacy_dynamic"], "--dynamic"),
        (["DR", "--corr_reduction", "sum"], "--loss ce"),
        (["DR", "--loss", "hierarchical", "--decay", "0.5"], "--decay"),
        (["DR", "--loss", "hxe", "--weighting", "lazy"], "--weighting"),
        (["softmax", "--freeze", "nothing"], "--freeze"),
        (["DR", "--last"], "--use_val"),
        (["DR", "--legacy_stem"], "conv4"),
        (["DR", "--ngpus", "2", "--GPU", "0"], "--GPU auto"),
        (["DR", "--resume", "--overwrite"], "--overwrite"),
        (["DR", "--split_list", "x.csv"], "--split published"),
        (["DR", "--alpha", "2"], "--alpha"),
        (["DR", "--lr", "0"], "--lr"),
        (["DR", "--epochs", "-1"], "--epochs"),
        (["DR", "--batch", "3"], "--batch"),
        (["nothing"], "--method"),
    ],
)
def test_what_has_no_meaning_is_refused_and_named(capsys, argv, named):
    assert named in refused(capsys, *argv)


def test_options_that_do_not_apply_are_none_in_the_record():
    options, _, _ = parse("softmax")
    assert options["distance"] is None and options["alpha"] is None and options["beta"] is None
    options, _, _ = parse("DR", "--mds_W", "--beta", "0.5")
    assert (options["beta"], options["alpha"], options["distance"]) == (0.5, None, "euc")


def test_corr_is_short_for_its_loss():
    short, long = parse("DR", "--mds_W", "--CORR"), parse("DR", "--mds_W", "--loss", "corr")
    assert short[0] == long[0] and short[2] == long[2]


def test_the_run_folder_says_method_options_and_seed():
    assert str(parse("DR", "--mds_W", "--seed", "3")[2]) == "record/demo/DR-euc-mds/seed3"
    assert str(parse("DR", "--use_val", "--size_inform")[2]) == "record/demo/DR-euc-size-val/seed1"
    assert str(parse("softmax", "--record", "elsewhere")[2]) == "elsewhere/demo/softmax/seed1"
    assert str(parse("DR", "--lr", "0.002")[2]).split("/")[2] == "DR-euc-lr=0.002"


def test_machine_options_do_not_name_the_run_and_others_all_do(tmp_path):
    (tmp_path / "b.pt").write_bytes(b"")
    plain = parse("DR")[2]
    assert parse("DR", "--GPU", "cpu", "--cache_dir", "x", "--data_dir", "y")[2] == plain
    changed = (["--lr", "1"], ["--epochs", "3"], ["--aug"], ["--dim", "4"], ["--collapse"], ["--no-gray"], ["--resize", "9"],
               ["--clspri"], ["--split", "published"], ["--weights", str(tmp_path / "b.pt")], ["--amp"], ["--backbone", "resnet18"])  # fmt: skip
    folders = {parse("DR", *argv)[2] for argv in changed}
    assert len(folders | {plain}) == len(changed) + 1


def test_long_names_are_cut_but_stay_different():
    groups = [f"group{i}" for i in range(40)]
    first = arguments.parse(["--dataset", "folder", "--method", "DR", "--nonliving", *groups], "test", train.DATASETS)[
        2
    ]
    other = arguments.parse(
        ["--dataset", "folder", "--method", "DR", "--nonliving", *groups[::-1]], "test", train.DATASETS
    )[2]
    assert first != other and len(first.parts[2]) < 210


def test_argument_files_take_comments_and_several_flags_a_line(tmp_path):
    (tmp_path / "laptop.args").write_text("--GPU cpu  # no GPU here\n--data_dir 'my images'\n\n")
    _, machine, _ = parse("DR", f"@{tmp_path / 'laptop.args'}")
    assert machine["GPU"] == "cpu" and machine["data_dir"] == "my images"


def test_defaults_follow_the_dataset_and_help_shows_them(capsys):
    assert parse("DR")[0]["backbone"] == "conv4"
    assert arguments.parse(["--dataset", "MesoZ", "--method", "DR"], "test", train.DATASETS)[0]["gray"] is True
    with pytest.raises(SystemExit):
        arguments.parse(["--dataset", "demo", "--help"], "test", train.DATASETS)
    text = " ".join(capsys.readouterr().out.split())
    assert "(default: conv4)" in text and "--mds_W" in text


def test_a_file_counts_by_its_content_not_its_place(tmp_path, capsys):
    for folder, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "w.pt").write_bytes(content)
    first, moved, other = (parse("DR", "--weights", str(tmp_path / folder / "w.pt"))[2] for folder in "abc")
    assert first == moved != other
    assert "--weights" in refused(capsys, "DR", "--weights", str(tmp_path / "none.pt"))


def test_collections_of_ones_own_go_by_the_name_of_their_folder():
    argv = ["--dataset", "folder", "--data_dir", "/data/my plankton/", "--method", "DR"]
    assert str(arguments.parse(argv, "test", train.DATASETS)[2]) == "record/my plankton/DR-euc/seed1"
