"""--start_from: class vectors by class, what new classes start from, and what is refused."""

import re
import shutil

import pandas as pd
import pytest
import torch
from images import make_learnable_folder
from recorded import run_main
from torch.testing import assert_close
from trained import train_small

import predict
from evaluation.model import load_model
from hierarchies import Hierarchy
from models import Classifier, HeadOptions, build_backbone, build_head
from models.going_on import go_on, moves
from training.going_on import earlier_runs

OLD = Hierarchy.from_paths(
    [("A", "a"), ("A", "b"), ("A", "c"), ("B", "d"), ("B", "e"), ("C", "f"), ("C", "s"), ("C", "o")]
)
NEW = Hierarchy.from_paths(
    [
        ("C", "f"),  # kept
        ("A", "a"),
        ("A", "b"),
        ("A", "n"),  # new: siblings a and b
        ("A", "m", "x"),  # new: below A, a and b
        ("D", "d"),  # moved
        ("B", "e", "1"),  # new: e was split
        ("B", "e", "2"),
        ("E", "y"),  # new: chance
        ("C", "s"),
        ("F", "g", "h"),  # new: chance
    ]
)


def path(text):
    return tuple(text.split("/"))


def test_what_each_class_starts_from():
    found = {move.path: (move.status, move.sources) for move in moves(OLD, NEW)}
    assert found == {
        path("C/f"): ("kept", (5,)),
        path("A/a"): ("kept", (0,)),
        path("A/b"): ("kept", (1,)),
        path("A/n"): ("new", (0, 1)),
        path("A/m/x"): ("new", (0, 1)),
        path("D/d"): ("moved", (3,)),
        path("B/e/1"): ("new", (4,)),
        path("B/e/2"): ("new", (4,)),
        path("E/y"): ("new", ()),
        path("C/s"): ("kept", (6,)),
        path("F/g/h"): ("new", ()),
        path("A/c"): ("gone", ()),
        path("B/e"): ("gone", ()),
        path("C/o"): ("gone", ()),
    }


def test_classes_that_are_merged_and_a_class_that_becomes_a_superclass():
    before = Hierarchy.from_paths([("A", "a", "1"), ("A", "a", "2"), ("B", "b")])
    now = Hierarchy.from_paths([("A", "a"), ("B", "b"), ("B", "b", "c")], self_leaves=True)
    merged, itself, below = moves(before, now)[:3]
    assert (merged.status, merged.sources) == ("new", (0, 1))
    assert (itself.path, itself.status, itself.sources) == (("B", "b"), "kept", (2,))
    assert (below.status, below.sources) == ("new", (2,))


def test_a_name_that_two_classes_have_is_not_taken_for_a_class_that_moved():
    before = Hierarchy.from_paths([("A", "other"), ("B", "other"), ("B", "b")])
    now = Hierarchy.from_paths([("C", "other"), ("B", "b")])
    assert [move.status for move in moves(before, now)] == ["new", "kept", "gone", "gone"]


def make(tree, method="DR", size=True, **options):
    backbone = build_backbone("conv4", channels=1, dim=3, pretrained=False)
    head = build_head(method, tree.num_classes, HeadOptions(dim=3, **options))
    return Classifier(backbone, head, size)


def unit(vectors):
    return torch.nn.functional.normalize(vectors, dim=-1)


def test_class_vectors_go_by_class_and_new_ones_point_to_the_mean_direction_of_their_sources():
    torch.manual_seed(0)
    first, second = make(OLD), make(NEW)
    with torch.no_grad():
        first.head.weight *= torch.arange(1.0, 9.0)[:, None]  # of any length
    fresh = second.head.weight.detach().clone()
    changes, notes = go_on(second, first.state_dict(), OLD, NEW)
    old, now = first.head.weight, second.head.weight
    assert notes == [] and len(changes) == NEW.num_classes + 3
    for c, source in {0: 5, 1: 0, 2: 1, 5: 3, 6: 4, 7: 4, 9: 6}.items():
        assert_close(now[c], old[source])
    assert_close(now[3], unit(unit(old[:2]).mean(dim=0)) * 1.5)
    assert_close(now[4], now[3])
    assert_close(now[[8, 10]], fresh[[8, 10]])
    for part in ("backbone", "size_branch"):
        assert_close(getattr(second, part).state_dict(), getattr(first, part).state_dict())


def test_a_linear_layer_takes_plain_means_and_its_bias():
    torch.manual_seed(0)
    first, second = make(OLD, "softmax"), make(NEW, "softmax")
    torch.nn.init.normal_(first.head.bias)
    go_on(second, first.state_dict(), OLD, NEW)
    assert_close(second.head.weight[3], first.head.weight[:2].mean(dim=0))
    assert_close(
        second.head.bias[[0, 3]], torch.stack([first.head.bias[5], first.head.bias[:2].mean()])
    )


