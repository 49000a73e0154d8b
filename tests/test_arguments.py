"""The command line: what is refused, what is resolved, and where a run goes."""

import os

import pytest
import torch

import train
from models import HeadOptions, build_head
from models.priors import prior_from_counts
from options import command_line

DEMO = ["--dataset", "demo", "--method"]


def parse(*argv):
    return command_line.parse([*DEMO, *argv], "test", train.DATASETS)


def refused(capsys, *argv) -> str:
    with pytest.raises(SystemExit) as stop:
        parse(*argv)
    assert stop.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    "alias, method",
    [("SD", "normface"), ("NormFace", "normface"), ("ProxyDR", "DR"), ("softmax", "softmax")],
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
        (["DR", "--freeze", "butlast"], "--rand_backbone if random features are meant"),
        (
            ["DR", "--loss", "hierarchical", "--epochs", "9", "--switch_epoch", "9"],
            "--switch_epoch must be less than --epochs",
        ),
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


def test_what_is_only_unusual_is_accepted():
    options, *_ = parse("softmax", "--freeze", "butlast", "--rand_backbone")
    assert options["freeze"] == "butlast"
    options, *_ = parse("softmax", "--loss", "hierarchical", "--epochs", "9", "--switch_epoch", "8")
    assert options["switch_epoch"] == 8


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
    changed = (
        ["--lr", "1"],
        ["--epochs", "3"],
        ["--aug"],
        ["--dim", "4"],
        ["--collapse"],
        ["--no-gray"],
        ["--resize", "9"],
        ["--clspri"],
        ["--split", "published"],
        ["--weights", str(tmp_path / "b.pt")],
        ["--amp"],
        ["--backbone", "resnet18"],
    )
    folders = {parse("DR", *argv)[2] for argv in changed}
    assert len(folders | {plain}) == len(changed) + 1


def test_long_names_are_cut_but_stay_different():
    groups = [f"group{i}" for i in range(40)]
    first = command_line.parse(
        ["--dataset", "folder", "--method", "DR", "--nonliving", *groups], "test", train.DATASETS
    )[2]
    other = command_line.parse(
        ["--dataset", "folder", "--method", "DR", "--nonliving", *groups[::-1]],
        "test",
        train.DATASETS,
    )[2]
    assert first != other and len(first.parts[2]) < 210


def test_argument_files_take_comments_and_several_flags_a_line(tmp_path):
    (tmp_path / "laptop.args").write_text(
        "--GPU cpu  # don't: no GPU here\n--data_dir 'my images'\n\n# the end"
    )
    _, machine, _ = parse("DR", f"@{tmp_path / 'laptop.args'}")
    assert machine["GPU"] == "cpu" and machine["data_dir"] == "my images"


@pytest.mark.parametrize(
    "line, value",
    [
        (r"--data_dir C:\new\data", r"C:\new\data"),
        (r'--data_dir "C:\my images\"', "C:\\my images\\"),
        (r'--data_dir="\\server\my images"', r"\\server\my images"),
        ("--data_dir set#1  # the first", "set#1"),
        ('--data_dir "#1"', "#1"),
        ('--data_dir "Peter\'s images"', "Peter's images"),
        ("--data_dir 'Zoë'", "Zoë"),
        ("--data_dir '~/my images'", os.path.expanduser("~/my images")),
    ],
)
def test_everything_but_quotes_means_itself_in_an_argument_file(tmp_path, line, value):
    for encoding in ("utf-8", "utf-8-sig"):
        (tmp_path / "a.args").write_text(line, encoding=encoding)
        assert parse("DR", f"@{tmp_path / 'a.args'}")[1]["data_dir"] == value


@pytest.mark.parametrize(
    "content, named",
    [
        ("--data_dir 'Zoë'".encode("latin-1"), "save it as UTF-8"),
        ("--GPU cpu".encode("utf-16"), "save it as UTF-8"),
        ("--GPU cpu".encode("utf-16-le"), "save it as UTF-8"),
        (b"--GPU cpu\n--data_dir Peter's", "line 2: a quote is not closed"),
        (b"@FILE", "names itself"),
        (b"@nowhere.args", "@nowhere.args cannot be read: No such file"),
        (None, "cannot be read: No such file"),
    ],
)
def test_an_argument_file_that_cannot_be_read_is_named(tmp_path, capsys, content, named):
    path = tmp_path / "my.args"
    if content is not None:
        path.write_bytes(content.replace(b"FILE", str(path).encode()))
    message = refused(capsys, "DR", f"@{path}")
    assert named in message and (str(path) in message or b"nowhere" in content)


def test_argument_files_may_name_others(tmp_path):
    (tmp_path / "inner.args").write_text("--GPU cpu")
    (tmp_path / "outer.args").write_text(f"'@{tmp_path / 'inner.args'}' --seed 7")
    options, machine, _ = parse("DR", f"@{tmp_path / 'outer.args'}")
    assert (options["seed"], machine["GPU"]) == (7, "cpu")


def test_defaults_follow_the_dataset_and_help_shows_them(capsys):
    assert parse("DR")[0]["backbone"] == "conv4"
    assert (
        command_line.parse(["--dataset", "MesoZ", "--method", "DR"], "test", train.DATASETS)[0][
            "gray"
        ]
        is True
    )
    with pytest.raises(SystemExit):
        command_line.parse(["--dataset", "demo", "--help", "all"], "test", train.DATASETS)
    text = " ".join(capsys.readouterr().out.split())
    assert "(default: conv4)" in text and "--mds_W" in text


def test_a_file_counts_by_its_content_not_its_place(tmp_path, capsys):
    for folder, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "w.pt").write_bytes(content)
    first, moved, other = (
        parse("DR", "--weights", str(tmp_path / folder / "w.pt"))[2] for folder in "abc"
    )
    assert first == moved != other
    assert "--weights" in refused(capsys, "DR", "--weights", str(tmp_path / "none.pt"))


def test_collections_of_ones_own_go_by_the_name_of_their_folder():
    argv = ["--dataset", "folder", "--data_dir", "/data/my plankton/", "--method", "DR"]
    assert (
        str(command_line.parse(argv, "test", train.DATASETS)[2])
        == "record/my plankton/DR-euc/seed1"
    )


@pytest.mark.parametrize("name", ["MicroS", "micros", "demo", "CIFAR100"])
def test_collections_of_ones_own_never_share_a_folder_with_a_dataset(name):
    argv = ["--dataset", "folder", "--data_dir", f"/data/{name}", "--method", "DR"]
    assert command_line.parse(argv, "test", train.DATASETS)[2].parts[1] == f"folder-{name}"
    argv[3] = "/"
    assert command_line.parse(argv, "test", train.DATASETS)[2].parts[1] == "root"


def test_names_are_cut_by_their_bytes(tmp_path):
    groups = ["\N{GREEK SMALL LETTER ALPHA}" * 75, "\N{GREEK SMALL LETTER BETA}" * 75]
    names = {parse("DR", "--nonliving", *order)[2].parts[2] for order in (groups, groups[::-1])}
    assert len(names) == 2
    for name in names:
        assert len(name.encode()) <= 200
        (tmp_path / name).mkdir()


@pytest.mark.parametrize(
    "off", [["--freeze", "none"], ["--hr", "0"], ["--weight_decay", "0"], ["--l2_sp", "0.0"]]
)
def test_what_is_switched_off_is_as_if_it_were_not_named(off):
    assert parse("DR", *off) == parse("DR")


def test_compiling_is_an_option_of_the_run_and_names_its_folder():
    options, machine, folder = parse("DR", "--compile")
    assert (
        options["compile"] is True
        and "compile" not in machine
        and folder.parts[2] == "DR-euc-compile"
    )
    assert not parse("DR")[0]["compile"]


@pytest.mark.parametrize("flag", ["--seed", "--split_seed", "--subset_seed"])
def test_seeds_end_where_tables_and_torch_can_still_hold_them(capsys, flag):
    more = ["--reduction_factor", "2"] if flag == "--subset_seed" else []
    assert parse("DR", flag, str(2**63 - 1), *more)[0][flag[2:]] == 2**63 - 1
    message = refused(capsys, "DR", flag, str(2**64), *more)
    assert flag in message and f"from 0 to {2**63 - 1}" in message