def test_moving_averages_remember_whom_they_met_and_the_scale_goes_on():
    torch.manual_seed(0)
    prior, other = torch.full((8,), 1 / 8), torch.full((11,), 1 / 11)
    first = make(OLD, proxies="ema", dynamic=True, prior=prior)
    second = make(NEW, proxies="ema", dynamic=True, prior=other)
    first.head.seen[:] = torch.tensor([1, 0, 1, 1, 1, 1, 1, 1], dtype=torch.bool)
    first.head.dynamic_scale.log_scale.fill_(2.5)
    log_prior = second.head.log_prior.clone()
    go_on(second, first.state_dict(), OLD, NEW)
    assert second.head.seen.nonzero().flatten().tolist() == [0, 1, 5, 9]
    assert_close(second.head.weight[3], first.head.weight[0])  # b was never met
    assert second.head.dynamic_scale.log_scale == 2.5
    assert_close(second.head.log_prior, log_prior)
    assert_close(second.head.dynamic_scale.prior, other)
    plain = make(NEW, proxies="ema", prior=other)
    assert "it starts at 10" in go_on(plain, first.state_dict(), OLD, NEW)[1][0]


def test_vectors_of_nodes_are_kept_with_their_tree_and_start_anew_with_another():
    def make_conditional(tree):
        backbone = build_backbone("conv4", channels=1, dim=3, pretrained=False)
        options = HeadOptions(dim=3, hierarchy=tree)
        return Classifier(backbone, build_head("conditional", tree.num_classes, options))

    torch.manual_seed(0)
    first, same, other = (make_conditional(tree) for tree in (OLD, OLD, NEW))
    _, notes = go_on(same, first.state_dict(), OLD, OLD)
    assert notes == [] and torch.equal(same.head.weight, first.head.weight)
    _, notes = go_on(other, first.state_dict(), OLD, NEW)
    assert len(notes) == 2 and all("old tree and starts anew" in note for note in notes)


def test_classes_that_saw_the_whole_embedding_see_their_slice_alone():
    def make_levels(features):
        backbone = build_backbone("conv4", channels=1, dim=6, pretrained=False)
        options = HeadOptions(dim=6, hierarchy=OLD, own={"level_features": features})
        return Classifier(backbone, build_head("levels", OLD.num_classes, options))

    first, second = make_levels("shared"), make_levels("slices")
    go_on(second, first.state_dict(), OLD, OLD)
    assert not second.head.weight[:, :3].any()  # of two levels
    assert_close(second.head.weight[:, 3:], first.head.weight[:, 3:])


@pytest.mark.parametrize(
    "proxies, words", [("mds", "placed by the new tree"), ("file", "those of --class_vectors")]
)
def test_fixed_class_vectors_stay_where_the_new_tree_or_the_file_puts_them(proxies, words):
    placed = unit(torch.randn(11, 3))
    second = make(NEW, proxies=proxies, fixed=placed)
    _, notes = go_on(second, make(OLD).state_dict(), OLD, NEW)
    assert_close(second.head.weight, placed)
    assert words in notes[0]