def test_the_prior_stays_in_the_scores_of_a_model_trained_by_corr():
    options = parse("DR", "--CORR", "--mds_W", "--clspri")[0]
    assert options["loss"] == "corr" and options["prior"] == "fit"
    counts = torch.tensor([30.0, 10.0])
    weight, prior = torch.eye(2), prior_from_counts(counts.numpy())
    plain, informed = (
        build_head("DR", 2, HeadOptions(dim=2, proxies="mds", fixed=weight, prior=p))
        for p in (None, prior)
    )
    embeddings = torch.tensor([[1.0, 1.0]])
    torch.testing.assert_close(informed.cosines(embeddings), plain.cosines(embeddings))
    gap = informed(embeddings) - plain(embeddings)
    torch.testing.assert_close(gap, torch.tensor([[0.75, 0.25]]).log())


@pytest.mark.parametrize(
    "argv, named",
    [
        (["--metod", "DR"], "did you mean --method"),
        (["--method", "DR", "--batch-size", "3"], "did you mean --batch_size"),
        (["--method", "DR", "--mds_w"], "did you mean --mds_W"),
        (["\N{EN DASH}-method", "DR"], "did you mean --method"),
        (["-method", "DR"], "did you mean --method"),
        (["--method", "DR", "--use_val", "yes"], "--use_val takes no value, got 'yes'"),
        (["--method", "DR", "--seed", "1", "2"], "no flag takes 2"),
        (["--method", "DR", "--lr", "-1e-3"], "--lr: '-1e-3' is not a finite number above 0"),
        (["--method", "DR", "--lr", "-inf"], "--lr: '-inf' is not"),
        (["--method", "DR", "--lr", "nan"], "--lr: 'nan' is not"),
        (["--method", "dr"], "hiercos, SD, NormFace, ProxyDR"),
        (["--method", "DR", "--data_dir", ""], "--data_dir: '' is empty"),
        (["--method", "DR", "--exclude", ""], "--exclude: '' is empty"),
        (["--method", "DR", "--decay", "0"], "--decay has no meaning here"),
        (["--method", "DR", "--hxe_alpha", "0"], "--hxe_alpha has no meaning here"),
        (["--method", "DR", "--subset_seed", "0"], "--subset_seed has no meaning here"),
        (["--method", "DR", "--upscale", "0"], "--upscale has no meaning here"),
        (["--method", "DR", "--GPU", "gpu"], "--GPU: 'gpu' is not cpu, auto, different GPU"),
        (["--method", "DR", "--GPU", "0,0"], "--GPU: '0,0' is not"),
        (["--method", "DR", "--GPU", "-1"], "--GPU: '-1' is not"),
        (
            ["--method", "DR", "--dim", "99999999999999999999"],
            "--dim: '99999999999999999999' is not",
        ),
        (["--method", "DR", "--resize", "99999999"], "from 0 to 32767"),
        (["--method", "DR", "--reduction_factor", "0.5"], "a finite number, 1 or more"),
        (["--method", "DR", "--ema", "--alpha", "0"], "--alpha must lie in (0, 1], got 0"),
        (["--method", "DR", "--freeze", "all"], "--epochs 0"),
        (["--method", "DR", "--freeze", "last", "--ema"], "--ema"),
        (["--method", "DR", "--split", "official"], "--split"),
    ],
)
def test_slips_are_answered_in_one_line_that_helps(capsys, argv, named):
    with pytest.raises(SystemExit) as stop:
        command_line.parse(["--dataset", "demo", *argv], "test", train.DATASETS)
    lines = capsys.readouterr().err.splitlines()
    assert (
        stop.value.code == 2
        and named in lines[0]
        and lines[1].startswith("(flags:")
        and len(lines) == 2
    )


def test_only_a_drawn_validation_split_that_chooses_the_epoch_holds_out_calibration_images(capsys):
    assert parse("DR", "--use_val")[0]["calibration"] == 0.5
    assert str(parse("DR", "--use_val")[2]) == "record/demo/DR-euc-val/seed1"
    assert "calibration=0.2" in str(parse("DR", "--use_val", "--calibration", "0.2")[2])
    for others in ([], ["--use_val", "--split", "published"], ["--use_val", "--last"]):
        assert parse("DR", *others)[0]["calibration"] is None
        message = refused(capsys, "DR", *others, "--calibration", "0.2")
        assert "--calibration" in message and "--use_val and --split stratified" in message
    assert "from 0 to below 1" in refused(capsys, "DR", "--use_val", "--calibration", "1")