def test_a_size_branch_may_be_new_and_another_network_is_refused():
    second = make(OLD)
    _, notes = go_on(second, make(OLD, size=False).state_dict(), OLD, OLD)
    assert "its branch starts at random" in notes[0]
    other = Classifier(build_backbone("conv4", channels=3, dim=3, pretrained=False), make(OLD).head)
    with pytest.raises(ValueError, match="--gray"):
        go_on(other, make(OLD, size=False).state_dict(), OLD, OLD)


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A trained run on three classes, and its images with a class more and a class fewer."""
    place = tmp_path_factory.mktemp("first")
    images = make_learnable_folder(place / "images", ("A/a", "A/b", "B/c"), 8)
    argv = ["--method", "DR", "--dim", "4", "--lr", "0.01", "--epochs", "2", "--gray"]
    status, run = train_small(images, place / "record", *argv)
    assert status == 0
    other = make_learnable_folder(place / "cruise2", ("A/a", "A/b", "A/new"), 8)
    return run, other, place / "record"


ARGV = ("--method", "DR", "--dim", "4", "--lr", "0.01", "--gray")


def test_a_run_goes_on_from_another_and_records_what_became_of_each_class(first, capsys, tmp_path):
    before, images, _ = first
    argv = [*ARGV, "--start_from", str(before.folder)]
    status, run = train_small(images, tmp_path, *argv, "--epochs", "0")
    assert status == 0
    assert "classes 2 kept, 0 moved, 1 new, 1 gone" in capsys.readouterr().out
    table = pd.read_csv(run.folder / "started_from.csv", keep_default_na=False)
    assert table.values.tolist() == [
        ["A/a", "kept", "itself"],
        ["A/b", "kept", "itself"],
        ["A/new", "new", "its siblings"],
        ["B/c", "gone", ""],
    ]
    assert run.config["started_from"]["classes"] == {"kept": 2, "new": 1, "gone": 1}
    old, now = load_model(before).state_dict(), load_model(run).state_dict()
    assert_close(now["head.weight"][:2], old["head.weight"][:2])
    for key in now:
        if key.startswith("backbone."):
            assert_close(now[key], old[key])
    assert before.folder.name in str(run.folder)  # seed1


NEW_IMAGES = "measures of them are too good for new images"


def test_images_that_trained_an_earlier_run_and_test_this_one_are_counted(first, capsys, tmp_path):
    before, images, record = first
    train_small(images, record, *ARGV, "--start_from", str(before.folder), "--epochs", "0")
    assert NEW_IMAGES not in capsys.readouterr().out  # of other images
    own = before.images_in
    argv = [*ARGV, "--start_from", str(before.folder), "--epochs", "0"]
    train_small(own, record, *argv)
    assert NEW_IMAGES not in capsys.readouterr().out  # in the splits that they had

    status, second = train_small(own, record, *argv, "--use_val", "--split_seed", "7")
    said = capsys.readouterr().out
    known, now = (run.split.set_index("file")["split"] for run in (before, second))
    count = {part: int((known[now == part] == "train").sum()) for part in ("val", "test")}
    total = (now == "test").sum()
    assert status == 0 and count["test"] > 0
    assert f"{count['test']} of {total} test images trained a run that the weights" in said
    assert (f"of {(now == 'val').sum()} validation images" in said) == (count["val"] > 0)

    table = tmp_path / "answers.csv"
    asked = (second.folder, own, "--labels", "--rule", "majority", "--out", table, "--GPU", "cpu")
    status, said, _ = run_main(predict.main, capsys, *asked)
    count = int(((known == "train") | (now == "train")).sum())
    assert status == 0 and re.search(rf"in the run's train split +{count}: class true", said)

    third = [*ARGV, "--start_from", str(second.folder), "--epochs", "0", "--split_seed", "7"]
    train_small(own, tmp_path, *third)  # trained by the run before the one before
    assert "test images trained a run that the weights come from" in capsys.readouterr().out
    weights = ["--weights", str(before.folder / "last.pt"), "--split_seed", "7", "--epochs", "0"]
    train_small(own, tmp_path / "weights", *ARGV, *weights)
    assert NEW_IMAGES in capsys.readouterr().out
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(before.folder / "last.pt", alone)
    (alone / "config.json").write_text('{"architecture": "of another program"}')
    weights[1] = str(alone / "last.pt")
    assert train_small(own, tmp_path / "others", *ARGV, *weights)[0] == 0
    assert NEW_IMAGES not in capsys.readouterr().out
    train_small(own, tmp_path / "large", *argv, "--resize", "24", "--split_seed", "7")
    assert "images that test this run is not known" in capsys.readouterr().out


@pytest.mark.parametrize("odd", [3, ["x"], {"run": 5}, ""])
def test_odd_values_in_a_record_name_no_earlier_run(odd):
    assert list(earlier_runs({"weights": odd, "start_from": odd}, odd)) == []
    assert list(earlier_runs({"weights": odd})) == []


def test_other_options_and_unfinished_runs_are_refused_by_name_before_any_work(
    first, capsys, tmp_path
):
    before, images, record = first
    start = ["--start_from", str(before.folder)]
    status, _ = train_small(images, record, "--method", "softmax", "--gray", *start)
    said = capsys.readouterr().err
    assert status == 2
    assert "that run had --method DR --dim 4 --distance euc, this one has --method softmax" in said
    half = tmp_path / "half"
    shutil.copytree(before.folder, half)
    (half / "metrics.csv").unlink()
    assert train_small(images, record, *ARGV, "--start_from", str(half))[0] == 2
    assert "did not finish" in capsys.readouterr().err
    for argv, message in (
        (["--start_from", str(tmp_path)], "is not a run"),
        ([*start, "--rand_backbone"], "leave out --weights and --rand_backbone"),
    ):
        with pytest.raises(SystemExit):
            train_small(images, record, *ARGV, *argv)
        assert message in capsys.readouterr().err
